/*
 * snapshot/: a directory for each snapshot with a name, which shows the mount's whole tree as of then.
 *
 *     mkdir snapshot/NAME     keeps the present state, with what is staged
 *     rmdir snapshot/NAME     no longer; whoever is in it, or has a file of it open, can go on to the end
 *
 * The directory's time is that of its making. Nothing in one can be changed (EROFS), and it cannot be renamed (EPERM).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/errmap.h"
#include "fs/file.h"
#include "fs/notify.h"
#include "fs/service.h"
#include "fs/tree.h"

/* One snapshot of the engine's list: what is asked, and what is found. */
struct search {
	const char *name;
	bool found;
	uint64_t time_ns;
};

static void compare(void *arg, const struct wombat_snapshot_info *info)
{
	struct search *s = arg;
	if (strcmp(info->name, s->name) != 0)
		return;
	s->found = true;
	s->time_ns = info->time_ns;
}

static int open_tree(struct mount *m, const char *name, struct tree **out)
{
	struct search s = { .name = name };
	struct store *store;
	wombat_snapshot_list(m->db, compare, &s);
	int error = s.found ? errmap_from_store(m->store->calls->snapshot_open(m->store, name, &store)) : ENOENT;
	if (!error)
		error = tree_new(m, TREE_SNAPSHOT, name, s.time_ns, store, out);
	if (error)
		return error;
	struct attr *a = &tree_root(*out)->attr;
	a->mtime_ns = a->ctime_ns = a->atime_ns = (int64_t)s.time_ns;
	return 0;
}

static int lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	(void)dir;
	struct tree *t = tree_find(m, TREE_SNAPSHOT, name);
	int error = t ? 0 : open_tree(m, name, &t);
	if (!error)
		*out = tree_root(t);
	return error;
}

/* ---- Listing ---- */

struct listing {
	struct control_names *names;
	bool failed;
};

static void add_name(void *arg, const struct wombat_snapshot_info *info)
{
	struct listing *l = arg;
	uint64_t ino = tree_root_ino(TREE_SNAPSHOT, info->name, info->time_ns);
	l->failed |= !control_names_add(l->names, info->name, S_IFDIR, ino);
}

static int list(struct mount *m, struct node *dir, struct control_list **out)
{
	(void)dir;
	struct listing l = { .names = control_names_new() };
	if (!l.names)
		return ENOMEM;
	wombat_snapshot_list(m->db, add_name, &l);
	*out = control_names_list(l.names);
	if (l.failed)
		(*out)->close(*out);
	return l.failed ? ENOMEM : 0;
}

/* ---- Making and dropping ---- */

/* The status of a call that blocks, which is why the lock is let go for it. */
static enum wombat_status unlocked(struct mount *m, enum wombat_status (*call)(struct wombat *db, const char *name),
				   const char *name)
{
	mount_unlock(m);
	service_may_block();
	enum wombat_status s = call(m->db, name);
	if (s != WOMBAT_OK)
		control_set_error(m, "%s", wombat_last_error());
	mount_lock(m);
	return s;
}

static int make(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	/* What is seen on the mount is what is kept. */
	int error = file_commit_all(m);
	if (!error)
		error = errmap_from_wombat(unlocked(m, wombat_snapshot_create, name));
	return error ? error : lookup(m, dir, name, out);
}

static void forget(struct mount *m, const char *name)
{
	struct tree *t = tree_find(m, TREE_SNAPSHOT, name);
	if (t)
		tree_drop(t);
}

void control_snapshot_dropped(struct mount *m, const char *name)
{
	mount_lock(m);
	const struct node *dir = control_node(m, "snapshot");
	forget(m, name);
	if (dir)
		notify_name(m, node_id(m, dir), name, strlen(name));
	mount_unlock(m);
}

static int drop(struct mount *m, struct node *dir, const char *name)
{
	(void)dir;
	int error = errmap_from_wombat(unlocked(m, wombat_snapshot_drop, name));
	if (!error)
		forget(m, name);
	return error;
}

const struct control_dir control_snapshot_dir = { .lookup = lookup, .list = list, .make = make, .remove = drop };
