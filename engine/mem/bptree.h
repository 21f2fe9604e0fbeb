/*
 * The memtable's ordered map: a B+ tree that one thread extends while any number read without locks.
 *
 * Why not a skiplist: its every step is a cache miss. A node here is four cache lines and holds 14
 * entries, each an 8-byte key prefix beside the pointer to the entry, so most comparisons touch nothing
 * but the node. Prefixes begin after the bytes that all keys of the node's range share (the common
 * prefix of its two bounds), so long common prefixes cost nothing.
 *
 * How readers need no lock and no retry. A node's slots are only ever appended to; their order is one
 * 64-bit word (4 bits of count, 14 nibbles of slot numbers), replaced with a release store once a new
 * slot is filled. A full node is not changed: it is replaced by one or two new ones, put into the
 * parent in the same way (two slots appended, one word stored). Nothing is freed before the whole tree,
 * so a reader in a replaced node sees it frozen as of then. That is enough: whoever reads as of
 * sequence S obtained S before it descended, and all entries up to S were in the tree by then; what is
 * missing in a frozen node is newer than S.
 */
#ifndef WOMBAT_MEM_BPTREE_H
#define WOMBAT_MEM_BPTREE_H

#include <stdatomic.h>

#include "engine/base/arena.h"
#include "engine/iter/iter.h"

struct bptree_node;

struct bptree {
	_Atomic(struct bptree_node *) root;
	struct arena *arena; /* borrowed: nodes and entries live there */
	struct bptree_node *right; /* the writer's: the rightmost leaf, where ascending keys arrive; NULL: not known */
};

MUST_CHECK enum wombat_status bptree_init(struct bptree *t, struct arena *arena);
/*
 * Inserts a copy of key and value; (key, tag) must not be there. One thread at a time.
 * WOMBAT_NO_MEMORY: nothing was inserted. `out_value` (may be NULL) gives the copy of the value, which
 * the caller may still change until the sequence number is published to readers.
 */
MUST_CHECK enum wombat_status bptree_insert(struct bptree *t, struct wombat_slice key, uint64_t tag,
	struct wombat_slice value, uint8_t **out_value);
/* The first entry at or behind (key, tag) if it has the same key. No allocation. */
bool bptree_find(const struct bptree *t, struct wombat_slice key, uint64_t tag, uint64_t *out_tag,
	struct wombat_slice *out_value);

/* An iterator, embeddable: it keeps the path of frozen nodes it descended through. */
enum { BPTREE_MAX_DEPTH = 16 };
struct bptree_iter {
	struct iter base;
	const struct bptree *tree;
	const struct bptree_node *next_leaf; /* behind the one that it is in, while it moves forward; NULL: not known */
	unsigned depth;
	struct {
		const struct bptree_node *node;
		uint64_t order; /* the node's order word as of the descent */
		unsigned at;
	} path[BPTREE_MAX_DEPTH];
};
/* base.calls->free does nothing to the struct itself; it is the embedder's. */
void bptree_iter_init(struct bptree_iter *it, const struct bptree *tree);
/* About which share of all entries lies before the one that it stands on (0..1; past the end 1), by the places along its
 * path: as right as the tree is even. */
double bptree_iter_share(const struct bptree_iter *it);

#endif
