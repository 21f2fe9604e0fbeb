/* Groups of changes: building them, and walking over their encoding. */
#include "engine/mem/write_batch.h"

#include "engine/base/alloc.h"
#include "engine/base/array.h"

/* ---- Building ------------------------------------------------------------------------------ */

struct wombat_batch *wombat_batch_new(void)
{
	struct wombat_batch *b = mem_zalloc(sizeof *b);
	if (!b)
		fail_no_memory();
	return b;
}

void wombat_batch_free(struct wombat_batch *b)
{
	if (!b)
		return;
	buf_done(&b->body);
	mem_free(b->lent);
	mem_free(b->copies);
	mem_free(b->moves);
	mem_free(b);
}

void wombat_batch_clear(struct wombat_batch *b)
{
	*b = (struct wombat_batch){ .body = b->body, .lent = b->lent, .lent_capacity = b->lent_capacity,
				    .copies = b->copies, .copy_capacity = b->copy_capacity,
				    .moves = b->moves, .move_capacity = b->move_capacity };
	buf_clear(&b->body);
}

uint32_t wombat_batch_count(const struct wombat_batch *b)
{
	return b->count;
}

static void note_key(struct wombat_batch *b, size_t size)
{
	if (size > b->largest_key)
		b->largest_key = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
}

static uint8_t *encode_head(uint8_t *p, enum ikey_kind kind, unsigned keyspace, struct wombat_slice key)
{
	*p++ = (uint8_t)kind;
	*p++ = (uint8_t)keyspace;
	p += put_varint(p, key.size);
	if (key.size)
		memcpy(p, key.data, key.size);
	return p + key.size;
}

size_t write_batch_put_size(struct wombat_slice key, const struct record *record)
{
	size_t encoded = record_encoded_size(record);
	return 2 + varint_size(key.size) + key.size + varint_size(encoded) + encoded;
}

void write_batch_put_encode(uint8_t *p, unsigned keyspace, struct wombat_slice key, const struct record *record)
{
	p = encode_head(p, KIND_PUT, keyspace, key);
	p += put_varint(p, record_encoded_size(record));
	record_encode(p, record);
}

enum wombat_status write_batch_add_put(struct buf *body, unsigned keyspace, struct wombat_slice key,
				       const struct record *record)
{
	size_t size = write_batch_put_size(key, record);
	enum wombat_status s = buf_reserve(body, size);
	if (s != WOMBAT_OK)
		return s;
	write_batch_put_encode(body->data + body->size, keyspace, key, record);
	body->size += size;
	return WOMBAT_OK;
}

enum wombat_status write_batch_add_delete(struct buf *body, unsigned keyspace, struct wombat_slice key)
{
	enum wombat_status s = buf_reserve(body, 2 + VARINT_MAX + key.size);
	if (s == WOMBAT_OK)
		body->size = (size_t)(encode_head(body->data + body->size, KIND_DELETE, keyspace, key) - body->data);
	return s;
}

enum wombat_status write_batch_add_delete_range(struct buf *body, unsigned keyspace, struct wombat_slice from,
						struct wombat_slice to)
{
	enum wombat_status s = buf_reserve(body, 2 + 2 * VARINT_MAX + from.size + to.size);
	if (s != WOMBAT_OK)
		return s;
	uint8_t *p = encode_head(body->data + body->size, KIND_DELETE_RANGE, keyspace, from);
	p += put_varint(p, to.size);
	if (to.size)
		memcpy(p, to.data, to.size);
	body->size = (size_t)(p + to.size - body->data);
	return WOMBAT_OK;
}

/* Makes the record one of a lent value. */
static enum wombat_status lend(struct wombat_batch *b, struct record *r)
{
	struct wombat_slice *lent = array_reserve(b->lent, b->lent_count, &b->lent_capacity, sizeof *lent);
	if (!lent)
		return fail_no_memory();
	b->lent = lent;
	b->lent[b->lent_count] = r->value;
	r->elsewhere = true;
	r->pointer = (struct value_pointer){ WRITE_BATCH_LENT, b->lent_count, r->value.size, 0 };
	return WOMBAT_OK;
}

static enum wombat_status put_record(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
				     const struct record *r)
{
	enum wombat_status s = write_batch_add_put(&b->body, keyspace, key, r);
	if (s != WOMBAT_OK)
		return s;
	b->count++;
	note_key(b, key.size);
	if (r->attr.size > b->largest_attr)
		b->largest_attr = r->attr.size < UINT32_MAX ? (uint32_t)r->attr.size : UINT32_MAX;
	if (!r->in_extents && record_value_size(r) > b->largest_value)
		b->largest_value = record_value_size(r);
	return WOMBAT_OK;
}

static void take_info(struct record *r, const struct wombat_put_info *info)
{
	if (!info)
		return;
	r->time_ns = info->time_ns;
	r->expiry_ns = info->expiry_ns;
	r->attr = info->attr;
}

enum wombat_status wombat_batch_put(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
				    struct wombat_slice value, const struct wombat_put_info *info)
{
	enum { LENT_MIN = 4096 }; /* what is smaller is copied in less time than it is kept track of */
	struct record r = { .value = value };
	take_info(&r, info);
	enum wombat_status s = keyspace_check(keyspace);
	if (s == WOMBAT_OK && info && info->borrow && value.size >= LENT_MIN)
		s = lend(b, &r);
	if (s == WOMBAT_OK)
		s = put_record(b, keyspace, key, &r);
	if (s == WOMBAT_OK)
		b->lent_count += r.elsewhere;
	return s;
}

enum wombat_status write_batch_put_shared(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
					  struct record *record, const struct wombat_put_info *info)
{
	take_info(record, info);
	enum wombat_status s = keyspace_check(keyspace);
	if (s == WOMBAT_OK)
		s = put_record(b, keyspace, key, record);
	if (s == WOMBAT_OK)
		b->shared_count++;
	return s;
}

enum wombat_status write_batch_put_copy(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key,
					struct wombat_value *value, uint64_t size, const struct wombat_put_info *info)
{
	struct record r = { .in_extents = true, .extents = { .id = WRITE_BATCH_COPY, .size = b->copy_count } };
	take_info(&r, info);
	enum wombat_status s = keyspace_check(keyspace);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_value **copies = array_reserve(b->copies, b->copy_count, &b->copy_capacity, sizeof(*copies));
	if (!copies)
		return fail_no_memory();
	b->copies = copies;
	s = put_record(b, keyspace, key, &r);
	if (s != WOMBAT_OK)
		return s;
	b->copies[b->copy_count++] = value;
	if (size > b->largest_copy)
		b->largest_copy = size;
	return WOMBAT_OK;
}

enum wombat_status write_batch_delete_unchanged(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key, uint64_t sequence)
{
	size_t before = b->body.size;
	struct batch_move *moves = array_reserve(b->moves, b->move_count, &b->move_capacity, sizeof(*moves));
	if (!moves)
		return fail_no_memory();
	b->moves = moves;
	enum wombat_status s = wombat_batch_delete(b, keyspace, key);
	if (s == WOMBAT_OK)
		b->moves[b->move_count++] = (struct batch_move){ before, sequence };
	return s;
}

void write_batch_undo_delete(struct wombat_batch *b)
{
	b->body.size = b->moves[--b->move_count].body_offset;
	b->count--;
}

enum wombat_status write_batch_move(struct wombat_batch *b, unsigned keyspace, struct wombat_slice from,
				    struct wombat_slice to, struct wombat_slice owner, const struct value_extents *extents,
				    uint64_t sequence, const struct wombat_put_info *info)
{
	static const struct record nothing;
	struct record r = { .in_extents = true, .extents = *extents };
	take_info(&r, info);
	enum wombat_status s = write_batch_delete_unchanged(b, keyspace, from, sequence);
	if (s != WOMBAT_OK)
		return s;
	uint32_t count = b->count;
	s = put_record(b, keyspace, to, &r);
	if (s == WOMBAT_OK)
		s = write_batch_add_put(&b->body, 0, owner, &nothing);
	if (s != WOMBAT_OK) {
		b->count = count;
		write_batch_undo_delete(b);
		return s;
	}
	b->count++;
	if (extents->size > b->largest_copy)
		b->largest_copy = extents->size;
	return WOMBAT_OK;
}

enum wombat_status wombat_batch_delete(struct wombat_batch *b, unsigned keyspace, struct wombat_slice key)
{
	enum wombat_status s = keyspace_check(keyspace);
	if (s == WOMBAT_OK)
		s = write_batch_add_delete(&b->body, keyspace, key);
	if (s != WOMBAT_OK)
		return s;
	b->count++;
	note_key(b, key.size);
	return WOMBAT_OK;
}

enum wombat_status wombat_batch_delete_range(struct wombat_batch *b, unsigned keyspace, struct wombat_slice from,
					     struct wombat_slice to)
{
	enum wombat_status s = keyspace_check(keyspace);
	if (s == WOMBAT_OK)
		s = write_batch_add_delete_range(&b->body, keyspace, from, to);
	if (s != WOMBAT_OK)
		return s;
	b->count++;
	note_key(b, from.size);
	note_key(b, to.size);
	return WOMBAT_OK;
}

/* ---- Reading ------------------------------------------------------------------------------- */

static enum wombat_status not_a_change(void)
{
	return fail(WOMBAT_CORRUPTION, "a write batch holds bytes that are no change");
}

enum wombat_status write_batch_next(struct cursor *c, struct batch_change *out)
{
	struct batch_change change = { 0 };
	if (!cursor_u8(c, &change.kind) || !cursor_u8(c, &change.keyspace) || !cursor_slice(c, &change.key) ||
	    change.keyspace > WOMBAT_KEYSPACE_MAX)
		return not_a_change();
	switch (change.kind) {
	case KIND_PUT:
		if (!cursor_slice(c, &change.value))
			return not_a_change();
		break;
	case KIND_DELETE:
		break;
	case KIND_DELETE_RANGE:
		if (!cursor_slice(c, &change.end))
			return not_a_change();
		break;
	default:
		return fail(WOMBAT_UNSUPPORTED, "a write batch holds a change of kind %u", change.kind);
	}
	*out = change;
	return WOMBAT_OK;
}

/* Keyspace byte and key, one behind the other: in `room` when they fit, else in `buf`. */
static enum wombat_status full_key(uint8_t keyspace, struct wombat_slice key, uint8_t room[256], struct buf *buf,
				   struct wombat_slice *out)
{
	uint8_t *p = room;
	if (key.size >= 256) {
		buf_clear(buf);
		enum wombat_status s = buf_reserve(buf, key.size + 1);
		if (s != WOMBAT_OK)
			return s;
		p = buf->data;
	}
	p[0] = keyspace;
	if (key.size)
		memcpy(p + 1, key.data, key.size);
	*out = slice_make(p, key.size + 1);
	return WOMBAT_OK;
}

static enum wombat_status apply_range(const struct batch_change *change, struct wombat_slice begin, uint64_t sequence,
				      struct memtable *m)
{
	uint8_t room[256], next = (uint8_t)(change->keyspace + 1);
	struct buf heap = { 0 };
	struct wombat_slice end = slice_make(&next, 1);
	enum wombat_status s = WOMBAT_OK;
	if (change->end.size)
		s = full_key(change->keyspace, change->end, room, &heap, &end);
	if (s == WOMBAT_OK && slice_compare(begin, end) < 0)
		s = memtable_add_range(m, (struct range_del){ begin, end, sequence });
	buf_done(&heap);
	return s;
}

enum wombat_status write_batch_apply(struct wombat_slice body, uint64_t sequence, uint64_t skip_to, uint64_t time_ns,
				     struct memtable *m, uint32_t *out_count)
{
	struct cursor c = cursor_of(body);
	uint32_t count = 0;
	uint8_t room[256];
	struct buf heap = { 0 };
	enum wombat_status s = WOMBAT_OK;
	for (; cursor_left(&c) > 0; count++, sequence++) {
		struct batch_change change;
		struct wombat_slice key;
		s = write_batch_next(&c, &change);
		if (s == WOMBAT_OK && sequence > skip_to) {
			s = full_key(change.keyspace, change.key, room, &heap, &key);
			if (s == WOMBAT_OK && change.kind == KIND_DELETE_RANGE)
				s = apply_range(&change, key, sequence, m);
			else if (s == WOMBAT_OK)
				s = memtable_add(m, key, tag_make(sequence, (enum ikey_kind)change.kind), change.value, time_ns);
		}
		if (s != WOMBAT_OK)
			break;
	}
	buf_done(&heap);
	if (s == WOMBAT_OK)
		*out_count = count;
	return s;
}
