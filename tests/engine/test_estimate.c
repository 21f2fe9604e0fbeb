/*
 * Estimates beside counts: of tables and memtables, of the whole and of parts, with large values and deletions; nothing is
 * read but what opening a table reads; failures.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/random.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_world.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

static struct wombat_slice key_of(unsigned n, char out[16])
{
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 16, "k%06u", n));
}

static uint64_t keys_between(struct db_world *w, unsigned from, unsigned to)
{
	char a[16], b[16];
	uint64_t keys = 77, bytes = 78;
	assert_ok(wombat_estimate(w->db, WOMBAT_USER, key_of(from, a), key_of(to, b), &keys, &bytes));
	/* Less than half a key is none, but has its bytes. */
	assert_true(keys == 0 || bytes > 0);
	assert_true(from < to || bytes == 0);
	return keys;
}

static void put_many(struct db_world *w, unsigned count, size_t size)
{
	static char value[5000];
	for (unsigned i = 0; i < count; i++) {
		char key[16];
		assert_ok(wombat_put(w->db, WOMBAT_USER, key_of(i * 7919 % count, key), WOMBAT_SLICE(value, size)));
	}
}

/* Each is off by no more than `slack` of all. */
static void check_ranges(struct db_world *w, struct random_state *r, unsigned count, unsigned slack)
{
	for (unsigned n = 0; n < 200; n++) {
		unsigned from = (unsigned)random_below(r, count), to = from + (unsigned)random_below(r, count - from + 1);
		int64_t off = (int64_t)keys_between(w, from, to) - (to - from);
		if (off > slack || off < -(int64_t)slack)
			fail_msg("%u to %u of %u: off by %d", from, to, count, (int)off);
	}
	assert_int_equal(keys_between(w, 500, 500), 0);
	assert_int_equal(keys_between(w, 600, 500), 0);
}

static void test_tables(void **state)
{
	(void)state;
	enum { COUNT = 8000 };
	struct db_world w;
	struct random_state r;
	random_seed(&r, test_seed("test_tables"));
	db_world_init(&w, (const char *const[]){ "block_size", "1K", NULL });
	put_many(&w, COUNT, 100);
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_true(db_world_stat(&w, "level.1.files") + db_world_stat(&w, "level.2.files") > 3);
	check_ranges(&w, &r, COUNT, 40);
	uint64_t keys, bytes;
	assert_ok(wombat_estimate(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""), &keys, &bytes));
	assert_int_equal(keys, COUNT);
	assert_true((double)bytes == db_world_stat(&w, "disk.tables_bytes"));
	assert_ok(wombat_estimate(w.db, 2, WOMBAT_STR(""), WOMBAT_STR(""), &keys, NULL));
	assert_int_equal(keys, 0);
	assert_ok(wombat_estimate(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR("k004000"), NULL, &bytes));
	assert_true((double)bytes > 0.45 * db_world_stat(&w, "disk.tables_bytes") &&
		    (double)bytes < 0.55 * db_world_stat(&w, "disk.tables_bytes"));
	/* No data is read for it. */
	double reads = db_world_stat(&w, "block_reads_total");
	check_ranges(&w, &r, COUNT, 40);
	assert_true(db_world_stat(&w, "block_reads_total") == reads);
	db_world_done(&w);
}

static void test_memtables(void **state)
{
	(void)state;
	enum { COUNT = 5000 };
	struct db_world w;
	struct random_state r;
	random_seed(&r, test_seed("test_memtables"));
	db_world_init(&w, (const char *const[]){ "mem_table_size", "16M", NULL });
	assert_int_equal(keys_between(&w, 0, 100), 0);
	put_many(&w, COUNT, 100);
	assert_true(db_world_stat(&w, "flushes_total") == 0);
	check_ranges(&w, &r, COUNT, COUNT / 8);
	assert_int_equal(keys_between(&w, 0, COUNT), COUNT);
	/* Deleted halfway. */
	for (unsigned i = 0; i < COUNT / 2; i++) {
		char key[16];
		assert_ok(wombat_delete(w.db, WOMBAT_USER, key_of(i, key)));
	}
	uint64_t keys;
	assert_ok(wombat_estimate(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""), &keys, NULL));
	assert_true(keys > COUNT / 2 - COUNT / 10 && keys < COUNT / 2 + COUNT / 10);
	db_world_done(&w);
}

static void test_large_values(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, (const char *const[]){ "value_threshold", "1000", NULL });
	put_many(&w, 100, 4000);
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	uint64_t bytes;
	assert_ok(wombat_estimate(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""), NULL, &bytes));
	assert_true(bytes > 100 * 4000 && bytes < 100 * 5000);
	db_world_done(&w);
}

static void test_failures(void **state)
{
	(void)state;
	struct db_world w;
	uint64_t keys = 7;
	db_world_init(&w, NULL);
	put_many(&w, 100, 100);
	assert_ok(wombat_flush(w.db));
	assert_status(wombat_estimate(w.db, 0, WOMBAT_STR(""), WOMBAT_STR(""), &keys, NULL), WOMBAT_INVALID);
	assert_status(wombat_estimate(w.db, 255, WOMBAT_STR(""), WOMBAT_STR(""), &keys, NULL), WOMBAT_INVALID);
	db_world_reopen(&w);
	db_world_fail(&w, "", ".sst", 0, WOMBAT_IO);
	assert_status(wombat_estimate(w.db, WOMBAT_USER, WOMBAT_STR("k000010"), WOMBAT_STR(""), &keys, NULL), WOMBAT_IO);
	assert_int_equal(keys, 7);
	db_world_let_go(&w);
	assert_ok(wombat_estimate(w.db, WOMBAT_USER, WOMBAT_STR("k000010"), WOMBAT_STR(""), &keys, NULL));
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_memtables),
		cmocka_unit_test(test_large_values),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
