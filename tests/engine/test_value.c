/*
 * Values that are opened: of each kind (in a memtable, in a table, in the value log, in extents with holes) read in parts and by
 * several threads, as they were when they were opened; put under further keys, and moved, unless they were changed meanwhile.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/db_world.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { KINDS = 4, SIZE_MAX_HERE = 200000, HOLE_FROM = 70000, HOLE_TO = 140000 };

static const char *const settings[] = { "value_threshold", "4K", "value_log_file_size", "1M", "mem_table_size", "1M", NULL };
static const char *const keys[KINDS] = { "memtable", "table", "log", "extents" };
static const size_t sizes[KINDS] = { 300, 3000, 90000, SIZE_MAX_HERE };

static uint8_t content[KINDS][SIZE_MAX_HERE];

static void put_all(struct db_world *w)
{
	struct wombat_edit *e;
	for (size_t k = 0; k < KINDS; k++)
		for (size_t i = 0; i < sizes[k]; i++)
			content[k][i] = (uint8_t)(i * 7 + i / 251 + k);
	for (size_t k = 1; k < KINDS; k++)
		assert_ok(wombat_put(w->db, WOMBAT_USER, WOMBAT_STR(keys[k]), slice_make(content[k], sizes[k])));
	/* What is changed in parts is in extents from then on. */
	memset(content[3] + HOLE_FROM, 0, HOLE_TO - HOLE_FROM);
	assert_ok(wombat_edit_open(w->db, WOMBAT_USER, WOMBAT_STR(keys[3]), 0, &e));
	assert_ok(wombat_edit_punch(e, HOLE_FROM, HOLE_TO - HOLE_FROM));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	wombat_edit_close(e);
	assert_ok(wombat_flush(w->db));
	assert_ok(wombat_put(w->db, WOMBAT_USER, WOMBAT_STR(keys[0]), slice_make(content[0], sizes[0])));
}

static struct wombat_value *open_value(struct db_world *w, const char *key)
{
	struct wombat_value *v;
	assert_ok(wombat_value_open(w->db, NULL, WOMBAT_USER, WOMBAT_STR(key), &v));
	return v;
}

/* Some part, also one that reaches or lies behind the end. True: as it should be. */
static bool part_is_right(struct wombat_value *v, size_t kind, struct random_state *r)
{
	static _Thread_local uint8_t got[SIZE_MAX_HERE];
	size_t size = sizes[kind], at = (size_t)random_below(r, size + 10), want = (size_t)random_below(r, size), read;
	if (wombat_value_read(v, at, got, want, &read) != WOMBAT_OK)
		return false;
	size_t there = at >= size ? 0 : size - at < want ? size - at : want;
	return read == there && (there == 0 || memcmp(got, content[kind] + at, there) == 0);
}

static void expect_kind(struct db_world *w, const char *key, size_t kind)
{
	struct wombat_record record;
	enum wombat_status s = wombat_get(w->db, NULL, WOMBAT_USER, WOMBAT_STR(key), &record);
	if (kind == KINDS) {
		assert_status(s, WOMBAT_NOT_FOUND);
		return;
	}
	assert_ok(s);
	assert_true(slice_equal(record.value, slice_make(content[kind], sizes[kind])));
	wombat_record_release(&record);
}

static void test_parts(void **state)
{
	(void)state;
	struct db_world w;
	struct random_state r;
	struct wombat_value *values[KINDS];
	random_seed(&r, test_seed(__func__));
	db_world_init(&w, settings);
	put_all(&w);
	for (size_t k = 0; k < KINDS; k++) {
		values[k] = open_value(&w, keys[k]);
		const struct wombat_record *record = wombat_value_record(values[k]);
		assert_int_equal(record->value_size, sizes[k]);
		assert_int_equal(record->value.data != NULL, k < 2);
	}
	/* Replaced, deleted and compacted away, they are what they were. */
	for (unsigned round = 0; round < 3; round++) {
		for (size_t k = 0; k < KINDS; k++)
			for (unsigned i = 0; i < 40; i++)
				assert_true(part_is_right(values[k], k, &r));
		for (size_t k = 0; k < KINDS; k++)
			if (round == 0)
				db_world_put(&w, keys[k], "another");
			else
				assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR(keys[k])));
		assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	}
	for (size_t k = 0; k < KINDS; k++)
		wombat_value_close(values[k]);
	wombat_value_close(NULL);
	db_world_done(&w);
}

static void test_data_and_holes(void **state)
{
	(void)state;
	struct db_world w;
	uint64_t from, to;
	db_world_init(&w, settings);
	put_all(&w);
	for (size_t k = 0; k < KINDS; k++) {
		struct wombat_value *v = open_value(&w, keys[k]);
		uint64_t at = 0, stored = 0;
		while (wombat_value_next_data(v, at, &from, &to) == WOMBAT_OK) {
			assert_true(from >= at && to > from && to <= sizes[k]);
			for (uint64_t i = at; i < from; i++)
				assert_int_equal(content[k][i], 0);
			stored += to - from;
			at = to;
		}
		assert_int_equal(stored, k == 3 ? sizes[k] - (HOLE_TO - HOLE_FROM) : sizes[k]);
		assert_status(wombat_value_next_data(v, sizes[k], &from, &to), WOMBAT_NOT_FOUND);
		wombat_value_close(v);
	}
	db_world_done(&w);
}

struct reader {
	pthread_t id;
	struct wombat_value *value;
	size_t kind;
	uint64_t seed;
	unsigned wrong;
};

static void *read_parts(void *arg)
{
	struct reader *reader = arg;
	struct random_state r;
	random_seed(&r, reader->seed);
	for (unsigned i = 0; i < 60; i++)
		reader->wrong += !part_is_right(reader->value, reader->kind, &r);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	struct db_world w;
	db_world_init(&w, settings);
	put_all(&w);
	uint64_t seed = test_seed(__func__);
	for (size_t k = 0; k < KINDS; k++) {
		struct reader readers[THREADS];
		struct wombat_value *v = open_value(&w, keys[k]);
		for (unsigned i = 0; i < THREADS; i++) {
			readers[i] = (struct reader){ .value = v, .kind = k, .seed = seed + i };
			assert_int_equal(pthread_create(&readers[i].id, NULL, read_parts, &readers[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(readers[i].id, NULL);
			assert_int_equal(readers[i].wrong, 0);
		}
		wombat_value_close(v);
	}
	db_world_done(&w);
}

/* Under a second key; moved away from the first; not moved when that was changed meanwhile, and then nothing of the batch happens. */
static void test_put_and_move(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, settings);
	put_all(&w);
	for (size_t k = 0; k < KINDS; k++) {
		struct wombat_batch *b = wombat_batch_new();
		struct wombat_value *v = open_value(&w, keys[k]);
		double written = db_world_stat(&w, "value_log.bytes_total");
		assert_ok(wombat_batch_put_value(b, WOMBAT_USER, WOMBAT_STR("second"), v, NULL));
		assert_ok(wombat_write(w.db, b, 0, NULL));
		expect_kind(&w, "second", k);
		expect_kind(&w, keys[k], k);
		wombat_batch_clear(b);
		assert_ok(wombat_batch_move_value(b, WOMBAT_USER, WOMBAT_STR(keys[k]), WOMBAT_STR("third"), v, NULL));
		assert_int_equal(wombat_batch_count(b) > 0, true);
		assert_ok(wombat_write(w.db, b, 0, NULL));
		expect_kind(&w, "third", k);
		expect_kind(&w, keys[k], KINDS);
		assert_true(db_world_stat(&w, "value_log.bytes_total") - written < 1000); /* not its bytes */
		wombat_value_close(v);

		v = open_value(&w, "third");
		db_world_put(&w, "third", "changed");
		wombat_batch_clear(b);
		assert_ok(wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR("with it"), WOMBAT_STR("1"), NULL));
		assert_ok(wombat_batch_move_value(b, WOMBAT_USER, WOMBAT_STR("third"), WOMBAT_STR("fourth"), v, NULL));
		assert_status(wombat_write(w.db, b, 0, NULL), WOMBAT_CONFLICT);
		assert_non_null(strstr(wombat_last_error(), "third"));
		db_world_expect(&w, WOMBAT_USER, "third", "changed");
		expect_kind(&w, "fourth", KINDS);
		expect_kind(&w, "with it", KINDS);
		wombat_value_close(v);
		wombat_batch_free(b);
	}
	db_world_reopen(&w);
	expect_kind(&w, "second", KINDS - 1);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_data_and_holes),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_put_and_move),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
