/* The two brakes, on a clock that moves only when somebody sleeps. */
#include "engine/base/random.h"
#include "engine/compact/throttle.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { MS = 1000000 };
#define SECOND UINT64_C(1000000000)

static uint64_t now, longest_sleep;
static atomic_bool cancelled;
static bool cancel_in_sleep;
static struct throttle *raised_in_sleep; /* its limit is lifted while somebody sleeps */

static uint64_t clock_now(struct env *env)
{
	(void)env;
	return now;
}

static void clock_sleep(struct env *env, uint64_t ns)
{
	(void)env;
	now += ns;
	longest_sleep = ns > longest_sleep ? ns : longest_sleep;
	if (cancel_in_sleep)
		atomic_store(&cancelled, true);
	if (raised_in_sleep)
		throttle_set_rate(raised_in_sleep, 0);
}

static struct env *clock_env(void)
{
	static const struct env_calls calls = { .monotonic_ns = clock_now, .sleep_ns = clock_sleep };
	static struct env env = { &calls };
	now = 1000 * SECOND;
	longest_sleep = 0;
	cancel_in_sleep = false;
	raised_in_sleep = NULL;
	atomic_store(&cancelled, false);
	return &env;
}

/* Whatever the pieces, what passes in some seconds is the rate times these, and a short burst. */
static void test_rate(void **state)
{
	(void)state;
	struct random_state random;
	random_seed(&random, test_seed("rate"));
	for (uint64_t rate = 1000; rate < UINT64_C(1) << 36; rate *= 7) {
		struct throttle t;
		throttle_init(&t, clock_env(), rate);
		uint64_t begin = now, passed = 0;
		while (now < begin + 5 * SECOND) {
			uint64_t piece = 1 + random_below(&random, rate / 3);
			throttle_take(&t, piece, NULL);
			passed += piece;
		}
		double expected = (double)rate * (double)(now - begin) / 1e9;
		/* The last piece has passed and is paid for by the next. */
		assert_true((double)passed > 0.98 * expected && (double)passed < 1.02 * expected + (double)rate / 3);
		assert_true(longest_sleep <= 100 * MS);
		assert_true(throttle_waited_ns(&t) > 0);
		throttle_done(&t);
	}
}

static void test_no_limit(void **state)
{
	(void)state;
	struct throttle t;
	throttle_init(&t, clock_env(), 0);
	uint64_t begin = now;
	for (int i = 0; i < 1000; i++)
		throttle_take(&t, UINT64_C(1) << 40, NULL);
	assert_true(now == begin && throttle_waited_ns(&t) == 0);
	throttle_done(&t);
}

/* Time in which nothing was taken is credit for 20 ms, not for more. */
static void test_burst(void **state)
{
	(void)state;
	struct throttle t;
	throttle_init(&t, clock_env(), 1000000);
	now += 60 * SECOND;
	uint64_t begin = now;
	throttle_take(&t, 20000, NULL); /* 20 ms of it */
	throttle_take(&t, 1, NULL);
	assert_int_equal(now, begin);
	throttle_take(&t, 500000, NULL);
	throttle_take(&t, 1, NULL);
	assert_true(now >= begin + 490 * MS && now <= begin + 510 * MS);
	throttle_done(&t);
}

static void test_changes_reach_who_waits(void **state)
{
	(void)state;
	struct throttle t;
	throttle_init(&t, clock_env(), 1000);
	throttle_take(&t, 100000, NULL); /* books 100 seconds */
	uint64_t begin = now;
	raised_in_sleep = &t;
	throttle_take(&t, 1, NULL);
	assert_true(now - begin <= 100 * MS);
	throttle_done(&t);

	throttle_init(&t, clock_env(), 1000);
	throttle_take(&t, 100000, NULL);
	begin = now;
	cancel_in_sleep = true;
	throttle_take(&t, 1, &cancelled);
	assert_true(now - begin <= 100 * MS);
	throttle_done(&t);
}

/* Slower and slower towards the stop, by whichever is worse, and never a stop before its limit. */
static void test_stalls(void **state)
{
	(void)state;
	struct stall_input in = { .memtables_max = 3, .slow_files = 10, .stop_files = 20,
				  .pending_slow_bytes = 1000, .pending_stop_bytes = 2000 };
	uint64_t delay, last = 0;
	const char *reason;
	assert_int_equal(stall_decide(&in, &delay, &reason), STALL_NONE);
	assert_true(delay == 0 && *reason == 0);
	for (in.level_zero_files = 0; in.level_zero_files <= 25; in.level_zero_files++) {
		enum stall_kind kind = stall_decide(&in, &delay, &reason);
		enum stall_kind wanted = in.level_zero_files < 10 ? STALL_NONE : in.level_zero_files < 20 ? STALL_SLOW : STALL_STOP;
		assert_int_equal(kind, wanted);
		assert_int_equal(delay > 0, kind == STALL_SLOW);
		if (kind == STALL_SLOW) {
			assert_true(delay > last);
			last = delay;
		}
	}
	in.level_zero_files = 10;
	stall_decide(&in, &last, &reason);
	in.pending_bytes = 1900;
	assert_int_equal(stall_decide(&in, &delay, &reason), STALL_SLOW);
	assert_true(delay > last);
	in.pending_bytes = 2000;
	assert_int_equal(stall_decide(&in, &delay, &reason), STALL_STOP);
	in.pending_bytes = in.level_zero_files = 0;
	in.memtables_waiting = 2;
	assert_int_equal(stall_decide(&in, &delay, &reason), STALL_NONE);
	in.memtables_waiting = 3;
	assert_int_equal(stall_decide(&in, &delay, &reason), STALL_STOP);
	assert_non_null(strstr(reason, "flush"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate), cmocka_unit_test(test_no_limit), cmocka_unit_test(test_burst),
		cmocka_unit_test(test_changes_reach_who_waits), cmocka_unit_test(test_stalls),
	};
	return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}
