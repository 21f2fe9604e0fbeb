/*
 * The rewriting of sorted entries.
 *
 * Snapshots cut the sequence numbers into stripes; no snapshot can tell two versions of one stripe apart, so of each
 * key only the newest of a stripe is kept:
 *
 *     sequences   1 .......... S0 .......... S1 ........... newest | written since: all kept
 *     stripe           0            1              2        |   3
 *
 * A range tombstone hides the older entries of its own stripe in the same way. An expired record is a tombstone: no
 * reader sees it, whatever its snapshot, so it becomes one. Tombstones of stripe 0 go where no deeper level has
 * anything that they could hide.
 *
 * Outputs divide the key space: the i-th covers from its first key (the first one: from the beginning) up to the next
 * one's first key. Range tombstones are clipped to these parts, so none is lost and tables of a level stay disjoint.
 * An output ends only between two keys, so all versions of a key are in one table.
 */
#include "engine/compact/rewrite.h"

#include "engine/base/record.h"
#include "engine/env/filename.h"
#include "engine/vlog/vlog.h"

enum { THROTTLE_BYTES = 256 << 10, CANCEL_ENTRIES = 1024, GRANDPARENT_TABLES = 10 };

struct rewrite {
	const struct compaction_context *context;
	const struct rewrite_options *options;
	struct version_edit *edit;
	struct compaction_result result;
	struct range_fragments *hiding;  /* all range tombstones of the input */
	struct range_fragments *kept;    /* those that the output needs */

	struct table_builder *builder;   /* NULL: no output is open */
	uint64_t number;                 /* of the open output */
	struct buf start;                /* where the open output's part begins */
	uint64_t throttled;              /* bytes of it that were paid for */
	size_t grandparent;              /* the first that the output has not passed */
	uint64_t passed_bytes;

	struct buf moved;                /* the record of a value that was written anew */
	struct buf key;                  /* of the last entry seen */
	bool have_key;
	size_t key_stripe;
	size_t below[LEVELS_MAX];        /* of each deeper level the first file that does not end before the key */
};

/* ---- What to keep -------------------------------------------------------------------------- */

/* The stripe of a sequence number: index of the first snapshot that sees it. */
static size_t stripe_of(const struct compaction_context *c, uint64_t sequence)
{
	size_t lo = 0, hi = c->snapshot_count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (c->snapshots[mid] < sequence)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Whether a deeper level could hold the key. Keys come in order, so each level's files are passed once. */
static bool lies_below(struct rewrite *r, struct wombat_slice key)
{
	const struct version *v = r->options->version;
	if (!v || r->options->bottom)
		return !v;
	for (size_t i = 0; i < r->options->older_count; i++)
		if (file_meta_has(r->options->older[i], key))
			return true;
	for (unsigned level = r->options->output_level + 1; level < v->level_count; level++) {
		const struct file_list *list = &v->levels[level];
		size_t at = r->below[level];
		while (at < list->count && file_meta_before(list->files[at], key))
			at++;
		r->below[level] = at;
		if (at < list->count && file_meta_has(list->files[at], key))
			return true;
	}
	return false;
}

static bool range_lies_below(const struct rewrite *r, const struct range_del *range)
{
	const struct version *v = r->options->version;
	struct key_span span = { range->begin, range->end, true };
	if (!v || r->options->bottom)
		return !v;
	for (size_t i = 0; i < r->options->older_count; i++)
		if (file_meta_overlaps(r->options->older[i], range->begin, range->end))
			return true;
	for (unsigned level = r->options->output_level + 1; level < v->level_count; level++)
		if (version_level_overlaps(v, level, &span))
			return true;
	return false;
}

static bool expired(const struct rewrite *r, struct wombat_slice value)
{
	struct record record;
	return record_decode(value, &record) == WOMBAT_OK && record_expired(record.expiry_ns, r->context->now_ns);
}

enum fate { FATE_DROP, FATE_KEEP, FATE_TOMBSTONE };

/* Judges the entry and remembers its key and stripe for the next. */
static enum wombat_status judge(struct rewrite *r, const struct iter *in, bool *out_new_key, enum fate *out_fate)
{
	const struct compaction_context *c = r->context;
	uint64_t sequence = tag_sequence(in->tag);
	size_t stripe = stripe_of(c, sequence);
	bool since = stripe == c->snapshot_count; /* A snapshot made meanwhile could see each of these. */
	bool new_key = !r->have_key || !slice_equal(in->key, buf_slice(&r->key));
	bool hidden = !new_key && !since && stripe == r->key_stripe;
	if (!hidden && !since && range_fragments_count(r->hiding))
		hidden = range_fragments_cover(r->hiding, in->key, c->snapshots[stripe]) > sequence;
	enum fate fate = FATE_KEEP;
	if (!hidden && r->options->expiring && tag_kind(in->tag) == KIND_PUT && expired(r, in->value))
		fate = FATE_TOMBSTONE;
	if (hidden || (stripe == 0 && !since && (fate == FATE_TOMBSTONE || tag_kind(in->tag) == KIND_DELETE) &&
		       !lies_below(r, in->key)))
		fate = FATE_DROP;
	r->have_key = true;
	r->key_stripe = stripe;
	*out_new_key = new_key;
	*out_fate = fate;
	return new_key ? buf_set(&r->key, in->key) : WOMBAT_OK;
}

/* ---- Outputs ------------------------------------------------------------------------------- */

static enum wombat_status open_output(struct rewrite *r)
{
	char path[FILENAME_PATH_MAX];
	r->number = version_set_new_file_number(r->context->versions);
	if (!filename_path(path, r->context->dir, FILE_TABLE, r->number))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->context->dir);
	r->throttled = 0;
	r->passed_bytes = 0;
	return table_builder_new(r->context->env, path, &r->context->table, &r->builder);
}

/* One that stays is an orphan for the next open. */
static void remove_table(const struct compaction_context *c, uint64_t number)
{
	char path[FILENAME_PATH_MAX];
	if (filename_path(path, c->dir, FILE_TABLE, number))
		c->env->calls->remove(c->env, path);
}

static void pay(struct rewrite *r, uint64_t at_least)
{
	uint64_t bytes = table_builder_bytes(r->builder);
	if (!r->context->throttle || bytes < r->throttled + at_least)
		return;
	throttle_take(r->context->throttle, bytes - r->throttled, r->context->cancel);
	r->throttled = bytes;
}

/* Adds the range tombstones of the open output's part, which ends before `end` (empty: no end). */
static enum wombat_status add_ranges(struct rewrite *r, struct wombat_slice end)
{
	struct range_del_set set;
	range_del_set_init(&set);
	enum wombat_status s = range_fragments_collect(r->kept, buf_slice(&r->start), end, &set);
	if (s == WOMBAT_OK && set.count && !r->builder)
		s = open_output(r);
	for (size_t i = 0; i < set.count && s == WOMBAT_OK; i++)
		s = table_builder_add_range(r->builder, set.items[i]);
	range_del_set_done(&set);
	return s;
}

/* Ends the open output, if there is one; the next one's part begins at `next_start`. */
static enum wombat_status close_output(struct rewrite *r, struct wombat_slice next_start)
{
	enum wombat_status s = range_fragments_count(r->kept) ? add_ranges(r, next_start) : WOMBAT_OK;
	if (s == WOMBAT_OK && r->builder) {
		struct table_summary summary = { 0 };
		pay(r, 1);
		s = table_builder_finish(r->builder, &summary);
		r->builder = NULL;
		if (s == WOMBAT_OK) {
			r->result.written_bytes += summary.file_bytes;
			r->result.output_files++;
			s = version_edit_add(r->edit, r->options->output_level, r->number, &summary);
			if (s != WOMBAT_OK)
				remove_table(r->context, r->number);
		}
		table_summary_done(&summary);
	}
	return s == WOMBAT_OK ? buf_set(&r->start, next_start) : s;
}

/* Whether the open output should end before `key`: it is large enough, or overlaps so much of the level below that
 * its own compaction would be a large one. */
static bool output_full(struct rewrite *r, struct wombat_slice key)
{
	const struct rewrite_options *o = r->options;
	while (r->grandparent < o->grandparent_count &&
	       slice_compare(buf_slice(&o->grandparents[r->grandparent]->summary.largest), key) < 0)
		r->passed_bytes += o->grandparents[r->grandparent++]->summary.file_bytes;
	if (table_builder_bytes(r->builder) >= o->max_table_size)
		return true;
	return o->max_table_size < UINT64_MAX / GRANDPARENT_TABLES &&
	       r->passed_bytes > GRANDPARENT_TABLES * o->max_table_size;
}

static bool is_collected(const struct compaction_context *c, uint64_t file)
{
	for (size_t i = 0; i < c->collect_count; i++)
		if (c->collect[i] == file)
			return true;
	return false;
}

/* Writes the value anew at the value log's end, where fewer dead ones lie around it; `record` then points there. */
static enum wombat_status move_value(struct rewrite *r, struct wombat_slice key, struct record *record)
{
	struct vlog *values = r->context->values;
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	enum wombat_status s = vlog_read(values, &record->pointer, VLOG_READ_NO_FILL | VLOG_READ_VERIFY, &pin, &value);
	if (s == WOMBAT_OK && record->part) /* What is left of it from here on is the part alone. */
		value = slice_make(value.data + record->part_at, (size_t)record->part_size);
	if (s == WOMBAT_OK)
		s = vlog_append(values, key, value, &record->pointer);
	record->part = false;
	lru_pin_release(&pin);
	if (s != WOMBAT_OK)
		return s;
	vlog_written(values, record->pointer.file, 0);
	r->result.moved_value_bytes += record->pointer.size;
	if (r->context->throttle)
		throttle_take(r->context->throttle, record->pointer.size, r->context->cancel);
	size_t size = record_encoded_size(record);
	buf_clear(&r->moved);
	s = buf_reserve(&r->moved, size);
	if (s == WOMBAT_OK) {
		record_encode(r->moved.data, record);
		r->moved.size = size;
	}
	return s;
}

static enum wombat_status keep_entry(struct rewrite *r, const struct iter *in)
{
	struct wombat_slice value = in->value;
	struct record record;
	if (r->context->collect_count && tag_kind(in->tag) == KIND_PUT) {
		enum wombat_status s = record_decode(value, &record);
		if (s == WOMBAT_OK && record.elsewhere && is_collected(r->context, record.pointer.file)) {
			s = move_value(r, in->key, &record);
			value = buf_slice(&r->moved);
		}
		if (s != WOMBAT_OK)
			return s;
	}
	return table_builder_add(r->builder, in->key, in->tag, value);
}

static enum wombat_status write_entry(struct rewrite *r, const struct iter *in, bool new_key, enum fate fate)
{
	struct wombat_slice none = { NULL, 0 };
	enum wombat_status s = WOMBAT_OK;
	if (r->builder && new_key && output_full(r, in->key))
		s = close_output(r, in->key);
	if (s == WOMBAT_OK && !r->builder)
		s = open_output(r);
	if (s == WOMBAT_OK && fate == FATE_KEEP)
		s = keep_entry(r, in);
	else if (s == WOMBAT_OK)
		s = table_builder_add(r->builder, in->key, tag_make(tag_sequence(in->tag), KIND_DELETE), none);
	if (s == WOMBAT_OK)
		pay(r, THROTTLE_BYTES);
	return s;
}

/* ---- The run ------------------------------------------------------------------------------- */

static enum wombat_status split_ranges(struct rewrite *r, const struct range_del_set *ranges)
{
	if (ranges->count == 0)
		return WOMBAT_OK;
	struct range_del_set kept;
	range_del_set_init(&kept);
	enum wombat_status s = range_fragments_build(ranges, &r->hiding);
	for (size_t i = 0; i < ranges->count && s == WOMBAT_OK; i++)
		if (ranges->items[i].sequence > r->context->snapshots[0] || range_lies_below(r, &ranges->items[i]))
			s = range_del_set_add(&kept, ranges->items[i]);
	if (s == WOMBAT_OK)
		s = range_fragments_build(&kept, &r->kept);
	range_del_set_done(&kept);
	return s;
}

static bool cancelled(const struct compaction_context *c)
{
	return c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed);
}

/* Tells of a head that is not kept. */
static void note_dropped(const struct rewrite *r, const struct iter *in)
{
	struct record record;
	if (r->context->dropped_extents && tag_kind(in->tag) == KIND_PUT && record_may_be_head(in->value) &&
	    record_decode(in->value, &record) == WOMBAT_OK && record.in_extents)
		r->context->dropped_extents(r->context->dropped_arg, record.extents.id);
}

static enum wombat_status write_all(struct rewrite *r, struct iter *in)
{
	uint64_t entries = 0;
	struct wombat_slice end = r->options->end;
	if (r->options->begin.size)
		iter_seek(in, r->options->begin, TAG_MAX);
	else
		iter_first(in);
	for (; in->valid && (end.size == 0 || slice_compare(in->key, end) < 0); iter_next(in)) {
		bool new_key;
		enum fate fate;
		if (++entries % CANCEL_ENTRIES == 0 && cancelled(r->context))
			return fail(WOMBAT_BUSY, "the database is closing");
		enum wombat_status s = judge(r, in, &new_key, &fate);
		r->result.read_bytes += in->key.size + in->value.size;
		r->result.dropped_entries += fate == FATE_DROP;
		if (fate != FATE_KEEP)
			note_dropped(r, in);
		/* A key whose first version is dropped does not end an output, which does no harm. */
		if (s == WOMBAT_OK && fate != FATE_DROP)
			s = write_entry(r, in, new_key, fate);
		if (s != WOMBAT_OK)
			return s;
	}
	return in->status == WOMBAT_OK ? close_output(r, end) : in->status;
}

void rewrite_undo(const struct compaction_context *context, struct version_edit *edit, size_t first)
{
	char cause[512];
	strncpy(cause, status_detail(), sizeof cause - 1);
	cause[sizeof cause - 1] = 0;
	while (edit->added_count > first) {
		struct file_meta *f = edit->added[--edit->added_count].file;
		remove_table(context, f->number);
		file_meta_unref(f);
	}
	status_set_detail(cause);
}

/* Tables of the level below that lie before the bounds are not the first output's. */
static void skip_grandparents(struct rewrite *r)
{
	const struct rewrite_options *o = r->options;
	while (o->begin.size && r->grandparent < o->grandparent_count &&
	       slice_compare(buf_slice(&o->grandparents[r->grandparent]->summary.largest), o->begin) < 0)
		r->grandparent++;
}

enum wombat_status rewrite_run(const struct compaction_context *context, const struct rewrite_options *options,
			       struct iter *input, const struct range_del_set *ranges, struct version_edit *edit,
			       struct compaction_result *out)
{
	struct rewrite r = { .context = context, .options = options, .edit = edit };
	size_t first = edit->added_count;
	skip_grandparents(&r);
	enum wombat_status s = buf_set(&r.start, options->begin);
	if (s == WOMBAT_OK)
		s = split_ranges(&r, ranges);
	if (s == WOMBAT_OK)
		s = write_all(&r, input);
	/* What the tables point to must be durable before they are. */
	if (s == WOMBAT_OK && context->values)
		s = vlog_sync(context->values);
	/* The names of the tables must be durable before the manifest says them. */
	if (s == WOMBAT_OK && edit->added_count > first)
		s = context->env->calls->dir_sync(context->env, context->dir);
	if (s == WOMBAT_OK)
		*out = r.result;
	else
		table_builder_abandon(r.builder);
	if (s != WOMBAT_OK)
		rewrite_undo(context, edit, first);
	range_fragments_unref(r.hiding);
	range_fragments_unref(r.kept);
	buf_done(&r.start);
	buf_done(&r.key);
	buf_done(&r.moved);
	return s;
}
