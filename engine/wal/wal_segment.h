/*
 * Segments as the reader finds them and the writer uses them, and the one function that judges a record.
 */
#ifndef WOMBAT_WAL_WAL_SEGMENT_H
#define WOMBAT_WAL_WAL_SEGMENT_H

#include "engine/base/coding.h"
#include "engine/env/env.h"
#include "engine/wal/wal_format.h"

struct wal_segment {
	struct wal_segment *next;
	struct env_segment *map;
	uint64_t number;       /* of its file */
	uint32_t first_epoch;  /* of its first record; 0: none */
	uint32_t last_epoch;   /* of its last record */
	uint64_t used;         /* where the next record goes */
	bool dirty;            /* writer: holds records that may not be durable */
	uint64_t rested;       /* writer, who syncs: no store comes before it any more, and the map knows */

	/* Reader. */
	uint64_t last_sequence;   /* of the records up to `used`; 0: none */
	uint64_t beyond_sequence; /* of whole records behind `used`, which are not the segment's log; 0: none */
	bool live;                /* holds changes that are not in tables */
};

/* What recovery found: handed to the writer. */
struct wal_tail {
	struct wal_segment *live;    /* oldest first; the last is continued */
	struct wal_segment *spares;
	uint32_t max_epoch;          /* of any record in any segment */
	uint64_t last_sequence;
};

struct wal_record {
	uint32_t epoch;
	uint64_t durable_sequence;
	uint64_t sequence;
	uint64_t time_ns;
	uint32_t count;
	struct wombat_slice body;
	uint64_t end;          /* offset of what follows */
};

/* Whether a whole record stands at `offset`: all of its conditions but those on its place among others. */
bool wal_record_at(const struct wal_segment *s, uint64_t offset, struct wal_record *out);
/* The checksum of the record whose header begins at `header`, to be stored there. */
uint32_t wal_record_crc(uint64_t number, uint64_t offset, const uint8_t *header, uint32_t payload);
/* Of the last change of a record; the one before the record's own when it has none. */
static inline uint64_t wal_record_last(const struct wal_record *r) { return r->sequence + r->count - 1; }

static inline uint64_t wal_record_size(uint64_t payload)
{
	return (WAL_RECORD_HEADER_SIZE + payload + WAL_ALIGN - 1) & ~(uint64_t)(WAL_ALIGN - 1);
}

/* The header of a segment file: writes it, or judges it. WOMBAT_UNSUPPORTED: a newer version's. */
void wal_header_encode(uint8_t *p);
MUST_CHECK enum wombat_status wal_header_check(const struct env_segment *map, const char *path);

void wal_segment_free(struct env *env, struct wal_segment *s);

#endif
