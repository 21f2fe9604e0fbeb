/*
 * Layout of value log files. Values never change; format.md has the whole story.
 *
 *     file header, 16 bytes: magic 8 | version 4 | crc32c of the 12 bytes before 4
 *     records, one behind the other:
 *         crc32c 4 | key size 4 | value size 8 | value's checksum 4 | key (keyspace byte first) | value | chunk checksums
 *
 * The value's checksum is the crc32c of the value when that is one chunk, VLOG_CHUNK_SIZE bytes, at most. A larger one is
 * followed by the crc32c of each of its chunks (the last may be shorter), 4 bytes each, and its checksum is the crc32c of
 * these, so that any part of it can be verified without the rest.
 *
 * A record without a key is one of the journal (vlog_journal.h). Its value is at most one chunk:
 *
 *     durable sequence 8 | first sequence 8 | time ns 8 | count of changes 4 | changes
 *
 * The first checksum is of the file's number (8), the record's offset (8) and all from the key size to the key's end;
 * number and offset are not stored. A record's pointer (base/record.h) has the value's offset, size and checksum, so
 * records are read by it alone; their headers are for those who walk over a file.
 */
#ifndef WOMBAT_VLOG_VLOG_FORMAT_H
#define WOMBAT_VLOG_VLOG_FORMAT_H

#include <stdint.h>

#define VLOG_MAGIC UINT64_C(0x31474f4c4d4f57ad)
enum {
	VLOG_VERSION = 1,
	VLOG_FILE_HEADER_SIZE = 16,
	VLOG_RECORD_HEADER_SIZE = 20,
	VLOG_CHUNK_SIZE = 32768,
	VLOG_CHUNK_CRC_SIZE = 4,
	VLOG_JOURNAL_HEADER_SIZE = 28,
	VLOG_KEY_MAX = 65537,
};

#endif
