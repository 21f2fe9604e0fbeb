/*
 * The value log: values that are too large to be rewritten with their keys, each written once.
 *
 * A value is appended before the change that points to it goes to the write-ahead log. Files are numbered, appended to
 * up to a size, then only read, and removed when nothing can point into them any more:
 *
 *     no append into it is still without its change (vlog_written), and
 *     each live version has no table that points into it, and has the changes that did in tables.
 *
 * The last of these holds for readers too: who reads by a view has its version, and memtables with newer changes only.
 * Any thread.
 */
#ifndef WOMBAT_VLOG_VLOG_H
#define WOMBAT_VLOG_VLOG_H

#include "engine/base/record.h"
#include "engine/cache/lru.h"
#include "engine/env/env.h"

struct vlog;

struct vlog_options {
	struct env *env;
	const char *dir;         /* copied */
	uint64_t file_bytes;     /* a file that has as many is appended to no more */
	struct lru *cache;       /* borrowed; may be NULL: nothing is cached */
	unsigned env_flags;      /* ENV_DIRECT: read past the page cache */
	const atomic_bool *verify; /* borrowed: whether values are verified when they are read */
	/* A number for a new file; called under the log's lock. */
	uint64_t (*next_file_number)(void *arg);
	void *arg;
};

/* Knows the files that are there; opens none of them yet. */
MUST_CHECK enum wombat_status vlog_open(const struct vlog_options *options, struct vlog **out);
/* Syncs nothing: the changes decide what must be durable. NULL is fine. */
void vlog_free(struct vlog *v);

/* Appends a value; `key` with its keyspace byte. On success vlog_written() must follow. WOMBAT_NO_SPACE, WOMBAT_IO:
 * nothing points to what may have been written of it. */
MUST_CHECK enum wombat_status vlog_append(struct vlog *v, struct wombat_slice key, struct wombat_slice value,
	struct value_pointer *out);
/* Another change is to point into a file that is pinned or pointed to: as if a value had been appended, without one.
 * False: there is no such file. */
bool vlog_share(struct vlog *v, uint64_t file);
/* The change that points into the file was made with at most that sequence number; 0: it failed, or it is made in a
 * table, whose writer holds the log by vlog_hold(). */
void vlog_written(struct vlog *v, uint64_t file, uint64_t sequence);
/* A file that is there may have been written by a process that died before it synced: the next sync does. Any file. */
void vlog_doubt(struct vlog *v, uint64_t file);
/* Makes all that was appended before durable. After a failure every later call fails with the first cause. */
MUST_CHECK enum wombat_status vlog_sync(struct vlog *v);

enum vlog_read_flags {
	VLOG_READ_NO_FILL = 1,
	VLOG_READ_CACHED = 2,
	VLOG_READ_VERIFY = 4, /* whatever the setting; from the file, not from the cache */
};
/* The value, kept by `pin`, which holds nothing before. WOMBAT_WOULD_BLOCK: VLOG_READ_CACHED, and it is not in memory.
 * WOMBAT_CORRUPTION: it is not what was written, or not there. */
MUST_CHECK enum wombat_status vlog_read(struct vlog *v, const struct value_pointer *p, unsigned flags,
	struct lru_pin *pin, struct wombat_slice *out);

/* A hint that bytes of a file will be read soon. */
void vlog_prefetch(struct vlog *v, uint64_t file, uint64_t offset, uint64_t size);

/* Keeps a file from being removed, until as many vlog_unpin(). False: there is no such file. */
bool vlog_pin(struct vlog *v, uint64_t file);
void vlog_unpin(struct vlog *v, uint64_t file);

/* A value to be read in parts, each verified by itself. It stays readable until it is closed, whatever becomes of the
 * record. Any number of threads may read. */
struct vlog_value;
MUST_CHECK enum wombat_status vlog_value_open(struct vlog *v, const struct value_pointer *p, struct vlog_value **out);
/* Bytes that are all within the value. */
MUST_CHECK enum wombat_status vlog_value_read(struct vlog_value *value, uint64_t offset, size_t size, void *out);
const struct value_pointer *vlog_value_pointer(const struct vlog_value *value);
void vlog_value_close(struct vlog_value *value); /* NULL is fine */

/* The next value begins a new file: those that are there do not change any more. */
void vlog_seal(struct vlog *v);

/* While held no file is removed: for who makes pointers that no version shows yet. */
void vlog_hold(struct vlog *v);
void vlog_unhold(struct vlog *v);
/* How often it was let go of. */
uint64_t vlog_unholds(struct vlog *v);
/* As of recovery: all files that are there may be pointed to by changes up to that sequence number. */
void vlog_settle(struct vlog *v, uint64_t sequence);
/* Removes the files that nothing can point into: not live, and with all their changes up to `flushed_sequence`; none if the log
 * was let go of since `unholds`, which was taken before it was looked what is live: what was written meanwhile may be. */
void vlog_remove_dead(struct vlog *v, bool (*is_live)(void *arg, uint64_t file), void *arg, uint64_t flushed_sequence,
	uint64_t unholds);

/* Calls `each` with every file that is not appended to any more and has all its changes up to `flushed_sequence`. */
void vlog_each_settled(struct vlog *v, uint64_t flushed_sequence, void (*each)(void *arg, uint64_t file, uint64_t bytes), void *arg);

struct vlog_counts {
	uint64_t files, bytes;                 /* now */
	uint64_t appended_bytes, appends, reads, syncs, removed_files, removed_bytes; /* since open */
};
void vlog_counts(struct vlog *v, struct vlog_counts *out);
uint64_t vlog_appended_bytes(const struct vlog *v); /* relaxed, without a lock */
void vlog_set_file_bytes(struct vlog *v, uint64_t bytes);

#endif
