/* The heap, with a hook before each allocation. */
#include "engine/base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/pages.h"

_Bool (*_Atomic mem_test_hook)(size_t size);

static _Bool allowed(size_t size)
{
	_Bool (*hook)(size_t) = atomic_load_explicit(&mem_test_hook, memory_order_relaxed);
	return !hook || hook(size);
}

void *mem_alloc(size_t size)
{
	return allowed(size) ? malloc(size ? size : 1) : NULL;
}

void *mem_zalloc(size_t size)
{
	/* What the C library keeps for a thread to reuse at once, its calloc does not give out. */
	enum { REUSED_MAX = 1024 };
	if (size > REUSED_MAX)
		return allowed(size) ? calloc(1, size) : NULL;
	void *p = mem_alloc(size);
	return p ? memset(p, 0, size) : NULL;
}

void *mem_realloc(void *p, size_t size)
{
	return allowed(size) ? realloc(p, size ? size : 1) : NULL;
}

void mem_free(void *p)
{
	if (__builtin_expect(pages_own(p), 0))
		pages_free(p);
	else
		free(p);
}

void *mem_alloc_aligned(size_t size)
{
	if (size > SIZE_MAX - 63)
		return NULL;
	size_t rounded = (size + 63) & ~(size_t)63;
	return allowed(size) ? aligned_alloc(64, rounded ? rounded : 64) : NULL;
}

void *mem_alloc_huge(size_t size)
{
	if (!allowed(size))
		return NULL;
	void *p = NULL;
	if (size == PAGES_CHUNK)
		p = pages_chunk();
	else if (size >= PAGES_SLOT_MIN && size <= PAGES_SLOT_MAX)
		p = pages_slot(size);
	return p ? p : aligned_alloc(64, (size + 63) & ~(size_t)63);
}
