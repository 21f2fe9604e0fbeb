/*
 * Files that are read in the order of their directory: the next ones' contents are put into the kernel's page cache before it
 * asks for them (FUSE_NOTIFY_STORE), so that of a `grep -r`, a tar or an rsync the requests that read are saved.
 *
 * Only what nobody has open is put there, and an OPEN of it, or a change of its size, waits until it is (neighbours_wait): so what
 * is put is not older than what the kernel was told, and no page of it is one that waits for an answer of ours. A thread of its
 * own does it (notify_call), which answers no requests, without the mount's lock.
 */
#ifndef WOMBAT_FS_NEIGHBOURS_H
#define WOMBAT_FS_NEIGHBOURS_H

#include "fs/node.h"

enum { NEIGHBOUR_BYTES = 64 << 10 }; /* larger files are asked for */

/* 0, ENOMEM. */
int neighbours_init(struct mount *m);
/* Before the nodes and the store go; nothing is put anywhere afterwards. Not with the lock held. */
void neighbours_done(struct mount *m);

/* With the lock held, which is let go while the kernel is given that file's content: returns when it is not. */
void neighbours_wait(struct mount *m, const struct node *n);
/* With the lock held: a file was opened for reading; a READ was answered with all of it. */
void neighbours_opened(struct mount *m, const struct node *n);
void neighbours_read(struct mount *m, struct node *n);

#endif
