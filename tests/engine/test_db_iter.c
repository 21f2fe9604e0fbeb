/*
 * Iterators, moved at random, step by step beside a sorted array of what was there when they were made: over memtables
 * and several levels, tombstones of both kinds, bounds, snapshots and large values.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/db_world.h"
#include "tests/support/values.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { KEYS = 150 };

/* Which value each key has; 0: none. Key i is "kIII", so the array is sorted. */
struct state {
	uint64_t value[KEYS];
};

struct world {
	struct db_world w;
	struct random_state random;
	struct state now;
	uint64_t values; /* given so far */
};

static struct wombat_slice name_of(int key)
{
	static char text[4][8];
	static unsigned turn;
	char *out = text[turn++ % 4];
	snprintf(out, 8, "k%03u", (unsigned)key % 1000);
	return WOMBAT_STR(out);
}

static size_t size_of(uint64_t value)
{
	return value % 11 == 0 ? 3000 + value % 500 : 10 + value % 90;
}

static void change(struct world *x)
{
	uint8_t bytes[4000];
	int key = (int)random_below(&x->random, KEYS);
	unsigned what = (unsigned)random_below(&x->random, 40);
	if (what < 30) {
		uint64_t value = x->now.value[key] = ++x->values;
		values_fill(bytes, size_of(value), value);
		assert_ok(wombat_put(x->w.db, WOMBAT_USER, name_of(key), WOMBAT_SLICE(bytes, size_of(value))));
	} else if (what < 38) {
		assert_ok(wombat_delete(x->w.db, WOMBAT_USER, name_of(key)));
		x->now.value[key] = 0;
	} else if (what == 38) {
		int end = key + (int)random_below(&x->random, 12);
		assert_ok(wombat_delete_range(x->w.db, WOMBAT_USER, name_of(key), name_of(end)));
		for (int i = key; i < end && i < KEYS; i++)
			x->now.value[i] = 0;
	} else if (random_below(&x->random, 4) == 0) {
		assert_ok(wombat_flush(x->w.db));
	}
}

/* ---- One iterator beside the array --------------------------------------------------------- */

struct pair {
	struct wombat_iter *it;
	const struct state *seen;
	int lower, upper; /* keys within [lower, upper) show */
	int at;           /* where it stands; -1: nowhere */
};

static int next_of(const struct pair *p, int from)
{
	for (int i = from < p->lower ? p->lower : from; i < p->upper; i++)
		if (p->seen->value[i])
			return i;
	return -1;
}

static int before(const struct pair *p, int end)
{
	for (int i = (end < p->upper ? end : p->upper) - 1; i >= p->lower; i--)
		if (p->seen->value[i])
			return i;
	return -1;
}

static void assert_stands(struct pair *p, bool moved, bool meta)
{
	uint8_t bytes[4000];
	assert_ok(wombat_iter_status(p->it));
	assert_int_equal(moved, p->at >= 0);
	assert_int_equal(wombat_iter_valid(p->it), moved);
	if (!moved)
		return;
	const struct wombat_record *r = wombat_iter_record(p->it);
	struct wombat_slice name = name_of(p->at);
	uint64_t value = p->seen->value[p->at];
	assert_true(r->key.size == name.size && memcmp(r->key.data, name.data, name.size) == 0);
	assert_int_equal(r->value_size, size_of(value));
	values_fill(bytes, size_of(value), value);
	if (meta)
		assert_null(r->value.data);
	else
		assert_true(r->value.size == r->value_size && memcmp(r->value.data, bytes, r->value.size) == 0);
}

static void move(struct pair *p, struct random_state *random, bool meta)
{
	int key = (int)random_below(random, KEYS + 10) - 5;
	bool moved;
	switch (p->at < 0 ? random_below(random, 4) : random_below(random, 14)) {
	case 0:
		p->at = next_of(p, p->lower);
		moved = wombat_iter_first(p->it);
		break;
	case 1:
		p->at = before(p, p->upper);
		moved = wombat_iter_last(p->it);
		break;
	case 2:
		key = key < 0 ? 0 : key;
		p->at = next_of(p, key);
		moved = wombat_iter_seek(p->it, name_of(key));
		break;
	case 3:
		key = key < 0 ? 0 : key;
		p->at = before(p, key + 1);
		moved = wombat_iter_seek_for_prev(p->it, name_of(key));
		break;
	case 4: case 5: case 6: case 7: case 8:
		p->at = next_of(p, p->at + 1);
		moved = wombat_iter_next(p->it);
		break;
	default:
		p->at = before(p, p->at);
		moved = wombat_iter_prev(p->it);
		break;
	}
	assert_stands(p, moved, meta);
}

static void walk(struct world *x, const struct wombat_snapshot *snapshot, const struct state *seen, bool change_beside)
{
	struct state then = *seen;
	struct pair p = { .seen = &then, .lower = 0, .upper = KEYS, .at = -1 };
	bool meta = random_below(&x->random, 4) == 0;
	struct wombat_iter_options options = { .read = { .snapshot = snapshot, .flags = meta ? WOMBAT_READ_META : 0 } };
	if (random_below(&x->random, 2)) {
		p.lower = (int)random_below(&x->random, KEYS);
		options.lower = name_of(p.lower);
	}
	if (random_below(&x->random, 2)) {
		p.upper = (int)random_below(&x->random, KEYS);
		options.upper = name_of(p.upper);
	}
	assert_ok(wombat_iter_new(x->w.db, &options, WOMBAT_USER, &p.it));
	for (int i = 0; i < 40; i++) {
		move(&p, &x->random, meta);
		if (change_beside)
			change(x); /* it shows what was, whatever comes */
	}
	wombat_iter_free(p.it);
}

static void test_random_walks(void **state)
{
	(void)state;
	static const char *const settings[] = { "value_threshold", "2K", "num_level_zero_tables", "2", "block_size", "512", NULL };
	struct world *x = calloc(1, sizeof *x);
	struct wombat_snapshot *snapshot = NULL;
	struct state old;
	random_seed(&x->random, test_seed("walks"));
	db_world_init(&x->w, settings);
	for (int round = 0; round < 250; round++) {
		for (uint64_t n = random_below(&x->random, 30); n > 0; n--)
			change(x);
		walk(x, NULL, &x->now, false);
		walk(x, NULL, &x->now, true);
		if (snapshot)
			walk(x, snapshot, &old, true);
		if (round % 40 == 10) {
			wombat_snapshot_release(x->w.db, snapshot);
			snapshot = wombat_snapshot_new(x->w.db);
			old = x->now;
		}
		if (round % 90 == 89) {
			wombat_snapshot_release(x->w.db, snapshot);
			snapshot = NULL;
			db_world_reopen(&x->w);
		}
	}
	wombat_snapshot_release(x->w.db, snapshot);
	db_world_done(&x->w);
	free(x);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static long allocations_left;

static bool fail_allocation(size_t size)
{
	(void)size;
	return allocations_left-- > 0;
}

/* Forward and back again. The first failure, whose status the iterator keeps, ends it. */
static enum wombat_status scan(struct wombat *db, int *out_count)
{
	struct wombat_iter *it;
	enum wombat_status s = wombat_iter_new(db, NULL, WOMBAT_USER, &it);
	if (s != WOMBAT_OK)
		return s;
	*out_count = 0;
	for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it))
		++*out_count;
	s = wombat_iter_status(it);
	if (s == WOMBAT_OK) {
		for (bool on = wombat_iter_last(it); on; on = wombat_iter_prev(it))
			++*out_count;
		s = wombat_iter_status(it);
	}
	wombat_iter_free(it);
	return s;
}

static void test_each_failure(void **state)
{
	(void)state;
	struct world *x = calloc(1, sizeof *x);
	static const char *const settings[] = { "value_threshold", "2K", "block_size", "512", "block_cache_size", "0", NULL };
	random_seed(&x->random, test_seed("failures"));
	db_world_init(&x->w, settings);
	for (int i = 0; i < 400; i++)
		change(x);
	int live = 0, count;
	/* No background work beside the failures: that has tests of its own. */
	assert_ok(wombat_flush(x->w.db));
	wombat_pause_compaction(x->w.db);
	assert_ok(wombat_wait_idle(x->w.db));
	for (int i = 0; i < 60; i++) { /* some in the memtable as well */
		uint8_t bytes[4000];
		int key = i * 2;
		uint64_t value = x->now.value[key] = ++x->values;
		values_fill(bytes, size_of(value), value);
		assert_ok(wombat_put(x->w.db, WOMBAT_USER, name_of(key), WOMBAT_SLICE(bytes, size_of(value))));
	}
	for (int i = 0; i < KEYS; i++)
		live += x->now.value[i] != 0;
	enum wombat_status s = WOMBAT_NO_MEMORY;
	for (long n = 0; s != WOMBAT_OK; n += 1 + n / 20) {
		allocations_left = n;
		mem_test_hook = fail_allocation;
		s = scan(x->w.db, &count);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_int_equal(count, 2 * live);
	assert_ok(wombat_flush(x->w.db));
	bool failed = false;
	for (unsigned skip = 0; skip < 1000; skip += 1 + skip / 8) {
		db_world_fail(&x->w, "reader_read", "", skip, WOMBAT_IO);
		s = scan(x->w.db, &count);
		unsigned hits = db_world_let_go(&x->w);
		assert_int_equal(s, hits ? WOMBAT_IO : WOMBAT_OK);
		failed |= hits > 0;
	}
	assert_true(failed);
	assert_ok(scan(x->w.db, &count));
	assert_int_equal(count, 2 * live);
	db_world_done(&x->w);
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_walks), cmocka_unit_test(test_each_failure) };
	return cmocka_run_group_tests_name("db_iter", tests, NULL, NULL);
}
