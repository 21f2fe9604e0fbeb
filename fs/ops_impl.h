/* What the files of operations (ops*.c) share: a request's begin and end, what the kernel is told of a node, and the operations. */
#ifndef WOMBAT_FS_OPS_IMPL_H
#define WOMBAT_FS_OPS_IMPL_H

#include "fs/ops.h"

#include <string.h>

#include "fs/control.h"
#include "fs/file.h"
#include "fs/namei.h"
#include "fs/tree.h"

/* The control directory's inode number; its entries' are this and their ids. */
enum { CONTROL_INO = 2 };

#define FOREVER 1e9

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Whether it changes nothing that the kernel is told of nodes or names. Others may be so, too. */
static inline bool is_quiet(enum mount_opcode op)
{
	switch (op) {
	case OP_LOOKUP: case OP_FORGET: case OP_BATCH_FORGET: case OP_GETATTR: case OP_READLINK: case OP_STATFS: case OP_GETXATTR:
	case OP_LISTXATTR: case OP_OPENDIR: case OP_READDIR: case OP_READDIRPLUS: case OP_RELEASEDIR: case OP_ACCESS:
		return true;
	default:
		return false;
	}
}

static inline struct mount *enter(fuse_req_t req, enum mount_opcode op)
{
	struct mount *m = mount_of(req);
	mount_count(m, op);
	mount_lock_quietly(m);
	if (!is_quiet(op))
		mount_may_change(m);
	return m;
}

/* The node, and whose it is: the mount's own, or a tree's below the control directory. */
static inline struct node *node_at(struct mount **m, fuse_ino_t ino)
{
	struct node *n = node_of(*m, ino);
	*m = n->mount;
	return n;
}

static inline void leave(struct mount *m)
{
	file_trim(m);
	if (m->outer)
		tree_used(m);
	m = mount_outer(m);
	if (m->trees)
		trees_sweep(m);
	mount_unlock(m);
}

static inline struct mount_counts *counts_of(struct mount *m)
{
	return &mount_outer(m)->counts;
}

static inline void reply_error(struct mount *m, fuse_req_t req, int error)
{
	if (error)
		atomic_fetch_add_explicit(&counts_of(m)->errors, 1, memory_order_relaxed);
	fuse_reply_err(req, error);
}

static inline struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	return (struct caller){ c->uid, c->gid, c->umask };
}

static inline bool is_control_name(const struct mount *m, const struct node *dir, const char *name)
{
	return dir->control ? true : dir == &m->nodes->root && !m->outer && strcmp(name, m->options.ctldir) == 0;
}

/* What stat(2) says of the node. */
void ops_stat(struct mount *m, const struct node *n, struct stat *out);
/* For how many seconds the kernel may remember the node and its attributes. */
double ops_timeout(const struct node *n);
/* The node as a reply's entry; as one in the directory. The caller counts the lookup. */
void ops_fill_entry(const struct node *n, struct fuse_entry_param *e);
void ops_fill_entry_in(const struct node *dir, const struct node *n, struct fuse_entry_param *e);
/* Replies with the node, which the kernel then knows once more. */
void ops_reply_entry(fuse_req_t req, const struct node *dir, struct node *n);

/* The node of a name in the control directory or below; of a name anywhere. 0, ENOENT, ENOMEM, or an error of the store's. */
int ops_control_lookup(struct mount *m, struct node *dir, const char *name, struct node **out);
int ops_lookup(struct mount *m, struct node *dir, const char *name, struct node **out);

/* Creation, removal and renaming leave the control directory alone, and what is kept as it was. 0, EPERM, EROFS. */
int ops_check_names(const struct mount *m, const struct node *dir, const char *name);
/* The same for what a control directory has made, removed or renamed in it, if that is possible at all. 0, EPERM, EACCES. */
int ops_check_control(struct mount *m, const struct node *dir, bool possible, fuse_req_t req);

/* A file that is built out of sight until its first commit, in a directory of any kind. */
int ops_create(struct mount *m, struct node *dir, const char *name, mode_t mode, fuse_req_t req, struct node **out);

/* Ends the listings that are still open. The caller has the mount's lock. */
void ops_close_dirs(void);

/* ops_names.c */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned flags);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void op_readlink(fuse_req_t req, fuse_ino_t ino);

/* ops_attr.c */
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int set, struct fuse_file_info *fi);
void op_access(fuse_req_t req, fuse_ino_t ino, int mask);
void op_statfs(fuse_req_t req, fuse_ino_t ino);

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

/* ops_file.c */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi,
			fuse_ino_t to, off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags);

/* ops_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);

#endif
