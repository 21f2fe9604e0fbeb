/* Large values through the database: where they go by the options, what is reclaimed, what check finds. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/db/db_impl.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "tests/support/db_world.h"
#include "tests/support/values.h"
#include "tests/support/check.h"

enum { SIZE = 5000 };

struct world {
	struct env *env;
	struct wombat *db;
	struct wombat_options *options;
};

static void world_open(struct world *w)
{
	assert_ok(db_open_env(w->env, "/db", w->options, WOMBAT_CREATE, &w->db));
}

static void world_init(struct world *w)
{
	static const char *const settings[][2] = {
		{ "value_threshold", "4K" }, { "value_log_file_size", "64K" }, { "value_log_space_reclaim_threshold", "0.5" },
		{ "sync_interval_ms", "0" }, { "num_level_zero_tables", "2" },
	};
	assert_ok(env_mem_new(&w->env));
	w->options = wombat_options_new();
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		assert_ok(wombat_options_set(w->options, settings[i][0], settings[i][1]));
	world_open(w);
}

static void world_done(struct world *w)
{
	assert_ok(wombat_close(w->db));
	wombat_options_free(w->options);
	w->env->calls->free(w->env);
}

static double stat_of(struct world *w, const char *name)
{
	double value = -1;
	assert_ok(wombat_stat(w->db, name, &value));
	return value;
}

static struct wombat_slice key_of(int i)
{
	static char text[16];
	snprintf(text, sizeof text, "key%04d", i);
	return WOMBAT_STR(text);
}

static void put(struct world *w, int key, size_t size, uint64_t n)
{
	uint8_t *bytes = malloc(size);
	values_fill(bytes, size, n);
	assert_ok(wombat_put(w->db, WOMBAT_USER, key_of(key), WOMBAT_SLICE(bytes, size)));
	free(bytes);
}

static void assert_value(struct world *w, const struct wombat_read_options *options, int key, size_t size, uint64_t n)
{
	struct wombat_record r;
	uint8_t *bytes = malloc(size);
	values_fill(bytes, size, n);
	assert_ok(wombat_get(w->db, options, WOMBAT_USER, key_of(key), &r));
	assert_int_equal(r.value_size, size);
	assert_memory_equal(r.value.data, bytes, size);
	wombat_record_release(&r);
	free(bytes);
}

static void test_threshold(void **state)
{
	(void)state;
	struct world w;
	struct wombat_setting off = { "value_threshold", "0" };
	world_init(&w);
	put(&w, 1, 4095, 1);
	assert_true(stat_of(&w, "value_log.appends_total") == 0);
	put(&w, 2, 4096, 2);
	assert_true(stat_of(&w, "value_log.appends_total") == 1);
	assert_true(stat_of(&w, "wal.bytes_total") < 2 * 4096); /* the second is not in it */
	assert_ok(wombat_set(w.db, &off, 1));
	put(&w, 3, 1 << 20, 3);
	assert_true(stat_of(&w, "value_log.appends_total") == 1);
	for (int round = 0; round < 3; round++) {
		assert_value(&w, NULL, 1, 4095, 1);
		assert_value(&w, NULL, 2, 4096, 2);
		assert_value(&w, NULL, 3, 1 << 20, 3);
		if (round == 0)
			assert_ok(wombat_flush(w.db));
		if (round == 1) {
			assert_ok(wombat_close(w.db));
			world_open(&w);
		}
	}
	world_done(&w);
}

/* Size and attributes are known without the value; a read from memory alone does not wait for it. */
static void test_without_the_value(void **state)
{
	(void)state;
	struct world w;
	struct wombat_record r;
	struct wombat_read_options meta = { .flags = WOMBAT_READ_META | WOMBAT_READ_CACHED };
	struct wombat_read_options cached = { .flags = WOMBAT_READ_CACHED };
	world_init(&w);
	uint8_t bytes[SIZE];
	struct wombat_batch *b = wombat_batch_new();
	struct wombat_put_info info = { .attr = WOMBAT_STR("attributes"), .borrow = true };
	values_fill(bytes, SIZE, 1);
	assert_ok(wombat_batch_put(b, WOMBAT_USER, key_of(1), WOMBAT_SLICE(bytes, SIZE), &info));
	assert_ok(wombat_batch_put(b, WOMBAT_USER, key_of(2), WOMBAT_STR("small"), &info));
	assert_ok(wombat_write(w.db, b, WOMBAT_SYNC, NULL));
	memset(bytes, 0, SIZE);
	wombat_batch_free(b);
	assert_ok(wombat_get(w.db, &meta, WOMBAT_USER, key_of(1), &r));
	assert_true(r.value_size == SIZE && !r.value.data && r.attr.size == 10);
	wombat_record_release(&r);
	assert_true(stat_of(&w, "value_log.reads_total") == 0);
	assert_status(wombat_get(w.db, &cached, WOMBAT_USER, key_of(1), &r), WOMBAT_WOULD_BLOCK);
	assert_value(&w, NULL, 1, SIZE, 1);
	assert_ok(wombat_get(w.db, &cached, WOMBAT_USER, key_of(1), &r));
	wombat_record_release(&r);
	world_done(&w);
}

static void note_finding(void *arg, bool is_damage, const char *sentence)
{
	if (is_damage && strstr(sentence, ".vlog"))
		++*(int *)arg;
}

/* Overwriting everything again and again leaves a bounded log, and each file that goes had its live values saved. */
static void test_space_is_reclaimed(void **state)
{
	(void)state;
	struct world w;
	enum { KEYS = 40, ROUNDS = 12 };
	world_init(&w);
	for (int key = 0; key < KEYS; key++)
		put(&w, 1000 + key * 10, SIZE, (uint64_t)key); /* stay: scattered among what is overwritten */
	for (int round = 0; round < ROUNDS; round++) {
		for (int key = 0; key < KEYS; key++)
			put(&w, 1000 + key * 10 + 1 + round % 2, SIZE, (uint64_t)(round * 1000 + key));
		assert_ok(wombat_flush(w.db));
		assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
		assert_ok(wombat_wait_idle(w.db));
	}
	double live = stat_of(&w, "value_log.live_bytes");
	assert_true(live == 3.0 * KEYS * SIZE);
	assert_true(stat_of(&w, "value_log.reclaimed_bytes_total") > (ROUNDS - 4) * KEYS * SIZE);
	/* Half of each file may be dead, and the last one is not full. */
	assert_true(stat_of(&w, "value_log.bytes") < 2.2 * live + 3 * 65536);
	for (int key = 0; key < KEYS; key++) {
		assert_value(&w, NULL, 1000 + key * 10, SIZE, (uint64_t)key);
		assert_value(&w, NULL, 1000 + key * 10 + 1, SIZE, (uint64_t)((ROUNDS - 2) * 1000 + key));
	}
	assert_ok(wombat_close(w.db));
	int found = 0;
	assert_ok(db_check_env(w.env, "/db", note_finding, &found));
	world_open(&w);
	for (int key = 0; key < KEYS; key++)
		assert_value(&w, NULL, 1000 + key * 10, SIZE, (uint64_t)key);
	world_done(&w);
}

/* ---- A removal that a collection overtakes ---- */

static struct world *overtaken; /* NULL: by none */
static pthread_t remover;

static void compact_all(struct world *w)
{
	const struct wombat_slice none = { NULL, 0 };
	assert_ok(wombat_compact(w->db, 0, none, none));
	assert_ok(wombat_wait_idle(w->db));
}

void __real_vlog_remove_dead(struct vlog *v, bool (*is_live)(void *arg, uint64_t file), void *arg, uint64_t flushed_sequence,
			     uint64_t unholds);
void __wrap_vlog_remove_dead(struct vlog *v, bool (*is_live)(void *arg, uint64_t file), void *arg, uint64_t flushed_sequence,
			     uint64_t unholds);
/* What is live was looked at already. */
void __wrap_vlog_remove_dead(struct vlog *v, bool (*is_live)(void *arg, uint64_t file), void *arg, uint64_t flushed_sequence,
			     uint64_t unholds)
{
	struct world *w = overtaken;
	if (w && pthread_equal(pthread_self(), remover)) {
		overtaken = NULL;
		double moved = stat_of(w, "value_log.moved_bytes_total");
		wombat_resume_compaction(w->db); /* only now: a compaction of the background's own would come too early */
		/* The background collects when it comes to it, which nothing waits for. */
		for (int i = 0; i < 10000 && stat_of(w, "value_log.moved_bytes_total") < moved + 50.0 * SIZE; i++) {
			compact_all(w);
			usleep(1000);
		}
		assert_true(stat_of(w, "value_log.moved_bytes_total") >= moved + 50.0 * SIZE);
	}
	__real_vlog_remove_dead(v, is_live, arg, flushed_sequence, unholds);
}

/* Values that are written anew while it is under way, and are in tables by then, are not taken for dead. */
static void test_removal_overtaken_by_a_collection(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	for (int key = 0; key < 200; key++)
		put(&w, key, SIZE, (uint64_t)key);
	compact_all(&w);
	wombat_pause_compaction(w.db);
	for (int key = 0; key < 200; key++)
		if (key % 3) /* of each file more than half dies */
			assert_ok(wombat_delete(w.db, WOMBAT_USER, key_of(key)));
	remover = pthread_self();
	overtaken = &w;
	db_values_remove_dead(w.db);
	assert_null(overtaken);
	for (int key = 0; key < 200; key += 3)
		assert_value(&w, NULL, key, SIZE, (uint64_t)key);
	int found = 0;
	assert_ok(wombat_verify(w.db, note_finding, &found));
	world_done(&w);
}

static void test_files_partly_live_are_collected(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	for (int key = 0; key < 60; key++)
		put(&w, key, SIZE, (uint64_t)key);
	assert_ok(wombat_flush(w.db));
	for (int key = 0; key < 60; key++)
		if (key % 4) /* three of four in each file die */
			assert_ok(wombat_delete(w.db, WOMBAT_USER, key_of(key)));
	assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
	/* The tables that point to what is now mostly dead are rewritten when nothing else is due. */
	for (int i = 0; i < 1000 && stat_of(&w, "value_log.removed_files_total") < 4; i++) {
		assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
		assert_ok(wombat_wait_idle(w.db));
	}
	assert_true(stat_of(&w, "value_log.removed_files_total") >= 4);
	assert_true(stat_of(&w, "value_log.moved_bytes_total") >= 10 * SIZE);
	for (int key = 0; key < 60; key += 4)
		assert_value(&w, NULL, key, SIZE, (uint64_t)key);
	world_done(&w);
}

/* A value is read in parts wherever it is, and stays what it was while it is open. */
static void test_in_parts(void **state)
{
	(void)state;
	static const size_t sizes[] = { 10, SIZE, 150000 }; /* in the memtable, in the log, in several chunks */
	struct world w;
	world_init(&w);
	for (int flushed = 0; flushed < 2; flushed++)
		for (int k = 0; k < 3; k++) {
			struct wombat_value *value;
			uint8_t *want = malloc(sizes[k]), got[3000];
			size_t n;
			values_fill(want, sizes[k], (uint64_t)k);
			put(&w, k, sizes[k], (uint64_t)k);
			if (flushed)
				assert_ok(wombat_flush(w.db));
			assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, key_of(k), &value));
			assert_int_equal(wombat_value_record(value)->value_size, sizes[k]);
			put(&w, k, 77, 9);
			assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
			for (size_t at = 0; at < sizes[k]; at += n) {
				assert_ok(wombat_value_read(value, at, got, sizeof got, &n));
				assert_true(n > 0 && (n == sizeof got || at + n == sizes[k]));
				assert_memory_equal(got, want + at, n);
			}
			assert_ok(wombat_value_read(value, sizes[k], got, 1, &n));
			assert_int_equal(n, 0);
			wombat_value_close(value);
			free(want);
		}
	struct wombat_value *none;
	assert_status(wombat_value_open(w.db, NULL, WOMBAT_USER, WOMBAT_STR("none"), &none), WOMBAT_NOT_FOUND);
	world_done(&w);
}

/* A value is put under other keys without being written again, and each key keeps it as long as it likes. */
static void test_shared(void **state)
{
	(void)state;
	struct world w;
	struct wombat_value *value;
	struct wombat_put_info info = { .attr = WOMBAT_STR("its own") };
	world_init(&w);
	put(&w, 1, SIZE, 1);
	put(&w, 2, 20, 2);
	assert_ok(wombat_flush(w.db));
	double before = stat_of(&w, "value_log.bytes_total");
	for (int from = 1; from <= 2; from++) {
		struct wombat_batch *b = wombat_batch_new();
		assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, key_of(from), &value));
		assert_ok(wombat_batch_put_value(b, WOMBAT_USER, key_of(10 + from), value, &info));
		assert_ok(wombat_batch_delete(b, WOMBAT_USER, key_of(from)));
		assert_ok(wombat_write(w.db, b, 0, NULL));
		wombat_batch_free(b);
		wombat_value_close(value);
	}
	assert_true(stat_of(&w, "value_log.bytes_total") == before);
	for (int round = 0; round < 3; round++) {
		struct wombat_record r;
		assert_value(&w, NULL, 11, SIZE, 1);
		assert_value(&w, NULL, 12, 20, 2);
		assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, key_of(11), &r));
		assert_int_equal(r.attr.size, info.attr.size);
		wombat_record_release(&r);
		assert_status(wombat_get(w.db, NULL, WOMBAT_USER, key_of(1), &r), WOMBAT_NOT_FOUND);
		/* Everything that could remove the file or write the value anew happens. */
		for (int i = 0; i < 40; i++)
			put(&w, 100 + i % 3, SIZE, (uint64_t)i);
		assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
		assert_ok(wombat_wait_idle(w.db));
		if (round == 1) {
			assert_ok(wombat_close(w.db));
			world_open(&w);
		}
	}
	world_done(&w);
}

/* A snapshot and an iterator see the value that was, after it was overwritten and everything compacted. */
static void test_readers_keep_what_they_see(void **state)
{
	(void)state;
	struct world w;
	struct wombat_iter *it;
	world_init(&w);
	put(&w, 1, SIZE, 1);
	struct wombat_snapshot *snapshot = wombat_snapshot_new(w.db);
	struct wombat_read_options old = { .snapshot = snapshot };
	assert_ok(wombat_iter_new(w.db, NULL, WOMBAT_USER, &it));
	for (uint64_t n = 2; n < 60; n++) {
		put(&w, 1, SIZE, n);
		if (n % 10 == 0)
			assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
	}
	assert_value(&w, &old, 1, SIZE, 1);
	assert_value(&w, NULL, 1, SIZE, 59);
	uint8_t bytes[SIZE];
	values_fill(bytes, SIZE, 1);
	assert_true(wombat_iter_first(it));
	assert_memory_equal(wombat_iter_record(it)->value.data, bytes, SIZE);
	assert_false(wombat_iter_next(it));
	wombat_iter_free(it);
	wombat_snapshot_release(w.db, snapshot);
	world_done(&w);
}

static void test_check_finds_damage(void **state)
{
	(void)state;
	struct world w;
	int found = 0;
	world_init(&w);
	put(&w, 1, SIZE, 1);
	assert_ok(wombat_flush(w.db));
	assert_ok(wombat_close(w.db));
	assert_ok(db_check_env(w.env, "/db", note_finding, &found));
	assert_int_equal(found, 0);
	char path[FILENAME_PATH_MAX] = "";
	struct buf bytes = { 0 };
	for (uint64_t number = 1; number < 20 && !bytes.size; number++) {
		assert_true(filename_path(path, "/db", FILE_VALUES, number));
		if (env_read_file(w.env, path, 1 << 20, &bytes) != WOMBAT_OK)
			buf_clear(&bytes);
	}
	assert_true(bytes.size > SIZE);
	bytes.data[bytes.size - 100] ^= 4;
	struct env_writer *writer;
	assert_ok(w.env->calls->writer_open(w.env, path, 4096, 0, &writer));
	assert_ok(w.env->calls->writer_write(writer, bytes.data, bytes.size));
	assert_ok(w.env->calls->writer_close(writer));
	buf_done(&bytes);
	assert_status(db_check_env(w.env, "/db", note_finding, &found), WOMBAT_CORRUPTION);
	assert_int_equal(found, 1);
	world_open(&w);
	struct wombat_record r;
	assert_status(wombat_get(w.db, NULL, WOMBAT_USER, key_of(1), &r), WOMBAT_CORRUPTION);
	world_done(&w);
}

static void *sync_all(void *arg)
{
	struct db_world *w = arg;
	return wombat_sync(w->db) == WOMBAT_OK ? NULL : w;
}

/* While the disk takes its time with a sync, large values are written on; a second sync waits for its own. */
static void test_writing_beside_a_sync(void **state)
{
	(void)state;
	struct db_world w;
	pthread_t threads[2];
	db_world_init(&w, (const char *const[]){ "value_threshold", "1000", "value_log_file_size", "64K", NULL });
	db_world_put_filled(&w, "before", 5000, 1);
	db_world_hold(&w, "writer_sync", ".vlog");
	assert_int_equal(pthread_create(&threads[0], NULL, sync_all, &w), 0);
	db_world_await_held(&w);
	for (unsigned i = 0; i < 40; i++) { /* over several files */
		char key[16];
		snprintf(key, sizeof key, "beside%u", i);
		db_world_put_filled(&w, key, 5000, i);
		db_world_expect_filled(&w, key, 5000, i);
	}
	assert_int_equal(pthread_create(&threads[1], NULL, sync_all, &w), 0);
	db_world_let_go(&w);
	for (unsigned i = 0; i < 2; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	/* What the second sync waited for is there after a power cut. */
	struct env *after;
	struct wombat *db, *own = w.db;
	assert_ok(env_mem_clone(w.env, ENV_MEM_SYNCED_ONLY, 1, &after));
	assert_ok(db_open_env(after, DB_WORLD_DIR, w.options, 0, &db));
	w.db = db;
	for (unsigned i = 0; i < 40; i++) {
		char key[16];
		snprintf(key, sizeof key, "beside%u", i);
		db_world_expect_filled(&w, key, 5000, i);
	}
	assert_ok(wombat_close(db));
	after->calls->free(after);
	w.db = own;
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writing_beside_a_sync),
		cmocka_unit_test(test_threshold), cmocka_unit_test(test_without_the_value), cmocka_unit_test(test_in_parts),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_space_is_reclaimed), cmocka_unit_test(test_removal_overtaken_by_a_collection),
		cmocka_unit_test(test_files_partly_live_are_collected),
		cmocka_unit_test(test_readers_keep_what_they_see), cmocka_unit_test(test_check_finds_damage),
	};
	return cmocka_run_group_tests_name("db_values", tests, NULL, NULL);
}
