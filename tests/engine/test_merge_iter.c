/*
 * The merge against the sorted array of all that its children hold.
 *
 * The children here are arrays whose entries live in memory of their own, freed at the next move: a merge that uses
 * what a child showed before it moved is seen by the address sanitizer. They can be told to fail at a move.
 */
#include "engine/iter/merge_iter.h"

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

/* ---- Children ------------------------------------------------------------------------------ */

struct child {
	struct iter base;
	const struct data_entry **entries; /* in order */
	size_t count, at;
	void *shown; /* the current entry's bytes */
	unsigned *moves_left, *alive;
};

static void child_show(struct child *c, size_t at)
{
	free(c->shown);
	c->shown = NULL;
	c->at = at;
	c->base.status = WOMBAT_OK;
	c->base.valid = at < c->count;
	if (*c->moves_left && --*c->moves_left == 0) {
		c->base.valid = false;
		c->base.status = WOMBAT_CORRUPTION;
	}
	if (!c->base.valid)
		return;
	const struct data_entry *e = c->entries[at];
	uint8_t *bytes = c->shown = malloc(e->key.size + e->value.size + 1);
	memcpy(bytes, e->key.data, e->key.size);
	if (e->value.size)
		memcpy(bytes + e->key.size, e->value.data, e->value.size);
	c->base.key = slice_make(bytes, e->key.size);
	c->base.tag = e->tag;
	c->base.value = slice_make(bytes + e->key.size, e->value.size);
}

static size_t child_find(const struct child *c, struct wombat_slice key, uint64_t tag)
{
	size_t at = 0;
	while (at < c->count && ikey_compare_parts(c->entries[at]->key, c->entries[at]->tag, key, tag) < 0)
		at++;
	return at;
}

static void child_free(struct iter *it)
{
	struct child *c = (struct child *)it;
	--*c->alive;
	free(c->shown);
	free(c->entries);
	free(c);
}

static void child_first(struct iter *it)
{
	child_show((struct child *)it, 0);
}

/* One before 0 is SIZE_MAX, which is on no entry either. */
static void child_last(struct iter *it)
{
	child_show((struct child *)it, ((struct child *)it)->count - 1);
}

static void child_seek(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	child_show((struct child *)it, child_find((struct child *)it, key, tag));
}

static void child_seek_before(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	child_show((struct child *)it, child_find((struct child *)it, key, tag) - 1);
}

static void child_next(struct iter *it)
{
	assert_true(it->valid);
	child_show((struct child *)it, ((struct child *)it)->at + 1);
}

static void child_prev(struct iter *it)
{
	assert_true(it->valid);
	child_show((struct child *)it, ((struct child *)it)->at - 1);
}

static const struct iter_calls child_calls = {
	.free = child_free, .first = child_first, .last = child_last, .seek = child_seek,
	.seek_before = child_seek_before, .next = child_next, .prev = child_prev,
};

/* ---- A merge of them ----------------------------------------------------------------------- */

enum { CHILDREN_MAX = 40 };

struct world {
	struct random_state random;
	struct data data;
	struct child *children[CHILDREN_MAX];
	size_t count;
	unsigned moves_left, alive; /* moves_left: of all children together until one fails; 0: none does */
	struct iter *it;
};

/* Deals the entries out to children by chance; `skew`: nearly all to the first. */
static void deal(struct world *w, size_t children, bool skew)
{
	w->count = children;
	for (size_t i = 0; i < children; i++) {
		struct child *c = w->children[i] = calloc(1, sizeof *c);
		c->base.calls = &child_calls;
		c->entries = malloc((w->data.count + 1) * sizeof(void *));
		c->moves_left = &w->moves_left;
		c->alive = &w->alive;
		w->alive++;
	}
	for (size_t i = 0; i < w->data.count; i++) {
		bool first = skew && random_below(&w->random, 50);
		struct child *c = w->children[first ? 0 : random_below(&w->random, children)];
		c->entries[c->count++] = &w->data.entries[i];
	}
}

static void world_init(struct world *w, uint64_t seed, size_t entries, size_t children, bool skew)
{
	struct iter *parts[CHILDREN_MAX];
	const struct data_shape shape = { .entries = entries, .keys = (unsigned)entries / 3 + 1, .value_max = 20 };
	*w = (struct world){ 0 };
	random_seed(&w->random, seed);
	if (entries)
		data_random(&w->data, &w->random, &shape);
	deal(w, children, skew);
	for (size_t i = 0; i < children; i++)
		parts[i] = &w->children[i]->base;
	assert_ok(merge_iter_new(parts, children, &w->it));
	assert_false(w->it->valid);
	assert_int_equal(w->it->status, WOMBAT_OK);
}

static void world_done(struct world *w)
{
	iter_free(w->it);
	assert_int_equal(w->alive, 0);
	data_done(&w->data);
}

/* SIZE_MAX: before the first. */
static void assert_at(const struct world *w, size_t at)
{
	data_assert_at(&w->data, at < w->data.count ? at : w->data.count, w->it);
}

/* A place to seek: an entry's own, just behind it, or before all versions of its key. */
static void pick(struct world *w, struct wombat_slice *out_key, uint64_t *out_tag)
{
	const struct data_entry *e = &w->data.entries[random_below(&w->random, w->data.count)];
	uint64_t what = random_below(&w->random, 4);
	*out_key = e->key;
	*out_tag = what == 0 ? TAG_MAX : what == 1 ? 0 : what == 2 ? e->tag - 1 : e->tag;
	if (random_below(&w->random, 5) == 0)
		out_key->size -= out_key->size > 1; /* between keys, most often */
}

/* One move of the merge and of the place in the model. */
static size_t move(struct world *w, size_t at)
{
	struct wombat_slice key;
	uint64_t tag;
	uint64_t what = random_below(&w->random, 12);
	if (what == 0) {
		iter_first(w->it);
		return 0;
	}
	if (what == 1) {
		iter_last(w->it);
		return w->data.count - 1;
	}
	if (what < 4 || at >= w->data.count) {
		pick(w, &key, &tag);
		if (what % 2) {
			iter_seek(w->it, key, tag);
			return data_seek(&w->data, key, tag);
		}
		iter_seek_before(w->it, key, tag);
		return data_seek(&w->data, key, tag) - 1;
	}
	if (what < 8) {
		iter_next(w->it);
		return at + 1;
	}
	iter_prev(w->it);
	return at - 1;
}

/* ---- Tests --------------------------------------------------------------------------------- */

static const size_t child_counts[] = { 1, 2, 3, 4, 7, 16, CHILDREN_MAX };

static void test_forward_and_backward(void **state)
{
	(void)state;
	uint64_t seed = test_seed("forward and backward");
	for (size_t n = 0; n < sizeof child_counts / sizeof child_counts[0]; n++) {
		struct world w;
		world_init(&w, seed + n, 400, child_counts[n], n % 2);
		size_t at = 0;
		for (iter_first(w.it); w.it->valid; iter_next(w.it))
			assert_at(&w, at++);
		assert_int_equal(at, w.data.count);
		assert_at(&w, at);
		for (iter_last(w.it); w.it->valid; iter_prev(w.it))
			assert_at(&w, --at);
		assert_int_equal(at, 0);
		assert_at(&w, SIZE_MAX);
		world_done(&w);
	}
}

static void test_random_moves(void **state)
{
	(void)state;
	uint64_t seed = test_seed("random moves");
	for (size_t n = 0; n < sizeof child_counts / sizeof child_counts[0]; n++) {
		struct world w;
		world_init(&w, seed + n, 120, child_counts[n], n % 2);
		size_t at = SIZE_MAX;
		for (int i = 0; i < 2000; i++) {
			at = move(&w, at);
			assert_at(&w, at);
		}
		world_done(&w);
	}
}

/* Back and forth over each pair of neighbours: each step changes the direction. */
static void test_every_turn(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, test_seed("turns"), 150, 5, false);
	for (size_t i = 0; i + 1 < w.data.count; i++) {
		iter_seek(w.it, w.data.entries[i].key, w.data.entries[i].tag);
		assert_at(&w, i);
		iter_next(w.it);
		assert_at(&w, i + 1);
		iter_prev(w.it);
		assert_at(&w, i);
		iter_next(w.it);
		assert_at(&w, i + 1);
		iter_prev(w.it);
		iter_prev(w.it);
		assert_at(&w, i - 1);
		if (!w.it->valid)
			continue;
		iter_next(w.it);
		assert_at(&w, i);
	}
	world_done(&w);
}

static void test_nothing(void **state)
{
	(void)state;
	static const size_t counts[] = { 0, 1, 2, 5 };
	for (size_t n = 0; n < 4; n++) {
		struct world w;
		world_init(&w, 1, 0, counts[n], false);
		struct wombat_slice key = slice_make("\1k", 2);
		iter_first(w.it);
		assert_at(&w, 0);
		iter_last(w.it);
		assert_at(&w, 0);
		iter_seek(w.it, key, TAG_MAX);
		assert_at(&w, 0);
		iter_seek_before(w.it, key, TAG_MAX);
		assert_at(&w, 0);
		world_done(&w);
	}
}

static void test_one_child_is_returned(void **state)
{
	(void)state;
	struct iter *child = iter_empty_new(WOMBAT_OK), *it;
	assert_ok(merge_iter_new(&child, 1, &it));
	assert_ptr_equal(it, child);
	iter_free(it);
}

/* Versions of one key, each in another child: newest first, and a seek by tag goes between them. */
static void test_versions_of_a_key(void **state)
{
	(void)state;
	enum { VERSIONS = 9 };
	struct world w;
	struct wombat_slice key = slice_make("\1same", 5);
	world_init(&w, 1, 0, VERSIONS, false);
	for (uint64_t s = 1; s <= VERSIONS; s++)
		data_add(&w.data, key, tag_make(s, KIND_DELETE), slice_make("", 0), 0);
	data_sort(&w.data);
	for (size_t i = 0; i < VERSIONS; i++) {
		w.children[i]->entries = realloc(w.children[i]->entries, sizeof(void *));
		w.children[i]->entries[w.children[i]->count++] = &w.data.entries[(i * 5 + 3) % VERSIONS];
	}
	iter_first(w.it);
	for (uint64_t s = VERSIONS; s >= 1; s--, iter_next(w.it))
		assert_int_equal(tag_sequence(w.it->tag), s);
	assert_false(w.it->valid);
	for (uint64_t s = 1; s <= VERSIONS; s++) {
		iter_seek(w.it, key, tag_make(s, KIND_PUT)); /* as a reader at that sequence does */
		assert_int_equal(tag_sequence(w.it->tag), s);
		iter_seek_before(w.it, key, tag_make(s, KIND_PUT));
		assert_at(&w, VERSIONS - s - 1);
	}
	world_done(&w);
}

/* ---- Failures ------------------------------------------------------------------------------ */

/* Whichever move of whichever child fails, the merge's move in which it happens fails; the next seek works again. */
static void test_failing_children(void **state)
{
	(void)state;
	struct world w;
	uint64_t seed = test_seed("failing children");
	world_init(&w, seed, 60, 4, false);
	unsigned failures = 0;
	for (unsigned n = 1; n < 250; n++) {
		size_t at = SIZE_MAX;
		w.moves_left = n;
		for (int i = 0; i < 80 && w.moves_left; i++) {
			at = move(&w, at);
			if (w.moves_left)
				assert_at(&w, at);
		}
		if (!w.moves_left) {
			failures++;
			assert_false(w.it->valid);
			assert_int_equal(w.it->status, WOMBAT_CORRUPTION);
		}
		w.moves_left = 0;
		iter_seek(w.it, w.data.entries[n % w.data.count].key, TAG_MAX);
		assert_at(&w, data_seek(&w.data, w.data.entries[n % w.data.count].key, TAG_MAX));
	}
	assert_true(failures > 100);
	world_done(&w);
}

static void test_a_child_that_is_only_an_error(void **state)
{
	(void)state;
	struct world w;
	struct iter *parts[3], *it;
	world_init(&w, 1, 20, 1, false); /* its merge is the child itself */
	parts[0] = w.it;
	parts[1] = iter_empty_new(WOMBAT_IO);
	parts[2] = iter_empty_new(WOMBAT_OK);
	assert_ok(merge_iter_new(parts, 3, &it));
	iter_first(it);
	assert_false(it->valid);
	assert_int_equal(it->status, WOMBAT_IO);
	iter_last(it);
	assert_false(it->valid);
	assert_int_equal(it->status, WOMBAT_IO);
	iter_free(it);
	assert_int_equal(w.alive, 0);
	data_done(&w.data);
}

static _Bool fail_all(size_t size)
{
	(void)size;
	return 0;
}

static void test_out_of_memory_frees_the_children(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct iter *parts[3], *it;
	deal(&w, 3, false);
	for (size_t i = 0; i < 3; i++)
		parts[i] = &w.children[i]->base;
	mem_test_hook = fail_all;
	enum wombat_status s = merge_iter_new(parts, 3, &it);
	mem_test_hook = NULL;
	assert_status(s, WOMBAT_NO_MEMORY);
	assert_int_equal(w.alive, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forward_and_backward),
		cmocka_unit_test(test_random_moves),
		cmocka_unit_test(test_every_turn),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_one_child_is_returned),
		cmocka_unit_test(test_versions_of_a_key),
		cmocka_unit_test(test_failing_children),
		cmocka_unit_test(test_a_child_that_is_only_an_error),
		cmocka_unit_test(test_out_of_memory_frees_the_children),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
