/*
 * Tables to tables: gathers the inputs' entries and range tombstones, and rewrites them.
 *
 * What the job knows of deeper levels is as of its start. That holds while it runs: what another job brings into a
 * deeper level within this one's keys comes from tables that were there, or in this one's inputs, which no other has.
 */
#include "engine/compact/compaction.h"

#include "engine/base/alloc.h"
#include "engine/base/record.h"
#include "engine/compact/rewrite.h"
#include "engine/iter/merge_iter.h"

static enum wombat_status collect_ranges(const struct compaction_context *c, struct file_meta *f,
					 struct range_del_set *ranges)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, c->tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice none = { NULL, 0 };
	s = range_fragments_collect(table_range_dels(table), none, none, ranges);
	table_cache_release(c->tables, handle);
	return s;
}

static enum wombat_status open_inputs(const struct compaction_context *c, const struct compaction_inputs *in,
				      struct range_del_set *ranges, struct iter **out)
{
	struct iter **children = mem_alloc((in->count[0] + in->count[1]) * sizeof *children);
	size_t count = 0;
	if (!children)
		return fail_no_memory();
	enum wombat_status s = WOMBAT_OK;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side] && s == WOMBAT_OK; i++) {
			struct file_meta *f = in->files[side][i];
			s = file_meta_iter_new(f, c->tables, TABLE_READ_SEQUENTIAL, c->read_ahead_bytes, &children[count]);
			count += s == WOMBAT_OK;
			if (s == WOMBAT_OK && f->summary.range_deletes > 0)
				s = collect_ranges(c, f, ranges);
		}
	if (s == WOMBAT_OK)
		s = merge_iter_new(children, count, out); /* takes them in any case */
	else
		while (count > 0)
			iter_free(children[--count]);
	mem_free(children);
	return s;
}

static bool any_expired(const struct compaction_inputs *in, uint64_t now_ns)
{
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side]; i++)
			if (record_expired(in->files[side][i]->summary.min_expiry_ns, now_ns))
				return true;
	return false;
}

static enum wombat_status remove_inputs(const struct compaction_inputs *in, struct version_edit *edit)
{
	enum wombat_status s = WOMBAT_OK;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side] && s == WOMBAT_OK; i++)
			s = version_edit_remove(edit, side ? in->output_level : in->level, in->files[side][i]->number);
	return s;
}

enum wombat_status compaction_run(const struct compaction_context *context, const struct compaction_inputs *inputs,
				  struct version_edit *edit, struct compaction_result *out)
{
	struct range_del_set ranges;
	struct iter *merge = NULL;
	struct rewrite_options options = {
		.output_level = inputs->output_level,
		.version = inputs->version,
		.bottom = inputs->bottom,
		.expiring = any_expired(inputs, context->now_ns),
		.max_table_size = context->max_table_size,
		.grandparents = inputs->grandparents,
		.grandparent_count = inputs->grandparent_count,
	};
	range_del_set_init(&ranges);
	/* The edit first: behind the rewrite nothing may fail, or its outputs would have to be removed again. */
	enum wombat_status s = remove_inputs(inputs, edit);
	if (s == WOMBAT_OK)
		s = open_inputs(context, inputs, &ranges, &merge);
	if (s == WOMBAT_OK)
		s = rewrite_run(context, &options, merge, &ranges, edit, out);
	if (s == WOMBAT_OK)
		out->read_bytes = inputs->bytes;
	iter_free(merge);
	range_del_set_done(&ranges);
	return s;
}
