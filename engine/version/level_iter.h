/* Iterator over the disjoint, ordered tables of one level: opens each when it comes to it. */
#ifndef WOMBAT_VERSION_LEVEL_ITER_H
#define WOMBAT_VERSION_LEVEL_ITER_H

#include "engine/version/version.h"

/* Keeps `v` counted. Tables outside [lower, upper) are left out. */
MUST_CHECK enum wombat_status level_iter_new(struct version *v, unsigned level, struct table_cache *tables,
	struct wombat_slice lower, struct wombat_slice upper, unsigned table_flags, size_t read_ahead_bytes,
	struct iter **out);

#endif
