/*
 * The list of extended attributes, encoded one behind the other: name length 1, name, value length 2, value. It is
 * searched and rebuilt as a whole: it has 64 KiB at most.
 */
#include "fs/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/attr_format.h"

enum { NAME_MAX_BYTES = 255, TOTAL_MAX = ATTR_BLOB_MAX - 128 };

/* One attribute of the list at `at`; false at the end, or where the list is not one. */
struct item {
	const char *name;
	size_t name_len;
	const uint8_t *value;
	size_t value_size;
	size_t start, end;
};

static bool item_at(const struct node *n, size_t at, struct item *out)
{
	const uint8_t *p = n->attr.xattrs;
	size_t size = n->attr.xattrs_size;
	if (at >= size || size - at < 3u + p[at])
		return false;
	out->name = (const char *)p + at + 1;
	out->name_len = p[at];
	size_t value = at + 1 + p[at];
	out->value_size = p[value] | (size_t)p[value + 1] << 8;
	if (size - value - 2 < out->value_size)
		return false;
	out->value = p + value + 2;
	out->start = at;
	out->end = value + 2 + out->value_size;
	return true;
}

static bool find(const struct node *n, const char *name, struct item *out)
{
	size_t len = strlen(name);
	for (size_t at = 0; item_at(n, at, out); at = out->end)
		if (out->name_len == len && memcmp(out->name, name, len) == 0)
			return true;
	return false;
}

int xattr_get(const struct node *n, const char *name, const uint8_t **out, size_t *out_size)
{
	struct item i;
	/* Most files have none, and the kernel asks before every write. */
	if (!n->attr.xattrs_size || !find(n, name, &i))
		return ENODATA;
	*out = i.value;
	*out_size = i.value_size;
	return 0;
}

/* POSIX ACLs would have to be enforced, and nobody here does. */
static bool is_kept(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0;
}

static void take_out(struct node *n, const struct item *i)
{
	memmove(n->attr.xattrs + i->start, n->attr.xattrs + i->end, n->attr.xattrs_size - i->end);
	n->attr.xattrs_size -= i->end - i->start;
}

int xattr_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, int flags)
{
	struct item old;
	size_t len = strlen(name);
	if (!is_kept(name))
		return EOPNOTSUPP;
	if (len > NAME_MAX_BYTES)
		return ERANGE;
	if (size > UINT16_MAX)
		return E2BIG;
	bool exists = find(n, name, &old);
	if (exists && (flags & XATTR_CREATE))
		return EEXIST;
	if (!exists && (flags & XATTR_REPLACE))
		return ENODATA;
	size_t kept = n->attr.xattrs_size - (exists ? old.end - old.start : 0), total = kept + 3 + len + size;
	if (total > TOTAL_MAX)
		return ENOSPC;
	uint8_t *moved = realloc(n->attr.xattrs, n->attr.xattrs_size + 3 + len + size);
	if (!moved)
		return ENOMEM;
	n->attr.xattrs = moved;
	if (exists)
		take_out(n, &old);
	uint8_t *p = moved + n->attr.xattrs_size;
	*p++ = (uint8_t)len;
	memcpy(p, name, len);
	p += len;
	*p++ = (uint8_t)size;
	*p++ = (uint8_t)(size >> 8);
	if (size)
		memcpy(p, value, size);
	n->attr.xattrs_size = total;
	n->attr.ctime_ns = attr_now_ns();
	node_mark_attr(m, n);
	return 0;
}

int xattr_remove(struct mount *m, struct node *n, const char *name)
{
	struct item i;
	if (!is_kept(name))
		return EOPNOTSUPP;
	if (!find(n, name, &i))
		return ENODATA;
	take_out(n, &i);
	n->attr.ctime_ns = attr_now_ns();
	node_mark_attr(m, n);
	return 0;
}

void xattr_list(const struct node *n, void (*each)(void *arg, const char *name, size_t len), void *arg)
{
	struct item i;
	for (size_t at = 0; item_at(n, at, &i); at = i.end)
		each(arg, i.name, i.name_len);
}
