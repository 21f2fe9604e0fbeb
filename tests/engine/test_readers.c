/*
 * Sections of reading: who is waited for and who is not, and many threads that read what others replace.
 */
#include "engine/base/readers.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "engine/base/random.h"
#include "tests/support/check.h"

/* ---- One at a time ------------------------------------------------------------------------- */

struct other {
	pthread_t thread;
	pthread_barrier_t step;
};

static void *stay(void *arg)
{
	struct other *o = arg;
	assert_true(readers_enter());
	pthread_barrier_wait(&o->step);
	pthread_barrier_wait(&o->step);
	readers_leave();
	return NULL;
}

static void other_begin(struct other *o)
{
	assert_int_equal(pthread_barrier_init(&o->step, NULL, 2), 0);
	assert_int_equal(pthread_create(&o->thread, NULL, stay, o), 0);
	pthread_barrier_wait(&o->step);
}

static void other_end(struct other *o)
{
	pthread_barrier_wait(&o->step);
	pthread_join(o->thread, NULL);
	pthread_barrier_destroy(&o->step);
}

static void test_own_section(void **state)
{
	(void)state;
	assert_true(readers_gone(readers_stamp()));
	assert_true(readers_enter());
	assert_false(readers_enter()); /* not within another */
	uint64_t stamp = readers_stamp();
	assert_false(readers_gone(stamp));
	readers_leave();
	assert_true(readers_gone(stamp));
	/* A section that begins behind the stamp is not waited for. */
	assert_true(readers_enter());
	assert_true(readers_gone(stamp));
	readers_leave();
}

static void test_other_sections(void **state)
{
	(void)state;
	struct other first, second;
	other_begin(&first);
	uint64_t before = readers_stamp();
	other_begin(&second);
	uint64_t behind = readers_stamp();
	assert_true(!readers_gone(before) && !readers_gone(behind));
	other_end(&first);
	assert_true(readers_gone(before) && !readers_gone(behind));
	other_end(&second);
	assert_true(readers_gone(behind));
}

/* ---- Threads that have no slot ------------------------------------------------------------- */

struct crowd {
	pthread_barrier_t all;
	atomic_uint entered, refused;
};

static void *come(void *arg)
{
	struct crowd *c = arg;
	bool in = readers_enter();
	atomic_fetch_add(in ? &c->entered : &c->refused, 1);
	pthread_barrier_wait(&c->all);
	if (in)
		readers_leave();
	return NULL;
}

static void test_more_threads_than_slots(void **state)
{
	(void)state;
	enum { THREADS = READERS_SLOTS + 10 };
	pthread_t threads[THREADS];
	struct crowd c = { .entered = 0 };
	assert_int_equal(pthread_barrier_init(&c.all, NULL, THREADS), 0);
	assert_true(stripe_of_thread() < READERS_SLOTS);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.entered, READERS_SLOTS - 1); /* this thread has one */
	assert_int_equal(c.refused, THREADS - c.entered);
	pthread_barrier_destroy(&c.all);
	assert_true(readers_gone(readers_stamp()));
}

/* ---- Reading beside replacing -------------------------------------------------------------- */

enum { READERS = 3, REPLACEMENTS = 3000, WAITING_MAX = 8 };

struct thing {
	uint64_t number, twice; /* on the heap: the sanitizers see a use after its end */
};

struct world {
	_Atomic(struct thing *) thing;
	atomic_bool ended;
	atomic_uint wrong, seen;
};

static void *look(void *arg)
{
	struct world *w = arg;
	while (!atomic_load(&w->ended)) {
		if (!readers_enter())
			break;
		const struct thing *t = atomic_load_explicit(&w->thing, memory_order_seq_cst);
		atomic_fetch_add(&w->wrong, t->twice != 2 * t->number);
		readers_leave();
		atomic_fetch_add(&w->seen, 1);
	}
	return NULL;
}

static struct thing *thing_of(uint64_t number)
{
	struct thing *t = malloc(sizeof *t);
	*t = (struct thing){ number, 2 * number };
	return t;
}

static void test_replaced_things(void **state)
{
	(void)state;
	struct world w = { .ended = false };
	struct {
		struct thing *thing;
		uint64_t stamp;
	} waiting[WAITING_MAX];
	unsigned count = 0;
	pthread_t threads[READERS];
	atomic_store(&w.thing, thing_of(0));
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look, &w), 0);
	for (uint64_t n = 1; n <= REPLACEMENTS || atomic_load(&w.seen) < 1000; n++) {
		waiting[count].thing = atomic_exchange_explicit(&w.thing, thing_of(n), memory_order_seq_cst);
		waiting[count++].stamp = readers_stamp();
		while (count == WAITING_MAX) {
			unsigned kept = 0;
			for (unsigned i = 0; i < count; i++) {
				if (readers_gone(waiting[i].stamp)) {
					waiting[i].thing->twice = 1; /* whoever still looks at it sees that */
					free(waiting[i].thing);
				} else {
					waiting[kept++] = waiting[i];
				}
			}
			count = kept;
			if (count == WAITING_MAX)
				sched_yield();
		}
	}
	atomic_store(&w.ended, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(w.wrong, 0);
	for (unsigned i = 0; i < count; i++) {
		assert_true(readers_gone(waiting[i].stamp));
		free(waiting[i].thing);
	}
	free(atomic_load(&w.thing));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_section),
		cmocka_unit_test(test_other_sections),
		cmocka_unit_test(test_more_threads_than_slots),
		cmocka_unit_test(test_replaced_things),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
