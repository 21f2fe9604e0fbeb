/*
 * The table of operations.
 *
 * Timeouts are infinite: nobody but this daemon changes what the mount shows. The exceptions are the control directory's
 * nodes, whose documents are made anew each time, and keys that expire.
 */
#include "fs/ops_impl.h"

#include <errno.h>
#include <string.h>

#include "fs/acl.h"
#include "fs/control_handle.h"
#include "fs/errmap.h"
#include "fs/expiry.h"
#include "fs/links.h"
#include "fs/neighbours.h"
#include "fs/notify.h"

enum { MAX_WRITE = 1 << 20 };

/* A control file's size is that of the document that was opened last, or as it would be read now. */
static void control_stat(struct mount *m, const struct node *n, struct stat *out)
{
	const struct control_entry *e = n->control;
	*out = (struct stat){ .st_ino = n->ino, .st_mode = e->mode, .st_nlink = 1, .st_uid = m->options.uid,
			      .st_gid = m->options.gid, .st_blksize = 4096 };
	/* The mount's own time: programs that compare times before and after reading would see a change each time. */
	out->st_mtim = (struct timespec){ .tv_sec = (time_t)(m->mounted_at_ns / 1000000000u),
					  .tv_nsec = (long)(m->mounted_at_ns % 1000000000u) };
	out->st_atim = out->st_ctim = out->st_mtim;
	struct control_text text = { 0 };
	if (n->handle)
		out->st_size = (off_t)control_handle_size(m, n->handle);
	else if (e->stream)
		out->st_size = (off_t)e->stream->size(m);
	else if (n->opens)
		out->st_size = (off_t)n->attr.size;
	else if (S_ISREG(e->mode) && e->render && control_read(m, e, &text) == 0)
		out->st_size = (off_t)text.size;
	out->st_blocks = (out->st_size + 511) / 512;
	control_text_done(&text);
}

void ops_stat(struct mount *m, const struct node *n, struct stat *out)
{
	if (n->control) {
		control_stat(m, n, out);
		return;
	}
	attr_to_stat(&n->attr, tree_shown_ino(m, n->ino), out);
	out->st_nlink = n->unlinked ? 0 : n->links ? n->links->count : 1;
}

double ops_timeout(const struct node *n)
{
	return n->control && !S_ISDIR(n->control->mode) ? 0 : expiry_timeout(n, FOREVER);
}

void ops_fill_entry(const struct node *n, struct fuse_entry_param *e)
{
	struct mount *m = n->mount;
	*e = (struct fuse_entry_param){ .ino = node_id(m, n), .generation = m->nodes->boot, .attr_timeout = ops_timeout(n),
					.entry_timeout = ops_timeout(n) };
	ops_stat(m, n, &e->attr);
}

/* As the entry of a directory. */
void ops_fill_entry_in(const struct node *dir, const struct node *n, struct fuse_entry_param *e)
{
	ops_fill_entry(n, e);
	if (dir->control && dir->control->dir && dir->control->dir->second_names)
		e->entry_timeout = 0;
}

/* Replies with the node, which the kernel then knows once more. */
void ops_reply_entry(fuse_req_t req, const struct node *dir, struct node *n)
{
	struct fuse_entry_param e;
	ops_fill_entry_in(dir, n, &e);
	n->lookups++;
	if (fuse_reply_entry(req, &e) != 0) {
		n->lookups--;
		node_release(n->mount, n);
	}
}

/* Opens are not told, so each look-up gets what an open would, in a node of its own. The kernel gives up the name at once, and so the
 * node at the file's last close. */
static int look_up_document(struct mount *m, const struct node *dir, const struct control_entry *e, struct node **out)
{
	struct node *n = node_new_nameless(m, CONTROL_INO + e->id, e->mode);
	if (!n)
		return ENOMEM;
	n->control = e;
	int error = control_handle_new(m, e, true, &n->handle);
	if (error) {
		node_release(m, n);
		return error;
	}
	notify_name(m, node_id(m, dir), e->name, strlen(e->name));
	*out = n;
	return 0;
}

int ops_control_lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	if (dir->control && dir->control->dir)
		return dir->control->dir->lookup(m, dir, name, out);
	const struct control_entry *e = dir->control ? control_find(dir->control, name) : control_root(m);
	size_t len = strlen(name);
	if (!e)
		return ENOENT;
	if (m->options.commit_write && S_ISREG(e->mode))
		return look_up_document(m, dir, e, out);
	*out = node_find(m, dir, name, len);
	if (*out)
		return 0;
	struct node *n = node_new(m, dir, name, len, KEYPATH_BAD, (const uint8_t *)"", 0, S_ISDIR(e->mode));
	if (!n)
		return ENOMEM;
	n->control = e;
	n->ino = CONTROL_INO + e->id;
	n->attr.mode = e->mode;
	*out = n;
	return 0;
}

int ops_lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	return is_control_name(m, dir, name) ? ops_control_lookup(m, dir, name, out) : namei_lookup_beside(m, dir, name, out);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	static const unsigned wanted[] = {
		FUSE_CAP_READDIRPLUS, FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_ASYNC_READ,
		FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_CACHE_SYMLINKS,
	};
	for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		conn->want |= conn->capable & wanted[i];
	/* Where opens are not told, an O_TRUNC would not be either. */
	if (m->options.commit_write)
		conn->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
	conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ | FUSE_CAP_HANDLE_KILLPRIV);
	/* What a maker's umask takes is said by the directory's default list, if it has one: fs/acl.c. */
	conn->want |= conn->capable & FUSE_CAP_DONT_MASK;
	/* It makes the kernel check permissions, which a mount of root's does without. */
	if (m->options.default_permissions && !m->options.noxattr)
		conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
	if (m->options.writeback_cache)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
	conn->max_write = MAX_WRITE;
	conn->max_readahead = MAX_WRITE;
	conn->time_gran = 1;
}

const struct fuse_lowlevel_ops wombatfs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.access = op_access,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
};

/* The root's attributes, and whether any inode number is recorded. */
static bool note_ino(void *arg, struct store_bytes key, const struct store_entry *entry)
{
	(void)key;
	(void)entry;
	*(bool *)arg = true;
	return false;
}

int ops_init(struct mount *m)
{
	bool found;
	int error = node_table_init(m);
	if (error)
		return error;
	m->nodes->boot = (uint64_t)attr_now_ns() >> 20;
	error = namei_load_dir(m, &m->nodes->root, &found);
	m->nodes->root.ino = 1;
	m->nodes->root.attr.ino = 0;
	m->nodes->root.ino_recorded = false;
	if (!error)
		error = errmap_from_store(m->store->calls->scan(m->store, STORE_INODES, (struct store_bytes){ NULL, 0 }, true,
								note_ino, &m->nodes->inodes_recorded));
	if (!error)
		error = errmap_from_store(m->store->calls->scan(m->store, STORE_LINKS, (struct store_bytes){ NULL, 0 }, true,
								note_ino, &m->nodes->links_recorded));
	if (!error)
		error = acl_load(m);
	if (!error)
		error = neighbours_init(m);
	if (error)
		node_table_done(m);
	return error;
}

int ops_done(struct mount *m)
{
	if (!m->nodes)
		return 0;
	expiry_stop(m);
	neighbours_done(m);
	mount_lock(m);
	int error = file_commit_all(m);
	ops_close_dirs();
	trees_close(m);
	mount_unlock(m);
	node_table_done(m);
	return error;
}
