/* Reading values: from the cache and past it, and what damage, missing files and failures give. */
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/env/filename.h"
#include "tests/support/values.h"
#include "tests/support/check.h"

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
		cmocka_unit_test(test_cache), cmocka_unit_test(test_damage), cmocka_unit_test(test_each_failure),
	};
	return cmocka_run_group_tests_name("vlog_read", tests, NULL, NULL);
}
