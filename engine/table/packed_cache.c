/*
 * An LRU cache of blocks as they lie on the disk when they are packed.
 *
 * A block of a packed table is kept as it was read, which costs a copy. One of a table that is not packed is packed here,
 * by the reader that brought it, at the lowest effort; there is one packer, and who finds it busy does without: the block
 * is in the first tier, and packing it is not worth waiting for.
 */
#include "engine/table/packed_cache.h"

#include "engine/base/alloc.h"
#include "engine/base/buf.h"
#include "engine/table/compress.h"

enum { EFFORT = 1 };

struct packed_cache {
	struct lru *blocks;
	atomic_bool on; /* relaxed: soon is good enough */
	/* Whoever sets `packing` has the two below it; acquire and release. */
	atomic_flag packing;
	struct compressor *packer; /* made when first needed */
	struct buf scratch;
};

/* What an entry holds. */
struct stored {
	size_t size;
	uint8_t bytes[];
};

enum wombat_status packed_cache_new(unsigned shards, struct packed_cache **out)
{
	struct packed_cache *c = mem_zalloc(sizeof(*c));
	if (!c)
		return fail_no_memory();
	atomic_flag_clear(&c->packing);
	enum wombat_status s = lru_new(0, shards, &c->blocks);
	if (s != WOMBAT_OK) {
		mem_free(c);
		return s;
	}
	*out = c;
	return WOMBAT_OK;
}

void packed_cache_free(struct packed_cache *c)
{
	if (!c)
		return;
	lru_free(c->blocks);
	compressor_free(c->packer);
	buf_done(&c->scratch);
	mem_free(c);
}

void packed_cache_set_capacity(struct packed_cache *c, uint64_t bytes)
{
	atomic_store_explicit(&c->on, bytes > 0, memory_order_relaxed);
	lru_set_capacity(c->blocks, bytes);
}

bool packed_cache_on(const struct packed_cache *c)
{
	return c && atomic_load_explicit(&c->on, memory_order_relaxed);
}

void packed_cache_keep(struct packed_cache *c, struct lru_key key, struct wombat_slice stored)
{
	struct stored *s = mem_alloc(sizeof(*s) + stored.size);
	if (!s)
		return;
	s->size = stored.size;
	memcpy(s->bytes, stored.data, stored.size);
	struct lru_handle *h = lru_insert(c->blocks, key, s, sizeof(*s) + stored.size, mem_free);
	if (h)
		lru_release(c->blocks, h);
	else
		mem_free(s);
}

/* With `packing` set. */
static bool pack(struct packed_cache *c, struct wombat_slice raw)
{
	bool worth = false;
	if (!c->packer && compressor_new(EFFORT, &c->packer) != WOMBAT_OK)
		return false;
	return compress_block(c->packer, raw, &c->scratch, &worth) == WOMBAT_OK && worth;
}

void packed_cache_pack(struct packed_cache *c, struct lru_key key, struct wombat_slice raw)
{
	if (atomic_flag_test_and_set_explicit(&c->packing, memory_order_acquire))
		return;
	if (pack(c, raw))
		packed_cache_keep(c, key, buf_slice(&c->scratch));
	atomic_flag_clear_explicit(&c->packing, memory_order_release);
}

bool packed_cache_find(struct packed_cache *c, struct lru_key key, struct lru_pin *pin, struct wombat_slice *out)
{
	struct lru_handle *h = lru_lookup(c->blocks, key, false);
	if (!h)
		return false;
	const struct stored *s = lru_value(h);
	*pin = (struct lru_pin){ h, c->blocks };
	*out = slice_make(s->bytes, s->size);
	return true;
}

void packed_cache_erase(struct packed_cache *c, struct lru_key key)
{
	lru_erase(c->blocks, key);
}

void packed_cache_counts(struct packed_cache *c, struct lru_counts *out)
{
	lru_counts(c->blocks, out);
}
