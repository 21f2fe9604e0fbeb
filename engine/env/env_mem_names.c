/*
 * Files in memory: their names, directories and locks. A directory is there while something is in it. See env_mem.c.
 */
#include <stdio.h>
#include <string.h>

#include "engine/env/env_mem_impl.h"

struct env_lock {
	struct env_lock *next;
	struct mem_env *env;
	bool shared;
	char path[PATH_BYTES], note[4400];
};

/* ---- Names --------------------------------------------------------------------------------- */

/* The rename of a directory: of all names below it, at once and durably, which is stricter in nothing that matters: a
 * directory is looked into by its new name only. */
static enum wombat_status rename_below(struct mem_env *m, const char *from, const char *to)
{
	size_t n = strlen(from);
	bool found = false;
	for (struct mem_name *a = m->names; a; a = a->next) {
		char path[PATH_BYTES];
		if (strncmp(a->path, from, n) != 0 || a->path[n] != '/')
			continue;
		int size = snprintf(path, sizeof path, "%s%s", to, a->path + n);
		if (size < 0 || size >= PATH_BYTES)
			return mem_too_long(to);
		memcpy(a->path, path, (size_t)size + 1);
		found = true;
	}
	return found ? WOMBAT_OK : mem_missing(from);
}

enum wombat_status mem_link(struct env *env, const char *from, const char *to)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "link", from);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	bool fits = strlen(to) < PATH_BYTES;
	struct mem_name *a = mem_find_live(m, from), *b = a && fits ? mem_name_make(m, to) : NULL;
	if (!a) {
		s = mem_missing(from);
	} else if (!fits) {
		s = mem_too_long(to);
	} else if (!b) {
		s = fail_no_memory();
	} else if (b->live) {
		s = fail(WOMBAT_IO, "linking %s to %s: File exists", from, to);
	} else {
		b->live = a->live;
		b->live->refs++;
	}
	mutex_unlock(&m->mu);
	return s;
}

enum wombat_status mem_rename(struct env *env, const char *from, const char *to)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "rename", from);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	bool fits = strlen(to) < PATH_BYTES;
	struct mem_name *a = mem_find_live(m, from), *b = a && fits ? mem_name_make(m, to) : NULL;
	if (!a) {
		s = rename_below(m, from, to);
	} else if (!fits) {
		s = mem_too_long(to);
	} else if (!b) {
		s = fail_no_memory();
	} else if (a != b) {
		mem_file_unref(b->live);
		b->live = a->live;
		a->live = NULL;
	}
	mutex_unlock(&m->mu);
	return s;
}

enum wombat_status mem_remove(struct env *env, const char *path)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "remove", path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	struct mem_name *n = mem_find_live(m, path);
	if (n) {
		mem_file_unref(n->live);
		n->live = NULL;
	}
	mutex_unlock(&m->mu);
	return n ? WOMBAT_OK : mem_missing(path);
}

/* A directory is there while something is in it. */
static bool is_dir(const struct mem_env *m, const char *path)
{
	size_t size = strlen(path);
	for (const struct mem_name *n = m->names; n; n = n->next)
		if (n->live && strncmp(n->path, path, size) == 0 && n->path[size] == '/')
			return true;
	return false;
}

enum wombat_status mem_file_size(struct env *env, const char *path, uint64_t *out)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "file_size", path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	struct mem_name *n = mem_find_live(m, path);
	bool there = n || is_dir(m, path);
	if (there)
		*out = n ? mem_file_bytes(n->live) : 0;
	mutex_unlock(&m->mu);
	return there ? WOMBAT_OK : mem_missing(path);
}

enum wombat_status mem_dir_create(struct env *env, const char *path)
{
	return mem_call(mem_of(env), "dir_create", path);
}

enum wombat_status mem_dir_remove(struct env *env, const char *path)
{
	return mem_call(mem_of(env), "dir_remove", path);
}

/* The name below `dir`, NULL when the path is elsewhere. */
static const char *name_in(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/') ? path + n + 1 : NULL;
}

enum wombat_status mem_dir_list(struct env *env, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
	struct mem_env *m = mem_of(env);
	struct buf names = { 0 };
	enum wombat_status s = mem_call(m, "dir_list", path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	for (struct mem_name *n = m->names; n && s == WOMBAT_OK; n = n->next) {
		const char *name = n->live ? name_in(n->path, path) : NULL;
		if (name)
			s = buf_append(&names, name, strlen(name) + 1);
	}
	mutex_unlock(&m->mu);
	for (size_t at = 0; s == WOMBAT_OK && at < names.size; at += strlen((char *)names.data + at) + 1)
		each(arg, (char *)names.data + at);
	buf_done(&names);
	return s;
}

enum wombat_status mem_dir_sync(struct env *env, const char *path)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "dir_sync", path);
	if (s != WOMBAT_OK)
		return s;
	mem_before_sync(m, path);
	mutex_lock(&m->mu);
	for (struct mem_name **p = &m->names, *n; (n = *p) != NULL;) {
		if (name_in(n->path, path) && n->live != n->durable) {
			mem_file_unref(n->durable);
			n->durable = n->live;
			if (n->durable)
				n->durable->refs++;
		}
		if (n->live || n->durable) {
			p = &n->next;
		} else { /* Gone on both sides. */
			*p = n->next;
			mem_free(n);
		}
	}
	mutex_unlock(&m->mu);
	return WOMBAT_OK;
}

enum wombat_status mem_disk_space(struct env *env, const char *path, uint64_t *out_free, uint64_t *out_total)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "disk_space", path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	uint64_t used = 0;
	for (const struct mem_name *n = m->names; n; n = n->next)
		used += n->live ? mem_file_bytes(n->live) : 0;
	*out_total = m->capacity;
	*out_free = used < m->capacity ? m->capacity - used : 0;
	mutex_unlock(&m->mu);
	return WOMBAT_OK;
}

/* ---- The lock ------------------------------------------------------------------------------ */

static enum wombat_status take_lock(struct mem_env *m, const char *path, const char *note, bool shared,
				    struct env_lock **out)
{
	enum wombat_status s = mem_call(m, shared ? "lock_shared" : "lock", path);
	if (s != WOMBAT_OK)
		return s;
	struct env_lock *l = mem_zalloc(sizeof *l);
	if (!l)
		return fail_no_memory();
	l->env = m;
	l->shared = shared;
	snprintf(l->path, sizeof l->path, "%s", path);
	snprintf(l->note, sizeof l->note, "%s", note);
	mutex_lock(&m->mu);
	for (struct env_lock *other = m->locks; other; other = other->next)
		if (strcmp(other->path, path) == 0 && !(other->shared && l->shared))
			s = fail(WOMBAT_BUSY, "%s is locked", path);
	if (s == WOMBAT_OK) {
		l->next = m->locks;
		m->locks = l;
	}
	mutex_unlock(&m->mu);
	if (s != WOMBAT_OK) {
		mem_free(l);
		return s;
	}
	*out = l;
	return WOMBAT_OK;
}

enum wombat_status mem_lock(struct env *env, const char *path, const char *note, struct env_lock **out)
{
	return take_lock(mem_of(env), path, note, false, out);
}

enum wombat_status mem_lock_shared(struct env *env, const char *path, const char *note, struct env_lock **out)
{
	return take_lock(mem_of(env), path, note, true, out);
}

enum wombat_status mem_lock_note(struct env_lock *l, const char *note)
{
	enum wombat_status s = mem_call(l->env, "lock_note", l->path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&l->env->mu);
	snprintf(l->note, sizeof l->note, "%s", note);
	mutex_unlock(&l->env->mu);
	return WOMBAT_OK;
}

void mem_unlock(struct env_lock *l)
{
	if (!l)
		return;
	mutex_lock(&l->env->mu);
	struct env_lock **p = &l->env->locks;
	while (*p != l)
		p = &(*p)->next;
	*p = l->next;
	mutex_unlock(&l->env->mu);
	mem_free(l);
}

enum wombat_status mem_lock_holder(struct env *env, const char *path, struct buf *out)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, "lock_holder", path);
	if (s != WOMBAT_OK)
		return s;
	s = fail(WOMBAT_NOT_FOUND, "%s is not locked", path);
	mutex_lock(&m->mu);
	struct env_lock *l = m->locks;
	while (l && strcmp(l->path, path) != 0)
		l = l->next;
	if (l)
		s = buf_append(out, l->note, strlen(l->note));
	mutex_unlock(&m->mu);
	return s;
}
