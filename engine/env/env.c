/* Whole files, over the calls of any environment. */
#include "engine/env/env.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/env/filename.h"

enum wombat_status env_read_file(struct env *env, const char *path, size_t max, struct buf *out)
{
	struct env_reader *r;
	enum wombat_status s = env->calls->reader_open(env, path, 0, &r);
	if (s != WOMBAT_OK)
		return s;
	uint64_t size = env->calls->reader_size(r);
	buf_clear(out);
	if (size > max)
		s = fail(WOMBAT_TOO_BIG, "%s has %llu bytes, over %zu", path, (unsigned long long)size, max);
	else
		s = buf_reserve(out, (size_t)size);
	if (s == WOMBAT_OK && size) {
		const uint8_t *bytes;
		s = env->calls->reader_read(r, 0, (size_t)size, out->data, &bytes);
		if (s == WOMBAT_OK) {
			if (bytes != out->data)
				memcpy(out->data, bytes, (size_t)size);
			out->size = (size_t)size;
		}
	}
	env->calls->reader_close(r);
	return s;
}

/* A new file, synced and closed. */
static enum wombat_status write_file(struct env *env, const char *path, struct wombat_slice content)
{
	struct env_writer *w;
	enum wombat_status s = env->calls->writer_open(env, path, 4096, 0, &w);
	if (s != WOMBAT_OK)
		return s;
	s = env->calls->writer_write(w, content.data, content.size);
	if (s == WOMBAT_OK)
		s = env->calls->writer_sync(w);
	if (s == WOMBAT_OK)
		return env->calls->writer_close(w);
	char cause[512];
	snprintf(cause, sizeof cause, "%s", status_detail());
	/* What the buffer still has may fail to be written once more; the first failure is the one to tell. */
	(void)env->calls->writer_close(w);
	status_set_detail(cause);
	return s;
}

enum wombat_status env_replace_file(struct env *env, const char *dir, const char *name, struct wombat_slice content)
{
	char path[FILENAME_PATH_MAX], temp[FILENAME_PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/%s", dir, name), m = snprintf(temp, sizeof temp, "%s/%s.tmp", dir, name);
	if (n < 0 || m < 0 || (size_t)m >= sizeof temp)
		return fail(WOMBAT_INVALID, "the path %s/%s is too long", dir, name);
	enum wombat_status s = write_file(env, temp, content);
	if (s == WOMBAT_OK)
		s = env->calls->rename(env, temp, path);
	if (s == WOMBAT_OK)
		return env->calls->dir_sync(env, dir);
	char cause[512];
	snprintf(cause, sizeof cause, "%s", status_detail());
	/* The failure above is what counts, whether or not the temporary file goes away. */
	env->calls->remove(env, temp);
	status_set_detail(cause);
	return s;
}
