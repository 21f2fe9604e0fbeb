/*
 * The value of a KIND_PUT entry: what surrounds a user's bytes.
 *
 *     flags   1 byte: bit 0 expiry present, bit 1 attributes present, bit 2 the value is elsewhere, bit 3 of that only a
 *             part counts (with bit 2 only), bit 4 the value is in extents (not with bit 2), bit 5 these may be those of
 *             other keys too (with bit 4 only); others 0
 *     time    8 bytes, ns since 1970, little-endian
 *     expiry  8 bytes, if bit 0
 *     attr    varint length and bytes, if bit 1
 *     value   the rest; with bit 2 a pointer into the value log: file number, offset and size of the value as
 *             varints, the value's checksum (vlog/vlog_format.h) 4; with bit 3 then the part's offset in it and its
 *             size as varints. With bit 4 the extents' id 8, little-endian, the value's size and the bytes that are in
 *             extents as varints (db/extents.h)
 *
 * So its size and attributes are readable without a value that is elsewhere.
 */
#ifndef WOMBAT_BASE_RECORD_H
#define WOMBAT_BASE_RECORD_H

#include "engine/base/buf.h"
#include "engine/base/coding.h"

/* A record without its attributes' bytes and its value takes at most so many. */
enum { RECORD_HEADER_MAX = 1 + 8 + 8 + 10, RECORD_ATTR_MAX = 4 << 20 };

/* Where in the value log a value is. */
struct value_pointer {
	uint64_t file;   /* number; never 0 */
	uint64_t offset; /* of the value's first byte */
	uint64_t size;
	uint32_t crc;    /* the value's checksum */
};

/* A value that is in extents. */
struct value_extents {
	uint64_t id;
	uint64_t size;   /* of the value */
	uint64_t stored; /* bytes that are in extents; the rest is holes, which read as zeros */
	bool shared;     /* other keys may have a head with the id */
};

struct record {
	uint64_t time_ns;
	uint64_t expiry_ns; /* 0: never */
	struct wombat_slice attr;
	struct wombat_slice value; /* empty when it is elsewhere or in extents */
	bool elsewhere;
	bool part;                 /* when it is: of what the pointer says only a part */
	bool in_extents;
	struct value_pointer pointer; /* meaningful when it is elsewhere */
	uint64_t part_at, part_size;  /* meaningful for a part */
	struct value_extents extents; /* meaningful when it is in extents */
};
/* How much of what the pointer says the record has. */
static inline uint64_t record_part_size(const struct record *r) { return r->part ? r->part_size : r->pointer.size; }
static inline uint64_t record_value_size(const struct record *r)
{
	return r->elsewhere ? record_part_size(r) : r->in_extents ? r->extents.size : r->value.size;
}

/* Bytes that the encoding of `r` takes; then writes exactly these at p. */
size_t record_encoded_size(const struct record *r);
void record_encode(uint8_t *p, const struct record *r);
MUST_CHECK enum wombat_status record_decode_any(struct wombat_slice bytes, struct record *out);
/* The slices point into `bytes`. WOMBAT_CORRUPTION: not such an encoding. Inline for what most records are: a time and
 * a value. */
MUST_CHECK static inline enum wombat_status record_decode(struct wombat_slice bytes, struct record *out)
{
	enum { PLAIN_HEADER = 1 + 8 };
	if (__builtin_expect(bytes.size < PLAIN_HEADER || bytes.data[0] != 0, 0))
		return record_decode_any(bytes, out);
	out->time_ns = get_u64(bytes.data + 1);
	out->expiry_ns = 0;
	out->attr = (struct wombat_slice){ NULL, 0 };
	out->value = slice_make(bytes.data + PLAIN_HEADER, bytes.size - PLAIN_HEADER);
	out->elsewhere = out->in_extents = false;
	return WOMBAT_OK;
}

/* How much of it takes space. */
static inline uint64_t record_stored_size(const struct record *r) { return r->in_extents ? r->extents.stored : record_value_size(r); }

/* Whether the encoded record has its value in itself. */
static inline bool record_is_whole(struct wombat_slice bytes) { return bytes.size && bytes.data[0] < 4; }

/* False: the encoded record is not one of a value in extents. */
static inline bool record_may_be_head(struct wombat_slice bytes) { return bytes.size && bytes.data[0] >= 16; }

static inline bool record_expired(uint64_t expiry_ns, uint64_t now_ns) { return expiry_ns && expiry_ns <= now_ns; }

#endif
