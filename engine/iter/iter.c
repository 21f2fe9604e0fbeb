/* The iterator over nothing. */
#include "engine/iter/iter.h"

#include "engine/base/alloc.h"

struct empty_iter {
	struct iter base;
	enum wombat_status status;
};

static void empty_free(struct iter *it)
{
	mem_free(it);
}

static void empty_move(struct iter *it)
{
	it->valid = false;
	it->status = ((struct empty_iter *)it)->status;
}

static void empty_seek(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	(void)key;
	(void)tag;
	empty_move(it);
}

struct iter *iter_empty_new(enum wombat_status status)
{
	static const struct iter_calls calls = {
		.free = empty_free, .first = empty_move, .last = empty_move, .seek = empty_seek,
		.seek_before = empty_seek, .next = empty_move, .prev = empty_move,
	};
	struct empty_iter *it = mem_zalloc(sizeof *it);
	if (!it) {
		fail_no_memory();
		return NULL;
	}
	it->base.calls = &calls;
	it->base.status = it->status = status;
	return &it->base;
}
