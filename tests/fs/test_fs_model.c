/*
 * The filesystem against a plain tree in memory. A seeded generator drives both in step: names come, go, move and
 * change places, files are open in several ways while that happens, and the database is closed and opened anew between.
 * After each step the errno agrees, and so do the names in order, the attributes and the contents of what it touched;
 * now and then, and after each opening, those of the whole tree.
 *
 * Nothing the tests of the modules do one at a time is new here; what is found here are two things at once: a fresh
 * file renamed over an open one in a directory that is being exchanged.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/random.h"
#include "fs/file.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"
#include "tests/support/seed.h"

enum {
	ENTRIES = 64,  /* live at a time, the root among them */
	HANDLES = 8,
	CONTENT = 6000,
	STEPS = 3000,
	WHOLE_EVERY = 16,
	LIST_CAP = 1024,
};

/* Some sort between "a" and "a/", which is where a directory's children are. */
static const char *const names[] = { "a", "b", "a.b", "a!", "a0", "ab", "50%", "c" };
enum { NAMES = sizeof(names) / sizeof(names[0]) };

struct entry {
	bool live;             /* has a name, or is open */
	struct entry *parent;  /* NULL: the root, or has no name any more */
	const char *name;
	uint32_t mode, uid, gid;
	uint64_t ino;
	uint64_t node;         /* 0: forgotten */
	unsigned opens;
	char xattr[16];        /* "user.x"; "": none */
	size_t size;
	uint8_t content[CONTENT];
	struct fuse_attr before; /* it was closed */
};

struct handle {
	struct entry *entry; /* NULL: free */
	uint64_t fh;
	uint32_t flags;
};

struct model {
	struct fuse_wire w;
	struct random_state r;
	struct entry entries[ENTRIES]; /* the first is the root */
	struct handle handles[HANDLES];
	unsigned step;
	char what[256]; /* this step does */
	bool trace;
};

/* ---- The tree ---- */

static struct entry *find(struct model *t, const struct entry *dir, const char *name)
{
	for (size_t i = 1; i < ENTRIES; i++) {
		struct entry *e = &t->entries[i];
		if (e->live && e->parent == dir && strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

static bool is_dir(const struct entry *e)
{
	return S_ISDIR(e->mode);
}

static bool is_root(const struct model *t, const struct entry *e)
{
	return e == &t->entries[0];
}

static bool has_name(const struct model *t, const struct entry *e)
{
	return e->live && (e->parent || is_root(t, e));
}

static bool is_empty(const struct model *t, const struct entry *dir)
{
	for (size_t i = 1; i < ENTRIES; i++)
		if (t->entries[i].live && t->entries[i].parent == dir)
			return false;
	return true;
}

static bool is_within(const struct entry *e, const struct entry *top)
{
	for (; e; e = e->parent)
		if (e == top)
			return true;
	return false;
}

static struct entry *find_free(struct model *t)
{
	for (size_t i = 1; i < ENTRIES; i++)
		if (!t->entries[i].live)
			return &t->entries[i];
	return NULL;
}

static uint64_t below(struct model *t, uint64_t n)
{
	return random_below(&t->r, n);
}

static const char *any_name(struct model *t)
{
	return names[below(t, NAMES)];
}

/* A random entry that has a name and is, or is not, a directory. NULL: none, or no luck. */
static struct entry *any_entry(struct model *t, bool want_dir)
{
	for (unsigned tries = 0; tries < 4 * ENTRIES; tries++) {
		struct entry *e = &t->entries[below(t, ENTRIES)];
		if (has_name(t, e) && is_dir(e) == want_dir)
			return e;
	}
	return want_dir ? &t->entries[0] : NULL;
}

static struct entry *any_regular(struct model *t)
{
	struct entry *e = any_entry(t, false);
	return e && S_ISREG(e->mode) ? e : NULL;
}

/* ---- Comparing ---- */

static const char *path_of(const struct entry *e)
{
	static char path[2][512];
	static unsigned turn;
	char *p = path[turn++ % 2] + 511;
	*p = '\0';
	for (; e && e->parent; e = e->parent) {
		size_t len = strlen(e->name);
		if (len + 1 > (size_t)(p - path[(turn - 1) % 2]))
			break;
		p = memcpy(p - len, e->name, len);
		*--p = '/';
	}
	return p;
}

static void say(struct model *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct model *t, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(t->what, sizeof(t->what), format, args);
	va_end(args);
	if (t->trace)
		printf("%u: %s\n", t->step, t->what);
}

#define differs(t, format, ...) fail_msg("step %u (%s): " format, (t)->step, (t)->what, __VA_ARGS__)

static void expect(const struct model *t, int got, int expected)
{
	if (got != expected)
		differs(t, "%s, not %s", strerror(got), strerror(expected));
}

/* The entry's node, looked up by its path if the kernel has forgotten it. */
static uint64_t node_of_entry(struct model *t, struct entry *e)
{
	struct fuse_entry_out out;
	if (is_root(t, e))
		return WIRE_ROOT;
	if (e->node)
		return e->node;
	uint64_t dir = node_of_entry(t, e->parent);
	int error = wire_lookup(&t->w, dir, e->name, &out);
	if (error)
		differs(t, "%s cannot be looked up: %s", path_of(e), strerror(error));
	e->node = out.nodeid;
	return e->node;
}

static struct fuse_attr check_attr(struct model *t, struct entry *e)
{
	struct fuse_attr a;
	expect(t, wire_getattr(&t->w, node_of_entry(t, e), &a), 0);
	if (a.mode != e->mode || a.uid != e->uid || a.gid != e->gid)
		differs(t, "%s is %o of %u:%u, not %o of %u:%u", path_of(e), a.mode, a.uid, a.gid, e->mode, e->uid,
			e->gid);
	if (a.ino != e->ino)
		differs(t, "%s has number %" PRIx64 ", not %" PRIx64, path_of(e), (uint64_t)a.ino, e->ino);
	if (a.nlink != has_name(t, e))
		differs(t, "%s has %u links", path_of(e), a.nlink);
	if (!is_dir(e) && a.size != e->size)
		differs(t, "%s has %zu bytes, not %zu", path_of(e), (size_t)a.size, e->size);
	return a;
}

static void check_bytes(const struct model *t, const struct entry *e)
{
	if (t->w.size != e->size || memcmp(t->w.reply, e->content, e->size) != 0)
		differs(t, "%s: %zu bytes read are not the %zu written", path_of(e), t->w.size, e->size);
}

static void check_content(struct model *t, struct entry *e)
{
	uint64_t fh, node = node_of_entry(t, e);
	if (S_ISLNK(e->mode)) {
		expect(t, wire_readlink(&t->w, node), 0);
		check_bytes(t, e);
	}
	if (!S_ISREG(e->mode))
		return;
	expect(t, wire_open_file(&t->w, node, O_RDONLY, &fh), 0);
	expect(t, wire_read(&t->w, node, fh, 0, CONTENT), 0);
	check_bytes(t, e);
	expect(t, wire_release(&t->w, node, fh, O_RDONLY), 0);
}

static void check_xattr(struct model *t, struct entry *e)
{
	int error = wire_getxattr(&t->w, node_of_entry(t, e), "user.x", sizeof(e->xattr));
	expect(t, error, e->xattr[0] ? 0 : ENODATA);
	if (!error && strcmp((char *)t->w.reply, e->xattr) != 0)
		differs(t, "%s: user.x is %s, not %s", path_of(e), (char *)t->w.reply, e->xattr);
}

static void check_entry(struct model *t, struct entry *e)
{
	check_attr(t, e);
	check_content(t, e);
	check_xattr(t, e);
}

/* By the order of keys: a directory's name ends in a '/'. */
static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
	char left[32], right[32];
	snprintf(left, sizeof(left), "%s%s", x->name, is_dir(x) ? "/" : "");
	snprintf(right, sizeof(right), "%s%s", y->name, is_dir(y) ? "/" : "");
	return strcmp(left, right);
}

static void check_listing(struct model *t, struct entry *dir)
{
	struct entry *children[ENTRIES];
	char expected[LIST_CAP] = "";
	size_t count = 0;
	for (size_t i = 1; i < ENTRIES; i++)
		if (t->entries[i].live && t->entries[i].parent == dir)
			children[count++] = &t->entries[i];
	qsort(children, count, sizeof(children[0]), compare_entries);
	for (size_t i = 0; i < count; i++)
		strcat(strcat(expected, children[i]->name), " ");
	bool plus = below(t, 2) == 0;
	char *got = wire_list(&t->w, node_of_entry(t, dir), 448 + (uint32_t)below(t, 2000), plus);
	if (strcmp(got, expected) != 0)
		differs(t, "%s/ lists \"%s\", not \"%s\"", path_of(dir), got, expected);
	test_free(got);
}

static void check_numbers_differ(struct model *t)
{
	for (size_t i = 0; i < ENTRIES; i++)
		for (size_t k = 0; k < i; k++) {
			const struct entry *a = &t->entries[i], *b = &t->entries[k];
			if (has_name(t, a) && has_name(t, b) && a->ino == b->ino)
				differs(t, "%s and %s have the same number", path_of(a), path_of(b));
		}
}

static void check_whole(struct model *t)
{
	for (size_t i = 0; i < ENTRIES; i++) {
		struct entry *e = &t->entries[i];
		if (!e->live)
			continue;
		check_entry(t, e);
		if (is_dir(e) && has_name(t, e))
			check_listing(t, e);
	}
	check_numbers_differ(t);
}

/* ---- Names ---- */

static void forget(struct model *t, struct entry *e)
{
	uint64_t lookups = e->node ? wire_lookups(&t->w, e->node) : 0;
	if (lookups)
		wire_forget(&t->w, e->node, lookups);
	e->node = 0;
}

/* Nobody can reach it any more: the kernel forgets it. */
static void drop_unreachable(struct model *t, struct entry *e)
{
	if (e->parent || e->opens)
		return;
	forget(t, e);
	e->live = false;
}

static void lose_name(struct model *t, struct entry *e)
{
	e->parent = NULL;
	drop_unreachable(t, e);
}

static void adopt(struct model *t, struct entry *e, struct entry *dir, const char *name, uint32_t mode,
		  const struct fuse_entry_out *out)
{
	(void)t;
	e->live = true;
	e->parent = dir;
	e->name = name;
	e->mode = mode;
	e->uid = e->gid = 1000;
	e->ino = out->attr.ino;
	e->node = out->nodeid;
	e->opens = 0;
	e->size = 0;
	e->xattr[0] = '\0';
}

static void set_content(struct entry *e, const char *text)
{
	e->size = strlen(text);
	memcpy(e->content, text, e->size);
}

/* A directory, a symbolic link, a fifo or an empty file. */
static void step_make(struct model *t)
{
	static const uint32_t modes[] = { S_IFDIR | 0755, S_IFDIR | 0700, S_IFLNK | 0777, S_IFIFO | 0600,
					  S_IFREG | 0640 };
	struct entry *dir = any_entry(t, true), *e = find_free(t);
	const char *name = any_name(t);
	uint32_t mode = modes[below(t, sizeof(modes) / sizeof(modes[0]))];
	struct fuse_entry_out out;
	if (!e)
		return;
	say(t, "make %s/%s, %o", path_of(dir), name, mode);
	int error = S_ISDIR(mode) ? wire_mkdir(&t->w, node_of_entry(t, dir), name, mode & 07777, &out) :
		    S_ISLNK(mode) ? wire_symlink(&t->w, node_of_entry(t, dir), name, "../a/b", &out) :
				    wire_mknod(&t->w, node_of_entry(t, dir), name, mode, 0, &out);
	expect(t, error, find(t, dir, name) ? EEXIST : 0);
	if (!error) {
		adopt(t, e, dir, name, mode, &out);
		set_content(e, S_ISLNK(mode) ? "../a/b" : "");
		check_entry(t, e);
	}
	check_listing(t, dir);
}

static struct handle *free_handle(struct model *t)
{
	for (size_t i = 0; i < HANDLES; i++)
		if (!t->handles[i].entry)
			return &t->handles[i];
	return NULL;
}

static void step_create(struct model *t)
{
	struct entry *dir = any_entry(t, true), *e = find_free(t);
	struct handle *h = free_handle(t);
	const char *name = any_name(t);
	struct fuse_entry_out out;
	if (!e || !h)
		return;
	say(t, "create %s/%s", path_of(dir), name);
	int error = wire_create(&t->w, node_of_entry(t, dir), name, 0644, O_RDWR, &out, &h->fh);
	expect(t, error, find(t, dir, name) ? EEXIST : 0);
	if (!error) {
		adopt(t, e, dir, name, S_IFREG | 0644, &out);
		e->opens = 1;
		*h = (struct handle){ .entry = e, .fh = h->fh, .flags = O_RDWR };
	}
	check_listing(t, dir);
}

static void step_unlink(struct model *t)
{
	struct entry *dir = any_entry(t, true);
	const char *name = any_name(t);
	struct entry *e = find(t, dir, name);
	say(t, "unlink %s/%s", path_of(dir), name);
	int error = wire_unlink(&t->w, node_of_entry(t, dir), name);
	expect(t, error, !e ? ENOENT : is_dir(e) ? EISDIR : 0);
	if (!error)
		lose_name(t, e);
	check_listing(t, dir);
}

static void step_rmdir(struct model *t)
{
	struct entry *dir = any_entry(t, true);
	const char *name = any_name(t);
	struct entry *e = find(t, dir, name);
	say(t, "rmdir %s/%s", path_of(dir), name);
	int error = wire_rmdir(&t->w, node_of_entry(t, dir), name);
	expect(t, error, !e ? ENOENT : !is_dir(e) ? ENOTDIR : !is_empty(t, e) ? ENOTEMPTY : 0);
	if (!error)
		lose_name(t, e);
	check_listing(t, dir);
}

static int judge_rename(const struct model *t, const struct entry *e, const struct entry *target,
			const struct entry *new_dir, uint32_t flags)
{
	if (!e || (flags == RENAME_EXCHANGE && !target))
		return ENOENT;
	if (flags == RENAME_EXCHANGE)
		return e != target && (is_within(target, e) || is_within(e, target)) ? EINVAL : 0;
	if (target && flags == RENAME_NOREPLACE)
		return EEXIST;
	if (is_dir(e) && is_within(new_dir, e))
		return EINVAL;
	if (!target || target == e)
		return 0;
	if (is_dir(e) != is_dir(target))
		return is_dir(e) ? ENOTDIR : EISDIR;
	return is_dir(target) && !is_empty(t, target) ? ENOTEMPTY : 0;
}

static void move(struct model *t, struct entry *e, struct entry *target, struct entry *dir, const char *name,
		 uint32_t flags)
{
	if (flags == RENAME_EXCHANGE) {
		target->parent = e->parent;
		target->name = e->name;
	} else if (target) {
		lose_name(t, target);
	}
	e->parent = dir;
	e->name = name;
}

static void step_rename(struct model *t)
{
	static const uint32_t all_flags[] = { 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	struct entry *dir = any_entry(t, true), *new_dir = any_entry(t, true);
	const char *name = any_name(t), *new_name = any_name(t);
	uint32_t flags = all_flags[below(t, 4)];
	struct entry *e = find(t, dir, name), *target = find(t, new_dir, new_name);
	say(t, "rename %s/%s to %s/%s, flags %u", path_of(dir), name, path_of(new_dir), new_name, flags);
	int error = wire_rename(&t->w, node_of_entry(t, dir), name, node_of_entry(t, new_dir), new_name, flags);
	expect(t, error, judge_rename(t, e, target, new_dir, flags));
	if (!error && e != target) {
		move(t, e, target, new_dir, new_name, flags);
		check_entry(t, e);
		if (target && target->live)
			check_entry(t, target);
	}
	check_listing(t, dir);
	check_listing(t, new_dir);
}

/* ---- Contents ---- */

static void step_open(struct model *t)
{
	static const uint32_t all_flags[] = { O_RDONLY, O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_RDWR | O_APPEND };
	struct entry *e = any_regular(t);
	struct handle *h = free_handle(t);
	uint32_t flags = all_flags[below(t, sizeof(all_flags) / sizeof(all_flags[0]))];
	if (!e || !h)
		return;
	say(t, "open %s, flags %o", path_of(e), flags);
	expect(t, wire_open_file(&t->w, node_of_entry(t, e), flags, &h->fh), 0);
	*h = (struct handle){ .entry = e, .fh = h->fh, .flags = flags };
	e->opens++;
	if (flags & O_TRUNC)
		e->size = 0;
	check_entry(t, e);
}

static struct handle *any_handle(struct model *t, bool writer)
{
	struct handle *h = &t->handles[below(t, HANDLES)];
	return h->entry && (!writer || (h->flags & O_ACCMODE) != O_RDONLY) ? h : NULL;
}

static void step_write(struct model *t)
{
	uint8_t bytes[1000];
	struct handle *h = any_handle(t, true);
	if (!h)
		return;
	struct entry *e = h->entry;
	size_t size = below(t, 8) ? below(t, 40) : below(t, sizeof(bytes));
	size_t offset = below(t, 4) ? below(t, e->size + 1) : below(t, CONTENT - sizeof(bytes));
	if (e->size + size > CONTENT)
		return;
	memset(bytes, 'A' + (int)below(t, 26), sizeof(bytes));
	say(t, "write %zu at %zu of %s%s", size, offset, path_of(e), h->flags & O_APPEND ? ", appending" : "");
	expect(t, wire_write(&t->w, e->node, h->fh, h->flags, offset, bytes, size), 0);
	if (h->flags & O_APPEND)
		offset = e->size;
	if (size && offset > e->size)
		memset(e->content + e->size, 0, offset - e->size);
	memcpy(e->content + offset, bytes, size);
	if (size && offset + size > e->size)
		e->size = offset + size;
	check_entry(t, e);
}

static void step_truncate(struct model *t)
{
	struct entry *e = any_regular(t);
	size_t size = below(t, 3) ? below(t, 50) : below(t, CONTENT);
	if (!e)
		return;
	say(t, "truncate %s to %zu", path_of(e), size);
	expect(t, wire_truncate(&t->w, node_of_entry(t, e), size), 0);
	if (size > e->size)
		memset(e->content + e->size, 0, size - e->size);
	e->size = size;
	check_entry(t, e);
}

static void step_sync(struct model *t)
{
	struct handle *h = any_handle(t, false);
	if (!h)
		return;
	bool flush = below(t, 2) == 0;
	say(t, "%s %s", flush ? "flush" : "fsync", path_of(h->entry));
	expect(t, (flush ? wire_flush : wire_fsync)(&t->w, h->entry->node, h->fh), 0);
	check_entry(t, h->entry);
}

static void close_handle(struct model *t, struct handle *h)
{
	struct entry *e = h->entry;
	/* Without a flush: its process was killed. */
	if (below(t, 4))
		expect(t, wire_flush(&t->w, e->node, h->fh), 0);
	expect(t, wire_release(&t->w, e->node, h->fh, h->flags), 0);
	h->entry = NULL;
	e->opens--;
	drop_unreachable(t, e);
	if (e->live)
		check_entry(t, e);
}

static void step_close(struct model *t)
{
	struct handle *h = any_handle(t, false);
	if (!h)
		return;
	say(t, "close %s", path_of(h->entry));
	close_handle(t, h);
}

/* ---- Attributes ---- */

static void step_setattr(struct model *t)
{
	struct entry *e = any_entry(t, below(t, 2) == 0);
	if (!e)
		return;
	struct fuse_setattr_in in = { .valid = below(t, 2) ? FATTR_MODE : FATTR_UID | FATTR_GID | FATTR_MTIME,
				      .mode = (uint32_t)below(t, 01000), .uid = (uint32_t)below(t, 3),
				      .gid = (uint32_t)below(t, 3), .mtime = below(t, 2000000000),
				      .mtimensec = (uint32_t)below(t, 1000000000) };
	struct fuse_attr a;
	say(t, "setattr %s, %x", path_of(e), in.valid);
	expect(t, wire_setattr(&t->w, node_of_entry(t, e), &in, &a), 0);
	if (in.valid & FATTR_MODE)
		e->mode = (e->mode & S_IFMT) | in.mode;
	if (in.valid & FATTR_UID) {
		e->uid = in.uid;
		e->gid = in.gid;
		assert_int_equal(a.mtime, in.mtime);
		assert_int_equal(a.mtimensec, in.mtimensec);
	}
	check_entry(t, e);
}

static void step_xattr(struct model *t)
{
	struct entry *e = any_entry(t, below(t, 3) == 0);
	char value[16];
	if (!e)
		return;
	if (below(t, 2)) {
		snprintf(value, sizeof(value), "v%u", t->step);
		say(t, "setxattr %s", path_of(e));
		expect(t, wire_setxattr(&t->w, node_of_entry(t, e), "user.x", value, (uint32_t)strlen(value), 0), 0);
		strcpy(e->xattr, value);
	} else {
		say(t, "removexattr %s", path_of(e));
		expect(t, wire_removexattr(&t->w, node_of_entry(t, e), "user.x"), e->xattr[0] ? 0 : ENODATA);
		e->xattr[0] = '\0';
	}
	check_entry(t, e);
}

/* ---- What nobody sees ---- */

static void step_forget(struct model *t)
{
	struct entry *e = any_entry(t, below(t, 3) == 0);
	if (!e || e->opens || is_root(t, e))
		return;
	say(t, "forget %s", path_of(e));
	forget(t, e);
	check_entry(t, e);
}

/* The timer found that all that is staged has waited long enough. */
static void step_commit(struct model *t)
{
	struct node_table *nodes = t->w.m.nodes;
	say(t, "%s", "commit");
	pthread_mutex_lock(&nodes->mu);
	int error = file_commit_all(&t->w.m);
	pthread_mutex_unlock(&nodes->mu);
	expect(t, error, 0);
}

/* Nothing is different behind it, to the nanosecond. */
static void step_reopen(struct model *t)
{
	if (below(t, 4))
		return;
	say(t, "%s", "reopen");
	for (size_t i = 0; i < HANDLES; i++)
		if (t->handles[i].entry)
			close_handle(t, &t->handles[i]);
	for (size_t i = 0; i < ENTRIES; i++)
		if (t->entries[i].live)
			t->entries[i].before = check_attr(t, &t->entries[i]);
	wire_reopen(&t->w);
	for (size_t i = 0; i < ENTRIES; i++)
		t->entries[i].node = 0;
	for (size_t i = 0; i < ENTRIES; i++) {
		struct entry *e = &t->entries[i];
		if (!e->live)
			continue;
		struct fuse_attr a = check_attr(t, e);
		if (memcmp(&a, &e->before, sizeof(a)) != 0)
			differs(t, "%s/%s has other attributes than before", path_of(e), is_dir(e) ? "" : "(file)");
	}
	check_whole(t);
}

/* ---- */

static void step(struct model *t)
{
	static const struct {
		void (*run)(struct model *t);
		unsigned weight;
	} all[] = {
		{ step_make, 10 }, { step_create, 10 }, { step_unlink, 10 }, { step_rmdir, 5 }, { step_rename, 25 },
		{ step_open, 12 }, { step_write, 14 }, { step_truncate, 4 }, { step_sync, 4 }, { step_close, 8 },
		{ step_setattr, 6 }, { step_xattr, 4 }, { step_forget, 8 }, { step_commit, 3 }, { step_reopen, 3 },
	};
	unsigned total = 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		total += all[i].weight;
	uint64_t at = below(t, total);
	size_t i = 0;
	for (; at >= all[i].weight; i++)
		at -= all[i].weight;
	all[i].run(t);
}

static void test_random_operations(void **state)
{
	struct model *t = test_calloc(1, sizeof(*t));
	(void)state;
	random_seed(&t->r, test_seed("test_fs_model"));
	t->trace = getenv("WOMBAT_TRACE") != NULL;
	wire_start(&t->w, NULL);
	struct fuse_attr root;
	assert_int_equal(wire_getattr(&t->w, WIRE_ROOT, &root), 0);
	t->entries[0] = (struct entry){ .live = true, .mode = root.mode, .uid = root.uid, .gid = root.gid, .ino = 1 };
	/* What was never changed has no times of its own. */
	assert_int_equal(wire_chmod(&t->w, WIRE_ROOT, root.mode & 07777), 0);
	unsigned steps = test_steps(STEPS);
	for (t->step = 0; t->step < steps; t->step++) {
		step(t);
		if (t->step % WHOLE_EVERY == 0)
			check_whole(t);
	}
	for (size_t i = 0; i < HANDLES; i++)
		if (t->handles[i].entry)
			close_handle(t, &t->handles[i]);
	check_whole(t);
	wire_stop(&t->w);
	test_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
