/* The heap of nodes that expire, and the thread that waits for the first. See expiry.h. */
#include "fs/expiry.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "fs/namei.h"
#include "fs/notify.h"

enum {
	TAKEN_AT_ONCE = 64, /* names, before others get the lock */
};

struct expiry {
	struct node **heap; /* from 1 on: the parent of i is i / 2 */
	size_t count, capacity;
	pthread_cond_t sooner; /* the first is another one, or it is to stop */
	pthread_t thread;
	bool started, stopping;
};

/* ---- The heap ------------------------------------------------------------------------------ */

static void place(struct expiry *e, struct node *n, size_t slot)
{
	e->heap[slot] = n;
	n->expiry_slot = slot;
}

static void sift(struct expiry *e, struct node *n, size_t slot)
{
	while (slot > 1 && e->heap[slot / 2]->attr.expiry_ns > n->attr.expiry_ns) {
		place(e, e->heap[slot / 2], slot);
		slot /= 2;
	}
	for (size_t child; (child = 2 * slot) <= e->count; slot = child) {
		child += child < e->count && e->heap[child + 1]->attr.expiry_ns < e->heap[child]->attr.expiry_ns;
		if (e->heap[child]->attr.expiry_ns >= n->attr.expiry_ns)
			break;
		place(e, e->heap[child], slot);
	}
	place(e, n, slot);
}

static bool reserve(struct expiry *e)
{
	if (e->count + 1 < e->capacity)
		return true;
	size_t capacity = 2 * e->capacity + 16;
	struct node **moved = realloc(e->heap, capacity * sizeof *moved);
	if (!moved)
		return false;
	e->heap = moved;
	e->capacity = capacity;
	return true;
}

void expiry_forget(struct mount *m, struct node *n)
{
	struct expiry *e = m->nodes->expiry;
	size_t slot = n->expiry_slot;
	if (!slot)
		return;
	struct node *last = e->heap[e->count--];
	n->expiry_slot = 0;
	if (last != n)
		sift(e, last, slot);
}

/* ---- Single nodes -------------------------------------------------------------------------- */

bool expiry_is_due(const struct node *n)
{
	return n->attr.expiry_ns && n->attr.expiry_ns <= (uint64_t)attr_now_ns();
}

double expiry_timeout(const struct node *n, double forever)
{
	if (!n->attr.expiry_ns)
		return forever;
	int64_t left = (int64_t)n->attr.expiry_ns - attr_now_ns();
	double seconds = left > 0 ? (double)left / 1e9 : 0;
	return seconds < forever ? seconds : forever;
}

void expiry_take(struct mount *m, struct node *n)
{
	if (n->ino_recorded && !m->fixed) {
		/* The number is free again. Should that fail, it stays taken: nothing worse. */
		struct namei_batch b = { 0 };
		if (namei_free_ino(&b, n->attr.ino) == 0)
			(void)namei_commit(m, &b);
		namei_batch_done(&b);
	}
	namei_vanish(m, n);
}

/* ---- The thread ---------------------------------------------------------------------------- */

/* Takes what is due, but not so many that others wait long for the lock. */
static unsigned take_due(struct mount *m, struct expiry *e)
{
	unsigned count = 0;
	for (; e->count && count < TAKEN_AT_ONCE && expiry_is_due(e->heap[1]); count++) {
		struct node *n = e->heap[1];
		if (n->parent)
			notify_name(m, node_id(m, n->parent), n->name, n->name_len);
		for (const struct node *a = n->aliases; a; a = a->alias_next)
			notify_name(m, node_id(m, a->parent), a->name, a->name_len);
		expiry_take(m, n);
	}
	return count;
}

static void wait_for_first(struct mount *m, struct expiry *e)
{
	if (!e->count) {
		pthread_cond_wait(&e->sooner, &m->nodes->mu);
		mount_may_change(m);
		return;
	}
	uint64_t at = e->heap[1]->attr.expiry_ns;
	struct timespec until = { .tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u) };
	pthread_cond_timedwait(&e->sooner, &m->nodes->mu, &until);
	mount_may_change(m);
}

static void *run(void *arg)
{
	struct mount *m = arg;
	struct expiry *e = m->nodes->expiry;
	mount_lock(m);
	while (!e->stopping) {
		if (!take_due(m, e)) {
			wait_for_first(m, e);
			continue;
		}
		mount_unlock(m);
		sched_yield();
		mount_lock(m);
	}
	mount_unlock(m);
	return NULL;
}

void expiry_watch(struct mount *m, struct node *n)
{
	struct expiry *e = m->nodes->expiry;
	expiry_forget(m, n);
	if (!n->attr.expiry_ns || n->unlinked || node_is_dir(n))
		return;
	if (!reserve(e))
		return; /* It is found expired when somebody asks. */
	sift(e, n, ++e->count);
	if (m->session && !e->started && !e->stopping)
		e->started = pthread_create(&e->thread, NULL, run, m) == 0;
	else if (e->heap[1] == n)
		pthread_cond_signal(&e->sooner);
}

int expiry_init(struct mount *m)
{
	struct expiry *e = calloc(1, sizeof *e);
	if (!e)
		return ENOMEM;
	pthread_cond_init(&e->sooner, NULL);
	m->nodes->expiry = e;
	return 0;
}

void expiry_stop(struct mount *m)
{
	struct expiry *e = m->nodes->expiry;
	mount_lock(m);
	bool started = e->started;
	e->started = false;
	e->stopping = true;
	pthread_cond_signal(&e->sooner);
	mount_unlock(m);
	if (started)
		pthread_join(e->thread, NULL);
}

void expiry_done(struct mount *m)
{
	struct expiry *e = m->nodes->expiry;
	if (!e)
		return;
	m->nodes->expiry = NULL;
	free(e->heap);
	pthread_cond_destroy(&e->sooner);
	free(e);
}
