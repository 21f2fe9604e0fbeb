/* Records: their bytes, round trips, every cut, and bytes that are no record. */
#include "engine/base/record.h"

#include <stdlib.h>

#include "engine/base/coding.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static void assert_same(const struct record *a, const struct record *b)
{
	assert_true(a->time_ns == b->time_ns && a->expiry_ns == b->expiry_ns);
	assert_true(slice_equal(a->attr, b->attr) && a->elsewhere == b->elsewhere);
	assert_true(record_value_size(a) == record_value_size(b));
	if (a->elsewhere)
		assert_true(a->pointer.file == b->pointer.file && a->pointer.offset == b->pointer.offset &&
			    a->pointer.crc == b->pointer.crc);
	else
		assert_true(slice_equal(a->value, b->value));
}

/* Encoded into a block of just the size that was announced. */
static uint8_t *encode(const struct record *r, size_t *out_size)
{
	*out_size = record_encoded_size(r);
	uint8_t *bytes = malloc(*out_size);
	record_encode(bytes, r);
	return bytes;
}

static void test_known_bytes(void **state)
{
	(void)state;
	static const struct {
		struct record r;
		const char *bytes;
		size_t size;
	} known[] = {
		{ { 0 }, "\0\0\0\0\0\0\0\0\0", 9 },
		{ { .time_ns = 0x0102, .value = { (const uint8_t *)"val", 3 } }, "\0\2\1\0\0\0\0\0\0val", 12 },
		{ { .expiry_ns = 5 }, "\1\0\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0", 17 },
		{ { .attr = { (const uint8_t *)"at", 2 } }, "\2\0\0\0\0\0\0\0\0\2at", 12 },
		{ { .time_ns = 1, .expiry_ns = 2, .attr = { (const uint8_t *)"a", 1 },
		    .value = { (const uint8_t *)"v", 1 } },
		  "\3\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1av", 20 },
		{ { .time_ns = 1, .elsewhere = true, .pointer = { 7, 300, 5, 0x01020304 } },
		  "\4\1\0\0\0\0\0\0\0\7\xac\2\5\4\3\2\1", 17 },
	};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		size_t size;
		uint8_t *bytes = encode(&known[i].r, &size);
		assert_int_equal(size, known[i].size);
		assert_memory_equal(bytes, known[i].bytes, size);
		struct record back;
		assert_ok(record_decode(slice_make(bytes, size), &back));
		assert_same(&back, &known[i].r);
		free(bytes);
	}
}

static void test_round_trips(void **state)
{
	(void)state;
	static const size_t attr_sizes[] = { 0, 1, 127, 128, 16383, 16384, RECORD_ATTR_MAX };
	static uint8_t text[RECORD_ATTR_MAX];
	struct random_state r;
	random_seed(&r, test_seed("round trips"));
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)random_next(&r);
	for (int i = 0; i < 500; i++) {
		struct record in = {
			.time_ns = random_next(&r) >> random_below(&r, 64),
			.expiry_ns = random_below(&r, 2) ? random_next(&r) : 0,
			.attr = slice_make(text, attr_sizes[random_below(&r, 7)]),
			.value = slice_make(text + 5, random_below(&r, 300)),
			.elsewhere = random_below(&r, 3) == 0,
			.pointer = { 1 + (random_next(&r) >> 1 >> random_below(&r, 62)), random_next(&r) >> 1,
				     random_next(&r) >> 1, (uint32_t)random_next(&r) },
		}, out;
		size_t size;
		uint8_t *bytes = encode(&in, &size);
		assert_ok(record_decode(slice_make(bytes, size), &out));
		assert_same(&in, &out);
		/* The slices point into the bytes: nothing was copied. */
		if (!in.elsewhere)
			assert_ptr_equal(out.value.data + out.value.size, bytes + size);
		free(bytes);
	}
}

/* Cut before the value begins a record is none; after that it is one with a shorter value. */
static void test_every_cut(void **state)
{
	(void)state;
	const struct record in = { .time_ns = 77, .expiry_ns = 88, .attr = slice_make("attributes", 10),
		.value = slice_make("value", 5) };
	size_t size;
	uint8_t *bytes = encode(&in, &size);
	for (size_t cut = 0; cut <= size; cut++) {
		uint8_t *part = malloc(cut + !cut); /* exact: a read beyond is seen by the address sanitizer */
		struct record out = { .time_ns = 99 };
		memcpy(part, bytes, cut);
		enum wombat_status s = record_decode(slice_make(part, cut), &out);
		if (cut < size - in.value.size) {
			assert_status(s, WOMBAT_CORRUPTION);
			assert_int_equal(out.time_ns, 99); /* untouched */
		} else {
			assert_status(s, WOMBAT_OK);
			assert_int_equal(out.value.size, cut - (size - in.value.size));
		}
		free(part);
	}
	free(bytes);
}

static void test_what_is_no_record(void **state)
{
	(void)state;
	struct record out;
	static uint8_t bytes[RECORD_ATTR_MAX + 100];
	for (unsigned flags = 8; flags < 256; flags++) { /* flags of which nothing is known */
		bytes[0] = (uint8_t)flags;
		assert_status(record_decode(slice_make(bytes, 100), &out), WOMBAT_CORRUPTION);
	}
	/* Attributes as large as they may be, and a byte larger. */
	bytes[0] = 2;
	size_t n = 9 + put_varint(bytes + 9, RECORD_ATTR_MAX);
	assert_ok(record_decode(slice_make(bytes, n + RECORD_ATTR_MAX), &out));
	assert_int_equal(out.attr.size, RECORD_ATTR_MAX);
	put_varint(bytes + 9, RECORD_ATTR_MAX + 1);
	assert_status(record_decode(slice_make(bytes, n + RECORD_ATTR_MAX + 1), &out), WOMBAT_CORRUPTION);
	/* A length beyond all there is, and one that is no number. */
	put_varint(bytes + 9, UINT64_MAX);
	assert_status(record_decode(slice_make(bytes, 100), &out), WOMBAT_CORRUPTION);
	memset(bytes + 9, 0xff, 11);
	assert_status(record_decode(slice_make(bytes, 100), &out), WOMBAT_CORRUPTION);
}

/* A pointer is whole, takes all the rest, and names a file and a range that can be. */
static void test_what_is_no_pointer(void **state)
{
	(void)state;
	struct record in = { .elsewhere = true, .pointer = { 9, 1000, 50, 1 } }, out;
	size_t size;
	uint8_t *bytes = encode(&in, &size);
	for (size_t cut = 0; cut < size; cut++)
		assert_status(record_decode(slice_make(bytes, cut), &out), WOMBAT_CORRUPTION);
	uint8_t longer[64] = { 0 };
	memcpy(longer, bytes, size);
	assert_status(record_decode(slice_make(longer, size + 1), &out), WOMBAT_CORRUPTION);
	free(bytes);
	const struct value_pointer impossible[] = { { 0, 1000, 50, 1 }, { 9, UINT64_MAX, 1, 1 }, { 9, 2, UINT64_MAX, 1 } };
	for (int i = 0; i < 3; i++) {
		in.pointer = impossible[i];
		bytes = encode(&in, &size);
		assert_status(record_decode(slice_make(bytes, size), &out), WOMBAT_CORRUPTION);
		free(bytes);
	}
}

/* Whatever the bytes: refused, or taken for a record whose parts lie within them. */
static void test_random_bytes(void **state)
{
	(void)state;
	struct random_state r;
	unsigned taken = 0;
	random_seed(&r, test_seed("random bytes"));
	for (int i = 0; i < 5000; i++) {
		size_t size = random_below(&r, 40);
		uint8_t *bytes = malloc(size + !size);
		for (size_t k = 0; k < size; k++)
			bytes[k] = (uint8_t)(random_next(&r) >> random_below(&r, 8));
		if (size)
			bytes[0] &= 7;
		struct record out;
		if (record_decode(slice_make(bytes, size), &out) == WOMBAT_OK) {
			if (!out.elsewhere)
				assert_true(out.value.data >= bytes && out.value.data + out.value.size == bytes + size &&
					    (!out.attr.size || out.attr.data + out.attr.size == out.value.data));
			assert_true(!out.attr.size || (out.attr.data > bytes && out.attr.data + out.attr.size <= bytes + size));
			taken++;
		}
		free(bytes);
	}
	assert_true(taken > 100);
}

static void test_expiry(void **state)
{
	(void)state;
	assert_false(record_expired(0, 0)); /* never */
	assert_false(record_expired(0, UINT64_MAX));
	assert_false(record_expired(100, 99));
	assert_true(record_expired(100, 100));
	assert_true(record_expired(1, UINT64_MAX));
	assert_false(record_expired(UINT64_MAX, UINT64_MAX - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_bytes),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_what_is_no_record),
		cmocka_unit_test(test_what_is_no_pointer),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_expiry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
