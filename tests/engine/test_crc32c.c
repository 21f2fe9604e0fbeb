/*
 * CRC-32C: published values, and the processor's, the portable and a bit-by-bit one compared over all lengths,
 * alignments and cuts that the fast paths tell apart.
 */
#include "engine/base/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static uint32_t (*const functions[])(uint32_t crc, const void *data, size_t size) = { crc32c, crc32c_portable };

/* By definition: one bit at a time, reflected polynomial 0x1EDC6F41. */
static uint32_t by_bits(uint32_t crc, const uint8_t *p, size_t size)
{
	crc = ~crc;
	for (; size; size--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* RFC 3720, B.4, and the usual check value. */
static void test_published_values(void **state)
{
	(void)state;
	static const uint8_t read_command[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
		0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
	};
	uint8_t bytes[4][32];
	memset(bytes[0], 0, 32);
	memset(bytes[1], 0xff, 32);
	for (int i = 0; i < 32; i++) {
		bytes[2][i] = (uint8_t)i;
		bytes[3][i] = (uint8_t)(31 - i);
	}
	for (int f = 0; f < 2; f++) {
		assert_int_equal(functions[f](0, "123456789", 9), 0xe3069283);
		assert_int_equal(functions[f](0, bytes[0], 32), 0x8a9136aa);
		assert_int_equal(functions[f](0, bytes[1], 32), 0x62a8ab43);
		assert_int_equal(functions[f](0, bytes[2], 32), 0x46dd794e);
		assert_int_equal(functions[f](0, bytes[3], 32), 0x113fdb5c);
		assert_int_equal(functions[f](0, read_command, 48), 0xd9963a56);
		assert_int_equal(functions[f](0, NULL, 0), 0);
		assert_int_equal(functions[f](0x12345678, NULL, 0), 0x12345678);
	}
}

enum { SIZE = 3 * 3 * 1024 + 100 };

static void fill(uint8_t *bytes, struct random_state *r)
{
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)random_next(r);
}

static void test_lengths(void **state)
{
	(void)state;
	struct random_state r;
	static uint8_t bytes[SIZE];
	random_seed(&r, test_seed("lengths"));
	fill(bytes, &r);
	uint32_t want = 0;
	for (size_t n = 0; n <= SIZE; n++) { /* every length: the value grows by a byte each time */
		if (n)
			want = by_bits(want, bytes + n - 1, 1);
		assert_int_equal(crc32c(0, bytes, n), want);
		if (n % 7 == 0 || n < 200)
			assert_int_equal(crc32c_portable(0, bytes, n), want);
	}
}

static void test_alignments_and_cuts(void **state)
{
	(void)state;
	struct random_state r;
	static uint8_t bytes[SIZE];
	static const size_t sizes[] = { 1, 8, 100, 3071, 3072, 3073, 6143, 6144, 6151, 9216 };
	random_seed(&r, test_seed("cuts"));
	fill(bytes, &r);
	for (size_t at = 0; at < 16; at++)
		for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
			uint32_t start = (uint32_t)random_next(&r), want = by_bits(start, bytes + at, sizes[s]);
			size_t cut = random_below(&r, sizes[s] + 1);
			for (int f = 0; f < 2; f++) {
				assert_int_equal(functions[f](start, bytes + at, sizes[s]), want);
				/* In two parts, either by either. */
				uint32_t part = functions[f](start, bytes + at, cut);
				for (int g = 0; g < 2; g++)
					assert_int_equal(functions[g](part, bytes + at + cut, sizes[s] - cut), want);
			}
		}
}

/* The bytes end where the heap's block ends: a read beyond is seen by the address sanitizer. */
static void test_reads_no_further(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 7, 8, 9, 3071, 3072, 3075 };
	for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
		uint8_t *bytes = malloc(sizes[s] + !sizes[s]);
		memset(bytes, 0x5a, sizes[s] + !sizes[s]);
		assert_int_equal(crc32c(0, bytes, sizes[s]), by_bits(0, bytes, sizes[s]));
		assert_int_equal(crc32c_portable(0, bytes, sizes[s]), by_bits(0, bytes, sizes[s]));
		free(bytes);
	}
}

/* What it is for: no error of one, two or three bits in a block goes unseen. */
static void test_flipped_bits(void **state)
{
	(void)state;
	struct random_state r;
	static uint8_t bytes[SIZE];
	random_seed(&r, test_seed("flips"));
	fill(bytes, &r);
	uint32_t want = crc32c(0, bytes, 4096);
	for (int i = 0; i < 3000; i++) {
		size_t bits[3] = { random_below(&r, 4096 * 8) };
		do
			bits[1] = random_below(&r, 4096 * 8);
		while (bits[1] == bits[0]);
		do
			bits[2] = random_below(&r, 4096 * 8);
		while (bits[2] == bits[0] || bits[2] == bits[1]);
		size_t flips = 1 + (size_t)(i % 3);
		for (size_t k = 0; k < flips; k++)
			bytes[bits[k] / 8] ^= (uint8_t)(1u << bits[k] % 8);
		assert_int_not_equal(crc32c(0, bytes, 4096), want);
		for (size_t k = 0; k < flips; k++)
			bytes[bits[k] / 8] ^= (uint8_t)(1u << bits[k] % 8);
	}
	assert_int_equal(crc32c(0, bytes, 4096), want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_values),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_alignments_and_cuts),
		cmocka_unit_test(test_reads_no_further),
		cmocka_unit_test(test_flipped_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
