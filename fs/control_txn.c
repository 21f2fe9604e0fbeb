/*
 * txn/ and commit/: changes of any number of files, all at once or not at all.
 *
 *     mkdir txn/NAME            begins a transaction: the directory shows the whole tree as it is, with what is staged
 *     ... txn/NAME/...          any change of files and directories; nobody else sees it
 *     mv txn/NAME commit/       makes all of it the mount's, in one step
 *     rmdir txn/NAME            gives it up
 *
 * EBUSY at the commit: somebody changed outside what the transaction has changed, too; last_error names the first such key,
 * nothing was done, and the transaction is as it was. Times of directories are no such change. After the commit the tree
 * stays for those who are in it, as it is then, and nothing in it can be changed (EROFS). All is kept in memory: a file
 * there has 1 GiB at most. A transaction holds the space of what it may still read, so one that nobody used for
 * txn_idle_ms is given up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/errmap.h"
#include "fs/file.h"
#include "fs/notify.h"
#include "fs/refresh.h"
#include "fs/service.h"
#include "fs/tree.h"

static int lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	struct tree *t = tree_find(m, TREE_TXN, name);
	(void)dir;
	if (!t)
		return ENOENT;
	*out = tree_root(t);
	return 0;
}

static int list(struct mount *m, struct node *dir, struct control_list **out)
{
	struct control_names *names = control_names_new();
	bool complete = names != NULL;
	(void)dir;
	if (!names)
		return ENOMEM;
	for (const struct tree *t = m->trees; t; t = t->next)
		if (t->kind == TREE_TXN && !t->gone)
			complete &= control_names_add(names, t->name, S_IFDIR, tree_root_ino(TREE_TXN, t->name, t->made_ns));
	*out = control_names_list(names);
	if (!complete)
		(*out)->close(*out);
	return complete ? 0 : ENOMEM;
}

static int make(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	struct store *store;
	struct tree *t;
	(void)dir;
	if (tree_find(m, TREE_TXN, name))
		return EEXIST;
	/* What is seen on the mount is what it begins with. */
	int error = file_commit_all(m);
	if (!error)
		error = errmap_from_store(store_txn_new(m->store, &store));
	if (!error)
		error = tree_new(m, TREE_TXN, name, (uint64_t)attr_now_ns(), store, &t);
	if (error)
		return error;
	struct node_table *nodes = t->m.nodes;
	nodes->inodes_recorded = m->nodes->inodes_recorded;
	nodes->links_recorded = m->nodes->links_recorded;
	nodes->acls_recorded = m->nodes->acls_recorded;
	*out = tree_root(t);
	return 0;
}

static int give_up(struct mount *m, struct node *dir, const char *name)
{
	struct tree *t = tree_find(m, TREE_TXN, name);
	(void)dir;
	if (!t)
		return ENOENT;
	tree_drop(t);
	return 0;
}

static void follow(struct mount *m, const struct mount *tree)
{
	m->nodes->inodes_recorded |= tree->nodes->inodes_recorded;
	m->nodes->links_recorded |= tree->nodes->links_recorded;
	m->nodes->acls_recorded |= tree->nodes->acls_recorded;
}

static int commit(struct mount *m, struct tree *t)
{
	struct refresh refresh = { 0 };
	/* What is staged there belongs to it, and what is staged here is what it may conflict with. */
	int error = file_commit_all(&t->m);
	if (!error)
		error = file_commit_all(m);
	if (!error)
		error = refresh_begin(&refresh, m, t->m.store);
	if (!error) {
		error = errmap_from_store(store_txn_commit(t->m.store));
		if (error)
			control_set_error(m, "%s", t->m.store->calls->last_error(t->m.store));
	}
	if (!error) {
		follow(m, &t->m);
		refresh_apply(&refresh);
	}
	refresh_end(&refresh);
	return error;
}

static int move(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name)
{
	struct tree *t = tree_find(m, TREE_TXN, name);
	(void)dir;
	if (new_dir->control->dir != &control_commit_dir)
		return control_refuse(m, EPERM, "a transaction is renamed to ../commit/%s, which commits it, and to nothing else", name);
	if (!t)
		return ENOENT;
	service_may_block();
	int error = commit(m, t);
	if (error)
		return error;
	tree_drop(t);
	/* Who sees the commit end sees what it did. */
	mount_unlock(m);
	notify_wait(m);
	mount_lock(m);
	/* The kernel takes it for a directory of that name now. */
	notify_name(m, node_id(m, new_dir), new_name, strlen(new_name));
	return 0;
}

void control_txn_dropped(struct mount *m, const char *name)
{
	const struct node *dir = control_node(m, "txn");
	if (dir)
		notify_name(m, node_id(m, dir), name, strlen(name));
}

const struct control_dir control_txn_dir = { .lookup = lookup, .list = list, .make = make, .remove = give_up, .rename = move };

/* ---- commit/ ---- */

static int lookup_none(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	(void)m;
	(void)dir;
	(void)name;
	(void)out;
	return ENOENT;
}

static int list_none(struct mount *m, struct node *dir, struct control_list **out)
{
	struct control_names *names = control_names_new();
	(void)m;
	(void)dir;
	if (!names)
		return ENOMEM;
	*out = control_names_list(names);
	return 0;
}

const struct control_dir control_commit_dir = { .lookup = lookup_none, .list = list_none };
