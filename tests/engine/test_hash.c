/*
 * The hash: its values, which filters on disk depend on and which therefore never change, and that it spreads.
 */
#include "engine/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

/* Of the first `size` bytes of 11, 48, 85, ... (each 37 more, modulo 256), with two seeds. */
static const struct {
	size_t size;
	uint64_t seed_0, seed_1; /* 0, and 0x1234567890abcdef */
} golden[] = {
	{ 0, UINT64_C(0x818f9d87cd617846), UINT64_C(0xefbf27a685d27983) },
	{ 1, UINT64_C(0x6fb9f33ecd9439a2), UINT64_C(0xb2511c1af5f03ebe) },
	{ 2, UINT64_C(0x061a4edff9a20815), UINT64_C(0x7188ab121760c0af) },
	{ 3, UINT64_C(0xcc49ecf69d4763ec), UINT64_C(0xf5f785f98e01fb0c) },
	{ 4, UINT64_C(0x27e8ae990b30791b), UINT64_C(0xfa78fe1f60a2e3b7) },
	{ 5, UINT64_C(0x26e4eefaa9222b80), UINT64_C(0x05f5b24cb7256fc6) },
	{ 7, UINT64_C(0x63f5ef530c3b8dc6), UINT64_C(0x9f637eaf430efb34) },
	{ 8, UINT64_C(0x16db30d8608b91b4), UINT64_C(0x6a9f0229cdfec547) },
	{ 9, UINT64_C(0x932937551e571be9), UINT64_C(0x5407091fe0b53727) },
	{ 15, UINT64_C(0x11d6e0825ae828f9), UINT64_C(0xe19ff94490ebe77b) },
	{ 16, UINT64_C(0xe56e366963836b35), UINT64_C(0x11deb6816e16f09d) },
	{ 17, UINT64_C(0x2faca8722f1428a2), UINT64_C(0xe163423eb0c8e7f8) },
	{ 24, UINT64_C(0x4c1b6a14a3fbbab0), UINT64_C(0xbedeec734dece146) },
	{ 31, UINT64_C(0xaf6ec2c8085d8965), UINT64_C(0x8509dba4a1f6f6fc) },
	{ 32, UINT64_C(0xb06b03d21f490411), UINT64_C(0xab3a669d4d898d45) },
	{ 33, UINT64_C(0xb6e0e8e490c76fae), UINT64_C(0x2d9888aa6ef919ff) },
	{ 64, UINT64_C(0x0a612020e461b77e), UINT64_C(0xc77b38f94cb4d127) },
	{ 100, UINT64_C(0xcb31832ddce64830), UINT64_C(0x6460232f842f0d82) },
	{ 200, UINT64_C(0x6d2b918dc0385ef4), UINT64_C(0xbcf306ef1ce03077) },
};
enum { SIZE = 200 };

static void test_golden_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
		size_t size = golden[i].size;
		/* At the end of its block, and unaligned: a read beyond is seen by the address sanitizer. */
		uint8_t *block = malloc(size + 3), *bytes = block + 3;
		for (size_t k = 0; k < size; k++)
			bytes[k] = (uint8_t)(k * 37 + 11);
		assert_true(hash64(bytes, size, 0) == golden[i].seed_0);
		assert_true(hash64(bytes, size, UINT64_C(0x1234567890abcdef)) == golden[i].seed_1);
		free(block);
	}
	assert_true(hash64(NULL, 0, 0) == golden[0].seed_0);
}

/* splitmix64's published outputs for the seed 1234567. */
static void test_mix(void **state)
{
	(void)state;
	static const uint64_t want[] = { UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
		UINT64_C(9817491932198370423), UINT64_C(4593380528125082431), UINT64_C(16408922859458223821) };
	uint64_t x = 1234567;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_true(hash_mix(x += UINT64_C(0x9e3779b97f4a7c15)) == want[i]);
	assert_int_equal(hash_mix(0), 0);
}

/* Of any length, one flipped bit, of the bytes or of the seed, changes about half of the hash. */
static void test_flipped_bits(void **state)
{
	(void)state;
	struct random_state r;
	uint8_t bytes[SIZE];
	random_seed(&r, test_seed("flips"));
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)random_next(&r);
	for (size_t size = 1; size <= SIZE; size++) {
		uint64_t seed = random_next(&r), h = hash64(bytes, size, seed);
		unsigned flips = 0, changed = 0;
		for (size_t bit = 0; bit < 8 * size; bit += 1 + size / 8, flips++) {
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			uint64_t other = hash64(bytes, size, seed);
			assert_true(other != h);
			changed += (unsigned)__builtin_popcountll(other ^ h);
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (unsigned bit = 0; bit < 64; bit++, flips++) {
			uint64_t other = hash64(bytes, size, seed ^ UINT64_C(1) << bit);
			assert_true(other != h);
			changed += (unsigned)__builtin_popcountll(other ^ h);
		}
		assert_true(changed > flips * 26 && changed < flips * 38);
	}
}

/* A prefix is another key, and so is what zeroes are appended to. */
static void test_lengths(void **state)
{
	(void)state;
	static const uint8_t zeroes[SIZE];
	uint64_t seen[SIZE + 1];
	for (size_t size = 0; size <= SIZE; size++) {
		seen[size] = hash64(zeroes, size, 0);
		for (size_t k = 0; k < size; k++)
			assert_true(seen[k] != seen[size]);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Keys as they come: numbered paths. No two are equal, and both halves of the hash fill their ranges evenly. */
static void test_numbered_keys(void **state)
{
	(void)state;
	enum { KEYS = 50000, BINS = 64 };
	uint64_t *hashes = malloc(KEYS * sizeof *hashes);
	unsigned high[BINS] = { 0 }, low[BINS] = { 0 };
	for (unsigned i = 0; i < KEYS; i++) {
		char key[64];
		int n = snprintf(key, sizeof key, "\1/dir%u/file%07u", i % 10, i);
		hashes[i] = hash64(key, (size_t)n, 0);
		high[hashes[i] >> 58]++;
		low[hashes[i] % BINS]++;
	}
	qsort(hashes, KEYS, sizeof *hashes, compare);
	for (unsigned i = 1; i < KEYS; i++)
		assert_true(hashes[i - 1] != hashes[i]);
	for (unsigned i = 0; i < BINS; i++) {
		assert_true(high[i] > KEYS / BINS * 3 / 4 && high[i] < KEYS / BINS * 5 / 4);
		assert_true(low[i] > KEYS / BINS * 3 / 4 && low[i] < KEYS / BINS * 5 / 4);
	}
	free(hashes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_values),
		cmocka_unit_test(test_mix),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_numbered_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
