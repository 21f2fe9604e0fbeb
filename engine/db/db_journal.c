/* See db_journal.h. */
#include "engine/db/db_journal.h"

#include <inttypes.h>

/* ---- Writing ------------------------------------------------------------------------------- */

bool db_journal_fits(struct wombat *db, size_t bytes)
{
	/* Elsewhere is another device, perhaps: what is small must not depend on that. */
	return !db->value_dir.apart && bytes <= VLOG_JOURNAL_BODY_MAX && wal_writer_durable(db->wal) >= db->last_sequence;
}

/* Before the first journal record: the manifest says that there may be some. */
static enum wombat_status begin(struct wombat *db)
{
	struct version_edit edit;
	version_edit_init(&edit);
	edit.journal = vlog_end(db->values);
	mutex_lock(&db->state_mu);
	enum wombat_status s = version_set_apply(db->versions, &edit); /* drops and takes state_mu */
	if (s == WOMBAT_OK)
		db->has_journal = true;
	else
		db_background_fail_locked(db, s);
	mutex_unlock(&db->state_mu);
	version_edit_done(&edit);
	return s;
}

bool db_journal_write(struct wombat *db, const struct vlog_journal_record *record, const struct wombat_slice *bodies,
		      size_t count)
{
	if (!db->has_journal && begin(db) != WOMBAT_OK)
		return false;
	if (vlog_journal_append(db->values, record, bodies, count) != WOMBAT_OK || vlog_sync(db->values) != WOMBAT_OK)
		return false;
	wal_writer_vouch(db->wal, record->sequence + record->count - 1);
	return true;
}

/* ---- Recovery ------------------------------------------------------------------------------ */

static bool is_behind(struct vlog_position a, struct vlog_position b)
{
	return a.file > b.file || (a.file == b.file && a.offset > b.offset);
}

enum wombat_status db_journal_pass(struct db_journal *j, struct wombat_slice body)
{
	struct cursor c = cursor_of(body);
	enum wombat_status s = WOMBAT_OK;
	while (j->from.file && s == WOMBAT_OK && cursor_left(&c) > 0) {
		struct batch_change change;
		struct record r = { .elsewhere = false };
		s = write_batch_next(&c, &change);
		if (s == WOMBAT_OK && change.kind == KIND_PUT)
			s = record_decode(change.value, &r);
		if (s != WOMBAT_OK || !r.elsewhere)
			continue;
		struct vlog_position end = vlog_record_end(&r.pointer);
		if (is_behind(end, j->from))
			j->from = end;
	}
	return s;
}

static enum wombat_status look_at(void *arg, const struct vlog_journal_record *r)
{
	struct db_journal *j = arg;
	if (r->durable_sequence > j->claim.durable_sequence)
		j->claim = *r;
	uint64_t last = r->sequence + r->count - 1;
	if (last <= j->last)
		return WOMBAT_OK;
	j->found = true;
	bool follows = r->sequence == j->last + 1 || (j->lost && r->sequence > j->last);
	if (j->ended || (r->beyond_tear && !j->lost) || !follows)
		return WOMBAT_OK;
	if (r->sequence > j->last + 1)
		j->lost(j->arg, j->last + 1, r->sequence - 1);
	enum wombat_status s = j->apply(j->arg, r->sequence, r->time_ns, r->count, r->body, 0);
	if (s == WOMBAT_NOT_FOUND) { /* One of its values is not whole, so it was never synced. */
		j->ended = true;
		return WOMBAT_OK;
	}
	if (s == WOMBAT_OK)
		j->last = last;
	return s;
}

enum wombat_status db_journal_replay(struct db_journal *j, uint64_t *last)
{
	if (!j->from.file)
		return WOMBAT_OK;
	j->last = *last;
	enum wombat_status s = vlog_journal_walk(j->values, j->from, look_at, j);
	if (s == WOMBAT_OK && !j->lost && j->claim.durable_sequence > j->last)
		return fail(WOMBAT_CORRUPTION, "changes are missing: value log file %06" PRIu64 " proves at offset %" PRIu64
			    " that those up to sequence %" PRIu64 " had been durable, and the write-ahead log and the journal end at %"
			    PRIu64, j->claim.at.file, j->claim.at.offset, j->claim.durable_sequence, j->last);
	if (s == WOMBAT_OK)
		*last = j->last;
	return s;
}
