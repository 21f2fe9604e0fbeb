/* cmocka in its required order, and the assertion that most tests make. */
#ifndef WOMBAT_TESTS_CHECK_H
#define WOMBAT_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/wombat.h"

/* The status is as expected, or the failure's sentence is shown. */
#define assert_status(call, expected) \
	do { \
		enum wombat_status status_ = (call); \
		if (status_ != (expected)) \
			fail_msg("%s: %s (%s), not %s", #call, wombat_status_name(status_), wombat_last_error(), \
				 wombat_status_name(expected)); \
	} while (0)
#define assert_ok(call) assert_status(call, WOMBAT_OK)

#endif
