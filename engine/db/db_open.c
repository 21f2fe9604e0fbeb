/*
 * Opening, recovery, closing.
 *
 *     lock -> options (defaults < wombat.conf < caller) -> manifest -> replay the WAL into memtables (flushing
 *     full ones) -> continue the WAL -> remove orphans -> install the first view -> start background threads
 *
 * Everything that is set up is undone by db_free(), which copes with whatever part of it exists.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/db/db_journal.h"
#include "engine/db/extents.h"

enum { CONFIG_MAX = 1 << 20, MANIFEST_BYTES = 4 << 20, SPARE_SEGMENTS = 2 };

/* ---- Lock ---------------------------------------------------------------------------------- */

/* "pid 812 (name)" and, on a second line, the mount point. */
static void lock_note(char *out, size_t cap, const char *mountpoint)
{
	char name[64] = "?";
	FILE *f = fopen("/proc/self/comm", "re");
	if (f) {
		if (fgets(name, sizeof name, f))
			name[strcspn(name, "\n")] = 0;
		fclose(f);
	}
	snprintf(out, cap, "pid %ld (%s)\n%s\n", (long)getpid(), name, mountpoint ? mountpoint : "");
}

enum wombat_status db_lock_holder(struct env *env, const char *dir, char *out_text, size_t text_cap,
				  char *out_mountpoint, size_t mountpoint_cap)
{
	char path[FILENAME_PATH_MAX];
	struct buf note = { 0 };
	if (!filename_path(path, dir, FILE_LOCK, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env->calls->lock_holder(env, path, &note);
	if (s == WOMBAT_OK)
		s = buf_append_byte(&note, 0);
	if (s == WOMBAT_OK) {
		char *who = (char *)note.data, *mountpoint = strchr(who, '\n');
		if (mountpoint) {
			*mountpoint++ = 0;
			mountpoint[strcspn(mountpoint, "\n")] = 0;
		}
		bool mounted = mountpoint && *mountpoint;
		if (out_text)
			snprintf(out_text, text_cap, "%s%s%s", *who ? who : "another process",
				 mounted ? ", mounted on " : "", mounted ? mountpoint : "");
		if (out_mountpoint)
			snprintf(out_mountpoint, mountpoint_cap, "%s", mounted ? mountpoint : "");
	}
	buf_done(&note);
	return s;
}

enum wombat_status wombat_lock_holder(const char *dir, char *out_text, size_t text_cap, char *out_mountpoint,
				      size_t mountpoint_cap)
{
	return db_lock_holder(env_posix(), dir, out_text, text_cap, out_mountpoint, mountpoint_cap);
}

enum wombat_status wombat_set_mountpoint(struct wombat *db, const char *mountpoint)
{
	char note[FILENAME_PATH_MAX + 128];
	lock_note(note, sizeof note, mountpoint);
	return db->lock ? db->env->calls->lock_note(db->lock, note) : WOMBAT_OK;
}

static enum wombat_status take_lock(struct wombat *db)
{
	char path[FILENAME_PATH_MAX], note[256], who[FILENAME_PATH_MAX + 128];
	if (!filename_path(path, db->dir, FILE_LOCK, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", db->dir);
	lock_note(note, sizeof note, NULL);
	enum wombat_status s = db->read_only ? db->env->calls->lock_shared(db->env, path, note, &db->lock) :
						db->env->calls->lock(db->env, path, note, &db->lock);
	if (s == WOMBAT_BUSY && db_lock_holder(db->env, db->dir, who, sizeof who, NULL, 0) == WOMBAT_OK)
		return fail(WOMBAT_BUSY, "%s is in use by %s", db->dir, who);
	return s == WOMBAT_BUSY ? fail(s, "%s is in use by another process", db->dir) : s;
}

/* ---- Set up -------------------------------------------------------------------------------- */

static enum wombat_status read_options(struct wombat *db, const struct wombat_options *over)
{
	char path[FILENAME_PATH_MAX];
	struct buf text = { 0 };
	struct wombat_options file = { .explicit_mask = 0 };
	options_defaults(&file.values);
	if (!filename_path(path, db->dir, FILE_CONFIG, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", db->dir);
	enum wombat_status s = env_read_file(db->env, path, CONFIG_MAX, &text);
	if (s == WOMBAT_OK && text.size)
		s = options_parse_text(&file, path, (const char *)text.data, text.size);
	else if (s == WOMBAT_NOT_FOUND)
		s = WOMBAT_OK;
	buf_done(&text);
	if (s != WOMBAT_OK)
		return s;
	db->options = file.values;
	if (over)
		options_overlay(&db->options, over);
	return options_check(&db->options);
}

static enum wombat_status make_caches(struct wombat *db)
{
	const struct options *o = &db->options;
	unsigned shards = 1;
	while (shards < o->cache_shards)
		shards *= 2;
	enum wombat_status s = lru_new(o->block_cache_size, shards, &db->block_cache);
	if (s == WOMBAT_OK)
		s = lru_new(o->filter_cache_size, shards, &db->filter_cache);
	if (s == WOMBAT_OK)
		lru_allow_peeks(db->filter_cache);
	if (s == WOMBAT_OK)
		s = packed_cache_new(shards, &db->packed_cache);
	if (s != WOMBAT_OK)
		return s;
	struct table_options tables = {
		.block_cache = db->block_cache,
		.packed_cache = db->packed_cache,
		.filter_cache = db->filter_cache,
		.counts = &db->table_counts,
		.env_flags = (o->use_mmap ? ENV_MMAP : 0u) | (o->direct_io && !o->use_mmap ? ENV_DIRECT : 0u),
	};
	return table_cache_new(db->env, db->dir, (unsigned)o->max_open_files, o->table_cache_size, &tables, &db->tables);
}

/* Without WOMBAT_CREATE, or read-only, nothing is made, not even the lock file. */
static enum wombat_status check_presence(struct wombat *db, unsigned flags)
{
	char path[FILENAME_PATH_MAX];
	uint64_t size;
	bool create = (flags & WOMBAT_CREATE) && !db->read_only;
	if (!filename_path(path, db->dir, FILE_CURRENT, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", db->dir);
	enum wombat_status s = db->env->calls->file_size(db->env, path, &size);
	if (s == WOMBAT_OK && (flags & WOMBAT_CREATE) && (flags & WOMBAT_MUST_CREATE))
		return fail(WOMBAT_EXISTS, "there is a database in %s already", db->dir);
	if (s == WOMBAT_NOT_FOUND && !create)
		return fail(WOMBAT_NOT_FOUND, "there is no database in %s", db->dir);
	db->is_new = s == WOMBAT_NOT_FOUND;
	return db->is_new ? db->env->calls->dir_create(db->env, db->dir) : s;
}

/* The option says from here on where they are. */
static enum wombat_status settle_values(struct wombat *db)
{
	enum wombat_status s = value_dir_settle(db->env, db->dir, db->options.value_dir, db->is_new, db->read_only, &db->value_dir);
	if (s == WOMBAT_OK)
		snprintf(db->options.value_dir, sizeof db->options.value_dir, "%s", db->value_dir.apart ? db->value_dir.path : "");
	return s;
}

static enum wombat_status open_versions(struct wombat *db, bool create)
{
	struct version_set_options options = {
		.env = db->env,
		.dir = db->dir,
		.tables = db->tables,
		.state = &db->state_mu,
		.shape = db_shape(&db->options),
		.manifest_bytes = MANIFEST_BYTES,
		.read_only = db->read_only,
	};
	return version_set_open(&options, create, &db->versions);
}

/* ---- Recovery ------------------------------------------------------------------------------ */

static enum wombat_status flush_recovered(struct wombat *db)
{
	struct memtable *fresh;
	enum wombat_status s = memtable_new(db->options.mem_table_size, &fresh);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&db->state_mu);
	db->active.last_sequence = db->last_sequence;
	s = db_flush_slots_locked(db, &db->active, 1);
	mutex_unlock(&db->state_mu);
	if (s != WOMBAT_OK) {
		memtable_unref(fresh);
		return s;
	}
	memtable_unref(db->active.table);
	db->active = (struct mem_slot){ .table = fresh };
	return WOMBAT_OK;
}

struct recovery {
	struct wombat *db;
	struct wal_replay replay;
	struct db_journal journal;
};

static enum wombat_status replay_record(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
					struct wombat_slice body, uint32_t epoch)
{
	struct recovery *recovery = arg;
	struct wombat *db = recovery->db;
	uint32_t changes;
	/* What nobody vouches for may have reached the disk without the values that it points to. */
	if (sequence + count - 1 > recovery->replay.durable_sequence) {
		enum wombat_status whole = db_values_verify(db->values, body);
		if (whole != WOMBAT_OK)
			return whole;
		db_values_doubt(db->values, body);
	}
	enum wombat_status s = db_journal_pass(&recovery->journal, body);
	if (s != WOMBAT_OK)
		return s;
	if (!db->active.first_epoch)
		db->active.first_epoch = epoch;
	s = write_batch_apply(body, sequence, version_set_flushed_sequence(db->versions), time_ns,
			      db->active.table, &changes);
	if (s != WOMBAT_OK)
		return s;
	if (changes != count)
		return fail(WOMBAT_CORRUPTION, "%s: the write-ahead log's record of sequence %llu holds %u changes, not %u",
			    db->dir, (unsigned long long)sequence, changes, count);
	if (count)
		db->last_sequence = sequence + count - 1;
	atomic_store_explicit(&db->visible_sequence, db->last_sequence, memory_order_relaxed);
	if (!db->read_only && memtable_bytes(db->active.table) >= db->options.mem_table_size)
		return flush_recovered(db);
	return WOMBAT_OK;
}

static uint64_t next_file_number(void *arg)
{
	return version_set_new_file_number(((struct wombat *)arg)->versions);
}

static enum wombat_status sync_values(void *arg)
{
	return vlog_sync(((struct wombat *)arg)->values);
}

static enum wombat_status replay_journal(void *arg, uint64_t *last)
{
	return db_journal_replay(&((struct recovery *)arg)->journal, last);
}

/* All that was replayed into tables, so that nobody looks at the journal's records again. */
static enum wombat_status end_journal(struct wombat *db)
{
	db->active.journal_end = vlog_end(db->values);
	if (memtable_entries(db->active.table) > 0)
		return flush_recovered(db);
	struct version_edit edit;
	version_edit_init(&edit);
	edit.journal = db->active.journal_end;
	mutex_lock(&db->state_mu);
	enum wombat_status s = version_set_apply(db->versions, &edit); /* drops and takes state_mu */
	mutex_unlock(&db->state_mu);
	version_edit_done(&edit);
	return s;
}

static enum wombat_status recover(struct wombat *db)
{
	enum wombat_status s = memtable_new(db->read_only ? 0 : db->options.mem_table_size, &db->active.table);
	if (s != WOMBAT_OK)
		return s;
	db->last_sequence = version_set_last_sequence(db->versions);
	atomic_store_explicit(&db->visible_sequence, db->last_sequence, memory_order_relaxed);
	struct recovery recovery = {
		.db = db,
		.journal = { .values = db->values, .from = version_set_journal(db->versions), .apply = replay_record },
	};
	recovery.journal.arg = &recovery;
	db->has_journal = recovery.journal.from.file != 0;
	const struct wal_replay_to to = { replay_record, replay_journal, &recovery };
	struct wal_tail *tail = NULL;
	s = wal_replay_all(db->env, db->dir, version_set_flushed_sequence(db->versions), &to, &recovery.replay,
			   db->read_only ? NULL : &tail);
	vlog_settle(db->values, db->last_sequence);
	if (s == WOMBAT_OK && !db->read_only && recovery.journal.found)
		s = end_journal(db);
	if (s != WOMBAT_OK || db->read_only) {
		wal_tail_free(tail);
		return s;
	}
	struct wal_writer_options options = {
		.env = db->env,
		.dir = db->dir,
		.segment_bytes = db->options.wal_file_size,
		.next_file_number = next_file_number,
		.before_sync = sync_values,
		.arg = db,
		.spare_segments = SPARE_SEGMENTS,
	};
	s = wal_writer_open(&options, tail, &db->wal); /* takes the tail in any case */
	if (s != WOMBAT_OK)
		return s;
	if (!db->active.first_epoch)
		db->active.first_epoch = wal_writer_epoch(db->wal);
	wal_writer_release(db->wal, db->active.first_epoch);
	return WOMBAT_OK;
}

static enum wombat_status start(struct wombat *db)
{
	mutex_lock(&db->state_mu);
	enum wombat_status s = db_view_install_locked(db);
	if (s == WOMBAT_OK)
		db_state_changed_locked(db);
	mutex_unlock(&db->state_mu);
	if (s == WOMBAT_OK)
		s = db_named_snapshots_load(db);
	if (s != WOMBAT_OK || db->read_only)
		return s;
	struct scheduler_work work = { db_background_run, db };
	unsigned interval = db_upkeep_interval_ms(db->options.sync_interval_ms);
	struct scheduler *scheduler;
	s = scheduler_new(&work, (unsigned)db->options.num_compactors, interval, &scheduler);
	if (s != WOMBAT_OK)
		return s;
	/* Its threads do nothing before they see it under this lock. */
	mutex_lock(&db->state_mu);
	db->scheduler = scheduler;
	mutex_unlock(&db->state_mu);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		scheduler_wake(scheduler, (enum scheduler_lane)lane);
	return WOMBAT_OK;
}

/* ---- The struct ---------------------------------------------------------------------------- */

static struct wombat *db_alloc(struct env *env, const char *dir, unsigned flags)
{
	struct wombat *db = mem_zalloc(sizeof *db);
	if (!db)
		return NULL;
	db->env = env;
	db->read_only = flags & WOMBAT_OPEN_READ_ONLY;
	db->opened_ns = env->calls->monotonic_ns(env);
	db->snapshots.prev = db->snapshots.next = &db->snapshots;
	mutex_init(&db->control_mu, LOCK_RANK_CONTROL);
	mutex_init(&db->write_mu, LOCK_RANK_WRITE);
	mutex_init(&db->state_mu, LOCK_RANK_STATE);
	mutex_init(&db->view_mu, LOCK_RANK_VIEW);
	atomic_init(&db->view, NULL);
	atomic_init(&db->retired_views, NULL);
	mutex_init(&db->snapshots_mu, LOCK_RANK_SNAPSHOTS);
	mutex_init(&db->stats_mu, LOCK_RANK_STATS);
	mutex_init(&db->named_mu, LOCK_RANK_CONTROL);
	extents_sweep_init(db);
	condition_init(&db->state_changed);
	throttle_init(&db->compaction_throttle, env, 0);
	share_init(&db->share, db_wake_compactors, db);
	throttle_init(&db->write_throttle, env, 0);
	size_t size = strlen(dir) + 1;
	db->dir = mem_alloc(size);
	if (db->dir)
		memcpy(db->dir, dir, size);
	db->stats = mem_alloc_aligned(sizeof *db->stats);
	if (db->stats)
		memset(db->stats, 0, sizeof *db->stats);
	return db;
}

static void db_free(struct wombat *db)
{
	db_named_snapshots_free(db);
	db_view_end(db);
	for (size_t i = 0; i < db->waiting_count; i++)
		memtable_unref(db->waiting[i].table);
	memtable_unref(db->active.table);
	picker_state_done(&db->picker);
	version_set_free(db->versions);
	vlog_free(db->values);
	table_cache_free(db->tables);
	lru_free(db->filter_cache);
	packed_cache_free(db->packed_cache);
	lru_free(db->block_cache);
	if (db->lock)
		db->env->calls->unlock(db->lock);
	share_done(&db->share);
	throttle_done(&db->compaction_throttle);
	throttle_done(&db->write_throttle);
	condition_done(&db->state_changed);
	mutex_done(&db->control_mu);
	mutex_done(&db->write_mu);
	mutex_done(&db->state_mu);
	mutex_done(&db->view_mu);
	mutex_done(&db->snapshots_mu);
	mutex_done(&db->stats_mu);
	mutex_done(&db->named_mu);
	extents_sweep_done(db);
	event_log_free(db->log);
	mem_free(db->obsolete);
	db_stats_base_unref(db->stats_base);
	mem_free(db->stats);
	mem_free(db->dir);
	mem_free(db);
}

enum wombat_status wombat_close(struct wombat *db)
{
	if (!db)
		return WOMBAT_OK;
	/* Relaxed: running jobs look at it now and then. */
	atomic_store_explicit(&db->closing, true, memory_order_relaxed);
	/* A sweep of our own may wait for room that nobody makes any more. */
	mutex_lock(&db->state_mu);
	condition_broadcast(&db->state_changed);
	mutex_unlock(&db->state_mu);
	scheduler_free(db->scheduler);
	db->scheduler = NULL;
	enum wombat_status failed = wombat_background_status(db);
	db_remove_obsolete(db);
	enum wombat_status s = wal_writer_close(db->wal, failed == WOMBAT_OK);
	db->wal = NULL;
	event_log_line(db->log, EVENT_INFO, "closed");
	db_free(db);
	return failed != WOMBAT_OK ? failed : s;
}

enum wombat_status db_open_env(struct env *env, const char *dir, const struct wombat_options *options, unsigned flags,
			       struct wombat **out)
{
	struct wombat *db = db_alloc(env, dir, flags);
	if (!db)
		return fail_no_memory();
	enum wombat_status s = db->dir && db->stats ? WOMBAT_OK : fail_no_memory();
	if (s == WOMBAT_OK)
		s = check_presence(db, flags);
	if (s == WOMBAT_OK)
		s = take_lock(db);
	if (s == WOMBAT_OK)
		s = read_options(db, options);
	if (s == WOMBAT_OK)
		s = settle_values(db);
	if (s == WOMBAT_OK)
		s = make_caches(db);
	if (s == WOMBAT_OK)
		s = open_versions(db, (flags & WOMBAT_CREATE) && !db->read_only);
	if (s == WOMBAT_OK) {
		mutex_lock(&db->control_mu);
		db_options_apply_locked(db);
		mutex_unlock(&db->control_mu);
		if (!db->read_only)
			s = db_remove_orphans(db);
		if (s == WOMBAT_OK && !db->read_only)
			s = event_log_new(env, db->dir, (enum event_level)db->options.log_level, &db->log);
	}
	if (s == WOMBAT_OK)
		s = db_values_open(db);
	if (s == WOMBAT_OK)
		s = recover(db);
	if (s == WOMBAT_OK)
		s = start(db);
	if (s != WOMBAT_OK) {
		char detail[512];
		snprintf(detail, sizeof detail, "%s", status_detail());
		wal_writer_close(db->wal, false);
		db_free(db);
		status_set_detail(detail);
		return s;
	}
	event_log_line(db->log, EVENT_INFO, "opened by wombat %s at sequence number %llu", wombat_version(),
		       (unsigned long long)atomic_load_explicit(&db->visible_sequence, memory_order_relaxed)); /* others write already */
	*out = db;
	return WOMBAT_OK;
}

enum wombat_status wombat_open(const char *dir, const struct wombat_options *options, unsigned flags, struct wombat **out_db)
{
	return db_open_env(env_posix(), dir, options, flags, out_db);
}
