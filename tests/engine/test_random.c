/* The generator: published outputs, repeatability, and the bounds of random_below. */
#include "engine/base/random.h"

#include <string.h>

#include "tests/support/check.h"
#include "tests/support/seed.h"

/* Of the authors' xoshiro256starstar.c, from the state 1, 2, 3, 4. */
static void test_published_sequence(void **state)
{
	(void)state;
	static const uint64_t want[] = {
		UINT64_C(11520), UINT64_C(0), UINT64_C(1509978240), UINT64_C(1215971899390074240),
		UINT64_C(1216172134540287360), UINT64_C(607988272756665600), UINT64_C(16172922978634559625),
		UINT64_C(8476171486693032832), UINT64_C(10595114339597558777), UINT64_C(2904607092377533576),
	};
	struct random_state r = { { 1, 2, 3, 4 } };
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_true(random_next(&r) == want[i]);
}

/* The state is filled by splitmix64, as its authors advise: its published outputs for the seed 1234567. */
static void test_published_seeding(void **state)
{
	(void)state;
	static const uint64_t want[4] = {
		UINT64_C(6457827717110365317), UINT64_C(3203168211198807973), UINT64_C(9817491932198370423),
		UINT64_C(4593380528125082431),
	};
	struct random_state r;
	random_seed(&r, 1234567);
	assert_memory_equal(r.s, want, sizeof want);
}

static void test_seeds(void **state)
{
	(void)state;
	static const uint64_t seeds[] = { 0, 1, 2, UINT64_MAX, UINT64_C(1) << 63 };
	uint64_t first[5];
	for (size_t i = 0; i < 5; i++) {
		struct random_state a, b;
		random_seed(&a, seeds[i]);
		random_seed(&b, seeds[i]);
		assert_true(a.s[0] | a.s[1] | a.s[2] | a.s[3]); /* all zeroes would stay so for ever */
		first[i] = random_next(&a);
		assert_true(random_next(&b) == first[i]);
		for (int k = 0; k < 100; k++)
			assert_true(random_next(&a) == random_next(&b));
		for (size_t k = 0; k < i; k++)
			assert_true(first[k] != first[i]);
	}
}

static void test_below(void **state)
{
	(void)state;
	enum { DRAWS = 20000 };
	static const uint64_t bounds[] = { 1, 2, 3, 10, 64 };
	struct random_state r;
	random_seed(&r, test_seed("below"));
	for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++) {
		unsigned seen[64] = { 0 };
		for (int i = 0; i < DRAWS; i++) {
			uint64_t v = random_below(&r, bounds[b]);
			assert_true(v < bounds[b]);
			seen[v]++;
		}
		/* Evenly: of 64 values each is expected 312 times, and is off by half only if something is wrong. */
		for (uint64_t v = 0; v < bounds[b]; v++)
			assert_true(seen[v] * bounds[b] * 2 > DRAWS && seen[v] * bounds[b] < 2 * DRAWS);
	}
	for (int i = 0; i < 1000; i++) {
		assert_true(random_below(&r, UINT64_MAX) < UINT64_MAX);
		assert_true(random_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
	}
}

/* Each of the 64 bits is set in about half of the outputs. */
static void test_bits(void **state)
{
	(void)state;
	enum { DRAWS = 10000 };
	struct random_state r;
	unsigned ones[64] = { 0 };
	random_seed(&r, test_seed("bits"));
	for (int i = 0; i < DRAWS; i++) {
		uint64_t v = random_next(&r);
		for (int bit = 0; bit < 64; bit++)
			ones[bit] += v >> bit & 1;
	}
	for (int bit = 0; bit < 64; bit++)
		assert_true(ones[bit] > DRAWS * 45 / 100 && ones[bit] < DRAWS * 55 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_sequence),
		cmocka_unit_test(test_published_seeding),
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_below),
		cmocka_unit_test(test_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
