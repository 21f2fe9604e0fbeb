/* Children of prefixes, by a listing and by a naive look at all keys; going on behind any of them; snapshots. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/random.h"
#include "tests/support/db_world.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { KEYS_MAX = 400, NAME = 24 };

/* Sorted, without doubles. */
struct keys {
	char text[KEYS_MAX][NAME];
	size_t count;
};

struct child {
	char name[NAME];
	bool is_value, is_prefix;
};

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void keys_add(struct keys *k, const char *text)
{
	if (k->count < KEYS_MAX && (!k->count || !bsearch(text, k->text, k->count, NAME, compare_texts))) {
		snprintf(k->text[k->count++], NAME, "%s", text);
		qsort(k->text, k->count, NAME, compare_texts);
	}
}

static void keys_remove(struct keys *k, size_t at)
{
	memmove(k->text[at], k->text[at + 1], (k->count - at - 1) * NAME);
	k->count--;
}

static bool has(const struct keys *k, const char *text)
{
	return k->count && bsearch(text, k->text, k->count, NAME, compare_texts);
}

/* What a listing should give, in its order: keys cut at the first '/' behind the prefix. */
static size_t children_of(const struct keys *k, const char *prefix, struct child *out)
{
	size_t count = 0, length = strlen(prefix);
	for (size_t i = 0; i < k->count; i++) {
		if (strncmp(k->text[i], prefix, length) != 0)
			continue;
		struct child c = { .is_value = true };
		snprintf(c.name, NAME, "%s", k->text[i] + length);
		char *slash = strchr(c.name, '/');
		if (slash) {
			*slash = 0;
			c.is_value = false;
			c.is_prefix = true;
		}
		if (count && !c.is_value && !out[count - 1].is_value && strcmp(out[count - 1].name, c.name) == 0)
			continue;
		out[count++] = c;
	}
	/* A value whose name is a prefix as well says so. */
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; out[i].is_value && j < count; j++)
			out[i].is_prefix |= !out[j].is_value && strcmp(out[i].name, out[j].name) == 0;
	return count;
}

static void assert_child(struct wombat_list *l, const struct child *wanted)
{
	struct wombat_child c;
	assert_ok(wombat_list_next(l, &c));
	assert_int_equal(c.name.size, strlen(wanted->name));
	assert_memory_equal(c.name.data, wanted->name, c.name.size);
	assert_true(c.is_value == wanted->is_value && c.is_prefix == wanted->is_prefix);
	if (c.is_value)
		assert_true(c.record && c.record->value_size == c.record->key.size);
}

static void compare(struct db_world *w, const struct wombat_read_options *options, const struct keys *k, const char *prefix,
		    struct random_state *random)
{
	static struct child wanted[KEYS_MAX];
	struct wombat_list *l;
	struct wombat_child c;
	size_t count = children_of(k, prefix, wanted);
	assert_ok(wombat_list_new(w->db, options, WOMBAT_USER, WOMBAT_STR(prefix), &l));
	for (size_t i = 0; i < count; i++)
		assert_child(l, &wanted[i]);
	assert_status(wombat_list_next(l, &c), WOMBAT_NOT_FOUND);
	for (int i = 0; i < 3 && count; i++) { /* goes on behind some of them, and behind what is not there */
		size_t at = random_below(random, count);
		wombat_list_seek_after(l, WOMBAT_STR(wanted[at].name), !wanted[at].is_value);
		if (at + 1 < count)
			assert_child(l, &wanted[at + 1]);
		else
			assert_status(wombat_list_next(l, &c), WOMBAT_NOT_FOUND);
	}
	wombat_list_seek_after(l, WOMBAT_STR("~"), true);
	assert_status(wombat_list_next(l, &c), WOMBAT_NOT_FOUND);
	wombat_list_free(l);
}

/* Names that sort around '/' and are prefixes of each other. */
static void random_name(struct random_state *random, char out[NAME])
{
	static const char *const parts[] = { "a", "a-", "a.", "a0", "b", "", "ab", "z" };
	size_t n = 0, depth = 1 + random_below(random, 3);
	for (size_t i = 0; i < depth; i++)
		n += (size_t)snprintf(out + n, NAME - n, "%s%s", i ? "/" : "", parts[random_below(random, 8)]);
	if (n == 0)
		snprintf(out, NAME, "x");
}

static void test_against_all_keys(void **state)
{
	(void)state;
	static const char *const prefixes[] = { "", "a/", "a/a/", "a-/", "b/", "ab/", "none/", "a//" };
	struct db_world w;
	struct random_state random;
	struct keys *k = calloc(1, sizeof *k), *old = calloc(1, sizeof *old);
	struct wombat_snapshot *snapshot = NULL;
	random_seed(&random, test_seed("list"));
	db_world_init(&w, NULL);
	for (int step = 0; step < 1200; step++) {
		char name[NAME];
		random_name(&random, name);
		unsigned what = (unsigned)random_below(&random, 20);
		if (what < 12) {
			char key[NAME];
			snprintf(key, sizeof key, "%s", name);
			/* The value's size is the key's: a listing's record is told apart by it. */
			db_world_put(&w, key, key);
			keys_add(k, key);
		} else if (what < 15 && k->count) {
			size_t at = random_below(&random, k->count);
			assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR(k->text[at])));
			keys_remove(k, at);
		} else if (what == 15) {
			assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR("a/a"), WOMBAT_STR("a/b")));
			for (size_t i = k->count; i-- > 0;)
				if (strcmp(k->text[i], "a/a") >= 0 && strcmp(k->text[i], "a/b") < 0)
					keys_remove(k, i);
		} else if (what == 16 && random_below(&random, 3) == 0) {
			assert_ok(wombat_flush(w.db));
		} else if (what == 17 && !snapshot) {
			snapshot = wombat_snapshot_new(w.db);
			*old = *k;
		}
		const char *prefix = prefixes[random_below(&random, 8)];
		compare(&w, NULL, k, prefix, &random);
		struct wombat_read_options then = { .snapshot = snapshot };
		if (snapshot)
			compare(&w, &then, old, prefix, &random);
		bool exists = false, wanted = false;
		assert_ok(wombat_prefix_exists(w.db, NULL, WOMBAT_USER, WOMBAT_STR(prefix), &exists));
		for (size_t i = 0; i < k->count; i++)
			wanted |= strncmp(k->text[i], prefix, strlen(prefix)) == 0;
		assert_int_equal(exists, wanted);
		if (what == 18 && snapshot) {
			wombat_snapshot_release(w.db, snapshot);
			snapshot = NULL;
		}
	}
	assert_true(has(k, k->text[0]));
	wombat_snapshot_release(w.db, snapshot);
	db_world_done(&w);
	free(k);
	free(old);
}

/* What lies below a child is skipped, not read: the cost follows the children. */
static void test_skips(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 2000; k++) {
			char key[32];
			snprintf(key, sizeof key, "d%d/%05d", i, k);
			db_world_put(&w, key, "some bytes of a value that fills blocks");
		}
	assert_ok(wombat_flush(w.db));
	db_world_reopen(&w);
	struct wombat_list *l;
	struct wombat_child c;
	assert_ok(wombat_list_new(w.db, NULL, WOMBAT_USER, WOMBAT_STR(""), &l));
	for (int i = 0; i < 3; i++)
		assert_ok(wombat_list_next(l, &c));
	assert_status(wombat_list_next(l, &c), WOMBAT_NOT_FOUND);
	wombat_list_free(l);
	assert_true(db_world_stat(&w, "block_reads_total") < 20);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_against_all_keys), cmocka_unit_test(test_skips) };
	return cmocka_run_group_tests_name("db_list", tests, NULL, NULL);
}
