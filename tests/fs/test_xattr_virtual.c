/*
 * fs/xattr_virtual: each computed attribute of files, directories and what has no name; texts that are a time and those that are
 * none; the flags of setxattr(2); what a refused commit or allocation leaves.
 */
#include "fs/xattr_virtual.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/expiry.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"

#define TTL "user.wombat.ttl"
#define SECOND_NS INT64_C(1000000000)

static struct node *new_file(struct fs_mount *f, struct node *dir, const char *name)
{
	struct node *n;
	assert_int_equal(namei_create(&f->m, dir, name, S_IFREG | 0644, (struct caller){ .uid = 1, .gid = 2 }, &n), 0);
	n->lookups++;
	return n;
}

static struct node *committed_file(struct fs_mount *f, const char *name)
{
	struct node *n = new_file(f, fs_mount_root(f), name);
	assert_int_equal(file_commit(&f->m, n), 0);
	return n;
}

static struct node *new_dir(struct fs_mount *f, const char *name)
{
	struct node *n;
	assert_int_equal(namei_make(&f->m, fs_mount_root(f), name, S_IFDIR | 0755, 0, NULL, (struct caller){ .uid = 1, .gid = 2 }, &n), 0);
	n->lookups++;
	return n;
}

static int set(struct fs_mount *f, struct node *n, const char *text)
{
	return xattr_virtual_set(&f->m, n, TTL, text, strlen(text), 0);
}

/* The attribute as text; test_free'd by the caller. NULL: ENODATA. */
static char *text_of(struct fs_mount *f, const struct node *n, const char *name)
{
	struct key_buf out = { 0 };
	int error = xattr_virtual_get(&f->m, n, name, &out);
	assert_true(error == 0 || error == ENODATA);
	char *text = error ? NULL : test_calloc(1, out.size + 1);
	if (text && out.size)
		memcpy(text, out.data, out.size);
	key_done(&out);
	return text;
}

static void assert_text(struct fs_mount *f, const struct node *n, const char *name, const char *expected)
{
	char *text = text_of(f, n, name);
	if (expected)
		assert_string_equal(text ? text : "(none)", expected);
	else
		assert_null(text);
	test_free(text);
}

static unsigned long long number_of(struct fs_mount *f, const struct node *n, const char *name)
{
	char *end, *text = text_of(f, n, name);
	assert_non_null(text);
	unsigned long long v = strtoull(text, &end, 10);
	assert_true(end != text && !*end);
	test_free(text);
	return v;
}

/* ---- Reading ------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	static const char *const unknown[] = { "user.wombat.", "user.wombat.x", "user.wombat.keys", "user.wombat.ke", "user.wombat.TTL" };
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	assert_true(xattr_is_virtual(TTL) && xattr_is_virtual("user.wombat."));
	assert_false(xattr_is_virtual("user.wombat") || xattr_is_virtual("user.wombats.ttl") || xattr_is_virtual("trusted.wombat.ttl"));
	for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
		assert_text(f, n, unknown[i], NULL);
		assert_int_equal(xattr_virtual_set(&f->m, n, unknown[i], "1", 1, 0), EPERM);
		assert_int_equal(xattr_virtual_remove(&f->m, n, unknown[i]), EPERM);
	}
}

static void test_keys(void **state)
{
	struct fs_mount *f = *state;
	struct node *d = new_dir(f, "d"), *n = new_file(f, d, "file");
	assert_text(f, n, "user.wombat.key", "d/file"); /* before it is stored, too */
	assert_text(f, d, "user.wombat.key", "d/");
	assert_text(f, fs_mount_root(f), "user.wombat.key", "");
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_int_equal(namei_rename(&f->m, fs_mount_root(f), "d", fs_mount_root(f), "e", 0), 0);
	assert_text(f, n, "user.wombat.key", "e/file");
	assert_int_equal(namei_unlink(&f->m, d, "file"), 0);
	assert_text(f, n, "user.wombat.key", NULL);
	assert_text(f, n, "user.wombat.seq", NULL);
	assert_int_equal(xattr_virtual_set(&f->m, n, "user.wombat.key", "x", 1, 0), EPERM);
	assert_int_equal(set(f, n, "5"), ENOENT);
	n->lookups = 0;
	node_release(&f->m, n);
}

static void test_sequence_numbers(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = new_file(f, fs_mount_root(f), "file"), *d = new_dir(f, "d");
	assert_text(f, n, "user.wombat.seq", NULL); /* nothing is stored */
	assert_int_equal(file_commit(&f->m, n), 0);
	unsigned long long first = number_of(f, n, "user.wombat.seq");
	assert_true(first > number_of(f, d, "user.wombat.seq"));
	assert_int_equal(file_write(&f->m, n, "x", 1, 0, false), 0);
	assert_true(number_of(f, n, "user.wombat.seq") == first);
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_true(number_of(f, n, "user.wombat.seq") > first);
}

static void test_sizes(void **state)
{
	struct fs_mount *f = *state;
	struct node *d = new_dir(f, "d"), *n = new_file(f, d, "file");
	char data[5000];
	memset(data, 'x', sizeof data);
	assert_int_equal(file_write(&f->m, n, data, sizeof data, 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	assert_ok(wombat_put(f->m.db, WOMBAT_USER, WOMBAT_STR("d/sub/deep"), WOMBAT_STR("x")));
	assert_ok(wombat_flush(f->m.db));
	assert_int_equal(number_of(f, n, "user.wombat.size_on_disk"), sizeof data);
	n->attr.holes = 1000;
	assert_int_equal(number_of(f, n, "user.wombat.size_on_disk"), sizeof data - 1000);
	n->attr.holes = sizeof data + 1; /* never below nothing */
	assert_int_equal(number_of(f, n, "user.wombat.size_on_disk"), 0);
	assert_true(number_of(f, d, "user.wombat.entries") >= 2);
	assert_true(number_of(f, d, "user.wombat.bytes") > 0);
	assert_true(number_of(f, d, "user.wombat.size_on_disk") == number_of(f, d, "user.wombat.bytes"));
	assert_text(f, n, "user.wombat.entries", NULL);
	assert_text(f, n, "user.wombat.bytes", NULL);
	assert_text(f, d, TTL, NULL);
}

/* ---- The time of expiry -------------------------------------------------------------------- */

static void test_texts_of_a_time(void **state)
{
	static const struct {
		const char *text;
		int error;
		double seconds;
	} rows[] = {
		{ "1", 0, 1 }, { "60\n", 0, 60 }, { "1.5", 0, 1.5 }, { ".5", 0, 0.5 }, { "7.", 0, 7 }, { "007", 0, 7 },
		{ "3000000000", 0, 3e9 }, { "3000000001", ERANGE, 0 }, { "999999999999999999999999999999", ERANGE, 0 },
		{ "0000000000000000000000000000001", 0, 1 }, { "00000000000000000000000000000001", EINVAL, 0 },
		{ "0", EINVAL, 0 }, { "0.0", EINVAL, 0 }, { "0.0000000001", EINVAL, 0 }, { "", EINVAL, 0 }, { "\n", EINVAL, 0 },
		{ "1\n\n", EINVAL, 0 }, { "-1", EINVAL, 0 }, { "+1", EINVAL, 0 }, { " 1", EINVAL, 0 }, { "1 ", EINVAL, 0 },
		{ "1e3", EINVAL, 0 }, { "0x10", EINVAL, 0 }, { "inf", EINVAL, 0 }, { "nan", EINVAL, 0 }, { ".", EINVAL, 0 },
		{ "1.2.3", EINVAL, 0 }, { "soon", EINVAL, 0 },
	};
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t old = n->attr.expiry_ns;
		int64_t before = attr_now_ns();
		int error = set(f, n, rows[i].text);
		if (error != rows[i].error)
			fail_msg("'%s': %d, not %d", rows[i].text, error, rows[i].error);
		if (error) {
			assert_true(n->attr.expiry_ns == old);
			continue;
		}
		int64_t ns = (int64_t)(rows[i].seconds * 1e9);
		assert_true((int64_t)n->attr.expiry_ns >= before + ns && (int64_t)n->attr.expiry_ns <= attr_now_ns() + ns);
	}
	assert_int_equal(xattr_virtual_set(&f->m, n, TTL, "1\0002", 3, 0), EINVAL);
}

static void test_what_is_left_is_rounded_up(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	assert_text(f, n, TTL, NULL);
	n->attr.expiry_ns = (uint64_t)(attr_now_ns() + 99 * SECOND_NS + SECOND_NS / 2);
	assert_text(f, n, TTL, "100");
	n->attr.expiry_ns = (uint64_t)(attr_now_ns() + SECOND_NS / 2);
	assert_text(f, n, TTL, "1");
	n->attr.expiry_ns = (uint64_t)(attr_now_ns() - 1);
	assert_text(f, n, TTL, "0");
	n->attr.expiry_ns = 0;
}

static void test_flags_and_kinds(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	assert_int_equal(xattr_virtual_remove(&f->m, n, TTL), ENODATA);
	assert_int_equal(xattr_virtual_set(&f->m, n, TTL, "60", 2, XATTR_REPLACE), ENODATA);
	assert_int_equal(xattr_virtual_set(&f->m, n, TTL, "60", 2, XATTR_CREATE), 0);
	assert_int_equal(xattr_virtual_set(&f->m, n, TTL, "60", 2, XATTR_CREATE), EEXIST);
	assert_int_equal(xattr_virtual_set(&f->m, n, TTL, "600", 3, XATTR_REPLACE), 0);
	assert_text(f, n, TTL, "600");
	assert_int_equal(xattr_virtual_remove(&f->m, n, TTL), 0);
	assert_text(f, n, TTL, NULL);
	assert_int_equal(n->expiry_slot, 0);
	assert_int_equal(set(f, new_dir(f, "d"), "5"), EOPNOTSUPP);
	assert_int_equal(set(f, fs_mount_root(f), "5"), EOPNOTSUPP);
	assert_int_equal(xattr_virtual_remove(&f->m, fs_mount_root(f), TTL), EOPNOTSUPP);
}

/* It is stored at once, and lasts; but what is being written is not shown for it. */
static void test_it_is_committed(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	n->attr.ctime_ns = 5;
	assert_int_equal(set(f, n, "600"), 0);
	assert_false(n->attr_dirty);
	assert_true(n->attr.ctime_ns > 5);
	uint64_t expiry = n->attr.expiry_ns;
	fs_mount_reopen(f);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "file", &n), 0);
	assert_true(n->attr.expiry_ns == expiry);
	n->lookups++;

	assert_int_equal(file_write(&f->m, n, "new", 3, 0, false), 0);
	unsigned commits = f->commits;
	assert_int_equal(set(f, n, "700"), 0);
	assert_int_equal(f->commits, commits);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("file"), NULL), 0);

	struct node *fresh = new_file(f, fs_mount_root(f), "fresh");
	assert_int_equal(set(f, fresh, "700"), 0);
	assert_int_equal(fs_mount_stored(f, STORE_USER, bytes_of("fresh"), NULL), -1);
}

static void test_a_refused_commit_leaves_the_time(void **state)
{
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	assert_int_equal(set(f, n, "600"), 0);
	uint64_t expiry = n->attr.expiry_ns;
	f->commit_result = STORE_NO_SPACE;
	assert_int_equal(set(f, n, "1"), ENOSPC);
	assert_true(n->attr.expiry_ns == expiry);
	assert_int_equal(xattr_virtual_remove(&f->m, n, TTL), ENOSPC);
	assert_true(n->attr.expiry_ns == expiry && n->expiry_slot);
	f->commit_result = STORE_OK;
	assert_int_equal(xattr_virtual_remove(&f->m, n, TTL), 0);
}

static void test_without_memory(void **state)
{
	static const char *const names[] = { "key", "ttl", "seq", "size_on_disk", "entries", "bytes" };
	struct fs_mount *f = *state;
	struct node *n = committed_file(f, "file");
	assert_int_equal(set(f, n, "600"), 0);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char name[32] = "user.wombat.";
		strcat(name, names[i]);
		const struct node *of = i < 4 ? n : fs_mount_root(f);
		unsigned failures = 0;
		for (bool failed = true; failed; failures += failed) {
			struct key_buf out = { 0 };
			alloc_fail_arm(failures);
			int error = xattr_virtual_get(&f->m, of, name, &out);
			failed = alloc_fail_disarm();
			assert_int_equal(error, failed ? ENOMEM : 0);
			key_done(&out);
			assert_true(failures < 50);
		}
		assert_true(failures > 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_keys),
		TEST(test_sequence_numbers),
		TEST(test_sizes),
		TEST(test_texts_of_a_time),
		TEST(test_what_is_left_is_rounded_up),
		TEST(test_flags_and_kinds),
		TEST(test_it_is_committed),
		TEST(test_a_refused_commit_leaves_the_time),
		TEST(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
