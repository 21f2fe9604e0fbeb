/* The memtable: versions, prefixes, range tombstones, its figures, and reading beside a writer. */
#include "engine/mem/memtable.h"

#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/base/record.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

static struct wombat_slice text(const char *s)
{
	return slice_make(s, strlen(s));
}

static void put(struct memtable *m, const char *key, uint64_t sequence, const char *value, uint64_t time_ns)
{
	uint8_t encoded[256];
	struct record r = { .value = text(value) };
	record_encode(encoded, &r);
	assert_ok(memtable_add(m, text(key), tag_make(sequence, KIND_PUT), slice_make(encoded, record_encoded_size(&r)),
			       time_ns));
}

static void test_newest_as_of(void **state)
{
	(void)state;
	struct memtable *m;
	uint64_t tag;
	struct wombat_slice value;
	struct record r;
	assert_ok(memtable_new(0, &m));
	put(m, "\1a", 1, "one", 100);
	put(m, "\1a", 3, "three", 300);
	assert_ok(memtable_add(m, text("\1a"), tag_make(5, KIND_DELETE), text(""), 500));
	put(m, "\1b", 6, "six", 600);
	assert_false(memtable_get(m, text("\1a"), 0, &tag, &value));
	assert_true(memtable_get(m, text("\1a"), 2, &tag, &value));
	assert_int_equal(tag, tag_make(1, KIND_PUT));
	assert_true(memtable_get(m, text("\1a"), 4, &tag, &value));
	assert_int_equal(tag, tag_make(3, KIND_PUT));
	assert_ok(record_decode(value, &r));
	assert_true(slice_equal(r.value, text("three")));
	assert_int_equal(r.time_ns, 300); /* A time of 0 became the write's. */
	assert_true(memtable_get(m, text("\1a"), SEQUENCE_MAX, &tag, &value));
	assert_int_equal(tag, tag_make(5, KIND_DELETE));
	assert_false(memtable_get(m, text("\1"), SEQUENCE_MAX, &tag, &value));
	assert_int_equal(memtable_entries(m), 4);
	assert_int_equal(memtable_deletes(m), 1);
	memtable_unref(m);
	memtable_unref(NULL);
}

/* A time that the writer chose stays. */
static void test_own_time_stays(void **state)
{
	(void)state;
	struct memtable *m;
	uint8_t encoded[64];
	uint64_t tag;
	struct wombat_slice value;
	struct record r = { .time_ns = 77, .expiry_ns = 99, .attr = text("mode"), .value = text("v") };
	assert_ok(memtable_new(0, &m));
	record_encode(encoded, &r);
	assert_ok(memtable_add(m, text("\1k"), tag_make(1, KIND_PUT), slice_make(encoded, record_encoded_size(&r)), 500));
	assert_true(memtable_get(m, text("\1k"), 1, &tag, &value));
	assert_ok(record_decode(value, &r));
	assert_int_equal(r.time_ns, 77);
	assert_int_equal(r.expiry_ns, 99);
	assert_true(slice_equal(r.attr, text("mode")));
	memtable_unref(m);
}

static void test_prefix(void **state)
{
	(void)state;
	struct memtable *m;
	assert_ok(memtable_new(0, &m));
	assert_false(memtable_has_prefix(m, text("\1")));
	put(m, "\1dir-x", 1, "", 1);
	put(m, "\1dir/a", 2, "", 1);
	put(m, "\1dir0", 3, "", 1);
	assert_true(memtable_has_prefix(m, text("\1dir/")));
	assert_true(memtable_has_prefix(m, text("\1dir/a")));
	assert_false(memtable_has_prefix(m, text("\1dir/b")));
	assert_false(memtable_has_prefix(m, text("\1di/")));
	assert_false(memtable_has_prefix(m, text("\2")));
	memtable_unref(m);
}

/* The iterator keeps the memtable alive. */
static void test_iterator_holds_it(void **state)
{
	(void)state;
	struct memtable *m;
	struct iter *it;
	assert_ok(memtable_new(0, &m));
	put(m, "\1b", 1, "", 1);
	put(m, "\1a", 2, "", 1);
	assert_ok(memtable_iter_new(m, &it));
	memtable_unref(m);
	iter_first(it);
	assert_true(it->valid && slice_equal(it->key, text("\1a")));
	iter_next(it);
	assert_true(it->valid && slice_equal(it->key, text("\1b")));
	iter_next(it);
	assert_false(it->valid);
	iter_free(it);
}

static void test_huge_value(void **state)
{
	(void)state;
	struct memtable *m;
	size_t size = 64 << 20;
	uint8_t *value = mem_zalloc(size);
	uint64_t tag;
	struct wombat_slice found;
	assert_non_null(value);
	value[size - 1] = 7;
	assert_ok(memtable_new(0, &m));
	put(m, "\1a", 1, "small", 1);
	assert_ok(memtable_add(m, text("\1huge"), tag_make(2, KIND_PUT), slice_make(value, size), 1));
	put(m, "\1z", 3, "small", 1);
	assert_true(memtable_bytes(m) >= size);
	assert_true(memtable_bytes(m) < size + (1 << 20));
	assert_true(memtable_get(m, text("\1huge"), 9, &tag, &found));
	assert_int_equal(found.size, size);
	assert_int_equal(found.data[size - 1], 7);
	memtable_unref(m);
	mem_free(value);
}

/* ---- Range tombstones ---------------------------------------------------------------------- */

static void random_key(struct random_state *r, char out[8])
{
	sprintf(out, "\1%03u", (unsigned)random_below(r, 200));
}

/* Tombstones are added and looked for in turns: whatever the runs are, cover is that of a plain list, and so is that
 * of the fragments of all. */
static void test_ranges_against_plain_list(void **state)
{
	(void)state;
	enum { RANGES = 400 };
	struct {
		char begin[8], end[8];
	} plain[RANGES];
	struct random_state r;
	struct memtable *m;
	struct range_fragments *f;
	size_t count = 0;
	random_seed(&r, test_seed("ranges_against_plain_list"));
	assert_ok(memtable_new(0, &m));
	assert_false(memtable_has_range_dels(m));
	assert_ok(memtable_range_dels(m, &f));
	assert_null(f);
	size_t bytes = memtable_bytes(m);
	while (count < RANGES) {
		random_key(&r, plain[count].begin);
		random_key(&r, plain[count].end);
		if (strcmp(plain[count].begin, plain[count].end) >= 0)
			continue;
		assert_ok(memtable_add_range(m, (struct range_del){ text(plain[count].begin), text(plain[count].end),
								    count + 1 }));
		count++;
		if (random_below(&r, 3))
			continue;
		char key[8];
		uint64_t max = random_below(&r, count + 2), expected = 0, cover;
		random_key(&r, key);
		for (size_t i = 0; i < count && i < max; i++)
			if (strcmp(plain[i].begin, key) <= 0 && strcmp(key, plain[i].end) < 0)
				expected = i + 1;
		assert_ok(memtable_range_cover(m, text(key), max, &cover));
		assert_true(cover == expected);
		if (random_below(&r, 10))
			continue;
		assert_ok(memtable_range_dels(m, &f));
		assert_true(range_fragments_cover(f, text(key), max) == expected);
		range_fragments_unref(f);
	}
	assert_true(memtable_has_range_dels(m));
	assert_int_equal(memtable_entries(m), RANGES);
	assert_true(memtable_bytes(m) > bytes + RANGES * 8); /* They count, or they would never be flushed. */
	memtable_unref(m);
}

/* ---- Memory that runs out ------------------------------------------------------------------ */

static enum wombat_status use_a_memtable(void)
{
	struct memtable *m;
	struct iter *it = NULL;
	struct range_fragments *f = NULL;
	uint64_t cover;
	static uint8_t big[400000];
	enum wombat_status s = memtable_new(0, &m);
	if (s != WOMBAT_OK)
		return s;
	for (uint64_t i = 1; i <= 20 && s == WOMBAT_OK; i++)
		s = memtable_add(m, text("\1key"), tag_make(i, KIND_PUT), slice_make(big, sizeof big), 1);
	for (uint64_t i = 1; i <= 20 && s == WOMBAT_OK; i++) {
		s = memtable_add_range(m, (struct range_del){ text("\1a"), text("\1b"), i });
		if (s == WOMBAT_OK)
			s = memtable_range_cover(m, text("\1a"), i, &cover);
		assert_true(s != WOMBAT_OK || cover == i);
	}
	if (s == WOMBAT_OK)
		s = memtable_range_dels(m, &f);
	if (s == WOMBAT_OK)
		s = memtable_iter_new(m, &it);
	iter_free(it);
	range_fragments_unref(f);
	memtable_unref(m);
	return s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	enum wombat_status s;
	do {
		scarce_begin(n++);
		s = use_a_memtable();
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	} while (s != WOMBAT_OK);
	assert_true(n > 20);
}

/* ---- Readers beside a writer --------------------------------------------------------------- */

struct shared {
	struct memtable *m;
	atomic_uint_fast64_t visible;
	atomic_bool stop;
};

/* Sequence 2n puts key n, sequence 2n + 1 deletes the range that holds just it. */
static void *reader(void *arg)
{
	struct shared *s = arg;
	struct random_state r;
	random_seed(&r, 1);
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		uint64_t as_of = atomic_load_explicit(&s->visible, memory_order_acquire), tag, cover;
		if (as_of < 3)
			continue;
		uint64_t n = 1 + random_below(&r, as_of / 2);
		char key[16];
		struct wombat_slice value;
		sprintf(key, "\1%08u", (unsigned)n);
		assert_true(memtable_get(s->m, text(key), as_of, &tag, &value));
		assert_int_equal(tag_sequence(tag), 2 * n);
		assert_ok(memtable_range_cover(s->m, text(key), as_of, &cover));
		assert_int_equal(cover, 2 * n + 1 <= as_of ? 2 * n + 1 : 0);
	}
	return NULL;
}

static void test_readers_beside_a_writer(void **state)
{
	(void)state;
	struct shared s = { 0 };
	pthread_t threads[2];
	assert_ok(memtable_new(0, &s.m));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
	for (unsigned n = 1; n <= test_steps(3000); n++) {
		char begin[16], end[16];
		sprintf(begin, "\1%08u", n);
		sprintf(end, "\1%08u", n + 1);
		put(s.m, begin, 2 * n, "value", 5);
		atomic_store_explicit(&s.visible, 2 * n, memory_order_release);
		assert_ok(memtable_add_range(s.m, (struct range_del){ text(begin), text(end), 2 * n + 1 }));
		atomic_store_explicit(&s.visible, 2 * n + 1, memory_order_release);
	}
	atomic_store_explicit(&s.stop, true, memory_order_relaxed);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	memtable_unref(s.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_newest_as_of), cmocka_unit_test(test_own_time_stays),
		cmocka_unit_test(test_prefix), cmocka_unit_test(test_iterator_holds_it),
		cmocka_unit_test(test_huge_value), cmocka_unit_test(test_ranges_against_plain_list),
		cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_readers_beside_a_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
