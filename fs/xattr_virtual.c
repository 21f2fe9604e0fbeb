/* Computed attributes: a row for each. See xattr_virtual.h. */
#include "fs/xattr_virtual.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/errmap.h"
#include "fs/expiry.h"
#include "fs/file.h"
#include "fs/links.h"

static const char prefix[] = "user.wombat.";

enum { SECOND_NS = 1000000000, TTL_TEXT_MAX = 31 };
#define TTL_MAX_S 3e9 /* about a century: the sum with the present time is far from overflowing */

bool xattr_is_virtual(const char *name)
{
	return strncmp(name, prefix, sizeof prefix - 1) == 0;
}

static int add_number(struct key_buf *out, uint64_t v)
{
	char text[24];
	int len = snprintf(text, sizeof text, "%" PRIu64, v);
	return key_append(out, text, (size_t)len);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static int get_key(struct mount *m, const struct node *n, struct key_buf *out)
{
	if (n->unlinked)
		return ENODATA;
	return node_is_dir(n) ? node_dir_key(n, out) : n->links ? links_content_key(m, n, out) : node_file_key(n, out);
}

static int get_ttl(struct mount *m, const struct node *n, struct key_buf *out)
{
	(void)m;
	if (!n->attr.expiry_ns)
		return ENODATA;
	int64_t left = (int64_t)n->attr.expiry_ns - attr_now_ns();
	return add_number(out, left > 0 ? ((uint64_t)left + SECOND_NS - 1) / SECOND_NS : 0);
}

static int get_seq(struct mount *m, const struct node *n, struct key_buf *out)
{
	struct key_buf key = { 0 };
	struct store_entry e;
	int error = get_key(m, n, &key);
	enum store_result r = STORE_NOT_FOUND;
	if (!error)
		r = m->store->calls->get(m->store, node_is_dir(n) ? STORE_DIRS : STORE_USER, key_bytes(&key), true, true, &e);
	key_done(&key);
	if (error)
		return error;
	if (r != STORE_OK)
		return r == STORE_NOT_FOUND ? ENODATA : errmap_from_store(r);
	error = add_number(out, e.version);
	m->store->calls->entry_release(m->store, &e);
	return error;
}

static int estimate(struct mount *m, const struct node *n, uint64_t *out_entries, uint64_t *out_bytes)
{
	struct key_buf key = { 0 };
	if (!node_is_dir(n) || n->unlinked)
		return ENODATA;
	int error = node_dir_key(n, &key);
	if (!error)
		error = errmap_from_store(m->store->calls->estimate(m->store, STORE_USER, key_bytes(&key), out_entries, out_bytes));
	key_done(&key);
	return error;
}

static int get_entries(struct mount *m, const struct node *n, struct key_buf *out)
{
	uint64_t entries, bytes;
	int error = estimate(m, n, &entries, &bytes);
	return error ? error : add_number(out, entries);
}

static int get_bytes(struct mount *m, const struct node *n, struct key_buf *out)
{
	uint64_t entries, bytes;
	int error = estimate(m, n, &entries, &bytes);
	return error ? error : add_number(out, bytes);
}

static int get_size_on_disk(struct mount *m, const struct node *n, struct key_buf *out)
{
	if (node_is_dir(n))
		return get_bytes(m, n, out);
	return add_number(out, n->attr.holes < n->attr.size ? n->attr.size - n->attr.holes : 0);
}

static const struct {
	const char *name;
	int (*get)(struct mount *m, const struct node *n, struct key_buf *out);
} rows[] = {
	{ "key", get_key },
	{ "ttl", get_ttl },
	{ "seq", get_seq },
	{ "size_on_disk", get_size_on_disk },
	{ "entries", get_entries },
	{ "bytes", get_bytes },
};

int xattr_virtual_get(struct mount *m, const struct node *n, const char *name, struct key_buf *out)
{
	out->size = 0;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (strcmp(name + sizeof prefix - 1, rows[i].name) == 0)
			return rows[i].get(m, n, out);
	return ENODATA;
}

/* ---- Changing ------------------------------------------------------------------------------ */

/* Digits, a fraction if there is one, a newline as shells add it. */
static int parse_ttl(const void *value, size_t size, uint64_t *out_ns)
{
	char text[TTL_TEXT_MAX + 1], *end;
	if (size && ((const char *)value)[size - 1] == '\n')
		size--;
	if (!size || size > TTL_TEXT_MAX)
		return EINVAL;
	memcpy(text, value, size);
	text[size] = 0;
	if (strspn(text, "0123456789.") != size)
		return EINVAL;
	double seconds = strtod(text, &end);
	if (*end || end == text)
		return EINVAL;
	if (seconds > TTL_MAX_S)
		return ERANGE;
	*out_ns = (uint64_t)(seconds * SECOND_NS);
	return *out_ns ? 0 : EINVAL;
}

static int change_expiry(struct mount *m, struct node *n, uint64_t expiry_ns)
{
	uint64_t old = n->attr.expiry_ns;
	n->attr.expiry_ns = expiry_ns;
	n->attr.ctime_ns = attr_now_ns();
	node_mark_attr(m, n);
	/* What is being written is not shown before its time. */
	int error = n->data_dirty || n->fresh ? 0 : file_commit(m, n);
	if (error)
		n->attr.expiry_ns = old;
	expiry_watch(m, n);
	return error;
}

/* Whether it can be changed. */
static int check_ttl(const struct node *n, const char *name)
{
	if (strcmp(name + sizeof prefix - 1, "ttl") != 0)
		return EPERM;
	return node_is_dir(n) ? EOPNOTSUPP : n->unlinked ? ENOENT : 0;
}

int xattr_virtual_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, int flags)
{
	uint64_t ns;
	int error = check_ttl(n, name);
	if (!error)
		error = parse_ttl(value, size, &ns);
	if (error)
		return error;
	if ((flags & XATTR_CREATE) && n->attr.expiry_ns)
		return EEXIST;
	if ((flags & XATTR_REPLACE) && !n->attr.expiry_ns)
		return ENODATA;
	return change_expiry(m, n, (uint64_t)attr_now_ns() + ns);
}

int xattr_virtual_remove(struct mount *m, struct node *n, const char *name)
{
	int error = check_ttl(n, name);
	if (error)
		return error;
	return n->attr.expiry_ns ? change_expiry(m, n, 0) : ENODATA;
}
