/*
 * What happens by itself, and what is asked for: flushes and compactions, holding compactions back, waiting
 * for all of it, and the error in the background that ends writing until the next open.
 */
#include <pthread.h>
#include <unistd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "tests/support/db_model.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define EVERYTHING WOMBAT_STR(""), WOMBAT_STR("")

static double stat_of(struct db_model *m, const char *name)
{
	return db_world_stat(&m->world, name);
}

/* `count` records of about a kilobyte, keys from `first` on. */
static void put_many(struct db_model *m, unsigned first, unsigned count)
{
	char key[16], value[1001];
	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = 0;
	for (unsigned i = first; i < first + count; i++) {
		snprintf(key, sizeof key, "key%06u", i);
		memcpy(value, key, strlen(key));
		db_model_put(m, key, value);
	}
}

/* Opens what was closed with an error. */
static void reopen_after(struct db_model *m, enum wombat_status status)
{
	assert_status(wombat_close(m->world.db), status);
	db_world_open(&m->world);
}

/* ---- By itself ----------------------------------------------------------------------------- */

static void test_automatic(void **state)
{
	(void)state;
	struct db_model m;
	const char *const settings[] = { "num_level_zero_tables", "2", "level_size_multiplier", "2", NULL };
	db_model_init(&m, settings);
	/* Each round is in tables before the next: memtables that wait together are flushed as one, without what they overwrite. */
	for (unsigned round = 0; round < 4; round++) {
		put_many(&m, 0, 700);
		assert_ok(wombat_wait_idle(m.world.db));
	}
	assert_true(stat_of(&m, "flushes_total") >= 3); /* several memtables may share one */
	assert_true(stat_of(&m, "compactions_total") >= 2);
	assert_true(stat_of(&m, "memtables_waiting") == 0);
	assert_true(stat_of(&m, "level.0.files") < 2);
	/* Each level is within its bounds, and so most is below the first. */
	double below = 0;
	for (unsigned level = 1; level < 7; level++) {
		char name[32];
		snprintf(name, sizeof name, "level.%u.score", level);
		assert_true(stat_of(&m, name) < 1);
		snprintf(name, sizeof name, "level.%u.files", level);
		below += level > 1 ? stat_of(&m, name) : 0;
	}
	assert_true(below > 0);
	/* Of what was overwritten some is gone, and of the log what is in tables. */
	assert_true(stat_of(&m, "entries") < 4 * 700);
	assert_true(stat_of(&m, "wal.files") < 8);
	db_model_compare(&m, 0);
	db_world_reopen(&m.world);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* Tables that overlap nothing below are handed down as they are. */
static void test_trivial_moves(void **state)
{
	(void)state;
	struct db_model m;
	const char *const settings[] = { "num_level_zero_tables", "1", "level_size_multiplier", "2", NULL };
	db_model_init(&m, settings);
	put_many(&m, 0, 600);
	assert_ok(wombat_wait_idle(m.world.db));
	assert_true(stat_of(&m, "trivial_moves_total") > 0);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* ---- On request ---------------------------------------------------------------------------- */

static void test_flush(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	assert_ok(wombat_flush(m.world.db)); /* of nothing */
	assert_true(stat_of(&m, "flushes_total") == 0);
	db_model_put(&m, "k", "v");
	assert_ok(wombat_flush(m.world.db));
	assert_ok(wombat_flush(m.world.db));
	assert_true(stat_of(&m, "flushes_total") == 1 && stat_of(&m, "level.0.files") == 1);
	assert_true(stat_of(&m, "memtables_waiting") == 0);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* With several compactors a large compaction runs as ranges of keys, with one it does not. */
static void test_ranges(void **state)
{
	(void)state;
	static const char *const compactors[] = { "1", "3" };
	for (int i = 0; i < 2; i++) {
		struct db_model m;
		const char *const settings[] = { "num_compactors", compactors[i], "max_table_size", "64K", "num_level_zero_tables", "500",
						 "num_level_zero_tables_stall", "1000", NULL };
		db_model_init(&m, settings);
		for (unsigned round = 0; round < 3; round++)
			put_many(&m, 0, 700);
		assert_ok(wombat_compact(m.world.db, 0, EVERYTHING));
		double compactions = stat_of(&m, "compactions_total"), ranges = stat_of(&m, "compaction_ranges_total");
		assert_true(compactions > 0 && (i ? ranges > compactions : ranges == compactions));
		db_model_compare(&m, 0);
		db_world_reopen(&m.world);
		db_model_compare(&m, 0);
		db_model_done(&m);
	}
}

static void put_random(struct db_model *m, struct random_state *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		put_many(m, (unsigned)random_below(r, 9000), 1);
}

/* Tiers write less; either way the same is there, also when the strategy changes while it is open. */
static void test_tiered(void **state)
{
	(void)state;
	static const char *const strategies[] = { "leveled", "tiered" };
	double written[2];
	for (int i = 0; i < 2; i++) {
		struct db_model m;
		struct random_state r;
		const char *const settings[] = { "compaction_strategy", strategies[i], "level_size_multiplier", "4", NULL };
		random_seed(&r, 5);
		db_model_init(&m, settings);
		for (unsigned round = 0; round < 250; round++) {
			put_random(&m, &r, 60);
			assert_ok(wombat_wait_idle(m.world.db));
		}
		written[i] = stat_of(&m, "compaction_write_bytes_total");
		assert_true(stat_of(&m, "level.0.files") < (i ? 10 : 4));
		db_model_compare(&m, 0);
		assert_ok(db_world_set(&m.world, "compaction_strategy", strategies[1 - i]));
		for (unsigned round = 0; round < 10; round++)
			put_random(&m, &r, 60);
		assert_ok(wombat_wait_idle(m.world.db));
		assert_true(stat_of(&m, "level.0.files") < (i ? 4 : 10));
		for (unsigned level = 1, used = 0; level < 7 && !i; level++) {
			char name[32];
			snprintf(name, sizeof name, "level.%u.files", level);
			used += stat_of(&m, name) > 0;
			assert_true(used <= 1);
		}
		db_model_compare(&m, 0);
		db_world_reopen(&m.world);
		db_model_compare(&m, 0);
		assert_ok(wombat_compact(m.world.db, 0, EVERYTHING));
		db_model_compare(&m, 0);
		db_model_done(&m);
	}
	assert_true(written[1] < 0.6 * written[0]);
}

/* What a range of one keyspace had deleted, overwritten and expired is gone; the other's stays. */
static void test_compact(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	struct wombat *db = m.world.db;
	struct wombat_slice v = WOMBAT_STR("v");
	env_mem_set_now(m.world.env, 1000);
	struct wombat_batch *b = wombat_batch_new();
	struct wombat_put_info mortal = { .expiry_ns = 2000 };
	assert_ok(wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR("mortal"), v, &mortal));
	assert_ok(wombat_write(db, b, 0, NULL));
	wombat_batch_free(b);
	for (unsigned round = 0; round < 2; round++) {
		db_world_put(&m.world, "a", "v");
		db_world_put(&m.world, "b", "v");
		assert_ok(wombat_put(db, WOMBAT_FS_DIRS, WOMBAT_STR("a"), v));
		assert_ok(wombat_flush(db));
	}
	assert_ok(wombat_delete(db, WOMBAT_USER, WOMBAT_STR("b")));
	env_mem_set_now(m.world.env, 3000);
	assert_status(wombat_compact(db, 255, EVERYTHING), WOMBAT_INVALID);
	assert_ok(wombat_compact(db, WOMBAT_FS_META, EVERYTHING)); /* flushes; nothing else is there */
	assert_true(stat_of(&m, "compactions_total") == 0 && stat_of(&m, "level.0.files") == 3);
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	assert_true(stat_of(&m, "entries") == 2);
	db_world_expect(&m.world, WOMBAT_USER, "a", "v");
	db_world_expect(&m.world, WOMBAT_USER, "b", NULL);
	db_world_expect(&m.world, WOMBAT_USER, "mortal", NULL);
	db_world_expect(&m.world, WOMBAT_FS_DIRS, "a", "v");
	assert_ok(wombat_delete_range(db, WOMBAT_USER, EVERYTHING));
	assert_ok(wombat_delete(db, WOMBAT_FS_DIRS, WOMBAT_STR("a")));
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	assert_true(stat_of(&m, "entries") == 0 && db_world_files(&m.world, FILE_TABLE, NULL) == 0);
	db_model_done(&m);
}

static void put_mortal(struct db_model *m, unsigned count, uint64_t expiry_ns)
{
	struct wombat_batch *b = wombat_batch_new();
	struct wombat_put_info mortal = { .expiry_ns = expiry_ns };
	for (unsigned i = 0; i < count; i++) {
		char key[24];
		snprintf(key, sizeof key, "mortal%u", i);
		assert_ok(wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("some bytes that take space"), &mortal));
	}
	assert_ok(wombat_write(m->world.db, b, 0, NULL));
	wombat_batch_free(b);
}

/* What lies at the bottom already, where nothing pushes it further down, goes too when it is asked for: expired records,
 * and tombstones that a snapshot kept. */
static void test_compact_at_the_bottom(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	struct wombat *db = m.world.db;
	env_mem_set_now(m.world.env, 1000);
	put_mortal(&m, 50, 2000);
	db_world_put(&m.world, "stays", "v");
	db_world_put(&m.world, "goes", "v");
	struct wombat_snapshot *snapshot = wombat_snapshot_new(db);
	assert_ok(wombat_delete(db, WOMBAT_USER, WOMBAT_STR("goes")));
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	assert_true(stat_of(&m, "entries") == 53);
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	assert_true(stat_of(&m, "entries") == 53); /* the snapshot needs them */
	wombat_snapshot_release(db, snapshot);
	env_mem_set_now(m.world.env, 3000);
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	assert_true(stat_of(&m, "entries") == 1);
	double compactions = stat_of(&m, "compactions_total");
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	assert_true(stat_of(&m, "compactions_total") == compactions); /* and that was all */
	db_world_expect(&m.world, WOMBAT_USER, "stays", "v");
	db_model_done(&m);
}

/* Many keys are removed, and then nothing happens any more: what would be passed over by each scan goes by itself. */
static void test_removed_by_itself(void **state)
{
	(void)state;
	enum { REMOVED = 12000 };
	char key[16];
	struct db_model m;
	const char *const settings[] = { "sync_interval_ms", "3600000", NULL }; /* while all is removed nobody looks at it */
	db_model_init(&m, settings);
	struct wombat *db = m.world.db;
	assert_ok(db_world_set(&m.world, "mem_table_size", "64M"));
	assert_ok(wombat_flush(db)); /* the memtable of that size is the next */
	for (unsigned i = 0; i < REMOVED; i++) {
		snprintf(key, sizeof key, "key%06u", i);
		db_world_put(&m.world, key, "v");
	}
	db_world_put(&m.world, "stays", "v");
	double flushes = stat_of(&m, "flushes_total");
	for (unsigned i = 0; i < REMOVED; i++) {
		snprintf(key, sizeof key, "key%06u", i);
		assert_ok(wombat_delete(db, WOMBAT_USER, WOMBAT_STR(key)));
	}
	assert_true(stat_of(&m, "entries") > REMOVED);
	assert_ok(db_world_set(&m.world, "sync_interval_ms", "5")); /* that often it is looked at */
	for (unsigned i = 0; stat_of(&m, "entries") > 1 && i < 10000; i++)
		usleep(1000);
	assert_true(stat_of(&m, "entries") == 1);
	assert_true(stat_of(&m, "flushes_total") == flushes + 1);
	db_world_expect(&m.world, WOMBAT_USER, "stays", "v");
	db_model_done(&m);
}

/* Without any write or request: the space of records that expired comes back. */
static void test_expired_by_itself(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	struct wombat *db = m.world.db;
	const uint64_t second = 1000000000;
	env_mem_set_now(m.world.env, second);
	put_mortal(&m, 500, 100 * second);
	db_world_put(&m.world, "stays", "v");
	assert_ok(wombat_compact(db, 0, EVERYTHING));
	double before = stat_of(&m, "disk.tables_bytes");
	env_mem_set_now(m.world.env, 3600 * second);
	assert_ok(db_world_set(&m.world, "sync_interval_ms", "5")); /* that often it is looked at */
	for (unsigned i = 0; stat_of(&m, "entries") > 1 && i < 10000; i++)
		usleep(1000);
	assert_true(stat_of(&m, "entries") == 1);
	assert_true(stat_of(&m, "disk.tables_bytes") * 2 < before);
	db_world_expect(&m.world, WOMBAT_USER, "stays", "v");
	db_model_done(&m);
}

/* Compactions of several threads at once, beside writing: each waits for what it may not take. */
static void *compact_often(void *arg)
{
	struct db_model *m = arg;
	for (unsigned i = 0; i < 5; i++)
		if (wombat_compact(m->world.db, i % 3, EVERYTHING) != WOMBAT_OK ||
		    wombat_flush(m->world.db) != WOMBAT_OK)
			return m;
	return NULL;
}

static void test_requests_at_once(void **state)
{
	(void)state;
	enum { THREADS = 3 };
	struct db_model m;
	pthread_t threads[THREADS];
	struct opgen gen = { .key_count = 200, .value_max = 4000 };
	random_seed(&gen.random, test_seed(__func__));
	db_model_init(&m, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, compact_often, &m), 0);
	for (unsigned i = 0; i < 30; i++)
		db_model_change(&m, &gen, 20);
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* ---- Held back ----------------------------------------------------------------------------- */

static void test_pause(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	struct wombat *db = m.world.db;
	wombat_pause_compaction(db);
	wombat_pause_compaction(db);
	for (int i = 0; i < 6; i++) {
		db_model_put(&m, "k", "v");
		assert_ok(wombat_flush(db)); /* flushes go on */
	}
	assert_ok(wombat_wait_idle(db)); /* nothing that may run is due */
	assert_true(stat_of(&m, "level.0.files") == 6 && stat_of(&m, "level.0.score") >= 1);
	wombat_resume_compaction(db);
	assert_ok(wombat_wait_idle(db));
	assert_true(stat_of(&m, "level.0.files") == 6); /* they nest */
	wombat_resume_compaction(db);
	assert_ok(wombat_wait_idle(db));
	assert_true(stat_of(&m, "level.0.files") == 0 && stat_of(&m, "compactions_total") == 1);
	wombat_resume_compaction(db); /* one too many means nothing */
	wombat_pause_compaction(db);
	for (int i = 0; i < 5; i++) {
		db_model_put(&m, "k", "v");
		assert_ok(wombat_flush(db));
	}
	assert_ok(wombat_wait_idle(db));
	assert_true(stat_of(&m, "level.0.files") == 5);
	assert_ok(wombat_compact(db, 0, EVERYTHING)); /* what is asked for is done all the same */
	assert_true(stat_of(&m, "level.0.files") == 0);
	wombat_resume_compaction(db);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* What is deleted gives its space back: records, values of the value log, and the pieces of values that are kept in pieces. */
static void test_reclaim(void **state)
{
	(void)state;
	enum { PIECE = 128 << 10, PIECES = 20 };
	const char *const settings[] = { "value_threshold", "4K", "value_log_file_size", "1M", NULL };
	struct db_model m;
	db_model_init(&m, settings);
	struct wombat *db = m.world.db;
	struct wombat_edit *edit;
	uint8_t *piece = calloc(1, PIECE);
	assert_non_null(piece);
	memset(piece, 'p', PIECE);
	assert_ok(wombat_edit_open(db, WOMBAT_USER, WOMBAT_STR("large"), WOMBAT_EDIT_CREATE, &edit));
	for (unsigned i = 0; i < PIECES; i++)
		assert_ok(wombat_edit_write(edit, (uint64_t)i * PIECE, piece, PIECE));
	assert_ok(wombat_edit_commit(edit, NULL, NULL, 0, NULL));
	wombat_edit_close(edit);
	for (unsigned i = 0; i < PIECES; i++) {
		char key[16];
		snprintf(key, sizeof key, "value%02u", i);
		assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(piece, PIECE)));
	}
	db_model_put(&m, "small", "stays");
	assert_ok(wombat_flush(db));
	assert_true(stat_of(&m, "value_log.live_bytes") >= 2 * PIECES * PIECE);
	assert_ok(wombat_delete(db, WOMBAT_USER, WOMBAT_STR("large")));
	assert_ok(wombat_delete_range(db, WOMBAT_USER, WOMBAT_STR("value"), WOMBAT_STR("valuf")));

	wombat_pause_compaction(db);
	assert_status(wombat_reclaim(db), WOMBAT_BUSY);
	assert_non_null(strstr(wombat_last_error(), "paused"));
	wombat_resume_compaction(db);
	assert_ok(wombat_reclaim(db));
	assert_true(stat_of(&m, "value_log.live_bytes") == 0 && stat_of(&m, "value_log.files") <= 1);
	assert_true(stat_of(&m, "entries") == 1);
	db_model_compare(&m, 0);
	free(piece);
	db_model_done(&m);
}

/* Closing does not wait for a compaction to end; the next open does it, and finds no file of the half one. */
static void test_close_during_compaction(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	wombat_pause_compaction(m.world.db);
	for (unsigned i = 0; i < 6; i++) {
		put_many(&m, i, 100);
		assert_ok(wombat_flush(m.world.db));
	}
	db_world_hold(&m.world, "writer_open", ".sst");
	wombat_resume_compaction(m.world.db);
	db_world_await_held(&m.world);
	db_world_let_go(&m.world);
	db_world_reopen(&m.world);
	assert_ok(wombat_wait_idle(m.world.db));
	assert_true(stat_of(&m, "level.0.files") < 4);
	double tables = 0;
	for (unsigned level = 0; level < 7; level++) {
		char name[32];
		snprintf(name, sizeof name, "level.%u.files", level);
		tables += stat_of(&m, name);
	}
	assert_true(db_world_files(&m.world, FILE_TABLE, NULL) == tables);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* ---- Errors -------------------------------------------------------------------------------- */

/* Everything that writes is refused with the first cause; what reads goes on. */
static void assert_read_only(struct db_model *m, enum wombat_status status, const char *cause)
{
	struct wombat *db = m->world.db;
	struct wombat_slice k = WOMBAT_STR("refused");
	for (int i = 0; i < 4; i++) {
		enum wombat_status s = i == 0 ? wombat_put(db, WOMBAT_USER, k, k) :
				       i == 1 ? wombat_delete(db, WOMBAT_USER, k) :
				       i == 2 ? wombat_sync(db) : wombat_flush(db);
		assert_int_equal(s, WOMBAT_READ_ONLY);
		assert_non_null(strstr(wombat_last_error(), "is read-only since an error"));
		assert_non_null(strstr(wombat_last_error(), cause));
	}
	assert_status(wombat_compact(db, 0, EVERYTHING), WOMBAT_READ_ONLY);
	assert_status(wombat_background_status(db), status);
	assert_non_null(strstr(wombat_last_error(), cause));
	enum wombat_status idle = wombat_wait_idle(db); /* does not wait for what will not come */
	assert_true(idle == WOMBAT_OK || idle == status);
	assert_true(stat_of(m, "read_only") == 1);
	db_model_compare(m, 0);
}

static void test_failed_flush(void **state)
{
	(void)state;
	static const struct {
		const char *op, *part;
		enum wombat_status status;
	} faults[] = {
		{ "writer_open", ".sst", WOMBAT_IO }, { "writer_write", ".sst", WOMBAT_NO_SPACE },
		{ "writer_sync", ".sst", WOMBAT_IO }, { "writer_close", ".sst", WOMBAT_IO },
		{ "dir_sync", "", WOMBAT_IO }, { "writer_write", "MANIFEST", WOMBAT_NO_SPACE },
		{ "writer_sync", "MANIFEST", WOMBAT_IO },
	};
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		struct db_model m;
		db_model_init(&m, NULL);
		put_many(&m, 0, 20);
		assert_ok(wombat_flush(m.world.db));
		put_many(&m, 10, 20);
		db_world_fail(&m.world, faults[i].op, faults[i].part, 0, faults[i].status);
		assert_status(wombat_flush(m.world.db), faults[i].status);
		assert_non_null(strstr(wombat_last_error(), "injected"));
		assert_true(db_world_let_go(&m.world) > 0);
		assert_read_only(&m, faults[i].status, "injected");
		reopen_after(&m, faults[i].status);
		db_model_compare(&m, 0);
		put_many(&m, 100, 5);
		assert_ok(wombat_compact(m.world.db, 0, EVERYTHING));
		db_model_compare(&m, 0);
		db_model_done(&m);
	}
}

/* Each call that a compaction makes. */
static void test_failed_compaction(void **state)
{
	(void)state;
	struct db_model m;
	const char *const settings[] = {
		"num_level_zero_tables", "1000", "num_level_zero_tables_stall", "1001", NULL,
	};
	unsigned refused = 0, hits = 1;
	db_model_init(&m, settings);
	for (unsigned n = 0; hits; n++) {
		put_many(&m, 0, 60);
		assert_ok(wombat_flush(m.world.db));
		assert_ok(wombat_sync(m.world.db));
		db_world_fail(&m.world, "", "", n, n % 2 ? WOMBAT_IO : WOMBAT_NO_SPACE);
		enum wombat_status s = wombat_compact(m.world.db, 0, EVERYTHING);
		hits = db_world_let_go(&m.world);
		if (s != WOMBAT_OK) {
			refused++;
			assert_int_equal(s, n % 2 ? WOMBAT_IO : WOMBAT_NO_SPACE);
			assert_read_only(&m, s, "injected");
		}
		reopen_after(&m, s);
		db_model_compare(&m, 0);
		assert_ok(wombat_compact(m.world.db, 0, EVERYTHING)); /* as if nothing had been */
	}
	assert_true(refused > 10);
	db_model_done(&m);
}

/* Of several errors the first is told. */
static void test_first_cause(void **state)
{
	(void)state;
	struct db_model m;
	db_model_init(&m, NULL);
	db_model_put(&m, "k", "v");
	db_world_fail(&m.world, "writer_open", ".sst", 0, WOMBAT_NO_SPACE);
	assert_status(wombat_flush(m.world.db), WOMBAT_NO_SPACE);
	db_world_fail(&m.world, "segment_sync", "", 0, WOMBAT_IO);
	struct wombat_slice x = WOMBAT_STR("x");
	assert_status(wombat_put(m.world.db, WOMBAT_USER, x, x), WOMBAT_READ_ONLY);
	db_world_let_go(&m.world);
	assert_read_only(&m, WOMBAT_NO_SPACE, "writer_open");
	assert_true(stat_of(&m, "errors.no_space_total") == 1 && stat_of(&m, "errors.io_total") == 0);
	reopen_after(&m, WOMBAT_NO_SPACE);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

/* Damage that a compaction meets is not written on. */
static void test_damaged_input(void **state)
{
	(void)state;
	struct db_model m;
	char path[FILENAME_PATH_MAX];
	uint64_t number;
	size_t size;
	db_model_init(&m, NULL);
	put_many(&m, 0, 20);
	assert_ok(wombat_flush(m.world.db));
	assert_int_equal(db_world_files(&m.world, FILE_TABLE, &number), 1);
	assert_true(filename_path(path, DB_WORLD_DIR, FILE_TABLE, number));
	env_mem_bytes(m.world.env, path, &size)[100] ^= 1;
	assert_status(wombat_compact(m.world.db, 0, EVERYTHING), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), ".sst"));
	assert_status(wombat_background_status(m.world.db), WOMBAT_CORRUPTION);
	env_mem_bytes(m.world.env, path, &size)[100] ^= 1;
	reopen_after(&m, WOMBAT_CORRUPTION);
	db_model_compare(&m, 0);
	db_model_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_automatic),
		cmocka_unit_test(test_trivial_moves),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_tiered),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_compact),
		cmocka_unit_test(test_compact_at_the_bottom),
		cmocka_unit_test(test_removed_by_itself),
		cmocka_unit_test(test_expired_by_itself),
		cmocka_unit_test(test_requests_at_once),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_reclaim),
		cmocka_unit_test(test_close_during_compaction),
		cmocka_unit_test(test_failed_flush),
		cmocka_unit_test(test_failed_compaction),
		cmocka_unit_test(test_first_cause),
		cmocka_unit_test(test_damaged_input),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
