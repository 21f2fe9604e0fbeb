/*
 * Contents of files: reading from the stage or the store, staging writes, committing them as one value.
 *
 * All functions return 0 or an errno and are called with the mount's lock held.
 */
#ifndef WOMBAT_FS_FILE_H
#define WOMBAT_FS_FILE_H

#include "fs/node.h"

/* Brings the whole content into the stage, to be changed. */
int file_load(struct mount *m, struct node *n);
/* Makes the stage empty without reading what was there. */
int file_truncate_all(struct mount *m, struct node *n);
int file_resize(struct mount *m, struct node *n, uint64_t size);
int file_write(struct mount *m, struct node *n, const void *data, size_t size, uint64_t offset, bool append);
/* Where `size` bytes at `offset` are, as many as there are: borrowed while the lock is held, and until the next call
 * for a file. */
int file_read(struct mount *m, struct node *n, uint64_t offset, size_t size, const uint8_t **out, size_t *out_size);

/*
 * The same for a READ, which others need not wait for: what is committed and not in memory is read without the mount's lock, which is
 * let go meanwhile. The bytes are those that the file held at some moment between. To be ended by file_piece_done() with the lock, but
 * `data` with `buffer` set is the piece's own, and may be used before that without.
 */
struct file_piece {
	const uint8_t *data;
	size_t size;
	uint8_t *buffer;          /* NULL: the data is borrowed */
	struct store_entry entry; /* that it is of */
	bool has_entry;
};
int file_read_piece(struct mount *m, struct node *n, uint64_t offset, size_t size, struct file_piece *out);
/* `m`: the outer mount, as a tree may be gone by then. */
void file_piece_done(struct mount *m, struct file_piece *p);

/* Keeps what the file holds readable, also when its record goes. */
int file_pin(struct mount *m, struct node *n);
/* Zeros from `offset` on, within the file. */
int file_zero(struct mount *m, struct node *n, uint64_t offset, uint64_t size);
/* The first range at or behind `offset` that is stored. ENXIO: there is none. */
int file_next_data(struct mount *m, struct node *n, uint64_t offset, uint64_t *out_from, uint64_t *out_to);
/* Copies bytes from one file to another (or the same, elsewhere) without reading them; *out_size: how many. EOPNOTSUPP: too
 * few for that to be worth it, or the one has no name any more; the kernel then copies. */
int file_copy(struct mount *m, struct node *from, uint64_t from_offset, struct node *to, uint64_t to_offset, uint64_t size,
	size_t *out_size);
/* Commits what is changed in parts at the node or below it, since that is bound to its key. */
int file_settle(struct mount *m, struct node *n);

/* Where the file's value is pinned: anew, for a move, which is of the record as it is now. That has the same value, but may have
 * been put anew, with the directory's key. */
int file_pin_anew(struct mount *m, struct node *n);

/* What a record of the file is to hold, into `value`, `held` or `edit` of a put: its own, or the node's until that changes. */
int file_content(struct mount *m, struct node *n, struct store_change *out);
/* The same for another key beside its own: as an edit where that is large, for the keys to share it. The file has nothing staged
 * that is not committed. To be ended by file_share_done(). */
int file_share(struct mount *m, struct node *n, struct store_change *out);
void file_share_done(struct mount *m, struct node *n);
/* Gives back what reading a whole large value took, but not what reading files takes again and again. */
void file_trim(struct mount *m);

/* Makes the store hold what the node does, if it does not; a directory's attributes too. */
int file_commit(struct mount *m, struct node *n);
/* Commits all that is staged. The first error, after trying all. */
int file_commit_all(struct mount *m);
/* Commits what is due by commit_idle_ms and commit_age_ms. Takes the lock itself: for the session's timer. */
void file_commit_due(struct mount *m);

#endif
