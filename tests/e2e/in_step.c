/*
 * Random file system calls, each made in two directories, whose results must be the same: error, what is read, attributes,
 * which times moved, listings, and in the end the whole trees. One directory is a mount of Wombat, the other lies on the
 * machine's own file system, which is the reference; so this knows no rule of POSIX, and finds the ones that were missed.
 *
 *     in_step DIRECTORY REFERENCE STEPS          seed from WOMBAT_SEED; IN_STEP_WITHOUT=link,acl,setid,... leaves kinds of calls out
 *     in_step --compare DIRECTORY REFERENCE      only compares the trees
 *     in_step --sync DIRECTORY                   fsync of everything in it
 *
 * Calls are made as root and as two other users, one of them in the other's group; so the mount needs allow_other and
 * default_permissions, and `dev,suid` to be asked for what the reference is asked for.
 *
 * Not compared, since file systems differ in it: size, link count and blocks of directories, atime, inode numbers
 * themselves (but that the same files have the same ones), who may chown nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/base/random.h"

enum { SLOTS = 8, HISTORY = 40, FILE_LIMIT = 300000, TEXT = 1200 };

struct side {
	const char *name;
	int top, root; /* calls are made below `root`, two levels down: a `..` behind a link may lead out of it */
	int fds[SLOTS];
};

/* ---- A call, chosen once and made twice ---------------------------------------------------- */

enum kind {
	K_OPEN, K_CLOSE, K_READ, K_WRITE, K_MMAP, K_FTRUNCATE, K_FALLOCATE, K_FSYNC, K_FCHMOD, K_FCHOWN, K_FSTAT, K_COPY_RANGE,
	K_STAT, K_LSTAT, K_ACCESS, K_READLINK, K_LIST, K_MKDIR, K_RMDIR, K_UNLINK, K_RENAME, K_LINK, K_SYMLINK, K_MKNOD,
	K_CHMOD, K_CHOWN, K_UTIMENS, K_TRUNCATE, K_SETXATTR, K_GETXATTR, K_LISTXATTR, K_REMOVEXATTR, K_ACL, KINDS
};
static const struct {
	const char *name;
	unsigned weight;
	bool on_slot;
} kinds[KINDS] = {
	[K_OPEN] = { "open", 20, false },         [K_CLOSE] = { "close", 8, true },          [K_READ] = { "read", 10, true },
	[K_WRITE] = { "write", 14, true },        [K_MMAP] = { "mmap", 3, true },            [K_FTRUNCATE] = { "ftruncate", 4, true },
	[K_FALLOCATE] = { "fallocate", 4, true }, [K_FSYNC] = { "fsync", 2, true },          [K_FCHMOD] = { "fchmod", 2, true },
	[K_FCHOWN] = { "fchown", 2, true },       [K_FSTAT] = { "fstat", 6, true },          [K_COPY_RANGE] = { "copy_range", 3, true },
	[K_STAT] = { "stat", 8, false },          [K_LSTAT] = { "lstat", 8, false },         [K_ACCESS] = { "access", 4, false },
	[K_READLINK] = { "readlink", 3, false },  [K_LIST] = { "list", 5, false },           [K_MKDIR] = { "mkdir", 8, false },
	[K_RMDIR] = { "rmdir", 4, false },        [K_UNLINK] = { "unlink", 7, false },       [K_RENAME] = { "rename", 12, false },
	[K_LINK] = { "link", 8, false },          [K_SYMLINK] = { "symlink", 4, false },     [K_MKNOD] = { "mknod", 4, false },
	[K_CHMOD] = { "chmod", 6, false },        [K_CHOWN] = { "chown", 6, false },         [K_UTIMENS] = { "utimens", 5, false },
	[K_TRUNCATE] = { "truncate", 5, false },  [K_SETXATTR] = { "setxattr", 5, false },   [K_GETXATTR] = { "getxattr", 3, false },
	[K_LISTXATTR] = { "listxattr", 2, false }, [K_REMOVEXATTR] = { "removexattr", 3, false }, [K_ACL] = { "acl", 5, false },
};
static bool left_out[KINDS], without_setid;

struct op {
	enum kind kind;
	unsigned user;
	mode_t umask;
	char path[TEXT], other[TEXT];
	unsigned slot, other_slot;
	int flags;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	off_t offset, other_offset;
	size_t size;
	uint64_t seed;
	struct timespec times[2];
	uint8_t acl[4 + 8 * 6];
	size_t acl_size;
	bool watch_times;
};

/* What a call gave: equal on both sides. */
struct outcome {
	long value;
	int error;
	uint64_t seen;       /* hash of what was read */
	unsigned times_moved; /* bits: mtime and ctime of the object, of its directory */
	struct stat st;      /* of K_STAT and its like, to be printed */
};

static const struct { uid_t uid; gid_t gid, more; } users[] = { { 0, 0, 0 }, { 1001, 1001, 1001 }, { 1002, 1002, 1001 } };

static void become(unsigned user)
{
	gid_t more = users[user].more;
	if (seteuid(0) || setgroups(user != 0, &more) || setegid(users[user].gid) || (user && seteuid(users[user].uid))) {
		perror("in_step: cannot become another user");
		exit(2);
	}
}

/* ---- Choosing ------------------------------------------------------------------------------ */

static struct random_state rnd;
static unsigned below(unsigned n) { return (unsigned)random_below(&rnd, n); }
static bool one_in(unsigned n) { return below(n) == 0; }

static void choose_path(char *out, bool with_parents)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f.x", "f-x", "50%", "a%20b", "long" };
	size_t at = 0;
	unsigned depth = 1 + below(3);
	for (unsigned i = 0; i < depth; i++) {
		const char *name = names[below(one_in(4) ? 10 : 6)];
		char room[300];
		if (strcmp(name, "long") == 0) {
			size_t size = one_in(3) ? 256 : one_in(2) ? 255 : 200;
			memset(room, 'n', size);
			room[size] = 0;
			name = room;
		} else if (one_in(40)) {
			name = i && with_parents && one_in(2) ? ".." : ".";
		}
		at += (size_t)snprintf(out + at, TEXT - at, "%s%s", i ? "/" : "", name);
	}
	if (one_in(30))
		snprintf(out + at, TEXT - at, "/");
}

static mode_t choose_mode(void)
{
	static const mode_t modes[] = { 0644, 0600, 0666, 0755, 0777, 0700, 0444, 0400, 0, 0311, 04755, 02755, 02777, 01777, 06777, 02644 };
	mode_t mode = modes[below(sizeof modes / sizeof *modes)];
	return without_setid ? mode & ~06000u : mode;
}

static uid_t choose_id(void) { return one_in(5) ? (uid_t)-1 : (const uid_t[]){ 0, 1001, 1002 }[below(3)]; }

static off_t choose_offset(void)
{
	switch (below(4)) {
	case 0:
		return 0;
	case 1:
		return below(200);
	case 2:
		return below(70) * 4096;
	default:
		return below(FILE_LIMIT);
	}
}

static struct timespec choose_time(void)
{
	struct timespec t = { .tv_sec = (time_t)below(2000000000), .tv_nsec = below(1000000000) };
	if (one_in(4))
		t.tv_nsec = one_in(2) ? UTIME_NOW : UTIME_OMIT;
	return t;
}

/* An ACL as system.posix_acl_access has it: little-endian version 2, then (tag 2, permissions 2, id 4). */
static size_t choose_acl(uint8_t *out)
{
	size_t n = 4;
	memcpy(out, (const uint8_t[]){ 2, 0, 0, 0 }, 4);
	bool named_user = one_in(2), named_group = one_in(2);
	struct { uint16_t tag; uint32_t id; bool have; } rows[] = {
		{ 1, UINT32_MAX, true }, { 2, 1002, named_user }, { 4, UINT32_MAX, true },
		{ 8, 1001, named_group }, { 0x10, UINT32_MAX, (named_user || named_group) != one_in(10) }, { 0x20, UINT32_MAX, !one_in(10) },
	};
	for (unsigned i = 0; i < 6; i++)
		if (rows[i].have) {
			uint16_t permissions = (uint16_t)below(8);
			memcpy(out + n, &rows[i].tag, 2);
			memcpy(out + n + 2, &permissions, 2);
			memcpy(out + n + 4, &rows[i].id, 4);
			n += 8;
		}
	return one_in(20) ? n - 3 : n;
}

static int choose_open_flags(void)
{
	int flags = (const int[]){ O_RDONLY, O_WRONLY, O_RDWR, O_RDWR }[below(4)] | O_NONBLOCK | O_CLOEXEC;
	if (!one_in(3))
		flags |= O_CREAT;
	if (one_in(6))
		flags |= O_EXCL;
	if (one_in(5))
		flags |= O_TRUNC;
	if (one_in(6))
		flags |= O_APPEND;
	if (one_in(12))
		flags |= O_NOFOLLOW;
	if (one_in(25))
		flags = (flags & ~O_CREAT) | O_DIRECTORY;
	return flags & O_CREAT ? flags : flags & ~O_EXCL; /* undefined without O_CREAT */
}

static void choose(struct op *o)
{
	unsigned total = 0, at = 0;
	memset(o, 0, sizeof *o);
	for (unsigned i = 0; i < KINDS; i++)
		total += left_out[i] ? 0 : kinds[i].weight;
	at = below(total);
	for (unsigned i = 0; i < KINDS; i++) {
		unsigned weight = left_out[i] ? 0 : kinds[i].weight;
		if (at < weight) {
			o->kind = (enum kind)i;
			break;
		}
		at -= weight;
	}
	o->user = one_in(2) ? 0 : 1 + below(2);
	o->umask = (const mode_t[]){ 022, 0, 077, 027 }[below(4)];
	choose_path(o->path, true);
	choose_path(o->other, o->kind != K_SYMLINK);
	o->slot = below(SLOTS);
	o->other_slot = below(SLOTS);
	o->mode = choose_mode();
	o->uid = choose_id();
	o->gid = choose_id();
	/* A chown of nothing takes set-id bits, for which one must be the owner; to a FUSE filesystem it is what fallocate sends of
	 * whoever has the file open. */
	if (o->user && o->uid == (uid_t)-1 && o->gid == (gid_t)-1)
		o->gid = 1001;
	o->offset = choose_offset();
	o->other_offset = choose_offset();
	o->size = one_in(3) ? 1 + below(100) : 1 + below(one_in(4) ? 150000 : 9000);
	o->seed = random_next(&rnd);
	o->times[0] = choose_time();
	o->times[1] = choose_time();
	o->watch_times = one_in(12);
	switch (o->kind) {
	case K_OPEN:
		o->flags = choose_open_flags();
		break;
	case K_RENAME:
		o->flags = one_in(4) ? 1 : one_in(6) ? 2 : one_in(60) ? 3 : 0; /* RENAME_NOREPLACE, RENAME_EXCHANGE */
		break;
	case K_FALLOCATE:
		o->flags = (const int[]){ 0, 1, 3, 0x10, 0x11, 2 }[below(one_in(8) ? 6 : 5)];
		break;
	case K_MKNOD:
		o->mode = (o->mode & 07777) | (const mode_t[]){ S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK }[below(5)];
		o->rdev = 0xee00 + below(255); /* nobody's */
		break;
	case K_ACCESS:
		o->flags = (int)below(8);
		break;
	case K_LINK:
		o->flags = one_in(3) ? AT_SYMLINK_FOLLOW : 0;
		break;
	case K_CHOWN:
	case K_UTIMENS:
		o->flags = one_in(3) ? AT_SYMLINK_NOFOLLOW : 0;
		break;
	case K_SETXATTR:
		o->flags = one_in(3) ? XATTR_CREATE : one_in(3) ? XATTR_REPLACE : 0;
		o->size = one_in(8) ? 400 + below(400) : below(200); /* all that a file may have is a block in ext4 */
		break;
	case K_ACL:
		o->flags = (int)below(4); /* access or default, set or remove */
		o->acl_size = choose_acl(o->acl);
		break;
	default:
		break;
	}
}

static void describe(const struct op *o, unsigned long step, char *out, size_t cap)
{
	snprintf(out, cap, "%lu: %s as %u: %.60s%s -> %.60s  slot %u (%u) flags %#x mode %o ids %d:%d offset %ld (%ld) size %zu umask %o",
		 step, kinds[o->kind].name, users[o->user].uid, o->path, strlen(o->path) > 60 ? "..." : "", o->other, o->slot,
		 o->other_slot, (unsigned)o->flags, o->mode, (int)o->uid, (int)o->gid, (long)o->offset, (long)o->other_offset, o->size,
		 o->umask);
}

/* ---- Doing --------------------------------------------------------------------------------- */

static uint8_t data[FILE_LIMIT * 2];

static void fill(uint64_t seed, size_t size)
{
	struct random_state r;
	random_seed(&r, seed);
	for (size_t i = 0; i < size; i += 8) {
		uint64_t v = random_next(&r);
		memcpy(data + i, &v, 8);
	}
}

static uint64_t mix(uint64_t h, const void *bytes, size_t size) { return hash64(bytes, size, h); }

static uint64_t stat_seen(const struct stat *st)
{
	bool dir = S_ISDIR(st->st_mode);
	uint64_t fields[] = { st->st_mode, st->st_uid, st->st_gid, dir ? 0 : (uint64_t)st->st_size, dir ? 0 : st->st_nlink, st->st_rdev };
	return mix(1, fields, sizeof fields);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Sorted names with their types, freed by the caller; -1: errno. */
static long list_names(int dir, char ***out)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	char **names = NULL;
	long count = 0;
	if (!d)
		return -1;
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		names = realloc(names, sizeof *names * (size_t)(count + 1));
		names[count] = malloc(strlen(e->d_name) + 2);
		sprintf(names[count++], "%c%s", e->d_type + 'A', e->d_name);
	}
	closedir(d);
	if (count)
		qsort(names, (size_t)count, sizeof *names, by_name);
	*out = names;
	return count;
}

static void free_names(char **names, long count)
{
	for (long i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static long list_seen(int dir, uint64_t *seen)
{
	char **names = NULL;
	long count = list_names(dir, &names);
	for (long i = 0; i < count; i++)
		*seen = mix(*seen, names[i], strlen(names[i]));
	if (count >= 0)
		free_names(names, count);
	return count;
}

/* Names of attributes in order, as one hash: lists have no order of their own. What is `security.` is the system's. */
static uint64_t xattr_names_seen(const char *list, long size)
{
	uint64_t sum = 0;
	for (const char *p = list; p < list + size; p += strlen(p) + 1)
		if (strncmp(p, "security.", 9) != 0)
			sum += mix(3, p, strlen(p));
	return sum;
}

/* The path below the side's directory by way of /proc, for calls that take no directory. */
static const char *full_path(const struct side *s, const char *path)
{
	static char out[TEXT + 64];
	snprintf(out, sizeof out, "/proc/self/fd/%d/%s", s->root, path);
	return out;
}

static long do_slot(struct side *s, const struct op *o, struct outcome *out)
{
	int fd = s->fds[o->slot];
	struct stat st;
	long n;
	switch (o->kind) {
	case K_CLOSE:
		s->fds[o->slot] = -1;
		return close(fd);
	case K_READ:
		n = pread(fd, data, o->size, o->offset);
		if (n > 0)
			out->seen = mix(2, data, (size_t)n);
		return n;
	case K_WRITE:
		fill(o->seed, o->size);
		return pwrite(fd, data, o->size, o->offset);
	case K_MMAP: {
		if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0)
			return 0;
		uint8_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			return -1;
		out->seen = mix(2, map, (size_t)st.st_size);
		size_t at = (size_t)o->offset % (size_t)st.st_size, size = o->size;
		size = size < (size_t)st.st_size - at ? size : (size_t)st.st_size - at;
		fill(o->seed, size);
		memcpy(map + at, data, size);
		n = msync(map, (size_t)st.st_size, MS_SYNC);
		int error = errno;
		munmap(map, (size_t)st.st_size);
		errno = error;
		return n;
	}
	case K_FTRUNCATE:
		return ftruncate(fd, o->offset);
	case K_FALLOCATE:
		return fallocate(fd, o->flags, o->offset, (off_t)o->size);
	case K_FSYNC:
		return fsync(fd);
	case K_FCHMOD:
		return fchmod(fd, o->mode);
	case K_FCHOWN:
		return fchown(fd, o->uid, o->gid);
	case K_FSTAT:
		if (fstat(fd, &st))
			return -1;
		out->seen = stat_seen(&st);
		out->st = st;
		return 0;
	case K_COPY_RANGE: {
		loff_t from = o->offset, to = o->other_offset;
		int other = s->fds[o->other_slot];
		/* How much of a copy is made at once is the file system's to choose. */
		size_t left = o->size;
		while (left) {
			n = copy_file_range(fd, &from, other, &to, left, 0);
			if (n <= 0)
				return n < 0 ? n : (long)(o->size - left);
			left -= (size_t)n;
		}
		return (long)o->size;
	}
	default:
		abort();
	}
}

static long do_open(struct side *s, const struct op *o)
{
	int fd = openat(s->root, o->path, o->flags, o->mode);
	if (fd < 0)
		return -1;
	if (s->fds[o->slot] >= 0)
		close(s->fds[o->slot]);
	s->fds[o->slot] = fd;
	return 0;
}

static long do_xattr(const struct side *s, const struct op *o, struct outcome *out)
{
	const char *path = full_path(s, o->path);
	char name[32];
	long n;
	snprintf(name, sizeof name, "user.name%u", (unsigned)(o->seed % 4));
	switch (o->kind) {
	case K_SETXATTR:
		fill(o->seed, o->size);
		return setxattr(path, name, data, o->size, o->flags);
	case K_GETXATTR:
		n = getxattr(path, name, data, sizeof data);
		if (n > 0)
			out->seen = mix(2, data, (size_t)n);
		return n;
	case K_LISTXATTR:
		n = listxattr(path, (char *)data, sizeof data);
		if (n < 0)
			return n;
		out->seen = xattr_names_seen((char *)data, n);
		return 0;
	case K_REMOVEXATTR:
		return removexattr(path, name);
	case K_ACL: {
		const char *acl = o->flags & 1 ? "system.posix_acl_default" : "system.posix_acl_access";
		return o->flags & 2 ? removexattr(path, acl) : setxattr(path, acl, o->acl, o->acl_size, 0);
	}
	default:
		abort();
	}
}

static long do_path(struct side *s, const struct op *o, struct outcome *out)
{
	struct stat st;
	switch (o->kind) {
	case K_STAT:
	case K_LSTAT:
		if (fstatat(s->root, o->path, &st, o->kind == K_STAT ? 0 : AT_SYMLINK_NOFOLLOW))
			return -1;
		out->seen = stat_seen(&st);
		out->st = st;
		return 0;
	case K_ACCESS:
		return faccessat(s->root, o->path, o->flags, AT_EACCESS);
	case K_READLINK: {
		long n = readlinkat(s->root, o->path, (char *)data, sizeof data);
		if (n > 0)
			out->seen = mix(2, data, (size_t)n);
		return n;
	}
	case K_LIST: {
		int dir = openat(s->root, o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return -1;
		long n = list_seen(dir, &out->seen);
		int error = errno;
		close(dir);
		errno = error;
		return n;
	}
	case K_MKDIR:
		return mkdirat(s->root, o->path, o->mode);
	case K_RMDIR:
		return unlinkat(s->root, o->path, AT_REMOVEDIR);
	case K_UNLINK:
		return unlinkat(s->root, o->path, 0);
	case K_RENAME:
		return renameat2(s->root, o->path, s->root, o->other, (unsigned)o->flags);
	case K_LINK:
		return linkat(s->root, o->path, s->root, o->other, o->flags);
	case K_SYMLINK:
		return symlinkat(o->other, s->root, o->path);
	case K_MKNOD:
		return mknodat(s->root, o->path, o->mode, o->rdev);
	case K_CHMOD:
		return fchmodat(s->root, o->path, o->mode, 0);
	case K_CHOWN:
		return fchownat(s->root, o->path, o->uid, o->gid, o->flags);
	case K_UTIMENS:
		return utimensat(s->root, o->path, o->times, o->flags);
	case K_TRUNCATE:
		return truncate(full_path(s, o->path), o->offset);
	default:
		return do_xattr(s, o, out);
	}
}

/* The object of a call and its directory; what is not there has no times. */
static void times_of(const struct side *s, const struct op *o, struct stat st[2])
{
	char parent[TEXT];
	memset(st, 0, 2 * sizeof *st);
	if (kinds[o->kind].on_slot) {
		if (s->fds[o->slot] >= 0 && fstat(s->fds[o->slot], &st[0]))
			memset(st, 0, sizeof *st);
		return;
	}
	snprintf(parent, sizeof parent, "%s", o->path);
	char *slash = strrchr(parent, '/');
	if (slash)
		*slash = 0;
	if (fstatat(s->root, o->path, &st[0], AT_SYMLINK_NOFOLLOW))
		memset(&st[0], 0, sizeof *st);
	if (fstatat(s->root, slash ? parent : ".", &st[1], AT_SYMLINK_NOFOLLOW))
		memset(&st[1], 0, sizeof *st);
}

static bool moved(struct timespec a, struct timespec b) { return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec; }

static struct outcome do_op(struct side *s, const struct op *o)
{
	struct outcome out = { 0 };
	struct stat before[2], after[2];
	if (o->watch_times) {
		times_of(s, o, before);
		nanosleep(&(struct timespec){ .tv_nsec = 12000000 }, NULL); /* file systems take the time of the last tick */
	}
	umask(o->umask);
	become(o->user);
	errno = 0;
	out.value = o->kind == K_OPEN ? do_open(s, o) : kinds[o->kind].on_slot ? do_slot(s, o, &out) : do_path(s, o, &out);
	out.error = out.value < 0 ? errno : 0;
	become(0);
	if (o->watch_times) {
		times_of(s, o, after);
		for (unsigned i = 0; i < 2; i++)
			if (before[i].st_ino && before[i].st_ino == after[i].st_ino)
				out.times_moved |= ((unsigned)moved(before[i].st_mtim, after[i].st_mtim) |
						    (unsigned)moved(before[i].st_ctim, after[i].st_ctim) << 1) << 2 * i;
	}
	return out;
}

/* ---- Whole trees --------------------------------------------------------------------------- */

/* Which inode of the reference is which here: one to one. */
static struct { uint64_t ours, reference; } *inodes;
static size_t inode_count;

static bool same_inode(uint64_t ours, uint64_t reference)
{
	for (size_t i = 0; i < inode_count; i++)
		if (inodes[i].ours == ours || inodes[i].reference == reference)
			return inodes[i].ours == ours && inodes[i].reference == reference;
	inodes = realloc(inodes, sizeof *inodes * (inode_count + 1));
	inodes[inode_count].ours = ours;
	inodes[inode_count++].reference = reference;
	return true;
}

static uint64_t content_seen(int dir, const char *name, const struct stat *st)
{
	uint64_t seen = 0;
	if (S_ISLNK(st->st_mode)) {
		long n = readlinkat(dir, name, (char *)data, sizeof data);
		return n < 0 ? (uint64_t)errno : mix(4, data, (size_t)n);
	}
	if (!S_ISREG(st->st_mode))
		return 0;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return (uint64_t)errno;
	for (long n; (n = read(fd, data, sizeof data)) > 0;)
		seen = mix(seen, data, (size_t)n);
	close(fd);
	return seen;
}

static uint64_t xattrs_seen(int dir, const char *name)
{
	char path[64 + 256], list[8192];
	uint64_t sum = 0;
	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
	long size = llistxattr(path, list, sizeof list);
	for (const char *p = list; size > 0 && p < list + size; p += strlen(p) + 1) {
		if (strncmp(p, "security.", 9) == 0)
			continue;
		long n = lgetxattr(path, p, data, sizeof data);
		sum += mix(mix(5, p, strlen(p)), data, n > 0 ? (size_t)n : 0);
	}
	return sum;
}

static bool differs(const char *where, const char *name, const char *what, uint64_t a, uint64_t b)
{
	if (a != b)
		printf("%s/%s: %s is %llo (%llu), of the reference %llo (%llu)\n", where, name, what, (unsigned long long)a,
		       (unsigned long long)a, (unsigned long long)b, (unsigned long long)b);
	return a != b;
}

static bool compare_trees(int a, int b, const char *where);

static bool compare_entry(int a, int b, const char *where, const char *name)
{
	struct stat sa, sb;
	bool same = true;
	if (fstatat(a, name, &sa, AT_SYMLINK_NOFOLLOW) || fstatat(b, name, &sb, AT_SYMLINK_NOFOLLOW)) {
		printf("%s/%s: %s\n", where, name, strerror(errno));
		return false;
	}
	same &= !differs(where, name, "mode", sa.st_mode, sb.st_mode);
	same &= !differs(where, name, "owner", sa.st_uid, sb.st_uid);
	same &= !differs(where, name, "group", sa.st_gid, sb.st_gid);
	if (!S_ISDIR(sb.st_mode)) {
		same &= !differs(where, name, "size", (uint64_t)sa.st_size, (uint64_t)sb.st_size);
		same &= !differs(where, name, "count of links", sa.st_nlink, sb.st_nlink);
	}
	same &= !differs(where, name, "device", sa.st_rdev, sb.st_rdev);
	same &= !differs(where, name, "content", content_seen(a, name, &sa), content_seen(b, name, &sb));
	same &= !differs(where, name, "extended attributes", xattrs_seen(a, name), xattrs_seen(b, name));
	if (!same_inode(sa.st_ino, sb.st_ino)) {
		printf("%s/%s: is another file than in the reference\n", where, name);
		same = false;
	}
	if (same && S_ISDIR(sb.st_mode)) {
		char path[4096];
		int da = openat(a, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), db = openat(b, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		snprintf(path, sizeof path, "%s/%s", where, name);
		same = compare_trees(da, db, path);
		close(da);
		close(db);
	}
	return same;
}

static bool compare_trees(int a, int b, const char *where)
{
	char **na = NULL, **nb = NULL;
	long ca = list_names(a, &na), cb = list_names(b, &nb);
	bool same = ca == cb;
	for (long i = 0; same && i < ca; i++)
		same = strcmp(na[i], nb[i]) == 0;
	if (!same) {
		printf("%s: the listings differ:", where);
		for (long i = 0; i < ca; i++)
			printf(" %.40s", na[i]);
		printf(" | of the reference:");
		for (long i = 0; i < cb; i++)
			printf(" %.40s", nb[i]);
		putchar('\n');
	}
	for (long i = 0; same && i < ca; i++)
		same = compare_entry(a, b, where, na[i] + 1);
	free_names(na, ca);
	free_names(nb, cb);
	return same;
}

static bool compare_sides(const struct side *sides)
{
	inode_count = 0;
	return compare_trees(sides[0].top, sides[1].top, ".");
}

static bool sync_tree(int dir)
{
	char **names = NULL;
	long count = list_names(dir, &names);
	bool ok = count >= 0;
	for (long i = 0; i < count; i++) {
		struct stat st;
		if (fstatat(dir, names[i] + 1, &st, AT_SYMLINK_NOFOLLOW) || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
			continue;
		int fd = openat(dir, names[i] + 1, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		ok &= fd >= 0 && fsync(fd) == 0 && (!S_ISDIR(st.st_mode) || sync_tree(fd));
		close(fd);
	}
	ok &= fsync(dir) == 0;
	free_names(names, count);
	return ok;
}

/* ---- The run ------------------------------------------------------------------------------- */

static char history[HISTORY][2 * TEXT];

static void give_up(uint64_t seed, unsigned long step)
{
	for (unsigned long i = step < HISTORY ? 0 : step - HISTORY + 1; i <= step; i++)
		printf("    %s\n", history[i % HISTORY]);
	printf("in_step: WOMBAT_SEED=%llu, step %lu: see above\n", (unsigned long long)seed, step);
	exit(1);
}

static void print_outcome(const struct side *s, const struct outcome *o)
{
	printf("%s: %ld, %s, saw %llx, times moved %#x\n", s->name, o->value, o->error ? strerror(o->error) : "no error",
	       (unsigned long long)o->seen, o->times_moved);
	if (o->st.st_mode)
		printf("    mode %o, owner %u:%u, size %lld, links %lu\n", o->st.st_mode, o->st.st_uid, o->st.st_gid,
		       (long long)o->st.st_size, (unsigned long)o->st.st_nlink);
}

static void run(struct side *sides, unsigned long steps, uint64_t seed)
{
	static struct op o;
	random_seed(&rnd, seed);
	for (unsigned long step = 0; step < steps; step++) {
		choose(&o);
		describe(&o, step, history[step % HISTORY], sizeof history[0]);
		if (kinds[o.kind].on_slot && (sides[0].fds[o.slot] < 0 || (o.kind == K_COPY_RANGE && sides[0].fds[o.other_slot] < 0)))
			continue;
		struct outcome a = do_op(&sides[0], &o), b = do_op(&sides[1], &o);
		if (a.value != b.value || a.error != b.error || a.seen != b.seen || a.times_moved != b.times_moved) {
			print_outcome(&sides[0], &a);
			print_outcome(&sides[1], &b);
			give_up(seed, step);
		}
		if (step % 500 == 499 && !compare_sides(sides))
			give_up(seed, step);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		for (unsigned j = 0; j < 2; j++)
			if (sides[j].fds[i] >= 0)
				close(sides[j].fds[i]);
	if (!compare_sides(sides))
		give_up(seed, steps);
}

static int open_side(struct side *s, const char *path)
{
	s->name = path;
	for (unsigned i = 0; i < SLOTS; i++)
		s->fds[i] = -1;
	umask(0);
	s->top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->top >= 0 && ((mkdirat(s->top, "0", 0777) && errno != EEXIST) || (mkdirat(s->top, "0/1", 0777) && errno != EEXIST)))
		s->top = -1;
	s->root = s->top < 0 ? -1 : openat(s->top, "0/1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0)
		fprintf(stderr, "in_step: %s: %s\n", path, strerror(errno));
	return s->root;
}

int main(int argc, char **argv)
{
	struct side sides[2];
	bool compare = argc == 4 && strcmp(argv[1], "--compare") == 0;
	if (argc == 3 && strcmp(argv[1], "--sync") == 0)
		return open_side(&sides[0], argv[2]) < 0 || !sync_tree(sides[0].top);
	if (argc != 4) {
		fprintf(stderr, "usage: in_step DIRECTORY REFERENCE STEPS | --compare DIRECTORY REFERENCE | --sync DIRECTORY\n");
		return 2;
	}
	if (open_side(&sides[0], argv[1 + compare]) < 0 || open_side(&sides[1], argv[2 + compare]) < 0)
		return 2;
	if (compare)
		return !compare_sides(sides);
	const char *given = getenv("WOMBAT_SEED"), *leave_out = getenv("IN_STEP_WITHOUT");
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec;
	printf("in_step: WOMBAT_SEED=%llu\n", (unsigned long long)seed);
	for (unsigned i = 0; leave_out && i < KINDS; i++)
		left_out[i] = strstr(leave_out, kinds[i].name) != NULL;
	without_setid = leave_out && strstr(leave_out, "setid");
	run(sides, strtoul(argv[3], NULL, 10), seed);
	return 0;
}
