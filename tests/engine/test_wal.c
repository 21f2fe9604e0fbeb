/*
 * The write-ahead log: its bytes, its segments, and what replay says of logs that end or are damaged in every way.
 * Crashes, failures and threads are in test_wal_crash.c.
 */
#include "engine/wal/wal_format.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "engine/base/random.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
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
	char path[64];
	snprintf(path, sizeof path, "db/%06u.wal", (unsigned)number);
	uint8_t *bytes = env_mem_bytes(env, path, size);
	assert_non_null(bytes);
	return bytes;
}

struct listing {
	unsigned files;
	uint64_t numbers[64];
};

static void list_one(void *arg, const char *name)
{
	struct listing *l = arg;
	if (filename_parse(name, &l->numbers[l->files]) == FILE_WAL)
		l->files++;
}

static struct listing segments_in(struct env *env)
{
	struct listing l = { 0 };
	assert_ok(env->calls->dir_list(env, "db", list_one, &l));
	return l;
}

/* Where the records of a segment stand, as the format says it; the count. */
static size_t find_records(struct env *env, uint64_t number, uint64_t *offsets, size_t max)
{
	size_t size, count = 0;
	struct env_segment map = { bytes_of(env, number, &size), size };
	struct wal_segment s = { .map = &map, .number = number };
	struct wal_record r;
	for (uint64_t at = WAL_SEGMENT_HEADER_SIZE; wal_record_at(&s, at, &r); at = r.end) {
		assert_true(count < max);
		offsets[count++] = at;
	}
	return count;
}

/* ---- Bytes --------------------------------------------------------------------------------- */

/* On disk: these bytes never change. */
static void test_golden_bytes(void **state)
{
	(void)state;
	static const uint8_t header[16] = { 0xab, 0x57, 0x4f, 0x4d, 0x57, 0x41, 0x4c, 0x31, 1, 0, 0, 0,
					    0xed, 0x8b, 0x8e, 0x51 };
	static const uint8_t record[] = {
		0x13, 0x52, 0x0f, 0x71, 24, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 0, 0, 0, 0, 0, 0x39, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
		0, 1, 1, 'k',
		/* The next, padded: what is before it was durable by then. */
		0x02, 0x10, 0x8d, 0x44, 25, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
		2, 0, 0, 0, 0, 0, 0, 0, 0x3a, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
		0, 1, 2, 'l', 'm', 0, 0, 0,
	};
	struct wal_log l;
	size_t size;
	uint32_t epoch;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	l.next_number = 7;
	assert_ok(log_open(&l, true));
	struct wombat_slice change = slice_make("\0\1\1k", 4);
	assert_ok(wal_writer_append(l.writer, 1, 12345, 1, &change, 1, &epoch));
	assert_ok(wal_writer_sync(l.writer));
	change = slice_make("\0\1\2lm", 5);
	assert_ok(wal_writer_append(l.writer, 2, 12346, 1, &change, 1, &epoch));
	const uint8_t *bytes = bytes_of(env, 7, &size);
	assert_int_equal(size, SEGMENT);
	assert_memory_equal(bytes, header, sizeof header);
	for (size_t i = sizeof header; i < WAL_SEGMENT_HEADER_SIZE; i++)
		assert_int_equal(bytes[i], 0);
	assert_memory_equal(bytes + WAL_SEGMENT_HEADER_SIZE, record, sizeof record);
	/* What the checksum is of, said once more. */
	uint8_t place[16] = { 7, [9] = 0x10 };
	assert_int_equal(get_u32(record), crc32c(crc32c(0, place, 16), record + 4, 20 + 24));
	log_done(&l);
	env->calls->free(env);
}

static void test_counts_and_silence(void **state)
{
	(void)state;
	struct wal_log l;
	struct wal_counts c;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	assert_ok(log_open(&l, true));
	assert_ok(log_sync(&l)); /* Nothing is new: nothing is synced. */
	wal_writer_counts(l.writer, &c);
	assert_int_equal(c.syncs, 0);
	assert_ok(log_append(&l, 1, 100));
	assert_ok(log_append(&l, 2, 100));
	wal_writer_counts(l.writer, &c);
	assert_int_equal(c.records, 2);
	assert_int_equal(c.appended_bytes, 2 * wal_record_size(WAL_PAYLOAD_HEADER_SIZE + 100));
	assert_int_equal(c.unsynced_bytes, c.appended_bytes);
	assert_ok(log_sync(&l));
	assert_ok(log_sync(&l));
	wal_writer_counts(l.writer, &c);
	assert_int_equal(c.syncs, 1);
	assert_int_equal(c.unsynced_bytes, 0);
	assert_int_equal(c.file_bytes, c.files * SEGMENT);
	assert_ok(wal_writer_close(l.writer, true));
	l.writer = NULL;
	log_done(&l);
	env->calls->free(env);
}

/* ---- Segments ------------------------------------------------------------------------------ */

static void test_reopen_continues(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	log_init(&l, env, "db", 4 * SEGMENT);
	for (int round = 0; round < 20; round++) {
		assert_ok(log_open(&l, true));
		assert_false(l.replay.torn);
		assert_int_equal(l.replayed, 3 * round);
		for (int i = 0; i < 3; i++)
			assert_ok(log_append(&l, 1 + i, 50 + 100 * i));
		if (round % 3 == 0)
			assert_ok(log_sync(&l));
		assert_ok(wal_writer_close(l.writer, round % 2));
		l.writer = NULL;
	}
	assert_int_equal(segments_in(env).files, 1); /* One was enough. */
	assert_ok(log_look(&l, true));
	log_done(&l);
	env->calls->free(env);
}

/* A steady state makes no files: the same few go round. */
static void test_rotation_reuses(void **state)
{
	(void)state;
	struct wal_log l;
	struct wal_counts c;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	assert_ok(log_open(&l, true));
	for (int i = 0; i < 2000; i++) {
		assert_ok(log_append(&l, 1, 500));
		if (i % 20 == 19)
			log_flush(&l);
		if (wal_writer_wants_spare(l.writer))
			assert_ok(wal_writer_prepare(l.writer));
	}
	wal_writer_counts(l.writer, &c);
	assert_true(c.rotations > 50);
	assert_true(c.files <= 5);
	assert_true(l.next_number <= 7);
	assert_int_equal(segments_in(env).files, c.files);
	log_abandon(&l);
	assert_ok(log_open(&l, true));
	log_done(&l);
	env->calls->free(env);
}

static void test_large_record(void **state)
{
	(void)state;
	struct wal_log l;
	struct wal_counts c;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	assert_ok(log_open(&l, true));
	assert_ok(log_append(&l, 1, 100));
	assert_ok(log_append(&l, 1, 10 * SEGMENT));
	assert_ok(log_append(&l, 1, 100));
	assert_ok(log_sync(&l));
	log_abandon(&l);
	assert_ok(log_open(&l, true));
	assert_int_equal(l.replayed, 3);
	assert_ok(log_append(&l, 1, SEGMENT));
	assert_ok(log_append(&l, 1, 100));
	log_flush(&l);
	wal_writer_counts(l.writer, &c);
	assert_true(c.file_bytes <= 4 * SEGMENT); /* Large ones are not kept. */
	log_abandon(&l);
	assert_ok(log_open(&l, true));
	log_done(&l);
	env->calls->free(env);
}

static void test_segment_size_changes(void **state)
{
	(void)state;
	struct wal_log l;
	struct wal_counts c;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	assert_ok(log_open(&l, true));
	for (int i = 0; i < 100; i++)
		assert_ok(log_append(&l, 1, 500));
	log_flush(&l);
	wal_writer_counts(l.writer, &c);
	assert_int_equal(c.file_bytes, 3 * SEGMENT); /* the current one, two spares */
	wal_writer_set_segment_bytes(l.writer, 2 * SEGMENT);
	wal_writer_counts(l.writer, &c);
	assert_int_equal(c.file_bytes, SEGMENT);
	assert_true(wal_writer_wants_spare(l.writer));
	assert_ok(wal_writer_prepare(l.writer));
	wal_writer_counts(l.writer, &c);
	assert_int_equal(c.file_bytes, 3 * SEGMENT);
	for (int i = 0; i < 100; i++)
		assert_ok(log_append(&l, 1, 500));
	log_abandon(&l);
	/* At open, spares of another size go as well. */
	l.segment_bytes = SEGMENT;
	assert_ok(log_open(&l, true));
	log_flush(&l);
	log_abandon(&l);
	log_done(&l);
	env->calls->free(env);
}

/* Older content behind the tail of a reused segment is not taken for the log's. */
static void test_older_content(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	l.spare_segments = 1;
	assert_ok(log_open(&l, true));
	for (unsigned round = 0; round < 12; round++) {
		/* Records of one size: the newer end exactly where older ones begin. */
		for (unsigned i = 0; i < 30 + round; i++)
			assert_ok(log_append(&l, 1, 468));
		if (round % 3 == 1)
			log_flush(&l);
		log_abandon(&l);
		assert_ok(log_open(&l, true));
		assert_false(l.replay.torn);
	}
	log_done(&l);
	env->calls->free(env);
}

/* ---- Torn tails ---------------------------------------------------------------------------- */

static void make_log(struct wal_log *l, struct env *env, unsigned records, unsigned size, unsigned sync_at)
{
	log_init(l, env, "db", SEGMENT);
	assert_ok(log_open(l, true));
	for (unsigned i = 1; i <= records; i++) {
		assert_ok(log_append(l, 1 + i % 3, size + i));
		if (i == sync_at)
			assert_ok(log_sync(l));
	}
	log_abandon(l);
}

/* The last record was written up to any byte: it is cut off, and the log goes on from there. */
static void test_torn_at_every_byte(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	uint64_t offsets[16];
	make_log(&l, env, 6, 40, 0);
	assert_int_equal(find_records(env, 1, offsets, 16), 6);
	uint64_t begin = offsets[5], end = begin + WAL_RECORD_HEADER_SIZE + WAL_PAYLOAD_HEADER_SIZE + 46;
	for (uint64_t cut = begin; cut <= end; cut++) {
		struct wal_log torn = l;
		struct env *copy = copy_of(env);
		size_t size;
		uint8_t *bytes = bytes_of(copy, 1, &size);
		memset(bytes + cut, 0, size - cut);
		/* The record's last bytes may be zeroes anyhow. */
		bool whole = memcmp(bytes + begin, bytes_of(env, 1, &size) + begin, end - begin) == 0;
		torn.records = malloc(l.capacity * sizeof *l.records);
		memcpy(torn.records, l.records, l.count * sizeof *l.records);
		torn.env = copy;
		assert_ok(log_look(&torn, whole));
		assert_int_equal(torn.count, whole ? 6 : 5);
		assert_int_equal(torn.replay.torn, !whole && cut > begin + 8);
		if (torn.replay.torn) {
			assert_int_equal(torn.replay.torn_file, 1);
			assert_int_equal(torn.replay.torn_offset, begin);
		}
		assert_ok(log_open(&torn, false));
		assert_ok(log_append(&torn, 1, cut % 2 ? 46 : 90));
		assert_ok(log_sync(&torn));
		log_abandon(&torn);
		assert_ok(log_open(&torn, true));
		assert_int_equal(torn.count, whole ? 7 : 6);
		log_done(&torn);
		copy->calls->free(copy);
	}
	log_done(&l);
	env->calls->free(env);
}

/* A record in the middle did not reach the disk, those behind it did: all of them are cut, and those in other
 * segments never come back, though the numbers would fit. */
static void test_cut_off_for_good(void **state)
{
	(void)state;
	for (unsigned lost = 1; lost < 100; lost += 7) {
		struct wal_log l;
		struct env *env = new_env();
		uint64_t offsets[64];
		log_init(&l, env, "db", SEGMENT);
		assert_ok(log_open(&l, true));
		for (unsigned i = 0; i < 100; i++)
			assert_ok(log_append(&l, 1, 468)); /* 24 in a segment */
		log_abandon(&l);
		uint64_t file = 1 + lost / 24;
		size_t size;
		assert_true(find_records(env, file, offsets, 64) > lost % 24);
		bytes_of(env, file, &size)[offsets[lost % 24] + 100] ^= 1;
		assert_ok(log_open(&l, false));
		assert_int_equal(l.count, lost);
		assert_true(l.replay.torn);
		/* One takes the lost one's place exactly: old ones stand behind it. */
		assert_ok(log_append(&l, 1, 468));
		log_abandon(&l);
		assert_ok(log_open(&l, true));
		assert_int_equal(l.count, lost + 1);
		/* To the segment's end: what is next by its number stood at the beginning of the next file. */
		while (l.count % 24)
			assert_ok(log_append(&l, 1, 468));
		log_abandon(&l);
		size_t count = l.count;
		assert_ok(log_open(&l, true));
		assert_int_equal(l.count, count);
		for (unsigned i = 0; i < 60; i++)
			assert_ok(log_append(&l, 1, 468));
		log_abandon(&l);
		assert_ok(log_open(&l, true));
		assert_int_equal(l.count, count + 60);
		log_done(&l);
		env->calls->free(env);
	}
}

/* ---- Damage -------------------------------------------------------------------------------- */

static void assert_names(const char *part)
{
	if (!strstr(wombat_last_error(), part))
		fail_msg("\"%s\" does not name %s", wombat_last_error(), part);
}

/* Whatever byte of whatever record is wrong: when a later record proves that it had been durable it is damage, said
 * with file and offset; else the log is cut there. */
static void test_damage_of_every_record(void **state)
{
	(void)state;
	enum { RECORDS = 9, SYNCED = 7 };
	struct wal_log l;
	struct env *env = new_env();
	uint64_t offsets[16];
	size_t size;
	make_log(&l, env, RECORDS, 30, SYNCED);
	assert_int_equal(find_records(env, 1, offsets, 16), RECORDS);
	uint8_t *bytes = bytes_of(env, 1, &size);
	for (size_t i = 0; i < RECORDS; i++) {
		uint64_t end = offsets[i] + WAL_RECORD_HEADER_SIZE + WAL_PAYLOAD_HEADER_SIZE + 31 + i;
		for (uint64_t at = offsets[i]; at < end; at++) {
			struct wal_log damaged = l;
			char name[64];
			bytes[at] ^= 0x40;
			damaged.durable = 0;
			/* The last one but the proof itself: nobody speaks for what came after the sync. */
			if (i < SYNCED) {
				assert_status(log_look(&damaged, false), WOMBAT_CORRUPTION);
				snprintf(name, sizeof name, "000001.wal: the record at offset %u ", (unsigned)offsets[i]);
				assert_names(name);
			} else {
				assert_ok(log_look(&damaged, false));
				assert_int_equal(damaged.count, i);
			}
			bytes[at] ^= 0x40;
		}
	}
	log_done(&l);
	env->calls->free(env);
}

/* Over several segments: in each record, and with whole segments missing. */
static void test_damage_over_segments(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	uint64_t offsets[64];
	size_t size, records = 0;
	make_log(&l, env, 100, 400, 95);
	struct listing files = segments_in(env);
	assert_true(files.files >= 4);
	for (uint64_t file = 1; file <= files.files; file++) {
		size_t count = find_records(env, file, offsets, 64);
		uint8_t *bytes = bytes_of(env, file, &size);
		for (size_t i = 0; i < count; i++) {
			struct wal_log damaged = l;
			char name[64];
			damaged.durable = 0;
			bytes[offsets[i] + 50] ^= 1;
			if (records + i < 95) {
				assert_status(log_look(&damaged, false), WOMBAT_CORRUPTION);
				snprintf(name, sizeof name, "%06u.wal: the record at offset %u ", (unsigned)file, (unsigned)offsets[i]);
				assert_names(name);
			} else {
				assert_ok(log_look(&damaged, false));
				assert_int_equal(damaged.count, records + i);
			}
			bytes[offsets[i] + 50] ^= 1;
		}
		records += count;
	}
	assert_int_equal(records, 100);
	for (uint64_t file = 1; file < files.files; file++) {
		struct env *copy = copy_of(env);
		char path[64];
		snprintf(path, sizeof path, "db/%06u.wal", (unsigned)file);
		assert_ok(copy->calls->remove(copy, path));
		struct wal_log damaged = l;
		damaged.env = copy;
		damaged.durable = 0;
		assert_status(log_look(&damaged, false), WOMBAT_CORRUPTION);
		copy->calls->free(copy);
	}
	log_done(&l);
	env->calls->free(env);
}

/* A clean close vouches for the last record too. */
static void test_damage_after_clean_close(void **state)
{
	(void)state;
	for (int clean = 0; clean < 2; clean++) {
		struct wal_log l;
		struct env *env = new_env();
		uint64_t offsets[16];
		size_t size;
		log_init(&l, env, "db", SEGMENT);
		assert_ok(log_open(&l, true));
		for (int i = 0; i < 5; i++)
			assert_ok(log_append(&l, 1, 50));
		assert_ok(log_sync(&l));
		assert_ok(wal_writer_close(l.writer, clean));
		l.writer = NULL;
		assert_int_equal(find_records(env, 1, offsets, 16), 5 + clean);
		bytes_of(env, 1, &size)[offsets[4] + 60] ^= 1;
		l.durable = 0;
		assert_status(log_look(&l, false), clean ? WOMBAT_CORRUPTION : WOMBAT_OK);
		log_done(&l);
		env->calls->free(env);
	}
}

/* What is in tables may be damaged, as long as the log behind it stands in other segments. */
static void test_damage_to_what_is_flushed(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	uint64_t offsets[64];
	size_t size;
	make_log(&l, env, 100, 400, 100);
	size_t first = find_records(env, 1, offsets, 64);
	bytes_of(env, 1, &size)[offsets[3] + 50] ^= 1;
	l.flushed = l.records[first - 1].sequence + l.records[first - 1].count - 1;
	assert_ok(log_open(&l, true));
	assert_int_equal(l.replayed, 100 - first);
	log_done(&l);
	env->calls->free(env);
}

/* A value that holds a copy of this very log, durable claims and all, is not evidence of anything. */
static void test_log_within_a_value(void **state)
{
	(void)state;
	struct env *env = new_env(), *copy;
	struct wal_log inner;
	uint32_t epoch;
	size_t size;
	make_log(&inner, env, 30, 100, 28);
	for (unsigned shift = 0; shift < 16; shift += 4) {
		struct wal_log l;
		copy = copy_of(env);
		uint8_t *bytes = bytes_of(copy, 1, &size);
		uint8_t *value = malloc(size + 16);
		assert_non_null(value);
		memset(value, 'v', 16);
		memcpy(value + shift, bytes, size);
		assert_ok(copy->calls->remove(copy, "db/000001.wal"));
		log_init(&l, copy, "db", 8 * SEGMENT);
		assert_ok(log_open(&l, true)); /* Its file has the same number. */
		assert_ok(log_append(&l, 1, 100));
		struct wombat_slice piece = slice_make(value, size + shift);
		assert_ok(wal_writer_append(l.writer, log_last(&l) + 1, 1, 1, &piece, 1, &epoch));
		log_abandon(&l);
		uint64_t offsets[4];
		assert_int_equal(find_records(copy, 1, offsets, 4), 2);
		bytes_of(copy, 1, &size)[offsets[1] + 40] ^= 1;
		assert_ok(log_open(&l, true));
		assert_true(l.replay.torn);
		log_done(&l);
		free(value);
		copy->calls->free(copy);
	}
	log_done(&inner);
	env->calls->free(env);
}

/* Any bytes at all in place of the log: an answer, and memory in bounds. */
static void test_random_damage(void **state)
{
	(void)state;
	struct random_state r;
	struct wal_log l;
	struct env *env = new_env();
	random_seed(&r, test_seed("random_damage"));
	make_log(&l, env, 100, 400, 50);
	for (unsigned round = 0; round < test_steps(300); round++) {
		struct env *copy = copy_of(env);
		struct wal_log damaged = l;
		for (uint64_t hits = 1 + random_below(&r, 4); hits > 0; hits--) {
			size_t size, from, length;
			uint8_t *bytes = bytes_of(copy, 1 + random_below(&r, 4), &size);
			from = random_below(&r, size);
			length = random_below(&r, 2) ? 1 : random_below(&r, size - from) + 1;
			bool zero = random_below(&r, 3) == 0;
			for (size_t i = from; i < from + length; i++)
				bytes[i] = zero ? 0 : (uint8_t)random_next(&r);
		}
		damaged.env = copy;
		damaged.durable = 0;
		damaged.flushed = random_below(&r, 2) ? 0 : l.records[random_below(&r, 100)].sequence - 1;
		enum wombat_status s = log_look(&damaged, false);
		assert_true(s == WOMBAT_OK || s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
		copy->calls->free(copy);
	}
	log_done(&l);
	env->calls->free(env);
}

/* ---- Headers ------------------------------------------------------------------------------- */

static void test_headers(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	size_t size;
	make_log(&l, env, 5, 30, 5);
	uint8_t *bytes = bytes_of(env, 1, &size);

	uint8_t header[16];
	memcpy(header, bytes, sizeof header);
	put_u32(bytes + 8, WAL_VERSION + 1);
	put_u32(bytes + 12, crc32c(0, bytes, 12));
	assert_status(log_look(&l, true), WOMBAT_UNSUPPORTED);
	assert_names("db/000001.wal");

	for (size_t i = 0; i < sizeof header; i++) {
		memcpy(bytes, header, sizeof header);
		bytes[i] ^= 0x10;
		assert_status(log_look(&l, true), WOMBAT_CORRUPTION);
		assert_names("db/000001.wal");
	}
	/* Nobody needs what is in tables. */
	l.flushed = log_last(&l);
	assert_ok(log_open(&l, true));
	assert_int_equal(segments_in(env).files, 1);
	assert_int_equal(segments_in(env).numbers[0], 2);
	log_done(&l);
	env->calls->free(env);
}

static void write_file(struct env *env, const char *path, const void *bytes, size_t size)
{
	struct env_writer *w;
	assert_ok(env->calls->writer_open(env, path, 0, 0, &w));
	assert_ok(env->calls->writer_write(w, bytes, size));
	assert_ok(env->calls->writer_sync(w));
	assert_ok(env->calls->writer_close(w));
}

/* What a crash leaves that happened while a segment was made. */
static void test_unfinished_segments(void **state)
{
	(void)state;
	static const uint8_t zeroes[SEGMENT];
	struct wal_log l;
	struct env *env = new_env();
	make_log(&l, env, 5, 30, 5);
	l.next_number = 10;
	write_file(env, "db/000003.wal", zeroes, 100);
	write_file(env, "db/000004.wal", zeroes, SEGMENT);
	write_file(env, "db/000005.wal", "\xab", 1);
	write_file(env, "db/000006.sst", zeroes, 100);
	assert_ok(log_look(&l, true));
	assert_int_equal(segments_in(env).files, 4); /* Looking removes nothing. */
	assert_ok(log_open(&l, true));
	assert_false(l.replay.torn);
	assert_int_equal(segments_in(env).files, 1);
	log_done(&l);
	env->calls->free(env);
}

static void test_missing_directory(void **state)
{
	(void)state;
	struct wal_log l;
	log_init(&l, env_posix(), "no-such-directory", SEGMENT);
	assert_status(log_open(&l, true), WOMBAT_NOT_FOUND);
	assert_names("no-such-directory");
	log_done(&l);
	wal_tail_free(NULL);
	assert_ok(wal_writer_close(NULL, true));
}

/* ---- A full disk --------------------------------------------------------------------------- */

static void test_full_disk(void **state)
{
	(void)state;
	struct wal_log l;
	struct env *env = new_env();
	log_init(&l, env, "db", SEGMENT);
	assert_ok(log_open(&l, true));
	env_mem_set_capacity(env, 2 * SEGMENT + 100);
	enum wombat_status s = WOMBAT_OK;
	while (s == WOMBAT_OK)
		s = log_append(&l, 1, 300);
	assert_int_equal(s, WOMBAT_NO_SPACE);
	assert_names(".wal");
	size_t count = l.count;
	assert_true(count > 50);
	assert_status(log_append(&l, 1, 300), WOMBAT_NO_SPACE);
	assert_status(wal_writer_prepare(l.writer), WOMBAT_NO_SPACE);
	assert_ok(log_sync(&l)); /* What was appended is safe. */
	/* Nor does closing need room. */
	assert_ok(wal_writer_close(l.writer, true));
	l.writer = NULL;
	assert_ok(log_open(&l, true));
	assert_status(log_append(&l, 1, 300), WOMBAT_NO_SPACE);
	env_mem_set_capacity(env, 100 * SEGMENT);
	assert_ok(log_append(&l, 1, 300));
	assert_ok(log_sync(&l));
	log_abandon(&l);
	assert_ok(log_open(&l, true));
	assert_int_equal(l.count, count + 1);
	log_done(&l);
	env->calls->free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_counts_and_silence),
		cmocka_unit_test(test_reopen_continues),
		cmocka_unit_test(test_rotation_reuses),
		cmocka_unit_test(test_large_record),
		cmocka_unit_test(test_segment_size_changes),
		cmocka_unit_test(test_older_content),
		cmocka_unit_test(test_torn_at_every_byte),
		cmocka_unit_test(test_cut_off_for_good),
		cmocka_unit_test(test_damage_of_every_record),
		cmocka_unit_test(test_damage_over_segments),
		cmocka_unit_test(test_damage_after_clean_close),
		cmocka_unit_test(test_damage_to_what_is_flushed),
		cmocka_unit_test(test_log_within_a_value),
		cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_unfinished_segments),
		cmocka_unit_test(test_missing_directory),
		cmocka_unit_test(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
