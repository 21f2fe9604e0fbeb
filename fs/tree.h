/*
 * Trees below the control directory: the state that a snapshot kept, or that a transaction sees.
 *
 * Each is a mount of its own, with a store that shows that state and nodes of its own, so names, contents, listings and
 * attributes work in it as they do in the mount itself. A node knows whose it is (node.mount), and the operations go on
 * with that. All trees are guarded by the one lock of the mount that they are shown in.
 *
 *     named   found by lookups of its name; a transaction's stays until it ends, a snapshot's while it is in use
 *     gone    it has no name any more, and stays for those who are in it
 */
#ifndef WOMBAT_FS_TREE_H
#define WOMBAT_FS_TREE_H

#include <errno.h>

#include "fs/mount.h"
#include "fs/node.h"

enum tree_kind { TREE_SNAPSHOT, TREE_TXN };

struct tree {
	struct mount m;
	struct tree *next;
	enum tree_kind kind;
	bool gone;
	int64_t used_ns;        /* when an operation was last in it, of a coarse monotonic clock */
	uint64_t made_ns;       /* of two of the same name one after the other it differs */
	char name[];
};

struct tree *tree_find(struct mount *m, enum tree_kind kind, const char *name);
/* Adds a tree of that store, which it closes at its end (at once when this fails). The number of its root is as
 * tree_root_ino() says. 0 or an errno. */
int tree_new(struct mount *m, enum tree_kind kind, const char *name, uint64_t made_ns, struct store *store,
	struct tree **out);
/* Takes its name away; nothing in it changes any more. */
void tree_drop(struct tree *t);
/* Drops transactions that nobody used for txn_idle_ms, and frees those that nobody can come to any more. Called when an
 * operation is done with its nodes. */
void trees_sweep(struct mount *m);
/* At the end of the mount: frees all. */
void trees_close(struct mount *m);

/* An operation is done in the tree that `m` is of. */
void tree_used(struct mount *m);
static inline struct node *tree_root(struct tree *t) { return &t->m.nodes->root; }
/* The number that the root is shown with. */
uint64_t tree_root_ino(enum tree_kind kind, const char *name, uint64_t made_ns);
/* The number that a node is shown with. */
static inline uint64_t tree_shown_ino(const struct mount *m, uint64_t ino) { return ino ^ m->ino_mask; }
/* Whether anything in that mount or tree may be changed: 0, EROFS. */
static inline int tree_check_change(const struct mount *m) { return m->fixed ? EROFS : 0; }

#endif
