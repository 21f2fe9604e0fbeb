/*
 * Lanes of background threads. A lane's `wakes` counts requests: a thread runs pieces of work until there is none and
 * sleeps only if no request came since it began to look, so no wake is lost.
 */
#include "engine/compact/scheduler.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/mutex.h"

struct lane {
	struct condition wake;
	uint64_t wakes;         /* guarded by mu */
	unsigned wanted;        /* guarded by mu: threads that should be */
	unsigned running;       /* guarded by mu: threads that are */
};

struct worker {
	struct worker *next;
	struct scheduler *scheduler;
	enum scheduler_lane lane;
	bool ended;             /* guarded by mu: to be joined */
	pthread_t thread;
};

struct scheduler {
	struct scheduler_work work;
	struct mutex mu;
	struct lane lanes[LANE_COUNT];
	struct worker *workers; /* guarded by mu */
	uint64_t interval_ns;   /* guarded by mu: of the upkeep lane */
	bool stopping;          /* guarded by mu */
};

static bool surplus_locked(const struct worker *w)
{
	const struct lane *lane = &w->scheduler->lanes[w->lane];
	return w->scheduler->stopping || lane->running > lane->wanted;
}

static void sleep_locked(struct scheduler *s, const struct worker *w, uint64_t seen) REQUIRES(&s->mu);
static void sleep_locked(struct scheduler *s, const struct worker *w, uint64_t seen)
{
	struct lane *lane = &s->lanes[w->lane];
	while (lane->wakes == seen && !surplus_locked(w)) {
		if (w->lane == LANE_UPKEEP) {
			if (!condition_wait_ns(&lane->wake, &s->mu, s->interval_ns))
				return;
		} else {
			condition_wait(&lane->wake, &s->mu);
		}
	}
}

static void *run_worker(void *arg)
{
	static const char *const names[LANE_COUNT] = { "wombat-flush", "wombat-compact", "wombat-upkeep" };
	struct worker *w = arg;
	struct scheduler *s = w->scheduler;
	pthread_setname_np(pthread_self(), names[w->lane]);
	mutex_lock(&s->mu);
	while (!surplus_locked(w)) {
		uint64_t seen = s->lanes[w->lane].wakes;
		mutex_unlock(&s->mu);
		bool worked = s->work.run(s->work.arg, w->lane);
		mutex_lock(&s->mu);
		if (!worked)
			sleep_locked(s, w, seen);
	}
	s->lanes[w->lane].running--;
	w->ended = true;
	mutex_unlock(&s->mu);
	return NULL;
}

/* Signals are for the program's own threads. */
static int start_thread(struct worker *w)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int error = pthread_create(&w->thread, NULL, run_worker, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return error;
}

static enum wombat_status add_worker_locked(struct scheduler *s, enum scheduler_lane lane) REQUIRES(&s->mu);
static enum wombat_status add_worker_locked(struct scheduler *s, enum scheduler_lane lane)
{
	struct worker *w = mem_zalloc(sizeof *w);
	if (!w)
		return fail_no_memory();
	w->scheduler = s;
	w->lane = lane;
	int error = start_thread(w);
	if (error) {
		mem_free(w);
		return fail_errno(error, "starting a background thread");
	}
	s->lanes[lane].running++;
	w->next = s->workers;
	s->workers = w;
	return WOMBAT_OK;
}

/* Joins threads that have ended; with `all`, waits for those that have not. */
static void join_workers(struct scheduler *s, bool all)
{
	struct worker *dead = NULL;
	mutex_lock(&s->mu);
	for (struct worker **p = &s->workers; *p;) {
		struct worker *w = *p;
		if (!all && !w->ended) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->next = dead;
		dead = w;
	}
	mutex_unlock(&s->mu);
	while (dead) {
		struct worker *next = dead->next;
		pthread_join(dead->thread, NULL);
		mem_free(dead);
		dead = next;
	}
}

enum wombat_status scheduler_new(const struct scheduler_work *work, unsigned compactors, unsigned upkeep_interval_ms,
				 struct scheduler **out)
{
	struct scheduler *s = mem_zalloc(sizeof *s);
	if (!s)
		return fail_no_memory();
	s->work = *work;
	s->interval_ns = (uint64_t)upkeep_interval_ms * 1000000;
	mutex_init(&s->mu, LOCK_RANK_STATS);
	enum wombat_status status = WOMBAT_OK;
	for (int i = 0; i < LANE_COUNT; i++) {
		condition_init(&s->lanes[i].wake);
		s->lanes[i].wanted = i == LANE_COMPACT ? compactors : 1;
	}
	/* No thread gets to its work before the lock is dropped: by then the caller has the scheduler. */
	mutex_lock(&s->mu);
	for (int i = 0; i < LANE_COUNT; i++)
		while (status == WOMBAT_OK && s->lanes[i].running < s->lanes[i].wanted)
			status = add_worker_locked(s, (enum scheduler_lane)i);
	if (status == WOMBAT_OK)
		*out = s;
	else
		s->stopping = true;
	mutex_unlock(&s->mu);
	if (status != WOMBAT_OK)
		scheduler_free(s);
	return status;
}

void scheduler_wake(struct scheduler *s, enum scheduler_lane lane)
{
	mutex_lock(&s->mu);
	s->lanes[lane].wakes++;
	condition_broadcast(&s->lanes[lane].wake);
	mutex_unlock(&s->mu);
}

enum wombat_status scheduler_set_compactors(struct scheduler *s, unsigned compactors)
{
	enum wombat_status status = WOMBAT_OK;
	join_workers(s, false);
	mutex_lock(&s->mu);
	struct lane *lane = &s->lanes[LANE_COMPACT];
	lane->wanted = compactors;
	while (status == WOMBAT_OK && lane->running < lane->wanted)
		status = add_worker_locked(s, LANE_COMPACT);
	lane->wakes++;
	condition_broadcast(&lane->wake);
	mutex_unlock(&s->mu);
	return status;
}

void scheduler_set_interval(struct scheduler *s, unsigned upkeep_interval_ms)
{
	mutex_lock(&s->mu);
	s->interval_ns = (uint64_t)upkeep_interval_ms * 1000000;
	s->lanes[LANE_UPKEEP].wakes++;
	condition_broadcast(&s->lanes[LANE_UPKEEP].wake);
	mutex_unlock(&s->mu);
}

void scheduler_free(struct scheduler *s)
{
	if (!s)
		return;
	mutex_lock(&s->mu);
	s->stopping = true;
	for (int i = 0; i < LANE_COUNT; i++)
		condition_broadcast(&s->lanes[i].wake);
	mutex_unlock(&s->mu);
	join_workers(s, true);
	for (int i = 0; i < LANE_COUNT; i++)
		condition_done(&s->lanes[i].wake);
	mutex_done(&s->mu);
	mem_free(s);
}
