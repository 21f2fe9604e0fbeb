/* Operations that took longer than slow_operation_threshold_ms, told to the event log. */
#include <inttypes.h>
#include <stdio.h>

#include "engine/db/db_impl.h"

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

void slow_end(struct wombat *db, uint64_t begin, const char *operation, unsigned keyspace, struct wombat_slice key,
	      const char *where)
{
	uint64_t threshold = atomic_load_explicit(&db->live.slow_ns, memory_order_relaxed);
	uint64_t ns = db->env->calls->monotonic_ns(db->env) - begin;
	if (!threshold || ns < threshold)
		return;
	char text[KEY_TEXT];
	key_text(key, text);
	stats_add(db->stats, STAT_SLOW, 1);
	event_log_line(db->log, EVENT_WARN, "slow %s of \"%s\" in keyspace %u: %.1f ms%s", operation, text, keyspace, ms(ns),
		       where ? where : "");
}

void slow_end_write(struct wombat *db, uint64_t begin, struct wombat_slice body, uint32_t count,
		    const struct write_times *times)
{
	char where[160], operation[40];
	struct cursor c = cursor_of(body);
	struct batch_change change = { .keyspace = 0 };
	if (write_batch_next(&c, &change) != WOMBAT_OK)
		return;
	snprintf(where, sizeof where, " (queue %.1f, room %.1f, log %.1f, sync %.1f, memtable %.1f)", ms(times->queue),
		 ms(times->room), ms(times->log), ms(times->sync), ms(times->memtable));
	if (count == 1)
		snprintf(operation, sizeof operation, "%s", change.kind == KIND_PUT ? "put" : "delete");
	else
		snprintf(operation, sizeof operation, "batch of %" PRIu32 " from", count);
	slow_end(db, begin, operation, change.keyspace, change.key, where);
}
