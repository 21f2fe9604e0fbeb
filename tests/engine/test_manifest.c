/*
 * The manifest as a file: records come back as they were, a torn end is cut, damage is refused with the place of it,
 * and CURRENT names at each moment, through failures and power cuts, a manifest that is whole.
 *
 * Records are any bytes here; what edits say is the affair of test_replay.c and test_version_set.c.
 */
#include "engine/version/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "engine/version/manifest_format.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define DIR "/db"
enum { RECORDS = 6, RECORD_HEAD = MANIFEST_RECORD_HEADER_SIZE };

/* ---- Records --------------------------------------------------------------------------------- */

/* The i-th record of the n-th manifest: its bytes follow from the numbers. */
static struct wombat_slice record_of(uint64_t number, unsigned i, uint8_t room[4096])
{
	static const size_t sizes[RECORDS] = { 40, 1, 300, 7, 17, 90 };
	for (size_t k = 0; k < sizes[i]; k++)
		room[k] = (uint8_t)(number * 31 + i * 7 + k * 13 + 1);
	return slice_make(room, sizes[i]);
}

static enum wombat_status create(struct env *env, uint64_t number, struct manifest_writer **out)
{
	uint8_t room[4096];
	return manifest_create(env, DIR, number, record_of(number, 0, room), out);
}

static enum wombat_status append(struct manifest_writer *w, uint64_t number, unsigned i)
{
	uint8_t room[4096];
	return manifest_append(w, record_of(number, i, room));
}

struct reading {
	uint64_t number;
	unsigned count;            /* records seen */
	unsigned fail_at;          /* the call that fails, from 1; 0: none */
	enum wombat_status failure;
};

static enum wombat_status see(void *arg, struct wombat_slice record)
{
	struct reading *r = arg;
	uint8_t room[4096];
	assert_true(r->count < RECORDS);
	assert_true(slice_equal(record, record_of(r->number, r->count, room)));
	if (++r->count == r->fail_at)
		return (fail)(r->failure, "the cause");
	return WOMBAT_OK;
}

static enum wombat_status replay(struct env *env, uint64_t number, unsigned *count, size_t *cut)
{
	struct reading r = { .number = number };
	enum wombat_status s = manifest_replay(env, DIR, number, see, &r, cut);
	*count = r.count;
	return s;
}

/* What CURRENT names is whole: its first record is there. */
static void assert_current(struct env *env, uint64_t *number, unsigned *count)
{
	size_t cut;
	assert_ok(manifest_read_current(env, DIR, number));
	assert_ok(replay(env, *number, count, &cut));
	assert_true(*count >= 1);
}

static void path_of(uint64_t number, char path[FILENAME_PATH_MAX])
{
	assert_true(filename_path(path, DIR, FILE_MANIFEST, number));
}

/* A manifest of all records; its bytes, and where each record begins. */
struct whole {
	struct env *env;
	char path[FILENAME_PATH_MAX];
	struct buf bytes;
	size_t begin[RECORDS + 1];
};

static void whole_init(struct whole *m)
{
	struct manifest_writer *w;
	*m = (struct whole){ 0 };
	assert_ok(env_mem_new(&m->env));
	assert_ok(create(m->env, 7, &w));
	m->begin[0] = MANIFEST_HEADER_SIZE;
	m->begin[1] = manifest_size(w);
	for (unsigned i = 1; i < RECORDS; i++) {
		assert_ok(append(w, 7, i));
		m->begin[i + 1] = manifest_size(w);
	}
	manifest_close(w);
	path_of(7, m->path);
	assert_ok(env_read_file(m->env, m->path, 1 << 20, &m->bytes));
	assert_int_equal(m->bytes.size, m->begin[RECORDS]);
}

static void whole_done(struct whole *m)
{
	buf_done(&m->bytes);
	m->env->calls->free(m->env);
}

static void write_file(struct env *env, const char *path, const void *data, size_t size)
{
	struct env_writer *writer;
	assert_ok(env->calls->writer_open(env, path, 4096, 0, &writer));
	assert_ok(env->calls->writer_write(writer, data, size));
	assert_ok(env->calls->writer_close(writer));
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void test_round_trip(void **state)
{
	(void)state;
	struct whole m;
	uint64_t number;
	unsigned count;
	size_t cut = 99;
	whole_init(&m);
	assert_current(m.env, &number, &count);
	assert_int_equal(number, 7);
	assert_ok(replay(m.env, 7, &count, &cut));
	assert_true(count == RECORDS && cut == 0);
	assert_ok(manifest_replay(m.env, DIR, 7, see, &(struct reading){ .number = 7 }, NULL));
	whole_done(&m);
}

/* A record cut off anywhere was never in force; what is before it was. */
static void test_torn_at_each_byte(void **state)
{
	(void)state;
	struct whole m;
	whole_init(&m);
	for (size_t size = 0; size <= m.bytes.size; size++) {
		unsigned count, fit = 0;
		size_t cut = 99;
		while (fit < RECORDS && m.begin[fit + 1] <= size)
			fit++;
		write_file(m.env, m.path, m.bytes.data, size);
		enum wombat_status s = replay(m.env, 7, &count, &cut);
		if (fit == 0) {
			assert_status(s, WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), m.path));
			assert_int_equal(count, 0);
			continue;
		}
		assert_ok(s);
		assert_int_equal(count, fit);
		assert_int_equal(cut, size - m.begin[fit]);
	}
	whole_done(&m);
}

/* Before a whole record it is damage, and the sentence says where; the last one cannot be told from a torn one. */
static void test_damage_at_each_byte(void **state)
{
	(void)state;
	struct whole m;
	struct random_state r;
	random_seed(&r, test_seed("test_damage_at_each_byte"));
	whole_init(&m);
	for (size_t at = 0; at < m.bytes.size; at++) {
		char place[40];
		unsigned count, record = 0;
		size_t cut = 0;
		while (m.begin[record + 1] <= at)
			record++;
		uint8_t was = m.bytes.data[at];
		m.bytes.data[at] ^= (uint8_t)(1 + random_below(&r, 255));
		write_file(m.env, m.path, m.bytes.data, m.bytes.size);
		m.bytes.data[at] = was;
		enum wombat_status s = replay(m.env, 7, &count, &cut);
		if (record == RECORDS - 1) {
			assert_ok(s);
			assert_int_equal(cut, m.bytes.size - m.begin[record]);
		} else {
			assert_status(s, WOMBAT_CORRUPTION);
			size_t begin = at < m.begin[0] ? 0 : m.begin[record];
			snprintf(place, sizeof(place), "at offset %zu", begin);
			assert_non_null(strstr(wombat_last_error(), m.path));
			assert_non_null(strstr(wombat_last_error(), place));
		}
		assert_int_equal(count, at < m.begin[0] ? 0 : record); /* none behind it is seen */
	}
	whole_done(&m);
}

/* What the caller says of a record gets the file and the offset; that memory is out concerns no record. */
static void test_the_caller_refuses(void **state)
{
	(void)state;
	static const enum wombat_status failures[] = { WOMBAT_CORRUPTION, WOMBAT_UNSUPPORTED, WOMBAT_NO_MEMORY };
	struct whole m;
	whole_init(&m);
	for (unsigned n = 0; n < RECORDS; n++)
		for (unsigned f = 0; f < 3; f++) {
			char place[100];
			struct reading r = { 7, 0, n + 1, failures[f] };
			snprintf(place, sizeof(place), "the record at offset %zu: the cause", m.begin[n]);
			assert_status(manifest_replay(m.env, DIR, 7, see, &r, NULL), failures[f]);
			assert_int_equal(r.count, n + 1);
			assert_int_equal(strstr(wombat_last_error(), place) != NULL, f < 2);
			assert_non_null(strstr(wombat_last_error(), "the cause"));
		}
	whole_done(&m);
}

static void test_each_byte_of_current(void **state)
{
	(void)state;
	struct whole m;
	struct buf text = { 0 };
	uint64_t number = 99;
	whole_init(&m);
	assert_ok(env_read_file(m.env, DIR "/CURRENT", 100, &text));
	for (size_t at = 0; at < text.size; at++)
		for (int bit = 0; bit < 8; bit++) {
			text.data[at] ^= (uint8_t)(1 << bit);
			write_file(m.env, DIR "/CURRENT", text.data, text.size);
			text.data[at] ^= (uint8_t)(1 << bit);
			assert_status(manifest_read_current(m.env, DIR, &number), WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), DIR "/CURRENT"));
		}
	for (size_t size = 0; size < text.size; size++) {
		write_file(m.env, DIR "/CURRENT", text.data, size);
		assert_status(manifest_read_current(m.env, DIR, &number), WOMBAT_CORRUPTION);
	}
	static const uint8_t zeros[5000]; /* more than such a file may have */
	write_file(m.env, DIR "/CURRENT", zeros, sizeof(zeros));
	assert_status(manifest_read_current(m.env, DIR, &number), WOMBAT_CORRUPTION);
	assert_ok(m.env->calls->remove(m.env, DIR "/CURRENT"));
	assert_status(manifest_read_current(m.env, DIR, &number), WOMBAT_NOT_FOUND);
	assert_int_equal(number, 99);
	buf_done(&text);
	whole_done(&m);
}

static void test_refused(void **state)
{
	(void)state;
	struct whole m;
	struct manifest_writer *w;
	char far[FILENAME_PATH_MAX + 10];
	unsigned count;
	size_t cut;
	uint64_t number;
	whole_init(&m);
	/* A manifest that CURRENT names was durable before: that it is missing is damage. */
	assert_status(replay(m.env, 8, &count, &cut), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), DIR "/MANIFEST-000008"));
	/* An edit too large is refused before a byte of it is written. */
	assert_ok(create(m.env, 9, &w));
	uint64_t size = manifest_size(w);
	struct wombat_slice large = slice_make((const uint8_t *)"x", (size_t)MANIFEST_RECORD_MAX + 1);
	assert_status(manifest_append(w, large), WOMBAT_TOO_BIG);
	assert_int_equal(manifest_size(w), size);
	assert_ok(append(w, 9, 1));
	manifest_close(w);
	assert_ok(replay(m.env, 9, &count, &cut));
	assert_int_equal(count, 2);
	memset(far, 'x', sizeof(far) - 1);
	far[sizeof(far) - 1] = '\0';
	assert_status(manifest_create(m.env, far, 1, WOMBAT_STR("x"), &w), WOMBAT_INVALID);
	assert_status(manifest_read_current(m.env, far, &number), WOMBAT_INVALID);
	assert_status(manifest_replay(m.env, far, 1, see, &(struct reading){ 0 }, NULL), WOMBAT_INVALID);
	manifest_remove(m.env, far, 1);
	manifest_close(NULL);
	whole_done(&m);
}

/* ---- Rotation -------------------------------------------------------------------------------- */

static void test_rotation(void **state)
{
	(void)state;
	struct env *env;
	uint64_t number, bytes;
	unsigned count;
	char path[FILENAME_PATH_MAX];
	assert_ok(env_mem_new(&env));
	for (uint64_t n = 1; n <= 20; n++) {
		struct manifest_writer *w;
		assert_ok(create(env, n, &w));
		for (unsigned i = 1; i <= n % RECORDS; i++)
			assert_ok(append(w, n, i));
		path_of(n, path);
		assert_ok(env->calls->file_size(env, path, &bytes));
		assert_int_equal(bytes, manifest_size(w));
		manifest_close(w);
		if (n > 1)
			manifest_remove(env, DIR, n - 1);
		assert_current(env, &number, &count);
		assert_int_equal(number, n);
		assert_int_equal(count, 1 + n % RECORDS);
		path_of(n - 1, path);
		assert_status(env->calls->file_size(env, path, &bytes), WOMBAT_NOT_FOUND);
	}
	manifest_remove(env, DIR, 1); /* not there: no matter */
	env->calls->free(env);
}

/* ---- Power cuts ------------------------------------------------------------------------------ */

/* What a life of two manifests has promised so far. */
struct life {
	struct env *env;
	uint64_t number;   /* of the manifest that create returned for; 0: none */
	unsigned appended; /* records of it that were said to be durable */
	uint64_t next;     /* being created */
	unsigned cuts;
	uint64_t seed;
};

/* What the machine would find now: the manifest of before or the one being made, with all that was promised. */
static void check_cut(void *arg, const char *path)
{
	static const enum env_mem_crash kinds[] = {
		ENV_MEM_SYNCED_ONLY, ENV_MEM_ALL, ENV_MEM_RANDOM, ENV_MEM_RANDOM,
	};
	struct life *l = arg;
	(void)path;
	for (int kind = 0; kind < 4; kind++) {
		struct env *found;
		uint64_t number;
		unsigned count;
		assert_ok(env_mem_clone(l->env, kinds[kind], l->seed++, &found));
		if (l->number == 0 && manifest_read_current(found, DIR, &number) == WOMBAT_NOT_FOUND) {
			found->calls->free(found);
			continue;
		}
		assert_current(found, &number, &count);
		assert_true(number == l->number || (l->next && number == l->next));
		if (number == l->number) /* and perhaps the one under way */
			assert_true(count == l->appended || count == l->appended + 1);
		else
			assert_int_equal(count, 1);
		found->calls->free(found);
	}
	l->cuts++;
}

static void test_power_cut_at_each_sync(void **state)
{
	(void)state;
	struct life l = { .seed = test_seed("test_power_cut_at_each_sync") };
	assert_ok(env_mem_new(&l.env));
	env_mem_on_sync(l.env, check_cut, &l);
	for (uint64_t n = 1; n <= 4; n++) {
		struct manifest_writer *w;
		l.next = n;
		assert_ok(create(l.env, n, &w));
		l.number = n;
		l.appended = 1;
		l.next = 0;
		for (unsigned i = 1; i < RECORDS; i++) {
			assert_ok(append(w, n, i));
			l.appended++;
			check_cut(&l, NULL);
		}
		manifest_close(w);
		manifest_remove(l.env, DIR, n - 1);
		check_cut(&l, NULL);
	}
	assert_true(l.cuts > 4 * (3 + 2 * (RECORDS - 1)));
	env_mem_on_sync(l.env, NULL, NULL);
	l.env->calls->free(l.env);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static unsigned left; /* so many succeed, then one fails */

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

/* A manifest beside the one that is there, with all records. *made counts those said to be durable. */
static enum wombat_status work(struct env *env, unsigned *made)
{
	struct manifest_writer *w;
	enum wombat_status s = create(env, 2, &w);
	if (s != WOMBAT_OK)
		return s;
	*made = 1;
	for (unsigned i = 1; i < RECORDS && s == WOMBAT_OK; i++) {
		uint64_t size = manifest_size(w);
		s = append(w, 2, i);
		*made += s == WOMBAT_OK;
		assert_int_equal(manifest_size(w) > size, s == WOMBAT_OK);
	}
	char cause[256];
	snprintf(cause, sizeof(cause), "%s", wombat_last_error());
	manifest_close(w);
	if (s != WOMBAT_OK) /* closing a file that failed does not hide what failed */
		assert_string_equal(cause, wombat_last_error());
	return s;
}

static enum wombat_status read_back(struct env *env)
{
	uint64_t number;
	unsigned count;
	size_t cut;
	enum wombat_status s = manifest_read_current(env, DIR, &number);
	if (s == WOMBAT_OK)
		s = replay(env, number, &count, &cut);
	return s;
}

static void check_each_failure(bool memory)
{
	bool passed = false;
	for (unsigned n = 0; !passed; n++) {
		struct env *env;
		struct manifest_writer *w;
		uint64_t number;
		unsigned count, made = 0;
		assert_ok(env_mem_new(&env));
		assert_ok(create(env, 1, &w));
		manifest_close(w);
		left = n;
		if (memory)
			mem_test_hook = fail_allocation;
		else
			env_mem_on_call(env, fail_call, NULL);
		enum wombat_status s = work(env, &made);
		bool worked = s == WOMBAT_OK;
		if (worked)
			s = read_back(env);
		mem_test_hook = NULL;
		env_mem_on_call(env, NULL, NULL);
		assert_true(s == WOMBAT_OK || s == (memory ? WOMBAT_NO_MEMORY : WOMBAT_IO));
		assert_true(s == WOMBAT_OK || wombat_last_error()[0]);
		/* The old one or the new one, with all that was promised; one more at most, whose outcome is open. */
		assert_current(env, &number, &count);
		if (made)
			assert_true(number == 2 && (count == made || (!worked && count == made + 1)));
		else
			assert_true(count == 1);
		/* The failed try does not stand in the way of the next. */
		made = 0;
		assert_ok(work(env, &made));
		assert_ok(read_back(env));
		passed = s == WOMBAT_OK && left > 0 && left != (unsigned)-1;
		if (passed)
			assert_true(n > (memory ? 3 : 20));
		env->calls->free(env);
	}
}

static void test_each_call_fails(void **state)
{
	(void)state;
	check_each_failure(false);
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	check_each_failure(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_torn_at_each_byte),
		cmocka_unit_test(test_damage_at_each_byte),
		cmocka_unit_test(test_the_caller_refuses),
		cmocka_unit_test(test_each_byte_of_current),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_power_cut_at_each_sync),
		cmocka_unit_test(test_each_call_fails),
		cmocka_unit_test(test_each_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
