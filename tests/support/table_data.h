/* Tables and their model for tests: entries in order, built into a table, looked up by walking the list. */
#ifndef WOMBAT_TESTS_TABLE_DATA_H
#define WOMBAT_TESTS_TABLE_DATA_H

#include "engine/base/ikey.h"
#include "engine/base/random.h"
#include "engine/table/table.h"
#include "engine/table/table_builder.h"

struct data_entry {
	struct wombat_slice key; /* keyspace byte + user key */
	uint64_t tag;
	struct wombat_slice value; /* KIND_PUT: an encoded record */
};

/* Owns all bytes. */
struct data {
	struct data_entry *entries;
	size_t count, capacity;
};

struct data_shape {
	size_t entries;
	unsigned keys;          /* distinct keys are drawn from so many: fewer means more versions */
	size_t key_prefix;      /* bytes that all keys share */
	size_t value_max;
	bool expiry;
};

/* Adds an entry, in any order; `user` is what the record holds (KIND_PUT). */
void data_add(struct data *d, struct wombat_slice key, uint64_t tag, struct wombat_slice user,
	uint64_t expiry_ns);
/* Brings the entries into order, one per key and sequence number; needed after adding. */
void data_sort(struct data *d);
/* Random keys with slashes, deletions, several versions; sorted. */
void data_random(struct data *d, struct random_state *r, const struct data_shape *shape);
void data_done(struct data *d);

/* Index of the first entry at or behind (key, tag); d->count when there is none. */
size_t data_seek(const struct data *d, struct wombat_slice key, uint64_t tag);

/* Writes all entries to `path`; whatever fails is the result. `out` may be NULL. */
MUST_CHECK enum wombat_status data_build(const struct data *d, struct env *env, const char *path,
	const struct table_builder_options *options, struct table_summary *out);

/* 4 KiB blocks, restarts every 16, a 1 % filter, no compression. */
struct table_builder_options data_options(void);

/* Asserts that the iterator stands on entry i (== count: on none, without an error). */
void data_assert_at(const struct data *d, size_t i, const struct iter *it);
/* Reads all forwards and backwards, then seeks and gets around random entries, `rounds` times. */
void data_assert_table(const struct data *d, struct table *t, unsigned flags, size_t read_ahead_bytes,
	struct random_state *r, unsigned rounds);

#endif
