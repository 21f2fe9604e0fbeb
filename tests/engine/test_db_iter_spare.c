/*
 * Iterators that are made again and again with the same bounds, which are the same one if nothing has changed: each shows what one
 * made anew would, among writes, flushes, compactions, snapshots and changes of options; it costs no allocation; and none keeps
 * what is gone.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "tests/support/db_model.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define EVERYTHING WOMBAT_STR(""), WOMBAT_STR("")

enum { KEYS = 300 };

static struct wombat_slice key_of(char out[16], unsigned n)
{
	return slice_make(out, (size_t)snprintf(out, 16, "key%04u", n));
}

/* ---- Against the model ----------------------------------------------------------------------- */

/* A few sets of bounds, so that many are asked for again. */
static struct wombat_iter_options choose(struct random_state *r, char lower[16], char upper[16])
{
	struct wombat_iter_options o = { .read.flags = random_below(r, 4) ? 0 : WOMBAT_READ_META };
	unsigned set = (unsigned)random_below(r, 4);
	if (set & 1)
		o.lower = key_of(lower, 50);
	if (set & 2)
		o.upper = key_of(upper, 250);
	return o;
}

static bool is_within(const struct wombat_iter_options *o, const struct model_record *r)
{
	struct wombat_slice key = slice_make(r->key + 1, r->key_size - 1);
	return r->key[0] == WOMBAT_USER && slice_compare(key, o->lower) >= 0 &&
	       (!o->upper.size || slice_compare(key, o->upper) < 0);
}

/* Some way from a key on, to be left anywhere. */
static void walk(struct wombat_iter *it, const struct wombat_iter_options *o, const struct model *m, struct random_state *r)
{
	char text[16];
	struct wombat_slice key = key_of(text, (unsigned)random_below(r, KEYS));
	size_t at = model_seek(m, WOMBAT_USER, slice_compare(key, o->lower) < 0 ? o->lower : key);
	bool on = wombat_iter_seek(it, key);
	for (uint64_t steps = random_below(r, 3) ? random_below(r, 20) : KEYS; steps > 0; steps--) {
		bool want = at < m->count && is_within(o, &m->records[at]);
		assert_int_equal(on, want);
		if (!on)
			break;
		const struct wombat_record *record = wombat_iter_record(it);
		const struct model_record *model = &m->records[at];
		assert_true(slice_equal(record->key, slice_make(model->key + 1, model->key_size - 1)));
		assert_int_equal(record->value_size, model->value_size);
		if (!(o->read.flags & WOMBAT_READ_META))
			assert_memory_equal(record->value.data, model->value, model->value_size);
		bool back = random_below(r, 5) == 0 && at > 0 && is_within(o, &m->records[at - 1]);
		at = back ? at - 1 : at + 1;
		on = back ? wombat_iter_prev(it) : wombat_iter_next(it);
	}
	assert_ok(wombat_iter_status(it));
}

static void change(struct db_model *m, struct random_state *r)
{
	char key[16], end[16];
	unsigned n = (unsigned)random_below(r, KEYS);
	switch (random_below(r, 24)) {
	case 0:
		assert_ok(wombat_delete_range(m->world.db, WOMBAT_USER, key_of(key, n), key_of(end, n + 20)));
		model_delete_range(&m->model, WOMBAT_USER, key_of(key, n), key_of(end, n + 20));
		break;
	case 1:
		assert_ok(wombat_flush(m->world.db));
		break;
	case 2:
		assert_ok(wombat_compact(m->world.db, 0, EVERYTHING));
		break;
	case 3:
		assert_ok(db_world_set(&m->world, "read_ahead_size", n % 2 ? "64K" : "0"));
		break;
	case 4:
	case 5:
	case 6:
		key_of(key, n);
		db_model_delete(m, key);
		break;
	default:
		key_of(key, n);
		snprintf(end, sizeof end, "v%u", n);
		db_model_put(m, key, end);
	}
}

static void test_random(void **state)
{
	(void)state;
	enum { AT_ONCE = 3, STEPS = 3000 };
	struct db_model m;
	struct random_state r;
	struct wombat_iter *open[AT_ONCE] = { NULL };
	struct wombat_iter_options options[AT_ONCE];
	struct model then[AT_ONCE];
	char lower[AT_ONCE][16], upper[AT_ONCE][16];
	random_seed(&r, test_seed(__func__));
	db_model_init(&m, NULL);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)random_below(&r, AT_ONCE);
		if (open[i]) {
			walk(open[i], &options[i], &then[i], &r);
			if (random_below(&r, 4) == 0)
				continue;
			wombat_iter_free(open[i]);
			open[i] = NULL;
			model_done(&then[i]);
		} else {
			options[i] = choose(&r, lower[i], upper[i]);
			assert_ok(wombat_iter_new(m.world.db, &options[i], WOMBAT_USER, &open[i]));
			assert_false(wombat_iter_valid(open[i]));
			model_copy(&m.model, &then[i]);
		}
		/* In between nothing at all, most of the time. */
		if (random_below(&r, 3) == 0)
			change(&m, &r);
	}
	for (unsigned i = 0; i < AT_ONCE; i++)
		if (open[i]) {
			wombat_iter_free(open[i]);
			model_done(&then[i]);
		}
	db_model_done(&m);
}

/* A snapshot's iterator may be one of the newest state's, and the other way round. */
static void test_snapshots(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_iter *it;
	db_world_init(&w, NULL);
	db_world_put(&w, "a", "old");
	struct wombat_snapshot *snapshot = wombat_snapshot_new(w.db);
	db_world_put(&w, "a", "new");
	for (unsigned i = 0; i < 6; i++) {
		struct wombat_iter_options o = { .read.snapshot = i % 2 ? snapshot : NULL };
		assert_ok(wombat_iter_new(w.db, &o, WOMBAT_USER, &it));
		assert_true(wombat_iter_first(it));
		assert_true(slice_equal(wombat_iter_record(it)->value, i % 2 ? WOMBAT_STR("old") : WOMBAT_STR("new")));
		assert_false(wombat_iter_next(it));
		wombat_iter_free(it);
	}
	wombat_snapshot_release(w.db, snapshot);
	db_world_done(&w);
}

/* ---- What it costs and keeps ------------------------------------------------------------------ */

static atomic_uint allocations;

static bool count_allocation(size_t size)
{
	(void)size;
	atomic_fetch_add(&allocations, 1);
	return true;
}

static unsigned allocations_of_a_seek(struct wombat *db)
{
	struct wombat_iter *it;
	char key[16];
	atomic_store(&allocations, 0);
	mem_test_hook = count_allocation;
	assert_ok(wombat_iter_new(db, NULL, WOMBAT_USER, &it));
	assert_true(wombat_iter_seek(it, key_of(key, 77)));
	wombat_iter_free(it);
	mem_test_hook = NULL;
	return atomic_load(&allocations);
}

static void test_costs(void **state)
{
	(void)state;
	struct db_world w;
	char key[16];
	db_world_init(&w, NULL);
	for (unsigned n = 0; n < KEYS; n++) {
		key_of(key, n);
		db_world_put(&w, key, "value");
	}
	assert_ok(wombat_compact(w.db, 0, EVERYTHING));
	assert_ok(wombat_wait_idle(w.db));
	assert_true(allocations_of_a_seek(w.db) > 0);
	assert_int_equal(allocations_of_a_seek(w.db), 0);
	assert_int_equal(allocations_of_a_seek(w.db), 0);
	/* One that a compaction has left behind keeps no file. */
	unsigned before = db_world_files(&w, FILE_TABLE, NULL);
	db_world_put(&w, "key0001", "another");
	assert_ok(wombat_compact(w.db, 0, EVERYTHING));
	assert_ok(wombat_wait_idle(w.db));
	assert_int_equal(db_world_files(&w, FILE_TABLE, NULL), before);
	assert_true(allocations_of_a_seek(w.db) > 0);
	db_world_done(&w);
}

/* ---- Several threads ------------------------------------------------------------------------- */

struct scanner {
	pthread_t id;
	struct wombat *db;
	atomic_bool *stop;
	unsigned long scans;
};

static void *scan(void *arg)
{
	struct scanner *s = arg;
	while (!atomic_load(s->stop)) {
		struct wombat_iter *it;
		unsigned found = 0;
		if (wombat_iter_new(s->db, NULL, WOMBAT_USER, &it) != WOMBAT_OK)
			abort();
		for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it))
			found++;
		if (wombat_iter_status(it) != WOMBAT_OK || found != KEYS)
			abort();
		wombat_iter_free(it);
		s->scans++;
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	enum { THREADS = 4, ROUNDS = 40 };
	struct db_world w;
	struct scanner scanners[THREADS];
	atomic_bool stop = false;
	char key[16];
	db_world_init(&w, NULL);
	for (unsigned n = 0; n < KEYS; n++) {
		key_of(key, n);
		db_world_put(&w, key, "value");
	}
	for (unsigned i = 0; i < THREADS; i++) {
		scanners[i] = (struct scanner){ .db = w.db, .stop = &stop };
		assert_int_equal(pthread_create(&scanners[i].id, NULL, scan, &scanners[i]), 0);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned n = round; n < KEYS; n += 17) {
			key_of(key, n);
			db_world_put(&w, key, "again");
		}
		assert_ok(wombat_flush(w.db));
		if (round % 8 == 0)
			assert_ok(wombat_compact(w.db, 0, EVERYTHING));
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(scanners[i].id, NULL);
		assert_true(scanners[i].scans > 0);
	}
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_snapshots),
		cmocka_unit_test(test_costs),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
