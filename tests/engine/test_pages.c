/* Memory in huge pages: whose an address is, sizes, reuse, what goes back, several threads; and the heap where there is none. */
#include "engine/base/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static bool have_pages(void)
{
	void *p = pages_chunk();
	if (p)
		pages_free(p);
	return p;
}

static size_t chunks_used(void)
{
	struct pages_counts n;
	pages_counts(&n);
	return n.chunks_used;
}

/* How much of the chunk is in memory. */
static size_t resident(void *chunk)
{
	unsigned char pages[PAGES_CHUNK / 4096];
	size_t n = 0, count = PAGES_CHUNK / (size_t)sysconf(_SC_PAGESIZE);
	assert_int_equal(mincore(chunk, PAGES_CHUNK, pages), 0);
	for (size_t i = 0; i < count; i++)
		n += pages[i] & 1;
	return n;
}

static void test_whose_an_address_is(void **state)
{
	(void)state;
	int local;
	void *heap = malloc(4096), *chunk = pages_chunk(), *slot = pages_slot(4096);
	assert_false(pages_own(heap) || pages_own(&local) || pages_own(NULL) || pages_own((void *)UINTPTR_MAX));
	if (chunk) {
		assert_true(pages_own(chunk) && pages_own((char *)chunk + PAGES_CHUNK - 1) && pages_own(slot));
		assert_int_equal((uintptr_t)chunk % PAGES_CHUNK, 0);
		pages_free(chunk);
		pages_free(slot);
	}
	free(heap);
}

static void test_sizes(void **state)
{
	(void)state;
	for (size_t size = PAGES_SLOT_MIN; size <= PAGES_SLOT_MAX; size += size < 4000 ? 1 : 61) {
		size_t got = pages_slot_size(size);
		assert_true(got >= size && got <= size + size / 32 + 64);
		assert_int_equal(pages_slot_size(got), got);
		assert_int_equal(got % 64, 0);
	}
	assert_int_equal(pages_slot_size(PAGES_SLOT_MAX), PAGES_SLOT_MAX);
}

/* Slots of one size fill a chunk before they take another one, and the chunk goes when the last one does. */
static void test_a_chunk_is_filled_and_given_back(void **state)
{
	(void)state;
	enum { MANY = 2 * PAGES_CHUNK / 4096 };
	static void *p[MANY];
	if (!have_pages())
		skip();
	size_t before = chunks_used(), per_chunk = (PAGES_CHUNK - 64) / 4096;
	for (size_t i = 0; i < MANY; i++) {
		p[i] = pages_slot(4096);
		assert_non_null(p[i]);
		assert_int_equal(chunks_used() - before, i / per_chunk + 1);
	}
	/* What is given back in the middle is used again before anything new. */
	void *middle = p[7];
	pages_free(middle);
	p[7] = pages_slot(4090);
	assert_ptr_equal(p[7], middle);
	for (size_t i = 0; i < MANY; i++)
		pages_free(p[i]);
	assert_int_equal(chunks_used(), before);
}

/* No more are kept than are in use. */
static void test_chunks_that_are_not_kept_give_their_memory_back(void **state)
{
	(void)state;
	enum { MANY = 40, USED = 10 };
	void *p[MANY];
	struct pages_counts n;
	if (!have_pages())
		skip();
	size_t before = chunks_used();
	for (int i = 0; i < MANY; i++) {
		p[i] = pages_chunk();
		assert_non_null(p[i]);
		memset(p[i], i + 1, PAGES_CHUNK);
		assert_true(resident(p[i]) > 0);
	}
	for (int i = USED; i < MANY; i++)
		pages_free(p[i]);
	size_t left = 0;
	for (int i = USED; i < MANY; i++)
		left += resident(p[i]) > 0;
	pages_counts(&n);
	assert_int_equal(n.chunks_used, before + USED);
	assert_int_equal(n.chunks_kept, before + USED);
	assert_int_equal(left, n.chunks_kept);
	for (int i = 0; i < USED; i++)
		pages_free(p[i]);
	pages_counts(&n);
	assert_int_equal(n.chunks_kept, before);
	/* And are used again before new addresses are. */
	void *again[MANY];
	for (int i = 0; i < MANY; i++) {
		again[i] = pages_chunk();
		int known = 0;
		for (int k = 0; k < MANY; k++)
			known += again[i] == p[k];
		assert_int_equal(known, 1);
		for (int k = 0; k < i; k++)
			assert_ptr_not_equal(again[k], again[i]);
	}
	for (int i = 0; i < MANY; i++)
		pages_free(again[i]);
}

/* What each holds is what was written to it, whatever others do. How much was not: assertions are the main thread's. */
static bool holds(const uint8_t *p, size_t size, uint8_t mark)
{
	for (size_t k = 0; k < size; k += 97)
		if (p[k] != mark)
			return false;
	return p[size - 1] == mark;
}

static void *random_user(void *arg)
{
	enum { HELD = 300, STEPS = 20000 };
	struct {
		uint8_t *p;
		size_t size;
		uint8_t mark;
	} held[HELD] = { 0 };
	uintptr_t wrong = 0;
	struct random_state r;
	random_seed(&r, (uint64_t)(uintptr_t)arg);
	for (int i = 0; i < STEPS; i++) {
		size_t at = (size_t)random_below(&r, HELD);
		if (held[at].p) {
			wrong += !holds(held[at].p, held[at].size, held[at].mark);
			mem_free(held[at].p);
			held[at].p = NULL;
			continue;
		}
		held[at].size = random_below(&r, 200) ? 900 + (size_t)random_below(&r, 9000) : PAGES_CHUNK;
		held[at].mark = (uint8_t)random_next(&r);
		held[at].p = mem_alloc_huge(held[at].size);
		if (held[at].p)
			memset(held[at].p, held[at].mark, held[at].size);
		wrong += !held[at].p || (uintptr_t)held[at].p % 64;
	}
	for (int i = 0; i < HELD; i++)
		mem_free(held[i].p);
	return (void *)wrong;
}

static void test_threads(void **state)
{
	(void)state;
	size_t before = chunks_used();
	uint64_t seed = test_seed("test_pages");
	pthread_t threads[4];
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, random_user, (void *)(seed + i)), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(chunks_used(), before);
}

static _Bool refuse(size_t size)
{
	(void)size;
	return false;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	mem_test_hook = refuse;
	void *slot = mem_alloc_huge(4096), *chunk = mem_alloc_huge(PAGES_CHUNK);
	mem_test_hook = NULL;
	assert_true(!slot && !chunk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose_an_address_is),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_a_chunk_is_filled_and_given_back),
		cmocka_unit_test(test_chunks_that_are_not_kept_give_their_memory_back),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
