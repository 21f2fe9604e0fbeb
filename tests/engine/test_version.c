/*
 * Versions: lookups, scans, range tombstones and prefixes over real tables in three levels, against the history that
 * they were made of.
 */
#include "engine/iter/merge_iter.h"
#include "engine/version/level_iter.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

static const struct wombat_slice none;

struct world {
	struct env *env;
	struct versions w;
	struct history h;
	struct random_state random;
};

static void world_init(struct world *x, const char *name, const struct history_mix *mix, size_t changes)
{
	*x = (struct world){ .h = { .keys = 250 } };
	random_seed(&x->random, test_seed(name));
	assert_ok(env_mem_new(&x->env));
	versions_init(&x->w, x->env);
	assert_ok(versions_open(&x->w, true, false));
	history_grow(&x->h, &x->random, changes, mix);
	versions_fill(&x->w, &x->h, 4);
}

static void world_done(struct world *x)
{
	versions_done(&x->w);
	history_done(&x->h);
	x->env->calls->free(x->env);
}

static const struct history_mix puts_only = { .value_max = 60 };
static const struct history_mix everything = { .deletes = 15, .ranges = 4, .expiries = 20, .expiry_max_ns = 1000, .value_max = 60 };

/* ---- Bounds -------------------------------------------------------------------------------- */

static struct wombat_slice text(const char *s)
{
	return slice_make(s, strlen(s));
}

static void test_bounds(void **state)
{
	(void)state;
	struct version_edit e;
	version_edit_init(&e);
	fake_add(&e, &(struct fake_table)FAKE(1, 1, "b", "d"));
	fake_add(&e, &(struct fake_table)FAKE(1, 2, "f", "h!"));
	const struct file_meta *with = e.added[0].file, *without = e.added[1].file;
	static const struct {
		const char *from, *to;
		bool with, without;
	} cases[] = {
		{ "", "", true, true },
		{ "\1a", "\1b", false, false },
		{ "\1a", "\1b0", true, false },
		{ "\1d", "", true, true },
		{ "\1d0", "\1f", false, false },
		{ "\1d0", "\1f0", false, true },
		{ "\1g", "\1z", false, true },
		{ "\1h", "", false, false }, /* its end is excluded */
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(file_meta_overlaps(with, text(cases[i].from), text(cases[i].to)), cases[i].with);
		assert_int_equal(file_meta_overlaps(without, text(cases[i].from), text(cases[i].to)), cases[i].without);
	}
	assert_true(file_meta_has(with, text("\1d")) && !file_meta_before(with, text("\1d")));
	assert_false(file_meta_has(without, text("\1h")));
	assert_true(file_meta_before(without, text("\1h")));
	struct file_meta *files[] = { e.added[0].file, e.added[1].file };
	struct file_list list = { .files = files, .count = 2 };
	assert_int_equal(file_list_find(&list, text("\1a")), 0);
	assert_int_equal(file_list_find(&list, text("\1d")), 0);
	assert_int_equal(file_list_find(&list, text("\1e")), 1);
	assert_int_equal(file_list_find(&list, text("\1h")), 2);
	version_edit_done(&e);
}

static void test_spans(void **state)
{
	(void)state;
	struct key_span a = { text("b"), text("d"), false }, b = { text("d"), text("f"), true }, c = { text("f"), text("f"), false };
	assert_true(key_span_overlaps(&a, &b) && key_span_overlaps(&b, &a));
	assert_false(key_span_overlaps(&b, &c) || key_span_overlaps(&c, &b));
	key_span_add(&b, &a);
	assert_true(slice_equal(b.begin, text("b")) && slice_equal(b.end, text("f")) && b.end_excluded);
	key_span_add(&b, &c); /* the same end, included */
	assert_false(b.end_excluded);
	assert_true(key_span_overlaps(&b, &c));
}

/* ---- Get ----------------------------------------------------------------------------------- */

static void test_get_at_any_sequence(void **state)
{
	(void)state;
	struct world x;
	uint64_t snapshots[12];
	world_init(&x, "get", &everything, 1200);
	for (int i = 0; i < 12; i++)
		snapshots[i] = i ? 1 + random_below(&x.random, x.h.count) : SEQUENCE_MAX;
	versions_compare(&x.w, &x.h, snapshots, 12, 0);
	versions_compare(&x.w, &x.h, snapshots, 12, 500); /* half of what expires has */
	world_done(&x);
}

/* Once all is in memory every key of a version without range tombstones has its answer there, found or not. */
static void test_get_from_memory(void **state)
{
	(void)state;
	static const struct history_mix no_ranges = { .deletes = 15, .expiries = 20, .expiry_max_ns = 1000, .value_max = 60 };
	struct world x;
	world_init(&x, "memory", &no_ranges, 1200);
	uint64_t snapshots[4] = { SEQUENCE_MAX };
	for (int i = 1; i < 4; i++)
		snapshots[i] = 1 + random_below(&x.random, x.h.count);
	struct table_warm_counts counts = { 0 };
	struct lru_pin pin = { NULL, NULL };
	struct wombat_slice value;
	uint8_t key[HISTORY_KEY_MAX];
	uint64_t tag;
	struct version *v = versions_current(&x.w);
	struct wombat_slice k = slice_make(key, history_key(7, key));
	assert_true(v->run_count == 2);
	assert_status(version_get_warm(v, k, SEQUENCE_MAX, &counts, &tag, &value, &pin), WOMBAT_WOULD_BLOCK); /* nothing is open */
	version_unref(v);
	versions_compare(&x.w, &x.h, snapshots, 4, 0);
	size_t before = versions_warm_answers(&x.w);
	versions_compare(&x.w, &x.h, snapshots, 4, 0);
	assert_int_equal(versions_warm_answers(&x.w) - before, 4 * x.h.keys);
	world_done(&x);
}

/* What a memtable's range tombstone covers needs no search below, and what only one in a table covers neither. */
static void test_cover_ends_the_search(void **state)
{
	(void)state;
	struct world x;
	uint8_t key[HISTORY_KEY_MAX];
	world_init(&x, "cover", &puts_only, 900);
	struct wombat_slice k = slice_make(key, history_key(7, key)), value;
	struct version *v = versions_current(&x.w);
	struct version_get_counts counts = { 0 };
	struct lru_pin pin = { NULL, NULL };
	uint64_t tag, cover = x.h.count + 1;
	assert_status(version_get(v, x.w.tables, k, SEQUENCE_MAX, 0, &cover, &tag, &value, &pin, &counts), WOMBAT_NOT_FOUND);
	assert_int_equal(counts.tables, 0);
	assert_true(cover == x.h.count + 1);
	version_unref(v);

	/* A range tombstone in the newest table of level 0. */
	struct change c = { .kind = KIND_DELETE_RANGE };
	struct version_edit e;
	c.key_size = history_key(0, c.key);
	c.end_size = history_key(200, c.end);
	history_add(&x.h, &c);
	version_edit_init(&e);
	assert_true(versions_add_table(&x.w, &e, 0, &x.h, x.h.count - 1, 1, none, none));
	assert_ok(versions_apply(&x.w, &e));
	version_edit_done(&e);
	v = versions_current(&x.w);
	cover = 0;
	assert_status(version_get(v, x.w.tables, k, SEQUENCE_MAX, 0, &cover, &tag, &value, &pin, &counts), WOMBAT_NOT_FOUND);
	assert_int_equal(counts.tables, 1);
	assert_true(cover == x.h.count);
	assert_int_equal(v->range_delete_files, 1);
	version_unref(v);
	world_done(&x);
}

/* A table that is damaged or missing is an error, not an absence. */
static void test_missing_table(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	struct version_edit e;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_ok(versions_open(&w, true, false));
	version_edit_init(&e);
	fake_add(&e, &(struct fake_table)FAKE(1, 9, "a", "z", .range_deletes = 1));
	assert_ok(versions_apply(&w, &e));
	version_edit_done(&e);
	struct version *v = versions_current(&w);
	struct version_get_counts counts = { 0 };
	struct lru_pin pin = { NULL, NULL };
	struct wombat_slice value;
	struct range_del_set ranges;
	struct iter *iters[8], *it;
	uint64_t tag, cover = 0;
	size_t count = 0;
	bool may;
	enum wombat_status s = version_get(v, w.tables, text("\1b"), SEQUENCE_MAX, 0, &cover, &tag, &value, &pin, &counts);
	assert_true(s != WOMBAT_OK && s != WOMBAT_NOT_FOUND);
	range_del_set_init(&ranges);
	assert_true(version_collect_ranges(v, w.tables, none, none, &ranges) != WOMBAT_OK);
	assert_true(version_may_have_prefix(v, w.tables, text("\1b/"), &may) != WOMBAT_OK);
	assert_ok(version_add_iters(v, w.tables, none, none, 0, 0, iters, &count)); /* a level opens tables when it comes to them */
	assert_int_equal(count, 1);
	it = iters[0];
	iter_first(it);
	assert_true(!it->valid && it->status != WOMBAT_OK);
	iter_seek(it, text("\1c"), TAG_MAX);
	assert_true(!it->valid && it->status != WOMBAT_OK);
	iter_seek(it, text("\2"), TAG_MAX); /* behind it: nothing is opened */
	assert_true(!it->valid && it->status == WOMBAT_OK);
	iter_free(it);
	range_del_set_done(&ranges);
	version_unref(v);
	versions_done(&w);
	env->calls->free(env);
}

/* ---- Scans --------------------------------------------------------------------------------- */

/* All points between bounds come once, in order, whatever the way. */
static void test_scan(void **state)
{
	(void)state;
	struct world x;
	world_init(&x, "scan", &everything, 1200);
	for (int round = 0; round < 40; round++) {
		uint8_t from[HISTORY_KEY_MAX], to[HISTORY_KEY_MAX];
		unsigned a = (unsigned)random_below(&x.random, x.h.keys), b = (unsigned)random_below(&x.random, x.h.keys);
		struct wombat_slice lower = slice_make(from, history_key(a < b ? a : b, from));
		struct wombat_slice upper = slice_make(to, history_key(a < b ? b : a, to));
		if (round % 4 == 0)
			lower = none;
		if (round % 8 == 0)
			upper = none;
		struct version *v = versions_current(&x.w);
		struct iter *iters[64], *merge;
		size_t count = 0, want = 0, forward = 0, backward = 0;
		assert_true(version_iter_max(v) <= 64);
		assert_ok(version_add_iters(v, x.w.tables, lower, upper, 0, round % 3 ? 4096 : 0, iters, &count));
		version_unref(v); /* the iterators keep what they need */
		assert_ok(merge_iter_new(iters, count, &merge));
		for (size_t i = 0; i < x.h.count; i++) {
			struct wombat_slice key = change_key(&x.h.items[i]);
			want += x.h.items[i].kind != KIND_DELETE_RANGE && slice_compare(key, lower) >= 0 &&
				(!upper.size || slice_compare(key, upper) < 0);
		}
		uint8_t last[HISTORY_KEY_MAX];
		struct wombat_slice last_key = none;
		uint64_t last_tag = 0;
		for (iter_seek(merge, lower, TAG_MAX); merge->valid; iter_next(merge)) {
			if (upper.size && slice_compare(merge->key, upper) >= 0)
				break;
			const struct change *c = &x.h.items[tag_sequence(merge->tag) - 1];
			assert_true(slice_equal(merge->key, change_key(c)) && tag_kind(merge->tag) == c->kind);
			if (last_key.size)
				assert_true(ikey_compare_parts(last_key, last_tag, merge->key, merge->tag) < 0);
			memcpy(last, merge->key.data, merge->key.size);
			last_key = slice_make(last, merge->key.size);
			last_tag = merge->tag;
			forward++;
		}
		assert_int_equal(merge->status, WOMBAT_OK);
		if (upper.size)
			iter_seek_before(merge, upper, TAG_MAX);
		else
			iter_last(merge);
		for (; merge->valid && slice_compare(merge->key, lower) >= 0; iter_prev(merge))
			backward++;
		assert_int_equal(merge->status, WOMBAT_OK);
		assert_int_equal(forward, want);
		assert_int_equal(backward, want);
		iter_free(merge);
	}
	world_done(&x);
}

/* The tombstones that a scan collects hide what those of the history hide. */
static void test_collected_ranges(void **state)
{
	(void)state;
	struct world x;
	world_init(&x, "ranges", &everything, 1200);
	struct version *v = versions_current(&x.w);
	for (int round = 0; round < 20; round++) {
		uint8_t from[HISTORY_KEY_MAX], key[HISTORY_KEY_MAX];
		struct range_del_set set;
		struct range_fragments *f;
		unsigned first = (unsigned)random_below(&x.random, x.h.keys);
		struct wombat_slice lower = round ? slice_make(from, history_key(first, from)) : none;
		uint64_t snapshot = 1 + random_below(&x.random, x.h.count);
		range_del_set_init(&set);
		assert_ok(version_collect_ranges(v, x.w.tables, lower, none, &set));
		assert_ok(range_fragments_build(&set, &f));
		for (unsigned n = round ? first : 0; n < x.h.keys; n++) {
			struct wombat_slice k = slice_make(key, history_key(n, key));
			uint64_t want = 0;
			for (size_t i = 0; i < snapshot; i++) {
				const struct change *c = &x.h.items[i];
				if (c->kind == KIND_DELETE_RANGE && slice_compare(change_key(c), k) <= 0 &&
				    slice_compare(k, change_end(c)) < 0)
					want = c->sequence;
			}
			assert_true(range_fragments_cover(f, k, snapshot) == want);
		}
		range_fragments_unref(f);
		range_del_set_done(&set);
	}
	version_unref(v);
	world_done(&x);
}

static void test_prefixes(void **state)
{
	(void)state;
	struct world x;
	unsigned ruled_out = 0;
	world_init(&x, "prefixes", &puts_only, 900);
	struct version *v = versions_current(&x.w);
	for (unsigned n = 0; n < 100; n++) {
		uint8_t prefix[8];
		struct wombat_slice p = slice_make(prefix, (size_t)snprintf((char *)prefix, sizeof prefix, "\1d%02u/", n));
		bool there = n < (x.h.keys + 99) / 100, may;
		assert_ok(version_may_have_prefix(v, x.w.tables, p, &may));
		assert_true(may || !there);
		ruled_out += !may;
	}
	assert_true(ruled_out >= 90);
	version_unref(v);
	world_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_get_at_any_sequence),
		cmocka_unit_test(test_get_from_memory),
		cmocka_unit_test(test_cover_ends_the_search),
		cmocka_unit_test(test_missing_table),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_collected_ranges),
		cmocka_unit_test(test_prefixes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
