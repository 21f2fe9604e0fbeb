/* One number for all entries: every move, against a list. */
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/base/record.h"
#include "engine/iter/stamp_iter.h"
#include "engine/mem/memtable.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { COUNT = 50, SEQUENCE = 700 };

/* Keys \1 0, \1 2, \1 4, ..., with number 0. */
static struct memtable *make_table(void)
{
	struct memtable *m;
	assert_ok(memtable_new(0, &m));
	for (unsigned i = 0; i < COUNT; i++) {
		struct record r = { .time_ns = i + 1 };
		uint8_t key[2] = { 1, (uint8_t)(2 * i) }, value[16];
		record_encode(value, &r);
		assert_ok(memtable_add(m, slice_make(key, 2), tag_make(0, KIND_PUT), slice_make(value, record_encoded_size(&r)), 1));
	}
	return m;
}

static void expect_at(const struct iter *it, int i)
{
	if (i < 0 || i >= COUNT) {
		assert_false(it->valid);
		return;
	}
	assert_true(it->valid);
	assert_int_equal(it->key.data[1], 2 * i);
	assert_true(it->tag == tag_make(SEQUENCE, KIND_PUT));
	struct record r;
	assert_ok(record_decode(it->value, &r));
	assert_int_equal(r.time_ns, i + 1);
}

static void test_moves(void **state)
{
	(void)state;
	static const uint64_t tags[] = { TAG_MAX, 0, (uint64_t)SEQUENCE << 8 | KIND_PUT, ((uint64_t)SEQUENCE << 8 | KIND_PUT) + 1,
					 (uint64_t)SEQUENCE << 8, (uint64_t)(SEQUENCE + 1) << 8, 1, 2 };
	struct memtable *m = make_table();
	struct iter *it;
	struct random_state r;
	random_seed(&r, test_seed("moves"));
	assert_ok(memtable_iter_new(m, &it));
	assert_ok(stamp_iter_new(it, SEQUENCE, &it));
	int at = -1;
	for (int n = 0; n < 20000; n++) {
		uint8_t key[2] = { 1, (uint8_t)random_below(&r, 2 * COUNT + 2) };
		uint64_t tag = tags[random_below(&r, sizeof tags / sizeof *tags)];
		int behind = (key[1] + 1) / 2; /* the first key that is not before */
		bool there = key[1] % 2 == 0, entry_before = there && tag < tag_make(SEQUENCE, KIND_PUT);
		switch (random_below(&r, 6)) {
		case 0:
			iter_first(it);
			at = 0;
			break;
		case 1:
			iter_last(it);
			at = COUNT - 1;
			break;
		case 2:
			iter_seek(it, slice_make(key, 2), tag);
			at = behind + entry_before;
			break;
		case 3:
			iter_seek_before(it, slice_make(key, 2), tag);
			at = behind - 1 + entry_before;
			at = at >= COUNT ? COUNT - 1 : at;
			break;
		case 4:
			if (!it->valid)
				continue;
			iter_next(it);
			at++;
			break;
		default:
			if (!it->valid)
				continue;
			iter_prev(it);
			at--;
		}
		expect_at(it, at);
		assert_ok(it->status);
	}
	iter_free(it);
	memtable_unref(m);
}

static void test_failures(void **state)
{
	(void)state;
	struct iter *it = iter_empty_new(WOMBAT_IO), *stamped;
	assert_non_null(it);
	assert_ok(stamp_iter_new(it, SEQUENCE, &stamped));
	iter_first(stamped);
	assert_false(stamped->valid);
	assert_status(stamped->status, WOMBAT_IO);
	iter_free(stamped);
	it = iter_empty_new(WOMBAT_OK);
	scarce_begin(0);
	assert_status(stamp_iter_new(it, SEQUENCE, &stamped), WOMBAT_NO_MEMORY); /* frees it */
	scarce_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
