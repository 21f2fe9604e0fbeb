/* Filters: no false "none", false "perhaps" as often as asked for, at a sensible size, and damage refused. */
#include "engine/table/filter.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"

static struct wombat_slice key_of(uint64_t n, char out[32])
{
	return slice_make(out, (size_t)sprintf(out, "\1user%016llx", (unsigned long long)n));
}

static void build(double false_positive, uint64_t keys, struct buf *out)
{
	struct filter_builder b;
	char text[32];
	filter_builder_init(&b, false_positive);
	for (uint64_t i = 0; i < keys; i++)
		assert_ok(filter_builder_add(&b, filter_hash_key(key_of(i, text))));
	size_t expected = filter_builder_bytes(&b);
	assert_ok(filter_builder_finish(&b, out));
	assert_int_equal(out->size, expected);
	filter_builder_done(&b);
}

/* The end of a whole block, as a reader has it. */
static const char *init(struct filter *f, const struct buf *block)
{
	size_t size = filter_end_size(block->size);
	return filter_init(f, slice_make(block->data + block->size - size, size), block->size);
}

static bool may_contain(const struct filter *f, const struct buf *block, uint64_t hash)
{
	return filter_line_may_contain(f, block->data + (size_t)FILTER_LINE_SIZE * filter_line_of(f->line_count, hash), hash);
}

static double measured_rate(const struct filter *f, const struct buf *block, uint64_t keys)
{
	enum { QUESTIONS = 400000 };
	char text[32];
	uint64_t wrong = 0;
	for (uint64_t i = 0; i < QUESTIONS; i++)
		wrong += may_contain(f, block, filter_hash_key(key_of(keys + i, text)));
	return (double)wrong / QUESTIONS;
}

static void test_rate(void **state)
{
	(void)state;
	static const double rates[] = { 0.1, 0.01, 0.001 };
	static const double plain_bits[] = { 4.8, 9.6, 14.4 }; /* of a Bloom filter without lines */
	enum { KEYS = 100000 };
	for (size_t n = 0; n < 3; n++) {
		struct buf bytes = { 0 };
		struct filter f;
		char text[32];
		build(rates[n], KEYS, &bytes);
		assert_null(init(&f, &bytes));
		for (uint64_t i = 0; i < KEYS; i++)
			assert_true(may_contain(&f, &bytes, filter_hash_key(key_of(i, text))));
		double rate = measured_rate(&f, &bytes, KEYS), bits = (double)bytes.size * 8 / KEYS;
		print_message("asked for %g: %g, %.2f bits a key, %u probes\n", rates[n], rate, bits,
			f.probes);
		assert_true(rate <= rates[n] * 1.2);
		assert_true(rate >= rates[n] * 0.7);
		assert_true(bits <= plain_bits[n] * 1.35);
		buf_done(&bytes);
	}
}

static void test_few_keys(void **state)
{
	(void)state;
	for (uint64_t keys = 1; keys < 100; keys += 7) {
		struct buf bytes = { 0 };
		struct filter f;
		char text[32];
		build(0.01, keys, &bytes);
		assert_null(init(&f, &bytes));
		for (uint64_t i = 0; i < keys; i++)
			assert_true(may_contain(&f, &bytes, filter_hash_key(key_of(i, text))));
		assert_true(measured_rate(&f, &bytes, keys) < 0.05);
		buf_done(&bytes);
	}
}

static void test_plan(void **state)
{
	(void)state;
	unsigned last = 0;
	for (double rate = 0.9; rate > 1e-6; rate /= 2) {
		struct filter_plan plan = filter_plan(rate);
		assert_true(plan.bits_per_key_x100 >= last);
		assert_in_range(plan.probes, 1, 24);
		last = plan.bits_per_key_x100;
	}
	assert_in_range(filter_plan(0.01).bits_per_key_x100, 960, 1200);
}

static void test_keys_and_prefixes_differ(void **state)
{
	(void)state;
	assert_true(filter_hash_key(WOMBAT_STR("\1a/")) != filter_hash_prefix(WOMBAT_STR("\1a/")));
}

/* Bytes on disk: they must never change. */
static void test_golden(void **state)
{
	(void)state;
	static const uint8_t tail[FILTER_TAIL_SIZE] = { 2, 6, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0 };
	struct filter_builder b;
	struct buf bytes = { 0 };
	uint8_t line[FILTER_LINE_SIZE] = { 0 }, end[2 * FILTER_CHECKSUM_SIZE + FILTER_TAIL_SIZE];
	uint32_t h = 0x89abcdef;
	filter_builder_init(&b, 0.01);
	b.plan.probes = 6;
	assert_ok(filter_builder_add(&b, UINT64_C(0x0123456789abcdef)));
	assert_ok(filter_builder_finish(&b, &bytes));
	for (unsigned i = 0; i < 6; i++, h *= UINT32_C(0x9e3779b9))
		line[(h >> 23) / 8] |= (uint8_t)(1 << (h >> 23) % 8);
	put_u32(end, crc32c(0, line, sizeof(line)));
	put_u32(end + 4, crc32c(crc32c(0, end, 4), tail, sizeof(tail)));
	memcpy(end + 8, tail, sizeof(tail));
	assert_int_equal(bytes.size, sizeof(line) + sizeof(end));
	assert_memory_equal(bytes.data, line, sizeof(line));
	assert_memory_equal(bytes.data + sizeof(line), end, sizeof(end));
	filter_builder_done(&b);
	buf_done(&bytes);
}

/* Filters around the sizes at which a page more begins: pages cover all lines once, and each is checked by itself. */
static void test_pages(void **state)
{
	(void)state;
	for (unsigned lines = 1; lines <= 3 * FILTER_PAGE_LINES + 1; lines++) {
		if (lines % FILTER_PAGE_LINES > 2 && lines % FILTER_PAGE_LINES < FILTER_PAGE_LINES - 1)
			continue;
		struct filter_builder b;
		struct filter f;
		struct buf bytes = { 0 };
		filter_builder_init(&b, 0.01);
		b.plan = (struct filter_plan){ FILTER_LINE_SIZE * 8 * 100, 6 }; /* a key a line */
		for (uint64_t i = 0; i < lines; i++)
			assert_ok(filter_builder_add(&b, hash_mix(i)));
		assert_ok(filter_builder_finish(&b, &bytes));
		assert_null(init(&f, &bytes));
		assert_int_equal(f.line_count, lines);
		size_t sum = 0;
		for (uint32_t page = 0; page < filter_page_count(&f); page++) {
			uint8_t *p = bytes.data + (size_t)page * FILTER_PAGE_SIZE;
			assert_true(filter_page_valid(&f, page, p));
			p[filter_page_size(&f, page) - 1] ^= 1;
			assert_false(filter_page_valid(&f, page, p));
			p[filter_page_size(&f, page) - 1] ^= 1;
			sum += filter_page_size(&f, page);
		}
		assert_int_equal(sum, (size_t)lines * FILTER_LINE_SIZE);
		filter_builder_done(&b);
		buf_done(&bytes);
	}
}

static void test_refused(void **state)
{
	(void)state;
	struct buf bytes = { 0 };
	struct filter f;
	build(0.01, 1000, &bytes);
	size_t end_size = filter_end_size(bytes.size);
	uint8_t *tail = bytes.data + bytes.size - FILTER_TAIL_SIZE, *end = bytes.data + bytes.size - end_size;
	assert_non_null(filter_init(&f, slice_make(bytes.data, 5), 5));
	assert_int_equal(f.line_count, 0);
	assert_int_equal(filter_end_size(5), 5);
	assert_non_null(filter_init(&f, slice_make(end, end_size), bytes.size - FILTER_LINE_SIZE));
	assert_non_null(filter_init(&f, slice_make(end + 1, end_size - 1), bytes.size));
	for (size_t i = 0; i < end_size; i++) {
		if (end + i == tail) /* the kind: another one is no damage */
			continue;
		end[i] ^= 4;
		assert_non_null(init(&f, &bytes));
		assert_int_equal(f.line_count, 0);
		end[i] ^= 4;
	}
	assert_null(init(&f, &bytes));
	static const uint8_t impossible_probes[] = { 0, 25, 200 };
	for (size_t i = 0; i < sizeof(impossible_probes); i++) {
		tail[1] = impossible_probes[i];
		size_t checksums = end_size - FILTER_TAIL_SIZE - FILTER_CHECKSUM_SIZE;
		put_u32(tail - 4, crc32c(crc32c(0, end, checksums), tail, FILTER_TAIL_SIZE));
		assert_string_equal(init(&f, &bytes), "impossible number of filter probes");
	}
	static const uint8_t other_kinds[] = { 0, 1, 3, 99 }; /* no filter, which is never wrong */
	for (size_t i = 0; i < sizeof(other_kinds); i++) {
		tail[0] = other_kinds[i];
		assert_null(init(&f, &bytes));
		assert_int_equal(f.line_count, 0);
	}
	buf_done(&bytes);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct filter_builder b;
		struct buf bytes = { 0 };
		filter_builder_init(&b, 0.01);
		scarce_begin(n);
		s = WOMBAT_OK;
		for (uint64_t i = 0; i < 3000 && s == WOMBAT_OK; i++)
			s = filter_builder_add(&b, i << 32);
		if (s == WOMBAT_OK)
			s = filter_builder_finish(&b, &bytes);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		filter_builder_done(&b);
		buf_done(&bytes);
	}
	assert_true(n >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_few_keys),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_keys_and_prefixes_differ),
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
