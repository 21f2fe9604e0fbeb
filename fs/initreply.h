/*
 * Flags that the kernel offers and libfuse 3.14 does not know, set in its reply to INIT.
 */
#ifndef WOMBAT_FS_INITREPLY_H
#define WOMBAT_FS_INITREPLY_H

struct fuse_session;

/* After fuse_session_mount(), before the first request is served. 0 or an errno. */
int initreply_hook(struct fuse_session *session);

#endif
