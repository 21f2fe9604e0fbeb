/*
 * Attributes that are not stored but computed: `user.wombat.*`. They are in no list, so that programs that copy all
 * attributes of a file do not take its key or its expiry along. All return 0 or an errno and are called with the mount's
 * lock held.
 *
 *     user.wombat.key            the key's bytes; of a directory the prefix of what is in it
 *     user.wombat.ttl            files: whole seconds until the key expires, rounded up. Settable, fractions too; removable
 *     user.wombat.seq            number of the change that made the record
 *     user.wombat.size_on_disk   files: the value's bytes less its holes; directories: as `bytes`
 *     user.wombat.entries        directories: keys below it at any depth, estimated
 *     user.wombat.bytes          directories: what these take in tables and logs, estimated
 */
#ifndef WOMBAT_FS_XATTR_VIRTUAL_H
#define WOMBAT_FS_XATTR_VIRTUAL_H

#include "fs/node.h"

bool xattr_is_virtual(const char *name);
/* ENODATA: no such attribute, or none of this file. Replaces the buffer. */
int xattr_virtual_get(struct mount *m, const struct node *n, const char *name, struct key_buf *out);
/* EPERM: it can be read only; EINVAL, ERANGE: no number of seconds; EOPNOTSUPP: a directory's ttl; EEXIST, ENODATA: by the
 * flags of setxattr(2). What is not staged with other changes is committed at once. */
int xattr_virtual_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, int flags);
int xattr_virtual_remove(struct mount *m, struct node *n, const char *name);

#endif
