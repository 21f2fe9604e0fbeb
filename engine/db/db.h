/* Opening a database on an environment other than this machine's: for tests. */
#ifndef WOMBAT_DB_DB_H
#define WOMBAT_DB_DB_H

#include "engine/env/env.h"

/* As wombat_open. `env` is borrowed until wombat_close. */
MUST_CHECK enum wombat_status db_open_env(struct env *env, const char *dir, const struct wombat_options *options,
	unsigned flags, struct wombat **out);
MUST_CHECK enum wombat_status db_check_env(struct env *env, const char *dir,
	void (*report)(void *arg, bool is_damage, const char *sentence), void *arg);
/* As wombat_repair. */
MUST_CHECK enum wombat_status db_repair_env(struct env *env, const char *dir,
	void (*report)(void *arg, bool is_loss, const char *sentence), void *arg);

#endif
