/*
 * accesslog: a line of JSON for each request of the kernel, see accesslog.h.
 *
 *     {"time":1764240000.123456789,"op":"create","path":"a/b","pid":71,"uid":0,"ns":10200}
 *     {"time":...,"op":"read","path":"a/b","offset":0,"size":4096,"pid":71,"uid":0,"ns":2100}
 *     {"time":...,"op":"lookup","path":"a/c","pid":71,"uid":0,"error":"ENOENT","ns":1800}
 *     {"time":...,"op":"rename","path":"a/b","to":"a/c","pid":71,"uid":0,"ns":9400}
 *     {"lost":12}                       the reader was too slow: so many lines are missing here
 *
 * "ns" is what the daemon took; of what the kernel answers by itself nothing comes here. What is done in the control
 * directory is not told, or a reader would read of its own reading for ever.
 */
#include "fs/accesslog.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <string.h>
#include <time.h>

#include "fs/feed.h"
#include "fs/jsontext.h"
#include "fs/node.h"
#include "fs/tree.h"

enum { KEPT_BYTES = 1 << 20, NO_NAME = UINT16_MAX };

/* How a request is called, and where its body has a name (behind the fixed part) or offset and size. */
struct kind {
	enum mount_opcode op;
	uint16_t name_at;
	bool is_told, has_range;
};

static const struct kind kinds[] = {
	[FUSE_LOOKUP] = { OP_LOOKUP, 0, true, false },
	[FUSE_GETATTR] = { OP_GETATTR, NO_NAME, true, false },
	[FUSE_SETATTR] = { OP_SETATTR, NO_NAME, true, false },
	[FUSE_READLINK] = { OP_READLINK, NO_NAME, true, false },
	[FUSE_SYMLINK] = { OP_SYMLINK, 0, true, false },
	[FUSE_MKNOD] = { OP_MKNOD, sizeof(struct fuse_mknod_in), true, false },
	[FUSE_MKDIR] = { OP_MKDIR, sizeof(struct fuse_mkdir_in), true, false },
	[FUSE_UNLINK] = { OP_UNLINK, 0, true, false },
	[FUSE_RMDIR] = { OP_RMDIR, 0, true, false },
	[FUSE_RENAME] = { OP_RENAME, sizeof(struct fuse_rename_in), true, false },
	[FUSE_RENAME2] = { OP_RENAME, sizeof(struct fuse_rename2_in), true, false },
	[FUSE_LINK] = { OP_LINK, sizeof(struct fuse_link_in), true, false },
	[FUSE_OPEN] = { OP_OPEN, NO_NAME, true, false },
	[FUSE_READ] = { OP_READ, NO_NAME, true, true },
	[FUSE_WRITE] = { OP_WRITE, NO_NAME, true, true },
	[FUSE_RELEASE] = { OP_RELEASE, NO_NAME, true, false },
	[FUSE_FSYNC] = { OP_FSYNC, NO_NAME, true, false },
	[FUSE_SETXATTR] = { OP_SETXATTR, NO_NAME, true, false },
	[FUSE_GETXATTR] = { OP_GETXATTR, NO_NAME, true, false },
	[FUSE_LISTXATTR] = { OP_LISTXATTR, NO_NAME, true, false },
	[FUSE_REMOVEXATTR] = { OP_REMOVEXATTR, NO_NAME, true, false },
	[FUSE_FLUSH] = { OP_FLUSH, NO_NAME, true, false },
	[FUSE_OPENDIR] = { OP_OPENDIR, NO_NAME, true, false },
	[FUSE_READDIR] = { OP_READDIR, NO_NAME, true, false },
	[FUSE_READDIRPLUS] = { OP_READDIRPLUS, NO_NAME, true, false },
	[FUSE_RELEASEDIR] = { OP_RELEASEDIR, NO_NAME, true, false },
	[FUSE_FSYNCDIR] = { OP_FSYNCDIR, NO_NAME, true, false },
	[FUSE_ACCESS] = { OP_ACCESS, NO_NAME, true, false },
	[FUSE_CREATE] = { OP_CREATE, sizeof(struct fuse_create_in), true, false },
	[FUSE_FALLOCATE] = { OP_FALLOCATE, NO_NAME, true, false },
	[FUSE_LSEEK] = { OP_LSEEK, NO_NAME, true, false },
	[FUSE_COPY_FILE_RANGE] = { OP_COPY_FILE_RANGE, NO_NAME, true, false },
};

_Static_assert(offsetof(struct fuse_read_in, offset) == offsetof(struct fuse_write_in, offset) &&
	       offsetof(struct fuse_read_in, size) == offsetof(struct fuse_write_in, size), "read and write have them in one place");

/* ---- Lines --------------------------------------------------------------------------------- */

/* The path in the mount, from its root on. False: no memory. */
static bool add_path(struct mount *m, const struct node *n, struct control_text *out)
{
	if (n->parent) {
		if (!add_path(m, n->parent, out) || (out->size && !control_text_add(out, "/", 1)))
			return false;
		return control_text_add(out, n->name, n->name_len);
	}
	if (!n->mount->outer || n != &n->mount->nodes->root)
		return true;
	const struct tree *t = (const struct tree *)n->mount;
	return control_text_printf(out, "%s/%s/%s", m->options.ctldir, t->kind == TREE_TXN ? "txn" : "snapshot", t->name);
}

static bool is_gone(const struct node *n)
{
	while (n->parent)
		n = n->parent;
	return n != &n->mount->nodes->root;
}

static bool add_target(struct mount *m, const struct node *n, const char *name, const char *as, struct control_text *line)
{
	struct control_text path = { 0 };
	bool ok;
	if (is_gone(n)) {
		ok = control_text_add(line, ",\"unlinked\":true", 16);
	} else {
		ok = add_path(m, n, &path) && (!name || !path.size || control_text_add(&path, "/", 1)) &&
		     (!name || control_text_add(&path, name, strlen(name))) && control_text_add(line, ",", 1) &&
		     json_add_bytes(line, as, path.data, path.size);
	}
	control_text_done(&path);
	return ok;
}

static bool add_begin(struct mount *m, const struct fuse_in_header *in, const struct kind *k, struct control_text *line)
{
	const uint8_t *body = (const uint8_t *)(in + 1);
	const struct node *n = node_of(m, in->nodeid);
	const char *name = k->name_at == NO_NAME ? NULL : (const char *)body + k->name_at;
	struct timespec now;
	if (n->control || (name && n == &m->nodes->root && strcmp(name, m->options.ctldir) == 0))
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	bool ok = control_text_printf(line, "{\"time\":%lld.%09ld,\"op\":\"%s\"", (long long)now.tv_sec, now.tv_nsec,
				      mount_opcode_name[k->op]) && add_target(m, n, name, "path", line);
	if (ok && k->op == OP_RENAME) {
		const struct fuse_rename_in *to = (const struct fuse_rename_in *)body; /* and the beginning of rename2 */
		ok = add_target(m, node_of(m, to->newdir), name + strlen(name) + 1, "to", line);
	}
	if (ok && k->has_range) {
		const struct fuse_read_in *range = (const struct fuse_read_in *)body;
		ok = control_text_printf(line, ",\"offset\":%" PRIu64 ",\"size\":%" PRIu32, (uint64_t)range->offset, range->size);
	}
	return ok && control_text_printf(line, ",\"pid\":%" PRIu32 ",\"uid\":%" PRIu32, in->pid, in->uid);
}

static bool has_two_names(const char *text, size_t size)
{
	const char *first_end = memchr(text, 0, size);
	size_t used = first_end ? (size_t)(first_end - text) + 1 : size;
	return memchr(text + used, 0, size - used) != NULL;
}

bool accesslog_begin(struct mount *m, const void *request, size_t size, struct access *a)
{
	const struct fuse_in_header *in = request;
	const struct kind *k = in->opcode < sizeof kinds / sizeof kinds[0] ? &kinds[in->opcode] : NULL;
	*a = (struct access){ .line = { 0 } };
	/* libfuse has not looked at it yet: a name ends within the request. */
	if (!k || !k->is_told || size < sizeof *in)
		return false;
	size_t fixed = sizeof *in + (k->has_range ? sizeof(struct fuse_read_in) : k->name_at == NO_NAME ? 0 : k->name_at);
	if (size < fixed || (k->name_at != NO_NAME && !memchr((const char *)request + fixed, 0, size - fixed)))
		return false;
	if (k->op == OP_RENAME && !has_two_names((const char *)request + fixed, size - fixed))
		return false;
	mount_lock(m);
	bool ok = add_begin(m, in, k, &a->line);
	mount_unlock(m);
	if (!ok)
		control_text_done(&a->line);
	return ok;
}

void accesslog_end(struct mount *m, struct access *a, int error, uint64_t took_ns)
{
	bool ok = !error || control_text_printf(&a->line, ",\"error\":\"%s\"", strerrorname_np(error) ? strerrorname_np(error) : "?");
	ok = ok && control_text_printf(&a->line, ",\"ns\":%" PRIu64 "}\n", took_ns);
	feed_add(m->control->accesses, 0, ok ? a->line.data : NULL, a->line.size);
	control_text_done(&a->line);
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* From here on: what was before, nobody noted. */
static int stream_open(struct mount *m, struct feed_reader *r)
{
	struct control_state *c = m->control;
	if (!c->accesses)
		c->accesses = feed_new(KEPT_BYTES, 0);
	if (!c->accesses)
		return ENOMEM;
	feed_to_end(c->accesses, r);
	/* Release: who finds a reader finds the feed. */
	atomic_fetch_add_explicit(&c->access_readers, 1, memory_order_release);
	return 0;
}

static void stream_close(struct mount *m)
{
	atomic_fetch_sub_explicit(&m->control->access_readers, 1, memory_order_relaxed);
}

static int stream_read(struct mount *m, struct feed_reader *r, struct control_text *out)
{
	struct control_text lines = { 0 };
	uint64_t lost, ignored;
	bool ok = feed_read(m->control->accesses, r, &lines, &lost, &ignored) == 0;
	if (lost)
		ok = ok && control_text_printf(out, "{\"lost\":%" PRIu64 "}\n", lost);
	ok = ok && control_text_add(out, lines.data, lines.size);
	control_text_done(&lines);
	return ok ? 0 : ENOMEM;
}

static uint64_t stream_size(struct mount *m)
{
	return m->control->accesses ? feed_size(m->control->accesses) : 0;
}

const struct control_stream control_accesslog = { stream_open, stream_close, stream_read, stream_size };
