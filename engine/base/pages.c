/*
 * Chunks, and chunks divided into slots of one size.
 *
 * The range is reserved once and never given back; memory is where somebody wrote. A chunk that is free is kept with its
 * memory for the next who wants one, no more of them than are in use: what a full memtable gives back the next one takes, without
 * the kernel's zeroing a page again. The others' memory goes back at once, and their addresses are used again.
 *
 * Sizes of slots are 32nds of a power of two. A chunk with slots begins with a header, which a slot's address leads to.
 * (Bonwick, "The slab allocator", 1994.) Each size has a lock and a list of its chunks with room.
 */
#include "engine/base/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "engine/base/mutex.h"

/* A sanitizer knows the heap's memory, not what is made of it here. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif

enum { CHUNKS = (int)(PAGES_RANGE / PAGES_CHUNK), KEPT_MAX = 48, STEP_LOG = 5, STEPS = 1 << STEP_LOG, MIN_LOG = 11, CLASSES = 5 * STEPS };
_Static_assert(PAGES_SLOT_MIN == 1 << MIN_LOG && PAGES_SLOT_MAX == PAGES_SLOT_MIN << (CLASSES / STEPS), "classes for all sizes");

_Atomic(uintptr_t) pages_begin = (uintptr_t)1 << (sizeof(uintptr_t) * 8 - 1);

/* At the beginning of a chunk with slots. */
struct chunk {
	_Alignas(64) struct chunk *prev, *next; /* in its class's list, while it has room */
	void **free;                            /* slots that were given back, each leading to the next */
	uint8_t *fresh;                         /* slots from here on were never used */
	uint32_t used, class;
};

static struct {
	struct mutex mu;
	struct chunk *room;
} classes[CLASSES];

static struct {
	struct mutex mu;
	uint8_t *begin;
	size_t next, used; /* chunks from `next` on were never used */
	size_t kept_count, bare_count;
	uint16_t kept[KEPT_MAX]; /* with memory */
	uint16_t bare[CHUNKS];   /* without */
} pool;
_Static_assert(CHUNKS <= UINT16_MAX + 1, "chunks have numbers of 16 bits");

/* ---- Chunks -------------------------------------------------------------------------------- */

static void reserve(void)
{
	mutex_init(&pool.mu, LOCK_RANK_PAGES);
	for (size_t i = 0; i < CLASSES; i++)
		mutex_init(&classes[i].mu, LOCK_RANK_SLOTS);
#ifndef SANITIZED
	void *p = mmap(NULL, PAGES_RANGE + PAGES_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return;
	pool.begin = (uint8_t *)(((uintptr_t)p + PAGES_CHUNK - 1) & ~(uintptr_t)(PAGES_CHUNK - 1));
	/* Where the kernel has no huge pages, all works with small ones. A core dump need not have what is free. */
	(void)madvise(pool.begin, PAGES_RANGE, MADV_HUGEPAGE);
	atomic_store_explicit(&pages_begin, (uintptr_t)pool.begin, memory_order_relaxed);
#endif
}

static bool is_ready(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, reserve);
	return pool.begin;
}

void *pages_chunk(void)
{
	if (!is_ready())
		return NULL;
	mutex_lock(&pool.mu);
	bool any = true;
	size_t i = 0;
	if (pool.kept_count)
		i = pool.kept[--pool.kept_count];
	else if (pool.bare_count)
		i = pool.bare[--pool.bare_count];
	else if (pool.next < CHUNKS)
		i = pool.next++;
	else
		any = false;
	pool.used += any;
	mutex_unlock(&pool.mu);
	return any ? pool.begin + i * PAGES_CHUNK : NULL;
}

static size_t kept_bound_locked(void)
{
	return pool.used < KEPT_MAX ? pool.used : KEPT_MAX;
}

static void chunk_free(void *p)
{
	uint16_t leaves[2];
	size_t n = 0;
	mutex_lock(&pool.mu);
	pool.used--;
	leaves[n++] = (uint16_t)((size_t)((uint8_t *)p - pool.begin) / PAGES_CHUNK);
	if (pool.kept_count < kept_bound_locked())
		pool.kept[pool.kept_count++] = leaves[--n];
	else if (pool.kept_count > kept_bound_locked())
		leaves[n++] = pool.kept[--pool.kept_count]; /* the bound fell by one at most */
	mutex_unlock(&pool.mu);
	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++)
		(void)madvise(pool.begin + (size_t)leaves[i] * PAGES_CHUNK, PAGES_CHUNK, MADV_DONTNEED);
	mutex_lock(&pool.mu);
	for (size_t i = 0; i < n; i++)
		pool.bare[pool.bare_count++] = leaves[i];
	mutex_unlock(&pool.mu);
}

void pages_counts(struct pages_counts *out)
{
	if (!is_ready()) {
		*out = (struct pages_counts){ 0 };
		return;
	}
	mutex_lock(&pool.mu);
	*out = (struct pages_counts){ pool.used, pool.kept_count };
	mutex_unlock(&pool.mu);
}

/* ---- Slots --------------------------------------------------------------------------------- */

static uint32_t class_of(size_t size)
{
	unsigned log = 63 - (unsigned)__builtin_clzll(size - 1);
	if (log < MIN_LOG)
		return 0;
	return (log - MIN_LOG) * STEPS + (uint32_t)((size - 1) >> (log - STEP_LOG)) - STEPS;
}

static size_t class_size(uint32_t class)
{
	unsigned log = MIN_LOG + class / STEPS;
	return (size_t)(STEPS + class % STEPS + 1) << (log - STEP_LOG);
}

size_t pages_slot_size(size_t size)
{
	return class_size(class_of(size));
}

static uint8_t *end_of(struct chunk *c)
{
	return (uint8_t *)c + PAGES_CHUNK;
}

static bool has_room(struct chunk *c)
{
	return c->free || c->fresh + class_size(c->class) <= end_of(c);
}

static void list_add(struct chunk *c)
{
	struct chunk **head = &classes[c->class].room;
	c->prev = NULL;
	c->next = *head;
	if (c->next)
		c->next->prev = c;
	*head = c;
}

static void list_remove(struct chunk *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		classes[c->class].room = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static struct chunk *chunk_with_slots(uint32_t class)
{
	struct chunk *c = pages_chunk();
	if (c) {
		*c = (struct chunk){ .fresh = (uint8_t *)(c + 1), .class = class };
		list_add(c);
	}
	return c;
}

static void *take(struct chunk *c)
{
	void *p = c->free;
	if (p) {
		c->free = *c->free;
	} else {
		p = c->fresh;
		c->fresh += class_size(c->class);
	}
	c->used++;
	if (!has_room(c))
		list_remove(c);
	return p;
}

void *pages_slot(size_t size)
{
	if (!is_ready())
		return NULL;
	uint32_t class = class_of(size);
	mutex_lock(&classes[class].mu);
	struct chunk *c = classes[class].room ? classes[class].room : chunk_with_slots(class);
	void *p = c ? take(c) : NULL;
	mutex_unlock(&classes[class].mu);
	return p;
}

static void slot_free(struct chunk *c, void *p)
{
	struct mutex *mu = &classes[c->class].mu;
	mutex_lock(mu);
	if (!has_room(c))
		list_add(c);
	*(void **)p = c->free;
	c->free = p;
	bool empty = --c->used == 0;
	if (empty)
		list_remove(c);
	mutex_unlock(mu);
	if (empty)
		chunk_free(c);
}

void pages_free(void *p)
{
	struct chunk *c = (struct chunk *)((uintptr_t)p & ~(uintptr_t)(PAGES_CHUNK - 1));
	if (p == (void *)c)
		chunk_free(p);
	else
		slot_free(c, p);
}
