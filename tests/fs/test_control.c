/*
 * fs/control without a mount: a database in a directory of its own, and the control directory over it. Every kind
 * of bad line is refused with its errno and a sentence, and nothing has changed then.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "fs/control.h"
#include "fs/mount.h"
#include "fs/options.h"
#include "fs/store.h"

enum { OWNER = 4711, STRANGER = 4712 };

static struct mount m;
static char dir[64];

/* ---- Set-up ---- */

static int begin(void **state)
{
	char *argv[] = { (char *)"wombatfs", dir, (char *)"/nowhere", (char *)"-o", (char *)"uid=4711", NULL };
	char sentence[512];
	(void)state;
	strcpy(dir, "/tmp/wombat-control.XXXXXX");
	assert_non_null(mkdtemp(dir));
	memset(&m, 0, sizeof(m));
	assert_true(mount_options_init(&m.options));
	assert_int_equal(mount_options_parse(&m.options, 5, argv, sentence, sizeof(sentence)), 0);
	assert_int_equal(wombat_open(dir, m.options.engine, WOMBAT_CREATE, &m.db), WOMBAT_OK);
	assert_int_equal(store_lsm_new(m.db, &m.store), STORE_OK);
	assert_int_equal(control_init(&m), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	control_done(&m);
	m.store->calls->close(m.store, true);
	assert_int_equal(wombat_close(m.db), WOMBAT_OK);
	mount_options_done(&m.options);
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	closedir(d);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

static const struct control_entry *find(const char *path)
{
	const struct control_entry *e = control_root(&m);
	char copy[128], *rest = NULL;
	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
		e = control_find(e, name);
		assert_non_null(e);
	}
	return e;
}

/* The document, NUL-terminated; test_free'd by the caller. */
static char *document(const char *path)
{
	struct control_text text = { 0 };
	assert_int_equal(control_read(&m, find(path), &text), 0);
	char *copy = test_malloc(text.size + 1);
	if (text.size > 0)
		memcpy(copy, text.data, text.size);
	copy[text.size] = '\0';
	assert_int_equal(strlen(copy), text.size);
	control_text_done(&text);
	return copy;
}

static int put(const char *path, const char *text)
{
	return control_write(&m, find(path), OWNER, text, strlen(text));
}

static void assert_option(const char *name, const char *value)
{
	char path[128], expected[128];
	snprintf(path, sizeof(path), "tune/%s", name);
	snprintf(expected, sizeof(expected), "%s\n", value);
	char *got = document(path);
	assert_string_equal(got, expected);
	test_free(got);
}

/* Refused with that errno and a sentence that has the word, and all options as before. */
static void assert_refused(const char *path, const char *text, int error, const char *word)
{
	char *before = document("config");
	control_set_error(&m, "%s", "");
	int got = put(path, text);
	if (got != error)
		fail_msg("%s < \"%s\": errno %d (%s), not %d", path, text, got, strerror(got), error);
	char *sentence = document("last_error"), *after = document("config");
	if (!strstr(sentence, word))
		fail_msg("%s < \"%s\": \"%s\" does not have \"%s\"", path, text, sentence, word);
	assert_string_equal(before, after);
	test_free(before);
	test_free(sentence);
	test_free(after);
}

static double figure(const char *name)
{
	double value;
	assert_int_equal(wombat_stat(m.db, name, &value), WOMBAT_OK);
	return value;
}

/* ---- The tree ---- */

static void check_ids(const struct control_entry *e, bool *seen)
{
	assert_true(e->id < 1024);
	assert_false(seen[e->id]);
	seen[e->id] = true;
	assert_true(S_ISDIR(e->mode) == (e->children != NULL || e->dir != NULL));
	assert_true(!e->dir || (e->dir->lookup && e->dir->list && !e->children));
	for (size_t i = 0; e->children && e->children[i]; i++)
		check_ids(e->children[i], seen);
}

static void test_tree(void **state)
{
	static const char *const names[] = { "stats", "stats.prom", "stats.txt", "changes", "accesslog", "config", "config.json", "tune", "last_error", "version",
		"ctl" };
	bool seen[1024] = { false };
	(void)state;
	assert_string_equal(control_root(&m)->name, ".wombat");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_string_equal(find(names[i])->name, names[i]);
	assert_null(control_find(control_root(&m), "nothing"));
	assert_null(control_find(find("stats"), "nothing"));
	check_ids(control_root(&m), seen);
	for (size_t i = 0; wombat_option_info(i); i++) {
		const struct control_entry *e = control_find(find("tune"), wombat_option_info(i)->name);
		assert_non_null(e);
		assert_int_equal(e->mode & 0222, wombat_option_info(i)->changeable ? 0200 : 0);
	}
	char *version = document("version");
	assert_int_equal(strncmp(version, wombat_version(), strlen(wombat_version())), 0);
	test_free(version);
}

static void test_last_error(void **state)
{
	(void)state;
	char *text = document("last_error");
	assert_string_equal(text, "");
	test_free(text);
	control_set_error(&m, "a %s", "sentence");
	text = document("last_error");
	assert_string_equal(text, "a sentence\n");
	test_free(text);
}

/* ---- config ---- */

static void test_config_takes_what_it_prints(void **state)
{
	(void)state;
	assert_int_equal(put("config", "block_cache_size=3M\ncommit_idle_ms=17\nverify_checksums=false\n"), 0);
	char *before = document("config");
	assert_true(strlen(before) <= CONTROL_WRITE_MAX);
	assert_non_null(strstr(before, "\nblock_cache_size=3M\n"));
	assert_non_null(strstr(before, "\ncommit_idle_ms=17\n"));
	assert_int_equal(put("config", before), 0);
	char *after = document("config");
	assert_string_equal(before, after);
	test_free(before);
	test_free(after);
}

static void test_config_lines(void **state)
{
	(void)state;
	assert_int_equal(put("config", "# a comment\n\n  block_cache_size = 5M  \n\tnum_memtables=7"), 0);
	assert_option("block_cache_size", "5M");
	assert_option("num_memtables", "7");
	assert_int_equal(put("config", ""), 0);
	assert_int_equal(put("config", "\n\n# nothing\n"), 0);
	assert_int_equal(put("config", "num_memtables=4\nnum_memtables=6\n"), 0);
	assert_option("num_memtables", "6");
	assert_int_equal(put("config", "max_levels=7\n"), 0); /* as it is: no change */
}

static void test_changes_reach_the_engine_and_the_mount(void **state)
{
	char value[64];
	(void)state;
	assert_int_equal(put("config", "mem_table_size=1M\ncommit_age_ms=0\n"), 0);
	assert_int_equal(wombat_get_option(m.db, "mem_table_size", value, sizeof(value)), WOMBAT_OK);
	assert_string_equal(value, "1M");
	assert_int_equal(m.options.commit_age_ms, 0);
}

static void test_bad_lines_change_nothing(void **state)
{
	(void)state;
	assert_refused("config", "num_memtables=9\nnonsense=1\n", EINVAL, "nonsense");
	assert_refused("config", "num_memtables=9\nnonsense\n", EINVAL, "line 2");
	assert_refused("config", "num_memtables=9\n=1\n", EINVAL, "");
	assert_refused("config", "num_memtables=9\nblock_cache_size=lots\n", EINVAL, "lots");
	assert_refused("config", "num_memtables=9\nblock_cache_size=\n", EINVAL, "block_cache_size");
	assert_refused("config", "num_memtables=9\nnum_memtables=0\n", ERANGE, "num_memtables");
	assert_refused("config", "num_memtables=9\nnum_memtables=999999999999999999999\n", ERANGE, "num_memtables");
	assert_refused("config", "num_memtables=9\nmax_levels=5\n", EPERM, "max_levels");
	assert_refused("config", "num_memtables=9\nmax_threads=2\n", EPERM, "max_threads");
	assert_refused("config", "commit_idle_ms=9\nblock_cache_size=lots\n", EINVAL, "lots");
	assert_refused("config", "num_memtables=9\ncommit_idle_ms=soon\n", EINVAL, "soon");
	assert_refused("config", "num_memtables=9\ncommit_age_ms=86400001\n", ERANGE, "commit_age_ms");
	assert_refused("config", "num_level_zero_tables=30\nnum_level_zero_tables_stall=30\n", EINVAL,
		"num_level_zero_tables_stall");
	assert_int_equal(control_write(&m, find("config"), OWNER, "num_memtables=9\0x", 17), EINVAL);
	assert_option("num_memtables", "3");
}

static void test_writes_over_the_limit(void **state)
{
	char text[CONTROL_WRITE_MAX + 2];
	(void)state;
	memset(text, '#', sizeof(text));
	memcpy(text, "num_memtables=9\n", 16);
	text[CONTROL_WRITE_MAX + 1] = '\0';
	assert_refused("config", text, E2BIG, "4096");
	assert_option("num_memtables", "3");
	text[CONTROL_WRITE_MAX] = '\0';
	assert_int_equal(put("config", text), 0);
	assert_option("num_memtables", "9");
}

static void test_only_the_owner_writes(void **state)
{
	(void)state;
	assert_int_equal(control_write(&m, find("config"), STRANGER, "num_memtables=9\n", 16), EACCES);
	assert_int_equal(control_write(&m, find("ctl"), STRANGER, "flush\n", 6), EACCES);
	assert_option("num_memtables", "3");
	assert_int_equal(control_write(&m, find("config"), 0, "num_memtables=9\n", 16), 0);
	assert_option("num_memtables", "9");
	assert_refused("stats", "x\n", EACCES, "stats");
	assert_refused("version", "x\n", EACCES, "version");
	struct control_text text = { 0 };
	assert_int_equal(control_read(&m, find("ctl"), &text), EACCES);
}

/* ---- tune ---- */

static void test_tune(void **state)
{
	(void)state;
	assert_int_equal(put("tune/block_cache_size", "6M\n"), 0);
	assert_option("block_cache_size", "6M");
	assert_int_equal(put("tune/commit_idle_ms", " 12 "), 0);
	assert_option("commit_idle_ms", "12");
	assert_refused("tune/block_cache_size", "lots\n", EINVAL, "lots");
	assert_refused("tune/block_cache_size", "\n", EINVAL, "block_cache_size");
	assert_refused("tune/block_cache_size", "1M\n2M\n", EINVAL, "one value");
	assert_refused("tune/num_memtables", "65\n", ERANGE, "num_memtables");
	assert_refused("tune/max_levels", "5\n", EPERM, "max_levels");
}

/* ---- config.json ---- */

static void test_json_takes_what_it_prints(void **state)
{
	(void)state;
	assert_int_equal(put("config", "block_cache_size=1536K\nbloom_false_positive=0.05\nsync_writes=true\n"), 0);
	char *before = document("config.json"), *plain = document("config");
	assert_true(strlen(before) <= CONTROL_WRITE_MAX);
	cJSON *object = cJSON_Parse(before);
	assert_true(cJSON_IsObject(object));
	assert_true(cJSON_GetObjectItem(object, "block_cache_size")->valuedouble == 1536 * 1024);
	assert_true(cJSON_GetObjectItem(object, "bloom_false_positive")->valuedouble == 0.05);
	assert_true(cJSON_IsTrue(cJSON_GetObjectItem(object, "sync_writes")));
	assert_string_equal(cJSON_GetObjectItem(object, "compression")->valuestring, "none");
	assert_true(cJSON_GetObjectItem(object, "commit_idle_ms")->valuedouble == 5000);
	cJSON_Delete(object);
	assert_int_equal(put("config.json", before), 0);
	char *after = document("config");
	assert_string_equal(plain, after);
	test_free(before);
	test_free(plain);
	test_free(after);
}

static void test_json_is_merged(void **state)
{
	(void)state;
	assert_int_equal(put("config.json", "{\"block_cache_size\": \"9M\", \"num_memtables\": 8, \"sync_writes\": true,\n"
		"\"bloom_false_positive\": 0.02, \"commit_idle_ms\": 3}\n"), 0);
	assert_option("block_cache_size", "9M");
	assert_option("num_memtables", "8");
	assert_option("sync_writes", "true");
	assert_option("bloom_false_positive", "0.02");
	assert_option("commit_idle_ms", "3");
	assert_option("mem_table_size", "64M");
	assert_int_equal(put("config.json", "{}"), 0);
	assert_option("num_memtables", "8");
}

static void test_bad_json_changes_nothing(void **state)
{
	(void)state;
	assert_refused("config.json", "", EINVAL, "JSON");
	assert_refused("config.json", "num_memtables=9\n", EINVAL, "JSON");
	assert_refused("config.json", "{\"num_memtables\": 9", EINVAL, "JSON");
	assert_refused("config.json", "{\"num_memtables\": 9} x", EINVAL, "JSON");
	assert_refused("config.json", "[9]", EINVAL, "object");
	assert_refused("config.json", "9", EINVAL, "object");
	assert_refused("config.json", "{\"num_memtables\": 9, \"nonsense\": 1}", EINVAL, "nonsense");
	assert_refused("config.json", "{\"num_memtables\": 9, \"block_cache_size\": null}", EINVAL, "block_cache_size");
	assert_refused("config.json", "{\"num_memtables\": 9, \"block_cache_size\": {}}", EINVAL, "block_cache_size");
	assert_refused("config.json", "{\"num_memtables\": 9, \"block_cache_size\": [1]}", EINVAL, "block_cache_size");
	assert_refused("config.json", "{\"num_memtables\": 9, \"block_cache_size\": true}", EINVAL, "block_cache_size");
	assert_refused("config.json", "{\"num_memtables\": 0}", ERANGE, "num_memtables");
	assert_refused("config.json", "{\"num_memtables\": 2.5}", EINVAL, "num_memtables");
	assert_refused("config.json", "{\"num_memtables\": 9, \"commit_age_ms\": 1e99}", EINVAL, "commit_age_ms");
	assert_refused("config.json", "{\"num_memtables\": 9, \"max_levels\": 5}", EPERM, "max_levels");
	assert_option("num_memtables", "3");
}

/* ---- ctl ---- */

static void put_some(void)
{
	for (int i = 0; i < 100; i++) {
		char key[32];
		snprintf(key, sizeof(key), "key %03d", i);
		assert_int_equal(wombat_put(m.db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("value")), WOMBAT_OK);
	}
}

static void test_ctl_verbs(void **state)
{
	(void)state;
	put_some();
	assert_true(figure("flushes_total") == 0);
	assert_int_equal(put("ctl", "flush\n"), 0);
	assert_true(figure("flushes_total") == 1);
	assert_true(figure("level.0.files") == 1);
	assert_int_equal(put("ctl", "# not now\n\n"), EINVAL);
	assert_int_equal(put("ctl", "\n  \n"), 0);
	assert_int_equal(put("ctl", "compact"), 0);
	assert_true(figure("level.0.files") == 0);
	put_some();
	assert_int_equal(put("ctl", "flush\ncompact key\\040050 key\\040060\n"), 0);
	assert_int_equal(put("ctl", "pause\npause\nresume\n"), 0);
	assert_int_equal(put("ctl", "compact\n"), 0); /* not paused any more, or this would not return */
	assert_int_equal(put("ctl", "pause\n"), 0);   /* closing resumes */
}

static void test_bad_verbs_do_nothing(void **state)
{
	(void)state;
	put_some();
	assert_refused("ctl", "flush\nnonsense\n", EINVAL, "nonsense");
	assert_refused("ctl", "flush\nFLUSH\n", EINVAL, "FLUSH");
	assert_refused("ctl", "flush\nflush now\n", EINVAL, "flush");
	assert_refused("ctl", "flush\ncompact a\n", EINVAL, "compact");
	assert_refused("ctl", "flush\ncompact a b c\n", EINVAL, "compact");
	assert_refused("ctl", "flush\ncompact a\\4 b\n", EINVAL, "octal");
	assert_refused("ctl", "flush\ncompact a\\777 b\n", EINVAL, "octal");
	assert_true(figure("flushes_total") == 0);
}

/* ---- Statistics ---- */

static void test_stats(void **state)
{
	static const char *const totals[] = { "gets_total", "puts_total", "deletes_total", "scans_total", "get_latency_ns",
		"put_latency_ns", "delete_latency_ns", "cache_hit_ratio", "memory_usage_bytes", "disk_usage_bytes",
		"compactions_total", "write_amplification", "read_amplification", "space_amplification" };
	(void)state;
	put_some();
	mount_count(&m, OP_LOOKUP);
	mount_count(&m, OP_LOOKUP);
	char *text = document("stats");
	cJSON *object = cJSON_Parse(text);
	assert_true(cJSON_IsObject(object));
	assert_string_equal(cJSON_GetObjectItem(object, "schema")->valuestring, "wombat.stats/1");
	assert_true(cJSON_GetObjectItem(object, "time")->valuedouble > 1e9);
	assert_true(cJSON_IsNumber(cJSON_GetObjectItem(object, "uptime")));
	for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++)
		if (!cJSON_IsNumber(cJSON_GetObjectItem(object, totals[i])))
			fail_msg("stats has no %s", totals[i]);
	assert_true(cJSON_GetObjectItem(object, "puts_total")->valuedouble == 100);
	const cJSON *level = cJSON_GetObjectItem(cJSON_GetObjectItem(object, "level"), "0");
	assert_true(cJSON_IsNumber(cJSON_GetObjectItem(level, "files")));
	const cJSON *mount = cJSON_GetObjectItem(object, "mount");
	const cJSON *requests = cJSON_GetObjectItem(mount, "requests");
	assert_int_equal(cJSON_GetArraySize(requests), OP_COUNT);
	assert_true(cJSON_GetObjectItem(requests, "lookup")->valuedouble == 2);
	assert_true(cJSON_GetObjectItem(requests, "copy_file_range")->valuedouble == 0);
	assert_true(cJSON_IsNumber(cJSON_GetObjectItem(mount, "staged_bytes")));
	cJSON_Delete(object);
	test_free(text);
}

/* "wombat_name", letters, digits and underscores. */
static size_t metric_name_size(const char *line)
{
	return strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_");
}

static void assert_sample(const char *line, const char *family)
{
	size_t size = metric_name_size(line);
	assert_int_equal(size, strlen(family));
	assert_int_equal(strncmp(line, family, size), 0);
	const char *at = line + size;
	if (*at == '{') {
		at++;
		size_t label = metric_name_size(at);
		assert_true(label > 0);
		assert_int_equal(strncmp(at + label, "=\"", 2), 0);
		at = strchr(at + label + 2, '"');
		assert_non_null(at);
		assert_int_equal(at[1], '}');
		at += 2;
	}
	char *number_end;
	assert_int_equal(*at, ' ');
	strtod(at + 1, &number_end);
	assert_true(number_end != at + 1 && *number_end == '\0');
}

/* The rules of the text format and of its linter: each family once, HELP then TYPE then samples, counters and only
 * counters in _total, base units. */
static void test_prometheus_format(void **state)
{
	char family[128] = "", seen[65536] = "", key[160];
	bool has_type = false;
	(void)state;
	put_some();
	mount_count(&m, OP_LOOKUP);
	char *text = document("stats.prom"), *rest = NULL;
	size_t size = strlen(text);
	assert_int_equal(text[size - 1], '\n');
	assert_non_null(strstr(text, "\nwombat_mount_requests_total{opcode=\"lookup\"} 1\n"));
	assert_non_null(strstr(text, "\nwombat_level_files{level=\"0\"} 0\n"));
	assert_non_null(strstr(text, "\nwombat_puts_total 100\n"));
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			size_t name = metric_name_size(line + 7);
			assert_int_equal(line[7 + name], ' ');
			assert_true(strlen(line + 8 + name) > 3);
			snprintf(family, sizeof(family), "%.*s", (int)name, line + 7);
			snprintf(key, sizeof(key), "<%s>", family);
			assert_null(strstr(seen, key));
			strcat(seen, key);
			has_type = false;
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			size_t name = strlen(family);
			assert_int_equal(strncmp(line + 7, family, name), 0);
			bool is_counter = strcmp(line + 7 + name, " counter") == 0;
			assert_true(is_counter || strcmp(line + 7 + name, " gauge") == 0);
			bool in_total = name > 6 && strcmp(family + name - 6, "_total") == 0;
			assert_int_equal(is_counter, in_total);
			assert_int_equal(strncmp(family, "wombat_", 7), 0);
			assert_null(strstr(family, "_ns"));
			assert_null(strstr(family, "_ms"));
			assert_true(name < 6 || strcmp(family + name - 6, "_count") != 0);
			has_type = true;
		} else {
			assert_true(has_type);
			assert_sample(line, family);
		}
	}
	test_free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tree),
		TEST(test_last_error),
		TEST(test_config_takes_what_it_prints),
		TEST(test_config_lines),
		TEST(test_changes_reach_the_engine_and_the_mount),
		TEST(test_bad_lines_change_nothing),
		TEST(test_writes_over_the_limit),
		TEST(test_only_the_owner_writes),
		TEST(test_tune),
		TEST(test_json_takes_what_it_prints),
		TEST(test_json_is_merged),
		TEST(test_bad_json_changes_nothing),
		TEST(test_ctl_verbs),
		TEST(test_bad_verbs_do_nothing),
		TEST(test_stats),
		TEST(test_prometheus_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
