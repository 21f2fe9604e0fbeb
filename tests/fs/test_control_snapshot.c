/*
 * snapshot/ of the control directory over the wire: a snapshot is made, shows everything as it was whatever becomes of
 * it, refuses each kind of change, is listed, and goes; its numbers are its own, and nobody who is in it is thrown out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/tree.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

static const struct wire_who stranger = { .uid = 4000, .gid = 4000, .pid = 3 };

static uint64_t snapshots(struct fuse_wire *w)
{
	w->who = (struct wire_who){ .uid = w->m.options.uid, .gid = w->m.options.gid, .pid = 1 };
	return wire_walk(w, ".wombat/snapshot");
}

static uint64_t make(struct fuse_wire *w, const char *name)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_mkdir(w, snapshots(w), name, 0755, &e), 0);
	return e.nodeid;
}

static uint64_t number(struct fuse_wire *w, uint64_t node)
{
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, node, &a), 0);
	return a.ino;
}

static void check_list(struct fuse_wire *w, uint64_t dir, const char *names)
{
	for (int plus = 0; plus < 2; plus++) {
		char *whole = wire_list(w, dir, 4096, plus), *pieces = wire_list(w, dir, plus ? 200 : 64, plus);
		assert_string_equal(whole, names);
		assert_string_equal(pieces, names);
		test_free(whole);
		test_free(pieces);
	}
}

static void last_error(struct fuse_wire *w, const char *part)
{
	uint64_t fh, node = wire_walk(w, ".wombat/last_error");
	assert_int_equal(wire_open_file(w, node, O_RDONLY, &fh), 0);
	assert_int_equal(wire_read(w, node, fh, 0, 4096), 0);
	if (!strstr((const char *)w->reply, part))
		fail_msg("last_error is: %s", (const char *)w->reply);
	assert_int_equal(wire_release(w, node, fh, O_RDONLY), 0);
}

static void test_shows_what_was(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out d;
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0750, &d), 0);
	uint64_t f = wire_put(w, d.nodeid, "f", "old"), fh;
	wire_put(w, WIRE_ROOT, "gone", "was here");
	assert_int_equal(wire_symlink(w, d.nodeid, "l", "f", NULL), 0);
	assert_int_equal(wire_chmod(w, f, 0604), 0);
	assert_int_equal(wire_setxattr(w, f, "user.a", "b", 1, 0), 0);
	/* Written, and not closed: it is seen on the mount, so it is kept. */
	assert_int_equal(wire_open_file(w, f, O_WRONLY, &fh), 0);
	assert_int_equal(wire_write(w, f, fh, O_WRONLY, 3, "er", 2), 0);
	uint64_t s = make(w, "s");
	assert_int_equal(wire_write(w, f, fh, O_WRONLY, 0, "new", 3), 0);
	assert_int_equal(wire_flush(w, f, fh), 0);
	assert_int_equal(wire_release(w, f, fh, O_WRONLY), 0);
	assert_int_equal(wire_chmod(w, f, 0600), 0);
	assert_int_equal(wire_setxattr(w, f, "user.a", "c", 1, 0), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "gone"), 0);
	wire_put(w, WIRE_ROOT, "new", "");
	for (int round = 0; round < 2; round++) {
		struct fuse_attr a;
		uint64_t kept = wire_walk(w, ".wombat/snapshot/s/d/f");
		wire_check_text(w, kept, "older");
		wire_check_text(w, wire_walk(w, "d/f"), "newer");
		wire_check_text(w, wire_walk(w, ".wombat/snapshot/s/gone"), "was here");
		assert_int_equal(wire_getattr(w, kept, &a), 0);
		assert_int_equal(a.mode, S_IFREG | 0604);
		assert_int_equal(a.size, 5);
		assert_int_equal(wire_getxattr(w, kept, "user.a", 10), 0);
		assert_memory_equal(w->reply, "b", 1);
		assert_int_equal(wire_readlink(w, wire_walk(w, ".wombat/snapshot/s/d/l")), 0);
		assert_string_equal((const char *)w->reply, "f");
		check_list(w, wire_walk(w, ".wombat/snapshot/s"), "d gone ");
		check_list(w, wire_walk(w, ".wombat/snapshot/s/d"), "f l ");
		wire_reopen(w);
		snapshots(w);
	}
	(void)s;
}

static void test_refuses_changes(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out d;
	uint64_t fh;
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &d), 0);
	wire_put(w, WIRE_ROOT, "f", "text");
	uint64_t s = make(w, "s"), f = wire_walk(w, ".wombat/snapshot/s/f");
	assert_int_equal(wire_create(w, s, "g", 0644, O_WRONLY, NULL, &fh), EROFS);
	assert_int_equal(wire_mknod(w, s, "g", S_IFREG | 0644, 0, NULL), EROFS);
	assert_int_equal(wire_mkdir(w, s, "g", 0755, NULL), EROFS);
	assert_int_equal(wire_symlink(w, s, "g", "f", NULL), EROFS);
	assert_int_equal(wire_unlink(w, s, "f"), EROFS);
	assert_int_equal(wire_rmdir(w, s, "d"), EROFS);
	assert_int_equal(wire_rename(w, s, "f", s, "g", 0), EROFS);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", s, "g", 0), EROFS);
	assert_int_equal(wire_rename(w, s, "f", WIRE_ROOT, "g", 0), EROFS);
	assert_int_equal(wire_open_file(w, f, O_WRONLY, &fh), EROFS);
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), EROFS);
	assert_int_equal(wire_open_file(w, f, O_RDONLY | O_TRUNC, &fh), EROFS);
	assert_int_equal(wire_truncate(w, f, 0), EROFS);
	assert_int_equal(wire_chmod(w, f, 0600), EROFS);
	assert_int_equal(wire_setxattr(w, f, "user.a", "b", 1, 0), EROFS);
	assert_int_equal(wire_removexattr(w, f, "user.a"), EROFS);
	wire_check_text(w, f, "text");
	check_list(w, s, "d f ");
	/* The directory of them is the control directory's. */
	uint64_t dir = snapshots(w);
	assert_int_equal(wire_rename(w, dir, "s", dir, "t", 0), EPERM);
	assert_int_equal(wire_mknod(w, dir, "t", S_IFREG | 0644, 0, NULL), EPERM);
	assert_int_equal(wire_symlink(w, dir, "t", "s", NULL), EPERM);
	assert_int_equal(wire_create(w, dir, "t", 0644, O_WRONLY, NULL, &fh), EPERM);
	assert_int_equal(wire_mkdir(w, wire_walk(w, ".wombat"), "t", 0755, NULL), EPERM);
	assert_int_equal(wire_rmdir(w, wire_walk(w, ".wombat"), "snapshot"), EPERM);
}

static void test_making_and_dropping(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t dir = snapshots(w);
	wire_put(w, WIRE_ROOT, "f", "one");
	check_list(w, dir, "");
	make(w, "first");
	assert_int_equal(wire_mkdir(w, dir, "first", 0755, NULL), EEXIST);
	last_error(w, "already");
	assert_int_equal(wire_mkdir(w, dir, ".hidden", 0755, NULL), EINVAL);
	last_error(w, "no name of a snapshot");
	w->who = stranger;
	assert_int_equal(wire_mkdir(w, dir, "theirs", 0755, NULL), EACCES);
	assert_int_equal(wire_rmdir(w, dir, "first"), EACCES);
	make(w, "second");
	make(w, "third");
	check_list(w, dir, "first second third ");
	/* A listing that goes on where it was meets nothing twice. */
	assert_int_equal(wire_rmdir(w, dir, "second"), 0);
	assert_int_equal(wire_rmdir(w, dir, "second"), ENOENT);
	assert_int_equal(wire_lookup(w, dir, "second", NULL), ENOENT);
	check_list(w, dir, "first third ");
	wire_reopen(w);
	check_list(w, snapshots(w), "first third ");
	/* Another one of the same name is another tree. */
	uint64_t old = number(w, wire_walk(w, ".wombat/snapshot/first"));
	assert_int_equal(wire_rmdir(w, snapshots(w), "first"), 0);
	uint64_t made = make(w, "first");
	assert_true(number(w, made) != old);
}

/* Inode numbers differ between trees, or diff and cp would take two files for one; they stay over remounts. */
static void test_numbers(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = number(w, wire_put(w, WIRE_ROOT, "f", "text"));
	/* Its number does not follow from its name. */
	wire_put(w, WIRE_ROOT, "before", "moved");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "before", WIRE_ROOT, "after", 0), 0);
	uint64_t after = number(w, wire_walk(w, "after")), a = make(w, "a"), b = make(w, "b"), seen[6];
	static const char *const paths[] = { "a", "b", "a/f", "b/f", "a/after", "b/after" };
	for (size_t i = 0; i < 6; i++) {
		char path[64];
		snprintf(path, sizeof path, ".wombat/snapshot/%s", paths[i]);
		seen[i] = number(w, wire_walk(w, path));
		assert_true(seen[i] != f && seen[i] != after && seen[i] != 1);
		for (size_t j = 0; j < i; j++)
			assert_true(seen[j] != seen[i]);
	}
	assert_int_equal(number(w, a), seen[0]);
	assert_int_equal(number(w, b), seen[1]);
	wire_reopen(w);
	snapshots(w);
	for (size_t i = 0; i < 6; i++) {
		char path[64];
		snprintf(path, sizeof path, ".wombat/snapshot/%s", paths[i]);
		assert_int_equal(number(w, wire_walk(w, path)), seen[i]);
	}
	/* What a listing says is what a stat says. */
	size_t at = 0;
	uint64_t fh, root = wire_walk(w, ".wombat/snapshot/a");
	struct wire_dirent e;
	assert_int_equal(wire_opendir(w, root, &fh), 0);
	assert_int_equal(wire_readdir(w, root, fh, 0, 4096), 0);
	while (wire_next_dirent(w, false, &at, &e))
		assert_true(strcmp(e.name, "f") != 0 || e.ino == seen[2]);
	assert_int_equal(wire_releasedir(w, root, fh), 0);
	/* So with the listing of the snapshots themselves. */
	root = snapshots(w);
	assert_int_equal(wire_opendir(w, root, &fh), 0);
	assert_int_equal(wire_readdir(w, root, fh, 0, 4096), 0);
	at = 0;
	while (wire_next_dirent(w, false, &at, &e))
		assert_true(strcmp(e.name, "b") != 0 || e.ino == seen[1]);
	assert_int_equal(wire_releasedir(w, root, fh), 0);
}

static void test_dropped_in_use(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh, dir_fh, dir = snapshots(w);
	wire_put(w, WIRE_ROOT, "f", "kept");
	wire_put(w, WIRE_ROOT, "g", "kept too");
	uint64_t s = make(w, "s"), f = wire_walk(w, ".wombat/snapshot/s/f");
	assert_int_equal(wire_open_file(w, f, O_RDONLY, &fh), 0);
	assert_int_equal(wire_opendir(w, s, &dir_fh), 0);
	assert_int_equal(wire_rmdir(w, dir, "s"), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	assert_int_equal(wire_lookup(w, dir, "s", NULL), ENOENT);
	/* One of the same name does not change what the first shows. */
	make(w, "s");
	check_list(w, wire_walk(w, ".wombat/snapshot/s"), "g ");
	assert_int_equal(wire_read(w, f, fh, 0, 100), 0);
	assert_memory_equal(w->reply, "kept", 4);
	assert_int_equal(wire_lookup(w, s, "g", NULL), 0);
	assert_int_equal(wire_readdir(w, s, dir_fh, 0, 4096), 0);
	assert_true(w->size > 0);
	assert_int_equal(wire_release(w, f, fh, O_RDONLY), 0);
	assert_int_equal(wire_releasedir(w, s, dir_fh), 0);
}

static size_t tree_count(const struct fuse_wire *w)
{
	size_t count = 0;
	for (const struct tree *t = w->m.trees; t; t = t->next)
		count++;
	return count;
}

/* A tree that the kernel knows nothing of takes no memory, whatever became of its name. */
static void test_trees_go(void **state)
{
	struct fuse_wire *w = *state;
	wire_put(w, WIRE_ROOT, "f", "text");
	uint64_t s = make(w, "s"), t = make(w, "t"), f = wire_walk(w, ".wombat/snapshot/s/f");
	assert_int_equal(tree_count(w), 2);
	wire_forget(w, s, wire_lookups(w, s));
	assert_int_equal(tree_count(w), 2);
	wire_forget(w, f, wire_lookups(w, f));
	assert_int_equal(tree_count(w), 1);
	assert_int_equal(wire_rmdir(w, snapshots(w), "t"), 0);
	assert_int_equal(tree_count(w), 1);
	wire_forget(w, t, wire_lookups(w, t));
	assert_int_equal(tree_count(w), 0);
	wire_check_text(w, wire_walk(w, ".wombat/snapshot/s/f"), "text");
}

/* Dropped by a verb, of which the kernel knows nothing: it is told. */
static void test_dropped_by_ctl(void **state)
{
	struct fuse_wire *w = *state;
	make(w, "s");
	uint64_t fh, ctl = wire_walk(w, ".wombat/ctl"), dir = snapshots(w);
	assert_int_equal(wire_open_file(w, ctl, O_WRONLY, &fh), 0);
	static const char verb[] = "drop-snapshot s\n";
	struct fuse_write_in in = { .fh = fh, .size = sizeof verb - 1 };
	const struct iovec parts[] = { { &in, sizeof in }, { (void *)(uintptr_t)verb, sizeof verb - 1 } };
	struct fuse_out_header header;
	uint8_t buffer[256];
	bool replied = false, told = false;
	uint64_t unique = wire_send(w, FUSE_WRITE, ctl, w->who, parts, 2);
	wire_start_threads(w);
	for (int i = 0; i < 2; i++) {
		size_t size = wire_receive(w, &header, buffer, sizeof buffer - 1);
		replied |= header.unique == unique && header.error == 0;
		const struct fuse_notify_inval_entry_out *notice = (const void *)buffer;
		told |= header.unique == 0 && header.error == FUSE_NOTIFY_INVAL_ENTRY && size > sizeof *notice &&
			notice->parent == dir && strcmp((const char *)(notice + 1), "s") == 0;
	}
	wire_stop_threads(w);
	assert_true(replied);
	assert_true(told);
	assert_int_equal(wire_lookup(w, dir, "s", NULL), ENOENT);
	assert_int_equal(wire_release(w, ctl, fh, O_WRONLY), 0);
}

static void test_read_only_mount(void **state)
{
	struct fuse_wire *w = *state;
	wire_put(w, WIRE_ROOT, "f", "text");
	make(w, "s");
	w->options = "ro";
	wire_reopen(w);
	uint64_t dir = snapshots(w);
	wire_check_text(w, wire_walk(w, ".wombat/snapshot/s/f"), "text");
	assert_int_equal(wire_mkdir(w, dir, "t", 0755, NULL), EROFS);
	assert_int_equal(wire_rmdir(w, dir, "s"), EROFS);
	check_list(w, dir, "s ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_shows_what_was), TEST(test_refuses_changes), TEST(test_making_and_dropping), TEST(test_numbers),
		TEST(test_dropped_in_use), TEST(test_trees_go), TEST(test_dropped_by_ctl), TEST(test_read_only_mount),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
