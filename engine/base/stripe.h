/*
 * Counters that many threads add to without passing a cache line to and fro: each thread has a stripe of its own,
 * and a sum is read over all of them.
 *
 * A stripe belongs to one thread while that runs, so that adding is a load and a store; a read-modify-write, which
 * costs as much as a small lookup's every other step, is left to the last stripe, which all threads beyond
 * STRIPES - 1 share.
 */
#ifndef WOMBAT_BASE_STRIPE_H
#define WOMBAT_BASE_STRIPE_H

#include <stdatomic.h>
#include <stdint.h>

enum { STRIPES = 32 };

extern _Thread_local unsigned stripe_plus_one; /* 0: this thread has none yet */
unsigned stripe_take(void);

/* The calling thread's stripe, 0..STRIPES - 1; given back when the thread ends. */
static inline unsigned stripe_of_thread(void)
{
	unsigned s = stripe_plus_one;
	return __builtin_expect(s != 0, 1) ? s - 1 : stripe_take();
}

/* Adds to a counter of that stripe. Relaxed: figures order nothing. */
static inline void stripe_add(atomic_uint_fast64_t *counter, unsigned stripe, uint64_t n)
{
	if (__builtin_expect(stripe < STRIPES - 1, 1))
		atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
				      memory_order_relaxed);
	else
		atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
