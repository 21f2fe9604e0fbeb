/*
 * Reading and writing manifests: see manifest_format.h for the layout.
 *
 * Each record is synced before the next is begun, and a manifest is never written to again after a failure or by
 * a later process: each begins its own. So only the last record of a file can be torn by a crash, and a bad record
 * with a whole one behind it is damage.
 */
#include "engine/version/manifest.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "engine/env/filename.h"
#include "engine/version/manifest_format.h"

struct manifest_writer {
	struct env *env;
	struct env_writer *file;
	uint64_t size;
};

/* ---- Writing ------------------------------------------------------------------------------- */

static enum wombat_status write_record(struct manifest_writer *w, struct wombat_slice record)
{
	uint8_t head[MANIFEST_RECORD_HEADER_SIZE];
	if (record.size > MANIFEST_RECORD_MAX)
		return fail(WOMBAT_TOO_BIG, "an edit of %zu bytes is too large for the manifest", record.size);
	put_u32(head + 4, (uint32_t)record.size);
	put_u32(head, crc32c(crc32c(0, head + 4, 4), record.data, record.size));
	enum wombat_status s = w->env->calls->writer_write(w->file, head, sizeof head);
	if (s == WOMBAT_OK)
		s = w->env->calls->writer_write(w->file, record.data, record.size);
	if (s == WOMBAT_OK)
		s = w->env->calls->writer_sync(w->file);
	if (s == WOMBAT_OK)
		w->size += sizeof head + record.size;
	return s;
}

static enum wombat_status write_current(struct env *env, const char *dir, uint64_t number)
{
	char line[64], name[32], text[128];
	filename_make(name, FILE_MANIFEST, number);
	int n = snprintf(line, sizeof line, "%s\n", name);
	snprintf(text, sizeof text, "%s%08x\n", line, crc32c(0, line, (size_t)n));
	return env_replace_file(env, dir, "CURRENT", WOMBAT_STR(text));
}

enum wombat_status manifest_create(struct env *env, const char *dir, uint64_t number, struct wombat_slice first,
				   struct manifest_writer **out)
{
	char path[FILENAME_PATH_MAX];
	uint8_t header[MANIFEST_HEADER_SIZE] = { 0 };
	if (!filename_path(path, dir, FILE_MANIFEST, number))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	struct manifest_writer *w = mem_zalloc(sizeof *w);
	if (!w)
		return fail_no_memory();
	w->env = env;
	put_u64(header, MANIFEST_MAGIC);
	put_u32(header + MANIFEST_VERSION_OFFSET, MANIFEST_VERSION);
	put_u32(header + MANIFEST_CRC_OFFSET, crc32c(0, header, MANIFEST_CRC_OFFSET));
	enum wombat_status s = env->calls->writer_open(env, path, 4096, 0, &w->file);
	if (s != WOMBAT_OK) {
		mem_free(w);
		return s;
	}
	s = env->calls->writer_write(w->file, header, sizeof header);
	w->size = sizeof header;
	if (s == WOMBAT_OK)
		s = write_record(w, first);
	if (s == WOMBAT_OK)
		s = env->calls->dir_sync(env, dir);
	if (s == WOMBAT_OK)
		s = write_current(env, dir, number);
	if (s != WOMBAT_OK) {
		/* CURRENT may name it already, or not: the file stays for the next open to judge. */
		manifest_close(w);
		return s;
	}
	*out = w;
	return WOMBAT_OK;
}

enum wombat_status manifest_append(struct manifest_writer *w, struct wombat_slice record)
{
	return write_record(w, record);
}

uint64_t manifest_size(const struct manifest_writer *w)
{
	return w->size;
}

void manifest_close(struct manifest_writer *w)
{
	if (!w)
		return;
	/* Every record that counts was synced, so a failure here loses nothing, nor may it hide the one before. */
	char cause[512];
	snprintf(cause, sizeof cause, "%s", status_detail());
	(void)w->env->calls->writer_close(w->file);
	status_set_detail(cause);
	mem_free(w);
}

void manifest_remove(struct env *env, const char *dir, uint64_t number)
{
	char path[FILENAME_PATH_MAX];
	if (filename_path(path, dir, FILE_MANIFEST, number))
		env->calls->remove(env, path);
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* NAME, newline, the checksum of both as hexadecimal digits, newline; nothing else. */
static bool parse_current(struct wombat_slice text, uint64_t *out_number)
{
	char name[32], crc[16];
	const uint8_t *newline = text.size ? memchr(text.data, '\n', text.size) : NULL;
	size_t n = newline ? (size_t)(newline - text.data) : 0;
	if (n == 0 || n >= sizeof name)
		return false;
	memcpy(name, text.data, n);
	name[n] = 0;
	size_t digits = (size_t)snprintf(crc, sizeof crc, "%08x\n", crc32c(0, text.data, n + 1));
	return slice_equal(slice_make(newline + 1, text.size - n - 1), slice_make(crc, digits)) &&
	       filename_parse(name, out_number) == FILE_MANIFEST;
}

enum wombat_status manifest_read_current(struct env *env, const char *dir, uint64_t *out_number)
{
	enum { CURRENT_MAX = 4096 };
	char path[FILENAME_PATH_MAX];
	struct buf text = { 0 };
	uint64_t number;
	if (!filename_path(path, dir, FILE_CURRENT, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env_read_file(env, path, CURRENT_MAX, &text);
	if (s == WOMBAT_TOO_BIG || (s == WOMBAT_OK && !parse_current(buf_slice(&text), &number)))
		s = fail(WOMBAT_CORRUPTION, "%s does not name a manifest with its checksum", path);
	buf_done(&text);
	if (s == WOMBAT_OK)
		*out_number = number;
	return s;
}

static enum wombat_status check_header(const struct buf *bytes, const char *path)
{
	const uint8_t *p = bytes->data;
	if (bytes->size < MANIFEST_HEADER_SIZE || get_u64(p) != MANIFEST_MAGIC ||
	    get_u32(p + MANIFEST_CRC_OFFSET) != crc32c(0, p, MANIFEST_CRC_OFFSET))
		return fail(WOMBAT_CORRUPTION, "%s: its header at offset 0 is damaged", path);
	uint32_t version = get_u32(p + MANIFEST_VERSION_OFFSET), features = get_u32(p + MANIFEST_INCOMPATIBLE_OFFSET);
	if (version != MANIFEST_VERSION || (features & ~(uint32_t)MANIFEST_INCOMPATIBLE_KNOWN))
		return fail(WOMBAT_UNSUPPORTED, "%s is of version %u with features %#x, which this version cannot read", path,
			    version, features);
	return WOMBAT_OK;
}

static bool record_at(const struct buf *bytes, size_t offset, struct wombat_slice *out)
{
	if (bytes->size - offset < MANIFEST_RECORD_HEADER_SIZE)
		return false;
	const uint8_t *p = bytes->data + offset;
	uint32_t length = get_u32(p + 4);
	if (length > bytes->size - offset - MANIFEST_RECORD_HEADER_SIZE || length > MANIFEST_RECORD_MAX ||
	    get_u32(p) != crc32c(0, p + 4, 4 + (size_t)length))
		return false;
	*out = slice_make(p + MANIFEST_RECORD_HEADER_SIZE, length);
	return true;
}

/* A bad record is a torn end only when nothing whole follows. */
static enum wombat_status judge_end(const struct buf *bytes, size_t offset, const char *path)
{
	struct wombat_slice record;
	for (size_t at = offset + 1; at + MANIFEST_RECORD_HEADER_SIZE <= bytes->size; at++)
		if (record_at(bytes, at, &record) && record.size > 0)
			return fail(WOMBAT_CORRUPTION, "%s: the record at offset %zu is damaged", path, offset);
	return WOMBAT_OK;
}

/* Adds file and offset to what was said of a record. */
static enum wombat_status fail_record(enum wombat_status s, const char *path, size_t offset)
{
	char cause[256];
	if (s != WOMBAT_CORRUPTION && s != WOMBAT_UNSUPPORTED)
		return s;
	snprintf(cause, sizeof cause, "%s", status_detail());
	return fail(s, "%s: the record at offset %zu: %s", path, offset, cause);
}

static enum wombat_status replay_records(const struct buf *bytes, const char *path,
					 enum wombat_status (*each)(void *arg, struct wombat_slice record), void *arg,
					 size_t *out_cut_bytes)
{
	size_t at = MANIFEST_HEADER_SIZE;
	struct wombat_slice record;
	while (record_at(bytes, at, &record)) {
		enum wombat_status s = each(arg, record);
		if (s != WOMBAT_OK)
			return fail_record(s, path, at);
		at += MANIFEST_RECORD_HEADER_SIZE + record.size;
	}
	/* The first record was durable before CURRENT named the file. */
	if (at == MANIFEST_HEADER_SIZE)
		return fail(WOMBAT_CORRUPTION, "%s: the record at offset %zu is damaged", path, at);
	if (out_cut_bytes)
		*out_cut_bytes = bytes->size - at;
	return judge_end(bytes, at, path);
}

enum wombat_status manifest_replay(struct env *env, const char *dir, uint64_t number,
				   enum wombat_status (*each)(void *arg, struct wombat_slice record), void *arg,
				   size_t *out_cut_bytes)
{
	char path[FILENAME_PATH_MAX];
	struct buf bytes = { 0 };
	if (!filename_path(path, dir, FILE_MANIFEST, number))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env_read_file(env, path, MANIFEST_FILE_MAX, &bytes);
	if (s == WOMBAT_NOT_FOUND)
		s = fail(WOMBAT_CORRUPTION, "%s is missing: CURRENT names it", path);
	if (s == WOMBAT_OK)
		s = check_header(&bytes, path);
	if (s == WOMBAT_OK)
		s = replay_records(&bytes, path, each, arg, out_cut_bytes);
	buf_done(&bytes);
	return s;
}
