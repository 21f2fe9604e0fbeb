/* The seed of a random test: from WOMBAT_SEED, else from the clock; printed, so that a failure can be repeated. */
#ifndef WOMBAT_TESTS_SEED_H
#define WOMBAT_TESTS_SEED_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t test_seed(const char *test)
{
	const char *text = getenv("WOMBAT_SEED");
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)t.tv_sec * 1000003u + (uint64_t)t.tv_nsec;
	printf("%s: WOMBAT_SEED=%" PRIu64 "\n", test, seed);
	fflush(stdout);
	return seed;
}

/* How many steps a long random test takes: WOMBAT_STEPS, else what the test sets. */
static inline unsigned test_steps(unsigned usual)
{
	const char *text = getenv("WOMBAT_STEPS");
	return text ? (unsigned)strtoul(text, NULL, 0) : usual;
}

#endif
