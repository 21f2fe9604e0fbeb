/*
 * The memtable's tree against a sorted array: random operations over several families of keys, both directions; the
 * same tree read by threads while one extends it; allocations that fail.
 */
#include <pthread.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/mem/bptree.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

/* ---- The model ----------------------------------------------------------------------------- */

struct entry {
	uint8_t *key;
	size_t size;
	uint64_t tag;
	uint32_t value;
};

struct model {
	struct entry *items; /* sorted */
	size_t count, capacity;
};

static struct wombat_slice key_of(const struct entry *e)
{
	return slice_make(e->key, e->size);
}

/* The place of the first entry that is not before (key, tag). */
static size_t model_find(const struct model *m, struct wombat_slice key, uint64_t tag)
{
	size_t lo = 0, hi = m->count;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (ikey_compare_parts(key_of(&m->items[mid]), m->items[mid].tag, key, tag) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void model_add(struct model *m, struct wombat_slice key, uint64_t tag, uint32_t value)
{
	if (m->count == m->capacity) {
		m->capacity = m->capacity ? 2 * m->capacity : 64;
		m->items = realloc(m->items, m->capacity * sizeof *m->items);
		assert_non_null(m->items);
	}
	size_t at = model_find(m, key, tag);
	memmove(m->items + at + 1, m->items + at, (m->count - at) * sizeof *m->items);
	uint8_t *copy = malloc(key.size + 1);
	assert_non_null(copy);
	if (key.size)
		memcpy(copy, key.data, key.size);
	m->items[at] = (struct entry){ copy, key.size, tag, value };
	m->count++;
}

static void model_done(struct model *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->items[i].key);
	free(m->items);
}

/* ---- Keys ---------------------------------------------------------------------------------- */

enum { KEY_MAX = 4200 };

struct shape {
	const char *name;
	size_t (*make)(struct random_state *r, uint64_t n, uint8_t *out); /* n: how many were made before */
};

static size_t key_digits(struct random_state *r, uint64_t n, uint8_t *out)
{
	(void)n;
	return (size_t)sprintf((char *)out, "%c%016" PRIu64, 1, random_below(r, 100000));
}

static size_t key_ascending(struct random_state *r, uint64_t n, uint8_t *out)
{
	(void)r;
	return (size_t)sprintf((char *)out, "%cuser/%012" PRIu64 "/name", 1, n);
}

static size_t key_descending(struct random_state *r, uint64_t n, uint8_t *out)
{
	(void)r;
	return (size_t)sprintf((char *)out, "%cuser/%012" PRIu64, 1, UINT64_C(900000000000) - n);
}

/* Several rows, each ascending, as files in directories are. */
static size_t key_rows(struct random_state *r, uint64_t n, uint8_t *out)
{
	return (size_t)sprintf((char *)out, "%cdirectory-%" PRIu64 "/file-%06" PRIu64, 1, random_below(r, 7), n);
}

/* Few different bytes, the extremes among them, and lengths from nothing: prefixes of each other, padded alike. */
static size_t key_extreme(struct random_state *r, uint64_t n, uint8_t *out)
{
	static const uint8_t bytes[] = { 0x00, 0x00, 0xff, 0x01, 0x80, 0xfe };
	size_t size = random_below(r, 14);
	(void)n;
	for (size_t i = 0; i < size; i++)
		out[i] = bytes[random_below(r, sizeof bytes)];
	return size;
}

static size_t key_zeroes(struct random_state *r, uint64_t n, uint8_t *out)
{
	size_t size = random_below(r, 40);
	(void)n;
	memset(out, 0, size);
	return size;
}

/* 4 KiB that differ near their end only, or by length. */
static size_t key_long(struct random_state *r, uint64_t n, uint8_t *out)
{
	size_t size = 4080 + random_below(r, 20);
	(void)n;
	memset(out, 'x', size);
	for (size_t i = size - random_below(r, 12); i < size; i++)
		out[i] = (uint8_t)('w' + random_below(r, 3));
	return size;
}

static size_t key_few(struct random_state *r, uint64_t n, uint8_t *out)
{
	(void)n;
	return (size_t)sprintf((char *)out, "%ccounter-%" PRIu64, 1, random_below(r, 5));
}

static size_t key_any(struct random_state *r, uint64_t n, uint8_t *out)
{
	size_t size = random_below(r, 60);
	(void)n;
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)random_next(r);
	return size;
}

static const struct shape shapes[] = {
	{ "digits", key_digits },   { "ascending", key_ascending }, { "descending", key_descending },
	{ "rows", key_rows },       { "extreme", key_extreme },     { "zeroes", key_zeroes },
	{ "long", key_long },       { "few", key_few },             { "any", key_any },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* The keys of one tree: of one shape, or (SHAPES) of all in turns. */
static size_t make_key(size_t shape, struct random_state *r, uint64_t n, uint8_t *out)
{
	return shapes[shape < SHAPES ? shape : random_below(r, SHAPES)].make(r, n, out);
}

/* ---- Comparison ---------------------------------------------------------------------------- */

static void assert_at(const struct iter *it, const struct model *m, size_t at)
{
	if (at >= m->count) { /* also one before the first */
		assert_false(it->valid);
		return;
	}
	assert_true(it->valid);
	assert_true(slice_equal(it->key, key_of(&m->items[at])));
	assert_true(it->tag == m->items[at].tag);
	assert_int_equal(it->value.size, sizeof(uint32_t));
	assert_memory_equal(it->value.data, &m->items[at].value, sizeof(uint32_t));
}

static void compare_all(struct bptree *t, const struct model *m)
{
	struct bptree_iter it;
	size_t at = 0;
	bptree_iter_init(&it, t);
	for (iter_first(&it.base); it.base.valid; iter_next(&it.base))
		assert_at(&it.base, m, at++);
	assert_int_equal(at, m->count);
	for (iter_last(&it.base); it.base.valid; iter_prev(&it.base))
		assert_at(&it.base, m, --at);
	assert_int_equal(at, 0);
	iter_free(&it.base);
}

static void compare_seek(struct bptree *t, const struct model *m, struct random_state *r, struct wombat_slice key,
			 uint64_t tag)
{
	struct bptree_iter it;
	bptree_iter_init(&it, t);
	size_t at = model_find(m, key, tag);
	iter_seek(&it.base, key, tag);
	assert_at(&it.base, m, at);
	for (int i = 0; i < 5 && it.base.valid; i++) {
		bool back = random_below(r, 2);
		back ? iter_prev(&it.base) : iter_next(&it.base);
		at += back ? (size_t)-1 : 1;
		assert_at(&it.base, m, at);
	}
	at = model_find(m, key, tag) - 1;
	iter_seek_before(&it.base, key, tag);
	assert_at(&it.base, m, at);
	for (int i = 0; i < 5 && it.base.valid; i++) {
		bool back = random_below(r, 2);
		back ? iter_prev(&it.base) : iter_next(&it.base);
		at += back ? (size_t)-1 : 1;
		assert_at(&it.base, m, at);
	}
	uint64_t found_tag;
	struct wombat_slice value;
	at = model_find(m, key, tag);
	bool there = at < m->count && slice_equal(key_of(&m->items[at]), key);
	assert_int_equal(bptree_find(t, key, tag, &found_tag, &value), there);
	if (there) {
		assert_true(found_tag == m->items[at].tag);
		assert_memory_equal(value.data, &m->items[at].value, sizeof(uint32_t));
	}
}

/* A key to look for: one that is there, one made alike, or one that is there but a little changed. */
static size_t probe_key(size_t shape, struct random_state *r, const struct model *m, uint8_t *out)
{
	if (m->count == 0 || random_below(r, 3) == 0)
		return make_key(shape, r, random_below(r, 100000), out);
	const struct entry *e = &m->items[random_below(r, m->count)];
	size_t size = e->size;
	memcpy(out, e->key, size);
	switch (random_below(r, 4)) {
	case 0:
		return size;
	case 1:
		return size ? size - 1 : 0;
	case 2:
		out[size] = random_below(r, 2) ? 0 : 0xff;
		return size + 1;
	default:
		if (size)
			out[random_below(r, size)] += random_below(r, 2) ? 1 : -1;
		return size;
	}
}

static void run_shape(size_t shape, uint64_t seed, unsigned steps)
{
	static uint8_t key[KEY_MAX + 8];
	struct random_state r;
	struct arena arena;
	struct bptree t;
	struct model m = { 0 };
	random_seed(&r, seed);
	arena_init(&arena, 0);
	assert_ok(bptree_init(&t, &arena));
	compare_all(&t, &m);
	for (unsigned i = 0; i < steps; i++) {
		struct wombat_slice k = slice_make(key, make_key(shape, &r, i, key));
		uint64_t tag = tag_make(i + 1, random_below(&r, 4) ? KIND_PUT : KIND_DELETE);
		uint32_t value = (uint32_t)random_next(&r);
		assert_ok(bptree_insert(&t, k, tag, slice_make(&value, sizeof value), NULL));
		model_add(&m, k, tag, value);
		k = slice_make(key, probe_key(shape, &r, &m, key));
		tag = random_below(&r, 2) ? TAG_MAX : tag_make(random_below(&r, i + 2), KIND_PUT);
		compare_seek(&t, &m, &r, k, random_below(&r, 8) ? tag : 0);
		if (i % 512 == 0 || i + 1 == steps)
			compare_all(&t, &m);
	}
	model_done(&m);
	arena_done(&arena);
}

static void test_against_sorted_array(void **state)
{
	(void)state;
	uint64_t seed = test_seed("against_sorted_array");
	unsigned steps = test_steps(3000);
	for (size_t shape = 0; shape <= SHAPES; shape++)
		run_shape(shape, seed + shape, steps);
}

/* ---- Small things -------------------------------------------------------------------------- */

static void test_empty(void **state)
{
	(void)state;
	struct arena arena;
	struct bptree t;
	struct bptree_iter it;
	uint64_t tag;
	struct wombat_slice value, key = slice_make("k", 1);
	arena_init(&arena, 0);
	assert_ok(bptree_init(&t, &arena));
	bptree_iter_init(&it, &t);
	iter_first(&it.base);
	assert_false(it.base.valid);
	iter_last(&it.base);
	assert_false(it.base.valid);
	iter_seek(&it.base, key, TAG_MAX);
	assert_false(it.base.valid);
	iter_seek_before(&it.base, key, TAG_MAX);
	assert_false(it.base.valid);
	assert_false(bptree_find(&t, key, TAG_MAX, &tag, &value));
	/* An empty key with an empty value is an entry like another. */
	assert_ok(bptree_insert(&t, slice_make(NULL, 0), 1 << 8, slice_make(NULL, 0), NULL));
	assert_true(bptree_find(&t, slice_make(NULL, 0), TAG_MAX, &tag, &value));
	assert_int_equal(tag, 1 << 8);
	assert_int_equal(value.size, 0);
	arena_done(&arena);
}

static void test_versions(void **state)
{
	(void)state;
	enum { VERSIONS = 5000 };
	struct arena arena;
	struct bptree t;
	struct wombat_slice key = slice_make("counter", 7), value;
	uint64_t tag;
	arena_init(&arena, 0);
	assert_ok(bptree_init(&t, &arena));
	for (uint64_t i = 1; i <= VERSIONS; i++)
		assert_ok(bptree_insert(&t, key, tag_make(2 * i, KIND_PUT), slice_make(&i, sizeof i), NULL));
	for (uint64_t i = 1; i <= VERSIONS; i++)
		for (uint64_t as_of = 2 * i; as_of <= 2 * i + 1; as_of++) {
			assert_true(bptree_find(&t, key, as_of << 8 | 0xff, &tag, &value));
			assert_int_equal(tag_sequence(tag), 2 * i);
			assert_memory_equal(value.data, &i, sizeof i);
		}
	assert_false(bptree_find(&t, key, UINT64_C(1) << 8 | 0xff, &tag, &value));
	assert_false(bptree_find(&t, slice_make("counte", 6), TAG_MAX, &tag, &value));
	assert_false(bptree_find(&t, slice_make("counterx", 8), TAG_MAX, &tag, &value));
	arena_done(&arena);
}

/* The copy of the value may be changed by who inserted it. */
static void test_value_in_place(void **state)
{
	(void)state;
	struct arena arena;
	struct bptree t;
	uint8_t *copy;
	uint64_t tag;
	struct wombat_slice value;
	arena_init(&arena, 0);
	assert_ok(bptree_init(&t, &arena));
	assert_ok(bptree_insert(&t, slice_make("k", 1), 1 << 8, slice_make("value", 5), &copy));
	copy[0] = 'V';
	assert_true(bptree_find(&t, slice_make("k", 1), TAG_MAX, &tag, &value));
	assert_memory_equal(value.data, "Value", 5);
	arena_done(&arena);
}

/* ---- Memory that runs out ------------------------------------------------------------------ */

/* Whatever allocation fails, the tree is as before the insertion, and the insertion succeeds when repeated. */
static void test_out_of_memory(void **state)
{
	(void)state;
	uint64_t seed = test_seed("out_of_memory");
	struct random_state r;
	struct arena arena;
	struct bptree t;
	struct model m = { 0 };
	static uint8_t key[KEY_MAX];
	unsigned failures = 0;
	random_seed(&r, seed);
	arena_init(&arena, 512); /* Nearly each node and entry asks the heap. */
	assert_ok(bptree_init(&t, &arena));
	for (uint32_t i = 0; i < 1500; i++) {
		struct wombat_slice k = slice_make(key, make_key(SHAPES, &r, i, key));
		uint64_t tag = tag_make(i + 1, KIND_PUT);
		enum wombat_status s = WOMBAT_NO_MEMORY;
		for (unsigned n = 0; s != WOMBAT_OK; n++) {
			scarce_begin(n);
			s = bptree_insert(&t, k, tag, slice_make(&i, sizeof i), NULL);
			scarce_end();
			if (s == WOMBAT_OK)
				break;
			assert_int_equal(s, WOMBAT_NO_MEMORY);
			failures++;
			if (i % 16 == 0)
				compare_all(&t, &m);
		}
		model_add(&m, k, tag, i);
	}
	compare_all(&t, &m);
	assert_true(failures > 500);
	model_done(&m);
	arena_done(&arena);
}

/* ---- Readers beside a writer --------------------------------------------------------------- */

enum { SHARED_KEYS = 300, READERS = 2 };

struct shared {
	struct bptree tree;
	atomic_uint_fast64_t visible; /* entries up to this sequence number are in the tree */
	atomic_bool stop;
	uint64_t seed;
};

static size_t shared_key(uint64_t n, uint8_t *out)
{
	return (size_t)sprintf((char *)out, "%cshared/%05" PRIu64, 1, n * 7919 % SHARED_KEYS);
}

/* Entry n has key n % SHARED_KEYS (mixed), sequence n and value n. As of sequence S, each key's newest entry is known. */
static uint64_t newest_of(uint64_t n, uint64_t sequence)
{
	return n > sequence ? 0 : n + (sequence - n) / SHARED_KEYS * SHARED_KEYS;
}

static void read_points(struct shared *s, struct random_state *r)
{
	uint8_t key[32];
	uint64_t as_of = atomic_load_explicit(&s->visible, memory_order_acquire);
	uint64_t n = 1 + random_below(r, SHARED_KEYS), tag, value;
	struct wombat_slice found;
	uint64_t expected = newest_of(n, as_of);
	bool there = bptree_find(&s->tree, slice_make(key, shared_key(n, key)), as_of << 8 | 0xff, &tag, &found);
	assert_int_equal(there, expected > 0);
	if (!there)
		return;
	assert_int_equal(tag_sequence(tag), expected);
	memcpy(&value, found.data, sizeof value);
	assert_int_equal(value, expected);
}

/* All entries up to what was visible at the start show, in order; newer ones may. */
static void read_all(struct shared *s, bool forward)
{
	struct bptree_iter it;
	uint64_t as_of = atomic_load_explicit(&s->visible, memory_order_acquire), seen = 0, last_tag = 0;
	struct wombat_slice last = { NULL, 0 };
	bptree_iter_init(&it, &s->tree);
	for (forward ? iter_first(&it.base) : iter_last(&it.base); it.base.valid;
	     forward ? iter_next(&it.base) : iter_prev(&it.base)) {
		if (last.data) {
			int c = ikey_compare_parts(last, last_tag, it.base.key, it.base.tag);
			assert_true(forward ? c < 0 : c > 0);
		}
		last = it.base.key;
		last_tag = it.base.tag;
		seen += tag_sequence(it.base.tag) <= as_of;
	}
	assert_int_equal(seen, as_of);
}

static void *reader(void *arg)
{
	struct shared *s = arg;
	struct random_state r;
	random_seed(&r, s->seed);
	for (unsigned i = 0; !atomic_load_explicit(&s->stop, memory_order_relaxed); i++) {
		read_points(s, &r);
		if (i % 256 == 0)
			read_all(s, i % 512 == 0);
	}
	return NULL;
}

static void test_readers_beside_a_writer(void **state)
{
	(void)state;
	struct shared s = { .seed = test_seed("readers_beside_a_writer") };
	struct arena arena;
	pthread_t threads[READERS];
	uint8_t key[32];
	arena_init(&arena, 0);
	assert_ok(bptree_init(&s.tree, &arena));
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
	uint64_t count = test_steps(30000);
	for (uint64_t n = 1; n <= count; n++) {
		assert_ok(bptree_insert(&s.tree, slice_make(key, shared_key(n, key)), tag_make(n, KIND_PUT),
					slice_make(&n, sizeof n), NULL));
		atomic_store_explicit(&s.visible, n, memory_order_release);
	}
	atomic_store_explicit(&s.stop, true, memory_order_relaxed);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	read_all(&s, true);
	read_all(&s, false);
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_value_in_place),
		cmocka_unit_test(test_against_sorted_array),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_readers_beside_a_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
