/*
 * The manifest as a file: a log of records, and CURRENT, which names it.
 */
#ifndef WOMBAT_VERSION_MANIFEST_H
#define WOMBAT_VERSION_MANIFEST_H

#include "engine/env/env.h"

struct manifest_writer;

/* Writes a manifest whose first record is `first`, syncs it, and points CURRENT at it. */
MUST_CHECK enum wombat_status manifest_create(struct env *env, const char *dir, uint64_t number,
	struct wombat_slice first, struct manifest_writer **out);
/* One record, durable when it returns. After a failure the file's end is unknown: it can only be closed. */
MUST_CHECK enum wombat_status manifest_append(struct manifest_writer *w, struct wombat_slice record);
uint64_t manifest_size(const struct manifest_writer *w);
void manifest_close(struct manifest_writer *w); /* NULL is fine */
/* Removes an old manifest; one that stays is removed at the next open. */
void manifest_remove(struct env *env, const char *dir, uint64_t number);

/* The number of the manifest that CURRENT names. WOMBAT_NOT_FOUND: no CURRENT. */
MUST_CHECK enum wombat_status manifest_read_current(struct env *env, const char *dir, uint64_t *out_number);
/* Calls `each` with each whole record. An incomplete record at the end is left out, its bytes counted in
 * *out_cut_bytes (may be NULL); damage before a whole record is WOMBAT_CORRUPTION. A sentence about a record, also
 * one of `each`, names file and offset. */
MUST_CHECK enum wombat_status manifest_replay(struct env *env, const char *dir, uint64_t number,
	enum wombat_status (*each)(void *arg, struct wombat_slice record), void *arg, size_t *out_cut_bytes);

#endif
