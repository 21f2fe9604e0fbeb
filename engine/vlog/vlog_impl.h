/* What vlog.c and vlog_read.c share. */
#ifndef WOMBAT_VLOG_VLOG_IMPL_H
#define WOMBAT_VLOG_VLOG_IMPL_H

#include <stdatomic.h>

#include "engine/base/mutex.h"
#include "engine/vlog/vlog.h"
#include "engine/vlog/vlog_format.h"

struct vlog_file {
	struct vlog_file *next;
	uint64_t number, bytes;
	struct env_writer *writer; /* NULL: nothing of it needs a sync any more */
	bool sealed;               /* not appended to any more */
	bool dirty;
	unsigned in_flight;        /* values whose change is not made yet */
	unsigned pins;             /* values of it that are open; one more while it is synced */
	uint64_t last_sequence;    /* of the changes that point into it */
};

struct vlog {
	/* Fixed after open. */
	struct env *env;
	char *dir;
	struct lru *cache, *readers;
	unsigned env_flags;
	const atomic_bool *verify;
	uint64_t (*next_file_number)(void *arg);
	void *arg;

	struct mutex mu;
	/* Guarded by it. */
	struct vlog_file *files, *active; /* active: one of them, or NULL */
	unsigned holds;
	uint64_t unholds;
	bool syncing;                     /* somebody is in vlog_sync, without the lock */
	struct condition synced;          /* on it */
	enum wombat_status failed;        /* of the first sync that failed */
	char failure[256];
	uint64_t appends, syncs, removed_files, removed_bytes;

	/* Relaxed: figures and a setting. The first is stored under the lock. */
	atomic_uint_fast64_t appended_bytes, reads, file_bytes;
};

/* vlog.c: a record without a key. */
MUST_CHECK enum wombat_status vlog_append_journal(struct vlog *v, struct wombat_slice payload, uint64_t last_sequence);
/* vlog_read.c */
MUST_CHECK enum wombat_status vlog_read_bytes(struct vlog *v, uint64_t file, uint64_t offset, size_t size, uint8_t *memory);
MUST_CHECK enum wombat_status vlog_readers_new(struct vlog *v);
void vlog_forget_reader(struct vlog *v, uint64_t number);

/* How many chunks a value has whose checksums stand behind it; 0: it is one chunk itself. */
static inline size_t vlog_chunk_count(uint64_t value_size)
{
	return value_size <= VLOG_CHUNK_SIZE ? 0 : (size_t)((value_size + VLOG_CHUNK_SIZE - 1) / VLOG_CHUNK_SIZE);
}
/* The checksum that a record's header begins with. */
uint32_t vlog_header_crc(uint64_t number, uint64_t offset, const uint8_t *header, struct wombat_slice key);

#endif
