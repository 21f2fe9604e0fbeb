/* What the parts of struct wombat_edit share: edit.c, and edit_commit.c, which makes a batch of it. */
#ifndef WOMBAT_DB_EDIT_IMPL_H
#define WOMBAT_DB_EDIT_IMPL_H

#include "engine/db/edit_keys.h"
#include "engine/db/extents.h"

struct wombat_edit {
	struct wombat *db;
	struct buf key;                   /* with the keyspace byte */
	struct wombat_snapshot *snapshot; /* the committed state */
	uint64_t since;                   /* no change of the key above that number is known */
	bool exists;                      /* there is a record */
	uint64_t record_sequence;
	uint64_t expiry_ns;
	struct buf attr;
	bool in_extents;                  /* the committed value */
	struct value_extents extents;     /* then its own */
	uint64_t base;                    /* of the committed extents the bytes before this offset still count */
	struct extent_reader reader;      /* of them */

	uint64_t size;
	struct extent_map changes;        /* over these; without extents all of the value */
	bool dirty, shares;               /* shares: it has parts of other values, which are not to be written again */
	uint64_t committed;               /* number of its last commit, whose state is yet to be read; else 0 */
	uint64_t *files;                  /* of the value log: one for each value that was appended or is pointed to */
	size_t file_count, file_capacity;
};

static inline struct wombat_slice edit_user_key(const struct wombat_edit *e)
{
	return slice_make(e->key.data + 1, e->key.size - 1);
}

/* After a commit the state that it made is read when something is asked of it. */
MUST_CHECK enum wombat_status edit_go_on(struct wombat_edit *e);
/* Forgets the committed state. */
void edit_unload(struct wombat_edit *e);
/* The failure that somebody else changed the key. */
MUST_CHECK enum wombat_status edit_changed(const struct wombat_edit *e);
/* Values that were appended are pointed to by changes up to that number; 0: by none. */
void edit_release_files(struct wombat_edit *e, uint64_t sequence);
/* Size from which bytes go to the value log; 0: never. */
uint64_t edit_threshold(const struct wombat_edit *e);
/* Moves an extent's bytes to the value log. */
MUST_CHECK enum wombat_status edit_spill(struct wombat_edit *e, struct extent *x);
/* A part of a record's value, where no change is. */
MUST_CHECK enum wombat_status edit_add_piece(struct wombat_edit *e, const struct record *r, uint64_t skip, uint64_t at, uint64_t size);

#endif
