/* Attributes to blobs and back: see attr_format.h for the layout. */
#include "fs/attr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/attr_format.h"

void attr_default(const struct mount_options *o, bool directory, uint64_t time_ns, struct attr *out)
{
	*out = (struct attr){
		.mode = (directory ? S_IFDIR | 0777 : S_IFREG | 0666) & ~o->umask,
		.uid = o->uid,
		.gid = o->gid,
		.mtime_ns = (int64_t)time_ns,
		.ctime_ns = (int64_t)time_ns,
		.atime_ns = (int64_t)time_ns,
	};
}

void attr_done(struct attr *a)
{
	free(a->xattrs);
	a->xattrs = NULL;
	a->xattrs_size = 0;
}

uint64_t attr_record_time(const struct attr *a)
{
	/* A record's time of 0 would mean "now". */
	return a->mtime_ns > 0 ? (uint64_t)a->mtime_ns : 1;
}

int64_t attr_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- Little-endian fields ------------------------------------------------------------------ */

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		*p++ = (uint8_t)(v >> (8 * i));
	return p;
}

/* Takes a field off the front; false when it is not there. */
static bool take(const uint8_t **p, const uint8_t *end, unsigned bytes, uint64_t *out)
{
	if ((size_t)(end - *p) < bytes)
		return false;
	*out = 0;
	for (unsigned i = 0; i < bytes; i++)
		*out |= (uint64_t)*(*p)++ << (8 * i);
	return true;
}

/* ---- Blobs --------------------------------------------------------------------------------- */

static unsigned differing(const struct attr *a, const struct attr *d)
{
	return (a->mode != d->mode ? ATTR_MODE : 0u) | (a->uid != d->uid ? ATTR_UID : 0u) |
	       (a->gid != d->gid ? ATTR_GID : 0u) | (a->mtime_ns != d->mtime_ns ? ATTR_MTIME : 0u) |
	       (a->ctime_ns != a->mtime_ns ? ATTR_CTIME : 0u) | (a->atime_ns != a->mtime_ns ? ATTR_ATIME : 0u) |
	       (a->ino ? ATTR_INO : 0u) | (a->rdev ? ATTR_RDEV : 0u) | (a->xattrs_size ? ATTR_XATTRS : 0u) |
	       (a->linked ? ATTR_LINKED : 0u) | (a->xattrs_size && a->xattrs_wide ? ATTR_WIDE : 0u);
}

int attr_encode(const struct mount_options *o, bool directory, const struct attr *a, uint8_t **out, size_t *out_size)
{
	struct attr d;
	attr_default(o, directory, attr_record_time(a), &d);
	unsigned mask = differing(a, &d);
	*out = NULL;
	*out_size = 0;
	if (!mask)
		return 0;
	uint8_t *blob = malloc(64 + 4 + a->xattrs_size);
	if (!blob)
		return ENOMEM;
	uint8_t *p = put(blob, ATTR_VERSION, 1);
	p = put(p, mask, 2);
	if (mask & ATTR_MODE)
		p = put(p, a->mode, 4);
	if (mask & ATTR_UID)
		p = put(p, a->uid, 4);
	if (mask & ATTR_GID)
		p = put(p, a->gid, 4);
	if (mask & ATTR_MTIME)
		p = put(p, (uint64_t)a->mtime_ns, 8);
	if (mask & ATTR_CTIME)
		p = put(p, (uint64_t)a->ctime_ns, 8);
	if (mask & ATTR_ATIME)
		p = put(p, (uint64_t)a->atime_ns, 8);
	if (mask & ATTR_INO)
		p = put(p, a->ino, 8);
	if (mask & ATTR_RDEV)
		p = put(p, a->rdev, 8);
	if (mask & ATTR_XATTRS) {
		p = put(p, a->xattrs_size, 4);
		memcpy(p, a->xattrs, a->xattrs_size);
		p += a->xattrs_size;
	}
	if (p - blob > ATTR_BLOB_MAX) {
		free(blob);
		return ENOSPC;
	}
	*out = blob;
	*out_size = (size_t)(p - blob);
	return 0;
}

/* Whether the bytes are whole attributes, one behind the other: what xattr.c relies on. */
static bool is_xattr_list(const uint8_t *p, const uint8_t *end, bool wide)
{
	uint64_t size;
	while (p != end) {
		if (!take(&p, end, 1, &size) || !size || size > (size_t)(end - p))
			return false;
		p += size;
		if (!take(&p, end, wide ? 4 : 2, &size) || size > (size_t)(end - p))
			return false;
		p += size;
	}
	return true;
}

static int decode_xattrs(const uint8_t **p, const uint8_t *end, struct attr *a)
{
	uint64_t size;
	if (!take(p, end, 4, &size) || size > (size_t)(end - *p) || !is_xattr_list(*p, *p + size, a->xattrs_wide))
		return EIO;
	a->xattrs = malloc(size ? size : 1);
	if (!a->xattrs)
		return ENOMEM;
	memcpy(a->xattrs, *p, size);
	a->xattrs_size = size;
	*p += size;
	return 0;
}

static int decode_fields(const uint8_t *p, const uint8_t *end, unsigned mask, struct attr *a)
{
	uint64_t v;
	if (mask & ATTR_MODE) {
		if (!take(&p, end, 4, &v))
			return EIO;
		a->mode = (mode_t)v;
	}
	if (mask & ATTR_UID) {
		if (!take(&p, end, 4, &v))
			return EIO;
		a->uid = (uid_t)v;
	}
	if (mask & ATTR_GID) {
		if (!take(&p, end, 4, &v))
			return EIO;
		a->gid = (gid_t)v;
	}
	if (mask & ATTR_MTIME) {
		if (!take(&p, end, 8, &v))
			return EIO;
		a->mtime_ns = (int64_t)v;
	}
	a->ctime_ns = a->atime_ns = a->mtime_ns;
	if (mask & ATTR_CTIME) {
		if (!take(&p, end, 8, &v))
			return EIO;
		a->ctime_ns = (int64_t)v;
	}
	if (mask & ATTR_ATIME) {
		if (!take(&p, end, 8, &v))
			return EIO;
		a->atime_ns = (int64_t)v;
	}
	if ((mask & ATTR_INO) && !take(&p, end, 8, &a->ino))
		return EIO;
	if (mask & ATTR_RDEV) {
		if (!take(&p, end, 8, &v))
			return EIO;
		a->rdev = (dev_t)v;
	}
	int error = mask & ATTR_XATTRS ? decode_xattrs(&p, end, a) : 0;
	return error ? error : p == end ? 0 : EIO;
}

int attr_decode(const struct mount_options *o, bool directory, uint64_t time_ns, const uint8_t *blob, size_t size,
		struct attr *out)
{
	struct attr a;
	uint64_t version, mask;
	attr_default(o, directory, time_ns, &a);
	if (size) {
		const uint8_t *p = blob, *end = blob + size;
		if (!take(&p, end, 1, &version) || !take(&p, end, 2, &mask) || version != ATTR_VERSION || (mask & ~ATTR_KNOWN) ||
		    (mask & (ATTR_XATTRS | ATTR_WIDE)) == ATTR_WIDE)
			return EIO;
		a.linked = mask & ATTR_LINKED;
		a.xattrs_wide = mask & ATTR_WIDE;
		int error = decode_fields(p, end, (unsigned)mask, &a);
		if (error || S_ISDIR(a.mode) != directory) {
			attr_done(&a);
			return error ? error : EIO;
		}
	}
	*out = a;
	return 0;
}

bool attr_blob_is_linked(const uint8_t *blob, size_t size)
{
	return size >= 3 && blob[0] == ATTR_VERSION && (blob[2] & (ATTR_LINKED >> 8));
}

static struct timespec timespec_of(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;
	if (rest < 0) {
		rest += 1000000000;
		sec--;
	}
	return (struct timespec){ .tv_sec = sec, .tv_nsec = rest };
}

void attr_to_stat(const struct attr *a, uint64_t ino, struct stat *out)
{
	*out = (struct stat){
		.st_ino = ino,
		.st_mode = a->mode,
		.st_nlink = 1,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = a->rdev,
		.st_size = (off_t)a->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)((a->size - (a->holes < a->size ? a->holes : a->size) + 511) / 512),
		.st_mtim = timespec_of(a->mtime_ns),
		.st_ctim = timespec_of(a->ctime_ns),
		.st_atim = timespec_of(a->atime_ns),
	};
}
