/*
 * Results inside the engine: the finder of a fault says what happened, callers pass the code on.
 *
 *     if (offset > size)
 *             return fail(WOMBAT_CORRUPTION, "%s: block at %llu past the end", name, offset);
 *     ...
 *     enum wombat_status s = table_open(...);
 *     if (s != WOMBAT_OK)
 *             return s;
 *
 * The sentence is kept per thread (512 bytes) until the thread's next fail().
 */
#ifndef WOMBAT_BASE_STATUS_H
#define WOMBAT_BASE_STATUS_H

#include "engine/wombat.h"

#define MUST_CHECK __attribute__((warn_unused_result))

/* Records the sentence for wombat_last_error() and returns `status`. */
enum wombat_status fail(enum wombat_status status, const char *format, ...)
	__attribute__((format(printf, 2, 3), cold));

/* The same for a failed system call: "WHAT: strerror(error)", and the status that `error` stands for
 * (ENOSPC and EDQUOT: NO_SPACE, ENOMEM: NO_MEMORY, ENOENT: NOT_FOUND, else IO). */
enum wombat_status fail_errno(int error, const char *format, ...)
	__attribute__((format(printf, 2, 3), cold));

/* fail(WOMBAT_NO_MEMORY, "out of memory"). */
enum wombat_status fail_no_memory(void) __attribute__((cold));

/* Replaces the calling thread's sentence: to hand a background thread's failure to a caller. */
void status_set_detail(const char *sentence);
const char *status_detail(void);

#endif
