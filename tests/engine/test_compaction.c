/*
 * Compaction against the history: what every snapshot shows is the same before and after, whatever is dropped; and
 * what may be dropped is. With cuts, failures of each call and allocation, and the throttle.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/record.h"
#include "engine/env/filename.h"
#include "engine/iter/merge_iter.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

static const struct wombat_slice none;
static const struct history_mix everything = { .deletes = 15, .ranges = 3, .expiries = 25, .expiry_max_ns = 1000, .value_max = 60 };

static void wake_nobody(void *arg)
{
	(void)arg;
}

struct world {
	struct share share; /* whose pieces only those run who offer them, unless a test helps */
	struct env *env;
	struct versions w;
	struct history h;
	struct random_state random;
	struct picker_state picker;
};

static void world_init(struct world *x, const char *name)
{
	*x = (struct world){ .h = { .keys = 150 } };
	random_seed(&x->random, test_seed(name));
	share_init(&x->share, wake_nobody, NULL);
	assert_ok(env_mem_new(&x->env));
	versions_init(&x->w, x->env);
	assert_ok(versions_open(&x->w, true, false));
}

static void world_done(struct world *x)
{
	picker_state_done(&x->picker);
	versions_done(&x->w);
	history_done(&x->h);
	share_done(&x->share);
	x->env->calls->free(x->env);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Ascending and distinct, the newest state's last. */
static size_t random_snapshots(struct world *x, uint64_t *out, size_t max)
{
	size_t n = 0, kept = 1;
	while (n < max)
		out[n++] = 1 + random_below(&x->random, x->h.count);
	out[n++] = x->h.count;
	qsort(out, n, sizeof *out, compare_u64);
	for (size_t i = 1; i < n; i++)
		if (out[i] != out[kept - 1])
			out[kept++] = out[i];
	return kept;
}

static void end_job(struct world *x, struct compaction_inputs *in)
{
	mutex_lock(&x->w.state);
	compaction_inputs_done(in);
	mutex_unlock(&x->w.state);
}

/* Runs a job and applies it; ends it in any case. */
static enum wombat_status run_job(struct world *x, const struct compaction_context *context, struct compaction_inputs *in,
				  struct compaction_result *result)
{
	struct version_edit e;
	version_edit_init(&e);
	enum wombat_status s = compaction_run(context, in, &e, result);
	if (s == WOMBAT_OK)
		s = versions_apply(&x->w, &e);
	version_edit_done(&e);
	end_job(x, in);
	return s;
}

static bool pick_range(struct world *x, unsigned level, struct compaction_inputs *in)
{
	bool wait;
	enum wombat_status s;
	mutex_lock(&x->w.state);
	struct version *v = version_set_current(x->w.set);
	bool found = picker_pick_range(x->w.set, v, level, none, none, in, &wait, &s);
	version_unref(v);
	mutex_unlock(&x->w.state);
	assert_ok(s);
	return found;
}

/* Everything into level 3. */
static void compact_all(struct world *x, const struct compaction_context *context)
{
	struct compaction_result result;
	struct compaction_inputs in;
	for (unsigned level = 0; level < 3; level++)
		while (pick_range(x, level, &in)) {
			in.trivial_move = false;
			assert_ok(run_job(x, context, &in, &result));
		}
}

/* Calls for each point entry of the current version. */
static size_t count_entries(struct world *x, enum ikey_kind kind)
{
	struct version *v = versions_current(&x->w);
	struct iter *iters[64], *it;
	size_t count = 0, found = 0;
	assert_ok(version_add_iters(v, x->w.tables, none, none, 0, 0, iters, &count));
	assert_ok(merge_iter_new(iters, count, &it));
	for (iter_first(it); it->valid; iter_next(it))
		found += tag_kind(it->tag) == kind;
	assert_ok(it->status);
	iter_free(it);
	version_unref(v);
	return found;
}

/* Versions of one key lie in one table of a level, and range tombstones within the bounds of theirs. */
static void check_tables(struct world *x)
{
	struct version *v = versions_current(&x->w);
	version_check_invariants(v);
	for (unsigned level = 0; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			struct file_meta *f = v->levels[level].files[i];
			struct table *t;
			struct lru_handle *h;
			assert_ok(file_meta_acquire(f, x->w.tables, &t, &h));
			assert_ok(table_check(t, NULL, NULL));
			assert_true(f->summary.entries + f->summary.range_deletes > 0);
			struct range_fragments *ranges = table_range_dels(t);
			for (size_t k = 0; k < range_fragments_count(ranges); k++) {
				struct key_span span = { range_fragments_at(ranges, k)->begin, range_fragments_at(ranges, k)->end, true };
				struct key_span whole = file_meta_span(f), both = whole;
				key_span_add(&both, &span);
				assert_true(slice_equal(both.begin, whole.begin) && slice_equal(both.end, whole.end));
			}
			table_cache_release(x->w.tables, h);
		}
	version_unref(v);
}

/* ---- Against the history ------------------------------------------------------------------- */

static void test_snapshots_show_the_same(void **state)
{
	(void)state;
	for (int round = 0; round < 12; round++) {
		struct world x;
		uint64_t snapshots[8];
		world_init(&x, "snapshots");
		history_grow(&x.h, &x.random, 900, &everything);
		versions_fill(&x.w, &x.h, 1 + (unsigned)random_below(&x.random, 5));
		size_t count = random_snapshots(&x, snapshots, round % 4 ? random_below(&x.random, 6) : 0);
		uint64_t now = random_below(&x.random, 1200);
		struct compaction_context c = versions_context(&x.w, snapshots, count, now);
		c.max_table_size = 1 + random_below(&x.random, 8000);
		c.share = &x.share;
		c.ranges_max = random_below(&x.random, 8);
		versions_compare(&x.w, &x.h, snapshots, count, now);
		for (unsigned level = 0; level < 3; level++) {
			struct compaction_inputs in;
			struct compaction_result result;
			while (pick_range(&x, level, &in)) {
				in.trivial_move &= random_below(&x.random, 2);
				if (in.trivial_move) {
					end_job(&x, &in);
					break; /* the level stays; the next ones go on */
				}
				assert_ok(run_job(&x, &c, &in, &result));
				versions_compare(&x.w, &x.h, snapshots, count, now);
				check_tables(&x);
			}
		}
		/* Later readers see no less. */
		versions_compare(&x.w, &x.h, snapshots, count, now + 100);
		versions_close(&x.w);
		assert_ok(versions_open(&x.w, false, false));
		versions_compare(&x.w, &x.h, snapshots, count, now);
		world_done(&x);
	}
}

/* Jobs as the picker wants them, with flushes between: like a database at work. */
static void test_picked_jobs(void **state)
{
	(void)state;
	struct world x;
	size_t jobs = 0;
	world_init(&x, "picked");
	for (int round = 0; round < 40; round++) {
		uint64_t snapshots[4];
		struct version_edit e;
		size_t first = x.h.count;
		history_grow(&x.h, &x.random, 60, &everything);
		version_edit_init(&e);
		versions_add_table(&x.w, &e, 0, &x.h, first, 60, none, none);
		assert_ok(versions_apply(&x.w, &e));
		version_edit_done(&e);
		/* Snapshots only ever look at what was not yet dropped: those of this round are the newest. */
		snapshots[0] = x.h.count;
		struct compaction_context c = versions_context(&x.w, snapshots, 1, (uint64_t)round * 25);
		struct picker_options options = { .max_table_size = c.max_table_size, .oldest_sequence = x.h.count,
						  .tombstone_ratio = 0.5, .now_ns = c.now_ns };
		for (;;) {
			struct compaction_inputs in;
			struct compaction_result result = { 0 };
			enum wombat_status s;
			mutex_lock(&x.w.state);
			struct version *v = version_set_current(x.w.set);
			bool found = picker_pick(&x.picker, x.w.set, v, &options, &in, &s);
			version_unref(v);
			mutex_unlock(&x.w.state);
			assert_ok(s);
			if (!found)
				break;
			in.trivial_move = false;
			assert_ok(run_job(&x, &c, &in, &result));
			assert_true(++jobs < 2000);
		}
		versions_compare(&x.w, &x.h, snapshots, 1, c.now_ns);
		check_tables(&x);
	}
	assert_true(jobs > 20);
	world_done(&x);
}

/* ---- What goes ----------------------------------------------------------------------------- */

static void test_all_that_is_dead_goes_at_the_bottom(void **state)
{
	(void)state;
	struct world x;
	uint64_t newest;
	size_t live = 0;
	world_init(&x, "dead");
	history_grow(&x.h, &x.random, 900, &everything);
	versions_fill(&x.w, &x.h, 3);
	newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 500);
	compact_all(&x, &c);
	for (unsigned n = 0; n < x.h.keys; n++) {
		uint8_t key[HISTORY_KEY_MAX];
		live += history_find(&x.h, slice_make(key, history_key(n, key)), newest, 500) != 0;
	}
	assert_int_equal(count_entries(&x, KIND_PUT), live);
	assert_int_equal(count_entries(&x, KIND_DELETE), 0);
	struct version *v = versions_current(&x.w);
	assert_int_equal(v->range_delete_files, 0);
	version_unref(v);
	world_done(&x);
}

/* A tombstone goes where no deeper table has its key, even when others of the job's range lie below. */
static void test_tombstones_go_key_by_key(void **state)
{
	(void)state;
	struct world x;
	struct version_edit e;
	uint64_t newest;
	world_init(&x, "key by key");
	for (unsigned n = 0; n < 40; n++) { /* puts of even keys, below */
		struct change c = { .kind = KIND_PUT };
		c.key_size = history_key(n < 20 ? n : n + 40, c.key);
		history_add(&x.h, &c);
	}
	for (unsigned n = 0; n < 80; n++) {
		struct change c = { .kind = KIND_DELETE };
		c.key_size = history_key(n, c.key);
		history_add(&x.h, &c);
	}
	version_edit_init(&e);
	uint8_t half[HISTORY_KEY_MAX];
	size_t half_size = history_key(50, half);
	versions_add_table(&x.w, &e, 3, &x.h, 0, 40, none, slice_make(half, half_size)); /* keys 0..19 */
	versions_add_table(&x.w, &e, 3, &x.h, 0, 40, slice_make(half, half_size), none); /* keys 60..79 */
	versions_add_table(&x.w, &e, 1, &x.h, 40, 80, none, none);
	assert_ok(versions_apply(&x.w, &e));
	version_edit_done(&e);
	newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	struct compaction_inputs in;
	struct compaction_result result;
	assert_true(pick_range(&x, 1, &in));
	assert_false(in.bottom);
	in.trivial_move = false;
	assert_ok(run_job(&x, &c, &in, &result));
	assert_int_equal(result.dropped_entries, 40);
	assert_int_equal(count_entries(&x, KIND_DELETE), 40);
	versions_compare(&x.w, &x.h, &newest, 1, 0);
	world_done(&x);
}

/* Above the bottom an expired record becomes a tombstone: it hides what lies below as before. */
static void test_expired_records_become_tombstones(void **state)
{
	(void)state;
	struct world x;
	struct version_edit e;
	uint64_t newest = 2;
	struct change c = { .kind = KIND_PUT };
	world_init(&x, "expired");
	x.h.keys = 2;
	c.key_size = history_key(1, c.key);
	history_add(&x.h, &c);
	c.expiry_ns = 100;
	history_add(&x.h, &c);
	version_edit_init(&e);
	versions_add_table(&x.w, &e, 2, &x.h, 0, 1, none, none);
	versions_add_table(&x.w, &e, 1, &x.h, 1, 1, none, none);
	assert_int_equal(e.added[1].file->summary.min_expiry_ns, 100);
	assert_ok(versions_apply(&x.w, &e));
	version_edit_done(&e);
	/* In place, as for tables full of expired records. */
	struct compaction_context context = versions_context(&x.w, &newest, 1, 99);
	for (; context.now_ns <= 100; context.now_ns++) {
		struct version *v = versions_current(&x.w);
		struct compaction_inputs in = { .version = v, .level = 1, .output_level = 1 };
		struct compaction_result result;
		in.files[0] = mem_alloc(sizeof *in.files[0]);
		in.claim = mem_zalloc(sizeof *in.claim);
		in.files[0][0] = v->levels[1].files[0];
		in.count[0] = 1;
		in.claim->span = file_meta_span(in.files[0][0]);
		mutex_lock(&x.w.state);
		version_set_claim(x.w.set, in.claim);
		mutex_unlock(&x.w.state);
		assert_ok(run_job(&x, &context, &in, &result));
		assert_int_equal(count_entries(&x, KIND_DELETE), context.now_ns == 100);
		v = versions_current(&x.w);
		assert_int_equal(v->levels[1].files[0]->summary.min_expiry_ns, context.now_ns == 100 ? 0 : 100);
		version_unref(v);
	}
	versions_compare(&x.w, &x.h, &newest, 1, 100);
	world_done(&x);
}

/* Entries that no snapshot of the list sees were written since; one made meanwhile may see each. */
static void test_newer_than_the_list_stays(void **state)
{
	(void)state;
	struct world x;
	uint64_t old, any[6];
	world_init(&x, "since");
	history_grow(&x.h, &x.random, 600, &everything);
	versions_fill(&x.w, &x.h, 2);
	old = x.h.count / 2;
	struct compaction_context c = versions_context(&x.w, &old, 1, 0);
	compact_all(&x, &c);
	for (int i = 0; i < 6; i++)
		any[i] = old + random_below(&x.random, x.h.count - old + 1);
	versions_compare(&x.w, &x.h, any, 6, 0);
	world_done(&x);
}

/* ---- Outputs ------------------------------------------------------------------------------- */

static void test_outputs_are_cut(void **state)
{
	(void)state;
	static const struct history_mix puts = { .value_max = 100 };
	struct world x;
	uint64_t newest;
	world_init(&x, "cut");
	history_grow(&x.h, &x.random, 1500, &puts);
	versions_fill(&x.w, &x.h, 1);
	newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.max_table_size = 2000;
	compact_all(&x, &c);
	struct version *v = versions_current(&x.w);
	assert_true(v->levels[3].count >= 3);
	for (size_t i = 0; i < v->levels[3].count; i++)
		assert_true(v->levels[3].files[i]->summary.file_bytes < 3 * 2000);
	version_unref(v);
	versions_compare(&x.w, &x.h, &newest, 1, 0);
	world_done(&x);
}

/* A table over much of the level below would make its own compaction a large one. */
static void test_outputs_are_cut_by_grandparents(void **state)
{
	(void)state;
	struct world x;
	struct version_edit e;
	uint64_t newest;
	world_init(&x, "grandparents");
	x.h.keys = 100;
	for (unsigned n = 0; n < 100; n++) {
		struct change c = { .kind = KIND_PUT, .value_size = 10 };
		c.key_size = history_key(n, c.key);
		history_add(&x.h, &c);
	}
	version_edit_init(&e);
	versions_add_table(&x.w, &e, 1, &x.h, 0, 100, none, none);
	assert_ok(versions_apply(&x.w, &e));
	version_edit_done(&e);
	newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.max_table_size = 10000; /* all would fit into one */
	struct compaction_inputs in;
	struct compaction_result result;
	assert_true(pick_range(&x, 1, &in));
	in.trivial_move = false;
	/* Fake tables below, each of 6 times the largest table and over ten keys: cut after every other one. */
	version_edit_init(&e);
	for (unsigned i = 0; i < 10; i++) {
		uint8_t from[HISTORY_KEY_MAX] = { 0 }, to[HISTORY_KEY_MAX] = { 0 };
		history_key(i * 10, from);
		history_key(i * 10 + 9, to);
		fake_add(&e, &(struct fake_table)FAKE(3, 900 + i, (char *)from + 1, (char *)to + 1, .bytes = 60000));
	}
	struct file_meta *grandparents[10];
	for (size_t i = 0; i < 10; i++)
		grandparents[i] = e.added[i].file;
	mem_free(in.grandparents);
	in.grandparents = grandparents;
	in.grandparent_count = 10;
	struct version_edit out;
	version_edit_init(&out);
	assert_ok(compaction_run(&c, &in, &out, &result));
	assert_int_equal(result.output_files, 5);
	in.grandparents = NULL;
	end_job(&x, &in);
	version_edit_done(&out);
	version_edit_done(&e);
	world_done(&x);
}

/* Range tombstones are cut with the outputs and none is lost, with points or without. */
static void test_range_tombstones_are_clipped(void **state)
{
	(void)state;
	struct world x;
	struct version_edit e;
	uint64_t newest, snapshots[2] = { 300, 0 };
	world_init(&x, "clipped");
	static const struct history_mix puts = { .value_max = 100 };
	history_grow(&x.h, &x.random, 300, &puts);
	for (unsigned i = 0; i < 3; i++) {
		struct change c = { .kind = KIND_DELETE_RANGE };
		c.key_size = history_key(i * 30, c.key);
		c.end_size = history_key(i * 30 + 70, c.end);
		history_add(&x.h, &c);
	}
	newest = snapshots[1] = x.h.count;
	version_edit_init(&e);
	versions_add_table(&x.w, &e, 2, &x.h, 0, 300, none, none);
	versions_add_table(&x.w, &e, 1, &x.h, 300, 3, none, none); /* nothing but ranges */
	assert_ok(versions_apply(&x.w, &e));
	version_edit_done(&e);
	struct compaction_context c = versions_context(&x.w, snapshots, 2, 0);
	c.max_table_size = 1500;
	compact_all(&x, &c); /* the snapshot at 300 needs everything */
	struct version *v = versions_current(&x.w);
	assert_true(v->levels[3].count > 3 && v->range_delete_files > 1);
	version_unref(v);
	check_tables(&x);
	versions_compare(&x.w, &x.h, snapshots, 2, 0);
	/* Released: in place everything goes that they hide, and they too. */
	c = versions_context(&x.w, &newest, 1, 0);
	struct picker_options options = { .max_table_size = 1500, .oldest_sequence = newest, .tombstone_ratio = 0.5 };
	for (int jobs = 0;; jobs++) {
		struct compaction_inputs in;
		struct compaction_result result;
		enum wombat_status s;
		mutex_lock(&x.w.state);
		v = version_set_current(x.w.set);
		bool found = picker_pick(&x.picker, x.w.set, v, &options, &in, &s);
		version_unref(v);
		mutex_unlock(&x.w.state);
		assert_ok(s);
		if (!found)
			break;
		in.trivial_move = false;
		assert_ok(run_job(&x, &c, &in, &result));
		assert_true(jobs < 100);
	}
	v = versions_current(&x.w);
	assert_int_equal(v->range_delete_files, 0);
	version_unref(v);
	versions_compare(&x.w, &x.h, &newest, 1, 0);
	world_done(&x);
}

/* ---- Ranges side by side ------------------------------------------------------------------ */

struct helper {
	struct share *share;
	pthread_t thread;
	atomic_bool *stop;
};

static void *help(void *arg)
{
	struct helper *h = arg;
	while (!atomic_load(h->stop))
		if (!share_help(h->share))
			sched_yield();
	return NULL;
}

/* As one: the same entries, with range tombstones over the cuts; no table ends within a key. */
static void test_ranges_side_by_side(void **state)
{
	(void)state;
	enum { HELPERS = 3 };
	static const struct history_mix mix = { .deletes = 15, .ranges = 3, .value_max = 300 };
	size_t entries[2], ranges = 0;
	for (int divided = 0; divided < 2; divided++) {
		struct world x;
		struct helper helpers[HELPERS];
		atomic_bool stop = false;
		uint64_t snapshots[2];
		world_init(&x, "ranges");
		random_seed(&x.random, 7); /* the same twice */
		x.h.keys = 600;
		history_grow(&x.h, &x.random, 3000, &mix);
		versions_fill(&x.w, &x.h, 2);
		snapshots[0] = x.h.count / 2;
		snapshots[1] = x.h.count;
		struct compaction_context c = versions_context(&x.w, snapshots, 2, 0);
		c.max_table_size = 3000;
		c.share = divided ? &x.share : NULL;
		c.ranges_max = 6;
		for (int i = 0; i < HELPERS; i++) {
			helpers[i] = (struct helper){ .share = &x.share, .stop = &stop };
			assert_int_equal(pthread_create(&helpers[i].thread, NULL, help, &helpers[i]), 0);
		}
		for (unsigned level = 0; level < 3; level++) {
			struct compaction_inputs in;
			struct compaction_result result;
			while (pick_range(&x, level, &in)) {
				in.trivial_move = false;
				assert_ok(run_job(&x, &c, &in, &result));
				assert_int_equal(result.read_bytes > 0, 1);
				if (divided && result.ranges > ranges)
					ranges = result.ranges;
				if (!divided)
					assert_int_equal(result.ranges, 1);
			}
		}
		atomic_store(&stop, true);
		for (int i = 0; i < HELPERS; i++)
			pthread_join(helpers[i].thread, NULL);
		check_tables(&x);
		versions_compare(&x.w, &x.h, snapshots, 2, 0);
		entries[divided] = count_entries(&x, KIND_PUT) + count_entries(&x, KIND_DELETE);
		world_done(&x);
	}
	assert_int_equal(ranges, 6);
	assert_int_equal(entries[0], entries[1]);
}

/* ---- Within level 0 ----------------------------------------------------------------------- */

/* Runs merge with their neighbours: what lies in older runs, or in levels below, is still hidden. */
static void test_runs_of_level_zero(void **state)
{
	(void)state;
	static const struct history_mix mix = { .deletes = 10, .ranges = 1, .expiries = 5, .expiry_max_ns = 3000, .value_max = 60 };
	struct world x;
	size_t jobs = 0, within = 0;
	world_init(&x, "runs");
	x.h.keys = 3000; /* so that the base becomes larger than runs */
	x.w.shape.tiered = true;
	mutex_lock(&x.w.state);
	version_set_set_shape(x.w.set, x.w.shape);
	mutex_unlock(&x.w.state);
	for (int round = 0; round < 120; round++) {
		struct version_edit e;
		uint64_t newest;
		size_t first = x.h.count, more = 20 + random_below(&x.random, 80);
		history_grow(&x.h, &x.random, more, &mix);
		version_edit_init(&e);
		versions_add_table(&x.w, &e, 0, &x.h, first, more, none, none);
		assert_ok(versions_apply(&x.w, &e));
		version_edit_done(&e);
		newest = x.h.count;
		struct compaction_context c = versions_context(&x.w, &newest, 1, (uint64_t)round * 25);
		struct picker_options options = { .max_table_size = c.max_table_size, .oldest_sequence = newest, .tombstone_ratio = 2,
						  .tiered = true };
		for (;;) {
			struct compaction_inputs in;
			struct compaction_result result = { 0 };
			enum wombat_status s;
			mutex_lock(&x.w.state);
			struct version *v = version_set_current(x.w.set);
			bool found = picker_pick(&x.picker, x.w.set, v, &options, &in, &s);
			version_unref(v);
			mutex_unlock(&x.w.state);
			assert_ok(s);
			if (!found)
				break;
			in.trivial_move = false;
			bool stays = in.output_level == 0;
			within += stays;
			assert_true(!stays || (in.count[1] == 0 && in.count[0] >= 2));
			assert_ok(run_job(&x, &c, &in, &result));
			assert_true(!stays || result.output_files <= 1); /* a run is one table */
			assert_true(++jobs < 2000);
		}
		versions_compare(&x.w, &x.h, &newest, 1, c.now_ns);
		check_tables(&x);
	}
	assert_true(within > 0 && jobs > within);
	world_done(&x);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static size_t calls_left;

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	if (strcmp(op, "remove") == 0 || strcmp(op, "writer_close") == 0)
		return WOMBAT_OK;
	return calls_left > 0 && calls_left-- > 0 ? WOMBAT_OK : WOMBAT_IO;
}

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return calls_left > 0 && calls_left-- > 0;
}

/* Leaves no output, no change, and works when tried again. */
static void test_each_failure(void **state)
{
	(void)state;
	struct world x;
	uint64_t snapshots[3];
	world_init(&x, "failures");
	history_grow(&x.h, &x.random, 300, &everything);
	versions_fill(&x.w, &x.h, 2);
	size_t count = random_snapshots(&x, snapshots, 2), files = versions_table_files(&x.w);
	struct compaction_context c = versions_context(&x.w, snapshots, count, 500);
	c.max_table_size = 1500;
	c.share = &x.share;
	for (int memory = 0; memory < 4; memory++) {
		bool passed = false;
		c.ranges_max = memory / 2 * 3;
		for (size_t n = 0; !passed; n += 1 + n / 16) {
			struct compaction_inputs in;
			struct compaction_result result;
			struct version_edit e;
			assert_true(pick_range(&x, 0, &in));
			version_edit_init(&e);
			table_cache_set_bounds(x.w.tables, 0, UINT64_MAX); /* each table is opened anew */
			calls_left = n;
			if (memory % 2)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(x.env, fail_call, NULL);
			enum wombat_status s = compaction_run(&c, &in, &e, &result);
			mem_test_hook = NULL;
			env_mem_on_call(x.env, NULL, NULL);
			table_cache_set_bounds(x.w.tables, 100, UINT64_MAX);
			passed = s == WOMBAT_OK;
			if (!passed) {
				assert_status(s, memory % 2 ? WOMBAT_NO_MEMORY : WOMBAT_IO);
				assert_int_equal(versions_table_files(&x.w), files);
				assert_int_equal(e.added_count, 0);
			}
			if (passed && c.ranges_max)
				assert_true(result.ranges > 1);
			if (passed) { /* not applied: the outputs are orphans */
				char path[FILENAME_PATH_MAX];
				for (size_t i = 0; i < e.added_count; i++) {
					assert_true(filename_path(path, VERSIONS_DIR, FILE_TABLE, e.added[i].file->number));
					assert_ok(x.env->calls->remove(x.env, path));
				}
			}
			version_edit_done(&e);
			end_job(&x, &in);
		}
	}
	versions_compare(&x.w, &x.h, snapshots, count, 500);
	world_done(&x);
}

static void test_cancel(void **state)
{
	(void)state;
	static const struct history_mix puts = { .value_max = 10 };
	struct world x;
	uint64_t newest;
	atomic_bool cancel = true;
	struct compaction_inputs in;
	struct compaction_result result;
	world_init(&x, "cancel");
	x.h.keys = 5000;
	history_grow(&x.h, &x.random, 6000, &puts);
	versions_fill(&x.w, &x.h, 1);
	newest = x.h.count;
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.cancel = &cancel;
	size_t files = versions_table_files(&x.w);
	assert_true(pick_range(&x, 0, &in));
	assert_status(run_job(&x, &c, &in, &result), WOMBAT_BUSY);
	assert_int_equal(versions_table_files(&x.w), files);
	cancel = false;
	assert_true(pick_range(&x, 0, &in));
	assert_ok(run_job(&x, &c, &in, &result));
	world_done(&x);
}

/* The bytes written are paid for, to the last. */
static void test_throttle_is_paid(void **state)
{
	(void)state;
	static const struct history_mix puts = { .value_max = 2000 };
	struct world x;
	uint64_t newest;
	struct compaction_inputs in;
	struct compaction_result result;
	struct throttle t;
	world_init(&x, "throttle");
	history_grow(&x.h, &x.random, 900, &puts);
	versions_fill(&x.w, &x.h, 1);
	newest = x.h.count;
	throttle_init(&t, x.env, UINT64_C(1) << 40); /* never waits, but books */
	uint64_t before = x.env->calls->monotonic_ns(x.env);
	throttle_set_rate(&t, UINT64_C(1) << 20);
	atomic_bool cancel = true; /* books without waiting */
	struct compaction_context c = versions_context(&x.w, &newest, 1, 0);
	c.throttle = &t;
	c.cancel = &cancel;
	c.max_table_size = 100000;
	assert_true(pick_range(&x, 0, &in));
	assert_ok(run_job(&x, &c, &in, &result)); /* too few entries for it to look at cancel itself */
	double booked = (double)(t.available_at - before) * (1 << 20) / 1e9;
	assert_true(booked > 0.9 * (double)result.written_bytes && booked < 1.3 * (double)result.written_bytes);
	throttle_done(&t);
	world_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshots_show_the_same),
		cmocka_unit_test(test_picked_jobs),
		cmocka_unit_test(test_all_that_is_dead_goes_at_the_bottom),
		cmocka_unit_test(test_tombstones_go_key_by_key),
		cmocka_unit_test(test_expired_records_become_tombstones),
		cmocka_unit_test(test_newer_than_the_list_stays),
		cmocka_unit_test(test_outputs_are_cut),
		cmocka_unit_test(test_outputs_are_cut_by_grandparents),
		cmocka_unit_test(test_range_tombstones_are_clipped),
		cmocka_unit_test(test_ranges_side_by_side),
		cmocka_unit_test(test_runs_of_level_zero),
		cmocka_unit_test(test_each_failure),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_throttle_is_paid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
