/*
 * fs/file: staged writes against an array of bytes, with commits, failures of commits and of allocations, unlinking
 * and new mounts in between; sizes to a few MiB. At every moment the mount shows the array, and the database the array
 * as it was at the last commit.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "fs/errmap.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

enum { SIZE_MOST = 3 << 20, FILES = 3 };

/* What a file should have, and what its record should. */
struct model {
	uint8_t *now, *stored;
	size_t now_size, stored_size;
	bool has_record;
};

static struct model models[FILES];
static struct node *nodes[FILES];
static uint8_t *noise; /* SIZE_MOST random bytes */

static const char *name_of(unsigned i)
{
	static const char *const names[FILES] = { "a", "b", "c" };
	return names[i];
}

static struct node *create(struct fs_mount *f, const char *name)
{
	struct node *n;
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), name, S_IFREG | 0644, (struct caller){ .uid = 1, .gid = 2 }, &n), 0);
	n->lookups++;
	return n;
}

/* As open(2) and close(2) do it in fs/ops.c. */
static void open_writer(struct node *n)
{
	n->opens++;
	n->writers++;
}

static int close_writer(struct fs_mount *f, struct node *n)
{
	int error = file_commit(&f->m, n);
	n->opens--;
	n->writers--;
	if (!n->writers && !n->data_dirty && !n->unlinked)
		node_drop_stage(&f->m, n);
	return error;
}

static int begin(void **state)
{
	struct random_state r;
	random_seed(&r, 42);
	noise = malloc(SIZE_MOST);
	for (size_t i = 0; i < SIZE_MOST; i += 8)
		memcpy(noise + i, &(uint64_t){ random_next(&r) }, 8);
	for (unsigned i = 0; i < FILES; i++) {
		models[i] = (struct model){ .now = calloc(1, SIZE_MOST), .stored = calloc(1, SIZE_MOST) };
		assert_true(models[i].now && models[i].stored);
	}
	return fs_mount_setup(state);
}

static int end(void **state)
{
	for (unsigned i = 0; i < FILES; i++) {
		free(models[i].now);
		free(models[i].stored);
	}
	free(noise);
	return fs_mount_teardown(state);
}

static void assert_read(struct fs_mount *f, unsigned i, uint64_t offset, size_t size)
{
	const uint8_t *got;
	size_t got_size, left = offset < models[i].now_size ? models[i].now_size - offset : 0;
	assert_int_equal(file_read(&f->m, nodes[i], offset, size, &got, &got_size), 0);
	assert_int_equal(got_size, size < left ? size : left);
	if (got_size)
		assert_memory_equal(got, models[i].now + offset, got_size);
	assert_int_equal(nodes[i]->attr.size, models[i].now_size);
}

static void assert_record(struct fs_mount *f, const char *name, const struct model *m)
{
	uint8_t *value = NULL;
	long size = fs_mount_stored(f, STORE_USER, bytes_of(name), &value);
	assert_int_equal(size, m->has_record ? (long)m->stored_size : -1);
	if (size > 0)
		assert_memory_equal(value, m->stored, (size_t)size);
	if (value)
		test_free(value);
}

/* ---- Changes to both ----------------------------------------------------------------------- */

static size_t random_size(struct random_state *r)
{
	return random_below(r, 1u << random_below(r, 22));
}

static void change(struct fs_mount *f, unsigned i, struct random_state *r)
{
	struct model *m = &models[i];
	size_t size = random_size(r), offset = random_below(r, m->now_size + 1 + random_size(r) / 4);
	switch (random_below(r, 8)) {
	case 0:
		assert_int_equal(file_resize(&f->m, nodes[i], size), 0);
		if (size > m->now_size)
			memset(m->now + m->now_size, 0, size - m->now_size);
		m->now_size = size;
		return;
	case 1:
		assert_int_equal(file_truncate_all(&f->m, nodes[i]), 0);
		m->now_size = 0;
		return;
	case 2:
		offset = m->now_size;
		break;
	default:
		break;
	}
	if (size > SIZE_MOST || offset > SIZE_MOST - size)
		return;
	const uint8_t *data = noise + random_below(r, SIZE_MOST - size + 1);
	bool append = offset == m->now_size;
	assert_int_equal(file_write(&f->m, nodes[i], data, size, append ? 12345 : offset, append), 0);
	if (!size)
		return;
	if (offset > m->now_size)
		memset(m->now + m->now_size, 0, offset - m->now_size);
	memcpy(m->now + offset, data, size);
	if (offset + size > m->now_size)
		m->now_size = offset + size;
}

static void model_commit(struct model *m)
{
	memcpy(m->stored, m->now, m->now_size);
	m->stored_size = m->now_size;
	m->has_record = true;
}

/* A commit that fails for a reason the disk might give: all stays staged. */
static void fail_commit(struct fs_mount *f, unsigned i, struct random_state *r)
{
	static const enum store_result reasons[] = { STORE_NO_SPACE, STORE_IO, STORE_READ_ONLY, STORE_UNKNOWN };
	bool dirty = nodes[i]->data_dirty || nodes[i]->attr_dirty;
	f->commit_result = reasons[random_below(r, 4)];
	assert_int_equal(file_commit(&f->m, nodes[i]), dirty ? errmap_from_store(f->commit_result) : 0);
	f->commit_result = STORE_OK;
	assert_int_equal(nodes[i]->data_dirty || nodes[i]->attr_dirty, dirty);
}

static void find_all(struct fs_mount *f)
{
	for (unsigned i = 0; i < FILES; i++) {
		if (namei_lookup(&f->m, fs_mount_root(f), name_of(i), &nodes[i]) == 0)
			nodes[i]->lookups++;
		else
			nodes[i] = create(f, name_of(i));
	}
}

static void commit_all(struct fs_mount *f)
{
	assert_int_equal(file_commit_all(&f->m), 0);
	for (unsigned i = 0; i < FILES; i++)
		model_commit(&models[i]);
	assert_int_equal(f->m.counts.staged_files, 0);
}

static void step(struct fs_mount *f, struct random_state *r)
{
	unsigned i = (unsigned)random_below(r, FILES);
	switch (random_below(r, 24)) {
	case 0:
	case 1:
		assert_int_equal(file_commit(&f->m, nodes[i]), 0);
		model_commit(&models[i]);
		break;
	case 2:
		fail_commit(f, i, r);
		break;
	case 3:
		commit_all(f);
		break;
	case 4:
		if (!nodes[i]->writers)
			open_writer(nodes[i]);
		else if (assert_int_equal(close_writer(f, nodes[i]), 0), true)
			model_commit(&models[i]);
		break;
	case 5:
		if (random_below(r, 4))
			break;
		commit_all(f);
		fs_mount_reopen(f);
		find_all(f);
		break;
	default:
		change(f, i, r);
	}
	assert_read(f, i, 0, SIZE_MAX);
	assert_read(f, i, random_size(r), random_size(r));
	assert_record(f, name_of(i), &models[i]);
}

static void test_against_an_array(void **state)
{
	struct fs_mount *f = *state;
	struct random_state r;
	random_seed(&r, test_seed(__func__));
	find_all(f);
	for (unsigned i = test_steps(600); i; i--)
		step(f, &r);
	for (unsigned i = 0; i < FILES; i++)
		while (nodes[i]->writers)
			assert_int_equal(close_writer(f, nodes[i]), 0);
	commit_all(f);
	assert_int_equal(f->m.counts.staged_bytes, 0);
	for (unsigned i = 0; i < FILES; i++)
		assert_record(f, name_of(i), &models[i]);
}

/* ---- Edges --------------------------------------------------------------------------------- */

static void test_nothing_written_at_an_offset_is_nothing(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	assert_int_equal(file_write(&f->m, n, NULL, 0, 0, false), 0);
	assert_int_equal(file_write(&f->m, n, NULL, 0, 4096, false), 0);
	assert_int_equal(n->attr.size, 0);
	assert_int_equal(file_write(&f->m, n, "x", 1, 0, false), 0);
	assert_int_equal(file_write(&f->m, n, "", 0, 2, false), 0);
	assert_int_equal(n->attr.size, 1);
}

static void test_sizes_have_a_limit(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	f->max_value_size = 1000;
	assert_int_equal(file_write(&f->m, n, noise, 1000, 0, false), 0);
	assert_int_equal(file_write(&f->m, n, noise, 1, 1000, false), EFBIG);
	assert_int_equal(file_write(&f->m, n, noise, 1, 0, true), EFBIG);
	assert_int_equal(file_write(&f->m, n, noise, 2, UINT64_MAX, false), EFBIG);
	assert_int_equal(file_write(&f->m, n, noise, 1, UINT64_MAX, false), EFBIG);
	assert_int_equal(file_resize(&f->m, n, 1001), EFBIG);
	assert_int_equal(file_resize(&f->m, n, UINT64_MAX), EFBIG);
	assert_int_equal(n->attr.size, 1000);
	models[0].now_size = 1000;
	memcpy(models[0].now, noise, 1000);
	nodes[0] = n;
	assert_read(f, 0, 0, SIZE_MAX);
	assert_read(f, 0, UINT64_MAX, SIZE_MAX);
	assert_read(f, 0, 1000, 1);
	assert_read(f, 0, 999, 0);
}

/* A shrunk file that grows again has zeros, not what was there. */
static void test_what_was_cut_off_is_zero(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	const uint8_t *got;
	size_t size;
	memset(models[0].now, 'x', 10000);
	assert_int_equal(file_write(&f->m, n, models[0].now, 10000, 0, false), 0);
	assert_int_equal(file_resize(&f->m, n, 10), 0);
	assert_int_equal(file_resize(&f->m, n, 5000), 0);
	assert_int_equal(file_resize(&f->m, n, 20), 0);
	assert_int_equal(file_write(&f->m, n, "end", 3, 9000, false), 0);
	memset(models[0].now + 10, 0, 8990);
	memcpy(models[0].now + 9000, "end", 3);
	assert_int_equal(file_read(&f->m, n, 0, SIZE_MAX, &got, &size), 0);
	assert_int_equal(size, 9003);
	assert_memory_equal(got, models[0].now, size);
}

/* ---- Commits that fail ---------------------------------------------------------------------- */

/* Every close and fsync says so until one succeeds; then all that was written is there. */
static void test_an_error_is_told_again(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	open_writer(n);
	assert_int_equal(file_write(&f->m, n, "written", 7, 0, false), 0);
	f->commit_result = STORE_NO_SPACE;
	assert_int_equal(file_commit(&f->m, n), ENOSPC);
	assert_int_equal(file_commit(&f->m, n), ENOSPC);
	assert_int_equal(file_commit_all(&f->m), ENOSPC);
	f->commit_result = STORE_IO;
	assert_int_equal(close_writer(f, n), EIO);
	assert_true(n->staged && n->data_dirty && n->fresh);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a"), NULL), -1);
	assert_true(f->m.counts.commit_failures >= 4);
	assert_int_equal(f->m.counts.commits, 0);
	/* It still shows through the mount, and outlives the kernel's interest in it. */
	n->lookups--;
	node_release(&f->m, n);
	assert_ptr_equal(node_find(&f->m, fs_mount_root(f), "a", 1), n);
	f->commit_result = STORE_OK;
	assert_int_equal(file_commit_all(&f->m), 0);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a"), NULL), 7);
	assert_null(node_find(&f->m, fs_mount_root(f), "a", 1));
	assert_int_equal(f->m.counts.staged_files, 0);
	assert_int_equal(f->m.counts.staged_bytes, 0);
}

/* One file that cannot be committed holds up no other, and is tried once each time. */
static void test_one_failure_among_many(void **state)
{
	struct fs_mount *f = *state;
	char name[16];
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "f%02d", i);
		struct node *n = create(f, name);
		assert_int_equal(file_write(&f->m, n, name, 3, 0, false), 0);
		n->lookups--; /* Only its changes keep it: it goes with its commit. */
	}
	f->refused_key = "f07";
	f->commit_result = STORE_TOO_BIG;
	f->commits = 0;
	assert_int_equal(file_commit_all(&f->m), EFBIG);
	assert_int_equal(f->commits, 101); /* and the directory's */
	assert_int_equal(f->m.counts.commit_failures, 1);
	assert_int_equal(f->m.counts.staged_files, 1);
	assert_int_equal(f->m.counts.nodes, 1);
	f->commit_result = STORE_OK;
	assert_int_equal(file_commit_all(&f->m), 0);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("f07"), NULL), 3);
	assert_int_equal(f->m.counts.nodes, 0);
}

static void test_a_value_that_cannot_be_read(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	const uint8_t *got;
	size_t size;
	assert_int_equal(file_write(&f->m, n, "value", 5, 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_false(n->staged);
	f->hold_result = STORE_DAMAGED;
	assert_int_equal(file_read(&f->m, n, 0, 5, &got, &size), EIO);
	assert_int_equal(file_write(&f->m, n, "x", 1, 0, false), EIO);
	assert_int_equal(file_resize(&f->m, n, 3), EIO);
	assert_false(n->staged || n->data_dirty);
	assert_int_equal(file_truncate_all(&f->m, n), 0); /* needs none of it */
	f->hold_result = STORE_OK;
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a"), NULL), 0);
	/* The record went behind the mount's back: an error, and no ENOENT for an open file. */
	assert_ok(wombat_delete(f->m.db, WOMBAT_USER, WOMBAT_STR("a")));
	assert_int_equal(file_read(&f->m, n, 0, 5, &got, &size), EIO);
}

/* An unlinked file is read and written until it is closed, and never committed. */
static void test_unlinked_while_open(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	const uint8_t *got;
	size_t size;
	assert_int_equal(file_write(&f->m, n, "value", 5, 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	open_writer(n);
	assert_int_equal(namei_unlink(&f->m, fs_mount_root(f), "a"), 0);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a"), NULL), -1);
	assert_int_equal(file_read(&f->m, n, 1, 99, &got, &size), 0);
	assert_int_equal(size, 4);
	assert_memory_equal(got, "alue", 4);
	assert_int_equal(file_write(&f->m, n, "!", 1, 0, true), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_int_equal(file_commit_all(&f->m), 0);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a"), NULL), -1);
	assert_int_equal(file_read(&f->m, n, 0, 99, &got, &size), 0);
	assert_int_equal(size, 6);
	assert_memory_equal(got, "value!", 6);
	assert_int_equal(close_writer(f, n), 0);
	n->lookups--;
	node_release(&f->m, n);
	assert_int_equal(f->m.counts.nodes, 0);
	assert_int_equal(f->m.counts.staged_bytes, 0);
}

/* ---- Allocations that fail ------------------------------------------------------------------ */

static int write_some(struct fs_mount *f, struct node *n)
{
	return file_write(&f->m, n, noise, 100000, 50000, false);
}

static int resize_some(struct fs_mount *f, struct node *n)
{
	return file_resize(&f->m, n, 200000);
}

static int commit_some(struct fs_mount *f, struct node *n)
{
	int error = file_commit(&f->m, n);
	assert_true(!error || n->data_dirty);
	return error;
}

/* Each allocation of a call fails in turn: ENOMEM, the file as before, and the call succeeds once it can. */
static void fail_each_allocation(struct fs_mount *f, struct node *n, int (*call)(struct fs_mount *f, struct node *n))
{
	unsigned failed = 0;
	for (;; failed++) {
		uint64_t size = n->attr.size;
		alloc_fail_arm(failed);
		int error = call(f, n);
		if (!alloc_fail_disarm()) {
			assert_int_equal(error, 0);
			break;
		}
		/* A table that could not grow and its like do without. */
		if (!error)
			break;
		assert_int_equal(error, ENOMEM);
		assert_int_equal(n->attr.size, size);
		assert_int_equal(file_read(&f->m, n, 0, SIZE_MAX, &(const uint8_t *){ NULL }, &(size_t){ 0 }), 0);
	}
	assert_true(failed > 0);
}

static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = create(f, "a");
	uint8_t *stored;
	open_writer(n);
	fail_each_allocation(f, n, write_some);
	fail_each_allocation(f, n, commit_some);
	assert_int_equal(close_writer(f, n), 0);
	assert_false(n->staged);
	fail_each_allocation(f, n, resize_some); /* reads the value first */
	fail_each_allocation(f, n, commit_some);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("a"), &stored), 200000);
	assert_memory_equal(stored + 50000, noise, 100000);
	test_free(stored);
}

/* ---- What is due --------------------------------------------------------------------------- */

static void test_what_is_due(void **state)
{
	struct fs_mount *f = *state;
	struct node *old = create(f, "old"), *busy = create(f, "busy"), *idle = create(f, "idle");
	int64_t now = attr_now_ns(), second = 1000000000;
	assert_int_equal(file_commit(&f->m, fs_mount_root(f)), 0);
	old->dirty_since_ns = now - 100 * second;
	old->written_ns = busy->written_ns = now + 100 * second;
	busy->dirty_since_ns = idle->dirty_since_ns = now;
	idle->written_ns = now - 100 * second;
	f->m.options.commit_idle_ms = f->m.options.commit_age_ms = 0;
	file_commit_due(&f->m);
	assert_true(old->data_dirty && busy->data_dirty && idle->data_dirty);
	f->m.options.commit_idle_ms = 50000;
	file_commit_due(&f->m);
	assert_true(old->data_dirty && busy->data_dirty && !idle->data_dirty);
	f->m.options.commit_age_ms = 50000;
	f->commit_result = STORE_NO_SPACE;
	file_commit_due(&f->m);
	assert_true(old->data_dirty); /* failed: it stays */
	f->commit_result = STORE_OK;
	file_commit_due(&f->m);
	assert_true(!old->data_dirty && busy->data_dirty);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("busy"), NULL), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_against_an_array),
		TEST(test_nothing_written_at_an_offset_is_nothing),
		TEST(test_sizes_have_a_limit),
		TEST(test_what_was_cut_off_is_zero),
		TEST(test_an_error_is_told_again),
		TEST(test_one_failure_among_many),
		TEST(test_a_value_that_cannot_be_read),
		TEST(test_unlinked_while_open),
		TEST(test_failed_allocations),
		TEST(test_what_is_due),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
