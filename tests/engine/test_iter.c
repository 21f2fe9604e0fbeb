/* The iterator over nothing: never positioned, and its status stays through every move. */
#include "engine/iter/iter.h"

#include "engine/base/alloc.h"
#include "tests/support/check.h"

static void assert_nothing(const struct iter *it, enum wombat_status status)
{
	assert_false(it->valid);
	assert_int_equal(it->status, status);
}

static void test_moves(void **state)
{
	(void)state;
	static const enum wombat_status statuses[] = { WOMBAT_OK, WOMBAT_IO, WOMBAT_CORRUPTION, WOMBAT_NO_MEMORY };
	const struct wombat_slice key = slice_make("\1key", 4);
	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
		struct iter *it = iter_empty_new(statuses[i]);
		assert_non_null(it);
		assert_nothing(it, statuses[i]);
		for (int round = 0; round < 2; round++) {
			iter_first(it);
			assert_nothing(it, statuses[i]);
			iter_last(it);
			assert_nothing(it, statuses[i]);
			iter_seek(it, key, TAG_MAX);
			assert_nothing(it, statuses[i]);
			iter_seek_before(it, key, 0);
			assert_nothing(it, statuses[i]);
		}
		/* Who spoils what callers may read finds it whole after the next move. */
		it->valid = true;
		it->status = WOMBAT_BUSY;
		iter_first(it);
		assert_nothing(it, statuses[i]);
		iter_free(it);
	}
}

static _Bool fail_all(size_t size)
{
	(void)size;
	return 0;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	mem_test_hook = fail_all;
	struct iter *it = iter_empty_new(WOMBAT_OK);
	mem_test_hook = NULL;
	assert_null(it);
	assert_non_null(strstr(wombat_last_error(), "memory"));
	iter_free(it); /* of NULL: nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
