/*
 * fs/acl: what is a list; mode and list in step in both directions; what children get, for every mode, mask and umask against
 * the rules written out here once more; limits and memory.
 */
#include "fs/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/random.h"
#include "fs/xattr.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum { OWNER = 1, USER = 2, GROUP = 4, NAMED = 8, MASK = 16, OTHER = 32, LIST_MAX = 4 + 8 * 8 };

struct list {
	uint8_t data[LIST_MAX];
	size_t size;
};

static void add(struct list *l, unsigned tag, unsigned permissions, uint32_t id)
{
	if (l->size == 0) {
		memcpy(l->data, "\2\0\0\0", 4);
		l->size = 4;
	}
	uint8_t *e = l->data + l->size;
	e[0] = (uint8_t)tag;
	e[1] = (uint8_t)(tag >> 8);
	e[2] = (uint8_t)permissions;
	e[3] = (uint8_t)(permissions >> 8);
	for (int i = 0; i < 4; i++)
		e[4 + i] = (uint8_t)(id >> 8 * i);
	l->size += 8;
}

static struct list plain(unsigned mode)
{
	struct list l = { .size = 0 };
	add(&l, OWNER, mode >> 6 & 7, UINT32_MAX);
	add(&l, GROUP, mode >> 3 & 7, UINT32_MAX);
	add(&l, OTHER, mode & 7, UINT32_MAX);
	return l;
}

static struct list with_user(unsigned owner, unsigned user, unsigned group, unsigned mask, unsigned other)
{
	struct list l = { .size = 0 };
	add(&l, OWNER, owner, UINT32_MAX);
	add(&l, USER, user, 1000);
	add(&l, GROUP, group, UINT32_MAX);
	add(&l, MASK, mask, UINT32_MAX);
	add(&l, OTHER, other, UINT32_MAX);
	return l;
}

static struct node *made(struct fs_mount *f, struct node *dir, const char *name, mode_t mode, mode_t umask)
{
	struct node *n;
	const struct caller who = { .uid = 1, .gid = 2, .umask = umask };
	assert_int_equal(namei_make(&f->m, dir, name, mode, 0, NULL, who, &n), 0);
	n->lookups++;
	return n;
}

static void assert_list(const struct node *n, const char *name, const struct list *expected)
{
	const uint8_t *value;
	size_t size;
	if (!expected) {
		assert_int_equal(xattr_get(n, name, &value, &size), ENODATA);
		return;
	}
	assert_int_equal(xattr_get(n, name, &value, &size), 0);
	assert_int_equal(size, expected->size);
	assert_memory_equal(value, expected->data, size);
}

static int set(struct fs_mount *f, struct node *n, const char *name, const struct list *l)
{
	return acl_set(&f->m, n, name, l->data, l->size, true);
}

/* ---- Lists --------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	(void)state;
	assert_true(acl_is_name(ACCESS) && acl_is_name(DEFAULT));
	assert_false(acl_is_name("system.posix_acl") || acl_is_name("user.posix_acl_access") || acl_is_name(ACCESS "2"));
}

static void test_what_is_a_list(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = made(f, fs_mount_root(f), "f", S_IFREG | 0640, 0);
	struct list good = with_user(7, 6, 5, 4, 3), l;
	assert_int_equal(acl_set(&f->m, n, ACCESS, "", 0, true), EINVAL);
	assert_int_equal(acl_set(&f->m, n, ACCESS, "\2\0\0\0", 4, true), EINVAL);
	for (size_t cut = 1; cut < good.size; cut++)
		if ((cut - 4) % 8) {
			l = good;
			l.size = cut;
			assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
		}
	l = good;
	l.data[0] = 1; /* the version */
	assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
	l = good;
	l.data[4 + 2] = 8; /* permissions */
	assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
	l = good;
	l.data[4 + 3] = 1;
	assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
	l = good;
	l.data[4] = 3; /* the tag */
	assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
	l = good;
	l.data[4] = 64;
	assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
	l = good;
	memset(l.data + 4 + 8 + 4, 0xff, 4); /* a user who has no number */
	assert_int_equal(set(f, n, ACCESS, &l), EINVAL);

	/* Each of owner, group and others, once; a mask where somebody is named; in their order. */
	static const unsigned bad[][5] = { { OWNER, GROUP }, { OWNER, OTHER }, { GROUP, OTHER }, { OWNER, USER, GROUP, OTHER },
		{ OWNER, GROUP, NAMED, OTHER }, { OWNER, OWNER, GROUP, OTHER }, { OWNER, GROUP, OTHER, OTHER }, { OWNER, GROUP, OTHER, MASK },
		{ GROUP, OWNER, OTHER }, { OWNER, GROUP, USER, MASK, OTHER }, { OWNER, GROUP, MASK, MASK, OTHER } };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		l = (struct list){ .size = 0 };
		for (int k = 0; k < 5 && bad[i][k]; k++)
			add(&l, bad[i][k], 7, 5);
		assert_int_equal(set(f, n, ACCESS, &l), EINVAL);
	}
	assert_int_equal(n->attr.mode, S_IFREG | 0640);
	assert_list(n, ACCESS, NULL);
	assert_int_equal(set(f, n, ACCESS, &good), 0);
	static const unsigned fine[][6] = { { OWNER, USER, USER, GROUP, MASK, OTHER }, { OWNER, GROUP, NAMED, NAMED, MASK, OTHER },
		{ OWNER, GROUP, MASK, OTHER } };
	for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
		l = (struct list){ .size = 0 };
		for (int k = 0; k < 6 && fine[i][k]; k++)
			add(&l, fine[i][k], 7, (uint32_t)k);
		assert_int_equal(set(f, n, ACCESS, &l), 0);
		assert_list(n, ACCESS, &l);
	}
}

static void test_whose_list_it_may_be(void **state)
{
	struct fs_mount *f = *state;
	struct node *root = fs_mount_root(f), *file = made(f, root, "f", S_IFREG | 0640, 0), *link, *dir = made(f, root, "d", S_IFDIR | 0750, 0);
	struct list l = with_user(7, 6, 5, 4, 3);
	assert_int_equal(namei_make(&f->m, root, "l", S_IFLNK | 0777, 0, "f", (struct caller){ .uid = 1 }, &link), 0);
	assert_int_equal(set(f, file, DEFAULT, &l), EACCES);
	assert_int_equal(set(f, link, ACCESS, &l), EOPNOTSUPP);
	assert_int_equal(set(f, dir, DEFAULT, &l), 0);
	assert_int_equal(dir->attr.mode, S_IFDIR | 0750); /* a default list says nothing of the directory itself */
	assert_int_equal(acl_remove(&f->m, dir, DEFAULT), 0);
	assert_int_equal(acl_remove(&f->m, dir, DEFAULT), 0);
	assert_list(dir, DEFAULT, NULL);
}

/* ---- Mode and list ------------------------------------------------------------------------- */

static void test_a_list_makes_the_mode(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = made(f, fs_mount_root(f), "f", S_IFREG | 06640, 0);
	struct list l = with_user(7, 6, 5, 4, 3);
	assert_int_equal(set(f, n, ACCESS, &l), 0);
	assert_int_equal(n->attr.mode, S_IFREG | 06743); /* the mask is the group's bits */
	assert_list(n, ACCESS, &l);
	assert_true(n->attr_dirty);
	/* A caller who is not in the group takes its set-id bit, and no other. */
	assert_int_equal(acl_set(&f->m, n, ACCESS, l.data, l.size, false), 0);
	assert_int_equal(n->attr.mode, S_IFREG | 04743);
	/* One that says no more than a mode is one. */
	l = plain(0712);
	assert_int_equal(set(f, n, ACCESS, &l), 0);
	assert_int_equal(n->attr.mode, S_IFREG | 04712);
	assert_list(n, ACCESS, NULL);
	/* Without its list a node keeps the mode. */
	l = with_user(6, 6, 6, 2, 0);
	assert_int_equal(set(f, n, ACCESS, &l), 0);
	assert_int_equal(acl_remove(&f->m, n, ACCESS), 0);
	assert_int_equal(n->attr.mode, S_IFREG | 04620);
}

static void test_a_mode_makes_the_list(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = made(f, fs_mount_root(f), "f", S_IFREG | 0640, 0);
	struct list l = with_user(7, 6, 5, 4, 3), expected;
	acl_follow_mode(n); /* none: nothing */
	assert_list(n, ACCESS, NULL);
	assert_int_equal(set(f, n, ACCESS, &l), 0);
	for (unsigned mode = 0; mode < 01000; mode += 7) {
		n->attr.mode = S_IFREG | mode;
		acl_follow_mode(n);
		expected = with_user(mode >> 6, 6, 5, mode >> 3 & 7, mode & 7);
		assert_list(n, ACCESS, &expected);
	}
	/* What is in the database and is no list stays what it is. */
	assert_int_equal(xattr_store(n, ACCESS, "nonsense", 8), 0);
	acl_follow_mode(n);
	const uint8_t *value;
	size_t size;
	assert_int_equal(xattr_get(n, ACCESS, &value, &size), 0);
	assert_memory_equal(value, "nonsense", 8);
}

/* ---- Children ------------------------------------------------------------------------------ */

static void test_children(void **state)
{
	struct fs_mount *f = *state;
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	struct node *dir = made(f, fs_mount_root(f), "d", S_IFDIR | 0755, 0);
	for (unsigned i = 0; i < 400; i++) {
		unsigned p[5], mode = (unsigned)random_below(&r, 01000), umask = (unsigned)random_below(&r, 01000);
		char name[16];
		bool is_dir = i & 1, is_plain = random_below(&r, 3) == 0, has_list = random_below(&r, 4) != 0;
		for (int k = 0; k < 5; k++)
			p[k] = (unsigned)random_below(&r, 8);
		struct list l = is_plain ? plain(p[0] << 6 | p[2] << 3 | p[4]) : with_user(p[0], p[1], p[2], p[3], p[4]);
		if (has_list)
			assert_int_equal(set(f, dir, DEFAULT, &l), 0);
		else
			assert_int_equal(acl_remove(&f->m, dir, DEFAULT), 0);
		snprintf(name, sizeof name, "c%u", i);
		struct node *n = made(f, dir, name, (is_dir ? S_IFDIR : S_IFREG) | mode, umask);
		if (!has_list) {
			assert_int_equal(n->attr.mode & 0777, mode & ~umask);
			assert_list(n, ACCESS, NULL);
			assert_list(n, DEFAULT, NULL);
			continue;
		}
		unsigned owner = mode >> 6 & p[0], group = mode >> 3 & 7 & (is_plain ? p[2] : p[3]), other = mode & 7 & p[4];
		struct list expected = with_user(owner, p[1], p[2], group, other);
		assert_int_equal(n->attr.mode & 0777, owner << 6 | group << 3 | other); /* whatever the umask */
		assert_list(n, ACCESS, is_plain ? NULL : &expected);
		assert_list(n, DEFAULT, is_dir ? &l : NULL);
	}
	/* Symbolic links have neither. */
	struct list l = with_user(0, 0, 0, 0, 0);
	struct node *link;
	assert_int_equal(set(f, dir, DEFAULT, &l), 0);
	assert_int_equal(namei_make(&f->m, dir, "l", S_IFLNK | 0777, 0, "x", (struct caller){ .umask = 077 }, &link), 0);
	assert_int_equal(link->attr.mode, S_IFLNK | 0777);
	assert_int_equal(link->attr.xattrs_size, 0);
}

/* That there are lists is known in the next mount, also when the last one has gone. */
static void test_it_is_recorded(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = made(f, fs_mount_root(f), "f", S_IFREG | 0640, 0);
	struct list l = with_user(7, 6, 5, 4, 3), bad = { .size = 3 };
	assert_false(f->m.nodes->acls_recorded);
	assert_int_equal(set(f, n, ACCESS, &bad), EINVAL);
	assert_false(f->m.nodes->acls_recorded);
	assert_int_equal(set(f, n, ACCESS, &l), 0);
	assert_true(f->m.nodes->acls_recorded);
	assert_int_equal(acl_remove(&f->m, n, ACCESS), 0);
	fs_mount_reopen(f);
	assert_true(f->m.nodes->acls_recorded);
}

/* A failure leaves what was, or makes nothing. */
static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	struct node *root = fs_mount_root(f), *dir = made(f, root, "d", S_IFDIR | 0755, 0), *n = NULL;
	struct list l = with_user(7, 6, 5, 4, 3);
	unsigned failed = 0;
	for (bool done = false; !done; failed++) {
		alloc_fail_arm(failed);
		int error = set(f, dir, ACCESS, &l);
		alloc_fail_disarm();
		done = error == 0;
		assert_true(done || error == ENOMEM);
		assert_int_equal(dir->attr.mode, done ? S_IFDIR | 0743 : S_IFDIR | 0755);
	}
	assert_true(failed > 2);
	assert_int_equal(set(f, dir, DEFAULT, &l), 0);
	failed = 0;
	for (bool done = false; !done; failed++) {
		alloc_fail_arm(failed);
		int error = namei_make(&f->m, dir, "child", S_IFDIR | 0777, 0, NULL, (struct caller){ .uid = 1 }, &n);
		alloc_fail_disarm();
		done = error == 0;
		assert_true(done || error == ENOMEM);
		if (!done)
			assert_int_equal(namei_lookup(&f->m, dir, "child", &n), ENOENT);
	}
	assert_true(failed > 3);
	assert_list(n, DEFAULT, &l);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		TEST(test_what_is_a_list),
		TEST(test_whose_list_it_may_be),
		TEST(test_a_list_makes_the_mode),
		TEST(test_a_mode_makes_the_list),
		TEST(test_children),
		TEST(test_it_is_recorded),
		TEST(test_failed_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
