/*
 * A history of changes, and what each snapshot of it shows: the reference for all that reads or rewrites tables.
 * Aborts when out of memory.
 */
#ifndef WOMBAT_TESTS_HISTORY_H
#define WOMBAT_TESTS_HISTORY_H

#include "engine/base/ikey.h"
#include "engine/base/random.h"
#include "engine/iter/range_del.h"
#include "engine/mem/memtable.h"
#include "engine/table/table_builder.h"

enum { HISTORY_KEY_MAX = 24 };

struct change {
	uint64_t sequence;
	enum ikey_kind kind;
	uint8_t key[HISTORY_KEY_MAX], end[HISTORY_KEY_MAX]; /* `end`: of a range */
	size_t key_size, end_size;
	uint64_t expiry_ns;
	size_t value_size;
};

struct history {
	struct change *items; /* the i-th has sequence i + 1 */
	size_t count, capacity;
	unsigned keys;        /* how many different keys there are */
};

static inline struct wombat_slice change_key(const struct change *c) { return slice_make(c->key, c->key_size); }
static inline struct wombat_slice change_end(const struct change *c) { return slice_make(c->end, c->end_size); }

void history_done(struct history *h);
/* The n-th key: keyspace 1, a path of two components. Returns its size. */
size_t history_key(unsigned n, uint8_t out[HISTORY_KEY_MAX]);
/* Random changes; of 100, so many delete, delete a range, expire (at a time below expiry_max_ns). */
struct history_mix {
	unsigned deletes, ranges, expiries;
	uint64_t expiry_max_ns;
	size_t value_max;
};
void history_grow(struct history *h, struct random_state *r, size_t count, const struct history_mix *mix);
void history_add(struct history *h, const struct change *c); /* its sequence is set */

/* The sequence of the record that a reader at `snapshot` finds; 0: none. */
uint64_t history_find(const struct history *h, struct wombat_slice key, uint64_t snapshot, uint64_t now_ns);
/* The encoded record of a put; `room` of at least HISTORY_RECORD_MAX. */
enum { HISTORY_RECORD_MAX = 4096 };
struct wombat_slice history_record(const struct change *c, uint8_t *room);

/* The changes [first, first + count) into a memtable. */
struct memtable *history_memtable(const struct history *h, size_t first, size_t count);
/* Those of them with keys in [from, to) (empty: no bound) into a table; false: there are none. */
bool history_table(const struct history *h, size_t first, size_t count, struct wombat_slice from, struct wombat_slice to,
	struct env *env, const char *path, const struct table_builder_options *options, struct table_summary *out);

#endif
