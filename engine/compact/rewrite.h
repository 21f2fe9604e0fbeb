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
};

/* `input` is borrowed. Adds the tables to `edit`; on failure none remains. */
MUST_CHECK enum wombat_status rewrite_run(const struct compaction_context *context, const struct rewrite_options *options,
	struct iter *input, const struct range_del_set *ranges, struct version_edit *edit, struct compaction_result *out);

#endif
