/*
 * The child's moves, and its tag replaced. Since the child has one version of each key, with the least tag that a put can
 * have, a place before or behind (key, tag) is one before or behind all of the key's.
 */
#include "engine/iter/stamp_iter.h"

#include "engine/base/alloc.h"

struct stamp_iter {
	struct iter it; /* first: cast by of() */
	struct iter *child;
	uint64_t sequence;
};

static struct stamp_iter *of(struct iter *it)
{
	return (struct stamp_iter *)it;
}

static void copy(struct stamp_iter *s)
{
	const struct iter *child = s->child;
	s->it.valid = child->valid;
	s->it.status = child->status;
	if (!child->valid)
		return;
	s->it.key = child->key;
	s->it.value = child->value;
	s->it.tag = tag_make(s->sequence, tag_kind(child->tag));
}

/* What the child is to be asked for: all of the key's lie at or behind the tag, or before it. */
static uint64_t child_tag(const struct stamp_iter *s, uint64_t tag)
{
	return tag_make(s->sequence, KIND_PUT) <= tag ? TAG_MAX : 0;
}

static void stamp_free(struct iter *it)
{
	iter_free(of(it)->child);
	mem_free(it);
}

static void stamp_first(struct iter *it)
{
	iter_first(of(it)->child);
	copy(of(it));
}

static void stamp_last(struct iter *it)
{
	iter_last(of(it)->child);
	copy(of(it));
}

static void stamp_seek(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	iter_seek(of(it)->child, key, child_tag(of(it), tag));
	copy(of(it));
}

static void stamp_seek_before(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	iter_seek_before(of(it)->child, key, child_tag(of(it), tag));
	copy(of(it));
}

static void stamp_next(struct iter *it)
{
	iter_next(of(it)->child);
	copy(of(it));
}

static void stamp_prev(struct iter *it)
{
	iter_prev(of(it)->child);
	copy(of(it));
}

enum wombat_status stamp_iter_new(struct iter *child, uint64_t sequence, struct iter **out)
{
	static const struct iter_calls calls = {
		.free = stamp_free, .first = stamp_first, .last = stamp_last, .seek = stamp_seek,
		.seek_before = stamp_seek_before, .next = stamp_next, .prev = stamp_prev,
	};
	struct stamp_iter *s = mem_zalloc(sizeof *s);
	if (!s) {
		iter_free(child);
		return fail_no_memory();
	}
	s->it.calls = &calls;
	s->child = child;
	s->sequence = sequence;
	*out = &s->it;
	return WOMBAT_OK;
}
