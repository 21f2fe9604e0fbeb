/*
 * What the engine needs of an operating system: files, directories, the clock. Everything that touches
 * a disk goes through here, so tests can run on memory (env_mem.h), fail the Nth call, or look at what a
 * power cut would leave.
 *
 * Durability rules, the same for every implementation:
 *   - a file's bytes survive once file_sync() or segment_sync() returned after they were written;
 *   - a file's name (creation, rename, removal) survives once dir_sync() of its directory returned;
 *   - before that either outcome is possible, and unsynced bytes may survive in any order.
 */
#ifndef WOMBAT_ENV_ENV_H
#define WOMBAT_ENV_ENV_H

#include "engine/base/buf.h"
#include "engine/base/status.h"

/* A file being written from its beginning (tables, manifests) or appended to. One thread at a time. */
struct env_writer;
/* A file being read at any offset, by any number of threads. */
struct env_reader;
/*
 * A preallocated file mapped into memory, for the write-ahead log: what is stored at `base` survives the
 * process at once (as the page cache does) and the machine after segment_sync(). Its blocks are
 * allocated and written when it is created, so stores cannot run out of disk.
 */
struct env_segment {
	uint8_t *base;
	size_t size;
};
struct env_lock;

enum env_open_flags {
	ENV_DIRECT = 1 << 0,     /* past the page cache (O_DIRECT), where it can */
	ENV_MMAP = 1 << 1,       /* readers: map the file; env_read gives pointers into the map */
	ENV_SEQUENTIAL = 1 << 2, /* readers: will be read once in order (compaction) */
};

struct env {
	const struct env_calls *calls;
};

struct env_calls {
	void (*free)(struct env *env); /* may be NULL (static) */

	/* Creates `path` (truncating one that is there). `buffer_bytes` are gathered before a write. */
	enum wombat_status (*writer_open)(struct env *env, const char *path, size_t buffer_bytes,
		unsigned flags, struct env_writer **out);
	/* Opens `path` to append behind its current end; creates it if missing. */
	enum wombat_status (*writer_append)(struct env *env, const char *path, struct env_writer **out);
	enum wombat_status (*writer_write)(struct env_writer *w, const void *data, size_t size);
	enum wombat_status (*writer_flush)(struct env_writer *w); /* buffer to the operating system */
	enum wombat_status (*writer_sync)(struct env_writer *w);  /* flush, then to the disk */
	/* Makes durable what was flushed before. The one call that another thread may make beside the others. */
	enum wombat_status (*writer_sync_flushed)(struct env_writer *w);
	enum wombat_status (*writer_close)(struct env_writer *w); /* flushes; frees in any case; NULL is fine */

	/* WOMBAT_NOT_FOUND: no such file. */
	enum wombat_status (*reader_open)(struct env *env, const char *path, unsigned flags, struct env_reader **out);
	/* Exactly `size` bytes at `offset`; WOMBAT_CORRUPTION when the file is shorter. What was appended since it was
	 * opened is seen, unless it is mapped. `*out` is `scratch`, or
	 * the file's own memory (mapped), valid until close. `scratch` has room for `size`. */
	enum wombat_status (*reader_read)(struct env_reader *r, uint64_t offset, size_t size, void *scratch,
		const uint8_t **out);
	/* A hint that the range will be read soon. */
	void (*reader_prefetch)(struct env_reader *r, uint64_t offset, size_t size);
	uint64_t (*reader_size)(const struct env_reader *r);
	void (*reader_close)(struct env_reader *r); /* NULL is fine */

	/* Creates `path` of `size` zero bytes, allocated and written, durable with its name after dir_sync;
	 * or, with `size` 0, maps an existing file as it is. */
	enum wombat_status (*segment_open)(struct env *env, const char *path, size_t size, struct env_segment **out);
	/* Stores bytes at an offset by a system call instead of through the map: what is synced at once is synced three
	 * times as fast so, since no page of the map has to be made writable and protected again. */
	enum wombat_status (*segment_write)(struct env_segment *s, uint64_t offset, const void *data, size_t size);
	/* A hint that all of a range will be stored through the map soon: its pages are made writable together, which costs
	 * less than a fault for each. */
	void (*segment_expect)(struct env_segment *s, uint64_t offset, size_t size);
	/* A hint that nothing more is stored through the map in the pages that lie in a range: the next sync need not
	 * interrupt every processor that the process runs on for each page that it protects. */
	void (*segment_rest)(struct env_segment *s, uint64_t from, uint64_t to);
	/* Makes the stored bytes durable: one fdatasync. */
	enum wombat_status (*segment_sync)(struct env_segment *s);
	void (*segment_close)(struct env_segment *s); /* NULL is fine */

	/* Replaces a file; a directory's new name must be free. */
	enum wombat_status (*rename)(struct env *env, const char *from, const char *to);
	/* A second name for a file that is not written any more. WOMBAT_UNSUPPORTED: not from there to here. */
	enum wombat_status (*link)(struct env *env, const char *from, const char *to);
	enum wombat_status (*remove)(struct env *env, const char *path);
	enum wombat_status (*file_size)(struct env *env, const char *path, uint64_t *out);
	enum wombat_status (*dir_create)(struct env *env, const char *path); /* WOMBAT_OK when it exists */
	enum wombat_status (*dir_remove)(struct env *env, const char *path); /* an empty one */
	/* Calls `each` with every name in it but . and .. */
	enum wombat_status (*dir_list)(struct env *env, const char *path, void (*each)(void *arg, const char *name),
		void *arg);
	enum wombat_status (*dir_sync)(struct env *env, const char *path);
	/* Free bytes for an ordinary user on the file system of `path`, and its total. */
	enum wombat_status (*disk_space)(struct env *env, const char *path, uint64_t *out_free, uint64_t *out_total);

	/* Takes `path` as a lock for this open file description and keeps `note` in it for others to read.
	 * WOMBAT_BUSY: taken (also within this process). */
	enum wombat_status (*lock)(struct env *env, const char *path, const char *note, struct env_lock **out);
	/* The same together with others who take it like this: for reading. Where nothing may be written, the note is kept
	 * nowhere, and a lock whose file is missing excludes nobody; then nobody else can change anything either. */
	enum wombat_status (*lock_shared)(struct env *env, const char *path, const char *note, struct env_lock **out);
	enum wombat_status (*lock_note)(struct env_lock *l, const char *note); /* replaces the note */
	void (*unlock)(struct env_lock *l); /* empties the note; NULL is fine */
	/* The holder's note into `out`, of several who share it the last one's; WOMBAT_NOT_FOUND when nobody holds it. */
	enum wombat_status (*lock_holder)(struct env *env, const char *path, struct buf *out);

	uint64_t (*now_ns)(struct env *env);       /* since 1970, UTC */
	uint64_t (*monotonic_ns)(struct env *env); /* for durations */
	void (*sleep_ns)(struct env *env, uint64_t ns);
};

/* The one of this machine. Static, never freed. */
struct env *env_posix(void);

/* ---- Shorthand over the calls --------------------------------------------------------------- */

/* The whole of a file, at most `max` bytes (WOMBAT_TOO_BIG). */
MUST_CHECK enum wombat_status env_read_file(struct env *env, const char *path, size_t max, struct buf *out);
/* Writes a file so that a crash leaves the old or the new one: temporary name, sync, rename, dir_sync. */
MUST_CHECK enum wombat_status env_replace_file(struct env *env, const char *dir, const char *name,
	struct wombat_slice content);

/* Makes `to` a durable copy of `from` as it is now (its name after dir_sync); the crc32c of its bytes into `out_crc` (may
 * be NULL). On failure there is no `to`. */
MUST_CHECK enum wombat_status env_copy_file(struct env *env, const char *from, const char *to, uint32_t *out_crc);
/* Reads a file from front to back: its size, and the crc32c of its bytes. */
MUST_CHECK enum wombat_status env_sum_file(struct env *env, const char *path, uint64_t *out_size, uint32_t *out_crc);

#endif
