/*
 * Transactions: what each isolation allows and refuses, own changes in reads and scans, random histories of several at a
 * time against a model that knows who changed what when, threads that move money, no memory, a crash.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

static struct wombat_txn *begin(struct db_world *w, unsigned flags)
{
	struct wombat_txn *t;
	assert_ok(wombat_txn_begin(w->db, flags, &t));
	return t;
}

static void put(struct wombat_txn *t, const char *key, const char *value)
{
	assert_ok(wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(value), NULL));
}

static void expect(struct wombat_txn *t, const char *key, const char *value)
{
	struct wombat_record r;
	enum wombat_status s = wombat_txn_get(t, WOMBAT_USER, WOMBAT_STR(key), 0, &r);
	assert_status(s, value ? WOMBAT_OK : WOMBAT_NOT_FOUND);
	if (s != WOMBAT_OK)
		return;
	assert_int_equal(r.value.size, strlen(value));
	assert_memory_equal(r.value.data, value, r.value.size);
	wombat_record_release(&r);
}

static void commits(struct wombat_txn *t)
{
	assert_ok(wombat_txn_commit(t, 0, NULL));
}

static void conflicts(struct wombat_txn *t, const char *key)
{
	assert_status(wombat_txn_commit(t, 0, NULL), WOMBAT_CONFLICT);
	assert_non_null(strstr(wombat_last_error(), key));
}

/* All keys and values of a scan, "k=v " each; forwards, and the same backwards. */
static void expect_scan(struct wombat_txn *t, const struct wombat_iter_options *options, const char *text)
{
	struct wombat_iter *it;
	char seen[512] = "", back[512] = "";
	assert_ok(wombat_txn_iter_new(t, options, WOMBAT_USER, &it));
	for (bool there = wombat_iter_first(it); there; there = wombat_iter_next(it)) {
		const struct wombat_record *r = wombat_iter_record(it);
		size_t n = strlen(seen);
		snprintf(seen + n, sizeof seen - n, "%.*s=%.*s ", (int)r->key.size, (const char *)r->key.data, (int)r->value.size,
			 (const char *)r->value.data);
	}
	assert_ok(wombat_iter_status(it));
	assert_string_equal(seen, text);
	for (bool there = wombat_iter_last(it); there; there = wombat_iter_prev(it)) {
		const struct wombat_record *r = wombat_iter_record(it);
		char one[64];
		int n = snprintf(one, sizeof one, "%.*s=%.*s ", (int)r->key.size, (const char *)r->key.data, (int)r->value.size,
				 (const char *)r->value.data);
		assert_true(n > 0 && strlen(back) + (size_t)n < sizeof back);
		memmove(back + n, back, strlen(back) + 1);
		memcpy(back, one, (size_t)n);
	}
	assert_ok(wombat_iter_status(it));
	assert_string_equal(back, text);
	wombat_iter_free(it);
}

/* ---- One after the other ------------------------------------------------------------------- */

static void test_own_changes_over_a_snapshot(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_put(&w, "a", "1");
	db_world_put(&w, "b", "2");
	assert_ok(wombat_flush(w.db));
	db_world_put(&w, "c", "3");
	struct wombat_txn *t = begin(&w, 0);
	expect_scan(t, NULL, "a=1 b=2 c=3 ");
	put(t, "b", "twenty");
	put(t, "bb", "new");
	assert_ok(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("c")));
	put(t, "z", "once");
	put(t, "z", "twice");
	db_world_put(&w, "aa", "not seen");
	expect(t, "a", "1");
	expect(t, "aa", NULL);
	expect(t, "b", "twenty");
	expect(t, "c", NULL);
	expect(t, "z", "twice");
	expect_scan(t, NULL, "a=1 b=twenty bb=new z=twice ");
	struct wombat_iter_options some = { .lower = WOMBAT_STR("b"), .upper = WOMBAT_STR("c") };
	expect_scan(t, &some, "b=twenty bb=new ");
	assert_ok(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("bb")));
	put(t, "c", "again");
	expect_scan(t, NULL, "a=1 b=twenty c=again z=twice ");
	/* Nobody else sees any of it. */
	db_world_expect(&w, WOMBAT_USER, "b", "2");
	db_world_expect(&w, WOMBAT_USER, "z", NULL);
	uint64_t sequence;
	assert_ok(wombat_txn_commit(t, WOMBAT_SYNC, &sequence));
	assert_int_equal(sequence, (uint64_t)db_world_stat(&w, "sequence"));
	db_world_expect(&w, WOMBAT_USER, "b", "twenty");
	db_world_expect(&w, WOMBAT_USER, "bb", NULL);
	db_world_expect(&w, WOMBAT_USER, "c", "again");
	db_world_expect(&w, WOMBAT_USER, "z", "twice");
	assert_true(db_world_stat(&w, "transactions.commits_total") == 1);
	assert_true(db_world_stat(&w, "snapshots") == 0);
	db_world_done(&w);
}

static void test_abandoned(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	double before = db_world_stat(&w, "sequence");
	struct wombat_txn *t = begin(&w, WOMBAT_SERIALIZABLE);
	put(t, "a", "1");
	expect(t, "a", "1");
	wombat_txn_abandon(t);
	wombat_txn_abandon(NULL);
	db_world_expect(&w, WOMBAT_USER, "a", NULL);
	assert_true(db_world_stat(&w, "sequence") == before && db_world_stat(&w, "snapshots") == 0);
	/* One that changes nothing commits whatever happened. */
	t = begin(&w, WOMBAT_SERIALIZABLE);
	expect(t, "a", NULL);
	db_world_put(&w, "a", "2");
	expect(t, "a", NULL);
	uint64_t sequence = 99;
	assert_ok(wombat_txn_commit(t, 0, &sequence));
	assert_int_equal(sequence, (uint64_t)before);
	db_world_done(&w);
}

static void test_two_change_one_key(void **state)
{
	(void)state;
	for (unsigned where = 0; where < 3; where++) { /* the newer change: in memory, in a table, compacted */
		struct db_world w;
		db_world_init(&w, NULL);
		db_world_put(&w, "k", "0");
		struct wombat_txn *first = begin(&w, 0), *second = begin(&w, 0);
		put(first, "k", "first");
		put(second, "k", "second");
		put(second, "other", "second");
		commits(first);
		if (where)
			assert_ok(wombat_flush(w.db));
		if (where == 2)
			assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		conflicts(second, "\"k\"");
		db_world_expect(&w, WOMBAT_USER, "k", "first");
		db_world_expect(&w, WOMBAT_USER, "other", NULL);
		assert_true(db_world_stat(&w, "transactions.conflicts_total") == 1);
		/* A newer deletion conflicts as well, by itself or by a range, also when nothing was there. */
		for (unsigned range = 0; range < 2; range++) {
			struct wombat_txn *t = begin(&w, 0);
			put(t, "absent", "1");
			if (range)
				assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR("a"), WOMBAT_STR("b")));
			else
				assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("absent")));
			if (where)
				assert_ok(wombat_flush(w.db));
			if (where == 2)
				assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
			conflicts(t, "absent");
		}
		/* One key of two keyspaces is two keys. */
		struct wombat_txn *t = begin(&w, 0);
		put(t, "k", "mine");
		assert_ok(wombat_put(w.db, 77, WOMBAT_STR("k"), WOMBAT_STR("theirs")));
		commits(t);
		db_world_expect(&w, WOMBAT_USER, "k", "mine");
		db_world_done(&w);
	}
}

/* Each reads what the other changes: allowed between snapshots, not in any order of one after the other. */
static void test_write_skew(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags <= WOMBAT_SERIALIZABLE; flags += WOMBAT_SERIALIZABLE) {
		struct db_world w;
		db_world_init(&w, NULL);
		db_world_put(&w, "x", "1");
		db_world_put(&w, "y", "1");
		struct wombat_txn *first = begin(&w, flags), *second = begin(&w, flags);
		expect(first, "x", "1");
		expect(first, "y", "1");
		put(first, "x", "0");
		expect(second, "x", "1");
		expect(second, "y", "1");
		put(second, "y", "0");
		commits(first);
		if (flags)
			conflicts(second, "\"x\"");
		else
			commits(second);
		db_world_done(&w);
	}
}

/* A key that comes into a range, goes from it, or is absent when it is asked for, was read too. */
static void test_phantoms(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 6; n++) {
		bool in_table = n % 2;
		struct db_world w;
		db_world_init(&w, NULL);
		db_world_put(&w, "m1", "1");
		db_world_put(&w, "m2", "2");
		struct wombat_iter_options range = { .lower = WOMBAT_STR("m"), .upper = WOMBAT_STR("n") };
		struct wombat_txn *t = begin(&w, WOMBAT_SERIALIZABLE), *snapshot = begin(&w, 0);
		expect_scan(t, &range, "m1=1 m2=2 ");
		expect_scan(snapshot, &range, "m1=1 m2=2 ");
		expect(t, "absent", NULL);
		put(t, "sum", "3");
		put(snapshot, "sum2", "3");
		db_world_put(&w, "l", "below the range");
		db_world_put(&w, "n", "behind it");
		const char *key = n / 2 == 0 ? "m11" : n / 2 == 1 ? "m1" : "absent";
		if (n / 2 == 1)
			assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR("m1"), WOMBAT_STR("m2")));
		else
			db_world_put(&w, key, "new");
		if (in_table)
			assert_ok(wombat_flush(w.db));
		conflicts(t, key);
		commits(snapshot);
		/* Neighbours of the range do not count. */
		t = begin(&w, WOMBAT_SERIALIZABLE);
		range = (struct wombat_iter_options){ .lower = WOMBAT_STR("m2"), .upper = WOMBAT_STR("m3") };
		expect_scan(t, &range, "m2=2 ");
		put(t, "sum", "3");
		db_world_put(&w, "m1", "1");
		db_world_put(&w, "m3", "1");
		assert_ok(wombat_delete_range(w.db, WOMBAT_USER, WOMBAT_STR("m3"), WOMBAT_STR("m4")));
		commits(t);
		db_world_done(&w);
	}
}

/* Moves of one iterator over a, c, e, g and i, and which keys a newer change of conflicts with them. */
static void test_what_was_passed_over(void **state)
{
	(void)state;
	static const struct {
		const char *moves;  /* f: first, l: last, n: next, p: prev, a key: seek, its capital: seek for prev */
		const char *passed; /* of the keys a to j those that count */
	} cases[] = {
		{ "", "" }, { "f", "a" }, { "fn", "abc" }, { "fnn", "abcde" }, { "fnnnnn", "abcdefghij" },
		{ "l", "ij" }, { "lp", "ghij" }, { "lppppp", "abcdefghij" }, { "d", "de" }, { "dn", "defg" }, { "dp", "cde" },
		{ "dnpp", "cdefg" }, { "dppn", "abcde" }, { "D", "cd" }, { "Dp", "abcd" }, { "Dn", "cde" }, { "bh", "bchi" },
		{ "hb", "bchi" }, { "C", "c" }, { "j", "j" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (char changed = 'a'; changed <= 'j'; changed++) {
			struct db_world w;
			db_world_init(&w, NULL);
			for (char key[2] = "a"; *key <= 'i'; *key += 2)
				db_world_put(&w, key, "1");
			struct wombat_txn *t = begin(&w, WOMBAT_SERIALIZABLE);
			struct wombat_iter *it;
			assert_ok(wombat_txn_iter_new(t, NULL, WOMBAT_USER, &it));
			for (const char *m = cases[i].moves; *m; m++) {
				char key = (char)(*m | 0x20);
				if (*m == 'f')
					wombat_iter_first(it);
				else if (*m == 'l')
					wombat_iter_last(it);
				else if (*m == 'n')
					wombat_iter_next(it);
				else if (*m == 'p')
					wombat_iter_prev(it);
				else if (*m < 'a')
					wombat_iter_seek_for_prev(it, WOMBAT_SLICE(&key, 1));
				else
					wombat_iter_seek(it, WOMBAT_SLICE(&key, 1));
			}
			assert_ok(wombat_iter_status(it));
			wombat_iter_free(it);
			put(t, "z", "1");
			db_world_put(&w, (char[2]){ changed, 0 }, "2");
			enum wombat_status expected = strchr(cases[i].passed, changed) ? WOMBAT_CONFLICT : WOMBAT_OK;
			enum wombat_status s = wombat_txn_commit(t, 0, NULL);
			if (s != expected)
				print_message("moves \"%s\", change of %c\n", cases[i].moves, changed);
			assert_status(s, expected);
			db_world_done(&w);
		}
}

/* So many walks that not each has a range of its own: none is forgotten. */
static void test_many_walks(void **state)
{
	(void)state;
	char key[16];
	for (unsigned changed = 0; changed < 3000; changed += 299) {
		struct db_world w;
		db_world_init(&w, NULL);
		for (unsigned i = 0; i < 3000; i++) {
			snprintf(key, sizeof key, "%06u", i * 10);
			db_world_put(&w, key, "1");
		}
		struct wombat_txn *t = begin(&w, WOMBAT_SERIALIZABLE);
		struct wombat_iter *it;
		assert_ok(wombat_txn_iter_new(t, NULL, WOMBAT_USER, &it));
		for (unsigned i = 0; i < 3000; i++) {
			snprintf(key, sizeof key, "%06u", i * 7 % 3000 * 10);
			assert_true(wombat_iter_seek(it, WOMBAT_STR(key)));
		}
		wombat_iter_free(it);
		put(t, "z", "1");
		snprintf(key, sizeof key, "%06u", changed * 10);
		db_world_put(&w, key, "2");
		conflicts(t, key);
		db_world_done(&w);
	}
}

/* Children of a prefix, "k " for values and "k/ " for prefixes; '+' behind a value that is a prefix as well. */
static void expect_list(struct wombat_txn *t, const char *prefix, const char *text)
{
	struct wombat_list *l;
	struct wombat_child c;
	char seen[256] = "";
	enum wombat_status s;
	assert_ok(wombat_txn_list_new(t, WOMBAT_USER, WOMBAT_STR(prefix), &l));
	while ((s = wombat_list_next(l, &c)) == WOMBAT_OK) {
		strncat(seen, (const char *)c.name.data, c.name.size);
		strcat(seen, c.is_value ? c.is_prefix ? "+ " : " " : "/ ");
	}
	assert_status(s, WOMBAT_NOT_FOUND);
	wombat_list_free(l);
	assert_string_equal(seen, text);
}

static bool has_prefix(struct wombat_txn *t, const char *prefix)
{
	bool exists;
	assert_ok(wombat_txn_prefix_exists(t, WOMBAT_USER, WOMBAT_STR(prefix), 0, &exists));
	return exists;
}

static void test_lists_and_prefixes(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_put(&w, "a/1", "x");
	db_world_put(&w, "a/2", "x");
	db_world_put(&w, "b", "x");
	struct wombat_txn *t = begin(&w, 0);
	db_world_put(&w, "later/1", "x");
	expect_list(t, "", "a/ b ");
	put(t, "b/1", "x");
	put(t, "b-1", "x"); /* between b and b/ */
	put(t, "c/1", "x");
	assert_ok(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("a/1")));
	expect_list(t, "", "a/ b+ b-1 b/ c/ ");
	expect_list(t, "a/", "2 ");
	assert_true(has_prefix(t, "a/") && has_prefix(t, "c/") && !has_prefix(t, "later/"));
	assert_ok(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("a/2")));
	expect_list(t, "", "b+ b-1 b/ c/ ");
	assert_false(has_prefix(t, "a/"));
	struct wombat_list *l;
	struct wombat_child c;
	assert_ok(wombat_txn_list_new(t, WOMBAT_USER, WOMBAT_STR(""), &l));
	wombat_list_seek_after(l, WOMBAT_STR("b"), false);
	assert_ok(wombat_list_next(l, &c));
	assert_memory_equal(c.name.data, "b-1", 3);
	wombat_list_free(l);
	assert_status(wombat_txn_list_new(t, WOMBAT_USER, WOMBAT_STR("a"), &l), WOMBAT_INVALID);
	commits(t);
	db_world_done(&w);
}

static void expect_begin(struct wombat_txn *t, const char *key, const char *begins, uint64_t size)
{
	struct wombat_value *v;
	char got[16];
	size_t n;
	assert_ok(wombat_txn_value_open(t, WOMBAT_USER, WOMBAT_STR(key), &v));
	assert_int_equal(wombat_value_record(v)->value_size, size);
	assert_ok(wombat_value_read(v, 0, got, strlen(begins), &n));
	assert_int_equal(n, strlen(begins));
	assert_memory_equal(got, begins, n);
	wombat_value_close(v);
}

static void test_values_in_parts(void **state)
{
	(void)state;
	const char *const settings[] = { "value_threshold", "1K", NULL };
	struct db_world w;
	struct wombat_value *v;
	struct wombat_edit *e;
	db_world_init(&w, settings);
	db_world_put(&w, "small", "as it was");
	db_world_put_filled(&w, "log", 5000, 1);
	assert_ok(wombat_edit_open(w.db, WOMBAT_USER, WOMBAT_STR("parts"), WOMBAT_EDIT_CREATE, &e));
	assert_ok(wombat_edit_write(e, 2 << 20, "end", 3));
	assert_ok(wombat_edit_write(e, 0, "old", 3));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	struct wombat_txn *t = begin(&w, WOMBAT_SERIALIZABLE);
	assert_ok(wombat_edit_write(e, 0, "new", 3));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	wombat_edit_close(e);
	db_world_put(&w, "small", "as it is");
	expect_begin(t, "parts", "old", (2 << 20) + 3);
	expect_begin(t, "small", "as it was", 9);
	expect_begin(t, "log", "", 5000);
	put(t, "own", "changed");
	expect_begin(t, "own", "changed", 7);
	assert_ok(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("log")));
	assert_status(wombat_txn_value_open(t, WOMBAT_USER, WOMBAT_STR("log"), &v), WOMBAT_NOT_FOUND);
	assert_status(wombat_txn_value_open(t, WOMBAT_USER, WOMBAT_STR("none"), &v), WOMBAT_NOT_FOUND);
	conflicts(t, "\"parts\""); /* to open it is to read it */
	db_world_done(&w);
}

/* What cannot be committed can be read, and tried again; what was committed can be read and no more. */
static void test_try(void **state)
{
	(void)state;
	struct db_world w;
	uint64_t sequence;
	db_world_init(&w, NULL);
	struct wombat_txn *t = begin(&w, 0);
	put(t, "a", "mine");
	put(t, "b", "mine");
	db_world_put(&w, "b", "theirs");
	for (int i = 0; i < 2; i++) {
		assert_status(wombat_txn_try(t, 0, &sequence), WOMBAT_CONFLICT);
		assert_non_null(strstr(wombat_last_error(), "\"b\""));
		expect(t, "a", "mine");
		put(t, "c", "mine");
	}
	db_world_expect(&w, WOMBAT_USER, "a", NULL);
	wombat_txn_abandon(t);
	t = begin(&w, 0);
	put(t, "a", "mine");
	for (unsigned n = 0;; n++) {
		scarce_begin(n);
		enum wombat_status s = wombat_txn_try(t, 0, &sequence);
		scarce_end();
		if (s == WOMBAT_OK)
			break;
		assert_status(s, WOMBAT_NO_MEMORY);
		db_world_expect(&w, WOMBAT_USER, "a", NULL);
	}
	db_world_expect(&w, WOMBAT_USER, "a", "mine");
	db_world_put(&w, "a", "theirs");
	expect(t, "a", "mine");
	expect(t, "b", "theirs");
	assert_status(wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR("x"), WOMBAT_STR("y"), NULL), WOMBAT_INVALID);
	assert_status(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("a")), WOMBAT_INVALID);
	assert_status(wombat_txn_try(t, 0, NULL), WOMBAT_INVALID);
	assert_status(wombat_txn_commit(t, 0, NULL), WOMBAT_INVALID); /* and ends it */
	db_world_expect(&w, WOMBAT_USER, "a", "theirs");
	db_world_done(&w);
}

static void test_values_attributes_limits(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, (const char *const[]){ "value_threshold", "2000", "max_value_size", "100000", "max_key_size", "100", NULL });
	static char large[60000], key[200];
	memset(large, 'l', sizeof large);
	struct wombat_txn *t = begin(&w, 0);
	struct wombat_put_info info = { .time_ns = 77, .attr = WOMBAT_STR("attributes") };
	assert_ok(wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR("large"), WOMBAT_SLICE(large, sizeof large), &info));
	info = (struct wombat_put_info){ .expiry_ns = 1 };
	assert_ok(wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR("expired"), WOMBAT_STR("v"), &info));
	expect(t, "expired", NULL);
	memset(large, 'x', sizeof large); /* they were copied */
	assert_status(wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR("k"), WOMBAT_SLICE(large, 100001), NULL), WOMBAT_TOO_BIG);
	assert_status(wombat_txn_put(t, WOMBAT_USER, WOMBAT_SLICE(key, 101), WOMBAT_STR(""), NULL), WOMBAT_TOO_BIG);
	assert_status(wombat_txn_delete(t, WOMBAT_USER, WOMBAT_SLICE(key, 101)), WOMBAT_TOO_BIG);
	assert_status(wombat_txn_put(t, 0, WOMBAT_STR("k"), WOMBAT_STR(""), NULL), WOMBAT_INVALID);
	assert_status(wombat_txn_delete(t, 255, WOMBAT_STR("k")), WOMBAT_INVALID);
	struct wombat_record r;
	struct wombat_iter *it;
	struct wombat_txn *none;
	assert_status(wombat_txn_get(t, 0, WOMBAT_STR("k"), 0, &r), WOMBAT_INVALID);
	assert_status(wombat_txn_iter_new(t, NULL, 255, &it), WOMBAT_INVALID);
	assert_status(wombat_txn_begin(w.db, 64, &none), WOMBAT_INVALID);
	commits(t);
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("large"), &r));
	assert_true(r.value.size == sizeof large && r.value.data[0] == 'l' && r.value.data[sizeof large - 1] == 'l');
	assert_true(r.time_ns == 77 && slice_equal(r.attr, WOMBAT_STR("attributes")));
	wombat_record_release(&r);
	assert_true(db_world_stat(&w, "value_log.appends_total") == 1);
	db_world_done(&w);
}

/* ---- Random histories ---------------------------------------------------------------------- */

enum { KEYS = 12, TXNS = 4 };

/* What is known of a key: its value (0: none) and the number of the step that changed it last. */
struct known {
	unsigned value, changed;
};

struct running {
	struct wombat_txn *t;
	bool serializable;
	unsigned begun;
	unsigned value[KEYS];  /* as it sees them */
	bool changed[KEYS], read[KEYS], any_change;
	bool ranges[KEYS + 1][KEYS + 1]; /* it read from key i to before key j */
};

struct history_test {
	struct db_world w;
	struct random_state r;
	struct known keys[KEYS];
	struct running running[TXNS];
	unsigned step, conflicts, commits;
};

static const char *key_name(unsigned i)
{
	static char names[KEYS + 1][16];
	snprintf(names[i], sizeof names[i], "k%02u", i);
	return names[i];
}

static void value_text(unsigned value, char out[16])
{
	snprintf(out, 16, "%u", value);
}

static void change_outside(struct history_test *h)
{
	unsigned i = (unsigned)random_below(&h->r, KEYS), j = i + (unsigned)random_below(&h->r, 3);
	char text[16];
	value_text(h->step, text);
	switch (random_below(&h->r, 6)) {
	case 0:
		assert_ok(wombat_delete(h->w.db, WOMBAT_USER, WOMBAT_STR(key_name(i))));
		h->keys[i] = (struct known){ 0, h->step };
		break;
	case 1:
		if (j <= i || j > KEYS)
			break;
		assert_ok(wombat_delete_range(h->w.db, WOMBAT_USER, WOMBAT_STR(key_name(i)), WOMBAT_STR(key_name(j))));
		for (unsigned k = i; k < j; k++)
			h->keys[k] = (struct known){ 0, h->step };
		break;
	case 2:
		assert_ok(wombat_flush(h->w.db));
		break;
	case 3:
		if (random_below(&h->r, 4) == 0)
			assert_ok(wombat_compact(h->w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		break;
	default:
		db_world_put(&h->w, key_name(i), text);
		h->keys[i] = (struct known){ h->step, h->step };
	}
}

static void begin_one(struct history_test *h, struct running *x)
{
	*x = (struct running){ .serializable = random_below(&h->r, 2), .begun = h->step };
	x->t = begin(&h->w, x->serializable ? WOMBAT_SERIALIZABLE : 0);
	for (unsigned i = 0; i < KEYS; i++)
		x->value[i] = h->keys[i].value;
}

static void scan_one(struct history_test *h, struct running *x)
{
	unsigned i = (unsigned)random_below(&h->r, KEYS), j = i + 1 + (unsigned)random_below(&h->r, KEYS - i);
	char text[512] = "";
	struct wombat_iter_options range = { .lower = WOMBAT_STR(key_name(i)), .upper = WOMBAT_STR(key_name(j)) };
	for (unsigned k = i; k < j; k++)
		if (x->value[k]) {
			size_t n = strlen(text);
			snprintf(text + n, sizeof text - n, "%s=%u ", key_name(k), x->value[k]);
		}
	expect_scan(x->t, &range, text);
	x->ranges[i][j] = true;
}

/* Looks at the first keys from one on, and stops. */
static void look_one(struct history_test *h, struct running *x)
{
	unsigned i = (unsigned)random_below(&h->r, KEYS), left = 1 + (unsigned)random_below(&h->r, 3), k = i;
	struct wombat_iter *it;
	assert_ok(wombat_txn_iter_new(x->t, NULL, WOMBAT_USER, &it));
	bool there = wombat_iter_seek(it, WOMBAT_STR(key_name(i)));
	for (; k < KEYS && left; k++) {
		if (!x->value[k])
			continue;
		assert_true(there && slice_equal(wombat_iter_record(it)->key, WOMBAT_STR(key_name(k))));
		if (--left)
			there = wombat_iter_next(it);
	}
	assert_true(left == 0 || !there);
	wombat_iter_free(it);
	x->ranges[i][k] = true;
}

static void step_one(struct history_test *h, struct running *x)
{
	unsigned i = (unsigned)random_below(&h->r, KEYS);
	char text[16];
	value_text(h->step, text);
	switch (random_below(&h->r, 6)) {
	case 3:
		look_one(h, x);
		break;
	case 0:
		put(x->t, key_name(i), text);
		x->value[i] = h->step;
		x->changed[i] = x->any_change = true;
		break;
	case 1:
		assert_ok(wombat_txn_delete(x->t, WOMBAT_USER, WOMBAT_STR(key_name(i))));
		x->value[i] = 0;
		x->changed[i] = x->any_change = true;
		break;
	case 2:
		scan_one(h, x);
		break;
	default:
		value_text(x->value[i], text);
		expect(x->t, key_name(i), x->value[i] ? text : NULL);
		x->read[i] |= !x->changed[i]; /* its own change needs no look at the database */
	}
}

static bool must_conflict(const struct history_test *h, const struct running *x)
{
	bool conflict = false;
	for (unsigned k = 0; k < KEYS; k++)
		if (h->keys[k].changed > x->begun) {
			conflict |= x->changed[k] || (x->serializable && x->read[k]);
			for (unsigned i = 0; i <= k; i++)
				for (unsigned j = k + 1; j <= KEYS; j++)
					conflict |= x->serializable && x->ranges[i][j];
		}
	return conflict && x->any_change;
}

static void end_one(struct history_test *h, struct running *x)
{
	if (random_below(&h->r, 8) == 0) {
		wombat_txn_abandon(x->t);
		x->t = NULL;
		return;
	}
	bool conflict = must_conflict(h, x);
	enum wombat_status s = wombat_txn_commit(x->t, 0, NULL);
	x->t = NULL;
	assert_status(s, conflict ? WOMBAT_CONFLICT : WOMBAT_OK);
	h->conflicts += conflict;
	h->commits += !conflict && x->any_change;
	for (unsigned k = 0; k < KEYS && !conflict; k++)
		if (x->changed[k])
			h->keys[k] = (struct known){ x->value[k], h->step };
}

static void test_random_histories(void **state)
{
	(void)state;
	struct history_test *h = calloc(1, sizeof *h);
	assert_non_null(h);
	random_seed(&h->r, test_seed("test_random_histories"));
	db_world_init(&h->w, NULL);
	unsigned steps = test_steps(4000);
	for (h->step = 1; h->step <= steps; h->step++) {
		struct running *x = &h->running[random_below(&h->r, TXNS)];
		if (random_below(&h->r, 10) == 0)
			change_outside(h);
		else if (!x->t)
			begin_one(h, x);
		else if (random_below(&h->r, 7) == 0)
			end_one(h, x);
		else
			step_one(h, x);
	}
	for (unsigned i = 0; i < TXNS; i++)
		wombat_txn_abandon(h->running[i].t);
	for (unsigned k = 0; k < KEYS; k++) {
		char text[16];
		value_text(h->keys[k].value, text);
		db_world_expect(&h->w, WOMBAT_USER, key_name(k), h->keys[k].value ? text : NULL);
	}
	print_message("%u commits, %u conflicts\n", h->commits, h->conflicts);
	assert_true(db_world_stat(&h->w, "transactions.conflicts_total") == h->conflicts);
	assert_true(db_world_stat(&h->w, "snapshots") == 0);
	db_world_done(&h->w);
	free(h);
}

/* ---- Threads ------------------------------------------------------------------------------- */

enum { ACCOUNTS = 8, MONEY = 1000, THREADS = 4, TRANSFERS = 300 };

struct teller {
	struct wombat *db;
	uint64_t seed;
	unsigned flags, conflicts;
	enum wombat_status status; /* of what was neither done nor a conflict */
	bool wrong_sum;
};

static enum wombat_status read_number(struct wombat_txn *t, unsigned account, int *out)
{
	struct wombat_record r;
	char key[16], text[16] = "";
	snprintf(key, sizeof key, "account%u", account);
	enum wombat_status s = wombat_txn_get(t, WOMBAT_USER, WOMBAT_STR(key), 0, &r);
	if (s != WOMBAT_OK)
		return s;
	memcpy(text, r.value.data, r.value.size < 15 ? r.value.size : 15);
	wombat_record_release(&r);
	*out = atoi(text);
	return s;
}

static enum wombat_status write_number(struct wombat_txn *t, unsigned account, int number)
{
	char key[16], text[16];
	snprintf(key, sizeof key, "account%u", account);
	snprintf(text, sizeof text, "%d", number);
	return wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(text), NULL);
}

static enum wombat_status transfer(struct teller *x, unsigned from, unsigned to, int amount)
{
	struct wombat_txn *t;
	int a = 0, b = 0, sum = 0;
	enum wombat_status s = wombat_txn_begin(x->db, x->flags, &t);
	if (s != WOMBAT_OK)
		return s;
	for (unsigned i = 0; i < ACCOUNTS && s == WOMBAT_OK; i++) {
		int n = 0;
		if (x->flags && i != from && i != to)
			continue; /* there a read is a reason for a conflict */
		s = read_number(t, i, &n);
		sum += n;
		a = i == from ? n : a;
		b = i == to ? n : b;
	}
	x->wrong_sum |= !x->flags && s == WOMBAT_OK && sum != ACCOUNTS * MONEY;
	if (s == WOMBAT_OK)
		s = write_number(t, from, a - amount);
	if (s == WOMBAT_OK)
		s = write_number(t, to, b + amount);
	if (s == WOMBAT_OK)
		return wombat_txn_commit(t, 0, NULL);
	wombat_txn_abandon(t);
	return s;
}

static void *tell(void *arg)
{
	struct teller *x = arg;
	struct random_state r;
	random_seed(&r, x->seed);
	for (unsigned done = 0; done < TRANSFERS && x->status == WOMBAT_OK;) {
		unsigned from = (unsigned)random_below(&r, ACCOUNTS);
		unsigned to = (from + 1 + (unsigned)random_below(&r, ACCOUNTS - 1)) % ACCOUNTS;
		enum wombat_status s = transfer(x, from, to, (int)random_below(&r, 10));
		if (s == WOMBAT_CONFLICT)
			x->conflicts++;
		else if (s != WOMBAT_OK)
			x->status = s;
		else
			done++;
	}
	return NULL;
}

static void test_threads_move_money(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags <= WOMBAT_SERIALIZABLE; flags += WOMBAT_SERIALIZABLE) {
		struct db_world w;
		struct teller tellers[THREADS];
		pthread_t threads[THREADS];
		uint64_t seed = test_seed("test_threads_move_money");
		db_world_init(&w, NULL);
		struct wombat_txn *t = begin(&w, 0);
		for (unsigned i = 0; i < ACCOUNTS; i++)
			assert_ok(write_number(t, i, MONEY));
		commits(t);
		for (unsigned i = 0; i < THREADS; i++) {
			tellers[i] = (struct teller){ .db = w.db, .seed = seed + i, .flags = flags };
			assert_int_equal(pthread_create(&threads[i], NULL, tell, &tellers[i]), 0);
		}
		for (unsigned i = 0; i < 5; i++)
			assert_ok(wombat_flush(w.db));
		unsigned conflicts_seen = 0;
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(threads[i], NULL);
			conflicts_seen += tellers[i].conflicts;
		}
		int sum = 0;
		t = begin(&w, 0);
		for (unsigned i = 0; i < ACCOUNTS; i++) {
			int n;
			assert_ok(read_number(t, i, &n));
			sum += n;
		}
		wombat_txn_abandon(t);
		assert_int_equal(sum, ACCOUNTS * MONEY);
		for (unsigned i = 0; i < THREADS; i++)
			assert_true(tellers[i].status == WOMBAT_OK && !tellers[i].wrong_sum);
		assert_true(db_world_stat(&w, "transactions.conflicts_total") == conflicts_seen);
		print_message("%u conflicts\n", conflicts_seen);
		db_world_done(&w);
	}
}

/* Transactions that wait behind a leader: those that do not touch each other share a group and its sync. */
struct waiting {
	struct wombat_txn *t;
	enum wombat_status status;
	pthread_t thread;
};

static void *commit_durably(void *arg)
{
	struct waiting *x = arg;
	x->status = wombat_txn_commit(x->t, WOMBAT_SYNC, NULL);
	return NULL;
}

/* Those of the log's present segment: the spare one that is made ahead, and synced too, is there before. */
static void hold_syncs(struct db_world *w)
{
	db_world_await(w, "wal.files", 2);
	db_world_hold(w, "segment_sync", ".wal");
}

static void await_queued(struct db_world *w, unsigned count)
{
	for (unsigned queued = 0; queued < count;) {
		queued = 0;
		mutex_lock(&w->db->write_mu);
		for (struct write_request *r = w->db->queue_head; r; r = r->next)
			queued++;
		mutex_unlock(&w->db->write_mu);
		sched_yield();
	}
}

static void test_groups(void **state)
{
	(void)state;
	enum { COUNT = 6 };
	struct db_world w;
	struct waiting x[COUNT + 1];
	db_world_init(&w, NULL);
	for (unsigned i = 0; i <= COUNT; i++) {
		char key[8];
		snprintf(key, sizeof key, "k%u", i == COUNT ? 1 : i); /* the last two change one key */
		x[i].t = begin(&w, i % 2 ? WOMBAT_SERIALIZABLE : 0);
		put(x[i].t, key, "v");
	}
	double groups = db_world_stat(&w, "write_groups_total");
	hold_syncs(&w);
	for (unsigned i = 0; i <= COUNT; i++) {
		assert_int_equal(pthread_create(&x[i].thread, NULL, commit_durably, &x[i]), 0);
		if (i == 0)
			db_world_await_held(&w);
	}
	await_queued(&w, COUNT); /* all of them behind the first */
	db_world_let_go(&w);
	unsigned ok = 0, refused = 0;
	for (unsigned i = 0; i <= COUNT; i++) {
		pthread_join(x[i].thread, NULL);
		ok += x[i].status == WOMBAT_OK;
		refused += x[i].status == WOMBAT_CONFLICT;
	}
	assert_true(ok == COUNT && refused == 1);
	assert_true(db_world_stat(&w, "write_groups_total") - groups <= 3);
	db_world_done(&w);
}

/* Two that wait for one leader, each of which read what the other changes: neither is applied when the other is looked at
 * for the group, so only what they read tells them apart. */
static void test_groups_of_readers(void **state)
{
	(void)state;
	for (unsigned by_range = 0; by_range < 2; by_range++) {
		struct db_world w;
		struct waiting x[3];
		const char *const keys[3] = { "first", "x", "y" };
		db_world_init(&w, NULL);
		db_world_put(&w, "x", "1");
		db_world_put(&w, "y", "1");
		for (unsigned i = 0; i < 3; i++) {
			x[i].t = begin(&w, WOMBAT_SERIALIZABLE);
			const char *other = keys[i == 1 ? 2 : 1];
			struct wombat_iter_options range = { .lower = WOMBAT_STR(other), .upper = WOMBAT_STR(i == 1 ? "z" : "y") };
			if (i > 0 && by_range)
				expect_scan(x[i].t, &range, i == 1 ? "y=1 " : "x=1 ");
			else if (i > 0)
				expect(x[i].t, other, "1");
			put(x[i].t, keys[i], "0");
		}
		hold_syncs(&w);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(pthread_create(&x[i].thread, NULL, commit_durably, &x[i]), 0);
			if (i == 0)
				db_world_await_held(&w);
		}
		await_queued(&w, 2);
		db_world_let_go(&w);
		for (unsigned i = 0; i < 3; i++)
			pthread_join(x[i].thread, NULL);
		assert_true(x[0].status == WOMBAT_OK);
		assert_true((x[1].status == WOMBAT_OK && x[2].status == WOMBAT_CONFLICT) ||
			    (x[1].status == WOMBAT_CONFLICT && x[2].status == WOMBAT_OK));
		db_world_expect(&w, WOMBAT_USER, "x", x[1].status == WOMBAT_OK ? "0" : "1");
		db_world_expect(&w, WOMBAT_USER, "y", x[2].status == WOMBAT_OK ? "0" : "1");
		db_world_done(&w);
	}
}

/* A change that has expired since is a change, also when a compaction made a tombstone of it. */
static void test_expired_change_conflicts(void **state)
{
	(void)state;
	for (unsigned compacted = 0; compacted < 2; compacted++) {
		struct db_world w;
		db_world_init(&w, NULL);
		struct wombat_txn *t = begin(&w, 0);
		put(t, "k", "mine");
		struct wombat_put_info info = { .expiry_ns = 1 };
		struct wombat_batch *batch = wombat_batch_new();
		assert_non_null(batch);
		assert_ok(wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR("k"), WOMBAT_STR("expired"), &info));
		assert_ok(wombat_write(w.db, batch, 0, NULL));
		wombat_batch_free(batch);
		if (compacted) {
			assert_ok(wombat_flush(w.db));
			assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
		}
		conflicts(t, "\"k\"");
		db_world_expect(&w, WOMBAT_USER, "k", NULL);
		db_world_done(&w);
	}
}

/* ---- Failures ------------------------------------------------------------------------------ */

static enum wombat_status all_of_it(struct wombat *db)
{
	struct wombat_txn *t;
	struct wombat_iter *it;
	struct wombat_record r;
	struct wombat_iter_options range = { .lower = WOMBAT_STR("a"), .upper = WOMBAT_STR("m") };
	enum wombat_status s = wombat_txn_begin(db, WOMBAT_SERIALIZABLE, &t);
	if (s != WOMBAT_OK)
		return s;
	s = wombat_txn_get(t, WOMBAT_USER, WOMBAT_STR("nothing"), 0, &r);
	if (s == WOMBAT_NOT_FOUND)
		s = wombat_txn_put(t, WOMBAT_USER, WOMBAT_STR("one"), WOMBAT_STR("1"), NULL);
	if (s == WOMBAT_OK)
		s = wombat_txn_delete(t, WOMBAT_USER, WOMBAT_STR("two"));
	if (s == WOMBAT_OK)
		s = wombat_txn_iter_new(t, &range, WOMBAT_USER, &it);
	if (s == WOMBAT_OK)
		wombat_iter_free(it);
	if (s == WOMBAT_OK)
		return wombat_txn_commit(t, 0, NULL);
	wombat_txn_abandon(t);
	return s;
}

/* Without memory nothing is applied, and the database stays in use. */
static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		db_world_init(&w, NULL);
		db_world_put(&w, "two", "2");
		scarce_begin(n);
		s = all_of_it(w.db);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		db_world_expect(&w, WOMBAT_USER, "one", s == WOMBAT_OK ? "1" : NULL);
		db_world_expect(&w, WOMBAT_USER, "two", s == WOMBAT_OK ? NULL : "2");
		assert_true(db_world_stat(&w, "snapshots") == 0);
		if (wombat_background_status(w.db) == WOMBAT_OK)
			db_world_put(&w, "later", "1");
		db_world_done(&w);
	}
	assert_true(n > 5);
}

/* A table that cannot be read when it is checked: nothing is applied, and the failure is told, not taken for a conflict or
 * for none. */
static void test_check_cannot_read(void **state)
{
	(void)state;
	unsigned n = 0;
	for (unsigned hits = 1; hits > 0; n++) {
		struct db_world w;
		struct wombat_iter_options range = { .lower = WOMBAT_STR("a"), .upper = WOMBAT_STR("c") };
		db_world_init(&w, (const char *const[]){ "block_cache_size", "0", "table_cache_size", "0", NULL });
		wombat_pause_compaction(w.db); /* no compaction reads a table meanwhile */
		struct wombat_txn *t = begin(&w, WOMBAT_SERIALIZABLE);
		expect_scan(t, &range, "");
		put(t, "k", "mine");
		db_world_put(&w, "j", "1"); /* a table that spans the key and has no change of it */
		db_world_put(&w, "l", "1");
		assert_ok(wombat_flush(w.db));
		db_world_fail_own(&w, "reader_", ".sst", n, WOMBAT_IO);
		enum wombat_status s = wombat_txn_commit(t, 0, NULL);
		hits = db_world_let_go(&w);
		assert_status(s, hits ? WOMBAT_IO : WOMBAT_OK);
		db_world_expect(&w, WOMBAT_USER, "k", hits ? NULL : "mine");
		assert_true(db_world_stat(&w, "snapshots") == 0);
		assert_true(db_world_stat(&w, "transactions.conflicts_total") == 0);
		assert_true(db_world_stat(&w, "errors.io_total") == (hits > 0));
		db_world_done(&w);
	}
	assert_true(n > 1);
}

/* A power cut right behind a durable commit: all of it is there. Behind one that is not: all or nothing. */
static void test_crash(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	struct wombat_txn *t = begin(&w, 0);
	for (unsigned i = 0; i < 50; i++) {
		char key[8];
		snprintf(key, sizeof key, "d%u", i);
		put(t, key, "durable");
	}
	assert_ok(wombat_txn_commit(t, WOMBAT_SYNC, NULL));
	t = begin(&w, 0);
	for (unsigned i = 0; i < 50; i++) {
		char key[8];
		snprintf(key, sizeof key, "e%u", i);
		put(t, key, "perhaps");
	}
	commits(t);
	struct env *after;
	struct wombat *db;
	assert_ok(env_mem_clone(w.env, ENV_MEM_SYNCED_ONLY, 1, &after));
	assert_ok(db_open_env(after, DB_WORLD_DIR, w.options, 0, &db));
	unsigned durable = 0, perhaps = 0;
	for (unsigned i = 0; i < 50; i++) {
		struct wombat_record record;
		char key[8];
		snprintf(key, sizeof key, "d%u", i);
		if (wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &record) == WOMBAT_OK) {
			durable++;
			wombat_record_release(&record);
		}
		key[0] = 'e';
		if (wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR(key), &record) == WOMBAT_OK) {
			perhaps++;
			wombat_record_release(&record);
		}
	}
	assert_int_equal(durable, 50);
	assert_true(perhaps == 0 || perhaps == 50);
	assert_ok(wombat_close(db));
	after->calls->free(after);
	db_world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_changes_over_a_snapshot),
		cmocka_unit_test(test_abandoned),
		cmocka_unit_test(test_two_change_one_key),
		cmocka_unit_test(test_write_skew),
		cmocka_unit_test(test_phantoms),
		cmocka_unit_test(test_what_was_passed_over),
		cmocka_unit_test(test_many_walks),
		cmocka_unit_test(test_lists_and_prefixes),
		cmocka_unit_test(test_values_in_parts),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_values_attributes_limits),
		cmocka_unit_test(test_random_histories),
		cmocka_unit_test(test_threads_move_money),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_groups_of_readers),
		cmocka_unit_test(test_expired_change_conflicts),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_check_cannot_read),
		cmocka_unit_test(test_crash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
