/*
 * The commit of a changed value (edit.c) is one batch:
 *
 *     of each range that changed    extents that it covers are deleted, those that reach out of it are cut to what is left
 *     of each changed extent        its record
 *     the head                      with the new size
 *
 * guarded by a look at the key that only the writers' leader takes: nobody changed it since the edit saw it. A commit under
 * several keys puts a head for each, and their extents are the same ones: see edit_keys.h.
 */
#include "engine/base/alloc.h"
#include "engine/db/edit_impl.h"

enum {
	WHOLE_MAX = 64 << 10,      /* a value of at most this size is kept whole */
	WHOLE_NEW_MAX = 1 << 20,   /* the same for one that was not there before and has less than WHOLE_MAX of holes */
	COVERED_MAX = 16,          /* so many extents are deleted one by one, more by their range */
};

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
		s = edit_changed(e);
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
		if (change.keyspace == e->key.data[0] && (change.kind == KIND_DELETE_RANGE || slice_equal(change.key, edit_user_key(e)) ||
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
	uint64_t threshold = edit_threshold(e);
	enum wombat_status s = WOMBAT_OK;
	if (x->kind == EXTENT_HOLE)
		return WOMBAT_OK;
	if (x->kind == EXTENT_BYTES && threshold && x->size >= threshold)
		s = edit_spill(e, x);
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
	return s == WOMBAT_OK ? place_put(c->edit, c->out, edit_user_key(c->edit), r) : s;
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
	uint64_t threshold = edit_threshold(e);
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
			enum wombat_status s = edit_add_piece(e, r, at - begin, at, until - at);
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

/* Bytes of a value that is not in extents yet that would be stored nowhere if it were. */
static uint64_t hole_bytes(const struct wombat_edit *e)
{
	uint64_t stored = 0;
	for (const struct extent *x = extent_map_find(&e->changes, 0); x; x = extent_map_next(&e->changes, x))
		stored += x->kind == EXTENT_HOLE ? 0 : x->size;
	return e->size - stored;
}

static bool is_kept_whole(const struct commit *c)
{
	const struct wombat_edit *e = c->edit;
	if (c->others || e->size <= WHOLE_MAX)
		return !c->others;
	return !e->exists && !e->shares && e->size <= WHOLE_NEW_MAX && hole_bytes(e) < WHOLE_MAX;
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
	return is_kept_whole(c) ? place_whole(c, &r) : place_in_extents(c, &r);
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
		s = edit_go_on(e);
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
	edit_release_files(e, sequence);
	edit_unload(e);
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
