/* A table's properties: round trips, unknown and missing names, what is malformed. */
#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/table/properties.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static struct table_properties random_properties(struct random_state *random)
{
	struct table_properties p;
	for (size_t i = 0; i < sizeof p / sizeof(uint64_t); i++)
		((uint64_t *)&p)[i] = random_next(random) >> random_below(random, 64);
	return p;
}

static void test_round_trip(void **state)
{
	(void)state;
	struct random_state random;
	struct buf bytes = { 0 };
	random_seed(&random, test_seed("round trip"));
	for (int i = 0; i < 300; i++) {
		struct table_properties p = random_properties(&random), back;
		assert_ok(properties_encode(&p, &bytes));
		assert_null(properties_decode(buf_slice(&bytes), &back));
		assert_memory_equal(&back, &p, sizeof p);
	}
	buf_done(&bytes);
}

/* Each name once, and the value that belongs to it. */
static void test_at(void **state)
{
	(void)state;
	struct table_properties p = { .entries = 7, .filter_keys = 9 };
	uint64_t value;
	const char *name;
	size_t count = 0;
	bool entries = false, keys = false;
	for (; (name = properties_at(&p, count, &value)); count++) {
		entries |= strcmp(name, "entries") == 0 && value == 7;
		keys |= strcmp(name, "filter_keys") == 0 && value == 9;
		for (size_t k = 0; k < count; k++)
			assert_string_not_equal(properties_at(&p, k, &value), name);
	}
	assert_true(entries && keys);
	assert_int_equal(count, sizeof p / sizeof(uint64_t));
}

/* Names can be added and left out at any time. */
static void test_other_versions(void **state)
{
	(void)state;
	struct table_properties out;
	struct buf bytes = { 0 };
	assert_null(properties_decode(buf_slice(&bytes), &out));
	assert_int_equal(out.entries, 0);
	assert_ok(buf_append_slice(&bytes, WOMBAT_STR("colour")));
	assert_ok(buf_append_varint(&bytes, 3));
	assert_ok(buf_append_slice(&bytes, WOMBAT_STR("entries")));
	assert_ok(buf_append_varint(&bytes, 12));
	assert_ok(buf_append_slice(&bytes, WOMBAT_STR("colour")));
	assert_ok(buf_append_varint(&bytes, 4));
	assert_null(properties_decode(buf_slice(&bytes), &out));
	assert_true(out.entries == 12 && out.deletes == 0);
	assert_ok(buf_append_slice(&bytes, WOMBAT_STR("entries")));
	assert_ok(buf_append_varint(&bytes, 12));
	assert_non_null(properties_decode(buf_slice(&bytes), &out)); /* twice */
	buf_done(&bytes);
}

/* A cut is seen unless it falls between two fields. */
static void test_every_cut(void **state)
{
	(void)state;
	struct random_state random;
	struct buf bytes = { 0 };
	random_seed(&random, test_seed("cuts"));
	struct table_properties p = random_properties(&random), out;
	assert_ok(properties_encode(&p, &bytes));
	size_t whole = 0;
	for (size_t size = 0; size <= bytes.size; size++)
		whole += properties_decode(slice_make(bytes.data, size), &out) == NULL;
	assert_int_equal(whole, sizeof p / sizeof(uint64_t) + 1);
	buf_done(&bytes);
}

static long allocations_left;

static bool fail_allocation(size_t size)
{
	(void)size;
	return allocations_left-- > 0;
}

static void test_no_memory(void **state)
{
	(void)state;
	struct table_properties p = { .entries = 1 };
	enum wombat_status s = WOMBAT_NO_MEMORY;
	for (long n = 0; s != WOMBAT_OK; n++) {
		struct buf bytes = { 0 };
		allocations_left = n;
		mem_test_hook = fail_allocation;
		s = properties_encode(&p, &bytes);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		buf_done(&bytes);
		assert_true(n < 50);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_at), cmocka_unit_test(test_other_versions),
		cmocka_unit_test(test_every_cut), cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests_name("properties", tests, NULL, NULL);
}
