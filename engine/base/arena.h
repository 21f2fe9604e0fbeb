/*
 * Bump allocator, freed as a whole. One thread allocates at a time; any thread may ask for the size.
 */
#ifndef WOMBAT_BASE_ARENA_H
#define WOMBAT_BASE_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct arena_block;

#define ARENA_HUGE SIZE_MAX

struct arena {
	struct arena_block *blocks; /* newest first */
	uint8_t *next, *end;        /* free room of the newest block */
	size_t block_bytes;         /* what a new block has at least */
	_Bool huge;
	atomic_size_t bytes;        /* all that was taken from the heap */
};

/* `block_bytes`: 0 for the default (256 KiB, growing is not done), ARENA_HUGE for huge pages. */
void arena_init(struct arena *a, size_t block_bytes);
void arena_done(struct arena *a);
/* Aligned to 8 (arena_alloc_aligned: to 64); NULL when out of memory. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_alloc_aligned(struct arena *a, size_t size);
/* Unaligned: for bytes. */
uint8_t *arena_alloc_bytes(struct arena *a, size_t size);
static inline size_t arena_bytes(const struct arena *a)
{
	return atomic_load_explicit(&a->bytes, memory_order_relaxed);
}

#endif
