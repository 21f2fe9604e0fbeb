/*
 * Histograms against sorted arrays: a quantile is never below the true one, and above it by at most a sixteenth.
 */
#include "engine/base/histogram.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static const double quantiles[] = { 0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1 };
enum { QUANTILES = sizeof quantiles / sizeof quantiles[0] };

/* The least value that the fraction q of the values does not exceed. */
static uint64_t quantile_of(const uint64_t *sorted, size_t count, double q)
{
	size_t at = 0;
	while ((double)(at + 1) < q * (double)count)
		at++;
	return sorted[at];
}

static void assert_near(uint64_t got, uint64_t want)
{
	if (got < want || got - want > want / 16)
		fail_msg("%llu instead of %llu", (unsigned long long)got, (unsigned long long)want);
}

static void check(struct histogram *h, uint64_t *values, size_t count)
{
	uint64_t last = 0;
	qsort(values, count, sizeof *values, compare);
	assert_int_equal(histogram_count(h), count);
	for (size_t i = 0; i < QUANTILES; i++) {
		uint64_t got = histogram_quantile(h, quantiles[i]);
		assert_near(got, quantile_of(values, count, quantiles[i]));
		assert_true(got >= last && got <= values[count - 1]);
		last = got;
	}
	assert_true(last == values[count - 1]); /* the greatest is known exactly */
}

static void test_empty(void **state)
{
	(void)state;
	static struct histogram h;
	for (int round = 0; round < 2; round++) {
		assert_int_equal(histogram_count(&h), 0);
		for (size_t i = 0; i < QUANTILES; i++)
			assert_int_equal(histogram_quantile(&h, quantiles[i]), 0);
		histogram_add(&h, 12345, 3);
		assert_int_equal(histogram_count(&h), 3);
		histogram_clear(&h);
	}
}

/* Alone, a value is known exactly, whatever its size. */
static void test_single_values(void **state)
{
	(void)state;
	static struct histogram h;
	for (unsigned bits = 0; bits <= 64; bits++)
		for (int d = -1; d <= 1; d++) {
			uint64_t value = (bits < 64 ? UINT64_C(1) << bits : 0) + (uint64_t)(int64_t)d;
			histogram_clear(&h);
			histogram_add(&h, value, 1);
			for (size_t i = 0; i < QUANTILES; i++)
				assert_true(histogram_quantile(&h, quantiles[i]) == value);
		}
}

/* Two neighbours around each bound: the lower one is not mistaken for the upper by more than a sixteenth. */
static void test_every_bucket(void **state)
{
	(void)state;
	static struct histogram h;
	for (unsigned bits = 0; bits < 64; bits++)
		for (uint64_t step = 0; step < 16; step++) {
			uint64_t value = bits < 4 ? step : (16 + step) << (bits - 4);
			histogram_clear(&h);
			histogram_add(&h, value, 1);
			histogram_add(&h, UINT64_MAX, 1);
			assert_near(histogram_quantile(&h, 0.5), value);
			assert_true(histogram_quantile(&h, 1) == UINT64_MAX);
			histogram_clear(&h);
			histogram_add(&h, value - (value > 0), 1);
			histogram_add(&h, UINT64_MAX, 1);
			assert_near(histogram_quantile(&h, 0.5), value - (value > 0));
		}
}

static void test_small_values_are_exact(void **state)
{
	(void)state;
	static struct histogram h;
	for (uint64_t v = 0; v < 32; v++)
		histogram_add(&h, v, 1);
	for (uint64_t v = 0; v < 32; v++)
		assert_int_equal(histogram_quantile(&h, (double)(v + 1) / 32), v);
}

static void test_against_sorted_arrays(void **state)
{
	(void)state;
	enum { COUNT_MAX = 20000 };
	static const size_t counts[] = { 1, 2, 3, 10, 999, COUNT_MAX };
	static struct histogram h;
	uint64_t *values = malloc(COUNT_MAX * sizeof *values);
	struct random_state r;
	random_seed(&r, test_seed("sorted arrays"));
	for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
		for (int shape = 0; shape < 4; shape++) {
			histogram_clear(&h);
			for (size_t i = 0; i < counts[c]; i++) {
				values[i] = shape == 0 ? random_below(&r, 50) :
					    shape == 1 ? 100000 + random_below(&r, 1000) :
					    shape == 2 ? random_next(&r) >> random_below(&r, 64) :
					    random_below(&r, 100) ? 1000 : UINT64_C(1) << 40; /* rare outliers */
				histogram_add(&h, values[i], 1);
			}
			check(&h, values, counts[c]);
		}
	free(values);
}

/* A sample of weight n stands for n samples. */
static void test_weights(void **state)
{
	(void)state;
	enum { COUNT = 300 };
	static struct histogram weighted, single;
	struct random_state r;
	random_seed(&r, test_seed("weights"));
	for (int i = 0; i < COUNT; i++) {
		uint64_t value = random_below(&r, 1000000), weight = 1 + random_below(&r, 20);
		histogram_add(&weighted, value, weight);
		for (uint64_t k = 0; k < weight; k++)
			histogram_add(&single, value, 1);
	}
	assert_int_equal(histogram_count(&weighted), histogram_count(&single));
	for (size_t i = 0; i < QUANTILES; i++)
		assert_true(histogram_quantile(&weighted, quantiles[i]) == histogram_quantile(&single, quantiles[i]));
}

/* ---- Threads ------------------------------------------------------------------------------- */

enum { THREADS = 4, ADDS = 20000 };
static struct histogram shared;

static void *add_many(void *arg)
{
	uint64_t from = *(const unsigned *)arg;
	for (uint64_t i = 0; i < ADDS; i++)
		histogram_add(&shared, from + i * THREADS, 1);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];
	uint64_t *values = malloc(THREADS * ADDS * sizeof *values), last = 0;
	histogram_clear(&shared);
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &numbers[i]), 0);
	}
	for (int i = 0; i < 20; i++) { /* readable meanwhile; nothing that was counted goes away */
		uint64_t count = histogram_count(&shared);
		assert_true(count >= last && count <= THREADS * ADDS);
		assert_true(histogram_quantile(&shared, 0.5) < THREADS * ADDS);
		last = count;
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t i = 0; i < THREADS * ADDS; i++)
		values[i] = i;
	check(&shared, values, THREADS * ADDS);
	free(values);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_single_values),
		cmocka_unit_test(test_every_bucket),
		cmocka_unit_test(test_small_values_are_exact),
		cmocka_unit_test(test_against_sorted_arrays),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
