/*
 * The newest changes, in memory: an ordered map of internal keys and the range tombstones. Counted; one
 * thread adds (the write leader), any number read without locks.
 */
#ifndef WOMBAT_MEM_MEMTABLE_H
#define WOMBAT_MEM_MEMTABLE_H

#include "engine/iter/iter.h"
#include "engine/iter/range_del.h"

struct memtable;

/* `expected_bytes`: about what it will take, which decides where its memory is from; 0: little. */
MUST_CHECK enum wombat_status memtable_new(size_t expected_bytes, struct memtable **out);
struct memtable *memtable_ref(struct memtable *m);
void memtable_unref(struct memtable *m); /* NULL is fine */

/* `key`: keyspace byte + user key. For KIND_PUT `value` is an encoded record; a time of 0 in it is
 * replaced by `time_ns`. */
MUST_CHECK enum wombat_status memtable_add(struct memtable *m, struct wombat_slice key, uint64_t tag,
	struct wombat_slice value, uint64_t time_ns);
MUST_CHECK enum wombat_status memtable_add_range(struct memtable *m, struct range_del range);

/* The newest entry of `key` with a sequence <= max_sequence (point entries only). The value is borrowed
 * from the memtable. */
bool memtable_get(const struct memtable *m, struct wombat_slice key, uint64_t max_sequence, uint64_t *out_tag,
	struct wombat_slice *out_value);
/* Whether a point entry's key, live or not, starts with `prefix`. No allocation. */
bool memtable_has_prefix(const struct memtable *m, struct wombat_slice prefix);
/* About which share of the point entries has a key before this one: 0..1. No allocation. */
double memtable_share_before(const struct memtable *m, struct wombat_slice key);
/* NULL in *out when it has no range tombstones; else counted, the caller's to unref. Those added after
 * the call may be missing. */
MUST_CHECK enum wombat_status memtable_range_dels(struct memtable *m, struct range_fragments **out);
/* The newest sequence <= max_sequence of a range tombstone that covers `key`; 0: none. For point reads: it
 * does not sort all tombstones again when a few were added. */
MUST_CHECK enum wombat_status memtable_range_cover(struct memtable *m, struct wombat_slice key,
	uint64_t max_sequence, uint64_t *out_sequence);
/* False without a lock when there are none: one atomic load. */
bool memtable_has_range_dels(const struct memtable *m);

MUST_CHECK enum wombat_status memtable_iter_new(struct memtable *m, struct iter **out); /* holds a count */

size_t memtable_bytes(const struct memtable *m);      /* of memory used, for the switch to a new one */
uint64_t memtable_entries(const struct memtable *m);  /* point entries and range tombstones */
uint64_t memtable_deletes(const struct memtable *m);

#endif
