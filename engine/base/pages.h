/*
 * Memory in huge pages, for what is large, lives long and is read at random: blocks of the cache and memtables. An access that
 * misses the processor's caches also misses its table of pages, and in a virtual machine each such miss walks two trees of
 * tables; with pages of 2 MiB there are few enough to be known.
 *
 * Any thread may call these. All memory comes from one reserved range of addresses, so that whose an address is shows by itself.
 * Where there is no such range (no room for addresses, strict overcommit, a build with a sanitizer, which would not see
 * what happens in it) all calls say NULL, and the caller takes the heap.
 */
#ifndef WOMBAT_BASE_PAGES_H
#define WOMBAT_BASE_PAGES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAGES_CHUNK = 2 << 20,    /* a huge page of x86-64 and of arm64 with 4 KiB pages */
	PAGES_SLOT_MIN = 2 << 10, /* smaller ones are the heap's */
	PAGES_SLOT_MAX = 64 << 10,
	/* From how large a budget on memory in huge pages is worth what is left free in them: some chunks at a time. */
	PAGES_WORTH = 32 << 20,
};
#define PAGES_RANGE ((uintptr_t)64 << 30)

/* A chunk of PAGES_CHUNK bytes, aligned to its size. NULL: not to be had. */
void *pages_chunk(void);
/* Room for `size` bytes, PAGES_SLOT_MIN to PAGES_SLOT_MAX, aligned to 64. NULL: not to be had. */
void *pages_slot(size_t size);
/* What a slot for so many bytes takes: at most a 32nd more. */
size_t pages_slot_size(size_t size);
/* Of either. */
void pages_free(void *p);

struct pages_counts {
	size_t chunks_used; /* that hold something, or are somebody's as a whole */
	size_t chunks_kept; /* with memory, ready for use */
};
void pages_counts(struct pages_counts *out);

/* Where the range begins; before there is one, beyond all addresses. */
extern _Atomic(uintptr_t) pages_begin;

static inline _Bool pages_own(const void *p)
{
	/* Relaxed: whoever has an address of the range got it from somebody who had seen where it begins. */
	return (uintptr_t)p - atomic_load_explicit(&pages_begin, memory_order_relaxed) < PAGES_RANGE;
}

#endif
