/*
 * A directory that appears whole or not at all: made as DIR.tmp, synced, renamed to DIR.
 */
#ifndef WOMBAT_ENV_STAGING_H
#define WOMBAT_ENV_STAGING_H

#include "engine/env/env.h"
#include "engine/env/filename.h"

struct staging {
	struct env *env;
	char dir[FILENAME_PATH_MAX];  /* what it will be */
	char temp[FILENAME_PATH_MAX]; /* where it is made */
};

/* WOMBAT_EXISTS: there is something called `dir`. What an earlier try left in DIR.tmp is removed. */
MUST_CHECK enum wombat_status staging_begin(struct env *env, const char *dir, struct staging *out);
/* The path of a file in it; false: too long. */
bool staging_path(const struct staging *s, const char *name, char out[FILENAME_PATH_MAX]);
/* Its files are synced already. Ends the staging in any case; on failure nothing is left. */
MUST_CHECK enum wombat_status staging_finish(struct staging *s);
/* Removes what was made. The thread's failure sentence stays as it is. */
void staging_abandon(struct staging *s);

#endif
