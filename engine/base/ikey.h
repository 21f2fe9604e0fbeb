/*
 * Internal keys: what memtables and tables are sorted by.
 *
 *     keyspace (1 byte) | user key | tag (8 bytes, little-endian: sequence << 8 | kind)
 *
 * Order: keyspace and user key ascending as bytes, then tag descending, so that of one key the newest
 * version comes first. "Key" below, without more, is keyspace byte plus user key: the tag is apart.
 */
#ifndef WOMBAT_BASE_IKEY_H
#define WOMBAT_BASE_IKEY_H

#include "engine/base/coding.h"
#include "engine/base/slice.h"
#include "engine/base/status.h"

/* On disk: values never change. */
enum ikey_kind {
	KIND_DELETE = 0,
	KIND_PUT = 1,          /* value: an encoded record, see base/record.h */
	KIND_DELETE_RANGE = 2, /* in WAL records only; tables and memtables keep ranges apart */
};

#define SEQUENCE_MAX ((UINT64_C(1) << 56) - 1)
#define TAG_MAX UINT64_MAX
enum { IKEY_TAG_SIZE = 8 };

static inline uint64_t tag_make(uint64_t sequence, enum ikey_kind kind) { return sequence << 8 | (uint64_t)kind; }
static inline uint64_t tag_sequence(uint64_t tag) { return tag >> 8; }
static inline enum ikey_kind tag_kind(uint64_t tag) { return (enum ikey_kind)(tag & 0xff); }

/* Of an encoded internal key (size >= 8, checked by whoever decoded it from disk). */
static inline struct wombat_slice ikey_user(struct wombat_slice ikey)
{
	return slice_make(ikey.data, ikey.size - IKEY_TAG_SIZE);
}
static inline uint64_t ikey_tag(struct wombat_slice ikey) { return get_u64(ikey.data + ikey.size - IKEY_TAG_SIZE); }

static inline int ikey_compare_parts(struct wombat_slice a, uint64_t a_tag, struct wombat_slice b, uint64_t b_tag)
{
	int c = slice_compare(a, b);
	return c ? c : (a_tag < b_tag) - (a_tag > b_tag);
}
static inline int ikey_compare(struct wombat_slice a, struct wombat_slice b)
{
	return ikey_compare_parts(ikey_user(a), ikey_tag(a), ikey_user(b), ikey_tag(b));
}

/* WOMBAT_INVALID: not one that a caller may name; 0 is the engine's own. */
MUST_CHECK enum wombat_status keyspace_check(unsigned keyspace);

/* Keys in sentences: what is not printable, '"' and '\\' as \xHH, a long one cut. key_text: without its keyspace byte;
 * key_text_full: with it, as in `keyspace 1 key "users/42"`, an empty one being the end of all. Both return what they say. */
enum { KEY_TEXT_SHOWN = 64, KEY_TEXT = KEY_TEXT_SHOWN * 4 + 4, KEY_TEXT_FULL = KEY_TEXT + 24 };
const char *key_text(struct wombat_slice key, char out[KEY_TEXT]);
const char *key_text_full(struct wombat_slice key, char out[KEY_TEXT_FULL]);

#endif
