/*
 * Reader of data blocks (layout: block_builder.c).
 *
 * A search goes by halves over the fences of the restarts, which lie side by side, looks at the whole keys
 * of restarts only where fences are equal, then walks from the last restart before what is
 * wanted. The walk rebuilds no key. It knows how many leading bytes of the wanted key the entry before
 * matched, and that entry was smaller, so with `shared` of the next entry being maximal:
 *
 *     shared > match    it agrees with the smaller entry where that one differed: smaller as well
 *     shared < match    it differs earlier than the one before did, upwards: greater, the walk ends
 *     shared = match    the bytes decide, from there on
 *
 * Where the walk ends the key's shared bytes equal the wanted key's, which gives them to the iterator.
 *
 * Nothing here trusts the bytes: lengths are checked against the end of the entries at each step, restarts
 * when the block is loaded. Damage that a checksum did not catch can give a wrong answer, but no access
 * outside the block.
 */
#include "engine/table/block.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/table/prefix.h"
#include "engine/table/table_format.h"

/* What is fetched at once where a walk begins: as much as mostly lies between two restarts. The walk itself would find one line after
 * the other missing, since where an entry begins is in the one before. */
enum { LINE = 64, WALK_BYTES = 1024 };

static inline uint64_t fence_at(const struct block *b, uint32_t i)
{
	return get_u64(b->data + b->entries_bytes + (size_t)BLOCK_FENCE_SIZE * i);
}

static inline uint32_t restart_offset(const struct block *b, uint32_t i)
{
	const uint8_t *offsets = b->data + b->entries_bytes + (size_t)BLOCK_FENCE_SIZE * b->restart_count;
	return get_u32(offsets + (size_t)BLOCK_RESTART_SIZE * i);
}

/* The prefix is the first key's beginning. */
static bool find_prefix(struct block *b)
{
	struct block_lengths n;
	const uint8_t *q = block_lengths_decode(b->data, b->data + b->entries_bytes, &n);
	if (!q || n.shared != 0 || n.unshared < b->prefix_bytes)
		return false;
	b->prefix = q + IKEY_TAG_SIZE;
	return true;
}

const char *block_init(struct block *b, const uint8_t *data, size_t size)
{
	enum { RESTART = BLOCK_FENCE_SIZE + BLOCK_RESTART_SIZE };
	if (size < BLOCK_TAIL_SIZE || size > TABLE_BLOCK_MAX)
		return "impossible size";
	uint32_t word = get_u32(data + size - 4);
	uint32_t count = word & BLOCK_RESTART_COUNT_MASK;
	if (word != count)
		return "unknown features";
	if (count > (size - BLOCK_TAIL_SIZE) / RESTART)
		return "more restarts than room";
	*b = (struct block){
		.data = data,
		.prefix_bytes = get_u32(data + size - BLOCK_TAIL_SIZE),
		.entries_bytes = (uint32_t)(size - BLOCK_TAIL_SIZE - (size_t)RESTART * count),
		.restart_count = count,
	};
	if (count == 0)
		return b->entries_bytes || b->prefix_bytes ? "entries without a restart" : NULL;
	if (restart_offset(b, 0) != 0)
		return "first restart is not the first entry";
	for (uint32_t i = 1; i < count; i++)
		if (restart_offset(b, i) <= restart_offset(b, i - 1))
			return "restarts out of order";
	if (restart_offset(b, count - 1) >= b->entries_bytes)
		return "restart past the entries";
	return find_prefix(b) ? NULL : "the first entry has no such prefix";
}

const uint8_t *block_lengths_slow(const uint8_t *p, const uint8_t *limit, struct block_lengths *out)
{
	struct cursor c = { p, limit };
	uint64_t shared, unshared, value;
	if (!cursor_varint(&c, &shared) || !cursor_varint(&c, &unshared) || !cursor_varint(&c, &value))
		return NULL;
	if (shared > UINT32_MAX || unshared > UINT32_MAX || value > UINT32_MAX)
		return NULL;
	*out = (struct block_lengths){ (uint32_t)shared, (uint32_t)unshared, (uint32_t)value };
	return c.p;
}

/* ---- Search ---------------------------------------------------------------------------------- */

/* An entry found: where it is and what it is made of. */
struct spot {
	const uint8_t *entry;
	const uint8_t *tag_at;
	struct block_lengths n;
	bool same_key;
};

/* Whether the entry at a restart comes before (key, tag). */
static enum block_result restart_is_before(const struct block *b, uint32_t i, struct wombat_slice key,
	uint64_t tag, bool *out)
{
	struct block_lengths n;
	const uint8_t *p = b->data + restart_offset(b, i);
	const uint8_t *q = block_lengths_decode(p, b->data + b->entries_bytes, &n);
	if (!q || n.shared != 0)
		return BLOCK_BAD;
	*out = ikey_compare_parts(slice_make(q + IKEY_TAG_SIZE, n.unshared), get_u64(q), key, tag) < 0;
	return BLOCK_AT;
}

/* How many restarts have a fence below `fence`. */
static inline uint32_t count_below(const struct block *b, uint64_t fence)
{
	uint32_t low = 0, n = b->restart_count;
	while (n > 1) {
		uint32_t half = n / 2;
		low += fence_at(b, low + half - 1) < fence ? half : 0;
		n -= half;
	}
	return low + (fence_at(b, low) < fence);
}

/* How many restarts come before (key, tag), among those with that fence; the first `low` do. */
static enum block_result count_equal(const struct block *b, uint32_t low, uint64_t fence,
	struct wombat_slice key, uint64_t tag, uint32_t *out)
{
	uint32_t high = b->restart_count; /* before: those below `low`, none from `high` on */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		bool before = false;
		if (fence_at(b, middle) == fence) {
			enum block_result r = restart_is_before(b, middle, key, tag, &before);
			if (r != BLOCK_AT)
				return r;
		}
		if (before)
			low = middle + 1;
		else
			high = middle;
	}
	*out = low;
	return BLOCK_AT;
}

/* The last restart whose entry comes before (key, tag); 0 when none does. */
static enum block_result find_restart(const struct block *b, struct wombat_slice key, uint64_t tag,
	uint32_t *out)
{
	size_t n = b->prefix_bytes, both = key.size < n ? key.size : n;
	int c = both ? memcmp(key.data, b->prefix, both) : 0;
	uint32_t before = 0;
	if (c > 0) {
		before = b->restart_count;
	} else if (c == 0 && key.size >= n) {
		uint64_t fence = prefix_fence(key.data + n, key.size - n);
		before = count_below(b, fence);
		if (before < b->restart_count && fence_at(b, before) == fence) {
			enum block_result r = count_equal(b, before, fence, key, tag, &before);
			if (r != BLOCK_AT)
				return r;
		}
	}
	*out = before ? before - 1 : 0;
	return BLOCK_AT;
}

/* To the first entry at or behind (key, tag). */
static enum block_result search(const struct block *b, struct wombat_slice key, uint64_t tag,
	struct spot *out)
{
	if (b->restart_count == 0)
		return BLOCK_END;
	uint32_t restart;
	enum block_result r = find_restart(b, key, tag, &restart);
	if (r != BLOCK_AT)
		return r;
	const uint8_t *limit = b->data + b->entries_bytes;
	const uint8_t *p = b->data + restart_offset(b, restart);
	const uint8_t *next_restart = limit;
	if (restart + 1 < b->restart_count)
		next_restart = b->data + restart_offset(b, restart + 1);
	for (const uint8_t *line = p; line < next_restart && line < p + WALK_BYTES; line += LINE)
		__builtin_prefetch(line);
	size_t match = 0;
	while (p < limit) {
		struct block_lengths n;
		const uint8_t *q = block_lengths_decode(p, limit, &n);
		if (!q)
			return BLOCK_BAD;
		if (p == next_restart)
			match = 0; /* its key is whole, and the search above says that it ends the walk */
		*out = (struct spot){ p, q, n, false };
		if (n.shared < match)
			return BLOCK_AT;
		if (n.shared == match) {
			const uint8_t *bytes = q + IKEY_TAG_SIZE;
			size_t left = key.size - match;
			size_t both = n.unshared < left ? n.unshared : left;
			size_t common = prefix_common(bytes, key.data + match, both);
			if (common < both) {
				if (bytes[common] > key.data[match + common])
					return BLOCK_AT;
			} else if (n.unshared > left) {
				return BLOCK_AT;
			} else if (n.unshared == left && get_u64(q) <= tag) {
				out->same_key = true;
				return BLOCK_AT;
			}
			match += common;
		}
		p = q + IKEY_TAG_SIZE + n.unshared + n.value;
	}
	return BLOCK_END;
}

enum block_result block_get(const struct block *b, struct wombat_slice key, uint64_t tag, uint64_t *out_tag,
	struct wombat_slice *out_value)
{
	struct spot at;
	enum block_result r = search(b, key, tag, &at);
	if (r != BLOCK_AT)
		return r;
	if (!at.same_key)
		return BLOCK_END;
	*out_tag = get_u64(at.tag_at);
	*out_value = slice_make(at.tag_at + IKEY_TAG_SIZE + at.n.unshared, at.n.value);
	return BLOCK_AT;
}

/* ---- Iterator -------------------------------------------------------------------------------- */

struct block_back {
	const uint8_t *entry, *next;
	uint64_t tag;
	struct wombat_slice value;
	size_t key_offset, key_size; /* in back_keys */
};

void block_iter_init(struct block_iter *b)
{
	/* Not inline_key: nothing reads what was not written. */
	memset(b, 0, offsetof(struct block_iter, inline_key));
	b->key = b->inline_key;
	b->key_capacity = sizeof(b->inline_key);
	b->it.key.data = b->key;
}

void block_iter_done(struct block_iter *b)
{
	if (b->key != b->inline_key)
		mem_free(b->key);
	mem_free(b->back);
	buf_done(&b->back_keys);
}

void block_iter_set(struct block_iter *b, const struct block *block)
{
	b->block = block;
	b->limit = block ? block->data + block->entries_bytes : NULL;
	b->entry = b->next = b->limit;
	b->back_count = 0;
}

/* Makes the key `prefix` and `bytes`. `prefix` may lie in the key itself. */
static enum block_result set_key(struct block_iter *b, const uint8_t *prefix, size_t prefix_size,
	const uint8_t *bytes, size_t size)
{
	size_t need = prefix_size + size + BLOCK_SHORT_COPY;
	uint8_t *old = NULL;
	uint8_t *key = b->key;
	if (need > b->key_capacity) {
		key = mem_alloc(need * 2);
		if (!key)
			return BLOCK_NO_MEMORY;
		old = b->key;
		b->key_capacity = need * 2;
	}
	if (prefix_size && prefix != key)
		memmove(key, prefix, prefix_size);
	if (size)
		memcpy(key + prefix_size, bytes, size);
	b->key = key;
	b->it.key = slice_make(key, prefix_size + size);
	if (old && old != b->inline_key)
		mem_free(old);
	return BLOCK_AT;
}

enum block_result block_iter_key_slow(struct block_iter *b, size_t shared, const uint8_t *bytes, size_t size)
{
	return set_key(b, b->key, shared, bytes, size);
}

enum block_result block_iter_first(struct block_iter *b)
{
	b->next = b->block->data;
	b->it.key.size = 0;
	return block_iter_next(b);
}

enum block_result block_iter_seek(struct block_iter *b, struct wombat_slice key, uint64_t tag)
{
	struct spot at;
	enum block_result r = search(b->block, key, tag, &at);
	if (r != BLOCK_AT)
		return r;
	const uint8_t *bytes = at.tag_at + IKEY_TAG_SIZE;
	r = set_key(b, key.data, at.n.shared, bytes, at.n.unshared);
	if (r != BLOCK_AT)
		return r;
	b->it.tag = get_u64(at.tag_at);
	b->it.value = slice_make(bytes + at.n.unshared, at.n.value);
	b->entry = at.entry;
	b->next = bytes + at.n.unshared + at.n.value;
	return BLOCK_AT;
}

static enum block_result back_push(struct block_iter *b)
{
	struct block_back *back = array_reserve(b->back, b->back_count, &b->back_capacity, sizeof *back);
	if (!back)
		return BLOCK_NO_MEMORY;
	b->back = back;
	struct block_back *e = &b->back[b->back_count];
	*e = (struct block_back){
		.entry = b->entry,
		.next = b->next,
		.tag = b->it.tag,
		.value = b->it.value,
		.key_offset = b->back_keys.size,
		.key_size = b->it.key.size,
	};
	if (buf_append(&b->back_keys, b->it.key.data, b->it.key.size) != WOMBAT_OK)
		return BLOCK_NO_MEMORY;
	b->back_count++;
	return BLOCK_AT;
}

/* To the last entry before the one at `stop`, by way of all since the restart before it. */
static enum block_result go_before(struct block_iter *b, const uint8_t *stop)
{
	const struct block *block = b->block;
	b->back_count = 0;
	if (stop == block->data)
		return BLOCK_END;
	uint32_t stop_offset = (uint32_t)(stop - block->data);
	uint32_t low = 0, high = block->restart_count; /* restart `low` is before the stop: the first is */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (restart_offset(block, middle) < stop_offset)
			low = middle;
		else
			high = middle;
	}
	b->next = block->data + restart_offset(block, low);
	b->it.key.size = 0;
	buf_clear(&b->back_keys);
	enum block_result r = BLOCK_AT;
	while (r == BLOCK_AT && b->next < stop) {
		r = block_iter_next(b);
		if (r == BLOCK_AT)
			r = back_push(b);
	}
	if (r != BLOCK_AT) {
		b->back_count = 0;
		return r;
	}
	if (b->next != stop)
		return BLOCK_BAD; /* an entry reaches over the stop, which was one's beginning */
	b->back_at = b->back_count - 1;
	return BLOCK_AT;
}

enum block_result block_iter_last(struct block_iter *b)
{
	return b->block->restart_count ? go_before(b, b->limit) : BLOCK_END;
}

enum block_result block_iter_seek_before(struct block_iter *b, struct wombat_slice key, uint64_t tag)
{
	struct spot at;
	enum block_result r = search(b->block, key, tag, &at);
	if (r == BLOCK_AT)
		return go_before(b, at.entry);
	return r == BLOCK_END ? block_iter_last(b) : r;
}

enum block_result block_iter_prev(struct block_iter *b)
{
	/* A move forward since then leaves back_at on another entry; the check on `entry` sees that. */
	if (b->back_count && b->back_at > 0 && b->back[b->back_at].entry == b->entry) {
		const struct block_back *e = &b->back[--b->back_at];
		const uint8_t *keys = b->back_keys.data; /* NULL when all are empty */
		enum block_result r = set_key(b, NULL, 0, keys ? keys + e->key_offset : NULL, e->key_size);
		if (r != BLOCK_AT)
			return r;
		b->it.tag = e->tag;
		b->it.value = e->value;
		b->entry = e->entry;
		b->next = e->next;
		return BLOCK_AT;
	}
	return go_before(b, b->entry);
}
