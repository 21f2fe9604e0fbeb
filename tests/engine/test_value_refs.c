/* Sums of references by file, against an array indexed by the file. */
#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/table/value_refs.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { FILES = 200 };

static void test_against_array(void **state)
{
	(void)state;
	struct random_state random;
	struct value_refs refs = { 0 };
	uint64_t bytes[FILES] = { 0 }, counts[FILES] = { 0 };
	random_seed(&random, test_seed("refs"));
	assert_null(value_refs_find(&refs, 1));
	for (int i = 0; i < 3000; i++) {
		uint64_t file = 1 + random_below(&random, FILES - 1), size = random_below(&random, 1 << 20);
		assert_ok(value_refs_add(&refs, (struct value_ref){ file, size, 1 }));
		bytes[file] += size;
		counts[file]++;
	}
	size_t present = 0;
	for (uint64_t file = 0; file < FILES; file++) {
		const struct value_ref *r = value_refs_find(&refs, file);
		present += counts[file] > 0;
		assert_int_equal(r != NULL, counts[file] > 0);
		if (r)
			assert_true(r->file == file && r->bytes == bytes[file] && r->count == counts[file]);
	}
	assert_int_equal(refs.count, present);
	for (size_t i = 1; i < refs.count; i++)
		assert_true(refs.items[i - 1].file < refs.items[i].file);
	value_refs_done(&refs);
	assert_int_equal(refs.count, 0);
}

static bool refuse(size_t size)
{
	(void)size;
	return false;
}

static void test_no_memory(void **state)
{
	(void)state;
	struct value_refs refs = { 0 };
	assert_ok(value_refs_add(&refs, (struct value_ref){ 1, 10, 1 }));
	while (refs.count < refs.capacity) /* full: one more needs memory */
		assert_ok(value_refs_add(&refs, (struct value_ref){ 1 + refs.count, 10, 1 }));
	size_t full = refs.count;
	mem_test_hook = refuse;
	enum wombat_status grown = value_refs_add(&refs, (struct value_ref){ 900, 10, 1 });
	enum wombat_status same = value_refs_add(&refs, (struct value_ref){ 4, 10, 1 });
	mem_test_hook = NULL;
	assert_status(grown, WOMBAT_NO_MEMORY);
	assert_ok(same);
	assert_int_equal(refs.count, full);
	assert_true(value_refs_find(&refs, 4)->bytes == 20 && !value_refs_find(&refs, 900));
	value_refs_done(&refs);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_against_array), cmocka_unit_test(test_no_memory) };
	return cmocka_run_group_tests_name("value_refs", tests, NULL, NULL);
}
