/*
 * An open control file: its document as of the open, or where the reader of one that goes on is.
 *
 * With commit=write opens are not told. There a control file has a node of its own for each look-up, whose handle is made with it
 * and goes with it, and what is read comes through the page cache, by offset. Called with the mount's lock held.
 */
#ifndef WOMBAT_FS_CONTROL_HANDLE_H
#define WOMBAT_FS_CONTROL_HANDLE_H

#include "fs/control.h"

struct control_handle;

/* `by_offset`: what is read is kept for a while, to be read again. 0 or an errno. */
int control_handle_new(struct mount *m, const struct control_entry *e, bool by_offset, struct control_handle **out);
/* NULL is none. */
void control_handle_free(struct mount *m, struct control_handle *h);
/* How long it is as far as is known; of one that goes on and is read by offset, what there is to read now. */
uint64_t control_handle_size(struct mount *m, struct control_handle *h);
/* Borrowed until the next call. One that goes on gives what comes next, whatever the offset is, unless it is read by offset: then
 * what it gave long ago is EIO. 0, ENOMEM, EIO. */
int control_handle_read(struct mount *m, struct control_handle *h, uint64_t offset, size_t size, const char **out, size_t *out_size);

#endif
