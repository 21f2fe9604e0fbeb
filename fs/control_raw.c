/*
 * raw/HEX: any key by its bytes, in hexadecimal.
 *
 * Such a name is a second one for the file that has the key: the same node, found by the key's path, so what is written by
 * one name is seen by the other at once. Digits may be of either case; listings have the lower one. `%empty` is the empty
 * key. Of a key over WHOLE_MAX bytes the first CHUNK_SIZE are a directory, their digits and `%+`, in which the rest is
 * named likewise; every such directory can be entered, and is listed where a key begins with it. Each key has one place:
 * what would fit without a directory is not in one.
 *
 * A listing streams the keys of the database in order. A file that was never closed yet is no key, and not in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/errmap.h"
#include "fs/links.h"
#include "fs/namei.h"
#include "fs/notify.h"

enum { WHOLE_MAX = 127, CHUNK_SIZE = 126, REST_MIN = WHOLE_MAX + 1 - CHUNK_SIZE, RAW_NAME_MAX = 2 * WHOLE_MAX };

static const char empty_token[] = "%empty", chunk_mark[] = "%+";

/* ---- Names --------------------------------------------------------------------------------- */

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Appends what the digits say. EINVAL: they are not whole bytes. */
static int append_bytes(struct key_buf *key, const char *digits, size_t len)
{
	uint8_t bytes[WHOLE_MAX];
	if (len % 2 || len / 2 > sizeof bytes)
		return EINVAL;
	for (size_t i = 0; i < len / 2; i++) {
		int high = digit_of(digits[2 * i]), low = digit_of(digits[2 * i + 1]);
		if (high < 0 || low < 0)
			return EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return key_append(key, bytes, len / 2);
}

/* The key of that name, or for a chunk what its keys begin with. A directory's node has in `part` what is above. EINVAL. */
static int key_of(const struct node *dir, const char *name, struct key_buf *key, bool *out_chunk)
{
	size_t len = strlen(name);
	bool inside = dir->part_len > 0;
	*out_chunk = len == 2 * CHUNK_SIZE + 2 && strcmp(name + len - 2, chunk_mark) == 0;
	if (!inside && strcmp(name, empty_token) == 0)
		return 0;
	if (!*out_chunk && (len == 0 || (inside && len < 2 * REST_MIN)))
		return EINVAL;
	int error = key_append(key, dir->part, dir->part_len);
	return error ? error : append_bytes(key, name, *out_chunk ? len - 2 : len);
}

static void name_of(const uint8_t *bytes, size_t size, char out[RAW_NAME_MAX + 1])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < size; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = 0;
}

/* ---- Files --------------------------------------------------------------------------------- */

/* The directory of the next component; with `make` it is there then. */
static int step(struct mount *m, struct node *dir, const char *name, const struct caller *maker, struct node **out)
{
	int error = namei_lookup(m, dir, name, out);
	if (error == ENOENT && maker) {
		error = namei_make(m, dir, name, S_IFDIR | (0777 & ~m->options.umask), 0, NULL, *maker, out);
		if (!error)
			notify_name(m, node_id(m, dir), name, strlen(name));
	}
	if (error || node_is_dir(*out))
		return error;
	node_release(m, *out);
	if (!maker)
		return ENOENT;
	return control_refuse(m, ENOTDIR, "what the key begins with, up to a '/', is a file of the mount; remove it first (%s)", name);
}

/*
 * Where the key is: the directory, not counted, and the name there, into `out_name`, which has room for any. With `maker`
 * the directories on the way are made. The caller releases the directory.
 */
static int place_of(struct mount *m, const struct key_buf *key, const struct caller *maker, struct node **out_dir,
		    char out_name[KEYPATH_NAME_MAX + 1])
{
	char *path = keypath_from_key(key->data, key->size, false, m->options.ctldir), *name = path;
	struct node *dir = &m->nodes->root, *n;
	int error = path ? 0 : ENOMEM;
	for (char *slash; !error && (slash = strchr(name, '/')) != NULL; name = slash + 1) {
		*slash = 0;
		error = step(m, dir, name, maker, &n);
		if (error)
			node_release(m, dir);
		else
			dir = n;
	}
	if (!error)
		memcpy(out_name, name, strlen(name) + 1);
	free(path);
	if (error)
		return error;
	/* A key with others below it shows in the directory that these make. */
	error = namei_lookup(m, dir, out_name, &n);
	if (!error && node_is_dir(n)) {
		dir = n;
		memcpy(out_name, "%value", sizeof "%value");
	} else if (!error) {
		/* Asked for again, by whoever called: it is live as long as something else keeps it. */
		dir->children++;
		node_release(m, n);
		dir->children--;
	} else if (error != ENOENT) {
		node_release(m, dir);
		return error;
	}
	*out_dir = dir;
	return 0;
}

static int enter_chunk(struct mount *m, struct node *dir, const char *name, const struct key_buf *key, struct node **out)
{
	size_t len = strlen(name);
	*out = node_find(m, dir, name, len);
	if (*out)
		return 0;
	struct node *n = node_new(m, dir, name, len, KEYPATH_BAD, key->data, key->size, true);
	if (!n)
		return ENOMEM;
	n->control = dir->control;
	n->attr.mode = dir->attr.mode;
	*out = n;
	return 0;
}

static int lookup(struct mount *m, struct node *dir, const char *name, struct node **out)
{
	struct key_buf key = { 0 };
	char live_name[KEYPATH_NAME_MAX + 1];
	struct node *above;
	bool chunk;
	int error = key_of(dir, name, &key, &chunk);
	if (error == EINVAL)
		error = ENOENT;
	if (!error && chunk) {
		error = enter_chunk(m, dir, name, &key, out);
	} else if (!error) {
		error = place_of(m, &key, NULL, &above, live_name);
		if (!error) {
			error = namei_lookup(m, above, live_name, out);
			if (error)
				node_release(m, above);
		}
	}
	key_done(&key);
	return error;
}

static int create(struct mount *m, struct node *dir, const char *name, mode_t mode, uid_t uid, gid_t gid, struct node **out)
{
	struct key_buf key = { 0 };
	const struct caller who = { .uid = uid, .gid = gid };
	char live_name[KEYPATH_NAME_MAX + 1];
	struct node *above;
	bool chunk;
	int error = key_of(dir, name, &key, &chunk);
	if (error == EINVAL || chunk)
		error = control_refuse(m, EINVAL, "%.40s... is no key: an even number of hexadecimal digits, %%empty, or of a "
				       "longer one the first %d and %%+, a directory", name, 2 * CHUNK_SIZE);
	/* To be known before directories are made for it. */
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (!error)
		error = place_of(m, &key, &who, &above, live_name);
	if (!error) {
		error = namei_create(m, above, live_name, mode, who, out);
		if (!error)
			notify_name(m, node_id(m, above), live_name, strlen(live_name));
		else
			node_release(m, above);
	}
	key_done(&key);
	return error;
}

static int unlink_key(struct mount *m, struct node *dir, const char *name)
{
	struct key_buf key = { 0 };
	char live_name[KEYPATH_NAME_MAX + 1];
	struct node *above;
	bool chunk;
	int error = key_of(dir, name, &key, &chunk);
	if (error == EINVAL || chunk)
		error = chunk ? EISDIR : ENOENT;
	if (!error)
		error = place_of(m, &key, NULL, &above, live_name);
	if (!error) {
		above->children++; /* until it is told of */
		const struct node *n = node_find(m, above, live_name, strlen(live_name));
		uint64_t linked = n && n->links && n->links->count > 1 ? node_id(m, n) : 0;
		error = namei_unlink(m, above, live_name);
		if (!error)
			notify_name(m, node_id(m, above), live_name, strlen(live_name));
		if (!error && linked)
			notify_inode(m, linked); /* it has a name less */
		above->children--;
		node_release(m, above);
	}
	key_done(&key);
	return error;
}

/* ---- Listing ------------------------------------------------------------------------------- */

struct raw_list {
	struct control_list list;
	struct wombat_iter *iter;
	size_t above;                      /* bytes of the directory */
	bool started, in_chunk;
	uint8_t chunk[CHUNK_SIZE];         /* told last: what else begins with it and is as long is in it */
	char name[RAW_NAME_MAX + 1];
};

/* Tells the record at hand; false: nothing of it is here, or it was told of before. */
static bool tell(struct raw_list *l, struct wombat_slice rest, mode_t *out_type)
{
	if (l->above && rest.size < REST_MIN)
		return false;
	*out_type = S_IFREG;
	if (rest.size > WHOLE_MAX) {
		if (l->in_chunk && memcmp(l->chunk, rest.data, CHUNK_SIZE) == 0)
			return false;
		memcpy(l->chunk, rest.data, CHUNK_SIZE);
		l->in_chunk = true;
		name_of(rest.data, CHUNK_SIZE, l->name);
		memcpy(l->name + 2 * CHUNK_SIZE, chunk_mark, sizeof chunk_mark);
		*out_type = S_IFDIR;
	} else if (rest.size) {
		name_of(rest.data, rest.size, l->name);
	} else {
		memcpy(l->name, empty_token, sizeof empty_token);
	}
	return true;
}

static int list_next(struct control_list *list, const char **out_name, mode_t *out_type, uint64_t *out_ino)
{
	struct raw_list *l = (struct raw_list *)list;
	for (;;) {
		bool more = l->started ? wombat_iter_valid(l->iter) && wombat_iter_next(l->iter) : wombat_iter_first(l->iter);
		l->started = true;
		if (!more) {
			int error = errmap_from_wombat(wombat_iter_status(l->iter));
			return error ? error : ENOENT;
		}
		struct wombat_slice key = wombat_iter_record(l->iter)->key;
		if (!tell(l, WOMBAT_SLICE(key.data + l->above, key.size - l->above), out_type))
			continue;
		const struct node raw = { .ino = 0 };
		*out_name = l->name;
		*out_ino = node_default_ino(&raw, key.data, key.size, false);
		return 0;
	}
}

static void list_close(struct control_list *list)
{
	struct raw_list *l = (struct raw_list *)list;
	wombat_iter_free(l->iter);
	free(l);
}

/* The first key behind all that begin with these bytes; empty: there is none. */
static int end_of(const struct node *dir, struct key_buf *out)
{
	int error = key_append(out, dir->part, dir->part_len);
	while (out->size && out->data[out->size - 1] == 0xff)
		out->size--;
	if (out->size)
		out->data[out->size - 1]++;
	return error;
}

static int list(struct mount *m, struct node *dir, struct control_list **out)
{
	struct key_buf end = { 0 };
	struct raw_list *l = calloc(1, sizeof *l);
	int error = l ? end_of(dir, &end) : ENOMEM;
	if (!error) {
		const struct wombat_iter_options options = {
			.read = { .flags = WOMBAT_READ_META | WOMBAT_READ_NO_FILL },
			.lower = WOMBAT_SLICE(dir->part, dir->part_len),
			.upper = WOMBAT_SLICE(end.data, end.size),
		};
		l->list = (struct control_list){ list_next, list_close };
		l->above = dir->part_len;
		error = errmap_from_wombat(wombat_iter_new(m->db, &options, WOMBAT_USER, &l->iter));
	}
	key_done(&end);
	if (error)
		free(l);
	else
		*out = &l->list;
	return error;
}

const struct control_dir control_raw_dir = {
	.lookup = lookup, .list = list, .create = create, .unlink = unlink_key, .second_names = true,
};
