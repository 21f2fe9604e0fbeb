/*
 * The command line of wombatfs: one table of options, from which -o and argv are parsed, --help is printed,
 * the mount's part of `.wombat/config` is served and the manual page is checked.
 *
 * Engine options are taken by name wherever a mount option is (-o block_cache_size=1G); their table is the
 * engine's (wombat_option_info). What mount(8) gives every filesystem is passed on to the kernel or ignored.
 */
#ifndef WOMBAT_FS_OPTIONS_H
#define WOMBAT_FS_OPTIONS_H

#include <stdio.h>

#include "fs/mount.h"

/* Exit statuses of wombatfs. */
enum { MOUNT_EXIT_OK = 0, MOUNT_EXIT_FAILED = 1, MOUNT_EXIT_USAGE = 2 };

/* Defaults. False: out of memory. mount_options_done() is fine in any case. */
bool mount_options_init(struct mount_options *o);
void mount_options_done(struct mount_options *o);

/* Parses a command line. 0, or MOUNT_EXIT_USAGE with one sentence. With show_help or show_version set, nothing
 * else of `o` need be complete. */
int mount_options_parse(struct mount_options *o, int argc, char **argv, char *out_sentence, size_t cap);

void mount_options_print_help(FILE *out);

/* ---- The table, for the control directory and the tests ---- */

struct mount_option_info {
	const char *name;
	const char *argument;     /* "MS"; NULL: the option takes none */
	const char *default_text; /* "" for what takes none */
	const char *range_text;   /* "0..86400000"; "" if there is none to state */
	const char *unit;
	bool changeable;          /* while mounted */
	const char *help;
};

/* The index-th option in the documented order, NULL past the last. */
const struct mount_option_info *mount_option_info(size_t index);

/* As wombat_judge: WOMBAT_NOT_FOUND for what is no mount option, with one sentence. */
enum wombat_status mount_option_judge(const char *name, const char *value, char *out_sentence, size_t cap);
/* Sets what was judged. */
void mount_option_set(struct mount_options *o, const char *name, const char *value);
/* The value in force of a changeable option. */
void mount_option_print(struct mount_options *o, const char *name, char *out_value, size_t cap);

#endif
