/*
 * wombatfs: a database as a directory. Parse, open, mount, serve, close; the rest is in the modules.
 */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "fs/control.h"
#include "fs/daemon.h"
#include "fs/errmap.h"
#include "fs/log.h"
#include "fs/mount.h"
#include "fs/mountinfo.h"
#include "fs/ops.h"
#include "fs/options.h"
#include "fs/remount.h"
#include "fs/session.h"
#include "fs/store.h"

enum { CLOSING_WAIT_MS = 10000, CLOSING_STEP_MS = 20, PATH_CAP = 4096 };

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
	nanosleep(&t, NULL);
}

static uint64_t realtime_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Tables are kept open, so the limit for that is the system's and not the shell's. */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Whether the one that has the database open is a mount that is gone already, and only has to finish closing. */
static bool holder_is_closing(const char *dir)
{
	char who[256], mountpoint[PATH_CAP];
	struct mountinfo info;
	return wombat_lock_holder(dir, who, sizeof(who), mountpoint, sizeof(mountpoint)) == WOMBAT_OK && *mountpoint &&
		!mountinfo_find(mountpoint, &info);
}

static bool open_database(struct mount *m)
{
	const struct mount_options *o = &m->options;
	unsigned flags = o->read_only ? WOMBAT_OPEN_READ_ONLY : WOMBAT_CREATE;
	enum wombat_status s = wombat_open(o->db_dir, o->engine, flags, &m->db);
	for (int waited = 0; s == WOMBAT_BUSY && waited < CLOSING_WAIT_MS && holder_is_closing(o->db_dir);
		waited += CLOSING_STEP_MS) {
		sleep_ms(CLOSING_STEP_MS);
		s = wombat_open(o->db_dir, o->engine, flags, &m->db);
	}
	if (s != WOMBAT_OK)
		log_error("%s", wombat_last_error());
	return s == WOMBAT_OK;
}

static bool close_database(struct mount *m)
{
	enum wombat_status s = wombat_close(m->db);
	m->db = NULL;
	if (s != WOMBAT_OK)
		log_error("%s: closing failed, the last changes may be lost: %s", m->options.db_dir, wombat_last_error());
	return s == WOMBAT_OK;
}

static bool init_filesystem(struct mount *m)
{
	m->mounted_at_ns = realtime_ns();
	int error = errmap_from_store(store_lsm_new(m->db, &m->store));
	if (!error)
		error = control_init(m);
	if (!error)
		error = ops_init(m);
	if (error)
		log_error("%s: the filesystem cannot be set up: %s", m->options.db_dir, strerror(error));
	return !error;
}

/* Commits what is staged. */
static bool done_filesystem(struct mount *m)
{
	int error = ops_done(m);
	if (error)
		log_error("%s: changes that were not yet committed are lost: %s", m->options.db_dir, strerror(error));
	control_done(m);
	if (m->store)
		m->store->calls->close(m->store, !error);
	m->store = NULL;
	return !error;
}

/* The clean-up is in the order in which nothing can be lost: commit, close, and only then unmount, so that
 * whoever sees the mount gone can open the database. */
static int run(struct mount *m)
{
	struct daemon daemon = DAEMON_NONE;
	bool ok = false;
	if (!session_check_paths(m) || (!m->options.foreground && !daemon_start(&daemon)))
		return MOUNT_EXIT_FAILED;
	raise_file_limit();
	/* A daemon keeps no directory busy; the paths are absolute. */
	if (!m->options.foreground && chdir("/") != 0)
		log_note("cannot change to /: %s", strerror(errno));
	if (!session_begin(m, &wombatfs_ops, sizeof(wombatfs_ops)) || !open_database(m))
		goto out;
	if (init_filesystem(m) && session_mount(m))
		ok = session_serve(m, &daemon);
	if (!done_filesystem(m))
		ok = false;
	if (!close_database(m))
		ok = false;
out:
	session_end(m);
	return ok ? MOUNT_EXIT_OK : MOUNT_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	static struct mount m;
	char sentence[512];
	int status = MOUNT_EXIT_OK;
	if (!daemon_hold_standard())
		return MOUNT_EXIT_FAILED; /* And nobody to tell. */
	log_adopt_libfuse();
	if (!mount_options_init(&m.options)) {
		log_error("out of memory");
		mount_options_done(&m.options);
		return MOUNT_EXIT_FAILED;
	}
	status = mount_options_parse(&m.options, argc, argv, sentence, sizeof(sentence));
	if (status)
		log_error("%s", sentence);
	else if (m.options.show_help)
		mount_options_print_help(stdout);
	else if (m.options.show_version)
		printf("wombatfs %s (libfuse %s)\n", wombat_version(), fuse_pkgversion());
	else if (m.options.remount)
		status = remount(&m.options) ? MOUNT_EXIT_OK : MOUNT_EXIT_FAILED;
	else
		status = run(&m);
	mount_options_done(&m.options);
	return status;
}
