/* Deflate by libdeflate, whose memory is its own. Nothing here in a build without it. */
#include "engine/table/deflate.h"

#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>

static void *packer_new(int level)
{
	return libdeflate_alloc_compressor(level);
}

static void packer_free(void *packer)
{
	libdeflate_free_compressor(packer);
}

static size_t pack(void *packer, struct wombat_slice raw, uint8_t *out, size_t room)
{
	return libdeflate_deflate_compress(packer, raw.data, raw.size, out, room);
}

static enum wombat_status unpack(struct wombat_slice packed, uint8_t *out, size_t size)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	size_t read = 0, written = 0;
	if (!d)
		return WOMBAT_NO_MEMORY;
	enum libdeflate_result result =
		libdeflate_deflate_decompress_ex(d, packed.data, packed.size, out, size, &read, &written);
	libdeflate_free_decompressor(d);
	return result == LIBDEFLATE_SUCCESS && read == packed.size && written == size ? WOMBAT_OK : WOMBAT_CORRUPTION;
}

const struct deflate_library deflate_libdeflate = { "libdeflate", packer_new, packer_free, pack, unpack };
#endif
