/*
 * What the control_*.c files share: the state of one mount's control directory, and each file's two functions.
 */
#ifndef WOMBAT_FS_CONTROL_IMPL_H
#define WOMBAT_FS_CONTROL_IMPL_H

#include <pthread.h>
#include <stdint.h>

#include "fs/control.h"
#include "fs/mount.h"

enum { CONTROL_SENTENCE_MAX = 1024, CONTROL_STATS = OP_COUNT + 16 /* at most, of the mount's own */ };

struct control_state {
	/* Fixed once made. The entries that depend on the mount's options; the rest are constants. */
	uint64_t started_ns;                        /* monotonic */
	atomic_uint_fast64_t stats_base[CONTROL_STATS]; /* the mount's figures when counters were reset; relaxed */
	struct control_entry root;
	const struct control_entry **root_children;
	struct control_entry tune;
	struct control_entry *tune_files;           /* one per option */
	const struct control_entry **tune_children;

	pthread_mutex_t error_mu;
	char last_error[CONTROL_SENTENCE_MAX];      /* guarded by error_mu */

	pthread_mutex_t apply_mu;                   /* one batch of settings or verbs at a time */
	bool paused;                                /* compactions, by ctl; guarded by apply_mu */

	struct feed *changes;                       /* fixed once made */
	struct feed *accesses;                      /* made for the first reader; then fixed. See accesslog.c */
	atomic_uint access_readers;
};

/* Keeps the sentence and returns `error`. */
int control_refuse(struct mount *m, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What was written, as a string to be freed; NULL: no memory. */
char *control_copy(const char *data, size_t size);
/* The errno for a status about an option or a verb, the engine's sentence kept. */
int control_refuse_status(struct mount *m, enum wombat_status status);

#define CONTROL_RENDER(name) int name(struct mount *m, const struct control_entry *e, struct control_text *out)
#define CONTROL_APPLY(name) int name(struct mount *m, const struct control_entry *e, const char *data, size_t size)

CONTROL_RENDER(control_stats_render_json);
CONTROL_RENDER(control_stats_render_prometheus);
CONTROL_RENDER(control_stats_render_text);
/* From now on counters tell what comes. */
enum wombat_status control_stats_reset(struct mount *m);

CONTROL_RENDER(control_config_render);
CONTROL_APPLY(control_config_apply);
CONTROL_RENDER(control_config_render_json);
CONTROL_APPLY(control_config_apply_json);
/* tune/NAME: the entry's name is the option's. */
CONTROL_RENDER(control_tune_render);
CONTROL_APPLY(control_tune_apply);

CONTROL_APPLY(control_ctl_apply);

extern const struct control_stream control_changes, control_accesslog;
/* Begins to note changes; the store and the database are there. 0 or ENOMEM. */
int control_changes_init(struct mount *m);

/* Directories whose entries come and go. */
extern const struct control_dir control_snapshot_dir, control_raw_dir, control_txn_dir, control_commit_dir;
/* By another way than through that directory: it shows no longer. Takes the mount's lock. */
void control_snapshot_dropped(struct mount *m, const char *name);

/* A listing of names that were gathered beforehand. */
struct control_names;
struct control_names *control_names_new(void); /* NULL: no memory */
bool control_names_add(struct control_names *names, const char *name, mode_t type, uint64_t ino);
struct control_list *control_names_list(struct control_names *names);
/* The live node of such a directory, by its name; NULL: the kernel knows of none. */
struct node *control_node(struct mount *m, const char *name);

#endif
