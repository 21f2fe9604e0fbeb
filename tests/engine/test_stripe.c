/* Stripes: one for each running thread, given back at its end, and no count lost when there are more threads. */
#include "engine/base/stripe.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tests/support/check.h"

enum { ADDS = 2000 };

static atomic_uint_fast64_t counters[STRIPES];

static uint64_t sum(void)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < STRIPES; i++)
		total += atomic_load_explicit(&counters[i], memory_order_relaxed);
	return total;
}

struct worker {
	pthread_t thread;
	pthread_barrier_t *all;
	unsigned stripe;
	bool changed;
};

/* Counts while all the others run; the barriers keep each of them alive until everybody has a stripe. */
static void *work(void *arg)
{
	struct worker *w = arg;
	w->stripe = stripe_of_thread();
	pthread_barrier_wait(w->all);
	for (unsigned i = 0; i < ADDS; i++) {
		unsigned stripe = stripe_of_thread();
		w->changed |= stripe != w->stripe;
		stripe_add(&counters[stripe], stripe, 1 + i % 3);
	}
	pthread_barrier_wait(w->all);
	return NULL;
}

static void run(struct worker *workers, unsigned count)
{
	pthread_barrier_t all;
	assert_int_equal(pthread_barrier_init(&all, NULL, count), 0);
	for (unsigned i = 0; i < count; i++) {
		workers[i] = (struct worker){ .all = &all };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&all);
}

/* How many have each stripe; the main thread's own included. */
static void tally(const struct worker *workers, unsigned count, unsigned out[STRIPES])
{
	for (unsigned i = 0; i < STRIPES; i++)
		out[i] = 0;
	out[stripe_of_thread()]++;
	for (unsigned i = 0; i < count; i++) {
		assert_true(workers[i].stripe < STRIPES);
		assert_false(workers[i].changed);
		out[workers[i].stripe]++;
	}
}

static void test_one_thread(void **state)
{
	(void)state;
	unsigned stripe = stripe_of_thread();
	uint64_t before = sum();
	assert_true(stripe < STRIPES - 1);
	assert_int_equal(stripe_of_thread(), stripe);
	stripe_add(&counters[stripe], stripe, 5);
	stripe_add(&counters[STRIPES - 1], STRIPES - 1, 7); /* the shared one is added to in another way */
	assert_int_equal(sum(), before + 12);
}

static void test_a_stripe_each(void **state)
{
	(void)state;
	enum { THREADS = STRIPES - 2 }; /* with this one all that are not shared */
	struct worker workers[THREADS];
	unsigned owners[STRIPES];
	uint64_t before = sum();
	run(workers, THREADS);
	tally(workers, THREADS, owners);
	for (unsigned i = 0; i < STRIPES - 1; i++)
		assert_int_equal(owners[i], 1);
	assert_int_equal(owners[STRIPES - 1], 0);
	uint64_t each = 0;
	for (unsigned i = 0; i < ADDS; i++)
		each += 1 + i % 3;
	assert_int_equal(sum(), before + THREADS * each);
}

static void test_more_threads_than_stripes(void **state)
{
	(void)state;
	enum { THREADS = STRIPES + 20 };
	struct worker workers[THREADS];
	unsigned owners[STRIPES];
	uint64_t before = sum(), each = 0;
	run(workers, THREADS);
	tally(workers, THREADS, owners);
	for (unsigned i = 0; i < STRIPES - 1; i++)
		assert_int_equal(owners[i], 1);
	assert_int_equal(owners[STRIPES - 1], THREADS + 1 - (STRIPES - 1)); /* the rest share the last */
	for (unsigned i = 0; i < ADDS; i++)
		each += 1 + i % 3;
	assert_int_equal(sum(), before + THREADS * each);
}

/* Threads that end give theirs back: those that come later, however many in all, have one of their own. */
static void test_given_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * STRIPES; i++) {
		struct worker w;
		run(&w, 1);
		assert_true(w.stripe < STRIPES - 1);
		assert_int_not_equal(w.stripe, stripe_of_thread());
	}
	struct worker workers[STRIPES - 2];
	unsigned owners[STRIPES];
	run(workers, STRIPES - 2);
	tally(workers, STRIPES - 2, owners);
	assert_int_equal(owners[STRIPES - 1], 0);
}

/* A thread that counts when its stripe was given back already, in the destructor of another key, shares the last. */
static pthread_key_t late_key;
static atomic_uint late_stripe;

static void count_late(void *value)
{
	unsigned *rounds = value;
	if (--*rounds) { /* once more, after all others had their turn */
		pthread_setspecific(late_key, rounds);
		return;
	}
	unsigned stripe = stripe_of_thread();
	stripe_add(&counters[stripe], stripe, 1);
	atomic_store(&late_stripe, stripe);
}

static void *end_late(void *arg)
{
	stripe_of_thread();
	pthread_setspecific(late_key, arg);
	return NULL;
}

static void test_at_the_very_end(void **state)
{
	(void)state;
	pthread_t thread;
	unsigned rounds = 3;
	uint64_t before = sum();
	assert_int_equal(pthread_key_create(&late_key, count_late), 0);
	assert_int_equal(pthread_create(&thread, NULL, end_late, &rounds), 0);
	pthread_join(thread, NULL);
	assert_int_equal(rounds, 0);
	assert_int_equal(atomic_load(&late_stripe), STRIPES - 1);
	assert_int_equal(sum(), before + 1);
	pthread_key_delete(late_key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_a_stripe_each),
		cmocka_unit_test(test_more_threads_than_stripes),
		cmocka_unit_test(test_given_back),
		cmocka_unit_test(test_at_the_very_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
