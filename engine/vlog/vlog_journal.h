/*
 * Journal records: copies of write-ahead log records in the value log, behind the values that their changes point to, so
 * that one sync makes both durable.
 *
 * They are records of a value log file without a key (vlog_format.h), which values never are. Only recovery reads them,
 * and only those of changes that the write-ahead log does not have any more.
 */
#ifndef WOMBAT_VLOG_VLOG_JOURNAL_H
#define WOMBAT_VLOG_VLOG_JOURNAL_H

#include "engine/base/slice.h"
#include "engine/base/status.h"

struct vlog;

/* Where a record of the value log begins. Later ones have a greater number, or the same and a greater offset. */
struct vlog_position {
	uint64_t file, offset;
};

struct vlog_journal_record {
	uint64_t durable_sequence; /* when it was written, all changes up to it were durable */
	uint64_t sequence;         /* of its first change */
	uint64_t time_ns;
	uint32_t count;            /* of changes, not 0 */
	struct wombat_slice body;
	struct vlog_position at;
	/* It stands behind one that is not whole: it may say what had been durable, but is not of the journal. */
	bool beyond_tear;
};

enum { VLOG_JOURNAL_BODY_MAX = 16384 };

/* Appends one, whose body is the pieces, of VLOG_JOURNAL_BODY_MAX bytes at most; vlog_sync() makes it durable. Its file
 * stays until the changes are in tables. WOMBAT_NO_SPACE, WOMBAT_IO: it may be there in part. */
MUST_CHECK enum wombat_status vlog_journal_append(struct vlog *v, const struct vlog_journal_record *record,
	const struct wombat_slice *pieces, size_t piece_count);
/* All that is appended from now on has this position or a later one. */
struct vlog_position vlog_end(struct vlog *v);
/* Where the record ends whose value is that one. */
struct value_pointer;
struct vlog_position vlog_record_end(const struct value_pointer *p);

/*
 * Calls `each` with the records from a position on, as far as files are whole, in the order in which they were written. What
 * follows a place where no record stands is searched for records at every byte, of whatever position, which are given with
 * `beyond_tear`. Bodies are lent for the call. What `each` returns other than WOMBAT_OK ends the walk.
 */
MUST_CHECK enum wombat_status vlog_journal_walk(struct vlog *v, struct vlog_position from,
	enum wombat_status (*each)(void *arg, const struct vlog_journal_record *record), void *arg);

#endif
