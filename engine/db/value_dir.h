/*
 * Where a database's value log is: in its own directory, or in one that the option value_dir named when it was made.
 *
 * The database says where with the file VALUES, and the other directory says whose it is with the file WOMBAT-VALUES: the
 * same id in both. So values are not looked for in a directory that is not mounted, nor mixed up with another database's;
 * and a directory that was moved is found again when value_dir says where.
 */
#ifndef WOMBAT_DB_VALUE_DIR_H
#define WOMBAT_DB_VALUE_DIR_H

#include "engine/db/options.h"
#include "engine/env/env.h"
#include "engine/env/filename.h"

struct value_dir {
	char path[FILENAME_PATH_MAX];
	bool apart; /* not the database's own */
};

/* As the database `dir` says; its mark is looked at too. WOMBAT_NOT_FOUND: the values are not there; WOMBAT_CORRUPTION:
 * VALUES is damaged. */
MUST_CHECK enum wombat_status value_dir_find(struct env *env, const char *dir, struct value_dir *out);
/*
 * For an open: `wanted` is the option's value. A database that is being made gets its values there, if that is not empty:
 * WOMBAT_EXISTS when they would lie among others. For one that exists it says where they were moved, which is noted unless
 * `read_only`; a directory without them is not believed.
 */
MUST_CHECK enum wombat_status value_dir_settle(struct env *env, const char *dir, const char *wanted, bool is_new, bool read_only,
	struct value_dir *out);

#endif
