/* Sorted sums: see value_refs.h. A table points into few files, most often the one that it found last. */
#include "engine/table/value_refs.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"

void value_refs_done(struct value_refs *r)
{
	mem_free(r->items);
	*r = (struct value_refs){ 0 };
}

/* The first that is not below `file`. */
static size_t position(const struct value_refs *r, uint64_t file)
{
	size_t lo = 0, hi = r->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (r->items[mid].file < file)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct value_ref *value_refs_find(const struct value_refs *r, uint64_t file)
{
	size_t at = position(r, file);
	return at < r->count && r->items[at].file == file ? &r->items[at] : NULL;
}

enum wombat_status value_refs_add(struct value_refs *r, struct value_ref more)
{
	size_t at = position(r, more.file);
	if (at < r->count && r->items[at].file == more.file) {
		r->items[at].bytes += more.bytes;
		r->items[at].count += more.count;
		return WOMBAT_OK;
	}
	struct value_ref *items = array_reserve(r->items, r->count, &r->capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	r->items = items;
	memmove(r->items + at + 1, r->items + at, (r->count - at) * sizeof *r->items);
	r->items[at] = more;
	r->count++;
	return WOMBAT_OK;
}
