/* What can still be read of a damaged write-ahead log: for repair. */
#ifndef WOMBAT_WAL_WAL_SALVAGE_H
#define WOMBAT_WAL_WAL_SALVAGE_H

#include "engine/env/env.h"

struct wal_salvage {
	/* Each whole record with changes behind the flushed ones, in the order in which they were written. */
	enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, struct wombat_slice body);
	/* The changes from first to last are in no record, though there are newer ones or one says that they were durable. */
	void (*lost)(void *arg, uint64_t first, uint64_t last);
	void *arg;
};

/* `*out_highest`: no record has or names a greater sequence number. Changes no file. */
MUST_CHECK enum wombat_status wal_salvage(struct env *env, const char *dir, uint64_t flushed_sequence,
	const struct wal_salvage *to, uint64_t *out_highest);

#endif
