/* The environment's contract (engine/env/env.h), for each implementation to be held to. */
#include "tests/support/env_contract.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static void (*world_begin)(struct env_world *w), (*world_end)(struct env_world *w);

/* ---- Helpers ------------------------------------------------------------------------------- */

const char *env_path(const struct env_world *w, const char *name)
{
	static char paths[4][1200];
	static unsigned turn;
	char *path = paths[turn++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", w->dir, name);
	return path;
}

void env_pattern(uint8_t *out, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)(seed + i * 7 + i / 251);
}

void env_put(const struct env_world *w, const char *name, size_t size, unsigned seed)
{
	struct env_writer *writer;
	uint8_t *bytes = malloc(size + 1);
	env_pattern(bytes, size, seed);
	assert_ok(w->env->calls->writer_open(w->env, env_path(w, name), 4096, 0, &writer));
	assert_ok(w->env->calls->writer_write(writer, bytes, size));
	assert_ok(w->env->calls->writer_sync(writer));
	assert_ok(w->env->calls->writer_close(writer));
	free(bytes);
}

void env_assert_file(const struct env_world *w, const char *name, size_t size, unsigned seed)
{
	struct buf got = { 0 };
	uint8_t *bytes = malloc(size + 1);
	env_pattern(bytes, size, seed);
	assert_ok(env_read_file(w->env, env_path(w, name), SIZE_MAX, &got));
	assert_int_equal(got.size, size);
	assert_true(slice_equal(buf_slice(&got), slice_make(bytes, size)));
	buf_done(&got);
	free(bytes);
}

bool env_has(const struct env_world *w, const char *name)
{
	uint64_t size;
	enum wombat_status s = w->env->calls->file_size(w->env, env_path(w, name), &size);
	assert_true(s == WOMBAT_OK || s == WOMBAT_NOT_FOUND);
	return s == WOMBAT_OK;
}

static uint64_t size_of(const struct env_world *w, const char *name)
{
	uint64_t size;
	assert_ok(w->env->calls->file_size(w->env, env_path(w, name), &size));
	return size;
}

static int setup(void **state)
{
	static struct env_world w;
	w = (struct env_world){ 0 };
	world_begin(&w);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	world_end(*state);
	return 0;
}

/* ---- Writers ------------------------------------------------------------------------------- */

/* Writes `size` bytes in random pieces, now and then flushed or synced. */
static void write_in_pieces(const struct env_world *w, struct env_writer *writer, struct random_state *r, size_t size)
{
	const struct env_calls *calls = w->env->calls;
	uint8_t *bytes = malloc(size + 1);
	env_pattern(bytes, size, 3);
	for (size_t at = 0; at < size;) {
		size_t n = random_below(r, 2) ? random_below(r, 200) : random_below(r, 30000);
		n = n < size - at ? n : size - at;
		assert_ok(calls->writer_write(writer, bytes + at, n));
		at += n;
		uint64_t what = random_below(r, 12);
		if (what > 1)
			continue;
		assert_ok(what ? calls->writer_sync(writer) : calls->writer_flush(writer));
		assert_int_equal(size_of(w, "f"), at); /* flushed: others see it */
	}
	free(bytes);
}

static void test_writer(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	static const size_t buffers[] = { 0, 1, 4096, 10000, 1 << 20 };
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 70000, 300000 };
	struct random_state r;
	random_seed(&r, test_seed("writer"));
	for (size_t b = 0; b < sizeof buffers / sizeof buffers[0]; b++)
		for (size_t s = 0; s < 2 * sizeof sizes / sizeof sizes[0]; s++) {
			struct env_writer *writer;
			/* Over what is there from the round before: it is cut off. */
			unsigned flags = s % 2 ? ENV_DIRECT : 0;
			assert_ok(calls->writer_open(w->env, env_path(w, "f"), buffers[b], flags, &writer));
			assert_int_equal(size_of(w, "f"), 0);
			write_in_pieces(w, writer, &r, sizes[s / 2]);
			assert_ok(calls->writer_close(writer));
			env_assert_file(w, "f", sizes[s / 2], 3);
		}
	assert_ok(calls->writer_close(NULL));
}

static void test_append(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_writer *writer;
	uint8_t bytes[10000];
	env_pattern(bytes, sizeof bytes, 9);
	/* Of the file after each round; the first creates it. */
	static const size_t ends[] = { 0, 1, 1, 4097, 10000 };
	for (size_t i = 0, at = 0; i < sizeof ends / sizeof ends[0]; at = ends[i++]) {
		assert_ok(calls->writer_append(w->env, env_path(w, "log"), &writer));
		assert_int_equal(size_of(w, "log"), at);
		assert_ok(calls->writer_write(writer, bytes + at, ends[i] - at));
		assert_ok(calls->writer_close(writer));
		env_assert_file(w, "log", ends[i], 9);
	}
}

/* ---- Readers ------------------------------------------------------------------------------- */

static const unsigned reader_flags[] = {
	0, ENV_SEQUENTIAL, ENV_DIRECT, ENV_DIRECT | ENV_SEQUENTIAL,
	ENV_MMAP, ENV_MMAP | ENV_SEQUENTIAL, ENV_MMAP | ENV_DIRECT,
};
enum { READER_KINDS = sizeof reader_flags / sizeof reader_flags[0] };

static void test_reader(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	enum { SIZE = 50001 };
	static uint8_t want[SIZE], scratch[SIZE + 1];
	struct random_state r;
	random_seed(&r, test_seed("reader"));
	env_pattern(want, SIZE, 4);
	env_put(w, "f", SIZE, 4);
	for (unsigned k = 0; k < READER_KINDS; k++) {
		struct env_reader *reader;
		const uint8_t *got;
		assert_ok(calls->reader_open(w->env, env_path(w, "f"), reader_flags[k], &reader));
		assert_int_equal(calls->reader_size(reader), SIZE);
		for (int i = 0; i < 150; i++) {
			uint64_t at = random_below(&r, SIZE + 1);
			size_t n = random_below(&r, random_below(&r, 2) ? 100 : SIZE + 1 - at);
			n = n < SIZE - at ? n : SIZE - at;
			calls->reader_prefetch(reader, at, n);
			assert_ok(calls->reader_read(reader, at, n, scratch, &got));
			assert_memory_equal(got, want + at, n);
		}
		/* The whole, the last byte, and nothing at the very end are there; a byte more is not. */
		assert_ok(calls->reader_read(reader, 0, SIZE, scratch, &got));
		assert_memory_equal(got, want, SIZE);
		assert_ok(calls->reader_read(reader, SIZE - 1, 1, scratch, &got));
		assert_int_equal(got[0], want[SIZE - 1]);
		assert_ok(calls->reader_read(reader, SIZE, 0, scratch, &got));
		assert_status(calls->reader_read(reader, 0, SIZE + 1, scratch, &got), WOMBAT_CORRUPTION);
		assert_status(calls->reader_read(reader, SIZE, 1, scratch, &got), WOMBAT_CORRUPTION);
		assert_status(calls->reader_read(reader, SIZE + 1, 0, scratch, &got), WOMBAT_CORRUPTION);
		assert_status(calls->reader_read(reader, UINT64_MAX, 2, scratch, &got), WOMBAT_CORRUPTION);
		calls->reader_prefetch(reader, UINT64_MAX - 10, 5); /* a hint cannot fail */
		calls->reader_close(reader);
	}
	calls->reader_close(NULL);
}

static void test_reader_of_an_empty_file(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	env_put(w, "empty", 0, 0);
	for (unsigned k = 0; k < READER_KINDS; k++) {
		struct env_reader *reader;
		uint8_t scratch[1];
		const uint8_t *got;
		assert_ok(calls->reader_open(w->env, env_path(w, "empty"), reader_flags[k], &reader));
		assert_int_equal(calls->reader_size(reader), 0);
		assert_ok(calls->reader_read(reader, 0, 0, scratch, &got));
		assert_status(calls->reader_read(reader, 0, 1, scratch, &got), WOMBAT_CORRUPTION);
		calls->reader_prefetch(reader, 0, 100);
		calls->reader_close(reader);
		assert_status(calls->reader_open(w->env, env_path(w, "missing"), reader_flags[k], &reader),
			WOMBAT_NOT_FOUND);
	}
}

/* What is open stays as it is when its name goes or is given to another file. */
/* A file that is appended to while it is read: what was flushed is seen. */
static void test_reader_of_a_growing_file(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_writer *writer;
	struct env_reader *reader;
	uint8_t scratch[64];
	const uint8_t *bytes;
	assert_ok(calls->writer_open(w->env, env_path(w, "grows"), 4096, 0, &writer));
	assert_ok(calls->writer_write(writer, "first", 5));
	assert_ok(calls->writer_flush(writer));
	assert_ok(calls->reader_open(w->env, env_path(w, "grows"), 0, &reader));
	assert_status(calls->reader_read(reader, 0, 11, scratch, &bytes), WOMBAT_CORRUPTION);
	assert_ok(calls->writer_write(writer, "second", 6));
	assert_ok(calls->writer_flush(writer));
	assert_ok(calls->reader_read(reader, 0, 11, scratch, &bytes));
	assert_memory_equal(bytes, "firstsecond", 11);
	assert_status(calls->reader_read(reader, 0, 12, scratch, &bytes), WOMBAT_CORRUPTION);
	assert_status(calls->reader_read(reader, UINT64_MAX - 5, 12, scratch, &bytes), WOMBAT_CORRUPTION);
	calls->reader_close(reader);
	assert_ok(calls->writer_close(writer));
}

static void test_open_files_outlive_their_names(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_reader *removed, *replaced;
	struct env_writer *writer;
	uint8_t scratch[100], want[100];
	const uint8_t *got;
	env_put(w, "a", 100, 1);
	env_put(w, "b", 100, 2);
	env_put(w, "c", 100, 3);
	assert_ok(calls->reader_open(w->env, env_path(w, "a"), 0, &removed));
	assert_ok(calls->reader_open(w->env, env_path(w, "b"), 0, &replaced));
	assert_ok(calls->remove(w->env, env_path(w, "a")));
	assert_ok(calls->rename(w->env, env_path(w, "c"), env_path(w, "b")));
	env_pattern(want, 100, 1);
	assert_ok(calls->reader_read(removed, 0, 100, scratch, &got));
	assert_memory_equal(got, want, 100);
	env_pattern(want, 100, 2);
	assert_ok(calls->reader_read(replaced, 0, 100, scratch, &got));
	assert_memory_equal(got, want, 100);
	calls->reader_close(removed);
	calls->reader_close(replaced);
	/* A writer follows its file to the new name. */
	assert_ok(calls->writer_open(w->env, env_path(w, "d.tmp"), 0, 0, &writer));
	assert_ok(calls->rename(w->env, env_path(w, "d.tmp"), env_path(w, "d")));
	env_pattern(want, 100, 5);
	assert_ok(calls->writer_write(writer, want, 100));
	assert_ok(calls->writer_close(writer));
	env_assert_file(w, "d", 100, 5);
	assert_false(env_has(w, "d.tmp"));
}

/* ---- Segments ------------------------------------------------------------------------------ */

static void test_segment(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	enum { SIZE = (2 << 20) + 12345 };
	struct env_segment *s, *again;
	uint8_t *want = calloc(1, SIZE);
	assert_status(calls->segment_open(w->env, env_path(w, "wal"), 0, &s), WOMBAT_NOT_FOUND);
	assert_false(env_has(w, "wal"));
	assert_ok(calls->segment_open(w->env, env_path(w, "wal"), SIZE, &s));
	assert_int_equal(s->size, SIZE);
	assert_int_equal(size_of(w, "wal"), SIZE);
	assert_memory_equal(s->base, want, SIZE);
	/* One that is there is never made anew. */
	assert_status(calls->segment_open(w->env, env_path(w, "wal"), 4096, &again), WOMBAT_IO);
	assert_int_equal(size_of(w, "wal"), SIZE);
	/* Stores through the map and by calls meet in the same bytes. */
	env_pattern(want + 100, 5000, 1);
	memcpy(s->base + 100, want + 100, 5000);
	env_pattern(want + 3000, 4096, 2);
	assert_ok(calls->segment_write(s, 3000, want + 3000, 4096));
	env_pattern(want + SIZE - 10, 10, 3);
	assert_ok(calls->segment_write(s, SIZE - 10, want + SIZE - 10, 10)); /* up to the end */
	assert_ok(calls->segment_write(s, SIZE, want, 0));
	assert_memory_equal(s->base, want, SIZE);
	assert_ok(calls->segment_sync(s));
	calls->segment_close(s);
	assert_ok(calls->segment_open(w->env, env_path(w, "wal"), 0, &s));
	assert_int_equal(s->size, SIZE);
	assert_memory_equal(s->base, want, SIZE);
	s->base[7] = want[7] = 77;
	struct buf got = { 0 };
	assert_ok(env_read_file(w->env, env_path(w, "wal"), SIZE, &got)); /* readers see stores at once */
	assert_true(slice_equal(buf_slice(&got), slice_make(want, SIZE)));
	buf_done(&got);
	calls->segment_close(s);
	calls->segment_close(NULL);
	free(want);
}

static void test_segment_of_a_written_file(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_segment *s;
	uint8_t want[5000];
	env_put(w, "f", sizeof want, 8);
	env_pattern(want, sizeof want, 8);
	assert_ok(calls->segment_open(w->env, env_path(w, "f"), 0, &s));
	assert_int_equal(s->size, sizeof want);
	assert_memory_equal(s->base, want, sizeof want);
	/* Its name may go while it is mapped. */
	assert_ok(calls->remove(w->env, env_path(w, "f")));
	s->base[0] = 1;
	assert_ok(calls->segment_sync(s));
	calls->segment_close(s);
	assert_false(env_has(w, "f"));
	env_put(w, "empty", 0, 0);
	assert_ok(calls->segment_open(w->env, env_path(w, "empty"), 0, &s));
	assert_int_equal(s->size, 0);
	assert_ok(calls->segment_sync(s));
	calls->segment_close(s);
}

/* ---- Names --------------------------------------------------------------------------------- */

static void test_rename_and_remove(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	uint64_t size;
	env_put(w, "a", 10, 1);
	env_put(w, "b", 20, 2);
	assert_ok(calls->rename(w->env, env_path(w, "a"), env_path(w, "c")));
	assert_false(env_has(w, "a"));
	env_assert_file(w, "c", 10, 1);
	assert_ok(calls->rename(w->env, env_path(w, "c"), env_path(w, "b"))); /* replaces */
	assert_false(env_has(w, "c"));
	env_assert_file(w, "b", 10, 1);
	assert_ok(calls->rename(w->env, env_path(w, "b"), env_path(w, "b")));
	env_assert_file(w, "b", 10, 1);
	assert_status(calls->rename(w->env, env_path(w, "a"), env_path(w, "b")), WOMBAT_NOT_FOUND);
	env_assert_file(w, "b", 10, 1);
	assert_ok(calls->remove(w->env, env_path(w, "b")));
	assert_status(calls->remove(w->env, env_path(w, "b")), WOMBAT_NOT_FOUND);
	assert_status(calls->file_size(w->env, env_path(w, "b"), &size), WOMBAT_NOT_FOUND);
	/* The sentence names the file. */
	assert_non_null(strstr(wombat_last_error(), env_path(w, "b")));
	env_put(w, "b", 30, 3); /* a name that went comes back as another file */
	env_assert_file(w, "b", 30, 3);
}

static void test_long_names(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_writer *writer;
	struct env_segment *s;
	char name[601];
	memset(name, 'n', 600);
	name[600] = 0;
	assert_status(calls->writer_open(w->env, env_path(w, name), 0, 0, &writer), WOMBAT_IO);
	assert_status(calls->writer_append(w->env, env_path(w, name), &writer), WOMBAT_IO);
	assert_status(calls->segment_open(w->env, env_path(w, name), 4096, &s), WOMBAT_IO);
	env_put(w, "a", 10, 1);
	assert_status(calls->rename(w->env, env_path(w, "a"), env_path(w, name)), WOMBAT_IO);
	env_assert_file(w, "a", 10, 1);
	name[200] = 0;
	env_put(w, name, 10, 2);
	env_assert_file(w, name, 10, 2);
}

enum { NAMES = 40 };

static void note_name(void *arg, const char *name)
{
	unsigned *seen = arg, n;
	int end = 0;
	assert_true(sscanf(name, "name %u.x%n", &n, &end) == 1 && !name[end] && n < NAMES);
	seen[n]++;
}

static void assert_listed(const struct env_world *w, unsigned modulus)
{
	unsigned seen[NAMES] = { 0 };
	assert_ok(w->env->calls->dir_list(w->env, w->dir, note_name, seen));
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(seen[i], modulus && i % modulus == 0);
}

static void test_directory(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	char name[32];
	assert_ok(calls->dir_create(w->env, w->dir)); /* it is there */
	assert_listed(w, 0);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "name %u.x", i);
		env_put(w, name, i, i);
	}
	assert_listed(w, 1);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "name %u.x", i);
		if (i % 3)
			assert_ok(calls->remove(w->env, env_path(w, name)));
	}
	assert_listed(w, 3);
	assert_ok(calls->dir_sync(w->env, w->dir));
	assert_listed(w, 3);
	/* A directory below: what is in it is not in the one above. */
	struct env_world below = { .env = w->env };
	snprintf(below.dir, sizeof below.dir, "%s", env_path(w, "name 0.x"));
	assert_ok(calls->remove(w->env, below.dir));
	assert_ok(calls->dir_create(w->env, below.dir));
	assert_ok(calls->dir_create(w->env, below.dir));
	env_put(&below, "name 1.x", 10, 1);
	env_assert_file(&below, "name 1.x", 10, 1);
	assert_false(env_has(w, "name 1.x"));
	assert_ok(calls->dir_sync(w->env, below.dir));
	assert_ok(calls->rename(w->env, env_path(&below, "name 1.x"), env_path(w, "name 1.x")));
	env_assert_file(w, "name 1.x", 10, 1);
	unsigned seen[NAMES] = { 0 };
	assert_ok(calls->dir_list(w->env, below.dir, note_name, seen));
	assert_int_equal(seen[1], 0);
}

static void test_disk_space(void **state)
{
	struct env_world *w = *state;
	uint64_t available, total;
	assert_ok(w->env->calls->disk_space(w->env, w->dir, &available, &total));
	assert_true(total > 0 && available <= total);
}

/* ---- Locks and clocks ---------------------------------------------------------------------- */

static void assert_holder(const struct env_world *w, const char *note)
{
	struct buf got = { 0 };
	enum wombat_status s = w->env->calls->lock_holder(w->env, env_path(w, "LOCK"), &got);
	if (note) {
		assert_ok(s);
		assert_true(slice_equal(buf_slice(&got), slice_make(note, strlen(note))));
	} else {
		assert_status(s, WOMBAT_NOT_FOUND);
	}
	buf_done(&got);
}

static void test_lock(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_lock *a, *b, *other;
	char note[4000];
	assert_holder(w, NULL); /* nor is there a file */
	assert_ok(calls->lock(w->env, env_path(w, "LOCK"), "the first\n", &a));
	assert_holder(w, "the first\n");
	assert_status(calls->lock(w->env, env_path(w, "LOCK"), "the second\n", &b), WOMBAT_BUSY);
	assert_holder(w, "the first\n");
	assert_ok(calls->lock(w->env, env_path(w, "LOCK2"), "", &other)); /* another name, another lock */
	memset(note, 'x', sizeof note);
	note[sizeof note - 1] = 0;
	assert_ok(calls->lock_note(a, note));
	assert_holder(w, note);
	assert_ok(calls->lock_note(a, "short")); /* nothing of the long one stays */
	assert_holder(w, "short");
	assert_ok(calls->lock_note(a, ""));
	assert_holder(w, "");
	calls->unlock(a);
	assert_holder(w, NULL);
	assert_ok(calls->lock(w->env, env_path(w, "LOCK"), "the third", &b));
	assert_holder(w, "the third");
	calls->unlock(b);
	calls->unlock(other);
	calls->unlock(NULL);
}

static void test_shared_lock(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	struct env_lock *a, *b, *c;
	assert_ok(calls->lock_shared(w->env, env_path(w, "LOCK"), "one", &a));
	assert_holder(w, "one");
	assert_ok(calls->lock_shared(w->env, env_path(w, "LOCK"), "two", &b));
	assert_holder(w, "two");
	assert_status(calls->lock(w->env, env_path(w, "LOCK"), "alone", &c), WOMBAT_BUSY);
	calls->unlock(a);
	assert_status(calls->lock(w->env, env_path(w, "LOCK"), "alone", &c), WOMBAT_BUSY);
	assert_ok(calls->lock_note(b, "still"));
	assert_holder(w, "still");
	calls->unlock(b);
	assert_holder(w, NULL);
	assert_ok(calls->lock(w->env, env_path(w, "LOCK"), "alone", &c));
	assert_status(calls->lock_shared(w->env, env_path(w, "LOCK"), "one", &a), WOMBAT_BUSY);
	assert_holder(w, "alone");
	calls->unlock(c);
}

static void test_clocks(void **state)
{
	struct env_world *w = *state;
	const struct env_calls *calls = w->env->calls;
	uint64_t now = calls->now_ns(w->env), before = calls->monotonic_ns(w->env);
	assert_true(now > UINT64_C(1600000000000000000)); /* 2020 */
	calls->sleep_ns(w->env, 0);
	calls->sleep_ns(w->env, 200000);
	assert_true(calls->monotonic_ns(w->env) - before >= 200000);
}

/* ---- No memory ----------------------------------------------------------------------------- */

static unsigned allocations_left;

static _Bool fail_one(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

/* A bit of everything that takes memory. The first failure is the result; all that was opened is closed. */
static enum wombat_status use(const struct env_world *w)
{
	const struct env_calls *calls = w->env->calls;
	struct env_writer *writer = NULL;
	struct env_reader *reader = NULL;
	struct env_segment *segment = NULL;
	struct env_lock *lock = NULL;
	struct buf note = { 0 };
	uint8_t bytes[5000] = { 1 }, scratch[100];
	const uint8_t *got;
	enum wombat_status s = calls->writer_open(w->env, env_path(w, "f"), 100, 0, &writer);
	if (s == WOMBAT_OK)
		s = calls->writer_write(writer, bytes, sizeof bytes);
	if (s == WOMBAT_OK)
		s = calls->writer_sync(writer);
	if (s == WOMBAT_OK)
		s = calls->reader_open(w->env, env_path(w, "f"), ENV_DIRECT, &reader);
	if (s == WOMBAT_OK)
		s = calls->reader_read(reader, 4500, 100, scratch, &got);
	if (s == WOMBAT_OK)
		s = calls->segment_open(w->env, env_path(w, "wal"), 8192, &segment);
	if (s == WOMBAT_OK)
		s = calls->segment_sync(segment);
	if (s == WOMBAT_OK)
		s = calls->lock(w->env, env_path(w, "LOCK"), "me", &lock);
	if (s == WOMBAT_OK)
		s = calls->lock_holder(w->env, env_path(w, "LOCK"), &note);
	if (s == WOMBAT_OK)
		s = calls->rename(w->env, env_path(w, "f"), env_path(w, "g"));
	if (s == WOMBAT_OK)
		s = calls->dir_sync(w->env, w->dir);
	enum wombat_status closed = calls->writer_close(writer);
	calls->reader_close(reader);
	calls->segment_close(segment);
	calls->unlock(lock);
	buf_done(&note);
	return s == WOMBAT_OK ? closed : s;
}

static void test_out_of_memory(void **state)
{
	struct env_world *w = *state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		if (env_has(w, "wal")) /* made in the last round, or by mistake left half made: whole it has to be */
			assert_int_equal(size_of(w, "wal"), 8192);
		if (env_has(w, "wal"))
			assert_ok(w->env->calls->remove(w->env, env_path(w, "wal")));
		allocations_left = n + 1;
		mem_test_hook = fail_one;
		s = use(w);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_true(n > 8);
	assert_holder(w, NULL);
}

int env_contract_run(const char *name, void (*begin)(struct env_world *w), void (*end)(struct env_world *w))
{
#define CONTRACT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CONTRACT(test_writer),
		CONTRACT(test_append),
		CONTRACT(test_reader),
		CONTRACT(test_reader_of_an_empty_file),
		CONTRACT(test_reader_of_a_growing_file),
		CONTRACT(test_open_files_outlive_their_names),
		CONTRACT(test_segment),
		CONTRACT(test_segment_of_a_written_file),
		CONTRACT(test_rename_and_remove),
		CONTRACT(test_long_names),
		CONTRACT(test_directory),
		CONTRACT(test_disk_space),
		CONTRACT(test_lock),
		CONTRACT(test_shared_lock),
		CONTRACT(test_clocks),
		CONTRACT(test_out_of_memory),
	};
#undef CONTRACT
	world_begin = begin;
	world_end = end;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
