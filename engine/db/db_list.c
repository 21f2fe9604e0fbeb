/*
 * Children of a prefix: keys read as paths, one level at a time.
 *
 * The iterator runs one record ahead of what was returned, so that a value child knows what follows it. Keys
 * with bytes below '/' sort between `foo` and `foo/` (foo-x, foo.c): only when such a one follows is it unclear
 * whether `foo` is a prefix too, and then, and only then, it is asked for.
 */
#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"

/* Steps inside a subtree before it is left by a seek: small ones are passed over faster. */
enum { STEPS_BEFORE_SEEK = 3 };

struct wombat_list {
	struct wombat *db;
	struct wombat_txn *txn;               /* not NULL: with its changes */
	struct wombat_snapshot *own_snapshot; /* made for the probes to see the iterator's state */
	struct wombat_read_options read;
	unsigned keyspace;
	struct buf prefix;
	struct wombat_iter *ahead;
	bool started;
	enum wombat_status status;            /* of wombat_list_seek_after, for the next call to report */
	struct buf key, attr;                 /* of the child that was returned */
	struct wombat_record record;
	struct buf scratch;
};

/* The first key behind all that start with `prefix`; empty when there is none. */
static enum wombat_status prefix_end(struct wombat_slice prefix, struct buf *out)
{
	enum wombat_status s = buf_set(out, prefix);
	if (s != WOMBAT_OK)
		return s;
	while (out->size && out->data[out->size - 1] == 0xff)
		out->size--;
	if (out->size)
		out->data[out->size - 1]++;
	return WOMBAT_OK;
}

enum wombat_status wombat_list_new(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
				   struct wombat_slice prefix, struct wombat_list **out_list)
{
	return db_list_new(db, NULL, options, keyspace, prefix, out_list);
}

enum wombat_status db_list_new(struct wombat *db, struct wombat_txn *txn, const struct wombat_read_options *options,
			       unsigned keyspace, struct wombat_slice prefix, struct wombat_list **out_list)
{
	if (prefix.size && prefix.data[prefix.size - 1] != '/')
		return fail(WOMBAT_INVALID, "a listing's prefix must be empty or end in '/'");
	struct wombat_list *l = mem_zalloc(sizeof *l);
	if (!l)
		return fail_no_memory();
	l->db = db;
	l->txn = txn;
	l->keyspace = keyspace;
	if (options)
		l->read = *options;
	l->read.flags |= WOMBAT_READ_META;
	enum wombat_status s = buf_set(&l->prefix, prefix);
	if (s == WOMBAT_OK)
		s = prefix_end(prefix, &l->scratch);
	if (s == WOMBAT_OK && !txn && !l->read.snapshot) {
		l->own_snapshot = wombat_snapshot_new(db);
		l->read.snapshot = l->own_snapshot;
		s = l->own_snapshot ? WOMBAT_OK : WOMBAT_NO_MEMORY;
	}
	if (s == WOMBAT_OK) {
		struct wombat_iter_options bounds = { .read = l->read, .lower = prefix, .upper = buf_slice(&l->scratch) };
		s = txn ? wombat_txn_iter_new(txn, &bounds, keyspace, &l->ahead) : wombat_iter_new(db, &bounds, keyspace, &l->ahead);
	}
	if (s != WOMBAT_OK) {
		wombat_list_free(l);
		return s;
	}
	*out_list = l;
	return WOMBAT_OK;
}

void wombat_list_free(struct wombat_list *l)
{
	if (!l)
		return;
	wombat_iter_free(l->ahead);
	wombat_snapshot_release(l->db, l->own_snapshot);
	buf_done(&l->prefix);
	buf_done(&l->key);
	buf_done(&l->attr);
	buf_done(&l->scratch);
	mem_free(l);
}

/* Moves to the first key at or behind prefix + name + byte. */
static enum wombat_status seek_behind(struct wombat_list *l, struct wombat_slice name, uint8_t byte)
{
	enum wombat_status s = buf_set(&l->scratch, buf_slice(&l->prefix));
	if (s == WOMBAT_OK)
		s = buf_append(&l->scratch, name.data, name.size);
	if (s == WOMBAT_OK)
		s = buf_append_byte(&l->scratch, byte);
	if (s == WOMBAT_OK) {
		wombat_iter_seek(l->ahead, buf_slice(&l->scratch));
		s = wombat_iter_status(l->ahead);
	}
	return s;
}

void wombat_list_seek_after(struct wombat_list *l, struct wombat_slice name, bool as_prefix)
{
	l->started = true;
	l->status = seek_behind(l, name, as_prefix ? '/' + 1 : 0);
}

static enum wombat_status hold_record(struct wombat_list *l, const struct wombat_record *r)
{
	enum wombat_status s = buf_set(&l->key, r->key);
	if (s == WOMBAT_OK)
		s = buf_set(&l->attr, r->attr);
	l->record = *r;
	l->record.key = buf_slice(&l->key);
	l->record.attr = buf_slice(&l->attr);
	return s;
}

/* Whether keys lie below the held value child, with the iterator on what follows it. */
static enum wombat_status value_is_prefix(struct wombat_list *l, bool *out)
{
	struct wombat_slice key = buf_slice(&l->key);
	*out = false;
	if (!wombat_iter_valid(l->ahead))
		return wombat_iter_status(l->ahead);
	struct wombat_slice next = wombat_iter_record(l->ahead)->key;
	if (!slice_starts_with(next, key) || next.data[key.size] > '/')
		return WOMBAT_OK;
	if (next.data[key.size] == '/') {
		*out = true;
		return WOMBAT_OK;
	}
	enum wombat_status s = buf_set(&l->scratch, key);
	if (s == WOMBAT_OK)
		s = buf_append_byte(&l->scratch, '/');
	if (s != WOMBAT_OK)
		return s;
	if (l->txn) /* changes that came since the iterator was made are seen as well: an answer that is newer, not wrong */
		return wombat_txn_prefix_exists(l->txn, l->keyspace, buf_slice(&l->scratch), l->read.flags, out);
	return wombat_prefix_exists(l->db, &l->read, l->keyspace, buf_slice(&l->scratch), out);
}

/* Leaves the subtree of `name`, whose first record the iterator stands on. */
static enum wombat_status leave_subtree(struct wombat_list *l, struct wombat_slice name)
{
	for (int i = 0; i < STEPS_BEFORE_SEEK; i++) {
		if (!wombat_iter_next(l->ahead))
			return wombat_iter_status(l->ahead);
		struct wombat_slice key = wombat_iter_record(l->ahead)->key;
		size_t at = l->prefix.size;
		if (key.size <= at + name.size || memcmp(key.data + at, name.data, name.size) != 0 ||
		    key.data[at + name.size] != '/')
			return WOMBAT_OK;
	}
	return seek_behind(l, name, '/' + 1);
}

enum wombat_status wombat_list_next(struct wombat_list *l, struct wombat_child *out)
{
	if (l->status != WOMBAT_OK)
		return l->status;
	if (!l->started) {
		l->started = true;
		wombat_iter_first(l->ahead);
	}
	if (!wombat_iter_valid(l->ahead)) {
		enum wombat_status s = wombat_iter_status(l->ahead);
		return s == WOMBAT_OK ? WOMBAT_NOT_FOUND : s;
	}
	enum wombat_status s = hold_record(l, wombat_iter_record(l->ahead));
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice rest = slice_make(l->key.data + l->prefix.size, l->key.size - l->prefix.size);
	const uint8_t *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
	struct wombat_child child = { .name = rest, .record = &l->record };
	if (slash) {
		child.name.size = (size_t)(slash - rest.data);
		child.is_prefix = true;
		s = leave_subtree(l, child.name);
	} else {
		child.is_value = true;
		wombat_iter_next(l->ahead);
		s = wombat_iter_status(l->ahead);
		if (s == WOMBAT_OK)
			s = value_is_prefix(l, &child.is_prefix);
	}
	if (s == WOMBAT_OK)
		*out = child;
	return s;
}
