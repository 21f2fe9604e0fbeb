/* See refresh.h. */
#include "fs/refresh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/links.h"
#include "fs/namei_impl.h"
#include "fs/notify.h"

struct refreshed_key {
	enum store_space space;
	struct store_bytes key; /* the transaction's */
	char *path;             /* from malloc: that following what was committed needs no memory */
	bool existed;
};

/* ---- What the store has -------------------------------------------------------------------- */

/* In doubt, yes: what is there must not be taken away. */
static bool has(struct mount *m, enum store_space space, struct store_bytes key)
{
	struct store_entry e;
	enum store_result r = m->store->calls->get(m->store, space, key, true, true, &e);
	if (r == STORE_OK)
		m->store->calls->entry_release(m->store, &e);
	return r != STORE_NOT_FOUND;
}

static bool has_below(struct mount *m, enum store_space space, struct store_bytes prefix)
{
	bool exists;
	return m->store->calls->prefix_exists(m->store, space, prefix, true, &exists) != STORE_OK || exists;
}

static bool exists(struct mount *m, enum store_space space, struct store_bytes key)
{
	if (space == STORE_USER)
		return has(m, STORE_USER, key);
	return has(m, STORE_DIRS, key) || has_below(m, STORE_USER, key) || has_below(m, STORE_DIRS, key);
}

/* ---- Where a key is ------------------------------------------------------------------------ */

static uint64_t number_of(const struct node *dir)
{
	return dir->attr.ino ? dir->attr.ino : node_default_ino(dir->parent, dir->part, dir->part_len, true);
}

struct at {
	struct node *dir;  /* the mount's; counted as if it had a child more */
	const char *name;  /* in the path */
	size_t len;
};

static void tell_name(struct mount *m, const struct at *at)
{
	notify_name(m, node_id(m, at->dir), at->name, at->len);
}

static void leave(struct mount *m, struct at *at)
{
	at->dir->children--;
	node_release(m, at->dir);
}

static void enter(struct mount *m, struct at *at, struct node *n)
{
	n->children++;
	leave(m, at);
	at->dir = n;
}

/* The directory of that name, which comes to be live; NULL: there is none, or no memory. */
static struct node *seek_dir(struct mount *m, const struct at *at)
{
	char name[KEYPATH_NAME_MAX + 1];
	struct node *n;
	memcpy(name, at->name, at->len);
	name[at->len] = 0;
	if (namei_lookup(m, at->dir, name, &n) != 0)
		return NULL;
	if (!n->lookups)
		tell_name(m, at); /* The kernel may know that it is not there. */
	if (node_is_dir(n))
		return n;
	node_release(m, n);
	return NULL;
}

/*
 * The directory of the key, or the deepest one on the way that there is, and the name in it that leads to the key. With
 * `seek` directories come to be live for it, of which the kernel is told.
 */
static void find(struct mount *m, const struct refreshed_key *k, bool seek, struct at *out)
{
	*out = (struct at){ .dir = &m->nodes->root, .name = k->path };
	out->dir->children++;
	for (const char *slash; (slash = strchr(out->name, '/')) != NULL; out->name = slash + 1) {
		out->len = (size_t)(slash - out->name);
		struct node *n = node_find(m, out->dir, out->name, out->len);
		if (!n && seek)
			n = seek_dir(m, out);
		if (!n || !node_is_dir(n))
			return;
		n->ino = number_of(n); /* Without a record it follows from what is above, which may have another number now. */
		enter(m, out, n);
	}
	out->len = strlen(out->name);
	struct node *n = k->space == STORE_USER ? node_find(m, out->dir, out->name, out->len) : NULL;
	if (n && node_is_dir(n)) { /* others lie below the key */
		enter(m, out, n);
		out->name = "%value";
		out->len = strlen(out->name);
	}
}

/* ---- Before -------------------------------------------------------------------------------- */

static int keep_open(struct mount *m, const struct refreshed_key *k)
{
	struct at at;
	find(m, k, false, &at);
	struct node *n = node_find(m, at.dir, at.name, at.len);
	int error = n && !node_is_dir(n) ? namei_keep_content(m, n) : 0;
	leave(m, &at);
	return error;
}

/* A directory's key ends in '/', which is none of its name. */
static char *path_of(const struct mount *m, enum store_space space, struct store_bytes key)
{
	return keypath_from_key(key.data, key.size - (space == STORE_DIRS && key.size), false, m->options.ctldir);
}

static bool note(void *arg, enum store_space space, struct store_bytes key)
{
	struct refresh *r = arg;
	if (space != STORE_USER && space != STORE_DIRS && space != STORE_LINKS)
		return true;
	if (r->count == r->capacity) {
		size_t capacity = 2 * r->capacity + 16;
		struct refreshed_key *moved = realloc(r->keys, capacity * sizeof *moved);
		if (!moved) {
			r->error = ENOMEM;
			return false;
		}
		r->keys = moved;
		r->capacity = capacity;
	}
	struct refreshed_key *k = &r->keys[r->count++];
	*k = (struct refreshed_key){ .space = space, .key = key };
	if (space == STORE_LINKS)
		return true;
	k->path = path_of(r->m, space, key);
	k->existed = exists(r->m, space, key);
	r->error = !k->path ? ENOMEM : space == STORE_USER ? keep_open(r->m, k) : 0;
	return !r->error;
}

int refresh_begin(struct refresh *r, struct mount *m, struct store *txn)
{
	*r = (struct refresh){ .m = m };
	enum store_result result = store_txn_each(txn, note, r);
	return r->error ? r->error : errmap_from_store(result);
}

void refresh_end(struct refresh *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->keys[i].path);
	free(r->keys);
	r->keys = NULL;
}

/* ---- After --------------------------------------------------------------------------------- */

/* The node goes from all its names; who knows it still may go on with it. */
static void replace(struct mount *m, struct node *n)
{
	if (n->parent)
		notify_name(m, node_id(m, n->parent), n->name, n->name_len);
	for (const struct node *a = n->aliases; a; a = a->alias_next)
		notify_name(m, node_id(m, a->parent), a->name, a->name_len);
	namei_vanish(m, n);
}

/* The directory's attributes as they are now, but for its number, which is returned. */
static uint64_t reload(struct mount *m, struct node *n)
{
	bool found;
	const uint64_t ino = n->ino;
	struct attr old = n->attr;
	if (namei_load_dir(m, n, &found) != 0) {
		n->attr = old;
		return ino; /* What it had is better than nothing. */
	}
	n->ino = ino;
	if (!found)
		attr_default(&m->options, true, m->mounted_at_ns, &n->attr);
	if (n->attr.xattrs != old.xattrs)
		attr_done(&old);
	n->explicit_dir = found;
	node_mark_clean(m, n);
	notify_inode(m, node_id(m, n));
	if (n == &m->nodes->root)
		return ino;
	n->ino_recorded = n->attr.ino != 0;
	return number_of(n);
}

/*
 * The directory's own record; what lies below it may still be there. Where another directory took its name, its node goes,
 * unless there are some below it: then it comes to be that other one's, and two never have one number.
 */
static void refresh_attr(struct mount *m, const struct refreshed_key *k)
{
	struct at at;
	if (!k->key.size) {
		reload(m, &m->nodes->root);
		return;
	}
	find(m, k, false, &at);
	struct node *n = node_find(m, at.dir, at.name, at.len);
	if (n && node_is_dir(n) && exists(m, k->space, k->key)) {
		uint64_t ino = reload(m, n);
		if (ino != n->ino && !n->children)
			replace(m, n);
		else
			n->ino = ino;
	}
	leave(m, &at);
}

static void refresh_key(struct mount *m, const struct refreshed_key *k)
{
	struct at at;
	if (!k->key.size && k->space == STORE_DIRS)
		return;
	find(m, k, true, &at);
	bool there = exists(m, k->space, k->key);
	struct node *n = node_find(m, at.dir, at.name, at.len);
	if (!n)
		tell_name(m, &at);
	else if (!node_is_dir(n) || (!there && !n->children))
		replace(m, n);
	if (k->existed != there)
		node_touch_dir(m, at.dir);
	at.dir->changes++;
	leave(m, &at);
}

/* Directories that were there because of the key, up to the first that still is. */
static void refresh_above(struct mount *m, const struct refreshed_key *k)
{
	struct at at;
	struct key_buf key = { 0 };
	find(m, k, false, &at);
	struct node *dir = at.dir;
	dir->children--;
	while (dir != &m->nodes->root && !dir->children && node_dir_key(dir, &key) == 0 && !exists(m, STORE_DIRS, key_bytes(&key))) {
		struct node *above = dir->parent;
		above->children++;
		replace(m, dir);
		above->children--;
		dir = above;
	}
	node_release(m, dir);
	key_done(&key);
}

static void refresh_linked(struct mount *m, struct store_bytes key)
{
	uint64_t ino = 0;
	for (size_t i = 0; i < 8 && i < key.size; i++)
		ino = ino << 8 | key.data[i];
	struct node *n = links_find(m, ino);
	if (n)
		replace(m, n);
}

void refresh_apply(struct refresh *r)
{
	struct mount *m = r->m;
	for (size_t i = 0; i < r->count; i++)
		if (r->keys[i].space == STORE_LINKS)
			refresh_linked(m, r->keys[i].key);
	for (size_t i = 0; i < r->count; i++)
		if (r->keys[i].space == STORE_DIRS)
			refresh_attr(m, &r->keys[i]);
	for (size_t i = 0; i < r->count; i++)
		if (r->keys[i].space == STORE_USER)
			refresh_key(m, &r->keys[i]);
	for (size_t i = r->count; i-- > 0;) /* what is below first */
		if (r->keys[i].space == STORE_DIRS)
			refresh_key(m, &r->keys[i]);
	for (size_t i = r->count; i-- > 0;)
		if (r->keys[i].space != STORE_LINKS && r->keys[i].existed)
			refresh_above(m, &r->keys[i]);
	/* What was found missing meanwhile was so below numbers that directories had before. */
	store_note_change(m->store);
}
