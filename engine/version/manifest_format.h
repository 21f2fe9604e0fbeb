/*
 * Layout of the manifest and of CURRENT. Values never change; format.md has the whole story.
 *
 *     manifest   header, 32 bytes: magic 8 | version 4 | incompatible features 4 | compatible features 4 | zero 8 |
 *                    crc32c of the 28 bytes before 4
 *                records: crc32c 4 (of length and payload) | payload length 4 | payload (an edit)
 *     edit       fields: tag varint, then what the tag says
 *     CURRENT    "MANIFEST-000007\n", then the crc32c of that line as 8 hexadecimal digits and "\n"
 */
#ifndef WOMBAT_VERSION_MANIFEST_FORMAT_H
#define WOMBAT_VERSION_MANIFEST_FORMAT_H

#include <stdint.h>

#define MANIFEST_MAGIC UINT64_C(0x3154464e4d4f57ac)
enum {
	MANIFEST_VERSION = 1,
	MANIFEST_HEADER_SIZE = 32,
	MANIFEST_VERSION_OFFSET = 8,
	MANIFEST_INCOMPATIBLE_OFFSET = 12, /* a reader that does not know a bit must refuse the file */
	MANIFEST_COMPATIBLE_OFFSET = 16,   /* a reader may ignore bits that it does not know */
	MANIFEST_CRC_OFFSET = 28,
	MANIFEST_RECORD_HEADER_SIZE = 8,
	MANIFEST_RECORD_MAX = 1 << 28,
	MANIFEST_FILE_MAX = 1 << 30,
};
_Static_assert(MANIFEST_CRC_OFFSET + 4 == MANIFEST_HEADER_SIZE, "the checksum ends the header");

/* What this version knows of either kind of feature bits. */
enum { MANIFEST_INCOMPATIBLE_KNOWN = 0, MANIFEST_COMPATIBLE_KNOWN = 0 };

enum edit_tag {
	EDIT_FLUSHED_SEQUENCE = 1, /* varint */
	EDIT_LAST_SEQUENCE = 2,    /* varint */
	EDIT_NEXT_FILE_NUMBER = 3, /* varint */
	EDIT_ADD_FILE = 4,         /* twelve varints, two keys, value log references, see version_edit.c */
	EDIT_REMOVE_FILE = 5,      /* level varint, number varint */
	EDIT_JOURNAL = 6,          /* number of a value log file varint, offset in it varint */
	EDIT_OPTIONAL = 128,       /* tags from here on: length varint and bytes; skipped when not known */
};

enum edit_file_flags { EDIT_FILE_LARGEST_EXCLUDED = 1, EDIT_FILE_HAS_VALUES = 2, EDIT_FILE_HAS_SEQUENCE = 4 };

#endif
