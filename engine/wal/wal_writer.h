/*
 * Appends records to the write-ahead log and makes them durable, over a pool of reused segments.
 *
 * Appending is a copy into mapped memory: no system call. It survives the process at once and the
 * machine after wal_writer_sync(). One thread appends at a time (the write leader); syncs, releases and
 * preparations may run in other threads meanwhile.
 */
#ifndef WOMBAT_WAL_WAL_WRITER_H
#define WOMBAT_WAL_WAL_WRITER_H

#include "engine/env/env.h"

struct wal_writer;
struct wal_tail; /* where recovery ended: see wal_reader.h */

struct wal_writer_options {
	struct env *env;
	const char *dir;          /* copied */
	uint64_t segment_bytes;   /* wal_file_size */
	/* A number for a new segment's file name; called under no lock of the writer's. */
	uint64_t (*next_file_number)(void *arg);
	/* What must be durable before records that were appended may be said to be: called in a sync, with no lock held.
	 * May be NULL. */
	enum wombat_status (*before_sync)(void *arg);
	void *arg;
	unsigned spare_segments;  /* how many unused ones are kept (2) */
};

/* Takes over the segments that recovery found: the last is continued behind its tail, live ones are
 * kept until released, unused ones are spares. The tail is consumed in any case. */
MUST_CHECK enum wombat_status wal_writer_open(const struct wal_writer_options *options, struct wal_tail *tail,
	struct wal_writer **out);
/* Appends a closing record and syncs when `clean`; frees in any case. NULL is fine. */
enum wombat_status wal_writer_close(struct wal_writer *w, bool clean);

/*
 * One record: the payload header and the pieces. `sequence` is the first change's: the number behind the last
 * change of the record before (of recovery, for the first). `count` changes in all. `*out_epoch`: the epoch of
 * the segment it went to, for wal_writer_release. A record larger than a segment gets one of its own.
 * WOMBAT_NO_SPACE, WOMBAT_IO: no new segment could be made; nothing was appended.
 */
MUST_CHECK enum wombat_status wal_writer_append(struct wal_writer *w, uint64_t sequence, uint64_t time_ns,
	uint32_t count, const struct wombat_slice *pieces, size_t piece_count, uint32_t *out_epoch);

/* Says whether the appending thread will sync right after its next appends: it changes how they are stored, not
 * what is promised. */
void wal_writer_sync_next(struct wal_writer *w, bool will_sync);

/* Durable: all records whose append returned before. One fdatasync, none when nothing is new. Callers in
 * parallel share one. After a failure every later call fails with the first cause. */
MUST_CHECK enum wombat_status wal_writer_sync(struct wal_writer *w);

/* Up to which change all are durable. Any thread; the appending one sees what it was told itself. */
uint64_t wal_writer_durable(const struct wal_writer *w);
/* The appending thread says that all changes up to that one, which it appended, were made durable elsewhere; records that
 * follow may say so. */
void wal_writer_vouch(struct wal_writer *w, uint64_t sequence);

/* Segments whose records all have epochs below `epoch` are no longer needed. */
void wal_writer_release(struct wal_writer *w, uint32_t epoch);

/* Makes a spare segment ready when there is none, so that the next rotation does not wait for the
 * disk. For a background thread. `wal_writer_wants_spare` is a relaxed load. */
bool wal_writer_wants_spare(const struct wal_writer *w);
MUST_CHECK enum wombat_status wal_writer_prepare(struct wal_writer *w);

uint32_t wal_writer_epoch(const struct wal_writer *w); /* of the current segment */

struct wal_counts {
	uint64_t appended_bytes, records, syncs, sync_ns, rotations;
	uint64_t live_bytes, file_bytes, files; /* of segments */
	uint64_t unsynced_bytes;
};
void wal_writer_counts(struct wal_writer *w, struct wal_counts *out);
void wal_writer_set_segment_bytes(struct wal_writer *w, uint64_t bytes);

#endif
