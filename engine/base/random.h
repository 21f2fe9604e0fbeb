/* A small seedable generator (xoshiro256**, Blackman and Vigna 2018), for tests, benchmarks, sampling. */
#ifndef WOMBAT_BASE_RANDOM_H
#define WOMBAT_BASE_RANDOM_H

#include <stdint.h>

struct random_state {
	uint64_t s[4];
};

void random_seed(struct random_state *r, uint64_t seed);
uint64_t random_next(struct random_state *r);
uint64_t random_below(struct random_state *r, uint64_t n); /* 0 .. n-1; n > 0 */

#endif
