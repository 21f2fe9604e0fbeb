/*
 * Values in extents that are not whole: each kind is found by check and by verify, named by its key, and mended or given up
 * by repair; those that are whole are left alone.
 */
#include <stdio.h>
#include <string.h>

#include "engine/db/extents.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"
#include "tests/support/values.h"

enum { SIZE = 150000 };

struct findings {
	unsigned damage;
	char text[8000];
};

static void note(void *arg, bool is_damage, const char *sentence)
{
	struct findings *f = arg;
	size_t used = strlen(f->text);
	f->damage += is_damage;
	snprintf(f->text + used, sizeof f->text - used, "%s%s\n", is_damage ? "damage: " : "note: ", sentence);
}

static struct value_extents head_of(struct db_world *w, const char *key)
{
	struct wombat_record record;
	struct record r;
	assert_ok(db_get(w->db, NULL, WOMBAT_USER, WOMBAT_STR(key), &record, &r));
	wombat_record_release(&record);
	assert_true(r.in_extents);
	return r.extents;
}

/* In extents: [0, 29000) and [32000, SIZE) of the value log, [29000, 32000) of bytes. */
static void put(struct db_world *w, const char *key)
{
	static uint8_t bytes[SIZE];
	struct wombat_edit *e;
	db_world_put_filled(w, key, SIZE, 1);
	values_fill(bytes, SIZE, 1);
	assert_ok(wombat_edit_open(w->db, WOMBAT_USER, WOMBAT_STR(key), 0, &e));
	assert_ok(wombat_edit_write(e, 29000, bytes + 29000, 3000));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	wombat_edit_close(e);
}

static void begin(struct db_world *w)
{
	db_world_init(w, (const char *const[]){ "value_threshold", "4K", NULL });
	put(w, "hurt");
	put(w, "whole");
	db_world_put(w, "other", "1");
	struct wombat_value *value;
	struct wombat_batch *batch = wombat_batch_new();
	assert_ok(wombat_value_open(w->db, NULL, WOMBAT_USER, WOMBAT_STR("whole"), &value));
	assert_ok(wombat_batch_move_value(batch, WOMBAT_USER, WOMBAT_STR("whole"), WOMBAT_STR("moved"), value, NULL));
	assert_ok(wombat_write(w->db, batch, 0, NULL));
	wombat_value_close(value);
	wombat_batch_free(batch);
}

/* What no program can do: a change of the engine's own records. */
static void change(struct db_world *w, struct placed_batch *batch)
{
	assert_ok(db_write_placed(w->db, batch, 0, NULL, NULL));
	db_place_done(w->db, batch, 0);
}

static void lose(struct db_world *w, uint64_t end)
{
	struct placed_batch batch = { .count = 0 };
	assert_ok(extents_place_delete(&batch, head_of(w, "hurt").id, end));
	change(w, &batch);
}

static void add(struct db_world *w, uint64_t id, uint64_t end, size_t size)
{
	static const uint8_t bytes[4000];
	const struct record r = { .time_ns = 1, .value = slice_make(bytes, size) };
	struct placed_batch batch = { .count = 0 };
	assert_ok(extents_place(w->db, &batch, id, end, &r));
	change(w, &batch);
}

static void disown(struct db_world *w)
{
	struct placed_batch batch = { .count = 0 };
	assert_ok(extents_place_owner(&batch, head_of(w, "hurt").id, WOMBAT_STR("\1hurt"), true));
	change(w, &batch);
}

static void expect(struct findings *f, unsigned damage, const char *part)
{
	if (f->damage != damage || !strstr(f->text, part) || strstr(f->text, "moved"))
		fail_msg("%u findings, and is \"%s\" there?\n%s", f->damage, part, f->text);
	*f = (struct findings){ .damage = 0 };
}

/* The damage is there: it is found, and repaired as told. Ends the world. */
static void expect_found(struct db_world *w, const char *part, bool lost)
{
	struct findings f = { .damage = 0 };
	assert_status(wombat_verify(w->db, note, &f), WOMBAT_CORRUPTION);
	expect(&f, 1, part);
	db_world_close(w);
	assert_status(db_check_env(w->env, DB_WORLD_DIR, note, &f), WOMBAT_CORRUPTION);
	expect(&f, 1, part);
	assert_status(db_repair_env(w->env, DB_WORLD_DIR, note, &f), lost ? WOMBAT_CORRUPTION : WOMBAT_OK);
	if (lost)
		expect(&f, 1, part);
	assert_int_equal(f.damage, 0);
	assert_ok(db_check_env(w->env, DB_WORLD_DIR, note, &f));
	assert_int_equal(f.damage, 0);
	db_world_open(w);
	if (lost)
		db_world_expect(w, WOMBAT_USER, "hurt", NULL);
	else
		db_world_expect_filled(w, "hurt", SIZE, 1);
	db_world_expect_filled(w, "moved", SIZE, 1);
	db_world_expect(w, WOMBAT_USER, "other", "1");
	db_world_done(w);
}

static void test_whole(void **state)
{
	(void)state;
	struct db_world w;
	struct findings f = { .damage = 0 };
	begin(&w);
	assert_ok(wombat_verify(w.db, note, &f));
	db_world_close(&w);
	assert_ok(db_check_env(w.env, DB_WORLD_DIR, note, &f));
	expect(&f, 0, "note: ");
	db_world_open(&w);
	db_world_done(&w);
}

static void test_missing(void **state)
{
	(void)state;
	static const uint64_t ends[] = { 29000, 32000, SIZE };
	for (size_t i = 0; i < 3; i++) {
		struct db_world w;
		begin(&w);
		lose(&w, ends[i]);
		expect_found(&w, "key \"hurt\": pieces of its value are missing", true);
	}
}

static void test_overlapping(void **state)
{
	(void)state;
	static const struct { uint64_t end; size_t size; } extra[] = { { 100, 100 }, { 31000, 10 }, { 33000, 2000 } };
	for (size_t i = 0; i < 3; i++) {
		struct db_world w;
		begin(&w);
		add(&w, head_of(&w, "hurt").id, extra[i].end, extra[i].size);
		expect_found(&w, "key \"hurt\": two of its extents overlap", true);
	}
}

static void test_beyond(void **state)
{
	(void)state;
	struct db_world w;
	begin(&w);
	add(&w, head_of(&w, "hurt").id, SIZE + 1, 1);
	expect_found(&w, "key \"hurt\": an extent lies beyond its end", true);
}

static void test_more_than_it_has(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_edit *e;
	begin(&w);
	assert_ok(wombat_edit_open(w.db, WOMBAT_USER, WOMBAT_STR("hurt"), 0, &e));
	assert_ok(wombat_edit_punch(e, 50000, 1000));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	wombat_edit_close(e);
	add(&w, head_of(&w, "hurt").id, 50500, 100);
	expect_found(&w, "key \"hurt\": there are more extents than it has", true);
}

static void test_senseless(void **state)
{
	(void)state;
	struct db_world w;
	begin(&w);
	add(&w, head_of(&w, "hurt").id, 5, 10);
	expect_found(&w, "key \"hurt\": an extent cannot be read", true);
}

/* The value is whole, but the next sweep could take its extents. */
static void test_unowned(void **state)
{
	(void)state;
	struct db_world w;
	begin(&w);
	disown(&w);
	expect_found(&w, "key \"hurt\": nothing says that its extents are its own", false);
}

static void test_stray(void **state)
{
	(void)state;
	struct db_world w;
	struct findings f = { .damage = 0 };
	begin(&w);
	add(&w, extents_new_id(w.db), 1000, 10);
	add(&w, extents_new_id(w.db), 1000, 10);
	assert_ok(wombat_verify(w.db, note, &f));
	expect(&f, 0, "note: 2 values in extents are no key's");
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_overlapping),
		cmocka_unit_test(test_beyond),
		cmocka_unit_test(test_more_than_it_has),
		cmocka_unit_test(test_senseless),
		cmocka_unit_test(test_unowned),
		cmocka_unit_test(test_stray),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
