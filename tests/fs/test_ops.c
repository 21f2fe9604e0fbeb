/*
 * fs/ops over the wire: what each operation's reply says, what it leaves behind, and its errors. Where POSIX orders
 * the errors, a request that deserves two of them gets the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/accesslog.h"
#include "fs/store.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

enum { FOREVER = 1000000000, A_TIME = 1234567890 };

static const struct wire_who root_user = { .uid = 0, .gid = 0, .pid = 2 };
static const struct wire_who user = { .uid = 1000, .gid = 1000, .pid = 1 };

static struct fuse_attr attr_of(struct fuse_wire *w, uint64_t node)
{
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, node, &a), 0);
	return a;
}

static uint64_t nodes(const struct fuse_wire *w)
{
	return atomic_load((atomic_uint_fast64_t *)(uintptr_t)&w->m.counts.nodes);
}

static uint64_t max_value_size(const struct fuse_wire *w)
{
	return w->m.store->calls->max_value_size(w->m.store);
}

/* ---- Lookups and the counts of them ---- */

static void test_root(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_attr a = attr_of(w, WIRE_ROOT);
	assert_int_equal(a.ino, 1);
	assert_true(S_ISDIR(a.mode));
	assert_int_equal(a.nlink, 1);
	assert_int_equal(a.blksize, 4096);
}

static void test_lookup(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out made, e;
	char name[300];
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "f", &e), ENOENT);
	/* The kernel is told that it may remember the absence. */
	assert_int_equal(e.nodeid, 0);
	assert_int_equal(e.entry_valid, FOREVER);
	assert_int_equal(wire_mknod(w, WIRE_ROOT, "f", S_IFREG | 0640, 0, &made), 0);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "f", &e), 0);
	assert_int_equal(e.nodeid, made.nodeid);
	assert_int_equal(e.generation, made.generation);
	assert_int_equal(e.entry_valid, FOREVER);
	assert_int_equal(e.attr_valid, FOREVER);
	assert_int_equal(e.attr.mode, S_IFREG | 0640);
	assert_int_equal(e.attr.ino, attr_of(w, made.nodeid).ino);

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_int_equal(wire_lookup(w, WIRE_ROOT, name, &e), ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(wire_lookup(w, WIRE_ROOT, name, &e), ENOENT);
	/* No key has that name: '%' alone stands for itself. */
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "%25", &e), ENOENT);
	assert_int_equal(wire_mknod(w, WIRE_ROOT, "%25", S_IFREG, 0, NULL), EINVAL);
}

static void test_forget(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t before = nodes(w);
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "f", NULL), 0);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "f", NULL), 0);
	assert_int_equal(wire_lookups(w, f), 3);
	assert_int_equal(nodes(w), before + 1);
	wire_forget(w, f, 2);
	assert_int_equal(nodes(w), before + 1);
	wire_forget(w, f, 1);
	assert_int_equal(nodes(w), before);
	wire_check_text(w, wire_walk(w, "f"), "text");
}

static void test_batch_forget(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out d;
	uint64_t before = nodes(w);
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &d), 0);
	uint64_t f = wire_put(w, d.nodeid, "f", ""), g = wire_put(w, d.nodeid, "g", "");
	/* The directory's own times are staged, and keep it. */
	assert_int_equal(wire_fsync(w, d.nodeid, 0), 0);
	/* A directory outlives being forgotten as long as what is in it is known. */
	const struct fuse_forget_one first[] = { { d.nodeid, 1 }, { f, 1 } }, second[] = { { g, 1 } };
	wire_batch_forget(w, first, 2);
	assert_int_equal(nodes(w), before + 2);
	wire_batch_forget(w, second, 1);
	assert_int_equal(nodes(w), before);
	wire_batch_forget(w, NULL, 0);
}

/* ---- Making ---- */

static void test_create(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e, again;
	uint64_t fh, other;
	assert_int_equal(wire_create(w, WIRE_ROOT, "f", 0604, O_RDWR, &e, &fh), 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0604);
	assert_int_equal(e.attr.uid, 1000);
	assert_int_equal(e.attr.gid, 1000);
	assert_int_equal(e.attr.size, 0);
	assert_int_equal(e.attr.nlink, 1);
	assert_int_equal(wire_create(w, WIRE_ROOT, "f", 0600, O_RDWR, NULL, &other), EEXIST);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "f", &again), 0);
	assert_int_equal(again.nodeid, e.nodeid);
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_RDWR), 0);
	wire_reopen(w);
	struct fuse_attr a = attr_of(w, wire_walk(w, "f"));
	assert_int_equal(a.mode, S_IFREG | 0604);
	assert_int_equal(a.ino, e.attr.ino);
	assert_int_equal(a.mtime, e.attr.mtime);
	assert_int_equal(a.mtimensec, e.attr.mtimensec);
}

static void test_types(void **state)
{
	struct fuse_wire *w = *state;
	static const struct {
		const char *name;
		uint32_t mode, rdev;
	} all[] = {
		{ "fifo", S_IFIFO | 0600, 0 },
		{ "socket", S_IFSOCK | 0777, 0 },
		{ "char", S_IFCHR | 0660, 0x103 },
		{ "block", S_IFBLK | 0660, 0x800 },
		{ "file", S_IFREG | 07755, 0 },
	};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(wire_mknod(w, WIRE_ROOT, all[i].name, all[i].mode, all[i].rdev, NULL), 0);
	/* Without a type it is a file. */
	assert_int_equal(wire_mknod(w, WIRE_ROOT, "untyped", 0644, 0, NULL), 0);
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
			struct fuse_attr a = attr_of(w, wire_walk(w, all[i].name));
			assert_int_equal(a.mode, all[i].mode);
			assert_int_equal(a.rdev, all[i].rdev);
		}
		assert_int_equal(attr_of(w, wire_walk(w, "untyped")).mode, S_IFREG | 0644);
	}
}

static void test_set_group_id_directory(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out d, e;
	uint64_t fh;
	w->who = (struct wire_who){ .uid = 5, .gid = 50, .pid = 1 };
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &d), 0);
	assert_int_equal(wire_chmod(w, d.nodeid, 02775), 0);
	w->who = (struct wire_who){ .uid = 6, .gid = 60, .pid = 1 };
	assert_int_equal(wire_mkdir(w, d.nodeid, "sub", 0700, &e), 0);
	assert_int_equal(e.attr.mode, S_IFDIR | 02700);
	assert_int_equal(e.attr.gid, 50);
	assert_int_equal(wire_create(w, d.nodeid, "f", 0600, O_WRONLY, &e, &fh), 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0600);
	assert_int_equal(e.attr.uid, 6);
	assert_int_equal(e.attr.gid, 50);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_WRONLY), 0);
}

static void test_symlink(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	char target[PATH_MAX];
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "l", "../some where", &e), 0);
	assert_int_equal(e.attr.mode, S_IFLNK | 0777);
	assert_int_equal(e.attr.size, strlen("../some where"));
	assert_int_equal(wire_readlink(w, e.nodeid), 0);
	assert_string_equal((char *)w->reply, "../some where");
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "l", "x", NULL), EEXIST);
	/* The longest that symlink(2) takes. */
	memset(target, 't', sizeof(target));
	target[PATH_MAX - 1] = '\0';
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "long", target, NULL), 0);
	wire_reopen(w);
	assert_int_equal(wire_readlink(w, wire_walk(w, "long")), 0);
	assert_string_equal((char *)w->reply, target);
	assert_int_equal(attr_of(w, wire_walk(w, "l")).size, strlen("../some where"));
}

/* The kernel knows the node once more. */
static void test_link(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "");
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	assert_int_equal(wire_walk(w, "g"), f);
	assert_int_equal(attr_of(w, f).nlink, 2);
}

/* A key has a limit, and a path that would be over it is refused when it is made, not when it is closed. */
static void test_paths_too_long(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e = { .nodeid = WIRE_ROOT };
	uint64_t dir = WIRE_ROOT, fh;
	char name[256];
	int error;
	uint64_t depth = 0;
	memset(name, 'd', 255);
	name[255] = '\0';
	while ((error = wire_mkdir(w, dir, name, 0755, &e)) == 0 && ++depth < 1000)
		dir = e.nodeid;
	assert_int_equal(error, ENAMETOOLONG);
	assert_int_equal(depth, w->m.store->calls->max_key_size(w->m.store) / 256);
	assert_int_equal(wire_create(w, dir, name, 0644, O_RDWR, NULL, &fh), ENAMETOOLONG);
	assert_int_equal(wire_symlink(w, dir, name, "x", NULL), ENAMETOOLONG);
	assert_int_equal(wire_lookup(w, dir, name, NULL), ENOENT);
}

/* ---- Attributes ---- */

static void test_setattr(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text");
	struct fuse_attr a;
	struct fuse_setattr_in in = { .valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_ATIME | FATTR_MTIME,
				      .mode = S_IFREG | 0400, .uid = 7, .gid = 8, .atime = A_TIME, .atimensec = 1,
				      .mtime = A_TIME + 1, .mtimensec = 999999999 };
	w->who = root_user;
	assert_int_equal(wire_setattr(w, f, &in, &a), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(a.mode, S_IFREG | 0400);
		assert_int_equal(a.uid, 7);
		assert_int_equal(a.gid, 8);
		assert_int_equal(a.atime, A_TIME);
		assert_int_equal(a.atimensec, 1);
		assert_int_equal(a.mtime, A_TIME + 1);
		assert_int_equal(a.mtimensec, 999999999);
		assert_true(a.ctime > A_TIME + 1);
		assert_int_equal(a.size, 4);
		wire_reopen(w);
		f = wire_walk(w, "f");
		a = attr_of(w, f);
	}
	/* Times before 1970. */
	in = (struct fuse_setattr_in){ .valid = FATTR_MTIME, .mtime = (uint64_t)-2, .mtimensec = 5 };
	assert_int_equal(wire_setattr(w, f, &in, NULL), 0);
	wire_reopen(w);
	a = attr_of(w, wire_walk(w, "f"));
	assert_int_equal((int64_t)a.mtime, -2);
	assert_int_equal(a.mtimensec, 5);
}

static void test_times_now(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "");
	struct fuse_setattr_in in = { .valid = FATTR_ATIME | FATTR_ATIME_NOW | FATTR_MTIME, .mtime = A_TIME };
	struct fuse_attr a, before = attr_of(w, f);
	assert_int_equal(wire_setattr(w, f, &in, &a), 0);
	assert_int_equal(a.mtime, A_TIME);
	assert_true(a.atime >= before.atime);
	in = (struct fuse_setattr_in){ .valid = FATTR_MTIME | FATTR_MTIME_NOW };
	assert_int_equal(wire_setattr(w, f, &in, &a), 0);
	assert_true(a.mtime >= before.mtime);
}

static void test_truncate(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "some text");
	assert_int_equal(wire_truncate(w, f, 4), 0);
	wire_check_text(w, f, "some");
	assert_int_equal(wire_truncate(w, f, 6), 0);
	wire_check_content(w, f, "some\0\0", 6);
	/* truncate(2) is no part of an open file, and is committed. */
	wire_reopen(w);
	f = wire_walk(w, "f");
	wire_check_content(w, f, "some\0\0", 6);
	assert_int_equal(wire_truncate(w, f, 0), 0);
	wire_reopen(w);
	f = wire_walk(w, "f");
	wire_check_text(w, f, "");
	uint64_t max = max_value_size(w);
	assert_int_equal(wire_truncate(w, f, max + 1), EFBIG);
	assert_int_equal(wire_truncate(w, f, UINT64_MAX), EINVAL);
	assert_int_equal(attr_of(w, f).size, 0);
}

static uint32_t mode_after(struct fuse_wire *w, uint64_t f, uint32_t mode, const struct fuse_setattr_in *in)
{
	struct fuse_attr a;
	assert_int_equal(wire_chmod(w, f, mode), 0);
	assert_int_equal(wire_setattr(w, f, in, &a), 0);
	return a.mode & 07777;
}

/* Set-id bits go when the owner changes, and when the kernel says that the writer may not keep them; the group's stay where it
 * may not execute, unless the caller is not in the group. */
static void test_set_id_bits(void **state)
{
	struct fuse_wire *w = *state;
	const struct fuse_setattr_in owner = { .valid = FATTR_UID | FATTR_GID, .uid = 3, .gid = 3 },
				     size = { .valid = FATTR_SIZE | FATTR_KILL_SUIDGID, .size = 1 },
				     kept = { .valid = FATTR_SIZE, .size = 1 },
				     both = { .valid = FATTR_UID | FATTR_MODE, .uid = 4, .mode = 06711 };
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), fh;
	assert_int_equal(mode_after(w, f, 06755, &owner), 0755);
	assert_int_equal(mode_after(w, f, 06745, &owner), 0745);
	assert_int_equal(mode_after(w, f, 06755, &both), 06711);
	assert_int_equal(mode_after(w, f, 06755, &size), 0755);
	assert_int_equal(mode_after(w, f, 06755, &kept), 06755);
	w->who = root_user;
	assert_int_equal(mode_after(w, f, 06745, &size), 02745);
	assert_int_equal(mode_after(w, f, 06745, &owner), 02745);
	assert_int_equal(wire_chmod(w, f, 06755), 0);

	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 0, "x", 1), 0);
	assert_int_equal(attr_of(w, f).mode & 07777, 06755);
	w->who = user;
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 0, "x", 1), 0);
	assert_int_equal(attr_of(w, f).mode & 07777, 0755);
	assert_int_equal(wire_flush(w, f, fh), 0);
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);

	assert_int_equal(wire_chmod(w, f, 06755), 0);
	assert_int_equal(wire_open_file(w, f, O_WRONLY | O_TRUNC, &fh), 0);
	assert_int_equal(attr_of(w, f).mode & 07777, 0755);
	assert_int_equal(wire_release(w, f, fh, O_WRONLY), 0);
}

static void test_access(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "");
	w->who = root_user;
	assert_int_equal(wire_access(w, f, R_OK | W_OK), 0);
	assert_int_equal(wire_access(w, f, X_OK), EACCES);
	assert_int_equal(wire_chmod(w, f, 0001), 0);
	assert_int_equal(wire_access(w, f, X_OK), 0);
	assert_int_equal(wire_access(w, WIRE_ROOT, X_OK), 0);
}

static void test_statfs(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_kstatfs s;
	assert_int_equal(wire_statfs(w, &s), 0);
	assert_int_equal(s.bsize, 4096);
	assert_int_equal(s.namelen, 255);
	assert_true(s.blocks > 0 && s.bfree <= s.blocks && s.bavail <= s.bfree);
	assert_true(s.ffree <= s.files);
}

/* ---- Contents ---- */

static void test_read_and_write(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	uint64_t fh;
	assert_int_equal(wire_create(w, WIRE_ROOT, "f", 0644, O_RDWR, &e, &fh), 0);
	assert_int_equal(wire_read(w, e.nodeid, fh, 0, 100), 0);
	assert_int_equal(w->size, 0);
	/* Nothing written is nothing changed, wherever it is. */
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 0, "", 0), 0);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 100, "", 0), 0);
	assert_int_equal(attr_of(w, e.nodeid).size, 0);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 4, "wide", 4), 0);
	wire_check_content(w, e.nodeid, "\0\0\0\0wide", 8);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 0, "very", 4), 0);
	/* O_APPEND: wherever the kernel believes the end is. */
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR | O_APPEND, 1, "!", 1), 0);
	wire_check_text(w, e.nodeid, "verywide!");
	assert_int_equal(wire_read(w, e.nodeid, fh, 4, 2), 0);
	assert_string_equal((char *)w->reply, "wi");
	assert_int_equal(wire_read(w, e.nodeid, fh, 9, 1), 0);
	assert_int_equal(w->size, 0);
	assert_int_equal(wire_read(w, e.nodeid, fh, (uint64_t)1 << 62, 1), 0);
	assert_int_equal(w->size, 0);
	struct fuse_attr a = attr_of(w, e.nodeid);
	assert_int_equal(a.size, 9);
	assert_int_equal(a.blocks, 1);
	uint64_t max = max_value_size(w);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, max, "x", 1), EFBIG);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, INT64_MAX, "x", 1), EFBIG);
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_RDWR), 0);
	wire_check_text(w, e.nodeid, "verywide!");
}

/* What the database has of the key; -1: nothing. */
static int64_t stored_size(struct fuse_wire *w, const char *key)
{
	struct wombat_record r = { 0 };
	struct wombat_slice slice = { (const uint8_t *)key, strlen(key) };
	enum wombat_status s = wombat_get(w->m.db, NULL, WOMBAT_USER, slice, &r);
	int64_t size = s == WOMBAT_OK ? (int64_t)r.value.size : -1;
	assert_true(s == WOMBAT_OK || s == WOMBAT_NOT_FOUND);
	wombat_record_release(&r);
	return size;
}

/* FLUSH is when the database has it, and not before. */
static void test_flush_commits(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	uint64_t fh, reader;
	assert_int_equal(wire_create(w, WIRE_ROOT, "f", 0644, O_WRONLY, &e, &fh), 0);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_WRONLY, 0, "text", 4), 0);
	assert_int_equal(stored_size(w, "f"), -1);
	/* A reader's close is no reason to commit. */
	assert_int_equal(wire_open_file(w, e.nodeid, O_RDONLY, &reader), 0);
	assert_int_equal(wire_flush(w, e.nodeid, reader), 0);
	assert_int_equal(wire_release(w, e.nodeid, reader, O_RDONLY), 0);
	assert_int_equal(stored_size(w, "f"), -1);
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(stored_size(w, "f"), 4);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_WRONLY, 4, "!", 1), 0);
	assert_int_equal(wire_fsync(w, e.nodeid, fh), 0);
	assert_int_equal(stored_size(w, "f"), 5);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_WRONLY), 0);
}

static void test_open_truncates(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "old and long"), fh, reader;
	assert_int_equal(wire_open_file(w, f, O_RDONLY, &reader), 0);
	assert_int_equal(wire_open_file(w, f, O_WRONLY | O_TRUNC, &fh), 0);
	assert_int_equal(attr_of(w, f).size, 0);
	assert_int_equal(wire_read(w, f, reader, 0, 10), 0);
	assert_int_equal(w->size, 0);
	assert_int_equal(wire_write(w, f, fh, O_WRONLY, 0, "new", 3), 0);
	assert_int_equal(wire_read(w, f, reader, 0, 10), 0);
	assert_string_equal((char *)w->reply, "new");
	/* Without a flush, as when the process was killed: the release commits. */
	assert_int_equal(wire_release(w, f, fh, O_WRONLY), 0);
	assert_int_equal(wire_release(w, f, reader, O_RDONLY), 0);
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "f"), "new");
}

static void test_unlinked_but_open(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "kept"), fh;
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "f", NULL), ENOENT);
	assert_int_equal(attr_of(w, f).nlink, 0);
	assert_int_equal(wire_read(w, f, fh, 0, 10), 0);
	assert_string_equal((char *)w->reply, "kept");
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 4, " on", 3), 0);
	assert_int_equal(wire_fsync(w, f, fh), 0);
	assert_int_equal(wire_read(w, f, fh, 0, 10), 0);
	assert_string_equal((char *)w->reply, "kept on");
	/* A new file of that name is another one. */
	uint64_t g = wire_put(w, WIRE_ROOT, "f", "new");
	assert_true(g != f);
	assert_int_equal(wire_flush(w, f, fh), 0);
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
	wire_check_text(w, g, "new");
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "f"), "new");
}

static void test_fallocate(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "0123456789"), fh;
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_fallocate(w, f, fh, 0, 8, 4), 0);
	wire_check_content(w, f, "0123456789\0\0", 12);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_KEEP_SIZE, 0, 100), 0);
	assert_int_equal(attr_of(w, f).size, 12);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8, 100), 0);
	wire_check_content(w, f, "01234567\0\0\0\0", 12);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 50, 100), 0);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_ZERO_RANGE, 0, 2), 0);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 7, 9), 0);
	wire_check_content(w, f, "\0\0" "23456\0\0\0\0\0", 12);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_ZERO_RANGE, 11, 3), 0);
	assert_int_equal(attr_of(w, f).size, 14);
	assert_int_equal(wire_fallocate(w, f, fh, FALLOC_FL_COLLAPSE_RANGE, 0, 1), EOPNOTSUPP);
	uint64_t max = max_value_size(w);
	assert_int_equal(wire_fallocate(w, f, fh, 0, max, 1), EFBIG);
	assert_int_equal(wire_flush(w, f, fh), 0);
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
}

/* ---- Extended attributes ---- */

static void test_xattrs(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text");
	static uint8_t big[65536 + 1];
	assert_int_equal(wire_getxattr(w, f, "user.a", 100), ENODATA);
	/* Labels and lists are what ls(1) need not ask for again, where nobody has any. */
	assert_int_equal(wire_getxattr(w, f, "system.posix_acl_access", 100), EOPNOTSUPP);
	assert_int_equal(wire_getxattr(w, f, "security.selinux", 100),
			 access("/sys/fs/selinux/enforce", F_OK) == 0 ? ENODATA : EOPNOTSUPP);
	assert_int_equal(wire_getxattr(w, f, "security.capability", 100), ENODATA);
	assert_int_equal(wire_listxattr(w, f, 0), 0);
	assert_int_equal(w->size, 0);
	assert_int_equal(wire_setxattr(w, f, "user.a", "1", 1, XATTR_REPLACE), ENODATA);
	assert_int_equal(wire_setxattr(w, f, "user.a", "first", 5, XATTR_CREATE), 0);
	assert_int_equal(wire_setxattr(w, f, "user.a", "1", 1, XATTR_CREATE), EEXIST);
	assert_int_equal(wire_setxattr(w, f, "user.b", "", 0, 0), 0);
	assert_int_equal(wire_setxattr(w, f, "user.a", "second", 6, XATTR_REPLACE), 0);
	assert_int_equal(wire_setxattr(w, f, "system.posix_acl_access", "x", 1, 0), EINVAL);
	assert_int_equal(wire_setxattr(w, f, "user.big", big, sizeof(big), 0), E2BIG);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(wire_getxattr(w, f, "user.a", 0), 0);
		assert_int_equal(w->size, 6);
		assert_int_equal(wire_getxattr(w, f, "user.a", 5), ERANGE);
		assert_int_equal(wire_getxattr(w, f, "user.a", 6), 0);
		assert_string_equal((char *)w->reply, "second");
		assert_int_equal(wire_getxattr(w, f, "user.b", 6), 0);
		assert_int_equal(w->size, 0);
		assert_int_equal(wire_getxattr(w, f, "user.", 6), EINVAL);
		assert_int_equal(wire_listxattr(w, f, 0), 0);
		assert_int_equal(w->size, 14);
		assert_int_equal(wire_listxattr(w, f, 13), ERANGE);
		assert_int_equal(wire_listxattr(w, f, 14), 0);
		/* The order is of no meaning. */
		assert_true(memcmp(w->reply, "user.a\0user.b", 14) == 0 || memcmp(w->reply, "user.b\0user.a", 14) == 0);
		wire_reopen(w);
		f = wire_walk(w, "f");
	}
	assert_int_equal(wire_removexattr(w, f, "user.c"), ENODATA);
	assert_int_equal(wire_removexattr(w, f, "user.a"), 0);
	assert_int_equal(wire_getxattr(w, f, "user.a", 6), ENODATA);
	assert_int_equal(wire_getxattr(w, f, "user.b", 6), 0);
	wire_check_text(w, f, "text");
}

static void test_no_xattrs(void **state)
{
	struct fuse_wire w;
	(void)state;
	wire_start(&w, "noxattr");
	uint64_t f = wire_put(&w, WIRE_ROOT, "f", "");
	assert_int_equal(wire_getxattr(&w, f, "user.a", 1), ENOSYS);
	assert_int_equal(wire_listxattr(&w, f, 1), ENOSYS);
	assert_int_equal(wire_setxattr(&w, f, "user.a", "", 0, 0), ENOSYS);
	assert_int_equal(wire_removexattr(&w, f, "user.a"), ENOSYS);
	wire_stop(&w);
}

/* ---- The control directory, and a mount that nothing changes ---- */

static void test_control_directory(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out dir, e;
	uint64_t fh;
	assert_int_equal(wire_lookup(w, WIRE_ROOT, ".wombat", &dir), 0);
	assert_true(S_ISDIR(dir.attr.mode));
	/* Directories of it are there as long as the mount is; what is in a file is asked for each time. */
	assert_int_equal(dir.entry_valid, FOREVER);
	assert_int_equal(wire_lookup(w, dir.nodeid, "nothing", &e), ENOENT);
	assert_int_equal(wire_lookup(w, dir.nodeid, "config", &e), 0);
	assert_int_equal(e.entry_valid, 0);
	assert_true(e.attr.size > 0);
	assert_int_equal(wire_open_file(w, e.nodeid, O_RDONLY, &fh), 0);
	assert_int_equal(wire_read(w, e.nodeid, fh, 0, 4096), 0);
	assert_true(w->size > 0);
	size_t size = w->size;
	assert_int_equal(wire_read(w, e.nodeid, fh, size - 1, 4096), 0);
	assert_true(w->size >= 1);
	assert_int_equal(wire_read(w, e.nodeid, fh, 1 << 20, 4096), 0);
	assert_int_equal(w->size, 0);
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_RDONLY), 0);

	uint64_t f = wire_put(w, WIRE_ROOT, "f", "");
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, ".wombat", 0755, NULL), EPERM);
	assert_int_equal(wire_mkdir(w, dir.nodeid, "d", 0755, NULL), EPERM);
	assert_int_equal(wire_create(w, dir.nodeid, "f", 0644, O_RDWR, NULL, &fh), EPERM);
	assert_int_equal(wire_unlink(w, dir.nodeid, "config"), EPERM);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, ".wombat"), EPERM);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", dir.nodeid, "f", 0), EPERM);
	assert_int_equal(wire_rename(w, WIRE_ROOT, ".wombat", WIRE_ROOT, "g", 0), EPERM);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, ".wombat", RENAME_EXCHANGE), EPERM);
	assert_int_equal(wire_chmod(w, e.nodeid, 0777), EPERM);
	assert_int_equal(wire_truncate(w, e.nodeid, 0), 0);
	assert_int_equal(wire_setxattr(w, e.nodeid, "user.a", "", 0, 0), EPERM);
	wire_check_text(w, f, "");
}

static void test_control_listing(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t dir = wire_walk(w, ".wombat");
	char *whole = wire_list(w, dir, 4096, false), *pieces = wire_list(w, dir, 64, false),
	     *plus = wire_list(w, dir, 4096, true), *root = wire_list(w, WIRE_ROOT, 4096, true);
	assert_non_null(strstr(whole, "config "));
	assert_string_equal(whole, pieces);
	assert_string_equal(whole, plus);
	/* The root's listing does not show it: a copy of the mount is a copy of the data. */
	assert_string_equal(root, "");
	test_free(whole);
	test_free(pieces);
	test_free(plus);
	test_free(root);
}

static void test_read_only(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, NULL), 0);
	w->options = "ro";
	wire_reopen(w);
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "e", 0755, NULL), EROFS);
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "e", "x", NULL), EROFS);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), EROFS);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), EROFS);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", 0), EROFS);
	/* What failed left nothing behind. */
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "g", &e), ENOENT);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "e", &e), ENOENT);
	wire_check_text(w, wire_walk(w, "f"), "text");
	assert_true(S_ISDIR(attr_of(w, wire_walk(w, "d")).mode));
}

static void test_unknown_operations(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_bmap_in in = { .block = 0 };
	const struct iovec bmap[] = { { &in, sizeof(in) } };
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "");
	assert_int_equal(wire_call(w, FUSE_BMAP, f, bmap, 1), ENOSYS);
	assert_int_equal(wire_call(w, 4000, f, NULL, 0), ENOSYS);
}

/* `found` is where; or the errno. */
static void check_seek(struct fuse_wire *w, uint64_t f, uint32_t whence, uint64_t offset, int error, uint64_t found)
{
	struct fuse_lseek_in in = { .whence = whence, .offset = offset };
	const struct iovec seek[] = { { &in, sizeof(in) } };
	assert_int_equal(wire_call(w, FUSE_LSEEK, f, seek, 1), error);
	if (!error)
		assert_int_equal(((const struct fuse_lseek_out *)(const void *)w->reply)->offset, found);
}

static void test_seek(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), empty = wire_put(w, WIRE_ROOT, "empty", "");
	for (int round = 0; round < 2; round++) {
		check_seek(w, f, SEEK_DATA, 1, 0, 1);
		check_seek(w, f, SEEK_HOLE, 1, 0, 4);
		check_seek(w, f, SEEK_DATA, 4, ENXIO, 0);
		check_seek(w, f, SEEK_HOLE, 4, ENXIO, 0);
		check_seek(w, f, SEEK_SET, 0, EINVAL, 0);
		check_seek(w, empty, SEEK_DATA, 0, ENXIO, 0);
		wire_reopen(w);
		f = wire_walk(w, "f");
		empty = wire_walk(w, "empty");
	}
	/* Beyond what is staged it has holes, before and after it is stored. */
	assert_int_equal(wire_truncate(w, f, 5 << 20), 0);
	for (int round = 0; round < 2; round++) {
		check_seek(w, f, SEEK_DATA, 0, 0, 0);
		check_seek(w, f, SEEK_HOLE, 0, 0, 4);
		check_seek(w, f, SEEK_DATA, 4, ENXIO, 0);
		check_seek(w, f, SEEK_HOLE, 5000, 0, 5000);
		check_seek(w, f, SEEK_HOLE, 5 << 20, ENXIO, 0);
		wire_reopen(w);
		f = wire_walk(w, "f");
	}
}

/* Who opens may be interrupted before the reply comes; then no RELEASE does. The end of the test counts what is left open. */
static void test_interrupted(void **state)
{
	struct fuse_wire *w = *state;
	static const uint32_t flags[] = { O_RDONLY, O_WRONLY, O_RDWR };
	const struct iovec created[] = {
		{ .iov_base = &(struct fuse_create_in){ .flags = O_WRONLY, .mode = S_IFREG | 0644 }, .iov_len = sizeof(struct fuse_create_in) },
		{ .iov_base = (void *)(uintptr_t)"new", .iov_len = 4 },
	};
	w->who = root_user;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text");
	uint64_t nodes_opened[] = { f, wire_walk(w, ".wombat/stats"), wire_walk(w, ".wombat/accesslog") };
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(shutdown(w->fd, SHUT_RD), 0);
	for (size_t i = 0; i < 3; i++) {
		struct fuse_open_in in = { .flags = flags[i] };
		const struct iovec parts[] = { { .iov_base = &in, .iov_len = sizeof in } };
		wire_tell(w, FUSE_OPEN, f, parts, 1);
		in.flags = O_RDONLY;
		wire_tell(w, FUSE_OPEN, nodes_opened[i], parts, 1);
		wire_tell(w, FUSE_OPENDIR, WIRE_ROOT, parts, 1);
	}
	wire_tell(w, FUSE_CREATE, WIRE_ROOT, created, 2);
	assert_int_equal(atomic_load(&w->m.counts.open_files), 0);
	assert_int_equal(atomic_load(&w->m.counts.open_dirs), 0);
	assert_false(accesslog_is_read(&w->m));
	/* What was made stays, as for anybody who closed it. */
	struct wombat_record r;
	assert_ok(wombat_get(w->m.db, NULL, WOMBAT_USER, WOMBAT_STR("new"), &r));
	wombat_record_release(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_root),
		TEST(test_lookup),
		TEST(test_forget),
		TEST(test_batch_forget),
		TEST(test_create),
		TEST(test_types),
		TEST(test_set_group_id_directory),
		TEST(test_symlink),
		TEST(test_link),
		TEST(test_paths_too_long),
		TEST(test_setattr),
		TEST(test_times_now),
		TEST(test_truncate),
		TEST(test_set_id_bits),
		TEST(test_access),
		TEST(test_statfs),
		TEST(test_read_and_write),
		TEST(test_flush_commits),
		TEST(test_open_truncates),
		TEST(test_unlinked_but_open),
		TEST(test_fallocate),
		TEST(test_interrupted),
		TEST(test_xattrs),
		cmocka_unit_test(test_no_xattrs),
		TEST(test_control_directory),
		TEST(test_control_listing),
		TEST(test_read_only),
		TEST(test_seek), TEST(test_unknown_operations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
