/* How much two byte strings have in common, eight bytes at a time: the inner loop of building and seeking. */
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

#endif
