/*
 * Children of a prefix against the definition taken literally: every key below the prefix is cut at its next
 * '/', and what is equal is one child. Keys come from a tiny alphabet with '/' and its neighbours in it, so
 * that values, prefixes and both at once, empty names, and names between `x` and `x/` are everywhere.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/slice.h"
#include "tests/support/db_model.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { CHILDREN_MAX = 600, NOW = 1000000 };

struct want {
	struct wombat_slice name;         /* in the model's memory */
	bool is_value, is_prefix;
	const struct model_record *first; /* the value's record, or the first below */
};

struct wants {
	struct want items[CHILDREN_MAX];
	size_t count;
};

static bool shows(const struct model_record *r, unsigned keyspace, struct wombat_slice prefix)
{
	return r->key[0] == keyspace && (!r->expiry_ns || r->expiry_ns > NOW) &&
	       slice_starts_with(WOMBAT_SLICE(r->key + 1, r->key_size - 1), prefix);
}

/* Keys are in order, and those below a child are neighbours: whether a child is new shows beside the last
 * one. */
static void wants_make(struct wants *out, const struct model *m, unsigned keyspace,
		       struct wombat_slice prefix)
{
	out->count = 0;
	for (size_t i = 0; i < m->count; i++) {
		const struct model_record *r = &m->records[i];
		if (!shows(r, keyspace, prefix))
			continue;
		size_t skip = 1 + prefix.size;
		struct wombat_slice name = WOMBAT_SLICE(r->key + skip, r->key_size - skip);
		const uint8_t *slash = name.size ? memchr(name.data, '/', name.size) : NULL;
		if (slash)
			name.size = (size_t)(slash - name.data);
		struct want *last = out->count ? &out->items[out->count - 1] : NULL;
		if (slash && last && !last->is_value && slice_equal(last->name, name))
			continue;
		assert_true(out->count < CHILDREN_MAX);
		out->items[out->count++] = (struct want){ name, !slash, slash, r };
	}
	for (size_t i = 0; i < out->count; i++) /* Values that are prefixes as well. */
		for (size_t k = 0; k < out->count; k++)
			if (!out->items[k].is_value && slice_equal(out->items[i].name, out->items[k].name))
				out->items[i].is_prefix = true;
}

static void assert_child(const struct wombat_child *child, const struct want *want)
{
	const struct model_record *m = want->first;
	assert_true(slice_equal(child->name, want->name));
	assert_int_equal(child->is_value, want->is_value);
	assert_int_equal(child->is_prefix, want->is_prefix);
	assert_true(slice_equal(child->record->key, WOMBAT_SLICE(m->key + 1, m->key_size - 1)));
	assert_true(slice_equal(child->record->attr, WOMBAT_SLICE(m->attr, m->attr_size)));
	assert_int_equal(child->record->value_size, m->value_size);
	assert_null(child->record->value.data);
	assert_int_equal(child->record->expiry_ns, m->expiry_ns);
}

static struct wombat_list *list_new(struct wombat *db, const struct wombat_snapshot *snapshot,
				    unsigned keyspace, struct wombat_slice prefix)
{
	struct wombat_list *list;
	struct wombat_read_options options = { .snapshot = snapshot };
	assert_ok(wombat_list_new(db, &options, keyspace, prefix, &list));
	return list;
}

static void assert_rest(struct wombat_list *list, const struct wants *wants, size_t from)
{
	struct wombat_child child;
	for (size_t i = from; i < wants->count; i++) {
		assert_ok(wombat_list_next(list, &child));
		assert_child(&child, &wants->items[i]);
	}
	assert_status(wombat_list_next(list, &child), WOMBAT_NOT_FOUND);
	assert_status(wombat_list_next(list, &child), WOMBAT_NOT_FOUND); /* and stays there */
}

/* ---- Random keys --------------------------------------------------------------------------- */

/* Up to six of: '/', what sorts just before and behind it, letters, the least and the greatest byte. */
static struct wombat_slice random_key(struct random_state *r, uint8_t room[8])
{
	static const uint8_t alphabet[] = { '/', '/', '/', '.', '0', 'a', 'a', 'b', 0, 0xff };
	size_t size = random_below(r, 7);
	for (size_t i = 0; i < size; i++)
		room[i] = alphabet[random_below(r, sizeof alphabet)];
	return WOMBAT_SLICE(room, size);
}

static struct wombat_slice random_prefix(struct random_state *r, uint8_t room[8])
{
	struct wombat_slice key = random_key(r, room);
	while (key.size && key.data[key.size - 1] != '/')
		key.size--;
	return key;
}

static void change(struct db_model *w, struct random_state *r)
{
	uint8_t a[8], b[8];
	struct wombat_slice key = random_key(r, a), to = random_key(r, b);
	unsigned keyspace = random_below(r, 6) ? WOMBAT_USER : WOMBAT_FS_DIRS;
	unsigned what = (unsigned)random_below(r, 100);
	if (what < 70) {
		struct wombat_put_info info = { .attr = WOMBAT_SLICE("attributes", random_below(r, 10)) };
		struct wombat_batch *batch = wombat_batch_new();
		if (random_below(r, 12) == 0)
			info.expiry_ns = NOW - 1 + random_below(r, 3);
		struct wombat_slice value = WOMBAT_SLICE("0123456789abcdefghij", random_below(r, 20));
		assert_ok(wombat_batch_put(batch, keyspace, key, value, &info));
		assert_ok(wombat_write(w->world.db, batch, 0, NULL));
		wombat_batch_free(batch);
		model_put(&w->model, keyspace, key, value, &info);
	} else if (what < 97) {
		assert_ok(wombat_delete(w->world.db, keyspace, key));
		model_delete(&w->model, keyspace, key);
	} else {
		assert_ok(wombat_delete_range(w->world.db, keyspace, key, to));
		model_delete_range(&w->model, keyspace, key, to);
	}
	if (what == 0)
		assert_ok(wombat_flush(w->world.db));
}

static void check_list(struct db_model *w, const struct model *m, const struct wombat_snapshot *snapshot,
		       struct random_state *r)
{
	uint8_t room[8], other[8];
	struct wants wants;
	unsigned keyspace = random_below(r, 6) ? WOMBAT_USER : WOMBAT_FS_DIRS;
	struct wombat_slice prefix = random_prefix(r, room);
	wants_make(&wants, m, keyspace, prefix);
	struct wombat_list *list = list_new(w->world.db, snapshot, keyspace, prefix);
	assert_rest(list, &wants, 0);
	/* From behind each child, and from behind names that need not be there. */
	for (unsigned i = 0; i < 4 && wants.count; i++) {
		size_t at = random_below(r, wants.count);
		wombat_list_seek_after(list, wants.items[at].name, !wants.items[at].is_value);
		assert_rest(list, &wants, at + 1);
	}
	struct wombat_slice name = random_key(r, other);
	const uint8_t *slash = name.size ? memchr(name.data, '/', name.size) : NULL;
	if (slash)
		name.size = (size_t)(slash - name.data);
	bool as_prefix = random_below(r, 2);
	size_t from = 0;
	for (; from < wants.count; from++) { /* Those that sort behind `name`, or `name` and '/'. */
		uint8_t mine[16], theirs[16];
		const struct want *want = &wants.items[from];
		memcpy(mine, name.data, name.size);
		memcpy(theirs, want->name.data, want->name.size);
		mine[name.size] = theirs[want->name.size] = '/';
		if (slice_compare(WOMBAT_SLICE(theirs, want->name.size + !want->is_value),
				  WOMBAT_SLICE(mine, name.size + as_prefix)) > 0)
			break;
	}
	wombat_list_seek_after(list, name, as_prefix);
	assert_rest(list, &wants, from);
	wombat_list_free(list);
}

static void test_random(void **state)
{
	(void)state;
	struct db_model w;
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	db_model_init(&w, NULL);
	env_mem_set_now(w.world.env, NOW);
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 250; i++)
			change(&w, &r);
		struct wombat_snapshot *snapshot = wombat_snapshot_new(w.world.db);
		struct model then;
		model_copy(&w.model, &then);
		for (unsigned i = 0; i < 60; i++)
			change(&w, &r);
		if (round % 3 == 2)
			assert_ok(wombat_compact(w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		for (unsigned i = test_steps(150); i > 0; i--) {
			check_list(&w, &w.model, NULL, &r);
			check_list(&w, &then, snapshot, &r);
		}
		wombat_snapshot_release(w.world.db, snapshot);
		model_done(&then);
	}
	db_model_done(&w);
}

/* ---- By hand ------------------------------------------------------------------------------- */

/* One line of what is listed: names, '=' behind values, '/' behind prefixes. */
static void assert_listing(struct wombat *db, const char *prefix, const char *want)
{
	char got[256] = "";
	struct wombat_child child;
	struct wombat_list *list = list_new(db, NULL, WOMBAT_USER, WOMBAT_STR(prefix));
	enum wombat_status s;
	while ((s = wombat_list_next(list, &child)) == WOMBAT_OK) {
		size_t n = strlen(got);
		snprintf(got + n, sizeof got - n, "%s%.*s%s%s", n ? " " : "", (int)child.name.size,
			 (const char *)child.name.data, child.is_value ? "=" : "",
			 child.is_prefix ? "/" : "");
	}
	assert_status(s, WOMBAT_NOT_FOUND);
	assert_string_equal(got, want);
	wombat_list_free(list);
}

static void test_examples(void **state)
{
	(void)state;
	struct db_model w;
	db_model_init(&w, NULL);
	static const char *const keys[] = {
		"P/a", "P/b/c", "P/b/d", "P/", "P//x", "Q/b", "Q/b-x", "Q/b/c", "Q/b.d/e", "top",
		"R/only/deep/key",
	};
	assert_listing(w.world.db, "", "");
	assert_listing(w.world.db, "P/", "");
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		db_model_put(&w, keys[i], "v");
	for (int round = 0; round < 2; round++) {
		assert_listing(w.world.db, "P/", "=/ / a= b/");
		assert_listing(w.world.db, "P//", "x=");
		assert_listing(w.world.db, "Q/", "b=/ b-x= b.d/ b/");
		assert_listing(w.world.db, "", "P/ Q/ R/ top=");
		assert_listing(w.world.db, "R/", "only/");
		assert_listing(w.world.db, "R/only/deep/", "key=");
		assert_listing(w.world.db, "R/none/", "");
		assert_ok(wombat_compact(w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	}
	db_model_delete(&w, "Q/b/c"); /* with names between: asked for, and no longer there */
	assert_listing(w.world.db, "Q/", "b= b-x= b.d/");
	db_model_done(&w);
}

static void test_arguments(void **state)
{
	(void)state;
	struct db_model w;
	struct wombat_list *list = NULL;
	db_model_init(&w, NULL);
	assert_status(wombat_list_new(w.world.db, NULL, WOMBAT_USER, WOMBAT_STR("no/slash"), &list),
		      WOMBAT_INVALID);
	assert_status(wombat_list_new(w.world.db, NULL, 0, WOMBAT_STR(""), &list), WOMBAT_INVALID);
	assert_status(wombat_list_new(w.world.db, NULL, 255, WOMBAT_STR("a/"), &list), WOMBAT_INVALID);
	assert_null(list);
	assert_true(db_world_stat(&w.world, "snapshots") == 0); /* nothing is left of what failed */
	wombat_list_free(NULL);
	db_model_done(&w);
}

/* What it shows is the state as of its creation, the questions beside the iterator included. */
static void test_state_of_its_creation(void **state)
{
	(void)state;
	struct db_model w;
	struct wombat_child child;
	db_model_init(&w, NULL);
	db_model_put(&w, "d/b", "v");
	db_model_put(&w, "d/b-x", "v");
	db_model_put(&w, "d/b/c", "v");
	struct wombat_list *list = list_new(w.world.db, NULL, WOMBAT_USER, WOMBAT_STR("d/"));
	assert_true(db_world_stat(&w.world, "snapshots") == 1);
	assert_ok(wombat_delete_range(w.world.db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_compact(w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	struct wants wants;
	wants_make(&wants, &w.model, WOMBAT_USER, WOMBAT_STR("d/"));
	assert_int_equal(wants.count, 3);
	assert_rest(list, &wants, 0);
	wombat_list_free(list);
	assert_true(db_world_stat(&w.world, "snapshots") == 0);
	list = list_new(w.world.db, NULL, WOMBAT_USER, WOMBAT_STR("d/"));
	assert_status(wombat_list_next(list, &child), WOMBAT_NOT_FOUND);
	wombat_list_free(list);
	db_model_done(&w);
}

/* A large subtree is left by a seek: the cost follows the children. */
static void test_subtrees_are_skipped(void **state)
{
	(void)state;
	struct db_model w;
	const char *const settings[] = { "read_ahead_size", "0", NULL };
	db_model_init(&w, settings);
	for (int child = 0; child < 3; child++)
		for (int i = 0; i < 4000; i++) {
			char key[32];
			snprintf(key, sizeof key, "d/%c/file%05d", 'a' + child, i);
			db_world_put(&w.world, key, "a value of some bytes");
		}
	assert_ok(wombat_compact(w.world.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	db_world_reopen(&w.world);
	assert_listing(w.world.db, "d/", "a/ b/ c/");
	/* Of some 500 blocks. */
	assert_true(db_world_stat(&w.world, "block_reads_total") < 40);
	db_model_done(&w);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static _Thread_local long allocations_left = -1; /* negative: no failure; other threads are never concerned */

static bool fail_nth(size_t size)
{
	(void)size;
	return allocations_left < 0 || allocations_left-- > 0;
}

static enum wombat_status list_all(struct wombat *db, const struct wants *wants)
{
	struct wombat_list *list;
	struct wombat_child child;
	enum wombat_status s = wombat_list_new(db, NULL, WOMBAT_USER, WOMBAT_STR("Q/"), &list);
	if (s != WOMBAT_OK)
		return s;
	wombat_list_seek_after(list, WOMBAT_STR("a"), false); /* its failure shows in the next call */
	for (size_t i = 0; (s = wombat_list_next(list, &child)) == WOMBAT_OK; i++)
		assert_child(&child, &wants->items[i]);
	wombat_list_free(list);
	return s;
}

static void test_failures(void **state)
{
	(void)state;
	struct db_model w;
	struct wants wants;
	static const char *const keys[] = {
		"Q/b", "Q/b-x", "Q/b/1", "Q/b/2", "Q/b/3", "Q/b/4", "Q/b/5", "Q/c",
	};
	db_model_init(&w, NULL);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		db_model_put(&w, keys[i], "v");
	wants_make(&wants, &w.model, WOMBAT_USER, WOMBAT_STR("Q/"));
	assert_ok(wombat_flush(w.world.db));
	mem_test_hook = fail_nth;
	enum wombat_status s = WOMBAT_NO_MEMORY;
	unsigned n = 0;
	for (; s == WOMBAT_NO_MEMORY; n++) {
		allocations_left = (long)n;
		s = list_all(w.world.db, &wants);
		allocations_left = -1;
		assert_true(db_world_stat(&w.world, "snapshots") == 0);
	}
	mem_test_hook = NULL;
	assert_status(s, WOMBAT_NOT_FOUND);
	assert_true(n > 5);
	s = WOMBAT_IO;
	for (n = 0; s == WOMBAT_IO; n++) {
		db_world_reopen(&w.world);
		db_world_fail_own(&w.world, "reader_read", ".sst", n, WOMBAT_IO);
		s = list_all(w.world.db, &wants);
		db_world_let_go(&w.world);
	}
	assert_status(s, WOMBAT_NOT_FOUND);
	assert_true(n > 1);
	db_model_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_state_of_its_creation),
		cmocka_unit_test(test_subtrees_are_skipped),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
