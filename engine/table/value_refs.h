/*
 * What of the value log a table points to: for each file how many bytes of values in how many records. From these
 * sums over a version's tables comes what of a file is dead.
 */
#ifndef WOMBAT_TABLE_VALUE_REFS_H
#define WOMBAT_TABLE_VALUE_REFS_H

#include "engine/base/status.h"

struct value_ref {
	uint64_t file, bytes, count;
};

/* By file number, ascending. Zeroed: empty. */
struct value_refs {
	struct value_ref *items;
	size_t count, capacity;
};
void value_refs_done(struct value_refs *r);
/* Adds to the file's sums. */
MUST_CHECK enum wombat_status value_refs_add(struct value_refs *r, struct value_ref more);
/* NULL: no such file in it. */
const struct value_ref *value_refs_find(const struct value_refs *r, uint64_t file);

#endif
