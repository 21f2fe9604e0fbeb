/*
 * Layout of write-ahead log segments. Values never change; format.md has the whole story.
 *
 * A segment is a preallocated file, reused when its changes are in tables:
 *
 *     segment header, 4096 bytes: magic 8 | version 4 | crc32c of the 12 bytes before 4 | zeroes.
 *         Written once when the file is made.
 *     records, each at a multiple of 8:
 *         crc32c 4 | payload length 4 | epoch 4 | zero 4 | durable sequence 8 | payload | zeroes to a multiple of 8
 *     payload: first sequence 8 | time ns 8 | count of changes 4 | changes (mem/write_batch.h)
 *
 * The checksum is of the file's number (8), the record's offset (8) and all that follows it to the payload's end.
 * Number and offset are not stored: they keep a record that is part of a stored value (a copy of a log, say) from
 * being taken for a record of this log when the reader searches behind a torn one.
 *
 * Epochs: each time a segment is begun or continued by a newly opened database the epoch grows. Within a
 * segment the epochs of its records never fall; what a reused file still holds from before has a lower
 * one, and ends the log. Segments are ordered by the epoch of their first record, and the epochs of a later one are
 * greater than all of an earlier one.
 *
 * Durable sequence: when the record was written, all changes up to it were on the disk. So a bad record
 * is a torn tail when no later valid record claims otherwise, and damage when one does.
 */
#ifndef WOMBAT_WAL_WAL_FORMAT_H
#define WOMBAT_WAL_WAL_FORMAT_H

#include <stdint.h>

#define WAL_MAGIC UINT64_C(0x314c41574d4f57ab)
enum {
	WAL_VERSION = 1,
	WAL_SEGMENT_HEADER_SIZE = 4096,
	WAL_RECORD_HEADER_SIZE = 24,
	WAL_PAYLOAD_HEADER_SIZE = 20,
	WAL_CHANGE_MIN = 3, /* bytes that a change has at least: kind, keyspace, length of an empty key */
	WAL_ALIGN = 8,
};
_Static_assert(WAL_SEGMENT_HEADER_SIZE % WAL_ALIGN == 0 && WAL_RECORD_HEADER_SIZE % WAL_ALIGN == 0,
	       "records and payloads are aligned");

#endif
