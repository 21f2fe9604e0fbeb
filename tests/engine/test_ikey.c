/* engine/base/ikey.c: keyspaces and keys in sentences; the order of internal keys. */
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/ikey.h"
#include "tests/support/check.h"

static void test_keyspaces(void **state)
{
	(void)state;
	assert_int_equal(keyspace_check(0), WOMBAT_INVALID);
	assert_int_equal(keyspace_check(1), WOMBAT_OK);
	assert_int_equal(keyspace_check(WOMBAT_KEYSPACE_MAX), WOMBAT_OK);
	assert_int_equal(keyspace_check(WOMBAT_KEYSPACE_MAX + 1), WOMBAT_INVALID);
}

static void test_keys_as_text(void **state)
{
	(void)state;
	char out[KEY_TEXT], bytes[300];
	assert_string_equal(key_text(WOMBAT_STR("users/42"), out), "users/42");
	assert_string_equal(key_text(WOMBAT_SLICE("\0a\"b\\\xff\n", 7), out), "\\x00a\\x22b\\x5c\\xff\\x0a");
	assert_string_equal(key_text(WOMBAT_STR(""), out), "");
	memset(bytes, 1, sizeof bytes);
	assert_int_equal(strlen(key_text(WOMBAT_SLICE(bytes, KEY_TEXT_SHOWN), out)), 4 * KEY_TEXT_SHOWN);
	assert_int_equal(strlen(key_text(WOMBAT_SLICE(bytes, 300), out)), 4 * KEY_TEXT_SHOWN + 3);
}

static void test_full_keys_as_text(void **state)
{
	(void)state;
	char out[KEY_TEXT_FULL], bytes[300];
	assert_string_equal(key_text_full(WOMBAT_SLICE("\2a\n", 3), out), "keyspace 2 key \"a\\x0a\"");
	assert_string_equal(key_text_full(WOMBAT_SLICE("\2", 1), out), "keyspace 2 key \"\"");
	assert_string_equal(key_text_full(WOMBAT_STR(""), out), "the end");
	memset(bytes, 255, sizeof bytes);
	const char *text = key_text_full(WOMBAT_SLICE(bytes, 300), out);
	assert_string_equal(text + strlen(text) - 4, "...\"");
}

/* Ascending by key; of one key the newest first. */
static void test_order(void **state)
{
	(void)state;
	const struct { const char *key; uint64_t sequence; enum ikey_kind kind; } sorted[] = {
		{ "", 1, KIND_PUT }, { "a", 9, KIND_PUT }, { "a", 9, KIND_DELETE }, { "a", 3, KIND_PUT }, { "a\1", 99, KIND_PUT },
		{ "b", SEQUENCE_MAX, KIND_PUT }, { "b", 0, KIND_DELETE },
	};
	enum { COUNT = sizeof sorted / sizeof *sorted };
	for (int i = 0; i < COUNT; i++)
		for (int j = 0; j < COUNT; j++) {
			int c = ikey_compare_parts(WOMBAT_STR(sorted[i].key), tag_make(sorted[i].sequence, sorted[i].kind),
						   WOMBAT_STR(sorted[j].key), tag_make(sorted[j].sequence, sorted[j].kind));
			assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keyspaces),
		cmocka_unit_test(test_keys_as_text),
		cmocka_unit_test(test_full_keys_as_text),
		cmocka_unit_test(test_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
