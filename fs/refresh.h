/*
 * What the mount knows follows what was committed past it: by a transaction, whose tree has nodes of its own.
 *
 * A file that was changed is another one from then on, as if it had been replaced by a rename: who has it open goes on
 * with what it held, and everybody else finds the new one. A directory stays the same one as long as it is there.
 *
 * All are called with the mount's lock held, which is not let go in between.
 */
#ifndef WOMBAT_FS_REFRESH_H
#define WOMBAT_FS_REFRESH_H

#include "fs/node.h"

struct refresh {
	struct mount *m;
	struct refreshed_key *keys; /* in order, by space */
	size_t count, capacity;
	int error;
};

/* Before the commit of a store over a transaction, which stays open: notes what it changes. 0 or an errno, and nothing is to be
 * committed then. */
int refresh_begin(struct refresh *r, struct mount *m, struct store *txn);
/* After it. */
void refresh_apply(struct refresh *r);
/* In any case. */
void refresh_end(struct refresh *r);

#endif
