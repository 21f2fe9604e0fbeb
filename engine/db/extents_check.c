/* See extents_check.h. */
#include "engine/db/extents_check.h"

#include "engine/db/extents.h"

/* ---- One value ----------------------------------------------------------------------------- */

struct walk {
	const struct value_extents *head;
	uint64_t end, stored;
	const char *fault;
};

static enum wombat_status pass_extent(void *arg, uint64_t offset, const struct record *r)
{
	struct walk *w = arg;
	uint64_t size = record_value_size(r);
	if (offset < w->end)
		w->fault = "two of its extents overlap";
	else if (offset + size > w->head->size)
		w->fault = "an extent lies beyond its end";
	w->end = offset + size;
	w->stored += size;
	return w->fault ? WOMBAT_NOT_FOUND : WOMBAT_OK; /* enough was seen */
}

/* NULL in `*out`: the extents are those that the head says. */
static enum wombat_status find_fault(const struct extents_at *at, const struct value_extents *head, const char **out)
{
	struct walk w = { .head = head };
	enum wombat_status s = extents_each(at, 0, UINT64_MAX, pass_extent, &w);
	if (s == WOMBAT_CORRUPTION)
		w.fault = "an extent cannot be read";
	else if (s != WOMBAT_OK && !w.fault)
		return s;
	else if (!w.fault && w.stored < head->stored)
		w.fault = "pieces of its value are missing";
	else if (!w.fault && w.stored > head->stored)
		w.fault = "there are more extents than it has";
	*out = w.fault;
	return WOMBAT_OK;
}

/* Over records of the engine's own from `lower` to before `upper`. */
static enum wombat_status records_new(struct wombat *db, const struct wombat_snapshot *snapshot, struct wombat_slice lower,
				      struct wombat_slice upper, struct wombat_iter **out)
{
	const struct wombat_iter_options options = { .read = { .flags = WOMBAT_READ_META }, .lower = lower, .upper = upper };
	return db_iter_new_at(db, NULL, wombat_snapshot_sequence(snapshot), &options, EXTENTS_KEYSPACE, out);
}

static enum wombat_status find_owner(struct wombat *db, const struct wombat_snapshot *snapshot, const struct extents_fault *f,
				     bool *out)
{
	struct buf owner = { 0 }, behind = { 0 };
	struct wombat_iter *it = NULL;
	struct db_key key;
	enum wombat_status s = db_key_init(&key, f->keyspace, f->key);
	if (s != WOMBAT_OK)
		return s;
	s = owner_key_make(f->id, key.slice, &owner);
	db_key_done(&key);
	if (s == WOMBAT_OK)
		s = buf_append(&behind, owner.data, owner.size);
	if (s == WOMBAT_OK)
		s = buf_append_byte(&behind, 0);
	if (s == WOMBAT_OK)
		s = records_new(db, snapshot, buf_slice(&owner), buf_slice(&behind), &it);
	if (s == WOMBAT_OK) {
		*out = wombat_iter_first(it);
		s = wombat_iter_status(it);
	}
	wombat_iter_free(it);
	buf_done(&owner);
	buf_done(&behind);
	return s;
}

/* ---- All of them --------------------------------------------------------------------------- */

struct look {
	struct wombat *db;
	const struct wombat_snapshot *snapshot;
	enum wombat_status (*on_fault)(void *arg, const struct extents_fault *fault);
	void *arg;
};

/* At the record that the iterator stands on. */
static enum wombat_status look_at(const struct look *l, const struct wombat_iter *it, unsigned keyspace)
{
	struct extents_fault f = { .keyspace = keyspace, .key = wombat_iter_record(it)->key };
	struct record r;
	enum wombat_status s = record_decode(db_iter_entry(it), &r);
	if (s != WOMBAT_OK || !r.in_extents)
		return s;
	bool owned = false;
	f.id = r.extents.id;
	s = find_fault(&(struct extents_at){ l->db, NULL, wombat_snapshot_sequence(l->snapshot), f.id }, &r.extents, &f.what);
	if (s == WOMBAT_OK && !f.what)
		s = find_owner(l->db, l->snapshot, &f, &owned);
	if (s != WOMBAT_OK || owned)
		return s;
	f.unowned = !f.what;
	if (f.unowned)
		f.what = "nothing says that its extents are its own";
	return l->on_fault(l->arg, &f);
}

static enum wombat_status look_through(const struct look *l, unsigned keyspace)
{
	const struct wombat_iter_options options = { .read = { .snapshot = l->snapshot, .flags = WOMBAT_READ_META } };
	struct wombat_iter *it;
	enum wombat_status s = wombat_iter_new(l->db, &options, keyspace, &it);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(it); more && s == WOMBAT_OK; more = s == WOMBAT_OK && wombat_iter_next(it))
		s = look_at(l, it, keyspace);
	if (s == WOMBAT_OK)
		s = wombat_iter_status(it);
	wombat_iter_free(it);
	return s;
}

enum wombat_status extents_check(struct wombat *db, const struct wombat_snapshot *snapshot,
				 enum wombat_status (*on_fault)(void *arg, const struct extents_fault *fault), void *arg)
{
	const struct look l = { db, snapshot, on_fault, arg };
	enum wombat_status s = WOMBAT_OK;
	for (unsigned keyspace = 1; keyspace <= WOMBAT_KEYSPACE_MAX && s == WOMBAT_OK; keyspace++)
		s = look_through(&l, keyspace);
	return s;
}

/* ---- Those of nobody ----------------------------------------------------------------------- */

/* The first id at or behind `id` that has extents ('E') or owners ('O'); UINT64_MAX: there is none. */
static enum wombat_status next_id(struct wombat *db, const struct wombat_snapshot *snapshot, char kind, uint64_t id, uint64_t *out)
{
	struct extent_key lower = extent_key_make(id, 0), upper = { { (uint8_t)(kind + 1) } };
	struct wombat_iter *it;
	lower.bytes[0] = (uint8_t)kind;
	*out = UINT64_MAX;
	enum wombat_status s = records_new(db, snapshot, slice_make(lower.bytes, OWNER_KEY_HEAD), slice_make(upper.bytes, 1), &it);
	if (s != WOMBAT_OK)
		return s;
	if (wombat_iter_first(it) && wombat_iter_record(it)->key.size >= OWNER_KEY_HEAD)
		*out = extent_key_id(wombat_iter_record(it)->key);
	s = wombat_iter_status(it);
	wombat_iter_free(it);
	return s;
}

enum wombat_status extents_count_stray(struct wombat *db, const struct wombat_snapshot *snapshot, uint64_t *out)
{
	uint64_t id = 0, owned;
	*out = 0;
	for (;; id++) {
		enum wombat_status s = next_id(db, snapshot, 'E', id, &id);
		if (s == WOMBAT_OK && id != UINT64_MAX)
			s = next_id(db, snapshot, 'O', id, &owned);
		if (s != WOMBAT_OK || id == UINT64_MAX)
			return s;
		*out += owned != id;
	}
}
