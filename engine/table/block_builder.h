/*
 * Builds the bytes of a data block: entries with the bytes that a key shares with the one before left
 * out, and a list of restarts, entries whose key is whole, to begin a search at.
 */
#ifndef WOMBAT_TABLE_BLOCK_BUILDER_H
#define WOMBAT_TABLE_BLOCK_BUILDER_H

#include "engine/base/buf.h"
#include "engine/table/table_format.h"

struct block_builder {
	struct buf bytes;
	struct block_restart *restarts; /* where entries and their keys are */
	size_t restart_count, restart_capacity;
	size_t prefix_bytes;            /* that all keys so far have in common */
	unsigned restart_interval;
	unsigned since_restart;
};

void block_builder_init(struct block_builder *b, unsigned restart_interval);
void block_builder_done(struct block_builder *b);
/* Ready for the next block; lets go of memory far beyond `keep_bytes`. */
void block_builder_clear(struct block_builder *b, size_t keep_bytes);
static inline bool block_builder_empty(const struct block_builder *b) { return b->bytes.size == 0; }
/* Of the block if it were finished now. */
static inline size_t block_builder_bytes(const struct block_builder *b)
{
	return b->bytes.size + b->restart_count * (BLOCK_FENCE_SIZE + BLOCK_RESTART_SIZE) + BLOCK_TAIL_SIZE;
}
/* At most what such an entry adds. */
static inline size_t block_entry_bound(size_t key_bytes, size_t value_bytes)
{
	enum { LENGTHS_MAX = 3 * 5, TAG = 8 };
	return LENGTHS_MAX + TAG + key_bytes + value_bytes + BLOCK_FENCE_SIZE + BLOCK_RESTART_SIZE;
}

/* Keys ascend. `common`: how many bytes it shares with the key before, exactly. */
MUST_CHECK enum wombat_status block_builder_add(struct block_builder *b, struct wombat_slice key,
	size_t common, uint64_t tag, struct wombat_slice value);
/* As block_builder_add to an empty block, but the value is not copied: whoever writes the block writes the
 * value between what is in `bytes` now and what block_builder_tail() gives. */
MUST_CHECK enum wombat_status block_builder_add_alone(struct block_builder *b, struct wombat_slice key,
	uint64_t tag, size_t value_bytes);
enum { BLOCK_ALONE_TAIL_SIZE = BLOCK_FENCE_SIZE + BLOCK_RESTART_SIZE + BLOCK_TAIL_SIZE };
void block_builder_alone_tail(const struct block_builder *b, uint8_t out[BLOCK_ALONE_TAIL_SIZE]);
/* Appends what follows the entries; the block's bytes are in `bytes` until block_builder_clear(). */
MUST_CHECK enum wombat_status block_builder_finish(struct block_builder *b);

#endif
