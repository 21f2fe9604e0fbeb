/* Reading and writing manifests: see manifest_format.h for the layout. */
#include "engine/version/manifest.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "engine/env/filename.h"
#include "engine/version/manifest_format.h"
#include "engine/version/version_set.h"

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
	put_u32(header + 8, MANIFEST_VERSION);
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
		char cause[512];
		snprintf(cause, sizeof cause, "%s", status_detail());
		manifest_close(w);
		status_set_detail(cause);
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
	/* Every record was synced, so nothing can be lost here. */
	w->env->calls->writer_close(w->file);
	mem_free(w);
}

void manifest_remove(struct env *env, const char *dir, uint64_t number)
{
	char path[FILENAME_PATH_MAX];
	if (filename_path(path, dir, FILE_MANIFEST, number))
		env->calls->remove(env, path);
}

/* ---- Reading ------------------------------------------------------------------------------- */

enum wombat_status manifest_read_current(struct env *env, const char *dir, uint64_t *out_number)
{
	char path[FILENAME_PATH_MAX], name[32];
	struct buf text = { 0 };
	if (!filename_path(path, dir, FILE_CURRENT, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env_read_file(env, path, 4096, &text);
	if (s == WOMBAT_OK)
		s = buf_append_byte(&text, 0);
	if (s == WOMBAT_OK) {
		const char *line = (const char *)text.data, *newline = strchr(line, '\n');
		size_t n = newline ? (size_t)(newline - line) : 0;
		char crc[16];
		snprintf(crc, sizeof crc, "%08x\n", crc32c(0, line, n + 1));
		s = fail(WOMBAT_CORRUPTION, "%s does not name a manifest with its checksum", path);
		if (n > 0 && n < sizeof name && text.size == n + 1 + 9 + 1 && strcmp(newline + 1, crc) == 0) {
			memcpy(name, line, n);
			name[n] = 0;
			if (filename_parse(name, out_number) == FILE_MANIFEST)
				s = WOMBAT_OK;
		}
	}
	buf_done(&text);
	return s;
}

static enum wombat_status check_header(const struct buf *bytes, const char *path)
{
	const uint8_t *p = bytes->data;
	if (bytes->size < MANIFEST_HEADER_SIZE || get_u64(p) != MANIFEST_MAGIC ||
	    get_u32(p + MANIFEST_CRC_OFFSET) != crc32c(0, p, MANIFEST_CRC_OFFSET))
		return fail(WOMBAT_CORRUPTION, "%s: its header at offset 0 is damaged", path);
	if (get_u32(p + 8) > MANIFEST_VERSION || get_u32(p + 12) != 0)
		return fail(WOMBAT_UNSUPPORTED, "%s was written by a newer version (%u, features %#x)", path, get_u32(p + 8),
			    get_u32(p + 12));
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

/* Each record was synced before the next was begun: a bad one is a torn end only when nothing whole follows. */
static enum wombat_status judge_end(const struct buf *bytes, size_t offset, const char *path)
{
	struct wombat_slice record;
	for (size_t at = offset + 1; at + MANIFEST_RECORD_HEADER_SIZE <= bytes->size; at++)
		if (record_at(bytes, at, &record) && record.size > 0)
			return fail(WOMBAT_CORRUPTION, "%s: the record at offset %zu is damaged", path, offset);
	return WOMBAT_OK;
}

enum wombat_status manifest_replay(struct env *env, const char *dir, uint64_t number,
				   enum wombat_status (*each)(void *arg, struct wombat_slice record), void *arg)
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
	size_t at = MANIFEST_HEADER_SIZE;
	struct wombat_slice record;
	bool first = true;
	for (; s == WOMBAT_OK && record_at(&bytes, at, &record); first = false) {
		s = each(arg, record);
		at += MANIFEST_RECORD_HEADER_SIZE + record.size;
	}
	/* The first record was durable before CURRENT named the file. */
	if (s == WOMBAT_OK && first)
		s = fail(WOMBAT_CORRUPTION, "%s: the record at offset %d is damaged", path, MANIFEST_HEADER_SIZE);
	if (s == WOMBAT_OK)
		s = judge_end(&bytes, at, path);
	buf_done(&bytes);
	return s;
}

/* ---- Check --------------------------------------------------------------------------------- */

static enum wombat_status decode_only(void *arg, struct wombat_slice record)
{
	struct version_edit e;
	uint64_t *count = arg;
	enum wombat_status s = version_edit_decode(record, &e);
	if (s != WOMBAT_OK)
		return s;
	version_edit_done(&e);
	(*count)++;
	return WOMBAT_OK;
}

enum wombat_status manifest_check(struct env *env, const char *dir,
				  void (*report)(void *arg, bool is_damage, const char *sentence), void *arg)
{
	uint64_t number, edits = 0;
	char text[128];
	enum wombat_status s = manifest_read_current(env, dir, &number);
	if (s == WOMBAT_OK)
		s = manifest_replay(env, dir, number, decode_only, &edits);
	if (s != WOMBAT_OK) {
		report(arg, true, status_detail());
		return s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED ? WOMBAT_CORRUPTION : s;
	}
	snprintf(text, sizeof text, "manifest %06" PRIu64 " with %" PRIu64 " edits read", number, edits);
	report(arg, false, text);
	return WOMBAT_OK;
}
