/*
 * Versions: lookup over the levels, and the iterators and range tombstones that a scan needs.
 *
 * What makes a lookup able to stop early: of one key, points and range tombstones alike, everything in a level is newer
 * than everything in a deeper one, and everything in a table of level 0 newer than in those behind it in the list.
 * The bounds of a table include its range tombstones, so a table that decides about a key is never passed by.
 */
#include "engine/version/version.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/version/level_iter.h"

/* ---- Files --------------------------------------------------------------------------------- */

struct file_meta *file_meta_ref(struct file_meta *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void file_meta_unref(struct file_meta *f)
{
	/* Acquire and release: whoever frees sees what the others did with it. */
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	table_summary_done(&f->summary);
	mem_free(f);
}

bool file_meta_before(const struct file_meta *f, struct wombat_slice key)
{
	int c = slice_compare(buf_slice(&f->summary.largest), key);
	return c < 0 || (c == 0 && f->summary.largest_excluded);
}

bool file_meta_has(const struct file_meta *f, struct wombat_slice key)
{
	return slice_compare(buf_slice(&f->summary.smallest), key) <= 0 && !file_meta_before(f, key);
}

bool file_meta_overlaps(const struct file_meta *f, struct wombat_slice from, struct wombat_slice to)
{
	if (file_meta_before(f, from))
		return false;
	return to.size == 0 || slice_compare(buf_slice(&f->summary.smallest), to) < 0;
}

struct key_span file_meta_span(const struct file_meta *f)
{
	return (struct key_span){ buf_slice(&f->summary.smallest), buf_slice(&f->summary.largest),
				  f->summary.largest_excluded };
}

/* Whether all keys of the span are before `key`. */
static bool span_before(const struct key_span *s, struct wombat_slice key)
{
	int c = slice_compare(s->end, key);
	return c < 0 || (c == 0 && s->end_excluded);
}

bool key_span_overlaps(const struct key_span *a, const struct key_span *b)
{
	return !span_before(a, b->begin) && !span_before(b, a->begin);
}

void key_span_add(struct key_span *span, const struct key_span *more)
{
	if (slice_compare(more->begin, span->begin) < 0)
		span->begin = more->begin;
	int c = slice_compare(more->end, span->end);
	if (c > 0 || (c == 0 && !more->end_excluded)) {
		span->end = more->end;
		span->end_excluded = more->end_excluded;
	}
}

size_t file_list_find(const struct file_list *list, struct wombat_slice key)
{
	size_t lo = 0, hi = list->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (file_meta_before(list->files[mid], key))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static enum wombat_status fail_missing(const struct file_meta *f)
{
	char cause[256];
	snprintf(cause, sizeof cause, "%s", status_detail());
	return fail(WOMBAT_CORRUPTION, "table %06" PRIu64 " is missing: %s", f->number, cause);
}

static struct table_name name_of(struct file_meta *f)
{
	return (struct table_name){ f->number, f->sequence, &f->open };
}

enum wombat_status file_meta_acquire(struct file_meta *f, struct table_cache *tables, struct table **out_table,
				     struct lru_handle **out_handle)
{
	const struct table_name name = name_of(f);
	enum wombat_status s = table_cache_acquire(tables, &name, out_table, out_handle);
	return s == WOMBAT_NOT_FOUND ? fail_missing(f) : s;
}

enum wombat_status file_meta_iter_new(struct file_meta *f, struct table_cache *tables, unsigned flags,
				      size_t read_ahead_bytes, struct iter **out)
{
	const struct table_name name = name_of(f);
	enum wombat_status s = table_cache_iter_new(tables, &name, flags, read_ahead_bytes, out);
	return s == WOMBAT_NOT_FOUND ? fail_missing(f) : s;
}

bool version_level_overlaps(const struct version *v, unsigned level, const struct key_span *span)
{
	const struct file_list *list = &v->levels[level];
	for (size_t i = level ? file_list_find(list, span->begin) : 0; i < list->count; i++) {
		struct key_span file = file_meta_span(list->files[i]);
		if (key_span_overlaps(&file, span))
			return true;
		if (level)
			return false; /* It is the first that ends behind the span's begin: those behind it begin later. */
	}
	return false;
}

/* ---- Get ----------------------------------------------------------------------------------- */

struct lookup {
	struct table_cache *tables;
	struct wombat_slice key;
	uint64_t max_sequence;
	unsigned table_flags;
	uint64_t *cover;
	uint64_t *out_tag;
	struct wombat_slice *out_value;
	struct lru_pin *pin;
	struct version_get_counts *counts;
};

static enum wombat_status get_from(const struct lookup *l, struct file_meta *f)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, l->tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	l->counts->tables++;
	if (f->summary.range_deletes > 0) {
		uint64_t cover = range_fragments_cover(table_range_dels(table), l->key, l->max_sequence);
		if (cover > *l->cover)
			*l->cover = cover;
	}
	s = table_get(table, l->key, l->max_sequence, l->table_flags, l->out_tag, l->out_value, l->pin);
	table_cache_release(l->tables, handle);
	return s;
}

enum wombat_status version_get(struct version *v, struct table_cache *tables, struct wombat_slice key,
			       uint64_t max_sequence, unsigned table_flags, uint64_t *cover, uint64_t *out_tag,
			       struct wombat_slice *out_value, struct lru_pin *pin, struct version_get_counts *counts)
{
	const struct lookup l = { tables, key, max_sequence, table_flags, cover, out_tag, out_value, pin, counts };
	for (size_t i = 0; i < v->levels[0].count; i++) {
		struct file_meta *f = v->levels[0].files[i];
		/* All that is still to come is older than this file, and a tombstone over it decides. */
		if (*cover > f->summary.largest_sequence)
			return WOMBAT_NOT_FOUND;
		if (!file_meta_has(f, key))
			continue;
		enum wombat_status s = get_from(&l, f);
		if (s != WOMBAT_NOT_FOUND)
			return s;
	}
	for (unsigned level = 1; level < v->level_count && !*cover; level++) {
		const struct file_list *list = &v->levels[level];
		size_t at = file_list_find(list, key);
		if (at == list->count || !file_meta_has(list->files[at], key))
			continue;
		enum wombat_status s = get_from(&l, list->files[at]);
		if (s != WOMBAT_NOT_FOUND)
			return s;
	}
	return WOMBAT_NOT_FOUND;
}

/* ---- Scans --------------------------------------------------------------------------------- */

size_t version_iter_max(const struct version *v)
{
	return v->levels[0].count + v->level_count;
}

enum wombat_status version_add_iters(struct version *v, struct table_cache *tables, struct wombat_slice lower,
				     struct wombat_slice upper, unsigned table_flags, size_t read_ahead_bytes,
				     struct iter **iters, size_t *count)
{
	for (size_t i = 0; i < v->levels[0].count; i++) {
		struct file_meta *f = v->levels[0].files[i];
		if (!file_meta_overlaps(f, lower, upper))
			continue;
		enum wombat_status s = file_meta_iter_new(f, tables, table_flags, read_ahead_bytes, &iters[*count]);
		if (s != WOMBAT_OK)
			return s;
		(*count)++;
	}
	for (unsigned level = 1; level < v->level_count; level++) {
		const struct file_list *list = &v->levels[level];
		size_t at = file_list_find(list, lower);
		if (at == list->count || !file_meta_overlaps(list->files[at], lower, upper))
			continue;
		enum wombat_status s = level_iter_new(v, level, tables, lower, upper, table_flags, read_ahead_bytes,
						      &iters[*count]);
		if (s != WOMBAT_OK)
			return s;
		(*count)++;
	}
	return WOMBAT_OK;
}

static enum wombat_status collect_from(struct file_meta *f, struct table_cache *tables, struct wombat_slice lower,
				       struct wombat_slice upper, struct range_del_set *out)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	s = range_fragments_collect(table_range_dels(table), lower, upper, out);
	table_cache_release(tables, handle);
	return s;
}

enum wombat_status version_collect_ranges(struct version *v, struct table_cache *tables, struct wombat_slice lower,
					  struct wombat_slice upper, struct range_del_set *out)
{
	for (unsigned level = 0; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			struct file_meta *f = v->levels[level].files[i];
			if (f->summary.range_deletes == 0 || !file_meta_overlaps(f, lower, upper))
				continue;
			enum wombat_status s = collect_from(f, tables, lower, upper, out);
			if (s != WOMBAT_OK)
				return s;
		}
	return WOMBAT_OK;
}

/* ---- Prefixes ------------------------------------------------------------------------------ */

static enum wombat_status file_may_have_prefix(struct file_meta *f, struct table_cache *tables,
					       struct wombat_slice prefix, bool *out)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	*out = table_may_have_prefix(table, prefix);
	table_cache_release(tables, handle);
	return WOMBAT_OK;
}

/* Whether the bounds leave room for a key with the prefix: one that is >= the prefix, and one that starts with it
 * or sorts before what does. */
static bool bounds_allow_prefix(const struct file_meta *f, struct wombat_slice prefix)
{
	struct wombat_slice smallest = buf_slice(&f->summary.smallest);
	if (file_meta_before(f, prefix))
		return false;
	return slice_compare(smallest, prefix) <= 0 || slice_starts_with(smallest, prefix);
}

enum wombat_status version_may_have_prefix(struct version *v, struct table_cache *tables, struct wombat_slice prefix,
					   bool *out)
{
	*out = false;
	for (unsigned level = 0; level < v->level_count; level++) {
		const struct file_list *list = &v->levels[level];
		for (size_t i = level ? file_list_find(list, prefix) : 0; i < list->count; i++) {
			if (!bounds_allow_prefix(list->files[i], prefix)) {
				if (level)
					break;
				continue;
			}
			enum wombat_status s = file_may_have_prefix(list->files[i], tables, prefix, out);
			if (s != WOMBAT_OK || *out)
				return s;
		}
	}
	return WOMBAT_OK;
}

enum wombat_status version_add_values(const struct version *v, struct value_refs *out)
{
	enum wombat_status s = WOMBAT_OK;
	for (unsigned level = 0; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			const struct value_refs *refs = &v->levels[level].files[i]->summary.values;
			for (size_t k = 0; k < refs->count && s == WOMBAT_OK; k++)
				s = value_refs_add(out, refs->items[k]);
		}
	return s;
}

void version_check_invariants(const struct version *v)
{
	for (unsigned level = 0; level < LEVELS_MAX; level++) {
		const struct file_list *list = &v->levels[level];
		uint64_t bytes = 0;
		assert(level < v->level_count || list->count == 0);
		for (size_t i = 0; i < list->count; i++) {
			bytes += list->files[i]->summary.file_bytes;
			if (i == 0)
				continue;
			const struct file_meta *a = list->files[i - 1], *b = list->files[i];
			if (level == 0) /* equal: tables of one ingestion */
				assert(a->summary.smallest_sequence >= b->summary.largest_sequence);
			else
				assert(file_meta_before(a, buf_slice(&b->summary.smallest)));
			(void)a;
			(void)b;
		}
		assert(bytes == list->bytes);
		(void)bytes;
	}
}
