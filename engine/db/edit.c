/*
 * Changing parts of a value: struct wombat_edit.
 *
 * What was changed since the last commit is a map of extents over the committed state, which is read by a snapshot. Bytes
 * that come in large pieces, or gather to one, go to the value log at once, so an edit of any size takes little memory; a
 * commit (edit_commit.c) writes pointers to them.
 */
#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/edit_impl.h"

enum {
	DIRECT_MIN = 64 << 10,     /* pieces of this size go to the value log as they come */
	INLINE_MAX = 16 << 10,     /* of an extent in the tables, when there is no value log */
	MEMORY_MAX = 4 << 20,      /* bytes of an edit in memory; more go to the value log however small they are */
	SPILL_MIN = 256,           /* but not what is hardly larger than a pointer */
};

/* ---- The committed state ------------------------------------------------------------------- */

static enum wombat_status reserve_file(struct wombat_edit *e)
{
	uint64_t *files = array_reserve(e->files, e->file_count, &e->file_capacity, sizeof *files);
	if (!files)
		return fail_no_memory();
	e->files = files;
	return WOMBAT_OK;
}

void edit_release_files(struct wombat_edit *e, uint64_t sequence)
{
	for (size_t i = 0; i < e->file_count; i++)
		vlog_written(e->db->values, e->files[i], sequence);
	e->file_count = 0;
}

/* A value that is not in extents is one itself, as a change that is not one yet. */
static enum wombat_status take_whole(struct wombat_edit *e, const struct record *r, struct wombat_slice value)
{
	if (e->size == 0)
		return WOMBAT_OK;
	enum wombat_status s = r->elsewhere ? reserve_file(e) : WOMBAT_OK;
	if (s != WOMBAT_OK)
		return s;
	struct extent *x = extent_map_add(&e->changes, 0, e->size, r->elsewhere ? EXTENT_VALUE : EXTENT_BYTES);
	if (!x)
		return fail_no_memory();
	if (!r->elsewhere)
		return buf_append(&x->bytes, value.data, value.size);
	x->pointer = r->pointer;
	if (!vlog_share(e->db->values, r->pointer.file))
		return fail(WOMBAT_CORRUPTION, "value log file %06llu is missing", (unsigned long long)r->pointer.file);
	e->files[e->file_count++] = r->pointer.file;
	return WOMBAT_OK;
}

static enum wombat_status take_record(struct wombat_edit *e, const struct wombat_record *record, const struct record *r)
{
	e->exists = true;
	e->record_sequence = record->sequence;
	e->expiry_ns = record->expiry_ns;
	e->size = record->value_size;
	e->in_extents = r->in_extents;
	enum wombat_status s = buf_set(&e->attr, record->attr);
	if (s != WOMBAT_OK)
		return s;
	if (!r->in_extents)
		return take_whole(e, r, record->value);
	e->extents = r->extents;
	e->base = e->size;
	const struct extents_at at = { e->db, NULL, e->snapshot->sequence, r->extents.id };
	extent_reader_init(&e->reader, &at);
	return WOMBAT_OK;
}

enum wombat_status edit_changed(const struct wombat_edit *e)
{
	char text[KEY_TEXT];
	key_text(edit_user_key(e), text);
	return fail(WOMBAT_CONFLICT, "key \"%s\" was changed since its value was opened", text);
}

/* Reads the key's present state. WOMBAT_NOT_FOUND: it has no record. */
static enum wombat_status load(struct wombat_edit *e)
{
	struct wombat_record record;
	struct record r;
	e->snapshot = wombat_snapshot_new(e->db);
	if (!e->snapshot)
		return WOMBAT_NO_MEMORY;
	e->since = e->snapshot->sequence;
	const struct wombat_read_options options = { .snapshot = e->snapshot };
	/* Held until the value's file is pinned. */
	struct read_view *view = db_view_acquire(e->db);
	enum wombat_status s = db_get(e->db, &options, e->key.data[0], edit_user_key(e), &record, &r);
	if (s == WOMBAT_OK) {
		s = take_record(e, &record, &r);
		wombat_record_release(&record);
	}
	db_view_release(view);
	return s;
}

void edit_unload(struct wombat_edit *e)
{
	if (e->in_extents)
		extent_reader_done(&e->reader);
	e->in_extents = e->exists = e->dirty = e->shares = false;
	wombat_snapshot_release(e->db, e->snapshot);
	e->snapshot = NULL;
	extent_map_clear(&e->changes);
	edit_release_files(e, 0);
	buf_clear(&e->attr);
	e->base = e->expiry_ns = 0;
}

enum wombat_status wombat_edit_open(struct wombat *db, unsigned keyspace, struct wombat_slice key, unsigned flags,
				    struct wombat_edit **out_edit)
{
	enum wombat_status s = keyspace_check(keyspace);
	if (s == WOMBAT_OK)
		s = db_check_limits(db, key.size, 0, 0);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_edit *e = mem_zalloc(sizeof *e);
	if (!e)
		return fail_no_memory();
	e->db = db;
	s = buf_append_byte(&e->key, (uint8_t)keyspace);
	if (s == WOMBAT_OK)
		s = buf_append(&e->key, key.data, key.size);
	if (s == WOMBAT_OK)
		s = load(e);
	if (s == WOMBAT_NOT_FOUND && (flags & WOMBAT_EDIT_CREATE)) {
		s = WOMBAT_OK;
		e->dirty = true;
	}
	if (s != WOMBAT_OK) {
		wombat_edit_close(e);
		return s;
	}
	*out_edit = e;
	return WOMBAT_OK;
}

void wombat_edit_close(struct wombat_edit *e)
{
	if (!e)
		return;
	edit_unload(e);
	mem_free(e->files);
	buf_done(&e->attr);
	buf_done(&e->key);
	mem_free(e);
}

uint64_t wombat_edit_size(const struct wombat_edit *e)
{
	return e->size;
}

bool wombat_edit_is_dirty(const struct wombat_edit *e)
{
	return e->dirty;
}

enum wombat_status edit_go_on(struct wombat_edit *e)
{
	uint64_t committed = e->committed;
	if (!committed)
		return WOMBAT_OK;
	e->committed = 0;
	enum wombat_status s = load(e);
	if (s == WOMBAT_OK && e->record_sequence == committed)
		return WOMBAT_OK;
	edit_unload(e);
	e->committed = committed;
	return s == WOMBAT_OK || s == WOMBAT_NOT_FOUND ? edit_changed(e) : s;
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* What no change covers. */
static enum wombat_status read_base(struct wombat_edit *e, uint64_t offset, size_t size, uint8_t *out)
{
	size_t there = !e->in_extents || offset >= e->base ? 0 : e->base - offset < size ? (size_t)(e->base - offset) : size;
	memset(out + there, 0, size - there);
	return there ? extent_reader_read(&e->reader, offset, there, out) : WOMBAT_OK;
}

enum wombat_status wombat_edit_read(struct wombat_edit *e, uint64_t offset, void *out, size_t size, size_t *out_read)
{
	size_t left = offset >= e->size ? 0 : e->size - offset < size ? (size_t)(e->size - offset) : size;
	uint8_t *p = out;
	enum wombat_status s = edit_go_on(e);
	if (s != WOMBAT_OK)
		return s;
	*out_read = left;
	while (left) {
		struct extent *x = extent_map_find(&e->changes, offset);
		bool inside = x && x->at <= offset;
		uint64_t end = inside ? extent_end(x) : x ? x->at : UINT64_MAX;
		size_t part = end - offset < left ? (size_t)(end - offset) : left;
		s = inside ? extent_read(e->db->values, x, offset, part, p) : read_base(e, offset, part, p);
		if (s != WOMBAT_OK)
			return s;
		offset += part;
		left -= part;
		p += part;
	}
	return WOMBAT_OK;
}

/* The first range of the committed extents, at or behind `offset`, that still counts. */
static enum wombat_status next_base(struct wombat_edit *e, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	if (!e->in_extents || offset >= e->base)
		return WOMBAT_NOT_FOUND;
	enum wombat_status s = extent_reader_next(&e->reader, offset, out_from, out_to);
	if (s == WOMBAT_OK && *out_from >= e->base)
		return WOMBAT_NOT_FOUND;
	if (s == WOMBAT_OK && *out_to > e->base)
		*out_to = e->base;
	return s;
}

enum wombat_status wombat_edit_next_data(struct wombat_edit *e, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	enum wombat_status s = edit_go_on(e);
	while (s == WOMBAT_OK && offset < e->size) {
		const struct extent *x = extent_map_find(&e->changes, offset);
		if (x && x->at <= offset) {
			if (x->kind == EXTENT_HOLE) {
				offset = extent_end(x);
				continue;
			}
			*out_from = offset;
			*out_to = extent_end(x);
			return WOMBAT_OK;
		}
		uint64_t from, to;
		s = next_base(e, offset, &from, &to);
		if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND)
			return s;
		if (s == WOMBAT_OK && (!x || from < x->at)) {
			*out_from = from;
			*out_to = x && x->at < to ? x->at : to;
			return WOMBAT_OK;
		}
		s = WOMBAT_OK;
		if (!x)
			break;
		offset = x->at;
	}
	return s == WOMBAT_OK ? WOMBAT_NOT_FOUND : s;
}

/* ---- Changing ------------------------------------------------------------------------------ */

static enum wombat_status append(struct wombat_edit *e, struct wombat_slice bytes, struct value_pointer *out)
{
	enum wombat_status s = db_check_writable(e->db);
	if (s == WOMBAT_OK)
		s = reserve_file(e);
	if (s == WOMBAT_OK)
		s = vlog_append(e->db->values, buf_slice(&e->key), bytes, out);
	if (s == WOMBAT_OK)
		e->files[e->file_count++] = out->file;
	return s;
}

enum wombat_status edit_spill(struct wombat_edit *e, struct extent *x)
{
	struct value_pointer pointer;
	enum wombat_status s = append(e, buf_slice(&x->bytes), &pointer);
	if (s == WOMBAT_OK)
		extent_map_stored(&e->changes, x, &pointer);
	return s;
}

static enum wombat_status spill_all(struct wombat_edit *e, uint64_t at_least)
{
	enum wombat_status s = WOMBAT_OK;
	for (struct extent *x = extent_map_find(&e->changes, 0); x && s == WOMBAT_OK; x = extent_map_next(&e->changes, x))
		if (x->kind == EXTENT_BYTES && x->size >= at_least)
			s = edit_spill(e, x);
	return s;
}

uint64_t edit_threshold(const struct wombat_edit *e)
{
	return atomic_load_explicit(&e->db->live.value_threshold, memory_order_relaxed);
}

/* Without a value log extents are of bytes, which are written again when one is cut. */
static size_t extent_max(const struct wombat_edit *e)
{
	return edit_threshold(e) ? EXTENT_MAX : INLINE_MAX;
}

static enum wombat_status write_value(struct wombat_edit *e, uint64_t offset, const uint8_t *data, size_t size)
{
	struct value_pointer pointer;
	enum wombat_status s = append(e, slice_make(data, size), &pointer);
	if (s == WOMBAT_OK)
		s = extent_map_cut(&e->changes, offset, offset + size);
	if (s != WOMBAT_OK)
		return s;
	struct extent *x = extent_map_add(&e->changes, offset, size, EXTENT_VALUE);
	if (!x)
		return fail_no_memory();
	x->pointer = pointer;
	return WOMBAT_OK;
}

/* The extent of bytes that a write at `offset` goes on; NULL: there is none, or it has enough. */
static struct extent *extent_before(struct wombat_edit *e, uint64_t offset, size_t size)
{
	struct extent *x = offset ? extent_map_find(&e->changes, offset - 1) : NULL;
	if (!x || x->kind != EXTENT_BYTES || extent_end(x) != offset || x->size + size > extent_max(e))
		return NULL;
	return x;
}

static enum wombat_status fill_extent(struct wombat_edit *e, struct extent *x, const uint8_t *data, size_t size)
{
	enum wombat_status s = buf_append(&x->bytes, data, size);
	if (s == WOMBAT_OK)
		extent_map_grown(&e->changes, x);
	else if (x->size == 0)
		extent_map_drop_empty(&e->changes, x);
	return s;
}

static enum wombat_status write_bytes(struct wombat_edit *e, uint64_t offset, const uint8_t *data, size_t size)
{
	struct extent *x = extent_map_find(&e->changes, offset);
	if (x && x->kind == EXTENT_BYTES && x->at <= offset && extent_end(x) >= offset + size) {
		memcpy(x->bytes.data + (offset - x->at), data, size);
		return WOMBAT_OK;
	}
	enum wombat_status s = extent_map_cut(&e->changes, offset, offset + size);
	if (s != WOMBAT_OK)
		return s;
	x = extent_before(e, offset, size);
	if (!x)
		x = extent_map_add(&e->changes, offset, 0, EXTENT_BYTES);
	if (!x)
		return fail_no_memory();
	s = fill_extent(e, x, data, size);
	return s == WOMBAT_OK && x->size >= EXTENT_MAX ? edit_spill(e, x) : s;
}

static enum wombat_status check_size(const struct wombat_edit *e, uint64_t size)
{
	uint64_t limit = atomic_load_explicit(&e->db->live.max_value_size, memory_order_relaxed);
	return size <= limit ? WOMBAT_OK :
	       fail(WOMBAT_TOO_BIG, "a value of %llu bytes is over max_value_size (%llu)", (unsigned long long)size,
		    (unsigned long long)limit);
}

enum wombat_status wombat_edit_write(struct wombat_edit *e, uint64_t offset, const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t threshold = edit_threshold(e);
	enum wombat_status s = check_size(e, size > UINT64_MAX - offset ? UINT64_MAX : offset + size);
	if (s == WOMBAT_OK)
		s = edit_go_on(e);
	if (s != WOMBAT_OK)
		return s;
	while (size) {
		size_t part = size < extent_max(e) ? size : extent_max(e);
		bool direct = threshold && part >= DIRECT_MIN && part >= threshold;
		s = direct ? write_value(e, offset, p, part) : write_bytes(e, offset, p, part);
		if (s != WOMBAT_OK)
			return s;
		e->dirty = true;
		offset += part;
		p += part;
		size -= part;
		if (e->size < offset)
			e->size = offset;
	}
	return threshold && e->changes.bytes > MEMORY_MAX ? spill_all(e, SPILL_MIN) : WOMBAT_OK;
}

enum wombat_status edit_add_piece(struct wombat_edit *e, const struct record *r, uint64_t skip, uint64_t at, uint64_t size)
{
	enum wombat_status s = r->elsewhere ? reserve_file(e) : WOMBAT_OK;
	if (s != WOMBAT_OK)
		return s;
	if (r->elsewhere && !vlog_share(e->db->values, r->pointer.file))
		return fail(WOMBAT_INVALID, "a value that is copied is of another database");
	if (r->elsewhere)
		e->files[e->file_count++] = r->pointer.file;
	struct extent *x = extent_map_add(&e->changes, at, r->elsewhere ? size : 0, r->elsewhere ? EXTENT_VALUE : EXTENT_BYTES);
	if (!x)
		return fail_no_memory();
	if (!r->elsewhere)
		return fill_extent(e, x, r->value.data + skip, (size_t)size);
	x->pointer = r->pointer;
	x->part_at = (r->part ? r->part_at : 0) + skip;
	return WOMBAT_OK;
}

struct copying {
	struct wombat_edit *edit;
	uint64_t from, to; /* in the value */
	uint64_t offset;   /* in the edit, of `from` */
};

static enum wombat_status copy_extent(void *arg, uint64_t at, const struct record *r)
{
	const struct copying *c = arg;
	struct wombat_edit *e = c->edit;
	uint64_t begin = at > c->from ? at : c->from, end = at + record_value_size(r), skip = begin - at;
	if (end > c->to)
		end = c->to;
	uint64_t to = c->offset + (begin - c->from), size = end - begin;
	if (!r->elsewhere)
		return wombat_edit_write(e, to, r->value.data + skip, (size_t)size);
	enum wombat_status s = extent_map_cut(&e->changes, to, to + size);
	if (s == WOMBAT_OK)
		s = edit_add_piece(e, r, skip, to, size);
	e->shares = true;
	return s;
}

enum wombat_status wombat_edit_copy(struct wombat_edit *e, uint64_t offset, struct wombat_value *value, uint64_t value_offset,
				    uint64_t size)
{
	uint64_t total = wombat_value_record(value)->value_size;
	if (value_offset > total || size > total - value_offset || size > UINT64_MAX - offset)
		return fail(WOMBAT_INVALID, "what is copied is not within its value");
	if (size == 0)
		return WOMBAT_OK;
	/* All of it is a hole first, so that those of the value need not be looked for. */
	enum wombat_status s = offset + size > e->size ? wombat_edit_truncate(e, offset + size) : WOMBAT_OK;
	if (s == WOMBAT_OK)
		s = wombat_edit_punch(e, offset, size);
	struct copying c = { e, value_offset, value_offset + size, offset };
	return s == WOMBAT_OK ? value_each(value, c.from, c.to, copy_extent, &c) : s;
}

enum wombat_status wombat_edit_truncate(struct wombat_edit *e, uint64_t size)
{
	enum wombat_status s = check_size(e, size);
	if (s == WOMBAT_OK)
		s = edit_go_on(e);
	if (s == WOMBAT_OK && size < e->size)
		s = extent_map_cut(&e->changes, size, UINT64_MAX);
	if (s != WOMBAT_OK)
		return s;
	if (e->base > size)
		e->base = size;
	e->size = size;
	e->dirty = true;
	return WOMBAT_OK;
}

enum wombat_status wombat_edit_punch(struct wombat_edit *e, uint64_t offset, uint64_t size)
{
	if (offset >= e->size || size == 0)
		return WOMBAT_OK;
	uint64_t end = size > e->size - offset ? e->size : offset + size;
	enum wombat_status s = edit_go_on(e);
	if (s == WOMBAT_OK)
		s = extent_map_cut(&e->changes, offset, end);
	if (s != WOMBAT_OK)
		return s;
	if (e->in_extents && offset < e->base && !extent_map_add(&e->changes, offset, end - offset, EXTENT_HOLE))
		return fail_no_memory();
	e->dirty = true;
	return WOMBAT_OK;
}
