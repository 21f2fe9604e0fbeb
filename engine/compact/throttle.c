/* A token bucket in terms of time: when the next byte may pass; and the brake on writers. */
#include "engine/compact/throttle.h"

enum { SLICE_NS = 100000000, BURST_NS = 20000000, DELAY_MAX_NS_PER_KIB = 200000 };

void throttle_init(struct throttle *t, struct env *env, uint64_t bytes_per_sec)
{
	mutex_init(&t->mu, LOCK_RANK_STATS);
	t->env = env;
	t->rate = bytes_per_sec;
	t->available_at = 0;
	t->waited_ns = 0;
}

void throttle_done(struct throttle *t)
{
	mutex_done(&t->mu);
}

/* Books the bytes; returns when they may pass. Up to BURST_NS of unused time is credit. */
static uint64_t book(struct throttle *t, uint64_t bytes)
{
	uint64_t now = t->env->calls->monotonic_ns(t->env), at = 0;
	mutex_lock(&t->mu);
	if (t->rate) {
		if (t->available_at + BURST_NS < now)
			t->available_at = now - BURST_NS;
		at = t->available_at;
		t->available_at += (uint64_t)((double)bytes * 1e9 / (double)t->rate);
		if (at > now)
			t->waited_ns += at - now;
	}
	mutex_unlock(&t->mu);
	return at;
}

void throttle_take(struct throttle *t, uint64_t bytes, const atomic_bool *cancel)
{
	uint64_t at = book(t, bytes);
	while (at) {
		uint64_t now = t->env->calls->monotonic_ns(t->env);
		/* Relaxed: a flag to look at now and then. */
		if (now >= at || (cancel && atomic_load_explicit(cancel, memory_order_relaxed)))
			return;
		t->env->calls->sleep_ns(t->env, at - now < SLICE_NS ? at - now : SLICE_NS);
		mutex_lock(&t->mu);
		/* A limit that was lifted or raised lets everybody go on. */
		if (t->available_at < at)
			at = t->available_at;
		mutex_unlock(&t->mu);
	}
}

void throttle_set_rate(struct throttle *t, uint64_t bytes_per_sec)
{
	uint64_t now = t->env->calls->monotonic_ns(t->env);
	mutex_lock(&t->mu);
	if (t->rate != bytes_per_sec) {
		t->rate = bytes_per_sec;
		t->available_at = now;
	}
	mutex_unlock(&t->mu);
}

uint64_t throttle_waited_ns(struct throttle *t)
{
	mutex_lock(&t->mu);
	uint64_t ns = t->waited_ns;
	mutex_unlock(&t->mu);
	return ns;
}

/* How far between two limits, 0 below the first, 1 at the second. */
static double between(uint64_t value, uint64_t slow, uint64_t stop)
{
	if (stop <= slow || value < slow)
		return value >= stop && stop > 0 ? 1 : 0;
	return value >= stop ? 1 : (double)(value - slow + 1) / (double)(stop - slow + 1);
}

enum stall_kind stall_decide(const struct stall_input *in, uint64_t *out_delay_ns_per_kib, const char **out_reason)
{
	double files = between(in->level_zero_files, in->slow_files, in->stop_files);
	double bytes = in->pending_stop_bytes ? between(in->pending_bytes, in->pending_slow_bytes, in->pending_stop_bytes) : 0;
	double worst = files > bytes ? files : bytes;
	*out_delay_ns_per_kib = 0;
	*out_reason = "";
	if (in->memtables_max && in->memtables_waiting >= in->memtables_max) {
		*out_reason = "memtables wait for flush";
		return STALL_STOP;
	}
	if (worst <= 0)
		return STALL_NONE;
	*out_reason = files >= bytes ? "level 0 tables wait for compaction" : "compaction is behind";
	if (worst >= 1)
		return STALL_STOP;
	/* Squared: hardly felt at first, as slow as compaction near the stop. */
	*out_delay_ns_per_kib = (uint64_t)(worst * worst * DELAY_MAX_NS_PER_KIB);
	return STALL_SLOW;
}
