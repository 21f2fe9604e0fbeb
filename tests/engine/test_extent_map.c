/*
 * The map of extents against an array that says of each byte what is there: random additions, cuts and growing, each followed by a
 * walk over all; and cuts without memory, which change nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "engine/db/extent_map.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

enum { SPACE = 2000 };

/* What is at a byte. Of values which one, and where in it. */
struct at {
	int kind; /* -1: nothing */
	uint8_t byte;
	uint64_t file, part_at;
};

struct world {
	struct extent_map map;
	struct at model[SPACE];
	uint64_t next_file;
};

static void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	for (size_t i = 0; i < SPACE; i++)
		w->model[i].kind = -1;
}

/* Every extent is what the array says, in order, without overlap; nothing of the array is missing. */
static void check_all(const struct world *w)
{
	uint64_t at = 0, bytes = 0;
	size_t count = 0;
	for (struct extent *e = extent_map_find(&w->map, 0); e; e = extent_map_next(&w->map, e)) {
		assert_true(e->size > 0 && e->at >= at && extent_end(e) <= SPACE);
		for (; at < e->at; at++)
			assert_int_equal(w->model[at].kind, -1);
		for (; at < extent_end(e); at++) {
			const struct at *want = &w->model[at];
			assert_int_equal(want->kind, (int)e->kind);
			if (e->kind == EXTENT_BYTES)
				assert_int_equal(e->bytes.data[at - e->at], want->byte);
			if (e->kind == EXTENT_VALUE)
				assert_true(e->pointer.file == want->file && e->part_at + (at - e->at) == want->part_at);
			assert_ptr_equal(extent_map_find(&w->map, at), e);
		}
		if (e->kind == EXTENT_BYTES) {
			assert_int_equal(e->bytes.size, e->size);
			bytes += e->size;
		}
		count++;
	}
	for (; at < SPACE; at++)
		assert_int_equal(w->model[at].kind, -1);
	assert_true(w->map.count == count && w->map.bytes == bytes);
}

static void cut(struct world *w, uint64_t from, uint64_t to)
{
	assert_ok(extent_map_cut(&w->map, from, to));
	for (uint64_t i = from; i < to; i++)
		w->model[i].kind = -1;
}

static void add(struct world *w, struct random_state *r, uint64_t from, uint64_t to)
{
	enum extent_kind kind = (enum extent_kind)random_below(r, 3);
	cut(w, from, to);
	struct extent *e = extent_map_add(&w->map, from, kind == EXTENT_BYTES && random_below(r, 2) ? 0 : to - from, kind);
	assert_non_null(e);
	uint64_t part = random_below(r, 50);
	bool empty = kind == EXTENT_BYTES && e->size == 0;
	if (kind == EXTENT_VALUE) {
		e->pointer = (struct value_pointer){ .file = ++w->next_file };
		e->part_at = part;
	}
	for (uint64_t i = from; i < to; i++) {
		uint8_t byte = (uint8_t)random_next(r);
		if (kind == EXTENT_BYTES)
			assert_ok(buf_append_byte(&e->bytes, byte));
		w->model[i] = (struct at){ (int)kind, byte, w->next_file, part + (i - from) };
	}
	if (empty)
		extent_map_grown(&w->map, e);
}

/* Some more bytes at the end of an extent, where there is room. */
static void grow(struct world *w, struct random_state *r, uint64_t from)
{
	struct extent *e = extent_map_find(&w->map, from);
	if (!e || e->kind != EXTENT_BYTES)
		return;
	uint64_t end = extent_end(e);
	while (end < SPACE && w->model[end].kind == -1 && random_below(r, 20)) {
		uint8_t byte = (uint8_t)random_next(r);
		assert_ok(buf_append_byte(&e->bytes, byte));
		w->model[end++] = (struct at){ EXTENT_BYTES, byte, 0, 0 };
	}
	extent_map_grown(&w->map, e);
}

static void store(struct world *w, uint64_t from)
{
	struct extent *e = extent_map_find(&w->map, from);
	if (!e || e->kind != EXTENT_BYTES)
		return;
	struct value_pointer pointer = { .file = ++w->next_file };
	extent_map_stored(&w->map, e, &pointer);
	for (uint64_t i = e->at; i < extent_end(e); i++)
		w->model[i] = (struct at){ EXTENT_VALUE, 0, w->next_file, i - e->at };
}

static void test_random(void **state)
{
	(void)state;
	static struct world w;
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	for (unsigned round = 0; round < 5; round++) {
		world_init(&w);
		for (unsigned step = 0; step < 800; step++) {
			uint64_t from = random_below(&r, SPACE), most = random_below(&r, 8) ? 60 : SPACE;
			uint64_t to = from + 1 + random_below(&r, most);
			to = to < SPACE ? to : SPACE;
			switch (random_below(&r, 8)) {
			case 0:
			case 1:
				cut(&w, from, to);
				break;
			case 2:
				grow(&w, &r, from);
				break;
			case 3:
				store(&w, from);
				break;
			default:
				add(&w, &r, from, to);
			}
			if (step % 10 == 0)
				check_all(&w);
		}
		check_all(&w);
		extent_map_clear(&w.map);
		assert_true(w.map.count == 0 && w.map.bytes == 0 && !extent_map_find(&w.map, 0));
	}
}

/* One that could not be grown goes without a trace. */
static void test_empty(void **state)
{
	(void)state;
	struct extent_map m = { .root = NULL };
	struct extent *a = extent_map_add(&m, 10, 5, EXTENT_HOLE), *e = extent_map_add(&m, 20, 0, EXTENT_BYTES);
	assert_true(a && e && m.count == 2);
	extent_map_drop_empty(&m, e);
	assert_true(m.count == 1 && m.bytes == 0 && extent_map_find(&m, 0) == a && !extent_map_find(&m, 15));
	extent_map_clear(&m);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		static struct world w;
		struct random_state r;
		random_seed(&r, 4711);
		world_init(&w);
		for (unsigned i = 0; i < 40; i++)
			add(&w, &r, i * 50, i * 50 + 30);
		scarce_begin(n);
		s = extent_map_cut(&w.map, 10, 1990); /* both ends are within one */
		scarce_end();
		if (s == WOMBAT_OK)
			for (size_t i = 10; i < 1990; i++)
				w.model[i].kind = -1;
		else
			assert_status(s, WOMBAT_NO_MEMORY);
		check_all(&w);
		/* In the middle of one, which makes two of it. */
		assert_ok(extent_map_cut(&w.map, 2, 4));
		w.model[2].kind = w.model[3].kind = -1;
		check_all(&w);
		extent_map_clear(&w.map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
