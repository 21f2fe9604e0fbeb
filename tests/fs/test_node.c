/*
 * fs/node: random nodes against a table that counts what keeps each of them; keys and contexts of every kind of name;
 * inode numbers, which no two live files share and a file keeps for life, over renames and new mounts.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/random.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/fs_mount.h"
#include "tests/support/seed.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

static const struct caller who = { .uid = 1, .gid = 2 };

static struct node *new_node(struct fs_mount *f, struct node *parent, const char *name, bool directory)
{
	size_t len = strlen(name);
	struct node *n = node_new(&f->m, parent, name, len, KEYPATH_NAME, (const uint8_t *)name, len, directory);
	if (n)
		attr_default(&f->m.options, directory, 1, &n->attr);
	return n;
}

/* ---- A table of what should be live ---------------------------------------------------------- */

enum { SLOTS = 64, NAMES = 10 };

struct entry {
	struct node *node;    /* NULL: the slot is free */
	int parent;           /* slot; -1 the root */
	char name[4];
	bool directory, unlinked, dirty, fresh;
	unsigned lookups, opens;
	uint64_t ino;
};

struct table {
	struct fs_mount *f;
	struct random_state random;
	struct entry entries[SLOTS];
};

static struct node *node_at(struct table *t, int slot)
{
	return slot < 0 ? fs_mount_root(t->f) : t->entries[slot].node;
}

static bool is_kept(const struct table *t, int slot)
{
	const struct entry *e = &t->entries[slot];
	for (int i = 0; i < SLOTS; i++)
		if (t->entries[i].node && !t->entries[i].unlinked && t->entries[i].parent == slot)
			return true;
	return e->lookups || e->opens || e->dirty;
}

static void let_go(struct table *t, int slot)
{
	while (slot >= 0 && !is_kept(t, slot)) {
		t->entries[slot].node = NULL;
		slot = t->entries[slot].unlinked ? -1 : t->entries[slot].parent;
	}
}

static int find_entry(const struct table *t, int parent, const char *name)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct entry *e = &t->entries[i];
		if (e->node && !e->unlinked && e->parent == parent && strcmp(e->name, name) == 0)
			return i;
	}
	return -1;
}

/* A live entry for which `fits` holds; -1: none was found by chance. */
static int pick(struct table *t, bool (*fits)(const struct entry *e))
{
	for (int tries = 0; tries < 20; tries++) {
		int i = (int)random_below(&t->random, SLOTS);
		if (t->entries[i].node && fits(&t->entries[i]))
			return i;
	}
	return -1;
}

static bool is_any(const struct entry *e) { return e->node != NULL; }
static bool is_named(const struct entry *e) { return !e->unlinked; }
static bool is_named_dir(const struct entry *e) { return !e->unlinked && e->directory; }

static int pick_dir(struct table *t)
{
	return random_below(&t->random, 4) ? pick(t, is_named_dir) : -1;
}

static void random_name(struct table *t, char out[4])
{
	snprintf(out, 4, "n%u", (unsigned)random_below(&t->random, NAMES));
}

/* A lookup: the live node of that name, or a new one. */
static void look_up(struct table *t)
{
	struct entry e = { .parent = pick_dir(t), .lookups = 1 };
	random_name(t, e.name);
	struct node *n = node_find(&t->f->m, node_at(t, e.parent), e.name, strlen(e.name));
	int slot = find_entry(t, e.parent, e.name);
	assert_ptr_equal(n, slot < 0 ? NULL : t->entries[slot].node);
	if (n) {
		n->lookups++;
		t->entries[slot].lookups++;
		return;
	}
	for (slot = 0; slot < SLOTS && t->entries[slot].node; slot++)
		;
	if (slot == SLOTS)
		return;
	e.directory = random_below(&t->random, 3) == 0;
	e.node = new_node(t->f, node_at(t, e.parent), e.name, e.directory);
	assert_non_null(e.node);
	e.node->lookups = 1;
	e.ino = e.node->ino;
	assert_true(e.ino == node_default_ino(node_at(t, e.parent), (uint8_t *)e.name, strlen(e.name), e.directory));
	if (!e.directory && random_below(&t->random, 2)) {
		e.fresh = e.dirty = true;
		node_mark_fresh(e.node);
		node_mark_data(&t->f->m, e.node);
	}
	t->entries[slot] = e;
}

static void forget(struct table *t)
{
	int slot = pick(t, is_any);
	if (slot < 0 || !t->entries[slot].lookups)
		return;
	struct entry *e = &t->entries[slot];
	unsigned count = 1 + (unsigned)random_below(&t->random, e->lookups);
	e->lookups -= count;
	e->node->lookups -= count;
	node_release(&t->f->m, e->node);
	let_go(t, slot);
}

static void open_or_close(struct table *t)
{
	int slot = pick(t, is_any);
	if (slot < 0)
		return;
	struct entry *e = &t->entries[slot];
	if (!e->opens || random_below(&t->random, 2)) {
		e->opens++;
		e->node->opens++;
		return;
	}
	e->opens--;
	e->node->opens--;
	node_release(&t->f->m, e->node);
	let_go(t, slot);
}

static void unlink_one(struct table *t)
{
	int slot = pick(t, is_named);
	if (slot < 0 || t->entries[slot].node->children)
		return;
	struct entry *e = &t->entries[slot];
	int parent = e->parent;
	node_unlink(&t->f->m, e->node);
	node_release(&t->f->m, e->node);
	e->unlinked = true;
	e->dirty = e->fresh = false;
	let_go(t, slot);
	let_go(t, parent);
}

static void move_one(struct table *t)
{
	int slot = pick(t, is_named), to = pick_dir(t);
	char name[4];
	random_name(t, name);
	if (slot < 0 || find_entry(t, to, name) >= 0)
		return;
	for (int i = to; i >= 0; i = t->entries[i].parent)
		if (i == slot)
			return;
	struct entry *e = &t->entries[slot];
	int from = e->parent;
	assert_int_equal(node_move(&t->f->m, e->node, node_at(t, to), name, strlen(name), KEYPATH_NAME, (uint8_t *)name,
				   strlen(name)), 0);
	strcpy(e->name, name);
	e->parent = to;
	let_go(t, from);
}

static void change_or_commit(struct table *t)
{
	int slot = pick(t, is_any);
	if (slot < 0)
		return;
	struct entry *e = &t->entries[slot];
	if (random_below(&t->random, 2)) {
		if (random_below(&t->random, 2))
			node_mark_attr(&t->f->m, e->node);
		else
			node_mark_data(&t->f->m, e->node);
		e->dirty = !e->unlinked;
		return;
	}
	node_clear_fresh(e->node);
	node_mark_clean(&t->f->m, e->node);
	e->dirty = e->fresh = false;
	node_release(&t->f->m, e->node);
	let_go(t, slot);
}

static void path_of(const struct table *t, int slot, char *out)
{
	*out = '\0';
	if (slot < 0)
		return;
	path_of(t, t->entries[slot].parent, out);
	strcat(strcat(out, t->entries[slot].name), "/");
}

static void assert_entry(struct table *t, int slot)
{
	const struct entry *e = &t->entries[slot];
	char path[SLOTS * 4];
	struct key_buf key = { 0 };
	assert_true(e->node->lookups == e->lookups && e->node->opens == e->opens && e->node->ino == e->ino);
	assert_true((e->node->data_dirty || e->node->attr_dirty) == e->dirty);
	assert_true(e->node->unlinked == e->unlinked && e->node->fresh == e->fresh);
	assert_ptr_equal(node_of(&t->f->m, node_id(&t->f->m, e->node)), e->node);
	if (e->unlinked)
		return;
	assert_ptr_equal(e->node->parent, node_at(t, e->parent));
	assert_ptr_equal(node_find(&t->f->m, e->node->parent, e->name, strlen(e->name)), e->node);
	path_of(t, slot, path);
	assert_int_equal(node_dir_key(e->node, &key), 0);
	assert_int_equal(key.size, strlen(path));
	assert_memory_equal(key.data, path, key.size);
	assert_int_equal(node_file_key(e->node, &key), 0);
	assert_int_equal(key.size, strlen(path) - 1);
	assert_memory_equal(key.data, path, key.size);
	key_done(&key);
}

static unsigned fresh_children(const struct node *dir)
{
	unsigned count = 0;
	for (const struct node *n = dir->fresh_list; n; n = n->fresh_next, count++)
		assert_true(n->fresh && n->parent == dir && (!n->fresh_next || n->fresh_next->fresh_prev == n));
	return count;
}

static void assert_table(struct table *t)
{
	unsigned live = 0, named = 0, dirty = 0, fresh = 0, listed = 0;
	unsigned fresh_listed = fresh_children(fs_mount_root(t->f));
	for (int i = 0; i < SLOTS; i++) {
		const struct entry *e = &t->entries[i];
		if (!e->node)
			continue;
		assert_entry(t, i);
		live++;
		named += !e->unlinked;
		dirty += e->dirty;
		fresh += e->fresh;
		fresh_listed += fresh_children(e->node);
	}
	const struct node *head = &t->f->m.nodes->dirty;
	for (const struct node *n = head->staged_next; n != head; n = n->staged_next, listed++)
		assert_ptr_equal(n->staged_prev->staged_next, n);
	assert_int_equal(live, t->f->m.counts.nodes);
	assert_int_equal(named, t->f->m.nodes->count);
	assert_int_equal(dirty, listed);
	assert_int_equal(dirty, t->f->m.counts.staged_files);
	assert_int_equal(fresh, fresh_listed);
}

static void test_against_a_table(void **state)
{
	static void (*const steps[])(struct table *t) = { look_up, look_up, look_up, forget, forget,
		open_or_close, unlink_one,
		move_one, move_one, change_or_commit };
	static struct table t;
	memset(&t, 0, sizeof t);
	t.f = *state;
	random_seed(&t.random, test_seed(__func__));
	for (unsigned i = test_steps(20000); i; i--) {
		steps[random_below(&t.random, sizeof steps / sizeof steps[0])](&t);
		if (i % 7 == 0)
			assert_table(&t);
	}
	/* Nothing keeps anything: all is gone. */
	for (int i = 0; i < SLOTS; i++) {
		struct entry *e = &t.entries[i];
		if (!e->node)
			continue;
		node_clear_fresh(e->node);
		node_mark_clean(&t.f->m, e->node);
		e->node->lookups = e->node->opens = e->lookups = e->opens = 0;
		e->dirty = false;
		node_release(&t.f->m, e->node);
		let_go(&t, i);
	}
	assert_table(&t);
	assert_int_equal(t.f->m.counts.nodes, 0);
}

static void test_many_nodes(void **state)
{
	enum { COUNT = 5000 };
	struct fs_mount *f = *state;
	char name[16];
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < COUNT; i++) {
			snprintf(name, sizeof name, "%d", i);
			struct node *n = round ? node_find(&f->m, fs_mount_root(f), name, strlen(name)) :
						 new_node(f, fs_mount_root(f), name, false);
			assert_non_null(n);
			assert_string_equal(n->name, name);
			n->lookups = 1;
		}
	assert_true(f->m.nodes->bucket_count >= COUNT / 2);
	assert_null(node_find(&f->m, fs_mount_root(f), "5000", 4));
	/* Left to the end of the mount: so is an unlinked one that is still open, with the value that it holds. */
	struct node *n;
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), "open", S_IFREG | 0600, who, &n), 0);
	assert_int_equal(file_write(&f->m, n, "value", 5, 0, false), 0);
	assert_int_equal(file_commit(&f->m, n), 0);
	n->opens = 1;
	assert_int_equal(namei_unlink(&f->m, fs_mount_root(f), "open"), 0);
	assert_true(n->has_held);
}

/* ---- Keys ---------------------------------------------------------------------------------- */

static void assert_key(int (*make)(const struct node *n, struct key_buf *out), const struct node *n,
	const char *expected)
{
	struct key_buf key = { 0 };
	assert_int_equal(make(n, &key), 0);
	assert_int_equal(key.size, strlen(expected));
	assert_memory_equal(key.data, expected, key.size);
	key_done(&key);
}

static struct node *new_kind(struct fs_mount *f, struct node *parent, const char *name, enum keypath_kind kind,
			     const char *part)
{
	struct node *n = node_new(&f->m, parent, name, strlen(name), kind, (const uint8_t *)part, strlen(part), true);
	assert_non_null(n);
	n->lookups = 1;
	return n;
}

static void test_kinds_of_names(void **state)
{
	struct fs_mount *f = *state;
	struct keypath_context context;
	struct key_buf pending = { 0 };
	struct node *root = fs_mount_root(f), *dir = new_kind(f, root, "d", KEYPATH_NAME, "d");
	struct node *empty = new_kind(f, dir, "%empty", KEYPATH_NAME, "");
	struct node *one = new_kind(f, dir, "one%+", KEYPATH_CHUNK, "one");
	struct node *two = new_kind(f, one, "two%+", KEYPATH_CHUNK, "two");
	struct node *last = new_kind(f, two, "last", KEYPATH_NAME, "last");
	struct node *value = new_kind(f, last, "%value", KEYPATH_VALUE, "");
	struct node *top = new_kind(f, root, "top%+", KEYPATH_CHUNK, "top");
	assert_key(node_dir_key, root, "");
	assert_key(node_dir_key, empty, "d//");
	assert_key(node_file_key, empty, "d/");
	assert_key(node_dir_key, one, "d/one");
	assert_key(node_dir_key, two, "d/onetwo");
	assert_key(node_dir_key, last, "d/onetwolast/");
	assert_key(node_file_key, last, "d/onetwolast");
	assert_key(node_file_key, value, "d/onetwolast");
	assert_int_equal(node_context(&f->m, root, &context, &pending), 0);
	assert_true(context.root && !context.in_chunk);
	assert_string_equal(context.ctldir, ".wombat");
	assert_int_equal(node_context(&f->m, last, &context, &pending), 0);
	assert_true(!context.root && !context.in_chunk && context.pending_len == 0);
	assert_int_equal(node_context(&f->m, two, &context, &pending), 0);
	assert_true(context.in_chunk && context.pending_len == 6);
	assert_memory_equal(context.pending, "onetwo", 6);
	assert_int_equal(node_context(&f->m, top, &context, &pending), 0);
	assert_true(!context.root && context.in_chunk && context.pending_len == 3);
	assert_memory_equal(context.pending, "top", 3);
	key_done(&pending);
}

/* ---- Numbers ------------------------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* The values are in databases: they never change. */
static void test_default_numbers(void **state)
{
	enum { COUNT = 20000 };
	static uint64_t numbers[2 * COUNT];
	struct fs_mount *f = *state;
	const struct node *root = fs_mount_root(f);
	char name[16];
	assert_true(node_default_ino(root, (const uint8_t *)"a", 1, false) == 0x763b66266216b6c4);
	assert_true(node_default_ino(root, (const uint8_t *)"a", 1, true) == 0x96b573bbf9695649);
	assert_true(node_default_ino(root, NULL, 0, false) == 0x385b89777f840a0a);
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "%d", i);
		for (int directory = 0; directory < 2; directory++)
			numbers[2 * i + directory] = node_default_ino(root, (uint8_t *)name, strlen(name), directory);
	}
	qsort(numbers, 2 * COUNT, sizeof numbers[0], compare_numbers);
	assert_true(numbers[0] >= 4096); /* below are the root's and the control directory's */
	for (int i = 1; i < 2 * COUNT; i++)
		assert_true(numbers[i] != numbers[i - 1]);
}

enum { PLACES = 12 };

/* Files and their numbers: a file's number is its own from creation to removal. */
struct places {
	struct fs_mount *f;
	struct random_state random;
	uint64_t ino[PLACES]; /* 0: no file */
};

static struct node *dir_of(struct places *p, unsigned place)
{
	struct node *dir;
	if (place % 3 == 0)
		return fs_mount_root(p->f);
	assert_int_equal(namei_lookup(&p->f->m, fs_mount_root(p->f), place % 3 == 1 ? "d" : "e", &dir), 0);
	if (!dir->lookups)
		dir->lookups++; /* The kernel knows every directory that it asks about. */
	return dir;
}

static const char *name_at(unsigned place)
{
	static const char *const names[] = { "w", "x", "y", "z" };
	return names[place / 3];
}

static void create_file(struct places *p, unsigned place)
{
	struct node *n, *dir = dir_of(p, place);
	int error = random_below(&p->random, 2) ?
		namei_create(&p->f->m, dir, name_at(place), S_IFREG | 0644, who, &n) :
		namei_make(&p->f->m, dir, name_at(place), S_IFIFO | 0644, 0, NULL, who, &n);
	assert_int_equal(error, p->ino[place] ? EEXIST : 0);
	if (error)
		return;
	for (unsigned i = 0; i < PLACES; i++)
		assert_true(p->ino[i] != n->ino);
	p->ino[place] = n->ino;
	node_release(&p->f->m, n);
}

static void rename_file(struct places *p, unsigned from, unsigned to)
{
	unsigned flags = random_below(&p->random, 3) ? 0 : RENAME_EXCHANGE;
	int error = namei_rename(&p->f->m, dir_of(p, from), name_at(from), dir_of(p, to), name_at(to), flags);
	assert_int_equal(error, !p->ino[from] || (flags && !p->ino[to]) ? ENOENT : 0);
	if (error || from == to)
		return;
	uint64_t moved = p->ino[from];
	p->ino[from] = flags ? p->ino[to] : 0;
	p->ino[to] = moved;
}

static void assert_numbers(struct places *p)
{
	for (unsigned i = 0; i < PLACES; i++) {
		struct node *n;
		int error = namei_lookup(&p->f->m, dir_of(p, i), name_at(i), &n);
		assert_int_equal(error, p->ino[i] ? 0 : ENOENT);
		if (error)
			continue;
		assert_true(n->ino == p->ino[i]);
		node_release(&p->f->m, n);
	}
}

static void test_numbers_are_kept(void **state)
{
	struct places p = { .f = *state };
	struct node *n;
	random_seed(&p.random, test_seed(__func__));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(namei_make(&p.f->m, fs_mount_root(p.f), i ? "d" : "e", S_IFDIR | 0755, 0, NULL,
			who, &n), 0);
		n->lookups++;
	}
	for (unsigned step = test_steps(3000); step; step--) {
		unsigned place = (unsigned)random_below(&p.random, PLACES);
		switch (random_below(&p.random, 10)) {
		case 0:
			assert_int_equal(namei_unlink(&p.f->m, dir_of(&p, place), name_at(place)),
				p.ino[place] ? 0 : ENOENT);
			p.ino[place] = 0;
			break;
		case 1:
			assert_int_equal(file_commit_all(&p.f->m), 0);
			break;
		case 2:
		case 3:
		case 4:
			create_file(&p, place);
			break;
		default:
			rename_file(&p, place, (unsigned)random_below(&p.random, PLACES));
		}
		assert_numbers(&p);
		if (step % 200 == 0)
			fs_mount_reopen(p.f);
	}
}

/* While somebody has the old file open, a new one of its name is another file by its number too. */
static void test_a_number_in_use_is_not_given_away(void **state)
{
	struct fs_mount *f = *state;
	struct node *old, *new;
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), "log", S_IFREG | 0644, who, &old), 0);
	assert_int_equal(file_commit(&f->m, old), 0);
	old->opens = 1;
	uint64_t ino = old->ino;
	assert_int_equal(namei_unlink(&f->m, fs_mount_root(f), "log"), 0);
	assert_int_equal(namei_create(&f->m, fs_mount_root(f), "log", S_IFREG | 0644, who, &new), 0);
	assert_true(new->ino != old->ino && old->ino == ino);
	assert_int_equal(file_commit(&f->m, new), 0);
	ino = new->ino;
	old->opens = 0;
	node_release(&f->m, old);
	fs_mount_reopen(f);
	assert_int_equal(namei_lookup(&f->m, fs_mount_root(f), "log", &new), 0);
	assert_true(new->ino == ino);
	uint64_t number = htobe64(ino);
	struct store_bytes key = { (uint8_t *)&number, sizeof number };
	assert_int_equal(fs_mount_stored(f, STORE_INODES, key, NULL), 0);
	assert_int_equal(namei_unlink(&f->m, fs_mount_root(f), "log"), 0);
	assert_int_equal(fs_mount_stored(f, STORE_INODES, key, NULL), -1);
}

/* ---- Allocations that fail ------------------------------------------------------------------ */

static void test_failed_allocations(void **state)
{
	struct fs_mount *f = *state;
	/* Too long for the room in the node. */
	static const char name_text[] = "a name of more than forty-eight bytes with what its key has";
	static const char other[] = "another name of more than forty-eight bytes with what its key has";
	struct node *root = fs_mount_root(f), *n = NULL;
	for (unsigned i = 0; !n; i++) {
		alloc_fail_arm(i);
		n = new_node(f, root, name_text, false);
		assert_true(alloc_fail_disarm() == !n);
		assert_true(i < 10);
		assert_int_equal(f->m.counts.nodes, n ? 1 : 0);
		assert_int_equal(root->children, n ? 1 : 0);
	}
	n->lookups = 1;
	node_mark_fresh(n);
	alloc_fail_arm(0);
	assert_int_equal(node_move(&f->m, n, root, other, strlen(other), KEYPATH_NAME, (const uint8_t *)other,
				   strlen(other)), ENOMEM);
	assert_true(alloc_fail_disarm());
	assert_ptr_equal(node_find(&f->m, root, name_text, strlen(name_text)), n);
	assert_null(node_find(&f->m, root, other, strlen(other)));
	assert_true(n->fresh && root->fresh_list == n);
	node_clear_fresh(n);
	/* A table that cannot grow does without. */
	for (int i = 0; i < 1100; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		alloc_fail_arm(1); /* the node, the table */
		struct node *more = new_node(f, root, name, false);
		alloc_fail_disarm();
		assert_non_null(more);
		more->lookups = 1;
	}
	assert_int_equal(f->m.nodes->bucket_count, 1024);
	assert_ptr_equal(node_find(&f->m, root, name_text, strlen(name_text)), n);
	struct key_buf key = { 0 };
	alloc_fail_arm(0);
	assert_int_equal(node_dir_key(n, &key), ENOMEM);
	alloc_fail_disarm();
	alloc_fail_arm(0);
	assert_int_equal(node_reserve(&f->m, n, 100), ENOMEM);
	alloc_fail_disarm();
	assert_int_equal(f->m.counts.staged_bytes, 0);
	key_done(&key);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fs_mount_setup, fs_mount_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_against_a_table),
		TEST(test_many_nodes),
		TEST(test_kinds_of_names),
		TEST(test_default_numbers),
		TEST(test_numbers_are_kept),
		TEST(test_a_number_in_use_is_not_given_away),
		TEST(test_failed_allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
