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
#include "engine/compact/subrange.h"
#include "engine/iter/merge_iter.h"

/* Of a range at least so many of the largest tables: with fewer too many of its outputs would be cut short. */
enum { RANGE_TABLES = 2 };

struct job {
	const struct compaction_context *context;
	const struct compaction_inputs *inputs;
	struct rewrite_options options; /* but for the bounds */
	struct subranges ranges;
	struct part {
		struct version_edit edit;
		struct compaction_result result;
	} *parts;                       /* one for each range */
};

static enum wombat_status collect_ranges(const struct compaction_context *c, struct file_meta *f,
					 const struct rewrite_options *o, struct range_del_set *ranges)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, c->tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	s = range_fragments_collect(table_range_dels(table), o->begin, o->end, ranges);
	table_cache_release(c->tables, handle);
	return s;
}

static enum wombat_status open_inputs(const struct job *j, const struct rewrite_options *o, struct range_del_set *ranges,
				      struct iter **out)
{
	const struct compaction_context *c = j->context;
	const struct compaction_inputs *in = j->inputs;
	struct iter **children = mem_alloc((in->count[0] + in->count[1]) * sizeof *children);
	size_t count = 0;
	if (!children)
		return fail_no_memory();
	enum wombat_status s = WOMBAT_OK;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side] && s == WOMBAT_OK; i++) {
			struct file_meta *f = in->files[side][i];
			if (!file_meta_overlaps(f, o->begin, o->end))
				continue;
			s = file_meta_iter_new(f, c->tables, TABLE_READ_SEQUENTIAL, c->read_ahead_bytes, &children[count]);
			count += s == WOMBAT_OK;
			if (s == WOMBAT_OK && f->summary.range_deletes > 0)
				s = collect_ranges(c, f, o, ranges);
		}
	if (s == WOMBAT_OK)
		s = merge_iter_new(children, count, out); /* takes them in any case */
	else
		while (count > 0)
			iter_free(children[--count]);
	mem_free(children);
	return s;
}

static enum wombat_status run_range(void *arg, size_t i)
{
	struct job *j = arg;
	struct part *part = &j->parts[i];
	struct rewrite_options options = j->options;
	struct range_del_set ranges;
	struct iter *merge = NULL;
	options.begin = subrange_begin(&j->ranges, i);
	options.end = subrange_end(&j->ranges, i);
	range_del_set_init(&ranges);
	enum wombat_status s = open_inputs(j, &options, &ranges, &merge);
	if (s == WOMBAT_OK)
		s = rewrite_run(j->context, &options, merge, &ranges, &part->edit, &part->result);
	iter_free(merge);
	range_del_set_done(&ranges);
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

static enum wombat_status run_parts(struct job *j)
{
	struct share_work work = { run_range, j, j->ranges.count + 1 };
	if (work.count == 1)
		return run_range(j, 0);
	return share_run(j->context->share, &work);
}

/* What the parts did, as one; nothing of it remains when it cannot be. */
static enum wombat_status join_parts(struct job *j, enum wombat_status s, struct version_edit *edit,
				     struct compaction_result *out)
{
	*out = (struct compaction_result){ .ranges = j->ranges.count + 1 };
	for (size_t i = 0; i <= j->ranges.count; i++) {
		struct part *part = &j->parts[i];
		for (size_t k = 0; k < part->edit.added_count && s == WOMBAT_OK; k++)
			s = version_edit_add_file(edit, j->options.output_level, part->edit.added[k].file);
		out->written_bytes += part->result.written_bytes;
		out->dropped_entries += part->result.dropped_entries;
		out->moved_value_bytes += part->result.moved_value_bytes;
		out->output_files += part->result.output_files;
	}
	out->read_bytes = j->inputs->bytes;
	if (s == WOMBAT_OK)
		return s;
	for (size_t i = 0; i <= j->ranges.count; i++)
		rewrite_undo(j->context, &j->parts[i].edit, 0);
	while (edit->added_count)
		file_meta_unref(edit->added[--edit->added_count].file);
	return s;
}

enum wombat_status compaction_run(const struct compaction_context *context, const struct compaction_inputs *inputs,
				  struct version_edit *edit, struct compaction_result *out)
{
	struct job j = {
		.context = context,
		.inputs = inputs,
		.options = {
			.output_level = inputs->output_level,
			.version = inputs->version,
			.bottom = inputs->bottom,
			.expiring = any_expired(inputs, context->now_ns),
			/* Of level 0 each table is a run of its own. */
			.max_table_size = inputs->output_level ? context->max_table_size : UINT64_MAX,
			.grandparents = inputs->grandparents,
			.grandparent_count = inputs->grandparent_count,
			.older = inputs->older,
			.older_count = inputs->older_count,
		},
	};
	enum wombat_status s = remove_inputs(inputs, edit);
	if (s == WOMBAT_OK && context->share && inputs->output_level)
		s = subranges_of(inputs, context->tables, context->ranges_max, RANGE_TABLES * context->max_table_size, &j.ranges);
	if (s == WOMBAT_OK && !(j.parts = mem_zalloc((j.ranges.count + 1) * sizeof *j.parts)))
		s = fail_no_memory();
	if (s == WOMBAT_OK) {
		s = run_parts(&j);
		s = join_parts(&j, s, edit, out);
	}
	for (size_t i = 0; j.parts && i <= j.ranges.count; i++)
		version_edit_done(&j.parts[i].edit);
	mem_free(j.parts);
	subranges_done(&j.ranges);
	return s;
}
