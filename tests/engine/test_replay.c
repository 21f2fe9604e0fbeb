/*
 * Adding up edits, against an array that says of each table in which level it is; and the check of a manifest.
 */
#include "engine/version/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "engine/version/manifest.h"
#include "engine/version/manifest_format.h"
#include "engine/version/version_set.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

/* ---- A model --------------------------------------------------------------------------------- */

enum { NUMBERS = 200 };

struct tables {
	int level[NUMBERS]; /* -1: no such table */
	size_t count;
	uint64_t flushed, last, next;
};

static void tables_init(struct tables *m)
{
	*m = (struct tables){ .next = NUMBERS };
	for (unsigned i = 0; i < NUMBERS; i++)
		m->level[i] = -1;
}

static void add_table(struct version_edit *e, unsigned level, uint64_t number)
{
	char from[32], to[32];
	snprintf(from, sizeof(from), "%06" PRIu64, number);
	snprintf(to, sizeof(to), "%06" PRIu64 "z", number);
	fake_add(e, &(struct fake_table)FAKE(level, number, from, to, .bytes = number * 100, .entries = number,
		.sequence = number + 1));
}

/* One that is not used in this edit; 0: none. */
static unsigned draw(struct random_state *r, const struct tables *m, bool *used, bool there)
{
	for (unsigned tries = 0; tries < 20; tries++) {
		unsigned n = 1 + (unsigned)random_below(r, NUMBERS - 1);
		if (!used[n] && (m->level[n] >= 0) == there) {
			used[n] = true;
			return n;
		}
	}
	return 0;
}

/* A few tables come, go and move; numbers in any order. */
static void random_change(struct random_state *r, struct tables *m, struct version_edit *e)
{
	bool used[NUMBERS] = { false };
	version_edit_init(e);
	for (uint64_t steps = random_below(r, 8); steps > 0; steps--) {
		unsigned kind = (unsigned)random_below(r, 3), n = draw(r, m, used, kind > 0);
		if (n == 0)
			continue;
		if (kind > 0)
			assert_ok(version_edit_remove(e, (unsigned)m->level[n], n));
		m->count += kind == 0;
		m->count -= kind == 1;
		m->level[n] = kind == 1 ? -1 : (int)random_below(r, LEVELS_MAX);
		if (kind != 1)
			add_table(e, (unsigned)m->level[n], n);
	}
	if (random_below(r, 2)) {
		e->has_last_sequence = true;
		e->last_sequence = m->last += random_below(r, 100);
	}
	if (random_below(r, 2)) {
		e->has_flushed_sequence = true;
		e->flushed_sequence = m->flushed = m->last;
	}
	if (random_below(r, 2)) {
		e->has_next_file_number = true;
		e->next_file_number = m->next += random_below(r, 3);
	}
}

/* The first record says all. */
static void whole_state(const struct tables *m, struct version_edit *e)
{
	version_edit_init(e);
	e->has_flushed_sequence = e->has_last_sequence = e->has_next_file_number = true;
	e->flushed_sequence = m->flushed;
	e->last_sequence = m->last;
	e->next_file_number = m->next;
}

static enum wombat_status add(struct replay *r, const struct version_edit *e)
{
	struct buf record = { 0 };
	assert_ok(version_edit_encode(e, &record));
	enum wombat_status s = replay_record(r, buf_slice(&record));
	buf_done(&record);
	return s;
}

static void assert_same(const struct replay *r, const struct tables *m)
{
	assert_int_equal(r->count, m->count);
	assert_true(r->flushed_sequence == m->flushed && r->last_sequence == m->last);
	assert_true(r->next_file_number == m->next);
	for (size_t i = 0; i < r->count; i++) {
		const struct replay_file *f = &r->files[i];
		assert_true(i == 0 || r->files[i - 1].number < f->number);
		assert_int_equal(f->level, m->level[f->number]);
		assert_int_equal(f->file->number, f->number);
		assert_int_equal(f->file->summary.file_bytes, f->number * 100);
		assert_int_equal(f->file->summary.largest_sequence, f->number + 1);
	}
}

static void test_against_an_array(void **state)
{
	(void)state;
	struct random_state random;
	random_seed(&random, test_seed("test_against_an_array"));
	for (unsigned round = 0; round < 20; round++) {
		struct replay r = { 0 }, again = { 0 };
		struct tables m;
		struct version_edit e;
		tables_init(&m);
		whole_state(&m, &e);
		assert_ok(add(&r, &e));
		version_edit_done(&e);
		for (unsigned n = 1; n < 100; n++) {
			random_change(&random, &m, &e);
			assert_ok(add(&r, &e));
			version_edit_done(&e);
			assert_int_equal(r.edits, n + 1);
			assert_same(&r, &m);
		}
		/* The state as one edit is the state. */
		assert_ok(replay_to_edit(&r, &e));
		assert_ok(add(&again, &e));
		assert_same(&again, &m);
		assert_int_equal(again.edits, 1);
		version_edit_done(&e);
		replay_done(&again);
		replay_done(&r);
		assert_true(r.files == NULL && r.edits == 0);
	}
}

/* Thousands of tables, added from the front and from the back. */
static void test_many(void **state)
{
	(void)state;
	enum { MANY = 3000 };
	for (int descending = 0; descending < 2; descending++) {
		struct replay r = { 0 };
		struct version_edit e;
		struct tables m = { .next = MANY + 1 };
		whole_state(&m, &e);
		for (unsigned i = 1; i <= MANY; i++)
			add_table(&e, i % LEVELS_MAX, descending ? MANY + 1 - i : i);
		assert_ok(add(&r, &e));
		version_edit_done(&e);
		assert_int_equal(r.count, MANY);
		for (unsigned i = 0; i < MANY; i++)
			assert_int_equal(r.files[i].number, i + 1);
		replay_done(&r);
	}
}

/* ---- What cannot be -------------------------------------------------------------------------- */

static void begin(struct replay *r)
{
	struct version_edit e;
	struct tables m = { .flushed = 5, .last = 9, .next = 8 };
	*r = (struct replay){ 0 };
	whole_state(&m, &e);
	add_table(&e, 1, 3);
	add_table(&e, 0, 7);
	assert_ok(add(r, &e));
	version_edit_done(&e);
}

static void assert_refused(struct version_edit *e, const char *sentence)
{
	struct replay r;
	begin(&r);
	assert_status(add(&r, e), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), sentence));
	assert_int_equal(r.edits, 1);
	version_edit_done(e);
	replay_done(&r);
}

static void test_edits_that_cannot_follow(void **state)
{
	(void)state;
	struct version_edit e;
	version_edit_init(&e);
	assert_ok(version_edit_remove(&e, 0, 4));
	assert_refused(&e, "removes table 000004 from level 0, where it is not");
	assert_ok(version_edit_remove(&e, 2, 3)); /* in another level */
	assert_refused(&e, "removes table 000003 from level 2, where it is not");
	assert_ok(version_edit_remove(&e, 0, 99)); /* behind all */
	assert_refused(&e, "removes table 000099");
	assert_ok(version_edit_remove(&e, 0, 7)); /* twice */
	assert_ok(version_edit_remove(&e, 0, 7));
	assert_refused(&e, "removes table 000007");
	add_table(&e, 4, 7);
	assert_refused(&e, "adds table 000007, which is there already");
	add_table(&e, 0, 5);
	add_table(&e, 1, 5);
	assert_refused(&e, "adds table 000005");
	add_table(&e, 0, 8);
	assert_refused(&e, "the next file number 8 is not above 8");
	e.has_next_file_number = true;
	e.next_file_number = 7;
	assert_refused(&e, "the next file number 7 is not above 7");
	/* What goes is gone before what comes: a move. */
	struct replay r;
	begin(&r);
	add_table(&e, 4, 7);
	assert_ok(version_edit_remove(&e, 0, 7));
	assert_ok(add(&r, &e));
	assert_int_equal(r.files[1].level, 4);
	version_edit_done(&e);
	replay_done(&r);
}

/* The first record has all three numbers, or nothing says where replay of the log begins. */
static void test_the_first_is_whole(void **state)
{
	(void)state;
	for (unsigned has = 0; has < 8; has++) {
		struct replay r = { 0 };
		struct version_edit e;
		version_edit_init(&e);
		e.has_flushed_sequence = has & 1;
		e.has_last_sequence = has & 2;
		e.has_next_file_number = has & 4;
		e.next_file_number = 1;
		assert_status(add(&r, &e), has == 7 ? WOMBAT_OK : WOMBAT_CORRUPTION);
		if (has != 7)
			assert_non_null(strstr(wombat_last_error(), "not a whole state"));
		replay_done(&r);
	}
	struct replay r = { 0 };
	struct version_edit e;
	struct tables m = { 0 }; /* 0 is no file's number */
	whole_state(&m, &e);
	assert_status(add(&r, &e), WOMBAT_CORRUPTION);
	replay_done(&r);
}

/* Any bytes at all: an answer, and memory in bounds. A manifest's checksum sees to it that this is never needed. */
static void test_any_bytes(void **state)
{
	(void)state;
	struct random_state random;
	struct buf record = { 0 };
	struct version_edit e;
	unsigned refused = 0;
	random_seed(&random, test_seed("test_any_bytes"));
	version_edit_init(&e);
	add_table(&e, 2, 5);
	assert_ok(version_edit_remove(&e, 1, 3));
	assert_ok(version_edit_encode(&e, &record));
	version_edit_done(&e);
	for (size_t n = 0; n < 20 * record.size; n++) {
		struct replay r;
		size_t at = n % record.size;
		uint8_t was = record.data[at];
		begin(&r);
		record.data[at] ^= (uint8_t)(1 + random_below(&random, 255));
		size_t size = n % 3 ? record.size : random_below(&random, record.size);
		enum wombat_status s = replay_record(&r, slice_make(record.data, size));
		assert_true(s == WOMBAT_OK || s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
		refused += s != WOMBAT_OK;
		record.data[at] = was;
		replay_done(&r);
	}
	assert_true(refused > record.size);
	buf_done(&record);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static unsigned left; /* so many succeed, then one fails */

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return left-- != 0;
}

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	(void)path;
	return left-- == 0 ? WOMBAT_IO : WOMBAT_OK;
}

static enum wombat_status add_and_sum_up(const struct buf *first, const struct buf *second)
{
	struct replay r = { 0 };
	struct version_edit e;
	enum wombat_status s = replay_record(&r, buf_slice(first));
	if (s == WOMBAT_OK)
		s = replay_record(&r, buf_slice(second));
	if (s == WOMBAT_OK)
		s = replay_to_edit(&r, &e);
	if (s == WOMBAT_OK)
		version_edit_done(&e);
	replay_done(&r);
	return s;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	struct buf first = { 0 }, second = { 0 };
	struct version_edit e;
	struct tables m = { .next = 200 };
	unsigned n = 0;
	whole_state(&m, &e);
	for (unsigned i = 1; i < 70; i++) /* beyond the array's first room */
		add_table(&e, i % 3, 2 * i);
	assert_ok(version_edit_encode(&e, &first));
	version_edit_done(&e);
	add_table(&e, 0, 9);
	assert_ok(version_edit_remove(&e, 2, 10));
	assert_ok(version_edit_encode(&e, &second));
	version_edit_done(&e);
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		left = n;
		mem_test_hook = fail_allocation;
		s = add_and_sum_up(&first, &second);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_true(n > 3 * 70);
	buf_done(&first);
	buf_done(&second);
}

/* ---- The check ------------------------------------------------------------------------------- */

struct reports {
	unsigned damage, notes;
	char last[512];
};

static void take_report(void *arg, bool is_damage, const char *sentence)
{
	struct reports *r = arg;
	r->damage += is_damage;
	r->notes += !is_damage;
	snprintf(r->last, sizeof(r->last), "%s", sentence);
}

static enum wombat_status check(struct env *env, struct reports *r)
{
	*r = (struct reports){ 0 };
	return manifest_check(env, VERSIONS_DIR, take_report, r);
}

static void add_to_manifest(struct manifest_writer *w, const struct version_edit *e)
{
	struct buf record = { 0 };
	assert_ok(version_edit_encode(e, &record));
	assert_ok(manifest_append(w, buf_slice(&record)));
	buf_done(&record);
}

/* A manifest of a whole state with two tables, and an edit that adds a third; not yet closed. */
static struct manifest_writer *write_manifest(struct env *env)
{
	struct manifest_writer *w;
	struct buf record = { 0 };
	struct version_edit e;
	struct tables m = { .next = 20 };
	whole_state(&m, &e);
	add_table(&e, 1, 3);
	add_table(&e, 1, 4);
	assert_ok(version_edit_encode(&e, &record));
	assert_ok(manifest_create(env, VERSIONS_DIR, 2, buf_slice(&record), &w));
	buf_done(&record);
	version_edit_done(&e);
	add_table(&e, 0, 9);
	add_to_manifest(w, &e);
	version_edit_done(&e);
	return w;
}

static void test_check(void **state)
{
	(void)state;
	struct env *env;
	struct reports r;
	struct version_edit e;
	struct env_writer *file;
	assert_ok(env_mem_new(&env));
	assert_status(check(env, &r), WOMBAT_NOT_FOUND); /* no database */
	struct manifest_writer *w = write_manifest(env);
	assert_ok(check(env, &r));
	assert_true(r.damage == 0 && r.notes == 1);
	assert_string_equal(r.last, "manifest 000002 read: 2 edits, 3 tables");
	/* A torn end is told, not complained of. */
	assert_ok(env->calls->writer_append(env, VERSIONS_DIR "/MANIFEST-000002", &file));
	assert_ok(env->calls->writer_write(file, "torn!", 5));
	assert_ok(env->calls->writer_close(file));
	assert_ok(check(env, &r));
	assert_true(r.damage == 0 && r.notes == 2);
	assert_non_null(strstr(r.last, "ends in 5 bytes of an incomplete record"));
	manifest_close(w);
	/* A whole record that cannot follow is damage, and where it is is said. */
	w = write_manifest(env);
	char place[64];
	snprintf(place, sizeof(place), "2: the record at offset %" PRIu64 ": it removes", manifest_size(w));
	version_edit_init(&e);
	assert_ok(version_edit_remove(&e, 5, 3));
	add_to_manifest(w, &e);
	version_edit_done(&e);
	manifest_close(w);
	assert_status(check(env, &r), WOMBAT_CORRUPTION);
	assert_true(r.damage == 1 && r.notes == 0);
	assert_non_null(strstr(r.last, place));
	env->calls->free(env);
}

/* That it could not look is not taken for a whole manifest. */
static void test_check_on_failures(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		struct env *env;
		struct reports r;
		unsigned n = 0;
		assert_ok(env_mem_new(&env));
		manifest_close(write_manifest(env));
		for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
			left = n;
			if (memory)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(env, fail_call, NULL);
			s = check(env, &r);
			mem_test_hook = NULL;
			env_mem_on_call(env, NULL, NULL);
			assert_true(s == WOMBAT_OK || s == (memory ? WOMBAT_NO_MEMORY : WOMBAT_IO));
			assert_int_equal(r.notes, s == WOMBAT_OK);
		}
		assert_true(n > 4);
		env->calls->free(env);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_an_array),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_edits_that_cannot_follow),
		cmocka_unit_test(test_the_first_is_whole),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_check_on_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
