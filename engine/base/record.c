/* What surrounds a value: see record.h. */
#include "engine/base/record.h"

enum { FLAG_EXPIRY = 1, FLAG_ATTR = 2, FLAGS_KNOWN = FLAG_EXPIRY | FLAG_ATTR };

size_t record_encoded_size(const struct record *r)
{
	size_t size = 1 + 8 + r->value.size;
	if (r->expiry_ns)
		size += 8;
	if (r->attr.size)
		size += varint_size(r->attr.size) + r->attr.size;
	return size;
}

size_t record_encode_header(uint8_t *p, const struct record *r)
{
	size_t n = 0;
	p[n++] = (uint8_t)((r->expiry_ns ? FLAG_EXPIRY : 0) | (r->attr.size ? FLAG_ATTR : 0));
	put_u64(p + n, r->time_ns);
	n += 8;
	if (r->expiry_ns) {
		put_u64(p + n, r->expiry_ns);
		n += 8;
	}
	if (r->attr.size)
		n += put_varint(p + n, r->attr.size);
	return n;
}

void record_encode(uint8_t *p, const struct record *r)
{
	p += record_encode_header(p, r);
	if (r->attr.size) {
		memcpy(p, r->attr.data, r->attr.size);
		p += r->attr.size;
	}
	if (r->value.size)
		memcpy(p, r->value.data, r->value.size);
}

enum wombat_status record_decode_any(struct wombat_slice bytes, struct record *out)
{
	struct cursor c = cursor_of(bytes);
	struct record r = { 0 };
	uint8_t flags;
	if (!cursor_u8(&c, &flags) || (flags & ~FLAGS_KNOWN) || !cursor_u64(&c, &r.time_ns) ||
	    ((flags & FLAG_EXPIRY) && !cursor_u64(&c, &r.expiry_ns)) ||
	    ((flags & FLAG_ATTR) && (!cursor_slice(&c, &r.attr) || r.attr.size > RECORD_ATTR_MAX)))
		return fail(WOMBAT_CORRUPTION, "a record of %zu bytes is not encoded as records are", bytes.size);
	r.value = slice_make(c.p, cursor_left(&c));
	*out = r;
	return WOMBAT_OK;
}
