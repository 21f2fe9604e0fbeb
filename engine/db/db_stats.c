/*
 * What the counters are called: every statistic of an open database, by dotted name, with its help.
 *
 * gets_total, puts_total and their like count since the open, or since wombat_reset_stats(): the counters themselves run on, and
 * what they were at the reset (the base) is taken off where they are told. So a reset takes nothing from those who count. The
 * *_latency_ns sums are extrapolated from the sampled operations, so that sum / total is the average.
 */
#include <stdio.h>

#include "engine/base/array.h"

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"

enum { BASE_NAME_MAX = 48 };

/* A counter's value at the reset, or both figures of a ratio. */
struct base_figure {
	char name[BASE_NAME_MAX];
	double part, whole;
};

struct stats_base {
	atomic_int refs;
	uint64_t at_ns; /* monotonic */
	struct base_figure *figures;
	size_t count, capacity;
	bool failed; /* out of memory while it was made */
	struct histogram latency[LATENCY_COUNT];
};

/* Tells figures to `each`, less the base; or notes them as the next base. */
struct emitter {
	void (*each)(void *arg, const struct wombat_stat *stat);
	void *arg;
	const struct stats_base *base;
	size_t base_at; /* figures come in one order: the next is looked for from here on */
	struct stats_base *next_base;
};

static void base_note(struct stats_base *b, const char *name, double part, double whole)
{
	struct base_figure *figures = array_reserve(b->figures, b->count, &b->capacity, sizeof *figures);
	b->failed |= !figures;
	if (!figures)
		return;
	b->figures = figures;
	struct base_figure *f = &figures[b->count++];
	*f = (struct base_figure){ .part = part, .whole = whole };
	snprintf(f->name, sizeof f->name, "%s", name);
}

/* Zeroes, where the base has none of that name. */
static struct base_figure base_of(struct emitter *e, const char *name)
{
	size_t count = e->base ? e->base->count : 0;
	for (size_t i = 0; i < count; i++) {
		size_t at = (e->base_at + i) % count;
		if (strcmp(e->base->figures[at].name, name) == 0) {
			e->base_at = at + 1;
			return e->base->figures[at];
		}
	}
	return (struct base_figure){ .part = 0 };
}

static void emit(const struct emitter *e, const char *name, double value, bool is_integer, bool is_counter, const char *help)
{
	if (e->next_base)
		return;
	struct wombat_stat stat = { name, value, is_integer, is_counter, help };
	e->each(e->arg, &stat);
}

static void counter(struct emitter *e, const char *name, uint64_t value, const char *help)
{
	if (e->next_base)
		base_note(e->next_base, name, (double)value, 0);
	else
		emit(e, name, (double)value - base_of(e, name).part, true, true, help);
}

static void gauge(const struct emitter *e, const char *name, uint64_t value, const char *help)
{
	emit(e, name, (double)value, true, false, help);
}

static void ratio(struct emitter *e, const char *name, double part, double whole, const char *help)
{
	if (e->next_base) {
		base_note(e->next_base, name, part, whole);
		return;
	}
	struct base_figure base = base_of(e, name);
	part -= base.part;
	whole -= base.whole;
	emit(e, name, whole > 0 ? part / whole : 0, false, false, help);
}

static uint64_t relaxed(const atomic_uint_fast64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* ---- Groups -------------------------------------------------------------------------------- */

static void emit_operations(struct wombat *db, struct emitter *e)
{
	const struct stats *s = db->stats;
	counter(e, "gets_total", stats_sum(s, STAT_GETS), "Lookups");
	counter(e, "gets_found_total", stats_sum(s, STAT_GETS_FOUND), "Lookups that found a record");
	counter(e, "puts_total", stats_sum(s, STAT_PUTS), "Records put");
	counter(e, "deletes_total", stats_sum(s, STAT_DELETES), "Deletes of keys and ranges");
	counter(e, "range_deletes_total", stats_sum(s, STAT_RANGE_DELETES), "Deletes of ranges outside batches");
	counter(e, "scans_total", stats_sum(s, STAT_SCANS), "Iterators made");
	counter(e, "get_latency_ns", stats_sum(s, STAT_GET_NS), "Time in lookups, extrapolated from a sample");
	counter(e, "put_latency_ns", stats_sum(s, STAT_PUT_NS), "Time in single puts, extrapolated from a sample");
	counter(e, "delete_latency_ns", stats_sum(s, STAT_DELETE_NS), "Time in single deletes, extrapolated from a sample");
}

static void emit_latency(struct wombat *db, struct emitter *e, const char *operation, enum stat_latency which)
{
	static const struct { const char *name; double q; } points[] = {
		{ "p50", 0.5 }, { "p95", 0.95 }, { "p99", 0.99 }, { "p999", 0.999 },
	};
	char name[64];
	struct histogram h;
	if (e->next_base) {
		histogram_since(&db->stats->latency[which], NULL, &e->next_base->latency[which]);
		return;
	}
	histogram_since(&db->stats->latency[which], e->base ? &e->base->latency[which] : NULL, &h);
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		snprintf(name, sizeof name, "latency.%s.%s_ns", operation, points[i].name);
		gauge(e, name, histogram_quantile(&h, points[i].q), NULL);
	}
	snprintf(name, sizeof name, "latency.%s.max_ns", operation);
	gauge(e, name, relaxed(&h.max), NULL);
}

static void emit_caches(struct wombat *db, struct emitter *e)
{
	struct lru_counts block, packed, table, filter;
	packed_cache_counts(db->packed_cache, &packed);
	lru_counts(db->block_cache, &block);
	lru_counts(db->filter_cache, &filter);
	table_cache_counts(db->tables, &table);
	ratio(e, "cache_hit_ratio", (double)(block.hits + packed.hits), (double)(block.hits + block.misses),
	      "Share of block lookups that the block cache answered, packed blocks included");
	counter(e, "block_cache.hits", block.hits, "Blocks found in the cache");
	counter(e, "block_cache.misses", block.misses, "Blocks read because they were not in the cache");
	counter(e, "block_cache.evictions", block.evictions, "Blocks dropped to stay within block_cache_size");
	ratio(e, "block_cache.hit_ratio", (double)block.hits, (double)(block.hits + block.misses), "Share of them found ready for use");
	gauge(e, "block_cache.bytes", block.bytes, "Bytes of blocks in the cache");
	gauge(e, "block_cache.pinned_bytes", block.pinned_bytes, "Of these, in use by readers");
	counter(e, "packed_cache.hits", packed.hits, "Blocks found packed");
	counter(e, "packed_cache.misses", packed.misses, "Blocks that were not there either");
	ratio(e, "packed_cache.hit_ratio", (double)packed.hits, (double)(packed.hits + packed.misses), "Share found");
	counter(e, "packed_cache.evictions", packed.evictions, "Packed blocks dropped to stay within their part of the budget");
	gauge(e, "packed_cache.entries", packed.entries, "Packed blocks in the cache");
	gauge(e, "packed_cache.bytes", packed.bytes, "Bytes of them");
	counter(e, "table_cache.hits", table.hits, "Tables found open");
	counter(e, "table_cache.misses", table.misses, "Tables opened");
	ratio(e, "table_cache.hit_ratio", (double)table.hits, (double)(table.hits + table.misses), "Share found open");
	gauge(e, "table_cache.open", table.entries, "Tables that are open");
	gauge(e, "table_cache.bytes", table.bytes, "Bytes that they keep in memory: indexes, properties, range tombstones");
	counter(e, "table_cache.evictions", table.evictions,
		"Tables closed to stay within table_cache_size and max_open_files");
	counter(e, "filter_cache.hits", filter.hits, "Pages of filters found in the cache");
	counter(e, "filter_cache.misses", filter.misses, "Pages of filters that were not in the cache");
	ratio(e, "filter_cache.hit_ratio", (double)filter.hits, (double)(filter.hits + filter.misses), "Share found");
	counter(e, "filter_cache.evictions", filter.evictions, "Pages dropped to stay within filter_cache_size");
	gauge(e, "filter_cache.bytes", filter.bytes, "Bytes of pages in the cache");
	struct table_totals t;
	table_counts_read(&db->table_counts, &t);
	counter(e, "filter.checks", t.filter_checks, "Filters asked for a key");
	counter(e, "filter.useful", t.filter_useful, "Of these, tables ruled out");
	counter(e, "filter.prefix_checks", t.prefix_checks, "Filters asked for a directory");
	counter(e, "filter.prefix_useful", t.prefix_useful, "Of these, tables ruled out");
	counter(e, "block_reads_total", t.block_reads, "Blocks read from files");
	counter(e, "block_read_bytes_total", t.block_read_bytes, "Bytes of them");
	counter(e, "prefetch.requests_total", t.prefetches, "Requests of scans to read ahead");
	counter(e, "prefetch.bytes_total", t.prefetch_bytes, "Bytes that they named");
	counter(e, "filter.page_reads", t.filter_page_reads, "Pages of filters read from files");
	counter(e, "filter.page_failures", t.filter_page_failures, "Of these, not to be had: the filter was not asked");
	counter(e, "errors.checksum_total", t.checksum_failures, "Blocks whose checksum was wrong");
}

/* The tree's shape; returns the bytes of all tables. */
static uint64_t emit_levels(const struct version *v, const struct emitter *e)
{
	uint64_t total = 0;
	char name[64];
	for (unsigned level = 0; level < v->level_count; level++) {
		snprintf(name, sizeof name, "level.%u.files", level);
		gauge(e, name, v->levels[level].count, NULL);
		snprintf(name, sizeof name, "level.%u.bytes", level);
		gauge(e, name, v->levels[level].bytes, NULL);
		snprintf(name, sizeof name, "level.%u.score", level);
		emit(e, name, v->score[level], false, false, NULL);
		total += v->levels[level].bytes;
	}
	return total;
}

/* Entries of all tables over those of the deepest level: what overwriting and deleting still holds. */
static double space_amplification(const struct version *v)
{
	uint64_t all = 0, deepest = 0;
	for (unsigned level = 0; level < v->level_count; level++) {
		all += v->levels[level].bytes;
		if (v->levels[level].bytes)
			deepest = v->levels[level].bytes;
	}
	return deepest ? (double)all / (double)deepest : 0;
}

static void emit_background(struct wombat *db, struct emitter *e)
{
	const struct stats *s = db->stats;
	uint64_t user = stats_sum(s, STAT_USER_BYTES), flushed = stats_sum(s, STAT_FLUSH_BYTES);
	uint64_t compacted = stats_sum(s, STAT_COMPACTION_WRITE_BYTES);
	struct wal_counts wal = { 0 };
	if (db->wal)
		wal_writer_counts(db->wal, &wal);
	counter(e, "flushes_total", stats_sum(s, STAT_FLUSHES), "Flushes of memtables");
	counter(e, "flush_bytes_total", flushed, "Bytes of tables written by flushes");
	counter(e, "ingested_tables_total", stats_sum(s, STAT_INGESTED_TABLES), "Tables that were ingested");
	counter(e, "ingested_bytes_total", stats_sum(s, STAT_INGESTED_BYTES), "Bytes of tables that were ingested");
	counter(e, "compactions_total", stats_sum(s, STAT_COMPACTIONS), "Compactions that rewrote tables");
	counter(e, "compaction_ranges_total", stats_sum(s, STAT_COMPACTION_RANGES),
		"Ranges of keys that these ran in, those of a large one side by side");
	counter(e, "trivial_moves_total", stats_sum(s, STAT_TRIVIAL_MOVES), "Tables moved a level down as they were");
	counter(e, "compaction_read_bytes_total", stats_sum(s, STAT_COMPACTION_READ_BYTES), "Bytes read by compactions");
	counter(e, "compaction_write_bytes_total", compacted, "Bytes written by compactions");
	counter(e, "compaction_throttled_ns", throttle_waited_ns(&db->compaction_throttle),
		"Time that compactions waited for compaction_throttle_bytes_per_sec");
	counter(e, "user_bytes_total", user, "Bytes of changes as written by callers");
	struct vlog_counts values;
	vlog_counts(db->values, &values);
	ratio(e, "write_amplification", (double)(wal.appended_bytes + values.appended_bytes + flushed + compacted),
	      (double)user, "Bytes written to the logs and to tables per byte of changes");
	ratio(e, "read_amplification", (double)stats_sum(s, STAT_TABLES_READ), (double)stats_sum(s, STAT_GETS),
	      "Tables asked per lookup, filters included");
	counter(e, "wal.bytes_total", wal.appended_bytes, "Bytes appended to the write-ahead log");
	counter(e, "wal.syncs_total", wal.syncs, "Syncs of the write-ahead log");
	counter(e, "wal.sync_ns", wal.sync_ns, "Time in them");
	counter(e, "wal.rotations_total", wal.rotations, "Changes of segment");
	gauge(e, "wal.files", wal.files, "Segments, spare ones included");
	gauge(e, "wal.unsynced_bytes", wal.unsynced_bytes, "Bytes appended since the last sync");
	counter(e, "transactions.commits_total", stats_sum(s, STAT_TXN_COMMITS), "Transactions that were committed");
	counter(e, "transactions.conflicts_total", stats_sum(s, STAT_TXN_CONFLICTS), "Conflicts that ended one");
	counter(e, "write_groups_total", stats_sum(s, STAT_GROUPS), "Groups of writes, one log record each");
	ratio(e, "write_group_size", (double)stats_sum(s, STAT_BATCHES), (double)stats_sum(s, STAT_GROUPS),
	      "Batches per group, on average");
	counter(e, "stalls.slowed_total", stats_sum(s, STAT_STALL_SLOW), "Delays of writers while compaction is behind");
	counter(e, "stalls.stopped_total", stats_sum(s, STAT_STALL_STOP), "Times that writers had to wait");
	counter(e, "stalls.ns", stats_sum(s, STAT_STALL_NS), "Time of both");
}

static void emit_values(struct wombat *db, const struct version *v, struct emitter *e)
{
	struct vlog_counts values;
	vlog_counts(db->values, &values);
	uint64_t live = db_values_live_bytes(v);
	gauge(e, "value_log.files", values.files, "Files of the value log");
	gauge(e, "value_log.bytes", values.bytes, "Bytes of them");
	gauge(e, "value_log.live_bytes", live, "Bytes of values in them that tables point to");
	gauge(e, "value_log.dead_bytes", values.bytes > live ? values.bytes - live : 0,
	      "The rest: what is dead, or not yet pointed to by tables");
	counter(e, "value_log.appends_total", values.appends, "Values written to the value log, those written anew included");
	counter(e, "value_log.bytes_total", values.appended_bytes, "Bytes of them");
	counter(e, "value_log.reads_total", values.reads, "Values read from files");
	counter(e, "value_log.syncs_total", values.syncs, "Syncs of the value log");
	counter(e, "value_log.moved_bytes_total", stats_sum(db->stats, STAT_VALUES_MOVED_BYTES),
		"Bytes of live values written anew so that their files could be removed");
	counter(e, "value_log.removed_files_total", values.removed_files, "Files removed");
	counter(e, "value_log.reclaimed_bytes_total", values.removed_bytes, "Bytes of them");
}

static void emit_errors(struct wombat *db, struct emitter *e)
{
	const struct stats *s = db->stats;
	counter(e, "errors.io_total", stats_sum(s, STAT_ERRORS_IO), "Failures of reads, writes and syncs");
	counter(e, "errors.no_space_total", stats_sum(s, STAT_ERRORS_NO_SPACE), "Failures for a full disk");
	counter(e, "errors.corruption_total", stats_sum(s, STAT_ERRORS_CORRUPTION), "Damage found");
	counter(e, "errors.no_memory_total", stats_sum(s, STAT_ERRORS_NO_MEMORY), "Failures for lack of memory");
	uint64_t written, lost;
	event_log_counts(db->log, &written, &lost);
	counter(e, "log.lines_total", written, "Lines of the event log");
	counter(e, "log.lost_total", lost, "Lines that could not be written");
	counter(e, "slow_operations_total", stats_sum(s, STAT_SLOW), "Operations over slow_operation_threshold_ms");
	gauge(e, "read_only", db->read_only || wombat_background_status(db) != WOMBAT_OK, "1: no writes are taken");
}

static void emit_sizes(struct wombat *db, const struct read_view *view, uint64_t table_bytes, const struct emitter *e)
{
	uint64_t memtables = 0, entries = 0;
	for (size_t i = 0; i < view->memtable_count; i++) {
		memtables += memtable_bytes(view->memtables[i]);
		entries += memtable_entries(view->memtables[i]);
	}
	for (unsigned level = 0; level < view->version->level_count; level++)
		for (size_t i = 0; i < view->version->levels[level].count; i++)
			entries += view->version->levels[level].files[i]->summary.entries;
	struct lru_counts block, packed, filter, tables;
	packed_cache_counts(db->packed_cache, &packed);
	lru_counts(db->block_cache, &block);
	block.bytes += packed.bytes;
	lru_counts(db->filter_cache, &filter);
	table_cache_counts(db->tables, &tables);
	struct wal_counts wal = { 0 };
	if (db->wal)
		wal_writer_counts(db->wal, &wal);
	uint64_t manifest = version_set_manifest_bytes(db->versions);
	gauge(e, "memory_usage_bytes", memtables + block.bytes + filter.bytes + tables.bytes, "Memory of memtables, caches and open tables");
	gauge(e, "memory.memtables_bytes", memtables, "Changes that are not in tables yet");
	gauge(e, "memory.block_cache_bytes", block.bytes, "Blocks in the cache, packed ones included");
	gauge(e, "memory.filter_cache_bytes", filter.bytes, "Pages of filters in the cache");
	gauge(e, "memory.tables_bytes", tables.bytes, "Indexes of open tables");
	struct vlog_counts values;
	vlog_counts(db->values, &values);
	gauge(e, "disk_usage_bytes", table_bytes + values.bytes + wal.file_bytes + manifest, "Bytes of all files");
	gauge(e, "disk.tables_bytes", table_bytes, "Bytes of tables");
	gauge(e, "disk.values_bytes", values.bytes, "Bytes of the value log");
	gauge(e, "disk.wal_bytes", wal.file_bytes, "Bytes of write-ahead log segments");
	gauge(e, "disk.manifest_bytes", manifest, "Bytes of the manifest");
	uint64_t free_bytes = 0, total_bytes = 0;
	if (db->env->calls->disk_space(db->env, db->dir, &free_bytes, &total_bytes) == WOMBAT_OK) {
		gauge(e, "disk.free_bytes", free_bytes, "Bytes that the file system has free for it");
		gauge(e, "disk.total_bytes", total_bytes, "Bytes of the file system");
	}
	gauge(e, "entries", entries, "Entries in memtables and tables, old versions and tombstones included");
	emit(e, "space_amplification", space_amplification(view->version), false, false,
	     "Bytes of all tables over those of the deepest level");
	gauge(e, "memtables_waiting", view->memtable_count - 1, "Full memtables that wait for their flush");
}

static void emit_all(struct wombat *db, struct emitter *e)
{
	struct read_view *view = db_view_acquire(db);
	uint64_t now = db->env->calls->monotonic_ns(db->env);
	emit_operations(db, e);
	emit_latency(db, e, "get", LATENCY_GET);
	emit_latency(db, e, "put", LATENCY_PUT);
	emit_latency(db, e, "delete", LATENCY_DELETE);
	emit_caches(db, e);
	emit_background(db, e);
	uint64_t table_bytes = emit_levels(view->version, e);
	emit_values(db, view->version, e);
	emit_sizes(db, view, table_bytes, e);
	emit_errors(db, e);
	mutex_lock(&db->snapshots_mu);
	size_t snapshots = db->snapshot_count;
	mutex_unlock(&db->snapshots_mu);
	gauge(e, "snapshots", snapshots, "Snapshots that are held");
	gauge(e, "snapshots_named", db_named_snapshot_count(db), "Those of them that have names");
	gauge(e, "sequence", atomic_load_explicit(&db->visible_sequence, memory_order_relaxed),
	      "Sequence number of the newest change");
	gauge(e, "uptime_ns", now - db->opened_ns, "Time since open");
	gauge(e, "counting_ns", now - (e->base ? e->base->at_ns : db->opened_ns), "Time since the open, or since counters were reset");
	db_view_release(view);
}

/* ---- The base ------------------------------------------------------------------------------ */

void db_stats_base_unref(struct stats_base *b)
{
	/* Acquire and release: whoever frees sees what the others read of it done. */
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	mem_free(b->figures);
	mem_free(b);
}

static struct stats_base *base_acquire(struct wombat *db)
{
	mutex_lock(&db->stats_mu);
	struct stats_base *b = db->stats_base;
	if (b)
		atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	mutex_unlock(&db->stats_mu);
	return b;
}

enum wombat_status wombat_reset_stats(struct wombat *db)
{
	struct stats_base *b = mem_zalloc(sizeof *b);
	if (!b)
		return fail_no_memory();
	struct emitter e = { .next_base = b };
	atomic_init(&b->refs, 1);
	b->at_ns = db->env->calls->monotonic_ns(db->env);
	emit_all(db, &e);
	if (b->failed) {
		db_stats_base_unref(b);
		return fail_no_memory();
	}
	/* The largest that was seen cannot be taken off. */
	for (int i = 0; i < LATENCY_COUNT; i++)
		atomic_store_explicit(&db->stats->latency[i].max, 0, memory_order_relaxed);
	mutex_lock(&db->stats_mu);
	struct stats_base *former = db->stats_base;
	db->stats_base = b;
	mutex_unlock(&db->stats_mu);
	db_stats_base_unref(former);
	return WOMBAT_OK;
}

enum wombat_status wombat_stats(struct wombat *db, void (*each)(void *arg, const struct wombat_stat *stat), void *arg)
{
	struct stats_base *base = base_acquire(db);
	struct emitter e = { .each = each, .arg = arg, .base = base };
	emit_all(db, &e);
	db_stats_base_unref(base);
	return WOMBAT_OK;
}

struct one_stat {
	const char *name;
	double value;
	bool found;
};

static void match_stat(void *arg, const struct wombat_stat *stat)
{
	struct one_stat *one = arg;
	if (!one->found && strcmp(one->name, stat->name) == 0) {
		one->value = stat->value;
		one->found = true;
	}
}

enum wombat_status wombat_stat(struct wombat *db, const char *name, double *out_value)
{
	struct one_stat one = { .name = name };
	enum wombat_status s = wombat_stats(db, match_stat, &one);
	if (s != WOMBAT_OK)
		return s;
	if (!one.found)
		return fail(WOMBAT_NOT_FOUND, "there is no statistic \"%s\"", name);
	*out_value = one.value;
	return WOMBAT_OK;
}
