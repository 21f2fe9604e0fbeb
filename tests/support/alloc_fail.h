/*
 * Failing the Nth allocation of code that calls malloc itself, as fs/ does (the engine's has mem_test_hook).
 *
 * A program that uses this is linked with -Wl,--wrap for malloc, calloc, realloc, strdup and strndup
 * (ALLOC_FAIL_FLAGS in tests/Makefile.inc), which sends the calls of everything linked statically here. Only the
 * thread that asked is concerned.
 */
#ifndef WOMBAT_TESTS_ALLOC_FAIL_H
#define WOMBAT_TESTS_ALLOC_FAIL_H

#include <stdbool.h>

/* The allocation after `passed` others fails, and none behind it. */
void alloc_fail_arm(unsigned passed);
/* No failure from here on. Whether one was made since it was armed. */
bool alloc_fail_disarm(void);

#endif
