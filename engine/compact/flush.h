/*
 * Memtables to tables of level 0: one or more waiting memtables, oldest last dropped, merged into one
 * sorted run.
 */
#ifndef WOMBAT_COMPACT_FLUSH_H
#define WOMBAT_COMPACT_FLUSH_H

#include "engine/compact/compaction.h"
#include "engine/mem/memtable.h"

/* Versions that no snapshot can see are left out; tombstones stay. All into one table (none if nothing is
 * left); `edit` gains it at level 0. Runs without locks. */
MUST_CHECK enum wombat_status flush_run(const struct compaction_context *context, struct memtable *const *memtables,
	size_t count, struct version_edit *edit, struct compaction_result *out);

#endif
