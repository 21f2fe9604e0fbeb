/*
 * fs/log: what reaches stderr and what syslog, whole and in one piece, from libfuse as well. The C library's syslog is
 * replaced by one that keeps what it is given.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define FUSE_USE_VERSION 314
#include <fuse_log.h>

#include "fs/log.h"
#include "tests/support/check.h"

/* ---- A syslog that remembers ----------------------------------------------------------------- */

static struct {
	int priority, count;
	char ident[32], message[4096];
	int option, facility;
} logged;

static void keep(int priority, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void keep(int priority, const char *format, va_list args)
{
	logged.priority = priority;
	logged.count++;
	vsnprintf(logged.message, sizeof logged.message, format, args);
}

void openlog(const char *ident, int option, int facility)
{
	snprintf(logged.ident, sizeof logged.ident, "%s", ident);
	logged.option = option;
	logged.facility = facility;
}

/* With _FORTIFY_SOURCE the calls go to the second name. */
#undef syslog
void syslog(int priority, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	keep(priority, format, args);
	va_end(args);
}

void __syslog_chk(int priority, int flag, const char *format, ...) __attribute__((format(printf, 3, 4)));
void __syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list args;
	(void)flag;
	va_start(args, format);
	keep(priority, format, args);
	va_end(args);
}

/* ---- stderr into a file ---------------------------------------------------------------------- */

static int saved = -1, file = -1;

static void catch_stderr(void)
{
	char path[] = "/tmp/wombat-log.XXXXXX";
	fflush(stderr);
	file = mkstemp(path);
	assert_true(file >= 0);
	assert_int_equal(unlink(path), 0);
	/* As a terminal or a log would have it: every write goes behind the others. */
	assert_int_equal(fcntl(file, F_SETFL, O_APPEND), 0);
	saved = dup(STDERR_FILENO);
	assert_true(saved >= 0 && dup2(file, STDERR_FILENO) >= 0);
}

/* What came since, test_free'd by the caller. */
static char *caught(void)
{
	fflush(stderr);
	off_t size = lseek(file, 0, SEEK_END);
	char *text = test_malloc((size_t)size + 1);
	assert_int_equal(pread(file, text, (size_t)size, 0), size);
	text[size] = '\0';
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(file);
	return text;
}

#define assert_caught(expected) \
	do { \
		char *text_ = caught(); \
		assert_string_equal(text_, expected); \
		test_free(text_); \
	} while (0)

/* ---- stderr -------------------------------------------------------------------------------- */

static void test_sentences_have_a_name_and_a_line(void **state)
{
	(void)state;
	catch_stderr();
	log_error("cannot open %s: %d", "/x", 5);
	log_note("%s", "");
	log_note("100%% of %zu%c", (size_t)7, '.');
	assert_caught("wombatfs: cannot open /x: 5\nwombatfs: \nwombatfs: 100% of 7.\n");
	assert_int_equal(logged.count, 0);
}

/* A message too long is cut, and its line still ends. */
static void test_long_messages(void **state)
{
	static const size_t sizes[] = { 2046, 2047, 2048, 5000 };
	(void)state;
	char *long_text = test_calloc(1, 5001);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		memset(long_text, 'x', sizes[i]);
		long_text[sizes[i]] = '\0';
		catch_stderr();
		log_error("%s", long_text);
		log_error("next");
		char *text = caught(), *end = strchr(text, '\n');
		assert_non_null(end);
		assert_int_equal(end - text, strlen("wombatfs: ") + (sizes[i] < 2047 ? sizes[i] : 2047));
		assert_string_equal(end + 1, "wombatfs: next\n");
		test_free(text);
	}
	test_free(long_text);
}

static void *log_many(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_error("%s %s %s", (const char *)arg, (const char *)arg, (const char *)arg);
	return NULL;
}

/* Each in one write: the lines of several threads do not mix. */
static void test_lines_stay_whole(void **state)
{
	static const char *const words[] = { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "b", "cccccccc", "dddddddddddddddd" };
	pthread_t threads[4];
	int lines = 0;
	(void)state;
	catch_stderr();
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)(uintptr_t)words[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	char *text = caught(), *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), lines++) {
		char expected[256];
		const char *word = words[line[10] - 'a'];
		snprintf(expected, sizeof expected, "wombatfs: %s %s %s", word, word, word);
		assert_string_equal(line, expected);
	}
	assert_int_equal(lines, 2000);
	test_free(text);
}

/* A closed stderr is no reason to fail. */
static void test_nowhere_to_write(void **state)
{
	(void)state;
	catch_stderr();
	close(STDERR_FILENO);
	log_error("nobody reads this");
	assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
	log_error("but this");
	assert_caught("wombatfs: but this\n");
}

/* ---- libfuse --------------------------------------------------------------------------------- */

static void test_libfuse_takes_the_same_way(void **state)
{
	(void)state;
	log_adopt_libfuse();
	catch_stderr();
	fuse_log(FUSE_LOG_ERR, "fuse: bad mount point `%s'\n", "/x");
	fuse_log(FUSE_LOG_WARNING, "two\n\n");
	fuse_log(FUSE_LOG_NOTICE, "no newline %d", 3);
	fuse_log(FUSE_LOG_DEBUG, "   unique: %d", 4);
	fuse_log(FUSE_LOG_INFO, ", opcode\n");
	fuse_log(FUSE_LOG_ERR, "\n");
	assert_caught("wombatfs: fuse: bad mount point `/x'\nwombatfs: two\nwombatfs: no newline 3\n   unique: 4, opcode\n"
		"wombatfs: \n");
}

/* A format longer than is looked at is not cut within a conversion. */
static void test_a_long_format_of_libfuse(void **state)
{
	char format[600];
	(void)state;
	memset(format, 'x', sizeof format);
	for (size_t at = 250; at < 262; at += 2)
		memcpy(format + at, "%s", 2);
	memcpy(format + 590, "\n", 2);
	log_adopt_libfuse();
	catch_stderr();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	fuse_log(FUSE_LOG_ERR, format, "1", "2", "3", "4", "5", "6");
#pragma GCC diagnostic pop
	char *text = caught();
	assert_non_null(strstr(text, "x123456x"));
	assert_int_equal(strlen(text), strlen("wombatfs: ") + 590 - 6 + 1);
	assert_int_equal(text[strlen(text) - 1], '\n');
	test_free(text);
}

/* ---- syslog: the last of them, since there is no way back -------------------------------------- */

static void assert_logged(int priority, const char *message)
{
	assert_int_equal(logged.priority, priority);
	assert_string_equal(logged.message, message);
}

static void test_syslog(void **state)
{
	(void)state;
	log_to_syslog();
	assert_string_equal(logged.ident, "wombatfs");
	assert_int_equal(logged.facility, LOG_DAEMON);
	assert_true(logged.option & LOG_PID);
	catch_stderr();
	log_error("bad: %d", 1);
	assert_logged(LOG_ERR, "bad: 1");
	log_note("%s", "100%s of %n"); /* text is never a format again */
	assert_logged(LOG_NOTICE, "100%s of %n");
	fuse_log(FUSE_LOG_ERR, "fuse: %s\n", "bad");
	assert_logged(LOG_ERR, "fuse: bad");
	fuse_log(FUSE_LOG_WARNING, "fuse: hm\n");
	assert_logged(LOG_NOTICE, "fuse: hm");
	assert_int_equal(logged.count, 4);
	assert_caught("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sentences_have_a_name_and_a_line),
		cmocka_unit_test(test_long_messages),
		cmocka_unit_test(test_lines_stay_whole),
		cmocka_unit_test(test_nowhere_to_write),
		cmocka_unit_test(test_libfuse_takes_the_same_way),
		cmocka_unit_test(test_a_long_format_of_libfuse),
		cmocka_unit_test(test_syslog),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
