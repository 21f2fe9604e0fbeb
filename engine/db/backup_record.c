/* Encoding of a backup's record. Whatever is decoded was checked: names hold no '/', so no path leads elsewhere. */
#include "engine/db/backup_record.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"

#define MAGIC UINT64_C(0x31504b4254424d57) /* "WMBTBKP1" */
enum { VERSION = 1, HEADER_SIZE = 16, CHECKSUM_SIZE = 4, CONFIG = 1 };

void backup_record_done(struct backup_record *r)
{
	buf_done(&r->manifest);
	buf_done(&r->config);
	mem_free(r->files);
	*r = (struct backup_record){ .count = 0 };
}

enum wombat_status backup_record_add(struct backup_record *r, const struct backup_file *f)
{
	struct backup_file *files = array_reserve(r->files, r->count, &r->capacity, sizeof *files);
	if (!files)
		return fail_no_memory();
	r->files = files;
	r->files[r->count++] = *f;
	return WOMBAT_OK;
}

/* ---- Encoding ------------------------------------------------------------------------------ */

static enum wombat_status append_varints(struct buf *out, const uint64_t *values, size_t count)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < count && s == WOMBAT_OK; i++)
		s = buf_append_varint(out, values[i]);
	return s;
}

static enum wombat_status append_file(struct buf *out, const struct backup_file *f)
{
	enum wombat_status s = buf_append_slice(out, WOMBAT_STR(f->name));
	if (s == WOMBAT_OK)
		s = buf_append_slice(out, WOMBAT_STR(f->stored));
	if (s == WOMBAT_OK)
		s = buf_append_varint(out, f->bytes);
	return s == WOMBAT_OK ? buf_append_u32(out, f->crc) : s;
}

enum wombat_status backup_record_encode(const struct backup_record *r, struct buf *out)
{
	const struct wombat_backup_info *i = &r->info;
	const uint64_t numbers[] = { i->id, i->time_ns, i->sequence, i->copied_files, i->copied_bytes,
				     r->has_config ? CONFIG : 0, r->manifest_number };
	buf_clear(out);
	enum wombat_status s = buf_append_u64(out, MAGIC);
	if (s == WOMBAT_OK)
		s = buf_append_u32(out, VERSION);
	if (s == WOMBAT_OK)
		s = buf_append_u32(out, 0);
	if (s == WOMBAT_OK)
		s = append_varints(out, numbers, sizeof numbers / sizeof numbers[0]);
	if (s == WOMBAT_OK)
		s = buf_append_slice(out, buf_slice(&r->manifest));
	if (s == WOMBAT_OK)
		s = buf_append_slice(out, buf_slice(&r->config));
	if (s == WOMBAT_OK)
		s = buf_append_varint(out, r->count);
	for (size_t k = 0; k < r->count && s == WOMBAT_OK; k++)
		s = append_file(out, &r->files[k]);
	return s == WOMBAT_OK ? buf_append_u32(out, crc32c(0, out->data, out->size)) : s;
}

/* ---- Decoding ------------------------------------------------------------------------------ */

/* A name of a file, and of nothing else. */
static bool take_name(struct wombat_slice from, char *out, size_t room)
{
	if (from.size == 0 || from.size >= room || from.data[0] == '.' || memchr(from.data, '/', from.size) ||
	    memchr(from.data, 0, from.size))
		return false;
	memcpy(out, from.data, from.size);
	out[from.size] = 0;
	return true;
}

static bool read_file(struct cursor *c, struct backup_file *f)
{
	struct wombat_slice name, stored, crc;
	if (!cursor_slice(c, &name) || !cursor_slice(c, &stored) || !cursor_varint(c, &f->bytes) ||
	    !cursor_bytes(c, 4, &crc) || !take_name(name, f->name, sizeof f->name) ||
	    !take_name(stored, f->stored, sizeof f->stored))
		return false;
	f->crc = get_u32(crc.data);
	return true;
}

static const char *read_body(struct cursor *c, struct backup_record *out, enum wombat_status *status)
{
	uint64_t n[7], count;
	struct wombat_slice manifest, config;
	for (size_t i = 0; i < sizeof n / sizeof n[0]; i++)
		if (!cursor_varint(c, &n[i]))
			return "it is cut off";
	if (!cursor_slice(c, &manifest) || !cursor_slice(c, &config) || !cursor_varint(c, &count))
		return "it is cut off";
	if (n[0] == 0 || n[0] > UINT32_MAX || n[5] > CONFIG)
		return "it has an impossible number";
	out->info = (struct wombat_backup_info){ .id = (uint32_t)n[0], .time_ns = n[1], .sequence = n[2],
						 .copied_files = n[3], .copied_bytes = n[4] };
	out->has_config = n[5] == CONFIG;
	out->manifest_number = n[6];
	*status = buf_set(&out->manifest, manifest);
	if (*status == WOMBAT_OK)
		*status = buf_set(&out->config, config);
	if (*status != WOMBAT_OK)
		return "out of memory";
	for (uint64_t i = 0; i < count; i++) {
		struct backup_file f = { .bytes = 0 };
		if (!read_file(c, &f))
			return "a file of it is not one";
		*status = backup_record_add(out, &f);
		if (*status != WOMBAT_OK)
			return "out of memory";
		out->info.files++;
		out->info.bytes += f.bytes;
	}
	return cursor_left(c) ? "it goes on behind its end" : NULL;
}

const char *backup_record_decode(struct wombat_slice bytes, struct backup_record *out, enum wombat_status *out_status)
{
	*out_status = WOMBAT_CORRUPTION;
	if (bytes.size < HEADER_SIZE + CHECKSUM_SIZE || get_u64(bytes.data) != MAGIC)
		return "it is not one";
	size_t body = bytes.size - CHECKSUM_SIZE;
	if (crc32c(0, bytes.data, body) != get_u32(bytes.data + body))
		return "its checksum is wrong";
	if (get_u32(bytes.data + 8) != VERSION) {
		*out_status = WOMBAT_UNSUPPORTED;
		return "a newer version wrote it";
	}
	struct cursor c = cursor_of(slice_make(bytes.data + HEADER_SIZE, body - HEADER_SIZE));
	*out_status = WOMBAT_OK;
	const char *fault = read_body(&c, out, out_status);
	if (fault && *out_status == WOMBAT_OK)
		*out_status = WOMBAT_CORRUPTION;
	return fault;
}
