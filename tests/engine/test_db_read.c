/*
 * Lookups beside the model, wherever the newest version of a key is: in the active memtable, in one that
 * waits, in level 0 or below, under tombstones of both kinds, as of now and as of snapshots. And what a found
 * record borrows stays as it is until it is released, whatever becomes of the key.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/slice.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_model.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { NOW = 1000000, KEYS = 150, TIMES = 5 };

#define EVERYTHING WOMBAT_STR(""), WOMBAT_STR("")

/* ---- Beside the model ---------------------------------------------------------------------- */

static bool starts_with(const struct model_record *r, unsigned keyspace, struct wombat_slice prefix)
{
	return r->key[0] == keyspace && slice_starts_with(slice_make(r->key + 1, r->key_size - 1), prefix);
}

static void check_prefix(struct wombat *db, const struct model *m, const struct wombat_snapshot *snapshot,
			 unsigned keyspace, struct wombat_slice prefix)
{
	struct wombat_read_options options = { .snapshot = snapshot };
	bool want = false, got;
	for (size_t i = 0; i < m->count && !want; i++) {
		const struct model_record *r = &m->records[i];
		want = starts_with(r, keyspace, prefix) && (!r->expiry_ns || r->expiry_ns > NOW);
	}
	assert_ok(wombat_prefix_exists(db, &options, keyspace, prefix, &got));
	assert_int_equal(got, want);
}

/* All ways to read one key, and some prefixes of it. */
static void check_key(struct wombat *db, const struct model *m, const struct wombat_snapshot *snapshot,
		      unsigned keyspace, struct wombat_slice key)
{
	static const unsigned ways[] = { 0, WOMBAT_READ_META, WOMBAT_READ_NO_FILL, WOMBAT_READ_CACHED };
	const struct model_record *want = model_get(m, keyspace, key, NOW);
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		struct wombat_record r;
		struct wombat_read_options options = { snapshot, ways[i] };
		enum wombat_status s = wombat_get(db, &options, keyspace, key, &r);
		if (ways[i] == WOMBAT_READ_CACHED && s == WOMBAT_WOULD_BLOCK)
			continue;
		assert_int_equal(s, want ? WOMBAT_OK : WOMBAT_NOT_FOUND);
		if (!want)
			continue;
		assert_int_equal(r.value_size, want->value_size);
		if (ways[i] == WOMBAT_READ_META)
			assert_null(r.value.data);
		else
			assert_true(slice_equal(r.value, slice_make(want->value, want->value_size)));
		assert_true(slice_equal(r.attr, slice_make(want->attr, want->attr_size)));
		assert_int_equal(r.expiry_ns, want->expiry_ns);
		assert_true(r.sequence > 0);
		assert_true(!snapshot || r.sequence <= wombat_snapshot_sequence(snapshot));
		assert_true(r.time_ns == NOW && r.key.size == 0);
		wombat_record_release(&r);
	}
	for (size_t size = 0; size <= key.size; size += 1 + key.size / 3)
		check_prefix(db, m, snapshot, keyspace, slice_make(key.data, size));
}

static void check_all(struct wombat *db, const struct model *m, const struct wombat_snapshot *snapshot)
{
	uint8_t room[64];
	for (unsigned i = 0; i < KEYS; i++) {
		size_t size = opgen_key(i, room);
		check_key(db, m, snapshot, 1 + i % 2, slice_make(room, size));
		/* With the '/' that a table's filter knows directories by. */
		room[size] = '/';
		check_prefix(db, m, snapshot, 1, slice_make(room, size + 1));
	}
}

static void run_layers(const char *const *settings)
{
	struct db_model m;
	struct model models[TIMES];
	struct wombat_snapshot *snapshots[TIMES];
	struct opgen gen = { .key_count = KEYS, .value_max = 5000, .expire_percent = 8, .now_ns = NOW };
	random_seed(&gen.random, test_seed(__func__));
	db_model_init(&m, settings);
	env_mem_set_now(m.world.env, NOW);
	struct wombat *db = m.world.db;
	for (unsigned time = 0; time < TIMES; time++) {
		if (time == 1) {
			assert_ok(wombat_compact(db, 0, EVERYTHING));
			wombat_pause_compaction(db);
		} else if (time == 2) {
			assert_ok(wombat_flush(db));
		} else if (time > 2) {
			db_world_hold(&m.world, "writer_open", ".sst");
			assert_ok(db_rotate_memtable(db));
		}
		for (unsigned i = 0; i < (time ? 2 : 8); i++)
			db_model_change(&m, &gen, 25);
		assert_non_null(snapshots[time] = wombat_snapshot_new(db));
		model_copy(&m.model, &models[time]);
		check_all(db, &m.model, NULL);
	}
	assert_true(db_world_stat(&m.world, "memtables_waiting") == 2);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned time = 0; time < TIMES; time++)
			check_all(db, &models[time], snapshots[time]);
		check_all(db, &m.model, NULL);
		if (round == 0) {
			db_world_let_go(&m.world);
			assert_ok(wombat_flush(db));
		} else if (round == 1) {
			wombat_resume_compaction(db);
			assert_ok(wombat_compact(db, 0, EVERYTHING));
		}
	}
	for (unsigned time = 0; time < TIMES; time++) {
		wombat_snapshot_release(db, snapshots[time]);
		model_done(&models[time]);
	}
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	check_all(db, &m.model, NULL);
	db_model_done(&m);
}

static void test_layers(void **state)
{
	(void)state;
	run_layers(NULL);
}

static void test_layers_otherwise(void **state)
{
	(void)state;
	const char *const settings[] = {
		"value_threshold", "300", "bloom_false_positive", "0", "block_cache_size", "0",
		"compression", "zlib", NULL,
	};
	run_layers(settings);
}

/* ---- What is borrowed ---------------------------------------------------------------------- */

static void test_records_stay(void **state)
{
	(void)state;
	const char *const settings[] = { "block_cache_size", "0", "value_threshold", "1K", NULL };
	static char large[3000];
	struct db_model m;
	struct wombat_record r[6], again;
	const char *const keys[] = { "in the memtable", "large", "in a table" };
	memset(large, 'l', sizeof large - 1);
	db_model_init(&m, settings);
	struct wombat *db = m.world.db;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			db_world_put(&m.world, keys[i], i == 1 ? large : keys[i]);
			if (round)
				assert_ok(wombat_flush(db));
			assert_ok(wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(keys[i]), &r[3 * round + i]));
		}
		assert_ok(wombat_delete_range(db, WOMBAT_USER, EVERYTHING));
		assert_ok(wombat_compact(db, 0, EVERYTHING));
	}
	for (int i = 0; i < 3; i++)
		db_world_put(&m.world, keys[i], "another");
	assert_ok(wombat_flush(db));
	for (int i = 0; i < 6; i++) {
		assert_true(slice_equal(r[i].value, WOMBAT_STR(i % 3 == 1 ? large : keys[i % 3])));
		wombat_record_release(&r[i]);
		wombat_record_release(&r[i]); /* a released one is fine */
	}
	memset(&again, 0, sizeof again);
	wombat_record_release(&again); /* and a zeroed one */
	db_model_done(&m);
}

static void test_copies(void **state)
{
	(void)state;
	struct db_model m;
	void *value = NULL;
	size_t size = 99;
	db_model_init(&m, NULL);
	struct wombat *db = m.world.db;
	struct wombat_slice k = WOMBAT_STR("k");
	assert_status(wombat_get_copy(db, NULL, WOMBAT_USER, k, &value, &size), WOMBAT_NOT_FOUND);
	assert_true(!value && size == 99); /* written on success only */
	assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR("k"), WOMBAT_SLICE("a\0b", 3)));
	db_world_put(&m.world, "empty", "");
	for (int round = 0; round < 2; round++) {
		assert_ok(wombat_get_copy(db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &value, &size));
		assert_int_equal(size, 3);
		assert_memory_equal(value, "a\0b", 4); /* and a NUL */
		free(value);
		assert_ok(wombat_get_copy(db, NULL, WOMBAT_USER, WOMBAT_STR("empty"), &value, NULL));
		assert_string_equal(value, "");
		free(value);
		value = NULL;
		assert_ok(wombat_flush(db));
	}
	db_model_done(&m);
}

static void test_keys(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 510, 511, 512, 513, 4096 }; /* 511: the longest on the stack */
	static uint8_t key[70000];
	struct db_model m;
	struct wombat_record r;
	bool exists = false;
	const char *const settings[] = { "max_key_size", "65536", NULL };
	db_model_init(&m, settings);
	struct wombat *db = m.world.db;
	memset(key, 'k', sizeof key);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		assert_ok(wombat_put(db, WOMBAT_USER, slice_make(key, sizes[i]), WOMBAT_SLICE(&sizes[i], 8)));
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			struct wombat_slice k = slice_make(key, sizes[i]);
			assert_ok(wombat_get(db, NULL, WOMBAT_USER, k, &r));
			assert_memory_equal(r.value.data, &sizes[i], 8);
			wombat_record_release(&r);
			assert_ok(wombat_prefix_exists(db, NULL, WOMBAT_USER, k, &exists));
			assert_true(exists);
			assert_status(wombat_get(db, NULL, WOMBAT_FS_DIRS, k, &r), WOMBAT_NOT_FOUND);
		}
		/* Longer than any that can be there. */
		struct wombat_slice longest = slice_make(key, sizeof key);
		assert_status(wombat_get(db, NULL, WOMBAT_USER, longest, &r), WOMBAT_NOT_FOUND);
		assert_ok(wombat_flush(db));
	}
	for (unsigned keyspace = 0; keyspace < 300; keyspace += 255) {
		struct wombat_slice k = WOMBAT_STR("k");
		assert_status(wombat_get(db, NULL, keyspace, k, &r), WOMBAT_INVALID);
		assert_status(wombat_prefix_exists(db, NULL, keyspace, k, &exists), WOMBAT_INVALID);
	}
	db_model_done(&m);
}

/* An expired record is absent from its moment on, and what it covered does not come back. */
static void test_expiry(void **state)
{
	(void)state;
	struct db_model m;
	bool exists;
	db_model_init(&m, NULL);
	struct wombat *db = m.world.db;
	env_mem_set_now(m.world.env, NOW);
	db_world_put(&m.world, "d/k", "older");
	struct wombat_batch *b = wombat_batch_new();
	struct wombat_put_info info = { .expiry_ns = NOW + 10 };
	assert_ok(wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR("d/k"), WOMBAT_STR("mortal"), &info));
	assert_ok(wombat_write(db, b, 0, NULL));
	wombat_batch_free(b);
	for (int round = 0; round < 3; round++) {
		env_mem_set_now(m.world.env, NOW + 9);
		db_world_expect(&m.world, WOMBAT_USER, "d/k", "mortal");
		env_mem_set_now(m.world.env, NOW + 10);
		db_world_expect(&m.world, WOMBAT_USER, "d/k", NULL);
		assert_ok(wombat_prefix_exists(db, NULL, WOMBAT_USER, WOMBAT_STR("d/"), &exists));
		assert_false(exists);
		env_mem_set_now(m.world.env, NOW);
		assert_ok(round ? wombat_compact(db, 0, EVERYTHING) : wombat_flush(db));
	}
	db_model_done(&m);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static _Thread_local long allocations_left = -1; /* negative: no failure; other threads are never concerned */

static bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left < 0 || allocations_left-- > 0;
}

/* Of a key in a table that is not open yet, and of its directory. */
static enum wombat_status read_both(struct wombat *db)
{
	void *value;
	bool exists;
	enum wombat_status s = wombat_get_copy(db, NULL, WOMBAT_USER, WOMBAT_STR("dir/key"), &value, NULL);
	if (s == WOMBAT_OK) {
		assert_string_equal(value, "the value");
		free(value);
		s = wombat_prefix_exists(db, NULL, WOMBAT_USER, WOMBAT_STR("dir/"), &exists);
		assert_true(s != WOMBAT_OK || exists);
	}
	return s;
}

static void test_failures(void **state)
{
	(void)state;
	struct db_model m;
	struct wombat_record r;
	struct wombat_read_options cached = { .flags = WOMBAT_READ_CACHED };
	db_model_init(&m, NULL);
	db_world_put(&m.world, "dir/key", "the value");
	assert_ok(wombat_compact(m.world.db, 0, EVERYTHING));
	mem_test_hook = fail_nth;
	enum wombat_status s = WOMBAT_NO_MEMORY;
	unsigned n = 0;
	for (; s == WOMBAT_NO_MEMORY; n++) {
		db_world_reopen(&m.world);
		allocations_left = n;
		s = read_both(m.world.db);
		allocations_left = -1;
		assert_ok(read_both(m.world.db));
	}
	mem_test_hook = NULL;
	assert_ok(s);
	assert_true(n > 4);
	s = WOMBAT_IO;
	for (n = 0; s == WOMBAT_IO; n++) {
		db_world_reopen(&m.world);
		db_world_fail_own(&m.world, "reader_", ".sst", n, WOMBAT_IO);
		s = read_both(m.world.db);
		db_world_let_go(&m.world);
		assert_true(s == WOMBAT_OK || db_world_stat(&m.world, "errors.io_total") == 1);
		assert_ok(read_both(m.world.db)); /* and the next time it works */
	}
	assert_ok(s);
	assert_true(n > 3);
	db_world_reopen(&m.world);
	struct wombat_slice key = WOMBAT_STR("dir/key");
	assert_status(wombat_get(m.world.db, &cached, WOMBAT_USER, key, &r), WOMBAT_WOULD_BLOCK);
	assert_ok(read_both(m.world.db));
	assert_ok(wombat_get(m.world.db, &cached, WOMBAT_USER, key, &r));
	wombat_record_release(&r);
	db_model_done(&m);
}

/* ---- Beside writers ------------------------------------------------------------------------ */

enum { COUNTERS = 4, READERS = 3 };

struct shared {
	struct wombat *db;
	atomic_bool ended;
	atomic_uint wrong;
};

/* Numbers only grow, and a snapshot's do not change. */
static void *read_numbers(void *arg)
{
	struct shared *x = arg;
	uint32_t last[COUNTERS] = { 0 };
	while (!atomic_load(&x->ended)) {
		struct wombat_snapshot *snapshot = wombat_snapshot_new(x->db);
		uint32_t first[COUNTERS] = { 0 };
		for (unsigned i = 0; i < 3 * COUNTERS; i++) {
			struct wombat_record r;
			unsigned counter = i % COUNTERS;
			struct wombat_read_options options = { .snapshot = i < COUNTERS ? NULL : snapshot };
			char key[8];
			uint32_t number = 0;
			snprintf(key, sizeof key, "n%u", counter);
			if (wombat_get(x->db, &options, WOMBAT_USER, WOMBAT_STR(key), &r) == WOMBAT_OK) {
				memcpy(&number, r.value.data, sizeof number);
				wombat_record_release(&r);
			}
			if (i < COUNTERS) {
				atomic_fetch_add(&x->wrong, number < last[counter]);
				last[counter] = number;
			} else if (i < 2 * COUNTERS) {
				first[counter] = number;
			} else {
				atomic_fetch_add(&x->wrong, number != first[counter]);
			}
		}
		wombat_snapshot_release(x->db, snapshot);
	}
	return NULL;
}

static void test_beside_writers(void **state)
{
	(void)state;
	struct db_model m;
	struct shared x = { .ended = false };
	pthread_t threads[READERS];
	const char *const settings[] = { "num_level_zero_tables", "2", NULL };
	db_model_init(&m, settings);
	x.db = m.world.db;
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_numbers, &x), 0);
	for (uint32_t n = 1; n <= 1200; n++) {
		char key[8];
		snprintf(key, sizeof key, "n%u", n % COUNTERS);
		assert_ok(wombat_put(x.db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(&n, sizeof n)));
		if (n % 60 == 0)
			assert_ok(wombat_flush(x.db));
	}
	atomic_store(&x.ended, true);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&x.wrong), 0);
	db_model_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_layers_otherwise),
		cmocka_unit_test(test_records_stay),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_beside_writers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
