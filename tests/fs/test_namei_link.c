/*
 * fs/namei_link over the wire: names that are made, go and move, of files that are small, large, staged, open; that they stay
 * one file with the right count, after the database is opened anew too, and that each key has the value.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/links.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

enum { LARGE = 3 << 20 };

static uint64_t make_dir(struct fuse_wire *w, uint64_t dir, const char *name)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_mkdir(w, dir, name, 0755, &e), 0);
	return e.nodeid;
}

static struct fuse_attr attr_of(struct fuse_wire *w, const char *path)
{
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, wire_walk(w, path), &a), 0);
	return a;
}

/* The paths, separated by spaces, lead to one file that has as many names, and that text. */
static void check_group(struct fuse_wire *w, const char *paths, unsigned count, const char *text)
{
	char copy[200], *save, *path = strtok_r(strcpy(copy, paths), " ", &save);
	uint64_t node = wire_walk(w, path), ino = attr_of(w, path).ino;
	for (; path; path = strtok_r(NULL, " ", &save)) {
		assert_int_equal(wire_walk(w, path), node);
		assert_int_equal(attr_of(w, path).ino, ino);
		assert_int_equal(attr_of(w, path).nlink, count);
		wire_check_text(w, wire_walk(w, path), text);
	}
}

/* What the database has, which a library sees. */
static void check_value(struct fuse_wire *w, const char *key, const char *value)
{
	struct wombat_record r;
	enum wombat_status s = wombat_get(w->m.db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r);
	assert_status(s, value ? WOMBAT_OK : WOMBAT_NOT_FOUND);
	if (!value)
		return;
	assert_int_equal(r.value.size, strlen(value));
	assert_memory_equal(r.value.data, value, r.value.size);
	wombat_record_release(&r);
}

static unsigned count_keys(struct fuse_wire *w, unsigned keyspace)
{
	struct wombat_iter *it;
	unsigned count = 0;
	assert_ok(wombat_iter_new(w->m.db, NULL, keyspace, &it));
	for (bool more = wombat_iter_first(it); more; more = wombat_iter_next(it))
		count++;
	assert_ok(wombat_iter_status(it));
	wombat_iter_free(it);
	return count;
}

static void rewrite(struct fuse_wire *w, const char *path, const char *text)
{
	uint64_t node = wire_walk(w, path), fh;
	assert_int_equal(wire_truncate(w, node, 0), 0);
	assert_int_equal(wire_open_file(w, node, O_WRONLY, &fh), 0);
	assert_int_equal(wire_write(w, node, fh, O_WRONLY, 0, text, strlen(text)), 0);
	assert_int_equal(wire_flush(w, node, fh), 0);
	assert_int_equal(wire_release(w, node, fh, O_WRONLY), 0);
}

/* ---- Making --------------------------------------------------------------------------------- */

static void test_link(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), f = wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_link(w, f, d, "g"), 0);
	check_group(w, "f d/g", 2, "text");
	check_value(w, "f", "text");
	check_value(w, "d/g", "text");
	assert_int_equal(wire_link(w, wire_walk(w, "d/g"), WIRE_ROOT, "h"), 0);
	check_group(w, "f d/g h", 3, "text");
	rewrite(w, "d/g", "another text");
	check_group(w, "f d/g h", 3, "another text");
	check_value(w, "h", "another text");
	assert_int_equal(wire_chmod(w, wire_walk(w, "h"), 0600), 0);
	assert_int_equal(wire_setxattr(w, f, "user.x", "y", 1, 0), 0);
	wire_reopen(w);
	check_group(w, "h f d/g", 3, "another text");
	assert_int_equal(attr_of(w, "f").mode & 07777, 0600);
	assert_int_equal(wire_getxattr(w, wire_walk(w, "d/g"), "user.x", 10), 0);
	assert_int_equal(w->size, 1);
}

static void test_link_errors(void **state)
{
	struct fuse_wire *w = *state;
	char name[257];
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), f = wire_put(w, WIRE_ROOT, "f", "text"), fh;
	assert_int_equal(wire_link(w, f, d, "f"), 0);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "f"), EEXIST);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "d"), EEXIST);
	assert_int_equal(wire_link(w, d, WIRE_ROOT, "e"), EPERM);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, ".wombat"), EPERM);
	assert_int_equal(wire_link(w, f, wire_walk(w, ".wombat"), "x"), EPERM);
	assert_int_equal(wire_link(w, wire_walk(w, ".wombat/config"), WIRE_ROOT, "x"), EPERM);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "%25"), EINVAL); /* says what "%" says */
	memset(name, 'n', 256);
	name[256] = 0;
	assert_int_equal(wire_link(w, f, WIRE_ROOT, name), ENAMETOOLONG);
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	assert_int_equal(wire_unlink(w, d, "f"), 0);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "again"), ENOENT);
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
	assert_int_equal(count_keys(w, WOMBAT_FS_LINKS), 0);
	assert_int_equal(count_keys(w, WOMBAT_FS_INODES), 0);
}

static void test_most(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	struct node *n = node_of(&w->m, f);
	n->links->count = LINKS_MAX;
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "h"), EMLINK);
	n->links->count = 2;
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "h"), 0);
}

/* What is staged is committed first, and a name of a fresh file is of one that is stored. */
static void test_link_staged(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	uint64_t fh;
	assert_int_equal(wire_create(w, WIRE_ROOT, "f", 0644, O_RDWR, &e, &fh), 0);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 0, "one", 3), 0);
	check_value(w, "f", NULL);
	assert_int_equal(wire_link(w, e.nodeid, WIRE_ROOT, "g"), 0);
	check_value(w, "f", "one");
	check_value(w, "g", "one");
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 3, " two", 4), 0);
	check_value(w, "g", "one");
	check_group(w, "f g", 2, "one two");
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_RDWR), 0);
	check_value(w, "f", NULL);
	check_value(w, "g", "one two");
	wire_reopen(w);
	check_group(w, "g", 1, "one two");
}

static void test_other_types(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out l, p;
	assert_int_equal(wire_symlink(w, WIRE_ROOT, "l", "target", &l), 0);
	assert_int_equal(wire_mknod(w, WIRE_ROOT, "p", S_IFIFO | 0600, 0, &p), 0);
	assert_int_equal(wire_link(w, l.nodeid, WIRE_ROOT, "l2"), 0);
	assert_int_equal(wire_link(w, p.nodeid, WIRE_ROOT, "p2"), 0);
	wire_reopen(w);
	assert_int_equal(attr_of(w, "p2").nlink, 2);
	assert_true(S_ISFIFO(attr_of(w, "p2").mode));
	assert_int_equal(wire_walk(w, "p"), wire_walk(w, "p2"));
	assert_int_equal(wire_readlink(w, wire_walk(w, "l2")), 0);
	assert_string_equal((char *)w->reply, "target");
	assert_int_equal(wire_walk(w, "l"), wire_walk(w, "l2"));
}

/* ---- Large files ------------------------------------------------------------------------------ */

static void check_large(struct fuse_wire *w, const char *paths, unsigned count, const uint8_t *bytes)
{
	char copy[200], *save;
	for (char *path = strtok_r(strcpy(copy, paths), " ", &save); path; path = strtok_r(NULL, " ", &save)) {
		struct wombat_record r;
		assert_int_equal(attr_of(w, path).nlink, count);
		wire_check_content(w, wire_walk(w, path), bytes, LARGE);
		assert_ok(wombat_get(w->m.db, NULL, WOMBAT_USER, WOMBAT_STR(path), &r));
		assert_int_equal(r.value.size, LARGE);
		assert_memory_equal(r.value.data, bytes, LARGE);
		wombat_record_release(&r);
	}
}

static void change_large(struct fuse_wire *w, const char *path, uint8_t *bytes, size_t offset, const char *text)
{
	uint64_t node = wire_walk(w, path), fh;
	memcpy(bytes + offset, text, strlen(text));
	assert_int_equal(wire_open_file(w, node, O_RDWR, &fh), 0);
	assert_int_equal(wire_write(w, node, fh, O_RDWR, offset, text, strlen(text)), 0);
	assert_int_equal(wire_flush(w, node, fh), 0);
	assert_int_equal(wire_release(w, node, fh, O_RDWR), 0);
}

static double written(struct fuse_wire *w)
{
	double values, log;
	assert_ok(wombat_stat(w->m.db, "value_log.bytes_total", &values));
	assert_ok(wombat_stat(w->m.db, "wal.bytes_total", &log));
	return values + log;
}

static void test_large(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	uint8_t *bytes = malloc(LARGE);
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), fh;
	assert_non_null(bytes);
	for (size_t i = 0; i < LARGE; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(wire_create(w, WIRE_ROOT, "f", 0644, O_RDWR, &e, &fh), 0);
	for (size_t at = 0; at < LARGE; at += 64 << 10)
		assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, at, bytes + at, 64 << 10), 0);
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_RDWR), 0);
	double before = written(w);
	assert_int_equal(wire_link(w, e.nodeid, d, "g"), 0);
	assert_int_equal(wire_link(w, e.nodeid, WIRE_ROOT, "h"), 0);
	change_large(w, "d/g", bytes, 1000000, "in all three");
	assert_int_equal(wire_chmod(w, e.nodeid, 0640), 0);
	check_large(w, "f d/g h", 3, bytes);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "h", d, "i", 0), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	assert_true(written(w) - before < 8000);
	change_large(w, "d/i", bytes, 2000000, "in two");
	check_large(w, "d/g d/i", 2, bytes);
	/* Written to while a name goes and another comes. */
	uint64_t node = wire_walk(w, "d/i");
	assert_int_equal(wire_open_file(w, node, O_RDWR, &fh), 0);
	assert_int_equal(wire_write(w, node, fh, O_RDWR, 5, "12345", 5), 0);
	assert_int_equal(wire_unlink(w, d, "g"), 0);
	assert_int_equal(wire_write(w, node, fh, O_RDWR, 10, "67890", 5), 0);
	assert_int_equal(wire_link(w, node, WIRE_ROOT, "k"), 0);
	assert_int_equal(wire_write(w, node, fh, O_RDWR, 15, "abcde", 5), 0);
	assert_int_equal(wire_rename(w, d, "i", WIRE_ROOT, "i", 0), 0);
	assert_int_equal(wire_flush(w, node, fh), 0);
	assert_int_equal(wire_release(w, node, fh, O_RDWR), 0);
	memcpy(bytes + 5, "1234567890abcde", 15);
	check_large(w, "i k", 2, bytes);
	wire_reopen(w);
	check_large(w, "k i", 2, bytes);
	assert_int_equal(attr_of(w, "i").mode & 07777, 0640);
	free(bytes);
}

/* ---- Going ------------------------------------------------------------------------------------ */

static void test_unlink(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), fh;
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "h"), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	check_value(w, "f", NULL);
	check_group(w, "g h", 2, "text");
	/* The name is free, and what comes there is another file. */
	uint64_t other = wire_put(w, WIRE_ROOT, "f", "other");
	assert_true(other != f && attr_of(w, "f").ino != attr_of(w, "g").ino);
	assert_int_equal(attr_of(w, "f").nlink, 1);
	wire_reopen(w);
	check_group(w, "g h", 2, "text");
	assert_true(attr_of(w, "f").ino != attr_of(w, "g").ino);
	/* Open, with none of its names known by now: the file is still that of the last. */
	f = wire_walk(w, "g");
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "g"), 0);
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 4, "!", 1), 0);
	assert_int_equal(wire_flush(w, f, fh), 0);
	check_value(w, "h", "text!");
	check_group(w, "h", 1, "text!");
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "h"), 0);
	check_value(w, "h", NULL);
	struct fuse_attr a;
	assert_int_equal(wire_getattr(w, f, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(wire_read(w, f, fh, 0, 10), 0);
	assert_string_equal((char *)w->reply, "text!");
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
	assert_int_equal(count_keys(w, WOMBAT_FS_LINKS), 0);
}

/* A file whose known names are all gone, and which is known by its number alone, can get and lose more of them. */
static void test_without_live_name(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), fh;
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	wire_reopen(w);
	f = wire_walk(w, "f");
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_unlink(w, WIRE_ROOT, "f"), 0);
	wire_check_text(w, f, "text");
	assert_int_equal(wire_getxattr(w, f, "user.wombat.key", 10), 0);
	assert_memory_equal(w->reply, "g", 1);
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "h"), 0);
	check_group(w, "h g", 2, "text");
	assert_int_equal(wire_release(w, f, fh, O_RDWR), 0);
	wire_reopen(w);
	check_group(w, "g h", 2, "text");
}

/* ---- Moving ----------------------------------------------------------------------------------- */

static void test_rename(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), f = wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	/* Of one file over itself: nothing happens. */
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", 0), 0);
	check_group(w, "f g", 2, "text");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", RENAME_NOREPLACE), EEXIST);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "f", WIRE_ROOT, "g", RENAME_EXCHANGE), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", d, "h", 0), 0);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "g", NULL), ENOENT);
	check_group(w, "f d/h", 2, "text");
	check_value(w, "g", NULL);
	check_value(w, "d/h", "text");
	/* Over another: that goes, or has one name less. */
	wire_put(w, WIRE_ROOT, "x", "single");
	assert_int_equal(wire_rename(w, d, "h", WIRE_ROOT, "x", 0), 0);
	check_group(w, "f x", 2, "text");
	uint64_t y = wire_put(w, WIRE_ROOT, "y", "other");
	assert_int_equal(wire_link(w, y, WIRE_ROOT, "z"), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "x", WIRE_ROOT, "z", 0), 0);
	check_group(w, "f z", 2, "text");
	check_group(w, "y", 1, "other");
	/* One with a single name over one of several; the last of several goes so too. */
	wire_put(w, WIRE_ROOT, "s", "single");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "s", WIRE_ROOT, "z", 0), 0);
	check_group(w, "f", 1, "text");
	check_group(w, "z", 1, "single");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "z", WIRE_ROOT, "f", 0), 0);
	check_group(w, "f", 1, "single");
	wire_reopen(w);
	check_group(w, "f", 1, "single");
	check_group(w, "y", 1, "other");
	assert_int_equal(count_keys(w, WOMBAT_FS_LINKS), 2); /* of y */
}

static void test_fresh_over_linked(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	uint64_t f = wire_put(w, WIRE_ROOT, "f", "text"), fh;
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	assert_int_equal(wire_create(w, WIRE_ROOT, "n", 0644, O_RDWR, &e, &fh), 0);
	assert_int_equal(wire_write(w, e.nodeid, fh, O_RDWR, 0, "new", 3), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "n", WIRE_ROOT, "g", 0), 0);
	check_group(w, "f", 1, "text");
	check_group(w, "g", 1, "new");
	assert_int_equal(wire_flush(w, e.nodeid, fh), 0);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_RDWR), 0);
	wire_reopen(w);
	check_group(w, "f", 1, "text");
	check_group(w, "g", 1, "new");
}

static void test_directories(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t a = make_dir(w, WIRE_ROOT, "a"), b = make_dir(w, WIRE_ROOT, "b");
	uint64_t sub = make_dir(w, a, "sub"), f = wire_put(w, sub, "f", "text");
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "out"), 0);
	assert_int_equal(wire_link(w, f, a, "in"), 0);
	assert_int_equal(wire_link(w, f, b, "in"), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "a", WIRE_ROOT, "c", 0), 0);
	check_group(w, "out c/sub/f c/in b/in", 4, "text");
	rewrite(w, "c/in", "after");
	check_value(w, "c/sub/f", "after");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "b", WIRE_ROOT, "c", RENAME_EXCHANGE), 0);
	check_group(w, "out b/sub/f b/in c/in", 4, "after");
	wire_reopen(w);
	check_group(w, "b/in out c/in b/sub/f", 4, "after");
	rewrite(w, "out", "again");
	wire_reopen(w);
	check_group(w, "b/in out c/in b/sub/f", 4, "again");
	/* A file that has several and a directory change places, and two files. */
	uint64_t y = wire_put(w, WIRE_ROOT, "y", "other");
	assert_int_equal(wire_link(w, y, WIRE_ROOT, "z"), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "z", WIRE_ROOT, "b", RENAME_EXCHANGE), 0);
	check_group(w, "z/in out c/in z/sub/f", 4, "again");
	check_group(w, "y b", 2, "other");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "out", WIRE_ROOT, "y", RENAME_EXCHANGE), 0);
	wire_reopen(w);
	check_group(w, "z/in y c/in z/sub/f", 4, "again");
	check_group(w, "out b", 2, "other");
	assert_int_equal(wire_unlink(w, wire_walk(w, "c"), "in"), 0);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "c"), 0);
	check_group(w, "z/in y z/sub/f", 3, "again");
}

/* One of the file's names is in the directory that another changes places with. */
static void test_exchange_with_directory_above(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t d = make_dir(w, WIRE_ROOT, "d"), f = wire_put(w, d, "f", "text");
	assert_int_equal(wire_link(w, f, WIRE_ROOT, "g"), 0);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", WIRE_ROOT, "d", RENAME_EXCHANGE), 0);
	check_group(w, "d g/f", 2, "text");
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", WIRE_ROOT, "d", RENAME_EXCHANGE), 0);
	check_group(w, "g d/f", 2, "text");
	wire_reopen(w);
	assert_int_equal(wire_rename(w, WIRE_ROOT, "d", WIRE_ROOT, "g", RENAME_EXCHANGE), 0);
	wire_reopen(w);
	check_group(w, "d g/f", 2, "text");
	check_value(w, "g/f", "text");
	/* And by that name it is below. */
	assert_int_equal(wire_rename(w, WIRE_ROOT, "g", wire_walk(w, "g"), "f", RENAME_EXCHANGE), EINVAL);
	assert_int_equal(wire_rename(w, wire_walk(w, "g"), "f", WIRE_ROOT, "g", RENAME_EXCHANGE), EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_link),
		TEST(test_link_errors),
		TEST(test_most),
		TEST(test_link_staged),
		TEST(test_other_types),
		TEST(test_large),
		TEST(test_unlink),
		TEST(test_without_live_name),
		TEST(test_rename),
		TEST(test_fresh_over_linked),
		TEST(test_directories),
		TEST(test_exchange_with_directory_above),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
