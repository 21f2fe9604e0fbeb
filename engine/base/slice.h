/* Borrowed bytes: struct wombat_slice by value; whoever keeps the bytes copies them. */
#ifndef WOMBAT_BASE_SLICE_H
#define WOMBAT_BASE_SLICE_H

#include <stdbool.h>
#include <string.h>

#include "engine/wombat.h"

static inline struct wombat_slice slice_make(const void *data, size_t size)
{
	return (struct wombat_slice){ data, size };
}

/* The engine's one order of bytes: memcmp, a prefix first. */
static inline int slice_compare(struct wombat_slice a, struct wombat_slice b)
{
	size_t n = a.size < b.size ? a.size : b.size;
	int c = n ? memcmp(a.data, b.data, n) : 0;
	return c ? c : (a.size > b.size) - (a.size < b.size);
}

static inline bool slice_equal(struct wombat_slice a, struct wombat_slice b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_starts_with(struct wombat_slice s, struct wombat_slice prefix)
{
	return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

/* How many leading bytes both share. */
static inline size_t slice_common_prefix(struct wombat_slice a, struct wombat_slice b)
{
	size_t n = a.size < b.size ? a.size : b.size, i = 0;
	while (i < n && a.data[i] == b.data[i])
		i++;
	return i;
}

#endif
