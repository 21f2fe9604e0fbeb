/*
 * The state that a manifest's records add up to.
 */
#ifndef WOMBAT_VERSION_REPLAY_H
#define WOMBAT_VERSION_REPLAY_H

#include "engine/version/version_edit.h"

/* A zeroed struct is the state before the first record. */
struct replay {
	struct replay_file {
		uint64_t number;
		unsigned level;
		struct file_meta *file; /* counted */
	} *files;                       /* ascending numbers */
	size_t count, capacity;
	uint64_t flushed_sequence, last_sequence, next_file_number;
	struct vlog_position journal;
	uint64_t edits;
};
void replay_done(struct replay *r);
/* Adds one manifest record; `arg` is the struct replay. WOMBAT_CORRUPTION: not an edit, or one that cannot follow
 * those before, as the removal of a table that is not there. */
MUST_CHECK enum wombat_status replay_record(void *arg, struct wombat_slice record);
/* The whole state as one edit. */
MUST_CHECK enum wombat_status replay_to_edit(const struct replay *r, struct version_edit *out);

#endif
