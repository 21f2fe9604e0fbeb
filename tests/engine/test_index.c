/* The index: separators separate, searches agree with a walk over the list, damage is refused. */
#include "engine/table/index.h"

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

enum { KEY_MAX = 24 };

struct text {
	uint8_t bytes[KEY_MAX];
	size_t size;
};

static struct wombat_slice slice_of(const struct text *t)
{
	return slice_make(t->bytes, t->size);
}

/* Few different bytes, the extreme ones among them, so that keys share and touch. */
static struct text random_text(struct random_state *r)
{
	static const uint8_t alphabet[] = { 0, 1, 'a', 'b', 'c', 0xfe, 0xff };
	struct text t = { .bytes = { 1 }, .size = 1 + (size_t)random_below(r, 8) };
	for (size_t i = 1; i < t.size; i++)
		t.bytes[i] = alphabet[random_below(r, sizeof(alphabet))];
	return t;
}

static void test_separator(void **state)
{
	(void)state;
	struct random_state r;
	struct buf out = { 0 };
	random_seed(&r, test_seed("test_separator"));
	for (unsigned n = 0; n < 50000; n++) {
		struct text a = random_text(&r), b = random_text(&r);
		int c = slice_compare(slice_of(&a), slice_of(&b));
		if (c == 0)
			continue;
		const struct text *before = c < 0 ? &a : &b, *after = c < 0 ? &b : &a;
		assert_ok(index_separator(slice_of(before), slice_of(after), &out));
		assert_true(slice_compare(slice_of(before), buf_slice(&out)) <= 0);
		assert_true(slice_compare(buf_slice(&out), slice_of(after)) < 0);
		assert_true(out.size <= before->size || out.size <= after->size);
	}
	static const struct {
		const char *before, *after, *separator;
	} shown[] = {
		{ "abcdef", "abxyz", "abx" },  /* cut where they part */
		{ "abcdef", "abx", "abd" },    /* raised, since cutting leaves all of the second */
		{ "abcdef", "abd", "abce" },   /* raised further on */
		{ "ab", "abc", "ab" },         /* a prefix has nothing shorter */
	};
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		assert_ok(index_separator(WOMBAT_STR(shown[i].before), WOMBAT_STR(shown[i].after), &out));
		assert_true(slice_equal(buf_slice(&out), WOMBAT_STR(shown[i].separator)));
	}
	buf_done(&out);
}

struct separator {
	struct text key;
	uint64_t tag;
	struct table_handle handle;
};

static int separator_compare(const void *a, const void *b)
{
	const struct separator *x = a, *y = b;
	return ikey_compare_parts(slice_of(&x->key), x->tag, slice_of(&y->key), y->tag);
}

/* Sorted and distinct; returns how many. */
static size_t random_separators(struct random_state *r, struct separator *list, size_t count, size_t prefix,
	bool tags)
{
	for (size_t i = 0; i < count; i++) {
		struct text t = random_text(r), key = { .bytes = { 1 }, .size = 1 + prefix };
		memset(key.bytes + 1, 'p', prefix);
		memcpy(key.bytes + key.size, t.bytes + 1, t.size - 1);
		key.size += t.size - 1;
		list[i] = (struct separator){ .key = key, .tag = tags ? random_below(r, 4) : 0 };
	}
	qsort(list, count, sizeof(*list), separator_compare);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (!kept || separator_compare(&list[kept - 1], &list[i]) != 0)
			list[kept++] = list[i];
	uint64_t offset = 0;
	for (size_t i = 0; i < kept; i++) {
		offset += random_below(r, 4) ? 0 : random_below(r, 5000); /* a gap at times */
		list[i].handle = (struct table_handle){ offset, 1 + random_below(r, 100000) };
		offset += list[i].handle.size + TABLE_BLOCK_TRAILER_SIZE;
	}
	return kept;
}

static void encode(const struct separator *list, size_t count, struct buf *out)
{
	struct index_builder b;
	index_builder_init(&b);
	for (size_t i = 0; i < count; i++)
		assert_ok(index_builder_add(&b, slice_of(&list[i].key), list[i].tag, list[i].handle));
	assert_ok(index_builder_finish(&b, out));
	index_builder_done(&b);
}

static size_t walk(const struct separator *list, size_t count, struct wombat_slice key, uint64_t tag)
{
	size_t i = 0;
	while (i < count && ikey_compare_parts(slice_of(&list[i].key), list[i].tag, key, tag) < 0)
		i++;
	return i;
}

static void assert_index(const struct index *x, const struct separator *list, size_t count,
	struct random_state *r)
{
	assert_int_equal(x->count, count);
	for (size_t i = 0; i < count; i++) {
		struct table_handle h = index_handle(x, i);
		assert_true(h.offset == list[i].handle.offset && h.size == list[i].handle.size);
		assert_int_equal(index_compare(x, i, slice_of(&list[i].key), list[i].tag), 0);
		assert_int_equal(index_find(x, slice_of(&list[i].key), list[i].tag), i);
	}
	for (unsigned n = 0; n < 300; n++) {
		struct text key = random_text(r);
		if (count && random_below(r, 2)) {
			key = list[random_below(r, count)].key;
			if (random_below(r, 2))
				key.bytes[key.size - 1] ^= 1;
			else if (key.size < KEY_MAX)
				key.size += random_below(r, 2) ? 1 : -(key.size > 1);
		}
		uint64_t tag = random_below(r, 2) ? random_below(r, 5) : TAG_MAX;
		size_t found = index_find(x, slice_of(&key), tag);
		assert_int_equal(found, walk(list, count, slice_of(&key), tag));
		for (size_t i = 0; i < count; i++)
			assert_true((index_compare(x, i, slice_of(&key), tag) < 0) == (i < found));
	}
}

static uint64_t end_of(const struct separator *list, size_t count)
{
	return count ? list[count - 1].handle.offset + list[count - 1].handle.size + TABLE_BLOCK_TRAILER_SIZE
		: 0;
}

static void test_against_a_list(void **state)
{
	(void)state;
	enum { COUNT = 120 };
	struct separator list[COUNT];
	struct random_state r;
	struct buf bytes = { 0 };
	random_seed(&r, test_seed("test_against_a_list"));
	for (unsigned n = 0; n < 200; n++) {
		size_t count = random_separators(&r, list, (size_t)random_below(&r, COUNT + 1), n % 3 ? 0
			: 10, n % 2);
		struct index *x;
		encode(list, count, &bytes);
		uint64_t end = end_of(list, count);
		assert_ok(index_new(buf_slice(&bytes), end, "x", &x));
		assert_true(index_blocks_end(x) == end);
		assert_index(x, list, count, &r);
		index_free(x);
		if (count)
			assert_status(index_new(buf_slice(&bytes), end - 1, "x", &x), WOMBAT_CORRUPTION);
	}
	buf_done(&bytes);
}

static void test_one_block(void **state)
{
	(void)state;
	struct separator one = { { "\1key", 4 }, 0, { 0, 100 } };
	struct buf bytes = { 0 };
	struct index *x;
	encode(&one, 1, &bytes);
	assert_ok(index_new(buf_slice(&bytes), 105, "x", &x));
	assert_int_equal(index_find(x, WOMBAT_STR("\1a"), TAG_MAX), 0);
	assert_int_equal(index_find(x, WOMBAT_STR("\1key"), 0), 0);
	assert_int_equal(index_find(x, WOMBAT_SLICE("\1key\0", 5), TAG_MAX), 1);
	assert_int_equal(index_find(x, WOMBAT_STR("\1kf"), TAG_MAX), 1);
	index_free(x);
	buf_done(&bytes);
}

/* Bytes on disk: they must never change. */
static void test_golden(void **state)
{
	(void)state;
	static const uint8_t golden[] = {
		2,                                   /* entries */
		0, 3, 0, 0, 0xac, 0x02, 1, 'a', 'b', /* "\1ab" tag 0, no gap, 300 bytes */
		2, 1, 7, 2, 9, 'c',                  /* "\1ac" tag 7, a gap of 2, 9 bytes */
	};
	struct separator list[] = { { { "\1ab", 3 }, 0, { 0, 300 } }, { { "\1ac", 3 }, 7, { 307, 9 } } };
	struct buf bytes = { 0 };
	encode(list, 2, &bytes);
	assert_int_equal(bytes.size, sizeof(golden));
	assert_memory_equal(bytes.data, golden, sizeof(golden));
	buf_done(&bytes);
}

/* Without a checksum's help: refused, or an index that can be searched. */
static void test_damage(void **state)
{
	(void)state;
	enum { COUNT = 30 };
	struct separator list[COUNT];
	struct random_state r;
	struct buf bytes = { 0 };
	random_seed(&r, test_seed("test_damage"));
	for (unsigned n = 0; n < 20000; n++) {
		size_t count = random_separators(&r, list, COUNT, 3, n % 2);
		struct index *x;
		encode(list, count, &bytes);
		uint64_t end = end_of(list, count);
		bytes.data[random_below(&r, bytes.size)] = (uint8_t)random_next(&r);
		size_t size = random_below(&r, 3) ? bytes.size : (size_t)random_below(&r, bytes.size);
		uint8_t *exact = mem_alloc(size); /* its end is watched by the sanitizer */
		assert_non_null(exact);
		memcpy(exact, bytes.data, size);
		enum wombat_status s = index_new(slice_make(exact, size), end, "x", &x);
		mem_free(exact);
		if (s == WOMBAT_OK) {
			assert_true(index_blocks_end(x) <= end);
			for (size_t i = 0; i < count; i++)
				assert_true(index_find(x, slice_of(&list[i].key), list[i].tag) <= x->count);
			index_free(x);
		} else {
			assert_int_equal(s, WOMBAT_CORRUPTION);
		}
	}
	buf_done(&bytes);
}

static enum wombat_status build_and_load(struct buf *bytes)
{
	struct index_builder b;
	struct index *x;
	uint8_t key[100] = { 1 };
	index_builder_init(&b);
	enum wombat_status s = WOMBAT_OK;
	for (uint64_t i = 0; i < 200 && s == WOMBAT_OK; i++) {
		key[1] = (uint8_t)i;
		s = index_builder_add(&b, slice_make(key, sizeof(key)), i & 1,
			(struct table_handle){ i * 15, 10 });
	}
	if (s == WOMBAT_OK)
		s = index_builder_finish(&b, bytes);
	index_builder_done(&b);
	if (s == WOMBAT_OK)
		s = index_new(buf_slice(bytes), 3000, "x", &x);
	if (s == WOMBAT_OK)
		index_free(x);
	return s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct buf bytes = { 0 };
		scarce_begin(n);
		s = build_and_load(&bytes);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		buf_done(&bytes);
	}
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_separator),
		cmocka_unit_test(test_against_a_list),
		cmocka_unit_test(test_one_block),
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
