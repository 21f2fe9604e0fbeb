/*
 * Ingestion: against the model, among writes, snapshots and compactions; what a level takes; failures of each call and
 * allocation, and power cuts.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "tests/support/db_model.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define EVERYTHING WOMBAT_STR(""), WOMBAT_STR("")

static struct wombat_slice key_of(char out[16], unsigned n)
{
	return slice_make(out, (size_t)snprintf(out, 16, "key%06u", n));
}

/* `count` keys from `first` on with that step; each value is `value` and its number. */
static enum wombat_status put_keys(struct wombat_ingest *g, unsigned first, unsigned count, unsigned step, const char *value)
{
	enum wombat_status s = WOMBAT_OK;
	for (unsigned i = 0; i < count && s == WOMBAT_OK; i++) {
		char key[16], text[64];
		unsigned n = first + i * step;
		size_t size = (size_t)snprintf(text, sizeof text, "%s %u", value, n);
		s = wombat_ingest_put(g, WOMBAT_USER, key_of(key, n), slice_make(text, size), NULL);
	}
	return s;
}

static void ingest(struct db_world *w, unsigned first, unsigned count, unsigned step, const char *value)
{
	struct wombat_ingest *g;
	assert_ok(wombat_ingest_new(w->db, &g));
	assert_ok(put_keys(g, first, count, step, value));
	assert_ok(wombat_ingest_commit(g, NULL));
	wombat_ingest_free(g);
}

static void expect(struct db_world *w, unsigned n, const char *value)
{
	char key[16], text[64];
	key_of(key, n);
	if (value)
		snprintf(text, sizeof text, "%s %u", value, n);
	db_world_expect(w, WOMBAT_USER, key, value ? text : NULL);
}

static void test_ingest(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_ingest *g;
	uint64_t sequence = 0;
	char key[16];
	db_world_init(&w, NULL);
	assert_ok(wombat_put(w.db, WOMBAT_USER, key_of(key, 10), WOMBAT_STR("old")));
	assert_ok(wombat_ingest_new(w.db, &g));
	assert_ok(put_keys(g, 0, 100, 1, "new"));
	expect(&w, 5, NULL); /* not before the commit */
	assert_ok(wombat_put(w.db, WOMBAT_USER, key_of(key, 20), WOMBAT_STR("between"))); /* replaced by what commits later */
	struct wombat_snapshot *before = wombat_snapshot_new(w.db);
	assert_ok(wombat_ingest_commit(g, &sequence));
	assert_true(sequence > 0);
	for (unsigned n = 0; n < 100; n++)
		expect(&w, n, "new");
	/* As one change: a snapshot of before sees none of it. */
	struct wombat_read_options then = { .snapshot = before };
	struct wombat_record record;
	assert_status(wombat_get(w.db, &then, WOMBAT_USER, key_of(key, 5), &record), WOMBAT_NOT_FOUND);
	assert_ok(wombat_get(w.db, &then, WOMBAT_USER, key_of(key, 20), &record));
	assert_true(slice_equal(record.value, WOMBAT_STR("between")));
	wombat_record_release(&record);
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, key_of(key, 20), &record));
	assert_true(record.sequence == sequence && record.time_ns > 0);
	wombat_record_release(&record);
	/* And what is written behind it replaces it; the same handle goes on, from any key. */
	assert_ok(wombat_put(w.db, WOMBAT_USER, key_of(key, 30), WOMBAT_STR("newest 30")));
	assert_ok(put_keys(g, 0, 3, 1, "again"));
	assert_ok(wombat_ingest_commit(g, NULL));
	assert_ok(wombat_ingest_commit(g, NULL)); /* of nothing */
	wombat_ingest_free(g);
	for (int round = 0; round < 3; round++) {
		expect(&w, 1, "again");
		expect(&w, 29, "new");
		expect(&w, 30, "newest");
		assert_int_equal(db_world_stat(&w, "errors.checksum_total"), 0);
		if (round == 0) {
			wombat_snapshot_release(w.db, before);
			db_world_reopen(&w);
		} else {
			assert_ok(wombat_compact(w.db, 0, EVERYTHING));
		}
	}
	db_world_done(&w);
}

/* Past the log and the memtable, each byte once: into the deepest level that nothing overlaps. */
static void test_levels(void **state)
{
	(void)state;
	struct db_world w;
	char key[16];
	db_world_init(&w, (const char *const[]){ "max_table_size", "64K", NULL });
	ingest(&w, 0, 20000, 1, "a value of some length, so that there are several tables");
	assert_true(db_world_stat(&w, "level.6.files") > 5);
	assert_true(db_world_stat(&w, "ingested_tables_total") == db_world_stat(&w, "level.6.files"));
	assert_true(db_world_stat(&w, "ingested_bytes_total") > 500000);
	assert_true(db_world_stat(&w, "wal.bytes_total") < 4096);
	assert_true(db_world_stat(&w, "flush_bytes_total") == 0 && db_world_stat(&w, "compactions_total") == 0);
	ingest(&w, 30000, 10, 1, "beside");
	assert_true(db_world_stat(&w, "level.0.files") == 0);
	double last = db_world_stat(&w, "level.6.files");
	ingest(&w, 5, 10, 7, "over"); /* above what it overlaps */
	assert_true(db_world_stat(&w, "level.5.files") == 1 && db_world_stat(&w, "level.6.files") == last);
	/* What was written before goes to a table first. */
	wombat_pause_compaction(w.db);
	assert_ok(wombat_put(w.db, WOMBAT_USER, key_of(key, 12), WOMBAT_STR("put")));
	ingest(&w, 12, 3, 1, "over the put");
	assert_true(db_world_stat(&w, "level.0.files") == 2);
	assert_ok(wombat_put(w.db, WOMBAT_USER, key_of(key, 13), WOMBAT_STR("put 13")));
	expect(&w, 12, "over the put");
	expect(&w, 13, "put");
	expect(&w, 14, "over the put");
	expect(&w, 19, "over");
	expect(&w, 30009, "beside");
	wombat_resume_compaction(w.db);
	db_world_reopen(&w);
	expect(&w, 12, "over the put");
	expect(&w, 13, "put");
	db_world_done(&w);
	/* With tiers only one level below level 0 is in use. */
	db_world_init(&w, (const char *const[]){ "compaction_strategy", "tiered", NULL });
	ingest(&w, 0, 100, 1, "base");
	ingest(&w, 50, 100, 1, "run");
	assert_true(db_world_stat(&w, "level.6.files") == 1 && db_world_stat(&w, "level.0.files") == 1);
	expect(&w, 49, "base");
	expect(&w, 50, "run");
	db_world_done(&w);
}

static void test_arguments(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_ingest *g;
	const struct wombat_slice v = WOMBAT_STR("v");
	db_world_init(&w, (const char *const[]){ "max_key_size", "16", NULL });
	assert_ok(wombat_ingest_new(w.db, &g));
	assert_status(wombat_ingest_put(g, 0, WOMBAT_STR("a"), v, NULL), WOMBAT_INVALID);
	assert_status(wombat_ingest_put(g, WOMBAT_USER, WOMBAT_STR("a key that is too long"), v, NULL), WOMBAT_TOO_BIG);
	assert_ok(wombat_ingest_put(g, 2, WOMBAT_STR("b"), v, NULL));
	assert_status(wombat_ingest_put(g, 2, WOMBAT_STR("b"), v, NULL), WOMBAT_INVALID);
	assert_non_null(strstr(wombat_last_error(), "keyspace 2 key \"b\" does not come behind"));
	assert_status(wombat_ingest_put(g, 2, WOMBAT_STR("a"), v, NULL), WOMBAT_INVALID);
	assert_status(wombat_ingest_put(g, 1, WOMBAT_STR("z"), v, NULL), WOMBAT_INVALID);
	assert_ok(wombat_ingest_put(g, 2, WOMBAT_STR("bb"), v, NULL)); /* a wrong order changes nothing */
	assert_ok(wombat_ingest_put(g, 3, WOMBAT_STR(""), v, NULL));
	assert_ok(wombat_ingest_commit(g, NULL));
	db_world_expect(&w, 2, "bb", "v");
	db_world_expect(&w, 3, "", "v");
	assert_ok(wombat_ingest_put(g, 1, WOMBAT_STR("z"), v, NULL));
	unsigned tables = db_world_files(&w, FILE_TABLE, NULL);
	wombat_ingest_free(g); /* abandoned */
	assert_true(db_world_files(&w, FILE_TABLE, NULL) < tables);
	db_world_expect(&w, 1, "z", NULL);
	wombat_ingest_free(NULL);
	db_world_done(&w);
}

/* Values in the value log, with attributes and expiry; collected as others are. */
static void test_large_values(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_ingest *g;
	struct wombat_record record;
	static uint8_t bytes[30000];
	db_world_init(&w, (const char *const[]){ "value_threshold", "4K", "value_log_file_size", "64K", NULL });
	env_mem_set_now(w.env, 1000);
	assert_ok(wombat_ingest_new(w.db, &g));
	for (unsigned n = 0; n < 20; n++) {
		char key[16];
		struct wombat_put_info info = { .attr = WOMBAT_STR("attributes"), .expiry_ns = n % 2 ? 2000 : 0, .time_ns = 7 };
		memset(bytes, (int)n, sizeof bytes);
		assert_ok(wombat_ingest_put(g, WOMBAT_USER, key_of(key, n), slice_make(bytes, sizeof bytes), &info));
	}
	assert_ok(wombat_ingest_commit(g, NULL));
	wombat_ingest_free(g);
	assert_true(db_world_stat(&w, "value_log.files") > 5);
	for (int round = 0; round < 2; round++) {
		for (unsigned n = 0; n < 20; n++) {
			char key[16];
			assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, key_of(key, n), &record));
			assert_true(record.value.size == sizeof bytes && record.value.data[29999] == n);
			assert_true(slice_equal(record.attr, WOMBAT_STR("attributes")) && record.time_ns == 7);
			wombat_record_release(&record);
		}
		db_world_reopen(&w);
	}
	env_mem_set_now(w.env, 3000);
	expect(&w, 1, NULL);
	assert_ok(wombat_delete_range(w.db, WOMBAT_USER, EVERYTHING));
	assert_ok(wombat_compact(w.db, 0, EVERYTHING));
	assert_ok(wombat_flush(w.db));
	db_world_reopen(&w);
	assert_true(db_world_stat(&w, "value_log.files") <= 1);
	db_world_done(&w);
}

/* A range under another prefix: small values anew, a large one moved by the batch, if it is still the same. */
static void test_moves(void **state)
{
	(void)state;
	struct db_world w;
	static uint8_t bytes[100000];
	static const struct wombat_slice from = { (const uint8_t *)"old/large", 9 }, to = { (const uint8_t *)"new/large", 9 };
	db_world_init(&w, (const char *const[]){ "value_threshold", "4K", NULL });
	for (unsigned round = 0; round < 2; round++) {
		struct wombat_ingest *g;
		struct wombat_value *value;
		struct wombat_record record;
		struct wombat_batch *b = wombat_batch_new();
		memset(bytes, (int)round + 1, sizeof bytes);
		assert_ok(wombat_put(w.db, WOMBAT_USER, from, slice_make(bytes, sizeof bytes)));
		db_world_put(&w, "old/small", "1");
		assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, from, &value));
		assert_ok(wombat_ingest_new(w.db, &g));
		assert_ok(wombat_ingest_put(g, WOMBAT_USER, WOMBAT_STR("new/small"), WOMBAT_STR("1"), NULL));
		assert_ok(wombat_batch_delete_range(b, WOMBAT_USER, WOMBAT_STR("old/"), WOMBAT_STR("old0")));
		assert_ok(wombat_batch_move_value(b, WOMBAT_USER, from, to, value, NULL));
		double written = db_world_stat(&w, "value_log.bytes_total");
		if (round == 0) {
			db_world_put(&w, "old/large", "another");
			assert_status(wombat_ingest_commit_with(g, b, NULL), WOMBAT_CONFLICT);
			db_world_expect(&w, WOMBAT_USER, "new/small", NULL);
			db_world_expect(&w, WOMBAT_USER, "old/small", "1");
			db_world_expect(&w, WOMBAT_USER, "old/large", "another");
		} else {
			assert_ok(wombat_ingest_commit_with(g, b, NULL));
			assert_true(db_world_stat(&w, "value_log.bytes_total") - written < 1000);
		}
		wombat_ingest_free(g);
		wombat_batch_free(b);
		wombat_value_close(value);
		for (unsigned i = 0; round == 1 && i < 2; i++) {
			db_world_expect(&w, WOMBAT_USER, "new/small", "1");
			db_world_expect(&w, WOMBAT_USER, "old/small", NULL);
			assert_status(wombat_get(w.db, NULL, WOMBAT_USER, from, &record), WOMBAT_NOT_FOUND);
			assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, to, &record));
			assert_true(slice_equal(record.value, slice_make(bytes, sizeof bytes)));
			wombat_record_release(&record);
			assert_ok(wombat_compact(w.db, 0, EVERYTHING));
			db_world_reopen(&w);
		}
	}
	db_world_done(&w);
}

static void test_transactions_see_it(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_txn *t;
	struct wombat_record record;
	char key[16];
	db_world_init(&w, NULL);
	assert_ok(wombat_txn_begin(w.db, 0, &t));
	assert_status(wombat_txn_get(t, WOMBAT_USER, key_of(key, 3), 0, &record), WOMBAT_NOT_FOUND);
	assert_ok(wombat_txn_put(t, WOMBAT_USER, key_of(key, 3), WOMBAT_STR("mine"), NULL));
	ingest(&w, 0, 10, 1, "theirs");
	assert_status(wombat_txn_get(t, WOMBAT_USER, key_of(key, 4), 0, &record), WOMBAT_NOT_FOUND);
	assert_status(wombat_txn_commit(t, 0, NULL), WOMBAT_CONFLICT);
	expect(&w, 3, "theirs");
	db_world_done(&w);
}

/* ---- Against the model --------------------------------------------------------------------- */

/* Changes that are behind those of the ingestion: some of the same keys. */
static struct wombat_batch *batch_random(struct db_model *m, struct random_state *r)
{
	struct wombat_batch *b = wombat_batch_new();
	assert_non_null(b);
	for (uint64_t n = random_below(r, 20); n > 0; n--) {
		char key[16], end[16];
		unsigned at = (unsigned)random_below(r, 1000);
		struct wombat_slice from = key_of(key, at), to = key_of(end, at + 1 + (unsigned)random_below(r, 60));
		char value[400];
		size_t size = (size_t)random_below(r, sizeof value);
		memset(value, 'A' + (int)random_below(r, 26), size);
		switch (random_below(r, 8)) {
		case 0:
			assert_ok(wombat_batch_delete_range(b, WOMBAT_USER, from, to));
			model_delete_range(&m->model, WOMBAT_USER, from, to);
			break;
		case 1:
			assert_ok(wombat_batch_delete(b, WOMBAT_USER, from));
			model_delete(&m->model, WOMBAT_USER, from);
			break;
		default:
			assert_ok(wombat_batch_put(b, WOMBAT_USER, from, slice_make(value, size), NULL));
			model_put(&m->model, WOMBAT_USER, from, slice_make(value, size), NULL);
		}
	}
	return b;
}

static void ingest_random(struct db_model *m, struct random_state *r)
{
	struct wombat_ingest *g;
	unsigned first = (unsigned)random_below(r, 300), step = 1 + (unsigned)random_below(r, 9);
	assert_ok(wombat_ingest_new(m->world.db, &g));
	for (unsigned i = 0, n = first; i < 1 + random_below(r, 120); i++, n += step) {
		char key[16], value[400];
		size_t size = (size_t)random_below(r, sizeof value);
		memset(value, 'a' + (int)random_below(r, 26), size);
		struct wombat_put_info info = { .expiry_ns = random_below(r, 10) ? 0 : 1 + random_below(r, 5000) };
		assert_ok(wombat_ingest_put(g, WOMBAT_USER, key_of(key, n), slice_make(value, size), &info));
		model_put(&m->model, WOMBAT_USER, key_of(key, n), slice_make(value, size), &info);
	}
	if (random_below(r, 3) == 0)
		assert_ok(wombat_flush(m->world.db));
	struct wombat_batch *b = random_below(r, 2) ? batch_random(m, r) : NULL;
	if (random_below(r, 3) == 0)
		assert_ok(wombat_ingest_prepare(g));
	assert_ok(wombat_ingest_commit_with(g, b, NULL));
	wombat_batch_free(b);
	wombat_ingest_free(g);
}

static void change_random(struct db_model *m, struct random_state *r)
{
	for (uint64_t n = random_below(r, 150); n > 0; n--) {
		char key[16], end[16];
		unsigned at = (unsigned)random_below(r, 1000);
		struct wombat_slice from = key_of(key, at);
		switch (random_below(r, 30)) {
		case 0: {
			struct wombat_slice to = key_of(end, at + 1 + (unsigned)random_below(r, 60));
			assert_ok(wombat_delete_range(m->world.db, WOMBAT_USER, from, to));
			model_delete_range(&m->model, WOMBAT_USER, from, to);
			break;
		}
		case 1:
		case 2:
		case 3:
			db_model_delete(m, key);
			break;
		default:
			db_model_put(m, key, "put");
		}
	}
}

static void run_model(const char *const *settings, uint64_t seed)
{
	struct db_model m;
	struct random_state r;
	struct wombat_snapshot *snapshot = NULL;
	struct model then;
	random_seed(&r, seed);
	db_model_init(&m, settings);
	for (uint64_t step = 1; step < 120; step++) {
		env_mem_set_now(m.world.env, step * 50);
		if (random_below(&r, 2))
			ingest_random(&m, &r);
		else
			change_random(&m, &r);
		if (!snapshot && random_below(&r, 8) == 0) {
			snapshot = wombat_snapshot_new(m.world.db);
			model_copy(&m.model, &then);
		} else if (snapshot && random_below(&r, 8) == 0) {
			for (unsigned n = 0; n < 1400; n += 7) {
				char key[16];
				struct wombat_read_options at = { .snapshot = snapshot };
				struct wombat_record record;
				enum wombat_status s = wombat_get(m.world.db, &at, WOMBAT_USER, key_of(key, n), &record);
				const struct model_record *want = model_get(&then, WOMBAT_USER, key_of(key, n), step * 50);
				assert_status(s, want ? WOMBAT_OK : WOMBAT_NOT_FOUND);
				if (want) {
					assert_int_equal(record.value.size, want->value_size);
					assert_memory_equal(record.value.data, want->value, want->value_size);
					wombat_record_release(&record);
				}
			}
			wombat_snapshot_release(m.world.db, snapshot);
			model_done(&then);
			snapshot = NULL;
		}
		if (random_below(&r, 4) == 0)
			db_model_compare(&m, step * 50);
		if (random_below(&r, 10) == 0)
			assert_ok(wombat_compact(m.world.db, 0, EVERYTHING));
		if (!snapshot && random_below(&r, 12) == 0)
			db_world_reopen(&m.world);
	}
	if (snapshot) {
		wombat_snapshot_release(m.world.db, snapshot);
		model_done(&then);
	}
	db_model_compare(&m, 120 * 50);
	db_world_reopen(&m.world);
	db_model_compare(&m, 120 * 50);
	db_model_done(&m);
}

static void test_model(void **state)
{
	(void)state;
	run_model((const char *const[]){ "level_size_multiplier", "2", "num_level_zero_tables", "2", NULL }, test_seed("leveled"));
	run_model((const char *const[]){ "compaction_strategy", "tiered", "num_level_zero_tables", "3", NULL }, test_seed("tiered"));
	run_model((const char *const[]){ "value_threshold", "100", "value_log_file_size", "64K", NULL }, test_seed("value log"));
}

/* ---- Beside writers ------------------------------------------------------------------------ */

struct writer {
	struct wombat *db;
	atomic_bool stop;
	atomic_uint written;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;
	while (!atomic_load(&w->stop)) {
		char key[16], value[16];
		unsigned n = atomic_load(&w->written);
		size_t size = (size_t)snprintf(value, sizeof value, "w %u", n);
		assert_ok(wombat_put(w->db, WOMBAT_USER, key_of(key, n % 500 * 2), slice_make(value, size)));
		atomic_store(&w->written, n + 1);
	}
	return NULL;
}

/* All or nothing for a reader, at any moment; writers go on. */
static void test_beside_writers(void **state)
{
	(void)state;
	struct db_world w;
	struct writer writer = { .stop = false };
	pthread_t thread;
	db_world_init(&w, (const char *const[]){ "mem_table_size", "64K", "num_level_zero_tables", "2", NULL });
	writer.db = w.db;
	assert_int_equal(pthread_create(&thread, NULL, write_on, &writer), 0);
	for (unsigned round = 0; round < 15; round++) {
		char value[16];
		unsigned before = atomic_load(&writer.written);
		snprintf(value, sizeof value, "round %u", round);
		ingest(&w, 1, 300, 2, value); /* odd keys: nobody else writes them */
		expect(&w, 1, value);
		expect(&w, 599, value);
		while (atomic_load(&writer.written) == before) /* a commit does not hold writers up for good */
			sched_yield();
	}
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	for (unsigned n = 1; n < 600; n += 2)
		expect(&w, n, "round 14");
	db_world_done(&w);
}

/* ---- Failures and crashes ------------------------------------------------------------------ */

#define NEWER "a newer value, large enough for the value log, too"

static enum wombat_status ingest_some(struct wombat *db, unsigned count)
{
	struct wombat_ingest *g;
	enum wombat_status s = wombat_ingest_new(db, &g);
	if (s != WOMBAT_OK)
		return s;
	s = put_keys(g, 0, count, 1, "a value that is large enough for the value log");
	struct wombat_batch *b = wombat_batch_new();
	if (s == WOMBAT_OK && !b)
		s = WOMBAT_NO_MEMORY;
	/* What is moved: the old place is emptied, and what changed meanwhile is newer. */
	if (s == WOMBAT_OK)
		s = wombat_batch_delete_range(b, WOMBAT_USER, WOMBAT_STR("old"), WOMBAT_STR("ole"));
	if (s == WOMBAT_OK)
		s = wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR("key000000"), WOMBAT_STR(NEWER), NULL);
	if (s == WOMBAT_OK)
		s = wombat_ingest_commit_with(g, b, NULL);
	if (s != WOMBAT_OK)
		assert_true(wombat_ingest_commit(g, NULL) != WOMBAT_OK);
	wombat_batch_free(b);
	wombat_ingest_free(g);
	return s;
}

/* What a change is to leave alone, and what it removes. */
static void put_others(struct db_world *w)
{
	db_world_put(w, "other", "1");
	db_world_put(w, "old 1", "1");
	db_world_put(w, "old 2", "2");
}

/* Nothing or all. */
static bool is_there(struct db_world *w, unsigned count)
{
	unsigned found = 0;
	for (unsigned n = 0; n < count; n++) {
		char key[16];
		struct wombat_record record;
		enum wombat_status s = wombat_get(w->db, NULL, WOMBAT_USER, key_of(key, n), &record);
		if (s == WOMBAT_OK)
			wombat_record_release(&record);
		else
			assert_status(s, WOMBAT_NOT_FOUND);
		found += s == WOMBAT_OK;
	}
	assert_true(found == 0 || found == count);
	db_world_expect(w, WOMBAT_USER, "old 1", found ? NULL : "1");
	db_world_expect(w, WOMBAT_USER, "old 2", found ? NULL : "2");
	if (found)
		db_world_expect(w, WOMBAT_USER, "key000000", NEWER);
	return found > 0;
}

static const char *const small[] = { "value_threshold", "40", "max_table_size", "64K", "sync_interval_ms", "0", NULL };

/* What failed may have ended writing, at once or with the next flush. */
static void reopen_after(struct db_world *w, enum wombat_status failure)
{
	enum wombat_status s = wombat_close(w->db);
	assert_true(s == WOMBAT_OK || s == failure);
	w->db = NULL;
	db_world_open(w);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		db_world_init(&w, small);
		put_others(&w);
		scarce_begin(n);
		s = ingest_some(w.db, 60);
		scarce_end();
		enum wombat_status background = wombat_background_status(w.db);
		if (s != WOMBAT_OK)
			assert_status(s, WOMBAT_NO_MEMORY);
		if (background == WOMBAT_OK)
			assert_int_equal(is_there(&w, 60), s == WOMBAT_OK);
		reopen_after(&w, background != WOMBAT_OK ? background : s);
		assert_true(is_there(&w, 60) || s != WOMBAT_OK);
		db_world_expect(&w, WOMBAT_USER, "other", "1");
		db_world_put(&w, "later", "1");
		db_world_done(&w);
	}
	assert_true(n > 10);
}

static void test_io_fails(void **state)
{
	(void)state;
	static const char *const operations[][2] = {
		{ "writer_", ".sst" }, { "writer_", ".vlog" }, { "writer_", "MANIFEST" }, { "dir_sync", "" },
	};
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
		unsigned n = 0;
		for (unsigned hits = 1; hits > 0; n++) {
			struct db_world w;
			db_world_init(&w, small);
			put_others(&w);
			unsigned tables = db_world_files(&w, FILE_TABLE, NULL);
			wombat_pause_compaction(w.db); /* whose failures would come when they like */
			db_world_fail(&w, operations[i][0], operations[i][1], n, WOMBAT_IO);
			enum wombat_status s = ingest_some(w.db, 60);
			hits = db_world_let_go(&w);
			wombat_resume_compaction(w.db);
			enum wombat_status background = wombat_background_status(w.db);
			if (hits == 0)
				assert_ok(s);
			if (s != WOMBAT_OK)
				assert_status(s, background == WOMBAT_OK ? WOMBAT_IO : s);
			if (s != WOMBAT_OK && background == WOMBAT_OK) {
				assert_false(is_there(&w, 60));
				assert_true(db_world_files(&w, FILE_TABLE, NULL) <= tables + 1);
			}
			reopen_after(&w, background != WOMBAT_OK ? background : s);
			assert_true(is_there(&w, 60) || s != WOMBAT_OK);
			db_world_expect(&w, WOMBAT_USER, "other", "1");
			db_world_done(&w);
		}
		assert_true(n > 1);
	}
}

/* Power cuts at each sync of an ingestion: nothing or all of it, and all behind its commit. */
struct cuts {
	struct env *env;
	pthread_mutex_t mu;     /* syncs are of several threads */
	struct env *clones[64];
	size_t count;
};

static void on_sync(void *arg, const char *path)
{
	struct cuts *c = arg;
	(void)path;
	pthread_mutex_lock(&c->mu);
	if (c->count < 64 && env_mem_clone(c->env, ENV_MEM_SYNCED_ONLY, c->count, &c->clones[c->count]) == WOMBAT_OK)
		c->count++;
	pthread_mutex_unlock(&c->mu);
}

static void test_crash(void **state)
{
	(void)state;
	struct db_world w;
	struct cuts cuts = { .mu = PTHREAD_MUTEX_INITIALIZER };
	struct env *last;
	bool seen[2] = { false, false };
	db_world_init(&w, small);
	put_others(&w);
	assert_ok(wombat_sync(w.db));
	cuts.env = w.env;
	env_mem_on_sync(w.env, on_sync, &cuts);
	assert_ok(ingest_some(w.db, 60));
	env_mem_on_sync(w.env, NULL, NULL);
	assert_ok(env_mem_clone(w.env, ENV_MEM_SYNCED_ONLY, 99, &last));
	struct env *env = w.env;
	db_world_close(&w);
	for (size_t i = 0; i <= cuts.count; i++) {
		w.env = i < cuts.count ? cuts.clones[i] : last;
		db_world_open(&w);
		bool there = is_there(&w, 60);
		seen[there] = true;
		assert_true(there || i < cuts.count);
		db_world_expect(&w, WOMBAT_USER, "other", "1");
		db_world_put(&w, "later", "1");
		assert_ok(ingest_some(w.db, 60));
		assert_true(is_there(&w, 60));
		db_world_reopen(&w);
		assert_true(is_there(&w, 60));
		db_world_expect(&w, WOMBAT_USER, "later", "1");
		db_world_close(&w);
		w.env->calls->free(w.env);
	}
	assert_true(cuts.count > 3 && seen[0] && seen[1]);
	w.env = env;
	db_world_open(&w);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ingest),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_large_values),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_transactions_see_it),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_beside_writers),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_io_fails),
		cmocka_unit_test(test_crash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
