/* The bump allocator: alignment, no overlap, its figure of bytes, requests of any size, and no memory. */
#include "engine/base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static size_t heap_bytes;
static unsigned heap_calls;

static _Bool count_all(size_t size)
{
	heap_bytes += size;
	heap_calls++;
	return 1;
}

static void count_from_here(void)
{
	heap_bytes = heap_calls = 0;
	mem_test_hook = count_all;
}

static void test_unused(void **state)
{
	(void)state;
	struct arena a;
	count_from_here();
	arena_init(&a, 0);
	assert_int_equal(arena_bytes(&a), 0);
	arena_done(&a);
	arena_done(&a);
	mem_test_hook = NULL;
	assert_int_equal(heap_calls, 0);
}

struct piece {
	uint8_t *p;
	size_t size;
};

/* One request of a random kind and size, filled with its number. */
static struct piece take(struct arena *a, struct random_state *r, size_t size_max, unsigned number)
{
	struct piece piece = { .size = random_below(r, size_max + 1) };
	switch (random_below(r, 3)) {
	case 0:
		piece.p = arena_alloc(a, piece.size);
		assert_int_equal((uintptr_t)piece.p % 8, 0);
		break;
	case 1:
		piece.p = arena_alloc_aligned(a, piece.size);
		assert_int_equal((uintptr_t)piece.p % 64, 0);
		break;
	default:
		piece.p = arena_alloc_bytes(a, piece.size);
	}
	assert_non_null(piece.p);
	memset(piece.p, (int)(number & 0xff), piece.size);
	return piece;
}

/* Pieces that overlapped would spoil each other's bytes; those beyond a block are the address sanitizer's. */
static void test_pieces(void **state)
{
	(void)state;
	enum { PIECES = 2000 };
	static const size_t blocks[] = { 64, 100, 1000, 4096, 0 }, size_max[] = { 10, 60, 300, 5000 };
	struct random_state r;
	struct piece *pieces = malloc(PIECES * sizeof *pieces);
	random_seed(&r, test_seed("pieces"));
	for (size_t b = 0; b < 5; b++)
		for (size_t m = 0; m < 4; m++) {
			struct arena a;
			size_t asked = 0;
			arena_init(&a, blocks[b]);
			count_from_here();
			for (unsigned i = 0; i < PIECES; i++) {
				pieces[i] = take(&a, &r, size_max[m], i);
				asked += pieces[i].size;
			}
			mem_test_hook = NULL;
			assert_true(arena_bytes(&a) >= asked);
			assert_int_equal(arena_bytes(&a), heap_bytes); /* the figure is the truth */
			for (unsigned i = 0; i < PIECES; i++)
				for (size_t k = 0; k < pieces[i].size; k++)
					if (pieces[i].p[k] != (uint8_t)i)
						fail_msg("piece %u was overwritten", i);
			arena_done(&a);
			assert_int_equal(arena_bytes(&a), 0);
		}
	free(pieces);
}

/* Small pieces share blocks: a hundred thousand of them cost few calls, and little more than their bytes. */
static void test_few_blocks(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 0);
	count_from_here();
	for (int i = 0; i < 100000; i++)
		if (!arena_alloc(&a, 24))
			break;
	mem_test_hook = NULL;
	assert_true(heap_calls >= 9 && heap_calls <= 11);
	assert_true(arena_bytes(&a) < 2400000 + 300000);
	arena_done(&a);
}

/* A large piece gets a block of its own, and the rest of the current one goes on being used. */
static void test_large_pieces_between(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 4096);
	uint8_t *first = arena_alloc_bytes(&a, 10), *large = arena_alloc_bytes(&a, 100000);
	memset(large, 1, 100000);
	uint8_t *second = arena_alloc_bytes(&a, 10);
	assert_ptr_equal(second, first + 10);
	assert_true(arena_bytes(&a) < 4096 + 100000 + 1000);
	/* Likewise when the large one is the very first. */
	arena_done(&a);
	large = arena_alloc_bytes(&a, 100000);
	memset(large, 1, 100000);
	first = arena_alloc_bytes(&a, 10);
	memset(first, 2, 10);
	assert_int_equal(large[99999], 1);
	arena_done(&a);
}

/* Usable again after the end of its first life. */
static void test_again(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 1000);
	for (int life = 0; life < 3; life++) {
		for (int i = 0; i < 100; i++)
			memset(arena_alloc(&a, 50), life, 50);
		assert_true(arena_bytes(&a) >= 5000 && arena_bytes(&a) < 10000);
		arena_done(&a);
	}
}

static _Bool fail_all(size_t size)
{
	(void)size;
	return 0;
}

static void test_no_memory(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 1000);
	mem_test_hook = fail_all;
	void *none = arena_alloc(&a, 10);
	mem_test_hook = NULL;
	assert_null(none);
	assert_int_equal(arena_bytes(&a), 0);
	uint8_t *p = arena_alloc_bytes(&a, 10);
	size_t bytes = arena_bytes(&a);
	mem_test_hook = fail_all;
	void *large = arena_alloc(&a, 100000), *over = arena_alloc_aligned(&a, 1000);
	uint8_t *fits = arena_alloc_bytes(&a, 900);
	mem_test_hook = NULL;
	assert_true(!large && !over);
	assert_ptr_equal(fits, p + 10); /* what is there goes on being given out */
	assert_int_equal(arena_bytes(&a), bytes);
	assert_non_null(arena_alloc_aligned(&a, 200));
	arena_done(&a);
}

/* Sizes that wrap around when anything is added to them. */
static void test_absurd_sizes(void **state)
{
	(void)state;
	static const size_t sizes[] = {
		SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 63, SIZE_MAX - 64, SIZE_MAX - 127, SIZE_MAX / 2,
	};
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct arena a;
		arena_init(&a, 1000);
		for (int round = 0; round < 2; round++) { /* without a block, then with one */
			assert_null(arena_alloc(&a, sizes[i]));
			assert_null(arena_alloc_aligned(&a, sizes[i]));
			assert_null(arena_alloc_bytes(&a, sizes[i]));
			assert_non_null(arena_alloc_bytes(&a, 3));
		}
		arena_done(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unused),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_few_blocks),
		cmocka_unit_test(test_large_pieces_between),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_absurd_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
