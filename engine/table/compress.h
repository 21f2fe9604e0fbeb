/*
 * Compression of blocks. Two functions and what the packing one works with; any thread may unpack, each
 * packer belongs to one thread at a time.
 */
#ifndef WOMBAT_TABLE_COMPRESS_H
#define WOMBAT_TABLE_COMPRESS_H

#include "engine/base/buf.h"
#include "engine/table/table_format.h"

struct compressor;

/* `level`: 1 (fast) to 9 (small). */
MUST_CHECK enum wombat_status compressor_new(int level, struct compressor **out);
void compressor_free(struct compressor *c); /* NULL is fine */

/* Replaces `out` by the packed form of `raw`, in TABLE_COMPRESS_ZLIB, when that saves at least an eighth
 * of it; else `*out_worth` is false and `out` means nothing. */
MUST_CHECK enum wombat_status compress_block(struct compressor *c, struct wombat_slice raw, struct buf *out,
	bool *out_worth);

/* How large `stored` is unpacked; `*out_packed` is what follows. False: not a packed block. */
MUST_CHECK bool compress_raw_size(struct wombat_slice stored, size_t *out_size,
	struct wombat_slice *out_packed);
/* Unpacks exactly `size` bytes, or WOMBAT_CORRUPTION or WOMBAT_NO_MEMORY; those set no sentence, since only
 * the caller knows file and offset. */
MUST_CHECK enum wombat_status uncompress_block(struct wombat_slice packed, uint8_t *out, size_t size);

#endif
