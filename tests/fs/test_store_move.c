/*
 * Moves beside what goes on: against a model, with changes of every kind between the beginning and the end; what cannot be followed
 * is a conflict that moves nothing; each failed allocation leaves everything at one place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

enum { KEYS = 200, LARGE = 100000 };

/* Of key N below the prefix: 0 absent, else what its bytes are and how many there are. */
struct model {
	unsigned version[KEYS];
	size_t size[KEYS];
};

static struct store_bytes key_of(char out[32], const char *prefix, unsigned n)
{
	return (struct store_bytes){ (const uint8_t *)out, (size_t)snprintf(out, 32, "%s%u/k%03u", prefix, n % 7, n) };
}

static void fill(uint8_t *bytes, size_t size, unsigned version)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(version + i / 1000);
}

static void put(struct store *s, struct model *model, const char *prefix, unsigned n, unsigned version, size_t size)
{
	static uint8_t bytes[LARGE];
	char key[32];
	fill(bytes, size, version);
	const struct store_change change = { .op = STORE_PUT, .space = STORE_USER, .key = key_of(key, prefix, n),
					     .value = { bytes, size } };
	assert_int_equal(s->calls->commit(s, &change, 1, false, NULL), STORE_OK);
	model->version[n] = version;
	model->size[n] = size;
}

static void put_in_parts(struct store *s, struct model *model, const char *prefix, unsigned n, unsigned version)
{
	static uint8_t bytes[LARGE];
	char key[32];
	struct store_edit *e;
	fill(bytes, LARGE, version);
	struct store_change change = { .op = STORE_PUT, .space = STORE_USER, .key = key_of(key, prefix, n) };
	assert_int_equal(s->calls->edit_open(s, STORE_USER, change.key, &e), STORE_OK);
	assert_int_equal(s->calls->edit_resize(e, 0), STORE_OK);
	assert_int_equal(s->calls->edit_write(e, 0, bytes, LARGE), STORE_OK);
	change.edit = e;
	assert_int_equal(s->calls->commit(s, &change, 1, false, NULL), STORE_OK);
	s->calls->edit_close(e);
	model->version[n] = version;
	model->size[n] = LARGE;
}

static void del(struct store *s, struct model *model, const char *prefix, unsigned n)
{
	char key[32];
	const struct store_change change = { .op = STORE_DELETE, .space = STORE_USER, .key = key_of(key, prefix, n) };
	assert_int_equal(s->calls->commit(s, &change, 1, false, NULL), STORE_OK);
	model->version[n] = 0;
}

/* One key takes another's value along, as a rename of a file does. */
static void rename_key(struct store *s, struct model *model, const char *prefix, unsigned from, unsigned to)
{
	char key[32], new_key[32];
	struct store_entry held;
	if (!model->version[from] || from == to)
		return;
	struct store_change changes[2] = {
		{ .op = STORE_DELETE, .space = STORE_USER, .key = key_of(key, prefix, from) },
		{ .op = STORE_PUT, .space = STORE_USER, .key = key_of(new_key, prefix, to) },
	};
	assert_int_equal(s->calls->hold(s, STORE_USER, changes[0].key, &held), STORE_OK);
	if (held.value.data || !held.value_size) {
		changes[1].value = held.value;
	} else {
		changes[1].held = &held;
		changes[1].moved_from = changes[0].key;
	}
	bool moved = changes[1].held != NULL;
	assert_int_equal(s->calls->commit(s, changes + moved, 2 - moved, false, NULL), STORE_OK);
	s->calls->entry_release(s, &held);
	model->version[to] = model->version[from];
	model->size[to] = model->size[from];
	model->version[from] = 0;
}

static void in_transaction(struct store *s, struct model *model, struct random_state *r, const char *prefix, unsigned version)
{
	struct store *t;
	assert_int_equal(store_txn_new(s, &t), STORE_OK);
	for (unsigned i = 0; i < 5; i++) {
		unsigned n = (unsigned)random_below(r, KEYS);
		if (random_below(r, 2))
			put(t, model, prefix, n, version + i, 1 + random_below(r, 300));
		else
			del(t, model, prefix, n);
	}
	assert_int_equal(store_txn_commit(t), STORE_OK);
	t->calls->close(t, true);
}

static void change(struct store *s, struct model *model, struct random_state *r, const char *prefix, unsigned *version)
{
	unsigned n = (unsigned)random_below(r, KEYS);
	*version += 10;
	switch (random_below(r, 12)) {
	case 0:
		put_in_parts(s, model, prefix, n, *version);
		break;
	case 1:
		put(s, model, prefix, n, *version, 8000);
		break;
	case 2:
	case 3:
		del(s, model, prefix, n);
		break;
	case 4:
	case 5:
		rename_key(s, model, prefix, n, (unsigned)random_below(r, KEYS));
		break;
	case 6:
		in_transaction(s, model, r, prefix, *version);
		break;
	default:
		put(s, model, prefix, n, *version, random_below(r, 400));
	}
}

static bool is_as(struct store *s, const struct model *model, const char *prefix, unsigned n)
{
	static uint8_t want[LARGE], got[LARGE];
	char key[32];
	struct store_entry e;
	enum store_result result = s->calls->hold(s, STORE_USER, key_of(key, prefix, n), &e);
	if (!model || !model->version[n])
		return result == STORE_NOT_FOUND;
	if (result != STORE_OK)
		return false;
	bool same = e.value_size == model->size[n];
	fill(want, model->size[n], model->version[n]);
	if (same && e.value.data)
		same = memcmp(e.value.data, want, model->size[n]) == 0;
	else if (same && e.value_size)
		same = s->calls->read_held(s, &e, 0, model->size[n], got) == STORE_OK && memcmp(got, want, model->size[n]) == 0;
	s->calls->entry_release(s, &e);
	return same;
}

static void expect(struct store *s, const struct model *model, const char *prefix)
{
	for (unsigned n = 0; n < KEYS; n++)
		if (!is_as(s, model, prefix, n))
			fail_msg("below %s key %u is not as it should be (version %u, %zu bytes)", prefix, n,
				 model ? model->version[n] : 0, model ? model->size[n] : 0);
}

static const char *const prefixes[] = { "a/", "b/" };

static void test_random(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	struct random_state r;
	struct model model = { .version = { 0 } };
	unsigned version = 0, at = 0;
	random_seed(&r, test_seed(__func__));
	for (unsigned n = 0; n < KEYS; n++)
		put(s, &model, "a/", n, ++version, n % 5 ? random_below(&r, 300) : 6000);
	for (unsigned round = 0; round < 30; round++) {
		const char *from = prefixes[at % 2], *to = prefixes[(at + 1) % 2];
		struct store_move *move;
		const struct store_change also = { .op = STORE_PUT, .space = STORE_DIRS, .key = bytes_of(to), .value = bytes_of("") };
		assert_int_equal(s->calls->move_begin(s, bytes_of(from), bytes_of(to), &move), STORE_OK);
		for (uint64_t i = random_below(&r, 10); i > 0; i--)
			change(s, &model, &r, from, &version);
		bool copied = random_below(&r, 8) != 0;
		if (copied)
			assert_int_equal(s->calls->move_copy(move), STORE_OK);
		for (uint64_t i = random_below(&r, 10); i > 0; i--)
			change(s, &model, &r, from, &version);
		if (copied && random_below(&r, 8)) {
			assert_int_equal(s->calls->move_commit(move, &also, 1), STORE_OK);
			at++;
		}
		s->calls->move_end(move);
		expect(s, &model, prefixes[at % 2]);
		expect(s, NULL, prefixes[(at + 1) % 2]);
		if (random_below(&r, 5) == 0) {
			fs_mount_reopen(f);
			s = f->m.store;
			expect(s, &model, prefixes[at % 2]);
		}
	}
	/* With the directories' own records. */
	assert_int_equal(fs_mount_stored(f, STORE_DIRS, bytes_of(prefixes[(at + 1) % 2]), NULL), -1);
}

static void spoil(struct store *s, unsigned how)
{
	static const struct store_bytes inside = { (const uint8_t *)"a/1/", 4 }, below_to = { (const uint8_t *)"b/x", 3 },
					above = { (const uint8_t *)"", 0 }, other = { (const uint8_t *)"c/", 2 };
	const struct store_change changes[] = {
		{ .op = STORE_DELETE_PREFIX, .space = STORE_USER, .key = inside },
		{ .op = STORE_PUT, .space = STORE_USER, .key = below_to },
		{ .op = STORE_DELETE_PREFIX, .space = STORE_USER, .key = above },
	};
	if (how < 3)
		assert_int_equal(s->calls->commit(s, &changes[how], 1, false, NULL), STORE_OK);
	else
		assert_int_equal(s->calls->move_prefix(s, inside, other, how == 4, NULL, 0), STORE_OK);
}

static void test_spoiled(void **state)
{
	struct fs_mount *f = *state;
	struct store *s = f->m.store;
	for (unsigned how = 0; how < 5; how++) {
		struct model model = { .version = { 0 } };
		struct store_move *move;
		for (unsigned n = 0; n < KEYS; n++)
			put(s, &model, "a/", n, n + 1, 100);
		assert_int_equal(s->calls->move_begin(s, bytes_of("a/"), bytes_of("b/"), &move), STORE_OK);
		if (how % 2)
			spoil(s, how);
		assert_int_equal(s->calls->move_copy(move), STORE_OK);
		if (how % 2 == 0)
			spoil(s, how);
		assert_int_equal(s->calls->move_commit(move, NULL, 0), STORE_CONFLICT);
		s->calls->move_end(move);
		expect(s, NULL, "b/");
		assert_true(is_as(s, how == 2 ? NULL : &model, "a/", 2));
		if (how != 0 && how != 2)
			assert_true(is_as(s, how >= 3 ? NULL : &model, "a/", 1));
		const struct store_change clear = { .op = STORE_DELETE_PREFIX, .space = STORE_USER, .key = bytes_of("") };
		assert_int_equal(s->calls->commit(s, &clear, 1, false, NULL), STORE_OK);
	}
}

/* Whose failures are those of the engine: tests/engine/test_ingest.c. */
static bool fs_failed;
enum wombat_status __real_wombat_ingest_commit_with(struct wombat_ingest *g, const struct wombat_batch *b, uint64_t *out_sequence);
enum wombat_status __wrap_wombat_ingest_commit_with(struct wombat_ingest *g, const struct wombat_batch *b, uint64_t *out_sequence);
enum wombat_status __wrap_wombat_ingest_commit_with(struct wombat_ingest *g, const struct wombat_batch *b, uint64_t *out_sequence)
{
	fs_failed |= alloc_fail_disarm();
	return __real_wombat_ingest_commit_with(g, b, out_sequence);
}

static enum store_result move_all(struct store *s, struct model *model)
{
	struct store_move *move;
	enum store_result r = s->calls->move_begin(s, bytes_of("a/"), bytes_of("b/"), &move);
	if (r != STORE_OK)
		return r;
	r = s->calls->move_copy(move);
	char key[32];
	const struct store_change change = { .op = STORE_DELETE, .space = STORE_USER, .key = key_of(key, "a/", 3) };
	if (r == STORE_OK)
		r = s->calls->commit(s, &change, 1, false, NULL);
	if (r == STORE_OK)
		model->version[3] = 0;
	if (r == STORE_OK)
		r = s->calls->move_commit(move, NULL, 0);
	s->calls->move_end(move);
	return r;
}

static void test_out_of_memory(void **state)
{
	struct fs_mount *f = *state;
	unsigned passed = 0;
	for (fs_failed = true; fs_failed; passed++) {
		struct store *s = f->m.store;
		struct model model = { .version = { 0 } };
		for (unsigned n = 0; n < 40; n++)
			put(s, &model, "a/", n, n + 1, n % 8 ? 50 : 6000);
		fs_failed = false;
		alloc_fail_arm(passed);
		enum store_result r = move_all(s, &model);
		fs_failed |= alloc_fail_disarm();
		assert_true(r == STORE_OK || (fs_failed && (r == STORE_NO_MEMORY || r == STORE_CONFLICT)));
		expect(s, r == STORE_OK ? &model : NULL, "b/");
		expect(s, r == STORE_OK ? NULL : &model, "a/");
		const struct store_change clear = { .op = STORE_DELETE_PREFIX, .space = STORE_USER, .key = bytes_of("") };
		assert_int_equal(s->calls->commit(s, &clear, 1, false, NULL), STORE_OK);
	}
	assert_true(passed > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, fs_mount_setup, fs_mount_teardown),
		cmocka_unit_test_setup_teardown(test_spoiled, fs_mount_setup, fs_mount_teardown),
		cmocka_unit_test_setup_teardown(test_out_of_memory, fs_mount_setup, fs_mount_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
