/* Snapshots with names: what they keep over compactions, opens, crashes and copies; names; failures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"
#include "tests/support/check.h"

static void expect_at(struct db_world *w, const char *name, const char *key, const char *value)
{
	struct wombat_snapshot *snapshot;
	struct wombat_record r;
	assert_ok(wombat_snapshot_open(w->db, name, &snapshot));
	const struct wombat_read_options at = { .snapshot = snapshot };
	enum wombat_status s = wombat_get(w->db, &at, WOMBAT_USER, WOMBAT_STR(key), &r);
	assert_status(s, value ? WOMBAT_OK : WOMBAT_NOT_FOUND);
	if (value) {
		assert_true(slice_equal(r.value, WOMBAT_STR(value)));
		wombat_record_release(&r);
	}
	wombat_snapshot_release(w->db, snapshot);
}

static void settle(struct db_world *w)
{
	assert_ok(wombat_flush(w->db));
	assert_ok(wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_wait_idle(w->db));
}

static void list_one(void *arg, const struct wombat_snapshot_info *info)
{
	char *text = arg;
	assert_true(info->time_ns > 0);
	sprintf(text + strlen(text), "%s ", info->name);
}

static void expect_list(struct db_world *w, const char *names)
{
	char text[1024] = "";
	wombat_snapshot_list(w->db, list_one, text);
	assert_string_equal(text, names);
}

static void test_kept_over_everything(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_put(&w, "a", "1");
	db_world_put(&w, "b", "1");
	assert_ok(wombat_snapshot_create(w.db, "one"));
	db_world_put(&w, "a", "2");
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("b")));
	assert_ok(wombat_snapshot_create(w.db, "two"));
	assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR("a"), WOMBAT_STR("z")));
	for (int round = 0; round < 4; round++) {
		expect_list(&w, "one two ");
		assert_true(db_world_stat(&w, "snapshots_named") == 2);
		expect_at(&w, "one", "a", "1");
		expect_at(&w, "one", "b", "1");
		expect_at(&w, "two", "a", "2");
		expect_at(&w, "two", "b", NULL);
		db_world_expect(&w, WOMBAT_USER, "a", NULL);
		if (round % 2)
			settle(&w);
		else
			db_world_reopen(&w);
	}
	assert_ok(wombat_snapshot_drop(w.db, "one"));
	settle(&w);
	db_world_reopen(&w);
	expect_list(&w, "two ");
	expect_at(&w, "two", "a", "2");
	assert_ok(wombat_snapshot_drop(w.db, "two"));
	settle(&w);
	assert_true(db_world_stat(&w, "snapshots") == 0);
	/* No record shows, and what they kept is gone. */
	struct wombat_iter *it;
	assert_ok(wombat_iter_new(w.db, NULL, WOMBAT_USER, &it));
	assert_false(wombat_iter_first(it));
	wombat_iter_free(it);
	settle(&w);
	assert_true(db_world_stat(&w, "entries") == 0);
	db_world_done(&w);
}

static void test_names(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_snapshot *snapshot;
	char longest[257];
	db_world_init(&w, NULL);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[256] = 0;
	assert_status(wombat_snapshot_create(w.db, longest), WOMBAT_INVALID);
	longest[255] = 0;
	assert_ok(wombat_snapshot_create(w.db, longest));
	assert_ok(wombat_snapshot_drop(w.db, longest));
	static const char *const bad[] = { "", "a/b", ".", "..", ".hidden" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_status(wombat_snapshot_create(w.db, bad[i]), WOMBAT_INVALID);
		assert_status(wombat_snapshot_drop(w.db, bad[i]), WOMBAT_INVALID);
	}
	assert_ok(wombat_snapshot_create(w.db, "name"));
	assert_status(wombat_snapshot_create(w.db, "name"), WOMBAT_EXISTS);
	assert_status(wombat_snapshot_open(w.db, "other", &snapshot), WOMBAT_NOT_FOUND);
	assert_status(wombat_snapshot_drop(w.db, "other"), WOMBAT_NOT_FOUND);
	/* One that is open outlives its name. */
	db_world_put(&w, "k", "1");
	assert_ok(wombat_snapshot_create(w.db, "second"));
	assert_ok(wombat_snapshot_open(w.db, "second", &snapshot));
	assert_ok(wombat_snapshot_drop(w.db, "second"));
	db_world_put(&w, "k", "2");
	settle(&w);
	const struct wombat_read_options at = { .snapshot = snapshot };
	struct wombat_record r;
	assert_ok(wombat_get(w.db, &at, WOMBAT_USER, WOMBAT_STR("k"), &r));
	assert_true(slice_equal(r.value, WOMBAT_STR("1")));
	wombat_record_release(&r);
	wombat_snapshot_release(w.db, snapshot);
	db_world_done(&w);
}

static void test_checkpoint_has_them(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_put(&w, "k", "then");
	assert_ok(wombat_snapshot_create(w.db, "s"));
	db_world_put(&w, "k", "now");
	assert_ok(wombat_checkpoint(w.db, "/copy"));
	struct db_world copy = { .env = w.env, .options = w.options };
	assert_ok(db_open_env(w.env, "/copy", w.options, WOMBAT_OPEN_READ_ONLY, &copy.db));
	expect_at(&copy, "s", "k", "then");
	db_world_expect(&copy, WOMBAT_USER, "k", "now");
	assert_status(wombat_snapshot_create(copy.db, "t"), WOMBAT_READ_ONLY);
	assert_status(wombat_snapshot_drop(copy.db, "s"), WOMBAT_READ_ONLY);
	assert_ok(wombat_close(copy.db));
	db_world_done(&w);
}

/* A power cut behind a snapshot: it is there, with all that it shows, also when recovery has so much to replay that it
 * flushes before it knows of it. */
static void test_crash(void **state)
{
	(void)state;
	uint64_t seed = test_seed("test_snapshot_named");
	struct random_state r;
	random_seed(&r, seed);
	for (unsigned round = 0; round < 6; round++) {
		struct db_world w;
		struct env *found, *before;
		char key[16], value[400];
		db_world_init(&w, (const char *const[]){ "mem_table_size", round % 2 ? "64K" : "1M", "sync_interval_ms", "0", NULL });
		for (unsigned i = 0; i < 100; i++) {
			sprintf(key, "key%03u", i);
			db_world_put(&w, key, "old");
		}
		assert_ok(wombat_snapshot_create(w.db, "s"));
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = 0;
		for (unsigned i = 0; i < 2000; i++) {
			sprintf(key, "key%03u", (unsigned)random_below(&r, 100));
			db_world_put(&w, key, value);
		}
		if (round > 2)
			assert_ok(wombat_sync(w.db));
		assert_ok(env_mem_clone(w.env, round == 0 ? ENV_MEM_SYNCED_ONLY : ENV_MEM_RANDOM, seed + round, &found));
		db_world_close(&w);
		before = w.env;
		w.env = found;
		assert_ok(wombat_options_set(w.options, "mem_table_size", "64K"));
		db_world_open(&w);
		before->calls->free(before);
		for (unsigned i = 0; i < 100; i++) {
			sprintf(key, "key%03u", i);
			expect_at(&w, "s", key, "old");
		}
		settle(&w);
		expect_at(&w, "s", "key050", "old");
		db_world_done(&w);
	}
}

/* ---- Failures -------------------------------------------------------------------------------- */

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		struct wombat_snapshot *snapshot = NULL;
		db_world_init(&w, NULL);
		scarce_begin(n);
		s = wombat_snapshot_create(w.db, "s");
		if (s == WOMBAT_OK)
			s = wombat_snapshot_open(w.db, "s", &snapshot);
		scarce_end();
		wombat_snapshot_release(w.db, snapshot);
		if (s != WOMBAT_OK)
			assert_status(s, wombat_background_status(w.db) == WOMBAT_OK ? WOMBAT_NO_MEMORY : s);
		db_world_done(&w);
	}
	assert_true(n > 3);
}

static void test_sync_fails(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_put(&w, "k", "1");
	db_world_fail(&w, "segment_sync", ".wal", 0, WOMBAT_IO);
	assert_status(wombat_snapshot_create(w.db, "s"), WOMBAT_IO);
	db_world_let_go(&w);
	expect_list(&w, "");
	assert_true(db_world_stat(&w, "snapshots") == 0);
	db_world_expect(&w, WOMBAT_USER, "k", "1");
	assert_status(wombat_close(w.db), WOMBAT_IO);
	w.db = NULL;
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_over_everything),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_checkpoint_has_them),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_sync_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
