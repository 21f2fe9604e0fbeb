/* The footer of a table: where its parts are, and whether this version may read them. */
#ifndef WOMBAT_TABLE_FOOTER_H
#define WOMBAT_TABLE_FOOTER_H

#include "engine/base/status.h"
#include "engine/table/table_format.h"

struct table_footer {
	struct table_handle index, properties, filter, ranges;
	uint32_t compatible, incompatible;
};

void footer_encode(uint8_t out[TABLE_FOOTER_SIZE], const struct table_footer *footer);
/* `file_bytes`: of the whole file, which every handle must fit into before the footer. `name` is the file's.
 * WOMBAT_CORRUPTION, or WOMBAT_UNSUPPORTED for what a newer version wrote. */
MUST_CHECK enum wombat_status footer_decode(const uint8_t bytes[TABLE_FOOTER_SIZE], uint64_t file_bytes,
	const char *name, struct table_footer *out);

#endif
