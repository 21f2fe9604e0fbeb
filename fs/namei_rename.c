/*
 * Renaming. A file's record goes from one key to another, a directory's keys below it all do; what was at the new name gives
 * way, or with RENAME_EXCHANGE takes the old one. One batch of the store says it all; then nodes move.
 */
#include "fs/namei.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/file.h"
#include "fs/links.h"
#include "fs/namei_impl.h"
#include "fs/service.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif

/* So many keys below a directory are moved beside what goes on: that costs some syncs of the disk. */
enum { BESIDE_MIN = 20000 };

/* Such a move: between what is done with the lock before, and after. */
struct beside {
	struct store_move *move; /* NULL: none */
	struct key_buf from, to;
	bool tried;
};

struct renaming {
	struct beside *beside;
	struct node *node, *target;  /* target NULL: the new name is free */
	struct node *name, *target_name; /* what stands for these names: the nodes, or aliases */
	struct namei_held held[2];
	struct place place;          /* of the new name */
	struct namei_batch batch;
};

/* The number stays: it is stored when it no longer follows from the name. */
static int keep_ino(struct mount *m, struct namei_batch *b, struct node *n, const struct place *p)
{
	const uint8_t *part = p->kind == KEYPATH_VALUE ? (const uint8_t *)p->name : p->part;
	size_t len = p->kind == KEYPATH_VALUE ? p->len : p->part_len;
	if (n->links)
		return 0; /* It stays recorded. */
	bool follows = n->ino == node_default_ino(p->dir, part, len, node_is_dir(n));
	if (follows && n->ino_recorded) {
		n->attr.ino = 0;
		n->ino_recorded = false;
		return namei_free_ino(b, n->ino);
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
	int error = file_pin_anew(m, n);
	if (!error)
		error = file_content(m, n, &change);
	/* Of two that change places neither's key is free. */
	if (!error && change.held && !exchanged) {
		error = node_file_key(n, &from);
		change.moved_from = key_bytes(&from);
		if (!error)
			error = namei_own(b, from.data);
		else
			key_done(&from);
	}
	if (!error)
		error = namei_add_attr(m, b, n, &change);
	if (!error)
		error = namei_place_key(p, false, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (error) {
		key_done(&key);
		return error;
	}
	return namei_add_keyed(b, change, &key);
}

/* The value of a directory's own key (its %value) leaves it. */
static int delete_dir_value(struct mount *m, struct namei_batch *b, const struct node *n)
{
	struct store *s = m->store;
	struct key_buf key = { 0 };
	struct store_entry e;
	int error = node_dir_key(n, &key);
	if (!error) {
		key.size--;
		enum store_result r = s->calls->get(s, STORE_USER, key_bytes(&key), true, true, &e);
		if (r == STORE_OK) {
			s->calls->entry_release(s, &e);
			error = namei_add_keyed(b, (struct store_change){ .op = STORE_DELETE, .space = STORE_USER }, &key);
		} else if (r != STORE_NOT_FOUND) {
			error = errmap_from_store(r);
		}
	}
	key_done(&key);
	return error;
}

/* A directory's record at the new place, and the value of its own key, if it is a key too. */
static int put_moved_dir(struct mount *m, struct namei_batch *b, struct node *n, const struct place *p)
{
	struct store *s = m->store;
	struct key_buf from = { 0 }, to = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_DIRS };
	struct store_entry e;
	int error = namei_add_attr(m, b, n, &change);
	if (!error)
		error = namei_place_key(p, true, &to);
	if (!error)
		error = namei_add_keyed(b, change, &to);
	if (!error)
		error = node_dir_key(n, &from);
	if (!error)
		from.size--;
	enum store_result r = error ? STORE_NOT_FOUND : s->calls->get(s, STORE_USER, key_bytes(&from), false, true, &e);
	if (r == STORE_OK) {
		uint8_t *copy = malloc(e.value_size + e.attr.size + 1);
		struct store_change value = { .op = STORE_PUT, .space = STORE_USER, .time_ns = e.time_ns,
					      .expiry_ns = e.expiry_ns };
		error = copy ? namei_own(b, copy) : ENOMEM;
		if (!error) {
			if (e.value_size)
				memcpy(copy, e.value.data, e.value_size);
			if (e.attr.size)
				memcpy(copy + e.value_size, e.attr.data, e.attr.size);
			value.value = (struct store_bytes){ copy, e.value_size };
			value.attr = (struct store_bytes){ copy + e.value_size, e.attr.size };
			error = namei_place_key(p, false, &to);
		}
		if (!error)
			error = namei_add_keyed(b, value, &to);
		s->calls->entry_release(s, &e);
	} else if (!error && r != STORE_NOT_FOUND) {
		error = errmap_from_store(r);
	}
	key_done(&from);
	key_done(&to);
	return error;
}

/* What was copied beside is of use if it is what is to be moved now. */
static bool is_copied(const struct mount *m, const struct beside *b, const struct key_buf *from, const struct key_buf *to)
{
	return b->move && !m->nodes->links_recorded && b->from.size == from->size && b->to.size == to->size &&
	       memcmp(b->from.data, from->data, from->size) == 0 && memcmp(b->to.data, to->data, to->size) == 0;
}

static int move_below(struct mount *m, struct renaming *r, const struct key_buf *from, const struct key_buf *to)
{
	const struct store_calls *calls = m->store->calls;
	enum store_result result = STORE_CONFLICT;
	if (is_copied(m, r->beside, from, to))
		result = calls->move_commit(r->beside->move, r->batch.changes, r->batch.count);
	if (result == STORE_CONFLICT)
		result = calls->move_prefix(m->store, key_bytes(from), key_bytes(to), false, r->batch.changes, r->batch.count);
	return errmap_from_store(result);
}

static bool count_one(void *arg, struct store_bytes key, const struct store_entry *entry)
{
	unsigned *left = arg;
	(void)key;
	(void)entry;
	return --*left > 0;
}

/* Whether the directory is to be copied beside; the move has begun then. What fails is left to the plain way. */
static bool begin_beside(struct mount *m, struct renaming *r)
{
	struct beside *b = r->beside;
	const struct store_calls *calls = m->store->calls;
	unsigned left = BESIDE_MIN;
	if (b->tried || !node_is_dir(r->node) || !calls->move_begin || m->nodes->links_recorded)
		return false;
	b->tried = true;
	if (node_dir_key(r->node, &b->from) != 0 || namei_place_key(&r->place, true, &b->to) != 0)
		return false;
	if (calls->scan(m->store, STORE_USER, key_bytes(&b->from), true, count_one, &left) != STORE_OK || left)
		return false;
	return calls->move_begin(m->store, key_bytes(&b->from), key_bytes(&b->to), &b->move) == STORE_OK;
}

/* The long part, without the lock. What else is done meanwhile is as it would be before the rename. */
static void copy_beside(struct mount *m, struct beside *b)
{
	service_may_block();
	mount_unlock(m);
	enum store_result result = m->store->calls->move_copy(b->move);
	mount_lock(m);
	if (result == STORE_OK)
		return;
	m->store->calls->move_end(b->move);
	b->move = NULL;
}

static int move_dir(struct mount *m, struct renaming *r)
{
	struct key_buf from = { 0 }, to = { 0 };
	int error = delete_dir_value(m, &r->batch, r->node);
	if (!error)
		error = put_moved_dir(m, &r->batch, r->node, &r->place);
	if (!error)
		error = node_dir_key(r->node, &from);
	if (!error)
		error = namei_place_key(&r->place, true, &to);
	if (!error)
		error = links_move_below(m, &r->batch, key_bytes(&from), key_bytes(&to), false);
	if (!error)
		error = move_below(m, r, &from, &to);
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
		error = namei_delete_file(&r->batch, r->name);
		if (!error && n->links)
			error = namei_move_link(m, &r->batch, n, r->name, &r->place, false, &r->held[0]);
		else if (!error)
			error = put_moved_file(m, &r->batch, n, &r->place, false);
	}
	return error || !r->batch.count ? error : namei_commit(m, &r->batch);
}

/* The target gives way: its number is free, unless it has more names. */
static int drop_target(struct mount *m, struct renaming *r)
{
	struct node *t = r->target;
	if (!t)
		return 0;
	int error = t->links ? namei_delete_link(m, &r->batch, t, r->target_name) : 0;
	if (error || !t->ino_recorded || namei_has_more(t))
		return error;
	return namei_free_ino(&r->batch, t->attr.ino);
}

/* What is staged of files with several names is committed before any of these moves, and so is what replaces one. */
static int settle_renamed(struct mount *m, struct renaming *r)
{
	struct node *n = r->node, *t = r->target;
	int error = file_settle(m, n);
	if (!error && (n->links || (t && t->links)))
		error = file_commit(m, n);
	return error || !t ? error : namei_settle_links(m, t);
}

static int put_exchanged(struct mount *m, struct renaming *r, struct node *n, const struct node *name, const struct place *p,
			 struct namei_held *held)
{
	if (node_is_dir(n))
		return put_moved_dir(m, &r->batch, n, p);
	return n->links ? namei_move_link(m, &r->batch, n, name, p, true, held) : put_moved_file(m, &r->batch, n, p, true);
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
	return node_is_dir(t) ? namei_check_empty(m, t) : 0;
}

static int exchange(struct mount *m, struct renaming *r, struct node *dir, const char *name)
{
	struct node *a = r->node, *b = r->target;
	struct place here;
	struct key_buf from = { 0 }, to = { 0 };
	int error = namei_place_of(m, dir, name, &here);
	if (error)
		return error;
	if (a == b)
		return 0;
	/* By these names: a file that has more of them may be below the directory by another. */
	if (r->name->kind != KEYPATH_NAME || r->target_name->kind != KEYPATH_NAME)
		return EXDEV;
	if ((node_is_dir(a) && is_below(r->place.dir, a)) || (node_is_dir(b) && is_below(dir, b)))
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
	/* First what goes away, then what comes: the one's key is the other's place. */
	if (!error)
		error = node_is_dir(a) ? delete_dir_value(m, &r->batch, a) : namei_delete_file(&r->batch, r->name);
	if (!error)
		error = node_is_dir(b) ? delete_dir_value(m, &r->batch, b) : namei_delete_file(&r->batch, r->target_name);
	if (!error)
		error = put_exchanged(m, r, a, r->name, &r->place, &r->held[0]);
	if (!error)
		error = put_exchanged(m, r, b, r->target_name, &here, &r->held[1]);
	if (!error && !node_is_dir(a) && !node_is_dir(b)) {
		error = namei_commit(m, &r->batch);
	} else if (!error) {
		error = namei_place_key(&here, true, &from);
		if (!error)
			error = namei_place_key(&r->place, true, &to);
		if (!error)
			error = links_move_below(m, &r->batch, key_bytes(&from), key_bytes(&to), true);
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
	error = node_move(m, r->name, r->place.dir, "\1", 1, KEYPATH_NAME, (const uint8_t *)"\1", 1);
	if (!error)
		error = node_move(m, r->target_name, here.dir, here.name, here.len, here.kind, here.part, here.part_len);
	if (!error)
		error = node_move(m, r->name, r->place.dir, r->place.name, r->place.len, r->place.kind, r->place.part,
				  r->place.part_len);
	a->lookups--;
	b->lookups--;
	namei_dir_changed(m, dir);
	namei_dir_changed(m, r->place.dir);
	return error;
}

static int rename_locked(struct mount *m, struct renaming *r, struct node *dir)
{
	struct node *n = r->node, *t = r->target;
	struct attr old = n->attr;
	bool recorded = n->ino_recorded;
	bool target_stored = t && !t->fresh;
	bool more = t && namei_has_more(t);
	int error = t && !more ? namei_keep_content(m, t) : 0;
	n->attr.ctime_ns = attr_now_ns();
	if (more)
		t->attr.ctime_ns = n->attr.ctime_ns;
	if (!error)
		error = drop_target(m, r);
	if (!error)
		error = keep_ino(m, &r->batch, n, &r->place);
	if (!error && !n->fresh)
		error = namei_keep_dir(m, &r->batch, dir);
	if (!error && !n->fresh && r->place.dir != dir)
		error = namei_keep_dir(m, &r->batch, r->place.dir);
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
	if (more) {
		namei_drop_link(m, r->target_name);
		node_release(m, t);
	} else if (t) {
		node_unlink(m, t);
		node_release(m, t);
	}
	error = node_move(m, r->name, r->place.dir, r->place.name, r->place.len, r->place.kind, r->place.part, r->place.part_len);
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
		namei_dir_changed(m, dir);
		namei_dir_changed(m, r->place.dir);
	}
	return error;
}

/* EAGAIN: a move beside has begun; to be done, and all of this once more then. */
static int rename_names(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name, unsigned flags,
			struct beside *beside)
{
	struct renaming r = { .beside = beside };
	int error = namei_lookup(m, dir, name, &r.node);
	if (error)
		return error;
	r.node->lookups++; /* Keeps it live throughout. */
	r.name = node_find_name(m, dir, name, strlen(name));
	error = namei_lookup(m, new_dir, new_name, &r.target);
	if (error == ENOENT) {
		error = flags & RENAME_EXCHANGE ? ENOENT : 0;
		r.target = NULL;
	}
	if (r.target) {
		r.target->lookups++;
		r.target_name = node_find_name(m, new_dir, new_name, strlen(new_name));
	}
	if (!error)
		error = namei_place_of(m, new_dir, new_name, &r.place);
	if (!error && r.place.kind == KEYPATH_BAD)
		error = EINVAL;
	if (!error && (flags & RENAME_EXCHANGE))
		error = exchange(m, &r, dir, name);
	else if (!error)
		error = check_rename(m, &r, flags);
	struct node *target = r.target;
	if (!error && !(flags & RENAME_EXCHANGE) && r.node != target) {
		/* Files that are changed in parts are so under their keys, which change. */
		error = settle_renamed(m, &r);
		if (!error && begin_beside(m, &r))
			error = EAGAIN;
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
	namei_held_done(m, &r.held[0]);
	namei_held_done(m, &r.held[1]);
	return error;
}

int namei_rename(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name,
		 unsigned flags)
{
	struct beside beside = { .move = NULL };
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return EINVAL;
	int error = rename_names(m, dir, name, new_dir, new_name, flags, &beside);
	if (error == EAGAIN && beside.move) {
		dir->lookups++; /* keeps them live without the lock */
		new_dir->lookups++;
		copy_beside(m, &beside);
		error = rename_names(m, dir, name, new_dir, new_name, flags, &beside);
		dir->lookups--;
		new_dir->lookups--;
		if (beside.move)
			m->store->calls->move_end(beside.move);
	}
	key_done(&beside.from);
	key_done(&beside.to);
	return error;
}
