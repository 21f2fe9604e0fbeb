/*
 * Writes one table. Call order: (add | add_range)* (finish | abandon).
 *
 * Point entries come in internal-key order; the value of a KIND_PUT is an encoded record (base/record.h),
 * whose expiry is looked at. Range tombstones come in any order, already clipped to what this table may
 * cover. After a failed add the table can only be abandoned.
 */
#ifndef WOMBAT_TABLE_TABLE_BUILDER_H
#define WOMBAT_TABLE_TABLE_BUILDER_H

#include "engine/env/env.h"
#include "engine/iter/range_del.h"
#include "engine/table/table_format.h"
#include "engine/table/value_refs.h"

struct table_builder;

struct table_builder_options {
	size_t block_bytes;             /* target of an uncompressed data block */
	unsigned restart_interval;      /* entries between whole keys (16) */
	double bloom_false_positive;    /* 0: no filter */
	enum table_compression compression;
	int compression_level;
	size_t write_buffer_bytes;
	bool direct_io;
};

/* What the manifest keeps of a table. Keys are owned; bounds include the range tombstones. */
struct table_summary {
	uint64_t file_bytes;
	uint64_t entries;       /* point entries */
	uint64_t deletes;       /* of these, tombstones */
	uint64_t range_deletes;
	uint64_t raw_key_bytes, raw_value_bytes;
	uint64_t smallest_sequence, largest_sequence;
	uint64_t min_expiry_ns; /* earliest expiry of an entry; 0: none expires */
	struct buf smallest;    /* first key (keyspace byte + user key) */
	struct buf largest;     /* last key; with largest_excluded the end of a range tombstone */
	bool largest_excluded;  /* no entry has exactly `largest` */
	struct value_refs values; /* what it points to in the value log; owned */
};
void table_summary_done(struct table_summary *s);

MUST_CHECK enum wombat_status table_builder_new(struct env *env, const char *path,
	const struct table_builder_options *options, struct table_builder **out);
/* WOMBAT_CORRUPTION: out of order, or not a record. WOMBAT_TOO_BIG: more than a block can hold. */
MUST_CHECK enum wombat_status table_builder_add(struct table_builder *b, struct wombat_slice key,
	uint64_t tag, struct wombat_slice value);
MUST_CHECK enum wombat_status table_builder_add_range(struct table_builder *b, struct range_del range);
/* Bytes of the file so far, the current block included: for cutting output at max_table_size. */
uint64_t table_builder_bytes(const struct table_builder *b);
uint64_t table_builder_entries(const struct table_builder *b); /* point entries and range tombstones */
/* Writes the rest, syncs, closes; frees `b` in any case. On failure the file is removed. */
MUST_CHECK enum wombat_status table_builder_finish(struct table_builder *b, struct table_summary *out);
/* Removes the file; NULL is fine. */
void table_builder_abandon(struct table_builder *b);

#endif
