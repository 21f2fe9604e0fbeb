/* Batches: their bytes, what applying them does, and bytes that are no batch. */
#include "engine/mem/write_batch.h"

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

static struct wombat_slice text(const char *s)
{
	return slice_make(s, strlen(s));
}

/* On disk: these bytes never change. */
static void test_golden_bytes(void **state)
{
	(void)state;
	static const uint8_t golden[] = {
		1, 1, 3, 'k', 'e', 'y', 14,                                   /* put, keyspace 1, key, record of 14 bytes */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 'v', 'a', 'l', 'u', 'e',           /* no flags, no time */
		1, 2, 0, 24,                                                  /* put, keyspace 2, empty key, 24 bytes */
		3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4,         /* expiry and attributes; time 5, expiry 256 */
		'a', 't', 't', 'r', 'x', 'y',
		0, 254, 1, 'd',                                               /* delete, keyspace 254 */
		2, 1, 1, 'a', 1, 'b',                                         /* delete range a to b */
		2, 1, 0, 0,                                                   /* delete range: all of the keyspace */
	};
	struct wombat_put_info info = { .time_ns = 5, .expiry_ns = 256, .attr = text("attr") };
	struct wombat_batch *b = wombat_batch_new();
	assert_non_null(b);
	assert_ok(wombat_batch_put(b, 1, text("key"), text("value"), NULL));
	assert_ok(wombat_batch_put(b, 2, text(""), text("xy"), &info));
	assert_ok(wombat_batch_delete(b, 254, text("d")));
	assert_ok(wombat_batch_delete_range(b, 1, text("a"), text("b")));
	assert_ok(wombat_batch_delete_range(b, 1, text(""), text("")));
	assert_int_equal(wombat_batch_count(b), 5);
	assert_int_equal(b->body.size, sizeof golden);
	assert_memory_equal(b->body.data, golden, sizeof golden);
	assert_int_equal(b->largest_key, 3);
	assert_int_equal(b->largest_attr, 4);
	assert_int_equal(b->largest_value, 5);
	wombat_batch_clear(b);
	assert_int_equal(wombat_batch_count(b), 0);
	assert_int_equal(b->body.size, 0);
	assert_int_equal(b->largest_key, 0);
	wombat_batch_free(b);
	wombat_batch_free(NULL);
}

/* What a write without a batch encodes is what a batch holds. */
static void test_single_put_is_alike(void **state)
{
	(void)state;
	struct wombat_batch *b = wombat_batch_new();
	struct record r = { .value = text("value"), .expiry_ns = 9 };
	struct wombat_put_info info = { .expiry_ns = 9 };
	uint8_t bytes[100];
	assert_ok(wombat_batch_put(b, 7, text("key"), text("value"), &info));
	assert_int_equal(write_batch_put_size(text("key"), &r), b->body.size);
	write_batch_put_encode(bytes, 7, text("key"), &r);
	assert_memory_equal(bytes, b->body.data, b->body.size);
	wombat_batch_free(b);
}

static void test_keyspaces_are_checked(void **state)
{
	(void)state;
	struct wombat_batch *b = wombat_batch_new();
	static const unsigned bad[] = { 0, 255, 256, 257, 1u << 31 };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_status(wombat_batch_put(b, bad[i], text("k"), text("v"), NULL), WOMBAT_INVALID);
		assert_status(wombat_batch_delete(b, bad[i], text("k")), WOMBAT_INVALID);
		assert_status(wombat_batch_delete_range(b, bad[i], text("k"), text("l")), WOMBAT_INVALID);
	}
	assert_int_equal(wombat_batch_count(b), 0);
	assert_int_equal(b->body.size, 0);
	wombat_batch_free(b);
}

/* ---- Applying ------------------------------------------------------------------------------ */

static void test_apply(void **state)
{
	(void)state;
	struct wombat_batch *b = wombat_batch_new();
	struct memtable *m;
	struct range_fragments *f;
	uint32_t count;
	uint64_t tag;
	struct wombat_slice value;
	char long_key[4096];
	memset(long_key, 'l', sizeof long_key);
	assert_ok(wombat_batch_put(b, 1, text("k"), text("first"), NULL));
	assert_ok(wombat_batch_put(b, 1, text("k"), text("second"), NULL));
	assert_ok(wombat_batch_delete(b, 2, text("k")));
	assert_ok(wombat_batch_put(b, 1, slice_make(long_key, sizeof long_key), text("v"), NULL));
	assert_ok(wombat_batch_delete_range(b, 1, slice_make(long_key, sizeof long_key), text("")));
	assert_ok(wombat_batch_delete_range(b, 1, text("z"), text("a"))); /* empty: counted, nothing to do */
	assert_ok(wombat_batch_delete_range(b, 3, text("a"), slice_make(long_key, sizeof long_key)));
	assert_ok(memtable_new(0, &m));
	assert_ok(write_batch_apply(buf_slice(&b->body), 100, 0, 55, m, &count));
	assert_int_equal(count, 7);
	assert_int_equal(memtable_entries(m), 6);
	assert_true(memtable_get(m, text("\1k"), SEQUENCE_MAX, &tag, &value));
	assert_int_equal(tag, tag_make(101, KIND_PUT)); /* Later ones win. */
	struct record r;
	assert_ok(record_decode(value, &r));
	assert_true(slice_equal(r.value, text("second")));
	assert_int_equal(r.time_ns, 55);
	assert_true(memtable_get(m, text("\2k"), SEQUENCE_MAX, &tag, &value));
	assert_int_equal(tag, tag_make(102, KIND_DELETE));
	assert_ok(memtable_range_dels(m, &f));
	assert_int_equal(range_fragments_count(f), 2);
	const struct range_fragment *whole = range_fragments_at(f, 0);
	assert_true(slice_equal(whole->end, text("\2"))); /* To the keyspace's end. */
	assert_int_equal(whole->begin.size, 1 + sizeof long_key);
	assert_int_equal(whole->sequences[0], 104);
	assert_int_equal(range_fragments_at(f, 1)->sequences[0], 106);
	range_fragments_unref(f);
	memtable_unref(m);
	wombat_batch_free(b);
}

/* What is in tables already is counted and left out. */
static void test_apply_skips(void **state)
{
	(void)state;
	struct wombat_batch *b = wombat_batch_new();
	for (int i = 0; i < 5; i++)
		assert_ok(wombat_batch_put(b, 1, text("k"), text("v"), NULL));
	for (uint64_t skip_to = 9; skip_to <= 16; skip_to++) {
		struct memtable *m;
		uint32_t count;
		assert_ok(memtable_new(0, &m));
		assert_ok(write_batch_apply(buf_slice(&b->body), 10, skip_to, 1, m, &count));
		assert_int_equal(count, 5);
		assert_int_equal(memtable_entries(m), skip_to >= 14 ? 0 : 14 - skip_to);
		memtable_unref(m);
	}
	wombat_batch_free(b);
}

/* The largest keyspace's end is a byte that no keyspace has. */
static void test_last_keyspace_ends(void **state)
{
	(void)state;
	struct wombat_batch *b = wombat_batch_new();
	struct memtable *m;
	uint32_t count;
	uint64_t cover;
	assert_ok(wombat_batch_delete_range(b, WOMBAT_KEYSPACE_MAX, text(""), text("")));
	assert_ok(memtable_new(0, &m));
	assert_ok(write_batch_apply(buf_slice(&b->body), 1, 0, 1, m, &count));
	assert_ok(memtable_range_cover(m, text("\xfe\xff\xff\xff"), 1, &cover));
	assert_int_equal(cover, 1);
	assert_ok(memtable_range_cover(m, text("\xfd\xff"), 1, &cover));
	assert_int_equal(cover, 0);
	memtable_unref(m);
	wombat_batch_free(b);
}

/* ---- Bytes that are no batch --------------------------------------------------------------- */

/* Decodes all; the status that ended it. */
static enum wombat_status walk(struct wombat_slice body, uint32_t *out_count)
{
	struct cursor c = cursor_of(body);
	struct batch_change change;
	for (*out_count = 0; cursor_left(&c); ++*out_count) {
		enum wombat_status s = write_batch_next(&c, &change);
		if (s != WOMBAT_OK)
			return s;
		const struct wombat_slice parts[] = { change.key, change.value, change.end };
		for (int i = 0; i < 3; i++)
			if (parts[i].size)
				assert_true(parts[i].data >= body.data && parts[i].data + parts[i].size <= body.data + body.size);
	}
	return WOMBAT_OK;
}

static void test_cut_off_anywhere(void **state)
{
	(void)state;
	struct wombat_batch *b = wombat_batch_new();
	size_t ends[3] = { 0 };
	uint32_t count;
	assert_ok(wombat_batch_put(b, 1, text("key"), text("some value"), NULL));
	ends[0] = b->body.size;
	assert_ok(wombat_batch_delete_range(b, 1, text("from"), text("to")));
	ends[1] = b->body.size;
	assert_ok(wombat_batch_delete(b, 1, text("key")));
	ends[2] = b->body.size;
	for (size_t size = 0; size <= b->body.size; size++) {
		/* A copy of just that size, so that reading past it would be seen. */
		uint8_t *copy = mem_alloc(size);
		assert_non_null(copy);
		memcpy(copy, b->body.data, size);
		bool whole = size == 0 || size == ends[0] || size == ends[1] || size == ends[2];
		assert_status(walk(slice_make(copy, size), &count), whole ? WOMBAT_OK : WOMBAT_CORRUPTION);
		struct memtable *m;
		assert_ok(memtable_new(0, &m));
		assert_status(write_batch_apply(slice_make(copy, size), 1, 0, 1, m, &count),
			      whole ? WOMBAT_OK : WOMBAT_CORRUPTION);
		memtable_unref(m);
		mem_free(copy);
	}
	wombat_batch_free(b);
}

static void test_wrong_bytes(void **state)
{
	(void)state;
	uint32_t count;
	static const uint8_t keyspace_255[] = { 0, 255, 1, 'k' }, kind[] = { 3, 1, 1, 'k' };
	static const uint8_t length[] = { 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'k' };
	assert_status(walk(slice_make(keyspace_255, sizeof keyspace_255), &count), WOMBAT_CORRUPTION);
	assert_status(walk(slice_make(length, sizeof length), &count), WOMBAT_CORRUPTION);
	assert_status(walk(slice_make(kind, sizeof kind), &count), WOMBAT_UNSUPPORTED);
}

static void test_random_bytes(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("random_bytes"));
	for (unsigned i = 0; i < test_steps(20000); i++) {
		size_t size = random_below(&r, 64);
		uint8_t *bytes = mem_alloc(size);
		uint32_t count;
		assert_non_null(bytes);
		for (size_t k = 0; k < size; k++)
			bytes[k] = (uint8_t)random_below(&r, random_below(&r, 2) ? 4 : 256);
		enum wombat_status s = walk(slice_make(bytes, size), &count);
		assert_true(s == WOMBAT_OK || s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
		mem_free(bytes);
	}
}

/* ---- Memory that runs out ------------------------------------------------------------------ */

/* A call that fails leaves the batch as it was. */
static enum wombat_status fill(struct wombat_batch *b)
{
	static const char value[3000];
	enum wombat_status s = WOMBAT_OK;
	for (int i = 0; i < 6 && s == WOMBAT_OK; i++) {
		size_t size = b->body.size;
		uint32_t count = b->count;
		s = i % 3 == 0 ? wombat_batch_put(b, 1, text("k"), slice_make(value, sizeof value), NULL) :
		    i % 3 == 1 ? wombat_batch_delete(b, 1, slice_make(value, sizeof value)) :
				 wombat_batch_delete_range(b, 1, text("a"), slice_make(value, sizeof value));
		if (s != WOMBAT_OK) {
			assert_int_equal(b->body.size, size);
			assert_int_equal(b->count, count);
		}
	}
	return s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	enum wombat_status s = WOMBAT_NO_MEMORY;
	unsigned n;
	for (n = 0; s != WOMBAT_OK; n++) {
		struct memtable *m = NULL;
		uint32_t count;
		scarce_begin(n);
		struct wombat_batch *b = wombat_batch_new();
		s = b ? fill(b) : WOMBAT_NO_MEMORY;
		if (s == WOMBAT_OK)
			s = memtable_new(0, &m);
		if (s == WOMBAT_OK)
			s = write_batch_apply(buf_slice(&b->body), 1, 0, 1, m, &count);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		memtable_unref(m);
		wombat_batch_free(b);
	}
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes), cmocka_unit_test(test_single_put_is_alike),
		cmocka_unit_test(test_keyspaces_are_checked), cmocka_unit_test(test_apply),
		cmocka_unit_test(test_apply_skips), cmocka_unit_test(test_last_keyspace_ends),
		cmocka_unit_test(test_cut_off_anywhere), cmocka_unit_test(test_wrong_bytes),
		cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
