/*
 * Names that are not there: asked for again at once they cost the store nothing, and whatever brings them, through the mount or
 * past it, is seen by the next lookup.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/random.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

static const struct caller who = { .uid = FS_MOUNT_UID, .gid = FS_MOUNT_GID };

static int look(struct fs_mount *f, struct node *dir, const char *name)
{
	struct node *n;
	int error = namei_lookup(&f->m, dir, name, &n);
	if (!error)
		node_release(&f->m, n);
	return error;
}

static void put(struct store *s, const char *key)
{
	const struct store_change change = { .op = STORE_PUT, .space = STORE_USER, .key = bytes_of(key), .value = bytes_of("1") };
	assert_int_equal(s->calls->commit(s, &change, 1, false, NULL), STORE_OK);
}

static void test_asked_again(void **state)
{
	struct fs_mount *f = *state;
	struct node *root = fs_mount_root(f);
	assert_int_equal(look(f, root, "a"), ENOENT);
	unsigned looks = f->looks;
	assert_true(looks > 0);
	assert_int_equal(look(f, root, "a"), ENOENT);
	assert_int_equal(f->looks, looks);
	assert_int_equal(look(f, root, "b"), ENOENT);
	assert_true(f->looks > looks);
	/* Another directory's is another name. */
	struct node *d;
	assert_int_equal(namei_make(&f->m, root, "d", S_IFDIR | 0755, 0, NULL, who, &d), 0);
	d->lookups++;
	assert_int_equal(look(f, root, "a"), ENOENT);
	looks = f->looks;
	assert_int_equal(look(f, d, "a"), ENOENT);
	assert_true(f->looks > looks);
	/* Also when it has got the number that the other one had. */
	put(f->m.store, "d/b");
	assert_int_equal(look(f, root, "b"), ENOENT);
	uint64_t ino = d->ino;
	d->ino = root->ino;
	assert_int_equal(look(f, d, "b"), 0);
	d->ino = ino;
	d->lookups--;
	node_release(&f->m, d);
}

/* It comes by a commit of its own, with another's name below it, by a move, by a transaction. */
static void test_it_comes(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store, *t;
	struct node *root = fs_mount_root(f);
	assert_int_equal(look(f, root, "a"), ENOENT);
	put(s, "a");
	assert_int_equal(look(f, root, "a"), 0);

	assert_int_equal(look(f, root, "d"), ENOENT);
	put(s, "d/x");
	assert_int_equal(look(f, root, "d"), 0);

	const struct store_bytes from = bytes_of("d/"), to = bytes_of("e/");
	assert_int_equal(look(f, root, "e"), ENOENT);
	assert_int_equal(s->calls->move_prefix(s, from, to, false, NULL, 0), STORE_OK);
	assert_int_equal(look(f, root, "e"), 0);
	assert_int_equal(look(f, root, "d"), ENOENT);

	assert_int_equal(store_txn_new(s, &t), STORE_OK);
	put(t, "t");
	assert_int_equal(look(f, root, "t"), ENOENT);
	assert_int_equal(store_txn_commit(t), STORE_OK);
	assert_int_equal(look(f, root, "t"), 0);
	t->calls->close(t, true);
}

/* Many names that come and go, each looked up before and after. */
static void test_random(void **state)
{
	enum { NAMES = 40, STEPS = 4000 };
	struct fs_mount *f = *state;
	struct node *root = fs_mount_root(f);
	bool there[NAMES] = { false };
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < STEPS; i++) {
		unsigned n = (unsigned)random_below(&r, NAMES);
		char name[16];
		snprintf(name, sizeof name, "%s%u", n % 2 ? "name" : "n", n);
		if (random_below(&r, 3) == 0 && there[n]) {
			assert_int_equal(namei_unlink(&f->m, root, name), 0);
			there[n] = false;
		} else if (random_below(&r, 3) == 0 && !there[n]) {
			put(f->m.store, name);
			there[n] = true;
		}
		assert_int_equal(look(f, root, name), there[n] ? 0 : ENOENT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_asked_again, fs_mount_setup, fs_mount_teardown),
		cmocka_unit_test_setup_teardown(test_it_comes, fs_mount_setup, fs_mount_teardown),
		cmocka_unit_test_setup_teardown(test_random, fs_mount_setup, fs_mount_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
