/*
 * Verification of a whole table. Opening it has checked footer, properties, index and range tombstones; what is left
 * is the filter, every data block, and whether the parts agree with each other:
 *
 *   1. each block's checksum holds and its entries decode;
 *   2. entries ascend, in and between blocks;
 *   3. each entry lies at or before its block's separator and behind the one before;
 *   4. each value of a put is a record;
 *   5. the filter knows each key and each of its directory prefixes;
 *   6. the properties count what is there.
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/record.h"
#include "engine/table/table_impl.h"

struct check {
	struct table *t;
	void (*report)(void *arg, const char *sentence);
	void *arg;
	uint64_t findings;
	bool block_missing; /* counts cannot be compared */
	struct buf last_key;
	uint64_t last_tag;
	bool has_last;
	struct table_properties seen;
	const uint8_t *filter_lines; /* all of them, from the disk; NULL: none, or damaged */
};

static void finding(struct check *c, uint64_t offset, const char *fault)
{
	char sentence[512];
	c->findings++;
	snprintf(sentence, sizeof(sentence), "%s: block at %" PRIu64 ": %s", c->t->path, offset, fault);
	c->report(c->arg, sentence);
}

/* Reads the whole filter past the cache; also one of a kind that is not known, whose checksum is. */
static enum wombat_status load_filter(struct check *c, void **out_memory)
{
	struct table *t = c->t;
	struct wombat_slice bytes;
	*out_memory = NULL;
	if (!t->filter_handle.size)
		return WOMBAT_OK;
	enum wombat_status s = table_read_part(t, "filter", t->filter_handle, &bytes, out_memory);
	if (s == WOMBAT_CORRUPTION) {
		c->findings++;
		c->report(c->arg, status_detail());
		return WOMBAT_OK;
	}
	if (s != WOMBAT_OK)
		return s;
	c->filter_lines = t->filter.line_count ? bytes.data : NULL;
	for (uint32_t page = 0; page < filter_page_count(&t->filter); page++)
		if (!filter_page_valid(&t->filter, page, bytes.data + (size_t)page * FILTER_PAGE_SIZE))
			finding(c, t->filter_handle.offset + (uint64_t)page * FILTER_PAGE_SIZE,
				"the checksum of a page of the filter is wrong");
	return WOMBAT_OK;
}

static bool filter_has(const struct check *c, uint64_t hash)
{
	const struct filter *f = &c->t->filter;
	uint32_t line = filter_line_of(f->line_count, hash);
	return filter_line_may_contain(f, c->filter_lines + (size_t)line * FILTER_LINE_SIZE, hash);
}

static void check_filter(struct check *c, struct wombat_slice key, uint64_t offset)
{
	if (!c->filter_lines)
		return;
	if (!filter_has(c, filter_hash_key(key)))
		finding(c, offset, "a key is missing from the filter");
	for (size_t i = 1; i < key.size; i++) {
		if (key.data[i] != '/')
			continue;
		if (!filter_has(c, filter_hash_prefix(slice_make(key.data, i + 1))))
			finding(c, offset, "a directory prefix is missing from the filter");
	}
}

static void check_value(struct check *c, const struct iter *it, uint64_t offset)
{
	struct record record;
	if (tag_kind(it->tag) == KIND_DELETE) {
		c->seen.deletes++;
		return;
	}
	if (tag_kind(it->tag) != KIND_PUT) {
		finding(c, offset, "an entry of unknown kind");
		return;
	}
	if (record_decode(it->value, &record) != WOMBAT_OK) {
		finding(c, offset, "a value is not a record");
		return;
	}
	if (record.expiry_ns && (!c->seen.min_expiry_ns || record.expiry_ns < c->seen.min_expiry_ns))
		c->seen.min_expiry_ns = record.expiry_ns;
}

static enum wombat_status check_entry(struct check *c, const struct iter *it, size_t block_index)
{
	const struct index *x = c->t->index;
	uint64_t offset = x->offsets[block_index];
	if (c->has_last && ikey_compare_parts(buf_slice(&c->last_key), c->last_tag, it->key, it->tag) >= 0)
		finding(c, offset, "entries out of order");
	if (index_compare(x, block_index, it->key, it->tag) < 0)
		finding(c, offset, "an entry lies behind the block's separator");
	if (block_index && index_compare(x, block_index - 1, it->key, it->tag) >= 0)
		finding(c, offset, "an entry lies before the last block's separator");
	check_value(c, it, offset);
	if (!c->has_last || !slice_equal(buf_slice(&c->last_key), it->key))
		check_filter(c, it->key, offset);
	uint64_t sequence = tag_sequence(it->tag);
	if (!c->has_last || sequence < c->seen.smallest_sequence)
		c->seen.smallest_sequence = sequence;
	if (sequence > c->seen.largest_sequence)
		c->seen.largest_sequence = sequence;
	c->seen.entries++;
	c->seen.raw_key_bytes += it->key.size;
	c->seen.raw_value_bytes += it->value.size;
	c->has_last = true;
	c->last_tag = it->tag;
	return buf_set(&c->last_key, it->key);
}

static enum wombat_status check_block(struct check *c, struct block_iter *b, size_t i)
{
	struct block *block;
	uint64_t offset = c->t->index->offsets[i];
	enum wombat_status s = table_read_block(c->t, index_handle(c->t->index, i), true, NULL, &block);
	if (s == WOMBAT_CORRUPTION) {
		c->findings++;
		c->block_missing = true;
		c->report(c->arg, status_detail());
		return WOMBAT_OK;
	}
	if (s != WOMBAT_OK)
		return s;
	block_iter_set(b, block);
	enum block_result r = block_iter_first(b);
	while (r == BLOCK_AT && s == WOMBAT_OK) {
		s = check_entry(c, &b->it, i);
		if (s == WOMBAT_OK)
			r = block_iter_next(b);
	}
	if (s == WOMBAT_OK && r == BLOCK_NO_MEMORY)
		s = fail_no_memory();
	if (r == BLOCK_BAD) {
		finding(c, offset, "damaged entry");
		c->block_missing = true;
	}
	block_iter_set(b, NULL);
	lru_pin_release(&(struct lru_pin){ block, NULL });
	return s;
}

static void check_count(struct check *c, const char *name, uint64_t counted, uint64_t stored)
{
	char sentence[512];
	if (counted == stored)
		return;
	c->findings++;
	snprintf(sentence, sizeof(sentence), "%s: properties: %s is %" PRIu64 ", but %" PRIu64 " were found",
		c->t->path, name, stored, counted);
	c->report(c->arg, sentence);
}

static void check_counts(struct check *c)
{
	const struct table_properties *stored = &c->t->properties;
	const struct range_fragments *ranges = c->t->ranges;
	for (size_t i = 0; i < range_fragments_count(ranges); i++) {
		const struct range_fragment *f = range_fragments_at(ranges, i);
		uint64_t oldest = f->sequences[f->count - 1];
		if (!c->has_last || oldest < c->seen.smallest_sequence)
			c->seen.smallest_sequence = oldest;
		if (f->sequences[0] > c->seen.largest_sequence)
			c->seen.largest_sequence = f->sequences[0];
		c->has_last = true;
	}
	check_count(c, "entries", c->seen.entries, stored->entries);
	check_count(c, "deletes", c->seen.deletes, stored->deletes);
	check_count(c, "raw_key_bytes", c->seen.raw_key_bytes, stored->raw_key_bytes);
	check_count(c, "raw_value_bytes", c->seen.raw_value_bytes, stored->raw_value_bytes);
	check_count(c, "smallest_sequence", c->seen.smallest_sequence, stored->smallest_sequence);
	check_count(c, "largest_sequence", c->seen.largest_sequence, stored->largest_sequence);
	check_count(c, "min_expiry_ns", c->seen.min_expiry_ns, stored->min_expiry_ns);
	check_count(c, "data_blocks", c->t->index->count, stored->data_blocks);
}

enum wombat_status table_check(struct table *t, void (*report)(void *arg, const char *sentence), void *arg)
{
	struct check c = { .t = t, .report = report, .arg = arg };
	struct block_iter b;
	block_iter_init(&b);
	void *filter_memory;
	enum wombat_status s = load_filter(&c, &filter_memory);
	for (size_t i = 0; i < t->index->count && s == WOMBAT_OK; i++)
		s = check_block(&c, &b, i);
	if (s == WOMBAT_OK && !c.block_missing)
		check_counts(&c);
	block_iter_done(&b);
	buf_done(&c.last_key);
	mem_free(filter_memory);
	if (s == WOMBAT_OK && c.findings)
		s = fail(WOMBAT_CORRUPTION, "%s: %" PRIu64 " findings", t->path, c.findings);
	return s;
}
