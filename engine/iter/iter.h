/*
 * The iterator interface over internal keys, in their order (base/ikey.h): what memtables, blocks,
 * tables, levels and merges of them have in common.
 *
 * States: not positioned (`valid` false) after creation, past an end, or after an error (`status` set,
 * which stays until the next seek). Positioned: `key` (keyspace byte + user key), `tag` and `value` are
 * set and borrowed until the next move. Implementations embed `struct iter` first and keep these fields
 * current on every move, so that reading them costs no call.
 */
#ifndef WOMBAT_ITER_ITER_H
#define WOMBAT_ITER_ITER_H

#include "engine/base/ikey.h"
#include "engine/base/status.h"

struct iter;

struct iter_calls {
	void (*free)(struct iter *it);
	void (*first)(struct iter *it);
	void (*last)(struct iter *it);
	/* To the first entry at or behind (key, tag) in order. TAG_MAX: the newest version of key. */
	void (*seek)(struct iter *it, struct wombat_slice key, uint64_t tag);
	/* To the last entry before (key, tag) in order, excluding it. */
	void (*seek_before)(struct iter *it, struct wombat_slice key, uint64_t tag);
	void (*next)(struct iter *it); /* valid only */
	void (*prev)(struct iter *it); /* valid only */
};

struct iter {
	const struct iter_calls *calls;
	struct wombat_slice key;
	uint64_t tag;
	struct wombat_slice value;
	enum wombat_status status;
	bool valid;
};

static inline void iter_free(struct iter *it)
{
	if (it)
		it->calls->free(it);
}
static inline void iter_first(struct iter *it) { it->calls->first(it); }
static inline void iter_last(struct iter *it) { it->calls->last(it); }
static inline void iter_seek(struct iter *it, struct wombat_slice key, uint64_t tag) { it->calls->seek(it, key, tag); }
static inline void iter_seek_before(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	it->calls->seek_before(it, key, tag);
}
static inline void iter_next(struct iter *it) { it->calls->next(it); }
static inline void iter_prev(struct iter *it) { it->calls->prev(it); }

/* An iterator over nothing whose status is `status`; NULL: out of memory. */
struct iter *iter_empty_new(enum wombat_status status);

#endif
