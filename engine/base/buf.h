/*
 * Owned, growable bytes. A zeroed struct is an empty buffer. Growth doubles; a failed growth leaves
 * the content as it was.
 */
#ifndef WOMBAT_BASE_BUF_H
#define WOMBAT_BASE_BUF_H

#include "engine/base/slice.h"
#include "engine/base/status.h"

struct buf {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

void buf_done(struct buf *b);            /* frees; `b` is empty again */
static inline void buf_clear(struct buf *b) { b->size = 0; }
static inline struct wombat_slice buf_slice(const struct buf *b) { return slice_make(b->data, b->size); }
/* Room for `more` bytes behind `size`; `size` is unchanged. */
MUST_CHECK enum wombat_status buf_reserve(struct buf *b, size_t more);
MUST_CHECK enum wombat_status buf_append(struct buf *b, const void *data, size_t size);
MUST_CHECK enum wombat_status buf_append_byte(struct buf *b, uint8_t byte);
MUST_CHECK enum wombat_status buf_append_u32(struct buf *b, uint32_t value); /* little-endian */
MUST_CHECK enum wombat_status buf_append_u64(struct buf *b, uint64_t value);
MUST_CHECK enum wombat_status buf_append_varint(struct buf *b, uint64_t value);
/* Varint length, then the bytes. */
MUST_CHECK enum wombat_status buf_append_slice(struct buf *b, struct wombat_slice s);
MUST_CHECK enum wombat_status buf_set_grown(struct buf *b, struct wombat_slice s);
/* Replaces the content. */
MUST_CHECK static inline enum wombat_status buf_set(struct buf *b, struct wombat_slice s)
{
	if (s.size > b->capacity)
		return buf_set_grown(b, s);
	b->size = s.size;
	if (s.size)
		memmove(b->data, s.data, s.size);
	return WOMBAT_OK;
}
MUST_CHECK enum wombat_status buf_printf(struct buf *b, const char *format, ...)
	__attribute__((format(printf, 2, 3))); /* appends; keeps a NUL behind size */

#endif
