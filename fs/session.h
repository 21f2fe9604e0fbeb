/*
 * The mount from outside: checking the mount point, mounting, answering until it is unmounted or a signal says
 * to end, and unmounting.
 */
#ifndef WOMBAT_FS_SESSION_H
#define WOMBAT_FS_SESSION_H

#include <stdbool.h>

#include "fs/daemon.h"
#include "fs/mount.h"

struct fuse_lowlevel_ops;

/* Each returns false after a message that says why. Order: check_paths, begin, mount, serve, end. */

/* Whether the mount point is a directory that can be mounted on, apart from the database. */
bool session_check_paths(const struct mount *m);

/* Takes the signals (SIGTERM, SIGINT, SIGHUP end the session) and makes m->session. Before the database is
 * opened, so that its threads leave the signals alone. */
bool session_begin(struct mount *m, const struct fuse_lowlevel_ops *ops, size_t ops_size);
bool session_mount(struct mount *m);
/* Answers requests; releases `daemon` once the mount is live. Returns when the mount is gone or a signal came;
 * false: reading from the kernel failed. No request is in work any more. */
bool session_serve(struct mount *m, struct daemon *daemon);
/* Unmounts, if that has not happened, and frees. A session that is half begun is fine. */
void session_end(struct mount *m);

#endif
