/*
 * The files of each level at one moment: immutable once published, counted. Readers hold one and need no
 * lock; compaction makes the next one from an edit.
 *
 * Level 0 holds flushed memtables, which may overlap: newest first. Deeper levels hold disjoint tables in
 * key order. All versions of one key are in one table of a level.
 */
#ifndef WOMBAT_VERSION_VERSION_H
#define WOMBAT_VERSION_VERSION_H

#include <stdatomic.h>

#include "engine/table/table_builder.h"
#include "engine/table/table_cache.h"

enum { LEVELS_MAX = 12 };

/* One table as the manifest knows it; shared by the versions that have it. */
struct file_meta {
	atomic_int refs;        /* one for each version that has it */
	bool compacting;        /* guarded by the database's state lock: an input of a running job */
	struct lru_hint open;   /* to the table, while it is open */
	uint64_t number;
	uint64_t sequence;      /* of all its entries, whatever the table says; 0: each has its own */
	struct table_summary summary;
};
struct file_meta *file_meta_ref(struct file_meta *f);
void file_meta_unref(struct file_meta *f);
/* Whether some key k with from <= k < to could be in it (`to` empty: no bound). Keys as in tables. */
bool file_meta_overlaps(const struct file_meta *f, struct wombat_slice from, struct wombat_slice to);
/* Whether `key` is within its bounds; whether it is behind them. */
bool file_meta_has(const struct file_meta *f, struct wombat_slice key);
bool file_meta_before(const struct file_meta *f, struct wombat_slice key);

/* The keys from `begin` to `end`, which is one of them unless `end_excluded`. Borrows the bytes. */
struct key_span {
	struct wombat_slice begin, end;
	bool end_excluded;
};
struct key_span file_meta_span(const struct file_meta *f);
bool key_span_overlaps(const struct key_span *a, const struct key_span *b);
/* Widens `span` to include `more`. */
void key_span_add(struct key_span *span, const struct key_span *more);

/* A version's table, as by table_cache_acquire and table_cache_iter_new; one that is missing is WOMBAT_CORRUPTION, where
 * WOMBAT_NOT_FOUND could be taken for the answer that a key is not there. */
MUST_CHECK enum wombat_status file_meta_acquire(struct file_meta *f, struct table_cache *tables,
	struct table **out_table, struct lru_handle **out_handle);
MUST_CHECK enum wombat_status file_meta_iter_new(struct file_meta *f, struct table_cache *tables, unsigned flags,
	size_t read_ahead_bytes, struct iter **out);

struct version {
	atomic_int refs;
	unsigned level_count;                       /* levels in use by options: max_levels */
	struct file_list {
		struct file_meta **files;
		size_t count;
		uint64_t bytes;
	} levels[LEVELS_MAX];
	double score[LEVELS_MAX];                   /* >= 1: compaction is due; set when it is made */
	size_t range_delete_files;                  /* how many files hold range tombstones */
	uint64_t flushed_sequence;                  /* changes up to it are in its tables */
	/* The deeper levels that have files, laid out for lookups. */
	struct level_run {
		const struct file_list *list;
		struct wombat_slice prefix;         /* that all keys between its bounds have; borrowed */
		const uint64_t *fences;             /* of each file the smallest key's and the largest's (table/prefix.h), behind that */
	} runs[LEVELS_MAX - 1];
	unsigned run_count;
	uint64_t *fences;                           /* of all runs; owned */
	struct version_set *set;
	struct version *older, *newer;              /* all live versions; guarded by the state lock */
};
struct version *version_ref(struct version *v);
/* Any thread; the last one out unlinks under the set's own small lock. */
void version_unref(struct version *v);

struct version_get_counts {
	unsigned tables; /* how many tables were asked: read amplification */
};
/*
 * The newest point entry of `key` with a sequence <= max_sequence, over all levels. `*cover`: comes in as
 * the newest covering range tombstone's sequence seen so far (0: none) and is raised by those of the tables
 * that were passed; the search ends as soon as what it could still find would be covered.
 * WOMBAT_NOT_FOUND: no entry. The entry found may itself be older than *cover: the caller compares.
 */
MUST_CHECK enum wombat_status version_get(struct version *v, struct table_cache *tables, struct wombat_slice key,
	uint64_t max_sequence, unsigned table_flags, uint64_t *cover, uint64_t *out_tag,
	struct wombat_slice *out_value, struct lru_pin *pin, struct version_get_counts *counts);
/*
 * version_get() of what is in memory, within a section of base/readers.h: allocates, reads and waits for nothing, and holds
 * nothing but the block. Range tombstones are not its business: a version that has any, like whatever is not in memory,
 * is WOMBAT_WOULD_BLOCK. `counts` mean something only
 * with another answer.
 */
MUST_CHECK enum wombat_status version_get_warm(const struct version *v, struct wombat_slice key, uint64_t max_sequence,
	struct table_warm_counts *counts, uint64_t *out_tag, struct wombat_slice *out_value, struct lru_pin *pin);
/* Lays out `runs`, once its levels are what they will be. */
MUST_CHECK enum wombat_status version_lay_out(struct version *v);
/* Appends iterators over all that could hold keys in [lower, upper) (empty: no bound): one per level 0
 * table, one per deeper level. `iters` has room for version_iter_max(v). On failure those appended so far
 * stay the caller's to free. */
size_t version_iter_max(const struct version *v);
MUST_CHECK enum wombat_status version_add_iters(struct version *v, struct table_cache *tables,
	struct wombat_slice lower, struct wombat_slice upper, unsigned table_flags, size_t read_ahead_bytes,
	struct iter **iters, size_t *count);
/* Adds the range tombstones of all its tables that overlap the bounds. */
MUST_CHECK enum wombat_status version_collect_ranges(struct version *v, struct table_cache *tables,
	struct wombat_slice lower, struct wombat_slice upper, struct range_del_set *out);
/* False: no key with this prefix (keyspace byte + path ending in '/') in any table, by bounds and filters.
 * True: perhaps. */
MUST_CHECK enum wombat_status version_may_have_prefix(struct version *v, struct table_cache *tables,
	struct wombat_slice prefix, bool *out);
/* Index of the first file of a deeper level whose largest key is >= key. */
size_t file_list_find(const struct file_list *list, struct wombat_slice key);
/* Whether a level could hold a key of the span. */
bool version_level_overlaps(const struct version *v, unsigned level, const struct key_span *span);
/* Adds what its tables point to in the value log. */
MUST_CHECK enum wombat_status version_add_values(const struct version *v, struct value_refs *out);
/* Asserts order, disjointness, sums. */
void version_check_invariants(const struct version *v);

#endif
