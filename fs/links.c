/* Files with several names: the live ones, and the records. See links.h. */
#include "fs/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/namei_impl.h"

enum { BUCKETS_MIN = 64, INO_SIZE = 8, TIME_SIZE = 8 };

/* ---- Live files ---------------------------------------------------------------------------- */

/* Numbers are hashes already. */
static struct links **bucket(const struct node_table *t, uint64_t ino)
{
	return &t->links[ino & (t->links_buckets - 1)];
}

static bool grow(struct node_table *t)
{
	size_t count = t->links_buckets ? 2 * t->links_buckets : BUCKETS_MIN;
	struct links **old = t->links, **buckets = calloc(count, sizeof *buckets);
	size_t old_count = t->links_buckets;
	if (!buckets)
		return old != NULL; /* Longer chains, nothing worse. */
	t->links = buckets;
	t->links_buckets = count;
	for (size_t i = 0; i < old_count; i++)
		for (struct links *l = old[i], *next; l; l = next) {
			next = l->next;
			l->next = *bucket(t, l->ino);
			*bucket(t, l->ino) = l;
		}
	free(old);
	return true;
}

struct node *links_find(const struct mount *m, uint64_t ino)
{
	const struct node_table *t = m->nodes;
	const struct links *l = t->links_buckets ? *bucket(t, ino) : NULL;
	while (l && l->ino != ino)
		l = l->next;
	return l ? l->node : NULL;
}

struct node *links_any(const struct mount *m)
{
	const struct node_table *t = m->nodes;
	for (size_t i = 0; t->links_count && i < t->links_buckets; i++)
		if (t->links[i])
			return t->links[i]->node;
	return NULL;
}

int links_join(struct mount *m, struct node *n, unsigned count, uint64_t time_ns, uint64_t expiry_ns)
{
	struct node_table *t = m->nodes;
	if (t->links_count >= t->links_buckets && !grow(t))
		return ENOMEM;
	struct links *l = calloc(1, sizeof *l);
	if (!l)
		return ENOMEM;
	*l = (struct links){ .node = n, .ino = n->ino, .count = count, .time_ns = time_ns, .expiry_ns = expiry_ns,
			     .next = *bucket(t, n->ino) };
	*bucket(t, n->ino) = l;
	t->links_count++;
	n->links = l;
	return 0;
}

void links_forget(struct mount *m, struct node *n)
{
	struct node_table *t = m->nodes;
	if (!n->links)
		return;
	struct links **at = bucket(t, n->links->ino);
	while (*at != n->links)
		at = &(*at)->next;
	*at = n->links->next;
	t->links_count--;
	free(n->links);
	n->links = NULL;
}

/* ---- Keys ---------------------------------------------------------------------------------- */

static int link_key(uint64_t ino, struct store_bytes name, struct key_buf *out)
{
	uint8_t bytes[INO_SIZE];
	for (int i = 0; i < INO_SIZE; i++)
		bytes[i] = (uint8_t)(ino >> (56 - 8 * i));
	out->size = 0;
	int error = key_append(out, bytes, sizeof bytes);
	return error ? error : key_append(out, name.data, name.size);
}

static enum store_result get(struct mount *m, enum store_space space, struct store_bytes key, bool meta, struct store_entry *out)
{
	return m->store->calls->get(m->store, space, key, meta, true, out);
}

/* Whether there is a record of the number, or with a name of that. */
static int exists(struct mount *m, uint64_t ino, struct store_bytes name, bool *out)
{
	struct key_buf key = { 0 };
	struct store_entry e;
	int error = link_key(ino, name, &key);
	enum store_result r = error ? STORE_NO_MEMORY : get(m, STORE_LINKS, key_bytes(&key), true, &e);
	key_done(&key);
	*out = r == STORE_OK;
	if (*out)
		m->store->calls->entry_release(m->store, &e);
	return r == STORE_NOT_FOUND ? 0 : errmap_from_store(r);
}

int links_is_ino(struct mount *m, uint64_t ino, bool *out)
{
	return exists(m, ino, (struct store_bytes){ NULL, 0 }, out);
}

/* ---- Judging ------------------------------------------------------------------------------- */

static uint64_t time_of(struct store_bytes value)
{
	uint64_t time = 0;
	for (int i = 0; i < TIME_SIZE; i++)
		time |= (uint64_t)value.data[i] << (8 * i);
	return time;
}

/* The group's own record, to be released. NOT_FOUND: there is none that makes sense. */
static enum store_result get_group(struct mount *m, uint64_t ino, struct store_entry *out)
{
	struct key_buf key = { 0 };
	int error = link_key(ino, (struct store_bytes){ NULL, 0 }, &key);
	enum store_result r = error ? STORE_NO_MEMORY : get(m, STORE_LINKS, key_bytes(&key), false, out);
	key_done(&key);
	if (r == STORE_OK && out->value.size != TIME_SIZE) {
		m->store->calls->entry_release(m->store, out);
		return STORE_NOT_FOUND;
	}
	return r;
}

static uint64_t marked_ino(struct mount *m, const struct store_entry *e)
{
	struct attr a;
	if (!attr_blob_is_linked(e->attr.data, e->attr.size) ||
	    attr_decode(&m->options, false, e->time_ns, e->attr.data, e->attr.size, &a))
		return 0;
	attr_done(&a);
	return a.ino;
}

int links_judge(struct mount *m, struct store_bytes key, const struct store_entry *e, struct links_found *out)
{
	struct store_entry group;
	*out = (struct links_found){ .ino = marked_ino(m, e) };
	if (!out->ino)
		return 0;
	const struct node *live = links_find(m, out->ino);
	if (live) {
		out->time_ns = live->links->time_ns;
	} else {
		enum store_result r = get_group(m, out->ino, &group);
		if (r != STORE_OK)
			return r == STORE_NOT_FOUND ? 0 : errmap_from_store(r);
		out->time_ns = time_of(group.value);
		m->store->calls->entry_release(m->store, &group);
	}
	return e->time_ns == out->time_ns ? exists(m, out->ino, key, &out->member) : 0;
}

struct counting {
	struct mount *m;
	const struct links_found *found;
	struct namei_batch gone;
	unsigned count;
	int error;
};

/* One name of the group: does its record still belong to it? */
static bool count_name(void *arg, struct store_bytes key, const struct store_entry *entry)
{
	struct counting *c = arg;
	struct store_entry e;
	(void)entry;
	if (key.size == INO_SIZE)
		return true;
	struct store_bytes name = { key.data + INO_SIZE, key.size - INO_SIZE };
	enum store_result r = get(c->m, STORE_USER, name, true, &e);
	bool member = false;
	if (r == STORE_OK) {
		member = e.time_ns == c->found->time_ns && marked_ino(c->m, &e) == c->found->ino;
		c->m->store->calls->entry_release(c->m->store, &e);
	} else if (r != STORE_NOT_FOUND) {
		c->error = errmap_from_store(r);
	}
	c->count += member;
	if (!c->error && !member)
		c->error = links_delete_name(&c->gone, c->found->ino, name);
	return !c->error;
}

static int scan_names(struct mount *m, uint64_t ino, bool (*each)(void *arg, struct store_bytes key, const struct store_entry *e),
		      void *arg)
{
	struct key_buf key = { 0 };
	int error = link_key(ino, (struct store_bytes){ NULL, 0 }, &key);
	if (!error)
		error = errmap_from_store(m->store->calls->scan(m->store, STORE_LINKS, key_bytes(&key), true, each, arg));
	key_done(&key);
	return error;
}

/* Names that have left are removed, where anything may be changed; else they are only not counted. */
static int remove_gone(struct mount *m, struct namei_batch *gone)
{
	if (!gone->count || m->fixed || m->options.read_only)
		return 0;
	return namei_commit(m, gone);
}

int links_load(struct mount *m, struct node *n, const struct links_found *found)
{
	struct store_entry group;
	struct counting c = { .m = m, .found = found };
	struct attr a;
	enum store_result r = get_group(m, found->ino, &group);
	if (r != STORE_OK)
		return r == STORE_NOT_FOUND ? EIO : errmap_from_store(r);
	int error = attr_decode(&m->options, false, group.time_ns, group.attr.data, group.attr.size, &a);
	m->store->calls->entry_release(m->store, &group);
	if (error)
		return error;
	a.size = n->attr.size;
	a.holes = n->attr.holes;
	a.expiry_ns = n->attr.expiry_ns;
	a.ino = found->ino;
	a.linked = true;
	attr_done(&n->attr);
	n->attr = a;
	error = scan_names(m, found->ino, count_name, &c);
	if (!error)
		error = c.error;
	if (!error)
		error = remove_gone(m, &c.gone);
	namei_batch_done(&c.gone);
	return error ? error : links_join(m, n, c.count, found->time_ns, n->attr.expiry_ns);
}

/* ---- Names --------------------------------------------------------------------------------- */

struct first_key {
	struct key_buf *out;
	int error;
};

static bool take_first(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct first_key *f = arg;
	(void)e;
	if (key.size == INO_SIZE)
		return true;
	f->error = key_append(f->out, key.data + INO_SIZE, key.size - INO_SIZE);
	return false;
}

int links_content_key(struct mount *m, const struct node *n, struct key_buf *out)
{
	if (n->parent)
		return node_file_key(n, out);
	struct first_key f = { out, EIO };
	out->size = 0;
	int error = scan_names(m, n->links->ino, take_first, &f);
	return error ? error : f.error;
}

/* ---- Changes ------------------------------------------------------------------------------- */

int links_put_attr(struct mount *m, struct namei_batch *b, struct node *n)
{
	struct key_buf key = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_LINKS };
	uint8_t *time = malloc(TIME_SIZE);
	int error = time ? namei_own(b, time) : ENOMEM;
	if (!error)
		error = namei_add_attr(m, b, n, &change);
	if (!error)
		error = link_key(n->links->ino, (struct store_bytes){ NULL, 0 }, &key);
	if (error) {
		key_done(&key);
		return error;
	}
	for (int i = 0; i < TIME_SIZE; i++)
		time[i] = (uint8_t)(n->links->time_ns >> (8 * i));
	change.value = (struct store_bytes){ time, TIME_SIZE };
	return namei_add_keyed(b, change, &key);
}

static int change_name(struct namei_batch *b, uint64_t ino, struct store_bytes name, struct store_change change)
{
	struct key_buf key = { 0 };
	int error = link_key(ino, name, &key);
	if (error) {
		key_done(&key);
		return error;
	}
	change.space = STORE_LINKS;
	return namei_add_keyed(b, change, &key);
}

int links_put_name(struct namei_batch *b, const struct node *n, struct store_bytes key)
{
	return change_name(b, n->links->ino, key, (struct store_change){ .op = STORE_PUT, .expiry_ns = n->attr.expiry_ns });
}

int links_delete_name(struct namei_batch *b, uint64_t ino, struct store_bytes key)
{
	return change_name(b, ino, key, (struct store_change){ .op = STORE_DELETE });
}

int links_delete(struct namei_batch *b, uint64_t ino)
{
	return links_delete_name(b, ino, (struct store_bytes){ NULL, 0 });
}

int links_put_record(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content,
		     struct key_buf *key)
{
	struct store_change change = *content;
	change.op = STORE_PUT;
	change.space = STORE_USER;
	int error = namei_add_attr(m, b, n, &change);
	change.time_ns = n->links->time_ns;
	if (!error)
		return namei_add_keyed(b, change, key);
	key_done(key);
	return error;
}

/* All names, gathered: the batch has their bytes. */
struct names {
	struct namei_batch *batch;
	struct store_bytes *list;
	size_t count, capacity;
	int error;
};

static bool gather_name(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct names *names = arg;
	(void)e;
	if (key.size == INO_SIZE)
		return true;
	if (names->count == names->capacity) {
		size_t capacity = 2 * names->capacity + 4;
		struct store_bytes *moved = realloc(names->list, capacity * sizeof *moved);
		if (!moved) {
			names->error = ENOMEM;
			return false;
		}
		names->list = moved;
		names->capacity = capacity;
	}
	size_t size = key.size - INO_SIZE;
	uint8_t *copy = malloc(size + 1);
	names->error = copy ? namei_own(names->batch, copy) : ENOMEM;
	if (names->error)
		return false;
	memcpy(copy, key.data + INO_SIZE, size);
	names->list[names->count++] = (struct store_bytes){ copy, size };
	return true;
}

static bool same_bytes(struct store_bytes a, const struct key_buf *b)
{
	return a.size == b->size && (!a.size || memcmp(a.data, b->data, a.size) == 0);
}

/* The edit is of one key; the others get the same. */
static int put_edit(struct mount *m, struct namei_batch *b, struct node *n, struct store_change change, struct names *names)
{
	struct key_buf key = { 0 };
	int error = links_content_key(m, n, &key);
	size_t others = 0;
	for (size_t i = 0; i < names->count && !error; i++)
		if (!same_bytes(names->list[i], &key))
			names->list[others++] = names->list[i];
	change.also = names->list;
	change.also_count = others;
	if (!error)
		return namei_add_keyed(b, change, &key);
	key_done(&key);
	return error;
}

static int put_all(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content, struct names *names)
{
	struct store_change change = *content;
	change.op = STORE_PUT;
	change.space = STORE_USER;
	int error = namei_add_attr(m, b, n, &change);
	/* What expires does so with all that says so. */
	for (size_t i = 0; i < names->count && !error && n->attr.expiry_ns != n->links->expiry_ns; i++)
		error = links_put_name(b, n, names->list[i]);
	if (!error && change.edit)
		return put_edit(m, b, n, change, names);
	for (size_t i = 0; i < names->count && !error; i++) {
		change.key = names->list[i];
		error = namei_add(b, change);
	}
	return error;
}

int links_put_content(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content)
{
	struct names names = { .batch = b };
	uint64_t before = n->links->time_ns;
	int error = scan_names(m, n->links->ino, gather_name, &names);
	if (!error)
		error = names.error;
	if (!error)
		error = put_all(m, b, n, content, &names);
	/* The changes point to the list. */
	int owned = names.list ? namei_own(b, names.list) : 0;
	if (!error)
		error = owned;
	n->links->time_ns = attr_record_time(&n->attr);
	if (!error)
		error = links_put_attr(m, b, n);
	n->links->time_ns = before;
	return error;
}

void links_committed(struct node *n)
{
	n->links->time_ns = attr_record_time(&n->attr);
	n->links->expiry_ns = n->attr.expiry_ns;
}

/* ---- Directories that move ----------------------------------------------------------------- */

struct moving {
	struct mount *m;
	struct namei_batch *batch, later; /* what goes stands before what comes */
	struct store_bytes from, to;
	int error;
};

static bool move_name(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct moving *v = arg;
	struct key_buf moved = { 0 };
	uint64_t ino = marked_ino(v->m, e);
	bool there = false;
	if (!ino)
		return true;
	v->error = exists(v->m, ino, key, &there);
	if (!v->error && there)
		v->error = links_delete_name(v->batch, ino, key);
	if (!v->error)
		v->error = key_append(&moved, v->to.data, v->to.size);
	if (!v->error)
		v->error = key_append(&moved, key.data + v->from.size, key.size - v->from.size);
	if (!v->error && there)
		v->error = change_name(&v->later, ino, key_bytes(&moved),
				       (struct store_change){ .op = STORE_PUT, .expiry_ns = e->expiry_ns });
	key_done(&moved);
	return !v->error;
}

static int move_names(struct moving *v, struct store_bytes from, struct store_bytes to)
{
	v->from = from;
	v->to = to;
	int error = errmap_from_store(v->m->store->calls->scan(v->m->store, STORE_USER, from, true, move_name, v));
	return error ? error : v->error;
}

int links_move_below(struct mount *m, struct namei_batch *b, struct store_bytes from, struct store_bytes to, bool exchange)
{
	struct moving v = { .m = m, .batch = b };
	if (!m->nodes->links_recorded)
		return 0;
	int error = move_names(&v, from, to);
	if (!error && exchange)
		error = move_names(&v, to, from);
	if (!error)
		error = namei_append(b, &v.later);
	namei_batch_done(&v.later);
	return error;
}
