/*
 * Growing an array that is a pointer, a count and a capacity in some struct:
 *
 *     struct item *items = array_reserve(s->items, s->count, &s->capacity, sizeof *items);
 *     if (!items)
 *             return fail_no_memory();
 *     s->items = items;
 */
#ifndef WOMBAT_BASE_ARRAY_H
#define WOMBAT_BASE_ARRAY_H

#include "engine/base/alloc.h"

/* The array with room for one item behind `count`, moved if need be; its capacity doubles then. NULL: out of memory,
 * and all is as it was. */
static inline void *array_reserve(void *items, size_t count, size_t *capacity, size_t item_size)
{
	enum { FIRST = 8 };
	if (count < *capacity)
		return items;
	size_t more = *capacity ? 2 * *capacity : FIRST;
	void *moved = mem_realloc(items, more * item_size);
	if (moved)
		*capacity = more;
	return moved;
}

#endif
