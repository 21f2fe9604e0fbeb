/*
 * Opening a table and finding a key in it.
 *
 * A lookup goes index, filter, block cache, block: the first is arrays in memory, the second rules out most tables
 * that lack the key for one cache miss. Because a
 * separator carries a tag where versions of one key are spread over blocks (index.h), the block that the
 * index names is the only one to look into.
 */
#include "engine/table/table.h"

#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/table/table_impl.h"

/* ---- Open ------------------------------------------------------------------------------------- */

static enum wombat_status read_footer(struct table *t, struct table_footer *out)
{
	uint8_t scratch[TABLE_FOOTER_SIZE];
	const uint8_t *bytes;
	t->file_bytes = t->calls->reader_size(t->reader);
	if (t->file_bytes < TABLE_FOOTER_SIZE)
		return fail(WOMBAT_CORRUPTION, "%s: %" PRIu64 " bytes are too few for a table", t->path,
			t->file_bytes);
	enum wombat_status s = t->calls->reader_read(t->reader, t->file_bytes - TABLE_FOOTER_SIZE,
		sizeof(scratch), scratch, &bytes);
	return s == WOMBAT_OK ? footer_decode(bytes, t->file_bytes, t->path, out) : s;
}

static enum wombat_status load_properties(struct table *t, struct table_handle handle)
{
	struct wombat_slice bytes;
	void *memory;
	enum wombat_status s = table_read_part(t, "properties", handle, &bytes, &memory);
	if (s != WOMBAT_OK)
		return s;
	const char *fault = properties_decode(bytes, &t->properties);
	mem_free(memory);
	return fault ? fail(WOMBAT_CORRUPTION, "%s: properties: %s", t->path, fault) : WOMBAT_OK;
}

static enum wombat_status load_index(struct table *t, struct table_handle handle)
{
	struct wombat_slice bytes;
	void *memory;
	enum wombat_status s = table_read_part(t, "index", handle, &bytes, &memory);
	if (s != WOMBAT_OK)
		return s;
	s = index_new(bytes, t->file_bytes - TABLE_FOOTER_SIZE, t->path, &t->index);
	mem_free(memory);
	if (s != WOMBAT_OK || !t->options.block_cache)
		return s;
	t->hints = mem_zalloc(t->index->count * sizeof *t->hints);
	t->memory_bytes += t->index->count * sizeof *t->hints;
	return t->hints ? WOMBAT_OK : fail_no_memory();
}

/* The block is: count varint | (begin | end | sequence varint)*, keys as varint length and bytes. */
enum wombat_status table_decode_ranges(struct table *t, struct wombat_slice bytes, struct range_del_set *set)
{
	struct cursor c = cursor_of(bytes);
	uint64_t count;
	if (!cursor_varint(&c, &count))
		goto bad;
	for (uint64_t i = 0; i < count; i++) {
		struct range_del range;
		if (!cursor_slice(&c, &range.begin) || !cursor_slice(&c, &range.end) ||
		    !cursor_varint(&c, &range.sequence) || range.sequence > SEQUENCE_MAX ||
		    slice_compare(range.begin, range.end) >= 0)
			goto bad;
		enum wombat_status s = range_del_set_add(set, range);
		if (s != WOMBAT_OK)
			return s;
	}
	if (cursor_left(&c) == 0)
		return WOMBAT_OK;
bad:
	return fail(WOMBAT_CORRUPTION, "%s: range tombstones: malformed", t->path);
}

static enum wombat_status load_ranges(struct table *t, struct table_handle handle)
{
	if (handle.size == 0)
		return WOMBAT_OK;
	struct wombat_slice bytes;
	void *memory;
	enum wombat_status s = table_read_part(t, "range tombstones", handle, &bytes, &memory);
	if (s != WOMBAT_OK)
		return s;
	struct range_del_set set;
	range_del_set_init(&set);
	s = table_decode_ranges(t, bytes, &set);
	if (s == WOMBAT_OK)
		s = range_fragments_build(&set, &t->ranges);
	t->memory_bytes += 2 * bytes.size;
	range_del_set_done(&set);
	mem_free(memory);
	return s;
}

static enum wombat_status load(struct table *t)
{
	struct table_footer footer;
	enum wombat_status s = read_footer(t, &footer);
	if (s == WOMBAT_OK)
		s = load_properties(t, footer.properties);
	if (s == WOMBAT_OK)
		s = load_index(t, footer.index);
	if (s == WOMBAT_OK)
		s = table_filter_open(t, footer.filter);
	if (s == WOMBAT_OK)
		s = load_ranges(t, footer.ranges);
	if (s == WOMBAT_OK)
		t->memory_bytes += t->index->memory_bytes;
	return s;
}

enum wombat_status table_open(struct env *env, const char *path, uint64_t number,
	const struct table_options *options, struct table **out)
{
	size_t path_bytes = strlen(path) + 1;
	struct table *t = mem_zalloc(sizeof(*t) + path_bytes);
	if (!t)
		return fail_no_memory();
	t->calls = env->calls;
	t->options = *options;
	t->number = number;
	t->memory_bytes = sizeof(*t) + path_bytes;
	memcpy(t->path, path, path_bytes);
	enum wombat_status s = t->calls->reader_open(env, path, options->env_flags, &t->reader);
	if (s == WOMBAT_OK)
		s = load(t);
	if (s != WOMBAT_OK) {
		table_close(t);
		return s;
	}
	*out = t;
	return WOMBAT_OK;
}

void table_close(struct table *t)
{
	if (!t)
		return;
	range_fragments_unref(t->ranges);
	table_filter_close(t);
	mem_free(t->hints);
	index_free(t->index);
	t->calls->reader_close(t->reader);
	mem_free(t);
}

size_t table_memory_bytes(const struct table *t)
{
	return t->memory_bytes;
}

struct range_fragments *table_range_dels(const struct table *t)
{
	return t->ranges;
}

const struct table_properties *table_properties_of(const struct table *t)
{
	return &t->properties;
}

void table_forget_blocks(struct table *t)
{
	for (size_t i = 0; i < t->index->count; i++) {
		if (t->options.block_cache)
			lru_erase(t->options.block_cache, (struct lru_key){ t->number, i });
		if (packed_cache_on(t->options.packed_cache))
			packed_cache_erase(t->options.packed_cache, (struct lru_key){ t->number, i });
	}
	table_filter_forget(t);
}

uint64_t table_offset_of(struct table *t, struct wombat_slice key)
{
	size_t i = index_find(t->index, key, TAG_MAX);
	return i < t->index->count ? t->index->offsets[i] : index_blocks_end(t->index);
}

enum wombat_status table_sample(struct table *t, size_t max,
	enum wombat_status (*each)(void *arg, struct wombat_slice key, uint64_t bytes), void *arg)
{
	struct buf key = { 0 };
	size_t count = t->index->count < max ? t->index->count : max;
	uint64_t from = 0;
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 1; i <= count && s == WOMBAT_OK; i++) {
		size_t last = t->index->count * i / count - 1;
		struct table_handle block = index_handle(t->index, last);
		uint64_t end = block.offset + block.size;
		s = index_key(t->index, last, &key);
		if (s == WOMBAT_OK)
			s = each(arg, buf_slice(&key), end - from);
		from = end;
	}
	buf_done(&key);
	return s;
}

/* ---- Get -------------------------------------------------------------------------------------- */

/* Whether the filter rules the hash out by its line, counted. Lets go of the line; NULL: there was none to be had. */
static bool ruled_out(struct table *t, const uint8_t *line, struct lru_pin *pin, uint64_t hash,
	enum table_count checks, enum table_count useful)
{
	if (!line)
		return false;
	table_count_add(t->options.counts, checks, 1);
	bool out = !filter_line_may_contain(&t->filter, line, hash);
	lru_pin_release(pin);
	if (out)
		table_count_add(t->options.counts, useful, 1);
	return out;
}

void table_set_sequence(struct table *t, uint64_t sequence)
{
	t->sequence = sequence;
}

static enum wombat_status get(struct table *t, struct wombat_slice key, uint64_t max_sequence, unsigned flags,
	uint64_t *out_tag, struct wombat_slice *out_value, struct lru_pin *pin)
{
	/* The filter's line comes from memory while the index is searched, the cache entry while the line is tested. */
	uint64_t hash = 0, tag = tag_make(max_sequence, 0xff);
	struct lru_pin filter_pin = { 0 };
	const uint8_t *line = NULL;
	if (t->filter.line_count) {
		hash = filter_hash_key(key);
		line = table_filter_line(t, hash, flags, &filter_pin);
		if (line)
			__builtin_prefetch(line);
	}
	size_t i = index_find(t->index, key, tag);
	if (i == t->index->count) {
		lru_pin_release(&filter_pin);
		return WOMBAT_NOT_FOUND;
	}
	if (t->hints)
		lru_prefetch_value(&t->hints[i]);
	if (ruled_out(t, line, &filter_pin, hash, TABLE_FILTER_CHECKS, TABLE_FILTER_USEFUL))
		return WOMBAT_NOT_FOUND;
	const struct block *block;
	enum wombat_status s = table_block_acquire(t, i, flags, pin, &block, NULL);
	if (s != WOMBAT_OK)
		return s;
	enum block_result r = block_get(block, key, tag, out_tag, out_value);
	if (__builtin_expect(r == BLOCK_AT, 1))
		return WOMBAT_OK;
	lru_pin_release(pin);
	return r == BLOCK_END ? WOMBAT_NOT_FOUND : table_fail_block(t, t->index->offsets[i], "damaged entry");
}

enum wombat_status table_get(struct table *t, struct wombat_slice key, uint64_t max_sequence, unsigned flags,
	uint64_t *out_tag, struct wombat_slice *out_value, struct lru_pin *pin)
{
	if (__builtin_expect(t->sequence == 0, 1))
		return get(t, key, max_sequence, flags, out_tag, out_value, pin);
	if (max_sequence < t->sequence)
		return WOMBAT_NOT_FOUND;
	enum wombat_status s = get(t, key, SEQUENCE_MAX, flags, out_tag, out_value, pin);
	if (s == WOMBAT_OK)
		*out_tag = tag_make(t->sequence, tag_kind(*out_tag));
	return s;
}

bool table_may_have_prefix(struct table *t, struct wombat_slice prefix)
{
	enum { SHORTEST = 2 }; /* the keyspace byte is not a part of the path, even when it reads as '/' */
	if (!t->filter.line_count || prefix.size < SHORTEST || prefix.data[prefix.size - 1] != '/')
		return true;
	struct lru_pin pin = { 0 };
	uint64_t hash = filter_hash_prefix(prefix);
	const uint8_t *line = table_filter_line(t, hash, 0, &pin);
	return !ruled_out(t, line, &pin, hash, TABLE_PREFIX_CHECKS, TABLE_PREFIX_USEFUL);
}
