/*
 * The lookup of keys whose tables, filter pages and blocks are in memory, which is most lookups: version_get() without what
 * holding, reading and range tombstones need.
 *
 * For it the deeper levels are laid out as runs: of each file two integers, the first bytes of its bounds behind the prefix
 * that all keys of the level have. So mostly nothing but these is looked at to find the file, and empty levels not at all.
 */
#include "engine/base/alloc.h"
#include "engine/table/filter.h"
#include "engine/table/prefix.h"
#include "engine/version/version.h"

static uint64_t fence_of(const struct buf *key, size_t prefix)
{
	return prefix_fence(key->data + prefix, key->size - prefix);
}

enum wombat_status version_lay_out(struct version *v)
{
	size_t files = 0;
	for (unsigned level = 1; level < v->level_count; level++)
		files += v->levels[level].count;
	uint64_t *fences = mem_alloc(2 * files * sizeof *fences);
	if (!fences)
		return fail_no_memory();
	v->fences = fences;
	v->run_count = 0;
	for (unsigned level = 1; level < v->level_count; level++) {
		const struct file_list *list = &v->levels[level];
		if (!list->count)
			continue;
		struct level_run *r = &v->runs[v->run_count++];
		struct wombat_slice first = buf_slice(&list->files[0]->summary.smallest);
		struct wombat_slice last = buf_slice(&list->files[list->count - 1]->summary.largest);
		size_t prefix = slice_common_prefix(first, last);
		*r = (struct level_run){ list, slice_make(first.data, prefix), fences };
		for (size_t i = 0; i < list->count; i++) {
			*fences++ = fence_of(&list->files[i]->summary.smallest, prefix);
			*fences++ = fence_of(&list->files[i]->summary.largest, prefix);
		}
	}
	return WOMBAT_OK;
}

/* The first file whose largest key's fence is not below `fence`. */
static inline size_t fence_find(const struct level_run *r, uint64_t fence)
{
	const uint64_t *largest = r->fences + 1;
	size_t at = 0;
	for (size_t n = r->list->count; n > 1;) {
		size_t half = n / 2;
		at += largest[2 * (at + half - 1)] < fence ? half : 0;
		n -= half;
	}
	return at + (largest[2 * at] < fence);
}

/* The one file of the run that could have the key; NULL: none. */
static struct file_meta *run_find(const struct level_run *r, struct wombat_slice key)
{
	size_t n = r->prefix.size;
	if (!slice_starts_with(key, r->prefix))
		return NULL; /* What lies between the bounds starts as both do. */
	uint64_t fence = prefix_fence(key.data + n, key.size - n);
	size_t i = fence_find(r, fence);
	if (i < r->list->count && r->fences[2 * i + 1] == fence)
		i = file_list_find(r->list, key); /* the integers do not tell */
	if (i == r->list->count || r->fences[2 * i] > fence)
		return NULL;
	struct file_meta *f = r->list->files[i];
	return r->fences[2 * i] < fence || slice_compare(buf_slice(&f->summary.smallest), key) <= 0 ? f : NULL;
}

static enum wombat_status get_from(struct file_meta *f, struct wombat_slice key, uint64_t hash, uint64_t max_sequence,
				   struct table_warm_counts *counts, uint64_t *out_tag, struct wombat_slice *out_value,
				   struct lru_pin *pin)
{
	const struct table_name name = { f->number, f->sequence, &f->open };
	const struct table *t = table_cache_peek(&name);
	if (!t)
		return WOMBAT_WOULD_BLOCK;
	counts->tables++;
	return table_get_warm(t, key, hash, max_sequence, counts, out_tag, out_value, pin);
}

enum wombat_status version_get_warm(const struct version *v, struct wombat_slice key, uint64_t max_sequence,
				    struct table_warm_counts *counts, uint64_t *out_tag, struct wombat_slice *out_value,
				    struct lru_pin *pin)
{
	if (v->range_delete_files)
		return WOMBAT_WOULD_BLOCK;
	uint64_t hash = filter_hash_key(key);
	enum wombat_status s = WOMBAT_NOT_FOUND;
	for (size_t i = 0; i < v->levels[0].count && s == WOMBAT_NOT_FOUND; i++) {
		struct file_meta *f = v->levels[0].files[i];
		if (file_meta_has(f, key))
			s = get_from(f, key, hash, max_sequence, counts, out_tag, out_value, pin);
	}
	for (unsigned i = 0; i < v->run_count && s == WOMBAT_NOT_FOUND; i++) {
		struct file_meta *f = run_find(&v->runs[i], key);
		if (f)
			s = get_from(f, key, hash, max_sequence, counts, out_tag, out_value, pin);
	}
	return s;
}
