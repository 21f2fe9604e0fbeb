/*
 * Blocks packed by zlib.
 *
 *     stored: unpacked size varint | raw deflate stream (RFC 1951)
 *
 * The stream has neither zlib's header nor its checksum: the block's own covers it. Packing gets only as
 * much room as is worth filling, so it stops early on bytes that do not shrink. deflate's state, a quarter
 * of a MiB, is kept from block to block; inflate's is small, lives for one call, and needs no window
 * because input and output are whole.
 */
#include "engine/table/compress.h"

#include <zlib.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"

enum {
	DEFLATE_WINDOW_BITS = -15, /* negative: a raw stream */
	DEFLATE_MEMORY_LEVEL = 8,
	RATIO_MAX = 1032, /* of deflate; more is a lie and must not be allocated */
};

struct compressor {
	z_stream stream;
};

static void *zlib_alloc(void *opaque, unsigned count, unsigned size)
{
	(void)opaque;
	return mem_zalloc((size_t)count * size);
}

static void zlib_free(void *opaque, void *p)
{
	(void)opaque;
	mem_free(p);
}

enum wombat_status compressor_new(int level, struct compressor **out)
{
	struct compressor *c = mem_zalloc(sizeof(*c));
	if (!c)
		return fail_no_memory();
	c->stream.zalloc = zlib_alloc;
	c->stream.zfree = zlib_free;
	int error = deflateInit2(&c->stream, level, Z_DEFLATED, DEFLATE_WINDOW_BITS, DEFLATE_MEMORY_LEVEL,
		Z_DEFAULT_STRATEGY);
	if (error != Z_OK) {
		mem_free(c);
		if (error == Z_MEM_ERROR)
			return fail_no_memory();
		return fail(WOMBAT_INVALID, "zlib refuses compression level %d", level);
	}
	*out = c;
	return WOMBAT_OK;
}

void compressor_free(struct compressor *c)
{
	if (!c)
		return;
	deflateEnd(&c->stream);
	mem_free(c);
}

enum wombat_status compress_block(struct compressor *c, struct wombat_slice raw, struct buf *out,
	bool *out_worth)
{
	*out_worth = false;
	size_t room = raw.size - raw.size / 8;
	if (room <= VARINT_MAX)
		return WOMBAT_OK;
	buf_clear(out);
	enum wombat_status s = buf_reserve(out, room);
	if (s != WOMBAT_OK)
		return s;
	size_t head = put_varint(out->data, raw.size);
	if (deflateReset(&c->stream) != Z_OK)
		return fail(WOMBAT_INVALID, "zlib: cannot reset a deflate stream");
	c->stream.next_in = (uint8_t *)raw.data; /* only read; zlib's type lacks the const */
	c->stream.avail_in = (uInt)raw.size;
	c->stream.next_out = out->data + head;
	c->stream.avail_out = (uInt)(room - head);
	if (deflate(&c->stream, Z_FINISH) != Z_STREAM_END)
		return WOMBAT_OK; /* it does not fit into what is worth it */
	out->size = (size_t)(c->stream.next_out - out->data);
	*out_worth = true;
	return WOMBAT_OK;
}

bool compress_raw_size(struct wombat_slice stored, size_t *out_size, struct wombat_slice *out_packed)
{
	struct cursor c = cursor_of(stored);
	uint64_t size;
	if (!cursor_varint(&c, &size) || size > TABLE_BLOCK_MAX || size / RATIO_MAX > cursor_left(&c))
		return false;
	*out_size = (size_t)size;
	*out_packed = slice_make(c.p, cursor_left(&c));
	return true;
}

enum wombat_status uncompress_block(struct wombat_slice packed, uint8_t *out, size_t size)
{
	z_stream stream = { .zalloc = zlib_alloc, .zfree = zlib_free };
	if (inflateInit2(&stream, DEFLATE_WINDOW_BITS) != Z_OK)
		return WOMBAT_NO_MEMORY;
	stream.next_in = (uint8_t *)packed.data;
	stream.avail_in = (uInt)packed.size;
	stream.next_out = out;
	stream.avail_out = (uInt)size;
	int result = inflate(&stream, Z_FINISH);
	bool whole = result == Z_STREAM_END && stream.avail_out == 0 && stream.avail_in == 0;
	inflateEnd(&stream);
	if (result == Z_MEM_ERROR)
		return WOMBAT_NO_MEMORY;
	return whole ? WOMBAT_OK : WOMBAT_CORRUPTION;
}
