/*
 * The index: written as a list, read into arrays.
 *
 *     block:   count varint | entry*
 *     entry:   shared varint | unshared varint | tag varint | gap varint | size varint | unshared key bytes
 *
 * `gap` is what lies between the end of the block before (its trailer included) and this one: 0, but kept
 * for layouts with padding. The offset is not stored; it follows.
 *
 * In memory a search is a binary search over integers that compiles to conditional moves; bytes are looked
 * at only among equal integers. An index of 16,000 blocks (64 MiB) has 128 KiB of them, so most of a search
 * stays in the second-level cache.
 *
 * A pointer to the block in the cache could stand beside each handle, so that a read of a hot block needs
 * neither hash nor lock: `offsets` is the place to put it, and table_block_acquire() the only reader.
 */
#include "engine/table/index.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/table/prefix.h"

/* ---- Writing --------------------------------------------------------------------------------- */

void index_builder_init(struct index_builder *b)
{
	*b = (struct index_builder){ 0 };
}

void index_builder_done(struct index_builder *b)
{
	buf_done(&b->body);
	buf_done(&b->last_key);
}

enum wombat_status index_builder_add(struct index_builder *b, struct wombat_slice key, uint64_t tag,
	struct table_handle handle)
{
	assert(handle.offset >= b->next_offset && handle.size <= TABLE_BLOCK_MAX);
	size_t shared = slice_common_prefix(key, buf_slice(&b->last_key));
	enum wombat_status s = buf_reserve(&b->body, 5 * VARINT_MAX + key.size);
	if (s != WOMBAT_OK)
		return s;
	s = buf_set(&b->last_key, key);
	if (s != WOMBAT_OK)
		return s;
	uint8_t *p = b->body.data + b->body.size;
	p += put_varint(p, shared);
	p += put_varint(p, key.size - shared);
	p += put_varint(p, tag);
	p += put_varint(p, handle.offset - b->next_offset);
	p += put_varint(p, handle.size);
	if (key.size > shared)
		memcpy(p, key.data + shared, key.size - shared);
	b->body.size = (size_t)(p - b->body.data) + key.size - shared;
	b->next_offset = handle.offset + handle.size + TABLE_BLOCK_TRAILER_SIZE;
	b->count++;
	return WOMBAT_OK;
}

enum wombat_status index_builder_finish(struct index_builder *b, struct buf *out)
{
	buf_clear(out);
	enum wombat_status s = buf_append_varint(out, b->count);
	return s == WOMBAT_OK ? buf_append(out, b->body.data, b->body.size) : s;
}

enum wombat_status index_separator(struct wombat_slice before, struct wombat_slice after, struct buf *out)
{
	size_t n = before.size < after.size ? before.size : after.size;
	size_t common = n ? prefix_common(before.data, after.data, n) : 0;
	assert(common < after.size);
	if (common == before.size)
		return buf_set(out, before);
	/* Cut `after` behind the byte that makes it greater, unless nothing was cut. */
	if (common + 1 < after.size)
		return buf_set(out, slice_make(after.data, common + 1));
	/* Else raise a byte of `before` and cut there: the first one that stays below `after`, or, since what
	 * follows the first difference is free, one behind that can be raised. */
	size_t at = common;
	if (before.data[at] + 1 >= after.data[at])
		at++;
	while (at < before.size && before.data[at] == 0xff)
		at++;
	if (at >= before.size)
		return buf_set(out, before);
	enum wombat_status s = buf_set(out, slice_make(before.data, at + 1));
	if (s == WOMBAT_OK)
		out->data[at]++;
	return s;
}

/* ---- Reading --------------------------------------------------------------------------------- */

struct index_entry {
	uint64_t shared, unshared, tag, gap, size;
	struct wombat_slice bytes;
};

static bool entry_decode(struct cursor *c, struct index_entry *out)
{
	return cursor_varint(c, &out->shared) && cursor_varint(c, &out->unshared) &&
	       cursor_varint(c, &out->tag) && cursor_varint(c, &out->gap) && cursor_varint(c, &out->size) &&
	       out->unshared <= cursor_left(c) && cursor_bytes(c, (size_t)out->unshared, &out->bytes);
}

/* What the arrays will need, and a check of everything that needs no keys. NULL, or what is wrong. */
struct index_sizes {
	uint64_t count;
	uint64_t key_bytes;  /* of whole separators */
	uint64_t key_max;
	uint64_t prefix;     /* bytes that all of them share */
	bool tags;
};

static const char *measure(struct cursor c, uint64_t blocks_end, struct index_sizes *out)
{
	enum { ENTRY_MIN = 5 };
	*out = (struct index_sizes){ 0 };
	if (!cursor_varint(&c, &out->count))
		return "no count";
	if (out->count > cursor_left(&c) / ENTRY_MIN)
		return "more entries than room";
	uint64_t offset = 0, last_size = 0;
	for (uint64_t i = 0; i < out->count; i++) {
		struct index_entry e;
		if (!entry_decode(&c, &e))
			return "an entry is cut off";
		if (e.shared > last_size)
			return "an entry shares more than there is";
		last_size = e.shared + e.unshared;
		out->key_bytes += last_size;
		if (out->key_bytes > UINT32_MAX)
			return "keys too large";
		if (last_size > out->key_max)
			out->key_max = last_size;
		if (i == 0)
			out->prefix = last_size;
		else if (e.shared < out->prefix)
			out->prefix = e.shared;
		out->tags |= e.tag != 0;
		if (e.size > TABLE_BLOCK_MAX || e.gap > blocks_end ||
		    offset + e.gap + e.size + TABLE_BLOCK_TRAILER_SIZE > blocks_end)
			return "a block lies outside the file";
		offset += e.gap + e.size + TABLE_BLOCK_TRAILER_SIZE;
	}
	return cursor_left(&c) ? "bytes behind the last entry" : NULL;
}

/* The arrays within the one allocation, 8-byte ones first. */
struct index_arrays {
	struct index index;
	uint64_t *fences, *offsets, *tags;
	uint32_t *sizes, *key_ends;
	uint8_t *prefix, *keys;
};

static struct index *arrays_alloc(const struct index_sizes *n, struct index_arrays *out)
{
	uint64_t words = n->tags ? 3 : 2;
	uint64_t key_bytes = n->prefix + n->key_bytes - n->count * n->prefix;
	size_t bytes = sizeof(struct index) + (size_t)(n->count * (words * 8 + 2 * 4) + key_bytes);
	struct index *x = mem_alloc(bytes);
	if (!x)
		return NULL;
	size_t count = (size_t)n->count;
	uint64_t *word = (uint64_t *)(x + 1);
	out->fences = word;
	out->offsets = word + count;
	out->tags = n->tags ? word + 2 * count : NULL;
	uint32_t *half = (uint32_t *)(word + words * count);
	out->sizes = half;
	out->key_ends = half + count;
	out->prefix = (uint8_t *)(half + 2 * count);
	out->keys = out->prefix + n->prefix;
	*x = (struct index){
		.count = count,
		.memory_bytes = bytes,
		.prefix = slice_make(out->prefix, (size_t)n->prefix),
		.fences = out->fences,
		.offsets = out->offsets,
		.tags = out->tags,
		.sizes = out->sizes,
		.key_ends = out->key_ends,
		.keys = out->keys,
	};
	return x;
}
_Static_assert(sizeof(struct index) % 8 == 0, "the arrays behind it are aligned");

/* Fills the arrays. False: separators do not ascend. `key` has room for the longest. */
static bool fill(struct cursor c, const struct index_sizes *n, const struct index *x, struct index_arrays *a,
	uint8_t *key)
{
	uint64_t ignored, offset = 0;
	size_t end = 0;
	if (!cursor_varint(&c, &ignored))
		return false;
	for (size_t i = 0; i < x->count; i++) {
		struct index_entry e;
		if (!entry_decode(&c, &e))
			return false;
		if (e.unshared)
			memcpy(key + e.shared, e.bytes.data, (size_t)e.unshared);
		struct wombat_slice whole = slice_make(key, (size_t)(e.shared + e.unshared));
		if (i == 0 && n->prefix)
			memcpy(a->prefix, key, (size_t)n->prefix);
		if (i && index_compare(x, i - 1, whole, e.tag) >= 0)
			return false;
		size_t rest = whole.size - (size_t)n->prefix;
		if (rest)
			memcpy(a->keys + end, key + n->prefix, rest);
		a->fences[i] = prefix_fence(a->keys + end, rest);
		end += rest;
		a->key_ends[i] = (uint32_t)end;
		offset += e.gap;
		a->offsets[i] = offset;
		a->sizes[i] = (uint32_t)e.size;
		offset += e.size + TABLE_BLOCK_TRAILER_SIZE;
		if (a->tags)
			a->tags[i] = e.tag;
	}
	return true;
}

enum wombat_status index_new(struct wombat_slice bytes, uint64_t blocks_end, const char *name,
	struct index **out)
{
	struct index_sizes n;
	const char *fault = measure(cursor_of(bytes), blocks_end, &n);
	if (fault)
		return fail(WOMBAT_CORRUPTION, "%s: index: %s", name, fault);
	struct index_arrays a;
	struct index *x = arrays_alloc(&n, &a);
	uint8_t *key = mem_alloc((size_t)n.key_max);
	enum wombat_status s = WOMBAT_OK;
	if (!x || !key)
		s = fail_no_memory();
	else if (!fill(cursor_of(bytes), &n, x, &a, key))
		s = fail(WOMBAT_CORRUPTION, "%s: index: separators out of order", name);
	mem_free(key);
	if (s == WOMBAT_OK)
		*out = x;
	else
		mem_free(x);
	return s;
}

void index_free(struct index *x)
{
	mem_free(x);
}

static inline struct wombat_slice separator_rest(const struct index *x, size_t i)
{
	uint32_t begin = i ? x->key_ends[i - 1] : 0;
	return slice_make(x->keys + begin, x->key_ends[i] - begin);
}

enum wombat_status index_key(const struct index *x, size_t i, struct buf *out)
{
	struct wombat_slice rest = separator_rest(x, i);
	enum wombat_status s = buf_set(out, x->prefix);
	return s == WOMBAT_OK ? buf_append(out, rest.data, rest.size) : s;
}

int index_compare(const struct index *x, size_t i, struct wombat_slice key, uint64_t tag)
{
	size_t n = x->prefix.size;
	if (key.size < n) {
		int c = key.size ? memcmp(x->prefix.data, key.data, key.size) : 0;
		return c ? c : 1;
	}
	int c = n ? memcmp(x->prefix.data, key.data, n) : 0;
	if (c)
		return c;
	return ikey_compare_parts(separator_rest(x, i), x->tags ? x->tags[i] : 0,
		slice_make(key.data + n, key.size - n), tag);
}

/* The first fence that is not below `fence`. */
static inline size_t fence_find(const uint64_t *fences, size_t count, uint64_t fence)
{
	const uint64_t *base = fences;
	for (size_t n = count; n > 1;) {
		size_t half = n / 2;
		base += base[half - 1] < fence ? half : 0;
		n -= half;
	}
	return (size_t)(base - fences) + (count && *base < fence);
}

/* Among equal fences, from `low` on: the first separator at or behind (rest, tag). */
static size_t find_among_equal(const struct index *x, size_t low, uint64_t fence, struct wombat_slice rest,
	uint64_t tag)
{
	size_t high = x->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint64_t middle_tag = x->tags ? x->tags[middle] : 0;
		bool before = x->fences[middle] == fence &&
			      ikey_compare_parts(separator_rest(x, middle), middle_tag, rest, tag) < 0;
		if (before)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t index_find(const struct index *x, struct wombat_slice key, uint64_t tag)
{
	size_t n = x->prefix.size;
	if (n) {
		size_t both = key.size < n ? key.size : n;
		int c = both ? memcmp(key.data, x->prefix.data, both) : 0;
		if (c > 0)
			return x->count;
		if (c < 0 || key.size < n)
			return 0;
	}
	struct wombat_slice rest = slice_make(key.data + n, key.size - n);
	uint64_t fence = prefix_fence(rest.data, rest.size);
	size_t i = fence_find(x->fences, x->count, fence);
	if (i == x->count || x->fences[i] != fence)
		return i;
	return find_among_equal(x, i, fence, rest, tag);
}

uint64_t index_blocks_end(const struct index *x)
{
	if (x->count == 0)
		return 0;
	return x->offsets[x->count - 1] + x->sizes[x->count - 1] + TABLE_BLOCK_TRAILER_SIZE;
}
