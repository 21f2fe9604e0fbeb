/*
 * The threads that answer requests. See service.h.
 *
 * Roles. `wanted` threads at a time are readers, one at first; the others wait for a turn or are answering.
 *
 *     waiting --- a turn is free ---> reading <-----------------+
 *        ^                               | a request came       |
 *        |                               v                      | answered
 *        |                           answering, as reader ------+
 *        |                               | will take long: passes its turn on
 *        |                               v
 *        +---- no turn is free --- answering, without a turn
 *
 * What will take long is known in three ways: a sync always may, an operation says so itself (service_may_block),
 * and for the rest the past tells, by opcode. A slow request makes its opcode suspect. Of a suspect it is seen, by
 * the kernel's count of voluntary switches, whether the thread slept (waited for the disk, say) or was only set
 * aside by the scheduler, as it often is right after it woke its client. The running mean of the time slept through
 * is what the next one is expected to take, and above SLOW_NS the turn is passed on; that costs a wake-up, some
 * microseconds. Opcodes that are not suspect pay for none of this.
 *
 * More readers. Clients work in parallel when their requests come mixed (A, B, A: one that waits for its answers
 * cannot produce that with another that runs after it) and some are waiting already when the reader comes back;
 * that alone says little, as a client often runs before the thread that has just woken it. Both are looked at now
 * and then. If it is so time after time a further reader is let in, up to one for two processors; a reader that
 * long finds it otherwise leaves again, because taking turns among idle readers doubles the cost of a request.
 *
 * Nothing spins: a thread reads, answers, or sleeps on a condition variable. The common path takes no lock.
 *
 * Requests are read with read(2) into a buffer that each thread has for good. libfuse would splice them through
 * a pipe, which costs more than copying for all but the largest.
 */
#define FUSE_USE_VERSION 314

#include "fs/service.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "fs/accesslog.h"
#include "fs/log.h"

enum {
	PAGE = 4096,
	BUFFER_SIZE = (1 << 20) + PAGE, /* the largest write, and room for the headers before it */
	OPCODE_SLOTS = 64,
	SLOW_NS = 100000,
	OUTLIER_NS = 1000000, /* what one request counts as at most */
	SUSPECT_RUN = 16,     /* requests without sleep after which an opcode is not suspect any more */
	LOOK_EVERY = 16,      /* requests, on average, between looks at the queue */
	MIXED = 2,            /* requests since the last look that went back to the client before */
	BUSY_RUN = 8,         /* looks in a row that found clients working in parallel: one reader more */
	QUIET_RUN = 16,       /* looks in a row that did not: one fewer */
	STOP_SIGNAL = SIGUSR1,
};

struct worker {
	struct service *service;
	struct worker *next;
	pthread_t thread;
	void *buffer;
	bool has_turn;
	bool was_told;       /* by the operation itself that it may block */
	/* What it sees of the load. */
	unsigned until_look, busy_run, quiet_run, mixed;
	uint32_t random, client, client_before;
};

/* What the past tells of an opcode. Relaxed: a guess; two threads that learn at once may lose a lesson. */
struct habit {
	atomic_uint_fast32_t expected_ns;
	atomic_uint suspect; /* counts down; 0: nothing is expected and nothing watched */
};

struct service {
	/* Fixed once made. */
	struct mount *m;
	struct fuse_session *session;
	int fuse_fd, event_fd;
	unsigned max_threads, max_readers;
	struct worker single; /* of service_serve_one */

	pthread_mutex_t mu;
	pthread_cond_t turn_or_stop;
	pthread_cond_t thread_left;
	/* Guarded by mu. */
	struct worker *workers;
	unsigned thread_count, waiting, readers, wanted, running;

	struct habit habits[OPCODE_SLOTS];

	/* Relaxed: each is a flag that nothing else is ordered by; the event that follows orders it for the one who
	 * waits for it. */
	atomic_bool stopping, live, ended, watch_staged;
	atomic_int error;
};

static _Thread_local struct worker *current_worker;
static _Thread_local const void *current_request;
static _Thread_local int current_error; /* that it was answered with */

static uint64_t monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void announce(struct service *s)
{
	uint64_t one = 1;
	/* It fails only when the counter is full, and then the reader is woken anyway. */
	ssize_t written = write(s->event_fd, &one, sizeof(one));
	(void)written;
}

static bool is_set(const atomic_bool *flag)
{
	return atomic_load_explicit((atomic_bool *)flag, memory_order_relaxed);
}

static void set(atomic_bool *flag, bool value)
{
	atomic_store_explicit(flag, value, memory_order_relaxed);
}

/* ---- Turns ---- */

static void *worker_main(void *arg);

static struct worker *worker_new(struct service *s)
{
	struct worker *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->service = s;
	w->buffer = aligned_alloc(PAGE, BUFFER_SIZE);
	if (!w->buffer) {
		free(w);
		return NULL;
	}
	return w;
}

static void worker_free(struct worker *w)
{
	if (!w)
		return;
	free(w->buffer);
	free(w);
}

static int start_thread_locked(struct service *s)
{
	struct worker *w = worker_new(s);
	if (!w)
		return ENOMEM;
	int error = pthread_create(&w->thread, NULL, worker_main, w);
	if (error) {
		worker_free(w);
		return error;
	}
	w->next = s->workers;
	s->workers = w;
	s->thread_count++;
	s->running++;
	return 0;
}

/* A turn is free: somebody who waits takes it, or a new thread. False: there is nobody. */
static bool offer_turn_locked(struct service *s)
{
	if (s->waiting > 0) {
		pthread_cond_signal(&s->turn_or_stop);
		return true;
	}
	return s->thread_count < s->max_threads && start_thread_locked(s) == 0;
}

static void pass_turn_on(struct worker *w)
{
	struct service *s = w->service;
	pthread_mutex_lock(&s->mu);
	s->readers--;
	w->has_turn = false;
	/* With nobody to take it the turn is kept: requests wait until this one is answered. */
	if (!offer_turn_locked(s)) {
		s->readers++;
		w->has_turn = true;
	}
	pthread_mutex_unlock(&s->mu);
}

const void *service_request(void)
{
	return current_request;
}

void service_note_reply(int error)
{
	current_error = error;
}

void service_may_block(void)
{
	struct worker *w = current_worker;
	if (!w)
		return;
	w->was_told = true;
	if (w->has_turn)
		pass_turn_on(w);
}

/* Waits for a turn. False: it is time to leave. */
static bool take_turn(struct worker *w)
{
	struct service *s = w->service;
	pthread_mutex_lock(&s->mu);
	while (!is_set(&s->stopping) && s->readers >= s->wanted) {
		s->waiting++;
		pthread_cond_wait(&s->turn_or_stop, &s->mu);
		s->waiting--;
	}
	bool go = !is_set(&s->stopping);
	if (go) {
		s->readers++;
		w->has_turn = true;
		w->busy_run = w->quiet_run = 0;
	}
	pthread_mutex_unlock(&s->mu);
	return go;
}

static void admit_reader(struct service *s)
{
	pthread_mutex_lock(&s->mu);
	if (s->wanted < s->max_readers && s->readers == s->wanted) {
		s->wanted++;
		if (!offer_turn_locked(s))
			s->wanted--;
	}
	pthread_mutex_unlock(&s->mu);
}

static void retire_reader(struct worker *w)
{
	struct service *s = w->service;
	pthread_mutex_lock(&s->mu);
	if (s->wanted > 1 && s->readers == s->wanted) {
		s->wanted--;
		s->readers--;
		w->has_turn = false;
	}
	pthread_mutex_unlock(&s->mu);
}

/* Not at regular distances: clients repeat the same few requests, and these would always meet the same one. */
static bool is_time_to_look(struct worker *w)
{
	if (w->until_look-- > 0)
		return false;
	w->random = w->random * 1664525u + 1013904223u;
	w->until_look = LOOK_EVERY / 2 + (w->random >> 16) % LOOK_EVERY;
	return true;
}

/* Thread 0 is the kernel's own. */
static void note_client(struct worker *w, uint32_t client)
{
	if (client == w->client || client == 0)
		return;
	if (client == w->client_before)
		w->mixed++;
	w->client_before = w->client;
	w->client = client;
}

static bool is_request_waiting(const struct service *s)
{
	struct pollfd p = { .fd = s->fuse_fd, .events = POLLIN };
	return poll(&p, 1, 0) > 0;
}

/* Lets a reader in or leaves, by how it has been of late. */
static void weigh_load(struct worker *w)
{
	bool busy = w->mixed >= MIXED && is_request_waiting(w->service);
	w->mixed = 0;
	w->busy_run = busy ? w->busy_run + 1 : 0;
	w->quiet_run = busy ? 0 : w->quiet_run + 1;
	if (w->busy_run == BUSY_RUN) {
		w->busy_run = 0;
		admit_reader(w->service);
	} else if (w->quiet_run == QUIET_RUN) {
		w->quiet_run = 0;
		retire_reader(w);
	}
}

/* ---- Requests ---- */

static bool always_may_block(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_SYNCFS:
		return true;
	}
	return false;
}

static bool is_expected_to_block(struct habit *h)
{
	return atomic_load_explicit(&h->expected_ns, memory_order_relaxed) > SLOW_NS;
}

static bool is_suspect(struct habit *h)
{
	return atomic_load_explicit(&h->suspect, memory_order_relaxed) > 0;
}

static void suspect(struct habit *h)
{
	atomic_store_explicit(&h->suspect, SUSPECT_RUN, memory_order_relaxed);
}

/* Times that this thread gave up its processor to wait for something. */
static long count_sleeps(void)
{
	struct rusage usage;
	return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

/* Of a suspect: what a request took that slept, or did not. */
static void learn(struct habit *h, bool slept, uint64_t took_ns)
{
	uint_fast32_t expected = atomic_load_explicit(&h->expected_ns, memory_order_relaxed);
	uint_fast32_t counted = !slept ? 0 : took_ns < OUTLIER_NS ? (uint_fast32_t)took_ns : OUTLIER_NS;
	unsigned left = atomic_load_explicit(&h->suspect, memory_order_relaxed);
	if (slept && took_ns > SLOW_NS)
		left = SUSPECT_RUN;
	else if (left > 0)
		left--;
	expected = left > 0 ? expected - expected / 8 + counted / 8 : 0;
	atomic_store_explicit(&h->expected_ns, expected, memory_order_relaxed);
	atomic_store_explicit(&h->suspect, left, memory_order_relaxed);
}

static void end(struct service *s, int error)
{
	atomic_store_explicit(&s->error, error, memory_order_relaxed);
	pthread_mutex_lock(&s->mu);
	set(&s->ended, true);
	set(&s->stopping, true);
	pthread_cond_broadcast(&s->turn_or_stop);
	pthread_mutex_unlock(&s->mu);
	announce(s);
}

/*
 * What a read's last error says of the end, 0: it was unmounted. A request that is on its way when the last user of an unmounted
 * tree goes is aborted as by an abort; a read after all is down tells the two apart.
 */
static int why_ended(struct worker *w, int error)
{
	struct pollfd down = { .fd = w->service->fuse_fd };
	if (error == ECONNABORTED && poll(&down, 1, 1000) == 1 && read(w->service->fuse_fd, w->buffer, BUFFER_SIZE) < 0)
		error = errno;
	return error == ENODEV ? 0 : error;
}

/* A request of that many bytes, 0: none came. */
static size_t receive(struct worker *w)
{
	struct service *s = w->service;
	ssize_t got = read(s->fuse_fd, w->buffer, BUFFER_SIZE);
	if (got > (ssize_t)sizeof(struct fuse_in_header))
		return (size_t)got;
	if (got >= 0) {
		if (got < (ssize_t)sizeof(struct fuse_in_header))
			end(s, EIO);
		return (size_t)got;
	}
	/* ENOENT: the request was taken back before it was read. */
	if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
		end(s, why_ended(w, errno));
	return 0;
}

/* Has libfuse decode the request, call the operation and so reply; learns from it. */
static void process(struct worker *w, size_t size, struct habit *h)
{
	struct fuse_buf buf = { .size = size, .mem = w->buffer };
	struct access access;
	bool is_logged = accesslog_is_read(w->service->m) && accesslog_begin(w->service->m, w->buffer, size, &access);
	bool watched = is_suspect(h);
	long sleeps = watched ? count_sleeps() : 0;
	uint64_t begin = monotonic_ns();
	w->was_told = false;

	current_request = w->buffer;
	current_error = 0;
	fuse_session_process_buf(w->service->session, &buf);
	current_request = NULL;

	uint64_t took = monotonic_ns() - begin;
	if (is_logged)
		accesslog_end(w->service->m, &access, current_error, took);
	/* An operation that says so itself, one in many of its kind, tells nothing about the others. */
	if (w->was_told)
		return;
	if (watched)
		learn(h, count_sleeps() != sleeps, took);
	else if (took > SLOW_NS)
		suspect(h);
}

static void answer(struct worker *w, size_t size)
{
	struct service *s = w->service;
	const struct fuse_in_header *in = w->buffer;
	uint32_t opcode = in->opcode; /* the buffer is libfuse's from here on */
	struct habit *h = &s->habits[opcode % OPCODE_SLOTS];
	note_client(w, in->pid);
	if (w->has_turn && (always_may_block(opcode) || is_expected_to_block(h)))
		pass_turn_on(w);
	process(w, size, h);
	if (opcode == FUSE_INIT) {
		set(&s->live, true);
		announce(s);
	}
	if (fuse_session_exited(s->session))
		end(s, 0);
	if (is_set(&s->watch_staged) &&
		atomic_load_explicit(&s->m->counts.staged_files, memory_order_relaxed) > 0 &&
		atomic_exchange_explicit(&s->watch_staged, false, memory_order_relaxed))
		announce(s);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct service *s = w->service;
	sigset_t stop;
	sigemptyset(&stop);
	sigaddset(&stop, STOP_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
	current_worker = w;
	while (take_turn(w)) {
		while (w->has_turn && !is_set(&s->stopping)) {
			size_t size = receive(w);
			if (size > 0)
				answer(w, size);
			if (w->has_turn && service_is_live(s) && is_time_to_look(w))
				weigh_load(w);
		}
		if (w->has_turn) {
			pthread_mutex_lock(&s->mu);
			s->readers--;
			w->has_turn = false;
			pthread_mutex_unlock(&s->mu);
		}
	}
	pthread_mutex_lock(&s->mu);
	s->running--;
	pthread_cond_signal(&s->thread_left);
	pthread_mutex_unlock(&s->mu);
	return NULL;
}

/* ---- Life ---- */

static void ignore_signal(int number)
{
	(void)number;
}

struct service *service_new(struct mount *m, int event_fd)
{
	struct service *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->m = m;
	s->session = m->session;
	s->fuse_fd = fuse_session_fd(m->session);
	s->event_fd = event_fd;
	s->max_threads = m->options.max_threads;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	/* The clients that give them work need processors as well. */
	s->max_readers = processors < 4 ? 1 : (unsigned)processors / 2;
	if (s->max_readers > s->max_threads)
		s->max_readers = s->max_threads;
	s->wanted = 1;
	pthread_mutex_init(&s->mu, NULL);
	pthread_cond_init(&s->turn_or_stop, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->thread_left, &attr);
	pthread_condattr_destroy(&attr);

	s->single.service = s;
	s->single.buffer = aligned_alloc(PAGE, BUFFER_SIZE);
	if (!s->single.buffer) {
		service_free(s);
		return NULL;
	}
	return s;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	while (s->workers) {
		struct worker *w = s->workers;
		s->workers = w->next;
		worker_free(w);
	}
	free(s->single.buffer);
	pthread_cond_destroy(&s->thread_left);
	pthread_cond_destroy(&s->turn_or_stop);
	pthread_mutex_destroy(&s->mu);
	free(s);
}

int service_start(struct service *s)
{
	/* The handler does nothing but exist, without SA_RESTART: it makes a blocked read return. */
	struct sigaction action = { .sa_handler = ignore_signal };
	sigaction(STOP_SIGNAL, &action, NULL);
	pthread_mutex_lock(&s->mu);
	int error = start_thread_locked(s);
	pthread_mutex_unlock(&s->mu);
	return error;
}

void service_serve_one(struct service *s)
{
	size_t size = receive(&s->single);
	if (size > 0)
		answer(&s->single, size);
}

void service_stop(struct service *s)
{
	pthread_mutex_lock(&s->mu);
	set(&s->stopping, true);
	pthread_cond_broadcast(&s->turn_or_stop);
	/* A signal that comes just before a read does not end it, so they are sent until all have left. */
	while (s->running > 0) {
		for (struct worker *w = s->workers; w; w = w->next)
			pthread_kill(w->thread, STOP_SIGNAL);
		struct timespec soon;
		clock_gettime(CLOCK_MONOTONIC, &soon);
		soon.tv_nsec += 10000000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_nsec -= 1000000000;
			soon.tv_sec++;
		}
		pthread_cond_timedwait(&s->thread_left, &s->mu, &soon);
	}
	pthread_mutex_unlock(&s->mu);
	for (struct worker *w = s->workers; w; w = w->next)
		pthread_join(w->thread, NULL);
}

bool service_is_live(const struct service *s)
{
	return is_set(&s->live);
}

bool service_has_ended(const struct service *s, int *out_error)
{
	if (!is_set(&s->ended))
		return false;
	*out_error = atomic_load_explicit((atomic_int *)&s->error, memory_order_relaxed);
	return true;
}

void service_watch_staged(struct service *s)
{
	set(&s->watch_staged, true);
}
