/* Journal records: written, found again by walking, and told from what a tear or damage leaves. */
#include <stdio.h>

#include "engine/env/filename.h"
#include "engine/vlog/vlog_journal.h"
#include "tests/support/check.h"
#include "tests/support/values.h"

enum { RECORDS_MAX = 64 };

struct found {
	struct vlog_journal_record records[RECORDS_MAX];
	size_t count;
	char bodies[RECORDS_MAX][64]; /* their beginnings */
};

static enum wombat_status note(void *arg, const struct vlog_journal_record *r)
{
	struct found *f = arg;
	assert_true(f->count < RECORDS_MAX);
	snprintf(f->bodies[f->count], sizeof f->bodies[0], "%.*s", (int)(r->body.size < 60 ? r->body.size : 60),
		 (const char *)r->body.data);
	f->records[f->count++] = *r;
	return WOMBAT_OK;
}

static void walk(struct values *v, struct vlog_position from, struct found *f)
{
	f->count = 0;
	assert_ok(vlog_journal_walk(v->log, from, note, f));
}

static struct vlog_position put_value(struct values *v, uint64_t n, size_t size)
{
	static uint8_t bytes[100000];
	struct value_pointer p;
	values_fill(bytes, size, n);
	assert_ok(vlog_append(v->log, WOMBAT_STR("\1key"), slice_make(bytes, size), &p));
	vlog_written(v->log, p.file, n);
	return vlog_record_end(&p);
}

/* One change per record, in two pieces. */
static struct vlog_position put_record(struct values *v, uint64_t sequence)
{
	char body[32];
	snprintf(body, sizeof body, "change %llu", (unsigned long long)sequence);
	const struct wombat_slice pieces[] = { WOMBAT_SLICE(body, 7), WOMBAT_STR(body + 7) };
	const struct vlog_journal_record r = {
		.durable_sequence = sequence - 1, .sequence = sequence, .time_ns = 1000 + sequence, .count = 1,
	};
	struct vlog_position before = vlog_end(v->log);
	assert_ok(vlog_journal_append(v->log, &r, pieces, 2));
	struct vlog_position at = vlog_end(v->log);
	at.offset -= 20 + 28 + strlen(body);
	assert_true(at.file > before.file || (at.file == before.file && at.offset >= before.offset));
	return at;
}

static void assert_record(const struct found *f, size_t i, uint64_t sequence, struct vlog_position at)
{
	char body[32];
	snprintf(body, sizeof body, "change %llu", (unsigned long long)sequence);
	assert_true(i < f->count);
	assert_int_equal(f->records[i].sequence, sequence);
	assert_int_equal(f->records[i].durable_sequence, sequence - 1);
	assert_int_equal(f->records[i].time_ns, 1000 + sequence);
	assert_int_equal(f->records[i].count, 1);
	assert_int_equal(f->records[i].at.file, at.file);
	assert_int_equal(f->records[i].at.offset, at.offset);
	assert_string_equal(f->bodies[i], body);
}

static uint8_t *bytes_of(struct values *v, uint64_t file, size_t *size)
{
	char path[FILENAME_PATH_MAX];
	assert_true(filename_path(path, VALUES_DIR, FILE_VALUES, file));
	return env_mem_bytes(v->env, path, size);
}

/* Over several files, from any of their positions on, values of one chunk and of several between. */
static void test_walk(void **state)
{
	(void)state;
	struct values v;
	struct found f;
	struct vlog_position at[21];
	values_open(&v, 200000, 0);
	assert_int_equal(vlog_end(v.log).file, 1); /* there is none yet, and 0 is no number */
	walk(&v, vlog_end(v.log), &f);
	assert_int_equal(f.count, 0);
	for (uint64_t n = 1; n <= 20; n++) {
		struct vlog_position end = put_value(&v, n, n % 3 ? 1000 : 70000);
		at[n] = put_record(&v, n);
		if (at[n].file == end.file) /* where the value ends the next record begins */
			assert_int_equal(at[n].offset, end.offset);
	}
	assert_true(at[20].file > at[1].file + 1);
	for (int reopened = 0; reopened < 2; reopened++) {
		walk(&v, (struct vlog_position){ 1, 0 }, &f);
		assert_int_equal(f.count, 20);
		for (uint64_t n = 1; n <= 20; n++) {
			assert_record(&f, n - 1, n, at[n]);
			assert_false(f.records[n - 1].beyond_tear);
		}
		for (uint64_t n = 1; n <= 20; n++) {
			walk(&v, at[n], &f);
			assert_int_equal(f.count, 20 - n + 1);
			assert_record(&f, 0, n, at[n]);
		}
		values_reopen(&v);
	}
	assert_true(vlog_end(v.log).file > at[20].file); /* what comes is behind all that is there */
	assert_int_equal(put_record(&v, 21).file, at[20].file + 1);
	values_done(&v);
}

/* Wherever one bit is wrong, the records before are found, and those behind as what they are, in this file and the next. */
static void test_damage(void **state)
{
	(void)state;
	struct values v;
	struct found f;
	struct vlog_position at[7];
	size_t size;
	values_open(&v, 1 << 20, 0);
	for (uint64_t n = 1; n <= 5; n++) {
		put_value(&v, n, 300);
		at[n] = put_record(&v, n);
	}
	vlog_seal(v.log);
	at[6] = put_record(&v, 6);
	uint8_t *bytes = bytes_of(&v, at[1].file, &size);
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 0x10;
		walk(&v, (struct vlog_position){ 1, 0 }, &f);
		bytes[i] ^= 0x10;
		size_t missing = 0;
		for (uint64_t n = 1, k = 0; n <= 5; n++) {
			uint64_t end = at[n].offset + 20 + 28 + 8;
			if (i >= at[n].offset && i < end) {
				missing++;
				continue;
			}
			assert_record(&f, k, n, at[n]);
			/* A value's own bytes are not looked at: its record is as long as before. */
			if (i >= end)
				assert_false(f.records[k].beyond_tear);
			else if (missing)
				assert_true(f.records[k].beyond_tear);
			k++;
		}
		assert_int_equal(f.count, 6 - missing);
		assert_record(&f, f.count - 1, 6, at[6]);
		assert_false(f.records[f.count - 1].beyond_tear); /* another file */
	}
	values_done(&v);
}

/* At whatever byte the file is cut: what lies before that is found, and nothing else. */
static void test_cut(void **state)
{
	(void)state;
	struct values v;
	struct found f;
	struct vlog_position at[5];
	size_t size;
	char path[FILENAME_PATH_MAX];
	values_open(&v, 1 << 20, 0);
	for (uint64_t n = 1; n <= 4; n++) {
		put_value(&v, n, 200);
		at[n] = put_record(&v, n);
	}
	struct buf whole = { 0 };
	const uint8_t *bytes = bytes_of(&v, at[1].file, &size);
	assert_ok(buf_set(&whole, slice_make(bytes, size)));
	assert_true(filename_path(path, VALUES_DIR, FILE_VALUES, at[1].file));
	for (size_t cut = 0; cut <= size; cut++) {
		struct env_writer *w;
		assert_ok(v.env->calls->writer_open(v.env, path, 0, 0, &w));
		assert_ok(v.env->calls->writer_write(w, whole.data, cut));
		assert_ok(v.env->calls->writer_close(w));
		values_reopen(&v);
		walk(&v, (struct vlog_position){ 1, 0 }, &f);
		size_t want = 0;
		while (want < 4 && at[want + 1].offset + 20 + 28 + 8 <= cut)
			want++;
		assert_int_equal(f.count, want);
	}
	buf_done(&whole);
	values_done(&v);
}

/* One that stands in a value is none, since the place is part of its checksum. */
static void test_copy_in_a_value(void **state)
{
	(void)state;
	struct values v;
	struct found f;
	struct value_pointer p;
	size_t size;
	values_open(&v, 1 << 20, 0);
	struct vlog_position at = put_record(&v, 1);
	const uint8_t *bytes = bytes_of(&v, at.file, &size);
	struct buf copy = { 0 };
	assert_ok(buf_append(&copy, bytes + at.offset, size - at.offset));
	assert_ok(vlog_append(v.log, WOMBAT_STR("\1key"), buf_slice(&copy), &p));
	vlog_written(v.log, p.file, 1);
	bytes_of(&v, at.file, &size)[p.offset - 10] ^= 1; /* so that the value is searched */
	walk(&v, (struct vlog_position){ 1, 0 }, &f);
	assert_int_equal(f.count, 1);
	buf_done(&copy);
	values_done(&v);
}

/* Its file stays until the changes are in tables. */
static bool nothing_lives(void *arg, uint64_t file)
{
	(void)arg;
	(void)file;
	return false;
}

static void test_file_stays(void **state)
{
	(void)state;
	struct values v;
	struct found f;
	values_open(&v, 1 << 20, 0);
	put_record(&v, 7);
	vlog_seal(v.log);
	vlog_remove_dead(v.log, nothing_lives, NULL, 6, vlog_unholds(v.log));
	walk(&v, (struct vlog_position){ 1, 0 }, &f);
	assert_int_equal(f.count, 1);
	vlog_remove_dead(v.log, nothing_lives, NULL, 7, vlog_unholds(v.log));
	walk(&v, (struct vlog_position){ 1, 0 }, &f);
	assert_int_equal(f.count, 0);
	values_done(&v);
}

/* What `each` answers ends the walk; a failed read is no tear. */
static enum wombat_status refuse(void *arg, const struct vlog_journal_record *r)
{
	(void)arg;
	return r->sequence == 2 ? WOMBAT_BUSY : WOMBAT_OK;
}

static enum wombat_status fail_reads(void *arg, const char *op, const char *path)
{
	int *left = arg;
	(void)path;
	return strcmp(op, "reader_read") == 0 && (*left)-- == 0 ? WOMBAT_IO : WOMBAT_OK;
}

static void test_failures(void **state)
{
	(void)state;
	struct values v;
	struct found f;
	values_open(&v, 1 << 20, 0);
	for (uint64_t n = 1; n <= 3; n++)
		put_record(&v, n);
	assert_int_equal(vlog_journal_walk(v.log, (struct vlog_position){ 1, 0 }, refuse, NULL), WOMBAT_BUSY);
	int failed = 0;
	for (int n = 0; n < 20; n++) {
		int left = n;
		env_mem_on_call(v.env, fail_reads, &left);
		f.count = 0;
		enum wombat_status s = vlog_journal_walk(v.log, (struct vlog_position){ 1, 0 }, note, &f);
		env_mem_on_call(v.env, NULL, NULL);
		assert_true(s == WOMBAT_OK ? f.count == 3 : s == WOMBAT_IO);
		failed += s == WOMBAT_IO;
	}
	assert_true(failed > 3 && failed < 20);
	values_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_copy_in_a_value),
		cmocka_unit_test(test_file_stays),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests_name("vlog_journal", tests, NULL, NULL);
}
