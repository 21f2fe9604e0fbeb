/*
 * fs/feed: readers of every pace against a list of all lines that there were: none is told twice, torn or out of order, and each
 * that is not told is counted; lines that do not fit; threads; memory.
 */
#include "fs/feed.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { CAPACITY = 2000 };

/* The i-th line: its number, and a tail of random length. */
static size_t line_of(uint64_t seed, uint64_t i, char out[512])
{
	struct random_state r;
	random_seed(&r, seed + i);
	int n = sprintf(out, "%" PRIu64 ":", i);
	size_t tail = (size_t)random_below(&r, random_below(&r, 10) ? 60 : 400);
	memset(out + n, 'a' + (int)(i % 26), tail);
	out[(size_t)n + tail] = '\n';
	return (size_t)n + tail + 1;
}

/* What the reader gets is what comes next, but for the lost ones. */
static void expect_next(struct feed *f, struct feed_reader *r, uint64_t seed, uint64_t *next, uint64_t added)
{
	struct control_text text = { 0 };
	uint64_t lost, number;
	assert_int_equal(feed_read(f, r, &text, &lost, &number), 0);
	*next += lost;
	assert_true(*next <= added);
	if (lost)
		assert_int_equal(number, *next - 1); /* numbers are those of the lines here */
	for (size_t at = 0; at < text.size;) {
		char line[512];
		size_t size = line_of(seed, (*next)++, line);
		assert_true(text.size - at >= size);
		assert_memory_equal(text.data + at, line, size);
		at += size;
	}
	control_text_done(&text);
}

static void test_readers(void **state)
{
	enum { READERS = 5, STEPS = 20000 };
	(void)state;
	uint64_t seed = test_seed(__func__), added = 0, bytes = 0, next[READERS] = { 0 };
	struct feed *f = feed_new(CAPACITY, 0);
	struct feed_reader readers[READERS] = { 0 };
	struct random_state r;
	random_seed(&r, seed);
	assert_non_null(f);
	for (int i = 0; i < STEPS; i++) {
		unsigned who = (unsigned)random_below(&r, 40);
		char line[512];
		if (who >= READERS) {
			size_t size = line_of(seed, added, line);
			feed_add(f, added++, line, size);
			bytes += size;
			assert_int_equal(feed_size(f), bytes);
		} else if (random_below(&r, 50) == 0) {
			feed_to_end(f, &readers[who]);
			next[who] = added;
		} else if (random_below(&r, who + 1) == 0) { /* each slower than the one before */
			expect_next(f, &readers[who], seed, &next[who], added);
			assert_int_equal(next[who], added); /* the ring holds less than is given at once */
		}
	}
	feed_free(f);
}

static void test_the_beginning(void **state)
{
	(void)state;
	struct feed *f = feed_new(CAPACITY, 77);
	struct feed_reader r = { 0 };
	struct control_text text = { 0 };
	uint64_t lost, number;
	assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
	assert_true(lost == 0 && number == 77 && text.size == 0 && r.begun);
	feed_add(f, 78, "one\n", 4);
	assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
	assert_true(lost == 0 && number == 77 && text.size == 4);
	assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
	assert_int_equal(text.size, 4);
	control_text_done(&text);
	feed_free(f);
	feed_free(NULL);
}

/* One that is lost takes those before it along: what is found has no gap. */
static void test_lost_lines(void **state)
{
	(void)state;
	char big[CAPACITY];
	struct feed *f = feed_new(CAPACITY, 0);
	struct control_text text = { 0 };
	uint64_t lost, number;
	memset(big, 'b', sizeof big);
	for (int kind = 0; kind < 2; kind++) {
		struct feed_reader r = { 0 };
		feed_to_end(f, &r);
		uint64_t before = feed_size(f);
		feed_add(f, 1, "one\n", 4);
		feed_add(f, 2, kind ? NULL : big, kind ? 0 : sizeof big);
		assert_true(feed_size(f) > before + 4); /* there is something to read: that it is lost */
		feed_add(f, 3, "three\n", 6);
		assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
		assert_true(lost == 2 && number == 2 && text.size == 6 && memcmp(text.data, "three\n", 6) == 0);
		text.size = 0;
		feed_add(f, 4, NULL, 0);
		assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
		assert_true(lost == 1 && number == 4 && text.size == 0);
		/* The largest that fits. */
		feed_add(f, 5, big, sizeof big - 64);
		assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
		assert_true(lost == 0 && text.size == sizeof big - 64);
		text.size = 0;
	}
	control_text_done(&text);
	feed_free(f);
}

/* Without memory the reader stays where it is. */
static void test_failed_allocations(void **state)
{
	(void)state;
	alloc_fail_arm(0);
	struct feed *f = feed_new(CAPACITY, 0);
	assert_true(alloc_fail_disarm() && !f);
	f = feed_new(CAPACITY, 0);
	struct feed_reader r = { 0 };
	struct control_text text = { 0 };
	uint64_t lost, number;
	feed_add(f, 1, "one\n", 4);
	alloc_fail_arm(0);
	assert_int_equal(feed_read(f, &r, &text, &lost, &number), ENOMEM);
	assert_true(alloc_fail_disarm());
	assert_int_equal(text.size, 0);
	assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
	assert_true(text.size == 4 && lost == 0);
	control_text_done(&text);
	feed_free(f);
}

/* ---- Threads ------------------------------------------------------------------------------- */

enum { EACH = 20000 };

static void *add_many(void *arg)
{
	for (int i = 0; i < EACH; i++)
		feed_add(arg, 0, "a line\n", 7);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	struct feed *f = feed_new(CAPACITY, 0);
	struct feed_reader r = { 0 };
	struct control_text text = { 0 };
	uint64_t seen = 0, lost, number;
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, f), 0);
	while (seen < 2 * EACH) {
		assert_int_equal(feed_read(f, &r, &text, &lost, &number), 0);
		assert_int_equal(text.size % 7, 0);
		for (size_t at = 0; at < text.size; at += 7)
			assert_memory_equal(text.data + at, "a line\n", 7);
		seen += lost + text.size / 7;
		text.size = 0;
	}
	assert_int_equal(seen, 2 * EACH);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	control_text_done(&text);
	feed_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_the_beginning),
		cmocka_unit_test(test_lost_lines),
		cmocka_unit_test(test_failed_allocations),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
