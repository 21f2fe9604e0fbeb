/* Set-id bits: see setid.h. */
#include "fs/setid.h"

#include <linux/fuse.h>
#include <stdlib.h>

#include "fs/service.h"

/* Whether the request (a WRITE, an OPEN that truncates, a SETATTR of the size; another one by its caller's not being root) is of
 * a caller whose changes take the bits away. */
static bool is_killed(fuse_req_t req)
{
	const struct fuse_in_header *in = service_request();
	/* What is behind the header is whole: libfuse has looked at it. */
	const void *body = in ? in + 1 : NULL;
	switch (in ? in->opcode : 0) {
	case FUSE_WRITE:
		return ((const struct fuse_write_in *)body)->write_flags & FUSE_WRITE_KILL_SUIDGID;
	case FUSE_OPEN:
		return ((const struct fuse_open_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
	case FUSE_SETATTR:
		return ((const struct fuse_setattr_in *)body)->valid & FATTR_KILL_SUIDGID;
	default:
		return fuse_req_ctx(req)->uid != 0;
	}
}

static void clear(struct node *n, bool in_group)
{
	n->attr.mode &= ~(mode_t)S_ISUID;
	if ((n->attr.mode & S_IXGRP) || !in_group)
		n->attr.mode &= ~(mode_t)S_ISGID;
}

void setid_clear_for_owner(struct node *n, bool in_group)
{
	if (!S_ISDIR(n->attr.mode))
		clear(n, in_group);
}

bool setid_caller_in_group(fuse_req_t req, const struct node *n)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	if (c->uid == 0 || c->gid == n->attr.gid)
		return true;
	int count = fuse_req_getgroups(req, 0, NULL);
	gid_t *groups = count > 0 ? malloc((size_t)count * sizeof *groups) : NULL;
	bool found = false;
	int got = groups ? fuse_req_getgroups(req, count, groups) : 0;
	for (int i = 0; i < got && i < count && !found; i++)
		found = groups[i] == n->attr.gid;
	free(groups);
	return found;
}

void setid_content_changed(fuse_req_t req, struct node *n)
{
	if (S_ISREG(n->attr.mode) && (n->attr.mode & (S_ISUID | S_ISGID)) && is_killed(req))
		clear(n, setid_caller_in_group(req, n));
}
