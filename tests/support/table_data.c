/* The model of a table is a sorted array: see table_data.h. */
#include "tests/support/table_data.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/record.h"
#include "tests/support/check.h"

/* From plain malloc: the engine's hook must not fail these. */
static struct wombat_slice copy(struct wombat_slice s)
{
	uint8_t *p = malloc(s.size ? s.size : 1);
	assert_non_null(p);
	if (s.size)
		memcpy(p, s.data, s.size);
	return slice_make(p, s.size);
}

void data_add(struct data *d, struct wombat_slice key, uint64_t tag, struct wombat_slice user,
	uint64_t expiry_ns)
{
	if (d->count == d->capacity) {
		d->capacity = d->capacity ? d->capacity * 2 : 64;
		d->entries = realloc(d->entries, d->capacity * sizeof(*d->entries));
		assert_non_null(d->entries);
	}
	struct wombat_slice value = { 0 };
	if (tag_kind(tag) == KIND_PUT) {
		struct record record = { .time_ns = 1000 + tag, .expiry_ns = expiry_ns, .value = user };
		size_t size = record_encoded_size(&record);
		uint8_t *p = malloc(size);
		assert_non_null(p);
		record_encode(p, &record);
		value = slice_make(p, size);
	}
	d->entries[d->count++] = (struct data_entry){ copy(key), tag, value };
}

static int entry_compare(const void *a, const void *b)
{
	const struct data_entry *x = a, *y = b;
	return ikey_compare_parts(x->key, x->tag, y->key, y->tag);
}

/* A sequence number stands for one change. */
static bool same_version(const struct data_entry *a, const struct data_entry *b)
{
	return tag_sequence(a->tag) == tag_sequence(b->tag) && slice_equal(a->key, b->key);
}

static void entry_done(struct data_entry *e)
{
	free((void *)(uintptr_t)e->key.data);
	free((void *)(uintptr_t)e->value.data);
}

void data_sort(struct data *d)
{
	size_t kept = 0;
	if (d->count)
		qsort(d->entries, d->count, sizeof(*d->entries), entry_compare);
	for (size_t i = 0; i < d->count; i++) {
		if (kept && same_version(&d->entries[kept - 1], &d->entries[i]))
			entry_done(&d->entries[i]);
		else
			d->entries[kept++] = d->entries[i];
	}
	d->count = kept;
}

/* A key of the shape: a few directories, names of differing length, bytes of the whole range at times. */
static size_t random_key(struct random_state *r, const struct data_shape *shape, uint8_t *out)
{
	uint64_t n = random_below(r, shape->keys);
	size_t size = 0;
	out[size++] = WOMBAT_USER;
	memset(out + size, 'p', shape->key_prefix);
	size += shape->key_prefix;
	if (n == 0)
		return size; /* the empty key, or the prefix alone */
	uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15);
	if (h >> 62)
		size += (size_t)sprintf((char *)out + size, "dir%u/", (unsigned)(h >> 60));
	if (h >> 63)
		size += (size_t)sprintf((char *)out + size, "sub/%u/", (unsigned)(h >> 50 & 7));
	size += (size_t)sprintf((char *)out + size, "%0*llu", (int)(h >> 45 & 15), (unsigned long long)n);
	if ((h >> 40 & 7) == 0)
		out[size++] = 0xff;
	if ((h >> 40 & 7) == 1)
		out[size++] = 0;
	return size;
}

void data_random(struct data *d, struct random_state *r, const struct data_shape *shape)
{
	uint8_t *key = malloc(shape->key_prefix + 128), *value = malloc(shape->value_max + 1);
	assert_non_null(key);
	assert_non_null(value);
	for (size_t i = 0; i < shape->entries; i++) {
		size_t key_bytes = random_key(r, shape, key);
		size_t value_bytes = (size_t)random_below(r, shape->value_max + 1);
		bool runs = random_below(r, 2); /* half of them can be packed */
		for (size_t k = 0; k < value_bytes; k++)
			value[k] = (uint8_t)(runs ? 'a' + k / 40 : random_next(r));
		uint64_t tag = tag_make(1 + random_below(r, 4 * shape->entries),
			random_below(r, 5) ? KIND_PUT : KIND_DELETE);
		uint64_t expiry_ns = shape->expiry && random_below(r, 3) == 0 ? 5000 + random_below(r, 1000)
			: 0;
		data_add(d, slice_make(key, key_bytes), tag, slice_make(value, value_bytes), expiry_ns);
	}
	free(key);
	free(value);
	data_sort(d);
}

void data_done(struct data *d)
{
	for (size_t i = 0; i < d->count; i++)
		entry_done(&d->entries[i]);
	free(d->entries);
	*d = (struct data){ 0 };
}

size_t data_seek(const struct data *d, struct wombat_slice key, uint64_t tag)
{
	size_t low = 0, high = d->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (ikey_compare_parts(d->entries[middle].key, d->entries[middle].tag, key, tag) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

enum wombat_status data_build(const struct data *d, struct env *env, const char *path,
	const struct table_builder_options *options, struct table_summary *out)
{
	struct table_builder *b;
	struct table_summary summary;
	enum wombat_status s = table_builder_new(env, path, options, &b);
	for (size_t i = 0; i < d->count && s == WOMBAT_OK; i++) {
		s = table_builder_add(b, d->entries[i].key, d->entries[i].tag, d->entries[i].value);
		if (s != WOMBAT_OK)
			table_builder_abandon(b);
	}
	if (s == WOMBAT_OK)
		s = table_builder_finish(b, &summary);
	if (s != WOMBAT_OK)
		return s;
	if (out)
		*out = summary;
	else
		table_summary_done(&summary);
	return WOMBAT_OK;
}

struct table_builder_options data_options(void)
{
	return (struct table_builder_options){
		.block_bytes = 4096,
		.restart_interval = 16,
		.bloom_false_positive = 0.01,
		.compression_level = 6,
		.write_buffer_bytes = 64 * 1024,
	};
}

void data_assert_at(const struct data *d, size_t i, const struct iter *it)
{
	assert_int_equal(it->status, WOMBAT_OK);
	assert_int_equal(it->valid, i < d->count);
	if (i >= d->count)
		return;
	assert_true(slice_equal(it->key, d->entries[i].key));
	assert_true(it->tag == d->entries[i].tag);
	assert_true(slice_equal(it->value, d->entries[i].value));
}

static void assert_both_ways(const struct data *d, struct iter *it)
{
	size_t i = 0;
	for (iter_first(it); it->valid; iter_next(it))
		data_assert_at(d, i++, it);
	assert_int_equal(it->status, WOMBAT_OK);
	assert_int_equal(i, d->count);
	for (iter_last(it); it->valid; iter_prev(it))
		data_assert_at(d, --i, it);
	assert_int_equal(it->status, WOMBAT_OK);
	assert_int_equal(i, 0);
}

/* A place to look for: an entry's own, one beside it, or a key that is not there. */
static struct wombat_slice random_target(const struct data *d, struct random_state *r, struct buf *out,
	uint64_t *tag)
{
	*tag = random_below(r, 2) ? TAG_MAX : tag_make(random_below(r, 4 * d->count + 2), KIND_PUT);
	if (d->count == 0) {
		assert_ok(buf_set(out, WOMBAT_STR("\1x")));
		return buf_slice(out);
	}
	const struct data_entry *e = &d->entries[random_below(r, d->count)];
	assert_ok(buf_set(out, e->key));
	switch (random_below(r, 6)) {
	case 0:
		*tag = e->tag;
		break;
	case 1:
		*tag = e->tag - 1;
		break;
	case 2:
		*tag = e->tag + 1;
		break;
	case 3:
		assert_ok(buf_append_byte(out, (uint8_t)random_next(r)));
		break;
	case 4:
		out->data[out->size - 1] = (uint8_t)(out->data[out->size - 1] + random_below(r, 3) - 1);
		break;
	default:
		out->size -= out->size > 1;
	}
	return buf_slice(out);
}

static void assert_seeks(const struct data *d, struct iter *it, struct random_state *r, unsigned rounds)
{
	struct buf target = { 0 };
	for (unsigned n = 0; n < rounds; n++) {
		uint64_t tag;
		struct wombat_slice key = random_target(d, r, &target, &tag);
		size_t i = data_seek(d, key, tag);
		if (random_below(r, 2)) {
			iter_seek(it, key, tag);
		} else {
			iter_seek_before(it, key, tag);
			i = i ? i - 1 : d->count;
		}
		data_assert_at(d, i, it);
		for (unsigned moves = (unsigned)random_below(r, 40); it->valid && moves; moves--) {
			if (random_below(r, 3) == 0) {
				iter_prev(it);
				i = i ? i - 1 : d->count;
			} else {
				iter_next(it);
				i++;
			}
			data_assert_at(d, i, it);
		}
		if (it->valid && random_below(r, 4) == 0) { /* to where it is, by its own key */
			iter_seek(it, it->key, it->tag);
			data_assert_at(d, i, it);
		}
	}
	buf_done(&target);
}

static void assert_gets(const struct data *d, struct table *t, unsigned flags, struct random_state *r,
	unsigned rounds)
{
	struct buf target = { 0 };
	for (unsigned n = 0; n < rounds; n++) {
		uint64_t tag, found_tag;
		struct wombat_slice key = random_target(d, r, &target, &tag), value;
		uint64_t sequence = tag_sequence(tag);
		size_t i = data_seek(d, key, tag_make(sequence, 0xff));
		struct lru_pin pin = { 0 };
		bool there = i < d->count && slice_equal(d->entries[i].key, key);
		assert_status(table_get(t, key, sequence, flags, &found_tag, &value, &pin),
			there ? WOMBAT_OK : WOMBAT_NOT_FOUND);
		if (there) {
			assert_true(found_tag == d->entries[i].tag);
			assert_true(slice_equal(value, d->entries[i].value));
			lru_pin_release(&pin);
		}
		assert_null(pin.handle);
	}
	buf_done(&target);
}

void data_assert_table(const struct data *d, struct table *t, unsigned flags, size_t read_ahead_bytes,
	struct random_state *r, unsigned rounds)
{
	struct iter *it;
	assert_ok(table_iter_new(t, flags, read_ahead_bytes, &it));
	assert_false(it->valid);
	assert_both_ways(d, it);
	assert_seeks(d, it, r, rounds);
	assert_both_ways(d, it);
	iter_free(it);
	assert_gets(d, t, flags, r, rounds);
}
