/*
 * Tables that are damaged, cut off, on failing disks, or built and read while memory runs out: the answer is
 * the right one or a status, never wrong data.
 */
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/table/table.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/table_data.h"

#define PATH "dir/000007.sst"

struct reading {
	const struct data *d;
	struct range_del range;
	bool trusting; /* what is wrong may go unseen: only stay within bounds */
};

static enum wombat_status read_points(const struct reading *r, struct table *t)
{
	const struct data *d = r->d;
	for (size_t i = 0; i < d->count; i++) {
		uint64_t tag;
		struct wombat_slice value;
		struct lru_pin pin = { 0 };
		enum wombat_status s = table_get(t, d->entries[i].key, tag_sequence(d->entries[i].tag), 0,
			&tag, &value, &pin);
		if (s == WOMBAT_OK && !r->trusting) {
			assert_true(tag == d->entries[i].tag);
			assert_true(slice_equal(value, d->entries[i].value));
		}
		lru_pin_release(&pin);
		if (s != WOMBAT_OK)
			return s;
	}
	return WOMBAT_OK;
}

static enum wombat_status read_in_order(const struct reading *r, struct table *t, unsigned flags)
{
	const struct data *d = r->d;
	struct iter *it;
	enum wombat_status s = table_iter_new(t, flags, 1000, &it);
	if (s != WOMBAT_OK)
		return s;
	size_t i = 0;
	for (iter_first(it); it->valid; iter_next(it), i++)
		if (!r->trusting)
			data_assert_at(d, i, it);
	s = it->status;
	if (s == WOMBAT_OK && !r->trusting)
		assert_int_equal(i, d->count);
	if (s == WOMBAT_OK) {
		for (iter_last(it); it->valid; iter_prev(it))
			if (!r->trusting)
				data_assert_at(d, --i, it);
		s = it->status;
		if (s == WOMBAT_OK && !r->trusting)
			assert_int_equal(i, 0);
	}
	iter_free(it);
	return s;
}

static void ignore_finding(void *arg, const char *sentence)
{
	(void)sentence;
	(*(unsigned *)arg)++;
}

/* Everything that can be read of a table; WOMBAT_OK says that all of it was right. */
static enum wombat_status read_all(const struct reading *r, struct env *env)
{
	struct table *t;
	struct table_counts counts = { 0 };
	struct table_live live = { .verify_checksums = !r->trusting };
	struct table_options options = { .counts = &counts, .live = &live };
	unsigned findings = 0;
	enum wombat_status s = table_open(env, PATH, 7, &options, &t);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice end = r->range.end;
	if (end.size) {
		assert_true(range_fragments_cover(table_range_dels(t), r->range.begin,
			SEQUENCE_MAX) == r->range.sequence);
		assert_true(range_fragments_cover(table_range_dels(t), end, SEQUENCE_MAX) == 0);
	}
	s = read_points(r, t);
	if (s == WOMBAT_OK || r->trusting)
		s = read_in_order(r, t, 0);
	if (s == WOMBAT_OK || r->trusting)
		s = read_in_order(r, t, TABLE_READ_SEQUENTIAL);
	if (s == WOMBAT_OK || r->trusting) {
		s = table_check(t, ignore_finding, &findings);
		assert_int_equal(s == WOMBAT_CORRUPTION, findings > 0);
	}
	table_close(t);
	return s;
}

/* A table that has all parts: filter, range tombstones, several blocks. */
static enum wombat_status build(const struct reading *r, struct env *env, enum table_compression compression)
{
	struct table_builder *b;
	struct table_summary summary;
	struct table_builder_options options = data_options();
	options.block_bytes = 150;
	options.restart_interval = 3;
	options.compression = compression;
	enum wombat_status s = table_builder_new(env, PATH, &options, &b);
	if (s != WOMBAT_OK)
		return s;
	s = table_builder_add_range(b, r->range);
	for (size_t i = 0; i < r->d->count && s == WOMBAT_OK; i++)
		s = table_builder_add(b, r->d->entries[i].key, r->d->entries[i].tag, r->d->entries[i].value);
	if (s != WOMBAT_OK) {
		table_builder_abandon(b);
		return s;
	}
	s = table_builder_finish(b, &summary);
	if (s == WOMBAT_OK)
		table_summary_done(&summary);
	return s;
}

static struct range_del some_range(void)
{
	return (struct range_del){ WOMBAT_STR("\2b"), WOMBAT_STR("\2c"), 5 };
}

/* Small, for each of its bytes is changed. */
static void make(struct data *d, struct random_state *r)
{
	data_random(d, r, &(struct data_shape){ .entries = 25, .keys = 15, .value_max = 60 });
}

static void test_each_byte(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_each_byte"));
	for (int trusting = 0; trusting < 2; trusting++)
		for (int compression = 0; compression < 2; compression++) {
			struct data d = { 0 };
			struct env *env;
			size_t size;
			make(&d, &r);
			struct reading reading = { &d, some_range(), false };
			assert_ok(env_mem_new(&env));
			assert_ok(build(&reading, env, (enum table_compression)compression));
			assert_ok(read_all(&reading, env));
			reading.trusting = trusting;
			uint8_t *bytes = env_mem_bytes(env, PATH, &size);
			for (size_t i = 0; i < size; i++) {
				uint8_t was = bytes[i];
				bytes[i] ^= (uint8_t)(trusting ? 1 + random_below(&r, 255)
					: 1u << random_below(&r, 8));
				enum wombat_status s = read_all(&reading, env);
				if (!trusting && s != WOMBAT_CORRUPTION)
					fail_msg("byte %zu of %zu: %s", i, size, wombat_status_name(s));
				if (!trusting)
					assert_non_null(strstr(wombat_last_error(), PATH));
				bytes[i] = was;
			}
			assert_ok(read_all(&reading, env));
			env->calls->free(env);
			data_done(&d);
		}
}

static void test_each_length(void **state)
{
	(void)state;
	struct random_state r;
	struct data d = { 0 };
	struct env *env;
	size_t size;
	random_seed(&r, test_seed("test_each_length"));
	make(&d, &r);
	struct reading reading = { &d, some_range(), false };
	assert_ok(env_mem_new(&env));
	assert_ok(build(&reading, env, TABLE_COMPRESS_NONE));
	const uint8_t *bytes = env_mem_bytes(env, PATH, &size);
	struct buf whole = { 0 };
	assert_ok(buf_append(&whole, bytes, size));
	for (size_t cut = 0; cut < size; cut++) {
		struct env_writer *w;
		assert_ok(env->calls->writer_open(env, PATH, 0, 0, &w));
		assert_ok(env->calls->writer_write(w, whole.data, cut));
		assert_ok(env->calls->writer_close(w));
		assert_status(read_all(&reading, env), WOMBAT_CORRUPTION);
	}
	buf_done(&whole);
	env->calls->free(env);
	data_done(&d);
}

static void test_checksum_failures_are_counted(void **state)
{
	(void)state;
	struct random_state r;
	struct data d = { 0 };
	struct env *env;
	struct table *t;
	struct table_counts counts = { 0 };
	struct table_live live = { .verify_checksums = true };
	struct table_options options = { .counts = &counts, .live = &live };
	struct table_totals sums;
	size_t size;
	random_seed(&r, test_seed("test_checksum_failures_are_counted"));
	make(&d, &r);
	struct reading reading = { &d, some_range(), false };
	assert_ok(env_mem_new(&env));
	assert_ok(build(&reading, env, TABLE_COMPRESS_NONE));
	env_mem_bytes(env, PATH, &size)[4]++; /* in the first entry's sequence number */
	assert_ok(table_open(env, PATH, 7, &options, &t));
	assert_status(read_in_order(&reading, t, 0), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), PATH ": block at 0: checksum"));
	table_counts_read(&counts, &sums);
	assert_int_equal(sums.checksum_failures, 1);
	atomic_store(&live.verify_checksums, false); /* a setting that may change */
	reading.trusting = true;
	assert_ok(read_in_order(&reading, t, 0));
	unsigned findings = 0; /* the check looks whatever the setting */
	assert_status(table_check(t, ignore_finding, &findings), WOMBAT_CORRUPTION);
	assert_int_equal(findings, 1);
	table_close(t);
	env->calls->free(env);
	data_done(&d);
}

/* ---- The Nth call fails ----------------------------------------------------------------------- */

static unsigned calls_left;

static enum wombat_status fail_later(void *arg, const char *op, const char *path)
{
	(void)op;
	(void)path;
	if (calls_left == 0 || --calls_left > 0)
		return WOMBAT_OK;
	return *(const enum wombat_status *)arg;
}

static void test_each_io_fails(void **state)
{
	(void)state;
	static const enum wombat_status failures[] = { WOMBAT_IO, WOMBAT_NO_SPACE };
	struct random_state r;
	random_seed(&r, test_seed("test_each_io_fails"));
	for (size_t f = 0; f < 2; f++) {
		struct data d = { 0 };
		unsigned n = 0;
		make(&d, &r);
		struct reading reading = { &d, some_range(), false };
		for (bool struck = true; struck; n++) {
			struct env *env;
			uint64_t size;
			assert_ok(env_mem_new(&env));
			calls_left = n + 1;
			env_mem_on_call(env, fail_later, (void *)(uintptr_t)&failures[f]);
			enum wombat_status s = build(&reading, env, TABLE_COMPRESS_NONE);
			bool built = s == WOMBAT_OK;
			if (built)
				s = read_all(&reading, env);
			/* A page of the filter that cannot be read fails nothing. */
			assert_true(s == WOMBAT_OK || s == failures[f]);
			struck = calls_left == 0;
			env_mem_on_call(env, NULL, NULL);
			/* What could not be finished is gone; what was finished is whole. */
			if (built)
				assert_ok(read_all(&reading, env));
			else
				assert_status(env->calls->file_size(env, PATH, &size), WOMBAT_NOT_FOUND);
			env->calls->free(env);
		}
		assert_true(n > 50);
		data_done(&d);
	}
}

static unsigned allocations_left;

static _Bool fail_one(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_each_allocation_fails"));
	for (int compression = 0; compression < 2; compression++) {
		struct data d = { 0 };
		unsigned n = 0;
		make(&d, &r);
		struct reading reading = { &d, some_range(), false };
		for (bool struck = true; struck; n++) {
			struct env *env;
			uint64_t size;
			assert_ok(env_mem_new(&env));
			allocations_left = n + 1;
			mem_test_hook = fail_one;
			enum wombat_status s = build(&reading, env, (enum table_compression)compression);
			bool built = s == WOMBAT_OK;
			if (built)
				s = read_all(&reading, env);
			mem_test_hook = NULL;
			assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
			struck = allocations_left == 0;
			if (built)
				assert_ok(read_all(&reading, env));
			else
				assert_status(env->calls->file_size(env, PATH, &size), WOMBAT_NOT_FOUND);
			env->calls->free(env);
		}
		assert_true(n > 30);
		data_done(&d);
	}
}

static void test_full_disk(void **state)
{
	(void)state;
	struct random_state r;
	struct data d = { 0 };
	random_seed(&r, test_seed("test_full_disk"));
	make(&d, &r);
	struct reading reading = { &d, some_range(), false };
	enum wombat_status s = WOMBAT_NO_SPACE;
	for (uint64_t room = 0; s != WOMBAT_OK; room += 100) {
		struct env *env;
		uint64_t size;
		assert_ok(env_mem_new(&env));
		env_mem_set_capacity(env, room);
		s = build(&reading, env, TABLE_COMPRESS_NONE);
		if (s == WOMBAT_OK) {
			assert_ok(read_all(&reading, env));
		} else {
			assert_int_equal(s, WOMBAT_NO_SPACE);
			assert_status(env->calls->file_size(env, PATH, &size), WOMBAT_NOT_FOUND);
		}
		env->calls->free(env);
	}
	data_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_each_length),
		cmocka_unit_test(test_checksum_failures_are_counted),
		cmocka_unit_test(test_each_io_fails),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
