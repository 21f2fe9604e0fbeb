/*
 * Builder of data blocks.
 *
 *     entry:    shared varint | unshared varint | value size varint | tag 8 | unshared key bytes | value
 *     block:    entry* | fence 8 * | restart offset 4 * | prefix size 4 | restart count 4
 *
 * The fences are those (prefix.h) of the restarts' keys behind the prefix that all keys of the block have.
 * A search by halves looks at them instead of at keys all over the block, each of which would be a cache
 * miss. The prefix is known at the end, so they are made then.
 *
 * `shared` is always the most that can be shared (0 at a restart): a search relies on it, see block.c.
 * A walk from a restart looks at each entry on the way. Entries of a few lines lie together and can be fetched together; of larger ones
 * each would be a miss of its own, so they are restarts themselves.
 *
 * The tag has a fixed width because the three lengths are then the only thing to decode, and they are
 * three single bytes for all but large entries.
 */
#include "engine/table/block_builder.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/base/ikey.h"
#include "engine/table/prefix.h"

enum { RESTART_BYTES = 1024 }; /* behind these a restart comes, whatever the interval */

struct block_restart {
	uint32_t offset;
	uint32_t key_offset, key_size;
};

void block_builder_init(struct block_builder *b, unsigned restart_interval)
{
	*b = (struct block_builder){ .restart_interval = restart_interval ? restart_interval : 1 };
}

void block_builder_done(struct block_builder *b)
{
	buf_done(&b->bytes);
	mem_free(b->restarts);
	b->restarts = NULL;
	b->restart_count = b->restart_capacity = 0;
}

void block_builder_clear(struct block_builder *b, size_t keep_bytes)
{
	if (b->bytes.capacity / 8 > keep_bytes)
		buf_done(&b->bytes);
	buf_clear(&b->bytes);
	b->restart_count = 0;
	b->since_restart = 0;
}

static inline uint8_t *put_length(uint8_t *p, size_t length)
{
	if (length < 0x80) {
		*p = (uint8_t)length;
		return p + 1;
	}
	return p + put_varint(p, length);
}

static enum wombat_status add_restart(struct block_builder *b)
{
	assert(b->bytes.size < TABLE_BLOCK_MAX);
	struct block_restart *restarts = array_reserve(b->restarts, b->restart_count, &b->restart_capacity, sizeof *restarts);
	if (!restarts)
		return fail_no_memory();
	b->restarts = restarts;
	b->restarts[b->restart_count++].offset = (uint32_t)b->bytes.size;
	return WOMBAT_OK;
}

/* All of an entry but its value; room was reserved. */
static void append_head(struct block_builder *b, struct wombat_slice key, size_t shared, uint64_t tag,
	size_t value_bytes)
{
	uint8_t *p = b->bytes.data + b->bytes.size;
	size_t unshared = key.size - shared;
	p = put_length(p, shared);
	p = put_length(p, unshared);
	p = put_length(p, value_bytes);
	put_u64(p, tag);
	p += IKEY_TAG_SIZE;
	if (unshared)
		memcpy(p, key.data + shared, unshared);
	b->bytes.size = (size_t)(p + unshared - b->bytes.data);
}

enum wombat_status block_builder_add(struct block_builder *b, struct wombat_slice key, size_t common,
	uint64_t tag, struct wombat_slice value)
{
	size_t bound = block_entry_bound(key.size, value.size);
	if (b->bytes.capacity - b->bytes.size < bound) {
		enum wombat_status s = buf_reserve(&b->bytes, bound);
		if (s != WOMBAT_OK)
			return s;
	}
	size_t shared = common;
	if (b->since_restart == 0) {
		enum wombat_status s = add_restart(b);
		if (s != WOMBAT_OK)
			return s;
		shared = 0;
	}
	if (b->bytes.size == 0)
		b->prefix_bytes = key.size;
	else if (common < b->prefix_bytes)
		b->prefix_bytes = common;
	append_head(b, key, shared, tag, value.size);
	if (b->since_restart == 0) {
		struct block_restart *restart = &b->restarts[b->restart_count - 1];
		restart->key_offset = (uint32_t)(b->bytes.size - key.size);
		restart->key_size = (uint32_t)key.size;
	}
	if (value.size)
		memcpy(b->bytes.data + b->bytes.size, value.data, value.size);
	b->bytes.size += value.size;
	if (++b->since_restart == b->restart_interval ||
	    b->bytes.size - b->restarts[b->restart_count - 1].offset >= RESTART_BYTES)
		b->since_restart = 0;
	return WOMBAT_OK;
}

enum wombat_status block_builder_add_alone(struct block_builder *b, struct wombat_slice key, uint64_t tag,
	size_t value_bytes)
{
	assert(block_builder_empty(b));
	enum wombat_status s = buf_reserve(&b->bytes, block_entry_bound(key.size, 0));
	if (s != WOMBAT_OK)
		return s;
	append_head(b, key, 0, tag, value_bytes);
	b->prefix_bytes = key.size;
	return WOMBAT_OK;
}

/* The only restart is the only entry, all of whose key is the prefix. */
void block_builder_alone_tail(const struct block_builder *b, uint8_t out[BLOCK_ALONE_TAIL_SIZE])
{
	uint8_t *tail = out + BLOCK_FENCE_SIZE + BLOCK_RESTART_SIZE;
	memset(out, 0, BLOCK_FENCE_SIZE + BLOCK_RESTART_SIZE);
	put_u32(tail, (uint32_t)b->prefix_bytes);
	put_u32(tail + 4, 1);
}

enum wombat_status block_builder_finish(struct block_builder *b)
{
	size_t more = block_builder_bytes(b) - b->bytes.size;
	enum wombat_status s = buf_reserve(&b->bytes, more);
	if (s != WOMBAT_OK)
		return s;
	size_t prefix = b->restart_count ? b->prefix_bytes : 0;
	uint8_t *fence = b->bytes.data + b->bytes.size;
	uint8_t *offset = fence + b->restart_count * BLOCK_FENCE_SIZE;
	for (size_t i = 0; i < b->restart_count; i++) {
		const struct block_restart *r = &b->restarts[i];
		const uint8_t *rest = b->bytes.data + r->key_offset + prefix;
		put_u64(fence, prefix_fence(rest, r->key_size - prefix));
		put_u32(offset, r->offset);
		fence += BLOCK_FENCE_SIZE;
		offset += BLOCK_RESTART_SIZE;
	}
	put_u32(offset, (uint32_t)prefix);
	put_u32(offset + 4, (uint32_t)b->restart_count);
	b->bytes.size += more;
	return WOMBAT_OK;
}
