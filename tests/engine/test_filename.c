/* Names of files: kinds and numbers to names and back, and which names are nobody's. */
#include "engine/env/filename.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

static const uint64_t numbers[] = { 0, 1, 7, 99999, 999999, 1000000, 12345678901, UINT64_MAX / 10 - 1 };
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

static void test_fixed_names(void **state)
{
	(void)state;
	static const struct {
		enum file_kind kind;
		uint64_t number;
		const char *name;
	} names[] = {
		{ FILE_LOCK, 0, "LOCK" }, { FILE_CURRENT, 0, "CURRENT" }, { FILE_CONFIG, 0, "wombat.conf" },
		{ FILE_MANIFEST, 7, "MANIFEST-000007" }, { FILE_TABLE, 12, "000012.sst" },
		{ FILE_WAL, 3, "000003.wal" }, { FILE_TABLE, 0, "000000.sst" }, { FILE_WAL, 1234567, "1234567.wal" },
		{ FILE_TABLE, 1000000, "1000000.sst" }, { FILE_MANIFEST, 999999, "MANIFEST-999999" },
	};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char name[32];
		uint64_t number = 77;
		filename_make(name, names[i].kind, names[i].number);
		assert_string_equal(name, names[i].name);
		assert_int_equal(filename_parse(name, &number), names[i].kind);
		assert_int_equal(number, names[i].number);
	}
	char name[32] = "x";
	filename_make(name, FILE_OTHER, 1);
	assert_string_equal(name, "");
}

static void test_round_trips(void **state)
{
	(void)state;
	static const enum file_kind kinds[] = { FILE_MANIFEST, FILE_TABLE, FILE_WAL };
	char name[32], last[32] = "";
	uint64_t number;
	for (size_t k = 0; k < 3; k++)
		for (size_t i = 0; i < NUMBERS; i++) {
			filename_make(name, kinds[k], numbers[i]);
			assert_string_not_equal(name, last);
			snprintf(last, sizeof last, "%s", name);
			assert_int_equal(filename_parse(name, &number), kinds[k]);
			assert_true(number == numbers[i]);
		}
	/* A kind without a number does not care for one. */
	filename_make(name, FILE_CURRENT, 5);
	assert_int_equal(filename_parse(name, &number), FILE_CURRENT);
	assert_int_equal(number, 0);
}

/* Numbers that could not be told from others, and none at all. */
static void test_names_that_are_not_ours(void **state)
{
	(void)state;
	static const char *const others[] = {
		"", ".", "..", "lock", "LOCK2", "LOC", "CURRENT.bak", "wombat.conf~",
		"MANIFEST", "MANIFEST-", "MANIFEST-x", "MANIFEST-7", "MANIFEST-0000007", "MANIFEST-000007x",
		"MANIFEST-000007.sst", "manifest-000007", ".sst", ".wal",
		"7.sst", "00007.sst", "0000007.sst", "000007", "000007.", "000007.ss", "000007.sstx", "000007.SST",
		"000007.sst ", " 000007.sst", "+00007.sst", "-00007.sst", "0x0007.sst", "000007,wal", "00000a.wal",
		"000007.wal.sst", "18446744073709551616.sst", "18446744073709551623.sst", "99999999999999999999.wal",
		"100000000000000000000000000000000000000000.sst", ".tmp", "tmp", "a.tm", "a.tmp2",
	};
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		uint64_t number = 77;
		if (filename_parse(others[i], &number) != FILE_OTHER)
			fail_msg("\"%s\" is taken for one of ours", others[i]);
		assert_int_equal(number, 0);
	}
}

static void test_temporary_names(void **state)
{
	(void)state;
	static const char *const temps[] = {
		"a.tmp", "CURRENT.tmp", "wombat.conf.tmp", "000007.tmp", "000007.sst.tmp", "..tmp",
	};
	char name[32];
	uint64_t number;
	for (size_t i = 0; i < sizeof temps / sizeof temps[0]; i++) {
		number = 77;
		assert_int_equal(filename_parse(temps[i], &number), FILE_TEMP);
		assert_int_equal(number, 0);
	}
	filename_make(name, FILE_TEMP, 9);
	assert_int_equal(filename_parse(name, &number), FILE_TEMP);
}

/* Every number of 20 digits is either read as itself or not at all. */
static void test_large_numbers(void **state)
{
	(void)state;
	for (uint64_t back = 0; back < 40; back++) {
		char name[32];
		uint64_t number;
		filename_make(name, FILE_TABLE, UINT64_MAX - back);
		if (filename_parse(name, &number) == FILE_TABLE)
			assert_true(number == UINT64_MAX - back);
		else
			assert_int_equal(number, 0);
		/* The same digits and one more are too many. */
		snprintf(name, sizeof name, "%llu0.sst", (unsigned long long)(UINT64_MAX - back));
		assert_int_equal(filename_parse(name, &number), FILE_OTHER);
	}
}

static void test_paths(void **state)
{
	(void)state;
	static char path[FILENAME_PATH_MAX + 8], dir[FILENAME_PATH_MAX + 8];
	assert_true(filename_path(path, "/some/dir", FILE_TABLE, 42));
	assert_string_equal(path, "/some/dir/000042.sst");
	assert_true(filename_path(path, ".", FILE_CURRENT, 0));
	assert_string_equal(path, "./CURRENT");
	/* "/LOCK" and the end have to fit behind the directory: one more byte is too many, and nothing is overrun. */
	memset(dir, 'd', sizeof dir);
	memset(path, '#', sizeof path);
	dir[FILENAME_PATH_MAX - 6] = 0;
	assert_true(filename_path(path, dir, FILE_LOCK, 0));
	assert_int_equal(strlen(path), FILENAME_PATH_MAX - 1);
	assert_string_equal(path + FILENAME_PATH_MAX - 6, "/LOCK");
	dir[FILENAME_PATH_MAX - 6] = 'd';
	dir[FILENAME_PATH_MAX - 5] = 0;
	assert_false(filename_path(path, dir, FILE_LOCK, 0));
	assert_int_equal(path[FILENAME_PATH_MAX], '#');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_names),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_names_that_are_not_ours),
		cmocka_unit_test(test_temporary_names),
		cmocka_unit_test(test_large_numbers),
		cmocka_unit_test(test_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
