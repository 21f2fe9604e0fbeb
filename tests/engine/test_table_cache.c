/* The table cache: its bound, its figures, what eviction takes along, and many threads at once. */
#include "engine/table/table_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "engine/table/table_builder.h"
#include "tests/support/check.h"
#include "tests/support/table_data.h"

enum { TABLES = 300, KEYS = 40 };

struct fixture {
	struct env *env;
	struct lru *blocks;
	struct table_cache *cache;
	struct table_counts counts;
};

static struct wombat_slice key_of(unsigned table, unsigned i, char out[32])
{
	return slice_make(out, (size_t)snprintf(out, 32, "\1%05u/%04u", table, i));
}

static void build(struct env *env, unsigned number)
{
	struct data d = { 0 };
	struct table_builder_options options = data_options();
	char path[FILENAME_PATH_MAX], text[32];
	options.block_bytes = 400;
	for (unsigned i = 0; i < KEYS; i++)
		data_add(&d, key_of(number, i, text), tag_make(i + 1, KIND_PUT), key_of(number, i, text), 0);
	data_sort(&d);
	assert_true(filename_path(path, "db", FILE_TABLE, number));
	assert_ok(data_build(&d, env, path, &options, NULL));
	data_done(&d);
}

static void fixture_init(struct fixture *f, unsigned tables, unsigned max_open)
{
	memset(f, 0, sizeof(*f));
	assert_ok(env_mem_new(&f->env));
	for (unsigned i = 1; i <= tables; i++)
		build(f->env, i);
	assert_ok(lru_new(1 << 20, 4, &f->blocks));
	struct table_options options = { .block_cache = f->blocks, .counts = &f->counts };
	assert_ok(table_cache_new(f->env, "db", max_open, UINT64_MAX, &options, &f->cache));
}

static void fixture_done(struct fixture *f)
{
	table_cache_free(f->cache);
	lru_free(f->blocks);
	f->env->calls->free(f->env);
}

static struct lru_counts figures(struct table_cache *c)
{
	struct lru_counts counts;
	table_cache_counts(c, &counts);
	return counts;
}

/* Reads one key of a table through the cache. */
static enum wombat_status read_one(struct table_cache *c, unsigned number, unsigned i)
{
	struct table *t;
	struct lru_handle *h;
	struct lru_pin pin = { 0 };
	uint64_t tag;
	struct wombat_slice value;
	char text[32];
	enum wombat_status s = table_cache_acquire(c, &(struct table_name){ .number = number }, &t, &h);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice key = key_of(number, i, text);
	s = table_get(t, key, SEQUENCE_MAX, 0, &tag, &value, &pin);
	if (s == WOMBAT_OK)
		assert_true(slice_equal(slice_make(value.data + 9, value.size - 9), key));
	lru_pin_release(&pin);
	table_cache_release(c, h);
	return s;
}

static void test_bound(void **state)
{
	(void)state;
	static const unsigned bounds[] = { 1, 2, 10, 129, 299 };
	for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
		struct fixture f;
		fixture_init(&f, TABLES, bounds[b]);
		for (unsigned i = 1; i <= TABLES; i++) {
			assert_ok(read_one(f.cache, i, i % KEYS));
			assert_true(figures(f.cache).entries <= bounds[b]);
		}
		/* Nearly all of the room is used, however it is cut into shards. */
		struct lru_counts counts = figures(f.cache);
		assert_true(counts.entries * 4 >= bounds[b] * 3);
		assert_true(counts.misses == TABLES && counts.hits == 0 && counts.pinned_bytes == 0);
		assert_true(counts.bytes == figures(f.cache).bytes &&
			counts.bytes > counts.entries * 100);
		/* The one used last is there. */
		assert_ok(read_one(f.cache, TABLES, 0));
		assert_int_equal(figures(f.cache).hits, 1);
		fixture_done(&f);
	}
}

static void test_change_of_the_bound(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 50, 40);
	for (unsigned i = 1; i <= 50; i++)
		assert_ok(read_one(f.cache, i, 0));
	assert_int_equal(figures(f.cache).entries, 40);
	uint64_t bytes = figures(f.cache).bytes;
	table_cache_set_bounds(f.cache, 20, UINT64_MAX);
	assert_int_equal(figures(f.cache).entries, 20);
	assert_true(figures(f.cache).bytes * 19 < bytes * 10);
	table_cache_set_bounds(f.cache, 1000000, UINT64_MAX);
	for (unsigned i = 1; i <= 50; i++)
		assert_ok(read_one(f.cache, i, 0));
	assert_int_equal(figures(f.cache).entries, 50);
	fixture_done(&f);
}

static void test_held_tables_stay(void **state)
{
	(void)state;
	enum { HELD = 10 };
	struct fixture f;
	struct table *tables[HELD];
	struct lru_handle *handles[HELD];
	fixture_init(&f, HELD, 3);
	for (unsigned i = 0; i < HELD; i++)
		assert_ok(table_cache_acquire(f.cache, &(struct table_name){ .number = i + 1 }, &tables[i], &handles[i]));
	assert_int_equal(figures(f.cache).entries, HELD); /* in use: beyond the bound */
	assert_true(figures(f.cache).pinned_bytes > 0);
	for (unsigned i = 0; i < HELD; i++)
		table_cache_release(f.cache, handles[i]);
	assert_int_equal(figures(f.cache).entries, 3);
	fixture_done(&f);
}

static void test_iterator_keeps_its_table(void **state)
{
	(void)state;
	struct fixture f;
	struct iter *it;
	char text[32];
	fixture_init(&f, 5, 1);
	assert_ok(table_cache_iter_new(f.cache, &(struct table_name){ .number = 1 }, 0, 0, &it));
	for (unsigned i = 2; i <= 5; i++)
		assert_ok(read_one(f.cache, i, 0));
	unsigned n = 0;
	for (iter_first(it); it->valid; iter_next(it))
		assert_true(slice_equal(it->key, key_of(1, n++, text)));
	assert_int_equal(n, KEYS);
	iter_free(it);
	assert_true(figures(f.cache).entries <= 1);
	fixture_done(&f);
}

static void test_evict_takes_the_blocks(void **state)
{
	(void)state;
	struct fixture f;
	struct lru_counts blocks;
	fixture_init(&f, 3, 10);
	for (unsigned i = 0; i < KEYS; i++) {
		assert_ok(read_one(f.cache, 1, i));
		assert_ok(read_one(f.cache, 2, i));
	}
	lru_counts(f.blocks, &blocks);
	uint64_t both = blocks.entries;
	assert_true(both >= 6 && both % 2 == 0);
	table_cache_evict(f.cache, 1);
	table_cache_evict(f.cache, 3); /* not open */
	lru_counts(f.blocks, &blocks);
	assert_int_equal(blocks.entries, both / 2);
	assert_int_equal(figures(f.cache).entries, 1);
	char path[FILENAME_PATH_MAX];
	assert_true(filename_path(path, "db", FILE_TABLE, 1));
	assert_ok(f.env->calls->remove(f.env, path));
	assert_status(read_one(f.cache, 1, 0), WOMBAT_NOT_FOUND);
	assert_ok(read_one(f.cache, 2, 0));
	fixture_done(&f);
}

static void test_verify_changes_open_tables(void **state)
{
	(void)state;
	struct fixture f;
	char path[FILENAME_PATH_MAX];
	size_t size;
	fixture_init(&f, 1, 10);
	assert_true(filename_path(path, "db", FILE_TABLE, 1));
	env_mem_bytes(f.env, path,
		&size)[400]++; /* beyond the first block's beginning: only the checksum can see it */
	unsigned bad = KEYS;
	for (unsigned i = 0; i < KEYS; i++)
		if (read_one(f.cache, 1, i) == WOMBAT_CORRUPTION)
			bad = i;
	assert_true(bad < KEYS);
	table_cache_set_live(f.cache, false, 0);
	struct iter *it;
	assert_ok(table_cache_iter_new(f.cache, &(struct table_name){ .number = 1 }, TABLE_READ_NO_FILL, 0, &it));
	iter_first(it);
	unsigned seen = 0;
	for (; it->valid; iter_next(it))
		seen++;
	iter_free(it);
	table_cache_set_live(f.cache, true, 0);
	assert_status(read_one(f.cache, 1, bad), WOMBAT_CORRUPTION);
	assert_true(seen > 0);
	fixture_done(&f);
}

/* ---- Threads ---------------------------------------------------------------------------------- */

struct worker {
	struct fixture *f;
	uint64_t seed;
};

static void work_once(struct table_cache *c, struct random_state *r)
{
	unsigned number = 1 + (unsigned)random_below(r, 30);
	char text[32];
	struct iter *it;
	switch (random_below(r, 10)) {
	case 0:
		table_cache_set_bounds(c, 2 + (unsigned)random_below(r, 30), UINT64_MAX);
		break;
	case 1:
		table_cache_set_live(c, random_below(r, 2), (unsigned)random_below(r, 3));
		break;
	case 2:
		table_cache_evict(c, number);
		break;
	case 3:
		assert_ok(table_cache_iter_new(c, &(struct table_name){ .number = number }, random_below(r, 2) ? 0 : TABLE_READ_SEQUENTIAL,
			2000, &it));
		iter_seek(it, key_of(number, 7, text), TAG_MAX);
		for (unsigned i = 7; it->valid; iter_next(it), i++)
			assert_true(slice_equal(it->key, key_of(number, i, text)));
		assert_int_equal(it->status, WOMBAT_OK);
		iter_free(it);
		break;
	default:
		assert_ok(read_one(c, number, (unsigned)random_below(r, KEYS)));
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct random_state r;
	random_seed(&r, w->seed);
	for (unsigned n = 0; n < 3000; n++)
		work_once(w->f->cache, &r);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	struct fixture f;
	pthread_t threads[THREADS];
	struct worker workers[THREADS];
	fixture_init(&f, 30, 8);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ &f, i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	table_cache_set_bounds(f.cache, 8, UINT64_MAX);
	struct lru_counts counts = figures(f.cache);
	assert_true(counts.entries <= 8 && counts.pinned_bytes == 0);
	fixture_done(&f);
}

/* ---- Failures --------------------------------------------------------------------------------- */

static unsigned allocations_left;

static _Bool fail_one(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static enum wombat_status make_and_use(struct env *env)
{
	struct table_cache *c;
	struct iter *it;
	struct table_options options = { 0 };
	enum wombat_status s = table_cache_new(env, "db", 5, UINT64_MAX, &options, &c);
	if (s != WOMBAT_OK)
		return s;
	s = read_one(c, 1, 1);
	if (s == WOMBAT_OK)
		s = table_cache_iter_new(c, &(struct table_name){ .number = 2 }, 0, 0, &it);
	if (s == WOMBAT_OK) {
		iter_last(it);
		s = it->status;
		iter_free(it);
	}
	table_cache_free(c);
	return s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct env *env;
	unsigned n = 0;
	assert_ok(env_mem_new(&env));
	build(env, 1);
	build(env, 2);
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		allocations_left = n + 1;
		mem_test_hook = fail_one;
		s = make_and_use(env);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_true(n > 10);
	env->calls->free(env);
}

static void test_missing(void **state)
{
	(void)state;
	struct fixture f;
	struct table *t;
	struct lru_handle *h;
	struct iter *it;
	fixture_init(&f, 0, 5);
	assert_status(table_cache_acquire(f.cache, &(struct table_name){ .number = 9 }, &t, &h), WOMBAT_NOT_FOUND);
	assert_status(table_cache_iter_new(f.cache, &(struct table_name){ .number = 9 }, 0, 0, &it), WOMBAT_NOT_FOUND);
	assert_int_equal(figures(f.cache).entries, 0);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_change_of_the_bound),
		cmocka_unit_test(test_held_tables_stay),
		cmocka_unit_test(test_iterator_keeps_its_table),
		cmocka_unit_test(test_evict_takes_the_blocks),
		cmocka_unit_test(test_verify_changes_open_tables),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_missing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
