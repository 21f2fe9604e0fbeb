/*
 * Live nodes: what the kernel knows of (lookup count), what is open, what is staged, and the directories above these.
 *
 * A node is named by its parent and its name there; its key follows from the path, so renaming a directory changes
 * nothing but that one node. All of it is guarded by the mount's one lock (`nodes->mu`): a request spends about ten
 * microseconds in the kernel and one or two here.
 *
 * States of a file's data:
 *     committed   no stage, or one that equals the record; the store has what is to be seen
 *     dirty       the stage, or the attributes, are newer than the record: on the list of staged nodes
 *     fresh       dirty, and there is no record yet: it shows only through the mount, by its parent's list
 *     unlinked    has no name; lives until its last close, never committed
 *
 * A file with several names (links.h) has one of them itself, if it is live, and for each other live one an alias: a node
 * in the table that is nothing but that name. Without any it is found by its number.
 */
#ifndef WOMBAT_FS_NODE_H
#define WOMBAT_FS_NODE_H

#include <limits.h>
#include <pthread.h>

#include "fs/attr.h"
#include "fs/keypath.h"
#include "fs/store.h"

struct control_entry;
struct control_handle;
struct expiry;
struct links;

struct key_buf {
	uint8_t *data;
	size_t size, capacity;
};

enum { NODE_NAME_ROOM = 48 };

struct node {
	struct node *hash_next;
	struct mount *mount;            /* whose node it is: the mount's, or that of a tree below its control directory */
	uint64_t hash;                  /* of parent and name */
	struct node *parent;            /* counted; NULL: the root, or unlinked */
	char *name;                     /* in the parent, as the kernel says it; in `room` if it is short */
	size_t name_len;
	enum keypath_kind kind;
	uint8_t *part;                  /* the name's key bytes */
	size_t part_len;

	uint64_t lookups;               /* the kernel's count */
	unsigned opens, writers;        /* open descriptors, of these for writing */
	unsigned children;              /* live nodes whose parent this is */

	uint64_t ino;
	struct attr attr;
	const struct control_entry *control; /* of `.wombat/` */
	struct control_handle *handle;  /* of a control file, where opens are not told */

	bool explicit_dir;              /* a directory with a record */
	bool fresh, unlinked;
	bool data_dirty, attr_dirty;
	bool ino_recorded;              /* its number is in STORE_INODES */
	uint32_t cached;                /* the kernel was given all of a file's content, and may have it still: see neighbours.c */
	uint64_t changes;               /* directories: counts changes of their names */
	uint64_t asked;                 /* directories: counts what the kernel asked of single names: see dir_grant */

	/* Staged data: what the file holds; NULL data with staged set: empty. */
	bool staged;
	struct store_edit *edit;        /* of a large file; then it has what the file holds, and no data is here */
	uint8_t *data;
	size_t data_capacity;           /* attr.size is the file's size */
	int64_t dirty_since_ns, written_ns;

	struct store_entry held;        /* a pinned value: of a large file while it is read, of an unlinked one */
	bool has_held;

	struct node *staged_prev, *staged_next; /* ring of nodes that are dirty */
	struct node *fresh_list;        /* directories: their fresh children */
	struct node *fresh_prev, *fresh_next;
	size_t expiry_slot;             /* its place among those that expire: see expiry.h; 0: none */
	struct links *links;            /* of a file with several names; else NULL */
	struct node *aliases, *alias_next; /* its further live names; the next of them */
	struct node *alias_of;          /* not NULL: this is such a name, of that file, and nothing more */
	bool orphan;                    /* unlinked while in use: on the table's list, by fresh_prev and fresh_next */
	char room[NODE_NAME_ROOM];
};

/* The kernel looks a name up before it has it made, or a file renamed to it: namei_lookup() is asked twice. */
enum { NODE_MISSING = 4 };
struct node_missing {
	const struct node *dir; /* and its number then: not followed, it may be gone, or be another's by now */
	uint64_t dir_ino, changes; /* of the store, when it was not there */
	size_t len;
	char name[NAME_MAX];
};

struct node_table {
	pthread_mutex_t mu;
	struct node **buckets;
	size_t bucket_count, count;
	size_t live;                    /* nodes there are, those without a name too; not the root */
	struct node root;
	struct node dirty;              /* ring's head */
	struct node *orphans;           /* few: unlinked, and open or still known to the kernel */
	bool inodes_recorded;           /* STORE_INODES is not empty */
	uint64_t boot;                  /* differs per mount: generation */
	uint64_t sessions;              /* counts holds of the lock in which something may have changed */
	struct expiry *expiry;          /* live nodes that expire */
	struct links **links;           /* live files with several names, by number */
	size_t links_buckets, links_count;
	bool links_recorded;            /* STORE_LINKS is not empty */
	bool acls_recorded;             /* some file may have an access control list: acl.h */
	struct node_missing missing[NODE_MISSING]; /* names that were looked up last and are not there */
	bool from_memory;               /* names are looked up so; EAGAIN: the store would have to read */
	uint8_t *part;                  /* of a large value that is being read: file_read's */
	size_t part_capacity;
	uint8_t *piece;                 /* of PIECE_MAX bytes, for the next READ of such a value; NULL: it is in use, or there was none */
};

/* The one lock; of a tree below the control directory that of the mount that it is in. _quietly: nothing that the kernel is told of
 * nodes or names changes while it is held. Whoever waits for a condition with it says mount_may_change() behind that. */
static inline void mount_lock_quietly(struct mount *m) { pthread_mutex_lock(&mount_outer(m)->nodes->mu); }
static inline void mount_may_change(struct mount *m) { mount_outer(m)->nodes->sessions++; }
static inline void mount_lock(struct mount *m)
{
	mount_lock_quietly(m);
	mount_may_change(m);
}
static inline void mount_unlock(struct mount *m) { pthread_mutex_unlock(&mount_outer(m)->nodes->mu); }

int node_table_init(struct mount *m);
void node_table_done(struct mount *m);

static inline uint64_t node_id(const struct mount *m, const struct node *n)
{
	return n == &m->nodes->root && !m->outer ? 1 : (uint64_t)(uintptr_t)n;
}
static inline struct node *node_of(struct mount *m, uint64_t id)
{
	return id == 1 ? &mount_outer(m)->nodes->root : (struct node *)(uintptr_t)id;
}
/* Whether somebody may have it open: where opens are not told, as long as the kernel knows it. */
static inline bool node_is_used(const struct node *n) { return n->opens || (n->lookups && n->mount->options.commit_write); }
static inline bool node_is_dir(const struct node *n) { return S_ISDIR(n->attr.mode); }

/* The live node of that name, not counted; NULL: none. */
struct node *node_find(struct mount *m, const struct node *parent, const char *name, size_t len);
/* The same, but of a file with several names what stands for that one: itself or an alias. */
struct node *node_find_name(struct mount *m, const struct node *parent, const char *name, size_t len);
/* Another name of a live file; it gets it itself if it has none. 0, ENOMEM. */
int node_add_name(struct mount *m, struct node *n, struct node *parent, const char *name, size_t len, enum keypath_kind kind,
	const uint8_t *part, size_t part_len);
/* Takes one of several names away, itself or an alias. The file stays, also without any; it is not released. */
void node_drop_name(struct mount *m, struct node *name);
/* A new one, in the table, with nothing but its name and default number. NULL: no memory. */
struct node *node_new(struct mount *m, struct node *parent, const char *name, size_t len, enum keypath_kind kind,
	const uint8_t *part, size_t part_len, bool directory);
/* One without a name, to be found by nobody: it goes with the kernel's last reference. NULL: no memory. */
struct node *node_new_nameless(struct mount *m, uint64_t ino, mode_t mode);
/* Frees it if nothing keeps it, and then its parent likewise. */
void node_release(struct mount *m, struct node *n);
/* Takes its name away. While it is open its number stays its own. */
void node_unlink(struct mount *m, struct node *n);
bool node_is_orphan_ino(const struct mount *m, uint64_t ino);
/* Gives it, or an alias, another place; the name there must be free. 0, ENOMEM. */
int node_move(struct mount *m, struct node *n, struct node *parent, const char *name, size_t len, enum keypath_kind kind,
	const uint8_t *part, size_t part_len);
/* The number that a file or directory of that name has unless it stores another. */
uint64_t node_default_ino(const struct node *parent, const uint8_t *part, size_t part_len, bool directory);

/* Key of a file node; prefix of a directory node's children (with its '/'). Replaces the buffer. 0, ENOMEM. */
int node_file_key(const struct node *n, struct key_buf *out);
int node_dir_key(const struct node *n, struct key_buf *out);
int key_append(struct key_buf *k, const void *data, size_t size);
static inline struct store_bytes key_bytes(const struct key_buf *k) { return (struct store_bytes){ k->data, k->size }; }
void key_done(struct key_buf *k);
/* How names are read in a directory; `pending` receives the bytes of the component so far. */
int node_context(struct mount *m, const struct node *dir, struct keypath_context *out, struct key_buf *pending);

/* The list of dirty nodes. */
void node_mark_data(struct mount *m, struct node *n);
void node_mark_attr(struct mount *m, struct node *n);
void node_mark_clean(struct mount *m, struct node *n);
/* A fresh file is on its parent's list. */
void node_mark_fresh(struct node *n);
void node_clear_fresh(struct node *n);
/* A directory's names changed: its times too. */
void node_touch_dir(struct mount *m, struct node *dir);

/* The staged bytes alone: it stays staged. */
void node_drop_data(struct mount *m, struct node *n);
void node_drop_stage(struct mount *m, struct node *n);
void node_drop_held(struct mount *m, struct node *n);
/* Room for `size` bytes of staged data. 0, ENOMEM. */
int node_reserve(struct mount *m, struct node *n, size_t size);

#endif
