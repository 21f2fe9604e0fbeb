/* fs/remount: which flags the kernel is given for which options (-Wl,--wrap=mount), and what is refused with which sentence. */
#include "fs/remount.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/mountinfo.h"
#include "fs/options.h"
#include "tests/support/check.h"

static unsigned long given;
static unsigned calls;
static int result;
static const char *type; /* of what is mounted; NULL: nothing is */

int __wrap_mount(const char *source, const char *target, const char *fs, unsigned long flags, const void *data);
int __wrap_mount(const char *source, const char *target, const char *fs, unsigned long flags, const void *data)
{
	assert_true(!source && !fs && !data);
	assert_string_equal(target, "/mnt/point");
	given = flags;
	calls++;
	errno = result;
	return result ? -1 : 0;
}

bool __wrap_mountinfo_find(const char *mountpoint, struct mountinfo *out);
bool __wrap_mountinfo_find(const char *mountpoint, struct mountinfo *out)
{
	assert_string_equal(mountpoint, "/mnt/point");
	if (type)
		strcpy(out->type, type);
	return type;
}

static bool try(const char *options)
{
	struct mount_options o;
	char sentence[256], text[128];
	snprintf(text, sizeof text, "remount,%s", options);
	char *argv[] = { (char *)"wombatfs", (char *)"/db", (char *)"/mnt/point", (char *)"-o", text, NULL };
	assert_true(mount_options_init(&o));
	assert_int_equal(mount_options_parse(&o, 5, argv, sentence, sizeof sentence), 0);
	assert_true(o.remount);
	bool ok = remount(&o);
	mount_options_done(&o);
	return ok;
}

static void test_flags(void **state)
{
	static const struct { const char *options; unsigned long flags; } cases[] = {
		{ "rw", 0 },
		{ "ro", MS_RDONLY },
		{ "rw,noatime,dev,suid", MS_NOATIME },
		{ "ro,nosuid,nodev,noexec,sync,dirsync", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_DIRSYNC },
		{ "ro,rw,atime,user_id=0,group_id=0,default_permissions,allow_other,nofail,x-systemd.automount", MS_RELATIME },
	};
	(void)state;
	type = "fuse.wombatfs";
	result = 0;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_true(try(cases[i].options));
		assert_int_equal(given, MS_REMOUNT | cases[i].flags);
	}
}

static void test_refused(void **state)
{
	(void)state;
	calls = 0;
	type = NULL;
	assert_false(try("ro"));
	type = "ext4";
	assert_false(try("ro"));
	assert_int_equal(calls, 0);
	type = "fuse.wombatfs";
	result = EPERM;
	assert_false(try("ro"));
	assert_int_equal(calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
