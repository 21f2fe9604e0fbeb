/*
 * Range tombstones and their fragments.
 *
 * Fragments come from a sweep over the sorted set of all begins and ends: between two neighbouring bounds the same
 * tombstones cover every key. A fragment is found by binary search over its end, a sequence by binary search in its
 * list, newest first.
 */
#include "engine/iter/range_del.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"

struct range_fragments {
	atomic_int refs;
	size_t count;
	struct range_fragment *items;
	struct arena memory; /* keys and sequences */
};

/* ---- The set ------------------------------------------------------------------------------- */

void range_del_set_init(struct range_del_set *set)
{
	set->items = NULL;
	set->count = set->capacity = 0;
	arena_init(&set->keys, 4096);
}

void range_del_set_done(struct range_del_set *set)
{
	mem_free(set->items);
	arena_done(&set->keys);
	set->items = NULL;
	set->count = set->capacity = 0;
}

static enum wombat_status copy_key(struct arena *arena, struct wombat_slice key, struct wombat_slice *out)
{
	uint8_t *p = arena_alloc_bytes(arena, key.size ? key.size : 1);
	if (!p)
		return fail_no_memory();
	if (key.size)
		memcpy(p, key.data, key.size);
	*out = slice_make(p, key.size);
	return WOMBAT_OK;
}

enum wombat_status range_del_set_add(struct range_del_set *set, struct range_del item)
{
	if (slice_compare(item.begin, item.end) >= 0)
		return WOMBAT_OK;
	struct range_del *items = array_reserve(set->items, set->count, &set->capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	set->items = items;
	struct range_del copy = { .sequence = item.sequence };
	enum wombat_status s = copy_key(&set->keys, item.begin, &copy.begin);
	if (s == WOMBAT_OK)
		s = copy_key(&set->keys, item.end, &copy.end);
	if (s == WOMBAT_OK)
		set->items[set->count++] = copy;
	return s;
}

/* ---- Building fragments -------------------------------------------------------------------- */

static int compare_bounds(const void *a, const void *b)
{
	return slice_compare(*(const struct wombat_slice *)a, *(const struct wombat_slice *)b);
}

static int compare_begins(const void *a, const void *b)
{
	return slice_compare(((const struct range_del *)a)->begin, ((const struct range_del *)b)->begin);
}

static int compare_newest_first(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x < y) - (x > y);
}

/* Scratch of the sweep: bounds sorted and distinct, tombstones by begin, those that cover the present bound. */
struct sweep {
	struct wombat_slice *bounds;
	size_t bound_count;
	struct range_del *by_begin;
	const struct range_del **active;
	size_t active_count, next;
};

static enum wombat_status sweep_init(struct sweep *w, const struct range_del_set *set)
{
	*w = (struct sweep){ 0 };
	w->bounds = mem_alloc(2 * set->count * sizeof *w->bounds);
	w->by_begin = mem_alloc(set->count * sizeof *w->by_begin);
	w->active = mem_alloc(set->count * sizeof *w->active);
	if (!w->bounds || !w->by_begin || !w->active)
		return fail_no_memory();
	for (size_t i = 0; i < set->count; i++) {
		w->by_begin[i] = set->items[i];
		w->bounds[2 * i] = set->items[i].begin;
		w->bounds[2 * i + 1] = set->items[i].end;
	}
	qsort(w->by_begin, set->count, sizeof *w->by_begin, compare_begins);
	qsort(w->bounds, 2 * set->count, sizeof *w->bounds, compare_bounds);
	for (size_t i = 0; i < 2 * set->count; i++)
		if (w->bound_count == 0 || !slice_equal(w->bounds[i], w->bounds[w->bound_count - 1]))
			w->bounds[w->bound_count++] = w->bounds[i];
	return WOMBAT_OK;
}

static void sweep_done(struct sweep *w)
{
	mem_free(w->bounds);
	mem_free(w->by_begin);
	mem_free(w->active);
}

/* Moves to the bound: tombstones that end there leave, those that begin there join. */
static void sweep_to(struct sweep *w, struct wombat_slice bound, size_t total)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->active_count; i++)
		if (slice_compare(w->active[i]->end, bound) > 0)
			w->active[kept++] = w->active[i];
	w->active_count = kept;
	while (w->next < total && slice_compare(w->by_begin[w->next].begin, bound) <= 0)
		w->active[w->active_count++] = &w->by_begin[w->next++];
}

static enum wombat_status add_fragment(struct range_fragments *f, const struct sweep *w, struct wombat_slice begin,
				       struct wombat_slice end)
{
	uint64_t *sequences = arena_alloc(&f->memory, w->active_count * sizeof *sequences);
	if (!sequences)
		return fail_no_memory();
	for (size_t i = 0; i < w->active_count; i++)
		sequences[i] = w->active[i]->sequence;
	qsort(sequences, w->active_count, sizeof *sequences, compare_newest_first);
	struct range_fragment item = { .sequences = sequences, .count = w->active_count };
	enum wombat_status s = copy_key(&f->memory, begin, &item.begin);
	if (s == WOMBAT_OK)
		s = copy_key(&f->memory, end, &item.end);
	if (s == WOMBAT_OK)
		f->items[f->count++] = item;
	return s;
}

static enum wombat_status fill(struct range_fragments *f, const struct range_del_set *set)
{
	struct sweep w;
	enum wombat_status s = sweep_init(&w, set);
	if (s == WOMBAT_OK) {
		f->items = mem_alloc(w.bound_count * sizeof *f->items);
		s = f->items ? WOMBAT_OK : fail_no_memory();
	}
	for (size_t i = 0; s == WOMBAT_OK && i + 1 < w.bound_count; i++) {
		sweep_to(&w, w.bounds[i], set->count);
		if (w.active_count > 0)
			s = add_fragment(f, &w, w.bounds[i], w.bounds[i + 1]);
	}
	sweep_done(&w);
	return s;
}

enum wombat_status range_fragments_build(const struct range_del_set *set, struct range_fragments **out)
{
	struct range_fragments *f = mem_zalloc(sizeof *f);
	if (!f)
		return fail_no_memory();
	atomic_init(&f->refs, 1);
	arena_init(&f->memory, 4096);
	enum wombat_status s = set->count ? fill(f, set) : WOMBAT_OK;
	if (s != WOMBAT_OK) {
		range_fragments_unref(f);
		return s;
	}
	*out = f;
	return WOMBAT_OK;
}

struct range_fragments *range_fragments_ref(struct range_fragments *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void range_fragments_unref(struct range_fragments *f)
{
	/* Acquire and release: whoever frees sees what the others did with it. */
	if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	mem_free(f->items);
	arena_done(&f->memory);
	mem_free(f);
}

/* ---- Questions ----------------------------------------------------------------------------- */

size_t range_fragments_count(const struct range_fragments *f)
{
	return f ? f->count : 0;
}

const struct range_fragment *range_fragments_at(const struct range_fragments *f, size_t index)
{
	return &f->items[index];
}

size_t range_fragments_find(const struct range_fragments *f, struct wombat_slice key)
{
	size_t lo = 0, hi = range_fragments_count(f);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (slice_compare(f->items[mid].end, key) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint64_t range_fragments_cover(const struct range_fragments *f, struct wombat_slice key, uint64_t max_sequence)
{
	size_t at = range_fragments_find(f, key);
	if (at == range_fragments_count(f) || slice_compare(key, f->items[at].begin) < 0)
		return 0;
	const struct range_fragment *item = &f->items[at];
	size_t lo = 0, hi = item->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (item->sequences[mid] > max_sequence)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < item->count ? item->sequences[lo] : 0;
}

enum wombat_status range_fragments_collect(const struct range_fragments *f, struct wombat_slice begin,
					   struct wombat_slice end, struct range_del_set *set)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = range_fragments_find(f, begin); i < range_fragments_count(f) && s == WOMBAT_OK; i++) {
		struct range_del item = { .begin = f->items[i].begin, .end = f->items[i].end };
		if (end.size && slice_compare(item.begin, end) >= 0)
			break;
		if (slice_compare(item.begin, begin) < 0)
			item.begin = begin;
		if (end.size && slice_compare(item.end, end) > 0)
			item.end = end;
		for (size_t k = 0; k < f->items[i].count && s == WOMBAT_OK; k++) {
			item.sequence = f->items[i].sequences[k];
			s = range_del_set_add(set, item);
		}
	}
	return s;
}
