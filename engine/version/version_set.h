/*
 * The current version, the manifest behind it, and the counters that must survive: file numbers,
 * sequence numbers.
 *
 * CURRENT names the manifest; the manifest is a log of edits, its first record a whole state. The
 * manifest is the only truth about which files belong to the database.
 */
#ifndef WOMBAT_VERSION_VERSION_SET_H
#define WOMBAT_VERSION_VERSION_SET_H

#include "engine/base/mutex.h"
#include "engine/version/version_edit.h"

struct version_set;

/* What decides scores; copied, changeable by version_set_set_shape under the state lock. */
struct version_shape {
	unsigned max_levels;                /* 2..LEVELS_MAX */
	unsigned num_level_zero_tables;     /* compaction of level 0 is due at so many */
	uint64_t base_level_bytes;          /* target size of level 1 */
	double level_size_multiplier;
	bool tiered;                        /* the strategy: version/tiers.h */
	unsigned runs_max;                  /* with tiers: so many tables of level 0 are too many */
};

struct version_set_options {
	struct env *env;
	const char *dir;              /* copied */
	struct table_cache *tables;   /* borrowed */
	struct mutex *state;          /* the database's state lock, borrowed */
	struct version_shape shape;
	uint64_t manifest_bytes;      /* a longer manifest is written anew (4 MiB) */
	bool read_only;
};

/*
 * No CURRENT: WOMBAT_NOT_FOUND, unless `create`, which writes an empty database (its first manifest), but never over
 * the tables or logs of one that has lost its CURRENT: WOMBAT_CORRUPTION. Files that the manifest names must exist with
 * their recorded size: else WOMBAT_CORRUPTION. Unless `read_only` a new manifest is begun at each open.
 */
MUST_CHECK enum wombat_status version_set_open(const struct version_set_options *options, bool create,
	struct version_set **out);
void version_set_free(struct version_set *s); /* NULL is fine */

/* The current version, counted. Takes only a small lock of the set. */
struct version *version_set_current(struct version_set *s);
/*
 * Makes the edit durable in the manifest, then current. Called with the state lock held, which is DROPPED
 * during the write and taken again; callers are served one at a time. On failure nothing has changed for
 * this process; whether the next open sees the edit is unknown, so the caller must treat it as a
 * background error.
 */
MUST_CHECK enum wombat_status version_set_apply(struct version_set *s, struct version_edit *edit);
/* State lock held, all three. The first recomputes scores; max_levels stays what it was. */
void version_set_set_shape(struct version_set *s, struct version_shape shape);
const struct version_shape *version_set_shape(const struct version_set *s);
uint64_t version_set_target_bytes(const struct version_set *s, unsigned level);

/*
 * What keys running jobs may yet write into a level: no two claims of one level overlap, so no two jobs can make
 * overlapping tables there. The claim is the job's, and its bytes must outlive it. State lock held, all three.
 */
struct version_claim {
	struct version_claim *next;
	unsigned level;
	struct key_span span;
};
bool version_set_claimed(const struct version_set *s, unsigned level, const struct key_span *span);
void version_set_claim(struct version_set *s, struct version_claim *claim);
void version_set_unclaim(struct version_set *s, struct version_claim *claim);

uint64_t version_set_new_file_number(struct version_set *s); /* any thread */
/* A number that recovery saw in use (an orphan file) must not be given out again. */
void version_set_mark_file_number(struct version_set *s, uint64_t number);
/* As of the manifest. State lock held, or no other thread yet. */
uint64_t version_set_last_sequence(const struct version_set *s);
uint64_t version_set_flushed_sequence(const struct version_set *s);
struct vlog_position version_set_journal(const struct version_set *s); /* file 0: there never were such records */
/* Any thread. */
uint64_t version_set_manifest_number(const struct version_set *s);
uint64_t version_set_manifest_bytes(const struct version_set *s);
/* Calls `each` with the number of every table that any live version needs, some more than once. State lock held. */
void version_set_live_files(struct version_set *s, void (*each)(void *arg, uint64_t number), void *arg);

/* The manifest record that says all of a version, for a copy of its files without a log: changes behind its
 * flushed_sequence do not exist there. Appends to `out`. */
MUST_CHECK enum wombat_status version_set_encode(struct version_set *s, const struct version *v, struct buf *out);

/* Adds what all tables of all live versions point to in the value log, so a table of several versions several times;
 * and the least flushed sequence of them. State lock held. */
MUST_CHECK enum wombat_status version_set_live_values(struct version_set *s, struct value_refs *out, uint64_t *out_flushed);

/* Reads CURRENT and the manifest without a table cache, for `wombat check`: reports each problem. */
MUST_CHECK enum wombat_status manifest_check(struct env *env, const char *dir,
	void (*report)(void *arg, bool is_damage, const char *sentence), void *arg);

#endif
