/*
 * See neighbours.h. A run is a directory of which files are opened in ascending order. After some READs in it the files behind are
 * put into the page cache, and more of them as the reader comes to the middle of these, twice as many each time. What the kernel
 * was given once it has, until it asks for something of that again.
 */
#include "fs/neighbours.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/file.h"
#include "fs/notify.h"
#include "fs/service.h"

enum {
	RUNS = 4,              /* directories that are read at a time */
	READS_FIRST = 3,       /* before the first is put; twice as many each time that nothing could be */
	READS_MOST = 1 << 12,
	WINDOW_FIRST = 8,
	WINDOW_BYTES = 1 << 20,
	VISITED_EACH = 4,      /* children that are looked at for each file that is to be found */
};

struct position {
	uint8_t bytes[NAME_MAX]; /* of the key, behind the directory's */
	size_t size;
};

struct run {
	const struct node *dir; /* not followed: it may be gone */
	uint64_t dir_ino;
	struct position last;   /* opened */
	struct position first;  /* of `reads` */
	struct position middle, end; /* of those that were put */
	unsigned reads, reads_needed;
	unsigned window;        /* files that were put the last time; 0: none yet */
	struct node *kept;      /* the directory, while a job has the run; else NULL */
};

struct neighbours {
	pthread_mutex_t mu;      /* held by a job throughout; locked before the mount's */
	struct mount *m;         /* guarded by mu: NULL when it is gone */
	atomic_uint holders;     /* the mount, and jobs that are to come */
	struct run runs[RUNS];   /* guarded by the mount's lock */
	unsigned turn;           /* likewise */
	struct node *putting;    /* likewise: the kernel is given its content just now */
	pthread_cond_t put;      /* on it */
	uint8_t content[NEIGHBOUR_BYTES]; /* of a job */
	uint32_t epoch;          /* likewise: nodes with another number in `cached` are not */
};

struct job {
	struct neighbours *all;
	struct run *run;
	struct key_buf prefix;
	struct position first, after; /* what was read begins and ends here */
	unsigned reads;          /* 0: that these are neighbours was seen before */
	unsigned count;
};

static void release(struct neighbours *all)
{
	/* Acquire and release: whoever frees it has seen what the others did. */
	if (atomic_fetch_sub_explicit(&all->holders, 1, memory_order_acq_rel) != 1)
		return;
	pthread_cond_destroy(&all->put);
	pthread_mutex_destroy(&all->mu);
	free(all);
}

/* No job has the run any more. With the mount's lock held. */
static void let_go(struct mount *m, struct run *r)
{
	if (!r->kept)
		return;
	r->kept->children--;
	node_release(m, r->kept);
	r->kept = NULL;
}

int neighbours_init(struct mount *m)
{
	m->neighbours = calloc(1, sizeof *m->neighbours);
	if (!m->neighbours)
		return ENOMEM;
	pthread_mutex_init(&m->neighbours->mu, NULL);
	pthread_cond_init(&m->neighbours->put, NULL);
	m->neighbours->m = m;
	m->neighbours->epoch = 1;
	atomic_init(&m->neighbours->holders, 1);
	return 0;
}

void neighbours_done(struct mount *m)
{
	struct neighbours *all = m->neighbours;
	if (!all)
		return;
	pthread_mutex_lock(&all->mu);
	all->m = NULL;
	mount_lock(m);
	for (unsigned i = 0; i < RUNS; i++)
		let_go(m, &all->runs[i]);
	mount_unlock(m);
	pthread_mutex_unlock(&all->mu);
	m->neighbours = NULL;
	release(all);
}

static void set_position(struct position *p, const uint8_t *bytes, size_t size)
{
	p->size = size < sizeof p->bytes ? size : sizeof p->bytes;
	memcpy(p->bytes, bytes, p->size);
}

static int compare(const struct position *a, const struct position *b)
{
	int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
	return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* ---- Putting: by notify_call ----------------------------------------------------------------- */

static bool is_fit(const struct mount *m, const struct node *n)
{
	if (!n || !S_ISREG(n->attr.mode) || n->attr.size == 0 || n->attr.size > NEIGHBOUR_BYTES || n->attr.expiry_ns)
		return false;
	return n->lookups && !n->opens && !n->staged && !n->fresh && !n->unlinked && n->cached != m->neighbours->epoch;
}

/* With the lock held, but not while the kernel takes it: that may wait for a page, and whoever has the page for us. */
static bool put_one(struct mount *m, struct node *dir, const char *name, size_t len)
{
	struct neighbours *all = m->neighbours;
	struct node *n = node_find(m, dir, name, len);
	const uint8_t *data;
	size_t size;
	if (!is_fit(m, n) || file_read(m, n, 0, n->attr.size, &data, &size) != 0)
		return false;
	memcpy(all->content, data, size);
	node_drop_held(m, n);
	all->putting = n;
	n->lookups++; /* keeps it */
	mount_unlock(m);
	bool put = notify_store(m, node_id(m, n), all->content, size);
	mount_lock(m);
	all->putting = NULL;
	pthread_cond_broadcast(&all->put);
	if (put) {
		n->cached = all->epoch;
		atomic_fetch_add_explicit(&m->counts.neighbours, 1, memory_order_relaxed);
	}
	n->lookups--;
	node_release(m, n);
	return put;
}

void neighbours_wait(struct mount *m, const struct node *n)
{
	if (m->neighbours && m->neighbours->putting == n)
		service_may_block();
	while (m->neighbours && m->neighbours->putting == n) {
		pthread_cond_wait(&m->neighbours->put, &m->nodes->mu);
		mount_may_change(m);
	}
}

/* Goes on behind the job's position. False: what was read was not in the directory's order. */
static bool find_after(struct mount *m, struct store_list *list, const struct job *j)
{
	const struct store_calls *calls = m->store->calls;
	struct store_child child;
	struct position at = j->first;
	unsigned most = j->reads ? VISITED_EACH * j->reads : 0;
	calls->list_seek(list, (struct store_bytes){ j->first.bytes, j->first.size }, false);
	while (most-- > 0 && compare(&at, &j->after) < 0 && calls->list_next(list, &child) == STORE_OK)
		set_position(&at, child.name.data, child.name.size);
	if (j->reads && compare(&at, &j->after) != 0)
		return false;
	calls->list_seek(list, (struct store_bytes){ j->after.bytes, j->after.size }, false);
	return true;
}

/* Reads it without the lock, so that with the lock it is in memory. */
static void warm(struct mount *m, struct key_buf *key, size_t prefix, struct store_bytes name)
{
	struct store_entry e;
	key->size = prefix;
	if (key_append(key, name.data, name.size) == 0 &&
	    m->store->calls->get(m->store, STORE_USER, key_bytes(key), false, true, &e) == STORE_OK)
		m->store->calls->entry_release(m->store, &e);
	key->size = prefix;
}

/* The next files behind the job's position: how many could be put. The run gets where they are. */
static unsigned put_next(struct mount *m, struct job *j, struct position *out_middle, struct position *out_end)
{
	const struct keypath_context context = { .root = j->run->kept == &m->nodes->root, .ctldir = m->options.ctldir };
	const struct store_calls *calls = m->store->calls;
	struct store_list *list;
	struct store_child child;
	unsigned put = 0, visited = 0;
	size_t bytes = 0, prefix = j->prefix.size;
	*out_middle = *out_end = j->after;
	if (calls->list_open(m->store, STORE_USER, key_bytes(&j->prefix), &list) != STORE_OK)
		return 0;
	bool in_order = find_after(m, list, j);
	while (in_order && put < j->count && visited++ < VISITED_EACH * j->count && bytes < WINDOW_BYTES &&
	       calls->list_next(list, &child) == STORE_OK) {
		char name[KEYPATH_NAME_MAX + 1];
		size_t len, size = child.is_value && !child.is_prefix ? child.entry->value_size : 0;
		enum keypath_kind kind;
		if (size == 0 || size > NEIGHBOUR_BYTES || child.name.size > NAME_MAX)
			continue;
		keypath_encode(&context, child.name.data, child.name.size, name, &len, &kind);
		if (kind != KEYPATH_NAME)
			continue;
		warm(m, &j->prefix, prefix, child.name);
		mount_lock(m);
		put += put_one(m, j->run->kept, name, len);
		mount_unlock(m);
		bytes += size;
		set_position(out_end, child.name.data, child.name.size);
		if (put <= j->count / 2)
			*out_middle = *out_end;
	}
	calls->list_close(list);
	return put;
}

static void end_job(struct mount *m, const struct job *j, unsigned put, const struct position *middle, const struct position *end)
{
	struct run *r = j->run;
	r->window = put ? j->count : 0;
	r->middle = *middle;
	r->end = *end;
	r->reads = 0;
	if (put)
		r->reads_needed = READS_FIRST;
	else if (r->reads_needed < READS_MOST)
		r->reads_needed *= 2;
	let_go(m, r);
}

static void run_job(void *arg, bool dropped)
{
	struct job *j = arg;
	struct position middle, end;
	pthread_mutex_lock(&j->all->mu);
	struct mount *m = j->all->m;
	if (m && !dropped) {
		unsigned put = put_next(m, j, &middle, &end);
		mount_lock(m);
		end_job(m, j, put, &middle, &end);
		mount_unlock(m);
	}
	pthread_mutex_unlock(&j->all->mu);
	release(j->all);
	key_done(&j->prefix);
	free(j);
}

/* ---- Watching: by the threads that answer ---------------------------------------------------- */

static void start(struct mount *m, struct run *r, struct node *dir, const struct position *after, unsigned count)
{
	unsigned reads = r->window ? 0 : r->reads;
	unsigned most = atomic_load_explicit(&m->options.neighbours, memory_order_relaxed);
	struct job *j = count && most ? calloc(1, sizeof *j) : NULL;
	if (!j)
		return;
	*j = (struct job){ .all = m->neighbours, .run = r, .first = r->first, .after = *after, .reads = reads,
			   .count = count < most ? count : most };
	if (node_dir_key(dir, &j->prefix) != 0) {
		free(j);
		return;
	}
	dir->children++;
	r->kept = dir;
	atomic_fetch_add_explicit(&j->all->holders, 1, memory_order_relaxed);
	if (notify_call(m, run_job, j))
		return;
	let_go(m, r);
	release(j->all);
	key_done(&j->prefix);
	free(j);
}

/* The run of the node's directory; a new one takes the place of another that no job has. NULL: none is free. */
static struct run *run_of(struct mount *m, const struct node *n, const struct position *at)
{
	struct neighbours *all = m->neighbours;
	for (unsigned i = 0; i < RUNS; i++)
		if (all->runs[i].dir == n->parent && all->runs[i].dir_ino == n->parent->ino)
			return &all->runs[i];
	for (unsigned i = 0; i < RUNS; i++) {
		struct run *r = &all->runs[all->turn++ % RUNS];
		if (r->kept)
			continue;
		*r = (struct run){ .dir = n->parent, .dir_ino = n->parent->ino, .last = *at, .reads_needed = READS_FIRST };
		return r;
	}
	return NULL;
}

static bool is_watched(const struct mount *m, const struct node *n)
{
	return m->neighbours && n->parent && n->kind == KEYPATH_NAME && n->parent->kind == KEYPATH_NAME &&
	       atomic_load_explicit(&m->options.neighbours, memory_order_relaxed) && !m->options.writeback_cache &&
	       !m->options.commit_write;
}

void neighbours_opened(struct mount *m, const struct node *n)
{
	struct position at;
	if (!is_watched(m, n))
		return;
	set_position(&at, n->part, n->part_len);
	struct run *r = run_of(m, n, &at);
	if (!r)
		return;
	if (compare(&at, &r->last) < 0)
		r->reads = r->window = 0;
	r->last = at;
	if (r->window && !r->kept && compare(&at, &r->middle) >= 0)
		start(m, r, n->parent, compare(&at, &r->end) > 0 ? &at : &r->end, 2 * r->window);
}

void neighbours_read(struct mount *m, struct node *n)
{
	struct position at;
	if (!is_watched(m, n))
		return;
	/* It had that and asks again: its page cache was emptied, and nobody knows how far. */
	if (n->cached == m->neighbours->epoch)
		m->neighbours->epoch++;
	n->cached = m->neighbours->epoch;
	set_position(&at, n->part, n->part_len);
	struct run *r = run_of(m, n, &at);
	/* One within those that were put, or that are being put, was not to be had. */
	if (!r || r->kept || (r->window && compare(&at, &r->end) <= 0))
		return;
	if (r->reads++ == 0)
		r->first = at;
	if (r->reads >= r->reads_needed || r->window)
		start(m, r, n->parent, &at, r->window ? 2 * r->window : WINDOW_FIRST);
}
