/* The table of live nodes, their names and keys. */
#include "fs/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/control_handle.h"
#include "fs/expiry.h"
#include "fs/links.h"

enum { BUCKETS_MIN = 1024, INO_RESERVED = 4096, STAGE_MIN = 4096 };

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* FNV-1a, then mixed. Inode numbers are made of it, so its values never change. */
static uint64_t hash_bytes(uint64_t seed, const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t h = 0xcbf29ce484222325u ^ mix(seed);
	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return mix(h);
}

uint64_t node_default_ino(const struct node *parent, const uint8_t *part, size_t part_len, bool directory)
{
	uint64_t ino = hash_bytes(parent->ino * 2 + directory, part, part_len);
	return ino < INO_RESERVED ? ino + INO_RESERVED : ino;
}

/* ---- Keys ---------------------------------------------------------------------------------- */

int key_append(struct key_buf *k, const void *data, size_t size)
{
	if (size > k->capacity - k->size) {
		size_t capacity = 2 * (k->size + size) + 64;
		uint8_t *moved = realloc(k->data, capacity);
		if (!moved)
			return ENOMEM;
		k->data = moved;
		k->capacity = capacity;
	}
	if (size)
		memcpy(k->data + k->size, data, size);
	k->size += size;
	return 0;
}

void key_done(struct key_buf *k)
{
	free(k->data);
	*k = (struct key_buf){ 0 };
}

static int append_dir_key(const struct node *n, struct key_buf *out)
{
	if (!n->parent)
		return 0;
	int error = append_dir_key(n->parent, out);
	if (!error)
		error = key_append(out, n->part, n->part_len);
	if (!error && n->kind == KEYPATH_NAME)
		error = key_append(out, "/", 1);
	return error;
}

int node_dir_key(const struct node *n, struct key_buf *out)
{
	out->size = 0;
	return append_dir_key(n, out);
}

int node_file_key(const struct node *n, struct key_buf *out)
{
	out->size = 0;
	int error = append_dir_key(n->parent, out);
	if (error)
		return error;
	if (n->kind == KEYPATH_VALUE) {
		assert(out->size > 0);
		out->size--;
		return 0;
	}
	return key_append(out, n->part, n->part_len);
}

int node_context(struct mount *m, const struct node *dir, struct keypath_context *out, struct key_buf *pending)
{
	*out = (struct keypath_context){ .root = dir == &m->nodes->root, .ctldir = m->options.ctldir };
	pending->size = 0;
	if (dir->kind != KEYPATH_CHUNK || !dir->parent)
		return 0;
	const struct node *top = dir;
	while (top->parent->kind == KEYPATH_CHUNK && top->parent->parent)
		top = top->parent;
	int error = append_dir_key(dir, pending);
	if (error)
		return error;
	/* What lies above the component's first chunk does not belong to it. */
	struct key_buf above = { 0 };
	error = node_dir_key(top->parent, &above);
	if (!error)
		memmove(pending->data, pending->data + above.size, pending->size -= above.size);
	key_done(&above);
	out->in_chunk = true;
	out->pending = pending->data;
	out->pending_len = pending->size;
	return error;
}

/* ---- The table ----------------------------------------------------------------------------- */

/* In memory only, eight bytes at a time. */
static uint64_t hash_name(const struct node *parent, const char *name, size_t len)
{
	uint64_t h = (uintptr_t)parent + len * UINT64_C(0x9e3779b97f4a7c15), word = 0;
	for (; len >= sizeof word; name += sizeof word, len -= sizeof word) {
		memcpy(&word, name, sizeof word);
		h = mix(h ^ word);
	}
	word = 0;
	memcpy(&word, name, len);
	return mix(h ^ word);
}

static struct node **bucket(struct node_table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->bucket_count - 1)];
}

static void table_grow(struct node_table *t)
{
	size_t count = 2 * t->bucket_count;
	struct node **buckets = calloc(count, sizeof *buckets);
	if (!buckets)
		return; /* Longer chains, nothing worse. */
	struct node **old = t->buckets;
	size_t old_count = t->bucket_count;
	t->buckets = buckets;
	t->bucket_count = count;
	for (size_t i = 0; i < old_count; i++)
		for (struct node *n = old[i], *next; n; n = next) {
			next = n->hash_next;
			struct node **b = bucket(t, n->hash);
			n->hash_next = *b;
			*b = n;
		}
	free(old);
}

static void table_insert(struct node_table *t, struct node *n)
{
	if (t->count >= t->bucket_count)
		table_grow(t);
	n->hash = hash_name(n->parent, n->name, n->name_len);
	struct node **b = bucket(t, n->hash);
	n->hash_next = *b;
	*b = n;
	t->count++;
}

static void table_remove(struct node_table *t, struct node *n)
{
	struct node **p = bucket(t, n->hash);
	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	t->count--;
}

struct node *node_find_name(struct mount *m, const struct node *parent, const char *name, size_t len)
{
	uint64_t hash = hash_name(parent, name, len);
	struct node *n = *bucket(m->nodes, hash);
	while (n && (n->hash != hash || n->parent != parent || n->name_len != len || memcmp(n->name, name, len) != 0))
		n = n->hash_next;
	return n;
}

struct node *node_find(struct mount *m, const struct node *parent, const char *name, size_t len)
{
	struct node *n = node_find_name(m, parent, name, len);
	return n && n->alias_of ? n->alias_of : n;
}

static void free_name(struct node *n)
{
	if (n->name != n->room)
		free(n->name);
}

static int set_name(struct node *n, const char *name, size_t len, enum keypath_kind kind, const uint8_t *part,
		    size_t part_len)
{
	/* Name and part in one piece of memory. `name` may be the present one. */
	size_t size = len + 1 + part_len + 1;
	char small[NODE_NAME_ROOM], *copy = size <= sizeof small ? small : malloc(size);
	if (!copy)
		return ENOMEM;
	memcpy(copy, name, len);
	copy[len] = 0;
	if (part_len)
		memcpy(copy + len + 1, part, part_len);
	free_name(n);
	if (copy == small)
		copy = memcpy(n->room, small, size);
	n->name = copy;
	n->name_len = len;
	n->kind = kind;
	n->part = (uint8_t *)copy + len + 1;
	n->part_len = part_len;
	return 0;
}

struct node *node_new(struct mount *m, struct node *parent, const char *name, size_t len, enum keypath_kind kind,
		      const uint8_t *part, size_t part_len, bool directory)
{
	struct node *n = calloc(1, sizeof *n);
	if (!n || set_name(n, name, len, kind, part, part_len)) {
		free(n);
		return NULL;
	}
	n->mount = m;
	n->parent = parent;
	parent->children++;
	n->ino = node_default_ino(parent, n->part, n->part_len, directory);
	if (kind == KEYPATH_VALUE)
		n->ino = node_default_ino(parent, (const uint8_t *)name, len, directory);
	table_insert(m->nodes, n);
	m->nodes->live++;
	atomic_fetch_add_explicit(&mount_outer(m)->counts.nodes, 1, memory_order_relaxed);
	return n;
}

/* ---- Several names ------------------------------------------------------------------------- */

int node_add_name(struct mount *m, struct node *n, struct node *parent, const char *name, size_t len, enum keypath_kind kind,
		  const uint8_t *part, size_t part_len)
{
	/* A file that is changed in parts is so under the key that it was opened by, which must not become another. */
	bool itself = !n->parent && !n->edit;
	struct node *of = itself ? n : calloc(1, sizeof *of);
	if (!of || set_name(of, name, len, kind, part, part_len)) {
		if (!itself)
			free(of);
		return ENOMEM;
	}
	if (!itself) {
		of->mount = m;
		of->alias_of = n;
		of->alias_next = n->aliases;
		n->aliases = of;
	}
	of->parent = parent;
	parent->children++;
	table_insert(m->nodes, of);
	return 0;
}

/* Out of the table; its directory is not released. */
static struct node *detach(struct mount *m, struct node *name)
{
	struct node *parent = name->parent;
	table_remove(m->nodes, name);
	parent->children--;
	name->parent = NULL;
	return parent;
}

static void free_alias(struct node *a)
{
	struct node **at = &a->alias_of->aliases;
	while (*at != a)
		at = &(*at)->alias_next;
	*at = a->alias_next;
	free_name(a);
	free(a);
}

static void drop_aliases(struct mount *m, struct node *n)
{
	while (n->aliases) {
		struct node *parent = detach(m, n->aliases);
		free_alias(n->aliases);
		node_release(m, parent);
	}
}

/* The file, which has no name itself, gets that of an alias. */
static void take_alias(struct mount *m, struct node *n, struct node *a)
{
	table_remove(m->nodes, a);
	free_name(n);
	n->parent = a->parent;
	n->name = a->name;
	n->name_len = a->name_len;
	n->kind = a->kind;
	if (a->name == a->room)
		n->name = memcpy(n->room, a->room, sizeof n->room);
	n->part = (uint8_t *)n->name + (a->part - (uint8_t *)a->name);
	n->part_len = a->part_len;
	a->name = a->room; /* what it had is the file's */
	free_alias(a);
	table_insert(m->nodes, n);
}

void node_drop_name(struct mount *m, struct node *name)
{
	struct node *parent = detach(m, name);
	if (name->alias_of)
		free_alias(name);
	else if (name->aliases)
		take_alias(m, name, name->aliases);
	node_release(m, parent);
}

/* ---- Going --------------------------------------------------------------------------------- */

static void list_orphan(struct node_table *t, struct node *n)
{
	n->orphan = true;
	n->fresh_prev = NULL;
	n->fresh_next = t->orphans;
	if (t->orphans)
		t->orphans->fresh_prev = n;
	t->orphans = n;
}

static void unlist_orphan(struct node_table *t, struct node *n)
{
	if (!n->orphan)
		return;
	n->orphan = false;
	if (n->fresh_prev)
		n->fresh_prev->fresh_next = n->fresh_next;
	else
		t->orphans = n->fresh_next;
	if (n->fresh_next)
		n->fresh_next->fresh_prev = n->fresh_prev;
}

bool node_is_orphan_ino(const struct mount *m, uint64_t ino)
{
	for (const struct node *n = m->nodes->orphans; n; n = n->fresh_next)
		if (n->ino == ino && node_is_used(n))
			return true;
	return false;
}

struct node *node_new_nameless(struct mount *m, uint64_t ino, mode_t mode)
{
	struct node *n = calloc(1, sizeof *n);
	if (!n)
		return NULL;
	n->mount = m;
	n->name = n->room;
	n->ino = ino;
	n->attr.mode = mode;
	n->unlinked = true;
	list_orphan(m->nodes, n);
	m->nodes->live++;
	atomic_fetch_add_explicit(&mount_outer(m)->counts.nodes, 1, memory_order_relaxed);
	return n;
}

void node_unlink(struct mount *m, struct node *n)
{
	struct node *parent = n->parent;
	node_clear_fresh(n);
	node_mark_clean(m, n);
	expiry_forget(m, n);
	drop_aliases(m, n);
	if (parent)
		detach(m, n);
	links_forget(m, n);
	n->unlinked = true;
	/* What the kernel knows by a name in raw/ may be there to the end. */
	if (n->opens || n->lookups)
		list_orphan(m->nodes, n);
	node_release(m, parent);
}

static void free_node(struct mount *m, struct node *n)
{
	expiry_forget(m, n);
	links_forget(m, n);
	node_drop_stage(m, n);
	node_drop_held(m, n);
	control_handle_free(m, n->handle);
	attr_done(&n->attr);
	free_name(n);
	free(n);
}

void node_release(struct mount *m, struct node *n)
{
	while (n && n != &m->nodes->root && !n->lookups && !n->opens && !n->children && !n->data_dirty && !n->attr_dirty) {
		struct node *parent = n->parent;
		drop_aliases(m, n); /* while the parent, which may be theirs too, has this child */
		if (parent)
			detach(m, n);
		unlist_orphan(m->nodes, n);
		free_node(m, n);
		m->nodes->live--;
		atomic_fetch_sub_explicit(&mount_outer(m)->counts.nodes, 1, memory_order_relaxed);
		n = parent;
	}
}

int node_move(struct mount *m, struct node *n, struct node *parent, const char *name, size_t len, enum keypath_kind kind,
	      const uint8_t *part, size_t part_len)
{
	bool fresh = n->fresh;
	struct node *old = n->parent;
	table_remove(m->nodes, n);
	int error = set_name(n, name, len, kind, part, part_len);
	if (!error) {
		node_clear_fresh(n);
		n->parent = parent;
		parent->children++;
		old->children--;
		if (fresh)
			node_mark_fresh(n);
	}
	table_insert(m->nodes, n);
	if (!error)
		node_release(m, old);
	return error;
}

int node_table_init(struct mount *m)
{
	struct node_table *t = calloc(1, sizeof *t);
	if (!t)
		return ENOMEM;
	t->buckets = calloc(BUCKETS_MIN, sizeof *t->buckets);
	if (!t->buckets) {
		free(t);
		return ENOMEM;
	}
	t->bucket_count = BUCKETS_MIN;
	pthread_mutex_init(&t->mu, NULL);
	t->dirty.staged_prev = t->dirty.staged_next = &t->dirty;
	t->root.mount = m;
	t->root.ino = 1;
	t->root.lookups = 1;
	t->root.explicit_dir = false;
	attr_default(&m->options, true, (uint64_t)attr_now_ns(), &t->root.attr);
	m->nodes = t;
	if (expiry_init(m) == 0)
		return 0;
	m->nodes = NULL;
	pthread_mutex_destroy(&t->mu);
	free(t->buckets);
	free(t);
	return ENOMEM;
}

void node_table_done(struct mount *m)
{
	struct node_table *t = m->nodes;
	if (!t)
		return;
	for (size_t i = 0; i < t->bucket_count; i++)
		for (struct node *n = t->buckets[i], *next; n; n = next) {
			next = n->hash_next;
			if (n->alias_of) {
				free_name(n);
				free(n);
			} else {
				free_node(m, n);
			}
		}
	/* Files with several names that have none here. */
	for (struct node *n; (n = links_any(m)) != NULL;)
		free_node(m, n);
	free(t->links);
	/* Files that are still open when the mount ends by a signal: what they hold is the database's. */
	for (struct node *n = t->orphans, *next; n; n = next) {
		next = n->fresh_next;
		free_node(m, n);
	}
	expiry_done(m);
	attr_done(&t->root.attr);
	free(t->part);
	free(t->piece);
	free(t->buckets);
	pthread_mutex_destroy(&t->mu);
	free(t);
	m->nodes = NULL;
}

/* ---- Dirty and fresh ----------------------------------------------------------------------- */

static void list_dirty(struct mount *m, struct node *n)
{
	n->written_ns = attr_now_ns();
	if (n->staged_next || n->unlinked)
		return;
	n->dirty_since_ns = n->written_ns;
	struct node *head = &m->nodes->dirty;
	n->staged_prev = head->staged_prev;
	n->staged_next = head;
	head->staged_prev->staged_next = n;
	head->staged_prev = n;
	atomic_fetch_add_explicit(&m->counts.staged_files, 1, memory_order_relaxed);
}

void node_mark_data(struct mount *m, struct node *n)
{
	n->data_dirty = !n->unlinked;
	list_dirty(m, n);
}

void node_mark_attr(struct mount *m, struct node *n)
{
	n->attr_dirty = !n->unlinked;
	list_dirty(m, n);
}

void node_mark_clean(struct mount *m, struct node *n)
{
	n->data_dirty = n->attr_dirty = false;
	if (!n->staged_next)
		return;
	n->staged_prev->staged_next = n->staged_next;
	n->staged_next->staged_prev = n->staged_prev;
	n->staged_prev = n->staged_next = NULL;
	atomic_fetch_sub_explicit(&m->counts.staged_files, 1, memory_order_relaxed);
}

void node_mark_fresh(struct node *n)
{
	n->fresh = true;
	n->fresh_prev = NULL;
	n->fresh_next = n->parent->fresh_list;
	if (n->fresh_next)
		n->fresh_next->fresh_prev = n;
	n->parent->fresh_list = n;
}

void node_clear_fresh(struct node *n)
{
	if (!n->fresh)
		return;
	n->fresh = false;
	if (n->fresh_prev)
		n->fresh_prev->fresh_next = n->fresh_next;
	else
		n->parent->fresh_list = n->fresh_next;
	if (n->fresh_next)
		n->fresh_next->fresh_prev = n->fresh_prev;
	n->fresh_prev = n->fresh_next = NULL;
}

void node_touch_dir(struct mount *m, struct node *dir)
{
	dir->changes++;
	dir->attr.mtime_ns = dir->attr.ctime_ns = attr_now_ns();
	/* A transaction would conflict with every other change in the directory: it has the times in memory alone. */
	if (m->outer)
		return;
	if (dir->kind != KEYPATH_CHUNK || !dir->parent)
		node_mark_attr(m, dir);
}

/* ---- Data ---------------------------------------------------------------------------------- */

void node_drop_data(struct mount *m, struct node *n)
{
	atomic_fetch_sub_explicit(&m->counts.staged_bytes, n->data_capacity, memory_order_relaxed);
	free(n->data);
	n->data = NULL;
	n->data_capacity = 0;
}

void node_drop_stage(struct mount *m, struct node *n)
{
	if (!n->staged)
		return;
	if (n->edit)
		m->store->calls->edit_close(n->edit);
	n->edit = NULL;
	node_drop_data(m, n);
	n->staged = false;
}

void node_drop_held(struct mount *m, struct node *n)
{
	if (!n->has_held)
		return;
	m->store->calls->entry_release(m->store, &n->held);
	n->has_held = false;
}

/* A large stage is filled page after page: in large pages that is a fault for each 512 of the others. A hint. */
static void want_huge_pages(uint8_t *data, size_t size)
{
	enum { HUGE_PAGE = 2 << 20 };
	uintptr_t begin = ((uintptr_t)data + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
	uintptr_t end = ((uintptr_t)data + size) & ~(uintptr_t)(HUGE_PAGE - 1);
	if (begin < end)
		madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

int node_reserve(struct mount *m, struct node *n, size_t size)
{
	if (size <= n->data_capacity)
		return 0;
	size_t capacity = n->data_capacity + n->data_capacity / 2;
	if (capacity < size)
		capacity = size;
	if (capacity < STAGE_MIN && n->data_capacity)
		capacity = STAGE_MIN;
	uint8_t *moved = realloc(n->data, capacity);
	if (!moved)
		return ENOMEM;
	want_huge_pages(moved, capacity);
	atomic_fetch_add_explicit(&m->counts.staged_bytes, capacity - n->data_capacity, memory_order_relaxed);
	n->data = moved;
	n->data_capacity = capacity;
	return 0;
}
