/* Names of files that have several: making them, and what removal and renaming do with one of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/file.h"
#include "fs/links.h"
#include "fs/namei_impl.h"

/* ---- Another name -------------------------------------------------------------------------- */

/* The place must be free, and one that a file can have. The key of it into `out_key`. */
static int check_place(struct mount *m, struct node *dir, const char *name, struct place *out, struct key_buf *out_key)
{
	struct node *there;
	int error = namei_lookup(m, dir, name, &there);
	if (!error)
		return EEXIST;
	if (error != ENOENT)
		return error;
	error = namei_place_of(m, dir, name, out);
	if (!error && (out->kind == KEYPATH_BAD || out->kind == KEYPATH_CHUNK))
		error = EINVAL;
	if (!error)
		error = namei_place_key(out, false, out_key);
	return !error && out_key->size > m->store->calls->max_key_size(m->store) ? ENAMETOOLONG : error;
}

/* The records that make a group of a file: of its number, and of its present name. */
static int put_group(struct mount *m, struct namei_batch *b, struct node *n, struct store_bytes own)
{
	int error = links_put_name(b, n, own);
	return !error && !n->ino_recorded ? namei_record_ino(m, b, n->ino) : error;
}

/*
 * The content under the new name. What is large is so by an edit that changes nothing, under the key that has it and the new
 * one: they share it. What is small is put again. `first`: the present name is not marked yet.
 */
static int put_content(struct mount *m, struct namei_batch *b, struct node *n, const struct key_buf *own, struct key_buf *key,
		       bool first)
{
	struct store_change content = { .op = STORE_PUT };
	struct store_bytes *also = NULL;
	struct key_buf at = { 0 };
	int error = file_share(m, n, &content);
	if (!error && (content.edit || first))
		error = key_append(&at, own->data, own->size);
	if (!error && content.edit) {
		also = malloc(sizeof *also);
		error = also ? namei_own(b, also) : ENOMEM;
	}
	if (!error && content.edit) {
		uint8_t *bytes = key->data;
		*also = key_bytes(key);
		content.also = also;
		content.also_count = 1;
		*key = (struct key_buf){ 0 };
		error = namei_own(b, bytes);
	}
	if (!error && (content.edit || first))
		error = links_put_record(m, b, n, &content, &at);
	if (!error && !content.edit)
		error = links_put_record(m, b, n, &content, key);
	key_done(&at);
	return error;
}

static int link_records(struct mount *m, struct namei_batch *b, struct node *n, struct node *dir, struct key_buf *key, bool first)
{
	struct key_buf own = { 0 };
	int error = links_content_key(m, n, &own);
	if (!error && first)
		error = put_group(m, b, n, key_bytes(&own));
	if (!error)
		error = links_put_name(b, n, key_bytes(key));
	if (!error)
		error = links_put_attr(m, b, n);
	if (!error)
		error = namei_keep_dir(m, b, dir);
	if (!error)
		error = put_content(m, b, n, &own, key, first);
	if (!error)
		error = namei_commit(m, b);
	file_share_done(m, n);
	key_done(&own);
	return error;
}

static int link_locked(struct mount *m, struct node *n, const struct place *p, struct key_buf *key)
{
	struct namei_batch b = { 0 };
	struct attr old = n->attr;
	bool first = !n->links;
	int error = first ? links_join(m, n, 1, attr_record_time(&n->attr), n->attr.expiry_ns) : 0;
	if (error)
		return error;
	n->attr.ctime_ns = attr_now_ns();
	n->attr.ino = n->ino;
	n->attr.linked = true;
	error = link_records(m, &b, n, p->dir, key, first);
	namei_batch_done(&b);
	if (error) {
		n->attr.ctime_ns = old.ctime_ns;
		n->attr.ino = old.ino;
		n->attr.linked = old.linked;
		if (first)
			links_forget(m, n);
		return error;
	}
	n->links->count++;
	n->ino_recorded = true;
	m->nodes->links_recorded = true;
	node_mark_clean(m, n);
	/* Without memory for it the name is not live yet: a lookup finds it. */
	(void)node_add_name(m, n, p->dir, p->name, p->len, p->kind, p->part, p->part_len);
	namei_dir_changed(m, p->dir);
	return 0;
}

int namei_link(struct mount *m, struct node *n, struct node *dir, const char *name)
{
	struct place p;
	struct key_buf key = { 0 };
	if (n->control || node_is_dir(n))
		return EPERM;
	if (n->unlinked)
		return ENOENT;
	n->lookups++; /* Keeps both live throughout. */
	dir->children++;
	int error = check_place(m, dir, name, &p, &key);
	if (!error && n->links && n->links->count >= LINKS_MAX)
		error = EMLINK;
	/* What is staged gets a record first: a name more is one of that. */
	if (!error)
		error = file_commit(m, n);
	if (!error)
		error = link_locked(m, n, &p, &key);
	key_done(&key);
	dir->children--;
	n->lookups--;
	return error;
}

/* ---- One name less ------------------------------------------------------------------------- */

bool namei_has_more(const struct node *n)
{
	return n->links && n->links->count > 1;
}

/* An edit is bound to a key that may be the one that goes. */
int namei_settle_links(struct mount *m, struct node *n)
{
	return n->links && n->edit ? file_commit(m, n) : 0;
}

int namei_delete_link(struct mount *m, struct namei_batch *b, struct node *n, const struct node *name)
{
	struct key_buf key = { 0 };
	int error = node_file_key(name, &key);
	if (!error)
		error = links_delete_name(b, n->links->ino, key_bytes(&key));
	key_done(&key);
	if (!error)
		error = namei_has_more(n) ? links_put_attr(m, b, n) : links_delete(b, n->links->ino);
	return error;
}

void namei_drop_link(struct mount *m, struct node *name)
{
	struct node *n = name->alias_of ? name->alias_of : name;
	n->links->count--;
	node_drop_name(m, name);
}

int namei_unlink_one(struct mount *m, struct node *dir, const char *name, struct node *n)
{
	struct namei_batch b = { 0 };
	int64_t ctime_ns = n->attr.ctime_ns;
	struct node *entry = node_find_name(m, dir, name, strlen(name));
	int error = namei_settle_links(m, n);
	n->attr.ctime_ns = attr_now_ns();
	if (!error)
		error = namei_delete_file(&b, entry);
	if (!error)
		error = namei_delete_link(m, &b, n, entry);
	if (!error)
		error = namei_keep_dir(m, &b, dir);
	if (!error)
		error = namei_commit(m, &b);
	namei_batch_done(&b);
	if (error) {
		n->attr.ctime_ns = ctime_ns;
		node_release(m, n);
		return error;
	}
	dir->children++; /* Keeps it while its child goes. */
	namei_drop_link(m, entry);
	node_release(m, n);
	dir->children--;
	namei_dir_changed(m, dir);
	return 0;
}

/* ---- One name elsewhere -------------------------------------------------------------------- */

void namei_held_done(struct mount *m, struct namei_held *h)
{
	if (h->any)
		m->store->calls->entry_release(m->store, &h->entry);
	h->any = false;
}

int namei_move_link(struct mount *m, struct namei_batch *b, struct node *n, const struct node *name, const struct place *p,
		    bool exchanged, struct namei_held *held)
{
	struct key_buf from = { 0 }, to = { 0 };
	struct store_change content = { .op = STORE_PUT };
	int error = node_file_key(name, &from);
	if (!error)
		error = namei_place_key(p, false, &to);
	if (!error && to.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (!error)
		error = links_delete_name(b, n->links->ino, key_bytes(&from));
	if (!error)
		error = links_put_name(b, n, key_bytes(&to));
	if (!error)
		error = links_put_attr(m, b, n);
	/* By its own key: what moves is the record of that. */
	if (!error)
		error = errmap_from_store(m->store->calls->hold(m->store, STORE_USER, key_bytes(&from), &held->entry));
	held->any = !error;
	if (!error && held->entry.value_size && !held->entry.value.data) {
		content.held = &held->entry;
		/* Of two that change places neither's key is free. */
		if (!exchanged) {
			content.moved_from = key_bytes(&from);
			error = namei_own(b, from.data);
			from = (struct key_buf){ 0 };
		}
	} else if (!error) {
		content.value = held->entry.value;
	}
	if (!error)
		error = links_put_record(m, b, n, &content, &to);
	key_done(&from);
	key_done(&to);
	return error;
}
