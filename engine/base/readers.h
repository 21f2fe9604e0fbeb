/*
 * Reading what others may take away, without holding it: short sections of reading, which whoever takes something away
 * waits out before it destroys it.
 *
 * Holding a thing by a count is a write to memory that all its readers share; with two threads that alone costs more than
 * a lookup. A section costs one exchange in a cache line that is the thread's own, however many things are looked at
 * in it.
 *
 *     reader                                 whoever takes away
 *     enter: mark the own slot               make it unreachable (a sequentially consistent store)
 *     load the pointer, look at the thing    stamp = readers_stamp()
 *     leave: clear the slot                  destroy it once readers_gone(stamp)
 *
 * Why that is right. Marking, the load of the pointer, the store that makes it unreachable and the look at the slots are
 * all sequentially consistent. If the look finds a slot unmarked, or marked with a later number, then that reader's load
 * comes behind the store, and finds nothing; if it finds a mark of this number or an earlier one, it waits.
 *
 * In a section nothing blocks: no disk is asked, no lock is taken that is held for long, and no other section begun. So what
 * waits for readers to be gone is little, and not for long.
 */
#ifndef WOMBAT_BASE_READERS_H
#define WOMBAT_BASE_READERS_H

#include <stdbool.h>

#include "engine/base/stripe.h"

/* The threads that share the last stripe have no slot. */
enum { READERS_SLOTS = STRIPES - 1 };

struct readers_slot {
	_Alignas(64) atomic_uint_fast64_t since; /* the number that the section began with; 0: not in one */
};
extern struct readers_slot readers_slots[READERS_SLOTS];
extern atomic_uint_fast64_t readers_number; /* never 0 */

/* False: not in a section, since the thread has no slot, or is in one already; then things must be held. */
static inline bool readers_enter(void)
{
	unsigned stripe = stripe_of_thread();
	if (__builtin_expect(stripe >= READERS_SLOTS, 0))
		return false;
	struct readers_slot *slot = &readers_slots[stripe];
	if (__builtin_expect(atomic_load_explicit(&slot->since, memory_order_relaxed) != 0, 0))
		return false;
	/* Acquire: a section with a later number sees what was made unreachable before that number. */
	uint64_t number = atomic_load_explicit(&readers_number, memory_order_acquire);
	atomic_exchange_explicit(&slot->since, number, memory_order_seq_cst);
	return true;
}

/* After readers_enter() returned true. */
static inline void readers_leave(void)
{
	/* Release: what was read in the section is read before the thing is destroyed. */
	atomic_store_explicit(&readers_slots[stripe_of_thread()].since, 0, memory_order_release);
}

/* After something was made unreachable. */
uint64_t readers_stamp(void);
/* Whether all sections that could have found it are over. Once true, true for good. */
bool readers_gone(uint64_t stamp);

#endif
