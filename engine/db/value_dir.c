/*
 * Both files are a few lines of text, the last one the crc32c of those before. They are written before the first value,
 * the mark first: a crash between leaves a mark that no database knows, in a directory without values, which is taken over.
 */
#include "engine/db/value_dir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/crc32c.h"
#include "engine/base/hash.h"

enum { FILE_MAX = 8192, ID_DIGITS = 16, CRC_DIGITS = 8 };
static const char where_name[] = "VALUES", where_header[] = "wombat-values 1\n";
static const char mark_name[] = "WOMBAT-VALUES", mark_header[] = "wombat-values-of 1\n";

/* ---- The two files ------------------------------------------------------------------------- */

static enum wombat_status write_file(struct env *env, const char *dir, const char *name, struct buf *text)
{
	enum wombat_status s = buf_printf(text, "%08x\n", crc32c(0, text->data, text->size));
	return s == WOMBAT_OK ? env_replace_file(env, dir, name, buf_slice(text)) : s;
}

static enum wombat_status write_where(struct env *env, const char *dir, uint64_t id, const char *path)
{
	struct buf text = { 0 };
	enum wombat_status s = buf_printf(&text, "%s%016" PRIx64 "\n%s\n", where_header, id, path);
	if (s == WOMBAT_OK)
		s = write_file(env, dir, where_name, &text);
	buf_done(&text);
	return s;
}

static enum wombat_status write_mark(struct env *env, const char *path, uint64_t id)
{
	struct buf text = { 0 };
	enum wombat_status s = buf_printf(&text, "%s%016" PRIx64 "\n", mark_header, id);
	if (s == WOMBAT_OK)
		s = write_file(env, path, mark_name, &text);
	buf_done(&text);
	return s;
}

/* Between header and checksum: the id's line and the rest. False: it is damaged. */
static bool parse(struct wombat_slice text, const char *header, uint64_t *out_id, struct wombat_slice *out_rest)
{
	size_t head = strlen(header), least = head + ID_DIGITS + 1 + CRC_DIGITS + 1;
	char crc[CRC_DIGITS + 2], digits[ID_DIGITS + 1], *end;
	if (text.size < least || memcmp(text.data, header, head) != 0)
		return false;
	size_t body = text.size - CRC_DIGITS - 1;
	snprintf(crc, sizeof crc, "%08x\n", crc32c(0, text.data, body));
	memcpy(digits, text.data + head, ID_DIGITS);
	digits[ID_DIGITS] = 0;
	*out_id = strtoull(digits, &end, 16);
	*out_rest = slice_make(text.data + head + ID_DIGITS + 1, body - head - ID_DIGITS - 1);
	return memcmp(text.data + body, crc, CRC_DIGITS + 1) == 0 && !*end;
}

/* WOMBAT_NOT_FOUND: there is no such file. */
static enum wombat_status read_file(struct env *env, const char *dir, const char *name, const char *header, struct buf *text,
				    uint64_t *out_id, struct wombat_slice *out_rest)
{
	char path[FILENAME_PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/%s", dir, name);
	if (n < 0 || (size_t)n >= sizeof path)
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env_read_file(env, path, FILE_MAX, text);
	if (s == WOMBAT_TOO_BIG || (s == WOMBAT_OK && !parse(buf_slice(text), header, out_id, out_rest)))
		return fail(WOMBAT_CORRUPTION, "%s is damaged", path);
	return s;
}

/* WOMBAT_NOT_FOUND: the directory has no mark. */
static enum wombat_status read_mark(struct env *env, const char *path, uint64_t *out_id)
{
	struct buf text = { 0 };
	struct wombat_slice rest;
	enum wombat_status s = read_file(env, path, mark_name, mark_header, &text, out_id, &rest);
	buf_done(&text);
	return s;
}

static enum wombat_status read_where(struct env *env, const char *dir, uint64_t *out_id, struct value_dir *out)
{
	struct buf text = { 0 };
	struct wombat_slice rest;
	*out = (struct value_dir){ .apart = false };
	enum wombat_status s = read_file(env, dir, where_name, where_header, &text, out_id, &rest);
	if (s == WOMBAT_OK && (rest.size < 2 || rest.size > sizeof out->path || rest.data[rest.size - 1] != '\n'))
		s = fail(WOMBAT_CORRUPTION, "%s/%s names no directory", dir, where_name);
	if (s == WOMBAT_OK) {
		memcpy(out->path, rest.data, rest.size - 1);
		out->path[rest.size - 1] = 0;
		out->apart = true;
	}
	buf_done(&text);
	return s;
}

/* ---- Finding ------------------------------------------------------------------------------- */

static enum wombat_status own_dir(const char *dir, struct value_dir *out)
{
	out->apart = false;
	int n = snprintf(out->path, sizeof out->path, "%s", dir);
	return n >= 0 && (size_t)n < sizeof out->path ? WOMBAT_OK : fail(WOMBAT_INVALID, "the path %s is too long", dir);
}

/* Whether the directory has the mark; a failure to read one is not an answer. */
static enum wombat_status is_marked(struct env *env, const char *path, uint64_t id, bool *out)
{
	uint64_t found = 0;
	enum wombat_status s = read_mark(env, path, &found);
	*out = s == WOMBAT_OK && found == id;
	return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s;
}

static enum wombat_status not_there(const char *dir, const char *path)
{
	return fail(WOMBAT_NOT_FOUND, "the values of %s are not in %s: mount it, or say with value_dir where they were moved to", dir,
		    path);
}

enum wombat_status value_dir_find(struct env *env, const char *dir, struct value_dir *out)
{
	uint64_t id;
	bool marked;
	enum wombat_status s = read_where(env, dir, &id, out);
	if (s == WOMBAT_NOT_FOUND)
		return own_dir(dir, out);
	if (s == WOMBAT_OK)
		s = is_marked(env, out->path, id, &marked);
	return s == WOMBAT_OK && !marked ? not_there(dir, out->path) : s;
}

/* ---- Making -------------------------------------------------------------------------------- */

static void note_values(void *arg, const char *name)
{
	uint64_t number;
	if (filename_parse(name, &number) == FILE_VALUES)
		*(bool *)arg = true;
}

static enum wombat_status make(struct env *env, const char *dir, const char *wanted, struct value_dir *out)
{
	bool taken = false;
	uint64_t now[2] = { env->calls->now_ns(env), env->calls->monotonic_ns(env) };
	uint64_t id = hash64(dir, strlen(dir), hash64(now, sizeof now, 0));
	enum wombat_status s = own_dir(wanted, out);
	if (s == WOMBAT_OK)
		s = env->calls->dir_create(env, wanted);
	if (s == WOMBAT_OK)
		s = env->calls->dir_list(env, wanted, note_values, &taken);
	if (s == WOMBAT_OK && taken)
		s = fail(WOMBAT_EXISTS, "value_dir: %s holds the values of another database", wanted);
	if (s == WOMBAT_OK)
		s = write_mark(env, wanted, id);
	if (s == WOMBAT_OK)
		s = write_where(env, dir, id, wanted);
	out->apart = true;
	return s;
}

enum wombat_status value_dir_settle(struct env *env, const char *dir, const char *wanted, bool is_new, bool read_only,
				    struct value_dir *out)
{
	uint64_t id;
	bool marked = false;
	if (is_new)
		return *wanted ? make(env, dir, wanted, out) : own_dir(dir, out);
	enum wombat_status s = read_where(env, dir, &id, out);
	if (s == WOMBAT_NOT_FOUND)
		return own_dir(dir, out);
	if (s == WOMBAT_CORRUPTION && *wanted) { /* VALUES is damaged, but somebody knows better. */
		s = read_mark(env, wanted, &id);
		marked = s == WOMBAT_OK;
		if (s == WOMBAT_NOT_FOUND)
			s = read_where(env, dir, &id, out);
	} else if (s == WOMBAT_OK && *wanted && strcmp(wanted, out->path) != 0) {
		s = is_marked(env, wanted, id, &marked);
	}
	if (s == WOMBAT_OK && !marked)
		return value_dir_find(env, dir, out);
	if (s == WOMBAT_OK)
		s = own_dir(wanted, out);
	out->apart = true;
	return s == WOMBAT_OK && !read_only ? write_where(env, dir, id, wanted) : s;
}
