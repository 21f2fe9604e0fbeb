/* What a benchmark makes of its measurements, and the keys that skewed workloads ask for. */
#ifndef BENCH_NUMBERS_H
#define BENCH_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

uint64_t mix64(uint64_t x);

/* Sorts the values; the middle one, of an even number the lower of the two. */
double median_of(double *values, size_t count);
/* Sorts the values; the least that at least `share` of them do not exceed. 0 of none. */
uint32_t percentile_of(uint32_t *values, size_t count, double share);

/*
 * Zipf-distributed numbers below n, 0 the most frequent (J. Gray et al., "Quickly Generating Billion-Record Synthetic
 * Databases", 1994), as YCSB has them, exponent 0.99.
 */
struct zipf {
	uint64_t n, state;
	double zeta, eta, alpha, half_power;
};
void zipf_init(struct zipf *z, uint64_t n, uint64_t seed);
uint64_t zipf_next(struct zipf *z);
/* The same, its frequent numbers scattered over all. */
uint64_t zipf_scattered(struct zipf *z);
/* Below n, all alike. */
uint64_t uniform_next(struct zipf *z);

#endif
