/* What the sources table*.c share. */
#ifndef WOMBAT_TABLE_TABLE_IMPL_H
#define WOMBAT_TABLE_TABLE_IMPL_H

#include "engine/table/block.h"
#include "engine/table/filter.h"
#include "engine/table/footer.h"
#include "engine/table/index.h"
#include "engine/table/table.h"

/* All fixed once the table is open, but for the hints. */
struct table {
	const struct env_calls *calls;
	struct env_reader *reader;
	struct table_options options;
	uint64_t number;
	uint64_t file_bytes;
	uint64_t sequence;       /* of all entries; 0: each has its own */
	struct index *index;
	struct lru_hint *hints;  /* of each data block, to its place in the cache; changed as blocks come in */
	struct filter filter;
	void *filter_memory;     /* holds its checksums */
	struct table_handle filter_handle;
	struct lru_hint *filter_hints; /* of each page, to its place in the filter cache */
	struct range_fragments *ranges;
	struct table_properties properties;
	size_t memory_bytes;
	char path[];
};

void table_count_add(struct table_counts *counts, enum table_count which, uint64_t n);

static inline bool table_verifies(const struct table *t)
{
	const struct table_live *live = t->options.live;
	return !live || atomic_load_explicit(&live->verify_checksums, memory_order_relaxed);
}

/* ---- Blocks as they are on the disk: table_read.c --------------------------------------------- */

/* Checks a block's trailer; `stored` has handle.size bytes and the trailer behind. */
MUST_CHECK enum wombat_status table_check_stored(struct table *t, struct table_handle handle,
	const uint8_t *stored, bool verify, enum table_compression *out_compression);
/* Makes a block of its own memory from a packed one; for mem_free(). */
MUST_CHECK enum wombat_status table_unpack_block(struct table *t, struct table_handle handle,
	const uint8_t *stored, struct block **out);
/* Reads a data block into memory of its own; for mem_free(). `keep_as`: where the packed cache keeps it; NULL: nowhere. */
MUST_CHECK enum wombat_status table_read_block(struct table *t, struct table_handle handle, bool verify,
	const struct lru_key *keep_as, struct block **out);
/* The unpacked bytes of one of the other blocks, in 64-byte aligned memory for mem_free(). */
MUST_CHECK enum wombat_status table_read_part(struct table *t, const char *part, struct table_handle handle,
	struct wombat_slice *out, void **out_memory);
/* fail(WOMBAT_CORRUPTION) for the block at an offset. */
enum wombat_status table_fail_block(struct table *t, uint64_t offset, const char *fault)
	__attribute__((cold));

/* Adds the range tombstones of their block's unpacked bytes. WOMBAT_CORRUPTION: they are not. table.c. */
MUST_CHECK enum wombat_status table_decode_ranges(struct table *t, struct wombat_slice bytes, struct range_del_set *set);

/*
 * The index-th data block, from the cache or the disk, kept alive by `pin`, which holds nothing before.
 * `*out_read` (may be NULL) says whether the disk was asked.
 */
MUST_CHECK enum wombat_status table_block_acquire(struct table *t, size_t block_index, unsigned flags,
	struct lru_pin *pin, const struct block **out, bool *out_read);

/* ---- The filter: table_filter.c ---------------------------------------------------------------- */

/* Reads what must be known of it; its lines stay on the disk. */
MUST_CHECK enum wombat_status table_filter_open(struct table *t, struct table_handle handle);
void table_filter_close(struct table *t);
/*
 * The line in which the bits of `hash` would be, kept alive by `pin`, which holds nothing before. NULL: the filter
 * rules nothing out, since there is none or its page could not be had.
 */
const uint8_t *table_filter_line(struct table *t, uint64_t hash, unsigned flags, struct lru_pin *pin);
/* Drops its pages from the filter cache. */
void table_filter_forget(struct table *t);

#endif
