/*
 * From the disk to memory: reads a block, checks its trailer, unpacks it, and keeps data blocks in the
 * block cache.
 *
 * A block in the cache is one allocation: struct block, the bytes, and BLOCK_SLACK zeros. Unpacked bytes
 * are read straight to where they stay; the trailer comes along and lies in the slack. Nothing in a cached
 * block points to its table, so a pinned value outlives the table's closing.
 *
 * A block's key in the cache is the number of the table, which is never used for another file, and its place in the
 * index.
 */
#include <assert.h>
#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/table/compress.h"
#include "engine/table/table_impl.h"

_Static_assert((int)BLOCK_SLACK >= (int)BLOCK_SHORT_COPY && (int)BLOCK_SLACK >= (int)TABLE_BLOCK_TRAILER_SIZE,
	"short copies and the trailer end in the slack");
_Static_assert((int)TABLE_FOOTER_SIZE >= (int)BLOCK_SLACK,
	"behind any block in the file there is as much as the slack");

void table_count_add(struct table_counts *counts, enum table_count which, uint64_t n)
{
	if (!counts)
		return;
	unsigned stripe = stripe_of_thread();
	stripe_add(&counts->stripe[stripe].n[which], stripe, n);
}

void table_counts_read(const struct table_counts *counts, struct table_totals *out)
{
	uint64_t sum[TABLE_COUNTS] = { 0 };
	for (unsigned s = 0; s < STRIPES; s++)
		for (unsigned i = 0; i < TABLE_COUNTS; i++)
			sum[i] += atomic_load_explicit(&counts->stripe[s].n[i], memory_order_relaxed);
	*out = (struct table_totals){
		.filter_checks = sum[TABLE_FILTER_CHECKS],
		.filter_useful = sum[TABLE_FILTER_USEFUL],
		.prefix_checks = sum[TABLE_PREFIX_CHECKS],
		.prefix_useful = sum[TABLE_PREFIX_USEFUL],
		.block_reads = sum[TABLE_BLOCK_READS],
		.block_read_bytes = sum[TABLE_BLOCK_READ_BYTES],
		.checksum_failures = sum[TABLE_CHECKSUM_FAILURES],
		.prefetches = sum[TABLE_PREFETCHES],
		.prefetch_bytes = sum[TABLE_PREFETCH_BYTES],
		.filter_page_reads = sum[TABLE_FILTER_PAGE_READS],
		.filter_page_failures = sum[TABLE_FILTER_PAGE_FAILURES],
	};
}

enum wombat_status table_fail_block(struct table *t, uint64_t offset, const char *fault)
{
	return fail(WOMBAT_CORRUPTION, "%s: block at %" PRIu64 ": %s", t->path, offset, fault);
}

enum wombat_status table_check_stored(struct table *t, struct table_handle handle, const uint8_t *stored,
	bool verify, enum table_compression *out_compression)
{
	const uint8_t *trailer = stored + handle.size;
	if (verify) {
		uint32_t computed = crc32c(0, stored, (size_t)handle.size + 1);
		uint32_t expected = get_u32(trailer + 1);
		if (computed != expected) {
			table_count_add(t->options.counts, TABLE_CHECKSUM_FAILURES, 1);
			return fail(WOMBAT_CORRUPTION, "%s: block at %" PRIu64 ": checksum %08x, stored %08x",
				t->path, handle.offset, computed, expected);
		}
	}
	if (*trailer > TABLE_COMPRESS_ZLIB)
		return table_fail_block(t, handle.offset, "unknown compression");
	*out_compression = (enum table_compression)*trailer;
	return WOMBAT_OK;
}

/* Reads a block with its trailer into `memory`, which has room for both. */
static enum wombat_status read_stored(struct table *t, struct table_handle handle, uint8_t *memory)
{
	const uint8_t *bytes;
	size_t size = (size_t)handle.size + TABLE_BLOCK_TRAILER_SIZE;
	enum wombat_status s = t->calls->reader_read(t->reader, handle.offset, size, memory, &bytes);
	if (s != WOMBAT_OK)
		return s;
	if (bytes != memory) /* a mapped file: copied, so that blocks need no open table */
		memcpy(memory, bytes, size);
	table_count_add(t->options.counts, TABLE_BLOCK_READS, 1);
	table_count_add(t->options.counts, TABLE_BLOCK_READ_BYTES, size);
	return WOMBAT_OK;
}

static struct block *block_alloc(const struct table *t, size_t size)
{
	struct block *b = lru_alloc(t->options.block_cache, sizeof(*b) + size + BLOCK_SLACK);
	if (b)
		memset((uint8_t *)(b + 1) + size, 0, BLOCK_SLACK);
	return b;
}

/* Takes `b`, whose bytes are there. */
static enum wombat_status block_ready(struct table *t, uint64_t offset, struct block *b, size_t size,
	struct block **out)
{
	const char *fault = block_init(b, (const uint8_t *)(b + 1), size);
	if (fault) {
		mem_free(b);
		return table_fail_block(t, offset, fault);
	}
	b->charge_bytes = sizeof(*b) + size + BLOCK_SLACK;
	*out = b;
	return WOMBAT_OK;
}

static enum wombat_status unpack(struct table *t, uint64_t offset, struct wombat_slice packed, uint8_t *out,
	size_t size)
{
	enum wombat_status s = uncompress_block(packed, out, size);
	if (s == WOMBAT_CORRUPTION)
		return table_fail_block(t, offset, "cannot be unpacked");
	return s == WOMBAT_NO_MEMORY ? fail_no_memory() : s;
}

enum wombat_status table_unpack_block(struct table *t, struct table_handle handle, const uint8_t *stored,
	struct block **out)
{
	size_t size;
	struct wombat_slice packed;
	if (!compress_raw_size(slice_make(stored, (size_t)handle.size), &size, &packed))
		return table_fail_block(t, handle.offset, "impossible unpacked size");
	struct block *b = block_alloc(t, size);
	if (!b)
		return fail_no_memory();
	enum wombat_status s = unpack(t, handle.offset, packed, (uint8_t *)(b + 1), size);
	if (s != WOMBAT_OK) {
		mem_free(b);
		return s;
	}
	return block_ready(t, handle.offset, b, size, out);
}

enum wombat_status table_read_block(struct table *t, struct table_handle handle, bool verify,
	const struct lru_key *keep_as, struct block **out)
{
	struct block *b = block_alloc(t, (size_t)handle.size);
	if (!b)
		return fail_no_memory();
	uint8_t *stored = (uint8_t *)(b + 1);
	enum table_compression compression;
	enum wombat_status s = read_stored(t, handle, stored);
	if (s == WOMBAT_OK)
		s = table_check_stored(t, handle, stored, verify, &compression);
	struct wombat_slice bytes = slice_make(stored, (size_t)handle.size);
	if (s == WOMBAT_OK && compression == TABLE_COMPRESS_NONE) {
		if (keep_as)
			packed_cache_pack(t->options.packed_cache, *keep_as, bytes);
		return block_ready(t, handle.offset, b, (size_t)handle.size, out);
	}
	if (s == WOMBAT_OK)
		s = table_unpack_block(t, handle, stored, out);
	if (s == WOMBAT_OK && keep_as)
		packed_cache_keep(t->options.packed_cache, *keep_as, bytes);
	mem_free(b);
	return s;
}

enum wombat_status table_read_part(struct table *t, const char *part, struct table_handle handle,
	struct wombat_slice *out, void **out_memory)
{
	uint8_t *stored = mem_alloc_aligned((size_t)handle.size + TABLE_BLOCK_TRAILER_SIZE);
	if (!stored)
		return fail_no_memory();
	enum table_compression compression;
	enum wombat_status s = read_stored(t, handle, stored);
	if (s == WOMBAT_OK)
		s = table_check_stored(t, handle, stored, true, &compression);
	if (s == WOMBAT_OK && compression == TABLE_COMPRESS_NONE) {
		*out = slice_make(stored, (size_t)handle.size);
		*out_memory = stored;
		return WOMBAT_OK;
	}
	size_t size;
	struct wombat_slice packed;
	uint8_t *bytes = NULL;
	if (s == WOMBAT_OK && !compress_raw_size(slice_make(stored, (size_t)handle.size), &size, &packed))
		s = fail(WOMBAT_CORRUPTION, "%s: %s: impossible unpacked size", t->path, part);
	if (s == WOMBAT_OK && !(bytes = mem_alloc_aligned(size)))
		s = fail_no_memory();
	if (s == WOMBAT_OK)
		s = unpack(t, handle.offset, packed, bytes, size);
	mem_free(stored);
	if (s != WOMBAT_OK) {
		mem_free(bytes);
		return s;
	}
	*out = slice_make(bytes, size);
	*out_memory = bytes;
	return WOMBAT_OK;
}

/* ---- The block cache -------------------------------------------------------------------------- */

/* From the packed cache; NULL: it is not there, or cannot be unpacked for lack of memory. */
static struct block *unpack_cached(struct table *t, struct lru_key key, struct table_handle handle)
{
	struct lru_pin pin = { 0 };
	struct wombat_slice stored;
	struct block *b = NULL;
	if (!packed_cache_find(t->options.packed_cache, key, &pin, &stored))
		return NULL;
	handle.size = stored.size;
	if (table_unpack_block(t, handle, stored.data, &b) != WOMBAT_OK)
		b = NULL;
	lru_pin_release(&pin);
	return b;
}

/* The block that the cache lacks, in memory of its own. `*out_read`: whether the disk was asked. */
static enum wombat_status bring_block(struct table *t, struct lru_key key, unsigned flags, struct block **out,
	bool *out_read)
{
	struct table_handle handle = index_handle(t->index, key.item);
	bool packs = packed_cache_on(t->options.packed_cache);
	*out_read = false;
	if (packs && (*out = unpack_cached(t, key, handle)))
		return WOMBAT_OK;
	if (flags & TABLE_READ_CACHED)
		return WOMBAT_WOULD_BLOCK; /* an answer, without a sentence */
	*out_read = true;
	bool keep = packs && !(flags & (TABLE_READ_NO_FILL | TABLE_READ_SEQUENTIAL));
	return table_read_block(t, handle, table_verifies(t), keep ? &key : NULL, out);
}

enum wombat_status table_block_acquire(struct table *t, size_t block_index, unsigned flags,
	struct lru_pin *pin, const struct block **out, bool *out_read)
{
	struct lru *cache = t->options.block_cache;
	struct lru_key key = { t->number, block_index };
	assert(!pin->handle);
	if (out_read)
		*out_read = false;
	if (cache) {
		lru_prefetch_value(&t->hints[block_index]);
		struct lru_handle *h = lru_lookup_hinted(cache, key, &t->hints[block_index]);
		if (h) {
			const struct block *b = lru_value(h);
			*pin = (struct lru_pin){ h, cache };
			*out = b;
			return WOMBAT_OK;
		}
	}
	struct block *b;
	bool was_read;
	enum wombat_status s = bring_block(t, key, flags, &b, &was_read);
	if (s != WOMBAT_OK)
		return s;
	if (out_read)
		*out_read = was_read;
	struct lru_handle *h = NULL;
	if (cache && !(flags & (TABLE_READ_NO_FILL | TABLE_READ_SEQUENTIAL)))
		h = lru_insert(cache, key, b, b->charge_bytes, mem_free);
	if (h) {
		*pin = (struct lru_pin){ h, cache };
		*out = lru_value(h);
		return WOMBAT_OK;
	}
	/* Not to be cached, or no memory for it: its own is enough to answer. */
	*pin = (struct lru_pin){ b, NULL };
	*out = b;
	return WOMBAT_OK;
}
