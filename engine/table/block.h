/*
 * A data block in memory, and moving over its entries.
 *
 * Whoever owns the bytes keeps BLOCK_SLACK readable bytes behind them: short copies and the decoding of
 * lengths read whole words without asking.
 */
#ifndef WOMBAT_TABLE_BLOCK_H
#define WOMBAT_TABLE_BLOCK_H

#include "engine/base/buf.h"
#include "engine/iter/iter.h"

enum { BLOCK_SLACK = 32 };

struct block {
	const uint8_t *data;    /* entries and what follows them */
	const uint8_t *prefix;  /* that all keys have: the beginning of the first one */
	uint32_t prefix_bytes;
	uint32_t entries_bytes; /* where the fences begin */
	uint32_t restart_count;
	size_t charge_bytes;    /* of memory, for the cache */
};

/* Checks the restarts, so that no later search can leave the block. NULL, or what is wrong. */
MUST_CHECK const char *block_init(struct block *b, const uint8_t *data, size_t size);

enum { BLOCK_AHEAD = 640 }; /* how far before a walk its lines are fetched */

enum block_result {
	BLOCK_AT,        /* on an entry */
	BLOCK_END,       /* past an end; of a get: no such entry */
	BLOCK_BAD,       /* the bytes are not a block's */
	BLOCK_NO_MEMORY,
};

/* The first entry of exactly `key` at or behind `tag` in order. The value lies in the block. */
MUST_CHECK enum block_result block_get(const struct block *b, struct wombat_slice key, uint64_t tag,
	uint64_t *out_tag, struct wombat_slice *out_value);

/* Keys shorter than this need no allocation; beyond two single-byte lengths and a word-wise copy. */
enum { BLOCK_KEY_INLINE = 288 };

struct block_back; /* an entry decoded on the way to one that was asked for backwards */

/*
 * Moves over one block. `it` comes first so that a table's iterator, which embeds this one first, has its
 * fields set by the decoding itself. it.key always lies in `key`, so the next entry is decoded in place.
 */
struct block_iter {
	struct iter it;
	const uint8_t *entry; /* the one that `it` is on */
	const uint8_t *next;
	const uint8_t *limit;
	const struct block *block;
	uint8_t *key;
	size_t key_capacity;
	/* The entries from a restart to where prev was last asked: going on back costs a copy each. */
	struct block_back *back;
	size_t back_count, back_capacity, back_at;
	struct buf back_keys;
	uint8_t inline_key[BLOCK_KEY_INLINE];
};

void block_iter_init(struct block_iter *b);
void block_iter_done(struct block_iter *b);
/* The block stays the caller's and must outlive its use here. NULL: none. */
void block_iter_set(struct block_iter *b, const struct block *block);
/* These set it.key, it.tag and it.value on BLOCK_AT; after anything else the position is lost. */
MUST_CHECK enum block_result block_iter_first(struct block_iter *b);
MUST_CHECK enum block_result block_iter_last(struct block_iter *b);
MUST_CHECK enum block_result block_iter_seek(struct block_iter *b, struct wombat_slice key, uint64_t tag);
MUST_CHECK enum block_result block_iter_seek_before(struct block_iter *b, struct wombat_slice key,
	uint64_t tag);
MUST_CHECK enum block_result block_iter_prev(struct block_iter *b);

/* ---- Decoding, inline for the moving on ------------------------------------------------------ */

struct block_lengths {
	uint32_t shared, unshared, value;
};

const uint8_t *block_lengths_slow(const uint8_t *p, const uint8_t *limit, struct block_lengths *out);

/* Decodes the lengths of the entry at p < limit; returns where its tag is, with tag, key bytes and value
 * known to lie before `limit`; NULL: damaged. */
static inline const uint8_t *block_lengths_decode(const uint8_t *p, const uint8_t *limit,
	struct block_lengths *out)
{
	uint32_t word = get_u32(p); /* may reach into what follows the entries */
	if (__builtin_expect((word & 0x808080) == 0, 1)) {
		*out = (struct block_lengths){ word & 0x7f, word >> 8 & 0x7f, word >> 16 & 0x7f };
		p += 3;
	} else if ((word & 0x80808080) == 0x800000) {
		uint32_t value = (word >> 16 & 0x7f) | word >> 24 << 7;
		*out = (struct block_lengths){ word & 0x7f, word >> 8 & 0x7f, value };
		p += 4;
	} else {
		p = block_lengths_slow(p, limit, out);
		if (!p)
			return NULL;
	}
	int64_t need = (int64_t)IKEY_TAG_SIZE + out->unshared + out->value;
	return limit - p >= need ? p : NULL;
}

enum block_result block_iter_key_slow(struct block_iter *b, size_t shared, const uint8_t *bytes, size_t size);

enum { BLOCK_SHORT_COPY = 16 };

static inline enum block_result block_iter_next(struct block_iter *b)
{
	const uint8_t *p = b->next;
	if (p >= b->limit)
		return BLOCK_END;
	__builtin_prefetch(p + BLOCK_AHEAD);
	struct block_lengths n;
	const uint8_t *q = block_lengths_decode(p, b->limit, &n);
	if (!q || n.shared > b->it.key.size)
		return BLOCK_BAD;
	if (n.unshared <= BLOCK_SHORT_COPY && n.shared + (size_t)BLOCK_SHORT_COPY <= b->key_capacity) {
		memcpy(b->key + n.shared, q + IKEY_TAG_SIZE, BLOCK_SHORT_COPY);
	} else {
		enum block_result r = block_iter_key_slow(b, n.shared, q + IKEY_TAG_SIZE, n.unshared);
		if (r != BLOCK_AT)
			return r;
	}
	b->it.key.size = (size_t)n.shared + n.unshared;
	b->it.tag = get_u64(q);
	q += IKEY_TAG_SIZE + n.unshared;
	b->it.value = slice_make(q, n.value);
	b->entry = p;
	b->next = q + n.value;
	return BLOCK_AT;
}

#endif
