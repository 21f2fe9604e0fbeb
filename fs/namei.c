/*
 * Names. What a name is depends on three questions to the store, in this order: is there a record of that key, is
 * there an explicit directory, does any key lie below. A name that is both a key and a prefix is a directory; its
 * value is `%value` inside.
 */
#include "fs/namei.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control.h"
#include "fs/errmap.h"
#include "fs/file.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif

enum { NAME_BYTES_MAX = 255 };

/* ---- Batches ------------------------------------------------------------------------------- */

void namei_batch_done(struct namei_batch *b)
{
	for (size_t i = 0; i < b->owned_count; i++)
		free(b->owned[i]);
	free(b->owned);
	free(b->changes);
	*b = (struct namei_batch){ 0 };
}

/* The batch frees `p`, also when this fails. */
static int own(struct namei_batch *b, void *p)
{
	if (b->owned_count == b->owned_capacity) {
		size_t capacity = 2 * b->owned_capacity + 8;
		void **moved = realloc(b->owned, capacity * sizeof *moved);
		if (!moved) {
			free(p);
			return ENOMEM;
		}
		b->owned = moved;
		b->owned_capacity = capacity;
	}
	b->owned[b->owned_count++] = p;
	return 0;
}

static int add(struct namei_batch *b, struct store_change change)
{
	if (b->count == b->capacity) {
		size_t capacity = 2 * b->capacity + 8;
		struct store_change *moved = realloc(b->changes, capacity * sizeof *moved);
		if (!moved)
			return ENOMEM;
		b->changes = moved;
		b->capacity = capacity;
	}
	b->changes[b->count++] = change;
	return 0;
}

/* A change of the key, which the batch takes over. */
static int add_keyed(struct namei_batch *b, struct store_change change, struct key_buf *key)
{
	change.key = key_bytes(key);
	int error = own(b, key->data);
	*key = (struct key_buf){ 0 };
	return error ? error : add(b, change);
}

static int add_attr(struct mount *m, struct namei_batch *b, const struct node *n, struct store_change *change)
{
	uint8_t *blob;
	size_t size;
	int error = attr_encode(&m->options, node_is_dir(n), &n->attr, &blob, &size);
	if (error)
		return error;
	change->attr = (struct store_bytes){ blob, size };
	change->time_ns = attr_record_time(&n->attr);
	return blob ? own(b, blob) : 0;
}

int namei_put_file(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content)
{
	struct key_buf key = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_USER, .value = content->value,
				       .held = content->held, .edit = content->edit };
	int error = add_attr(m, b, n, &change);
	if (!error)
		error = node_file_key(n, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (error) {
		key_done(&key);
		return error;
	}
	return add_keyed(b, change, &key);
}

int namei_put_dir(struct mount *m, struct namei_batch *b, struct node *n)
{
	struct key_buf key = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_DIRS };
	int error = add_attr(m, b, n, &change);
	if (!error)
		error = node_dir_key(n, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (error) {
		key_done(&key);
		return error;
	}
	return add_keyed(b, change, &key);
}

static int put_ino(struct namei_batch *b, uint64_t ino, bool taken)
{
	struct key_buf key = { 0 };
	uint8_t bytes[8];
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(ino >> (56 - 8 * i));
	int error = key_append(&key, bytes, sizeof bytes);
	if (error)
		return error;
	return add_keyed(b, (struct store_change){ .op = taken ? STORE_PUT : STORE_DELETE, .space = STORE_INODES }, &key);
}

int namei_record_ino(struct mount *m, struct namei_batch *b, uint64_t ino)
{
	m->nodes->inodes_recorded = true;
	return put_ino(b, ino, true);
}

static int delete_file(struct namei_batch *b, const struct node *n)
{
	struct key_buf key = { 0 };
	int error = node_file_key(n, &key);
	if (error) {
		key_done(&key);
		return error;
	}
	return add_keyed(b, (struct store_change){ .op = STORE_DELETE, .space = STORE_USER }, &key);
}

static int delete_dir(struct namei_batch *b, const struct node *n)
{
	struct key_buf key = { 0 };
	int error = node_dir_key(n, &key);
	if (error) {
		key_done(&key);
		return error;
	}
	return add_keyed(b, (struct store_change){ .op = STORE_DELETE, .space = STORE_DIRS }, &key);
}

int namei_commit(struct mount *m, struct namei_batch *b)
{
	enum store_result r = m->store->calls->commit(m->store, b->changes, b->count, false, NULL);
	if (r != STORE_OK)
		control_set_error(m, "%s", m->store->calls->last_error(m->store));
	return errmap_from_store(r);
}

/* ---- Lookup -------------------------------------------------------------------------------- */

/* A name taken apart. */
struct place {
	struct node *dir;
	const char *name;
	size_t len;
	enum keypath_kind kind;
	uint8_t part[KEYPATH_NAME_MAX];
	size_t part_len;
};

static int place_of(struct mount *m, struct node *dir, const char *name, struct place *out)
{
	struct keypath_context context;
	struct key_buf pending = { 0 };
	*out = (struct place){ .dir = dir, .name = name, .len = strlen(name) };
	if (dir->unlinked)
		return ENOENT; /* It leads nowhere, and its key would read as the root's. */
	if (out->len > NAME_BYTES_MAX)
		return ENAMETOOLONG;
	int error = node_context(m, dir, &context, &pending);
	if (!error)
		out->kind = keypath_decode(&context, name, out->len, out->part, &out->part_len);
	key_done(&pending);
	if (!error && out->kind == KEYPATH_VALUE && (!dir->parent || dir->kind == KEYPATH_CHUNK))
		out->kind = KEYPATH_BAD;
	return error;
}

/* Key of the place as a file, or as the prefix of a directory. */
static int place_key(const struct place *p, bool directory, struct key_buf *out)
{
	int error = node_dir_key(p->dir, out);
	if (!error && p->kind == KEYPATH_VALUE) {
		out->size--;
		return 0;
	}
	if (!error)
		error = key_append(out, p->part, p->part_len);
	if (!error && directory && p->kind == KEYPATH_NAME)
		error = key_append(out, "/", 1);
	return error;
}

static struct node *make_node(struct mount *m, const struct place *p, bool directory)
{
	return node_new(m, p->dir, p->name, p->len, p->kind, p->part, p->part_len, directory);
}

static int take_attr(struct mount *m, struct node *n, bool directory, const struct store_entry *e)
{
	int error = attr_decode(&m->options, directory, e->time_ns, e->attr.data, e->attr.size, &n->attr);
	if (error)
		return error;
	n->attr.size = e->value_size;
	n->attr.holes = e->value_size - e->stored_size;
	if (n->attr.ino) {
		n->ino = n->attr.ino;
		n->ino_recorded = true;
	}
	return 0;
}

int namei_load_dir(struct mount *m, struct node *n, bool *out_found)
{
	struct key_buf key = { 0 };
	struct store_entry e;
	int error = node_dir_key(n, &key);
	enum store_result r = error ? STORE_NO_MEMORY :
			      m->store->calls->get(m->store, STORE_DIRS, key_bytes(&key), true, true, &e);
	key_done(&key);
	*out_found = r == STORE_OK;
	if (r == STORE_NOT_FOUND)
		return 0;
	if (r != STORE_OK)
		return errmap_from_store(r);
	error = take_attr(m, n, true, &e);
	m->store->calls->entry_release(m->store, &e);
	n->explicit_dir = !error;
	return error;
}

/* Whether the place is a directory; *out gets its node then, else NULL. */
static int lookup_dir(struct mount *m, const struct place *p, const struct key_buf *prefix, struct node **out)
{
	struct store *s = m->store;
	struct store_entry e;
	enum store_result r = STORE_NOT_FOUND;
	bool exists = false;
	*out = NULL;
	if (p->kind == KEYPATH_NAME)
		r = s->calls->get(s, STORE_DIRS, key_bytes(prefix), true, true, &e);
	bool is_explicit = r == STORE_OK;
	if (r == STORE_NOT_FOUND)
		r = s->calls->prefix_exists(s, STORE_USER, key_bytes(prefix), true, &exists);
	if (r == STORE_OK && !is_explicit && !exists)
		r = s->calls->prefix_exists(s, STORE_DIRS, key_bytes(prefix), true, &exists);
	if (r != STORE_OK)
		return errmap_from_store(r);
	if (!is_explicit && !exists)
		return 0;
	struct node *n = make_node(m, p, true);
	int error = n ? 0 : ENOMEM;
	if (n && is_explicit)
		error = take_attr(m, n, true, &e);
	else if (n)
		attr_default(&m->options, true, (uint64_t)m->nodes->root.attr.mtime_ns, &n->attr);
	if (is_explicit)
		s->calls->entry_release(s, &e);
	if (error) {
		if (n)
			node_release(m, n);
		return error;
	}
	n->explicit_dir = is_explicit;
	*out = n;
	return 0;
}

static int lookup_file(struct mount *m, const struct place *p, struct store_bytes key, struct node **out)
{
	struct store_entry e;
	enum store_result r = m->store->calls->get(m->store, STORE_USER, key, true, true, &e);
	if (r != STORE_OK)
		return errmap_from_store(r);
	struct node *n = make_node(m, p, false);
	int error = n ? take_attr(m, n, false, &e) : ENOMEM;
	m->store->calls->entry_release(m->store, &e);
	if (error) {
		if (n)
			node_release(m, n);
		return error;
	}
	*out = n;
	return 0;
}

int namei_lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	struct place p;
	struct key_buf key = { 0 };
	size_t len = strlen(name);
	struct node *n = node_find(m, dir, name, len);
	if (n) {
		*out = n;
		return 0;
	}
	int error = place_of(m, dir, name, &p);
	if (!error && p.kind == KEYPATH_BAD)
		error = ENOENT;
	if (!error)
		error = place_key(&p, true, &key);
	if (!error && p.kind != KEYPATH_VALUE)
		error = lookup_dir(m, &p, &key, out);
	if (!error && (p.kind == KEYPATH_VALUE || !*out)) {
		if (p.kind == KEYPATH_NAME)
			key.size--; /* Without its '/' the prefix is the file's key. */
		error = p.kind == KEYPATH_CHUNK ? ENOENT : lookup_file(m, &p, key_bytes(&key), out);
	}
	key_done(&key);
	return error;
}

/* ---- Creation ------------------------------------------------------------------------------ */

/* Whether a file that is not where its number comes from has this one: it moved away, or is unlinked and open. */
static int is_ino_taken(struct mount *m, uint64_t ino, bool *out)
{
	uint8_t bytes[8];
	struct store_entry e;
	*out = node_is_orphan_ino(m, ino);
	if (*out || !m->nodes->inodes_recorded)
		return 0;
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(ino >> (56 - 8 * i));
	enum store_result r = m->store->calls->get(m->store, STORE_INODES, (struct store_bytes){ bytes, 8 }, true, true, &e);
	if (r != STORE_OK)
		return r == STORE_NOT_FOUND ? 0 : errmap_from_store(r);
	m->store->calls->entry_release(m->store, &e);
	*out = true;
	return 0;
}

/* A number for a new name: the default one, unless another file has it. */
static int choose_ino(struct mount *m, struct node *n)
{
	uint64_t ino = n->ino;
	for (unsigned tries = 0;; tries++) {
		bool taken;
		int error = is_ino_taken(m, ino, &taken);
		if (error)
			return error;
		if (!taken)
			break;
		/* Another one that follows from this, the time and the turn. */
		ino = node_default_ino(n, (const uint8_t *)&(uint64_t){ (uint64_t)attr_now_ns() + tries }, 8, false);
	}
	if (ino != n->ino)
		n->ino = n->attr.ino = ino;
	return 0;
}

/* A node for a name that must be free, with its attributes. */
static int new_name(struct mount *m, struct node *dir, const char *name, mode_t mode, struct caller who, struct node **out)
{
	struct node *there;
	struct place p;
	int error = namei_lookup(m, dir, name, &there);
	if (!error)
		return EEXIST;
	if (error != ENOENT)
		return error;
	error = place_of(m, dir, name, &p);
	if (!error && p.kind == KEYPATH_BAD)
		error = EINVAL;
	if (!error && p.kind == KEYPATH_CHUNK && !S_ISDIR(mode))
		error = EINVAL;
	if (!error && p.kind == KEYPATH_VALUE && S_ISDIR(mode))
		error = EINVAL;
	if (error)
		return error;
	struct node *n = make_node(m, &p, S_ISDIR(mode));
	if (!n)
		return ENOMEM;
	attr_default(&m->options, S_ISDIR(mode), (uint64_t)attr_now_ns(), &n->attr);
	n->attr.mode = mode;
	n->attr.uid = who.uid;
	n->attr.gid = dir->attr.mode & S_ISGID ? dir->attr.gid : who.gid;
	if ((dir->attr.mode & S_ISGID) && S_ISDIR(mode))
		n->attr.mode |= S_ISGID;
	error = choose_ino(m, n);
	if (error) {
		node_release(m, n);
		return error;
	}
	*out = n;
	return 0;
}

/* Whether the key of a new name is within the limit: to be known at creation, not at close. */
static int check_key(struct mount *m, struct node *n)
{
	struct key_buf key = { 0 };
	int error = node_is_dir(n) ? node_dir_key(n, &key) : node_file_key(n, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	key_done(&key);
	return error;
}

int namei_create(struct mount *m, struct node *dir, const char *name, mode_t mode, struct caller who, struct node **out)
{
	struct node *n;
	int error = new_name(m, dir, name, mode, who, &n);
	if (error)
		return error;
	error = check_key(m, n);
	if (error) {
		node_release(m, n);
		return error;
	}
	n->staged = true;
	node_mark_fresh(n);
	node_mark_data(m, n);
	node_touch_dir(m, dir);
	*out = n;
	return 0;
}

/* A change of an implicit directory makes it explicit, in the same step: or it would vanish with its last key. */
static int keep_dir(struct mount *m, struct namei_batch *b, struct node *dir)
{
	if (dir->explicit_dir || (dir->kind == KEYPATH_CHUNK && dir->parent))
		return 0;
	return namei_put_dir(m, b, dir);
}

static void dir_changed(struct mount *m, struct node *dir)
{
	if (dir->kind != KEYPATH_CHUNK || !dir->parent)
		dir->explicit_dir = true;
	node_touch_dir(m, dir);
}

int namei_make(struct mount *m, struct node *dir, const char *name, mode_t mode, dev_t rdev, const char *target,
	       struct caller who, struct node **out)
{
	struct node *n;
	struct namei_batch b = { 0 };
	int error = new_name(m, dir, name, mode, who, &n);
	if (error)
		return error;
	n->attr.rdev = rdev;
	struct store_bytes value = { (const uint8_t *)target, target ? strlen(target) : 0 };
	n->attr.size = value.size;
	if (!S_ISDIR(mode))
		error = namei_put_file(m, &b, n, &(struct store_change){ .value = value });
	else if (n->kind == KEYPATH_NAME)
		error = namei_put_dir(m, &b, n);
	/* A chunk's directory has no record: it is there for what will lie below it, while it is live. */
	else
		n->lookups++;
	if (!error && n->attr.ino)
		error = namei_record_ino(m, &b, n->attr.ino);
	if (!error)
		error = keep_dir(m, &b, dir);
	if (!error && b.count)
		error = namei_commit(m, &b);
	namei_batch_done(&b);
	if (error) {
		node_release(m, n);
		return error;
	}
	n->explicit_dir = S_ISDIR(mode) && n->kind == KEYPATH_NAME;
	n->ino_recorded = n->attr.ino != 0;
	dir_changed(m, dir);
	*out = n;
	return 0;
}

/* ---- Removal ------------------------------------------------------------------------------- */

/* An unlinked file that is open keeps what it holds. */
static int keep_content(struct mount *m, struct node *n)
{
	const uint8_t *data;
	size_t size;
	if (!n->opens || n->staged || n->fresh || !S_ISREG(n->attr.mode))
		return 0;
	return file_read(m, n, 0, 0, &data, &size); /* pins the value */
}

int namei_unlink(struct mount *m, struct node *dir, const char *name)
{
	struct node *n;
	struct namei_batch b = { 0 };
	int error = namei_lookup(m, dir, name, &n);
	if (error)
		return error;
	if (n->control)
		return EPERM;
	if (node_is_dir(n))
		return EISDIR;
	error = keep_content(m, n);
	if (!error && !n->fresh)
		error = delete_file(&b, n);
	if (!error && n->ino_recorded)
		error = put_ino(&b, n->attr.ino, false);
	if (!error && !n->fresh)
		error = keep_dir(m, &b, dir);
	if (!error && b.count)
		error = namei_commit(m, &b);
	bool stored = !n->fresh;
	namei_batch_done(&b);
	if (error) {
		node_release(m, n);
		return error;
	}
	dir->children++; /* Keeps it while its child goes. */
	node_unlink(m, n);
	n->attr.ctime_ns = attr_now_ns();
	node_release(m, n);
	dir->children--;
	if (stored)
		dir_changed(m, dir);
	else
		node_touch_dir(m, dir);
	return 0;
}

/* ENOTEMPTY when anything shows in the directory. */
static int check_empty(struct mount *m, const struct node *n)
{
	struct store *s = m->store;
	struct key_buf key = { 0 };
	struct store_list *list;
	struct store_child child;
	struct store_entry e;
	bool exists = false;
	if (n->fresh_list)
		return ENOTEMPTY;
	int error = node_dir_key(n, &key);
	enum store_result r = error ? STORE_NO_MEMORY : s->calls->prefix_exists(s, STORE_USER, key_bytes(&key), true, &exists);
	if (r == STORE_OK && !exists)
		r = s->calls->list_open(s, STORE_DIRS, key_bytes(&key), &list);
	if (r == STORE_OK && !exists) {
		/* The directory's own record shows as the child with the empty name. */
		do
			r = s->calls->list_next(list, &child);
		while (r == STORE_OK && child.is_value && child.name.size == 0);
		exists = r == STORE_OK;
		s->calls->list_close(list);
		r = r == STORE_NOT_FOUND ? STORE_OK : r;
	}
	if (r == STORE_OK && !exists && n->kind == KEYPATH_NAME && n->parent) {
		key.size--;
		r = s->calls->get(s, STORE_USER, key_bytes(&key), true, true, &e);
		exists = r == STORE_OK;
		if (exists)
			s->calls->entry_release(s, &e);
		r = r == STORE_NOT_FOUND ? STORE_OK : r;
	}
	key_done(&key);
	return r != STORE_OK ? errmap_from_store(r) : exists ? ENOTEMPTY : 0;
}

int namei_rmdir(struct mount *m, struct node *dir, const char *name)
{
	struct node *n;
	struct namei_batch b = { 0 };
	int error = namei_lookup(m, dir, name, &n);
	if (error)
		return error;
	if (n->control)
		return EPERM;
	error = node_is_dir(n) ? check_empty(m, n) : ENOTDIR;
	if (!error && n->kind == KEYPATH_NAME)
		error = delete_dir(&b, n);
	if (!error && n->ino_recorded)
		error = put_ino(&b, n->attr.ino, false);
	if (!error)
		error = keep_dir(m, &b, dir);
	if (!error && b.count)
		error = namei_commit(m, &b);
	namei_batch_done(&b);
	if (error) {
		node_release(m, n);
		return error;
	}
	if (n->kind == KEYPATH_CHUNK && n->lookups)
		n->lookups--; /* What namei_make counted. */
	dir->children++; /* Keeps it while its child goes. */
	node_unlink(m, n);
	node_release(m, n);
	dir->children--;
	dir_changed(m, dir);
	return 0;
}

/* ---- Renaming ------------------------------------------------------------------------------ */

struct renaming {
	struct node *node, *target;  /* target NULL: the new name is free */
	struct place place;          /* of the new name */
	struct namei_batch batch;
};

/* The number stays: it is stored when it no longer follows from the name. */
static int keep_ino(struct mount *m, struct namei_batch *b, struct node *n, const struct place *p)
{
	const uint8_t *part = p->kind == KEYPATH_VALUE ? (const uint8_t *)p->name : p->part;
	size_t len = p->kind == KEYPATH_VALUE ? p->len : p->part_len;
	bool follows = n->ino == node_default_ino(p->dir, part, len, node_is_dir(n));
	if (follows && n->ino_recorded) {
		n->attr.ino = 0;
		n->ino_recorded = false;
		return put_ino(b, n->ino, false);
	}
	if (follows)
		return 0;
	n->attr.ino = n->ino;
	if (n->ino_recorded)
		return 0;
	/* Of a fresh file at once too: until its first commit another could be made where the number comes from. */
	n->ino_recorded = true;
	return namei_record_ino(m, b, n->ino);
}

/* The file's record at the new place, with its content: staged or stored. */
static int put_moved_file(struct mount *m, struct namei_batch *b, struct node *n, const struct place *p, bool exchanged)
{
	struct key_buf key = { 0 }, from = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_USER };
	int error = file_content(m, n, &change);
	/* Of two that change places neither's key is free. */
	if (!error && change.held && !exchanged) {
		error = node_file_key(n, &from);
		change.moved_from = key_bytes(&from);
		if (!error)
			error = own(b, from.data);
		else
			key_done(&from);
	}
	if (!error)
		error = add_attr(m, b, n, &change);
	if (!error)
		error = place_key(p, false, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (error) {
		key_done(&key);
		return error;
	}
	return add_keyed(b, change, &key);
}

/* A directory's record at the new place, and the value of its own key, if it is a key too. */
static int put_moved_dir(struct mount *m, struct namei_batch *b, struct node *n, const struct place *p)
{
	struct store *s = m->store;
	struct key_buf from = { 0 }, to = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_DIRS };
	struct store_entry e;
	int error = add_attr(m, b, n, &change);
	if (!error)
		error = place_key(p, true, &to);
	if (!error)
		error = add_keyed(b, change, &to);
	if (!error)
		error = node_dir_key(n, &from);
	if (!error)
		from.size--;
	enum store_result r = error ? STORE_NOT_FOUND : s->calls->get(s, STORE_USER, key_bytes(&from), false, true, &e);
	if (r == STORE_OK) {
		uint8_t *copy = malloc(e.value_size + e.attr.size + 1);
		struct store_change value = { .op = STORE_PUT, .space = STORE_USER, .time_ns = e.time_ns,
					      .expiry_ns = e.expiry_ns };
		error = copy ? own(b, copy) : ENOMEM;
		if (!error) {
			if (e.value_size)
				memcpy(copy, e.value.data, e.value_size);
			if (e.attr.size)
				memcpy(copy + e.value_size, e.attr.data, e.attr.size);
			value.value = (struct store_bytes){ copy, e.value_size };
			value.attr = (struct store_bytes){ copy + e.value_size, e.attr.size };
			error = place_key(p, false, &to);
		}
		if (!error)
			error = add_keyed(b, (struct store_change){ .op = STORE_DELETE, .space = STORE_USER }, &from);
		if (!error)
			error = add_keyed(b, value, &to);
		s->calls->entry_release(s, &e);
	}
	key_done(&from);
	key_done(&to);
	return error;
}

static int move_dir(struct mount *m, struct renaming *r)
{
	struct key_buf from = { 0 }, to = { 0 };
	int error = put_moved_dir(m, &r->batch, r->node, &r->place);
	if (!error)
		error = node_dir_key(r->node, &from);
	if (!error)
		error = place_key(&r->place, true, &to);
	if (!error) {
		enum store_result result = m->store->calls->move_prefix(m->store, key_bytes(&from), key_bytes(&to), false,
									r->batch.changes, r->batch.count);
		error = errmap_from_store(result);
	}
	key_done(&from);
	key_done(&to);
	return error;
}

static int move_file(struct mount *m, struct renaming *r)
{
	struct node *n = r->node;
	/* A fresh file has no record to move. Over a stored one it takes that one's place: its first commit replaces
	 * the value, and until then the database shows the old one. */
	int error = 0;
	if (!n->fresh) {
		error = delete_file(&r->batch, n);
		if (!error)
			error = put_moved_file(m, &r->batch, n, &r->place, false);
	}
	return error || !r->batch.count ? error : namei_commit(m, &r->batch);
}

/* The target gives way: its number is free. */
static int drop_target(struct renaming *r)
{
	struct node *t = r->target;
	if (!t || !t->ino_recorded)
		return 0;
	return put_ino(&r->batch, t->attr.ino, false);
}

static bool is_below(const struct node *n, const struct node *top)
{
	for (; n; n = n->parent)
		if (n == top)
			return true;
	return false;
}

/* In the order of POSIX: what is there, then what kinds they are, then whether it makes sense. */
static int check_rename(struct mount *m, struct renaming *r, unsigned flags)
{
	struct node *n = r->node, *t = r->target;
	if (n->control || (t && t->control))
		return EPERM;
	if (t && (flags & RENAME_NOREPLACE))
		return EEXIST;
	if (node_is_dir(n) && is_below(r->place.dir, n))
		return EINVAL;
	if (n->kind == KEYPATH_CHUNK || r->place.kind == KEYPATH_CHUNK)
		return EXDEV; /* Programs then copy and delete. */
	if (node_is_dir(n) && r->place.kind == KEYPATH_VALUE)
		return EINVAL;
	if (!t || t == n)
		return 0;
	if (node_is_dir(n) && !node_is_dir(t))
		return ENOTDIR;
	if (!node_is_dir(n) && node_is_dir(t))
		return EISDIR;
	return node_is_dir(t) ? check_empty(m, t) : 0;
}

static int exchange(struct mount *m, struct renaming *r, struct node *dir, const char *name)
{
	struct node *a = r->node, *b = r->target;
	struct place here;
	struct key_buf from = { 0 }, to = { 0 };
	int error = place_of(m, dir, name, &here);
	if (error)
		return error;
	if (a == b)
		return 0;
	if (a->kind != KEYPATH_NAME || b->kind != KEYPATH_NAME)
		return EXDEV;
	if ((node_is_dir(a) && is_below(b, a)) || (node_is_dir(b) && is_below(a, b)))
		return EINVAL;
	/* Everything has a record before it changes places, so that fresh files need no rules of their own. */
	error = file_commit(m, a);
	if (!error)
		error = file_commit(m, b);
	if (!error)
		error = file_settle(m, a);
	if (!error)
		error = file_settle(m, b);
	if (!error)
		error = keep_ino(m, &r->batch, a, &r->place);
	if (!error)
		error = keep_ino(m, &r->batch, b, &here);
	/* First what goes away, then what comes: of a file and a directory the one's key lies beside the other's. */
	if (!error && !node_is_dir(a))
		error = delete_file(&r->batch, a);
	if (!error && !node_is_dir(b))
		error = delete_file(&r->batch, b);
	if (!error)
		error = node_is_dir(a) ? put_moved_dir(m, &r->batch, a, &r->place) : put_moved_file(m, &r->batch, a, &r->place, true);
	if (!error)
		error = node_is_dir(b) ? put_moved_dir(m, &r->batch, b, &here) : put_moved_file(m, &r->batch, b, &here, true);
	if (!error && !node_is_dir(a) && !node_is_dir(b)) {
		error = namei_commit(m, &r->batch);
	} else if (!error) {
		error = place_key(&here, true, &from);
		if (!error)
			error = place_key(&r->place, true, &to);
		if (!error)
			error = errmap_from_store(m->store->calls->move_prefix(m->store, key_bytes(&from), key_bytes(&to), true,
									       r->batch.changes, r->batch.count));
	}
	key_done(&from);
	key_done(&to);
	if (error)
		return error;
	/* By way of a name that no file can have. */
	a->lookups++;
	b->lookups++;
	error = node_move(m, a, r->place.dir, "\1", 1, KEYPATH_NAME, (const uint8_t *)"\1", 1);
	if (!error)
		error = node_move(m, b, here.dir, here.name, here.len, here.kind, here.part, here.part_len);
	if (!error)
		error = node_move(m, a, r->place.dir, r->place.name, r->place.len, r->place.kind, r->place.part,
				  r->place.part_len);
	a->lookups--;
	b->lookups--;
	dir_changed(m, dir);
	dir_changed(m, r->place.dir);
	return error;
}

static int rename_locked(struct mount *m, struct renaming *r, struct node *dir)
{
	struct node *n = r->node, *t = r->target;
	struct attr old = n->attr;
	bool recorded = n->ino_recorded;
	bool target_stored = t && !t->fresh;
	int error = t ? keep_content(m, t) : 0;
	n->attr.ctime_ns = attr_now_ns();
	if (!error)
		error = drop_target(r);
	if (!error)
		error = keep_ino(m, &r->batch, n, &r->place);
	if (!error && !n->fresh)
		error = keep_dir(m, &r->batch, dir);
	if (!error && !n->fresh && r->place.dir != dir)
		error = keep_dir(m, &r->batch, r->place.dir);
	if (!error)
		error = node_is_dir(n) ? move_dir(m, r) : move_file(m, r);
	if (error) {
		n->attr.ctime_ns = old.ctime_ns;
		n->attr.ino = old.ino;
		n->ino_recorded = recorded;
		return error;
	}
	bool fresh = n->fresh;
	n->lookups++;
	r->place.dir->children++;
	if (t) {
		node_unlink(m, t);
		node_release(m, t);
	}
	error = node_move(m, n, r->place.dir, r->place.name, r->place.len, r->place.kind, r->place.part, r->place.part_len);
	r->place.dir->children--;
	n->lookups--;
	if (fresh && target_stored)
		node_clear_fresh(n);
	if (node_is_dir(n)) {
		n->explicit_dir = true;
	} else if (!fresh) {
		node_mark_clean(m, n);
		node_drop_held(m, n);
		if (!n->writers)
			node_drop_stage(m, n);
	}
	if (fresh) {
		node_touch_dir(m, dir);
		node_touch_dir(m, r->place.dir);
	} else {
		dir_changed(m, dir);
		dir_changed(m, r->place.dir);
	}
	return error;
}

int namei_rename(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name,
		 unsigned flags)
{
	struct renaming r = { 0 };
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return EINVAL;
	int error = namei_lookup(m, dir, name, &r.node);
	if (error)
		return error;
	r.node->lookups++; /* Keeps it live throughout. */
	error = namei_lookup(m, new_dir, new_name, &r.target);
	if (error == ENOENT) {
		error = flags & RENAME_EXCHANGE ? ENOENT : 0;
		r.target = NULL;
	}
	if (r.target)
		r.target->lookups++;
	if (!error)
		error = place_of(m, new_dir, new_name, &r.place);
	if (!error && r.place.kind == KEYPATH_BAD)
		error = EINVAL;
	if (!error && (flags & RENAME_EXCHANGE))
		error = exchange(m, &r, dir, name);
	else if (!error)
		error = check_rename(m, &r, flags);
	struct node *target = r.target;
	if (!error && !(flags & RENAME_EXCHANGE) && r.node != target) {
		/* Files that are changed in parts are so under their keys, which change. */
		error = file_settle(m, r.node);
		if (!error)
			error = rename_locked(m, &r, dir);
	}
	if (target) {
		target->lookups--;
		node_release(m, target);
	}
	r.node->lookups--;
	node_release(m, r.node);
	namei_batch_done(&r.batch);
	return error;
}
