/*
 * Builder of data blocks.
 *
 *     entry:    shared varint | unshared varint | value size varint | tag 8 | unshared key bytes | value
 *     block:    entry* | restart offset 4 * | restart count 4
 *
 * `shared` is always the most that can be shared (0 at a restart): a search relies on it, see block.c.
 * The tag has a fixed width because the three lengths are then the only thing to decode, and they are
 * three single bytes for all but large entries.
 */
#include "engine/table/block_builder.h"

#include <assert.h>

#include "engine/base/coding.h"
#include "engine/base/ikey.h"
#include "engine/table/table_format.h"

void block_builder_init(struct block_builder *b, unsigned restart_interval)
{
	*b = (struct block_builder){ .restart_interval = restart_interval ? restart_interval : 1 };
}

void block_builder_done(struct block_builder *b)
{
	buf_done(&b->bytes);
	buf_done(&b->restarts);
}

void block_builder_clear(struct block_builder *b, size_t keep_bytes)
{
	if (b->bytes.capacity / 8 > keep_bytes)
		buf_done(&b->bytes);
	buf_clear(&b->bytes);
	buf_clear(&b->restarts);
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

enum wombat_status block_builder_add(struct block_builder *b, struct wombat_slice key, size_t common, uint64_t tag,
	struct wombat_slice value)
{
	size_t bound = block_entry_bound(key.size, value.size);
	if (b->bytes.capacity - b->bytes.size < bound) {
		enum wombat_status s = buf_reserve(&b->bytes, bound);
		if (s != WOMBAT_OK)
			return s;
	}
	if (b->since_restart == 0) {
		assert(b->bytes.size < TABLE_BLOCK_MAX);
		enum wombat_status s = buf_append_u32(&b->restarts, (uint32_t)b->bytes.size);
		if (s != WOMBAT_OK)
			return s;
		common = 0;
	}
	if (++b->since_restart == b->restart_interval)
		b->since_restart = 0;
	append_head(b, key, common, tag, value.size);
	if (value.size)
		memcpy(b->bytes.data + b->bytes.size, value.data, value.size);
	b->bytes.size += value.size;
	return WOMBAT_OK;
}

enum wombat_status block_builder_add_alone(struct block_builder *b, struct wombat_slice key, uint64_t tag,
	size_t value_bytes)
{
	assert(block_builder_empty(b));
	enum wombat_status s = buf_reserve(&b->bytes, block_entry_bound(key.size, 0));
	if (s == WOMBAT_OK)
		append_head(b, key, 0, tag, value_bytes);
	return s;
}

void block_builder_alone_tail(uint8_t out[BLOCK_ALONE_TAIL_SIZE])
{
	put_u32(out, 0); /* the only restart is the only entry */
	put_u32(out + 4, 1);
}

enum wombat_status block_builder_finish(struct block_builder *b)
{
	uint32_t count = (uint32_t)(b->restarts.size / 4);
	enum wombat_status s = buf_append(&b->bytes, b->restarts.data, b->restarts.size);
	return s == WOMBAT_OK ? buf_append_u32(&b->bytes, count) : s;
}
