/* Records and headers of segments: judged here for the reader and for the tests. */
#include "engine/wal/wal_segment.h"

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"

bool wal_record_at(const struct env_segment *map, uint64_t offset, struct wal_record *out)
{
	if (offset + WAL_RECORD_HEADER_SIZE + WAL_PAYLOAD_HEADER_SIZE > map->size)
		return false;
	const uint8_t *p = map->base + offset;
	uint32_t length = get_u32(p + 4);
	if (length < WAL_PAYLOAD_HEADER_SIZE || length > map->size - offset - WAL_RECORD_HEADER_SIZE ||
	    get_u32(p + 8) == 0 || get_u32(p + 12) != 0)
		return false;
	if (crc32c(0, p + 4, WAL_RECORD_HEADER_SIZE - 4 + length) != get_u32(p))
		return false;
	const uint8_t *payload = p + WAL_RECORD_HEADER_SIZE;
	*out = (struct wal_record){
		.epoch = get_u32(p + 8),
		.durable_sequence = get_u64(p + 16),
		.sequence = get_u64(payload),
		.time_ns = get_u64(payload + 8),
		.count = get_u32(payload + 16),
		.body = slice_make(payload + WAL_PAYLOAD_HEADER_SIZE, length - WAL_PAYLOAD_HEADER_SIZE),
		.end = offset + wal_record_size(length),
	};
	return true;
}

void wal_header_encode(uint8_t *p)
{
	put_u64(p, WAL_MAGIC);
	put_u32(p + 8, WAL_VERSION);
	put_u32(p + 12, crc32c(0, p, 12));
}

enum wombat_status wal_header_check(const struct env_segment *map, const char *path)
{
	if (map->size < WAL_SEGMENT_HEADER_SIZE || get_u64(map->base) != WAL_MAGIC ||
	    get_u32(map->base + 12) != crc32c(0, map->base, 12))
		return fail(WOMBAT_CORRUPTION, "%s: its header at offset 0 is damaged", path);
	if (get_u32(map->base + 8) > WAL_VERSION)
		return fail(WOMBAT_UNSUPPORTED, "%s has version %u, newer than %d", path, get_u32(map->base + 8), WAL_VERSION);
	return WOMBAT_OK;
}

void wal_segment_free(struct env *env, struct wal_segment *s)
{
	env->calls->segment_close(s->map);
	mem_free(s);
}
