/*
 * The cache: shards of a hash table each, whose entries a clock hand goes round.
 *
 * Use is noted by a bit in the entry, which a hit sets and the passing hand clears; what the hand finds unheld and
 * with the bit clear goes. So a hit writes nothing but its entry, where a list in order of use would take the lock
 * and touch four cache lines more. (Corbato, "A paging experiment with the Multics system", 1968. New entries come
 * without the bit: what a scan reads once goes first.)
 *
 * An entry's state is one word: whether it is in its shard's table, whether it was used, and how many hold it. It
 * is in the table from insertion to eviction or erasure. Who takes the word to "neither in the table nor held"
 * destroys the value; nobody can hold the entry again from there.
 *
 * The memory of entries is never given back before the whole cache is: it is reused for other entries. That is
 * what makes hints safe: whatever a hint points to has a state word, which says whether an entry is there. To hold
 * it is one compare-and-swap; once it is held its key cannot change, and shows whether it is the wanted one.
 *
 * In a cache whose entries may be peeked at without being held, an entry that nobody can reach any more waits in its
 * shard's list until the sections of reading that could have found it are over (base/readers.h); only then is its value
 * destroyed and its place free.
 */
#include "engine/cache/lru.h"

#include <sched.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/hash.h"
#include "engine/base/mutex.h"
#include "engine/base/pages.h"
#include "engine/base/readers.h"

enum {
	STATE_IN_TABLE = 1 << 30,
	STATE_USED = 1 << 29,
	STATE_HOLDERS = STATE_USED - 1,
};

struct lru_handle {
	/* Written by an insertion, before the state says that an entry is here. */
	_Alignas(LRU_ENTRY_BYTES) struct lru_key key;
	void *value;
	void (*destroy)(void *value);
	size_t charge;
	struct lru_handle *chain; /* of its bucket, of free ones, or of those that are about to be */
	uint64_t stamp;           /* while it waits for readers to be gone */
	atomic_uint state;
	uint32_t shard;
};
_Static_assert(sizeof(struct lru_handle) == LRU_ENTRY_BYTES, "a cache line, so that a hit touches one");

enum { SLAB_HANDLES = 63 };

/* What the clock hand goes over. */
struct slab {
	struct slab *next;
	struct lru_handle handles[SLAB_HANDLES];
};

struct lru_shard {
	_Alignas(64) struct mutex mu;
	/* Guarded by it. */
	struct lru_handle **buckets;
	size_t bucket_count, slab_count;
	struct lru_handle *free;
	struct lru_handle *leaving; /* peeked caches: those that wait for readers to be gone, the latest first */
	struct slab *slabs, *hand_slab;
	unsigned hand;
	uint64_t inserts, evictions;
	/* Changed under it; relaxed reads without it may be late by a moment. */
	atomic_uint_fast64_t capacity, max_entries, bytes, entries;
};

struct lru {
	unsigned shard_mask;
	bool peeked, huge;
	struct {
		_Alignas(64) atomic_uint_fast64_t hits, misses;
	} counts[STRIPES];
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

static bool same_key(struct lru_key a, struct lru_key b)
{
	return a.owner == b.owner && a.item == b.item;
}

static struct lru_handle **slot_of(struct lru_shard *s, struct lru_key key, uint64_t hash)
{
	struct lru_handle **p = &s->buckets[(hash >> 32) & (s->bucket_count - 1)];
	while (*p && !same_key((*p)->key, key))
		p = &(*p)->chain;
	return p;
}

static uint64_t relaxed(const atomic_uint_fast64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

/* With the lock: `entries` more, or less, of so many bytes. */
static void account(struct lru_shard *s, int entries, uint64_t bytes)
{
	atomic_store_explicit(&s->bytes, relaxed(&s->bytes) + (uint64_t)entries * bytes, memory_order_relaxed);
	atomic_store_explicit(&s->entries, relaxed(&s->entries) + (uint64_t)entries, memory_order_relaxed);
}

static bool over_budget(const struct lru_shard *s)
{
	return relaxed(&s->bytes) > relaxed(&s->capacity) || relaxed(&s->entries) > relaxed(&s->max_entries);
}

/* ---- Entries ------------------------------------------------------------------------------- */

/* Holds what is there, if an entry is. Acquire: pairs with the release of its insertion. */
static bool hold(struct lru_handle *h)
{
	unsigned state = atomic_load_explicit(&h->state, memory_order_relaxed);
	do {
		if (!(state & STATE_IN_TABLE))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&h->state, &state, (state + 1) | STATE_USED,
							memory_order_acquire, memory_order_relaxed));
	return true;
}

/* The entry may leave meanwhile: a place without an entry keeps no mark. */
static void note_use(struct lru_handle *h)
{
	unsigned state = atomic_load_explicit(&h->state, memory_order_relaxed);
	while ((state & STATE_IN_TABLE) && !(state & STATE_USED) &&
	       !atomic_compare_exchange_weak_explicit(&h->state, &state, state | STATE_USED, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

/* With the lock: takes the entry out of the table. The state word is the caller's. */
static void unlink_entry(struct lru_shard *s, struct lru_handle **slot)
{
	struct lru_handle *h = *slot;
	*slot = h->chain;
	account(s, -1, h->charge);
}

static struct lru_handle *hand_next(struct lru_shard *s)
{
	if (!s->hand_slab || ++s->hand == SLAB_HANDLES) {
		s->hand_slab = s->hand_slab && s->hand_slab->next ? s->hand_slab->next : s->slabs;
		s->hand = 0;
	}
	return &s->hand_slab->handles[s->hand];
}

/* With the lock: evicts until the budget is met or all that is left is held; returns the victims as a chain. Two
 * rounds are enough: the first clears what the second takes. */
static struct lru_handle *evict(struct lru_shard *s)
{
	struct lru_handle *victims = NULL;
	for (size_t steps = 2 * s->slab_count * SLAB_HANDLES; steps && over_budget(s); steps--) {
		struct lru_handle *h = hand_next(s);
		unsigned state = atomic_load_explicit(&h->state, memory_order_relaxed);
		if (!(state & STATE_IN_TABLE) || (state & STATE_HOLDERS))
			continue;
		if (state & STATE_USED) {
			atomic_fetch_and_explicit(&h->state, ~(unsigned)STATE_USED, memory_order_relaxed);
			continue;
		}
		/* Acquire, as a part of it: what the last holder did is done before the value is destroyed. Sequentially
		 * consistent for those that peek. */
		if (!atomic_compare_exchange_strong_explicit(&h->state, &state, 0, memory_order_seq_cst,
							     memory_order_relaxed))
			continue; /* Somebody just came. */
		unlink_entry(s, slot_of(s, h->key, hash_of(h->key)));
		s->evictions++;
		h->chain = victims;
		victims = h;
	}
	return victims;
}

/* Puts a chain that nobody can reach before those that wait, and takes what waited long enough. Sections are short, so the
 * chain itself mostly did when a moment was given: what is evicted last must not keep its file open for long. */
static struct lru_handle *wait_for_readers(struct lru_shard *s, struct lru_handle *chain)
{
	enum { YIELDS = 64 };
	uint64_t stamp = readers_stamp();
	for (int i = 0; i < YIELDS && !readers_gone(stamp); i++)
		sched_yield();
	mutex_lock(&s->mu);
	for (struct lru_handle *h = chain, *next; h; h = next) {
		next = h->chain;
		h->stamp = stamp;
		h->chain = s->leaving;
		s->leaving = h;
	}
	struct lru_handle **p = &s->leaving;
	while (*p && !readers_gone((*p)->stamp))
		p = &(*p)->chain;
	struct lru_handle *gone = *p; /* What waits behind it has waited longer. */
	*p = NULL;
	mutex_unlock(&s->mu);
	return gone;
}

/* Without the lock: ends the values of a chain of entries that nobody can reach, and frees their places. */
static void retire(const struct lru *c, struct lru_shard *s, struct lru_handle *chain)
{
	if (chain && c->peeked)
		chain = wait_for_readers(s, chain);
	if (!chain)
		return;
	struct lru_handle *last = chain;
	for (struct lru_handle *h = chain; h; h = h->chain) {
		h->destroy(h->value);
		last = h;
	}
	mutex_lock(&s->mu);
	last->chain = s->free;
	s->free = chain;
	mutex_unlock(&s->mu);
}

static void trim(const struct lru *c, struct lru_shard *s)
{
	mutex_lock(&s->mu);
	struct lru_handle *victims = evict(s);
	mutex_unlock(&s->mu);
	retire(c, s, victims);
}

/* Doubles the table when it is full; staying small for lack of memory is only slower. */
static void grow(struct lru_shard *s)
{
	if (relaxed(&s->entries) < s->bucket_count)
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

void *lru_alloc(const struct lru *c, size_t size)
{
	return c && c->huge ? mem_alloc_huge(size) : mem_alloc_aligned(size);
}

/* Without the lock: more free places. */
static bool add_slab(const struct lru *c, struct lru_shard *s)
{
	struct slab *slab = lru_alloc(c, sizeof *slab);
	if (!slab)
		return false;
	memset(slab, 0, sizeof *slab);
	for (int i = 0; i + 1 < SLAB_HANDLES; i++)
		slab->handles[i].chain = &slab->handles[i + 1];
	mutex_lock(&s->mu);
	slab->handles[SLAB_HANDLES - 1].chain = s->free;
	s->free = slab->handles;
	slab->next = s->slabs;
	s->slabs = slab;
	s->slab_count++;
	mutex_unlock(&s->mu);
	return true;
}

/* ---- The cache ----------------------------------------------------------------------------- */

enum wombat_status lru_new(uint64_t capacity_bytes, unsigned shards, struct lru **out)
{
	struct lru *c = mem_alloc_aligned(sizeof *c + shards * sizeof c->shards[0]);
	if (!c)
		return fail_no_memory();
	memset(c, 0, sizeof *c + shards * sizeof c->shards[0]);
	c->shard_mask = shards - 1;
	c->huge = capacity_bytes >= PAGES_WORTH;
	bool ok = true;
	for (unsigned i = 0; i < shards; i++) {
		struct lru_shard *s = &c->shards[i];
		mutex_init(&s->mu, LOCK_RANK_CACHE);
		atomic_init(&s->capacity, capacity_bytes / shards);
		atomic_init(&s->max_entries, UINT64_MAX);
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

static void shard_done(struct lru_shard *s)
{
	for (struct lru_handle *h = s->leaving; h; h = h->chain)
		h->destroy(h->value);
	for (struct slab *slab = s->slabs, *next; slab; slab = next) {
		next = slab->next;
		for (int i = 0; i < SLAB_HANDLES; i++) {
			struct lru_handle *h = &slab->handles[i];
			if (atomic_load_explicit(&h->state, memory_order_acquire) & STATE_IN_TABLE)
				h->destroy(h->value);
		}
		mem_free(slab);
	}
	mem_free(s->buckets);
	mutex_done(&s->mu);
}

void lru_free(struct lru *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i <= c->shard_mask; i++)
		shard_done(&c->shards[i]);
	mem_free(c);
}

static void count_lookup(struct lru *c, bool hit)
{
	unsigned stripe = stripe_of_thread();
	stripe_add(hit ? &c->counts[stripe].hits : &c->counts[stripe].misses, stripe, 1);
}

struct lru_handle *lru_lookup(struct lru *c, struct lru_key key, bool quiet)
{
	uint64_t hash = hash_of(key);
	struct lru_shard *s = shard_of(c, hash);
	mutex_lock(&s->mu);
	struct lru_handle *h = *slot_of(s, key, hash);
	if (h && !hold(h))
		h = NULL; /* cannot be: what is in the table is so under the lock */
	mutex_unlock(&s->mu);
	if (!quiet)
		count_lookup(c, h != NULL);
	return h;
}

static uint64_t lines_of(const struct lru_handle *h)
{
	uint64_t lines = (lru_charge(h) + LRU_LINE_BYTES - 1) / LRU_LINE_BYTES;
	return (uint64_t)(uintptr_t)h->value << LRU_LINES_BITS | (lines < LRU_LINES_MAX ? lines : LRU_LINES_MAX);
}

struct lru_handle *lru_lookup_hinted(struct lru *c, struct lru_key key, struct lru_hint *hint)
{
	/* Acquire: the place's zeroes are there before the pointer to it. */
	struct lru_handle *h = atomic_load_explicit(&hint->handle, memory_order_acquire);
	if (h && hold(h)) {
		if (__builtin_expect(same_key(h->key, key), 1)) {
			count_lookup(c, true);
			return h;
		}
		lru_release(c, h); /* another's by now */
	}
	h = lru_lookup(c, key, false);
	if (h) {
		atomic_store_explicit(&hint->lines, lines_of(h), memory_order_relaxed);
		atomic_store_explicit(&hint->handle, h, memory_order_release);
	}
	return h;
}

void lru_allow_peeks(struct lru *c)
{
	c->peeked = true;
}

struct lru_handle *lru_hold_hinted(struct lru_key key, const struct lru_hint *hint, struct lru *c)
{
	/* Acquire: the place's zeroes are there before the pointer to it. */
	struct lru_handle *h = atomic_load_explicit(&hint->handle, memory_order_acquire);
	if (!h || !hold(h))
		return NULL;
	if (__builtin_expect(same_key(h->key, key), 1))
		return h;
	lru_release(c, h);
	return NULL;
}

void *lru_peek(struct lru_key key, const struct lru_hint *hint)
{
	struct lru_handle *h = atomic_load_explicit(&hint->handle, memory_order_acquire);
	if (!h)
		return NULL;
	/* Sequentially consistent: behind the mark of the section; see base/readers.h. Once an entry is seen here, the place
	 * is not given to another before the section ends, so that the key may be read. */
	unsigned state = atomic_load_explicit(&h->state, memory_order_seq_cst);
	if (!(state & STATE_IN_TABLE) || !same_key(h->key, key))
		return NULL;
	if (!(state & STATE_USED))
		note_use(h);
	return h->value;
}

void lru_count_hits(struct lru *c, uint64_t hits)
{
	unsigned stripe = stripe_of_thread();
	stripe_add(&c->counts[stripe].hits, stripe, hits);
}

struct lru_handle *lru_insert(struct lru *c, struct lru_key key, void *value, size_t charge_bytes,
			      void (*destroy)(void *value))
{
	uint64_t hash = hash_of(key);
	struct lru_shard *s = shard_of(c, hash);
	mutex_lock(&s->mu);
	while (!s->free) {
		mutex_unlock(&s->mu);
		if (!add_slab(c, s)) {
			fail_no_memory();
			return NULL;
		}
		mutex_lock(&s->mu);
	}
	struct lru_handle **slot = slot_of(s, key, hash), *there = *slot;
	if (there && hold(there)) {
		mutex_unlock(&s->mu);
		destroy(value);
		return there;
	}
	struct lru_handle *h = s->free, *victims;
	s->free = h->chain;
	h->key = key;
	h->value = value;
	h->destroy = destroy;
	h->charge = charge_bytes + sizeof *h;
	h->shard = (uint32_t)(s - c->shards);
	h->chain = NULL;
	*slot = h;
	s->inserts++;
	account(s, 1, h->charge);
	/* Release: a hint may lead here without the lock. */
	atomic_store_explicit(&h->state, STATE_IN_TABLE | 1, memory_order_release);
	victims = evict(s);
	grow(s);
	mutex_unlock(&s->mu);
	retire(c, s, victims);
	return h;
}

void lru_release(struct lru *c, struct lru_handle *h)
{
	struct lru_shard *s = &c->shards[h->shard];
	/* Release: this holder's reading is done before another destroys the value. Acquire: and the others' before
	 * this one does. */
	unsigned state = atomic_fetch_sub_explicit(&h->state, 1, memory_order_acq_rel) - 1;
	if (state & STATE_HOLDERS)
		return;
	if (!(state & STATE_IN_TABLE)) { /* It left the table while it was held. */
		h->chain = NULL;
		retire(c, s, h);
		return;
	}
	if (over_budget(s))
		trim(c, s);
}

void lru_pin_release(struct lru_pin *pin)
{
	if (pin->owner)
		lru_release(pin->owner, pin->handle);
	else
		mem_free(pin->handle);
	*pin = (struct lru_pin){ 0 };
}

void *lru_value(const struct lru_handle *h)
{
	return h->value;
}

size_t lru_charge(const struct lru_handle *h)
{
	return h->charge - sizeof *h;
}

void lru_erase(struct lru *c, struct lru_key key)
{
	uint64_t hash = hash_of(key);
	struct lru_shard *s = shard_of(c, hash);
	struct lru_handle *victim = NULL;
	mutex_lock(&s->mu);
	struct lru_handle **slot = slot_of(s, key, hash), *h = *slot;
	if (h) {
		unlink_entry(s, slot);
		unsigned state = atomic_fetch_and_explicit(&h->state, STATE_HOLDERS, memory_order_seq_cst);
		if (!(state & STATE_HOLDERS)) {
			h->chain = NULL;
			victim = h;
		}
	}
	mutex_unlock(&s->mu);
	retire(c, s, victim);
}

void lru_set_capacity(struct lru *c, uint64_t capacity_bytes)
{
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &c->shards[i];
		atomic_store_explicit(&s->capacity, capacity_bytes / (c->shard_mask + 1), memory_order_relaxed);
		trim(c, s);
	}
}

void lru_set_max_entries(struct lru *c, uint64_t max_entries)
{
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &c->shards[i];
		atomic_store_explicit(&s->max_entries, max_entries / (c->shard_mask + 1), memory_order_relaxed);
		trim(c, s);
	}
}

uint64_t lru_capacity(const struct lru *c)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i <= c->shard_mask; i++)
		sum += relaxed(&c->shards[i].capacity);
	return sum;
}

/* With the lock: of entries in the table that somebody holds. All are looked at, so that holding costs no count. */
static uint64_t held_bytes(const struct lru_shard *s)
{
	uint64_t sum = 0;
	for (const struct slab *slab = s->slabs; slab; slab = slab->next)
		for (int i = 0; i < SLAB_HANDLES; i++) {
			const struct lru_handle *h = &slab->handles[i];
			unsigned state = atomic_load_explicit(&h->state, memory_order_relaxed);
			if ((state & STATE_IN_TABLE) && (state & STATE_HOLDERS))
				sum += h->charge;
		}
	return sum;
}

void lru_counts(struct lru *c, struct lru_counts *out)
{
	*out = (struct lru_counts){ 0 };
	for (unsigned i = 0; i < STRIPES; i++) {
		out->hits += relaxed(&c->counts[i].hits);
		out->misses += relaxed(&c->counts[i].misses);
	}
	for (unsigned i = 0; i <= c->shard_mask; i++) {
		struct lru_shard *s = &c->shards[i];
		mutex_lock(&s->mu);
		out->inserts += s->inserts;
		out->evictions += s->evictions;
		out->bytes += relaxed(&s->bytes);
		out->entries += relaxed(&s->entries);
		out->pinned_bytes += held_bytes(s);
		mutex_unlock(&s->mu);
	}
}
