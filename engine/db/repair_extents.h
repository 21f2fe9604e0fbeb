/* The last step of a repair: see repair_extents.c. */
#ifndef WOMBAT_DB_REPAIR_EXTENTS_H
#define WOMBAT_DB_REPAIR_EXTENTS_H

#include "engine/base/slice.h"
#include "engine/env/env.h"

/* Opens the repaired database, deletes the heads of values in extents that are not whole, and says which and why. */
MUST_CHECK enum wombat_status repair_extents(struct env *env, const char *dir,
	void (*on_lost)(void *arg, struct wombat_slice key, const char *what), void *arg);

#endif
