/*
 * Checkpoints: the copy is what the database was, while writers go on; it is a database of its own; where files cannot
 * be linked they are copied; whatever fails, nothing half is left and the database works on; a power cut.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_compare.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define COPY "/copy"

/* Something of everything: several tables, overwritten keys, range deletes, large values, several keyspaces. */
static void fill(struct db_world *w, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char key[16];
		snprintf(key, sizeof key, "k%05u", i % 300);
		db_world_put_filled(w, key, i % 10 ? 50 + i % 100 : 3000, i);
		if (i % 7 == 0)
			assert_ok(wombat_put(w->db, 2, WOMBAT_STR(key), WOMBAT_STR("another keyspace")));
		if (i % 90 == 0)
			assert_ok(wombat_delete_range(w->db, WOMBAT_USER, WOMBAT_STR("k00010"), WOMBAT_STR("k00020")));
		if (i % 100 == 99)
			assert_ok(wombat_flush(w->db));
	}
}

static void world_init(struct db_world *w)
{
	db_world_init(w, (const char *const[]){ "value_threshold", "2000", NULL });
}

static void test_copy(void **state)
{
	(void)state;
	struct db_world w;
	world_init(&w);
	fill(&w, 0, 650);
	db_world_write_file(&w, "wombat.conf", "block_size=2K\n", 14);
	assert_ok(wombat_checkpoint(w.db, COPY));
	db_compare_copy(w.db, w.env, COPY);
	assert_status(wombat_checkpoint(w.db, COPY), WOMBAT_EXISTS);
	assert_status(wombat_checkpoint(w.db, ""), WOMBAT_INVALID);
	/* Each goes its own way; neither shows in the other. */
	struct wombat *copy;
	char text[16];
	assert_ok(db_open_env(w.env, COPY, w.options, 0, &copy));
	assert_ok(wombat_get_option(copy, "block_size", text, sizeof text));
	assert_string_equal(text, "2K");
	struct wombat_snapshot *then = wombat_snapshot_new(copy);
	fill(&w, 650, 1000);
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	for (unsigned i = 0; i < 300; i++) {
		char key[16];
		snprintf(key, sizeof key, "c%05u", i);
		assert_ok(wombat_put(copy, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("of the copy")));
	}
	assert_ok(wombat_compact(copy, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	db_world_expect(&w, WOMBAT_USER, "c00000", NULL);
	struct wombat_read_options at = { .snapshot = then };
	struct wombat_record r;
	assert_ok(wombat_get(copy, &at, WOMBAT_USER, WOMBAT_STR("k00200"), &r));
	assert_int_equal(r.value.size, 3000); /* of number 500 */
	wombat_record_release(&r);
	wombat_snapshot_release(copy, then);
	assert_ok(wombat_close(copy));
	/* A copy of an empty one, with a slash behind its name. */
	assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_delete_range(w.db, 2, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_checkpoint(w.db, "/empty/"));
	db_compare_copy(w.db, w.env, "/empty");
	db_world_done(&w);
}

/* ---- While somebody writes ------------------------------------------------------------------- */

struct writer {
	struct wombat *db;
	atomic_uint written; /* keys 0 to before it were acknowledged */
	atomic_bool stop;
	enum wombat_status status;
};

static void *write_on(void *arg)
{
	struct writer *x = arg;
	char large[2500];
	memset(large, 'l', sizeof large);
	for (unsigned i = 0; !atomic_load(&x->stop) && x->status == WOMBAT_OK; i++) {
		char key[16];
		snprintf(key, sizeof key, "n%07u", i);
		x->status = wombat_put(x->db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(large, i % 20 ? 40 : sizeof large));
		atomic_store(&x->written, i + 1);
	}
	return NULL;
}

/* Keys 0 to before the result, and none behind. */
static unsigned keys_of(struct env *env, const char *dir)
{
	struct wombat *db;
	struct wombat_iter *it;
	unsigned n = 0;
	assert_ok(db_open_env(env, dir, NULL, 0, &db));
	assert_ok(wombat_iter_new(db, NULL, WOMBAT_USER, &it));
	for (bool there = wombat_iter_first(it); there; there = wombat_iter_next(it), n++) {
		char key[16];
		snprintf(key, sizeof key, "n%07u", n);
		assert_memory_equal(wombat_iter_record(it)->key.data, key, 8);
		assert_int_equal(wombat_iter_record(it)->value.size, n % 20 ? 40 : 2500);
	}
	assert_ok(wombat_iter_status(it));
	wombat_iter_free(it);
	assert_ok(wombat_close(db));
	return n;
}

static void test_beside_a_writer(void **state)
{
	(void)state;
	struct db_world w;
	world_init(&w);
	struct writer x = { .db = w.db };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, write_on, &x), 0);
	for (unsigned i = 0; i < 6; i++) {
		char dir[16];
		snprintf(dir, sizeof dir, "/copy%u", i);
		unsigned target = atomic_load(&x.written) + 300;
		while (atomic_load(&x.written) < target && !atomic_load(&x.stop))
			sched_yield();
		unsigned before = atomic_load(&x.written);
		assert_ok(wombat_checkpoint(w.db, dir));
		unsigned after = atomic_load(&x.written) + 1; /* one more may be under way */
		unsigned n = keys_of(w.env, dir);
		assert_true(n >= before && n <= after);
	}
	atomic_store(&x.stop, true);
	pthread_join(thread, NULL);
	assert_ok(x.status);
	db_world_done(&w);
}

/* ---- Ways to go wrong ------------------------------------------------------------------------ */

static void test_another_device(void **state)
{
	(void)state;
	struct db_world w;
	world_init(&w);
	fill(&w, 0, 350);
	db_world_fail(&w, "link", "", 0, WOMBAT_UNSUPPORTED);
	assert_ok(wombat_checkpoint(w.db, COPY));
	assert_true(db_world_let_go(&w) > 0);
	db_compare_copy(w.db, w.env, COPY);
	/* Nothing is shared: what is written to the database's files does not show. */
	uint64_t number;
	char path[64];
	size_t size;
	assert_true(db_world_files(&w, FILE_TABLE, &number) > 0);
	snprintf(path, sizeof path, DB_WORLD_DIR "/%06llu.sst", (unsigned long long)number);
	uint8_t *mine = env_mem_bytes(w.env, path, &size);
	snprintf(path, sizeof path, COPY "/%06llu.sst", (unsigned long long)number);
	assert_ptr_not_equal(mine, env_mem_bytes(w.env, path, &size));
	db_world_done(&w);
}

static struct env_calls without_links;

static enum wombat_status no_link(struct env *env, const char *from, const char *to)
{
	(void)env;
	(void)from;
	(void)to;
	return WOMBAT_UNSUPPORTED;
}

static unsigned files_below(struct env *env, const char *dir)
{
	uint64_t size;
	return env->calls->file_size(env, dir, &size) == WOMBAT_OK;
}

/* Each call on the copy's files fails in turn: there is no copy, or a whole one, and the database goes on. */
static void test_each_io_fails(void **state)
{
	(void)state;
	for (unsigned linked = 0; linked < 2; linked++) {
		unsigned n = 0;
		for (enum wombat_status s = WOMBAT_IO; s != WOMBAT_OK; n++) {
			struct db_world w;
			world_init(&w);
			const struct env_calls *calls = w.env->calls;
			without_links = *calls;
			without_links.link = no_link;
			db_world_close(&w);
			if (!linked)
				w.env->calls = &without_links;
			db_world_open(&w);
			fill(&w, 0, 110);
			db_world_fail(&w, "", COPY, n, WOMBAT_IO);
			s = wombat_checkpoint(w.db, COPY);
			unsigned struck = db_world_let_go(&w);
			assert_int_equal(s, struck ? WOMBAT_IO : WOMBAT_OK);
			if (s != WOMBAT_OK) { /* what may be left does not stand in the way */
				bool whole = files_below(w.env, COPY);
				if (whole)
					db_compare_copy(w.db, w.env, COPY);
				else
					assert_ok(wombat_checkpoint(w.db, COPY));
			}
			db_compare_copy(w.db, w.env, COPY);
			assert_false(files_below(w.env, COPY ".tmp"));
			fill(&w, 110, 120);
			db_world_close(&w);
			w.env->calls = calls;
			db_world_done(&w);
		}
		assert_true(n > 8);
	}
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		world_init(&w);
		fill(&w, 0, 110);
		scarce_begin(n);
		s = wombat_checkpoint(w.db, COPY);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		if (s != WOMBAT_OK && wombat_background_status(w.db) == WOMBAT_OK && !files_below(w.env, COPY))
			assert_ok(wombat_checkpoint(w.db, COPY));
		if (files_below(w.env, COPY))
			db_compare_copy(w.db, w.env, COPY);
		db_world_done(&w);
	}
	assert_true(n > 5);
}

/* What the power leaves of a checkpoint that was made is all of it. */
static void test_power_cut(void **state)
{
	(void)state;
	struct db_world w;
	struct env *after;
	world_init(&w);
	fill(&w, 0, 350);
	assert_ok(wombat_checkpoint(w.db, COPY));
	assert_ok(env_mem_clone(w.env, ENV_MEM_SYNCED_ONLY, 1, &after));
	db_compare_copy(w.db, after, COPY);
	after->calls->free(after);
	db_world_done(&w);
}

static void test_read_only(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat *reader;
	world_init(&w);
	fill(&w, 0, 10);
	db_world_close(&w);
	assert_ok(db_open_env(w.env, DB_WORLD_DIR, w.options, WOMBAT_OPEN_READ_ONLY, &reader));
	assert_status(wombat_checkpoint(reader, COPY), WOMBAT_READ_ONLY);
	assert_false(files_below(w.env, COPY) || files_below(w.env, COPY ".tmp"));
	assert_ok(wombat_close(reader));
	db_world_open(&w);
	db_world_done(&w);
}

/* On this machine: tables are the same files. */
static void test_hard_links(void **state)
{
	(void)state;
	char dir[] = "/tmp/wombat-checkpoint-XXXXXX", one[128], two[128], command[128];
	struct wombat *db;
	assert_non_null(mkdtemp(dir));
	snprintf(one, sizeof one, "%s/one", dir);
	snprintf(two, sizeof two, "%s/two", dir);
	assert_ok(wombat_open(one, NULL, WOMBAT_CREATE, &db));
	for (unsigned i = 0; i < 100; i++) {
		char key[8];
		snprintf(key, sizeof key, "%u", i);
		assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR("value")));
	}
	assert_ok(wombat_checkpoint(db, two));
	struct version *v = version_set_current(db->versions);
	unsigned shared = 0;
	for (unsigned level = 0; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			char path[256];
			struct stat st;
			snprintf(path, sizeof path, "%s/%06llu.sst", two, (unsigned long long)v->levels[level].files[i]->number);
			assert_int_equal(stat(path, &st), 0);
			shared += st.st_nlink == 2;
		}
	version_unref(v);
	assert_true(shared > 0);
	db_compare_copy(db, env_posix(), two);
	assert_ok(wombat_close(db));
	snprintf(command, sizeof command, "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_beside_a_writer),
		cmocka_unit_test(test_another_device),
		cmocka_unit_test(test_each_io_fails),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_power_cut),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_hard_links),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
