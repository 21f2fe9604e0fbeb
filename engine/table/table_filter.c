/*
 * A table's filter, of which only what is asked for comes to memory.
 *
 * Opening a table reads the end of the filter block: its shape and a checksum for each page of lines. A page is read
 * when a hash falls into it, checked, and kept in the filter cache beside those of all other tables; so many tables can
 * be open at the cost of the pages that are in use. A hit costs what one of a data block does: a hint, and no lock.
 *
 * A filter can only spare work. So a page that cannot be had, for whatever reason, rules nothing out: the lookup goes on
 * to the block, which says what is there. Such pages are counted.
 */
#include <assert.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/table/table_impl.h"

/* ---- Opening ---------------------------------------------------------------------------------- */

static enum wombat_status read_end(struct table *t, struct table_handle handle, size_t size, uint8_t *memory)
{
	const uint8_t *bytes;
	size_t with_trailer = size + TABLE_BLOCK_TRAILER_SIZE;
	enum wombat_status s = t->calls->reader_read(t->reader, handle.offset + handle.size - size, with_trailer, memory,
		&bytes);
	if (s == WOMBAT_OK && bytes != memory)
		memcpy(memory, bytes, with_trailer);
	return s;
}

enum wombat_status table_filter_open(struct table *t, struct table_handle handle)
{
	if (handle.size == 0)
		return WOMBAT_OK;
	size_t size = filter_end_size(handle.size);
	uint8_t *memory = mem_alloc(size + TABLE_BLOCK_TRAILER_SIZE);
	if (!memory)
		return fail_no_memory();
	t->filter_memory = memory;
	t->filter_handle = handle;
	t->memory_bytes += size;
	enum wombat_status s = read_end(t, handle, size, memory);
	if (s != WOMBAT_OK)
		return s;
	const char *fault = memory[size] == TABLE_COMPRESS_NONE ?
		filter_init(&t->filter, slice_make(memory, size), handle.size) : "it is packed";
	if (fault)
		return fail(WOMBAT_CORRUPTION, "%s: filter: %s", t->path, fault);
	if (!t->filter.line_count || !t->options.filter_cache)
		return WOMBAT_OK;
	size_t hints_bytes = filter_page_count(&t->filter) * sizeof *t->filter_hints;
	t->filter_hints = mem_zalloc(hints_bytes);
	t->memory_bytes += hints_bytes;
	return t->filter_hints ? WOMBAT_OK : fail_no_memory();
}

void table_filter_close(struct table *t)
{
	mem_free(t->filter_hints);
	mem_free(t->filter_memory);
}

/* ---- Asking ----------------------------------------------------------------------------------- */

static struct lru_key key_of(const struct table *t, uint32_t page)
{
	return (struct lru_key){ t->number, page };
}

/* A page in memory of its own; NULL: it cannot be had. */
static uint8_t *read_page(struct table *t, uint32_t page)
{
	size_t size = filter_page_size(&t->filter, page);
	uint8_t *memory = lru_alloc(t->options.filter_cache, size);
	const uint8_t *bytes;
	if (!memory)
		return NULL;
	table_count_add(t->options.counts, TABLE_FILTER_PAGE_READS, 1);
	uint64_t offset = t->filter_handle.offset + (uint64_t)page * FILTER_PAGE_SIZE;
	if (t->calls->reader_read(t->reader, offset, size, memory, &bytes) != WOMBAT_OK) {
		mem_free(memory);
		return NULL;
	}
	if (bytes != memory)
		memcpy(memory, bytes, size);
	if (!filter_page_valid(&t->filter, page, memory)) {
		table_count_add(t->options.counts, TABLE_CHECKSUM_FAILURES, 1);
		mem_free(memory);
		return NULL;
	}
	return memory;
}

/* The page that the cache lacks: read, and given to the cache if there is one. */
static const uint8_t *load_page(struct table *t, uint32_t page, struct lru_pin *pin)
{
	uint8_t *memory = read_page(t, page);
	if (!memory) {
		table_count_add(t->options.counts, TABLE_FILTER_PAGE_FAILURES, 1);
		return NULL;
	}
	struct lru *cache = t->options.filter_cache;
	struct lru_handle *h = cache ?
		lru_insert(cache, key_of(t, page), memory, filter_page_size(&t->filter, page), mem_free) : NULL;
	*pin = h ? (struct lru_pin){ h, cache } : (struct lru_pin){ memory, NULL };
	return h ? lru_value(h) : memory;
}

const uint8_t *table_filter_line(struct table *t, uint64_t hash, unsigned flags, struct lru_pin *pin)
{
	assert(!pin->handle);
	if (!t->filter.line_count)
		return NULL;
	uint32_t line = filter_line_of(t->filter.line_count, hash), page = line / FILTER_PAGE_LINES;
	struct lru_handle *h = t->filter_hints ?
		lru_lookup_hinted(t->options.filter_cache, key_of(t, page), &t->filter_hints[page]) : NULL;
	const uint8_t *lines;
	if (h) {
		*pin = (struct lru_pin){ h, t->options.filter_cache };
		lines = lru_value(h);
	} else {
		lines = flags & TABLE_READ_CACHED ? NULL : load_page(t, page, pin);
	}
	return lines ? lines + (size_t)(line % FILTER_PAGE_LINES) * FILTER_LINE_SIZE : NULL;
}

void table_filter_forget(struct table *t)
{
	if (!t->filter_hints)
		return;
	for (uint32_t page = 0; page < filter_page_count(&t->filter); page++)
		lru_erase(t->options.filter_cache, key_of(t, page));
}
