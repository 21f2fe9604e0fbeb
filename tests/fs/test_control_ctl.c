/*
 * fs/control_ctl: which calls of the engine each text leads to, with which keys and in which order. The engine's calls
 * are replaced (-Wl,--wrap) by ones that write down what they are asked, and fail when told to.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "fs/control.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

/* ---- An engine that writes down ---------------------------------------------------------------- */

static struct {
	char calls[4096];          /* "flush;compact 0;compact 1;pause;" */
	uint8_t from[4096], to[4096];
	size_t from_size, to_size; /* of the last compact */
	unsigned passed;           /* calls until one fails; */
	enum wombat_status result; /* with this */
	int inside;                /* calls that run now */
	bool mixed;                /* two did */
} engine;

static enum wombat_status note(const char *call)
{
	size_t size = strlen(engine.calls);
	engine.mixed |= __atomic_add_fetch(&engine.inside, 1, __ATOMIC_SEQ_CST) != 1;
	snprintf(engine.calls + size, sizeof engine.calls - size, "%s;", call);
	enum wombat_status s = WOMBAT_OK;
	if (engine.result != WOMBAT_OK && engine.passed-- == 0) {
		s = engine.result;
		engine.result = WOMBAT_OK;
	}
	__atomic_sub_fetch(&engine.inside, 1, __ATOMIC_SEQ_CST);
	return s;
}

enum wombat_status __wrap_wombat_flush(struct wombat *db);
enum wombat_status __wrap_wombat_compact(struct wombat *db, unsigned keyspace, struct wombat_slice from,
	struct wombat_slice to);
void __wrap_wombat_pause_compaction(struct wombat *db);
void __wrap_wombat_resume_compaction(struct wombat *db);

enum wombat_status __wrap_wombat_flush(struct wombat *db)
{
	(void)db;
	return note("flush");
}

enum wombat_status __wrap_wombat_compact(struct wombat *db, unsigned keyspace, struct wombat_slice from,
					 struct wombat_slice to)
{
	(void)db;
	engine.from_size = from.size;
	engine.to_size = to.size;
	if (from.size)
		memcpy(engine.from, from.data, from.size);
	if (to.size)
		memcpy(engine.to, to.data, to.size);
	return note(keyspace == 0 ? "compact 0" : keyspace == WOMBAT_USER ? "compact 1" : "compact ?");
}

void __wrap_wombat_pause_compaction(struct wombat *db)
{
	(void)db;
	note("pause");
}

void __wrap_wombat_resume_compaction(struct wombat *db)
{
	(void)db;
	note("resume");
}

enum wombat_status __wrap_wombat_reclaim(struct wombat *db);
enum wombat_status __wrap_wombat_reset_stats(struct wombat *db);
enum wombat_status __wrap_wombat_verify(struct wombat *db,
	void (*report)(void *arg, bool is_damage, const char *sentence), void *arg);

enum wombat_status __wrap_wombat_reclaim(struct wombat *db)
{
	(void)db;
	return note("reclaim");
}

enum wombat_status __wrap_wombat_reset_stats(struct wombat *db)
{
	(void)db;
	return note("reset");
}

enum wombat_status __wrap_wombat_verify(struct wombat *db, void (*report)(void *arg, bool is_damage, const char *sentence), void *arg)
{
	(void)db;
	report(arg, false, "all was read");
	enum wombat_status s = note("verify");
	if (s == WOMBAT_CORRUPTION) {
		report(arg, true, "this table is damaged");
		report(arg, true, "and that one");
	}
	return s;
}

static int begin(void **state)
{
	memset(&engine, 0, sizeof engine);
	return fs_mount_setup(state);
}

/* ---- Writing ----------------------------------------------------------------------------------- */

/* As the kernel hands it over: no NUL behind it. */
static int put_bytes(struct fs_mount *f, const void *data, size_t size)
{
	const struct control_entry *ctl = control_find(control_root(&f->m), "ctl");
	char *copy = test_malloc(size ? size : 1);
	memcpy(copy, data, size);
	int error = control_write(&f->m, ctl, FS_MOUNT_UID, copy, size);
	test_free(copy);
	return error;
}

static int put(struct fs_mount *f, const char *text)
{
	return put_bytes(f, text, strlen(text));
}

static void assert_last_error(struct fs_mount *f, const char *word)
{
	struct control_text text = { 0 };
	assert_int_equal(control_read(&f->m, control_find(control_root(&f->m), "last_error"), &text), 0);
	assert_true(control_text_add(&text, "", 1));
	if (!strstr(text.data, word))
		fail_msg("\"%s\" does not have \"%s\"", text.data, word);
	control_text_done(&text);
}

static void assert_calls(struct fs_mount *f, const char *text, const char *calls)
{
	engine.calls[0] = '\0';
	int error = put(f, text);
	if (error)
		fail_msg("\"%s\": %s", text, strerror(error));
	assert_string_equal(engine.calls, calls);
}

static void assert_refused(struct fs_mount *f, const char *text, const char *word)
{
	engine.calls[0] = '\0';
	control_set_error(&f->m, "%s", "");
	assert_int_equal(put(f, text), EINVAL);
	assert_last_error(f, word);
	assert_string_equal(engine.calls, "");
}

static void test_lines(void **state)
{
	struct fs_mount *f = *state;
	assert_calls(f, "", "");
	assert_calls(f, "\n", "");
	assert_calls(f, " \t\r\n\n  \n", "");
	assert_calls(f, "flush", "flush;");
	assert_calls(f, "flush\n", "flush;");
	assert_calls(f, "\tflush \r\n", "flush;");
	assert_calls(f, "flush\n\ncompact\nflush", "flush;compact 0;flush;");
	assert_calls(f, "compact a b\ncompact", "compact 1;compact 0;");
	assert_true(engine.from_size == 0 && engine.to_size == 0);
	assert_calls(f, "compact \t from   to\t", "compact 1;");
	assert_true(engine.from_size == 4 && memcmp(engine.from, "from", 4) == 0);
	assert_true(engine.to_size == 2 && memcmp(engine.to, "to", 2) == 0);
	assert_calls(f, "pause\npause\nresume\nresume\npause\n", "pause;resume;pause;");
}

static void test_upkeep(void **state)
{
	struct fs_mount *f = *state;
	assert_calls(f, "gc\ncheck\nreset-stats\n", "reclaim;verify;reset;");
	engine.result = WOMBAT_BUSY;
	assert_int_equal(put(f, "gc\n"), EBUSY);
	/* Damage: how much, and the first of it. */
	engine.result = WOMBAT_CORRUPTION;
	engine.passed = 0;
	assert_int_equal(put(f, "check\n"), EIO);
	assert_last_error(f, "2 findings");
	assert_last_error(f, "this table is damaged");
	assert_calls(f, "check\n", "verify;");
}

static void test_nothing_is_done_of_a_bad_batch(void **state)
{
	struct fs_mount *f = *state;
	assert_refused(f, "flush\nflushed\n", "flushed");
	assert_refused(f, "flush\nFLUSH", "FLUSH");
	assert_refused(f, "flush flush\n", "flush");
	assert_refused(f, "pause\ncompact a\n", "compact");
	assert_refused(f, "flush\ncompact a b c d\n", "compact");
	assert_refused(f, "flush\nresume all\n", "resume");
	assert_refused(f, "flush; compact\n", "flush;");
	assert_refused(f, "# flush\n", "#");
	/* A verb is what it is to its last byte. */
	assert_refused(f, "flush\\000\n", "flush");
	assert_refused(f, "flush\\000ed\n", "flush");
	assert_refused(f, "compact\\000 a b\n", "compact");
	assert_int_equal(put_bytes(f, "flush\0\n", 7), EINVAL);
	assert_string_equal(engine.calls, "");
	assert_last_error(f, "NUL");
}

/* ---- Keys -------------------------------------------------------------------------------------- */

static void test_bad_escapes(void **state)
{
	static const char *const bad[] = { "\\", "\\0", "\\00", "\\4", "\\400", "\\777", "\\089", "\\0 40",
		"\\x41", "\\n", "\\\\",
		"a\\", "\\04\\0401", "\\1234\\12" };
	struct fs_mount *f = *state;
	char text[64];
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, "flush\ncompact %s z\n", bad[i]);
		assert_refused(f, text, "octal");
		snprintf(text, sizeof text, "flush\ncompact a %s", bad[i]);
		assert_refused(f, text, "octal");
	}
}

/* Every byte can be said, each of most in two ways. */
static void test_keys_are_bytes(void **state)
{
	struct fs_mount *f = *state;
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < 500; i++) {
		uint8_t keys[2][100];
		size_t sizes[2], at = 0;
		char text[1024];
		at += (size_t)snprintf(text, sizeof text, "compact");
		for (int k = 0; k < 2; k++) {
			sizes[k] = 1 + random_below(&r, 100);
			text[at++] = ' ';
			for (size_t j = 0; j < sizes[k]; j++) {
				uint8_t byte = (uint8_t)random_next(&r);
				if (random_below(&r, 3) == 0)
					byte = (uint8_t)('0' + random_below(&r, 8));
				keys[k][j] = byte;
				if (byte <= ' ' || byte == '\\' || random_below(&r, 2))
					at += (size_t)sprintf(text + at, "\\%03o", byte);
				else
					text[at++] = (char)byte;
			}
		}
		engine.calls[0] = '\0';
		assert_int_equal(put_bytes(f, text, at), 0);
		assert_string_equal(engine.calls, "compact 1;");
		assert_true(engine.from_size == sizes[0] && engine.to_size == sizes[1]);
		assert_memory_equal(engine.from, keys[0], sizes[0]);
		assert_memory_equal(engine.to, keys[1], sizes[1]);
	}
}

static void test_the_longest_write(void **state)
{
	struct fs_mount *f = *state;
	char text[CONTROL_WRITE_MAX + 2];
	memset(text, 'k', sizeof text);
	memcpy(text, "compact ", 8);
	text[20] = ' ';
	text[CONTROL_WRITE_MAX + 1] = '\0';
	assert_int_equal(put(f, text), E2BIG);
	assert_string_equal(engine.calls, "");
	text[CONTROL_WRITE_MAX] = '\0';
	assert_calls(f, text, "compact 1;");
	assert_int_equal(engine.to_size, CONTROL_WRITE_MAX - 21);
}

/* ---- Failures ---------------------------------------------------------------------------------- */

static void test_the_first_failure_ends_it(void **state)
{
	static const struct {
		enum wombat_status status;
		int error;
	} cases[] = { { WOMBAT_READ_ONLY, EROFS }, { WOMBAT_NO_SPACE, ENOSPC }, { WOMBAT_IO, EIO },
		{ WOMBAT_CORRUPTION, EIO },
		{ WOMBAT_NO_MEMORY, ENOMEM }, { WOMBAT_INVALID, EINVAL } };
	struct fs_mount *f = *state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		engine.calls[0] = '\0';
		engine.result = cases[i].status;
		engine.passed = 1;
		assert_int_equal(put(f, "flush\ncompact\nflush\npause\n"), cases[i].error);
		assert_string_equal(engine.calls, "flush;compact 0;");
		assert_int_equal(engine.result, WOMBAT_OK);
	}
	assert_calls(f, "resume", ""); /* the pause was not reached */
}

static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	unsigned failed = 0;
	const struct control_entry *ctl = control_find(control_root(&f->m), "ctl");
	for (;; failed++) {
		engine.calls[0] = '\0';
		alloc_fail_arm(failed);
		int error = control_write(&f->m, ctl, 0, "flush\ncompact a b\n", 18);
		if (!alloc_fail_disarm()) {
			assert_int_equal(error, 0);
			break;
		}
		assert_int_equal(error, ENOMEM);
		assert_string_equal(engine.calls, "");
		assert_last_error(f, "out of memory");
	}
	assert_int_equal(failed, 2); /* one copy to judge, one to run */
	assert_string_equal(engine.calls, "flush;compact 1;");
}

/* ---- Several at once ---------------------------------------------------------------------------- */

static void *write_many(void *arg)
{
	struct fs_mount *f = arg;
	const struct control_entry *ctl = control_find(control_root(&f->m), "ctl");
	uintptr_t failures = 0;
	for (int i = 0; i < 30; i++)
		failures += control_write(&f->m, ctl, FS_MOUNT_UID, "pause\nresume\n", 13) != 0;
	return (void *)failures;
}

/* Batches do not mix: each pause is followed by its resume. */
static void test_batches_do_not_mix(void **state)
{
	struct fs_mount *f = *state;
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, f), 0);
	for (int i = 0; i < 4; i++) {
		void *failures;
		assert_int_equal(pthread_join(threads[i], &failures), 0);
		assert_null(failures);
	}
	assert_false(engine.mixed);
	assert_int_equal(strlen(engine.calls), 120 * strlen("pause;resume;"));
	for (const char *at = engine.calls; *at; at += strlen("pause;resume;"))
		assert_int_equal(strncmp(at, "pause;resume;", strlen("pause;resume;")), 0);
}

/* What is paused when the mount ends is resumed, once. */
static void test_the_end_resumes(void **state)
{
	struct fs_mount *f = *state;
	assert_calls(f, "pause\npause\n", "pause;");
	fs_mount_reopen(f);
	assert_string_equal(engine.calls, "pause;resume;");
	assert_calls(f, "resume\n", "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines),
		TEST(test_upkeep),
		TEST(test_nothing_is_done_of_a_bad_batch),
		TEST(test_bad_escapes),
		TEST(test_keys_are_bytes),
		TEST(test_the_longest_write),
		TEST(test_the_first_failure_ends_it),
		TEST(test_failed_allocations),
		TEST(test_batches_do_not_mix),
		TEST(test_the_end_resumes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
