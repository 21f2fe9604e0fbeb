/*
 * What a table says of itself: named numbers. A reader ignores names that it does not know and takes 0 for
 * those that are missing, so names can be added at any time.
 */
#ifndef WOMBAT_TABLE_PROPERTIES_H
#define WOMBAT_TABLE_PROPERTIES_H

#include "engine/base/buf.h"

struct table_properties {
	uint64_t entries;
	uint64_t deletes;
	uint64_t range_deletes;
	uint64_t raw_key_bytes; /* keyspace bytes included, tags not */
	uint64_t raw_value_bytes;
	uint64_t smallest_sequence, largest_sequence;
	uint64_t min_expiry_ns; /* 0: none expires */
	uint64_t created_ns;
	uint64_t data_blocks;
	uint64_t compression;   /* enum table_compression asked for; each block says what it has */
	uint64_t block_bytes;
	uint64_t restart_interval;
	uint64_t filter_kind;   /* 0: none */
	uint64_t filter_probes;
	uint64_t filter_bits_per_key_x100;
	uint64_t filter_keys;   /* directory prefixes included */
};

/* Replaces `out` by the properties block. */
MUST_CHECK enum wombat_status properties_encode(const struct table_properties *p, struct buf *out);
/* NULL, or what is wrong. */
MUST_CHECK const char *properties_decode(struct wombat_slice bytes, struct table_properties *out);
/* The index-th property's name, NULL past the last; its value. For dumps. */
const char *properties_at(const struct table_properties *p, size_t index, uint64_t *out_value);

#endif
