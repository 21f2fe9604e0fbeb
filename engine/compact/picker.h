/*
 * Chooses what to compact from a version: no I/O, no locks of its own (the caller holds the state lock, since it
 * reads and sets file_meta.compacting and the set's claims).
 */
#ifndef WOMBAT_COMPACT_PICKER_H
#define WOMBAT_COMPACT_PICKER_H

#include "engine/version/version_set.h"

struct compaction_inputs {
	struct version *version;     /* counted */
	unsigned level, output_level; /* the same: the file is rewritten where it is */
	struct file_meta **files[2]; /* of level, of output_level; owned arrays, files held by the version */
	size_t count[2];
	struct file_meta **grandparents; /* of output_level + 1, overlapping: outputs are cut by them */
	size_t grandparent_count;
	struct file_meta *const *older;  /* files of level 0 that lie below outputs there; of the version */
	size_t older_count;
	uint64_t bytes;
	bool trivial_move;           /* the files of `level` can be moved as they are */
	bool bottom;                 /* nothing of its key range lies below output_level */
	const char *reason;          /* static: "level 0 files", "level size", "tiers", "space", "levels", "tombstones", "expired", "values",
					"manual" */
	struct version_claim *claim; /* on the outputs' keys; owned */
};

struct picker_state {
	struct buf cursor[LEVELS_MAX]; /* where the last compaction of a level ended: round robin */
};
void picker_state_done(struct picker_state *p);

struct picker_options {
	uint64_t max_table_size;
	uint64_t oldest_sequence;      /* of the snapshots: what is newer must stay, tombstones too */
	double tombstone_ratio;        /* a file with more of its entries deleted is compacted (0.5) */
	uint64_t now_ns;               /* by which records expire; 0: never */
	const uint64_t *collect;       /* value log files whose live values are to be written anew */
	size_t collect_count;
	bool tiered;                   /* the strategy: see picker.c */
};

/* The most urgent job that can run beside those that run, its files marked compacting. False: none is
 * due, or all due ones wait for running ones. WOMBAT_NO_MEMORY in *status. */
bool picker_pick(struct picker_state *p, struct version_set *set, struct version *v,
	const struct picker_options *options, struct compaction_inputs *out, enum wombat_status *status);
/* The next step of a manual compaction of [from, to) at `level`: its overlapping files and those below.
 * `*wait`: files of it are busy, ask again after a job ended. False and not *wait: nothing to do here. */
bool picker_pick_range(struct version_set *set, struct version *v, unsigned level, struct wombat_slice from,
	struct wombat_slice to, struct compaction_inputs *out, bool *wait, enum wombat_status *status);
/* The last steps of a manual compaction: a file of [from, to) at `level` with nothing below that holds tombstones
 * which nobody needs, or expired records, to be rewritten where it is. Its outputs are never chosen again. */
bool picker_pick_rest(struct version_set *set, struct version *v, const struct picker_options *options, unsigned level,
	struct wombat_slice from, struct wombat_slice to, struct compaction_inputs *out, bool *wait,
	enum wombat_status *status);
/* Unmarks the files; frees. State lock held. */
void compaction_inputs_done(struct compaction_inputs *in);

#endif
