/*
 * The index of a table: for each data block a separator, at or behind all in the block and before all in
 * the next, and the block's handle.
 *
 * A separator is a key and a tag, ordered as entries are. Where two blocks meet between different keys it
 * is a short key with tag 0, behind all versions of that key. Where versions of one key lie on both sides,
 * it is the last entry of the first of the two. So the first separator at or behind (key, tag) names the
 * one block that can hold the first version of the key at or behind that tag.
 */
#ifndef WOMBAT_TABLE_INDEX_H
#define WOMBAT_TABLE_INDEX_H

#include "engine/base/buf.h"
#include "engine/base/ikey.h"
#include "engine/table/table_format.h"

/* ---- Writing --------------------------------------------------------------------------------- */

struct index_builder {
	struct buf body;
	struct buf last_key;
	uint64_t next_offset; /* where the block after the last one begins, if there is no gap */
	uint64_t count;
};
void index_builder_init(struct index_builder *b);
void index_builder_done(struct index_builder *b);
/* Separators and offsets ascend. */
MUST_CHECK enum wombat_status index_builder_add(struct index_builder *b, struct wombat_slice key,
	uint64_t tag, struct table_handle handle);
/* Replaces `out` by the index block. */
MUST_CHECK enum wombat_status index_builder_finish(struct index_builder *b, struct buf *out);

/* The shortest key k found with before <= k < after (before < after), into `out`. */
MUST_CHECK enum wombat_status index_separator(struct wombat_slice before, struct wombat_slice after,
	struct buf *out);

/* ---- Reading --------------------------------------------------------------------------------- */

/* One allocation. Separators are kept without the prefix that all of them have; their first 8 bytes behind
 * it, as an integer (a fence: prefix.h), are searched first. */
struct index {
	size_t count;
	size_t memory_bytes;
	struct wombat_slice prefix;
	const uint64_t *fences;
	const uint64_t *offsets;
	const uint64_t *tags;      /* NULL: all are 0 */
	const uint32_t *sizes;     /* of the blocks, without trailers */
	const uint32_t *key_ends;  /* separator i is keys[key_ends[i - 1] .. key_ends[i]) */
	const uint8_t *keys;
};

/* Decodes and checks an index block. `blocks_end`: what data blocks must lie before, trailers included.
 * `name` is the file's, for the sentence. */
MUST_CHECK enum wombat_status index_new(struct wombat_slice bytes, uint64_t blocks_end, const char *name,
	struct index **out);
void index_free(struct index *x); /* NULL is fine */

/* The first block whose separator is at or behind (key, tag); `count` when there is none. */
size_t index_find(const struct index *x, struct wombat_slice key, uint64_t tag);
static inline struct table_handle index_handle(const struct index *x, size_t i)
{
	return (struct table_handle){ x->offsets[i], x->sizes[i] };
}
/* Where the last block ends, its trailer included. */
uint64_t index_blocks_end(const struct index *x);
/* The key of separator i, into `out`. */
MUST_CHECK enum wombat_status index_key(const struct index *x, size_t i, struct buf *out);
/* How separator i compares with (key, tag): < 0, 0, > 0. */
int index_compare(const struct index *x, size_t i, struct wombat_slice key, uint64_t tag);

#endif
