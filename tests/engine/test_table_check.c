/*
 * The check of a table finds each kind of damage, also such as only a faulty writer leaves: bytes of a table's
 * parts are changed and their checksums made right again.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/env/env_mem.h"
#include "engine/table/table_impl.h"
#include "tests/support/check.h"
#include "tests/support/table_data.h"

#define PATH "000007.sst"
enum { KEYS = 60 };

/* ---- Reports --------------------------------------------------------------------------------- */

struct reports {
	unsigned count;
	char all[8192];
};

static void take(void *arg, const char *sentence)
{
	struct reports *r = arg;
	size_t used = strlen(r->all);
	r->count++;
	snprintf(r->all + used, sizeof(r->all) - used, "%s\n", sentence);
}

static enum wombat_status check(struct env *env, struct reports *r)
{
	struct table *t;
	static const struct table_live trusting; /* the check verifies whatever the setting */
	struct table_options options = { .live = &trusting };
	*r = (struct reports){ 0 };
	enum wombat_status s = table_open(env, PATH, 7, &options, &t);
	if (s != WOMBAT_OK)
		return s;
	s = table_check(t, take, r);
	assert_int_equal(s == WOMBAT_CORRUPTION, r->count > 0);
	table_close(t);
	return s;
}

/* There is something wrong, and this is among what is said. */
static void assert_finds(struct env *env, const char *sentence)
{
	struct reports r;
	assert_status(check(env, &r), WOMBAT_CORRUPTION);
	if (!strstr(r.all, sentence))
		fail_msg("no '%s' in:\n%s", sentence, r.all);
	assert_non_null(strstr(r.all, PATH));
	assert_non_null(strstr(wombat_last_error(), "finding"));
}

/* ---- A table with known blocks --------------------------------------------------------------- */

static struct wombat_slice key_of(unsigned i, char out[32])
{
	return slice_make(out, (size_t)snprintf(out, 32, "\1dir%u/key%04u", i / 20, i));
}

static struct env *build(enum table_compression compression)
{
	struct env *env;
	struct data d = { 0 };
	char text[32];
	struct table_builder_options options = data_options();
	options.compression = compression;
	assert_ok(env_mem_new(&env));
	for (unsigned i = 0; i < KEYS; i++) {
		struct wombat_slice key = key_of(i, text);
		data_add(&d, key, tag_make(100 + i, i % 9 == 4 ? KIND_DELETE : KIND_PUT), key, i % 7 ? 0 : 5000 + i);
	}
	data_sort(&d);
	options.block_bytes = 400; /* about seven entries */
	assert_ok(data_build(&d, env, PATH, &options, NULL));
	data_done(&d);
	return env;
}

/* Where a part of the table is: the i-th data block, or one that the footer names. */
static struct table_handle block_handle(struct env *env, size_t i, size_t *count)
{
	struct table *t;
	struct table_options options = { 0 };
	assert_ok(table_open(env, PATH, 7, &options, &t));
	if (count)
		*count = t->index->count;
	struct table_handle handle = index_handle(t->index, i);
	table_close(t);
	return handle;
}

static struct table_handle part_handle(struct env *env, size_t footer_offset)
{
	size_t size;
	const uint8_t *bytes = env_mem_bytes(env, PATH, &size), *p = bytes + size - TABLE_FOOTER_SIZE + footer_offset;
	return (struct table_handle){ get_u64(p), get_u64(p + 8) };
}

static uint8_t *bytes_at(struct env *env, struct table_handle handle)
{
	size_t size;
	return env_mem_bytes(env, PATH, &size) + handle.offset;
}

/* Makes the checksum of a changed block right. */
static void reseal(struct env *env, struct table_handle handle)
{
	uint8_t *p = bytes_at(env, handle);
	put_u32(p + handle.size + 1, crc32c(0, p, handle.size + 1));
}

/* Finds `text` in a block; it is there. */
static uint8_t *find(struct env *env, struct table_handle handle, const void *text, size_t size)
{
	uint8_t *found = memmem(bytes_at(env, handle), handle.size, text, size);
	assert_non_null(found);
	return found;
}

static void test_sound(void **state)
{
	(void)state;
	for (int compression = 0; compression < 2; compression++) {
		struct env *env = build((enum table_compression)compression);
		struct reports r;
		size_t count;
		assert_ok(check(env, &r));
		block_handle(env, 0, &count);
		assert_true(count > 3);
		env->calls->free(env);
	}
}

/* ---- Damage of the disk's -------------------------------------------------------------------- */

/* Any byte of any data block, its trailer included: reported once, and the other blocks are looked at. */
static void test_each_byte_of_data(void **state)
{
	(void)state;
	for (int compression = 0; compression < 2; compression++) {
		struct env *env = build((enum table_compression)compression);
		struct reports r;
		size_t count;
		block_handle(env, 0, &count);
		for (size_t i = 0; i < count; i++) {
			struct table_handle handle = block_handle(env, i, NULL);
			char sentence[64];
			snprintf(sentence, sizeof(sentence), "block at %u: checksum", (unsigned)handle.offset);
			for (size_t at = 0; at < handle.size + TABLE_BLOCK_TRAILER_SIZE; at++) {
				bytes_at(env, handle)[at] ^= 0x41;
				assert_status(check(env, &r), WOMBAT_CORRUPTION);
				assert_int_equal(r.count, 1);
				assert_non_null(strstr(r.all, sentence));
				bytes_at(env, handle)[at] ^= 0x41;
			}
		}
		assert_ok(check(env, &r));
		env->calls->free(env);
	}
}

/* Each damaged block is reported, not the first alone. */
static void test_all_blocks_damaged(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct reports r;
	size_t count;
	block_handle(env, 0, &count);
	for (size_t i = 0; i < count; i++)
		bytes_at(env, block_handle(env, i, NULL))[0] ^= 1;
	assert_status(check(env, &r), WOMBAT_CORRUPTION);
	assert_int_equal(r.count, count);
	env->calls->free(env);
}

/* ---- Damage of a writer's -------------------------------------------------------------------- */

static void test_entries_that_do_not_decode(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct table_handle handle = block_handle(env, 1, NULL);
	uint8_t *first = bytes_at(env, handle), *second = first + 3 + 8 + first[1] + first[2];
	uint8_t shared = second[0];
	assert_true(first[0] == 0 && shared > 0);
	second[0] = 0x7f; /* more than the key before has */
	reseal(env, handle);
	assert_finds(env, "damaged entry");
	second[0] = shared;
	first[0] = 1; /* there is none before */
	reseal(env, handle);
	assert_finds(env, "block at");
	env->calls->free(env);
}

static void test_unknown_compression(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct table_handle handle = block_handle(env, 2, NULL);
	bytes_at(env, handle)[handle.size] = TABLE_COMPRESS_ZLIB + 1;
	reseal(env, handle);
	assert_finds(env, "unknown compression");
	bytes_at(env, handle)[handle.size] = TABLE_COMPRESS_ZLIB; /* known, but it is not packed */
	reseal(env, handle);
	assert_finds(env, PATH);
	env->calls->free(env);
}

/* Keys are whole at a block's first entry: their last digits stand in its bytes. */
static void test_order(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct reports r;
	struct table_handle handle = block_handle(env, 1, NULL);
	/* A first key that sorts before all of the block in front. */
	uint8_t *digits = find(env, handle, "key00", 5) + 3;
	uint8_t was = digits[0];
	digits[0] = '!';
	reseal(env, handle);
	assert_finds(env, "entries out of order");
	assert_finds(env, "lies before the last block's separator");
	assert_finds(env, "a key is missing from the filter");
	/* One that sorts behind all. */
	digits = find(env, handle, "key!0", 5) + 3;
	digits[0] = 'z';
	reseal(env, handle);
	assert_finds(env, "lies behind the block's separator");
	digits = find(env, handle, "keyz0", 5) + 3;
	digits[0] = was;
	reseal(env, handle);
	assert_ok(check(env, &r));
	env->calls->free(env);
}

/* The tag stands behind three single-byte lengths: kind, then sequence. */
static void test_kinds_and_sequences(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct reports r;
	struct table_handle handle = block_handle(env, 0, NULL);
	uint8_t *tag = bytes_at(env, handle) + 3;
	assert_int_equal(tag[0], KIND_PUT);
	tag[0] = KIND_DELETE_RANGE;
	reseal(env, handle);
	assert_finds(env, "an entry of unknown kind");
	tag[0] = 99;
	reseal(env, handle);
	assert_finds(env, "an entry of unknown kind");
	tag[0] = KIND_DELETE; /* one tombstone more than the properties say */
	reseal(env, handle);
	assert_finds(env, "properties: deletes is");
	tag[0] = KIND_PUT;
	uint8_t sequence = tag[1];
	tag[1] = 50;
	reseal(env, handle);
	assert_finds(env, "properties: smallest_sequence is 100, but 50 were found");
	tag[1] = 250;
	reseal(env, handle);
	assert_finds(env, "properties: largest_sequence is 159, but 250 were found");
	tag[1] = sequence;
	reseal(env, handle);
	assert_ok(check(env, &r));
	env->calls->free(env);
}

static void test_values(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct reports r;
	struct table_handle handle = block_handle(env, 0, NULL);
	size_t head = 3 + 8 + sizeof("\1dir0/key0000") - 1;
	uint8_t *value = bytes_at(env, handle) + head;
	uint8_t flags = value[0];
	assert_int_equal(flags, 1); /* it expires */
	value[0] = 0x80;
	reseal(env, handle);
	assert_finds(env, "a value is not a record");
	value[0] = flags;
	uint8_t expiry = value[9];
	value[9] = (uint8_t)(expiry - 1); /* earlier than what the table says of itself */
	reseal(env, handle);
	assert_finds(env, "properties: min_expiry_ns is 5000, but 4999 were found");
	value[9] = expiry;
	reseal(env, handle);
	assert_ok(check(env, &r));
	env->calls->free(env);
}

/* Every bit of the filter that is gone is missed by a key or by a directory. */
static void test_filter(void **state)
{
	(void)state;
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct table_handle handle = part_handle(env, TABLE_FOOTER_FILTER);
	uint8_t *p = bytes_at(env, handle);
	unsigned bits = 0, keys = 0, prefixes = 0;
	for (size_t at = 0; at < handle.size - filter_end_size(handle.size); at++)
		for (int bit = 0; bit < 8; bit++) {
			struct reports r;
			if (!(p[at] & 1 << bit))
				continue;
			p[at] ^= (uint8_t)(1 << bit);
			reseal(env, handle);
			assert_status(check(env, &r), WOMBAT_CORRUPTION);
			keys += strstr(r.all, "a key is missing from the filter") != NULL;
			prefixes += strstr(r.all, "a directory prefix is missing from the filter") != NULL;
			p[at] ^= (uint8_t)(1 << bit);
			bits++;
		}
	assert_true(bits > KEYS && keys > KEYS && prefixes > 0);
	env->calls->free(env);
}

/* Each number that can be counted is; the others are what the writer was told. */
static void test_properties(void **state)
{
	(void)state;
	static const char *const counted[] = {
		"entries", "deletes", "raw_key_bytes", "raw_value_bytes", "smallest_sequence", "largest_sequence",
		"min_expiry_ns", "data_blocks",
	};
	struct env *env = build(TABLE_COMPRESS_NONE);
	struct table_handle handle = part_handle(env, TABLE_FOOTER_PROPERTIES);
	for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
		char name[64], sentence[80];
		size_t size = (size_t)snprintf(name, sizeof(name), "%c%s", (int)strlen(counted[i]), counted[i]);
		uint8_t *value = find(env, handle, name, size) + size;
		value[0] ^= 1; /* the lowest bit of a varint */
		reseal(env, handle);
		snprintf(sentence, sizeof(sentence), "properties: %s is", counted[i]);
		assert_finds(env, sentence);
		struct reports r;
		assert_status(check(env, &r), WOMBAT_CORRUPTION);
		assert_int_equal(r.count, 1);
		value[0] ^= 1;
		reseal(env, handle);
	}
	struct reports r;
	assert_ok(check(env, &r));
	env->calls->free(env);
}

/* ---- When it cannot look --------------------------------------------------------------------- */

static unsigned left;

static enum wombat_status fail_read(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return strcmp(op, "reader_read") == 0 && left-- == 0 ? WOMBAT_IO : WOMBAT_OK;
}

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

/* That a block cannot be read, or memory is short, is no finding about the table. */
static void test_failures(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++)
		for (int compression = 0; compression < 2; compression++) {
			struct env *env = build((enum table_compression)compression);
			struct table *t;
			struct table_options options = { 0 };
			unsigned n = 0;
			assert_ok(table_open(env, PATH, 7, &options, &t));
			for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
				struct reports r = { 0 };
				left = n;
				if (memory)
					mem_test_hook = fail_allocation;
				else
					env_mem_on_call(env, fail_read, NULL);
				s = table_check(t, take, &r);
				mem_test_hook = NULL;
				env_mem_on_call(env, NULL, NULL);
				assert_true(s == WOMBAT_OK || s == (memory ? WOMBAT_NO_MEMORY : WOMBAT_IO));
				assert_int_equal(r.count, 0);
			}
			assert_true(n > 4);
			table_close(t);
			env->calls->free(env);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_each_byte_of_data),
		cmocka_unit_test(test_all_blocks_damaged),
		cmocka_unit_test(test_entries_that_do_not_decode),
		cmocka_unit_test(test_unknown_compression),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_kinds_and_sequences),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_properties),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
