/*
 * k-way merge by a binary heap of the children that are positioned: the least key on top going forward, the
 * greatest going backward. Moving the top child costs one sift, which ends at once when the same child stays on
 * top, the common case after a compaction.
 *
 * When the direction changes, the children that are not on top stand on the wrong side of the current key and are
 * sought anew.
 */
#include "engine/iter/merge_iter.h"

#include "engine/base/alloc.h"

struct merge_iter {
	struct iter base;
	bool backward;
	size_t count, heap_size;
	struct iter **children;
	struct iter **heap;
};

/* Whether a comes before b in the present direction. */
static bool before(const struct merge_iter *m, const struct iter *a, const struct iter *b)
{
	int c = ikey_compare_parts(a->key, a->tag, b->key, b->tag);
	return m->backward ? c > 0 : c < 0;
}

static void sift_down(struct merge_iter *m, size_t at)
{
	struct iter *moving = m->heap[at];
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= m->heap_size)
			break;
		if (child + 1 < m->heap_size && before(m, m->heap[child + 1], m->heap[child]))
			child++;
		if (!before(m, m->heap[child], moving))
			break;
		m->heap[at] = m->heap[child];
		at = child;
	}
	m->heap[at] = moving;
}

/* Shows the top of the heap. */
static void show(struct merge_iter *m)
{
	struct iter *it = &m->base;
	if (m->heap_size == 0) {
		it->valid = false;
		return;
	}
	const struct iter *top = m->heap[0];
	it->key = top->key;
	it->tag = top->tag;
	it->value = top->value;
	it->valid = true;
}

static bool set_error(struct merge_iter *m, const struct iter *child)
{
	if (child->status == WOMBAT_OK)
		return false;
	m->base.status = child->status;
	m->base.valid = false;
	m->heap_size = 0;
	return true;
}

/* All children have moved: gathers those that are positioned. */
static void rebuild(struct merge_iter *m)
{
	m->base.status = WOMBAT_OK;
	m->heap_size = 0;
	for (size_t i = 0; i < m->count; i++) {
		struct iter *c = m->children[i];
		if (c->valid)
			m->heap[m->heap_size++] = c;
		else if (set_error(m, c))
			return;
	}
	for (size_t i = m->heap_size / 2; i-- > 0;)
		sift_down(m, i);
	show(m);
}

/* The top child has moved. */
static void settle_top(struct merge_iter *m)
{
	struct iter *top = m->heap[0];
	if (!top->valid) {
		if (set_error(m, top))
			return;
		m->heap[0] = m->heap[--m->heap_size];
	}
	if (m->heap_size > 1)
		sift_down(m, 0);
	show(m);
}

static void merge_first(struct iter *it)
{
	struct merge_iter *m = (struct merge_iter *)it;
	m->backward = false;
	for (size_t i = 0; i < m->count; i++)
		iter_first(m->children[i]);
	rebuild(m);
}

static void merge_last(struct iter *it)
{
	struct merge_iter *m = (struct merge_iter *)it;
	m->backward = true;
	for (size_t i = 0; i < m->count; i++)
		iter_last(m->children[i]);
	rebuild(m);
}

static void merge_seek(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	struct merge_iter *m = (struct merge_iter *)it;
	m->backward = false;
	for (size_t i = 0; i < m->count; i++)
		iter_seek(m->children[i], key, tag);
	rebuild(m);
}

static void merge_seek_before(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	struct merge_iter *m = (struct merge_iter *)it;
	m->backward = true;
	for (size_t i = 0; i < m->count; i++)
		iter_seek_before(m->children[i], key, tag);
	rebuild(m);
}

static void merge_next(struct iter *it)
{
	struct merge_iter *m = (struct merge_iter *)it;
	struct iter *top = m->heap[0];
	if (m->backward) {
		/* The others stand before the current entry; bring them to the first behind it. */
		m->backward = false;
		for (size_t i = 0; i < m->count; i++)
			if (m->children[i] != top)
				iter_seek(m->children[i], top->key, top->tag);
		iter_next(top);
		rebuild(m);
		return;
	}
	iter_next(top);
	settle_top(m);
}

static void merge_prev(struct iter *it)
{
	struct merge_iter *m = (struct merge_iter *)it;
	struct iter *top = m->heap[0];
	if (!m->backward) {
		m->backward = true;
		for (size_t i = 0; i < m->count; i++)
			if (m->children[i] != top)
				iter_seek_before(m->children[i], top->key, top->tag);
		iter_prev(top);
		rebuild(m);
		return;
	}
	iter_prev(top);
	settle_top(m);
}

static void merge_free(struct iter *it)
{
	struct merge_iter *m = (struct merge_iter *)it;
	for (size_t i = 0; i < m->count; i++)
		iter_free(m->children[i]);
	mem_free(m);
}

enum wombat_status merge_iter_new(struct iter **children, size_t count, struct iter **out)
{
	static const struct iter_calls calls = {
		.free = merge_free, .first = merge_first, .last = merge_last, .seek = merge_seek,
		.seek_before = merge_seek_before, .next = merge_next, .prev = merge_prev,
	};
	if (count == 1) {
		*out = children[0];
		return WOMBAT_OK;
	}
	struct merge_iter *m = mem_zalloc(sizeof *m + 2 * count * sizeof *children);
	if (!m) {
		for (size_t i = 0; i < count; i++)
			iter_free(children[i]);
		return fail_no_memory();
	}
	m->base.calls = &calls;
	m->count = count;
	m->children = (struct iter **)(m + 1);
	m->heap = m->children + count;
	if (count)
		memcpy(m->children, children, count * sizeof *children);
	*out = &m->base;
	return WOMBAT_OK;
}
