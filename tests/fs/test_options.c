/*
 * fs/options: command lines taken and refused, and the manual page beside the table.
 */
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/options.h"

enum { ARGS_MAX = 16, SENTENCE_CAP = 512 };

static char sentence[SENTENCE_CAP];

/* Parses "wombatfs" and the words, which a NULL ends. */
static int parse(struct mount_options *o, ...)
{
	char *argv[ARGS_MAX + 1] = { (char *)"wombatfs" };
	int argc = 1;
	va_list args;
	va_start(args, o);
	for (char *word; argc < ARGS_MAX && (word = va_arg(args, char *)) != NULL;)
		argv[argc++] = word;
	va_end(args);
	sentence[0] = '\0';
	assert_true(mount_options_init(o));
	return mount_options_parse(o, argc, argv, sentence, sizeof(sentence));
}

#define PARSE(o, ...) parse(o, __VA_ARGS__, (char *)NULL)

static void assert_refused(const char *list, const char *word)
{
	struct mount_options o;
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", list), MOUNT_EXIT_USAGE);
	if (!strstr(sentence, word) || strchr(sentence, '\n'))
		fail_msg("-o %s: \"%s\" does not name %s in one line", list, sentence, word);
	mount_options_done(&o);
}

static void assert_fuse_options(const char *list, const char *expected)
{
	struct mount_options o;
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", list), 0);
	assert_string_equal(o.fuse_options, expected);
	mount_options_done(&o);
}

static void assert_engine_option(struct mount_options *o, const char *name, const char *value)
{
	char got[64];
	assert_int_equal(wombat_options_get(o->engine, name, got, sizeof(got)), WOMBAT_OK);
	assert_string_equal(got, value);
}

static void test_defaults(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "/nowhere/db", "/nowhere/mnt"), 0);
	assert_string_equal(o.db_dir, "/nowhere/db");
	assert_string_equal(o.mountpoint, "/nowhere/mnt");
	assert_string_equal(o.ctldir, ".wombat");
	assert_true(o.log_syslog);
	assert_false(o.read_only || o.allow_other || o.noxattr || o.writeback_cache || o.foreground || o.have_uid);
	assert_int_equal(o.uid, getuid());
	assert_int_equal(o.umask, 022);
	assert_int_equal(o.commit_idle_ms, 5000);
	assert_int_equal(o.commit_age_ms, 60000);
	assert_int_equal(o.max_threads, 4);
	mount_options_done(&o);
}

/* The kernel checks who does what, but where root is alone: unless something was said. */
static void test_default_permissions(void **state)
{
	static const struct { const char *list; bool for_root, for_others; } cases[] = {
		{ "rw", false, true },
		{ "allow_other", true, true },
		{ "default_permissions", true, true },
		{ "no_default_permissions", false, false },
		{ "no_default_permissions,allow_other", false, false },
		{ "allow_other,no_default_permissions", false, false },
		{ "no_default_permissions,default_permissions", true, true },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mount_options o;
		assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", cases[i].list), 0);
		bool expected = geteuid() == 0 ? cases[i].for_root : cases[i].for_others;
		assert_int_equal(o.default_permissions, expected);
		assert_int_equal(strstr(o.fuse_options, ",default_permissions") != NULL, expected);
		mount_options_done(&o);
	}
}

static void test_flags_stand_anywhere(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "-o", "ro", "/db", "-f", "/mnt", "-s"), 0);
	assert_true(o.foreground && o.single_thread && o.read_only);
	assert_false(o.log_syslog || o.debug);
	assert_int_equal(o.max_threads, 1);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "-d", "/db", "/mnt"), 0);
	assert_true(o.foreground && o.debug);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", "debug"), 0);
	assert_true(o.debug);
	mount_options_done(&o);
}

static void test_options_of_the_mount(void **state)
{
	struct mount_options o;
	const struct passwd *user = getpwuid(0);
	(void)state;
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", "allow_other,uid=7,gid=8,umask=077,ctldir=ctl,noxattr",
		"-o", "commit_idle_ms=1,commit_age_ms=0,max_threads=64,read_ahead_kb=0,writeback_cache,log=stderr"), 0);
	assert_true(o.allow_other && o.noxattr && o.writeback_cache && o.have_uid && o.have_gid && o.have_umask);
	assert_int_equal(o.uid, 7);
	assert_int_equal(o.gid, 8);
	assert_int_equal(o.umask, 077);
	assert_string_equal(o.ctldir, "ctl");
	assert_int_equal(o.commit_idle_ms, 1);
	assert_int_equal(o.commit_age_ms, 0);
	assert_int_equal(o.max_threads, 64);
	assert_int_equal(o.read_ahead_kb, 0);
	assert_false(o.log_syslog);
	mount_options_done(&o);
	assert_non_null(user);
	char list[128];
	snprintf(list, sizeof(list), "uid=%s", user->pw_name);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", list), 0);
	assert_int_equal(o.uid, 0);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-f", "-o", "log=syslog"), 0);
	assert_true(o.log_syslog);
	mount_options_done(&o);
}

static void test_later_options_win(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", "ro,rw,umask=0,umask=027,default_permissions",
		"-o", "no_default_permissions"), 0);
	assert_false(o.read_only || o.default_permissions);
	assert_int_equal(o.umask, 027);
	assert_string_equal(o.fuse_options, "fsname=/db,subtype=wombatfs");
	mount_options_done(&o);
}

static void test_engine_options_by_name(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", "block_cache_size=1G,sync_writes,verify_checksums=false"), 0);
	assert_engine_option(&o, "block_cache_size", "1G");
	assert_engine_option(&o, "sync_writes", "true");
	assert_engine_option(&o, "verify_checksums", "false");
	mount_options_done(&o);
}

static void test_a_preset_comes_first_wherever_it_stands(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o", "num_memtables=9", "-o", "preset=memory_optimized"), 0);
	assert_engine_option(&o, "num_memtables", "9");
	assert_engine_option(&o, "mem_table_size", "4M");
	mount_options_done(&o);
}

static void test_what_mount_gives_every_filesystem(void **state)
{
	(void)state;
	assert_fuse_options("allow_other,rw,dev,suid,noatime,sync",
		"fsname=/db,subtype=wombatfs,allow_other,default_permissions,dev,suid,noatime,sync");
	assert_fuse_options("default_permissions,ro,nodev,nosuid,noexec",
		"fsname=/db,subtype=wombatfs,ro,default_permissions,nodev,nosuid,noexec");
	assert_fuse_options("default_permissions,auto,noauto,user,user=joe,users,nofail,_netdev,relatime,defaults,comment=a=b,"
			    "x-systemd.requires=/x,X-mount.mkdir,x-gvfs-show",
		"fsname=/db,subtype=wombatfs,default_permissions");
	assert_fuse_options("default_permissions,fsname=notes,fsname=the notes", "fsname=the notes,subtype=wombatfs,default_permissions");
	assert_fuse_options(",,allow_other,", "fsname=/db,subtype=wombatfs,allow_other,default_permissions");
}

static void test_commas_in_paths_and_values(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "/a,b\\c", "/mnt", "-o", "default_permissions,ctldir=x\\,y"), 0);
	assert_string_equal(o.fuse_options, "fsname=/a\\,b\\\\c,subtype=wombatfs,default_permissions");
	assert_string_equal(o.ctldir, "x,y");
	mount_options_done(&o);
}

static void test_refusals_name_what_is_wrong(void **state)
{
	(void)state;
	assert_refused("nonsense", "nonsense");
	assert_refused("nonsense=1", "nonsense");
	assert_refused("ro=1", "ro");
	assert_refused("uid", "uid=USER");
	assert_refused("uid=", "uid=USER");
	assert_refused("fsname", "fsname=TEXT");
	assert_refused("uid=no such user", "no such user");
	assert_refused("gid=no such group", "no such group");
	assert_refused("uid=4294967295", "4294967295");
	assert_refused("umask=8", "umask");
	assert_refused("umask=1000", "0..0777");
	assert_refused("max_threads=0", "1..64");
	assert_refused("max_threads=65", "1..64");
	assert_refused("max_threads=4x", "max_threads");
	assert_refused("max_threads=-1", "max_threads");
	assert_refused("commit_idle_ms=99999999999999999999", "commit_idle_ms");
	assert_refused("ctldir=a/b", "ctldir");
	assert_refused("ctldir=..", "ctldir");
	assert_refused("log=file", "file");
	assert_refused("preset=fastest", "fastest");
	assert_refused("block_cache_size", "block_cache_size");
	assert_refused("block_cache_size=lots", "lots");
	assert_refused("block_cache_size=9999T", "block_cache_size");
	assert_refused("x", "\"x\"");
}

static void test_usage(void **state)
{
	struct mount_options o;
	(void)state;
	assert_int_equal(PARSE(&o, "/db"), MOUNT_EXIT_USAGE);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "/more"), MOUNT_EXIT_USAGE);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "", "/mnt"), MOUNT_EXIT_USAGE);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-z"), MOUNT_EXIT_USAGE);
	assert_non_null(strstr(sentence, "-z"));
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "--nonsense"), MOUNT_EXIT_USAGE);
	assert_non_null(strstr(sentence, "--nonsense"));
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "/db", "/mnt", "-o"), MOUNT_EXIT_USAGE);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "--help"), 0);
	assert_true(o.show_help);
	mount_options_done(&o);
	assert_int_equal(PARSE(&o, "-V"), 0);
	assert_true(o.show_version);
	mount_options_done(&o);
}

static void test_relative_paths_become_absolute(void **state)
{
	struct mount_options o;
	char expected[8192];
	char *here = getcwd(NULL, 0);
	(void)state;
	assert_int_equal(PARSE(&o, "no/such/db/", "no-mnt/"), 0);
	snprintf(expected, sizeof(expected), "%s/no/such/db/", here);
	assert_string_equal(o.db_dir, expected);
	snprintf(expected, sizeof(expected), "%s/no-mnt", here);
	assert_string_equal(o.mountpoint, expected);
	mount_options_done(&o);
	free(here);
}

static void test_live_options(void **state)
{
	struct mount_options o;
	char text[64];
	(void)state;
	assert_int_equal(PARSE(&o, "/db", "/mnt"), 0);
	assert_int_equal(mount_option_judge("commit_idle_ms", "7", text, sizeof(text)), WOMBAT_OK);
	assert_int_equal(mount_option_judge("commit_idle_ms", "x", text, sizeof(text)), WOMBAT_INVALID);
	assert_int_equal(mount_option_judge("commit_idle_ms", "86400001", text, sizeof(text)), WOMBAT_OUT_OF_RANGE);
	assert_int_equal(mount_option_judge("max_threads", "2", text, sizeof(text)), WOMBAT_NOT_CHANGEABLE);
	assert_int_equal(mount_option_judge("block_cache_size", "2", text, sizeof(text)), WOMBAT_NOT_FOUND);
	mount_option_set(&o, "commit_idle_ms", "7");
	assert_int_equal(o.commit_idle_ms, 7);
	mount_option_print(&o, "commit_idle_ms", text, sizeof(text));
	assert_string_equal(text, "7");
	mount_options_done(&o);
}

static char *read_all(FILE *in)
{
	char *text = NULL;
	size_t size = 0, capacity = 0;
	do {
		capacity = capacity ? capacity * 2 : 65536;
		text = realloc(text, capacity);
		assert_non_null(text);
		size += fread(text + size, 1, capacity - size - 1, in);
	} while (size == capacity - 1);
	text[size] = '\0';
	return text;
}

static void test_help_has_every_option(void **state)
{
	FILE *out = tmpfile();
	char line[128];
	(void)state;
	assert_non_null(out);
	mount_options_print_help(out);
	rewind(out);
	char *help = read_all(out);
	for (size_t i = 0; mount_option_info(i); i++) {
		snprintf(line, sizeof(line), "\n    %s%s", mount_option_info(i)->name, mount_option_info(i)->argument ? "=" : " ");
		assert_non_null(strstr(help, line));
	}
	for (size_t i = 0; wombat_option_info(i); i++) {
		snprintf(line, sizeof(line), "\n    %s=", wombat_option_info(i)->name);
		assert_non_null(strstr(help, line));
	}
	free(help);
	fclose(out);
}

/* Each option is an item of the manual page, with its argument and default. */
static void test_manual_page_has_every_option(void **state)
{
	const char *source = getenv("WOMBAT_SOURCE");
	char path[4096], item[256];
	(void)state;
	if (!source)
		skip();
	snprintf(path, sizeof(path), "%s/fs/wombatfs.8", source);
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	char *page = read_all(in);
	fclose(in);
	for (size_t i = 0; mount_option_info(i); i++) {
		const struct mount_option_info *info = mount_option_info(i);
		int size = snprintf(item, sizeof(item), "\n.It Cm %s", info->name);
		if (info->argument)
			size += snprintf(item + size, sizeof(item) - (size_t)size, " Ns = Ns Ar %s", info->argument);
		if (*info->default_text)
			size += snprintf(item + size, sizeof(item) - (size_t)size, " Pq default Li %s", info->default_text);
		snprintf(item + size, sizeof(item) - (size_t)size, "\n");
		if (!strstr(page, item))
			fail_msg("wombatfs.8 does not have the line%s", item);
	}
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_default_permissions),
		cmocka_unit_test(test_flags_stand_anywhere),
		cmocka_unit_test(test_options_of_the_mount),
		cmocka_unit_test(test_later_options_win),
		cmocka_unit_test(test_engine_options_by_name),
		cmocka_unit_test(test_a_preset_comes_first_wherever_it_stands),
		cmocka_unit_test(test_what_mount_gives_every_filesystem),
		cmocka_unit_test(test_commas_in_paths_and_values),
		cmocka_unit_test(test_refusals_name_what_is_wrong),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_relative_paths_become_absolute),
		cmocka_unit_test(test_live_options),
		cmocka_unit_test(test_help_has_every_option),
		cmocka_unit_test(test_manual_page_has_every_option),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
