/*
 * The control directory `.wombat/`: a table of names, modes, and how each is read and written.
 *
 * The filesystem calls these with virtual nodes; nothing here knows of FUSE. A file's document is rendered
 * once per open, so that st_size is exact and a reader never sees a torn one. Writes are judged inside
 * write(2): each is one batch of whole lines, all or nothing, and its offset is ignored.
 */
#ifndef WOMBAT_FS_CONTROL_H
#define WOMBAT_FS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mount;
struct node;

/* Growable text; malloc'd. */
struct control_text {
	char *data;
	size_t size, capacity;
};

/* An open listing of names, one after the other. */
struct control_list {
	/* ENOENT: the end. The name is borrowed until the next call. */
	int (*next)(struct control_list *l, const char **out_name, mode_t *out_type, uint64_t *out_ino);
	void (*close)(struct control_list *l);
};

/*
 * A directory whose entries come and go. All functions return 0 or an errno, with the sentence in last_error where errno
 * says too little; those that are NULL are EPERM, and `lookup` and `list` are always there. They are called with the
 * mount's lock held; which may be let go meanwhile, by those that change something.
 */
struct control_dir {
	int (*lookup)(struct mount *m, struct node *dir, const char *name, struct node **out);
	int (*list)(struct mount *m, struct node *dir, struct control_list **out);
	int (*make)(struct mount *m, struct node *dir, const char *name, struct node **out); /* mkdir */
	int (*remove)(struct mount *m, struct node *dir, const char *name);                  /* rmdir */
	int (*create)(struct mount *m, struct node *dir, const char *name, mode_t mode, uid_t uid, gid_t gid, struct node **out);
	int (*unlink)(struct mount *m, struct node *dir, const char *name);
	/* Of one of its entries, to another directory of the control directory. */
	int (*rename)(struct mount *m, struct node *dir, const char *name, struct node *new_dir, const char *new_name);
	bool second_names; /* its files have names elsewhere, which may change: each name is looked up each time */
};

struct feed_reader;

/* A file that goes on while it is read, in lines; its end is where there is nothing more yet. Called with the mount's lock held;
 * 0 or an errno. */
struct control_stream {
	int (*open)(struct mount *m, struct feed_reader *r);
	void (*close)(struct mount *m);
	/* Appends whole lines from the reader's place on, which it moves; nothing: the end. */
	int (*read)(struct mount *m, struct feed_reader *r, struct control_text *out);
	uint64_t (*size)(struct mount *m); /* grows when there is something to read */
};

struct control_entry {
	const char *name;         /* "stats", "tune"; for tune/NAME the option's */
	mode_t mode;              /* with the type bits: S_IFREG | 0444, S_IFDIR | 0555 */
	/* Files. Return 0 or an errno. NULL: not readable, not writable. Called by control_read and _write. */
	int (*render)(struct mount *m, const struct control_entry *e, struct control_text *out);
	int (*apply)(struct mount *m, const struct control_entry *e, const char *data, size_t size);
	const struct control_stream *stream; /* instead; only the mount's owner and root may open it */
	/* Directories. */
	const struct control_entry *const *children; /* NULL-terminated */
	const struct control_dir *dir;  /* instead */
	unsigned id;              /* stable small number: the inode is made of it */
};

/* Builds the tree for this mount (tune/ follows the option table). 0 or an errno. */
int control_init(struct mount *m);
void control_done(struct mount *m);
const struct control_entry *control_root(struct mount *m);
/* A transaction ended by itself. Called with the mount's lock held. */
void control_txn_dropped(struct mount *m, const char *name);
/* EACCES: neither the mount's owner nor root. */
int control_check_owner(struct mount *m, const char *what, uid_t uid);
const struct control_entry *control_find(const struct control_entry *dir, const char *name);

/* The file's document, rendered now: 0 or an errno. `out` is the caller's, control_text_done() frees it. */
int control_read(struct mount *m, const struct control_entry *e, struct control_text *out);
/* One write(2) by user `uid`, judged and applied as a whole, or refused with the sentence in last_error:
 * EINVAL unknown or unparsable, ERANGE, EPERM not changeable, E2BIG over CONTROL_WRITE_MAX, EACCES neither the
 * mount's owner nor root (or nothing that is written), EROFS a read-only mount, or what the verb failed with.
 * May block for as long as the verb takes. */
int control_write(struct mount *m, const struct control_entry *e, uid_t uid, const char *data, size_t size);
enum { CONTROL_WRITE_MAX = 4096 };

/* False: out of memory, and the text is unchanged. */
bool control_text_add(struct control_text *text, const char *data, size_t size);
/* Room for `size` more bytes. */
bool control_text_reserve(struct control_text *text, size_t size);
bool control_text_add_number(struct control_text *text, uint64_t number);
bool control_text_printf(struct control_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void control_text_done(struct control_text *text);
/* Keeps the sentence for `last_error`; printf-like. Any thread. */
void control_set_error(struct mount *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
