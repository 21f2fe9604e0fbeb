/*
 * Work behind the writers' backs: flush, compaction, upkeep; and what writers are told of how far it is.
 *
 * Every piece of work follows one pattern: choose under the state lock, run without locks, apply the edit and
 * install a new read view under the state lock. A failure makes the database read-only and is kept; reads go on.
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/db/extents.h"

/* ---- Failures ------------------------------------------------------------------------------ */

void db_background_fail_locked(struct wombat *db, enum wombat_status s)
{
	mutex_assert_held(&db->state_mu);
	if (atomic_load_explicit(&db->background_status, memory_order_relaxed) != WOMBAT_OK)
		return;
	stats_error(db->stats, s);
	snprintf(db->background_detail, sizeof db->background_detail, "%s", status_detail());
	event_log_line(db->log, EVENT_ERROR, "read-only from here on: %s: %s", wombat_status_name(s), db->background_detail);
	/* Release: whoever sees the status finds the sentence. */
	atomic_store_explicit(&db->background_status, s, memory_order_release);
	condition_broadcast(&db->state_changed);
}

enum wombat_status wombat_background_status(struct wombat *db)
{
	enum wombat_status s = (enum wombat_status)atomic_load_explicit(&db->background_status, memory_order_acquire);
	if (s != WOMBAT_OK)
		status_set_detail(db->background_detail);
	return s;
}

enum wombat_status db_check_writable(struct wombat *db)
{
	if (db->read_only)
		return fail(WOMBAT_READ_ONLY, "%s was opened read-only", db->dir);
	if (atomic_load_explicit(&db->background_status, memory_order_acquire) != WOMBAT_OK)
		return fail(WOMBAT_READ_ONLY, "%s is read-only since an error: %s", db->dir, db->background_detail);
	return WOMBAT_OK;
}

/* ---- Stalls -------------------------------------------------------------------------------- */

void db_state_changed_locked(struct wombat *db)
{
	mutex_assert_held(&db->state_mu);
	struct version *v = version_set_current(db->versions);
	size_t stop_files = db->options.num_level_zero_tables_stall;
	struct stall_input in = {
		.memtables_waiting = db->waiting_count,
		.memtables_max = db->options.num_memtables,
		.level_zero_files = v->levels[0].count,
		.slow_files = stop_files - stop_files / 3,
		.stop_files = stop_files,
	};
	version_unref(v);
	uint64_t delay = 0;
	const char *reason;
	enum stall_kind kind = stall_decide(&in, &delay, &reason);
	/* A stop for memtables is the switch's own condition; relaxed: hints that the next write acts on. */
	if (kind == STALL_STOP && in.level_zero_files < in.stop_files)
		kind = STALL_NONE;
	if (kind == STALL_SLOW && atomic_load_explicit(&db->stall_kind, memory_order_relaxed) == STALL_NONE)
		event_log_line(db->log, EVENT_WARN, "writers are slowed: %s", reason);
	atomic_store_explicit(&db->stall_delay_ns_per_kib, delay, memory_order_relaxed);
	atomic_store_explicit(&db->stall_kind, kind, memory_order_relaxed);
	condition_broadcast(&db->state_changed);
	if (db->scheduler)
		scheduler_wake(db->scheduler, LANE_COMPACT);
}

/* ---- Context for jobs ---------------------------------------------------------------------- */

struct table_builder_options db_table_options(const struct options *o)
{
	return (struct table_builder_options){
		.block_bytes = o->block_size,
		.restart_interval = 8,
		.bloom_false_positive = o->bloom_false_positive,
		.compression = (enum table_compression)o->compression,
		.compression_level = (int)o->compression_level,
		.write_buffer_bytes = o->write_buffer_size,
		.direct_io = o->direct_io,
	};
}

enum wombat_status db_context_init_locked(struct wombat *db, struct compaction_context *c)
{
	uint64_t *snapshots;
	size_t count;
	enum wombat_status s = db_snapshot_list(db, &snapshots, &count);
	if (s != WOMBAT_OK)
		return s;
	const struct options *o = &db->options;
	*c = (struct compaction_context){
		.env = db->env,
		.dir = db->dir,
		.tables = db->tables,
		.versions = db->versions,
		.table = db_table_options(o),
		.max_table_size = o->max_table_size,
		.read_ahead_bytes = o->read_ahead_size,
		.snapshots = snapshots,
		.snapshot_count = count,
		.now_ns = db->env->calls->now_ns(db->env),
		.throttle = &db->compaction_throttle,
		.values = db->values,
		.dropped_extents = extents_note_dropped,
		.dropped_arg = db,
		.share = &db->share,
		/* More than compactors: whoever is done first takes another. */
		.ranges_max = o->num_compactors > 1 ? 2 * (size_t)o->num_compactors : 1,
		.cancel = &db->closing,
	};
	return WOMBAT_OK;
}

void db_context_done(struct compaction_context *c)
{
	mem_free((void *)(uintptr_t)c->snapshots);
}

/* ---- Flush --------------------------------------------------------------------------------- */

/* What of the WAL is still needed begins with the oldest memtable's changes. */
static uint32_t oldest_epoch_locked(const struct wombat *db)
{
	return db->waiting_count ? db->waiting[0].first_epoch : db->active.first_epoch;
}

enum wombat_status db_flush_slots_locked(struct wombat *db, struct mem_slot *slots, size_t count)
{
	struct memtable *tables[MEMTABLES_MAX];
	for (size_t i = 0; i < count; i++)
		tables[i] = slots[i].table;
	struct compaction_context context;
	struct compaction_result result = { 0 };
	struct version_edit edit;
	enum wombat_status s = db_context_init_locked(db, &context);
	if (s != WOMBAT_OK)
		return s;
	context.share = NULL;
	context.throttle = NULL; /* Writers wait for this: only compaction is throttled. */
	context.cancel = NULL;
	version_edit_init(&edit);
	edit.has_flushed_sequence = edit.has_last_sequence = true;
	edit.flushed_sequence = edit.last_sequence = slots[count - 1].last_sequence;
	if (db->has_journal)
		edit.journal = slots[count - 1].journal_end;
	uint64_t begin = db->env->calls->monotonic_ns(db->env);
	mutex_unlock(&db->state_mu);
	s = flush_run(&context, tables, count, &edit, &result);
	if (s == WOMBAT_OK)
		event_log_line(db->log, EVENT_INFO, "flush: %zu memtables, %" PRIu64 " bytes in %" PRIu64 " ms", count,
			       result.written_bytes, (db->env->calls->monotonic_ns(db->env) - begin) / 1000000);
	mutex_lock(&db->state_mu);
	if (s == WOMBAT_OK)
		s = version_set_apply(db->versions, &edit); /* drops and takes state_mu */
	version_edit_done(&edit);
	db_context_done(&context);
	if (s != WOMBAT_OK)
		return s;
	stats_add(db->stats, STAT_FLUSHES, 1);
	stats_add(db->stats, STAT_FLUSH_BYTES, result.written_bytes);
	return WOMBAT_OK;
}

static bool flush_once(struct wombat *db)
{
	mutex_lock(&db->state_mu);
	size_t count = db->waiting_count;
	if (count == 0 || db->flushing ||
	    atomic_load_explicit(&db->background_status, memory_order_relaxed) != WOMBAT_OK) {
		mutex_unlock(&db->state_mu);
		return false;
	}
	db->flushing = true;
	struct mem_slot slots[MEMTABLES_MAX];
	memcpy(slots, db->waiting, count * sizeof slots[0]);
	enum wombat_status s = db_flush_slots_locked(db, slots, count);
	bool flushed = s == WOMBAT_OK;
	db->flushing = false;
	if (flushed) {
		db->waiting_count -= count;
		memmove(db->waiting, db->waiting + count, db->waiting_count * sizeof db->waiting[0]);
		s = db_view_install_locked(db);
	}
	if (s != WOMBAT_OK)
		db_background_fail_locked(db, s);
	uint32_t epoch = oldest_epoch_locked(db);
	db_state_changed_locked(db);
	mutex_unlock(&db->state_mu);
	/* Without a new view readers keep the old one, which counts the memtables itself. */
	for (size_t i = 0; flushed && i < count; i++)
		memtable_unref(slots[i].table);
	if (flushed)
		wal_writer_release(db->wal, epoch);
	if (flushed && extents_sweep_due(db))
		scheduler_wake(db->scheduler, LANE_UPKEEP);
	return s == WOMBAT_OK;
}

enum wombat_status db_wait_flushed(struct wombat *db)
{
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&db->state_mu);
	while (s == WOMBAT_OK && (db->waiting_count > 0 || db->flushing)) {
		s = wombat_background_status(db);
		if (s == WOMBAT_OK)
			condition_wait(&db->state_changed, &db->state_mu); /* drops and takes state_mu */
	}
	mutex_unlock(&db->state_mu);
	return s;
}

enum wombat_status wombat_flush(struct wombat *db)
{
	enum wombat_status s = db_rotate_memtable(db);
	return s == WOMBAT_OK ? db_wait_flushed(db) : s;
}

/* ---- Compaction ---------------------------------------------------------------------------- */

static enum wombat_status move_files(const struct compaction_inputs *in, struct version_edit *edit)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < in->count[0] && s == WOMBAT_OK; i++) {
		s = version_edit_remove(edit, in->level, in->files[0][i]->number);
		if (s == WOMBAT_OK)
			s = version_edit_add_file(edit, in->output_level, in->files[0][i]);
	}
	return s;
}

static void log_compaction(struct wombat *db, const struct compaction_inputs *in, const struct compaction_result *result,
			   uint64_t ns)
{
	event_log_line(db->log, EVENT_INFO,
		       "compaction: %zu tables of level %u and %zu of level %u, read %" PRIu64 " bytes, wrote %" PRIu64
		       " in %" PRIu64 " ms", in->count[0], in->level, in->count[1], in->output_level, result->read_bytes,
		       result->written_bytes, ns / 1000000);
}

/* Runs one chosen compaction and applies it. Drops and takes state_mu. WOMBAT_BUSY: the database is closing. */
static enum wombat_status compact_inputs_locked(struct wombat *db, struct compaction_inputs *in) REQUIRES(&db->state_mu);
static enum wombat_status compact_inputs_locked(struct wombat *db, struct compaction_inputs *in)
{
	struct compaction_context context;
	struct compaction_result result = { 0 };
	struct version_edit edit;
	version_edit_init(&edit);
	enum wombat_status s = db_context_init_locked(db, &context);
	if (s != WOMBAT_OK)
		goto out;
	uint64_t *collect = db_values_to_collect_locked(db, &context.collect_count);
	context.collect = collect;
	db->compactions_running++;
	vlog_hold(db->values); /* What it writes anew there shows in no version before it is applied. */
	if (in->trivial_move) {
		s = move_files(in, &edit);
		event_log_line(db->log, EVENT_DEBUG, "moved %zu tables from level %u to %u", in->count[0], in->level,
			       in->output_level);
	} else {
		uint64_t begin = db->env->calls->monotonic_ns(db->env);
		mutex_unlock(&db->state_mu);
		s = compaction_run(&context, in, &edit, &result);
		if (s == WOMBAT_OK)
			log_compaction(db, in, &result, db->env->calls->monotonic_ns(db->env) - begin);
		mutex_lock(&db->state_mu);
	}
	if (s == WOMBAT_OK)
		s = version_set_apply(db->versions, &edit); /* drops and takes state_mu */
	if (s == WOMBAT_OK && !in->trivial_move)
		s = db_note_obsolete_locked(db, &edit);
	vlog_unhold(db->values);
	mem_free(collect);
	db->compactions_running--;
	db_context_done(&context);
out:
	if (s == WOMBAT_OK) {
		stats_add(db->stats, in->trivial_move ? STAT_TRIVIAL_MOVES : STAT_COMPACTIONS, 1);
		stats_add(db->stats, STAT_COMPACTION_RANGES, result.ranges);
		stats_add(db->stats, STAT_COMPACTION_READ_BYTES, result.read_bytes);
		stats_add(db->stats, STAT_COMPACTION_WRITE_BYTES, result.written_bytes);
		stats_add(db->stats, STAT_VALUES_MOVED_BYTES, result.moved_value_bytes);
		s = db_view_install_locked(db);
	}
	version_edit_done(&edit);
	compaction_inputs_done(in);
	bool closing = s == WOMBAT_BUSY && atomic_load_explicit(&db->closing, memory_order_relaxed);
	if (s != WOMBAT_OK && !closing)
		db_background_fail_locked(db, s);
	db_state_changed_locked(db);
	return s;
}

static bool compact_once(struct wombat *db)
{
	if (share_help(&db->share))
		return true;
	mutex_lock(&db->state_mu);
	enum wombat_status s = WOMBAT_OK;
	struct compaction_inputs in;
	bool found = false;
	if (db->pause_depth == 0 && !atomic_load_explicit(&db->closing, memory_order_relaxed) &&
	    atomic_load_explicit(&db->background_status, memory_order_relaxed) == WOMBAT_OK) {
		struct picker_options options = {
			.max_table_size = db->options.max_table_size,
			.oldest_sequence = db_oldest_snapshot(db),
			.tombstone_ratio = 0.5,
			.now_ns = db->env->calls->now_ns(db->env),
			.tiered = db->options.compaction_strategy == STRATEGY_TIERED,
		};
		uint64_t *collect = db_values_to_collect_locked(db, &options.collect_count);
		options.collect = collect;
		struct version *v = version_set_current(db->versions);
		found = picker_pick(&db->picker, db->versions, v, &options, &in, &s);
		version_unref(v);
		mem_free(collect);
	}
	if (s != WOMBAT_OK)
		db_background_fail_locked(db, s);
	if (found)
		s = compact_inputs_locked(db, &in);
	mutex_unlock(&db->state_mu);
	if (found && s == WOMBAT_OK)
		db_remove_obsolete(db);
	if (found && extents_sweep_due(db))
		scheduler_wake(db->scheduler, LANE_UPKEEP);
	return found && s == WOMBAT_OK;
}

/* The deepest level with a table that overlaps the range; -1: none. */
static int deepest_level(const struct version *v, struct wombat_slice from, struct wombat_slice to)
{
	for (int level = (int)v->level_count - 1; level >= 0; level--)
		for (size_t i = 0; i < v->levels[level].count; i++)
			if (file_meta_overlaps(v->levels[level].files[i], from, to))
				return level;
	return -1;
}

/* All steps of a manual compaction at one level. */
static enum wombat_status compact_level_locked(struct wombat *db, unsigned level, struct wombat_slice from,
					       struct wombat_slice to) REQUIRES(&db->state_mu);
static enum wombat_status compact_level_locked(struct wombat *db, unsigned level, struct wombat_slice from,
					       struct wombat_slice to)
{
	for (;;) {
		enum wombat_status s = db_check_writable(db);
		if (s != WOMBAT_OK)
			return s;
		struct compaction_inputs in;
		bool wait = false;
		struct version *v = version_set_current(db->versions);
		bool found = picker_pick_range(db->versions, v, level, from, to, &in, &wait, &s);
		version_unref(v);
		if (s != WOMBAT_OK)
			return s;
		if (!found && !wait)
			return WOMBAT_OK;
		if (found)
			s = compact_inputs_locked(db, &in); /* drops and takes state_mu */
		else
			condition_wait(&db->state_changed, &db->state_mu); /* drops and takes state_mu */
		if (s != WOMBAT_OK)
			return s;
	}
}

/* What lies at a level with nothing below, and is dead: rewritten where it is. */
static enum wombat_status compact_rest_locked(struct wombat *db, unsigned level, struct wombat_slice from,
					      struct wombat_slice to) REQUIRES(&db->state_mu);
static enum wombat_status compact_rest_locked(struct wombat *db, unsigned level, struct wombat_slice from,
					      struct wombat_slice to)
{
	for (;;) {
		enum wombat_status s = db_check_writable(db);
		if (s != WOMBAT_OK)
			return s;
		const struct picker_options options = {
			.max_table_size = db->options.max_table_size,
			.oldest_sequence = db_oldest_snapshot(db),
			.now_ns = db->env->calls->now_ns(db->env),
		};
		struct compaction_inputs in;
		bool wait = false;
		struct version *v = version_set_current(db->versions);
		bool found = picker_pick_rest(db->versions, v, &options, level, from, to, &in, &wait, &s);
		version_unref(v);
		if (s != WOMBAT_OK || (!found && !wait))
			return s;
		if (found)
			s = compact_inputs_locked(db, &in); /* drops and takes state_mu */
		else
			condition_wait(&db->state_changed, &db->state_mu); /* drops and takes state_mu */
		if (s != WOMBAT_OK)
			return s;
	}
}

static enum wombat_status compact_range(struct wombat *db, struct wombat_slice from, struct wombat_slice to)
{
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&db->state_mu);
	struct version *v = version_set_current(db->versions);
	int deepest = deepest_level(v, from, to);
	unsigned last = v->level_count - 1;
	version_unref(v);
	/* Level 0 has no order among its files, so what lies there alone still goes one level down. */
	if (deepest == 0)
		deepest = 1;
	for (int level = 0; level < deepest && level < (int)last && s == WOMBAT_OK; level++)
		s = compact_level_locked(db, (unsigned)level, from, to);
	for (unsigned level = 1; level <= last && s == WOMBAT_OK; level++)
		s = compact_rest_locked(db, level, from, to);
	mutex_unlock(&db->state_mu);
	db_remove_obsolete(db);
	return s;
}

enum wombat_status wombat_compact(struct wombat *db, unsigned keyspace, struct wombat_slice from, struct wombat_slice to)
{
	if (keyspace > WOMBAT_KEYSPACE_MAX)
		return fail(WOMBAT_INVALID, "keyspace %u is outside 1..%d", keyspace, WOMBAT_KEYSPACE_MAX);
	enum wombat_status s = wombat_flush(db);
	if (s != WOMBAT_OK)
		return s;
	struct buf first = { 0 }, end = { 0 };
	s = buf_append_byte(&first, (uint8_t)keyspace);
	if (s == WOMBAT_OK && keyspace)
		s = buf_append(&first, from.data, from.size);
	if (s == WOMBAT_OK)
		s = buf_append_byte(&end, (uint8_t)(keyspace == 0 ? 255 : to.size ? keyspace : keyspace + 1));
	if (s == WOMBAT_OK && keyspace)
		s = buf_append(&end, to.data, to.size);
	if (s == WOMBAT_OK)
		s = compact_range(db, buf_slice(&first), buf_slice(&end));
	buf_done(&first);
	buf_done(&end);
	return s;
}

void wombat_pause_compaction(struct wombat *db)
{
	mutex_lock(&db->state_mu);
	db->pause_depth++;
	mutex_unlock(&db->state_mu);
}

void wombat_resume_compaction(struct wombat *db)
{
	mutex_lock(&db->state_mu);
	if (db->pause_depth > 0 && --db->pause_depth == 0 && db->scheduler)
		scheduler_wake(db->scheduler, LANE_COMPACT);
	mutex_unlock(&db->state_mu);
}

/* Whether a level is due for compaction, or one runs. */
static bool busy_locked(struct wombat *db) REQUIRES(&db->state_mu);
static bool busy_locked(struct wombat *db)
{
	if (db->waiting_count > 0 || db->flushing || db->compactions_running > 0 || extents_sweep_due(db))
		return true;
	if (db->pause_depth > 0)
		return false;
	struct version *v = version_set_current(db->versions);
	bool due = false;
	for (unsigned level = 0; level + 1 < v->level_count; level++)
		due |= v->score[level] >= 1;
	version_unref(v);
	return due;
}

enum wombat_status wombat_wait_idle(struct wombat *db)
{
	if (db->read_only)
		return WOMBAT_OK;
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&db->state_mu);
	while (s == WOMBAT_OK && busy_locked(db)) {
		s = wombat_background_status(db);
		if (s == WOMBAT_OK)
			condition_wait_ns(&db->state_changed, &db->state_mu, 100000000); /* drops and takes state_mu */
	}
	mutex_unlock(&db->state_mu);
	return s;
}

static bool is_paused(struct wombat *db)
{
	mutex_lock(&db->state_mu);
	bool paused = db->pause_depth > 0;
	mutex_unlock(&db->state_mu);
	return paused;
}

enum wombat_status wombat_reclaim(struct wombat *db)
{
	static const uint8_t extents[] = { EXTENTS_KEYSPACE }, behind[] = { EXTENTS_KEYSPACE + 1 };
	if (is_paused(db))
		return fail(WOMBAT_BUSY, "compactions are paused: nothing can be given back before they are resumed");
	enum wombat_status s = wombat_compact(db, 0, slice_make(NULL, 0), slice_make(NULL, 0));
	if (s == WOMBAT_OK)
		s = wombat_wait_idle(db);
	/* The extents of values whose heads are gone now were deleted while that was waited for. */
	if (s == WOMBAT_OK)
		s = wombat_flush(db);
	if (s == WOMBAT_OK)
		s = compact_range(db, slice_make(extents, 1), slice_make(behind, 1));
	if (s == WOMBAT_OK)
		s = wombat_wait_idle(db);
	if (s == WOMBAT_OK)
		db_remove_obsolete(db);
	return s;
}

/* ---- Upkeep -------------------------------------------------------------------------------- */

/*
 * A memtable full of tombstones is flushed when little is added to it any more, so that a compaction can do away with them and
 * what they delete: until then whoever scans there passes over all of these.
 */
static bool is_full_of_tombstones(struct wombat *db)
{
	enum { DELETES_MIN = 10000 };
	uint64_t now = db->env->calls->monotonic_ns(db->env);
	unsigned interval = db_upkeep_interval_ms(atomic_load_explicit(&db->live.sync_interval_ms, memory_order_relaxed));
	if (now - db->upkeep_looked_ns < interval * UINT64_C(1000000)) /* Woken for something else, too early to tell. */
		return false;
	db->upkeep_looked_ns = now;
	mutex_lock(&db->state_mu);
	const struct memtable *active = db->active.table;
	uint64_t entries = memtable_entries(active), deletes = memtable_deletes(active);
	mutex_unlock(&db->state_mu);
	bool idle = entries >= db->upkeep_entries && entries - db->upkeep_entries <= entries / 64;
	db->upkeep_entries = entries;
	return idle && deletes >= DELETES_MIN && deletes >= entries / 4;
}

static void upkeep(struct wombat *db)
{
	enum wombat_status s = WOMBAT_OK;
	if (atomic_load_explicit(&db->background_status, memory_order_relaxed) != WOMBAT_OK)
		return;
	struct wal_counts counts;
	wal_writer_counts(db->wal, &counts);
	if (counts.unsynced_bytes > 0 && atomic_load_explicit(&db->live.sync_interval_ms, memory_order_relaxed) > 0)
		s = wal_writer_sync(db->wal);
	if (s != WOMBAT_OK) {
		mutex_lock(&db->state_mu);
		db_background_fail_locked(db, s);
		mutex_unlock(&db->state_mu);
		return;
	}
	/* A spare that cannot be made now is made by the writer that needs it, who reports why it could not. */
	if (wal_writer_wants_spare(db->wal))
		s = wal_writer_prepare(db->wal);
	if (is_full_of_tombstones(db))
		s = db_rotate_memtable(db); /* Who cannot write hears it from the next write. */
	db_remove_obsolete(db);
	if (extents_sweep_due(db)) {
		extents_sweep(db);
		mutex_lock(&db->state_mu);
		condition_broadcast(&db->state_changed);
		mutex_unlock(&db->state_mu);
	}
	scheduler_wake(db->scheduler, LANE_COMPACT); /* Records may have expired. */
}

void db_wake_compactors(void *arg)
{
	struct wombat *db = arg;
	if (db->scheduler)
		scheduler_wake(db->scheduler, LANE_COMPACT);
}

/* The threads may run before db_open has noted the scheduler that has them; it wakes them then. */
static bool is_started(struct wombat *db)
{
	mutex_lock(&db->state_mu);
	bool started = db->scheduler != NULL;
	mutex_unlock(&db->state_mu);
	return started;
}

bool db_background_run(void *arg, enum scheduler_lane lane)
{
	struct wombat *db = arg;
	if (!is_started(db))
		return false;
	switch (lane) {
	case LANE_FLUSH:
		return flush_once(db);
	case LANE_COMPACT:
		return compact_once(db);
	case LANE_UPKEEP:
		upkeep(db);
		return false;
	case LANE_COUNT:
		break;
	}
	return false;
}
