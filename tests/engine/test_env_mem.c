/*
 * The environment in memory: its contract, and what it has for tests alone: power cuts, injected failures, a full
 * disk, a clock that stands.
 */
#include "engine/env/env_mem.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "tests/support/check.h"
#include "tests/support/env_contract.h"
#include "tests/support/seed.h"

static void begin(struct env_world *w)
{
	assert_ok(env_mem_new(&w->env));
	snprintf(w->dir, sizeof w->dir, "db");
}

static void end(struct env_world *w)
{
	w->env->calls->free(w->env);
}

static struct env_world crash_of(const struct env_world *w, enum env_mem_crash crash, uint64_t seed)
{
	struct env_world clone = *w;
	assert_ok(env_mem_clone(w->env, crash, seed, &clone.env));
	return clone;
}

static struct env_writer *open_writer(const struct env_world *w, const char *name)
{
	struct env_writer *writer;
	assert_ok(w->env->calls->writer_open(w->env, env_path(w, name), 0, 0, &writer));
	return writer;
}

static void write_pattern(const struct env_world *w, struct env_writer *writer, size_t from, size_t to, unsigned seed)
{
	uint8_t *bytes = malloc(to + 1);
	env_pattern(bytes, to, seed);
	assert_ok(w->env->calls->writer_write(writer, bytes + from, to - from));
	free(bytes);
}

/* ---- Power cuts ---------------------------------------------------------------------------- */

static void test_only_what_was_synced(void **state)
{
	(void)state;
	struct env_world w, c;
	begin(&w);
	struct env_writer *writer = open_writer(&w, "f");
	write_pattern(&w, writer, 0, 1000, 1);
	assert_ok(w.env->calls->writer_sync(writer));
	write_pattern(&w, writer, 1000, 3000, 1);
	assert_ok(w.env->calls->writer_flush(writer)); /* to the operating system, no further */
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	assert_false(env_has(&c, "f")); /* its name was not synced */
	end(&c);
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	env_assert_file(&c, "f", 1000, 1);
	end(&c);
	c = crash_of(&w, ENV_MEM_ALL, 0);
	env_assert_file(&c, "f", 3000, 1);
	end(&c);
	assert_ok(w.env->calls->writer_close(writer)); /* closing is not syncing */
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	env_assert_file(&c, "f", 1000, 1);
	end(&c);
	end(&w);
}

static void test_names_wait_for_their_directory(void **state)
{
	(void)state;
	struct env_world w, c;
	begin(&w);
	env_put(&w, "a", 10, 1);
	env_put(&w, "b", 20, 2);
	env_put(&w, "old", 30, 3);
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	assert_ok(w.env->calls->rename(w.env, env_path(&w, "a"), env_path(&w, "b")));
	assert_ok(w.env->calls->remove(w.env, env_path(&w, "old")));
	env_put(&w, "new", 40, 4);
	assert_ok(w.env->calls->dir_sync(w.env, "elsewhere"));
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	env_assert_file(&c, "a", 10, 1);
	env_assert_file(&c, "b", 20, 2);
	env_assert_file(&c, "old", 30, 3);
	assert_false(env_has(&c, "new"));
	end(&c);
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	assert_false(env_has(&c, "a") || env_has(&c, "old"));
	env_assert_file(&c, "b", 10, 1);
	env_assert_file(&c, "new", 40, 4);
	end(&c);
	end(&w);
}

static void test_clones_are_independent(void **state)
{
	(void)state;
	struct env_world w, c, d;
	struct env_lock *lock, *second;
	begin(&w);
	env_put(&w, "f", 100, 1);
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	assert_ok(w.env->calls->lock(w.env, env_path(&w, "LOCK"), "", &lock));
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	assert_ok(c.env->calls->lock(c.env, env_path(&c, "LOCK"), "", &second)); /* who held it is dead */
	c.env->calls->unlock(second);
	w.env->calls->unlock(lock);
	env_put(&w, "f", 50, 2);
	env_put(&c, "g", 60, 3);
	env_assert_file(&c, "f", 100, 1);
	assert_false(env_has(&w, "g"));
	end(&w); /* the copy stands alone */
	/* What a clone was made of is durable in it. */
	d = crash_of(&c, ENV_MEM_SYNCED_ONLY, 0);
	env_assert_file(&d, "f", 100, 1);
	assert_false(env_has(&d, "g"));
	end(&d);
	end(&c);
}

static void test_segments_and_power(void **state)
{
	(void)state;
	enum { SIZE = 8192 };
	struct env_world w, c;
	struct env_segment *s;
	uint8_t bytes[SIZE] = { 0 };
	size_t size;
	begin(&w);
	assert_ok(w.env->calls->segment_open(w.env, env_path(&w, "wal"), SIZE, &s));
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	env_pattern(s->base, 2000, 1); /* by a store */
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	assert_memory_equal(env_mem_bytes(c.env, env_path(&c, "wal"), &size), bytes, SIZE);
	assert_int_equal(size, SIZE); /* allocated and written when it was made */
	end(&c);
	c = crash_of(&w, ENV_MEM_ALL, 0);
	env_pattern(bytes, 2000, 1);
	assert_memory_equal(env_mem_bytes(c.env, env_path(&c, "wal"), &size), bytes, SIZE);
	end(&c);
	assert_ok(w.env->calls->segment_sync(s));
	assert_ok(w.env->calls->segment_write(s, 5000, "unsynced", 8));
	c = crash_of(&w, ENV_MEM_SYNCED_ONLY, 0);
	assert_memory_equal(env_mem_bytes(c.env, env_path(&c, "wal"), &size), bytes, SIZE);
	end(&c);
	w.env->calls->segment_close(s);
	end(&w);
}

/* Each sector of a power cut's file is the old one, the new one, or, behind the old end, zeroes; over many seeds all
 * of it occurs, for sectors each on its own and for ends. */
static void test_random_sectors(void **state)
{
	(void)state;
	enum { OLD = 4 * 512, NEW = 10 * 512, SEEDS = 300 };
	struct env_world w;
	static uint8_t old_bytes[NEW], new_bytes[NEW];
	struct env_segment *s;
	unsigned kept = 0, lost = 0, mixed = 0;
	begin(&w);
	assert_ok(w.env->calls->segment_open(w.env, env_path(&w, "wal"), NEW, &s));
	env_pattern(s->base, NEW, 1);
	assert_ok(w.env->calls->segment_sync(s));
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	env_pattern(old_bytes, NEW, 1);
	env_pattern(new_bytes, NEW, 2);
	env_pattern(s->base, NEW, 2);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct env_world c = crash_of(&w, ENV_MEM_RANDOM, seed);
		size_t size;
		const uint8_t *got = env_mem_bytes(c.env, env_path(&c, "wal"), &size);
		unsigned news = 0;
		assert_int_equal(size, NEW);
		for (size_t at = 0; at < NEW; at += 512) {
			bool is_new = memcmp(got + at, new_bytes + at, 512) == 0;
			assert_true(is_new || memcmp(got + at, old_bytes + at, 512) == 0);
			news += is_new;
		}
		kept += news;
		lost += NEW / 512 - news;
		mixed += news > 0 && news < NEW / 512;
		end(&c);
	}
	assert_true(kept > SEEDS && lost > SEEDS && mixed > SEEDS / 2);
	w.env->calls->segment_close(s);
	end(&w);
}

static void test_random_ends_and_names(void **state)
{
	(void)state;
	enum { OLD = 700, NEW = 3000, SEEDS = 200 };
	struct env_world w;
	static uint8_t want[NEW];
	unsigned sizes_old = 0, sizes_new = 0, sizes_between = 0, named = 0;
	begin(&w);
	struct env_writer *writer = open_writer(&w, "f");
	write_pattern(&w, writer, 0, OLD, 1);
	assert_ok(w.env->calls->writer_sync(writer));
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	write_pattern(&w, writer, OLD, NEW, 1);
	env_put(&w, "unsynced name", 10, 2);
	env_pattern(want, NEW, 1);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct env_world c = crash_of(&w, ENV_MEM_RANDOM, seed);
		size_t size;
		const uint8_t *got = env_mem_bytes(c.env, env_path(&c, "f"), &size);
		assert_true(size >= OLD && size <= NEW);
		assert_memory_equal(got, want, OLD); /* what was synced is there, whatever came behind it */
		for (size_t at = OLD; at < size; at++)
			assert_true(got[at] == want[at] || got[at] == 0);
		sizes_old += size == OLD;
		sizes_new += size == NEW;
		sizes_between += size > OLD && size < NEW;
		named += env_has(&c, "unsynced name");
		end(&c);
	}
	assert_true(sizes_old > 10 && sizes_new > 10 && sizes_between > 10);
	assert_true(named > 10 && named < SEEDS - 10);
	assert_ok(w.env->calls->writer_close(writer));
	end(&w);
}

static void test_a_seed_repeats_its_crash(void **state)
{
	(void)state;
	struct env_world w, a, b;
	size_t a_size, b_size;
	begin(&w);
	struct env_writer *writer = open_writer(&w, "f");
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	write_pattern(&w, writer, 0, 20000, 1);
	a = crash_of(&w, ENV_MEM_RANDOM, 12);
	b = crash_of(&w, ENV_MEM_RANDOM, 12);
	const uint8_t *x = env_mem_bytes(a.env, env_path(&a, "f"), &a_size);
	const uint8_t *y = env_mem_bytes(b.env, env_path(&b, "f"), &b_size);
	assert_true(slice_equal(slice_make(x, a_size), slice_make(y, b_size)));
	end(&a);
	end(&b);
	assert_ok(w.env->calls->writer_close(writer));
	end(&w);
}

/* ---- Hooks, space, clock, damage ----------------------------------------------------------- */

struct trace {
	char text[4000];
	const char *fail_op;
	enum wombat_status status;
};

static enum wombat_status on_call(void *arg, const char *op, const char *path)
{
	struct trace *t = arg;
	size_t used = strlen(t->text);
	snprintf(t->text + used, sizeof t->text - used, "%s %s\n", op, path);
	return t->fail_op && strcmp(t->fail_op, op) == 0 ? t->status : WOMBAT_OK;
}

/* A bit of everything; `failed` counts the calls that did not work. */
static unsigned use(const struct env_world *w)
{
	const struct env_calls *calls = w->env->calls;
	struct env_writer *writer = NULL;
	struct env_reader *reader = NULL;
	struct env_segment *segment = NULL;
	struct env_lock *lock = NULL, *shared = NULL;
	struct buf note = { 0 };
	uint64_t a, b;
	const uint8_t *got;
	uint8_t scratch[1];
	unsigned failed = 0;
	failed += calls->dir_create(w->env, w->dir) != WOMBAT_OK;
	failed += calls->lock(w->env, env_path(w, "LOCK"), "me", &lock) != WOMBAT_OK;
	failed += calls->lock_shared(w->env, env_path(w, "LOCK2"), "we", &shared) != WOMBAT_OK;
	if (lock)
		failed += calls->lock_note(lock, "it") != WOMBAT_OK;
	failed += lock && calls->lock_holder(w->env, env_path(w, "LOCK"), &note) != WOMBAT_OK;
	failed += calls->writer_open(w->env, env_path(w, "f"), 0, 0, &writer) != WOMBAT_OK;
	if (writer) {
		failed += calls->writer_write(writer, "x", 1) != WOMBAT_OK;
		failed += calls->writer_flush(writer) != WOMBAT_OK;
		failed += calls->writer_sync(writer) != WOMBAT_OK;
		failed += calls->writer_close(writer) != WOMBAT_OK;
		writer = NULL;
	}
	failed += calls->writer_append(w->env, env_path(w, "f"), &writer) != WOMBAT_OK;
	failed += writer && calls->writer_write(writer, "y", 1) != WOMBAT_OK;
	failed += writer && calls->writer_close(writer) != WOMBAT_OK;
	failed += calls->reader_open(w->env, env_path(w, "f"), 0, &reader) != WOMBAT_OK;
	failed += reader && calls->reader_read(reader, 0, 1, scratch, &got) != WOMBAT_OK;
	calls->reader_close(reader);
	failed += calls->segment_open(w->env, env_path(w, "wal"), 512, &segment) != WOMBAT_OK;
	failed += segment && calls->segment_write(segment, 0, "z", 1) != WOMBAT_OK;
	failed += segment && calls->segment_sync(segment) != WOMBAT_OK;
	calls->segment_close(segment);
	segment = NULL;
	failed += env_has(w, "wal") && calls->segment_open(w->env, env_path(w, "wal"), 0, &segment) != WOMBAT_OK;
	calls->segment_close(segment);
	failed += calls->rename(w->env, env_path(w, "f"), env_path(w, "g")) != WOMBAT_OK;
	failed += calls->dir_sync(w->env, w->dir) != WOMBAT_OK;
	failed += calls->disk_space(w->env, w->dir, &a, &b) != WOMBAT_OK;
	calls->unlock(lock);
	calls->unlock(shared);
	buf_done(&note);
	return failed;
}

static void test_each_call_can_be_made_to_fail(void **state)
{
	(void)state;
	static const char *const ops[] = {
		"dir_create", "lock", "lock_shared", "lock_note", "lock_holder", "writer_open", "writer_write", "writer_flush",
		"writer_sync", "writer_close", "writer_append", "reader_open", "reader_read", "segment_create",
		"segment_write", "segment_sync", "segment_open", "rename", "dir_sync", "disk_space",
	};
	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
		struct env_world w;
		struct trace t = { .fail_op = ops[i], .status = i % 2 ? WOMBAT_IO : WOMBAT_NO_SPACE };
		begin(&w);
		env_mem_on_call(w.env, on_call, &t);
		assert_true(use(&w) > 0);
		assert_non_null(strstr(t.text, ops[i]));
		env_mem_on_call(w.env, NULL, NULL);
		end(&w);
	}
}

static void test_a_failed_call_does_nothing(void **state)
{
	(void)state;
	struct env_world w;
	struct trace t = { .fail_op = "remove", .status = WOMBAT_IO };
	begin(&w);
	env_put(&w, "f", 10, 1);
	env_mem_on_call(w.env, on_call, &t);
	assert_status(w.env->calls->remove(w.env, env_path(&w, "f")), WOMBAT_IO);
	assert_non_null(strstr(wombat_last_error(), "remove of db/f: injected"));
	t.fail_op = "rename";
	assert_status(w.env->calls->rename(w.env, env_path(&w, "f"), env_path(&w, "g")), WOMBAT_IO);
	t.fail_op = "writer_open";
	struct env_writer *writer;
	assert_status(w.env->calls->writer_open(w.env, env_path(&w, "f"), 0, 0, &writer), WOMBAT_IO);
	env_mem_on_call(w.env, NULL, NULL);
	env_assert_file(&w, "f", 10, 1);
	assert_false(env_has(&w, "g"));
	assert_string_equal(t.text, "remove db/f\nrename db/f\nwriter_open db/f\n");
	end(&w);
}

struct power {
	struct env_world w;
	unsigned syncs, names;
	char last[300];
};

/* Cuts the power at the beginning of each sync: the thing synced is not durable yet. */
static void on_sync(void *arg, const char *path)
{
	struct power *p = arg;
	struct env_world c = crash_of(&p->w, ENV_MEM_SYNCED_ONLY, 0);
	p->syncs++;
	p->names += env_has(&c, "f");
	snprintf(p->last, sizeof p->last, "%s", path);
	end(&c);
}

static void test_sync_hook(void **state)
{
	(void)state;
	struct power p = { 0 };
	struct env_segment *s;
	begin(&p.w);
	env_mem_on_sync(p.w.env, on_sync, &p);
	env_put(&p.w, "f", 10, 1);
	assert_string_equal(p.last, "db/f");
	assert_ok(p.w.env->calls->dir_sync(p.w.env, p.w.dir));
	assert_string_equal(p.last, "db");
	assert_true(p.syncs == 2 && p.names == 0);
	assert_ok(p.w.env->calls->segment_open(p.w.env, env_path(&p.w, "wal"), 512, &s));
	assert_ok(p.w.env->calls->segment_sync(s));
	assert_string_equal(p.last, "db/wal");
	assert_true(p.syncs == 3 && p.names == 1);
	p.w.env->calls->segment_close(s);
	env_mem_on_sync(p.w.env, NULL, NULL);
	assert_ok(p.w.env->calls->dir_sync(p.w.env, p.w.dir));
	assert_int_equal(p.syncs, 3);
	end(&p.w);
}

static void test_capacity(void **state)
{
	(void)state;
	struct env_world w;
	struct env_segment *s;
	uint64_t available, total;
	begin(&w);
	env_mem_set_capacity(w.env, 10000);
	env_put(&w, "a", 6000, 1);
	struct env_writer *writer = open_writer(&w, "b");
	write_pattern(&w, writer, 0, 4000, 2); /* just fits */
	assert_ok(w.env->calls->disk_space(w.env, w.dir, &available, &total));
	assert_true(available == 0 && total == 10000);
	assert_status(w.env->calls->writer_write(writer, "x", 1), WOMBAT_NO_SPACE);
	assert_status(w.env->calls->segment_open(w.env, env_path(&w, "wal"), 1, &s), WOMBAT_NO_SPACE);
	assert_false(env_has(&w, "wal"));
	env_assert_file(&w, "b", 4000, 2);
	assert_ok(w.env->calls->remove(w.env, env_path(&w, "a")));
	assert_ok(w.env->calls->segment_open(w.env, env_path(&w, "wal"), 6000, &s)); /* a segment counts too */
	w.env->calls->segment_close(s);
	assert_status(w.env->calls->writer_write(writer, "x", 1), WOMBAT_NO_SPACE);
	env_mem_set_capacity(w.env, 100); /* less than is used */
	assert_ok(w.env->calls->disk_space(w.env, w.dir, &available, &total));
	assert_true(available == 0 && total == 100);
	assert_ok(w.env->calls->writer_close(writer));
	end(&w);
}

static void test_clock_and_damage(void **state)
{
	(void)state;
	struct env_world w, c;
	size_t size = 77;
	begin(&w);
	env_mem_set_now(w.env, 1234);
	assert_int_equal(w.env->calls->now_ns(w.env), 1234);
	assert_int_equal(w.env->calls->now_ns(w.env), 1234);
	c = crash_of(&w, ENV_MEM_ALL, 0); /* it goes on from the same time */
	assert_int_equal(c.env->calls->now_ns(c.env), 1234);
	end(&c);
	env_put(&w, "f", 10, 1);
	assert_null(env_mem_bytes(w.env, env_path(&w, "g"), &size));
	uint8_t *bytes = env_mem_bytes(w.env, env_path(&w, "f"), &size), got;
	assert_int_equal(size, 10);
	bytes[3] = 99;
	struct env_reader *r;
	const uint8_t *p;
	assert_ok(w.env->calls->reader_open(w.env, env_path(&w, "f"), 0, &r));
	assert_ok(w.env->calls->reader_read(r, 3, 1, &got, &p));
	assert_int_equal(*p, 99);
	w.env->calls->reader_close(r);
	end(&w);
}

/* ---- Threads and memory -------------------------------------------------------------------- */

struct storm {
	const struct env_world *w;
	unsigned number, failed;
};

static void *write_files(void *arg)
{
	struct storm *s = arg;
	const struct env_calls *calls = s->w->env->calls;
	for (unsigned i = 0; i < 60; i++) {
		struct env_writer *writer;
		struct env_segment *segment;
		char path[300] = { 0 }, wal[300];
		snprintf(path, sizeof path, "%s/%u", s->w->dir, s->number * 1000 + i);
		snprintf(wal, sizeof wal, "%s/wal%u", s->w->dir, s->number * 1000 + i);
		s->failed += calls->writer_open(s->w->env, path, 0, 0, &writer) != WOMBAT_OK;
		s->failed += calls->writer_write(writer, path, sizeof path) != WOMBAT_OK;
		s->failed += calls->writer_sync(writer) != WOMBAT_OK;
		s->failed += calls->writer_close(writer) != WOMBAT_OK;
		s->failed += calls->segment_open(s->w->env, wal, 1024, &segment) != WOMBAT_OK;
		memset(segment->base, (int)i, 1024); /* while the others take copies */
		s->failed += calls->segment_sync(segment) != WOMBAT_OK;
		calls->segment_close(segment);
		s->failed += calls->dir_sync(s->w->env, s->w->dir) != WOMBAT_OK;
		if (i % 2)
			s->failed += calls->remove(s->w->env, path) != WOMBAT_OK;
	}
	return NULL;
}

static void test_threads_and_clones(void **state)
{
	(void)state;
	enum { THREADS = 3 };
	struct env_world w;
	pthread_t threads[THREADS];
	struct storm storms[THREADS];
	begin(&w);
	for (unsigned i = 0; i < THREADS; i++) {
		storms[i] = (struct storm){ &w, i, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, write_files, &storms[i]), 0);
	}
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct env_world c = crash_of(&w, (enum env_mem_crash)(seed % 3), seed);
		end(&c);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(storms[i].failed, 0);
	}
	assert_true(env_has(&w, "0") && !env_has(&w, "1") && env_has(&w, "2058") && env_has(&w, "wal2059"));
	end(&w);
}

static unsigned allocations_left;

static _Bool fail_one(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static void test_making_and_cloning_without_memory(void **state)
{
	(void)state;
	struct env_world w, c;
	struct env_segment *s;
	begin(&w);
	env_put(&w, "a", 100, 1);
	assert_ok(w.env->calls->segment_open(w.env, env_path(&w, "wal"), 512, &s));
	w.env->calls->segment_close(s);
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	for (unsigned crash = ENV_MEM_SYNCED_ONLY; crash <= ENV_MEM_RANDOM; crash++) {
		unsigned n = 0;
		for (enum wombat_status status = WOMBAT_NO_MEMORY; status != WOMBAT_OK; n++) {
			allocations_left = n + 1;
			mem_test_hook = fail_one;
			status = env_mem_clone(w.env, (enum env_mem_crash)crash, 1, &c.env);
			mem_test_hook = NULL;
			assert_true(status == WOMBAT_OK || status == WOMBAT_NO_MEMORY);
		}
		assert_true(n > 6); /* itself, and for each file its name, itself, and bytes on either side */
		memcpy(c.dir, w.dir, sizeof c.dir);
		env_assert_file(&c, "a", 100, 1);
		end(&c);
	}
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_was_synced),
		cmocka_unit_test(test_names_wait_for_their_directory),
		cmocka_unit_test(test_clones_are_independent),
		cmocka_unit_test(test_segments_and_power),
		cmocka_unit_test(test_random_sectors),
		cmocka_unit_test(test_random_ends_and_names),
		cmocka_unit_test(test_a_seed_repeats_its_crash),
		cmocka_unit_test(test_each_call_can_be_made_to_fail),
		cmocka_unit_test(test_a_failed_call_does_nothing),
		cmocka_unit_test(test_sync_hook),
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_clock_and_damage),
		cmocka_unit_test(test_threads_and_clones),
		cmocka_unit_test(test_making_and_cloning_without_memory),
	};
	return env_contract_run("contract", begin, end) + cmocka_run_group_tests(tests, NULL, NULL);
}
