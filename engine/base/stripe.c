/*
 * Which thread has which stripe: a bit each in one word, set while a thread has it. A thread's end gives it back
 * through a thread-specific key, whose destructor runs last of what the thread does.
 */
#include "engine/base/stripe.h"

#include <pthread.h>

_Thread_local unsigned stripe_plus_one;

_Static_assert(STRIPES - 1 < 32, "a bit each in the word, but for the shared one");

static atomic_uint taken;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Bool have_key;

static void give_back(void *value)
{
	unsigned stripe = (unsigned)(uintptr_t)value - 1;
	stripe_plus_one = STRIPES; /* what still counts in this thread shares the last one */
	/* Release: the next owner continues from this one's sums. */
	atomic_fetch_and_explicit(&taken, ~(1u << stripe), memory_order_release);
}

static void make_key(void)
{
	have_key = pthread_key_create(&key, give_back) == 0;
}

unsigned stripe_take(void)
{
	pthread_once(&once, make_key);
	unsigned word = atomic_load_explicit(&taken, memory_order_relaxed), stripe;
	do {
		unsigned free_ones = ~word & ((1u << (STRIPES - 1)) - 1);
		stripe = free_ones ? (unsigned)__builtin_ctz(free_ones) : STRIPES - 1;
		/* Acquire: pairs with give_back(). */
	} while (stripe < STRIPES - 1 &&
		 !atomic_compare_exchange_weak_explicit(&taken, &word, word | 1u << stripe, memory_order_acquire,
							memory_order_relaxed));
	stripe_plus_one = stripe + 1;
	if (stripe < STRIPES - 1 && (!have_key || pthread_setspecific(key, (void *)(uintptr_t)(stripe + 1)) != 0)) {
		give_back((void *)(uintptr_t)(stripe + 1)); /* It could not be given back at the end. */
		stripe = STRIPES - 1;
	}
	return stripe;
}
