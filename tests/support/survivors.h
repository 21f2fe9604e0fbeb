/*
 * What flush and compaction must keep of a history, found by comparing each change with all others; and what they did
 * keep, read from the tables that an edit adds.
 */
#ifndef WOMBAT_TESTS_SURVIVORS_H
#define WOMBAT_TESTS_SURVIVORS_H

#include "tests/support/versions.h"

struct survivor_rule {
	const uint64_t *snapshots;      /* ascending */
	size_t snapshot_count;
	uint64_t now_ns;                /* 0: expiries are not looked at */
	bool tombstones_may_go;         /* where nothing of `below` could be hidden by them */
	const struct fake_table *below; /* only their keys count */
	size_t below_count;
};

/* Compares what the edit's tables hold, together, with what must be left of the changes [first, first + count): entry
 * by entry, and range tombstones by what they cover. The changes are of keys 0 to h->keys. */
void survivors_compare(struct versions *w, const struct version_edit *e, const struct history *h, size_t first, size_t count,
	const struct survivor_rule *rule);
/* How many point entries must be left. */
size_t survivors_count(const struct history *h, size_t first, size_t count, const struct survivor_rule *rule);

/* Ascending and distinct, at most `max` and the newest state's. */
size_t survivors_snapshots(const struct history *h, struct random_state *r, uint64_t *out, size_t max);

#endif
