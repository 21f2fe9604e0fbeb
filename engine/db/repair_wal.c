/* The write-ahead log of a damaged database: what can be read of it goes into a table of level 0, and its files to lost/. */
#include <inttypes.h>

#include "engine/db/db_journal.h"
#include "engine/db/repair_impl.h"
#include "engine/wal/wal_salvage.h"

struct wal_work {
	struct repair *r;
	bool whole;
	struct memtable *changes;
	uint64_t last; /* change that was saved */
	struct db_journal journal;
};

/* A body whose changes of lost values are deletions; `*out_whole`: there is none. */
static enum wombat_status rewrite_body(struct repair *r, struct wombat_slice body, bool tell, struct buf *out, bool *out_whole)
{
	struct cursor c = cursor_of(body);
	struct batch_change change;
	enum wombat_status s = WOMBAT_OK;
	*out_whole = true;
	while (cursor_left(&c) > 0 && s == WOMBAT_OK) {
		const uint8_t *begin = c.p;
		bool whole = true;
		s = write_batch_next(&c, &change);
		if (s == WOMBAT_OK && change.kind == KIND_PUT)
			s = repair_entry_is_whole(r, tag_make(1, KIND_PUT), change.value, &whole);
		if (s == WOMBAT_OK && whole)
			s = buf_append(out, begin, (size_t)(c.p - begin));
		else if (s == WOMBAT_OK)
			s = write_batch_add_delete(out, change.keyspace, change.key);
		if (s == WOMBAT_OK && !whole && tell)
			repair_say(r, true, "keyspace %u key of %zu bytes \"%.*s\": its value is lost: %s", change.keyspace, change.key.size,
			    (int)(change.key.size < 40 ? change.key.size : 40), (const char *)change.key.data, status_detail());
		*out_whole = *out_whole && whole;
	}
	return s;
}

static enum wombat_status look_at_change(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
					 struct wombat_slice body, uint32_t epoch)
{
	struct wal_work *w = arg;
	struct buf copy = { 0 };
	bool whole;
	(void)sequence;
	(void)time_ns;
	(void)count;
	(void)epoch;
	enum wombat_status s = rewrite_body(w->r, body, false, &copy, &whole);
	buf_done(&copy);
	w->whole = w->whole && whole;
	return s == WOMBAT_OK ? db_journal_pass(&w->journal, body) : s;
}

static enum wombat_status save_change(void *arg, uint64_t sequence, uint64_t time_ns, struct wombat_slice body)
{
	struct wal_work *w = arg;
	struct buf copy = { 0 };
	uint32_t count;
	bool whole;
	enum wombat_status s = rewrite_body(w->r, body, true, &copy, &whole);
	if (s == WOMBAT_OK)
		s = write_batch_apply(buf_slice(&copy), sequence, w->r->state.flushed_sequence, time_ns, w->changes, &count);
	if (s == WOMBAT_OK && count)
		w->last = sequence + count - 1;
	buf_done(&copy);
	return s == WOMBAT_OK ? db_journal_pass(&w->journal, body) : s;
}

static enum wombat_status save_journal_change(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
					      struct wombat_slice body, uint32_t epoch)
{
	(void)count;
	(void)epoch;
	return save_change(arg, sequence, time_ns, body);
}

static void on_changes_lost(void *arg, uint64_t first, uint64_t last)
{
	struct wal_work *w = arg;
	repair_say(w->r, true, "the write-ahead log: the changes %" PRIu64 " to %" PRIu64 " are lost%s", first, last,
	    w->r->has_manifest ? "" : ", or were in tables");
}

/* What only the journal has, behind all that the log has. */
static enum wombat_status rescue_journal(struct repair *r, struct wal_work *w, struct vlog_position from)
{
	w->journal = (struct db_journal){
		.values = r->values, .from = from, .apply = save_journal_change, .lost = on_changes_lost,
		.arg = w,
	};
	enum wombat_status s = db_journal_replay(&w->journal, &w->last);
	r->state.journal = from.file ? vlog_end(r->values) : from;
	return s;
}

static enum wombat_status write_changes(struct repair *r, struct memtable *changes)
{
	const struct wombat_slice none = { NULL, 0 };
	struct repair_output o = { .r = r, .level = 0 };
	struct range_fragments *fragments = NULL;
	struct range_del_set ranges;
	struct iter *it;
	range_del_set_init(&ranges);
	enum wombat_status s = memtable_iter_new(changes, &it);
	if (s != WOMBAT_OK)
		return s;
	for (iter_first(it); it->valid && s == WOMBAT_OK; iter_next(it))
		s = repair_output_add(&o, it->key, it->tag, it->value);
	if (s == WOMBAT_OK)
		s = it->status;
	if (s == WOMBAT_OK)
		s = memtable_range_dels(changes, &fragments);
	if (s == WOMBAT_OK)
		s = range_fragments_collect(fragments, none, none, &ranges);
	if (s == WOMBAT_OK)
		s = repair_output_add_ranges(&o, &ranges);
	if (s == WOMBAT_OK)
		s = repair_output_end(&o);
	repair_output_done(&o);
	iter_free(it);
	range_fragments_unref(fragments);
	range_del_set_done(&ranges);
	return s;
}

/* All that can be read of the log goes into a table, and its files go. */
static enum wombat_status rescue_wal(struct repair *r, struct wal_work *w)
{
	const struct wal_salvage to = { save_change, on_changes_lost, w };
	uint64_t highest = 0, before = r->losses;
	struct vlog_position journal = r->state.journal;
	w->journal = (struct db_journal){ .values = r->values, .from = journal };
	w->last = r->state.flushed_sequence;
	enum wombat_status s = memtable_new(0, &w->changes);
	if (s == WOMBAT_OK)
		s = wal_salvage(r->env, r->dir, r->state.flushed_sequence, &to, &highest);
	if (s == WOMBAT_OK)
		s = rescue_journal(r, w, journal);
	if (w->last > highest)
		highest = w->last;
	if (s == WOMBAT_OK)
		s = write_changes(r, w->changes);
	memtable_unref(w->changes);
	if (s != WOMBAT_OK)
		return s;
	if (r->losses == before)
		repair_say(r, true, "the write-ahead log is damaged: its newest changes may be lost");
	/* No record that is left somewhere has a number that is given again. */
	if (highest > r->state.last_sequence)
		r->state.last_sequence = highest;
	r->state.flushed_sequence = r->state.last_sequence;
	r->changed = true;
	for (size_t i = 0; i < r->file_count; i++)
		if (r->files[i].kind == FILE_WAL)
			r->files[i].damaged = r->files[i].goes = true;
	return WOMBAT_OK;
}

static enum wombat_status look_at_journal(void *arg, uint64_t *last)
{
	return db_journal_replay(&((struct wal_work *)arg)->journal, last);
}

enum wombat_status repair_wal(struct repair *r)
{
	struct wal_work w = { .r = r, .whole = true };
	const struct wal_replay_to to = { look_at_change, look_at_journal, &w };
	struct wal_replay replay;
	/* Without a manifest nobody knows where the journal begins, nor whether there is one. */
	r->state.journal = r->has_manifest ? r->old.journal : (struct vlog_position){ 1, 0 };
	w.journal = (struct db_journal){ .values = r->values, .from = r->state.journal, .apply = look_at_change, .arg = &w };
	if (!r->has_manifest)
		r->state.flushed_sequence = r->state.last_sequence;
	enum wombat_status s = wal_replay_all(r->env, r->dir, r->state.flushed_sequence, &to, &replay, NULL);
	if (!r->has_manifest && !w.journal.found)
		r->state.journal.file = 0;
	if (s == WOMBAT_OK && w.whole) {
		if (replay.torn)
			repair_say(r, false, "the write-ahead log ends in an incomplete record, which was never acknowledged as durable");
		return WOMBAT_OK;
	}
	if (s == WOMBAT_CORRUPTION)
		repair_say(r, false, "%s", status_detail());
	return s == WOMBAT_OK || s == WOMBAT_CORRUPTION ? rescue_wal(r, &w) : s;
}
