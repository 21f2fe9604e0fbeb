/* A fast 64-bit hash of bytes; part of the on-disk format (filters), so its values never change. */
#ifndef WOMBAT_BASE_HASH_H
#define WOMBAT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash64(const void *data, size_t size, uint64_t seed);

/* splitmix64's finalizer: spreads an integer. */
static inline uint64_t hash_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

#endif
