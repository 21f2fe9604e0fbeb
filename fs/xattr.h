/*
 * Extended attributes: kept encoded in a node's attributes (attr_format.h). All return 0 or an errno and are called
 * with the mount's lock held.
 */
#ifndef WOMBAT_FS_XATTR_H
#define WOMBAT_FS_XATTR_H

#include "fs/node.h"

/* Whether an attribute of that name may be kept: 0; EOPNOTSUPP: not of that namespace; EINVAL: it is the namespace alone. */
int xattr_judge(const char *name);
/* ENODATA: no such attribute. The value is borrowed while the lock is held. */
int xattr_get(const struct node *n, const char *name, const uint8_t **out, size_t *out_size);
/* `flags` as of setxattr(2): EEXIST, ENODATA. What xattr_judge() says of the name. ERANGE, E2BIG, ENOSPC: name,
 * value, total too long. */
int xattr_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, int flags);
int xattr_remove(struct mount *m, struct node *n, const char *name);
/* The same for any namespace, and without a mark that the node was changed. False: it was not there. */
int xattr_store(struct node *n, const char *name, const void *value, size_t size);
bool xattr_drop(struct node *n, const char *name);
/* Calls `each` with each name; NUL-terminated for the call. */
void xattr_list(const struct node *n, void (*each)(void *arg, const char *name, size_t len), void *arg);

#endif
