/*
 * The list of extended attributes, encoded one behind the other: name length 1, name, value length, value. The length of the
 * value takes 2 bytes, or 4 in all of a list that ever had a value of 64 KiB. The list is searched and rebuilt as a whole.
 */
#include "fs/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/attr_format.h"

enum {
	NAME_MAX_BYTES = 255,
	VALUE_MAX = 65536,                  /* the kernel's XATTR_SIZE_MAX */
	NAMES_MAX = 65536,                  /* with a NUL each: what listxattr(2) gives, XATTR_LIST_MAX */
	TOTAL_MAX = ATTR_BLOB_MAX - 128,
};

/* One attribute of the list at `at`; false at the end, or where the list is not one. */
struct item {
	const char *name;
	size_t name_len;
	const uint8_t *value;
	size_t value_size;
	size_t start, end;
};

static size_t length_bytes(bool wide) { return wide ? 4 : 2; }

static uint8_t *put_length(uint8_t *p, size_t length, bool wide)
{
	for (size_t i = 0; i < length_bytes(wide); i++)
		*p++ = (uint8_t)(length >> 8 * i);
	return p;
}

static bool item_at(const struct node *n, size_t at, struct item *out)
{
	const uint8_t *p = n->attr.xattrs;
	size_t size = n->attr.xattrs_size, length = length_bytes(n->attr.xattrs_wide);
	if (at >= size || size - at < 1u + p[at] + length)
		return false;
	out->name = (const char *)p + at + 1;
	out->name_len = p[at];
	size_t value = at + 1 + p[at];
	out->value_size = 0;
	for (size_t i = 0; i < length; i++)
		out->value_size |= (size_t)p[value + i] << 8 * i;
	value += length;
	if (size - value < out->value_size)
		return false;
	out->value = p + value;
	out->start = at;
	out->end = value + out->value_size;
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

int xattr_judge(const char *name)
{
	static const char *const spaces[] = { "user.", "trusted.", "security." };
	for (size_t i = 0; i < sizeof spaces / sizeof spaces[0]; i++) {
		size_t len = strlen(spaces[i]);
		if (strncmp(name, spaces[i], len) == 0)
			return name[len] ? 0 : EINVAL;
	}
	return EOPNOTSUPP;
}

static void take_out(struct node *n, const struct item *i)
{
	memmove(n->attr.xattrs + i->start, n->attr.xattrs + i->end, n->attr.xattrs_size - i->end);
	n->attr.xattrs_size -= i->end - i->start;
}

static uint8_t *put_item(uint8_t *p, const char *name, size_t len, const void *value, size_t size, bool wide)
{
	*p++ = (uint8_t)len;
	memcpy(p, name, len);
	p = put_length(p + len, size, wide);
	if (size)
		memcpy(p, value, size);
	return p + size;
}

struct totals {
	size_t count, names; /* each name with a NUL */
};

static struct totals totals_of(const struct node *n)
{
	struct item i;
	struct totals t = { 0 };
	for (size_t at = 0; item_at(n, at, &i); at = i.end) {
		t.count++;
		t.names += i.name_len + 1;
	}
	return t;
}

/* The same list with longer lengths: 2 bytes more for each value. */
static int widen(struct node *n, size_t count)
{
	struct item i;
	uint8_t *list = malloc(n->attr.xattrs_size + 2 * count + 1), *p = list;
	if (!list)
		return ENOMEM;
	for (size_t at = 0; item_at(n, at, &i); at = i.end)
		p = put_item(p, i.name, i.name_len, i.value, i.value_size, true);
	free(n->attr.xattrs);
	n->attr.xattrs = list;
	n->attr.xattrs_size = (size_t)(p - list);
	n->attr.xattrs_wide = true;
	return 0;
}

int xattr_store(struct node *n, const char *name, const void *value, size_t size)
{
	struct item old;
	size_t len = strlen(name);
	if (len > NAME_MAX_BYTES)
		return ERANGE;
	if (size > VALUE_MAX)
		return E2BIG;
	struct totals t = totals_of(n);
	bool exists = find(n, name, &old), wide = n->attr.xattrs_wide || size > UINT16_MAX, widens = wide != n->attr.xattrs_wide;
	size_t more = 1 + len + length_bytes(wide) + size;
	size_t kept = n->attr.xattrs_size - (exists ? old.end - old.start : 0);
	if (kept + more + (widens ? 2 * t.count : 0) > TOTAL_MAX || (!exists && t.names + len + 1 > NAMES_MAX))
		return ENOSPC;
	int error = widens ? widen(n, t.count) : 0;
	if (error)
		return error;
	uint8_t *moved = realloc(n->attr.xattrs, n->attr.xattrs_size + more);
	if (!moved)
		return ENOMEM;
	n->attr.xattrs = moved;
	if (find(n, name, &old))
		take_out(n, &old);
	put_item(moved + n->attr.xattrs_size, name, len, value, size, wide);
	n->attr.xattrs_size += more;
	return 0;
}

bool xattr_drop(struct node *n, const char *name)
{
	struct item i;
	if (!find(n, name, &i))
		return false;
	take_out(n, &i);
	return true;
}

static void changed(struct mount *m, struct node *n)
{
	n->attr.ctime_ns = attr_now_ns();
	node_mark_attr(m, n);
}

int xattr_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, int flags)
{
	struct item old;
	int error = xattr_judge(name);
	if (error)
		return error;
	bool exists = find(n, name, &old);
	if (exists && (flags & XATTR_CREATE))
		return EEXIST;
	if (!exists && (flags & XATTR_REPLACE))
		return ENODATA;
	error = xattr_store(n, name, value, size);
	if (!error)
		changed(m, n);
	return error;
}

int xattr_remove(struct mount *m, struct node *n, const char *name)
{
	int error = xattr_judge(name);
	if (error)
		return error;
	if (!xattr_drop(n, name))
		return ENODATA;
	changed(m, n);
	return 0;
}

void xattr_list(const struct node *n, void (*each)(void *arg, const char *name, size_t len), void *arg)
{
	struct item i;
	for (size_t at = 0; item_at(n, at, &i); at = i.end)
		each(arg, i.name, i.name_len);
}
