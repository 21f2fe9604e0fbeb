/* xoshiro256** by Blackman and Vigna, seeded by splitmix64 as they advise. */
#include "engine/base/random.h"

#include "engine/base/hash.h"

static uint64_t rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

void random_seed(struct random_state *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = hash_mix(seed += UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t random_next(struct random_state *r)
{
	uint64_t *s = r->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t random_below(struct random_state *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)random_next(r) * n) >> 64);
}
