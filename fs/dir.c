/*
 * The merge behind a listing.
 *
 * Three sorted sources: keys of users, explicit directories, fresh files. A file sorts as its name, a directory as its
 * name followed by '/': the order of the keys. Names are compared as key bytes and shown through keypath.
 *
 *     "."  ".."  ["%value"]  merge of (user list, directory list, fresh names)
 */
#include "fs/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/expiry.h"
#include "fs/namei.h"

enum {
	RING = 1024, DIR_CHECKPOINT = 4096, FIRST_MERGED = 3,
	NODES_ALWAYS = 16384,       /* so many entries of a listing have their nodes, asked for or not */
	NODES_EACH = 256,           /* and so many more for each question of the kernel's for one of the directory's names */
	CREDIT_MAX = 1 << 22,
};

/* Where an entry stands in the order, for coming back to it. */
struct position {
	uint8_t *name;
	size_t size, capacity;
	bool directory;
	uint64_t cookie;  /* that led to the entry behind it */
};

struct source {
	struct store_list *list;
	struct store_child head;
	bool have, ended;
};

struct dir_handle {
	struct node *node;
	struct source users, dirs;
	struct position *fresh;      /* sorted copies of the fresh names */
	size_t fresh_count, fresh_at;
	bool has_value;              /* the directory's own key has a value */
	uint64_t changes;            /* of the node when this was opened */
	struct key_buf prefix;       /* list prefix */
	struct key_buf pending;      /* in a chunk: what names must start with */
	struct keypath_context context;

	uint64_t cookie;             /* of the entry at hand */
	bool have;                   /* it is decided: */
	char name[KEYPATH_NAME_MAX + 1];
	char last_chunk[KEYPATH_NAME_MAX + 1];
	enum keypath_kind kind;
	mode_t type;
	uint64_t ino;                /* 0: its node has to say */
	const struct store_entry *entry;
	struct key_buf raw;          /* its key bytes */
	bool raw_directory;
	bool from_users, from_dirs, from_fresh;

	uint64_t told, asked;        /* entries with their nodes since the beginning; node->asked as it was last seen */
	uint64_t credit;             /* entries that are to have their nodes beyond NODES_ALWAYS */

	struct position ring[RING];
	struct position *checkpoints;
	size_t checkpoint_count, checkpoint_capacity;
};

/* ---- Positions ----------------------------------------------------------------------------- */

static void position_done(struct position *p)
{
	free(p->name);
	*p = (struct position){ 0 };
}

static int position_set(struct position *p, const uint8_t *name, size_t size, bool directory, uint64_t cookie)
{
	if (size >= p->capacity) {
		size_t capacity = size + size / 2 + 16;
		uint8_t *moved = realloc(p->name, capacity);
		if (!moved)
			return ENOMEM;
		p->name = moved;
		p->capacity = capacity;
	}
	if (size)
		memcpy(p->name, name, size);
	p->size = size;
	p->directory = directory;
	p->cookie = cookie;
	return 0;
}

/* The order of entries: bytes, with a '/' behind a directory's. -1, 0 or 1. */
static int compare(const uint8_t *a, size_t a_size, bool a_dir, const uint8_t *b, size_t b_size, bool b_dir)
{
	size_t n = a_size < b_size ? a_size : b_size;
	int c = n ? memcmp(a, b, n) : 0;
	if (c)
		return c < 0 ? -1 : 1;
	/* One is a prefix of the other; what follows it there decides. */
	int x = a_size > n ? a[n] : a_dir ? '/' : -1, y = b_size > n ? b[n] : b_dir ? '/' : -1;
	if (x != y)
		return x < y ? -1 : 1;
	return (a_size > b_size) - (a_size < b_size);
}

static int compare_positions(const void *a, const void *b)
{
	const struct position *x = a, *y = b;
	return compare(x->name, x->size, x->directory, y->name, y->size, y->directory);
}

/* ---- Opening ------------------------------------------------------------------------------- */

static void close_sources(struct mount *m, struct dir_handle *d)
{
	m->store->calls->list_close(d->users.list);
	m->store->calls->list_close(d->dirs.list);
	d->users = d->dirs = (struct source){ 0 };
	for (size_t i = 0; i < d->fresh_count; i++)
		position_done(&d->fresh[i]);
	free(d->fresh);
	d->fresh = NULL;
	d->fresh_count = d->fresh_at = 0;
}

static int copy_fresh(struct dir_handle *d)
{
	size_t count = 0;
	for (const struct node *n = d->node->fresh_list; n; n = n->fresh_next)
		count++;
	if (!count)
		return 0;
	d->fresh = calloc(count, sizeof *d->fresh);
	if (!d->fresh)
		return ENOMEM;
	for (const struct node *n = d->node->fresh_list; n; n = n->fresh_next) {
		if (n->kind != KEYPATH_NAME)
			continue;
		int error = position_set(&d->fresh[d->fresh_count], n->part, n->part_len, node_is_dir(n), 0);
		if (error)
			return error;
		d->fresh_count++;
	}
	qsort(d->fresh, d->fresh_count, sizeof *d->fresh, compare_positions);
	return 0;
}

static int find_value(struct mount *m, struct dir_handle *d)
{
	struct store_entry e;
	struct key_buf key = { 0 };
	d->has_value = false;
	if (!d->node->parent || d->node->kind != KEYPATH_NAME)
		return 0;
	int error = node_dir_key(d->node, &key);
	enum store_result r = STORE_NO_MEMORY;
	if (!error) {
		key.size--;
		r = m->store->calls->get(m->store, STORE_USER, key_bytes(&key), true, true, &e);
	}
	key_done(&key);
	d->has_value = r == STORE_OK;
	if (d->has_value)
		m->store->calls->entry_release(m->store, &e);
	return r == STORE_NOT_FOUND ? 0 : errmap_from_store(r);
}

/* A new look: both lists, then, under the same lock, the fresh names. */
static int open_sources(struct mount *m, struct dir_handle *d)
{
	struct store_calls const *calls = m->store->calls;
	close_sources(m, d);
	d->changes = d->node->changes;
	d->asked = d->node->asked;
	d->told = d->credit = 0;
	if (d->node->unlinked) {
		/* It has no key any more, and nothing is left in it. */
		d->users.ended = d->dirs.ended = true;
		d->has_value = false;
		return 0;
	}
	int error = node_context(m, d->node, &d->context, &d->pending);
	if (!error)
		error = node_dir_key(d->node, &d->prefix);
	if (error)
		return error;
	d->prefix.size -= d->pending.size;
	enum store_result r = calls->list_open(m->store, STORE_USER, key_bytes(&d->prefix), &d->users.list);
	if (r == STORE_OK)
		r = calls->list_open(m->store, STORE_DIRS, key_bytes(&d->prefix), &d->dirs.list);
	if (r != STORE_OK)
		return errmap_from_store(r);
	if (d->pending.size) {
		/* A component that ends here is no child of its own chunk. */
		calls->list_seek(d->users.list, key_bytes(&d->pending), false);
		calls->list_seek(d->dirs.list, key_bytes(&d->pending), false);
	}
	error = copy_fresh(d);
	return error ? error : find_value(m, d);
}

int dir_open(struct mount *m, struct node *n, struct dir_handle **out)
{
	struct dir_handle *d = calloc(1, sizeof *d);
	if (!d)
		return ENOMEM;
	d->node = n;
	int error = open_sources(m, d);
	if (error) {
		n->opens++;
		dir_close(m, d);
		return error;
	}
	n->opens++;
	*out = d;
	return 0;
}

void dir_close(struct mount *m, struct dir_handle *d)
{
	if (!d)
		return;
	close_sources(m, d);
	for (size_t i = 0; i < RING; i++)
		position_done(&d->ring[i]);
	for (size_t i = 0; i < d->checkpoint_count; i++)
		position_done(&d->checkpoints[i]);
	free(d->checkpoints);
	key_done(&d->prefix);
	key_done(&d->pending);
	key_done(&d->raw);
	d->node->opens--;
	node_release(m, d->node);
	free(d);
}

struct node *dir_node(const struct dir_handle *d)
{
	return d->node;
}

/* ---- The merge ----------------------------------------------------------------------------- */

static bool starts_with(struct store_bytes s, const struct key_buf *prefix)
{
	return s.size >= prefix->size && (!prefix->size || memcmp(s.data, prefix->data, prefix->size) == 0);
}

/* Makes the source's head the next child that can show here. */
static int fill(struct mount *m, struct dir_handle *d, struct source *s)
{
	while (!s->have && !s->ended) {
		enum store_result r = m->store->calls->list_next(s->list, &s->head);
		if (r == STORE_NOT_FOUND || (r == STORE_OK && !starts_with(s->head.name, &d->pending))) {
			s->ended = true;
			return 0;
		}
		if (r != STORE_OK)
			return errmap_from_store(r);
		/* A directory's own record is the child with the empty name of itself. */
		s->have = s == &d->users || !s->head.is_value;
	}
	return 0;
}

static bool head_is_dir(const struct source *s)
{
	return !s->head.is_value;
}

static int compare_heads(const struct source *a, const struct source *b)
{
	return compare(a->head.name.data, a->head.name.size, head_is_dir(a), b->head.name.data, b->head.name.size,
		       head_is_dir(b));
}

/* Whether a file's name is an explicit directory's too. The heads tell, unless names with bytes below '/' stand
 * between the file and the directory. */
static int is_explicit_dir(struct mount *m, struct dir_handle *d, bool *out)
{
	struct store_bytes name = d->users.head.name, there = d->dirs.head.name;
	struct key_buf key = { 0 };
	struct store_entry e;
	*out = false;
	if (!d->dirs.have || there.size < name.size || memcmp(there.data, name.data, name.size) != 0)
		return 0;
	if (there.size == name.size) {
		*out = true;
		return 0;
	}
	int error = key_append(&key, d->prefix.data, d->prefix.size);
	if (!error)
		error = key_append(&key, name.data, name.size);
	if (!error)
		error = key_append(&key, "/", 1);
	enum store_result r = error ? STORE_NO_MEMORY :
			      m->store->calls->get(m->store, STORE_DIRS, key_bytes(&key), true, true, &e);
	key_done(&key);
	*out = r == STORE_OK;
	if (*out)
		m->store->calls->entry_release(m->store, &e);
	return r == STORE_NOT_FOUND ? 0 : errmap_from_store(r);
}

/* Drops the heads that the entry at hand came from. */
static void consume(struct dir_handle *d)
{
	if (d->from_users)
		d->users.have = false;
	if (d->from_dirs)
		d->dirs.have = false;
	if (d->from_fresh)
		d->fresh_at++;
	d->from_users = d->from_dirs = d->from_fresh = false;
}

/* What the record of a file says of its type and number. */
static void note_record(const struct mount *m, struct dir_handle *d, const struct store_entry *e)
{
	struct attr a = { .mode = S_IFREG };
	if (e->attr.size && attr_decode(&m->options, false, e->time_ns, e->attr.data, e->attr.size, &a))
		a = (struct attr){ .mode = S_IFREG };
	d->type = a.mode & S_IFMT;
	d->ino = a.ino ? a.ino : node_default_ino(d->node, d->raw.data + d->pending.size, d->raw.size - d->pending.size, false);
	attr_done(&a);
}

/* Chooses the least head. *out_skip: it is not to show here. ENOENT: all sources ended. */
static int choose(struct mount *m, struct dir_handle *d, bool *out_skip)
{
	struct source *u = &d->users, *s = &d->dirs;
	int error = fill(m, d, u);
	if (!error)
		error = fill(m, d, s);
	if (error)
		return error;
	*out_skip = false;
	d->entry = NULL;
	int order = u->have && s->have ? compare_heads(u, s) : u->have ? -1 : s->have ? 1 : 2;
	const struct source *least = order <= 0 ? u : s;
	const struct position *f = d->fresh_at < d->fresh_count ? &d->fresh[d->fresh_at] : NULL;
	int fresh_order = 1;
	if (f)
		fresh_order = order == 2 ? -1 : compare(f->name, f->size, f->directory, least->head.name.data,
							least->head.name.size, head_is_dir(least));
	if (!f && order == 2)
		return ENOENT;
	d->from_fresh = f && fresh_order <= 0;
	d->from_users = (!f || fresh_order >= 0) && order <= 0;
	d->from_dirs = (!f || fresh_order >= 0) && (order == 0 || order == 1);
	d->raw.size = 0;
	if (d->from_users || d->from_dirs) {
		error = key_append(&d->raw, least->head.name.data, least->head.name.size);
		d->raw_directory = head_is_dir(least);
	} else {
		error = key_append(&d->raw, f->name, f->size);
		d->raw_directory = f->directory;
	}
	d->type = d->raw_directory ? S_IFDIR : S_IFREG;
	d->ino = 0;
	if (!error && d->from_users && !d->raw_directory) {
		bool is_dir = u->head.is_prefix;
		if (!is_dir)
			error = is_explicit_dir(m, d, &is_dir);
		*out_skip = is_dir; /* It shows as a directory, at that one's place. */
		d->entry = u->head.entry;
		note_record(m, d, d->entry);
		/* A new file of that name is about to replace it. */
		if (d->from_fresh)
			d->ino = 0;
	}
	return error;
}

/* The name as a file name. *out_skip: an earlier entry stands for it, the chunk that it is in. */
static void name_entry(struct dir_handle *d, bool *out_skip)
{
	size_t len;
	enum keypath_kind kind;
	keypath_encode(&d->context, d->raw.data + d->pending.size, d->raw.size - d->pending.size, d->name, &len, &kind);
	d->name[len] = 0;
	d->kind = kind;
	if (kind != KEYPATH_CHUNK)
		return;
	*out_skip |= strcmp(d->name, d->last_chunk) == 0;
	memcpy(d->last_chunk, d->name, len + 1);
	d->type = S_IFDIR;
	d->ino = 0;
	d->entry = NULL;
}

static int decide(struct mount *m, struct dir_handle *d)
{
	for (;;) {
		bool skip;
		int error = choose(m, d, &skip);
		if (error)
			return error;
		if (!skip)
			name_entry(d, &skip);
		if (!skip)
			return 0;
		consume(d);
	}
}

int dir_peek(struct mount *m, struct dir_handle *d, struct dir_entry *out)
{
	static const char *const first[FIRST_MERGED] = { ".", "..", "%value" };
	if (d->cookie == 2 && !d->has_value)
		d->cookie = FIRST_MERGED;
	if (d->cookie < FIRST_MERGED) {
		*out = (struct dir_entry){ .name = first[d->cookie], .type = d->cookie < 2 ? S_IFDIR : S_IFREG,
					   .cookie = d->cookie + 1, .is_dot = d->cookie < 2 };
		return 0;
	}
	if (!d->have) {
		int error = decide(m, d);
		if (error)
			return error;
		d->have = true;
	}
	*out = (struct dir_entry){ .name = d->name, .type = d->type, .cookie = d->cookie + 1, .entry = d->entry,
				   .ino = d->ino };
	return 0;
}

/* ---- Cookies ------------------------------------------------------------------------------- */

static void remember(struct dir_handle *d)
{
	/* Without memory a seek goes by an earlier position. */
	position_set(&d->ring[d->cookie % RING], d->raw.data, d->raw.size, d->raw_directory, d->cookie);
	if (d->cookie % DIR_CHECKPOINT != 0)
		return;
	if (d->checkpoint_count && d->checkpoints[d->checkpoint_count - 1].cookie >= d->cookie)
		return;
	if (d->checkpoint_count == d->checkpoint_capacity) {
		size_t capacity = 2 * d->checkpoint_capacity + 16;
		struct position *moved = realloc(d->checkpoints, capacity * sizeof *moved);
		if (!moved)
			return;
		d->checkpoints = moved;
		d->checkpoint_capacity = capacity;
	}
	struct position p = { 0 };
	if (!position_set(&p, d->raw.data, d->raw.size, d->raw_directory, d->cookie))
		d->checkpoints[d->checkpoint_count++] = p;
}

void dir_advance(struct dir_handle *d)
{
	if (d->cookie >= FIRST_MERGED && d->have) {
		remember(d);
		consume(d);
		d->have = false;
	}
	d->cookie++;
}

static void seek_source(struct mount *m, struct source *s, const struct position *p)
{
	s->have = false;
	s->ended = !s->list; /* of a directory that was removed */
	if (s->list)
		m->store->calls->list_seek(s->list, (struct store_bytes){ p->name, p->size }, p->directory);
}

/* Behind the remembered entry, in the same state of the directory. */
static void return_to(struct mount *m, struct dir_handle *d, const struct position *p)
{
	seek_source(m, &d->users, p);
	seek_source(m, &d->dirs, p);
	d->fresh_at = 0;
	while (d->fresh_at < d->fresh_count && compare_positions(&d->fresh[d->fresh_at], p) <= 0)
		d->fresh_at++;
	d->from_users = d->from_dirs = d->from_fresh = false;
	d->have = false;
	d->last_chunk[0] = 0;
	d->cookie = p->cookie + 1;
}

static const struct position *find_position(const struct dir_handle *d, uint64_t cookie)
{
	const struct position *p = &d->ring[(cookie - 1) % RING];
	if (p->name && p->cookie == cookie - 1)
		return p;
	p = NULL;
	for (size_t i = 0; i < d->checkpoint_count && d->checkpoints[i].cookie < cookie; i++)
		p = &d->checkpoints[i];
	return p;
}

uint64_t dir_offset(const struct dir_handle *d)
{
	return d->cookie;
}

int dir_seek(struct mount *m, struct dir_handle *d, uint64_t cookie)
{
	struct dir_entry e;
	if (cookie == d->cookie && cookie != 0)
		return 0;
	const struct position *p = cookie > FIRST_MERGED ? find_position(d, cookie) : NULL;
	if (p) {
		return_to(m, d, p);
	} else {
		/* The beginning is a new look only when it is asked for as such. */
		int error = open_sources(m, d);
		if (error)
			return error;
		d->have = d->from_users = d->from_dirs = d->from_fresh = false;
		d->last_chunk[0] = 0;
		d->cookie = cookie < FIRST_MERGED ? cookie : FIRST_MERGED;
	}
	while (d->cookie < cookie) {
		int error = dir_peek(m, d, &e);
		if (error)
			return error == ENOENT ? 0 : error;
		dir_advance(d);
	}
	return 0;
}

/* ---- Nodes --------------------------------------------------------------------------------- */

uint64_t dir_default_ino(const struct dir_handle *d, const struct dir_entry *e)
{
	if (e->name == d->name && d->kind == KEYPATH_NAME)
		return node_default_ino(d->node, d->raw.data + d->pending.size, d->raw.size - d->pending.size, S_ISDIR(e->type));
	return node_default_ino(d->node, (const uint8_t *)e->name, strlen(e->name), S_ISDIR(e->type));
}

/*
 * Who lists a large directory and asks for attributes (ls -l) is found out by an entry in each reply that has none: it is asked
 * for at once. Who asks later for what was listed (du, rm -r: by the hundred thousand) is believed for as long as that many
 * questions are worth. Who wants names only (ls -f, a shell's pattern) gets these, and the kernel and the daemon keep nothing.
 */
size_t dir_grant(struct dir_handle *d, bool *out_probe)
{
	uint64_t questions = d->node->asked - d->asked;
	d->asked = d->node->asked;
	questions = questions < CREDIT_MAX / NODES_EACH ? questions : CREDIT_MAX / NODES_EACH;
	d->credit += questions * NODES_EACH;
	if (d->credit > CREDIT_MAX)
		d->credit = CREDIT_MAX;
	*out_probe = d->told >= NODES_ALWAYS / 2;
	return d->credit + (d->told < NODES_ALWAYS ? NODES_ALWAYS - d->told : 0);
}

void dir_spend(struct dir_handle *d, size_t nodes)
{
	uint64_t always = d->told < NODES_ALWAYS ? NODES_ALWAYS - d->told : 0;
	uint64_t paid = nodes > always ? nodes - always : 0;
	d->credit -= paid < d->credit ? paid : d->credit;
	d->told += nodes;
}

int dir_entry_node(struct mount *m, struct dir_handle *d, const struct dir_entry *e, struct node **out)
{
	size_t len = strlen(e->name);
	struct node *n = node_find(m, d->node, e->name, len);
	if (n && expiry_is_due(n))
		return namei_lookup(m, d->node, e->name, out);
	if (n) {
		*out = n;
		return 0;
	}
	if (!e->entry || d->changes != d->node->changes || attr_blob_is_linked(e->entry->attr.data, e->entry->attr.size))
		return namei_lookup(m, d->node, e->name, out);
	n = node_new(m, d->node, e->name, len, KEYPATH_NAME, d->raw.data + d->pending.size, d->raw.size - d->pending.size, false);
	if (!n)
		return ENOMEM;
	int error = namei_take_attr(m, n, false, e->entry);
	if (!error)
		error = namei_avoid_links(m, n);
	if (error) {
		node_release(m, n);
		return error;
	}
	*out = n;
	return 0;
}
