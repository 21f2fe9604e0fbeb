/*
 * fs/session without a mount: what may be mounted where, and serving over the wire until a signal, or the other end,
 * ends it; with threads and without.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/ops.h"
#include "fs/session.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

/* ---- Before mounting ---- */

static bool may_mount(const char *database, const char *mountpoint)
{
	struct mount m = { .options = { .db_dir = (char *)(uintptr_t)database,
					.mountpoint = (char *)(uintptr_t)mountpoint } };
	return session_check_paths(&m);
}

static void test_paths(void **state)
{
	char dir[] = "/tmp/wombat-session.XXXXXX", path[64], beside[64];
	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_true(may_mount("/database", dir));
	/* Apart from the database, which would lie behind its own mount. */
	assert_false(may_mount(dir, dir));
	snprintf(path, sizeof(path), "%s/inside", dir);
	assert_false(may_mount(path, dir));
	assert_false(may_mount("/database", "/"));
	/* That one name begins with the other is no harm, nor is the mount inside the database. */
	snprintf(beside, sizeof(beside), "%s.db", dir);
	assert_true(may_mount(beside, dir));
	assert_false(may_mount("/database", path));
	assert_int_equal(mkdir(path, 0755), 0);
	assert_true(may_mount(dir, path));
	assert_int_equal(rmdir(path), 0);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_false(may_mount("/database", path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_bad_options(void **state)
{
	struct mount m = { .options = { .mountpoint = (char *)(uintptr_t)"/nowhere",
					.fuse_options = (char *)(uintptr_t)"no_such_option_of_libfuse=1" } };
	(void)state;
	assert_false(session_begin(&m, &wombatfs_ops, sizeof(wombatfs_ops)));
	assert_null(m.session);
	/* What was not begun can be ended, as main's clean-up does. */
	session_end(&m);
}

/* ---- Serving ---- */

struct server {
	struct fuse_wire w;
	pthread_t thread;
	bool result;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	struct daemon daemon = DAEMON_NONE;
	s->result = session_serve(&s->w.m, &daemon);
	return NULL;
}

static void begin(struct server *s, const char *options, bool single_thread)
{
	wire_open(&s->w, options);
	s->w.m.options.single_thread = single_thread;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

/* The result of serving. */
static bool finish(struct server *s)
{
	pthread_join(s->thread, NULL);
	return s->result;
}

/* The reply's body in `out`; whoever serves answers. */
static void ask(struct fuse_wire *w, uint32_t opcode, uint64_t node, const struct iovec *parts, size_t count, void *out,
		size_t size)
{
	struct fuse_out_header header;
	uint64_t unique = wire_send(w, opcode, node, w->who, parts, count);
	assert_true(wire_receive(w, &header, out, size) <= size);
	assert_int_equal(header.unique, unique);
	assert_int_equal(header.error, 0);
}

static void send_init(struct fuse_wire *w)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	const struct iovec parts[] = { { &in, offsetof(struct fuse_init_in, flags2) } };
	struct fuse_init_out out;
	ask(w, FUSE_INIT, 0, parts, 1, &out, sizeof(out));
}

static void check_answers(struct fuse_wire *w)
{
	struct fuse_getattr_in in = { 0 };
	const struct iovec parts[] = { { &in, sizeof(in) } };
	struct fuse_attr_out out;
	ask(w, FUSE_GETATTR, WIRE_ROOT, parts, 1, &out, sizeof(out));
	assert_int_equal(out.attr.ino, 1);
}

static void test_signals(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct server s;
	(void)state;
	for (size_t i = 0; i < 6; i++) {
		begin(&s, NULL, i >= 3);
		send_init(&s.w);
		check_answers(&s.w);
		assert_int_equal(kill(getpid(), signals[i % 3]), 0);
		assert_true(finish(&s));
		/* It has stopped: nobody answers but the test itself. */
		assert_int_equal(wire_getattr(&s.w, WIRE_ROOT, NULL), 0);
		wire_stop(&s.w);
	}
}

static void test_signal_before_init(void **state)
{
	struct server s;
	(void)state;
	for (int single = 0; single < 2; single++) {
		begin(&s, NULL, single);
		assert_int_equal(kill(getpid(), SIGTERM), 0);
		assert_false(finish(&s));
		wire_stop(&s.w);
	}
}

static void test_connection_ends(void **state)
{
	struct server s;
	(void)state;
	for (int i = 0; i < 4; i++) {
		begin(&s, NULL, i % 2);
		if (i < 2)
			send_init(&s.w);
		assert_int_equal(shutdown(s.w.fd, SHUT_WR), 0);
		assert_false(finish(&s));
		wire_stop(&s.w);
	}
}

static bool is_stored(struct fuse_wire *w, const char *key)
{
	struct wombat_record r = { 0 };
	const struct wombat_slice slice = { (const uint8_t *)key, strlen(key) };
	enum wombat_status status = wombat_get(w->m.db, NULL, WOMBAT_USER, slice, &r);
	wombat_record_release(&r);
	assert_true(status == WOMBAT_OK || status == WOMBAT_NOT_FOUND);
	return status == WOMBAT_OK;
}

/* What is staged and left alone is committed while nothing else happens. */
static void test_tick_commits(void **state)
{
	struct server s;
	(void)state;
	for (int single = 0; single < 2; single++) {
		struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0644 };
		const struct iovec parts[] = { { &in, sizeof(in) }, { (void *)(uintptr_t)"f", 2 } };
		struct {
			struct fuse_entry_out entry;
			struct fuse_open_out open;
		} out;
		begin(&s, "commit_idle_ms=1", single);
		send_init(&s.w);
		ask(&s.w, FUSE_CREATE, WIRE_ROOT, parts, 2, &out, sizeof(out));
		while (!is_stored(&s.w, "f"))
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		assert_int_equal(kill(getpid(), SIGTERM), 0);
		assert_true(finish(&s));
		assert_int_equal(wire_release(&s.w, out.entry.nodeid, out.open.fh, O_RDWR), 0);
		struct fuse_forget_in forget = { .nlookup = 1 };
		const struct iovec forget_parts[] = { { &forget, sizeof(forget) } };
		wire_tell(&s.w, FUSE_FORGET, out.entry.nodeid, forget_parts, 1);
		wire_stop(&s.w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_signal_before_init),
		cmocka_unit_test(test_connection_ends),
		cmocka_unit_test(test_tick_commits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
