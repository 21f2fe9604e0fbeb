/*
 * fs/accesslog: requests made by hand lead to their lines, with paths, names, ranges and errors; nothing is noted without a reader, nor of
 * the control directory, nor of what is cut off.
 */
#include "fs/accesslog.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/feed.h"
#include "fs/namei.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"

static const struct control_stream *stream(struct fs_mount *f)
{
	return control_find(control_root(&f->m), "accesslog")->stream;
}

struct request {
	struct fuse_in_header in;
	uint8_t body[256];
};

static size_t request(struct request *r, uint32_t opcode, uint64_t node, const void *fixed, size_t fixed_size, const char *name)
{
	size_t name_size = name ? strlen(name) + 1 : 0;
	*r = (struct request){ .in = { .opcode = opcode, .nodeid = node, .pid = 71, .uid = 1000 } };
	if (fixed_size)
		memcpy(r->body, fixed, fixed_size);
	if (name)
		memcpy(r->body + fixed_size, name, name_size);
	r->in.len = (uint32_t)(sizeof r->in + fixed_size + name_size);
	return r->in.len;
}

static bool log_request(struct fs_mount *f, const struct request *r, size_t size, int error)
{
	struct access a;
	if (!accesslog_begin(&f->m, r, size, &a))
		return false;
	accesslog_end(&f->m, &a, error, 4200);
	return true;
}

/* The next line, as an object to be deleted. */
static cJSON *next(struct fs_mount *f, struct feed_reader *r)
{
	struct control_text text = { 0 };
	assert_int_equal(stream(f)->read(&f->m, r, &text), 0);
	assert_true(text.size > 0);
	assert_true(control_text_add(&text, "", 1));
	cJSON *object = cJSON_Parse(text.data);
	if (!object)
		fail_msg("no JSON: %s", text.data);
	control_text_done(&text);
	return object;
}

static const char *text_of(const cJSON *o, const char *name)
{
	const cJSON *i = cJSON_GetObjectItemCaseSensitive(o, name);
	return i && cJSON_IsString(i) ? i->valuestring : "";
}

static double number_of(const cJSON *o, const char *name)
{
	const cJSON *i = cJSON_GetObjectItemCaseSensitive(o, name);
	return i && cJSON_IsNumber(i) ? i->valuedouble : -1;
}

static void expect(struct fs_mount *f, struct feed_reader *r, const char *op, const char *path, const char *error)
{
	cJSON *o = next(f, r);
	assert_string_equal(text_of(o, "op"), op);
	assert_string_equal(text_of(o, "path"), path);
	assert_string_equal(text_of(o, "error"), error);
	assert_true(number_of(o, "time") > 1.7e9 && number_of(o, "pid") == 71 && number_of(o, "uid") == 1000 && number_of(o, "ns") == 4200);
	cJSON_Delete(o);
}

static void test_lines(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader r;
	struct request q;
	struct node *root = fs_mount_root(f), *dir, *file;
	const struct caller who = { .uid = 1 };
	assert_int_equal(namei_make(&f->m, root, "dir", S_IFDIR | 0755, 0, NULL, who, &dir), 0);
	dir->lookups++;
	assert_int_equal(namei_make(&f->m, dir, "file", S_IFREG | 0644, 0, NULL, who, &file), 0);
	file->lookups++;
	uint64_t id = node_id(&f->m, file), dir_id = node_id(&f->m, dir);

	assert_false(accesslog_is_read(&f->m));
	assert_int_equal(stream(f)->size(&f->m), 0);
	assert_int_equal(stream(f)->open(&f->m, &r), 0);
	assert_true(accesslog_is_read(&f->m));
	assert_true(log_request(f, &q, request(&q, FUSE_LOOKUP, 1, NULL, 0, "none"), ENOENT));
	expect(f, &r, "lookup", "none", "ENOENT");
	assert_true(log_request(f, &q, request(&q, FUSE_GETATTR, 1, NULL, 0, NULL), 0));
	expect(f, &r, "getattr", "", "");
	struct fuse_create_in create = { .mode = 0644 };
	assert_true(log_request(f, &q, request(&q, FUSE_CREATE, dir_id, &create, sizeof create, "new \"one\""), 0));
	expect(f, &r, "create", "dir/new \"one\"", "");
	struct fuse_rename2_in rename = { .newdir = 1 };
	size_t size = request(&q, FUSE_RENAME2, dir_id, &rename, sizeof rename, "file");
	assert_false(log_request(f, &q, size, 0)); /* there is no second name */
	strcpy((char *)&q + size, "to");
	assert_false(log_request(f, &q, size + 2, 0));
	assert_true(log_request(f, &q, size + 3, EEXIST));
	cJSON *moved = next(f, &r);
	assert_string_equal(text_of(moved, "path"), "dir/file");
	assert_string_equal(text_of(moved, "to"), "to");
	assert_string_equal(text_of(moved, "error"), "EEXIST");
	cJSON_Delete(moved);
	struct fuse_read_in range = { .offset = 4096, .size = 100 };
	for (int write = 0; write < 2; write++) {
		assert_true(log_request(f, &q, request(&q, write ? FUSE_WRITE : FUSE_READ, id, &range, sizeof range, NULL), 0));
		cJSON *o = next(f, &r);
		assert_string_equal(text_of(o, "path"), "dir/file");
		assert_string_equal(text_of(o, "op"), write ? "write" : "read");
		assert_true(number_of(o, "offset") == 4096 && number_of(o, "size") == 100);
		cJSON_Delete(o);
	}
	/* Without a name any more. */
	file->opens++;
	assert_int_equal(namei_unlink(&f->m, dir, "file"), 0);
	assert_true(log_request(f, &q, request(&q, FUSE_READ, id, &range, sizeof range, NULL), 0));
	cJSON *o = next(f, &r);
	assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "unlinked")));
	cJSON_Delete(o);
	file->opens--;
	stream(f)->close(&f->m);
	assert_false(accesslog_is_read(&f->m));
}

static void test_what_is_not_told(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader r;
	struct request q;
	assert_int_equal(stream(f)->open(&f->m, &r), 0);
	assert_false(log_request(f, &q, request(&q, FUSE_LOOKUP, 1, NULL, 0, ".wombat"), 0));
	assert_false(log_request(f, &q, request(&q, FUSE_INIT, 0, NULL, 0, NULL), 0));
	assert_false(log_request(f, &q, request(&q, FUSE_FORGET, 1, NULL, 0, NULL), 0));
	assert_false(log_request(f, &q, request(&q, 4000, 1, NULL, 0, NULL), 0));
	/* Cut off in the name, and in what is before it. */
	size_t size = request(&q, FUSE_LOOKUP, 1, NULL, 0, "name");
	assert_false(log_request(f, &q, size - 1, 0));
	struct fuse_read_in range = { .offset = 1 };
	size = request(&q, FUSE_READ, 1, &range, sizeof range, NULL);
	assert_false(log_request(f, &q, size - 1, 0));
	struct control_text text = { 0 };
	assert_int_equal(stream(f)->read(&f->m, &r, &text), 0);
	assert_int_equal(text.size, 0);
	control_text_done(&text);
	stream(f)->close(&f->m);
}

/* Each reader begins where it came; a slow one is told how much it missed. */
static void test_readers(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader slow, late;
	struct request q;
	size_t size = request(&q, FUSE_LOOKUP, 1, NULL, 0, "a");
	assert_int_equal(stream(f)->open(&f->m, &slow), 0);
	for (int i = 0; i < 20000; i++)
		assert_true(log_request(f, &q, size, 0));
	assert_int_equal(stream(f)->open(&f->m, &late), 0);
	assert_true(log_request(f, &q, request(&q, FUSE_LOOKUP, 1, NULL, 0, "last"), 0));
	expect(f, &late, "lookup", "last", "");
	cJSON *o = next(f, &slow);
	assert_true(number_of(o, "lost") > 100 && number_of(o, "lost") < 20000);
	cJSON_Delete(o);
	stream(f)->close(&f->m);
	assert_true(accesslog_is_read(&f->m));
	stream(f)->close(&f->m);
}

static void test_without_memory(void **state)
{
	struct fs_mount *f = *state;
	struct feed_reader r;
	struct request q;
	size_t size = request(&q, FUSE_LOOKUP, 1, NULL, 0, "a");
	alloc_fail_arm(0);
	assert_int_equal(stream(f)->open(&f->m, &r), ENOMEM);
	assert_true(alloc_fail_disarm() && !accesslog_is_read(&f->m));
	assert_int_equal(stream(f)->open(&f->m, &r), 0);
	unsigned failed = 0;
	for (bool ok = false; !ok; failed++) {
		alloc_fail_arm(failed);
		log_request(f, &q, size, ENOENT);
		ok = !alloc_fail_disarm();
	}
	assert_true(failed > 1);
	cJSON *o = next(f, &r);
	cJSON_Delete(o);
	stream(f)->close(&f->m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines),
		TEST(test_what_is_not_told),
		TEST(test_readers),
		TEST(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
