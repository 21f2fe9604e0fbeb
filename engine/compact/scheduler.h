/*
 * Background threads: lanes of work that sleep until woken, then run until there is nothing to do.
 */
#ifndef WOMBAT_COMPACT_SCHEDULER_H
#define WOMBAT_COMPACT_SCHEDULER_H

#include "engine/base/status.h"

struct scheduler;

enum scheduler_lane { LANE_FLUSH, LANE_COMPACT, LANE_UPKEEP, LANE_COUNT };

struct scheduler_work {
	/* Does one piece of the lane's work; false: there was none, sleep. Called in the lane's threads. */
	bool (*run)(void *arg, enum scheduler_lane lane);
	void *arg;
};

/* LANE_FLUSH and LANE_UPKEEP have one thread each, LANE_COMPACT `compactors`. The upkeep lane also runs
 * every `upkeep_interval_ms`. Threads are named wombat-flush, -compact, -upkeep and block all signals. */
MUST_CHECK enum wombat_status scheduler_new(const struct scheduler_work *work, unsigned compactors,
	unsigned upkeep_interval_ms, struct scheduler **out);
/* Any thread, any lock held. */
void scheduler_wake(struct scheduler *s, enum scheduler_lane lane);
/* Starts threads at once; those too many end after their piece of work. */
MUST_CHECK enum wombat_status scheduler_set_compactors(struct scheduler *s, unsigned compactors);
void scheduler_set_interval(struct scheduler *s, unsigned upkeep_interval_ms);
/* Waits for running pieces of work, ends the threads. NULL is fine. */
void scheduler_free(struct scheduler *s);

#endif
