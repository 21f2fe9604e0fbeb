/*
 * What a filesystem needs of a database. wombatfs speaks to this alone, so that the same tree can stand on
 * another engine; no notion of an LSM tree shows here.
 *
 * Spaces are named sets of ordered keys. Reads give the newest state, unless the store is of a
 * snapshot. A change is a list of puts and
 * deletes with guards, applied as one or not at all. Calls may block; `may_block` false in a read asks for
 * an answer from memory or STORE_WOULD_BLOCK.
 */
#ifndef WOMBAT_FS_STORE_H
#define WOMBAT_FS_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_result {
	STORE_OK = 0,
	STORE_NOT_FOUND,
	STORE_CONFLICT,    /* a guard did not hold; nothing was changed */
	STORE_TOO_BIG,
	STORE_NO_SPACE,
	STORE_NO_MEMORY,
	STORE_READ_ONLY,
	STORE_WOULD_BLOCK,
	STORE_UNAVAILABLE, /* try again later */
	STORE_UNKNOWN,     /* a change may or may not have been applied */
	STORE_DAMAGED,
	STORE_IO,
	STORE_INVALID,
};

enum store_space {
	STORE_USER = 1,   /* keys as users see them */
	STORE_DIRS = 2,   /* explicit directories: key is the path with a trailing '/' */
	STORE_INODES = 3, /* inode numbers in use that do not follow from a path */
	STORE_META = 4,   /* the filesystem's own settings and counters */
	STORE_LINKS = 5,  /* files with several names, and these: see links.h */
};

struct store_bytes {
	const uint8_t *data;
	size_t size;
};

/* A found entry: borrowed until store_entry_release. */
struct store_entry {
	struct store_bytes value; /* data NULL when only metadata was asked */
	struct store_bytes attr;
	uint64_t value_size, time_ns, expiry_ns, version;
	uint64_t stored_size;     /* less than value_size: the value has holes */
	void *pin[5];
	void *parts; /* of hold: a value that is large is not in memory, but read by read_held */
};

struct store_child {
	struct store_bytes name;
	bool is_value, is_prefix; /* as in wombat_list: a name that is both shows twice, see there */
	const struct store_entry *entry; /* of value entries; for prefix entries NULL */
};

/* A value that is being changed in parts: see edit_open. */
struct store_edit;

enum store_guard { STORE_GUARD_NONE, STORE_GUARD_ABSENT, STORE_GUARD_VERSION };

struct store_change {
	enum { STORE_PUT, STORE_DELETE, STORE_DELETE_PREFIX } op; /* _PREFIX: all keys that start with key */
	enum store_space space;
	struct store_bytes key, value, attr;
	struct store_entry *held;      /* puts: not NULL: the value of an entry from hold(), which is neither read nor written */
	struct store_bytes moved_from; /* puts of a held value, not empty: the key that it was held by, which goes */
	struct store_edit *edit;       /* puts: not NULL: the value of an edit of this key; one of them in a commit */
	const struct store_bytes *also; /* of an edit: so many further keys that get the same; none is changed otherwise */
	size_t also_count;
	uint64_t time_ns, expiry_ns;   /* puts; time 0: now */
	enum store_guard guard;
	uint64_t guard_version;
};

struct store;
struct store_list;
struct store_move;

struct store_calls {
	void (*close)(struct store *s, bool clean);
	/* meta_only: the value's bytes are not needed. */
	enum store_result (*get)(struct store *s, enum store_space space, struct store_bytes key, bool meta_only,
		bool may_block, struct store_entry *out);
	void (*entry_release)(struct store *s, struct store_entry *entry);
	enum store_result (*prefix_exists)(struct store *s, enum store_space space, struct store_bytes prefix,
		bool may_block, bool *out);
	/* Children of a prefix, resumable; a consistent state as of list_open (or the last list_seek). */
	enum store_result (*list_open)(struct store *s, enum store_space space, struct store_bytes prefix,
		struct store_list **out);
	void (*list_seek)(struct store_list *l, struct store_bytes after, bool as_prefix);
	enum store_result (*list_next)(struct store_list *l, struct store_child *out);
	void (*list_close)(struct store_list *l);
	/* All keys below a prefix in order, for moves; `each` returns false to stop. */
	enum store_result (*scan)(struct store *s, enum store_space space, struct store_bytes prefix, bool meta_only,
		bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg);
	/* Atomic. `durable`: on disk before it returns. */
	enum store_result (*commit)(struct store *s, const struct store_change *changes, size_t count, bool durable,
		uint64_t *out_version);
	/* Moves every key below `from` to below `to`, of users and of directories, and then applies `changes`, in one
	 * atomic step; what lay below `to` is removed, or with `exchange` moved to below `from`. The store may do it
	 * its own way. */
	enum store_result (*move_prefix)(struct store *s, struct store_bytes from, struct store_bytes to, bool exchange,
		const struct store_change *changes, size_t count);
	/* The same for many keys, without holding others up; NULL: the store has no such way. What lies below `to` must be nothing.
	 * _begin keeps the present state, _copy writes it below `to`, for as long as that takes, beside any other calls, and _commit
	 * ends it as above, with what was changed meanwhile; STORE_CONFLICT then: more was changed than can be followed, and nothing has
	 * moved. The others are called as commits are: one at a time with these. _end follows in any case. */
	enum store_result (*move_begin)(struct store *s, struct store_bytes from, struct store_bytes to, struct store_move **out);
	enum store_result (*move_copy)(struct store_move *move);
	enum store_result (*move_commit)(struct store_move *move, const struct store_change *changes, size_t count);
	void (*move_end)(struct store_move *move); /* NULL is none */
	/* Keeps the present value of a key readable after it is deleted or replaced (unlinked open files). Of a large value
	 * the entry has no bytes: `parts` is set then. */
	enum store_result (*hold)(struct store *s, enum store_space space, struct store_bytes key, struct store_entry *out);
	/* Bytes of such a value, all within it. */
	enum store_result (*read_held)(struct store *s, struct store_entry *entry, uint64_t offset, size_t size, void *out);
	/* The first range of it, at or behind `offset`, that is stored and not just zeros. STORE_NOT_FOUND: none. */
	enum store_result (*next_held)(struct store *s, struct store_entry *entry, uint64_t offset, uint64_t *out_from,
		uint64_t *out_to);
	/* Opens the value of a key, an empty one if it is absent, to be changed in parts, of any size and with holes; a
	 * commit makes the changes the value. STORE_CONFLICT then: somebody else changed it. */
	enum store_result (*edit_open)(struct store *s, enum store_space space, struct store_bytes key, struct store_edit **out);
	void (*edit_close)(struct store_edit *edit);
	/* Bytes that are all within the value. */
	enum store_result (*edit_read)(struct store_edit *edit, uint64_t offset, size_t size, void *out);
	enum store_result (*edit_write)(struct store_edit *edit, uint64_t offset, const void *data, size_t size);
	/* Bytes of an entry from hold(), all within it; they are shared where they are large. */
	enum store_result (*edit_copy)(struct store_edit *edit, uint64_t offset, struct store_entry *held, uint64_t held_offset,
		uint64_t size);
	enum store_result (*edit_resize)(struct store_edit *edit, uint64_t size);
	/* Zeros that take no space. */
	enum store_result (*edit_punch)(struct store_edit *edit, uint64_t offset, uint64_t size);
	enum store_result (*edit_next)(struct store_edit *edit, uint64_t offset, uint64_t *out_from, uint64_t *out_to);
	/* The state that was kept under a name, as a store whose changes are all STORE_READ_ONLY. STORE_NOT_FOUND. It is
	 * closed before `s` is, and shows what it does when the name is dropped meanwhile. */
	enum store_result (*snapshot_open)(struct store *s, const char *name, struct store **out);
	/* About how many keys start with the prefix, and what they take, without reading them. */
	enum store_result (*estimate)(struct store *s, enum store_space space, struct store_bytes prefix, uint64_t *out_keys,
		uint64_t *out_bytes);
	enum store_result (*sync)(struct store *s);
	enum store_result (*space)(struct store *s, uint64_t *out_total, uint64_t *out_free, uint64_t *out_used,
		uint64_t *out_entries);
	uint64_t (*max_value_size)(struct store *s);
	uint64_t (*max_key_size)(struct store *s);
	const char *(*last_error)(struct store *s); /* a sentence about the calling thread's last failure */
};

struct store {
	const struct store_calls *calls;
	/* Moves on when a change begins and when it has ended, well or not: what was absent is so while the number stays. */
	atomic_uint_fast64_t changes;
};
static inline uint64_t store_changes(struct store *s) { return atomic_load_explicit(&s->changes, memory_order_acquire); }
static inline void store_note_change(struct store *s) { atomic_fetch_add_explicit(&s->changes, 1, memory_order_acq_rel); }

/* A commit, or a move of one prefix to another with changes. */
struct store_told {
	const struct store_change *changes;
	size_t count;
	const struct store_bytes *from, *to; /* NULL: no move */
	bool exchange;
	uint64_t version;
};

/* The embedded store over an open libwombat database, which it does not own. */
struct wombat;
enum store_result store_lsm_new(struct wombat *db, struct store **out);

/*
 * A store over a transaction of the database of `main`, which is such a store: its changes are seen by it alone. All is kept in
 * memory, values as a whole, and those of more than 1 GiB are STORE_TOO_BIG. Of a change that could not be kept whole, for want of
 * memory, the transaction can only be closed: STORE_UNAVAILABLE.
 */
enum store_result store_txn_new(struct store *main, struct store **out);
/* Its changes become those of `main`, whose observer is told of them, all or none. STORE_CONFLICT: a key was changed there since,
 * which last_error() names; it can be tried again. After STORE_OK it still shows what it did, and its changes are
 * STORE_READ_ONLY. */
enum store_result store_txn_commit(struct store *s);
/* The keys that it has changed, ascending by space. `each` returns false to stop. */
enum store_result store_txn_each(struct store *s, bool (*each)(void *arg, enum store_space space, struct store_bytes key),
	void *arg);

/* From now on `each` is called after each commit, in their order, by the thread that made it. */
void store_lsm_observe(struct store *s, void (*each)(void *arg, const struct store_told *told), void *arg);

#endif
