/*
 * Counting from many threads loses nothing, one operation in STATS_SAMPLE is measured and weighs as many, and each failure
 * is counted where its kind belongs.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/db/stats.h"
#include "tests/support/check.h"

enum { THREADS = 8, ADDS = 20000 };

static struct stats *new_stats(void)
{
	struct stats *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
	assert_non_null(s);
	memset(s, 0, sizeof *s);
	return s;
}

static void *add_many(void *arg)
{
	struct stats *s = arg;
	for (unsigned i = 0; i < ADDS; i++) {
		stats_add(s, STAT_GETS, 1);
		stats_add(s, STAT_USER_BYTES, i);
	}
	return NULL;
}

static void test_no_count_is_lost(void **state)
{
	(void)state;
	struct stats *s = new_stats();
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, s), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(stats_sum(s, STAT_GETS), THREADS * ADDS);
	assert_int_equal(stats_sum(s, STAT_USER_BYTES), (uint64_t)THREADS * ADDS * (ADDS - 1) / 2);
	assert_int_equal(stats_sum(s, STAT_PUTS), 0);
	free(s);
}

static void test_sampling(void **state)
{
	(void)state;
	struct stats *s = new_stats();
	/* One operation in STATS_SAMPLE is measured, wherever the thread's count stands. */
	unsigned measured = 0;
	for (unsigned i = 0; i < 10 * STATS_SAMPLE; i++) {
		uint64_t begin = stats_begin();
		measured += begin != 0;
		stats_end(s, LATENCY_GET, begin);
	}
	assert_int_equal(measured, 10);
	assert_true(stats_sum(s, STAT_GET_NS) > 0 && stats_sum(s, STAT_GET_NS) % STATS_SAMPLE == 0);
	assert_int_equal(stats_sum(s, STAT_PUT_NS), 0);
	free(s);
}

static void test_errors_by_kind(void **state)
{
	(void)state;
	struct stats *s = new_stats();
	static const struct { enum wombat_status status; enum stat_counter counter; } errors[] = {
		{ WOMBAT_IO, STAT_ERRORS_IO }, { WOMBAT_NO_SPACE, STAT_ERRORS_NO_SPACE },
		{ WOMBAT_CORRUPTION, STAT_ERRORS_CORRUPTION }, { WOMBAT_NO_MEMORY, STAT_ERRORS_NO_MEMORY },
	};
	for (int status = WOMBAT_OK; status < WOMBAT_STATUS_COUNT; status++)
		stats_error(s, (enum wombat_status)status);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(stats_sum(s, errors[i].counter), 1);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_count_is_lost),
		cmocka_unit_test(test_sampling),
		cmocka_unit_test(test_errors_by_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
