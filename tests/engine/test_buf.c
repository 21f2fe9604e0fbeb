/* Growable bytes: what is appended, replaced and printed, against an array; growth, and growth that fails. */
#include "engine/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static void assert_bytes(const struct buf *b, const void *want, size_t size)
{
	assert_true(b->size <= b->capacity);
	assert_int_equal(b->size, size);
	assert_true(slice_equal(buf_slice(b), slice_make(want, size)));
}

static void test_empty(void **state)
{
	(void)state;
	struct buf b = { 0 };
	assert_bytes(&b, NULL, 0);
	assert_ok(buf_append(&b, NULL, 0));
	assert_ok(buf_set(&b, slice_make(NULL, 0)));
	assert_ok(buf_reserve(&b, 0));
	assert_null(b.data); /* nothing asked for, nothing taken */
	buf_clear(&b);
	buf_done(&b);
	buf_done(&b);
}

static void test_each_append(void **state)
{
	(void)state;
	struct buf b = { 0 };
	assert_ok(buf_append_byte(&b, 'a'));
	assert_ok(buf_append_u32(&b, 0x01020304));
	assert_ok(buf_append_u64(&b, UINT64_C(0x0102030405060708)));
	assert_ok(buf_append_varint(&b, 300));
	assert_ok(buf_append_slice(&b, slice_make("xyz", 3)));
	assert_ok(buf_append_slice(&b, slice_make(NULL, 0)));
	assert_ok(buf_append(&b, "end", 3));
	assert_bytes(&b, "a\4\3\2\1\x8\7\6\5\4\3\2\1\xac\2\3xyz\0end", 23);
	buf_clear(&b);
	assert_bytes(&b, NULL, 0);
	assert_true(b.capacity >= 23); /* kept for the next use */
	buf_done(&b);
	assert_true(!b.data && !b.size && !b.capacity);
}

static void test_set(void **state)
{
	(void)state;
	struct buf b = { 0 };
	static uint8_t big[5000];
	memset(big, 'b', sizeof big);
	assert_ok(buf_set(&b, slice_make("small", 5)));
	assert_bytes(&b, "small", 5);
	assert_ok(buf_set(&b, slice_make(big, sizeof big)));
	assert_bytes(&b, big, sizeof big);
	assert_ok(buf_set(&b, slice_make("tiny", 4)));
	assert_bytes(&b, "tiny", 4);
	assert_ok(buf_set(&b, slice_make(b.data + 1, 3))); /* of its own bytes */
	assert_bytes(&b, "iny", 3);
	assert_ok(buf_set(&b, slice_make(NULL, 0)));
	assert_bytes(&b, NULL, 0);
	buf_done(&b);
}

static void test_printf(void **state)
{
	(void)state;
	struct buf b = { 0 };
	char want[400];
	assert_ok(buf_printf(&b, "%s", ""));
	assert_int_equal(b.size, 0);
	assert_int_equal(b.data[0], 0);
	assert_ok(buf_printf(&b, "%d-%s", 7, "x"));
	assert_ok(buf_printf(&b, "+%c", 'y'));
	assert_string_equal((char *)b.data, "7-x+y");
	assert_int_equal(b.size, 5); /* the NUL is behind it */
	/* Every size around the bounds at which it grows. */
	for (int n = 0; n < 300; n++) {
		buf_done(&b);
		assert_ok(buf_printf(&b, "%0*d", n, 0));
		snprintf(want, sizeof want, "%0*d", n, 0);
		assert_string_equal((char *)b.data, want);
		assert_int_equal(b.size, strlen(want));
	}
	buf_done(&b);
}

static void test_reserve(void **state)
{
	(void)state;
	struct buf b = { 0 };
	assert_ok(buf_append(&b, "abc", 3));
	for (size_t more = 1; more < 5000; more = more * 3 + 1) {
		assert_ok(buf_reserve(&b, more));
		assert_bytes(&b, "abc", 3);
		assert_true(b.capacity - b.size >= more);
		memset(b.data + b.size, '#', more); /* all of it is ours */
		const uint8_t *data = b.data;
		assert_ok(buf_reserve(&b, more)); /* there is room now */
		assert_ptr_equal(b.data, data);
	}
	/* More than there can be: refused without asking the heap, and nothing is lost. */
	static const size_t absurd[] = { SIZE_MAX, SIZE_MAX - 3, SIZE_MAX / 2, SIZE_MAX / 4 };
	for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
		assert_status(buf_reserve(&b, absurd[i]), WOMBAT_NO_MEMORY);
		assert_bytes(&b, "abc", 3);
	}
	buf_done(&b);
}

static unsigned allocations;

static _Bool count_all(size_t size)
{
	(void)size;
	allocations++;
	return 1;
}

/* Growth doubles: a million single bytes cost some twenty allocations. */
static void test_growth(void **state)
{
	(void)state;
	struct buf b = { 0 };
	allocations = 0;
	mem_test_hook = count_all;
	for (unsigned i = 0; i < 1000000; i++)
		if (buf_append_byte(&b, (uint8_t)(i * 7)) != WOMBAT_OK)
			break;
	mem_test_hook = NULL;
	assert_int_equal(b.size, 1000000);
	assert_true(allocations > 5 && allocations < 25);
	assert_true(b.capacity <= 2 * b.size);
	for (unsigned i = 0; i < 1000000; i++)
		if (b.data[i] != (uint8_t)(i * 7))
			fail_msg("byte %u is wrong", i);
	buf_done(&b);
}

/* ---- Random appends, some without memory ---------------------------------------------------- */

static struct random_state *chance;

static _Bool fail_often(size_t size)
{
	(void)size;
	return random_below(chance, 3) > 0;
}

/* One append to the buffer; what it adds goes to `out`, whose size is returned. */
static enum wombat_status append_one(struct buf *b, struct random_state *r, uint8_t out[1100], size_t *out_size)
{
	uint64_t v = random_next(r) >> random_below(r, 64);
	size_t n = random_below(r, random_below(r, 4) ? 20 : 1000);
	uint8_t bytes[1000];
	memset(bytes, (int)(v & 0xff), sizeof bytes);
	switch (random_below(r, 5)) {
	case 0:
		put_u32(out, (uint32_t)v);
		*out_size = 4;
		return buf_append_u32(b, (uint32_t)v);
	case 1:
		put_u64(out, v);
		*out_size = 8;
		return buf_append_u64(b, v);
	case 2:
		*out_size = put_varint(out, v);
		return buf_append_varint(b, v);
	case 3:
		*out_size = put_varint(out, n);
		memcpy(out + *out_size, bytes, n);
		*out_size += n;
		return buf_append_slice(b, slice_make(bytes, n));
	default:
		*out_size = (size_t)snprintf((char *)out, 1100, "<%0*u>", (int)n, (unsigned)v);
		return buf_printf(b, "<%0*u>", (int)n, (unsigned)v);
	}
}

static void test_random_appends(void **state)
{
	(void)state;
	enum { ROUNDS = 30, APPENDS = 200 };
	struct random_state r;
	uint8_t *model = malloc(ROUNDS * APPENDS * 1100), piece[1100];
	unsigned failed = 0;
	random_seed(&r, test_seed("appends"));
	chance = &r;
	for (int round = 0; round < ROUNDS; round++) {
		struct buf b = { 0 };
		size_t size = 0, n;
		for (int i = 0; i < APPENDS; i++) {
			mem_test_hook = round % 2 ? fail_often : NULL;
			enum wombat_status s = append_one(&b, &r, piece, &n);
			mem_test_hook = NULL;
			if (s == WOMBAT_OK) {
				memcpy(model + size, piece, n);
				size += n;
			} else {
				assert_status(s, WOMBAT_NO_MEMORY);
				failed++;
			}
			assert_bytes(&b, model, size); /* whole, or as it was */
		}
		buf_done(&b);
	}
	assert_true(failed > 0);
	free(model);
}

static _Bool fail_all(size_t size)
{
	(void)size;
	return 0;
}

static void test_set_without_memory(void **state)
{
	(void)state;
	struct buf b = { 0 };
	static const uint8_t big[5000];
	assert_ok(buf_set(&b, slice_make("old", 3)));
	mem_test_hook = fail_all;
	enum wombat_status s = buf_set(&b, slice_make(big, sizeof big));
	enum wombat_status fits = buf_set(&b, slice_make("new", 3));
	mem_test_hook = NULL;
	assert_status(s, WOMBAT_NO_MEMORY);
	assert_status(fits, WOMBAT_OK); /* needs none */
	assert_bytes(&b, "new", 3);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_each_append),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_printf),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_random_appends),
		cmocka_unit_test(test_set_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
