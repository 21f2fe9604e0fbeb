/*
 * A 64-bit hash after the idea of wyhash (Wang Yi): eight bytes at a time, folded by 64x64 -> 128 bit
 * multiplications. Constants and structure are our own; values are part of the format of filters.
 */
#include "engine/base/hash.h"

#include "engine/base/coding.h"

#define SECRET0 UINT64_C(0x9e3779b97f4a7c15)
#define SECRET1 UINT64_C(0xd6e8feb86659fd93)
#define SECRET2 UINT64_C(0xa0761d6478bd642f)

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Up to eight bytes as an integer, the same on every machine. */
static uint64_t tail(const uint8_t *p, size_t size)
{
	if (size >= 4)
		return (uint64_t)get_u32(p) << 32 | get_u32(p + size - 4);
	if (size == 0)
		return 0;
	return (uint64_t)p[0] << 16 | (uint64_t)p[size >> 1] << 8 | p[size - 1];
}

uint64_t hash64(const void *data, size_t size, uint64_t seed)
{
	const uint8_t *p = data;
	uint64_t h = seed ^ fold(seed ^ SECRET0, SECRET1 ^ size);
	size_t left = size;
	for (; left > 16; left -= 16, p += 16)
		h = fold(get_u64(p) ^ SECRET1, get_u64(p + 8) ^ h);
	uint64_t a, b;
	if (left >= 8) {
		a = get_u64(p);
		b = get_u64(p + left - 8);
	} else {
		a = tail(p, left);
		b = 0;
	}
	return fold(SECRET2 ^ size, fold(a ^ SECRET1, b ^ h));
}
