/*
 * Reading a database through the mount of it: see tool_mount.h.
 *
 * fs/keypath.h says how keys and paths correspond. The one difficulty is order: a directory's names, sorted,
 * are not its keys in order. A child that is a value sorts as its name, one that has keys below as its name
 * and '/', and a long component's first chunk is a directory whose contents belong among its siblings. So a
 * directory is first read whole into a list of children, chunks spliced in, which is then sorted as keys are.
 *
 * Paths are walked name by name without following symbolic links: a link in the mount is a value, not a way.
 */
#include "engine/tool/tool_mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/tool/tool.h"
#include "fs/keypath.h"

/* The control directory, and the name that a key component must not take at the root. */
static const char control_dir[] = ".wombat";
static const char value_name[] = "%value";

struct tool_mount {
	int root; /* O_PATH */
	char *mountpoint;
};

static int no_memory(void)
{
	return complain(TOOL_IO, "out of memory.");
}

static int failed(const struct tool_mount *m, const char *name)
{
	return complain(TOOL_IO, "%s, in the mount on %s: %s.", name, m->mountpoint, strerror(errno));
}

/* Errors by which the mount says that there is no such key; a link or a file on the way is one of them. */
static bool is_absent(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EINVAL || error == ENAMETOOLONG;
}

int tool_mount_open(const char *mountpoint, struct tool_mount **out_mount)
{
	struct tool_mount *m = calloc(1, sizeof(*m));
	if (!m)
		return no_memory();
	m->mountpoint = strdup(mountpoint);
	m->root = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!m->mountpoint || m->root < 0) {
		int code = m->mountpoint ? complain(TOOL_BUSY, "the database is mounted on %s, which cannot be opened: %s.",
						   mountpoint, strerror(errno))
					 : no_memory();
		tool_mount_close(m);
		return code;
	}
	*out_mount = m;
	return 0;
}

void tool_mount_close(struct tool_mount *m)
{
	if (!m)
		return;
	if (m->root >= 0)
		close(m->root);
	free(m->mountpoint);
	free(m);
}

const char *tool_mount_point(const struct tool_mount *m)
{
	return m->mountpoint;
}

/* ---- One file ---- */

static int read_regular(int fd, uint64_t size_hint, uint8_t **out_data, uint64_t *out_size)
{
	size_t capacity = size_hint + 1, size = 0; /* one more, to meet the end without growing */
	uint8_t *data = malloc(capacity);
	while (data) {
		ssize_t got = read(fd, data + size, capacity - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			free(data);
			return -1;
		}
		size += (size_t)got;
		if (got == 0) {
			*out_data = data;
			*out_size = size;
			return 0;
		}
		if (size == capacity) {
			uint8_t *grown = realloc(data, capacity *= 2);
			if (!grown)
				free(data);
			data = grown;
		}
	}
	errno = ENOMEM;
	return -1;
}

static int read_data(int dir, const char *name, const struct stat *st, struct mount_value *value)
{
	if (S_ISLNK(st->st_mode)) {
		size_t room = (size_t)st->st_size + 1;
		value->data = malloc(room);
		ssize_t got = value->data ? readlinkat(dir, name, (char *)value->data, room) : -1;
		value->size = got < 0 ? 0 : (uint64_t)got;
		if (got < 0)
			free(value->data);
		return got < 0 ? -1 : 0;
	}
	if (!S_ISREG(st->st_mode)) {
		value->data = malloc(1); /* a device or a pipe: a record without a value */
		value->size = 0;
		return value->data ? 0 : -1;
	}
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = read_regular(fd, (uint64_t)st->st_size, &value->data, &value->size);
	close(fd);
	return result;
}

/* The value that the file `name` stands for. -1: errno; EISDIR when it is a directory. */
static int read_value(int dir, const char *name, bool with_data, struct mount_value *out_value)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	struct mount_value value = { .size = (uint64_t)st.st_size,
		.time_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec };
	if (with_data && read_data(dir, name, &st, &value) != 0)
		return -1;
	*out_value = value;
	return 0;
}

/* ---- Paths ---- */

/* Opens the directory that holds the last name of `path`, which is cut there: *out_name is that name. -1: errno. */
static int walk_to_parent(struct tool_mount *m, char *path, char **out_name)
{
	int dir = openat(m->root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *slash;
	while (dir >= 0 && (slash = strchr(path, '/')) != NULL) {
		*slash = '\0';
		int next = openat(dir, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int error = errno;
		close(dir);
		errno = error;
		dir = next;
		path = slash + 1;
	}
	*out_name = path;
	return dir;
}

int tool_mount_get(struct tool_mount *m, struct wombat_slice key, bool with_data, struct mount_value *out_value)
{
	/* A key that is a prefix too shows as its directory's %value; which it is, the mount tells. */
	int result = -1;
	errno = EISDIR;
	for (int also_prefix = 0; also_prefix < 2 && result != 0 && errno == EISDIR; also_prefix++) {
		char *name, *path = keypath_from_key(key.data, key.size, also_prefix, control_dir);
		if (!path)
			return no_memory();
		int dir = walk_to_parent(m, path, &name);
		if (dir >= 0) {
			result = read_value(dir, name, with_data, out_value);
			int error = errno;
			close(dir);
			errno = error;
		}
		free(path);
	}
	if (result == 0)
		return 0;
	return is_absent(errno) || errno == EISDIR ? TOOL_NOT_FOUND : failed(m, "a value");
}

/* The directory whose children have keys that start with `prefix` ("" or ending in '/'). -1: errno. */
static int open_prefix(struct tool_mount *m, struct wombat_slice prefix)
{
	if (prefix.size == 0)
		return openat(m->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *name, *path = keypath_from_key(prefix.data, prefix.size - 1, false, control_dir);
	if (!path) {
		errno = ENOMEM;
		return -1;
	}
	int fd = -1, parent = walk_to_parent(m, path, &name);
	if (parent >= 0) {
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int error = errno;
		close(parent);
		errno = error;
	}
	free(path);
	return fd;
}

/* ---- A directory as keys ---- */

struct child {
	uint8_t *bytes;   /* the component, and a '/' when it is a prefix: how it sorts */
	size_t size;
	bool is_prefix;
	char *path;       /* from the directory: "name", "chunk%+/name", "name/%value" */
};

struct children {
	struct child *list;
	size_t count, capacity;
};

static void children_done(struct children *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->list[i].bytes);
		free(c->list[i].path);
	}
	free(c->list);
}

/* False: no memory. */
static bool children_add(struct children *c, struct wombat_slice component, bool is_prefix, const char *where,
	const char *name, const char *tail)
{
	if (c->count == c->capacity) {
		size_t capacity = c->capacity ? c->capacity * 2 : 64;
		struct child *grown = realloc(c->list, capacity * sizeof(*grown));
		if (!grown)
			return false;
		c->list = grown;
		c->capacity = capacity;
	}
	struct child child = { .size = component.size + is_prefix, .is_prefix = is_prefix };
	child.bytes = malloc(component.size + 1);
	if (!child.bytes || asprintf(&child.path, "%s%s%s", where, name, tail) < 0) {
		free(child.bytes);
		return false;
	}
	if (component.size > 0)
		memcpy(child.bytes, component.data, component.size);
	child.bytes[component.size] = '/';
	c->list[c->count++] = child;
	return true;
}

static int compare_children(const void *a, const void *b)
{
	const struct child *x = a, *y = b;
	return slice_compare(WOMBAT_SLICE(x->bytes, x->size), WOMBAT_SLICE(y->bytes, y->size));
}

static bool is_directory(int dir, const struct dirent *d)
{
	struct stat st;
	if (d->d_type != DT_UNKNOWN)
		return d->d_type == DT_DIR;
	return fstatat(dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int read_children(int fd, const struct keypath_context *context, struct wombat_slice begun, const char *where,
	struct children *c);

/* The directory of a chunk: what it holds are children of the directory that the chunk is in. */
static int read_chunk(int dir, const char *name, struct wombat_slice begun, const char *where, struct children *c)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char *below;
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (asprintf(&below, "%s%s/", where, name) < 0) {
		close(fd);
		errno = ENOMEM;
		return -1;
	}
	struct keypath_context context = { .in_chunk = true, .ctldir = control_dir };
	int result = read_children(fd, &context, begun, below, c);
	free(below);
	return result;
}

static int read_child(int dir, const struct dirent *d, const struct keypath_context *context,
	struct wombat_slice begun, const char *where, struct children *c)
{
	uint8_t *bytes = malloc(begun.size + KEYPATH_NAME_MAX);
	if (!bytes)
		return -1;
	if (begun.size > 0)
		memcpy(bytes, begun.data, begun.size);
	size_t size = 0;
	enum keypath_kind kind = keypath_decode(context, d->d_name, strlen(d->d_name), bytes + begun.size, &size);
	struct wombat_slice component = WOMBAT_SLICE(bytes, begun.size + size);
	int result = 0;
	if (kind == KEYPATH_CHUNK) {
		result = read_chunk(dir, d->d_name, component, where, c);
	} else if (kind == KEYPATH_NAME && !is_directory(dir, d)) {
		result = children_add(c, component, false, where, d->d_name, "") ? 0 : -1;
	} else if (kind == KEYPATH_NAME) {
		char *inside;
		struct stat st;
		if (asprintf(&inside, "%s/%s", d->d_name, value_name) < 0) {
			result = -1;
		} else {
			bool is_value = fstatat(dir, inside, &st, AT_SYMLINK_NOFOLLOW) == 0;
			free(inside);
			if ((is_value && !children_add(c, component, false, where, d->d_name, "/%value")) ||
				!children_add(c, component, true, where, d->d_name, ""))
				result = -1;
		}
	}
	free(bytes);
	return result;
}

/* Adds the children of a directory, unsorted; closes `fd`. -1: errno. */
static int read_children(int fd, const struct keypath_context *context, struct wombat_slice begun, const char *where,
	struct children *c)
{
	DIR *stream = fdopendir(fd);
	if (!stream) {
		close(fd);
		return -1;
	}
	int result = 0;
	struct dirent *d;
	errno = 0;
	while (result == 0 && (d = readdir(stream)) != NULL) {
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
			!(context->root && strcmp(d->d_name, context->ctldir) == 0))
			result = read_child(dirfd(stream), d, context, begun, where, c);
		if (result == 0)
			errno = 0;
	}
	int error = errno;
	closedir(stream);
	errno = error;
	return error ? -1 : 0;
}

/* Reads and sorts the children of the directory that stands for `prefix`; closes `fd`. -1: errno. */
static int read_sorted(int fd, struct wombat_slice prefix, struct children *out)
{
	struct keypath_context context = { .root = prefix.size == 0, .ctldir = control_dir };
	*out = (struct children){ 0 };
	if (read_children(fd, &context, WOMBAT_SLICE(NULL, 0), "", out) != 0) {
		int error = errno;
		children_done(out);
		errno = error;
		return -1;
	}
	if (out->count > 0)
		qsort(out->list, out->count, sizeof(*out->list), compare_children);
	return 0;
}

/* ---- Scan ---- */

struct walk {
	struct tool_mount *m;
	const struct mount_range *range;
	bool (*each)(void *arg, struct wombat_slice key, const struct mount_value *value);
	void *arg;
	bool stopped;
	int code;
};

/* Whether keys that start with `prefix` can be in the range. */
static bool range_meets(const struct mount_range *r, struct wombat_slice prefix)
{
	struct wombat_slice shorter = prefix.size < r->prefix.size ? prefix : r->prefix;
	struct wombat_slice longer = prefix.size < r->prefix.size ? r->prefix : prefix;
	if (!slice_starts_with(longer, shorter))
		return false;
	/* All of them lie before `lower` unless it is one of them or comes before them. */
	if (slice_compare(prefix, r->lower) < 0 && !slice_starts_with(r->lower, prefix))
		return false;
	return r->upper.size == 0 || slice_compare(prefix, r->upper) < 0;
}

static bool range_holds(const struct mount_range *r, struct wombat_slice key)
{
	return slice_starts_with(key, r->prefix) && slice_compare(key, r->lower) >= 0 &&
		(r->upper.size == 0 || slice_compare(key, r->upper) < 0);
}

static void walk_failed(struct walk *w, const char *name)
{
	/* What went away while we looked is no failure. */
	if (is_absent(errno) || errno == EISDIR)
		return;
	w->code = failed(w->m, name);
	w->stopped = true;
}

static void walk_directory(struct walk *w, int fd, struct wombat_slice prefix);

static void walk_child(struct walk *w, int dir, const struct child *child, struct wombat_slice key)
{
	if (child->is_prefix) {
		if (!range_meets(w->range, key))
			return;
		int fd = openat(dir, child->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			walk_failed(w, child->path);
		else
			walk_directory(w, fd, key);
		return;
	}
	struct mount_value value;
	if (!range_holds(w->range, key))
		return;
	if (read_value(dir, child->path, w->range->with_data, &value) != 0) {
		walk_failed(w, child->path);
		return;
	}
	if (!w->each(w->arg, key, &value))
		w->stopped = true;
	free(value.data);
}

/* Gives the keys below `prefix`; closes `fd`. */
static void walk_directory(struct walk *w, int fd, struct wombat_slice prefix)
{
	struct children children;
	int dir = dup(fd); /* reading the directory takes `fd`, and the children are opened after */
	if (dir < 0) {
		walk_failed(w, "a directory");
		close(fd);
		return;
	}
	if (read_sorted(fd, prefix, &children) != 0) {
		walk_failed(w, "a directory");
		close(dir);
		return;
	}
	for (size_t i = 0; i < children.count && !w->stopped; i++) {
		const struct child *child = &children.list[w->range->reverse ? children.count - 1 - i : i];
		uint8_t *key = malloc(prefix.size + child->size + 1);
		if (!key) {
			errno = ENOMEM;
			walk_failed(w, child->path);
			break;
		}
		if (prefix.size > 0)
			memcpy(key, prefix.data, prefix.size);
		memcpy(key + prefix.size, child->bytes, child->size);
		walk_child(w, dir, child, WOMBAT_SLICE(key, prefix.size + child->size));
		free(key);
	}
	children_done(&children);
	close(dir);
}

/* The deepest directory that holds all of the range: up to the last '/' of what its keys have in common. */
static struct wombat_slice range_directory(const struct mount_range *r)
{
	struct wombat_slice common = r->prefix;
	if (common.size == 0 && r->upper.size > 0) {
		common = r->lower;
		size_t same = 0;
		while (same < r->lower.size && same < r->upper.size && r->lower.data[same] == r->upper.data[same])
			same++;
		common.size = same;
	}
	while (common.size > 0 && common.data[common.size - 1] != '/')
		common.size--;
	return common;
}

int tool_mount_scan(struct tool_mount *m, const struct mount_range *range,
	bool (*each)(void *arg, struct wombat_slice key, const struct mount_value *value), void *arg)
{
	struct walk walk = { .m = m, .range = range, .each = each, .arg = arg };
	struct wombat_slice prefix = range_directory(range);
	int fd = open_prefix(m, prefix);
	if (fd < 0)
		walk_failed(&walk, "a directory");
	else
		walk_directory(&walk, fd, prefix);
	return walk.code;
}

/* ---- List ---- */

static bool note_key(void *arg, struct wombat_slice key, const struct mount_value *value)
{
	(void)key;
	(void)value;
	*(bool *)arg = true;
	return false;
}

/* Whether there is any key below: directories made through the mount may be empty, and are no keys. */
static bool has_keys(struct walk *w, int dir, const struct child *child)
{
	static const struct mount_range everything = { .reverse = false };
	bool found = false;
	struct walk inner = { .m = w->m, .range = &everything, .each = note_key, .arg = &found };
	int fd = openat(dir, child->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		walk_directory(&inner, fd, WOMBAT_SLICE("/", 1)); /* any prefix that is not the root's */
	return found;
}

static void list_child(struct walk *w, int dir, const struct child *child)
{
	struct wombat_slice name = WOMBAT_SLICE(child->bytes, child->size - child->is_prefix);
	struct mount_value value;
	if (child->is_prefix) {
		if (has_keys(w, dir, child) && !w->each(w->arg, name, NULL))
			w->stopped = true;
		return;
	}
	if (read_value(dir, child->path, false, &value) != 0)
		walk_failed(w, child->path);
	else if (!w->each(w->arg, name, &value))
		w->stopped = true;
}

int tool_mount_list(struct tool_mount *m, struct wombat_slice prefix,
	bool (*each)(void *arg, struct wombat_slice name, const struct mount_value *value), void *arg)
{
	struct children children;
	int fd = open_prefix(m, prefix);
	if (fd < 0)
		return is_absent(errno) ? TOOL_NOT_FOUND : failed(m, "a directory");
	int dir = dup(fd);
	if (dir < 0) {
		close(fd);
		return failed(m, "a directory");
	}
	if (read_sorted(fd, prefix, &children) != 0) {
		close(dir);
		return failed(m, "a directory");
	}
	struct walk walk = { .m = m, .each = each, .arg = arg };
	for (size_t i = 0; i < children.count && !walk.stopped; i++)
		list_child(&walk, dir, &children.list[i]);
	children_done(&children);
	close(dir);
	return walk.code;
}

/* ---- The control directory ---- */

int tool_mount_read_control(struct tool_mount *m, const char *name, char **out_text)
{
	char path[sizeof(control_dir) + 64];
	uint8_t *data;
	uint64_t size;
	snprintf(path, sizeof(path), "%s/%s", control_dir, name);
	int fd = openat(m->root, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return failed(m, path);
	int result = read_regular(fd, 65536, &data, &size);
	close(fd);
	if (result != 0)
		return failed(m, path);
	char *text = realloc(data, size + 1);
	if (!text) {
		free(data);
		return no_memory();
	}
	text[size] = '\0';
	*out_text = text;
	return 0;
}
