/* What the files about names (namei*.c) share. */
#ifndef WOMBAT_FS_NAMEI_IMPL_H
#define WOMBAT_FS_NAMEI_IMPL_H

#include "fs/namei.h"

/* A name taken apart. */
struct place {
	struct node *dir;
	const char *name;
	size_t len;
	enum keypath_kind kind;
	uint8_t part[KEYPATH_NAME_MAX];
	size_t part_len;
};
int namei_place_of(struct mount *m, struct node *dir, const char *name, struct place *out);
/* Key of the place as a file, or as the prefix of a directory. Replaces the buffer. */
int namei_place_key(const struct place *p, bool directory, struct key_buf *out);
struct node *namei_make_node(struct mount *m, const struct place *p, bool directory);

/* The batch frees `p`, also when this fails. */
int namei_own(struct namei_batch *b, void *p);
int namei_add(struct namei_batch *b, struct store_change change);
/* A change of the key, which the batch takes over. */
int namei_add_keyed(struct namei_batch *b, struct store_change change, struct key_buf *key);
/* The node's attributes, for a change that puts its record. */
int namei_add_attr(struct mount *m, struct namei_batch *b, const struct node *n, struct store_change *change);
/* Takes the record away that the node, or further name of one, has by its own name. */
int namei_delete_file(struct namei_batch *b, const struct node *name);
int namei_delete_dir(struct namei_batch *b, const struct node *n);
/* Moves all changes of `from` behind those of `b`. */
int namei_append(struct namei_batch *b, struct namei_batch *from);

/* A change of an implicit directory makes it explicit, in the same step: or it would vanish with its last key. */
int namei_keep_dir(struct mount *m, struct namei_batch *b, struct node *dir);
/* After it. */
void namei_dir_changed(struct mount *m, struct node *dir);
/* ENOTEMPTY when anything shows in the directory. */
int namei_check_empty(struct mount *m, const struct node *n);
/* An unlinked file that is open keeps what it holds. */
int namei_keep_content(struct mount *m, struct node *n);

/* ---- namei_link.c: files with several names ---- */

/* Whether the file stays when one name goes. */
bool namei_has_more(const struct node *n);
/* To be called before any name of the file goes or moves. */
int namei_settle_links(struct mount *m, struct node *n);
/* Adds to the batch, beside the end of the name's record, what else it leaves of the group. */
int namei_delete_link(struct mount *m, struct namei_batch *b, struct node *n, const struct node *name);
/* After the commit: the name, itself or an alias, goes from memory. The file is not released. */
void namei_drop_link(struct mount *m, struct node *name);
/* namei_unlink() of one of several names. */
int namei_unlink_one(struct mount *m, struct node *dir, const char *name, struct node *n);

/* A value that a batch puts, to be let go of after the commit. */
struct namei_held {
	struct store_entry entry;
	bool any;
};
void namei_held_done(struct mount *m, struct namei_held *h);
/* Adds what gives the name's record another place, but for the end of the old one. */
int namei_move_link(struct mount *m, struct namei_batch *b, struct node *n, const struct node *name, const struct place *p,
	bool exchanged, struct namei_held *held);

#endif
