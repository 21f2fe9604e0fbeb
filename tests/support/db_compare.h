/* Whether two databases hold the same, and what of one there must be in another. */
#ifndef WOMBAT_TESTS_DB_COMPARE_H
#define WOMBAT_TESTS_DB_COMPARE_H

#include "engine/wombat.h"

/* Every record of the keyspaces 1 to 4: key, value, attributes, times. */
void db_compare_equal(struct wombat *a, struct wombat *b);
/* Opens the database in `dir` of the environment, compares, closes it, and checks it. */
struct env;
void db_compare_copy(struct wombat *a, struct env *env, const char *dir);

#endif
