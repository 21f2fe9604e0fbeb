/*
 * Options of an open database: a change is judged as a whole, refused without a trace or in force at once, and seen
 * where it acts; where the values of an opening come from.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"

static void expect_option(struct db_world *w, const char *name, const char *expected)
{
	char text[64];
	assert_ok(wombat_get_option(w->db, name, text, sizeof text));
	assert_string_equal(text, expected);
}

/* Another value that the option may have. */
static void other_value(const struct option_entry *e, const char *present, char out[64])
{
	if (e->info.type == WOMBAT_TYPE_BOOL)
		snprintf(out, 64, "%s", strcmp(present, "true") == 0 ? "false" : "true");
	else if (e->info.type == WOMBAT_TYPE_ENUM)
		snprintf(out, 64, "%s", strcmp(present, e->words[0]) == 0 ? e->words[1] : e->words[0]);
	else if (e->info.type == WOMBAT_TYPE_PATH)
		snprintf(out, 64, "/another/place");
	else if (e->info.type == WOMBAT_TYPE_REAL)
		snprintf(out, 64, "%.15g", e->max);
	else if (e->info.type == WOMBAT_TYPE_SIZE)
		snprintf(out, 64, "%.0f", e->min + 5000); /* little: log segments of that size are made */
	else if (strcmp(e->info.name, "num_compactors") == 0)
		snprintf(out, 64, "3"); /* nor are as many threads as it may have needed */
	else
		snprintf(out, 64, "%.0f", e->max - 1);
}

/* Each option is changed, or refused as the table says; what is refused stays. */
static void test_each_option(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	/* The later check between the two is not this test's. */
	assert_ok(db_world_set(&w, "num_level_zero_tables_stall", "10000"));
	for (size_t i = 0; i < option_count; i++) {
		const struct option_entry *e = &option_table[i];
		char before[64], changed[64], now[64];
		assert_ok(wombat_get_option(w.db, e->info.name, before, sizeof before));
		other_value(e, before, changed);
		struct wombat_setting setting = { e->info.name, changed };
		enum wombat_status expected = e->info.changeable ? WOMBAT_OK : WOMBAT_NOT_CHANGEABLE;
		print_message("option %s from %s to %s\n", e->info.name, before, changed);
		assert_status(wombat_judge(w.db, &setting, 1), expected);
		expect_option(&w, e->info.name, before);
		assert_status(wombat_set(w.db, &setting, 1), expected);
		assert_ok(wombat_get_option(w.db, e->info.name, now, sizeof now));
		if (e->info.changeable) {
			assert_string_not_equal(now, before);
		} else {
			assert_string_equal(now, before);
			assert_non_null(strstr(wombat_last_error(), e->info.name));
		}
		/* What it is already can be set in any case. */
		assert_ok(db_world_set(&w, e->info.name, now));
		assert_ok(db_world_set(&w, e->info.name, before));
		db_world_put(&w, "key", e->info.name);
		db_world_expect(&w, WOMBAT_USER, "key", e->info.name);
	}
	assert_ok(wombat_flush(w.db));
	db_world_done(&w);
}

static void test_refused_as_a_whole(void **state)
{
	(void)state;
	static const struct { struct wombat_setting last; enum wombat_status status; } cases[] = {
		{ { "no_such_option", "1" }, WOMBAT_NOT_FOUND },
		{ { "block_size", "1" }, WOMBAT_OUT_OF_RANGE },
		{ { "block_size", "small" }, WOMBAT_INVALID },
		{ { "max_levels", "5" }, WOMBAT_NOT_CHANGEABLE },
		{ { "num_level_zero_tables_stall", "3" }, WOMBAT_INVALID },
	};
	struct db_world w;
	char text[4];
	db_world_init(&w, NULL);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct wombat_setting settings[] = { { "max_key_size", "16" }, { "sync_writes", "true" }, cases[i].last };
		assert_status(wombat_judge(w.db, settings, 3), cases[i].status);
		assert_status(wombat_set(w.db, settings, 3), cases[i].status);
		assert_non_null(strstr(wombat_last_error(), cases[i].last.name));
		expect_option(&w, "max_key_size", "4K");
		expect_option(&w, "sync_writes", "false");
		db_world_put(&w, "a key of more than 16 bytes", "still fits");
	}
	assert_true(db_world_stat(&w, "wal.syncs_total") == 0);
	/* Two that are only right together, and none at all. */
	struct wombat_setting both[] = { { "num_level_zero_tables", "30" }, { "num_level_zero_tables_stall", "31" } };
	assert_status(wombat_set(w.db, both, 1), WOMBAT_INVALID);
	assert_ok(wombat_set(w.db, both, 2));
	assert_ok(wombat_set(w.db, NULL, 0));
	expect_option(&w, "num_level_zero_tables", "30");
	assert_status(wombat_get_option(w.db, "nothing", text, sizeof text), WOMBAT_NOT_FOUND);
	assert_status(wombat_get_option(w.db, "mem_table_size", text, sizeof text), WOMBAT_TOO_BIG);
	db_world_done(&w);
}

static void test_effect_on_writes(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	double syncs = db_world_stat(&w, "wal.syncs_total");
	db_world_put(&w, "key", "value");
	assert_true(db_world_stat(&w, "wal.syncs_total") == syncs);
	assert_ok(db_world_set(&w, "sync_writes", "true"));
	db_world_put(&w, "key", "value");
	assert_true(db_world_stat(&w, "wal.syncs_total") == syncs + 1);
	assert_ok(db_world_set(&w, "sync_writes", "false"));

	assert_ok(db_world_set(&w, "max_key_size", "16"));
	assert_true(wombat_limits(w.db).key_size == 16 && wombat_limits(w.db).value_size == UINT64_C(16) << 40);
	assert_ok(db_world_set(&w, "max_value_size", "3"));
	assert_status(wombat_put(w.db, WOMBAT_USER, WOMBAT_STR("seventeen letters"), WOMBAT_STR("")), WOMBAT_TOO_BIG);
	assert_non_null(strstr(wombat_last_error(), "max_key_size"));
	assert_status(wombat_put(w.db, WOMBAT_USER, WOMBAT_STR("key"), WOMBAT_STR("four")), WOMBAT_TOO_BIG);
	assert_non_null(strstr(wombat_last_error(), "max_value_size"));
	db_world_put(&w, "sixteen letters!", "abc");
	db_world_expect(&w, WOMBAT_USER, "key", "value"); /* what is there stays readable */

	assert_ok(db_world_set(&w, "max_value_size", "1M"));
	assert_ok(db_world_set(&w, "value_threshold", "100"));
	db_world_put_filled(&w, "large", 99, 1);
	assert_true(db_world_stat(&w, "value_log.appends_total") == 0);
	db_world_put_filled(&w, "large", 100, 1);
	assert_true(db_world_stat(&w, "value_log.appends_total") == 1);

	/* A memtable that was small enough is full by the new size at the next write. */
	assert_ok(db_world_set(&w, "value_threshold", "0"));
	db_world_put_filled(&w, "filler", 100000, 2);
	db_world_put(&w, "key", "1");
	assert_true(db_world_stat(&w, "flushes_total") == 0);
	assert_ok(db_world_set(&w, "mem_table_size", "64K"));
	db_world_put(&w, "key", "2");
	assert_ok(wombat_wait_idle(w.db));
	assert_true(db_world_stat(&w, "flushes_total") == 1);
	db_world_done(&w);
}

static double level_zero_bytes(struct db_world *w)
{
	return db_world_stat(w, "level.0.bytes");
}

/* Options of tables act on the next one; those of the tree on what is due; those of caches at once. */
static void test_effect_on_tables_and_caches(void **state)
{
	(void)state;
	struct db_world w;
	static char zeroes[20001];
	memset(zeroes, '0', sizeof zeroes - 1);
	db_world_init(&w, NULL);
	db_world_put(&w, "1", zeroes);
	assert_ok(wombat_flush(w.db));
	double plain = level_zero_bytes(&w);
	assert_true(plain > 20000);
	assert_ok(db_world_set(&w, "compression", "zlib"));
	db_world_put(&w, "2", zeroes);
	assert_ok(wombat_flush(w.db));
	assert_true(level_zero_bytes(&w) - plain < 4000);

	double files = db_world_stat(&w, "level.0.files");
	assert_true(files == 2);
	assert_ok(db_world_set(&w, "num_level_zero_tables", "2"));
	assert_ok(wombat_wait_idle(w.db));
	assert_true(db_world_stat(&w, "level.0.files") == 0);

	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	assert_true(db_world_stat(&w, "block_cache.bytes") > 0);
	assert_ok(db_world_set(&w, "block_cache_size", "0"));
	assert_true(db_world_stat(&w, "block_cache.bytes") == 0);
	double reads = db_world_stat(&w, "block_reads_total");
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	assert_true(db_world_stat(&w, "block_reads_total") >= reads + 2);

	/* With a shard too small for a block, packed ones are the only ones that stay. */
	assert_ok(db_world_set(&w, "block_cache_size", "64K"));
	assert_ok(db_world_set(&w, "enable_cache_compression", "true"));
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	db_world_expect(&w, WOMBAT_USER, "2", zeroes);
	assert_true(db_world_stat(&w, "packed_cache.entries") == 2 && db_world_stat(&w, "packed_cache.bytes") < 4000);
	reads = db_world_stat(&w, "block_reads_total");
	double packed_hits = db_world_stat(&w, "packed_cache.hits");
	db_world_expect(&w, WOMBAT_USER, "2", zeroes);
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	db_world_expect(&w, WOMBAT_USER, "2", zeroes);
	assert_true(db_world_stat(&w, "block_reads_total") == reads);
	assert_true(db_world_stat(&w, "packed_cache.hits") >= packed_hits + 3);
	assert_ok(db_world_set(&w, "enable_cache_compression", "false"));
	assert_true(db_world_stat(&w, "packed_cache.bytes") == 0);
	assert_ok(db_world_set(&w, "block_cache_size", "0"));

	/* Tables that are not in use are closed, and filters asked anew are read anew. */
	assert_ok(db_world_set(&w, "table_cache_size", "0"));
	assert_true(db_world_stat(&w, "table_cache.open") == 0 && db_world_stat(&w, "table_cache.bytes") == 0);
	double opened = db_world_stat(&w, "table_cache.misses");
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	assert_true(db_world_stat(&w, "table_cache.misses") == opened + 2);
	assert_ok(db_world_set(&w, "table_cache_size", "1M"));
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	assert_true(db_world_stat(&w, "table_cache.misses") == opened + 3);
	assert_true(db_world_stat(&w, "table_cache.bytes") > 0 && db_world_stat(&w, "filter_cache.bytes") > 0);
	assert_ok(db_world_set(&w, "filter_cache_size", "0"));
	assert_true(db_world_stat(&w, "filter_cache.bytes") == 0);
	double pages = db_world_stat(&w, "filter.page_reads");
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	assert_true(db_world_stat(&w, "filter.page_reads") == pages + 2);
	assert_ok(db_world_set(&w, "filter_cache_size", "1M"));
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	double hits = db_world_stat(&w, "filter_cache.hits");
	db_world_expect(&w, WOMBAT_USER, "1", zeroes);
	assert_true(db_world_stat(&w, "filter.page_reads") == pages + 3);
	assert_true(db_world_stat(&w, "filter_cache.hits") == hits + 1);
	assert_true(db_world_stat(&w, "filter.page_failures") == 0);

	/* At a byte a second the compaction waits behind its first table, until it may go on. */
	assert_ok(db_world_set(&w, "compaction_throttle_bytes_per_sec", "1"));
	double compactions = db_world_stat(&w, "compactions_total");
	for (unsigned i = 0; i < 20; i++) {
		char key[8];
		snprintf(key, sizeof key, "%u", i % 10);
		db_world_put_filled(&w, key, 20000, i);
		if (i % 10 == 9)
			assert_ok(wombat_flush(w.db));
	}
	db_world_await(&w, "compaction_throttled_ns", 1);
	assert_true(db_world_stat(&w, "compactions_total") == compactions);
	assert_ok(db_world_set(&w, "compaction_throttle_bytes_per_sec", "0"));
	assert_ok(wombat_wait_idle(w.db));
	assert_true(db_world_stat(&w, "compactions_total") > compactions);
	db_world_done(&w);
}

/* How much a scan over all asks the disk for ahead. */
static double asked_ahead(struct db_world *w, const char *figure)
{
	struct wombat_iter *it;
	double before = db_world_stat(w, figure);
	assert_ok(db_world_set(w, "block_cache_size", "0"));
	assert_ok(wombat_iter_new(w->db, NULL, WOMBAT_USER, &it));
	for (bool there = wombat_iter_first(it); there; there = wombat_iter_next(it))
		continue;
	wombat_iter_free(it);
	return db_world_stat(w, figure) - before;
}

static void test_effect_on_reading_ahead(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, (const char *const[]){ "block_size", "1K", "read_ahead_size", "64K", "prefetch_distance", "2", NULL });
	for (unsigned i = 0; i < 200; i++) {
		char key[8];
		snprintf(key, sizeof key, "%03u", i);
		db_world_put_filled(&w, key, 900, i);
	}
	assert_ok(wombat_flush(w.db));
	double few = asked_ahead(&w, "prefetch.requests_total");
	assert_true(few > 0 && asked_ahead(&w, "prefetch.bytes_total") > 100000);
	assert_ok(db_world_set(&w, "prefetch_distance", "1"));
	assert_true(asked_ahead(&w, "prefetch.requests_total") > few); /* it begins smaller */
	assert_ok(db_world_set(&w, "prefetch_distance", "4096"));
	assert_true(asked_ahead(&w, "prefetch.requests_total") < few);
	assert_ok(db_world_set(&w, "read_ahead_size", "4K"));
	assert_true(asked_ahead(&w, "prefetch.requests_total") > few);
	assert_ok(db_world_set(&w, "enable_prefetch", "false"));
	assert_true(asked_ahead(&w, "prefetch.requests_total") == 0);
	assert_ok(db_world_set(&w, "enable_prefetch", "true"));
	assert_true(asked_ahead(&w, "prefetch.requests_total") > few);
	db_world_done(&w);
}

static void test_log_segments_take_the_new_size(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	double rotations = db_world_stat(&w, "wal.rotations_total");
	assert_ok(db_world_set(&w, "mem_table_size", "16M"));
	assert_ok(db_world_set(&w, "wal_file_size", "4M"));
	for (unsigned i = 0; i < 40; i++) /* 4 MB: 32 segments of 128 KiB, or the few made before and one or two of these */
		db_world_put_filled(&w, "key", 100000, i);
	assert_in_range((unsigned long)(db_world_stat(&w, "wal.rotations_total") - rotations), 1, 5);
	db_world_done(&w);
}

/* Defaults, then wombat.conf, then what the caller set explicitly. */
static void test_sources(void **state)
{
	(void)state;
	static const char conf[] = "# limits\nmax_open_files = 50\nmem_table_size=1M\nmax_levels=4\n";
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_close(&w);
	db_world_write_file(&w, "wombat.conf", conf, sizeof conf - 1);
	db_world_open(&w);
	expect_option(&w, "max_open_files", "50");
	expect_option(&w, "max_levels", "4");
	expect_option(&w, "mem_table_size", "256K"); /* the caller's */
	expect_option(&w, "block_size", "4K");
	assert_true(db_world_stat(&w, "level.3.files") == 0);
	double value;
	assert_status(wombat_stat(w.db, "level.4.files", &value), WOMBAT_NOT_FOUND);
	/* A change lasts as long as the database is open. */
	assert_ok(db_world_set(&w, "max_open_files", "60"));
	expect_option(&w, "max_open_files", "60");
	db_world_reopen(&w);
	expect_option(&w, "max_open_files", "50");
	db_world_close(&w);

	static const struct { const char *text; enum wombat_status status; const char *part; } bad[] = {
		{ "max_levels=4\nmax_levels=1\n", WOMBAT_OUT_OF_RANGE, "/db/wombat.conf line 2" },
		{ "max_levels\n", WOMBAT_INVALID, "/db/wombat.conf line 1" },
		{ "\nmin_levels=3\n", WOMBAT_INVALID, "/db/wombat.conf line 2" },
		{ "num_level_zero_tables=20\n", WOMBAT_INVALID, "num_level_zero_tables_stall" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		db_world_write_file(&w, "wombat.conf", bad[i].text, strlen(bad[i].text));
		assert_status(db_open_env(w.env, DB_WORLD_DIR, w.options, 0, &w.db), bad[i].status);
		assert_non_null(strstr(wombat_last_error(), bad[i].part));
		assert_null(w.db);
	}
	db_world_write_file(&w, "wombat.conf", "", 0);
	db_world_open(&w);
	expect_option(&w, "max_levels", "7");
	db_world_done(&w);
}

static _Thread_local unsigned allocations_left; /* this thread's; 0: none fails */

static _Bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

/* A change that cannot be made for lack of memory is not made at all. */
static void test_out_of_memory(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_setting settings[] = { { "max_key_size", "16" }, { "num_compactors", "9" } };
	db_world_init(&w, NULL);
	enum wombat_status s = WOMBAT_NO_MEMORY;
	unsigned failures = 0;
	for (unsigned n = 1; s != WOMBAT_OK; n++) {
		allocations_left = n;
		s = wombat_set(w.db, settings, 2);
		bool failed = allocations_left == 0;
		allocations_left = 0;
		if (s != WOMBAT_OK) {
			assert_int_equal(s, WOMBAT_NO_MEMORY);
			expect_option(&w, "max_key_size", "4K");
			expect_option(&w, "num_compactors", "2");
		}
		assert_true(failed == (s != WOMBAT_OK));
		failures += failed;
	}
	assert_true(failures > 0);
	expect_option(&w, "num_compactors", "9");
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_option),
		cmocka_unit_test(test_refused_as_a_whole),
		cmocka_unit_test(test_effect_on_writes),
		cmocka_unit_test(test_effect_on_tables_and_caches),
		cmocka_unit_test(test_effect_on_reading_ahead),
		cmocka_unit_test(test_log_segments_take_the_new_size),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_out_of_memory),
	};
	mem_test_hook = fail_nth; /* before there are other threads */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
