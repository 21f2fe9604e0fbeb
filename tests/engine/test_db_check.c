/*
 * `wombat check` on each kind of damage: it is found, told apart from what is merely worth knowing, and named by its file;
 * one finding does not hide the next, nothing is changed, and a whole database is said to be whole.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/db/db_impl.h"
#include "engine/version/manifest_format.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"

enum { KEYS = 60, VALUE = 2000, LARGE = 6000 };

struct findings {
	unsigned damage, notes;
	char text[8000];
};

static void note(void *arg, bool is_damage, const char *sentence)
{
	struct findings *f = arg;
	size_t used = strlen(f->text);
	is_damage ? f->damage++ : f->notes++;
	snprintf(f->text + used, sizeof f->text - used, "%s%s\n", is_damage ? "damage: " : "note: ", sentence);
}

static struct findings check(struct db_world *w, enum wombat_status expected)
{
	struct findings f = { .damage = 0 };
	assert_status(db_check_env(w->env, DB_WORLD_DIR, note, &f), expected);
	if ((f.damage > 0) != (expected == WOMBAT_CORRUPTION))
		fail_msg("%u findings with %s:\n%s", f.damage, wombat_status_name(expected), f.text);
	return f;
}

/* There is damage, and a sentence that says it of `part`. */
static void expect_damage(struct db_world *w, const char *part)
{
	struct findings f = check(w, WOMBAT_CORRUPTION);
	const char *at = strstr(f.text, part);
	while (at && at > f.text && at[-1] != '\n')
		at--;
	if (!at || strncmp(at, "damage: ", 8) != 0)
		fail_msg("no damage is said of %s:\n%s", part, f.text);
}

static void name_key(char out[16], unsigned i)
{
	snprintf(out, 16, "key%04u", i);
}

/* Tables of levels 0 and 1, values in the value log, changes in the log. Closed. */
static void fill(struct db_world *w)
{
	const char *const settings[] = { "value_threshold", "4K", NULL };
	db_world_init(w, settings);
	for (unsigned i = 0; i < 3 * KEYS; i++) {
		char key[16];
		name_key(key, i);
		db_world_put_filled(w, key, i % 10 ? VALUE : LARGE, i);
		if (i == KEYS)
			assert_ok(wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		if (i == 2 * KEYS)
			assert_ok(wombat_flush(w->db));
	}
	db_world_close(w);
}

static void db_world_replace(struct db_world *w, struct env *saved)
{
	w->env->calls->free(w->env);
	assert_ok(env_mem_clone(saved, ENV_MEM_ALL, 0, &w->env));
}

static void path_of(struct db_world *w, enum file_kind kind, char path[FILENAME_PATH_MAX])
{
	uint64_t number;
	assert_true(db_world_files(w, kind, &number) > 0);
	assert_true(filename_path(path, DB_WORLD_DIR, kind, number));
}

static void flip(struct db_world *w, const char *path, size_t at)
{
	size_t size;
	uint8_t *bytes = env_mem_bytes(w->env, path, &size);
	assert_non_null(bytes);
	assert_true(at < size);
	bytes[at] ^= 0x20;
}

static size_t file_bytes(struct db_world *w, const char *path)
{
	size_t size;
	assert_non_null(env_mem_bytes(w->env, path, &size));
	return size;
}

static void cut(struct db_world *w, const char *path, size_t keep)
{
	struct buf bytes = { 0 };
	assert_ok(env_read_file(w->env, path, 1 << 24, &bytes));
	assert_true(keep < bytes.size);
	db_world_write_file(w, path + strlen(DB_WORLD_DIR) + 1, bytes.data, keep);
	buf_done(&bytes);
}

static void end(struct db_world *w, struct env *saved)
{
	db_world_replace(w, saved);
	check(w, WOMBAT_OK);
	db_world_open(w);
	db_world_expect_filled(w, "key0001", VALUE, 1);
	db_world_done(w);
	saved->calls->free(saved);
}

/* ---- Whole --------------------------------------------------------------------------------- */

static void test_whole(void **state)
{
	(void)state;
	struct db_world w;
	fill(&w);
	struct findings f = check(&w, WOMBAT_OK);
	/* The counts: what is in tables, in the value log, and in the log behind what was flushed. */
	char expected[200];
	snprintf(expected, sizeof expected, "with %u entries, %u values in the value log and %u changes", 2 * KEYS + 1,
		 2 * KEYS / 10 + 1, KEYS - 1);
	if (!strstr(f.text, expected))
		fail_msg("no \"%s\" in:\n%s", expected, f.text);
	check(&w, WOMBAT_OK); /* it has changed nothing, and let go of the lock */
	db_world_open(&w);
	struct findings none = { .damage = 0 };
	assert_status(db_check_env(w.env, DB_WORLD_DIR, note, &none), WOMBAT_BUSY);
	assert_non_null(strstr(wombat_last_error(), "pid "));
	assert_true(none.damage == 0 && none.notes == 0);
	db_world_close(&w);
	assert_status(db_check_env(w.env, "/elsewhere", note, &none), WOMBAT_NOT_FOUND);
	db_world_open(&w);
	db_world_done(&w);
}

/* Of a database that is open: its memtable is flushed, and what is damaged on the disk is found though the caches have it whole. */
static void test_open(void **state)
{
	(void)state;
	struct db_world w;
	struct findings f = { .damage = 0 };
	char path[FILENAME_PATH_MAX], expected[100];
	fill(&w);
	db_world_open(&w);
	for (unsigned i = 0; i < 3 * KEYS; i++) {
		char key[16];
		name_key(key, i);
		db_world_expect_filled(&w, key, i % 10 ? VALUE : LARGE, i);
	}
	assert_ok(wombat_verify(w.db, note, &f));
	snprintf(expected, sizeof expected, "with %u entries and %u values in the value log read", 3 * KEYS, 3 * KEYS / 10);
	assert_non_null(strstr(f.text, expected));
	assert_true(f.damage == 0 && f.notes == 1);

	path_of(&w, FILE_TABLE, path);
	flip(&w, path, 100);
	f = (struct findings){ .damage = 0 };
	assert_status(wombat_verify(w.db, note, &f), WOMBAT_CORRUPTION);
	if (f.damage == 0 || !strstr(f.text, path))
		fail_msg("%u findings, none of %s:\n%s", f.damage, path, f.text);
	flip(&w, path, 100);
	path_of(&w, FILE_VALUES, path);
	flip(&w, path, file_bytes(&w, path) / 2);
	f = (struct findings){ .damage = 0 };
	assert_status(wombat_verify(w.db, note, &f), WOMBAT_CORRUPTION);
	assert_true(f.damage == 1 && strstr(f.text, "points to a value that is not whole"));
	flip(&w, path, file_bytes(&w, path) / 2);
	/* It was not the database that failed. */
	assert_ok(wombat_background_status(w.db));
	db_world_fail_own(&w, "reader_open", ".sst", 0, WOMBAT_IO);
	f = (struct findings){ .damage = 0 };
	assert_true(wombat_verify(w.db, note, &f) != WOMBAT_OK);
	assert_true(db_world_let_go(&w) > 0);
	assert_ok(wombat_verify(w.db, note, &f));
	db_world_done(&w);
}

/* A manifest that cannot be read now is not a damaged one. */
static void test_manifest_unreadable(void **state)
{
	(void)state;
	struct db_world w;
	fill(&w);
	db_world_fail_own(&w, "reader_open", "MANIFEST", 0, WOMBAT_IO);
	check(&w, WOMBAT_IO);
	assert_true(db_world_let_go(&w) > 0);
	check(&w, WOMBAT_OK);
	db_world_open(&w);
	db_world_done(&w);
}

static void test_empty(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_close(&w);
	struct findings f = check(&w, WOMBAT_OK);
	assert_non_null(strstr(f.text, "0 tables with 0 entries"));
	db_world_open(&w);
	db_world_done(&w);
}

/* ---- Damage -------------------------------------------------------------------------------- */

static void test_tables(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved;
	char path[FILENAME_PATH_MAX];
	fill(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	path_of(&w, FILE_TABLE, path);
	size_t size = file_bytes(&w, path);
	for (size_t at = 0; at < size; at += size / 61) { /* data blocks, index, filter, properties, footer */
		flip(&w, path, at);
		expect_damage(&w, path);
		flip(&w, path, at);
	}
	flip(&w, path, size - 1);
	expect_damage(&w, path);
	flip(&w, path, size - 1);
	check(&w, WOMBAT_OK);
	cut(&w, path, size - 1);
	expect_damage(&w, path);
	db_world_replace(&w, saved);
	assert_ok(w.env->calls->remove(w.env, path));
	expect_damage(&w, path);
	end(&w, saved);
}

/* Two damaged tables are two findings at least, and the value log is still looked at. */
static void test_it_looks_on(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved;
	char first[FILENAME_PATH_MAX], second[FILENAME_PATH_MAX] = "";
	uint64_t number;
	fill(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	path_of(&w, FILE_TABLE, first);
	assert_true(db_world_files(&w, FILE_TABLE, &number) >= 2);
	for (size_t size = 0; size == 0;) {
		assert_true(filename_path(second, DB_WORLD_DIR, FILE_TABLE, ++number));
		if (!env_mem_bytes(w.env, second, &size))
			size = 0;
	}
	flip(&w, first, 100);
	flip(&w, second, 100);
	db_world_write_file(&w, "wombat.conf", "block_size=1\n", 13);
	struct findings f = check(&w, WOMBAT_CORRUPTION);
	assert_true(f.damage >= 3 && strstr(f.text, first) && strstr(f.text, second) && strstr(f.text, "wombat.conf line 1"));
	assert_non_null(strstr(wombat_last_error(), "findings"));
	end(&w, saved);
}

static void test_values(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved;
	char path[FILENAME_PATH_MAX];
	fill(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	path_of(&w, FILE_VALUES, path);
	for (size_t at = 4096; at < 5 * LARGE; at += LARGE) {
		flip(&w, path, at);
		expect_damage(&w, path);
		flip(&w, path, at);
	}
	cut(&w, path, file_bytes(&w, path) / 2);
	expect_damage(&w, "points to a value that is not whole");
	db_world_replace(&w, saved);
	assert_ok(w.env->calls->remove(w.env, path));
	expect_damage(&w, "points to a value that is not whole");
	end(&w, saved);
}

static void test_manifest_and_current(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved;
	char path[FILENAME_PATH_MAX];
	fill(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	path_of(&w, FILE_MANIFEST, path);
	size_t size;
	const uint8_t *bytes = env_mem_bytes(w.env, path, &size);
	size_t first_end = MANIFEST_HEADER_SIZE + MANIFEST_RECORD_HEADER_SIZE + get_u32(bytes + MANIFEST_HEADER_SIZE + 4);
	for (size_t at = 0; at < first_end; at++) {
		flip(&w, path, at);
		expect_damage(&w, path);
		flip(&w, path, at);
	}
	for (size_t keep = 0; keep < first_end; keep += 11) {
		cut(&w, path, keep);
		expect_damage(&w, path);
		db_world_replace(&w, saved);
	}
	assert_ok(w.env->calls->remove(w.env, path));
	expect_damage(&w, path);
	db_world_replace(&w, saved);
	for (size_t at = 0; at < file_bytes(&w, DB_WORLD_DIR "/CURRENT"); at++) {
		flip(&w, DB_WORLD_DIR "/CURRENT", at);
		expect_damage(&w, DB_WORLD_DIR "/CURRENT");
		flip(&w, DB_WORLD_DIR "/CURRENT", at);
	}
	db_world_write_file(&w, "CURRENT", "", 0);
	expect_damage(&w, DB_WORLD_DIR "/CURRENT");
	end(&w, saved);
}

/* Everything in the log was durable when it was closed: a byte that is changed anywhere is damage, and an end that a crash
 * tore off is not. */
static void test_log(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved, *crashed;
	char path[FILENAME_PATH_MAX];
	db_world_init(&w, NULL);
	for (unsigned i = 0; i < 20; i++) {
		char key[16];
		name_key(key, i);
		db_world_put_filled(&w, key, VALUE, i);
	}
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &crashed)); /* nothing of it is known to be durable */
	db_world_close(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	path_of(&w, FILE_WAL, path);
	for (size_t at = 4096; at < 4096 + 20 * VALUE; at += VALUE - 3) {
		flip(&w, path, at);
		expect_damage(&w, ".wal");
		flip(&w, path, at);
	}
	flip(&w, path, 3); /* its header */
	expect_damage(&w, path);
	db_world_replace(&w, saved);
	struct findings f = check(&w, WOMBAT_OK);
	assert_non_null(strstr(f.text, "and 20 changes in the write-ahead log"));

	struct db_world torn = { .env = crashed, .options = w.options };
	path_of(&torn, FILE_WAL, path);
	flip(&torn, path, 4096 + 19 * VALUE + VALUE / 2 + 19 * 60);
	f = check(&torn, WOMBAT_OK);
	if (!strstr(f.text, "ends in an incomplete record") || !strstr(f.text, "19 changes"))
		fail_msg("the torn end is not told:\n%s", f.text);
	crashed->calls->free(crashed);
	end(&w, saved);
}

/* ---- Failures ------------------------------------------------------------------------------ */

/* What cannot be read is not called damage without a word, whole it is never called. */
static void test_each_read_fails(void **state)
{
	(void)state;
	struct db_world w;
	unsigned hits = 1;
	fill(&w);
	for (unsigned skip = 0; hits; skip += 1 + skip / 20) {
		struct findings f = { .damage = 0 };
		db_world_fail(&w, "", "", skip, WOMBAT_IO);
		enum wombat_status s = db_check_env(w.env, DB_WORLD_DIR, note, &f);
		hits = db_world_let_go(&w);
		if (hits && s == WOMBAT_OK)
			fail_msg("call %u fails, and it is said to be whole:\n%s", skip, f.text);
		if (s == WOMBAT_CORRUPTION)
			assert_non_null(strstr(f.text, "injected"));
		else if (s != WOMBAT_OK)
			assert_int_equal(s, WOMBAT_IO);
	}
	check(&w, WOMBAT_OK);
	db_world_open(&w);
	db_world_done(&w);
}

static unsigned allocations_left; /* 0: none fails */

static _Bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left == 0 || --allocations_left > 0;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	struct db_world w;
	enum wombat_status s = WOMBAT_NO_MEMORY;
	bool failed = true;
	fill(&w);
	mem_test_hook = fail_nth;
	for (unsigned n = 1; failed; n += 1 + n / 30) {
		struct findings f = { .damage = 0 };
		allocations_left = n;
		s = db_check_env(w.env, DB_WORLD_DIR, note, &f);
		failed = allocations_left == 0;
		allocations_left = 0;
		/* Those that an implementation can do without may fail unnoticed. */
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY || (s == WOMBAT_CORRUPTION && strstr(f.text, "out of memory")));
	}
	mem_test_hook = NULL;
	assert_int_equal(s, WOMBAT_OK);
	db_world_open(&w);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_manifest_unreadable),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_it_looks_on),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_manifest_and_current),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_each_read_fails),
		cmocka_unit_test(test_each_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
