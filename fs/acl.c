/*
 * Access control lists: see acl.h.
 *
 * A list is version 4, which is 2, then entries of tag 2, permissions 2, id 4, little-endian, in the order of their tags:
 * the owner, named users, the group, named groups, the mask, others. With named ones there is a mask, and it is what the mode
 * shows as the group's bits.
 */
#include "fs/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/errmap.h"
#include "fs/xattr.h"

enum { HEAD = 4, ENTRY = 8, VERSION = 2, ANY = 7 };
enum { TAG_OWNER = 1, TAG_USER = 2, TAG_GROUP = 4, TAG_NAMED_GROUP = 8, TAG_MASK = 16, TAG_OTHER = 32 };

static const char access_name[] = "system.posix_acl_access", default_name[] = "system.posix_acl_default";

bool acl_is_name(const char *xattr)
{
	return strcmp(xattr, access_name) == 0 || strcmp(xattr, default_name) == 0;
}

/* ---- Whether there are any ----------------------------------------------------------------- */

static const struct store_bytes record_key = { (const uint8_t *)"acl", 3 };

int acl_load(struct mount *m)
{
	struct store_entry e;
	enum store_result r = m->store->calls->get(m->store, STORE_META, record_key, true, true, &e);
	m->nodes->acls_recorded = r == STORE_OK;
	if (r == STORE_OK)
		m->store->calls->entry_release(m->store, &e);
	return r == STORE_NOT_FOUND ? 0 : errmap_from_store(r);
}

/* Before the first list is there. */
static int record(struct mount *m)
{
	const struct store_change put = { .op = STORE_PUT, .space = STORE_META, .key = record_key };
	if (m->nodes->acls_recorded)
		return 0;
	int error = errmap_from_store(m->store->calls->commit(m->store, &put, 1, false, NULL));
	m->nodes->acls_recorded = !error;
	return error;
}

/* ---- Lists --------------------------------------------------------------------------------- */

static unsigned get16(const uint8_t *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static void set_permissions(uint8_t *entry, unsigned permissions)
{
	entry[2] = (uint8_t)permissions;
}

/* One after the other, each of a later kind than the one before, or named as that one. */
static bool is_list(const uint8_t *list, size_t size)
{
	unsigned seen = 0, last = 0;
	if (size < HEAD || (size - HEAD) % ENTRY || get32(list) != VERSION)
		return false;
	for (const uint8_t *e = list + HEAD; e < list + size; e += ENTRY) {
		unsigned tag = get16(e);
		bool is_named = tag == TAG_USER || tag == TAG_NAMED_GROUP;
		if (!tag || tag > TAG_OTHER || (tag & (tag - 1)) || get16(e + 2) > ANY)
			return false;
		if (tag < last || (tag == last && !is_named) || (is_named && get32(e + 4) == UINT32_MAX))
			return false;
		seen |= tag;
		last = tag;
	}
	const unsigned needed = TAG_OWNER | TAG_GROUP | TAG_OTHER, named = TAG_USER | TAG_NAMED_GROUP;
	return (seen & needed) == needed && (!(seen & named) || (seen & TAG_MASK));
}

/* The entry of that tag; NULL: none. */
static uint8_t *entry_of(uint8_t *list, size_t size, unsigned tag)
{
	for (uint8_t *e = list + HEAD; e < list + size; e += ENTRY)
		if (get16(e) == tag)
			return e;
	return NULL;
}

/* Those which a mode shows, as it has them: owner, mask or group, others. */
struct shown {
	uint8_t *owner, *group, *other;
	bool is_mode; /* the list says no more than a mode */
};

static struct shown shown_by(uint8_t *list, size_t size)
{
	uint8_t *mask = entry_of(list, size, TAG_MASK);
	return (struct shown){
		.owner = entry_of(list, size, TAG_OWNER),
		.group = mask ? mask : entry_of(list, size, TAG_GROUP),
		.other = entry_of(list, size, TAG_OTHER),
		.is_mode = size == HEAD + 3 * ENTRY,
	};
}

static mode_t mode_of(const struct shown *s)
{
	return (mode_t)(get16(s->owner + 2) << 6 | get16(s->group + 2) << 3 | get16(s->other + 2));
}

static void set_mode(const struct shown *s, mode_t mode)
{
	set_permissions(s->owner, mode >> 6 & ANY);
	set_permissions(s->group, mode >> 3 & ANY);
	set_permissions(s->other, mode & ANY);
}

/* ---- Of nodes ------------------------------------------------------------------------------ */

static void changed(struct mount *m, struct node *n)
{
	n->attr.ctime_ns = attr_now_ns();
	node_mark_attr(m, n);
}

/* A list that the attributes have; they are what xattr_get() borrows. */
static uint8_t *list_of(const struct node *n, const char *name, size_t *out_size)
{
	const uint8_t *list;
	/* What lies in the database may have been put there by anybody. */
	if (xattr_get(n, name, &list, out_size) != 0 || !is_list(list, *out_size))
		return NULL;
	return n->attr.xattrs + (list - n->attr.xattrs);
}

static int set_access(struct node *n, const void *value, size_t size, bool in_group)
{
	uint8_t *list = malloc(size);
	if (!list)
		return ENOMEM;
	memcpy(list, value, size);
	struct shown s = shown_by(list, size);
	int error = 0;
	if (s.is_mode)
		xattr_drop(n, access_name);
	else
		error = xattr_store(n, access_name, list, size);
	if (!error) {
		n->attr.mode = (n->attr.mode & ~(mode_t)0777) | mode_of(&s);
		if (!in_group)
			n->attr.mode &= ~(mode_t)S_ISGID;
	}
	free(list);
	return error;
}

int acl_set(struct mount *m, struct node *n, const char *name, const void *value, size_t size, bool in_group)
{
	bool is_access = strcmp(name, access_name) == 0;
	if (S_ISLNK(n->attr.mode))
		return EOPNOTSUPP;
	if (!is_access && !S_ISDIR(n->attr.mode))
		return EACCES;
	if (!is_list(value, size))
		return EINVAL;
	int error = record(m);
	if (!error)
		error = is_access ? set_access(n, value, size, in_group) : xattr_store(n, name, value, size);
	if (!error)
		changed(m, n);
	return error;
}

int acl_remove(struct mount *m, struct node *n, const char *name)
{
	if (xattr_drop(n, name))
		changed(m, n);
	return 0;
}

void acl_follow_mode(struct node *n)
{
	size_t size;
	uint8_t *list = list_of(n, access_name, &size);
	if (!list)
		return;
	struct shown s = shown_by(list, size);
	set_mode(&s, n->attr.mode);
}

int acl_inherit(const struct node *dir, struct node *n, mode_t umask)
{
	size_t size;
	if (S_ISLNK(n->attr.mode))
		return 0;
	const uint8_t *given = list_of(dir, default_name, &size);
	if (!given) {
		n->attr.mode &= ~(umask & 0777);
		return 0;
	}
	uint8_t *list = malloc(size);
	if (!list)
		return ENOMEM;
	memcpy(list, given, size);
	struct shown s = shown_by(list, size);
	/* What both the maker and the list allow. */
	mode_t mode = n->attr.mode & mode_of(&s) & 0777;
	set_mode(&s, mode);
	n->attr.mode = (n->attr.mode & ~(mode_t)0777) | mode;
	int error = s.is_mode ? 0 : xattr_store(n, access_name, list, size);
	if (!error && S_ISDIR(n->attr.mode))
		error = xattr_store(n, default_name, given, size);
	free(list);
	return error;
}
