/*
 * What is judged of a segment: its header, each byte of it; and whether a whole record stands at a place, with every
 * condition that makes it one, a place of its own, and bounds that lengths of any size cannot leave.
 */
#include "engine/wal/wal_segment.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/crc32c.h"
#include "engine/base/ikey.h"
#include "engine/base/random.h"
#include "engine/env/env_mem.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

#define PATH "db/000042.wal"
enum { SEGMENT = 8192, AT = WAL_SEGMENT_HEADER_SIZE + 64, HEAD = WAL_RECORD_HEADER_SIZE + WAL_PAYLOAD_HEADER_SIZE };

/* Of memory whose end the sanitizer sees. */
struct bench {
	struct env_segment map;
	struct wal_segment s;
};

static void bench_init(struct bench *b, size_t size)
{
	b->map = (struct env_segment){ calloc(1, size), size };
	assert_non_null(b->map.base);
	b->s = (struct wal_segment){ .map = &b->map, .number = 42 };
}

static void bench_done(struct bench *b)
{
	free(b->map.base);
}

static void seal(struct bench *b, uint64_t offset)
{
	uint8_t *p = b->map.base + offset;
	put_u32(p, wal_record_crc(b->s.number, offset, p, get_u32(p + 4)));
}

/* A record of `count` changes in `body` bytes; returns where it ends. */
static uint64_t write_record(struct bench *b, uint64_t offset, uint64_t sequence, uint32_t count, uint32_t body)
{
	uint8_t *p = b->map.base + offset;
	put_u32(p + 4, WAL_PAYLOAD_HEADER_SIZE + body);
	put_u32(p + 8, 3);                  /* epoch */
	put_u32(p + 12, 0);
	put_u64(p + 16, sequence / 2);      /* durable */
	put_u64(p + 24, sequence);
	put_u64(p + 32, 777);
	put_u32(p + 40, count);
	for (uint32_t i = 0; i < body; i++)
		p[HEAD + i] = (uint8_t)(1 + i * 7);
	seal(b, offset);
	return offset + wal_record_size(WAL_PAYLOAD_HEADER_SIZE + body);
}

/* ---- Headers --------------------------------------------------------------------------------- */

static void test_header(void **state)
{
	(void)state;
	static const uint8_t golden[] = { 0xab, 0x57, 0x4f, 0x4d, 0x57, 0x41, 0x4c, 0x31, 1, 0, 0, 0 };
	struct bench b;
	bench_init(&b, SEGMENT);
	wal_header_encode(b.map.base);
	assert_memory_equal(b.map.base, golden, sizeof(golden));
	assert_int_equal(get_u32(b.map.base + 12), crc32c(0, golden, sizeof(golden)));
	for (size_t i = 16; i < SEGMENT; i++)
		assert_int_equal(b.map.base[i], 0); /* nothing behind it is touched */
	assert_ok(wal_header_check(&b.map, PATH));
	for (size_t i = 0; i < 16; i++)
		for (unsigned change = 1; change < 256; change++) {
			b.map.base[i] ^= (uint8_t)change;
			assert_status(wal_header_check(&b.map, PATH), WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), PATH));
			b.map.base[i] ^= (uint8_t)change;
		}
	memset(b.map.base + 16, 0xee, SEGMENT - 16); /* not looked at */
	assert_ok(wal_header_check(&b.map, PATH));
	bench_done(&b);
}

static void test_header_versions(void **state)
{
	(void)state;
	static const struct {
		uint32_t version;
		enum wombat_status status;
	} cases[] = {
		{ 0, WOMBAT_CORRUPTION }, { WAL_VERSION, WOMBAT_OK }, { WAL_VERSION + 1, WOMBAT_UNSUPPORTED },
		{ UINT32_MAX, WOMBAT_UNSUPPORTED },
	};
	struct bench b;
	bench_init(&b, SEGMENT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wal_header_encode(b.map.base);
		put_u32(b.map.base + 8, cases[i].version);
		put_u32(b.map.base + 12, crc32c(0, b.map.base, 12));
		assert_status(wal_header_check(&b.map, PATH), cases[i].status);
		if (cases[i].status != WOMBAT_OK)
			assert_non_null(strstr(wombat_last_error(), PATH));
	}
	bench_done(&b);
}

/* A file of a few bytes is damaged, and not read beyond its end. */
static void test_short_files(void **state)
{
	(void)state;
	static const size_t sizes[] = { 1, 8, 15, 16, 100, WAL_SEGMENT_HEADER_SIZE - 1, WAL_SEGMENT_HEADER_SIZE };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct bench b;
		uint8_t header[16];
		struct wal_record r;
		bench_init(&b, sizes[i]);
		wal_header_encode(header);
		memcpy(b.map.base, header, sizes[i] < 16 ? sizes[i] : 16);
		assert_status(wal_header_check(&b.map, PATH),
			      sizes[i] < WAL_SEGMENT_HEADER_SIZE ? WOMBAT_CORRUPTION : WOMBAT_OK);
		assert_false(wal_record_at(&b.s, 0, &r));
		assert_false(wal_record_at(&b.s, WAL_SEGMENT_HEADER_SIZE, &r));
		bench_done(&b);
	}
}

/* ---- Records --------------------------------------------------------------------------------- */

static void test_record(void **state)
{
	(void)state;
	static const struct {
		uint64_t sequence;
		uint32_t count, body;
	} cases[] = {
		{ 1, 0, 0 }, { 1, 1, 3 }, { 9, 2, 6 }, { 10, 2, 7 }, { 11, 1, 100 }, { SEQUENCE_MAX - 3, 3, 9 },
		{ SEQUENCE_MAX, 0, 0 }, { 5, 0, 50 }, { 1000, 300, 900 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct wal_record r = { 0 };
		bench_init(&b, SEGMENT);
		uint64_t end = write_record(&b, AT, cases[i].sequence, cases[i].count, cases[i].body);
		assert_true(wal_record_at(&b.s, AT, &r));
		assert_int_equal(r.epoch, 3);
		assert_true(r.sequence == cases[i].sequence && r.durable_sequence == cases[i].sequence / 2);
		assert_int_equal(r.time_ns, 777);
		assert_int_equal(r.count, cases[i].count);
		assert_int_equal(r.body.size, cases[i].body);
		assert_ptr_equal(r.body.data, b.map.base + AT + HEAD);
		assert_int_equal(r.end, end);
		assert_true(end % WAL_ALIGN == 0 && end - AT >= HEAD + cases[i].body &&
			    end - AT < HEAD + cases[i].body + WAL_ALIGN);
		assert_true(wal_record_last(&r) == cases[i].sequence + cases[i].count - 1);
		bench_done(&b);
	}
}

/* Every bit from the checksum to the payload's end counts; the zeroes that fill up to the next place do not. */
static void test_each_bit(void **state)
{
	(void)state;
	enum { BODY = 21 };
	struct bench b;
	struct wal_record r;
	bench_init(&b, SEGMENT);
	uint64_t end = write_record(&b, AT, 100, 5, BODY);
	assert_true(end > AT + HEAD + BODY);
	for (uint64_t at = AT; at < end; at++)
		for (int bit = 0; bit < 8; bit++) {
			b.map.base[at] ^= (uint8_t)(1 << bit);
			assert_int_equal(wal_record_at(&b.s, AT, &r), at >= AT + HEAD + BODY);
			b.map.base[at] ^= (uint8_t)(1 << bit);
		}
	assert_true(wal_record_at(&b.s, AT, &r));
	bench_done(&b);
}

/* Torn at each byte: what was written of it is followed by zeroes, or by what the file held before. */
static void test_torn(void **state)
{
	(void)state;
	enum { BODY = 61 };
	struct random_state random;
	random_seed(&random, test_seed("test_torn"));
	for (int older = 0; older < 2; older++) {
		struct bench b, whole;
		struct wal_record r;
		bench_init(&whole, SEGMENT);
		bench_init(&b, SEGMENT);
		write_record(&whole, AT, 100, 5, BODY);
		for (size_t cut = 0; cut <= HEAD + BODY; cut++) {
			for (size_t i = 0; i < HEAD + BODY; i++)
				b.map.base[AT + i] = older ? (uint8_t)random_next(&random) : 0;
			if (older == 1 && cut % 2)
				write_record(&b, AT, 50, 5, BODY); /* one of the same size */
			memcpy(b.map.base + AT, whole.map.base + AT, cut);
			bool same = memcmp(b.map.base + AT, whole.map.base + AT, HEAD + BODY) == 0;
			bool found = wal_record_at(&b.s, AT, &r);
			if (cut == 0 && older == 1)
				continue; /* the older one itself, or nothing */
			assert_int_equal(found, same);
		}
		bench_done(&b);
		bench_done(&whole);
	}
}

/* A copy of a record elsewhere in the file, or in another file, is none: values may hold copies of a log. */
static void test_a_record_has_its_place(void **state)
{
	(void)state;
	struct bench b;
	struct wal_record r;
	bench_init(&b, SEGMENT);
	uint64_t end = write_record(&b, AT, 100, 5, 40);
	for (uint64_t at = end; at + (end - AT) <= SEGMENT; at += WAL_ALIGN) {
		memcpy(b.map.base + at, b.map.base + AT, end - AT);
		assert_false(wal_record_at(&b.s, at, &r));
		memset(b.map.base + at, 0, end - AT);
	}
	assert_true(wal_record_at(&b.s, AT, &r));
	b.s.number++;
	assert_false(wal_record_at(&b.s, AT, &r));
	bench_done(&b);
}

/* Everything sealed with a right checksum; each condition by itself decides. */
static void test_conditions(void **state)
{
	(void)state;
	enum { EPOCH = 8, ZERO = 12, DURABLE = 16, SEQUENCE = 24, COUNT = 40, BODY = 30 };
	static const struct {
		unsigned offset;
		bool wide; /* 8 bytes */
		uint64_t value;
		bool is_record;
	} cases[] = {
		{ EPOCH, false, 0, false },
		{ EPOCH, false, 1, true },
		{ EPOCH, false, UINT32_MAX, true },
		{ ZERO, false, 1, false },
		{ ZERO, false, 0x80000000, false },
		{ DURABLE, true, 0, true },
		{ DURABLE, true, 99, true },
		{ DURABLE, true, 100, false }, /* it cannot have been durable before it was written */
		{ DURABLE, true, UINT64_MAX, false },
		{ SEQUENCE, true, 0, false },
		{ SEQUENCE, true, 50, false }, /* not above the durable one */
		{ SEQUENCE, true, 51, true },
		{ SEQUENCE, true, SEQUENCE_MAX - 10, true },
		{ SEQUENCE, true, SEQUENCE_MAX - 9, false },
		{ SEQUENCE, true, UINT64_MAX, false }, /* nor does the sum wrap */
		{ COUNT, false, 0, true },
		{ COUNT, false, BODY / WAL_CHANGE_MIN, true },
		{ COUNT, false, BODY / WAL_CHANGE_MIN + 1, false }, /* more than its bytes can hold */
		{ COUNT, false, UINT32_MAX, false },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct wal_record r;
		bench_init(&b, SEGMENT);
		write_record(&b, AT, 100, 10, BODY);
		if (cases[i].wide)
			put_u64(b.map.base + AT + cases[i].offset, cases[i].value);
		else
			put_u32(b.map.base + AT + cases[i].offset, (uint32_t)cases[i].value);
		seal(&b, AT);
		assert_int_equal(wal_record_at(&b.s, AT, &r), cases[i].is_record);
		bench_done(&b);
	}
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

/* A record may end where the segment does, and no byte behind it. */
static void test_at_the_end(void **state)
{
	(void)state;
	for (uint32_t body = 0; body < 20; body++) {
		struct bench b;
		struct wal_record r;
		uint64_t size = wal_record_size(WAL_PAYLOAD_HEADER_SIZE + body), at = SEGMENT - size;
		bench_init(&b, SEGMENT);
		assert_int_equal(write_record(&b, at, 100, 0, body), SEGMENT);
		assert_true(wal_record_at(&b.s, at, &r));
		assert_int_equal(r.end, SEGMENT);
		b.map.size = (size_t)at + HEAD + body; /* a file that was cut short */
		assert_true(wal_record_at(&b.s, at, &r));
		b.map.size--;
		assert_false(wal_record_at(&b.s, at, &r));
		bench_done(&b);
	}
}

/* Lengths and offsets of any size. */
static void test_any_bytes(void **state)
{
	(void)state;
	static const uint32_t lengths[] = {
		0, 1, WAL_PAYLOAD_HEADER_SIZE - 1, SEGMENT - AT - WAL_RECORD_HEADER_SIZE + 1, SEGMENT, INT32_MAX,
		UINT32_MAX - WAL_RECORD_HEADER_SIZE, UINT32_MAX - 7, UINT32_MAX,
	};
	static const uint64_t offsets[] = { SEGMENT, SEGMENT + 8, UINT64_MAX - 7, UINT64_MAX, UINT64_C(1) << 63 };
	struct random_state random;
	struct bench b;
	struct wal_record r;
	random_seed(&random, test_seed("test_any_bytes"));
	bench_init(&b, SEGMENT);
	write_record(&b, AT, 100, 5, 40);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		put_u32(b.map.base + AT + 4, lengths[i]);
		assert_false(wal_record_at(&b.s, AT, &r));
	}
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		assert_false(wal_record_at(&b.s, offsets[i], &r));
	for (unsigned n = 0; n < 200; n++) {
		for (size_t i = 0; i < SEGMENT; i += 8)
			put_u64(b.map.base + i, random_next(&random) >> random_below(&random, 64));
		for (uint64_t at = 0; at < SEGMENT + 64; at += WAL_ALIGN) {
			if (at + 16 <= SEGMENT) /* past what is judged before the checksum, now and then */
				put_u32(b.map.base + at + 12, 0);
			assert_false(wal_record_at(&b.s, at, &r));
		}
	}
	bench_done(&b);
}

static void test_freeing(void **state)
{
	(void)state;
	struct env *env;
	struct wal_segment *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	assert_ok(env_mem_new(&env));
	assert_ok(env->calls->segment_open(env, PATH, SEGMENT, &s->map));
	wal_segment_free(env, s);
	s = calloc(1, sizeof(*s));
	assert_non_null(s);
	wal_segment_free(env, s); /* one that was never mapped */
	env->calls->free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_header_versions),
		cmocka_unit_test(test_short_files),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_each_bit),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_a_record_has_its_place),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_at_the_end),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_freeing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
