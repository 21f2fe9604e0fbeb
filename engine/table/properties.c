/*
 * The properties block:  field*   with  field: name length varint | name | value varint
 *
 * Fields are in the order of the table below, which is not relied on; a name comes at most once.
 */
#include "engine/table/properties.h"

#include <stddef.h>

#include "engine/base/coding.h"

static const struct property {
	const char *name;
	size_t offset;
} properties[] = {
#define PROPERTY(field) { #field, offsetof(struct table_properties, field) }
	PROPERTY(entries),
	PROPERTY(deletes),
	PROPERTY(range_deletes),
	PROPERTY(raw_key_bytes),
	PROPERTY(raw_value_bytes),
	PROPERTY(smallest_sequence),
	PROPERTY(largest_sequence),
	PROPERTY(min_expiry_ns),
	PROPERTY(created_ns),
	PROPERTY(data_blocks),
	PROPERTY(compression),
	PROPERTY(block_bytes),
	PROPERTY(restart_interval),
	PROPERTY(filter_kind),
	PROPERTY(filter_probes),
	PROPERTY(filter_bits_per_key_x100),
	PROPERTY(filter_keys),
#undef PROPERTY
};
enum { PROPERTY_COUNT = sizeof(properties) / sizeof(properties[0]) };
_Static_assert(PROPERTY_COUNT * sizeof(uint64_t) == sizeof(struct table_properties),
	"every property is listed");

const char *properties_at(const struct table_properties *p, size_t index, uint64_t *out_value)
{
	if (index >= PROPERTY_COUNT)
		return NULL;
	memcpy(out_value, (const uint8_t *)p + properties[index].offset, sizeof(*out_value));
	return properties[index].name;
}

enum wombat_status properties_encode(const struct table_properties *p, struct buf *out)
{
	const char *name;
	uint64_t value;
	buf_clear(out);
	for (size_t i = 0; (name = properties_at(p, i, &value)); i++) {
		enum wombat_status s = buf_append_slice(out, WOMBAT_STR(name));
		if (s == WOMBAT_OK)
			s = buf_append_varint(out, value);
		if (s != WOMBAT_OK)
			return s;
	}
	return WOMBAT_OK;
}

static size_t property_find(struct wombat_slice name)
{
	size_t i = 0;
	while (i < PROPERTY_COUNT && !slice_equal(name, WOMBAT_STR(properties[i].name)))
		i++;
	return i;
}

const char *properties_decode(struct wombat_slice bytes, struct table_properties *out)
{
	struct cursor c = cursor_of(bytes);
	bool seen[PROPERTY_COUNT] = { false };
	struct table_properties p = { 0 };
	while (cursor_left(&c)) {
		struct wombat_slice name;
		uint64_t value;
		if (!cursor_slice(&c, &name) || !cursor_varint(&c, &value))
			return "a field is cut off";
		size_t i = property_find(name);
		if (i == PROPERTY_COUNT)
			continue;
		if (seen[i])
			return "a field comes twice";
		seen[i] = true;
		memcpy((uint8_t *)&p + properties[i].offset, &value, sizeof(value));
	}
	*out = p;
	return NULL;
}
