/*
 * POSIX attributes of a file or directory, and the blob that keeps what differs from the defaults.
 */
#ifndef WOMBAT_FS_ATTR_H
#define WOMBAT_FS_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/mount.h"

struct attr {
	mode_t mode;              /* type and permissions */
	uid_t uid;
	gid_t gid;
	int64_t mtime_ns, ctime_ns, atime_ns;
	uint64_t ino;             /* 0: follows from parent and name */
	dev_t rdev;
	bool linked;              /* it may be one of several names of a file: see links.h */
	uint64_t size, holes;     /* of the value, and how much of it takes no space; not in the blob */
	uint64_t expiry_ns;       /* of the record, ns since 1970; 0: never; not in the blob */
	uint8_t *xattrs;          /* malloc'd, encoded as in the blob; NULL: none */
	size_t xattrs_size;
	bool xattrs_wide;         /* lengths of their values are 4 bytes, not 2 */
};

/* What a file or directory has that stores nothing. `time_ns`: the record's time. */
void attr_default(const struct mount_options *o, bool directory, uint64_t time_ns, struct attr *out);
void attr_done(struct attr *a); /* frees the xattrs */
/* From a blob (perhaps empty) over the defaults. 0, EIO (not such a blob, or a newer one), ENOMEM. */
int attr_decode(const struct mount_options *o, bool directory, uint64_t time_ns, const uint8_t *blob, size_t size,
	struct attr *out);
/* The blob of what differs from the defaults, malloc'd; *out_size 0 and *out NULL when nothing does. The record's
 * time must be attr_record_time(). 0, ENOMEM, ENOSPC (over ATTR_BLOB_MAX). */
int attr_encode(const struct mount_options *o, bool directory, const struct attr *a, uint8_t **out, size_t *out_size);
/* Whether a blob says `linked`, without looking at the rest of it. */
bool attr_blob_is_linked(const uint8_t *blob, size_t size);
/* The time to write the record with: mtime when it can stand for it. */
uint64_t attr_record_time(const struct attr *a);
void attr_to_stat(const struct attr *a, uint64_t ino, struct stat *out);
int64_t attr_now_ns(void);

#endif
