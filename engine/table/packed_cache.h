/*
 * Blocks that are kept packed: the second tier of the block cache (enable_cache_compression). What the first tier no
 * longer has is found here at the cost of unpacking it instead of a read. Any number of threads.
 */
#ifndef WOMBAT_TABLE_PACKED_CACHE_H
#define WOMBAT_TABLE_PACKED_CACHE_H

#include "engine/base/slice.h"
#include "engine/cache/lru.h"

struct packed_cache;

/* To begin it has no room, and keeps nothing. `shards`: a power of two. */
MUST_CHECK enum wombat_status packed_cache_new(unsigned shards, struct packed_cache **out);
void packed_cache_free(struct packed_cache *c); /* NULL is fine */
/* 0: keeps nothing and costs nothing. */
void packed_cache_set_capacity(struct packed_cache *c, uint64_t bytes);
bool packed_cache_on(const struct packed_cache *c); /* NULL: not */

/* Keeps a copy of a block as it is stored with TABLE_COMPRESS_ZLIB. Best effort: without memory nothing is kept. */
void packed_cache_keep(struct packed_cache *c, struct lru_key key, struct wombat_slice stored);
/* Packs a block and keeps that, unless it shrinks by less than an eighth or another thread is packing. */
void packed_cache_pack(struct packed_cache *c, struct lru_key key, struct wombat_slice raw);
/* The stored form, which `pin` keeps alive; false: it is not here. Counts a hit or a miss. */
bool packed_cache_find(struct packed_cache *c, struct lru_key key, struct lru_pin *pin, struct wombat_slice *out);
void packed_cache_erase(struct packed_cache *c, struct lru_key key);
void packed_cache_counts(struct packed_cache *c, struct lru_counts *out);

#endif
