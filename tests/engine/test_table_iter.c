/*
 * A table's iterator against the array that the table was built of: every seek, to and fro over every block
 * boundary, in every way of reading; what is read ahead; a damaged block or a failing read in the middle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/table/table_impl.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

#define PATH "000007.sst"

static const struct way {
	unsigned flags;
	size_t read_ahead_bytes;
} ways[] = {
	{ 0, 0 },
	{ 0, 5000 },
	{ TABLE_READ_NO_FILL, 1 << 20 },
	{ TABLE_READ_SEQUENTIAL, 0 },    /* no block fits in: one at a time */
	{ TABLE_READ_SEQUENTIAL, 900 },  /* a few blocks at once, and some too large */
	{ TABLE_READ_SEQUENTIAL, 1 << 20 },
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

struct fixture {
	struct env *env;
	struct lru *cache;
	struct data d;
	struct table *t;
	struct table_counts counts;
	struct table_live live;
	struct random_state r;
};

enum { AHEAD_BLOCKS = 8 };

static void fixture_open(struct fixture *f, const struct table_builder_options *options)
{
	struct table_options open = { .block_cache = f->cache, .counts = &f->counts, .live = &f->live };
	atomic_init(&f->live.verify_checksums, true);
	atomic_init(&f->live.prefetch_blocks, AHEAD_BLOCKS);
	assert_ok(data_build(&f->d, f->env, PATH, options, NULL));
	assert_ok(table_open(f->env, PATH, 7, &open, &f->t));
}

/* Several versions of many keys, values that make some blocks larger than others. */
static void fixture_init(struct fixture *f, const char *name, bool packed)
{
	struct table_builder_options options = data_options();
	memset(f, 0, sizeof(*f));
	random_seed(&f->r, test_seed(name));
	assert_ok(env_mem_new(&f->env));
	assert_ok(lru_new(1 << 20, 1, &f->cache));
	data_random(&f->d, &f->r, &(struct data_shape){ .entries = 250, .keys = 90, .value_max = 120 });
	options.block_bytes = 300;
	options.restart_interval = 4;
	options.compression = packed ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE;
	fixture_open(f, &options);
}

static void fixture_done(struct fixture *f)
{
	table_close(f->t);
	data_done(&f->d);
	lru_free(f->cache);
	f->env->calls->free(f->env);
}

static struct iter *new_iter(struct fixture *f, const struct way *way)
{
	struct iter *it;
	assert_ok(table_iter_new(f->t, way->flags, way->read_ahead_bytes, &it));
	return it;
}

/* ---- Seeks ----------------------------------------------------------------------------------- */

/* To the target both ways, then two steps in either direction. */
static void seek_around(struct fixture *f, struct iter *it, struct wombat_slice key, uint64_t tag)
{
	const struct data *d = &f->d;
	size_t i = data_seek(d, key, tag);
	iter_seek(it, key, tag);
	data_assert_at(d, i, it);
	for (size_t k = i + 1; it->valid && k < i + 3; k++) {
		iter_next(it);
		data_assert_at(d, k, it);
	}
	iter_seek_before(it, key, tag);
	data_assert_at(d, i ? i - 1 : d->count, it);
	for (size_t k = i - 1; it->valid && k + 2 > i; k--) {
		iter_prev(it);
		data_assert_at(d, k ? k - 1 : d->count, it);
	}
}

static void test_every_seek(void **state)
{
	(void)state;
	for (unsigned w = 0; w < 2 * WAYS; w++) {
		struct fixture f;
		struct buf key = { 0 };
		fixture_init(&f, "test_every_seek", w % 2);
		struct iter *it = new_iter(&f, &ways[w / 2]);
		for (size_t i = 0; i < f.d.count; i++) {
			const struct data_entry *e = &f.d.entries[i];
			static const uint8_t more[] = { 0, 0xff };
			seek_around(&f, it, e->key, e->tag);
			seek_around(&f, it, e->key, e->tag - 1);
			seek_around(&f, it, e->key, e->tag + 1);
			seek_around(&f, it, e->key, TAG_MAX);
			seek_around(&f, it, e->key, 0);
			seek_around(&f, it, slice_make(e->key.data, e->key.size - 1), TAG_MAX);
			for (int k = 0; k < 2; k++) {
				assert_ok(buf_set(&key, e->key));
				assert_ok(buf_append_byte(&key, more[k]));
				seek_around(&f, it, buf_slice(&key), TAG_MAX);
			}
		}
		seek_around(&f, it, WOMBAT_STR(""), TAG_MAX);
		seek_around(&f, it, WOMBAT_STR("\xff\xff"), 0);
		iter_free(it);
		buf_done(&key);
		fixture_done(&f);
	}
}

/* From every entry a few steps there and back, so that every boundary is crossed in the middle of a move. */
static void test_to_and_fro(void **state)
{
	(void)state;
	for (unsigned w = 0; w < 2 * WAYS; w++) {
		struct fixture f;
		fixture_init(&f, "test_to_and_fro", w % 2);
		struct iter *it = new_iter(&f, &ways[w / 2]);
		assert_true(f.t->index->count > 20);
		for (size_t i = 0; i < f.d.count; i++) {
			size_t at = i, steps = 1 + random_below(&f.r, 12);
			iter_seek(it, f.d.entries[i].key, f.d.entries[i].tag);
			data_assert_at(&f.d, at, it);
			for (size_t k = 0; k < 4 * steps && it->valid; k++) {
				bool forward = k % (2 * steps) < steps;
				if (forward)
					iter_next(it);
				else
					iter_prev(it);
				at = forward ? at + 1 : at ? at - 1 : f.d.count;
				data_assert_at(&f.d, at, it);
			}
		}
		iter_free(it);
		fixture_done(&f);
	}
}

static void test_random_moves(void **state)
{
	(void)state;
	for (unsigned w = 0; w < WAYS; w++) {
		struct fixture f;
		fixture_init(&f, "test_random_moves", w % 2);
		data_assert_table(&f.d, f.t, ways[w].flags, ways[w].read_ahead_bytes, &f.r, 300);
		fixture_done(&f);
	}
}

/* Past either end it is not positioned, without an error, and can be moved to any place again. */
static void test_ends(void **state)
{
	(void)state;
	for (size_t count = 0; count < 3; count++)
		for (unsigned w = 0; w < WAYS; w++) {
			struct fixture f = { 0 };
			struct table_builder_options options = data_options();
			assert_ok(env_mem_new(&f.env));
			assert_ok(lru_new(1 << 20, 1, &f.cache));
			for (size_t i = 0; i < count; i++)
				data_add(&f.d, WOMBAT_STR("\1m"), tag_make(i + 1, KIND_DELETE), WOMBAT_STR(""), 0);
			data_sort(&f.d);
			options.block_bytes = 1; /* a block for each */
			fixture_open(&f, &options);
			struct iter *it = new_iter(&f, &ways[w]);
			assert_false(it->valid);
			for (unsigned n = 0; n < 2; n++) {
				iter_first(it);
				for (size_t i = 0; i < count; i++, iter_next(it))
					data_assert_at(&f.d, i, it);
				data_assert_at(&f.d, count, it);
				iter_last(it);
				for (size_t i = count; i-- > 0; iter_prev(it))
					data_assert_at(&f.d, i, it);
				data_assert_at(&f.d, count, it);
				seek_around(&f, it, WOMBAT_STR("\1a"), TAG_MAX);
				seek_around(&f, it, WOMBAT_STR("\1m"), tag_make(2, KIND_DELETE));
				seek_around(&f, it, WOMBAT_STR("\1z"), TAG_MAX);
			}
			iter_free(it);
			fixture_done(&f);
		}
}

/* ---- Damage and failures --------------------------------------------------------------------- */

/* How many entries lie in the blocks before the i-th. */
static size_t entries_before(struct fixture *f, size_t block)
{
	size_t i = 0;
	while (i < f->d.count && index_find(f->t->index, f->d.entries[i].key, f->d.entries[i].tag) < block)
		i++;
	return i;
}

/* Whatever is before the bad block is given, nothing of it; what lies on its other side is still there. */
static void walk_around(struct fixture *f, struct iter *it, size_t block, enum wombat_status status)
{
	const struct data *d = &f->d;
	size_t begin = entries_before(f, block), end = entries_before(f, block + 1), i = 0;
	for (iter_first(it); it->valid; iter_next(it))
		data_assert_at(d, i++, it);
	assert_int_equal(it->status, status);
	assert_int_equal(i, begin);
	i = d->count;
	for (iter_last(it); it->valid; iter_prev(it))
		data_assert_at(d, --i, it);
	assert_int_equal(it->status, status);
	assert_int_equal(i, end);
	iter_seek(it, d->entries[begin].key, d->entries[begin].tag);
	assert_true(!it->valid && it->status == status);
	iter_seek_before(it, d->entries[end - 1].key, d->entries[end - 1].tag - 1);
	assert_true(!it->valid && it->status == status);
	if (end < d->count) { /* the next seek forgets it */
		iter_seek(it, d->entries[end].key, d->entries[end].tag);
		data_assert_at(d, end, it);
	}
}

static void walk_all(struct fixture *f, struct iter *it)
{
	size_t i = 0;
	for (iter_first(it); it->valid; iter_next(it))
		data_assert_at(&f->d, i++, it);
	assert_int_equal(it->status, WOMBAT_OK);
	assert_int_equal(i, f->d.count);
}

static void test_damaged_block(void **state)
{
	(void)state;
	for (unsigned w = 0; w < 2 * WAYS; w++) {
		struct fixture f;
		size_t size;
		fixture_init(&f, "test_damaged_block", w % 2);
		uint8_t *bytes = env_mem_bytes(f.env, PATH, &size);
		for (size_t block = 0; block < f.t->index->count; block++) {
			char sentence[64];
			struct iter *it = new_iter(&f, &ways[w / 2]);
			const struct index *x = f.t->index;
			uint8_t *byte = bytes + x->offsets[block] + random_below(&f.r, x->sizes[block]);
			*byte ^= 1;
			table_forget_blocks(f.t);
			walk_around(&f, it, block, WOMBAT_CORRUPTION);
			iter_seek(it, f.d.entries[entries_before(&f, block)].key, TAG_MAX);
			snprintf(sentence, sizeof(sentence), PATH ": block at %u: checksum",
				 (unsigned)x->offsets[block]);
			assert_true(it->valid || strstr(wombat_last_error(), sentence));
			*byte ^= 1;
			iter_free(it);
			it = new_iter(&f, &ways[w / 2]); /* large reads may hold the damage */
			walk_all(&f, it);
			iter_free(it);
		}
		fixture_done(&f);
	}
}

static uint64_t bad_offset, bad_end;
static const struct env_calls *real;

/* Reads that touch a range fail: a bad place on the disk. */
static enum wombat_status bad_place(struct env_reader *reader, uint64_t offset, size_t size, void *scratch,
				    const uint8_t **out)
{
	if (offset < bad_end && offset + size > bad_offset)
		return (fail)(WOMBAT_IO, "a bad place");
	return real->reader_read(reader, offset, size, scratch, out);
}

static void test_failing_reads(void **state)
{
	(void)state;
	for (unsigned w = 0; w < 4; w++) { /* large reads fail for the blocks that are read along */
		struct fixture f;
		fixture_init(&f, "test_failing_reads", w % 2);
		struct env_calls calls = *f.env->calls;
		real = f.env->calls;
		calls.reader_read = bad_place;
		f.t->calls = &calls;
		struct iter *it = new_iter(&f, &ways[w]);
		for (size_t block = 0; block < f.t->index->count; block++) {
			bad_offset = f.t->index->offsets[block];
			bad_end = bad_offset + f.t->index->sizes[block];
			table_forget_blocks(f.t);
			walk_around(&f, it, block, WOMBAT_IO);
			bad_end = 0;
			walk_all(&f, it); /* the same iterator goes on when the disk does */
		}
		f.t->calls = real;
		iter_free(it);
		fixture_done(&f);
	}
}

static unsigned left;

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

/* Memory is short once, anywhere: it is said, and the same iterator goes on. */
static void test_each_allocation_fails(void **state)
{
	(void)state;
	for (unsigned w = 0; w < 2 * WAYS; w++) {
		struct fixture f;
		unsigned failed = 0;
		const struct way *way = &ways[w / 2];
		fixture_init(&f, "test_each_allocation_fails", w % 2);
		for (unsigned n = 0;; n += 1 + n / 4) {
			struct iter *it = NULL;
			table_forget_blocks(f.t);
			left = n;
			mem_test_hook = fail_allocation;
			enum wombat_status s = table_iter_new(f.t, way->flags, way->read_ahead_bytes, &it);
			if (s == WOMBAT_OK) {
				for (iter_last(it); it->valid; iter_prev(it))
					;
				s = it->status;
			}
			if (s == WOMBAT_OK) {
				for (iter_first(it); it->valid; iter_next(it))
					;
				s = it->status;
			}
			bool over = left > 0 && left != UINT32_MAX && left <= n;
			mem_test_hook = NULL;
			assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
			failed += s == WOMBAT_NO_MEMORY;
			if (it) {
				walk_all(&f, it);
				iter_free(it);
			}
			if (over)
				break;
		}
		assert_true(failed > 0);
		fixture_done(&f);
	}
}

/* ---- Reading ahead --------------------------------------------------------------------------- */

static struct {
	unsigned count;
	uint64_t from[64];
	size_t bytes[64];
} hints;

static void note_hint(struct env_reader *reader, uint64_t offset, size_t size)
{
	(void)reader;
	assert_true(hints.count < 64);
	hints.from[hints.count] = offset;
	hints.bytes[hints.count++] = size;
}

/* Of the blocks that are asked for at first, if the first of them begins there. */
static size_t blocks_from(const struct index *x, uint64_t offset)
{
	size_t i = 0;
	while (x->offsets[i] != offset)
		i++;
	return (size_t)(x->offsets[i + AHEAD_BLOCKS] - offset);
}

/* Hints begin when moving on has proven itself, double, follow each other without a gap, and end with the blocks. */
static void test_hints(void **state)
{
	(void)state;
	enum { WINDOW = 200 * 1024 };
	struct fixture f = { 0 };
	struct table_builder_options options = data_options();
	uint8_t *value = calloc(1, 1000);
	assert_non_null(value);
	assert_ok(env_mem_new(&f.env));
	for (unsigned i = 0; i < 1500; i++) {
		char key[32];
		size_t size = (size_t)snprintf(key, sizeof(key), "\1%06u", i);
		data_add(&f.d, slice_make(key, size), tag_make(1, KIND_PUT), slice_make(value, 1000), 0);
	}
	free(value);
	fixture_open(&f, &options);
	struct env_calls calls = *f.env->calls;
	calls.reader_prefetch = note_hint;
	f.t->calls = &calls;
	struct iter *it = new_iter(&f, &(struct way){ 0, WINDOW });
	memset(&hints, 0, sizeof(hints));
	iter_first(it);
	assert_int_equal(hints.count, 0); /* a look at one block is a look at one block */
	iter_last(it);
	for (unsigned i = 0; i < 100; i++)
		iter_prev(it);
	assert_int_equal(hints.count, 0); /* nor is going backwards helped */
	walk_all(&f, it);
	assert_true(hints.count >= 8);
	size_t first = blocks_from(f.t->index, hints.from[0]);
	assert_true(first > AHEAD_BLOCKS * 3000 && first < AHEAD_BLOCKS * 4200);
	struct table_totals sums;
	table_counts_read(&f.counts, &sums);
	assert_int_equal(sums.prefetches, hints.count);
	assert_int_equal(sums.prefetch_bytes, hints.from[hints.count - 1] + hints.bytes[hints.count - 1] - hints.from[0]);
	for (unsigned i = 0; i < hints.count; i++) {
		size_t window = first << (i < 4 ? i : 4);
		bool last = i + 1 == hints.count;
		window = window < WINDOW ? window : WINDOW;
		assert_true(hints.bytes[i] == window || (last && hints.bytes[i] < window));
		assert_true(i == 0 || hints.from[i] == hints.from[i - 1] + hints.bytes[i - 1]);
		assert_true(hints.from[i] + hints.bytes[i] <= index_blocks_end(f.t->index));
	}
	unsigned last = hints.count - 1;
	assert_int_equal(hints.from[last] + hints.bytes[last], index_blocks_end(f.t->index));
	/* A seek begins anew, small. */
	memset(&hints, 0, sizeof(hints));
	iter_seek(it, f.d.entries[700].key, TAG_MAX);
	for (unsigned i = 0; i < 12; i++)
		iter_next(it);
	assert_int_equal(hints.count, 1);
	assert_int_equal(hints.bytes[0], blocks_from(f.t->index, hints.from[0]));
	assert_true(hints.from[0] > table_offset_of(f.t, f.d.entries[700].key));
	/* So much as is asked for; nothing when it is switched off. */
	for (unsigned blocks = 0; blocks < 3; blocks++) {
		atomic_store(&f.live.prefetch_blocks, blocks);
		memset(&hints, 0, sizeof(hints));
		iter_seek(it, f.d.entries[300 + 300 * blocks].key, TAG_MAX);
		for (unsigned i = 0; i < 13; i++)
			iter_next(it);
		assert_int_equal(hints.count > 0, blocks > 0);
		if (blocks)
			assert_int_equal(f.t->index->offsets[index_find(f.t->index, f.d.entries[300 + 300 * blocks].key, TAG_MAX) +
							     3 + blocks] - hints.from[0], hints.bytes[0]);
	}
	atomic_store(&f.live.prefetch_blocks, AHEAD_BLOCKS);
	/* Without room to read ahead there are none. */
	iter_free(it);
	memset(&hints, 0, sizeof(hints));
	it = new_iter(&f, &(struct way){ 0, 0 });
	walk_all(&f, it);
	assert_int_equal(hints.count, 0);
	iter_free(it);
	fixture_done(&f);
}

/* ---- The end --------------------------------------------------------------------------------- */

static void note_end(void *owner, void *handle)
{
	struct fixture *f = owner;
	struct lru_counts counts;
	lru_counts(f->cache, &counts);
	assert_int_equal(counts.pinned_bytes, 0); /* it has let go of its block */
	++*(unsigned *)handle;
}

static void test_freeing(void **state)
{
	(void)state;
	struct fixture f;
	struct lru_counts counts;
	unsigned ends = 0;
	fixture_init(&f, "test_freeing", false);
	struct iter *it = new_iter(&f, &ways[0]), *other = new_iter(&f, &ways[0]);
	table_iter_on_free(it, note_end, &f, &ends);
	iter_first(it);
	iter_last(other);
	lru_counts(f.cache, &counts);
	assert_true(counts.pinned_bytes > 0);
	data_assert_at(&f.d, 0, it); /* neither moves the other */
	data_assert_at(&f.d, f.d.count - 1, other);
	iter_free(other);
	assert_int_equal(ends, 0);
	iter_free(it);
	assert_int_equal(ends, 1);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_seek),
		cmocka_unit_test(test_to_and_fro),
		cmocka_unit_test(test_random_moves),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_damaged_block),
		cmocka_unit_test(test_failing_reads),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_hints),
		cmocka_unit_test(test_freeing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
