/* Allocations that fail when told to: see alloc_fail.h. The linker gives the real functions as __real_NAME. */
#include "tests/support/alloc_fail.h"

#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static _Thread_local struct {
	bool armed, failed;
	unsigned passed;
} plan;

void alloc_fail_arm(unsigned passed)
{
	plan.armed = true;
	plan.failed = false;
	plan.passed = passed;
}

bool alloc_fail_disarm(void)
{
	plan.armed = false;
	return plan.failed;
}

static bool fails(void)
{
	if (!plan.armed || plan.failed)
		return false;
	if (plan.passed > 0) {
		plan.passed--;
		return false;
	}
	return plan.failed = true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
	return fails() ? NULL : __real_strndup(text, size);
}
