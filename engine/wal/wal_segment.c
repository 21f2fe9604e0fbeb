/* Records and headers of segments: judged here for the reader and for the tests. */
#include "engine/wal/wal_segment.h"

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/base/ikey.h"

uint32_t wal_record_crc(uint64_t number, uint64_t offset, const uint8_t *header, uint32_t payload)
{
	uint8_t place[16];
	put_u64(place, number);
	put_u64(place + 8, offset);
	return crc32c(crc32c(0, place, sizeof place), header + 4, WAL_RECORD_HEADER_SIZE - 4 + (size_t)payload);
}

/* What costs nothing is judged first: the reader asks at every eighth byte. */
bool wal_record_at(const struct wal_segment *s, uint64_t offset, struct wal_record *out)
{
	uint64_t size = s->map->size;
	if (offset > size || size - offset < WAL_RECORD_HEADER_SIZE + WAL_PAYLOAD_HEADER_SIZE)
		return false;
	const uint8_t *p = s->map->base + offset, *payload = p + WAL_RECORD_HEADER_SIZE;
	uint32_t length = get_u32(p + 4);
	if (get_u32(p + 8) == 0 || get_u32(p + 12) != 0 || length < WAL_PAYLOAD_HEADER_SIZE ||
	    length > size - offset - WAL_RECORD_HEADER_SIZE)
		return false;
	struct wal_record r = {
		.epoch = get_u32(p + 8),
		.durable_sequence = get_u64(p + 16),
		.sequence = get_u64(payload),
		.time_ns = get_u64(payload + 8),
		.count = get_u32(payload + 16),
		.body = slice_make(payload + WAL_PAYLOAD_HEADER_SIZE, length - WAL_PAYLOAD_HEADER_SIZE),
		.end = offset + wal_record_size(length),
	};
	if (r.sequence == 0 || r.sequence > SEQUENCE_MAX - r.count || r.durable_sequence >= r.sequence ||
	    r.count > r.body.size / WAL_CHANGE_MIN)
		return false;
	if (wal_record_crc(s->number, offset, p, length) != get_u32(p))
		return false;
	*out = r;
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
	uint32_t version = get_u32(map->base + 8);
	if (version > WAL_VERSION)
		return fail(WOMBAT_UNSUPPORTED, "%s has version %u, newer than %d", path, version, WAL_VERSION);
	if (version < WAL_VERSION)
		return fail(WOMBAT_CORRUPTION, "%s: version %u in its header never was", path, version);
	return WOMBAT_OK;
}

void wal_segment_free(struct env *env, struct wal_segment *s)
{
	env->calls->segment_close(s->map);
	mem_free(s);
}
