/*
 * Backups: what is restored is what was there, a second backup copies only what is new, one that is deleted takes along
 * what only it needed, damage is found and named, no failure leaves a backup that is none.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "engine/db/backup.h"
#include "engine/db/backup_record.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_compare.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define DIR "/backup"

/* Keys that end in another digit each time, so that tables of before stay as they are unless all is compacted. */
static void fill(struct db_world *w, unsigned round)
{
	for (unsigned i = 0; i < 60; i++) {
		char key[16];
		snprintf(key, sizeof key, "r%u-%04u", round, i);
		db_world_put_filled(w, key, i % 20 == 19 ? 3000 : 100, i + round);
	}
	assert_ok(wombat_flush(w->db));
}

static void world_init(struct db_world *w)
{
	db_world_init(w, (const char *const[]){ "value_threshold", "2000", "num_level_zero_tables", "100",
						 "num_level_zero_tables_stall", "200", NULL });
	wombat_pause_compaction(w->db); /* tables change when the test says so */
}

static struct wombat_backup_info create(struct db_world *w)
{
	struct wombat_backup_info info;
	assert_ok(wombat_backup_create(w->db, DIR, &info));
	return info;
}

static void no_report(void *arg, const char *sentence)
{
	(void)arg;
	fail_msg("%s", sentence);
}

struct reports {
	unsigned count;
	char last[512];
};

static void take_report(void *arg, const char *sentence)
{
	struct reports *r = arg;
	r->count++;
	snprintf(r->last, sizeof r->last, "%s", sentence);
}

struct listing {
	struct wombat_backup_info infos[20];
	unsigned count;
};

static void take_info(void *arg, const struct wombat_backup_info *info)
{
	struct listing *l = arg;
	assert_true(l->count < 20);
	l->infos[l->count++] = *info;
}

static struct listing list(struct env *env)
{
	struct listing l = { .count = 0 };
	assert_ok(backup_list(env, DIR, take_info, &l));
	return l;
}

static void count_name(void *arg, const char *name)
{
	assert_null(strstr(name, ".tmp"));
	++*(unsigned *)arg;
}

static unsigned stored_files(struct env *env)
{
	unsigned n = 0;
	assert_ok(env->calls->dir_list(env, DIR "/files", count_name, &n));
	return n;
}

static void restore_and_compare(struct db_world *w, struct wombat *expected, uint32_t id)
{
	static unsigned number;
	char dir[32];
	snprintf(dir, sizeof dir, "/restored%u", number++);
	assert_ok(backup_restore(w->env, DIR, id, dir));
	db_compare_copy(expected, w->env, dir);
}

/* ---- Making and restoring -------------------------------------------------------------------- */

static void test_each_is_what_was_there(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat *then[4];
	world_init(&w);
	for (unsigned i = 0; i < 4; i++) {
		char dir[16];
		fill(&w, i);
		db_world_put(&w, "changes", i % 2 ? "odd" : "even");
		if (i == 3)
			assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR("r0"), WOMBAT_STR("r1")));
		struct wombat_backup_info info = create(&w);
		assert_int_equal(info.id, i + 1);
		assert_true(info.sequence == (uint64_t)db_world_stat(&w, "sequence"));
		assert_true(info.files > 0 && info.copied_files > 0 && info.copied_files <= info.files);
		/* Only what is new: a table or two and a file of values. */
		assert_true(info.copied_files <= 4 && (i < 2 || info.copied_bytes < info.bytes * 2 / 3));
		snprintf(dir, sizeof dir, "/then%u", i);
		assert_ok(wombat_checkpoint(w.db, dir));
		assert_ok(db_open_env(w.env, dir, NULL, 0, &then[i]));
	}
	struct listing l = list(w.env);
	assert_int_equal(l.count, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(l.infos[i].id, i + 1);
		restore_and_compare(&w, then[i], i + 1);
	}
	restore_and_compare(&w, w.db, 0);
	assert_ok(backup_verify(w.env, DIR, 0, no_report, NULL));
	assert_ok(backup_verify(w.env, DIR, 2, no_report, NULL));
	/* Nothing new: nothing is copied. */
	assert_int_equal(create(&w).copied_files, 0);
	assert_int_equal(list(w.env).infos[4].copied_bytes, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_ok(wombat_close(then[i]));
	db_world_done(&w);
}

static void test_configuration_comes_along(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat *db;
	char text[16];
	world_init(&w);
	db_world_write_file(&w, "wombat.conf", "block_size=3K\n", 14);
	create(&w); /* of an empty database */
	assert_ok(backup_restore(w.env, DIR, 0, "/restored"));
	assert_ok(db_open_env(w.env, "/restored", NULL, 0, &db));
	assert_ok(wombat_get_option(db, "block_size", text, sizeof text));
	assert_string_equal(text, "3K");
	assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR("k"), WOMBAT_STR("v")));
	assert_ok(wombat_close(db));
	db_world_done(&w);
}

/* A restored database and the one that it came from back up into one directory: neither takes the other's files. */
static void test_two_ways_from_one(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat *other;
	world_init(&w);
	fill(&w, 0);
	create(&w);
	assert_ok(backup_restore(w.env, DIR, 1, "/other"));
	assert_ok(db_open_env(w.env, "/other", w.options, 0, &other));
	fill(&w, 1);
	for (unsigned i = 0; i < 60; i++) { /* the same numbers and sizes, other bytes */
		char key[16];
		snprintf(key, sizeof key, "r1-%04u", i);
		assert_ok(wombat_put(other, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("other")));
	}
	create(&w);
	assert_ok(wombat_backup_create(other, DIR, NULL));
	restore_and_compare(&w, w.db, 2);
	restore_and_compare(&w, other, 3);
	assert_ok(wombat_close(other));
	db_world_done(&w);
}

static void test_delete(void **state)
{
	(void)state;
	struct db_world w;
	world_init(&w);
	fill(&w, 0);
	create(&w);
	fill(&w, 1);
	create(&w);
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR(""))); /* other tables from here on */
	fill(&w, 2);
	create(&w);
	unsigned all = stored_files(w.env);
	struct listing l = list(w.env);
	assert_ok(backup_delete(w.env, DIR, 2));
	unsigned without = stored_files(w.env);
	assert_true(without < all);
	assert_int_equal(list(w.env).count, 2);
	assert_ok(backup_verify(w.env, DIR, 0, no_report, NULL));
	restore_and_compare(&w, w.db, 3);
	assert_status(backup_delete(w.env, DIR, 2), WOMBAT_NOT_FOUND);
	assert_status(backup_delete(w.env, DIR, 0), WOMBAT_NOT_FOUND);
	assert_status(backup_restore(w.env, DIR, 2, "/nowhere"), WOMBAT_NOT_FOUND);
	assert_ok(backup_delete(w.env, DIR, 1));
	assert_int_equal(stored_files(w.env), l.infos[2].files);
	/* Numbers are not given out again while a later one is there. */
	assert_int_equal(create(&w).id, 4);
	assert_ok(backup_delete(w.env, DIR, 3));
	assert_ok(backup_delete(w.env, DIR, 4));
	assert_int_equal(stored_files(w.env), 0);
	assert_status(backup_restore(w.env, DIR, 0, "/nowhere"), WOMBAT_NOT_FOUND);
	db_world_done(&w);
}

static void test_nothing_there(void **state)
{
	(void)state;
	struct db_world w;
	struct listing l = { .count = 0 };
	world_init(&w);
	assert_status(backup_list(w.env, "/none", take_info, &l), WOMBAT_NOT_FOUND);
	assert_status(backup_verify(w.env, "/none", 0, no_report, NULL), WOMBAT_NOT_FOUND);
	assert_status(backup_restore(w.env, "/none", 0, "/x"), WOMBAT_NOT_FOUND);
	create(&w);
	assert_status(backup_verify(w.env, DIR, 7, no_report, NULL), WOMBAT_NOT_FOUND);
	assert_status(backup_restore(w.env, DIR, 1, DB_WORLD_DIR), WOMBAT_EXISTS);
	struct env_lock *lock;
	assert_ok(w.env->calls->lock(w.env, DIR "/LOCK", "somebody", &lock));
	assert_status(backup_list(w.env, DIR, take_info, &l), WOMBAT_BUSY);
	assert_status(wombat_backup_create(w.db, DIR, NULL), WOMBAT_BUSY);
	w.env->calls->unlock(lock);
	/* Readers go beside each other, and who changes something waits for them. */
	assert_ok(w.env->calls->lock_shared(w.env, DIR "/LOCK", "a reader", &lock));
	assert_ok(backup_verify(w.env, DIR, 0, no_report, NULL));
	assert_int_equal(list(w.env).count, 1);
	assert_ok(backup_restore(w.env, DIR, 1, "/restored"));
	assert_status(wombat_backup_create(w.db, DIR, NULL), WOMBAT_BUSY);
	assert_status(backup_delete(w.env, DIR, 1), WOMBAT_BUSY);
	w.env->calls->unlock(lock);
	assert_int_equal(list(w.env).count, 1);
	db_world_done(&w);
}

/* ---- Damage ---------------------------------------------------------------------------------- */

static char some_stored[256];

static void note_table(void *arg, const char *name)
{
	(void)arg;
	if (strstr(name, ".sst-"))
		snprintf(some_stored, sizeof some_stored, DIR "/files/%s", name);
}

static void test_damaged_files(void **state)
{
	(void)state;
	struct db_world w;
	struct reports r = { 0 };
	size_t size;
	world_init(&w);
	fill(&w, 0);
	create(&w);
	create(&w);
	assert_ok(w.env->calls->dir_list(w.env, DIR "/files", note_table, NULL));
	uint8_t *bytes = env_mem_bytes(w.env, some_stored, &size);
	bytes[size / 3] ^= 0x20;
	assert_status(backup_verify(w.env, DIR, 0, take_report, &r), WOMBAT_CORRUPTION);
	assert_int_equal(r.count, 1); /* of two backups that have it */
	assert_non_null(strstr(r.last, some_stored));
	assert_status(backup_verify(w.env, DIR, 2, take_report, &r), WOMBAT_CORRUPTION);
	assert_status(backup_restore(w.env, DIR, 2, "/restored"), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), some_stored));
	uint64_t none;
	assert_status(w.env->calls->file_size(w.env, "/restored", &none), WOMBAT_NOT_FOUND);
	assert_status(w.env->calls->file_size(w.env, "/restored.tmp", &none), WOMBAT_NOT_FOUND);
	bytes[size / 3] ^= 0x20;
	assert_ok(backup_restore(w.env, DIR, 2, "/restored"));
	assert_ok(w.env->calls->remove(w.env, some_stored));
	r.count = 0;
	assert_status(backup_verify(w.env, DIR, 1, take_report, &r), WOMBAT_CORRUPTION);
	assert_true(r.count == 1 && strstr(r.last, "missing"));
	assert_status(backup_restore(w.env, DIR, 1, "/again"), WOMBAT_CORRUPTION);
	/* The next backup puts it back. */
	assert_int_equal(create(&w).copied_files, 1);
	assert_ok(backup_verify(w.env, DIR, 0, no_report, NULL));
	db_world_done(&w);
}

/* A record in which any byte is another one, or that ends early, is refused with its name; so is one of a later version. */
static void test_damaged_record(void **state)
{
	(void)state;
	static const char path[] = DIR "/BACKUP-000001";
	struct db_world w;
	struct listing l = { .count = 0 };
	size_t size;
	world_init(&w);
	fill(&w, 0);
	create(&w);
	uint8_t *bytes = env_mem_bytes(w.env, path, &size);
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 8;
		assert_status(backup_list(w.env, DIR, take_info, &l), WOMBAT_CORRUPTION);
		assert_non_null(strstr(wombat_last_error(), path));
		bytes[i] ^= 8;
	}
	for (size_t cut = 0; cut < size; cut += 3) {
		struct backup_record record = { .count = 0 };
		enum wombat_status s;
		assert_non_null(backup_record_decode(slice_make(bytes, cut), &record, &s));
		assert_int_equal(s, WOMBAT_CORRUPTION);
		backup_record_done(&record);
	}
	put_u32(bytes + 8, 2);
	put_u32(bytes + size - 4, crc32c(0, bytes, size - 4));
	assert_status(backup_list(w.env, DIR, take_info, &l), WOMBAT_UNSUPPORTED);
	db_world_done(&w);
}

/* Names that lead out of the directory are none. */
static void test_names(void **state)
{
	(void)state;
	static const char *const names[] = { "../../etc/passwd", "a/b", ".", "..", ".hidden", "" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		for (unsigned stored = 0; stored < 2; stored++) {
			struct backup_record r = { .info = { .id = 1 } }, again = { .count = 0 };
			struct backup_file f = { .name = "000001.sst", .stored = "000001.sst-1-0" };
			struct buf bytes = { 0 };
			enum wombat_status s;
			assert_ok(backup_record_add(&r, &f));
			assert_ok(backup_record_encode(&r, &bytes));
			assert_null(backup_record_decode(buf_slice(&bytes), &again, &s));
			assert_int_equal(again.count, 1);
			backup_record_done(&again);
			snprintf(stored ? r.files[0].stored : r.files[0].name, 32, "%s", names[i]);
			assert_ok(backup_record_encode(&r, &bytes));
			assert_non_null(backup_record_decode(buf_slice(&bytes), &again, &s));
			assert_int_equal(s, WOMBAT_CORRUPTION);
			backup_record_done(&again);
			backup_record_done(&r);
			buf_done(&bytes);
		}
}

/* ---- Failures -------------------------------------------------------------------------------- */

/* Each call on the backup's files fails in turn: the backups that were there stay, and the next one works. */
static void test_each_io_fails(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
		struct db_world w;
		world_init(&w);
		fill(&w, 0);
		create(&w);
		fill(&w, 1);
		db_world_fail(&w, "", DIR, n, WOMBAT_IO);
		s = wombat_backup_create(w.db, DIR, NULL);
		unsigned struck = db_world_let_go(&w);
		assert_int_equal(s, struck ? WOMBAT_IO : WOMBAT_OK);
		unsigned count = list(w.env).count;
		assert_true(count == 1 || count == 2);
		assert_ok(backup_verify(w.env, DIR, 0, no_report, NULL));
		assert_int_equal(create(&w).id, count + 1);
		restore_and_compare(&w, w.db, 0);
		stored_files(w.env); /* nothing temporary is left */
		fill(&w, 2);
		db_world_done(&w);
	}
	assert_true(n > 12);
	n = 0;
	for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
		struct db_world w;
		world_init(&w);
		fill(&w, 0);
		create(&w);
		db_world_fail(&w, "", "/restored", n, WOMBAT_IO);
		s = backup_restore(w.env, DIR, 0, "/restored");
		unsigned struck = db_world_let_go(&w);
		assert_int_equal(s, struck ? WOMBAT_IO : WOMBAT_OK);
		uint64_t size;
		if (s != WOMBAT_OK && w.env->calls->file_size(w.env, "/restored", &size) == WOMBAT_NOT_FOUND)
			assert_ok(backup_restore(w.env, DIR, 0, "/restored"));
		db_compare_copy(w.db, w.env, "/restored");
		db_world_done(&w);
	}
	assert_true(n > 8);
}

static void ignore_info(void *arg, const struct wombat_backup_info *info)
{
	(void)info;
	(void)arg;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		world_init(&w);
		fill(&w, 0);
		create(&w);
		scarce_begin(n);
		s = wombat_backup_create(w.db, DIR, NULL);
		if (s == WOMBAT_OK)
			s = backup_list(w.env, DIR, ignore_info, NULL);
		if (s == WOMBAT_OK)
			s = backup_verify(w.env, DIR, 0, no_report, NULL);
		if (s == WOMBAT_OK)
			s = backup_restore(w.env, DIR, 0, "/restored");
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		assert_ok(backup_verify(w.env, DIR, 0, no_report, NULL));
		db_world_done(&w);
	}
	assert_true(n > 20);
}

/* A backup that was made is there after a power cut; one that was being made is there whole or not at all. */
struct cuts {
	struct env *env, *clones[40];
	unsigned count;
};

static void cut(void *arg, const char *path)
{
	struct cuts *c = arg;
	if (strncmp(path, DIR, sizeof DIR - 1) == 0 && c->count < 40 &&
	    env_mem_clone(c->env, c->count % 2 ? ENV_MEM_RANDOM : ENV_MEM_SYNCED_ONLY, c->count, &c->clones[c->count]) == WOMBAT_OK)
		c->count++;
}

static void test_power_cuts(void **state)
{
	(void)state;
	struct db_world w;
	struct cuts c = { .count = 0 };
	world_init(&w);
	fill(&w, 0);
	create(&w);
	fill(&w, 1);
	c.env = w.env;
	env_mem_on_sync(w.env, cut, &c);
	create(&w);
	env_mem_on_sync(w.env, NULL, NULL);
	assert_true(c.count > 3);
	for (unsigned i = 0; i < c.count; i++) {
		struct listing l = list(c.clones[i]);
		assert_true(l.count == 1 || l.count == 2);
		assert_ok(backup_verify(c.clones[i], DIR, 0, no_report, NULL));
		assert_ok(backup_restore(c.clones[i], DIR, 0, "/restored"));
		c.clones[i]->calls->free(c.clones[i]);
	}
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_is_what_was_there),
		cmocka_unit_test(test_configuration_comes_along),
		cmocka_unit_test(test_two_ways_from_one),
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_nothing_there),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_damaged_record),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_each_io_fails),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_power_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
