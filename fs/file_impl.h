/* What the parts of file.h share: file.c and file_read.c. */
#ifndef WOMBAT_FS_FILE_IMPL_H
#define WOMBAT_FS_FILE_IMPL_H

#include "fs/file.h"

enum { FILE_EDIT_MIN = 64 << 10 }; /* a stored file that is larger is changed in parts */

/* The key that has the content. */
int file_content_key(struct mount *m, const struct node *n, struct key_buf *out);
/* Pins the file's value, if it is not yet. */
int file_hold_value(struct mount *m, struct node *n);
/* Of a pinned value that has no bytes at hand; into the mount's one buffer. */
int file_read_part(struct mount *m, struct node *n, uint64_t offset, size_t size, const uint8_t **out);

#endif
