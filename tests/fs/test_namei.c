/*
 * fs/namei over the wire: removal and renaming, of what is stored, fresh, open, or a directory with children; that the
 * mount and the database agree after it; and the errors in their order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

static uint64_t make_dir(struct fuse_wire *w, uint64_t dir, const char *name)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_mkdir(w, dir, name, 0755, &e), 0);
	return e.nodeid;
}

/* The kernel asks by node id, and the database is asked by name once it was opened anew: both must say the same. */
static void check_names(struct fuse_wire *w, const char *path, const char *expected)
{
	char *names = wire_list(w, wire_walk(w, path), 4096, false);
	assert_string_equal(names, expected);
	test_free(names);
}

static void check_absent(struct fuse_wire *w, const char *path, const char *name)
{
	assert_int_equal(wire_lookup(w, wire_walk(w, path), name, NULL), ENOENT);
}

static uint64_t ino_of(struct fuse_wire *w, uint64_t node)
{
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, node, &a), 0);
	return a.ino;
}

static uint32_t links_of(struct fuse_wire *w, uint64_t node)
{
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, node, &a), 0);
	return a.nlink;
}

/* A file that is open for writing and was never committed. */
static uint64_t make_fresh(struct fuse_wire *w, uint64_t dir, const char *name, const char *text, uint64_t *out_fh)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_create(w, dir, name, 0644, O_RDWR, &e, out_fh), 0);
	assert_int_equal(wire_write(w, e.nodeid, *out_fh, O_RDWR, 0, text, strlen(text)), 0);
	return e.nodeid;
}

static void close_file(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	assert_int_equal(wire_flush(w, node, fh), 0);
	assert_int_equal(wire_release(w, node, fh, O_RDWR), 0);
}

/* ---- Removal ---- */

static void test_unlink(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d");
	wire_put(w, d, "f", "text");
	assert_int_equal(wire_unlink(w, d, "g"), ENOENT);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "d"), EISDIR);
	assert_int_equal(wire_rmdir(w, d, "f"), ENOTDIR);
	assert_int_equal(wire_rmdir(w, d, "g"), ENOENT);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), ENOTEMPTY);
	assert_int_equal(wire_unlink(w, d, "f"), 0);
	assert_int_equal(wire_unlink(w, d, "f"), ENOENT);
	check_names(w, "d", "");
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), 0);
	assert_int_equal(links_of(w, d), 0);
	check_names(w, "", "");
	wire_reopen(w);
	check_names(w, "", "");
}

/* A directory is not empty because of a file that no commit has seen, or a directory that holds nothing. */
static void test_rmdir_sees_all(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh;
	uint64_t f = make_fresh(w, d, "f", "", &fh);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), ENOTEMPTY);
	assert_int_equal(wire_unlink(w, d, "f"), 0);
	make_dir(w, d, "sub");
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), ENOTEMPTY);
	assert_int_equal(wire_rmdir(w, d, "sub"), 0);
	/* What is open but has no name is not in the way. */
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), 0);
	close_file(w, f, fh);
	wire_reopen(w);
	check_names(w, "", "");
}

/* A directory without a name, which a process may still be in, has no names in it and takes none. */
static void test_removed_directory(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh;
	wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), 0);
	assert_int_equal(wire_lookup(w, d, "f", NULL), ENOENT);
	assert_int_equal(wire_create(w, d, "g", 0644, O_RDWR, NULL, &fh), ENOENT);
	assert_int_equal(wire_mkdir(w, d, "g", 0755, NULL), ENOENT);
	assert_int_equal(wire_unlink(w, d, "f"), ENOENT);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", d, "f", 0), ENOENT);
	assert_int_equal(wire_rename(w, d, "f", WIRE_ROOT, "g", 0), ENOENT);
	char *names = wire_list(w, d, 4096, true);
	assert_string_equal(names, "");
	test_free(names);
	wire_check_text(w, wire_walk(w, "f"), "text");
	check_names(w, "", "f ");
}

static void test_mkdir_again(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d");
	wire_put(w, WIRE_ROOT, "f", "");
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, NULL), EEXIST);
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "f", 0755, NULL), EEXIST);
	assert_int_equal(wire_mknod(w, WIRE_ROOT, "d", S_IFREG, 0, NULL), EEXIST);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), 0);
	/* The old one has no name any more; another may take it. */
	uint64_t again = make_dir(w, WIRE_ROOT, "d");
	assert_true(again != d);
	assert_int_equal(links_of(w, again), 1);
	check_names(w, "", "d f ");
}

/* A directory that is there by its keys alone stays when the last one is removed through the mount. */
static void test_implicit_directory_stays(void **state)
{
	struct fuse_wire *w = *state;
	wire_put_key(w, "d/sub/f", "text");
	wire_check_text(w, wire_walk(w, "d/sub/f"), "text");
	assert_int_equal(wire_unlink(w, wire_walk(w, "d/sub"), "f"), 0);
	check_names(w, "d/sub", "");
	wire_reopen(w);
	check_names(w, "d/sub", "");
	assert_int_equal(wire_rmdir(w, wire_walk(w, "d"), "sub"), 0);
	wire_reopen(w);
	check_names(w, "d", "");
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), 0);
	wire_reopen(w);
	check_names(w, "", "");
}

/* A key that is a prefix too: its value is a file in the directory, which can be changed and removed but not put on. */
static void test_value_of_a_directory(void **state)
{
	struct fuse_wire *w = *state;
	wire_put_key(w, "a", "of a");
	wire_put_key(w, "a/b", "of b");
	check_names(w, "", "a ");
	check_names(w, "a", "%value b ");
	uint64_t a = wire_walk(w, "a");
	wire_check_text(w, wire_walk(w, "a/%value"), "of a");
	assert_int_equal(wire_mkdir(w, a, "%value", 0755, NULL), EEXIST);
	assert_int_equal(wire_unlink(w, a, "b"), 0);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "a"), ENOTEMPTY);
	/* It moves along with the directory. */
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "c", 0), 0);
	wire_reopen(w);
	check_names(w, "c", "%value ");
	wire_check_text(w, wire_walk(w, "c/%value"), "of a");
	uint64_t c = wire_walk(w, "c");
	assert_int_equal(wire_rename(w, c, "%value", WIRE_ROOT, "f", 0), 0);
	wire_check_text(w, wire_walk(w, "f"), "of a");
	check_names(w, "c", "");
	assert_int_equal(wire_mkdir(w, c, "%value", 0755, NULL), EINVAL);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", c, "%value", 0), 0);
	wire_reopen(w);
	check_names(w, "c", "%value ");
	wire_check_text(w, wire_walk(w, "c/%value"), "of a");
}

/* ---- Renaming files ---- */

static void test_rename_file(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), f = wire_put(w, WIRE_ROOT, "f", "text");
	uint64_t ino = ino_of(w, f);
	assert_int_equal(wire_chmod(w, f, 0600), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", d, "h", 0), ENOENT);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", d, "g", 0), 0);
	check_absent(w, "", "f");
	assert_int_equal(wire_walk(w, "d/g"), f);
	assert_int_equal(wire_rename(w, d, "g", d, "g", 0), 0);
	/* The number stays with the file, so the old name's next file gets another one. */
	uint64_t other = wire_put(w, WIRE_ROOT, "f", "other");
	assert_true(ino_of(w, other) != ino);
	wire_reopen(w);
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, wire_walk(w, "d/g"), &a), 0);
	assert_int_equal(a.ino, ino);
	assert_int_equal(a.mode, S_IFREG | 0600);
	wire_check_text(w, wire_walk(w, "d/g"), "text");
	wire_check_text(w, wire_walk(w, "f"), "other");
	assert_true(ino_of(w, wire_walk(w, "f")) != ino);
	/* Back where it was, nothing is left to be remembered. */
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	assert_int_equal(wire_rename(w, wire_walk(w, "d"), "g", WIRE_ROOT, "f", 0), 0);
	wire_reopen(w);
	assert_int_equal(ino_of(w, wire_walk(w, "f")), ino);
}

static void test_rename_over(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "new"), g = wire_put(w, WIRE_ROOT, "g", "old"), fh;
	assert_int_equal(wire_open_file(w, g, O_RDONLY, &fh), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", 0), 0);
	assert_int_equal(wire_walk(w, "g"), f);
	check_names(w, "", "g ");
	/* Who had the old one open keeps it. */
	assert_int_equal(wire_read(w, g, fh, 0, 10), 0);
	assert_string_equal((char *)w->reply, "old");
	assert_int_equal(links_of(w, g), 0);
	assert_int_equal(wire_release(w, g, fh, O_RDONLY), 0);
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "g"), "new");
	check_names(w, "", "g ");
}

/* The way editors save: a new file is written, then renamed over the old one, and closed before or after. */
static void test_rename_fresh_over_stored(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh;
	wire_put(w, WIRE_ROOT, "f", "old");
	uint64_t n = make_fresh(w, WIRE_ROOT, "f.new", "new", &fh);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f.new", WIRE_ROOT, "f", 0), 0);
	wire_check_text(w, wire_walk(w, "f"), "new");
	check_names(w, "", "f ");
	assert_int_equal(wire_write(w, n, fh, O_RDWR, 3, "est", 3), 0);
	close_file(w, n, fh);
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "f"), "newest");
	check_names(w, "", "f ");
}

static void test_rename_fresh(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh, other;
	uint64_t f = make_fresh(w, WIRE_ROOT, "f", "text", &fh), g = make_fresh(w, d, "g", "gone", &other);
	uint64_t ino = ino_of(w, f);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", d, "g", 0), 0);
	check_names(w, "", "d ");
	check_names(w, "d", "g ");
	close_file(w, g, other);
	close_file(w, f, fh);
	wire_check_text(w, wire_walk(w, "d/g"), "text");
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "d/g"), "text");
	assert_int_equal(ino_of(w, wire_walk(w, "d/g")), ino);
	check_names(w, "", "d ");
}

/* Its number is its own from the start, though no record says so before the first commit. */
static void test_number_of_a_moved_fresh_file(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh, other, third;
	uint64_t f = make_fresh(w, WIRE_ROOT, "f", "one", &fh), ino = ino_of(w, f);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", 0), 0);
	uint64_t again = make_fresh(w, WIRE_ROOT, "f", "two", &other);
	assert_true(ino_of(w, again) != ino);
	close_file(w, f, fh);
	close_file(w, again, other);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "g"), 0);
	/* Free again: the next file of that name has it. */
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "h", 0), 0);
	uint64_t last = make_fresh(w, WIRE_ROOT, "f", "three", &third);
	assert_int_equal(ino_of(w, last), ino);
	close_file(w, last, third);
}

/* A fresh file that took a stored one's place, and is removed before any commit: the stored one must not come back. */
static void test_fresh_over_stored_then_unlinked(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh;
	wire_put(w, WIRE_ROOT, "f", "old");
	uint64_t n = make_fresh(w, WIRE_ROOT, "g", "new", &fh);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", WIRE_ROOT, "f", 0), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	close_file(w, n, fh);
	check_absent(w, "", "f");
	wire_reopen(w);
	check_names(w, "", "");
}

/* Likewise when it is renamed once more: both names must end as the mount shows them. */
static void test_fresh_over_stored_then_renamed(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh;
	wire_put(w, WIRE_ROOT, "f", "old");
	uint64_t n = make_fresh(w, WIRE_ROOT, "g", "new", &fh);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", WIRE_ROOT, "f", 0), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "h", 0), 0);
	check_names(w, "", "h ");
	close_file(w, n, fh);
	wire_reopen(w);
	check_names(w, "", "h ");
	wire_check_text(w, wire_walk(w, "h"), "new");
}

static void test_rename_while_written(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), fh;
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 4, "!", 1), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", 0), 0);
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 5, "!", 1), 0);
	close_file(w, f, fh);
	wire_reopen(w);
	check_names(w, "", "g ");
	wire_check_text(w, wire_walk(w, "g"), "text!!");
}

static void test_rename_other_types(void **state)
{
	struct fuse_wire *w = *state;
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "l", "target", NULL), 0);
	assert_int_equal(wire_mknod(w, WIRE_ROOT, "p", S_IFIFO | 0600, 0, NULL), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "l", WIRE_ROOT, "m", 0), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "p", WIRE_ROOT, "m", RENAME_EXCHANGE), 0);
	wire_reopen(w);
	check_names(w, "", "m p ");
	assert_int_equal(wire_readlink(w, wire_walk(w, "p")), 0);
	assert_string_equal((char *)w->reply, "target");
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, wire_walk(w, "m"), &a), 0);
	assert_int_equal(a.mode, S_IFIFO | 0600);
}

/* ---- Renaming directories ---- */

static void test_rename_directory(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t a = make_dir(w, WIRE_ROOT, "a"), b = make_dir(w, WIRE_ROOT, "b"), fh;
	uint64_t sub = make_dir(w, a, "sub"), f = wire_put(w, sub, "f", "text");
	make_dir(w, sub, "empty");
	uint64_t fresh = make_fresh(w, sub, "fresh", "new", &fh);
	uint64_t sub_ino = ino_of(w, sub), f_ino = ino_of(w, f), fresh_ino = ino_of(w, fresh);
	/* A sibling whose name goes on where the directory's ends. */
	wire_put(w, WIRE_ROOT, "a.b", "sibling");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", b, "c", 0), 0);
	assert_int_equal(wire_walk(w, "b/c/sub/f"), f);
	check_names(w, "", "a.b b ");
	check_names(w, "b/c/sub", "empty f fresh ");
	close_file(w, fresh, fh);
	wire_reopen(w);
	check_names(w, "", "a.b b ");
	check_names(w, "b/c/sub", "empty f fresh ");
	check_names(w, "b/c/sub/empty", "");
	wire_check_text(w, wire_walk(w, "b/c/sub/f"), "text");
	wire_check_text(w, wire_walk(w, "b/c/sub/fresh"), "new");
	wire_check_text(w, wire_walk(w, "a.b"), "sibling");
	assert_int_equal(ino_of(w, wire_walk(w, "b/c/sub")), sub_ino);
	assert_int_equal(ino_of(w, wire_walk(w, "b/c/sub/f")), f_ino);
	assert_int_equal(ino_of(w, wire_walk(w, "b/c/sub/fresh")), fresh_ino);
}

static void test_rename_implicit_directory(void **state)
{
	struct fuse_wire *w = *state;
	wire_put_key(w, "a/b/c", "1");
	wire_put_key(w, "a/b/d/e", "2");
	assert_int_equal(wire_rename(w, wire_walk(w, "a"), "b", WIRE_ROOT, "z", 0), 0);
	wire_reopen(w);
	check_names(w, "", "a z ");
	check_names(w, "a", "");
	check_names(w, "z", "c d ");
	wire_check_text(w, wire_walk(w, "z/d/e"), "2");
}

static void test_rename_directory_over(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t a = make_dir(w, WIRE_ROOT, "a"), b = make_dir(w, WIRE_ROOT, "b");
	wire_put(w, a, "f", "text");
	uint64_t g = wire_put(w, b, "g", "in the way");
	wire_put(w, WIRE_ROOT, "file", "");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "b", 0), ENOTEMPTY);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "file", 0), ENOTDIR);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "file", WIRE_ROOT, "a", 0), EISDIR);
	assert_int_equal(wire_unlink(w, b, "g"), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "b", 0), 0);
	assert_int_equal(links_of(w, b), 0);
	assert_int_equal(links_of(w, g), 0);
	assert_int_equal(wire_walk(w, "b"), a);
	wire_reopen(w);
	check_names(w, "", "b file ");
	wire_check_text(w, wire_walk(w, "b/f"), "text");
}

static void test_rename_into_itself(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t a = make_dir(w, WIRE_ROOT, "a"), b = make_dir(w, a, "b"), c = make_dir(w, b, "c");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", a, "x", 0), EINVAL);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", c, "x", 0), EINVAL);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", b, "c", 0), EINVAL);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", a, "b", RENAME_EXCHANGE), EINVAL);
	assert_int_equal(wire_rename(w, b, "c", WIRE_ROOT, "a", RENAME_EXCHANGE), EINVAL);
	/* The other way round it is a directory that is not empty, as it holds the one that moves. */
	assert_int_equal(wire_rename(w, b, "c", WIRE_ROOT, "a", 0), ENOTEMPTY);
	check_names(w, "a/b", "c ");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "a", 0), 0);
	check_names(w, "", "a ");
}

/* ---- Flags ---- */

static void test_noreplace(void **state)
{
	struct fuse_wire *w = *state;
	wire_put(w, WIRE_ROOT, "f", "f");
	wire_put(w, WIRE_ROOT, "g", "g");
	make_dir(w, WIRE_ROOT, "d");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", RENAME_NOREPLACE), EEXIST);
	/* That it exists comes before what it is. */
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "d", RENAME_NOREPLACE), EEXIST);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "f", RENAME_NOREPLACE), EEXIST);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "x", WIRE_ROOT, "g", RENAME_NOREPLACE), ENOENT);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "h", RENAME_NOREPLACE), 0);
	wire_reopen(w);
	check_names(w, "", "d g h ");
	wire_check_text(w, wire_walk(w, "g"), "g");
	wire_check_text(w, wire_walk(w, "h"), "f");
}

static void test_other_flags(void **state)
{
	struct fuse_wire *w = *state;
	wire_put(w, WIRE_ROOT, "f", "");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", RENAME_WHITEOUT), EINVAL);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "%25", 0), EINVAL);
	check_names(w, "", "f ");
}

static void test_exchange_files(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "one"), g = make_fresh(w, d, "g", "two", &fh);
	uint64_t f_ino = ino_of(w, f), g_ino = ino_of(w, g);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", d, "h", RENAME_EXCHANGE), ENOENT);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "f", RENAME_EXCHANGE), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", d, "g", RENAME_EXCHANGE), 0);
	assert_int_equal(wire_walk(w, "f"), g);
	assert_int_equal(wire_walk(w, "d/g"), f);
	assert_int_equal(wire_write(w, g, fh, O_RDWR, 3, "!", 1), 0);
	close_file(w, g, fh);
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "f"), "two!");
	wire_check_text(w, wire_walk(w, "d/g"), "one");
	assert_int_equal(ino_of(w, wire_walk(w, "f")), g_ino);
	assert_int_equal(ino_of(w, wire_walk(w, "d/g")), f_ino);
}

static void test_exchange_directories(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t a = make_dir(w, WIRE_ROOT, "a"), b = make_dir(w, WIRE_ROOT, "b"), sub = make_dir(w, a, "sub"), fh;
	wire_put(w, a, "f", "of a");
	wire_put(w, sub, "deep", "deep");
	wire_put(w, b, "f", "of b");
	uint64_t fresh = make_fresh(w, b, "fresh", "fresh", &fh);
	uint64_t a_ino = ino_of(w, a), b_ino = ino_of(w, b);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "b", RENAME_EXCHANGE), 0);
	for (int round = 0; round < 2; round++) {
		check_names(w, "", "a b ");
		check_names(w, "a", "f fresh ");
		check_names(w, "b", "f sub ");
		wire_check_text(w, wire_walk(w, "a/f"), "of b");
		wire_check_text(w, wire_walk(w, "b/f"), "of a");
		wire_check_text(w, wire_walk(w, "b/sub/deep"), "deep");
		wire_check_text(w, wire_walk(w, "a/fresh"), "fresh");
		assert_int_equal(ino_of(w, wire_walk(w, "a")), b_ino);
		assert_int_equal(ino_of(w, wire_walk(w, "b")), a_ino);
		if (round == 0)
			close_file(w, fresh, fh);
		wire_reopen(w);
	}
}

/* The values of their own keys go with them, whoever else has one. */
static void test_exchange_with_values(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t a = make_dir(w, WIRE_ROOT, "a"), b = make_dir(w, WIRE_ROOT, "b"), c = make_dir(w, WIRE_ROOT, "c");
	wire_put(w, a, "in_a", "x");
	wire_put(w, b, "in_b", "x");
	wire_put(w, c, "in_c", "x");
	wire_put(w, a, "%value", "value of a");
	wire_put(w, b, "%value", "value of b");
	wire_put(w, WIRE_ROOT, "f", "file");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "b", RENAME_EXCHANGE), 0); /* both have one */
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		check_names(w, "b", "%value in_a ");
		wire_check_text(w, wire_walk(w, "b/%value"), "value of a");
		wire_check_text(w, wire_walk(w, "a/%value"), "value of b");
	}
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "c", RENAME_EXCHANGE), 0); /* one has */
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		check_names(w, "a", "in_c ");
		check_names(w, "c", "%value in_b ");
		wire_check_text(w, wire_walk(w, "c/%value"), "value of b");
	}
	assert_int_equal(wire_rename(w, WIRE_ROOT, "c", WIRE_ROOT, "a", RENAME_EXCHANGE), 0); /* the other */
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "f", RENAME_EXCHANGE), 0); /* and a file */
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		check_names(w, "", "a b c f ");
		wire_check_text(w, wire_walk(w, "a"), "file");
		wire_check_text(w, wire_walk(w, "f/%value"), "value of b");
	}
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "f", RENAME_EXCHANGE), 0);
	wire_check_text(w, wire_walk(w, "f"), "file");
	wire_check_text(w, wire_walk(w, "a/%value"), "value of b");
}

static void test_exchange_file_and_directory(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), e = make_dir(w, WIRE_ROOT, "e");
	wire_put(w, d, "in", "inside");
	wire_put(w, e, "f", "file");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "d", e, "f", RENAME_EXCHANGE), 0);
	for (int round = 0; round < 2; round++, wire_reopen(w)) {
		check_names(w, "", "d e ");
		wire_check_text(w, wire_walk(w, "d"), "file");
		wire_check_text(w, wire_walk(w, "e/f/in"), "inside");
	}
	assert_int_equal(wire_rename(w, WIRE_ROOT, "d", wire_walk(w, "e"), "f", RENAME_EXCHANGE), 0);
	wire_reopen(w);
	wire_check_text(w, wire_walk(w, "d/in"), "inside");
	wire_check_text(w, wire_walk(w, "e/f"), "file");
}

/* ---- Long names ---- */

/* A component over 255 bytes shows as directories, which have no record and take no renaming. */
static void test_chunks(void **state)
{
	struct fuse_wire *w = *state;
	char key[301];
	memset(key, 'k', 300);
	key[300] = '\0';
	wire_put_key(w, key, "long");
	char *root = wire_list(w, WIRE_ROOT, 4096, false);
	root[strlen(root) - 1] = '\0';
	assert_int_equal(strlen(root), 255);
	uint64_t chunk = wire_walk(w, root);
	char *rest = wire_list(w, chunk, 4096, true);
	rest[strlen(rest) - 1] = '\0';
	assert_int_equal(strlen(root) - 2 + strlen(rest), 300);
	assert_int_equal(wire_rename(w, WIRE_ROOT, root, WIRE_ROOT, "x", 0), EXDEV);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, root), ENOTEMPTY);
	uint64_t f = wire_walk(w, root);
	wire_check_text(w, wire_walk(w, strcat(strcat(strcpy((char[600]){ 0 }, root), "/"), rest)), "long");
	assert_int_equal(wire_chmod(w, f, 0700), EPERM);
	assert_int_equal(wire_rename(w, chunk, rest, WIRE_ROOT, "short", 0), 0);
	wire_check_text(w, wire_walk(w, "short"), "long");
	test_free(root);
	test_free(rest);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unlink),
		TEST(test_rmdir_sees_all),
		TEST(test_removed_directory),
		TEST(test_mkdir_again),
		TEST(test_implicit_directory_stays),
		TEST(test_value_of_a_directory),
		TEST(test_rename_file),
		TEST(test_rename_over),
		TEST(test_rename_fresh_over_stored),
		TEST(test_rename_fresh),
		TEST(test_number_of_a_moved_fresh_file),
		TEST(test_fresh_over_stored_then_unlinked),
		TEST(test_fresh_over_stored_then_renamed),
		TEST(test_rename_while_written),
		TEST(test_rename_other_types),
		TEST(test_rename_directory),
		TEST(test_rename_implicit_directory),
		TEST(test_rename_directory_over),
		TEST(test_rename_into_itself),
		TEST(test_noreplace),
		TEST(test_other_flags),
		TEST(test_exchange_files),
		TEST(test_exchange_with_values),
		TEST(test_exchange_directories),
		TEST(test_exchange_file_and_directory),
		TEST(test_chunks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
