/* fs/control_changes: each kind of change as its line, in the order of commits; the first line; a reader that comes again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/feed.h"
#include "fs/file.h"
#include "fs/namei.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"

static const struct control_stream *stream(struct fs_mount *f)
{
	const struct control_entry *e = control_find(control_root(&f->m), "changes");
	assert_non_null(e);
	assert_int_equal(e->mode, S_IFREG | 0400);
	return e->stream;
}

/* What there is to read, sequence numbers left out: "put key a;delete key a;" */
static void expect_lines(struct fs_mount *f, struct feed_reader *r, const char *expected)
{
	struct control_text text = { 0 }, told = { 0 };
	unsigned long long last = 0;
	assert_int_equal(stream(f)->read(&f->m, r, &text), 0);
	assert_true(control_text_add(&text, "", 1) && control_text_add(&told, "", 0));
	for (char *line = text.data, *end; *line; line = end + 1) {
		unsigned long long seq;
		char kind[32], space[32], key[64], to[64];
		end = strchr(line, '\n');
		assert_non_null(end);
		*end = 0;
		if (sscanf(line, "{\"after\":%llu}", &seq) == 1) {
			assert_true(control_text_printf(&told, "after;"));
			continue;
		}
		int n = sscanf(line, "{\"seq\":%llu,\"kind\":\"%31[^\"]\",\"%31[^\"]\":\"%63[^\"]\",\"to\":\"%63[^\"]\"}", &seq, kind, space, key, to);
		if (n < 4)
			fail_msg("what is this: %s", line);
		assert_true(seq >= last);
		last = seq;
		assert_true(control_text_printf(&told, n == 5 ? "%s %s %s %s;" : "%s %s %s;", kind, space, key, to));
	}
	assert_true(control_text_add(&told, "", 1));
	assert_string_equal(told.data, expected);
	control_text_done(&told);
	control_text_done(&text);
}

static enum store_result commit(struct fs_mount *f, const struct store_change *changes, size_t count)
{
	uint64_t version;
	return f->m.store->calls->commit(f->m.store, changes, count, false, &version);
}

#define BYTES(text) { (const uint8_t *)(text), sizeof(text) - 1 }

static void test_each_kind(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader r = { 0 };
	const struct store_change changes[] = {
		{ .op = STORE_PUT, .space = STORE_USER, .key = BYTES("d/a"), .value = BYTES("1") },
		{ .op = STORE_PUT, .space = STORE_DIRS, .key = BYTES("d/") },
		{ .op = STORE_PUT, .space = STORE_INODES, .key = BYTES("12345678") },
		{ .op = STORE_DELETE, .space = STORE_USER, .key = BYTES("gone") },
		{ .op = STORE_DELETE_PREFIX, .space = STORE_USER, .key = BYTES("old/") },
	};
	assert_int_equal(stream(f)->open(&f->m, &r), 0);
	expect_lines(f, &r, "after;");
	expect_lines(f, &r, ""); /* the end, also the second time */
	uint64_t size = stream(f)->size(&f->m);
	assert_int_equal(commit(f, changes, 5), STORE_OK);
	assert_true(stream(f)->size(&f->m) > size);
	expect_lines(f, &r, "put key d/a;put directory d/;delete key gone;delete-below key old/;");

	const struct store_bytes from = BYTES("d/"), to = BYTES("e/");
	assert_int_equal(f->m.store->calls->move_prefix(f->m.store, from, to, false, changes + 1, 1), STORE_OK);
	expect_lines(f, &r, "move key d/ e/;put directory d/;");
	assert_int_equal(f->m.store->calls->move_prefix(f->m.store, from, to, true, NULL, 0), STORE_OK);
	expect_lines(f, &r, "exchange key d/ e/;");

	/* What was not committed is not told. */
	const struct store_change present = { .op = STORE_PUT, .space = STORE_USER, .key = BYTES("here") };
	assert_int_equal(commit(f, &present, 1), STORE_OK);
	assert_int_equal(commit(f, &(struct store_change){ .op = STORE_PUT, .space = STORE_USER, .key = BYTES("here"), .guard = STORE_GUARD_ABSENT }, 1),
		STORE_CONFLICT);
	expect_lines(f, &r, "put key here;");
	/* A second reader finds all from the beginning on. */
	struct feed_reader other = { 0 };
	expect_lines(f, &other, "after;put key d/a;put directory d/;delete key gone;delete-below key old/;move key d/ e/;put directory d/;"
		"exchange key d/ e/;put key here;");
	stream(f)->close(&f->m);
}

/* One that falls behind by more than is kept is told after which number it goes on. */
static void test_a_slow_reader(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader r = { 0 };
	struct control_text text = { 0 };
	static uint8_t key[2000];
	memset(key, 'k', sizeof key);
	expect_lines(f, &r, "after;");
	struct store_change c = { .op = STORE_PUT, .space = STORE_USER, .key = { key, sizeof key } };
	for (int i = 0; i < 3000; i++)
		assert_int_equal(commit(f, &c, 1), STORE_OK);
	assert_int_equal(stream(f)->read(&f->m, &r, &text), 0);
	unsigned long long after, lost, seq;
	assert_int_equal(sscanf(text.data, "{\"after\":%llu,\"lost\":%llu}", &after, &lost), 2);
	assert_int_equal(sscanf(strchr(text.data, '\n') + 1, "{\"seq\":%llu", &seq), 1);
	assert_true(lost > 100 && lost < 3000 && seq == after + 1);
	control_text_done(&text);
}

static void test_without_memory(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader r = { 0 };
	struct control_text text = { 0 };
	const struct store_change c = { .op = STORE_PUT, .space = STORE_USER, .key = BYTES("key") };
	assert_int_equal(commit(f, &c, 1), STORE_OK);
	alloc_fail_arm(0);
	assert_int_equal(stream(f)->read(&f->m, &r, &text), ENOMEM);
	assert_true(alloc_fail_disarm());
	control_text_done(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_kind),
		TEST(test_a_slow_reader),
		TEST(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
