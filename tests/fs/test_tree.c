/*
 * fs/tree: trees are found by kind and name until they have none, go when nobody is in them, and when memory runs out
 * while one is made nothing stays behind.
 */
#include <errno.h>
#include <string.h>

#include "fs/tree.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"

static struct store *snapshot_of(struct fs_mount *f, const char *name)
{
	struct store *s;
	assert_int_equal(f->real->snapshot_open(f->m.store, name, &s), STORE_OK);
	return s;
}

static struct tree *add(struct fs_mount *f, enum tree_kind kind, const char *name)
{
	struct tree *t;
	assert_int_equal(tree_new(&f->m, kind, name, 7, snapshot_of(f, "s"), &t), 0);
	return t;
}

static void test_found_by_name(void **state)
{
	struct fs_mount *f = *state;
	assert_ok(wombat_snapshot_create(f->m.db, "s"));
	struct tree *a = add(f, TREE_SNAPSHOT, "a"), *b = add(f, TREE_TXN, "a");
	assert_ptr_equal(tree_find(&f->m, TREE_SNAPSHOT, "a"), a);
	assert_ptr_equal(tree_find(&f->m, TREE_TXN, "a"), b);
	assert_null(tree_find(&f->m, TREE_TXN, "b"));
	assert_int_equal(tree_check_change(&b->m), 0);
	tree_drop(b);
	assert_null(tree_find(&f->m, TREE_TXN, "a"));
	assert_int_equal(tree_check_change(&a->m), EROFS);
	assert_int_equal(tree_check_change(&b->m), EROFS);
	assert_int_equal(tree_check_change(&f->m), 0);
	assert_true(tree_root(a)->ino == 1 && tree_shown_ino(&a->m, 1) == tree_root_ino(TREE_SNAPSHOT, "a", 7));
	assert_true(tree_root_ino(TREE_SNAPSHOT, "a", 7) != tree_root_ino(TREE_SNAPSHOT, "a", 8));
	assert_true(tree_root_ino(TREE_SNAPSHOT, "a", 7) != tree_root_ino(TREE_TXN, "a", 7));
}

static void test_sweep(void **state)
{
	struct fs_mount *f = *state;
	struct node *n;
	assert_int_equal(namei_make(&f->m, fs_mount_root(f), "f", S_IFREG | 0644, 0, NULL, (struct caller){ .uid = 0 }, &n), 0);
	node_release(&f->m, n);
	assert_ok(wombat_snapshot_create(f->m.db, "s"));
	struct tree *a = add(f, TREE_SNAPSHOT, "a"), *txn = add(f, TREE_TXN, "t");
	assert_int_equal(namei_lookup(&a->m, tree_root(a), "f", &n), 0);
	assert_ptr_equal(n->mount, &a->m);
	n->lookups++;
	trees_sweep(&f->m);
	assert_ptr_equal(tree_find(&f->m, TREE_SNAPSHOT, "a"), a);
	n->lookups--;
	node_release(&a->m, n);
	trees_sweep(&f->m);
	assert_null(tree_find(&f->m, TREE_SNAPSHOT, "a"));
	/* A transaction is not over because nobody looks at it. */
	assert_ptr_equal(tree_find(&f->m, TREE_TXN, "t"), txn);
	tree_drop(txn);
	trees_sweep(&f->m);
	assert_null(f->m.trees);
}

static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	struct tree *t;
	assert_ok(wombat_snapshot_create(f->m.db, "s"));
	for (unsigned failed = 0;; failed++) {
		struct store *s = snapshot_of(f, "s");
		alloc_fail_arm(failed);
		int error = tree_new(&f->m, TREE_SNAPSHOT, "a", 7, s, &t);
		if (!alloc_fail_disarm()) {
			assert_int_equal(error, 0);
			assert_true(failed > 2);
			break;
		}
		assert_int_equal(error, ENOMEM);
		assert_null(f->m.trees);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(test_found_by_name), TEST(test_sweep), TEST(test_failed_allocations) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
