/* Log-linear buckets: the power of two and the next four bits of a value choose its bucket. */
#include "engine/base/histogram.h"

static unsigned bucket_of(uint64_t value)
{
	if (value < 1u << HISTOGRAM_STEP_BITS)
		return (unsigned)value;
	unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
	return ((shift + 1) << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift) - (1u << HISTOGRAM_STEP_BITS);
}

/* The largest value of a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
	unsigned step = bucket >> HISTOGRAM_STEP_BITS;
	if (step == 0)
		return bucket;
	uint64_t base = (bucket & ((1u << HISTOGRAM_STEP_BITS) - 1)) + (UINT64_C(1) << HISTOGRAM_STEP_BITS);
	return ((base + 1) << (step - 1)) - 1;
}

/* All accesses are relaxed: a figure that nothing is ordered by. */
void histogram_clear(struct histogram *h)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		atomic_store_explicit(&h->bucket[i], 0, memory_order_relaxed);
	atomic_store_explicit(&h->max, 0, memory_order_relaxed);
}

void histogram_since(const struct histogram *h, const struct histogram *base, struct histogram *out)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
		if (base)
			n -= atomic_load_explicit(&base->bucket[i], memory_order_relaxed);
		atomic_store_explicit(&out->bucket[i], n, memory_order_relaxed);
	}
	atomic_store_explicit(&out->max, atomic_load_explicit(&h->max, memory_order_relaxed), memory_order_relaxed);
}

void histogram_add(struct histogram *h, uint64_t value, uint64_t weight)
{
	atomic_fetch_add_explicit(&h->bucket[bucket_of(value)], weight, memory_order_relaxed);
	uint_fast64_t max = atomic_load_explicit(&h->max, memory_order_relaxed);
	while (value > max && !atomic_compare_exchange_weak_explicit(&h->max, &max, value, memory_order_relaxed,
								     memory_order_relaxed))
		;
}

uint64_t histogram_count(const struct histogram *h)
{
	uint64_t count = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
	return count;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t count = histogram_count(h), max = atomic_load_explicit(&h->max, memory_order_relaxed), seen = 0;
	double want = q * (double)count;
	if (count == 0)
		return 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
		seen += n;
		if (n && (double)seen >= want)
			return bucket_top(i) < max ? bucket_top(i) : max;
	}
	return max;
}
