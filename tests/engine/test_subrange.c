/* Where a compaction is divided: bounds ascend, cover all, and have about equally many bytes. */
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/compact/subrange.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

static const struct wombat_slice none;

struct world {
	struct env *env;
	struct versions w;
	struct history h;
	struct random_state random;
	struct version *version;
	struct compaction_inputs in;
};

/* Levels 1 and 2 as inputs. */
static void world_init(struct world *x, size_t changes)
{
	static const struct history_mix puts = { .value_max = 100 };
	*x = (struct world){ .h = { .keys = 2000 } };
	random_seed(&x->random, test_seed("subrange"));
	assert_ok(env_mem_new(&x->env));
	versions_init(&x->w, x->env);
	assert_ok(versions_open(&x->w, true, false));
	history_grow(&x->h, &x->random, changes, &puts);
	versions_fill(&x->w, &x->h, 3);
	x->version = versions_current(&x->w);
	x->in = (struct compaction_inputs){ .version = x->version, .level = 1, .output_level = 2 };
	for (int side = 0; side < 2; side++) {
		x->in.files[side] = x->version->levels[1 + side].files;
		x->in.count[side] = x->version->levels[1 + side].count;
		for (size_t i = 0; i < x->in.count[side]; i++)
			x->in.bytes += x->in.files[side][i]->summary.file_bytes;
	}
}

static void world_done(struct world *x)
{
	version_unref(x->version);
	versions_done(&x->w);
	history_done(&x->h);
	x->env->calls->free(x->env);
}

/* Bytes of entries of the inputs in a range. */
static uint64_t bytes_between(struct world *x, struct wombat_slice from, struct wombat_slice to)
{
	uint64_t bytes = 0;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < x->in.count[side]; i++) {
			struct iter *it;
			assert_ok(file_meta_iter_new(x->in.files[side][i], x->w.tables, 0, 0, &it));
			for (iter_seek(it, from, TAG_MAX); it->valid && (to.size == 0 || slice_compare(it->key, to) < 0); iter_next(it))
				bytes += it->key.size + it->value.size;
			assert_ok(it->status);
			iter_free(it);
		}
	return bytes;
}

static void test_ranges(void **state)
{
	(void)state;
	struct world x;
	world_init(&x, 8000);
	uint64_t all = bytes_between(&x, none, none);
	for (size_t max = 0; max <= 12; max++) {
		struct subranges s;
		assert_ok(subranges_of(&x.in, x.w.tables, max, 1000, &s));
		assert_int_equal(s.count, max > 1 ? max - 1 : 0);
		uint64_t sum = 0;
		for (size_t i = 0; i <= s.count; i++) {
			struct wombat_slice from = subrange_begin(&s, i), to = subrange_end(&s, i);
			assert_int_equal(from.size == 0, i == 0);
			assert_int_equal(to.size == 0, i == s.count);
			assert_true(to.size == 0 || slice_compare(from, to) < 0);
			uint64_t bytes = bytes_between(&x, from, to);
			assert_true(bytes > all / (2 * (s.count + 1)) && bytes < 2 * all / (s.count + 1));
			sum += bytes;
		}
		assert_int_equal(sum, all);
		subranges_done(&s);
	}
	world_done(&x);
}

static void test_small_ones_are_not_divided(void **state)
{
	(void)state;
	struct world x;
	struct subranges s;
	world_init(&x, 8000);
	assert_ok(subranges_of(&x.in, x.w.tables, 8, x.in.bytes / 2 + 1, &s));
	assert_int_equal(s.count, 0);
	assert_true(subrange_begin(&s, 0).size == 0 && subrange_end(&s, 0).size == 0);
	subranges_done(&s);
	assert_ok(subranges_of(&x.in, x.w.tables, 8, x.in.bytes / 3, &s));
	assert_int_equal(s.count, 2);
	subranges_done(&s);
	world_done(&x);
}

static size_t allocations_left;

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return allocations_left > 0 && allocations_left-- > 0;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	struct world x;
	struct subranges s;
	enum wombat_status status;
	world_init(&x, 3000);
	for (size_t n = 0;; n++) {
		allocations_left = n;
		mem_test_hook = fail_allocation;
		status = subranges_of(&x.in, x.w.tables, 4, 100, &s);
		mem_test_hook = NULL;
		subranges_done(&s);
		if (status == WOMBAT_OK)
			break;
		assert_status(status, WOMBAT_NO_MEMORY);
		assert_true(n < 10000);
	}
	world_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_small_ones_are_not_divided),
		cmocka_unit_test(test_each_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
