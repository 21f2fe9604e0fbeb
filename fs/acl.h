/*
 * POSIX access control lists: kept as the kernel encodes them, in the attributes system.posix_acl_access and
 * system.posix_acl_default (POSIX 1003.1e draft 17; acl(5)). The kernel enforces them where it checks permissions
 * (default_permissions); here mode and list are kept in step with each other, and children get what their directory says.
 * All are called with the mount's lock held and return 0 or an errno.
 */
#ifndef WOMBAT_FS_ACL_H
#define WOMBAT_FS_ACL_H

#include "fs/node.h"

bool acl_is_name(const char *xattr);
/* Whether the database ever had a list is recorded: where it did not, and the kernel enforces none, programs that ask for the list of
 * each file are told that there are none at all. At the begin of a mount. */
int acl_load(struct mount *m);
/* The access list also says what the mode's nine bits are; one that says no more than these is not kept. `in_group`: the caller
 * may keep the set-group-id bit. EINVAL: not a list, EACCES: a default list for something else than a directory, EOPNOTSUPP: a
 * symbolic link; ENOSPC, ENOMEM. */
int acl_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, bool in_group);
/* One that is not there is removed all the same. */
int acl_remove(struct mount *m, struct node *n, const char *name);
/* The mode was changed: the access list follows. */
void acl_follow_mode(struct node *n);
/* A new node, with the mode that its maker asked for: the directory's default list takes from that and becomes the node's;
 * without one the maker's umask takes from it. ENOMEM, ENOSPC. */
int acl_inherit(const struct node *dir, struct node *n, mode_t umask);

#endif
