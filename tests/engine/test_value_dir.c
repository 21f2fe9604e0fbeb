/* A value log in a directory of its own: where it is, whose it is, when it was moved; copies, damage and power cuts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/db/backup.h"
#include "engine/db/value_dir.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define APART "/other/values"

static enum wombat_status open_db(struct env *env, const char *dir, const char *value_dir, struct wombat **out)
{
	struct wombat_options *o = wombat_options_new();
	assert_ok(wombat_options_set(o, "value_threshold", "1K"));
	assert_ok(wombat_options_set(o, "wal_file_size", "64K"));
	assert_ok(wombat_options_set(o, "sync_interval_ms", "0"));
	if (value_dir)
		assert_ok(wombat_options_set(o, "value_dir", value_dir));
	enum wombat_status s = db_open_env(env, dir, o, WOMBAT_CREATE, out);
	wombat_options_free(o);
	return s;
}

static struct wombat *must_open(struct env *env, const char *dir, const char *value_dir)
{
	struct wombat *db;
	assert_ok(open_db(env, dir, value_dir, &db));
	return db;
}

static void put(struct wombat *db, const char *key, char fill)
{
	char value[5000];
	memset(value, fill, sizeof value);
	assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(value, sizeof value)));
}

static void expect(struct wombat *db, const char *key, char fill)
{
	struct wombat_record r;
	assert_ok(wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r));
	assert_true(r.value.size == 5000 && r.value.data[0] == fill && r.value.data[4999] == fill);
	wombat_record_release(&r);
}

static void expect_option(struct wombat *db, const char *want)
{
	char text[OPTION_PATH_MAX];
	assert_ok(wombat_get_option(db, "value_dir", text, sizeof text));
	assert_string_equal(text, want);
}

static void count_values(void *arg, const char *name)
{
	uint64_t number;
	*(unsigned *)arg += filename_parse(name, &number) == FILE_VALUES;
}

static unsigned values_in(struct env *env, const char *dir)
{
	unsigned count = 0;
	enum wombat_status s = env->calls->dir_list(env, dir, count_values, &count);
	assert_true(s == WOMBAT_OK || s == WOMBAT_NOT_FOUND);
	return count;
}

static struct env *new_env(void)
{
	struct env *env;
	assert_ok(env_mem_new(&env));
	assert_ok(env->calls->dir_create(env, "/other"));
	return env;
}

static void note(void *arg, bool is_loss, const char *sentence)
{
	(void)sentence;
	*(unsigned *)arg += is_loss;
}

static void test_apart(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", APART "///");
	put(db, "a", '1');
	expect_option(db, APART);
	assert_true(values_in(env, APART) == 1 && values_in(env, "/db") == 0);
	assert_ok(wombat_close(db));
	/* From then on the database knows, whatever is said, as long as nothing was moved. */
	static const char *const said[] = { NULL, APART, "", "/elsewhere" };
	for (size_t i = 0; i < 4; i++) {
		db = must_open(env, "/db", said[i]);
		expect_option(db, APART);
		expect(db, "a", '1');
		put(db, "b", (char)('2' + i));
		assert_ok(wombat_close(db));
	}
	assert_true(values_in(env, APART) > 1 && values_in(env, "/db") == 0 && values_in(env, "/elsewhere") == 0);
	db = must_open(env, "/db", NULL);
	/* Dead files go there too; numbers of files are not given out twice. */
	assert_ok(wombat_delete(db, WOMBAT_USER, WOMBAT_STR("b")));
	assert_ok(wombat_compact(db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_flush(db));
	expect(db, "a", '1');
	assert_ok(wombat_close(db));
	unsigned findings = 0;
	assert_ok(db_check_env(env, "/db", note, &findings));
	env->calls->free(env);
}

static void test_one_that_exists_stays(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", NULL);
	put(db, "a", '1');
	assert_ok(wombat_close(db));
	db = must_open(env, "/db", APART);
	expect_option(db, "");
	put(db, "b", '2');
	expect(db, "a", '1');
	assert_ok(wombat_close(db));
	assert_int_equal(values_in(env, APART), 0);
	env->calls->free(env);
}

static void copy_one(void *arg, const char *name)
{
	struct env *env = arg;
	char from[300], to[300];
	snprintf(from, sizeof from, APART "/%s", name);
	snprintf(to, sizeof to, "/other/moved/%s", name);
	assert_ok(env_copy_file(env, from, to, NULL));
	assert_ok(env->calls->remove(env, from));
}

static void test_moved(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", APART);
	put(db, "a", '1');
	assert_ok(wombat_close(db));
	assert_ok(env->calls->dir_create(env, "/other/moved"));
	assert_ok(env->calls->dir_list(env, APART, copy_one, env));
	assert_status(open_db(env, "/db", NULL, &db), WOMBAT_NOT_FOUND);
	assert_non_null(strstr(wombat_last_error(), "the values of /db are not in " APART));
	assert_status(open_db(env, "/db", "/other", &db), WOMBAT_NOT_FOUND);
	assert_status(db_check_env(env, "/db", NULL, NULL), WOMBAT_NOT_FOUND);
	assert_status(db_repair_env(env, "/db", NULL, NULL), WOMBAT_NOT_FOUND);
	db = must_open(env, "/db", "/other/moved");
	expect(db, "a", '1');
	assert_ok(wombat_close(db));
	db = must_open(env, "/db", NULL); /* it was noted */
	expect_option(db, "/other/moved");
	expect(db, "a", '1');
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

static void test_others_are_left_alone(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", APART), *second;
	put(db, "a", '1');
	assert_status(open_db(env, "/second", APART, &second), WOMBAT_EXISTS);
	assert_ok(wombat_close(db));
	/* Nor are they taken for those of another one. */
	second = must_open(env, "/third", "/other/third");
	put(second, "a", '3');
	assert_ok(wombat_close(second));
	second = must_open(env, "/third", APART);
	expect_option(second, "/other/third");
	expect(second, "a", '3');
	assert_ok(wombat_close(second));
	struct wombat_options *o = wombat_options_new();
	assert_status(wombat_options_set(o, "value_dir", "relative/path"), WOMBAT_INVALID);
	assert_status(wombat_options_set(o, "value_dir", "/two\nlines"), WOMBAT_INVALID);
	char long_path[OPTION_PATH_MAX + 1];
	memset(long_path, '/', sizeof long_path);
	long_path[OPTION_PATH_MAX] = 0;
	assert_status(wombat_options_set(o, "value_dir", long_path), WOMBAT_OUT_OF_RANGE);
	long_path[OPTION_PATH_MAX - 1] = 0;
	assert_ok(wombat_options_set(o, "value_dir", long_path));
	wombat_options_free(o);
	env->calls->free(env);
}

/* Copies have their values with them. */
static void test_copies(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", APART), *copy;
	struct wombat_backup_info info;
	put(db, "a", '1');
	assert_ok(wombat_checkpoint(db, "/copy"));
	assert_ok(wombat_backup_create(db, "/backups", &info));
	assert_ok(wombat_close(db));
	assert_ok(backup_restore(env, "/backups", 0, "/restored"));
	static const char *const copies[] = { "/copy", "/restored" };
	for (size_t i = 0; i < 2; i++) {
		assert_true(values_in(env, copies[i]) > 0);
		copy = must_open(env, copies[i], APART);
		expect_option(copy, "");
		expect(copy, "a", '1');
		put(copy, "b", '2');
		assert_ok(wombat_close(copy));
	}
	assert_int_equal(values_in(env, APART), 1);
	env->calls->free(env);
}

/* ---- Damage -------------------------------------------------------------------------------- */

static void test_repair(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", APART);
	char path[FILENAME_PATH_MAX];
	size_t size;
	unsigned losses = 0;
	put(db, "a", '1');
	put(db, "b", '2');
	assert_ok(wombat_flush(db));
	assert_ok(wombat_close(db));
	uint8_t *bytes = NULL;
	for (uint64_t n = 1; n < 50 && !bytes; n++)
		if (filename_path(path, APART, FILE_VALUES, n))
			bytes = env_mem_bytes(env, path, &size);
	assert_non_null(bytes);
	bytes[200] ^= 1;
	assert_status(db_check_env(env, "/db", note, &losses), WOMBAT_CORRUPTION);
	losses = 0;
	assert_status(db_repair_env(env, "/db", note, &losses), WOMBAT_CORRUPTION);
	assert_int_equal(losses, 1);
	assert_int_equal(values_in(env, "/db/lost"), 1);
	db = must_open(env, "/db", NULL);
	expect(db, "b", '2');
	struct wombat_record r;
	assert_status(wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR("a"), &r), WOMBAT_NOT_FOUND);
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

/* Each byte of either file: said, never taken for something else; who knows the directory can say it. */
static void test_damaged_files(void **state)
{
	(void)state;
	static const char *const files[] = { "/db/VALUES", APART "/WOMBAT-VALUES" };
	struct env *env = new_env();
	struct wombat *db = must_open(env, "/db", APART);
	struct value_dir found;
	put(db, "a", '1');
	assert_ok(wombat_close(db));
	for (size_t i = 0; i < 2; i++) {
		size_t size;
		assert_non_null(env_mem_bytes(env, files[i], &size));
		for (size_t at = 0; at < size; at++) {
			env_mem_bytes(env, files[i], &size)[at] ^= 0x11;
			assert_status(value_dir_find(env, "/db", &found), WOMBAT_CORRUPTION);
			assert_status(open_db(env, "/db", NULL, &db), WOMBAT_CORRUPTION);
			env_mem_bytes(env, files[i], &size)[at] ^= 0x11;
		}
	}
	size_t size;
	env_mem_bytes(env, files[0], &size)[3] ^= 1;
	assert_status(open_db(env, "/db", "/other", &db), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), "/db/VALUES is damaged"));
	db = must_open(env, "/db", APART);
	expect(db, "a", '1');
	assert_ok(wombat_close(db));
	db = must_open(env, "/db", NULL);
	expect(db, "a", '1');
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

/* ---- Failures ------------------------------------------------------------------------------ */

struct failing {
	unsigned left;
	bool failed;
};

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	struct failing *f = arg;
	(void)op;
	(void)path;
	if (f->left > 0) {
		f->left--;
		return WOMBAT_OK;
	}
	f->failed = true;
	return WOMBAT_IO;
}

/* Making one, and noting a move, with each call or allocation failing: an error, and the next try succeeds. */
static void test_each_failure(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++)
		for (int moving = 0; moving < 2; moving++) {
			enum wombat_status s = WOMBAT_IO;
			for (unsigned n = 0; s != WOMBAT_OK; n++) {
				struct env *env = new_env();
				struct value_dir found, again;
				struct failing f = { .left = n };
				if (moving) {
					assert_ok(env->calls->dir_create(env, "/db"));
					assert_ok(value_dir_settle(env, "/db", APART, true, false, &found));
					assert_ok(env->calls->dir_create(env, "/other/moved"));
					assert_ok(env->calls->dir_list(env, APART, copy_one, env));
				} else {
					assert_ok(env->calls->dir_create(env, "/db"));
				}
				const char *wanted = moving ? "/other/moved" : APART;
				if (memory)
					scarce_begin(n);
				else
					env_mem_on_call(env, fail_call, &f);
				s = value_dir_settle(env, "/db", wanted, !moving, false, &found);
				scarce_end();
				env_mem_on_call(env, NULL, NULL);
				if (s != WOMBAT_OK) {
					assert_status(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
					assert_ok(value_dir_settle(env, "/db", wanted, !moving, false, &found));
				}
				assert_true(found.apart && strcmp(found.path, wanted) == 0);
				assert_ok(value_dir_find(env, "/db", &again));
				assert_string_equal(again.path, wanted);
				env->calls->free(env);
				assert_true(n < 200);
			}
		}
}

struct cuts {
	struct env *env, *clones[40];
	size_t count;
};

static void on_sync(void *arg, const char *path)
{
	struct cuts *c = arg;
	(void)path;
	if (c->count < 40 && env_mem_clone(c->env, ENV_MEM_SYNCED_ONLY, c->count, &c->clones[c->count]) == WOMBAT_OK)
		c->count++;
}

/* A power cut at each sync while one is made. */
static void test_power_cuts(void **state)
{
	(void)state;
	struct cuts cuts = { .env = new_env() };
	struct value_dir found;
	assert_ok(cuts.env->calls->dir_create(cuts.env, "/db"));
	assert_ok(cuts.env->calls->dir_sync(cuts.env, "/"));
	env_mem_on_sync(cuts.env, on_sync, &cuts);
	assert_ok(value_dir_settle(cuts.env, "/db", APART, true, false, &found));
	env_mem_on_sync(cuts.env, NULL, NULL);
	assert_true(cuts.count >= 2);
	for (size_t i = 0; i < cuts.count; i++) {
		struct wombat *db = must_open(cuts.clones[i], "/db", APART);
		put(db, "a", '1');
		assert_ok(wombat_close(db));
		db = must_open(cuts.clones[i], "/db", NULL);
		expect_option(db, APART);
		expect(db, "a", '1');
		assert_ok(wombat_close(db));
		cuts.clones[i]->calls->free(cuts.clones[i]);
	}
	cuts.env->calls->free(cuts.env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_apart),
		cmocka_unit_test(test_one_that_exists_stays),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_others_are_left_alone),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_repair),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_each_failure),
		cmocka_unit_test(test_power_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
