/*
 * Counting: see stats.h for how it stays cheap. What the figures are called is in db_stats.c.
 */
#include "engine/db/stats.h"

#include <time.h>

_Thread_local unsigned stats_sample_tick;

static uint64_t monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t stats_sum(const struct stats *s, enum stat_counter c)
{
	uint64_t sum = 0;
	for (int i = 0; i < STRIPES; i++)
		sum += atomic_load_explicit(&s->stripe[i].counter[c], memory_order_relaxed);
	return sum;
}

uint64_t stats_begin(void)
{
	return stats_sample_tick++ % STATS_SAMPLE == 0 ? monotonic_ns() : 0;
}

void stats_end(struct stats *s, enum stat_latency which, uint64_t begin)
{
	static const enum stat_counter sums[LATENCY_COUNT] = { STAT_GET_NS, STAT_PUT_NS, STAT_DELETE_NS };
	if (!begin)
		return;
	uint64_t ns = monotonic_ns() - begin;
	histogram_add(&s->latency[which], ns, STATS_SAMPLE);
	stats_add(s, sums[which], ns * STATS_SAMPLE);
}

void stats_error(struct stats *s, enum wombat_status status)
{
	switch (status) {
	case WOMBAT_IO:
		stats_add(s, STAT_ERRORS_IO, 1);
		break;
	case WOMBAT_NO_SPACE:
		stats_add(s, STAT_ERRORS_NO_SPACE, 1);
		break;
	case WOMBAT_CORRUPTION:
		stats_add(s, STAT_ERRORS_CORRUPTION, 1);
		break;
	case WOMBAT_NO_MEMORY:
		stats_add(s, STAT_ERRORS_NO_MEMORY, 1);
		break;
	default:
		break;
	}
}
