/*
 * One sync for a durable large value: how many there are, what a power cut leaves, what damage is told, and what is kept
 * apart.
 */
#include "engine/db/db_journal.h"

#include <stdio.h>

#include "engine/env/env_mem.h"
#include "tests/support/check.h"
#include "tests/support/values.h"

enum { LARGE = 3000 };

/* Of records and of values, since the last call. */
struct syncs {
	uint64_t wal, values;
};

static struct syncs syncs_since(struct wombat *db, struct syncs *last)
{
	struct wal_counts wal;
	struct vlog_counts values;
	wal_writer_counts(db->wal, &wal);
	vlog_counts(db->values, &values);
	struct syncs since = { wal.syncs - last->wal, values.syncs - last->values };
	*last = (struct syncs){ wal.syncs, values.syncs };
	return since;
}

static void assert_syncs(struct wombat *db, struct syncs *last, unsigned wal, unsigned values)
{
	struct syncs n = syncs_since(db, last);
	assert_int_equal(n.wal, wal);
	assert_int_equal(n.values, values);
}

static struct wombat *open_in(struct env *env, const char *name, const char *value)
{
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	assert_ok(wombat_options_set(o, "value_threshold", "1K"));
	assert_ok(wombat_options_set(o, "wal_file_size", "64K")); /* recovery looks at every byte */
	assert_ok(wombat_options_set(o, "sync_interval_ms", "0")); /* nobody syncs but who asked for it */
	if (name)
		assert_ok(wombat_options_set(o, name, value));
	assert_ok(db_open_env(env, "/db", o, WOMBAT_CREATE, &db));
	wombat_options_free(o);
	return db;
}

static struct wombat_slice key_of(unsigned n, char room[16])
{
	snprintf(room, 16, "key %04u", n);
	return WOMBAT_STR(room);
}

static enum wombat_status put_status(struct wombat *db, unsigned n, size_t size, unsigned flags)
{
	static uint8_t bytes[LARGE];
	char room[16];
	struct wombat_batch *b = wombat_batch_new();
	values_fill(bytes, size, n);
	assert_ok(wombat_batch_put(b, WOMBAT_USER, key_of(n, room), slice_make(bytes, size), NULL));
	enum wombat_status s = wombat_write(db, b, flags, NULL);
	wombat_batch_free(b);
	return s;
}

static void put(struct wombat *db, unsigned n, size_t size, unsigned flags)
{
	assert_ok(put_status(db, n, size, flags));
}

static bool has(struct wombat *db, unsigned n, size_t size)
{
	static uint8_t bytes[LARGE];
	char room[16];
	struct wombat_record r;
	enum wombat_status s = wombat_get(db, NULL, WOMBAT_USER, key_of(n, room), &r);
	if (s == WOMBAT_NOT_FOUND)
		return false;
	assert_ok(s);
	values_fill(bytes, size, n);
	assert_int_equal(r.value.size, size);
	assert_memory_equal(r.value.data, bytes, size);
	wombat_record_release(&r);
	return true;
}

/* Only what was synced. */
static struct env *after_power_cut(struct env *env)
{
	struct env *cut;
	assert_ok(env_mem_clone(env, ENV_MEM_SYNCED_ONLY, 0, &cut));
	return cut;
}

static void ignore(void *arg, bool is_damage, const char *sentence)
{
	(void)arg;
	(void)is_damage;
	(void)sentence;
}

static void count_losses(void *arg, bool is_loss, const char *sentence)
{
	(void)sentence;
	*(unsigned *)arg += is_loss;
}

static void assert_first(struct wombat *db, unsigned count, size_t size)
{
	for (unsigned n = 0; n < count; n++)
		assert_true(has(db, n, size));
	assert_false(has(db, count, size));
}

static void test_one_sync(void **state)
{
	(void)state;
	struct env *env;
	struct syncs n = { 0 };
	assert_ok(env_mem_new(&env));
	struct wombat *db = open_in(env, NULL, NULL);
	put(db, 0, 10, WOMBAT_SYNC);
	assert_false(db->has_journal); /* older versions can read it still */
	put(db, 1, LARGE, WOMBAT_SYNC); /* the manifest says it first */
	assert_true(db->has_journal);
	syncs_since(db, &n);
	for (unsigned i = 2; i < 50; i++)
		put(db, i, LARGE, WOMBAT_SYNC);
	assert_syncs(db, &n, 0, 48);
	put(db, 50, 10, WOMBAT_SYNC); /* a small one is in the log alone; and brings all that came before there */
	assert_syncs(db, &n, 1, 0);
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

/* Its log is synced whenever this thread asks for the time, as it does in all parts of a write. */
static _Thread_local struct wombat *interrupted;
static uint64_t (*own_monotonic_ns)(struct env *env);

static uint64_t interrupting_ns(struct env *env)
{
	struct wombat *db = interrupted;
	interrupted = NULL; /* A sync looks at the time, too. */
	if (db)
		assert_ok(wombat_sync(db));
	interrupted = db;
	return own_monotonic_ns(env);
}

/* A sync in the background may begin and end between any two steps of a durable put. */
static void test_sync_between(void **state)
{
	(void)state;
	struct env *env;
	assert_ok(env_mem_new(&env));
	struct env_calls calls = *env->calls;
	own_monotonic_ns = calls.monotonic_ns;
	calls.monotonic_ns = interrupting_ns;
	env->calls = &calls;
	struct wombat *db = open_in(env, "slow_operation_threshold_ms", "100000");
	put(db, 0, LARGE, WOMBAT_SYNC);
	interrupted = db;
	put(db, 1, LARGE, WOMBAT_SYNC);
	interrupted = NULL;
	put(db, 2, LARGE, WOMBAT_SYNC);
	put(db, 3, LARGE, WOMBAT_SYNC);
	struct env *cut = after_power_cut(env);
	struct wombat *found = open_in(cut, NULL, NULL);
	assert_first(found, 4, LARGE);
	assert_ok(wombat_close(found));
	cut->calls->free(cut);
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

/* What is not durable comes first: the log must be synced, or what a power cut leaves would be no prefix. */
static void test_behind_what_is_not_durable(void **state)
{
	(void)state;
	struct env *env, *cut;
	struct syncs n = { 0 };
	assert_ok(env_mem_new(&env));
	struct wombat *db = open_in(env, NULL, NULL);
	put(db, 0, 10, WOMBAT_SYNC);
	put(db, 1, 10, 0);
	syncs_since(db, &n);
	put(db, 2, LARGE, WOMBAT_SYNC);
	assert_syncs(db, &n, 1, 1);
	put(db, 3, LARGE, WOMBAT_SYNC);
	assert_syncs(db, &n, 0, 1);
	cut = after_power_cut(env);
	struct wombat *other = open_in(cut, NULL, NULL);
	assert_true(has(other, 0, 10) && has(other, 1, 10) && has(other, 2, LARGE) && has(other, 3, LARGE));
	assert_ok(wombat_close(other));
	assert_ok(wombat_close(db));
	cut->calls->free(cut);
	env->calls->free(env);
}

/* A batch of small and large, deletes and ranges: whole, from the journal alone. */
static void test_batch_is_whole(void **state)
{
	(void)state;
	static uint8_t bytes[LARGE];
	struct env *env, *cut;
	assert_ok(env_mem_new(&env));
	struct wombat *db = open_in(env, NULL, NULL);
	for (unsigned n = 10; n < 15; n++)
		put(db, n, 10, WOMBAT_SYNC);
	struct wombat_batch *b = wombat_batch_new();
	char room[16], to[16];
	values_fill(bytes, LARGE, 1);
	assert_ok(wombat_batch_put(b, WOMBAT_USER, key_of(1, room), slice_make(bytes, LARGE), NULL));
	values_fill(bytes, 20, 2);
	assert_ok(wombat_batch_put(b, WOMBAT_USER, key_of(2, room), slice_make(bytes, 20), NULL));
	assert_ok(wombat_batch_delete(b, WOMBAT_USER, key_of(10, room)));
	assert_ok(wombat_batch_delete_range(b, WOMBAT_USER, key_of(13, room), key_of(15, to)));
	assert_ok(wombat_write(db, b, WOMBAT_SYNC, NULL));
	wombat_batch_free(b);
	cut = after_power_cut(env);
	struct wombat *other = open_in(cut, NULL, NULL);
	assert_true(has(other, 1, LARGE) && has(other, 2, 20) && has(other, 11, 10) && has(other, 12, 10));
	assert_false(has(other, 10, 10) || has(other, 13, 10) || has(other, 14, 10));
	assert_ok(wombat_close(other));
	assert_ok(wombat_close(db));
	cut->calls->free(cut);
	env->calls->free(env);
}

/* Again and again from what the last cut left, with flushes and full files between; checked and read-only as well. */
static void test_power_cuts(void **state)
{
	(void)state;
	struct env *env;
	unsigned written = 0;
	assert_ok(env_mem_new(&env));
	for (unsigned round = 0; round < 12; round++) {
		struct wombat *db = open_in(env, "value_log_file_size", "64K"), *reader;
		assert_first(db, written, LARGE);
		for (unsigned n = 0; n < 3 + 7 * (round % 4); n++) {
			put(db, written++, LARGE, WOMBAT_SYNC);
			if (round % 3 == 1 && n == 4)
				assert_ok(wombat_flush(db));
		}
		struct env *cut = after_power_cut(env);
		assert_ok(wombat_close(db));
		env->calls->free(env);
		env = cut;
		assert_ok(db_check_env(env, "/db", ignore, NULL));
		assert_ok(db_open_env(env, "/db", NULL, WOMBAT_OPEN_READ_ONLY, &reader));
		assert_first(reader, written, LARGE);
		assert_ok(wombat_close(reader));
	}
	assert_true(written > 100);
	env->calls->free(env);
}

/* After a power cut the numbers go on, in the log and in the journal, and nothing of before comes back. */
static void test_goes_on(void **state)
{
	(void)state;
	struct env *env, *cut, *again;
	assert_ok(env_mem_new(&env));
	struct wombat *db = open_in(env, NULL, NULL);
	for (unsigned n = 0; n < 5; n++)
		put(db, n, LARGE, WOMBAT_SYNC);
	put(db, 5, LARGE, 0); /* lost */
	cut = after_power_cut(env);
	assert_ok(wombat_close(db));
	db = open_in(cut, NULL, NULL);
	assert_first(db, 5, LARGE);
	put(db, 5, 10, 0);
	put(db, 6, 10, WOMBAT_SYNC);
	put(db, 7, LARGE, WOMBAT_SYNC);
	put(db, 8, LARGE, 0); /* lost */
	again = after_power_cut(cut);
	assert_ok(wombat_close(db));
	db = open_in(again, NULL, NULL);
	assert_true(has(db, 5, 10) && has(db, 6, 10) && has(db, 7, LARGE) && !has(db, 8, LARGE));
	assert_ok(wombat_close(db));
	again->calls->free(again);
	cut->calls->free(cut);
	env->calls->free(env);
}

/* A checkpoint has all, and does not look for a journal that others go on with. */
static void test_checkpoint(void **state)
{
	(void)state;
	struct env *env;
	struct wombat *copy;
	assert_ok(env_mem_new(&env));
	struct wombat *db = open_in(env, NULL, NULL);
	for (unsigned n = 0; n < 5; n++)
		put(db, n, LARGE, WOMBAT_SYNC);
	assert_ok(wombat_checkpoint(db, "/copy"));
	for (unsigned n = 5; n < 8; n++)
		put(db, n, LARGE, WOMBAT_SYNC);
	assert_ok(db_open_env(env, "/copy", NULL, 0, &copy));
	assert_first(copy, 5, LARGE);
	assert_false(copy->has_journal);
	assert_ok(wombat_close(copy));
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

/* What is in another directory may be on another device: what is small must not depend on it. */
static void test_values_elsewhere(void **state)
{
	(void)state;
	struct env *env;
	struct syncs n = { 0 };
	assert_ok(env_mem_new(&env));
	assert_ok(env->calls->dir_create(env, "/other"));
	struct wombat *db = open_in(env, "value_dir", "/other");
	put(db, 0, LARGE, WOMBAT_SYNC);
	syncs_since(db, &n);
	for (unsigned i = 1; i <= 10; i++)
		put(db, i, LARGE, WOMBAT_SYNC);
	assert_syncs(db, &n, 10, 10);
	assert_false(db->has_journal);
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

static char *file_path(struct env *env, enum file_kind kind, char out[FILENAME_PATH_MAX])
{
	size_t size;
	for (uint64_t number = 1; number < 100; number++)
		if (filename_path(out, "/db", kind, number) && env_mem_bytes(env, out, &size))
			return out;
	fail_msg("no such file");
	return NULL;
}

/* A record of the journal that is damaged is missed when a later one says that it was durable; repair keeps the others. */
static void test_damage(void **state)
{
	(void)state;
	struct env *env, *cut, *hurt;
	char path[FILENAME_PATH_MAX];
	struct wombat *db;
	size_t size;
	assert_ok(env_mem_new(&env));
	db = open_in(env, NULL, NULL);
	struct vlog_position ends[10];
	for (unsigned n = 0; n < 10; n++) {
		put(db, n, LARGE, WOMBAT_SYNC);
		ends[n] = vlog_end(db->values);
	}
	cut = after_power_cut(env);
	assert_ok(wombat_close(db));
	for (unsigned n = 2; n < 10; n++) {
		assert_ok(env_mem_clone(cut, ENV_MEM_ALL, 0, &hurt));
		env_mem_bytes(hurt, file_path(hurt, FILE_VALUES, path), &size)[ends[n].offset - 5] ^= 4;
		enum wombat_status s = db_open_env(hurt, "/db", NULL, 0, &db);
		if (n < 9) {
			assert_int_equal(s, WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), "had been durable"));
			assert_int_not_equal(db_check_env(hurt, "/db", ignore, NULL), WOMBAT_OK);
			unsigned losses = 0;
			assert_int_equal(db_repair_env(hurt, "/db", count_losses, &losses), WOMBAT_CORRUPTION);
			assert_int_equal(losses, 1);
			assert_ok(db_open_env(hurt, "/db", NULL, 0, &db));
			for (unsigned i = 0; i < 10; i++)
				assert_int_equal(has(db, i, LARGE), i != n);
		} else { /* the last one: nobody speaks for it, as in the log */
			assert_ok(s);
			assert_first(db, 9, LARGE);
		}
		assert_ok(wombat_close(db));
		hurt->calls->free(hurt);
	}
	cut->calls->free(cut);
	env->calls->free(env);
}

/* A repair without a manifest finds the journal too. */
static void test_repair_without_manifest(void **state)
{
	(void)state;
	struct env *env, *cut;
	struct wombat *db;
	assert_ok(env_mem_new(&env));
	db = open_in(env, NULL, NULL);
	for (unsigned n = 0; n < 8; n++)
		put(db, n, LARGE, WOMBAT_SYNC);
	cut = after_power_cut(env);
	assert_ok(wombat_close(db));
	assert_ok(cut->calls->remove(cut, "/db/CURRENT"));
	assert_ok(db_repair_env(cut, "/db", ignore, NULL));
	db = open_in(cut, NULL, NULL);
	assert_first(db, 8, LARGE);
	assert_ok(wombat_close(db));
	cut->calls->free(cut);
	env->calls->free(env);
}

/* ---- Failures ------------------------------------------------------------------------------ */

struct failing {
	atomic_int left; /* background threads call too */
	bool all_after; /* the device is gone */
};

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	struct failing *f = arg;
	(void)op;
	(void)path;
	int left = atomic_fetch_sub(&f->left, 1) - 1;
	return left == 0 || (f->all_after && left < 0) ? WOMBAT_IO : WOMBAT_OK;
}

/* Whichever call fails: what was acknowledged is there after a power cut, in order, and nothing half. */
static void test_faults(void **state)
{
	(void)state;
	unsigned failures = 0;
	for (int all = 0; all < 2; all++)
		for (int n = 1; n < 120; n++) {
			struct env *env;
			assert_ok(env_mem_new(&env));
			struct wombat *db = open_in(env, "value_log_file_size", "64K");
			put(db, 0, LARGE, WOMBAT_SYNC);
			struct failing f = { .all_after = all };
			atomic_init(&f.left, n);
			env_mem_on_call(env, fail_call, &f);
			unsigned written = 1;
			while (written < 30 && put_status(db, written, LARGE, WOMBAT_SYNC) == WOMBAT_OK)
				written++;
			failures += written < 30;
			struct env *cut = after_power_cut(env);
			env_mem_on_call(env, NULL, NULL);
			if (wombat_close(db) != WOMBAT_OK)
				assert_true(written < 30);
			db = open_in(cut, NULL, NULL);
			for (unsigned i = 0; i < written; i++)
				assert_true(has(db, i, LARGE));
			assert_false(has(db, written + 1, LARGE));
			assert_ok(wombat_close(db));
			cut->calls->free(cut);
			env->calls->free(env);
		}
	assert_true(failures > 60);
}

static enum wombat_status fail_syncs(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return strstr(op, "sync") ? WOMBAT_IO : WOMBAT_OK;
}

/* Values of a process that died before it synced are synced with what the next one writes behind them. */
static void test_values_of_the_dead(void **state)
{
	(void)state;
	struct env *env, *cut;
	assert_ok(env_mem_new(&env));
	struct wombat *db = open_in(env, NULL, NULL);
	put(db, 0, 10, WOMBAT_SYNC);
	put(db, 1, LARGE, 0);
	env_mem_on_call(env, fail_syncs, NULL); /* as if it were killed */
	assert_int_not_equal(wombat_close(db), WOMBAT_OK);
	env_mem_on_call(env, NULL, NULL);
	db = open_in(env, NULL, NULL);
	put(db, 2, 10, WOMBAT_SYNC);
	cut = after_power_cut(env);
	assert_ok(wombat_close(db));
	db = open_in(cut, NULL, NULL);
	assert_true(has(db, 0, 10) && has(db, 1, LARGE) && has(db, 2, 10));
	assert_ok(wombat_close(db));
	cut->calls->free(cut);
	env->calls->free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_sync),
		cmocka_unit_test(test_sync_between),
		cmocka_unit_test(test_behind_what_is_not_durable),
		cmocka_unit_test(test_batch_is_whole),
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_goes_on),
		cmocka_unit_test(test_checkpoint),
		cmocka_unit_test(test_values_elsewhere),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_repair_without_manifest),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_values_of_the_dead),
	};
	return cmocka_run_group_tests_name("db_journal", tests, NULL, NULL);
}
