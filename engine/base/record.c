/* What surrounds a value: see record.h. */
#include "engine/base/record.h"

enum {
	FLAG_EXPIRY = 1, FLAG_ATTR = 2, FLAG_ELSEWHERE = 4, FLAG_PART = 8, FLAG_EXTENTS = 16, FLAG_SHARED = 32,
	FLAGS_KNOWN = FLAG_EXPIRY | FLAG_ATTR | FLAG_ELSEWHERE | FLAG_PART | FLAG_EXTENTS | FLAG_SHARED,
};

static size_t place_size(const struct record *r)
{
	const struct value_pointer *p = &r->pointer;
	if (r->in_extents)
		return 8 + varint_size(r->extents.size) + varint_size(r->extents.stored);
	return varint_size(p->file) + varint_size(p->offset) + varint_size(p->size) + 4 +
	       (r->part ? varint_size(r->part_at) + varint_size(r->part_size) : 0);
}

size_t record_encoded_size(const struct record *r)
{
	size_t size = 1 + 8 + (r->elsewhere || r->in_extents ? place_size(r) : r->value.size);
	if (r->expiry_ns)
		size += 8;
	if (r->attr.size)
		size += varint_size(r->attr.size) + r->attr.size;
	return size;
}

static void encode_pointer(uint8_t *p, const struct record *r)
{
	p += put_varint(p, r->pointer.file);
	p += put_varint(p, r->pointer.offset);
	p += put_varint(p, r->pointer.size);
	put_u32(p, r->pointer.crc);
	if (r->part) {
		p += put_varint(p + 4, r->part_at);
		put_varint(p + 4, r->part_size);
	}
}

static void encode_extents(uint8_t *p, const struct value_extents *e)
{
	put_u64(p, e->id);
	p += 8;
	p += put_varint(p, e->size);
	put_varint(p, e->stored);
}

void record_encode(uint8_t *p, const struct record *r)
{
	*p++ = (uint8_t)((r->expiry_ns ? FLAG_EXPIRY : 0) | (r->attr.size ? FLAG_ATTR : 0) |
			 (r->elsewhere ? FLAG_ELSEWHERE : 0) | (r->elsewhere && r->part ? FLAG_PART : 0) |
			 (r->in_extents ? FLAG_EXTENTS : 0) | (r->in_extents && r->extents.shared ? FLAG_SHARED : 0));
	put_u64(p, r->time_ns);
	p += 8;
	if (r->expiry_ns) {
		put_u64(p, r->expiry_ns);
		p += 8;
	}
	if (r->attr.size) {
		p += put_varint(p, r->attr.size);
		memcpy(p, r->attr.data, r->attr.size);
		p += r->attr.size;
	}
	if (r->elsewhere)
		encode_pointer(p, r);
	else if (r->in_extents)
		encode_extents(p, &r->extents);
	else if (r->value.size)
		memcpy(p, r->value.data, r->value.size);
}

static bool decode_pointer(struct cursor *c, struct record *r)
{
	struct value_pointer *p = &r->pointer;
	if (!cursor_varint(c, &p->file) || !cursor_varint(c, &p->offset) || !cursor_varint(c, &p->size) ||
	    !cursor_u32(c, &p->crc) || p->file == 0 || p->size > UINT64_MAX - p->offset)
		return false;
	if (r->part && (!cursor_varint(c, &r->part_at) || !cursor_varint(c, &r->part_size) || r->part_at > p->size ||
			r->part_size > p->size - r->part_at))
		return false;
	return cursor_left(c) == 0;
}

static bool decode_extents(struct cursor *c, struct value_extents *e)
{
	return cursor_u64(c, &e->id) && cursor_varint(c, &e->size) && cursor_varint(c, &e->stored) && cursor_left(c) == 0 &&
	       e->stored <= e->size;
}

/* Which of the places of a value may stand beside each other. */
static bool flags_make_sense(uint8_t flags)
{
	return !(flags & ~FLAGS_KNOWN) && !((flags & FLAG_PART) && !(flags & FLAG_ELSEWHERE)) &&
	       !((flags & FLAG_EXTENTS) && (flags & FLAG_ELSEWHERE)) && !((flags & FLAG_SHARED) && !(flags & FLAG_EXTENTS));
}

static enum wombat_status not_a_record(struct wombat_slice bytes)
{
	return fail(WOMBAT_CORRUPTION, "a record of %zu bytes is not encoded as records are", bytes.size);
}

enum wombat_status record_decode_any(struct wombat_slice bytes, struct record *out)
{
	struct cursor c = cursor_of(bytes);
	struct record r = { 0 };
	uint8_t flags;
	if (!cursor_u8(&c, &flags) || !flags_make_sense(flags) || !cursor_u64(&c, &r.time_ns))
		return not_a_record(bytes);
	r.elsewhere = flags & FLAG_ELSEWHERE;
	r.part = flags & FLAG_PART;
	r.in_extents = flags & FLAG_EXTENTS;
	r.extents.shared = flags & FLAG_SHARED;
	if (((flags & FLAG_EXPIRY) && !cursor_u64(&c, &r.expiry_ns)) ||
	    ((flags & FLAG_ATTR) && (!cursor_slice(&c, &r.attr) || r.attr.size > RECORD_ATTR_MAX)) ||
	    (r.elsewhere && !decode_pointer(&c, &r)) || (r.in_extents && !decode_extents(&c, &r.extents)))
		return not_a_record(bytes);
	if (!r.elsewhere && !r.in_extents)
		r.value = slice_make(c.p, cursor_left(&c));
	*out = r;
	return WOMBAT_OK;
}
