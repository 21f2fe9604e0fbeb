/*
 * Counters of a database, cheap enough to keep on: each thread adds to a stripe of its own (base/stripe.h);
 * reading sums them. Latencies are measured on one operation in STATS_SAMPLE and weigh as many, so that the
 * clock is not read twice per operation.
 */
#ifndef WOMBAT_DB_STATS_H
#define WOMBAT_DB_STATS_H

#include "engine/base/histogram.h"
#include "engine/base/status.h"
#include "engine/base/stripe.h"

enum { STATS_SAMPLE = 32 };

enum stat_counter {
	STAT_GETS, STAT_GETS_FOUND, STAT_PUTS, STAT_DELETES, STAT_RANGE_DELETES, STAT_SCANS, STAT_BATCHES, STAT_GROUPS,
	STAT_GET_NS, STAT_PUT_NS, STAT_DELETE_NS,
	STAT_SLOW,               /* operations that were logged for it */
	STAT_TXN_COMMITS, STAT_TXN_CONFLICTS,
	STAT_USER_BYTES,         /* key and value bytes that were put */
	STAT_TABLES_READ,        /* tables that gets asked */
	STAT_FLUSHES, STAT_FLUSH_BYTES, STAT_INGESTED_TABLES, STAT_INGESTED_BYTES,
	STAT_COMPACTIONS, STAT_COMPACTION_RANGES, STAT_COMPACTION_READ_BYTES, STAT_COMPACTION_WRITE_BYTES, STAT_TRIVIAL_MOVES,
	STAT_VALUES_MOVED_BYTES, /* from value log files that were collected */
	STAT_STALL_SLOW, STAT_STALL_STOP, STAT_STALL_NS,
	STAT_ERRORS_IO, STAT_ERRORS_NO_SPACE, STAT_ERRORS_CORRUPTION, STAT_ERRORS_NO_MEMORY,
	STAT_COUNTER_COUNT
};

enum stat_latency { LATENCY_GET, LATENCY_PUT, LATENCY_DELETE, LATENCY_COUNT };

struct stats {
	struct {
		_Alignas(64) atomic_uint_fast64_t counter[STAT_COUNTER_COUNT];
	} stripe[STRIPES];
	struct histogram latency[LATENCY_COUNT];
};

extern _Thread_local unsigned stats_sample_tick;

static inline void stats_add(struct stats *s, enum stat_counter c, uint64_t n)
{
	unsigned stripe = stripe_of_thread();
	stripe_add(&s->stripe[stripe].counter[c], stripe, n);
}
uint64_t stats_sum(const struct stats *s, enum stat_counter c);

/* Monotonic ns when this operation is one to measure, else 0. */
uint64_t stats_begin(void);
void stats_end(struct stats *s, enum stat_latency which, uint64_t begin);
/* Counts a failure by its kind. */
void stats_error(struct stats *s, enum wombat_status status);

#endif
