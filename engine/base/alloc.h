/*
 * The engine's allocator calls, so that a test can fail the Nth. Memory from here goes to mem_free()
 * (what the library gives to callers, to plain free(): the two are the same heap).
 */
#ifndef WOMBAT_BASE_ALLOC_H
#define WOMBAT_BASE_ALLOC_H

#include <stddef.h>

/* NULL when out of memory. A size of 0 gives a unique pointer. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t size);
void mem_free(void *p); /* NULL is fine */
/* Aligned to a cache line (64 bytes); for mem_free. */
void *mem_alloc_aligned(size_t size);
/*
 * The same, in huge pages where they are to be had (base/pages.h): for what lives long and is read at random, when there is so
 * much of it that some MiB more do not matter. Sizes of PAGES_SLOT_MIN to PAGES_SLOT_MAX, and PAGES_CHUNK; others are the heap's.
 */
void *mem_alloc_huge(size_t size);

/* Tests: called before each allocation with its size, by any thread; false makes that allocation fail. NULL: off.
 * Atomic, since a test may set it while threads of a database run. */
extern _Bool (*_Atomic mem_test_hook)(size_t size);

#endif
