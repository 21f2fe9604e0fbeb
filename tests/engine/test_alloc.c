/* The heap's calls: sizes of 0, alignment, zeroes, sizes that wrap around, and the hook of tests. */
#include "engine/base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

static void test_sizes(void **state)
{
	(void)state;
	for (size_t size = 0; size < 300; size++) {
		uint8_t *a = mem_alloc(size), *b = mem_zalloc(size), *c = mem_alloc_aligned(size);
		assert_true(a && b && c && a != b && b != c); /* unique, a size of 0 too */
		memset(a, 1, size);
		memset(c, 3, size);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(b[i], 0);
		assert_int_equal((uintptr_t)a % 8, 0);
		assert_int_equal((uintptr_t)c % 64, 0);
		mem_free(a);
		mem_free(b);
		free(c); /* the two are the same heap */
	}
	mem_free(NULL);
}

static void test_growing(void **state)
{
	(void)state;
	uint8_t *p = mem_realloc(NULL, 0), *q;
	assert_non_null(p);
	for (size_t size = 1; size < 100000; size = size * 3 + 1) {
		p = mem_realloc(p, size);
		assert_non_null(p);
		memset(p + size / 3, (int)(size & 0xff), size - size / 3);
		q = mem_realloc(p, 3 * size);
		assert_non_null(q);
		for (size_t i = size / 3; i < size; i++)
			assert_int_equal(q[i], size & 0xff);
		p = q;
	}
	p = mem_realloc(p, 0); /* smaller, not freed */
	assert_non_null(p);
	mem_free(p);
}

/* Rounding up to whole cache lines would wrap around: refused before the heap is asked. */
static void test_absurd_alignment(void **state)
{
	(void)state;
	for (size_t less = 0; less < 63; less++)
		assert_null(mem_alloc_aligned(SIZE_MAX - less));
}

static size_t last_size;
static unsigned calls;
static bool allow;

static _Bool hook(size_t size)
{
	last_size = size;
	calls++;
	return allow;
}

static void test_hook(void **state)
{
	(void)state;
	void *kept = mem_alloc(10);
	memset(kept, 7, 10);
	calls = 0;
	for (int round = 0; round < 2; round++) {
		allow = round;
		mem_test_hook = hook;
		void *a = mem_alloc(1000), *b, *c, *d;
		bool a_size = last_size == 1000;
		b = mem_zalloc(2000);
		bool b_size = last_size == 2000;
		c = mem_alloc_aligned(3000);
		bool c_size = last_size >= 3000;
		d = mem_realloc(kept, 4000);
		bool d_size = last_size == 4000;
		mem_test_hook = NULL;
		assert_true(a_size && b_size && c_size && d_size);
		assert_true(!a == !allow && !b == !allow && !c == !allow && !d == !allow);
		if (d)
			kept = d;
		assert_int_equal(((uint8_t *)kept)[9], 7); /* a failed growth leaves what was there */
		mem_free(a);
		mem_free(b);
		mem_free(c);
	}
	assert_int_equal(calls, 8);
	void *p = mem_alloc(1);
	assert_int_equal(calls, 8); /* off again */
	mem_free(p);
	mem_free(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_growing),
		cmocka_unit_test(test_absurd_alignment),
		cmocka_unit_test(test_hook),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
