/*
 * fs/neighbours over the wire: after some files of a directory were read in its order the next ones come as notices, with their
 * content, more of them each time; not those that are open, staged, large, empty, unknown to the kernel or cached already; and an
 * end in the middle of it leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "fs/neighbours.h"
#include "fs/notify.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

enum { FILES = 100 };

struct files {
	uint64_t dir, nodes[FILES];
};

static void text_of(unsigned i, char out[40])
{
	snprintf(out, 40, "the text of file %u", i);
}

/* As after a listing: all are known. */
static void make(struct fuse_wire *w, struct files *f)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &e), 0);
	f->dir = e.nodeid;
	for (unsigned i = 0; i < FILES; i++) {
		char name[16], text[40];
		snprintf(name, sizeof name, "f%03u", i);
		text_of(i, text);
		wire_put(w, f->dir, name, text);
		assert_int_equal(wire_lookup(w, f->dir, name, &e), 0);
		f->nodes[i] = e.nodeid;
	}
}

/* What is told of it comes before the next reply, which would be taken for the end of it: so it is expected in between. */
static uint64_t open_one(struct fuse_wire *w, uint64_t node)
{
	uint64_t fh;
	assert_int_equal(wire_open_file(w, node, O_RDONLY, &fh), 0);
	return fh;
}

static void close_one(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	assert_int_equal(wire_release(w, node, fh, O_RDONLY), 0);
}

static uint64_t read_one(struct fuse_wire *w, const struct files *f, unsigned i)
{
	char text[40];
	uint64_t fh = open_one(w, f->nodes[i]);
	text_of(i, text);
	assert_int_equal(wire_read(w, f->nodes[i], fh, 0, 4096), 0);
	assert_string_equal((const char *)w->reply, text);
	return fh;
}

static void open_close(struct fuse_wire *w, uint64_t node)
{
	close_one(w, node, open_one(w, node));
}

static void read_all(struct fuse_wire *w, const struct files *f, unsigned i)
{
	close_one(w, f->nodes[i], read_one(w, f, i));
}

static void expect_put(struct fuse_wire *w, uint64_t node, const char *text)
{
	struct fuse_out_header header;
	uint8_t buffer[512] = { 0 };
	const struct fuse_notify_store_out *notice = (const void *)buffer;
	size_t size = wire_receive(w, &header, buffer, sizeof buffer - 1);
	assert_int_equal(header.unique, 0);
	assert_int_equal(header.error, FUSE_NOTIFY_STORE);
	assert_int_equal(notice->nodeid, node);
	assert_int_equal(notice->offset, 0);
	assert_int_equal(notice->size, strlen(text));
	assert_int_equal(size, sizeof *notice + strlen(text));
	assert_string_equal((const char *)(notice + 1), text);
}

static void expect_puts(struct fuse_wire *w, const struct files *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char text[40];
		text_of(i, text);
		expect_put(w, f->nodes[i], text);
	}
}

/* Jobs go one after the other: when this one was called, those before are done and what they told has been received. */
static void on_called(void *arg, bool dropped)
{
	assert_false(dropped);
	atomic_store((atomic_bool *)arg, true);
}

static void settle(struct fuse_wire *w)
{
	atomic_bool called = false;
	assert_true(notify_call(&w->m, on_called, &called));
	while (!atomic_load(&called))
		sched_yield();
}

/* So many were put since the begin, and no more come. */
static void expect_total(struct fuse_wire *w, unsigned total)
{
	struct fuse_attr a;
	settle(w);
	assert_int_equal(atomic_load(&w->m.counts.neighbours), total);
	assert_int_equal(wire_getattr(w, WIRE_ROOT, &a), 0); /* nothing else comes before its reply */
}

static void test_windows(void **state)
{
	struct fuse_wire *w = *state;
	struct files f;
	make(w, &f);
	read_all(w, &f, 0);
	read_all(w, &f, 1);
	expect_total(w, 0);
	uint64_t fh = read_one(w, &f, 2);
	expect_puts(w, &f, 3, 11);
	close_one(w, f.nodes[2], fh);
	/* Before the middle of them nothing happens, then twice as many come. */
	settle(w);
	open_close(w, f.nodes[3]);
	expect_total(w, 8);
	fh = open_one(w, f.nodes[7]);
	expect_puts(w, &f, 11, 27);
	close_one(w, f.nodes[7], fh);
	settle(w);
	fh = open_one(w, f.nodes[18]);
	expect_puts(w, &f, 27, 59);
	close_one(w, f.nodes[18], fh);
	settle(w);
	/* The end of the directory ends it. */
	fh = open_one(w, f.nodes[50]);
	expect_puts(w, &f, 59, FILES);
	close_one(w, f.nodes[50], fh);
	settle(w);
	for (unsigned i = 51; i < FILES; i++)
		open_close(w, f.nodes[i]);
	expect_total(w, FILES - 3);
}

/* Downwards or here and there is no order. */
static void test_no_order(void **state)
{
	struct fuse_wire *w = *state;
	struct files f;
	make(w, &f);
	for (unsigned i = 20; i-- > 0;)
		read_all(w, &f, i);
	for (unsigned i = 0; i < 20; i++)
		read_all(w, &f, (i * 37) % FILES);
	expect_total(w, 0);
}

static void test_unfit(void **state)
{
	struct fuse_wire *w = *state;
	struct files f;
	struct fuse_entry_out e;
	uint64_t reader, writer, staged;
	static char large[NEIGHBOUR_BYTES + 2];
	make(w, &f);
	assert_int_equal(wire_open_file(w, f.nodes[3], O_RDONLY, &reader), 0);
	assert_int_equal(wire_open_file(w, f.nodes[5], O_WRONLY, &writer), 0);
	assert_int_equal(wire_create(w, f.dir, "f006a", 0644, O_RDWR, &e, &staged), 0);
	assert_int_equal(wire_write(w, e.nodeid, staged, O_RDWR, 0, "new", 3), 0);
	memset(large, 'x', sizeof large - 1);
	wire_put(w, f.dir, "f007a", large);
	wire_put(w, f.dir, "f008a", "");
	wire_forget(w, wire_put(w, f.dir, "f009a", "unknown"), 1);
	for (unsigned i = 0; i < 2; i++)
		read_all(w, &f, i);
	uint64_t fh = read_one(w, &f, 2);
	static const unsigned expected[] = { 4, 6, 7, 8, 9, 10, 11, 12 };
	for (unsigned i = 0; i < 8; i++)
		expect_puts(w, &f, expected[i], expected[i] + 1);
	close_one(w, f.nodes[2], fh);
	assert_int_equal(wire_release(w, f.nodes[3], reader, O_RDONLY), 0);
	assert_int_equal(wire_release(w, f.nodes[5], writer, O_WRONLY), 0);
	assert_int_equal(wire_flush(w, e.nodeid, staged), 0);
	assert_int_equal(wire_release(w, e.nodeid, staged, O_RDWR), 0);
	expect_total(w, 8);
}

/* Three files from there on: then neighbours come. */
static uint64_t read_three(struct fuse_wire *w, const struct files *f, unsigned first)
{
	settle(w);
	open_close(w, f->nodes[0]); /* goes back, so that nothing before counts */
	read_all(w, f, first);
	read_all(w, f, first + 1);
	return read_one(w, f, first + 2);
}

/* What the kernel was given is not given again, until it asks for such a file once more. */
static void test_once(void **state)
{
	struct fuse_wire *w = *state;
	struct files f;
	make(w, &f);
	uint64_t fh = read_three(w, &f, 50);
	expect_puts(w, &f, 53, 61);
	close_one(w, f.nodes[52], fh);
	fh = read_three(w, &f, 40);
	expect_puts(w, &f, 43, 50);
	expect_puts(w, &f, 61, 62);
	close_one(w, f.nodes[42], fh);
	settle(w);
	open_close(w, f.nodes[0]);
	read_all(w, &f, 53);
	fh = read_three(w, &f, 40);
	expect_puts(w, &f, 43, 51);
	close_one(w, f.nodes[42], fh);
	expect_total(w, 24);
}

static void test_off(void **state)
{
	(void)state;
	struct fuse_wire w;
	struct files f;
	wire_start(&w, "neighbours=0");
	make(&w, &f);
	for (unsigned i = 0; i < FILES; i++)
		read_all(&w, &f, i);
	assert_int_equal(atomic_load(&w.m.counts.neighbours), 0);
	wire_stop(&w);
}

/* What is put is the content as it is then. */
static void test_newest(void **state)
{
	struct fuse_wire *w = *state;
	struct files f;
	make(w, &f);
	uint64_t fh;
	assert_int_equal(wire_open_file(w, f.nodes[4], O_WRONLY | O_TRUNC, &fh), 0);
	assert_int_equal(wire_write(w, f.nodes[4], fh, O_WRONLY, 0, "another text", 12), 0);
	assert_int_equal(wire_flush(w, f.nodes[4], fh), 0);
	assert_int_equal(wire_release(w, f.nodes[4], fh, O_WRONLY), 0);
	for (unsigned i = 0; i < 2; i++)
		read_all(w, &f, i);
	fh = read_one(w, &f, 2);
	expect_puts(w, &f, 3, 4);
	expect_put(w, f.nodes[4], "another text");
	expect_puts(w, &f, 5, 11);
	close_one(w, f.nodes[2], fh);
}

/* Jobs that are under way or queued when the mount ends. */
static void test_end(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct fuse_wire w;
		struct files f;
		wire_start(&w, NULL);
		make(&w, &f);
		for (unsigned i = 0; i < 3 + round; i++)
			read_all(&w, &f, i);
		wire_stop(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_windows, wire_setup, wire_teardown),
		cmocka_unit_test_setup_teardown(test_no_order, wire_setup, wire_teardown),
		cmocka_unit_test_setup_teardown(test_unfit, wire_setup, wire_teardown),
		cmocka_unit_test_setup_teardown(test_once, wire_setup, wire_teardown),
		cmocka_unit_test(test_off),
		cmocka_unit_test_setup_teardown(test_newest, wire_setup, wire_teardown),
		cmocka_unit_test(test_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
