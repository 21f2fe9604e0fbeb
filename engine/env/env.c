/* Whole files, over the calls of any environment. */
#include "engine/env/env.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
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

/* ---- From front to back -------------------------------------------------------------------- */

enum { PIECE = 1 << 20 };

/* Reads all of a file, and writes it to `to` unless that is NULL. */
static enum wombat_status each_piece(struct env *env, const char *path, struct env_writer *to, uint64_t *out_size,
				     uint32_t *out_crc)
{
	struct env_reader *r;
	uint8_t *scratch = mem_alloc(PIECE);
	if (!scratch)
		return fail_no_memory();
	enum wombat_status s = env->calls->reader_open(env, path, ENV_SEQUENTIAL, &r);
	if (s != WOMBAT_OK) {
		mem_free(scratch);
		return s;
	}
	uint64_t size = env->calls->reader_size(r);
	uint32_t crc = 0;
	for (uint64_t at = 0; at < size && s == WOMBAT_OK;) {
		size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
		const uint8_t *bytes;
		s = env->calls->reader_read(r, at, n, scratch, &bytes);
		if (s == WOMBAT_OK && to)
			s = env->calls->writer_write(to, bytes, n);
		if (s == WOMBAT_OK)
			crc = crc32c(crc, bytes, n);
		at += n;
	}
	env->calls->reader_close(r);
	mem_free(scratch);
	if (s == WOMBAT_OK && out_size)
		*out_size = size;
	if (s == WOMBAT_OK && out_crc)
		*out_crc = crc;
	return s;
}

enum wombat_status env_sum_file(struct env *env, const char *path, uint64_t *out_size, uint32_t *out_crc)
{
	return each_piece(env, path, NULL, out_size, out_crc);
}

enum wombat_status env_copy_file(struct env *env, const char *from, const char *to, uint32_t *out_crc)
{
	struct env_writer *w;
	enum wombat_status s = env->calls->writer_open(env, to, PIECE, 0, &w);
	if (s != WOMBAT_OK)
		return s;
	s = each_piece(env, from, w, NULL, out_crc);
	if (s == WOMBAT_OK)
		s = env->calls->writer_sync(w);
	char cause[512];
	snprintf(cause, sizeof cause, "%s", s == WOMBAT_OK ? "" : status_detail());
	enum wombat_status closed = env->calls->writer_close(w);
	if (s == WOMBAT_OK && closed == WOMBAT_OK)
		return WOMBAT_OK;
	if (s == WOMBAT_OK) {
		s = closed;
		snprintf(cause, sizeof cause, "%s", status_detail());
	}
	env->calls->remove(env, to);
	status_set_detail(cause);
	return s;
}
