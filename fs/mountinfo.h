/*
 * What the kernel says is mounted where (/proc/self/mountinfo). Asks no file system, so a dead mount cannot
 * hold it up.
 */
#ifndef WOMBAT_FS_MOUNTINFO_H
#define WOMBAT_FS_MOUNTINFO_H

#include <stdbool.h>
#include <stdio.h>

struct mountinfo {
	unsigned major, minor; /* of the device number that stat shows, and of /sys/class/bdi */
	char type[32];         /* "fuse.wombatfs" */
};

/* The topmost mount on that absolute path; false: nothing is mounted there, or it cannot be known. */
bool mountinfo_find(const char *mountpoint, struct mountinfo *out);
/* The same from an open table, for the tests. */
bool mountinfo_find_in(FILE *table, const char *mountpoint, struct mountinfo *out);

#endif
