/*
 * The cache: what it keeps and what it drops, entries in use, hints, many threads, and no memory.
 *
 * Each value knows its key, how many hold it and whether it was destroyed, so that a wrong, an early, a late or a
 * double destruction shows. A model of what must be in the table follows from that: what was inserted, not erased and
 * not destroyed. Which unheld entry goes first is the cache's own affair, but for those that were used of late.
 */
#include "engine/cache/lru.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/base/readers.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { CHARGE = 100, COST = CHARGE + LRU_ENTRY_BYTES };

struct value {
	struct lru_key key;
	atomic_int held, destroyed;
	size_t charge;
	bool erased;
};

static void destroy(void *p)
{
	struct value *v = p;
	assert_int_equal(atomic_load(&v->held), 0);
	assert_int_equal(atomic_fetch_add(&v->destroyed, 1), 0);
}

static struct lru_key key_of(uint64_t n)
{
	return (struct lru_key){ n / 7, n % 7 * 4096 };
}

static struct lru *cache_of(uint64_t capacity, unsigned shards)
{
	struct lru *c;
	assert_ok(lru_new(capacity, shards, &c));
	return c;
}

static struct lru_handle *insert(struct lru *c, struct value *v, uint64_t n, size_t charge)
{
	v->key = key_of(n);
	v->charge = charge;
	return lru_insert(c, v->key, v, charge, destroy);
}

/* Inserts values[from..to) under their numbers and lets go of them. */
static void fill(struct lru *c, struct value *values, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		struct lru_handle *h = insert(c, &values[i], i, CHARGE);
		assert_ptr_equal(lru_value(h), &values[i]);
		lru_release(c, h);
	}
}

/* Whether it is there; the right one if it is. That counts as a use. */
static bool touch(struct lru *c, const struct value *v, uint64_t n)
{
	struct lru_handle *h = lru_lookup(c, key_of(n), true);
	if (!h)
		return false;
	assert_ptr_equal(lru_value(h), v);
	lru_release(c, h);
	return true;
}

static struct lru_counts counts_of(struct lru *c)
{
	struct lru_counts counts;
	lru_counts(c, &counts);
	return counts;
}

/* ---- One thread ---------------------------------------------------------------------------- */

static void test_lookups_and_figures(void **state)
{
	(void)state;
	struct lru *c = cache_of(10 * COST, 1);
	struct value values[3] = { 0 };
	assert_null(lru_lookup(c, key_of(0), false));
	assert_null(lru_lookup(c, key_of(0), true)); /* quiet: not counted */
	fill(c, values, 0, 2);
	struct lru_handle *h = lru_lookup(c, key_of(1), false);
	assert_ptr_equal(lru_value(h), &values[1]);
	struct lru_counts f = counts_of(c);
	assert_true(f.hits == 1 && f.misses == 1 && f.inserts == 2 && f.evictions == 0);
	assert_true(f.entries == 2 && f.bytes == 2 * COST && f.pinned_bytes == COST);
	lru_release(c, h);
	/* Either half of a key tells it from others. */
	assert_null(lru_lookup(c, (struct lru_key){ 1, 0 }, false));
	assert_null(lru_lookup(c, (struct lru_key){ 0, 1 }, false));
	f = counts_of(c);
	assert_true(f.hits == 1 && f.misses == 3 && f.pinned_bytes == 0);
	/* Nobody held them: they go with the cache. */
	assert_int_equal(values[0].destroyed + values[1].destroyed, 0);
	lru_free(c);
	assert_int_equal(values[0].destroyed + values[1].destroyed, 2);
	lru_free(NULL);
}

/* The bound on entries, beside that on bytes: whichever is met first. */
static void test_bound_on_entries(void **state)
{
	(void)state;
	struct value values[30] = { 0 };
	struct lru *c = cache_of(20 * COST, 1);
	lru_set_max_entries(c, 8);
	fill(c, values, 0, 30);
	assert_true(counts_of(c).entries == 8 && counts_of(c).bytes == 8 * COST);
	lru_set_max_entries(c, 3);
	assert_int_equal(counts_of(c).entries, 3);
	assert_int_equal(counts_of(c).evictions, 27);
	lru_set_max_entries(c, 0); /* only what is held, as long as it is */
	assert_int_equal(counts_of(c).entries, 0);
	struct value held = { 0 };
	struct lru_handle *h = insert(c, &held, 99, CHARGE);
	assert_int_equal(counts_of(c).entries, 1);
	lru_release(c, h);
	assert_int_equal(counts_of(c).entries, 0);
	lru_free(c);
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(values[i].destroyed, 1);
}

static void test_second_insert_keeps_the_first(void **state)
{
	(void)state;
	struct lru *c = cache_of(1 << 20, 2);
	struct value first = { 0 }, second = { 0 };
	struct lru_handle *a = insert(c, &first, 5, CHARGE), *b = insert(c, &second, 5, 7 * CHARGE);
	assert_ptr_equal(a, b);
	assert_ptr_equal(lru_value(b), &first);
	assert_int_equal(second.destroyed, 1);
	assert_int_equal(counts_of(c).inserts, 1);
	assert_int_equal(counts_of(c).bytes, COST);
	lru_release(c, a);
	assert_int_equal(counts_of(c).pinned_bytes, COST); /* once held still */
	lru_release(c, b);
	assert_int_equal(counts_of(c).pinned_bytes, 0);
	lru_free(c);
	assert_int_equal(first.destroyed, 1);
}

static void test_budget(void **state)
{
	(void)state;
	enum { COUNT = 3000, ROOM = 200 };
	static const unsigned shard_counts[] = { 1, 2, 16 };
	struct value *values = calloc(COUNT, sizeof *values);
	for (size_t s = 0; s < sizeof shard_counts / sizeof shard_counts[0]; s++) {
		struct lru *c = cache_of(ROOM * COST, shard_counts[s]);
		assert_true(lru_capacity(c) <= ROOM * COST && lru_capacity(c) + shard_counts[s] > ROOM * COST);
		memset(values, 0, COUNT * sizeof *values);
		for (unsigned i = 0; i < COUNT; i++) {
			fill(c, values, i, i + 1);
			assert_true(counts_of(c).bytes <= ROOM * COST);
			assert_true(touch(c, &values[i], i)); /* the newest is not the one to go */
		}
		struct lru_counts f = counts_of(c);
		assert_int_equal(f.bytes, f.entries * COST);
		assert_int_equal(f.inserts, COUNT);
		assert_int_equal(f.evictions, COUNT - f.entries);
		assert_true(f.entries >= ROOM - shard_counts[s]); /* the room is used */
		unsigned gone = 0;
		for (unsigned i = 0; i < COUNT; i++) {
			gone += (unsigned)values[i].destroyed;
			assert_int_equal(touch(c, &values[i], i), !values[i].destroyed);
		}
		assert_int_equal(gone, f.evictions);
		lru_free(c);
		for (unsigned i = 0; i < COUNT; i++)
			assert_int_equal(values[i].destroyed, 1);
	}
	free(values);
}

static void peek(const struct value *v, uint64_t n, const struct lru_hint *hint)
{
	assert_true(readers_enter());
	assert_ptr_equal(lru_peek(key_of(n), hint), v);
	readers_leave();
}

/* A use by a lookup, or by a peek. */
static void used_entries_outlive_others(bool peeks)
{
	enum { ROOM = 100, NEW = 30, ROUNDS = 20 };
	struct lru *c = cache_of(ROOM * COST, 1);
	struct value values[ROOM + ROUNDS * NEW] = { 0 };
	struct lru_hint hints[ROOM] = { { .handle = NULL } };
	if (peeks)
		lru_allow_peeks(c);
	fill(c, values, 0, ROOM);
	for (unsigned i = 0; i < ROOM; i += 2)
		lru_release(c, lru_lookup_hinted(c, key_of(i), &hints[i]));
	/* Every other one of the first is used again in each round; nothing else ever is. */
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < ROOM; i += 2)
			if (peeks)
				peek(&values[i], i, &hints[i]);
			else
				assert_true(touch(c, &values[i], i));
		fill(c, values, ROOM + round * NEW, ROOM + (round + 1) * NEW);
	}
	for (unsigned i = 0; i < ROOM; i++)
		assert_int_equal(values[i].destroyed, i % 2);
	/* No use for long: then they go as others do. */
	struct value late[3 * ROOM] = { 0 };
	for (unsigned i = 0; i < 3 * ROOM; i++)
		lru_release(c, insert(c, &late[i], 10000 + i, CHARGE));
	for (unsigned i = 0; i < ROOM; i++)
		assert_int_equal(values[i].destroyed, 1);
	lru_free(c);
}

static void test_used_entries_outlive_others(void **state)
{
	(void)state;
	used_entries_outlive_others(false);
	used_entries_outlive_others(true);
}

static void test_held_entries_stay(void **state)
{
	(void)state;
	enum { ROOM = 10, HELD = 25, OTHERS = 40 };
	struct lru *c = cache_of(ROOM * COST, 1);
	struct value values[HELD + OTHERS] = { 0 };
	struct lru_handle *handles[HELD];
	for (unsigned i = 0; i < HELD; i++)
		handles[i] = insert(c, &values[i], i, CHARGE);
	fill(c, values, HELD, HELD + OTHERS);
	/* Over the budget, for what is in use cannot go; what is not goes at once. */
	struct lru_counts f = counts_of(c);
	assert_true(f.entries == HELD && f.bytes == HELD * COST && f.pinned_bytes == HELD * COST);
	for (unsigned i = 0; i < HELD; i++) {
		assert_int_equal(values[i].destroyed, 0);
		assert_true(touch(c, &values[i], i));
		lru_release(c, handles[i]);
		f = counts_of(c);
		assert_int_equal(f.pinned_bytes, (HELD - 1 - i) * COST);
		assert_true(f.bytes <= ROOM * COST || f.bytes == f.pinned_bytes);
	}
	assert_int_equal(counts_of(c).entries, ROOM);
	lru_free(c);
}

static void test_larger_than_the_budget(void **state)
{
	(void)state;
	struct lru *c = cache_of(CHARGE, 1);
	struct value big = { 0 }, none = { 0 };
	struct lru_handle *h = insert(c, &big, 1, 100 * CHARGE);
	assert_true(touch(c, &big, 1));
	lru_release(c, h);
	assert_int_equal(big.destroyed, 1);
	assert_int_equal(counts_of(c).bytes, 0);
	lru_set_capacity(c, 0);
	lru_release(c, insert(c, &none, 2, 0)); /* an entry costs something even so */
	assert_int_equal(none.destroyed, 1);
	lru_free(c);
}

static void test_erase(void **state)
{
	(void)state;
	struct lru *c = cache_of(1 << 20, 1);
	struct value held = { 0 }, again = { 0 }, unheld = { 0 };
	lru_erase(c, key_of(1)); /* not there */
	lru_release(c, insert(c, &unheld, 1, CHARGE));
	lru_erase(c, key_of(1));
	assert_int_equal(unheld.destroyed, 1);
	struct lru_handle *h = insert(c, &held, 2, CHARGE), *h2;
	lru_erase(c, key_of(2));
	assert_null(lru_lookup(c, key_of(2), true));
	assert_int_equal(counts_of(c).bytes, 0);
	/* The key is free for another while the first is in use. */
	h2 = insert(c, &again, 2, CHARGE);
	assert_ptr_equal(lru_value(h), &held);
	assert_ptr_equal(lru_value(h2), &again);
	assert_int_equal(held.destroyed, 0);
	lru_release(c, h);
	assert_int_equal(held.destroyed, 1);
	assert_true(touch(c, &again, 2));
	lru_release(c, h2);
	assert_int_equal(counts_of(c).evictions, 0); /* erasing is not evicting */
	lru_free(c);
	assert_int_equal(again.destroyed, 1);
}

static void test_change_of_capacity(void **state)
{
	(void)state;
	enum { COUNT = 400 };
	struct lru *c = cache_of(1 << 20, 4);
	struct value values[COUNT] = { 0 };
	fill(c, values, 0, COUNT);
	struct lru_handle *h = lru_lookup(c, key_of(7), true);
	for (unsigned room = COUNT; room > 0; room -= 50) {
		lru_set_capacity(c, room * COST);
		assert_int_equal(lru_capacity(c), room * COST);
		assert_true(counts_of(c).bytes <= room * COST);
	}
	lru_set_capacity(c, 0);
	assert_int_equal(counts_of(c).entries, 1);
	lru_release(c, h);
	assert_int_equal(counts_of(c).entries, 0);
	assert_int_equal(values[7].destroyed, 1);
	/* Room again. */
	lru_set_capacity(c, 1 << 20);
	memset(values, 0, sizeof values);
	fill(c, values, 0, COUNT);
	assert_int_equal(counts_of(c).entries, COUNT);
	lru_free(c);
}

static void test_hints(void **state)
{
	(void)state;
	enum { COUNT = 300, ROOM = 20 };
	struct lru *c = cache_of(ROOM * COST, 1);
	struct value values[COUNT] = { 0 }, first = { 0 };
	struct lru_hint hint = { .handle = NULL }, hints[COUNT] = { { .handle = NULL } };
	assert_null(lru_lookup_hinted(c, key_of(1000), &hint));
	lru_release(c, insert(c, &first, 1000, CHARGE));
	for (int i = 0; i < 3; i++) { /* found by its key, then by the hint */
		struct lru_handle *h = lru_lookup_hinted(c, key_of(1000), &hint);
		assert_ptr_equal(lru_value(h), &first);
		lru_release(c, h);
	}
	assert_true(counts_of(c).hits == 3 && counts_of(c).misses == 1);
	lru_erase(c, key_of(1000));
	assert_null(lru_lookup_hinted(c, key_of(1000), &hint)); /* the place is empty */
	/* Places change their entries many times over: a hint never leads to another's. */
	for (unsigned i = 0; i < COUNT; i++) {
		fill(c, values, i, i + 1);
		for (unsigned j = i < 40 ? 0 : i - 40; j <= i; j++) {
			struct lru_handle *h = lru_lookup_hinted(c, key_of(j), &hints[j]);
			assert_int_equal(h != NULL, !values[j].destroyed);
			if (!h)
				continue;
			assert_ptr_equal(lru_value(h), &values[j]);
			lru_release(c, h);
		}
		assert_null(lru_lookup_hinted(c, key_of(1000), &hint));
		assert_int_equal(counts_of(c).pinned_bytes, 0); /* a look at the wrong entry leaves no hold */
	}
	lru_free(c);
}

/* What is peeked at outlives its eviction until the section ends; a hint that is out of date shows nothing. */
static void test_peeks(void **state)
{
	(void)state;
	struct lru *c = cache_of(2 * COST, 1);
	struct value values[8] = { 0 };
	struct lru_hint hint = { .handle = NULL };
	lru_allow_peeks(c);
	assert_true(readers_enter());
	assert_null(lru_peek(key_of(0), &hint));
	readers_leave();
	fill(c, values, 0, 1);
	lru_release(c, lru_lookup_hinted(c, key_of(0), &hint));
	uint64_t hits = counts_of(c).hits;
	assert_true(readers_enter());
	assert_ptr_equal(lru_peek(key_of(0), &hint), &values[0]);
	assert_null(lru_peek(key_of(1), &hint)); /* it leads to another's */
	lru_erase(c, key_of(0));
	fill(c, values, 1, 6);
	assert_null(lru_peek(key_of(0), &hint));
	assert_int_equal(counts_of(c).entries, 2);
	assert_int_equal(counts_of(c).evictions, 3);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(values[i].destroyed, 0);
	readers_leave();
	assert_int_equal(counts_of(c).hits, hits); /* it is the caller who counts */
	lru_count_hits(c, 3);
	assert_int_equal(counts_of(c).hits, hits + 3);
	fill(c, values, 6, 8);
	assert_int_equal(values[0].destroyed, 1);
	unsigned destroyed = 0;
	for (unsigned i = 0; i < 8; i++)
		destroyed += (unsigned)values[i].destroyed;
	assert_int_equal(destroyed, 6);
	assert_true(counts_of(c).pinned_bytes == 0 && counts_of(c).bytes == 2 * COST);
	assert_null(lru_hold_hinted(key_of(0), &hint, c));
	lru_free(c);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(values[i].destroyed, 1);
}

enum { MODEL_KEYS = 60, MODEL_HELD = 12, MODEL_STEPS = 6000 };

struct model {
	struct lru *cache;
	struct value *values; /* one for each step */
	unsigned used;
	struct value *current[MODEL_KEYS]; /* the last that was inserted */
	struct lru_hint hints[MODEL_KEYS];
	struct lru_handle *held[MODEL_HELD];
	size_t held_count;
};

static bool model_has(const struct model *m, uint64_t n)
{
	return m->current[n] && !m->current[n]->erased && !m->current[n]->destroyed;
}

static void model_hold(struct model *m, struct lru_handle *h)
{
	struct value *v = lru_value(h);
	assert_int_equal(v->destroyed, 0);
	atomic_fetch_add(&v->held, 1);
	m->held[m->held_count++] = h;
}

static void model_release(struct model *m, size_t at)
{
	struct lru_handle *h = m->held[at];
	struct value *v = lru_value(h);
	m->held[at] = m->held[--m->held_count];
	atomic_fetch_sub(&v->held, 1);
	lru_release(m->cache, h);
}

static void model_step(struct model *m, struct random_state *r)
{
	uint64_t n = random_below(r, MODEL_KEYS);
	bool there = model_has(m, n), full = m->held_count == MODEL_HELD;
	unsigned what = full ? 9 : (unsigned)random_below(r, 10);
	if (what < 3) {
		struct value *v = &m->values[m->used++];
		struct lru_handle *h = insert(m->cache, v, n, random_below(r, 200));
		assert_ptr_equal(lru_value(h), there ? m->current[n] : v);
		assert_int_equal(v->destroyed, there);
		m->current[n] = lru_value(h);
		model_hold(m, h);
	} else if (what < 7) {
		struct lru_handle *h = what < 5 ? lru_lookup(m->cache, key_of(n), what < 4)
						: lru_lookup_hinted(m->cache, key_of(n), &m->hints[n]);
		assert_int_equal(h != NULL, there);
		if (h) {
			assert_ptr_equal(lru_value(h), m->current[n]);
			model_hold(m, h);
		}
	} else if (what == 7) {
		lru_erase(m->cache, key_of(n));
		if (there)
			m->current[n]->erased = true;
		if (there && !m->current[n]->held)
			assert_int_equal(m->current[n]->destroyed, 1);
	} else if (what == 8 && random_below(r, 10) == 0) {
		lru_set_capacity(m->cache, random_below(r, 5000));
	} else if (m->held_count) {
		model_release(m, random_below(r, m->held_count));
	}
}

static void model_check(const struct model *m)
{
	struct lru_counts f = counts_of(m->cache);
	uint64_t entries = 0, bytes = 0, pinned = 0;
	for (uint64_t n = 0; n < MODEL_KEYS; n++) {
		if (!model_has(m, n))
			continue;
		uint64_t cost = m->current[n]->charge + LRU_ENTRY_BYTES;
		entries++;
		bytes += cost;
		pinned += m->current[n]->held ? cost : 0;
	}
	assert_true(f.entries == entries && f.bytes == bytes && f.pinned_bytes == pinned);
}

static void test_model(void **state)
{
	(void)state;
	static const unsigned shard_counts[] = { 1, 4 };
	struct random_state r;
	random_seed(&r, test_seed("model"));
	for (size_t s = 0; s < 2; s++) {
		struct model m = { .cache = cache_of(4000, shard_counts[s]) };
		m.values = calloc(MODEL_STEPS, sizeof *m.values);
		for (unsigned i = 0; i < MODEL_STEPS; i++) {
			model_step(&m, &r);
			model_check(&m);
		}
		while (m.held_count)
			model_release(&m, 0);
		assert_true(counts_of(m.cache).bytes <= lru_capacity(m.cache));
		lru_free(m.cache);
		for (unsigned i = 0; i < m.used; i++)
			assert_int_equal(m.values[i].destroyed, 1);
		free(m.values);
	}
}

/* ---- Threads ------------------------------------------------------------------------------- */

enum { THREADS = 4, THREAD_KEYS = 100, THREAD_STEPS = 8000 };

struct shared {
	struct lru *cache;
	struct lru_hint hints[THREAD_KEYS];
	atomic_uint made, ended;
	bool erase, peeks;
};

/* A value on the heap: the sanitizers see a use after its end. */
struct heap_value {
	struct shared *shared;
	struct lru_key key;
};

static void heap_value_end(void *p)
{
	struct heap_value *v = p;
	atomic_fetch_add(&v->shared->ended, 1);
	free(v);
}

static struct lru_handle *find_or_make(struct shared *s, struct random_state *r, uint64_t n)
{
	struct lru_handle *h = random_below(r, 2) ? lru_lookup(s->cache, key_of(n), false)
						 : lru_lookup_hinted(s->cache, key_of(n), &s->hints[n]);
	if (h)
		return h;
	struct heap_value *v = malloc(sizeof *v);
	*v = (struct heap_value){ s, key_of(n) };
	atomic_fetch_add(&s->made, 1);
	return lru_insert(s->cache, v->key, v, CHARGE, heap_value_end);
}

struct worker {
	struct shared *shared;
	uint64_t seed;
	unsigned wrong, lookups, peeked;
};

/* In caches that allow it: what a hint shows is the right one, and lives. */
static void peek_once(struct worker *w, uint64_t n)
{
	if (!w->shared->peeks || !readers_enter())
		return;
	const struct heap_value *v = lru_peek(key_of(n), &w->shared->hints[n]);
	w->wrong += v && (v->shared != w->shared || v->key.owner != key_of(n).owner || v->key.item != key_of(n).item);
	w->peeked += v != NULL;
	readers_leave();
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->shared;
	struct random_state r;
	random_seed(&r, w->seed);
	for (unsigned i = 0; i < THREAD_STEPS; i++) {
		uint64_t n = random_below(&r, THREAD_KEYS), m = random_below(&r, THREAD_KEYS);
		struct lru_handle *a = find_or_make(s, &r, n), *b = find_or_make(s, &r, m);
		const struct heap_value *v = lru_value(a), *x = lru_value(b);
		w->lookups += 2;
		peek_once(w, random_below(&r, THREAD_KEYS));
		w->wrong += v->key.owner != key_of(n).owner || v->key.item != key_of(n).item;
		w->wrong += x->key.owner != key_of(m).owner || x->key.item != key_of(m).item;
		if (s->erase && random_below(&r, 10) == 0)
			lru_erase(s->cache, key_of(n));
		if (s->erase && random_below(&r, 100) == 0)
			lru_set_capacity(s->cache, random_below(&r, THREAD_KEYS) * COST);
		lru_release(s->cache, a);
		lru_release(s->cache, b);
	}
	return NULL;
}

static void run_threads(unsigned shards, unsigned room, bool erase, bool peeks, uint64_t seed)
{
	struct shared s = { .cache = cache_of(room * COST, shards), .erase = erase, .peeks = peeks };
	struct worker workers[THREADS] = { 0 };
	pthread_t threads[THREADS];
	unsigned lookups = 0, peeked = 0;
	if (peeks)
		lru_allow_peeks(s.cache);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .shared = &s, .seed = seed + i };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(workers[i].wrong, 0);
		lookups += workers[i].lookups;
		peeked += workers[i].peeked;
	}
	assert_int_equal(peeked > 0, peeks);
	struct lru_counts f = counts_of(s.cache);
	assert_true(f.pinned_bytes == 0 && f.bytes <= lru_capacity(s.cache));
	assert_int_equal(f.hits + f.misses, lookups); /* not one is lost */
	assert_true(f.inserts <= f.misses);
	if (!peeks) /* where some may live on for a moment */
		assert_int_equal(f.entries, s.made - s.ended);
	lru_free(s.cache);
	assert_int_equal(s.made, s.ended);
}

static void test_threads(void **state)
{
	(void)state;
	uint64_t seed = test_seed("threads");
	for (int peeks = 0; peeks < 2; peeks++) {
		run_threads(1, 10, true, peeks, seed);
		run_threads(1, THREAD_KEYS / 2, false, peeks, seed);
		run_threads(4, THREAD_KEYS * 2, true, peeks, seed);
	}
}

/* ---- No memory ----------------------------------------------------------------------------- */

static unsigned allocations_left;

static _Bool fail_one(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static void test_new_without_memory(void **state)
{
	(void)state;
	struct lru *c;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		allocations_left = n + 1;
		mem_test_hook = fail_one;
		s = lru_new(1000, 4, &c);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_int_equal(n, 6); /* itself, a table for each shard; the next try works */
	lru_free(c);
}

static _Bool fail_all(size_t size)
{
	(void)size;
	return 0;
}

static void test_insert_without_memory(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	struct value values[COUNT] = { 0 };
	struct lru *c = cache_of(1 << 20, 1);
	unsigned failed = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		/* Every allocation fails at first: neither a place nor a larger table is to be had. */
		mem_test_hook = fail_all;
		struct lru_handle *h = insert(c, &values[i], i, CHARGE);
		mem_test_hook = NULL;
		if (!h) {
			assert_int_equal(values[i].destroyed, 0); /* the caller's still */
			assert_null(lru_lookup(c, key_of(i), true));
			failed++;
			h = insert(c, &values[i], i, CHARGE);
		}
		lru_release(c, h);
	}
	assert_true(failed > 0 && failed < COUNT / 10);
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(touch(c, &values[i], i));
	lru_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookups_and_figures),
		cmocka_unit_test(test_bound_on_entries),
		cmocka_unit_test(test_second_insert_keeps_the_first),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_used_entries_outlive_others),
		cmocka_unit_test(test_held_entries_stay),
		cmocka_unit_test(test_larger_than_the_budget),
		cmocka_unit_test(test_erase),
		cmocka_unit_test(test_change_of_capacity),
		cmocka_unit_test(test_hints),
		cmocka_unit_test(test_peeks),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_new_without_memory),
		cmocka_unit_test(test_insert_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
