/*
 * fs/control_config: random batches through config, config.json and tune against a table of what should be set; that
 * the three agree on every option; documents that are damaged at random, and each failed allocation: what is refused
 * has changed nothing.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "fs/control.h"
#include "fs/options.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

static const struct control_entry *entry(struct fs_mount *f, const char *name)
{
	return control_find(control_root(&f->m), name);
}

static char *read_entry(struct fs_mount *f, const struct control_entry *e)
{
	struct control_text text = { 0 };
	assert_int_equal(control_read(&f->m, e, &text), 0);
	assert_true(control_text_add(&text, "", 1));
	return text.data;
}

static char *document(struct fs_mount *f, const char *name)
{
	return read_entry(f, entry(f, name));
}

/* As the kernel hands it over: no NUL behind it. */
static int put_entry(struct fs_mount *f, const struct control_entry *e, const char *text, size_t size)
{
	char *copy = test_malloc(size ? size : 1);
	memcpy(copy, text, size);
	int error = control_write(&f->m, e, FS_MOUNT_UID, copy, size);
	test_free(copy);
	return error;
}

static int put(struct fs_mount *f, const char *name, const char *text)
{
	return put_entry(f, entry(f, name), text, strlen(text));
}

static const struct control_entry *tune(struct fs_mount *f, const char *name)
{
	return control_find(entry(f, "tune"), name);
}

static void assert_option(struct fs_mount *f, const char *name, const char *value)
{
	char *got = read_entry(f, tune(f, name));
	assert_int_equal(got[strlen(got) - 1], '\n');
	got[strlen(got) - 1] = '\0';
	if (strcmp(got, value) != 0)
		fail_msg("%s is %s, not %s", name, got, value);
	free(got);
}

/* ---- Random batches ---------------------------------------------------------------------------- */

/* Options that any value of which goes with any of the others', as the engine prints it and as JSON has it. */
struct option {
	const char *name, *values[4], *json[4];
};

static const struct option options[] = {
	{ "block_cache_size", { "1M", "1536K", "5M", "1G" }, { "1048576", "\"1536K\"", "5242880", "1073741824" } },
	{ "num_memtables", { "2", "3", "8", "64" }, { "2", "3.0", "\"8\"", "6.4e1" } },
	{ "sync_writes", { "true", "false", "true", "false" }, { "true", "false", "\"true\"", "\"false\"" } },
	{ "bloom_false_positive", { "0.01", "0.02", "0.05", "0.1" }, { "0.01", "\"0.02\"", "5e-2", "0.1" } },
	{ "verify_checksums", { "true", "false", "true", "false" }, { "true", "false", "true", "\"false\"" } },
	{ "commit_idle_ms", { "0", "17", "5000", "86400000" }, { "0", "\"17\"", "5e3", "86400000" } },
	{ "commit_age_ms", { "0", "17", "30000", "86400000" }, { "0", "17", "\"30000\"", "8.64e7" } },
};
enum { OPTIONS = sizeof options / sizeof options[0] };

/* What no batch may have, and what it comes to. */
static const struct {
	const char *name, *value, *json;
	int error;
} bad[] = {
	{ "nonsense", "1", "1", EINVAL },            { "num_memtables", "0", "0", ERANGE },
	{ "num_memtables", "x", "\"x\"", EINVAL },   { "max_levels", "5", "5", EPERM },
	{ "commit_idle_ms", "-1", "-1", EINVAL },    { "commit_age_ms", "86400001", "86400001", ERANGE },
	{ "max_threads", "2", "2", EPERM },          { "sync_writes", "maybe", "\"maybe\"", EINVAL },
	{ "block_cache_size", "", "\"\"", EINVAL },  { "Sync_writes", "true", "true", EINVAL },
	{ "commit_idle_ms", "1 2", "\"1 2\"", EINVAL },
};
enum { BAD = sizeof bad / sizeof bad[0] };

struct table {
	struct fs_mount *f;
	struct random_state random;
	unsigned now[OPTIONS], next[OPTIONS]; /* which value */
};

static const char *random_space(struct table *t)
{
	static const char *const spaces[] = { "", "", " ", "\t", "  " };
	return spaces[random_below(&t->random, 5)];
}

static void add_text(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(char *out, const char *format, ...)
{
	va_list args;
	size_t size = strlen(out);
	va_start(args, format);
	vsnprintf(out + size, CONTROL_WRITE_MAX - size, format, args);
	va_end(args);
}

/* A line or a member. */
static void add_setting(struct table *t, char *out, bool json, const char *name, const char *value,
	const char *json_value)
{
	if (json)
		add_text(out, "%s%s\"%s\"%s:%s", strchr(out, ':') ? "," : "", random_space(t), name,
			random_space(t), json_value);
	else
		add_text(out, "%s%s%s=%s%s%s\n", random_space(t), name, random_space(t), random_space(t), value,
			random_below(&t->random, 2) ? "\r" : random_space(t));
	if (!json && random_below(&t->random, 4) == 0)
		add_text(out, "%s# %s=1\n%s\n", random_space(t), name, random_space(t));
}

static void write_batch(struct table *t)
{
	char text[CONTROL_WRITE_MAX + 1] = "";
	bool json = random_below(&t->random, 2);
	unsigned count = (unsigned)random_below(&t->random, 6), wrong = (unsigned)random_below(&t->random, 2 * BAD);
	unsigned wrong_at = wrong < BAD ? (unsigned)random_below(&t->random, count + 1) : UINT32_MAX;
	memcpy(t->next, t->now, sizeof t->now);
	if (json)
		strcpy(text, "{");
	for (unsigned i = 0; i <= count; i++) {
		unsigned o = (unsigned)random_below(&t->random, OPTIONS), v = (unsigned)random_below(&t->random, 4);
		if (i == wrong_at)
			add_setting(t, text, json, bad[wrong].name, bad[wrong].value, bad[wrong].json);
		if (i == count)
			break;
		add_setting(t, text, json, options[o].name, options[o].values[v], options[o].json[v]);
		t->next[o] = v;
	}
	if (json)
		strcat(text, "}");
	int error = put(t->f, json ? "config.json" : "config", text), expected = wrong < BAD ? bad[wrong].error : 0;
	if (error != expected)
		fail_msg("errno %d, not %d: %s", error, expected, text);
	if (!error)
		memcpy(t->now, t->next, sizeof t->now);
}

static void test_against_a_table(void **state)
{
	struct table t = { .f = *state };
	random_seed(&t.random, test_seed(__func__));
	for (unsigned o = 0; o < OPTIONS; o++)
		assert_int_equal(put_entry(t.f, tune(t.f, options[o].name), options[o].values[0],
			strlen(options[o].values[0])), 0);
	for (unsigned step = test_steps(1000); step; step--) {
		write_batch(&t);
		for (unsigned o = 0; o < OPTIONS; o++)
			assert_option(t.f, options[o].name, options[o].values[t.now[o]]);
	}
	assert_true(t.f->m.options.commit_idle_ms == strtoul(options[5].values[t.now[5]], NULL, 10));
}

/* ---- Three ways to see an option ------------------------------------------------------------------ */

static double number_of(const char *text)
{
	char *end;
	double v = strtod(text, &end);
	for (const char *suffix = "KMGT"; *end && *suffix; suffix++) {
		v *= 1024;
		if (*suffix == *end)
			break;
	}
	return v;
}

static void assert_json_value(const cJSON *item, const char *value)
{
	assert_non_null(item);
	if (cJSON_IsBool(item))
		assert_string_equal(value, cJSON_IsTrue(item) ? "true" : "false");
	else if (cJSON_IsNumber(item))
		assert_true(item->valuedouble == number_of(value));
	else
		assert_string_equal(value, item->valuestring);
}

static void test_the_three_agree(void **state)
{
	struct fs_mount *f = *state;
	char *config = document(f, "config"), *json = document(f, "config.json"), line[256];
	cJSON *object = cJSON_Parse(json);
	const struct control_entry *dir = entry(f, "tune");
	int count = 0;
	for (; dir->children[count]; count++) {
		const char *name = dir->children[count]->name;
		char *value = read_entry(f, dir->children[count]);
		snprintf(line, sizeof line, "\n%s=%s", name, value);
		assert_non_null(strstr(config, line));
		value[strlen(value) - 1] = '\0';
		assert_json_value(cJSON_GetObjectItemCaseSensitive(object, name), value);
		/* What is shown is taken: of a fixed option too, since it changes nothing. */
		assert_int_equal(put_entry(f, dir->children[count], value, strlen(value)), 0);
		free(value);
	}
	assert_int_equal(cJSON_GetArraySize(object), count);
	cJSON_Delete(object);
	char *again = document(f, "config");
	assert_string_equal(config, again);
	free(config);
	free(json);
	free(again);
}

/* ---- Damage ---------------------------------------------------------------------------------------- */

static void damage(struct random_state *r, char *text, size_t *size)
{
	for (size_t i = 1 + random_below(r, 4); i && *size; i--) {
		size_t at = random_below(r, *size);
		switch (random_below(r, 4)) {
		case 0:
			text[at] = (char)random_next(r);
			break;
		case 1:
			memmove(text + at, text + at + 1, --*size - at);
			break;
		case 2:
			text[at] = "{}[]\",:=#\n\\0-e"[random_below(r, 14)];
			break;
		default:
			*size = random_below(r, 8) ? *size : at;
		}
	}
}

/* Taken or refused; what is refused has changed nothing, and says why. */
static void test_damaged_documents(void **state)
{
	static const char *const names[] = { "config", "config.json" };
	struct fs_mount *f = *state;
	struct random_state r;
	unsigned refused = 0;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < 600; i++) {
		const char *name = names[i % 2];
		char *before = document(f, "config"), *text = document(f, name);
		size_t size = strlen(text);
		damage(&r, text, &size);
		control_set_error(&f->m, "%s", "");
		int error = put_entry(f, entry(f, name), text, size);
		char *after = document(f, "config"), *sentence = document(f, "last_error");
		if (error) {
			refused++;
			assert_true(error == EINVAL || error == ERANGE || error == EPERM);
			assert_string_equal(before, after);
			assert_true(strlen(sentence) > 1);
		}
		free(before);
		free(after);
		free(text);
		free(sentence);
	}
	assert_true(refused > 100);
}

static void test_json_of_many_levels(void **state)
{
	struct fs_mount *f = *state;
	char text[CONTROL_WRITE_MAX + 1];
	memset(text, '[', CONTROL_WRITE_MAX);
	text[CONTROL_WRITE_MAX] = '\0';
	assert_int_equal(put(f, "config.json", text), EINVAL);
	memcpy(text, "{\"num_memtables\":", 17);
	assert_int_equal(put(f, "config.json", text), EINVAL);
	/* Said twice: the later one counts, as with lines. */
	assert_int_equal(put(f, "config.json", "{\"num_memtables\": 4, \"num_memtables\": 5}"), 0);
	assert_option(f, "num_memtables", "5");
	assert_int_equal(put(f, "config.json", "{\"num\\u005fmemtables\": \"\\u0036\"}"), 0);
	assert_option(f, "num_memtables", "6");
	assert_int_equal(put(f, "config.json", "{\"\": 1}"), EINVAL);
	assert_int_equal(put(f, "config.json", "{\"num_memtables\": \"7\\u0000\"}"), EINVAL);
}

/* ---- Failures ---------------------------------------------------------------------------------------- */

static void fail_writes(struct fs_mount *f, const struct control_entry *e, const char *text)
{
	unsigned failed = 0;
	for (;; failed++) {
		char *before = document(f, "config");
		alloc_fail_arm(failed);
		int error = control_write(&f->m, e, 0, text, strlen(text));
		bool was_failed = alloc_fail_disarm();
		char *after = document(f, "config");
		if (error)
			assert_string_equal(before, after);
		free(before);
		free(after);
		if (!was_failed || !error) {
			assert_int_equal(error, 0);
			break;
		}
		assert_int_equal(error, ENOMEM);
	}
	assert_true(failed > 0);
}

static void fail_reads(struct fs_mount *f, const struct control_entry *e)
{
	for (unsigned failed = 0;; failed++) {
		struct control_text text = { 0 };
		alloc_fail_arm(failed);
		int error = control_read(&f->m, e, &text);
		bool was_failed = alloc_fail_disarm();
		assert_int_equal(error, was_failed ? ENOMEM : 0);
		control_text_done(&text);
		if (!was_failed) {
			assert_true(failed > 0);
			return;
		}
		assert_null(text.data);
	}
}

static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	fail_reads(f, entry(f, "config"));
	fail_reads(f, tune(f, "num_memtables"));
	fail_writes(f, entry(f, "config"), "num_memtables=9\ncommit_idle_ms=9\nblock_cache_size=9M\n");
	assert_option(f, "num_memtables", "9");
	fail_writes(f, tune(f, "num_memtables"), "10\n");
	fail_reads(f, entry(f, "config.json"));
	fail_writes(f, entry(f, "config.json"),
		"{\"num_memtables\": 11, \"commit_idle_ms\": 11, \"block_cache_size\": \"11M\"}");
	assert_option(f, "block_cache_size", "11M");
	assert_option(f, "commit_idle_ms", "11");
}

/* ---- Several at once ---------------------------------------------------------------------------------- */

struct writer {
	struct fs_mount *f;
	unsigned number;
	int failures;
};

static void *write_pairs(void *arg)
{
	struct writer *w = arg;
	for (unsigned i = 0; i < 50; i++) {
		char text[128];
		struct control_text seen = { 0 };
		unsigned v = 1000 * w->number + i;
		snprintf(text, sizeof text, "commit_idle_ms=%u\nblock_cache_size=%uM\ncommit_age_ms=%u\n", v, 1 + v, v);
		w->failures += control_write(&w->f->m, entry(w->f, "config"), FS_MOUNT_UID, text, strlen(text)) != 0;
		w->failures += control_read(&w->f->m, entry(w->f, "config"), &seen) != 0;
		control_text_done(&seen);
	}
	return NULL;
}

/* Whichever was last, it was so as a whole. */
static void test_batches_do_not_mix(void **state)
{
	struct fs_mount *f = *state;
	struct writer writers[4];
	pthread_t threads[4];
	for (unsigned i = 0; i < 4; i++) {
		writers[i] = (struct writer){ f, i, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, write_pairs, &writers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(writers[i].failures, 0);
	}
	char cache[32];
	assert_int_equal(f->m.options.commit_idle_ms, f->m.options.commit_age_ms);
	assert_int_equal(f->m.options.commit_idle_ms % 1000, 49);
	snprintf(cache, sizeof cache, "%uM", 1 + f->m.options.commit_idle_ms);
	char *got = read_entry(f, tune(f, "block_cache_size"));
	assert_true(number_of(got) == number_of(cache));
	free(got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_against_a_table),
		TEST(test_the_three_agree),
		TEST(test_damaged_documents),
		TEST(test_json_of_many_levels),
		TEST(test_failed_allocations),
		TEST(test_batches_do_not_mix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
