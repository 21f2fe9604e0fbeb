/*
 * The kernel's side of the FUSE protocol. See fuse_wire.h.
 *
 * libfuse takes "/dev/fd/N" for a mount point to mean that descriptor N is the mount: the session is made by
 * fs/session.c as ever, and only what N is differs. It is one end of a pair of SOCK_SEQPACKET sockets, which keep
 * messages whole as /dev/fuse does.
 */
#include "tests/support/fuse_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "fs/control.h"
#include "fs/ops.h"
#include "fs/options.h"
#include "fs/service.h"
#include "fs/session.h"
#include "fs/store.h"
#include "tests/support/check.h"

enum { BUFFER_SIZE = WIRE_PAYLOAD_MAX + 4096, SOCKET_BUFFER = 2 * BUFFER_SIZE };

#define PART(x) { .iov_base = (void *)&(x), .iov_len = sizeof(x) }
#define PART_BYTES(data, size) { .iov_base = (void *)(uintptr_t)(data), .iov_len = (size) }
#define PART_NAME(name) PART_BYTES(name, strlen(name) + 1)
#define COUNT(parts) (sizeof(parts) / sizeof((parts)[0]))

/* ---- Life ---- */

static void parse_options(struct fuse_wire *w, int fd)
{
	char sentence[512];
	char *argv[] = { (char *)"wombatfs", (char *)"/db", (char *)"/nowhere", (char *)"-o",
			 (char *)(uintptr_t)w->options, NULL };
	assert_true(mount_options_init(&w->m.options));
	if (mount_options_parse(&w->m.options, w->options ? 5 : 3, argv, sentence, sizeof(sentence)))
		fail_msg("-o %s: %s", w->options, sentence);
	/* After parsing, which would resolve the link that /dev/fd is. */
	free(w->m.options.mountpoint);
	assert_true(asprintf(&w->m.options.mountpoint, "/dev/fd/%d", fd) > 0);
}

/* The steps of fs/main.c, on what is in place of /dev/fuse. */
static void begin(struct fuse_wire *w)
{
	int fds[2], size = SOCKET_BUFFER;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	w->fd = fds[0];
	memset(&w->m, 0, sizeof(w->m));
	parse_options(w, fds[1]);
	assert_true(session_begin(&w->m, &wombatfs_ops, sizeof(wombatfs_ops)));
	unsigned flags = w->m.options.read_only ? WOMBAT_OPEN_READ_ONLY : WOMBAT_CREATE;
	assert_ok(db_open_env(w->env, w->m.options.db_dir, w->m.options.engine, flags, &w->m.db));
	assert_int_equal(store_lsm_new(w->m.db, &w->m.store), STORE_OK);
	assert_int_equal(control_init(&w->m), 0);
	assert_int_equal(ops_init(&w->m), 0);
	assert_true(session_mount(&w->m));
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(w->event_fd >= 0);
	w->service = service_new(&w->m, w->event_fd);
	assert_non_null(w->service);
}

void wire_open(struct fuse_wire *w, const char *options)
{
	memset(w, 0, sizeof(*w));
	w->options = options;
	w->buffer = test_malloc(BUFFER_SIZE + 1);
	assert_ok(env_mem_new(&w->env));
	w->who = (struct wire_who){ .uid = 1000, .gid = 1000, .pid = 1 };
	begin(w);
}

static void init_as_kernel(struct fuse_wire *w)
{
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = 128 << 10,
		.flags = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |
			 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
			 FUSE_WRITEBACK_CACHE | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_MAX_PAGES |
			 FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT,
	};
	assert_int_equal(wire_init(w, &in), 0);
}

void wire_start(struct fuse_wire *w, const char *options)
{
	wire_open(w, options);
	init_as_kernel(w);
}

static void forget_all(struct fuse_wire *w)
{
	while (w->known_count > 0)
		wire_forget(w, w->known[0].node, w->known[0].lookups);
}

static uint64_t left(const atomic_uint_fast64_t *counter)
{
	return atomic_load((atomic_uint_fast64_t *)(uintptr_t)counter);
}

void wire_close(struct fuse_wire *w)
{
	struct mount *m = &w->m;
	if (w->threaded)
		wire_stop_threads(w);
	forget_all(w);
	assert_int_equal(ops_done(m), 0);
	assert_int_equal(left(&m->counts.open_files), 0);
	assert_int_equal(left(&m->counts.open_dirs), 0);
	assert_int_equal(left(&m->counts.staged_files), 0);
	assert_int_equal(left(&m->counts.nodes), 0);
	control_done(m);
	m->store->calls->close(m->store, true);
	assert_ok(wombat_close(m->db));
	service_free(w->service);
	session_end(m);
	mount_options_done(&m->options);
	close(w->event_fd);
	close(w->fd);
}

void wire_reopen(struct fuse_wire *w)
{
	wire_close(w);
	begin(w);
	init_as_kernel(w);
}

void wire_stop(struct fuse_wire *w)
{
	wire_close(w);
	w->env->calls->free(w->env);
	test_free(w->buffer);
	free(w->known);
}

void wire_start_threads(struct fuse_wire *w)
{
	assert_int_equal(service_start(w->service), 0);
	w->threaded = true;
}

void wire_stop_threads(struct fuse_wire *w)
{
	service_stop(w->service);
	w->threaded = false;
}

int wire_setup(void **state)
{
	struct fuse_wire *w = test_malloc(sizeof(*w));
	wire_start(w, NULL);
	*state = w;
	return 0;
}

int wire_teardown(void **state)
{
	wire_stop(*state);
	test_free(*state);
	return 0;
}

/* ---- Messages ---- */

uint64_t wire_send(struct fuse_wire *w, uint32_t opcode, uint64_t node, struct wire_who who, const struct iovec *parts,
		   size_t count)
{
	struct fuse_in_header header = { .opcode = opcode, .nodeid = node, .uid = who.uid, .gid = who.gid,
					 .pid = who.pid, .unique = 2 * (atomic_fetch_add(&w->unique, 1) + 1) };
	struct iovec all[1 + WIRE_PARTS_MAX] = { PART(header) };
	assert_true(count <= WIRE_PARTS_MAX);
	size_t size = sizeof(header);
	for (size_t i = 0; i < count; i++) {
		all[1 + i] = parts[i];
		size += parts[i].iov_len;
	}
	header.len = (uint32_t)size;
	assert_int_equal(writev(w->fd, all, (int)count + 1), size);
	return header.unique;
}

size_t wire_receive(struct fuse_wire *w, struct fuse_out_header *out, void *buffer, size_t cap)
{
	struct iovec parts[] = { PART(*out), PART_BYTES(buffer, cap) };
	ssize_t got = readv(w->fd, parts, COUNT(parts));
	assert_true(got >= (ssize_t)sizeof(*out));
	assert_int_equal(got, out->len);
	return (size_t)got - sizeof(*out);
}

int wire_call(struct fuse_wire *w, uint32_t opcode, uint64_t node, const struct iovec *parts, size_t count)
{
	struct fuse_out_header header;
	uint64_t unique = wire_send(w, opcode, node, w->who, parts, count);
	service_serve_one(w->service);
	/* What the kernel is told in between is no reply. */
	do
		w->size = wire_receive(w, &header, w->buffer, BUFFER_SIZE);
	while (header.unique == 0);
	w->reply = w->buffer;
	w->reply[w->size] = '\0';
	assert_int_equal(header.unique, unique);
	assert_true(header.error <= 0);
	assert_true(header.error == 0 || w->size == 0);
	return -header.error;
}

void wire_tell(struct fuse_wire *w, uint32_t opcode, uint64_t node, const struct iovec *parts, size_t count)
{
	struct fuse_out_header header;
	wire_send(w, opcode, node, w->who, parts, count);
	service_serve_one(w->service);
	ssize_t got;
	while ((got = recv(w->fd, &header, sizeof header, MSG_DONTWAIT)) == (ssize_t)sizeof header)
		assert_int_equal(header.unique, 0);
	assert_true(got == 0 || errno == EAGAIN); /* 0: nothing is received any more */
}

/* Takes the whole reply, which is of that size. */
static int take(const struct fuse_wire *w, int error, void *out, size_t size)
{
	if (error)
		return error;
	assert_int_equal(w->size, size);
	memcpy(out, w->reply, size);
	return 0;
}

#define CALL(w, opcode, node, parts) wire_call(w, opcode, node, parts, COUNT(parts))

/* ---- Session ---- */

int wire_init(struct fuse_wire *w, const struct fuse_init_in *in)
{
	/* Kernels that do not know the second flags end before them. */
	size_t size = in->flags & FUSE_INIT_EXT ? sizeof(*in) : offsetof(struct fuse_init_in, flags2);
	const struct iovec parts[] = { PART_BYTES(in, size) };
	int error = CALL(w, FUSE_INIT, 0, parts);
	memset(&w->init, 0, sizeof(w->init));
	if (!error) {
		assert_true(w->size <= sizeof(w->init));
		memcpy(&w->init, w->reply, w->size);
	}
	return error;
}

int wire_destroy(struct fuse_wire *w)
{
	return wire_call(w, FUSE_DESTROY, 0, NULL, 0);
}

/* ---- Nodes ---- */

static struct wire_known *find_known(const struct fuse_wire *w, uint64_t node)
{
	for (size_t i = 0; i < w->known_count; i++)
		if (w->known[i].node == node)
			return &w->known[i];
	return NULL;
}

uint64_t wire_lookups(const struct fuse_wire *w, uint64_t node)
{
	const struct wire_known *k = find_known(w, node);
	return k ? k->lookups : 0;
}

static void know(struct fuse_wire *w, uint64_t node)
{
	struct wire_known *k = find_known(w, node);
	if (node == WIRE_ROOT || node == 0)
		return;
	if (!k && w->known_count == w->known_capacity) {
		w->known_capacity = 2 * w->known_capacity + 16;
		w->known = realloc(w->known, w->known_capacity * sizeof(*w->known));
		assert_non_null(w->known);
	}
	if (!k) {
		k = &w->known[w->known_count++];
		*k = (struct wire_known){ .node = node };
	}
	k->lookups++;
}

static void unknow(struct fuse_wire *w, uint64_t node, uint64_t lookups)
{
	struct wire_known *k = find_known(w, node);
	assert_non_null(k);
	assert_true(k->lookups >= lookups);
	k->lookups -= lookups;
	if (k->lookups == 0)
		*k = w->known[--w->known_count];
}

void wire_forget(struct fuse_wire *w, uint64_t node, uint64_t lookups)
{
	struct fuse_forget_in in = { .nlookup = lookups };
	const struct iovec parts[] = { PART(in) };
	unknow(w, node, lookups);
	wire_tell(w, FUSE_FORGET, node, parts, COUNT(parts));
}

void wire_batch_forget(struct fuse_wire *w, const struct fuse_forget_one *forgets, uint32_t count)
{
	struct fuse_batch_forget_in in = { .count = count };
	const struct iovec parts[] = { PART(in), PART_BYTES(forgets, count * sizeof(*forgets)) };
	for (uint32_t i = 0; i < count; i++)
		unknow(w, forgets[i].nodeid, forgets[i].nlookup);
	wire_tell(w, FUSE_BATCH_FORGET, 0, parts, COUNT(parts));
}

/* Of the replies that begin with an entry: takes it, and counts the lookup. */
static int take_entry(struct fuse_wire *w, int error, struct fuse_entry_out *out)
{
	struct fuse_entry_out entry;
	if (error)
		return error;
	assert_true(w->size >= sizeof(entry));
	memcpy(&entry, w->reply, sizeof(entry));
	know(w, entry.nodeid);
	if (out)
		*out = entry;
	return entry.nodeid == 0 ? ENOENT : 0;
}

int wire_lookup(struct fuse_wire *w, uint64_t dir, const char *name, struct fuse_entry_out *out)
{
	const struct iovec parts[] = { PART_NAME(name) };
	return take_entry(w, CALL(w, FUSE_LOOKUP, dir, parts), out);
}

/* ---- Attributes ---- */

static int take_attr(const struct fuse_wire *w, int error, struct fuse_attr *out)
{
	struct fuse_attr_out reply;
	error = take(w, error, &reply, sizeof(reply));
	if (!error && out)
		*out = reply.attr;
	return error;
}

int wire_getattr(struct fuse_wire *w, uint64_t node, struct fuse_attr *out)
{
	struct fuse_getattr_in in = { 0 };
	const struct iovec parts[] = { PART(in) };
	return take_attr(w, CALL(w, FUSE_GETATTR, node, parts), out);
}

int wire_setattr(struct fuse_wire *w, uint64_t node, const struct fuse_setattr_in *in, struct fuse_attr *out)
{
	const struct iovec parts[] = { PART(*in) };
	return take_attr(w, CALL(w, FUSE_SETATTR, node, parts), out);
}

int wire_truncate(struct fuse_wire *w, uint64_t node, uint64_t size)
{
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = size };
	return wire_setattr(w, node, &in, NULL);
}

int wire_chmod(struct fuse_wire *w, uint64_t node, uint32_t mode)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = mode };
	return wire_setattr(w, node, &in, NULL);
}

int wire_access(struct fuse_wire *w, uint64_t node, uint32_t mask)
{
	struct fuse_access_in in = { .mask = mask };
	const struct iovec parts[] = { PART(in) };
	return CALL(w, FUSE_ACCESS, node, parts);
}

int wire_statfs(struct fuse_wire *w, struct fuse_kstatfs *out)
{
	struct fuse_statfs_out reply;
	int error = take(w, wire_call(w, FUSE_STATFS, WIRE_ROOT, NULL, 0), &reply, sizeof(reply));
	if (!error)
		*out = reply.st;
	return error;
}

/* ---- Files ---- */

int wire_create(struct fuse_wire *w, uint64_t dir, const char *name, uint32_t mode, uint32_t flags,
		struct fuse_entry_out *out, uint64_t *out_fh)
{
	struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | mode };
	struct fuse_open_out open;
	const struct iovec parts[] = { PART(in), PART_NAME(name) };
	int error = take_entry(w, CALL(w, FUSE_CREATE, dir, parts), out);
	if (error)
		return error;
	assert_int_equal(w->size, sizeof(struct fuse_entry_out) + sizeof(open));
	memcpy(&open, w->reply + sizeof(struct fuse_entry_out), sizeof(open));
	*out_fh = open.fh;
	return 0;
}

static int open_node(struct fuse_wire *w, uint32_t opcode, uint64_t node, uint32_t flags, uint64_t *out_fh)
{
	/* The kernel's word for callers who may not keep set-id bits. */
	struct fuse_open_in in = { .flags = flags, .open_flags = (flags & O_TRUNC) && w->who.uid ? FUSE_OPEN_KILL_SUIDGID : 0 };
	struct fuse_open_out open;
	const struct iovec parts[] = { PART(in) };
	int error = take(w, CALL(w, opcode, node, parts), &open, sizeof(open));
	if (!error)
		*out_fh = open.fh;
	return error;
}

int wire_open_file(struct fuse_wire *w, uint64_t node, uint32_t flags, uint64_t *out_fh)
{
	return open_node(w, FUSE_OPEN, node, flags, out_fh);
}

static int read_node(struct fuse_wire *w, uint32_t opcode, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };
	const struct iovec parts[] = { PART(in) };
	assert_true(size <= WIRE_PAYLOAD_MAX);
	int error = CALL(w, opcode, node, parts);
	assert_true(error || w->size <= size);
	return error;
}

int wire_read(struct fuse_wire *w, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	return read_node(w, FUSE_READ, node, fh, offset, size);
}

int wire_write(struct fuse_wire *w, uint64_t node, uint64_t fh, uint32_t flags, uint64_t offset, const void *data,
	       size_t size)
{
	struct fuse_write_in in = { .fh = fh, .offset = offset, .size = (uint32_t)size, .flags = flags,
				    .write_flags = w->who.uid ? FUSE_WRITE_KILL_SUIDGID : 0 };
	struct fuse_write_out out;
	const struct iovec parts[] = { PART(in), PART_BYTES(data, size) };
	assert_true(size <= WIRE_PAYLOAD_MAX);
	int error = take(w, CALL(w, FUSE_WRITE, node, parts), &out, sizeof(out));
	assert_true(error || out.size == size);
	return error;
}

int wire_flush(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	struct fuse_flush_in in = { .fh = fh };
	const struct iovec parts[] = { PART(in) };
	return CALL(w, FUSE_FLUSH, node, parts);
}

int wire_fsync(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	struct fuse_fsync_in in = { .fh = fh };
	const struct iovec parts[] = { PART(in) };
	return CALL(w, FUSE_FSYNC, node, parts);
}

int wire_release(struct fuse_wire *w, uint64_t node, uint64_t fh, uint32_t flags)
{
	struct fuse_release_in in = { .fh = fh, .flags = flags };
	const struct iovec parts[] = { PART(in) };
	return CALL(w, FUSE_RELEASE, node, parts);
}

int wire_fallocate(struct fuse_wire *w, uint64_t node, uint64_t fh, uint32_t mode, uint64_t offset, uint64_t length)
{
	struct fuse_fallocate_in in = { .fh = fh, .offset = offset, .length = length, .mode = mode };
	const struct iovec parts[] = { PART(in) };
	return CALL(w, FUSE_FALLOCATE, node, parts);
}

/* ---- Names ---- */

int wire_mknod(struct fuse_wire *w, uint64_t dir, const char *name, uint32_t mode, uint32_t rdev,
	       struct fuse_entry_out *out)
{
	struct fuse_mknod_in in = { .mode = mode, .rdev = rdev };
	const struct iovec parts[] = { PART(in), PART_NAME(name) };
	return take_entry(w, CALL(w, FUSE_MKNOD, dir, parts), out);
}

int wire_mkdir(struct fuse_wire *w, uint64_t dir, const char *name, uint32_t mode, struct fuse_entry_out *out)
{
	struct fuse_mkdir_in in = { .mode = mode };
	const struct iovec parts[] = { PART(in), PART_NAME(name) };
	return take_entry(w, CALL(w, FUSE_MKDIR, dir, parts), out);
}

int wire_symlink(struct fuse_wire *w, uint64_t dir, const char *name, const char *target, struct fuse_entry_out *out)
{
	const struct iovec parts[] = { PART_NAME(name), PART_NAME(target) };
	return take_entry(w, CALL(w, FUSE_SYMLINK, dir, parts), out);
}

int wire_readlink(struct fuse_wire *w, uint64_t node)
{
	return wire_call(w, FUSE_READLINK, node, NULL, 0);
}

int wire_link(struct fuse_wire *w, uint64_t node, uint64_t dir, const char *name)
{
	struct fuse_link_in in = { .oldnodeid = node };
	const struct iovec parts[] = { PART(in), PART_NAME(name) };
	return take_entry(w, CALL(w, FUSE_LINK, dir, parts), NULL);
}

int wire_unlink(struct fuse_wire *w, uint64_t dir, const char *name)
{
	const struct iovec parts[] = { PART_NAME(name) };
	return CALL(w, FUSE_UNLINK, dir, parts);
}

int wire_rmdir(struct fuse_wire *w, uint64_t dir, const char *name)
{
	const struct iovec parts[] = { PART_NAME(name) };
	return CALL(w, FUSE_RMDIR, dir, parts);
}

int wire_rename(struct fuse_wire *w, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
		uint32_t flags)
{
	struct fuse_rename2_in in = { .newdir = new_dir, .flags = flags };
	const struct iovec parts[] = { PART(in), PART_NAME(name), PART_NAME(new_name) };
	return CALL(w, FUSE_RENAME2, dir, parts);
}

/* ---- Directories ---- */

int wire_opendir(struct fuse_wire *w, uint64_t node, uint64_t *out_fh)
{
	return open_node(w, FUSE_OPENDIR, node, 0, out_fh);
}

int wire_readdir(struct fuse_wire *w, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	return read_node(w, FUSE_READDIR, node, fh, offset, size);
}

int wire_readdirplus(struct fuse_wire *w, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	struct wire_dirent e;
	int error = read_node(w, FUSE_READDIRPLUS, node, fh, offset, size);
	if (error)
		return error;
	for (size_t at = 0; wire_next_dirent(w, true, &at, &e);)
		know(w, e.entry.nodeid);
	return 0;
}

int wire_releasedir(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };
	const struct iovec parts[] = { PART(in) };
	return CALL(w, FUSE_RELEASEDIR, node, parts);
}

bool wire_next_dirent(const struct fuse_wire *w, bool plus, size_t *at, struct wire_dirent *out)
{
	struct fuse_dirent d;
	size_t front = plus ? sizeof(out->entry) : 0, head = front + offsetof(struct fuse_dirent, name);
	if (*at == w->size)
		return false;
	assert_true(w->size - *at >= head);
	memset(out, 0, sizeof(*out));
	if (plus)
		memcpy(&out->entry, w->reply + *at, front);
	memcpy(&d, w->reply + *at + front, offsetof(struct fuse_dirent, name));
	assert_true(d.namelen > 0 && d.namelen < sizeof(out->name));
	size_t size = FUSE_DIRENT_ALIGN(head + d.namelen);
	assert_true(w->size - *at >= size);
	memcpy(out->name, w->reply + *at + head, d.namelen);
	out->ino = d.ino;
	out->offset = d.off;
	out->type = d.type;
	*at += size;
	return true;
}

/* ---- Extended attributes ---- */

/* The reply is a value or, to size 0, the value's size. */
static int take_xattr(struct fuse_wire *w, int error, uint32_t size)
{
	struct fuse_getxattr_out out;
	if (error || size > 0) {
		assert_true(error || w->size <= size);
		return error;
	}
	take(w, 0, &out, sizeof(out));
	w->size = out.size;
	w->reply[0] = '\0';
	return 0;
}

int wire_getxattr(struct fuse_wire *w, uint64_t node, const char *name, uint32_t size)
{
	struct fuse_getxattr_in in = { .size = size };
	const struct iovec parts[] = { PART(in), PART_NAME(name) };
	return take_xattr(w, CALL(w, FUSE_GETXATTR, node, parts), size);
}

int wire_listxattr(struct fuse_wire *w, uint64_t node, uint32_t size)
{
	struct fuse_getxattr_in in = { .size = size };
	const struct iovec parts[] = { PART(in) };
	return take_xattr(w, CALL(w, FUSE_LISTXATTR, node, parts), size);
}

int wire_setxattr(struct fuse_wire *w, uint64_t node, const char *name, const void *value, uint32_t size,
		  uint32_t flags)
{
	struct fuse_setxattr_in in = { .size = size, .flags = flags };
	/* FUSE_SETXATTR_EXT is not agreed on, so the header ends before its fields. */
	const struct iovec parts[] = { PART_BYTES(&in, FUSE_COMPAT_SETXATTR_IN_SIZE), PART_NAME(name),
				       PART_BYTES(value, size) };
	return CALL(w, FUSE_SETXATTR, node, parts);
}

int wire_removexattr(struct fuse_wire *w, uint64_t node, const char *name)
{
	const struct iovec parts[] = { PART_NAME(name) };
	return CALL(w, FUSE_REMOVEXATTR, node, parts);
}

/* ---- For short ---- */

uint64_t wire_walk(struct fuse_wire *w, const char *path)
{
	struct fuse_entry_out entry = { .nodeid = WIRE_ROOT };
	char copy[4096], *rest = NULL;
	assert_true(strlen(path) < sizeof(copy));
	strcpy(copy, path);
	for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
		int error = wire_lookup(w, entry.nodeid, name, &entry);
		if (error)
			fail_msg("%s: %s: %s", path, name, strerror(error));
	}
	return entry.nodeid;
}

uint64_t wire_put(struct fuse_wire *w, uint64_t dir, const char *name, const char *content)
{
	struct fuse_entry_out entry;
	uint64_t fh;
	assert_int_equal(wire_create(w, dir, name, 0644, O_RDWR, &entry, &fh), 0);
	assert_int_equal(wire_write(w, entry.nodeid, fh, O_RDWR, 0, content, strlen(content)), 0);
	assert_int_equal(wire_flush(w, entry.nodeid, fh), 0);
	assert_int_equal(wire_release(w, entry.nodeid, fh, O_RDWR), 0);
	return entry.nodeid;
}

void wire_put_key(struct fuse_wire *w, const char *key, const char *value)
{
	const struct wombat_slice k = { (const uint8_t *)key, strlen(key) };
	const struct wombat_slice v = { (const uint8_t *)value, strlen(value) };
	assert_ok(wombat_put(w->m.db, WOMBAT_USER, k, v));
}

void wire_check_content(struct fuse_wire *w, uint64_t node, const void *data, size_t size)
{
	uint64_t fh;
	assert_int_equal(wire_open_file(w, node, 0, &fh), 0);
	for (size_t at = 0; at <= size; at += WIRE_PAYLOAD_MAX) {
		size_t expected = size - at < WIRE_PAYLOAD_MAX ? size - at : WIRE_PAYLOAD_MAX;
		assert_int_equal(wire_read(w, node, fh, at, WIRE_PAYLOAD_MAX), 0);
		assert_int_equal(w->size, expected);
		if (expected)
			assert_memory_equal(w->reply, (const uint8_t *)data + at, expected);
	}
	assert_int_equal(wire_release(w, node, fh, 0), 0);
}

void wire_check_text(struct fuse_wire *w, uint64_t node, const char *text)
{
	wire_check_content(w, node, text, strlen(text));
}

char *wire_list(struct fuse_wire *w, uint64_t dir, uint32_t size, bool plus)
{
	struct wire_dirent e = { .offset = 0 };
	size_t used = 0, capacity = 64 << 10;
	char *names = test_malloc(capacity);
	uint64_t fh;
	names[0] = '\0';
	assert_int_equal(wire_opendir(w, dir, &fh), 0);
	for (;;) {
		assert_int_equal((plus ? wire_readdirplus : wire_readdir)(w, dir, fh, e.offset, size), 0);
		if (w->size == 0)
			break;
		for (size_t at = 0; wire_next_dirent(w, plus, &at, &e);) {
			if (strcmp(e.name, ".") == 0 || strcmp(e.name, "..") == 0)
				continue;
			assert_true(capacity - used > strlen(e.name) + 2);
			used += (size_t)sprintf(names + used, "%s ", e.name);
		}
	}
	assert_int_equal(wire_releasedir(w, dir, fh), 0);
	return names;
}
