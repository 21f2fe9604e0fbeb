/*
 * wombatfs without a mount: the test takes the kernel's place at the other end of a socket, and speaks its protocol.
 *
 * A wire is a filesystem over a database in memory, initialized, and the descriptor on which the kernel would be.
 * Requests are answered on the calling thread (deterministic, and a debugger sees both sides) unless the test starts
 * the service's threads. Each wire_OPERATION returns 0 or the reply's errno; a reply that is no reply to the request
 * fails the test. Lookups are counted as the kernel counts them, so that stopping can forget them all and then assert
 * that not one node was left behind.
 */
#ifndef WOMBAT_TESTS_FUSE_WIRE_H
#define WOMBAT_TESTS_FUSE_WIRE_H

#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fs/mount.h"

struct env;
struct service;

enum {
	WIRE_ROOT = 1,
	WIRE_PAYLOAD_MAX = 128 << 10, /* of one message: sockets take no more by default */
	WIRE_PARTS_MAX = 4,
};

struct wire_who {
	uint32_t uid, gid, pid;
};

struct wire_known {
	uint64_t node, lookups;
};

struct fuse_wire {
	struct mount m;
	struct env *env;            /* in memory: what is there outlives wire_close */
	const char *options;
	int fd, event_fd;           /* the kernel's end; what the service announces by */
	struct service *service;
	bool threaded;
	atomic_uint_fast64_t unique;
	struct wire_who who;        /* sends what follows */
	struct fuse_init_out init;  /* the reply to INIT */
	struct wire_known *known;   /* nodes by their lookups */
	size_t known_count, known_capacity;
	/* The last reply's bytes behind its header; there is a NUL behind them. */
	size_t size;
	uint8_t *reply, *buffer;
};

/* ---- Life ---- */

/* A new, empty database; `options` as to -o, or NULL. INIT is not sent yet. */
void wire_open(struct fuse_wire *w, const char *options);
/* The same, and INIT as a kernel of today sends it. */
void wire_start(struct fuse_wire *w, const char *options);
/* Unmounts and closes, with nothing forgotten of the database. Every file and directory must have been released. */
void wire_close(struct fuse_wire *w);
/* What was committed is there again; node ids are other ones. */
void wire_reopen(struct fuse_wire *w);
/* Closes, and drops the database. */
void wire_stop(struct fuse_wire *w);

/* From here to there the service's own threads answer: only wire_send and wire_receive are of use meanwhile. */
void wire_start_threads(struct fuse_wire *w);
void wire_stop_threads(struct fuse_wire *w);

/* cmocka's set-up and tear-down around a started wire, in *state. */
int wire_setup(void **state);
int wire_teardown(void **state);

/* ---- Messages ---- */

/* Thread-safe. Returns the request's number. */
uint64_t wire_send(struct fuse_wire *w, uint32_t opcode, uint64_t node, struct wire_who who, const struct iovec *parts,
		   size_t count);
/* Thread-safe. The next reply: its header, and the size of what follows it in `buffer`. Blocks. */
size_t wire_receive(struct fuse_wire *w, struct fuse_out_header *out, void *buffer, size_t cap);
/* Sends, has it answered, receives; notices that come before are passed over. For requests that have a reply. */
int wire_call(struct fuse_wire *w, uint32_t opcode, uint64_t node, const struct iovec *parts, size_t count);
/* Likewise, where there is no reply; asserts that there is none. */
void wire_tell(struct fuse_wire *w, uint32_t opcode, uint64_t node, const struct iovec *parts, size_t count);

/* ---- Operations: `out` may be NULL ---- */

int wire_init(struct fuse_wire *w, const struct fuse_init_in *in);
int wire_destroy(struct fuse_wire *w);
/* A name that is known to be absent (node id 0) is ENOENT too, with *out filled. */
int wire_lookup(struct fuse_wire *w, uint64_t dir, const char *name, struct fuse_entry_out *out);
void wire_forget(struct fuse_wire *w, uint64_t node, uint64_t lookups);
void wire_batch_forget(struct fuse_wire *w, const struct fuse_forget_one *forgets, uint32_t count);
uint64_t wire_lookups(const struct fuse_wire *w, uint64_t node);

int wire_getattr(struct fuse_wire *w, uint64_t node, struct fuse_attr *out);
int wire_setattr(struct fuse_wire *w, uint64_t node, const struct fuse_setattr_in *in, struct fuse_attr *out);
int wire_truncate(struct fuse_wire *w, uint64_t node, uint64_t size);
int wire_chmod(struct fuse_wire *w, uint64_t node, uint32_t mode);
int wire_access(struct fuse_wire *w, uint64_t node, uint32_t mask);
int wire_statfs(struct fuse_wire *w, struct fuse_kstatfs *out);

int wire_create(struct fuse_wire *w, uint64_t dir, const char *name, uint32_t mode, uint32_t flags,
		struct fuse_entry_out *out, uint64_t *out_fh);
int wire_open_file(struct fuse_wire *w, uint64_t node, uint32_t flags, uint64_t *out_fh);
/* The bytes are in w->reply, w->size of them. */
int wire_read(struct fuse_wire *w, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size);
/* `flags`: those of the open descriptor, of which O_APPEND matters. Asserts that all was written. */
int wire_write(struct fuse_wire *w, uint64_t node, uint64_t fh, uint32_t flags, uint64_t offset, const void *data,
	       size_t size);
int wire_flush(struct fuse_wire *w, uint64_t node, uint64_t fh);
int wire_fsync(struct fuse_wire *w, uint64_t node, uint64_t fh);
int wire_release(struct fuse_wire *w, uint64_t node, uint64_t fh, uint32_t flags);
int wire_fallocate(struct fuse_wire *w, uint64_t node, uint64_t fh, uint32_t mode, uint64_t offset, uint64_t length);

int wire_mknod(struct fuse_wire *w, uint64_t dir, const char *name, uint32_t mode, uint32_t rdev,
	       struct fuse_entry_out *out);
int wire_mkdir(struct fuse_wire *w, uint64_t dir, const char *name, uint32_t mode, struct fuse_entry_out *out);
int wire_symlink(struct fuse_wire *w, uint64_t dir, const char *name, const char *target, struct fuse_entry_out *out);
int wire_readlink(struct fuse_wire *w, uint64_t node);
int wire_link(struct fuse_wire *w, uint64_t node, uint64_t dir, const char *name);
int wire_unlink(struct fuse_wire *w, uint64_t dir, const char *name);
int wire_rmdir(struct fuse_wire *w, uint64_t dir, const char *name);
int wire_rename(struct fuse_wire *w, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
		uint32_t flags);

int wire_opendir(struct fuse_wire *w, uint64_t node, uint64_t *out_fh);
int wire_readdir(struct fuse_wire *w, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size);
int wire_readdirplus(struct fuse_wire *w, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size);
int wire_releasedir(struct fuse_wire *w, uint64_t node, uint64_t fh);

/* `size` 0 asks for the size, which is then w->size with nothing in w->reply. */
int wire_getxattr(struct fuse_wire *w, uint64_t node, const char *name, uint32_t size);
int wire_listxattr(struct fuse_wire *w, uint64_t node, uint32_t size);
int wire_setxattr(struct fuse_wire *w, uint64_t node, const char *name, const void *value, uint32_t size,
		  uint32_t flags);
int wire_removexattr(struct fuse_wire *w, uint64_t node, const char *name);

/* ---- Listings ---- */

struct wire_dirent {
	char name[256];
	uint64_t ino, offset;       /* the offset of what follows */
	uint32_t type;              /* DT_ */
	struct fuse_entry_out entry; /* of readdirplus */
};

/* Takes the next entry out of the reply to a (plus: readdirplus) at *at, which begins with 0. False: no more. */
bool wire_next_dirent(const struct fuse_wire *w, bool plus, size_t *at, struct wire_dirent *out);

/* ---- For short ---- */

/* Asserts that the path below the root (no leading '/') leads to a node, and returns that. "" is the root. */
uint64_t wire_walk(struct fuse_wire *w, const char *path);
/* Makes a file at the root's or another directory with that content, closed; returns its node. */
uint64_t wire_put(struct fuse_wire *w, uint64_t dir, const char *name, const char *content);
/* Puts a record of the database, behind the mount's back: of a name that it does not know of yet. */
void wire_put_key(struct fuse_wire *w, const char *key, const char *value);
/* Asserts what the node contains, reading it through an open of its own. */
void wire_check_content(struct fuse_wire *w, uint64_t node, const void *data, size_t size);
void wire_check_text(struct fuse_wire *w, uint64_t node, const char *text);
/* Its names in the order listed, without "." and "..", each followed by ' '; read `size` bytes at a time. test_free. */
char *wire_list(struct fuse_wire *w, uint64_t dir, uint32_t size, bool plus);

#endif
