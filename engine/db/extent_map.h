/*
 * What is where in a value, in memory: extents that do not overlap, ordered by their offset.
 *
 * A treap: a search tree by offset that is a heap by random priorities, so that it stays balanced without being told. It
 * takes any number of changes in any order at a cost that grows with the logarithm of their number.
 */
#ifndef WOMBAT_DB_EXTENT_MAP_H
#define WOMBAT_DB_EXTENT_MAP_H

#include "engine/base/buf.h"
#include "engine/base/record.h"
#include "engine/vlog/vlog.h"

enum extent_kind {
	EXTENT_HOLE,  /* zeros that are stored nowhere */
	EXTENT_BYTES,
	EXTENT_VALUE, /* a part of a value in the value log */
};

struct extent {
	uint64_t at, size; /* at least one byte (but see extent_map_grown), and none at UINT64_MAX */
	enum extent_kind kind;
	struct buf bytes;             /* BYTES: `size` of them */
	struct value_pointer pointer; /* VALUE */
	uint64_t part_at;             /* VALUE: where in it the extent begins */
	struct vlog_value *open;      /* VALUE: once it was read; else NULL */
	struct extent *left, *right;  /* private */
	uint32_t priority;            /* private */
};
static inline uint64_t extent_end(const struct extent *e) { return e->at + e->size; }

/* Zeroed: empty. One thread at a time. */
struct extent_map {
	struct extent *root;
	uint32_t random;
	size_t count;
	uint64_t bytes; /* of BYTES */
};

void extent_map_clear(struct extent_map *m);
/* The extent that has the offset, or else the first behind it; NULL: there is none. */
struct extent *extent_map_find(const struct extent_map *m, uint64_t offset);
static inline struct extent *extent_map_next(const struct extent_map *m, const struct extent *e)
{
	return extent_map_find(m, extent_end(e));
}
/* Takes away what lies from `from` to `to`; extents that reach beyond keep what is outside. WOMBAT_NO_MEMORY: what the map
 * says is as before. */
MUST_CHECK enum wombat_status extent_map_cut(struct extent_map *m, uint64_t from, uint64_t to);
/* A new extent in a place where there is none. One of BYTES may be added with its size, for the caller to append as many to
 * `bytes`, or empty, to be grown at once. NULL: no memory. */
struct extent *extent_map_add(struct extent_map *m, uint64_t at, uint64_t size, enum extent_kind kind);
/* After `bytes` of a BYTES extent was appended to: its size follows. */
void extent_map_grown(struct extent_map *m, struct extent *e);
/* Takes away one that could not be grown: it has no bytes. */
void extent_map_drop_empty(struct extent_map *m, struct extent *e);
/* BYTES becomes VALUE. */
void extent_map_stored(struct extent_map *m, struct extent *e, const struct value_pointer *pointer);

#endif
