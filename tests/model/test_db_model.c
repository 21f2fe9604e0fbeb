/*
 * Random operations on a database and on a model in step, over a matrix of options: every read is compared, and so is
 * the whole content after each reopening.
 */
#include <string.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "tests/support/check.h"
#include "tests/support/opgen.h"
#include "tests/support/seed.h"

enum { SNAPSHOTS = 4 };

struct world {
	struct env *env;
	struct wombat *db;
	struct wombat_options *options;
	struct model model;
	struct opgen gen;
	struct wombat_snapshot *snapshots[SNAPSHOTS];
	struct model snapshot_models[SNAPSHOTS];
	uint64_t now;
};

/* ---- Comparing ----------------------------------------------------------------------------- */

static void assert_record(const struct wombat_record *r, const struct model_record *want, bool meta)
{
	assert_int_equal(r->value_size, want->value_size);
	assert_int_equal(r->attr.size, want->attr_size);
	assert_int_equal(r->expiry_ns, want->expiry_ns);
	assert_true(want->attr_size == 0 || memcmp(r->attr.data, want->attr, want->attr_size) == 0);
	if (meta)
		assert_null(r->value.data);
	else
		assert_true(want->value_size == 0 || memcmp(r->value.data, want->value, want->value_size) == 0);
}

static void compare_get(struct world *w, const struct model *model, const struct wombat_snapshot *snapshot)
{
	uint8_t room[64];
	struct wombat_record r;
	unsigned keyspace = opgen_keyspace(&w->gen);
	struct wombat_slice key = opgen_random_key(&w->gen, room);
	bool meta = random_below(&w->gen.random, 2);
	struct wombat_read_options options = { .snapshot = snapshot, .flags = meta ? WOMBAT_READ_META : 0 };
	const struct model_record *want = model_get(model, keyspace, key, w->now);
	enum wombat_status s = wombat_get(w->db, &options, keyspace, key, &r);
	assert_int_equal(s, want ? WOMBAT_OK : WOMBAT_NOT_FOUND);
	if (!want)
		return;
	assert_record(&r, want, meta);
	wombat_record_release(&r);
}

static bool shows(const struct world *w, const struct model_record *r)
{
	return !r->expiry_ns || r->expiry_ns > w->now;
}

static void assert_at(struct wombat_iter *it, const struct model_record *want)
{
	const struct wombat_record *r = wombat_iter_record(it);
	assert_true(wombat_iter_valid(it));
	assert_int_equal(r->key.size, want->key_size - 1);
	assert_true(r->key.size == 0 || memcmp(r->key.data, want->key + 1, r->key.size) == 0);
	assert_record(r, want, false);
}

/* A walk of random steps from a random place, within random bounds. */
static void compare_iter(struct world *w, const struct model *model, const struct wombat_snapshot *snapshot)
{
	uint8_t a[64], b[64], c[64];
	unsigned keyspace = opgen_keyspace(&w->gen);
	struct wombat_iter_options options = { .read.snapshot = snapshot };
	if (random_below(&w->gen.random, 2))
		options.lower = opgen_random_key(&w->gen, a);
	if (random_below(&w->gen.random, 2))
		options.upper = opgen_random_key(&w->gen, b);
	size_t begin = model_seek(model, keyspace, options.lower);
	size_t end = options.upper.size ? model_seek(model, keyspace, options.upper) :
					  model_seek(model, keyspace + 1, (struct wombat_slice){ NULL, 0 });
	if (end < begin)
		end = begin;
	struct wombat_iter *it;
	assert_ok(wombat_iter_new(w->db, &options, keyspace, &it));
	struct wombat_slice key = opgen_random_key(&w->gen, c);
	size_t at = model_seek(model, keyspace, key);
	unsigned how = (unsigned)random_below(&w->gen.random, 4);
	bool on;
	/* `at` is where the model stands: `end` or `begin - 1` (as SIZE_MAX) past the ends. */
	long long pos;
	if (how == 0) {
		on = wombat_iter_first(it);
		pos = (long long)begin;
	} else if (how == 1) {
		on = wombat_iter_last(it);
		pos = (long long)end - 1;
	} else if (how == 2) {
		on = wombat_iter_seek(it, key);
		pos = (long long)(at < begin ? begin : at);
	} else {
		on = wombat_iter_seek_for_prev(it, key);
		bool same = at < model->count && model_get(model, keyspace, key, 0) == &model->records[at];
		pos = (long long)at - !same;
		if (pos >= (long long)end)
			pos = (long long)end - 1;
	}
	bool back = how == 1 || how == 3;
	for (int step = 0; step < 30; step++) {
		while (pos >= (long long)begin && pos < (long long)end && !shows(w, &model->records[pos]))
			pos += back ? -1 : 1;
		bool want = pos >= (long long)begin && pos < (long long)end;
		assert_ok(wombat_iter_status(it));
		assert_int_equal(on, want);
		if (!want)
			break;
		assert_at(it, &model->records[pos]);
		back = random_below(&w->gen.random, 4) == 0 ? !back : back;
		pos += back ? -1 : 1;
		on = back ? wombat_iter_prev(it) : wombat_iter_next(it);
	}
	wombat_iter_free(it);
}

/* Children by the definition: of each visible key below the prefix, up to the next '/'. */
static void compare_list(struct world *w, const struct model *model, const struct wombat_snapshot *snapshot)
{
	static const char *const prefixes[] = { "", "d0/", "d1/", "d3/f15/", "shared/", "shared/prefix/of/many/keys/", "none/" };
	unsigned keyspace = opgen_keyspace(&w->gen);
	const char *prefix = prefixes[random_below(&w->gen.random, sizeof prefixes / sizeof prefixes[0])];
	size_t len = strlen(prefix);
	struct wombat_read_options options = { .snapshot = snapshot };
	struct wombat_list *list;
	assert_ok(wombat_list_new(w->db, &options, keyspace, WOMBAT_STR(prefix), &list));
	char last[64] = "";
	size_t last_len = 0;
	bool have_last = false;
	for (size_t i = model_seek(model, keyspace, WOMBAT_STR(prefix)); i < model->count; i++) {
		const struct model_record *r = &model->records[i];
		if (r->key[0] != keyspace || r->key_size - 1 < len || memcmp(r->key + 1, prefix, len) != 0)
			break;
		if (!shows(w, r))
			continue;
		const uint8_t *rest = r->key + 1 + len;
		size_t rest_len = r->key_size - 1 - len;
		const uint8_t *slash = rest_len ? memchr(rest, '/', rest_len) : NULL;
		size_t name_len = slash ? (size_t)(slash - rest) : rest_len;
		if (slash && have_last && last_len == name_len && memcmp(last, rest, name_len) == 0)
			continue;
		struct wombat_child child;
		assert_ok(wombat_list_next(list, &child));
		assert_int_equal(child.name.size, name_len);
		assert_true(name_len == 0 || memcmp(child.name.data, rest, name_len) == 0);
		assert_int_equal(child.is_value, slash == NULL);
		if (slash) {
			assert_true(child.is_prefix);
			if (name_len)
				memcpy(last, rest, name_len);
			last_len = name_len;
			have_last = true;
		} else {
			assert_record(child.record, r, true);
			bool below = false;
			for (size_t k = i + 1; k < model->count; k++) {
				const struct model_record *s = &model->records[k];
				if (s->key[0] != keyspace || s->key_size < r->key_size || memcmp(s->key, r->key, r->key_size) != 0)
					break;
				below |= s->key_size > r->key_size && s->key[r->key_size] == '/' && shows(w, s);
			}
			assert_int_equal(child.is_prefix, below);
		}
		if (random_below(&w->gen.random, 8) == 0) { /* Going on after a name must find the same. */
			char name[64];
			size_t n = child.name.size;
			bool as_prefix = !child.is_value;
			if (n)
				memcpy(name, child.name.data, n);
			wombat_list_seek_after(list, WOMBAT_SLICE(name, n), as_prefix);
		}
	}
	struct wombat_child child;
	assert_status(wombat_list_next(list, &child), WOMBAT_NOT_FOUND);
	wombat_list_free(list);
}

static void compare_prefix(struct world *w, const struct model *model, const struct wombat_snapshot *snapshot)
{
	char prefix[32];
	unsigned keyspace = opgen_keyspace(&w->gen);
	int n = snprintf(prefix, sizeof prefix, "d%u/f%u/", (unsigned)random_below(&w->gen.random, 9),
			 (unsigned)random_below(&w->gen.random, 40));
	if (random_below(&w->gen.random, 3) == 0)
		n = snprintf(prefix, sizeof prefix, "d%u/", (unsigned)random_below(&w->gen.random, 9));
	bool want = false, got;
	for (size_t i = model_seek(model, keyspace, WOMBAT_SLICE(prefix, n)); i < model->count && !want; i++) {
		const struct model_record *r = &model->records[i];
		if (r->key[0] != keyspace || r->key_size - 1 < (size_t)n || memcmp(r->key + 1, prefix, (size_t)n) != 0)
			break;
		want = shows(w, r);
	}
	struct wombat_read_options options = { .snapshot = snapshot };
	assert_ok(wombat_prefix_exists(w->db, &options, keyspace, WOMBAT_SLICE(prefix, n), &got));
	assert_int_equal(got, want);
}

static void compare_all(struct world *w)
{
	for (unsigned keyspace = 1; keyspace <= 2; keyspace++) {
		struct wombat_iter *it;
		size_t at = model_seek(&w->model, keyspace, (struct wombat_slice){ NULL, 0 });
		assert_ok(wombat_iter_new(w->db, NULL, keyspace, &it));
		for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it)) {
			while (at < w->model.count && !shows(w, &w->model.records[at]))
				at++;
			assert_true(at < w->model.count && w->model.records[at].key[0] == keyspace);
			assert_at(it, &w->model.records[at++]);
		}
		assert_ok(wombat_iter_status(it));
		while (at < w->model.count && !shows(w, &w->model.records[at]))
			at++;
		assert_true(at == w->model.count || w->model.records[at].key[0] != keyspace);
		wombat_iter_free(it);
	}
}

/* ---- Steps --------------------------------------------------------------------------------- */

static void step_write(struct world *w)
{
	struct wombat_batch *b = wombat_batch_new();
	unsigned count = 1 + (unsigned)random_below(&w->gen.random, random_below(&w->gen.random, 10) ? 3 : 60);
	for (unsigned i = 0; i < count; i++)
		opgen_change(&w->gen, b, &w->model);
	assert_ok(wombat_write(w->db, b, random_below(&w->gen.random, 20) ? 0 : WOMBAT_SYNC, NULL));
	wombat_batch_free(b);
}

static void release_snapshot(struct world *w, size_t i)
{
	if (!w->snapshots[i])
		return;
	wombat_snapshot_release(w->db, w->snapshots[i]);
	model_done(&w->snapshot_models[i]);
	w->snapshots[i] = NULL;
}

static void step_snapshot(struct world *w)
{
	size_t i = random_below(&w->gen.random, SNAPSHOTS);
	release_snapshot(w, i);
	if (random_below(&w->gen.random, 3) == 0)
		return;
	w->snapshots[i] = wombat_snapshot_new(w->db);
	assert_non_null(w->snapshots[i]);
	model_copy(&w->model, &w->snapshot_models[i]);
}

static void reopen(struct world *w)
{
	for (size_t i = 0; i < SNAPSHOTS; i++)
		release_snapshot(w, i);
	assert_ok(wombat_close(w->db));
	w->db = NULL;
	assert_ok(db_open_env(w->env, "/db", w->options, 0, &w->db));
	compare_all(w);
}

static void step_read(struct world *w)
{
	size_t i = random_below(&w->gen.random, SNAPSHOTS + 2);
	bool old = i < SNAPSHOTS && w->snapshots[i];
	const struct model *model = old ? &w->snapshot_models[i] : &w->model;
	const struct wombat_snapshot *snapshot = old ? w->snapshots[i] : NULL;
	switch (random_below(&w->gen.random, 6)) {
	case 0:
		compare_iter(w, model, snapshot);
		break;
	case 1:
		compare_list(w, model, snapshot);
		break;
	case 2:
		compare_prefix(w, model, snapshot);
		break;
	default:
		compare_get(w, model, snapshot);
	}
}

static void step(struct world *w)
{
	unsigned what = (unsigned)random_below(&w->gen.random, 1000);
	if (what < 400) {
		step_write(w);
	} else if (what < 960) {
		step_read(w);
	} else if (what < 975) {
		step_snapshot(w);
	} else if (what < 985) {
		assert_ok(wombat_flush(w->db));
	} else if (what < 990) {
		uint8_t a[64], b[64];
		struct wombat_slice from = opgen_random_key(&w->gen, a), to = opgen_random_key(&w->gen, b);
		assert_ok(wombat_compact(w->db, random_below(&w->gen.random, 2), from, to));
	} else if (what < 995) {
		w->now += random_below(&w->gen.random, 300);
		w->gen.now_ns = w->now;
		env_mem_set_now(w->env, w->now);
	} else {
		reopen(w);
	}
}

static void run(const char *const *settings, unsigned steps, uint64_t seed)
{
	struct world w = { .now = 1000000000000, .options = wombat_options_new() };
	model_init(&w.model);
	w.gen = (struct opgen){ .key_count = 400, .value_max = 3000, .expire_percent = 10, .now_ns = w.now };
	random_seed(&w.gen.random, seed);
	assert_ok(env_mem_new(&w.env));
	env_mem_set_now(w.env, w.now);
	for (; settings[0]; settings += 2)
		assert_ok(wombat_options_set(w.options, settings[0], settings[1]));
	assert_ok(db_open_env(w.env, "/db", w.options, WOMBAT_CREATE, &w.db));
	for (unsigned i = 0; i < steps; i++)
		step(&w);
	reopen(&w);
	assert_ok(wombat_compact(w.db, 0, (struct wombat_slice){ NULL, 0 }, (struct wombat_slice){ NULL, 0 }));
	compare_all(&w);
	assert_ok(wombat_close(w.db));
	wombat_options_free(w.options);
	model_done(&w.model);
	w.env->calls->free(w.env);
}

/* ---- The matrix ---------------------------------------------------------------------------- */

#define SMALL "mem_table_size", "64K", "wal_file_size", "64K", "max_table_size", "64K", "sync_interval_ms", "0"

static void test_defaults(void **state)
{
	static const char *const settings[] = { NULL };
	(void)state;
	run(settings, test_steps(2000), test_seed("defaults"));
}

static void test_small(void **state)
{
	static const char *const settings[] = { SMALL, NULL };
	(void)state;
	run(settings, test_steps(4000), test_seed("small"));
}

static void test_small_blocks_no_cache(void **state)
{
	static const char *const settings[] = { SMALL, "block_size", "512", "block_cache_size", "0", "max_open_files", "16", NULL };
	(void)state;
	run(settings, test_steps(3000), test_seed("small blocks, no cache"));
}

static void test_zlib_no_filter(void **state)
{
	static const char *const settings[] = { SMALL, "compression", "zlib", "bloom_false_positive", "0", "block_cache_size",
						"64K", NULL };
	(void)state;
	run(settings, test_steps(3000), test_seed("zlib, no filter"));
}

static void test_sync_few_levels(void **state)
{
	static const char *const settings[] = { SMALL, "sync_writes", "true", "max_levels", "3", "level_size_multiplier", "2",
						"num_level_zero_tables", "2", "num_compactors", "3", "read_ahead_size", "0",
						NULL };
	(void)state;
	run(settings, test_steps(3000), test_seed("sync, few levels"));
}

static void test_tiered(void **state)
{
	static const char *const settings[] = { SMALL, "compaction_strategy", "tiered", "num_level_zero_tables", "3", NULL };
	(void)state;
	run(settings, test_steps(4000), test_seed("tiered"));
}

static void test_value_log(void **state)
{
	static const char *const settings[] = { SMALL, "value_threshold", "50", "value_log_file_size", "64K",
						"value_log_space_reclaim_threshold", "0.2", NULL };
	(void)state;
	run(settings, test_steps(4000), test_seed("value log"));
}

static void test_value_log_no_cache(void **state)
{
	static const char *const settings[] = { SMALL, "value_threshold", "1", "value_log_file_size", "64K",
						"block_cache_size", "0", "num_level_zero_tables", "2", "sync_writes", "true", NULL };
	(void)state;
	run(settings, test_steps(3000), test_seed("value log, no cache"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_small_blocks_no_cache),
		cmocka_unit_test(test_zlib_no_filter),
		cmocka_unit_test(test_sync_few_levels),
		cmocka_unit_test(test_tiered),
		cmocka_unit_test(test_value_log),
		cmocka_unit_test(test_value_log_no_cache),
	};
	return cmocka_run_group_tests_name("db_model", tests, NULL, NULL);
}
