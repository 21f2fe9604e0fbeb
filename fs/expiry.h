/*
 * Keys that expire, as the mount shows them.
 *
 * The store hides an expired record by itself. What it cannot know of is here: live nodes, and what the kernel keeps of
 * them. Those with an expiry stand in a heap by their time. When it comes, a thread of its own takes the name away as an
 * unlink would (without a change of the store, for there is nothing to delete), and has the kernel told (notify.h). A
 * lookup that comes earlier does the same, and the timeouts that the kernel is given end when the key does; in a snapshot
 * these alone bring it about.
 *
 * A file that is open keeps its content until its last close.
 */
#ifndef WOMBAT_FS_EXPIRY_H
#define WOMBAT_FS_EXPIRY_H

#include "fs/node.h"

/* No thread is started before a node is watched on a mount with a session. 0, ENOMEM. */
int expiry_init(struct mount *m);
/* Ends the thread; later calls do nothing. Takes the mount's lock. */
void expiry_stop(struct mount *m);
void expiry_done(struct mount *m);

/* With the mount's lock held: n->attr.expiry_ns is new. */
void expiry_watch(struct mount *m, struct node *n);
void expiry_forget(struct mount *m, struct node *n);
bool expiry_is_due(const struct node *n);
/* Seconds for which the kernel may keep what it is told of the node, at most `forever`. */
double expiry_timeout(const struct node *n, double forever);
/* Takes the name of a node that is due away. The node may be gone then; its parent stays. */
void expiry_take(struct mount *m, struct node *n);

#endif
