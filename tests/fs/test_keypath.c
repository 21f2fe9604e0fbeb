/*
 * fs/keypath: the tokens one by one, then the property that makes them a mapping: key -> path -> key is the
 * identity for any bytes, and a path that is accepted is the path of the key it gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fs/keypath.h"

enum { KEY_MAX = 4096 };

static const char ctldir[] = ".wombat";
static uint64_t random_state;

static uint64_t random_next(void)
{
	/* splitmix64 */
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static size_t random_below(size_t n)
{
	return (size_t)(random_next() % n);
}

/* ---- Whole paths ---- */

static void assert_path(const char *key, size_t key_len, bool is_prefix_too, const char *path)
{
	char *got = keypath_from_key((const uint8_t *)key, key_len, is_prefix_too, ctldir);
	assert_non_null(got);
	assert_string_equal(got, path);
	free(got);

	size_t len;
	bool bad;
	uint8_t *back = keypath_to_key(path, ctldir, &len, &bad);
	assert_non_null(back);
	assert_false(bad);
	assert_int_equal(len, key_len);
	assert_memory_equal(back, key, key_len);
	assert_int_equal(back[len], 0);
	free(back);
}

#define PATH(key, path) assert_path(key, sizeof(key) - 1, false, path)
#define PREFIX_PATH(key, path) assert_path(key, sizeof(key) - 1, true, path)

static void assert_bad(const char *path)
{
	size_t len;
	bool bad = false;
	uint8_t *key = keypath_to_key(path, ctldir, &len, &bad);
	if (key || !bad)
		fail_msg("\"%s\" was taken for a path", path);
}

static void test_plain_bytes_pass_unchanged(void **state)
{
	(void)state;
	PATH("users/42/name", "users/42/name");
	PATH("a", "a");
	PATH("50%", "50%");
	PATH("a%20b", "a%20b");
	PATH("%value-added", "%value-added");
	PATH("x%value", "x%value");
	PATH("%emptyness", "%emptyness");
	PATH("%2e", "%2e");
	PATH("%2Ex", "%2Ex");
	PATH("a/%2Ewombat", "a/%2Ewombat");
	PATH("%2", "%2");
	PATH("%0", "%0");
	PATH("%%", "%%");
	PATH("a+", "a+");
	PATH("%+a", "%+a");
	PATH("...", "...");
	PATH(".x", ".x");
	PATH("a/.wombat", "a/.wombat");
	PATH(".wombat2", ".wombat2");
	PATH("\xff\xfe\n\t", "\xff\xfe\n\t");
	PATH("K\xc3\xa4se", "K\xc3\xa4se");
}

static void test_tokens(void **state)
{
	(void)state;
	PATH("", "%empty");
	PATH("/", "%empty/%empty");
	PATH("a/", "a/%empty");
	PATH("/a", "%empty/a");
	PATH("a//b", "a/%empty/b");
	PATH(".", "%2E");
	PATH("..", "%2E%2E");
	PATH("a/../b", "a/%2E%2E/b");
	PATH(".wombat", "%2Ewombat");
	PATH(".wombat/stats", "%2Ewombat/stats");
	PATH("\0", "%00");
	PATH("a\0b", "a%00b");
	PATH("%\0", "%%00");
}

static void test_literal_percent_is_escaped_only_where_it_reads_as_a_token(void **state)
{
	(void)state;
	PATH("%00", "%2500");
	PATH("%25", "%2525");
	PATH("a%25b%00", "a%2525b%2500");
	PATH("%%00", "%%2500");
	PATH("%2E", "%252E");
	PATH("%2E%2E", "%252E%2E");
	PATH("%252E", "%25252E");
	PATH("%empty", "%25empty");
	PATH("%value", "%25value");
	PATH("a/%value", "a/%25value");
	PATH("%2Ewombat", "%252Ewombat");
	PATH("%+", "%25+");
	PATH("a%+", "a%25+");
	PATH("%%+", "%%25+");
}

static void test_value_of_a_key_that_is_also_a_prefix(void **state)
{
	(void)state;
	PREFIX_PATH("a", "a/%value");
	PREFIX_PATH("a/b", "a/b/%value");
	PREFIX_PATH("", "%empty/%value");
	PREFIX_PATH("a/", "a/%empty/%value");
	PREFIX_PATH("%value", "%25value/%value");
	PREFIX_PATH(".wombat", "%2Ewombat/%value");
}

static void test_what_is_no_path(void **state)
{
	static const char *const bad[] = {
		"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", ".wombat", ".wombat/stats",
		/* superfluous escapes */
		"%25", "a%25b", "50%25", "%2520", "%25x", "a%25value", "%25emptyx", "%2530", "a/%252Ewombat", "%25+a",
		"%252e", "%25%25",
		/* tokens in the wrong place */
		"%value", "a/%value/b", "%value/a", "%+", "a%+", "a%+/b",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_bad(bad[i]);
}

static void test_another_control_name(void **state)
{
	(void)state;
	size_t len;
	bool bad;
	char *path = keypath_from_key((const uint8_t *)"ctl", 3, false, "ctl");
	assert_string_equal(path, "%63tl");
	uint8_t *key = keypath_to_key(path, "ctl", &len, &bad);
	assert_int_equal(len, 3);
	assert_memory_equal(key, "ctl", 3);
	free(path);
	free(key);
	path = keypath_from_key((const uint8_t *)".wombat", 7, false, "ctl");
	assert_string_equal(path, ".wombat");
	free(path);
	assert_true(keypath_ctldir_is_valid(".wombat"));
	assert_true(keypath_ctldir_is_valid("c"));
	assert_false(keypath_ctldir_is_valid(""));
	assert_false(keypath_ctldir_is_valid("."));
	assert_false(keypath_ctldir_is_valid(".."));
	assert_false(keypath_ctldir_is_valid("a/b"));
	assert_false(keypath_ctldir_is_valid("a%b"));
}

/* ---- Long components ---- */

/* `n` letters and `tail`. */
static char *long_text(size_t n, const char *tail, size_t tail_len)
{
	char *text = test_malloc(n + tail_len + 1);
	memset(text, 'x', n);
	memcpy(text + n, tail, tail_len);
	text[n + tail_len] = '\0';
	return text;
}

/* The key `n` letters and `tail` shows as chunks of these lengths and the rest `last`. */
static void assert_chunks(size_t n, const char *tail, size_t tail_len, const char *path)
{
	char *key = long_text(n, tail, tail_len);
	assert_path(key, n + tail_len, false, path);
	test_free(key);
}

static void test_long_components(void **state)
{
	char path[2048];
	char *x = long_text(1024, "", 0);
	(void)state;
	snprintf(path, sizeof(path), "%.255s", x);
	assert_chunks(255, "", 0, path);
	snprintf(path, sizeof(path), "%.253s%%+/xxx", x);
	assert_chunks(256, "", 0, path);
	snprintf(path, sizeof(path), "%.253s%%+/%.47s", x, x);
	assert_chunks(300, "", 0, path);
	snprintf(path, sizeof(path), "%.253s%%+/%.253s%%+/%.253s%%+/%.241s", x, x, x, x);
	assert_chunks(1000, "", 0, path);
	snprintf(path, sizeof(path), "%.253s%%+/%.254sy", x, x);
	assert_chunks(507, "y", 1, path);
	snprintf(path, sizeof(path), "%.253s%%+/%.253s%%+/xxy", x, x);
	assert_chunks(508, "y", 1, path);
	test_free(x);
}

static void test_tokens_at_the_end_of_a_chunk(void **state)
{
	char path[2048];
	char *x = long_text(256, "", 0);
	(void)state;
	/* A NUL fits, or goes into the next chunk as a whole. */
	snprintf(path, sizeof(path), "%.252s%%00", x);
	assert_chunks(252, "\0", 1, path);
	snprintf(path, sizeof(path), "%.250s%%00%%+/xxx", x);
	assert_chunks(250, "\0xxx", 4, path);
	snprintf(path, sizeof(path), "%.251s%%+/%%00xx", x);
	assert_chunks(251, "\0xx", 3, path);
	snprintf(path, sizeof(path), "%.252s%%+/%%00x", x);
	assert_chunks(252, "\0x", 2, path);
	snprintf(path, sizeof(path), "%.253s%%+/%%00", x);
	assert_chunks(253, "\0", 1, path);
	/* A '%' is judged by what its own chunk holds. */
	snprintf(path, sizeof(path), "%.252s%%%%+/00", x);
	assert_chunks(252, "%00", 3, path);
	snprintf(path, sizeof(path), "%.251s%%0%%+/0x", x);
	assert_chunks(251, "%00x", 4, path);
	snprintf(path, sizeof(path), "%.250s%%0%%+/0xx", x);
	assert_chunks(250, "%00xx", 5, path);
	snprintf(path, sizeof(path), "%.248s%%2500%%+/xxx", x);
	assert_chunks(248, "%00xxx", 6, path);
	/* A literal "%+" at the end. */
	snprintf(path, sizeof(path), "%.251s%%25+", x);
	assert_chunks(251, "%+", 2, path);
	snprintf(path, sizeof(path), "%.252s%%%%+/+", x);
	assert_chunks(252, "%+", 2, path);
	snprintf(path, sizeof(path), "%.251s%%+%%+/xxx", x);
	assert_chunks(251, "%+xxx", 5, path);
	snprintf(path, sizeof(path), "%.253s%%+/%%25+", x);
	assert_chunks(253, "%+", 2, path);
	test_free(x);
}

static void test_whole_component_tokens_mean_nothing_in_a_chunk(void **state)
{
	static const char *const tails[] = { "%value", "%empty", "%2E", "%2E%2E", "...", ".wombat", "%2Ewombat" };
	char path[512];
	char *x = long_text(253, "", 0);
	(void)state;
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		snprintf(path, sizeof(path), "%s%%+/%s", x, tails[i]);
		assert_chunks(253, tails[i], strlen(tails[i]), path);
	}
	snprintf(path, sizeof(path), "%s%%+/xxx/%%value", x);
	char *key = long_text(256, "", 0);
	assert_path(key, 256, true, path);
	test_free(key);
	test_free(x);
}

static void test_chunks_that_are_not_as_long_as_they_can_be(void **state)
{
	char path[1024];
	char *x = long_text(256, "", 0);
	(void)state;
	static const struct { int head; const char *behind; } bad[] = {
		{ 100, "%+/xxxxx" }, { 250, "%+/%00xx" }, { 251, "%+/xxxxx" }, { 252, "%+/xxxxx" }, { 253, "%+/x" },
		{ 253, "%+/xx" }, { 253, "%+" }, { 253, "%+/" }, { 253, "%+/." }, { 253, "%+/.." }, { 253, "%+/a%25b" },
		{ 251, "%+/%00" }, { 252, "%+/%00" }, { 253, "%+/yyy%+/zzz" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(path, sizeof(path), "%.*s%s", bad[i].head, x, bad[i].behind);
		assert_bad(path);
	}
	snprintf(path, sizeof(path), "%.253s%%+/%.252s%%+/xxxx", x, x);
	assert_bad(path);
	test_free(x);
}

/* ---- Properties ---- */

/* Bytes from which the awkward cases are made. */
static size_t random_piece(uint8_t *out, unsigned flavour)
{
	static const char *const pieces[] = {
		"%", ".", "/", "%2", "%25", "%00", "0", "5", "2", "%2E", "%2E%2E", "%empty", "empty", "%value", "%+", "+",
		".wombat", "%2Ewombat", "%", "a", "\xc3\xa4", "..",
	};
	if (flavour == 0 || random_below(8) == 0) {
		*out = (uint8_t)random_next();
		return 1;
	}
	if (random_below(8) == 0) {
		*out = '\0';
		return 1;
	}
	if (flavour == 2 && random_below(40) == 0) {
		size_t n = 240 + random_below(20);
		memset(out, "x%.0"[random_below(4)], n);
		return n;
	}
	const char *piece = pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];
	memcpy(out, piece, strlen(piece));
	return strlen(piece);
}

static size_t random_key(uint8_t *out)
{
	unsigned flavour = (unsigned)random_below(4);
	size_t most = (size_t[]){ 4, 12, 300, 1500 }[random_below(4)], len = 0;
	while (len < most && random_below(most) != 0)
		len += random_piece(out + len, flavour);
	return len;
}

static void assert_names_are_sound(const char *path)
{
	for (const char *at = path;;) {
		const char *end = strchrnul(at, '/');
		size_t len = (size_t)(end - at);
		assert_in_range(len, 1, KEYPATH_NAME_MAX);
		assert_false(len == 1 && at[0] == '.');
		assert_false(len == 2 && at[0] == '.' && at[1] == '.');
		if (!*end)
			return;
		at = end + 1;
	}
}

static void test_any_key_comes_back(void **state)
{
	uint8_t *key = test_malloc(KEY_MAX);
	(void)state;
	for (int i = 0; i < 60000; i++) {
		size_t len = random_key(key), back_len;
		bool is_prefix_too = random_below(4) == 0, bad;
		char *path = keypath_from_key(key, len, is_prefix_too, ctldir);
		assert_non_null(path);
		assert_names_are_sound(path);
		assert_false(strncmp(path, ".wombat", 7) == 0 && (path[7] == '/' || path[7] == '\0'));
		uint8_t *back = keypath_to_key(path, ctldir, &back_len, &bad);
		if (!back || back_len != len || memcmp(back, key, len) != 0)
			fail_msg("key %d does not come back from \"%s\"", i, path);
		free(back);
		free(path);
	}
	test_free(key);
}

/* Random text as a path: whatever is accepted has to be the path of its key. */
static void test_any_path_that_is_taken_is_the_path_of_its_key(void **state)
{
	char *text = test_malloc(KEY_MAX + 1);
	size_t taken = 0;
	(void)state;
	for (int i = 0; i < 120000; i++) {
		size_t len = random_key((uint8_t *)text), key_len;
		bool bad;
		text[len] = '\0';
		uint8_t *key = keypath_to_key(text, ctldir, &key_len, &bad);
		if (!key) {
			assert_true(bad);
			continue;
		}
		const char *last = strrchr(text, '/');
		bool is_value = last && strcmp(last, "/%value") == 0;
		/* "%value" in the directory of a chunk is a name like others. */
		char *path = keypath_from_key(key, key_len, is_value, ctldir);
		if (is_value && strcmp(path, text) != 0) {
			free(path);
			path = keypath_from_key(key, key_len, false, ctldir);
		}
		assert_string_equal(path, text);
		free(path);
		free(key);
		taken++;
	}
	print_message("%zu paths taken\n", taken);
	assert_true(taken > 1000);
	test_free(text);
}

/* Changes one place of a good path: what is still taken has to be the one path of its key. */
static void test_damaged_paths(void **state)
{
	uint8_t *key = test_malloc(KEY_MAX);
	(void)state;
	for (int i = 0; i < 60000; i++) {
		size_t len = random_key(key), other_len;
		bool bad;
		char *path = keypath_from_key(key, len, false, ctldir);
		size_t path_len = strlen(path), at = random_below(path_len);
		switch (random_below(3)) {
		case 0:
			path[at] = "%/+.025E\x01"[random_below(9)];
			break;
		case 1:
			memmove(path + at, path + at + 1, path_len - at);
			break;
		default:
			path[at] = '\0';
			break;
		}
		uint8_t *other = keypath_to_key(path, ctldir, &other_len, &bad);
		if (other) {
			char *plain = keypath_from_key(other, other_len, false, ctldir);
			char *value = keypath_from_key(other, other_len, true, ctldir);
			if (strcmp(plain, path) != 0 && strcmp(value, path) != 0)
				fail_msg("\"%s\" is a second path beside \"%s\"", path, plain);
			free(plain);
			free(value);
			free(other);
		}
		free(path);
	}
	test_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_bytes_pass_unchanged),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_literal_percent_is_escaped_only_where_it_reads_as_a_token),
		cmocka_unit_test(test_value_of_a_key_that_is_also_a_prefix),
		cmocka_unit_test(test_what_is_no_path),
		cmocka_unit_test(test_another_control_name),
		cmocka_unit_test(test_long_components),
		cmocka_unit_test(test_tokens_at_the_end_of_a_chunk),
		cmocka_unit_test(test_whole_component_tokens_mean_nothing_in_a_chunk),
		cmocka_unit_test(test_chunks_that_are_not_as_long_as_they_can_be),
		cmocka_unit_test(test_any_key_comes_back),
		cmocka_unit_test(test_any_path_that_is_taken_is_the_path_of_its_key),
		cmocka_unit_test(test_damaged_paths),
	};
	const char *seed = getenv("WOMBAT_SEED");
	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	print_message("WOMBAT_SEED=%llu\n", (unsigned long long)random_state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
