/* fs/jsontext: what is written, cJSON reads, byte for byte; what is no UTF-8 is said in hexadecimal. */
#include "fs/jsontext.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

/* The value read back as text; NULL: it was said in hexadecimal, rightly. */
static char *read_back(const void *bytes, size_t size)
{
	struct control_text text = { 0 };
	assert_true(control_text_add(&text, "{", 1) && json_add_bytes(&text, "k", bytes, size) && control_text_add(&text, "}", 2));
	cJSON *object = cJSON_Parse(text.data);
	if (!object)
		fail_msg("cJSON does not read %s", text.data);
	const cJSON *plain = cJSON_GetObjectItemCaseSensitive(object, "k"), *hex = cJSON_GetObjectItemCaseSensitive(object, "k_hex");
	char *found = NULL;
	assert_true(!plain != !hex);
	if (plain) {
		found = strdup(plain->valuestring);
	} else {
		char byte[3];
		assert_int_equal(strlen(hex->valuestring), 2 * size);
		for (size_t i = 0; i < size; i++) {
			snprintf(byte, sizeof byte, "%02x", ((const uint8_t *)bytes)[i]);
			assert_memory_equal(hex->valuestring + 2 * i, byte, 2);
		}
	}
	cJSON_Delete(object);
	control_text_done(&text);
	return found;
}

static void expect_text(const char *bytes)
{
	char *found = read_back(bytes, strlen(bytes));
	assert_non_null(found);
	assert_string_equal(found, bytes);
	free(found);
}

static void expect_hex(const char *bytes)
{
	assert_null(read_back(bytes, strlen(bytes)));
}

static void test_text(void **state)
{
	(void)state;
	expect_text("");
	expect_text("a/b c");
	expect_text("\"quoted\" and \\ and \x7f and \x01\t\n\r\x1f");
	expect_text("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xbb \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf");
}

/* Cut off, overlong, surrogates, beyond the last, bytes that never are. */
static void test_no_text(void **state)
{
	(void)state;
	static const char *const bad[] = { "\x80", "a\xff", "\xc3", "\xc3(", "\xe2\x82", "\xe2(\xac", "\xe2\x82(", "\xf0\x9f\x90", "\xf0\x9f(\xbb",
		"\xf0\x9f\x90(", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		expect_hex(bad[i]);
	assert_null(read_back("\xff\0\x01", 3));
}

static void test_random(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < 20000; i++) {
		char bytes[9] = { 0 };
		static const char often[] = "a\"\\/\xc3\xa4\xe2\x82\xac\xed\x9f";
		for (unsigned k = (unsigned)random_below(&r, 8); k > 0; k--)
			bytes[k - 1] = random_below(&r, 2) ? often[random_below(&r, sizeof often - 1)] : (char)(1 + random_below(&r, 255));
		char *found = read_back(bytes, strlen(bytes));
		if (found)
			assert_string_equal(found, bytes);
		free(found);
	}
}

static void test_failed_allocations(void **state)
{
	(void)state;
	static const char *const values[] = { "some text that is longer than a few bytes, \"quoted\" too", "\xff\xfe, which is no text at all, and long" };
	for (int i = 0; i < 2; i++) {
		unsigned failed = 0;
		for (bool ok = false; !ok; failed++) {
			struct control_text text = { 0 };
			alloc_fail_arm(failed);
			ok = json_add_bytes(&text, "name", values[i], strlen(values[i]));
			alloc_fail_disarm();
			control_text_done(&text);
		}
		assert_true(failed > 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_no_text),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_failed_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
