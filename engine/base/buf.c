/* Growable bytes. */
#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"

enum { BUF_MIN = 64 };

void buf_done(struct buf *b)
{
	mem_free(b->data);
	*b = (struct buf){ 0 };
}

enum wombat_status buf_reserve(struct buf *b, size_t more)
{
	if (more <= b->capacity - b->size)
		return WOMBAT_OK;
	if (more > SIZE_MAX / 4 - b->size)
		return fail_no_memory();
	size_t capacity = b->capacity ? 2 * b->capacity : BUF_MIN;
	if (capacity < b->size + more)
		capacity = b->size + more;
	uint8_t *data = mem_realloc(b->data, capacity);
	if (!data)
		return fail_no_memory();
	b->data = data;
	b->capacity = capacity;
	return WOMBAT_OK;
}

enum wombat_status buf_append(struct buf *b, const void *data, size_t size)
{
	enum wombat_status s = buf_reserve(b, size);
	if (s == WOMBAT_OK && size) {
		memcpy(b->data + b->size, data, size);
		b->size += size;
	}
	return s;
}

enum wombat_status buf_append_byte(struct buf *b, uint8_t byte)
{
	return buf_append(b, &byte, 1);
}

enum wombat_status buf_append_u32(struct buf *b, uint32_t value)
{
	uint8_t bytes[4];
	put_u32(bytes, value);
	return buf_append(b, bytes, sizeof bytes);
}

enum wombat_status buf_append_u64(struct buf *b, uint64_t value)
{
	uint8_t bytes[8];
	put_u64(bytes, value);
	return buf_append(b, bytes, sizeof bytes);
}

enum wombat_status buf_append_varint(struct buf *b, uint64_t value)
{
	uint8_t bytes[VARINT_MAX];
	return buf_append(b, bytes, put_varint(bytes, value));
}

enum wombat_status buf_append_slice(struct buf *b, struct wombat_slice s)
{
	enum wombat_status status = buf_reserve(b, VARINT_MAX + s.size);
	if (status != WOMBAT_OK)
		return status;
	b->size += put_varint(b->data + b->size, s.size);
	if (s.size)
		memcpy(b->data + b->size, s.data, s.size);
	b->size += s.size;
	return WOMBAT_OK;
}

enum wombat_status buf_set_grown(struct buf *b, struct wombat_slice s)
{
	enum wombat_status status = buf_reserve(b, s.size - b->size);
	return status == WOMBAT_OK ? buf_set(b, s) : status;
}

enum wombat_status buf_printf(struct buf *b, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	enum wombat_status s = n < 0 ? fail(WOMBAT_INVALID, "a text cannot be formatted") : buf_reserve(b, (size_t)n + 1);
	if (s == WOMBAT_OK) {
		vsnprintf((char *)b->data + b->size, (size_t)n + 1, format, again);
		b->size += (size_t)n;
	}
	va_end(again);
	return s;
}
