/*
 * Dividing a compaction by keys: each input table's index tells a few of its keys, with the bytes of data up to each.
 * Sorted together, and summed, they say about where which share of all bytes ends. No data is read for it.
 */
#include "engine/compact/subrange.h"

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"

/* Of a table: a range is off by at most so many parts of its tables. */
enum { SAMPLES = 32 };

struct sample {
	struct buf key;
	uint64_t bytes; /* of a table's data, from its sample before */
};

struct samples {
	struct sample *items;
	size_t count, capacity;
};

static enum wombat_status add_sample(void *arg, struct wombat_slice key, uint64_t bytes)
{
	struct samples *s = arg;
	struct sample *items = array_reserve(s->items, s->count, &s->capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	s->items = items;
	struct sample *item = &s->items[s->count];
	*item = (struct sample){ .bytes = bytes };
	enum wombat_status status = buf_append(&item->key, key.data, key.size);
	s->count += status == WOMBAT_OK;
	return status;
}

static int compare_samples(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;
	return slice_compare(buf_slice(&x->key), buf_slice(&y->key));
}

static enum wombat_status sample_file(struct file_meta *f, struct table_cache *tables, struct samples *out)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	s = table_sample(table, SAMPLES, add_sample, out);
	table_cache_release(tables, handle);
	return s;
}

/* The keys at which the sums reach 1/count, 2/count, ... of all bytes. A key that ends two ranges ends one. */
static enum wombat_status divide(struct samples *from, uint64_t total, size_t count, struct subranges *out)
{
	uint64_t sum = 0;
	out->keys = mem_zalloc(count * sizeof *out->keys);
	if (!out->keys)
		return fail_no_memory();
	for (size_t i = 0; i + 1 < from->count && out->count + 1 < count; i++) {
		struct buf *key = &from->items[i].key;
		sum += from->items[i].bytes;
		if (sum < total / count * (out->count + 1) ||
		    (out->count && slice_equal(buf_slice(key), buf_slice(&out->keys[out->count - 1]))))
			continue;
		out->keys[out->count++] = *key;
		*key = (struct buf){ 0 };
	}
	return WOMBAT_OK;
}

enum wombat_status subranges_of(const struct compaction_inputs *in, struct table_cache *tables, size_t max,
				uint64_t min_bytes, struct subranges *out)
{
	struct samples samples = { 0 };
	uint64_t total = 0;
	enum wombat_status s = WOMBAT_OK;
	*out = (struct subranges){ 0 };
	if (max > in->bytes / min_bytes)
		max = (size_t)(in->bytes / min_bytes);
	if (max < 2)
		return WOMBAT_OK;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side] && s == WOMBAT_OK; i++)
			s = sample_file(in->files[side][i], tables, &samples);
	for (size_t i = 0; i < samples.count; i++)
		total += samples.items[i].bytes;
	if (s == WOMBAT_OK && samples.count > 1) {
		qsort(samples.items, samples.count, sizeof *samples.items, compare_samples);
		s = divide(&samples, total, max, out);
	}
	for (size_t i = 0; i < samples.count; i++)
		buf_done(&samples.items[i].key);
	mem_free(samples.items);
	return s;
}

void subranges_done(struct subranges *s)
{
	for (size_t i = 0; i < s->count; i++)
		buf_done(&s->keys[i]);
	mem_free(s->keys);
	*s = (struct subranges){ 0 };
}

struct wombat_slice subrange_begin(const struct subranges *s, size_t i)
{
	return i ? buf_slice(&s->keys[i - 1]) : slice_make(NULL, 0);
}

struct wombat_slice subrange_end(const struct subranges *s, size_t i)
{
	return i < s->count ? buf_slice(&s->keys[i]) : slice_make(NULL, 0);
}
