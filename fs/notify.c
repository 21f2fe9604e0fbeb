/* A queue of what the kernel is to be told, and the thread that does. See notify.h. */
#define FUSE_USE_VERSION 314

#include "fs/notify.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct notice {
	struct notice *next;
	void (*call)(void *arg, bool dropped); /* NULL: the kernel is told */
	void *arg;
	uint64_t node;
	size_t name_len; /* 0: of the inode itself */
	char name[];
};

struct notifier {
	struct fuse_session *session; /* fixed */
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t changed;
	struct notice *first, **end;  /* guarded by mu */
	uint64_t queued, told;        /* likewise: how many so far */
	pthread_cond_t was_told;      /* on it */
	bool stopping;                /* guarded by mu */
};

/* The start of the thread: there is one notifier in a mount. */
static pthread_mutex_t start_mu = PTHREAD_MUTEX_INITIALIZER;

/* What the kernel does not know, it need not forget: no failure is one. */
static void tell(struct notifier *n, const struct notice *what)
{
	if (what->call)
		what->call(what->arg, false);
	else if (what->name_len)
		fuse_lowlevel_notify_inval_entry(n->session, what->node, what->name, what->name_len);
	else
		fuse_lowlevel_notify_inval_inode(n->session, what->node, 0, 0);
}

static struct notice *take(struct notifier *n)
{
	pthread_mutex_lock(&n->mu);
	while (!n->first && !n->stopping)
		pthread_cond_wait(&n->changed, &n->mu);
	struct notice *what = n->stopping ? NULL : n->first;
	if (what) {
		n->first = what->next;
		if (!n->first)
			n->end = &n->first;
	}
	pthread_mutex_unlock(&n->mu);
	return what;
}

static void *notifier_main(void *arg)
{
	struct notifier *n = arg;
	for (struct notice *what; (what = take(n)) != NULL; free(what)) {
		tell(n, what);
		pthread_mutex_lock(&n->mu);
		n->told++;
		pthread_cond_broadcast(&n->was_told);
		pthread_mutex_unlock(&n->mu);
	}
	return NULL;
}

static struct notifier *notifier_new(struct fuse_session *session)
{
	struct notifier *n = calloc(1, sizeof *n);
	if (!n)
		return NULL;
	n->session = session;
	n->end = &n->first;
	pthread_mutex_init(&n->mu, NULL);
	pthread_cond_init(&n->changed, NULL);
	pthread_cond_init(&n->was_told, NULL);
	if (pthread_create(&n->thread, NULL, notifier_main, n) == 0)
		return n;
	pthread_cond_destroy(&n->was_told);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->mu);
	free(n);
	return NULL;
}

/* NULL: there is no kernel to tell, or no memory or thread to do it with, and it stays as it is. */
static struct notifier *started(struct mount *m, struct notifier **place)
{
	if (!m->session)
		return NULL;
	pthread_mutex_lock(&start_mu);
	if (!*place)
		*place = notifier_new(m->session);
	struct notifier *n = *place;
	pthread_mutex_unlock(&start_mu);
	return n;
}

static void queue(struct notifier *n, struct notice *what)
{
	pthread_mutex_lock(&n->mu);
	*n->end = what;
	n->end = &what->next;
	n->queued++;
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->mu);
}

static void add(struct mount *m, uint64_t node, const char *name, size_t len)
{
	m = mount_outer(m);
	struct notifier *n = started(m, &m->notifier);
	struct notice *what = n ? calloc(1, sizeof *what + len + 1) : NULL;
	if (!what)
		return;
	what->node = node;
	what->name_len = len;
	if (len)
		memcpy(what->name, name, len);
	queue(n, what);
}

bool notify_call(struct mount *m, void (*call)(void *arg, bool dropped), void *arg)
{
	m = mount_outer(m);
	struct notifier *n = started(m, &m->caller);
	struct notice *what = n ? calloc(1, sizeof *what) : NULL;
	if (!what)
		return false;
	what->call = call;
	what->arg = arg;
	queue(n, what);
	return true;
}

bool notify_store(struct mount *m, uint64_t inode, const void *data, size_t size)
{
	struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(size);
	bytes.buf[0].mem = (void *)(uintptr_t)data;
	return m->session && fuse_lowlevel_notify_store(m->session, inode, 0, &bytes, 0) == 0;
}

void notify_name(struct mount *m, uint64_t directory, const char *name, size_t len)
{
	add(m, directory, name, len);
}

void notify_inode(struct mount *m, uint64_t inode)
{
	add(m, inode, NULL, 0);
}

void notify_wait(struct mount *m)
{
	m = mount_outer(m);
	pthread_mutex_lock(&start_mu);
	struct notifier *n = m->notifier;
	pthread_mutex_unlock(&start_mu);
	if (!n)
		return;
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	pthread_mutex_lock(&n->mu);
	uint64_t all = n->queued;
	while (n->told < all && pthread_cond_timedwait(&n->was_told, &n->mu, &until) == 0)
		;
	pthread_mutex_unlock(&n->mu);
}

static void stop(struct notifier *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&n->mu);
	n->stopping = true;
	pthread_cond_signal(&n->changed);
	pthread_mutex_unlock(&n->mu);
	pthread_join(n->thread, NULL);
	while (n->first) {
		struct notice *what = n->first;
		n->first = what->next;
		if (what->call)
			what->call(what->arg, true);
		free(what);
	}
	pthread_cond_destroy(&n->was_told);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->mu);
	free(n);
}

void notify_stop(struct mount *m)
{
	struct notifier *notifier = m->notifier, *caller = m->caller;
	m->notifier = m->caller = NULL;
	stop(notifier);
	stop(caller);
}
