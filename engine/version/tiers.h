/*
 * The tiered strategy: what is to be done with level 0, whose tables are runs, and with the base, the one level below
 * that is in use.
 *
 * Runs that are neighbours and of about the same size are a tier. `num_level_zero_tables` of them are merged into one run,
 * which stays in level 0; if that completes the next tier, that is merged too, at once. So a byte is rewritten once for
 * each tier, whose sizes grow by that factor. When there are `runs_max` runs all the same, the newest, which are small,
 * go together. When all runs are some times as large as the base they are merged into it: what is superseded takes no more
 * space than that.
 *
 * This is size-tiered compaction with a bound on space, as in universal compaction (RocksDB) with two levels.
 */
#ifndef WOMBAT_VERSION_TIERS_H
#define WOMBAT_VERSION_TIERS_H

#include "engine/version/version_set.h"

struct tiers_step {
	bool to_base;        /* all runs, into the base */
	size_t first, count; /* else these runs, into one */
};

/* False: there is nothing to do. */
bool tiers_next(const struct version *v, const struct version_shape *shape, struct tiers_step *out);
/* Where runs are merged into: the first level below that is in use, or the last one. */
unsigned tiers_base(const struct version *v);
/* Whether a level below level 0 is in use above the base: its tables are to go down. */
bool tiers_is_above_base(const struct version *v, unsigned level);

#endif
