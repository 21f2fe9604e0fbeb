/* Range tombstones: fragments against a plain list of tombstones, clipping, and allocations that fail. */
#include "engine/iter/range_del.h"

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

enum { MAX_RANGES = 60, KEY_SPACE = 40 };

struct plain {
	unsigned begin, end; /* numbers that text_of() makes keys of */
	uint64_t sequence;
};

/* Keys whose order is that of their numbers, some of them prefixes of others; 0 is the empty key. */
static struct wombat_slice text_of(unsigned n, char out[16])
{
	int size = n == 0 ? 0 : n % 2 ? sprintf(out, "%02u", n / 2) : sprintf(out, "%02u%c", n / 2 - 1, 'x');
	return slice_make(out, (size_t)size);
}

static uint64_t plain_cover(const struct plain *p, size_t count, unsigned key, uint64_t max_sequence)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < count; i++)
		if (p[i].begin <= key && key < p[i].end && p[i].sequence <= max_sequence && p[i].sequence > newest)
			newest = p[i].sequence;
	return newest;
}

static void assert_well_formed(const struct range_fragments *f)
{
	for (size_t i = 0; i < range_fragments_count(f); i++) {
		const struct range_fragment *item = range_fragments_at(f, i);
		assert_true(slice_compare(item->begin, item->end) < 0);
		assert_true(item->count > 0);
		for (size_t k = 1; k < item->count; k++)
			assert_true(item->sequences[k - 1] > item->sequences[k]);
		if (i > 0)
			assert_true(slice_compare(range_fragments_at(f, i - 1)->end, item->begin) <= 0);
	}
}

static void assert_covers_like(const struct range_fragments *f, const struct plain *p, size_t count)
{
	char text[16];
	for (unsigned key = 0; key < KEY_SPACE; key++) {
		struct wombat_slice k = text_of(key, text);
		for (uint64_t max = 0; max <= count + 1; max += 1 + count / 8)
			assert_true(range_fragments_cover(f, k, max) == plain_cover(p, count, key, max));
		size_t at = range_fragments_find(f, k);
		if (at < range_fragments_count(f))
			assert_true(slice_compare(range_fragments_at(f, at)->end, k) > 0);
		if (at > 0)
			assert_true(slice_compare(range_fragments_at(f, at - 1)->end, k) <= 0);
	}
}

static size_t random_ranges(struct random_state *r, struct plain *p, struct range_del_set *set)
{
	size_t count = random_below(r, MAX_RANGES), kept = 0;
	for (size_t i = 0; i < count; i++) {
		char begin[16], end[16];
		struct plain item = { (unsigned)random_below(r, KEY_SPACE), (unsigned)random_below(r, KEY_SPACE), i + 1 };
		assert_ok(range_del_set_add(set, (struct range_del){ text_of(item.begin, begin), text_of(item.end, end),
								     item.sequence }));
		if (item.begin < item.end)
			p[kept++] = item;
	}
	assert_int_equal(set->count, kept);
	return kept;
}

static void test_against_plain_list(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("against_plain_list"));
	for (unsigned round = 0; round < test_steps(300); round++) {
		struct plain p[MAX_RANGES];
		struct range_del_set set;
		struct range_fragments *f;
		range_del_set_init(&set);
		size_t count = random_ranges(&r, p, &set);
		assert_ok(range_fragments_build(&set, &f));
		range_del_set_done(&set); /* The fragments hold copies. */
		assert_well_formed(f);
		assert_covers_like(f, p, count);
		range_fragments_unref(f);
	}
}

/* Clipped to a part, and made into fragments again, they cover that part as before and nothing else. */
static void test_collect_clips(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("collect_clips"));
	for (unsigned round = 0; round < test_steps(300); round++) {
		struct plain p[MAX_RANGES];
		struct range_del_set set, part;
		struct range_fragments *f, *clipped;
		char begin_text[16], end_text[16], text[16];
		range_del_set_init(&set);
		range_del_set_init(&part);
		size_t count = random_ranges(&r, p, &set);
		unsigned begin = (unsigned)random_below(&r, KEY_SPACE), end = (unsigned)random_below(&r, KEY_SPACE);
		bool bounded = end > begin;
		assert_ok(range_fragments_build(&set, &f));
		assert_ok(range_fragments_collect(f, text_of(begin, begin_text), text_of(bounded ? end : 0, end_text), &part));
		assert_ok(range_fragments_build(&part, &clipped));
		assert_well_formed(clipped);
		for (unsigned key = 0; key < KEY_SPACE; key++) {
			bool in = key >= begin && (!bounded || key < end);
			for (uint64_t max = 0; max <= count + 1; max++)
				assert_true(range_fragments_cover(clipped, text_of(key, text), max) ==
					    (in ? plain_cover(p, count, key, max) : 0));
		}
		range_fragments_unref(clipped);
		range_fragments_unref(f);
		range_del_set_done(&part);
		range_del_set_done(&set);
	}
}

/* The picture in the header. */
static void test_documented_example(void **state)
{
	(void)state;
	struct range_del_set set;
	struct range_fragments *f;
	static const char *const bounds[] = { "a", "c", "e", "g" };
	range_del_set_init(&set);
	assert_ok(range_del_set_add(&set, (struct range_del){ slice_make("c", 1), slice_make("g", 1), 7 }));
	assert_ok(range_del_set_add(&set, (struct range_del){ slice_make("a", 1), slice_make("e", 1), 5 }));
	assert_ok(range_fragments_build(&set, &f));
	assert_int_equal(range_fragments_count(f), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_true(slice_equal(range_fragments_at(f, i)->begin, slice_make(bounds[i], 1)));
		assert_true(slice_equal(range_fragments_at(f, i)->end, slice_make(bounds[i + 1], 1)));
	}
	assert_int_equal(range_fragments_at(f, 0)->count, 1);
	assert_int_equal(range_fragments_at(f, 1)->count, 2);
	assert_int_equal(range_fragments_at(f, 1)->sequences[0], 7);
	assert_int_equal(range_fragments_at(f, 1)->sequences[1], 5);
	assert_int_equal(range_fragments_at(f, 2)->count, 1);
	struct range_fragments *again = range_fragments_ref(f);
	range_fragments_unref(f);
	assert_int_equal(range_fragments_count(again), 3);
	range_fragments_unref(again);
	range_del_set_done(&set);
}

static void test_nothing(void **state)
{
	(void)state;
	struct range_del_set set;
	struct range_fragments *f;
	struct wombat_slice k = slice_make("k", 1);
	range_del_set_init(&set);
	assert_ok(range_del_set_add(&set, (struct range_del){ k, k, 1 }));
	assert_ok(range_del_set_add(&set, (struct range_del){ slice_make("z", 1), k, 2 }));
	assert_int_equal(set.count, 0);
	assert_ok(range_fragments_build(&set, &f));
	assert_int_equal(range_fragments_count(f), 0);
	assert_int_equal(range_fragments_cover(f, k, UINT64_MAX), 0);
	assert_int_equal(range_fragments_count(NULL), 0);
	assert_int_equal(range_fragments_cover(NULL, k, UINT64_MAX), 0);
	range_fragments_unref(f);
	range_fragments_unref(NULL);
	range_del_set_done(&set);
}

/* ---- Memory that runs out ------------------------------------------------------------------ */

static enum wombat_status build_and_collect(void)
{
	struct range_del_set set, part;
	struct range_fragments *f = NULL;
	enum wombat_status s = WOMBAT_OK;
	range_del_set_init(&set);
	range_del_set_init(&part);
	for (uint64_t i = 0; i < 40 && s == WOMBAT_OK; i++) {
		uint8_t begin[200] = { (uint8_t)i }, end[200] = { (uint8_t)(i + 30) };
		size_t before = set.count;
		s = range_del_set_add(&set, (struct range_del){ slice_make(begin, 200), slice_make(end, 200), i + 1 });
		assert_int_equal(set.count, before + (s == WOMBAT_OK));
	}
	if (s == WOMBAT_OK)
		s = range_fragments_build(&set, &f);
	if (s == WOMBAT_OK)
		s = range_fragments_collect(f, slice_make("\x05", 1), slice_make("\x35", 1), &part);
	range_fragments_unref(f);
	range_del_set_done(&part);
	range_del_set_done(&set);
	return s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	enum wombat_status s;
	do {
		scarce_begin(n++);
		s = build_and_collect();
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	} while (s != WOMBAT_OK);
	assert_true(n > 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documented_example), cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_against_plain_list), cmocka_unit_test(test_collect_clips),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
