/*
 * Blocks from the disk and reads of single keys: against the array, with and without filter and cache, at every
 * sequence number; how the cache is filled; parts that are packed; files that are mapped; threads.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/env/env_mem.h"
#include "engine/table/compress.h"
#include "engine/table/table_impl.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

#define PATH "000007.sst"

struct fixture {
	struct env *env;
	struct lru *cache;
	struct table_counts counts;
	struct data d;
	struct table *t;
	struct random_state r;
};

static void fixture_init(struct fixture *f, const char *name, uint64_t cache_bytes,
			 const struct table_builder_options *options)
{
	memset(f, 0, sizeof(*f));
	random_seed(&f->r, test_seed(name));
	assert_ok(env_mem_new(&f->env));
	if (cache_bytes)
		assert_ok(lru_new(cache_bytes, 2, &f->cache));
	data_random(&f->d, &f->r, &(struct data_shape){ .entries = 300, .keys = 60, .value_max = 100 });
	assert_ok(data_build(&f->d, f->env, PATH, options, NULL));
	struct table_options open = { .block_cache = f->cache, .counts = &f->counts };
	assert_ok(table_open(f->env, PATH, 7, &open, &f->t));
}

static void fixture_done(struct fixture *f)
{
	table_close(f->t);
	data_done(&f->d);
	lru_free(f->cache);
	f->env->calls->free(f->env);
}

static struct table_totals totals(struct fixture *f)
{
	struct table_totals t;
	table_counts_read(&f->counts, &t);
	return t;
}

static struct table_builder_options small_blocks(void)
{
	struct table_builder_options options = data_options();
	options.block_bytes = 300;
	options.restart_interval = 4;
	return options;
}

/* What the array says of a key at a sequence number, and what the table says. */
static void get_one(struct fixture *f, struct wombat_slice key, uint64_t sequence, unsigned flags)
{
	size_t i = data_seek(&f->d, key, tag_make(sequence, 0xff));
	bool there = i < f->d.count && slice_equal(f->d.entries[i].key, key);
	uint64_t tag = 77;
	struct wombat_slice value = { 0 };
	struct lru_pin pin = { 0 };
	enum wombat_status s = table_get(f->t, key, sequence, flags, &tag, &value, &pin);
	assert_status(s, there ? WOMBAT_OK : WOMBAT_NOT_FOUND);
	if (there) {
		assert_true(tag == f->d.entries[i].tag);
		assert_true(slice_equal(value, f->d.entries[i].value));
		lru_pin_release(&pin);
	}
	assert_null(pin.handle); /* nothing is held for an answer of no */
}

/* ---- Gets ------------------------------------------------------------------------------------ */

static void test_every_version(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 8; n++) {
		struct fixture f;
		struct table_builder_options options = small_blocks();
		options.bloom_false_positive = n & 1 ? 0.01 : 0;
		options.compression = n & 2 ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		fixture_init(&f, "test_every_version", n & 4 ? 1 << 20 : 0, &options);
		for (size_t i = 0; i < f.d.count; i++) {
			struct wombat_slice key = f.d.entries[i].key;
			uint64_t sequence = tag_sequence(f.d.entries[i].tag);
			get_one(&f, key, sequence, 0);
			get_one(&f, key, sequence + 1, 0);
			get_one(&f, key, sequence ? sequence - 1 : 0, TABLE_READ_NO_FILL);
			get_one(&f, key, SEQUENCE_MAX, TABLE_READ_SEQUENTIAL);
			get_one(&f, key, 0, 0);
			get_one(&f, slice_make(key.data, key.size - 1), SEQUENCE_MAX, 0);
		}
		get_one(&f, WOMBAT_STR(""), SEQUENCE_MAX, 0);
		get_one(&f, WOMBAT_STR("\xff"), SEQUENCE_MAX, 0);
		struct table_totals sums = totals(&f);
		assert_int_equal(sums.filter_checks > 0, n & 1);
		assert_true(sums.filter_useful <= sums.filter_checks && sums.checksum_failures == 0);
		fixture_done(&f);
	}
}

/* The filter spares reads of keys that are not there, and only these; behind the table's last it is not asked. */
static void test_filter_spares_reads(void **state)
{
	(void)state;
	struct fixture f;
	struct table_builder_options options = small_blocks();
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	uint64_t tag;
	fixture_init(&f, "test_filter_spares_reads", 0, &options);
	struct table_totals before = totals(&f);
	for (unsigned i = 0; i < 1000; i++) {
		char key[32];
		size_t size = (size_t)snprintf(key, sizeof(key), "\1absent%u", i);
		enum wombat_status s = table_get(f.t, slice_make(key, size), SEQUENCE_MAX, 0, &tag, &value, &pin);
		assert_status(s, WOMBAT_NOT_FOUND);
	}
	struct table_totals after = totals(&f);
	assert_int_equal(after.filter_checks - before.filter_checks, 1000);
	assert_true(after.filter_useful > 900);
	assert_int_equal(after.block_reads - before.block_reads, 1000 - after.filter_useful);
	before = after;
	assert_status(table_get(f.t, WOMBAT_STR("\2"), SEQUENCE_MAX, 0, &tag, &value, &pin), WOMBAT_NOT_FOUND);
	assert_int_equal(totals(&f).filter_checks, before.filter_checks);
	/* Each read is of a block with its trailer. */
	get_one(&f, f.d.entries[0].key, SEQUENCE_MAX, 0);
	after = totals(&f);
	assert_int_equal(after.block_reads - before.block_reads, 1);
	assert_int_equal(after.block_read_bytes - before.block_read_bytes,
			 f.t->index->sizes[0] + TABLE_BLOCK_TRAILER_SIZE);
	fixture_done(&f);
}

/* ---- The cache ------------------------------------------------------------------------------- */

static void test_acquire(void **state)
{
	(void)state;
	static const struct {
		unsigned flags;
		bool fills;
	} ways[] = { { TABLE_READ_NO_FILL, false }, { TABLE_READ_SEQUENTIAL, false }, { 0, true } };
	struct fixture f;
	struct table_builder_options options = small_blocks();
	fixture_init(&f, "test_acquire", 1 << 20, &options);
	for (size_t i = 0; i < f.t->index->count; i++) {
		const struct block *block, *again;
		struct lru_pin pin = { 0 }, other = { 0 };
		bool was_read = true;
		assert_status(table_block_acquire(f.t, i, TABLE_READ_CACHED, &pin, &block, &was_read),
			      WOMBAT_WOULD_BLOCK);
		assert_false(was_read);
		assert_null(pin.handle);
		for (size_t w = 0; w < 3; w++) {
			assert_ok(table_block_acquire(f.t, i, ways[w].flags, &pin, &block, &was_read));
			assert_true(was_read);
			enum wombat_status s = table_block_acquire(f.t, i, TABLE_READ_CACHED, &other, &again, NULL);
			assert_status(s, ways[w].fills ? WOMBAT_OK : WOMBAT_WOULD_BLOCK);
			if (ways[w].fills)
				assert_ptr_equal(block, again); /* one block, not two */
			lru_pin_release(&other);
			lru_pin_release(&pin);
		}
		assert_ok(table_block_acquire(f.t, i, 0, &pin, &block, &was_read));
		assert_false(was_read);
		lru_pin_release(&pin);
	}
	struct lru_counts counts;
	lru_counts(f.cache, &counts);
	assert_true(counts.entries == f.t->index->count && counts.pinned_bytes == 0);
	fixture_done(&f);
}

static unsigned left;

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

/* Without memory to keep a block it still answers; only without memory to read it, it says so. */
static void test_each_allocation_fails(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct fixture f;
		struct table_builder_options options = small_blocks();
		unsigned refused = 0, answered_uncached = 0;
		options.compression = packed ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		fixture_init(&f, "test_each_allocation_fails", 1 << 20, &options);
		for (unsigned n = 0; n < 12; n++) {
			const struct block *block;
			struct lru_pin pin = { 0 };
			struct lru_counts counts;
			table_forget_blocks(f.t);
			left = n;
			mem_test_hook = fail_allocation;
			enum wombat_status s = table_block_acquire(f.t, 1, 0, &pin, &block, NULL);
			mem_test_hook = NULL;
			assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
			lru_counts(f.cache, &counts);
			refused += s != WOMBAT_OK;
			answered_uncached += s == WOMBAT_OK && counts.entries == 0;
			assert_int_equal(pin.handle != NULL, s == WOMBAT_OK);
			lru_pin_release(&pin);
		}
		assert_true(refused >= 1 && refused < 8 && answered_uncached >= 1);
		fixture_done(&f);
	}
}

/* ---- What is not as it should be ------------------------------------------------------------- */

/* Any byte of a block is covered when blocks are verified; when not, reading stays within the block all the same. */
static void test_damage(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct fixture f;
		struct table_builder_options options = small_blocks();
		size_t size;
		options.compression = packed ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		fixture_init(&f, "test_damage", 0, &options);
		struct table_handle handle = index_handle(f.t->index, 2);
		uint8_t *bytes = env_mem_bytes(f.env, PATH, &size) + handle.offset;
		for (size_t at = 0; at < handle.size + TABLE_BLOCK_TRAILER_SIZE; at++) {
			struct block *block;
			char place[64];
			uint64_t failures = totals(&f).checksum_failures;
			uint8_t was = bytes[at];
			bytes[at] ^= (uint8_t)(1 + random_below(&f.r, 255));
			assert_status(table_read_block(f.t, handle, true, NULL, &block), WOMBAT_CORRUPTION);
			snprintf(place, sizeof(place), PATH ": block at %u: checksum", (unsigned)handle.offset);
			assert_non_null(strstr(wombat_last_error(), place));
			assert_int_equal(totals(&f).checksum_failures, failures + 1);
			enum wombat_status s = table_read_block(f.t, handle, false, NULL, &block);
			assert_true(s == WOMBAT_OK || s == WOMBAT_CORRUPTION || s == WOMBAT_NO_MEMORY);
			if (s == WOMBAT_OK) {
				uint64_t tag;
				struct wombat_slice value;
				for (size_t i = 0; i < f.d.count; i += 5) {
					struct wombat_slice key = f.d.entries[i].key;
					enum block_result r = block_get(block, key, TAG_MAX, &tag, &value);
					assert_true(r == BLOCK_AT || r == BLOCK_END || r == BLOCK_BAD);
				}
				mem_free(block);
			}
			bytes[at] = was;
		}
		fixture_done(&f);
	}
}

static enum wombat_status fail_reads(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return strcmp(op, "reader_read") == 0 ? WOMBAT_IO : WOMBAT_OK;
}

static void test_failing_reads(void **state)
{
	(void)state;
	struct fixture f;
	struct table_builder_options options = small_blocks();
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	uint64_t tag;
	fixture_init(&f, "test_failing_reads", 1 << 20, &options);
	env_mem_on_call(f.env, fail_reads, NULL);
	assert_status(table_get(f.t, f.d.entries[9].key, SEQUENCE_MAX, 0, &tag, &value, &pin), WOMBAT_IO);
	assert_null(pin.handle);
	env_mem_on_call(f.env, NULL, NULL);
	get_one(&f, f.d.entries[9].key, SEQUENCE_MAX, 0); /* it was not kept */
	env_mem_on_call(f.env, fail_reads, NULL);
	get_one(&f, f.d.entries[9].key, SEQUENCE_MAX, 0); /* this was */
	env_mem_on_call(f.env, NULL, NULL);
	fixture_done(&f);
}

/* ---- Parts ----------------------------------------------------------------------------------- */

/* Any part may be packed: the properties, packed, are put behind all and the footer made to name them; half of
 * them, when they are to be spoilt. */
static void pack_properties(struct env *env, bool spoil)
{
	size_t size;
	bool worth;
	struct compressor *c;
	struct buf packed = { 0 }, file = { 0 }, many = { 0 };
	const uint8_t *bytes = env_mem_bytes(env, PATH, &size);
	struct table_footer footer;
	assert_ok(footer_decode(bytes + size - TABLE_FOOTER_SIZE, size, PATH, &footer));
	assert_ok(buf_append(&many, bytes + footer.properties.offset, footer.properties.size));
	for (unsigned i = 0; i < 50; i++) { /* names of a later version, so that it is worth it */
		assert_ok(buf_append_slice(&many, WOMBAT_STR("a_later_version's_name")));
		assert_ok(buf_append_varint(&many, 5));
	}
	assert_ok(compressor_new(6, &c));
	assert_ok(compress_block(c, buf_slice(&many), &packed, &worth));
	assert_true(worth);
	compressor_free(c);
	if (spoil)
		packed.size /= 2;
	assert_ok(buf_append(&file, bytes, size - TABLE_FOOTER_SIZE));
	footer.properties = (struct table_handle){ file.size, packed.size };
	assert_ok(buf_append(&file, packed.data, packed.size));
	assert_ok(buf_append_byte(&file, TABLE_COMPRESS_ZLIB));
	assert_ok(buf_append_u32(&file, crc32c(0, file.data + footer.properties.offset, packed.size + 1)));
	uint8_t end[TABLE_FOOTER_SIZE];
	footer_encode(end, &footer);
	assert_ok(buf_append(&file, end, sizeof(end)));
	struct env_writer *w;
	assert_ok(env->calls->writer_open(env, PATH, 0, 0, &w));
	assert_ok(env->calls->writer_write(w, file.data, file.size));
	assert_ok(env->calls->writer_close(w));
	buf_done(&packed);
	buf_done(&file);
	buf_done(&many);
}

static void test_packed_part(void **state)
{
	(void)state;
	for (int spoil = 0; spoil < 2; spoil++) {
		struct fixture f;
		struct table_builder_options options = small_blocks();
		struct table_options open = { 0 };
		struct table *t = NULL;
		unsigned n = 0;
		fixture_init(&f, "test_packed_part", 0, &options);
		uint64_t entries = table_properties_of(f.t)->entries;
		pack_properties(f.env, spoil);
		for (enum wombat_status s = WOMBAT_NO_MEMORY; s == WOMBAT_NO_MEMORY; n++) {
			left = n;
			mem_test_hook = fail_allocation;
			s = table_open(f.env, PATH, 7, &open, &t);
			mem_test_hook = NULL;
			assert_true(s == WOMBAT_NO_MEMORY || s == (spoil ? WOMBAT_CORRUPTION : WOMBAT_OK));
		}
		assert_true(n > 3);
		if (spoil) {
			assert_non_null(strstr(wombat_last_error(), PATH));
		} else {
			assert_int_equal(table_properties_of(t)->entries, entries);
			table_close(t);
		}
		fixture_done(&f);
	}
}

/* ---- Mapped files ---------------------------------------------------------------------------- */

static const uint8_t *mapped;

/* Gives memory of the file's own, as a mapping does. */
static enum wombat_status read_mapped(struct env_reader *reader, uint64_t offset, size_t size, void *scratch,
				      const uint8_t **out)
{
	(void)reader;
	memset(scratch, 0xee, size); /* is not looked at */
	*out = mapped + offset;
	return WOMBAT_OK;
}

static void test_mapped(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct fixture f;
		struct table_builder_options options = small_blocks();
		options.compression = packed ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		fixture_init(&f, "test_mapped", 1 << 20, &options);
		const struct env_calls *real = f.env->calls;
		struct env_calls calls = *real;
		size_t size;
		mapped = env_mem_bytes(f.env, PATH, &size);
		calls.reader_read = read_mapped;
		f.t->calls = &calls;
		for (size_t i = 0; i < f.d.count; i++)
			get_one(&f, f.d.entries[i].key, SEQUENCE_MAX, 0);
		data_assert_table(&f.d, f.t, TABLE_READ_SEQUENTIAL, 20000, &f.r, 50);
		f.t->calls = real;
		fixture_done(&f);
	}
}

/* ---- Threads --------------------------------------------------------------------------------- */

struct reader {
	struct fixture *f;
	uint64_t seed;
};

static void *read_random(void *arg)
{
	struct reader *reader = arg;
	struct random_state r;
	random_seed(&r, reader->seed);
	for (unsigned n = 0; n < 3000; n++) {
		const struct data_entry *e = &reader->f->d.entries[random_below(&r, reader->f->d.count)];
		get_one(reader->f, e->key, tag_sequence(e->tag), n % 7 ? 0 : TABLE_READ_NO_FILL);
		if (n % 500 == 0)
			table_forget_blocks(reader->f->t);
	}
	return NULL;
}

/* Through a cache that holds a few of the blocks. */
static void test_threads(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	struct fixture f;
	pthread_t threads[THREADS];
	struct reader readers[THREADS];
	struct table_builder_options options = small_blocks();
	fixture_init(&f, "test_threads", 6000, &options);
	for (unsigned i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){ &f, i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, read_random, &readers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	struct table_totals sums = totals(&f);
	assert_int_equal(sums.filter_checks, THREADS * 3000);
	assert_int_equal(sums.filter_useful, 0); /* all of them are there */
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_version),
		cmocka_unit_test(test_filter_spares_reads),
		cmocka_unit_test(test_acquire),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_failing_reads),
		cmocka_unit_test(test_packed_part),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
