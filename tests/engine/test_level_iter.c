/* The iterator over a level: random moves against a sorted array, over gaps, bounds and failures. */
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/version/level_iter.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

static const struct wombat_slice none;

struct world {
	struct env *env;
	struct versions w;
	struct history h;
	struct random_state random;
	const struct change **points; /* of the level, in order */
	size_t count;
};

static int compare_points(const void *a, const void *b)
{
	const struct change *x = *(const struct change *const *)a, *y = *(const struct change *const *)b;
	return ikey_compare_parts(change_key(x), tag_make(x->sequence, x->kind), change_key(y), tag_make(y->sequence, y->kind));
}

/* Level 1 in seven tables, some of which have range tombstones, one nothing else. */
static void world_init(struct world *x, const char *name)
{
	static const struct history_mix mix = { .deletes = 20, .ranges = 2, .value_max = 80 };
	*x = (struct world){ .h = { .keys = 120 } };
	struct change alone = { .kind = KIND_DELETE_RANGE };
	struct version_edit e;
	random_seed(&x->random, test_seed(name));
	assert_ok(env_mem_new(&x->env));
	versions_init(&x->w, x->env);
	assert_ok(versions_open(&x->w, true, false));
	history_grow(&x->h, &x->random, 500, &mix);
	alone.key_size = history_key(130, alone.key);
	alone.end_size = history_key(135, alone.end);
	history_add(&x->h, &alone);
	version_edit_init(&e);
	for (unsigned i = 0; i < 7; i++) {
		uint8_t from[HISTORY_KEY_MAX], to[HISTORY_KEY_MAX];
		size_t from_size = history_key(i * 20, from), to_size = history_key(i * 20 + 20, to);
		versions_add_table(&x->w, &e, 1, &x->h, 0, x->h.count, slice_make(from, from_size), slice_make(to, to_size));
	}
	assert_int_equal(e.added_count, 7);
	assert_ok(versions_apply(&x->w, &e));
	version_edit_done(&e);
	x->points = malloc(x->h.count * sizeof *x->points);
	for (size_t i = 0; i < x->h.count; i++)
		if (x->h.items[i].kind != KIND_DELETE_RANGE)
			x->points[x->count++] = &x->h.items[i];
	qsort(x->points, x->count, sizeof *x->points, compare_points);
}

static void world_done(struct world *x)
{
	free(x->points);
	versions_done(&x->w);
	history_done(&x->h);
	x->env->calls->free(x->env);
}

static struct iter *open_level(struct world *x, struct wombat_slice lower, struct wombat_slice upper)
{
	struct version *v = versions_current(&x->w);
	struct iter *it;
	assert_ok(level_iter_new(v, 1, x->w.tables, lower, upper, 0, 0, &it));
	version_unref(v);
	return it;
}

/* `at` >= count (SIZE_MAX too): not on an entry. */
static void assert_at(const struct world *x, const struct iter *it, size_t at)
{
	assert_int_equal(it->status, WOMBAT_OK);
	assert_int_equal(it->valid, at < x->count);
	if (!it->valid)
		return;
	assert_true(slice_equal(it->key, change_key(x->points[at])));
	assert_true(it->tag == tag_make(x->points[at]->sequence, x->points[at]->kind));
	if (tag_kind(it->tag) == KIND_PUT) {
		uint8_t room[HISTORY_RECORD_MAX];
		assert_true(slice_equal(it->value, history_record(x->points[at], room)));
	}
}

/* The first entry at or behind (key, tag). */
static size_t find(const struct world *x, struct wombat_slice key, uint64_t tag)
{
	size_t at = 0;
	while (at < x->count && ikey_compare_parts(change_key(x->points[at]),
						    tag_make(x->points[at]->sequence, x->points[at]->kind), key, tag) < 0)
		at++;
	return at;
}

static void test_random_moves(void **state)
{
	(void)state;
	struct world x;
	world_init(&x, "moves");
	struct iter *it = open_level(&x, none, none);
	size_t at = SIZE_MAX;
	assert_false(it->valid);
	for (int i = 0; i < 5000; i++) {
		uint8_t room[HISTORY_KEY_MAX];
		struct wombat_slice key = slice_make(room, history_key((unsigned)random_below(&x.random, 150), room));
		uint64_t tag = random_below(&x.random, 3) ? TAG_MAX : tag_make(1 + random_below(&x.random, x.h.count), KIND_PUT);
		switch (random_below(&x.random, 10)) {
		case 0:
			iter_first(it);
			at = 0;
			break;
		case 1:
			iter_last(it);
			at = x.count - 1;
			break;
		case 2:
			iter_seek(it, key, tag);
			at = find(&x, key, tag);
			break;
		case 3:
			iter_seek_before(it, key, tag);
			at = find(&x, key, tag) - 1;
			break;
		case 4: case 5: case 6:
			if (!it->valid)
				continue;
			iter_next(it);
			at++;
			break;
		default:
			if (!it->valid)
				continue;
			iter_prev(it);
			at--;
			break;
		}
		assert_at(&x, it, at);
	}
	iter_free(it);
	world_done(&x);
}

static void test_whole_level_both_ways(void **state)
{
	(void)state;
	struct world x;
	world_init(&x, "both ways");
	struct iter *it = open_level(&x, none, none);
	size_t at = 0;
	for (iter_first(it); it->valid; iter_next(it))
		assert_at(&x, it, at++);
	assert_int_equal(at, x.count);
	for (iter_last(it); it->valid; iter_prev(it))
		assert_at(&x, it, --at);
	assert_int_equal(at, 0);
	iter_free(it);
	world_done(&x);
}

/* Tables outside the bounds are not touched: nothing of them shows, and they could be missing. */
static void test_bounds(void **state)
{
	(void)state;
	struct world x;
	uint8_t from[HISTORY_KEY_MAX], to[HISTORY_KEY_MAX];
	world_init(&x, "bounds");
	struct wombat_slice lower = slice_make(from, history_key(45, from)), upper = slice_make(to, history_key(75, to));
	struct iter *it = open_level(&x, lower, upper);
	size_t first = find(&x, lower, TAG_MAX), end = find(&x, upper, TAG_MAX), seen = 0;
	for (iter_seek(it, lower, TAG_MAX); it->valid && slice_compare(it->key, upper) < 0; iter_next(it))
		assert_at(&x, it, first + seen++);
	assert_int_equal(seen, end - first);
	iter_seek_before(it, upper, TAG_MAX);
	assert_at(&x, it, end - 1);
	size_t shown = 0;
	for (iter_first(it); it->valid; iter_next(it))
		shown++;
	assert_true(shown >= seen && shown < x.count);
	iter_free(it);
	uint8_t far[] = { 9 };
	it = open_level(&x, slice_make(far, 1), none);
	iter_first(it);
	assert_false(it->valid);
	iter_last(it);
	assert_false(it->valid);
	iter_seek(it, lower, TAG_MAX);
	assert_false(it->valid);
	iter_seek_before(it, slice_make(far, 1), TAG_MAX);
	assert_false(it->valid);
	assert_int_equal(it->status, WOMBAT_OK);
	iter_free(it);
	world_done(&x);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static size_t calls_left;

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	(void)path;
	return calls_left > 0 && calls_left-- > 0 ? WOMBAT_OK : WOMBAT_IO;
}

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return calls_left > 0 && calls_left-- > 0;
}

/* An error stops the scan and says so; nothing is skipped. A later seek tries again. */
static void test_each_failure_stops_the_scan(void **state)
{
	(void)state;
	struct world x;
	world_init(&x, "failures");
	for (int memory = 0; memory < 2; memory++) {
		bool whole = false;
		for (size_t n = 0; !whole; n++) {
			struct iter *it = open_level(&x, none, none);
			size_t seen = 0;
			table_cache_set_bounds(x.w.tables, 0, UINT64_MAX); /* each table is opened anew */
			table_cache_set_bounds(x.w.tables, 100, UINT64_MAX);
			calls_left = n;
			if (memory)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(x.env, fail_call, NULL);
			for (iter_first(it); it->valid; iter_next(it))
				seen++;
			mem_test_hook = NULL;
			env_mem_on_call(x.env, NULL, NULL);
			whole = it->status == WOMBAT_OK;
			assert_true(seen <= x.count && (seen == x.count || !whole));
			if (!whole)
				assert_int_equal(it->status, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
			iter_last(it);
			assert_at(&x, it, x.count - 1);
			iter_free(it);
		}
	}
	world_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_moves),
		cmocka_unit_test(test_whole_level_both_ways),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_each_failure_stops_the_scan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
