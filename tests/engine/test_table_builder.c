/*
 * The builder of tables: how it cuts blocks, what it says of sizes, of the filter and of the value log, values that
 * are written without a copy, and that a table that fails leaves no file. Reading back is in test_table.c.
 */
#include "engine/table/table_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/record.h"
#include "engine/env/env_mem.h"
#include "engine/table/table_impl.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

#define PATH "db/000007.sst"
enum { LARGE_VALUE = 256 * 1024 }; /* written without a copy from this size on */

static struct env *new_env(void)
{
	struct env *env;
	assert_ok(env_mem_new(&env));
	return env;
}

static struct table *open_table(struct env *env)
{
	struct table *t;
	struct table_options options = { 0 };
	assert_ok(table_open(env, PATH, 7, &options, &t));
	return t;
}

static void assert_no_file(struct env *env)
{
	uint64_t size;
	assert_status(env->calls->file_size(env, PATH, &size), WOMBAT_NOT_FOUND);
}

static void no_finding(void *arg, const char *sentence)
{
	(void)arg;
	fail_msg("%s", sentence);
}

/* ---- Blocks and sizes ------------------------------------------------------------------------ */

/* Unpacked, a block keeps within its target, or holds one entry. Returns how many blocks there are. */
static size_t check_blocks(struct table *t, size_t target)
{
	struct block_iter b;
	block_iter_init(&b);
	for (size_t i = 0; i < t->index->count; i++) {
		struct block *block;
		size_t entries = 0;
		assert_ok(table_read_block(t, index_handle(t->index, i), true, NULL, &block));
		size_t size = block->charge_bytes - sizeof(*block) - BLOCK_SLACK;
		block_iter_set(&b, block);
		enum block_result r = block_iter_first(&b);
		for (; r == BLOCK_AT; r = block_iter_next(&b))
			entries++;
		assert_int_equal(r, BLOCK_END);
		assert_true(entries == 1 || (entries > 1 && size <= target));
		block_iter_set(&b, NULL);
		mem_free(block);
	}
	block_iter_done(&b);
	return t->index->count;
}

static void test_blocks(void **state)
{
	(void)state;
	static const size_t targets[] = { 1, 64, 500, 4096, 100000 };
	struct random_state r;
	random_seed(&r, test_seed("test_blocks"));
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		for (int compression = 0; compression < 2; compression++) {
			struct data d = { 0 };
			struct env *env = new_env();
			struct table_builder_options options = data_options();
			options.block_bytes = targets[i];
			options.compression = (enum table_compression)compression;
			data_random(&d, &r, &(struct data_shape){ .entries = 300, .keys = 400, .value_max = 200 });
			assert_ok(data_build(&d, env, PATH, &options, NULL));
			struct table *t = open_table(env);
			size_t blocks = check_blocks(t, targets[i]);
			assert_int_equal(table_properties_of(t)->data_blocks, blocks);
			assert_int_equal(table_properties_of(t)->compression, compression);
			assert_true(targets[i] > 1 || blocks == d.count);
			assert_true(targets[i] < 100000 || blocks == 1);
			table_close(t);
			env->calls->free(env);
			data_done(&d);
		}
}

/* The size so far only grows, and is nearly that of the file; what is missing is the tail of fixed size. */
static void test_size_so_far(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_size_so_far"));
	for (unsigned n = 0; n < 20; n++) {
		struct data d = { 0 };
		struct env *env = new_env();
		struct table_builder *b;
		struct table_summary sum;
		struct table_builder_options options = data_options();
		uint64_t last = 0, size;
		options.block_bytes = 100 + random_below(&r, 3000);
		options.bloom_false_positive = n % 2 ? 0.01 : 0;
		data_random(&d, &r, &(struct data_shape){ .entries = 10 + n * 20, .keys = 400, .value_max = 150 });
		assert_ok(table_builder_new(env, PATH, &options, &b));
		assert_int_equal(table_builder_bytes(b), 0);
		for (size_t i = 0; i < d.count; i++) {
			const struct data_entry *e = &d.entries[i];
			assert_ok(table_builder_add(b, e->key, e->tag, e->value));
			uint64_t bytes = table_builder_bytes(b);
			assert_true(bytes > last);
			last = bytes;
			assert_int_equal(table_builder_entries(b), i + 1);
		}
		assert_ok(table_builder_finish(b, &sum));
		assert_ok(env->calls->file_size(env, PATH, &size));
		assert_int_equal(size, sum.file_bytes);
		uint64_t rest = size > last ? size - last : last - size;
		assert_true(rest < 1500 + size / 20);
		table_summary_done(&sum);
		data_done(&d);
		env->calls->free(env);
	}
}

/* The same entries give the same bytes. */
static void test_repeatable(void **state)
{
	(void)state;
	struct random_state r;
	struct data d = { 0 };
	struct env *env = new_env();
	struct table_builder_options options = data_options();
	struct buf first = { 0 };
	size_t size;
	random_seed(&r, test_seed("test_repeatable"));
	env_mem_set_now(env, 12345);
	data_random(&d, &r, &(struct data_shape){ .entries = 400, .keys = 300, .value_max = 100 });
	options.block_bytes = 700;
	options.compression = TABLE_COMPRESS_ZLIB;
	assert_ok(data_build(&d, env, PATH, &options, NULL));
	const uint8_t *bytes = env_mem_bytes(env, PATH, &size);
	assert_ok(buf_set(&first, slice_make(bytes, size)));
	options.write_buffer_bytes = 1; /* however it is written */
	assert_ok(data_build(&d, env, PATH, &options, NULL));
	bytes = env_mem_bytes(env, PATH, &size);
	assert_true(slice_equal(buf_slice(&first), slice_make(bytes, size)));
	struct table *t = open_table(env);
	assert_int_equal(table_properties_of(t)->created_ns, 12345);
	table_close(t);
	buf_done(&first);
	data_done(&d);
	env->calls->free(env);
}

/* ---- Large values ---------------------------------------------------------------------------- */

/* Around the size from which values are not copied; below, between and behind small ones. */
static void test_large_values(void **state)
{
	(void)state;
	static const size_t sizes[] = {
		10, LARGE_VALUE - 10, LARGE_VALUE - 9, LARGE_VALUE, 5, 6, LARGE_VALUE + 1, LARGE_VALUE,
	};
	static const size_t targets[] = { 1000, LARGE_VALUE + 100, 3 * LARGE_VALUE };
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	struct random_state r;
	uint8_t *bytes = malloc(LARGE_VALUE + 1);
	assert_non_null(bytes);
	random_seed(&r, 3);
	for (size_t i = 0; i < LARGE_VALUE + 1; i++)
		bytes[i] = (uint8_t)(i / 5 + i / 1000);
	for (unsigned n = 0; n < 6; n++) {
		struct data d = { 0 };
		struct env *env = new_env();
		struct table_builder_options options = data_options();
		options.block_bytes = targets[n / 2];
		options.compression = n % 2 ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		options.compression_level = 1;
		for (unsigned i = 0; i < COUNT; i++) {
			char key[32];
			size_t size = (size_t)snprintf(key, sizeof(key), "\1key/%u", i / 2); /* two of each */
			data_add(&d, slice_make(key, size), tag_make(100 - i, KIND_PUT),
				slice_make(bytes, sizes[i]), 0);
		}
		data_sort(&d);
		assert_ok(data_build(&d, env, PATH, &options, NULL));
		struct table *t = open_table(env);
		check_blocks(t, options.block_bytes);
		assert_ok(table_check(t, no_finding, NULL));
		data_assert_table(&d, t, 0, 0, &r, 10);
		table_close(t);
		data_done(&d);
		env->calls->free(env);
	}
	free(bytes);
}

/* ---- Filter and value log -------------------------------------------------------------------- */

/* Each distinct key and each distinct directory prefix is in the filter once. */
static void test_filter_keys(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_filter_keys"));
	for (unsigned n = 0; n < 10; n++) {
		struct data d = { 0 };
		struct env *env = new_env();
		struct table_builder_options options = data_options();
		uint64_t expected = 0;
		data_random(&d, &r, &(struct data_shape){ .entries = 300, .keys = 30 + 40 * n, .value_max = 5 });
		for (size_t i = 0; i < d.count; i++) {
			struct wombat_slice key = d.entries[i].key, last = { NULL, 0 };
			if (i)
				last = d.entries[i - 1].key;
			expected += !slice_equal(key, last);
			/* A prefix that the key before has, too, is not new. */
			for (size_t at = 1; at < key.size; at++)
				expected += key.data[at] == '/' &&
					    !(last.size > at && memcmp(last.data, key.data, at + 1) == 0);
		}
		assert_ok(data_build(&d, env, PATH, &options, NULL));
		struct table *t = open_table(env);
		assert_int_equal(table_properties_of(t)->filter_keys, expected);
		table_close(t);
		data_done(&d);
		env->calls->free(env);
	}
}

static void test_values_elsewhere(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct table_builder *b;
	struct table_summary sum;
	struct table_builder_options options = data_options();
	static const uint64_t files[] = { 9, 3, 9, 5, 3, 9 };
	assert_ok(table_builder_new(env, PATH, &options, &b));
	for (unsigned i = 0; i < 6; i++) {
		uint8_t bytes[100], key[2] = { 1, (uint8_t)('a' + i) };
		struct record record = { .time_ns = 1, .elsewhere = true };
		record.pointer = (struct value_pointer){ files[i], 10, 1000 + i, 0 };
		record_encode(bytes, &record);
		assert_ok(table_builder_add(b, slice_make(key, 2), tag_make(1, KIND_PUT),
			slice_make(bytes, record_encoded_size(&record))));
	}
	assert_ok(table_builder_add(b, WOMBAT_STR("\1z"), tag_make(1, KIND_DELETE), WOMBAT_STR("")));
	assert_ok(table_builder_finish(b, &sum));
	assert_int_equal(sum.values.count, 3);
	static const struct value_ref want[] = { { 3, 2005, 2 }, { 5, 1003, 1 }, { 9, 3007, 3 } };
	for (unsigned i = 0; i < 3; i++) {
		const struct value_ref *got = &sum.values.items[i];
		assert_true(got->file == want[i].file && got->bytes == want[i].bytes);
		assert_int_equal(got->count, want[i].count);
	}
	assert_int_equal(sum.deletes, 1);
	table_summary_done(&sum);
	env->calls->free(env);
}

/* ---- What is refused ------------------------------------------------------------------------- */

static void refuse(const char *first, uint64_t first_sequence, struct wombat_slice key, uint64_t sequence,
		   struct wombat_slice value, enum wombat_status status, const char *sentence)
{
	struct env *env = new_env();
	struct table_builder *b;
	struct table_builder_options options = data_options();
	assert_ok(table_builder_new(env, PATH, &options, &b));
	assert_ok(table_builder_add(b, WOMBAT_STR(first), tag_make(first_sequence, KIND_DELETE), WOMBAT_STR("")));
	enum ikey_kind kind = value.size ? KIND_PUT : KIND_DELETE;
	assert_status(table_builder_add(b, key, tag_make(sequence, kind), value), status);
	assert_non_null(strstr(wombat_last_error(), sentence));
	table_builder_abandon(b);
	assert_non_null(strstr(wombat_last_error(), sentence)); /* still */
	assert_no_file(env);
	env->calls->free(env);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct wombat_slice none;
	struct wombat_slice huge = slice_make((const uint8_t *)"\1m", TABLE_BLOCK_MAX);
	const char *order = PATH ": entry 1 comes out of order";
	refuse("\1m", 5, WOMBAT_STR("\1m"), 5, none, WOMBAT_CORRUPTION, order);  /* the same again */
	refuse("\1m", 5, WOMBAT_STR("\1m"), 6, none, WOMBAT_CORRUPTION, order);  /* newer behind older */
	refuse("\1m", 5, WOMBAT_STR("\1l"), 1, none, WOMBAT_CORRUPTION, order);
	refuse("\1mm", 5, WOMBAT_STR("\1m"), 1, none, WOMBAT_CORRUPTION, order); /* a prefix comes first */
	refuse("\2a", 5, WOMBAT_STR("\1z"), 1, none, WOMBAT_CORRUPTION, order);  /* so does a lower keyspace */
	refuse("\1\xff", 5, WOMBAT_STR("\1\x7f"), 1, none, WOMBAT_CORRUPTION, order); /* bytes have no sign */
	refuse("\1m", 5, WOMBAT_STR("\1n"), 1, WOMBAT_STR("\xffno record"), WOMBAT_CORRUPTION, "record");
	/* Nobody looks at the bytes of what is too large. */
	refuse("\1m", 5, WOMBAT_STR("\1n"), 1, huge, WOMBAT_TOO_BIG, PATH ": an entry of");
	refuse("\1", 5, huge, 1, none, WOMBAT_TOO_BIG, PATH ": an entry of");
}

static void test_abandon(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct table_builder *b;
	struct table_builder_options options = data_options();
	table_builder_abandon(NULL);
	assert_ok(table_builder_new(env, PATH, &options, &b));
	table_builder_abandon(b);
	assert_no_file(env);
	env->calls->free(env);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static unsigned left; /* so many succeed */
static bool for_good;  /* then all fail, or one */

static bool next_fails(void)
{
	if (left > 0) {
		left--;
		return false;
	}
	left = for_good ? 0 : UINT32_MAX;
	return true;
}

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	/* Removing is what is done about a failure; were it to fail, too, the next open does it. */
	return strcmp(op, "remove") != 0 && next_fails() ? WOMBAT_IO : WOMBAT_OK;
}

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return !next_fails();
}

/* All that a table can have: packed blocks or large values, range tombstones, a filter, pointers. */
static enum wombat_status build(const struct data *d, struct env *env, enum table_compression compression)
{
	struct table_builder *b;
	struct table_summary sum;
	struct table_builder_options options = data_options();
	options.block_bytes = 300;
	options.compression = compression;
	options.write_buffer_bytes = 1024;
	enum wombat_status s = table_builder_new(env, PATH, &options, &b);
	if (s != WOMBAT_OK)
		return s;
	s = table_builder_add_range(b, (struct range_del){ WOMBAT_STR("\1a"), WOMBAT_STR("\4"), 9 });
	for (size_t i = 0; i < d->count && s == WOMBAT_OK; i++)
		s = table_builder_add(b, d->entries[i].key, d->entries[i].tag, d->entries[i].value);
	if (s != WOMBAT_OK) {
		table_builder_abandon(b);
		return s;
	}
	s = table_builder_finish(b, &sum);
	if (s == WOMBAT_OK) {
		assert_true(sum.largest_excluded && sum.range_deletes == 1 && sum.entries == d->count);
		table_summary_done(&sum);
	}
	return s;
}

static void test_each_failure(void **state)
{
	(void)state;
	struct random_state r;
	struct data d = { 0 };
	uint8_t *large = calloc(1, LARGE_VALUE);
	assert_non_null(large);
	random_seed(&r, test_seed("test_each_failure"));
	data_random(&d, &r, &(struct data_shape){ .entries = 30, .keys = 20, .value_max = 100 });
	data_add(&d, WOMBAT_STR("\3large"), tag_make(1, KIND_PUT), slice_make(large, LARGE_VALUE), 0);
	for (unsigned way = 0; way < 8; way++) {
		bool memory = way & 1;
		unsigned n = 0;
		for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
			struct env *env = new_env();
			left = n;
			for_good = way & 2;
			if (memory)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(env, fail_call, NULL);
			s = build(&d, env, way & 4 ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE);
			mem_test_hook = NULL;
			env_mem_on_call(env, NULL, NULL);
			if (s != WOMBAT_OK) {
				assert_int_equal(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
				assert_true(memory || strstr(wombat_last_error(), PATH ": injected"));
				assert_no_file(env);
			}
			env->calls->free(env);
		}
		assert_true(n > 10);
	}
	free(large);
	data_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_size_so_far),
		cmocka_unit_test(test_repeatable),
		cmocka_unit_test(test_large_values),
		cmocka_unit_test(test_filter_keys),
		cmocka_unit_test(test_values_elsewhere),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_each_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
