/*
 * The table of operations.
 *
 * Timeouts are infinite: nobody but this daemon changes what the mount shows. The control directory's nodes are the
 * exception, their documents are made anew each time.
 */
#include "fs/ops.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <sys/xattr.h>

#include "fs/control.h"
#include "fs/dir.h"
#include "fs/errmap.h"
#include "fs/file.h"
#include "fs/namei.h"
#include "fs/xattr.h"

enum { MAX_WRITE = 1 << 20, SMALL_VALUE = 64 << 10, CONTROL_INO = 2 };

#define FOREVER 1e9

/* ---- Helpers ------------------------------------------------------------------------------- */

static struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct mount *enter(fuse_req_t req, enum mount_opcode op)
{
	struct mount *m = mount_of(req);
	mount_count(m, op);
	pthread_mutex_lock(&m->nodes->mu);
	return m;
}

static void leave(struct mount *m)
{
	file_trim(m);
	pthread_mutex_unlock(&m->nodes->mu);
}

static void reply_error(struct mount *m, fuse_req_t req, int error)
{
	if (error)
		atomic_fetch_add_explicit(&m->counts.errors, 1, memory_order_relaxed);
	fuse_reply_err(req, error);
}

static struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	return (struct caller){ c->uid, c->gid };
}

/* A control file's size is that of the document that was opened last, or as it would be read now. */
static void control_stat(struct mount *m, const struct node *n, struct stat *out)
{
	const struct control_entry *e = n->control;
	*out = (struct stat){ .st_ino = CONTROL_INO + e->id, .st_mode = e->mode, .st_nlink = 1, .st_uid = m->options.uid,
			      .st_gid = m->options.gid, .st_blksize = 4096 };
	/* The mount's own time: programs that compare times before and after reading would see a change each time. */
	out->st_mtim = (struct timespec){ .tv_sec = (time_t)(m->mounted_at_ns / 1000000000u),
					  .tv_nsec = (long)(m->mounted_at_ns % 1000000000u) };
	out->st_atim = out->st_ctim = out->st_mtim;
	struct control_text text = { 0 };
	if (n->opens)
		out->st_size = (off_t)n->attr.size;
	else if (S_ISREG(e->mode) && e->render && control_read(m, e, &text) == 0)
		out->st_size = (off_t)text.size;
	out->st_blocks = (out->st_size + 511) / 512;
	control_text_done(&text);
}

static void node_stat(struct mount *m, const struct node *n, struct stat *out)
{
	if (n->control) {
		control_stat(m, n, out);
		return;
	}
	attr_to_stat(&n->attr, n->ino, out);
	out->st_nlink = n->unlinked ? 0 : 1;
}

static double timeout_of(const struct node *n)
{
	return n->control ? 0 : FOREVER;
}

static void fill_entry(struct mount *m, const struct node *n, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){ .ino = node_id(m, n), .generation = m->nodes->boot, .attr_timeout = timeout_of(n),
					.entry_timeout = timeout_of(n) };
	node_stat(m, n, &e->attr);
}

/* Replies with the node, which the kernel then knows once more. */
static void reply_entry(struct mount *m, fuse_req_t req, struct node *n)
{
	struct fuse_entry_param e;
	fill_entry(m, n, &e);
	n->lookups++;
	if (fuse_reply_entry(req, &e) != 0) {
		n->lookups--;
		node_release(m, n);
	}
}

/* ---- The control directory ----------------------------------------------------------------- */

static bool is_control_name(const struct mount *m, const struct node *dir, const char *name)
{
	return dir->control ? true : dir == &m->nodes->root && strcmp(name, m->options.ctldir) == 0;
}

static int control_lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	const struct control_entry *e = dir->control ? control_find(dir->control, name) : control_root(m);
	size_t len = strlen(name);
	if (!e)
		return ENOENT;
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

static int lookup_any(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	return is_control_name(m, dir, name) ? control_lookup(m, dir, name, out) : namei_lookup(m, dir, name, out);
}

/* What an open control file reads: its document as of the open. */
struct control_handle {
	struct control_text text;
};

/* ---- Names --------------------------------------------------------------------------------- */

/* Creation, removal and renaming leave the control directory alone. */
static int check_not_control(const struct mount *m, const struct node *dir, const char *name)
{
	return is_control_name(m, dir, name) ? EPERM : 0;
}

/* ENOENT, ENAMETOOLONG, EIO. A missing name is remembered by the kernel. */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = enter(req, OP_LOOKUP);
	struct node *dir = node_of(m, parent), *n;
	int error = lookup_any(m, dir, name, &n);
	if (!error) {
		reply_entry(m, req, n);
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
	node_release(m, n);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct mount *m = enter(req, OP_FORGET);
	forget_one(m, ino, count);
	leave(m);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
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
	struct node *dir = node_of(m, parent), *n;
	int error = check_not_control(m, dir, name);
	if (!error)
		error = namei_make(m, dir, name, mode, rdev, target, caller_of(req), &n);
	if (error)
		reply_error(m, req, error);
	else
		reply_entry(m, req, n);
	leave(m);
}

/* EPERM (control directory), EEXIST, EINVAL, ENAMETOOLONG, ENOSPC, EROFS: likewise for the next two. */
static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make(req, OP_MKNOD, parent, name, mode & S_IFMT ? mode : mode | S_IFREG, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, OP_MKDIR, parent, name, (mode & 07777) | S_IFDIR, 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, OP_SYMLINK, parent, name, S_IFLNK | 0777, 0, target);
}

/* EPERM, ENOENT, EISDIR. */
static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = enter(req, OP_UNLINK);
	struct node *dir = node_of(m, parent);
	int error = check_not_control(m, dir, name);
	if (!error)
		error = namei_unlink(m, dir, name);
	reply_error(m, req, error);
	leave(m);
}

/* EPERM, ENOENT, ENOTDIR, ENOTEMPTY. */
static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = enter(req, OP_RMDIR);
	struct node *dir = node_of(m, parent);
	int error = check_not_control(m, dir, name);
	if (!error)
		error = namei_rmdir(m, dir, name);
	reply_error(m, req, error);
	leave(m);
}

/* EPERM, EINVAL (flags), ENOENT, EEXIST, EINVAL (into itself), EXDEV, ENOTDIR, EISDIR, ENOTEMPTY. */
static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		      unsigned flags)
{
	struct mount *m = enter(req, OP_RENAME);
	struct node *dir = node_of(m, parent), *new_dir = node_of(m, new_parent);
	int error = check_not_control(m, dir, name);
	if (!error)
		error = check_not_control(m, new_dir, new_name);
	if (!error)
		error = namei_rename(m, dir, name, new_dir, new_name, flags);
	reply_error(m, req, error);
	leave(m);
}

/* A second name for a file is not kept yet: EPERM, as of file systems without links. */
static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct mount *m = mount_of(req);
	(void)ino;
	(void)new_parent;
	(void)new_name;
	mount_count(m, OP_LINK);
	reply_error(m, req, EPERM);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = enter(req, OP_READLINK);
	struct node *n = node_of(m, ino);
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

/* ---- Attributes ---------------------------------------------------------------------------- */

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_GETATTR);
	struct node *n = node_of(m, ino);
	struct stat st;
	(void)fi;
	node_stat(m, n, &st);
	fuse_reply_attr(req, &st, timeout_of(n));
	leave(m);
}

static int64_t ns_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* A change of owner takes the set-id bits away, of group too where the group may execute. */
static void clear_setid(struct node *n)
{
	if (!S_ISREG(n->attr.mode))
		return;
	n->attr.mode &= ~(mode_t)S_ISUID;
	if (n->attr.mode & S_IXGRP)
		n->attr.mode &= ~(mode_t)S_ISGID;
}

static void set_owner(struct node *n, const struct stat *to, int set)
{
	if (set & FUSE_SET_ATTR_UID)
		n->attr.uid = to->st_uid;
	if (set & FUSE_SET_ATTR_GID)
		n->attr.gid = to->st_gid;
	if (!(set & FUSE_SET_ATTR_MODE))
		clear_setid(n);
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

/* `by_user`: not root, whose writing and truncating takes set-id bits away. */
static int setattr(struct mount *m, struct node *n, const struct stat *to, int set, bool by_user,
		   const struct fuse_file_info *fi)
{
	if (n->kind == KEYPATH_CHUNK && n->parent)
		return EPERM; /* There is no record to keep it in. */
	if (set & FUSE_SET_ATTR_SIZE) {
		if (to->st_size < 0)
			return EINVAL;
		int error = file_resize(m, n, (uint64_t)to->st_size);
		if (error)
			return error;
		if (by_user)
			clear_setid(n);
	}
	if (set & FUSE_SET_ATTR_MODE)
		n->attr.mode = (n->attr.mode & S_IFMT) | (to->st_mode & 07777);
	if (set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		set_owner(n, to, set);
	set_times(n, to, set);
	node_mark_attr(m, n);
	/* truncate(2) has no close that would commit it. */
	return (set & FUSE_SET_ATTR_SIZE) && !fi && !n->writers ? file_commit(m, n) : 0;
}

/* EPERM (control directory, chunk of a long name), EINVAL, EFBIG, ENOSPC. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int set, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_SETATTR);
	struct node *n = node_of(m, ino);
	struct stat st;
	/* A control file may be truncated, as shells do before they write; it has no state to lose. */
	int error = n->control ? (set & ~(FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME |
					  FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW) ? EPERM : 0) :
				 setattr(m, n, to, set, fuse_req_ctx(req)->uid != 0, fi);
	if (error) {
		reply_error(m, req, error);
	} else {
		node_stat(m, n, &st);
		fuse_reply_attr(req, &st, timeout_of(n));
	}
	leave(m);
}

/* Asked only where the kernel does not check permissions itself: a mount of root's that nobody else may use. Root may do
 * all but execute a file that nobody may. EACCES. */
static void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct mount *m = enter(req, OP_ACCESS);
	const struct node *n = node_of(m, ino);
	bool refused = (mask & X_OK) && S_ISREG(n->attr.mode) && !(n->attr.mode & (S_IXUSR | S_IXGRP | S_IXOTH));
	reply_error(m, req, refused ? EACCES : 0);
	leave(m);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
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

/* ---- Files --------------------------------------------------------------------------------- */

/* What a descriptor is for is kept in its handle: FLUSH comes without the flags of open(2). */
enum { HANDLE_READER, HANDLE_WRITER };

static bool is_writer(const struct fuse_file_info *fi)
{
	return fi->fh == HANDLE_WRITER;
}

static void count_open(struct mount *m, struct node *n, struct fuse_file_info *fi)
{
	fi->fh = (fi->flags & O_ACCMODE) == O_RDONLY ? HANDLE_READER : HANDLE_WRITER;
	n->opens++;
	n->writers += is_writer(fi);
	atomic_fetch_add_explicit(&m->counts.open_files, 1, memory_order_relaxed);
	fi->keep_cache = 1;
	fi->noflush = !is_writer(fi);
}

/* EPERM, EEXIST, EINVAL, ENAMETOOLONG. The file is built out of sight until its first close or fsync. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_CREATE);
	struct node *dir = node_of(m, parent), *n;
	struct fuse_entry_param e;
	int error = check_not_control(m, dir, name);
	if (!error)
		error = namei_create(m, dir, name, (mode & 07777) | S_IFREG, caller_of(req), &n);
	if (error) {
		reply_error(m, req, error);
		leave(m);
		return;
	}
	fill_entry(m, n, &e);
	n->lookups++;
	count_open(m, n, fi);
	if (fuse_reply_create(req, &e, fi) != 0) {
		n->lookups--;
		n->opens--;
		n->writers -= is_writer(fi);
	}
	leave(m);
}

static int control_open(struct mount *m, struct node *n, struct fuse_file_info *fi)
{
	struct control_handle *h = calloc(1, sizeof *h);
	if (!h)
		return ENOMEM;
	int error = (fi->flags & O_ACCMODE) != O_WRONLY && n->control->render ? control_read(m, n->control, &h->text) : 0;
	if (error) {
		free(h);
		return error;
	}
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->direct_io = 1;
	n->opens++;
	if (h->text.size)
		n->attr.size = h->text.size;
	return 0;
}

/* EACCES (a control file), ENOMEM. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_OPEN);
	struct node *n = node_of(m, ino);
	int error = 0;
	if (n->control) {
		error = control_open(m, n, fi);
	} else {
		if (fi->flags & O_TRUNC)
			error = file_truncate_all(m, n);
		if (!error && (fi->flags & O_TRUNC) && fuse_req_ctx(req)->uid != 0)
			clear_setid(n);
		if (!error)
			count_open(m, n, fi);
	}
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_open(req, fi);
	leave(m);
}

static void control_read_reply(fuse_req_t req, const struct fuse_file_info *fi, size_t size, off_t offset)
{
	const struct control_handle *h = (const struct control_handle *)(uintptr_t)fi->fh;
	size_t at = (size_t)offset < h->text.size ? (size_t)offset : h->text.size;
	size_t n = h->text.size - at < size ? h->text.size - at : size;
	fuse_reply_buf(req, h->text.data ? h->text.data + at : NULL, n);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_READ);
	struct node *n = node_of(m, ino);
	const uint8_t *data;
	size_t got;
	if (n->control) {
		control_read_reply(req, fi, size, offset);
		leave(m);
		return;
	}
	int error = file_read(m, n, (uint64_t)offset, size, &data, &got);
	if (error) {
		reply_error(m, req, error);
	} else {
		atomic_fetch_add_explicit(&m->counts.bytes_read, got, memory_order_relaxed);
		fuse_reply_buf(req, (const char *)data, got);
		/* A small value is found again as fast as it is kept, and keeping it would pin a memtable. */
		if (n->has_held && !n->unlinked && n->held.value_size <= SMALL_VALUE)
			node_drop_held(m, n);
	}
	leave(m);
}

/* EFBIG, ENOMEM, EIO; for control files what the line deserves. */
static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_WRITE);
	struct node *n = node_of(m, ino);
	if (n->control) {
		const struct control_entry *e = n->control;
		leave(m);
		int refused = control_write(m, e, fuse_req_ctx(req)->uid, data, size);
		if (refused)
			reply_error(m, req, refused);
		else
			fuse_reply_write(req, size);
		return;
	}
	int error = file_write(m, n, data, size, (uint64_t)offset, fi->flags & O_APPEND);
	if (!error && fuse_req_ctx(req)->uid != 0)
		clear_setid(n);
	if (error) {
		reply_error(m, req, error);
	} else {
		atomic_fetch_add_explicit(&m->counts.bytes_written, size, memory_order_relaxed);
		fuse_reply_write(req, size);
	}
	leave(m);
}

/* The close of a descriptor: what is staged becomes the value. ENOSPC, EIO, EROFS, ENAMETOOLONG. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_FLUSH);
	struct node *n = node_of(m, ino);
	int error = n->control || !is_writer(fi) || !n->data_dirty ? 0 : file_commit(m, n);
	reply_error(m, req, error);
	leave(m);
}

static void control_release(struct mount *m, struct node *n, struct fuse_file_info *fi)
{
	struct control_handle *h = (struct control_handle *)(uintptr_t)fi->fh;
	control_text_done(&h->text);
	free(h);
	n->opens--;
	node_release(m, n);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_RELEASE);
	struct node *n = node_of(m, ino);
	if (n->control) {
		control_release(m, n, fi);
	} else {
		n->opens--;
		n->writers -= is_writer(fi);
		atomic_fetch_sub_explicit(&m->counts.open_files, 1, memory_order_relaxed);
		/* Pages written through a map after the close come here; nobody is left to hear of an error, so what
		 * fails stays staged. */
		if (!n->writers && n->data_dirty)
			file_commit(m, n);
		if (!n->writers && !n->data_dirty && !n->unlinked)
			node_drop_stage(m, n);
		if (!n->opens && !n->unlinked)
			node_drop_held(m, n);
		node_release(m, n);
	}
	fuse_reply_err(req, 0);
	leave(m);
}

/* Durable when it returns, without holding up others while the disk works. */
static void sync_node(fuse_req_t req, enum mount_opcode op, fuse_ino_t ino)
{
	struct mount *m = enter(req, op);
	struct node *n = node_of(m, ino);
	int error = n->control ? 0 : file_commit(m, n);
	leave(m);
	if (!error && !n->control) {
		enum store_result r = m->store->calls->sync(m->store);
		if (r != STORE_OK)
			control_set_error(m, "%s", m->store->calls->last_error(m->store));
		error = errmap_from_store(r);
	}
	reply_error(m, req, error);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	sync_node(req, OP_FSYNC, ino);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	sync_node(req, OP_FSYNCDIR, ino);
}

/* Space is not reserved ahead: allocation only makes the file as long as it was promised to be. EOPNOTSUPP, EFBIG. */
static int fallocate_node(struct mount *m, struct node *n, int mode, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	bool zero = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
	if (mode & ~FALLOC_FL_KEEP_SIZE && !punch && !zero)
		return EOPNOTSUPP;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > n->attr.size) {
		int error = file_resize(m, n, end);
		if (error)
			return error;
	}
	if (!punch && !zero)
		return 0;
	if (offset >= n->attr.size)
		return 0;
	return file_zero(m, n, offset, (end < n->attr.size ? end : n->attr.size) - offset);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_FALLOCATE);
	struct node *n = node_of(m, ino);
	(void)fi;
	reply_error(m, req, n->control ? EPERM : fallocate_node(m, n, mode, (uint64_t)offset, (uint64_t)length));
	leave(m);
}

/* Where data or a hole begins, at or behind an offset: the end of the file is a hole. ENXIO, EINVAL. */
static int seek_node(struct mount *m, struct node *n, uint64_t offset, int whence, uint64_t *out)
{
	uint64_t from, to;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return EINVAL;
	int error = file_next_data(m, n, offset, &from, &to);
	if (whence == SEEK_DATA) {
		*out = from;
		return error;
	}
	if (offset >= n->attr.size)
		return ENXIO;
	while (!error && from == offset) {
		offset = to;
		error = file_next_data(m, n, offset, &from, &to);
	}
	*out = offset;
	return error == ENXIO ? 0 : error;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_LSEEK);
	struct node *n = node_of(m, ino);
	uint64_t found = 0;
	(void)fi;
	int error = n->control ? EINVAL : offset < 0 ? ENXIO : seek_node(m, n, (uint64_t)offset, whence, &found);
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_lseek(req, (off_t)found);
	leave(m);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi, fuse_ino_t to,
			       off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags)
{
	struct mount *m = enter(req, OP_COPY_FILE_RANGE);
	struct node *a = node_of(m, from), *b = node_of(m, to);
	size_t copied = 0;
	(void)from_fi;
	(void)to_fi;
	int error = flags ? EINVAL : a->control || b->control ? EOPNOTSUPP :
		    file_copy(m, a, (uint64_t)from_offset, b, (uint64_t)to_offset, size, &copied);
	if (!error && fuse_req_ctx(req)->uid != 0)
		clear_setid(b);
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_write(req, copied);
	leave(m);
}

/* ---- Directories --------------------------------------------------------------------------- */

/* An open control directory needs no listing of its own. All are in a list: a lazy unmount may close them for good
 * without telling. */
struct open_dir {
	struct open_dir *prev, *next;
	struct dir_handle *listing;
	const struct control_entry *control;
};

static struct open_dir *open_dirs; /* guarded by the mount's lock */

static void open_dir_add(struct open_dir *o)
{
	o->prev = NULL;
	o->next = open_dirs;
	if (open_dirs)
		open_dirs->prev = o;
	open_dirs = o;
}

static void open_dir_free(struct mount *m, struct open_dir *o)
{
	if (o->prev)
		o->prev->next = o->next;
	else
		open_dirs = o->next;
	if (o->next)
		o->next->prev = o->prev;
	dir_close(m, o->listing);
	free(o);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_OPENDIR);
	struct node *n = node_of(m, ino);
	struct open_dir *o = calloc(1, sizeof *o);
	int error = o ? 0 : ENOMEM;
	if (!error && n->control)
		o->control = n->control;
	else if (!error)
		error = dir_open(m, n, &o->listing);
	if (error) {
		free(o);
		reply_error(m, req, error);
	} else {
		open_dir_add(o);
		fi->fh = (uint64_t)(uintptr_t)o;
		atomic_fetch_add_explicit(&m->counts.open_dirs, 1, memory_order_relaxed);
		fuse_reply_open(req, fi);
	}
	leave(m);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_RELEASEDIR);
	struct open_dir *o = (struct open_dir *)(uintptr_t)fi->fh;
	(void)ino;
	open_dir_free(m, o);
	atomic_fetch_sub_explicit(&m->counts.open_dirs, 1, memory_order_relaxed);
	leave(m);
	fuse_reply_err(req, 0);
}

struct reply {
	char *data;
	size_t used, size;
};

/* Adds the entry; false: no room. */
static bool add_name(fuse_req_t req, struct reply *r, const char *name, uint64_t ino, mode_t type, uint64_t cookie)
{
	struct stat st = { .st_ino = ino, .st_mode = type };
	size_t n = fuse_add_direntry(req, r->data + r->used, r->size - r->used, name, &st, (off_t)cookie);
	if (n > r->size - r->used)
		return false;
	r->used += n;
	return true;
}

static uint64_t ino_of(struct mount *m, struct node *dir, const struct dir_entry *e)
{
	if (e->is_dot)
		return e->cookie == 1 || !dir->parent ? dir->ino : dir->parent->ino;
	struct node *n = node_find(m, dir, e->name, strlen(e->name));
	return n ? n->ino : node_default_ino(dir, (const uint8_t *)e->name, strlen(e->name), S_ISDIR(e->type));
}

/* With attributes: the kernel then knows the node once more. ENOENT: gone meanwhile, nothing to add. */
static int add_plus(struct mount *m, fuse_req_t req, struct reply *r, struct dir_handle *d, const struct dir_entry *e,
		    bool *out_full)
{
	struct fuse_entry_param p;
	struct node *n = NULL;
	if (e->is_dot) {
		p = (struct fuse_entry_param){ .attr = { .st_ino = ino_of(m, dir_node(d), e), .st_mode = S_IFDIR } };
	} else {
		int error = dir_entry_node(m, d, e, &n);
		if (error)
			return error;
		fill_entry(m, n, &p);
	}
	size_t size = fuse_add_direntry_plus(req, r->data + r->used, r->size - r->used, e->name, &p, (off_t)e->cookie);
	*out_full = size > r->size - r->used;
	if (!*out_full) {
		r->used += size;
		if (n)
			n->lookups++;
	} else if (n) {
		node_release(m, n);
	}
	return 0;
}

static int fill_listing(struct mount *m, fuse_req_t req, struct dir_handle *d, uint64_t offset, bool plus, struct reply *r)
{
	struct dir_entry e;
	int error = dir_seek(m, d, offset);
	while (!error) {
		bool full = false;
		error = dir_peek(m, d, &e);
		if (error)
			break;
		if (plus)
			error = add_plus(m, req, r, d, &e, &full);
		else
			full = !add_name(req, r, e.name, ino_of(m, dir_node(d), &e), e.type, e.cookie);
		if (full)
			return 0;
		if (error == ENOENT)
			error = 0;
		if (!error)
			dir_advance(d);
	}
	return error == ENOENT || r->used ? 0 : error;
}

static void fill_control(fuse_req_t req, const struct control_entry *c, uint64_t offset, struct reply *r)
{
	static const char *const dots[] = { ".", ".." };
	for (; offset < 2; offset++)
		if (!add_name(req, r, dots[offset], CONTROL_INO, S_IFDIR, offset + 1))
			return;
	for (uint64_t i = 0; c->children[i]; i++)
		if (i + 2 >= offset && !add_name(req, r, c->children[i]->name, CONTROL_INO + c->children[i]->id,
						 c->children[i]->mode, i + 3))
			return;
}

static void readdir_any(fuse_req_t req, enum mount_opcode op, size_t size, off_t offset, const struct fuse_file_info *fi,
			bool plus)
{
	struct mount *m = enter(req, op);
	struct open_dir *o = (struct open_dir *)(uintptr_t)fi->fh;
	struct reply r = { .data = malloc(size), .size = size };
	int error = r.data ? 0 : ENOMEM;
	if (!error && o->control)
		fill_control(req, o->control, (uint64_t)offset, &r);
	else if (!error)
		error = fill_listing(m, req, o->listing, (uint64_t)offset, plus, &r);
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_buf(req, r.data, r.used);
	free(r.data);
	leave(m);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)ino;
	readdir_any(req, OP_READDIR, size, offset, fi, false);
}

static void control_readdirplus(fuse_req_t req, const struct control_entry *c, struct mount *m, struct node *dir,
				uint64_t offset, struct reply *r)
{
	for (uint64_t at = offset;; at++) {
		struct fuse_entry_param p = { .attr = { .st_ino = CONTROL_INO, .st_mode = S_IFDIR } };
		const char *name = at == 0 ? "." : "..";
		struct node *n = NULL;
		if (at >= 2) {
			const struct control_entry *child = c->children[at - 2];
			if (!child || control_lookup(m, dir, child->name, &n))
				return;
			name = child->name;
			fill_entry(m, n, &p);
		}
		size_t size = fuse_add_direntry_plus(req, r->data + r->used, r->size - r->used, name, &p, (off_t)(at + 1));
		if (size > r->size - r->used) {
			if (n)
				node_release(m, n);
			return;
		}
		r->used += size;
		if (n)
			n->lookups++;
	}
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	const struct open_dir *o = (const struct open_dir *)(uintptr_t)fi->fh;
	if (!o->control) {
		readdir_any(req, OP_READDIRPLUS, size, offset, fi, true);
		return;
	}
	struct reply r = { .data = malloc(size), .size = size };
	enter(req, OP_READDIRPLUS);
	if (r.data) {
		control_readdirplus(req, o->control, m, node_of(m, ino), (uint64_t)offset, &r);
		fuse_reply_buf(req, r.data, r.used);
	} else {
		reply_error(m, req, ENOMEM);
	}
	leave(m);
	free(r.data);
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

/* ENOSYS (-o noxattr: the kernel never asks again), ENODATA, ERANGE. */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = enter(req, OP_GETXATTR);
	const uint8_t *value;
	size_t value_size;
	if (m->options.noxattr) {
		fuse_reply_err(req, ENOSYS);
	} else {
		int error = xattr_get(node_of(m, ino), name, &value, &value_size);
		if (error)
			fuse_reply_err(req, error); /* Absence is no error to count: it is asked before every write. */
		else
			reply_value(m, req, value, value_size, size);
	}
	leave(m);
}

static int check_xattrs(const struct mount *m, const struct node *n)
{
	if (m->options.noxattr)
		return ENOSYS;
	return n->control || (n->kind == KEYPATH_CHUNK && n->parent) ? EPERM : 0;
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct mount *m = enter(req, OP_SETXATTR);
	struct node *n = node_of(m, ino);
	int error = check_xattrs(m, n);
	if (!error)
		error = xattr_set(m, n, name, value, size, flags);
	reply_error(m, req, error);
	leave(m);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct mount *m = enter(req, OP_REMOVEXATTR);
	struct node *n = node_of(m, ino);
	int error = check_xattrs(m, n);
	if (!error)
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

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = enter(req, OP_LISTXATTR);
	struct control_text names = { 0 };
	if (m->options.noxattr) {
		fuse_reply_err(req, ENOSYS);
	} else {
		xattr_list(node_of(m, ino), add_xattr_name, &names);
		reply_value(m, req, names.data, names.size, size);
	}
	control_text_done(&names);
	leave(m);
}

/* ---- Session ------------------------------------------------------------------------------- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	static const unsigned wanted[] = {
		FUSE_CAP_READDIRPLUS, FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_ASYNC_READ,
		FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_CACHE_SYMLINKS,
	};
	for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		conn->want |= conn->capable & wanted[i];
	conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ | FUSE_CAP_HANDLE_KILLPRIV);
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
	if (error)
		node_table_done(m);
	return error;
}

int ops_done(struct mount *m)
{
	if (!m->nodes)
		return 0;
	pthread_mutex_lock(&m->nodes->mu);
	int error = file_commit_all(m);
	while (open_dirs)
		open_dir_free(m, open_dirs);
	pthread_mutex_unlock(&m->nodes->mu);
	node_table_done(m);
	return error;
}
