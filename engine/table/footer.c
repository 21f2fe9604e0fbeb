/*
 * Encoding of the footer (layout: table_format.h).
 *
 * The checks go from outside inwards: the magic says that it is a table, the checksum that the bytes are
 * those written, the version and the features that their meaning is known. So damage never looks like a
 * newer version. Every version keeps the last 16 bytes and what the checksum covers.
 */
#include "engine/table/footer.h"

#include <stdbool.h>
#include <string.h>

#include "engine/base/coding.h"
#include "engine/base/crc32c.h"

static void put_handle(uint8_t *p, struct table_handle handle)
{
	put_u64(p, handle.offset);
	put_u64(p + 8, handle.size);
}

static struct table_handle get_handle(const uint8_t *p)
{
	return (struct table_handle){ get_u64(p), get_u64(p + 8) };
}

void footer_encode(uint8_t out[TABLE_FOOTER_SIZE], const struct table_footer *footer)
{
	memset(out, 0, TABLE_FOOTER_SIZE);
	put_handle(out + TABLE_FOOTER_INDEX, footer->index);
	put_handle(out + TABLE_FOOTER_PROPERTIES, footer->properties);
	put_handle(out + TABLE_FOOTER_FILTER, footer->filter);
	put_handle(out + TABLE_FOOTER_RANGES, footer->ranges);
	put_u32(out + TABLE_FOOTER_COMPATIBLE, footer->compatible);
	put_u32(out + TABLE_FOOTER_INCOMPATIBLE, footer->incompatible);
	put_u32(out + TABLE_FOOTER_VERSION, TABLE_VERSION);
	put_u32(out + TABLE_FOOTER_CHECKSUM, crc32c(0, out, TABLE_FOOTER_CHECKSUM));
	put_u64(out + TABLE_FOOTER_MAGIC, TABLE_MAGIC);
}

static bool handle_fits(struct table_handle handle, uint64_t end)
{
	return handle.offset <= end && handle.size <= TABLE_BLOCK_MAX &&
	       handle.size + TABLE_BLOCK_TRAILER_SIZE <= end - handle.offset;
}

static bool handle_none(struct table_handle handle)
{
	return handle.offset == 0 && handle.size == 0;
}

enum wombat_status footer_decode(const uint8_t bytes[TABLE_FOOTER_SIZE], uint64_t file_bytes,
	const char *name, struct table_footer *out)
{
	if (get_u64(bytes + TABLE_FOOTER_MAGIC) != TABLE_MAGIC)
		return fail(WOMBAT_CORRUPTION, "%s: not a table, or its end is missing (no magic)", name);
	uint32_t stored = get_u32(bytes + TABLE_FOOTER_CHECKSUM);
	uint32_t computed = crc32c(0, bytes, TABLE_FOOTER_CHECKSUM);
	if (stored != computed)
		return fail(WOMBAT_CORRUPTION, "%s: footer: checksum %08x, stored %08x", name, computed,
			stored);
	uint32_t version = get_u32(bytes + TABLE_FOOTER_VERSION);
	if (version == 0 || version > TABLE_VERSION)
		return fail(WOMBAT_UNSUPPORTED, "%s: table version %u; this program reads up to %d", name,
			version, TABLE_VERSION);
	struct table_footer f = {
		.index = get_handle(bytes + TABLE_FOOTER_INDEX),
		.properties = get_handle(bytes + TABLE_FOOTER_PROPERTIES),
		.filter = get_handle(bytes + TABLE_FOOTER_FILTER),
		.ranges = get_handle(bytes + TABLE_FOOTER_RANGES),
		.compatible = get_u32(bytes + TABLE_FOOTER_COMPATIBLE),
		.incompatible = get_u32(bytes + TABLE_FOOTER_INCOMPATIBLE),
	};
	uint32_t unknown = f.incompatible & ~(uint32_t)TABLE_INCOMPATIBLE_KNOWN;
	if (unknown)
		return fail(WOMBAT_UNSUPPORTED, "%s: needs features %#x that this program lacks", name,
			unknown);
	uint64_t end = file_bytes - TABLE_FOOTER_SIZE;
	if (!handle_fits(f.index, end) || !handle_fits(f.properties, end) ||
	    (!handle_none(f.filter) && !handle_fits(f.filter, end)) ||
	    (!handle_none(f.ranges) && !handle_fits(f.ranges, end)))
		return fail(WOMBAT_CORRUPTION, "%s: footer: a part lies outside the file", name);
	*out = f;
	return WOMBAT_OK;
}
