/*
 * The further keys of a commit under several keys, and who shares a value's extents.
 *
 * Keys that are committed together have heads with the same id of extents, and an owner record each. A commit under all that
 * have a head with the id changes the extents in place. One that leaves some out must not, since these would see it: it
 * gets extents of its own, unless it changes nothing, but only gives the value to more keys or other attributes to some. Who has one is judged at the edit's snapshot; that holds until the commit, because a head comes
 * to an id only by a change of a key that has one already (a commit puts all the heads that it is of, a move deletes the one
 * that it takes), and the guard refuses the commit when any of its keys was changed. Heads that go meanwhile do no harm.
 */
#ifndef WOMBAT_DB_EDIT_KEYS_H
#define WOMBAT_DB_EDIT_KEYS_H

#include "engine/db/db_impl.h"

struct edit_key {
	struct buf key; /* with the keyspace byte */
	bool owns;      /* it has a head with the id, and so an owner record, which stays until the key is changed */
};
static inline struct wombat_slice edit_key_user(const struct edit_key *k) { return slice_make(k->key.data + 1, k->key.size - 1); }

/* Zeroed: none. */
struct edit_keys {
	struct edit_key *list; /* ascending */
	size_t count;
};

/* `own`: the edit's key, with the keyspace byte, which is that of the others too. To be ended by _done also when it fails:
 * WOMBAT_INVALID (a key twice), WOMBAT_TOO_BIG. */
MUST_CHECK enum wombat_status edit_keys_init(struct edit_keys *k, struct wombat *db, struct wombat_slice own,
	const struct wombat_slice *keys, size_t count);
void edit_keys_done(struct edit_keys *k);
/* The key, given without its keyspace byte, if it is among them; else NULL. */
struct edit_key *edit_keys_find(const struct edit_keys *k, struct wombat_slice user_key);
/* Notes which of the keys have a head with the id, and whether any that is neither `own` nor among them has a head with it. */
MUST_CHECK enum wombat_status edit_keys_find_owners(struct edit_keys *k, struct wombat *db,
	const struct wombat_snapshot *snapshot, uint64_t id, struct wombat_slice own, bool *out_others);
/* The value gets another id: nobody is an owner of that. */
void edit_keys_disown(struct edit_keys *k);
/* WOMBAT_CONFLICT: one of them was changed after that sequence number. */
MUST_CHECK enum wombat_status edit_keys_check(const struct edit_keys *k, struct wombat *db, struct read_view *view,
	uint64_t since);

#endif
