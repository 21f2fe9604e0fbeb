/*
 * The set of versions and its manifest: random edits against a model with reopening, what a power cut leaves at each
 * sync, torn and damaged manifests byte by byte, failures of each call and allocation, and many threads.
 */
#include <pthread.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/env/filename.h"
#include "engine/version/manifest.h"
#include "engine/version/manifest_format.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

/* ---- A model ------------------------------------------------------------------------------- */

enum { MODEL_LEVELS = 4, MODEL_SLOTS = 8 };

/* Which table is in which place: a slot is a range of keys of its own (deeper levels), or an age (level 0). */
struct model {
	uint64_t table[MODEL_LEVELS][MODEL_SLOTS]; /* 0: none */
	uint64_t flushed, sequence;
};

static uint64_t bytes_of(uint64_t number) { return 10 + number % 50; }

/* The model as text: what is compared. */
static void model_text(const struct model *m, struct buf *out)
{
	buf_clear(out);
	assert_ok(buf_printf(out, "flushed %llu;", (unsigned long long)m->flushed));
	for (unsigned level = 0; level < MODEL_LEVELS; level++) {
		assert_ok(buf_printf(out, " level %u:", level));
		for (unsigned i = 0; i < MODEL_SLOTS; i++)
			if (m->table[level][i])
				assert_ok(buf_printf(out, " %llu", (unsigned long long)m->table[level][i]));
	}
}

static void set_text(struct versions *w, struct buf *out)
{
	struct version *v = versions_current(w);
	buf_clear(out);
	version_check_invariants(v);
	assert_ok(buf_printf(out, "flushed %llu;", (unsigned long long)version_set_flushed_sequence(w->set)));
	for (unsigned level = 0; level < MODEL_LEVELS; level++) {
		assert_ok(buf_printf(out, " level %u:", level));
		for (size_t i = 0; i < v->levels[level].count; i++)
			assert_ok(buf_printf(out, " %llu", (unsigned long long)v->levels[level].files[i]->number));
	}
	version_unref(v);
}

static void model_add(struct model *m, struct versions *w, struct version_edit *e, unsigned level, unsigned slot)
{
	char smallest[8], largest[8];
	struct fake_table t = { .level = level, .number = version_set_new_file_number(w->set), .smallest = smallest,
				.largest = largest, .sequence = ++m->sequence };
	t.bytes = bytes_of(t.number);
	snprintf(smallest, sizeof smallest, "k%u", slot);
	snprintf(largest, sizeof largest, "k%u%s", slot + (m->sequence % 3 == 0), m->sequence % 3 == 0 ? "!" : "x");
	fake_file(w->env, t.number, t.bytes);
	fake_add(e, &t);
	m->table[level][slot] = t.number;
}

/* One random edit that follows from the model's state; changes the model. */
static void random_edit(struct model *m, struct versions *w, struct random_state *r, struct version_edit *e)
{
	version_edit_init(e);
	e->has_flushed_sequence = e->has_last_sequence = true;
	for (uint64_t n = 1 + random_below(r, 3); n > 0; n--) {
		unsigned level = (unsigned)random_below(r, MODEL_LEVELS), slot = (unsigned)random_below(r, MODEL_SLOTS);
		uint64_t number = m->table[level][slot];
		/* Tables of this very edit are left alone: an edit removes before it adds. */
		bool fresh = false;
		for (size_t i = 0; i < e->added_count; i++)
			fresh |= number == e->added[i].file->number;
		if (fresh)
			continue;
		if (number) {
			assert_ok(version_edit_remove(e, level, number));
			m->table[level][slot] = 0;
		} else if (level > 0) {
			model_add(m, w, e, level, slot);
		} else {
			/* Level 0 is ordered by age, newest first: make room at the front. */
			if (m->table[0][MODEL_SLOTS - 1])
				continue;
			memmove(&m->table[0][1], &m->table[0][0], (MODEL_SLOTS - 1) * sizeof m->table[0][0]);
			model_add(m, w, e, 0, 0);
		}
	}
	m->flushed += random_below(r, 5);
	e->flushed_sequence = e->last_sequence = m->flushed;
}

static void assert_same(struct versions *w, const struct model *m)
{
	struct buf want = { 0 }, got = { 0 };
	model_text(m, &want);
	set_text(w, &got);
	assert_string_equal((char *)got.data, (char *)want.data);
	buf_done(&want);
	buf_done(&got);
}

static void test_random_edits(void **state)
{
	(void)state;
	struct random_state r;
	struct env *env;
	struct versions w;
	struct model m = { 0 };
	random_seed(&r, test_seed("random edits"));
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	w.manifest_bytes = 700; /* begun anew every few edits */
	assert_ok(versions_open(&w, true, false));
	uint64_t first_manifest = version_set_manifest_number(w.set);
	for (int i = 0; i < 500; i++) {
		struct version_edit e;
		random_edit(&m, &w, &r, &e);
		assert_ok(versions_apply(&w, &e));
		version_edit_done(&e);
		assert_same(&w, &m);
		assert_true(version_set_manifest_bytes(w.set) < 2000);
		if (random_below(&r, 20) == 0) {
			versions_close(&w);
			if (random_below(&r, 2)) {
				assert_ok(versions_open(&w, false, true));
				assert_same(&w, &m);
				versions_close(&w);
			}
			assert_ok(versions_open(&w, true, false));
			assert_same(&w, &m);
			for (unsigned level = 0; level < MODEL_LEVELS; level++)
				for (unsigned slot = 0; slot < MODEL_SLOTS; slot++)
					assert_true(m.table[level][slot] < version_set_new_file_number(w.set));
		}
	}
	assert_true(version_set_manifest_number(w.set) > first_manifest + 20);
	versions_done(&w);
	env->calls->free(env);
}

/* ---- Power cuts ---------------------------------------------------------------------------- */

struct cuts {
	struct env *env;
	struct random_state random;
	struct model before, after; /* of the edit that is being applied */
	size_t checked;
};

/* Opens what the machine would find; it is the old or the new state. */
static void check_clone(struct cuts *c, enum env_mem_crash crash)
{
	struct env *clone;
	struct versions w;
	struct buf old = { 0 }, new = { 0 }, got = { 0 };
	assert_ok(env_mem_clone(c->env, crash, random_next(&c->random), &clone));
	versions_init(&w, clone);
	assert_ok(versions_open(&w, true, false));
	model_text(&c->before, &old);
	model_text(&c->after, &new);
	set_text(&w, &got);
	if (strcmp((char *)got.data, (char *)old.data) != 0)
		assert_string_equal((char *)got.data, (char *)new.data);
	versions_done(&w);
	buf_done(&old);
	buf_done(&new);
	buf_done(&got);
	clone->calls->free(clone);
	c->checked++;
}

static void on_sync(void *arg, const char *path)
{
	struct cuts *c = arg;
	(void)path;
	check_clone(c, ENV_MEM_SYNCED_ONLY);
	check_clone(c, ENV_MEM_RANDOM);
	check_clone(c, ENV_MEM_ALL);
}

static void test_power_cut_at_each_sync(void **state)
{
	(void)state;
	struct cuts c = { 0 };
	struct versions w;
	random_seed(&c.random, test_seed("power cuts"));
	assert_ok(env_mem_new(&c.env));
	versions_init(&w, c.env);
	w.manifest_bytes = 500;
	env_mem_on_sync(c.env, on_sync, &c); /* creation too */
	assert_ok(versions_open(&w, true, false));
	for (int i = 0; i < 60; i++) {
		struct version_edit e;
		env_mem_on_sync(c.env, NULL, NULL);
		random_edit(&c.after, &w, &c.random, &e);
		env_mem_on_sync(c.env, on_sync, &c);
		assert_ok(versions_apply(&w, &e));
		version_edit_done(&e);
		c.before = c.after;
		/* Applied is durable: now only the new state may show. */
		check_clone(&c, ENV_MEM_SYNCED_ONLY);
		if (i % 10 == 9) {
			versions_close(&w);
			assert_ok(versions_open(&w, true, false));
		}
	}
	assert_true(c.checked > 300);
	env_mem_on_sync(c.env, NULL, NULL);
	versions_done(&w);
	c.env->calls->free(c.env);
}

/* ---- Bytes of the manifest ----------------------------------------------------------------- */

struct manifest_case {
	struct env *env;
	struct versions w;
	char path[FILENAME_PATH_MAX];
	struct buf bytes;      /* of the manifest */
	struct buf states[8];  /* after so many edits behind the first record */
	size_t ends[8];        /* of the records */
	size_t count;
};

static void case_init(struct manifest_case *c)
{
	struct random_state r;
	struct model m = { 0 };
	*c = (struct manifest_case){ 0 };
	random_seed(&r, 7);
	assert_ok(env_mem_new(&c->env));
	versions_init(&c->w, c->env);
	assert_ok(versions_open(&c->w, true, false));
	for (c->count = 0; c->count < 8; c->count++) {
		struct version_edit e;
		if (c->count > 0) {
			random_edit(&m, &c->w, &r, &e);
			assert_ok(versions_apply(&c->w, &e));
			version_edit_done(&e);
		}
		set_text(&c->w, &c->states[c->count]);
		c->ends[c->count] = version_set_manifest_bytes(c->w.set);
	}
	assert_true(filename_path(c->path, VERSIONS_DIR, FILE_MANIFEST, version_set_manifest_number(c->w.set)));
	versions_close(&c->w);
	assert_ok(env_read_file(c->env, c->path, 1 << 20, &c->bytes));
	assert_int_equal(c->bytes.size, c->ends[7]);
}

static void case_done(struct manifest_case *c)
{
	for (size_t i = 0; i < 8; i++)
		buf_done(&c->states[i]);
	buf_done(&c->bytes);
	versions_done(&c->w);
	c->env->calls->free(c->env);
}

static void write_file(struct env *env, const char *path, const void *data, size_t size)
{
	struct env_writer *writer;
	assert_ok(env->calls->writer_open(env, path, 4096, 0, &writer));
	assert_ok(env->calls->writer_write(writer, data, size));
	assert_ok(env->calls->writer_close(writer));
}

/* How many whole records lie in the first `size` bytes. */
static size_t whole_records(const struct manifest_case *c, size_t size)
{
	size_t n = 0;
	while (n < 8 && c->ends[n] <= size)
		n++;
	return n;
}

static void count_reports(void *arg, bool is_damage, const char *sentence)
{
	int *counts = arg;
	assert_true(strlen(sentence) > 0);
	counts[is_damage]++;
}

static void test_torn_at_each_byte(void **state)
{
	(void)state;
	struct manifest_case c;
	case_init(&c);
	for (size_t size = 0; size <= c.bytes.size; size++) {
		struct buf got = { 0 };
		size_t whole = whole_records(&c, size);
		int reports[2] = { 0 };
		write_file(c.env, c.path, c.bytes.data, size);
		enum wombat_status s = versions_open(&c.w, false, true);
		if (whole == 0) {
			/* What was durable before CURRENT named the file. */
			assert_status(s, WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), c.path));
			assert_status(manifest_check(c.env, VERSIONS_DIR, count_reports, reports), WOMBAT_CORRUPTION);
			assert_int_equal(reports[true], 1);
			continue;
		}
		assert_ok(s);
		set_text(&c.w, &got);
		assert_string_equal((char *)got.data, (char *)c.states[whole - 1].data);
		assert_ok(manifest_check(c.env, VERSIONS_DIR, count_reports, reports));
		assert_int_equal(reports[true], 0);
		assert_int_equal(reports[false], 1 + (c.ends[whole - 1] < size)); /* the cut is reported */
		buf_done(&got);
		versions_close(&c.w);
	}
	case_done(&c);
}

/* A torn end of garbage or zeros is cut, too. */
static void test_garbage_behind_the_end(void **state)
{
	(void)state;
	struct manifest_case c;
	struct random_state r;
	case_init(&c);
	random_seed(&r, test_seed("garbage"));
	for (int round = 0; round < 200; round++) {
		struct buf got = { 0 };
		size_t size = c.bytes.size, more = 1 + random_below(&r, 600);
		for (size_t i = 0; i < more; i++)
			assert_ok(buf_append_byte(&c.bytes, round % 4 ? (uint8_t)random_next(&r) : 0));
		write_file(c.env, c.path, c.bytes.data, c.bytes.size);
		assert_ok(versions_open(&c.w, false, true));
		set_text(&c.w, &got);
		assert_string_equal((char *)got.data, (char *)c.states[7].data);
		buf_done(&got);
		versions_close(&c.w);
		c.bytes.size = size;
	}
	case_done(&c);
}

/* Every byte that has a whole record behind it is guarded; the sentence says where. */
static void test_damage_at_each_byte(void **state)
{
	(void)state;
	struct manifest_case c;
	case_init(&c);
	for (size_t at = 0; at < c.bytes.size; at++) {
		for (int bit = 0; bit < 8; bit += 3) {
			char offset[40];
			size_t record = whole_records(&c, at);
			size_t begin = record ? c.ends[record - 1] : MANIFEST_HEADER_SIZE;
			c.bytes.data[at] ^= (uint8_t)(1 << bit);
			write_file(c.env, c.path, c.bytes.data, c.bytes.size);
			c.bytes.data[at] ^= (uint8_t)(1 << bit);
			enum wombat_status s = versions_open(&c.w, false, true);
			if (record == 7) {
				/* The last record cannot be told from a torn one: its edit did not happen. */
				struct buf got = { 0 };
				assert_ok(s);
				set_text(&c.w, &got);
				assert_string_equal((char *)got.data, (char *)c.states[6].data);
				buf_done(&got);
				versions_close(&c.w);
				continue;
			}
			assert_status(s, WOMBAT_CORRUPTION);
			assert_non_null(strstr(wombat_last_error(), c.path));
			snprintf(offset, sizeof offset, "offset %zu", at < MANIFEST_HEADER_SIZE ? 0 : begin);
			assert_non_null(strstr(wombat_last_error(), offset));
		}
	}
	case_done(&c);
}

/* Writes a manifest with a header of these numbers and one record, and CURRENT. */
static void write_header(struct env *env, uint32_t version, uint32_t incompatible, uint32_t compatible)
{
	uint8_t bytes[MANIFEST_HEADER_SIZE + 8 + 6] = { 0 }, *record = bytes + MANIFEST_HEADER_SIZE;
	static const uint8_t edit[] = { EDIT_FLUSHED_SEQUENCE, 0, EDIT_LAST_SEQUENCE, 0, EDIT_NEXT_FILE_NUMBER, 8 };
	put_u64(bytes, MANIFEST_MAGIC);
	put_u32(bytes + 8, version);
	put_u32(bytes + 12, incompatible);
	put_u32(bytes + 16, compatible);
	put_u32(bytes + 28, crc32c(0, bytes, 28));
	put_u32(record + 4, sizeof edit);
	memcpy(record + 8, edit, sizeof edit);
	put_u32(record, crc32c(0, record + 4, 4 + sizeof edit));
	write_file(env, VERSIONS_DIR "/MANIFEST-000007", bytes, sizeof bytes);
}

static void write_current(struct env *env, const char *line, int crc_change)
{
	char text[64];
	size_t n = (size_t)snprintf(text, sizeof text, "%s\n", line);
	uint32_t crc = crc32c(0, text, n) + (uint32_t)crc_change; /* the line's end included */
	snprintf(text + n, sizeof text - n, "%08x\n", crc);
	write_file(env, VERSIONS_DIR "/CURRENT", text, strlen(text));
}

static void test_versions_and_features(void **state)
{
	(void)state;
	static const struct {
		uint32_t version, incompatible, compatible;
		enum wombat_status status;
	} cases[] = {
		{ 1, 0, 0, WOMBAT_OK },
		{ 1, 0, 0x80000001, WOMBAT_OK }, /* may be ignored */
		{ 1, 1, 0, WOMBAT_UNSUPPORTED },
		{ 2, 0, 0, WOMBAT_UNSUPPORTED },
		{ 0, 0, 0, WOMBAT_UNSUPPORTED },
	};
	struct env *env;
	struct versions w;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	write_current(env, "MANIFEST-000007", 0);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		write_header(env, cases[i].version, cases[i].incompatible, cases[i].compatible);
		assert_status(versions_open(&w, false, true), cases[i].status);
		versions_close(&w);
	}
	versions_done(&w);
	env->calls->free(env);
}

static void test_current(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	struct buf text = { 0 };
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_status(versions_open(&w, false, false), WOMBAT_NOT_FOUND);
	write_header(env, 1, 0, 0);
	write_current(env, "MANIFEST-000007", 0);
	assert_ok(env_read_file(env, VERSIONS_DIR "/CURRENT", 100, &text));
	assert_ok(buf_append_byte(&text, 0));
	assert_string_equal((char *)text.data, "MANIFEST-000007\nb93aea32\n"); /* golden */
	assert_ok(versions_open(&w, false, true));
	assert_int_equal(version_set_manifest_number(w.set), 7);
	versions_close(&w);
	static const char *const bad[] = { "", "MANIFEST-000007", "MANIFEST-000007\n", "MANIFEST-000007\nb93aea32",
					   "MANIFEST-000007\nb93aea32\n\n", "MANIFEST-000007\nB93AEA32\n", "\n", "\n\n" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		write_file(env, VERSIONS_DIR "/CURRENT", bad[i], strlen(bad[i]));
		assert_status(versions_open(&w, true, false), WOMBAT_CORRUPTION);
		assert_non_null(strstr(wombat_last_error(), "CURRENT"));
	}
	write_current(env, "MANIFEST-000007", 1);
	assert_status(versions_open(&w, true, false), WOMBAT_CORRUPTION);
	write_current(env, "000007.sst", 0);
	assert_status(versions_open(&w, true, false), WOMBAT_CORRUPTION);
	write_current(env, "MANIFEST-000008", 0); /* is not there */
	assert_status(versions_open(&w, true, false), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), "MANIFEST-000008"));
	buf_done(&text);
	versions_done(&w);
	env->calls->free(env);
}

/* An empty database in its place would have its tables removed as orphans. */
static void test_lost_current(void **state)
{
	(void)state;
	static const char *const data[] = { VERSIONS_DIR "/000004.sst", VERSIONS_DIR "/000004.wal" };
	for (int i = 0; i < 2; i++) {
		struct env *env;
		struct versions w;
		assert_ok(env_mem_new(&env));
		versions_init(&w, env);
		write_file(env, data[i], "x", 1);
		assert_status(versions_open(&w, true, false), WOMBAT_CORRUPTION);
		assert_ok(env->calls->remove(env, data[i]));
		write_file(env, VERSIONS_DIR "/MANIFEST-000001", "torn", 4); /* what a crash while creating leaves */
		assert_ok(versions_open(&w, true, false));
		versions_done(&w);
		env->calls->free(env);
	}
}

/* ---- Edits that cannot follow -------------------------------------------------------------- */

static void test_inconsistent_edits(void **state)
{
	(void)state;
	static const struct {
		struct fake_table add[2];
		uint64_t remove_number;
		unsigned remove_level;
		const char *says;
	} cases[] = {
		{ { FAKE(1, 3, "a", "b"), FAKE(1, 4, "b", "c") }, 0, 0, "overlap" },
		{ { FAKE(1, 3, "a", "b"), FAKE(1, 3, "d", "e") }, 0, 0, "there already" },
		{ { FAKE(1, 3, "a", "b"), FAKE(2, 3, "d", "e") }, 0, 0, "there already" },
		{ { FAKE(1, 3, "a", "b"), FAKE(2, 4, "d", "e") }, 5, 1, "where it is not" },
		{ { FAKE(1, 3, "a", "b"), FAKE(2, 4, "d", "e") }, 1, 2, "where it is not" },
		{ { FAKE(1, 3, "a", "b"), FAKE(2, 400, "d", "e") }, 0, 0, "next file number" },
		{ { FAKE(1, 3, "a", "b"), FAKE(2, 4, "d", "e") }, 0, 0, "missing" }, /* the files */
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct env *env;
		struct versions w;
		struct version_edit first, second;
		struct manifest_writer *writer;
		struct buf bytes = { 0 };
		assert_ok(env_mem_new(&env));
		versions_init(&w, env);
		version_edit_init(&first);
		version_edit_init(&second);
		first.has_flushed_sequence = first.has_last_sequence = first.has_next_file_number = true;
		first.next_file_number = 20;
		fake_add(&second, &cases[i].add[0]);
		fake_add(&second, &cases[i].add[1]);
		if (cases[i].remove_number)
			assert_ok(version_edit_remove(&second, cases[i].remove_level, cases[i].remove_number));
		assert_ok(version_edit_encode(&first, &bytes));
		assert_ok(manifest_create(env, VERSIONS_DIR, 2, buf_slice(&bytes), &writer));
		buf_clear(&bytes);
		assert_ok(version_edit_encode(&second, &bytes));
		assert_ok(manifest_append(writer, buf_slice(&bytes)));
		manifest_close(writer);
		assert_status(versions_open(&w, false, false), WOMBAT_CORRUPTION);
		if (!strstr(wombat_last_error(), cases[i].says))
			fail_msg("case %zu: %s", i, wombat_last_error());
		buf_done(&bytes);
		version_edit_done(&first);
		version_edit_done(&second);
		versions_done(&w);
		env->calls->free(env);
	}
}

static void test_tables_of_another_size(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	struct model m = { 0 };
	struct version_edit e;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_ok(versions_open(&w, true, false));
	version_edit_init(&e);
	model_add(&m, &w, &e, 1, 0);
	assert_ok(versions_apply(&w, &e));
	version_edit_done(&e);
	versions_close(&w);
	fake_file(env, m.table[1][0], bytes_of(m.table[1][0]) - 1);
	assert_status(versions_open(&w, true, false), WOMBAT_CORRUPTION);
	assert_non_null(strstr(wombat_last_error(), ".sst"));
	versions_done(&w);
	env->calls->free(env);
}

/* ---- Failures ------------------------------------------------------------------------------ */

struct failing {
	size_t left;      /* calls that still succeed */
	bool once;
	bool hit;
};

static enum wombat_status fail_call(void *arg, const char *op, const char *path)
{
	struct failing *f = arg;
	(void)path;
	if (strcmp(op, "writer_close") == 0) /* frees; tried too, but never what matters */
		return WOMBAT_OK;
	if (f->left > 0) {
		f->left--;
		return WOMBAT_OK;
	}
	if (f->hit && f->once)
		return WOMBAT_OK;
	f->hit = true;
	return WOMBAT_IO;
}

static struct failing allocations;

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return fail_call(&allocations, "", "") == WOMBAT_OK;
}

/* Applies edits with the n-th call failing (`once`: the next succeed again). What failed has not happened for this
 * process; the next open finds the state of the last that succeeded, or of one that failed after it. */
enum { EDITS = 12 };
static bool run_with_failure(size_t n, bool once, bool memory)
{
	struct env *env;
	struct versions w;
	struct model m = { 0 };
	struct random_state r;
	struct failing f = { .left = n, .once = once };
	struct buf possible[1 + EDITS] = { { 0 } }, got = { 0 }; /* states that the next open may find */
	size_t count = 1;
	random_seed(&r, 3);
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	w.manifest_bytes = 400;
	assert_ok(versions_open(&w, true, false));
	model_text(&m, &possible[0]);
	for (int i = 0; i < EDITS; i++) {
		struct version_edit e;
		struct model next = m;
		random_edit(&next, &w, &r, &e); /* its tables are made without failures */
		if (memory) {
			allocations = f;
			mem_test_hook = fail_allocation;
		} else {
			env_mem_on_call(env, fail_call, &f);
		}
		enum wombat_status s = versions_apply(&w, &e);
		if (memory) {
			mem_test_hook = NULL;
			f = allocations;
		} else {
			env_mem_on_call(env, NULL, NULL);
		}
		version_edit_done(&e);
		m.sequence = next.sequence + 1; /* never used twice */
		if (s == WOMBAT_OK) {
			m = next;
			count = 0;
		} else {
			assert_true(f.hit);
			assert_int_equal(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
		}
		model_text(&next, &possible[count++]);
		assert_same(&w, &m);
	}
	versions_close(&w);
	assert_ok(versions_open(&w, true, false));
	set_text(&w, &got);
	bool found = false;
	for (size_t i = 0; i < count; i++)
		found |= slice_equal(buf_slice(&got), buf_slice(&possible[i]));
	assert_true(found);
	for (size_t i = 0; i < 1 + EDITS; i++)
		buf_done(&possible[i]);
	buf_done(&got);
	versions_done(&w);
	env->calls->free(env);
	return f.hit;
}

static void test_each_call_fails(void **state)
{
	(void)state;
	for (int once = 0; once < 2; once++)
		for (size_t n = 0; run_with_failure(n, once, false); n++)
			;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	for (size_t n = 0; run_with_failure(n, true, true); n++)
		;
}

/* Opening leaves everything as it was when it fails, so that the next try succeeds. */
static bool open_with_failure(size_t n, bool memory, bool create)
{
	struct env *env;
	struct versions w;
	struct model m = { 0 };
	struct failing f = { .left = n };
	struct random_state r;
	random_seed(&r, 5);
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	for (int i = 0; !create && i < 5; i++) {
		struct version_edit e;
		if (i == 0)
			assert_ok(versions_open(&w, true, false));
		random_edit(&m, &w, &r, &e);
		assert_ok(versions_apply(&w, &e));
		version_edit_done(&e);
	}
	versions_close(&w);
	if (memory) {
		allocations = f;
		mem_test_hook = fail_allocation;
	} else {
		env_mem_on_call(env, fail_call, &f);
	}
	enum wombat_status s = versions_open(&w, true, false);
	mem_test_hook = NULL;
	env_mem_on_call(env, NULL, NULL);
	f.hit |= memory && allocations.hit;
	assert_true(s == WOMBAT_OK || f.hit);
	if (s != WOMBAT_OK) {
		assert_int_equal(s, memory ? WOMBAT_NO_MEMORY : WOMBAT_IO);
		assert_null(w.set);
		assert_ok(versions_open(&w, true, false));
	}
	assert_same(&w, &m);
	versions_done(&w);
	env->calls->free(env);
	return f.hit;
}

static void test_open_fails_at_each_step(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++)
		for (size_t n = 0; open_with_failure(n, kind & 1, kind & 2); n++)
			;
}

/* ---- Scores, claims, live files ------------------------------------------------------------ */

static void test_scores_follow_the_shape(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	struct version_edit e;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_ok(versions_open(&w, true, false));
	version_edit_init(&e);
	fake_add(&e, &(struct fake_table)FAKE(0, 3, "a", "z", .sequence = 9));
	fake_add(&e, &(struct fake_table)FAKE(0, 4, "a", "z", .sequence = 8));
	fake_add(&e, &(struct fake_table)FAKE(1, 5, "a", "c", .bytes = 700));
	fake_add(&e, &(struct fake_table)FAKE(1, 6, "d", "f", .bytes = 800));
	fake_add(&e, &(struct fake_table)FAKE(2, 7, "a", "f", .bytes = 2500));
	fake_add(&e, &(struct fake_table)FAKE(4, 8, "a", "f", .bytes = 1000000));
	assert_ok(versions_apply(&w, &e));
	version_edit_done(&e);
	struct version *v = versions_current(&w);
	mutex_lock(&w.state);
	assert_true(v->score[0] == 0.5 && v->score[1] == 1.5 && v->score[2] == 0.25 && v->score[3] == 0 && v->score[4] == 0);
	assert_int_equal(version_set_target_bytes(w.set, 3), 100000);
	struct version_shape shape = { .max_levels = 9, .num_level_zero_tables = 1, .base_level_bytes = 1500,
				       .level_size_multiplier = 5 };
	version_set_set_shape(w.set, shape);
	assert_true(v->score[0] == 2 && v->score[1] == 1);
	assert_int_equal(v->level_count, 5);
	mutex_unlock(&w.state);
	version_unref(v);
	versions_done(&w);
	env->calls->free(env);
}

static void test_claims(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_ok(versions_open(&w, true, false));
	struct wombat_slice b = WOMBAT_STR("b"), d = WOMBAT_STR("d"), f = WOMBAT_STR("f"), a = WOMBAT_STR("a");
	struct version_claim one = { .level = 1, .span = { b, d, true } }, two = { .level = 2, .span = { a, f, false } };
	struct key_span behind = { d, f, false }, inside = { b, b, false }, before = { a, b, true };
	version_set_claim(w.set, &one);
	version_set_claim(w.set, &two);
	assert_true(version_set_claimed(w.set, 1, &inside));
	assert_false(version_set_claimed(w.set, 1, &behind)); /* its end is excluded */
	assert_false(version_set_claimed(w.set, 1, &before));
	assert_true(version_set_claimed(w.set, 2, &behind));
	version_set_unclaim(w.set, &one);
	assert_false(version_set_claimed(w.set, 1, &inside));
	version_set_unclaim(w.set, &two);
	assert_false(version_set_claimed(w.set, 2, &inside));
	versions_done(&w);
	env->calls->free(env);
}

struct numbers {
	bool seen[64];
};

static void note_number(void *arg, uint64_t number)
{
	assert_true(number < 64);
	((struct numbers *)arg)->seen[number] = true;
}

static void test_live_files(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	struct version_edit e;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_ok(versions_open(&w, true, false));
	version_edit_init(&e);
	fake_add(&e, &(struct fake_table)FAKE(1, 11, "a", "c"));
	assert_ok(versions_apply(&w, &e));
	version_edit_done(&e);
	struct version *held = versions_current(&w);
	assert_ok(version_edit_remove(&e, 1, 11));
	fake_add(&e, &(struct fake_table)FAKE(1, 12, "a", "c"));
	assert_ok(versions_apply(&w, &e));
	version_edit_done(&e);
	for (int round = 0; round < 2; round++) {
		struct numbers live = { { false } };
		mutex_lock(&w.state);
		version_set_live_files(w.set, note_number, &live);
		mutex_unlock(&w.state);
		assert_true(live.seen[12]);
		assert_int_equal(live.seen[11], round == 0); /* a reader holds the version that has it */
		if (round == 0)
			version_unref(held);
	}
	versions_done(&w);
	env->calls->free(env);
}

/* ---- Threads ------------------------------------------------------------------------------- */

enum { WRITERS = 3, EDITS_EACH = 60 };

struct crowd {
	struct versions *w;
	unsigned index;
	atomic_bool *stop;
};

/* Each writer has a level of its own, in which it adds and removes one table. */
static void *write_edits(void *arg)
{
	struct crowd *c = arg;
	uint64_t number = 0;
	for (int i = 0; i < EDITS_EACH; i++) {
		struct version_edit e;
		version_edit_init(&e);
		if (number)
			assert_ok(version_edit_remove(&e, c->index + 1, number));
		number = version_set_new_file_number(c->w->set);
		fake_add(&e, &(struct fake_table)FAKE(c->index + 1, number, "a", "c"));
		fake_file(c->w->env, number, 100);
		assert_ok(versions_apply(c->w, &e));
		version_edit_done(&e);
	}
	return NULL;
}

static void *read_versions(void *arg)
{
	struct crowd *c = arg;
	while (!atomic_load(c->stop)) {
		struct version *v = versions_current(c->w);
		for (unsigned level = 1; level <= WRITERS; level++)
			assert_true(v->levels[level].count <= 1);
		(void)version_set_manifest_number(c->w->set);
		version_unref(v);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	pthread_t threads[WRITERS + 2];
	struct crowd crowd[WRITERS + 2];
	atomic_bool stop = false;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	w.manifest_bytes = 1000;
	assert_ok(versions_open(&w, true, false));
	for (unsigned i = 0; i < WRITERS + 2; i++) {
		crowd[i] = (struct crowd){ &w, i, &stop };
		assert_int_equal(pthread_create(&threads[i], NULL, i < WRITERS ? write_edits : read_versions, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(threads[WRITERS], NULL);
	pthread_join(threads[WRITERS + 1], NULL);
	struct buf before = { 0 }, after = { 0 };
	set_text(&w, &before);
	versions_close(&w);
	assert_ok(versions_open(&w, false, false));
	set_text(&w, &after);
	assert_string_equal((char *)before.data, (char *)after.data);
	buf_done(&before);
	buf_done(&after);
	versions_done(&w);
	env->calls->free(env);
}

/* Two tables of one ingestion have one sequence number. One was merged with an older table: that is below the other now,
 * though its file is the newer one. */
static void test_one_ingestion_in_level_zero(void **state)
{
	(void)state;
	struct env *env;
	struct versions w;
	struct version_edit e;
	assert_ok(env_mem_new(&env));
	versions_init(&w, env);
	assert_ok(versions_open(&w, true, false));
	version_edit_init(&e);
	uint64_t first = version_set_new_file_number(w.set), merged = version_set_new_file_number(w.set);
	struct fake_table tables[] = {
		FAKE(0, first, "a", "m", .bytes = 10, .sequence = 9), FAKE(0, merged, "a", "z", .bytes = 10, .sequence = 9),
	};
	for (size_t i = 0; i < 2; i++) {
		fake_file(env, tables[i].number, tables[i].bytes);
		fake_add(&e, &tables[i]);
	}
	e.added[1].file->summary.smallest_sequence = 1;
	e.has_flushed_sequence = e.has_last_sequence = true;
	e.flushed_sequence = e.last_sequence = 9;
	assert_ok(versions_apply(&w, &e));
	version_edit_done(&e);
	struct version *v = versions_current(&w);
	version_check_invariants(v);
	assert_true(v->levels[0].files[0]->number == first);
	assert_true(v->levels[0].files[1]->number == merged);
	version_unref(v);
	versions_done(&w);
	env->calls->free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_edits),
		cmocka_unit_test(test_one_ingestion_in_level_zero),
		cmocka_unit_test(test_power_cut_at_each_sync),
		cmocka_unit_test(test_torn_at_each_byte),
		cmocka_unit_test(test_garbage_behind_the_end),
		cmocka_unit_test(test_damage_at_each_byte),
		cmocka_unit_test(test_versions_and_features),
		cmocka_unit_test(test_current),
		cmocka_unit_test(test_lost_current),
		cmocka_unit_test(test_inconsistent_edits),
		cmocka_unit_test(test_tables_of_another_size),
		cmocka_unit_test(test_each_call_fails),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_open_fails_at_each_step),
		cmocka_unit_test(test_scores_follow_the_shape),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_live_files),
		cmocka_unit_test(test_many_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
