/*
 * raw/ of the control directory over the wire: a name there and a path are one node, whichever is used first and however
 * long the key; names that are no key's, the refusals, and the listing of random keys, each once and in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/random.h"
#include "fs/node.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"
#include "tests/support/seed.h"

static uint64_t raw_dir(struct fuse_wire *w)
{
	w->who = (struct wire_who){ .uid = w->m.options.uid, .gid = w->m.options.gid, .pid = 1 };
	return wire_walk(w, ".wombat/raw");
}

/* The path below raw/ of a key. */
static void path_of(const uint8_t *key, size_t size, char *out)
{
	if (!size)
		strcpy(out, "%empty");
	while (size) {
		size_t part = size > 127 ? 126 : size;
		for (size_t i = 0; i < part; i++)
			out += sprintf(out, "%02x", key[i]);
		key += part;
		size -= part;
		if (size)
			out += sprintf(out, "%%+/");
	}
}

static void test_one_node(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e, upper;
	uint64_t raw = raw_dir(w), f = wire_put(w, WIRE_ROOT, "fo", "text");
	assert_int_equal(wire_lookup(w, raw, "666f", &e), 0);
	assert_int_equal(e.nodeid, f);
	assert_int_equal(e.entry_valid, 0); /* its other name may go */
	assert_int_equal(wire_lookup(w, raw, "666F", &upper), 0);
	assert_int_equal(upper.nodeid, f);
	wire_check_text(w, e.nodeid, "text");
	assert_int_equal(wire_unlink(w, raw, "666f"), 0);
	assert_int_equal(wire_lookup(w, raw, "666f", NULL), ENOENT);
	assert_int_equal(wire_lookup(w, WIRE_ROOT, "fo", NULL), ENOENT);
	assert_int_equal(wire_unlink(w, raw, "666f"), ENOENT);
}

static void test_names_that_are_none(void **state)
{
	struct fuse_wire *w = *state;
	static const char *const names[] = { "6", "6g", "0x66", "%+", "66%+", "%value", "666", "-1" };
	char name[300];
	uint64_t raw = raw_dir(w), fh;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		assert_int_equal(wire_lookup(w, raw, names[i], NULL), ENOENT);
		assert_int_equal(wire_create(w, raw, names[i], 0644, O_WRONLY, NULL, &fh), EINVAL);
		assert_int_equal(wire_unlink(w, raw, names[i]), ENOENT);
	}
	/* A key has one place: what fits without a directory is not in one. */
	struct fuse_entry_out chunk;
	memset(name, 'a', 252);
	strcpy(name + 252, "%+");
	assert_int_equal(wire_lookup(w, raw, name, &chunk), 0);
	assert_true(S_ISDIR(chunk.attr.mode));
	assert_int_equal(wire_create(w, chunk.nodeid, "aa", 0644, O_WRONLY, NULL, &fh), EINVAL);
	assert_int_equal(wire_create(w, chunk.nodeid, "%empty", 0644, O_WRONLY, NULL, &fh), EINVAL);
	assert_int_equal(wire_unlink(w, raw, name), EISDIR);
	assert_int_equal(wire_mkdir(w, raw, "66", 0755, NULL), EPERM);
	assert_int_equal(wire_rmdir(w, raw, name), EPERM);
	/* Nothing that was refused left a directory behind. */
	char *root = wire_list(w, WIRE_ROOT, 4096, false);
	assert_string_equal(root, "");
	test_free(root);
}

static void test_only_the_owner(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t raw = raw_dir(w), fh;
	struct fuse_attr a;
	wire_put(w, WIRE_ROOT, "f", "text");
	assert_int_equal(wire_getattr(w, raw, &a), 0);
	assert_int_equal(a.mode, S_IFDIR | 0700);
	w->who = (struct wire_who){ .uid = 4000, .gid = 4000, .pid = 3 };
	assert_int_equal(wire_create(w, raw, "6666", 0644, O_WRONLY, NULL, &fh), EACCES);
	assert_int_equal(wire_unlink(w, raw, "66"), EACCES);
}

static void test_below_a_file(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t raw = raw_dir(w), fh;
	wire_put(w, WIRE_ROOT, "a", "text");
	assert_int_equal(wire_create(w, raw, "612f62", 0644, O_WRONLY, NULL, &fh), ENOTDIR);
	assert_int_equal(wire_lookup(w, raw, "612f62", NULL), ENOENT);
	wire_check_text(w, wire_walk(w, ".wombat/raw/61"), "text");
}

/* ---- Listing ---- */

enum { KEYS = 150, KEY_MOST = 400 };

struct key {
	size_t size;
	uint8_t bytes[KEY_MOST];
};

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	int c = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);
	return c ? c : (x->size > y->size) - (x->size < y->size);
}

/* Few letters and lengths about the bounds, so that keys share their chunks. */
static void random_key(struct random_state *r, struct key *out)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 127, 128, 129, 252, 253, 254, 380 };
	out->size = sizes[random_below(r, sizeof sizes / sizeof sizes[0])] + random_below(r, 2);
	memset(out->bytes, random_below(r, 2) ? 0xff : 'x', out->size);
	for (size_t i = out->size > 3 ? out->size - 3 : 0; i < out->size; i++)
		out->bytes[i] = (uint8_t)('x' + random_below(r, 3));
}

/* Checks that the directory and those in it list keys that there are, each once; returns how many. */
static size_t walk_keys(struct fuse_wire *w, const char *path, const struct key *keys, size_t count, bool *seen)
{
	size_t found = 0;
	char *names = wire_list(w, wire_walk(w, path), 512, found % 2), *rest = NULL;
	for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
		char below[1200], wanted[1200] = ".wombat/raw/";
		snprintf(below, sizeof below, "%s/%s", path, name);
		if (strlen(name) > 250 && strcmp(name + strlen(name) - 2, "%+") == 0) {
			found += walk_keys(w, below, keys, count, seen);
			continue;
		}
		size_t i = 0;
		for (; i < count; i++) {
			path_of(keys[i].bytes, keys[i].size, wanted + strlen(".wombat/raw/"));
			if (strcmp(wanted, below) == 0)
				break;
		}
		if (i == count || seen[i])
			fail_msg("%s is listed %s", below, i == count ? "without being there" : "twice");
		seen[i] = true;
		found++;
		wire_check_text(w, wire_walk(w, below), "v");
	}
	test_free(names);
	return found;
}

static void test_random_keys(void **state)
{
	struct fuse_wire *w = *state;
	static struct key keys[KEYS];
	bool seen[KEYS] = { false };
	struct random_state r;
	size_t count = 0;
	random_seed(&r, test_seed("test_control_raw"));
	while (count < KEYS) {
		random_key(&r, &keys[count]);
		bool twice = false;
		for (size_t i = 0; i < count; i++)
			twice |= compare_keys(&keys[i], &keys[count]) == 0;
		if (twice && random_below(&r, 20) == 0)
			break;
		count += !twice;
	}
	for (size_t i = 0; i < count; i++)
		assert_ok(wombat_put(w->m.db, WOMBAT_USER, WOMBAT_SLICE(keys[i].bytes, keys[i].size), WOMBAT_STR("v")));
	raw_dir(w);
	assert_int_equal(walk_keys(w, ".wombat/raw", keys, count, seen), count);
	for (size_t i = 0; i < count; i++)
		assert_true(seen[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_node), TEST(test_names_that_are_none), TEST(test_only_the_owner), TEST(test_below_a_file),
		TEST(test_random_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
