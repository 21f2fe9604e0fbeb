/*
 * fs/errmap: what a program sees for each result.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/errmap.h"

static void test_only_success_is_zero(void **state)
{
	(void)state;
	for (int i = STORE_OK; i <= STORE_INVALID; i++)
		assert_int_equal(errmap_from_store((enum store_result)i) == 0, i == STORE_OK);
	for (int i = WOMBAT_OK; i < WOMBAT_STATUS_COUNT; i++) {
		assert_int_equal(errmap_from_wombat((enum wombat_status)i) == 0, i == WOMBAT_OK);
		assert_int_equal(errmap_store_from_wombat((enum wombat_status)i) == STORE_OK, i == WOMBAT_OK);
	}
}

static void test_what_programs_look_for(void **state)
{
	(void)state;
	assert_int_equal(errmap_from_store(STORE_NOT_FOUND), ENOENT);
	assert_int_equal(errmap_from_store(STORE_NO_SPACE), ENOSPC);
	assert_int_equal(errmap_from_store(STORE_TOO_BIG), EFBIG);
	assert_int_equal(errmap_from_store(STORE_READ_ONLY), EROFS);
	assert_int_equal(errmap_from_store(STORE_NO_MEMORY), ENOMEM);
	assert_int_equal(errmap_from_store(STORE_UNKNOWN), EIO);
	assert_int_equal(errmap_from_store(STORE_DAMAGED), EIO);
	/* The lines of .wombat/config. */
	assert_int_equal(errmap_from_wombat(WOMBAT_INVALID), EINVAL);
	assert_int_equal(errmap_from_wombat(WOMBAT_OUT_OF_RANGE), ERANGE);
	assert_int_equal(errmap_from_wombat(WOMBAT_NOT_CHANGEABLE), EPERM);
}

static void test_both_ways_agree(void **state)
{
	static const enum wombat_status same[] = { WOMBAT_OK, WOMBAT_NOT_FOUND, WOMBAT_INVALID, WOMBAT_TOO_BIG,
		WOMBAT_WOULD_BLOCK, WOMBAT_READ_ONLY, WOMBAT_NO_SPACE, WOMBAT_NO_MEMORY, WOMBAT_IO, WOMBAT_CORRUPTION };
	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_int_equal(errmap_from_store(errmap_store_from_wombat(same[i])), errmap_from_wombat(same[i]));
}

static void test_values_outside_the_enumerations(void **state)
{
	(void)state;
	assert_int_equal(errmap_from_store((enum store_result)99), EIO);
	assert_int_equal(errmap_from_wombat((enum wombat_status)99), EIO);
	assert_int_equal(errmap_store_from_wombat((enum wombat_status)99), STORE_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_success_is_zero),
		cmocka_unit_test(test_what_programs_look_for),
		cmocka_unit_test(test_both_ways_agree),
		cmocka_unit_test(test_values_outside_the_enumerations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
