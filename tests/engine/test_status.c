/* The sentence about a failure: each thread's own, as long as it may be, and what the system's errors become. */
#include "engine/base/status.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Before cmocka, which has a macro of that name. */
static enum wombat_status tell(enum wombat_status status, const char *text, int number)
{
	return fail(status, "%s: block at %d", text, number);
}

#include "tests/support/check.h"

static void test_sentence(void **state)
{
	(void)state;
	assert_int_equal(tell(WOMBAT_CORRUPTION, "000012.sst", 4096), WOMBAT_CORRUPTION);
	assert_string_equal(wombat_last_error(), "000012.sst: block at 4096");
	assert_ptr_equal(wombat_last_error(), status_detail());
	assert_int_equal(tell(WOMBAT_IO, "other", -1), WOMBAT_IO);
	assert_string_equal(status_detail(), "other: block at -1"); /* the last one only */
	status_set_detail("100 %s of it"); /* no format */
	assert_string_equal(status_detail(), "100 %s of it");
	status_set_detail("");
	assert_string_equal(status_detail(), "");
}

static void test_sentence_about_a_sentence(void **state)
{
	(void)state;
	status_set_detail("the cause");
	tell(WOMBAT_IO, status_detail(), 7);
	assert_string_equal(status_detail(), "the cause: block at 7");
	fail_errno(EIO, "again %s", status_detail());
	assert_non_null(strstr(status_detail(), "again the cause: block at 7: "));
	status_set_detail(status_detail());
	assert_non_null(strstr(status_detail(), "again the cause: block at 7: "));
}

static void test_long_sentences(void **state)
{
	(void)state;
	static char text[5000];
	for (size_t size = 400; size < sizeof text; size += size < 530 ? 1 : 1000) {
		memset(text, 'x', size);
		text[size] = 0;
		status_set_detail(text);
		assert_int_equal(strlen(status_detail()), size < 512 ? size : 511);
		/* A long name leaves room for what the system says. */
		fail_errno(ENOSPC, "writing %s", text);
		assert_non_null(strstr(status_detail(), strerror(ENOSPC)));
		assert_true(strlen(status_detail()) < 512);
	}
}

static void test_errors_of_the_system(void **state)
{
	(void)state;
	static const struct {
		int error;
		enum wombat_status status;
	} errors[] = {
		{ ENOSPC, WOMBAT_NO_SPACE }, { EDQUOT, WOMBAT_NO_SPACE }, { ENOMEM, WOMBAT_NO_MEMORY },
		{ ENOENT, WOMBAT_NOT_FOUND }, { EIO, WOMBAT_IO }, { EACCES, WOMBAT_IO }, { EROFS, WOMBAT_IO },
		{ EMFILE, WOMBAT_IO }, { EEXIST, WOMBAT_IO }, { 0, WOMBAT_IO }, { 123456, WOMBAT_IO },
		{ -1, WOMBAT_IO },
	};
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
		char want[200];
		assert_int_equal(fail_errno(errors[i].error, "opening %s", "f"), errors[i].status);
		snprintf(want, sizeof want, "opening f: %s", strerror(errors[i].error));
		assert_string_equal(status_detail(), want);
	}
	assert_int_equal(fail_no_memory(), WOMBAT_NO_MEMORY);
	assert_string_equal(status_detail(), "out of memory");
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(wombat_status_name(WOMBAT_OK), "ok");
	assert_string_equal(wombat_status_name(WOMBAT_NOT_FOUND), "not_found");
	assert_string_equal(wombat_status_name(WOMBAT_NO_SPACE), "no_space");
	assert_string_equal(wombat_status_name(WOMBAT_IO), "io");
	assert_string_equal(wombat_status_name(WOMBAT_CORRUPTION), "corruption");
	assert_string_equal(wombat_status_name(WOMBAT_STATUS_COUNT), "unknown");
	assert_string_equal(wombat_status_name((enum wombat_status)-1), "unknown");
	for (unsigned i = 0; i < WOMBAT_STATUS_COUNT; i++) /* each has a name of its own */
		for (unsigned k = 0; k <= i; k++) {
			const char *a = wombat_status_name((enum wombat_status)i);
			const char *b = wombat_status_name((enum wombat_status)k);
			assert_int_equal(strcmp(a, b) == 0, i == k);
			assert_string_not_equal(a, "unknown");
		}
}

/* ---- Threads ------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 3000 };

struct worker {
	unsigned number, wrong;
	bool began_empty;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	w->began_empty = *status_detail() == 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		char want[64];
		int number = (int)(w->number * ROUNDS + i);
		tell(WOMBAT_IO, w->number % 2 ? "odd" : "even", number);
		snprintf(want, sizeof want, "%s: block at %d", w->number % 2 ? "odd" : "even", number);
		w->wrong += strcmp(want, wombat_last_error()) != 0;
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	struct worker workers[THREADS];
	status_set_detail("of the first thread");
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .number = i };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_true(workers[i].began_empty);
		assert_int_equal(workers[i].wrong, 0);
	}
	assert_string_equal(status_detail(), "of the first thread");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sentence),
		cmocka_unit_test(test_sentence_about_a_sentence),
		cmocka_unit_test(test_long_sentences),
		cmocka_unit_test(test_errors_of_the_system),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
