/*
 * Sorted data by tables: what is put is written to tables and to the value log as it comes, past the log and the
 * memtable, and a commit makes it all visible at once, as one change with one sequence number; with a batch, if there is one,
 * whose changes have the numbers behind it.
 *
 * The number is not known before: entries of these tables are written with 0, and the manifest says of each table which
 * number its entries have (file_meta.sequence). The commit leads the writers alone:
 *
 *     the memtable is flushed          what is newer than all tables must not be looked up behind older changes
 *     changes of its own are logged    tombstones that nobody reads; they take the numbers, so that the log's go on
 *     the batch becomes a table        of level 0, by way of a memtable: then one edit of the manifest says everything
 *     each table gets a level          the deepest above which, and in which, nothing overlaps it; else level 0
 *     the edit is applied, and the number becomes visible
 *
 * Until the edit is durable nothing points to the tables, and a crash leaves orphans, which the next open removes.
 */
#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/compact/flush.h"
#include "engine/compact/rewrite.h"
#include "engine/db/db_impl.h"
#include "engine/version/tiers.h"

struct wombat_ingest {
	struct wombat *db;
	struct table_builder_options table;
	uint64_t max_table_size, value_threshold;
	struct table_builder *builder; /* NULL: no table is open */
	uint64_t number;               /* of the open one */
	struct buf last;               /* key, with the keyspace byte, of the last entry */
	struct buf record;
	uint64_t bytes;                /* that were put */
	struct version_edit edit;      /* tables that are complete */
	bool failed;                   /* something of it is missing: it can only be abandoned */

	/* Of the commit. */
	const struct wombat_batch *batch; /* NULL: none */
	struct wombat_slice body;      /* of the batch, its values placed */
	uint32_t changes;              /* in that */
	struct version_claim *claims;  /* one for each table below level 0, while the manifest is written */
	size_t claim_count;
};

enum wombat_status wombat_ingest_new(struct wombat *db, struct wombat_ingest **out_ingest)
{
	enum wombat_status s = db_check_writable(db);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_ingest *g = mem_zalloc(sizeof *g);
	if (!g)
		return fail_no_memory();
	g->db = db;
	mutex_lock(&db->state_mu);
	g->table = db_table_options(&db->options);
	g->max_table_size = db->options.max_table_size;
	g->value_threshold = db->options.value_threshold;
	mutex_unlock(&db->state_mu);
	version_edit_init(&g->edit);
	vlog_hold(db->values); /* What is appended shows in no version before the commit. */
	*out_ingest = g;
	return WOMBAT_OK;
}

static struct compaction_context context_of(const struct wombat *db)
{
	return (struct compaction_context){ .env = db->env, .dir = db->dir };
}

void wombat_ingest_free(struct wombat_ingest *g)
{
	if (!g)
		return;
	const struct compaction_context context = context_of(g->db);
	table_builder_abandon(g->builder);
	rewrite_undo(&context, &g->edit, 0);
	version_edit_done(&g->edit);
	vlog_unhold(g->db->values);
	buf_done(&g->last);
	buf_done(&g->record);
	mem_free(g);
}

/* ---- Putting ------------------------------------------------------------------------------- */

static enum wombat_status open_table(struct wombat_ingest *g)
{
	char path[FILENAME_PATH_MAX];
	struct wombat *db = g->db;
	g->number = version_set_new_file_number(db->versions);
	if (!filename_path(path, db->dir, FILE_TABLE, g->number))
		return fail(WOMBAT_INVALID, "the path %s is too long", db->dir);
	return table_builder_new(db->env, path, &g->table, &g->builder);
}

static enum wombat_status close_table(struct wombat_ingest *g)
{
	struct table_summary summary = { 0 };
	if (!g->builder)
		return WOMBAT_OK;
	enum wombat_status s = table_builder_finish(g->builder, &summary);
	g->builder = NULL;
	if (s != WOMBAT_OK)
		return s;
	s = version_edit_add(&g->edit, 0, g->number, &summary);
	if (s != WOMBAT_OK) {
		char path[FILENAME_PATH_MAX];
		if (filename_path(path, g->db->dir, FILE_TABLE, g->number))
			g->db->env->calls->remove(g->db->env, path);
		table_summary_done(&summary);
	}
	return s;
}

static enum wombat_status check_order(const struct wombat_ingest *g, struct wombat_slice key)
{
	char text[KEY_TEXT_FULL], last[KEY_TEXT_FULL];
	if (g->last.size == 0 || slice_compare(buf_slice(&g->last), key) < 0)
		return WOMBAT_OK;
	return fail(WOMBAT_INVALID, "what is ingested comes in ascending order: %s does not come behind %s",
		    key_text_full(key, text), key_text_full(buf_slice(&g->last), last));
}

static enum wombat_status place_value(struct wombat_ingest *g, struct wombat_slice key, struct record *r)
{
	struct wombat *db = g->db;
	if (!g->value_threshold || r->value.size < g->value_threshold)
		return WOMBAT_OK;
	enum wombat_status s = vlog_append(db->values, key, r->value, &r->pointer);
	if (s != WOMBAT_OK)
		return s;
	vlog_written(db->values, r->pointer.file, 0);
	r->elsewhere = true;
	return WOMBAT_OK;
}

static enum wombat_status put(struct wombat_ingest *g, struct wombat_slice key, struct record *r)
{
	bool full = g->builder && table_builder_bytes(g->builder) >= g->max_table_size;
	enum wombat_status s = full ? close_table(g) : WOMBAT_OK;
	if (s == WOMBAT_OK && !g->builder)
		s = open_table(g);
	if (s == WOMBAT_OK)
		s = place_value(g, key, r);
	if (s != WOMBAT_OK)
		return s;
	size_t size = record_encoded_size(r);
	buf_clear(&g->record);
	s = buf_reserve(&g->record, size);
	if (s != WOMBAT_OK)
		return s;
	record_encode(g->record.data, r);
	s = table_builder_add(g->builder, key, tag_make(0, KIND_PUT), slice_make(g->record.data, size));
	return s == WOMBAT_OK ? buf_set(&g->last, key) : s;
}

enum wombat_status wombat_ingest_put(struct wombat_ingest *g, unsigned keyspace, struct wombat_slice key,
				     struct wombat_slice value, const struct wombat_put_info *info)
{
	struct db_key k;
	struct record r = { .value = value };
	if (info) {
		r.time_ns = info->time_ns;
		r.expiry_ns = info->expiry_ns;
		r.attr = info->attr;
	}
	if (!r.time_ns)
		r.time_ns = g->db->env->calls->now_ns(g->db->env);
	enum wombat_status s = db_check_limits(g->db, key.size, value.size, r.attr.size);
	if (s == WOMBAT_OK && g->failed)
		s = fail(WOMBAT_INVALID, "an ingestion goes on behind a failure");
	if (s == WOMBAT_OK)
		s = db_key_init(&k, keyspace, key);
	if (s != WOMBAT_OK)
		return s;
	s = check_order(g, k.slice);
	if (s == WOMBAT_OK) {
		s = put(g, k.slice, &r);
		g->failed = s != WOMBAT_OK;
		g->bytes += key.size + value.size;
	}
	db_key_done(&k);
	return s;
}

/* ---- Commit -------------------------------------------------------------------------------- */

/* The deepest level for a table of which nothing newer or older lies above or in. */
static unsigned level_for(struct wombat *db, const struct version *v, const struct key_span *span)
{
	bool tiered = db->options.compaction_strategy == STRATEGY_TIERED;
	unsigned best = 0, last = tiered ? tiers_base(v) : v->level_count - 1;
	for (unsigned level = 0; level <= last && !version_level_overlaps(v, level, span); level++)
		if (level > 0 && !(tiered && level < last) && !version_set_claimed(db->versions, level, span))
			best = level;
	return best;
}

/* Gives each table its level, its number, and a claim on its place there while the state lock is dropped. */
static enum wombat_status place_tables_locked(struct wombat *db, struct wombat_ingest *g, uint64_t sequence)
	REQUIRES(&db->state_mu);
static enum wombat_status place_tables_locked(struct wombat *db, struct wombat_ingest *g, uint64_t sequence)
{
	struct version *v = version_set_current(db->versions);
	g->claims = mem_zalloc(g->edit.added_count * sizeof *g->claims);
	enum wombat_status s = g->claims ? WOMBAT_OK : fail_no_memory();
	for (size_t i = 0; i < g->edit.added_count && s == WOMBAT_OK; i++) {
		struct file_meta *f = g->edit.added[i].file;
		struct key_span span = file_meta_span(f);
		f->sequence = f->summary.smallest_sequence = f->summary.largest_sequence = sequence;
		g->edit.added[i].level = level_for(db, v, &span);
		if (g->edit.added[i].level == 0)
			continue;
		struct version_claim *claim = &g->claims[g->claim_count++];
		*claim = (struct version_claim){ .level = g->edit.added[i].level, .span = span };
		version_set_claim(db->versions, claim);
	}
	version_unref(v);
	return s;
}

static enum wombat_status flush_batch(struct wombat *db, struct memtable *m, struct version_edit *out)
{
	struct compaction_context context;
	struct compaction_result result = { 0 };
	mutex_lock(&db->state_mu);
	enum wombat_status s = db_context_init_locked(db, &context);
	mutex_unlock(&db->state_mu);
	if (s != WOMBAT_OK)
		return s;
	context.share = NULL;
	context.throttle = NULL;
	context.cancel = NULL;
	s = flush_run(&context, &m, 1, out, &result);
	db_context_done(&context);
	return s;
}

/* The batch as a table, its changes numbered from `sequence` on. */
static enum wombat_status write_batch_table(struct wombat_ingest *g, uint64_t sequence, struct version_edit *out)
{
	struct wombat *db = g->db;
	struct memtable *m;
	uint32_t changes;
	if (!g->batch)
		return WOMBAT_OK;
	const struct moves_guard guard = moves_guard_of(db, g->batch);
	enum wombat_status s = g->batch->move_count ? guard.guard.check(&guard.guard) : WOMBAT_OK;
	if (s == WOMBAT_OK)
		s = memtable_new(atomic_load_explicit(&db->live.mem_table_size, memory_order_relaxed), &m);
	if (s != WOMBAT_OK)
		return s;
	s = write_batch_apply(g->body, sequence, 0, db->env->calls->now_ns(db->env), m, &changes);
	if (s == WOMBAT_OK)
		s = flush_batch(db, m, out);
	if (s == WOMBAT_OK) {
		stats_add(db->stats, STAT_PUTS, changes - memtable_deletes(m));
		stats_add(db->stats, STAT_DELETES, memtable_deletes(m));
		stats_add(db->stats, STAT_USER_BYTES, g->body.size);
	}
	memtable_unref(m);
	return s;
}

/* All tables in one edit, with what the manifest is to know of the numbers. */
static enum wombat_status complete_edit_locked(struct wombat *db, struct wombat_ingest *g, uint64_t sequence,
					       const struct version_edit *top) REQUIRES(&db->state_mu);
static enum wombat_status complete_edit_locked(struct wombat *db, struct wombat_ingest *g, uint64_t sequence,
					       const struct version_edit *top)
{
	enum wombat_status s = place_tables_locked(db, g, sequence);
	for (size_t i = 0; i < top->added_count && s == WOMBAT_OK; i++)
		s = version_edit_add_file(&g->edit, 0, top->added[i].file);
	if (s != WOMBAT_OK)
		return s;
	g->edit.has_last_sequence = g->edit.has_flushed_sequence = true;
	g->edit.last_sequence = g->edit.flushed_sequence = sequence + g->changes;
	return WOMBAT_OK;
}

/* The leader's part: all changes before are in tables, and nobody writes. */
static enum wombat_status apply(void *arg, uint64_t sequence)
{
	struct wombat_ingest *g = arg;
	struct wombat *db = g->db;
	struct version_edit top; /* of the batch */
	const struct compaction_context context = context_of(db);
	version_edit_init(&top);
	enum wombat_status s = write_batch_table(g, sequence + 1, &top);
	mutex_lock(&db->state_mu);
	if (s == WOMBAT_OK)
		s = complete_edit_locked(db, g, sequence, &top);
	bool begun = s == WOMBAT_OK; /* Before, nothing has happened: of what was logged nobody sees anything. */
	if (begun)
		s = version_set_apply(db->versions, &g->edit); /* drops and takes state_mu */
	for (size_t i = 0; i < g->claim_count; i++)
		version_set_unclaim(db->versions, &g->claims[i]);
	g->claim_count = 0;
	mem_free(g->claims);
	g->claims = NULL;
	if (s == WOMBAT_OK)
		s = db_view_install_locked(db);
	if (s != WOMBAT_OK && begun)
		db_background_fail_locked(db, s);
	db_state_changed_locked(db);
	mutex_unlock(&db->state_mu);
	if (!begun)
		rewrite_undo(&context, &top, 0);
	version_edit_done(&top);
	return s;
}

/* What the tables point to, and their names, before the manifest says them. */
static enum wombat_status make_durable(struct wombat_ingest *g)
{
	struct wombat *db = g->db;
	enum wombat_status s = close_table(g);
	if (s == WOMBAT_OK)
		s = vlog_sync(db->values);
	return s == WOMBAT_OK ? db->env->calls->dir_sync(db->env, db->dir) : s;
}

static void note_done(struct wombat_ingest *g)
{
	struct wombat *db = g->db;
	uint64_t entries = 0, bytes = 0;
	for (size_t i = 0; i < g->edit.added_count; i++) {
		entries += g->edit.added[i].file->summary.entries;
		bytes += g->edit.added[i].file->summary.file_bytes;
	}
	stats_add(db->stats, STAT_INGESTED_TABLES, g->edit.added_count);
	stats_add(db->stats, STAT_INGESTED_BYTES, bytes);
	stats_add(db->stats, STAT_PUTS, entries);
	stats_add(db->stats, STAT_USER_BYTES, g->bytes);
	event_log_line(db->log, EVENT_INFO, "ingested %" PRIu64 " entries in %zu tables of %" PRIu64 " bytes", entries,
		       g->edit.added_count, bytes);
}

/* The batch's values in the value log, if they go there, before that is made durable. */
static enum wombat_status place_batch(struct wombat_ingest *g, struct placed_batch *placed)
{
	*placed = (struct placed_batch){ .changes = 0 };
	g->changes = g->batch ? g->batch->count : 0;
	if (!g->batch)
		return WOMBAT_OK;
	g->body = buf_slice(&g->batch->body);
	enum wombat_status s = db_check_batch(g->db, g->batch);
	if (s != WOMBAT_OK || !db_batch_needs_placing(g->db, g->batch))
		return s;
	s = db_place(g->db, g->batch, placed);
	g->body = buf_slice(&placed->body);
	g->changes = placed->changes;
	return s;
}

enum wombat_status wombat_ingest_prepare(struct wombat_ingest *g)
{
	if (g->failed)
		return fail(WOMBAT_INVALID, "an ingestion that failed cannot be committed");
	enum wombat_status s = make_durable(g);
	if (s == WOMBAT_OK)
		s = wombat_flush(g->db);
	g->failed = s != WOMBAT_OK;
	return s;
}

static enum wombat_status commit(struct wombat_ingest *g, uint64_t *out_sequence)
{
	struct wombat *db = g->db;
	struct placed_batch placed;
	uint64_t sequence = 0;
	enum wombat_status s = place_batch(g, &placed);
	if (s == WOMBAT_OK)
		s = wombat_ingest_prepare(g); /* most of the flush without holding writers up */
	if (s == WOMBAT_OK)
		s = db_write_alone(db, 1 + g->changes, apply, g, &sequence);
	db_place_done(db, &placed, s == WOMBAT_OK ? sequence : 0);
	/* After a failure the manifest may name the tables all the same. */
	if (s != WOMBAT_OK && g->edit.has_last_sequence)
		version_edit_done(&g->edit);
	g->failed = s != WOMBAT_OK;
	if (s == WOMBAT_OK)
		*out_sequence = sequence;
	return s;
}

enum wombat_status wombat_ingest_commit_with(struct wombat_ingest *g, const struct wombat_batch *batch, uint64_t *out_sequence)
{
	uint64_t sequence = atomic_load_explicit(&g->db->visible_sequence, memory_order_acquire);
	if (g->failed)
		return fail(WOMBAT_INVALID, "an ingestion that failed cannot be committed");
	enum wombat_status s = db_check_writable(g->db);
	g->batch = batch && batch->count ? batch : NULL;
	if (s == WOMBAT_OK && (g->builder || g->edit.added_count || g->batch))
		s = commit(g, &sequence);
	g->batch = NULL;
	if (s != WOMBAT_OK)
		return s;
	note_done(g);
	version_edit_done(&g->edit);
	buf_clear(&g->last);
	g->bytes = 0;
	if (out_sequence)
		*out_sequence = sequence;
	return WOMBAT_OK;
}

enum wombat_status wombat_ingest_commit(struct wombat_ingest *g, uint64_t *out_sequence)
{
	return wombat_ingest_commit_with(g, NULL, out_sequence);
}
