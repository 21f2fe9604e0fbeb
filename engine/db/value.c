/*
 * Values that are opened to be read in parts, or to be put under another key without being read at all: then two keys
 * point to the same bytes of the value log, which each counts as its own.
 */
#include "engine/base/alloc.h"
#include "engine/db/extents.h"

struct wombat_value {
	struct wombat *db;
	struct wombat_record record;
	struct vlog_value *elsewhere; /* NULL: the record has it, or it is in extents */
	bool in_extents;
	struct value_extents extents;
	struct wombat_snapshot *snapshot; /* of our own; NULL: the caller's keeps the extents */
	struct mutex mu;                  /* in extents: over the reader */
	struct extent_reader reader;
};

/* The record as of a snapshot, which is kept only if the value is in extents. */
static enum wombat_status find(struct wombat_value *value, const struct wombat_read_options *options, unsigned keyspace,
			       struct wombat_slice key)
{
	struct record r;
	struct wombat_read_options at = options ? *options : (struct wombat_read_options){ .flags = 0 };
	/* Held until the file is pinned: the record alone does not keep it. */
	struct read_view *view = db_view_acquire(value->db);
	enum wombat_status s = db_get(value->db, &at, keyspace, key, &value->record, &r);
	if (s == WOMBAT_OK && r.elsewhere)
		s = vlog_value_open(value->db->values, &r.pointer, &value->elsewhere);
	if (s == WOMBAT_OK && r.in_extents) {
		value->in_extents = true;
		value->extents = r.extents;
	}
	db_view_release(view);
	return s;
}

static enum wombat_status open_extents(struct wombat_value *value, const struct wombat_read_options *options,
				       unsigned keyspace, struct wombat_slice key)
{
	struct wombat_read_options at = *options;
	if (!at.snapshot) { /* The extents must be of the same moment as the head, which is looked for anew therefore. */
		value->snapshot = wombat_snapshot_new(value->db);
		if (!value->snapshot)
			return WOMBAT_NO_MEMORY;
		at.snapshot = value->snapshot;
		value->in_extents = false;
		wombat_record_release(&value->record);
		enum wombat_status s = find(value, &at, keyspace, key);
		if (s != WOMBAT_OK || !value->in_extents)
			return s;
	}
	const struct extents_at state = { value->db, NULL, at.snapshot->sequence, value->extents.id };
	mutex_init(&value->mu, LOCK_RANK_CONTROL);
	extent_reader_init(&value->reader, &state);
	return WOMBAT_OK;
}

enum wombat_status wombat_value_open(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
				     struct wombat_slice key, struct wombat_value **out_value)
{
	const struct wombat_read_options newest = { .snapshot = NULL };
	struct wombat_value *value = mem_zalloc(sizeof *value);
	if (!value)
		return fail_no_memory();
	value->db = db;
	enum wombat_status s = find(value, options, keyspace, key);
	if (s == WOMBAT_OK && value->in_extents)
		s = open_extents(value, options ? options : &newest, keyspace, key);
	if (s != WOMBAT_OK) {
		value->in_extents = false;
		wombat_value_close(value);
		return s;
	}
	*out_value = value;
	return WOMBAT_OK;
}

enum wombat_status value_of_record(struct wombat *db, const struct wombat_record *record, struct wombat_value **out_value)
{
	struct wombat_value *value = mem_zalloc(sizeof *value);
	if (!value)
		return fail_no_memory();
	value->db = db;
	value->record = *record;
	*out_value = value;
	return WOMBAT_OK;
}

const struct wombat_record *wombat_value_record(const struct wombat_value *value)
{
	return &value->record;
}

const struct extents_at *value_extents_at(const struct wombat_value *value, struct value_extents *out)
{
	*out = value->extents;
	return &value->reader.at;
}

enum wombat_status wombat_value_read(struct wombat_value *value, uint64_t offset, void *out, size_t size, size_t *out_read)
{
	uint64_t total = value->record.value_size;
	size_t left = offset >= total ? 0 : total - offset < size ? (size_t)(total - offset) : size;
	enum wombat_status s = WOMBAT_OK;
	if (left && value->in_extents) {
		mutex_lock(&value->mu);
		s = extent_reader_read(&value->reader, offset, left, out);
		mutex_unlock(&value->mu);
	} else if (left && value->elsewhere) {
		s = vlog_value_read(value->elsewhere, offset, left, out);
	} else if (left) {
		memcpy(out, value->record.value.data + offset, left);
	}
	if (s == WOMBAT_OK)
		*out_read = left;
	return s;
}

enum wombat_status wombat_value_next_data(struct wombat_value *value, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	uint64_t total = value->record.value_size;
	if (offset >= total)
		return WOMBAT_NOT_FOUND;
	if (!value->in_extents) {
		*out_from = offset;
		*out_to = total;
		return WOMBAT_OK;
	}
	mutex_lock(&value->mu);
	enum wombat_status s = extent_reader_next(&value->reader, offset, out_from, out_to);
	mutex_unlock(&value->mu);
	return s;
}

enum wombat_status value_each(struct wombat_value *value, uint64_t from, uint64_t to,
			      enum wombat_status (*each)(void *arg, uint64_t offset, const struct record *r), void *arg)
{
	if (value->in_extents)
		return extents_each(&value->reader.at, from, to, each, arg);
	struct record r = { .value = value->record.value, .elsewhere = value->elsewhere };
	if (value->elsewhere)
		r.pointer = *vlog_value_pointer(value->elsewhere);
	return each(arg, 0, &r);
}

void wombat_value_close(struct wombat_value *value)
{
	if (!value)
		return;
	if (value->in_extents) {
		extent_reader_done(&value->reader);
		mutex_done(&value->mu);
	}
	wombat_snapshot_release(value->db, value->snapshot);
	vlog_value_close(value->elsewhere);
	wombat_record_release(&value->record);
	mem_free(value);
}

enum wombat_status wombat_batch_put_value(struct wombat_batch *batch, unsigned keyspace, struct wombat_slice key,
					  struct wombat_value *value, const struct wombat_put_info *info)
{
	if (value->in_extents)
		return write_batch_put_copy(batch, keyspace, key, value, value->record.value_size, info);
	if (!value->elsewhere)
		return wombat_batch_put(batch, keyspace, key, value->record.value, info);
	struct record r = { .elsewhere = true, .pointer = *vlog_value_pointer(value->elsewhere) };
	return write_batch_put_shared(batch, keyspace, key, &r, info);
}

enum wombat_status wombat_batch_move_value(struct wombat_batch *batch, unsigned keyspace, struct wombat_slice from,
					   struct wombat_slice to, struct wombat_value *value,
					   const struct wombat_put_info *info)
{
	if (slice_equal(from, to))
		return fail(WOMBAT_INVALID, "a value cannot move to the key that it has");
	if (!value->in_extents) {
		enum wombat_status s = write_batch_delete_unchanged(batch, keyspace, from, value->record.sequence);
		if (s != WOMBAT_OK)
			return s;
		s = wombat_batch_put_value(batch, keyspace, to, value, info);
		if (s != WOMBAT_OK)
			write_batch_undo_delete(batch);
		return s;
	}
	struct db_key key;
	struct buf owner = { 0 };
	enum wombat_status s = db_key_init(&key, keyspace, to);
	if (s != WOMBAT_OK)
		return s;
	s = owner_key_make(value->extents.id, key.slice, &owner);
	if (s == WOMBAT_OK)
		s = write_batch_move(batch, keyspace, from, to, buf_slice(&owner), &value->extents, value->record.sequence, info);
	buf_done(&owner);
	db_key_done(&key);
	return s;
}

/* ---- That nothing came between --------------------------------------------------------------- */

static enum wombat_status check_move(const struct moves_guard *g, struct read_view *view, const struct batch_move *move)
{
	struct wombat_slice body = buf_slice(&g->batch->body);
	struct cursor c = cursor_of(slice_make(body.data + move->body_offset, body.size - move->body_offset));
	struct batch_change change;
	struct db_key key;
	uint64_t newest = 0;
	enum wombat_status s = write_batch_next(&c, &change);
	if (s == WOMBAT_OK)
		s = db_key_init(&key, change.keyspace, change.key);
	if (s != WOMBAT_OK)
		return s;
	s = db_newest_change(g->db, view, key.slice, move->sequence, &newest);
	db_key_done(&key);
	if (s != WOMBAT_OK || newest <= move->sequence)
		return s;
	char text[KEY_TEXT];
	key_text(change.key, text);
	return fail(WOMBAT_CONFLICT, "key \"%s\" was changed since the value that moves was opened", text);
}

static enum wombat_status moves_check(const struct write_guard *guard)
{
	const struct moves_guard *g = (const struct moves_guard *)guard;
	struct read_view *view = db_view_acquire(g->db);
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < g->batch->move_count && s == WOMBAT_OK; i++)
		s = check_move(g, view, &g->batch->moves[i]);
	db_view_release(view);
	return s;
}

/* A move leads its group. */
static bool moves_touched(const struct write_guard *guard, struct wombat_slice body)
{
	(void)guard;
	(void)body;
	return true;
}

struct moves_guard moves_guard_of(struct wombat *db, const struct wombat_batch *batch)
{
	return (struct moves_guard){ { moves_check, moves_touched }, db, batch };
}
