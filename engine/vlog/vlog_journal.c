/*
 * Journal records: written, and found again by walking from record to record.
 *
 * A file was synced as a whole whenever one of its journal records had to be durable, so all before such a record is whole.
 * What stands behind a tear was therefore not durable, or the tear is damage; a record behind it that says that changes
 * had been durable tells which. Records have no alignment, so it is searched for at every byte; that is as much as was
 * written since the last sync.
 */
#include "engine/vlog/vlog_journal.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/base/crc32c.h"
#include "engine/base/ikey.h"
#include "engine/vlog/vlog_impl.h"

enum { WINDOW = 1 << 20, CHANGE_MIN = 3 };
_Static_assert(VLOG_JOURNAL_HEADER_SIZE + VLOG_JOURNAL_BODY_MAX <= VLOG_CHUNK_SIZE, "one checksum is enough");

/* ---- Writing ------------------------------------------------------------------------------- */

enum wombat_status vlog_journal_append(struct vlog *v, const struct vlog_journal_record *r,
				       const struct wombat_slice *pieces, size_t piece_count)
{
	uint8_t payload[VLOG_JOURNAL_HEADER_SIZE + VLOG_JOURNAL_BODY_MAX], *p = payload;
	put_u64(p, r->durable_sequence);
	put_u64(p + 8, r->sequence);
	put_u64(p + 16, r->time_ns);
	put_u32(p + 24, r->count);
	p += VLOG_JOURNAL_HEADER_SIZE;
	for (size_t i = 0; i < piece_count; i++) {
		assert(pieces[i].size <= (size_t)(payload + sizeof payload - p));
		if (pieces[i].size)
			memcpy(p, pieces[i].data, pieces[i].size);
		p += pieces[i].size;
	}
	return vlog_append_journal(v, slice_make(payload, (size_t)(p - payload)), r->sequence + r->count - 1);
}

struct vlog_position vlog_record_end(const struct value_pointer *p)
{
	return (struct vlog_position){ p->file, p->offset + p->size + vlog_chunk_count(p->size) * VLOG_CHUNK_CRC_SIZE };
}

/* ---- Walking ------------------------------------------------------------------------------- */

struct walk {
	struct vlog *log;
	enum wombat_status (*each)(void *arg, const struct vlog_journal_record *record);
	void *arg;
	uint64_t file, bytes; /* the present one, and its size */
	struct buf room;
};

/* Reads `size` bytes of the file, which it has, into the room. */
static enum wombat_status fetch(struct walk *w, uint64_t at, size_t size)
{
	buf_clear(&w->room);
	enum wombat_status s = buf_reserve(&w->room, size);
	if (s == WOMBAT_OK)
		s = vlog_read_bytes(w->log, w->file, at, size, w->room.data);
	return s;
}

/* Whether a header with its key, which follows, stands at an offset: `*out_end`, where the next record begins. */
static enum wombat_status read_header(struct walk *w, uint64_t at, bool *out_whole, uint64_t *out_end)
{
	*out_whole = false;
	if (w->bytes - at < VLOG_RECORD_HEADER_SIZE)
		return WOMBAT_OK;
	enum wombat_status s = fetch(w, at, VLOG_RECORD_HEADER_SIZE);
	if (s != WOMBAT_OK)
		return s;
	uint64_t left = w->bytes - at - VLOG_RECORD_HEADER_SIZE;
	uint32_t key = get_u32(w->room.data + 4);
	uint64_t value = get_u64(w->room.data + 8);
	if (key > VLOG_KEY_MAX || key > left || value > left - key ||
	    vlog_chunk_count(value) * VLOG_CHUNK_CRC_SIZE > left - key - value)
		return WOMBAT_OK;
	s = fetch(w, at, VLOG_RECORD_HEADER_SIZE + key);
	if (s != WOMBAT_OK)
		return s;
	const uint8_t *p = w->room.data;
	*out_whole = vlog_header_crc(w->file, at, p, slice_make(p + VLOG_RECORD_HEADER_SIZE, key)) == get_u32(p);
	*out_end = at + VLOG_RECORD_HEADER_SIZE + key + value + vlog_chunk_count(value) * VLOG_CHUNK_CRC_SIZE;
	return WOMBAT_OK;
}

static bool is_journal_size(uint64_t value)
{
	return value >= VLOG_JOURNAL_HEADER_SIZE + CHANGE_MIN && value <= VLOG_JOURNAL_HEADER_SIZE + VLOG_JOURNAL_BODY_MAX;
}

/* The record without a key whose header stands at an offset and is whole. `*out`: it was one of the journal. */
static enum wombat_status give(struct walk *w, uint64_t at, const uint8_t *header, bool beyond_tear, bool *out)
{
	uint64_t size = get_u64(header + 8);
	uint32_t crc = get_u32(header + 16);
	*out = false;
	if (!is_journal_size(size))
		return WOMBAT_OK;
	enum wombat_status s = fetch(w, at + VLOG_RECORD_HEADER_SIZE, (size_t)size);
	if (s != WOMBAT_OK || crc32c(0, w->room.data, (size_t)size) != crc)
		return s;
	const uint8_t *p = w->room.data;
	const struct vlog_journal_record r = {
		.durable_sequence = get_u64(p), .sequence = get_u64(p + 8), .time_ns = get_u64(p + 16), .count = get_u32(p + 24),
		.body = slice_make(p + VLOG_JOURNAL_HEADER_SIZE, (size_t)size - VLOG_JOURNAL_HEADER_SIZE),
		.at = { w->file, at }, .beyond_tear = beyond_tear,
	};
	*out = r.count > 0 && r.count <= r.body.size / CHANGE_MIN && r.sequence > 0 && r.sequence <= SEQUENCE_MAX - r.count &&
	       r.durable_sequence < r.sequence;
	return *out ? w->each(w->arg, &r) : WOMBAT_OK;
}

/* Whether a journal record's header could stand there: nearly all bytes are told by the first comparison. */
static bool could_be_journal(const struct walk *w, const uint8_t *p, uint64_t at)
{
	if (get_u32(p + 4) != 0 || !is_journal_size(get_u64(p + 8)) || get_u64(p + 8) > w->bytes - at - VLOG_RECORD_HEADER_SIZE)
		return false;
	return vlog_header_crc(w->file, at, p, slice_make(NULL, 0)) == get_u32(p);
}

/* What is behind a tear. */
static enum wombat_status search(struct walk *w, uint64_t at)
{
	uint8_t *window = mem_alloc(WINDOW);
	enum wombat_status s = window ? WOMBAT_OK : fail_no_memory();
	while (s == WOMBAT_OK && at < w->bytes && w->bytes - at >= VLOG_RECORD_HEADER_SIZE) {
		size_t size = w->bytes - at < WINDOW ? (size_t)(w->bytes - at) : WINDOW;
		s = vlog_read_bytes(w->log, w->file, at, size, window);
		for (size_t i = 0; s == WOMBAT_OK && i + VLOG_RECORD_HEADER_SIZE <= size; i++) {
			bool found;
			if (could_be_journal(w, window + i, at + i))
				s = give(w, at + i, window + i, true, &found);
		}
		at += size - VLOG_RECORD_HEADER_SIZE + 1;
	}
	mem_free(window);
	return s;
}

static enum wombat_status check_file_header(struct walk *w, bool *out_whole)
{
	*out_whole = false;
	if (w->bytes < VLOG_FILE_HEADER_SIZE)
		return WOMBAT_OK;
	enum wombat_status s = fetch(w, 0, VLOG_FILE_HEADER_SIZE);
	if (s != WOMBAT_OK)
		return s;
	const uint8_t *p = w->room.data;
	*out_whole = get_u64(p) == VLOG_MAGIC && crc32c(0, p, 12) == get_u32(p + 12);
	if (*out_whole && get_u32(p + 8) > VLOG_VERSION)
		return fail(WOMBAT_UNSUPPORTED, "%s/%06llu.vlog has version %u, newer than %d", w->log->dir,
			    (unsigned long long)w->file, get_u32(p + 8), VLOG_VERSION);
	return WOMBAT_OK;
}

static enum wombat_status walk_file(struct walk *w, uint64_t at)
{
	bool whole = true;
	enum wombat_status s = WOMBAT_OK;
	if (at < VLOG_FILE_HEADER_SIZE) {
		s = check_file_header(w, &whole);
		at = VLOG_FILE_HEADER_SIZE;
	}
	while (s == WOMBAT_OK && whole && at < w->bytes) {
		uint64_t end = at;
		s = read_header(w, at, &whole, &end);
		if (s != WOMBAT_OK || !whole)
			break;
		uint8_t header[VLOG_RECORD_HEADER_SIZE];
		memcpy(header, w->room.data, sizeof header);
		if (get_u32(header + 4) == 0)
			s = give(w, at, header, false, &whole);
		if (whole)
			at = end;
	}
	return s == WOMBAT_OK && at < w->bytes ? search(w, at) : s;
}

struct known_file {
	uint64_t number, bytes;
};

static int compare_numbers(const void *a, const void *b)
{
	const struct known_file *x = a, *y = b;
	return (x->number > y->number) - (x->number < y->number);
}

/* The files from a number on, ascending; from mem_alloc. */
static enum wombat_status list_files(struct vlog *v, uint64_t from, struct known_file **out, size_t *out_count)
{
	struct known_file *files = NULL;
	size_t count = 0, capacity = 0;
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&v->mu);
	for (const struct vlog_file *f = v->files; f && s == WOMBAT_OK; f = f->next) {
		if (f->number < from)
			continue;
		struct known_file *grown = array_reserve(files, count, &capacity, sizeof *grown);
		if (grown) {
			files = grown;
			files[count++] = (struct known_file){ f->number, f->bytes };
		} else {
			s = fail_no_memory();
		}
	}
	mutex_unlock(&v->mu);
	if (s != WOMBAT_OK) {
		mem_free(files);
		return s;
	}
	if (count)
		qsort(files, count, sizeof *files, compare_numbers);
	*out = files;
	*out_count = count;
	return WOMBAT_OK;
}

enum wombat_status vlog_journal_walk(struct vlog *v, struct vlog_position from,
				     enum wombat_status (*each)(void *arg, const struct vlog_journal_record *record), void *arg)
{
	struct walk w = { .log = v, .each = each, .arg = arg };
	struct known_file *files;
	size_t count;
	enum wombat_status s = list_files(v, from.file, &files, &count);
	if (s != WOMBAT_OK)
		return s;
	for (size_t i = 0; i < count && s == WOMBAT_OK; i++) {
		w.file = files[i].number;
		w.bytes = files[i].bytes;
		s = walk_file(&w, w.file == from.file ? from.offset : 0);
	}
	mem_free(files);
	buf_done(&w.room);
	return s;
}
