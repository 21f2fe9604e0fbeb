/*
 * Names. What a name is depends on three questions to the store, in this order: is there a record of that key, is
 * there an explicit directory, does any key lie below. A name that is both a key and a prefix is a directory; its
 * value is `%value` inside.
 */
#include "fs/namei.h"

#include <errno.h>
#include <string.h>

#include "fs/acl.h"
#include "fs/errmap.h"
#include "fs/expiry.h"
#include "fs/file.h"
#include "fs/links.h"
#include "fs/namei_impl.h"
#include "fs/service.h"

enum { NAME_BYTES_MAX = 255 };

/* ---- Lookup -------------------------------------------------------------------------------- */

int namei_place_of(struct mount *m, struct node *dir, const char *name, struct place *out)
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

int namei_place_key(const struct place *p, bool directory, struct key_buf *out)
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

struct node *namei_make_node(struct mount *m, const struct place *p, bool directory)
{
	return node_new(m, p->dir, p->name, p->len, p->kind, p->part, p->part_len, directory);
}

int namei_take_attr(struct mount *m, struct node *n, bool directory, const struct store_entry *e)
{
	int error = attr_decode(&m->options, directory, e->time_ns, e->attr.data, e->attr.size, &n->attr);
	if (error)
		return error;
	n->attr.size = e->value_size;
	n->attr.holes = e->value_size - e->stored_size;
	n->attr.expiry_ns = e->expiry_ns;
	if (e->expiry_ns)
		expiry_watch(m, n);
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
	error = namei_take_attr(m, n, true, &e);
	m->store->calls->entry_release(m->store, &e);
	n->explicit_dir = !error;
	return error;
}

/* Whether the place is a directory; *out gets its node then, else NULL. */
static int lookup_dir(struct mount *m, const struct place *p, const struct key_buf *prefix, struct node **out)
{
	struct store *s = m->store;
	struct store_entry e;
	bool exists, is_explicit = false;
	*out = NULL;
	/* Its own record is among those that begin so. */
	const bool may_block = !m->nodes->from_memory;
	enum store_result r = s->calls->prefix_exists(s, STORE_DIRS, key_bytes(prefix), may_block, &exists);
	if (r == STORE_OK && exists && p->kind == KEYPATH_NAME) {
		r = s->calls->get(s, STORE_DIRS, key_bytes(prefix), true, may_block, &e);
		is_explicit = r == STORE_OK;
		if (r == STORE_NOT_FOUND)
			r = STORE_OK;
	}
	if (r == STORE_OK && !exists)
		r = s->calls->prefix_exists(s, STORE_USER, key_bytes(prefix), may_block, &exists);
	if (r != STORE_OK)
		return errmap_from_store(r);
	if (!is_explicit && !exists)
		return 0;
	struct node *n = namei_make_node(m, p, true);
	int error = n ? 0 : ENOMEM;
	if (n && is_explicit)
		error = namei_take_attr(m, n, true, &e);
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

static int choose_ino(struct mount *m, struct node *n);

int namei_avoid_links(struct mount *m, struct node *n)
{
	bool taken = false;
	if (n->attr.ino || !m->nodes->links_recorded)
		return 0;
	int error = links_is_ino(m, n->ino, &taken);
	return error || !taken ? error : choose_ino(m, n);
}

/* A mark that means nothing any more. */
static void forget_mark(struct node *n)
{
	n->attr.linked = false;
	n->attr.ino = 0;
	n->ino_recorded = false;
}

static int file_node(struct mount *m, const struct place *p, const struct store_entry *e, const struct links_found *found,
		     struct node **out)
{
	struct node *n = namei_make_node(m, p, false);
	uint64_t ino = n ? n->ino : 0;
	int error = n ? namei_take_attr(m, n, false, e) : ENOMEM;
	if (!error && found->member) {
		error = links_load(m, n, found);
	} else if (!error) {
		if (n->attr.linked) {
			forget_mark(n);
			n->ino = ino;
		}
		error = namei_avoid_links(m, n);
	}
	if (error) {
		if (n)
			node_release(m, n);
		return error;
	}
	*out = n;
	return 0;
}

static int lookup_file(struct mount *m, const struct place *p, struct store_bytes key, struct node **out)
{
	struct store_entry e;
	struct links_found found;
	enum store_result r = m->store->calls->get(m->store, STORE_USER, key, true, !m->nodes->from_memory, &e);
	if (r != STORE_OK)
		return errmap_from_store(r);
	int error = links_judge(m, key, &e, &found);
	struct node *live = !error && found.member ? links_find(m, found.ino) : NULL;
	if (live)
		error = node_add_name(m, live, p->dir, p->name, p->len, p->kind, p->part, p->part_len);
	if (!error && live)
		*out = live;
	else if (!error)
		error = file_node(m, p, &e, &found, out);
	m->store->calls->entry_release(m->store, &e);
	return error;
}

static struct node_missing *missing_place(struct mount *m, const struct node *dir, const char *name, size_t len)
{
	/* The ends of names that are made one after the other differ most. */
	return &m->nodes->missing[(dir->ino + len + (len ? (unsigned char)name[len - 1] : 0)) % NODE_MISSING];
}

static bool is_missing(struct mount *m, const struct node *dir, const char *name, size_t len, uint64_t changes)
{
	const struct node_missing *at = missing_place(m, dir, name, len);
	return len && at->len == len && at->changes == changes && at->dir == dir && at->dir_ino == dir->ino && memcmp(at->name, name, len) == 0;
}

static void note_missing(struct mount *m, const struct node *dir, const char *name, size_t len, uint64_t changes)
{
	if (len > NAME_MAX)
		return;
	struct node_missing *at = missing_place(m, dir, name, len);
	at->dir = dir;
	at->dir_ino = dir->ino;
	at->changes = changes;
	at->len = len;
	memcpy(at->name, name, len);
}

int namei_lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	struct place p;
	struct key_buf key = { 0 };
	size_t len = strlen(name);
	uint64_t changes = store_changes(m->store); /* before it is looked at */
	struct node *n = node_find(m, dir, name, len);
	if (n && expiry_is_due(n)) {
		dir->children++; /* Keeps it while its child goes. */
		expiry_take(m, n);
		dir->children--;
		n = NULL;
	}
	if (n) {
		*out = n;
		return 0;
	}
	if (is_missing(m, dir, name, len, changes))
		return ENOENT;
	int error = namei_place_of(m, dir, name, &p);
	if (!error && p.kind == KEYPATH_BAD)
		error = ENOENT;
	if (!error)
		error = namei_place_key(&p, true, &key);
	if (!error && p.kind != KEYPATH_VALUE)
		error = lookup_dir(m, &p, &key, out);
	if (!error && (p.kind == KEYPATH_VALUE || !*out)) {
		if (p.kind == KEYPATH_NAME)
			key.size--; /* Without its '/' the prefix is the file's key. */
		error = p.kind == KEYPATH_CHUNK ? ENOENT : lookup_file(m, &p, key_bytes(&key), out);
	}
	if (error == ENOENT)
		note_missing(m, dir, name, len, changes);
	key_done(&key);
	return error;
}

/* What looking a name up asks the store, for its caches; `key`: the name's, with a '/' behind it. */
static void warm_name(struct store *s, struct key_buf *key)
{
	static const enum store_space spaces[] = { STORE_DIRS, STORE_USER };
	struct store_entry e;
	bool exists;
	for (size_t i = 0; i < 2; i++) {
		(void)s->calls->prefix_exists(s, spaces[i], key_bytes(key), true, &exists);
		if (spaces[i] == STORE_USER)
			key->size--;
		if (s->calls->get(s, spaces[i], key_bytes(key), true, true, &e) == STORE_OK)
			s->calls->entry_release(s, &e);
	}
}

int namei_lookup_beside(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	struct place p;
	struct key_buf key = { 0 };
	if (m->outer && !m->fixed) /* a transaction is for one thread at a time */
		return namei_lookup(m, dir, name, out);
	m->nodes->from_memory = true;
	int error = namei_lookup(m, dir, name, out);
	m->nodes->from_memory = false;
	if (error != EAGAIN)
		return error;
	error = namei_place_of(m, dir, name, &p);
	if (!error)
		error = namei_place_key(&p, true, &key);
	if (!error && p.kind == KEYPATH_NAME) {
		service_may_block();
		dir->lookups++; /* keeps it */
		mount_unlock(m);
		warm_name(m->store, &key);
		mount_lock(m);
		dir->lookups--;
	}
	key_done(&key);
	return error ? error : namei_lookup(m, dir, name, out);
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
	error = namei_place_of(m, dir, name, &p);
	if (!error && p.kind == KEYPATH_BAD)
		error = EINVAL;
	if (!error && p.kind == KEYPATH_CHUNK && !S_ISDIR(mode))
		error = EINVAL;
	if (!error && p.kind == KEYPATH_VALUE && S_ISDIR(mode))
		error = EINVAL;
	if (error)
		return error;
	struct node *n = namei_make_node(m, &p, S_ISDIR(mode));
	if (!n)
		return ENOMEM;
	attr_default(&m->options, S_ISDIR(mode), (uint64_t)attr_now_ns(), &n->attr);
	n->attr.mode = mode;
	n->attr.uid = who.uid;
	n->attr.gid = dir->attr.mode & S_ISGID ? dir->attr.gid : who.gid;
	if ((dir->attr.mode & S_ISGID) && S_ISDIR(mode))
		n->attr.mode |= S_ISGID;
	error = acl_inherit(dir, n, who.umask);
	if (!error)
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

int namei_keep_dir(struct mount *m, struct namei_batch *b, struct node *dir)
{
	if (dir->explicit_dir || (dir->kind == KEYPATH_CHUNK && dir->parent))
		return 0;
	return namei_put_dir(m, b, dir);
}

void namei_dir_changed(struct mount *m, struct node *dir)
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
		error = namei_keep_dir(m, &b, dir);
	if (!error && b.count)
		error = namei_commit(m, &b);
	namei_batch_done(&b);
	if (error) {
		node_release(m, n);
		return error;
	}
	n->explicit_dir = S_ISDIR(mode) && n->kind == KEYPATH_NAME;
	n->ino_recorded = n->attr.ino != 0;
	namei_dir_changed(m, dir);
	*out = n;
	return 0;
}

/* ---- Removal ------------------------------------------------------------------------------- */

int namei_keep_content(struct mount *m, struct node *n)
{
	const uint8_t *data;
	size_t size;
	if (!node_is_used(n) || n->staged || n->fresh || !S_ISREG(n->attr.mode))
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
	if (namei_has_more(n))
		return namei_unlink_one(m, dir, name, n);
	const struct node *entry = node_find_name(m, dir, name, strlen(name));
	error = namei_keep_content(m, n);
	if (!error && !n->fresh)
		error = namei_delete_file(&b, entry);
	if (!error && n->links)
		error = namei_delete_link(m, &b, n, entry);
	if (!error && n->ino_recorded)
		error = namei_free_ino(&b, n->attr.ino);
	if (!error && !n->fresh)
		error = namei_keep_dir(m, &b, dir);
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
		namei_dir_changed(m, dir);
	else
		node_touch_dir(m, dir);
	return 0;
}

void namei_vanish(struct mount *m, struct node *n)
{
	struct node *parent = n->parent; /* NULL: it has several names, but here none */
	for (struct node *a = n->aliases; a; a = a->alias_next)
		a->parent->changes++;
	if (parent) {
		parent->changes++;
		parent->children++; /* Keeps it while its child goes. */
	}
	node_unlink(m, n);
	node_release(m, n);
	if (parent)
		parent->children--;
}

int namei_check_empty(struct mount *m, const struct node *n)
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
	error = node_is_dir(n) ? namei_check_empty(m, n) : ENOTDIR;
	if (!error && n->kind == KEYPATH_NAME)
		error = namei_delete_dir(&b, n);
	if (!error && n->ino_recorded)
		error = namei_free_ino(&b, n->attr.ino);
	if (!error)
		error = namei_keep_dir(m, &b, dir);
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
	namei_dir_changed(m, dir);
	return 0;
}
