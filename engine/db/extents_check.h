/* Whether values in extents are whole: for check, and for what repair gives up. */
#ifndef WOMBAT_DB_EXTENTS_CHECK_H
#define WOMBAT_DB_EXTENTS_CHECK_H

#include "engine/db/db_impl.h"

struct extents_fault {
	unsigned keyspace;
	struct wombat_slice key; /* that has the head */
	uint64_t id;
	const char *what;        /* as a clause: "two of its extents overlap" */
	bool unowned;            /* the extents are whole, but nothing says that they are the key's: a sweep could take them */
};

/* Looks at the extents of all keys that have some, as of the snapshot, and calls `on_fault` for each that is not whole, until
 * that fails. May be called beside everything else. */
MUST_CHECK enum wombat_status extents_check(struct wombat *db, const struct wombat_snapshot *snapshot,
	enum wombat_status (*on_fault)(void *arg, const struct extents_fault *fault), void *arg);

/* How many values in extents nobody owns: a sweep does not find them, so they keep their space. */
MUST_CHECK enum wombat_status extents_count_stray(struct wombat *db, const struct wombat_snapshot *snapshot, uint64_t *out);

#endif
