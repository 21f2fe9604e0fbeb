/*
 * Repair: whatever is deleted, cut or changed in a database, afterwards it opens, is sound, and shows for each key nothing
 * but values that it once had; what was in undamaged files is there.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/db/extents.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"
#include "tests/support/seed.h"

enum { KEYS = 90, GENERATIONS = 3, VALUE_MAX = 6000 };

struct lines {
	unsigned losses, notes;
	char text[16000];
};

static void note(void *arg, bool is_loss, const char *sentence)
{
	struct lines *l = arg;
	size_t used = strlen(l->text);
	is_loss ? l->losses++ : l->notes++;
	snprintf(l->text + used, sizeof l->text - used, "%s%s\n", is_loss ? "lost: " : "note: ", sentence);
}

static void name_key(char out[16], unsigned i)
{
	snprintf(out, 16, "key%04u", i);
}

static size_t value_of(char out[VALUE_MAX + 1], unsigned i, unsigned generation)
{
	size_t size = i % 10 ? 500 : VALUE_MAX;
	for (size_t at = 0; at < size; at += 10)
		snprintf(out + at, 11, "%04u.%04u.", i, generation);
	return size;
}

static void put_all(struct db_world *w, unsigned generation)
{
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16], value[VALUE_MAX + 1];
		name_key(key, i);
		value_of(value, i, generation);
		db_world_put(w, key, value);
	}
}

/* The first generation on level 1, the second on level 0, the third in the log; large values in the value log. Closed. */
static void fill(struct db_world *w)
{
	const char *const settings[] = { "value_threshold", "4K", NULL };
	db_world_init(w, settings);
	put_all(w, 0);
	assert_ok(wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	put_all(w, 1);
	assert_ok(wombat_flush(w->db));
	put_all(w, 2);
	db_world_close(w);
}

static void replace(struct db_world *w, struct env *saved)
{
	w->env->calls->free(w->env);
	assert_ok(env_mem_clone(saved, ENV_MEM_ALL, 0, &w->env));
}

static struct lines repair(struct db_world *w)
{
	struct lines l = { .losses = 0 };
	enum wombat_status s = db_repair_env(w->env, DB_WORLD_DIR, note, &l);
	if (s != (l.losses ? WOMBAT_CORRUPTION : WOMBAT_OK))
		fail_msg("repair: %s: %s\n%s", wombat_status_name(s), wombat_last_error(), l.text);
	return l;
}

static void expect_sound(struct db_world *w, const struct lines *said)
{
	struct lines l = { .losses = 0 };
	if (db_check_env(w->env, DB_WORLD_DIR, note, &l) != WOMBAT_OK)
		fail_msg("not sound: %s\n%safter\n%s", wombat_last_error(), l.text, said->text);
}

/* Opens it. How many keys have their newest value; each has one that it once had, or none. */
static unsigned count_newest(struct db_world *w, unsigned *out_present)
{
	unsigned newest = 0;
	*out_present = 0;
	db_world_open(w);
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16], value[VALUE_MAX + 1];
		struct wombat_record r;
		unsigned generation = 0;
		name_key(key, i);
		enum wombat_status s = wombat_get(w->db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r);
		if (s == WOMBAT_NOT_FOUND)
			continue;
		assert_ok(s);
		for (; generation < GENERATIONS; generation++)
			if (r.value.size == value_of(value, i, generation) && memcmp(r.value.data, value, r.value.size) == 0)
				break;
		assert_true(generation < GENERATIONS);
		newest += generation == GENERATIONS - 1;
		++*out_present;
		wombat_record_release(&r);
	}
	db_world_close(w);
	return newest;
}

/* A file of that kind, any of them. False: there is none. */
static bool pick(struct db_world *w, enum file_kind kind, struct random_state *random, char path[FILENAME_PATH_MAX])
{
	uint64_t first;
	unsigned count = db_world_files(w, kind, &first);
	size_t size;
	if (count == 0)
		return false;
	for (uint64_t tries = random_next(random) % count, number = first; number < first + 100; number++) {
		assert_true(filename_path(path, DB_WORLD_DIR, kind, number));
		if (env_mem_bytes(w->env, path, &size) && tries-- == 0)
			return true;
	}
	return false;
}

enum damage { REMOVE, FLIP, CUT, DAMAGES };

static void damage(struct db_world *w, const char *path, enum damage how, struct random_state *random)
{
	size_t size;
	if (how == REMOVE) {
		assert_ok(w->env->calls->remove(w->env, path));
		return;
	}
	uint8_t *bytes = env_mem_bytes(w->env, path, &size);
	if (!bytes || size == 0)
		return;
	if (how == FLIP) {
		for (unsigned n = 1 + random_next(random) % 4; n > 0; n--)
			bytes[random_next(random) % size] ^= (uint8_t)(1 << random_next(random) % 8);
		return;
	}
	struct buf copy = { 0 };
	assert_ok(env_read_file(w->env, path, 1 << 26, &copy));
	db_world_write_file(w, path + strlen(DB_WORLD_DIR) + 1, copy.data, random_next(random) % size);
	buf_done(&copy);
}

static void test_random(void **state)
{
	static const enum file_kind kinds[] = { FILE_CURRENT, FILE_MANIFEST, FILE_TABLE, FILE_WAL, FILE_VALUES };
	(void)state;
	struct db_world w;
	struct env *saved;
	struct random_state random;
	random_seed(&random, test_seed("test_random"));
	fill(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	for (unsigned step = 0; step < test_steps(90); step++) {
		char path[FILENAME_PATH_MAX];
		unsigned present, again;
		enum file_kind kind = kinds[step % (sizeof kinds / sizeof kinds[0])];
		enum damage how = (enum damage)(step / 5 % DAMAGES);
		replace(&w, saved);
		if (!pick(&w, kind, &random, path))
			assert_true(filename_path(path, DB_WORLD_DIR, kind, 0));
		damage(&w, path, how, &random);
		struct lines l = repair(&w);
		expect_sound(&w, &l);
		struct lines second = repair(&w);
		if (second.losses)
			fail_msg("a second repair still finds:\n%s", second.text);
		unsigned newest = count_newest(&w, &present);
		/* All that the log and the value log have is there, whatever became of the rest. */
		if ((kind == FILE_TABLE || kind == FILE_CURRENT || kind == FILE_MANIFEST) && newest != KEYS)
			fail_msg("%s: %u of %u keys have their newest value:\n%s", path, newest, KEYS, l.text);
		/* What is in tables is there, but for values that are lost. */
		if (kind == FILE_WAL && present != KEYS)
			fail_msg("%s: %u of %u keys are there:\n%s", path, present, KEYS, l.text);
		if (kind != FILE_WAL && newest != KEYS && !l.losses)
			fail_msg("%s: something is lost and nothing was said", path);
		assert_true(count_newest(&w, &again) == newest && again == present);
	}
	replace(&w, saved);
	db_world_open(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

static void test_sound(void **state)
{
	(void)state;
	struct db_world w;
	unsigned present;
	fill(&w);
	struct lines l = repair(&w);
	assert_int_equal(l.losses, 0);
	assert_int_equal(count_newest(&w, &present), KEYS);
	db_world_open(&w);
	assert_status(db_repair_env(w.env, DB_WORLD_DIR, note, &l), WOMBAT_BUSY);
	assert_status(db_repair_env(w.env, "/elsewhere", note, &l), WOMBAT_NOT_FOUND);
	db_world_done(&w);
}

static void test_config(void **state)
{
	(void)state;
	static const char text[] = "num_compactors=2\nno such thing\n";
	struct db_world w;
	unsigned present;
	uint64_t size;
	fill(&w);
	db_world_write_file(&w, "wombat.conf", text, sizeof text - 1);
	struct lines l = repair(&w);
	assert_int_equal(l.losses, 1);
	expect_sound(&w, &l);
	assert_ok(w.env->calls->file_size(w.env, DB_WORLD_DIR "/lost/wombat.conf", &size));
	assert_int_equal(size, sizeof text - 1);
	assert_int_equal(count_newest(&w, &present), KEYS);
	db_world_open(&w);
	db_world_done(&w);
}

/* Two tables and the manifest are damaged at once, so that all of repair has something to do. */
static void damage_much(struct db_world *w)
{
	char path[FILENAME_PATH_MAX];
	uint64_t number;
	size_t size;
	assert_true(db_world_files(w, FILE_TABLE, &number) > 0);
	assert_true(filename_path(path, DB_WORLD_DIR, FILE_TABLE, number));
	env_mem_bytes(w->env, path, &size)[100] ^= 1;
	assert_true(db_world_files(w, FILE_WAL, &number) > 0);
	assert_true(filename_path(path, DB_WORLD_DIR, FILE_WAL, number));
	env_mem_bytes(w->env, path, &size)[6000] ^= 1;
	assert_true(db_world_files(w, FILE_MANIFEST, &number) > 0);
	assert_true(filename_path(path, DB_WORLD_DIR, FILE_MANIFEST, number));
	assert_ok(w->env->calls->remove(w->env, path));
}

/* A failure at any call leaves what can be repaired, and a crash at that moment too. */
static void test_io(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved;
	unsigned hits = 1, present;
	fill(&w);
	damage_much(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	for (unsigned n = 0; hits > 0; n += 1 + n / 6) {
		struct lines l = { .losses = 0 };
		replace(&w, saved);
		db_world_fail(&w, "", "", n, WOMBAT_IO);
		enum wombat_status s = db_repair_env(w.env, DB_WORLD_DIR, note, &l);
		hits = db_world_let_go(&w);
		if (s != WOMBAT_CORRUPTION)
			assert_status(s, WOMBAT_IO);
		if (n % 2) { /* The machine stops at that moment: what was not durable is gone. */
			struct env *crashed;
			assert_ok(env_mem_clone(w.env, ENV_MEM_SYNCED_ONLY, 0, &crashed));
			w.env->calls->free(w.env);
			w.env = crashed;
		}
		l = repair(&w);
		expect_sound(&w, &l);
		count_newest(&w, &present);
		assert_true(present > 0);
	}
	replace(&w, saved);
	repair(&w);
	db_world_open(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

static atomic_uint allocations_left;

static bool fail_nth(size_t size)
{
	(void)size;
	return atomic_load(&allocations_left) == 0 || atomic_fetch_sub(&allocations_left, 1) != 1;
}

/* Memory that runs out is not taken for damage: what repair then does or does not do, the next one ends. */
static void test_memory(void **state)
{
	(void)state;
	struct db_world w;
	struct env *saved;
	bool failed = true;
	fill(&w);
	damage_much(&w);
	assert_ok(env_mem_clone(w.env, ENV_MEM_ALL, 0, &saved));
	replace(&w, saved);
	struct lines usual = repair(&w);
	for (unsigned n = 1; failed; n += 1 + n / 8) {
		struct lines l = { .losses = 0 };
		replace(&w, saved);
		atomic_store(&allocations_left, n);
		mem_test_hook = fail_nth;
		enum wombat_status s = db_repair_env(w.env, DB_WORLD_DIR, note, &l);
		mem_test_hook = NULL;
		failed = atomic_exchange(&allocations_left, 0) == 0;
		if (s == WOMBAT_CORRUPTION)
			assert_int_equal(l.losses, usual.losses);
		else
			assert_status(s, WOMBAT_NO_MEMORY);
		l = repair(&w);
		expect_sound(&w, &l);
	}
	db_world_open(&w);
	db_world_done(&w);
	saved->calls->free(saved);
}

/* A value of which a piece is missing is gone, and told; others stay. */
static void test_extents(void **state)
{
	(void)state;
	static uint8_t bytes[200000];
	struct db_world w;
	struct wombat_edit *e;
	struct wombat_record r;
	db_world_init(&w, (const char *const[]){ "value_threshold", "4K", NULL });
	for (int i = 0; i < 2; i++) {
		struct wombat_slice key = WOMBAT_STR(i ? "whole" : "torn");
		assert_ok(wombat_put(w.db, WOMBAT_USER, key, WOMBAT_SLICE(bytes, sizeof bytes)));
		assert_ok(wombat_edit_open(w.db, WOMBAT_USER, key, 0, &e));
		assert_ok(wombat_edit_write(e, 100000, "changed", 7));
		assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
		wombat_edit_close(e);
	}
	db_world_put(&w, "other", "1");
	/* As if the table that held it were lost. */
	struct record head;
	struct placed_batch batch = { .count = 0 };
	assert_ok(db_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("torn"), &r, &head));
	wombat_record_release(&r);
	assert_true(head.in_extents);
	assert_ok(extents_place_delete(&batch, head.extents.id, 100007));
	assert_ok(db_write_placed(w.db, &batch, 0, NULL, NULL));
	db_place_done(w.db, &batch, 0);
	db_world_close(&w);
	struct lines l = repair(&w);
	if (l.losses != 1)
		fail_msg("%s", l.text);
	assert_non_null(strstr(l.text, "\"torn\""));
	assert_null(strstr(l.text, "\"whole\""));
	db_world_open(&w);
	db_world_expect(&w, WOMBAT_USER, "torn", NULL);
	db_world_expect(&w, WOMBAT_USER, "other", "1");
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("whole"), &r));
	assert_int_equal(r.value.size, sizeof bytes);
	assert_memory_equal(r.value.data + 100000, "changed", 7);
	wombat_record_release(&r);
	db_world_done(&w);
}

/* What is rescued of an ingested table is as new as before. */
static void test_ingested(void **state)
{
	(void)state;
	enum { COUNT = 3000 };
	struct db_world w;
	struct wombat_ingest *g;
	char key[16];
	uint64_t number = 0;
	size_t size;
	db_world_init(&w, (const char *const[]){ "mem_table_size", "1M", NULL });
	wombat_pause_compaction(w.db);
	for (int generation = 0; generation < 2; generation++) {
		for (unsigned i = 0; i < COUNT && generation == 0; i++) {
			snprintf(key, sizeof key, "key%06u", i);
			db_world_put(&w, key, "old");
		}
		assert_ok(wombat_ingest_new(w.db, &g));
		for (unsigned i = 0; i < COUNT && generation == 1; i++) {
			snprintf(key, sizeof key, "key%06u", i);
			assert_ok(wombat_ingest_put(g, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("new"), NULL));
		}
		assert_ok(wombat_ingest_commit(g, NULL));
		wombat_ingest_free(g);
		assert_ok(wombat_flush(w.db));
	}
	char path[FILENAME_PATH_MAX];
	for (uint64_t n = 1; n < 100; n++) /* the newest table is the ingested one */
		if (filename_path(path, DB_WORLD_DIR, FILE_TABLE, n) && env_mem_bytes(w.env, path, &size))
			number = n;
	db_world_close(&w);
	assert_true(filename_path(path, DB_WORLD_DIR, FILE_TABLE, number));
	env_mem_bytes(w.env, path, &size)[size / 2] ^= 0x55;
	struct lines l = repair(&w);
	assert_true(l.losses > 0);
	expect_sound(&w, &l);
	unsigned fresh = 0;
	db_world_open(&w);
	for (unsigned i = 0; i < COUNT; i++) {
		struct wombat_record r;
		snprintf(key, sizeof key, "key%06u", i);
		assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR(key), &r));
		fresh += slice_equal(r.value, WOMBAT_STR("new"));
		wombat_record_release(&r);
	}
	assert_true(fresh < COUNT && fresh > COUNT / 2);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_extents),
		cmocka_unit_test(test_ingested),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
