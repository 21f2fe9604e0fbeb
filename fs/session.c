/*
 * The mount from outside. See session.h.
 *
 * While threads answer requests (service.h), the main thread waits for what else happens: a signal, the kernel's
 * INIT (the mount is live), the end of the mount, and, only while something is staged, a tick by which what has
 * waited long enough is committed. With -s the main thread answers the requests too, between these.
 *
 * A signal ends the session in this order: the kernel's dirty pages are asked for (syncfs on the mount, from a
 * thread of its own, because its requests come to us), then the service stops. What follows is main's: staged
 * files are committed, the database is closed, the mount goes last. A second signal changes nothing, as there is
 * nothing shorter that loses no data.
 */
#define FUSE_USE_VERSION 314

#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/initreply.h"
#include "fs/log.h"
#include "fs/mountinfo.h"
#include "fs/notify.h"
#include "fs/service.h"

enum { STAGED_TICK_MS = 250 };

struct session {
	struct mount *m;
	struct service *service;
	int signal_fd, event_fd;
	bool announced;       /* that the mount is live */
	bool ending;          /* a signal came */
	atomic_bool settled;  /* the kernel gave its dirty pages; the event that follows orders it */
	pthread_t settler;
};

/* ---- Before mounting ---- */

static bool is_inside(const char *path, const char *directory)
{
	size_t len = strlen(directory);
	if (strcmp(directory, "/") == 0)
		return true;
	return strncmp(path, directory, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

bool session_check_paths(const struct mount *m)
{
	const char *mountpoint = m->options.mountpoint;
	struct stat st;
	if (stat(mountpoint, &st) != 0) {
		if (errno == ENOTCONN)
			log_error("%s: the daemon of an earlier mount there has died; remove what it left with: fusermount3 -u %s",
				mountpoint, mountpoint);
		else if (errno == ENOENT)
			log_error("%s: there is no such directory to mount on", mountpoint);
		else
			log_error("%s: the mount point cannot be used: %s", mountpoint, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_error("%s: the mount point is not a directory", mountpoint);
		return false;
	}
	/* The engine opens its files by path: below its own mount it would wait for itself. */
	if (is_inside(m->options.db_dir, mountpoint)) {
		log_error("%s: the mount would hide its own database in %s", mountpoint, m->options.db_dir);
		return false;
	}
	return true;
}

static void session_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

bool session_begin(struct mount *m, const struct fuse_lowlevel_ops *ops, size_t ops_size)
{
	sigset_t set;
	session_signals(&set);
	sigaddset(&set, SIGUSR1); /* the service's own: ignored but by its threads */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);

	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	if (fuse_opt_add_arg(&args, "wombatfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
		fuse_opt_add_arg(&args, m->options.fuse_options) == 0 &&
		(!m->options.debug || fuse_opt_add_arg(&args, "-d") == 0))
		m->session = fuse_session_new(&args, ops, ops_size, m);
	fuse_opt_free_args(&args);
	if (!m->session)
		log_error("%s: libfuse cannot make a session with the options %s", m->options.mountpoint,
			m->options.fuse_options);
	return m->session;
}

bool session_mount(struct mount *m)
{
	if (fuse_session_mount(m->session, m->options.mountpoint) != 0) {
		log_error("%s cannot be mounted on %s", m->options.db_dir, m->options.mountpoint);
		return false;
	}
	int error = initreply_hook(m->session);
	if (error)
		log_error("the session's writing cannot be hooked: %s", strerror(error));
	return error == 0;
}

void session_end(struct mount *m)
{
	if (!m->session)
		return;
	fuse_session_unmount(m->session);
	notify_stop(m);
	fuse_session_destroy(m->session);
	m->session = NULL;
}

/* ---- Once the mount is live ---- */

/* INIT caps read-ahead at 128 KiB; only the mount's backing device takes more. Not a user's to set, so a
 * refusal is no error. */
static void raise_read_ahead(const struct mount *m)
{
	struct mountinfo info;
	char path[64];
	if (m->options.read_ahead_kb == 0 || !mountinfo_find(m->options.mountpoint, &info))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", info.major, info.minor);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (dprintf(fd, "%u\n", m->options.read_ahead_kb) < 0 && m->options.debug)
		log_note("%s cannot be written: %s", path, strerror(errno));
	close(fd);
}

static void announce_live(struct session *s, struct daemon *daemon)
{
	struct mount *m = s->m;
	s->announced = true;
	raise_read_ahead(m);
	if (wombat_set_mountpoint(m->db, m->options.mountpoint) != WOMBAT_OK)
		log_note("others will not be told where the database is mounted: %s", wombat_last_error());
	if (m->options.log_syslog)
		log_to_syslog();
	log_note("%s is mounted on %s", m->options.db_dir, m->options.mountpoint);
	daemon_ready(daemon, !m->options.log_syslog);
}

/* ---- The end by a signal ---- */

static void *settle(void *arg)
{
	struct session *s = arg;
	int fd = open(s->m->options.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		if (syncfs(fd) != 0)
			log_error("%s: the kernel's unwritten pages could not be had: %s", s->m->options.mountpoint,
				strerror(errno));
		close(fd);
	}
	atomic_store_explicit(&s->settled, true, memory_order_release);
	eventfd_write(s->event_fd, 1);
	return NULL;
}

static void take_signal(struct session *s)
{
	struct signalfd_siginfo info;
	if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info) || s->ending)
		return;
	s->ending = true;
	log_note("%s: signal %u (%s), ending", s->m->options.mountpoint, info.ssi_signo, strsignal((int)info.ssi_signo));
	/* Before INIT there is nothing to ask for, and nobody who would answer. */
	if (service_is_live(s->service) && pthread_create(&s->settler, NULL, settle, s) == 0)
		return;
	s->settler = pthread_self();
	atomic_store_explicit(&s->settled, true, memory_order_relaxed);
}

static bool has_settled(struct session *s)
{
	/* Acquire: with it, what the settler did before is done. */
	return s->ending && atomic_load_explicit(&s->settled, memory_order_acquire);
}

/* ---- Serving ---- */

static bool is_staged(const struct mount *m)
{
	/* Relaxed: a figure; who raises it is followed by an event. */
	return atomic_load_explicit((atomic_uint_fast64_t *)&m->counts.staged_files, memory_order_relaxed) > 0;
}

/* How long to wait: until something happens, or to the next tick. */
static int choose_timeout(struct session *s)
{
	if (is_staged(s->m))
		return STAGED_TICK_MS;
	/* Ask first, look again then: what became staged in between has its event. */
	service_watch_staged(s->service);
	return is_staged(s->m) ? STAGED_TICK_MS : -1;
}

static void drain(int event_fd)
{
	eventfd_t count;
	(void)eventfd_read(event_fd, &count);
}

/* Until the mount has ended or settled. */
static void attend(struct session *s, struct daemon *daemon)
{
	bool single = s->m->options.single_thread;
	struct pollfd fds[] = {
		{ .fd = s->signal_fd, .events = POLLIN },
		{ .fd = s->event_fd, .events = POLLIN },
		{ .fd = single ? fuse_session_fd(s->m->session) : -1, .events = POLLIN },
	};
	int error;
	while (!service_has_ended(s->service, &error) && !has_settled(s)) {
		if (poll(fds, sizeof(fds) / sizeof(fds[0]), choose_timeout(s)) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			drain(s->event_fd);
		if (fds[2].revents)
			service_serve_one(s->service);
		if (!s->announced && service_is_live(s->service))
			announce_live(s, daemon);
		if (fds[0].revents)
			take_signal(s);
		if (is_staged(s->m))
			file_commit_due(s->m);
	}
}

static bool report_end(const struct session *s)
{
	int error = 0;
	if (!s->announced) {
		log_error("%s: the mount ended before it was live", s->m->options.mountpoint);
		return false;
	}
	if (s->ending)
		return true;
	if (!service_has_ended(s->service, &error) || error == 0) {
		log_note("%s is unmounted", s->m->options.mountpoint);
		return true;
	}
	if (error == ECONNABORTED)
		log_error("%s: the kernel ended the connection", s->m->options.mountpoint);
	else
		log_error("%s: requests cannot be read: %s", s->m->options.mountpoint, strerror(error));
	return false;
}

bool session_serve(struct mount *m, struct daemon *daemon)
{
	struct session s = { .m = m, .signal_fd = -1, .event_fd = -1 };
	sigset_t set;
	session_signals(&set);
	bool ok = false;
	s.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s.service = s.event_fd >= 0 && s.signal_fd >= 0 ? service_new(m, s.event_fd) : NULL;
	int error = !s.service ? ENOMEM : m->options.single_thread ? 0 : service_start(s.service);
	if (error) {
		log_error("%s: requests cannot be answered: %s", m->options.mountpoint, strerror(error));
		goto out;
	}
	attend(&s, daemon);
	if (s.ending && !pthread_equal(s.settler, pthread_self())) {
		/* A mount that ended meanwhile has nothing to give any more, and lets the settler go. */
		pthread_join(s.settler, NULL);
	}
	service_stop(s.service);
	ok = report_end(&s);
out:
	service_free(s.service);
	if (s.signal_fd >= 0)
		close(s.signal_fd);
	if (s.event_fd >= 0)
		close(s.event_fd);
	return ok;
}
