/* Appending to the value log, its files' lives, syncs, failures. */
#include "engine/base/alloc.h"
#include "engine/env/filename.h"
#include "tests/support/values.h"
#include "tests/support/check.h"

enum { FILE_BYTES = 10000 };

static struct value_pointer append(struct values *v, uint64_t n, size_t size)
{
	uint8_t bytes[4000];
	struct value_pointer p;
	values_fill(bytes, size, n);
	assert_ok(vlog_append(v->log, WOMBAT_STR("\1key"), slice_make(bytes, size), &p));
	assert_int_equal(p.size, size);
	return p;
}

static void assert_value(struct values *v, const struct value_pointer *p, uint64_t n)
{
	uint8_t bytes[4000];
	struct lru_pin pin = { 0 };
	struct wombat_slice found;
	values_fill(bytes, (size_t)p->size, n);
	assert_ok(vlog_read(v->log, p, 0, &pin, &found));
	assert_int_equal(found.size, p->size);
	assert_memory_equal(found.data, bytes, found.size);
	lru_pin_release(&pin);
}

static bool file_is_there(struct values *v, uint64_t number)
{
	char path[FILENAME_PATH_MAX];
	uint64_t size;
	assert_true(filename_path(path, VALUES_DIR, FILE_VALUES, number));
	return v->env->calls->file_size(v->env, path, &size) == WOMBAT_OK;
}

static bool only(void *arg, uint64_t file)
{
	return file == *(uint64_t *)arg;
}

static void test_files_are_cut(void **state)
{
	(void)state;
	struct values v;
	struct value_pointer p[40];
	struct vlog_counts counts;
	values_open(&v, FILE_BYTES, 0);
	for (uint64_t i = 0; i < 40; i++) {
		p[i] = append(&v, i, 1000 + i);
		vlog_written(v.log, p[i].file, i + 1);
		assert_true(i == 0 || p[i].file >= p[i - 1].file);
	}
	vlog_counts(v.log, &counts);
	assert_true(counts.files == p[39].file && counts.files >= 4 && counts.files <= 5);
	assert_int_equal(counts.appends, 40);
	assert_true(counts.bytes >= 40 * 1000 && vlog_appended_bytes(v.log) == counts.appended_bytes);
	for (uint64_t i = 0; i < 40; i++)
		assert_value(&v, &p[i], i);
	values_reopen(&v); /* all of them are there, and a new one is begun behind them */
	for (uint64_t i = 0; i < 40; i++)
		assert_value(&v, &p[i], i);
	struct value_pointer next = append(&v, 99, 100);
	assert_true(next.file > p[39].file);
	assert_value(&v, &next, 99);
	vlog_set_file_bytes(v.log, 1);
	assert_true(append(&v, 100, 100).file > next.file);
	values_done(&v);
}

/* A file goes when all of this holds, not before: it is full, each append's change is made and flushed, nothing shows
 * it, nobody holds the log. */
static void test_life(void **state)
{
	(void)state;
	struct values v;
	uint64_t none = 0;
	values_open(&v, 2000, 0);
	struct value_pointer a = append(&v, 1, 1500), b = append(&v, 2, 1500), c = append(&v, 3, 1500);
	assert_true(a.file == b.file && c.file == a.file + 1);
	vlog_written(v.log, a.file, 10);
	vlog_remove_dead(v.log, only, &none, 1000, vlog_unholds(v.log)); /* b is not written */
	assert_true(file_is_there(&v, a.file));
	vlog_written(v.log, b.file, 12);
	vlog_remove_dead(v.log, only, &none, 11, vlog_unholds(v.log)); /* the change of b is in a memtable */
	assert_true(file_is_there(&v, a.file));
	vlog_remove_dead(v.log, only, &a.file, 1000, vlog_unholds(v.log)); /* a table points there */
	assert_true(file_is_there(&v, a.file));
	vlog_hold(v.log);
	vlog_remove_dead(v.log, only, &none, 1000, vlog_unholds(v.log));
	uint64_t before = vlog_unholds(v.log);
	vlog_unhold(v.log);
	assert_true(file_is_there(&v, a.file));
	vlog_remove_dead(v.log, only, &none, 1000, before); /* whoever held it may have made it live since */
	assert_true(file_is_there(&v, a.file));
	assert_value(&v, &a, 1); /* its reader is open when it goes */
	vlog_remove_dead(v.log, only, &none, 12, vlog_unholds(v.log));
	assert_false(file_is_there(&v, a.file));
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	assert_status(vlog_read(v.log, &a, 0, &pin, &value), WOMBAT_CORRUPTION);
	/* The active one stays, whatever is said of it. */
	vlog_written(v.log, c.file, 13);
	vlog_remove_dead(v.log, only, &none, 1000, vlog_unholds(v.log));
	assert_true(file_is_there(&v, c.file));
	/* After a restart all is settled as of recovery. */
	values_reopen(&v);
	vlog_settle(v.log, 20);
	vlog_remove_dead(v.log, only, &none, 19, vlog_unholds(v.log));
	assert_true(file_is_there(&v, c.file));
	vlog_remove_dead(v.log, only, &none, 20, vlog_unholds(v.log));
	assert_false(file_is_there(&v, c.file));
	struct vlog_counts counts;
	vlog_counts(v.log, &counts);
	assert_true(counts.files == 0 && counts.removed_files == 1 && counts.removed_bytes > 1500);
	values_done(&v);
}

static void collect(void *arg, uint64_t file, uint64_t bytes)
{
	assert_true(bytes > 1500);
	*(uint64_t *)arg = *(uint64_t *)arg * 10 + file;
}

static void test_settled(void **state)
{
	(void)state;
	struct values v;
	uint64_t seen = 0;
	values_open(&v, 1000, 0);
	for (uint64_t i = 1; i <= 3; i++)
		append(&v, i, 1600);
	vlog_written(v.log, 1, 5);
	vlog_each_settled(v.log, 4, collect, &seen);
	assert_int_equal(seen, 0);
	vlog_each_settled(v.log, 5, collect, &seen);
	assert_int_equal(seen, 1);
	vlog_written(v.log, 2, 6);
	vlog_written(v.log, 3, 7);
	seen = 0;
	vlog_each_settled(v.log, 100, collect, &seen); /* the third is the active one */
	assert_true(seen == 12 || seen == 21);
	values_done(&v);
}

/* What was synced is there after a power cut, over all files; what was not need not be. */
static void test_sync(void **state)
{
	(void)state;
	struct values v, after;
	struct value_pointer p[30];
	struct vlog_counts counts;
	values_open(&v, FILE_BYTES, 0);
	for (uint64_t i = 0; i < 30; i++) {
		p[i] = append(&v, i, 1000);
		vlog_written(v.log, p[i].file, i + 1);
	}
	assert_ok(vlog_sync(v.log));
	assert_ok(vlog_sync(v.log)); /* nothing new: no sync */
	vlog_counts(v.log, &counts);
	assert_int_equal(counts.syncs, counts.files);
	struct value_pointer lost = append(&v, 77, 1000);
	after = v;
	assert_ok(env_mem_clone(v.env, ENV_MEM_SYNCED_ONLY, 1, &after.env));
	values_reopen(&v); /* frees the one log, so that `after` makes its own */
	struct vlog *own = v.log;
	struct vlog_options options = { .env = after.env, .dir = VALUES_DIR, .file_bytes = FILE_BYTES, .verify = &after.verify };
	assert_ok(vlog_open(&options, &after.log));
	for (uint64_t i = 0; i < 30; i++)
		assert_value(&after, &p[i], i);
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	assert_status(vlog_read(after.log, &lost, 0, &pin, &value), WOMBAT_CORRUPTION);
	vlog_free(after.log);
	after.env->calls->free(after.env);
	v.log = own;
	values_done(&v);
}

static long calls_left;

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	(void)path;
	return calls_left-- > 0 ? WOMBAT_OK : WOMBAT_IO;
}

static bool fail_allocation(size_t size)
{
	(void)size;
	return calls_left-- > 0;
}

/* A failed append leaves nothing that is pointed to, and the next one works. */
static void test_each_failure(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		bool passed = false;
		for (long n = 0; !passed; n++) {
			struct values v;
			struct value_pointer p;
			uint8_t bytes[1000];
			values_fill(bytes, sizeof bytes, 5);
			values_open(&v, 100, 0);
			struct value_pointer before = append(&v, 1, 1000);
			calls_left = n;
			if (memory)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(v.env, fail_call, NULL);
			enum wombat_status s = vlog_append(v.log, WOMBAT_STR("\1k"), slice_make(bytes, sizeof bytes), &p);
			mem_test_hook = NULL;
			env_mem_on_call(v.env, NULL, NULL);
			passed = s == WOMBAT_OK;
			if (!passed)
				assert_status(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
			else
				assert_value(&v, &p, 5);
			assert_value(&v, &before, 1);
			struct value_pointer next = append(&v, 6, 900);
			assert_value(&v, &next, 6);
			assert_ok(vlog_sync(v.log));
			values_done(&v);
			assert_true(n < 100);
		}
	}
}

static void test_failed_sync_is_final(void **state)
{
	(void)state;
	struct values v;
	values_open(&v, FILE_BYTES, 0);
	append(&v, 1, 100);
	calls_left = 0;
	env_mem_on_call(v.env, fail_call, NULL);
	assert_status(vlog_sync(v.log), WOMBAT_IO);
	env_mem_on_call(v.env, NULL, NULL);
	assert_status(vlog_sync(v.log), WOMBAT_IO);
	values_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_cut), cmocka_unit_test(test_life), cmocka_unit_test(test_settled),
		cmocka_unit_test(test_sync), cmocka_unit_test(test_each_failure), cmocka_unit_test(test_failed_sync_is_final),
	};
	return cmocka_run_group_tests_name("vlog", tests, NULL, NULL);
}
