/*
 * What is done on the mount, request by request, while somebody reads `.wombat/accesslog`. With no reader a request pays for one look
 * at a number.
 */
#ifndef WOMBAT_FS_ACCESSLOG_H
#define WOMBAT_FS_ACCESSLOG_H

#include "fs/control_impl.h"

/* Of a request that is being answered. */
struct access {
	struct control_text line;
};

static inline bool accesslog_is_read(const struct mount *m)
{
	const struct control_state *c = m->control;
	return c && atomic_load_explicit((atomic_uint *)&c->access_readers, memory_order_acquire) > 0;
}

/* Before the request is answered, while what it is about is sure to be there: notes its operation and path. `request`: of the
 * kernel, whole. False: it is none that is told of. Takes the mount's lock. */
bool accesslog_begin(struct mount *m, const void *request, size_t size, struct access *a);
/* After it: what came of it. `error`: an errno or 0. */
void accesslog_end(struct mount *m, struct access *a, int error, uint64_t took_ns);

#endif
