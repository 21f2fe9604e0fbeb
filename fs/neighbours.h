/*
 * Files that are read in the order of their directory: the next ones' contents are put into the kernel's page cache before it
 * asks for them (FUSE_NOTIFY_STORE), so that of a `grep -r`, a tar or an rsync the requests that read are saved.
 *
 * Only what nobody has open is put there, under the mount's lock: an OPEN waits for that lock, so nobody can be writing, and no
 * page of the file is one that a request of ours is awaited for. It is done by the thread that tells the kernel other things
 * (notify.h), which answers no requests.
 */
#ifndef WOMBAT_FS_NEIGHBOURS_H
#define WOMBAT_FS_NEIGHBOURS_H

#include "fs/node.h"

enum { NEIGHBOUR_BYTES = 64 << 10 }; /* larger files are asked for */

/* 0, ENOMEM. */
int neighbours_init(struct mount *m);
/* Before the nodes and the store go; nothing is put anywhere afterwards. Not with the lock held. */
void neighbours_done(struct mount *m);

/* With the lock held: a file was opened for reading; a READ was answered with all of it. */
void neighbours_opened(struct mount *m, const struct node *n);
void neighbours_read(struct mount *m, struct node *n);

#endif
