/*
 * fs/notify over the wire: what is told comes in order, as the kernel knows it, from a thread of its own; without a
 * session there is nobody to tell, and an end with much untold leaves nothing behind.
 */
#include <poll.h>
#include <string.h>

#include "fs/notify.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

static void check_name(struct fuse_wire *w, uint64_t parent, const char *name)
{
	struct fuse_out_header header;
	uint8_t buffer[512] = { 0 };
	const struct fuse_notify_inval_entry_out *notice = (const void *)buffer;
	size_t size = wire_receive(w, &header, buffer, sizeof buffer - 1);
	assert_int_equal(header.unique, 0);
	assert_int_equal(header.error, FUSE_NOTIFY_INVAL_ENTRY);
	assert_int_equal(size, sizeof *notice + strlen(name) + 1);
	assert_int_equal(notice->parent, parent);
	assert_string_equal((const char *)(notice + 1), name);
}

static void check_inode(struct fuse_wire *w, uint64_t inode)
{
	struct fuse_out_header header;
	uint8_t buffer[512];
	const struct fuse_notify_inval_inode_out *notice = (const void *)buffer;
	assert_int_equal(wire_receive(w, &header, buffer, sizeof buffer), sizeof *notice);
	assert_int_equal(header.error, FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(notice->ino, inode);
	assert_int_equal(notice->off, 0);
	assert_int_equal(notice->len, 0);
}

static void test_in_order(void **state)
{
	struct fuse_wire *w = *state;
	for (uint64_t round = 1; round < 50; round++) {
		notify_name(&w->m, round, "name", 4);
		notify_inode(&w->m, round + 1000);
		notify_name(&w->m, round, "a name of which only a part counts", 6);
		check_name(w, round, "name");
		check_inode(w, round + 1000);
		check_name(w, round, "a name");
	}
}

/* Whoever waits finds all of it told. */
static void test_wait(void **state)
{
	struct fuse_wire *w = *state;
	for (uint64_t round = 1; round < 50; round++) {
		for (uint64_t i = 0; i < 10; i++)
			notify_inode(&w->m, round + i);
		notify_wait(&w->m);
		for (uint64_t i = 0; i < 10; i++) {
			struct pollfd there = { .fd = w->fd, .events = POLLIN };
			assert_int_equal(poll(&there, 1, 0), 1);
			check_inode(w, round + i);
		}
	}
}

static void test_nobody_to_tell(void **state)
{
	struct mount m = { .mounted_at_ns = 1 };
	(void)state;
	notify_wait(&m);
	notify_name(&m, 1, "name", 4);
	notify_inode(&m, 1);
	assert_null(m.notifier);
	notify_stop(&m);
}

static void test_ends_with_notices_untold(void **state)
{
	struct fuse_wire *w = *state;
	for (int i = 0; i < 200; i++)
		notify_inode(&w->m, 77);
	/* The tear-down ends it, and the sanitizers see what it leaves. */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_in_order), TEST(test_wait), cmocka_unit_test(test_nobody_to_tell), TEST(test_ends_with_notices_untold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
