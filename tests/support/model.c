/* The reference database. */
#include "tests/support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p) {
		fputs("model: out of memory\n", stderr);
		abort();
	}
	return p;
}

static uint8_t *copy_bytes(const void *data, size_t size)
{
	uint8_t *p = must(malloc(size + 1));
	if (size)
		memcpy(p, data, size);
	return p;
}

static void record_done(struct model_record *r)
{
	free(r->key);
	free(r->value);
	free(r->attr);
}

static int compare(const struct model_record *r, unsigned keyspace, struct wombat_slice key)
{
	if (r->key[0] != keyspace)
		return r->key[0] < keyspace ? -1 : 1;
	size_t have = r->key_size - 1, n = have < key.size ? have : key.size;
	int c = n ? memcmp(r->key + 1, key.data, n) : 0;
	return c ? c : (have > key.size) - (have < key.size);
}

void model_init(struct model *m)
{
	*m = (struct model){ 0 };
}

void model_done(struct model *m)
{
	for (size_t i = 0; i < m->count; i++)
		record_done(&m->records[i]);
	free(m->records);
	model_init(m);
}

void model_copy(const struct model *from, struct model *to)
{
	model_init(to);
	to->records = must(malloc((from->count + 1) * sizeof *to->records));
	to->capacity = from->count + 1;
	for (size_t i = 0; i < from->count; i++) {
		const struct model_record *r = &from->records[i];
		to->records[to->count++] = (struct model_record){
			.key = copy_bytes(r->key, r->key_size), .key_size = r->key_size,
			.value = copy_bytes(r->value, r->value_size), .value_size = r->value_size,
			.attr = copy_bytes(r->attr, r->attr_size), .attr_size = r->attr_size, .expiry_ns = r->expiry_ns,
		};
	}
}

size_t model_seek(const struct model *m, unsigned keyspace, struct wombat_slice key)
{
	size_t lo = 0, hi = m->count;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (compare(&m->records[mid], keyspace, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_at(const struct model *m, size_t at, unsigned keyspace, struct wombat_slice key)
{
	return at < m->count && compare(&m->records[at], keyspace, key) == 0;
}

static void remove_span(struct model *m, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		record_done(&m->records[i]);
	if (to > from)
		memmove(m->records + from, m->records + to, (m->count - to) * sizeof *m->records);
	m->count -= to - from;
}

void model_put(struct model *m, unsigned keyspace, struct wombat_slice key, struct wombat_slice value,
	       const struct wombat_put_info *info)
{
	size_t at = model_seek(m, keyspace, key);
	if (is_at(m, at, keyspace, key))
		remove_span(m, at, at + 1);
	if (m->count == m->capacity) {
		m->capacity = 2 * m->capacity + 64;
		m->records = must(realloc(m->records, m->capacity * sizeof *m->records));
	}
	memmove(m->records + at + 1, m->records + at, (m->count - at) * sizeof *m->records);
	m->count++;
	struct wombat_slice attr = info ? info->attr : (struct wombat_slice){ NULL, 0 };
	struct model_record r = { .key_size = key.size + 1, .value_size = value.size, .attr_size = attr.size,
				  .expiry_ns = info ? info->expiry_ns : 0 };
	r.key = must(malloc(r.key_size));
	r.key[0] = (uint8_t)keyspace;
	if (key.size)
		memcpy(r.key + 1, key.data, key.size);
	r.value = copy_bytes(value.data, value.size);
	r.attr = copy_bytes(attr.data, attr.size);
	m->records[at] = r;
}

void model_delete(struct model *m, unsigned keyspace, struct wombat_slice key)
{
	size_t at = model_seek(m, keyspace, key);
	if (is_at(m, at, keyspace, key))
		remove_span(m, at, at + 1);
}

void model_delete_range(struct model *m, unsigned keyspace, struct wombat_slice from, struct wombat_slice to)
{
	size_t begin = model_seek(m, keyspace, from);
	size_t end = to.size ? model_seek(m, keyspace, to) : model_seek(m, keyspace + 1, to);
	if (begin < end)
		remove_span(m, begin, end);
}

const struct model_record *model_get(const struct model *m, unsigned keyspace, struct wombat_slice key, uint64_t now_ns)
{
	size_t at = model_seek(m, keyspace, key);
	if (!is_at(m, at, keyspace, key))
		return NULL;
	const struct model_record *r = &m->records[at];
	return r->expiry_ns && r->expiry_ns <= now_ns ? NULL : r;
}

bool model_equal(const struct model *a, const struct model *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct model_record *x = &a->records[i], *y = &b->records[i];
		if (x->key_size != y->key_size || memcmp(x->key, y->key, x->key_size) != 0 ||
		    x->value_size != y->value_size || memcmp(x->value, y->value, x->value_size) != 0 ||
		    x->attr_size != y->attr_size || memcmp(x->attr, y->attr, x->attr_size) != 0)
			return false;
	}
	return true;
}
