/*
 * fs/control_stats: the documents against the list of statistics they are made of: the engine's own, and lists made
 * here of awkward names and values (-Wl,--wrap=wombat_stats).
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"

/* ---- The engine's list, or one of ours --------------------------------------------------------- */

static const struct wombat_stat *ours; /* NULL: the engine's */
static size_t our_count;
static enum wombat_status result;

enum wombat_status __real_wombat_stats(struct wombat *db,
	void (*each)(void *arg, const struct wombat_stat *stat), void *arg);
enum wombat_status __wrap_wombat_stats(struct wombat *db,
	void (*each)(void *arg, const struct wombat_stat *stat), void *arg);

enum wombat_status __wrap_wombat_stats(struct wombat *db,
	void (*each)(void *arg, const struct wombat_stat *stat), void *arg)
{
	if (result != WOMBAT_OK)
		return result;
	if (!ours)
		return __real_wombat_stats(db, each, arg);
	for (size_t i = 0; i < our_count; i++)
		each(arg, &ours[i]);
	return WOMBAT_OK;
}

static int begin(void **state)
{
	ours = NULL;
	result = WOMBAT_OK;
	return fs_mount_setup(state);
}

static const struct control_entry *entry(struct fs_mount *f, const char *name)
{
	return control_find(control_root(&f->m), name);
}

static char *document(struct fs_mount *f, const char *name)
{
	struct control_text text = { 0 };
	assert_int_equal(control_read(&f->m, entry(f, name), &text), 0);
	assert_true(control_text_add(&text, "", 1));
	return text.data;
}

static void assert_line(const char *text, const char *line)
{
	size_t size = strlen(line);
	for (const char *at = text; at && *at; at = strchr(at, '\n') + 1)
		if (strncmp(at, line, size) == 0 && at[size] == '\n')
			return;
	fail_msg("no line \"%s\" in:\n%s", line, text);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

/* No name twice in any object. */
static void assert_unique(const cJSON *object)
{
	for (const cJSON *a = object->child; a; a = a->next) {
		for (const cJSON *b = a->next; b; b = b->next)
			if (strcmp(a->string, b->string) == 0)
				fail_msg("\"%s\" twice", a->string);
		if (cJSON_IsObject(a))
			assert_unique(a);
	}
}

static const cJSON *by_path(const cJSON *object, const char *path)
{
	char part[128];
	const char *dot;
	for (; object && (dot = strchr(path, '.')) != NULL; path = dot + 1) {
		snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
		object = cJSON_GetObjectItemCaseSensitive(object, part);
	}
	return object ? cJSON_GetObjectItemCaseSensitive(object, path) : NULL;
}

static void find_in_json(void *arg, const struct wombat_stat *stat)
{
	const cJSON *item = by_path(arg, stat->name);
	if (!item)
		item = cJSON_GetObjectItemCaseSensitive(arg, stat->name);
	if (!cJSON_IsNumber(item))
		fail_msg("%s is not in the document", stat->name);
}

static void test_json_has_all_of_the_engines(void **state)
{
	struct fs_mount *f = *state;
	for (int i = 0; i < 3; i++) {
		assert_ok(wombat_put(f->m.db, WOMBAT_USER, WOMBAT_STR("key"), WOMBAT_STR("value")));
		assert_ok(wombat_flush(f->m.db));
	}
	char *text = document(f, "stats");
	cJSON *object = cJSON_Parse(text);
	assert_non_null(object);
	assert_unique(object);
	assert_ok(wombat_stats(f->m.db, find_in_json, object));
	assert_true(by_path(object, "flushes_total")->valuedouble == 3);
	assert_true(by_path(object, "uptime")->valuedouble >= 0);
	cJSON_Delete(object);
	free(text);
}

static void test_json_of_awkward_names(void **state)
{
	static const struct wombat_stat list[] = {
		{ .name = "plain", .value = 1, .is_integer = true },
		{ .name = "a.b.c", .value = 2, .is_integer = true },
		{ .name = "a.b.d", .value = 2.5 }, { .name = "a.e", .value = 9007199254740992, .is_integer = true },
		{ .name = "plain.below", .value = 3, .is_integer = true }, { .name = "level.0.files", .value = 4 },
		{ .name = "level.10.files", .value = 5 }, { .name = "A.b.c", .value = 6 },
		{ .name = "inf", .value = INFINITY }, { .name = "nan", .value = NAN },
	};
	struct fs_mount *f = *state;
	ours = list;
	our_count = sizeof list / sizeof list[0];
	char *text = document(f, "stats");
	cJSON *object = cJSON_Parse(text);
	assert_non_null(object);
	assert_unique(object);
	for (size_t i = 0; i < our_count - 2; i++) {
		const cJSON *item = by_path(object, list[i].name);
		if (strcmp(list[i].name, "plain.below") == 0) /* its place is taken: it stands under its whole name */
			item = cJSON_GetObjectItemCaseSensitive(object, list[i].name);
		if (!cJSON_IsNumber(item) || item->valuedouble != list[i].value)
			fail_msg("%s in:\n%s", list[i].name, text);
	}
	assert_true(cJSON_IsNull(by_path(object, "inf")) &&
		    cJSON_IsNull(by_path(object, "nan"))); /* JSON has neither */
	assert_non_null(strstr(text, "9007199254740992"));
	cJSON_Delete(object);
	free(text);
}

static void test_the_mounts_own(void **state)
{
	struct fs_mount *f = *state;
	char path[64], line[128];
	for (int op = 0; op < OP_COUNT; op++) {
		assert_non_null(mount_opcode_name[op]);
		for (int i = 0; i <= op; i++)
			mount_count(&f->m, op);
	}
	f->m.counts.staged_bytes = 1234567;
	f->m.counts.errors = 17;
	char *json = document(f, "stats"), *prometheus = document(f, "stats.prom");
	cJSON *object = cJSON_Parse(json);
	assert_int_equal(cJSON_GetArraySize(by_path(object, "mount.requests")), OP_COUNT); /* the names differ */
	for (int op = 0; op < OP_COUNT; op++) {
		snprintf(path, sizeof path, "mount.requests.%s", mount_opcode_name[op]);
		assert_true(by_path(object, path)->valuedouble == op + 1);
		snprintf(line, sizeof line, "wombat_mount_requests_total{opcode=\"%s\"} %d",
			mount_opcode_name[op], op + 1);
		assert_line(prometheus, line);
	}
	assert_true(by_path(object, "mount.staged_bytes")->valuedouble == 1234567);
	assert_line(prometheus, "wombat_mount_staged_bytes 1234567");
	assert_line(prometheus, "# TYPE wombat_mount_staged_bytes gauge");
	assert_line(prometheus, "wombat_mount_errors_total 17");
	assert_line(prometheus, "# TYPE wombat_mount_errors_total counter");
	f->m.counts.staged_bytes = 0;
	cJSON_Delete(object);
	free(json);
	free(prometheus);
}

/* ---- Prometheus --------------------------------------------------------------------------------- */

static void test_names_and_units(void **state)
{
	static const struct wombat_stat list[] = {
		{ .name = "gets_total", .value = 3, .is_integer = true, .is_counter = true, .help = "Reads" },
		{ .name = "get.time_ns", .value = 2.5e9, .is_integer = true, .is_counter = true,
		  .help = "Time\\of\nreads" },
		{ .name = "wait_ns", .value = 1, .is_integer = true, .help = "Waits" },
		{ .name = "level.0.files", .value = 1, .is_integer = true, .help = "Files" },
		{ .name = "other", .value = 0.1 },
		{ .name = "level.1.files", .value = 9007199254740991, .is_integer = true },
		{ .name = "level.0.bytes", .value = 7, .is_integer = true },
		{ .name = "plus", .value = INFINITY }, { .name = "minus", .value = -INFINITY },
		{ .name = "not", .value = NAN },
	};
	struct fs_mount *f = *state;
	ours = list;
	our_count = sizeof list / sizeof list[0];
	char *text = document(f, "stats.prom");
	assert_line(text, "# HELP wombat_gets_total Reads");
	assert_line(text, "# TYPE wombat_gets_total counter");
	assert_line(text, "wombat_gets_total 3");
	assert_line(text, "# HELP wombat_get_time_seconds_total Time\\\\of\\nreads");
	assert_line(text, "wombat_get_time_seconds_total 2.5");
	assert_line(text, "wombat_wait_seconds 1e-09");
	assert_line(text, "# TYPE wombat_wait_seconds gauge");
	assert_line(text, "wombat_other 0.1");
	assert_line(text, "# HELP wombat_other The statistic other");
	assert_line(text, "wombat_plus +Inf");
	assert_line(text, "wombat_minus -Inf");
	assert_line(text, "wombat_not NaN");
	/* A family's samples stand together, in the order in which they came. */
	assert_non_null(strstr(text, "# HELP wombat_level_files Files\n# TYPE wombat_level_files gauge\n"
		"wombat_level_files{level=\"0\"} 1\nwombat_level_files{level=\"1\"} 9007199254740991\n# HELP "));
	assert_line(text, "wombat_level_bytes{level=\"0\"} 7");
	free(text);
}

/* Cut short, never beyond their room. */
static void test_long_names_and_helps(void **state)
{
	static char name[400], help[1000];
	struct fs_mount *f = *state;
	memset(name, 'n', sizeof name - 1);
	memset(help, '\\', sizeof help - 1);
	struct wombat_stat list[] = { { .name = name, .value = 1, .help = help, .is_counter = true },
		{ .name = "next", .value = 2 } };
	ours = list;
	our_count = 2;
	char *text = document(f, "stats.prom");
	assert_line(text, "wombat_next 2");
	const char *at = strstr(text, "# HELP wombat_nnn");
	assert_non_null(at);
	size_t backslashes = strspn(strchr(at, '\\'), "\\");
	assert_true(backslashes > 200 && backslashes % 2 == 0); /* no half of an escape */
	free(text);
	name[200] = '.';
	text = document(f, "stats");
	cJSON *object = cJSON_Parse(text);
	assert_true(cJSON_IsObject(object));
	cJSON_Delete(object);
	free(text);
}

/* ---- Failures ------------------------------------------------------------------------------------ */

static void *hooked_malloc(size_t size)
{
	return malloc(size); /* linked statically: it can fail */
}

/* ---- Text -------------------------------------------------------------------------------------- */

static void test_text(void **state)
{
	static const struct wombat_stat list[] = {
		{ .name = "puts_total", .value = 12345678901, .is_integer = true, .is_counter = true },
		{ .name = "level.0.score", .value = 0.25 },
	};
	struct fs_mount *f = *state;
	ours = list;
	our_count = 2;
	char *text = document(f, "stats.txt");
	assert_line(text, "puts_total 12345678901");
	assert_line(text, "level.0.score 0.25");
	assert_line(text, "mount.commits 0");
	assert_non_null(strstr(text, "mount.uptime_seconds "));
	/* A name and a figure in each line, no name twice. */
	for (char *line = text, *end; *line; line = end + 1) {
		char name[128], again[130];
		double value;
		end = strchr(line, '\n');
		assert_non_null(end);
		assert_int_equal(sscanf(line, "%127s %lf", name, &value), 2);
		snprintf(again, sizeof again, "\n%s ", name);
		assert_null(strstr(end, again));
	}
	free(text);
}

/* The mount's own counters begin anew with the engine's; what is a state stays. */
static void test_reset(void **state)
{
	struct fs_mount *f = *state;
	struct mount_counts *c = &f->m.counts;
	atomic_fetch_add(&c->requests[OP_READ], 7);
	atomic_fetch_add(&c->bytes_read, 4096);
	atomic_fetch_add(&c->open_files, 3);
	assert_int_equal(control_write(&f->m, entry(f, "ctl"), FS_MOUNT_UID, "reset-stats\n", 12), 0);
	atomic_fetch_add(&c->bytes_read, 10);
	char *text = document(f, "stats.txt");
	assert_line(text, "mount.requests.read 0");
	assert_line(text, "mount.bytes_read 10");
	assert_line(text, "mount.open_files 3");
	assert_line(text, "puts_total 0");
	free(text);
	atomic_fetch_sub(&c->open_files, 3);
}

/* Out of memory is said, wherever it is met; nothing is shown in part. */
static void fail_each_allocation(struct fs_mount *f, const char *name, unsigned least)
{
	cJSON_Hooks hooks = { hooked_malloc, free };
	unsigned failed = 0;
	cJSON_InitHooks(&hooks);
	for (;; failed++) {
		struct control_text text = { 0 };
		alloc_fail_arm(failed);
		int error = control_read(&f->m, entry(f, name), &text);
		bool was_failed = alloc_fail_disarm();
		if (!was_failed) {
			assert_int_equal(error, 0);
			control_text_done(&text);
			break;
		}
		assert_int_equal(error, ENOMEM);
		assert_null(text.data);
	}
	cJSON_InitHooks(NULL);
	assert_true(failed >= least);
}

static void test_failed_allocations(void **state)
{
	static const struct wombat_stat list[] = { { .name = "a.b", .value = 1 }, { .name = "a.c", .value = 2 },
		{ .name = "d" } };
	struct fs_mount *f = *state;
	ours = list;
	our_count = 3;
	fail_each_allocation(f, "stats", 100);
	fail_each_allocation(f, "stats.prom", 3);
	fail_each_allocation(f, "stats.txt", 1);
}

static void test_the_engine_fails(void **state)
{
	struct fs_mount *f = *state;
	struct control_text text = { 0 };
	result = WOMBAT_IO;
	assert_int_equal(control_read(&f->m, entry(f, "stats"), &text), EIO);
	assert_int_equal(control_read(&f->m, entry(f, "stats.prom"), &text), EIO);
	assert_int_equal(control_read(&f->m, entry(f, "stats.txt"), &text), EIO);
	assert_null(text.data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_json_has_all_of_the_engines),
		TEST(test_json_of_awkward_names),
		TEST(test_the_mounts_own),
		TEST(test_names_and_units),
		TEST(test_long_names_and_helps),
		TEST(test_text),
		TEST(test_reset),
		TEST(test_failed_allocations),
		TEST(test_the_engine_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
