/*
 * The environment of this machine: its contract in a temporary directory, what the system's errors become, locks
 * between processes, and a full disk where a small file system can be mounted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/env/env.h"
#include "tests/support/check.h"
#include "tests/support/env_contract.h"

/* Also removes what a failed test left, one directory deep. */
static void clear(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[600];
	while (dir && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		if (unlink(name) != 0) {
			clear(name);
			rmdir(name);
		}
	}
	if (dir)
		closedir(dir);
}

static void begin(struct env_world *w)
{
	const char *temp = getenv("TMPDIR");
	w->env = env_posix();
	snprintf(w->dir, sizeof w->dir, "%s/test_env.XXXXXX", temp && *temp ? temp : "/tmp");
	assert_non_null(mkdtemp(w->dir));
}

static void end(struct env_world *w)
{
	clear(w->dir);
	assert_int_equal(rmdir(w->dir), 0);
}

/* ---- Errors -------------------------------------------------------------------------------- */

static void test_one_environment(void **state)
{
	(void)state;
	assert_ptr_equal(env_posix(), env_posix());
	assert_null(env_posix()->calls->free);
}

static void count_name(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
}

/* In a directory that is missing, nothing can be done, and each failure names the path. */
static void test_missing_directory(void **state)
{
	(void)state;
	struct env_world w;
	struct env_writer *writer;
	struct env_reader *reader;
	struct env_segment *segment;
	struct env_lock *lock;
	struct buf note = { 0 };
	uint64_t a, b;
	unsigned names = 0;
	begin(&w);
	const struct env_calls *calls = w.env->calls;
	const char *f = env_path(&w, "missing/f"), *dir = env_path(&w, "missing");
#define MISSING(call, path) \
	do { \
		assert_status(call, WOMBAT_NOT_FOUND); \
		assert_non_null(strstr(wombat_last_error(), path)); \
	} while (0)
	MISSING(calls->writer_open(w.env, f, 0, 0, &writer), f);
	MISSING(calls->writer_open(w.env, f, 0, ENV_DIRECT, &writer), f);
	MISSING(calls->writer_append(w.env, f, &writer), f);
	MISSING(calls->reader_open(w.env, f, 0, &reader), f);
	MISSING(calls->segment_open(w.env, f, 4096, &segment), f);
	MISSING(calls->segment_open(w.env, f, 0, &segment), f);
	MISSING(calls->lock(w.env, f, "", &lock), f);
	MISSING(calls->lock_holder(w.env, f, &note), f);
	MISSING(calls->rename(w.env, f, w.dir), f);
	MISSING(calls->remove(w.env, f), f);
	MISSING(calls->dir_create(w.env, f), f);
	MISSING(calls->dir_list(w.env, dir, count_name, &names), dir);
	MISSING(calls->dir_sync(w.env, dir), dir);
	MISSING(calls->disk_space(w.env, dir, &a, &b), dir);
#undef MISSING
	assert_int_equal(names, 0);
	buf_done(&note);
	end(&w);
}

/* A file where a directory should be, and the other way round. */
static void test_wrong_kinds(void **state)
{
	(void)state;
	struct env_world w;
	struct env_writer *writer;
	struct env_segment *segment;
	unsigned names = 0;
	begin(&w);
	const struct env_calls *calls = w.env->calls;
	env_put(&w, "f", 10, 1);
	assert_status(calls->dir_create(w.env, env_path(&w, "f")), WOMBAT_IO);
	assert_status(calls->dir_list(w.env, env_path(&w, "f"), count_name, &names), WOMBAT_IO);
	assert_status(calls->dir_sync(w.env, env_path(&w, "f")), WOMBAT_IO);
	assert_status(calls->writer_open(w.env, env_path(&w, "f/g"), 0, 0, &writer), WOMBAT_IO);
	assert_status(calls->rename(w.env, env_path(&w, "f"), w.dir), WOMBAT_IO);
	assert_status(calls->writer_open(w.env, w.dir, 0, 0, &writer), WOMBAT_IO);
	assert_status(calls->segment_open(w.env, w.dir, 0, &segment), WOMBAT_IO);
	assert_status(calls->remove(w.env, w.dir), WOMBAT_IO);
	env_assert_file(&w, "f", 10, 1);
	end(&w);
}

/* Files that shrink behind a reader's back end early for it too, whatever their size was. */
static void test_file_that_shrank(void **state)
{
	(void)state;
	static const unsigned flags[] = { 0, ENV_DIRECT };
	for (size_t i = 0; i < 2; i++) {
		struct env_world w;
		struct env_reader *r;
		uint8_t scratch[8000], want[8000];
		const uint8_t *got;
		begin(&w);
		env_put(&w, "f", 8000, 1);
		env_pattern(want, sizeof want, 1);
		assert_ok(w.env->calls->reader_open(w.env, env_path(&w, "f"), flags[i], &r));
		assert_int_equal(truncate(env_path(&w, "f"), 5000), 0);
		assert_status(w.env->calls->reader_read(r, 4900, 200, scratch, &got), WOMBAT_CORRUPTION);
		assert_status(w.env->calls->reader_read(r, 6000, 1, scratch, &got), WOMBAT_CORRUPTION);
		assert_ok(w.env->calls->reader_read(r, 4900, 100, scratch, &got));
		assert_memory_equal(got, want + 4900, 100);
		w.env->calls->reader_close(r);
		end(&w);
	}
}

/* Which write it is that fails: /dev/full takes none. */
static void test_full_device(void **state)
{
	(void)state;
	struct env_writer *w;
	const struct env_calls *calls = env_posix()->calls;
	static const uint8_t bytes[20000];
	if (access("/dev/full", W_OK) != 0)
		skip();
	assert_ok(calls->writer_open(env_posix(), "/dev/full", 8192, 0, &w));
	assert_ok(calls->writer_write(w, bytes, 100)); /* into the buffer */
	assert_status(calls->writer_flush(w), WOMBAT_NO_SPACE);
	assert_non_null(strstr(wombat_last_error(), "/dev/full"));
	assert_status(calls->writer_write(w, bytes, sizeof bytes), WOMBAT_NO_SPACE);
	assert_status(calls->writer_sync(w), WOMBAT_NO_SPACE);
	assert_status(calls->writer_close(w), WOMBAT_NO_SPACE); /* and is freed */
	assert_ok(calls->writer_open(env_posix(), "/dev/full", 0, 0, &w));
	assert_status(calls->writer_write(w, bytes, sizeof bytes), WOMBAT_NO_SPACE); /* past the buffer */
	assert_ok(calls->writer_close(w)); /* nothing is left to write */
}

/* ---- A small file system ------------------------------------------------------------------- */

enum { DISK = 1 << 20 };

static void test_full_disk(void **state)
{
	(void)state;
	struct env_world w, disk;
	struct env_writer *writer = NULL;
	struct env_segment *s = NULL;
	uint64_t available, total;
	static uint8_t bytes[2 * DISK];
	begin(&w);
	disk.env = w.env;
	snprintf(disk.dir, sizeof disk.dir, "%s", env_path(&w, "disk"));
	assert_ok(w.env->calls->dir_create(w.env, disk.dir));
	if (mount("tmpfs", disk.dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m") != 0) {
		end(&w);
		skip();
	}
	/* Nothing is asserted before the disk is unmounted again. */
	const struct env_calls *calls = w.env->calls;
	enum wombat_status space = calls->disk_space(w.env, disk.dir, &available, &total);
	/* A segment's room is asked for in advance: too large a one fails at once and leaves nothing. */
	enum wombat_status large = calls->segment_open(w.env, env_path(&disk, "wal"), 2 * DISK, &s);
	bool left = env_has(&disk, "wal");
	enum wombat_status fits = calls->segment_open(w.env, env_path(&disk, "wal"), DISK / 2, &s);
	enum wombat_status opened = calls->writer_open(w.env, env_path(&disk, "f"), 4096, 0, &writer);
	enum wombat_status too_much = writer ? calls->writer_write(writer, bytes, sizeof bytes) : WOMBAT_IO;
	enum wombat_status closed = calls->writer_close(writer), stored = WOMBAT_IO, synced = WOMBAT_IO;
	if (s) { /* The disk is full now; the segment has its blocks, whatever is stored in it. */
		stored = calls->segment_write(s, 0, bytes, DISK / 2);
		memset(s->base, 5, DISK / 2);
		synced = calls->segment_sync(s);
	}
	calls->segment_close(s);
	umount(disk.dir);
	end(&w);
	assert_status(space, WOMBAT_OK);
	assert_true(available == DISK && total == DISK);
	assert_status(large, WOMBAT_NO_SPACE);
	assert_false(left);
	assert_status(fits, WOMBAT_OK);
	assert_status(opened, WOMBAT_OK);
	assert_status(too_much, WOMBAT_NO_SPACE);
	assert_status(closed, WOMBAT_OK);
	assert_status(stored, WOMBAT_OK);
	assert_status(synced, WOMBAT_OK);
}

/* ---- Locks between processes --------------------------------------------------------------- */

struct child {
	pid_t pid;
	int to, from; /* pipes */
};

static char hear(int fd)
{
	char c = 0;
	ssize_t n;
	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? c : 'x';
}

static void tell(int fd, char c)
{
	if (write(fd, &c, 1) != 1)
		abort();
}

/* The other process: takes the lock, says how that went, and keeps it until it is told to go ('q': without giving
 * it back). */
static void hold_lock(const char *path, int from, int to)
{
	struct env *env = env_posix();
	struct env_lock *l = NULL;
	enum wombat_status s = env->calls->lock(env, path, "the child", &l);
	tell(to, s == WOMBAT_OK ? 'k' : s == WOMBAT_BUSY ? 'b' : 'f');
	char what = hear(from);
	if (what == 'u')
		env->calls->unlock(l);
	tell(to, 'd');
	if (what == 'u')
		hear(from);
	_exit(0);
}

static struct child start(const char *path)
{
	int down[2], up[2];
	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	fflush(NULL);
	struct child c = { .pid = fork(), .to = down[1], .from = up[0] };
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		close(down[1]);
		close(up[0]);
		hold_lock(path, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	return c;
}

static void finish(struct child *c)
{
	int status;
	close(c->to);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	close(c->from);
}

static void assert_holder(const struct env_world *w, const char *note)
{
	struct buf got = { 0 };
	assert_ok(w->env->calls->lock_holder(w->env, env_path(w, "LOCK"), &got));
	assert_true(slice_equal(buf_slice(&got), slice_make(note, strlen(note))));
	buf_done(&got);
}

static void test_lock_of_another_process(void **state)
{
	(void)state;
	struct env_world w;
	struct env_lock *l;
	begin(&w);
	const struct env_calls *calls = w.env->calls;
	struct child c = start(env_path(&w, "LOCK"));
	assert_int_equal(hear(c.from), 'k');
	assert_status(calls->lock(w.env, env_path(&w, "LOCK"), "me", &l), WOMBAT_BUSY);
	assert_holder(&w, "the child"); /* whom a refused try did not overwrite */
	tell(c.to, 'u');
	assert_int_equal(hear(c.from), 'd');
	assert_ok(calls->lock(w.env, env_path(&w, "LOCK"), "me", &l)); /* given back, though it lives */
	finish(&c);
	struct child second = start(env_path(&w, "LOCK"));
	assert_int_equal(hear(second.from), 'b');
	assert_holder(&w, "me");
	finish(&second);
	calls->unlock(l);
	end(&w);
}

static void test_lock_of_a_killed_process(void **state)
{
	(void)state;
	struct env_world w;
	struct env_lock *l;
	struct buf note = { 0 };
	int status;
	begin(&w);
	const struct env_calls *calls = w.env->calls;
	struct child c = start(env_path(&w, "LOCK"));
	assert_int_equal(hear(c.from), 'k');
	assert_int_equal(kill(c.pid, SIGKILL), 0);
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	/* Its note is in the file still, and misleads nobody. */
	assert_true(env_has(&w, "LOCK"));
	assert_status(calls->lock_holder(w.env, env_path(&w, "LOCK"), &note), WOMBAT_NOT_FOUND);
	assert_ok(calls->lock(w.env, env_path(&w, "LOCK"), "me", &l));
	assert_holder(&w, "me");
	calls->unlock(l);
	close(c.to);
	close(c.from);
	buf_done(&note);
	end(&w);
}

/* The descriptor is closed at exec: a program that is started does not keep the lock of who started it. */
static void test_descriptors_close_at_exec(void **state)
{
	(void)state;
	struct env_world w;
	struct env_writer *writer;
	struct env_reader *reader;
	struct env_segment *segment;
	struct env_lock *lock;
	begin(&w);
	const struct env_calls *calls = w.env->calls;
	int first = dup(0), open_now = 0;
	close(first);
	assert_ok(calls->writer_open(w.env, env_path(&w, "f"), 0, 0, &writer));
	assert_ok(calls->reader_open(w.env, env_path(&w, "f"), 0, &reader));
	assert_ok(calls->segment_open(w.env, env_path(&w, "wal"), 4096, &segment));
	assert_ok(calls->lock(w.env, env_path(&w, "LOCK"), "", &lock));
	for (int fd = first; fd < first + 4; fd++) {
		int flags = fcntl(fd, F_GETFD);
		open_now += flags >= 0;
		assert_true(flags < 0 || (flags & FD_CLOEXEC));
	}
	assert_int_equal(open_now, 4);
	assert_ok(calls->writer_close(writer));
	calls->reader_close(reader);
	calls->segment_close(segment);
	calls->unlock(lock);
	for (int fd = first; fd < first + 4; fd++)
		assert_int_equal(fcntl(fd, F_GETFD), -1); /* none leaks */
	end(&w);
}

/* ---- Signals ------------------------------------------------------------------------------- */

static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
	(void)signal;
	alarms++;
}

/* A handler that interrupts calls every millisecond: a sleep is none the shorter for it. */
static void test_sleep_through_signals(void **state)
{
	(void)state;
	struct env *env = env_posix();
	struct sigaction act = { .sa_handler = on_alarm }, old;
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	alarms = 0;
	assert_int_equal(sigaction(SIGALRM, &act, &old), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	uint64_t before = env->calls->monotonic_ns(env);
	env->calls->sleep_ns(env, 20000000);
	uint64_t slept = env->calls->monotonic_ns(env) - before;
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	assert_true(alarms > 0);
	assert_true(slept >= 20000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_environment),
		cmocka_unit_test(test_missing_directory),
		cmocka_unit_test(test_wrong_kinds),
		cmocka_unit_test(test_file_that_shrank),
		cmocka_unit_test(test_full_device),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_lock_of_another_process),
		cmocka_unit_test(test_lock_of_a_killed_process),
		cmocka_unit_test(test_descriptors_close_at_exec),
		cmocka_unit_test(test_sleep_through_signals),
	};
	return env_contract_run("contract", begin, end) + cmocka_run_group_tests(tests, NULL, NULL);
}
