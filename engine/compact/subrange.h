/* Where a compaction is divided, so that its parts may run side by side. */
#ifndef WOMBAT_COMPACT_SUBRANGE_H
#define WOMBAT_COMPACT_SUBRANGE_H

#include "engine/base/buf.h"
#include "engine/compact/picker.h"

/* Keys that divide the inputs into ranges with about equally many bytes: range i is from keys[i - 1] up to, without it,
 * keys[i]; the first one has no beginning, the last no end. */
struct subranges {
	struct buf *keys;
	size_t count; /* of keys; 0: one range */
};

/* At most `max` ranges, each of at least `min_bytes` of tables. */
MUST_CHECK enum wombat_status subranges_of(const struct compaction_inputs *in, struct table_cache *tables, size_t max,
	uint64_t min_bytes, struct subranges *out);
void subranges_done(struct subranges *s);
/* The bounds of range i; empty: none. */
struct wombat_slice subrange_begin(const struct subranges *s, size_t i);
struct wombat_slice subrange_end(const struct subranges *s, size_t i);

#endif
