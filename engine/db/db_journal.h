/*
 * One sync for a durable group whose values are in the value log: its log record goes there too, behind them.
 *
 *     leader     values are appended (by the callers) -> write-ahead log, not synced -> journal record -> sync of the value log
 *     recovery   write-ahead log to its end -> journal records that go on from there -> all of it into tables
 *
 * What makes that right:
 *
 *   - Before such a group all changes are durable, so what is durable stays a prefix. Where they are not, as behind a
 *     group that nobody synced, the write-ahead log is synced as well: two syncs.
 *   - The write-ahead log has the record too: only a power cut makes the journal needed, and only for what came since the
 *     last sync of the log, which one every sync_interval_ms brings.
 *   - The manifest says where the journal of changes that are not in tables begins. It says so before the first journal
 *     record is written, by a field that makes older versions refuse the database.
 *   - A record that recovery passes over, because one before it is missing, must never be taken later, when its numbers
 *     were given again. So once one was seen behind the log's end all is flushed, and the journal begins behind all files.
 */
#ifndef WOMBAT_DB_DB_JOURNAL_H
#define WOMBAT_DB_DB_JOURNAL_H

#include "engine/db/db_impl.h"
#include "engine/vlog/vlog_journal.h"
#include "engine/wal/wal_reader.h"

/* ---- Writing: the leader's ---- */

/* Whether a durable group of that many bytes, with new values in the value log, can do without a sync of the write-ahead
 * log: asked before it is appended there. */
bool db_journal_fits(struct wombat *db, size_t bytes);
/* Makes the group, whose record was appended to the write-ahead log, durable. False: it is not; a sync of that log can. */
bool db_journal_write(struct wombat *db, const struct vlog_journal_record *record, const struct wombat_slice *bodies,
	size_t count);

/* ---- Recovery ---- */

struct db_journal {
	struct vlog *values;
	/* From the manifest; file 0: there is no journal. Moved on by what the write-ahead log has. */
	struct vlog_position from;
	/* As that of wal_replay, with an epoch of 0. */
	enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
		struct wombat_slice body, uint32_t epoch);
	void *arg;
	/* NULL: the journal ends at a gap. Else what follows one is taken as well, and this called: changes first to last are
	 * in no record. */
	void (*lost)(void *arg, uint64_t first, uint64_t last);

	bool found;   /* there are records behind the end of the write-ahead log, whether they were taken or not */
	/* Internal. */
	uint64_t last;
	bool ended;
	struct vlog_journal_record claim;
};
/* A record of the write-ahead log was applied: later journal records stand behind the values that it points to. */
MUST_CHECK enum wombat_status db_journal_pass(struct db_journal *j, struct wombat_slice body);
/* Applies the records that follow the change `*last`, and moves that on. WOMBAT_CORRUPTION: changes are missing that had been
 * durable. */
MUST_CHECK enum wombat_status db_journal_replay(struct db_journal *j, uint64_t *last);

#endif
