/*
 * One atomic change to the set of files, as a manifest record says it. What it removes is gone before what it adds
 * comes, in whatever order the two were put in.
 */
#ifndef WOMBAT_VERSION_VERSION_EDIT_H
#define WOMBAT_VERSION_VERSION_EDIT_H

#include "engine/version/version.h"
#include "engine/vlog/vlog_journal.h"

struct version_edit {
	bool has_flushed_sequence, has_last_sequence, has_next_file_number;
	uint64_t flushed_sequence; /* changes up to it are in tables: the WAL's replay begins behind */
	uint64_t last_sequence;
	uint64_t next_file_number;
	struct vlog_position journal; /* changes that are not in tables may have records from there on; file 0: not said */
	struct version_edit_file {
		unsigned level;
		struct file_meta *file; /* counted by the edit */
	} *added;
	size_t added_count, added_capacity;
	struct version_edit_removal {
		unsigned level;
		uint64_t number;
	} *removed;
	size_t removed_count, removed_capacity;
};

void version_edit_init(struct version_edit *e);
void version_edit_done(struct version_edit *e);
/* Takes the summary's buffers on success. */
MUST_CHECK enum wombat_status version_edit_add(struct version_edit *e, unsigned level, uint64_t number,
	struct table_summary *summary);
/* Adds an existing file to a level (a move). */
MUST_CHECK enum wombat_status version_edit_add_file(struct version_edit *e, unsigned level, struct file_meta *file);
MUST_CHECK enum wombat_status version_edit_remove(struct version_edit *e, unsigned level, uint64_t number);
MUST_CHECK enum wombat_status version_edit_encode(const struct version_edit *e, struct buf *out);
/* WOMBAT_CORRUPTION: not an edit, or one that says what cannot be. WOMBAT_UNSUPPORTED: a tag or flag that must be
 * understood and is not. */
MUST_CHECK enum wombat_status version_edit_decode(struct wombat_slice bytes, struct version_edit *out);
MUST_CHECK enum wombat_status version_edit_to_text(const struct version_edit *e, struct buf *out);

#endif
