/*
 * A version set in a directory of an environment in memory, and tables for it: real ones of a history, or names alone.
 */
#ifndef WOMBAT_TESTS_VERSIONS_H
#define WOMBAT_TESTS_VERSIONS_H

#include "engine/compact/compaction.h"
#include "engine/env/env_mem.h"
#include "tests/support/history.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

struct versions {
	struct env *env;              /* borrowed */
	struct mutex state;
	struct lru *blocks, *filters; /* the caches of its tables */
	struct table_cache *tables;
	struct version_set *set;      /* NULL: not open */
	struct version_shape shape;
	uint64_t manifest_bytes;
	struct table_builder_options table;
	size_t warm_answers;
};

#define VERSIONS_DIR "/db"

void versions_init(struct versions *w, struct env *env);
enum wombat_status versions_open(struct versions *w, bool create, bool read_only);
void versions_close(struct versions *w);
void versions_done(struct versions *w);

/* Takes the state lock for the call. */
enum wombat_status versions_apply(struct versions *w, struct version_edit *edit);
/* The current version; counted. */
struct version *versions_current(struct versions *w);

/* A table that exists in the manifest only: keys are keyspace 1 plus the text. `largest` ending in '!': excluded. */
struct fake_table {
	unsigned level;
	uint64_t number;
	const char *smallest, *largest;
	uint64_t bytes, sequence, entries, deletes, range_deletes, min_expiry_ns;
};
#define FAKE(level_, number_, smallest_, largest_, ...) \
	{ .level = (level_), .number = (number_), .smallest = (smallest_), .largest = (largest_), __VA_ARGS__ }
void fake_add(struct version_edit *e, const struct fake_table *t);
/* A file of so many bytes for it. */
void fake_file(struct env *env, uint64_t number, uint64_t bytes);

/* Adds a table of changes of a history in a range of keys; false: there were none. */
bool versions_add_table(struct versions *w, struct version_edit *e, unsigned level, const struct history *h, size_t first,
	size_t count, struct wombat_slice from, struct wombat_slice to);
/* Levels 2, 1 and 0 of a history, oldest lowest; level 0 in three tables, the others in `parts` by key. */
void versions_fill(struct versions *w, const struct history *h, unsigned parts);

struct compaction_context versions_context(struct versions *w, const uint64_t *snapshots, size_t count, uint64_t now_ns);

/* What a reader at `snapshot` finds, by version_get; what version_get_warm says, if it does, is the same. */
uint64_t versions_find(struct versions *w, struct version *v, struct wombat_slice key, uint64_t snapshot, uint64_t now_ns);
/* Asserts that each key reads as in the history at each of the snapshots. */
void versions_compare(struct versions *w, const struct history *h, const uint64_t *snapshots, size_t count, uint64_t now_ns);
/* How many of these answers were there without asking version_get. */
size_t versions_warm_answers(const struct versions *w);
/* How many names in the directory are tables. */
size_t versions_table_files(struct versions *w);

#endif
