/*
 * Memory that ends: from scarce_begin(n) on the calling thread gets n more allocations and then none, until scarce_end().
 * Other threads are not concerned.
 */
#ifndef WOMBAT_TESTS_SCARCE_H
#define WOMBAT_TESTS_SCARCE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/alloc.h"

static _Thread_local bool scarce_here;
static _Thread_local unsigned scarce_left;

static _Bool scarce_allow(size_t size)
{
	(void)size;
	return !scarce_here || (scarce_left > 0 && scarce_left-- > 0);
}

static inline void scarce_begin(unsigned n)
{
	scarce_left = n;
	scarce_here = true;
	mem_test_hook = scarce_allow;
}

static inline void scarce_end(void)
{
	mem_test_hook = NULL;
	scarce_here = false;
}

#endif
