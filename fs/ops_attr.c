/* Operations on attributes: a node's own, extended ones, and the file system's. */
#include "fs/ops_impl.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/acl.h"
#include "fs/errmap.h"
#include "fs/neighbours.h"
#include "fs/notify.h"
#include "fs/setid.h"
#include "fs/xattr.h"
#include "fs/xattr_virtual.h"

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_GETATTR);
	struct node *n = node_at(&m, ino);
	struct stat st;
	(void)fi;
	if (n->parent)
		n->parent->asked++;
	ops_stat(m, n, &st);
	fuse_reply_attr(req, &st, ops_timeout(n));
	leave(m);
}

static int64_t ns_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* `in_group`: the caller is of the present group. */
static void set_owner(struct node *n, const struct stat *to, int set, bool in_group)
{
	if (set & FUSE_SET_ATTR_UID)
		n->attr.uid = to->st_uid;
	if (set & FUSE_SET_ATTR_GID)
		n->attr.gid = to->st_gid;
	if (!(set & FUSE_SET_ATTR_MODE))
		setid_clear_for_owner(n, in_group);
}

static void set_times(struct node *n, const struct stat *to, int set)
{
	int64_t now = attr_now_ns();
	if (set & FUSE_SET_ATTR_ATIME)
		n->attr.atime_ns = set & FUSE_SET_ATTR_ATIME_NOW ? now : ns_of(&to->st_atim);
	if (set & FUSE_SET_ATTR_MTIME)
		n->attr.mtime_ns = set & FUSE_SET_ATTR_MTIME_NOW ? now : ns_of(&to->st_mtim);
	n->attr.ctime_ns = set & FUSE_SET_ATTR_CTIME ? ns_of(&to->st_ctim) : now;
}

static int setattr(struct mount *m, fuse_req_t req, struct node *n, const struct stat *to, int set,
		   const struct fuse_file_info *fi)
{
	int refused = tree_check_change(m);
	if (refused)
		return refused;
	if (n->kind == KEYPATH_CHUNK && n->parent)
		return EPERM; /* There is no record to keep it in. */
	if (set & FUSE_SET_ATTR_SIZE) {
		if (to->st_size < 0)
			return EINVAL;
		neighbours_wait(m, n);
		int error = file_resize(m, n, (uint64_t)to->st_size);
		if (error)
			return error;
		setid_content_changed(req, n);
	}
	if (set & FUSE_SET_ATTR_MODE) {
		n->attr.mode = (n->attr.mode & S_IFMT) | (to->st_mode & 07777);
		acl_follow_mode(n);
	}
	if (set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		set_owner(n, to, set, !(n->attr.mode & S_ISGID) || setid_caller_in_group(req, n));
	if (!set)
		setid_clear_for_owner(n, true); /* a chown of nothing, and what else changes only these bits */
	set_times(n, to, set);
	node_mark_attr(m, n);
	if (!(set & FUSE_SET_ATTR_SIZE))
		return 0;
	if (m->options.commit_write)
		return to->st_size ? file_commit(m, n) : 0; /* what is emptied waits for the write that follows */
	/* truncate(2) has no close that would commit it. */
	return !fi && !n->writers ? file_commit(m, n) : 0;
}

/* EPERM (control directory, chunk of a long name), EINVAL, EFBIG, ENOSPC. */
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int set, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_SETATTR);
	struct node *n = node_at(&m, ino);
	struct stat st;
	/* A control file may be truncated, as shells do before they write; it has no state to lose. */
	int error = n->control ? (set & ~(FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME |
					  FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW) ? EPERM : 0) :
				 setattr(m, req, n, to, set, fi);
	if (error) {
		reply_error(m, req, error);
	} else {
		ops_stat(m, n, &st);
		fuse_reply_attr(req, &st, ops_timeout(n));
	}
	leave(m);
}

/* Asked only where the kernel does not check permissions itself: a mount of root's that nobody else may use. Root may do
 * all but execute a file that nobody may. EACCES. */
void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct mount *m = enter(req, OP_ACCESS);
	const struct node *n = node_at(&m, ino);
	bool refused = (mask & X_OK) && S_ISREG(n->attr.mode) && !(n->attr.mode & (S_IXUSR | S_IXGRP | S_IXOTH));
	reply_error(m, req, refused ? EACCES : 0);
	leave(m);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	uint64_t total = 0, available = 0, used = 0, entries = 0;
	(void)ino;
	mount_count(m, OP_STATFS);
	enum store_result r = m->store->calls->space(m->store, &total, &available, &used, &entries);
	if (r != STORE_OK) {
		reply_error(m, req, errmap_from_store(r));
		return;
	}
	struct statvfs v = {
		.f_bsize = 4096, .f_frsize = 4096, .f_blocks = total / 4096, .f_bfree = available / 4096,
		.f_bavail = available / 4096, .f_files = entries + available / 4096, .f_ffree = available / 4096,
		.f_favail = available / 4096, .f_namemax = KEYPATH_NAME_MAX,
	};
	fuse_reply_statfs(req, &v);
}

/* ---- Extended attributes ------------------------------------------------------------------- */

/* Replies with a value, its size (size 0), or ERANGE. */
static void reply_value(struct mount *m, fuse_req_t req, const void *value, size_t value_size, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, value_size);
	else if (value_size > size)
		reply_error(m, req, ERANGE);
	else
		fuse_reply_buf(req, value, value_size);
}

/*
 * What is said of an attribute that a file has not. ls(1) asks for a label and an access list of every file, and gives up for the
 * whole mount where these are not supported: labels on a machine without SELinux, lists where no file ever had one. (Where the kernel
 * enforces lists it would take that for a failure, and it remembers what a file has not.)
 */
static int absent(struct mount *m, const char *name)
{
	static atomic_int selinux; /* 0: not looked yet. Relaxed: all who look find the same. */
	if (acl_is_name(name))
		return m->options.default_permissions || mount_outer(m)->nodes->acls_recorded ? ENODATA : EOPNOTSUPP;
	if (strcmp(name, "security.selinux") != 0)
		return xattr_judge(name) == EINVAL ? EINVAL : ENODATA;
	int has = atomic_load_explicit(&selinux, memory_order_relaxed);
	if (!has) {
		has = access("/sys/fs/selinux/enforce", F_OK) == 0 ? 1 : -1;
		atomic_store_explicit(&selinux, has, memory_order_relaxed);
	}
	return has > 0 ? ENODATA : EOPNOTSUPP;
}

/* ENOSYS (-o noxattr: the kernel never asks again), ENODATA, EOPNOTSUPP, ERANGE. */
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = enter(req, OP_GETXATTR);
	struct node *n = node_at(&m, ino);
	struct key_buf computed = { 0 };
	const uint8_t *value;
	size_t value_size;
	if (m->options.noxattr) {
		fuse_reply_err(req, ENOSYS);
	} else {
		int error = 0;
		if (xattr_is_virtual(name) && !n->control) {
			error = xattr_virtual_get(m, n, name, &computed);
			value = computed.data;
			value_size = computed.size;
		} else {
			error = xattr_get(n, name, &value, &value_size);
		}
		if (error)
			fuse_reply_err(req, error == ENODATA ? absent(m, name) : error); /* Absence is no error to count: it is asked before every write. */
		else
			reply_value(m, req, value, value_size, size);
	}
	key_done(&computed);
	leave(m);
}

static int check_xattrs(const struct mount *m, const struct node *n)
{
	if (m->options.noxattr)
		return ENOSYS;
	int error = tree_check_change(m);
	return error ? error : n->control || (n->kind == KEYPATH_CHUNK && n->parent) ? EPERM : 0;
}

/* A list changes the mode. The kernel knows that only where it enforces lists. */
static int acl_changed(struct mount *m, const struct node *n, int error)
{
	if (!error && !m->options.default_permissions)
		notify_inode(m, node_id(m, n));
	return error;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct mount *m = enter(req, OP_SETXATTR);
	struct node *n = node_at(&m, ino);
	int error = check_xattrs(m, n);
	if (!error && xattr_is_virtual(name))
		error = xattr_virtual_set(m, n, name, value, size, flags);
	else if (!error && acl_is_name(name))
		error = acl_changed(m, n, acl_set(m, n, name, value, size, setid_caller_in_group(req, n)));
	else if (!error)
		error = xattr_set(m, n, name, value, size, flags);
	reply_error(m, req, error);
	leave(m);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct mount *m = enter(req, OP_REMOVEXATTR);
	struct node *n = node_at(&m, ino);
	int error = check_xattrs(m, n);
	if (!error && xattr_is_virtual(name))
		error = xattr_virtual_remove(m, n, name);
	else if (!error && acl_is_name(name))
		error = acl_remove(m, n, name);
	else if (!error)
		error = xattr_remove(m, n, name);
	reply_error(m, req, error);
	leave(m);
}

static void add_xattr_name(void *arg, const char *name, size_t len)
{
	struct control_text *text = arg;
	/* Without memory the list is short; the next one may not be. */
	if (control_text_add(text, name, len))
		control_text_add(text, "", 1);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = enter(req, OP_LISTXATTR);
	struct control_text names = { 0 };
	if (m->options.noxattr) {
		fuse_reply_err(req, ENOSYS);
	} else {
		xattr_list(node_at(&m, ino), add_xattr_name, &names);
		reply_value(m, req, names.data, names.size, size);
	}
	control_text_done(&names);
	leave(m);
}
