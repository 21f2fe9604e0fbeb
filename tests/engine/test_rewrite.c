/*
 * The rewriting of entries against the history, entry by entry: stripes of snapshots, tombstones that may go and
 * those that have something below, expiries; how the outputs divide the keys; values that move; failures.
 */
#include "engine/compact/rewrite.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/record.h"
#include "engine/env/filename.h"
#include "engine/version/version_set.h"
#include "engine/vlog/vlog.h"
#include "tests/support/seed.h"
#include "tests/support/survivors.h"

static const struct history_mix everything = {
	.deletes = 25, .ranges = 3, .expiries = 25, .expiry_max_ns = 1000, .value_max = 60,
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

/* The whole history through one rewrite. */
static enum wombat_status rewrite(struct world *x, const struct compaction_context *c,
				  const struct rewrite_options *o, struct version_edit *e,
				  struct compaction_result *out)
{
	struct memtable *m = history_memtable(&x->h, 0, x->h.count);
	struct range_fragments *f;
	struct range_del_set ranges;
	struct wombat_slice none = { NULL, 0 };
	struct iter *it;
	range_del_set_init(&ranges);
	assert_ok(memtable_iter_new(m, &it));
	assert_ok(memtable_range_dels(m, &f));
	assert_ok(range_fragments_collect(f, none, none, &ranges));
	version_edit_init(e);
	enum wombat_status s = rewrite_run(c, o, it, &ranges, e, out);
	range_del_set_done(&ranges);
	range_fragments_unref(f);
	iter_free(it);
	memtable_unref(m);
	return s;
}

/* ---- What is kept ---------------------------------------------------------------------------- */

/* Tables of the levels below the output's, here and there among the keys; by name alone, nobody looks into them. */
static const struct fake_table below[] = {
	FAKE(2, 900, "d00/k0003", "d00/k0003"),
	FAKE(2, 901, "d00/k0010", "d00/k0019"),
	FAKE(2, 902, "d00/k0040", "d00/k0041"),
	FAKE(3, 903, "d00/k0015", "d00/k0025"),
	FAKE(4, 904, "d00/k0070", "d01/k0110"),
};
enum { BELOW = sizeof(below) / sizeof(below[0]) };

static void add_below(struct world *x)
{
	struct version_edit e;
	version_edit_init(&e);
	e.has_next_file_number = true;
	e.next_file_number = 1000;
	for (size_t i = 0; i < BELOW; i++) {
		fake_add(&e, &below[i]);
		fake_file(x->env, below[i].number, 100);
	}
	for (unsigned i = 900; i < 905; i++)
		while (version_set_new_file_number(x->w.set) < i)
			;
	assert_ok(versions_apply(&x->w, &e));
	version_edit_done(&e);
}

/* In every one of these: nothing known of what lies below; nothing there; the tables from above. */
static void test_against_the_history(void **state)
{
	(void)state;
	enum { UNKNOWN, BOTTOM, SOME_BELOW, CASES };
	for (unsigned round = 0; round < 24; round++) {
		struct world x;
		uint64_t snapshots[8];
		struct version_edit e;
		struct compaction_result result;
		unsigned kind = round % CASES;
		bool expiring = round % 2;
		world_init(&x, "test_against_the_history", round % 4 ? 120 : 20);
		history_grow(&x.h, &x.random, 20 + random_below(&x.random, 250), &everything);
		if (kind == SOME_BELOW)
			add_below(&x);
		size_t count = survivors_snapshots(&x.h, &x.random, snapshots, round % 5);
		if (round % 6 > 3) /* changes that came after the list was made */
			snapshots[count - 1] -= count > 1 ? (snapshots[count - 1] - snapshots[count - 2]) / 2 : 9;
		struct compaction_context c = versions_context(&x.w, snapshots, count, 500);
		struct version *v = versions_current(&x.w);
		struct rewrite_options o = {
			.output_level = 1, .version = kind == UNKNOWN ? NULL : v, .bottom = kind == BOTTOM,
			.expiring = expiring, .max_table_size = round % 5 ? 1500 : UINT64_MAX,
		};
		struct survivor_rule rule = {
			.snapshots = snapshots, .snapshot_count = count, .now_ns = expiring ? 500 : 0,
			.tombstones_may_go = kind != UNKNOWN, .below = below,
			.below_count = kind == SOME_BELOW ? BELOW : 0,
		};
		assert_ok(rewrite(&x, &c, &o, &e, &result));
		survivors_compare(&x.w, &e, &x.h, 0, x.h.count, &rule);
		assert_int_equal(result.output_files, e.added_count);
		version_edit_done(&e);
		version_unref(v);
		world_done(&x);
	}
}

/* Nothing is left of what is dead: no table at all. */
static void test_nothing_is_left(void **state)
{
	(void)state;
	static const struct history_mix deletes = { .deletes = 90, .ranges = 10 };
	struct world x;
	struct version_edit e;
	struct compaction_result result;
	world_init(&x, "test_nothing_is_left", 30);
	history_grow(&x.h, &x.random, 100, &deletes);
	uint64_t newest = x.h.count;
	struct version *v = versions_current(&x.w);
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	struct rewrite_options o = { .output_level = 1, .version = v, .bottom = true, .max_table_size = 4096 };
	assert_ok(rewrite(&x, &c, &o, &e, &result));
	assert_true(e.added_count == 0 && result.output_files == 0 && result.written_bytes == 0);
	assert_int_equal(versions_table_files(&x.w), 0);
	version_edit_done(&e);
	version_unref(v);
	world_done(&x);
}

/* ---- How outputs divide the keys ------------------------------------------------------------- */

static void check_disjoint(const struct version_edit *e, unsigned level)
{
	for (size_t i = 0; i < e->added_count; i++) {
		const struct table_summary *sum = &e->added[i].file->summary;
		assert_int_equal(e->added[i].level, level);
		assert_true(sum->entries + sum->range_deletes > 0);
		if (i == 0)
			continue;
		const struct table_summary *before = &e->added[i - 1].file->summary;
		int order = slice_compare(buf_slice(&before->largest), buf_slice(&sum->smallest));
		assert_true(order < 0 || (order == 0 && before->largest_excluded));
		assert_true(e->added[i - 1].file->number < e->added[i].file->number);
	}
}

static void test_outputs(void **state)
{
	(void)state;
	static const uint64_t sizes[] = { 1, 700, 3000, UINT64_MAX };
	static const struct history_mix points = { .deletes = 20, .value_max = 60 };
	struct world x;
	world_init(&x, "test_outputs", 150);
	history_grow(&x.h, &x.random, 500, &points);
	uint64_t newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	size_t before = SIZE_MAX;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct version_edit e;
		struct compaction_result result;
		struct rewrite_options o = { .output_level = 3, .max_table_size = sizes[i] };
		uint64_t written = 0;
		assert_ok(rewrite(&x, &c, &o, &e, &result));
		check_disjoint(&e, 3);
		for (size_t k = 0; k < e.added_count; k++) {
			uint64_t bytes = e.added[k].file->summary.file_bytes;
			written += bytes;
			/* What comes at the end of a table is not known before: it is small here. */
			assert_true(bytes < sizes[i] + 2000 || sizes[i] == UINT64_MAX);
		}
		assert_int_equal(written, result.written_bytes);
		assert_true(e.added_count < before); /* larger tables are fewer */
		before = e.added_count;
		if (i == 0) /* a table for each key that is left: versions of one key are never parted */
			assert_true(e.added_count > 50 && e.added_count <= 150);
		version_edit_done(&e);
	}
	assert_int_equal(before, 1);
	world_done(&x);
}

/* An output ends before it would overlap more than ten tables' worth of the level below it. */
static void test_grandparents(void **state)
{
	(void)state;
	enum { KEYS = 150 };
	static const struct history_mix puts = { .value_max = 10 };
	struct world x;
	struct version_edit e, fakes;
	struct compaction_result result;
	struct file_meta *grandparents[KEYS];
	world_init(&x, "test_grandparents", KEYS);
	history_grow(&x.h, &x.random, 1000, &puts);
	version_edit_init(&fakes);
	for (unsigned i = 0; i < KEYS; i++) {
		uint8_t key[HISTORY_KEY_MAX + 1];
		key[history_key(i, key)] = 0;
		const char *text = (const char *)key + 1;
		fake_add(&fakes, &(struct fake_table)FAKE(2, 1 + i, text, text, .bytes = 50000));
		grandparents[i] = fakes.added[i].file;
	}
	uint64_t newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	struct rewrite_options o = {
		.output_level = 1, .max_table_size = 100000, .grandparents = grandparents, .grandparent_count = KEYS,
	};
	assert_ok(rewrite(&x, &c, &o, &e, &result)); /* without them it would be one table */
	check_disjoint(&e, 1);
	assert_true(e.added_count >= KEYS / 22 - 1 && e.added_count <= KEYS / 20 + 1);
	for (size_t i = 0; i < e.added_count; i++)
		assert_true(e.added[i].file->summary.entries <= 22);
	version_edit_done(&e);
	version_edit_done(&fakes);
	world_done(&x);
}

/* ---- Values in the value log ----------------------------------------------------------------- */

enum { VALUES = 12, VALUE_BYTES = 3000 };

static uint64_t next_number(void *arg)
{
	return version_set_new_file_number(arg);
}

static struct vlog *open_values(struct world *x)
{
	static const atomic_bool verify = true;
	struct vlog *log;
	struct vlog_options options = {
		.env = x->env, .dir = VERSIONS_DIR, .file_bytes = 4 * VALUE_BYTES, .verify = &verify,
		.next_file_number = next_number, .arg = x->w.set,
	};
	assert_ok(vlog_open(&options, &log));
	return log;
}

static struct wombat_slice value_of(unsigned i, uint8_t room[VALUE_BYTES])
{
	for (unsigned k = 0; k < VALUE_BYTES; k++)
		room[k] = (uint8_t)(i * 11 + k / 7);
	return slice_make(room, VALUE_BYTES);
}

/* Puts of VALUES keys with their values elsewhere; file numbers of the first and the last value. */
static struct memtable *point_elsewhere(struct vlog *log, uint64_t *first, uint64_t *last)
{
	struct memtable *m;
	uint8_t room[VALUE_BYTES], key[HISTORY_KEY_MAX], bytes[200];
	assert_ok(memtable_new(0, &m));
	for (unsigned i = 0; i < VALUES; i++) {
		struct record record = { .time_ns = 100 + i, .expiry_ns = i == 5 ? 777 : 0, .elsewhere = true };
		struct wombat_slice k = slice_make(key, history_key(i, key));
		record.attr = WOMBAT_STR("attributes");
		assert_ok(vlog_append(log, k, value_of(i, room), &record.pointer));
		vlog_written(log, record.pointer.file, i + 1);
		if (i == 0)
			*first = record.pointer.file;
		*last = record.pointer.file;
		record_encode(bytes, &record);
		struct wombat_slice value = slice_make(bytes, record_encoded_size(&record));
		assert_ok(memtable_add(m, k, tag_make(i + 1, KIND_PUT), value, 1));
	}
	return m;
}

/* Every value is what it was, with its attributes; how many of them lie in `file`. */
static unsigned check_values(struct world *x, const struct version_edit *e, struct vlog *log, uint64_t file)
{
	struct iter *it;
	unsigned i = 0, inside = 0;
	assert_int_equal(e->added_count, 1);
	assert_ok(file_meta_iter_new(e->added[0].file, x->w.tables, 0, 0, &it));
	for (iter_first(it); it->valid; iter_next(it), i++) {
		struct record record;
		struct lru_pin pin = { 0 };
		struct wombat_slice value;
		uint8_t room[VALUE_BYTES];
		assert_ok(record_decode(it->value, &record));
		assert_true(record.elsewhere && record.time_ns == 100 + i);
		assert_int_equal(record.expiry_ns, i == 5 ? 777 : 0);
		assert_true(slice_equal(record.attr, WOMBAT_STR("attributes")));
		assert_ok(vlog_read(log, &record.pointer, VLOG_READ_VERIFY, &pin, &value));
		assert_true(slice_equal(value, value_of(i, room)));
		lru_pin_release(&pin);
		inside += record.pointer.file == file;
	}
	assert_ok(it->status);
	assert_int_equal(i, VALUES);
	iter_free(it);
	return inside;
}

static enum wombat_status rewrite_memtable(const struct compaction_context *c, struct memtable *m,
					   struct version_edit *e, struct compaction_result *out)
{
	struct rewrite_options o = { .output_level = 2, .max_table_size = UINT64_MAX };
	struct range_del_set none;
	struct iter *it;
	range_del_set_init(&none);
	version_edit_init(e);
	enum wombat_status s = memtable_iter_new(m, &it);
	if (s != WOMBAT_OK)
		return s;
	s = rewrite_run(c, &o, it, &none, e, out);
	iter_free(it);
	return s;
}

/* Values of files that are collected are written anew, others stay; the summary says where they are. */
static void test_values_are_moved(void **state)
{
	(void)state;
	struct world x;
	struct version_edit e;
	struct compaction_result result;
	uint64_t first, last, newest = VALUES;
	world_init(&x, "test_values_are_moved", 10);
	struct vlog *log = open_values(&x);
	struct memtable *m = point_elsewhere(log, &first, &last);
	assert_true(first != last);
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.values = log;
	assert_ok(rewrite_memtable(&c, m, &e, &result));
	assert_int_equal(result.moved_value_bytes, 0);
	unsigned there = check_values(&x, &e, log, first);
	assert_true(there > 0 && there < VALUES);
	assert_int_equal(e.added[0].file->summary.values.items[0].file, first);
	version_edit_done(&e);
	c.collect = &first;
	c.collect_count = 1;
	vlog_hold(log);
	assert_ok(rewrite_memtable(&c, m, &e, &result));
	vlog_unhold(log);
	assert_int_equal(result.moved_value_bytes, there * VALUE_BYTES);
	assert_int_equal(check_values(&x, &e, log, first), 0);
	uint64_t values = 0;
	for (size_t i = 0; i < e.added[0].file->summary.values.count; i++) {
		const struct value_ref *ref = &e.added[0].file->summary.values.items[i];
		assert_true(ref->file != first);
		values += ref->count;
	}
	assert_int_equal(values, VALUES);
	version_edit_done(&e);
	memtable_unref(m);
	vlog_free(log);
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
	return left > 0 && left-- > 0 ? WOMBAT_OK : WOMBAT_IO;
}

static _Bool fail_allocations(size_t size)
{
	(void)size;
	return left > 0 && left-- > 0;
}

static void hooks(struct world *x, bool memory, size_t n)
{
	left = n;
	if (memory)
		mem_test_hook = fail_allocations;
	else
		env_mem_on_call(x->env, fail_calls, NULL);
}

static void no_hooks(struct world *x)
{
	mem_test_hook = NULL;
	env_mem_on_call(x->env, NULL, NULL);
}

/* What the edit had before stays in it; outputs that were finished already go with the one that failed. */
static void test_each_failure(void **state)
{
	(void)state;
	struct world x;
	struct version_edit before;
	struct file_meta *kept;
	world_init(&x, "test_each_failure", 60);
	history_grow(&x.h, &x.random, 150, &everything);
	uint64_t newest = x.h.count;
	struct memtable *m = history_memtable(&x.h, 0, x.h.count);
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	struct rewrite_options o = { .output_level = 1, .max_table_size = 1000 };
	version_edit_init(&before);
	fake_add(&before, &(struct fake_table)FAKE(4, 5, "a", "b"));
	kept = before.added[0].file;
	for (int memory = 0; memory < 2; memory++) {
		bool passed = false;
		size_t n = 0;
		for (; !passed; n += 1 + n / 12) {
			struct version_edit e;
			struct range_del_set none;
			struct iter *it;
			struct compaction_result result = { .output_files = 77 };
			range_del_set_init(&none);
			version_edit_init(&e);
			assert_ok(version_edit_add_file(&e, 4, kept));
			assert_ok(memtable_iter_new(m, &it));
			hooks(&x, memory, n);
			enum wombat_status s = rewrite_run(&c, &o, it, &none, &e, &result);
			no_hooks(&x);
			passed = s == WOMBAT_OK;
			assert_true(e.added_count >= 1 && e.added[0].file == kept);
			if (!passed) {
				assert_status(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
				assert_true(memory || strstr(wombat_last_error(), "injected"));
				assert_true(e.added_count == 1 && result.output_files == 77);
				assert_int_equal(versions_table_files(&x.w), 0);
			}
			for (size_t i = 1; i < e.added_count; i++) {
				char path[FILENAME_PATH_MAX];
				assert_true(filename_path(path, VERSIONS_DIR, FILE_TABLE, e.added[i].file->number));
				assert_ok(x.env->calls->remove(x.env, path));
			}
			version_edit_done(&e);
			iter_free(it);
		}
		assert_true(n > 30);
	}
	version_edit_done(&before);
	memtable_unref(m);
	world_done(&x);
}

/* The same with values that are moved: what fails leaves the old ones readable. */
static void test_each_failure_of_a_move(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		bool passed = false;
		size_t n = 0;
		for (; !passed; n++) {
			struct world x;
			struct version_edit e;
			struct compaction_result result;
			uint64_t first, last, newest = VALUES;
			world_init(&x, "test_each_failure_of_a_move", 10);
			struct vlog *log = open_values(&x);
			struct memtable *m = point_elsewhere(log, &first, &last);
			struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
			c.values = log;
			c.collect = &first;
			c.collect_count = 1;
			hooks(&x, memory, n);
			enum wombat_status s = rewrite_memtable(&c, m, &e, &result);
			no_hooks(&x);
			passed = s == WOMBAT_OK;
			assert_true(passed || s == (memory ? WOMBAT_NO_MEMORY : WOMBAT_IO));
			assert_int_equal(versions_table_files(&x.w), passed);
			assert_int_equal(e.added_count, passed);
			version_edit_done(&e);
			if (!passed) { /* in a log opened anew: the failed one need not go on */
				vlog_free(log);
				log = open_values(&x);
				c.values = NULL;
				c.collect_count = 0;
				assert_ok(rewrite_memtable(&c, m, &e, &result));
				assert_true(check_values(&x, &e, log, first) > 0);
				version_edit_done(&e);
			}
			memtable_unref(m);
			vlog_free(log);
			world_done(&x);
		}
		assert_true(n > 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_the_history),
		cmocka_unit_test(test_nothing_is_left),
		cmocka_unit_test(test_outputs),
		cmocka_unit_test(test_grandparents),
		cmocka_unit_test(test_values_are_moved),
		cmocka_unit_test(test_each_failure),
		cmocka_unit_test(test_each_failure_of_a_move),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
