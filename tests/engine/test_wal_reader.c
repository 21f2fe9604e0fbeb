/*
 * Replay: what it gives for every flushed sequence number, where a log ends whose last record is torn - first of its
 * segment, closing record, one in a segment of its own -, how the caller ends it, what it hands on to the writer, and
 * that looking changes nothing. Damage and whole histories are in test_wal.c and test_wal_crash.c.
 */
#include "engine/wal/wal_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "engine/wal/wal_segment.h"
#include "tests/support/check.h"
#include "tests/support/wal_log.h"

enum { SEGMENT = 8192 };

static struct env *new_env(void)
{
	struct env *env;
	assert_ok(env_mem_new(&env));
	assert_ok(env->calls->dir_create(env, "db"));
	return env;
}

static struct env *copy_of(struct env *env)
{
	struct env *copy;
	assert_ok(env_mem_clone(env, ENV_MEM_ALL, 1, &copy));
	return copy;
}

static uint8_t *bytes_of(struct env *env, uint64_t number, size_t *size)
{
	char path[FILENAME_PATH_MAX];
	assert_true(filename_path(path, "db", FILE_WAL, number));
	uint8_t *bytes = env_mem_bytes(env, path, size);
	assert_non_null(bytes);
	return bytes;
}

/* A log of so many records, over as many segments as they need. */
static void make_log(struct wal_log *l, struct env *env, unsigned records, uint32_t size)
{
	log_init(l, env, "db", SEGMENT);
	assert_ok(log_open(l, true));
	for (unsigned i = 0; i < records; i++)
		assert_ok(log_append(l, 1 + i % 3, size + i % 5));
}

/* A log of its own over a copy of the files; its model has all records. */
static struct wal_log fork_log(const struct wal_log *l)
{
	struct wal_log copy = *l;
	copy.env = copy_of(l->env);
	copy.writer = NULL;
	copy.records = malloc((l->count + 1) * sizeof(*l->records));
	assert_non_null(copy.records);
	memcpy(copy.records, l->records, l->count * sizeof(*l->records));
	copy.capacity = l->count + 1;
	return copy;
}

static void fork_done(struct wal_log *l)
{
	struct env *env = l->env;
	log_done(l);
	env->calls->free(env);
}

/* Where the segment's last record begins. */
static uint64_t last_record(struct env *env, uint64_t number, struct wal_record *out)
{
	size_t size;
	struct env_segment map = { bytes_of(env, number, &size), size };
	struct wal_segment s = { .map = &map, .number = number };
	uint64_t last = 0, at = WAL_SEGMENT_HEADER_SIZE;
	for (map.size = size; wal_record_at(&s, at, out); at = out->end)
		last = at;
	assert_true(last > 0 && wal_record_at(&s, last, out));
	return last;
}

/* A file that ends anywhere, as no crash leaves it but a copy that was cut short: whole records are given, and none is
 * read past the end. */
static void test_any_length(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wal_log l;
	size_t size;
	make_log(&l, env, 20, 11);
	assert_ok(log_sync(&l));
	log_abandon(&l);
	struct buf whole = { 0 };
	const uint8_t *bytes = bytes_of(env, 1, &size);
	assert_ok(buf_append(&whole, bytes, size));
	for (size_t cut = 0; cut < size; cut += cut < WAL_SEGMENT_HEADER_SIZE - 8 ? 509 : 1) {
		struct env_writer *w;
		struct env *copy = new_env();
		assert_ok(copy->calls->writer_open(copy, "db/000001.wal", 0, 0, &w));
		assert_ok(copy->calls->writer_write(w, whole.data, cut));
		assert_ok(copy->calls->writer_close(w));
		struct wal_log of_copy = l;
		of_copy.env = copy;
		of_copy.writer = NULL;
		of_copy.records = malloc(l.count * sizeof *l.records);
		assert_non_null(of_copy.records);
		memcpy(of_copy.records, l.records, l.count * sizeof *l.records);
		of_copy.capacity = l.count;
		of_copy.durable = 0;
		enum wombat_status s = log_look(&of_copy, false);
		assert_true(s == WOMBAT_OK || s == WOMBAT_CORRUPTION);
		log_done(&of_copy);
		copy->calls->free(copy);
	}
	buf_done(&whole);
	log_done(&l);
	env->calls->free(env);
}

/* ---- Torn tails ------------------------------------------------------------------------------ */

/* The file's last record is cut at every step-th byte: so many records are left, and the log goes on from there as if
 * the torn one had never been. */
static void tear(const struct wal_log *l, uint64_t number, size_t step, size_t left)
{
	struct wal_record r;
	size_t size, all = l->count;
	uint64_t begin = last_record(l->env, number, &r);
	uint64_t end = begin + WAL_RECORD_HEADER_SIZE + WAL_PAYLOAD_HEADER_SIZE + r.body.size;
	for (uint64_t cut = begin; cut < end; cut += cut < begin + 64 || cut + 64 > end ? 1 : step) {
		struct wal_log torn = fork_log(l);
		uint8_t *bytes = bytes_of(torn.env, number, &size), *intact = bytes_of(l->env, number, &size);
		memset(bytes + cut, 0, size - cut);
		bool whole = memcmp(bytes + begin, intact + begin, (size_t)(end - begin)) == 0;
		assert_ok(log_look(&torn, false));
		assert_int_equal(torn.count, whole ? all : left);
		if (torn.replay.torn) {
			assert_int_equal(torn.replay.torn_file, number);
			assert_int_equal(torn.replay.torn_offset, begin);
		}
		assert_true(torn.replay.torn || whole || cut <= begin + 8);
		for (unsigned i = 0; i < 2; i++) {
			assert_ok(log_open(&torn, i > 0));
			assert_ok(log_append(&torn, 2, i ? 40 : (uint32_t)r.body.size + 6));
			assert_ok(log_sync(&torn));
			log_abandon(&torn);
		}
		assert_ok(log_look(&torn, true));
		fork_done(&torn);
	}
}

static void test_torn_within_a_segment(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 9, 30, 500 };
	for (size_t i = 0; i < 3; i++) {
		struct wal_log l;
		struct env *env = new_env();
		make_log(&l, env, 5, sizes[i]);
		log_abandon(&l);
		tear(&l, 1, 13, 4);
		log_done(&l);
		env->calls->free(env);
	}
}

/* The segment that it began holds nothing then. */
static void test_torn_first_of_a_segment(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 0, 0);
	struct wal_counts counts;
	do {
		assert_ok(log_append(&l, 1, 900));
		wal_writer_counts(l.writer, &counts);
	} while (counts.rotations < 3);
	uint64_t number = l.next_number - 1;
	log_abandon(&l);
	tear(&l, number, 7, l.count - 1);
	log_done(&l);
	env->calls->free(env);
}

/* A record too large for a segment has one of its own, of its own size. */
static void test_torn_large(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 3, 50);
	assert_ok(log_append(&l, 5, 3 * SEGMENT));
	uint64_t number = l.next_number - 1;
	log_abandon(&l);
	tear(&l, number, 999, 3);
	log_done(&l);
	env->calls->free(env);
}

/* The closing record has no changes: without it nothing is missing. */
static void test_torn_closing(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 5, 50);
	assert_ok(wal_writer_close(l.writer, true));
	l.writer = NULL;
	l.durable = l.count;
	tear(&l, 1, 1, 5);
	log_done(&l);
	env->calls->free(env);
}

/* ---- What is given --------------------------------------------------------------------------- */

/* Just the records that are not in tables as a whole; one of them may be so in part. */
static void test_every_flushed_sequence(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 60, 700);
	uint64_t last = log_last(&l);
	log_abandon(&l);
	assert_true(l.next_number > 5); /* several segments */
	for (uint64_t flushed = 0; flushed <= last + 5; flushed++) {
		size_t given = 0;
		for (size_t i = 0; i < l.count; i++)
			given += l.records[i].sequence + l.records[i].count - 1 > flushed;
		struct wal_log look = fork_log(&l);
		look.flushed = flushed;
		assert_ok(log_look(&look, true));
		assert_int_equal(look.replayed, given);
		assert_false(look.replay.torn);
		fork_done(&look);
	}
	log_done(&l);
	env->calls->free(env);
}

/* ---- How the caller ends it ------------------------------------------------------------------ */

struct ending {
	unsigned seen, at;            /* the at-th call, from 1, returns: */
	enum wombat_status status;
	const struct wal_replay *out; /* as it is during the replay */
	uint64_t durable;
};

static enum wombat_status end_at(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
				 struct wombat_slice body, uint32_t epoch)
{
	struct ending *e = arg;
	(void)time_ns;
	assert_true(sequence > 0 && count > 0 && body.size > 0 && epoch > 0);
	assert_int_equal(e->out->durable_sequence, e->durable);
	return ++e->seen == e->at ? (fail)(e->status, "the caller's cause") : WOMBAT_OK;
}

/* All names and bytes of a directory, to compare. */
struct picture {
	struct env *env;
	struct buf bytes;
};

static void add_name(void *arg, const char *name)
{
	struct picture *p = arg;
	char path[FILENAME_PATH_MAX];
	size_t size;
	snprintf(path, sizeof(path), "db/%s", name);
	const uint8_t *bytes = env_mem_bytes(p->env, path, &size);
	assert_ok(buf_append(&p->bytes, name, strlen(name) + 1));
	assert_ok(buf_append_u64(&p->bytes, size));
	assert_ok(buf_append(&p->bytes, bytes, size));
}

static struct buf picture_of(struct env *env)
{
	struct picture p = { .env = env };
	assert_ok(env->calls->dir_list(env, "db", add_name, &p));
	return p.bytes;
}

static void assert_unchanged(struct env *env, struct buf *before)
{
	struct buf after = picture_of(env);
	assert_true(slice_equal(buf_slice(before), buf_slice(&after)));
	buf_done(&after);
}

/* A failure of the caller's goes through, with its sentence, and no file is changed, at whichever record. */
static void test_the_caller_fails(void **state)
{
	(void)state;
	static const enum wombat_status failures[] = { WOMBAT_IO, WOMBAT_CORRUPTION, WOMBAT_NO_MEMORY };
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 30, 600);
	log_abandon(&l);
	struct buf before = picture_of(env);
	for (unsigned n = 1; n <= 30; n++) {
		struct wal_replay out;
		struct wal_tail *tail = NULL;
		struct ending e = { .at = n, .status = failures[n % 3], .out = &out };
		assert_status(wal_replay(env, "db", 0, end_at, &e, &out, &tail), e.status);
		assert_int_equal(e.seen, n);
		assert_non_null(strstr(wombat_last_error(), "the caller's cause"));
		assert_null(tail);
		assert_unchanged(env, &before);
	}
	buf_done(&before);
	log_done(&l);
	env->calls->free(env);
}

static uint64_t next_number(void *arg)
{
	return (*(uint64_t *)arg)++;
}

/* A record that points to what was never written ends the log, as if it were torn itself: what is behind it is gone,
 * in other segments, too, and for good. */
static void test_the_caller_ends_the_log(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 30, 600);
	log_abandon(&l);
	for (unsigned n = 1; n <= 30; n++) {
		struct wal_log cut = fork_log(&l); /* the files */
		struct wal_replay out;
		struct wal_tail *tail = NULL;
		struct ending e = { .at = n, .status = WOMBAT_NOT_FOUND, .out = &out };
		assert_ok(wal_replay(cut.env, "db", 0, end_at, &e, &out, &tail));
		assert_int_equal(out.records, n - 1);
		assert_true(out.torn);
		assert_int_equal(tail->last_sequence, n > 1 ? l.records[n - 1].sequence - 1 : 0);
		/* It goes on with the number of the record that is gone, and nothing of old comes back behind it. */
		struct wal_writer *w;
		struct wombat_slice body = WOMBAT_STR("abc");
		uint64_t sequence = l.records[n - 1].sequence, number = 50;
		uint32_t epoch;
		struct wal_writer_options options = {
			.env = cut.env, .dir = "db", .segment_bytes = SEGMENT, .next_file_number = next_number,
			.arg = &number, .spare_segments = 2,
		};
		assert_ok(wal_writer_open(&options, tail, &w));
		assert_ok(wal_writer_append(w, sequence, 1, 1, &body, 1, &epoch));
		assert_ok(wal_writer_close(w, n % 2));
		e = (struct ending){ .out = &out, .durable = n % 2 ? sequence : 0 };
		assert_ok(wal_replay(cut.env, "db", 0, end_at, &e, &out, NULL));
		assert_int_equal(out.records, n);
		assert_int_equal(out.last_sequence, sequence);
		fork_done(&cut);
	}
	log_done(&l);
	env->calls->free(env);
}

/* When some record says that it had been durable, that what it points to is not there is damage. */
static void test_the_caller_misses_what_was_durable(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 10, 600);
	assert_ok(log_sync(&l));
	uint64_t durable = log_last(&l);
	assert_ok(log_append(&l, 1, 50)); /* says so */
	assert_ok(log_append(&l, 1, 50));
	log_abandon(&l);
	struct buf before = picture_of(env);
	for (unsigned n = 1; n <= 12; n++) {
		struct wal_replay out;
		struct wal_tail *tail = NULL;
		struct ending e = { .at = n, .status = WOMBAT_NOT_FOUND, .out = &out, .durable = durable };
		enum wombat_status s = wal_replay(env, "db", 0, end_at, &e, &out, n > 10 ? NULL : &tail);
		assert_status(s, n <= 10 ? WOMBAT_CORRUPTION : WOMBAT_OK);
		assert_int_equal(out.durable_sequence, durable);
		assert_unchanged(env, &before);
	}
	buf_done(&before);
	log_done(&l);
	env->calls->free(env);
}

/* ---- What it hands on ------------------------------------------------------------------------ */

static size_t list_length(const struct wal_segment *s, uint32_t *epoch)
{
	size_t n = 0;
	for (; s; s = s->next, n++) {
		assert_true(s->map != NULL && s->first_epoch <= s->last_epoch);
		if (epoch) {
			assert_true(s->first_epoch > *epoch); /* oldest first */
			*epoch = s->last_epoch;
		}
	}
	return n;
}

static void test_tail(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 40, 700);
	log_abandon(&l);
	struct buf before = picture_of(env);
	size_t files = l.next_number - 1, spares_before = 0;
	for (uint64_t flushed = 0; flushed <= log_last(&l); flushed++) {
		struct wal_tail *tail;
		struct wal_replay out;
		struct ending e = { .out = &out };
		uint32_t epoch = 0;
		assert_ok(wal_replay(env, "db", flushed, end_at, &e, &out, &tail));
		size_t live = list_length(tail->live, &epoch), spares = list_length(tail->spares, NULL);
		assert_int_equal(live + spares, files);
		assert_true(spares >= spares_before && (flushed > 0 || spares == 0));
		spares_before = spares;
		assert_int_equal(live == 0, flushed == log_last(&l));
		assert_int_equal(tail->last_sequence, log_last(&l));
		assert_true(tail->max_epoch >= epoch && tail->max_epoch == l.last_epoch);
		wal_tail_free(tail);
		assert_unchanged(env, &before);
	}
	assert_int_equal(spares_before, files);
	buf_done(&before);
	log_done(&l);
	env->calls->free(env);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static unsigned left;

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	(void)path;
	return left-- == 0 ? WOMBAT_IO : WOMBAT_OK;
}

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

/* A log of several segments, of which one never got its header and one is cut off. */
static void make_broken_log(struct wal_log *l, struct env *env)
{
	struct env_writer *w;
	size_t size;
	make_log(l, env, 30, 700);
	uint64_t last = l->next_number - 1;
	log_abandon(l);
	memset(bytes_of(env, last - 1, &size) + WAL_SEGMENT_HEADER_SIZE, 0, 100);
	assert_ok(env->calls->writer_open(env, "db/000077.wal", 0, 0, &w));
	assert_ok(env->calls->writer_write(w, "torn", 4));
	assert_ok(env->calls->writer_close(w));
}

static void test_each_failure(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		bool memory = way & 1, look = way & 2;
		unsigned n = 0;
		for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
			struct wal_log l;
			struct env *env = new_env();
			struct wal_tail *tail = NULL;
			struct wal_replay out;
			struct ending e = { .out = &out };
			make_broken_log(&l, env);
			struct buf before = picture_of(env);
			left = n;
			if (memory)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(env, fail_call, NULL);
			s = wal_replay(env, "db", 0, end_at, &e, &out, look ? NULL : &tail);
			mem_test_hook = NULL;
			env_mem_on_call(env, NULL, NULL);
			assert_true(s == WOMBAT_OK || s == (memory ? WOMBAT_NO_MEMORY : WOMBAT_IO));
			assert_true(s == WOMBAT_OK || !tail);
			if (look)
				assert_unchanged(env, &before);
			wal_tail_free(tail);
			/* Whatever failed, all that is the log's is there the next time. */
			assert_ok(log_open(&l, false));
			assert_true(l.count > 15 && l.count < 30);
			assert_int_equal(out.records, s == WOMBAT_OK ? l.count : 0);
			buf_done(&before);
			log_done(&l);
			env->calls->free(env);
		}
		assert_true(n > 5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_length),
		cmocka_unit_test(test_torn_within_a_segment),
		cmocka_unit_test(test_torn_first_of_a_segment),
		cmocka_unit_test(test_torn_large),
		cmocka_unit_test(test_torn_closing),
		cmocka_unit_test(test_every_flushed_sequence),
		cmocka_unit_test(test_the_caller_fails),
		cmocka_unit_test(test_the_caller_ends_the_log),
		cmocka_unit_test(test_the_caller_misses_what_was_durable),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_each_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
