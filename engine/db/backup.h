/* Backups on an environment other than this machine's: for tests. As the functions of wombat.h. */
#ifndef WOMBAT_DB_BACKUP_H
#define WOMBAT_DB_BACKUP_H

#include "engine/env/env.h"

MUST_CHECK enum wombat_status backup_list(struct env *env, const char *dir,
	void (*each)(void *arg, const struct wombat_backup_info *info), void *arg);
MUST_CHECK enum wombat_status backup_verify(struct env *env, const char *dir, uint32_t id,
	void (*report)(void *arg, const char *sentence), void *arg);
MUST_CHECK enum wombat_status backup_delete(struct env *env, const char *dir, uint32_t id);
MUST_CHECK enum wombat_status backup_restore(struct env *env, const char *dir, uint32_t id, const char *database);

#endif
