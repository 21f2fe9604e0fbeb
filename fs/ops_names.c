/* Operations on names: looking up, making, removing, renaming, forgetting. */
#include "fs/ops_impl.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

int ops_check_names(const struct mount *m, const struct node *dir, const char *name)
{
	int error = tree_check_change(m);
	return error ? error : is_control_name(m, dir, name) ? EPERM : 0;
}

int ops_check_control(struct mount *m, const struct node *dir, bool possible, fuse_req_t req)
{
	return possible ? control_check_owner(m, dir->control->name, fuse_req_ctx(req)->uid) : EPERM;
}

static int control_make(struct mount *m, struct node *dir, const char *name, fuse_req_t req, struct node **out)
{
	const struct control_dir *d = dir->control->dir;
	int error = ops_check_control(m, dir, d && d->make, req);
	return error ? error : d->make(m, dir, name, out);
}

static int control_create(struct mount *m, struct node *dir, const char *name, mode_t mode, fuse_req_t req, struct node **out)
{
	const struct control_dir *d = dir->control->dir;
	int error = ops_check_control(m, dir, d && d->create, req);
	struct caller who = caller_of(req);
	return error ? error : d->create(m, dir, name, mode & ~(who.umask & 0777), who.uid, who.gid, out);
}

int ops_create(struct mount *m, struct node *dir, const char *name, mode_t mode, fuse_req_t req, struct node **out)
{
	if (dir->control)
		return control_create(m, dir, name, mode, req, out);
	int error = ops_check_names(m, dir, name);
	return error ? error : namei_create(m, dir, name, mode, caller_of(req), out);
}

static int control_unlink(struct mount *m, struct node *dir, const char *name, fuse_req_t req)
{
	const struct control_dir *d = dir->control->dir;
	int error = ops_check_control(m, dir, d && d->unlink, req);
	return error ? error : d->unlink(m, dir, name);
}

static int control_remove(struct mount *m, struct node *dir, const char *name, fuse_req_t req)
{
	const struct control_dir *d = dir->control->dir;
	int error = ops_check_control(m, dir, d && d->remove, req);
	return error ? error : d->remove(m, dir, name);
}

/* ENOENT, ENAMETOOLONG, EIO. A missing name is remembered by the kernel. */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = enter(req, OP_LOOKUP);
	struct node *dir = node_at(&m, parent), *n;
	dir->asked++;
	int error = ops_lookup(m, dir, name, &n);
	if (!error) {
		ops_reply_entry(req, dir, n);
	} else if (error == ENOENT && !dir->control) {
		struct fuse_entry_param e = { .entry_timeout = FOREVER };
		fuse_reply_entry(req, &e);
	} else {
		reply_error(m, req, error);
	}
	leave(m);
}

static void forget_one(struct mount *m, fuse_ino_t ino, uint64_t count)
{
	struct node *n = node_of(m, ino);
	if (n == &m->nodes->root)
		return;
	n->lookups = n->lookups > count ? n->lookups - count : 0;
	node_release(n->mount, n);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct mount *m = enter(req, OP_FORGET);
	forget_one(m, ino, count);
	leave(m);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct mount *m = enter(req, OP_BATCH_FORGET);
	for (size_t i = 0; i < count; i++)
		forget_one(m, forgets[i].ino, forgets[i].nlookup);
	leave(m);
	fuse_reply_none(req);
}

static void make(fuse_req_t req, enum mount_opcode op, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
		 const char *target)
{
	struct mount *m = enter(req, op);
	struct node *dir = node_at(&m, parent), *n;
	bool control_dir = dir->control && S_ISDIR(mode);
	int error;
	if (m->options.commit_write && S_ISREG(mode)) {
		error = ops_create(m, dir, name, mode, req, &n); /* which is what an open(2) that creates has come as */
	} else {
		error = control_dir ? control_make(m, dir, name, req, &n) : ops_check_names(m, dir, name);
		if (!error && !control_dir)
			error = namei_make(m, dir, name, mode, rdev, target, caller_of(req), &n);
	}
	if (error)
		reply_error(m, req, error);
	else
		ops_reply_entry(req, dir, n);
	leave(m);
}

/* EPERM (control directory), EEXIST, EINVAL, ENAMETOOLONG, ENOSPC, EROFS: likewise for the next two. */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make(req, OP_MKNOD, parent, name, mode & S_IFMT ? mode : mode | S_IFREG, rdev, NULL);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, OP_MKDIR, parent, name, (mode & 07777) | S_IFDIR, 0, NULL);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, OP_SYMLINK, parent, name, S_IFLNK | 0777, 0, target);
}

/* EPERM, ENOENT, EISDIR. */
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = enter(req, OP_UNLINK);
	struct node *dir = node_at(&m, parent);
	int error = dir->control ? control_unlink(m, dir, name, req) : ops_check_names(m, dir, name);
	if (!error && !dir->control)
		error = namei_unlink(m, dir, name);
	reply_error(m, req, error);
	leave(m);
}

/* EPERM, ENOENT, ENOTDIR, ENOTEMPTY. */
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = enter(req, OP_RMDIR);
	struct node *dir = node_at(&m, parent);
	int error = dir->control ? control_remove(m, dir, name, req) : ops_check_names(m, dir, name);
	if (!error && !dir->control)
		error = namei_rmdir(m, dir, name);
	reply_error(m, req, error);
	leave(m);
}

/* EPERM, EINVAL (flags), ENOENT, EEXIST, EINVAL (into itself), EXDEV, ENOTDIR, EISDIR, ENOTEMPTY. */
static int control_rename(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name,
			  unsigned flags, fuse_req_t req)
{
	const struct control_dir *d = dir->control->dir;
	int error = ops_check_control(m, dir, d && d->rename && new_dir->control && !(flags & ~1u), req);
	return error ? error : d->rename(m, dir, name, new_dir, new_name);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		      unsigned flags)
{
	struct mount *m = enter(req, OP_RENAME);
	struct node *dir = node_at(&m, parent), *new_dir = node_of(m, new_parent);
	if (dir->control) {
		reply_error(m, req, control_rename(m, dir, name, new_dir, new_name, flags, req));
		leave(m);
		return;
	}
	int error = ops_check_names(m, dir, name);
	if (!error)
		error = ops_check_names(new_dir->mount, new_dir, new_name);
	if (!error && new_dir->mount != m)
		error = EXDEV;
	if (!error)
		error = namei_rename(m, dir, name, new_dir, new_name, flags);
	reply_error(m, req, error);
	leave(m);
}

/* EROFS, EPERM (control directory, a directory), EXDEV, ENOENT, EEXIST, EINVAL, ENAMETOOLONG, EMLINK, and those of a commit. */
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct mount *m = enter(req, OP_LINK);
	struct node *n = node_at(&m, ino), *dir = node_of(m, new_parent);
	int error = ops_check_names(dir->mount, dir, new_name);
	if (!error)
		error = n->control ? EPERM : dir->mount != m ? EXDEV : namei_link(m, n, dir, new_name);
	if (error)
		reply_error(m, req, error);
	else
		ops_reply_entry(req, dir, n);
	leave(m);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = enter(req, OP_READLINK);
	struct node *n = node_at(&m, ino);
	const uint8_t *data;
	size_t size;
	char target[PATH_MAX];
	int error = file_read(m, n, 0, sizeof target - 1, &data, &size);
	if (!error) {
		memcpy(target, data ? data : (const uint8_t *)"", size);
		target[size] = 0;
		node_drop_held(m, n);
		fuse_reply_readlink(req, target);
	} else {
		reply_error(m, req, error);
	}
	leave(m);
}
