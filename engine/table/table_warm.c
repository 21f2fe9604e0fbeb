/*
 * The lookup of a key whose table, filter page and block are in memory: what table_get() does with less around it, since
 * within a section of reading neither the filter's page nor the table need be held.
 */
#include "engine/table/table_impl.h"

/* The line in which the bits of `hash` would be; NULL: its page is not in memory. */
static inline const uint8_t *filter_line(const struct table *t, uint64_t hash)
{
	uint32_t line = filter_line_of(t->filter.line_count, hash), page = line / FILTER_PAGE_LINES;
	const uint8_t *lines = lru_peek((struct lru_key){ t->number, page }, &t->filter_hints[page]);
	return lines ? lines + (size_t)(line % FILTER_PAGE_LINES) * FILTER_LINE_SIZE : NULL;
}

/* The i-th block's search, once the filter has not ruled it out. */
static enum wombat_status get_from_block(const struct table *t, size_t i, struct wombat_slice key, uint64_t tag,
	uint64_t *out_tag, struct wombat_slice *out_value, struct lru_pin *pin)
{
	struct lru *cache = t->options.block_cache;
	struct lru_handle *h = lru_hold_hinted((struct lru_key){ t->number, i }, &t->hints[i], cache);
	if (!h)
		return WOMBAT_WOULD_BLOCK;
	const struct block *block = lru_value(h);
	enum block_result r = block_get(block, key, tag, out_tag, out_value);
	if (__builtin_expect(r == BLOCK_AT, 1)) {
		*pin = (struct lru_pin){ h, cache };
		return WOMBAT_OK;
	}
	lru_release(cache, h);
	/* Of damage table_get() has the sentence. */
	return r == BLOCK_END ? WOMBAT_NOT_FOUND : WOMBAT_WOULD_BLOCK;
}

enum wombat_status table_get_warm(const struct table *t, struct wombat_slice key, uint64_t hash,
	uint64_t max_sequence, struct table_warm_counts *counts, uint64_t *out_tag, struct wombat_slice *out_value,
	struct lru_pin *pin)
{
	const uint8_t *line = NULL;
	uint64_t tag = tag_make(t->sequence ? SEQUENCE_MAX : max_sequence, 0xff);
	if (max_sequence < t->sequence)
		return WOMBAT_NOT_FOUND;
	if (!t->hints || (t->filter.line_count && !t->filter_hints))
		return WOMBAT_WOULD_BLOCK;
	if (t->filter.line_count) {
		line = filter_line(t, hash);
		if (!line)
			return WOMBAT_WOULD_BLOCK;
		__builtin_prefetch(line);
	}
	size_t i = index_find(t->index, key, tag);
	if (line)
		counts->filter_pages++;
	if (i == t->index->count)
		return WOMBAT_NOT_FOUND;
	lru_prefetch_value(&t->hints[i]);
	if (line) {
		counts->filters++;
		if (!filter_line_may_contain(&t->filter, line, hash)) {
			counts->filters_useful++;
			return WOMBAT_NOT_FOUND;
		}
	}
	enum wombat_status s = get_from_block(t, i, key, tag, out_tag, out_value, pin);
	counts->blocks++;
	if (s == WOMBAT_OK && t->sequence)
		*out_tag = tag_make(t->sequence, tag_kind(*out_tag));
	return s;
}

void table_count_warm(const struct table_options *options, const struct table_warm_counts *counts)
{
	if (counts->filter_pages)
		lru_count_hits(options->filter_cache, counts->filter_pages);
	if (counts->blocks)
		lru_count_hits(options->block_cache, counts->blocks);
	if (counts->filters)
		table_count_add(options->counts, TABLE_FILTER_CHECKS, counts->filters);
	if (counts->filters_useful)
		table_count_add(options->counts, TABLE_FILTER_USEFUL, counts->filters_useful);
}
