/*
 * Packed blocks.
 *
 *     stored: unpacked size varint | raw deflate stream (RFC 1951)
 *
 * The stream has neither zlib's header nor its checksum: the block's own covers it. Packing gets only as much room as is
 * worth filling, so it stops early on bytes that do not shrink.
 */
#include "engine/table/compress.h"

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/table/deflate.h"

enum { RATIO_MAX = 1032 /* of deflate; more is a lie and must not be allocated */ };

struct compressor {
	const struct deflate_library *library;
	void *packer;
};

enum wombat_status compressor_new(int level, struct compressor **out)
{
	if (level < 1 || level > 9)
		return fail(WOMBAT_INVALID, "there is no compression level %d", level);
	struct compressor *c = mem_zalloc(sizeof(*c));
	if (!c)
		return fail_no_memory();
	c->library = deflate_library();
	c->packer = c->library->packer_new(level);
	if (!c->packer) {
		mem_free(c);
		return fail_no_memory();
	}
	*out = c;
	return WOMBAT_OK;
}

void compressor_free(struct compressor *c)
{
	if (!c)
		return;
	c->library->packer_free(c->packer);
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
	size_t packed = c->library->pack(c->packer, raw, out->data + head, room - head);
	if (packed == 0)
		return WOMBAT_OK; /* it does not fit into what is worth it */
	out->size = head + packed;
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
	return deflate_library()->unpack(packed, out, size);
}
