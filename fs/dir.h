/*
 * Listings: the names of a directory in one order, from the store's two spaces and the fresh files of the mount.
 *
 * A listing is of the state when it was opened or last rewound: no name shows twice, and none that was there
 * throughout is missed. Its cookies are ordinals; the names of the latest entries are remembered exactly, and of
 * older ones every DIR_CHECKPOINT-th, so memory stays bounded whatever the directory's size.
 */
#ifndef WOMBAT_FS_DIR_H
#define WOMBAT_FS_DIR_H

#include "fs/node.h"

struct dir_handle;

struct dir_entry {
	const char *name;          /* as the kernel is to see it; borrowed until the next call */
	mode_t type;               /* S_IFDIR, S_IFREG, ... */
	uint64_t cookie;           /* of what follows it */
	bool is_dot;               /* "." or "..": not looked up */
	/* What the listing knows of it: attributes of a file record, for a node without asking again. */
	const struct store_entry *entry;
	uint64_t ino;              /* its number, if that is known without a node; 0: it is not */
};

/* All return 0 or an errno; called with the mount's lock held. */
int dir_open(struct mount *m, struct node *n, struct dir_handle **out);
void dir_close(struct mount *m, struct dir_handle *d); /* NULL is fine */
struct node *dir_node(const struct dir_handle *d);
/* Goes to where `cookie` was given out; 0: the beginning, and a new look at the directory. */
int dir_seek(struct mount *m, struct dir_handle *d, uint64_t cookie);
/* Where it is: the cookie of the entry before the one at hand. */
uint64_t dir_offset(const struct dir_handle *d);
/* The entry at hand, again until dir_advance: the reply may have no room for it. ENOENT: the end. */
int dir_peek(struct mount *m, struct dir_handle *d, struct dir_entry *out);
void dir_advance(struct dir_handle *d);
/* The number that the entry has unless it stores another. */
uint64_t dir_default_ino(const struct dir_handle *d, const struct dir_entry *e);
/*
 * How many entries of the reply that begins now shall have their nodes told with them. A node costs a hundred times what a name
 * does, here and in the kernel, and saves the kernel a question if somebody asks for attributes. So all have them, unless the
 * directory is large and nobody seems to ask: see dir.c. Other entries can do without if their number is known (dir_entry.ino);
 * when *out_probe is set, so shall the first, to see whether it is asked for.
 */
size_t dir_grant(struct dir_handle *d, bool *out_probe);
/* So many were told. */
void dir_spend(struct dir_handle *d, size_t nodes);
/* The node of an entry, as of now: by what the listing found while the directory has not changed since, else by a
 * lookup. ENOENT: it is gone meanwhile. */
int dir_entry_node(struct mount *m, struct dir_handle *d, const struct dir_entry *e, struct node **out);

#endif
