/* Histories: see history.h. Everything is found by looking at all changes, which is slow and hard to get wrong. */
#include "tests/support/history.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/record.h"

static void must(bool condition)
{
	if (!condition)
		abort();
}

void history_done(struct history *h)
{
	free(h->items);
	h->items = NULL;
	h->count = h->capacity = 0;
}

size_t history_key(unsigned n, uint8_t out[HISTORY_KEY_MAX])
{
	int size = snprintf((char *)out + 1, HISTORY_KEY_MAX - 1, "d%02u/k%04u", n / 100, n);
	out[0] = 1;
	return (size_t)size + 1;
}

void history_add(struct history *h, const struct change *c)
{
	if (h->count == h->capacity) {
		h->capacity = h->capacity ? 2 * h->capacity : 256;
		h->items = realloc(h->items, h->capacity * sizeof *h->items);
		must(h->items != NULL);
	}
	h->items[h->count] = *c;
	h->items[h->count].sequence = h->count + 1;
	h->count++;
}

void history_grow(struct history *h, struct random_state *r, size_t count, const struct history_mix *mix)
{
	for (size_t i = 0; i < count; i++) {
		struct change c = { .kind = KIND_PUT };
		unsigned dice = (unsigned)random_below(r, 100), n = (unsigned)random_below(r, h->keys);
		c.key_size = history_key(n, c.key);
		if (dice < mix->deletes) {
			c.kind = KIND_DELETE;
		} else if (dice < mix->deletes + mix->ranges) {
			c.kind = KIND_DELETE_RANGE;
			c.end_size = history_key(n + 1 + (unsigned)random_below(r, h->keys / 4 + 1), c.end);
		} else {
			if (random_below(r, 100) < mix->expiries)
				c.expiry_ns = 1 + random_below(r, mix->expiry_max_ns);
			c.value_size = mix->value_max ? random_below(r, mix->value_max) : 0;
		}
		history_add(h, &c);
	}
}

static bool covers(const struct change *c, struct wombat_slice key)
{
	return c->kind == KIND_DELETE_RANGE && slice_compare(change_key(c), key) <= 0 && slice_compare(key, change_end(c)) < 0;
}

uint64_t history_find(const struct history *h, struct wombat_slice key, uint64_t snapshot, uint64_t now_ns)
{
	for (size_t i = h->count; i-- > 0;) {
		const struct change *c = &h->items[i];
		if (c->sequence > snapshot)
			continue;
		if (covers(c, key))
			return 0;
		if (c->kind == KIND_DELETE_RANGE || !slice_equal(change_key(c), key))
			continue;
		return c->kind == KIND_PUT && !record_expired(c->expiry_ns, now_ns) ? c->sequence : 0;
	}
	return 0;
}

struct wombat_slice history_record(const struct change *c, uint8_t *room)
{
	uint8_t value[HISTORY_RECORD_MAX - RECORD_HEADER_MAX];
	must(c->value_size <= sizeof value);
	memset(value, (int)(c->sequence & 0xff), c->value_size);
	struct record r = { .time_ns = c->sequence, .expiry_ns = c->expiry_ns, .value = slice_make(value, c->value_size) };
	record_encode(room, &r);
	return slice_make(room, record_encoded_size(&r));
}

struct memtable *history_memtable(const struct history *h, size_t first, size_t count)
{
	struct memtable *m;
	uint8_t room[HISTORY_RECORD_MAX];
	must(memtable_new(0, &m) == WOMBAT_OK);
	for (size_t i = first; i < first + count; i++) {
		const struct change *c = &h->items[i];
		struct wombat_slice value = { NULL, 0 };
		if (c->kind == KIND_DELETE_RANGE) {
			struct range_del range = { change_key(c), change_end(c), c->sequence };
			must(memtable_add_range(m, range) == WOMBAT_OK);
			continue;
		}
		if (c->kind == KIND_PUT)
			value = history_record(c, room);
		must(memtable_add(m, change_key(c), tag_make(c->sequence, c->kind), value, 1) == WOMBAT_OK);
	}
	return m;
}

static int compare_changes(const void *a, const void *b)
{
	const struct change *x = *(const struct change *const *)a, *y = *(const struct change *const *)b;
	return ikey_compare_parts(change_key(x), tag_make(x->sequence, x->kind), change_key(y), tag_make(y->sequence, y->kind));
}

bool history_table(const struct history *h, size_t first, size_t count, struct wombat_slice from, struct wombat_slice to,
		   struct env *env, const char *path, const struct table_builder_options *options, struct table_summary *out)
{
	const struct change **points = malloc((count + 1) * sizeof *points);
	size_t n = 0, ranges = 0;
	struct table_builder *b;
	uint8_t room[HISTORY_RECORD_MAX];
	must(points != NULL);
	must(table_builder_new(env, path, options, &b) == WOMBAT_OK);
	for (size_t i = first; i < first + count; i++) {
		const struct change *c = &h->items[i];
		struct range_del range = { change_key(c), change_end(c), c->sequence };
		if (c->kind != KIND_DELETE_RANGE) {
			if (slice_compare(change_key(c), from) >= 0 && (!to.size || slice_compare(change_key(c), to) < 0))
				points[n++] = c;
			continue;
		}
		if (slice_compare(range.begin, from) < 0)
			range.begin = from;
		if (to.size && slice_compare(range.end, to) > 0)
			range.end = to;
		ranges += slice_compare(range.begin, range.end) < 0;
		must(table_builder_add_range(b, range) == WOMBAT_OK);
	}
	qsort(points, n, sizeof *points, compare_changes);
	for (size_t i = 0; i < n; i++) {
		struct wombat_slice value = { NULL, 0 };
		if (points[i]->kind == KIND_PUT)
			value = history_record(points[i], room);
		must(table_builder_add(b, change_key(points[i]), tag_make(points[i]->sequence, points[i]->kind), value) ==
		     WOMBAT_OK);
	}
	free(points);
	if (n + ranges == 0) {
		table_builder_abandon(b);
		return false;
	}
	must(table_builder_finish(b, out) == WOMBAT_OK);
	return true;
}
