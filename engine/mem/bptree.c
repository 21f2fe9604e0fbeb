/*
 * The B+ tree: see bptree.h for the idea and why readers need no lock.
 *
 * A node covers the keys from its `low` bound (an entry, NULL: no bound) up to its `high` bound. The bounds' common
 * prefix is shared by every key that can come here, so prefixes begin behind it. A child's place in its parent is
 * its `low`; the leftmost child's is never compared.
 *
 * A node that lacks a bound (the left and right edge of the tree, and with them the place where ascending keys
 * arrive) proves nothing about the keys that come, so it skips what the keys that it holds share. There a search
 * first compares the skipped bytes with those of an entry in the node, and a new entry that does not share them has
 * the node replaced by one that skips less.
 *
 *     order word   bits 0-3: count; then 4 bits for each entry in order: its slot
 *     slots        [0, used) are filled and never change; those that the order does not name are left over
 *
 * Every change ends in one release store: of a node's order word, or of the root. What a split makes below that
 * store is not reachable before it, so running out of memory on the way leaves the tree as it was.
 */
#include "engine/mem/bptree.h"

#include <assert.h>

enum { SLOTS = 14, COMPACT_MAX = 9 };

struct bptree_entry {
	uint64_t tag;
	uint32_t key_size, value_size;
	uint8_t bytes[]; /* key, value */
};

struct slot {
	uint64_t prefix;  /* of the entry's key, of the child's low bound */
	const void *to;   /* entry or node */
};

struct bptree_node {
	_Atomic uint64_t order;
	uint16_t used;        /* the writer's alone */
	uint16_t skip;        /* bytes that all keys here share */
	bool leaf;
	const struct bptree_entry *low, *high;
	struct slot slots[SLOTS];
};
_Static_assert(sizeof(struct bptree_node) == 256, "four cache lines");

/* ---- Order words --------------------------------------------------------------------------- */

static inline unsigned order_count(uint64_t order)
{
	return order & 15;
}

static inline unsigned order_slot(uint64_t order, unsigned at)
{
	return order >> (4 + 4 * at) & 15;
}

static inline uint64_t order_insert(uint64_t order, unsigned at, unsigned slot)
{
	unsigned shift = 4 + 4 * at;
	uint64_t below = order & ((UINT64_C(1) << shift) - 1), above = order >> shift;
	/* A 14th entry's nibble ends at bit 60: the shift stays below 64. */
	return (below | (uint64_t)slot << shift | (at < SLOTS - 1 ? above << (shift + 4) : 0)) + 1;
}

static inline uint64_t order_replace(uint64_t order, unsigned at, unsigned slot)
{
	unsigned shift = 4 + 4 * at;
	return (order & ~(UINT64_C(15) << shift)) | (uint64_t)slot << shift;
}

/* Acquire: the slots that the word names are filled. */
static inline uint64_t node_order(const struct bptree_node *n)
{
	return atomic_load_explicit(&n->order, memory_order_acquire);
}

static inline void node_publish(struct bptree_node *n, uint64_t order)
{
	atomic_store_explicit(&n->order, order, memory_order_release);
}

/* ---- Keys ---------------------------------------------------------------------------------- */

static inline struct wombat_slice entry_key(const struct bptree_entry *e)
{
	return slice_make(e->bytes, e->key_size);
}

static inline uint64_t prefix_of(struct wombat_slice key, size_t skip)
{
	if (key.size >= skip + 8)
		return get_be64(key.data + skip);
	uint8_t bytes[8] = { 0 };
	if (key.size > skip)
		memcpy(bytes, key.data + skip, key.size - skip);
	return get_be64(bytes);
}

static inline int compare_entry(const struct bptree_entry *e, struct wombat_slice key, uint64_t tag)
{
	return ikey_compare_parts(entry_key(e), e->tag, key, tag);
}

/* The entry that a slot stands for in comparisons. NULL: the tree's leftmost child on its level. */
static inline const struct bptree_entry *slot_entry(const struct bptree_node *n, unsigned slot)
{
	const void *to = n->slots[slot].to;
	return n->leaf ? to : ((const struct bptree_node *)to)->low;
}

static inline bool is_open(const struct bptree_node *n)
{
	return !n->low || !n->high;
}

/* Of an open node: how the key's first bytes compare with those that all entries in the node share. */
static int compare_skipped(const struct bptree_node *n, uint64_t order, struct wombat_slice key)
{
	if (n->skip == 0 || order_count(order) == 0)
		return 0;
	/* In an inner node the first child's low bound is only known to share them when it is alone. */
	unsigned at = !n->leaf && order_count(order) > 1;
	const struct bptree_entry *e = slot_entry(n, order_slot(order, at));
	return slice_compare(slice_make(key.data, key.size < n->skip ? key.size : n->skip), slice_make(e->bytes, n->skip));
}

/* Of a leaf: the place of the first entry that is not before (key, tag); perhaps its count. */
static inline unsigned leaf_search(const struct bptree_node *n, uint64_t order, struct wombat_slice key, uint64_t tag)
{
	unsigned lo = 0, hi = order_count(order);
	int c = is_open(n) ? compare_skipped(n, order, key) : 0;
	if (c)
		return c < 0 ? 0 : hi;
	uint64_t prefix = prefix_of(key, n->skip);
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2, slot = order_slot(order, mid);
		uint64_t there = n->slots[slot].prefix;
		bool before = there != prefix ? there < prefix : compare_entry(slot_entry(n, slot), key, tag) < 0;
		if (before)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The child whose range holds (key, tag): the last whose low bound is not behind it. */
static inline unsigned child_search(const struct bptree_node *n, uint64_t order, struct wombat_slice key, uint64_t tag)
{
	unsigned lo = 1, hi = order_count(order);
	int c = is_open(n) ? compare_skipped(n, order, key) : 0;
	if (c)
		return c < 0 ? 0 : hi - 1;
	uint64_t prefix = prefix_of(key, n->skip);
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2, slot = order_slot(order, mid);
		uint64_t there = n->slots[slot].prefix;
		bool behind = there != prefix ? there > prefix : compare_entry(slot_entry(n, slot), key, tag) > 0;
		if (behind)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo - 1;
}

static inline void prefetch_node(const struct bptree_node *n)
{
	const char *p = (const char *)n;
	__builtin_prefetch(p);
	__builtin_prefetch(p + 64);
	__builtin_prefetch(p + 128);
	__builtin_prefetch(p + 192);
}

/* ---- Making nodes -------------------------------------------------------------------------- */

/* What an open node skips of the keys it will hold stays this much short of all that they share now, so that the
 * next ones, which often differ a little earlier, fit in too. */
enum { SKIP_SLACK = 2, SKIP_GAIN_MIN = 3 };

static size_t shared_by(size_t shared, const struct bptree_entry *a, const struct bptree_entry *b)
{
	struct wombat_slice x = entry_key(a), y = entry_key(b);
	x.size = x.size < shared ? x.size : shared;
	return slice_common_prefix(x, y);
}

/* `near` (may be NULL): an entry beside the node, to judge by when the node has but one. */
static size_t choose_skip(const struct bptree_node *n, const struct bptree_entry *near, unsigned count)
{
	if (n->low && n->high)
		return slice_common_prefix(entry_key(n->low), entry_key(n->high));
	unsigned from = !n->leaf && count > 1;
	const struct bptree_entry *first = from < count ? slot_entry(n, from) : NULL;
	if (!first || (!near && count - from < 2))
		return 0;
	size_t shared = near ? shared_by(first->key_size, first, near) : first->key_size;
	for (unsigned i = from + 1; i < count; i++)
		shared = shared_by(shared, first, slot_entry(n, i));
	return shared > SKIP_SLACK ? shared - SKIP_SLACK : 0;
}

static struct slot slot_make(const struct bptree_node *n, const void *to)
{
	const struct bptree_entry *e = n->leaf ? to : ((const struct bptree_node *)to)->low;
	return (struct slot){ e ? prefix_of(entry_key(e), n->skip) : 0, to };
}

/*
 * A node of `old`'s kind for a part of its range, with slots made for `old`. Their prefixes are kept unless much more
 * can be skipped now: new ones would cost a cache miss each.
 */
static struct bptree_node *node_split_off(struct bptree *t, const struct bptree_node *old, const struct bptree_entry *low,
					  const struct bptree_entry *high, const struct bptree_entry *near,
					  const struct slot *slots, unsigned count)
{
	struct bptree_node *n = arena_alloc_aligned(t->arena, sizeof *n);
	if (!n)
		return NULL;
	n->leaf = old->leaf;
	n->low = low;
	n->high = high;
	n->used = (uint16_t)count;
	memcpy(n->slots, slots, count * sizeof *slots);
	size_t skip = choose_skip(n, near, count);
	n->skip = skip < UINT16_MAX ? (uint16_t)skip : UINT16_MAX;
	bool keep = n->skip == old->skip || (!is_open(n) && n->skip > old->skip && n->skip <= old->skip + SKIP_GAIN_MIN);
	uint64_t order = 0;
	if (keep)
		n->skip = old->skip;
	for (unsigned i = 0; i < count; i++) {
		if (!keep)
			n->slots[i] = slot_make(n, slots[i].to);
		order = order_insert(order, i, i);
	}
	atomic_init(&n->order, order);
	return n;
}

static struct bptree_node *root_new(struct bptree *t, const void *const *to, unsigned count)
{
	const struct bptree_node kind = { .leaf = count == 0 };
	struct slot slots[2];
	for (unsigned i = 0; i < count; i++)
		slots[i] = slot_make(&kind, to[i]);
	return node_split_off(t, &kind, NULL, NULL, NULL, slots, count);
}

/* Whether the entry, which belongs into the node's range, shares the bytes that the node skips. */
static bool node_takes(const struct bptree_node *n, uint64_t order, const struct bptree_entry *e)
{
	return !is_open(n) || compare_skipped(n, order, entry_key(e)) == 0;
}

enum wombat_status bptree_init(struct bptree *t, struct arena *arena)
{
	t->arena = arena;
	t->right = NULL;
	struct bptree_node *root = root_new(t, NULL, 0);
	if (!root)
		return fail_no_memory();
	atomic_init(&t->root, root);
	return WOMBAT_OK;
}

/* ---- Insertion ----------------------------------------------------------------------------- */

struct step {
	struct bptree_node *node;
	unsigned at; /* the child that was descended into */
};

/* What stands in the place of one child: itself and a new right neighbour, or one or two new nodes. */
struct replacement {
	struct bptree_node *nodes[2];
	unsigned count;
};

static enum wombat_status replace_root(struct bptree *t, const struct replacement *r)
{
	struct bptree_node *root = r->nodes[0];
	if (r->count == 2) {
		const void *to[2] = { r->nodes[0], r->nodes[1] };
		root = root_new(t, to, 2);
		if (!root)
			return fail_no_memory();
	}
	/* Release: readers find the nodes filled. */
	atomic_store_explicit(&t->root, root, memory_order_release);
	return WOMBAT_OK;
}

/* One node or two in place of `n`, with the given slots. */
static enum wombat_status distribute(struct bptree *t, const struct bptree_node *n, const struct slot *slots,
				     unsigned count, struct replacement *out)
{
	unsigned left = count <= COMPACT_MAX ? count : count / 2;
	const struct bptree_entry *middle = n->high;
	out->count = 1;
	out->nodes[1] = NULL;
	if (left < count) {
		const void *to = slots[left].to;
		middle = n->leaf ? to : ((const struct bptree_node *)to)->low;
		out->count = 2;
		out->nodes[1] = node_split_off(t, n, middle, n->high, NULL, slots + left, count - left);
		if (!out->nodes[1])
			return fail_no_memory();
	}
	out->nodes[0] = node_split_off(t, n, n->low, middle, NULL, slots, left);
	return out->nodes[0] ? WOMBAT_OK : fail_no_memory();
}

/* Replaces an inner node whose child at `at` was replaced. */
static enum wombat_status rebuild(struct bptree *t, const struct bptree_node *n, unsigned at, const struct replacement *r,
				  struct replacement *out)
{
	struct slot slots[SLOTS + 1];
	uint64_t order = atomic_load_explicit(&n->order, memory_order_relaxed);
	unsigned count = 0;
	for (unsigned i = 0; i < order_count(order); i++) {
		if (i != at) {
			slots[count++] = n->slots[order_slot(order, i)];
			continue;
		}
		for (unsigned k = 0; k < r->count; k++)
			slots[count++] = slot_make(n, r->nodes[k]);
	}
	return distribute(t, n, slots, count, out);
}

/* Whether the node has room for the replacement of its child, and skips nothing that the new ones do not share. */
static bool fits(const struct bptree_node *n, uint64_t order, const struct replacement *r, bool keeps_left)
{
	if (n->used + r->count - keeps_left > SLOTS)
		return false;
	/* The first one stands where the replaced child stood, with the same bound. */
	return r->count == 1 || node_takes(n, order, r->nodes[1]->low);
}

/* Puts the replacement for a child into the node at path[depth - 1], or further up when that cannot take it. */
static enum wombat_status replace_child(struct bptree *t, struct step *path, unsigned depth, const struct replacement *r)
{
	if (depth == 0)
		return replace_root(t, r);
	struct bptree_node *n = path[depth - 1].node;
	unsigned at = path[depth - 1].at;
	uint64_t order = atomic_load_explicit(&n->order, memory_order_relaxed);
	bool keeps_left = n->slots[order_slot(order, at)].to == r->nodes[0];
	if (fits(n, order, r, keeps_left)) {
		for (unsigned k = keeps_left; k < r->count; k++) {
			unsigned slot = n->used++;
			n->slots[slot] = slot_make(n, r->nodes[k]);
			order = k == 0 ? order_replace(order, at, slot) : order_insert(order, at + 1, slot);
		}
		node_publish(n, order);
		return WOMBAT_OK;
	}
	struct replacement up = { .count = 2 };
	if (keeps_left && at == SLOTS - 1) {
		/* Ascending inserts: the full node stays as it is. */
		struct slot only = slot_make(n, r->nodes[1]);
		up.nodes[0] = n;
		up.nodes[1] = node_split_off(t, n, r->nodes[1]->low, n->high, r->nodes[0]->low, &only, 1);
		if (!up.nodes[1])
			return fail_no_memory();
	} else {
		enum wombat_status s = rebuild(t, n, at, r, &up);
		if (s != WOMBAT_OK)
			return s;
	}
	return replace_child(t, path, depth - 1, &up);
}

/* Replaces a leaf that is full, or that skips too much, by one or two with the new entry at `at`. */
static enum wombat_status split_leaf(struct bptree *t, struct bptree_node *leaf, unsigned at, struct bptree_entry *e,
				     struct replacement *out)
{
	uint64_t order = atomic_load_explicit(&leaf->order, memory_order_relaxed);
	struct slot slots[SLOTS + 1], fresh = slot_make(leaf, e);
	unsigned count = order_count(order) + 1;
	if (at == SLOTS) {
		/* Ascending inserts: the full leaf stays as it is. */
		const struct bptree_entry *before = slot_entry(leaf, order_slot(order, SLOTS - 1));
		out->count = 2;
		out->nodes[0] = leaf;
		out->nodes[1] = node_split_off(t, leaf, e, leaf->high, before, &fresh, 1);
		return out->nodes[1] ? WOMBAT_OK : fail_no_memory();
	}
	for (unsigned i = 0; i < count; i++)
		slots[i] = i == at ? fresh : leaf->slots[order_slot(order, i < at ? i : i - 1)];
	return distribute(t, leaf, slots, count, out);
}

static struct bptree_entry *entry_new(struct bptree *t, struct wombat_slice key, uint64_t tag, struct wombat_slice value)
{
	struct bptree_entry *e = arena_alloc(t->arena, sizeof *e + key.size + value.size);
	if (!e)
		return NULL;
	e->tag = tag;
	e->key_size = (uint32_t)key.size;
	e->value_size = (uint32_t)value.size;
	if (key.size)
		memcpy(e->bytes, key.data, key.size);
	if (value.size)
		memcpy(e->bytes + key.size, value.data, value.size);
	return e;
}

/* Adds the entry to a leaf that has room and takes it. */
static void add_entry(struct bptree_node *leaf, uint64_t order, unsigned at, const struct bptree_entry *e)
{
	unsigned slot = leaf->used++;
	leaf->slots[slot] = slot_make(leaf, e);
	node_publish(leaf, order_insert(order, at, slot));
}

/* Behind all that is there, as keys mostly are that come in order: without a descent. False: not so, or no room. */
static bool append_entry(struct bptree *t, const struct bptree_entry *e)
{
	struct bptree_node *leaf = t->right;
	if (!leaf || leaf->used >= SLOTS)
		return false;
	uint64_t order = atomic_load_explicit(&leaf->order, memory_order_relaxed);
	unsigned count = order_count(order);
	if (!count || !node_takes(leaf, order, e))
		return false;
	const struct slot *last = &leaf->slots[order_slot(order, count - 1)];
	uint64_t prefix = prefix_of(entry_key(e), leaf->skip);
	if (prefix < last->prefix ||
	    (prefix == last->prefix && compare_entry(last->to, entry_key(e), e->tag) >= 0))
		return false;
	add_entry(leaf, order, count, e);
	return true;
}

enum wombat_status bptree_insert(struct bptree *t, struct wombat_slice key, uint64_t tag, struct wombat_slice value,
				 uint8_t **out_value)
{
	struct step path[BPTREE_MAX_DEPTH];
	unsigned depth = 0;
	bool rightmost = true; /* A leaf that lacks its upper bound may be an older one, that stayed as it was. */
	struct bptree_entry *e = entry_new(t, key, tag, value);
	if (!e)
		return fail_no_memory();
	if (out_value)
		*out_value = e->bytes + key.size;
	if (append_entry(t, e))
		return WOMBAT_OK;
	/* Relaxed: this thread stored all that it loads here. */
	struct bptree_node *n = atomic_load_explicit(&t->root, memory_order_relaxed);
	for (; !n->leaf; depth++) {
		uint64_t order = atomic_load_explicit(&n->order, memory_order_relaxed);
		unsigned at = child_search(n, order, key, tag);
		assert(depth < BPTREE_MAX_DEPTH);
		path[depth] = (struct step){ n, at };
		rightmost &= at + 1 == order_count(order);
		n = (struct bptree_node *)(uintptr_t)n->slots[order_slot(order, at)].to;
		prefetch_node(n);
	}
	uint64_t order = atomic_load_explicit(&n->order, memory_order_relaxed);
	unsigned at = leaf_search(n, order, key, tag);
	if (n->used < SLOTS && node_takes(n, order, e)) {
		add_entry(n, order, at, e);
	} else {
		struct replacement r;
		enum wombat_status s = split_leaf(t, n, at, e, &r);
		if (s == WOMBAT_OK)
			s = replace_child(t, path, depth, &r);
		if (s != WOMBAT_OK)
			return s;
		n = r.nodes[r.count - 1];
	}
	if (rightmost)
		t->right = n;
	return WOMBAT_OK;
}

/* ---- Iteration ----------------------------------------------------------------------------- */

static struct bptree_iter *iter_of(struct iter *it)
{
	return (struct bptree_iter *)it;
}

static void push(struct bptree_iter *it, const struct bptree_node *n, uint64_t order, unsigned at)
{
	assert(it->depth < BPTREE_MAX_DEPTH);
	it->path[it->depth].node = n;
	it->path[it->depth].order = order;
	it->path[it->depth].at = at;
	it->depth++;
}

static void show(struct bptree_iter *it)
{
	unsigned leaf = it->depth - 1;
	const struct bptree_node *n = it->path[leaf].node;
	const struct bptree_entry *e = n->slots[order_slot(it->path[leaf].order, it->path[leaf].at)].to;
	it->base.key = entry_key(e);
	it->base.tag = e->tag;
	it->base.value = slice_make(e->bytes + e->key_size, e->value_size);
	it->base.valid = true;
}

static const struct bptree_node *child_at(const struct bptree_iter *it, unsigned level)
{
	return it->path[level].node->slots[order_slot(it->path[level].order, it->path[level].at)].to;
}

/* From the node on the path's end down to a leaf, along its left or right edge. */
static void descend_edge(struct bptree_iter *it, const struct bptree_node *n, bool right)
{
	for (;;) {
		uint64_t order = node_order(n);
		unsigned count = order_count(order);
		push(it, n, order, right && count ? count - 1 : 0);
		if (n->leaf)
			return;
		n = child_at(it, it->depth - 1);
	}
}

/*
 * Entries lie where they were inserted, each a cache miss away. Going forward, those to come are asked for while the
 * present one is looked at: AHEAD of them, over the border to the next leaf too.
 */
enum { AHEAD = 4 };

static void prefetch_entry(const struct bptree_node *n, uint64_t order, unsigned at)
{
	const char *e = n->slots[order_slot(order, at)].to;
	__builtin_prefetch(e);
	__builtin_prefetch(e + 64);
}

static void look_ahead(struct bptree_iter *it)
{
	unsigned leaf = it->depth - 1, at = it->path[leaf].at + AHEAD;
	uint64_t order = it->path[leaf].order;
	unsigned count = order_count(order);
	if (at < count) {
		prefetch_entry(it->path[leaf].node, order, at);
	} else if (it->next_leaf) {
		uint64_t next_order = node_order(it->next_leaf);
		if (at - count < order_count(next_order))
			prefetch_entry(it->next_leaf, next_order, at - count);
	}
}

/* It has come to a leaf, to go forward from there. */
static void arrive(struct bptree_iter *it)
{
	unsigned leaf = it->depth - 1, at = it->path[leaf].at;
	uint64_t order = it->path[leaf].order;
	unsigned count = order_count(order);
	for (unsigned i = at; i < count && i < at + AHEAD; i++)
		prefetch_entry(it->path[leaf].node, order, i);
	it->next_leaf = NULL;
	if (leaf == 0 || it->path[leaf - 1].at + 1 >= order_count(it->path[leaf - 1].order))
		return;
	it->next_leaf = it->path[leaf - 1].node->slots[order_slot(it->path[leaf - 1].order, it->path[leaf - 1].at + 1)].to;
	prefetch_node(it->next_leaf);
}

static void edge(struct bptree_iter *it, bool right)
{
	it->depth = 0;
	it->base.valid = false;
	descend_edge(it, atomic_load_explicit(&it->tree->root, memory_order_acquire), right);
	if (!right)
		arrive(it);
	if (order_count(it->path[it->depth - 1].order) > 0)
		show(it);
}

/* One step up and over to the neighbouring leaf. */
static void step_leaf(struct bptree_iter *it, bool right)
{
	unsigned level = it->depth - 1;
	while (level > 0) {
		level--;
		unsigned count = order_count(it->path[level].order);
		if (right ? it->path[level].at + 1 < count : it->path[level].at > 0) {
			it->path[level].at += right ? 1 : -1u;
			it->depth = level + 1;
			descend_edge(it, child_at(it, level), !right);
			if (right)
				arrive(it);
			show(it);
			return;
		}
	}
	it->base.valid = false;
}

static void tree_next(struct iter *base)
{
	struct bptree_iter *it = iter_of(base);
	unsigned leaf = it->depth - 1;
	if (++it->path[leaf].at < order_count(it->path[leaf].order)) {
		look_ahead(it);
		show(it);
	} else {
		step_leaf(it, true);
	}
}

static void tree_prev(struct iter *base)
{
	struct bptree_iter *it = iter_of(base);
	unsigned leaf = it->depth - 1;
	if (it->path[leaf].at-- > 0)
		show(it);
	else
		step_leaf(it, false);
}

/* The path to the leaf that holds (key, tag), at the first entry that is not before it (perhaps its count). */
static void descend_to(struct bptree_iter *it, struct wombat_slice key, uint64_t tag)
{
	const struct bptree_node *n = atomic_load_explicit(&it->tree->root, memory_order_acquire);
	it->depth = 0;
	for (;;) {
		uint64_t order = node_order(n);
		if (n->leaf) {
			push(it, n, order, leaf_search(n, order, key, tag));
			return;
		}
		push(it, n, order, child_search(n, order, key, tag));
		n = child_at(it, it->depth - 1);
		prefetch_node(n);
	}
}

static void tree_seek(struct iter *base, struct wombat_slice key, uint64_t tag)
{
	struct bptree_iter *it = iter_of(base);
	descend_to(it, key, tag);
	unsigned leaf = it->depth - 1;
	arrive(it);
	if (it->path[leaf].at < order_count(it->path[leaf].order))
		show(it);
	else
		step_leaf(it, true);
}

static void tree_seek_before(struct iter *base, struct wombat_slice key, uint64_t tag)
{
	struct bptree_iter *it = iter_of(base);
	descend_to(it, key, tag);
	tree_prev(base);
}

static void tree_first(struct iter *base)
{
	edge(iter_of(base), false);
}

static void tree_last(struct iter *base)
{
	edge(iter_of(base), true);
}

static void tree_free(struct iter *base)
{
	base->valid = false;
}

void bptree_iter_init(struct bptree_iter *it, const struct bptree *tree)
{
	static const struct iter_calls calls = {
		.free = tree_free, .first = tree_first, .last = tree_last, .seek = tree_seek,
		.seek_before = tree_seek_before, .next = tree_next, .prev = tree_prev,
	};
	it->base = (struct iter){ .calls = &calls };
	it->tree = tree;
	it->next_leaf = NULL;
	it->depth = 0;
}

bool bptree_find(const struct bptree *t, struct wombat_slice key, uint64_t tag, uint64_t *out_tag,
		 struct wombat_slice *out_value)
{
	const struct bptree_node *n = atomic_load_explicit(&t->root, memory_order_acquire);
	while (!n->leaf) {
		uint64_t order = node_order(n);
		n = n->slots[order_slot(order, child_search(n, order, key, tag))].to;
		prefetch_node(n);
	}
	uint64_t order = node_order(n);
	unsigned at = leaf_search(n, order, key, tag);
	if (at < order_count(order)) {
		const struct bptree_entry *e = n->slots[order_slot(order, at)].to;
		if (!slice_equal(entry_key(e), key))
			return false;
		*out_tag = e->tag;
		*out_value = slice_make(e->bytes + e->key_size, e->value_size);
		return true;
	}
	/* It would be the next leaf's first: one search in so many needs the path. */
	struct bptree_iter it;
	bptree_iter_init(&it, t);
	tree_seek(&it.base, key, tag);
	if (!it.base.valid || !slice_equal(it.base.key, key))
		return false;
	*out_tag = it.base.tag;
	*out_value = it.base.value;
	return true;
}

double bptree_iter_share(const struct bptree_iter *it)
{
	double share = 0, width = 1;
	if (!it->base.valid)
		return 1;
	for (unsigned i = 0; i < it->depth; i++) {
		width /= order_count(it->path[i].order);
		share += width * it->path[i].at;
	}
	return share;
}
