/*
 * What the verbs of the wombat command share: exit codes, complaints, the command line, opening.
 *
 * A verb is one function. It parses its arguments with tool_parse(), opens the database with tool_open()
 * or tool_open_or_mount(), works, and returns an exit code; main() closes. A failure is one sentence on
 * standard error, from complain() or complain_status(), whose result the verb passes on.
 */
#ifndef WOMBAT_TOOL_TOOL_H
#define WOMBAT_TOOL_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/wombat.h"

/* The man page promises these. */
enum tool_exit {
	TOOL_OK = 0,
	TOOL_NOT_FOUND = 1, /* no such key, no such database */
	TOOL_USAGE = 2,     /* the command line, or what it asks for, makes no sense */
	TOOL_DAMAGED = 3,   /* bytes of the database or of a dump are not what was written */
	TOOL_BUSY = 4,      /* somebody else has the database open */
	TOOL_IO = 5,        /* the operating system refused: disk, memory, permission */
};

struct tool_mount;

/* One run of the command. Zeroed before, released by main(). */
struct tool {
	const struct tool_verb *verb;
	const char *dir;                /* of the database; borrowed from argv */
	struct wombat_options *options; /* of --option; made by main() */
	unsigned keyspace;              /* --keyspace, WOMBAT_USER by default */
	bool hex;                       /* --hex: keys are hexadecimal, on the command line and in what is printed */
	const char *snapshot_name;      /* --snapshot: what is read; NULL: the newest state */
	struct wombat_snapshot *snapshot; /* that one, once open; else NULL */
	struct wombat *db;              /* once open */
	struct tool_mount *mount;       /* instead of `db`: somebody has it mounted, and we read there */
};

struct tool_verb {
	const char *name;
	const char *arguments; /* "DB KEY" */
	const char *summary;
	int (*run)(struct tool *t, int argc, char **argv); /* argv[0] is the verb */
};

int verb_get(struct tool *t, int argc, char **argv);
int verb_put(struct tool *t, int argc, char **argv);
int verb_del(struct tool *t, int argc, char **argv);
int verb_scan(struct tool *t, int argc, char **argv);
int verb_list(struct tool *t, int argc, char **argv);
int verb_stats(struct tool *t, int argc, char **argv);
int verb_check(struct tool *t, int argc, char **argv);
int verb_repair(struct tool *t, int argc, char **argv);
int verb_compact(struct tool *t, int argc, char **argv);
int verb_dump(struct tool *t, int argc, char **argv);
int verb_load(struct tool *t, int argc, char **argv);
int verb_estimate(struct tool *t, int argc, char **argv);
int verb_checkpoint(struct tool *t, int argc, char **argv);
int verb_backup(struct tool *t, int argc, char **argv);
int verb_backups(struct tool *t, int argc, char **argv);
int verb_restore(struct tool *t, int argc, char **argv);
int verb_snapshot(struct tool *t, int argc, char **argv);
int verb_version(struct tool *t, int argc, char **argv);

/* "wombat: SENTENCE" on standard error; returns `code`. */
int complain(enum tool_exit code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The sentence of the library's last failure; returns the exit code that goes with `status`. */
int complain_status(enum wombat_status status);
/* How the verb is called; returns TOOL_USAGE. */
int complain_usage(const struct tool *t);

/*
 * The next option of a verb, as getopt_long: the `val` of one of `options` (NULL or zero-terminated; values
 * from 1, below TOOL_OPTIONS_COMMON), -1 at the end, '?' after a complaint. The common options (--option,
 * --keyspace, --hex) are dealt with inside. `optind` and `optarg` are getopt's.
 */
enum { TOOL_OPTIONS_COMMON = 1000 };
int tool_next_option(struct tool *t, int argc, char **argv, const struct option *options);
/* For verbs without options of their own. 0, or TOOL_USAGE after a complaint. */
int tool_no_options(struct tool *t, int argc, char **argv);
/* Takes the database's directory and says how many arguments follow it; -1 after a complaint when there
 * are fewer than `least` or more than `most` (-1: any number). They start at argv[optind]. */
int tool_take_dir(struct tool *t, int argc, char **argv, int least, int most);

/* A key of the command line. With --hex, decoded in place. 0, or TOOL_USAGE after a complaint. */
int tool_key(struct tool *t, char *argument, struct wombat_slice *out_key);
/* A number of the command line, decimal. 0, or TOOL_USAGE after a complaint. */
int tool_number(const char *what, const char *text, uint64_t max, uint64_t *out_number);

/* Opens t->db. 0, or an exit code after a complaint; who holds a busy database is said. */
int tool_open(struct tool *t, unsigned flags);
/* Opens it read-only, or, when it is mounted, sets t->mount. */
int tool_open_or_mount(struct tool *t);

/* Where the keys that start with `prefix` end: writes to `out` (prefix.size bytes) and returns its size;
 * 0: they have no end. */
size_t prefix_end(struct wombat_slice prefix, uint8_t *out);
int slice_compare(struct wombat_slice a, struct wombat_slice b);
bool slice_starts_with(struct wombat_slice s, struct wombat_slice prefix);

#endif
