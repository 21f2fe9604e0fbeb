/*
 * Two brakes: a token bucket for the bytes that background work moves, and the rule that slows writers
 * down before it stops them.
 */
#ifndef WOMBAT_COMPACT_THROTTLE_H
#define WOMBAT_COMPACT_THROTTLE_H

#include "engine/base/mutex.h"
#include <stdatomic.h>

#include "engine/env/env.h"

struct throttle {
	struct mutex mu;
	struct env *env;
	uint64_t rate;          /* bytes per second; 0: no limit. Guarded by mu */
	uint64_t available_at;  /* monotonic ns when the next byte may pass. Guarded by mu */
	uint64_t waited_ns;     /* guarded by mu */
};
void throttle_init(struct throttle *t, struct env *env, uint64_t bytes_per_sec);
void throttle_done(struct throttle *t);
/* Returns once `bytes` may pass; waits in slices of at most 100 ms and looks at *cancel (may be NULL). */
void throttle_take(struct throttle *t, uint64_t bytes, const atomic_bool *cancel);
void throttle_set_rate(struct throttle *t, uint64_t bytes_per_sec);
uint64_t throttle_waited_ns(struct throttle *t);

/* What a writer is to do before its next change. */
enum stall_kind { STALL_NONE, STALL_SLOW, STALL_STOP };
struct stall_input {
	size_t memtables_waiting, memtables_max;       /* num_memtables */
	size_t level_zero_files, slow_files, stop_files; /* num_level_zero_tables, _stall */
	uint64_t pending_bytes, pending_slow_bytes, pending_stop_bytes; /* compaction debt */
};
/* STALL_SLOW: *out_delay_ns for each KiB to be written, growing towards the stop. */
enum stall_kind stall_decide(const struct stall_input *in, uint64_t *out_delay_ns_per_kib, const char **out_reason);

#endif
