/*
 * Options of an open database: where each acts, and changing them while it runs.
 *
 * A change is judged as a whole on a copy before anything is touched. What hot paths need is copied to
 * db->live; the rest is read by background work under the state lock.
 */
#include <string.h>

#include "engine/db/db_impl.h"

struct version_shape db_shape(const struct options *o)
{
	return (struct version_shape){
		.max_levels = (unsigned)o->max_levels,
		.num_level_zero_tables = (unsigned)o->num_level_zero_tables,
		.tiered = o->compaction_strategy == STRATEGY_TIERED,
		.runs_max = (unsigned)o->num_level_zero_tables_stall / 2, /* before writers are slowed */
		/* Level 1 holds what level 0 hands down at a time, so that each pass rewrites about as much as it
		 * brings. */
		.base_level_bytes = o->mem_table_size * o->num_level_zero_tables,
		.level_size_multiplier = o->level_size_multiplier,
	};
}

/* Relaxed stores: each is a figure of its own, and soon is good enough. */
static void copy_live(struct wombat *db, const struct options *o)
{
	atomic_store_explicit(&db->live.mem_table_size, o->mem_table_size, memory_order_relaxed);
	atomic_store_explicit(&db->live.num_memtables, o->num_memtables, memory_order_relaxed);
	atomic_store_explicit(&db->live.max_key_size, o->max_key_size, memory_order_relaxed);
	atomic_store_explicit(&db->live.max_value_size, o->max_value_size, memory_order_relaxed);
	atomic_store_explicit(&db->live.value_threshold, o->value_threshold, memory_order_relaxed);
	atomic_store_explicit(&db->live.values_per_memtable, 4 * o->value_log_file_size, memory_order_relaxed);
	atomic_store_explicit(&db->live.verify_checksums, o->verify_checksums, memory_order_relaxed);
	atomic_store_explicit(&db->live.sync_interval_ms, o->sync_interval_ms, memory_order_relaxed);
	atomic_store_explicit(&db->live.read_ahead_size, o->read_ahead_size, memory_order_relaxed);
	atomic_store_explicit(&db->live.write_throttle, o->write_throttle_bytes_per_sec, memory_order_relaxed);
	atomic_store_explicit(&db->live.slow_ns, o->slow_operation_threshold_ms * 1000000, memory_order_relaxed);
	atomic_store_explicit(&db->live.sync_writes, o->sync_writes, memory_order_relaxed);
}

void db_options_apply_locked(struct wombat *db)
{
	const struct options *o = &db->options;
	copy_live(db, o);
	throttle_set_rate(&db->compaction_throttle, o->compaction_throttle_bytes_per_sec);
	throttle_set_rate(&db->write_throttle, o->write_throttle_bytes_per_sec);
	uint64_t packed = o->enable_cache_compression ? o->block_cache_size / 4 * 3 : 0;
	lru_set_capacity(db->block_cache, o->block_cache_size - packed);
	packed_cache_set_capacity(db->packed_cache, packed);
	lru_set_capacity(db->filter_cache, o->filter_cache_size);
	table_cache_set_bounds(db->tables, (unsigned)o->max_open_files, o->table_cache_size);
	table_cache_set_live(db->tables, o->verify_checksums, o->enable_prefetch ? (unsigned)o->prefetch_distance : 0);
	if (db->log)
		event_log_set_level(db->log, (enum event_level)o->log_level);
	if (db->values)
		vlog_set_file_bytes(db->values, o->value_log_file_size);
	if (db->wal)
		wal_writer_set_segment_bytes(db->wal, o->wal_file_size);
	if (db->scheduler)
		scheduler_set_interval(db->scheduler, db_upkeep_interval_ms(o->sync_interval_ms));
}

/* The settings over the present options, judged; nothing is changed. */
static enum wombat_status judge_locked(struct wombat *db, const struct wombat_setting *settings, size_t count,
				       struct options *out) REQUIRES(&db->control_mu);
static enum wombat_status judge_locked(struct wombat *db, const struct wombat_setting *settings, size_t count,
				       struct options *out)
{
	*out = db->options;
	for (size_t i = 0; i < count; i++) {
		const struct option_entry *e = option_find(settings[i].name);
		if (!e)
			return fail(WOMBAT_NOT_FOUND, "there is no option \"%s\"", settings[i].name);
		enum wombat_status s = option_parse(e, settings[i].value, out);
		if (s != WOMBAT_OK)
			return s;
		size_t size = option_size(e);
		bool same = memcmp((char *)out + e->offset, (char *)&db->options + e->offset, size) == 0;
		if (!e->info.changeable && !same)
			return fail(WOMBAT_NOT_CHANGEABLE, "option %s cannot change while the database is open",
				    settings[i].name);
	}
	return options_check(out);
}

enum wombat_status wombat_judge(struct wombat *db, const struct wombat_setting *settings, size_t count)
{
	struct options judged;
	mutex_lock(&db->control_mu);
	enum wombat_status s = judge_locked(db, settings, count, &judged);
	mutex_unlock(&db->control_mu);
	return s;
}

enum wombat_status wombat_set(struct wombat *db, const struct wombat_setting *settings, size_t count)
{
	struct options judged;
	mutex_lock(&db->control_mu);
	enum wombat_status s = judge_locked(db, settings, count, &judged);
	/* The one part that can fail comes first. */
	if (s == WOMBAT_OK && db->scheduler && judged.num_compactors != db->options.num_compactors)
		s = scheduler_set_compactors(db->scheduler, (unsigned)judged.num_compactors);
	if (s == WOMBAT_OK) {
		mutex_lock(&db->state_mu);
		db->options = judged; /* Both locks: background work reads options under state_mu alone. */
		version_set_set_shape(db->versions, db_shape(&judged));
		mutex_unlock(&db->state_mu);
		db_options_apply_locked(db);
		mutex_lock(&db->state_mu);
		db_state_changed_locked(db);
		mutex_unlock(&db->state_mu);
		for (size_t i = 0; i < count; i++)
			event_log_line(db->log, EVENT_INFO, "option %s is %s", settings[i].name, settings[i].value);
	}
	mutex_unlock(&db->control_mu);
	return s;
}

struct wombat_limits wombat_limits(const struct wombat *db)
{
	return (struct wombat_limits){
		/* Relaxed: numbers that nothing else depends on. */
		.key_size = atomic_load_explicit(&db->live.max_key_size, memory_order_relaxed),
		.value_size = atomic_load_explicit(&db->live.max_value_size, memory_order_relaxed),
	};
}

enum wombat_status wombat_get_option(struct wombat *db, const char *name, char *out_value, size_t cap)
{
	const struct option_entry *e = option_find(name);
	if (!e)
		return fail(WOMBAT_NOT_FOUND, "there is no option \"%s\"", name);
	mutex_lock(&db->control_mu);
	enum wombat_status s = option_print(e, &db->options, out_value, cap);
	mutex_unlock(&db->control_mu);
	return s;
}
