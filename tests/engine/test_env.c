/*
 * Reading and replacing whole files, over both environments: every call of the environment made to fail, every
 * allocation, and the power cut at every sync. Whatever happens, a replaced file is the old one or the new one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "tests/support/check.h"
#include "tests/support/env_contract.h"

static void begin(struct env_world *w)
{
	*w = (struct env_world){ .dir = "db" };
	assert_ok(env_mem_new(&w->env));
}

static void end(struct env_world *w)
{
	w->env->calls->free(w->env);
}

static enum wombat_status replace(const struct env_world *w, size_t size, unsigned seed)
{
	uint8_t *bytes = malloc(size + 1);
	env_pattern(bytes, size, seed);
	enum wombat_status s = env_replace_file(w->env, w->dir, "CURRENT", slice_make(bytes, size));
	free(bytes);
	return s;
}

static void read_and_replace(const struct env_world *w)
{
	struct buf got = { 0 };
	static const size_t sizes[] = { 0, 1, 4096, 100000, 10 };
	assert_status(env_read_file(w->env, env_path(w, "CURRENT"), 100, &got), WOMBAT_NOT_FOUND);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		assert_ok(replace(w, sizes[i], (unsigned)i));
		env_assert_file(w, "CURRENT", sizes[i], (unsigned)i);
		assert_false(env_has(w, "CURRENT.tmp"));
		/* Just as large as allowed, and a byte more than that. */
		assert_ok(env_read_file(w->env, env_path(w, "CURRENT"), sizes[i], &got));
		assert_int_equal(got.size, sizes[i]); /* what was in the buffer is gone */
		if (!sizes[i])
			continue;
		assert_status(env_read_file(w->env, env_path(w, "CURRENT"), sizes[i] - 1, &got), WOMBAT_TOO_BIG);
		assert_non_null(strstr(wombat_last_error(), "CURRENT"));
	}
	/* A temporary file that a crash left is no obstacle. */
	env_put(w, "CURRENT.tmp", 5000, 9);
	assert_ok(replace(w, 20, 7));
	env_assert_file(w, "CURRENT", 20, 7);
	assert_false(env_has(w, "CURRENT.tmp"));
	buf_done(&got);
}

static void test_in_memory(void **state)
{
	(void)state;
	struct env_world w;
	begin(&w);
	read_and_replace(&w);
	end(&w);
}

static void test_on_disk(void **state)
{
	(void)state;
	const char *temp = getenv("TMPDIR");
	struct env_world w = { .env = env_posix() };
	snprintf(w.dir, sizeof w.dir, "%s/test_env.XXXXXX", temp && *temp ? temp : "/tmp");
	assert_non_null(mkdtemp(w.dir));
	read_and_replace(&w);
	assert_ok(w.env->calls->remove(w.env, env_path(&w, "CURRENT")));
	assert_int_equal(rmdir(w.dir), 0); /* which it could not be with anything left in it */
}

static void test_long_paths(void **state)
{
	(void)state;
	struct env_world w;
	static char dir[FILENAME_PATH_MAX + 1];
	begin(&w);
	memset(dir, 'd', FILENAME_PATH_MAX);
	assert_status(env_replace_file(w.env, dir, "CURRENT", slice_make("x", 1)), WOMBAT_INVALID);
	dir[FILENAME_PATH_MAX - 9] = 0; /* "/CURRENT" fits, its temporary name does not */
	assert_status(env_replace_file(w.env, dir, "CURRENT", slice_make("x", 1)), WOMBAT_INVALID);
	end(&w);
}

/* ---- Failures ------------------------------------------------------------------------------ */

struct failure {
	unsigned calls_left; /* 0: none fails */
	const char *op;      /* the call that did */
};

static enum wombat_status on_call(void *arg, const char *op, const char *path)
{
	struct failure *f = arg;
	(void)path;
	if (!f->calls_left || --f->calls_left)
		return WOMBAT_OK;
	f->op = op;
	return WOMBAT_NO_SPACE;
}

/* One way of failing after another, until a call goes through. The old file stays, or, once the new one has its name,
 * only the sync of the directory is what failed. */
static void test_each_call_fails_once(void **state)
{
	(void)state;
	unsigned failures = 0;
	for (unsigned n = 1;; n++) {
		struct env_world w;
		struct failure f = { .calls_left = n };
		begin(&w);
		env_put(&w, "CURRENT", 100, 1);
		env_mem_on_call(w.env, on_call, &f);
		enum wombat_status s = replace(&w, 200, 2);
		env_mem_on_call(w.env, NULL, NULL);
		if (!f.op) {
			assert_status(s, WOMBAT_OK);
			env_assert_file(&w, "CURRENT", 200, 2);
			end(&w);
			break;
		}
		assert_status(s, WOMBAT_NO_SPACE);
		assert_non_null(strstr(wombat_last_error(), f.op)); /* the failure, not what clearing up said */
		if (strcmp(f.op, "dir_sync") == 0)
			env_assert_file(&w, "CURRENT", 200, 2);
		else
			env_assert_file(&w, "CURRENT", 100, 1);
		assert_false(env_has(&w, "CURRENT.tmp"));
		failures++;
		end(&w);
	}
	assert_true(failures >= 6); /* open, write, sync, close, rename, sync of the directory */
}

static enum wombat_status fail_from(void *arg, const char *op, const char *path)
{
	const char *first = *(const char **)arg;
	(void)path;
	if (first && strcmp(op, first) != 0)
		return WOMBAT_OK;
	*(const char **)arg = NULL; /* from here on everything fails, clearing up too */
	return first ? WOMBAT_NO_SPACE : WOMBAT_IO;
}

static void test_the_first_failure_is_told(void **state)
{
	(void)state;
	static const char *const ops[] = { "writer_open", "writer_write", "writer_sync", "writer_close", "rename" };
	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
		struct env_world w;
		const char *first = ops[i];
		begin(&w);
		env_mem_on_call(w.env, fail_from, &first);
		assert_status(replace(&w, 10, 1), WOMBAT_NO_SPACE);
		assert_non_null(strstr(wombat_last_error(), ops[i])); /* not that removing failed as well */
		env_mem_on_call(w.env, NULL, NULL);
		if (i > 0)
			assert_true(env_has(&w, "CURRENT.tmp")); /* it could not be removed */
		assert_false(env_has(&w, "CURRENT"));
		end(&w);
	}
}

static void test_reading_fails(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 2; n++) { /* opening, reading */
		struct env_world w;
		struct failure f = { .calls_left = n };
		struct buf got = { 0 };
		begin(&w);
		env_put(&w, "CURRENT", 100, 1);
		env_mem_on_call(w.env, on_call, &f);
		assert_status(env_read_file(w.env, env_path(&w, "CURRENT"), 1000, &got), WOMBAT_NO_SPACE);
		assert_int_equal(got.size, 0);
		buf_done(&got);
		env_mem_on_call(w.env, NULL, NULL);
		end(&w);
	}
}

static unsigned allocations_left;

static _Bool fail_one(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct env_world w;
		struct buf got = { 0 };
		begin(&w);
		env_put(&w, "CURRENT", 100, 1);
		allocations_left = n + 1;
		mem_test_hook = fail_one;
		s = replace(&w, 200, 2);
		bool replaced = s == WOMBAT_OK;
		if (s == WOMBAT_OK)
			s = env_read_file(w.env, env_path(&w, "CURRENT"), 1000, &got);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		env_assert_file(&w, "CURRENT", replaced ? 200 : 100, replaced ? 2 : 1);
		assert_false(env_has(&w, "CURRENT.tmp"));
		buf_done(&got);
		end(&w);
	}
	assert_true(n > 5);
}

/* ---- Power cuts ---------------------------------------------------------------------------- */

struct power {
	struct env_world *w;
	unsigned cuts, old_ones, new_ones;
};

static void look(struct power *p, enum env_mem_crash crash, uint64_t seed)
{
	struct env_world c = *p->w;
	uint64_t size;
	assert_ok(env_mem_clone(p->w->env, crash, seed, &c.env));
	assert_ok(c.env->calls->file_size(c.env, env_path(&c, "CURRENT"), &size));
	env_assert_file(&c, "CURRENT", size, size == 100 ? 1 : 2);
	assert_true(size == 100 || size == 2000);
	p->old_ones += size == 100;
	p->new_ones += size == 2000;
	p->cuts++;
	end(&c);
}

static void on_sync(void *arg, const char *path)
{
	(void)path;
	look(arg, ENV_MEM_SYNCED_ONLY, 0);
	look(arg, ENV_MEM_ALL, 0);
}

static void test_power_cuts(void **state)
{
	(void)state;
	struct env_world w;
	struct power p = { .w = &w };
	begin(&w);
	env_put(&w, "CURRENT", 100, 1);
	assert_ok(w.env->calls->dir_sync(w.env, w.dir));
	env_mem_on_sync(w.env, on_sync, &p);
	assert_ok(replace(&w, 2000, 2));
	assert_int_equal(p.cuts, 4); /* the file's sync and the directory's */
	assert_true(p.old_ones == 3 && p.new_ones == 1);
	look(&p, ENV_MEM_SYNCED_ONLY, 0); /* once it returned it lasts */
	assert_int_equal(p.new_ones, 2);
	for (uint64_t seed = 1; seed < 50; seed++)
		look(&p, ENV_MEM_RANDOM, seed);
	assert_int_equal(p.new_ones, 51);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_memory),
		cmocka_unit_test(test_on_disk),
		cmocka_unit_test(test_long_paths),
		cmocka_unit_test(test_each_call_fails_once),
		cmocka_unit_test(test_the_first_failure_is_told),
		cmocka_unit_test(test_reading_fails),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_power_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
