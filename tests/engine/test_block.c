/* Data blocks: what is built is found again by every way of moving, and damaged bytes stay within bounds. */
#include "engine/table/block.h"

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/table/block_builder.h"
#include "engine/table/prefix.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

/* A block as a reader has it: its bytes, exactly, with the slack behind. */
struct loaded {
	struct block block;
	uint8_t *bytes;
	size_t size;
};

static void build(const struct data *d, unsigned restart_interval, struct loaded *out)
{
	struct block_builder b;
	block_builder_init(&b, restart_interval);
	for (size_t i = 0; i < d->count; i++) {
		size_t common = i ? slice_common_prefix(d->entries[i - 1].key, d->entries[i].key) : 0;
		size_t before = block_builder_bytes(&b);
		assert_ok(block_builder_add(&b, d->entries[i].key, common, d->entries[i].tag,
			d->entries[i].value));
		assert_true(block_builder_bytes(&b) - before <=
			    block_entry_bound(d->entries[i].key.size, d->entries[i].value.size));
	}
	size_t expected = block_builder_bytes(&b);
	assert_ok(block_builder_finish(&b));
	assert_int_equal(b.bytes.size, expected);
	out->size = b.bytes.size;
	out->bytes = mem_zalloc(out->size + BLOCK_SLACK);
	assert_non_null(out->bytes);
	memcpy(out->bytes, b.bytes.data, out->size);
	block_builder_done(&b);
}

static void load(struct loaded *l)
{
	assert_null(block_init(&l->block, l->bytes, l->size));
}

static void assert_on(const struct data *d, size_t i, enum block_result r, struct block_iter *b)
{
	assert_int_equal(r, i < d->count ? BLOCK_AT : BLOCK_END);
	b->it.valid = r == BLOCK_AT;
	data_assert_at(d, i, &b->it);
}

static void assert_walks(const struct data *d, struct block_iter *b)
{
	enum block_result r = block_iter_first(b);
	for (size_t i = 0; i < d->count; i++, r = block_iter_next(b))
		assert_on(d, i, r, b);
	assert_int_equal(r, BLOCK_END);
	r = block_iter_last(b);
	for (size_t i = d->count; i-- > 0; r = block_iter_prev(b))
		assert_on(d, i, r, b);
	assert_int_equal(r, BLOCK_END);
}

static void assert_lookups(const struct data *d, const struct block *block, struct block_iter *b,
	struct wombat_slice key, uint64_t tag)
{
	size_t i = data_seek(d, key, tag);
	assert_on(d, i, block_iter_seek(b, key, tag), b);
	if (i < d->count && i > 0) {
		assert_on(d, i - 1, block_iter_prev(b), b);
		assert_on(d, i, block_iter_next(b), b);
	}
	assert_on(d, i ? i - 1 : d->count, block_iter_seek_before(b, key, tag), b);
	if (i && i < d->count) {
		assert_on(d, i, block_iter_next(b), b);
		assert_on(d, i - 1, block_iter_prev(b), b);
	}
	uint64_t found;
	struct wombat_slice value;
	bool there = i < d->count && slice_equal(d->entries[i].key, key);
	assert_int_equal(block_get(block, key, tag, &found, &value), there ? BLOCK_AT : BLOCK_END);
	if (there) {
		assert_true(found == d->entries[i].tag);
		assert_true(slice_equal(value, d->entries[i].value));
	}
}

static void assert_block(const struct data *d, const struct block *block)
{
	struct block_iter b;
	block_iter_init(&b);
	block_iter_set(&b, block);
	assert_walks(d, &b);
	struct buf key = { 0 };
	for (size_t i = 0; i < d->count; i++) {
		const struct data_entry *e = &d->entries[i];
		assert_lookups(d, block, &b, e->key, e->tag);
		assert_lookups(d, block, &b, e->key, e->tag - 1);
		assert_lookups(d, block, &b, e->key, e->tag + 1);
		assert_lookups(d, block, &b, e->key, TAG_MAX);
		assert_lookups(d, block, &b, e->key, 0);
		assert_lookups(d, block, &b, slice_make(e->key.data, e->key.size - 1), TAG_MAX);
		assert_ok(buf_set(&key, e->key));
		assert_ok(buf_append_byte(&key, 0));
		assert_lookups(d, block, &b, buf_slice(&key), TAG_MAX);
		key.data[e->key.size - 1]++;
		assert_lookups(d, block, &b, buf_slice(&key), TAG_MAX);
		key.data[e->key.size - 1] -= 2;
		assert_lookups(d, block, &b, buf_slice(&key), TAG_MAX);
	}
	assert_walks(d, &b);
	buf_done(&key);
	block_iter_done(&b);
}

static void test_against_a_list(void **state)
{
	(void)state;
	static const unsigned intervals[] = { 1, 2, 3, 16, 1000 };
	static const struct data_shape shapes[] = {
		{ .entries = 1, .keys = 5, .value_max = 10 },
		{ .entries = 60, .keys = 100, .value_max = 30 },
		{ .entries = 80, .keys = 4, .value_max = 3 },
		{ .entries = 60, .keys = 60, .key_prefix = 130, .value_max = 300 },
		{ .entries = 40, .keys = 60, .key_prefix = 4090, .value_max = 20000 },
	};
	struct random_state r;
	random_seed(&r, test_seed("test_against_a_list"));
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
		for (size_t n = 0; n < sizeof(intervals) / sizeof(intervals[0]); n++) {
			struct data d = { 0 };
			struct loaded l;
			data_random(&d, &r, &shapes[s]);
			build(&d, intervals[n], &l);
			load(&l);
			assert_block(&d, &l.block);
			mem_free(l.bytes);
			data_done(&d);
		}
}

static void test_empty(void **state)
{
	(void)state;
	struct data d = { 0 };
	struct loaded l;
	build(&d, 16, &l);
	load(&l);
	struct block_iter b;
	block_iter_init(&b);
	block_iter_set(&b, &l.block);
	assert_int_equal(block_iter_first(&b), BLOCK_END);
	assert_int_equal(block_iter_last(&b), BLOCK_END);
	assert_int_equal(block_iter_seek(&b, WOMBAT_STR("\1a"), TAG_MAX), BLOCK_END);
	assert_int_equal(block_iter_seek_before(&b, WOMBAT_STR("\1a"), TAG_MAX), BLOCK_END);
	block_iter_done(&b);
	mem_free(l.bytes);
}

/* Bytes on disk: they must never change. */
static void test_golden(void **state)
{
	(void)state;
	static const uint8_t golden[] = {
		0, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0, 1, 'a', 'b', 'v', 'w', /* whole key, at a restart */
		2, 1, 0, 0, 4, 0, 0, 0, 0, 0, 0, 'c',                   /* shares two bytes; a deletion */
		0, 2, 1, 1, 3, 0, 0, 0, 0, 0, 0, 1, 'b', 'x',           /* restart */
		0, 0, 0, 0, 0, 0, 'b', 'a',                             /* fences behind the prefix "\1" */
		0, 0, 0, 0, 0, 0, 0, 'b',
		0, 0, 0, 0, 28, 0, 0, 0,                                /* restarts */
		1, 0, 0, 0, 2, 0, 0, 0,                                 /* prefix size, restart count */
	};
	struct block_builder b;
	block_builder_init(&b, 2);
	assert_ok(block_builder_add(&b, WOMBAT_STR("\1ab"), 0, tag_make(5, KIND_PUT), WOMBAT_STR("vw")));
	assert_ok(block_builder_add(&b, WOMBAT_STR("\1ac"), 2, tag_make(4, KIND_DELETE), WOMBAT_STR("")));
	assert_ok(block_builder_add(&b, WOMBAT_STR("\1b"), 1, tag_make(3, KIND_PUT), WOMBAT_STR("x")));
	assert_ok(block_builder_finish(&b));
	assert_int_equal(b.bytes.size, sizeof(golden));
	assert_memory_equal(b.bytes.data, golden, sizeof(golden));
	block_builder_done(&b);
}

static void test_alone(void **state)
{
	(void)state;
	struct block_builder one, two;
	uint8_t tail[BLOCK_ALONE_TAIL_SIZE];
	struct wombat_slice key = WOMBAT_STR("\1key"), value = WOMBAT_STR("value");
	block_builder_init(&one, 16);
	block_builder_init(&two, 16);
	assert_ok(block_builder_add(&one, key, 0, 77, value));
	assert_ok(block_builder_finish(&one));
	assert_ok(block_builder_add_alone(&two, key, 77, value.size));
	assert_ok(buf_append(&two.bytes, value.data, value.size));
	block_builder_alone_tail(&two, tail);
	assert_ok(buf_append(&two.bytes, tail, sizeof(tail)));
	assert_true(slice_equal(buf_slice(&one.bytes), buf_slice(&two.bytes)));
	block_builder_done(&one);
	block_builder_done(&two);
}

/* All moves, for the sanitizers to watch. An entry takes 11 bytes, so a walk ends. */
static void exercise(const struct block *block, const struct data *d)
{
	struct block_iter b;
	block_iter_init(&b);
	block_iter_set(&b, block);
	enum block_result r = block_iter_first(&b);
	while (r == BLOCK_AT)
		r = block_iter_next(&b);
	r = block_iter_last(&b);
	while (r == BLOCK_AT)
		r = block_iter_prev(&b);
	for (size_t i = 0; i < d->count; i += 7) {
		uint64_t tag;
		struct wombat_slice value;
		const struct data_entry *e = &d->entries[i];
		if (block_get(block, e->key, e->tag, &tag, &value) == BLOCK_AT && value.size)
			assert_true(value.data >= block->data && value.data + value.size <= b.limit);
		r = block_iter_seek(&b, e->key, e->tag);
		if (r == BLOCK_AT)
			r = block_iter_prev(&b);
		if (r == BLOCK_AT)
			r = block_iter_next(&b);
		r = block_iter_seek_before(&b, e->key, e->tag);
		if (r == BLOCK_AT)
			r = block_iter_next(&b);
	}
	block_iter_done(&b);
}

/* Without a checksum's help: whatever the bytes, nothing outside the block is touched. */
static void test_damage(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_damage"));
	struct data d = { 0 };
	struct loaded l;
	data_random(&d, &r, &(struct data_shape){ .entries = 40, .keys = 30, .value_max = 200 });
	build(&d, 4, &l);
	uint8_t *whole = mem_alloc(l.size);
	assert_non_null(whole);
	memcpy(whole, l.bytes, l.size);
	for (unsigned n = 0; n < 6000; n++) {
		memcpy(l.bytes, whole, l.size);
		for (unsigned k = 1 + (unsigned)random_below(&r, 4); k; k--)
			l.bytes[random_below(&r, l.size)] = (uint8_t)random_next(&r);
		if (!block_init(&l.block, l.bytes, l.size))
			exercise(&l.block, &d);
	}
	mem_free(whole);
	mem_free(l.bytes);
	data_done(&d);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		uint8_t bytes[56];
		size_t size;
	} bad[] = {
#define FENCE 0, 0, 0, 0, 0, 0, 0, 0
#define WORD(x) x, 0, 0, 0
#define ENTRY 0, 1, 0, FENCE, 1 /* key "\1" and nothing else: 12 bytes */
		{ { 0, 0, 0, 0, 0, 0, 0 }, 7 }, /* no tail */
		{ { WORD(0), WORD(1) }, 8 }, /* a restart, no room */
		{ { WORD(0), 0, 0, 0, 0x10 }, 8 }, /* a feature */
		{ { ENTRY, WORD(0), WORD(0) }, 20 }, /* no restart */
		{ { ENTRY, FENCE, WORD(1), WORD(0), WORD(1) }, 32 }, /* first not at 0 */
		{ { FENCE, WORD(0), WORD(0), WORD(1) }, 20 }, /* no entries */
		{ { ENTRY, ENTRY, FENCE, FENCE, WORD(0), WORD(0), WORD(0), WORD(2) }, 56 }, /* equal */
		{ { ENTRY, ENTRY, FENCE, FENCE, WORD(0), WORD(24), WORD(0), WORD(2) }, 56 }, /* at the end */
		{ { ENTRY, FENCE, WORD(0), WORD(2), WORD(1) }, 32 }, /* prefix too long */
		{ { 1, 0, 0, FENCE, 1, FENCE, WORD(0), WORD(0), WORD(1) }, 32 }, /* shares at first */
	};
	struct block b;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(block_init(&b, bad[i].bytes, bad[i].size));
	static const uint8_t good[] = { ENTRY, ENTRY, FENCE, FENCE, WORD(0), WORD(12), WORD(1), WORD(2) };
	assert_null(block_init(&b, good, sizeof(good)));
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_out_of_memory"));
	struct data d = { 0 };
	struct loaded l;
	data_random(&d, &r, &(struct data_shape){ .entries = 100, .keys = 80, .key_prefix = 400, .value_max =
		20 });
	build(&d, 50, &l);
	load(&l);
	unsigned n = 0;
	for (bool done = false; !done; n++) {
		struct block_iter b;
		block_iter_init(&b);
		block_iter_set(&b, &l.block);
		scarce_begin(n);
		enum block_result forward = block_iter_first(&b);
		while (forward == BLOCK_AT)
			forward = block_iter_next(&b);
		enum block_result backward = block_iter_last(&b);
		while (backward == BLOCK_AT)
			backward = block_iter_prev(&b);
		scarce_end();
		assert_true(forward == BLOCK_END || forward == BLOCK_NO_MEMORY);
		assert_true(backward == BLOCK_END || backward == BLOCK_NO_MEMORY);
		done = forward == BLOCK_END && backward == BLOCK_END;
		block_iter_done(&b);
	}
	assert_true(n > 3);
	mem_free(l.bytes);
	data_done(&d);
}

static void test_common_prefix(void **state)
{
	(void)state;
	uint8_t a[40], b[40];
	memset(a, 'x', sizeof(a));
	memset(b, 'x', sizeof(b));
	for (size_t size = 0; size <= sizeof(a); size++)
		for (size_t differs = 0; differs <= size; differs++) {
			if (differs < size)
				b[differs] = 'X';
			assert_int_equal(prefix_common(a, b, size), differs);
			if (differs < size)
				b[differs] = 'x';
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_a_list),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_common_prefix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
