/* Operations on contents: open files, reading, writing, syncing, and control files as they are read and written. */
#include "fs/ops_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/control_handle.h"
#include "fs/errmap.h"
#include "fs/neighbours.h"
#include "fs/setid.h"

enum { SMALL_VALUE = 64 << 10 };

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
	atomic_fetch_add_explicit(&counts_of(m)->open_files, 1, memory_order_relaxed);
	fi->keep_cache = 1;
	fi->noflush = !is_writer(fi);
}

static void end_open(struct mount *m, struct node *n, const struct fuse_file_info *fi)
{
	n->opens--;
	n->writers -= is_writer(fi);
	atomic_fetch_sub_explicit(&counts_of(m)->open_files, 1, memory_order_relaxed);
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

/* With commit=write opens and closes are not told: the kernel asks the first time, and no more. */
static void ask_no_more(struct mount *m, fuse_req_t req)
{
	fuse_reply_err(req, ENOSYS);
	leave(m);
}

/* EPERM, EEXIST, EINVAL, ENAMETOOLONG. The file is built out of sight until its first close or fsync. */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_CREATE);
	struct node *dir = node_at(&m, parent), *n;
	struct fuse_entry_param e;
	if (m->options.commit_write) {
		ask_no_more(m, req); /* but make files by MKNOD */
		return;
	}
	int error = ops_create(m, dir, name, (mode & 07777) | S_IFREG, req, &n);
	if (error) {
		reply_error(m, req, error);
		leave(m);
		return;
	}
	ops_fill_entry_in(dir, n, &e);
	n->lookups++;
	count_open(m, n, fi);
	if (fuse_reply_create(req, &e, fi) != 0) { /* The caller was interrupted: no RELEASE will come. */
		n->lookups--;
		end_open(m, n, fi);
	}
	leave(m);
}

static struct control_handle *handle_of(const struct node *n, const struct fuse_file_info *fi)
{
	return n->handle ? n->handle : (struct control_handle *)(uintptr_t)fi->fh;
}

/* Who may follow what others do. */
static int check_stream(struct mount *m, const struct node *n, fuse_req_t req)
{
	return n->control->stream ? control_check_owner(m, n->control->name, fuse_req_ctx(req)->uid) : 0;
}

static int control_open(struct mount *m, struct node *n, fuse_req_t req, struct fuse_file_info *fi)
{
	struct control_handle *h = NULL;
	int error = check_stream(m, n, req);
	if (!error && (n->control->stream || ((fi->flags & O_ACCMODE) != O_WRONLY && n->control->render)))
		error = control_handle_new(m, n->control, false, &h);
	if (error)
		return error;
	if (h && !n->control->stream && control_handle_size(m, h))
		n->attr.size = control_handle_size(m, h);
	fi->nonseekable = n->control->stream != NULL;
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->direct_io = 1;
	n->opens++;
	return 0;
}

static void control_release(struct mount *m, struct node *n, struct fuse_file_info *fi)
{
	control_handle_free(m, (struct control_handle *)(uintptr_t)fi->fh); /* of this open: a node's own goes with the node */
	n->opens--;
	node_release(m, n);
}

/* EACCES (a control file), ENOMEM. */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_OPEN);
	struct node *n = node_at(&m, ino);
	int error = 0;
	if (m->options.commit_write) {
		ask_no_more(m, req);
		return;
	}
	if (n->control) {
		error = control_open(m, n, req, fi);
	} else {
		neighbours_wait(m, n);
		if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
			error = tree_check_change(m);
		if (!error && (fi->flags & O_TRUNC))
			error = file_truncate_all(m, n);
		if (!error && (fi->flags & O_TRUNC))
			setid_content_changed(req, n);
		if (!error && n->attr.expiry_ns)
			error = file_pin(m, n);
		if (!error)
			count_open(m, n, fi);
		if (!error && !is_writer(fi))
			neighbours_opened(m, n);
	}
	if (error)
		reply_error(m, req, error);
	else if (fuse_reply_open(req, fi) != 0) /* interrupted, as in op_create */
		n->control ? control_release(m, n, fi) : end_open(m, n, fi);
	leave(m);
}

static void control_read_reply(struct mount *m, fuse_req_t req, const struct node *n, const struct fuse_file_info *fi, size_t size,
			       off_t offset)
{
	struct control_handle *h = handle_of(n, fi);
	const char *data = NULL;
	size_t got = 0;
	int error = n->handle ? check_stream(m, n, req) : 0;
	if (!error && h)
		error = control_handle_read(m, h, (uint64_t)offset, size, &data, &got);
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_buf(req, data, got);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_READ);
	struct node *n = node_at(&m, ino);
	struct file_piece piece;
	if (n->control) {
		control_read_reply(m, req, n, fi, size, offset);
		leave(m);
		return;
	}
	int error = file_read_piece(m, n, (uint64_t)offset, size, &piece);
	if (error) {
		reply_error(m, req, error);
		leave(m);
		return;
	}
	atomic_fetch_add_explicit(&counts_of(m)->bytes_read, piece.size, memory_order_relaxed);
	if (offset == 0 && piece.size == n->attr.size && !n->staged)
		neighbours_read(m, n);
	/* The copying to the kernel holds nobody up, either. */
	struct mount *outer = mount_outer(m);
	if (piece.buffer) {
		leave(m);
		m = outer;
		fuse_reply_buf(req, (const char *)piece.data, piece.size);
		mount_lock(m);
	} else {
		fuse_reply_buf(req, (const char *)piece.data, piece.size);
		/* A small value is found again as fast as it is kept, and keeping it would pin a memtable. */
		if (n->has_held && !n->unlinked && !n->attr.expiry_ns && n->held.value_size <= SMALL_VALUE)
			node_drop_held(m, n);
	}
	file_piece_done(m, &piece);
	leave(m);
}

/* The end of what changed a file's content. With commit=write that is the commit; else nothing fails. */
static int content_changed(struct mount *m, fuse_req_t req, struct node *n)
{
	setid_content_changed(req, n);
	return m->options.commit_write ? file_commit(m, n) : 0;
}

/* EFBIG, ENOMEM, EIO; for control files what the line deserves. */
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_WRITE);
	struct node *n = node_at(&m, ino);
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
	int error = tree_check_change(m); /* A transaction may have ended since the open. */
	if (!error)
		error = file_write(m, n, data, size, (uint64_t)offset, fi->flags & O_APPEND);
	if (!error)
		error = content_changed(m, req, n);
	if (error) {
		reply_error(m, req, error);
	} else {
		atomic_fetch_add_explicit(&counts_of(m)->bytes_written, size, memory_order_relaxed);
		fuse_reply_write(req, size);
	}
	leave(m);
}

/* The close of a descriptor: what is staged becomes the value. ENOSPC, EIO, EROFS, ENAMETOOLONG. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_FLUSH);
	struct node *n = node_at(&m, ino);
	if (m->options.commit_write) {
		ask_no_more(m, req);
		return;
	}
	reply_error(m, req, n->control || !is_writer(fi) || !n->data_dirty ? 0 : file_commit(m, n));
	leave(m);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_RELEASE);
	struct node *n = node_at(&m, ino);
	if (n->control)
		control_release(m, n, fi);
	else
		end_open(m, n, fi);
	fuse_reply_err(req, 0);
	leave(m);
}

/* Durable when it returns, without holding up others while the disk works. */
static void sync_node(fuse_req_t req, enum mount_opcode op, fuse_ino_t ino)
{
	struct mount *m = enter(req, op);
	struct node *n = node_at(&m, ino);
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

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	sync_node(req, OP_FSYNC, ino);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
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
	if ((!punch && !zero) || offset >= n->attr.size) { /* the times move, as if something had been changed */
		n->attr.mtime_ns = n->attr.ctime_ns = attr_now_ns();
		node_mark_attr(m, n);
		return 0;
	}
	return file_zero(m, n, offset, (end < n->attr.size ? end : n->attr.size) - offset);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_FALLOCATE);
	struct node *n = node_at(&m, ino);
	(void)fi;
	int error = n->control ? EPERM : tree_check_change(m);
	if (!error)
		error = fallocate_node(m, n, mode, (uint64_t)offset, (uint64_t)length);
	if (!error)
		error = content_changed(m, req, n);
	reply_error(m, req, error);
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

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_LSEEK);
	struct node *n = node_at(&m, ino);
	uint64_t found = 0;
	(void)fi;
	int error = n->control ? EINVAL : offset < 0 ? ENXIO : seek_node(m, n, (uint64_t)offset, whence, &found);
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_lseek(req, (off_t)found);
	leave(m);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi, fuse_ino_t to,
			       off_t to_offset, struct fuse_file_info *to_fi, size_t size, int flags)
{
	struct mount *m = enter(req, OP_COPY_FILE_RANGE);
	struct node *a = node_of(m, from), *b = node_at(&m, to);
	size_t copied = 0;
	(void)from_fi;
	(void)to_fi;
	int error = flags ? EINVAL : a->control || b->control ? EOPNOTSUPP : tree_check_change(m);
	if (!error)
		error = file_copy(m, a, (uint64_t)from_offset, b, (uint64_t)to_offset, size, &copied);
	if (!error)
		error = content_changed(m, req, b);
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_write(req, copied);
	leave(m);
}
