/*
 * Writes a table from front to back, in one pass.
 *
 *     add       entry -> current block; full: packed, written
 *               key   -> filter hashes, once per distinct key and directory prefix
 *     finish    last block, filter, range tombstones, properties, index, footer, sync
 *
 * A block is cut before the entry that would make it larger than block_bytes, so an unpacked block keeps
 * within its target unless one entry alone is larger; such an entry has a block to itself. A block's index
 * entry waits for the first key of the next, from which a short separator is made.
 *
 * How much of a key the one before has too is found out once per entry and serves four purposes: the order
 * check, the block's shared bytes, and which directory prefixes are new (keys of one directory are
 * neighbours, so a prefix is new when it reaches beyond what is shared), and whether the key is.
 *
 * Values of LARGE_VALUE and more that are not to be packed go to the file without a copy in the block.
 */
#include "engine/table/table_builder.h"

#include <assert.h>
#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/base/record.h"
#include "engine/table/block_builder.h"
#include "engine/table/compress.h"
#include "engine/table/filter.h"
#include "engine/table/footer.h"
#include "engine/table/index.h"
#include "engine/table/prefix.h"
#include "engine/table/properties.h"

enum { LARGE_VALUE = 256 * 1024 };

struct table_builder {
	struct env *env;
	struct env_writer *writer;
	struct table_builder_options options;
	struct block_builder block;
	struct compressor *compressor; /* NULL: blocks stay as they are */
	struct buf scratch;            /* a packed block; a separator; a part on its way out */
	struct index_builder index;
	struct filter_builder filter;
	struct range_del_set ranges;
	struct buf last_key;
	uint64_t last_tag;
	struct table_handle due;       /* of the last block written, when its separator is not yet known */
	bool separator_due;
	uint64_t offset;               /* where the next block goes */
	struct table_summary summary;
	char path[];
};

void table_summary_done(struct table_summary *s)
{
	buf_done(&s->smallest);
	buf_done(&s->largest);
	value_refs_done(&s->values);
}

/* ---- Life ------------------------------------------------------------------------------------- */

static void builder_free(struct table_builder *b)
{
	block_builder_done(&b->block);
	compressor_free(b->compressor);
	buf_done(&b->scratch);
	index_builder_done(&b->index);
	filter_builder_done(&b->filter);
	range_del_set_done(&b->ranges);
	buf_done(&b->last_key);
	table_summary_done(&b->summary);
	mem_free(b);
}

enum wombat_status table_builder_new(struct env *env, const char *path,
	const struct table_builder_options *options, struct table_builder **out)
{
	size_t path_bytes = strlen(path) + 1;
	struct table_builder *b = mem_zalloc(sizeof(*b) + path_bytes);
	if (!b)
		return fail_no_memory();
	b->env = env;
	b->options = *options;
	memcpy(b->path, path, path_bytes);
	block_builder_init(&b->block, options->restart_interval);
	index_builder_init(&b->index);
	range_del_set_init(&b->ranges);
	if (options->bloom_false_positive > 0)
		filter_builder_init(&b->filter, options->bloom_false_positive);
	enum wombat_status s = WOMBAT_OK;
	if (options->compression == TABLE_COMPRESS_ZLIB)
		s = compressor_new(options->compression_level, &b->compressor);
	if (s == WOMBAT_OK)
		s = env->calls->writer_open(env, path, options->write_buffer_bytes,
			options->direct_io ? ENV_DIRECT : 0, &b->writer);
	if (s != WOMBAT_OK) {
		builder_free(b);
		return s;
	}
	*out = b;
	return WOMBAT_OK;
}

/* The failure that led here is what counts; the file's removal is tried. */
void table_builder_abandon(struct table_builder *b)
{
	if (!b)
		return;
	char sentence[512];
	strncpy(sentence, status_detail(), sizeof(sentence) - 1);
	sentence[sizeof(sentence) - 1] = '\0';
	(void)b->env->calls->writer_close(b->writer);
	(void)b->env->calls->remove(b->env, b->path);
	status_set_detail(sentence);
	builder_free(b);
}

/* ---- Blocks ----------------------------------------------------------------------------------- */

static enum wombat_status write_bytes(struct table_builder *b, const void *data, size_t size, uint32_t *crc)
{
	*crc = crc32c(*crc, data, size);
	return b->env->calls->writer_write(b->writer, data, size);
}

static enum wombat_status write_trailer(struct table_builder *b, enum table_compression compression,
	uint32_t crc)
{
	uint8_t trailer[TABLE_BLOCK_TRAILER_SIZE] = { (uint8_t)compression };
	put_u32(trailer + 1, crc32c(crc, trailer, 1));
	return b->env->calls->writer_write(b->writer, trailer, sizeof(trailer));
}

/* `size` bytes and the trailer were written. */
static struct table_handle block_written(struct table_builder *b, uint64_t size)
{
	struct table_handle handle = { b->offset, size };
	b->offset += size + TABLE_BLOCK_TRAILER_SIZE;
	return handle;
}

static enum wombat_status write_block(struct table_builder *b, struct wombat_slice bytes,
	enum table_compression compression, struct table_handle *out)
{
	uint32_t crc = 0;
	enum wombat_status s = write_bytes(b, bytes.data, bytes.size, &crc);
	if (s == WOMBAT_OK)
		s = write_trailer(b, compression, crc);
	if (s == WOMBAT_OK)
		*out = block_written(b, bytes.size);
	return s;
}

static void separator_waits(struct table_builder *b, struct table_handle handle)
{
	b->due = handle;
	b->separator_due = true;
}

static enum wombat_status write_data_block(struct table_builder *b)
{
	struct table_handle handle;
	enum table_compression compression = TABLE_COMPRESS_NONE;
	bool worth = false;
	enum wombat_status s = block_builder_finish(&b->block);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice bytes = buf_slice(&b->block.bytes);
	if (b->compressor) {
		s = compress_block(b->compressor, bytes, &b->scratch, &worth);
		if (s != WOMBAT_OK)
			return s;
	}
	if (worth) {
		bytes = buf_slice(&b->scratch);
		compression = TABLE_COMPRESS_ZLIB;
	}
	s = write_block(b, bytes, compression, &handle);
	if (s != WOMBAT_OK)
		return s;
	separator_waits(b, handle);
	block_builder_clear(&b->block, b->options.block_bytes);
	return WOMBAT_OK;
}

/* A block of one entry whose value is written from where it is. */
static enum wombat_status write_large_entry(struct table_builder *b, struct wombat_slice key, uint64_t tag,
	struct wombat_slice value)
{
	uint8_t tail[BLOCK_ALONE_TAIL_SIZE];
	uint32_t crc = 0;
	enum wombat_status s = block_builder_add_alone(&b->block, key, tag, value.size);
	if (s != WOMBAT_OK)
		return s;
	uint64_t size = b->block.bytes.size + value.size + sizeof(tail);
	block_builder_alone_tail(&b->block, tail);
	s = write_bytes(b, b->block.bytes.data, b->block.bytes.size, &crc);
	if (s == WOMBAT_OK)
		s = write_bytes(b, value.data, value.size, &crc);
	if (s == WOMBAT_OK)
		s = write_bytes(b, tail, sizeof(tail), &crc);
	if (s == WOMBAT_OK)
		s = write_trailer(b, TABLE_COMPRESS_NONE, crc);
	if (s != WOMBAT_OK)
		return s;
	separator_waits(b, block_written(b, size));
	block_builder_clear(&b->block, b->options.block_bytes);
	return WOMBAT_OK;
}

/* Enters the block that waits, now that the entry behind it is known: (key, common) against last_key. */
static enum wombat_status add_separator(struct table_builder *b, struct wombat_slice key, bool same_key)
{
	struct wombat_slice last = buf_slice(&b->last_key);
	b->separator_due = false;
	if (same_key) /* versions of one key on both sides */
		return index_builder_add(&b->index, last, b->last_tag, b->due);
	enum wombat_status s = index_separator(last, key, &b->scratch);
	return s == WOMBAT_OK ? index_builder_add(&b->index, buf_slice(&b->scratch), 0, b->due) : s;
}

/* ---- Adding ----------------------------------------------------------------------------------- */

static enum wombat_status add_to_filter(struct table_builder *b, struct wombat_slice key, size_t common)
{
	enum wombat_status s = filter_builder_add(&b->filter, filter_hash_key(key));
	size_t at = common ? common : 1; /* the keyspace byte is no part of the path */
	while (s == WOMBAT_OK && at < key.size) {
		const uint8_t *slash = memchr(key.data + at, '/', key.size - at);
		if (!slash)
			break;
		at = (size_t)(slash - key.data) + 1;
		s = filter_builder_add(&b->filter, filter_hash_prefix(slice_make(key.data, at)));
	}
	return s;
}

static enum wombat_status account(struct table_builder *b, struct wombat_slice key, uint64_t tag,
	struct wombat_slice value)
{
	struct table_summary *sum = &b->summary;
	uint64_t sequence = tag_sequence(tag);
	if (tag_kind(tag) == KIND_DELETE) {
		sum->deletes++;
	} else {
		struct record record;
		enum wombat_status s = record_decode(value, &record);
		if (s != WOMBAT_OK)
			return s;
		if (record.expiry_ns && (!sum->min_expiry_ns || record.expiry_ns < sum->min_expiry_ns))
			sum->min_expiry_ns = record.expiry_ns;
		if (record.elsewhere)
			s = value_refs_add(&sum->values, (struct value_ref){ record.pointer.file, record_part_size(&record), 1 });
		if (s != WOMBAT_OK)
			return s;
	}
	if (sum->entries == 0 || sequence < sum->smallest_sequence)
		sum->smallest_sequence = sequence;
	if (sequence > sum->largest_sequence)
		sum->largest_sequence = sequence;
	sum->entries++;
	sum->raw_key_bytes += key.size;
	sum->raw_value_bytes += value.size;
	return WOMBAT_OK;
}

/* `common` bytes of last_key are there already. */
static enum wombat_status remember_key(struct table_builder *b, struct wombat_slice key, uint64_t tag,
	size_t common)
{
	b->last_key.size = common;
	b->last_tag = tag;
	return buf_append(&b->last_key, key.data + common, key.size - common);
}

enum wombat_status table_builder_add(struct table_builder *b, struct wombat_slice key, uint64_t tag,
	struct wombat_slice value)
{
	struct wombat_slice last = buf_slice(&b->last_key);
	size_t both = key.size < last.size ? key.size : last.size;
	size_t common = both ? prefix_common(key.data, last.data, both) : 0;
	bool first = b->summary.entries == 0;
	bool same_key = !first && common == key.size && common == last.size;
	bool longer = common == last.size, greater = common < both && key.data[common] > last.data[common];
	if (!first && !(same_key ? tag < b->last_tag : longer || greater))
		return fail(WOMBAT_CORRUPTION, "%s: entry %" PRIu64 " comes out of order", b->path,
			b->summary.entries);
	size_t bound = block_entry_bound(key.size, value.size);
	if (bound > TABLE_BLOCK_MAX / 2)
		return fail(WOMBAT_TOO_BIG, "%s: an entry of %zu bytes is too large for a table", b->path,
			bound);

	enum wombat_status s = account(b, key, tag, value);
	if (s == WOMBAT_OK && first)
		s = buf_set(&b->summary.smallest, key);
	if (s == WOMBAT_OK && !block_builder_empty(&b->block) &&
	    block_builder_bytes(&b->block) + bound > b->options.block_bytes)
		s = write_data_block(b);
	if (s == WOMBAT_OK && b->separator_due)
		s = add_separator(b, key, same_key);
	if (s == WOMBAT_OK && b->options.bloom_false_positive > 0 && !same_key)
		s = add_to_filter(b, key, common);
	if (s == WOMBAT_OK)
		s = remember_key(b, key, tag, common);
	if (s != WOMBAT_OK)
		return s;
	if (value.size >= LARGE_VALUE && value.size > b->options.block_bytes && !b->compressor)
		return write_large_entry(b, key, tag, value);
	s = block_builder_add(&b->block, key, common, tag, value);
	if (s == WOMBAT_OK && block_builder_bytes(&b->block) >= b->options.block_bytes)
		s = write_data_block(b);
	return s;
}

enum wombat_status table_builder_add_range(struct table_builder *b, struct range_del range)
{
	if (slice_compare(range.begin, range.end) >= 0)
		return WOMBAT_OK; /* covers nothing */
	return range_del_set_add(&b->ranges, range);
}

uint64_t table_builder_bytes(const struct table_builder *b)
{
	uint64_t block = block_builder_empty(&b->block) ? 0 : block_builder_bytes(&b->block);
	return b->offset + block + b->index.body.size + filter_builder_bytes(&b->filter);
}

uint64_t table_builder_entries(const struct table_builder *b)
{
	return b->summary.entries + b->ranges.count;
}

/* ---- Finishing -------------------------------------------------------------------------------- */

static enum wombat_status finish_data(struct table_builder *b)
{
	enum wombat_status s = WOMBAT_OK;
	if (!block_builder_empty(&b->block))
		s = write_data_block(b);
	if (s == WOMBAT_OK && b->separator_due) {
		/* Exactly the last key: what lies behind needs no block to be ruled out. */
		b->separator_due = false;
		s = index_builder_add(&b->index, buf_slice(&b->last_key), 0, b->due);
	}
	return s;
}

static enum wombat_status finish_filter(struct table_builder *b, struct table_handle *out)
{
	if (b->filter.count == 0)
		return WOMBAT_OK;
	enum wombat_status s = filter_builder_finish(&b->filter, &b->scratch);
	return s == WOMBAT_OK ? write_block(b, buf_slice(&b->scratch), TABLE_COMPRESS_NONE, out) : s;
}

static enum wombat_status finish_ranges(struct table_builder *b, struct table_handle *out)
{
	if (b->ranges.count == 0)
		return WOMBAT_OK;
	buf_clear(&b->scratch);
	enum wombat_status s = buf_append_varint(&b->scratch, b->ranges.count);
	for (size_t i = 0; i < b->ranges.count && s == WOMBAT_OK; i++) {
		const struct range_del *range = &b->ranges.items[i];
		s = buf_append_slice(&b->scratch, range->begin);
		if (s == WOMBAT_OK)
			s = buf_append_slice(&b->scratch, range->end);
		if (s == WOMBAT_OK)
			s = buf_append_varint(&b->scratch, range->sequence);
	}
	if (s == WOMBAT_OK && b->scratch.size > TABLE_BLOCK_MAX)
		s = fail(WOMBAT_TOO_BIG, "%s: range tombstones of %zu bytes are too large", b->path,
			b->scratch.size);
	return s == WOMBAT_OK ? write_block(b, buf_slice(&b->scratch), TABLE_COMPRESS_NONE, out) : s;
}

/* Widens the summary's bounds and sequences by the range tombstones. */
static enum wombat_status summarize_ranges(struct table_builder *b)
{
	struct table_summary *sum = &b->summary;
	struct wombat_slice smallest = buf_slice(&sum->smallest), largest = buf_slice(&b->last_key);
	bool none = sum->entries == 0;
	for (size_t i = 0; i < b->ranges.count; i++, none = false) {
		const struct range_del *range = &b->ranges.items[i];
		if (none || slice_compare(range->begin, smallest) < 0)
			smallest = range->begin;
		if (none || slice_compare(range->end, largest) > 0) {
			largest = range->end;
			sum->largest_excluded = true;
		}
		if (none || range->sequence < sum->smallest_sequence)
			sum->smallest_sequence = range->sequence;
		if (range->sequence > sum->largest_sequence)
			sum->largest_sequence = range->sequence;
	}
	sum->range_deletes = b->ranges.count;
	enum wombat_status s = buf_set(&sum->largest, largest);
	if (s == WOMBAT_OK && smallest.data != sum->smallest.data)
		s = buf_set(&sum->smallest, smallest);
	return s;
}

static enum wombat_status finish_properties(struct table_builder *b, struct table_handle *out)
{
	const struct table_summary *sum = &b->summary;
	bool filter = b->filter.count != 0;
	struct table_properties properties = {
		.entries = sum->entries,
		.deletes = sum->deletes,
		.range_deletes = sum->range_deletes,
		.raw_key_bytes = sum->raw_key_bytes,
		.raw_value_bytes = sum->raw_value_bytes,
		.smallest_sequence = sum->smallest_sequence,
		.largest_sequence = sum->largest_sequence,
		.min_expiry_ns = sum->min_expiry_ns,
		.created_ns = b->env->calls->now_ns(b->env),
		.data_blocks = b->index.count,
		.compression = b->options.compression,
		.block_bytes = b->options.block_bytes,
		.restart_interval = b->block.restart_interval,
		.filter_kind = filter ? FILTER_KIND_PAGED : 0,
		.filter_probes = filter ? b->filter.plan.probes : 0,
		.filter_bits_per_key_x100 = filter ? b->filter.plan.bits_per_key_x100 : 0,
		.filter_keys = b->filter.count,
	};
	enum wombat_status s = properties_encode(&properties, &b->scratch);
	return s == WOMBAT_OK ? write_block(b, buf_slice(&b->scratch), TABLE_COMPRESS_NONE, out) : s;
}

static enum wombat_status finish_index(struct table_builder *b, struct table_handle *out)
{
	enum wombat_status s = index_builder_finish(&b->index, &b->scratch);
	if (s == WOMBAT_OK && b->scratch.size > TABLE_BLOCK_MAX)
		s = fail(WOMBAT_TOO_BIG, "%s: an index of %zu bytes is too large", b->path, b->scratch.size);
	return s == WOMBAT_OK ? write_block(b, buf_slice(&b->scratch), TABLE_COMPRESS_NONE, out) : s;
}

static enum wombat_status finish_footer(struct table_builder *b, const struct table_footer *footer)
{
	uint8_t bytes[TABLE_FOOTER_SIZE];
	footer_encode(bytes, footer);
	b->offset += sizeof(bytes);
	return b->env->calls->writer_write(b->writer, bytes, sizeof(bytes));
}

static enum wombat_status write_rest(struct table_builder *b)
{
	struct table_footer footer = { 0 };
	enum wombat_status s = finish_data(b);
	if (s == WOMBAT_OK)
		s = finish_filter(b, &footer.filter);
	if (s == WOMBAT_OK)
		s = finish_ranges(b, &footer.ranges);
	if (s == WOMBAT_OK)
		s = summarize_ranges(b);
	if (s == WOMBAT_OK)
		s = finish_properties(b, &footer.properties);
	if (s == WOMBAT_OK)
		s = finish_index(b, &footer.index);
	if (s == WOMBAT_OK)
		s = finish_footer(b, &footer);
	if (s == WOMBAT_OK)
		s = b->env->calls->writer_sync(b->writer);
	return s;
}

enum wombat_status table_builder_finish(struct table_builder *b, struct table_summary *out)
{
	enum wombat_status s = write_rest(b);
	if (s == WOMBAT_OK) {
		s = b->env->calls->writer_close(b->writer);
		b->writer = NULL;
	}
	if (s != WOMBAT_OK) {
		table_builder_abandon(b);
		return s;
	}
	b->summary.file_bytes = b->offset;
	*out = b->summary;
	b->summary = (struct table_summary){ 0 }; /* its keys are the caller's now */
	builder_free(b);
	return WOMBAT_OK;
}
