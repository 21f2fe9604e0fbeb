/*
 * Values in extents: large ones of which a part can change without the rest being written again.
 *
 * The user's key holds a head: an id, the value's size, how much of it is stored. The bytes are records of their own in the
 * engine's keyspace, EXTENTS_KEYSPACE, which no caller sees:
 *
 *     'E' id end     a piece of the value: the `size of the record` bytes that end before offset `end`. Inline, or a value
 *                    of the value log, or a part of one. What no extent has is a hole and reads as zeros
 *     'O' id key     (key with its keyspace byte) the key may have a head with that id; nothing else has one
 *
 * Numbers are 8 bytes, big-endian, so that the extents of a value are sorted by their ends: the first one behind an offset
 * is one seek away. A change of a value is a batch of changes of extents and head, so that atomicity, snapshots, backups
 * and recovery are those of any records.
 *
 * A copy gets an id and extents of its own, which point to the same values of the log. So at the newest state an id has one
 * head, and extents can be changed in place; who reads an older state by a snapshot finds the older extents. Or its heads are
 * those of keys that were committed together, which say so (value_extents.shared): whoever commits under all of these
 * changes the extents in place, and who changes the value of some leaves them to the rest and goes on with copies
 * (edit_keys.h).
 *
 * Puts and deletes do not look at what they replace, so extents outlive their head at first. When a compaction drops a head
 * it notes the id; then, in the background, an id whose owners have no head with it any more loses its extents and owners
 * (extents_sweep.c). Ids that a crash forgot are found by looking at all owners after the next open.
 */
#ifndef WOMBAT_DB_EXTENTS_H
#define WOMBAT_DB_EXTENTS_H

#include "engine/db/db_impl.h"
#include "engine/db/extent_map.h"

enum {
	EXTENTS_KEYSPACE = 0,
	EXTENT_MAX = 1 << 20,    /* bytes of an extent that is made by writing; gaps and parts are what they are */
	EXTENT_KEY_SIZE = 1 + 8 + 8,
	OWNER_KEY_HEAD = 1 + 8,  /* the owner's key follows */
};

/* Key of the extent that ends before `end`, without the keyspace byte. */
struct extent_key {
	uint8_t bytes[EXTENT_KEY_SIZE];
};
struct extent_key extent_key_make(uint64_t id, uint64_t end);
static inline struct wombat_slice extent_key_slice(const struct extent_key *k) { return slice_make(k->bytes, EXTENT_KEY_SIZE); }
/* The id in the key of an extent or an owner. */
uint64_t extent_key_id(struct wombat_slice key);
/* Replaces `out`. `key` with its keyspace byte. */
MUST_CHECK enum wombat_status owner_key_make(uint64_t id, struct wombat_slice key, struct buf *out);
/* A number that no value has or had. */
uint64_t extents_new_id(struct wombat *db);

/* A state of a value's extents. */
struct extents_at {
	struct wombat *db;
	struct read_view *view; /* NULL: the present one, each time; then a snapshot must keep the sequence number */
	uint64_t sequence, id;
};
/* Calls `each` with every extent that has bytes of [from, to), in order, until it fails. The record's slices are valid
 * during the call, and what it points to in the value log is not removed meanwhile. */
MUST_CHECK enum wombat_status extents_each(const struct extents_at *at, uint64_t from, uint64_t to,
	enum wombat_status (*each)(void *arg, uint64_t offset, const struct record *r), void *arg);

/* Bytes that are all within the extent. */
MUST_CHECK enum wombat_status extent_read(struct vlog *values, struct extent *e, uint64_t offset, size_t size, void *out);

/* Reads a state's bytes, remembering the extents of where it read last. One thread at a time. */
struct extent_reader {
	struct extents_at at;
	struct extent_map known;
	uint64_t known_from, known_to; /* of this range all extents are known */
	uint64_t next, ahead;          /* where the last read ended, and up to where reads to come were announced */
	uint64_t *files;               /* of the value log, pinned: those that known extents point to */
	size_t file_count, file_capacity;
};
void extent_reader_init(struct extent_reader *r, const struct extents_at *at);
void extent_reader_done(struct extent_reader *r);
/* Holes read as zeros. */
MUST_CHECK enum wombat_status extent_reader_read(struct extent_reader *r, uint64_t offset, size_t size, void *out);
/* The first range at or behind `offset` that is stored. WOMBAT_NOT_FOUND: none. */
MUST_CHECK enum wombat_status extent_reader_next(struct extent_reader *r, uint64_t offset, uint64_t *out_from, uint64_t *out_to);

/* The whole value in memory, kept by `pin`. WOMBAT_TOO_BIG: it is to be read in parts. */
MUST_CHECK enum wombat_status extents_fetch(const struct extents_at *at, uint64_t size, struct lru_pin *pin,
	struct wombat_slice *out);

/* ---- Writing: changes that are added to a batch that is being placed ---- */

/* The extent that ends before `end`: a copy of the record's value or of its pointer, for whose file another change counts. */
MUST_CHECK enum wombat_status extents_place(struct wombat *db, struct placed_batch *out, uint64_t id, uint64_t end,
	const struct record *r);
MUST_CHECK enum wombat_status extents_place_delete(struct placed_batch *out, uint64_t id, uint64_t end);
/* All extents that end in (from, to]. */
MUST_CHECK enum wombat_status extents_place_delete_range(struct placed_batch *out, uint64_t id, uint64_t from, uint64_t to);
/* The owner of an id: `key` with its keyspace byte. */
MUST_CHECK enum wombat_status extents_place_owner(struct placed_batch *out, uint64_t id, struct wombat_slice key, bool deleted);
/* The head of a new id under the key that `change` puts, and extents that have what those of the state have. */
MUST_CHECK enum wombat_status extents_place_copy(struct wombat *db, struct placed_batch *out, const struct extents_at *from,
	const struct value_extents *extents, const struct batch_change *change, struct record *r);

/* value.c: the state that an opened value in extents is read at. */
const struct extents_at *value_extents_at(const struct wombat_value *value, struct value_extents *out);

/* Calls `each` as extents_each() does, for a value that is in extents or not. */
MUST_CHECK enum wombat_status value_each(struct wombat_value *value, uint64_t from, uint64_t to,
	enum wombat_status (*each)(void *arg, uint64_t offset, const struct record *r), void *arg);

/* ---- extents_sweep.c ---- */

void extents_sweep_init(struct wombat *db);
void extents_sweep_done(struct wombat *db);
/* A compaction dropped a head with that id. Any thread. */
void extents_note_dropped(void *db, uint64_t id);
/* Removes the extents of noted ids that are nobody's any more. In the background; may write. */
void extents_sweep(struct wombat *db);
bool extents_sweep_due(struct wombat *db);

#endif
