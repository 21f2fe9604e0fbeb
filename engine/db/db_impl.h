/*
 * The database behind struct wombat, shared by the db_*.c files.
 *
 * Who changes what. Writers queue; their leader alone appends to the WAL, adds to the memtable and
 * advances the sequence numbers (db_write.c). The state lock guards the list of memtables, the versions and
 * background work (db_background.c). Readers pin a read view (db_read.c): the memtables and the version as of
 * one moment, immutable as a set.
 */
#ifndef WOMBAT_DB_DB_IMPL_H
#define WOMBAT_DB_DB_IMPL_H

#include <stdatomic.h>

#include "engine/base/mutex.h"
#include "engine/compact/flush.h"
#include "engine/compact/scheduler.h"
#include "engine/db/db.h"
#include "engine/db/event_log.h"
#include "engine/db/options.h"
#include "engine/db/stats.h"
#include "engine/db/value_dir.h"
#include "engine/env/filename.h"
#include "engine/vlog/vlog.h"
#include "engine/vlog/vlog_journal.h"
#include "engine/mem/write_batch.h"
#include "engine/wal/wal_reader.h"
#include "engine/wal/wal_writer.h"

enum { MEMTABLES_MAX = 64 + 2 };

/* A memtable and what recovery must know of it. */
struct mem_slot {
	struct memtable *table;
	uint64_t last_sequence;  /* of its changes; set when it is full */
	uint32_t first_epoch;    /* WAL segments from this epoch on hold its changes */
	uint64_t values_begin;   /* bytes that the value log had been given before its changes */
	struct vlog_position journal_end; /* journal records of later changes are behind; set when it is full; file 0: not known */
};

/* What a read looks at: counted, never changed once installed. */
enum { SPARE_ITERS = 4 };

struct read_view {
	atomic_int refs;
	struct read_view *retired_next; /* of those that wait for readers to be gone; guarded by view_mu */
	uint64_t stamp;                 /* the same */
	struct version *version;
	size_t memtable_count;
	struct memtable *memtables[]; /* newest first: the active one, then those that wait for flush */
};

struct wombat_snapshot {
	struct wombat_snapshot *prev, *next; /* guarded by snapshots_mu */
	uint64_t sequence;
};

/* What must hold for a write to be done: the leader asks, behind whom nothing comes between. */
struct write_guard {
	/* Against all that is in the memtables and tables. A failure is the write's. */
	enum wombat_status (*check)(const struct write_guard *guard);
	/* Whether a body that would be written before it, in the same group, could make it fail. */
	bool (*touched)(const struct write_guard *guard, struct wombat_slice body);
};

/* Where a write's time went, ns; gathered when slow ones are logged. */
struct write_times {
	uint64_t queue, room, log, sync, memtable;
};

/* A write waiting in the queue, on its caller's stack. */
struct write_request {
	struct write_times *times;   /* NULL: not wanted */
	struct wombat_slice body;
	uint32_t count;
	bool sync;
	bool has_values;             /* new ones, in the value log */
	const struct write_guard *guard; /* NULL: none */
	bool rotate;                 /* no change: hand the memtable over for flush; leads alone */
	/* NULL, or: leads alone, once all before is in tables, and calls it with its number before that is visible. */
	enum wombat_status (*alone)(void *arg, uint64_t sequence);
	void *alone_arg;
	enum wombat_status status;
	char detail[256];            /* the sentence of a failure, for the caller's thread */
	uint64_t last_sequence;
	struct write_request *next;
	/* WAITING, then LEAD or DONE by the leader before. Release: the fields above are set before. */
	atomic_int state;
	bool sleeping;               /* guarded by write_mu: wake it through `wake` */
	struct condition *wake;
};

struct wombat {
	/* Fixed after open. */
	struct env *env;
	char *dir;
	bool read_only;
	bool is_new;                 /* this open makes it */
	uint64_t opened_ns;          /* monotonic */
	struct env_lock *lock;
	struct lru *block_cache, *filter_cache;
	struct packed_cache *packed_cache;
	struct table_cache *tables;
	struct version_set *versions;
	struct vlog *values;
	struct value_dir value_dir;
	struct event_log *log;       /* NULL when read-only */
	struct wal_writer *wal;      /* the same */
	struct scheduler *scheduler; /* NULL when read-only */
	struct table_counts table_counts;
	struct throttle compaction_throttle;
	struct share share; /* of large compactions */
	struct throttle write_throttle;
	struct stats *stats;
	struct mutex stats_mu;
	struct stats_base *stats_base; /* what is taken off counters since a reset, NULL: nothing; guarded by stats_mu */

	/* Options. `options` changes under control_mu and state_mu together, either suffices to read it; `live` are copies of what hot paths need: relaxed, since a
	 * change need only be seen soon. */
	struct mutex control_mu;
	struct options options;
	struct {
		atomic_uint_fast64_t mem_table_size, num_memtables, max_key_size, max_value_size, sync_interval_ms;
		atomic_uint_fast64_t write_throttle, value_threshold, values_per_memtable;
		atomic_uint_fast64_t slow_ns; /* operations that take as long are logged; 0: none is */
		atomic_size_t read_ahead_size;
		atomic_bool sync_writes, verify_checksums;
	} live;

	/* The writer queue. */
	struct mutex write_mu;
	struct write_request *queue_head, *queue_tail; /* guarded by write_mu */
	bool leading;                                  /* guarded by write_mu: a leader is at work */

	/* The leader's alone: whoever leads has them. `active` changes under state_mu as well, so that those who
	 * hold that may read it. */
	struct mem_slot active;
	uint64_t last_sequence;
	uint64_t stall_debt_ns;      /* of slow-down, not yet slept */
	bool has_journal;            /* the manifest says so; changes under state_mu as well (db_journal.h) */

	/* The upkeep thread's alone: what `active` had when it last looked, and when that was. */
	uint64_t upkeep_entries, upkeep_looked_ns;

	/* Release by the leader after a group is in the memtable; acquire by readers. */
	atomic_uint_fast64_t visible_sequence;

	/* Background state, guarded by state_mu. */
	struct mutex state_mu;
	struct condition state_changed;
	struct mem_slot waiting[MEMTABLES_MAX];        /* oldest first */
	size_t waiting_count;
	bool flushing;
	unsigned compactions_running;
	unsigned pause_depth;
	struct picker_state picker;
	uint64_t *obsolete;                            /* numbers of tables that edits removed */
	size_t obsolete_count, obsolete_capacity;
	char background_detail[512];
	/* Set under state_mu once, read anywhere; acquire so that the detail is there. */
	atomic_int background_status;

	/* What a writer is to do, derived from the state after each change of it. Relaxed: a hint. */
	atomic_int stall_kind;
	atomic_uint_fast64_t stall_delay_ns_per_kib;

	struct mutex view_mu;
	/* The current one, which counts as its holder. Replaced under view_mu; loaded under it, or in a section of
	 * base/readers.h. */
	_Atomic(struct read_view *) view;
	/* Iterators that were freed, whole, for the next that is made the same: see db_iter.c. Each of the present view, but for moments. */
	_Atomic(struct wombat_iter *) spare_iters[SPARE_ITERS];
	_Atomic(struct read_view *) retired_views; /* of its kind before, that readers may still look at; the latest first; guarded by view_mu */

	struct mutex snapshots_mu;
	struct wombat_snapshot snapshots; /* ring's head, oldest next; guarded by snapshots_mu */
	size_t snapshot_count;
	bool snapshots_known;             /* guarded by snapshots_mu: those with names are in the ring */
	struct mutex named_mu;
	struct named_snapshot *named;     /* guarded by named_mu */

	/* Ids of values in extents whose head was dropped. */
	struct mutex sweep_mu;
	uint64_t *dropped;           /* guarded by sweep_mu, as what follows */
	size_t dropped_count, dropped_capacity;
	bool sweep_all;              /* all ids are to be looked at */
	bool sweeping;
	atomic_uint_fast64_t last_extents_id;

	atomic_bool closing;
};

/* ---- db_open.c ---- */

/* As wombat_lock_holder. */
enum wombat_status db_lock_holder(struct env *env, const char *dir, char *out_text, size_t text_cap, char *out_mountpoint,
	size_t mountpoint_cap);

/* ---- db_read.c ---- */

/* As wombat_get, counted as one; with `out_elsewhere` a value in the value log is not fetched, but told there. */
MUST_CHECK enum wombat_status db_get(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
	struct wombat_slice key, struct wombat_record *out_record, struct record *out_elsewhere);
/* The newest point entry in a view's memtables, and the newest range tombstone that covers the key there (`*cover`, 0 to
 * begin): with one, nothing further down can be newer. */
MUST_CHECK enum wombat_status db_memtables_get(struct read_view *v, struct wombat_slice key, uint64_t sequence,
	uint64_t *cover, uint64_t *out_tag, struct wombat_slice *out_value);
/* The sequence number of the newest change of a key, if it is above `since`; else any that is not. */
MUST_CHECK enum wombat_status db_newest_change(struct wombat *db, struct read_view *v, struct wombat_slice key,
	uint64_t since, uint64_t *out);
/* Fills `out` from an entry; WOMBAT_NOT_FOUND for a tombstone, a covered or an expired entry. A value that is elsewhere
 * or in extents is fetched, these in the view as of `sequence`, and pinned by pin[3] and pin[4]; or, with `out_elsewhere`,
 * told there. */
MUST_CHECK enum wombat_status db_record_from_entry(struct wombat *db, struct read_view *view, uint64_t sequence,
	const struct wombat_read_options *options, uint64_t tag, struct wombat_slice value, uint64_t cover, struct wombat_record *out, struct record *out_elsewhere);
/* The present view, counted. */
struct read_view *db_view_acquire(struct wombat *db);
/* Lets go of former views that readers have left. */
void db_view_drain(struct wombat *db);
/* At the end, when nobody reads: of all views. */
void db_view_end(struct wombat *db);
/* The iterators that wait to be used again; they keep a view and some blocks. */
void db_iter_drop_spares(struct wombat *db);
struct read_view *db_view_ref(struct read_view *view);
void db_view_release(struct read_view *view);
/* Makes a view of the present memtables and version the one that new readers get. */
MUST_CHECK enum wombat_status db_view_install_locked(struct wombat *db) REQUIRES(&db->state_mu);

/* fail(WOMBAT_INVALID) for one that is not a user's. */
/* A key with its keyspace byte before it: on the stack unless it is long. */
struct db_key {
	struct wombat_slice slice;
	uint8_t *heap;
	uint8_t room[512];
};
MUST_CHECK enum wombat_status db_key_init(struct db_key *k, unsigned keyspace, struct wombat_slice key);
void db_key_done(struct db_key *k);

/* ---- db_iter.c ---- */

/* What a transaction has to do with an iterator. */
struct iter_own {
	struct memtable *changes; /* shown beside what its snapshot has: numbers first to last. NULL: none */
	uint64_t first, last;
	/* Called with each range that was passed over, keyspace byte and all, when the iterator goes elsewhere or is freed.
	 * NULL: nobody asks. */
	void (*passed)(void *arg, struct wombat_slice from, struct wombat_slice to, bool to_included);
	void *arg;
};
/* As wombat_iter_new, but any keyspace; `own` may be NULL. */
MUST_CHECK enum wombat_status db_iter_new(struct wombat *db, const struct wombat_iter_options *options, unsigned keyspace,
	const struct iter_own *own, struct wombat_iter **out_iter);
/* One of a view (NULL: the present one) as of a sequence number. */
MUST_CHECK enum wombat_status db_iter_new_at(struct wombat *db, struct read_view *view, uint64_t sequence,
	const struct wombat_iter_options *options, unsigned keyspace, struct wombat_iter **out_iter);
/* As wombat_list_new; of a transaction, which may be NULL, with its changes and without `options`. */
MUST_CHECK enum wombat_status db_list_new(struct wombat *db, struct wombat_txn *txn, const struct wombat_read_options *options,
	unsigned keyspace, struct wombat_slice prefix, struct wombat_list **out_list);
/* A value whose record has all of it, which the value takes over. */
MUST_CHECK enum wombat_status value_of_record(struct wombat *db, const struct wombat_record *record,
	struct wombat_value **out_value);
/* The encoded record that it stands on; with WOMBAT_READ_META, or it may have fetched a value. */
struct wombat_slice db_iter_entry(const struct wombat_iter *it);
/* The bounds within a keyspace as internal keys, appended. */
MUST_CHECK enum wombat_status db_iter_bounds(unsigned keyspace, const struct wombat_iter_options *options,
	struct buf *lower, struct buf *upper);
/* The range tombstones of a view that overlap the bounds. */
MUST_CHECK enum wombat_status db_collect_ranges(struct wombat *db, struct read_view *view, struct wombat_slice lower,
	struct wombat_slice upper, struct range_del_set *out);

/* The path of a file, wherever its kind is kept. */
MUST_CHECK enum wombat_status db_file_path(const struct wombat *db, enum file_kind kind, uint64_t number,
	char out[FILENAME_PATH_MAX]);

/* ---- db_values.c ---- */

MUST_CHECK enum wombat_status db_values_open(struct wombat *db);
/* The value of a record that is elsewhere, or in extents of the view as of `sequence`, kept by `pin`. */
MUST_CHECK enum wombat_status db_value_read(struct wombat *db, struct read_view *view, uint64_t sequence, const struct record *r, const struct wombat_read_options *options,
	struct lru_pin *pin, struct wombat_slice *out);
/* Whether all that a batch body points to is whole. WOMBAT_NOT_FOUND: something is not. */
MUST_CHECK enum wombat_status db_values_verify(struct vlog *values, struct wombat_slice body);
/* The files that it points into are to be synced with what comes: nobody vouched for the values in them. */
void db_values_doubt(struct vlog *values, struct wombat_slice body);
/* A batch whose values are all where they belong: those that are large in the value log. */
struct placed_batch {
	struct buf body;
	uint64_t *files;  /* that were appended to, once for each value */
	size_t count, capacity;
	uint32_t changes;
	uint64_t value_bytes;
};
/* Whether there is anything to place; if not, the batch's own body is right as it is. */
bool db_batch_needs_placing(struct wombat *db, const struct wombat_batch *batch);
/* Must be ended by db_place_done() in any case. */
MUST_CHECK enum wombat_status db_place(struct wombat *db, const struct wombat_batch *batch, struct placed_batch *out);
/* Appends a record's value to the value log; it is elsewhere then. `key` with its keyspace byte. */
MUST_CHECK enum wombat_status db_place_value(struct wombat *db, struct wombat_slice key, struct record *r,
	struct placed_batch *out);
/* Another change of the batch points into that file, which is pinned or pointed to. */
MUST_CHECK enum wombat_status db_place_share(struct wombat *db, uint64_t file, struct placed_batch *out);
/* `sequence`: of the batch's last change; 0: it was not written. */
void db_place_done(struct wombat *db, struct placed_batch *p, uint64_t sequence);
/* Value log files to be collected, from mem_alloc; without memory for the list none, this time. */
uint64_t *db_values_to_collect_locked(struct wombat *db, size_t *out_count) REQUIRES(&db->state_mu);
/* Removes the files that nothing can point into. */
void db_values_remove_dead(struct wombat *db);
/* Live bytes of the current version. */
uint64_t db_values_live_bytes(const struct version *v);

/* ---- db_write.c ---- */

/* As wombat_write, if the guard (may be NULL) lets it. */
MUST_CHECK enum wombat_status db_write_guarded(struct wombat *db, const struct wombat_batch *batch, unsigned flags,
	const struct write_guard *guard, uint64_t *out_sequence);
/* Writes what was placed; db_place_done() must follow with the sequence number, 0 after a failure. */
MUST_CHECK enum wombat_status db_write_placed(struct wombat *db, const struct placed_batch *placed, unsigned flags,
	const struct write_guard *guard, uint64_t *out_sequence);
/* Sizes against max_key_size, max_value_size and the attributes' limit. */
MUST_CHECK enum wombat_status db_check_limits(struct wombat *db, uint64_t key, uint64_t value, uint64_t attr);
/* Those of all changes of a batch. */
MUST_CHECK enum wombat_status db_check_batch(struct wombat *db, const struct wombat_batch *batch);
/* Calls `alone` while nobody writes and all changes are in tables, with the first of `count` sequence numbers of its own, which
 * become visible when it returns WOMBAT_OK. */
MUST_CHECK enum wombat_status db_write_alone(struct wombat *db, uint32_t count,
	enum wombat_status (*alone)(void *arg, uint64_t sequence), void *arg, uint64_t *out_sequence);
/* Hands the active memtable over for flush when it holds anything, as a writer in the queue would. */
MUST_CHECK enum wombat_status db_rotate_memtable(struct wombat *db);

/* ---- value.c ---- */

/* Lets a batch with moves be written if none of their values was changed since. */
struct moves_guard {
	struct write_guard guard;
	struct wombat *db;
	const struct wombat_batch *batch;
};
struct moves_guard moves_guard_of(struct wombat *db, const struct wombat_batch *batch);

/* ---- db_background.c ---- */

bool db_background_run(void *db, enum scheduler_lane lane);
/* How often upkeep runs. */
static inline unsigned db_upkeep_interval_ms(uint64_t sync_interval_ms)
{
	return sync_interval_ms ? (unsigned)sync_interval_ms : 1000;
}
/* A wombat: a range of a compaction waits for somebody to run it. */
void db_wake_compactors(void *arg);
/* What tables are written with. */
struct table_builder_options db_table_options(const struct options *o);
/* What jobs that write tables need; to be ended by db_context_done(). */
MUST_CHECK enum wombat_status db_context_init_locked(struct wombat *db, struct compaction_context *c) REQUIRES(&db->state_mu);
void db_context_done(struct compaction_context *c);
/* After any change of memtables, versions or options: stalls and work that is now due. */
void db_state_changed_locked(struct wombat *db) REQUIRES(&db->state_mu);
/* The first failure in the background: read-only from here on. */
void db_background_fail_locked(struct wombat *db, enum wombat_status status) REQUIRES(&db->state_mu);
/* WOMBAT_OK, or fail(WOMBAT_READ_ONLY) with the first cause. */
MUST_CHECK enum wombat_status db_check_writable(struct wombat *db);
/* Waits until no memtable waits and none is being flushed. */
MUST_CHECK enum wombat_status db_wait_flushed(struct wombat *db);
/* Writes memtables, oldest first, to level 0 in the calling thread. Drops and takes state_mu. */
MUST_CHECK enum wombat_status db_flush_slots_locked(struct wombat *db, struct mem_slot *slots, size_t count) REQUIRES(&db->state_mu);

/* ---- db_gc.c ---- */

/* Removes what edits made obsolete and nobody reads any more. */
void db_remove_obsolete(struct wombat *db);
/* At open: files of a crashed process that no manifest knows. */
MUST_CHECK enum wombat_status db_remove_orphans(struct wombat *db);
enum wombat_status db_note_obsolete_locked(struct wombat *db, const struct version_edit *edit) REQUIRES(&db->state_mu);

/* ---- snapshot.c ---- */

/* Ascending sequences that must stay readable, the newest state's last; from mem_alloc. */
MUST_CHECK enum wombat_status db_snapshot_list(struct wombat *db, uint64_t **out, size_t *out_count);

/* A snapshot of a state that is kept already. NULL: out of memory. */
struct wombat_snapshot *db_snapshot_at(struct wombat *db, uint64_t sequence);

/* The oldest sequence that must stay readable. */
uint64_t db_oldest_snapshot(struct wombat *db);

/* ---- snapshot_named.c ---- */

/* At open, when there is a view and nothing runs in the background yet. */
MUST_CHECK enum wombat_status db_named_snapshots_load(struct wombat *db);
void db_named_snapshots_free(struct wombat *db);
size_t db_named_snapshot_count(struct wombat *db);

/* ---- checkpoint.c ---- */

/* A state of the database whose files stay as they are until it is let go. */
struct db_pinned {
	struct version *version;
	struct value_refs values;
};
/* One that has all that was written before the call, and is durable. WOMBAT_READ_ONLY: see wombat_flush. */
MUST_CHECK enum wombat_status db_pin_state(struct wombat *db, struct db_pinned *out);
void db_unpin_state(struct db_pinned *p);
/* Calls `each` with every table and every file of the value log, until one fails. */
MUST_CHECK enum wombat_status db_pinned_each(struct wombat *db, const struct db_pinned *p,
	enum wombat_status (*each)(void *arg, enum file_kind kind, uint64_t number, uint64_t bytes), void *arg);

/* ---- slow.c ---- */

/* 0: slow operations are not logged. Else what slow_end() of the same operation gets. */
static inline uint64_t slow_begin(const struct wombat *db)
{
	if (__builtin_expect(!atomic_load_explicit(&db->live.slow_ns, memory_order_relaxed), 1))
		return 0;
	return db->env->calls->monotonic_ns(db->env);
}
/* Logs the operation on a key if it was slow. `where`: more of it, or NULL. */
void slow_end(struct wombat *db, uint64_t begin, const char *operation, unsigned keyspace, struct wombat_slice key,
	const char *where);
void slow_end_write(struct wombat *db, uint64_t begin, struct wombat_slice body, uint32_t count,
	const struct write_times *times);

/* ---- db_options.c ---- */

/* Copies db->options to where they act. */
void db_options_apply_locked(struct wombat *db) REQUIRES(&db->control_mu);
struct version_shape db_shape(const struct options *o);

/* NULL is fine. */
void db_stats_base_unref(struct stats_base *b);

#endif
