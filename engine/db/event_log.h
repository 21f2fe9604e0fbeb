/*
 * The event log: what the database did and when, one line each, in the file LOG of its directory, for people.
 *
 *     2026-11-24T09:57:20.123Z info flush: 2 memtables, 61234567 bytes in 412 ms
 *
 * A full file becomes LOG.old, so the two never take more than twice EVENT_LOG_BYTES. Nothing depends on it: what cannot
 * be written is counted and forgotten.
 */
#ifndef WOMBAT_DB_EVENT_LOG_H
#define WOMBAT_DB_EVENT_LOG_H

#include "engine/env/env.h"

enum { EVENT_LOG_BYTES = 1 << 20 };

/* In the order of the option's words. */
enum event_level { EVENT_OFF, EVENT_ERROR, EVENT_WARN, EVENT_INFO, EVENT_DEBUG };

struct event_log;

/* Opens no file before the first line. */
MUST_CHECK enum wombat_status event_log_new(struct env *env, const char *dir, enum event_level level, struct event_log **out);
void event_log_free(struct event_log *l); /* NULL is fine */
void event_log_set_level(struct event_log *l, enum event_level level);
/* Whether a line of that level would be written; NULL: none is. For what is costly to say. */
bool event_log_wants(const struct event_log *l, enum event_level level);
/* One line, without a newline; what is over 1,000 bytes is cut. Any thread, also with the state lock held. The thread's
 * failure sentence stays as it is. */
void event_log_line(struct event_log *l, enum event_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Lines written, and lines lost, since it was made. */
void event_log_counts(const struct event_log *l, uint64_t *out_written, uint64_t *out_lost);

#endif
