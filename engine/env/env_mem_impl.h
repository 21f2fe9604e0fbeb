/* What the files of the environment in memory share. See env_mem.c. */
#ifndef WOMBAT_ENV_ENV_MEM_IMPL_H
#define WOMBAT_ENV_ENV_MEM_IMPL_H

#include "engine/base/alloc.h"
#include "engine/base/mutex.h"
#include "engine/env/env_mem.h"

enum { PATH_BYTES = 512 };

struct mem_file {
	int refs;              /* names, live and durable, and open handles */
	struct buf live, durable;
	uint8_t *segment;      /* the live bytes of a mapped one: fixed place, `live` is unused then */
	size_t segment_size;
};

struct mem_name {
	struct mem_name *next;
	char path[PATH_BYTES];
	struct mem_file *live, *durable; /* NULL: no such name on that side */
};

struct mem_env {
	struct env base;
	struct mutex mu;
	struct mem_name *names;
	uint64_t capacity, now_ns;
	struct env_lock *locks;
	void (*on_sync)(void *arg, const char *path);
	void *on_sync_arg;
	enum wombat_status (*on_call)(void *arg, const char *op, const char *path);
	void *on_call_arg;
};

static inline struct mem_env *mem_of(struct env *env)
{
	return (struct mem_env *)env;
}

/* The hooks: what the test makes of the call; and before a sync. Without the lock. */
MUST_CHECK enum wombat_status mem_call(struct mem_env *m, const char *op, const char *path);
void mem_before_sync(struct mem_env *m, const char *path);

/* Files and names, with the lock held. NULL: no such name; of that side. */
void mem_file_unref(struct mem_file *f);
size_t mem_file_bytes(const struct mem_file *f);
struct mem_name *mem_find(struct mem_env *m, const char *path);
struct mem_name *mem_find_live(struct mem_env *m, const char *path);
/* The path is short enough; NULL: out of memory. */
struct mem_name *mem_name_make(struct mem_env *m, const char *path);
enum wombat_status mem_too_long(const char *path);
enum wombat_status mem_missing(const char *path);

/* Calls of struct env_calls that are about names and locks: env_mem_names.c. */
enum wombat_status mem_link(struct env *env, const char *from, const char *to);
enum wombat_status mem_rename(struct env *env, const char *from, const char *to);
enum wombat_status mem_remove(struct env *env, const char *path);
enum wombat_status mem_file_size(struct env *env, const char *path, uint64_t *out);
enum wombat_status mem_dir_create(struct env *env, const char *path);
enum wombat_status mem_dir_remove(struct env *env, const char *path);
enum wombat_status mem_dir_list(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg);
enum wombat_status mem_dir_sync(struct env *env, const char *path);
enum wombat_status mem_disk_space(struct env *env, const char *path, uint64_t *out_free, uint64_t *out_total);
enum wombat_status mem_lock(struct env *env, const char *path, const char *note, struct env_lock **out);
enum wombat_status mem_lock_shared(struct env *env, const char *path, const char *note, struct env_lock **out);
enum wombat_status mem_lock_note(struct env_lock *l, const char *note);
void mem_unlock(struct env_lock *l);
enum wombat_status mem_lock_holder(struct env *env, const char *path, struct buf *out);

#endif
