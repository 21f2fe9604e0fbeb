/* See wal_log.h. */
#include "tests/support/wal_log.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/check.h"

void log_body(const struct log_record *r, uint8_t *out)
{
	struct random_state random;
	random_seed(&random, r->sequence * 1000003 + r->generation);
	for (uint32_t i = 0; i < r->size; i += 8) {
		uint64_t word = random_next(&random);
		memcpy(out + i, &word, r->size - i < 8 ? r->size - i : 8);
	}
}

void log_init(struct wal_log *l, struct env *env, const char *dir, uint64_t segment_bytes)
{
	*l = (struct wal_log){ .env = env, .dir = dir, .segment_bytes = segment_bytes, .spare_segments = 2,
			       .next_number = 1 };
}

void log_done(struct wal_log *l)
{
	log_abandon(l);
	free(l->records);
	l->records = NULL;
}

void log_abandon(struct wal_log *l)
{
	wal_writer_close(l->writer, false);
	l->writer = NULL;
}

void log_move(struct wal_log *l, struct env *env)
{
	log_abandon(l);
	l->env = env;
}

static uint64_t next_number(void *arg)
{
	return ((struct wal_log *)arg)->next_number++;
}

/* How many of the records are in tables. */
static size_t in_tables(const struct wal_log *l)
{
	size_t n = 0;
	while (n < l->count && l->records[n].sequence + l->records[n].count - 1 <= l->flushed)
		n++;
	return n;
}

static enum wombat_status check_record(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
				       struct wombat_slice body, uint32_t epoch)
{
	struct wal_log *l = arg;
	size_t at = in_tables(l) + l->replayed;
	assert_true(at < l->count);
	const struct log_record *r = &l->records[at];
	assert_int_equal(sequence, r->sequence);
	assert_int_equal(count, r->count);
	assert_int_equal(time_ns, r->sequence + 1000);
	assert_true(epoch > 0);
	assert_int_equal(body.size, r->size);
	uint8_t *expected = malloc(r->size + 8);
	assert_non_null(expected);
	log_body(r, expected);
	assert_memory_equal(body.data, expected, r->size);
	free(expected);
	l->replayed++;
	return WOMBAT_OK;
}

static enum wombat_status replay(struct wal_log *l, bool all, struct wal_tail **tail)
{
	l->replayed = 0;
	struct wal_replay result = { 0 };
	enum wombat_status s = wal_replay(l->env, l->dir, l->flushed, check_record, l, &result, tail);
	if (s != WOMBAT_OK)
		return s;
	l->replay = result;
	size_t there = in_tables(l) + l->replayed;
	assert_int_equal(result.records, l->replayed);
	if (l->replayed)
		assert_int_equal(result.last_sequence, l->records[there - 1].sequence + l->records[there - 1].count - 1);
	else
		assert_int_equal(result.last_sequence, 0);
	assert_true(there >= l->durable);
	if (all)
		assert_int_equal(there, l->count);
	l->count = there;
	return WOMBAT_OK;
}

enum wombat_status log_look(struct wal_log *l, bool all)
{
	return replay(l, all, NULL);
}

enum wombat_status log_open(struct wal_log *l, bool all)
{
	struct wal_tail *tail = NULL;
	enum wombat_status s = replay(l, all, &tail);
	if (s != WOMBAT_OK)
		return s;
	struct wal_writer_options options = {
		.env = l->env, .dir = l->dir, .segment_bytes = l->segment_bytes, .next_file_number = next_number, .arg = l,
		.spare_segments = l->spare_segments,
	};
	l->generation++;
	l->last_epoch = 0;
	return wal_writer_open(&options, tail, &l->writer);
}

uint64_t log_last(const struct wal_log *l)
{
	uint64_t last = l->count ? l->records[l->count - 1].sequence + l->records[l->count - 1].count - 1 : 0;
	return last > l->flushed ? last : l->flushed;
}

enum wombat_status log_append(struct wal_log *l, uint32_t count, uint32_t size)
{
	struct log_record r = { log_last(l) + 1, count, size, l->generation };
	uint8_t *body = malloc(size + 8);
	assert_non_null(body);
	log_body(&r, body);
	struct wombat_slice pieces[2] = { { body, size / 3 }, { body + size / 3, size - size / 3 } };
	uint32_t epoch = 0;
	enum wombat_status s = wal_writer_append(l->writer, r.sequence, r.sequence + 1000, count, pieces, 2, &epoch);
	free(body);
	if (s != WOMBAT_OK)
		return s;
	assert_true(epoch >= l->last_epoch && epoch == wal_writer_epoch(l->writer));
	l->last_epoch = epoch;
	if (l->count == l->capacity) {
		l->capacity = l->capacity ? 2 * l->capacity : 64;
		l->records = realloc(l->records, l->capacity * sizeof *l->records);
		assert_non_null(l->records);
	}
	l->records[l->count++] = r;
	return WOMBAT_OK;
}

enum wombat_status log_sync(struct wal_log *l)
{
	enum wombat_status s = wal_writer_sync(l->writer);
	if (s == WOMBAT_OK)
		l->durable = l->count;
	return s;
}

void log_flush(struct wal_log *l)
{
	l->flushed = log_last(l);
	l->durable = l->count;
	wal_writer_release(l->writer, wal_writer_epoch(l->writer));
}
