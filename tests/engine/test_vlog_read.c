/* Reading values: from the cache and past it, and what damage, missing files and failures give. */
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/env/filename.h"
#include "tests/support/values.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { SIZE = 3000, CACHE = 64 * (SIZE + 200) };

static struct value_pointer append(struct values *v, uint64_t n, size_t size)
{
	uint8_t *bytes = malloc(size);
	struct value_pointer p;
	values_fill(bytes, size, n);
	assert_ok(vlog_append(v->log, WOMBAT_STR("\1key"), slice_make(bytes, size), &p));
	vlog_written(v->log, p.file, n);
	free(bytes);
	return p;
}

static uint64_t file_reads(struct values *v)
{
	struct vlog_counts counts;
	vlog_counts(v->log, &counts);
	return counts.reads;
}

static enum wombat_status read_value(struct values *v, const struct value_pointer *p, unsigned flags)
{
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	enum wombat_status s = vlog_read(v->log, p, flags, &pin, &value);
	if (s == WOMBAT_OK)
		assert_int_equal(value.size, p->size);
	else
		assert_true(!pin.handle && !pin.owner);
	lru_pin_release(&pin);
	return s;
}

static void test_cache(void **state)
{
	(void)state;
	struct values v;
	values_open(&v, 1 << 20, CACHE);
	struct value_pointer p = append(&v, 1, SIZE), large = append(&v, 2, 2 * SIZE);
	assert_status(read_value(&v, &p, VLOG_READ_CACHED), WOMBAT_WOULD_BLOCK);
	assert_ok(read_value(&v, &p, VLOG_READ_NO_FILL));
	assert_status(read_value(&v, &p, VLOG_READ_CACHED), WOMBAT_WOULD_BLOCK);
	assert_ok(read_value(&v, &p, 0));
	assert_ok(read_value(&v, &p, VLOG_READ_CACHED));
	uint64_t reads = file_reads(&v);
	assert_ok(read_value(&v, &p, 0));
	assert_int_equal(file_reads(&v), reads);
	assert_ok(read_value(&v, &p, VLOG_READ_VERIFY)); /* looks at the file */
	assert_int_equal(file_reads(&v), reads + 1);
	/* One that would take more than its part of the cache does not stay. */
	assert_ok(read_value(&v, &large, 0));
	assert_status(read_value(&v, &large, VLOG_READ_CACHED), WOMBAT_WOULD_BLOCK);
	values_done(&v);
}

/* Changes one byte of a file. */
static void damage(struct values *v, uint64_t number, uint64_t offset)
{
	char path[FILENAME_PATH_MAX];
	struct buf bytes = { 0 };
	struct env_writer *w;
	assert_true(filename_path(path, VALUES_DIR, FILE_VALUES, number));
	assert_ok(env_read_file(v->env, path, 1 << 20, &bytes));
	bytes.data[offset] ^= 1;
	assert_ok(v->env->calls->writer_open(v->env, path, 4096, 0, &w));
	assert_ok(v->env->calls->writer_write(w, bytes.data, bytes.size));
	assert_ok(v->env->calls->writer_close(w));
	buf_done(&bytes);
}

static void test_damage(void **state)
{
	(void)state;
	struct values v;
	values_open(&v, 1 << 20, 0);
	struct value_pointer p = append(&v, 1, SIZE), other = append(&v, 2, SIZE), past = other, missing = other;
	values_reopen(&v);
	damage(&v, p.file, p.offset + 17);
	assert_status(read_value(&v, &p, 0), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), "000001.vlog"));
	assert_ok(read_value(&v, &other, 0));
	atomic_store(&v.verify, false);
	assert_ok(read_value(&v, &p, 0));
	assert_status(read_value(&v, &p, VLOG_READ_VERIFY), WOMBAT_CORRUPTION);
	atomic_store(&v.verify, true);
	past.offset += SIZE;
	assert_status(read_value(&v, &past, 0), WOMBAT_CORRUPTION);
	missing.file = 500;
	assert_status(read_value(&v, &missing, 0), WOMBAT_CORRUPTION);
	values_done(&v);
}

/* Parts of values of one chunk, of several, of several and a bit, at random places, verified and not. */
static void test_parts(void **state)
{
	(void)state;
	static const size_t sizes[] = { 1, 5000, 32768, 32769, 65536, 200001 };
	struct random_state random;
	struct values v;
	random_seed(&random, test_seed("parts"));
	values_open(&v, 1 << 20, 0);
	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
		size_t size = sizes[k];
		uint8_t *want = malloc(size), *got = malloc(size);
		struct value_pointer p = append(&v, k, size);
		struct vlog_value *value;
		struct lru_pin pin = { 0 };
		struct wombat_slice whole;
		values_fill(want, size, k);
		assert_ok(vlog_read(v.log, &p, VLOG_READ_VERIFY, &pin, &whole));
		assert_true(whole.size == size && memcmp(whole.data, want, size) == 0);
		lru_pin_release(&pin);
		for (int verify = 0; verify < 2; verify++) {
			atomic_store(&v.verify, verify);
			assert_ok(vlog_value_open(v.log, &p, &value));
			for (int i = 0; i < 200; i++) {
				size_t at = random_below(&random, size), n = 1 + random_below(&random, size - at);
				assert_ok(vlog_value_read(value, at, n, got));
				assert_memory_equal(got, want + at, n);
			}
			assert_ok(vlog_value_read(value, 0, size, got));
			assert_memory_equal(got, want, size);
			vlog_value_close(value);
		}
		free(want);
		free(got);
	}
	values_done(&v);
}

/* A part that touches a damaged chunk is refused, the others are not; so is a value whose checksums are damaged. */
static void test_damaged_parts(void **state)
{
	(void)state;
	struct values v;
	struct vlog_value *value;
	uint8_t got[100];
	values_open(&v, 1 << 20, 0);
	struct value_pointer p = append(&v, 1, 100000), q = append(&v, 2, 100000);
	values_reopen(&v);
	damage(&v, p.file, p.offset + 40000);
	damage(&v, q.file, q.offset + 100000 + 5);
	assert_ok(vlog_value_open(v.log, &p, &value));
	assert_ok(vlog_value_read(value, 0, 100, got));
	assert_status(vlog_value_read(value, 32700, 100, got), WOMBAT_CORRUPTION);
	assert_status(vlog_value_read(value, 60000, 100, got), WOMBAT_CORRUPTION);
	assert_ok(vlog_value_read(value, 65536, 100, got));
	vlog_value_close(value);
	assert_status(vlog_value_open(v.log, &q, &value), WOMBAT_CORRUPTION);
	assert_status(read_value(&v, &q, 0), WOMBAT_CORRUPTION);
	values_done(&v);
}

static bool none_is_live(void *arg, uint64_t file)
{
	(void)arg;
	(void)file;
	return false;
}

static void test_open_value_keeps_its_file(void **state)
{
	(void)state;
	struct values v;
	struct vlog_value *value;
	struct vlog_counts counts;
	uint8_t got[10], want[10];
	values_open(&v, 1, 0);
	struct value_pointer p = append(&v, 1, 50000);
	append(&v, 2, 10); /* in a file of its own: the first is full */
	assert_ok(vlog_value_open(v.log, &p, &value));
	vlog_remove_dead(v.log, none_is_live, NULL, 1000, vlog_unholds(v.log));
	assert_ok(vlog_value_read(value, 0, 10, got));
	values_fill(want, 10, 1);
	assert_memory_equal(got, want, 10);
	vlog_value_close(value);
	vlog_remove_dead(v.log, none_is_live, NULL, 1000, vlog_unholds(v.log));
	vlog_counts(v.log, &counts);
	assert_int_equal(counts.removed_files, 1);
	assert_status(vlog_value_open(v.log, &p, &value), WOMBAT_CORRUPTION);
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

static void test_each_failure(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		enum wombat_status s = WOMBAT_IO;
		for (long n = 0; s != WOMBAT_OK; n++) {
			struct values v;
			values_open(&v, 1 << 20, CACHE);
			struct value_pointer p = append(&v, 1, SIZE);
			calls_left = n;
			if (memory)
				mem_test_hook = fail_allocation;
			else
				env_mem_on_call(v.env, fail_call, NULL);
			s = read_value(&v, &p, 0);
			mem_test_hook = NULL;
			env_mem_on_call(v.env, NULL, NULL);
			assert_true(s == WOMBAT_OK || s == (memory ? WOMBAT_NO_MEMORY : WOMBAT_IO));
			assert_ok(read_value(&v, &p, 0));
			values_done(&v);
			assert_true(n < 100);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache), cmocka_unit_test(test_damage), cmocka_unit_test(test_parts),
		cmocka_unit_test(test_damaged_parts), cmocka_unit_test(test_open_value_keeps_its_file),
		cmocka_unit_test(test_each_failure),
	};
	return cmocka_run_group_tests_name("vlog_read", tests, NULL, NULL);
}
