/*
 * Names: lookup, creation, removal, renaming. Each change is one atomic batch of the store.
 *
 * All functions return 0 or an errno and are called with the mount's lock held.
 */
#ifndef WOMBAT_FS_NAMEI_H
#define WOMBAT_FS_NAMEI_H

#include "fs/node.h"

/* Who asks: owner of what is made, and which permissions it shall not have where no access control list says so. */
struct caller {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* Changes gathered for one commit, and the memory they point to. */
struct namei_batch {
	struct store_change *changes;
	size_t count, capacity;
	void **owned;
	size_t owned_count, owned_capacity;
};
void namei_batch_done(struct namei_batch *b);
/* Records: a file with this value, a directory, a taken inode number; and their removal. */
int namei_put_file(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content);
int namei_put_dir(struct mount *m, struct namei_batch *b, struct node *n);
int namei_record_ino(struct mount *m, struct namei_batch *b, uint64_t ino);
int namei_free_ino(struct namei_batch *b, uint64_t ino);
int namei_commit(struct mount *m, struct namei_batch *b);

/*
 * The node of that name, live from here on (not counted as looked up). `entry` may be NULL, or what a listing
 * found for the name, which saves asking.  ENOENT, ENAMETOOLONG, EIO (damaged attributes).
 */
int namei_lookup(struct mount *m, struct node *dir, const char *name, struct node **out);
/* The same, but what is not in memory is read beside what goes on: the mount's lock is let go meanwhile. */
int namei_lookup_beside(struct mount *m, struct node *dir, const char *name, struct node **out);
/* A fresh file, not in the store before its first commit.  EEXIST, EINVAL (a name that no key has), ENAMETOOLONG. */
int namei_create(struct mount *m, struct node *dir, const char *name, mode_t mode, struct caller who, struct node **out);
/* Directories, symbolic links (with their target), special files and empty files: committed at once. */
int namei_make(struct mount *m, struct node *dir, const char *name, mode_t mode, dev_t rdev, const char *target,
	struct caller who, struct node **out);
/* Another name for a file: EEXIST, EPERM (a directory), ENOENT (it has no name any more), EMLINK, EINVAL, ENAMETOOLONG. */
int namei_link(struct mount *m, struct node *n, struct node *dir, const char *name);
int namei_unlink(struct mount *m, struct node *dir, const char *name);
int namei_rmdir(struct mount *m, struct node *dir, const char *name);
int namei_rename(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name,
	unsigned flags);

/* Takes all names of a node away that the store does not have any more. */
void namei_vanish(struct mount *m, struct node *n);

/* A new node's attributes, number and size, from its record. EIO, ENOMEM. */
int namei_take_attr(struct mount *m, struct node *n, bool directory, const struct store_entry *e);
/* Gives a file whose number follows from its name another one if that is in use by one that has several names. */
int namei_avoid_links(struct mount *m, struct node *n);
/* Attributes of a directory's record, if it has one. */
int namei_load_dir(struct mount *m, struct node *n, bool *out_found);

#endif
