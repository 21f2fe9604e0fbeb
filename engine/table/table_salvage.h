/*
 * What can still be read of a damaged table: for repair.
 *
 * Where the footer and the index are whole, each data block is read by itself. Where one of them is not, the file is
 * searched for blocks whose checksums hold. Never gives an entry that is not in a block whose checksum held.
 */
#ifndef WOMBAT_TABLE_TABLE_SALVAGE_H
#define WOMBAT_TABLE_TABLE_SALVAGE_H

#include "engine/env/env.h"
#include "engine/iter/range_del.h"

struct table_salvage {
	/* Each entry, in order; each range tombstone, behind them. A failure ends the salvage. */
	enum wombat_status (*entry)(void *arg, struct wombat_slice key, uint64_t tag, struct wombat_slice value);
	enum wombat_status (*range)(void *arg, struct range_del range);
	/* Each thing that is lost, one sentence. */
	void (*lost)(void *arg, const char *sentence);
	void *arg;
	bool may_have_ranges; /* somebody knows that there were range tombstones: say it when none are found */
};

/* WOMBAT_UNSUPPORTED: a newer version wrote it. Damage is no failure. Needs memory for the whole file when it must be
 * searched. */
MUST_CHECK enum wombat_status table_salvage(struct env *env, const char *path, const struct table_salvage *to);

#endif
