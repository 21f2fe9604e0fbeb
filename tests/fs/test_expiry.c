/*
 * fs/expiry: the thread takes names in the order of their times, none too early, through random renewals and removals; what the
 * kernel may remember; names taken by whoever comes first; the space of what expired; memory.
 */
#include "fs/expiry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/random.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/xattr_virtual.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

enum { FILES = 200, SECOND_NS = 1000000000 };
#define MS INT64_C(1000000)

static struct node *new_file(struct fs_mount *f, const char *name)
{
	struct node *n;
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), name, S_IFREG | 0644, (struct caller){ .uid = 1, .gid = 2 }, &n), 0);
	assert_int_equal(file_write(&f->m, n, name, strlen(name), 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	n->lookups++;
	return n;
}

static void expire_at(struct fs_mount *f, struct node *n, int64_t at_ns)
{
	n->attr.expiry_ns = (uint64_t)at_ns;
	expiry_watch(&f->m, n);
}

/* The kernel lets go of it. */
static void forget(struct fs_mount *f, struct node *n)
{
	n->lookups = 0;
	node_release(&f->m, n);
}

/* ---- The thread ---------------------------------------------------------------------------- */

/* What the kernel was told, under the mount's lock. */
static struct {
	unsigned count;
	unsigned number[FILES];
	int64_t at_ns[FILES];
} told;

void __wrap_notify_name(struct mount *m, uint64_t directory, const char *name, size_t len);
void __wrap_notify_name(struct mount *m, uint64_t directory, const char *name, size_t len)
{
	(void)len;
	assert_int_equal(directory, node_id(m, &m->nodes->root));
	assert_true(told.count < FILES);
	told.number[told.count] = (unsigned)strtoul(name + 1, NULL, 10);
	told.at_ns[told.count++] = attr_now_ns();
}

/* The thread starts where there is a session to tell; nobody else here looks at it. */
static void pretend_session(struct fs_mount *f)
{
	memset(&told, 0, sizeof told);
	f->m.session = (struct fuse_session *)(void *)f;
}

static void end_session(struct fs_mount *f)
{
	expiry_stop(&f->m);
	f->m.session = NULL;
}

static void wait_until_told(struct fs_mount *f, unsigned count)
{
	for (int tries = 0; tries < 2000; tries++) {
		pthread_mutex_lock(&f->m.nodes->mu);
		bool done = told.count >= count;
		pthread_mutex_unlock(&f->m.nodes->mu);
		if (done)
			return;
		usleep(5000);
	}
	fail_msg("%u of %u names were taken", told.count, count);
}

static void test_in_the_order_of_their_times(void **state)
{
	static int64_t at[FILES];
	static struct node *nodes[FILES];
	struct fs_mount *f = *state;
	struct random_state r;
	char name[16];
	unsigned expected = 0;
	random_seed(&r, test_seed(__func__));
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%u", i);
		nodes[i] = new_file(f, name);
	}
	pretend_session(f);
	pthread_mutex_lock(&f->m.nodes->mu);
	int64_t begin = attr_now_ns() + 100 * MS;
	/* Each several times: the last one counts. One in eight does not expire in the end. */
	for (unsigned change = 0; change < 5 * FILES; change++) {
		unsigned i = change < FILES ? change : (unsigned)random_below(&r, FILES);
		at[i] = random_below(&r, 8) ? begin + (int64_t)random_below(&r, 300) * MS + (int64_t)i : 0;
		expire_at(f, nodes[i], at[i]);
	}
	pthread_mutex_unlock(&f->m.nodes->mu);
	for (unsigned i = 0; i < FILES; i++)
		expected += at[i] != 0;
	wait_until_told(f, expected);
	end_session(f);
	assert_int_equal(told.count, expected);
	for (unsigned i = 0; i < told.count; i++) {
		assert_true(told.at_ns[i] >= at[told.number[i]]);
		if (i)
			assert_true(at[told.number[i - 1]] < at[told.number[i]]);
	}
	for (unsigned i = 0; i < FILES; i++) {
		assert_int_equal(nodes[i]->unlinked, at[i] != 0);
		forget(f, nodes[i]);
	}
}

/* The thread sleeps until a later time, and is woken for an earlier one; a renewal lets it sleep on. */
static void test_a_sooner_one_and_a_renewal(void **state)
{
	struct fs_mount *f = *state;
	struct node *late = new_file(f, "f1"), *sooner = new_file(f, "f2"), *renewed = new_file(f, "f3");
	pretend_session(f);
	pthread_mutex_lock(&f->m.nodes->mu);
	int64_t now = attr_now_ns();
	expire_at(f, late, now + INT64_C(3600) * SECOND_NS);
	pthread_mutex_unlock(&f->m.nodes->mu);
	usleep(20000);
	pthread_mutex_lock(&f->m.nodes->mu);
	expire_at(f, renewed, attr_now_ns() + 50 * MS);
	expire_at(f, sooner, attr_now_ns() + 100 * MS);
	expire_at(f, renewed, attr_now_ns() + INT64_C(3600) * SECOND_NS);
	pthread_mutex_unlock(&f->m.nodes->mu);
	wait_until_told(f, 1);
	end_session(f);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.number[0], 2);
	assert_true(sooner->unlinked && !late->unlinked && !renewed->unlinked);
	/* After the end a change is nothing to wait for. */
	expire_at(f, late, 1);
	assert_false(late->unlinked);
	forget(f, sooner);
	forget(f, renewed);
	forget(f, late);
}

/* ---- Without it ---------------------------------------------------------------------------- */

static void test_what_the_kernel_may_remember(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file");
	assert_false(expiry_is_due(n));
	assert_true(expiry_timeout(n, 5) == 5);
	expire_at(f, n, attr_now_ns() + INT64_C(100) * SECOND_NS);
	assert_false(expiry_is_due(n));
	assert_true(expiry_timeout(n, 5) == 5);
	assert_true(expiry_timeout(n, 1e9) > 90 && expiry_timeout(n, 1e9) <= 100);
	expire_at(f, n, attr_now_ns() - 1);
	assert_true(expiry_is_due(n));
	assert_true(expiry_timeout(n, 5) == 0);
	expire_at(f, n, 0);
	assert_false(expiry_is_due(n));
}

/* A lookup finds it gone, its name is free, and who has it open reads on, though that was before it was to expire. */
static void test_a_lookup_takes_it(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file"), *found;
	const uint8_t *data;
	size_t size;
	n->opens++;
	uint64_t changes = fs_mount_root(f)->changes;
	assert_int_equal(xattr_virtual_set(&f->m, n, "user.wombat.ttl", "0.03", 4, 0), 0);
	usleep(40000);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "file", &found), ENOENT);
	assert_true(n->unlinked);
	assert_true(fs_mount_root(f)->changes > changes);
	assert_int_equal(file_read(&f->m, n, 0, 4, &data, &size), 0);
	assert_int_equal(size, 4);
	assert_memory_equal(data, "file", 4);
	found = new_file(f, "file");
	assert_true(found != n && found->ino != n->ino);
	n->opens--;
	forget(f, n);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("file"), NULL), 4);
}

/* The number of a file that was renamed is free again. */
static void test_its_number_is_free(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "old"), *found;
	assert_int_equal(namei_rename(&f->m, fs_mount_root(f), "old", fs_mount_root(f), "new", 0), 0);
	uint8_t number[8];
	for (int i = 0; i < 8; i++)
		number[i] = (uint8_t)(n->ino >> (56 - 8 * i));
	const struct store_bytes key = { number, sizeof number };
	assert_int_equal(fs_mount_stored(f, STORE_INODES, key, NULL), 0);
	assert_int_equal(xattr_virtual_set(&f->m, n, "user.wombat.ttl", "0.03", 4, 0), 0);
	usleep(40000);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "new", &found), ENOENT);
	assert_int_equal(fs_mount_stored(f, STORE_INODES, key, NULL), -1);
	forget(f, n);
}

/* One sets its time again and again, as a session does that is used: it stays for as long as that goes on, and no longer. */
static void test_sliding_renewal(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file"), *found;
	uint64_t last = 0;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(xattr_virtual_set(&f->m, n, "user.wombat.ttl", "0.5", 3, 0), 0);
		assert_true(n->attr.expiry_ns > last);
		last = n->attr.expiry_ns;
		usleep(80000);
		assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "file", &found), 0);
		assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("file"), NULL), 4); /* the library sees the same */
	}
	usleep(500000);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("file"), NULL), -1);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "file", &found), ENOENT);
	forget(f, n);
}

static void test_the_space_comes_back(void **state)
{
	enum { COUNT = 100, SIZE = 2000 };
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	struct random_state r;
	uint8_t data[SIZE];
	uint64_t keys, before, after;
	char name[16];
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "f%d", i);
		struct node *n = new_file(f, name);
		for (size_t b = 0; b < SIZE; b++)
			data[b] = (uint8_t)random_below(&r, 256);
		assert_int_equal(file_write(&f->m, n, data, SIZE, 0, false), 0);
		assert_int_equal(xattr_virtual_set(&f->m, n, "user.wombat.ttl", "1.5", 3, 0), 0);
		assert_int_equal(file_commit(&f->m, n), 0);
		forget(f, n);
	}
	assert_ok(wombat_flush(f->m.db));
	assert_int_equal(s->calls->estimate(s, STORE_USER, bytes_of(""), &keys, &before), STORE_OK);
	assert_true(before >= COUNT * SIZE);
	usleep(1600000);
	assert_ok(wombat_compact(f->m.db, WOMBAT_USER, WOMBAT_SLICE(NULL, 0), WOMBAT_SLICE(NULL, 0)));
	assert_int_equal(s->calls->estimate(s, STORE_USER, bytes_of(""), &keys, &after), STORE_OK);
	assert_true(after < SIZE);
}

/* What cannot be watched is found expired when somebody asks. */
static void test_without_memory(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, "file"), *found;
	alloc_fail_arm(0);
	expire_at(f, n, attr_now_ns() + 30 * MS);
	assert_true(alloc_fail_disarm());
	assert_int_equal(n->expiry_slot, 0);
	node_mark_attr(&f->m, n);
	assert_int_equal(file_commit(&f->m, n), 0);
	usleep(40000);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "file", &found), ENOENT);
	assert_true(n->unlinked);
	forget(f, n);
	struct mount m = { .nodes = f->m.nodes };
	struct expiry *kept = f->m.nodes->expiry;
	alloc_fail_arm(0);
	assert_int_equal(expiry_init(&m), ENOMEM);
	assert_true(alloc_fail_disarm());
	assert_ptr_equal(f->m.nodes->expiry, kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_in_the_order_of_their_times),
		TEST(test_a_sooner_one_and_a_renewal),
		TEST(test_what_the_kernel_may_remember),
		TEST(test_a_lookup_takes_it),
		TEST(test_its_number_is_free),
		TEST(test_sliding_renewal),
		TEST(test_the_space_comes_back),
		TEST(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
