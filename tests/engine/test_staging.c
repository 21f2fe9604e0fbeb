/* Copies, second names, and directories that appear whole: on a file system in memory and on this machine's. */
#include "engine/env/staging.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/crc32c.h"
#include "engine/env/env_mem.h"
#include "tests/support/check.h"
#include "tests/support/env_contract.h"

static void in_memory(void (*run)(struct env_world *w))
{
	struct env_world w = { .dir = "place" };
	assert_ok(env_mem_new(&w.env));
	run(&w);
	w.env->calls->free(w.env);
}

static void on_disk(void (*run)(struct env_world *w))
{
	struct env_world w = { .env = env_posix() };
	const char *temp = getenv("TMPDIR");
	char command[300];
	snprintf(w.dir, sizeof w.dir, "%s/wombat-staging-XXXXXX", temp && *temp ? temp : "/tmp");
	assert_non_null(mkdtemp(w.dir));
	run(&w);
	snprintf(command, sizeof command, "rm -r '%s'", w.dir);
	assert_int_equal(system(command), 0);
}

static void copies(struct env_world *w)
{
	static const size_t sizes[] = { 0, 1, 5000, (1 << 20) - 1, 1 << 20, 3000000 };
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX];
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint8_t *bytes = malloc(sizes[i] + 1);
		uint32_t crc = 1, again = 2;
		uint64_t size = 7;
		env_pattern(bytes, sizes[i], 3);
		env_put(w, "from", sizes[i], 3);
		snprintf(from, sizeof from, "%s", env_path(w, "from"));
		snprintf(to, sizeof to, "%s", env_path(w, "to"));
		assert_ok(env_copy_file(w->env, from, to, &crc));
		env_assert_file(w, "to", sizes[i], 3);
		assert_int_equal(crc, crc32c(0, bytes, sizes[i]));
		assert_ok(env_sum_file(w->env, to, &size, &again));
		assert_true(size == sizes[i] && again == crc);
		assert_ok(env_copy_file(w->env, from, to, NULL)); /* over one that is there */
		free(bytes);
	}
	snprintf(from, sizeof from, "%s", env_path(w, "missing"));
	snprintf(to, sizeof to, "%s", env_path(w, "other"));
	assert_status(env_copy_file(w->env, from, to, NULL), WOMBAT_NOT_FOUND);
	assert_false(env_has(w, "other"));
}

static void test_copies(void **state)
{
	(void)state;
	in_memory(copies);
	on_disk(copies);
}

static void second_names(struct env_world *w)
{
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX];
	env_put(w, "one", 300, 5);
	snprintf(from, sizeof from, "%s", env_path(w, "one"));
	snprintf(to, sizeof to, "%s", env_path(w, "two"));
	assert_ok(w->env->calls->link(w->env, from, to));
	env_assert_file(w, "two", 300, 5);
	assert_status(w->env->calls->link(w->env, from, to), WOMBAT_IO); /* it replaces nothing */
	assert_ok(w->env->calls->remove(w->env, from));
	env_assert_file(w, "two", 300, 5);
	assert_status(w->env->calls->link(w->env, from, to), WOMBAT_NOT_FOUND);
}

static void test_second_names(void **state)
{
	(void)state;
	in_memory(second_names);
	on_disk(second_names);
}

static void put_in(struct staging *s, const char *name, unsigned seed)
{
	char path[FILENAME_PATH_MAX];
	struct env_writer *w;
	uint8_t bytes[100];
	env_pattern(bytes, sizeof bytes, seed);
	assert_true(staging_path(s, name, path));
	assert_ok(s->env->calls->writer_open(s->env, path, 0, 0, &w));
	assert_ok(s->env->calls->writer_write(w, bytes, sizeof bytes));
	assert_ok(s->env->calls->writer_sync(w));
	assert_ok(s->env->calls->writer_close(w));
}

static void staged(struct env_world *w)
{
	char target[FILENAME_PATH_MAX], long_path[FILENAME_PATH_MAX + 10];
	struct staging s;
	snprintf(target, sizeof target, "%s", env_path(w, "new"));
	/* Abandoned, and left by a crash: neither stands in the way. */
	assert_ok(staging_begin(w->env, target, &s));
	put_in(&s, "a", 1);
	status_set_detail("the cause");
	staging_abandon(&s);
	assert_string_equal(wombat_last_error(), "the cause");
	assert_false(env_has(w, "new.tmp/a") || env_has(w, "new/a"));
	assert_ok(staging_begin(w->env, target, &s));
	put_in(&s, "left", 1);
	assert_ok(staging_begin(w->env, target, &s));
	assert_false(env_has(w, "new.tmp/left"));
	put_in(&s, "b", 2);
	put_in(&s, "c", 3);
	assert_false(env_has(w, "new/b"));
	assert_ok(staging_finish(&s));
	env_assert_file(w, "new/b", 100, 2);
	env_assert_file(w, "new/c", 100, 3);
	assert_false(env_has(w, "new.tmp/b"));
	assert_status(staging_begin(w->env, target, &s), WOMBAT_EXISTS);
	strcat(target, "///");
	assert_status(staging_begin(w->env, target, &s), WOMBAT_EXISTS);
	assert_status(staging_begin(w->env, "", &s), WOMBAT_INVALID);
	memset(long_path, 'x', sizeof long_path - 1);
	long_path[sizeof long_path - 1] = 0;
	assert_status(staging_begin(w->env, long_path, &s), WOMBAT_INVALID);
}

static void test_staged(void **state)
{
	(void)state;
	in_memory(staged);
	on_disk(staged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_second_names),
		cmocka_unit_test(test_staged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
