/*
 * Memtables to one table of level 0. Nothing is known of what lies below, so tombstones stay; and one table, so that
 * tables of level 0 never interleave in sequence numbers, which lookups rely on.
 */
#include "engine/compact/flush.h"

#include "engine/base/alloc.h"
#include "engine/compact/rewrite.h"
#include "engine/iter/merge_iter.h"

static enum wombat_status open_memtables(struct memtable *const *memtables, size_t count, struct range_del_set *ranges,
					 struct iter **out)
{
	struct wombat_slice none = { NULL, 0 };
	struct iter **children = mem_alloc(count * sizeof *children);
	size_t made = 0;
	if (!children)
		return fail_no_memory();
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < count && s == WOMBAT_OK; i++) {
		struct range_fragments *f = NULL;
		s = memtable_iter_new(memtables[i], &children[made]);
		made += s == WOMBAT_OK;
		if (s == WOMBAT_OK)
			s = memtable_range_dels(memtables[i], &f);
		if (s == WOMBAT_OK)
			s = range_fragments_collect(f, none, none, ranges);
		range_fragments_unref(f);
	}
	if (s == WOMBAT_OK)
		s = merge_iter_new(children, made, out); /* takes them in any case */
	else
		while (made > 0)
			iter_free(children[--made]);
	mem_free(children);
	return s;
}

enum wombat_status flush_run(const struct compaction_context *context, struct memtable *const *memtables, size_t count,
			     struct version_edit *edit, struct compaction_result *out)
{
	struct range_del_set ranges;
	struct iter *merge = NULL;
	struct rewrite_options options = { .output_level = 0, .max_table_size = UINT64_MAX };
	range_del_set_init(&ranges);
	enum wombat_status s = open_memtables(memtables, count, &ranges, &merge);
	if (s == WOMBAT_OK)
		s = rewrite_run(context, &options, merge, &ranges, edit, out);
	iter_free(merge);
	range_del_set_done(&ranges);
	return s;
}
