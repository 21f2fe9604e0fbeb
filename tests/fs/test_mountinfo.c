/*
 * fs/mountinfo on tables as the kernel writes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/mountinfo.h"

static const char table[] =
	"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
	"23 22 0:21 / /proc rw,nosuid shared:12 master:3 - proc proc rw\n"
	"40 22 0:45 / /mnt/db rw,nosuid,nodev - fuse.wombatfs /var/lib/db rw,user_id=0\n"
	"41 22 0:46 / /mnt/a\\040b\\134c\\011d rw - fuse.wombatfs /x\\040y rw\n"
	"broken line\n"
	"42 22 0:47 / /mnt/cut rw\n"
	"43 22 x / /mnt/x rw - ext4 /dev/x rw\n"
	"44 40 0:48 / /mnt/db rw - tmpfs tmpfs rw";

static bool find(const char *mountpoint, struct mountinfo *out)
{
	FILE *in = fmemopen((void *)table, sizeof(table) - 1, "r");
	assert_non_null(in);
	bool found = mountinfo_find_in(in, mountpoint, out);
	fclose(in);
	return found;
}

static void test_finds_type_and_device(void **state)
{
	struct mountinfo info;
	(void)state;
	assert_true(find("/", &info));
	assert_int_equal(info.major, 254);
	assert_int_equal(info.minor, 0);
	assert_string_equal(info.type, "ext4");
	assert_true(find("/proc", &info));
	assert_string_equal(info.type, "proc");
}

static void test_the_topmost_mount_counts(void **state)
{
	struct mountinfo info;
	(void)state;
	assert_true(find("/mnt/db", &info));
	assert_int_equal(info.minor, 48);
	assert_string_equal(info.type, "tmpfs");
}

static void test_escaped_paths(void **state)
{
	struct mountinfo info;
	(void)state;
	assert_true(find("/mnt/a b\\c\td", &info));
	assert_int_equal(info.minor, 46);
	assert_false(find("/mnt/a", &info));
	assert_false(find("/mnt/a b", &info));
	assert_false(find("/mnt/a\\040b\\134c\\011d", &info));
}

static void test_what_is_not_there(void **state)
{
	struct mountinfo info;
	(void)state;
	assert_false(find("/mnt", &info));
	assert_false(find("", &info));
	assert_false(find("/mnt/cut", &info));
	assert_false(find("/mnt/x", &info));
	assert_true(mountinfo_find("/proc", &info));
	assert_string_equal(info.type, "proc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_type_and_device),
		cmocka_unit_test(test_the_topmost_mount_counts),
		cmocka_unit_test(test_escaped_paths),
		cmocka_unit_test(test_what_is_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
