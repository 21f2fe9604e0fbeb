/*
 * The write path: a batch is seen whole or not at all, by readers and by the next opening; writers at the same time
 * share log records; limits; the brakes and their release; what a failure leaves.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"
#include "tests/support/opgen.h"
#include "tests/support/seed.h"

static void name_key(char out[16], unsigned i)
{
	snprintf(out, 16, "key%04u", i);
}

/* ---- Batches ------------------------------------------------------------------------------- */

static void test_later_ones_win(void **state)
{
	(void)state;
	struct db_world w;
	uint64_t sequence = 0;
	db_world_init(&w, NULL);
	struct wombat_batch *b = wombat_batch_new();
	assert_ok(wombat_batch_put(b, 1, WOMBAT_STR("a"), WOMBAT_STR("1"), NULL));
	assert_ok(wombat_batch_put(b, 254, WOMBAT_STR("a"), WOMBAT_STR("2"), NULL));
	assert_ok(wombat_batch_put(b, 1, WOMBAT_STR("b"), WOMBAT_STR("3"), NULL));
	assert_ok(wombat_batch_delete_range(b, 1, WOMBAT_STR("a"), WOMBAT_STR("c")));
	assert_ok(wombat_batch_put(b, 1, WOMBAT_STR("b"), WOMBAT_STR(""), NULL));
	assert_ok(wombat_batch_put(b, 2, WOMBAT_STR(""), WOMBAT_STR("empty key"), NULL));
	assert_ok(wombat_batch_put(b, 2, WOMBAT_STR("gone"), WOMBAT_STR("x"), NULL));
	assert_ok(wombat_batch_delete(b, 2, WOMBAT_STR("gone")));
	assert_int_equal(wombat_batch_count(b), 8);
	assert_ok(wombat_write(w.db, b, 0, &sequence));
	assert_int_equal(sequence, 8);
	for (int round = 0; round < 3; round++) {
		db_world_expect(&w, 1, "a", NULL);
		db_world_expect(&w, 254, "a", "2");
		db_world_expect(&w, 1, "b", "");
		db_world_expect(&w, 2, "", "empty key");
		db_world_expect(&w, 2, "gone", NULL);
		if (round == 0)
			db_world_reopen(&w);
		if (round == 1)
			assert_ok(wombat_flush(w.db));
	}
	/* The same batch again, and an empty one. */
	assert_ok(wombat_write(w.db, b, WOMBAT_SYNC, &sequence));
	assert_int_equal(sequence, 16);
	wombat_batch_clear(b);
	assert_ok(wombat_write(w.db, b, 0, &sequence));
	assert_int_equal(sequence, 16);
	assert_ok(wombat_write(w.db, b, WOMBAT_SYNC, NULL));
	wombat_batch_free(b);
	db_world_done(&w);
}

/* Each batch puts one number into keys of several keyspaces; no reader may find two numbers. */
enum { ATOMIC_ROUNDS = 400 };

struct atomic_test {
	struct wombat *db;
	atomic_bool done;
	atomic_uint looks;
};

static void *write_rounds(void *arg)
{
	struct atomic_test *t = arg;
	struct wombat_batch *b = wombat_batch_new();
	for (unsigned n = 1; n <= ATOMIC_ROUNDS; n++) {
		wombat_batch_clear(b);
		for (unsigned keyspace = 1; keyspace <= 3; keyspace++)
			for (unsigned k = 0; k < 4; k++) {
				char key[16];
				name_key(key, k);
				assert_ok(wombat_batch_put(b, keyspace, WOMBAT_STR(key), WOMBAT_SLICE(&n, sizeof n), NULL));
			}
		assert_ok(wombat_write(t->db, b, 0, NULL));
		if (n % 100 == 50)
			assert_ok(wombat_flush(t->db));
	}
	wombat_batch_free(b);
	atomic_store(&t->done, true);
	return NULL;
}

static unsigned look_for_one_number(struct wombat *db)
{
	struct wombat_snapshot *snapshot = wombat_snapshot_new(db);
	struct wombat_read_options options = { .snapshot = snapshot };
	unsigned number = 0;
	for (unsigned keyspace = 3; keyspace >= 1; keyspace--)
		for (unsigned k = 0; k < 4; k++) {
			char key[16];
			struct wombat_record r;
			unsigned n;
			name_key(key, k);
			if (wombat_get(db, &options, keyspace, WOMBAT_STR(key), &r) != WOMBAT_OK) {
				assert_int_equal(number, 0);
				continue;
			}
			memcpy(&n, r.value.data, sizeof n);
			wombat_record_release(&r);
			assert_true(number == n || (keyspace == 3 && k == 0));
			number = n;
		}
	wombat_snapshot_release(db, snapshot);
	return number;
}

static void test_readers_see_whole_batches(void **state)
{
	(void)state;
	struct db_world w;
	pthread_t writer;
	unsigned last = 0;
	db_world_init(&w, NULL);
	struct atomic_test t = { .db = w.db };
	assert_int_equal(pthread_create(&writer, NULL, write_rounds, &t), 0);
	while (!atomic_load(&t.done)) {
		unsigned number = look_for_one_number(w.db);
		assert_true(number >= last); /* nor does time go back */
		last = number;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(look_for_one_number(w.db), ATOMIC_ROUNDS);
	db_world_done(&w);
}

/* After a power cut at any moment a prefix of the batches is there, each whole, and all that were synced. */
static void test_batches_after_a_crash(void **state)
{
	(void)state;
	uint64_t seed = test_seed("db_write");
	struct db_world w;
	struct opgen g = { .key_count = 30, .value_max = 600 };
	struct model states[41]; /* after so many batches */
	uint64_t sequences[41] = { 0 };
	random_seed(&g.random, seed);
	db_world_init(&w, NULL);
	struct wombat_batch *b = wombat_batch_new();
	unsigned synced = 0;
	model_init(&states[0]);
	for (unsigned n = 1; n <= 40; n++) {
		model_copy(&states[n - 1], &states[n]);
		wombat_batch_clear(b);
		for (uint64_t i = random_below(&g.random, 8) + 1; i > 0; i--)
			opgen_change(&g, b, &states[n]);
		bool sync = random_below(&g.random, 4) == 0;
		assert_ok(wombat_write(w.db, b, sync ? WOMBAT_SYNC : 0, &sequences[n]));
		synced = sync ? n : synced;
		struct db_world after = { .options = w.options };
		assert_ok(env_mem_clone(w.env, n % 3 ? ENV_MEM_RANDOM : ENV_MEM_SYNCED_ONLY, seed + n, &after.env));
		db_world_open(&after);
		uint64_t sequence = (uint64_t)db_world_stat(&after, "sequence");
		unsigned at = 0;
		while (at < n && sequences[at] < sequence)
			at++;
		assert_true(at >= synced && sequences[at] == sequence);
		for (size_t i = 0; i < states[n].count; i++) {
			const struct model_record *m = &states[n].records[i];
			struct wombat_slice key = WOMBAT_SLICE(m->key + 1, m->key_size - 1);
			const struct model_record *expected = model_get(&states[at], m->key[0], key, 0);
			struct wombat_record r;
			enum wombat_status s = wombat_get(after.db, NULL, m->key[0], key, &r);
			assert_int_equal(s, expected ? WOMBAT_OK : WOMBAT_NOT_FOUND);
			if (!expected)
				continue;
			assert_int_equal(r.value.size, expected->value_size);
			if (r.value.size)
				assert_memory_equal(r.value.data, expected->value, r.value.size);
			wombat_record_release(&r);
		}
		db_world_close(&after);
		after.env->calls->free(after.env);
	}
	for (unsigned n = 0; n <= 40; n++)
		model_done(&states[n]);
	wombat_batch_free(b);
	db_world_done(&w);
}

/* ---- Groups -------------------------------------------------------------------------------- */

enum { WRITERS = 8, WRITES = 100 };

struct writer {
	struct wombat *db;
	unsigned id;
	unsigned flags;
	enum wombat_status status;
	uint64_t sequence;
	char detail[256];
};

static void *write_one(void *arg)
{
	struct writer *t = arg;
	struct wombat_batch *b = wombat_batch_new();
	char key[16];
	name_key(key, t->id);
	t->status = wombat_batch_put(b, 1, WOMBAT_STR(key), WOMBAT_STR(key), NULL);
	if (t->status == WOMBAT_OK)
		t->status = wombat_batch_put(b, 2, WOMBAT_STR(key), WOMBAT_STR(key), NULL);
	if (t->status == WOMBAT_OK)
		t->status = wombat_write(t->db, b, t->flags, &t->sequence);
	snprintf(t->detail, sizeof t->detail, "%s", wombat_last_error());
	wombat_batch_free(b);
	return NULL;
}

static size_t queue_length(struct wombat *db)
{
	size_t n = 0;
	mutex_lock(&db->write_mu);
	for (const struct write_request *r = db->queue_head; r; r = r->next)
		n++;
	mutex_unlock(&db->write_mu);
	return n;
}

/* One writer, which syncs and so writes its log record by a call, is held in that with WRITERS - 1 behind it in the
 * queue; then they go on. */
static void queue_up(struct db_world *w, struct writer writers[WRITERS], unsigned flags, enum wombat_status result)
{
	pthread_t threads[WRITERS];
	db_world_hold(w, "segment_write", "");
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .db = w->db, .id = i, .flags = i ? flags : WOMBAT_SYNC };
		assert_int_equal(pthread_create(&threads[i], NULL, write_one, &writers[i]), 0);
		if (i == 0)
			db_world_await_held(w);
	}
	while (queue_length(w->db) < WRITERS - 1)
		sched_yield();
	if (result == WOMBAT_OK)
		db_world_let_go(w);
	else /* The one that is held gets through; those behind it do not. */
		db_world_fail(w, "segment_write", "", 0, result);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void test_those_who_wait_share_a_record(void **state)
{
	(void)state;
	struct db_world w;
	struct writer writers[WRITERS];
	db_world_init(&w, NULL);
	for (unsigned flags = 0; flags <= WOMBAT_SYNC; flags += WOMBAT_SYNC) {
		double groups = db_world_stat(&w, "write_groups_total"), syncs = db_world_stat(&w, "wal.syncs_total");
		double first = db_world_stat(&w, "sequence");
		queue_up(&w, writers, flags, WOMBAT_OK);
		assert_true(db_world_stat(&w, "write_groups_total") == groups + 2); /* the first alone, the others together */
		assert_true(db_world_stat(&w, "wal.syncs_total") == syncs + (flags ? 2 : 1));
		bool taken[WRITERS] = { false };
		for (unsigned i = 0; i < WRITERS; i++) {
			char key[16];
			name_key(key, i);
			assert_int_equal(writers[i].status, WOMBAT_OK);
			unsigned place = (unsigned)(writers[i].sequence - (uint64_t)first) / 2 - 1;
			assert_true(place < WRITERS && !taken[place] && (place == 0) == (i == 0));
			taken[place] = true;
			db_world_expect(&w, 1, key, key);
			db_world_expect(&w, 2, key, key);
		}
	}
	assert_true(db_world_stat(&w, "write_group_size") == 4);
	db_world_done(&w);
}

struct many {
	struct wombat *db;
	unsigned id;
};

static void *write_many(void *arg)
{
	struct many *t = arg;
	struct wombat_batch *b = wombat_batch_new();
	for (unsigned i = 0; i < WRITES; i++) {
		char key[16];
		name_key(key, t->id * WRITES + i);
		wombat_batch_clear(b);
		assert_ok(wombat_batch_put(b, 1, WOMBAT_STR(key), WOMBAT_STR(key), NULL));
		assert_ok(wombat_batch_put(b, 2, WOMBAT_STR("last"), WOMBAT_STR(key), NULL));
		if (i % 16 == t->id)
			assert_ok(wombat_flush(t->db));
		assert_ok(wombat_write(t->db, b, i % 10 == t->id ? WOMBAT_SYNC : 0, NULL));
		db_world_expect(&(struct db_world){ .db = t->db }, 1, key, key); /* its own write is seen */
	}
	wombat_batch_free(b);
	return NULL;
}

static void test_many_writers(void **state)
{
	(void)state;
	struct db_world w;
	struct many writers[WRITERS];
	pthread_t threads[WRITERS];
	db_world_init(&w, NULL);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct many){ w.db, i };
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int round = 0; round < 2; round++) {
		assert_true(db_world_stat(&w, "sequence") == 2.0 * WRITERS * WRITES);
		for (unsigned i = 0; i < WRITERS * WRITES; i++) {
			char key[16];
			name_key(key, i);
			db_world_expect(&w, 1, key, key);
		}
		db_world_reopen(&w);
	}
	db_world_done(&w);
}

/* ---- Limits -------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
	(void)state;
	const char *const settings[] = { "max_key_size", "100", "max_value_size", "1000", "value_threshold", "500", NULL };
	static uint8_t bytes[RECORD_ATTR_MAX + 1];
	struct db_world w;
	db_world_init(&w, settings);
	struct wombat_batch *b = wombat_batch_new();
	assert_ok(wombat_put(w.db, 1, WOMBAT_SLICE(bytes, 100), WOMBAT_SLICE(bytes, 1000)));
	assert_ok(wombat_put(w.db, 1, WOMBAT_SLICE(NULL, 0), WOMBAT_SLICE(NULL, 0)));
	assert_status(wombat_put(w.db, 1, WOMBAT_SLICE(bytes, 101), WOMBAT_STR("")), WOMBAT_TOO_BIG);
	assert_status(wombat_put(w.db, 1, WOMBAT_STR("k"), WOMBAT_SLICE(bytes, 1001)), WOMBAT_TOO_BIG);
	assert_status(wombat_delete(w.db, 1, WOMBAT_SLICE(bytes, 101)), WOMBAT_TOO_BIG);
	assert_status(wombat_delete_range(w.db, 1, WOMBAT_STR(""), WOMBAT_SLICE(bytes, 101)), WOMBAT_TOO_BIG);
	static const unsigned outside[] = { 0, 255, 256, 257, UINT32_MAX };
	for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
		assert_status(wombat_put(w.db, outside[i], WOMBAT_STR("k"), WOMBAT_STR("v")), WOMBAT_INVALID);
		assert_status(wombat_put(w.db, outside[i], WOMBAT_STR("k"), WOMBAT_SLICE(bytes, 600)), WOMBAT_INVALID);
		assert_status(wombat_delete(w.db, outside[i], WOMBAT_STR("k")), WOMBAT_INVALID);
		assert_status(wombat_delete_range(w.db, outside[i], WOMBAT_STR("a"), WOMBAT_STR("b")), WOMBAT_INVALID);
	}
	/* One change that is too big keeps the others of its batch out. */
	struct wombat_put_info info = { .attr = WOMBAT_SLICE(bytes, RECORD_ATTR_MAX + 1) };
	for (int which = 0; which < 3; which++) {
		wombat_batch_clear(b);
		assert_ok(wombat_batch_put(b, 1, WOMBAT_STR("other"), WOMBAT_STR("v"), NULL));
		enum wombat_status s = which == 0 ? wombat_batch_put(b, 1, WOMBAT_SLICE(bytes, 101), WOMBAT_STR(""), NULL)
				     : which == 1 ? wombat_batch_put(b, 1, WOMBAT_STR("k"), WOMBAT_SLICE(bytes, 1001), NULL)
						  : wombat_batch_put(b, 1, WOMBAT_STR("k"), WOMBAT_STR(""), &info);
		if (s == WOMBAT_OK) /* the batch may refuse it at once, or the write later */
			s = wombat_write(w.db, b, 0, NULL);
		assert_int_equal(s, WOMBAT_TOO_BIG);
		db_world_expect(&w, 1, "other", NULL);
	}
	info.attr.size = RECORD_ATTR_MAX;
	wombat_batch_clear(b);
	assert_ok(wombat_batch_put(b, 1, WOMBAT_STR("k"), WOMBAT_STR("v"), &info));
	assert_ok(wombat_write(w.db, b, 0, NULL));
	wombat_batch_free(b);
	db_world_done(&w);
}

/* ---- Brakes -------------------------------------------------------------------------------- */

struct filler {
	struct db_world *w;
	unsigned puts;
	atomic_uint done;
};

static void *fill(void *arg)
{
	struct filler *f = arg;
	for (unsigned i = 0; i < f->puts; i++) {
		db_world_put_filled(f->w, "key", 20000, i);
		atomic_store(&f->done, i + 1);
	}
	return NULL;
}

/* Too many tables of level 0: writers are slowed, then stopped, and go on when a compaction has run. */
static void test_compaction_behind(void **state)
{
	(void)state;
	const char *const settings[] = {
		"mem_table_size", "64K", "num_level_zero_tables", "2", "num_level_zero_tables_stall", "6", "num_memtables", "1", NULL,
	};
	struct db_world w;
	pthread_t thread;
	db_world_init(&w, settings);
	wombat_pause_compaction(w.db);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(db_world_stat(&w, "stalls.slowed_total") == 0);
		db_world_put(&w, "key", "value");
		assert_ok(wombat_flush(w.db));
	}
	for (unsigned i = 0; i < 4; i++)
		db_world_put_filled(&w, "key", 10000, i);
	assert_true(db_world_stat(&w, "stalls.slowed_total") > 0);
	assert_true(db_world_stat(&w, "stalls.stopped_total") == 0);
	struct filler f = { .w = &w, .puts = 60 };
	assert_int_equal(pthread_create(&thread, NULL, fill, &f), 0);
	db_world_await(&w, "stalls.stopped_total", 1);
	db_world_await(&w, "level.0.files", 6);
	assert_true(db_world_stat(&w, "stalls.ns") > 0);
	assert_true(atomic_load(&f.done) < f.puts);
	assert_true(db_world_stat(&w, "level.0.files") <= 7);
	wombat_resume_compaction(w.db);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&f.done), f.puts);
	assert_ok(wombat_wait_idle(w.db));
	double slowed = db_world_stat(&w, "stalls.slowed_total"), stopped = db_world_stat(&w, "stalls.stopped_total");
	db_world_put_filled(&w, "key", 20000, 1000);
	assert_true(db_world_stat(&w, "stalls.slowed_total") == slowed && db_world_stat(&w, "stalls.stopped_total") == stopped);
	db_world_expect_filled(&w, "key", 20000, 1000);
	db_world_done(&w);
}

/* The same stop is lifted by a higher limit. */
static void test_a_raised_limit_lets_go(void **state)
{
	(void)state;
	const char *const settings[] = {
		"mem_table_size", "64K", "num_level_zero_tables", "1", "num_level_zero_tables_stall", "2", NULL,
	};
	struct db_world w;
	pthread_t thread;
	db_world_init(&w, settings);
	wombat_pause_compaction(w.db);
	struct filler f = { .w = &w, .puts = 40 };
	assert_int_equal(pthread_create(&thread, NULL, fill, &f), 0);
	db_world_await(&w, "stalls.stopped_total", 1);
	assert_ok(db_world_set(&w, "num_level_zero_tables_stall", "1000"));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(db_world_stat(&w, "level.0.files") >= 2);
	wombat_resume_compaction(w.db);
	db_world_done(&w);
}

/* Flushes that do not come along: num_memtables of them wait, then the writer. */
static void test_flush_behind(void **state)
{
	(void)state;
	const char *const settings[] = { "mem_table_size", "64K", "num_memtables", "2", NULL };
	struct db_world w;
	pthread_t thread;
	db_world_init(&w, settings);
	db_world_hold(&w, "writer_sync", ".sst");
	struct filler f = { .w = &w, .puts = 40 };
	assert_int_equal(pthread_create(&thread, NULL, fill, &f), 0);
	db_world_await_held(&w);
	db_world_await(&w, "stalls.stopped_total", 1);
	assert_true(db_world_stat(&w, "memtables_waiting") == 2);
	assert_true(atomic_load(&f.done) < f.puts);
	db_world_expect_filled(&w, "key", 20000, atomic_load(&f.done) - 1); /* reads do not wait */
	db_world_let_go(&w);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_ok(wombat_wait_idle(w.db));
	assert_true(db_world_stat(&w, "memtables_waiting") == 0);
	db_world_expect_filled(&w, "key", 20000, f.puts - 1);
	db_world_done(&w);
}

/* ---- Failures ------------------------------------------------------------------------------ */

/* No room for the log: the write is refused and nothing more; with room there are writes again. */
static void test_no_space(void **state)
{
	(void)state;
	const char *const settings[] = { "mem_table_size", "64M", NULL };
	struct db_world w;
	unsigned i = 0;
	enum wombat_status s = WOMBAT_OK;
	static uint8_t value[50000];
	db_world_init(&w, settings);
	env_mem_set_capacity(w.env, 1 << 20);
	for (; s == WOMBAT_OK; i++) {
		char key[16];
		name_key(key, i);
		s = wombat_put(w.db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(value, sizeof value));
		assert_true(i < 100);
	}
	char key[16];
	name_key(key, i - 1);
	assert_int_equal(s, WOMBAT_NO_SPACE);
	assert_true(i > 5 && db_world_stat(&w, "errors.no_space_total") == 1);
	db_world_expect(&w, WOMBAT_USER, key, NULL);
	assert_ok(wombat_background_status(w.db));
	env_mem_set_capacity(w.env, 1 << 24);
	assert_ok(wombat_put(w.db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("now")));
	db_world_reopen(&w);
	db_world_expect(&w, WOMBAT_USER, key, "now");
	db_world_done(&w);
}

/* A sync that fails: everybody of the group is told why, and the database takes no more writes until it is reopened. */
static void test_failed_sync(void **state)
{
	(void)state;
	struct db_world w;
	struct writer writers[WRITERS];
	db_world_init(&w, NULL);
	assert_ok(db_world_set(&w, "sync_writes", "true"));
	db_world_put(&w, "before", "value");
	db_world_fail(&w, "segment_sync", "", 0, WOMBAT_IO);
	assert_status(wombat_put(w.db, 1, WOMBAT_STR("key"), WOMBAT_STR("v")), WOMBAT_IO);
	db_world_let_go(&w);
	db_world_expect(&w, 1, "key", NULL);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .db = w.db, .id = i };
		write_one(&writers[i]);
		assert_int_equal(writers[i].status, WOMBAT_READ_ONLY);
		assert_non_null(strstr(writers[i].detail, "injected")); /* the first cause */
	}
	assert_status(wombat_sync(w.db), WOMBAT_READ_ONLY);
	assert_status(wombat_background_status(w.db), WOMBAT_IO);
	assert_true(db_world_stat(&w, "read_only") == 1 && db_world_stat(&w, "errors.io_total") >= 1);
	db_world_expect(&w, 1, "before", "value");
	assert_status(wombat_close(w.db), WOMBAT_IO);
	db_world_open(&w);
	db_world_expect(&w, 1, "before", "value");
	db_world_put(&w, "after", "value");
	db_world_done(&w);
}

/* Those behind a leader whose log record cannot be written get its status and its sentence in their own threads. */
static void test_failed_group(void **state)
{
	(void)state;
	struct db_world w;
	struct writer writers[WRITERS];
	db_world_init(&w, NULL);
	queue_up(&w, writers, WOMBAT_SYNC, WOMBAT_NO_SPACE);
	for (unsigned i = 0; i < WRITERS; i++) {
		char key[16];
		name_key(key, i);
		assert_int_equal(writers[i].status, i ? WOMBAT_NO_SPACE : WOMBAT_OK);
		assert_true(i == 0 || strstr(writers[i].detail, "injected"));
		/* What was not acknowledged is not seen: in neither keyspace. */
		db_world_expect(&w, 1, key, i ? NULL : key);
		db_world_expect(&w, 2, key, i ? NULL : key);
	}
	db_world_let_go(&w);
	assert_ok(wombat_background_status(w.db)); /* Nothing was appended, so writes go on. */
	db_world_put(&w, "key0001", "after");
	db_world_reopen(&w);
	db_world_expect(&w, 1, "key0000", "key0000");
	db_world_expect(&w, 1, "key0001", "after");
	db_world_expect(&w, 2, "key0001", NULL);
	db_world_done(&w);
}

static _Thread_local unsigned allocations_left; /* this thread's; 0: none fails */

static _Bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

/* Out of memory: no part of the batch is seen; when its log record was there already, no more writes are taken. */
static void test_out_of_memory(void **state)
{
	(void)state;
	const char *const settings[] = { "value_threshold", "1K", NULL };
	static uint8_t value[5000];
	bool written = false;
	for (unsigned n = 1; !written; n++) {
		struct db_world w;
		db_world_init(&w, settings);
		db_world_put(&w, "before", "value");
		struct wombat_batch *b = wombat_batch_new();
		for (unsigned i = 0; i < 40; i++) {
			char key[16];
			name_key(key, i);
			assert_ok(wombat_batch_put(b, 1 + i % 2, WOMBAT_STR(key), WOMBAT_SLICE(value, i % 5 ? 900 : 5000), NULL));
		}
		allocations_left = n;
		enum wombat_status s = wombat_write(w.db, b, 0, NULL);
		written = allocations_left > 0;
		allocations_left = 0;
		wombat_batch_free(b);
		assert_int_equal(s, written ? WOMBAT_OK : WOMBAT_NO_MEMORY);
		for (unsigned i = 0; i < 40 && !written; i++) {
			char key[16];
			name_key(key, i);
			db_world_expect(&w, 1 + i % 2, key, NULL);
		}
		db_world_expect(&w, 1, "before", "value");
		enum wombat_status background = wombat_background_status(w.db);
		assert_true(background == WOMBAT_OK || background == WOMBAT_NO_MEMORY);
		assert_int_equal(wombat_put(w.db, 1, WOMBAT_STR("after"), WOMBAT_STR("value")),
				 background == WOMBAT_OK ? WOMBAT_OK : WOMBAT_READ_ONLY);
		assert_int_equal(wombat_close(w.db), background);
		w.db = NULL;
		db_world_open(&w);
		db_world_expect(&w, 1, "before", "value");
		db_world_expect(&w, 1, "after", background == WOMBAT_OK ? "value" : NULL);
		db_world_done(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_later_ones_win),
		cmocka_unit_test(test_readers_see_whole_batches),
		cmocka_unit_test(test_batches_after_a_crash),
		cmocka_unit_test(test_those_who_wait_share_a_record),
		cmocka_unit_test(test_many_writers),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_compaction_behind),
		cmocka_unit_test(test_a_raised_limit_lets_go),
		cmocka_unit_test(test_flush_behind),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_failed_sync),
		cmocka_unit_test(test_failed_group),
		cmocka_unit_test(test_out_of_memory),
	};
	mem_test_hook = fail_nth; /* before there are other threads */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
