/*
 * A repair without a manifest: nobody knows which table is above which, so all are merged by sequence number into one run.
 *
 * There may be more tables than files can be open, so those that do not overlap follow each other in a run, of which one table
 * is open at a time: as many as the most tables that have one key, which is few in a database that was compacted. Which table
 * goes into which run is first fit by the first key.
 */
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/repair_impl.h"
#include "engine/iter/merge_iter.h"

enum { TABLE_BYTES = 64 << 20, READ_AHEAD = 256 << 10 };

struct repair_input {
	uint64_t number;
	bool temporary;
	struct buf first, last;     /* keys; both empty: no entries */
	struct repair_input *after; /* in its run */
};

enum wombat_status repair_inputs_add(struct repair_inputs *l, uint64_t number, bool temporary)
{
	struct repair_input *items = array_reserve(l->items, l->count, &l->capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	l->items = items;
	l->items[l->count++] = (struct repair_input){ .number = number, .temporary = temporary };
	return WOMBAT_OK;
}

void repair_inputs_done(struct repair_inputs *l)
{
	for (size_t i = 0; i < l->count; i++) {
		buf_done(&l->items[i].first);
		buf_done(&l->items[i].last);
	}
	mem_free(l->items);
}

static enum wombat_status open_input(struct repair *r, const struct repair_input *input, struct table **out_table,
				     struct iter **out)
{
	const struct table_options options = { .env_flags = ENV_SEQUENTIAL };
	char path[FILENAME_PATH_MAX];
	enum wombat_status s = repair_table_path(r, input->number, input->temporary, path);
	if (s == WOMBAT_OK)
		s = table_open(r->env, path, input->number, &options, out_table);
	return s == WOMBAT_OK ? table_iter_new(*out_table, TABLE_READ_SEQUENTIAL, READ_AHEAD, out) : s;
}

/* ---- A run --------------------------------------------------------------------------------- */

/* Goes forward only. */
struct run_iter {
	struct iter base;
	struct repair *r;
	const struct repair_input *first, *at; /* `at` is open */
	struct table *table;
	struct iter *entries;
};

static void run_close_table(struct run_iter *run)
{
	iter_free(run->entries);
	table_close(run->table);
	run->entries = NULL;
	run->table = NULL;
}

/* Shows where the open table stands, or the begin of the next one that has something. */
static void run_settle(struct run_iter *run)
{
	while (run->entries && !run->entries->valid && run->entries->status == WOMBAT_OK) {
		run_close_table(run);
		run->at = run->at->after;
		if (!run->at)
			break;
		run->base.status = open_input(run->r, run->at, &run->table, &run->entries);
		if (run->base.status != WOMBAT_OK)
			break;
		iter_first(run->entries);
	}
	run->base.valid = run->entries && run->entries->valid;
	if (!run->entries)
		return;
	run->base.status = run->entries->status;
	run->base.key = run->entries->key;
	run->base.tag = run->entries->tag;
	run->base.value = run->entries->value;
}

static void run_first(struct iter *it)
{
	struct run_iter *run = (struct run_iter *)it;
	run_close_table(run);
	run->at = run->first;
	run->base.status = open_input(run->r, run->at, &run->table, &run->entries);
	if (run->base.status == WOMBAT_OK)
		iter_first(run->entries);
	run_settle(run);
}

static void run_next(struct iter *it)
{
	struct run_iter *run = (struct run_iter *)it;
	iter_next(run->entries);
	run_settle(run);
}

static void run_free(struct iter *it)
{
	struct run_iter *run = (struct run_iter *)it;
	run_close_table(run);
	mem_free(run);
}

static enum wombat_status run_new(struct repair *r, const struct repair_input *first, struct iter **out)
{
	static const struct iter_calls calls = { .free = run_free, .first = run_first, .next = run_next };
	struct run_iter *run = mem_zalloc(sizeof *run);
	if (!run)
		return fail_no_memory();
	run->base.calls = &calls;
	run->r = r;
	run->first = first;
	*out = &run->base;
	return WOMBAT_OK;
}

/* ---- Into runs ----------------------------------------------------------------------------- */

struct run {
	struct repair_input *first, *last;
};

struct merge {
	struct run *runs;
	size_t run_count, run_capacity;
	struct iter *entries;
	struct range_del_set ranges;
};

/* Its first and last key, and its range tombstones. */
static enum wombat_status look_into(struct repair *r, struct repair_input *input, struct range_del_set *ranges)
{
	const struct wombat_slice none = { NULL, 0 };
	struct table *table = NULL;
	struct iter *it = NULL;
	enum wombat_status s = open_input(r, input, &table, &it);
	if (s == WOMBAT_OK) {
		iter_first(it);
		s = it->valid ? buf_set(&input->first, it->key) : it->status;
	}
	if (s == WOMBAT_OK) {
		iter_last(it);
		s = it->valid ? buf_set(&input->last, it->key) : it->status;
	}
	if (s == WOMBAT_OK)
		s = range_fragments_collect(table_range_dels(table), none, none, ranges);
	iter_free(it);
	table_close(table);
	return s;
}

static int compare_first(const void *a, const void *b)
{
	const struct repair_input *x = a, *y = b;
	int order = slice_compare(buf_slice(&x->first), buf_slice(&y->first));
	return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* In order of their first keys. */
static enum wombat_status add_to_run(struct merge *m, struct repair_input *input)
{
	for (size_t i = 0; i < m->run_count; i++)
		if (slice_compare(buf_slice(&m->runs[i].last->last), buf_slice(&input->first)) < 0) {
			m->runs[i].last->after = input;
			m->runs[i].last = input;
			return WOMBAT_OK;
		}
	struct run *runs = array_reserve(m->runs, m->run_count, &m->run_capacity, sizeof *runs);
	if (!runs)
		return fail_no_memory();
	m->runs = runs;
	m->runs[m->run_count++] = (struct run){ input, input };
	return WOMBAT_OK;
}

static enum wombat_status merge_begin(struct repair *r, struct repair_inputs *inputs, struct merge *m)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < inputs->count && s == WOMBAT_OK; i++)
		s = look_into(r, &inputs->items[i], &m->ranges);
	if (s != WOMBAT_OK)
		return s;
	qsort(inputs->items, inputs->count, sizeof inputs->items[0], compare_first);
	for (size_t i = 0; i < inputs->count && s == WOMBAT_OK; i++)
		if (inputs->items[i].last.size)
			s = add_to_run(m, &inputs->items[i]);
	struct iter **children = mem_alloc((m->run_count + 1) * sizeof *children);
	if (s == WOMBAT_OK && !children)
		s = fail_no_memory();
	size_t made = 0;
	for (size_t i = 0; i < m->run_count && s == WOMBAT_OK; i++) {
		s = run_new(r, m->runs[i].first, &children[made]);
		made += s == WOMBAT_OK;
	}
	if (s == WOMBAT_OK)
		s = merge_iter_new(children, made, &m->entries); /* takes them in any case */
	else
		while (made > 0)
			iter_free(children[--made]);
	mem_free(children);
	return s;
}

static void merge_end(struct merge *m)
{
	iter_free(m->entries);
	mem_free(m->runs);
	range_del_set_done(&m->ranges);
}

/* ---- The merge ----------------------------------------------------------------------------- */

/* Of each key the newest entry; tombstones stay, since the log may have what they delete. */
static enum wombat_status merge_entries(struct repair *r, struct iter *it)
{
	struct repair_output o = { .r = r, .level = 1 };
	struct buf last = { 0 };
	bool has_last = false;
	enum wombat_status s = WOMBAT_OK;
	for (iter_first(it); it->valid && s == WOMBAT_OK; iter_next(it)) {
		if (has_last && slice_equal(it->key, buf_slice(&last)))
			continue;
		has_last = true;
		s = buf_set(&last, it->key);
		if (s == WOMBAT_OK && o.builder && table_builder_bytes(o.builder) >= TABLE_BYTES)
			s = repair_output_end(&o);
		if (s == WOMBAT_OK)
			s = repair_output_add(&o, it->key, it->tag, it->value);
	}
	if (s == WOMBAT_OK)
		s = it->status;
	if (s == WOMBAT_OK)
		s = repair_output_end(&o);
	repair_output_done(&o);
	buf_done(&last);
	return s;
}

static enum wombat_status merge_ranges(struct repair *r, const struct range_del_set *ranges)
{
	struct repair_output o = { .r = r, .level = 0 };
	enum wombat_status s = repair_output_add_ranges(&o, ranges);
	if (s == WOMBAT_OK)
		s = repair_output_end(&o);
	repair_output_done(&o);
	return s;
}

/* What was rescued becomes part of the merge's tables. */
enum wombat_status repair_merge(struct repair *r, struct repair_inputs *inputs)
{
	struct merge m = { .run_count = 0 };
	size_t rescued = r->fresh_count;
	uint64_t last = r->state.last_sequence;
	if (inputs->count == 0)
		return WOMBAT_OK;
	version_edit_done(&r->state);
	version_edit_init(&r->state);
	r->state.last_sequence = last;
	range_del_set_init(&m.ranges);
	enum wombat_status s = merge_begin(r, inputs, &m);
	if (s == WOMBAT_OK)
		s = merge_entries(r, m.entries);
	if (s == WOMBAT_OK)
		s = merge_ranges(r, &m.ranges);
	merge_end(&m);
	if (s != WOMBAT_OK)
		return s;
	size_t all = r->fresh_count;
	r->fresh_count = rescued;
	repair_remove_fresh(r);
	r->fresh_count = all - rescued;
	memmove(r->fresh, r->fresh + rescued, r->fresh_count * sizeof *r->fresh);
	return WOMBAT_OK;
}
