/*
 * Iterators over everything that a database can consist of at once: an active memtable, memtables that wait,
 * tables of level 0, two levels below, with tombstones, range deletes and expiries in all of them, and
 * snapshots of the times between. What each shows is the model of that time as an array, and a walk over it
 * is arithmetic on an index.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/slice.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_model.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { NOW = 1000000, TIMES = 6, SHOWN_MAX = 1000, KEYS = 260 };

struct layers {
	struct db_model w;
	struct opgen gen;
	/* Oldest first; the last is the newest state, which needs no snapshot. */
	struct model models[TIMES];
	struct wombat_snapshot *snapshots[TIMES];
};

/* What an iterator should show, in order. */
struct shown {
	const struct model_record *at[SHOWN_MAX];
	long count;
};

static struct wombat_slice key_of(const struct model_record *r)
{
	return WOMBAT_SLICE(r->key + 1, r->key_size - 1);
}

static void shown_make(struct shown *s, const struct model *m, unsigned keyspace, struct wombat_slice lower,
		       struct wombat_slice upper)
{
	s->count = 0;
	for (size_t i = 0; i < m->count; i++) {
		const struct model_record *r = &m->records[i];
		if (r->key[0] != keyspace || (r->expiry_ns && r->expiry_ns <= NOW))
			continue;
		if (slice_compare(key_of(r), lower) < 0)
			continue;
		if (upper.size && slice_compare(key_of(r), upper) >= 0)
			continue;
		assert_true(s->count < SHOWN_MAX);
		s->at[s->count++] = r;
	}
}

/* The index of the first at or behind the key. */
static long shown_seek(const struct shown *s, struct wombat_slice key)
{
	long i = 0;
	while (i < s->count && slice_compare(key_of(s->at[i]), key) < 0)
		i++;
	return i;
}

static long shown_seek_for_prev(const struct shown *s, struct wombat_slice key)
{
	long i = shown_seek(s, key);
	return i < s->count && slice_equal(key_of(s->at[i]), key) ? i : i - 1;
}

/* Index `i` outside the array: the iterator must be on nothing. */
static void assert_at(const struct shown *s, struct wombat_iter *it, bool on, long i, bool meta)
{
	bool want = i >= 0 && i < s->count;
	assert_ok(wombat_iter_status(it));
	assert_int_equal(on, want);
	assert_int_equal(wombat_iter_valid(it), want);
	if (!want)
		return;
	const struct wombat_record *r = wombat_iter_record(it);
	const struct model_record *m = s->at[i];
	assert_true(slice_equal(r->key, key_of(m)));
	assert_int_equal(r->value_size, m->value_size);
	if (meta)
		assert_null(r->value.data);
	else
		assert_true(slice_equal(r->value, WOMBAT_SLICE(m->value, m->value_size)));
	assert_true(slice_equal(r->attr, WOMBAT_SLICE(m->attr, m->attr_size)));
	assert_int_equal(r->expiry_ns, m->expiry_ns);
}

/* ---- A database of many layers ------------------------------------------------------------- */

static void note_time(struct layers *l, unsigned i)
{
	model_copy(&l->w.model, &l->models[i]);
	if (i + 1 < TIMES)
		assert_non_null(l->snapshots[i] = wombat_snapshot_new(l->w.world.db));
}

static void layers_init(struct layers *l, const char *value_threshold)
{
	const char *const settings[] = {
		"num_level_zero_tables", "1", "level_size_multiplier", "4",
		"value_threshold", value_threshold, NULL,
	};
	*l = (struct layers){ .gen = { .key_count = KEYS, .value_max = 6000 } };
	l->gen.expire_percent = 10;
	l->gen.now_ns = NOW;
	random_seed(&l->gen.random, test_seed(__func__));
	db_model_init(&l->w, settings);
	env_mem_set_now(l->w.world.env, NOW);
	struct wombat *db = l->w.world.db;
	for (int i = 0; i < 10; i++)
		db_model_change(&l->w, &l->gen, 60);
	assert_ok(wombat_flush(db));
	assert_ok(wombat_wait_idle(db));
	note_time(l, 0);
	wombat_pause_compaction(db);
	for (unsigned time = 1; time < 3; time++) { /* Tables of level 0. */
		db_model_change(&l->w, &l->gen, 50);
		assert_ok(wombat_flush(db));
		note_time(l, time);
	}
	db_world_hold(&l->w.world, "writer_open", ".sst");
	for (unsigned time = 3; time < 5; time++) { /* Memtables that wait. */
		db_model_change(&l->w, &l->gen, 40);
		assert_ok(db_rotate_memtable(db));
		note_time(l, time);
	}
	db_model_change(&l->w, &l->gen, 30);
	note_time(l, 5);
	assert_true(db_world_stat(&l->w.world, "memtables_waiting") == 2);
	assert_true(db_world_stat(&l->w.world, "level.0.files") >= 2);
	assert_true(db_world_stat(&l->w.world, "level.1.files") > 0 ||
		    db_world_stat(&l->w.world, "level.2.files") > 0);
}

static void layers_done(struct layers *l)
{
	db_world_let_go(&l->w.world);
	for (unsigned i = 0; i < TIMES; i++) {
		wombat_snapshot_release(l->w.world.db, l->snapshots[i]);
		model_done(&l->models[i]);
	}
	db_model_done(&l->w);
}

static struct wombat_iter *iter_new(struct layers *l, unsigned time, unsigned keyspace, unsigned flags,
				    struct wombat_slice lower, struct wombat_slice upper)
{
	struct wombat_iter *it;
	struct wombat_iter_options options = {
		.read = { .snapshot = l->snapshots[time], .flags = flags }, .lower = lower, .upper = upper,
	};
	assert_ok(wombat_iter_new(l->w.world.db, &options, keyspace, &it));
	assert_false(wombat_iter_valid(it));
	return it;
}

/* ---- Walks --------------------------------------------------------------------------------- */

/* Some move to a place, made in both. */
static long jump(struct layers *l, const struct shown *s, struct wombat_iter *it, bool *on)
{
	uint8_t room[64];
	struct wombat_slice key = opgen_random_key(&l->gen, room);
	switch (random_below(&l->gen.random, 4)) {
	case 0:
		*on = wombat_iter_first(it);
		return 0;
	case 1:
		*on = wombat_iter_last(it);
		return s->count - 1;
	case 2:
		*on = wombat_iter_seek(it, key);
		return shown_seek(s, key);
	default:
		*on = wombat_iter_seek_for_prev(it, key);
		return shown_seek_for_prev(s, key);
	}
}

static void walk(struct layers *l, unsigned time)
{
	uint8_t a[64], b[64];
	struct random_state *r = &l->gen.random;
	struct wombat_slice lower = WOMBAT_STR(""), upper = WOMBAT_STR("");
	unsigned keyspace = opgen_keyspace(&l->gen);
	bool meta = random_below(r, 3) == 0;
	if (random_below(r, 2))
		lower = opgen_random_key(&l->gen, a);
	if (random_below(r, 2))
		upper = opgen_random_key(&l->gen, b); /* may lie before `lower` */
	struct shown s;
	shown_make(&s, &l->models[time], keyspace, lower, upper);
	struct wombat_iter *it = iter_new(l, time, keyspace, meta ? WOMBAT_READ_META : 0, lower, upper);
	bool on, back = random_below(r, 2);
	long i = jump(l, &s, it, &on);
	for (int step = 0; step < 40; step++) {
		assert_at(&s, it, on, i, meta);
		if (!on || random_below(r, 15) == 0) {
			i = jump(l, &s, it, &on);
			continue;
		}
		back ^= random_below(r, 4) == 0;
		i += back ? -1 : 1;
		on = back ? wombat_iter_prev(it) : wombat_iter_next(it);
	}
	wombat_iter_free(it);
}

static void run_walks(const char *value_threshold)
{
	struct layers l;
	layers_init(&l, value_threshold);
	for (unsigned i = test_steps(1500); i > 0; i--)
		walk(&l, i % TIMES);
	/* The same once nothing waits, and once all is in one level but for what snapshots need. */
	db_world_let_go(&l.w.world);
	assert_ok(wombat_flush(l.w.world.db));
	for (unsigned i = test_steps(300); i > 0; i--)
		walk(&l, i % TIMES);
	wombat_resume_compaction(l.w.world.db);
	assert_ok(wombat_compact(l.w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	for (unsigned i = test_steps(300); i > 0; i--)
		walk(&l, i % TIMES);
	layers_done(&l);
}

static void test_walks(void **state)
{
	(void)state;
	run_walks("0");
}

static void test_walks_with_values_elsewhere(void **state)
{
	(void)state;
	run_walks("500");
}

/* From every record, reached forward and backward, all sixteen ways to take four steps. */
static void test_turns(void **state)
{
	(void)state;
	struct layers l;
	struct shown s;
	layers_init(&l, "0");
	/* A deleted range may have left few records of the last time. */
	unsigned fullest = 0;
	long most = 0;
	for (unsigned time = 0; time < TIMES; time++) {
		shown_make(&s, &l.models[time], WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""));
		if (s.count >= most) {
			fullest = time;
			most = s.count;
		}
	}
	assert_true(most > 10);
	shown_make(&s, &l.models[fullest], WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""));
	struct wombat_iter *it = iter_new(&l, fullest, WOMBAT_USER, 0, WOMBAT_STR(""), WOMBAT_STR(""));
	for (long from = 0; from < s.count; from += 1 + s.count / 60) {
		for (unsigned way = 0; way < 32; way++) {
			long i = from;
			struct wombat_slice key = key_of(s.at[from]);
			bool on = way & 16 ? wombat_iter_seek(it, key) : wombat_iter_seek_for_prev(it, key);
			for (unsigned step = 0; step < 4 && on; step++) {
				bool back = way >> step & 1;
				i += back ? -1 : 1;
				on = back ? wombat_iter_prev(it) : wombat_iter_next(it);
				assert_at(&s, it, on, i, false);
			}
		}
	}
	wombat_iter_free(it);
	layers_done(&l);
}

/* ---- Edges --------------------------------------------------------------------------------- */

static const struct wombat_slice edges[] = {
	{ (const uint8_t *)"", 0 }, { (const uint8_t *)"\0", 1 }, { (const uint8_t *)"a", 1 },
	{ (const uint8_t *)"a\0", 2 }, { (const uint8_t *)"a/b", 3 }, { (const uint8_t *)"b", 1 },
	{ (const uint8_t *)"\xff", 1 }, { (const uint8_t *)"\xff\xff", 2 },
};
enum { EDGES = sizeof edges / sizeof edges[0] };

/* All pairs of bounds, with each second key there and each as the target of both seeks. */
static void check_bounds(struct layers *l, unsigned keyspace)
{
	for (unsigned pair = 0; pair < EDGES * EDGES; pair++) {
		struct shown s;
		struct wombat_slice lower = edges[pair / EDGES], upper = edges[pair % EDGES];
		shown_make(&s, &l->models[0], keyspace, lower, upper);
		struct wombat_iter *it = iter_new(l, TIMES - 1, keyspace, 0, lower, upper);
		assert_at(&s, it, wombat_iter_first(it), 0, false);
		assert_at(&s, it, wombat_iter_last(it), s.count - 1, false);
		for (unsigned k = 0; k < EDGES; k++) {
			assert_at(&s, it, wombat_iter_seek(it, edges[k]), shown_seek(&s, edges[k]), false);
			bool on = wombat_iter_seek_for_prev(it, edges[k]);
			assert_at(&s, it, on, shown_seek_for_prev(&s, edges[k]), false);
		}
		wombat_iter_free(it);
	}
}

static void test_bounds(void **state)
{
	(void)state;
	for (unsigned keyspace = 1; keyspace <= WOMBAT_KEYSPACE_MAX; keyspace += WOMBAT_KEYSPACE_MAX - 1) {
		for (unsigned half = 0; half < 3; half++) { /* even ones there, odd ones, none */
			struct layers l = { 0 };
			db_model_init(&l.w, NULL);
			for (unsigned k = half; k < EDGES && half < 2; k += 2) {
				assert_ok(wombat_put(l.w.world.db, keyspace, edges[k], WOMBAT_STR("v")));
				model_put(&l.models[0], keyspace, edges[k], WOMBAT_STR("v"), NULL);
				/* Neighbours in number must not show. */
				unsigned neighbour = keyspace == 1 ? 2 : 253;
				assert_ok(wombat_put(l.w.world.db, neighbour, edges[k], WOMBAT_STR("other")));
			}
			check_bounds(&l, keyspace);
			assert_ok(wombat_flush(l.w.world.db));
			check_bounds(&l, keyspace);
			model_done(&l.models[0]);
			db_model_done(&l.w);
		}
	}
}

static void test_arguments(void **state)
{
	(void)state;
	struct db_model w;
	struct wombat_iter *it = NULL;
	db_model_init(&w, NULL);
	assert_status(wombat_iter_new(w.world.db, NULL, 0, &it), WOMBAT_INVALID);
	assert_status(wombat_iter_new(w.world.db, NULL, WOMBAT_KEYSPACE_MAX + 1, &it), WOMBAT_INVALID);
	assert_non_null(strstr(wombat_last_error(), "255"));
	assert_null(it);
	wombat_iter_free(NULL);
	assert_ok(wombat_iter_new(w.world.db, NULL, WOMBAT_USER, &it)); /* of nothing */
	assert_false(wombat_iter_first(it) || wombat_iter_last(it) || wombat_iter_seek(it, WOMBAT_STR("x")) ||
		     wombat_iter_seek_for_prev(it, WOMBAT_STR("x")));
	assert_ok(wombat_iter_status(it));
	wombat_iter_free(it);
	db_model_done(&w);
}

/* ---- Time ---------------------------------------------------------------------------------- */

/* Whatever is written, removed, flushed and compacted meanwhile, and whatever the clock does. */
static void test_state_of_its_creation(void **state)
{
	(void)state;
	struct layers l;
	struct shown s;
	layers_init(&l, "500");
	db_world_let_go(&l.w.world);
	wombat_resume_compaction(l.w.world.db);
	shown_make(&s, &l.models[TIMES - 1], WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""));
	struct wombat_iter *it = iter_new(&l, TIMES - 1, WOMBAT_USER, 0, WOMBAT_STR(""), WOMBAT_STR(""));
	assert_ok(wombat_delete_range(l.w.world.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR("")));
	db_model_put(&l.w, "a new one", "value");
	assert_ok(wombat_compact(l.w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	env_mem_set_now(l.w.world.env, NOW + 100000); /* all expiries are past */
	long i = 0;
	for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it))
		assert_at(&s, it, on, i++, false);
	assert_int_equal(i, s.count);
	for (bool on = wombat_iter_last(it); on; on = wombat_iter_prev(it))
		assert_at(&s, it, on, --i, false);
	assert_int_equal(i, 0);
	wombat_iter_free(it);
	it = iter_new(&l, TIMES - 1, WOMBAT_USER, 0, WOMBAT_STR(""), WOMBAT_STR(""));
	assert_true(wombat_iter_first(it));
	assert_true(slice_equal(wombat_iter_record(it)->key, WOMBAT_STR("a new one")));
	assert_false(wombat_iter_next(it));
	wombat_iter_free(it);
	layers_done(&l);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static _Thread_local long allocations_left = -1; /* negative: no failure; other threads are never concerned */

static bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left < 0 || allocations_left-- > 0;
}

/* Both ways over everything; the first failure ends it. */
static enum wombat_status scan(struct layers *l, const struct shown *s, unsigned flags)
{
	struct wombat_iter *it;
	struct wombat_iter_options options = { .read.flags = flags };
	enum wombat_status status = wombat_iter_new(l->w.world.db, &options, WOMBAT_USER, &it);
	if (status != WOMBAT_OK)
		return status;
	long i = 0;
	bool on = wombat_iter_first(it);
	for (; on; on = wombat_iter_next(it))
		assert_at(s, it, on, i++, false);
	status = wombat_iter_status(it);
	if (status == WOMBAT_OK) {
		assert_int_equal(i, s->count);
		for (on = wombat_iter_last(it); on; on = wombat_iter_prev(it))
			assert_at(s, it, on, --i, false);
		status = wombat_iter_status(it);
	}
	if (status != WOMBAT_OK) { /* It stays usable: a new move starts anew. */
		assert_false(wombat_iter_valid(it));
		allocations_left = -1;
		if (status == WOMBAT_IO)
			db_world_let_go(&l->w.world);
		if (!flags)
			assert_at(s, it, wombat_iter_last(it), s->count - 1, false);
	}
	wombat_iter_free(it);
	return status;
}

static void test_no_memory(void **state)
{
	(void)state;
	struct layers l;
	struct shown s;
	layers_init(&l, "500");
	shown_make(&s, &l.models[TIMES - 1], WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""));
	enum wombat_status status = WOMBAT_NO_MEMORY;
	mem_test_hook = fail_nth;
	long n = 0;
	for (; status != WOMBAT_OK; n += 1 + n / 10) {
		allocations_left = n;
		status = scan(&l, &s, 0);
		allocations_left = -1;
		if (status != WOMBAT_OK)
			assert_int_equal(status, WOMBAT_NO_MEMORY);
	}
	mem_test_hook = NULL;
	assert_true(n > 20);
	layers_done(&l);
}

/* With nothing in memory but the memtables: what may not touch the disk says so, what cannot read it
 * reports it. */
static void test_reads_that_fail(void **state)
{
	(void)state;
	struct layers l = { .gen = { .key_count = KEYS, .value_max = 3000, .now_ns = NOW } };
	struct shown s;
	random_seed(&l.gen.random, test_seed(__func__));
	db_model_init(&l.w, NULL);
	for (int i = 0; i < 8; i++)
		db_model_change(&l.w, &l.gen, 50);
	assert_ok(wombat_compact(l.w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	shown_make(&s, &l.w.model, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""));
	enum wombat_status status = WOMBAT_IO;
	unsigned n = 0;
	for (; status != WOMBAT_OK; n++) {
		db_world_reopen(&l.w.world);
		db_world_fail_own(&l.w.world, "reader_read", ".sst", n, WOMBAT_IO);
		double errors = db_world_stat(&l.w.world, "errors.io_total");
		status = scan(&l, &s, 0);
		db_world_let_go(&l.w.world);
		if (status == WOMBAT_OK)
			break;
		assert_int_equal(status, WOMBAT_IO);
		assert_true(n == 0 || db_world_stat(&l.w.world, "errors.io_total") > errors);
	}
	assert_true(n >= 3);
	db_world_reopen(&l.w.world);
	assert_int_equal(scan(&l, &s, WOMBAT_READ_CACHED), WOMBAT_WOULD_BLOCK);
	assert_ok(scan(&l, &s, 0));
	assert_ok(scan(&l, &s, WOMBAT_READ_CACHED));
	db_model_done(&l.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walks),
		cmocka_unit_test(test_walks_with_values_elsewhere),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_state_of_its_creation),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_reads_that_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
