/*
 * fs/xattr: random sets and removals against a table, through commits and a new mount; names, values, flags and the
 * total at their limits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "engine/base/random.h"
#include "fs/attr_format.h"
#include "fs/xattr.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

/* ---- A file, and what it should have -------------------------------------------------------- */

enum { NAMES = 12, VALUE_MAX = 3000 };

struct model {
	bool set[NAMES];
	size_t size[NAMES];
	uint8_t value[NAMES][VALUE_MAX];
	unsigned count;
};

static const char *name_of(unsigned i)
{
	static const char *const names[NAMES] = { "user.a", "user.b", "user.aa", "user.aaa", "trusted.a",
		"trusted.overlay.opaque",
		"security.a", "security.selinux", "user.\xff\x01", "user.a b/c", "trusted.b", "user.mime_type" };
	return names[i];
}

static struct node *new_file(struct fs_mount *f, const char *name)
{
	struct node *n;
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), name, S_IFREG | 0644, (struct caller){ .uid = 1, .gid = 2 }, &n), 0);
	n->lookups++;
	return n;
}

static struct node *find_file(struct fs_mount *f, const char *name)
{
	struct node *n;
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), name, &n), 0);
	n->lookups++;
	return n;
}

static void count_name(void *arg, const char *name, size_t len)
{
	struct model *m = arg;
	for (unsigned i = 0; i < NAMES; i++)
		if (strlen(name_of(i)) == len && memcmp(name_of(i), name, len) == 0) {
			assert_true(m->set[i]);
			m->count++;
			return;
		}
	fail_msg("a name that nobody set: %.*s", (int)len, name);
}

static void assert_like_model(const struct node *n, struct model *m)
{
	unsigned expected = 0;
	for (unsigned i = 0; i < NAMES; i++) {
		const uint8_t *value;
		size_t size;
		int error = xattr_get(n, name_of(i), &value, &size);
		assert_int_equal(error, m->set[i] ? 0 : ENODATA);
		expected += m->set[i];
		if (!m->set[i])
			continue;
		assert_int_equal(size, m->size[i]);
		if (size)
			assert_memory_equal(value, m->value[i], size);
	}
	m->count = 0;
	xattr_list(n, count_name, m);
	assert_int_equal(m->count, expected);
}

static void set_random(struct fs_mount *f, struct node *n, struct model *m, struct random_state *r)
{
	static const int all_flags[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };
	unsigned i = (unsigned)random_below(r, NAMES);
	int flags = all_flags[random_below(r, 4)];
	size_t size = random_below(r, 1 + random_below(r, VALUE_MAX + 1));
	uint8_t value[VALUE_MAX];
	memset(value, (int)random_below(r, 256), sizeof value);
	int expected = m->set[i] && flags == XATTR_CREATE ? EEXIST : !m->set[i] && flags == XATTR_REPLACE ? ENODATA : 0;
	assert_int_equal(xattr_set(&f->m, n, name_of(i), value, size, flags), expected);
	if (expected)
		return;
	m->set[i] = true;
	m->size[i] = size;
	memcpy(m->value[i], value, size);
}

static void test_against_a_table(void **state)
{
	static struct model m;
	struct fs_mount *f = *state;
	struct random_state r;
	memset(&m, 0, sizeof m);
	random_seed(&r, test_seed(__func__));
	struct node *n = new_file(f, "file");
	for (int step = 0; step < 3000; step++) {
		unsigned i = (unsigned)random_below(&r, NAMES);
		if (random_below(&r, 3)) {
			set_random(f, n, &m, &r);
		} else {
			assert_int_equal(xattr_remove(&f->m, n, name_of(i)), m.set[i] ? 0 : ENODATA);
			m.set[i] = false;
		}
		if (step % 10 == 0)
			assert_like_model(n, &m);
		if (step % 500 == 499) {
			fs_mount_reopen(f);
			n = find_file(f, "file");
			assert_like_model(n, &m);
		}
	}
}

/* A change of attributes alone is a change to be committed, and the status changes with it. */
static void test_a_change_is_staged(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_false(n->attr_dirty);
	n->attr.ctime_ns = 5;
	assert_int_equal(xattr_set(&f->m, n, "user.a", "x", 1, XATTR_REPLACE), ENODATA);
	assert_int_equal(xattr_remove(&f->m, n, "user.a"), ENODATA);
	assert_false(n->attr_dirty);
	assert_true(n->attr.ctime_ns == 5);
	assert_int_equal(xattr_set(&f->m, n, "user.a", "x", 1, XATTR_CREATE), 0);
	assert_true(n->attr_dirty && !n->data_dirty);
	assert_true(n->attr.ctime_ns > 5);
	assert_int_equal(file_commit(&f->m, n), 0);
	n->attr.ctime_ns = 5;
	assert_int_equal(xattr_remove(&f->m, n, "user.a"), 0);
	assert_true(n->attr_dirty);
	assert_true(n->attr.ctime_ns > 5);
}

/* ---- Limits -------------------------------------------------------------------------------- */

static void test_namespaces(void **state)
{
	static const char *const refused[] = { "", "a", "user", "usera", "User.a", "system.posix_acl_access",
		"system.posix_acl_default", "btrfs.a", "trusted", "security", "os2.a" };
	static const char *const nameless[] = { "user.", "trusted.", "security." };
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	const uint8_t *value;
	size_t size;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		assert_int_equal(xattr_set(&f->m, n, refused[i], "x", 1, 0), EOPNOTSUPP);
		assert_int_equal(xattr_remove(&f->m, n, refused[i]), EOPNOTSUPP);
		assert_int_equal(xattr_get(n, refused[i], &value, &size), ENODATA);
	}
	for (size_t i = 0; i < sizeof nameless / sizeof nameless[0]; i++) {
		assert_int_equal(xattr_set(&f->m, n, nameless[i], "x", 1, 0), EINVAL);
		assert_int_equal(xattr_remove(&f->m, n, nameless[i]), EINVAL);
	}
	assert_int_equal(n->attr.xattrs_size, 0);
}

static void test_long_names_and_values(void **state)
{
	static uint8_t big[65536 + 1];
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	char name[258];
	const uint8_t *value;
	size_t size;
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[256] = '\0';
	assert_int_equal(xattr_set(&f->m, n, name, "x", 1, 0), ERANGE);
	name[255] = '\0';
	assert_int_equal(xattr_set(&f->m, n, name, "x", 1, 0), 0);
	assert_int_equal(xattr_get(n, name, &value, &size), 0);
	name[254] = '\0'; /* what begins like it is another */
	assert_int_equal(xattr_get(n, name, &value, &size), ENODATA);
	memset(big, 7, sizeof big);
	assert_int_equal(xattr_set(&f->m, n, "user.big", big, 65537, 0), E2BIG);
	assert_int_equal(xattr_get(n, "user.big", &value, &size), ENODATA);
	assert_int_equal(xattr_set(&f->m, n, "user.empty", NULL, 0, 0), 0);
	assert_int_equal(xattr_get(n, "user.empty", &value, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(xattr_set(&f->m, n, "user.empty", big, 256, 0), 0); /* a size whose low byte is 0 */
	assert_int_equal(xattr_get(n, "user.empty", &value, &size), 0);
	assert_int_equal(size, 256);
}

static void assert_filled(const struct node *n, const char *name, int byte, size_t wanted)
{
	const uint8_t *value;
	size_t size;
	assert_int_equal(xattr_get(n, name, &value, &size), 0);
	assert_int_equal(size, wanted);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(value[i], byte);
}

/* One value of 64 KiB changes how all lengths of the file are written. */
static void test_the_longest_value(void **state)
{
	static uint8_t big[65536];
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	memset(big, 'b', sizeof big);
	assert_int_equal(xattr_set(&f->m, n, "user.a", "aaa", 3, 0), 0);
	assert_int_equal(xattr_set(&f->m, n, "user.b", big, 65535, 0), 0);
	assert_false(n->attr.xattrs_wide);
	for (int round = 0; round < 2; round++) {
		assert_filled(n, "user.a", 'a', 3);
		assert_filled(n, "user.b", 'b', 65535 + (size_t)round);
		if (round == 0) {
			alloc_fail_arm(0);
			assert_int_equal(xattr_set(&f->m, n, "user.b", big, 65536, 0), ENOMEM);
			assert_true(alloc_fail_disarm());
			assert_filled(n, "user.b", 'b', 65535);
			assert_int_equal(xattr_set(&f->m, n, "user.b", big, 65536, XATTR_REPLACE), 0);
			assert_int_equal(xattr_set(&f->m, n, "user.c", "c", 1, 0), 0);
		}
		assert_int_equal(file_commit(&f->m, n), 0);
		fs_mount_reopen(f);
		n = find_file(f, "file");
	}
	assert_true(n->attr.xattrs_wide);
	assert_filled(n, "user.c", 'c', 1);
	assert_int_equal(xattr_remove(&f->m, n, "user.b"), 0);
	assert_filled(n, "user.a", 'a', 3);
	assert_filled(n, "user.c", 'c', 1);
	assert_int_equal(xattr_remove(&f->m, n, "user.a"), 0);
	assert_int_equal(xattr_remove(&f->m, n, "user.c"), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	fs_mount_reopen(f);
	n = find_file(f, "file");
	assert_int_equal(n->attr.xattrs_size, 0);
	assert_false(n->attr.xattrs_wide);
}

/* All names together are what listxattr(2) can give. */
static void test_many_names(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	char name[256];
	unsigned count = 0;
	int error = 0;
	memset(name, 'n', sizeof name);
	while (!error) {
		name[snprintf(name, sizeof name, "user.%06u", count)] = 'n';
		name[199] = '\0';
		error = xattr_set(&f->m, n, name, "value", 5, 0);
		count += !error;
	}
	assert_int_equal(error, ENOSPC);
	assert_int_equal(count, 65536 / 200);
	assert_int_equal(file_commit(&f->m, n), 0);
	fs_mount_reopen(f);
	n = find_file(f, "file");
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *value;
		size_t size;
		name[snprintf(name, sizeof name, "user.%06u", i)] = 'n';
		name[199] = '\0';
		assert_int_equal(xattr_get(n, name, &value, &size), 0);
		assert_int_equal(size, 5);
	}
}

/* Whatever is taken can be committed, with every other field at its longest. */
static void test_the_total_fits_into_a_record(void **state)
{
	static uint8_t big[65536];
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	size_t most = 0;
	unsigned count = 0;
	char name[16];
	n->attr.mode = S_IFREG | 07777;
	n->attr.uid = n->attr.gid = 1u << 31;
	n->attr.mtime_ns = -1;
	n->attr.ctime_ns = 1;
	n->attr.atime_ns = 2;
	n->attr.ino = n->attr.rdev = 1ull << 63;
	memset(big, 'v', sizeof big);
	for (int error = 0; !error; count += !error) {
		snprintf(name, sizeof name, "user.%u", count);
		error = xattr_set(&f->m, n, name, big, sizeof big, 0);
	}
	assert_true(count >= 60 && (uint64_t)count * sizeof big < ATTR_BLOB_MAX); /* 1 MiB is asked for */
	for (size_t step = 32768; step; step /= 2)
		while (xattr_set(&f->m, n, "user.rest", big, most + step, 0) == 0)
			most += step;
	/* Full: nothing else finds room, but something as long takes its place. */
	n->attr.mtime_ns = -1;
	n->attr.ctime_ns = 1;
	assert_int_equal(xattr_set(&f->m, n, "user.x", "", 0, 0), ENOSPC);
	assert_int_equal(xattr_set(&f->m, n, "user.rest", big, most + 1, 0), ENOSPC);
	memset(big, 'w', sizeof big);
	assert_int_equal(xattr_set(&f->m, n, "user.rest", big, most, XATTR_REPLACE), 0);
	assert_filled(n, "user.rest", 'w', most);
	assert_int_equal(file_commit(&f->m, n), 0);
	fs_mount_reopen(f);
	n = find_file(f, "file");
	assert_filled(n, "user.rest", 'w', most);
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "user.%u", i);
		assert_filled(n, name, 'v', sizeof big);
	}
}

static void test_a_failed_allocation_changes_nothing(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	const uint8_t *value;
	size_t size;
	assert_int_equal(xattr_set(&f->m, n, "user.a", "old", 3, 0), 0);
	alloc_fail_arm(0);
	assert_int_equal(xattr_set(&f->m, n, "user.a", "newer", 5, 0), ENOMEM);
	assert_true(alloc_fail_disarm());
	alloc_fail_arm(0);
	assert_int_equal(xattr_set(&f->m, n, "user.b", "new", 3, 0), ENOMEM);
	assert_true(alloc_fail_disarm());
	assert_int_equal(xattr_get(n, "user.a", &value, &size), 0);
	assert_int_equal(size, 3);
	assert_memory_equal(value, "old", 3);
	assert_int_equal(xattr_get(n, "user.b", &value, &size), ENODATA);
	alloc_fail_arm(0);
	assert_int_equal(xattr_remove(&f->m, n, "user.a"), 0); /* needs none */
	assert_false(alloc_fail_disarm());
}

/* Directories have them too, and one that was only implied becomes a record. */
static void test_directories(void **state)
{
	struct fs_mount *f = *state;
	const uint8_t *value;
	size_t size;
	assert_ok(wombat_put(f->m.db, WOMBAT_USER, WOMBAT_STR("d/file"), WOMBAT_STR("x")));
	struct node *d = find_file(f, "d");
	assert_false(d->explicit_dir);
	assert_int_equal(xattr_set(&f->m, d, "user.a", "x", 1, 0), 0);
	assert_int_equal(fs_mount_stored(f, STORE_DIRS, bytes_of("d/"), NULL), -1);
	assert_int_equal(xattr_set(&f->m, fs_mount_root(f), "user.root", "y", 1, 0), 0);
	fs_mount_reopen(f);
	assert_int_equal(fs_mount_stored(f, STORE_DIRS, bytes_of("d/"), NULL), 0);
	assert_int_equal(xattr_get(find_file(f, "d"), "user.a", &value, &size), 0);
	assert_int_equal(xattr_get(fs_mount_root(f), "user.root", &value, &size), 0);
	assert_int_equal(*value, 'y');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_against_a_table),
		TEST(test_a_change_is_staged),
		TEST(test_namespaces),
		TEST(test_long_names_and_values),
		TEST(test_the_longest_value),
		TEST(test_many_names),
		TEST(test_the_total_fits_into_a_record),
		TEST(test_a_failed_allocation_changes_nothing),
		TEST(test_directories),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
