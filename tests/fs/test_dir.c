/*
 * fs/dir over the wire: listings read in pieces of every size, gone back to, and read while names come and go. No name
 * shows twice, and none that was there throughout is missed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"
#include "tests/support/seed.h"

enum {
	SMALLEST = 320,      /* room for one entry of the longest name, plain */
	SMALLEST_PLUS = 448, /* with its attributes */
	NAMES = 300,
	ROUNDS = 30,
	MANY = 6000,         /* more than positions are kept of, exactly */
};

/* How often a name was seen; names are n000 .. n299. */
struct seen {
	unsigned times[NAMES], dots, others;
};

static const char *name_of(unsigned i)
{
	static char name[16];
	snprintf(name, sizeof(name), "n%03u", i);
	return name;
}

static void see(struct seen *s, const struct wire_dirent *e)
{
	unsigned i;
	if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		s->dots++;
	else if (sscanf(e->name, "n%3u", &i) == 1 && i < NAMES)
		s->times[i]++;
	else
		s->others++;
}

static uint64_t open_dir(struct fuse_wire *w, uint64_t dir)
{
	uint64_t fh;
	assert_int_equal(wire_opendir(w, dir, &fh), 0);
	return fh;
}

/* Reads one piece from *offset on, and moves that along. False: the end. */
static bool read_piece(struct fuse_wire *w, uint64_t dir, uint64_t fh, bool plus, uint32_t size, uint64_t *offset,
		       struct seen *s)
{
	struct wire_dirent e;
	assert_int_equal((plus ? wire_readdirplus : wire_readdir)(w, dir, fh, *offset, size), 0);
	for (size_t at = 0; wire_next_dirent(w, plus, &at, &e);) {
		see(s, &e);
		*offset = e.offset;
	}
	return w->size > 0;
}

/* A directory with every kind of entry that sorts in its own way, and a fresh file. */
static uint64_t make_mixed(struct fuse_wire *w, uint64_t *out_fh)
{
	struct fuse_entry_out d, e;
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &d), 0);
	wire_put(w, d.nodeid, "a.txt", "");
	wire_put(w, d.nodeid, "b", "");
	assert_int_equal(wire_mkdir(w, d.nodeid, "a", 0755, &e), 0);
	wire_put(w, e.nodeid, "in", "");
	assert_int_equal(wire_symlink(w, d.nodeid, "l", "b", NULL), 0);
	assert_int_equal(wire_mknod(w, d.nodeid, "p", S_IFIFO | 0600, 0, NULL), 0);
	assert_int_equal(wire_mkdir(w, d.nodeid, "z", 0755, &e), 0);
	assert_int_equal(wire_create(w, d.nodeid, "m", 0644, O_RDWR, &e, out_fh), 0);
	return d.nodeid;
}

static void release_fresh(struct fuse_wire *w, uint64_t fh)
{
	assert_int_equal(wire_release(w, wire_walk(w, "d/m"), fh, O_RDWR), 0);
}

/* ---- One state ---- */

static void test_entries(void **state)
{
	struct fuse_wire *w = *state;
	static const struct {
		const char *name;
		uint32_t type;
	} expected[] = {
		{ ".", DT_DIR }, { "..", DT_DIR }, { "a.txt", DT_REG }, { "a", DT_DIR }, { "b", DT_REG },
		{ "l", DT_LNK }, { "m", DT_REG }, { "p", DT_FIFO }, { "z", DT_DIR },
	};
	uint64_t m, d = make_mixed(w, &m);
	for (int plus = 0; plus < 2; plus++) {
		uint64_t fh = open_dir(w, d);
		size_t at = 0, count = 0;
		struct wire_dirent e;
		assert_int_equal((plus ? wire_readdirplus : wire_readdir)(w, d, fh, 0, 4096), 0);
		for (; wire_next_dirent(w, plus, &at, &e); count++) {
			struct fuse_entry_out looked_up;
			size_t size = w->size;
			assert_true(count < sizeof(expected) / sizeof(expected[0]));
			assert_string_equal(e.name, expected[count].name);
			assert_int_equal(e.type, expected[count].type);
			if (count < 2)
				continue;
			/* What it says of a name is what a lookup says. */
			uint8_t *reply = test_malloc(size);
			memcpy(reply, w->reply, size);
			assert_int_equal(wire_lookup(w, d, e.name, &looked_up), 0);
			assert_int_equal(e.ino, looked_up.attr.ino);
			if (plus)
				assert_memory_equal(&e.entry, &looked_up, sizeof(looked_up));
			w->size = size;
			memcpy(w->reply, reply, size);
			test_free(reply);
		}
		assert_int_equal(count, sizeof(expected) / sizeof(expected[0]));
		assert_int_equal(wire_readdir(w, d, fh, e.offset, 4096), 0);
		assert_int_equal(w->size, 0);
		assert_int_equal(wire_releasedir(w, d, fh), 0);
	}
	release_fresh(w, m);
}

static void test_all_sizes(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t m, d = make_mixed(w, &m);
	for (uint32_t size = SMALLEST_PLUS; size < 1400; size += 8) {
		char *plain = wire_list(w, d, size - (SMALLEST_PLUS - SMALLEST), false);
		char *plus = wire_list(w, d, size, true);
		assert_string_equal(plain, "a.txt a b l m p z ");
		assert_string_equal(plus, plain);
		test_free(plain);
		test_free(plus);
	}
	release_fresh(w, m);
}

/* No room for one entry is no error: the reply is empty, as if it were the end. */
static void test_no_room(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t m, d = make_mixed(w, &m), fh = open_dir(w, d);
	assert_int_equal(wire_readdir(w, d, fh, 0, 8), 0);
	assert_int_equal(w->size, 0);
	uint64_t nodes = atomic_load(&w->m.counts.nodes);
	assert_int_equal(wire_readdirplus(w, d, fh, 2, 100), 0);
	assert_int_equal(w->size, 0);
	assert_int_equal(atomic_load(&w->m.counts.nodes), nodes);
	assert_int_equal(wire_releasedir(w, d, fh), 0);
	release_fresh(w, m);
}

/* The kernel may come back to any offset that it was given, from anywhere. */
static void test_offsets(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t m, d = make_mixed(w, &m), fh = open_dir(w, d);
	struct wire_dirent all[16], e;
	size_t count = 0;
	assert_int_equal(wire_readdir(w, d, fh, 0, 4096), 0);
	for (size_t at = 0; wire_next_dirent(w, false, &at, &all[count]); count++)
		;
	assert_int_equal(count, 9);
	for (size_t from = 0; from < count; from++)
		for (size_t to = 0; to < count; to++) {
			size_t at = 0;
			assert_int_equal(wire_readdir(w, d, fh, all[from].offset, SMALLEST), 0);
			assert_int_equal(wire_readdir(w, d, fh, all[to].offset, SMALLEST), 0);
			if (to + 1 == count) {
				assert_int_equal(w->size, 0);
				continue;
			}
			assert_true(wire_next_dirent(w, false, &at, &e));
			assert_string_equal(e.name, all[to + 1].name);
			assert_int_equal(e.offset, all[to + 1].offset);
		}
	/* Beyond the end there is nothing. */
	assert_int_equal(wire_readdir(w, d, fh, 1 << 20, 4096), 0);
	assert_int_equal(w->size, 0);
	assert_int_equal(wire_releasedir(w, d, fh), 0);
	release_fresh(w, m);
}

/* Keys 0000, 0001, ... below the directory. */
static void put_keys(struct fuse_wire *w, const char *dir, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char key[320];
		snprintf(key, sizeof(key), "%s%04u", dir, i);
		wire_put_key(w, key, "");
	}
}

/* Positions older than those kept exactly are found again from the nearest one kept. */
static void test_far_back(void **state)
{
	struct fuse_wire *w = *state;
	put_keys(w, "d/", MANY);
	uint64_t d = wire_walk(w, "d"), fh = open_dir(w, d);
	uint64_t *offsets = test_calloc(MANY + 2, sizeof(*offsets)), offset = 0;
	struct wire_dirent e;
	unsigned count = 0;
	do {
		assert_int_equal(wire_readdir(w, d, fh, offset, WIRE_PAYLOAD_MAX), 0);
		for (size_t at = 0; wire_next_dirent(w, false, &at, &e); offset = e.offset) {
			assert_true(count < MANY + 2);
			offsets[count++] = e.offset;
		}
	} while (w->size > 0);
	assert_int_equal(count, MANY + 2);
	static const unsigned places[] = { 5990, 3, 4100, 4095, 4096, 4097, 1, 5000, 2500, 5999, 2 };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char expected[16];
		size_t at = 0;
		snprintf(expected, sizeof(expected), "%04u", places[i]);
		assert_int_equal(wire_readdir(w, d, fh, offsets[places[i] + 1], SMALLEST), 0);
		assert_true(wire_next_dirent(w, false, &at, &e));
		assert_string_equal(e.name, expected);
	}
	assert_int_equal(wire_releasedir(w, d, fh), 0);
	test_free(offsets);
}

/* The order of the keys, with '/' behind a directory's name, puts names between a file and the directory of that name;
 * such a name is one directory. */
static void test_names_around_a_slash(void **state)
{
	struct fuse_wire *w = *state;
	wire_put_key(w, "k", "");
	wire_put_key(w, "k!", "");
	wire_put_key(w, "k-x", "");
	wire_put_key(w, "k.y/z", "");
	wire_put_key(w, "k/in", "");
	wire_put_key(w, "k0", "");
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "j", 0755, NULL), 0);
	wire_put_key(w, "j", "");
	wire_put_key(w, "j!", "");
	wire_reopen(w);
	char *names = wire_list(w, WIRE_ROOT, SMALLEST, false), *plus = wire_list(w, WIRE_ROOT, SMALLEST_PLUS, true);
	assert_string_equal(names, "j! j k! k-x k.y k k0 ");
	assert_string_equal(plus, names);
	test_free(names);
	test_free(plus);
	names = wire_list(w, wire_walk(w, "k"), SMALLEST, true);
	assert_string_equal(names, "%value in ");
	test_free(names);
	names = wire_list(w, wire_walk(w, "j"), SMALLEST, false);
	assert_string_equal(names, "%value ");
	test_free(names);
}

/* Keys that share a chunk show as one entry, whatever the size of the pieces. */
static void test_chunks_show_once(void **state)
{
	struct fuse_wire *w = *state;
	char prefix[301];
	memset(prefix, 'k', 300);
	prefix[300] = '\0';
	put_keys(w, prefix, 20);
	wire_put_key(w, "last", "");
	char *names = wire_list(w, WIRE_ROOT, SMALLEST, false);
	assert_int_equal(strlen(names), 255 + 1 + strlen("last "));
	char *plus = wire_list(w, WIRE_ROOT, 600, true);
	assert_string_equal(names, plus);
	test_free(plus);
	*strchr(names, ' ') = '\0';
	plus = wire_list(w, wire_walk(w, names), 4096, true);
	unsigned count = 0;
	for (const char *p = plus; (p = strchr(p, ' ')) != NULL; p++)
		count++;
	assert_int_equal(count, 20);
	test_free(names);
	test_free(plus);
}

/* ---- Lookups ---- */

static void test_plus_counts_lookups(void **state)
{
	struct fuse_wire *w = *state;
	put_keys(w, "d/", 5);
	uint64_t d = wire_walk(w, "d"), before = atomic_load(&w->m.counts.nodes);
	char *names = wire_list(w, d, SMALLEST_PLUS, true);
	test_free(names);
	assert_int_equal(atomic_load(&w->m.counts.nodes), before + 5);
	names = wire_list(w, d, 4096, true);
	test_free(names);
	uint64_t f = wire_walk(w, "d/0003");
	assert_int_equal(wire_lookups(w, f), 3);
	wire_forget(w, f, 2);
	assert_int_equal(atomic_load(&w->m.counts.nodes), before + 5);
	wire_forget(w, f, 1);
	assert_int_equal(atomic_load(&w->m.counts.nodes), before + 4);
	/* Plain listings make nothing known. */
	names = wire_list(w, d, 4096, false);
	test_free(names);
	assert_int_equal(atomic_load(&w->m.counts.nodes), before + 4);
}

/* What went away between the listing and its attributes is left out; what came back is the new one. */
static void test_plus_is_of_now(void **state)
{
	struct fuse_wire *w = *state;
	put_keys(w, "d/", 6);
	uint64_t d = wire_walk(w, "d"), fh = open_dir(w, d);
	struct wire_dirent e;
	size_t at = 0;
	assert_int_equal(wire_readdirplus(w, d, fh, 0, SMALLEST_PLUS), 0);
	while (wire_next_dirent(w, true, &at, &e))
		;
	assert_string_equal(e.name, "..");
	assert_int_equal(wire_unlink(w, d, "0001"), 0);
	assert_int_equal(wire_unlink(w, d, "0002"), 0);
	wire_put(w, d, "0002", "longer");
	assert_int_equal(wire_readdirplus(w, d, fh, e.offset, 4096), 0);
	at = 0;
	assert_true(wire_next_dirent(w, true, &at, &e));
	assert_string_equal(e.name, "0000");
	assert_true(wire_next_dirent(w, true, &at, &e));
	assert_string_equal(e.name, "0002");
	assert_int_equal(e.entry.attr.size, 6);
	assert_int_equal(wire_releasedir(w, d, fh), 0);
}

/* ---- While it changes ---- */

struct names {
	bool there[NAMES], throughout[NAMES];
	uint64_t fh[NAMES], node[NAMES]; /* of fresh files; node 0: not fresh */
};

static void close_fresh(struct fuse_wire *w, struct names *n, unsigned i)
{
	if (!n->node[i])
		return;
	assert_int_equal(wire_flush(w, n->node[i], n->fh[i]), 0);
	assert_int_equal(wire_release(w, n->node[i], n->fh[i], O_RDWR), 0);
	n->node[i] = 0;
}

static void make_name(struct fuse_wire *w, struct names *n, uint64_t d, unsigned i, uint64_t how)
{
	struct fuse_entry_out e;
	int error;
	close_fresh(w, n, i);
	if (how % 4 == 0)
		error = wire_mkdir(w, d, name_of(i), 0755, &e);
	else if (how % 4 == 1)
		error = wire_create(w, d, name_of(i), 0644, O_RDWR, &e, &n->fh[i]);
	else
		error = wire_mknod(w, d, name_of(i), S_IFREG | 0644, 0, &e);
	assert_int_equal(error, 0);
	if (how % 4 == 1)
		n->node[i] = e.nodeid;
	n->there[i] = true;
}

static void remove_name(struct fuse_wire *w, struct names *n, uint64_t d, unsigned i)
{
	int error = wire_unlink(w, d, name_of(i));
	assert_int_equal(error == EISDIR ? wire_rmdir(w, d, name_of(i)) : error, 0);
	n->there[i] = n->throughout[i] = false;
}

/* Makes, removes or commits a random name. */
static void change_one(struct fuse_wire *w, struct names *n, uint64_t d, struct random_state *r)
{
	unsigned i = (unsigned)random_below(r, NAMES);
	if (n->node[i] && random_below(r, 2) == 0)
		close_fresh(w, n, i);
	else if (n->there[i])
		remove_name(w, n, d, i);
	else
		make_name(w, n, d, i, random_below(r, 4));
}

static void check_round(struct fuse_wire *w, struct names *n, uint64_t d, struct random_state *r)
{
	bool plus = random_below(r, 2) == 0, before[NAMES];
	uint64_t fh = open_dir(w, d), offset = 0;
	uint32_t size = (plus ? SMALLEST_PLUS : SMALLEST) + (uint32_t)random_below(r, 3000);
	struct seen s = { .dots = 0 };
	bool ever[NAMES];
	memcpy(n->throughout, n->there, sizeof(n->there));
	memcpy(before, n->there, sizeof(before));
	memcpy(ever, n->there, sizeof(ever));
	while (read_piece(w, d, fh, plus, size, &offset, &s)) {
		for (uint64_t k = random_below(r, 4); k > 0; k--)
			change_one(w, n, d, r);
		for (unsigned i = 0; i < NAMES; i++)
			ever[i] |= n->there[i];
	}
	assert_int_equal(s.dots, 2);
	assert_int_equal(s.others, 0);
	for (unsigned i = 0; i < NAMES; i++) {
		if (s.times[i] > 1 || (n->throughout[i] && s.times[i] != 1) || (!ever[i] && s.times[i] != 0))
			fail_msg("%s shows %u times (there before: %d, throughout: %d, plus: %d, size: %u)", name_of(i),
				 s.times[i], before[i], n->throughout[i], plus, size);
	}
	/* Rewound, it is as it is now. */
	memset(&s, 0, sizeof(s));
	offset = 0;
	while (read_piece(w, d, fh, plus, WIRE_PAYLOAD_MAX, &offset, &s))
		;
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(s.times[i], n->there[i]);
	assert_int_equal(wire_releasedir(w, d, fh), 0);
}

static void test_changes_between_reads(void **state)
{
	struct fuse_wire *w = *state;
	struct names n = { .there = { false } };
	struct random_state r;
	struct fuse_entry_out d;
	random_seed(&r, test_seed("test_dir"));
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &d), 0);
	for (unsigned i = 0; i < NAMES; i += 2)
		make_name(w, &n, d.nodeid, i, random_below(&r, 4));
	for (unsigned round = test_steps(ROUNDS); round > 0; round--)
		check_round(w, &n, d.nodeid, &r);
	for (unsigned i = 0; i < NAMES; i++)
		close_fresh(w, &n, i);
}

/* An open listing outlives its directory. */
static void test_removed_directory(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out d;
	struct seen s = { .dots = 0 };
	uint64_t offset = 0;
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, &d), 0);
	wire_put(w, d.nodeid, "n000", "");
	uint64_t fh = open_dir(w, d.nodeid);
	while (read_piece(w, d.nodeid, fh, true, 4096, &offset, &s))
		;
	assert_int_equal(s.times[0], 1);
	assert_int_equal(wire_unlink(w, d.nodeid, "n000"), 0);
	assert_int_equal(wire_rmdir(w, WIRE_ROOT, "d"), 0);
	/* The name's next directory is not this one. */
	assert_int_equal(wire_mkdir(w, WIRE_ROOT, "d", 0755, NULL), 0);
	wire_put(w, wire_walk(w, "d"), "n001", "");
	/* From the beginning, and from where it was. */
	memset(&s, 0, sizeof(s));
	uint64_t again = 0;
	while (read_piece(w, d.nodeid, fh, true, 4096, &again, &s) ||
	       read_piece(w, d.nodeid, fh, true, 4096, &offset, &s))
		;
	assert_int_equal(s.dots, 2);
	assert_int_equal(s.times[0] + s.times[1] + s.others, 0);
	assert_int_equal(wire_releasedir(w, d.nodeid, fh), 0);
}

/* ---- Whose nodes are told ------------------------------------------------------------------ */

struct told {
	unsigned entries, nodes;
};

/* Lists with attributes; of each reply the kernel asks for `asks` names that came without. */
static struct told list_plus(struct fuse_wire *w, uint64_t dir, unsigned asks)
{
	struct told t = { 0 };
	uint64_t fh = open_dir(w, dir), offset = 0;
	for (;;) {
		char without[8][16];
		unsigned wanted = 0, nodes = 0;
		struct wire_dirent e;
		struct fuse_entry_out out;
		assert_int_equal(wire_readdirplus(w, dir, fh, offset, 32768), 0);
		if (w->size == 0)
			break;
		for (size_t at = 0; wire_next_dirent(w, true, &at, &e); offset = e.offset) {
			t.entries++;
			nodes += e.entry.nodeid != 0;
			if (e.entry.nodeid == 0 && e.name[0] != '.' && wanted < asks)
				memcpy(without[wanted++], e.name, sizeof without[0]);
		}
		t.nodes += nodes;
		for (unsigned i = 0; i < wanted; i++)
			assert_int_equal(wire_lookup(w, dir, without[i], &out), 0);
	}
	assert_int_equal(wire_releasedir(w, dir, fh), 0);
	return t;
}

static void test_nodes_of_many(void **state)
{
	enum { LARGE = 24000, ALWAYS = 16384 };
	struct fuse_wire *w = *state;
	char key[32];
	for (unsigned i = 0; i < LARGE; i++) {
		snprintf(key, sizeof key, "large/n%05u", i);
		wire_put_key(w, key, "");
	}
	uint64_t d = wire_walk(w, "large");
	/* Who wants names only: the rest comes without. */
	struct told t = list_plus(w, d, 0);
	assert_int_equal(t.entries, LARGE + 2);
	assert_true(t.nodes >= ALWAYS - 400 && t.nodes <= ALWAYS + 400);
	/* Who asks for each: all but one in a reply come with them. */
	t = list_plus(w, d, 1);
	assert_int_equal(t.entries, LARGE + 2);
	assert_true(t.nodes >= LARGE - LARGE / 100);
	/* The numbers without a node are those with one. */
	struct fuse_entry_out out;
	uint64_t fh = open_dir(w, d);
	struct wire_dirent e;
	size_t at = 0;
	assert_int_equal(wire_readdir(w, d, fh, 0, SMALLEST), 0);
	while (wire_next_dirent(w, false, &at, &e)) {}
	assert_int_equal(wire_lookup(w, d, e.name, &out), 0);
	assert_int_equal(out.attr.ino, e.ino);
	assert_int_equal(wire_releasedir(w, d, fh), 0);
}

/* Numbers of names with escapes, of moved files, and of a new file that is to replace another. */
static void test_numbers(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out out;
	wire_put_key(w, "k//x", "a");
	wire_put_key(w, "k/plain", "b");
	uint64_t d = wire_walk(w, "k");
	wire_put(w, d, "old", "c");
	assert_int_equal(wire_rename(w, d, "old", d, "moved", 0), 0);
	uint64_t fh = open_dir(w, d);
	struct wire_dirent e;
	size_t at = 0, seen = 0;
	assert_int_equal(wire_readdir(w, d, fh, 0, 4096), 0);
	struct wire_dirent all[8];
	while (wire_next_dirent(w, false, &at, &e))
		if (strcmp(e.name, ".") != 0 && strcmp(e.name, "..") != 0)
			all[seen++] = e;
	assert_int_equal(seen, 3);
	for (size_t i = 0; i < seen; i++) {
		assert_int_equal(wire_lookup(w, d, all[i].name, &out), 0);
		assert_int_equal(out.attr.ino, all[i].ino);
	}
	assert_int_equal(wire_releasedir(w, d, fh), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nodes_of_many),
		TEST(test_numbers),
		TEST(test_entries),
		TEST(test_all_sizes),
		TEST(test_no_room),
		TEST(test_offsets),
		TEST(test_far_back),
		TEST(test_names_around_a_slash),
		TEST(test_chunks_show_once),
		TEST(test_plus_counts_lookups),
		TEST(test_plus_is_of_now),
		TEST(test_changes_between_reads),
		TEST(test_removed_directory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
