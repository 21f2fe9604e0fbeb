/*
 * The cache: shards of a hash table each with a list in order of use.
 *
 * An entry is in its shard's table from insertion to eviction or erasure, and in the list while nobody holds it.
 * `refs` counts the holders, plus one while it is in the table; the last to let go destroys it, outside the lock.
 * All fields are guarded by the shard's lock.
 */
#include "engine/cache/lru.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/hash.h"
#include "engine/base/mutex.h"

struct lru_handle {
	struct lru_key key;
	void *value;
	void (*destroy)(void *value);
	struct lru_handle *chain;       /* of its bucket */
	struct lru_handle *prev, *next; /* of the list of unheld entries */
	size_t charge;
	uint32_t refs;
	bool in_table;
};

struct lru_shard {
	_Alignas(64) struct mutex mu;
	struct lru_handle **buckets;
	size_t bucket_count, entries;
	struct lru_handle list; /* head: next is the oldest */
	uint64_t capacity, bytes, pinned_bytes;
	uint64_t hits, misses, inserts, evictions;
};

struct lru {
	unsigned shard_mask;
	struct lru_shard shards[];
};

enum { BUCKETS_MIN = 64 };

static uint64_t hash_of(struct lru_key k)
{
	return hash_mix(k.owner * UINT64_C(0x9e3779b97f4a7c15) + k.item);
}

/* The low bits choose the shard, the high ones the bucket. */
static struct lru_shard *shard_of(struct lru *c, uint64_t hash)
{
	return &c->shards[hash & c->shard_mask];
}

static struct lru_handle **slot_of(struct lru_shard *s, struct lru_key key, uint64_t hash)
{
	struct lru_handle **p = &s->buckets[(hash >> 32) & (s->bucket_count - 1)];
	while (*p && ((*p)->key.owner != key.owner || (*p)->key.item != key.item))
		p = &(*p)->chain;
	return p;
}

/* ---- Entries, with the shard's lock held --------------------------------------------------- */

static void list_remove(struct lru_handle *h)
{
	h->prev->next = h->next;
	h->next->prev = h->prev;
}

static void list_append(struct lru_shard *s, struct lru_handle *h)
{
	h->prev = s->list.prev;
	h->next = &s->list;
	s->list.prev->next = h;
	s->list.prev = h;
}

static void hold(struct lru_shard *s, struct lru_handle *h)
{
	if (h->refs == 1 && h->in_table) {
		list_remove(h);
		s->pinned_bytes += h->charge;
	}
	h->refs++;
}

/* Takes the entry out of the table; returns it when nobody holds it, for the caller to destroy. */
static struct lru_handle *unlink_entry(struct lru_shard *s, struct lru_handle **slot)
{
	struct lru_handle *h = *slot;
	*slot = h->chain;
	h->in_table = false;
	s->entries--;
	s->bytes -= h->charge;
	if (h->refs == 1)
		list_remove(h);
	else
		s->pinned_bytes -= h->charge;
	return --h->refs == 0 ? h : NULL;
}

/* Evicts until the budget is met; returns the victims as a chain. */
static struct lru_handle *evict(struct lru_shard *s)
{
	struct lru_handle *victims = NULL;
	while (s->bytes > s->capacity && s->list.next != &s->list) {
		struct lru_handle *oldest = s->list.next;
		unlink_entry(s, slot_of(s, oldest->key, hash_of(oldest->key)));
		s->evictions++;
		oldest->chain = victims;
		victims = oldest;
	}
	return victims;
}

static void destroy_chain(struct lru_handle *h)
{
	while (h) {
		struct lru_handle *next = h->chain;
		h->destroy(h->value);
		mem_free(h);
		h = next;
	}
}

/* Doubles the table when it is full; staying small for lack of memory is only slower. */
static void grow(struct lru_shard *s)
{
	if (s->entries < s->bucket_count)
		return;
	size_t count = 2 * s->bucket_count;
	struct lru_handle **buckets = mem_zalloc(count * sizeof *buckets);
	if (!buckets)
		return;
	for (size_t i = 0; i < s->bucket_count; i++)
		for (struct lru_handle *h = s->buckets[i], *next; h; h = next) {
			struct lru_handle **p = &buckets[(hash_of(h->key) >> 32) & (count - 1)];
			next = h->chain;
			h->chain = *p;
			*p = h;
		}
	mem_free(s->buckets);
	s->buckets = buckets;
	s->bucket_count = count;
}

/* ---- The cache ----------------------------------------------------------------------------- */

enum wombat_status lru_new(uint64_t capacity_bytes, unsigned shards, struct lru **out)
{
	struct lru *c = mem_alloc_aligned(sizeof *c + shards * sizeof c->shards[0]);
	if (!c)
		return fail_no_memory();
	memset(c, 0, sizeof *c + shards * sizeof c->shards[0]);
	c->shard_mask = shards - 1;
	bool ok = true;
	for (unsigned i = 0; i < shards; i++) {
		struct lru_shard *s = &c->shards[i];
		mutex_init(&s->mu, LOCK_RANK_CACHE);
		s->list.next = s->list.prev = &s->list;
		s->capacity = capacity_bytes / shards;
		s->bucket_count = BUCKETS_MIN;
		s->buckets = mem_zalloc(BUCKETS_MIN * sizeof *s->buckets);
		ok &= s->buckets != NULL;
	}
	if (!ok) {
		lru_free(c);
		return fail_no_memory();
	}
	*out = c;
	return WOMBAT_OK;
}

void lru_free(struct lru *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &c->shards[i];
		for (size_t b = 0; s->buckets && b < s->bucket_count; b++)
			destroy_chain(s->buckets[b]);
		mem_free(s->buckets);
		mutex_done(&s->mu);
	}
	mem_free(c);
}

struct lru_handle *lru_lookup(struct lru *c, struct lru_key key, bool quiet)
{
	uint64_t hash = hash_of(key);
	struct lru_shard *s = shard_of(c, hash);
	mutex_lock(&s->mu);
	struct lru_handle *h = *slot_of(s, key, hash);
	if (h)
		hold(s, h);
	if (!quiet) {
		s->hits += h != NULL;
		s->misses += h == NULL;
	}
	mutex_unlock(&s->mu);
	return h;
}

struct lru_handle *lru_insert(struct lru *c, struct lru_key key, void *value, size_t charge_bytes,
			      void (*destroy)(void *value))
{
	uint64_t hash = hash_of(key);
	struct lru_shard *s = shard_of(c, hash);
	struct lru_handle *h = mem_alloc(sizeof *h);
	if (!h) {
		fail_no_memory();
		return NULL;
	}
	*h = (struct lru_handle){ .key = key, .value = value, .destroy = destroy, .charge = charge_bytes + sizeof *h,
				  .refs = 2, .in_table = true };
	mutex_lock(&s->mu);
	struct lru_handle **slot = slot_of(s, key, hash), *victims;
	if (*slot) {
		struct lru_handle *there = *slot;
		hold(s, there);
		mutex_unlock(&s->mu);
		h->chain = NULL;
		destroy_chain(h);
		return there;
	}
	*slot = h;
	s->entries++;
	s->inserts++;
	s->bytes += h->charge;
	s->pinned_bytes += h->charge;
	victims = evict(s);
	grow(s);
	mutex_unlock(&s->mu);
	destroy_chain(victims);
	return h;
}

void lru_ref(struct lru *c, struct lru_handle *h)
{
	struct lru_shard *s = shard_of(c, hash_of(h->key));
	mutex_lock(&s->mu);
	hold(s, h);
	mutex_unlock(&s->mu);
}

void lru_release(struct lru *c, struct lru_handle *h)
{
	struct lru_shard *s = shard_of(c, hash_of(h->key));
	struct lru_handle *victims = NULL;
	mutex_lock(&s->mu);
	h->refs--;
	if (h->refs == 0) { /* It left the table while it was held. */
		h->chain = NULL;
		victims = h;
	} else if (h->refs == 1 && h->in_table) {
		list_append(s, h);
		s->pinned_bytes -= h->charge;
		if (s->bytes > s->capacity)
			victims = evict(s);
	}
	mutex_unlock(&s->mu);
	destroy_chain(victims);
}

void *lru_value(const struct lru_handle *h)
{
	return h->value;
}

void lru_erase(struct lru *c, struct lru_key key)
{
	uint64_t hash = hash_of(key);
	struct lru_shard *s = shard_of(c, hash);
	struct lru_handle *victim = NULL;
	mutex_lock(&s->mu);
	struct lru_handle **slot = slot_of(s, key, hash);
	if (*slot)
		victim = unlink_entry(s, slot);
	mutex_unlock(&s->mu);
	if (victim)
		victim->chain = NULL;
	destroy_chain(victim);
}

void lru_set_capacity(struct lru *c, uint64_t capacity_bytes)
{
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &c->shards[i];
		mutex_lock(&s->mu);
		s->capacity = capacity_bytes / (c->shard_mask + 1);
		struct lru_handle *victims = evict(s);
		mutex_unlock(&s->mu);
		destroy_chain(victims);
	}
}

uint64_t lru_capacity(const struct lru *c)
{
	uint64_t sum = 0;
	struct lru *mutable = (struct lru *)(uintptr_t)c;
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &mutable->shards[i];
		mutex_lock(&s->mu);
		sum += s->capacity;
		mutex_unlock(&s->mu);
	}
	return sum;
}

void lru_counts(struct lru *c, struct lru_counts *out)
{
	*out = (struct lru_counts){ 0 };
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &c->shards[i];
		mutex_lock(&s->mu);
		out->hits += s->hits;
		out->misses += s->misses;
		out->inserts += s->inserts;
		out->evictions += s->evictions;
		out->bytes += s->bytes;
		out->entries += s->entries;
		out->pinned_bytes += s->pinned_bytes;
		mutex_unlock(&s->mu);
	}
}
