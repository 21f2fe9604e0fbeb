/*
 * Raw deflate streams (RFC 1951) by one of two libraries: zlib, or libdeflate where configure found it, which takes a half
 * to a third of the time. Each reads what the other wrote.
 */
#ifndef WOMBAT_TABLE_DEFLATE_H
#define WOMBAT_TABLE_DEFLATE_H

#include "engine/base/buf.h"

struct deflate_library {
	const char *name;
	/* `level`: 1 (fast) to 9 (small). What packs belongs to one thread at a time; NULL: out of memory, or no such level. */
	void *(*packer_new)(int level);
	void (*packer_free)(void *packer);
	/* How many of the `room` bytes the stream takes; 0: they are too few. */
	size_t (*pack)(void *packer, struct wombat_slice raw, uint8_t *out, size_t room);
	/* The stream must give exactly `size` bytes and end where `packed` ends: else WOMBAT_CORRUPTION. WOMBAT_NO_MEMORY.
	 * Neither with a sentence. */
	enum wombat_status (*unpack)(struct wombat_slice packed, uint8_t *out, size_t size);
};

extern const struct deflate_library deflate_zlib;
#ifdef HAVE_LIBDEFLATE
extern const struct deflate_library deflate_libdeflate;
#endif

/* The one in use. */
static inline const struct deflate_library *deflate_library(void)
{
#ifdef HAVE_LIBDEFLATE
	return &deflate_libdeflate;
#else
	return &deflate_zlib;
#endif
}

#endif
