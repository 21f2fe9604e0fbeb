/*
 * Leaving the terminal: a child serves, and its parent waits to tell by its exit status whether the mount is
 * live.
 */
#ifndef WOMBAT_FS_DAEMON_H
#define WOMBAT_FS_DAEMON_H

#include <stdbool.h>

struct daemon {
	int ready_fd; /* -1: nobody waits */
};

#define DAEMON_NONE ((struct daemon){ .ready_fd = -1 })

/* Before anything is opened: of the standard descriptors those that are closed get /dev/null, or else a file of the
 * database would stand in their place, and messages be written into it. False: /dev/null cannot be opened. */
bool daemon_hold_standard(void);

/* Forks; returns in the child alone. The parent exits: 0 once daemon_ready() was called, else with the child's
 * exit status. Before any thread or database, neither of which outlives a fork. False: not possible, and a
 * message said why. */
bool daemon_start(struct daemon *d);

/* The mount is live: the parent is let go, and the terminal with it. `keep_stderr`: messages still go there. */
void daemon_ready(struct daemon *d, bool keep_stderr);

#endif
