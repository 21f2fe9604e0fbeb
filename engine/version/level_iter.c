/*
 * The tables of one level, one after the other: only the one that the iterator stands in is open.
 */
#include "engine/version/level_iter.h"

#include "engine/base/alloc.h"

struct level_iter {
	struct iter base;
	struct version *version;
	struct table_cache *tables;
	const struct file_list *list;
	size_t begin, end;          /* of the list: the files within the bounds */
	size_t at;
	unsigned table_flags;
	size_t read_ahead_bytes;
	struct iter *table;         /* NULL: none open */
};

static void drop_table(struct level_iter *l)
{
	iter_free(l->table);
	l->table = NULL;
}

/* Opens the file at `at`; false: past an end, or an error. */
static bool open_at(struct level_iter *l, size_t at)
{
	l->base.valid = false;
	l->base.status = WOMBAT_OK;
	if (l->table && l->at == at)
		return true;
	drop_table(l);
	if (at < l->begin || at >= l->end)
		return false;
	enum wombat_status s = file_meta_iter_new(l->list->files[at], l->tables, l->table_flags, l->read_ahead_bytes,
						  &l->table);
	if (s != WOMBAT_OK) {
		l->table = NULL;
		l->base.status = s;
		return false;
	}
	l->at = at;
	return true;
}

/* Shows what the open table stands on; goes on to neighbours while it stands on nothing. */
static void settle(struct level_iter *l, bool right)
{
	while (!l->table->valid) {
		if (l->table->status != WOMBAT_OK) {
			l->base.status = l->table->status;
			l->base.valid = false;
			return;
		}
		/* Going left from 0 wraps to a number that open_at refuses. */
		if (!open_at(l, right ? l->at + 1 : l->at - 1))
			return;
		if (right)
			iter_first(l->table);
		else
			iter_last(l->table);
	}
	l->base.key = l->table->key;
	l->base.tag = l->table->tag;
	l->base.value = l->table->value;
	l->base.valid = true;
	l->base.status = WOMBAT_OK;
}

static void level_first(struct iter *it)
{
	struct level_iter *l = (struct level_iter *)it;
	if (!open_at(l, l->begin))
		return;
	iter_first(l->table);
	settle(l, true);
}

static void level_last(struct iter *it)
{
	struct level_iter *l = (struct level_iter *)it;
	if (!open_at(l, l->end - 1))
		return;
	iter_last(l->table);
	settle(l, false);
}

static size_t find(const struct level_iter *l, struct wombat_slice key)
{
	size_t at = file_list_find(l->list, key);
	return at < l->begin ? l->begin : at;
}

static void level_seek(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	struct level_iter *l = (struct level_iter *)it;
	if (!open_at(l, find(l, key)))
		return;
	iter_seek(l->table, key, tag);
	settle(l, true);
}

static void level_seek_before(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	struct level_iter *l = (struct level_iter *)it;
	size_t at = find(l, key);
	if (at >= l->end) {
		level_last(it);
		return;
	}
	if (!open_at(l, at))
		return;
	iter_seek_before(l->table, key, tag);
	settle(l, false);
}

static void level_next(struct iter *it)
{
	struct level_iter *l = (struct level_iter *)it;
	iter_next(l->table);
	settle(l, true);
}

static void level_prev(struct iter *it)
{
	struct level_iter *l = (struct level_iter *)it;
	iter_prev(l->table);
	settle(l, false);
}

static void level_free(struct iter *it)
{
	struct level_iter *l = (struct level_iter *)it;
	drop_table(l);
	version_unref(l->version);
	mem_free(l);
}

enum wombat_status level_iter_new(struct version *v, unsigned level, struct table_cache *tables,
				  struct wombat_slice lower, struct wombat_slice upper, unsigned table_flags,
				  size_t read_ahead_bytes, struct iter **out)
{
	static const struct iter_calls calls = {
		.free = level_free, .first = level_first, .last = level_last, .seek = level_seek,
		.seek_before = level_seek_before, .next = level_next, .prev = level_prev,
	};
	struct level_iter *l = mem_zalloc(sizeof *l);
	if (!l)
		return fail_no_memory();
	l->base.calls = &calls;
	l->version = version_ref(v);
	l->tables = tables;
	l->list = &v->levels[level];
	l->begin = file_list_find(l->list, lower);
	l->end = l->begin;
	while (l->end < l->list->count && file_meta_overlaps(l->list->files[l->end], lower, upper))
		l->end++;
	l->table_flags = table_flags;
	l->read_ahead_bytes = read_ahead_bytes;
	*out = &l->base;
	return WOMBAT_OK;
}
