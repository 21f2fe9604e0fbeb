/* Varints and the decoding cursor. */
#include "engine/base/coding.h"

size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;
	while (v >= 0x80) {
		p[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (uint8_t)v;
	return n;
}

size_t varint_size(uint64_t v)
{
	size_t n = 1;
	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

bool cursor_varint_slow(struct cursor *c, uint64_t *out)
{
	uint64_t v = 0;
	const uint8_t *p = c->p;
	for (unsigned shift = 0; shift < 70 && p < c->end; shift += 7) {
		uint8_t byte = *p++;
		if (shift == 63 && byte > 1)
			return false; /* Bits beyond the 64th. */
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*out = v;
			c->p = p;
			return true;
		}
	}
	return false;
}

bool cursor_u8(struct cursor *c, uint8_t *out)
{
	if (c->p == c->end)
		return false;
	*out = *c->p++;
	return true;
}

bool cursor_u32(struct cursor *c, uint32_t *out)
{
	if (cursor_left(c) < 4)
		return false;
	*out = get_u32(c->p);
	c->p += 4;
	return true;
}

bool cursor_u64(struct cursor *c, uint64_t *out)
{
	if (cursor_left(c) < 8)
		return false;
	*out = get_u64(c->p);
	c->p += 8;
	return true;
}

bool cursor_bytes(struct cursor *c, size_t size, struct wombat_slice *out)
{
	if (cursor_left(c) < size)
		return false;
	*out = slice_make(c->p, size);
	c->p += size;
	return true;
}

bool cursor_slice(struct cursor *c, struct wombat_slice *out)
{
	struct cursor probe = *c;
	uint64_t size;
	if (!cursor_varint(&probe, &size) || size > cursor_left(&probe))
		return false;
	*c = probe;
	return cursor_bytes(c, (size_t)size, out);
}
