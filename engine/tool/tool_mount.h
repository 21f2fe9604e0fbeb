/*
 * Reading a database through the mount of it, when somebody else has it open: the same keys and values, as
 * files. What is staged in the mount and not yet committed shows too. Only the user's keyspace is there,
 * and of a record's particulars its size and time.
 */
#ifndef WOMBAT_TOOL_TOOL_MOUNT_H
#define WOMBAT_TOOL_TOOL_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/wombat.h"

struct tool_mount;

/* Each that returns int: 0, or an exit code; all but TOOL_NOT_FOUND come after a complaint. */
int tool_mount_open(const char *mountpoint, struct tool_mount **out_mount);
void tool_mount_close(struct tool_mount *m); /* NULL is fine */
const char *tool_mount_point(const struct tool_mount *m);

struct mount_value {
	uint8_t *data; /* malloc'd; NULL when it was not asked for */
	uint64_t size;
	uint64_t time_ns;
};
int tool_mount_get(struct tool_mount *m, struct wombat_slice key, bool with_data, struct mount_value *out_value);

/* Keys with lower <= key < upper (empty: no bound) that start with `prefix`. */
struct mount_range {
	struct wombat_slice prefix, lower, upper;
	bool reverse, with_data;
};
/* In key order. `each` borrows what it gets, and returns false to stop. One directory's names at a time are
 * held in memory. */
int tool_mount_scan(struct tool_mount *m, const struct mount_range *range,
	bool (*each)(void *arg, struct wombat_slice key, const struct mount_value *value), void *arg);

/* What lies directly below `prefix` ("" or ending in '/'), as wombat_list gives it. `value` is NULL for
 * prefixes. TOOL_NOT_FOUND: there is no such directory. */
int tool_mount_list(struct tool_mount *m, struct wombat_slice prefix,
	bool (*each)(void *arg, struct wombat_slice name, const struct mount_value *value), void *arg);

/* A whole file of the control directory, NUL-terminated, to free(). */
int tool_mount_read_control(struct tool_mount *m, const char *name, char **out_text);

#endif
