/*
 * Changing parts of a value: struct wombat_edit.
 *
 * What was changed since the last commit is a map of extents over the committed state, which is read by a snapshot. Bytes
 * that come in large pieces, or gather to one, go to the value log at once, so an edit of any size takes little memory; a
 * commit writes pointers to them. It is one batch:
 *
 *     of each range that changed    extents that it covers are deleted, those that reach out of it are cut to what is left
 *     of each changed extent        its record
 *     the head                      with the new size
 *
 * guarded by a look at the key that only the writers' leader takes: nobody changed it since the edit saw it. A commit under
 * several keys puts a head for each, and their extents are the same ones: see edit_keys.h.
 */
#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/edit_keys.h"
#include "engine/db/extents.h"

enum {
	DIRECT_MIN = 64 << 10,     /* pieces of this size go to the value log as they come */
	INLINE_MAX = 16 << 10,     /* of an extent in the tables, when there is no value log */
	MEMORY_MAX = 4 << 20,      /* bytes of an edit in memory; more go to the value log however small they are */
	SPILL_MIN = 256,           /* but not what is hardly larger than a pointer */
	WHOLE_MAX = 64 << 10,      /* a value of at most this size is kept whole */
	WHOLE_NEW_MAX = 1 << 20,   /* the same for one that was not there before */
	COVERED_MAX = 16,          /* so many extents are deleted one by one, more by their range */
};

struct wombat_edit {
	struct wombat *db;
	struct buf key;                   /* with the keyspace byte */
	struct wombat_snapshot *snapshot; /* the committed state */
	uint64_t since;                   /* no change of the key above that number is known */
	bool exists;                      /* there is a record */
	uint64_t record_sequence;
	uint64_t expiry_ns;
	struct buf attr;
	bool in_extents;                  /* the committed value */
	struct value_extents extents;     /* then its own */
	uint64_t base;                    /* of the committed extents the bytes before this offset still count */
	struct extent_reader reader;      /* of them */

	uint64_t size;
	struct extent_map changes;        /* over these; without extents all of the value */
	bool dirty, shares;               /* shares: it has parts of other values, which are not to be written again */
	uint64_t committed;               /* number of its last commit, whose state is yet to be read; else 0 */
	uint64_t *files;                  /* of the value log: one for each value that was appended or is pointed to */
	size_t file_count, file_capacity;
};

static struct wombat_slice user_key(const struct wombat_edit *e)
{
	return slice_make(e->key.data + 1, e->key.size - 1);
}

/* ---- The committed state ------------------------------------------------------------------- */

static enum wombat_status reserve_file(struct wombat_edit *e)
{
	uint64_t *files = array_reserve(e->files, e->file_count, &e->file_capacity, sizeof *files);
	if (!files)
		return fail_no_memory();
	e->files = files;
	return WOMBAT_OK;
}

/* Values that were appended are pointed to by changes up to that number; 0: by none. */
static void release_files(struct wombat_edit *e, uint64_t sequence)
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

static enum wombat_status changed(const struct wombat_edit *e)
{
	char text[KEY_TEXT];
	key_text(user_key(e), text);
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
	enum wombat_status s = db_get(e->db, &options, e->key.data[0], user_key(e), &record, &r);
	if (s == WOMBAT_OK) {
		s = take_record(e, &record, &r);
		wombat_record_release(&record);
	}
	db_view_release(view);
	return s;
}

static void unload(struct wombat_edit *e)
{
	if (e->in_extents)
		extent_reader_done(&e->reader);
	e->in_extents = e->exists = e->dirty = e->shares = false;
	wombat_snapshot_release(e->db, e->snapshot);
	e->snapshot = NULL;
	extent_map_clear(&e->changes);
	release_files(e, 0);
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
	unload(e);
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

/* After a commit the state that it made is read when something is asked of it. */
static enum wombat_status go_on(struct wombat_edit *e)
{
	uint64_t committed = e->committed;
	if (!committed)
		return WOMBAT_OK;
	e->committed = 0;
	enum wombat_status s = load(e);
	if (s == WOMBAT_OK && e->record_sequence == committed)
		return WOMBAT_OK;
	unload(e);
	e->committed = committed;
	return s == WOMBAT_OK || s == WOMBAT_NOT_FOUND ? changed(e) : s;
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
	enum wombat_status s = go_on(e);
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
	enum wombat_status s = go_on(e);
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

static enum wombat_status spill(struct wombat_edit *e, struct extent *x)
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
			s = spill(e, x);
	return s;
}

static uint64_t threshold_of(const struct wombat_edit *e)
{
	return atomic_load_explicit(&e->db->live.value_threshold, memory_order_relaxed);
}

/* Without a value log extents are of bytes, which are written again when one is cut. */
static size_t extent_max(const struct wombat_edit *e)
{
	return threshold_of(e) ? EXTENT_MAX : INLINE_MAX;
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
	return s == WOMBAT_OK && x->size >= EXTENT_MAX ? spill(e, x) : s;
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
	uint64_t threshold = threshold_of(e);
	enum wombat_status s = check_size(e, size > UINT64_MAX - offset ? UINT64_MAX : offset + size);
	if (s == WOMBAT_OK)
		s = go_on(e);
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

/* A part of a record's value, where no change is. */
static enum wombat_status add_piece(struct wombat_edit *e, const struct record *r, uint64_t skip, uint64_t at, uint64_t size)
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
		s = add_piece(e, r, skip, to, size);
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
		s = go_on(e);
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
	enum wombat_status s = go_on(e);
	if (s == WOMBAT_OK)
		s = extent_map_cut(&e->changes, offset, end);
	if (s != WOMBAT_OK)
		return s;
	if (e->in_extents && offset < e->base && !extent_map_add(&e->changes, offset, end - offset, EXTENT_HOLE))
		return fail_no_memory();
	e->dirty = true;
	return WOMBAT_OK;
}

/* ---- Commit -------------------------------------------------------------------------------- */

struct edit_guard {
	struct write_guard guard;
	const struct wombat_edit *edit;
	const struct edit_keys *keys;
};

static enum wombat_status guard_check(const struct write_guard *guard)
{
	const struct edit_guard *g = (const struct edit_guard *)guard;
	const struct wombat_edit *e = g->edit;
	uint64_t newest = 0;
	struct read_view *view = db_view_acquire(e->db);
	enum wombat_status s = db_newest_change(e->db, view, buf_slice(&e->key), e->since, &newest);
	if (s == WOMBAT_OK && newest > e->since)
		s = changed(e);
	if (s == WOMBAT_OK)
		s = edit_keys_check(g->keys, e->db, view, e->since);
	db_view_release(view);
	return s;
}

/* In doubt, yes: it only means to wait for the next group. */
static bool guard_touched(const struct write_guard *guard, struct wombat_slice body)
{
	const struct edit_guard *g = (const struct edit_guard *)guard;
	const struct wombat_edit *e = g->edit;
	struct cursor c = cursor_of(body);
	while (cursor_left(&c) > 0) {
		struct batch_change change;
		if (write_batch_next(&c, &change) != WOMBAT_OK)
			return true;
		if (change.keyspace == e->key.data[0] && (change.kind == KIND_DELETE_RANGE || slice_equal(change.key, user_key(e)) ||
							  edit_keys_find(g->keys, change.key)))
			return true;
	}
	return false;
}

/* What a commit does to the extents of an id. */
struct commit {
	struct wombat_edit *edit;
	struct edit_keys *keys;
	bool others;           /* have heads with the id too: it may be pointed to, but not changed */
	struct placed_batch *out;
	uint64_t id;
	uint64_t from, to;     /* the range that changed */
	uint64_t floor;        /* before it are ranges that changed */
	uint64_t limit;        /* of committed extents only what is before it counts */
	uint64_t uncovered;    /* bytes of committed extents that count no more */
	uint64_t ends[COVERED_MAX]; /* of extents that end in the range */
	size_t covered;
};

/* A part of a committed extent as one of its own. */
static enum wombat_status place_rest(struct commit *c, const struct record *r, uint64_t skip, uint64_t size, uint64_t end)
{
	struct record rest = *r;
	if (r->elsewhere) {
		rest.part = true;
		rest.part_at = (r->part ? r->part_at : 0) + skip;
		rest.part_size = size;
	} else {
		rest.value = slice_make(r->value.data + skip, (size_t)size);
	}
	return extents_place(c->edit->db, c->out, c->id, end, &rest);
}

/* Cuts a committed extent to what is outside the range. */
static enum wombat_status uncover(void *arg, uint64_t at, const struct record *r)
{
	struct commit *c = arg;
	uint64_t end = at + record_value_size(r), begin = at > c->floor ? at : c->floor;
	enum wombat_status s = WOMBAT_OK;
	if (end > c->limit)
		end = c->limit;
	c->uncovered += (end < c->to ? end : c->to) - (at > c->from ? at : c->from);
	if (end > c->to) {
		s = place_rest(c, r, c->to - at, end - c->to, end);
	} else {
		if (c->covered < COVERED_MAX)
			c->ends[c->covered] = end;
		c->covered++;
	}
	if (s == WOMBAT_OK && begin < c->from)
		s = place_rest(c, r, begin - at, c->from - begin, c->from);
	return s;
}

/* Takes the range out of the committed extents. */
static enum wombat_status clear_range(struct commit *c, uint64_t from, uint64_t to)
{
	const struct wombat_edit *e = c->edit;
	if (!e->in_extents || from >= to || from >= e->extents.size)
		return WOMBAT_OK;
	c->from = from;
	c->to = to;
	c->covered = 0;
	enum wombat_status s = extents_each(&e->reader.at, from, to, uncover, c);
	for (size_t i = 0; i < c->covered && c->covered <= COVERED_MAX && s == WOMBAT_OK; i++)
		s = extents_place_delete(c->out, c->id, c->ends[i]);
	if (s == WOMBAT_OK && c->covered > COVERED_MAX)
		s = extents_place_delete_range(c->out, c->id, from, to);
	c->floor = to;
	return s;
}

static enum wombat_status place_extent(struct commit *c, struct extent *x)
{
	struct wombat_edit *e = c->edit;
	uint64_t threshold = threshold_of(e);
	enum wombat_status s = WOMBAT_OK;
	if (x->kind == EXTENT_HOLE)
		return WOMBAT_OK;
	if (x->kind == EXTENT_BYTES && threshold && x->size >= threshold)
		s = spill(e, x);
	if (s != WOMBAT_OK)
		return s;
	struct record r = { .value = buf_slice(&x->bytes), .elsewhere = x->kind == EXTENT_VALUE };
	if (r.elsewhere) {
		r.pointer = x->pointer;
		r.part = x->part_at > 0 || x->size < x->pointer.size;
		r.part_at = x->part_at;
		r.part_size = x->size;
	}
	return extents_place(e->db, c->out, c->id, extent_end(x), &r);
}

/* The end of the row of changed extents that begins with `x`. */
static uint64_t row_end(const struct wombat_edit *e, const struct extent *x)
{
	for (;;) {
		const struct extent *next = extent_map_next(&e->changes, x);
		if (!next || next->at != extent_end(x))
			return extent_end(x);
		x = next;
	}
}

static enum wombat_status place_changes(struct commit *c, uint64_t *out_stored)
{
	struct wombat_edit *e = c->edit;
	uint64_t stored = 0, cleared = 0;
	c->limit = UINT64_MAX;
	enum wombat_status s = clear_range(c, e->base, UINT64_MAX);
	c->limit = e->base;
	c->floor = 0;
	for (struct extent *x = extent_map_find(&e->changes, 0); x && s == WOMBAT_OK; x = extent_map_next(&e->changes, x)) {
		if (x->at >= cleared) {
			cleared = row_end(e, x);
			s = clear_range(c, x->at, cleared < e->base ? cleared : e->base);
		}
		if (s == WOMBAT_OK)
			s = place_extent(c, x);
		stored += x->kind == EXTENT_HOLE ? 0 : x->size;
	}
	*out_stored = stored + (e->in_extents ? e->extents.stored - c->uncovered : 0);
	return s;
}

static enum wombat_status place_put(struct wombat_edit *e, struct placed_batch *out, struct wombat_slice key,
				    const struct record *r)
{
	enum wombat_status s = write_batch_add_put(&out->body, e->key.data[0], key, r);
	out->changes += s == WOMBAT_OK;
	return s;
}

/* The edit's own is the last: its number is the commit's, by which the edit knows it again. */
static enum wombat_status place_heads(const struct commit *c, const struct record *r)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < c->keys->count && s == WOMBAT_OK; i++) {
		if (r->elsewhere)
			s = db_place_share(c->edit->db, r->pointer.file, c->out);
		if (s == WOMBAT_OK)
			s = place_put(c->edit, c->out, edit_key_user(&c->keys->list[i]), r);
	}
	return s == WOMBAT_OK ? place_put(c->edit, c->out, user_key(c->edit), r) : s;
}

static enum wombat_status place_in_extents(struct commit *c, struct record *r)
{
	const struct wombat_edit *e = c->edit;
	c->id = e->in_extents ? e->extents.id : extents_new_id(e->db);
	r->in_extents = true;
	r->extents = (struct value_extents){ .id = c->id, .size = e->size, .shared = c->others || c->keys->count > 0 };
	enum wombat_status s = place_changes(c, &r->extents.stored);
	if (s == WOMBAT_OK && !e->in_extents)
		s = extents_place_owner(c->out, c->id, buf_slice(&e->key), false);
	for (size_t i = 0; i < c->keys->count && s == WOMBAT_OK; i++)
		if (!c->keys->list[i].owns)
			s = extents_place_owner(c->out, c->id, buf_slice(&c->keys->list[i].key), false);
	return s == WOMBAT_OK ? place_heads(c, r) : s;
}

/* Of a value that is whole again nobody needs the extents. */
static enum wombat_status place_end_of_extents(const struct commit *c)
{
	const struct wombat_edit *e = c->edit;
	enum wombat_status s = extents_place_delete_range(c->out, e->extents.id, 0, UINT64_MAX);
	if (s == WOMBAT_OK)
		s = extents_place_owner(c->out, e->extents.id, buf_slice(&e->key), true);
	for (size_t i = 0; i < c->keys->count && s == WOMBAT_OK; i++)
		if (c->keys->list[i].owns)
			s = extents_place_owner(c->out, e->extents.id, buf_slice(&c->keys->list[i].key), true);
	return s;
}

static enum wombat_status place_whole(const struct commit *c, struct record *r)
{
	struct wombat_edit *e = c->edit;
	uint64_t threshold = threshold_of(e);
	size_t got;
	uint8_t *bytes = mem_alloc((size_t)e->size + 1);
	if (!bytes)
		return fail_no_memory();
	enum wombat_status s = wombat_edit_read(e, 0, bytes, (size_t)e->size, &got);
	r->value = slice_make(bytes, (size_t)e->size);
	if (s == WOMBAT_OK && threshold && e->size >= threshold)
		s = db_place_value(e->db, buf_slice(&e->key), r, c->out);
	if (s == WOMBAT_OK && e->in_extents)
		s = place_end_of_extents(c);
	if (s == WOMBAT_OK)
		s = place_heads(c, r);
	mem_free(bytes);
	return s;
}

/* The whole of a value in the value log that nothing changed is pointed to as before. */
static bool is_untouched(const struct wombat_edit *e)
{
	const struct extent *x = e->changes.root;
	return !e->in_extents && x && e->changes.count == 1 && x->kind == EXTENT_VALUE && x->at == 0 && x->size == e->size &&
	       x->part_at == 0 && x->size == x->pointer.size;
}

/* What is committed and still counts becomes changes, where there are none yet. */
static enum wombat_status take_piece(void *arg, uint64_t at, const struct record *r)
{
	struct wombat_edit *e = arg;
	uint64_t end = at + record_value_size(r), begin = at;
	if (end > e->base)
		end = e->base;
	while (at < end) {
		const struct extent *x = extent_map_find(&e->changes, at);
		uint64_t until = x && x->at < end ? x->at : end;
		if (at < until) {
			enum wombat_status s = add_piece(e, r, at - begin, at, until - at);
			if (s != WOMBAT_OK)
				return s;
		}
		at = x ? extent_end(x) : end;
	}
	return WOMBAT_OK;
}

/* Extents that other keys have too are left to them: the value gets its own, which point to the same bytes. A failure leaves
 * an edit that says the same as before. */
static enum wombat_status leave_shared(struct wombat_edit *e)
{
	enum wombat_status s = extents_each(&e->reader.at, 0, e->base, take_piece, e);
	if (s != WOMBAT_OK)
		return s;
	extent_reader_done(&e->reader);
	e->in_extents = false;
	return WOMBAT_OK;
}

static enum wombat_status look_for_sharers(struct commit *c)
{
	struct wombat_edit *e = c->edit;
	if (!e->in_extents || !e->extents.shared)
		return WOMBAT_OK;
	enum wombat_status s = edit_keys_find_owners(c->keys, e->db, e->snapshot, e->extents.id, buf_slice(&e->key), &c->others);
	if (s == WOMBAT_OK && c->others && e->dirty) {
		s = leave_shared(e);
		edit_keys_disown(c->keys);
		c->others = false;
	}
	return s;
}

static enum wombat_status place(struct commit *c, const struct wombat_put_info *info)
{
	struct wombat_edit *e = c->edit;
	struct record r = { .expiry_ns = e->expiry_ns, .attr = buf_slice(&e->attr) };
	if (info) {
		r.time_ns = info->time_ns;
		r.expiry_ns = info->expiry_ns;
		r.attr = info->attr;
	}
	if (is_untouched(e)) {
		r.elsewhere = true;
		r.pointer = e->changes.root->pointer;
		return place_heads(c, &r);
	}
	bool whole = !c->others && e->size <= (e->exists || e->shares ? WHOLE_MAX : WHOLE_NEW_MAX);
	return whole ? place_whole(c, &r) : place_in_extents(c, &r);
}

static enum wombat_status commit(struct wombat_edit *e, struct edit_keys *keys, const struct wombat_put_info *info,
				 const struct wombat_batch *batch, unsigned flags, uint64_t *out_sequence)
{
	static const struct wombat_batch nothing;
	const struct edit_guard guard = { { guard_check, guard_touched }, e, keys };
	struct placed_batch placed = { .count = 0 };
	struct commit c = { .edit = e, .keys = keys, .out = &placed };
	uint64_t sequence = 0;
	if (!e->dirty && !info && !batch && !keys->count)
		return flags & WOMBAT_SYNC ? wombat_sync(e->db) : WOMBAT_OK;
	if (!batch)
		batch = &nothing;
	if (batch->move_count)
		return fail(WOMBAT_INVALID, "a batch that moves values cannot be committed with an edit");
	enum wombat_status s = db_check_writable(e->db);
	if (s == WOMBAT_OK)
		s = go_on(e);
	if (s == WOMBAT_OK)
		s = db_check_batch(e->db, batch);
	if (s == WOMBAT_OK && info)
		s = db_check_limits(e->db, 0, 0, info->attr.size);
	if (s == WOMBAT_OK)
		s = look_for_sharers(&c);
	if (s != WOMBAT_OK)
		return s;
	s = db_place(e->db, batch, &placed);
	if (s == WOMBAT_OK)
		s = place(&c, info);
	if (s != WOMBAT_OK)
		stats_error(e->db->stats, s);
	else
		s = db_write_placed(e->db, &placed, flags, &guard.guard, &sequence);
	db_place_done(e->db, &placed, sequence);
	if (s != WOMBAT_OK)
		return s;
	if (out_sequence)
		*out_sequence = sequence;
	release_files(e, sequence);
	unload(e);
	e->committed = sequence;
	return WOMBAT_OK;
}

enum wombat_status wombat_edit_commit(struct wombat_edit *e, const struct wombat_put_info *info,
				      const struct wombat_batch *batch, unsigned flags, uint64_t *out_sequence)
{
	struct edit_keys none = { .count = 0 };
	return commit(e, &none, info, batch, flags, out_sequence);
}

enum wombat_status wombat_edit_commit_keys(struct wombat_edit *e, const struct wombat_slice *keys, size_t count,
					   const struct wombat_put_info *info, const struct wombat_batch *batch,
					   unsigned flags, uint64_t *out_sequence)
{
	struct edit_keys also;
	enum wombat_status s = edit_keys_init(&also, e->db, buf_slice(&e->key), keys, count);
	if (s == WOMBAT_OK)
		s = commit(e, &also, info, batch, flags, out_sequence);
	edit_keys_done(&also);
	return s;
}
