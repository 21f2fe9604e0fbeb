/*
 * Open tables by file number, at most so many of them and so many bytes of their indexes (those in use may exceed both).
 */
#ifndef WOMBAT_TABLE_TABLE_CACHE_H
#define WOMBAT_TABLE_TABLE_CACHE_H

#include "engine/table/table.h"

struct table_cache;

/* `dir` is copied; the caches of `options` are borrowed. */
MUST_CHECK enum wombat_status table_cache_new(struct env *env, const char *dir, unsigned max_open_files,
	uint64_t memory_bytes, const struct table_options *options, struct table_cache **out);
void table_cache_free(struct table_cache *c); /* no table may be held */
/* A table, as the manifest names it. */
struct table_name {
	uint64_t number;
	uint64_t sequence;     /* of all its entries; 0: each has its own */
	struct lru_hint *hint; /* the number's own, to find an open table at once; may be NULL */
};
/* Opens the table when it is not. Held until table_cache_release(c, *out_handle). */
MUST_CHECK enum wombat_status table_cache_acquire(struct table_cache *c, const struct table_name *name,
	struct table **out_table, struct lru_handle **out_handle);
void table_cache_release(struct table_cache *c, struct lru_handle *handle);
/* Within a section of base/readers.h, until whose end it stays open: the table, if it is open and the hint knows it; else
 * NULL. Not counted: table_cache_count_hits() does that. */
struct table *table_cache_peek(const struct table_name *name);
void table_cache_count_hits(struct table_cache *c, uint64_t hits);
/* An iterator that keeps the table open. */
MUST_CHECK enum wombat_status table_cache_iter_new(struct table_cache *c, const struct table_name *name, unsigned flags,
	size_t read_ahead_bytes, struct iter **out);
/* Before a file is removed. Its cached blocks go too. */
void table_cache_evict(struct table_cache *c, uint64_t number);
void table_cache_set_bounds(struct table_cache *c, unsigned max_open_files, uint64_t memory_bytes);
/* struct table_live of its tables. */
void table_cache_set_live(struct table_cache *c, bool verify_checksums, unsigned prefetch_blocks);
void table_cache_counts(struct table_cache *c, struct lru_counts *out);

#endif
