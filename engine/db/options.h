/*
 * The options of a database: one table says each one's name, type, default, range, unit, whether it can
 * change while open, and what it does. Every source (setter, file, command line, mount) goes through it.
 */
#ifndef WOMBAT_DB_OPTIONS_H
#define WOMBAT_DB_OPTIONS_H

#include "engine/base/buf.h"

enum { OPTION_MAX = 64, OPTION_PATH_MAX = 1024 };

/* Values in force; sizes in bytes. Field by field as in the table in options_table.c. */
struct options {
	uint64_t mem_table_size;
	uint64_t num_memtables;
	uint64_t num_level_zero_tables;
	uint64_t num_level_zero_tables_stall;
	uint64_t max_levels;
	double level_size_multiplier;
	uint64_t max_table_size;
	uint64_t block_size;
	double bloom_false_positive;
	uint64_t num_compactors;
	uint64_t compaction_strategy; /* enum compaction_strategy */
	uint64_t compaction_throttle_bytes_per_sec;
	uint64_t compression; /* enum table_compression */
	uint64_t compression_level;
	bool sync_writes;
	uint64_t sync_interval_ms;
	uint64_t block_cache_size;
	bool enable_cache_compression;
	uint64_t table_cache_size;
	uint64_t filter_cache_size;
	uint64_t cache_shards;
	bool enable_prefetch;
	uint64_t prefetch_distance;
	uint64_t read_ahead_size;
	uint64_t write_buffer_size;
	bool use_mmap;
	bool direct_io;
	uint64_t max_open_files;
	uint64_t write_throttle_bytes_per_sec;
	uint64_t wal_file_size;
	bool verify_checksums;
	uint64_t value_threshold;
	uint64_t value_log_file_size;
	double value_log_space_reclaim_threshold;
	char value_dir[OPTION_PATH_MAX]; /* where they are in an open database; empty: in its own directory */
	uint64_t log_level; /* enum event_level */
	uint64_t slow_operation_threshold_ms;
	uint64_t max_key_size;
	uint64_t max_value_size;
};

enum compaction_strategy { STRATEGY_LEVELED, STRATEGY_TIERED };

/* struct wombat_options: values, and which of them were set explicitly. */
struct wombat_options {
	struct options values;
	uint64_t explicit_mask;     /* bit i: the i-th option of the table */
};

struct option_entry {
	struct wombat_option_info info;
	size_t offset;              /* in struct options */
	double min, max;
	const char *const *words;   /* WOMBAT_TYPE_ENUM: NULL-terminated names of values 0, 1, ... */
};
extern const struct option_entry option_table[];
extern const size_t option_count;

/* Of its field. */
size_t option_size(const struct option_entry *entry);
void options_defaults(struct options *o);
/* The entry of that name; NULL: none. */
const struct option_entry *option_find(const char *name);
/* Parses `text` for `entry` into `o`; statuses as wombat_options_set. */
MUST_CHECK enum wombat_status option_parse(const struct option_entry *entry, const char *text, struct options *o);
/* The value as text that option_parse accepts. */
MUST_CHECK enum wombat_status option_print(const struct option_entry *entry, const struct options *o, char *out, size_t cap);
/* Lines `name=value` into `out`; `what` names the source in messages. */
MUST_CHECK enum wombat_status options_parse_text(struct wombat_options *out, const char *what, const char *text, size_t size);
/* What of `over` was set explicitly replaces the values of `o`. */
void options_overlay(struct options *o, const struct wombat_options *over);
/* Conditions between options. */
MUST_CHECK enum wombat_status options_check(const struct options *o);

#endif
