/*
 * What flush and compaction have in common: a sorted stream of entries and the range tombstones over it, reduced to
 * what snapshots still need, and written as tables.
 */
#ifndef WOMBAT_COMPACT_REWRITE_H
#define WOMBAT_COMPACT_REWRITE_H

#include "engine/compact/compaction.h"

struct rewrite_options {
	unsigned output_level;
	const struct version *version;      /* whose deeper levels say what tombstones are still for; NULL: keep them all */
	bool bottom;                        /* no deeper level of it holds keys of the range */
	bool expiring;                      /* there may be records that have expired */
	uint64_t max_table_size;            /* UINT64_MAX: one table */
	struct file_meta *const *grandparents;
	size_t grandparent_count;
	struct wombat_slice begin, end;     /* keys from `begin` up to, without it, `end`; empty: no bound */
	struct file_meta *const *older;     /* files of level 0 that lie below an output there */
	size_t older_count;
};

/* `input` and `ranges`, which are clipped to the bounds, are borrowed. Adds the tables to `edit`; on failure none
 * remains. */
MUST_CHECK enum wombat_status rewrite_run(const struct compaction_context *context, const struct rewrite_options *options,
	struct iter *input, const struct range_del_set *ranges, struct version_edit *edit, struct compaction_result *out);

/* Removes the tables that an edit added behind the first `first`; the sentence of the failure stays. */
void rewrite_undo(const struct compaction_context *context, struct version_edit *edit, size_t first);

#endif
