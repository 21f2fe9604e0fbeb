/*
 * Damage by kind of file: what must be said, and what must survive. Never wrong data, never a crash.
 *
 *     table     any byte: the same answers, or WOMBAT_CORRUPTION that names the file; `check` finds it
 *     manifest  any byte: WOMBAT_CORRUPTION or WOMBAT_UNSUPPORTED at open
 *     CURRENT   any byte, or empty: likewise
 *     WAL       before what a later record proves durable: WOMBAT_CORRUPTION at open
 *     missing   a table: WOMBAT_CORRUPTION at open, by name
 */
#include <string.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { KEYS = 300 };

static void name_key(char out[32], int i)
{
	snprintf(out, 32, "users/%03d", i);
}

static void name_value(char out[64], int i)
{
	snprintf(out, 64, "value %d of a record that is long enough", i * 7919);
}

/* A database with a table (all keys) and, with `logged`, the same again in the log. */
static struct env *make_db(bool logged)
{
	struct env *env;
	struct wombat *db;
	/* A small log makes copies of the file system cheap. */
	struct wombat_options *options = wombat_options_new();
	assert_ok(wombat_options_set(options, "wal_file_size", "128K"));
	assert_ok(env_mem_new(&env));
	assert_ok(db_open_env(env, "/db", options, WOMBAT_CREATE, &db));
	wombat_options_free(options);
	for (int round = 0; round <= logged; round++) {
		for (int i = 0; i < KEYS; i++) {
			char key[32], value[64];
			name_key(key, i);
			name_value(value, i);
			assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(value)));
		}
		if (round == 0)
			assert_ok(wombat_flush(db));
	}
	assert_ok(wombat_close(db));
	return env;
}

struct finder {
	enum file_kind kind;
	char name[64];
};

static void find_name(void *arg, const char *name)
{
	struct finder *f = arg;
	uint64_t number;
	if (filename_parse(name, &number) == f->kind)
		snprintf(f->name, sizeof f->name, "%s", name);
}

static void find_file(struct env *env, enum file_kind kind, char out[FILENAME_PATH_MAX])
{
	struct finder f = { .kind = kind };
	assert_ok(env->calls->dir_list(env, "/db", find_name, &f));
	assert_true(f.name[0] != 0);
	snprintf(out, FILENAME_PATH_MAX, "/db/%s", f.name);
}

static void ignore(void *arg, bool is_damage, const char *sentence)
{
	(void)sentence;
	*(unsigned *)arg += is_damage;
}

static bool check_finds(struct env *env)
{
	unsigned damage = 0;
	enum wombat_status s = db_check_env(env, "/db", ignore, &damage);
	assert_int_equal(s == WOMBAT_OK, damage == 0);
	return damage > 0;
}

/* Opens and reads all: right answers, or errors that say where. True: an error was met. */
static bool read_all(struct env *env, const char *name)
{
	struct wombat *db;
	enum wombat_status s = db_open_env(env, "/db", NULL, 0, &db);
	if (s != WOMBAT_OK) {
		assert_true(s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
		assert_true(strlen(wombat_last_error()) > 0);
		return true;
	}
	bool met = false;
	for (int i = 0; i < KEYS; i++) {
		char key[32], value[64];
		struct wombat_record r;
		name_key(key, i);
		name_value(value, i);
		s = wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r);
		if (s != WOMBAT_OK) {
			assert_true(s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
			assert_non_null(strstr(wombat_last_error(), name));
			met = true;
			continue;
		}
		assert_int_equal(r.value.size, strlen(value));
		assert_memory_equal(r.value.data, value, strlen(value));
		wombat_record_release(&r);
	}
	struct wombat_iter *it;
	int seen = 0;
	s = wombat_iter_new(db, NULL, WOMBAT_USER, &it);
	if (s == WOMBAT_OK) {
		for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it))
			seen++;
		s = wombat_iter_status(it);
		wombat_iter_free(it);
	}
	assert_true(s == WOMBAT_OK ? seen == KEYS : s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
	met |= s != WOMBAT_OK;
	wombat_close(db);
	return met;
}

/* Flips a bit of every stride-th byte of a file in turn. Returns for how many an error was met. */
static unsigned flip_bytes(enum file_kind kind, size_t stride, bool must_meet)
{
	struct env *env = make_db(false);
	char path[FILENAME_PATH_MAX];
	size_t size;
	unsigned met = 0, flips = 0;
	find_file(env, kind, path);
	assert_non_null(env_mem_bytes(env, path, &size));
	for (size_t at = 0; at < size; at += stride, flips++) {
		struct env *copy;
		size_t n;
		assert_ok(env_mem_clone(env, ENV_MEM_ALL, 0, &copy));
		env_mem_bytes(copy, path, &n)[at] ^= (uint8_t)(1u << (at % 8));
		bool found = check_finds(copy);
		bool error = read_all(copy, strrchr(path, '/') + 1);
		if (must_meet && (!error || !found))
			fail_msg("%s: a flip at %zu was %s", path, at, error ? "missed by check" : "not met");
		/* What a reader meets, a check finds. */
		assert_true(!error || found);
		met += error;
		copy->calls->free(copy);
	}
	printf("%s: %u of %u flips met\n", path, met, flips);
	env->calls->free(env);
	return met;
}

static void test_table(void **state)
{
	(void)state;
	assert_true(flip_bytes(FILE_TABLE, 61, false) > 100);
}

static void test_manifest(void **state)
{
	(void)state;
	flip_bytes(FILE_MANIFEST, 1, false);
}

static void test_current(void **state)
{
	(void)state;
	flip_bytes(FILE_CURRENT, 1, true);
}

static void test_missing_table(void **state)
{
	struct env *env = make_db(false);
	char path[FILENAME_PATH_MAX];
	struct wombat *db;
	(void)state;
	find_file(env, FILE_TABLE, path);
	assert_ok(env->calls->remove(env, path));
	assert_status(db_open_env(env, "/db", NULL, 0, &db), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), strrchr(path, '/') + 1));
	assert_true(check_finds(env));
	env->calls->free(env);
}

/* The log was closed in order, so all of it is known to have been durable: no record may be lost in silence. */
static void test_wal(void **state)
{
	struct env *env = make_db(true);
	char path[FILENAME_PATH_MAX];
	size_t size = 0, end = 0;
	(void)state;
	find_file(env, FILE_WAL, path);
	const uint8_t *bytes = env_mem_bytes(env, path, &size);
	for (size_t i = 0; i < size; i++)
		end = bytes[i] ? i : end;
	assert_true(end > 4096 + 1000);
	/* The closing record vouches for the others, nobody for it. */
	for (size_t at = 4096 + 8; at < end - 200; at += 97) {
		struct env *copy;
		struct wombat *db;
		size_t n;
		assert_ok(env_mem_clone(env, ENV_MEM_ALL, 0, &copy));
		env_mem_bytes(copy, path, &n)[at] ^= 1;
		enum wombat_status s = db_open_env(copy, "/db", NULL, 0, &db);
		if (s == WOMBAT_OK) { /* The flip hit padding, or a change that is in a table as well. */
			assert_ok(wombat_close(db));
			assert_false(read_all(copy, ""));
		} else {
			assert_int_equal(s, WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), "wal"));
			assert_true(check_finds(copy));
		}
		copy->calls->free(copy);
	}
	env->calls->free(env);
}

static void test_bad_config(void **state)
{
	struct env *env = make_db(false);
	struct wombat *db;
	(void)state;
	assert_ok(env_replace_file(env, "/db", "wombat.conf", WOMBAT_STR("# fine\nblock_size=8K\nblock_sizes=8K\n")));
	assert_status(db_open_env(env, "/db", NULL, 0, &db), WOMBAT_INVALID);
	assert_non_null(strstr(wombat_last_error(), "line 3"));
	assert_ok(env_replace_file(env, "/db", "wombat.conf", WOMBAT_STR("block_size=8K\n")));
	assert_ok(db_open_env(env, "/db", NULL, 0, &db));
	char text[64];
	assert_ok(wombat_get_option(db, "block_size", text, sizeof text));
	assert_string_equal(text, "8K");
	assert_ok(wombat_close(db));
	env->calls->free(env);
}

static void test_two_openers(void **state)
{
	struct env *env = make_db(false);
	struct wombat *db, *other;
	(void)state;
	assert_ok(db_open_env(env, "/db", NULL, 0, &db));
	assert_ok(wombat_set_mountpoint(db, "/mnt/somewhere"));
	assert_status(db_open_env(env, "/db", NULL, 0, &other), WOMBAT_BUSY);
	assert_non_null(strstr(wombat_last_error(), "/mnt/somewhere"));
	assert_ok(wombat_close(db));
	assert_ok(db_open_env(env, "/db", NULL, 0, &other));
	assert_ok(wombat_close(other));
	env->calls->free(env);
}

/* Room ends, comes back, and nothing that was acknowledged is lost. */
static void test_full_disk(void **state)
{
	struct env *env;
	struct wombat *db;
	struct wombat_options *options = wombat_options_new();
	static char value[1000];
	int acked = 0;
	(void)state;
	assert_ok(env_mem_new(&env));
	assert_ok(wombat_options_set(options, "mem_table_size", "64K"));
	assert_ok(wombat_options_set(options, "wal_file_size", "64K"));
	env_mem_set_capacity(env, 1500000);
	assert_ok(db_open_env(env, "/db", options, WOMBAT_CREATE, &db));
	enum wombat_status s = WOMBAT_OK;
	for (; acked < 10000 && s == WOMBAT_OK; acked += s == WOMBAT_OK) {
		char key[32];
		snprintf(key, sizeof key, "key%05d", acked);
		s = wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(value, sizeof value));
	}
	assert_true(s == WOMBAT_NO_SPACE || s == WOMBAT_READ_ONLY);
	assert_true(acked > 100);
	wombat_close(db);
	env_mem_set_capacity(env, 100000000);
	assert_ok(db_open_env(env, "/db", options, 0, &db));
	for (int i = 0; i < acked; i++) {
		char key[32];
		struct wombat_record r;
		snprintf(key, sizeof key, "key%05d", i);
		assert_ok(wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r));
		wombat_record_release(&r);
	}
	assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR("more"), WOMBAT_STR("room")));
	assert_ok(wombat_close(db));
	wombat_options_free(options);
	env->calls->free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_manifest),
		cmocka_unit_test(test_current),
		cmocka_unit_test(test_missing_table),
		cmocka_unit_test(test_wal),
		cmocka_unit_test(test_bad_config),
		cmocka_unit_test(test_two_openers),
		cmocka_unit_test(test_full_disk),
	};
	return cmocka_run_group_tests_name("db_corrupt", tests, NULL, NULL);
}
