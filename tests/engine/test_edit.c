/*
 * Changing parts of values: random edits against plain bytes in memory, over sizes that cross every border between values
 * that are whole, in the value log, and in extents; conflicts, atomicity, what a commit writes, what is left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
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

static struct wombat_edit *edit_open(struct db_world *w, const char *key)
{
	struct wombat_edit *e;
	assert_ok(wombat_edit_open(w->db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_EDIT_CREATE, &e));
	return e;
}

static void commit(struct wombat_edit *e)
{
	assert_ok(wombat_edit_commit(e, NULL, NULL, 0, NULL));
	assert_false(wombat_edit_is_dirty(e));
}

/* How many records the engine keeps for values in extents. */
static unsigned hidden_records(struct db_world *w)
{
	struct wombat_iter *it;
	unsigned count = 0;
	assert_ok(db_iter_new(w->db, NULL, EXTENTS_KEYSPACE, NULL, &it));
	for (bool more = wombat_iter_first(it); more; more = wombat_iter_next(it))
		count++;
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

/* ---- The model ------------------------------------------------------------------------------- */

enum { KEYS = 4, MODEL_MAX = 3 << 19 };

struct model_value {
	bool exists;
	uint8_t *bytes; /* of MODEL_MAX; zero behind the size */
	size_t size;
};

struct model {
	struct db_world w;
	struct random_state r;
	struct model_value now[KEYS], then[KEYS]; /* then: as of the snapshot */
	struct wombat_snapshot *snapshot;
	uint64_t fills;
};

static const char *key_name(unsigned i)
{
	static const char *const names[KEYS] = { "a", "a/b", "b", "c/long/name" };
	return names[i];
}

static void model_set(struct model_value *v, size_t size)
{
	if (size < v->size)
		memset(v->bytes + size, 0, v->size - size);
	v->size = size;
}

static void model_copy(struct model_value *to, const struct model_value *from)
{
	to->exists = from->exists;
	to->size = from->size;
	memcpy(to->bytes, from->bytes, MODEL_MAX);
}

static void assert_read(struct model *m, const struct model_value *v, struct wombat_value *value)
{
	for (int i = 0; i < 3; i++) {
		static uint8_t bytes[200000];
		size_t got, offset = random_below(&m->r, v->size + 10), size = random_below(&m->r, sizeof(bytes));
		size_t expected = offset >= v->size ? 0 : v->size - offset < size ? v->size - offset : size;
		assert_ok(wombat_value_read(value, offset, bytes, size, &got));
		assert_int_equal(got, expected);
		assert_memory_equal(bytes, v->bytes + offset, got);
	}
}

/* What is no data reads as zeros, and ranges of data come in order. */
static void assert_holes(const struct model_value *v, struct wombat_value *value)
{
	uint64_t from, to, at = 0;
	enum wombat_status s;
	while ((s = wombat_value_next_data(value, at, &from, &to)) == WOMBAT_OK) {
		assert_true(from >= at && to > from && to <= v->size);
		for (; at < from; at++)
			assert_true(v->bytes[at] == 0);
		at = to;
	}
	assert_status(s, WOMBAT_NOT_FOUND);
	for (; at < v->size; at++)
		assert_true(v->bytes[at] == 0);
}

static void assert_value(struct model *m, const struct model_value *v, unsigned key, struct wombat_snapshot *snapshot)
{
	struct wombat_read_options options = { .snapshot = snapshot };
	struct wombat_slice k = WOMBAT_STR(key_name(key));
	struct wombat_record record;
	struct wombat_value *value;
	enum wombat_status s = wombat_get(m->w.db, &options, WOMBAT_USER, k, &record);
	assert_status(s, v->exists ? WOMBAT_OK : WOMBAT_NOT_FOUND);
	if (!v->exists)
		return;
	assert_int_equal(record.value_size, v->size);
	assert_int_equal(record.value.size, v->size);
	assert_memory_equal(record.value.data, v->bytes, v->size);
	wombat_record_release(&record);
	assert_ok(wombat_value_open(m->w.db, &options, WOMBAT_USER, k, &value));
	assert_int_equal(wombat_value_record(value)->value_size, v->size);
	assert_read(m, v, value);
	assert_holes(v, value);
	wombat_value_close(value);
}

static void assert_scan(struct model *m)
{
	struct wombat_iter *it;
	assert_ok(wombat_iter_new(m->w.db, NULL, WOMBAT_USER, &it));
	bool backward = random_below(&m->r, 2), more = backward ? wombat_iter_last(it) : wombat_iter_first(it);
	for (unsigned n = 0; n < KEYS; n++) {
		unsigned i = backward ? KEYS - 1 - n : n;
		if (!m->now[i].exists)
			continue;
		assert_true(more);
		assert_true(slice_equal(wombat_iter_record(it)->key, WOMBAT_STR(key_name(i))));
		assert_int_equal(wombat_iter_record(it)->value.size, m->now[i].size);
		assert_memory_equal(wombat_iter_record(it)->value.data, m->now[i].bytes, m->now[i].size);
		more = backward ? wombat_iter_prev(it) : wombat_iter_next(it);
	}
	assert_false(more);
	assert_ok(wombat_iter_status(it));
	wombat_iter_free(it);
}

static size_t random_size(struct model *m)
{
	switch (random_below(&m->r, 8)) {
	case 0:
		return 1 + random_below(&m->r, 10);
	case 1:
		return 60000 + random_below(&m->r, 200000);
	default:
		return 1 + random_below(&m->r, 9000);
	}
}

static void change(struct model *m, struct wombat_edit *e, struct model_value *v)
{
	size_t size = random_size(m), offset = random_below(&m->r, random_below(&m->r, 6) ? v->size + 1 : v->size + 50000);
	if (offset + size > MODEL_MAX)
		size = offset < MODEL_MAX ? MODEL_MAX - offset : 0;
	switch (random_below(&m->r, 10)) {
	case 0:
		model_set(v, random_below(&m->r, 3) ? offset : offset + size);
		assert_ok(wombat_edit_truncate(e, v->size));
		break;
	case 1:
		assert_ok(wombat_edit_punch(e, offset, size));
		if (offset < v->size)
			memset(v->bytes + offset, 0, v->size - offset < size ? v->size - offset : size);
		break;
	default:
		if (size == 0)
			break;
		values_fill(v->bytes + offset, size, m->fills++);
		assert_ok(wombat_edit_write(e, offset, v->bytes + offset, size));
		if (offset + size > v->size)
			v->size = offset + size;
	}
	assert_int_equal(wombat_edit_size(e), v->size);
}

static void assert_edit(struct model *m, struct wombat_edit *e, const struct model_value *v)
{
	static uint8_t bytes[MODEL_MAX];
	size_t got, offset = random_below(&m->r, v->size + 1);
	uint64_t from, to;
	assert_ok(wombat_edit_read(e, offset, bytes, v->size, &got));
	assert_int_equal(got, v->size - offset);
	assert_memory_equal(bytes, v->bytes + offset, got);
	uint64_t at = 0;
	while (wombat_edit_next_data(e, at, &from, &to) == WOMBAT_OK) {
		assert_true(from >= at && to > from && to <= v->size);
		for (; at < from; at++)
			assert_true(v->bytes[at] == 0);
		at = to;
	}
	for (; at < v->size; at++)
		assert_true(v->bytes[at] == 0);
}

/* Some rounds of changes, each committed; the last one may be abandoned. */
static void edit_key(struct model *m, unsigned key)
{
	static uint8_t before[MODEL_MAX];
	struct model_value *v = &m->now[key];
	struct wombat_edit *e = edit_open(&m->w, key_name(key));
	for (unsigned rounds = 1 + (unsigned)random_below(&m->r, 3); rounds > 0; rounds--) {
		struct model_value old = { .exists = v->exists, .size = v->size };
		memcpy(before, v->bytes, MODEL_MAX);
		for (unsigned n = 1 + (unsigned)random_below(&m->r, 8); n > 0; n--)
			change(m, e, v);
		assert_edit(m, e, v);
		if (random_below(&m->r, 5) == 0) {
			memcpy(v->bytes, before, MODEL_MAX);
			v->exists = old.exists;
			v->size = old.size;
			break;
		}
		commit(e);
		v->exists = true;
		assert_edit(m, e, v);
	}
	wombat_edit_close(e);
}

static void copy_key(struct model *m, unsigned from, unsigned to)
{
	struct wombat_value *value;
	struct wombat_batch *batch = wombat_batch_new();
	if (!m->now[from].exists || from == to) {
		wombat_batch_free(batch);
		return;
	}
	assert_ok(wombat_value_open(m->w.db, NULL, WOMBAT_USER, WOMBAT_STR(key_name(from)), &value));
	assert_ok(wombat_batch_put_value(batch, WOMBAT_USER, WOMBAT_STR(key_name(to)), value, NULL));
	assert_ok(wombat_write(m->w.db, batch, 0, NULL));
	wombat_value_close(value);
	wombat_batch_free(batch);
	model_copy(&m->now[to], &m->now[from]);
}

static void put_key(struct model *m, unsigned key)
{
	struct model_value *v = &m->now[key];
	model_set(v, random_below(&m->r, 200000));
	values_fill(v->bytes, v->size, m->fills++);
	v->exists = true;
	assert_ok(wombat_put(m->w.db, WOMBAT_USER, WOMBAT_STR(key_name(key)), WOMBAT_SLICE(v->bytes, v->size)));
}

static void delete_key(struct model *m, unsigned key)
{
	model_set(&m->now[key], 0);
	m->now[key].exists = false;
	assert_ok(wombat_delete(m->w.db, WOMBAT_USER, WOMBAT_STR(key_name(key))));
}

static void drop_snapshot(struct model *m)
{
	wombat_snapshot_release(m->w.db, m->snapshot);
	m->snapshot = NULL;
}

static void step(struct model *m)
{
	unsigned key = (unsigned)random_below(&m->r, KEYS);
	switch (random_below(&m->r, 24)) {
	case 0:
		put_key(m, key);
		break;
	case 1:
		delete_key(m, key);
		break;
	case 2:
	case 3:
		copy_key(m, key, (unsigned)random_below(&m->r, KEYS));
		break;
	case 4:
		drop_snapshot(m);
		m->snapshot = wombat_snapshot_new(m->w.db);
		assert_non_null(m->snapshot);
		for (unsigned i = 0; i < KEYS; i++)
			model_copy(&m->then[i], &m->now[i]);
		break;
	case 5:
		drop_snapshot(m);
		db_world_reopen(&m->w);
		break;
	case 6:
		settle(&m->w);
		break;
	case 7:
		assert_scan(m);
		break;
	default:
		edit_key(m, key);
	}
	assert_value(m, &m->now[key], key, NULL);
	if (m->snapshot)
		assert_value(m, &m->then[key], key, m->snapshot);
}

static void on_finding(void *arg, bool is_damage, const char *sentence)
{
	(void)arg;
	if (is_damage)
		fail_msg("%s", sentence);
}

static void test_model(void **state)
{
	(void)state;
	struct model m = { .fills = 0 };
	uint64_t seed = test_seed("test_edit");
	random_seed(&m.r, seed);
	db_world_init(&m.w, small);
	for (unsigned i = 0; i < KEYS; i++) {
		m.now[i].bytes = calloc(1, MODEL_MAX);
		m.then[i].bytes = calloc(1, MODEL_MAX);
	}
	for (unsigned n = test_steps(150); n > 0; n--)
		step(&m);
	assert_ok(wombat_verify(m.w.db, on_finding, NULL));
	for (unsigned i = 0; i < KEYS; i++) {
		assert_value(&m, &m.now[i], i, NULL);
		delete_key(&m, i);
	}
	drop_snapshot(&m);
	/* Nothing is left of any value. */
	settle(&m.w);
	settle(&m.w);
	assert_int_equal(hidden_records(&m.w), 0);
	assert_true(db_world_stat(&m.w, "value_log.live_bytes") == 0);
	for (unsigned i = 0; i < KEYS; i++) {
		free(m.now[i].bytes);
		free(m.then[i].bytes);
	}
	db_world_done(&m.w);
}

/* Before: 150,000 bytes of filling 1. After: as change_and_commit() makes it. */
static void expect_either(struct db_world *w, bool changed)
{
	static uint8_t expected[220000];
	struct wombat_record record;
	values_fill(expected, 150000, 1);
	if (changed) {
		values_fill(expected + 120000, 100000, 9);
		memcpy(expected + 30000, expected + 120000, 1000);
		memset(expected + 60000, 0, 1000);
	}
	assert_ok(wombat_get(w->db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
	assert_int_equal(record.value.size, changed ? 220000 : 150000);
	assert_memory_equal(record.value.data, expected, record.value.size);
	wombat_record_release(&record);
}

/* In extents: one of them of bytes, the others of the value log. */
static void make_value(struct db_world *w)
{
	static uint8_t bytes[150000];
	db_world_put_filled(w, "k", sizeof(bytes), 1);
	values_fill(bytes, sizeof(bytes), 1);
	struct wombat_edit *e = edit_open(w, "k");
	assert_ok(wombat_edit_write(e, 29000, bytes + 29000, 3000));
	commit(e);
	wombat_edit_close(e);
	assert_true(hidden_records(w) == 4);
}

/* ---- What is promised ------------------------------------------------------------------------ */

/* A change of 4 KiB in a value of 64 MiB writes little more than 4 KiB. */
static void small_changes(bool with_log, double most)
{
	enum { SIZE = 64 << 20, PART = 1 << 20 };
	struct db_world w;
	uint8_t *bytes = malloc(PART), page[4096];
	db_world_init(&w, (const char *const[]){ "sync_interval_ms", "0", "value_threshold", with_log ? "32K" : "0", NULL });
	struct wombat_edit *e = edit_open(&w, "large");
	for (size_t at = 0; at < SIZE; at += PART) {
		values_fill(bytes, PART, at);
		assert_ok(wombat_edit_write(e, at, bytes, PART));
	}
	commit(e);
	double log = db_world_stat(&w, "wal.bytes_total"), values = db_world_stat(&w, "value_log.bytes_total");
	for (unsigned i = 0; i < 10; i++) {
		values_fill(page, sizeof(page), i);
		assert_ok(wombat_edit_write(e, (uint64_t)i * 5000017, page, sizeof(page)));
		commit(e);
	}
	double written = db_world_stat(&w, "wal.bytes_total") - log + db_world_stat(&w, "value_log.bytes_total") - values;
	assert_true(written >= 10 * 4096);
	assert_true(written < 10 * 4096 * most);
	wombat_edit_close(e);
	free(bytes);
	db_world_done(&w);
}

static void test_small_change_writes_little(void **state)
{
	(void)state;
	small_changes(true, 1.15);
	small_changes(false, 8); /* what is left of the extents that were cut */
}

/* Sizes far beyond what is stored. */
static void test_sparse(void **state)
{
	(void)state;
	const uint64_t far = UINT64_C(1) << 40;
	struct db_world w;
	struct wombat_value *value;
	struct wombat_record record;
	char text[8];
	size_t got;
	uint64_t from, to;
	db_world_init(&w, small);
	struct wombat_edit *e = edit_open(&w, "k");
	assert_ok(wombat_edit_write(e, far, "end", 3));
	assert_ok(wombat_edit_write(e, 5, "begin", 5));
	commit(e);
	assert_int_equal(wombat_edit_size(e), far + 3);
	wombat_edit_close(e);
	db_world_reopen(&w);
	assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &value));
	assert_true(wombat_value_record(value)->value_size == far + 3);
	assert_ok(wombat_value_read(value, far - 2, text, sizeof(text), &got));
	assert_int_equal(got, 5);
	assert_memory_equal(text, "\0\0end", 5);
	assert_ok(wombat_value_next_data(value, 0, &from, &to));
	assert_true(from == 5 && to == 10);
	assert_ok(wombat_value_next_data(value, 10, &from, &to));
	assert_true(from == far && to == far + 3);
	assert_status(wombat_value_next_data(value, to, &from, &to), WOMBAT_NOT_FOUND);
	wombat_value_close(value);
	assert_status(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record), WOMBAT_TOO_BIG);
	assert_true(db_world_stat(&w, "value_log.bytes_total") < 4096);
	e = edit_open(&w, "k");
	assert_status(wombat_edit_write(e, UINT64_C(16) << 40, "x", 1), WOMBAT_TOO_BIG);
	assert_status(wombat_edit_write(e, UINT64_MAX, "x", 1), WOMBAT_TOO_BIG);
	assert_status(wombat_edit_truncate(e, (UINT64_C(16) << 40) + 1), WOMBAT_TOO_BIG);
	assert_ok(wombat_edit_truncate(e, 7));
	commit(e);
	wombat_edit_close(e);
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
	assert_true(slice_equal(record.value, WOMBAT_SLICE("\0\0\0\0\0be", 7)));
	wombat_record_release(&record);
	db_world_done(&w);
}

/* A new value of less than a MiB keeps its holes when they are worth it: without them, and with small ones, it is whole. */
static void test_holes_of_new_values(void **state)
{
	(void)state;
	static const struct {
		uint64_t size, data_at, data_size, punch_at, punch_size;
		bool keeps_holes;
	} cases[] = {
		{ 128 << 10, 100000, 3, 0, 0, true },
		{ (64 << 10) + 3, 64 << 10, 3, 0, 0, true },
		{ (64 << 10) + 3, (64 << 10) - 1, 4, 0, 0, false }, /* a byte less */
		{ 64 << 10, 0, 0, 0, 0, false },                    /* so small is every value whole */
		{ 200000, 0, 200000, 0, 0, false },
		{ 200000, 0, 200000, 50000, 64 << 10, true },
		{ 200000, 0, 200000, 50000, 60000, false },
	};
	static uint8_t bytes[200000];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct db_world w;
		struct wombat_record record;
		db_world_init(&w, small);
		values_fill(bytes, sizeof bytes, (unsigned)i);
		struct wombat_edit *e = edit_open(&w, "k");
		assert_ok(wombat_edit_truncate(e, cases[i].size));
		if (cases[i].data_size)
			assert_ok(wombat_edit_write(e, cases[i].data_at, bytes, (size_t)cases[i].data_size));
		if (cases[i].punch_size)
			assert_ok(wombat_edit_punch(e, cases[i].punch_at, cases[i].punch_size));
		commit(e);
		wombat_edit_close(e);
		assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
		assert_int_equal(record.value_size, cases[i].size);
		uint64_t data = cases[i].data_size - cases[i].punch_size;
		assert_int_equal(record.stored_size, cases[i].keeps_holes ? data : cases[i].size);
		for (uint64_t at = 0; at < cases[i].size; at++) {
			bool is_data = at >= cases[i].data_at && at < cases[i].data_at + cases[i].data_size &&
				       !(at >= cases[i].punch_at && at < cases[i].punch_at + cases[i].punch_size);
			assert_int_equal(record.value.data[at], is_data ? bytes[at - cases[i].data_at] : 0);
		}
		wombat_record_release(&record);
		db_world_done(&w);
	}
}

static void test_conflicts(void **state)
{
	(void)state;
	struct db_world w;
	char text[4];
	size_t got;
	db_world_init(&w, small);
	db_world_put_filled(&w, "k", 100000, 1);
	struct wombat_edit *a = edit_open(&w, "k"), *b = edit_open(&w, "k"), *fresh = edit_open(&w, "new");
	assert_ok(wombat_edit_write(a, 10, "aaaa", 4));
	assert_ok(wombat_edit_write(b, 10, "bbbb", 4));
	assert_ok(wombat_edit_write(fresh, 0, "mine", 4));
	commit(a);
	assert_status(wombat_edit_commit(b, NULL, NULL, 0, NULL), WOMBAT_CONFLICT);
	assert_non_null(strstr(wombat_last_error(), "\"k\""));
	db_world_put(&w, "new", "theirs");
	assert_status(wombat_edit_commit(fresh, NULL, NULL, 0, NULL), WOMBAT_CONFLICT);
	/* It goes on by itself. */
	assert_ok(wombat_edit_write(a, 14, "AAAA", 4));
	commit(a);
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("k")));
	assert_status(wombat_edit_write(a, 18, "late", 4), WOMBAT_CONFLICT);
	assert_status(wombat_edit_read(a, 0, text, 4, &got), WOMBAT_CONFLICT);
	assert_status(wombat_edit_commit(a, &(struct wombat_put_info){ .expiry_ns = 0 }, NULL, 0, NULL), WOMBAT_CONFLICT);
	wombat_edit_close(a);
	wombat_edit_close(b);
	wombat_edit_close(fresh);
	db_world_expect(&w, WOMBAT_USER, "k", NULL);
	db_world_expect(&w, WOMBAT_USER, "new", "theirs");
	db_world_done(&w);
}

/* Opened, changed behind its back, and put again: a copy is of what was opened. */
static void test_copy_is_of_what_was_opened(void **state)
{
	(void)state;
	struct db_world w;
	static uint8_t bytes[100000];
	struct wombat_record record;
	struct wombat_value *value;
	struct wombat_batch *batch = wombat_batch_new();
	db_world_init(&w, small);
	db_world_put_filled(&w, "k", sizeof(bytes), 7);
	struct wombat_edit *e = edit_open(&w, "k");
	assert_ok(wombat_edit_write(e, 0, "other", 5));
	commit(e);
	assert_true(hidden_records(&w) >= 2);
	assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &value));
	assert_ok(wombat_edit_write(e, 0, "changed", 7));
	commit(e);
	wombat_edit_close(e);
	assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("k")));
	settle(&w);
	assert_ok(wombat_batch_put_value(batch, WOMBAT_USER, WOMBAT_STR("copy"), value, NULL));
	assert_ok(wombat_write(w.db, batch, 0, NULL));
	wombat_value_close(value);
	wombat_batch_free(batch);
	settle(&w);
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("copy"), &record));
	values_fill(bytes, sizeof(bytes), 7);
	memcpy(bytes, "other", 5);
	assert_int_equal(record.value.size, sizeof(bytes));
	assert_memory_equal(record.value.data, bytes, sizeof(bytes));
	wombat_record_release(&record);
	db_world_done(&w);
}

static void move(struct db_world *w, const char *from, const char *to, enum wombat_status expected)
{
	struct wombat_value *value;
	struct wombat_batch *batch = wombat_batch_new();
	assert_ok(wombat_value_open(w->db, NULL, WOMBAT_USER, WOMBAT_STR(from), &value));
	if (expected == WOMBAT_CONFLICT)
		db_world_put(w, from, "changed");
	assert_ok(wombat_batch_move_value(batch, WOMBAT_USER, WOMBAT_STR(from), WOMBAT_STR(to), value, NULL));
	assert_status(wombat_write(w->db, batch, 0, NULL), expected);
	wombat_value_close(value);
	wombat_batch_free(batch);
}

/* A move takes the extents along, as they are; what lay there before goes. */
static void test_move(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_value *value;
	db_world_init(&w, small);
	make_value(&w);
	double values = db_world_stat(&w, "value_log.bytes_total");
	struct wombat_snapshot *snapshot = wombat_snapshot_new(w.db);
	move(&w, "k", "k2", WOMBAT_OK);
	db_world_expect(&w, WOMBAT_USER, "k", NULL);
	settle(&w);
	assert_in_range(hidden_records(&w), 4, 5); /* three extents, one owner; the snapshot keeps the other */
	assert_true(db_world_stat(&w, "value_log.bytes_total") == values);
	move(&w, "k2", "k", WOMBAT_OK);
	expect_either(&w, false);
	struct wombat_read_options then = { .snapshot = snapshot };
	struct wombat_record record;
	assert_ok(wombat_get(w.db, &then, WOMBAT_USER, WOMBAT_STR("k"), &record));
	assert_int_equal(record.value.size, 150000);
	wombat_record_release(&record);
	/* One that was changed meanwhile does not move. */
	move(&w, "k", "k2", WOMBAT_CONFLICT);
	db_world_expect(&w, WOMBAT_USER, "k", "changed");
	db_world_expect(&w, WOMBAT_USER, "k2", NULL);
	/* One that is no extents moves too. */
	move(&w, "k", "k3", WOMBAT_OK);
	db_world_expect(&w, WOMBAT_USER, "k", NULL);
	db_world_expect(&w, WOMBAT_USER, "k3", "changed");
	assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k3"), &value));
	struct wombat_batch *batch = wombat_batch_new();
	assert_status(wombat_batch_move_value(batch, WOMBAT_USER, WOMBAT_STR("k3"), WOMBAT_STR("k3"), value, NULL),
		      WOMBAT_INVALID);
	wombat_value_close(value);
	wombat_batch_free(batch);
	wombat_snapshot_release(w.db, snapshot);
	settle(&w);
	settle(&w);
	assert_int_equal(hidden_records(&w), 0);
	db_world_done(&w);
}

/* With a batch: both or none, and attributes and expiry as they are told. */
static void test_with_a_batch(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_record record;
	struct wombat_batch *batch = wombat_batch_new();
	uint64_t sequence = 0;
	db_world_init(&w, small);
	assert_ok(wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR("k"), WOMBAT_STR("value"),
				   &(struct wombat_put_info){ .attr = WOMBAT_STR("at"), .expiry_ns = UINT64_MAX }));
	assert_ok(wombat_write(w.db, batch, 0, NULL));
	wombat_batch_clear(batch);
	struct wombat_edit *e = edit_open(&w, "k");
	assert_ok(wombat_edit_write(e, 5, "!", 1));
	assert_ok(wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR("other"), WOMBAT_STR("o"), NULL));
	assert_ok(wombat_edit_commit(e, NULL, batch, WOMBAT_SYNC, &sequence));
	assert_true(sequence > 0);
	db_world_expect(&w, WOMBAT_USER, "other", "o");
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
	assert_true(slice_equal(record.value, WOMBAT_STR("value!")) && slice_equal(record.attr, WOMBAT_STR("at")));
	assert_true(record.expiry_ns == UINT64_MAX);
	wombat_record_release(&record);
	/* Attributes alone; the conflict takes the batch with it. */
	assert_ok(wombat_edit_commit(e, &(struct wombat_put_info){ .attr = WOMBAT_STR("new") }, NULL, 0, NULL));
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
	assert_true(slice_equal(record.value, WOMBAT_STR("value!")) && slice_equal(record.attr, WOMBAT_STR("new")));
	assert_true(record.expiry_ns == 0);
	wombat_record_release(&record);
	wombat_batch_clear(batch);
	assert_ok(wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR("third"), WOMBAT_STR("3"), NULL));
	assert_ok(wombat_edit_write(e, 0, "V", 1));
	db_world_put(&w, "k", "theirs");
	assert_status(wombat_edit_commit(e, NULL, batch, 0, NULL), WOMBAT_CONFLICT);
	db_world_expect(&w, WOMBAT_USER, "third", NULL);
	wombat_edit_close(e);
	wombat_batch_free(batch);
	db_world_done(&w);
}

/* Parts of values of each kind, into an edit of each kind; nothing large is written again. */
static void test_copy_range(void **state)
{
	(void)state;
	static uint8_t bytes[220000], model[500000];
	struct db_world w;
	struct wombat_record record;
	struct wombat_value *value;
	struct random_state r;
	random_seed(&r, test_seed("test_copy_range"));
	db_world_init(&w, small);
	make_value(&w);
	assert_ok(db_world_set(&w, "value_log_space_reclaim_threshold", "1"));
	db_world_put_filled(&w, "log", 200000, 5);
	db_world_put_filled(&w, "inline", 3000, 6);
	double values = db_world_stat(&w, "value_log.bytes_total");
	struct wombat_edit *e = edit_open(&w, "to");
	size_t size = 0;
	static const char *const sources[] = { "k", "log", "inline" };
	for (unsigned n = 0; n < 60; n++) {
		const char *source = sources[random_below(&r, 3)];
		assert_ok(wombat_value_open(w.db, NULL, WOMBAT_USER, WOMBAT_STR(source), &value));
		size_t total = (size_t)wombat_value_record(value)->value_size, got;
		size_t from = random_below(&r, total), part = random_below(&r, total - from) + 1;
		size_t at = random_below(&r, sizeof(model) - part);
		assert_ok(wombat_value_read(value, from, bytes, part, &got));
		assert_ok(wombat_edit_copy(e, at, value, from, part));
		assert_status(wombat_edit_copy(e, at, value, from, total - from + 1), WOMBAT_INVALID);
		memcpy(model + at, bytes, part);
		size = at + part > size ? at + part : size;
		wombat_value_close(value);
		assert_int_equal(wombat_edit_size(e), size);
		if (n % 7 == 6)
			commit(e);
		if (n % 20 == 19)
			settle(&w);
	}
	commit(e);
	wombat_edit_close(e);
	/* Small rests that were cut are written with their extents, nothing else. */
	assert_true(db_world_stat(&w, "value_log.bytes_total") - values < 60 * 7000);
	db_world_reopen(&w);
	assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("to"), &record));
	assert_int_equal(record.value.size, size);
	assert_memory_equal(record.value.data, model, size);
	wombat_record_release(&record);
	expect_either(&w, false);
	db_world_done(&w);
}

static void test_arguments(void **state)
{
	(void)state;
	struct db_world w;
	struct wombat_edit *e;
	char byte;
	size_t got = 7;
	db_world_init(&w, (const char *const[]){ "max_key_size", "16", NULL });
	assert_status(wombat_edit_open(w.db, WOMBAT_USER, WOMBAT_STR("absent"), 0, &e), WOMBAT_NOT_FOUND);
	assert_status(wombat_edit_open(w.db, 0, WOMBAT_STR("k"), WOMBAT_EDIT_CREATE, &e), WOMBAT_INVALID);
	assert_status(wombat_edit_open(w.db, 255, WOMBAT_STR("k"), WOMBAT_EDIT_CREATE, &e), WOMBAT_INVALID);
	assert_status(wombat_edit_open(w.db, WOMBAT_USER, WOMBAT_STR("a key that is too long"), WOMBAT_EDIT_CREATE, &e),
		      WOMBAT_TOO_BIG);
	e = edit_open(&w, "k");
	assert_true(wombat_edit_is_dirty(e));
	assert_ok(wombat_edit_read(e, 0, &byte, 1, &got));
	assert_int_equal(got, 0);
	assert_ok(wombat_edit_punch(e, 5, 10));
	assert_ok(wombat_edit_write(e, 0, NULL, 0));
	commit(e);
	db_world_expect(&w, WOMBAT_USER, "k", "");
	assert_ok(wombat_edit_commit(e, NULL, NULL, WOMBAT_SYNC, NULL));
	wombat_edit_close(e);
	wombat_edit_close(NULL);
	db_world_done(&w);
}

/* ---- Failures and crashes -------------------------------------------------------------------- */

static enum wombat_status change_and_commit(struct wombat_edit *e)
{
	static uint8_t bytes[100000];
	values_fill(bytes, sizeof(bytes), 9);
	enum wombat_status s = wombat_edit_write(e, 30000, bytes, 1000);
	if (s == WOMBAT_OK)
		s = wombat_edit_write(e, 120000, bytes, sizeof(bytes));
	if (s == WOMBAT_OK)
		s = wombat_edit_punch(e, 60000, 1000);
	return s == WOMBAT_OK ? wombat_edit_commit(e, NULL, NULL, 0, NULL) : s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct db_world w;
		struct wombat_edit *e = NULL;
		db_world_init(&w, small);
		make_value(&w);
		scarce_begin(n);
		s = wombat_edit_open(w.db, WOMBAT_USER, WOMBAT_STR("k"), 0, &e);
		if (s == WOMBAT_OK)
			s = change_and_commit(e);
		scarce_end();
		if (s != WOMBAT_OK && wombat_background_status(w.db) == WOMBAT_OK) {
			assert_status(s, WOMBAT_NO_MEMORY);
			expect_either(&w, false);
			db_world_put(&w, "later", "1");
		} else if (s == WOMBAT_OK) {
			expect_either(&w, true);
		}
		wombat_edit_close(e);
		db_world_done(&w);
	}
	assert_true(n > 15);
}

static void test_io_fails(void **state)
{
	(void)state;
	static const char *const operations[][2] = { { "reader_", ".sst" }, { "reader_", ".vlog" }, { "writer_", ".vlog" } };
	for (size_t i = 0; i < 3; i++) {
		unsigned n = 0;
		for (unsigned hits = 1; hits > 0; n++) {
			struct db_world w;
			db_world_init(&w, (const char *const[]){ "value_threshold", "4K", "block_cache_size", "0",
								  "sync_interval_ms", "0", "table_cache_size", "0", NULL });
			wombat_pause_compaction(w.db);
			make_value(&w);
			assert_ok(wombat_flush(w.db));
			db_world_fail(&w, operations[i][0], operations[i][1], n, WOMBAT_IO);
			struct wombat_edit *e = NULL;
			enum wombat_status s = wombat_edit_open(w.db, WOMBAT_USER, WOMBAT_STR("k"), 0, &e);
			if (s == WOMBAT_OK)
				s = change_and_commit(e);
			uint8_t byte;
			size_t got;
			if (s == WOMBAT_OK)
				s = wombat_edit_read(e, 149999, &byte, 1, &got);
			hits = db_world_let_go(&w);
			if (hits == 0)
				assert_ok(s);
			else
				assert_status(s, WOMBAT_IO);
			struct wombat_record record;
			assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
			bool changed = record.value.size == 220000;
			wombat_record_release(&record);
			expect_either(&w, changed);
			wombat_edit_close(e);
			wombat_resume_compaction(w.db);
			db_world_done(&w);
		}
		assert_true(n > 1);
	}
}

/* A power cut at each sync: a durable commit is there, another one whole or not at all, and ids that nobody has any more
 * are found. */
static void test_crash(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 12; round++) {
		struct db_world w;
		struct env *found, *before;
		bool durable = round % 2;
		db_world_init(&w, small);
		make_value(&w);
		assert_ok(wombat_sync(w.db));
		struct wombat_edit *e = edit_open(&w, "k");
		assert_ok(wombat_edit_punch(e, 60000, 1000));
		assert_ok(wombat_edit_punch(e, 60000, 1000));
		wombat_edit_close(e);
		e = edit_open(&w, "k");
		assert_ok(change_and_commit(e));
		if (durable)
			assert_ok(wombat_sync(w.db));
		assert_ok(env_mem_clone(w.env, round < 4 ? ENV_MEM_SYNCED_ONLY : ENV_MEM_RANDOM, round, &found));
		wombat_edit_close(e);
		db_world_close(&w);
		before = w.env;
		w.env = found;
		db_world_open(&w);
		before->calls->free(before);
		struct wombat_record record;
		assert_ok(wombat_get(w.db, NULL, WOMBAT_USER, WOMBAT_STR("k"), &record));
		bool changed = record.value.size == 220000;
		wombat_record_release(&record);
		expect_either(&w, changed);
		assert_ok(wombat_verify(w.db, on_finding, NULL));
		assert_true(changed || !durable);
		assert_ok(wombat_delete(w.db, WOMBAT_USER, WOMBAT_STR("k")));
		settle(&w);
		settle(&w);
		assert_int_equal(hidden_records(&w), 0);
		db_world_done(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_small_change_writes_little),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_holes_of_new_values),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_copy_is_of_what_was_opened),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_with_a_batch),
		cmocka_unit_test(test_copy_range),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_io_fails),
		cmocka_unit_test(test_crash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
