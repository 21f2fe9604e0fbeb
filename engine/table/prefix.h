/*
 * Byte strings eight bytes at a time: the inner loops of building and seeking.
 *
 * A fence is the first 8 bytes of a string as an integer, zeros where it is shorter. Different fences are
 * ordered as their strings are; equal ones say nothing.
 */
#ifndef WOMBAT_TABLE_PREFIX_H
#define WOMBAT_TABLE_PREFIX_H

#include "engine/base/coding.h"

static inline size_t prefix_common(const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		uint64_t difference = get_u64(a + i) ^ get_u64(b + i);
		if (difference)
			return i + (size_t)(__builtin_ctzll(difference) >> 3);
	}
	while (i < n && a[i] == b[i])
		i++;
	return i;
}

static inline uint64_t prefix_fence(const uint8_t *p, size_t size)
{
	if (size >= 8)
		return get_be64(p);
	uint64_t fence = 0;
	for (size_t i = 0; i < size; i++)
		fence |= (uint64_t)p[i] << (56 - 8 * i);
	return fence;
}

#endif
