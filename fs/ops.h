/*
 * The FUSE operations. Each decodes, takes the mount's lock, calls one function of namei, file, dir or xattr, and
 * replies once.
 */
#ifndef WOMBAT_FS_OPS_H
#define WOMBAT_FS_OPS_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "fs/mount.h"

/* With the mount as the session's userdata. */
extern const struct fuse_lowlevel_ops wombatfs_ops;

/* Makes the node table; the store must be open. 0 or an errno. */
int ops_init(struct mount *m);
/* Commits what is staged and frees the nodes. 0, or the first error of a commit. */
int ops_done(struct mount *m);

#endif
