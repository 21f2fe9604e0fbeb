/*
 * Layout of the attribute blob that stands beside a value. Values never change; fs/doc/format.md has the story.
 *
 *     version 1 | field mask 2, little-endian | the fields whose bits are set, in the order of the bits
 *
 * A field that equals its default is left out; when all are, there is no blob at all.
 */
#ifndef WOMBAT_FS_ATTR_FORMAT_H
#define WOMBAT_FS_ATTR_FORMAT_H

enum { ATTR_VERSION = 1, ATTR_BLOB_MAX = 4 << 20 };

enum attr_field {
	ATTR_MODE = 1 << 0,  /* 4 bytes: type and permissions */
	ATTR_UID = 1 << 1,   /* 4 */
	ATTR_GID = 1 << 2,   /* 4 */
	ATTR_MTIME = 1 << 3, /* 8: signed ns since 1970; default: the record's time */
	ATTR_CTIME = 1 << 4, /* 8; default: mtime */
	ATTR_ATIME = 1 << 5, /* 8; default: mtime */
	ATTR_INO = 1 << 6,   /* 8; default: follows from parent and name */
	ATTR_RDEV = 1 << 7,  /* 8 */
	ATTR_XATTRS = 1 << 8, /* 4: bytes that follow: name length 1, name, value length 2, value, for each */
	ATTR_LINKED = 1 << 9, /* 0: the file may have several names; see links.h */
	ATTR_WIDE = 1 << 10,  /* 0: lengths of values of extended attributes are 4 bytes, not 2 */
	ATTR_KNOWN = (1 << 11) - 1,
};

#endif
