/* The trees of a mount. See tree.h. */
#include "fs/tree.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/control.h"
#include "fs/namei.h"

enum { ROOT_INO = 1 };

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct tree *tree_find(struct mount *m, enum tree_kind kind, const char *name)
{
	struct tree *t = m->trees;
	while (t && (t->gone || t->kind != kind || strcmp(t->name, name) != 0))
		t = t->next;
	return t;
}

uint64_t tree_root_ino(enum tree_kind kind, const char *name, uint64_t made_ns)
{
	const struct node above = { .ino = made_ns ^ kind };
	return node_default_ino(&above, (const uint8_t *)name, strlen(name), true);
}

static void tree_free(struct tree *t)
{
	struct store *store = t->m.store;
	node_table_done(&t->m);
	store->calls->close(store, true);
	free(t);
}

static int load_root(struct tree *t)
{
	bool found;
	struct node *root = tree_root(t);
	int error = namei_load_dir(&t->m, root, &found);
	root->ino = ROOT_INO;
	root->attr.ino = 0;
	root->ino_recorded = false;
	root->lookups = 0; /* unlike the mount's own, the kernel asks for it */
	return error;
}

int tree_new(struct mount *m, enum tree_kind kind, const char *name, uint64_t made_ns, struct store *store,
	     struct tree **out)
{
	struct tree *t = calloc(1, sizeof *t + strlen(name) + 1);
	if (!t) {
		store->calls->close(store, true);
		return ENOMEM;
	}
	memcpy(t->name, name, strlen(name) + 1);
	t->kind = kind;
	t->made_ns = made_ns;
	t->used_ns = now_ns();
	t->m.options = m->options;
	t->m.db = m->db;
	t->m.control = m->control;
	t->m.mounted_at_ns = m->mounted_at_ns;
	t->m.store = store;
	t->m.outer = m;
	t->m.fixed = kind == TREE_SNAPSHOT;
	t->m.ino_mask = tree_root_ino(kind, name, made_ns) ^ ROOT_INO;
	int error = node_table_init(&t->m);
	if (!error) {
		t->m.nodes->boot = m->nodes->boot;
		error = load_root(t);
	}
	if (error) {
		tree_free(t);
		return error;
	}
	t->next = m->trees;
	m->trees = t;
	*out = t;
	return 0;
}

void tree_drop(struct tree *t)
{
	t->gone = true;
	t->m.fixed = true;
}

void tree_used(struct mount *m)
{
	((struct tree *)(void *)m)->used_ns = now_ns();
}

/* Whoever is in it finds it unchangeable, as after rmdir. */
static void drop_idle(struct mount *m)
{
	int64_t most = (int64_t)atomic_load_explicit(&m->options.txn_idle_ms, memory_order_relaxed) * 1000000;
	for (struct tree *t = m->trees; t && most; t = t->next) {
		if (t->kind != TREE_TXN || t->gone || now_ns() - t->used_ns < most)
			continue;
		tree_drop(t);
		control_txn_dropped(m, t->name);
	}
}

static bool is_in_use(const struct tree *t)
{
	const struct node_table *nodes = t->m.nodes;
	return nodes->root.lookups || nodes->root.opens || nodes->live;
}

void trees_sweep(struct mount *m)
{
	drop_idle(m);
	for (struct tree **at = &m->trees; *at;) {
		struct tree *t = *at;
		if (is_in_use(t) || (t->kind == TREE_TXN && !t->gone)) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		tree_free(t);
	}
}

void trees_close(struct mount *m)
{
	while (m->trees) {
		struct tree *t = m->trees;
		m->trees = t->next;
		tree_free(t);
	}
}
