/*
 * The encoded group of changes behind struct wombat_batch; also the body of a WAL record.
 *
 *     change:  kind 1 byte | keyspace 1 byte | key length varint | key |
 *              KIND_PUT: record length varint | encoded record (time 0: the WAL record's time)
 *              KIND_DELETE: nothing
 *              KIND_DELETE_RANGE: end length varint | end key (empty: the keyspace's end)
 */
#ifndef WOMBAT_MEM_WRITE_BATCH_H
#define WOMBAT_MEM_WRITE_BATCH_H

#include "engine/base/buf.h"
#include "engine/base/record.h"
#include "engine/mem/memtable.h"

struct batch_move {
	size_t body_offset; /* of the change that deletes the key */
	uint64_t sequence;  /* of the record */
};

struct wombat_batch {
	struct buf body;
	uint32_t count;
	uint32_t largest_key;    /* sizes that the limits are checked against when it is written */
	uint32_t largest_attr;
	uint64_t largest_value, largest_copy;
	/* Values lent to it. Each stands in the body as a record that is elsewhere, in file WRITE_BATCH_LENT at the offset
	 * that is its index here; a body with such records is not one for write_batch_apply() or the log. */
	struct wombat_slice *lent;
	size_t lent_count, lent_capacity;
	uint32_t shared_count;   /* changes that point to values which are in the value log already */
	/* Opened values that are in extents, which the put of each is to have too: records in extents whose id is
	 * WRITE_BATCH_COPY, and `size` the index here. */
	struct wombat_value **copies;
	size_t copy_count, copy_capacity;
	/* Values in extents that move: none may have changed under the key that it leaves. */
	struct batch_move *moves;
	size_t move_count, move_capacity;
};
#define WRITE_BATCH_LENT UINT64_MAX
#define WRITE_BATCH_COPY UINT64_MAX

/* Encodes a single put or delete at `p`; write_batch_put_size() bytes. For writes without a batch. */
size_t write_batch_put_size(struct wombat_slice key, const struct record *record);
void write_batch_put_encode(uint8_t *p, unsigned keyspace, struct wombat_slice key, const struct record *record);

/* The same appended to a body. Any keyspace, the engine's own (0) too. */
MUST_CHECK enum wombat_status write_batch_add_put(struct buf *body, unsigned keyspace, struct wombat_slice key,
	const struct record *record);
MUST_CHECK enum wombat_status write_batch_add_delete(struct buf *body, unsigned keyspace, struct wombat_slice key);
MUST_CHECK enum wombat_status write_batch_add_delete_range(struct buf *body, unsigned keyspace, struct wombat_slice from,
	struct wombat_slice to);

/* A put that points to a value in the value log, `record->pointer`; the rest of the record comes from `info`. */
MUST_CHECK enum wombat_status write_batch_put_shared(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
	struct record *record, const struct wombat_put_info *info);

/* A put of a value that is in extents, which the database copies when it writes the batch. */
MUST_CHECK enum wombat_status write_batch_put_copy(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
	struct wombat_value *value, uint64_t size, const struct wombat_put_info *info);

/* A deletion that is a conflict if the key has a change of a greater number when the batch is written. */
MUST_CHECK enum wombat_status write_batch_delete_unchanged(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
	uint64_t sequence);
/* Takes such a one back, the last change of the batch. */
void write_batch_undo_delete(struct wombat_batch *b);
/* Deletes `from`, likewise, and puts a head with the same extents under `to`; `owner`: the key of the record that says so. */
MUST_CHECK enum wombat_status write_batch_move(struct wombat_batch *b, unsigned keyspace, struct wombat_slice from,
	struct wombat_slice to, struct wombat_slice owner, const struct value_extents *extents, uint64_t sequence,
	const struct wombat_put_info *info);

/* One decoded change. Slices point into the body; `key` and `end` without the keyspace byte. */
struct batch_change {
	uint8_t kind;
	uint8_t keyspace;
	struct wombat_slice key;
	struct wombat_slice value; /* KIND_PUT: the encoded record */
	struct wombat_slice end;   /* KIND_DELETE_RANGE */
};
/* Moves the cursor over one change. WOMBAT_CORRUPTION: not a change. */
MUST_CHECK enum wombat_status write_batch_next(struct cursor *c, struct batch_change *out);

/* Adds all changes of a body to the memtable, numbered from `sequence` on, those before or at
 * `skip_to` left out (0: none). `time_ns` stands for "now". `out_count`: changes in the body. */
MUST_CHECK enum wombat_status write_batch_apply(struct wombat_slice body, uint64_t sequence, uint64_t skip_to,
	uint64_t time_ns, struct memtable *m, uint32_t *out_count);

#endif
