/*
 * Dead files go, and only those: tables that a compaction replaced once nobody reads them, and at open whatever no manifest
 * knows. What cannot be removed costs its space until the next opening, nothing else.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"

enum { KEYS = 40, VALUE = 4000 };

static void name_key(char out[16], unsigned i)
{
	snprintf(out, 16, "key%04u", i);
}

static void put_all(struct db_world *w, unsigned round)
{
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16];
		name_key(key, i);
		db_world_put_filled(w, key, VALUE, round * 1000 + i);
	}
}

static void expect_all(struct db_world *w, unsigned round)
{
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16];
		name_key(key, i);
		db_world_expect_filled(w, key, VALUE, round * 1000 + i);
	}
}

static enum wombat_status compact_all(struct db_world *w)
{
	return wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR(""));
}

/* How many tables the current version has. */
static unsigned live_tables(struct db_world *w)
{
	double count = 0;
	for (unsigned level = 0; level < 7; level++) {
		char name[32];
		snprintf(name, sizeof name, "level.%u.files", level);
		count += db_world_stat(w, name);
	}
	return (unsigned)count;
}

static unsigned tables(struct db_world *w)
{
	return db_world_files(w, FILE_TABLE, NULL);
}

/* There are so many tables, and never fewer. A background thread may keep a version for a moment: then what is obsolete is
 * looked at again. */
static void expect_tables(struct db_world *w, unsigned count)
{
	for (unsigned i = 0; i < 10000 && tables(w) != count; i++) {
		if (tables(w) < count)
			break;
		sched_yield();
		db_remove_obsolete(w->db);
	}
	assert_int_equal(tables(w), count);
}

static void test_replaced_tables_go(void **state)
{
	(void)state;
	struct db_world w;
	uint64_t first = 0, next;
	db_world_init(&w, NULL);
	for (unsigned round = 0; round < 6; round++) {
		put_all(&w, round);
		assert_ok(compact_all(&w));
		expect_tables(&w, live_tables(&w));
		assert_true(tables(&w) >= KEYS * VALUE / 65536 && tables(&w) < 6);
		db_world_files(&w, FILE_TABLE, &next);
		assert_true(next > first); /* none of the round before is left, and no number is used twice */
		first = next;
	}
	expect_all(&w, 5);
	/* With nothing left to be read there are no tables at all. */
	assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(compact_all(&w));
	expect_tables(&w, live_tables(&w));
	expect_tables(&w, 0);
	db_world_done(&w);
}

/* Each kind of reader keeps the tables that it has begun to read; when the last is gone so are they. */
static void test_read_tables_stay(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_iter *it;
	struct wombat_list *list;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	unsigned first = live_tables(&w);
	assert_ok(wombat_iter_new(w.db, NULL, WOMBAT_USER, &it));
	put_all(&w, 2);
	assert_ok(compact_all(&w));
	unsigned second = live_tables(&w);
	expect_tables(&w, first + second);
	assert_ok(wombat_list_new(w.db, NULL, WOMBAT_USER, WOMBAT_STR(""), &list));
	put_all(&w, 3);
	assert_ok(compact_all(&w));
	unsigned third = live_tables(&w);
	expect_tables(&w, first + second + third);

	unsigned seen = 0;
	for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it))
		assert_int_equal(wombat_iter_record(it)->value_size, (seen++, VALUE));
	assert_ok(wombat_iter_status(it));
	assert_int_equal(seen, KEYS);
	struct wombat_child child;
	for (seen = 0; wombat_list_next(list, &child) == WOMBAT_OK; seen++)
		;
	assert_int_equal(seen, KEYS);
	wombat_iter_free(it);
	expect_tables(&w, second + third);
	wombat_list_free(list);
	expect_tables(&w, third);
	expect_all(&w, 3);
	db_world_done(&w);
}

/* A record pins its block, not the file: it stays readable when the table is gone. */
static void test_a_record_outlives_its_table(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_record r;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("key0007"), &r));
	uint8_t copy[VALUE];
	assert_int_equal(r.value.size, VALUE);
	memcpy(copy, r.value.data, VALUE);
	put_all(&w, 2);
	assert_ok(compact_all(&w));
	expect_tables(&w, live_tables(&w));
	assert_memory_equal(r.value.data, copy, VALUE);
	wombat_record_release(&r);
	db_world_done(&w);
}

/* Closing takes what readers had kept. */
static void test_close_removes(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_iter *it;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	assert_ok(wombat_iter_new(w.db, NULL, WOMBAT_USER, &it));
	put_all(&w, 2);
	assert_ok(compact_all(&w));
	unsigned live = live_tables(&w);
	assert_true(tables(&w) > live);
	wombat_iter_free(it);
	db_world_close(&w);
	assert_int_equal(tables(&w), live);
	db_world_open(&w);
	expect_all(&w, 2);
	db_world_done(&w);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static void test_what_cannot_be_removed(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	put_all(&w, 2);
	db_world_fail(&w, "remove", ".sst", 0, WOMBAT_IO);
	assert_ok(compact_all(&w)); /* the data is where it belongs */
	unsigned failures = db_world_let_go(&w);
	assert_true(failures > 0 && tables(&w) > live_tables(&w));
	assert_true(db_world_stat(&w, "errors.io_total") >= failures);
	assert_ok(wombat_background_status(w.db));
	db_world_put(&w, "more", "writes");
	db_world_reopen(&w);
	expect_tables(&w, live_tables(&w));
	expect_all(&w, 2);
	db_world_done(&w);
}

static _Thread_local bool no_memory; /* for this thread */

static _Bool allow(size_t size)
{
	(void)size;
	return !no_memory;
}

/* Without memory to tell live from dead nothing is removed, what is being read least of all; later it is. */
static void test_out_of_memory(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_iter *it;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	unsigned first = live_tables(&w), seen = 0;
	assert_ok(wombat_iter_new(w.db, NULL, WOMBAT_USER, &it));
	put_all(&w, 2);
	assert_ok(compact_all(&w));
	no_memory = true;
	db_remove_obsolete(w.db);
	no_memory = false;
	expect_tables(&w, first + live_tables(&w));
	for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it))
		seen++;
	assert_ok(wombat_iter_status(it));
	assert_int_equal(seen, KEYS);
	wombat_iter_free(it);
	expect_tables(&w, live_tables(&w));
	expect_all(&w, 2);
	db_world_done(&w);
}

/* ---- At open ------------------------------------------------------------------------------- */

static void test_orphans_at_open(void **state)
{
	(void)state;
	static const char *const dead[] = {
		"000777.sst", "000001.sst", "MANIFEST-000778", "CURRENT.tmp", "wombat.conf.tmp", "000003.sst.tmp",
	};
	static const char *const foreign[] = { "notes.txt", "777.sst", "MANIFEST", "000777.sst.bak", "tmp", "lost+found" };
	struct db_world w;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	db_world_close(&w);
	for (size_t i = 0; i < sizeof dead / sizeof dead[0]; i++)
		if (!db_world_has_file(&w, dead[i]))
			db_world_write_file(&w, dead[i], "left over", 9);
		else
			fail_msg("%s is in use", dead[i]);
	for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
		db_world_write_file(&w, foreign[i], "not ours", 8);

	/* Read-only nothing goes. */
	assert_ok(db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_OPEN_READ_ONLY, &w.db));
	expect_all(&w, 1);
	db_world_close(&w);
	for (size_t i = 0; i < sizeof dead / sizeof dead[0]; i++)
		assert_true(db_world_has_file(&w, dead[i]));

	db_world_open(&w);
	for (size_t i = 0; i < sizeof dead / sizeof dead[0]; i++)
		if (db_world_has_file(&w, dead[i]))
			fail_msg("%s is still there", dead[i]);
	for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
		if (!db_world_has_file(&w, foreign[i]))
			fail_msg("%s is gone", foreign[i]);
	assert_int_equal(tables(&w), live_tables(&w));
	assert_int_equal(db_world_files(&w, FILE_MANIFEST, NULL), 1);
	expect_all(&w, 1);

	/* The numbers that were seen are not given out again: a reader may still know them. */
	uint64_t first;
	put_all(&w, 2);
	assert_ok(compact_all(&w));
	db_world_files(&w, FILE_TABLE, &first);
	assert_true(first > 778);
	db_world_done(&w);
}

/* An orphan that cannot be removed keeps the opening from going on; the next one does it. */
static void test_orphan_that_stays(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat *db = NULL;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	db_world_close(&w);
	db_world_write_file(&w, "000777.sst", "left over", 9);
	db_world_fail(&w, "remove", "000777", 0, WOMBAT_IO);
	assert_status(db_open_env(w.env, DB_WORLD_DIR, w.options, 0, &db), WOMBAT_IO);
	assert_non_null(strstr(wombat_last_error(), "000777.sst"));
	assert_int_equal(db_world_let_go(&w), 1);
	db_world_open(&w);
	assert_false(db_world_has_file(&w, "000777.sst"));
	expect_all(&w, 1);
	db_world_done(&w);
}

/* What a crash in the middle of a compaction leaves is gone after the next opening. */
static void test_crash_leaves_nothing(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	put_all(&w, 1);
	assert_ok(compact_all(&w));
	put_all(&w, 2);
	/* Outputs are written, the edit that names them is not: as if the machine stopped there. */
	db_world_fail(&w, "writer_sync", "MANIFEST", 1, WOMBAT_IO);
	assert_status(compact_all(&w), WOMBAT_IO);
	db_world_let_go(&w);
	struct db_world after = { .options = w.options };
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &after.env));
	unsigned left = tables(&after);
	db_world_open(&after);
	assert_ok(wombat_wait_idle(after.db));
	assert_true(left >= tables(&after));
	expect_tables(&after, live_tables(&after));
	expect_all(&after, 2);
	db_world_close(&after);
	after.env->calls->free(after.env);
	assert_status(wombat_close(w.db), WOMBAT_IO);
	w.db = NULL;
	db_world_open(&w);
	expect_all(&w, 2);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replaced_tables_go),
		cmocka_unit_test(test_read_tables_stay),
		cmocka_unit_test(test_a_record_outlives_its_table),
		cmocka_unit_test(test_close_removes),
		cmocka_unit_test(test_what_cannot_be_removed),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_orphans_at_open),
		cmocka_unit_test(test_orphan_that_stays),
		cmocka_unit_test(test_crash_leaves_nothing),
	};
	mem_test_hook = allow; /* before there are other threads */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
