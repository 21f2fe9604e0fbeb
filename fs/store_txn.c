/*
 * The store that a transaction sees. Reads are those of libwombat's transaction; changes go into it one by one, each value
 * as a whole, so what is changed in parts (struct store_edit) is a copy in memory here.
 *
 * libwombat tells what a transaction conflicts with, but not what it has changed, so the keys are noted here.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/store_lsm_impl.h"

static const uint64_t VALUE_MAX = UINT64_C(1) << 30; /* libwombat puts no more at once */

struct changed_key {
	enum store_space space;
	struct store_bytes key; /* from malloc */
};

struct store_txn {
	struct store_lsm lsm;
	struct store_calls calls;      /* those of `main`, but for what a transaction sees or does in its own way */
	struct store *main;
	struct wombat_txn *txn;
	bool committed, broken;        /* broken: a change is in it in part */
	struct changed_key *changed;
	size_t changed_count, changed_capacity;
};

static struct store_txn *txn_of(struct store *s)
{
	return (struct store_txn *)(void *)s;
}

/* ---- What was changed ---------------------------------------------------------------------- */

static int compare_changed(const void *a, const void *b)
{
	const struct changed_key *x = a, *y = b;
	size_t least = x->key.size < y->key.size ? x->key.size : y->key.size;
	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	int order = least ? memcmp(x->key.data, y->key.data, least) : 0;
	return order ? order : (x->key.size > y->key.size) - (x->key.size < y->key.size);
}

static void sort_changed(struct store_txn *t)
{
	size_t kept = 0;
	if (t->changed_count)
		qsort(t->changed, t->changed_count, sizeof *t->changed, compare_changed);
	for (size_t i = 0; i < t->changed_count; i++) {
		if (kept && compare_changed(&t->changed[kept - 1], &t->changed[i]) == 0)
			free((void *)(uintptr_t)t->changed[i].key.data);
		else
			t->changed[kept++] = t->changed[i];
	}
	t->changed_count = kept;
}

static enum wombat_status note_changed(struct store_txn *t, enum store_space space, struct store_bytes key)
{
	if (t->changed_count == t->changed_capacity)
		sort_changed(t); /* A key that is changed again and again is there once. */
	if (t->changed_count * 2 >= t->changed_capacity) {
		size_t capacity = 2 * t->changed_capacity + 16;
		struct changed_key *moved = realloc(t->changed, capacity * sizeof *moved);
		if (!moved)
			return WOMBAT_NO_MEMORY;
		t->changed = moved;
		t->changed_capacity = capacity;
	}
	uint8_t *copy = malloc(key.size + 1);
	if (!copy)
		return WOMBAT_NO_MEMORY;
	if (key.size)
		memcpy(copy, key.data, key.size);
	t->changed[t->changed_count++] = (struct changed_key){ space, { copy, key.size } };
	return WOMBAT_OK;
}

enum store_result store_txn_each(struct store *s, bool (*each)(void *arg, enum store_space space, struct store_bytes key),
				 void *arg)
{
	struct store_txn *t = txn_of(s);
	sort_changed(t);
	for (size_t i = 0; i < t->changed_count; i++)
		if (!each(arg, t->changed[i].space, t->changed[i].key))
			break;
	return STORE_OK;
}

/* ---- Reading ------------------------------------------------------------------------------- */

static enum store_result txn_get(struct store *s, enum store_space space, struct store_bytes key, bool meta_only,
				 bool may_block, struct store_entry *out)
{
	unsigned flags = (meta_only ? WOMBAT_READ_META : 0) | (may_block ? 0 : WOMBAT_READ_CACHED);
	struct wombat_record r;
	enum wombat_status status = wombat_txn_get(txn_of(s)->txn, space, slice(key), flags, &r);
	if (status == WOMBAT_OK)
		store_lsm_entry(&r, out);
	return errmap_store_from_wombat(status);
}

static enum store_result txn_prefix_exists(struct store *s, enum store_space space, struct store_bytes prefix,
					   bool may_block, bool *out)
{
	unsigned flags = may_block ? 0 : WOMBAT_READ_CACHED;
	return errmap_store_from_wombat(wombat_txn_prefix_exists(txn_of(s)->txn, space, slice(prefix), flags, out));
}

static enum wombat_status new_list(struct store *s, enum store_space space, struct store_bytes prefix, struct wombat_list **out)
{
	return wombat_txn_list_new(txn_of(s)->txn, space, slice(prefix), out);
}

static enum store_result txn_list_open(struct store *s, enum store_space space, struct store_bytes prefix,
				       struct store_list **out)
{
	return store_lsm_list_open(s, new_list, space, prefix, out);
}

/* The keys below a prefix with what is put by the transaction at hand, but large values that it leaves alone. */
static enum wombat_status scan(struct store_txn *t, unsigned flags, enum store_space space, struct store_bytes prefix,
			       bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg)
{
	struct wombat_iter *it;
	struct wombat_iter_options options = { .read.flags = flags | WOMBAT_READ_NO_FILL, .lower = slice(prefix) };
	if (!store_lsm_prefix_end(prefix, &options.upper))
		return WOMBAT_NO_MEMORY;
	enum wombat_status status = wombat_txn_iter_new(t->txn, &options, space, &it);
	store_lsm_end_done(options.upper);
	return status == WOMBAT_OK ? store_lsm_scan(it, each, arg) : status;
}

static enum store_result txn_scan(struct store *s, enum store_space space, struct store_bytes prefix, bool meta_only,
				  bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg)
{
	return errmap_store_from_wombat(scan(txn_of(s), meta_only ? WOMBAT_READ_META : 0, space, prefix, each, arg));
}

static enum store_result txn_hold(struct store *s, enum store_space space, struct store_bytes key, struct store_entry *out)
{
	struct wombat_value *value;
	enum wombat_status status = wombat_txn_value_open(txn_of(s)->txn, space, slice(key), &value);
	if (status == WOMBAT_OK)
		store_lsm_hold(value, out);
	return errmap_store_from_wombat(status);
}

/* ---- Whole values in memory ---------------------------------------------------------------- */

/* A store_edit, and what is put of one that is large. */
struct whole {
	uint8_t *data;
	size_t size, capacity;
};

static struct whole *whole_of(struct store_edit *e)
{
	return (struct whole *)(void *)e;
}

static void whole_free(struct whole *w)
{
	if (w)
		free(w->data);
	free(w);
}

static enum wombat_status whole_resize(struct whole *w, uint64_t size)
{
	if (size > VALUE_MAX)
		return WOMBAT_TOO_BIG;
	if (size > w->capacity) {
		size_t capacity = size > w->capacity + w->capacity / 2 ? (size_t)size : w->capacity + w->capacity / 2;
		uint8_t *moved = realloc(w->data, capacity);
		if (!moved)
			return WOMBAT_NO_MEMORY;
		w->data = moved;
		w->capacity = capacity;
	}
	if (size > w->size)
		memset(w->data + w->size, 0, (size_t)size - w->size);
	w->size = (size_t)size;
	return WOMBAT_OK;
}

static enum wombat_status whole_new(struct wombat_value *value, struct whole **out)
{
	struct whole *w = calloc(1, sizeof *w);
	uint64_t size = value ? wombat_value_record(value)->value_size : 0;
	size_t got = 0;
	enum wombat_status status = w ? whole_resize(w, size) : WOMBAT_NO_MEMORY;
	if (status == WOMBAT_OK && size)
		status = wombat_value_read(value, 0, w->data, (size_t)size, &got);
	if (status != WOMBAT_OK) {
		whole_free(w);
		return status;
	}
	*out = w;
	return WOMBAT_OK;
}

static enum store_result txn_edit_open(struct store *s, enum store_space space, struct store_bytes key, struct store_edit **out)
{
	struct wombat_value *value = NULL;
	struct whole *w;
	if (txn_of(s)->committed)
		return STORE_READ_ONLY;
	enum wombat_status status = wombat_txn_value_open(txn_of(s)->txn, space, slice(key), &value);
	if (status == WOMBAT_OK || status == WOMBAT_NOT_FOUND)
		status = whole_new(value, &w);
	wombat_value_close(value);
	if (status == WOMBAT_OK)
		*out = (struct store_edit *)(void *)w;
	return errmap_store_from_wombat(status);
}

static void txn_edit_close(struct store_edit *e)
{
	whole_free(whole_of(e));
}

static enum store_result txn_edit_read(struct store_edit *e, uint64_t offset, size_t size, void *out)
{
	const struct whole *w = whole_of(e);
	if (offset > w->size || size > w->size - offset)
		return STORE_INVALID;
	memcpy(out, w->data + offset, size);
	return STORE_OK;
}

static enum store_result reach(struct whole *w, uint64_t offset, uint64_t size)
{
	if (offset > VALUE_MAX || size > VALUE_MAX - offset)
		return STORE_TOO_BIG;
	return offset + size > w->size ? errmap_store_from_wombat(whole_resize(w, offset + size)) : STORE_OK;
}

static enum store_result txn_edit_write(struct store_edit *e, uint64_t offset, const void *data, size_t size)
{
	enum store_result r = reach(whole_of(e), offset, size);
	if (r == STORE_OK)
		memcpy(whole_of(e)->data + offset, data, size);
	return r;
}

static enum store_result txn_edit_copy(struct store_edit *e, uint64_t offset, struct store_entry *held, uint64_t held_offset,
				       uint64_t size)
{
	size_t got;
	enum store_result r = reach(whole_of(e), offset, size);
	if (r != STORE_OK)
		return r;
	enum wombat_status status = wombat_value_read(held->parts, held_offset, whole_of(e)->data + offset, (size_t)size, &got);
	return status == WOMBAT_OK && got < size ? STORE_INVALID : errmap_store_from_wombat(status);
}

static enum store_result txn_edit_resize(struct store_edit *e, uint64_t size)
{
	return errmap_store_from_wombat(whole_resize(whole_of(e), size));
}

static enum store_result txn_edit_punch(struct store_edit *e, uint64_t offset, uint64_t size)
{
	struct whole *w = whole_of(e);
	if (offset < w->size)
		memset(w->data + offset, 0, size < w->size - offset ? (size_t)size : w->size - (size_t)offset);
	return STORE_OK;
}

static enum store_result txn_edit_next(struct store_edit *e, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	const struct whole *w = whole_of(e);
	if (offset >= w->size)
		return STORE_NOT_FOUND;
	*out_from = offset;
	*out_to = w->size;
	return STORE_OK;
}

/* ---- Writing ------------------------------------------------------------------------------- */

static enum wombat_status put(struct store_txn *t, enum store_space space, struct store_bytes key, struct store_bytes value,
			      const struct wombat_put_info *info)
{
	enum wombat_status status = note_changed(t, space, key);
	return status == WOMBAT_OK ? wombat_txn_put(t->txn, space, slice(key), slice(value), info) : status;
}

static enum wombat_status delete_key(struct store_txn *t, enum store_space space, struct store_bytes key)
{
	enum wombat_status status = note_changed(t, space, key);
	return status == WOMBAT_OK ? wombat_txn_delete(t->txn, space, slice(key)) : status;
}

/* Records that were found and will be elsewhere, or will be gone. */
struct gathered {
	struct store_txn *t;
	enum store_space space;
	struct record {
		struct store_bytes key, attr, value; /* from malloc */
		uint64_t time_ns, expiry_ns;
	} *records;
	size_t count, capacity;
	bool with_values;
	enum wombat_status status;
};

static void gathered_done(struct gathered *g)
{
	for (size_t i = 0; i < g->count; i++) {
		free((void *)(uintptr_t)g->records[i].key.data);
		free((void *)(uintptr_t)g->records[i].attr.data);
		free((void *)(uintptr_t)g->records[i].value.data);
	}
	free(g->records);
}

static bool copy(struct store_bytes from, struct store_bytes *out)
{
	uint8_t *p = malloc(from.size + 1);
	if (p && from.size)
		memcpy(p, from.data, from.size);
	*out = (struct store_bytes){ p, from.size };
	return p != NULL;
}

/* The value of an entry that the scan found, which lacks it where it is large. */
static enum wombat_status copy_value(struct gathered *g, struct store_bytes key, const struct store_entry *e, struct store_bytes *out)
{
	struct wombat_value *value;
	struct whole *w;
	if (!g->with_values)
		return WOMBAT_OK;
	if (e->value.data || !e->value_size)
		return copy(e->value, out) ? WOMBAT_OK : WOMBAT_NO_MEMORY;
	enum wombat_status status = wombat_txn_value_open(g->t->txn, g->space, slice(key), &value);
	if (status != WOMBAT_OK)
		return status;
	status = whole_new(value, &w);
	wombat_value_close(value);
	if (status == WOMBAT_OK) {
		*out = (struct store_bytes){ w->data, w->size };
		free(w);
	}
	return status;
}

static bool gather_one(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct gathered *g = arg;
	if (g->count == g->capacity) {
		size_t capacity = 2 * g->capacity + 16;
		struct record *moved = realloc(g->records, capacity * sizeof *moved);
		if (!moved) {
			g->status = WOMBAT_NO_MEMORY;
			return false;
		}
		g->records = moved;
		g->capacity = capacity;
	}
	struct record *r = &g->records[g->count++];
	*r = (struct record){ .time_ns = e->time_ns, .expiry_ns = e->expiry_ns };
	g->status = copy(key, &r->key) && copy(e->attr, &r->attr) ? copy_value(g, key, e, &r->value) : WOMBAT_NO_MEMORY;
	return g->status == WOMBAT_OK;
}

static enum wombat_status gather(struct gathered *g, struct store_bytes prefix)
{
	enum wombat_status status = scan(g->t, g->with_values ? WOMBAT_READ_AT_HAND : WOMBAT_READ_META, g->space, prefix, gather_one, g);
	return status == WOMBAT_OK ? g->status : status;
}

static enum wombat_status delete_gathered(struct gathered *g)
{
	enum wombat_status status = WOMBAT_OK;
	for (size_t i = 0; i < g->count && status == WOMBAT_OK; i++)
		status = delete_key(g->t, g->space, g->records[i].key);
	return status;
}

static enum wombat_status delete_prefix(struct store_txn *t, enum store_space space, struct store_bytes prefix)
{
	struct gathered g = { .t = t, .space = space };
	enum wombat_status status = gather(&g, prefix);
	if (status == WOMBAT_OK)
		status = delete_gathered(&g);
	gathered_done(&g);
	return status;
}

static enum wombat_status put_change(struct store_txn *t, const struct store_change *c)
{
	const struct wombat_put_info info = { .time_ns = c->time_ns, .expiry_ns = c->expiry_ns, .attr = slice(c->attr) };
	struct store_bytes value = c->value;
	struct whole *w = NULL;
	enum wombat_status status = WOMBAT_OK;
	if (c->edit)
		value = (struct store_bytes){ whole_of(c->edit)->data, whole_of(c->edit)->size };
	if (c->held) {
		status = whole_new(c->held->parts, &w);
		if (status == WOMBAT_OK)
			value = (struct store_bytes){ w->data, w->size };
	}
	/* The key that it was held by goes, and may be put by another change behind this one. */
	if (status == WOMBAT_OK && c->moved_from.size)
		status = delete_key(t, c->space, c->moved_from);
	if (status == WOMBAT_OK)
		status = put(t, c->space, c->key, value, &info);
	for (size_t i = 0; i < c->also_count && status == WOMBAT_OK; i++)
		status = put(t, c->space, c->also[i], value, &info);
	whole_free(w);
	return status;
}

static enum wombat_status apply(struct store_txn *t, const struct store_change *changes, size_t count)
{
	enum wombat_status status = WOMBAT_OK;
	for (size_t i = 0; i < count && status == WOMBAT_OK; i++) {
		const struct store_change *c = &changes[i];
		status = c->op == STORE_PUT    ? put_change(t, c) :
			 c->op == STORE_DELETE ? delete_key(t, c->space, c->key) :
						 delete_prefix(t, c->space, c->key);
	}
	return status;
}

static enum store_result check_open(const struct store_txn *t)
{
	return t->committed ? STORE_READ_ONLY : t->broken ? STORE_UNAVAILABLE : STORE_OK;
}

/* What failed behind the first of several changes cannot be taken back. */
static enum store_result end_change(struct store_txn *t, enum wombat_status status)
{
	store_note_change(&t->lsm.base);
	t->broken |= status != WOMBAT_OK;
	return errmap_store_from_wombat(status);
}

static enum store_result txn_commit(struct store *s, const struct store_change *changes, size_t count, bool durable,
				    uint64_t *out_version)
{
	struct store_txn *t = txn_of(s);
	enum store_result r = check_open(t);
	(void)durable;
	for (size_t i = 0; i < count && r == STORE_OK; i++)
		r = store_lsm_check_guard(s, &changes[i]);
	if (r != STORE_OK)
		return r;
	if (out_version)
		*out_version = 0;
	store_note_change(s);
	return end_change(t, apply(t, changes, count));
}

static enum wombat_status put_gathered(struct gathered *g, size_t from_size, struct store_bytes to)
{
	enum wombat_status status = WOMBAT_OK;
	for (size_t i = 0; i < g->count && status == WOMBAT_OK; i++) {
		const struct record *r = &g->records[i];
		const struct wombat_put_info info = { .time_ns = r->time_ns, .expiry_ns = r->expiry_ns, .attr = slice(r->attr) };
		size_t rest = r->key.size - from_size;
		uint8_t *key = malloc(to.size + rest + 1);
		if (!key)
			return WOMBAT_NO_MEMORY;
		if (to.size)
			memcpy(key, to.data, to.size);
		memcpy(key + to.size, r->key.data + from_size, rest);
		status = put(g->t, g->space, (struct store_bytes){ key, to.size + rest }, r->value, &info);
		free(key);
	}
	return status;
}

static enum wombat_status move(struct store_txn *t, enum store_space space, struct store_bytes from, struct store_bytes to, bool exchange)
{
	struct gathered there = { .t = t, .space = space, .with_values = true };
	struct gathered here = { .t = t, .space = space, .with_values = exchange };
	enum wombat_status status = gather(&there, from);
	if (status == WOMBAT_OK)
		status = gather(&here, to);
	if (status == WOMBAT_OK)
		status = delete_gathered(&here);
	if (status == WOMBAT_OK)
		status = delete_gathered(&there);
	if (status == WOMBAT_OK)
		status = put_gathered(&there, from.size, to);
	if (status == WOMBAT_OK && exchange)
		status = put_gathered(&here, to.size, from);
	gathered_done(&there);
	gathered_done(&here);
	return status;
}

static enum store_result txn_move_prefix(struct store *s, struct store_bytes from, struct store_bytes to, bool exchange,
					 const struct store_change *changes, size_t count)
{
	struct store_txn *t = txn_of(s);
	enum store_result r = check_open(t);
	if (r != STORE_OK)
		return r;
	store_note_change(s);
	enum wombat_status status = move(t, STORE_USER, from, to, exchange);
	if (status == WOMBAT_OK)
		status = move(t, STORE_DIRS, from, to, exchange);
	if (status == WOMBAT_OK)
		status = apply(t, changes, count);
	return end_change(t, status);
}

/* ---- Commit -------------------------------------------------------------------------------- */

static void tell(struct store_txn *t, uint64_t version)
{
	sort_changed(t);
	struct store_change *changes = calloc(t->changed_count + 1, sizeof *changes);
	struct store_told told = { .changes = changes, .version = version };
	for (; changes && told.count < t->changed_count; told.count++) {
		const struct changed_key *k = &t->changed[told.count];
		struct store_entry e;
		bool there = txn_get(&t->lsm.base, k->space, k->key, true, true, &e) == STORE_OK;
		changes[told.count] = (struct store_change){ .op = there ? STORE_PUT : STORE_DELETE, .space = k->space, .key = k->key };
		if (there)
			t->calls.entry_release(&t->lsm.base, &e);
	}
	store_lsm_tell(t->main, &told);
	free(changes);
}

enum store_result store_txn_commit(struct store *s)
{
	struct store_txn *t = txn_of(s);
	uint64_t version;
	enum store_result r = check_open(t);
	if (r != STORE_OK)
		return r;
	store_note_change(t->main);
	r = errmap_store_from_wombat(wombat_txn_try(t->txn, 0, &version));
	store_note_change(t->main);
	if (r != STORE_OK)
		return r;
	t->committed = true;
	if (t->changed_count)
		tell(t, version);
	return STORE_OK;
}

/* ---- Life ---------------------------------------------------------------------------------- */

/* Nothing of it lasts before the commit. */
static enum store_result txn_sync(struct store *s)
{
	(void)s;
	return STORE_OK;
}

static uint64_t txn_max_value_size(struct store *s)
{
	struct store *main = txn_of(s)->main;
	uint64_t most = main->calls->max_value_size(main);
	return most < VALUE_MAX ? most : VALUE_MAX;
}

static void txn_close(struct store *s, bool clean)
{
	struct store_txn *t = txn_of(s);
	(void)clean;
	wombat_txn_abandon(t->txn);
	for (size_t i = 0; i < t->changed_count; i++)
		free((void *)(uintptr_t)t->changed[i].key.data);
	free(t->changed);
	free(t);
}

enum store_result store_txn_new(struct store *main, struct store **out)
{
	struct store_txn *t = calloc(1, sizeof *t);
	if (!t)
		return STORE_NO_MEMORY;
	t->lsm.db = ((struct store_lsm *)(void *)main)->db;
	enum wombat_status status = wombat_txn_begin(t->lsm.db, 0, &t->txn);
	if (status != WOMBAT_OK) {
		free(t);
		return errmap_store_from_wombat(status);
	}
	t->main = main;
	t->calls = *main->calls;
	t->calls.close = txn_close;
	t->calls.get = txn_get;
	t->calls.prefix_exists = txn_prefix_exists;
	t->calls.list_open = txn_list_open;
	t->calls.scan = txn_scan;
	t->calls.commit = txn_commit;
	t->calls.move_prefix = txn_move_prefix;
	t->calls.move_begin = NULL;
	t->calls.hold = txn_hold;
	t->calls.edit_open = txn_edit_open;
	t->calls.edit_close = txn_edit_close;
	t->calls.edit_read = txn_edit_read;
	t->calls.edit_write = txn_edit_write;
	t->calls.edit_copy = txn_edit_copy;
	t->calls.edit_resize = txn_edit_resize;
	t->calls.edit_punch = txn_edit_punch;
	t->calls.edit_next = txn_edit_next;
	t->calls.sync = txn_sync;
	t->calls.max_value_size = txn_max_value_size;
	t->lsm.base.calls = &t->calls;
	*out = &t->lsm.base;
	return STORE_OK;
}
