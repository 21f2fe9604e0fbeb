/*
 * The state of one mount, shared by everything in fs/: options, database, store, nodes, session, counters.
 */
#ifndef WOMBAT_FS_MOUNT_H
#define WOMBAT_FS_MOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/wombat.h"

struct store;
struct node_table;
struct control_state;
struct fuse_session;
struct neighbours;
struct notifier;
struct tree;

/* From -o; fixed once mounted, but for the ones marked. */
struct mount_options {
	bool foreground, debug, single_thread, read_only, remount, show_help, show_version;
	bool allow_other, default_permissions, noxattr;
	bool log_syslog;
	bool writeback_cache;
	bool commit_write;           /* each write is a commit, and opens are not told; otherwise closes are commits */
	bool have_uid, have_gid, have_umask;
	uid_t uid;                   /* owner of what has no stored owner; default: the daemon's */
	gid_t gid;
	mode_t umask;                /* taken from the default modes 0666 and 0777; default 022 */
	char *ctldir;                /* ".wombat" */
	char *fsname;                /* NULL: db_dir */
	char *db_dir, *mountpoint;   /* absolute */
	char *fuse_options;          /* what goes to libfuse: fsname=..., subtype=wombatfs, ... */
	struct wombat_options *engine;
	atomic_uint commit_idle_ms;  /* changeable; 0: off */
	atomic_uint commit_age_ms;   /* changeable; 0: off */
	atomic_uint txn_idle_ms;     /* changeable; 0: off */
	atomic_uint neighbours;      /* changeable: files; 0: off */
	unsigned max_threads;        /* service threads */
	unsigned read_ahead_kb;      /* of the mount's bdi; 0: leave it */
};

/* Requests by opcode: every one that the kernel sent. */
enum mount_opcode {
	OP_LOOKUP, OP_FORGET, OP_BATCH_FORGET, OP_GETATTR, OP_SETATTR, OP_READLINK, OP_SYMLINK, OP_MKNOD, OP_MKDIR,
	OP_UNLINK, OP_RMDIR, OP_RENAME, OP_LINK, OP_OPEN, OP_READ, OP_WRITE, OP_STATFS, OP_RELEASE, OP_FSYNC,
	OP_SETXATTR, OP_GETXATTR, OP_LISTXATTR, OP_REMOVEXATTR, OP_FLUSH, OP_OPENDIR, OP_READDIR, OP_READDIRPLUS,
	OP_RELEASEDIR, OP_FSYNCDIR, OP_ACCESS, OP_CREATE, OP_FALLOCATE, OP_LSEEK, OP_COPY_FILE_RANGE, OP_OTHER,
	OP_COUNT
};
extern const char *const mount_opcode_name[OP_COUNT]; /* "lookup", ... */

struct mount_counts {
	atomic_uint_fast64_t requests[OP_COUNT];
	atomic_uint_fast64_t errors;
	atomic_uint_fast64_t bytes_read, bytes_written, neighbours, listed_ahead;
	atomic_uint_fast64_t commits, commit_failures, staged_bytes, staged_files;
	atomic_uint_fast64_t nodes, open_files, open_dirs;
};

struct mount {
	struct mount_options options;
	struct wombat *db;
	struct store *store;
	struct node_table *nodes;
	struct control_state *control;
	struct fuse_session *session;
	struct mount_counts counts;
	struct notifier *notifier, *caller; /* see notify.h */
	struct neighbours *neighbours;
	uint64_t mounted_at_ns;
	struct tree *trees;      /* what is shown below the control directory; guarded by the lock of `nodes` */

	/* Such a tree is a mount of its own: with other nodes and another store, and otherwise copies (see tree.h). */
	struct mount *outer;     /* the mount that it is shown in; NULL: this is it */
	bool fixed;              /* nothing in it changes */
	uint64_t ino_mask;       /* its inode numbers are shown with it, or files of two trees would pass for one */
};

static inline struct mount *mount_outer(struct mount *m)
{
	return m->outer ? m->outer : m;
}

static inline void mount_count(struct mount *m, enum mount_opcode op)
{
	/* Relaxed: a figure that nothing is ordered by. */
	atomic_fetch_add_explicit(&m->counts.requests[op], 1, memory_order_relaxed);
}

#endif
