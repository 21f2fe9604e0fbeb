/* Locks with holders and ranks: see mutex.h. */
#include "engine/base/mutex.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#ifndef NDEBUG
/* Bit r: the thread holds a lock of rank r. Two of one rank at a time are refused: no order is set between them. */
static _Thread_local unsigned held_ranks;

static void rank_taken(const struct mutex *m)
{
	assert(held_ranks >> m->rank == 0 && "a lock of this or a higher rank is held: see engine/doc/locking.md");
	held_ranks |= 1u << m->rank;
}
static void rank_dropped(const struct mutex *m)
{
	held_ranks &= ~(1u << m->rank);
}
static void note_holder(struct mutex *m)
{
	m->holder = pthread_self();
	m->held = true;
}
static void forget_holder(struct mutex *m)
{
	m->held = false;
}
#else /* Without assertions nobody asks, and a lock costs what the system's costs. */
static void rank_taken(const struct mutex *m) { (void)m; }
static void rank_dropped(const struct mutex *m) { (void)m; }
static void note_holder(struct mutex *m) { (void)m; }
static void forget_holder(struct mutex *m) { (void)m; }
#endif

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	pthread_mutex_init(&m->native, NULL);
	m->held = false;
	m->rank = (uint8_t)rank;
}

void mutex_done(struct mutex *m)
{
	assert(!m->held);
	pthread_mutex_destroy(&m->native);
}

/* The two functions that are the lock: the analysis has nothing to say about their insides. */
#ifdef __clang__
#define UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define UNCHECKED
#endif

UNCHECKED void mutex_lock(struct mutex *m)
{
	rank_taken(m);
	pthread_mutex_lock(&m->native);
	note_holder(m);
}

UNCHECKED void mutex_unlock(struct mutex *m)
{
	mutex_assert_held(m);
	forget_holder(m);
	rank_dropped(m);
	pthread_mutex_unlock(&m->native);
}

void mutex_assert_held(const struct mutex *m)
{
	assert(m->held && pthread_equal(m->holder, pthread_self()));
	(void)m;
}

void condition_init(struct condition *c)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->native, &attr);
	pthread_condattr_destroy(&attr);
}

void condition_done(struct condition *c)
{
	pthread_cond_destroy(&c->native);
}

void condition_wait(struct condition *c, struct mutex *m)
{
	mutex_assert_held(m);
	forget_holder(m);
	pthread_cond_wait(&c->native, &m->native);
	note_holder(m);
}

bool condition_wait_ns(struct condition *c, struct mutex *m, uint64_t timeout_ns)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns % 1000000000u;
	until.tv_sec += (time_t)(timeout_ns / 1000000000u + ns / 1000000000u);
	until.tv_nsec = (long)(ns % 1000000000u);
	mutex_assert_held(m);
	forget_holder(m);
	int error = pthread_cond_timedwait(&c->native, &m->native, &until);
	note_holder(m);
	return error != ETIMEDOUT;
}

void condition_signal(struct condition *c)
{
	pthread_cond_signal(&c->native);
}

void condition_broadcast(struct condition *c)
{
	pthread_cond_broadcast(&c->native);
}
