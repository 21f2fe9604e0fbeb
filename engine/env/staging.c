/* Directories that appear whole: see the header. Files lie in them directly; there are no directories below. */
#include "engine/env/staging.h"

#include <stdio.h>
#include <string.h>

bool staging_path(const struct staging *s, const char *name, char out[FILENAME_PATH_MAX])
{
	int n = snprintf(out, FILENAME_PATH_MAX, "%s/%s", s->temp, name);
	return n > 0 && n < FILENAME_PATH_MAX;
}

/* ---- Removing what was made ------------------------------------------------------------------ */

struct names {
	struct buf text; /* NUL behind each */
	enum wombat_status status;
};

static void add_name(void *arg, const char *name)
{
	struct names *n = arg;
	if (n->status == WOMBAT_OK)
		n->status = buf_append(&n->text, name, strlen(name) + 1);
}

/* WOMBAT_NOT_FOUND: there is no such directory. */
static enum wombat_status remove_all(struct staging *s)
{
	struct names names = { .status = WOMBAT_OK };
	enum wombat_status status = s->env->calls->dir_list(s->env, s->temp, add_name, &names);
	if (status == WOMBAT_OK)
		status = names.status;
	const char *name = (const char *)names.text.data;
	for (size_t at = 0; status == WOMBAT_OK && at < names.text.size; at += strlen(name + at) + 1) {
		char path[FILENAME_PATH_MAX];
		if (!staging_path(s, name + at, path))
			status = fail(WOMBAT_INVALID, "the path %s/%s is too long", s->temp, name + at);
		else
			status = s->env->calls->remove(s->env, path);
	}
	buf_done(&names.text);
	return status == WOMBAT_OK ? s->env->calls->dir_remove(s->env, s->temp) : status;
}

void staging_abandon(struct staging *s)
{
	char cause[512];
	snprintf(cause, sizeof cause, "%s", status_detail());
	/* What stays is removed when the next try begins. */
	if (remove_all(s) != WOMBAT_OK)
		status_set_detail(cause);
	status_set_detail(cause);
}

/* ---- Begin and end --------------------------------------------------------------------------- */

/* The directory that holds the new one. */
static void parent_of(const char *dir, char out[FILENAME_PATH_MAX])
{
	snprintf(out, FILENAME_PATH_MAX, "%s", dir);
	char *slash = strrchr(out, '/');
	if (!slash)
		snprintf(out, FILENAME_PATH_MAX, ".");
	else
		slash[slash == out] = '\0';
}

enum wombat_status staging_begin(struct env *env, const char *dir, struct staging *out)
{
	uint64_t size;
	size_t n = strlen(dir);
	while (n > 1 && dir[n - 1] == '/')
		n--;
	out->env = env;
	if (n == 0 || n + sizeof ".tmp" > FILENAME_PATH_MAX)
		return fail(WOMBAT_INVALID, "\"%s\" is no path for a directory", dir);
	snprintf(out->dir, sizeof out->dir, "%.*s", (int)n, dir);
	snprintf(out->temp, sizeof out->temp, "%.*s.tmp", (int)n, dir);
	enum wombat_status s = env->calls->file_size(env, out->dir, &size);
	if (s == WOMBAT_OK)
		return fail(WOMBAT_EXISTS, "%s is there already", out->dir);
	if (s != WOMBAT_NOT_FOUND)
		return s;
	s = env->calls->file_size(env, out->temp, &size);
	if (s == WOMBAT_OK)
		s = remove_all(out);
	if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND)
		return s;
	return env->calls->dir_create(env, out->temp);
}

enum wombat_status staging_finish(struct staging *s)
{
	char parent[FILENAME_PATH_MAX];
	parent_of(s->dir, parent);
	enum wombat_status status = s->env->calls->dir_sync(s->env, s->temp);
	if (status == WOMBAT_OK)
		status = s->env->calls->rename(s->env, s->temp, s->dir);
	if (status != WOMBAT_OK) {
		staging_abandon(s);
		return status;
	}
	return s->env->calls->dir_sync(s->env, parent);
}
