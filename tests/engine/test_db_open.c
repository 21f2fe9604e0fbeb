/*
 * Opening: what is made and what is not, who may, what damage is named, what an opening that fails leaves (nothing), and
 * that the content is the same with whatever options it is opened next.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/db/db_impl.h"
#include "engine/version/manifest_format.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"

static void name_key(char out[16], unsigned i)
{
	snprintf(out, 16, "key%04u", i);
}

enum { KEYS = 60, VALUE = 3000 };

/* Records in tables of two levels, and newer ones of the same keys in the log. */
static void fill(struct db_world *w)
{
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = round; i < KEYS; i += round + 1) {
			char key[16];
			name_key(key, i);
			db_world_put_filled(w, key, VALUE, round * 1000 + i);
		}
		if (round == 0)
			assert_ok(wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		if (round == 1)
			assert_ok(wombat_flush(w->db));
	}
}

static void expect_filled(struct db_world *w)
{
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16];
		unsigned round = i >= 2 && (i - 2) % 3 == 0 ? 2 : i % 2;
		name_key(key, i);
		db_world_expect_filled(w, key, VALUE, round * 1000 + i);
	}
}

static void expect_failure(struct db_world *w, unsigned flags, enum wombat_status status, const char *part)
{
	struct wombat *db = NULL;
	assert_status(db_open_env(w->env, DB_WORLD_DIR, w->options, flags, &db), status);
	assert_null(db);
	if (!strstr(wombat_last_error(), part))
		fail_msg("\"%s\" does not say \"%s\"", wombat_last_error(), part);
}

static void count_name(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
}

static unsigned names(struct env *env)
{
	unsigned count = 0;
	assert_ok(env->calls->dir_list(env, DB_WORLD_DIR, count_name, &count));
	return count;
}

/* ---- Presence ------------------------------------------------------------------------------ */

static void test_presence(void **state)
{
	(void)state;
	static const unsigned without_create[] = {
		0, WOMBAT_OPEN_READ_ONLY, WOMBAT_MUST_CREATE, WOMBAT_CREATE | WOMBAT_OPEN_READ_ONLY,
		WOMBAT_CREATE | WOMBAT_MUST_CREATE | WOMBAT_OPEN_READ_ONLY,
	};
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_close(&w);
	w.env->calls->free(w.env);
	assert_ok(env_mem_new(&w.env));
	for (size_t i = 0; i < sizeof without_create / sizeof without_create[0]; i++) {
		expect_failure(&w, without_create[i], WOMBAT_NOT_FOUND, "no database in /db");
		assert_int_equal(names(w.env), 0); /* not even a lock */
	}
	assert_ok(db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_CREATE | WOMBAT_MUST_CREATE, &w.db));
	db_world_put(&w, "key", "value");
	db_world_close(&w);
	expect_failure(&w, WOMBAT_CREATE | WOMBAT_MUST_CREATE, WOMBAT_EXISTS, "/db");
	assert_ok(db_open_env(w.env, DB_WORLD_DIR, w.options, 0, &w.db));
	db_world_expect(&w, WOMBAT_USER, "key", "value");
	db_world_reopen(&w);
	db_world_expect(&w, WOMBAT_USER, "key", "value");
	db_world_done(&w);
}

static void test_long_path(void **state)
{
	(void)state;
	char path[FILENAME_PATH_MAX + 10];
	struct env *env;
	struct wombat *db = NULL;
	assert_ok(env_mem_new(&env));
	memset(path, 'd', sizeof path - 1);
	path[sizeof path - 1] = 0;
	path[0] = '/';
	assert_status(db_open_env(env, path, NULL, WOMBAT_CREATE, &db), WOMBAT_INVALID);
	path[FILENAME_PATH_MAX - 5] = 0; /* no room for any name in it */
	assert_status(db_open_env(env, path, NULL, WOMBAT_CREATE, &db), WOMBAT_INVALID);
	assert_null(db);
	env->calls->free(env);
}

/* ---- The lock ------------------------------------------------------------------------------ */

static void test_lock(void **state)
{
	(void)state;
	char who[256], where[64], pid[32];
	struct db_world w;
	db_world_init(&w, NULL);
	snprintf(pid, sizeof pid, "pid %ld (", (long)getpid());
	expect_failure(&w, WOMBAT_CREATE, WOMBAT_BUSY, pid);
	expect_failure(&w, WOMBAT_OPEN_READ_ONLY, WOMBAT_BUSY, "/db is in use by pid");
	assert_ok(db_lock_holder(w.env, DB_WORLD_DIR, who, sizeof who, where, sizeof where));
	assert_memory_equal(who, pid, strlen(pid));
	assert_string_equal(where, "");
	assert_null(strstr(who, "mounted"));
	assert_ok(wombat_set_mountpoint(w.db, "/mnt/some where"));
	assert_ok(db_lock_holder(w.env, DB_WORLD_DIR, who, sizeof who, where, sizeof where));
	assert_string_equal(where, "/mnt/some where");
	expect_failure(&w, 0, WOMBAT_BUSY, "mounted on /mnt/some where");
	assert_ok(db_lock_holder(w.env, DB_WORLD_DIR, NULL, 0, where, 5));
	assert_string_equal(where, "/mnt");
	assert_ok(wombat_set_mountpoint(w.db, NULL));
	assert_ok(db_lock_holder(w.env, DB_WORLD_DIR, who, sizeof who, where, sizeof where));
	assert_string_equal(where, "");
	db_world_put(&w, "key", "value"); /* it was not disturbed */
	db_world_close(&w);
	assert_status(db_lock_holder(w.env, DB_WORLD_DIR, who, sizeof who, NULL, 0), WOMBAT_NOT_FOUND);
	db_world_open(&w);
	db_world_expect(&w, WOMBAT_USER, "key", "value");
	db_world_done(&w);
}

/* ---- Damage -------------------------------------------------------------------------------- */

/* The file system of a filled, closed database. */
static struct env *filled_files(struct db_world *w)
{
	struct env *saved;
	db_world_init(w, NULL);
	fill(w);
	db_world_close(w);
	assert_ok(env_mem_clone(w->env, ENV_MEM_ALL, 0, &saved));
	return saved;
}

static void restore(struct db_world *w, struct env *saved)
{
	w->env->calls->free(w->env);
	assert_ok(env_mem_clone(saved, ENV_MEM_ALL, 0, &w->env));
}

static const char *first_name(struct db_world *w, enum file_kind kind)
{
	static char name[32];
	uint64_t number;
	assert_true(db_world_files(w, kind, &number) > 0);
	filename_make(name, kind, number);
	return name;
}

static void remove_file(struct db_world *w, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, DB_WORLD_DIR "/%s", name);
	assert_ok(w->env->calls->remove(w->env, path));
}

static void cut_file(struct db_world *w, const char *name, size_t keep)
{
	char path[64];
	struct buf bytes = { 0 };
	snprintf(path, sizeof path, DB_WORLD_DIR "/%s", name);
	assert_ok(env_read_file(w->env, path, 1 << 24, &bytes));
	assert_true(bytes.size > keep);
	db_world_write_file(w, name, bytes.data, keep);
	buf_done(&bytes);
}

static void test_damaged_current(void **state)
{
	(void)state;
	static const char *const contents[] = { "", "\n", "MANIFEST-000001", "MANIFEST-000001 00000000\n", "000001.sst\n" };
	struct db_world w;
	struct env *saved = filled_files(&w);
	for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
		db_world_write_file(&w, "CURRENT", contents[i], strlen(contents[i]));
		expect_failure(&w, WOMBAT_CREATE, WOMBAT_CORRUPTION, "/db/CURRENT");
		expect_failure(&w, WOMBAT_OPEN_READ_ONLY, WOMBAT_CORRUPTION, "/db/CURRENT");
	}
	/* Without it nothing may be made over what is there. */
	restore(&w, saved);
	remove_file(&w, "CURRENT");
	expect_failure(&w, WOMBAT_CREATE, WOMBAT_CORRUPTION, "/db/CURRENT is missing");
	expect_failure(&w, 0, WOMBAT_NOT_FOUND, "no database");
	restore(&w, saved);
	db_world_open(&w);
	expect_filled(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

static size_t last_record(const uint8_t *manifest, size_t size)
{
	size_t at = MANIFEST_HEADER_SIZE, last = 0;
	while (at < size) {
		last = at;
		at += MANIFEST_RECORD_HEADER_SIZE + get_u32(manifest + at + 4);
	}
	return last;
}

static void test_damaged_manifest(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved = filled_files(&w);
	char name[32], path[64];
	size_t size;
	snprintf(name, sizeof name, "%s", first_name(&w, FILE_MANIFEST));
	snprintf(path, sizeof path, DB_WORLD_DIR "/%s", name);
	remove_file(&w, name);
	expect_failure(&w, 0, WOMBAT_CORRUPTION, name);
	restore(&w, saved);
	assert_non_null(env_mem_bytes(w.env, path, &size));
	size_t last = last_record(env_mem_bytes(w.env, path, &size), size);
	assert_true(last > MANIFEST_HEADER_SIZE);
	for (size_t at = 0; at < size; at += at < 64 ? 1 : 7) {
		env_mem_bytes(w.env, path, &size)[at] ^= 0x10;
		if (at < last) {
			expect_failure(&w, at % 2 ? WOMBAT_OPEN_READ_ONLY : WOMBAT_CREATE, WOMBAT_CORRUPTION, name);
		} else {
			/* Like one that a crash cut off: then the log still has what it was about. */
			assert_ok(db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_OPEN_READ_ONLY, &w.db));
			expect_filled(&w);
			db_world_close(&w);
		}
		env_mem_bytes(w.env, path, &size)[at] ^= 0x10;
	}
	size_t first = MANIFEST_RECORD_HEADER_SIZE + get_u32(env_mem_bytes(w.env, path, &size) + MANIFEST_HEADER_SIZE + 4);
	for (size_t keep = 0; keep < MANIFEST_HEADER_SIZE + first; keep += 5) {
		cut_file(&w, name, keep);
		expect_failure(&w, WOMBAT_CREATE, WOMBAT_CORRUPTION, name);
		restore(&w, saved);
	}
	db_world_open(&w);
	expect_filled(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

static void test_damaged_others(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved = filled_files(&w);
	char name[32];
	db_world_write_file(&w, "wombat.conf", "num_compactors=0\n", 17);
	expect_failure(&w, 0, WOMBAT_OUT_OF_RANGE, "wombat.conf line 1: option num_compactors");
	db_world_write_file(&w, "wombat.conf", "\0", 1);
	expect_failure(&w, 0, WOMBAT_INVALID, "wombat.conf");
	restore(&w, saved);
	snprintf(name, sizeof name, "%s", first_name(&w, FILE_TABLE));
	cut_file(&w, name, 100);
	expect_failure(&w, 0, WOMBAT_CORRUPTION, name);
	restore(&w, saved);
	remove_file(&w, name);
	expect_failure(&w, WOMBAT_CREATE, WOMBAT_CORRUPTION, name);
	/* Nothing of what failed holds the lock, or has changed what is there. */
	restore(&w, saved);
	db_world_open(&w);
	expect_filled(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

/* ---- Read-only ----------------------------------------------------------------------------- */

struct listing {
	struct env *env;
	struct buf text; /* names with the hash of what is in them */
};

static void list_file(void *arg, const char *name)
{
	struct listing *l = arg;
	char path[64], line[128];
	struct buf bytes = { 0 };
	snprintf(path, sizeof path, DB_WORLD_DIR "/%s", name);
	assert_ok(env_read_file(l->env, path, 1 << 24, &bytes));
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < bytes.size; i++)
		hash = (hash ^ bytes.data[i]) * 1099511628211u;
	int n = snprintf(line, sizeof line, "%s %zu %llx\n", name, bytes.size, (unsigned long long)hash);
	assert_ok(buf_append(&l->text, line, (size_t)n));
	buf_done(&bytes);
}

static void test_read_only(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved, *crashed;
	db_world_init(&w, NULL);
	fill(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &crashed)); /* its log was not closed */
	db_world_close(&w);
	saved = w.env;
	w.env = crashed;
	struct listing before = { .env = crashed }, after = { .env = crashed };
	assert_ok(crashed->calls->dir_list(crashed, DB_WORLD_DIR, list_file, &before));
	for (int round = 0; round < 2; round++) {
		struct wombat_batch *none = wombat_batch_new();
		assert_ok(db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_OPEN_READ_ONLY | (round ? WOMBAT_CREATE : 0), &w.db));
		expect_filled(&w);
		assert_status(wombat_put(w.db, WOMBAT_USER, WOMBAT_STR("k"), WOMBAT_STR("v")), WOMBAT_READ_ONLY);
		assert_status(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("key0001")), WOMBAT_READ_ONLY);
		assert_status(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR("")), WOMBAT_READ_ONLY);
		assert_status(wombat_write(w.db, none, 0, NULL), WOMBAT_READ_ONLY);
		assert_status(wombat_sync(w.db), WOMBAT_READ_ONLY);
		assert_status(wombat_flush(w.db), WOMBAT_READ_ONLY);
		assert_status(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")), WOMBAT_READ_ONLY);
		assert_non_null(strstr(wombat_last_error(), "opened read-only"));
		wombat_pause_compaction(w.db);
		wombat_resume_compaction(w.db);
		assert_ok(wombat_wait_idle(w.db));
		assert_ok(wombat_background_status(w.db));
		assert_ok(db_world_set(&w, "block_cache_size", "1M"));
		assert_ok(db_world_set(&w, "num_compactors", "4"));
		assert_true(db_world_stat(&w, "read_only") == 1);
		expect_filled(&w);
		wombat_batch_free(none);
		db_world_close(&w);
	}
	assert_ok(crashed->calls->dir_list(crashed, DB_WORLD_DIR, list_file, &after));
	assert_int_equal(before.text.size, after.text.size);
	assert_memory_equal(before.text.data, after.text.data, before.text.size);
	buf_done(&before.text);
	buf_done(&after.text);
	db_world_open(&w);
	expect_filled(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

/* ---- Other options ------------------------------------------------------------------------- */

static void test_other_options(void **state)
{
	(void)state;
	static const struct { const char *name, *value; } changes[] = {
		{ "mem_table_size", "64K" }, { "wal_file_size", "64K" }, { "wal_file_size", "4M" }, { "max_levels", "3" },
		{ "max_levels", "2" }, { "num_level_zero_tables", "1" }, { "max_levels", "12" }, { "use_mmap", "true" },
		{ "direct_io", "true" }, { "use_mmap", "false" }, { "cache_shards", "1" }, { "cache_shards", "100" },
		{ "value_threshold", "1K" }, { "block_size", "512" }, { "compression", "zlib" }, { "bloom_false_positive", "0" },
		{ "value_threshold", "0" }, { "max_key_size", "16" }, { "max_value_size", "100" }, { "max_open_files", "16" },
		{ "verify_checksums", "false" }, { "block_cache_size", "0" }, { "mem_table_size", "1M" },
	};
	struct db_world w;
	const char *const deep[] = { "mem_table_size", "64K", "num_level_zero_tables", "1", "level_size_multiplier", "2", NULL };
	db_world_init(&w, deep);
	for (unsigned i = 0; i < 400; i++) { /* down to level 2 or 3 */
		char key[16];
		name_key(key, i % 100 + 1000);
		db_world_put_filled(&w, key, 4000, i);
		if (i % 100 == 50)
			assert_ok(wombat_wait_idle(w.db));
	}
	assert_ok(wombat_wait_idle(w.db));
	assert_true(db_world_stat(&w, "level.2.files") + db_world_stat(&w, "level.3.files") > 0);
	fill(&w);
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		print_message("option %s=%s\n", changes[i].name, changes[i].value);
		db_world_close(&w);
		assert_ok(wombat_options_set(w.options, changes[i].name, changes[i].value));
		db_world_open(&w);
		expect_filled(&w);
		db_world_expect_filled(&w, "key1099", 4000, 399);
		db_world_put(&w, "small", changes[i].name);
		if (i % 4 == 3)
			assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		db_world_expect(&w, WOMBAT_USER, "small", changes[i].name);
	}
	db_world_done(&w);
}

/* The log holds more than a memtable takes: recovery flushes on the way, and nothing is replayed twice. */
static void test_long_log(void **state)
{
	(void)state;
	const char *const large[] = { "mem_table_size", "64M", NULL };
	struct db_world w;
	db_world_init(&w, large);
	fill(&w);
	for (unsigned i = 0; i < 100; i++)
		db_world_put_filled(&w, "long", 5000, i);
	double sequence = db_world_stat(&w, "sequence");
	db_world_close(&w);
	assert_ok(wombat_options_set(w.options, "mem_table_size", "64K"));
	for (int round = 0; round < 3; round++) {
		db_world_open(&w);
		assert_true(db_world_stat(&w, "sequence") == sequence);
		if (round == 0)
			assert_in_range((unsigned long)db_world_stat(&w, "flushes_total"), 5, 20);
		db_world_expect_filled(&w, "long", 5000, 99);
		expect_filled(&w);
		db_world_close(&w);
	}
	db_world_open(&w);
	db_world_done(&w);
}

/* ---- Failures on the way ------------------------------------------------------------------- */

/* Whichever call of the file system fails, the opening fails or is whole, and the next one has everything. */
static void test_each_call_fails(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved = filled_files(&w);
	for (unsigned skip = 0;; skip++) {
		restore(&w, saved);
		w.db = NULL;
		db_world_fail(&w, "", "", skip, WOMBAT_IO);
		enum wombat_status s = db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_CREATE, &w.db);
		bool failed = s != WOMBAT_OK;
		if (failed) {
			assert_int_equal(s, WOMBAT_IO);
			assert_non_null(strstr(wombat_last_error(), "injected"));
			assert_null(w.db);
		}
		/* One that comes through may still fail behind it, in the background or at its end. */
		(void)!wombat_close(w.db);
		unsigned hits = db_world_let_go(&w);
		db_world_open(&w);
		expect_filled(&w);
		db_world_close(&w);
		if (hits == 0)
			break;
		assert_true(skip < 500);
	}
	db_world_open(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

static _Thread_local unsigned allocations_left; /* this thread's; 0: none fails */

static _Bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved = filled_files(&w);
	enum wombat_status s = WOMBAT_NO_MEMORY;
	/* Dense at first; further on the same places come again and again. */
	for (unsigned n = 1; s != WOMBAT_OK; n += 1 + n / 50) {
		w.db = NULL;
		allocations_left = n;
		s = db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_CREATE, &w.db);
		bool failed = allocations_left == 0;
		allocations_left = 0;
		assert_true(failed || s == WOMBAT_OK);
		if (s != WOMBAT_OK) {
			assert_int_equal(s, WOMBAT_NO_MEMORY);
			assert_null(w.db);
			restore(&w, saved);
		}
	}
	expect_filled(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_presence),
		cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_damaged_current),
		cmocka_unit_test(test_damaged_manifest),
		cmocka_unit_test(test_damaged_others),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_other_options),
		cmocka_unit_test(test_long_log),
		cmocka_unit_test(test_each_call_fails),
		cmocka_unit_test(test_each_allocation_fails),
	};
	mem_test_hook = fail_nth; /* before there are other threads */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
