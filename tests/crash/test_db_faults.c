/*
 * The Nth I/O fails, the Nth allocation fails, for N = 1, 2, ... until a whole run passes: every failure is a clear
 * status, nothing leaks or crashes, and what was acknowledged before is there when the database is opened again.
 */
#include <stdatomic.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { ROUNDS = 3, KEYS = 60 };

static atomic_long countdown; /* the fault comes when it reaches 0 */

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	(void)path;
	return atomic_fetch_sub(&countdown, 1) == 1 ? WOMBAT_IO : WOMBAT_OK;
}

static _Bool fail_alloc(size_t size)
{
	(void)size;
	return atomic_fetch_sub(&countdown, 1) != 1;
}

static void name_key(char out[32], int i)
{
	snprintf(out, 32, "dir%d/key%04d", i % 3, i);
}

/* `threshold`: of values that go to the value log. */
static struct wombat_options *make_options(const char *threshold)
{
	const char *const settings[] = { "mem_table_size", "64K", "wal_file_size", "64K", "max_table_size", "64K",
						"num_level_zero_tables", "2", "sync_interval_ms", "0",
						"value_threshold", threshold, "value_log_file_size", "64K",
						"value_log_space_reclaim_threshold", "0.2" };
	struct wombat_options *o = wombat_options_new();
	assert_non_null(o);
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i += 2)
		assert_ok(wombat_options_set(o, settings[i], settings[i + 1]));
	return o;
}

/* Which round each key was last put in and acknowledged, and in which it was tried after that; -1: never. */
struct ledger {
	int acked[KEYS], tried[KEYS];
	bool finished;
};

/* Opens, writes some rounds, compacts, scans, closes; ends at the first failure. */
static void work(struct env *env, const struct wombat_options *options, struct ledger *l)
{
	static char value[3000];
	struct wombat *db = NULL;
	memset(value, 'v', sizeof value);
	if (db_open_env(env, "/db", options, WOMBAT_CREATE, &db) != WOMBAT_OK)
		return;
	bool ok = true;
	for (int round = 0; round < ROUNDS && ok; round++) {
		for (int i = 0; i < KEYS && ok; i++) {
			char key[32];
			name_key(key, i);
			value[0] = (char)('0' + round);
			l->tried[i] = round;
			ok = wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(value, sizeof value)) == WOMBAT_OK;
			if (ok)
				l->acked[i] = round;
		}
		ok = ok && wombat_delete_range(db, WOMBAT_USER, WOMBAT_STR("x"), WOMBAT_STR("y")) == WOMBAT_OK;
		ok = ok && wombat_sync(db) == WOMBAT_OK;
	}
	ok = ok && wombat_compact(db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }) == WOMBAT_OK;
	struct wombat_list *list;
	if (ok && (ok = wombat_list_new(db, NULL, WOMBAT_USER, WOMBAT_STR(""), &list) == WOMBAT_OK)) {
		struct wombat_child child;
		enum wombat_status s;
		while ((s = wombat_list_next(list, &child)) == WOMBAT_OK)
			;
		ok = s == WOMBAT_NOT_FOUND;
		wombat_list_free(list);
	}
	ok = (wombat_close(db) == WOMBAT_OK) && ok;
	l->finished = ok;
}

/* Every acknowledged put is there, or one that was tried after it. */
static void verify(struct env *env, const struct wombat_options *options, const struct ledger *l)
{
	struct wombat *db;
	enum wombat_status s = db_open_env(env, "/db", options, WOMBAT_CREATE, &db);
	if (s != WOMBAT_OK)
		fail_msg("reopening without faults: %s", wombat_last_error());
	for (int i = 0; i < KEYS; i++) {
		char key[32];
		struct wombat_record r;
		name_key(key, i);
		s = wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r);
		if (s == WOMBAT_NOT_FOUND) {
			assert_int_equal(l->acked[i], -1);
			continue;
		}
		assert_int_equal(s, WOMBAT_OK);
		assert_int_equal(r.value.size, 3000);
		int round = r.value.data[0] - '0';
		assert_true(round >= l->acked[i] && round <= l->tried[i]);
		wombat_record_release(&r);
	}
	assert_ok(wombat_close(db));
}

static bool run_one(long n, bool io, const char *threshold)
{
	struct env *env;
	struct ledger l;
	struct wombat_options *options = make_options(threshold);
	memset(&l, 0xff, sizeof l);
	l.finished = false;
	assert_ok(env_mem_new(&env));
	atomic_store(&countdown, n);
	if (io)
		env_mem_on_call(env, fail_call, NULL);
	else
		mem_test_hook = fail_alloc;
	work(env, options, &l);
	env_mem_on_call(env, NULL, NULL);
	mem_test_hook = NULL;
	bool fault_came = atomic_load(&countdown) <= 0;
	verify(env, options, &l);
	wombat_options_free(options);
	env->calls->free(env);
	return !fault_came && l.finished;
}

/* Every fault at first, then every few: the later ones are the same few paths again. */
static void run_all(bool io, const char *threshold, unsigned dense, unsigned stride)
{
	long n = 1;
	while (!run_one(n, io, threshold)) {
		n += n < (long)dense ? 1 : stride;
		assert_true(n < 10000000);
	}
	printf("%s: no fault was left at %ld\n", io ? "I/O" : "allocation", n);
}

static void test_io(void **state)
{
	(void)state;
	run_all(true, "0", test_steps(250), 7);
	run_all(true, "1K", test_steps(250), 7);
}

static void test_allocation(void **state)
{
	(void)state;
	run_all(false, "0", test_steps(250), 7);
	run_all(false, "1K", test_steps(250), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_io), cmocka_unit_test(test_allocation) };
	return cmocka_run_group_tests_name("db_faults", tests, NULL, NULL);
}
