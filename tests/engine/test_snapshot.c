/*
 * The ring of snapshots: what compactions are told of it, in order and each number once, while snapshots come and go in any order,
 * among them such of states that are kept already; and what each of them shows.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { OPEN_MAX = 12 };

/* The list is the model's numbers, sorted, each once, and the newest state. */
static void check_list(struct db_world *w, struct wombat_snapshot *const *open, size_t count)
{
	uint64_t *list, newest = atomic_load(&w->db->visible_sequence), oldest = newest;
	size_t n;
	assert_ok(db_snapshot_list(w->db, &list, &n));
	assert_int_equal(list[n - 1], newest);
	for (size_t i = 1; i < n; i++)
		assert_true(list[i - 1] < list[i]);
	for (size_t k = 0; k < count; k++) {
		uint64_t sequence = wombat_snapshot_sequence(open[k]);
		bool found = false;
		for (size_t i = 0; i < n; i++)
			found |= list[i] == sequence;
		assert_true(found);
		oldest = sequence < oldest ? sequence : oldest;
	}
	for (size_t i = 0; i < n; i++) {
		bool known = list[i] == newest;
		for (size_t k = 0; k < count; k++)
			known |= wombat_snapshot_sequence(open[k]) == list[i];
		assert_true(known);
	}
	assert_int_equal(db_oldest_snapshot(w->db), oldest);
	assert_true(db_world_stat(w, "snapshots") == (double)count);
	mem_free(list);
}

static void test_random(void **state)
{
	(void)state;
	struct db_world w;
	struct random_state r;
	struct wombat_snapshot *open[OPEN_MAX];
	unsigned shows[OPEN_MAX], version = 0;
	size_t count = 0;
	random_seed(&r, test_seed(__func__));
	db_world_init(&w, NULL);
	for (unsigned step = 0; step < 1500; step++) {
		size_t k = count ? (size_t)random_below(&r, count) : 0;
		switch (random_below(&r, 6)) {
		case 0:
			if (count == OPEN_MAX)
				break;
			open[count] = wombat_snapshot_new(w.db);
			assert_non_null(open[count]);
			shows[count++] = version;
			break;
		case 1: /* of the same state as another */
			if (count == 0 || count == OPEN_MAX)
				break;
			open[count] = db_snapshot_at(w.db, wombat_snapshot_sequence(open[k]));
			assert_non_null(open[count]);
			shows[count++] = shows[k];
			break;
		case 2:
			if (!count)
				break;
			wombat_snapshot_release(w.db, open[k]);
			open[k] = open[--count];
			shows[k] = shows[count];
			break;
		case 3:
			if (step % 20 == 0)
				assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
			break;
		default: {
			char text[16];
			snprintf(text, sizeof text, "%u", ++version);
			db_world_put(&w, "key", text);
		}
		}
		check_list(&w, open, count);
		for (size_t i = 0; i < count; i++) {
			struct wombat_read_options at = { .snapshot = open[i] };
			struct wombat_record record;
			enum wombat_status s = wombat_get(w.db, &at, WOMBAT_USER, WOMBAT_STR("key"), &record);
			if (!shows[i]) {
				assert_status(s, WOMBAT_NOT_FOUND);
				continue;
			}
			char text[16];
			snprintf(text, sizeof text, "%u", shows[i]);
			assert_ok(s);
			assert_true(slice_equal(record.value, WOMBAT_STR(text)));
			wombat_record_release(&record);
		}
	}
	while (count)
		wombat_snapshot_release(w.db, open[--count]);
	wombat_snapshot_release(w.db, NULL);
	check_list(&w, open, 0);
	db_world_done(&w);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct db_world w;
	uint64_t *list;
	size_t n;
	db_world_init(&w, NULL);
	scarce_begin(0);
	struct wombat_snapshot *a = wombat_snapshot_new(w.db), *b = db_snapshot_at(w.db, 0);
	enum wombat_status s = db_snapshot_list(w.db, &list, &n);
	scarce_end();
	assert_true(!a && !b);
	assert_status(s, WOMBAT_NO_MEMORY);
	check_list(&w, NULL, 0);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
