/*
 * Flushes against the history: what a memtable's table holds, entry by entry, for whatever snapshots there are; that
 * it is one, durable, described rightly; and that a flush that fails leaves nothing.
 */
#include "engine/compact/flush.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/env/filename.h"
#include "tests/support/seed.h"
#include "tests/support/survivors.h"

static const struct history_mix everything = {
	.deletes = 20, .ranges = 4, .expiries = 20, .expiry_max_ns = 1000, .value_max = 60,
};

struct world {
	struct env *env;
	struct versions w;
	struct history h;
	struct random_state random;
};

static void world_init(struct world *x, const char *name, unsigned keys)
{
	*x = (struct world){ .h = { .keys = keys } };
	random_seed(&x->random, test_seed(name));
	assert_ok(env_mem_new(&x->env));
	versions_init(&x->w, x->env);
	assert_ok(versions_open(&x->w, true, false));
}

static void world_done(struct world *x)
{
	versions_done(&x->w);
	history_done(&x->h);
	x->env->calls->free(x->env);
}

/* The changes from `first` on in so many memtables of about the same size, the newest first. */
enum { MEMTABLES_MAX = 5 };
struct waiting {
	struct memtable *m[MEMTABLES_MAX];
	size_t count;
};

static void waiting_init(struct waiting *q, const struct history *h, size_t first, size_t count)
{
	q->count = count;
	for (size_t i = 0; i < count; i++) {
		size_t all = h->count - first, begin = first + all * i / count, end = first + all * (i + 1) / count;
		q->m[count - 1 - i] = history_memtable(h, begin, end - begin);
	}
}

static void waiting_done(struct waiting *q)
{
	for (size_t i = 0; i < q->count; i++)
		memtable_unref(q->m[i]);
}

/* ---- What a flush keeps ---------------------------------------------------------------------- */

/* The edit's description of the table is right, and the table is sound. */
static void check_table(struct world *x, const struct version_edit *e, const struct compaction_result *result)
{
	assert_int_equal(e->added_count, 1);
	assert_int_equal(e->added[0].level, 0);
	const struct file_meta *f = e->added[0].file;
	const struct table_summary *sum = &f->summary;
	char path[FILENAME_PATH_MAX];
	uint64_t size;
	struct table *t;
	struct lru_handle *handle;
	assert_true(filename_path(path, VERSIONS_DIR, FILE_TABLE, f->number));
	assert_ok(x->env->calls->file_size(x->env, path, &size));
	assert_true(size == sum->file_bytes && size == result->written_bytes);
	assert_int_equal(result->output_files, 1);
	assert_ok(table_cache_acquire(x->w.tables, &(struct table_name){ .number = f->number }, &t, &handle));
	assert_ok(table_check(t, NULL, NULL));
	const struct table_properties *p = table_properties_of(t);
	assert_true(p->entries == sum->entries && p->deletes == sum->deletes);
	assert_int_equal(p->range_deletes, sum->range_deletes);
	assert_true(p->smallest_sequence == sum->smallest_sequence && p->largest_sequence == sum->largest_sequence);
	assert_true(p->min_expiry_ns == sum->min_expiry_ns);
	table_cache_release(x->w.tables, handle);
}

static void test_against_the_history(void **state)
{
	(void)state;
	struct world x;
	uint64_t snapshots[8];
	for (unsigned round = 0; round < 12; round++) {
		struct waiting q;
		struct version_edit e;
		struct compaction_result result;
		world_init(&x, "test_against_the_history", round % 3 ? 30 : 300);
		history_grow(&x.h, &x.random, 10 + random_below(&x.random, 300), &everything);
		size_t count = survivors_snapshots(&x.h, &x.random, snapshots, round % 7);
		if (round % 4 == 3) /* a list made before the last changes */
			snapshots[count - 1] -= count > 1 ? (snapshots[count - 1] - snapshots[count - 2]) / 2 : 5;
		waiting_init(&q, &x.h, 0, 1 + round % MEMTABLES_MAX);
		struct compaction_context c = versions_context(&x.w, snapshots, count, 500);
		struct survivor_rule rule = { .snapshots = snapshots, .snapshot_count = count };
		version_edit_init(&e);
		assert_ok(flush_run(&c, q.m, q.count, &e, &result));
		check_table(&x, &e, &result);
		survivors_compare(&x.w, &e, &x.h, 0, x.h.count, &rule);
		size_t left = survivors_count(&x.h, 0, x.h.count, &rule), points = 0;
		for (size_t i = 0; i < x.h.count; i++)
			points += x.h.items[i].kind != KIND_DELETE_RANGE;
		assert_int_equal(result.dropped_entries, points - left);
		assert_int_equal(e.removed_count, 0);
		version_edit_done(&e);
		waiting_done(&q);
		world_done(&x);
	}
}

/* Flush upon flush: each snapshot shows what it showed, and tombstones hide what older tables hold. */
static void test_flush_upon_flush(void **state)
{
	(void)state;
	struct world x;
	uint64_t snapshots[8];
	size_t count = 0;
	world_init(&x, "test_flush_upon_flush", 60);
	for (unsigned round = 0; round < 7; round++) {
		struct waiting q;
		struct version_edit e;
		struct compaction_result result;
		size_t first = x.h.count;
		history_grow(&x.h, &x.random, 60, &everything);
		snapshots[count++] = x.h.count;
		waiting_init(&q, &x.h, first, 1 + round % 3);
		struct compaction_context c = versions_context(&x.w, snapshots, count, 500);
		version_edit_init(&e);
		assert_ok(flush_run(&c, q.m, q.count, &e, &result));
		e.has_last_sequence = e.has_flushed_sequence = true;
		e.last_sequence = e.flushed_sequence = x.h.count;
		assert_ok(versions_apply(&x.w, &e));
		version_edit_done(&e);
		waiting_done(&q);
		versions_compare(&x.w, &x.h, snapshots, count, 500);
	}
	assert_int_equal(versions_table_files(&x.w), 7);
	world_done(&x);
}

/* However large, it is one table: tables of level 0 must not interleave in sequence numbers. */
static void test_one_table(void **state)
{
	(void)state;
	static const struct history_mix puts = { .value_max = 3000 };
	struct world x;
	struct waiting q;
	struct version_edit e;
	struct compaction_result result;
	world_init(&x, "test_one_table", 200);
	history_grow(&x.h, &x.random, 300, &puts);
	uint64_t newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.max_table_size = 1000; /* concerns compactions only */
	waiting_init(&q, &x.h, 0, 2);
	version_edit_init(&e);
	assert_ok(flush_run(&c, q.m, q.count, &e, &result));
	assert_true(result.written_bytes > 100 * 1000);
	check_table(&x, &e, &result);
	version_edit_done(&e);
	waiting_done(&q);
	world_done(&x);
}

/* ---- Edges ----------------------------------------------------------------------------------- */

static void test_nothing_to_write(void **state)
{
	(void)state;
	struct world x;
	struct waiting q;
	uint64_t newest = 1;
	world_init(&x, "test_nothing_to_write", 10);
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	for (size_t count = 0; count < 3; count++) { /* empty memtables, or none */
		struct version_edit e;
		struct compaction_result result = { .output_files = 9 };
		waiting_init(&q, &x.h, 0, count);
		version_edit_init(&e);
		assert_ok(flush_run(&c, q.m, q.count, &e, &result));
		assert_true(e.added_count == 0 && result.output_files == 0 && result.written_bytes == 0);
		version_edit_done(&e);
		waiting_done(&q);
	}
	assert_int_equal(versions_table_files(&x.w), 0);
	world_done(&x);
}

/* Range tombstones alone are a table, and its bounds are theirs. */
static void test_only_ranges(void **state)
{
	(void)state;
	static const struct history_mix ranges = { .ranges = 100 };
	struct world x;
	struct waiting q;
	struct version_edit e;
	struct compaction_result result;
	world_init(&x, "test_only_ranges", 50);
	history_grow(&x.h, &x.random, 20, &ranges);
	uint64_t newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	struct survivor_rule rule = { .snapshots = &newest, .snapshot_count = 1 };
	waiting_init(&q, &x.h, 0, 3);
	version_edit_init(&e);
	assert_ok(flush_run(&c, q.m, q.count, &e, &result));
	check_table(&x, &e, &result);
	assert_int_equal(e.added[0].file->summary.entries, 0);
	assert_true(e.added[0].file->summary.largest_excluded);
	survivors_compare(&x.w, &e, &x.h, 0, x.h.count, &rule);
	version_edit_done(&e);
	waiting_done(&q);
	world_done(&x);
}

/* What the edit names is on the disk, name and bytes, before anybody can write the edit down. */
static void test_durable_when_it_returns(void **state)
{
	(void)state;
	struct world x;
	struct waiting q;
	struct version_edit e;
	struct compaction_result result;
	struct env *found;
	char path[FILENAME_PATH_MAX];
	world_init(&x, "test_durable_when_it_returns", 50);
	history_grow(&x.h, &x.random, 100, &everything);
	uint64_t newest = x.h.count, size;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	waiting_init(&q, &x.h, 0, 1);
	version_edit_init(&e);
	assert_ok(flush_run(&c, q.m, q.count, &e, &result));
	assert_ok(env_mem_clone(x.env, ENV_MEM_SYNCED_ONLY, 0, &found));
	assert_true(filename_path(path, VERSIONS_DIR, FILE_TABLE, e.added[0].file->number));
	assert_ok(found->calls->file_size(found, path, &size));
	assert_int_equal(size, result.written_bytes);
	found->calls->free(found);
	version_edit_done(&e);
	waiting_done(&q);
	world_done(&x);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static size_t left; /* so many succeed, then all fail */

static enum wombat_status fail_calls(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path; /* closing and removing are what is done about a failure */
	if (strcmp(op, "remove") == 0 || strcmp(op, "writer_close") == 0)
		return WOMBAT_OK;
	return left > 0 && left-- > 0 ? WOMBAT_OK : WOMBAT_NO_SPACE;
}

static _Bool fail_allocations(size_t size)
{
	(void)size;
	return left > 0 && left-- > 0;
}

static void test_each_failure(void **state)
{
	(void)state;
	struct world x;
	struct waiting q;
	world_init(&x, "test_each_failure", 100);
	history_grow(&x.h, &x.random, 200, &everything);
	uint64_t newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.table.write_buffer_bytes = 512; /* many writes */
	for (int memory = 0; memory < 2; memory++) {
		bool passed = false;
		size_t n = 0;
		for (; !passed; n++) {
			struct version_edit e;
			struct compaction_result result = { .output_files = 77 };
			version_edit_init(&e);
			waiting_init(&q, &x.h, 0, 3); /* new ones: they sort their range tombstones once */
			left = n;
			if (memory)
				mem_test_hook = fail_allocations;
			else
				env_mem_on_call(x.env, fail_calls, NULL);
			enum wombat_status s = flush_run(&c, q.m, q.count, &e, &result);
			mem_test_hook = NULL;
			env_mem_on_call(x.env, NULL, NULL);
			passed = s == WOMBAT_OK;
			if (!passed) {
				assert_status(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_NO_SPACE);
				assert_true(memory || strstr(wombat_last_error(), "injected"));
				assert_true(e.added_count == 0 && result.output_files == 77);
			}
			assert_int_equal(versions_table_files(&x.w), passed + (size_t)memory);
			version_edit_done(&e);
			waiting_done(&q);
		}
		assert_true(n > 20);
	}
	world_done(&x);
}

/* A database that closes does not wait for a long flush; without that many entries it is not worth a look. */
static void test_cancel(void **state)
{
	(void)state;
	static const struct history_mix puts = { .value_max = 5 };
	struct world x;
	atomic_bool cancel = true;
	world_init(&x, "test_cancel", 5000);
	for (int large = 0; large < 2; large++) {
		struct waiting q;
		struct version_edit e;
		struct compaction_result result;
		history_grow(&x.h, &x.random, large ? 3000 : 100, &puts);
		uint64_t newest = x.h.count;
		struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
		c.cancel = &cancel;
		waiting_init(&q, &x.h, 0, 2);
		version_edit_init(&e);
		assert_status(flush_run(&c, q.m, q.count, &e, &result), large ? WOMBAT_BUSY : WOMBAT_OK);
		assert_int_equal(e.added_count, large ? 0 : 1);
		assert_int_equal(versions_table_files(&x.w), 1);
		version_edit_done(&e);
		waiting_done(&q);
	}
	world_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_the_history),
		cmocka_unit_test(test_flush_upon_flush),
		cmocka_unit_test(test_one_table),
		cmocka_unit_test(test_nothing_to_write),
		cmocka_unit_test(test_only_ranges),
		cmocka_unit_test(test_durable_when_it_returns),
		cmocka_unit_test(test_each_failure),
		cmocka_unit_test(test_cancel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
