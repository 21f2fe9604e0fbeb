/*
 * fs/initreply and the answer to INIT over the wire: which flags and limits the mount takes of what a kernel offers,
 * and that old kernels get the shorter replies that they know.
 */
#include <errno.h>

#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

enum {
	PAGE = 4096,
	OFFERED = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |
		  FUSE_READDIRPLUS_AUTO | FUSE_WRITEBACK_CACHE | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV |
		  FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_ABORT_ERROR,
	TAKEN = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |
		FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_ABORT_ERROR,
};

static void init(struct fuse_wire *w, const char *options, uint32_t minor, uint32_t flags)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION, .minor = minor, .max_readahead = 128 << 10,
				   .flags = flags };
	wire_open(w, options);
	assert_int_equal(wire_init(w, &in), 0);
	assert_int_equal(w->init.major, FUSE_KERNEL_VERSION);
}

static void test_flags(void **state)
{
	struct fuse_wire w;
	(void)state;
	init(&w, NULL, FUSE_KERNEL_MINOR_VERSION, OFFERED);
	assert_int_equal(w.size, sizeof(w.init));
	assert_int_equal(w.init.flags & TAKEN, TAKEN);
	/* Not a kernel's guess when to ask for attributes, nor set-id bits twice. */
	assert_int_equal(w.init.flags & (FUSE_READDIRPLUS_AUTO | FUSE_HANDLE_KILLPRIV), 0);
	assert_int_equal(w.init.flags & FUSE_WRITEBACK_CACHE,
			 w.m.options.writeback_cache ? FUSE_WRITEBACK_CACHE : 0);
	wire_stop(&w);
}

static void test_limits(void **state)
{
	struct fuse_wire w;
	(void)state;
	init(&w, NULL, FUSE_KERNEL_MINOR_VERSION, OFFERED);
	assert_int_equal(w.init.max_write, 1 << 20);
	assert_int_equal(w.init.max_pages, (1 << 20) / PAGE);
	/* As much as there is; the kernel takes no more than it offered. */
	assert_int_equal(w.init.max_readahead, 1 << 20);
	assert_int_equal(w.init.time_gran, 1);
	/* Those are the kernel's own, which 0 leaves as they are. */
	assert_int_equal(w.init.max_background, 0);
	assert_int_equal(w.init.congestion_threshold, 0);
	wire_stop(&w);
}

/* What libfuse knows of is taken only where it is offered. What initreply adds is offered by all kernels that have it,
 * and no flag of another meaning for one that has not. */
static void test_nothing_offered(void **state)
{
	struct fuse_wire w;
	(void)state;
	init(&w, NULL, FUSE_KERNEL_MINOR_VERSION, 0);
	assert_int_equal(w.init.flags & OFFERED & ~(uint32_t)FUSE_BIG_WRITES,
			 FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_ABORT_ERROR);
	assert_int_equal(w.init.max_pages, 0);
	wire_stop(&w);
}

static void test_writeback_cache(void **state)
{
	struct fuse_wire w;
	(void)state;
	init(&w, "writeback_cache", FUSE_KERNEL_MINOR_VERSION, OFFERED);
	assert_true(w.init.flags & FUSE_WRITEBACK_CACHE);
	wire_stop(&w);
	init(&w, "writeback_cache", FUSE_KERNEL_MINOR_VERSION, OFFERED & ~(uint32_t)FUSE_WRITEBACK_CACHE);
	assert_false(w.init.flags & FUSE_WRITEBACK_CACHE);
	wire_stop(&w);
}

/* A reply that is too short for the flags is left as it is. */
static void test_old_kernels(void **state)
{
	struct fuse_wire w;
	(void)state;
	init(&w, NULL, 22, OFFERED);
	assert_int_equal(w.size, FUSE_COMPAT_22_INIT_OUT_SIZE);
	assert_int_equal(w.init.flags & FUSE_HANDLE_KILLPRIV_V2, 0);
	wire_stop(&w);
	init(&w, NULL, 4, OFFERED);
	assert_int_equal(w.size, FUSE_COMPAT_INIT_OUT_SIZE);
	wire_stop(&w);
}

/* The flags are set in the first reply alone, and in the first one of each session. */
static void test_only_the_first_reply(void **state)
{
	struct fuse_wire w;
	struct fuse_kstatfs figures;
	struct fuse_attr attr;
	(void)state;
	for (int round = 0; round < 2; round++) {
		init(&w, NULL, FUSE_KERNEL_MINOR_VERSION, OFFERED);
		assert_int_equal(w.init.flags & TAKEN, TAKEN);
		/* Long enough to be taken for such a reply: what is where its flags would be has none of them. */
		assert_int_equal(wire_getattr(&w, WIRE_ROOT, &attr), 0);
		assert_int_equal(attr.ino, 1);
		assert_int_equal(wire_statfs(&w, &figures), 0);
		assert_true(figures.blocks >> 32 < FUSE_HANDLE_KILLPRIV_V2);
		assert_true(figures.bfree <= figures.blocks);
		assert_int_equal(figures.bsize, PAGE);
		wire_stop(&w);
	}
}

static void test_requests_before_init(void **state)
{
	struct fuse_wire w;
	(void)state;
	wire_open(&w, NULL);
	assert_int_equal(wire_getattr(&w, WIRE_ROOT, NULL), EIO);
	wire_stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_nothing_offered),
		cmocka_unit_test(test_writeback_cache),
		cmocka_unit_test(test_old_kernels),
		cmocka_unit_test(test_only_the_first_reply),
		cmocka_unit_test(test_requests_before_init),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
