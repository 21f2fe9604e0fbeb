/*
 * Background threads: what is asked for is run, by as many threads as were asked for and no more, and they end.
 *
 * The work is counted: each lane has pieces to do, and a piece may be told to stay until it is let go. All that is
 * waited for is a condition on these counts, so nothing depends on how fast the machine is.
 */
#include "engine/compact/scheduler.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "tests/support/check.h"

/* ---- Threads are counted, and starting one may fail ------------------------------------------ */

static unsigned left; /* so many allocations or starts succeed; then one fails */
static bool armed, creation_fails;

static struct {
	pthread_mutex_t mu;
	pthread_cond_t changed;
	unsigned count; /* guarded by mu */
} alive = { .mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void alive_change(int by)
{
	pthread_mutex_lock(&alive.mu);
	alive.count += (unsigned)by;
	pthread_cond_broadcast(&alive.changed);
	pthread_mutex_unlock(&alive.mu);
}

static void wait_for_threads(unsigned n)
{
	pthread_mutex_lock(&alive.mu);
	while (alive.count != n)
		pthread_cond_wait(&alive.changed, &alive.mu);
	pthread_mutex_unlock(&alive.mu);
}

struct body {
	void *(*run)(void *arg);
	void *arg;
};

static void *run_counted(void *arg)
{
	struct body body = *(struct body *)arg;
	free(arg);
	void *result = body.run(body.arg);
	alive_change(-1);
	return result;
}

int __real_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	if (creation_fails && armed && left-- == 0) {
		armed = false;
		return EAGAIN;
	}
	struct body *body = malloc(sizeof(*body));
	if (!body)
		return ENOMEM;
	*body = (struct body){ run, arg };
	alive_change(1);
	int error = __real_pthread_create(out, attr, run_counted, body);
	if (error) {
		alive_change(-1);
		free(body);
	}
	return error;
}

/* ---- The work -------------------------------------------------------------------------------- */

struct bench {
	struct scheduler *s;
	pthread_mutex_t mu;
	pthread_cond_t changed;
	/* All guarded by mu. */
	unsigned todo[LANE_COUNT], done[LANE_COUNT], inside[LANE_COUNT], calls[LANE_COUNT];
	bool held[LANE_COUNT];         /* a piece stays inside until this is false */
	bool late[LANE_COUNT];         /* a piece comes when a thread has just found none */
	unsigned most[LANE_COUNT];     /* inside at once */
	char names[LANE_COUNT][16];    /* of the last thread */
	bool signals_open;             /* some thread had a signal unblocked */
};

static void changed(struct bench *b)
{
	pthread_cond_broadcast(&b->changed);
}

static void look_at_thread(struct bench *b, enum scheduler_lane lane)
{
	sigset_t mask;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	b->signals_open |= !sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR1);
	pthread_getname_np(pthread_self(), b->names[lane], sizeof(b->names[lane]));
}

static bool run(void *arg, enum scheduler_lane lane)
{
	struct bench *b = arg;
	pthread_mutex_lock(&b->mu);
	look_at_thread(b, lane);
	b->calls[lane]++;
	bool work = b->todo[lane] > 0;
	if (work) {
		b->todo[lane]--;
		if (++b->inside[lane] > b->most[lane])
			b->most[lane] = b->inside[lane];
		changed(b);
		while (b->held[lane])
			pthread_cond_wait(&b->changed, &b->mu);
		b->inside[lane]--;
		b->done[lane]++;
	}
	bool late = !work && b->late[lane];
	if (late) {
		b->late[lane] = false;
		b->todo[lane]++;
	}
	changed(b);
	pthread_mutex_unlock(&b->mu);
	if (late)
		scheduler_wake(b->s, lane);
	return work;
}

static void bench_init(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->mu, NULL);
	pthread_cond_init(&b->changed, NULL);
}

static enum wombat_status start(struct bench *b, unsigned compactors, unsigned interval_ms)
{
	struct scheduler_work work = { run, b };
	return scheduler_new(&work, compactors, interval_ms, &b->s);
}

static void bench_done(struct bench *b)
{
	scheduler_free(b->s);
	assert_int_equal(alive.count, 0);
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->mu);
}

enum { NEVER_MS = 3600 * 1000 };

static void add(struct bench *b, enum scheduler_lane lane, unsigned pieces)
{
	pthread_mutex_lock(&b->mu);
	b->todo[lane] += pieces;
	pthread_mutex_unlock(&b->mu);
	scheduler_wake(b->s, lane);
}

static void hold(struct bench *b, enum scheduler_lane lane, bool held)
{
	pthread_mutex_lock(&b->mu);
	b->held[lane] = held;
	changed(b);
	pthread_mutex_unlock(&b->mu);
}

/* Waits until a count of the lane is at least `n`. */
static void wait_for(struct bench *b, const unsigned *count, unsigned n)
{
	pthread_mutex_lock(&b->mu);
	while (*count < n)
		pthread_cond_wait(&b->changed, &b->mu);
	pthread_mutex_unlock(&b->mu);
}

static unsigned count_of(struct bench *b, const unsigned *count)
{
	pthread_mutex_lock(&b->mu);
	unsigned n = *count;
	pthread_mutex_unlock(&b->mu);
	return n;
}

/* ---- Running --------------------------------------------------------------------------------- */

static void test_each_lane_runs(void **state)
{
	(void)state;
	static const char *const names[LANE_COUNT] = { "wombat-flush", "wombat-compact", "wombat-upkeep" };
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 2, NEVER_MS));
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		add(&b, (enum scheduler_lane)lane, 20); /* one wake for many pieces */
		wait_for(&b, &b.done[lane], 20);
	}
	scheduler_free(b.s); /* before that a thread that looks once more may still note its name */
	b.s = NULL;
	for (int lane = 0; lane < LANE_COUNT; lane++)
		assert_string_equal(b.names[lane], names[lane]);
	assert_false(b.signals_open);
	bench_done(&b);
}

/* The threads look for work that was there before them. */
static void test_work_before_the_start(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		b.todo[lane] = 3;
	assert_ok(start(&b, 1, NEVER_MS));
	for (int lane = 0; lane < LANE_COUNT; lane++)
		wait_for(&b, &b.done[lane], 3);
	bench_done(&b);
}

/* A wake that comes while a thread finds nothing to do is not lost. */
static void test_wake_between_looking_and_sleeping(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		b.late[lane] = true;
	assert_ok(start(&b, 1, NEVER_MS));
	for (int lane = 0; lane < LANE_COUNT; lane++)
		wait_for(&b, &b.done[lane], 1);
	bench_done(&b);
}

struct producer {
	struct bench *b;
	unsigned pieces;
};

static void *produce(void *arg)
{
	struct producer *p = arg;
	for (unsigned i = 0; i < p->pieces; i++)
		add(p->b, (enum scheduler_lane)(i % LANE_COUNT), 1);
	return NULL;
}

/* Every piece is done, though each is announced once. */
static void test_many_wakes(void **state)
{
	(void)state;
	enum { PRODUCERS = 3, PIECES = 900 };
	struct bench b;
	pthread_t threads[PRODUCERS];
	struct producer p = { &b, PIECES };
	bench_init(&b);
	assert_ok(start(&b, 3, NEVER_MS));
	for (unsigned i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, produce, &p), 0);
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		wait_for(&b, &b.done[lane], PRODUCERS * PIECES / LANE_COUNT);
	bench_done(&b);
	assert_true(b.most[LANE_FLUSH] == 1 && b.most[LANE_UPKEEP] == 1 && b.most[LANE_COMPACT] <= 3);
}

/* Compactions that take long, on all their threads, hold up neither flushes nor upkeep. */
static void test_lanes_do_not_wait_for_each_other(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 2, NEVER_MS));
	hold(&b, LANE_COMPACT, true);
	add(&b, LANE_COMPACT, 5);
	wait_for(&b, &b.inside[LANE_COMPACT], 2);
	add(&b, LANE_FLUSH, 4);
	add(&b, LANE_UPKEEP, 4);
	wait_for(&b, &b.done[LANE_FLUSH], 4);
	wait_for(&b, &b.done[LANE_UPKEEP], 4);
	assert_int_equal(count_of(&b, &b.done[LANE_COMPACT]), 0);
	hold(&b, LANE_COMPACT, false);
	wait_for(&b, &b.done[LANE_COMPACT], 5);
	bench_done(&b);
	assert_int_equal(b.most[LANE_COMPACT], 2);
}

/* ---- Upkeep ---------------------------------------------------------------------------------- */

static void test_upkeep_runs_by_itself(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 1, 1));
	wait_for(&b, &b.calls[LANE_UPKEEP], 6);
	/* The others sleep until woken: one look each. */
	assert_true(count_of(&b, &b.calls[LANE_FLUSH]) <= 1);
	assert_true(count_of(&b, &b.calls[LANE_COMPACT]) <= 1);
	bench_done(&b);
}

/* A shorter interval does not wait for the end of the long one. */
static void test_interval_changes(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 1, NEVER_MS));
	wait_for(&b, &b.calls[LANE_UPKEEP], 1);
	scheduler_set_interval(b.s, 1);
	wait_for(&b, &b.calls[LANE_UPKEEP], 6);
	scheduler_set_interval(b.s, NEVER_MS);
	scheduler_wake(b.s, LANE_UPKEEP);
	bench_done(&b);
}

/* ---- The number of threads ------------------------------------------------------------------- */

/* Fills all threads of the lane and says how many there are, with one piece more than fits in. */
static void assert_compactors(struct bench *b, unsigned n)
{
	pthread_mutex_lock(&b->mu);
	unsigned done = b->done[LANE_COMPACT];
	b->held[LANE_COMPACT] = true;
	b->most[LANE_COMPACT] = 0;
	pthread_mutex_unlock(&b->mu);
	add(b, LANE_COMPACT, n + 1);
	wait_for(b, &b->inside[LANE_COMPACT], n);
	hold(b, LANE_COMPACT, false);
	wait_for(b, &b->done[LANE_COMPACT], done + n + 1);
	assert_int_equal(count_of(b, &b->most[LANE_COMPACT]), n);
}

static void test_number_of_compactors(void **state)
{
	(void)state;
	static const unsigned numbers[] = { 1, 4, 7, 2, 2, 16, 1 };
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 3, NEVER_MS));
	assert_compactors(&b, 3);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		assert_ok(scheduler_set_compactors(b.s, numbers[i]));
		wait_for_threads(LANE_COUNT - 1 + numbers[i]); /* those too many leave, though nobody wakes them */
		assert_compactors(&b, numbers[i]);
	}
	bench_done(&b);
}

/* Without threads work stays where it is, until there are some. */
static void test_no_compactors(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 0, NEVER_MS));
	add(&b, LANE_COMPACT, 3);
	add(&b, LANE_FLUSH, 1);
	wait_for(&b, &b.done[LANE_FLUSH], 1);
	assert_int_equal(count_of(&b, &b.calls[LANE_COMPACT]), 0);
	assert_ok(scheduler_set_compactors(b.s, 1));
	wait_for(&b, &b.done[LANE_COMPACT], 3);
	bench_done(&b);
}

/* Threads that are too many finish their piece; raising the number again before they do keeps them. */
static void test_fewer_while_working(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(start(&b, 4, NEVER_MS));
	hold(&b, LANE_COMPACT, true);
	add(&b, LANE_COMPACT, 9);
	wait_for(&b, &b.inside[LANE_COMPACT], 4);
	assert_ok(scheduler_set_compactors(b.s, 0));
	assert_int_equal(count_of(&b, &b.inside[LANE_COMPACT]), 4);
	assert_ok(scheduler_set_compactors(b.s, 4));
	hold(&b, LANE_COMPACT, false);
	wait_for(&b, &b.done[LANE_COMPACT], 9);
	assert_compactors(&b, 4);
	/* And this time they leave: what is not begun stays. */
	hold(&b, LANE_COMPACT, true);
	add(&b, LANE_COMPACT, 6);
	wait_for(&b, &b.inside[LANE_COMPACT], 4);
	assert_ok(scheduler_set_compactors(b.s, 0));
	hold(&b, LANE_COMPACT, false);
	wait_for_threads(LANE_COUNT - 1);
	bench_done(&b);
	assert_int_equal(b.done[LANE_COMPACT], 9 + 5 + 4);
	assert_int_equal(b.todo[LANE_COMPACT], 2);
}

/* ---- The end --------------------------------------------------------------------------------- */

static void *let_go_later(void *arg)
{
	struct bench *b = arg;
	for (int lane = 0; lane < LANE_COUNT; lane++)
		hold(b, (enum scheduler_lane)lane, false);
	return NULL;
}

/* Pieces under way are waited for; those that have not begun stay. */
static void test_stop_while_working(void **state)
{
	(void)state;
	struct bench b;
	pthread_t other;
	bench_init(&b);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		b.held[lane] = true;
	assert_ok(start(&b, 2, NEVER_MS));
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		add(&b, (enum scheduler_lane)lane, 2);
		wait_for(&b, &b.inside[lane], lane == LANE_COMPACT ? 2 : 1);
	}
	assert_int_equal(pthread_create(&other, NULL, let_go_later, &b), 0);
	scheduler_free(b.s);
	b.s = NULL;
	for (int lane = 0; lane < LANE_COUNT; lane++) {
		assert_int_equal(b.inside[lane], 0);
		assert_int_equal(b.done[lane] + b.todo[lane], 2);
		assert_true(b.done[lane] >= 1);
	}
	pthread_join(other, NULL);
	bench_done(&b);
}

static void test_stop_while_waiting(void **state)
{
	(void)state;
	scheduler_free(NULL);
	for (unsigned i = 0; i < 50; i++) {
		struct bench b;
		bench_init(&b);
		assert_ok(start(&b, i % 5, NEVER_MS));
		if (i % 2) /* else while they start */
			wait_for(&b, &b.calls[LANE_UPKEEP], 1);
		bench_done(&b);
	}
}

/* ---- Failures -------------------------------------------------------------------------------- */

static _Bool fail_allocation(size_t size)
{
	(void)size;
	if (!armed || left-- > 0)
		return 1;
	armed = false;
	return 0;
}

/* The n-th allocation, or the n-th start of a thread, fails. */
static void arm(bool threads, unsigned n)
{
	left = n;
	armed = true;
	creation_fails = threads;
	mem_test_hook = threads ? NULL : fail_allocation;
}

static bool disarm(void)
{
	bool made = !armed;
	mem_test_hook = NULL;
	creation_fails = armed = false;
	return made;
}

/* What could not be started whole is not there at all: no thread runs work for a caller that has no scheduler. */
static void test_start_fails(void **state)
{
	(void)state;
	for (int threads = 0; threads < 2; threads++)
		for (unsigned n = 0;; n++) {
			struct bench b;
			bench_init(&b);
			for (int lane = 0; lane < LANE_COUNT; lane++)
				b.todo[lane] = 1;
			arm(threads, n);
			enum wombat_status s = start(&b, 3, NEVER_MS);
			if (!disarm()) {
				assert_ok(s);
				bench_done(&b);
				assert_int_equal(n, threads ? 5 : 6); /* the threads, and the scheduler itself */
				break;
			}
			assert_true(s == WOMBAT_NO_MEMORY || threads);
			assert_true(s != WOMBAT_OK && wombat_last_error()[0]);
			assert_null(b.s);
			for (int lane = 0; lane < LANE_COUNT; lane++)
				assert_int_equal(b.calls[lane], 0);
			bench_done(&b);
		}
}

/* Those that could be started are there, and the next try makes up for the rest. */
static void test_more_compactors_fail(void **state)
{
	(void)state;
	for (int threads = 0; threads < 2; threads++) {
		struct bench b;
		bench_init(&b);
		assert_ok(start(&b, 1, NEVER_MS));
		arm(threads, 2);
		enum wombat_status s = scheduler_set_compactors(b.s, 6);
		assert_true(disarm());
		assert_true(s != WOMBAT_OK && wombat_last_error()[0]);
		assert_compactors(&b, 3);
		assert_ok(scheduler_set_compactors(b.s, 6));
		assert_compactors(&b, 6);
		bench_done(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_lane_runs),
		cmocka_unit_test(test_work_before_the_start),
		cmocka_unit_test(test_wake_between_looking_and_sleeping),
		cmocka_unit_test(test_many_wakes),
		cmocka_unit_test(test_lanes_do_not_wait_for_each_other),
		cmocka_unit_test(test_upkeep_runs_by_itself),
		cmocka_unit_test(test_interval_changes),
		cmocka_unit_test(test_number_of_compactors),
		cmocka_unit_test(test_no_compactors),
		cmocka_unit_test(test_fewer_while_working),
		cmocka_unit_test(test_stop_while_working),
		cmocka_unit_test(test_stop_while_waiting),
		cmocka_unit_test(test_start_fails),
		cmocka_unit_test(test_more_compactors_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
