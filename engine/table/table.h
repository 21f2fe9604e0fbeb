/*
 * An open table: its index, range tombstones and properties in memory, its data blocks through the block cache, its
 * filter's pages through the filter cache. Immutable; any number of threads.
 */
#ifndef WOMBAT_TABLE_TABLE_H
#define WOMBAT_TABLE_TABLE_H

#include <stdatomic.h>

#include "engine/base/stripe.h"
#include "engine/cache/lru.h"
#include "engine/env/env.h"
#include "engine/iter/iter.h"
#include "engine/iter/range_del.h"
#include "engine/table/packed_cache.h"
#include "engine/table/properties.h"

struct table;

/*
 * Counters that all tables of a database share. Zeroed to begin; each thread counts in one of the stripes,
 * so that threads reading at once do not pass a cache line to and fro. Read with table_counts_read().
 */
enum table_count {
	TABLE_FILTER_CHECKS,
	TABLE_FILTER_USEFUL, /* ruled the table out */
	TABLE_PREFIX_CHECKS,
	TABLE_PREFIX_USEFUL,
	TABLE_BLOCK_READS,   /* from the disk */
	TABLE_BLOCK_READ_BYTES,
	TABLE_CHECKSUM_FAILURES,
	TABLE_PREFETCHES,    /* requests to read ahead */
	TABLE_PREFETCH_BYTES,
	TABLE_FILTER_PAGE_READS,
	TABLE_FILTER_PAGE_FAILURES, /* which left a filter unasked */
	TABLE_COUNTS
};
struct table_counts {
	struct table_count_stripe {
		_Alignas(64) atomic_uint_fast64_t n[TABLE_COUNTS];
	} stripe[STRIPES];
};
/* The counters' sums. */
struct table_totals {
	uint64_t filter_checks, filter_useful;
	uint64_t prefix_checks, prefix_useful;
	uint64_t block_reads, block_read_bytes;
	uint64_t checksum_failures;
	uint64_t prefetches, prefetch_bytes;
	uint64_t filter_page_reads, filter_page_failures;
};
void table_counts_read(const struct table_counts *counts, struct table_totals *out);

/* Settings that may change while tables are open. Relaxed: the next block read may see a change. */
struct table_live {
	atomic_bool verify_checksums; /* of data blocks; of all else always */
	atomic_uint prefetch_blocks;  /* how far an iterator that moves on asks ahead, to begin with; 0: not at all */
};

struct table_options {
	struct lru *block_cache;      /* borrowed; may be NULL: nothing is cached */
	struct packed_cache *packed_cache; /* the same for blocks kept packed */
	struct lru *filter_cache;     /* the same for pages of filters */
	struct table_counts *counts;  /* borrowed; may be NULL */
	unsigned env_flags;           /* enum env_open_flags */
	const struct table_live *live; /* borrowed; NULL: checksums are verified, nothing is asked for ahead */
};

MUST_CHECK enum wombat_status table_open(struct env *env, const char *path, uint64_t number,
	const struct table_options *options, struct table **out);
/* All of its entries, which were written with number 0, have this one; 0: each its own. Before the table is used; it must
 * have no range tombstones. */
void table_set_sequence(struct table *t, uint64_t sequence);
void table_close(struct table *t); /* no pin or iterator may be out */
size_t table_memory_bytes(const struct table *t); /* index, hints, struct: charge of the table cache */

enum table_read_flags { TABLE_READ_NO_FILL = 1, TABLE_READ_CACHED = 2, TABLE_READ_SEQUENTIAL = 4 };

/*
 * The newest entry of `key` with a sequence <= max_sequence: tag and value, which `pin` keeps alive.
 * WOMBAT_NOT_FOUND: none here. WOMBAT_WOULD_BLOCK: TABLE_READ_CACHED and its block is not in memory.
 * No allocation when the block is cached.
 */
MUST_CHECK enum wombat_status table_get(struct table *t, struct wombat_slice key, uint64_t max_sequence,
	unsigned flags, uint64_t *out_tag, struct wombat_slice *out_value, struct lru_pin *pin);
/* What lookups of table_get_warm() looked at, gathered by the caller: counted once an answer is there. */
struct table_warm_counts {
	unsigned tables, filter_pages, filters, filters_useful, blocks;
};
/*
 * table_get() of what is in memory, within a section of base/readers.h: nothing but the block is held, nothing read,
 * allocated or counted. `hash`: filter_hash_key(key). WOMBAT_WOULD_BLOCK: it takes table_get() to say.
 */
MUST_CHECK enum wombat_status table_get_warm(const struct table *t, struct wombat_slice key, uint64_t hash,
	uint64_t max_sequence, struct table_warm_counts *counts, uint64_t *out_tag, struct wombat_slice *out_value,
	struct lru_pin *pin);
/* Counts them where table_get() would have; but for `tables`, which are the table cache's. */
void table_count_warm(const struct table_options *options, const struct table_warm_counts *counts);
/* False: no key here starts with `prefix` (keyspace byte + path that ends in '/'), by the filter. */
bool table_may_have_prefix(struct table *t, struct wombat_slice prefix);
/* Not counted; valid while the table is open. May be NULL. */
struct range_fragments *table_range_dels(const struct table *t);

/* `flags`: enum table_read_flags. With TABLE_READ_SEQUENTIAL blocks are read ahead in large reads and not
 * put into the cache. `read_ahead_bytes` 0: by block; else iterators that move on read ahead up to it. */
MUST_CHECK enum wombat_status table_iter_new(struct table *t, unsigned flags, size_t read_ahead_bytes,
	struct iter **out);
/* What a table's iterator does last when it is freed: lets go of what keeps the table open. */
void table_iter_on_free(struct iter *it, void (*done)(void *owner, void *handle), void *owner, void *handle);

/* What the table says of itself; valid while it is open. */
const struct table_properties *table_properties_of(const struct table *t);
/* Drops what is of the table from the caches. */
void table_forget_blocks(struct table *t);

/* Bytes of the file up to where `key` would be: for estimates. */
uint64_t table_offset_of(struct table *t, struct wombat_slice key);
/* Calls `each`, ascending, with at most `max` keys that divide the table's data into about equal parts, and the bytes of
 * the part that ends with the key. A table without data: none. */
MUST_CHECK enum wombat_status table_sample(struct table *t, size_t max,
	enum wombat_status (*each)(void *arg, struct wombat_slice key, uint64_t bytes), void *arg);

/* Reads and verifies everything: checksums, order, filter, counts against the properties. Calls `report` per
 * finding. WOMBAT_CORRUPTION if there was one; another failure when it could not look. */
MUST_CHECK enum wombat_status table_check(struct table *t, void (*report)(void *arg, const char *sentence),
	void *arg);

#endif
