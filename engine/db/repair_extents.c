/*
 * The last step of a repair: values in extents that are not whole (extents_check.h). Their heads are deleted, since what is
 * left of such a value would read as zeros where bytes were; and a head whose owner was lost gets it again.
 *
 * What cannot be seen is an older piece that shows because a newer one of the same place and size was lost.
 */
#include "engine/db/repair_extents.h"

#include "engine/db/db.h"
#include "engine/db/extents.h"
#include "engine/db/extents_check.h"

struct mending {
	struct wombat *db;
	void (*on_lost)(void *arg, struct wombat_slice key, const char *what);
	void *arg;
};

static enum wombat_status own_again(struct wombat *db, const struct extents_fault *f)
{
	struct placed_batch out = { .count = 0 };
	struct db_key key;
	uint64_t sequence = 0;
	enum wombat_status s = db_key_init(&key, f->keyspace, f->key);
	if (s != WOMBAT_OK)
		return s;
	s = extents_place_owner(&out, f->id, key.slice, false);
	db_key_done(&key);
	if (s == WOMBAT_OK)
		s = db_write_placed(db, &out, 0, NULL, &sequence);
	db_place_done(db, &out, sequence);
	return s;
}

static enum wombat_status mend(void *arg, const struct extents_fault *f)
{
	struct mending *m = arg;
	if (f->unowned)
		return own_again(m->db, f);
	m->on_lost(m->arg, f->key, f->what);
	return wombat_delete(m->db, f->keyspace, f->key);
}

static enum wombat_status found_one(void *arg, const struct extents_fault *f)
{
	(void)f;
	*(bool *)arg = true;
	return WOMBAT_BUSY; /* enough was seen */
}

/* With the database open; `m` NULL: whether there is something to mend. */
static enum wombat_status look(struct wombat *db, struct mending *m, bool *out_found)
{
	struct wombat_snapshot *snapshot = wombat_snapshot_new(db);
	if (!snapshot)
		return WOMBAT_NO_MEMORY;
	enum wombat_status s = m ? extents_check(db, snapshot, mend, m) : extents_check(db, snapshot, found_one, out_found);
	wombat_snapshot_release(db, snapshot);
	return s;
}

enum wombat_status repair_extents(struct env *env, const char *dir,
				  void (*on_lost)(void *arg, struct wombat_slice key, const char *what), void *arg)
{
	struct mending m = { .on_lost = on_lost, .arg = arg };
	bool found = false;
	/* A whole database stays as it is. */
	enum wombat_status s = db_open_env(env, dir, NULL, WOMBAT_OPEN_READ_ONLY, &m.db);
	if (s != WOMBAT_OK)
		return s;
	s = look(m.db, NULL, &found);
	enum wombat_status closed = wombat_close(m.db);
	if (!found)
		return s == WOMBAT_OK ? closed : s;
	s = db_open_env(env, dir, NULL, 0, &m.db);
	if (s != WOMBAT_OK)
		return s;
	s = look(m.db, &m, NULL);
	closed = wombat_close(m.db);
	return s == WOMBAT_OK ? closed : s;
}
