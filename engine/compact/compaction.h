/*
 * Tables to tables: merges the inputs and writes what is still needed one level down.
 *
 * Of one key a version is needed when a snapshot can see it: between two neighbouring snapshot sequences
 * only the newest counts. Tombstones, range tombstones and expired records also go when no deeper level
 * can hold the key (`bottom`) and no snapshot is older.
 *
 * A large one is divided by keys into ranges that run side by side (share.h), and takes effect as a whole.
 */
#ifndef WOMBAT_COMPACT_COMPACTION_H
#define WOMBAT_COMPACT_COMPACTION_H

#include "engine/compact/picker.h"
#include "engine/compact/share.h"
#include "engine/compact/throttle.h"
#include "engine/vlog/vlog.h"

struct compaction_context {
	struct env *env;
	const char *dir;
	struct table_cache *tables;
	struct version_set *versions;
	struct table_builder_options table;   /* for outputs */
	uint64_t max_table_size;
	size_t read_ahead_bytes;
	const uint64_t *snapshots;            /* ascending sequences that must stay readable; the newest state's last */
	size_t snapshot_count;
	uint64_t now_ns;
	struct throttle *throttle;            /* may be NULL */
	struct vlog *values;                  /* may be NULL: no value is elsewhere */
	const uint64_t *collect;              /* value log files: live values in them are written anew */
	size_t collect_count;
	/* Called with the id of each value in extents whose head is not kept; may be NULL. */
	void (*dropped_extents)(void *arg, uint64_t id);
	void *dropped_arg;
	struct share *share;                  /* whose helpers run ranges of a large compaction; may be NULL: it is one */
	size_t ranges_max;                    /* so many at most */
	const atomic_bool *cancel;            /* set when the database closes: the job ends with WOMBAT_BUSY */
};

struct compaction_result {
	uint64_t read_bytes, written_bytes, dropped_entries, moved_value_bytes;
	size_t output_files;
	size_t ranges;                        /* that ran by themselves */
};

/* Runs without locks. Fills `edit` with outputs added and inputs removed; on failure no output remains. */
MUST_CHECK enum wombat_status compaction_run(const struct compaction_context *context,
	const struct compaction_inputs *inputs, struct version_edit *edit, struct compaction_result *out);

#endif
