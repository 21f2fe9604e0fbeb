/* Sections of reading: see readers.h. */
#include "engine/base/readers.h"

struct readers_slot readers_slots[READERS_SLOTS];
atomic_uint_fast64_t readers_number = 1;

uint64_t readers_stamp(void)
{
	return atomic_fetch_add_explicit(&readers_number, 1, memory_order_seq_cst);
}

bool readers_gone(uint64_t stamp)
{
	for (unsigned i = 0; i < READERS_SLOTS; i++) {
		/* Acquire, as a part of it: pairs with the release of leaving. */
		uint64_t since = atomic_load_explicit(&readers_slots[i].since, memory_order_seq_cst);
		if (since && since <= stamp)
			return false;
	}
	return true;
}
