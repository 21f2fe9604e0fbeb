/*
 * fs/daemon: a process that starts a daemon, and what its exit status, its stderr and the daemon's descriptors are in
 * each case. Every wait is for a pipe's end or a process's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/daemon.h"
#include "fs/log.h"
#include "tests/support/check.h"

/* A started process. The daemon has the write ends of `report` and `messages` (its stderr), and lives no longer than
 * the write end of `life` is open here. */
struct run {
	pid_t pid;
	int report, messages, life;
};

/* Of the daemon and of whoever started it, in the forked process. */
static int report_fd, life_fd;

static void wait_for_end(int fd)
{
	char byte;
	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
}

static void start(struct run *r, void (*body)(struct daemon *d), const char *closed)
{
	int report[2], messages[2], life[2];
	assert_int_equal(pipe(report) | pipe(messages) | pipe(life), 0);
	fflush(NULL);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		struct daemon d = DAEMON_NONE;
		close(report[0]);
		close(messages[0]);
		close(life[1]);
		report_fd = report[1];
		life_fd = life[0];
		dup2(messages[1], STDERR_FILENO);
		close(messages[1]);
		for (const char *c = closed; *c; c++)
			close(*c - '0');
		signal(SIGPIPE, SIG_IGN); /* as session_begin() does */
		if (!daemon_hold_standard() || !daemon_start(&d))
			_exit(99);
		body(&d);
		_exit(98);
	}
	close(report[1]);
	close(messages[1]);
	close(life[0]);
	*r = (struct run){ r->pid, report[0], messages[0], life[1] };
}

static int exit_status(struct run *r)
{
	int status;
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* All that comes until nobody is left to write. */
static void read_all(int fd, char *out, size_t cap)
{
	size_t size = 0;
	for (ssize_t got; (got = read(fd, out + size, cap - 1 - size)) != 0;) {
		assert_true(got > 0);
		size += (size_t)got;
	}
	out[size] = '\0';
}

/* Lets the daemon end; what it reported, and what was on its stderr. */
static void finish(struct run *r, const char *report, const char *messages)
{
	char text[1024];
	close(r->life);
	read_all(r->report, text, sizeof text);
	assert_string_equal(text, report);
	read_all(r->messages, text, sizeof text);
	assert_string_equal(text, messages);
	close(r->report);
	close(r->messages);
	/* The daemon, and what it may have started, are this process's since their parents are gone. */
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static void say(const char *text)
{
	if (write(report_fd, text, strlen(text)) < 0)
		_exit(97);
}

/* ---- Ready ----------------------------------------------------------------------------------- */

static bool is_null(int fd)
{
	struct stat s, null;
	return fstat(fd, &s) == 0 && stat("/dev/null", &null) == 0 && S_ISCHR(s.st_mode) && s.st_rdev == null.st_rdev;
}

static void say_where_it_stands(const struct daemon *d)
{
	say(getsid(0) == getpid() ? "session " : "no session ");
	for (int fd = 0; fd < 3; fd++)
		say(is_null(fd) ? "null " : "open ");
	say(d->ready_fd < 0 ? "done" : "not done");
}

static void serve(struct daemon *d)
{
	daemon_ready(d, false);
	say_where_it_stands(d);
	log_error("not seen");
	daemon_ready(d, false); /* once more is nothing */
	wait_for_end(life_fd);
	say(", ended");
	_exit(5);
}

/* The parent ends with 0 while the daemon serves on; its later end concerns nobody. */
static void test_ready(void **state)
{
	struct run r;
	(void)state;
	start(&r, serve, "");
	assert_int_equal(exit_status(&r), 0);
	finish(&r, "session null null null done, ended", "");
}

static void serve_aloud(struct daemon *d)
{
	log_note("starting");
	daemon_ready(d, true);
	say_where_it_stands(d);
	log_error("serving");
	wait_for_end(life_fd);
	_exit(0);
}

static void test_ready_with_stderr(void **state)
{
	struct run r;
	(void)state;
	start(&r, serve_aloud, "");
	assert_int_equal(exit_status(&r), 0);
	finish(&r, "session null null open done", "wombatfs: starting\nwombatfs: serving\n");
}

/* Started without standard descriptors, as some supervisors do: the pipe must not be one of them. */
static void test_closed_descriptors(void **state)
{
	static const char *const closed[] = { "0", "1", "2", "01", "012" };
	struct run r;
	(void)state;
	for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
		start(&r, serve, closed[i]);
		assert_int_equal(exit_status(&r), 0);
		finish(&r, "session null null null done, ended", "");
	}
}

/* Whatever it opens before it is ready, a database for instance, is not where stderr was. */
static void open_files(struct daemon *d)
{
	int fds[2];
	if (pipe(fds) != 0 || fds[0] <= STDERR_FILENO)
		_exit(96);
	daemon_ready(d, false);
	say(write(fds[1], "mine", 4) == 4 && !is_null(fds[1]) ? "mine" : "lost");
	_exit(0);
}

static void test_files_of_the_daemon(void **state)
{
	struct run r;
	(void)state;
	start(&r, open_files, "012");
	assert_int_equal(exit_status(&r), 0);
	finish(&r, "mine", "");
}

static void test_nobody_waits(void **state)
{
	struct daemon d = DAEMON_NONE;
	struct stat before, after;
	(void)state;
	assert_int_equal(fstat(STDIN_FILENO, &before), 0);
	daemon_ready(&d, false);
	assert_int_equal(fstat(STDIN_FILENO, &after), 0);
	assert_true(before.st_ino == after.st_ino && before.st_rdev == after.st_rdev);
}

/* ---- Not ready ------------------------------------------------------------------------------- */

static void complain_and_exit(struct daemon *d)
{
	(void)d;
	log_error("/db is not a database");
	_exit(7);
}

static void exit_at_once(struct daemon *d)
{
	(void)d;
	_exit(0);
}

static void die(struct daemon *d)
{
	(void)d;
	raise(SIGKILL);
}

static void test_the_exit_status_is_the_daemons(void **state)
{
	struct run r;
	(void)state;
	start(&r, complain_and_exit, "");
	assert_int_equal(exit_status(&r), 7);
	finish(&r, "", "wombatfs: /db is not a database\n");
	start(&r, exit_at_once, "");
	assert_int_equal(exit_status(&r), 0);
	finish(&r, "", "");
}

static void test_a_daemon_that_is_killed(void **state)
{
	struct run r;
	(void)state;
	start(&r, die, "");
	assert_int_equal(exit_status(&r), 1);
	finish(&r, "", "wombatfs: the daemon was ended by signal 9 (Killed) before the mount was live\n");
}

static void exec_helper_and_fail(struct daemon *d)
{
	(void)d;
	/* What it executes inherits no end of the pipe, or the parent would wait for it. */
	pid_t helper = fork();
	if (helper == 0) {
		dup2(life_fd, STDIN_FILENO);
		close(report_fd);
		execlp("cat", "cat", (char *)NULL);
		_exit(94);
	}
	waitpid(helper, NULL, WNOHANG);
	_exit(helper > 0 ? 3 : 95);
}

static void test_helpers_do_not_hold_up_the_parent(void **state)
{
	struct run r;
	(void)state;
	start(&r, exec_helper_and_fail, "");
	assert_int_equal(exit_status(&r), 3);
	finish(&r, "", "");
}

/* ---- A parent that is gone -------------------------------------------------------------------- */

static void outlive_parent(struct daemon *d)
{
	/* The parent is told to die by its own child, and has died when it is no longer this one's. */
	pid_t parent = getppid();
	kill(parent, SIGKILL);
	while (getppid() == parent)
		usleep(1000);
	daemon_ready(d, false);
	say("serving");
	wait_for_end(life_fd);
	_exit(0);
}

static void test_a_parent_that_was_killed(void **state)
{
	struct run r;
	int status;
	(void)state;
	start(&r, outlive_parent, "");
	assert_int_equal(waitpid(r.pid, &status, 0), r.pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	finish(&r, "serving", "");
}

/* ---- No pipe ----------------------------------------------------------------------------------- */

static void test_no_descriptors_left(void **state)
{
	int messages[2], status;
	char text[256];
	(void)state;
	assert_int_equal(pipe(messages), 0);
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct daemon d = DAEMON_NONE;
		struct rlimit none = { 3, 3 };
		dup2(messages[1], STDERR_FILENO);
		setrlimit(RLIMIT_NOFILE, &none);
		_exit(daemon_start(&d) ? 1 : d.ready_fd == -1 ? 42 : 2);
	}
	close(messages[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	read_all(messages[0], text, sizeof text);
	assert_string_equal(text, "wombatfs: cannot make a pipe: Too many open files\n");
	close(messages[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready),
		cmocka_unit_test(test_ready_with_stderr),
		cmocka_unit_test(test_closed_descriptors),
		cmocka_unit_test(test_files_of_the_daemon),
		cmocka_unit_test(test_nobody_waits),
		cmocka_unit_test(test_the_exit_status_is_the_daemons),
		cmocka_unit_test(test_a_daemon_that_is_killed),
		cmocka_unit_test(test_helpers_do_not_hold_up_the_parent),
		cmocka_unit_test(test_a_parent_that_was_killed),
		cmocka_unit_test(test_no_descriptors_left),
	};
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
