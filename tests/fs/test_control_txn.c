/*
 * txn/ and commit/ of the control directory over the wire, and what the mount's own nodes become at a commit
 * (fs/refresh): files and directories that are live, open, linked, of another type, gone; conflicts; what is refused; what
 * ends by itself; each failed allocation.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/tree.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

static void as_owner(struct fuse_wire *w)
{
	w->who = (struct wire_who){ .uid = w->m.options.uid, .gid = w->m.options.gid, .pid = 1 };
}

static uint64_t begin(struct fuse_wire *w, const char *name)
{
	struct fuse_entry_out e;
	as_owner(w);
	assert_int_equal(wire_mkdir(w, wire_walk(w, ".wombat/txn"), name, 0755, &e), 0);
	return e.nodeid;
}

static int commit(struct fuse_wire *w, const char *name)
{
	return wire_rename(w, wire_walk(w, ".wombat/txn"), name, wire_walk(w, ".wombat/commit"), name, RENAME_NOREPLACE);
}

static uint64_t make_dir(struct fuse_wire *w, uint64_t dir, const char *name)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_mkdir(w, dir, name, 0755, &e), 0);
	return e.nodeid;
}

static uint64_t in(struct fuse_wire *w, const char *txn, const char *path)
{
	char whole[300];
	snprintf(whole, sizeof whole, ".wombat/txn/%s/%s", txn, path);
	return wire_walk(w, whole);
}

static void rewrite(struct fuse_wire *w, uint64_t node, const char *text)
{
	uint64_t fh;
	assert_int_equal(wire_truncate(w, node, 0), 0);
	assert_int_equal(wire_open_file(w, node, O_WRONLY, &fh), 0);
	assert_int_equal(wire_write(w, node, fh, O_WRONLY, 0, text, strlen(text)), 0);
	assert_int_equal(wire_flush(w, node, fh), 0);
	assert_int_equal(wire_release(w, node, fh, O_WRONLY), 0);
}

static void check_names(struct fuse_wire *w, const char *path, const char *names)
{
	char *list = wire_list(w, *path ? wire_walk(w, path) : WIRE_ROOT, 4096, false);
	assert_string_equal(list, names);
	test_free(list);
}

static void check_last_error(struct fuse_wire *w, const char *part)
{
	uint64_t fh, node = wire_walk(w, ".wombat/last_error");
	assert_int_equal(wire_open_file(w, node, O_RDONLY, &fh), 0);
	assert_int_equal(wire_read(w, node, fh, 0, 4096), 0);
	if (!strstr((const char *)w->reply, part))
		fail_msg("last_error is: %s", (const char *)w->reply);
	assert_int_equal(wire_release(w, node, fh, O_RDONLY), 0);
}

static struct fuse_attr attr_of(struct fuse_wire *w, uint64_t node)
{
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, node, &a), 0);
	return a;
}

/* ---- Files --------------------------------------------------------------------------------- */

static void test_all_at_once(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh, staged;
	uint64_t f = wire_put(w, d, "f", "old"), gone = wire_put(w, d, "gone", "gone"), open_gone;
	struct fuse_entry_out e;
	/* Written, not closed: it is seen on the mount, so the transaction begins with it. */
	assert_int_equal(wire_create(w, d, "staged", 0644, O_WRONLY, &e, &staged), 0);
	assert_int_equal(wire_write(w, e.nodeid, staged, O_WRONLY, 0, "staged", 6), 0);
	uint64_t t = begin(w, "t");
	wire_check_text(w, in(w, "t", "d/staged"), "staged");
	assert_int_equal(wire_open_file(w, f, O_RDONLY, &fh), 0);
	assert_int_equal(wire_open_file(w, gone, O_RDONLY, &open_gone), 0);
	rewrite(w, in(w, "t", "d/f"), "new");
	assert_int_equal(wire_unlink(w, in(w, "t", "d"), "gone"), 0);
	wire_put(w, make_dir(w, t, "e"), "g", "made");
	check_names(w, "", "d ");
	check_names(w, "d", "f gone staged ");
	check_names(w, ".wombat/txn", "t ");
	wire_check_text(w, f, "old");
	assert_int_equal(commit(w, "t"), 0);
	check_names(w, "", "d e ");
	check_names(w, "d", "f staged ");
	check_names(w, ".wombat/txn", "");
	check_names(w, ".wombat/commit", "");
	wire_check_text(w, wire_walk(w, "d/f"), "new");
	wire_check_text(w, wire_walk(w, "e/g"), "made");
	assert_int_equal(wire_walk(w, "d"), d);
	/* Who has a file open reads on. */
	assert_int_equal(wire_read(w, f, fh, 0, 10), 0);
	assert_memory_equal(w->reply, "old", 3);
	assert_int_equal(wire_read(w, gone, open_gone, 0, 10), 0);
	assert_memory_equal(w->reply, "gone", 4);
	assert_int_equal(wire_release(w, f, fh, O_RDONLY), 0);
	assert_int_equal(wire_release(w, gone, open_gone, O_RDONLY), 0);
	assert_int_equal(wire_release(w, e.nodeid, staged, O_WRONLY), 0);
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "d/f"), "new");
	wire_check_text(w, wire_walk(w, "e/g"), "made");
	check_names(w, "d", "f staged ");
}

/* Whoever is in it when it ends stays there, and changes nothing any more. */
static void test_in_it_at_its_end(void **state)
{
	struct fuse_wire *w = *state;
	for (int commits = 0; commits < 2; commits++) {
		uint64_t t = begin(w, "t"), f = wire_put(w, t, "f", "text"), fh;
		assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
		assert_int_equal(wire_write(w, f, fh, O_RDWR, 4, "!", 1), 0);
		if (commits)
			assert_int_equal(commit(w, "t"), 0);
		else
			assert_int_equal(wire_rmdir(w, wire_walk(w, ".wombat/txn"), "t"), 0);
		assert_int_equal(wire_read(w, f, fh, 0, 10), 0);
		assert_memory_equal(w->reply, "text!", 5);
		assert_int_equal(wire_write(w, f, fh, O_RDWR, 0, "x", 1), EROFS);
		assert_int_equal(wire_fallocate(w, f, fh, 0, 0, 100), EROFS);
		assert_int_equal(wire_truncate(w, f, 0), EROFS);
		assert_int_equal(wire_unlink(w, t, "f"), EROFS);
		assert_int_equal(wire_mkdir(w, t, "d", 0755, NULL), EROFS);
		/* Another one of that name is another one. */
		assert_true(begin(w, "t") != t);
		assert_int_equal(wire_rmdir(w, wire_walk(w, ".wombat/txn"), "t"), 0);
		wire_flush(w, f, fh);
		assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
		check_names(w, "", commits ? "f " : "");
	}
	wire_check_text(w, wire_walk(w, "f"), "text!");
}

static void test_links(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), alone = wire_put(w, WIRE_ROOT, "alone", "alone");
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	uint64_t t = begin(w, "t");
	assert_int_equal(attr_of(w, in(w, "t", "f")).nlink, 2);
	assert_int_equal(wire_link(w, in(w, "t", "alone"), t, "second"), 0);
	assert_int_equal(wire_chmod(w, in(w, "t", "g"), 0604), 0); /* changes no name's record */
	assert_int_equal(commit(w, "t"), 0);
	assert_int_equal(attr_of(w, wire_walk(w, "f")).mode & 07777, 0604);
	assert_int_equal(attr_of(w, wire_walk(w, "alone")).nlink, 2);
	assert_int_equal(wire_walk(w, "alone"), wire_walk(w, "second"));
	assert_true(wire_walk(w, "alone") != alone);
	t = begin(w, "t");
	assert_int_equal(wire_unlink(w, t, "g"), 0);
	rewrite(w, in(w, "t", "second"), "changed");
	assert_int_equal(commit(w, "t"), 0);
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		check_names(w, "", "alone f second ");
		assert_int_equal(attr_of(w, wire_walk(w, "f")).nlink, 1);
		wire_check_text(w, wire_walk(w, "alone"), "changed");
	}
}

/* ---- Directories --------------------------------------------------------------------------- */

static void test_directories(void **state)
{
	struct fuse_wire *w = *state;
	wire_put_key(w, "implicit/a/f", "x");
	wire_put_key(w, "stays/f", "x");
	wire_put_key(w, "both", "value");
	wire_put_key(w, "both/f", "x");
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), stays = wire_walk(w, "stays");
	wire_put(w, make_dir(w, d, "sub"), "f", "moved");
	wire_walk(w, "implicit/a/f");
	wire_walk(w, "both/%value");
	uint64_t t = begin(w, "t");
	assert_int_equal(wire_rename(w, t, "d", t, "moved", 0), 0);
	assert_int_equal(wire_rename(w, in(w, "t", "implicit"), "a", t, "a", 0), 0);
	assert_int_equal(wire_rmdir(w, t, "implicit"), 0);
	assert_int_equal(wire_chmod(w, in(w, "t", "stays"), 0711), 0);
	assert_int_equal(wire_setxattr(w, in(w, "t", "stays"), "user.a", "b", 1, 0), 0);
	rewrite(w, in(w, "t", "both/%value"), "another");
	assert_int_equal(wire_chmod(w, t, 0755), 0); /* the root's own record */
	check_names(w, "", "both d implicit stays ");
	assert_int_equal(commit(w, "t"), 0);
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		check_names(w, "", "a both moved stays ");
		wire_check_text(w, wire_walk(w, "moved/sub/f"), "moved");
		wire_check_text(w, wire_walk(w, "both/%value"), "another");
		assert_int_equal(attr_of(w, wire_walk(w, "stays")).mode & 07777, 0711);
		assert_int_equal(wire_getxattr(w, wire_walk(w, "stays"), "user.a", 10), 0);
		assert_int_equal(attr_of(w, WIRE_ROOT).mode & 07777, 0755);
		if (!round)
			assert_int_equal(wire_walk(w, "stays"), stays); /* who is in it stays there */
	}
}

static void test_other_types(void **state)
{
	struct fuse_wire *w = *state;
	wire_put(w, WIRE_ROOT, "file", "x");
	uint64_t d = make_dir(w, WIRE_ROOT, "dir");
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "link", "target", NULL), 0);
	wire_walk(w, "link");
	(void)d;
	uint64_t t = begin(w, "t");
	assert_int_equal(wire_unlink(w, t, "file"), 0);
	wire_put(w, make_dir(w, t, "file"), "below", "text");
	assert_int_equal(wire_rmdir(w, t, "dir"), 0);
	wire_put(w, t, "dir", "file");
	assert_int_equal(wire_unlink(w, t, "link"), 0);
	assert_int_equal(wire_mknod(w, t, "link", S_IFIFO | 0600, 0, NULL), 0);
	assert_int_equal(commit(w, "t"), 0);
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		wire_check_text(w, wire_walk(w, "file/below"), "text");
		wire_check_text(w, wire_walk(w, "dir"), "file");
		assert_int_equal(attr_of(w, wire_walk(w, "link")).mode, S_IFIFO | 0600);
	}
}

/* A directory where names come or go has other times; one in which a file was changed has not. */
static void test_times_of_directories(void **state)
{
	struct fuse_wire *w = *state;
	const struct fuse_setattr_in old = { .valid = FATTR_MTIME, .mtime = 1000 };
	static const char *const dirs[] = { "made", "removed", "changed" };
	for (int i = 0; i < 3; i++) {
		wire_put(w, make_dir(w, WIRE_ROOT, dirs[i]), "f", "x");
		assert_int_equal(wire_setattr(w, wire_walk(w, dirs[i]), &old, NULL), 0);
	}
	begin(w, "t");
	wire_put(w, in(w, "t", "made"), "g", "x");
	assert_int_equal(wire_unlink(w, in(w, "t", "removed"), "f"), 0);
	rewrite(w, in(w, "t", "changed/f"), "y");
	assert_int_equal(commit(w, "t"), 0);
	for (int round = 0; round < 2; round++, wire_reopen(w))
		for (int i = 0; i < 3; i++)
			assert_true((attr_of(w, wire_walk(w, dirs[i])).mtime == 1000) == (i == 2));
}

/* ---- Conflicts and errors ------------------------------------------------------------------ */

static void test_conflict(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh;
	wire_put(w, d, "f", "old");
	begin(w, "t");
	rewrite(w, in(w, "t", "d/f"), "mine");
	wire_put(w, in(w, "t", "d"), "g", "mine");
	/* Outside something else is made in the directory, and the file is changed, not closed yet. */
	wire_put(w, d, "h", "theirs");
	uint64_t f = wire_walk(w, "d/f");
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 0, "OLD", 3), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(commit(w, "t"), EBUSY);
		check_last_error(w, "\"d/f\"");
		check_names(w, ".wombat/txn", "t ");
		wire_check_text(w, in(w, "t", "d/f"), "mine");
	}
	check_names(w, "d", "f h ");
	wire_check_text(w, f, "OLD");
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
	assert_int_equal(wire_rmdir(w, wire_walk(w, ".wombat/txn"), "t"), 0);
	/* Two that make different files in one directory. */
	begin(w, "t");
	begin(w, "u");
	wire_put(w, in(w, "t", "d"), "i", "t");
	wire_put(w, in(w, "u", "d"), "j", "u");
	assert_int_equal(commit(w, "t"), 0);
	assert_int_equal(commit(w, "u"), 0);
	check_names(w, "d", "f h i j ");
}

static void test_refused(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), t = begin(w, "t"), txn = wire_walk(w, ".wombat/txn");
	struct fuse_entry_out e;
	assert_int_equal(wire_mkdir(w, txn, "t", 0755, &e), EEXIST);
	assert_int_equal(wire_rename(w, txn, "t", txn, "u", 0), EPERM);
	check_last_error(w, "../commit/t");
	assert_int_equal(wire_rename(w, txn, "t", d, "t", 0), EPERM);
	assert_int_equal(wire_rename(w, txn, "t", wire_walk(w, ".wombat/commit"), "t", RENAME_EXCHANGE), EPERM);
	assert_int_equal(wire_rename(w, txn, "none", wire_walk(w, ".wombat/commit"), "none", 0), ENOENT);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "d", t, "d", 0), EXDEV);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "d", wire_walk(w, ".wombat/commit"), "d", 0), EPERM);
	assert_int_equal(wire_rmdir(w, txn, "none"), ENOENT);
	assert_int_equal(wire_mkdir(w, wire_walk(w, ".wombat/commit"), "x", 0755, &e), EPERM);
	w->who = (struct wire_who){ .uid = 4000, .gid = 4000, .pid = 3 };
	assert_int_equal(wire_mkdir(w, txn, "theirs", 0755, &e), EACCES);
	assert_int_equal(wire_rename(w, txn, "t", wire_walk(w, ".wombat/commit"), "t", 0), EACCES);
	assert_int_equal(wire_rmdir(w, txn, "t"), EACCES);
}

static void test_idle(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t t = begin(w, "t");
	wire_put(w, t, "f", "x");
	check_names(w, ".wombat/txn", "t ");
	w->m.options.txn_idle_ms = 20;
	for (unsigned i = 0; i < 10000; i++) {
		char *list = wire_list(w, wire_walk(w, ".wombat/txn"), 4096, false);
		bool ended = !*list;
		test_free(list);
		if (ended)
			break;
		usleep(1000);
	}
	check_names(w, ".wombat/txn", "");
	check_names(w, "", "");
	assert_int_equal(wire_mkdir(w, t, "d", 0755, NULL), EROFS);
}

/* Whatever fails for want of memory: all of it, and as before, or all of it, and as after. */
static void test_failed_allocations(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh;
	uint64_t f = wire_put(w, d, "f", "old"), gone = wire_put(w, d, "gone", "x");
	wire_put(w, make_dir(w, d, "sub"), "below", "x");
	uint64_t t = begin(w, "t"), txn = wire_walk(w, ".wombat/txn"), commits = wire_walk(w, ".wombat/commit");
	rewrite(w, in(w, "t", "d/f"), "new");
	assert_int_equal(wire_unlink(w, in(w, "t", "d"), "gone"), 0);
	wire_put(w, make_dir(w, t, "made"), "g", "made");
	assert_int_equal(wire_rename(w, in(w, "t", "d"), "sub", t, "moved", 0), 0);
	assert_int_equal(wire_open_file(w, f, O_RDONLY, &fh), 0);
	int error = ENOMEM;
	unsigned failed = 0;
	for (unsigned n = 0; error; n++) {
		alloc_fail_arm(n);
		error = wire_rename(w, txn, "t", commits, "t", 0);
		alloc_fail_disarm();
		if (!error)
			break;
		failed++;
		assert_int_equal(error, ENOMEM);
		check_names(w, "", "d ");
		check_names(w, "d", "f gone sub ");
		wire_check_text(w, wire_walk(w, "d/f"), "old");
		assert_int_equal(wire_walk(w, "d/gone"), gone);
	}
	assert_true(failed > 5);
	check_names(w, "", "d made moved ");
	check_names(w, "d", "f ");
	wire_check_text(w, wire_walk(w, "d/f"), "new");
	wire_check_text(w, wire_walk(w, "made/g"), "made");
	wire_check_text(w, wire_walk(w, "moved/below"), "x");
	assert_int_equal(wire_read(w, f, fh, 0, 10), 0);
	assert_memory_equal(w->reply, "old", 3);
	assert_int_equal(wire_release(w, f, fh, O_RDONLY), 0);
}

/* It was committed, and then there was no memory for what follows: the mount shows it all the same. */
static void test_no_memory_behind_the_commit(void **state)
{
	struct fuse_wire *w = *state;
	unsigned behind = 0;
	for (unsigned n = 0; n < 400; n++) {
		char name[16], text[16];
		snprintf(name, sizeof name, "d%u", n);
		snprintf(text, sizeof text, "new %u", n);
		wire_put(w, make_dir(w, WIRE_ROOT, name), "f", "old");
		begin(w, "t");
		char path[40];
		snprintf(path, sizeof path, "%s/f", name);
		rewrite(w, in(w, "t", path), text);
		uint64_t txn = wire_walk(w, ".wombat/txn"), commits = wire_walk(w, ".wombat/commit");
		alloc_fail_arm(n);
		int error = wire_rename(w, txn, "t", commits, "t", 0);
		bool failed = alloc_fail_disarm();
		wire_check_text(w, wire_walk(w, path), error ? "old" : text);
		behind += failed && !error;
		if (error)
			assert_int_equal(wire_rmdir(w, txn, "t"), 0);
		if (!failed)
			break;
	}
	assert_true(behind > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_at_once),
		TEST(test_in_it_at_its_end),
		TEST(test_links),
		TEST(test_directories),
		TEST(test_other_types),
		TEST(test_times_of_directories),
		TEST(test_conflict),
		TEST(test_refused),
		TEST(test_idle),
		TEST(test_failed_allocations),
		TEST(test_no_memory_behind_the_commit),
	};
	return cmocka_run_group_tests_name("control_txn", tests, NULL, NULL);
}
