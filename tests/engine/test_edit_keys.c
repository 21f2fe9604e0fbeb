/*
 * One value under several keys: random commits under random sets of keys in step with plain bytes, and puts, deletes, moves
 * and edits of single ones among them; what that costs; conflicts, failures, crashes, what is left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "engine/db/edit_keys.h"
#include "engine/db/extents.h"
#include "tests/support/check.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"
#include "tests/support/values.h"

static const char *const small[] = {
	"value_threshold", "4K", "value_log_file_size", "256K", "mem_table_size", "64K", "max_table_size", "64K",
	"sync_interval_ms", "0", "num_level_zero_tables", "2", NULL,
};
static const char *const no_log[] = {
	"value_threshold", "0", "mem_table_size", "256K", "max_table_size", "64K", "sync_interval_ms", "0", NULL,
};

static struct wombat_edit *edit_open(struct db_world *w, const char *key)
{
	struct wombat_edit *e;
	assert_ok(wombat_edit_open(w->db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_EDIT_CREATE, &e));
	return e;
}

static enum wombat_status commit_with(struct wombat_edit *e, const char *other)
{
	struct wombat_slice key = WOMBAT_STR(other);
	return wombat_edit_commit_keys(e, &key, 1, NULL, NULL, 0, NULL);
}

/* How many records the engine keeps for values in extents; of these the owners. */
static unsigned hidden_records(struct db_world *w, unsigned *out_owners)
{
	struct wombat_iter *it;
	unsigned count = 0;
	*out_owners = 0;
	assert_ok(db_iter_new(w->db, NULL, EXTENTS_KEYSPACE, NULL, &it));
	for (bool more = wombat_iter_first(it); more; more = wombat_iter_next(it)) {
		*out_owners += wombat_iter_record(it)->key.data[0] == 'O';
		count++;
	}
	assert_ok(wombat_iter_status(it));
	wombat_iter_free(it);
	return count;
}

static void settle(struct db_world *w)
{
	assert_ok(wombat_flush(w->db));
	assert_ok(wombat_compact(w->db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_ok(wombat_wait_idle(w->db));
}

static void expect(struct db_world *w, const char *key, const uint8_t *bytes, size_t size)
{
	struct wombat_record record;
	assert_ok(wombat_get(w->db, NULL, WOMBAT_USER, WOMBAT_STR(key), &record));
	assert_int_equal(record.value.size, size);
	assert_memory_equal(record.value.data, bytes, size);
	wombat_record_release(&record);
}

/* ---- The list of keys ------------------------------------------------------------------------ */

static void test_keys(void **state)
{
	(void)state;
	struct db_world w;
	struct edit_keys k;
	const struct wombat_slice own = WOMBAT_STR("\1own");
	db_world_init(&w, (const char *const[]){ "max_key_size", "16", NULL });
	assert_ok(edit_keys_init(&k, w.db, own, NULL, 0));
	assert_null(edit_keys_find(&k, WOMBAT_STR("own")));
	edit_keys_done(&k);
	const struct wombat_slice three[] = { WOMBAT_STR("c"), WOMBAT_STR("a"), WOMBAT_STR("bb") };
	assert_ok(edit_keys_init(&k, w.db, own, three, 3));
	for (size_t i = 0; i < 3; i++)
		assert_true(slice_equal(edit_key_user(edit_keys_find(&k, three[i])), three[i]));
	assert_null(edit_keys_find(&k, WOMBAT_STR("b")));
	k.list[1].owns = true;
	edit_keys_disown(&k);
	assert_false(k.list[1].owns);
	edit_keys_done(&k);
	const struct wombat_slice twice[] = { WOMBAT_STR("a"), WOMBAT_STR("b"), WOMBAT_STR("a") };
	assert_status(edit_keys_init(&k, w.db, own, twice, 3), WOMBAT_INVALID);
	assert_non_null(strstr(wombat_last_error(), "\"a\""));
	edit_keys_done(&k);
	assert_status(edit_keys_init(&k, w.db, own, &WOMBAT_STR("own"), 1), WOMBAT_INVALID);
	edit_keys_done(&k);
	assert_status(edit_keys_init(&k, w.db, own, &WOMBAT_STR("a key that is too long"), 1), WOMBAT_TOO_BIG);
	edit_keys_done(&k);
	db_world_done(&w);
}

/* ---- The model ------------------------------------------------------------------------------- */

enum { KEYS = 5, MODEL_MAX = 400000 };

struct model {
	struct db_world w;
	struct random_state r;
	uint8_t *bytes[KEYS];
	size_t size[KEYS];
	bool exists[KEYS];
	uint64_t fills;
};

static const char *const names[KEYS] = { "a", "a/b", "b", "c/long/name", "d" };

static void model_assert(struct model *m)
{
	for (unsigned k = 0; k < KEYS; k++) {
		struct wombat_record record;
		enum wombat_status s = wombat_get(m->w.db, NULL, WOMBAT_USER, WOMBAT_STR(names[k]), &record);
		assert_status(s, m->exists[k] ? WOMBAT_OK : WOMBAT_NOT_FOUND);
		if (s != WOMBAT_OK)
			continue;
		assert_int_equal(record.value.size, m->size[k]);
		assert_memory_equal(record.value.data, m->bytes[k], m->size[k]);
		wombat_record_release(&record);
	}
}

static void model_copy(struct model *m, unsigned from, unsigned to)
{
	memcpy(m->bytes[to], m->bytes[from], MODEL_MAX);
	m->size[to] = m->size[from];
	m->exists[to] = m->exists[from];
}

static void model_change(struct model *m, struct wombat_edit *e, unsigned k)
{
	size_t offset = random_below(&m->r, MODEL_MAX - 100000), size = random_below(&m->r, 2) ? 100 : random_below(&m->r, 100000);
	uint8_t *b = m->bytes[k];
	switch (random_below(&m->r, 4)) {
	case 0:
		offset = random_below(&m->r, 8) ? offset : 30;
		assert_ok(wombat_edit_truncate(e, offset));
		if (offset < m->size[k])
			memset(b + offset, 0, m->size[k] - offset);
		m->size[k] = offset;
		break;
	case 1:
		assert_ok(wombat_edit_punch(e, offset, size));
		for (size_t i = offset; i < offset + size && i < m->size[k]; i++)
			b[i] = 0;
		break;
	default:
		values_fill(b + offset, size, ++m->fills);
		assert_ok(wombat_edit_write(e, offset, b + offset, size));
		if (size && m->size[k] < offset + size)
			m->size[k] = offset + size;
	}
	m->exists[k] = true;
}

/* Changes a value and puts it under a random set of keys, perhaps none but its own. */
static void model_commit(struct model *m)
{
	unsigned k = (unsigned)random_below(&m->r, KEYS), set = (unsigned)random_below(&m->r, 1 << KEYS);
	struct wombat_slice keys[KEYS];
	size_t count = 0;
	struct wombat_edit *e = edit_open(&m->w, names[k]);
	m->exists[k] = true;
	for (uint64_t n = random_below(&m->r, 3); n > 0; n--)
		model_change(m, e, k);
	for (unsigned i = 0; i < KEYS; i++)
		if (i != k && (set >> i & 1)) {
			keys[count++] = WOMBAT_STR(names[i]);
			model_copy(m, k, i);
		}
	assert_ok(wombat_edit_commit_keys(e, keys, count, NULL, NULL, 0, NULL));
	if (random_below(&m->r, 3) == 0) { /* it goes on, alone */
		model_change(m, e, k);
		assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	}
	wombat_edit_close(e);
}

static void model_move(struct model *m)
{
	unsigned from = (unsigned)random_below(&m->r, KEYS), to = (from + 1 + (unsigned)random_below(&m->r, KEYS - 1)) % KEYS;
	struct wombat_value *value;
	if (!m->exists[from])
		return;
	struct wombat_batch *batch = wombat_batch_new();
	assert_ok(wombat_value_open(m->w.db, NULL, WOMBAT_USER, WOMBAT_STR(names[from]), &value));
	assert_ok(wombat_batch_move_value(batch, WOMBAT_USER, WOMBAT_STR(names[from]), WOMBAT_STR(names[to]), value, NULL));
	assert_ok(wombat_write(m->w.db, batch, 0, NULL));
	wombat_value_close(value);
	wombat_batch_free(batch);
	model_copy(m, from, to);
	m->exists[from] = false;
	m->size[from] = 0;
	memset(m->bytes[from], 0, MODEL_MAX);
}

static void model_step(struct model *m)
{
	unsigned k = (unsigned)random_below(&m->r, KEYS);
	switch (random_below(&m->r, 12)) {
	case 0:
		assert_ok(wombat_delete(m->w.db, WOMBAT_USER, WOMBAT_STR(names[k])));
		m->exists[k] = false;
		m->size[k] = 0;
		memset(m->bytes[k], 0, MODEL_MAX);
		break;
	case 1:
		memset(m->bytes[k], 0, MODEL_MAX);
		m->size[k] = random_below(&m->r, 10000);
		m->exists[k] = true;
		values_fill(m->bytes[k], m->size[k], ++m->fills);
		assert_ok(wombat_put(m->w.db, WOMBAT_USER, WOMBAT_STR(names[k]), WOMBAT_SLICE(m->bytes[k], m->size[k])));
		break;
	case 2:
		model_move(m);
		break;
	case 3:
		settle(&m->w);
		break;
	case 4:
		if (random_below(&m->r, 3) == 0)
			db_world_reopen(&m->w);
		break;
	default:
		model_commit(m);
	}
}

static void run_model(const char *const *settings, const char *what)
{
	struct model m = { .fills = 0 };
	unsigned owners;
	random_seed(&m.r, test_seed(what));
	db_world_init(&m.w, settings);
	for (unsigned k = 0; k < KEYS; k++)
		assert_non_null(m.bytes[k] = calloc(MODEL_MAX + 100000, 1));
	for (unsigned n = 0; n < 150; n++) {
		model_step(&m);
		model_assert(&m);
	}
	for (unsigned k = 0; k < KEYS; k++) {
		assert_ok(wombat_delete(m.w.db, WOMBAT_USER, WOMBAT_STR(names[k])));
		free(m.bytes[k]);
	}
	settle(&m.w);
	db_world_reopen(&m.w);
	settle(&m.w);
	assert_int_equal(hidden_records(&m.w, &owners), 0);
	db_world_done(&m.w);
}

static void test_model(void **state)
{
	(void)state;
	run_model(small, "test_edit_keys");
	run_model(no_log, "test_edit_keys without a value log");
}

/* ---- What it costs, what it leaves ------------------------------------------------------------ */

enum { LARGE = 6 << 20 };

/* A second and a third key for a large value, and a change under all: a few records, whatever the size. */
static void test_cost(void **state)
{
	(void)state;
	struct db_world w;
	unsigned owners;
	uint8_t *bytes = malloc(LARGE);
	assert_non_null(bytes);
	values_fill(bytes, LARGE, 3);
	db_world_init(&w, (const char *const[]){ "value_threshold", "4K", "value_log_space_reclaim_threshold", "1",
						  "sync_interval_ms", "0", NULL });
	struct wombat_edit *e = edit_open(&w, "k");
	for (size_t at = 0; at < LARGE; at += 64 << 10)
		assert_ok(wombat_edit_write(e, at, bytes + at, 64 << 10));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	unsigned extents = hidden_records(&w, &owners) - 1;
	assert_int_equal(owners, 1);
	assert_true(extents >= LARGE / (64 << 10));
	double values = db_world_stat(&w, "value_log.bytes_total"), log = db_world_stat(&w, "wal.bytes_total");
	assert_ok(commit_with(e, "k2"));
	assert_ok(commit_with(e, "k3"));
	/* Nothing was changed, so the third key gets the extents that the first two have, without the second being named. */
	assert_int_equal(hidden_records(&w, &owners), extents + 3);
	assert_int_equal(owners, 3);
	const struct wombat_slice both[] = { WOMBAT_STR("k3"), WOMBAT_STR("k2") };
	memcpy(bytes + 100000, "change", 6);
	assert_ok(wombat_edit_write(e, 100000, "change", 6));
	assert_ok(wombat_edit_commit_keys(e, both, 2, NULL, NULL, 0, NULL));
	assert_in_range(hidden_records(&w, &owners), extents + 3, extents + 8);
	assert_true(db_world_stat(&w, "value_log.bytes_total") == values);
	assert_true(db_world_stat(&w, "wal.bytes_total") - log < 3000);
	wombat_edit_close(e);
	db_world_reopen(&w);
	for (int i = 0; i < 3; i++)
		expect(&w, (const char *const[]){ "k", "k2", "k3" }[i], bytes, LARGE);
	/* One goes: the others keep the extents. */
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("k")));
	settle(&w);
	settle(&w);
	expect(&w, "k2", bytes, LARGE);
	hidden_records(&w, &owners);
	assert_int_equal(owners, 2);
	/* One is changed alone: it gets its own. */
	values = db_world_stat(&w, "value_log.bytes_total");
	e = edit_open(&w, "k2");
	assert_ok(wombat_edit_write(e, 0, "alone", 5));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	assert_in_range(hidden_records(&w, &owners), 2 * extents, 2 * extents + 16);
	expect(&w, "k3", bytes, LARGE);
	memcpy(bytes, "alone", 5);
	expect(&w, "k2", bytes, LARGE);
	/* From then on it has them for itself: the same id, changed in place. */
	unsigned before = hidden_records(&w, &owners);
	assert_ok(wombat_edit_write(e, 0, "again", 5));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	assert_in_range(hidden_records(&w, &owners), before, before + 2);
	assert_true(db_world_stat(&w, "value_log.bytes_total") == values);
	wombat_edit_close(e);
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("k2")));
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("k3")));
	settle(&w);
	settle(&w);
	assert_int_equal(hidden_records(&w, &owners), 0);
	free(bytes);
	db_world_done(&w);
}

/* Attributes and expiry go to all, a batch goes with them, and small values are put under each key. */
static void test_info_and_batch(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_record record;
	const struct wombat_slice keys[] = { WOMBAT_STR("z"), WOMBAT_STR("a") };
	struct wombat_batch *batch = wombat_batch_new();
	db_world_init(&w, small);
	db_world_put(&w, "k", "value");
	struct wombat_edit *e = edit_open(&w, "k");
	assert_ok(wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR("beside"), WOMBAT_STR("b"), NULL));
	assert_ok(wombat_edit_commit_keys(e, keys, 2, &(struct wombat_put_info){ .attr = WOMBAT_STR("at"), .time_ns = 77,
										 .expiry_ns = UINT64_MAX },
					  batch, WOMBAT_SYNC, NULL));
	db_world_expect(&w, WOMBAT_USER, "beside", "b");
	for (int i = 0; i < 3; i++) {
		assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR(((const char *const[]){ "a", "k", "z" })[i]), &record));
		assert_true(slice_equal(record.value, WOMBAT_STR("value")) && slice_equal(record.attr, WOMBAT_STR("at")));
		assert_true(record.time_ns == 77 && record.expiry_ns == UINT64_MAX);
		wombat_record_release(&record);
	}
	/* One value of the log, pointed to from two keys, outlives each of them. */
	db_world_put_filled(&w, "log", 50000, 4);
	wombat_edit_close(e);
	e = edit_open(&w, "log");
	double values = db_world_stat(&w, "value_log.bytes_total");
	assert_ok(commit_with(e, "log2"));
	wombat_edit_close(e);
	assert_true(db_world_stat(&w, "value_log.bytes_total") == values);
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("log")));
	settle(&w);
	db_world_reopen(&w);
	db_world_expect_filled(&w, "log2", 50000, 4);
	wombat_batch_free(batch);
	db_world_done(&w);
}

static void make_shared(struct db_world *w, uint8_t *bytes, size_t size)
{
	struct wombat_edit *e = edit_open(w, "k");
	values_fill(bytes, size, 1);
	assert_ok(wombat_edit_write(e, 0, bytes, size));
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	/* A change, or it is one value of the log. */
	assert_ok(wombat_edit_write(e, 50, bytes + 50, 10));
	assert_ok(commit_with(e, "k2"));
	wombat_edit_close(e);
}

static void test_conflicts(void **state)
{
	(void)state;
	struct db_world w;
	static uint8_t bytes[300000];
	db_world_init(&w, small);
	make_shared(&w, bytes, sizeof(bytes));
	/* Any key of the commit that was changed. */
	struct wombat_edit *e = edit_open(&w, "k"), *late = edit_open(&w, "k2"), *alone = edit_open(&w, "k2");
	db_world_put(&w, "k3", "theirs");
	assert_status(commit_with(e, "k3"), WOMBAT_CONFLICT);
	assert_non_null(strstr(wombat_last_error(), "\"k3\""));
	db_world_expect(&w, WOMBAT_USER, "k3", "theirs");
	assert_status(commit_with(e, "k"), WOMBAT_INVALID);
	/* It goes on: the value gets a third key, and who has it open under another key sees that at the commit. */
	assert_ok(wombat_edit_write(e, 0, "one", 3));
	assert_ok(commit_with(e, "k4"));
	assert_ok(wombat_edit_write(late, 10, "two", 3));
	assert_status(commit_with(late, "k"), WOMBAT_CONFLICT);
	/* Alone it may be committed, to a value of its own. */
	assert_ok(wombat_edit_write(alone, 20, "three", 5));
	assert_ok(wombat_edit_commit(alone, NULL, NULL, 0, NULL));
	memcpy(bytes + 20, "three", 5);
	expect(&w, "k2", bytes, sizeof(bytes));
	values_fill(bytes, sizeof(bytes), 1);
	memcpy(bytes, "one", 3);
	expect(&w, "k", bytes, sizeof(bytes));
	expect(&w, "k4", bytes, sizeof(bytes));
	wombat_edit_close(e);
	wombat_edit_close(late);
	wombat_edit_close(alone);
	db_world_done(&w);
}

/* ---- Failures and crashes -------------------------------------------------------------------- */

static uint8_t before[300000], after[300000];

static enum wombat_status change_one(struct db_world *w, struct wombat_edit **out)
{
	enum wombat_status s = wombat_edit_open(w->db, WOMBAT_USER, WOMBAT_STR("k2"), 0, out);
	if (s == WOMBAT_OK)
		s = wombat_edit_write(*out, 1000, "changed", 7);
	return s == WOMBAT_OK ? commit_with(*out, "k3") : s;
}

static void expect_world(struct db_world *w, bool changed)
{
	struct wombat_record record;
	values_fill(before, sizeof(before), 1);
	values_fill(after, sizeof(after), 1);
	memcpy(after + 1000, "changed", 7);
	expect(w, "k", before, sizeof(before));
	expect(w, "k2", changed ? after : before, sizeof(after));
	if (changed)
		expect(w, "k3", after, sizeof(after));
	else
		assert_status(wombat_get(w->db, NULL, WOMBAT_USER, WOMBAT_STR("k3"), &record), WOMBAT_NOT_FOUND);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		struct wombat_edit *e = NULL;
		db_world_init(&w, small);
		make_shared(&w, before, sizeof(before));
		scarce_begin(n);
		s = change_one(&w, &e);
		scarce_end();
		bool writable = wombat_background_status(w.db) == WOMBAT_OK;
		if (s != WOMBAT_OK && writable) {
			assert_status(s, WOMBAT_NO_MEMORY);
			expect_world(&w, false);
			/* The edit is as it was before: what it could not commit then it can now. */
			if (e && wombat_edit_is_dirty(e)) {
				assert_ok(wombat_edit_write(e, 1000, "changed", 7));
				assert_ok(commit_with(e, "k3"));
				expect_world(&w, true);
			}
		} else if (s == WOMBAT_OK) {
			expect_world(&w, true);
		}
		wombat_edit_close(e);
		db_world_done(&w);
	}
	assert_true(n > 25);
}

static void test_io_fails(void **state)
{
	(void)state;
	unsigned n = 0;
	for (unsigned hits = 1; hits > 0; n++) {
		struct db_world w;
		struct wombat_edit *e = NULL;
		db_world_init(&w, (const char *const[]){ "value_threshold", "4K", "block_cache_size", "0", "sync_interval_ms", "0",
							  "table_cache_size", "0", NULL });
		wombat_pause_compaction(w.db);
		make_shared(&w, before, sizeof(before));
		assert_ok(wombat_flush(w.db));
		assert_ok(wombat_wait_idle(w.db)); /* What the sweep of pieces has read need not be read again. */
		db_world_fail_own(&w, "reader_", ".sst", n, WOMBAT_IO);
		enum wombat_status s = change_one(&w, &e);
		hits = db_world_let_go(&w);
		assert_status(s, hits ? WOMBAT_IO : WOMBAT_OK);
		expect_world(&w, s == WOMBAT_OK);
		wombat_edit_close(e);
		wombat_resume_compaction(w.db);
		db_world_done(&w);
	}
	assert_true(n > 3);
}

/* All keys of a commit, or none. */
static void test_crash(void **state)
{
	(void)state;
	unsigned seen[2] = { 0, 0 }, owners;
	for (unsigned round = 0; round < 16; round++) {
		struct db_world w;
		struct env *found, *old;
		struct wombat_edit *e;
		db_world_init(&w, small);
		make_shared(&w, before, sizeof(before));
		assert_ok(wombat_sync(w.db));
		assert_ok(change_one(&w, &e));
		if (round % 2)
			assert_ok(wombat_sync(w.db));
		assert_ok(env_mem_clone(w.env, round < 4 ? ENV_MEM_SYNCED_ONLY : ENV_MEM_RANDOM, round, &found));
		wombat_edit_close(e);
		db_world_close(&w);
		old = w.env;
		w.env = found;
		db_world_open(&w);
		old->calls->free(old);
		struct wombat_record record;
		bool changed = wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k3"), &record) == WOMBAT_OK;
		if (changed)
			wombat_record_release(&record);
		assert_true(changed || round % 2 == 0);
		seen[changed]++;
		expect_world(&w, changed);
		for (int i = 0; i < 3; i++)
			assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR(((const char *const[]){ "k", "k2", "k3" })[i])));
		settle(&w);
		settle(&w);
		assert_int_equal(hidden_records(&w, &owners), 0);
		db_world_done(&w);
	}
	assert_true(seen[0] && seen[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_info_and_batch),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_io_fails),
		cmocka_unit_test(test_crash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
