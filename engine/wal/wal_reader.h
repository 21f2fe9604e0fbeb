/*
 * Replays the write-ahead log of a directory, oldest change first, and says where it ended.
 */
#ifndef WOMBAT_WAL_WAL_READER_H
#define WOMBAT_WAL_WAL_READER_H

#include "engine/env/env.h"

struct wal_tail; /* handed to wal_writer_open, or freed */
void wal_tail_free(struct wal_tail *tail);

struct wal_replay {
	uint64_t durable_sequence; /* some record says that changes up to it had been durable; set before the first apply */
	uint64_t last_sequence;    /* of the last change seen; 0: none */
	uint64_t records;
	uint64_t bytes;
	bool beyond;               /* changes behind the log's end were found elsewhere */
	bool torn;                 /* the log ended in an incomplete record, which was cut off */
	uint64_t torn_file, torn_offset;
};

/* What a replay does with what it finds. */
struct wal_replay_to {
	enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
		struct wombat_slice body, uint32_t epoch);
	/* Called where the log ends, behind the change `*last`: applies what stands elsewhere of those that follow, and says
	 * how far that goes. NULL: nothing does. */
	enum wombat_status (*beyond)(void *arg, uint64_t *last);
	void *arg;
};

/*
 * Calls `apply` with each record whose changes are not all at or before `flushed_sequence`. Segments
 * that hold nothing newer are spares. Records must continue each other's sequence numbers.
 * WOMBAT_CORRUPTION: a bad record before one that proves it had been durable; the sentence names file
 * and offset. What `apply` returns other than WOMBAT_OK ends the replay; WOMBAT_NOT_FOUND says that the record points to
 * what was not written in time: the log ends before it, as before one that is incomplete itself.
 * `read_only`: no file is changed. `out_tail` may be NULL then. With `beyond` in the result the tail has no live segment:
 * the log does not go on where it ended, so all changes must be in tables before the tail is written to.
 */
MUST_CHECK enum wombat_status wal_replay_all(struct env *env, const char *dir, uint64_t flushed_sequence,
	const struct wal_replay_to *to, struct wal_replay *out, struct wal_tail **out_tail);
/* The same of a log that is alone. */
MUST_CHECK enum wombat_status wal_replay(struct env *env, const char *dir, uint64_t flushed_sequence,
	enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
		struct wombat_slice body, uint32_t epoch),
	void *arg, struct wal_replay *out, struct wal_tail **out_tail);

#endif
