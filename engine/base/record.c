/* What surrounds a value: see record.h. */
#include "engine/base/record.h"

enum { FLAG_EXPIRY = 1, FLAG_ATTR = 2, FLAG_ELSEWHERE = 4, FLAGS_KNOWN = FLAG_EXPIRY | FLAG_ATTR | FLAG_ELSEWHERE };

static size_t pointer_size(const struct value_pointer *p)
{
	return varint_size(p->file) + varint_size(p->offset) + varint_size(p->size) + 4;
}

size_t record_encoded_size(const struct record *r)
{
	size_t size = 1 + 8 + (r->elsewhere ? pointer_size(&r->pointer) : r->value.size);
	if (r->expiry_ns)
		size += 8;
	if (r->attr.size)
		size += varint_size(r->attr.size) + r->attr.size;
	return size;
}

static void encode_pointer(uint8_t *p, const struct value_pointer *v)
{
	p += put_varint(p, v->file);
	p += put_varint(p, v->offset);
	p += put_varint(p, v->size);
	put_u32(p, v->crc);
}

void record_encode(uint8_t *p, const struct record *r)
{
	*p++ = (uint8_t)((r->expiry_ns ? FLAG_EXPIRY : 0) | (r->attr.size ? FLAG_ATTR : 0) |
			 (r->elsewhere ? FLAG_ELSEWHERE : 0));
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
		encode_pointer(p, &r->pointer);
	else if (r->value.size)
		memcpy(p, r->value.data, r->value.size);
}

static bool decode_pointer(struct cursor *c, struct value_pointer *out)
{
	return cursor_varint(c, &out->file) && cursor_varint(c, &out->offset) && cursor_varint(c, &out->size) &&
	       cursor_u32(c, &out->crc) && cursor_left(c) == 0 && out->file != 0 && out->size <= UINT64_MAX - out->offset;
}

enum wombat_status record_decode_any(struct wombat_slice bytes, struct record *out)
{
	struct cursor c = cursor_of(bytes);
	struct record r = { 0 };
	uint8_t flags;
	if (!cursor_u8(&c, &flags) || (flags & ~FLAGS_KNOWN) || !cursor_u64(&c, &r.time_ns) ||
	    ((flags & FLAG_EXPIRY) && !cursor_u64(&c, &r.expiry_ns)) ||
	    ((flags & FLAG_ATTR) && (!cursor_slice(&c, &r.attr) || r.attr.size > RECORD_ATTR_MAX)) ||
	    ((flags & FLAG_ELSEWHERE) && !decode_pointer(&c, &r.pointer)))
		return fail(WOMBAT_CORRUPTION, "a record of %zu bytes is not encoded as records are", bytes.size);
	r.elsewhere = flags & FLAG_ELSEWHERE;
	if (!r.elsewhere)
		r.value = slice_make(c.p, cursor_left(&c));
	*out = r;
	return WOMBAT_OK;
}
