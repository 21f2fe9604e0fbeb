/*
 * Iterator over a table: the index's order outside, a block's inside.
 *
 * The block iterator is embedded first and decodes into the fields that the caller reads, so next() within
 * a block is one indirect call and the decoding. Only at a block's end does anything else happen.
 *
 * Blocks come one of three ways:
 *   - from the block cache or the disk, one at a time (table_block_acquire);
 *   - the same, with the disk told what comes next once the moves have proven to go on: the window starts
 *     with prefetch_blocks and doubles up to read_ahead_bytes, so that a short scan does not pay for a long one;
 *   - with TABLE_READ_SEQUENTIAL from large reads: as many whole blocks as fit are read at once, and
 *     unpacked ones are used where they lie, without a copy or an allocation.
 */
#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/table/table_impl.h"

enum {
	STREAK_MIN = 2,             /* blocks read from the disk in a row before reading ahead begins */
};

struct table_iter {
	struct block_iter b; /* first: it is the struct iter */
	struct table *table;
	unsigned flags;
	size_t block_index;   /* of the current block; meaningless when b.block is NULL */
	struct lru_pin pin; /* keeps it, unless it is `view` */

	/* Reading ahead by hints. */
	size_t read_ahead_bytes;
	size_t window_bytes;
	unsigned streak;
	uint64_t hinted_to;

	/* Large reads. */
	struct block view;         /* a block within `ahead` */
	uint8_t *ahead_memory;
	const uint8_t *ahead;      /* ahead_memory, or the file's own */
	uint64_t ahead_offset;
	size_t ahead_bytes;

	void (*done)(void *owner, void *handle);
	void *done_owner, *done_handle;
};

static struct table_iter *of(struct iter *it)
{
	return (struct table_iter *)it;
}
_Static_assert(offsetof(struct table_iter, b) == 0 && offsetof(struct block_iter, it) == 0, "cast by of()");

/* ---- Getting at blocks ------------------------------------------------------------------------ */

static void leave_block(struct table_iter *ti)
{
	block_iter_set(&ti->b, NULL);
	lru_pin_release(&ti->pin);
}

/* Reads whole blocks from the index-th on, as many as the read-ahead holds; it holds the first. */
static enum wombat_status fill_ahead(struct table_iter *ti, size_t i)
{
	struct table *t = ti->table;
	const struct index *x = t->index;
	uint64_t begin = x->offsets[i], end = begin;
	for (; i < x->count; i++) {
		uint64_t block_end = x->offsets[i] + x->sizes[i] + TABLE_BLOCK_TRAILER_SIZE;
		if (block_end - begin > ti->read_ahead_bytes)
			break;
		end = block_end;
	}
	if (!ti->ahead_memory) {
		ti->ahead_memory = mem_alloc(ti->read_ahead_bytes + BLOCK_SLACK);
		if (!ti->ahead_memory)
			return fail_no_memory();
	}
	ti->ahead_bytes = 0;
	enum wombat_status s = t->calls->reader_read(t->reader, begin, (size_t)(end - begin),
		ti->ahead_memory, &ti->ahead);
	if (s != WOMBAT_OK)
		return s;
	ti->ahead_offset = begin;
	ti->ahead_bytes = (size_t)(end - begin);
	table_count_add(t->options.counts, TABLE_BLOCK_READS, 1);
	table_count_add(t->options.counts, TABLE_BLOCK_READ_BYTES, ti->ahead_bytes);
	return WOMBAT_OK;
}

static enum wombat_status block_from_ahead(struct table_iter *ti, size_t i, const struct block **out)
{
	struct table *t = ti->table;
	struct table_handle handle = index_handle(t->index, i);
	uint64_t end = handle.offset + handle.size + TABLE_BLOCK_TRAILER_SIZE;
	if (handle.offset < ti->ahead_offset || end > ti->ahead_offset + ti->ahead_bytes) {
		enum wombat_status s = fill_ahead(ti, i);
		if (s != WOMBAT_OK)
			return s;
	}
	const uint8_t *stored = ti->ahead + (handle.offset - ti->ahead_offset);
	enum table_compression compression;
	enum wombat_status s = table_check_stored(t, handle, stored, table_verifies(t), &compression);
	if (s != WOMBAT_OK)
		return s;
	if (compression != TABLE_COMPRESS_NONE) {
		struct block *block;
		s = table_unpack_block(t, handle, stored, &block);
		if (s == WOMBAT_OK) {
			ti->pin.handle = block;
			*out = block;
		}
		return s;
	}
	const char *fault = block_init(&ti->view, stored, (size_t)handle.size);
	if (fault)
		return table_fail_block(t, handle.offset, fault);
	*out = &ti->view;
	return WOMBAT_OK;
}

/* Bytes of the `blocks` blocks behind the i-th. */
static uint64_t bytes_behind(const struct index *x, size_t i, unsigned blocks)
{
	size_t to = i + 1 + blocks;
	uint64_t end = to < x->count ? x->offsets[to] : index_blocks_end(x);
	return end - x->offsets[i] - x->sizes[i] - TABLE_BLOCK_TRAILER_SIZE;
}

/* Tells the disk what comes behind block i, which was just read as one of a streak. */
static void hint_ahead(struct table_iter *ti, size_t i, unsigned blocks)
{
	struct table *t = ti->table;
	uint64_t from = t->index->offsets[i] + t->index->sizes[i] + TABLE_BLOCK_TRAILER_SIZE;
	uint64_t end = index_blocks_end(t->index);
	if (ti->hinted_to > from + ti->window_bytes / 2)
		return; /* enough is on its way */
	if (ti->hinted_to > from)
		from = ti->hinted_to;
	uint64_t window = ti->window_bytes ? ti->window_bytes * 2 : bytes_behind(t->index, i, blocks);
	ti->window_bytes = (size_t)(window < ti->read_ahead_bytes ? window : ti->read_ahead_bytes);
	uint64_t size = from < end ? end - from : 0;
	if (size > ti->window_bytes)
		size = ti->window_bytes;
	if (size) {
		t->calls->reader_prefetch(t->reader, from, (size_t)size);
		table_count_add(t->options.counts, TABLE_PREFETCHES, 1);
		table_count_add(t->options.counts, TABLE_PREFETCH_BYTES, size);
	}
	ti->hinted_to = from + size;
}

static unsigned prefetch_blocks(const struct table *t)
{
	const struct table_live *live = t->options.live;
	return live ? atomic_load_explicit(&live->prefetch_blocks, memory_order_relaxed) : 0;
}

static enum wombat_status block_by_itself(struct table_iter *ti, size_t i, bool goes_on,
	const struct block **out)
{
	bool was_read;
	enum wombat_status s = table_block_acquire(ti->table, i, ti->flags, &ti->pin, out, &was_read);
	if (s != WOMBAT_OK || !was_read)
		return s;
	if (!goes_on) {
		ti->streak = 0;
		ti->window_bytes = 0;
		ti->hinted_to = 0;
	} else if (ti->read_ahead_bytes && ++ti->streak >= STREAK_MIN) {
		unsigned blocks = prefetch_blocks(ti->table);
		if (blocks)
			hint_ahead(ti, i, blocks);
	}
	return s;
}

/* To the error: not positioned, and `status` says why until the next seek. */
static void stop(struct table_iter *ti, enum wombat_status status)
{
	leave_block(ti);
	ti->b.it.valid = false;
	ti->b.it.status = status;
}

/* Makes the i-th block the current one, before its first entry. `forward`: from the one before it, or
 * wherever reading on is likely. False: stopped by an error. */
static bool enter_block(struct table_iter *ti, size_t i, bool forward)
{
	if (ti->b.block && ti->block_index == i)
		return true;
	bool goes_on = forward && ti->b.block && i == ti->block_index + 1;
	leave_block(ti);
	const struct block *block;
	uint64_t stored_bytes = (uint64_t)ti->table->index->sizes[i] + TABLE_BLOCK_TRAILER_SIZE;
	bool large_reads = (ti->flags & TABLE_READ_SEQUENTIAL) && !(ti->flags & TABLE_READ_CACHED) &&
			   forward && stored_bytes <= ti->read_ahead_bytes;
	enum wombat_status s = large_reads ? block_from_ahead(ti, i, &block)
					   : block_by_itself(ti, i, goes_on, &block);
	if (s != WOMBAT_OK) {
		stop(ti, s);
		return false;
	}
	block_iter_set(&ti->b, block);
	ti->block_index = i;
	/* The next one comes while this one is walked. */
	if (forward && ti->table->hints && i + 1 < ti->table->index->count)
		lru_prefetch_value(&ti->table->hints[i + 1]);
	return true;
}

/* ---- Moves ------------------------------------------------------------------------------------ */

static enum wombat_status fail_here(const struct table_iter *ti, const char *fault)
{
	return table_fail_block(ti->table, ti->table->index->offsets[ti->block_index], fault);
}

/* Ends a move whose last step within a block was `r`, not BLOCK_END unless there is no further block. */
static void settle(struct table_iter *ti, enum block_result r)
{
	ti->b.it.valid = r == BLOCK_AT;
	if (r == BLOCK_BAD)
		stop(ti, fail_here(ti, "damaged entry"));
	else if (r == BLOCK_NO_MEMORY)
		stop(ti, fail_no_memory());
}

static void settle_forward(struct table_iter *ti, enum block_result r)
{
	while (r == BLOCK_END && ti->block_index + 1 < ti->table->index->count) {
		if (!enter_block(ti, ti->block_index + 1, true))
			return;
		r = block_iter_first(&ti->b);
	}
	settle(ti, r);
}

static void settle_backward(struct table_iter *ti, enum block_result r)
{
	while (r == BLOCK_END && ti->block_index > 0) {
		if (!enter_block(ti, ti->block_index - 1, false))
			return;
		r = block_iter_last(&ti->b);
	}
	settle(ti, r);
}

static void begin_seek(struct table_iter *ti)
{
	ti->b.it.status = WOMBAT_OK;
	ti->b.it.valid = false;
}

static void table_iter_first(struct iter *it)
{
	struct table_iter *ti = of(it);
	begin_seek(ti);
	if (ti->table->index->count && enter_block(ti, 0, true))
		settle_forward(ti, block_iter_first(&ti->b));
}

static void table_iter_last(struct iter *it)
{
	struct table_iter *ti = of(it);
	begin_seek(ti);
	size_t count = ti->table->index->count;
	if (count && enter_block(ti, count - 1, false))
		settle_backward(ti, block_iter_last(&ti->b));
}

static void table_iter_seek(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	struct table_iter *ti = of(it);
	begin_seek(ti);
	size_t i = index_find(ti->table->index, key, tag);
	if (i < ti->table->index->count && enter_block(ti, i, true))
		settle_forward(ti, block_iter_seek(&ti->b, key, tag));
}

static void table_iter_seek_before(struct iter *it, struct wombat_slice key, uint64_t tag)
{
	struct table_iter *ti = of(it);
	size_t i = index_find(ti->table->index, key, tag);
	if (i == ti->table->index->count) {
		table_iter_last(it);
		return;
	}
	begin_seek(ti);
	if (enter_block(ti, i, false))
		settle_backward(ti, block_iter_seek_before(&ti->b, key, tag));
}

static void table_iter_next(struct iter *it)
{
	struct table_iter *ti = of(it);
	assert(it->valid);
	enum block_result r = block_iter_next(&ti->b);
	if (__builtin_expect(r != BLOCK_AT, 0))
		settle_forward(ti, r);
}

static void table_iter_prev(struct iter *it)
{
	struct table_iter *ti = of(it);
	assert(it->valid);
	enum block_result r = block_iter_prev(&ti->b);
	if (r != BLOCK_AT)
		settle_backward(ti, r);
}

/* ---- Life ------------------------------------------------------------------------------------- */

static void table_iter_free(struct iter *it)
{
	struct table_iter *ti = of(it);
	leave_block(ti);
	block_iter_done(&ti->b);
	mem_free(ti->ahead_memory);
	if (ti->done)
		ti->done(ti->done_owner, ti->done_handle);
	mem_free(ti);
}

static const struct iter_calls table_iter_calls = {
	.free = table_iter_free,
	.first = table_iter_first,
	.last = table_iter_last,
	.seek = table_iter_seek,
	.seek_before = table_iter_seek_before,
	.next = table_iter_next,
	.prev = table_iter_prev,
};

enum wombat_status table_iter_new(struct table *t, unsigned flags, size_t read_ahead_bytes, struct iter **out)
{
	struct table_iter *ti = mem_alloc(sizeof(*ti));
	if (!ti)
		return fail_no_memory();
	/* Behind the block iterator's buffer, which is large and needs no zeros. */
	memset((uint8_t *)ti + sizeof(ti->b), 0, sizeof(*ti) - sizeof(ti->b));
	block_iter_init(&ti->b);
	ti->b.it.calls = &table_iter_calls;
	ti->table = t;
	ti->flags = flags;
	ti->read_ahead_bytes = read_ahead_bytes;
	*out = &ti->b.it;
	return WOMBAT_OK;
}

void table_iter_on_free(struct iter *it, void (*done)(void *owner, void *handle), void *owner, void *handle)
{
	struct table_iter *ti = of(it);
	assert(it->calls == &table_iter_calls && !ti->done);
	ti->done = done;
	ti->done_owner = owner;
	ti->done_handle = handle;
}
