/* Blocks kept packed: what is kept and what is not, the budget, what a table reads less for it, threads, no memory. */
#include "engine/table/packed_cache.h"

#include <pthread.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/table/compress.h"
#include "engine/table/table_impl.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

#define PATH "000007.sst"

static struct packed_cache *cache_of(uint64_t bytes)
{
	struct packed_cache *c;
	assert_ok(packed_cache_new(1, &c));
	packed_cache_set_capacity(c, bytes);
	return c;
}

static struct lru_counts counts_of(struct packed_cache *c)
{
	struct lru_counts counts;
	packed_cache_counts(c, &counts);
	return counts;
}

static struct lru_key key_of(uint64_t n)
{
	return (struct lru_key){ 7, n };
}

/* Whether it is there; if it is, it unpacks to `raw`. */
static bool has(struct packed_cache *c, uint64_t n, struct wombat_slice raw)
{
	struct lru_pin pin = { 0 };
	struct wombat_slice stored, packed;
	uint8_t again[5000];
	size_t size;
	if (!packed_cache_find(c, key_of(n), &pin, &stored))
		return false;
	assert_true(compress_raw_size(stored, &size, &packed));
	assert_int_equal(size, raw.size);
	assert_ok(uncompress_block(packed, again, size));
	assert_memory_equal(again, raw.data, size);
	lru_pin_release(&pin);
	return true;
}

static void fill_text(uint8_t *p, size_t size, unsigned n)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)('a' + (i * (n + 3) + i / 7) % 11);
}

static void test_what_is_kept(void **state)
{
	(void)state;
	struct random_state r;
	uint8_t text[4096], noise[4096];
	random_seed(&r, test_seed("test_what_is_kept"));
	fill_text(text, sizeof text, 1);
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (uint8_t)random_next(&r);
	assert_false(packed_cache_on(NULL));
	struct packed_cache *c = cache_of(0);
	assert_false(packed_cache_on(c));
	packed_cache_set_capacity(c, 100000);
	assert_true(packed_cache_on(c));
	packed_cache_pack(c, key_of(1), slice_make(text, sizeof text));
	packed_cache_pack(c, key_of(2), slice_make(noise, sizeof noise)); /* it does not shrink */
	assert_true(has(c, 1, slice_make(text, sizeof text)));
	assert_false(has(c, 2, slice_make(noise, sizeof noise)));
	assert_true(counts_of(c).entries == 1 && counts_of(c).bytes < sizeof text / 2);
	assert_true(counts_of(c).hits == 1 && counts_of(c).misses == 1);
	packed_cache_erase(c, key_of(1));
	assert_false(has(c, 1, slice_make(text, sizeof text)));
	for (unsigned n = 0; n < 1000; n++) {
		fill_text(text, sizeof text, n);
		packed_cache_pack(c, key_of(n), slice_make(text, sizeof text));
		assert_true(counts_of(c).bytes <= 100000);
	}
	assert_true(counts_of(c).evictions > 0);
	assert_true(has(c, 999, slice_make(text, sizeof text)));
	packed_cache_set_capacity(c, 0);
	assert_true(counts_of(c).bytes == 0 && !packed_cache_on(c));
	packed_cache_free(c);
	packed_cache_free(NULL);
}

/* A table's blocks come from there when the first tier has no room: packed ones and others alike. */
static void test_in_front_of_a_table(void **state)
{
	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		struct env *env;
		struct data d = { 0 };
		struct table *t;
		struct table_builder_options build = data_options();
		struct table_counts counts = { 0 };
		struct table_totals first, second;
		struct packed_cache *c = cache_of(1 << 20);
		assert_ok(env_mem_new(&env));
		for (unsigned i = 0; i < 2000; i++) {
			char key[16];
			int size = snprintf(key, sizeof key, "\1%06u", i);
			data_add(&d, slice_make(key, (size_t)size), tag_make(i + 1, KIND_PUT), WOMBAT_STR("the same for all of them"), 0);
		}
		data_sort(&d);
		build.compression = packed ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		assert_ok(data_build(&d, env, PATH, &build, NULL));
		struct lru *none;
		assert_ok(lru_new(0, 1, &none)); /* a first tier that keeps only what is held */
		struct table_options options = { .block_cache = none, .packed_cache = c, .counts = &counts };
		assert_ok(table_open(env, PATH, 7, &options, &t));
		struct random_state r;
		random_seed(&r, test_seed("test_in_front_of_a_table"));
		table_counts_read(&counts, &first);
		uint64_t opened = first.block_reads;
		data_assert_table(&d, t, TABLE_READ_NO_FILL, 0, &r, 1); /* those are not kept */
		assert_int_equal(counts_of(c).entries, 0);
		data_assert_table(&d, t, 0, 0, &r, 1);
		table_counts_read(&counts, &first);
		assert_int_equal(counts_of(c).entries, t->index->count);
		assert_true(counts_of(c).bytes < first.block_read_bytes);
		data_assert_table(&d, t, 0, 0, &r, 50);
		data_assert_table(&d, t, TABLE_READ_CACHED, 0, &r, 1); /* it counts as memory */
		table_counts_read(&counts, &second);
		assert_int_equal(second.block_reads, first.block_reads);
		assert_true(first.block_reads > opened);
		table_forget_blocks(t);
		assert_int_equal(counts_of(c).entries, 0);
		table_close(t);
		lru_free(none);
		packed_cache_free(c);
		data_done(&d);
		env->calls->free(env);
	}
}

/* Without memory nothing is kept, and nothing else happens. */
static void test_out_of_memory(void **state)
{
	(void)state;
	uint8_t text[4096];
	fill_text(text, sizeof text, 5);
	bool kept = false;
	unsigned n = 0;
	for (; !kept; n++) {
		struct packed_cache *c;
		scarce_begin(n);
		enum wombat_status s = packed_cache_new(1, &c);
		if (s == WOMBAT_OK) {
			packed_cache_set_capacity(c, 1 << 20);
			packed_cache_pack(c, key_of(1), slice_make(text, sizeof text));
		}
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		if (s != WOMBAT_OK)
			continue;
		kept = has(c, 1, slice_make(text, sizeof text));
		packed_cache_free(c);
	}
	assert_true(n > 5);
}

enum { THREADS = 4, ROUNDS = 3000, BLOCKS = 40 };

static void *pack_and_find(void *arg)
{
	struct packed_cache *c = arg;
	uint8_t text[1000];
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned n = i * 7 % BLOCKS;
		fill_text(text, sizeof text, n);
		struct wombat_slice raw = slice_make(text, sizeof text);
		if (!has(c, n, raw))
			packed_cache_pack(c, key_of(n), raw);
		if (i % 97 == 0)
			packed_cache_erase(c, key_of(n));
		if (i % 501 == 0)
			packed_cache_set_capacity(c, i % 2 ? 4000 : 1 << 20);
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	struct packed_cache *c = cache_of(1 << 20);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pack_and_find, c), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counts_of(c).hits + counts_of(c).misses, THREADS * ROUNDS);
	assert_int_equal(counts_of(c).pinned_bytes, 0);
	packed_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_kept),
		cmocka_unit_test(test_in_front_of_a_table),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
