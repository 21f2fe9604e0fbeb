/*
 * A file system in memory, for tests: as fast as memory, with a settable clock, and with clones that
 * hold what a machine would find after a power cut. Directories are there without being made: listing one
 * that nobody made gives no names.
 */
#ifndef WOMBAT_ENV_ENV_MEM_H
#define WOMBAT_ENV_ENV_MEM_H

#include "engine/env/env.h"

MUST_CHECK enum wombat_status env_mem_new(struct env **out);
/* Freed by env->calls->free. */

enum env_mem_crash {
	ENV_MEM_SYNCED_ONLY,  /* only what was made durable */
	ENV_MEM_ALL,          /* everything written: a crash of the process alone */
	ENV_MEM_RANDOM,       /* of each unsynced 512-byte sector and name change, a seeded choice */
};
/* An independent copy of the file system as a crash now would leave it. Locks are not copied. */
MUST_CHECK enum wombat_status env_mem_clone(struct env *env, enum env_mem_crash crash, uint64_t seed, struct env **out);

/* Called at the start of each sync (file, segment, directory) in any thread, without locks held; may clone. */
void env_mem_on_sync(struct env *env, void (*hook)(void *arg, const char *path), void *arg);
/* Called before each operation that could fail in reality; what it returns other than WOMBAT_OK is the
 * operation's result. `op` is the call's name, as "writer_write". */
void env_mem_on_call(struct env *env, enum wombat_status (*hook)(void *arg, const char *op, const char *path), void *arg);
/* Bytes that all files together may have; beyond it writes fail with NO_SPACE. */
void env_mem_set_capacity(struct env *env, uint64_t bytes);
/* Real time by default; once set it stands still until set again. */
void env_mem_set_now(struct env *env, uint64_t ns);
/* For damage: the live bytes of a file, NULL if there is none. Valid until the file is next written. */
uint8_t *env_mem_bytes(struct env *env, const char *path, size_t *out_size);

#endif
