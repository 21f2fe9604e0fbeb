/*
 * Deflate by zlib. The packer's state, a quarter of a MiB, is kept from stream to stream; what unpacks is small, lives for
 * one call, and needs no window because input and output are whole.
 */
#include <zlib.h>

#include "engine/base/alloc.h"
#include "engine/table/deflate.h"

enum {
	WINDOW_BITS = -15, /* negative: a raw stream */
	MEMORY_LEVEL = 8,
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

static void *packer_new(int level)
{
	z_stream *stream = mem_zalloc(sizeof(*stream));
	if (!stream)
		return NULL;
	stream->zalloc = zlib_alloc;
	stream->zfree = zlib_free;
	if (deflateInit2(stream, level, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
		mem_free(stream);
		return NULL;
	}
	return stream;
}

static void packer_free(void *packer)
{
	deflateEnd(packer);
	mem_free(packer);
}

static size_t pack(void *packer, struct wombat_slice raw, uint8_t *out, size_t room)
{
	z_stream *stream = packer;
	if (deflateReset(stream) != Z_OK)
		return 0;
	stream->next_in = (uint8_t *)raw.data; /* only read; zlib's type lacks the const */
	stream->avail_in = (uInt)raw.size;
	stream->next_out = out;
	stream->avail_out = (uInt)room;
	return deflate(stream, Z_FINISH) == Z_STREAM_END ? (size_t)(stream->next_out - out) : 0;
}

static enum wombat_status unpack(struct wombat_slice packed, uint8_t *out, size_t size)
{
	z_stream stream = { .zalloc = zlib_alloc, .zfree = zlib_free };
	if (inflateInit2(&stream, WINDOW_BITS) != Z_OK)
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

const struct deflate_library deflate_zlib = { "zlib", packer_new, packer_free, pack, unpack };
