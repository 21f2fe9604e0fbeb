/*
 * The builder of blocks against the format said once more: bytes of entries, fences and restarts are computed here
 * from the list of entries. What reading makes of them is in test_block.c.
 */
#include "engine/table/block_builder.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/ikey.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

static size_t common_bytes(struct wombat_slice a, struct wombat_slice b)
{
	size_t n = 0;
	while (n < a.size && n < b.size && a.data[n] == b.data[n])
		n++;
	return n;
}

/* The first 8 bytes behind the prefix, big-endian, zeroes where the key ends. */
static uint64_t fence_of(struct wombat_slice key, size_t prefix)
{
	uint8_t bytes[8] = { 0 };
	size_t size = key.size - prefix;
	memcpy(bytes, key.data + prefix, size < 8 ? size : 8);
	return get_be64(bytes);
}

/* The bytes that the entries [first, end) must give. */
static void expect_block(const struct data *d, size_t first, size_t end, unsigned interval, struct buf *out)
{
	enum { FAR = 1024 }; /* behind a restart: the next entry is one */
	uint32_t restarts[4096];
	size_t keys[4096], since = 0;
	size_t count = 0, prefix = first < end ? d->entries[first].key.size : 0;
	buf_clear(out);
	for (size_t i = first; i < end; i++) {
		const struct data_entry *e = &d->entries[i];
		size_t shared = i > first ? common_bytes(d->entries[i - 1].key, e->key) : 0;
		if (i > first && shared < prefix)
			prefix = shared;
		if (count == 0 || ++since == interval || out->size - restarts[count - 1] >= FAR) {
			keys[count] = i;
			restarts[count++] = (uint32_t)out->size;
			shared = since = 0;
		}
		assert_ok(buf_append_varint(out, shared));
		assert_ok(buf_append_varint(out, e->key.size - shared));
		assert_ok(buf_append_varint(out, e->value.size));
		assert_ok(buf_append_u64(out, e->tag));
		assert_ok(buf_append(out, e->key.data + shared, e->key.size - shared));
		assert_ok(buf_append(out, e->value.data, e->value.size));
	}
	for (size_t i = 0; i < count; i++)
		assert_ok(buf_append_u64(out, fence_of(d->entries[keys[i]].key, prefix)));
	for (size_t i = 0; i < count; i++)
		assert_ok(buf_append_u32(out, restarts[i]));
	assert_ok(buf_append_u32(out, (uint32_t)prefix));
	assert_ok(buf_append_u32(out, (uint32_t)count));
}

static enum wombat_status add(struct block_builder *b, const struct data *d, size_t first, size_t i)
{
	const struct data_entry *e = &d->entries[i];
	size_t common = i > first ? common_bytes(d->entries[i - 1].key, e->key) : 0;
	return block_builder_add(b, e->key, common, e->tag, e->value);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* One builder for many blocks, of every interval between restarts, which large values shorten; the size is known before it is finished, and no
 * entry takes more than was said. */
static void test_bytes(void **state)
{
	(void)state;
	static const unsigned intervals[] = { 1, 2, 3, 16, 1000 };
	struct random_state r;
	struct buf want = { 0 };
	random_seed(&r, test_seed("test_bytes"));
	for (size_t n = 0; n < sizeof(intervals) / sizeof(intervals[0]); n++)
		for (size_t prefix = 0; prefix < 300; prefix += 140) {
			struct data d = { 0 };
			struct block_builder b;
			data_random(&d, &r, &(struct data_shape){
				.entries = 300, .keys = 200, .key_prefix = prefix, .value_max = 300,
			});
			block_builder_init(&b, intervals[n]);
			for (size_t first = 0; first < d.count;) {
				size_t end = first + 1 + random_below(&r, 60);
				end = end < d.count ? end : d.count;
				assert_true(block_builder_empty(&b));
				for (size_t i = first; i < end; i++) {
					const struct data_entry *e = &d.entries[i];
					size_t before = block_builder_bytes(&b);
					assert_ok(add(&b, &d, first, i));
					size_t bound = block_entry_bound(e->key.size, e->value.size);
					assert_true(block_builder_bytes(&b) <= before + bound);
				}
				size_t size = block_builder_bytes(&b);
				assert_ok(block_builder_finish(&b));
				assert_int_equal(b.bytes.size, size);
				expect_block(&d, first, end, intervals[n], &want);
				assert_true(slice_equal(buf_slice(&b.bytes), buf_slice(&want)));
				block_builder_clear(&b, 4096);
				first = end;
			}
			block_builder_done(&b);
			data_done(&d);
		}
	buf_done(&want);
}

/* No entries: the tail alone. */
static void test_empty(void **state)
{
	(void)state;
	struct block_builder b;
	static const uint8_t tail[BLOCK_TAIL_SIZE];
	block_builder_init(&b, 16);
	assert_true(block_builder_empty(&b));
	assert_int_equal(block_builder_bytes(&b), BLOCK_TAIL_SIZE);
	assert_ok(block_builder_finish(&b));
	assert_true(slice_equal(buf_slice(&b.bytes), slice_make(tail, sizeof(tail))));
	block_builder_done(&b);
}

/* An interval of 0 would be one without restarts. */
static void test_interval_of_zero(void **state)
{
	(void)state;
	struct block_builder b;
	block_builder_init(&b, 0);
	assert_int_equal(b.restart_interval, 1);
	for (uint8_t i = 0; i < 5; i++) {
		uint8_t key[2] = { 1, (uint8_t)('a' + i) };
		assert_ok(block_builder_add(&b, slice_make(key, 2), i > 0, 9, WOMBAT_STR("")));
		assert_int_equal(b.restart_count, i + 1);
	}
	block_builder_done(&b);
}

/* The empty key, and lengths around where they take another byte. */
static void test_lengths(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 126, 127, 128, 129, 16383, 16384, 70000 };
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	struct buf want = { 0 };
	uint8_t *bytes = calloc(1, 70000);
	assert_non_null(bytes);
	for (unsigned interval = 1; interval < 5; interval++) {
		struct data d = { 0 };
		struct block_builder b;
		for (size_t i = 0; i < COUNT; i++) /* each key is a prefix of the next */
			data_add(&d, slice_make(bytes, sizes[i]), tag_make(i, KIND_PUT),
				slice_make(bytes, sizes[COUNT - 1 - i]), 0);
		data_sort(&d);
		block_builder_init(&b, interval);
		for (size_t i = 0; i < COUNT; i++)
			assert_ok(add(&b, &d, 0, i));
		assert_ok(block_builder_finish(&b));
		expect_block(&d, 0, COUNT, interval, &want);
		assert_true(slice_equal(buf_slice(&b.bytes), buf_slice(&want)));
		block_builder_done(&b);
		data_done(&d);
	}
	free(bytes);
	buf_done(&want);
}

/* A value that is written from where it lies makes the same block. */
static void test_alone(void **state)
{
	(void)state;
	struct random_state r;
	struct buf pieces = { 0 };
	random_seed(&r, test_seed("test_alone"));
	for (unsigned n = 0; n < 100; n++) {
		struct block_builder whole, alone;
		uint8_t key[300], value[1000], tail[BLOCK_ALONE_TAIL_SIZE];
		struct wombat_slice k = slice_make(key, random_below(&r, sizeof(key)));
		struct wombat_slice v = slice_make(value, random_below(&r, sizeof(value)));
		for (size_t i = 0; i < sizeof(key); i++)
			key[i] = (uint8_t)random_next(&r);
		memset(value, 'v', sizeof(value));
		block_builder_init(&whole, 1 + n % 20);
		block_builder_init(&alone, 1 + n % 20);
		assert_ok(block_builder_add(&whole, k, 0, 77, v));
		assert_ok(block_builder_finish(&whole));
		assert_ok(block_builder_add_alone(&alone, k, 77, v.size));
		block_builder_alone_tail(&alone, tail);
		assert_ok(buf_set(&pieces, buf_slice(&alone.bytes)));
		assert_ok(buf_append(&pieces, v.data, v.size));
		assert_ok(buf_append(&pieces, tail, sizeof(tail)));
		assert_true(slice_equal(buf_slice(&whole.bytes), buf_slice(&pieces)));
		block_builder_done(&whole);
		block_builder_done(&alone);
	}
	buf_done(&pieces);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* What was needed for one large block is not kept for the small ones behind it; what is of use is. */
static void test_clear(void **state)
{
	(void)state;
	struct block_builder b;
	static const uint8_t value[100000];
	block_builder_init(&b, 16);
	assert_ok(block_builder_add(&b, WOMBAT_STR("\1a"), 0, 9, slice_make(value, 2000)));
	size_t capacity = b.bytes.capacity;
	block_builder_clear(&b, 4096);
	assert_int_equal(b.bytes.capacity, capacity);
	assert_ok(block_builder_add(&b, WOMBAT_STR("\1a"), 0, 9, slice_make(value, sizeof(value))));
	block_builder_clear(&b, 4096);
	assert_int_equal(b.bytes.capacity, 0);
	assert_true(block_builder_empty(&b) && block_builder_bytes(&b) == BLOCK_TAIL_SIZE);
	assert_ok(block_builder_add(&b, WOMBAT_STR("\1b"), 0, 9, WOMBAT_STR("")));
	assert_int_equal(b.restart_count, 1); /* the first of a block is one */
	block_builder_done(&b);
}

static unsigned left;

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

static enum wombat_status build(const struct data *d, struct block_builder *b)
{
	enum wombat_status s = WOMBAT_OK;
	block_builder_init(b, 1);
	for (size_t i = 0; i < d->count && s == WOMBAT_OK; i++)
		s = add(b, d, 0, i);
	return s == WOMBAT_OK ? block_builder_finish(b) : s;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	struct random_state r;
	struct data d = { 0 };
	unsigned n = 0;
	random_seed(&r, 4);
	data_random(&d, &r, &(struct data_shape){ .entries = 200, .keys = 200, .value_max = 50 });
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct block_builder b;
		left = n;
		mem_test_hook = fail_allocation;
		s = build(&d, &b);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		block_builder_done(&b);
	}
	left = 0; /* that of a block alone, too */
	struct block_builder b;
	block_builder_init(&b, 1);
	mem_test_hook = fail_allocation;
	enum wombat_status s = block_builder_add_alone(&b, WOMBAT_STR("\1k"), 1, 10);
	mem_test_hook = NULL;
	assert_int_equal(s, WOMBAT_NO_MEMORY);
	block_builder_done(&b);
	assert_true(n > 6);
	data_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_interval_of_zero),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_each_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
