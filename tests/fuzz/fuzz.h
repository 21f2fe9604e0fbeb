/*
 * A fuzzer: one function that takes any bytes, and inputs to begin with.
 *
 * Built two ways. With libFuzzer (`make fuzz`, clang), which finds inputs by coverage; and with driver.c (`make check`, any
 * compiler), which runs the seeds, the inputs of tests/fuzz/corpus that once failed, and some thousand random changes of
 * them. What an input must never do is crash, read where it may not (the sanitizers see to that), or fail an assertion:
 * what decodes must encode to the same, and what is damaged must end in a status.
 */
#ifndef WOMBAT_TESTS_FUZZ_H
#define WOMBAT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not assert(): it counts in every build. */
#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* The n-th input to begin with, from malloc(); NULL: there are no more. */
uint8_t *fuzz_seed(unsigned n, size_t *out_size);

/* A copy with a byte before it, for seeds. */
uint8_t *fuzz_copy(int first, const void *data, size_t size, size_t *out_size);

#endif
