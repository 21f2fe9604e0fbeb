/*
 * Layout of sorted tables (.sst). Values never change; format.md has the whole story.
 *
 *     data block*  filter block?  range tombstone block?  properties block  index block  footer
 *
 * A block is its bytes (perhaps compressed) and a 5-byte trailer: compression 1 | crc32c 4 (of the
 * stored bytes and the compression byte). A handle names one: offset and size without the trailer.
 *
 * The footer, the last 96 bytes of the file, all integers little-endian:
 *
 *     offset size
 *          0   16  handle of the index block: offset 8, size 8
 *         16   16  handle of the properties block
 *         32   16  handle of the filter block; both 0: none
 *         48   16  handle of the range tombstone block; both 0: none
 *         64    4  compatible feature bits: a reader may ignore those that it does not know
 *         68    4  incompatible feature bits: a reader that does not know one must refuse the file
 *         72    8  0, ignored by readers
 *         80    4  version
 *         84    4  crc32c of the 84 bytes before
 *         88    8  magic
 */
#ifndef WOMBAT_TABLE_TABLE_FORMAT_H
#define WOMBAT_TABLE_TABLE_FORMAT_H

#include <stdint.h>

#define TABLE_MAGIC UINT64_C(0x314c425454424d57)
enum {
	TABLE_VERSION = 1,
	TABLE_BLOCK_TRAILER_SIZE = 5,
	TABLE_FOOTER_SIZE = 96,
	TABLE_FOOTER_INDEX = 0,
	TABLE_FOOTER_PROPERTIES = 16,
	TABLE_FOOTER_FILTER = 32,
	TABLE_FOOTER_RANGES = 48,
	TABLE_FOOTER_COMPATIBLE = 64,
	TABLE_FOOTER_INCOMPATIBLE = 68,
	TABLE_FOOTER_RESERVED = 72,
	TABLE_FOOTER_VERSION = 80,
	TABLE_FOOTER_CHECKSUM = 84,
	TABLE_FOOTER_MAGIC = 88,
};
_Static_assert(TABLE_FOOTER_MAGIC + 8 == TABLE_FOOTER_SIZE, "the magic ends the footer");
_Static_assert(TABLE_FOOTER_CHECKSUM + 4 == TABLE_FOOTER_MAGIC, "the checksum covers all before it");

/* What this version knows of either kind of feature bits. */
enum { TABLE_COMPATIBLE_KNOWN = 0, TABLE_INCOMPATIBLE_KNOWN = 0 };

/* No block, stored or unpacked, is larger: offsets in it are 32 bits, and a value of 1 GiB with its key and
 * attributes fits by far. */
#define TABLE_BLOCK_MAX UINT32_C(0xf0000000)

/* What follows a data block's entries: a fence and an offset for each restart, the size of the prefix that
 * all keys have, and how many restarts there are, with 4 bits kept for features of the block. */
enum {
	BLOCK_FENCE_SIZE = 8,
	BLOCK_RESTART_SIZE = 4,
	BLOCK_TAIL_SIZE = 4 + 4,
};
#define BLOCK_RESTART_COUNT_MASK UINT32_C(0x0fffffff)

/* On disk: values never change. */
enum table_compression { TABLE_COMPRESS_NONE = 0, TABLE_COMPRESS_ZLIB = 1 };

/* The filter block: lines of 64 bytes, a checksum for each page of them, a checksum of the checksums and the tail,
 * and the tail. A page is what is read and cached at a time. */
enum {
	FILTER_LINE_SIZE = 64,
	FILTER_PAGE_LINES = 256, /* the last page may have fewer */
	FILTER_PAGE_SIZE = FILTER_PAGE_LINES * FILTER_LINE_SIZE,
	FILTER_KIND_PAGED = 2,   /* 1 had no checksums of pages */
	FILTER_TAIL_SIZE = 16,   /* kind 1 | probes 1 | zero 2 | lines 4 | keys 8 */
	FILTER_CHECKSUM_SIZE = 4,
};
/* Seeds of the hashes, so that key "a/" and prefix "a/" are different things. */
enum { FILTER_SEED_KEY = 0, FILTER_SEED_PREFIX = 1 };

struct table_handle {
	uint64_t offset;
	uint64_t size; /* without the trailer; 0 with offset 0: no such block */
};

#endif
