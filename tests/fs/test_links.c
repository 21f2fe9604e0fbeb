/*
 * fs/links: what makes a record one of several names and what does not any more, as others may have changed the database
 * between two mounts; crashes; expiry; commits and memory that fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/env/env_mem.h"
#include "fs/links.h"
#include "fs/namei_impl.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/check.h"
#include "tests/support/fs_mount.h"

static const struct caller me = { .uid = FS_MOUNT_UID, .gid = FS_MOUNT_GID };

static struct node *make(struct fs_mount *f, const char *name, const char *text)
{
	struct node *n;
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), name, S_IFREG | 0644, me, &n), 0);
	assert_int_equal(file_write(&f->m, n, text, strlen(text), 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	return n;
}

static struct node *look(struct fs_mount *f, const char *name)
{
	struct node *n;
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), name, &n), 0);
	return n;
}

/* "f", "g" and "h" are one file. */
static struct node *make_three(struct fs_mount *f)
{
	struct node *n = make(f, "f", "text");
	assert_int_equal(namei_link(&f->m, n, fs_mount_root(f), "g"), 0);
	assert_int_equal(namei_link(&f->m, n, fs_mount_root(f), "h"), 0);
	return n;
}

static unsigned count_of(const struct node *n)
{
	return n->links ? n->links->count : 1;
}

static void check_text(struct fs_mount *f, struct node *n, const char *text)
{
	const uint8_t *data;
	size_t size;
	assert_int_equal(file_read(&f->m, n, 0, 100, &data, &size), 0);
	assert_int_equal(size, strlen(text));
	assert_memory_equal(data, text, size);
}

static long stored_links(struct fs_mount *f)
{
	struct wombat_iter *it;
	long count = 0;
	assert_ok(wombat_iter_new(f->m.db, NULL, WOMBAT_FS_LINKS, &it));
	for (bool more = wombat_iter_first(it); more; more = wombat_iter_next(it))
		count++;
	wombat_iter_free(it);
	return count;
}

/* As a library would, while nothing of it is live. */
static void put(struct fs_mount *f, const char *key, const char *value, const struct wombat_put_info *info)
{
	struct wombat_batch *b = wombat_batch_new();
	assert_ok(wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(value), info));
	assert_ok(wombat_write(f->m.db, b, 0, NULL));
	wombat_batch_free(b);
}

/* ---- The table -------------------------------------------------------------------------------- */

static void test_table(void **state)
{
	struct fs_mount *f = *state;
	enum { MANY = 500 };
	char name[16];
	uint64_t inos[MANY];
	assert_null(links_any(&f->m));
	assert_null(links_find(&f->m, 1));
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "n%d", i);
		struct node *n = make(f, name, "x");
		assert_int_equal(links_join(&f->m, n, 2, 1, 0), 0);
		n->lookups = 1;
		inos[i] = n->ino;
	}
	for (int i = 0; i < MANY; i++)
		assert_int_equal(links_find(&f->m, inos[i])->ino, inos[i]);
	assert_non_null(links_any(&f->m));
	for (int i = 0; i < MANY; i++) {
		struct node *n = links_find(&f->m, inos[i]);
		links_forget(&f->m, n);
		links_forget(&f->m, n);
		assert_null(links_find(&f->m, inos[i]));
		n->lookups = 0;
		node_release(&f->m, n);
	}
	assert_null(links_any(&f->m));
}

/* ---- Judging ---------------------------------------------------------------------------------- */

static void test_another_value(void **state)
{
	struct fs_mount *f = *state;
	uint64_t ino = make_three(f)->ino;
	fs_mount_reopen(f);
	put(f, "f", "mine", NULL); /* its number would be that of the group */
	struct node *g = look(f, "g"), *single = look(f, "f");
	assert_int_equal(count_of(g), 2);
	assert_int_equal(g->ino, ino);
	assert_true(single != g && single->ino != ino && !single->links);
	check_text(f, single, "mine");
	check_text(f, g, "text");
	assert_ptr_equal(look(f, "h"), g);
	assert_int_equal(stored_links(f), 3);
	/* It stays alone when the others get another content. */
	assert_int_equal(file_write(&f->m, g, "T", 1, 0, false), 0);
	assert_int_equal(file_commit(&f->m, g), 0);
	fs_mount_reopen(f);
	check_text(f, look(f, "f"), "mine");
	check_text(f, look(f, "h"), "Text");
	assert_int_equal(count_of(look(f, "g")), 2);
}

/* With the attributes that it had: by its time it is seen that it is another. Deleted ones, and all. */
static void test_marks_that_mean_nothing(void **state)
{
	struct fs_mount *f = *state;
	uint64_t ino = make_three(f)->ino;
	struct wombat_record r;
	fs_mount_reopen(f);
	assert_ok(wombat_get(f->m.db, NULL, WOMBAT_USER, WOMBAT_STR("f"), &r));
	const struct wombat_put_info later = { .attr = r.attr, .time_ns = r.time_ns + 1 }, same = { .attr = r.attr, .time_ns = r.time_ns };
	put(f, "f", "other", &later);
	put(f, "copy", "text", &same); /* of the record, but no name of the file */
	wombat_record_release(&r);
	assert_ok(wombat_delete(f->m.db, WOMBAT_USER, WOMBAT_STR("h")));
	struct node *g = look(f, "g");
	assert_int_equal(count_of(g), 1);
	assert_int_equal(g->ino, ino);
	assert_int_equal(stored_links(f), 2);
	assert_true(look(f, "f")->ino != ino && look(f, "copy")->ino != ino);
	assert_int_equal(count_of(look(f, "copy")), 1);
	/* A group's own record that is gone, or makes no sense. */
	struct key_buf key = { 0 };
	for (int i = 0; i < 8; i++)
		assert_int_equal(key_append(&key, &(uint8_t){ (uint8_t)(ino >> (56 - 8 * i)) }, 1), 0);
	fs_mount_reopen(f);
	assert_ok(wombat_put(f->m.db, WOMBAT_FS_LINKS, WOMBAT_SLICE(key.data, 8), WOMBAT_STR("short")));
	assert_null(look(f, "g")->links);
	fs_mount_reopen(f);
	assert_ok(wombat_delete(f->m.db, WOMBAT_FS_LINKS, WOMBAT_SLICE(key.data, 8)));
	assert_null(look(f, "g")->links);
	check_text(f, look(f, "g"), "text");
	key_done(&key);
}

/* In a listing they are what they are by lookups, and names that nobody looked up are counted. */
static void test_counts_after_opening(void **state)
{
	struct fs_mount *f = *state;
	make_three(f);
	struct node *n = look(f, "h");
	n->attr.mode = S_IFREG | 0600;
	node_mark_attr(&f->m, n);
	unsigned commits = f->commits;
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_int_equal(f->commits, commits + 1);
	fs_mount_reopen(f);
	n = look(f, "g");
	assert_int_equal(count_of(n), 3);
	assert_int_equal(n->attr.mode, S_IFREG | 0600);
	assert_null(n->aliases);
	assert_ptr_equal(look(f, "f"), n);
	assert_ptr_equal(look(f, "h"), n);
	assert_non_null(n->aliases->alias_next);
	assert_ptr_equal(links_any(&f->m), n);
	node_release(&f->m, n);
	assert_null(links_any(&f->m));
}

/* ---- Expiry ----------------------------------------------------------------------------------- */

static void test_expiry(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = make_three(f), *none;
	n->attr.expiry_ns = (uint64_t)attr_now_ns() + 300000000u;
	node_mark_attr(&f->m, n);
	assert_int_equal(file_commit(&f->m, n), 0);
	struct wombat_record r;
	for (int i = 0; i < 3; i++) {
		assert_ok(wombat_get(f->m.db, NULL, WOMBAT_USER, WOMBAT_STR(((const char *const[]){ "f", "g", "h" })[i]), &r));
		assert_int_equal(r.expiry_ns, n->attr.expiry_ns);
		wombat_record_release(&r);
	}
	/* A name that comes later is as the others. */
	assert_int_equal(namei_link(&f->m, n, fs_mount_root(f), "i"), 0);
	assert_int_equal(stored_links(f), 5);
	while (attr_now_ns() < (int64_t)n->attr.expiry_ns)
		;
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "g", &none), ENOENT);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "f", &none), ENOENT);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "i", &none), ENOENT);
	assert_int_equal(stored_links(f), 0);
	assert_null(links_any(&f->m));
}

/* ---- Failures --------------------------------------------------------------------------------- */

static void check_three(struct fs_mount *f, const char *text)
{
	struct node *n = look(f, "f"), *none;
	assert_int_equal(count_of(n), 3);
	assert_ptr_equal(look(f, "g"), n);
	assert_ptr_equal(look(f, "h"), n);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "i", &none), ENOENT);
	check_text(f, n, text);
}

/* A commit that fails leaves everything as it was. */
static void test_commits_that_fail(void **state)
{
	struct fs_mount *f = *state;
	struct node *single = make(f, "s", "single"), *n = make_three(f);
	n->lookups++;
	single->lookups++;
	f->commit_result = STORE_NO_SPACE;
	assert_int_equal(namei_link(&f->m, n, fs_mount_root(f), "i"), ENOSPC);
	assert_int_equal(namei_link(&f->m, single, fs_mount_root(f), "i"), ENOSPC);
	assert_null(single->links);
	assert_int_equal(single->attr.ino, 0);
	assert_false(single->attr.linked);
	assert_int_equal(namei_unlink(&f->m, fs_mount_root(f), "g"), ENOSPC);
	assert_int_equal(namei_rename(&f->m, fs_mount_root(f), "g", fs_mount_root(f), "i", 0), ENOSPC);
	assert_int_equal(namei_rename(&f->m, fs_mount_root(f), "s", fs_mount_root(f), "h", 0), ENOSPC);
	check_three(f, "text");
	assert_int_equal(file_write(&f->m, n, "T", 1, 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), ENOSPC);
	f->commit_result = STORE_OK;
	assert_int_equal(file_commit(&f->m, n), 0);
	n->lookups--;
	single->lookups--;
	fs_mount_reopen(f);
	check_three(f, "Text");
	assert_int_equal(count_of(look(f, "s")), 1);
}

static int one_call(struct fs_mount *f, unsigned call, struct node *n)
{
	struct node *root = fs_mount_root(f), *found;
	switch (call) {
	case 0:
		return namei_link(&f->m, n, root, "i");
	case 1:
		return namei_unlink(&f->m, root, "g");
	case 2:
		return namei_rename(&f->m, root, "g", root, "i", 0);
	case 3:
		return namei_rename(&f->m, root, "s", root, "g", 0);
	case 4:
		return file_commit(&f->m, n);
	default:
		return namei_lookup(&f->m, root, "h", &found);
	}
}

/* Memory ends at each place of each call: it fails as a whole or is done as a whole, as the database says too. */
static void test_memory_ends(void **state)
{
	(void)state;
	for (unsigned call = 0; call < 6; call++) {
		int error = ENOMEM;
		for (unsigned passed = 0; error; passed++) {
			struct fs_mount f;
			struct node *n, *i;
			fs_mount_begin(&f);
			make(&f, "s", "single");
			make_three(&f);
			fs_mount_reopen(&f);
			n = look(&f, "f");
			n->lookups++;
			if (call < 5)
				look(&f, "g");
			if (call == 4)
				assert_int_equal(file_write(&f.m, n, "T", 1, 0, false), 0);
			alloc_fail_arm(passed);
			error = one_call(&f, call, n);
			bool failed = alloc_fail_disarm();
			assert_true(!error || error == ENOMEM);
			if (!failed)
				assert_int_equal(error, 0);
			unsigned wanted = error ? 3 : (const unsigned[]){ 4, 2, 3, 2, 3, 3 }[call];
			assert_int_equal(count_of(n), wanted);
			n->lookups--;
			node_release(&f.m, n);
			fs_mount_reopen(&f);
			assert_int_equal(count_of(look(&f, "h")), wanted);
			bool has_i = namei_lookup(&f.m, fs_mount_root(&f), "i", &i) == 0;
			assert_int_equal(has_i, !error && (call == 0 || call == 2));
			fs_mount_end(&f);
			if (!error && failed)
				error = ENOMEM; /* done without it; on to the next place */
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_table),
		TEST(test_another_value),
		TEST(test_marks_that_mean_nothing),
		TEST(test_counts_after_opening),
		TEST(test_expiry),
		TEST(test_commits_that_fail),
		cmocka_unit_test(test_memory_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
