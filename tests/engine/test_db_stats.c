/*
 * Statistics of a database: each figure moves when what it counts happens and only then, names are unique and hold still.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/db/db_impl.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"

/* ---- All of them at a time ----------------------------------------------------------------- */

enum { FIGURES_MAX = 300 };

struct figures {
	struct {
		char name[48];
		double value;
		bool is_integer, is_counter;
	} items[FIGURES_MAX];
	size_t count;
};

static void take_figure(void *arg, const struct wombat_stat *stat)
{
	struct figures *f = arg;
	assert_true(f->count < FIGURES_MAX && strlen(stat->name) < sizeof f->items[0].name);
	strcpy(f->items[f->count].name, stat->name);
	f->items[f->count].value = stat->value;
	f->items[f->count].is_integer = stat->is_integer;
	f->items[f->count].is_counter = stat->is_counter;
	/* Only what repeats by level or quantile goes without a help. */
	assert_true(stat->help ? strlen(stat->help) > 5 : strncmp(stat->name, "level.", 6) == 0 ||
							  strncmp(stat->name, "latency.", 8) == 0);
	assert_true(stat->value >= 0 && (!stat->is_integer || stat->value == (double)(uint64_t)stat->value));
	f->count++;
}

static struct figures *take(struct db_world *w)
{
	struct figures *f = calloc(1, sizeof *f);
	assert_non_null(f);
	assert_ok(wombat_stats(w->db, take_figure, f));
	return f;
}

static double figure(const struct figures *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->items[i].name, name) == 0)
			return f->items[i].value;
	fail_msg("there is no figure %s", name);
	return 0;
}

/* Some of everything. */
static void be_busy(struct db_world *w)
{
	for (unsigned i = 0; i < 60; i++) {
		db_world_put_filled(w, i % 2 ? "a" : "b", 1000 + i * 100, i);
		if (i % 20 == 19)
			assert_ok(wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	}
	db_world_expect_filled(w, "a", 6900, 59);
	assert_ok(wombat_delete_range(w->db, WOMBAT_USER, WOMBAT_STR("a"), WOMBAT_STR("b")));
	assert_ok(wombat_flush(w->db));
}

static void test_names(void **state)
{
	(void)state;
	const char *const settings[] = { "value_threshold", "4K", NULL };
	struct db_world w;
	double value = -1;
	db_world_init(&w, settings);
	struct figures *before = take(&w);
	be_busy(&w);
	struct figures *after = take(&w);
	assert_int_equal(before->count, after->count);
	for (size_t i = 0; i < before->count; i++) {
		const char *name = before->items[i].name;
		assert_string_equal(name, after->items[i].name); /* the order is the same */
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(name, before->items[j].name);
		for (const char *c = name; *c; c++)
			assert_true((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '.');
		assert_true(before->items[i].is_counter == after->items[i].is_counter);
		assert_true(before->items[i].is_integer == after->items[i].is_integer);
		if (before->items[i].is_counter && after->items[i].value < before->items[i].value)
			fail_msg("the counter %s fell from %g to %g", name, before->items[i].value, after->items[i].value);
		assert_ok(wombat_stat(w.db, name, &value));
	}
	value = -1;
	assert_status(wombat_stat(w.db, "puts", &value), WOMBAT_NOT_FOUND);
	assert_non_null(strstr(wombat_last_error(), "\"puts\""));
	assert_true(value == -1);
	free(before);
	free(after);
	db_world_done(&w);
}

/* ---- What moves a figure ------------------------------------------------------------------- */

/* The difference of one figure between two moments. */
static double moved(const struct figures *before, struct db_world *w, const char *name)
{
	return db_world_stat(w, name) - figure(before, name);
}

#define assert_moved(before, w, name, by) \
	do { \
		double moved_ = moved(before, w, name); \
		if (moved_ != (by)) \
			fail_msg("%s moved by %g, not by %g", name, moved_, (double)(by)); \
	} while (0)

static void test_operations(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_record r;
	struct wombat_iter *it;
	db_world_init(&w, NULL);
	db_world_put(&w, "there", "value");
	struct figures *f = take(&w);
	db_world_expect(&w, WOMBAT_USER, "there", "value");
	assert_status(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("absent"), &r), WOMBAT_NOT_FOUND);
	assert_moved(f, &w, "gets_total", 2);
	assert_moved(f, &w, "gets_found_total", 1);
	assert_moved(f, &w, "puts_total", 0);

	struct wombat_batch *b = wombat_batch_new();
	assert_ok(wombat_batch_put(b, 1, WOMBAT_STR("1"), WOMBAT_STR("one"), NULL));
	assert_ok(wombat_batch_put(b, 2, WOMBAT_STR("2"), WOMBAT_STR("two"), NULL));
	assert_ok(wombat_batch_delete(b, 1, WOMBAT_STR("there")));
	assert_ok(wombat_write(w.db, b, 0, NULL));
	wombat_batch_free(b);
	db_world_put(&w, "3", "three");
	assert_ok(wombat_delete(w.db, 1, WOMBAT_STR("3")));
	assert_ok(wombat_delete_range(w.db, 1, WOMBAT_STR("4"), WOMBAT_STR("5")));
	assert_status(wombat_put(w.db, 0, WOMBAT_STR("3"), WOMBAT_STR("")), WOMBAT_INVALID);
	assert_moved(f, &w, "puts_total", 3);
	assert_moved(f, &w, "deletes_total", 3); /* the range too */
	assert_moved(f, &w, "range_deletes_total", 1);
	assert_moved(f, &w, "write_groups_total", 4);
	assert_moved(f, &w, "sequence", 6);
	assert_moved(f, &w, "entries", 6);
	assert_true(moved(f, &w, "user_bytes_total") >= 3 * 5 && moved(f, &w, "wal.bytes_total") > moved(f, &w, "user_bytes_total"));
	assert_true(moved(f, &w, "wal.unsynced_bytes") > 0);

	struct wombat_snapshot *snapshot = wombat_snapshot_new(w.db);
	assert_moved(f, &w, "snapshots", 1);
	wombat_snapshot_release(w.db, snapshot);
	assert_moved(f, &w, "snapshots", 0);
	assert_ok(wombat_iter_new(w.db, NULL, WOMBAT_USER, &it));
	wombat_iter_free(it);
	assert_moved(f, &w, "scans_total", 1);
	assert_ok(wombat_sync(w.db));
	assert_moved(f, &w, "wal.syncs_total", 1);
	assert_true(db_world_stat(&w, "wal.unsynced_bytes") == 0);
	assert_ok(wombat_sync(w.db)); /* nothing new */
	assert_moved(f, &w, "wal.syncs_total", 1);
	assert_true(moved(f, &w, "uptime_ns") > 0);
	free(f);
	db_world_done(&w);
}

/* A sampled operation weighs as many as it stands for: after a whole number of samples, sum and quantiles are there. */
static void test_latencies(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	for (unsigned i = 0; i < 4 * STATS_SAMPLE; i++) {
		db_world_put(&w, "key", "value");
		db_world_expect(&w, WOMBAT_USER, "key", "value");
		assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("key")));
	}
	static const char *const operations[] = { "get", "put", "delete" };
	for (size_t i = 0; i < 3; i++) {
		static const char *const points[] = { "p50", "p95", "p99", "p999", "max" };
		char name[64];
		double last = 0;
		snprintf(name, sizeof name, "%s_latency_ns", operations[i]);
		assert_true(db_world_stat(&w, name) > 0);
		for (size_t p = 0; p < 5; p++) {
			snprintf(name, sizeof name, "latency.%s.%s_ns", operations[i], points[p]);
			double value = db_world_stat(&w, name);
			/* Quantiles are those of buckets, so the highest may lie a little above the exact maximum. */
			assert_true(value > 0 && value >= last * 0.9);
			last = value;
		}
	}
	db_world_done(&w);
}

static void test_tables_and_caches(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_record r;
	db_world_init(&w, NULL);
	db_world_put_filled(&w, "m", 3000, 1);
	struct figures *f = take(&w);
	assert_true(figure(f, "memory.memtables_bytes") > 3000 && figure(f, "disk.tables_bytes") == 0);
	assert_ok(wombat_flush(w.db));
	assert_moved(f, &w, "flushes_total", 1);
	assert_moved(f, &w, "level.0.files", 1);
	assert_moved(f, &w, "level.0.bytes", db_world_stat(&w, "flush_bytes_total"));
	assert_moved(f, &w, "disk.tables_bytes", db_world_stat(&w, "level.0.bytes"));
	assert_moved(f, &w, "entries", 0);
	assert_true(db_world_stat(&w, "level.0.score") == 0.25);
	assert_true(db_world_stat(&w, "memory.memtables_bytes") < 3000);
	assert_true(moved(f, &w, "disk.manifest_bytes") > 0);
	assert_ok(wombat_flush(w.db)); /* nothing to do */
	assert_moved(f, &w, "flushes_total", 1);
	free(f);

	f = take(&w);
	db_world_expect_filled(&w, "m", 3000, 1);
	assert_true(moved(f, &w, "block_cache.misses") > 0 && moved(f, &w, "block_reads_total") > 0);
	assert_true(moved(f, &w, "block_read_bytes_total") >= 3000 && moved(f, &w, "block_cache.bytes") >= 3000);
	assert_true(db_world_stat(&w, "table_cache.open") == 1 && db_world_stat(&w, "memory.tables_bytes") > 0);
	assert_true(db_world_stat(&w, "read_amplification") == 1);
	double reads = db_world_stat(&w, "block_reads_total"), hits = db_world_stat(&w, "block_cache.hits");
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("m"), &r));
	assert_true(db_world_stat(&w, "block_cache.pinned_bytes") >= 3000);
	wombat_record_release(&r);
	assert_true(db_world_stat(&w, "block_cache.pinned_bytes") == 0);
	assert_true(db_world_stat(&w, "block_reads_total") == reads && db_world_stat(&w, "block_cache.hits") > hits);
	assert_true(db_world_stat(&w, "cache_hit_ratio") > 0 && db_world_stat(&w, "cache_hit_ratio") < 1);
	free(f);

	/* Filters: of 40 absent keys within the table's range most are ruled out without a read. */
	f = take(&w);
	db_world_put(&w, "a", "");
	db_world_put(&w, "z", "");
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_moved(f, &w, "compactions_total", 1);
	assert_moved(f, &w, "level.0.files", -1);
	assert_moved(f, &w, "level.1.files", 1);
	assert_true(moved(f, &w, "compaction_read_bytes_total") >= 3000);
	assert_moved(f, &w, "compaction_write_bytes_total", db_world_stat(&w, "level.1.bytes"));
	for (unsigned i = 0; i < 40; i++) {
		char key[16];
		snprintf(key, sizeof key, "n%u", i);
		db_world_expect(&w, WOMBAT_USER, key, NULL);
	}
	assert_moved(f, &w, "filter.checks", 40);
	assert_in_range((unsigned long)moved(f, &w, "filter.useful"), 30, 40);
	bool exists = true;
	assert_ok(wombat_prefix_exists(w.db, NULL, WOMBAT_USER, WOMBAT_STR("n/"), &exists));
	assert_false(exists);
	assert_moved(f, &w, "filter.prefix_checks", 1);
	assert_moved(f, &w, "filter.prefix_useful", 1);
	double evictions = db_world_stat(&w, "block_cache.evictions");
	db_world_expect_filled(&w, "m", 3000, 1);
	assert_ok(db_world_set(&w, "block_cache_size", "0"));
	assert_true(db_world_stat(&w, "block_cache.evictions") > evictions);
	assert_true(db_world_stat(&w, "space_amplification") == 1);
	assert_true(db_world_stat(&w, "write_amplification") > 2); /* log, flush, compaction */
	free(f);
	db_world_done(&w);
}

static void test_moves_logs_and_values(void **state)
{
	(void)state;
	const char *const settings[] = { "value_threshold", "4K", "num_level_zero_tables", "1", NULL };
	struct db_world w;
	db_world_init(&w, settings);
	struct figures *f = take(&w);
	for (unsigned i = 0; i < 5; i++) { /* one behind the other: nothing to be merged */
		char key[16];
		snprintf(key, sizeof key, "k%u", i);
		db_world_put_filled(&w, key, 100, i);
		assert_ok(wombat_flush(w.db));
		assert_ok(wombat_wait_idle(w.db));
	}
	assert_true(moved(f, &w, "trivial_moves_total") + moved(f, &w, "compactions_total") >= 5);
	assert_true(moved(f, &w, "trivial_moves_total") >= 1);
	free(f);

	f = take(&w);
	for (unsigned i = 0; i < 80; i++)
		db_world_put_filled(&w, "k", 4000, i); /* below the threshold: 320 KB of log */
	assert_in_range((unsigned long)moved(f, &w, "wal.rotations_total"), 2, 3);
	assert_true(moved(f, &w, "wal.bytes_total") >= 80 * 4000);
	assert_true(db_world_stat(&w, "wal.files") >= 1 && db_world_stat(&w, "disk.wal_bytes") >= 131072);
	assert_moved(f, &w, "value_log.appends_total", 0);
	free(f);

	f = take(&w);
	db_world_put_filled(&w, "large", 5000, 1);
	assert_moved(f, &w, "value_log.appends_total", 1);
	assert_true(moved(f, &w, "value_log.bytes_total") >= 5000 && moved(f, &w, "user_bytes_total") >= 5000);
	assert_true(moved(f, &w, "wal.bytes_total") < 500 && db_world_stat(&w, "value_log.files") == 1);
	assert_moved(f, &w, "value_log.live_bytes", 0); /* no table points to it yet */
	assert_true(db_world_stat(&w, "value_log.dead_bytes") >= 5000);
	assert_ok(wombat_sync(w.db));
	assert_moved(f, &w, "value_log.syncs_total", 1);
	assert_ok(wombat_flush(w.db));
	assert_moved(f, &w, "value_log.live_bytes", 5000);
	db_world_expect_filled(&w, "large", 5000, 1);
	assert_moved(f, &w, "value_log.reads_total", 1);
	assert_true(db_world_stat(&w, "disk.values_bytes") == db_world_stat(&w, "value_log.bytes"));
	/* Of one moment: a segment may be made ready at any time. */
	struct figures *now = take(&w);
	assert_true(figure(now, "disk_usage_bytes") == figure(now, "disk.values_bytes") + figure(now, "disk.tables_bytes") +
							       figure(now, "disk.wal_bytes") + figure(now, "disk.manifest_bytes"));
	assert_true(figure(now, "memory_usage_bytes") == figure(now, "memory.memtables_bytes") +
								 figure(now, "memory.block_cache_bytes") + figure(now, "memory.filter_cache_bytes") +
								 figure(now, "memory.tables_bytes"));
	free(now);
	/* Dead as a whole: the file goes when nothing points to it. */
	for (unsigned i = 0; i < 14; i++)
		db_world_put_filled(&w, "large", 5000, i);
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_true(moved(f, &w, "value_log.removed_files_total") >= 1);
	assert_true(moved(f, &w, "value_log.reclaimed_bytes_total") >= 5000);
	free(f);
	db_world_done(&w);
}

static void test_errors(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_record r;
	db_world_init(&w, NULL);
	db_world_put_filled(&w, "key", 3000, 1);
	assert_ok(wombat_flush(w.db));
	struct figures *f = take(&w);
	uint64_t number;
	size_t size;
	char path[FILENAME_PATH_MAX];
	assert_int_equal(db_world_files(&w, FILE_TABLE, &number), 1);
	assert_true(filename_path(path, DB_WORLD_DIR, FILE_TABLE, number));
	env_mem_bytes(w.env, path, &size)[1000] ^= 1;
	assert_status(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("key"), &r), WOMBAT_CORRUPTION);
	assert_moved(f, &w, "errors.checksum_total", 1);
	assert_moved(f, &w, "errors.corruption_total", 1);
	env_mem_bytes(w.env, path, &size)[1000] ^= 1;
	db_world_fail_own(&w, "reader_read", ".sst", 0, WOMBAT_IO);
	assert_status(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("key"), &r), WOMBAT_IO);
	db_world_let_go(&w);
	assert_moved(f, &w, "errors.io_total", 1);
	assert_moved(f, &w, "errors.no_space_total", 0);
	assert_true(db_world_stat(&w, "read_only") == 0);
	db_world_expect_filled(&w, "key", 3000, 1);
	assert_moved(f, &w, "errors.io_total", 1);
	free(f);
	db_world_done(&w);
}

/* Counters, ratios and latencies begin anew; what tells a state does not. */
static void test_reset(void **state)
{
	(void)state;
	static const char *const states[] = { "entries", "sequence", "disk.tables_bytes", "table_cache.open", "block_cache.bytes" };
	struct db_world w;
	db_world_init(&w, NULL);
	be_busy(&w);
	assert_ok(wombat_reclaim(w.db)); /* or it is done in the background meanwhile */
	struct figures *before = take(&w);
	assert_ok(wombat_reset_stats(w.db));
	struct figures *after = take(&w);
	assert_int_equal(before->count, after->count);
	for (size_t i = 0; i < after->count; i++) {
		const char *name = after->items[i].name;
		bool begins_anew = after->items[i].is_counter || strstr(name, "ratio") || strncmp(name, "latency.", 8) == 0 ||
				   strcmp(name, "write_amplification") == 0 || strcmp(name, "write_group_size") == 0;
		/* Telling the figures looks at the tables, and so counts in their cache. */
		if (begins_anew && strncmp(name, "table_cache.", 12) != 0 && after->items[i].value != 0)
			fail_msg("%s is %g after a reset", name, after->items[i].value);
	}
	for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
		assert_true(figure(before, states[i]) == figure(after, states[i]));
	assert_true(figure(after, "counting_ns") <= figure(after, "uptime_ns"));

	/* They count on from there, and a second reset is one as well. */
	db_world_put(&w, "one", "1");
	db_world_expect(&w, WOMBAT_USER, "one", "1");
	assert_true(db_world_stat(&w, "puts_total") == 1 && db_world_stat(&w, "gets_total") == 1);
	assert_true(db_world_stat(&w, "write_group_size") == 1);
	for (unsigned i = 0; i < 200; i++)
		db_world_put(&w, "one", "1");
	assert_true(db_world_stat(&w, "latency.put.p50_ns") > 0);
	assert_ok(wombat_reset_stats(w.db));
	assert_true(db_world_stat(&w, "puts_total") == 0 && db_world_stat(&w, "latency.put.p50_ns") == 0);
	/* Without memory nothing changes. */
	db_world_put(&w, "one", "1");
	unsigned failed = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; failed++) {
		assert_true(db_world_stat(&w, "puts_total") == 1);
		scarce_begin(failed);
		s = wombat_reset_stats(w.db);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_true(failed > 3);
	assert_true(db_world_stat(&w, "puts_total") == 0);
	free(before);
	free(after);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_operations),
		cmocka_unit_test(test_latencies),
		cmocka_unit_test(test_tables_and_caches),
		cmocka_unit_test(test_moves_logs_and_values),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
