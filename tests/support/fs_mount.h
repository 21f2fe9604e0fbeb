/*
 * A mount without a kernel: a database in memory, its store, nodes and control directory, as fs/main.c sets them up.
 * The store's commits, reads of whole values and limits can be made to fail.
 */
#ifndef WOMBAT_TESTS_FS_MOUNT_H
#define WOMBAT_TESTS_FS_MOUNT_H

#include "fs/file.h"
#include "fs/namei.h"
#include "fs/store.h"
#include "tests/support/check.h"

enum { FS_MOUNT_UID = 4711, FS_MOUNT_GID = 4712 };

struct fs_mount {
	struct mount m;
	struct env *env;                /* what survives fs_mount_reopen() */
	struct store_calls calls;       /* the store's, but for what follows */
	const struct store_calls *real;
	enum store_result commit_result; /* other than STORE_OK: what a commit comes to, and nothing is changed */
	const char *refused_key;        /* not NULL: of commits only those fail whose first change is of this key */
	enum store_result hold_result;   /* likewise, of reading a whole value */
	uint64_t max_value_size;        /* 0: the store's own */
	unsigned commits;               /* that were asked for */
	unsigned looks;                 /* whether a key or a prefix is there */
};

/* One at a time. Both assert that all went well. */
void fs_mount_begin(struct fs_mount *f);
void fs_mount_end(struct fs_mount *f);
/* Unmounts in good order and mounts again. */
void fs_mount_reopen(struct fs_mount *f);
/* As setups and teardowns of cmocka; *state is the mount. */
int fs_mount_setup(void **state);
int fs_mount_teardown(void **state);

static inline struct node *fs_mount_root(struct fs_mount *f) { return &f->m.nodes->root; }
static inline struct store_bytes bytes_of(const char *text)
{
	return (struct store_bytes){ (const uint8_t *)text, __builtin_strlen(text) };
}

/* What the database has at the key: -1 none, else the value's size. With `out` the bytes too, test_free'd by the
 * caller. */
long fs_mount_stored(struct fs_mount *f, enum store_space space, struct store_bytes key, uint8_t **out);

#endif
