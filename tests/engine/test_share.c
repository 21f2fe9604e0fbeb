/* Pieces of jobs that several threads run: each once, whoever comes, and failures. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/compact/share.h"

static enum wombat_status fail_piece(size_t piece)
{
	return fail(WOMBAT_IO, "piece %zu", piece);
}

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { PIECES = 50 };

struct job {
	atomic_uint runs[PIECES];
	atomic_uint begun;
	size_t fails_from, fails_to; /* pieces that fail */
	unsigned wait_for;           /* the first piece ends only when so many have begun */
};

static enum wombat_status run(void *arg, size_t piece)
{
	struct job *j = arg;
	atomic_fetch_add(&j->runs[piece], 1);
	atomic_fetch_add(&j->begun, 1);
	while (piece == 0 && atomic_load(&j->begun) < j->wait_for)
		sched_yield();
	return piece >= j->fails_from && piece < j->fails_to ? fail_piece(piece) : WOMBAT_OK;
}

static void count_wakes(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static void test_alone(void **state)
{
	(void)state;
	struct share s;
	struct job j = { .begun = 0 };
	atomic_uint wakes = 0;
	share_init(&s, count_wakes, &wakes);
	assert_false(share_help(&s));
	for (size_t count = 0; count <= PIECES; count += 10) {
		const struct share_work work = { run, &j, count };
		memset(&j, 0, sizeof j);
		assert_ok(share_run(&s, &work));
		for (size_t i = 0; i < PIECES; i++)
			assert_int_equal(j.runs[i], i < count);
		assert_false(share_help(&s));
	}
	assert_int_equal(wakes, 5); /* nobody is called for no piece */
	share_done(&s);
}

struct helper {
	struct share *share;
	atomic_bool *stop;
	unsigned helped;
};

static void *help(void *arg)
{
	struct helper *h = arg;
	while (!atomic_load(h->stop)) {
		if (share_help(h->share))
			h->helped++;
		else
			sched_yield();
	}
	return NULL;
}

static void *offer(void *arg)
{
	struct share *s = arg;
	for (int round = 0; round < 50; round++) {
		struct job j = { .begun = 0 };
		const struct share_work work = { run, &j, PIECES };
		assert_ok(share_run(s, &work));
		for (size_t i = 0; i < PIECES; i++)
			assert_int_equal(j.runs[i], 1);
	}
	return NULL;
}

/* Several jobs at once, several helpers: each piece once, and nobody touches a job that has ended. */
static void test_many(void **state)
{
	(void)state;
	enum { HELPERS = 2, OWNERS = 3 };
	struct share s;
	atomic_uint wakes = 0;
	atomic_bool stop = false;
	struct helper helpers[HELPERS];
	pthread_t threads[HELPERS], owners[OWNERS];
	share_init(&s, count_wakes, &wakes);
	for (int i = 0; i < HELPERS; i++) {
		helpers[i] = (struct helper){ &s, &stop, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, help, &helpers[i]), 0);
	}
	for (int i = 0; i < OWNERS; i++)
		assert_int_equal(pthread_create(&owners[i], NULL, offer, &s), 0);
	for (int i = 0; i < OWNERS; i++)
		pthread_join(owners[i], NULL);
	/* A piece that waits for the next ones needs somebody who runs them. */
	struct job j = { .wait_for = PIECES };
	const struct share_work work = { run, &j, PIECES };
	assert_ok(share_run(&s, &work));
	atomic_store(&stop, true);
	unsigned helped = 0;
	for (int i = 0; i < HELPERS; i++) {
		pthread_join(threads[i], NULL);
		helped += helpers[i].helped;
	}
	assert_true(helped > 0);
	share_done(&s);
}

static void test_failures(void **state)
{
	(void)state;
	struct share s;
	atomic_uint wakes = 0;
	struct job j = { .fails_from = 7, .fails_to = PIECES };
	const struct share_work work = { run, &j, PIECES };
	share_init(&s, count_wakes, &wakes);
	assert_status(share_run(&s, &work), WOMBAT_IO);
	assert_string_equal(status_detail(), "piece 7");
	assert_int_equal(j.begun, 8);
	assert_false(share_help(&s)); /* the rest is not offered any more */
	/* Of several that fail the first piece counts, in whatever order they end. */
	atomic_bool stop = false;
	struct helper helper = { &s, &stop, 0 };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, help, &helper), 0);
	memset(&j, 0, sizeof j);
	j.fails_to = 2;
	j.wait_for = 2;
	assert_status(share_run(&s, &work), WOMBAT_IO);
	assert_string_equal(status_detail(), "piece 0");
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	share_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
