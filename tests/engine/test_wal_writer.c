/*
 * The writer of the log: records by either way of storing them, what they claim, how many syncs it takes, which
 * segments are kept, made and removed, and what is left when a call fails. Crashes are in test_wal_crash.c.
 */
#include "engine/wal/wal_writer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "engine/wal/wal_reader.h"
#include "engine/wal/wal_segment.h"
#include "tests/support/check.h"

enum { SEGMENT = 16384 };

struct bench {
	struct env *env;
	struct wal_writer *w;
	struct wal_writer_options options;
	uint64_t next_number, sequence; /* sequence: of the next change */
	uint32_t epoch;                 /* of the last record */
	unsigned before_syncs;
	enum wombat_status before_sync_result;
};

static uint64_t next_number(void *arg)
{
	return ((struct bench *)arg)->next_number++;
}

static enum wombat_status before_sync(void *arg)
{
	struct bench *b = arg;
	b->before_syncs++;
	if (b->before_sync_result == WOMBAT_OK)
		return WOMBAT_OK;
	return (fail)(b->before_sync_result, "values are not durable");
}

static enum wombat_status ignore(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
				 struct wombat_slice body, uint32_t epoch)
{
	(void)arg, (void)sequence, (void)time_ns, (void)count, (void)body, (void)epoch;
	return WOMBAT_OK;
}

/* How many records replay gives; it finds nothing wrong. */
static uint64_t records_in(struct bench *b)
{
	struct wal_replay out;
	assert_ok(wal_replay(b->env, "db", 0, ignore, NULL, &out, NULL));
	assert_true(out.records == 0 || out.last_sequence == b->sequence - 1);
	return out.records;
}

static enum wombat_status open_writer(struct bench *b)
{
	struct wal_tail *tail;
	struct wal_replay out;
	enum wombat_status s = wal_replay(b->env, "db", 0, ignore, NULL, &out, &tail);
	return s == WOMBAT_OK ? wal_writer_open(&b->options, tail, &b->w) : s;
}

static void bench_init(struct bench *b)
{
	*b = (struct bench){ .next_number = 1, .sequence = 1 };
	assert_ok(env_mem_new(&b->env));
	b->options = (struct wal_writer_options){
		.env = b->env, .dir = "db", .segment_bytes = SEGMENT, .next_file_number = next_number,
		.before_sync = before_sync, .arg = b, .spare_segments = 2,
	};
	assert_ok(open_writer(b));
}

static void bench_done(struct bench *b)
{
	assert_ok(wal_writer_close(b->w, false));
	b->env->calls->free(b->env);
}

/* A record of one change and so many bytes. */
static enum wombat_status append(struct bench *b, size_t size)
{
	uint8_t *bytes = malloc(size);
	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(b->sequence * 17 + i);
	struct wombat_slice piece = slice_make(bytes, size);
	enum wombat_status s = wal_writer_append(b->w, b->sequence, 1000 + b->sequence, 1, &piece, 1, &b->epoch);
	b->sequence += s == WOMBAT_OK;
	free(bytes);
	return s;
}

static struct wal_counts counts_of(struct bench *b)
{
	struct wal_counts counts;
	wal_writer_counts(b->w, &counts);
	return counts;
}

static void add_name(void *arg, const char *name)
{
	uint64_t number;
	*(unsigned *)arg += filename_parse(name, &number) == FILE_WAL;
}

static unsigned files_in(struct env *env)
{
	unsigned n = 0;
	assert_ok(env->calls->dir_list(env, "db", add_name, &n));
	return n;
}

static const uint8_t *bytes_of(struct bench *b, uint64_t number, size_t *size)
{
	char path[FILENAME_PATH_MAX];
	assert_true(filename_path(path, "db", FILE_WAL, number));
	const uint8_t *bytes = env_mem_bytes(b->env, path, size);
	assert_non_null(bytes);
	return bytes;
}

/* The last whole record of a file. */
static struct wal_record last_record(struct bench *b, uint64_t number)
{
	size_t size;
	struct env_segment map = { (uint8_t *)(uintptr_t)bytes_of(b, number, &size), 0 };
	struct wal_segment s = { .map = &map, .number = number };
	struct wal_record r, last = { 0 };
	map.size = size;
	for (uint64_t at = WAL_SEGMENT_HEADER_SIZE; wal_record_at(&s, at, &r); at = r.end)
		last = r;
	assert_true(last.end > 0);
	return last;
}

/* ---- Records --------------------------------------------------------------------------------- */

/* Written by a call or stored in the map, in whatever pieces: the same bytes. */
static void test_two_ways_of_storing(void **state)
{
	(void)state;
	static const size_t sizes[] = { 3, 4, 100, 4000, 16340, 16341, 16384, 40000, 5 };
	struct bench a, b;
	uint8_t bytes[40000];
	bench_init(&a);
	bench_init(&b);
	memset(bytes, 0xab, sizeof(bytes));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct wombat_slice one = slice_make(bytes, sizes[i]), pieces[4] = {
			{ bytes, 1 }, { NULL, 0 }, { bytes, 2 }, { bytes, sizes[i] - 3 },
		};
		wal_writer_sync_next(b.w, i % 3 != 2);
		assert_ok(wal_writer_append(a.w, i + 1, 7, 1, &one, 1, &a.epoch));
		assert_ok(wal_writer_append(b.w, i + 1, 7, 1, pieces, 4, &b.epoch));
		assert_int_equal(a.epoch, b.epoch);
	}
	assert_int_equal(a.next_number, b.next_number);
	for (uint64_t n = 1; n < a.next_number; n++) {
		size_t x, y;
		const uint8_t *p = bytes_of(&a, n, &x), *q = bytes_of(&b, n, &y);
		assert_int_equal(x, y);
		assert_memory_equal(p, q, x);
	}
	bench_done(&a);
	bench_done(&b);
}

/* A record claims what had been synced before it, and no more. */
static void test_claims(void **state)
{
	(void)state;
	struct bench b;
	uint64_t synced = 0;
	bench_init(&b);
	for (unsigned i = 0; i < 60; i++) {
		assert_ok(append(&b, 50));
		struct wal_record r = last_record(&b, 1);
		assert_int_equal(r.sequence, b.sequence - 1);
		assert_int_equal(r.durable_sequence, synced);
		assert_int_equal(r.time_ns, 1000 + r.sequence);
		if (i % 7 == 3) {
			assert_ok(wal_writer_sync(b.w));
			synced = r.sequence;
		}
	}
	bench_done(&b);
}

static void test_too_big(void **state)
{
	(void)state;
	struct bench b;
	struct wombat_slice pieces[2] = {
		{ (const uint8_t *)"x", UINT32_MAX - WAL_PAYLOAD_HEADER_SIZE }, { NULL, 1 },
	};
	bench_init(&b);
	assert_ok(append(&b, 10));
	/* Refused before a byte is looked at. */
	assert_status(wal_writer_append(b.w, 2, 0, 1, pieces, 2, &b.epoch), WOMBAT_TOO_BIG);
	assert_non_null(strstr(wombat_last_error(), "4294967296 bytes"));
	assert_ok(append(&b, 10));
	assert_int_equal(records_in(&b), 2);
	bench_done(&b);
}

/* ---- Syncs ----------------------------------------------------------------------------------- */

/* One for what is new, none for nothing; over several segments one for each that has something. */
static void test_syncs(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(wal_writer_sync(b.w));
	assert_true(counts_of(&b).syncs == 0 && b.before_syncs == 0);
	for (unsigned i = 1; i <= 5; i++) {
		assert_ok(append(&b, 10));
		assert_true(counts_of(&b).unsynced_bytes > 0);
		assert_ok(wal_writer_sync(b.w));
		assert_ok(wal_writer_sync(b.w));
		assert_true(counts_of(&b).syncs == i && b.before_syncs == i && counts_of(&b).unsynced_bytes == 0);
	}
	while (counts_of(&b).rotations < 4)
		assert_ok(append(&b, 3000));
	assert_ok(wal_writer_sync(b.w));
	assert_int_equal(counts_of(&b).syncs, 5 + 4);
	assert_ok(append(&b, 10));
	assert_ok(wal_writer_sync(b.w)); /* those that are full are done with */
	assert_int_equal(counts_of(&b).syncs, 5 + 4 + 1);
	bench_done(&b);
}

/* What must be durable before is not: then nothing of the log is said to be, from here on. */
static void test_before_sync_fails(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(append(&b, 10));
	assert_ok(wal_writer_sync(b.w));
	assert_ok(append(&b, 10));
	b.before_sync_result = WOMBAT_IO;
	assert_status(wal_writer_sync(b.w), WOMBAT_IO);
	assert_int_equal(counts_of(&b).syncs, 1);
	b.before_sync_result = WOMBAT_OK;
	for (unsigned i = 0; i < 2; i++) {
		assert_status(wal_writer_sync(b.w), WOMBAT_IO);
		assert_non_null(strstr(wombat_last_error(), "values are not durable"));
	}
	assert_int_equal(b.before_syncs, 2);
	assert_ok(append(&b, 10));
	assert_int_equal(last_record(&b, 1).durable_sequence, 1);
	assert_status(wal_writer_close(b.w, true), WOMBAT_IO);
	b.w = NULL;
	bench_done(&b);
}

struct gate {
	pthread_mutex_t mu;
	pthread_cond_t changed;
	bool inside, open;
};

/* The first sync stays inside until it is let go. */
static void wait_inside(void *arg, const char *path)
{
	struct gate *g = arg;
	(void)path;
	pthread_mutex_lock(&g->mu);
	g->inside = true;
	pthread_cond_broadcast(&g->changed);
	while (!g->open)
		pthread_cond_wait(&g->changed, &g->mu);
	pthread_mutex_unlock(&g->mu);
}

static void *sync_it(void *arg)
{
	assert_ok(wal_writer_sync(arg));
	return NULL;
}

/* Those who come while one syncs share the next, however many they are. */
static void test_group(void **state)
{
	(void)state;
	enum { THREADS = 5 };
	struct bench b;
	struct gate g = { .mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	pthread_t first, threads[THREADS];
	bench_init(&b);
	assert_ok(append(&b, 10));
	env_mem_on_sync(b.env, wait_inside, &g);
	assert_int_equal(pthread_create(&first, NULL, sync_it, b.w), 0);
	pthread_mutex_lock(&g.mu);
	while (!g.inside)
		pthread_cond_wait(&g.changed, &g.mu);
	pthread_mutex_unlock(&g.mu);
	assert_ok(append(&b, 10)); /* appending waits for no sync */
	assert_ok(append(&b, 10));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sync_it, b.w), 0);
	pthread_mutex_lock(&g.mu);
	g.open = true;
	pthread_cond_broadcast(&g.changed);
	pthread_mutex_unlock(&g.mu);
	pthread_join(first, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(counts_of(&b).syncs == 2 && counts_of(&b).unsynced_bytes == 0);
	env_mem_on_sync(b.env, NULL, NULL);
	assert_ok(append(&b, 10));
	assert_int_equal(last_record(&b, 1).durable_sequence, 3);
	bench_done(&b);
}

/* What was made durable elsewhere may be said to be, and no sync that began before takes that back. */
static void test_vouch(void **state)
{
	(void)state;
	struct bench b;
	struct gate g = { .mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	pthread_t thread;
	bench_init(&b);
	assert_ok(append(&b, 10));
	assert_int_equal(wal_writer_durable(b.w), 0);
	env_mem_on_sync(b.env, wait_inside, &g);
	assert_int_equal(pthread_create(&thread, NULL, sync_it, b.w), 0);
	pthread_mutex_lock(&g.mu);
	while (!g.inside)
		pthread_cond_wait(&g.changed, &g.mu);
	pthread_mutex_unlock(&g.mu);
	assert_ok(append(&b, 10));
	wal_writer_vouch(b.w, 2);
	assert_int_equal(wal_writer_durable(b.w), 2);
	pthread_mutex_lock(&g.mu);
	g.open = true;
	pthread_cond_broadcast(&g.changed);
	pthread_mutex_unlock(&g.mu);
	pthread_join(thread, NULL);
	env_mem_on_sync(b.env, NULL, NULL);
	assert_int_equal(wal_writer_durable(b.w), 2);
	assert_true(counts_of(&b).unsynced_bytes > 0); /* the log itself does not have it on the disk */
	assert_ok(append(&b, 10));
	assert_int_equal(last_record(&b, 1).durable_sequence, 2);
	bench_done(&b);
}

/* ---- Segments -------------------------------------------------------------------------------- */

static void test_counts(void **state)
{
	(void)state;
	struct bench b;
	uint64_t bytes = 0;
	bench_init(&b);
	for (unsigned i = 0; i < 80; i++) {
		assert_ok(append(&b, 100 + i * 20));
		bytes += wal_record_size(WAL_PAYLOAD_HEADER_SIZE + 100 + i * 20);
		struct wal_counts c = counts_of(&b);
		assert_true(c.records == i + 1 && c.appended_bytes == bytes && c.unsynced_bytes == bytes);
		assert_true(c.files == files_in(b.env) && c.files == c.rotations);
		assert_true(c.file_bytes == c.files * SEGMENT && c.live_bytes == c.file_bytes);
		assert_int_equal(b.epoch, wal_writer_epoch(b.w));
	}
	assert_true(counts_of(&b).rotations > 3);
	bench_done(&b);
}

/* A segment is given free when all of its records are older; so many stay as spares and are used again. */
static void test_release(void **state)
{
	(void)state;
	for (unsigned spares = 0; spares < 4; spares++) {
		struct bench b;
		bench_init(&b);
		assert_ok(wal_writer_close(b.w, false));
		b.options.spare_segments = spares;
		assert_ok(open_writer(&b));
		uint64_t before = counts_of(&b).rotations;
		while (counts_of(&b).rotations < before + 5)
			assert_ok(append(&b, 3000));
		uint64_t live = counts_of(&b).files;
		wal_writer_release(b.w, 0);
		assert_int_equal(counts_of(&b).live_bytes, live * SEGMENT);
		wal_writer_release(b.w, b.epoch - 2); /* all but the last three */
		assert_int_equal(counts_of(&b).live_bytes, 3 * SEGMENT);
		uint64_t kept = live - 3 < spares ? live - 3 : spares;
		assert_int_equal(counts_of(&b).files, 3 + kept);
		assert_int_equal(files_in(b.env), 3 + kept);
		wal_writer_release(b.w, UINT32_MAX); /* the current one stays in any case */
		assert_int_equal(counts_of(&b).live_bytes, SEGMENT);
		assert_int_equal(files_in(b.env), 1 + spares);
		assert_int_equal(wal_writer_wants_spare(b.w), spares == 0);
		uint64_t made = b.next_number;
		uint64_t rotations = counts_of(&b).rotations;
		while (counts_of(&b).rotations < rotations + spares)
			assert_ok(append(&b, 3000));
		assert_int_equal(b.next_number, made); /* no new file was made */
		bench_done(&b);
	}
}

static void test_prepare(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t rotations = counts_of(&b).rotations, number;
		assert_true(i == 0 || wal_writer_wants_spare(b.w));
		assert_ok(wal_writer_prepare(b.w));
		assert_false(wal_writer_wants_spare(b.w));
		number = b.next_number;
		assert_ok(wal_writer_prepare(b.w)); /* one is enough */
		while (counts_of(&b).rotations == rotations)
			assert_ok(append(&b, 3000));
		assert_int_equal(b.next_number, number);
		assert_true(wal_writer_wants_spare(b.w));
	}
	bench_done(&b);
}

/* Spares of the old size go; the next segment is of the new one, up to whole pages, or of its record's. */
static void test_change_of_size(void **state)
{
	(void)state;
	struct bench b;
	size_t size;
	bench_init(&b);
	assert_ok(wal_writer_prepare(b.w));
	assert_int_equal(files_in(b.env), 2);
	wal_writer_set_segment_bytes(b.w, SEGMENT); /* no change */
	assert_int_equal(files_in(b.env), 2);
	wal_writer_set_segment_bytes(b.w, 30000);
	assert_int_equal(files_in(b.env), 1);
	assert_true(wal_writer_wants_spare(b.w));
	assert_ok(wal_writer_prepare(b.w));
	bytes_of(&b, b.next_number - 1, &size);
	assert_int_equal(size, 32768);
	assert_ok(append(&b, 100000));
	bytes_of(&b, b.next_number - 1, &size);
	assert_true(size % 4096 == 0 && size >= 100000 + WAL_SEGMENT_HEADER_SIZE && size < 100000 + 3 * 4096);
	assert_int_equal(records_in(&b), 1);
	bench_done(&b);
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void test_close(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	assert_ok(wal_writer_close(NULL, true));
	/* Nothing was appended: nothing to vouch for. */
	assert_ok(wal_writer_close(b.w, true));
	assert_int_equal(b.before_syncs, 0);
	assert_ok(open_writer(&b));
	assert_ok(append(&b, 10));
	assert_ok(append(&b, 10));
	assert_ok(wal_writer_close(b.w, true));
	struct wal_record r = last_record(&b, b.next_number - 1);
	assert_true(r.count == 0 && r.durable_sequence == 2 && r.sequence == 3 && r.body.size == 0);
	/* The number is the next change's all the same. */
	assert_ok(open_writer(&b));
	assert_ok(append(&b, 10));
	assert_int_equal(records_in(&b), 3);
	bench_done(&b);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static const char *bad_call;
static unsigned left;

static enum wombat_status fail_named(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return strcmp(op, bad_call) == 0 ? WOMBAT_IO : WOMBAT_OK;
}

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

/* A record that could not be stored was not appended: its number is the next one's, no half of it is found, and no
 * file is left of a segment that could not be made. */
static void test_append_fails(void **state)
{
	(void)state;
	static const char *const calls[] = { "segment_write", "segment_create", "segment_sync", "dir_sync" };
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct bench b;
		bench_init(&b);
		assert_ok(append(&b, 5000));
		assert_ok(append(&b, 5000));
		wal_writer_sync_next(b.w, i == 0);
		bad_call = calls[i];
		env_mem_on_call(b.env, fail_named, NULL);
		/* There is room for a small one; a large one needs a segment. */
		for (unsigned tries = 0; tries < 3; tries++) {
			assert_status(append(&b, i == 0 ? 10 : 5000), WOMBAT_IO);
			assert_non_null(strstr(wombat_last_error(), calls[i]));
		}
		assert_int_equal(files_in(b.env), 1);
		assert_int_equal(records_in(&b), 2);
		env_mem_on_call(b.env, NULL, NULL);
		assert_ok(append(&b, 5000));
		assert_ok(append(&b, 10));
		assert_ok(wal_writer_sync(b.w));
		assert_int_equal(records_in(&b), 4);
		bench_done(&b);
	}
}

static void test_prepare_fails(void **state)
{
	(void)state;
	struct bench b;
	bench_init(&b);
	bad_call = "segment_create";
	env_mem_on_call(b.env, fail_named, NULL);
	assert_status(wal_writer_prepare(b.w), WOMBAT_IO);
	env_mem_on_call(b.env, NULL, NULL);
	assert_true(wal_writer_wants_spare(b.w)); /* still */
	assert_ok(wal_writer_prepare(b.w));
	assert_int_equal(files_in(b.env), 2);
	bench_done(&b);
}

/* The tail is consumed whatever happens. */
static void test_open_fails(void **state)
{
	(void)state;
	for (unsigned live = 0; live < 2; live++) {
		unsigned n = 0;
		for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
			struct bench b;
			struct wal_tail *tail;
			struct wal_replay out;
			bench_init(&b);
			if (live)
				assert_ok(append(&b, 10));
			assert_ok(wal_writer_close(b.w, false));
			b.w = NULL;
			assert_ok(wal_replay(b.env, "db", 0, ignore, NULL, &out, &tail));
			left = n;
			mem_test_hook = fail_allocation;
			s = wal_writer_open(&b.options, tail, &b.w);
			mem_test_hook = NULL;
			assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
			if (s != WOMBAT_OK) {
				assert_null(b.w);
				assert_ok(open_writer(&b));
			}
			assert_ok(append(&b, 10));
			assert_int_equal(records_in(&b), live + 1);
			bench_done(&b);
		}
		assert_true(n >= 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_ways_of_storing),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_syncs),
		cmocka_unit_test(test_before_sync_fails),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_vouch),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_prepare),
		cmocka_unit_test(test_change_of_size),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_append_fails),
		cmocka_unit_test(test_prepare_fails),
		cmocka_unit_test(test_open_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
