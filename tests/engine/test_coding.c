/* Integers as bytes: known encodings, round trips, and every way in which bytes can end or go on too long. */
#include "engine/base/coding.h"

#include <stdlib.h>

#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

/* A cursor over bytes that end where their block of the heap ends. */
struct exact {
	uint8_t *bytes;
	struct cursor c;
};

static struct exact exact_of(const void *bytes, size_t size)
{
	struct exact e = { .bytes = malloc(size + !size) };
	if (size)
		memcpy(e.bytes, bytes, size);
	e.c = cursor_of(slice_make(e.bytes, size));
	return e;
}

static void test_fixed_width(void **state)
{
	(void)state;
	uint8_t b[9] = { 0 };
	put_u32(b + 1, 0x01020304); /* unaligned, least significant first */
	assert_memory_equal(b + 1, "\4\3\2\1", 4);
	assert_int_equal(get_u32(b + 1), 0x01020304);
	put_u64(b + 1, UINT64_C(0x0102030405060708));
	assert_memory_equal(b + 1, "\x8\7\6\5\4\3\2\1", 8);
	assert_true(get_u64(b + 1) == UINT64_C(0x0102030405060708));
	put_be64(b + 1, UINT64_C(0x0102030405060708));
	assert_memory_equal(b + 1, "\1\2\3\4\5\6\7\x8", 8);
	assert_true(get_be64(b + 1) == UINT64_C(0x0102030405060708));
	assert_int_equal(b[0], 0);
}

/* The order of the bytes is the order of the numbers: that is what the big-endian form is for. */
static void test_big_endian_order(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("order"));
	for (int i = 0; i < 2000; i++) {
		uint64_t a = random_next(&r) >> random_below(&r, 64), b = random_next(&r) >> random_below(&r, 64);
		uint8_t x[8], y[8];
		put_be64(x, a);
		put_be64(y, b);
		int c = memcmp(x, y, 8);
		assert_int_equal((c > 0) - (c < 0), (a > b) - (a < b));
	}
}

static void test_known_varints(void **state)
{
	(void)state;
	static const struct {
		uint64_t value;
		size_t size;
		const char *bytes;
	} known[] = {
		{ 0, 1, "\0" }, { 1, 1, "\1" }, { 127, 1, "\x7f" }, { 128, 2, "\x80\1" }, { 300, 2, "\xac\2" },
		{ 16383, 2, "\xff\x7f" }, { 16384, 3, "\x80\x80\1" }, { UINT32_MAX, 5, "\xff\xff\xff\xff\xf" },
		{ UINT64_C(1) << 63, 10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\1" },
		{ UINT64_MAX, 10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1" },
	};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		uint8_t b[VARINT_MAX + 1];
		memset(b, '#', sizeof b);
		assert_int_equal(put_varint(b, known[i].value), known[i].size);
		assert_memory_equal(b, known[i].bytes, known[i].size);
		assert_int_equal(b[known[i].size], '#');
		assert_int_equal(varint_size(known[i].value), known[i].size);
		struct exact e = exact_of(known[i].bytes, known[i].size);
		uint64_t v;
		assert_true(cursor_varint(&e.c, &v));
		assert_true(v == known[i].value && cursor_left(&e.c) == 0);
		free(e.bytes);
	}
}

/* Either side of every size's bound, and each of their prefixes, which is cut off. */
static void test_varint_bounds_and_cuts(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits <= 64; bits++)
		for (int d = -2; d <= 2; d++) {
			uint64_t value = (bits < 64 ? UINT64_C(1) << bits : 0) + (uint64_t)(int64_t)d, v = 77;
			uint8_t b[VARINT_MAX];
			size_t size = put_varint(b, value);
			assert_int_equal(size, varint_size(value));
			for (size_t cut = 0; cut < size; cut++) {
				struct exact e = exact_of(b, cut);
				assert_false(cursor_varint(&e.c, &v));
				assert_true(v == 77 && e.c.p == e.bytes); /* untouched */
				free(e.bytes);
			}
			struct exact e = exact_of(b, size);
			assert_true(cursor_varint(&e.c, &v));
			assert_true(v == value && e.c.p == e.c.end);
			free(e.bytes);
		}
}

static void test_varints_that_are_too_long(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1",       /* eleven bytes */
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", /* no end */
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\2\2\2",       /* a 65th bit */
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\2\2",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\1\1",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		uint64_t v = 77;
		struct exact e = exact_of(bad[i], 11);
		assert_false(cursor_varint(&e.c, &v));
		assert_true(v == 77 && e.c.p == e.bytes);
		free(e.bytes);
	}
}

/* A sequence of all kinds, written and read back. */
static void test_sequence(void **state)
{
	(void)state;
	enum { COUNT = 500 };
	struct random_state r, again;
	static uint8_t bytes[COUNT * 80];
	size_t n = 0;
	uint8_t text[64];
	random_seed(&r, test_seed("sequence"));
	again = r;
	memset(text, 't', sizeof text);
	for (int i = 0; i < COUNT; i++) {
		uint64_t v = random_next(&r) >> random_below(&r, 64);
		switch (v % 5) {
		case 0:
			bytes[n++] = (uint8_t)v;
			break;
		case 1:
			put_u32(bytes + n, (uint32_t)v);
			n += 4;
			break;
		case 2:
			put_u64(bytes + n, v);
			n += 8;
			break;
		case 3:
			n += put_varint(bytes + n, v);
			break;
		default:
			n += put_varint(bytes + n, v % 60);
			memcpy(bytes + n, text, v % 60);
			n += v % 60;
		}
	}
	struct exact e = exact_of(bytes, n);
	for (int i = 0; i < COUNT; i++) {
		uint64_t v = random_next(&again) >> random_below(&again, 64), u64 = 0;
		uint8_t u8;
		uint32_t u32;
		struct wombat_slice s;
		switch (v % 5) {
		case 0:
			assert_true(cursor_u8(&e.c, &u8) && u8 == (uint8_t)v);
			break;
		case 1:
			assert_true(cursor_u32(&e.c, &u32) && u32 == (uint32_t)v);
			break;
		case 2:
			assert_true(cursor_u64(&e.c, &u64) && u64 == v);
			break;
		case 3:
			assert_true(cursor_varint(&e.c, &u64) && u64 == v);
			break;
		default:
			assert_true(cursor_slice(&e.c, &s) && slice_equal(s, slice_make(text, v % 60)));
		}
	}
	assert_int_equal(cursor_left(&e.c), 0);
	free(e.bytes);
}

static void test_ends_of_fixed_widths(void **state)
{
	(void)state;
	static const uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	for (size_t size = 0; size <= 8; size++) {
		struct exact e = exact_of(bytes, size);
		struct cursor start = e.c;
		uint8_t u8 = 77;
		uint32_t u32 = 77;
		uint64_t u64 = 77;
		struct wombat_slice s = { 0 };
		assert_int_equal(cursor_u8(&e.c, &u8), size >= 1);
		assert_int_equal(cursor_left(&e.c), size - (size >= 1));
		assert_int_equal(u8, size >= 1 ? 1 : 77);
		e.c = start;
		assert_int_equal(cursor_u32(&e.c, &u32), size >= 4);
		assert_int_equal(cursor_left(&e.c), size - (size >= 4 ? 4 : 0));
		assert_int_equal(u32, size >= 4 ? 0x04030201 : 77);
		e.c = start;
		assert_int_equal(cursor_u64(&e.c, &u64), size >= 8);
		assert_int_equal(cursor_left(&e.c), size - (size >= 8 ? 8 : 0));
		e.c = start;
		assert_true(cursor_bytes(&e.c, size, &s) && s.data == e.bytes && s.size == size);
		assert_true(cursor_bytes(&e.c, 0, &s) && s.size == 0);
		e.c = start;
		assert_false(cursor_bytes(&e.c, size + 1, &s));
		assert_false(cursor_bytes(&e.c, SIZE_MAX, &s));
		assert_int_equal(cursor_left(&e.c), size);
		free(e.bytes);
	}
}

/* A slice whose length says more than there is: not taken, and nothing moves. */
static void test_slices_that_lie(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {
		4, 5, 100, 1u << 20, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX - 3, UINT64_MAX,
	};
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		uint8_t b[VARINT_MAX + 3] = { 0 };
		size_t size = put_varint(b, lengths[i]) + 3;
		struct exact e = exact_of(b, size);
		struct wombat_slice s = { 0 };
		assert_false(cursor_slice(&e.c, &s));
		assert_true(e.c.p == e.bytes && s.size == 0);
		free(e.bytes);
	}
	struct exact e = exact_of("\3abc", 4);
	struct wombat_slice s;
	assert_true(cursor_slice(&e.c, &s) && slice_equal(s, slice_make("abc", 3)));
	assert_false(cursor_slice(&e.c, &s)); /* at the end not even a length */
	free(e.bytes);
}

static void test_random_bytes(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("random bytes"));
	for (int i = 0; i < 5000; i++) {
		uint8_t b[24];
		size_t size = random_below(&r, sizeof b + 1);
		for (size_t k = 0; k < size; k++)
			b[k] = (uint8_t)(random_next(&r) | (random_below(&r, 2) ? 0x80 : 0));
		struct exact e = exact_of(b, size);
		uint64_t v;
		while (cursor_varint(&e.c, &v))
			;
		assert_true(e.c.p <= e.c.end);
		/* What stopped it is the end, or bytes without one among the next ten. */
		if (cursor_left(&e.c) >= VARINT_MAX)
			for (int k = 0; k < VARINT_MAX - 1; k++)
				assert_true(e.c.p[k] & 0x80);
		free(e.bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_width),
		cmocka_unit_test(test_big_endian_order),
		cmocka_unit_test(test_known_varints),
		cmocka_unit_test(test_varint_bounds_and_cuts),
		cmocka_unit_test(test_varints_that_are_too_long),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_ends_of_fixed_widths),
		cmocka_unit_test(test_slices_that_lie),
		cmocka_unit_test(test_random_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
