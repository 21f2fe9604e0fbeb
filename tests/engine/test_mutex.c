/*
 * Locks and conditions: exclusion, waking, time-outs, and what builds with assertions refuse: each misuse is tried
 * in a process of its own, which has to end by abort().
 */
#include "engine/base/mutex.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/check.h"

/* Each test looks at values under the lock by turns; the analysis of clang cannot follow a struct through a thread's
 * argument, so what follows is left out of it. */
#ifdef __clang__
#define UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define UNCHECKED
#endif

static uint64_t monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct shared {
	struct mutex mu;
	struct condition changed;
	uint64_t counter;
	unsigned waiting, woken;
	bool go;
};

UNCHECKED static void shared_init(struct shared *s)
{
	*s = (struct shared){ 0 };
	mutex_init(&s->mu, LOCK_RANK_STATE);
	condition_init(&s->changed);
}

UNCHECKED static void shared_done(struct shared *s)
{
	condition_done(&s->changed);
	mutex_done(&s->mu);
}

/* ---- Exclusion ----------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 20000 };

UNCHECKED static void *count(void *arg)
{
	struct shared *s = arg;
	for (int i = 0; i < ROUNDS; i++) {
		mutex_lock(&s->mu);
		mutex_assert_held(&s->mu);
		s->counter++; /* not atomic: only the lock keeps it right */
		mutex_unlock(&s->mu);
	}
	return NULL;
}

UNCHECKED static void test_exclusion(void **state)
{
	(void)state;
	struct shared s;
	pthread_t threads[THREADS];
	shared_init(&s);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, &s), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.counter, THREADS * ROUNDS);
	shared_done(&s);
}

/* ---- Conditions ---------------------------------------------------------------------------- */

UNCHECKED static void *wait_for_go(void *arg)
{
	struct shared *s = arg;
	mutex_lock(&s->mu);
	s->waiting++;
	condition_signal(&s->changed);
	while (!s->go)
		condition_wait(&s->changed, &s->mu);
	mutex_assert_held(&s->mu); /* taken again */
	s->woken++;
	mutex_unlock(&s->mu);
	return NULL;
}

UNCHECKED static void test_broadcast(void **state)
{
	(void)state;
	struct shared s;
	pthread_t threads[THREADS];
	shared_init(&s);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for_go, &s), 0);
	mutex_lock(&s.mu);
	while (s.waiting < THREADS) /* each of them let go of the lock while it waits */
		condition_wait_ns(&s.changed, &s.mu, 1000000);
	assert_int_equal(s.woken, 0);
	s.go = true;
	condition_broadcast(&s.changed);
	mutex_unlock(&s.mu);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.woken, THREADS);
	shared_done(&s);
}

/* Two threads that wake each other by turns. */
UNCHECKED static void *answer(void *arg)
{
	struct shared *s = arg;
	mutex_lock(&s->mu);
	for (int i = 0; i < 1000; i++) {
		while (s->counter % 2 == 0)
			condition_wait(&s->changed, &s->mu);
		s->counter++;
		condition_signal(&s->changed);
	}
	mutex_unlock(&s->mu);
	return NULL;
}

UNCHECKED static void test_turns(void **state)
{
	(void)state;
	struct shared s;
	pthread_t thread;
	shared_init(&s);
	assert_int_equal(pthread_create(&thread, NULL, answer, &s), 0);
	mutex_lock(&s.mu);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(s.counter, 2 * i);
		s.counter++;
		condition_signal(&s.changed);
		while (s.counter % 2) /* a wait so long that its end must not wrap around */
			assert_true(condition_wait_ns(&s.changed, &s.mu, UINT64_MAX));
	}
	mutex_unlock(&s.mu);
	pthread_join(thread, NULL);
	assert_int_equal(s.counter, 2000);
	shared_done(&s);
}

UNCHECKED static void test_time_out(void **state)
{
	(void)state;
	static const uint64_t waits[] = { 0, 1, 999999, 1000000, 3000000 };
	struct shared s;
	shared_init(&s);
	mutex_lock(&s.mu);
	for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
		uint64_t before = monotonic_ns();
		bool signaled = true;
		for (int tries = 0; tries < 100 && signaled; tries++) { /* a wait may end for no reason */
			before = monotonic_ns();
			signaled = condition_wait_ns(&s.changed, &s.mu, waits[i]);
		}
		assert_false(signaled);
		assert_true(monotonic_ns() - before >= waits[i]);
		mutex_assert_held(&s.mu);
	}
	mutex_unlock(&s.mu);
	shared_done(&s);
}

/* ---- Misuse -------------------------------------------------------------------------------- */

UNCHECKED static void in_order(void)
{
	struct mutex a, b, c;
	mutex_init(&a, LOCK_RANK_WRITE);
	mutex_init(&b, LOCK_RANK_STATE);
	mutex_init(&c, LOCK_RANK_ENV);
	mutex_lock(&a);
	mutex_lock(&b);
	mutex_lock(&c);
	mutex_unlock(&a); /* in any order */
	mutex_unlock(&c);
	mutex_lock(&c);
	mutex_unlock(&c);
	mutex_unlock(&b);
	mutex_lock(&a);
	mutex_unlock(&a);
	mutex_done(&a);
	mutex_done(&b);
	mutex_done(&c);
}

UNCHECKED static void against_the_order(void)
{
	struct mutex a, b;
	mutex_init(&a, LOCK_RANK_WRITE);
	mutex_init(&b, LOCK_RANK_STATE);
	mutex_lock(&b);
	mutex_lock(&a);
}

UNCHECKED static void two_of_one_rank(void)
{
	struct mutex a, b;
	mutex_init(&a, LOCK_RANK_CACHE);
	mutex_init(&b, LOCK_RANK_CACHE);
	mutex_lock(&a);
	mutex_lock(&b);
}

UNCHECKED static void twice(void)
{
	struct mutex a;
	mutex_init(&a, LOCK_RANK_CACHE);
	mutex_lock(&a);
	mutex_lock(&a);
}

UNCHECKED static void unlock_unheld(void)
{
	struct mutex a;
	mutex_init(&a, LOCK_RANK_CACHE);
	mutex_unlock(&a);
}

UNCHECKED static void *lock_and_leave(void *arg)
{
	mutex_lock(arg);
	return NULL;
}

UNCHECKED static void unlock_another_threads(void)
{
	static struct mutex a;
	pthread_t thread;
	mutex_init(&a, LOCK_RANK_CACHE);
	if (pthread_create(&thread, NULL, lock_and_leave, &a) == 0 && pthread_join(thread, NULL) == 0)
		mutex_unlock(&a);
}

UNCHECKED static void end_held(void)
{
	struct mutex a;
	mutex_init(&a, LOCK_RANK_CACHE);
	mutex_lock(&a);
	mutex_done(&a);
}

UNCHECKED static void wait_unheld(void)
{
	struct mutex a;
	struct condition c;
	mutex_init(&a, LOCK_RANK_CACHE);
	condition_init(&c);
	condition_wait(&c, &a);
}

/* Whether it aborts in a process of its own. */
static bool aborts(void (*misuse)(void))
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		fclose(stderr); /* what the assertion says is expected */
		misuse();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_misuse(void **state)
{
	(void)state;
	assert_false(aborts(in_order));
#ifdef NDEBUG
	skip(); /* built without assertions: nothing is looked at */
#endif
	assert_true(aborts(against_the_order));
	assert_true(aborts(two_of_one_rank));
	assert_true(aborts(twice));
	assert_true(aborts(unlock_unheld));
	assert_true(aborts(unlock_another_threads));
	assert_true(aborts(end_held));
	assert_true(aborts(wait_unheld));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exclusion),
		cmocka_unit_test(test_broadcast),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_time_out),
		cmocka_unit_test(test_misuse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
