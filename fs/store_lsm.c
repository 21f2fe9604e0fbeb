/*
 * The embedded store: libwombat in a directory.
 *
 * Spaces are keyspaces of the same number, versions are sequence numbers. Guards are checked before the batch is
 * written: the filesystem is the database's only writer and calls commit under its own lock, so nothing comes between.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/store_lsm_impl.h"

struct store_list {
	struct wombat_list *list;
	struct store_entry entry;
};

_Static_assert(STORE_USER == (int)WOMBAT_USER && STORE_DIRS == (int)WOMBAT_FS_DIRS &&
	       STORE_INODES == (int)WOMBAT_FS_INODES && STORE_META == (int)WOMBAT_FS_META &&
	       STORE_LINKS == (int)WOMBAT_FS_LINKS, "spaces are keyspaces");

static struct wombat *db_of(struct store *s)
{
	return ((struct store_lsm *)s)->db;
}

static const struct wombat_snapshot *snapshot_of(struct store *s)
{
	return ((struct store_lsm *)s)->snapshot;
}

/* An edit is the engine's own. */
static struct wombat_edit *edit_of(struct store_edit *e)
{
	return (struct wombat_edit *)(void *)e;
}

void store_lsm_entry(const struct wombat_record *r, struct store_entry *out)
{
	*out = (struct store_entry){
		.value = bytes(r->value), .attr = bytes(r->attr), .value_size = r->value_size,
		.stored_size = r->stored_size, .time_ns = r->time_ns,
		.expiry_ns = r->expiry_ns, .version = r->sequence,
	};
	_Static_assert(sizeof out->pin == sizeof r->pin, "each has a place");
	memcpy(out->pin, r->pin, sizeof out->pin);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static enum store_result lsm_get(struct store *s, enum store_space space, struct store_bytes key, bool meta_only,
				 bool may_block, struct store_entry *out)
{
	struct wombat_read_options options = {
		.snapshot = snapshot_of(s),
		.flags = (meta_only ? WOMBAT_READ_META : 0) | (may_block ? 0 : WOMBAT_READ_CACHED),
	};
	struct wombat_record r;
	enum wombat_status status = wombat_get(db_of(s), &options, space, slice(key), &r);
	if (status == WOMBAT_OK)
		store_lsm_entry(&r, out);
	return errmap_store_from_wombat(status);
}

static void lsm_entry_release(struct store *s, struct store_entry *e)
{
	struct wombat_record r = { .value = { NULL, 0 } };
	(void)s;
	wombat_value_close(e->parts);
	e->parts = NULL;
	memcpy(r.pin, e->pin, sizeof r.pin);
	wombat_record_release(&r);
	memset(e->pin, 0, sizeof e->pin);
}

static enum store_result lsm_prefix_exists(struct store *s, enum store_space space, struct store_bytes prefix,
					   bool may_block, bool *out)
{
	struct wombat_read_options options = { snapshot_of(s), may_block ? 0 : WOMBAT_READ_CACHED };
	return errmap_store_from_wombat(wombat_prefix_exists(db_of(s), &options, space, slice(prefix), out));
}

static enum wombat_status new_list(struct store *s, enum store_space space, struct store_bytes prefix, struct wombat_list **out)
{
	struct wombat_read_options options = { .snapshot = snapshot_of(s) };
	return wombat_list_new(db_of(s), &options, space, slice(prefix), out);
}

static enum store_result lsm_list_open(struct store *s, enum store_space space, struct store_bytes prefix,
				       struct store_list **out)
{
	return store_lsm_list_open(s, new_list, space, prefix, out);
}

enum store_result store_lsm_list_open(struct store *s, store_lsm_new_list *make, enum store_space space,
				      struct store_bytes prefix, struct store_list **out)
{
	struct store_list *l = calloc(1, sizeof *l);
	if (!l)
		return STORE_NO_MEMORY;
	enum wombat_status status = make(s, space, prefix, &l->list);
	if (status != WOMBAT_OK) {
		free(l);
		return errmap_store_from_wombat(status);
	}
	*out = l;
	return STORE_OK;
}

static void lsm_list_seek(struct store_list *l, struct store_bytes after, bool as_prefix)
{
	wombat_list_seek_after(l->list, slice(after), as_prefix);
}

static enum store_result lsm_list_next(struct store_list *l, struct store_child *out)
{
	struct wombat_child child;
	enum wombat_status status = wombat_list_next(l->list, &child);
	if (status != WOMBAT_OK)
		return errmap_store_from_wombat(status);
	if (child.is_value)
		store_lsm_entry(child.record, &l->entry);
	*out = (struct store_child){
		.name = bytes(child.name), .is_value = child.is_value, .is_prefix = child.is_prefix,
		.entry = child.is_value ? &l->entry : NULL,
	};
	return STORE_OK;
}

static void lsm_list_close(struct store_list *l)
{
	if (!l)
		return;
	wombat_list_free(l->list);
	free(l);
}

bool store_lsm_prefix_end(struct store_bytes prefix, struct wombat_slice *out)
{
	uint8_t *end = malloc(prefix.size + 1);
	size_t size = prefix.size;
	if (!end)
		return false;
	if (size)
		memcpy(end, prefix.data, size);
	while (size && end[size - 1] == 0xff)
		size--;
	if (size)
		end[size - 1]++;
	*out = WOMBAT_SLICE(end, size);
	return true;
}

void store_lsm_end_done(struct wombat_slice end)
{
	free((void *)(uintptr_t)end.data);
}

enum wombat_status store_lsm_scan_prefix(struct wombat *db, struct wombat_read_options read, enum store_space space,
			       struct store_bytes prefix, bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg)
{
	struct wombat_iter_options options = {
		.read = { read.snapshot, read.flags | WOMBAT_READ_NO_FILL }, .lower = slice(prefix),
	};
	struct wombat_iter *it;
	if (!store_lsm_prefix_end(prefix, &options.upper))
		return WOMBAT_NO_MEMORY;
	enum wombat_status status = wombat_iter_new(db, &options, space, &it);
	store_lsm_end_done(options.upper);
	return status == WOMBAT_OK ? store_lsm_scan(it, each, arg) : status;
}

enum wombat_status store_lsm_scan(struct wombat_iter *it, bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry),
				  void *arg)
{
	for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it)) {
		const struct wombat_record *r = wombat_iter_record(it);
		struct store_entry e;
		store_lsm_entry(r, &e);
		if (!each(arg, bytes(r->key), &e))
			break;
	}
	enum wombat_status status = wombat_iter_status(it);
	wombat_iter_free(it);
	return status;
}

static enum store_result lsm_scan(struct store *s, enum store_space space, struct store_bytes prefix, bool meta_only,
				  bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg)
{
	struct wombat_read_options read = { snapshot_of(s), meta_only ? WOMBAT_READ_META : 0 };
	return errmap_store_from_wombat(store_lsm_scan_prefix(db_of(s), read, space, prefix, each, arg));
}

/* ---- Writing ------------------------------------------------------------------------------- */

enum store_result store_lsm_check_guard(struct store *s, const struct store_change *c)
{
	struct store_entry e;
	if (c->guard == STORE_GUARD_NONE)
		return STORE_OK;
	enum store_result r = s->calls->get(s, c->space, c->key, true, true, &e);
	if (r == STORE_NOT_FOUND)
		return c->guard == STORE_GUARD_ABSENT ? STORE_OK : STORE_CONFLICT;
	if (r != STORE_OK)
		return r;
	bool holds = c->guard == STORE_GUARD_VERSION && e.version == c->guard_version;
	lsm_entry_release(s, &e);
	return holds ? STORE_OK : STORE_CONFLICT;
}

enum wombat_status store_lsm_add_delete_prefix(struct wombat_batch *b, enum store_space space, struct store_bytes prefix)
{
	struct wombat_slice end;
	if (!store_lsm_prefix_end(prefix, &end))
		return WOMBAT_NO_MEMORY;
	enum wombat_status status = wombat_batch_delete_range(b, space, slice(prefix), end);
	store_lsm_end_done(end);
	return status;
}

enum wombat_status store_lsm_add_change(struct wombat_batch *b, const struct store_change *c)
{
	/* The changes outlive the batch. */
	struct wombat_put_info info = { .time_ns = c->time_ns, .expiry_ns = c->expiry_ns, .attr = slice(c->attr),
					.borrow = true };
	switch (c->op) {
	case STORE_PUT:
		if (c->held && c->moved_from.size)
			return wombat_batch_move_value(b, c->space, slice(c->moved_from), slice(c->key), c->held->parts, &info);
		if (c->held)
			return wombat_batch_put_value(b, c->space, slice(c->key), c->held->parts, &info);
		return wombat_batch_put(b, c->space, slice(c->key), slice(c->value), &info);
	case STORE_DELETE:
		return wombat_batch_delete(b, c->space, slice(c->key));
	case STORE_DELETE_PREFIX:
		return store_lsm_add_delete_prefix(b, c->space, c->key);
	}
	return WOMBAT_INVALID;
}

/* The others of the commit go with it. */
static enum wombat_status commit_edit(const struct store_change *c, const struct wombat_batch *others, unsigned flags,
				      uint64_t *out_version)
{
	struct wombat_put_info info = { .time_ns = c->time_ns, .expiry_ns = c->expiry_ns, .attr = slice(c->attr) };
	if (!c->also_count)
		return wombat_edit_commit(edit_of(c->edit), &info, others, flags, out_version);
	struct wombat_slice *keys = malloc(c->also_count * sizeof *keys);
	if (!keys)
		return WOMBAT_NO_MEMORY;
	for (size_t i = 0; i < c->also_count; i++)
		keys[i] = slice(c->also[i]);
	enum wombat_status status = wombat_edit_commit_keys(edit_of(c->edit), keys, c->also_count, &info, others, flags, out_version);
	free(keys);
	return status;
}

void store_lsm_tell(struct store *s, const struct store_told *told)
{
	struct store_lsm *l = (struct store_lsm *)s;
	store_lsm_moves_note(l, told);
	if (l->observer)
		l->observer(l->observer_arg, told);
}

void store_lsm_observe(struct store *s, void (*each)(void *arg, const struct store_told *told), void *arg)
{
	struct store_lsm *l = (struct store_lsm *)s;
	l->observer = each;
	l->observer_arg = arg;
}

static enum store_result lsm_commit(struct store *s, const struct store_change *changes, size_t count, bool durable,
				    uint64_t *out_version)
{
	if (snapshot_of(s))
		return STORE_READ_ONLY;
	for (size_t i = 0; i < count; i++) {
		enum store_result r = store_lsm_check_guard(s, &changes[i]);
		if (r != STORE_OK)
			return r;
	}
	struct wombat_batch *b = wombat_batch_new();
	if (!b)
		return STORE_NO_MEMORY;
	enum wombat_status status = WOMBAT_OK;
	const struct store_change *edited = NULL;
	for (size_t i = 0; i < count && status == WOMBAT_OK; i++) {
		if (changes[i].edit)
			edited = &changes[i];
		else
			status = store_lsm_add_change(b, &changes[i]);
	}
	unsigned flags = durable ? WOMBAT_SYNC : 0;
	store_note_change(s);
	struct store_told told = { .changes = changes, .count = count };
	if (status == WOMBAT_OK && edited)
		status = commit_edit(edited, b, flags, &told.version);
	else if (status == WOMBAT_OK)
		status = wombat_write(db_of(s), b, flags, &told.version);
	store_note_change(s);
	wombat_batch_free(b);
	if (status == WOMBAT_OK) {
		store_lsm_tell(s, &told);
		if (out_version)
			*out_version = told.version;
	}
	return errmap_store_from_wombat(status);
}

/* ---- The rest ------------------------------------------------------------------------------ */

void store_lsm_hold(struct wombat_value *value, struct store_entry *out)
{
	store_lsm_entry(wombat_value_record(value), out);
	memset(out->pin, 0, sizeof out->pin); /* they are the value's */
	out->parts = value;
}

/* A found entry pins what it points to, so holding it is enough; but what is large is left where it is. */
static enum store_result lsm_hold(struct store *s, enum store_space space, struct store_bytes key, struct store_entry *out)
{
	struct wombat_read_options options = { .snapshot = snapshot_of(s) };
	struct wombat_value *value;
	enum wombat_status status = wombat_value_open(db_of(s), &options, space, slice(key), &value);
	if (status != WOMBAT_OK)
		return errmap_store_from_wombat(status);
	store_lsm_hold(value, out);
	return STORE_OK;
}

static enum store_result lsm_read_held(struct store *s, struct store_entry *e, uint64_t offset, size_t size, void *out)
{
	size_t got;
	(void)s;
	enum wombat_status status = wombat_value_read(e->parts, offset, out, size, &got);
	if (status == WOMBAT_OK && got < size)
		return STORE_INVALID;
	return errmap_store_from_wombat(status);
}

static enum store_result lsm_next_held(struct store *s, struct store_entry *e, uint64_t offset, uint64_t *out_from,
				       uint64_t *out_to)
{
	(void)s;
	return errmap_store_from_wombat(wombat_value_next_data(e->parts, offset, out_from, out_to));
}

/* ---- Changing parts ------------------------------------------------------------------------ */

static enum store_result lsm_edit_open(struct store *s, enum store_space space, struct store_bytes key,
				       struct store_edit **out)
{
	struct wombat_edit *edit;
	if (snapshot_of(s))
		return STORE_READ_ONLY;
	enum wombat_status status = wombat_edit_open(db_of(s), space, slice(key), WOMBAT_EDIT_CREATE, &edit);
	if (status == WOMBAT_OK)
		*out = (struct store_edit *)(void *)edit;
	return errmap_store_from_wombat(status);
}

static void lsm_edit_close(struct store_edit *e)
{
	wombat_edit_close(edit_of(e));
}

static enum store_result lsm_edit_read(struct store_edit *e, uint64_t offset, size_t size, void *out)
{
	size_t got;
	enum wombat_status status = wombat_edit_read(edit_of(e), offset, out, size, &got);
	if (status == WOMBAT_OK && got < size)
		return STORE_INVALID;
	return errmap_store_from_wombat(status);
}

static enum store_result lsm_edit_write(struct store_edit *e, uint64_t offset, const void *data, size_t size)
{
	return errmap_store_from_wombat(wombat_edit_write(edit_of(e), offset, data, size));
}

static enum store_result lsm_edit_copy(struct store_edit *e, uint64_t offset, struct store_entry *held, uint64_t held_offset,
				       uint64_t size)
{
	return errmap_store_from_wombat(wombat_edit_copy(edit_of(e), offset, held->parts, held_offset, size));
}

static enum store_result lsm_edit_resize(struct store_edit *e, uint64_t size)
{
	return errmap_store_from_wombat(wombat_edit_truncate(edit_of(e), size));
}

static enum store_result lsm_edit_punch(struct store_edit *e, uint64_t offset, uint64_t size)
{
	return errmap_store_from_wombat(wombat_edit_punch(edit_of(e), offset, size));
}

static enum store_result lsm_edit_next(struct store_edit *e, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	return errmap_store_from_wombat(wombat_edit_next_data(edit_of(e), offset, out_from, out_to));
}

static enum store_result lsm_estimate(struct store *s, enum store_space space, struct store_bytes prefix, uint64_t *out_keys,
				      uint64_t *out_bytes)
{
	struct wombat_slice end;
	if (!store_lsm_prefix_end(prefix, &end))
		return STORE_NO_MEMORY;
	enum wombat_status status = wombat_estimate(db_of(s), space, slice(prefix), end, out_keys, out_bytes);
	store_lsm_end_done(end);
	return errmap_store_from_wombat(status);
}

static enum store_result lsm_sync(struct store *s)
{
	return errmap_store_from_wombat(wombat_sync(db_of(s)));
}

static uint64_t stat_of(struct wombat *db, const char *name)
{
	double v;
	return wombat_stat(db, name, &v) == WOMBAT_OK && v > 0 ? (uint64_t)v : 0;
}

static enum store_result lsm_space(struct store *s, uint64_t *out_total, uint64_t *out_free, uint64_t *out_used,
				   uint64_t *out_entries)
{
	struct wombat *db = db_of(s);
	*out_used = stat_of(db, "disk_usage_bytes");
	*out_entries = stat_of(db, "entries");
	*out_free = stat_of(db, "disk.free_bytes");
	*out_total = *out_used + *out_free;
	return STORE_OK;
}

static uint64_t lsm_max_value_size(struct store *s)
{
	return wombat_limits(db_of(s)).value_size;
}

static uint64_t lsm_max_key_size(struct store *s)
{
	return wombat_limits(db_of(s)).key_size;
}

static const char *lsm_last_error(struct store *s)
{
	(void)s;
	return wombat_last_error();
}

static void lsm_close(struct store *s, bool clean)
{
	(void)clean;
	wombat_snapshot_release(db_of(s), ((struct store_lsm *)s)->snapshot);
	free(s);
}

static enum store_result lsm_snapshot_open(struct store *s, const char *name, struct store **out);

static enum store_result new_store(struct wombat *db, struct wombat_snapshot *snapshot, struct store **out)
{
	static const struct store_calls calls = {
		.close = lsm_close, .get = lsm_get, .entry_release = lsm_entry_release,
		.prefix_exists = lsm_prefix_exists, .list_open = lsm_list_open, .list_seek = lsm_list_seek,
		.list_next = lsm_list_next, .list_close = lsm_list_close, .scan = lsm_scan, .commit = lsm_commit,
		.move_prefix = store_lsm_move_prefix, .move_begin = store_lsm_move_begin, .move_copy = store_lsm_move_copy,
		.move_commit = store_lsm_move_commit, .move_end = store_lsm_move_end, .hold = lsm_hold, .read_held = lsm_read_held,
		.next_held = lsm_next_held, .edit_open = lsm_edit_open, .edit_close = lsm_edit_close, .edit_read = lsm_edit_read,
		.edit_write = lsm_edit_write, .edit_copy = lsm_edit_copy, .edit_resize = lsm_edit_resize, .edit_punch = lsm_edit_punch,
		.edit_next = lsm_edit_next, .snapshot_open = lsm_snapshot_open, .estimate = lsm_estimate, .sync = lsm_sync,
		.space = lsm_space,
		.max_value_size = lsm_max_value_size, .max_key_size = lsm_max_key_size, .last_error = lsm_last_error,
	};
	struct store_lsm *s = calloc(1, sizeof *s);
	if (!s)
		return STORE_NO_MEMORY;
	s->base.calls = &calls;
	s->db = db;
	s->snapshot = snapshot;
	*out = &s->base;
	return STORE_OK;
}

static enum store_result lsm_snapshot_open(struct store *s, const char *name, struct store **out)
{
	struct wombat_snapshot *snapshot;
	enum wombat_status status = wombat_snapshot_open(db_of(s), name, &snapshot);
	if (status != WOMBAT_OK)
		return errmap_store_from_wombat(status);
	enum store_result r = new_store(db_of(s), snapshot, out);
	if (r != STORE_OK)
		wombat_snapshot_release(db_of(s), snapshot);
	return r;
}

enum store_result store_lsm_new(struct wombat *db, struct store **out)
{
	return new_store(db, NULL, out);
}
