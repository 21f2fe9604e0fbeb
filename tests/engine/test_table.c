/* Tables: what is built is read back by every way of reading, over the matrix of options. */
#include "engine/table/table.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/env/env_mem.h"
#include "engine/table/table_builder.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

#define PATH "000007.sst"
enum { NUMBER = 7 };

/* ---- Set-up ----------------------------------------------------------------------------------- */

struct fixture {
	struct env *env;
	struct lru *cache, *filters;
	struct table_counts counts;
	struct random_state random;
};

static void fixture_init(struct fixture *f, const char *test, uint64_t cache_bytes)
{
	memset(f, 0, sizeof(*f));
	assert_ok(env_mem_new(&f->env));
	if (cache_bytes) {
		assert_ok(lru_new(cache_bytes, 1, &f->cache));
		assert_ok(lru_new(cache_bytes, 1, &f->filters));
	}
	random_seed(&f->random, test_seed(test));
}

static void fixture_done(struct fixture *f)
{
	lru_free(f->cache);
	lru_free(f->filters);
	f->env->calls->free(f->env);
}

static struct table *open_table(struct fixture *f, unsigned env_flags)
{
	struct table *t;
	struct table_options options = {
		.block_cache = f->cache, .filter_cache = f->filters, .counts = &f->counts, .env_flags = env_flags,
	};
	assert_ok(table_open(f->env, PATH, NUMBER, &options, &t));
	return t;
}

static void no_finding(void *arg, const char *sentence)
{
	(void)arg;
	fail_msg("%s", sentence);
}

static struct table_totals totals(struct fixture *f)
{
	struct table_totals t;
	table_counts_read(&f->counts, &t);
	return t;
}

/* ---- Round trips ------------------------------------------------------------------------------- */

static void round_trip(struct fixture *f, const struct data_shape *shape,
	const struct table_builder_options *options)
{
	static const struct {
		unsigned flags;
		size_t read_ahead_bytes;
	} ways[] = {
		{ 0, 0 }, { 0, 64 * 1024 }, { TABLE_READ_NO_FILL, 0 }, { TABLE_READ_SEQUENTIAL, 0 },
		{ TABLE_READ_SEQUENTIAL, 10000 },
	};
	struct data d = { 0 };
	data_random(&d, &f->random, shape);
	assert_ok(data_build(&d, f->env, PATH, options, NULL));
	struct table *t = open_table(f, 0);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		data_assert_table(&d, t, ways[i].flags, ways[i].read_ahead_bytes, &f->random, 60);
	assert_ok(table_check(t, no_finding, NULL));
	table_forget_blocks(t);
	if (f->cache) {
		struct lru_counts counts;
		lru_counts(f->cache, &counts);
		assert_int_equal(counts.entries, 0);
	}
	table_close(t);
	data_done(&d);
}

static void test_matrix(void **state)
{
	(void)state;
	static const size_t block_bytes[] = { 1, 300, 4096, 1 << 20 };
	static const unsigned intervals[] = { 1, 16, 500 };
	static const struct data_shape shapes[] = {
		{ .entries = 700, .keys = 2000, .value_max = 80, .expiry = true },
		{ .entries = 700, .keys = 5, .value_max = 20 },
		{ .entries = 250, .keys = 300, .key_prefix = 200, .value_max = 9000 },
	};
	struct fixture f;
	fixture_init(&f, "test_matrix", 100000);
	for (size_t shape = 0; shape < sizeof(shapes) / sizeof(shapes[0]); shape++)
		for (size_t b = 0; b < sizeof(block_bytes) / sizeof(block_bytes[0]); b++)
			for (size_t i = 0; i < sizeof(intervals) / sizeof(intervals[0]); i++) {
				struct table_builder_options options = data_options();
				options.block_bytes = block_bytes[b];
				options.restart_interval = intervals[i];
				options.compression = (shape + b + i) % 2 ? TABLE_COMPRESS_ZLIB
					: TABLE_COMPRESS_NONE;
				options.bloom_false_positive = (b + i) % 3 ? 0.01 : 0;
				round_trip(&f, &shapes[shape], &options);
			}
	fixture_done(&f);
}

static void test_without_a_cache(void **state)
{
	(void)state;
	struct fixture f;
	struct table_builder_options options = data_options();
	fixture_init(&f, "test_without_a_cache", 0);
	round_trip(&f, &(struct data_shape){ .entries = 500, .keys = 400, .value_max = 100 }, &options);
	fixture_done(&f);
}

static void add_filled(struct data *d, const char *key, uint64_t sequence, size_t size,
	struct random_state *r)
{
	uint8_t *p = malloc(size + 1);
	assert_non_null(p);
	for (size_t i = 0; i < size; i++)
		p[i] = r ? (uint8_t)random_next(r) : (uint8_t)(i >> 12);
	data_add(d, WOMBAT_STR(key), tag_make(sequence, KIND_PUT), slice_make(p, size), 0);
	free(p);
}

static void test_large_values(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, "test_large_values", 64 << 20);
	for (int packed = 0; packed < 2; packed++) {
		struct data d = { 0 };
		struct table_builder_options options = data_options();
		options.compression = packed ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
		add_filled(&d, "\1a", 9, 5 << 20, &f.random);
		add_filled(&d, "\1a", 8, 0, NULL);
		add_filled(&d, "\1b", 7, 5 << 20, NULL);
		add_filled(&d, "\1c", 6, 0, NULL);
		add_filled(&d, "\1d", 5, 300 << 10, &f.random);
		add_filled(&d, "\1e", 4, 10, NULL);
		data_sort(&d);
		struct table_summary summary;
		assert_ok(data_build(&d, f.env, PATH, &options, &summary));
		if (packed)
			assert_true(summary.file_bytes < 6 << 20);
		table_summary_done(&summary);
		struct table *t = open_table(&f, 0);
		data_assert_table(&d, t, 0, 0, &f.random, 10);
		data_assert_table(&d, t, TABLE_READ_SEQUENTIAL, 1 << 20, &f.random, 10);
		assert_ok(table_check(t, no_finding, NULL));
		table_forget_blocks(t); /* the next one has the same number */
		table_close(t);
		data_done(&d);
	}
	fixture_done(&f);
}

/* On this machine's files: read, mapped, and past the page cache. */
static void test_real_files(void **state)
{
	(void)state;
	static const unsigned env_flags[] = { 0, ENV_MMAP, ENV_DIRECT, ENV_SEQUENTIAL };
	struct random_state r;
	char dir[] = "/tmp/test_table.XXXXXX", path[64];
	random_seed(&r, test_seed("test_real_files"));
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/%s", dir, PATH);
	struct data d = { 0 };
	data_random(&d, &r, &(struct data_shape){ .entries = 2000, .keys = 1500, .value_max = 300 });
	for (size_t i = 0; i < sizeof(env_flags) / sizeof(env_flags[0]); i++) {
		struct table_builder_options options = data_options();
		struct table_options open = { .env_flags = env_flags[i] };
		struct table *t;
		options.direct_io = env_flags[i] == ENV_DIRECT;
		assert_ok(data_build(&d, env_posix(), path, &options, NULL));
		assert_ok(table_open(env_posix(), path, NUMBER, &open, &t));
		data_assert_table(&d, t, 0, 128 << 10, &r, 100);
		data_assert_table(&d, t, TABLE_READ_SEQUENTIAL, 32 << 10, &r, 100);
		table_close(t);
	}
	data_done(&d);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* ---- Summary, properties, bounds ---------------------------------------------------------------- */

static void test_summary(void **state)
{
	(void)state;
	struct fixture f;
	struct data d = { 0 };
	struct table_summary s;
	struct table_builder_options options = data_options();
	fixture_init(&f, "test_summary", 0);
	data_random(&d, &f.random, &(struct data_shape){ .entries = 900, .keys = 500, .value_max = 50,
		.expiry = true });
	assert_ok(data_build(&d, f.env, PATH, &options, &s));
	uint64_t deletes = 0, keys = 0, values = 0, smallest = UINT64_MAX, largest = 0;
	for (size_t i = 0; i < d.count; i++) {
		uint64_t sequence = tag_sequence(d.entries[i].tag);
		deletes += tag_kind(d.entries[i].tag) == KIND_DELETE;
		keys += d.entries[i].key.size;
		values += d.entries[i].value.size;
		smallest = sequence < smallest ? sequence : smallest;
		largest = sequence > largest ? sequence : largest;
	}
	uint64_t size;
	assert_ok(f.env->calls->file_size(f.env, PATH, &size));
	assert_true(s.file_bytes == size);
	assert_true(s.entries == d.count && s.deletes == deletes && s.range_deletes == 0);
	assert_true(s.raw_key_bytes == keys && s.raw_value_bytes == values);
	assert_true(s.smallest_sequence == smallest && s.largest_sequence == largest);
	assert_true(s.min_expiry_ns >= 5000 && s.min_expiry_ns < 6000);
	assert_true(slice_equal(buf_slice(&s.smallest), d.entries[0].key));
	assert_true(slice_equal(buf_slice(&s.largest), d.entries[d.count - 1].key));
	assert_false(s.largest_excluded);

	struct table *t = open_table(&f, 0);
	const struct table_properties *p = table_properties_of(t);
	assert_true(p->entries == s.entries && p->deletes == s.deletes &&
		p->min_expiry_ns == s.min_expiry_ns);
	assert_true(p->raw_key_bytes == keys && p->largest_sequence == largest);
	assert_int_equal(p->block_bytes, 4096);
	assert_int_equal(p->restart_interval, 16);
	assert_int_equal(p->filter_kind, FILTER_KIND_PAGED);
	assert_true(table_memory_bytes(t) > p->filter_keys);
	uint64_t last = 0;
	for (size_t i = 0; i < d.count; i++) {
		uint64_t offset = table_offset_of(t, d.entries[i].key);
		assert_true(offset >= last && offset < size);
		last = offset;
	}
	assert_int_equal(table_offset_of(t, WOMBAT_STR("")), 0);
	assert_true(table_offset_of(t, WOMBAT_STR("\xff")) > last);
	table_close(t);
	table_summary_done(&s);
	data_done(&d);
	fixture_done(&f);
}

static void add_range(struct table_builder *b, const char *begin, const char *end, uint64_t sequence)
{
	assert_ok(table_builder_add_range(b, (struct range_del){ WOMBAT_STR(begin), WOMBAT_STR(end),
		sequence }));
}

static void test_ranges(void **state)
{
	(void)state;
	struct fixture f;
	struct table_builder *b;
	struct table_builder_options options = data_options();
	struct table_summary s;
	fixture_init(&f, "test_ranges", 0);
	assert_ok(table_builder_new(f.env, PATH, &options, &b));
	add_range(b, "\1f", "\1m", 20);
	add_range(b, "\1x", "\1x", 99); /* nothing */
	assert_ok(table_builder_add(b, WOMBAT_STR("\1c"), tag_make(10, KIND_DELETE), WOMBAT_STR("")));
	add_range(b, "\1b", "\1g", 5);
	assert_int_equal(table_builder_entries(b), 3);
	assert_ok(table_builder_finish(b, &s));
	assert_true(s.entries == 1 && s.range_deletes == 2 && s.largest_excluded);
	assert_true(s.smallest_sequence == 5 && s.largest_sequence == 20);
	assert_true(slice_equal(buf_slice(&s.smallest), WOMBAT_STR("\1b")));
	assert_true(slice_equal(buf_slice(&s.largest), WOMBAT_STR("\1m")));
	table_summary_done(&s);
	struct table *t = open_table(&f, 0);
	const struct range_fragments *r = table_range_dels(t);
	assert_true(range_fragments_cover(r, WOMBAT_STR("\1a"), 100) == 0);
	assert_true(range_fragments_cover(r, WOMBAT_STR("\1c"), 100) == 5);
	assert_true(range_fragments_cover(r, WOMBAT_STR("\1f"), 100) == 20);
	assert_true(range_fragments_cover(r, WOMBAT_STR("\1f"), 19) == 5);
	assert_true(range_fragments_cover(r, WOMBAT_STR("\1m"), 100) == 0);
	assert_ok(table_check(t, no_finding, NULL));
	table_close(t);
	fixture_done(&f);
}

static void test_bounds_with_ranges(void **state)
{
	(void)state;
	struct fixture f;
	struct table_builder_options options = data_options();
	fixture_init(&f, "test_bounds_with_ranges", 0);
	/* A range that ends at the last key leaves that key the bound; a table of ranges alone has theirs. */
	for (int points = 0; points < 2; points++) {
		struct table_builder *b;
		struct table_summary s;
		assert_ok(table_builder_new(f.env, PATH, &options, &b));
		if (points)
			assert_ok(table_builder_add(b, WOMBAT_STR("\1m"), tag_make(3, KIND_DELETE),
				WOMBAT_STR("")));
		add_range(b, "\1b", "\1m", 9);
		assert_ok(table_builder_finish(b, &s));
		assert_true(slice_equal(buf_slice(&s.smallest), WOMBAT_STR("\1b")));
		assert_true(slice_equal(buf_slice(&s.largest), WOMBAT_STR("\1m")));
		assert_int_equal(s.largest_excluded, !points);
		assert_true(s.smallest_sequence == (points ? 3 : 9) && s.largest_sequence == 9);
		table_summary_done(&s);
		struct table *t = open_table(&f, 0);
		assert_int_equal(range_fragments_count(table_range_dels(t)), 1);
		assert_ok(table_check(t, no_finding, NULL));
		table_close(t);
	}
	fixture_done(&f);
}

static void test_empty(void **state)
{
	(void)state;
	struct fixture f;
	struct data d = { 0 };
	struct table_summary s;
	struct table_builder_options options = data_options();
	fixture_init(&f, "test_empty", 100000);
	assert_ok(data_build(&d, f.env, PATH, &options, &s));
	assert_true(s.entries == 0 && s.smallest.size == 0 && s.largest.size == 0);
	table_summary_done(&s);
	struct table *t = open_table(&f, 0);
	data_assert_table(&d, t, 0, 0, &f.random, 20);
	assert_int_equal(range_fragments_count(table_range_dels(t)), 0);
	assert_ok(table_check(t, no_finding, NULL));
	table_close(t);
	fixture_done(&f);
}

/* ---- Filter ------------------------------------------------------------------------------------- */

static void test_filter(void **state)
{
	(void)state;
	struct fixture f;
	struct data d = { 0 };
	struct table_builder_options options = data_options();
	char text[64];
	fixture_init(&f, "test_filter", 1 << 20);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), "\1a/b%u/c/%u", i / 10, i);
		data_add(&d, WOMBAT_STR(text), tag_make(i + 1, KIND_PUT), WOMBAT_STR("v"), 0);
	}
	data_sort(&d);
	assert_ok(data_build(&d, f.env, PATH, &options, NULL));
	struct table *t = open_table(&f, 0);
	/* "\1a/", and for each of 300 directories two prefixes, beside the keys. */
	assert_int_equal(table_properties_of(t)->filter_keys, 3000 + 1 + 2 * 300);
	assert_true(table_may_have_prefix(t, WOMBAT_STR("\1a/")));
	assert_true(table_may_have_prefix(t, WOMBAT_STR("\1zz")));  /* not a directory: no answer */
	assert_true(table_may_have_prefix(t, WOMBAT_STR("\1")));
	assert_true(table_may_have_prefix(t, WOMBAT_STR("/")));     /* a keyspace that reads as '/' */
	unsigned wrong_prefixes = 0, wrong_keys = 0;
	for (unsigned i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "\1a/b%u/", i);
		assert_true(table_may_have_prefix(t, WOMBAT_STR(text)));
		snprintf(text, sizeof(text), "\1a/b%u/c/", i);
		assert_true(table_may_have_prefix(t, WOMBAT_STR(text)));
		snprintf(text, sizeof(text), "\1a/b%u/d/", i);
		wrong_prefixes += table_may_have_prefix(t, WOMBAT_STR(text));
		uint64_t tag;
		struct wombat_slice value;
		struct lru_pin pin = { 0 };
		snprintf(text, sizeof(text), "\1a/b%u/b", i); /* before an entry: behind the last no filter is asked */
		struct table_totals before = totals(&f);
		assert_status(table_get(t, WOMBAT_STR(text), SEQUENCE_MAX, 0, &tag, &value, &pin),
			WOMBAT_NOT_FOUND);
		struct table_totals after = totals(&f);
		assert_true(after.filter_checks == before.filter_checks + 1);
		wrong_keys += after.filter_useful == before.filter_useful;
	}
	assert_true(wrong_prefixes < 20 && wrong_keys < 20); /* 3 expected of each */
	struct table_totals sums = totals(&f);
	assert_true(sums.prefix_checks == 1 + 900 && sums.prefix_useful == 300 - wrong_prefixes);
	assert_true(sums.filter_useful == 300 - wrong_keys);
	table_close(t);
	data_done(&d);
	fixture_done(&f);
}

/* ---- Ways of reading ---------------------------------------------------------------------------- */

static void build_numbers(struct fixture *f, unsigned count)
{
	struct data d = { 0 };
	struct table_builder_options options = data_options();
	char text[32];
	for (unsigned i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "\1%08u", i);
		data_add(&d, WOMBAT_STR(text), tag_make(i + 1, KIND_PUT),
			WOMBAT_STR("some value of a few bytes"), 0);
	}
	data_sort(&d);
	assert_ok(data_build(&d, f->env, PATH, &options, NULL));
	data_done(&d);
}

static unsigned scan(struct table *t, unsigned flags, size_t read_ahead_bytes, enum wombat_status *out_status)
{
	struct iter *it;
	unsigned count = 0;
	assert_ok(table_iter_new(t, flags, read_ahead_bytes, &it));
	for (iter_first(it); it->valid; iter_next(it))
		count++;
	*out_status = it->status;
	iter_free(it);
	return count;
}

static void test_read_flags(void **state)
{
	(void)state;
	enum { COUNT = 5000 };
	struct fixture f;
	struct lru_counts counts;
	struct wombat_slice key = WOMBAT_STR("\1" "00001234"), value;
	struct lru_pin pin = { 0 };
	uint64_t tag;
	enum wombat_status s;
	fixture_init(&f, "test_read_flags", 1 << 20);
	build_numbers(&f, COUNT);
	struct table *t = open_table(&f, 0);
	uint64_t opened = totals(&f).block_reads;

	/* Not in memory; nor after a read that does not fill. */
	assert_status(table_get(t, key, SEQUENCE_MAX, TABLE_READ_CACHED, &tag, &value, &pin),
		WOMBAT_WOULD_BLOCK);
	assert_int_equal(scan(t, TABLE_READ_CACHED, 0, &s), 0);
	assert_int_equal(s, WOMBAT_WOULD_BLOCK);
	assert_ok(table_get(t, key, SEQUENCE_MAX, TABLE_READ_NO_FILL, &tag, &value, &pin));
	lru_pin_release(&pin);
	assert_status(table_get(t, key, SEQUENCE_MAX, TABLE_READ_CACHED, &tag, &value, &pin),
		WOMBAT_WOULD_BLOCK);
	assert_true(totals(&f).block_reads == opened + 1);

	/* Large reads leave the cache alone and are few. */
	uint64_t blocks = table_properties_of(t)->data_blocks, before = totals(&f).block_reads;
	assert_int_equal(scan(t, TABLE_READ_SEQUENTIAL, 1 << 20, &s), COUNT);
	assert_int_equal(s, WOMBAT_OK);
	assert_true(totals(&f).block_reads == before + 1);
	assert_int_equal(scan(t, TABLE_READ_SEQUENTIAL, 10 * 4200, &s), COUNT);
	assert_true(totals(&f).block_reads <= before + 1 + blocks / 9 + 1);
	lru_counts(f.cache, &counts);
	assert_int_equal(counts.entries, 0);

	/* An ordinary scan fills it; then nothing is read. */
	before = totals(&f).block_reads;
	assert_int_equal(scan(t, 0, 1 << 20, &s), COUNT);
	assert_true(totals(&f).block_reads == before + blocks);
	assert_int_equal(scan(t, TABLE_READ_CACHED, 0, &s), COUNT);
	assert_ok(table_get(t, key, SEQUENCE_MAX, TABLE_READ_CACHED, &tag, &value, &pin));
	assert_true(totals(&f).block_reads == before + blocks);

	/* What is pinned outlives the table. */
	table_close(t);
	assert_true(slice_equal(slice_make(value.data + 9, value.size - 9),
		WOMBAT_STR("some value of a few bytes")));
	lru_pin_release(&pin);
	lru_counts(f.cache, &counts);
	assert_int_equal(counts.pinned_bytes, 0);
	fixture_done(&f);
}

static _Bool no_allocation(size_t size)
{
	(void)size;
	return false;
}

static void test_get_of_cached_allocates_nothing(void **state)
{
	(void)state;
	struct fixture f;
	struct wombat_slice key = WOMBAT_STR("\1" "00000077"), value;
	struct lru_pin pin = { 0 };
	uint64_t tag;
	fixture_init(&f, "test_get_of_cached_allocates_nothing", 1 << 20);
	build_numbers(&f, 100);
	struct table *t = open_table(&f, 0);
	assert_ok(table_get(t, key, SEQUENCE_MAX, 0, &tag, &value, &pin));
	lru_pin_release(&pin);
	mem_test_hook = no_allocation;
	enum wombat_status s = table_get(t, key, SEQUENCE_MAX, 0, &tag, &value, &pin);
	mem_test_hook = NULL;
	assert_int_equal(s, WOMBAT_OK);
	assert_int_equal(tag_sequence(tag), 78);
	lru_pin_release(&pin);
	table_close(t);
	fixture_done(&f);
}

/* ---- What is refused ----------------------------------------------------------------------------- */

static void test_bad_input(void **state)
{
	(void)state;
	static const struct {
		const char *key;
		uint64_t tag;
		const char *value;
		size_t value_size;
	} bad[] = {
		{ "\1a", 0x501, "\0\0\0\0\0\0\0\0\0", 9 },  /* before the one that is there */
		{ "\1b", 0x501, "\0\0\0\0\0\0\0\0\0", 9 },  /* the same again */
		{ "\1b", 0x601, "\0\0\0\0\0\0\0\0\0", 9 },  /* a newer version behind an older */
		{ "\1", 0x501, "\0\0\0\0\0\0\0\0\0", 9 },   /* a prefix of it */
		{ "\1c", 0x501, "no record", 9 },
		{ "\1c", 0x501, "", 0 },
	};
	struct fixture f;
	fixture_init(&f, "test_bad_input", 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct table_builder *b;
		struct table_builder_options options = data_options();
		uint64_t size;
		assert_ok(table_builder_new(f.env, PATH, &options, &b));
		assert_ok(table_builder_add(b, WOMBAT_STR("\1b"), 0x501,
			WOMBAT_SLICE("\0\0\0\0\0\0\0\0\0", 9)));
		assert_status(table_builder_add(b, WOMBAT_STR(bad[i].key), bad[i].tag,
			WOMBAT_SLICE(bad[i].value, bad[i].value_size)), WOMBAT_CORRUPTION);
		table_builder_abandon(b);
		assert_status(f.env->calls->file_size(f.env, PATH, &size), WOMBAT_NOT_FOUND);
	}
	table_builder_abandon(NULL);
	fixture_done(&f);
}

static void seal(uint8_t *footer)
{
	put_u32(footer + TABLE_FOOTER_CHECKSUM, crc32c(0, footer, TABLE_FOOTER_CHECKSUM));
}

static void test_versions(void **state)
{
	(void)state;
	struct fixture f;
	struct table *t;
	struct table_options options = { 0 };
	size_t size;
	fixture_init(&f, "test_versions", 0);
	build_numbers(&f, 100);
	uint8_t *footer = env_mem_bytes(f.env, PATH, &size) + size - TABLE_FOOTER_SIZE;
	size = 0;

	put_u32(footer + TABLE_FOOTER_COMPATIBLE, 0x80000000); /* may be ignored */
	memset(footer + TABLE_FOOTER_RESERVED, 0xee, 8);
	seal(footer);
	assert_ok(table_open(f.env, PATH, NUMBER, &options, &t));
	assert_ok(table_check(t, no_finding, NULL));
	table_close(t);

	put_u32(footer + TABLE_FOOTER_INCOMPATIBLE, 4);
	seal(footer);
	assert_status(table_open(f.env, PATH, NUMBER, &options, &t), WOMBAT_UNSUPPORTED);
	put_u32(footer + TABLE_FOOTER_INCOMPATIBLE, 0);
	put_u32(footer + TABLE_FOOTER_VERSION, TABLE_VERSION + 1);
	seal(footer);
	assert_status(table_open(f.env, PATH, NUMBER, &options, &t), WOMBAT_UNSUPPORTED);
	assert_non_null(strstr(wombat_last_error(), PATH));
	put_u32(footer + TABLE_FOOTER_VERSION, 0);
	seal(footer);
	assert_status(table_open(f.env, PATH, NUMBER, &options, &t), WOMBAT_UNSUPPORTED);
	put_u32(footer + TABLE_FOOTER_VERSION, TABLE_VERSION);

	put_u64(footer + TABLE_FOOTER_INDEX, UINT64_MAX - 3); /* handles that reach out of the file */
	seal(footer);
	assert_status(table_open(f.env, PATH, NUMBER, &options, &t), WOMBAT_CORRUPTION);
	put_u64(footer + TABLE_FOOTER_INDEX, 0);
	put_u64(footer + TABLE_FOOTER_INDEX + 8, UINT64_MAX - 4);
	seal(footer);
	assert_status(table_open(f.env, PATH, NUMBER, &options, &t), WOMBAT_CORRUPTION);
	fixture_done(&f);
}

static void test_properties(void **state)
{
	(void)state;
	struct buf bytes = { 0 };
	struct table_properties p = { .entries = 5, .filter_keys = 1 << 20 }, q;
	assert_ok(properties_encode(&p, &bytes));
	assert_ok(buf_append_slice(&bytes, WOMBAT_STR("from a later version")));
	assert_ok(buf_append_varint(&bytes, 12345678));
	assert_null(properties_decode(buf_slice(&bytes), &q));
	assert_memory_equal(&p, &q, sizeof(p));
	assert_non_null(properties_decode(slice_make(bytes.data, bytes.size - 1), &q));
	assert_null(properties_decode(WOMBAT_STR(""), &q));
	assert_int_equal(q.entries, 0);
	assert_ok(buf_append_slice(&bytes, WOMBAT_STR("entries")));
	assert_ok(buf_append_varint(&bytes, 6));
	assert_non_null(properties_decode(buf_slice(&bytes), &q)); /* twice */
	buf_done(&bytes);
}

/* ---- Bytes on disk: they must never change -------------------------------------------------------- */

static const uint8_t golden[] = {
	0x00, 0x06, 0x0c, 0x01, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x64, 0x69, 0x72, 0x2f,
	0x61, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6f, 0x6e, 0x65, 0x05, 0x01, 0x00,
	0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x62, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x61, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x96, 0x51,
	0xc5, 0x6b, 0x00, 0x04, 0x14, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x74, 0x6f,
	0x70, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x74, 0x77, 0x6f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x04, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x3b, 0x16, 0x0b, 0x9f, 0x00, 0x00,
	0x00, 0x02, 0x04, 0x02, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10,
	0x00, 0x80, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00,
	0x00, 0x00, 0x10, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x59, 0x73,
	0x9a, 0xec, 0x50, 0x24, 0xb8, 0x8c, 0x02, 0x03, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x04, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x65, 0xd1, 0x6c, 0x8d, 0x01, 0x02, 0x01, 0x6d, 0x02,
	0x01, 0x6e, 0x09, 0x00, 0x4a, 0xfc, 0x83, 0xef, 0x07, 0x65, 0x6e, 0x74, 0x72, 0x69, 0x65, 0x73,
	0x03, 0x07, 0x64, 0x65, 0x6c, 0x65, 0x74, 0x65, 0x73, 0x01, 0x0d, 0x72, 0x61, 0x6e, 0x67, 0x65,
	0x5f, 0x64, 0x65, 0x6c, 0x65, 0x74, 0x65, 0x73, 0x01, 0x0d, 0x72, 0x61, 0x77, 0x5f, 0x6b, 0x65,
	0x79, 0x5f, 0x62, 0x79, 0x74, 0x65, 0x73, 0x10, 0x0f, 0x72, 0x61, 0x77, 0x5f, 0x76, 0x61, 0x6c,
	0x75, 0x65, 0x5f, 0x62, 0x79, 0x74, 0x65, 0x73, 0x20, 0x11, 0x73, 0x6d, 0x61, 0x6c, 0x6c, 0x65,
	0x73, 0x74, 0x5f, 0x73, 0x65, 0x71, 0x75, 0x65, 0x6e, 0x63, 0x65, 0x02, 0x10, 0x6c, 0x61, 0x72,
	0x67, 0x65, 0x73, 0x74, 0x5f, 0x73, 0x65, 0x71, 0x75, 0x65, 0x6e, 0x63, 0x65, 0x09, 0x0d, 0x6d,
	0x69, 0x6e, 0x5f, 0x65, 0x78, 0x70, 0x69, 0x72, 0x79, 0x5f, 0x6e, 0x73, 0x09, 0x0a, 0x63, 0x72,
	0x65, 0x61, 0x74, 0x65, 0x64, 0x5f, 0x6e, 0x73, 0xe8, 0x07, 0x0b, 0x64, 0x61, 0x74, 0x61, 0x5f,
	0x62, 0x6c, 0x6f, 0x63, 0x6b, 0x73, 0x02, 0x0b, 0x63, 0x6f, 0x6d, 0x70, 0x72, 0x65, 0x73, 0x73,
	0x69, 0x6f, 0x6e, 0x00, 0x0b, 0x62, 0x6c, 0x6f, 0x63, 0x6b, 0x5f, 0x62, 0x79, 0x74, 0x65, 0x73,
	0x64, 0x10, 0x72, 0x65, 0x73, 0x74, 0x61, 0x72, 0x74, 0x5f, 0x69, 0x6e, 0x74, 0x65, 0x72, 0x76,
	0x61, 0x6c, 0x02, 0x0b, 0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0x5f, 0x6b, 0x69, 0x6e, 0x64, 0x02,
	0x0d, 0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0x5f, 0x70, 0x72, 0x6f, 0x62, 0x65, 0x73, 0x03, 0x18,
	0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0x5f, 0x62, 0x69, 0x74, 0x73, 0x5f, 0x70, 0x65, 0x72, 0x5f,
	0x6b, 0x65, 0x79, 0x5f, 0x78, 0x31, 0x30, 0x30, 0xe4, 0x03, 0x0b, 0x66, 0x69, 0x6c, 0x74, 0x65,
	0x72, 0x5f, 0x6b, 0x65, 0x79, 0x73, 0x04, 0x00, 0xce, 0x21, 0xfa, 0xee, 0x02, 0x00, 0x02, 0x00,
	0x00, 0x3d, 0x01, 0x74, 0x02, 0x02, 0x00, 0x00, 0x37, 0x6f, 0x70, 0x00, 0x05, 0x45, 0xca, 0x6b,
	0xec, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0xe8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x7e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x58, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0xdb, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x01, 0x00, 0x00, 0x00, 0x43, 0xc4, 0xa9, 0x0b, 0x57, 0x4d, 0x42, 0x54, 0x54, 0x42, 0x4c, 0x31,
};

/* The same table as it was written when filters had no pages: its filter goes unasked. */
static const uint8_t golden_of_before[] = {
	0x00, 0x06, 0x0c, 0x01, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x64, 0x69, 0x72, 0x2f,
	0x61, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6f, 0x6e, 0x65, 0x05, 0x01, 0x00,
	0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x62, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x61, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x96, 0x51,
	0xc5, 0x6b, 0x00, 0x04, 0x14, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x74, 0x6f,
	0x70, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x74, 0x77, 0x6f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x04, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x3b, 0x16, 0x0b, 0x9f, 0x00, 0x00,
	0x00, 0x02, 0x04, 0x02, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10,
	0x00, 0x80, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00,
	0x00, 0x00, 0x10, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03,
	0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa8,
	0x3a, 0xd0, 0xce, 0x01, 0x02, 0x01, 0x6d, 0x02, 0x01, 0x6e, 0x09, 0x00, 0x4a, 0xfc, 0x83, 0xef,
	0x07, 0x65, 0x6e, 0x74, 0x72, 0x69, 0x65, 0x73, 0x03, 0x07, 0x64, 0x65, 0x6c, 0x65, 0x74, 0x65,
	0x73, 0x01, 0x0d, 0x72, 0x61, 0x6e, 0x67, 0x65, 0x5f, 0x64, 0x65, 0x6c, 0x65, 0x74, 0x65, 0x73,
	0x01, 0x0d, 0x72, 0x61, 0x77, 0x5f, 0x6b, 0x65, 0x79, 0x5f, 0x62, 0x79, 0x74, 0x65, 0x73, 0x10,
	0x0f, 0x72, 0x61, 0x77, 0x5f, 0x76, 0x61, 0x6c, 0x75, 0x65, 0x5f, 0x62, 0x79, 0x74, 0x65, 0x73,
	0x20, 0x11, 0x73, 0x6d, 0x61, 0x6c, 0x6c, 0x65, 0x73, 0x74, 0x5f, 0x73, 0x65, 0x71, 0x75, 0x65,
	0x6e, 0x63, 0x65, 0x02, 0x10, 0x6c, 0x61, 0x72, 0x67, 0x65, 0x73, 0x74, 0x5f, 0x73, 0x65, 0x71,
	0x75, 0x65, 0x6e, 0x63, 0x65, 0x09, 0x0d, 0x6d, 0x69, 0x6e, 0x5f, 0x65, 0x78, 0x70, 0x69, 0x72,
	0x79, 0x5f, 0x6e, 0x73, 0x09, 0x0a, 0x63, 0x72, 0x65, 0x61, 0x74, 0x65, 0x64, 0x5f, 0x6e, 0x73,
	0xe8, 0x07, 0x0b, 0x64, 0x61, 0x74, 0x61, 0x5f, 0x62, 0x6c, 0x6f, 0x63, 0x6b, 0x73, 0x02, 0x0b,
	0x63, 0x6f, 0x6d, 0x70, 0x72, 0x65, 0x73, 0x73, 0x69, 0x6f, 0x6e, 0x00, 0x0b, 0x62, 0x6c, 0x6f,
	0x63, 0x6b, 0x5f, 0x62, 0x79, 0x74, 0x65, 0x73, 0x64, 0x10, 0x72, 0x65, 0x73, 0x74, 0x61, 0x72,
	0x74, 0x5f, 0x69, 0x6e, 0x74, 0x65, 0x72, 0x76, 0x61, 0x6c, 0x02, 0x0b, 0x66, 0x69, 0x6c, 0x74,
	0x65, 0x72, 0x5f, 0x6b, 0x69, 0x6e, 0x64, 0x01, 0x0d, 0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0x5f,
	0x70, 0x72, 0x6f, 0x62, 0x65, 0x73, 0x03, 0x18, 0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0x5f, 0x62,
	0x69, 0x74, 0x73, 0x5f, 0x70, 0x65, 0x72, 0x5f, 0x6b, 0x65, 0x79, 0x5f, 0x78, 0x31, 0x30, 0x30,
	0xe4, 0x03, 0x0b, 0x66, 0x69, 0x6c, 0x74, 0x65, 0x72, 0x5f, 0x6b, 0x65, 0x79, 0x73, 0x04, 0x00,
	0x67, 0xa6, 0x81, 0x65, 0x02, 0x00, 0x02, 0x00, 0x00, 0x3d, 0x01, 0x74, 0x02, 0x02, 0x00, 0x00,
	0x37, 0x6f, 0x70, 0x00, 0x05, 0x45, 0xca, 0x6b, 0xe4, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x50, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd3, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x79, 0x26, 0x42, 0x9e,
	0x57, 0x4d, 0x42, 0x54, 0x54, 0x42, 0x4c, 0x31,
};

static void test_golden(void **state)
{
	(void)state;
	struct fixture f;
	struct table_builder *b;
	struct table_summary s;
	struct table_builder_options options = data_options();
	fixture_init(&f, "test_golden", 0);
	env_mem_set_now(f.env, 1000);
	options.block_bytes = 100;
	options.restart_interval = 2;
	options.bloom_false_positive = 0.1;
	assert_ok(table_builder_new(f.env, PATH, &options, &b));
	assert_ok(table_builder_add(b, WOMBAT_STR("\1dir/a"), tag_make(3, KIND_PUT),
		WOMBAT_SLICE("\0\1\0\0\0\0\0\0\0one", 12)));
	assert_ok(table_builder_add(b, WOMBAT_STR("\1dir/b"), tag_make(4, KIND_DELETE), WOMBAT_STR("")));
	assert_ok(table_builder_add(b, WOMBAT_STR("\1top"), tag_make(2, KIND_PUT),
		WOMBAT_SLICE("\1\1\0\0\0\0\0\0\0\11\0\0\0\0\0\0\0two", 20)));
	add_range(b, "\1m", "\1n", 9);
	assert_ok(table_builder_finish(b, &s));
	size_t size;
	const uint8_t *bytes = env_mem_bytes(f.env, PATH, &size);
	assert_int_equal(size, sizeof(golden));
	assert_memory_equal(bytes, golden, size);
	table_summary_done(&s);
	struct table *t = open_table(&f, 0);
	assert_ok(table_check(t, no_finding, NULL));
	table_close(t);
	fixture_done(&f);
}

static void test_golden_of_before(void **state)
{
	(void)state;
	struct fixture f;
	struct env_writer *w;
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	uint64_t tag;
	fixture_init(&f, "test_golden_of_before", 0);
	assert_ok(f.env->calls->writer_open(f.env, PATH, 4096, 0, &w));
	assert_ok(f.env->calls->writer_write(w, golden_of_before, sizeof(golden_of_before)));
	assert_ok(f.env->calls->writer_close(w));
	struct table *t = open_table(&f, 0);
	assert_int_equal(table_properties_of(t)->filter_kind, 1);
	assert_ok(table_check(t, no_finding, NULL));
	assert_ok(table_get(t, WOMBAT_STR("\1dir/a"), SEQUENCE_MAX, 0, &tag, &value, &pin));
	assert_int_equal(tag_sequence(tag), 3);
	lru_pin_release(&pin);
	assert_status(table_get(t, WOMBAT_STR("\1dir/c"), SEQUENCE_MAX, 0, &tag, &value, &pin), WOMBAT_NOT_FOUND);
	assert_true(table_may_have_prefix(t, WOMBAT_STR("\1nowhere/")));
	assert_int_equal(totals(&f).filter_checks + totals(&f).prefix_checks, 0);
	table_close(t);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_without_a_cache),
		cmocka_unit_test(test_large_values),
		cmocka_unit_test(test_real_files),
		cmocka_unit_test(test_summary),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_bounds_with_ranges),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_read_flags),
		cmocka_unit_test(test_get_of_cached_allocates_nothing),
		cmocka_unit_test(test_bad_input),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_properties),
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_golden_of_before),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
