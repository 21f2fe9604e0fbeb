/*
 * Leaving the terminal. See daemon.h.
 *
 * The pipe between the two says it all: a byte means ready, its end without one that the child is gone. Until
 * then the child has the terminal's stderr, so it prints its own complaints.
 */
#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/log.h"
#include "fs/options.h"

static int child_exit_status(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return MOUNT_EXIT_FAILED;
	if (WIFSIGNALED(status)) {
		log_error("the daemon was ended by signal %d (%s) before the mount was live", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
		return MOUNT_EXIT_FAILED;
	}
	/* A mount that came and went at once was unmounted by somebody, before it could be seen. */
	return WEXITSTATUS(status);
}

static _Noreturn void wait_for_child(pid_t child, int fd)
{
	char ready;
	ssize_t got;
	do
		got = read(fd, &ready, 1);
	while (got < 0 && errno == EINTR);
	/* _exit: what stdio holds was there before the fork, and is the child's to write as well. */
	_exit(got == 1 ? MOUNT_EXIT_OK : child_exit_status(child));
}

bool daemon_hold_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

bool daemon_start(struct daemon *d)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0) {
		log_error("cannot make a pipe: %s", strerror(errno));
		return false;
	}
	pid_t child = fork();
	if (child < 0) {
		log_error("cannot fork: %s", strerror(errno));
		close(fds[0]);
		close(fds[1]);
		return false;
	}
	if (child > 0) {
		close(fds[1]);
		wait_for_child(child, fds[0]);
	}
	close(fds[0]);
	d->ready_fd = fds[1];
	setsid();
	return true;
}

void daemon_ready(struct daemon *d, bool keep_stderr)
{
	if (d->ready_fd < 0)
		return;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!keep_stderr)
			dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	/* A parent that was killed meanwhile is no reason to stop. */
	ssize_t written = write(d->ready_fd, "", 1);
	(void)written;
	close(d->ready_fd);
	d->ready_fd = -1;
}
