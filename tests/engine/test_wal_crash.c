/*
 * The write-ahead log through crashes, failures and threads: what was synced stays, and of the rest a beginning.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/env/env_mem.h"
#include "engine/wal/wal_format.h"
#include "engine/wal/wal_segment.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"
#include "tests/support/wal_log.h"

enum { SEGMENT = 16384 };

static struct env *new_env(void)
{
	struct env *env;
	assert_ok(env_mem_new(&env));
	assert_ok(env->calls->dir_create(env, "db"));
	assert_ok(env->calls->dir_sync(env, "."));
	return env;
}

/* ---- Crashes ------------------------------------------------------------------------------- */

/* How large records are: of all sizes, or all of one size, so that those of different generations stand at the same
 * places, and fill sectors exactly. */
static uint32_t record_size(struct random_state *r, unsigned shape)
{
	switch (shape) {
	case 0:
		return 512 - WAL_RECORD_HEADER_SIZE - WAL_PAYLOAD_HEADER_SIZE;
	case 1:
		return 100;
	default:
		return random_below(r, 200) == 0 ? 2 * SEGMENT : 9 + (uint32_t)random_below(r, random_below(r, 8) ? 300 : 6000);
	}
}

static void random_step(struct wal_log *l, struct random_state *r, unsigned shape)
{
	switch (random_below(r, 40)) {
	case 0:
	case 1:
		assert_ok(log_sync(l));
		break;
	case 2:
		if (random_below(r, 6) == 0)
			log_flush(l);
		break;
	case 3:
		assert_ok(wal_writer_prepare(l->writer));
		break;
	case 4:
		if (random_below(r, 10) == 0)
			wal_writer_set_segment_bytes(l->writer, l->segment_bytes = SEGMENT << random_below(r, 2));
		break;
	default:
		assert_ok(log_append(l, 1 + (uint32_t)random_below(r, 3), record_size(r, shape)));
	}
}

/* After a power cut all that is found is on the disk. */
static void cut_power(struct wal_log *l, enum env_mem_crash crash, uint64_t seed)
{
	struct env *old = l->env, *found;
	assert_ok(env_mem_clone(old, crash, seed, &found));
	log_move(l, found);
	old->calls->free(old);
}

static void random_end(struct wal_log *l, struct random_state *r)
{
	bool all = true;
	switch (random_below(r, 5)) {
	case 0:
		assert_ok(wal_writer_close(l->writer, true));
		l->writer = NULL;
		l->durable = l->count;
		break;
	case 1:
		log_abandon(l);
		break;
	case 2:
		cut_power(l, ENV_MEM_SYNCED_ONLY, 0);
		all = false;
		break;
	default:
		cut_power(l, ENV_MEM_RANDOM, random_next(r));
		all = false;
	}
	assert_ok(log_open(l, all));
	if (!all)
		l->durable = l->count;
}

/* One lineage of a log through many sessions, each ending in its own way. */
static void test_many_crashes(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("many_crashes"));
	for (unsigned shape = 0; shape < 3; shape++)
		for (unsigned lineage = 0; lineage < test_steps(12); lineage++) {
			struct wal_log l;
			struct env *env = new_env();
			log_init(&l, env, "db", SEGMENT);
			l.spare_segments = (unsigned)random_below(&r, 4);
			assert_ok(log_open(&l, true));
			for (int session = 0; session < 25; session++) {
				for (uint64_t steps = random_below(&r, random_below(&r, 2) ? 10 : 200); steps > 0; steps--)
					random_step(&l, &r, shape);
				random_end(&l, &r);
			}
			env = l.env;
			log_done(&l);
			env->calls->free(env);
		}
}

/* ---- A power cut at each sync -------------------------------------------------------------- */

struct at_sync {
	struct wal_log *log;
	unsigned checked;
};

/* What was durable before the sync began is there, with whatever else. */
static void look_at_clones(void *arg, const char *path)
{
	struct at_sync *a = arg;
	(void)path;
	for (int i = 0; i < 3; i++) {
		struct wal_log view = *a->log;
		struct env *found;
		assert_ok(env_mem_clone(a->log->env, i ? ENV_MEM_RANDOM : ENV_MEM_SYNCED_ONLY, a->checked, &found));
		view.env = found;
		assert_ok(log_look(&view, false));
		found->calls->free(found);
		a->checked++;
	}
}

static void test_power_cut_at_each_sync(void **state)
{
	(void)state;
	struct random_state r;
	struct wal_log l;
	struct env *env = new_env();
	struct at_sync at = { &l, 0 };
	random_seed(&r, test_seed("power_cut_at_each_sync"));
	log_init(&l, env, "db", SEGMENT);
	env_mem_on_sync(env, look_at_clones, &at);
	for (int session = 0; session < 4; session++) {
		assert_ok(log_open(&l, true));
		for (unsigned i = 0; i < test_steps(150); i++)
			random_step(&l, &r, session < 3 ? (unsigned)session : 0);
		log_abandon(&l);
	}
	assert_true(at.checked > 30);
	env_mem_on_sync(env, NULL, NULL);
	log_done(&l);
	env->calls->free(env);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static unsigned calls_left;
static bool failing_for_good;

static enum wombat_status fail_nth(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	(void)path;
	if (calls_left > 0) {
		calls_left--;
		return WOMBAT_OK;
	}
	if (!failing_for_good)
		calls_left = UINT32_MAX;
	return WOMBAT_IO;
}

static _Bool allow_some(size_t size)
{
	(void)size;
	return calls_left > 0 && calls_left-- > 0;
}

/* A life of a log with all that touches files; ends at the first failure. */
static enum wombat_status live(struct wal_log *l)
{
	enum wombat_status s = log_open(l, false);
	for (int i = 0; i < 120 && s == WOMBAT_OK; i++) {
		s = log_append(l, 1, i == 60 ? 2 * SEGMENT : 400);
		if (s == WOMBAT_OK && i % 10 == 9)
			s = log_sync(l);
		if (s == WOMBAT_OK && i % 50 == 20)
			s = wal_writer_prepare(l->writer);
		if (s == WOMBAT_OK && i % 50 == 49)
			log_flush(l);
	}
	if (s == WOMBAT_OK) {
		struct wal_writer *w = l->writer;
		l->writer = NULL;
		s = wal_writer_close(w, true);
		if (s == WOMBAT_OK)
			l->durable = l->count;
	}
	log_abandon(l);
	return s;
}

/* A log that lived before, so that there is something to replay, to remove and to reuse. */
static struct env *lived_env(struct wal_log *l)
{
	struct env *env = new_env();
	log_init(l, env, "db", SEGMENT);
	assert_ok(live(l));
	assert_ok(log_open(l, true));
	for (int i = 0; i < 60; i++)
		assert_ok(log_append(l, 1, 468));
	log_abandon(l);
	/* Some of the unsynced records are lost: there is something to cut off. */
	struct env *copy;
	assert_ok(env_mem_clone(env, ENV_MEM_RANDOM, 5, &copy));
	env->calls->free(env);
	l->env = copy;
	return copy;
}

static void assert_all_there(struct wal_log *l)
{
	struct env *found;
	struct wal_log view = *l;
	for (int i = 0; i < 2; i++) {
		assert_ok(env_mem_clone(l->env, i ? ENV_MEM_SYNCED_ONLY : ENV_MEM_ALL, 0, &found));
		view = *l;
		view.env = found;
		assert_ok(log_look(&view, false));
		found->calls->free(found);
	}
	/* And it goes on. */
	assert_ok(log_open(l, false));
	assert_ok(log_append(l, 1, 100));
	assert_ok(log_sync(l));
	log_abandon(l);
	assert_ok(log_look(l, true));
}

static void test_nth_call_fails(void **state)
{
	(void)state;
	for (int for_good = 0; for_good < 2; for_good++) {
		enum wombat_status s = WOMBAT_IO;
		unsigned n;
		for (n = 0; s != WOMBAT_OK; n++) {
			struct wal_log l;
			struct env *env = lived_env(&l);
			calls_left = n;
			failing_for_good = for_good;
			env_mem_on_call(env, fail_nth, NULL);
			s = live(&l);
			env_mem_on_call(env, NULL, NULL);
			/* A removal that fails is made up for later: the only failure that may go unnoticed. */
			assert_true(s == WOMBAT_OK || s == WOMBAT_IO);
			if (s == WOMBAT_OK && calls_left > UINT32_MAX / 2)
				s = WOMBAT_IO;
			assert_all_there(&l);
			log_done(&l);
			env->calls->free(env);
		}
		assert_true(n > 30);
	}
}

static void test_nth_allocation_fails(void **state)
{
	(void)state;
	enum wombat_status s = WOMBAT_NO_MEMORY;
	unsigned n;
	for (n = 0; s != WOMBAT_OK; n++) {
		struct wal_log l;
		struct env *env = lived_env(&l);
		calls_left = n;
		mem_test_hook = allow_some;
		s = live(&l);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		assert_all_there(&l);
		log_done(&l);
		env->calls->free(env);
	}
	assert_true(n > 20);
}

static enum wombat_status fail_syncs(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return strcmp(op, "segment_sync") == 0 ? WOMBAT_IO : WOMBAT_OK;
}

/* What a failed sync left on the disk is unknown: it stays failed, with its sentence. */
static void test_failed_sync_stays(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	assert_ok(log_open(&l, true));
	assert_ok(log_append(&l, 1, 100));
	assert_ok(log_sync(&l));
	env_mem_on_call(env, fail_syncs, NULL);
	assert_ok(log_sync(&l)); /* Nothing to do. */
	assert_ok(log_append(&l, 1, 100));
	assert_status(log_sync(&l), WOMBAT_IO);
	assert_non_null(strstr(wombat_last_error(), "000001.wal"));
	env_mem_on_call(env, NULL, NULL);
	assert_ok(log_append(&l, 1, 100));
	for (int i = 0; i < 2; i++) {
		assert_status(log_sync(&l), WOMBAT_IO);
		assert_non_null(strstr(wombat_last_error(), "000001.wal"));
	}
	assert_status(wal_writer_close(l.writer, true), WOMBAT_IO);
	l.writer = NULL;
	log_done(&l);
	env->calls->free(env);
}

/* ---- Threads ------------------------------------------------------------------------------- */

struct crowd {
	struct wal_writer *writer;
	atomic_uint_fast64_t appended;  /* sequence */
	atomic_uint_fast64_t release;   /* epoch below which segments may go */
	atomic_bool stop;
	atomic_uint_fast64_t next_number, sync_calls;
};

static uint64_t crowd_number(void *arg)
{
	return atomic_fetch_add(&((struct crowd *)arg)->next_number, 1);
}

static void *sync_often(void *arg)
{
	struct crowd *c = arg;
	while (!atomic_load(&c->stop)) {
		assert_ok(wal_writer_sync(c->writer));
		atomic_fetch_add(&c->sync_calls, 1);
	}
	return NULL;
}

static void *keep_up(void *arg)
{
	struct crowd *c = arg;
	struct wal_counts counts;
	while (!atomic_load(&c->stop)) {
		if (wal_writer_wants_spare(c->writer))
			assert_ok(wal_writer_prepare(c->writer));
		wal_writer_release(c->writer, (uint32_t)atomic_load(&c->release));
		wal_writer_counts(c->writer, &counts);
		assert_true(counts.files > 0);
	}
	return NULL;
}

struct seen {
	uint64_t first, last;
};

static enum wombat_status note_seen(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
				    struct wombat_slice body, uint32_t epoch)
{
	struct seen *s = arg;
	(void)time_ns;
	(void)epoch;
	s->first = s->first ? s->first : sequence;
	s->last = sequence + count - 1;
	for (size_t i = 0; i < body.size; i++)
		assert_int_equal(body.data[i], sequence & 0xff);
	return WOMBAT_OK;
}

static enum wombat_status crowd_open(struct crowd *c, const char *dir, uint64_t flushed, struct seen *seen)
{
	struct wal_replay replay;
	struct wal_tail *tail;
	enum wombat_status s = wal_replay(env_posix(), dir, flushed, note_seen, seen, &replay, &tail);
	struct wal_writer_options options = {
		.env = env_posix(), .dir = dir, .segment_bytes = 65536, .next_file_number = crowd_number, .arg = c,
		.spare_segments = 2,
	};
	return s == WOMBAT_OK ? wal_writer_open(&options, tail, &c->writer) : s;
}

static void remove_one(void *arg, const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
	assert_int_equal(unlink(path), 0);
}

static void test_threads(void **state)
{
	(void)state;
	struct crowd c = { .next_number = 1 };
	struct seen seen = { 0 };
	char dir[256];
	pthread_t threads[3];
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, sizeof dir, "%s/wal-threads-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	assert_ok(crowd_open(&c, dir, 0, &seen));
	assert_int_equal(pthread_create(&threads[0], NULL, sync_often, &c), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, sync_often, &c), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, keep_up, &c), 0);
	uint8_t body[400];
	uint64_t flushed = 0, last = test_steps(3000);
	for (uint64_t sequence = 1; sequence <= last; sequence++) {
		struct wombat_slice piece = slice_make(body, sizeof body);
		uint32_t epoch;
		memset(body, (int)(sequence & 0xff), sizeof body);
		assert_ok(wal_writer_append(c.writer, sequence, 1, 1, &piece, 1, &epoch));
		atomic_store(&c.appended, sequence);
		if (sequence % 500 == 0 && sequence < last) {
			flushed = sequence;
			atomic_store(&c.release, wal_writer_epoch(c.writer));
		}
	}
	atomic_store(&c.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_ok(wal_writer_close(c.writer, true));
	assert_ok(crowd_open(&c, dir, flushed, &seen));
	assert_int_equal(seen.first, flushed + 1);
	assert_int_equal(seen.last, last);
	assert_ok(wal_writer_close(c.writer, true));
	assert_ok(env_posix()->calls->dir_list(env_posix(), dir, remove_one, dir));
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_crashes),
		cmocka_unit_test(test_power_cut_at_each_sync),
		cmocka_unit_test(test_nth_call_fails),
		cmocka_unit_test(test_nth_allocation_fails),
		cmocka_unit_test(test_failed_sync_stays),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
