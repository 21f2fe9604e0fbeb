/*
 * wombat.h - libwombat, an embedded key-value database in a directory.
 *
 *     struct wombat *db;
 *     if (wombat_open("/var/lib/app.db", NULL, WOMBAT_CREATE, &db) != WOMBAT_OK)
 *             die(wombat_last_error());
 *     wombat_put(db, WOMBAT_USER, WOMBAT_STR("users/42/name"), WOMBAT_STR("Ada"));
 *     struct wombat_record r;
 *     if (wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR("users/42/name"), &r) == WOMBAT_OK) {
 *             fwrite(r.value.data, 1, r.value.size, stdout);
 *             wombat_record_release(&r);
 *     }
 *     wombat_close(db);
 *
 * Records. A record maps a key to a value and carries the time it was written (ns since 1970, UTC),
 * an optional expiry time, and an optional attribute blob that the engine stores but never
 * interprets. Keys are ordered by their bytes (memcmp; a prefix sorts before what extends it).
 * A key is 0 to `max_key_size` bytes (default 4096), a value 0 to `max_value_size` (default 16 TiB; at
 * most 1 GiB in one call, more in parts), an attribute blob 0 to 4 MiB.
 *
 * Keyspaces. One database holds up to 254 ordered namespaces, numbered 1 to 254. WOMBAT_USER is the
 * one that users see; 2 to 15 belong to wombatfs. A batch may change several of them at once.
 *
 * Threads. Every function may be called from any thread at any time on the same `struct wombat`.
 * Iterators, listings, batches, options and records belong to one thread at a time.
 *
 * Errors. A function that can fail returns `enum wombat_status`; wombat_last_error() then gives one
 * sentence about the calling thread's last failure. Outputs (`out_*`) are written only on success.
 *
 * Fork. A database must not be used in a child of fork().
 */
#ifndef WOMBAT_H
#define WOMBAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WOMBAT_API __attribute__((visibility("default")))
#define WOMBAT_MUST_CHECK __attribute__((warn_unused_result))

/* ---- Results ------------------------------------------------------------------------------- */

enum wombat_status {
	WOMBAT_OK = 0,
	WOMBAT_NOT_FOUND,      /* an answer, not a failure: no such key, no such option */
	WOMBAT_INVALID,        /* an argument, option name or option value makes no sense: fix the call */
	WOMBAT_OUT_OF_RANGE,   /* an option value is outside its range */
	WOMBAT_NOT_CHANGEABLE, /* this option cannot change while the database is open */
	WOMBAT_TOO_BIG,        /* key, value, attributes or batch over their limit */
	WOMBAT_EXISTS,         /* WOMBAT_MUST_CREATE, and there is a database already */
	WOMBAT_BUSY,           /* another process (or this one) has the database open */
	WOMBAT_WOULD_BLOCK,    /* WOMBAT_READ_CACHED, and the answer is not in memory: ask again without */
	WOMBAT_READ_ONLY,      /* opened read-only, or made read-only by an earlier background error */
	WOMBAT_NO_SPACE,       /* the disk or a quota is full: free space, then reopen */
	WOMBAT_NO_MEMORY,      /* an allocation failed: nothing was changed (but see wombat_write) */
	WOMBAT_IO,             /* the operating system reported an error on a file */
	WOMBAT_CORRUPTION,     /* bytes on disk are not what was written: run `wombat check` */
	WOMBAT_UNSUPPORTED,    /* written by a newer version, or with a feature that this one lacks */
	WOMBAT_CONFLICT,       /* somebody changed what the transaction is about: begin it anew */
	WOMBAT_STATUS_COUNT
};

/* The status as one lower-case word, "not_found" for instance. Never NULL. */
WOMBAT_API const char *wombat_status_name(enum wombat_status status);

/* One sentence about the calling thread's last failure, "" if there was none. Valid until the
 * thread's next call into the library. */
WOMBAT_API const char *wombat_last_error(void);

/* Library version, "1.0.0". */
WOMBAT_API const char *wombat_version(void);

/* ---- Bytes --------------------------------------------------------------------------------- */

/* Borrowed bytes. `data` may be NULL when `size` is 0. */
struct wombat_slice {
	const uint8_t *data;
	size_t size;
};

#define WOMBAT_SLICE(p, n) ((struct wombat_slice){ (const uint8_t *)(p), (n) })
#define WOMBAT_STR(s) WOMBAT_SLICE((s), __builtin_strlen(s))

enum wombat_keyspace {
	WOMBAT_USER = 1,      /* what users put, and nothing else */
	WOMBAT_FS_DIRS = 2,   /* wombatfs: explicit directories */
	WOMBAT_FS_INODES = 3, /* wombatfs: inode numbers in use that do not follow from a path */
	WOMBAT_FS_META = 4,   /* wombatfs: its own counters and settings */
	WOMBAT_FS_LINKS = 5,  /* wombatfs: files with several names, and these */
	WOMBAT_KEYSPACE_MAX = 254
};

/* ---- Open and close ------------------------------------------------------------------------ */

struct wombat;
struct wombat_options;

enum wombat_open_flags {
	WOMBAT_CREATE = 1 << 0,      /* make the directory and an empty database if there is none */
	WOMBAT_MUST_CREATE = 1 << 1, /* with WOMBAT_CREATE: WOMBAT_EXISTS if there is one */
	WOMBAT_OPEN_READ_ONLY = 1 << 2, /* change no file but the lock's note; the write-ahead log is replayed into memory */
};

/*
 * Opens the database in directory `dir`: locks it, replays the write-ahead log, starts the background
 * threads. `options` may be NULL (defaults); it is copied. A file `wombat.conf` in `dir`, `name=value`
 * lines, is read first; what `options` sets explicitly goes over it.
 *   WOMBAT_NOT_FOUND    no database there, and no WOMBAT_CREATE
 *   WOMBAT_BUSY         somebody has it open; the sentence says who (see wombat_lock_holder)
 *   WOMBAT_CORRUPTION   a file that is needed is damaged; the sentence names file and offset
 *   WOMBAT_UNSUPPORTED  a newer version wrote it
 *   WOMBAT_INVALID, WOMBAT_OUT_OF_RANGE   an option, from whichever source; the sentence says which
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_open(const char *dir,
	const struct wombat_options *options, unsigned flags, struct wombat **out_db);

/*
 * Waits for running calls' background work, syncs the write-ahead log, releases everything. All
 * iterators, listings, snapshots and records of the database must have been freed before. `db` is
 * gone whatever is returned; NULL is fine. An error says that the last writes may not be durable.
 */
WOMBAT_API enum wombat_status wombat_close(struct wombat *db);

/* Who has `dir` open: "pid 812 (wombatfs), mounted on /mnt/db", for messages. WOMBAT_NOT_FOUND: nobody.
 * `out_mountpoint` (may be NULL; `cap` bytes) receives the mount point, "" if it is not mounted. */
WOMBAT_API enum wombat_status wombat_lock_holder(const char *dir, char *out_text, size_t text_cap,
	char *out_mountpoint, size_t mountpoint_cap);

/* Tells those who find the database locked where it is mounted. NULL: no longer. */
WOMBAT_API enum wombat_status wombat_set_mountpoint(struct wombat *db, const char *mountpoint);

/* ---- Read ---------------------------------------------------------------------------------- */

struct wombat_snapshot;

enum wombat_read_flags {
	WOMBAT_READ_META = 1 << 0,     /* leave `value.data` NULL: all but the value's bytes */
	WOMBAT_READ_CACHED = 1 << 1,   /* WOMBAT_WOULD_BLOCK rather than read from the disk */
	WOMBAT_READ_NO_FILL = 1 << 2,  /* do not put what is read into the block cache */
	WOMBAT_READ_AT_HAND = 1 << 3,  /* leave out values that would have to be fetched: those that are large */
};

struct wombat_read_options {
	const struct wombat_snapshot *snapshot; /* NULL: the newest state */
	unsigned flags;                         /* enum wombat_read_flags */
};

/*
 * What a read finds. The slices point into the database's memory, pinned until
 * wombat_record_release(); nothing was copied. `key` is set by iterators only.
 */
struct wombat_record {
	struct wombat_slice key;
	struct wombat_slice value; /* data NULL with WOMBAT_READ_META */
	struct wombat_slice attr;
	uint64_t value_size;       /* also with WOMBAT_READ_META */
	uint64_t stored_size;      /* less than value_size when the value has holes */
	uint64_t time_ns;          /* of its write */
	uint64_t expiry_ns;        /* 0: never */
	uint64_t sequence;         /* of the write: a version that only grows */
	void *pin[5];              /* private */
};

/* Finds a record. `options` may be NULL. WOMBAT_NOT_FOUND: absent, deleted or expired. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_get(struct wombat *db,
	const struct wombat_read_options *options, unsigned keyspace, struct wombat_slice key,
	struct wombat_record *out_record);

/* Lets go of what wombat_get pinned. A zeroed or released record is fine. */
WOMBAT_API void wombat_record_release(struct wombat_record *record);

/* The same with a copy: `*out_value` is from malloc, NUL-terminated beyond its size, the caller's to
 * free(). `out_size` may be NULL. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_get_copy(struct wombat *db,
	const struct wombat_read_options *options, unsigned keyspace, struct wombat_slice key,
	void **out_value, size_t *out_size);

/*
 * A value to be read in parts: of one in the value log only what is asked for is read and verified (in chunks of
 * 32 KiB). It is what the key had when it was opened, whatever becomes of it; closed before the database is. Any
 * number of threads may read one.
 */
struct wombat_value;
/* As wombat_get. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_value_open(struct wombat *db,
	const struct wombat_read_options *options, unsigned keyspace, struct wombat_slice key,
	struct wombat_value **out_value);
/* Its record: size, attributes, times. Its value's bytes only when they were at hand, else NULL. Borrowed. */
WOMBAT_API const struct wombat_record *wombat_value_record(const struct wombat_value *value);
/* Up to `size` bytes at `offset` into `out`; `*out_read`: how many, 0 behind the end. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_value_read(struct wombat_value *value, uint64_t offset,
	void *out, size_t size, size_t *out_read);
/* The first range of bytes, at or behind `offset`, that is stored: what is not is a hole, which reads as zeros.
 * WOMBAT_NOT_FOUND: there is none. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_value_next_data(struct wombat_value *value, uint64_t offset,
	uint64_t *out_from, uint64_t *out_to);
WOMBAT_API void wombat_value_close(struct wombat_value *value); /* NULL is fine */

/* Whether any live record's key starts with `prefix`. When the prefix ends in '/', tables that hold no
 * such key are ruled out by their filters without a read. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_prefix_exists(struct wombat *db,
	const struct wombat_read_options *options, unsigned keyspace, struct wombat_slice prefix,
	bool *out_exists);

/* ---- Write --------------------------------------------------------------------------------- */

enum wombat_write_flags {
	WOMBAT_SYNC = 1 << 0,    /* durable before it returns, whatever sync_writes says */
};

/* One record, defaults for the rest: written now, never expires, no attributes. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_put(struct wombat *db, unsigned keyspace,
	struct wombat_slice key, struct wombat_slice value);

/* Deleting an absent key is fine. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_delete(struct wombat *db, unsigned keyspace,
	struct wombat_slice key);

/* All keys from `from` (included) to `to` (excluded; empty: to the keyspace's end), in one step that
 * costs the same for any number of keys. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_delete_range(struct wombat *db, unsigned keyspace,
	struct wombat_slice from, struct wombat_slice to);

/* A group of changes applied atomically, in order: later ones win. Holds copies of what it is given, but of
 * values that are lent to it (wombat_put_info). */
struct wombat_batch;

/* What a put can say beside key and value; zero means the default. */
struct wombat_put_info {
	uint64_t time_ns;         /* 0: now */
	uint64_t expiry_ns;       /* 0: never */
	struct wombat_slice attr; /* empty: none */
	bool borrow;              /* the value is not copied: it stays the caller's, unchanged until the batch was written
	                             for the last time, cleared or freed. Saves a copy of large values */
};

/* WOMBAT_NO_MEMORY shows as NULL from _new, and from any later call as its status; the batch is then
 * unchanged. wombat_batch_free(NULL) is fine. */
WOMBAT_API struct wombat_batch *wombat_batch_new(void);
WOMBAT_API void wombat_batch_free(struct wombat_batch *batch);
WOMBAT_API void wombat_batch_clear(struct wombat_batch *batch);
WOMBAT_API uint32_t wombat_batch_count(const struct wombat_batch *batch);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_batch_put(struct wombat_batch *batch,
	unsigned keyspace, struct wombat_slice key, struct wombat_slice value,
	const struct wombat_put_info *info); /* info may be NULL */
/* Puts an opened value of the same database (wombat_value_open) under a key: one in the value log is neither read nor
 * written, both keys then have it. It must stay open until the batch was written for the last time. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_batch_put_value(struct wombat_batch *batch,
	unsigned keyspace, struct wombat_slice key, struct wombat_value *value,
	const struct wombat_put_info *info); /* info may be NULL; its `borrow` holds for a value that is copied */
/* Deletes `from`, which an opened value was found by, and puts the value under `to`, another key: at the same cost for any
 * size. The write is WOMBAT_CONFLICT if the record was changed since; `info` as above, so attributes do not come along. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_batch_move_value(struct wombat_batch *batch,
	unsigned keyspace, struct wombat_slice from, struct wombat_slice to, struct wombat_value *value,
	const struct wombat_put_info *info);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_batch_delete(struct wombat_batch *batch,
	unsigned keyspace, struct wombat_slice key);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_batch_delete_range(struct wombat_batch *batch,
	unsigned keyspace, struct wombat_slice from, struct wombat_slice to);

/*
 * Applies the batch; the caller keeps it. Visible to reads when this returns, durable then too with
 * WOMBAT_SYNC or `sync_writes`. `out_sequence` (may be NULL) receives the last change's sequence number.
 * May wait when flushes or compactions are behind (see the stall statistics).
 *   WOMBAT_TOO_BIG      a key, value or attribute blob over its limit; nothing was applied
 *   WOMBAT_READ_ONLY    see there; the sentence has the first cause
 *   WOMBAT_NO_SPACE, WOMBAT_IO, WOMBAT_NO_MEMORY   nothing is visible; after a failed sync, or when memory ran out
 *                       behind the log, the database is read-only, and what a later open finds may or may not
 *                       hold the batch, whole or not at all
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_write(struct wombat *db,
	const struct wombat_batch *batch, unsigned flags, uint64_t *out_sequence);

/* Makes all that was written before durable: one sync of the write-ahead log, and one of the value log if that was appended
 * to. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_sync(struct wombat *db);

/* ---- Changing parts of a value ------------------------------------------------------------- */

/*
 * An edit is a value that is open to be changed in parts, of any size up to `max_value_size`. Nobody else sees its changes
 * before it is committed, all of them at once; a commit writes about as much as was changed, not the value. Large pieces go
 * to the value log as they are written, so an edit takes little memory. What was never written, or was punched out,
 * is a hole: it reads as zeros and takes no space.
 *
 * After a commit the edit goes on, on the state as of then. It is of one thread at a time, and closed before the database
 * is. Several edits of a key may be open: the first to commit wins, the others get WOMBAT_CONFLICT, as they do after any
 * other change of the key.
 */
struct wombat_edit;

enum wombat_edit_flags { WOMBAT_EDIT_CREATE = 1 << 0 /* begin with an empty value if there is no record */ };

/* WOMBAT_NOT_FOUND: there is no record, and no WOMBAT_EDIT_CREATE. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_open(struct wombat *db, unsigned keyspace,
	struct wombat_slice key, unsigned flags, struct wombat_edit **out_edit);
WOMBAT_API uint64_t wombat_edit_size(const struct wombat_edit *edit);
/* Whether there is anything to commit. */
WOMBAT_API bool wombat_edit_is_dirty(const struct wombat_edit *edit);
/* As wombat_value_read and wombat_value_next_data, with the changes made so far. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_read(struct wombat_edit *edit, uint64_t offset, void *out,
	size_t size, size_t *out_read);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_next_data(struct wombat_edit *edit, uint64_t offset,
	uint64_t *out_from, uint64_t *out_to);
/* Behind the end it makes the value longer, with a hole between. WOMBAT_NO_SPACE, WOMBAT_IO, WOMBAT_NO_MEMORY: a part of it
 * may be there, `wombat_edit_size` says how much when it is behind the end. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_write(struct wombat_edit *edit, uint64_t offset,
	const void *data, size_t size);
/* The same with bytes of an opened value of the same database, all within it. What lies in the value log is neither read nor
 * written but shared, and holes are holes. The value may be closed then. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_copy(struct wombat_edit *edit, uint64_t offset,
	struct wombat_value *value, uint64_t value_offset, uint64_t size);
/* Shorter, or longer by a hole. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_truncate(struct wombat_edit *edit, uint64_t size);
/* Makes a hole; the size stays. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_punch(struct wombat_edit *edit, uint64_t offset,
	uint64_t size);
/*
 * Applies the changes and, in the same step, `batch` (may be NULL; not to change the same key, nor to move values). `info` NULL: expiry and
 * attributes stay, and the time is now; else they are replaced by what it says (its `borrow` is not looked at). After a
 * failure the edit is as before, and may be committed again. Statuses as of wombat_write, and
 *   WOMBAT_CONFLICT   somebody changed the key since the edit was opened or committed: close it and begin anew
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_commit(struct wombat_edit *edit,
	const struct wombat_put_info *info, const struct wombat_batch *batch, unsigned flags, uint64_t *out_sequence);
/*
 * Commits as wombat_edit_commit() does, and in the same step under `count` further keys of the keyspace: these have the same
 * value, time, expiry and attributes then, whatever they had before. A large value is there once for all of them, so the
 * cost does not depend on its size, the first time that they get it nor later. Each stays a value of its own: one that is
 * put, deleted or changed by an edit that is committed without some of the others leaves these as they are, and the first
 * such edit copies pointers to what the value has, as wombat_batch_put_value() does. Statuses as of wombat_edit_commit, WOMBAT_CONFLICT also when one of the keys was changed, and
 *   WOMBAT_INVALID    two of the keys are the same, or one is the edit's own
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_edit_commit_keys(struct wombat_edit *edit,
	const struct wombat_slice *keys, size_t count, const struct wombat_put_info *info, const struct wombat_batch *batch,
	unsigned flags, uint64_t *out_sequence);
/* Ends it; what was not committed is lost. NULL is fine. */
WOMBAT_API void wombat_edit_close(struct wombat_edit *edit);

/* ---- Snapshots ----------------------------------------------------------------------------- */

/* The state as of now, kept for reading until released; NULL when out of memory. In memory only. */
WOMBAT_API struct wombat_snapshot *wombat_snapshot_new(struct wombat *db);
WOMBAT_API void wombat_snapshot_release(struct wombat *db, struct wombat_snapshot *snapshot);
WOMBAT_API uint64_t wombat_snapshot_sequence(const struct wombat_snapshot *snapshot);

/*
 * Snapshots with names last until they are dropped, over crashes and opens too. Making one costs a sync, whatever the size
 * of the database; from then on what it shows takes its space. A record with an expiry goes from it when its time comes.
 * A checkpoint and a backup have those that the database had.
 */
struct wombat_snapshot_info {
	const char *name;  /* valid during the call */
	uint64_t sequence; /* of the state */
	uint64_t time_ns;  /* of its making, since 1970 */
};
/* The state as of now, durable when it returns. `name`: 1 to 255 bytes, no '/', and no '.' in front. WOMBAT_EXISTS: there is
 * one of that name. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_snapshot_create(struct wombat *db, const char *name);
/* For reading, until it is released; it stays readable when the name is dropped meanwhile. WOMBAT_NOT_FOUND. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_snapshot_open(struct wombat *db, const char *name,
	struct wombat_snapshot **out_snapshot);
/* WOMBAT_NOT_FOUND: there is none of that name. Its space comes back with compactions. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_snapshot_drop(struct wombat *db, const char *name);
/* Calls `each` with every one, the oldest first; it must not call functions of snapshots with names. */
WOMBAT_API void wombat_snapshot_list(struct wombat *db,
	void (*each)(void *arg, const struct wombat_snapshot_info *info), void *arg);

/* ---- Iterate ------------------------------------------------------------------------------- */

/* Moves over one keyspace's live records in key order, on the state as of its creation. */
struct wombat_iter;

struct wombat_iter_options {
	struct wombat_read_options read; /* WOMBAT_READ_META: values are not fetched */
	struct wombat_slice lower;       /* first key that may show; empty: no bound. Copied */
	struct wombat_slice upper;       /* first key that may not; empty: no bound. Copied */
};

/* `options` may be NULL. The new iterator is not on a record until it was moved. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_iter_new(struct wombat *db,
	const struct wombat_iter_options *options, unsigned keyspace, struct wombat_iter **out_iter);
WOMBAT_API void wombat_iter_free(struct wombat_iter *iter);
/* Each moves, then says whether the iterator stands on a record. False: past an end, or an error. */
WOMBAT_API bool wombat_iter_first(struct wombat_iter *iter);
WOMBAT_API bool wombat_iter_last(struct wombat_iter *iter);
WOMBAT_API bool wombat_iter_seek(struct wombat_iter *iter, struct wombat_slice key);          /* >= key */
WOMBAT_API bool wombat_iter_seek_for_prev(struct wombat_iter *iter, struct wombat_slice key); /* <= key */
WOMBAT_API bool wombat_iter_next(struct wombat_iter *iter); /* only when on a record */
WOMBAT_API bool wombat_iter_prev(struct wombat_iter *iter); /* only when on a record */
WOMBAT_API bool wombat_iter_valid(const struct wombat_iter *iter);
/* The record it stands on; borrowed until the iterator moves. */
WOMBAT_API const struct wombat_record *wombat_iter_record(const struct wombat_iter *iter);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_iter_status(const struct wombat_iter *iter);

/* ---- Transactions -------------------------------------------------------------------------- */

/*
 * Optimistic transactions. One reads the state as of its begin, with its own changes over it; nobody else sees these
 * before the commit, which applies all of them as one batch, or none when somebody changed a key that it changed too.
 * With WOMBAT_SERIALIZABLE none also when somebody changed what it read: then all transactions that commit are as if they
 * had run one after the other. Without (snapshot isolation) two that read what the other changes may both commit.
 *
 * Nothing is locked and nobody waits: who meets a conflict begins anew. A transaction keeps a snapshot, so compactions keep
 * what it may still read; changes, and with WOMBAT_SERIALIZABLE what was read, take memory until the end. It belongs
 * to one thread at a time.
 */
struct wombat_txn;

enum wombat_txn_flags { WOMBAT_SERIALIZABLE = 1 << 0 };

WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_begin(struct wombat *db, unsigned flags,
	struct wombat_txn **out_txn);
/* As wombat_get, `flags` of enum wombat_read_flags. A record that the transaction put itself has sequence 0 and stays
 * readable until the transaction ends. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_get(struct wombat_txn *txn, unsigned keyspace,
	struct wombat_slice key, unsigned flags, struct wombat_record *out_record);
/* As wombat_iter_new, with the changes made so far. A serializable transaction counts as read what the iterator passed over,
 * from where a move began to where it came to stand. Freed before the transaction ends; `options->read.snapshot` is not
 * looked at. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_iter_new(struct wombat_txn *txn,
	const struct wombat_iter_options *options, unsigned keyspace, struct wombat_iter **out_iter);
/* As wombat_prefix_exists, wombat_list_new and wombat_value_open, with the changes made so far. A list or a value is freed before
 * the transaction ends. */
struct wombat_list;
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_prefix_exists(struct wombat_txn *txn, unsigned keyspace,
	struct wombat_slice prefix, unsigned flags, bool *out_exists);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_list_new(struct wombat_txn *txn, unsigned keyspace,
	struct wombat_slice prefix, struct wombat_list **out_list);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_value_open(struct wombat_txn *txn, unsigned keyspace,
	struct wombat_slice key, struct wombat_value **out_value);
/* All copied. A time of 0 is now, not the commit's. WOMBAT_TOO_BIG: as for wombat_write. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_put(struct wombat_txn *txn, unsigned keyspace,
	struct wombat_slice key, struct wombat_slice value, const struct wombat_put_info *info);
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_delete(struct wombat_txn *txn, unsigned keyspace,
	struct wombat_slice key);
/* As wombat_write, and ends the transaction whatever the status. WOMBAT_CONFLICT: nothing was applied; the sentence names
 * the key. `out_sequence` (may be NULL) of one that changed nothing: the state that it read. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_commit(struct wombat_txn *txn, unsigned flags,
	uint64_t *out_sequence);
/* The same, but the transaction goes on: after a conflict or another failure as it was, to be tried again; after WOMBAT_OK it can
 * be read, and a change of it is WOMBAT_INVALID. wombat_txn_abandon() ends it. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_txn_try(struct wombat_txn *txn, unsigned flags,
	uint64_t *out_sequence);
/* Ends it without a trace, but for what was committed; NULL is fine. */
WOMBAT_API void wombat_txn_abandon(struct wombat_txn *txn);

/* ---- Sorted data in bulk ------------------------------------------------------------------- */

/*
 * Ingestion: records in ascending order become tables at once, past the log and the memtable, each byte written once. They
 * become visible together, as one change, with the commit; they replace what the keys had before it, whenever that was
 * written. An ingestion belongs to one thread at a time; several may be under way. Until it is freed, value log files are
 * not given back to the file system.
 */
struct wombat_ingest;
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_ingest_new(struct wombat *db, struct wombat_ingest **out_ingest);
/* Keys ascend, bytewise, within a keyspace, and keyspaces ascend: else WOMBAT_INVALID, and nothing has changed. `info` may
 * be NULL. After another failure it can only be freed. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_ingest_put(struct wombat_ingest *ingest, unsigned keyspace,
	struct wombat_slice key, struct wombat_slice value, const struct wombat_put_info *info);
/*
 * All that was put is visible and durable when it returns. Writers wait meanwhile for a flush of what was written before,
 * most of which is done before they are stopped. The ingestion is empty then and may be used again, from any key on.
 * `out_sequence` may be NULL. After a failure it can only be freed; whether the data is there is said by the next open if
 * wombat_background_status() says so too, else it is not.
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_ingest_commit(struct wombat_ingest *ingest, uint64_t *out_sequence);
/* Does what can be done ahead of a commit, so that it holds writers up for less: what was put comes to the disk, and what was
 * written before is flushed. May be called several times, or never. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_ingest_prepare(struct wombat_ingest *ingest);
/* The same with a batch, whose changes are newer than all that was put: both are visible at once, or after a crash neither is. May
 * be NULL. WOMBAT_CONFLICT, and nothing has changed: a value that the batch moves is another one by now. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_ingest_commit_with(struct wombat_ingest *ingest,
	const struct wombat_batch *batch, uint64_t *out_sequence);
/* What was not committed is gone, its files too; NULL is fine. */
WOMBAT_API void wombat_ingest_free(struct wombat_ingest *ingest);

/* ---- Estimates ----------------------------------------------------------------------------- */

/*
 * About how many keys a keyspace has from `from` on, before `to` (empty: to its end), and how many bytes of tables, value
 * log and memtables they take: by the indexes, without reading data. What was overwritten or deleted and not yet
 * compacted away is in it; tombstones count against the keys that they delete. Within a few tables it is right to about
 * a block at either end, or a tenth of a memtable. Either output may be NULL.
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_estimate(struct wombat *db, unsigned keyspace,
	struct wombat_slice from, struct wombat_slice to, uint64_t *out_keys, uint64_t *out_bytes);

/* ---- Copies of the whole ------------------------------------------------------------------- */

/*
 * Makes `dir`, which must not exist, a database of its own with all that was written before the call, while reads and
 * writes go on. On the same file system tables are shared by hard links, so it costs a flush and a few files; elsewhere
 * they are copied. `dir` is there whole and durable, or not at all.
 *   WOMBAT_EXISTS   something of that name is there
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_checkpoint(struct wombat *db, const char *dir);

/*
 * A backup directory holds any number of backups of a database. What does not change between two of them, which is most
 * tables, is kept once, so a backup costs what is new since the last. Each is numbered and has the checksum of every
 * file. Put it on another device. Calls of several processes on one directory wait for none: the second is WOMBAT_BUSY.
 */
struct wombat_backup_info {
	uint32_t id;        /* from 1 on */
	uint64_t time_ns;   /* since 1970 */
	uint64_t sequence;  /* number of the newest change in it */
	uint64_t files, bytes; /* that it takes to restore it */
	uint64_t copied_files, copied_bytes; /* what of these its making had to copy */
};

/* Makes a backup of an open database, all that was written before the call; `dir` is made if it is missing. `out_info`
 * may be NULL. A crash or a failure leaves the backups that were there. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_backup_create(struct wombat *db, const char *dir,
	struct wombat_backup_info *out_info);
/* Calls `each` with every backup, the oldest first. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_backup_list(const char *dir,
	void (*each)(void *arg, const struct wombat_backup_info *info), void *arg);
/* Reads every byte of a backup, 0: of all. Calls `report` with a sentence for each file that is missing or is not what
 * was copied; WOMBAT_CORRUPTION if there was one. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_backup_verify(const char *dir, uint32_t id,
	void (*report)(void *arg, const char *sentence), void *arg);
/* Removes a backup and what only it needed. WOMBAT_NOT_FOUND: there is none of that number. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_backup_delete(const char *dir, uint32_t id);
/* Makes `database`, which must not exist, from a backup, 0: from the newest; each byte is verified on the way. It is
 * there whole and durable, or not at all. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_backup_restore(const char *dir, uint32_t id, const char *database);

/* ---- List children ------------------------------------------------------------------------- */

/*
 * Lists what lies directly below `prefix`, reading keys as paths cut at '/': of the keys `P/a`, `P/b/c`
 * and `P/b/d` below prefix `P/` the children are value `a` and prefix `b`. What lies below a child is
 * skipped by a seek, so the cost follows the children, not the keys. A child name may be empty (keys
 * `P/` and `P//x`).
 *
 * A name that is both (keys `P/b` and `P/b/c`) shows twice: as a value, with `is_prefix` set as well,
 * and as a prefix, with `is_value` false. Order is that of the keys: a value sorts as its name, a prefix
 * as its name followed by '/', so `b` (value), `b-x`, `b` (prefix).
 *
 * Records come without their values (as with WOMBAT_READ_META): wombat_get() has them.
 */
struct wombat_list;

struct wombat_child {
	struct wombat_slice name;           /* without the prefix, without '/'; borrowed until the next call */
	bool is_value;                      /* this entry is the value at prefix+name */
	bool is_prefix;                     /* keys lie below prefix+name+'/' */
	const struct wombat_record *record; /* value entries: the record. Prefix entries: the first record
	                                       below, whatever its key. Borrowed until the next call */
};

/* `options` may be NULL; `prefix` is copied: "" for the keyspace's top, or ends in '/'. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_list_new(struct wombat *db,
	const struct wombat_read_options *options, unsigned keyspace, struct wombat_slice prefix,
	struct wombat_list **out_list);
WOMBAT_API void wombat_list_free(struct wombat_list *list);
/* Continues after the entry of that name and kind, which need not exist (any more). */
WOMBAT_API void wombat_list_seek_after(struct wombat_list *list, struct wombat_slice name, bool as_prefix);
/* WOMBAT_OK and a child, WOMBAT_NOT_FOUND at the end, or an error. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_list_next(struct wombat_list *list,
	struct wombat_child *out_child);

/* ---- Options ------------------------------------------------------------------------------- */

/*
 * Options have names, and every source uses the same ones: this setter, `wombat.conf`, the command
 * line, a mount's `.wombat/config`. Values are text; sizes take a K, M, G or T suffix (powers of 1024),
 * booleans are true or false. wombat_option_info() lists them all.
 */
WOMBAT_API struct wombat_options *wombat_options_new(void); /* the default preset; NULL: no memory */
WOMBAT_API void wombat_options_free(struct wombat_options *options);
/* WOMBAT_NOT_FOUND: no such option. WOMBAT_INVALID: not a value of its type. WOMBAT_OUT_OF_RANGE. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_options_set(struct wombat_options *options,
	const char *name, const char *value);
/* The value as text that _set accepts. `cap` of 64 always suffices but for paths (4096). */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_options_get(const struct wombat_options *options,
	const char *name, char *out_value, size_t cap);
/* default, memory_optimized, high_performance, durability_focused, bulk_load. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_options_preset(struct wombat_options *options,
	const char *preset);
/* `name=value` lines, '#' comments. The sentence of a failure has the line number. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_options_load(struct wombat_options *options,
	const char *path);

enum wombat_option_type { WOMBAT_TYPE_BOOL, WOMBAT_TYPE_COUNT, WOMBAT_TYPE_SIZE, WOMBAT_TYPE_REAL, WOMBAT_TYPE_ENUM,
	WOMBAT_TYPE_PATH };

struct wombat_option_info {
	const char *name;
	enum wombat_option_type type;
	const char *default_text; /* of the default preset */
	const char *range_text;   /* "1..64", "none|zlib", "true|false" */
	const char *unit;         /* "bytes", "ms", "" */
	bool changeable;          /* while the database is open */
	const char *help;         /* one or two sentences: what it does, what worsens either way */
};

/* The index-th option in the documented order, NULL past the last. Static. */
WOMBAT_API const struct wombat_option_info *wombat_option_info(size_t index);

/* One change of a running database; applied together or not at all (each judged first).
 * WOMBAT_NOT_CHANGEABLE beside the codes of wombat_options_set; nothing is changed then. */
struct wombat_setting {
	const char *name;
	const char *value;
};
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_set(struct wombat *db,
	const struct wombat_setting *settings, size_t count);
/* Judges as wombat_set does and changes nothing. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_judge(struct wombat *db,
	const struct wombat_setting *settings, size_t count);
/* max_key_size and max_value_size as they are now, in bytes: for who asks often. */
struct wombat_limits {
	uint64_t key_size, value_size;
};
WOMBAT_API struct wombat_limits wombat_limits(const struct wombat *db);
/* The value in force. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_get_option(struct wombat *db, const char *name,
	char *out_value, size_t cap);

/* ---- Statistics and upkeep ----------------------------------------------------------------- */

/* Calls `each` for every statistic in a stable order, by its dotted name ("level.0.files"). Values are
 * doubles that hold integers exactly up to 2^53; `is_counter` ones only grow, but for wombat_reset_stats(). */
struct wombat_stat {
	const char *name; /* borrowed for the call */
	double value;
	bool is_integer;
	bool is_counter;
	const char *help; /* NULL for per-level repeats */
};
WOMBAT_API enum wombat_status wombat_stats(struct wombat *db,
	void (*each)(void *arg, const struct wombat_stat *stat), void *arg);

/* One figure by its name; WOMBAT_NOT_FOUND: none of that name. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_stat(struct wombat *db, const char *name, double *out_value);

/* From now on counters, the ratios that are made of them and latencies count from 0, for whoever reads them. What tells a state
 * (sizes, files, levels) stays. WOMBAT_NO_MEMORY: they stay as they were. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_reset_stats(struct wombat *db);

/* Writes the memtable to a table and waits for it. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_flush(struct wombat *db);

/* Compacts the keys of a range (empty: no bound) of one keyspace (0: of all) down to the deepest level
 * that holds any, and waits. What is deleted, overwritten or expired is gone then, but for snapshots. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_compact(struct wombat *db, unsigned keyspace,
	struct wombat_slice from, struct wombat_slice to);

/* Waits until no flush or compaction runs or is due. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_wait_idle(struct wombat *db);

/* Gives back the space of what is deleted, overwritten or expired, but for snapshots: compacts everything and waits until files of
 * the value log whose dead share is over value_log_space_reclaim_threshold are gone. WOMBAT_BUSY: compactions are paused. */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_reclaim(struct wombat *db);

/* Compactions do not start between these; calls nest. Writers may come to wait: see stalls. */
WOMBAT_API void wombat_pause_compaction(struct wombat *db);
WOMBAT_API void wombat_resume_compaction(struct wombat *db);

/* WOMBAT_OK, or the first background error, which made the database read-only. */
WOMBAT_API enum wombat_status wombat_background_status(struct wombat *db);

/*
 * Verifies a database that nobody has open for writing: every file's checksums, the order of keys in and between
 * blocks and tables, the manifest's references, the write-ahead log; then that values in extents are whole. Calls `report` with one sentence
 * per finding (`is_damage` false: information). WOMBAT_CORRUPTION if there was damage.
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_check(const char *dir,
	void (*report)(void *arg, bool is_damage, const char *sentence), void *arg);

/*
 * The same of a database that is open, for its state at the call: all tables and the values that these point to, from the disk,
 * after a flush. It goes on beside everything else, and may be called by any thread.
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_verify(struct wombat *db,
	void (*report)(void *arg, bool is_damage, const char *sentence), void *arg);

/*
 * Makes a damaged database that nobody has open one that opens again, with all that can still be read. Calls `report` with
 * one sentence for each thing that is lost (`is_loss` false: information). Damaged files are kept in the subdirectory
 * `lost`. A record whose value is lost is deleted; where other records are lost, older versions of them may be there
 * again, within the keys that the sentence names. Needs room for what it writes anew: the damaged tables, or all tables
 * when the manifest is lost. Can be run again after a failure or a crash. WOMBAT_OK: nothing is lost. WOMBAT_CORRUPTION:
 * it is repaired, and something is. WOMBAT_NOT_FOUND, WOMBAT_BUSY (somebody has it open) and other failures: it is not
 * repaired. A file system that cannot read a file ends it with WOMBAT_IO: copy the directory to a sound disk first.
 */
WOMBAT_API WOMBAT_MUST_CHECK enum wombat_status wombat_repair(const char *dir,
	void (*report)(void *arg, bool is_loss, const char *sentence), void *arg);

#ifdef __cplusplus
}
#endif
#endif
