/* Medians, percentiles and skewed keys of the benchmark. */
#include "tests/bench/numbers.h"

#include <stdbool.h>
#include <stdlib.h>

#include "tests/support/check.h"
#include "tests/support/seed.h"

static void test_medians(void **state)
{
	(void)state;
	double one[] = { 7 }, even[] = { 4, 1, 3, 2 }, odd[] = { 5, 1, 9, 3, 7 };
	assert_true(median_of(NULL, 0) == 0 && median_of(one, 1) == 7 && median_of(even, 4) == 2 && median_of(odd, 5) == 5);
	assert_true(odd[0] == 1 && odd[4] == 9); /* it sorts */
}

static void test_percentiles(void **state)
{
	(void)state;
	uint32_t values[1000];
	for (uint32_t i = 0; i < 1000; i++)
		values[i] = (i * 7 + 3) % 1000 + 1; /* 1 to 1000, in another order */
	assert_int_equal(percentile_of(values, 1000, 0.5), 500);
	assert_int_equal(percentile_of(values, 1000, 0.99), 990);
	assert_int_equal(percentile_of(values, 1000, 0.999), 999);
	assert_int_equal(percentile_of(values, 1000, 1), 1000);
	assert_int_equal(percentile_of(values, 1000, 0), 1);
	assert_int_equal(percentile_of(values, 1, 0.999), 1);
	assert_int_equal(percentile_of(NULL, 0, 0.5), 0);
}

/* The k-th number comes 1/k^0.99 as often as the first, within what chance allows. */
static void test_zipf(void **state)
{
	(void)state;
	enum { N = 1000, DRAWS = 400000 };
	static unsigned count[N], scattered[N], uniform[N];
	struct zipf z, u;
	zipf_init(&z, N, 42);
	zipf_init(&u, N, 43);
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t a = zipf_next(&z), b = zipf_scattered(&z), c = uniform_next(&u);
		assert_true(a < N && b < N && c < N);
		count[a]++;
		scattered[b]++;
		uniform[c]++;
	}
	assert_true(count[0] > 1.9 * count[1] && count[0] < 2.1 * count[1]);
	assert_true(count[0] > 7 * count[9] && count[0] < 14 * count[9]);
	unsigned tenth = 0, most = 0, least = DRAWS;
	for (unsigned i = 0; i < N; i++) {
		tenth += i < N / 10 ? count[i] : 0;
		most = scattered[i] > most ? scattered[i] : most;
		least = uniform[i] < least ? uniform[i] : least;
	}
	assert_true(tenth > DRAWS * 0.6 && tenth < DRAWS * 0.8);
	assert_true(most >= count[0] * 0.9); /* as skewed, only elsewhere */
	assert_true(scattered[0] < most);
	assert_true(least > DRAWS / N / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_medians),
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_zipf),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
