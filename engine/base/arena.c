/*
 * Bump allocator. Blocks form a list, newest first; what does not fit a block well gets one of its own, behind
 * the first, so that the rest of the current block is not lost.
 */
#include "engine/base/arena.h"

#include "engine/base/alloc.h"
#include "engine/base/pages.h"

enum { ARENA_BLOCK = 256 << 10 };

struct arena_block {
	struct arena_block *next;
	_Alignas(64) uint8_t bytes[];
};

void arena_init(struct arena *a, size_t block_bytes)
{
	a->blocks = NULL;
	a->next = a->end = NULL;
	a->huge = block_bytes == ARENA_HUGE;
	a->block_bytes = a->huge ? PAGES_CHUNK - sizeof(struct arena_block) : block_bytes ? block_bytes : ARENA_BLOCK;
	atomic_init(&a->bytes, 0);
}

void arena_done(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *next = a->blocks->next;
		mem_free(a->blocks);
		a->blocks = next;
	}
	arena_init(a, a->huge ? ARENA_HUGE : a->block_bytes);
}

/* A block begins on a cache line: aligned enough for all. */
static uint8_t *new_block(struct arena *a, size_t size)
{
	if (size > PTRDIFF_MAX - sizeof(struct arena_block))
		return NULL;
	_Bool own = size > a->block_bytes / 4;
	size_t bytes = own ? size : a->block_bytes;
	struct arena_block *b = a->huge && !own ? mem_alloc_huge(sizeof *b + bytes) : mem_alloc_aligned(sizeof *b + bytes);
	if (!b)
		return NULL;
	/* Relaxed: a figure; one thread adds. */
	atomic_fetch_add_explicit(&a->bytes, sizeof *b + bytes, memory_order_relaxed);
	if (own && a->blocks) {
		b->next = a->blocks->next;
		a->blocks->next = b;
		return b->bytes;
	}
	b->next = a->blocks;
	a->blocks = b;
	a->next = b->bytes + size;
	a->end = b->bytes + bytes;
	return b->bytes;
}

static void *alloc(struct arena *a, size_t size, size_t align)
{
	size_t pad = (size_t)(-(uintptr_t)a->next) & (align - 1);
	size_t room = (size_t)(a->end - a->next);
	if (a->next && pad <= room && size <= room - pad) {
		uint8_t *p = a->next + pad;
		a->next = p + size;
		return p;
	}
	return new_block(a, size);
}

void *arena_alloc(struct arena *a, size_t size)
{
	return alloc(a, size, 8);
}

void *arena_alloc_aligned(struct arena *a, size_t size)
{
	return alloc(a, size, 64);
}

uint8_t *arena_alloc_bytes(struct arena *a, size_t size)
{
	return alloc(a, size, 1);
}
