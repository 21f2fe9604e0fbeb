/*
 * Open tables, kept by an LRU cache that bounds their number and the bytes that they take in memory.
 *
 * A miss opens the table outside any lock; of two threads that miss at once one keeps its table and the
 * other's is closed again, which is rarer and cheaper than making everybody wait for an open.
 */
#include "engine/table/table_cache.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/env/filename.h"
#include "engine/iter/stamp_iter.h"

struct table_cache {
	/* Fixed. */
	struct env *env;
	struct table_options options;
	struct lru *tables;
	char *dir;
	struct table_live live; /* what its tables look at, unless it was given another */
};

static void destroy_table(void *table)
{
	table_close(table);
}

/* Few tables share one shard, so that the bound stays exact and the order of use true; many are spread, so that
 * threads do not meet. */
static unsigned shards_for(unsigned max_open_files)
{
	enum { TABLES_PER_SHARD = 64, SHARDS_MAX = 16 };
	unsigned shards = 1;
	while (shards < SHARDS_MAX && shards * 2 * TABLES_PER_SHARD <= max_open_files)
		shards *= 2;
	return shards;
}

enum wombat_status table_cache_new(struct env *env, const char *dir, unsigned max_open_files,
	uint64_t memory_bytes, const struct table_options *options, struct table_cache **out)
{
	struct table_cache *c = mem_zalloc(sizeof(*c));
	if (!c)
		return fail_no_memory();
	c->env = env;
	c->options = *options;
	if (!c->options.live) {
		table_cache_set_live(c, true, 0);
		c->options.live = &c->live;
	}
	size_t dir_bytes = strlen(dir) + 1;
	c->dir = mem_alloc(dir_bytes);
	enum wombat_status s = c->dir ? WOMBAT_OK : fail_no_memory();
	if (s == WOMBAT_OK)
		s = lru_new(memory_bytes, shards_for(max_open_files), &c->tables);
	if (s != WOMBAT_OK) {
		mem_free(c->dir);
		mem_free(c);
		return s;
	}
	lru_set_max_entries(c->tables, max_open_files);
	lru_allow_peeks(c->tables);
	memcpy(c->dir, dir, dir_bytes);
	*out = c;
	return WOMBAT_OK;
}

void table_cache_free(struct table_cache *c)
{
	if (!c)
		return;
	lru_free(c->tables);
	mem_free(c->dir);
	mem_free(c);
}

static struct lru_key key_of(uint64_t number)
{
	return (struct lru_key){ number, 0 };
}

static enum wombat_status open_and_insert(struct table_cache *c, const struct table_name *name, struct lru_handle **out)
{
	char path[FILENAME_PATH_MAX];
	if (!filename_path(path, c->dir, FILE_TABLE, name->number))
		return fail(WOMBAT_INVALID, "%s: path too long", c->dir);
	struct table *table;
	enum wombat_status s = table_open(c->env, path, name->number, &c->options, &table);
	if (s != WOMBAT_OK)
		return s;
	table_set_sequence(table, name->sequence);
	*out = lru_insert(c->tables, key_of(name->number), table, table_memory_bytes(table), destroy_table);
	if (*out)
		return WOMBAT_OK;
	table_close(table);
	return fail_no_memory();
}

enum wombat_status table_cache_acquire(struct table_cache *c, const struct table_name *name,
	struct table **out_table, struct lru_handle **out_handle)
{
	struct lru_handle *h = name->hint ? lru_lookup_hinted(c->tables, key_of(name->number), name->hint) :
					    lru_lookup(c->tables, key_of(name->number), false);
	if (!h) {
		enum wombat_status s = open_and_insert(c, name, &h);
		if (s != WOMBAT_OK)
			return s;
	}
	*out_table = lru_value(h);
	*out_handle = h;
	return WOMBAT_OK;
}

void table_cache_release(struct table_cache *c, struct lru_handle *handle)
{
	lru_release(c->tables, handle);
}

struct table *table_cache_peek(const struct table_name *name)
{
	return lru_peek(key_of(name->number), name->hint);
}

void table_cache_count_hits(struct table_cache *c, uint64_t hits)
{
	lru_count_hits(c->tables, hits);
}

static void release_for_iter(void *owner, void *handle)
{
	table_cache_release(owner, handle);
}

enum wombat_status table_cache_iter_new(struct table_cache *c, const struct table_name *name, unsigned flags,
	size_t read_ahead_bytes, struct iter **out)
{
	struct table *t;
	struct lru_handle *h;
	enum wombat_status s = table_cache_acquire(c, name, &t, &h);
	if (s != WOMBAT_OK)
		return s;
	s = table_iter_new(t, flags, read_ahead_bytes, out);
	if (s != WOMBAT_OK) {
		table_cache_release(c, h);
		return s;
	}
	table_iter_on_free(*out, release_for_iter, c, h);
	return name->sequence ? stamp_iter_new(*out, name->sequence, out) : WOMBAT_OK;
}

/* The blocks are found by the table's index. Those of a table that is not open grow old in the block cache
 * like any that nobody asks for: its number is never used again. */
void table_cache_evict(struct table_cache *c, uint64_t number)
{
	struct lru_handle *h = lru_lookup(c->tables, key_of(number), true);
	if (!h)
		return;
	table_forget_blocks(lru_value(h));
	lru_release(c->tables, h);
	lru_erase(c->tables, key_of(number));
}

void table_cache_set_bounds(struct table_cache *c, unsigned max_open_files, uint64_t memory_bytes)
{
	lru_set_max_entries(c->tables, max_open_files);
	lru_set_capacity(c->tables, memory_bytes);
}

void table_cache_set_live(struct table_cache *c, bool verify_checksums, unsigned prefetch_blocks)
{
	atomic_store_explicit(&c->live.verify_checksums, verify_checksums, memory_order_relaxed);
	atomic_store_explicit(&c->live.prefetch_blocks, prefetch_blocks, memory_order_relaxed);
}

void table_cache_counts(struct table_cache *c, struct lru_counts *out)
{
	lru_counts(c->tables, out);
}
