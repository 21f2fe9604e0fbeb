/*
 * fs/attr: blobs of random attributes there and back, and what is done with blobs that are none: every truncation,
 * every changed byte, newer versions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "fs/attr.h"
#include "fs/attr_format.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static const struct mount_options options = { .uid = 1000, .gid = 100, .umask = 022 };

/* ---- Random attributes --------------------------------------------------------------------- */

/* A number of a random magnitude, so that small and huge ones both come. */
static uint64_t magnitude(struct random_state *r)
{
	return random_next(r) >> random_below(r, 64);
}

static int64_t time_near(struct random_state *r, int64_t base)
{
	switch (random_below(r, 4)) {
	case 0:
		return base;
	case 1:
		return -(int64_t)(magnitude(r) >> 1);
	default:
		return (int64_t)(magnitude(r) >> 1);
	}
}

/* A list of `count` attributes as the format has them. */
static void make_xattrs(struct random_state *r, size_t count, struct attr *a)
{
	uint8_t *p = malloc(count * (5 + 16 + 64) + 1);
	a->xattrs_wide = count && random_below(r, 2);
	assert_non_null(p);
	a->xattrs = p;
	for (size_t i = 0; i < count; i++) {
		uint8_t name = (uint8_t)(1 + random_below(r, 16)), value = (uint8_t)random_below(r, 65);
		*p++ = name;
		memset(p, 'a' + (int)(i % 26), name);
		p += name;
		*p++ = value;
		for (int rest = a->xattrs_wide ? 3 : 1; rest > 0; rest--)
			*p++ = 0;
		memset(p, (int)random_below(r, 256), value);
		p += value;
	}
	a->xattrs_size = (size_t)(p - a->xattrs);
}

static void random_attr(struct random_state *r, bool directory, struct attr *a)
{
	static const mode_t types[] = { S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	attr_default(&options, directory, magnitude(r) >> 1, a);
	if (random_below(r, 2))
		a->mode = (directory ? S_IFDIR : types[random_below(r, 6)]) | (mode_t)random_below(r, 010000);
	if (random_below(r, 2))
		a->uid = (uid_t)magnitude(r);
	if (random_below(r, 2))
		a->gid = (gid_t)magnitude(r);
	if (random_below(r, 2))
		a->mtime_ns = time_near(r, a->mtime_ns);
	a->ctime_ns = time_near(r, a->mtime_ns);
	a->atime_ns = time_near(r, a->mtime_ns);
	if (random_below(r, 2))
		a->ino = magnitude(r);
	if (random_below(r, 2))
		a->rdev = magnitude(r);
	if (random_below(r, 2))
		make_xattrs(r, random_below(r, 5), a);
}

static void assert_same(const struct attr *a, const struct attr *b)
{
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_true(a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns && a->atime_ns == b->atime_ns);
	assert_true(a->ino == b->ino && a->rdev == b->rdev);
	assert_int_equal(a->xattrs_size, b->xattrs_size);
	assert_true(a->xattrs_wide == b->xattrs_wide);
	if (a->xattrs_size)
		assert_memory_equal(a->xattrs, b->xattrs, a->xattrs_size);
}

static void encode(bool directory, const struct attr *a, uint8_t **out, size_t *out_size)
{
	assert_int_equal(attr_encode(&options, directory, a, out, out_size), 0);
	assert_true((*out == NULL) == (*out_size == 0));
}

/* Encoding what was decoded gives the same attributes again, whatever blob they came from. */
static void assert_stable(bool directory, const struct attr *a)
{
	struct attr again;
	uint8_t *blob;
	size_t size;
	encode(directory, a, &blob, &size);
	assert_int_equal(attr_decode(&options, directory, attr_record_time(a), blob, size, &again), 0);
	assert_same(a, &again);
	attr_done(&again);
	free(blob);
}

static void test_round_trips(void **state)
{
	struct random_state r;
	(void)state;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < 20000; i++) {
		bool directory = random_below(&r, 2);
		struct attr a;
		random_attr(&r, directory, &a);
		assert_stable(directory, &a);
		attr_done(&a);
	}
}

/* Each field alone makes a blob of its header and itself. */
static void test_what_equals_the_default_is_left_out(void **state)
{
	struct attr a;
	uint8_t *blob;
	size_t size, expected[] = { 0, 4, 4, 4, 8, 8, 8, 8, 8, 4 + 4 };
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		attr_default(&options, i % 2, 1234567890123456789, &a);
		switch (i) {
		case 1: a.mode ^= 0111; break;
		case 2: a.uid = 0; break;
		case 3: a.gid = 0; break;
		case 4: a.mtime_ns = a.ctime_ns = a.atime_ns = -5; break; /* before any record's time */
		case 5: a.ctime_ns++; break;
		case 6: a.atime_ns--; break;
		case 7: a.ino = 1; break;
		case 8: a.rdev = 1; break;
		case 9:
			a.xattrs = malloc(4);
			memcpy(a.xattrs, (uint8_t[]){ 1, 'x', 0, 0 }, 4);
			a.xattrs_size = 4;
			break;
		}
		encode(i % 2, &a, &blob, &size);
		assert_int_equal(size, i ? 3 + expected[i] : 0);
		if (i)
			assert_int_equal(blob[1] | blob[2] << 8, 1u << (i - 1));
		assert_stable(i % 2, &a);
		free(blob);
		attr_done(&a);
	}
}

/* The bytes themselves: a database outlives the program that wrote it. */
static void test_layout(void **state)
{
	static const uint8_t expected[] = { 1, 0xff, 1, 0xed, 0x81, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
		6, 0, 0, 0, 0, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 'n', 1, 0, 'v' };
	uint8_t list[] = { 1, 'n', 1, 0, 'v' }, *blob;
	size_t size;
	struct attr a = { .mode = S_IFREG | 0755, .uid = 1, .gid = 2, .mtime_ns = -1, .ctime_ns = 4, .atime_ns = 5,
		.ino = 0x8000000000000006, .rdev = 7, .size = 99, .xattrs = list, .xattrs_size = sizeof list };
	(void)state;
	encode(false, &a, &blob, &size);
	assert_int_equal(size, sizeof expected);
	assert_memory_equal(blob, expected, size);
	free(blob);
}

/* ---- Blobs that are none ------------------------------------------------------------------- */

/* Decodes from memory of exactly that size, so that a sanitizer sees a byte too far. */
static int decode_exact(bool directory, const uint8_t *blob, size_t size, struct attr *out)
{
	uint8_t *copy = malloc(size ? size : 1);
	assert_non_null(copy);
	if (size)
		memcpy(copy, blob, size);
	int error = attr_decode(&options, directory, 77, copy, size, out);
	free(copy);
	return error;
}

static void test_truncation_is_refused(void **state)
{
	struct random_state r;
	(void)state;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < 200; i++) {
		bool directory = random_below(&r, 2);
		struct attr a, b;
		uint8_t *blob, longer[2048];
		size_t size;
		random_attr(&r, directory, &a);
		encode(directory, &a, &blob, &size);
		for (size_t cut = 1; cut < size; cut++)
			assert_int_equal(decode_exact(directory, blob, cut, &b), EIO);
		if (size) {
			memcpy(longer, blob, size);
			longer[size] = 0;
			assert_int_equal(decode_exact(directory, longer, size + 1, &b), EIO);
			assert_int_equal(decode_exact(!directory, blob, size, &b) == 0, !(blob[1] & ATTR_MODE));
			if (!(blob[1] & ATTR_MODE))
				attr_done(&b);
		}
		attr_done(&a);
		free(blob);
	}
}

/* Refused, or something that can be stored and read again as it is. */
static void test_changed_bytes(void **state)
{
	struct random_state r;
	unsigned refused = 0, taken = 0;
	(void)state;
	random_seed(&r, test_seed(__func__));
	for (int i = 0; i < 100; i++) {
		bool directory = random_below(&r, 2);
		struct attr a, b;
		uint8_t *blob;
		size_t size;
		random_attr(&r, directory, &a);
		encode(directory, &a, &blob, &size);
		for (size_t at = 0; at < size; at++) {
			uint8_t was = blob[at];
			blob[at] ^= (uint8_t)(1 + random_below(&r, 255));
			int error = decode_exact(directory, blob, size, &b);
			assert_true(error == 0 || error == EIO);
			if (!error) {
				assert_true(S_ISDIR(b.mode) == directory);
				assert_stable(directory, &b);
				attr_done(&b);
			}
			error ? refused++ : taken++;
			blob[at] = was;
		}
		attr_done(&a);
		free(blob);
	}
	assert_true(refused > 0 && taken > 0);
}

static void test_other_versions_and_fields_are_refused(void **state)
{
	struct attr a;
	(void)state;
	for (unsigned version = 0; version < 256; version++)
		assert_int_equal(decode_exact(false, (uint8_t[]){ (uint8_t)version, 0, 0 }, 3, &a),
				 version == ATTR_VERSION ? 0 : EIO);
	for (unsigned bit = 10; bit < 16; bit++)
		assert_int_equal(decode_exact(false, (uint8_t[]){ ATTR_VERSION, 0, (uint8_t)(1 << (bit - 8)) },
			3, &a), EIO);
}

/* A list that no call could walk to its end must not be taken for one: what is appended to it would be lost. */
static void test_lists_that_are_none_are_refused(void **state)
{
	static const struct {
		uint8_t size, list[8];
		int error;
		bool wide;
	} cases[] = {
		{ 4, { 1, 'a', 0, 0 }, 0, false },          { 5, { 1, 'a', 1, 0, 'v' }, 0, false },
		{ 8, { 1, 'a', 0, 0, 1, 'b' }, 0, false },  { 1, { 1 }, EIO, false },
		{ 3, { 1, 'a', 0 }, EIO, false },           { 4, { 2, 'a', 0, 0 }, EIO, false },
		{ 4, { 1, 'a', 1, 0 }, EIO, false },        { 5, { 1, 'a', 0, 0, 0 }, EIO, false },
		{ 5, { 1, 'a', 0, 1, 'v' }, EIO, false },   { 7, { 1, 'a', 0, 0, 1, 'b', 0 }, EIO, false },
		{ 3, { 0, 0, 0 }, EIO, false },
		{ 6, { 1, 'a', 0, 0, 0, 0 }, 0, true },       { 7, { 1, 'a', 1, 0, 0, 0, 'v' }, 0, true },
		{ 4, { 1, 'a', 0, 0 }, EIO, true },           { 7, { 1, 'a', 1, 0, 0, 1, 'v' }, EIO, true },
		{ 7, { 1, 'a', 0, 0, 0, 0, 1 }, EIO, true },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint8_t blob[3 + 4 + 8] = { ATTR_VERSION, 0, ATTR_XATTRS >> 8, cases[i].size };
		if (cases[i].wide)
			blob[2] |= ATTR_WIDE >> 8;
		struct attr a = { 0 };
		memcpy(blob + 7, cases[i].list, cases[i].size);
		int error = decode_exact(false, blob, 7u + cases[i].size, &a);
		if (error != cases[i].error)
			fail_msg("case %zu: %d, not %d", i, error, cases[i].error);
		if (!error)
			attr_done(&a);
	}
}

/* ---- Limits -------------------------------------------------------------------------------- */

static void test_a_blob_has_a_limit(void **state)
{
	struct attr a;
	uint8_t *blob;
	size_t size, most = ATTR_BLOB_MAX - 3 - 4;
	(void)state;
	attr_default(&options, false, 5, &a);
	a.xattrs = calloc(1, most + 1);
	a.xattrs_size = most;
	encode(false, &a, &blob, &size);
	assert_int_equal(size, ATTR_BLOB_MAX);
	free(blob);
	a.xattrs_size = most + 1;
	assert_int_equal(attr_encode(&options, false, &a, &blob, &size), ENOSPC);
	a.xattrs_size = most;
	a.ino = 1; /* any field counts */
	assert_int_equal(attr_encode(&options, false, &a, &blob, &size), ENOSPC);
	attr_done(&a);
}

static void test_failed_allocations(void **state)
{
	struct random_state r;
	struct attr a, b = { .uid = 12 };
	uint8_t *blob;
	size_t size;
	(void)state;
	random_seed(&r, 1);
	attr_default(&options, false, 5, &a);
	make_xattrs(&r, 3, &a);
	alloc_fail_arm(0);
	assert_int_equal(attr_encode(&options, false, &a, &blob, &size), ENOMEM);
	assert_true(alloc_fail_disarm());
	encode(false, &a, &blob, &size);
	alloc_fail_arm(0);
	assert_int_equal(attr_decode(&options, false, 5, blob, size, &b), ENOMEM);
	assert_true(alloc_fail_disarm());
	assert_int_equal(b.uid, 12); /* written only on success */
	attr_done(&a);
	free(blob);
}

/* ---- stat ---------------------------------------------------------------------------------- */

static void assert_time(int64_t ns, time_t sec, long rest)
{
	struct attr a = { .mtime_ns = ns, .ctime_ns = ns, .atime_ns = ns };
	struct stat s;
	attr_to_stat(&a, 9, &s);
	assert_true(s.st_mtim.tv_sec == sec && s.st_mtim.tv_nsec == rest);
	assert_true(s.st_ctim.tv_sec == sec && s.st_ctim.tv_nsec == rest);
	assert_true(s.st_atim.tv_sec == sec && s.st_atim.tv_nsec == rest);
}

static void test_stat(void **state)
{
	struct attr a = { .mode = S_IFREG | 0640, .uid = 1, .gid = 2, .size = 513, .ino = 5 };
	struct stat s;
	(void)state;
	attr_to_stat(&a, 9, &s);
	assert_true(s.st_ino == 9 && s.st_nlink == 1 && s.st_mode == a.mode && s.st_uid == 1 && s.st_gid == 2);
	assert_true(s.st_size == 513 && s.st_blocks == 2);
	assert_time(0, 0, 0);
	assert_time(1, 0, 1);
	assert_time(1999999999, 1, 999999999);
	assert_time(-1, -1, 999999999);
	assert_time(-1000000000, -1, 0);
	assert_time(-1000000001, -2, 999999999);
	assert_time(INT64_MIN, -9223372037, 145224192);
	/* A record cannot say a time before 1970, nor 0, which would be "now". */
	for (int64_t ns = -2; ns <= 2; ns++)
		assert_int_equal(attr_record_time(&(struct attr){ .mtime_ns = ns }), ns > 0 ? ns : 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_what_equals_the_default_is_left_out),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_truncation_is_refused),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_other_versions_and_fields_are_refused),
		cmocka_unit_test(test_lists_that_are_none_are_refused),
		cmocka_unit_test(test_a_blob_has_a_limit),
		cmocka_unit_test(test_failed_allocations),
		cmocka_unit_test(test_stat),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
