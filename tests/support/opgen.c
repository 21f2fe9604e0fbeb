/* Random changes. */
#include "tests/support/opgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(enum wombat_status s)
{
	if (s == WOMBAT_OK)
		return;
	fprintf(stderr, "opgen: %s\n", wombat_last_error());
	abort();
}

/* Paths, prefixes of each other, bytes below '/', zeroes and 0xff, the empty key, long shared prefixes. */
size_t opgen_key(unsigned i, uint8_t out[64])
{
	char *text = (char *)out;
	unsigned a = i / 25 % 8, b = i / 5;
	int n = 0;
	if (i == 0)
		return 0;
	if (i % 11 == 10) {
		memset(out, i % 2 ? 0xff : 0, i % 7);
		return i % 7;
	}
	switch (i % 5) {
	case 0:
		n = snprintf(text, 64, "d%u/f%u", a, b);
		break;
	case 1:
		n = snprintf(text, 64, "d%u/f%u/x", a, b);
		break;
	case 2:
		n = snprintf(text, 64, "d%u-%u", a, b);
		break;
	case 3:
		n = snprintf(text, 64, "d%u/%u.c", a, b);
		break;
	case 4:
		n = snprintf(text, 64, "shared/prefix/of/many/keys/%u/%u", a, b);
		break;
	}
	if (i % 13 == 12)
		out[n - 1] = 0xfe;
	return (size_t)n;
}

struct wombat_slice opgen_random_key(struct opgen *g, uint8_t out[64])
{
	return WOMBAT_SLICE(out, opgen_key((unsigned)random_below(&g->random, g->key_count), out));
}

unsigned opgen_keyspace(struct opgen *g)
{
	return random_below(&g->random, 8) ? WOMBAT_USER : WOMBAT_FS_DIRS;
}

static void put(struct opgen *g, struct wombat_batch *batch, struct model *model, unsigned keyspace)
{
	uint8_t key[64], attr[40], small[512];
	size_t size = random_below(&g->random, random_below(&g->random, 20) ? g->value_max / 10 + 1 : g->value_max + 1);
	uint8_t *value = size <= sizeof small ? small : malloc(size);
	uint64_t fill = random_next(&g->random);
	for (size_t i = 0; i < size; i++)
		value[i] = (uint8_t)(fill >> (i % 8 * 8)) ^ (uint8_t)(i >> 3);
	struct wombat_put_info info = { 0 };
	if (random_below(&g->random, 3) == 0) {
		info.attr = WOMBAT_SLICE(attr, random_below(&g->random, sizeof attr));
		memset(attr, (int)fill, sizeof attr);
	}
	if (random_below(&g->random, 100) < g->expire_percent)
		info.expiry_ns = g->now_ns + random_below(&g->random, 2000) - 1000;
	struct wombat_slice k = opgen_random_key(g, key);
	must(wombat_batch_put(batch, keyspace, k, WOMBAT_SLICE(value, size), &info));
	model_put(model, keyspace, k, WOMBAT_SLICE(value, size), &info);
	if (value != small)
		free(value);
}

void opgen_change(struct opgen *g, struct wombat_batch *batch, struct model *model)
{
	uint8_t a[64], b[64];
	unsigned keyspace = opgen_keyspace(g), what = (unsigned)random_below(&g->random, 100);
	if (what < 70) {
		put(g, batch, model, keyspace);
	} else if (what < 97) {
		struct wombat_slice key = opgen_random_key(g, a);
		must(wombat_batch_delete(batch, keyspace, key));
		model_delete(model, keyspace, key);
	} else {
		struct wombat_slice from = opgen_random_key(g, a), to = opgen_random_key(g, b);
		must(wombat_batch_delete_range(batch, keyspace, from, to));
		model_delete_range(model, keyspace, from, to);
	}
}
