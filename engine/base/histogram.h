/*
 * Distribution of a latency or size: 16 linear steps per power of two (within 6.25 %), 64-bit range.
 * Adding is a relaxed atomic increment, from any thread; reading sums what is there.
 */
#ifndef WOMBAT_BASE_HISTOGRAM_H
#define WOMBAT_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_STEP_BITS = 4, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS };

struct histogram {
	atomic_uint_fast64_t bucket[HISTOGRAM_BUCKETS];
	atomic_uint_fast64_t max;
};

void histogram_clear(struct histogram *h);
/* What `h` has more than `base`, which is a former state of it. The maximum is h's. `base` NULL: a copy. */
void histogram_since(const struct histogram *h, const struct histogram *base, struct histogram *out);
/* `weight`: how many samples this one stands for. */
void histogram_add(struct histogram *h, uint64_t value, uint64_t weight);
uint64_t histogram_count(const struct histogram *h);
/* The value that the fraction `q` (0..1) of samples does not exceed; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
