/*
 * Integers as bytes: little-endian fixed width, and LEB128 varints of at most 10 bytes. Decoding moves
 * a cursor and never reads past its end; a varint that is cut off or too long is refused.
 */
#ifndef WOMBAT_BASE_CODING_H
#define WOMBAT_BASE_CODING_H

#include <stdbool.h>
#include <string.h>

#include "engine/base/slice.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#define CODING_SWAP 1
#else
#define CODING_SWAP 0
#endif

static inline uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return CODING_SWAP ? __builtin_bswap32(v) : v;
}
static inline uint64_t get_u64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return CODING_SWAP ? __builtin_bswap64(v) : v;
}
static inline void put_u32(uint8_t *p, uint32_t v)
{
	v = CODING_SWAP ? __builtin_bswap32(v) : v;
	memcpy(p, &v, 4);
}
static inline void put_u64(uint8_t *p, uint64_t v)
{
	v = CODING_SWAP ? __builtin_bswap64(v) : v;
	memcpy(p, &v, 8);
}
/* Big-endian: an integer whose byte order is its numeric order. */
static inline uint64_t get_be64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return CODING_SWAP ? v : __builtin_bswap64(v);
}
static inline void put_be64(uint8_t *p, uint64_t v)
{
	v = CODING_SWAP ? v : __builtin_bswap64(v);
	memcpy(p, &v, 8);
}

enum { VARINT_MAX = 10 };

/* Writes 1 to 10 bytes at p, returns how many. */
size_t put_varint(uint8_t *p, uint64_t v);
size_t varint_size(uint64_t v);

/* What is left to decode. */
struct cursor {
	const uint8_t *p, *end;
};
static inline struct cursor cursor_of(struct wombat_slice s)
{
	return (struct cursor){ s.data, s.size ? s.data + s.size : s.data }; /* Nothing may be NULL. */
}
static inline size_t cursor_left(const struct cursor *c) { return (size_t)(c->end - c->p); }
/* False, with the cursor and the output untouched, when the bytes are not there or not valid. */
bool cursor_varint_slow(struct cursor *c, uint64_t *out);
static inline bool cursor_varint(struct cursor *c, uint64_t *out)
{
	if (c->p < c->end && *c->p < 0x80) {
		*out = *c->p++;
		return true;
	}
	return cursor_varint_slow(c, out);
}
bool cursor_u8(struct cursor *c, uint8_t *out);
bool cursor_u32(struct cursor *c, uint32_t *out);
bool cursor_u64(struct cursor *c, uint64_t *out);
bool cursor_bytes(struct cursor *c, size_t size, struct wombat_slice *out);
bool cursor_slice(struct cursor *c, struct wombat_slice *out); /* varint length, then the bytes */

#endif
