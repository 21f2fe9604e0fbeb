/* See extent_map.h. The treap is R. Seidel and C. Aragon's (Randomized Search Trees, 1996), by splitting and merging. */
#include "engine/db/extent_map.h"

#include "engine/base/alloc.h"

/* ---- The tree ------------------------------------------------------------------------------ */

/* Those that begin before `at`, and the rest. */
static void split(struct extent *t, uint64_t at, struct extent **out_before, struct extent **out_rest)
{
	while (t) {
		if (t->at < at) {
			*out_before = t;
			out_before = &t->right;
			t = t->right;
		} else {
			*out_rest = t;
			out_rest = &t->left;
			t = t->left;
		}
	}
	*out_before = *out_rest = NULL;
}

/* All of `a` are before all of `b`. */
static struct extent *merge(struct extent *a, struct extent *b)
{
	struct extent *root, **at = &root;
	while (a && b) {
		if (a->priority > b->priority) {
			*at = a;
			at = &a->right;
			a = a->right;
		} else {
			*at = b;
			at = &b->left;
			b = b->left;
		}
	}
	*at = a ? a : b;
	return root;
}

static void insert(struct extent_map *m, struct extent *e)
{
	struct extent *before, *rest;
	split(m->root, e->at, &before, &rest);
	m->root = merge(merge(before, e), rest);
	m->count++;
}

static void free_extent(struct extent_map *m, struct extent *e)
{
	if (e->kind == EXTENT_BYTES)
		m->bytes -= e->size;
	m->count--;
	vlog_value_close(e->open);
	buf_done(&e->bytes);
	mem_free(e);
}

/* Without recursion: the left child is turned up until there is none. */
static void free_tree(struct extent_map *m, struct extent *t)
{
	while (t) {
		struct extent *left = t->left;
		if (left) {
			t->left = left->right;
			left->right = t;
			t = left;
		} else {
			struct extent *next = t->right;
			free_extent(m, t);
			t = next;
		}
	}
}

void extent_map_clear(struct extent_map *m)
{
	free_tree(m, m->root);
	m->root = NULL;
}

struct extent *extent_map_find(const struct extent_map *m, uint64_t offset)
{
	struct extent *found = NULL;
	for (struct extent *e = m->root; e;) {
		if (extent_end(e) > offset) {
			found = e;
			e = e->left;
		} else {
			e = e->right;
		}
	}
	return found;
}

/* ---- Extents ------------------------------------------------------------------------------- */

static struct extent *extent_new(struct extent_map *m, uint64_t at, uint64_t size, enum extent_kind kind)
{
	struct extent *e = mem_zalloc(sizeof *e);
	if (!e)
		return NULL;
	/* Marsaglia's xorshift; never 0. */
	uint32_t x = m->random ? m->random : 2463534242;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	m->random = e->priority = x;
	e->at = at;
	e->size = size;
	e->kind = kind;
	return e;
}

struct extent *extent_map_add(struct extent_map *m, uint64_t at, uint64_t size, enum extent_kind kind)
{
	struct extent *e = extent_new(m, at, size, kind);
	if (!e)
		return NULL;
	insert(m, e);
	if (kind == EXTENT_BYTES)
		m->bytes += size;
	return e;
}

void extent_map_grown(struct extent_map *m, struct extent *e)
{
	m->bytes += e->bytes.size - e->size;
	e->size = e->bytes.size;
}

void extent_map_drop_empty(struct extent_map *m, struct extent *e)
{
	struct extent *before, *inside, *behind;
	split(m->root, e->at, &before, &inside);
	split(inside, e->at + 1, &inside, &behind);
	free_tree(m, inside);
	m->root = merge(before, behind);
}

void extent_map_stored(struct extent_map *m, struct extent *e, const struct value_pointer *pointer)
{
	m->bytes -= e->size;
	buf_done(&e->bytes);
	e->kind = EXTENT_VALUE;
	e->pointer = *pointer;
	e->part_at = 0;
}

/* Makes `offset` the beginning of an extent if it is within one. */
static enum wombat_status divide(struct extent_map *m, uint64_t offset)
{
	struct extent *e = extent_map_find(m, offset);
	if (!e || e->at >= offset)
		return WOMBAT_OK;
	uint64_t kept = offset - e->at;
	struct extent *rest = extent_new(m, offset, e->size - kept, e->kind);
	if (!rest)
		return fail_no_memory();
	if (e->kind == EXTENT_BYTES) {
		enum wombat_status s = buf_append(&rest->bytes, e->bytes.data + kept, e->bytes.size - (size_t)kept);
		if (s != WOMBAT_OK) {
			buf_done(&rest->bytes);
			mem_free(rest);
			return s;
		}
		e->bytes.size = (size_t)kept;
	}
	rest->pointer = e->pointer;
	rest->part_at = e->part_at + kept;
	e->size = kept;
	insert(m, rest);
	return WOMBAT_OK;
}

enum wombat_status extent_map_cut(struct extent_map *m, uint64_t from, uint64_t to)
{
	enum wombat_status s = divide(m, from);
	if (s == WOMBAT_OK)
		s = divide(m, to);
	if (s != WOMBAT_OK)
		return s;
	struct extent *before, *inside, *behind;
	split(m->root, from, &before, &inside);
	split(inside, to, &inside, &behind);
	free_tree(m, inside);
	m->root = merge(before, behind);
	return WOMBAT_OK;
}
