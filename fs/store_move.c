/*
 * Moving all keys below one prefix to below another, as one change.
 *
 * A few are put anew in a batch, which holds others up for as long as it takes. Many are written beside what goes on (struct
 * store_move): from a snapshot into tables, by an ingestion, while the keys that change meanwhile are noted, as the store's own
 * commits are all that changes the database. The end is a batch in the ingestion's commit: both prefixes' new state follows from
 * the tables and from the noted keys, which are looked at once more. Values that are not at hand, the large ones, are left to that
 * batch too: it moves them without reading them.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/store_lsm_impl.h"

enum { NOTED_MAX = 1 << 20 }; /* keys: beyond it is no better than the plain way */

/* ---- In a batch ---------------------------------------------------------------------------- */

/* Where a move gets its records, and what it puts them into. The values that it puts or moves without reading them stay open until
 * the batch was written. */
struct mover {
	struct wombat *db;
	struct wombat_batch *batch;
	bool exchange;
	enum store_space space;
	struct store_bytes from, to;
	struct wombat_value **values;
	size_t value_count, value_capacity;
	enum wombat_status status;
};

static enum wombat_status move_large(struct mover *m, struct wombat_slice from, struct wombat_slice to,
				     const struct wombat_put_info *info)
{
	if (m->value_count == m->value_capacity) {
		size_t capacity = m->value_capacity ? 2 * m->value_capacity : 16;
		struct wombat_value **values = realloc(m->values, capacity * sizeof *values);
		if (!values)
			return WOMBAT_NO_MEMORY;
		m->values = values;
		m->value_capacity = capacity;
	}
	struct wombat_value *value;
	enum wombat_status status = wombat_value_open(m->db, NULL, m->space, from, &value);
	if (status != WOMBAT_OK)
		return status;
	m->values[m->value_count++] = value;
	/* What changes places would be deleted by the other's move. */
	if (m->exchange)
		return wombat_batch_put_value(m->batch, m->space, to, value, info);
	return wombat_batch_move_value(m->batch, m->space, from, to, value, info);
}

static void mover_done(struct mover *m)
{
	for (size_t i = 0; i < m->value_count; i++)
		wombat_value_close(m->values[i]);
	free(m->values);
}

/* The key below the other prefix, from malloc; NULL data: no memory. */
static struct wombat_slice moved_key(struct store_bytes from, struct store_bytes to, struct store_bytes key)
{
	size_t rest = key.size - from.size;
	uint8_t *moved = malloc(to.size + rest + 1);
	if (!moved)
		return WOMBAT_SLICE(NULL, 0);
	if (to.size)
		memcpy(moved, to.data, to.size);
	memcpy(moved + to.size, key.data + from.size, rest);
	return WOMBAT_SLICE(moved, to.size + rest);
}

static bool is_at_hand(const struct store_entry *e)
{
	return e->value.data || !e->value_size;
}

static bool move_one(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct mover *m = arg;
	struct wombat_put_info info = { .time_ns = e->time_ns, .expiry_ns = e->expiry_ns, .attr = slice(e->attr) };
	struct wombat_slice to = moved_key(m->from, m->to, key);
	if (!to.data)
		m->status = WOMBAT_NO_MEMORY;
	else if (is_at_hand(e))
		m->status = wombat_batch_put(m->batch, m->space, to, slice(e->value), &info);
	else
		m->status = move_large(m, slice(key), to, &info);
	free((void *)(uintptr_t)to.data);
	return m->status == WOMBAT_OK;
}

static enum wombat_status add_move(struct mover *m, enum store_space space, struct store_bytes from, struct store_bytes to)
{
	m->space = space;
	m->from = from;
	m->to = to;
	enum wombat_status status = store_lsm_scan_prefix(m->db, (struct wombat_read_options){ .flags = WOMBAT_READ_AT_HAND }, space,
							  from, move_one, m);
	return status == WOMBAT_OK ? m->status : status;
}

static const enum store_space spaces[] = { STORE_USER, STORE_DIRS };

/* Both prefixes are emptied, then filled anew, in one batch: it costs the subtree's size, and is as atomic as any. */
enum store_result store_lsm_move_prefix(struct store *s, struct store_bytes from, struct store_bytes to, bool exchange,
					const struct store_change *changes, size_t count)
{
	struct store_lsm *l = (struct store_lsm *)s;
	if (l->snapshot)
		return STORE_READ_ONLY;
	struct wombat_batch *b = wombat_batch_new();
	if (!b)
		return STORE_NO_MEMORY;
	enum wombat_status status = WOMBAT_OK;
	for (size_t i = 0; i < 2 && status == WOMBAT_OK; i++) {
		status = store_lsm_add_delete_prefix(b, spaces[i], to);
		if (status == WOMBAT_OK)
			status = store_lsm_add_delete_prefix(b, spaces[i], from);
	}
	struct mover m = { .db = l->db, .batch = b, .exchange = exchange };
	for (size_t i = 0; i < 2 && status == WOMBAT_OK; i++) {
		status = add_move(&m, spaces[i], from, to);
		if (status == WOMBAT_OK && exchange)
			status = add_move(&m, spaces[i], to, from);
	}
	for (size_t i = 0; i < count && status == WOMBAT_OK; i++)
		status = store_lsm_add_change(b, &changes[i]);
	struct store_told told = { .changes = changes, .count = count, .from = &from, .to = &to, .exchange = exchange };
	store_note_change(s);
	if (status == WOMBAT_OK)
		status = wombat_write(l->db, b, 0, &told.version);
	store_note_change(s);
	mover_done(&m);
	wombat_batch_free(b);
	if (status == WOMBAT_OK)
		store_lsm_tell(s, &told);
	return errmap_store_from_wombat(status);
}

/* ---- Beside what goes on ------------------------------------------------------------------- */

struct noted {
	enum store_space space;
	struct store_bytes key; /* from malloc */
};

struct noted_list {
	struct noted *keys;
	size_t count, capacity;
};

struct store_move {
	struct store_lsm *store;
	struct store_move *next;    /* of the store */
	struct store_bytes from, to; /* from malloc */
	struct wombat_snapshot *snapshot;
	struct wombat_ingest *ingest;
	struct noted_list changed;  /* since the snapshot; guarded by what guards the store's commits */
	bool spoiled;               /* likewise: more has happened than can be followed */
	struct noted_list large;    /* not at hand when the copier came to them; its own */
	enum wombat_status status;  /* the copier's */
};

static bool note_key(struct noted_list *l, enum store_space space, struct store_bytes key)
{
	if (l->count == NOTED_MAX)
		return false;
	if (l->count == l->capacity) {
		size_t capacity = 2 * l->capacity + 16;
		struct noted *keys = realloc(l->keys, capacity * sizeof *keys);
		if (!keys)
			return false;
		l->keys = keys;
		l->capacity = capacity;
	}
	uint8_t *copy = malloc(key.size + 1);
	if (!copy)
		return false;
	if (key.size)
		memcpy(copy, key.data, key.size);
	l->keys[l->count++] = (struct noted){ space, { copy, key.size } };
	return true;
}

static void noted_done(struct noted_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free((void *)(uintptr_t)l->keys[i].key.data);
	free(l->keys);
	*l = (struct noted_list){ 0 };
}

static bool starts_with(struct store_bytes key, struct store_bytes prefix)
{
	return key.size >= prefix.size && (prefix.size == 0 || memcmp(key.data, prefix.data, prefix.size) == 0);
}

static bool overlap(struct store_bytes a, struct store_bytes b)
{
	return starts_with(a, b) || starts_with(b, a);
}

static void note_one(struct store_move *m, enum store_space space, struct store_bytes key)
{
	if (starts_with(key, m->to))
		m->spoiled = true;
	else if (starts_with(key, m->from) && !note_key(&m->changed, space, key))
		m->spoiled = true;
}

static void note_change(struct store_move *m, const struct store_change *c)
{
	if (c->space != STORE_USER && c->space != STORE_DIRS)
		return;
	if (c->op == STORE_DELETE_PREFIX) {
		m->spoiled |= overlap(c->key, m->from) || overlap(c->key, m->to);
		return;
	}
	note_one(m, c->space, c->key);
	if (c->moved_from.size)
		note_one(m, c->space, c->moved_from);
	for (size_t i = 0; i < c->also_count; i++)
		note_one(m, c->space, c->also[i]);
}

void store_lsm_moves_note(struct store_lsm *l, const struct store_told *told)
{
	for (struct store_move *m = l->moves; m; m = m->next) {
		if (told->from)
			m->spoiled |= overlap(*told->from, m->from) || overlap(*told->from, m->to) || overlap(*told->to, m->from) ||
				      overlap(*told->to, m->to);
		else if (!told->count)
			m->spoiled = true; /* a commit of which nobody could be told the changes */
		for (size_t i = 0; i < told->count; i++)
			note_change(m, &told->changes[i]);
	}
}

static bool copy_bytes(struct store_bytes from, struct store_bytes *out)
{
	uint8_t *copy = malloc(from.size + 1);
	if (!copy)
		return false;
	if (from.size)
		memcpy(copy, from.data, from.size);
	*out = (struct store_bytes){ copy, from.size };
	return true;
}

enum store_result store_lsm_move_begin(struct store *s, struct store_bytes from, struct store_bytes to, struct store_move **out)
{
	struct store_lsm *l = (struct store_lsm *)s;
	if (l->snapshot)
		return STORE_READ_ONLY;
	struct store_move *m = calloc(1, sizeof *m);
	if (!m)
		return STORE_NO_MEMORY;
	m->store = l;
	m->next = l->moves;
	l->moves = m;
	enum wombat_status status = copy_bytes(from, &m->from) && copy_bytes(to, &m->to) ? WOMBAT_OK : WOMBAT_NO_MEMORY;
	if (status == WOMBAT_OK && !(m->snapshot = wombat_snapshot_new(l->db)))
		status = WOMBAT_NO_MEMORY;
	if (status == WOMBAT_OK)
		status = wombat_ingest_new(l->db, &m->ingest);
	if (status != WOMBAT_OK) {
		store_lsm_move_end(m);
		return errmap_store_from_wombat(status);
	}
	*out = m;
	return STORE_OK;
}

void store_lsm_move_end(struct store_move *m)
{
	if (!m)
		return;
	struct store_move **at = &m->store->moves;
	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	wombat_ingest_free(m->ingest);
	wombat_snapshot_release(m->store->db, m->snapshot);
	noted_done(&m->changed);
	noted_done(&m->large);
	free((void *)(uintptr_t)m->from.data);
	free((void *)(uintptr_t)m->to.data);
	free(m);
}

struct copier {
	struct store_move *move;
	enum store_space space;
};

static bool copy_one(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct copier *c = arg;
	struct store_move *m = c->move;
	if (!is_at_hand(e)) {
		m->status = note_key(&m->large, c->space, key) ? WOMBAT_OK : WOMBAT_NO_MEMORY;
		return m->status == WOMBAT_OK;
	}
	struct wombat_put_info info = { .time_ns = e->time_ns, .expiry_ns = e->expiry_ns, .attr = slice(e->attr) };
	struct wombat_slice to = moved_key(m->from, m->to, key);
	m->status = to.data ? wombat_ingest_put(m->ingest, c->space, to, slice(e->value), &info) : WOMBAT_NO_MEMORY;
	free((void *)(uintptr_t)to.data);
	return m->status == WOMBAT_OK;
}

enum store_result store_lsm_move_copy(struct store_move *m)
{
	const struct wombat_read_options read = { m->snapshot, WOMBAT_READ_AT_HAND };
	for (size_t i = 0; i < 2 && m->status == WOMBAT_OK; i++) {
		struct copier c = { m, spaces[i] };
		enum wombat_status status = store_lsm_scan_prefix(m->store->db, read, spaces[i], m->from, copy_one, &c);
		if (m->status == WOMBAT_OK)
			m->status = status;
	}
	if (m->status == WOMBAT_OK)
		m->status = wombat_ingest_prepare(m->ingest);
	return errmap_store_from_wombat(m->status);
}

static int compare_noted(const void *a, const void *b)
{
	const struct noted *x = a, *y = b;
	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	size_t least = x->key.size < y->key.size ? x->key.size : y->key.size;
	int order = least ? memcmp(x->key.data, y->key.data, least) : 0;
	return order ? order : (x->key.size > y->key.size) - (x->key.size < y->key.size);
}

/* The key as it is now, in the new place. */
static enum wombat_status move_noted(struct mover *m, const struct noted *n)
{
	const struct wombat_read_options read = { .flags = WOMBAT_READ_AT_HAND };
	struct wombat_record r;
	m->space = n->space;
	enum wombat_status status = wombat_get(m->db, &read, n->space, slice(n->key), &r);
	if (status == WOMBAT_NOT_FOUND) {
		struct wombat_slice to = moved_key(m->from, m->to, n->key);
		status = to.data ? wombat_batch_delete(m->batch, n->space, to) : WOMBAT_NO_MEMORY;
		free((void *)(uintptr_t)to.data);
		return status;
	}
	if (status != WOMBAT_OK)
		return status;
	struct store_entry e;
	store_lsm_entry(&r, &e);
	move_one(m, n->key, &e);
	wombat_record_release(&r);
	return m->status;
}

static enum wombat_status move_all_noted(struct mover *m, struct noted_list *l)
{
	enum wombat_status status = WOMBAT_OK;
	if (l->count)
		qsort(l->keys, l->count, sizeof *l->keys, compare_noted);
	for (size_t i = 0; i < l->count && status == WOMBAT_OK; i++)
		if (i == 0 || compare_noted(&l->keys[i - 1], &l->keys[i]) != 0)
			status = move_noted(m, &l->keys[i]);
	return status;
}

/* One list: a large value that has changed is in both. */
static bool join_noted(struct store_move *m)
{
	for (size_t i = 0; i < m->large.count; i++)
		if (!note_key(&m->changed, m->large.keys[i].space, m->large.keys[i].key))
			return false;
	return true;
}

enum store_result store_lsm_move_commit(struct store_move *move, const struct store_change *changes, size_t count)
{
	struct store *s = &move->store->base;
	struct mover m = { .db = move->store->db, .batch = wombat_batch_new(), .from = move->from, .to = move->to };
	enum wombat_status status = move->status;
	if (status == WOMBAT_OK && (!m.batch || !join_noted(move)))
		status = WOMBAT_NO_MEMORY;
	if (move->spoiled)
		status = WOMBAT_CONFLICT;
	for (size_t i = 0; i < 2 && status == WOMBAT_OK; i++)
		status = store_lsm_add_delete_prefix(m.batch, spaces[i], move->from);
	if (status == WOMBAT_OK)
		status = move_all_noted(&m, &move->changed);
	for (size_t i = 0; i < count && status == WOMBAT_OK; i++)
		status = store_lsm_add_change(m.batch, &changes[i]);
	struct store_told told = { .changes = changes, .count = count, .from = &move->from, .to = &move->to };
	if (status == WOMBAT_OK) {
		store_note_change(s);
		status = wombat_ingest_commit_with(move->ingest, m.batch, &told.version);
		store_note_change(s);
	}
	mover_done(&m);
	wombat_batch_free(m.batch);
	if (status == WOMBAT_OK)
		store_lsm_tell(s, &told);
	return errmap_store_from_wombat(status);
}
