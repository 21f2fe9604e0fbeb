/*
 * A filter over the keys and directory prefixes of a table: says "none" or "perhaps".
 *
 * A Bloom filter cut into lines of 64 bytes: a hash chooses a line and all its bits in there, so a
 * question costs one cache miss. That wastes some bits (lines fill unevenly); filter_plan() makes up for
 * it, so that the rate of false answers is the one asked for.
 */
#ifndef WOMBAT_TABLE_FILTER_H
#define WOMBAT_TABLE_FILTER_H

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/table/table_format.h"

/* `key`: keyspace byte and user key. */
static inline uint64_t filter_hash_key(struct wombat_slice key)
{
	return hash64(key.data, key.size, FILTER_SEED_KEY);
}
/* `prefix`: keyspace byte and a path that ends in '/'. */
static inline uint64_t filter_hash_prefix(struct wombat_slice prefix)
{
	return hash64(prefix.data, prefix.size, FILTER_SEED_PREFIX);
}

/* ---- Writing --------------------------------------------------------------------------------- */

struct filter_plan {
	unsigned bits_per_key_x100;
	unsigned probes;
};
/* The fewest bits that give `false_positive` (0 < it < 1) or less. */
struct filter_plan filter_plan(double false_positive);

struct filter_builder {
	struct filter_plan plan;
	uint64_t *hashes;
	size_t count, capacity;
};
void filter_builder_init(struct filter_builder *b, double false_positive);
void filter_builder_done(struct filter_builder *b);
/* Each distinct hash once. */
MUST_CHECK enum wombat_status filter_builder_add(struct filter_builder *b, uint64_t hash);
/* Of the block that filter_builder_finish would give. */
size_t filter_builder_bytes(const struct filter_builder *b);
/* Replaces `out` by the filter block; only with at least one hash. */
MUST_CHECK enum wombat_status filter_builder_finish(struct filter_builder *b, struct buf *out);

/* ---- Reading --------------------------------------------------------------------------------- */

/* What is known of a filter without its lines. */
struct filter {
	const uint8_t *page_checksums; /* borrowed */
	uint32_t line_count;           /* 0: no filter, everything is possible */
	unsigned probes;
};

/* Bytes at the end of a filter block of `block_size` that filter_init() needs. */
size_t filter_end_size(uint64_t block_size);
/* `end`: those bytes, which stay the caller's. A kind that this version does not know gives no filter. NULL, or what
 * is wrong. */
MUST_CHECK const char *filter_init(struct filter *f, struct wombat_slice end, uint64_t block_size);

static inline uint32_t filter_page_count(const struct filter *f)
{
	return (uint32_t)(((uint64_t)f->line_count + FILTER_PAGE_LINES - 1) / FILTER_PAGE_LINES);
}
/* Bytes of a page: of all but the last FILTER_PAGE_SIZE. */
size_t filter_page_size(const struct filter *f, uint32_t page);
/* Whether these are the bytes that were written. */
bool filter_page_valid(const struct filter *f, uint32_t page, const uint8_t *bytes);

/* Which of the lines has the bits of a hash. */
static inline uint32_t filter_line_of(uint32_t line_count, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * line_count >> 32);
}

static inline bool filter_line_may_contain(const struct filter *f, const uint8_t *line, uint64_t hash)
{
	uint32_t h = (uint32_t)hash;
	for (unsigned i = 0; i < f->probes; i++) {
		uint32_t bit = h >> 23;
		if (!(line[bit >> 3] >> (bit & 7) & 1))
			return false;
		h *= UINT32_C(0x9e3779b9);
	}
	return true;
}

#endif
