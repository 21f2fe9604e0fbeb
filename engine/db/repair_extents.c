/*
 * After a repair that lost something: values in extents of which pieces are missing. A head says how much of its value is
 * stored, so one that has less is seen; it is deleted, since what is left of it would read as zeros where bytes were.
 *
 * What cannot be seen is an older piece that shows because a newer one of the same place and size was lost.
 */
#include "engine/db/repair_extents.h"

#include "engine/db/db.h"
#include "engine/db/extents.h"

struct counting {
	uint64_t stored;
};

static enum wombat_status count_one(void *arg, uint64_t offset, const struct record *r)
{
	struct counting *c = arg;
	(void)offset;
	c->stored += record_value_size(r);
	return WOMBAT_OK;
}

/* Deletes the record that the iterator stands on if it is a head that has not all its extents. */
static enum wombat_status look_at(struct wombat *db, const struct wombat_iter *it, uint64_t sequence, unsigned keyspace,
				  void (*on_lost)(void *arg, struct wombat_slice key), void *arg)
{
	struct wombat_slice key = wombat_iter_record(it)->key;
	struct counting c = { 0 };
	struct record r;
	enum wombat_status s = record_decode(db_iter_entry(it), &r);
	if (s != WOMBAT_OK || !r.in_extents)
		return s;
	const struct extents_at at = { db, NULL, sequence, r.extents.id };
	s = extents_each(&at, 0, UINT64_MAX, count_one, &c);
	if (s != WOMBAT_OK || c.stored == r.extents.stored)
		return s;
	on_lost(arg, key);
	return wombat_delete(db, keyspace, key);
}

static enum wombat_status look_through(struct wombat *db, const struct wombat_snapshot *snapshot, unsigned keyspace,
				       void (*on_lost)(void *arg, struct wombat_slice key), void *arg)
{
	const struct wombat_iter_options options = { .read = { .snapshot = snapshot, .flags = WOMBAT_READ_META } };
	struct wombat_iter *it;
	enum wombat_status s = wombat_iter_new(db, &options, keyspace, &it);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(it); more && s == WOMBAT_OK; more = s == WOMBAT_OK && wombat_iter_next(it))
		s = look_at(db, it, wombat_snapshot_sequence(snapshot), keyspace, on_lost, arg);
	if (s == WOMBAT_OK)
		s = wombat_iter_status(it);
	wombat_iter_free(it);
	return s;
}

enum wombat_status repair_extents(struct env *env, const char *dir, void (*on_lost)(void *arg, struct wombat_slice key), void *arg)
{
	struct wombat *db;
	enum wombat_status s = db_open_env(env, dir, NULL, 0, &db);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_snapshot *snapshot = wombat_snapshot_new(db);
	if (!snapshot)
		s = WOMBAT_NO_MEMORY;
	for (unsigned keyspace = 1; keyspace <= WOMBAT_KEYSPACE_MAX && s == WOMBAT_OK; keyspace++)
		s = look_through(db, snapshot, keyspace, on_lost, arg);
	wombat_snapshot_release(db, snapshot);
	enum wombat_status closed = wombat_close(db);
	return s == WOMBAT_OK ? closed : s;
}
