/*
 * When set-id bits go. The kernel leaves that to this filesystem (HANDLE_KILLPRIV_V2, initreply.c), and says with a
 * request whether the caller lacks the right to keep them; libfuse drops that word, so it is read from the request itself.
 */
#ifndef WOMBAT_FS_SETID_H
#define WOMBAT_FS_SETID_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "fs/node.h"

/* The request changed content: if its caller's changes take the bits away, of a regular file the set-user-id bit goes, and that
 * of the group where the group may execute or the caller is not in it. */
void setid_content_changed(fuse_req_t req, struct node *n);
/* The owner changed: likewise, of all but directories; `in_group` false takes the group's bit in any case. */
void setid_clear_for_owner(struct node *n, bool in_group);
/* Whether the caller is root or in the node's group. */
bool setid_caller_in_group(fuse_req_t req, const struct node *n);

#endif
