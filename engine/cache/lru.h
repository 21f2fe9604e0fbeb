/*
 * Sharded cache of counted entries with charges and a budget of bytes and perhaps of entries, those out first that were
 * not used of late.
 *
 * An entry is found by a 128-bit key, or by a hint: a place where the caller remembers its handle, which costs
 * neither hash nor lock. Whoever holds a handle keeps the entry alive; the cache drops unheld entries to stay within
 * its budget. Each shard has one short lock, which is never held while an entry is made or destroyed.
 */
#ifndef WOMBAT_CACHE_LRU_H
#define WOMBAT_CACHE_LRU_H

#include <stdatomic.h>

#include "engine/base/status.h"

struct lru;
struct lru_handle;

struct lru_key {
	uint64_t owner; /* file number, for instance */
	uint64_t item;  /* place in it */
};

/* Zeroed to begin. It may be out of date, or be lost: the cache checks it. To be used with one cache and key only. */
struct lru_hint {
	_Atomic(struct lru_handle *) handle;
	atomic_uint_fast64_t lines; /* where its value is: the address by 65536, and how many lines from there; 0: not known */
};

enum { LRU_LINE_BYTES = 64, LRU_LINES_BITS = 16, LRU_LINES_MAX = (1 << LRU_LINES_BITS) - 1 };

struct lru_counts {
	uint64_t hits, misses, inserts, evictions;
	uint64_t bytes, entries;   /* now */
	uint64_t pinned_bytes;     /* of these, held by somebody */
};

/* `shards`: a power of two. */
MUST_CHECK enum wombat_status lru_new(uint64_t capacity_bytes, unsigned shards, struct lru **out);
void lru_free(struct lru *c); /* no handle may be out */
/* NULL: not there. Else held until lru_release. Counts a hit or a miss unless `quiet`. */
struct lru_handle *lru_lookup(struct lru *c, struct lru_key key, bool quiet);
/* The same by way of a hint, which is brought up to date; counted. */
struct lru_handle *lru_lookup_hinted(struct lru *c, struct lru_key key, struct lru_hint *hint);
/* The same without a lookup when the hint is out of date: NULL. Not counted. */
struct lru_handle *lru_hold_hinted(struct lru_key key, const struct lru_hint *hint, struct lru *c);
/* Lets entries of the cache be peeked at; before it is used. What leaves it may live on for a moment. */
void lru_allow_peeks(struct lru *c);
/* Within a section of base/readers.h, until whose end the value lives: the value without holding it. NULL: the hint is out
 * of date, or the entry is not there. Not counted. */
void *lru_peek(struct lru_key key, const struct lru_hint *hint);
/* Counts what was found by these. */
void lru_count_hits(struct lru *c, uint64_t hits);
/* Memory for a value of the cache, aligned to 64, for mem_free: in huge pages when the cache is a large one. NULL as the cache: not. */
void *lru_alloc(const struct lru *c, size_t size);
/*
 * Gives `value` to the cache and returns it held; `destroy` ends it, in any thread. When another thread
 * inserted the key meanwhile, that entry is returned and `value` destroyed. NULL: out of memory (`value`
 * stays the caller's).
 */
struct lru_handle *lru_insert(struct lru *c, struct lru_key key, void *value, size_t charge_bytes,
	void (*destroy)(void *value));
void lru_release(struct lru *c, struct lru_handle *h);
void *lru_value(const struct lru_handle *h);
size_t lru_charge(const struct lru_handle *h); /* as inserted */
/* Begins to fetch what a lookup by the hint will look at. */
static inline void lru_prefetch(const struct lru_hint *hint)
{
	__builtin_prefetch(atomic_load_explicit(&hint->handle, memory_order_relaxed), 1);
}
/* The same, and the first line of its value and the last two: where they were at the last lookup by the hint. There may be something
 * else by now, or nothing, which fetching does not mind. */
static inline void lru_prefetch_value(const struct lru_hint *hint)
{
	uint64_t lines = atomic_load_explicit(&hint->lines, memory_order_relaxed);
	uint64_t begin = lines >> LRU_LINES_BITS, end = begin + (lines & LRU_LINES_MAX) * LRU_LINE_BYTES;
	lru_prefetch(hint);
	__builtin_prefetch((const void *)(uintptr_t)begin);
	__builtin_prefetch((const void *)(uintptr_t)(end - 2 * LRU_LINE_BYTES));
	__builtin_prefetch((const void *)(uintptr_t)(end - LRU_LINE_BYTES));
}
/* Drops the entry (once unheld); later lookups miss. */
void lru_erase(struct lru *c, struct lru_key key);
/* Evicts what is over the new budget. */
void lru_set_capacity(struct lru *c, uint64_t capacity_bytes);
/* A second bound, beside that on bytes, shared out among the shards; to begin there is none. Evicts what is over it. */
void lru_set_max_entries(struct lru *c, uint64_t max_entries);
uint64_t lru_capacity(const struct lru *c);
void lru_counts(struct lru *c, struct lru_counts *out);

/* Keeps bytes alive: those of an entry, or with no owner memory of its own. Zeroed: holds nothing. */
struct lru_pin {
	void *handle;
	void *owner;
};
void lru_pin_release(struct lru_pin *pin);

/* What an entry costs beside its value: part of its charge. */
enum { LRU_ENTRY_BYTES = 64 };

#endif
