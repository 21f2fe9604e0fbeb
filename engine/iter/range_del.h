/*
 * Range tombstones: "keys in [begin, end) older than sequence are deleted".
 *
 * A range_del_set collects them in any order. For reading it is cut into fragments: disjoint ranges in
 * key order, each with the sequences (newest first) of all tombstones that cover it. Fragments are
 * immutable and counted.
 *
 *     tombstones   a--------e#5            fragments   a--c:5  c--e:7,5  e--g:7
 *                       c--------g#7
 */
#ifndef WOMBAT_ITER_RANGE_DEL_H
#define WOMBAT_ITER_RANGE_DEL_H

#include "engine/base/arena.h"
#include "engine/base/slice.h"
#include "engine/base/status.h"

struct range_del {
	struct wombat_slice begin, end; /* keyspace byte + user key; begin < end, end excluded */
	uint64_t sequence;
};

/* Holds copies of the keys. One thread at a time. */
struct range_del_set {
	struct range_del *items;
	size_t count, capacity;
	struct arena keys;
};
void range_del_set_init(struct range_del_set *set);
void range_del_set_done(struct range_del_set *set);
/* An empty range is fine and does nothing. */
MUST_CHECK enum wombat_status range_del_set_add(struct range_del_set *set, struct range_del item);

struct range_fragment {
	struct wombat_slice begin, end;
	const uint64_t *sequences; /* newest first */
	size_t count;
};
struct range_fragments; /* holds its own copies of keys */

/* An empty set gives an empty, valid list. */
MUST_CHECK enum wombat_status range_fragments_build(const struct range_del_set *set, struct range_fragments **out);
struct range_fragments *range_fragments_ref(struct range_fragments *f);
void range_fragments_unref(struct range_fragments *f); /* NULL is fine */
size_t range_fragments_count(const struct range_fragments *f); /* f may be NULL: 0 */
const struct range_fragment *range_fragments_at(const struct range_fragments *f, size_t index);
/* The newest sequence <= max_sequence of a tombstone that covers `key`; 0: none. f may be NULL. */
uint64_t range_fragments_cover(const struct range_fragments *f, struct wombat_slice key, uint64_t max_sequence);
/* Index of the first fragment whose end is behind `key` (it covers key, or begins behind it). */
size_t range_fragments_find(const struct range_fragments *f, struct wombat_slice key);
/* Adds all of `f`, clipped to [begin, end) (end empty: no bound), to `set`, one tombstone per sequence. */
MUST_CHECK enum wombat_status range_fragments_collect(const struct range_fragments *f, struct wombat_slice begin,
	struct wombat_slice end, struct range_del_set *set);

#endif
