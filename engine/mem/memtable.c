/*
 * The memtable: the tree, its arena, its range tombstones, its counts.
 *
 * Range tombstones are collected in the order of their writes. Reads want them in fragments, and making fragments
 * sorts: done over at each read that follows a write, it would be quadratic. So they are kept in runs, each the
 * fragments of some consecutive tombstones and each more than twice as long as the next: a tombstone takes part in few
 * sorts, a point read looks into few runs.
 */
#include "engine/mem/memtable.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/mutex.h"
#include "engine/base/pages.h"
#include "engine/base/record.h"
#include "engine/mem/bptree.h"

enum { BLOCK_BYTES = 1 << 20, RECORD_TIME_OFFSET = 1, RUNS_MAX = 64 };

struct run {
	struct range_fragments *fragments;
	size_t first, count; /* tombstones, by their place in the set */
};

struct memtable {
	atomic_int refs;
	struct arena arena;
	struct bptree tree;

	/* Relaxed: figures, stored by the one thread that adds. */
	atomic_size_t bytes, range_bytes;
	atomic_uint_fast64_t entries, deletes;

	/* Release when one was added, acquire before the list is looked at. */
	atomic_size_t range_count;
	struct mutex ranges_mu;
	struct range_del_set ranges; /* guarded by ranges_mu */
	struct run runs[RUNS_MAX];   /* guarded by ranges_mu: one behind the other, from the first tombstone on */
	size_t run_count;            /* guarded by ranges_mu */
};

enum wombat_status memtable_new(size_t expected_bytes, struct memtable **out)
{
	struct memtable *m = mem_zalloc(sizeof *m);
	if (!m)
		return fail_no_memory();
	atomic_init(&m->refs, 1);
	arena_init(&m->arena, expected_bytes >= PAGES_WORTH ? ARENA_HUGE : BLOCK_BYTES);
	mutex_init(&m->ranges_mu, LOCK_RANK_STATS);
	range_del_set_init(&m->ranges);
	enum wombat_status s = bptree_init(&m->tree, &m->arena);
	if (s != WOMBAT_OK) {
		memtable_unref(m);
		return s;
	}
	*out = m;
	return WOMBAT_OK;
}

struct memtable *memtable_ref(struct memtable *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void memtable_unref(struct memtable *m)
{
	/* Acquire and release: whoever frees sees what the others did with it. */
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < m->run_count; i++)
		range_fragments_unref(m->runs[i].fragments);
	range_del_set_done(&m->ranges);
	mutex_done(&m->ranges_mu);
	arena_done(&m->arena);
	mem_free(m);
}

/* Counters with one writer need no read-modify-write. */
static void count_one(atomic_uint_fast64_t *c)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}

enum wombat_status memtable_add(struct memtable *m, struct wombat_slice key, uint64_t tag, struct wombat_slice value,
				uint64_t time_ns)
{
	uint8_t *copy;
	enum wombat_status s = bptree_insert(&m->tree, key, tag, value, &copy);
	if (s != WOMBAT_OK)
		return s;
	if (tag_kind(tag) == KIND_PUT && value.size >= RECORD_TIME_OFFSET + 8 && get_u64(copy + RECORD_TIME_OFFSET) == 0)
		put_u64(copy + RECORD_TIME_OFFSET, time_ns);
	count_one(&m->entries);
	if (tag_kind(tag) == KIND_DELETE)
		count_one(&m->deletes);
	size_t used = arena_bytes(&m->arena) - (size_t)(m->arena.end - m->arena.next);
	atomic_store_explicit(&m->bytes, used, memory_order_relaxed);
	return WOMBAT_OK;
}

enum wombat_status memtable_add_range(struct memtable *m, struct range_del range)
{
	mutex_lock(&m->ranges_mu);
	enum wombat_status s = range_del_set_add(&m->ranges, range);
	size_t count = m->ranges.count;
	mutex_unlock(&m->ranges_mu);
	if (s != WOMBAT_OK)
		return s;
	size_t bytes = sizeof range + range.begin.size + range.end.size;
	bytes += atomic_load_explicit(&m->range_bytes, memory_order_relaxed);
	atomic_store_explicit(&m->range_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&m->range_count, count, memory_order_release);
	count_one(&m->entries);
	count_one(&m->deletes);
	return WOMBAT_OK;
}

bool memtable_get(const struct memtable *m, struct wombat_slice key, uint64_t max_sequence, uint64_t *out_tag,
		  struct wombat_slice *out_value)
{
	return bptree_find(&m->tree, key, tag_make(max_sequence, (enum ikey_kind)0xff), out_tag, out_value);
}

bool memtable_has_prefix(const struct memtable *m, struct wombat_slice prefix)
{
	struct bptree_iter it;
	bptree_iter_init(&it, &m->tree);
	iter_seek(&it.base, prefix, TAG_MAX);
	return it.base.valid && slice_starts_with(it.base.key, prefix);
}

double memtable_share_before(const struct memtable *m, struct wombat_slice key)
{
	struct bptree_iter it;
	bptree_iter_init(&it, &m->tree);
	iter_seek(&it.base, key, TAG_MAX);
	return bptree_iter_share(&it);
}

bool memtable_has_range_dels(const struct memtable *m)
{
	return atomic_load_explicit(&m->range_count, memory_order_acquire) > 0;
}

/* Puts all tombstones from the run at `keep` on into that run. */
static enum wombat_status merge_runs_locked(struct memtable *m, size_t keep) REQUIRES(&m->ranges_mu);
static enum wombat_status merge_runs_locked(struct memtable *m, size_t keep)
{
	size_t first = keep ? m->runs[keep - 1].first + m->runs[keep - 1].count : 0;
	struct range_del_set part = { .items = m->ranges.items + first, .count = m->ranges.count - first };
	struct range_fragments *built;
	assert(keep < RUNS_MAX);
	enum wombat_status s = range_fragments_build(&part, &built);
	if (s != WOMBAT_OK)
		return s;
	while (m->run_count > keep)
		range_fragments_unref(m->runs[--m->run_count].fragments);
	m->runs[m->run_count++] = (struct run){ built, first, part.count };
	return WOMBAT_OK;
}

/* Brings the runs up to date. */
static enum wombat_status update_runs_locked(struct memtable *m) REQUIRES(&m->ranges_mu);
static enum wombat_status update_runs_locked(struct memtable *m)
{
	size_t keep = m->run_count;
	size_t done = keep ? m->runs[keep - 1].first + m->runs[keep - 1].count : 0;
	if (done == m->ranges.count)
		return WOMBAT_OK;
	while (keep > 0 && m->runs[keep - 1].count <= 2 * (m->ranges.count - m->runs[keep - 1].first - m->runs[keep - 1].count))
		keep--;
	return merge_runs_locked(m, keep);
}

enum wombat_status memtable_range_cover(struct memtable *m, struct wombat_slice key, uint64_t max_sequence,
					uint64_t *out_sequence)
{
	uint64_t newest = 0;
	enum wombat_status s = WOMBAT_OK;
	if (memtable_has_range_dels(m)) {
		mutex_lock(&m->ranges_mu);
		s = update_runs_locked(m);
		for (size_t i = 0; i < m->run_count; i++) {
			uint64_t sequence = range_fragments_cover(m->runs[i].fragments, key, max_sequence);
			newest = sequence > newest ? sequence : newest;
		}
		mutex_unlock(&m->ranges_mu);
	}
	if (s == WOMBAT_OK)
		*out_sequence = newest;
	return s;
}

enum wombat_status memtable_range_dels(struct memtable *m, struct range_fragments **out)
{
	*out = NULL;
	if (!memtable_has_range_dels(m))
		return WOMBAT_OK;
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&m->ranges_mu);
	if (m->run_count != 1 || m->runs[0].count != m->ranges.count)
		s = merge_runs_locked(m, 0);
	if (s == WOMBAT_OK)
		*out = range_fragments_ref(m->runs[0].fragments);
	mutex_unlock(&m->ranges_mu);
	return s;
}

/* ---- Iteration ----------------------------------------------------------------------------- */

struct memtable_iter {
	struct bptree_iter tree; /* first: its struct iter is ours */
	struct iter_calls calls;
	struct memtable *table;
};

static void memtable_iter_free(struct iter *it)
{
	struct memtable_iter *m = (struct memtable_iter *)it;
	memtable_unref(m->table);
	mem_free(m);
}

enum wombat_status memtable_iter_new(struct memtable *m, struct iter **out)
{
	struct memtable_iter *it = mem_alloc(sizeof *it);
	if (!it)
		return fail_no_memory();
	bptree_iter_init(&it->tree, &m->tree);
	it->calls = *it->tree.base.calls;
	it->calls.free = memtable_iter_free;
	it->tree.base.calls = &it->calls;
	it->table = memtable_ref(m);
	*out = &it->tree.base;
	return WOMBAT_OK;
}

size_t memtable_bytes(const struct memtable *m)
{
	return atomic_load_explicit(&m->bytes, memory_order_relaxed) +
	       atomic_load_explicit(&m->range_bytes, memory_order_relaxed);
}

uint64_t memtable_entries(const struct memtable *m)
{
	return atomic_load_explicit(&m->entries, memory_order_relaxed);
}

uint64_t memtable_deletes(const struct memtable *m)
{
	return atomic_load_explicit(&m->deletes, memory_order_relaxed);
}
