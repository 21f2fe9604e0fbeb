/*
 * fs/store_lsm and fs/store_txn: every call over random changes and moves against a reference database, what guards let
 * through, how failures of the engine show, and that each failed allocation changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

enum { KEY_MOST = 6 };

struct world {
	struct fs_mount *f;
	struct store *store; /* NULL: the mount's */
	struct model model;
	struct random_state random;
};

static struct wombat_slice slice(struct store_bytes b) { return WOMBAT_SLICE(b.data, b.size); }

static bool is_same(struct store_bytes b, const uint8_t *data, size_t size)
{
	return b.size == size && (!size || memcmp(b.data, data, size) == 0);
}

/* Few letters, among them the one that cuts paths and the one that no prefix's end can raise. */
static struct store_bytes random_key(struct world *w, uint8_t out[KEY_MOST])
{
	static const uint8_t letters[] = { 'a', 'b', '/', '/', 0xff };
	size_t size = random_below(&w->random, KEY_MOST + 1);
	for (size_t i = 0; i < size; i++)
		out[i] = letters[random_below(&w->random, sizeof letters)];
	return (struct store_bytes){ out, size };
}

static enum store_space random_space(struct world *w)
{
	return random_below(&w->random, 2) ? STORE_USER : STORE_DIRS;
}

static struct store *store_of(struct world *w)
{
	return w->store ? w->store : w->f->m.store;
}

static const struct store_calls *calls(struct world *w)
{
	return w->store ? w->store->calls : w->f->real;
}

/* ---- The model's part ---------------------------------------------------------------------- */

static bool has_prefix(const struct model_record *r, enum store_space space, struct store_bytes prefix)
{
	return r->key[0] == (uint8_t)space && r->key_size - 1 >= prefix.size &&
	       (!prefix.size || memcmp(r->key + 1, prefix.data, prefix.size) == 0);
}

static void model_delete_prefix(struct model *m, enum store_space space, struct store_bytes prefix)
{
	for (size_t i = m->count; i-- > 0;)
		if (has_prefix(&m->records[i], space, prefix)) {
			struct model_record *r = &m->records[i];
			uint8_t key[64];
			size_t size = r->key_size - 1;
			memcpy(key, r->key + 1, size);
			model_delete(m, space, WOMBAT_SLICE(key, size));
		}
}

static void model_apply(struct model *m, const struct store_change *c)
{
	struct wombat_put_info info = { .time_ns = c->time_ns, .attr = slice(c->attr) };
	if (c->op == STORE_PUT)
		model_put(m, c->space, slice(c->key), slice(c->value), &info);
	else if (c->op == STORE_DELETE)
		model_delete(m, c->space, slice(c->key));
	else
		model_delete_prefix(m, c->space, c->key);
}

/* Copies what lies below `from` in `source` to below `to` in `m`. */
static void model_copy_prefix(struct model *m, const struct model *source, enum store_space space,
			      struct store_bytes from, struct store_bytes to)
{
	for (size_t i = 0; i < source->count; i++) {
		const struct model_record *r = &source->records[i];
		uint8_t key[64];
		if (!has_prefix(r, space, from))
			continue;
		size_t rest = r->key_size - 1 - from.size;
		memcpy(key, to.data, to.size);
		memcpy(key + to.size, r->key + 1 + from.size, rest);
		struct wombat_put_info info = { .attr = WOMBAT_SLICE(r->attr, r->attr_size) };
		model_put(m, space, WOMBAT_SLICE(key, to.size + rest), WOMBAT_SLICE(r->value, r->value_size), &info);
	}
}

/* ---- Comparing ----------------------------------------------------------------------------- */

struct scanned {
	const struct model *model;
	enum store_space space;
	struct store_bytes prefix;
	size_t at, stop;
	bool meta_only;
};

static bool next_in_model(struct scanned *s)
{
	while (s->at < s->model->count && !has_prefix(&s->model->records[s->at], s->space, s->prefix))
		s->at++;
	return s->at < s->model->count;
}

static bool compare_scanned(void *arg, struct store_bytes key, const struct store_entry *e)
{
	struct scanned *s = arg;
	assert_true(next_in_model(s));
	const struct model_record *r = &s->model->records[s->at++];
	assert_true(is_same(key, r->key + 1, r->key_size - 1));
	assert_int_equal(e->value_size, r->value_size);
	assert_true(is_same(e->attr, r->attr, r->attr_size));
	if (!s->meta_only)
		assert_true(is_same(e->value, r->value, r->value_size));
	return s->stop == 0 || --s->stop > 0;
}

static void assert_scan(struct world *w, enum store_space space, struct store_bytes prefix, bool meta_only)
{
	struct scanned s = { .model = &w->model, .space = space, .prefix = prefix, .meta_only = meta_only };
	bool exists;
	assert_int_equal(calls(w)->prefix_exists(store_of(w), space, prefix, true, &exists), STORE_OK);
	assert_int_equal(exists, next_in_model(&s));
	assert_int_equal(calls(w)->scan(store_of(w), space, prefix, meta_only, compare_scanned, &s), STORE_OK);
	assert_false(next_in_model(&s));
	s.at = 0;
	s.stop = 2;
	assert_int_equal(calls(w)->scan(store_of(w), space, prefix, meta_only, compare_scanned, &s), STORE_OK);
}

static void assert_get(struct world *w, enum store_space space, struct store_bytes key, bool meta_only)
{
	struct store_entry e;
	const struct model_record *r = model_get(&w->model, space, slice(key), 1);
	enum store_result got = calls(w)->get(store_of(w), space, key, meta_only, true, &e);
	assert_int_equal(got, r ? STORE_OK : STORE_NOT_FOUND);
	if (!r)
		return;
	assert_int_equal(e.value_size, r->value_size);
	assert_true(is_same(e.attr, r->attr, r->attr_size));
	if (meta_only)
		assert_null(e.value.data);
	else
		assert_true(is_same(e.value, r->value, r->value_size));
	calls(w)->entry_release(store_of(w), &e);
}

/* The children by the rule: cut each key behind the prefix at its first '/', and say each prefix once. */
struct child {
	uint8_t name[64];
	size_t size;
	bool is_value;
};

static size_t model_children(const struct model *m, enum store_space space, struct store_bytes prefix,
	struct child *out)
{
	size_t count = 0;
	for (size_t i = 0; i < m->count; i++) {
		const struct model_record *r = &m->records[i];
		if (!has_prefix(r, space, prefix))
			continue;
		const uint8_t *rest = r->key + 1 + prefix.size;
		size_t size = r->key_size - 1 - prefix.size;
		const uint8_t *cut = size ? memchr(rest, '/', size) : NULL;
		struct child c = { .size = cut ? (size_t)(cut - rest) : size, .is_value = !cut };
		memcpy(c.name, rest, c.size);
		if (!count || c.is_value || memcmp(&out[count - 1], &c, sizeof c) != 0)
			out[count++] = c;
	}
	return count;
}

static void assert_list(struct world *w, enum store_space space, struct store_bytes prefix)
{
	static struct child expected[4096];
	size_t count = model_children(&w->model, space, prefix, expected), at = 0;
	struct store_list *l;
	struct store_child c;
	assert_int_equal(calls(w)->list_open(store_of(w), space, prefix, &l), STORE_OK);
	if (count && random_below(&w->random, 2)) {
		at = random_below(&w->random, count);
		calls(w)->list_seek(l, (struct store_bytes){ expected[at].name, expected[at].size },
			!expected[at].is_value);
		at++;
	}
	for (; at < count; at++) {
		assert_int_equal(calls(w)->list_next(l, &c), STORE_OK);
		assert_true(is_same(c.name, expected[at].name, expected[at].size));
		assert_int_equal(c.is_value, expected[at].is_value);
		assert_true((c.entry != NULL) == c.is_value);
	}
	assert_int_equal(calls(w)->list_next(l, &c), STORE_NOT_FOUND);
	calls(w)->list_close(l);
}

static void assert_world(struct world *w)
{
	static const struct store_bytes all = { NULL, 0 };
	uint8_t key[KEY_MOST];
	enum store_space space = random_space(w);
	assert_get(w, space, random_key(w, key), random_below(&w->random, 2));
	assert_scan(w, space, random_key(w, key), random_below(&w->random, 2));
	assert_scan(w, STORE_USER, all, false);
	assert_scan(w, STORE_DIRS, all, false);
	struct store_bytes prefix = random_key(w, key);
	if (prefix.size)
		key[prefix.size - 1] = '/';
	assert_list(w, space, prefix);
}

/* ---- Random changes ------------------------------------------------------------------------ */

enum { CHANGES_MOST = 4 };

struct changes {
	struct store_change list[CHANGES_MOST];
	uint8_t keys[CHANGES_MOST][KEY_MOST], data[CHANGES_MOST][40];
	size_t count;
};

static void random_changes(struct world *w, struct changes *c)
{
	memset(c, 0, sizeof *c);
	c->count = random_below(&w->random, CHANGES_MOST + 1);
	for (size_t i = 0; i < c->count; i++) {
		struct store_change *one = &c->list[i];
		unsigned kind = (unsigned)random_below(&w->random, 10);
		/* The root's own record is read by every mount: it has no attributes that are none. */
		*one = (struct store_change){ .op = kind < 7 ? STORE_PUT : kind < 9 ? STORE_DELETE : STORE_DELETE_PREFIX,
					      .space = random_space(w), .key = random_key(w, c->keys[i]) };
		/* The whole space now and then only. */
		if (one->op == STORE_DELETE_PREFIX && one->key.size < 2 && random_below(&w->random, 10))
			one->op = STORE_DELETE;
		if (one->op != STORE_PUT)
			continue;
		memset(c->data[i], (int)random_below(&w->random, 256), sizeof c->data[i]);
		one->value = (struct store_bytes){ c->data[i], random_below(&w->random, 30) };
		if (one->key.size || one->space != STORE_DIRS)
			one->attr = (struct store_bytes){ c->data[i] + 30, random_below(&w->random, 10) };
	}
}

static void commit_random(struct world *w)
{
	struct changes c;
	bool durable = random_below(&w->random, 10) == 0;
	random_changes(w, &c);
	assert_int_equal(calls(w)->commit(store_of(w), c.list, c.count, durable, NULL), STORE_OK);
	for (size_t i = 0; i < c.count; i++)
		model_apply(&w->model, &c.list[i]);
}

/* Paths of a directory each, neither below the other, as rename(2) has them. */
static void move_random(struct world *w)
{
	static const enum store_space spaces[] = { STORE_USER, STORE_DIRS };
	static const char *const dirs[] = { "a/", "b/", "ab/", "\xff/", "b/a/", "a/a/", "//" };
	const char *from = dirs[random_below(&w->random, 7)], *to = dirs[random_below(&w->random, 7)];
	bool exchange = random_below(&w->random, 3) == 0;
	struct model old;
	struct changes c;
	if (strncmp(from, to, strlen(from)) == 0 || strncmp(to, from, strlen(to)) == 0)
		return;
	random_changes(w, &c);
	assert_int_equal(calls(w)->move_prefix(store_of(w), bytes_of(from), bytes_of(to), exchange, c.list, c.count),
			 STORE_OK);
	model_init(&old);
	model_copy(&w->model, &old);
	for (size_t i = 0; i < 2; i++) {
		model_delete_prefix(&w->model, spaces[i], bytes_of(to));
		model_delete_prefix(&w->model, spaces[i], bytes_of(from));
		model_copy_prefix(&w->model, &old, spaces[i], bytes_of(from), bytes_of(to));
		if (exchange)
			model_copy_prefix(&w->model, &old, spaces[i], bytes_of(to), bytes_of(from));
	}
	for (size_t i = 0; i < c.count; i++)
		model_apply(&w->model, &c.list[i]);
	model_done(&old);
}

static void world_begin(struct world *w, struct fs_mount *f, uint64_t seed)
{
	*w = (struct world){ .f = f };
	random_seed(&w->random, seed);
	model_init(&w->model);
}

static void test_against_a_model(void **state)
{
	struct world w;
	world_begin(&w, *state, test_seed(__func__));
	for (unsigned step = test_steps(1500); step; step--) {
		if (random_below(&w.random, 8))
			commit_random(&w);
		else
			move_random(&w);
		assert_world(&w);
		if (step % 100 == 0)
			assert_ok(wombat_flush(w.f->m.db));
		if (step % 300 == 0)
			fs_mount_reopen(w.f);
	}
	assert_true(w.model.count > 0);
	model_done(&w.model);
}

/* ---- Transactions ---------------------------------------------------------------------------- */

static void step(struct world *w)
{
	if (random_below(&w->random, 8))
		commit_random(w);
	else
		move_random(w);
	assert_world(w);
}

/* What a transaction does it alone sees, until all of it is everybody's. */
static void test_transactions_against_a_model(void **state)
{
	struct world w;
	world_begin(&w, *state, test_seed(__func__));
	for (unsigned round = test_steps(1500) / 30; round; round--) {
		struct world t = { .f = w.f };
		random_seed(&t.random, random_next(&w.random));
		model_init(&t.model);
		for (unsigned i = 0; i < 10; i++)
			step(&w);
		model_copy(&w.model, &t.model);
		assert_int_equal(store_txn_new(w.f->m.store, &t.store), STORE_OK);
		for (unsigned i = 0; i < 20; i++) {
			step(&t);
			assert_world(&w);
		}
		bool commits = random_below(&w.random, 3) > 0;
		if (commits) {
			assert_int_equal(store_txn_commit(t.store), STORE_OK);
			model_done(&w.model);
			model_init(&w.model);
			model_copy(&t.model, &w.model);
			assert_int_equal(store_txn_commit(t.store), STORE_READ_ONLY);
			assert_world(&t);
		}
		assert_world(&w);
		calls(&t)->close(t.store, true);
		model_done(&t.model);
	}
	model_done(&w.model);
}

static struct store_change put(const char *key, const char *value);
static void assert_value(struct fs_mount *f, const char *key, const char *value);

static enum store_result commit_one(struct store *s, struct store_change change)
{
	return s->calls->commit(s, &change, 1, false, NULL);
}

struct keys {
	char text[200];
};

static bool add_key(void *arg, enum store_space space, struct store_bytes key)
{
	struct keys *k = arg;
	size_t size = strlen(k->text);
	snprintf(k->text + size, sizeof k->text - size, "%d:%.*s ", space, (int)key.size, (const char *)key.data);
	return true;
}

static void assert_told(void *arg, const struct store_told *told)
{
	struct keys *k = arg;
	for (size_t i = 0; i < told->count; i++) {
		add_key(k, told->changes[i].space, told->changes[i].key);
		strcat(k->text, told->changes[i].op == STORE_PUT ? "put " : "delete ");
	}
}

static void test_transaction_conflicts(void **state)
{
	struct fs_mount *f = *state;
	struct store *main = f->m.store, *t;
	struct keys keys = { "" }, told = { "" };
	assert_int_equal(commit_one(main, put("a", "old")), STORE_OK);
	assert_int_equal(store_txn_new(main, &t), STORE_OK);
	for (unsigned i = 0; i < 40; i++) { /* many changes of few keys */
		assert_int_equal(commit_one(t, put("b", "mine")), STORE_OK);
		assert_int_equal(commit_one(t, put("a", "mine")), STORE_OK);
		assert_int_equal(commit_one(t, (struct store_change){ .op = STORE_DELETE, .space = STORE_DIRS, .key = bytes_of("d/") }),
				 STORE_OK);
	}
	assert_int_equal(commit_one(main, put("b", "theirs")), STORE_OK);
	assert_int_equal(store_txn_commit(t), STORE_CONFLICT);
	assert_non_null(strstr(t->calls->last_error(t), "\"b\""));
	assert_value(f, "a", "old");
	t->calls->close(t, true);
	assert_int_equal(store_txn_new(main, &t), STORE_OK);
	assert_int_equal(commit_one(t, put("b", "mine")), STORE_OK);
	assert_int_equal(commit_one(t, (struct store_change){ .op = STORE_DELETE, .space = STORE_USER, .key = bytes_of("a") }), STORE_OK);
	assert_int_equal(commit_one(t, put("b", "mine")), STORE_OK);
	assert_int_equal(commit_one(main, put("c", "theirs")), STORE_OK); /* another key */
	assert_int_equal(store_txn_each(t, add_key, &keys), STORE_OK);
	assert_string_equal(keys.text, "1:a 1:b ");
	store_lsm_observe(main, assert_told, &told);
	assert_int_equal(store_txn_commit(t), STORE_OK);
	store_lsm_observe(main, NULL, NULL);
	assert_string_equal(told.text, "1:a delete 1:b put ");
	assert_value(f, "b", "mine");
	assert_int_equal(commit_one(t, put("b", "again")), STORE_READ_ONLY);
	t->calls->close(t, true);
}

/* Values that are changed in parts are whole copies there. */
static void test_transaction_edits(void **state)
{
	enum { SIZE = 3 << 20 };
	struct fs_mount *f = *state;
	struct store *main = f->m.store, *t;
	struct store_edit *e;
	struct store_entry held;
	const struct store_bytes also[] = { bytes_of("also") };
	uint64_t from, to;
	char got[8];
	assert_int_equal(main->calls->edit_open(main, STORE_USER, bytes_of("large"), &e), STORE_OK);
	assert_int_equal(main->calls->edit_write(e, SIZE - 3, "end", 3), STORE_OK);
	assert_int_equal(main->calls->edit_write(e, 0, "begin", 5), STORE_OK);
	assert_int_equal(commit_one(main, (struct store_change){ .op = STORE_PUT, .space = STORE_USER, .key = bytes_of("large"), .edit = e }),
			 STORE_OK);
	main->calls->edit_close(e);
	assert_int_equal(store_txn_new(main, &t), STORE_OK);
	const struct store_calls *c = t->calls;
	assert_int_equal(c->edit_open(t, STORE_USER, bytes_of("large"), &e), STORE_OK);
	assert_int_equal(c->edit_read(e, SIZE - 3, 3, got), STORE_OK);
	assert_memory_equal(got, "end", 3);
	assert_int_equal(c->edit_read(e, SIZE - 3, 4, got), STORE_INVALID);
	assert_int_equal(c->edit_write(e, 2, "GIN+", 4), STORE_OK);
	assert_int_equal(c->edit_punch(e, 0, 1), STORE_OK);
	assert_int_equal(c->edit_punch(e, SIZE - 1, 100), STORE_OK);
	assert_int_equal(c->hold(t, STORE_USER, bytes_of("large"), &held), STORE_OK);
	assert_int_equal(c->edit_copy(e, SIZE + 10, &held, 0, 5), STORE_OK);
	c->entry_release(t, &held);
	assert_int_equal(c->edit_next(e, 7, &from, &to), STORE_OK);
	assert_true(from == 7 && to == SIZE + 15);
	assert_int_equal(c->edit_next(e, SIZE + 15, &from, &to), STORE_NOT_FOUND);
	assert_int_equal(c->edit_write(e, UINT64_C(1) << 30, "x", 1), STORE_TOO_BIG);
	assert_int_equal(c->edit_resize(e, (UINT64_C(1) << 30) + 1), STORE_TOO_BIG);
	assert_int_equal(commit_one(t, (struct store_change){ .op = STORE_PUT, .space = STORE_USER, .key = bytes_of("large"), .edit = e,
							      .also = also, .also_count = 1 }), STORE_OK);
	assert_int_equal(c->edit_resize(e, 1), STORE_OK); /* not seen before it is committed, too */
	c->edit_close(e);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(c->hold(t, STORE_USER, i ? bytes_of("large") : bytes_of("also"), &held), STORE_OK);
		assert_int_equal(held.value_size, SIZE + 15);
		assert_int_equal(c->read_held(t, &held, 0, 6, got), STORE_OK);
		assert_memory_equal(got, "\0eGIN+", 6);
		assert_int_equal(c->read_held(t, &held, SIZE - 3, 3, got), STORE_OK);
		assert_memory_equal(got, "en\0", 3);
		assert_int_equal(c->read_held(t, &held, SIZE + 10, 5, got), STORE_OK);
		assert_memory_equal(got, "begin", 5);
		c->entry_release(t, &held);
	}
	/* A large one that goes elsewhere, alone and with its directory. */
	assert_int_equal(c->hold(t, STORE_USER, bytes_of("large"), &held), STORE_OK);
	assert_int_equal(commit_one(t, (struct store_change){ .op = STORE_PUT, .space = STORE_USER, .key = bytes_of("d/moved"), .held = &held,
							      .moved_from = bytes_of("large") }), STORE_OK);
	c->entry_release(t, &held);
	assert_int_equal(c->move_prefix(t, bytes_of("d/"), bytes_of("e/"), false, NULL, 0), STORE_OK);
	assert_int_equal(store_txn_commit(t), STORE_OK);
	c->close(t, true);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("large"), NULL), -1);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("e/moved"), NULL), SIZE + 15);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("also"), NULL), SIZE + 15);
}

/* For want of memory a change may be in it in part: then it can be closed, and nothing else. */
static void test_transaction_without_memory(void **state)
{
	struct fs_mount *f = *state;
	struct store *main = f->m.store, *t;
	const struct store_change three[] = { put("x", "1"), put("y", "2"), put("a/z", "3") };
	assert_int_equal(commit_one(main, put("a/b", "old")), STORE_OK);
	unsigned refused = 0;
	for (unsigned n = 0;; n++) {
		alloc_fail_arm(n);
		enum store_result r = store_txn_new(main, &t);
		bool made = r == STORE_OK;
		if (made)
			r = t->calls->commit(t, three, 3, false, NULL);
		if (r == STORE_OK)
			r = t->calls->move_prefix(t, bytes_of("a/"), bytes_of("c/"), false, NULL, 0);
		bool failed = alloc_fail_disarm();
		if (!failed) {
			assert_int_equal(r, STORE_OK);
			break;
		}
		if (made && r != STORE_OK) {
			assert_int_equal(r, STORE_NO_MEMORY);
			assert_int_equal(store_txn_commit(t), STORE_UNAVAILABLE);
			assert_int_equal(commit_one(t, three[0]), STORE_UNAVAILABLE);
			refused++;
		}
		if (made)
			t->calls->close(t, true);
		assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("x"), NULL), -1);
	}
	assert_true(refused > 5);
	assert_int_equal(store_txn_commit(t), STORE_OK);
	t->calls->close(t, true);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("c/z"), NULL), 1);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a/b"), NULL), -1);
}

/* ---- Guards, versions, pins ------------------------------------------------------------------ */

static struct store_change put(const char *key, const char *value)
{
	return (struct store_change){ .op = STORE_PUT, .space = STORE_USER, .key = bytes_of(key),
		.value = bytes_of(value) };
}

static struct store_change put_if(const char *key, const char *value, enum store_guard guard, uint64_t version)
{
	struct store_change c = put(key, value);
	c.guard = guard;
	c.guard_version = version;
	return c;
}

static void assert_value(struct fs_mount *f, const char *key, const char *value)
{
	uint8_t *got;
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of(key), &got), strlen(value));
	assert_memory_equal(got, value, strlen(value));
	test_free(got);
}

static void test_guards(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	const struct store_calls *c = f->real;
	struct store_entry e;
	uint64_t first, second, untouched = 77;
	struct store_change one = put_if("k", "1", STORE_GUARD_ABSENT, 0);
	assert_int_equal(c->commit(s, &one, 1, false, &first), STORE_OK);
	assert_int_equal(c->commit(s, &one, 1, false, &untouched), STORE_CONFLICT);
	assert_int_equal(untouched, 77);
	assert_int_equal(c->get(s, STORE_USER, bytes_of("k"), true, true, &e), STORE_OK);
	assert_int_equal(e.version, first);
	c->entry_release(s, &e);
	one = put_if("k", "2", STORE_GUARD_VERSION, first);
	assert_int_equal(c->commit(s, &one, 1, false, &second), STORE_OK);
	assert_true(second > first);
	assert_int_equal(c->commit(s, &one, 1, false, NULL), STORE_CONFLICT);
	/* One guard that does not hold, wherever it stands, and nothing is changed. */
	struct store_change three[] = { put("x", "1"), put_if("k", "3", STORE_GUARD_VERSION, second),
		put_if("none", "1", STORE_GUARD_VERSION, second) };
	assert_int_equal(c->commit(s, three, 3, false, NULL), STORE_CONFLICT);
	assert_value(f, "k", "2");
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("x"), NULL), -1);
	assert_int_equal(c->commit(s, three, 2, true, NULL), STORE_OK);
	assert_value(f, "k", "3");
	assert_int_equal(c->commit(s, NULL, 0, false, NULL), STORE_OK);
}

static void test_records_carry_times(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	struct store_entry e;
	struct store_change c[] = { put("timed", "v"), put("now", "v"), put("expired", "v") };
	c[0].time_ns = 123456789;
	c[0].expiry_ns = UINT64_MAX;
	c[2].expiry_ns = 1;
	assert_int_equal(f->real->commit(s, c, 3, false, NULL), STORE_OK);
	assert_int_equal(f->real->get(s, STORE_USER, bytes_of("timed"), true, true, &e), STORE_OK);
	assert_true(e.time_ns == 123456789 && e.expiry_ns == UINT64_MAX);
	f->real->entry_release(s, &e);
	assert_int_equal(f->real->get(s, STORE_USER, bytes_of("now"), true, true, &e), STORE_OK);
	assert_true(e.time_ns > 1000000000000000000 && e.expiry_ns == 0);
	f->real->entry_release(s, &e);
	f->real->entry_release(s, &e); /* twice is fine */
	assert_int_equal(f->real->get(s, STORE_USER, bytes_of("expired"), true, true, &e), STORE_NOT_FOUND);
}

static void test_what_is_held_stays(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	struct store_entry e;
	struct store_change c = put("k", "the value");
	assert_int_equal(f->real->hold(s, STORE_USER, bytes_of("k"), &e), STORE_NOT_FOUND);
	assert_int_equal(f->real->commit(s, &c, 1, false, NULL), STORE_OK);
	assert_ok(wombat_flush(f->m.db));
	assert_int_equal(f->real->hold(s, STORE_USER, bytes_of("k"), &e), STORE_OK);
	c = (struct store_change){ .op = STORE_DELETE, .space = STORE_USER, .key = bytes_of("k") };
	assert_int_equal(f->real->commit(s, &c, 1, false, NULL), STORE_OK);
	assert_ok(wombat_flush(f->m.db));
	assert_ok(wombat_compact(f->m.db, 0, WOMBAT_SLICE(NULL, 0), WOMBAT_SLICE(NULL, 0)));
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("k"), NULL), -1);
	assert_true(is_same(e.value, (const uint8_t *)"the value", 9));
	f->real->entry_release(s, &e);
}

static void test_limits_and_space(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} sizes[] = { { "1G", 1 << 30 }, { "1536K", 1536 << 10 }, { "1000", 1000 }, { "3M", 3 << 20 }, { "1", 1 } };
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	uint64_t total, free_bytes, used, entries;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct wombat_setting setting = { "max_value_size", sizes[i].text };
		assert_ok(wombat_set(f->m.db, &setting, 1));
		assert_int_equal(f->real->max_value_size(s), sizes[i].size);
	}
	assert_int_equal(f->real->max_key_size(s), 4096);
	struct store_change big = put("key", "12");
	assert_int_equal(f->real->commit(s, &big, 1, false, NULL), STORE_TOO_BIG);
	assert_true(strlen(f->real->last_error(s)) > 0);
	assert_int_equal(f->real->space(s, &total, &free_bytes, &used, &entries), STORE_OK);
	assert_int_equal(entries, 0);
	big.value.size = 1;
	assert_int_equal(f->real->commit(s, &big, 1, false, NULL), STORE_OK);
	assert_int_equal(f->real->space(s, &total, &free_bytes, &used, &entries), STORE_OK);
	assert_true(entries == 1 && used > 0 && free_bytes > 0 && total == used + free_bytes);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static enum wombat_status failing; /* what calls of the environment come to */

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return strcmp(op, "segment_sync") == 0 ? failing : WOMBAT_OK;
}

/* A database that went read-only, closed and opened again below the mount. */
static void reopen_failed(struct fs_mount *f)
{
	assert_true(wombat_background_status(f->m.db) != WOMBAT_OK);
	assert_true(wombat_close(f->m.db) != WOMBAT_OK);
	f->m.store->calls->close(f->m.store, false);
	assert_ok(db_open_env(f->env, "/db", f->m.options.engine, 0, &f->m.db));
	assert_int_equal(store_lsm_new(f->m.db, &f->m.store), STORE_OK);
	f->m.store->calls = &f->calls;
}

static void test_a_failed_sync(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	struct store_change c = put("k", "v");
	failing = WOMBAT_OK;
	env_mem_on_call(f->env, fail_call, NULL);
	assert_int_equal(f->real->commit(s, &c, 1, true, NULL), STORE_OK);
	assert_int_equal(f->real->sync(s), STORE_OK);
	c = put("k", "w");
	assert_int_equal(f->real->commit(s, &c, 1, false, NULL), STORE_OK);
	failing = WOMBAT_IO;
	assert_int_equal(f->real->sync(s), STORE_IO);
	assert_true(strlen(f->real->last_error(s)) > 0);
	/* The first cause made it read-only; what is there can be read. */
	assert_int_equal(f->real->commit(s, &c, 1, false, NULL), STORE_READ_ONLY);
	assert_value(f, "k", "w");
	env_mem_on_call(f->env, NULL, NULL);
	reopen_failed(f);
	assert_value(f, "k", "w");
}

static char table_path[128];

static void note_table(void *arg, const char *name)
{
	(void)arg;
	size_t size = strlen(name);
	if (size > 4 && strcmp(name + size - 4, ".sst") == 0)
		snprintf(table_path, sizeof table_path, "/db/%.100s", name);
}

/* Not in memory: no answer without reading. Damaged: said so, by every call that reads. */
static void test_reading_tables(void **state)
{
	struct fs_mount *f = *state;
	struct store_change c = put("dir/key", "value");
	struct store_entry e;
	struct store_child child;
	struct store_list *l;
	struct scanned s = { .model = NULL };
	size_t size;
	assert_int_equal(f->real->commit(f->m.store, &c, 1, false, NULL), STORE_OK);
	assert_ok(wombat_flush(f->m.db));
	fs_mount_reopen(f);
	assert_int_equal(f->real->get(f->m.store, STORE_USER, bytes_of("dir/key"), false, false, &e),
		STORE_WOULD_BLOCK);
	assert_int_equal(f->real->get(f->m.store, STORE_USER, bytes_of("dir/key"), false, true, &e), STORE_OK);
	f->real->entry_release(f->m.store, &e);
	assert_int_equal(f->real->get(f->m.store, STORE_USER, bytes_of("dir/key"), false, false, &e), STORE_OK);
	f->real->entry_release(f->m.store, &e);
	fs_mount_reopen(f);
	assert_ok(f->env->calls->dir_list(f->env, "/db", note_table, NULL));
	uint8_t *bytes = env_mem_bytes(f->env, table_path, &size);
	assert_non_null(bytes);
	uint8_t *at = memmem(bytes, size, "value", 5);
	assert_non_null(at);
	*at ^= 1;
	assert_int_equal(f->real->get(f->m.store, STORE_USER, bytes_of("dir/key"), false, true, &e), STORE_DAMAGED);
	assert_int_equal(f->real->hold(f->m.store, STORE_USER, bytes_of("dir/key"), &e), STORE_DAMAGED);
	assert_int_equal(f->real->scan(f->m.store, STORE_USER, bytes_of("dir/"), false, compare_scanned, &s),
		STORE_DAMAGED);
	assert_int_equal(f->real->list_open(f->m.store, STORE_USER, bytes_of(""), &l), STORE_OK);
	assert_int_equal(f->real->list_next(l, &child), STORE_DAMAGED);
	f->real->list_close(l);
	c = put_if("dir/key", "new", STORE_GUARD_ABSENT, 0);
	assert_int_equal(f->real->commit(f->m.store, &c, 1, false, NULL), STORE_DAMAGED);
	assert_int_equal(f->real->move_prefix(f->m.store, bytes_of("dir/"), bytes_of("to/"), false, NULL, 0),
		STORE_DAMAGED);
	*at ^= 1;
	assert_value(f, "dir/key", "value");
}

/* ---- Allocations that fail ------------------------------------------------------------------ */

static enum store_result commit_three(struct fs_mount *f)
{
	struct store_change c[] = { put("new", "1"),
		{ .op = STORE_DELETE_PREFIX, .space = STORE_USER, .key = bytes_of("gone/") },
		put_if("a/1", "changed", STORE_GUARD_NONE, 0) };
	return f->real->commit(f->m.store, c, 3, false, NULL);
}

static enum store_result move_some(struct fs_mount *f)
{
	return f->real->move_prefix(f->m.store, bytes_of("a/"), bytes_of("b/"), true, NULL, 0);
}

static enum store_result list_some(struct fs_mount *f)
{
	struct store_list *l;
	struct store_child c;
	enum store_result r = f->real->list_open(f->m.store, STORE_USER, bytes_of(""), &l);
	if (r != STORE_OK)
		return r;
	while ((r = f->real->list_next(l, &c)) == STORE_OK)
		;
	f->real->list_close(l);
	return r == STORE_NOT_FOUND ? STORE_OK : r;
}

static bool add_size(void *arg, struct store_bytes key, const struct store_entry *e)
{
	uint64_t *sum = arg;
	for (size_t i = 0; i < key.size; i++)
		*sum = *sum * 31 + key.data[i];
	for (size_t i = 0; i < e->value.size; i++)
		*sum = *sum * 31 + e->value.data[i];
	return true;
}

static uint64_t sum_of(struct fs_mount *f)
{
	uint64_t sum = 0;
	assert_int_equal(f->real->scan(f->m.store, STORE_USER, bytes_of(""), false, add_size, &sum), STORE_OK);
	return sum;
}

static void fail_each_allocation(struct fs_mount *f, enum store_result (*call)(struct fs_mount *f))
{
	for (unsigned failed = 0;; failed++) {
		uint64_t before = sum_of(f);
		alloc_fail_arm(failed);
		enum store_result r = call(f);
		if (!alloc_fail_disarm() || r == STORE_OK) {
			assert_int_equal(r, STORE_OK);
			assert_true(failed > 0);
			return;
		}
		assert_int_equal(r, STORE_NO_MEMORY);
		assert_true(sum_of(f) == before);
		/* Logged, but no room in the memtable: the last write of this process, and the next one finds it. */
		if (wombat_background_status(f->m.db) != WOMBAT_OK) {
			reopen_failed(f);
			assert_true(sum_of(f) != before);
			return;
		}
	}
}

static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	struct store_change c[] = { put("a/1", "one"), put("a/2", "two"), put("b/3", "three"),
		put("gone/1", ""), put("gone/2", "") };
	struct store *s;
	assert_int_equal(f->real->commit(f->m.store, c, 5, false, NULL), STORE_OK);
	fail_each_allocation(f, commit_three);
	assert_value(f, "a/1", "changed");
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("gone/1"), NULL), -1);
	fail_each_allocation(f, move_some);
	assert_value(f, "b/2", "two");
	assert_value(f, "a/3", "three");
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a/1"), NULL), -1);
	fail_each_allocation(f, list_some);
	alloc_fail_arm(0);
	assert_int_equal(store_lsm_new(f->m.db, &s), STORE_NO_MEMORY);
	assert_true(alloc_fail_disarm());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_against_a_model),
		TEST(test_transactions_against_a_model),
		TEST(test_transaction_conflicts),
		TEST(test_transaction_edits),
		TEST(test_transaction_without_memory),
		TEST(test_guards),
		TEST(test_records_carry_times),
		TEST(test_what_is_held_stays),
		TEST(test_limits_and_space),
		TEST(test_a_failed_sync),
		TEST(test_reading_tables),
		TEST(test_failed_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
