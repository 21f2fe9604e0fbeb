/*
 * Removing the extents of values that are no more.
 *
 * An id's extents go when none of its owners has a head with the id at the newest state, and an owner that has none goes in
 * any case. A move, or a commit under several keys, puts new owners and their heads at once, perhaps for a key that was an
 * owner before. So the judgement is repeated by the writers' leader, where nothing comes between. Older states keep what they
 * see: the extents are deleted at the newest state only, and compactions drop them when no snapshot is left that has them.
 */
#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/extents.h"

void extents_sweep_init(struct wombat *db)
{
	mutex_init(&db->sweep_mu, LOCK_RANK_STATS);
	atomic_init(&db->last_extents_id, 0);
	db->sweep_all = true; /* Nothing says what a crash forgot. */
}

void extents_sweep_done(struct wombat *db)
{
	mem_free(db->dropped);
	mutex_done(&db->sweep_mu);
}

void extents_note_dropped(void *arg, uint64_t id)
{
	struct wombat *db = arg;
	mutex_lock(&db->sweep_mu);
	if (!db->dropped_count || db->dropped[db->dropped_count - 1] != id) {
		uint64_t *ids = array_reserve(db->dropped, db->dropped_count, &db->dropped_capacity, sizeof *ids);
		if (ids) {
			db->dropped = ids;
			db->dropped[db->dropped_count++] = id;
		} else {
			db->sweep_all = true;
		}
	}
	mutex_unlock(&db->sweep_mu);
}

bool extents_sweep_due(struct wombat *db)
{
	mutex_lock(&db->sweep_mu);
	bool due = db->dropped_count > 0 || db->sweep_all || db->sweeping;
	mutex_unlock(&db->sweep_mu);
	return due;
}

/* Of the newest state, and not one of those that users made and that are counted. */
static enum wombat_status iter_new(struct wombat *db, const struct wombat_iter_options *options, struct wombat_iter **out)
{
	struct read_view *view = db_view_acquire(db);
	/* After the view: see db_read.c. */
	uint64_t sequence = atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	enum wombat_status s = db_iter_new_at(db, view, sequence, options, EXTENTS_KEYSPACE, out);
	db_view_release(view);
	return s;
}

/* ---- Judging ------------------------------------------------------------------------------- */

/* Whether the key, with its keyspace byte, has a head with the id. */
static enum wombat_status has_head(struct wombat *db, struct wombat_slice key, uint64_t id, bool *out)
{
	static const struct wombat_read_options meta = { .flags = WOMBAT_READ_META };
	struct wombat_record record;
	struct record r;
	enum wombat_status s = db_get(db, &meta, key.data[0], slice_make(key.data + 1, key.size - 1), &record, &r);
	*out = s == WOMBAT_OK && r.in_extents && r.extents.id == id;
	if (s == WOMBAT_OK)
		wombat_record_release(&record);
	return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s;
}

struct verdict {
	bool owned, alive;
	struct placed_batch *out; /* gets the removal of owners without a head */
};

static enum wombat_status judge_owner(struct wombat *db, uint64_t id, struct wombat_slice owner, struct verdict *v)
{
	bool has = false;
	struct wombat_slice key = slice_make(owner.data + OWNER_KEY_HEAD, owner.size - OWNER_KEY_HEAD);
	v->owned = true;
	enum wombat_status s = owner.size > OWNER_KEY_HEAD ? has_head(db, key, id, &has) : WOMBAT_OK;
	v->alive |= has;
	if (s == WOMBAT_OK && !has && key.size)
		s = extents_place_owner(v->out, id, key, true);
	return s;
}

static enum wombat_status judge(struct wombat *db, uint64_t id, struct verdict *v)
{
	struct extent_key lower = extent_key_make(id, 0), upper = extent_key_make(id + 1, 0);
	lower.bytes[0] = upper.bytes[0] = 'O';
	struct wombat_iter_options options = {
		.lower = slice_make(lower.bytes, OWNER_KEY_HEAD), .upper = slice_make(upper.bytes, OWNER_KEY_HEAD),
	};
	struct wombat_iter *it;
	enum wombat_status s = iter_new(db, &options, &it);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(it); more && s == WOMBAT_OK; more = s == WOMBAT_OK && wombat_iter_next(it))
		s = judge_owner(db, id, wombat_iter_record(it)->key, v);
	if (s == WOMBAT_OK)
		s = wombat_iter_status(it);
	wombat_iter_free(it);
	return s;
}

/* Adds what removes the owners that have no head, and if none has one the extents. */
static enum wombat_status plan(struct wombat *db, uint64_t id, struct placed_batch *out)
{
	struct verdict v = { .out = out };
	enum wombat_status s = judge(db, id, &v);
	return s == WOMBAT_OK && v.owned && !v.alive ? extents_place_delete_range(out, id, 0, UINT64_MAX) : s;
}

struct sweep_guard {
	struct write_guard guard;
	struct wombat *db;
	uint64_t id;
	const struct placed_batch *planned;
};

/* What is to be done is still the same. */
static enum wombat_status guard_check(const struct write_guard *guard)
{
	const struct sweep_guard *g = (const struct sweep_guard *)guard;
	struct placed_batch again = { .count = 0 };
	enum wombat_status s = plan(g->db, g->id, &again);
	if (s == WOMBAT_OK && !slice_equal(buf_slice(&again.body), buf_slice(&g->planned->body)))
		s = fail(WOMBAT_CONFLICT, "the value has other owners by now");
	db_place_done(g->db, &again, 0);
	return s;
}

static bool guard_touched(const struct write_guard *guard, struct wombat_slice body)
{
	(void)guard;
	(void)body;
	return true;
}

static enum wombat_status sweep_id(struct wombat *db, uint64_t id)
{
	struct placed_batch out = { .count = 0 };
	const struct sweep_guard guard = { { guard_check, guard_touched }, db, id, &out };
	uint64_t sequence = 0;
	enum wombat_status s = plan(db, id, &out);
	if (s == WOMBAT_OK && out.changes)
		s = db_write_placed(db, &out, 0, &guard.guard, &sequence);
	db_place_done(db, &out, sequence);
	return s == WOMBAT_CONFLICT ? WOMBAT_OK : s;
}

/* ---- In the background --------------------------------------------------------------------- */

/* Notes the ids of all owners. */
static enum wombat_status note_all(struct wombat *db)
{
	struct extent_key lower = extent_key_make(0, 0), upper = { { 'O' + 1 } };
	lower.bytes[0] = 'O';
	struct wombat_iter_options options = { .lower = slice_make(lower.bytes, 1), .upper = slice_make(upper.bytes, 1) };
	struct wombat_iter *it;
	enum wombat_status s = iter_new(db, &options, &it);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(it); more; more = wombat_iter_next(it)) {
		struct wombat_slice key = wombat_iter_record(it)->key;
		if (key.size > OWNER_KEY_HEAD)
			extents_note_dropped(db, extent_key_id(key));
	}
	s = wombat_iter_status(it);
	wombat_iter_free(it);
	return s;
}

void extents_sweep(struct wombat *db)
{
	mutex_lock(&db->sweep_mu);
	bool all = db->sweep_all;
	db->sweep_all = false;
	db->sweeping = true;
	mutex_unlock(&db->sweep_mu);
	enum wombat_status s = all ? note_all(db) : WOMBAT_OK;
	mutex_lock(&db->sweep_mu);
	uint64_t *ids = db->dropped;
	size_t count = db->dropped_count;
	db->dropped = NULL;
	db->dropped_count = db->dropped_capacity = 0;
	mutex_unlock(&db->sweep_mu);
	for (size_t i = 0; i < count && s == WOMBAT_OK && !atomic_load_explicit(&db->closing, memory_order_relaxed); i++)
		s = sweep_id(db, ids[i]);
	mem_free(ids);
	/* What failed is found by the next open: until then it only costs its space. */
	if (s != WOMBAT_OK)
		stats_error(db->stats, s);
	mutex_lock(&db->sweep_mu);
	db->sweeping = false;
	mutex_unlock(&db->sweep_mu);
}
