/*
 * Telling the kernel that what it remembers is no longer so: a name, or what an inode holds.
 *
 * The kernel may need locks for it that are held while a request of ours is answered, so it is told by a thread of its own,
 * that answers none; it is started when there is first something to say. What is told, is told in order, some time after
 * the call. Any thread may call these.
 */
#ifndef WOMBAT_FS_NOTIFY_H
#define WOMBAT_FS_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/mount.h"

struct notifier;

/* A name in a directory, by the number that the kernel knows it under: it is looked up again. */
void notify_name(struct mount *m, uint64_t directory, const char *name, size_t len);
/* An inode's attributes and pages: they are asked for again. */
void notify_inode(struct mount *m, uint64_t inode);
/* The first bytes of a file, into its pages, at once: by such a call only. False: the kernel does not take them. */
bool notify_store(struct mount *m, uint64_t inode, const void *data, size_t size);
/* Calls it from a second such thread, one call after the other, so that nothing that is told waits for it; with `dropped`, from
 * another, when the mount ends before. False: it is never called. */
bool notify_call(struct mount *m, void (*call)(void *arg, bool dropped), void *arg);
/* Returns when all was told that was to be told before the call, or after a second: the kernel may need a lock for it that a request
 * holds which waits for us. Not with the mount's lock held. */
void notify_wait(struct mount *m);
/* Ends the threads. The session must be unmounted by then, or the kernel might not let go of it. */
void notify_stop(struct mount *m);

#endif
