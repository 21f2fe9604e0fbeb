/*
 * Locks that know their holder, so that functions named _locked can assert it, and that carry clang's
 * thread-safety attributes. Debug builds (no NDEBUG) also check the nesting order: a lock may be taken
 * only while every lock held by the thread has a lower rank. The ranks are engine/doc/locking.md's.
 */
#ifndef WOMBAT_BASE_MUTEX_H
#define WOMBAT_BASE_MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __clang__
#define CAPABILITY(x) __attribute__((capability(x)))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define ASSERTS_HELD(...) __attribute__((assert_capability(__VA_ARGS__)))
#else
#define CAPABILITY(x)
#define REQUIRES(...)
#define ACQUIRES(...)
#define RELEASES(...)
#define ASSERTS_HELD(...)
#endif

/* Outermost first: a thread may take only locks further down than all that it holds. */
enum lock_rank {
	LOCK_RANK_CONTROL = 1,  /* db: settings, manual compaction requests */
	LOCK_RANK_WRITE = 2,    /* db: the writer queue and the WAL's end */
	LOCK_RANK_STATE = 3,    /* db: memtable list, version set, background work */
	LOCK_RANK_VIEW = 4,     /* db: the pointer to the current read view */
	LOCK_RANK_SNAPSHOTS = 5,
	LOCK_RANK_TABLES = 6,   /* table cache shards */
	LOCK_RANK_VALUES = 6,   /* value log */
	LOCK_RANK_CACHE = 7,    /* block cache shards */
	LOCK_RANK_STATS = 8,
	LOCK_RANK_ENV = 9,
	LOCK_RANK_SLOTS = 10,   /* memory in huge pages: a size's chunks */
	LOCK_RANK_PAGES = 11,   /* all chunks */
};

struct CAPABILITY("mutex") mutex {
	pthread_mutex_t native;
	pthread_t holder; /* meaningful while held; kept, as `held` is, in builds with assertions */
	bool held;
	uint8_t rank;
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_done(struct mutex *m);
void mutex_lock(struct mutex *m) ACQUIRES(m);
void mutex_unlock(struct mutex *m) RELEASES(m);
/* assert() that the calling thread holds it. */
void mutex_assert_held(const struct mutex *m) ASSERTS_HELD(m);

/* A condition on a mutex; its waits drop the mutex and take it again. Timed waits use CLOCK_MONOTONIC. */
struct condition {
	pthread_cond_t native;
};
void condition_init(struct condition *c);
void condition_done(struct condition *c);
void condition_wait(struct condition *c, struct mutex *m) REQUIRES(m);
/* False: `timeout_ns` passed. */
bool condition_wait_ns(struct condition *c, struct mutex *m, uint64_t timeout_ns) REQUIRES(m);
void condition_signal(struct condition *c);
void condition_broadcast(struct condition *c);

#endif
