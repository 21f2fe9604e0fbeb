/*
 * Snapshots with names, which last: each is a record of the engine's own keyspace, 'S' and the name, with the sequence
 * number that is kept. While the database is open each stands in the ring of snapshots, so compactions keep what it shows.
 *
 * Between an open and the moment that the names are read nothing may be dropped: until then flushes keep all versions
 * (db_snapshot_list), and no compaction runs.
 */
#include "engine/base/alloc.h"
#include "engine/db/extents.h"

struct named_snapshot {
	struct named_snapshot *next; /* guarded by named_mu */
	struct wombat_snapshot *kept;
	uint64_t time_ns;
	size_t name_size;
	char name[];
};

enum { NAME_MAX_BYTES = 255, KEY_MAX = 1 + NAME_MAX_BYTES };

static enum wombat_status check_change(struct wombat *db, const char *name)
{
	size_t size = strlen(name);
	if (size == 0 || size > NAME_MAX_BYTES || strchr(name, '/') || name[0] == '.')
		return fail(WOMBAT_INVALID, "\"%.*s\" is no name of a snapshot: 1 to %d bytes, no '/', no '.' in front",
			    size > 40 ? 40 : (int)size, name, NAME_MAX_BYTES);
	return db_check_writable(db);
}

static struct wombat_slice key_of(const char *name, uint8_t room[KEY_MAX])
{
	size_t size = strlen(name);
	room[0] = 'S';
	memcpy(room + 1, name, size);
	return slice_make(room, 1 + size);
}

static struct named_snapshot **find_locked(struct wombat *db, const char *name) REQUIRES(&db->named_mu);
static struct named_snapshot **find_locked(struct wombat *db, const char *name)
{
	struct named_snapshot **at = &db->named;
	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static struct named_snapshot *named_new(const char *name, size_t size)
{
	struct named_snapshot *n = mem_zalloc(sizeof *n + size + 1);
	if (!n) {
		fail_no_memory();
		return NULL;
	}
	memcpy(n->name, name, size);
	n->name_size = size;
	return n;
}

static void named_free(struct wombat *db, struct named_snapshot *n)
{
	if (n)
		wombat_snapshot_release(db, n->kept);
	mem_free(n);
}

/* One change of the engine's keyspace, durable. */
static enum wombat_status write_record(struct wombat *db, struct wombat_slice key, const struct record *r)
{
	struct placed_batch out = { .changes = 1 };
	uint64_t sequence = 0;
	enum wombat_status s = r ? write_batch_add_put(&out.body, EXTENTS_KEYSPACE, key, r) :
			       write_batch_add_delete(&out.body, EXTENTS_KEYSPACE, key);
	if (s == WOMBAT_OK)
		s = db_write_placed(db, &out, WOMBAT_SYNC, NULL, &sequence);
	db_place_done(db, &out, sequence);
	return s;
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static enum wombat_status create_locked(struct wombat *db, const char *name) REQUIRES(&db->named_mu);
static enum wombat_status create_locked(struct wombat *db, const char *name)
{
	uint8_t room[KEY_MAX], value[8];
	if (*find_locked(db, name))
		return fail(WOMBAT_EXISTS, "there is a snapshot \"%s\" already", name);
	struct named_snapshot *n = named_new(name, strlen(name));
	if (!n)
		return WOMBAT_NO_MEMORY;
	n->kept = wombat_snapshot_new(db);
	if (!n->kept) {
		mem_free(n);
		return WOMBAT_NO_MEMORY;
	}
	n->time_ns = db->env->calls->now_ns(db->env);
	put_u64(value, n->kept->sequence);
	const struct record r = { .time_ns = n->time_ns, .value = slice_make(value, sizeof value) };
	/* The sync makes all that the snapshot shows durable too: it lies before it in the log. */
	enum wombat_status s = write_record(db, key_of(name, room), &r);
	if (s != WOMBAT_OK) {
		named_free(db, n);
		return s;
	}
	struct named_snapshot **end = &db->named;
	while (*end)
		end = &(*end)->next;
	*end = n;
	return WOMBAT_OK;
}

enum wombat_status wombat_snapshot_create(struct wombat *db, const char *name)
{
	enum wombat_status s = check_change(db, name);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&db->named_mu);
	s = create_locked(db, name);
	mutex_unlock(&db->named_mu);
	if (s == WOMBAT_OK)
		event_log_line(db->log, EVENT_INFO, "snapshot \"%s\" made", name);
	return s;
}

static enum wombat_status no_such(const char *name)
{
	return fail(WOMBAT_NOT_FOUND, "there is no snapshot \"%.*s\"", NAME_MAX_BYTES, name);
}

enum wombat_status wombat_snapshot_drop(struct wombat *db, const char *name)
{
	uint8_t room[KEY_MAX];
	enum wombat_status s = check_change(db, name);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&db->named_mu);
	struct named_snapshot **at = find_locked(db, name), *n = *at;
	s = n ? write_record(db, key_of(name, room), NULL) : no_such(name);
	if (s == WOMBAT_OK) {
		*at = n->next;
		named_free(db, n);
	}
	mutex_unlock(&db->named_mu);
	if (s == WOMBAT_OK)
		event_log_line(db->log, EVENT_INFO, "snapshot \"%s\" dropped", name);
	return s;
}

enum wombat_status wombat_snapshot_open(struct wombat *db, const char *name, struct wombat_snapshot **out_snapshot)
{
	mutex_lock(&db->named_mu);
	const struct named_snapshot *n = *find_locked(db, name);
	struct wombat_snapshot *snapshot = n ? db_snapshot_at(db, n->kept->sequence) : NULL;
	mutex_unlock(&db->named_mu);
	if (!n)
		return no_such(name);
	if (!snapshot)
		return WOMBAT_NO_MEMORY;
	*out_snapshot = snapshot;
	return WOMBAT_OK;
}

void wombat_snapshot_list(struct wombat *db, void (*each)(void *arg, const struct wombat_snapshot_info *info), void *arg)
{
	mutex_lock(&db->named_mu);
	for (const struct named_snapshot *n = db->named; n; n = n->next) {
		const struct wombat_snapshot_info info = { n->name, n->kept->sequence, n->time_ns };
		each(arg, &info);
	}
	mutex_unlock(&db->named_mu);
}

/* ---- Open and close ------------------------------------------------------------------------- */

static enum wombat_status load_one(struct wombat *db, struct wombat_slice key, const struct record *r)
	REQUIRES(&db->named_mu);
static enum wombat_status load_one(struct wombat *db, struct wombat_slice key, const struct record *r)
{
	if (key.size < 2 || key.size > KEY_MAX || r->elsewhere || r->in_extents || r->value.size != 8)
		return fail(WOMBAT_CORRUPTION, "the record of a named snapshot makes no sense");
	struct named_snapshot *n = named_new((const char *)key.data + 1, key.size - 1);
	if (!n)
		return WOMBAT_NO_MEMORY;
	n->time_ns = r->time_ns;
	n->kept = db_snapshot_at(db, get_u64(r->value.data));
	if (!n->kept) {
		mem_free(n);
		return WOMBAT_NO_MEMORY;
	}
	/* In the order in which they were made. */
	struct named_snapshot **at = &db->named;
	while (*at && (*at)->kept->sequence <= n->kept->sequence)
		at = &(*at)->next;
	n->next = *at;
	*at = n;
	return WOMBAT_OK;
}

enum wombat_status db_named_snapshots_load(struct wombat *db)
{
	const struct wombat_iter_options options = { .lower = WOMBAT_STR("S"), .upper = WOMBAT_STR("T") };
	uint64_t sequence = atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	struct wombat_iter *it;
	enum wombat_status s = db_iter_new_at(db, NULL, sequence, &options, EXTENTS_KEYSPACE, &it);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&db->named_mu);
	for (bool more = wombat_iter_first(it); more && s == WOMBAT_OK; more = s == WOMBAT_OK && wombat_iter_next(it)) {
		struct record r;
		s = record_decode(db_iter_entry(it), &r);
		if (s == WOMBAT_OK)
			s = load_one(db, wombat_iter_record(it)->key, &r);
	}
	mutex_unlock(&db->named_mu);
	if (s == WOMBAT_OK)
		s = wombat_iter_status(it);
	wombat_iter_free(it);
	mutex_lock(&db->snapshots_mu);
	db->snapshots_known = s == WOMBAT_OK;
	mutex_unlock(&db->snapshots_mu);
	return s;
}

void db_named_snapshots_free(struct wombat *db)
{
	while (db->named) {
		struct named_snapshot *n = db->named;
		db->named = n->next;
		named_free(db, n);
	}
}

size_t db_named_snapshot_count(struct wombat *db)
{
	size_t count = 0;
	mutex_lock(&db->named_mu);
	for (const struct named_snapshot *n = db->named; n; n = n->next)
		count++;
	mutex_unlock(&db->named_mu);
	return count;
}
