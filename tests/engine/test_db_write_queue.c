/*
 * The writers' queue: which of those that wait go into one group, that nobody writes behind a failed sync
 * though they were let into the queue before it, and that what several threads were told to be durable is
 * there after a power cut.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/db/db_impl.h"
#include "tests/support/db_world.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

/* The number that a key holds; 0: it is not there. */
static uint32_t number_at(struct wombat *db, const char *key)
{
	struct wombat_record r;
	uint32_t n;
	enum wombat_status s = wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r);
	if (s == WOMBAT_NOT_FOUND)
		return 0;
	assert_ok(s);
	assert_true(r.value.size >= sizeof n);
	memcpy(&n, r.value.data, sizeof n);
	wombat_record_release(&r);
	return n;
}

/* ---- Groups -------------------------------------------------------------------------------- */

enum { NUMBER = 7, LARGE = (1 << 20) + 1 }; /* as large as no group is, so that nobody joins it */

struct queued {
	struct wombat *db;
	char key[16];
	unsigned flags;
	bool large;
	enum wombat_status status;
	char sentence[256];
	uint64_t sequence;
	pthread_t thread;
};

static void *write_queued(void *arg)
{
	struct queued *q = arg;
	static const uint8_t value[LARGE] = { NUMBER };
	struct wombat_batch *b = wombat_batch_new();
	size_t size = q->large ? sizeof value : sizeof(uint32_t);
	q->status = wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR(q->key), WOMBAT_SLICE(value, size), NULL);
	if (q->status == WOMBAT_OK)
		q->status = wombat_write(q->db, b, q->flags, &q->sequence);
	snprintf(q->sentence, sizeof q->sentence, "%s", wombat_last_error());
	wombat_batch_free(b);
	return NULL;
}

static unsigned queue_length(struct wombat *db)
{
	unsigned n = 0;
	mutex_lock(&db->write_mu);
	for (struct write_request *r = db->queue_head; r; r = r->next)
		n++;
	mutex_unlock(&db->write_mu);
	return n;
}

/* Lets the first, a durable one, wait in its sync, and queues the others behind it one by one. */
static void queue_up(struct db_world *w, struct queued *q, unsigned count)
{
	char segment[32];
	uint64_t number;
	assert_true(db_world_files(w, FILE_WAL, &number) > 0);
	filename_make(segment, FILE_WAL, number); /* the others are spare ones, being made by another thread */
	db_world_hold(w, "segment_sync", segment);
	for (unsigned i = 0; i < count; i++) {
		q[i].db = w->db;
		snprintf(q[i].key, sizeof q[i].key, "q%u", i);
		assert_int_equal(pthread_create(&q[i].thread, NULL, write_queued, &q[i]), 0);
		if (i == 0)
			db_world_await_held(w);
		while (queue_length(w->db) < i)
			sched_yield();
	}
	assert_int_equal(number_at(w->db, "q0"), 0); /* not durable: not visible */
}

static void join_all(struct queued *q, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pthread_join(q[i].thread, NULL), 0);
}

/* One that is not to be durable does not wait for the disk on behalf of one behind it. */
static void test_groups_by_durability(void **state)
{
	(void)state;
	struct db_world w;
	struct queued q[5] = { [0].flags = WOMBAT_SYNC, [3].flags = WOMBAT_SYNC };
	db_world_init(&w, NULL);
	double groups = db_world_stat(&w, "write_groups_total"), syncs = db_world_stat(&w, "wal.syncs_total");
	queue_up(&w, q, 5); /* (0) (1 2) (3 4) */
	db_world_let_go(&w);
	join_all(q, 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_ok(q[i].status);
		assert_int_equal(q[i].sequence, q[0].sequence + i);
		assert_int_equal(number_at(w.db, q[i].key), NUMBER);
	}
	assert_true(db_world_stat(&w, "write_groups_total") - groups == 3);
	assert_true(db_world_stat(&w, "wal.syncs_total") - syncs == 2);
	db_world_done(&w);
}

/* After a sync that failed nobody writes, nor do those who were in the queue already: what they append
 * would follow numbers that the log has and nobody sees, so that it were acknowledged and lost at the next
 * open. */
static void test_nobody_writes_behind_a_failed_sync(void **state)
{
	(void)state;
	struct db_world w;
	const char *const settings[] = { "wal_file_size", "4M", NULL }; /* no other segment is needed */
	struct queued q[5] = {
		[0].flags = WOMBAT_SYNC, [1].flags = WOMBAT_SYNC, [1].large = true, [3].flags = WOMBAT_SYNC,
	};
	db_world_init(&w, settings);
	queue_up(&w, q, 5); /* (0) (1) (2) (3 4) */
	db_world_fail(&w, "segment_sync", "", 0, WOMBAT_IO); /* the first one's succeeds, the next does not */
	join_all(q, 5);
	assert_true(db_world_let_go(&w) > 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(q[i].status, i == 0 ? WOMBAT_OK : i == 1 ? WOMBAT_IO : WOMBAT_READ_ONLY);
		assert_true(i == 0 || strstr(q[i].sentence, "segment_sync")); /* the first cause */
		assert_int_equal(number_at(w.db, q[i].key), i == 0 ? NUMBER : 0);
	}
	assert_true(db_world_stat(&w, "errors.io_total") == 1);
	assert_status(wombat_close(w.db), WOMBAT_IO);
	db_world_open(&w);
	for (unsigned i = 0; i < 5; i++)
		assert_true(i == 1 || number_at(w.db, q[i].key) == (i == 0 ? NUMBER : 0));
	db_world_put(&w, "after", "value");
	db_world_done(&w);
}

/* ---- Durable writes of several threads ----------------------------------------------------- */

enum { THREADS = 4, PUTS = 60, CLONES = 40 };

struct clone {
	struct env *env;
	uint32_t acknowledged[THREADS];
};

struct durable {
	struct db_world w;
	atomic_uint acknowledged[THREADS];
	pthread_mutex_t mu;
	struct clone clones[CLONES];
	unsigned count, syncs;
	atomic_uint next_thread, failures;
};

/* What was acknowledged before a cut must be behind it: the counts are read first. */
static void cut_power(void *arg, const char *path)
{
	struct durable *d = arg;
	(void)path;
	pthread_mutex_lock(&d->mu);
	struct clone *c = &d->clones[d->count];
	if (d->count < CLONES && d->syncs++ % 3 == 0) {
		for (unsigned i = 0; i < THREADS; i++)
			c->acknowledged[i] = atomic_load(&d->acknowledged[i]);
		if (env_mem_clone(d->w.env, ENV_MEM_SYNCED_ONLY, d->count, &c->env) == WOMBAT_OK)
			d->count++;
	}
	pthread_mutex_unlock(&d->mu);
}

static void *write_durable(void *arg)
{
	struct durable *d = arg;
	unsigned thread = atomic_fetch_add(&d->next_thread, 1);
	for (uint32_t n = 1; n <= PUTS; n++) {
		char key[24];
		snprintf(key, sizeof key, "t%u/%u", thread, n);
		struct wombat_slice value = WOMBAT_SLICE(&n, sizeof n);
		if (wombat_put(d->w.db, WOMBAT_USER, WOMBAT_STR(key), value) != WOMBAT_OK)
			atomic_fetch_add(&d->failures, 1);
		atomic_store(&d->acknowledged[thread], n);
		if (n % 25 == 0 && wombat_flush(d->w.db) != WOMBAT_OK)
			atomic_fetch_add(&d->failures, 1);
	}
	return NULL;
}

static void check_clone(const struct clone *c, const struct wombat_options *options)
{
	struct wombat *db;
	char key[24];
	assert_ok(db_open_env(c->env, DB_WORLD_DIR, options, 0, &db));
	for (unsigned thread = 0; thread < THREADS; thread++) {
		bool there = true;
		for (uint32_t n = 1; n <= PUTS; n++) {
			snprintf(key, sizeof key, "t%u/%u", thread, n);
			bool was = there;
			there = number_at(db, key) == n;
			assert_true(there || n > c->acknowledged[thread]);
			assert_true(was || !there); /* nothing without what came before it */
		}
	}
	assert_ok(wombat_close(db));
}

static void test_durable_writes_of_threads(void **state)
{
	(void)state;
	static struct durable d; /* large */
	pthread_t threads[THREADS];
	const char *const settings[] = { "sync_writes", "true", NULL };
	d = (struct durable){ .count = 0 };
	pthread_mutex_init(&d.mu, NULL);
	db_world_init(&d.w, settings);
	env_mem_on_sync(d.w.env, cut_power, &d);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_durable, &d), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	env_mem_on_sync(d.w.env, NULL, NULL);
	assert_int_equal(atomic_load(&d.failures), 0);
	assert_true(d.count > 10);
	for (unsigned i = 0; i < d.count; i++) {
		check_clone(&d.clones[i], d.w.options);
		d.clones[i].env->calls->free(d.clones[i].env);
	}
	db_world_done(&d.w);
	pthread_mutex_destroy(&d.mu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups_by_durability),
		cmocka_unit_test(test_nobody_writes_behind_a_failed_sync),
		cmocka_unit_test(test_durable_writes_of_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
