/*
 * The tables of a damaged database: see repair.c for what becomes of them with a manifest and without one.
 *
 * New tables are written under temporary names; they get their own when all is done.
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/repair_impl.h"
#include "engine/table/table_salvage.h"

enum { READ_AHEAD = 256 << 10 };

/* ---- Writing tables ------------------------------------------------------------------------ */

enum wombat_status repair_table_path(const struct repair *r, uint64_t number, bool temporary, char out[FILENAME_PATH_MAX])
{
	if (!filename_path(out, r->dir, FILE_TABLE, number) || strlen(out) + 5 > FILENAME_PATH_MAX)
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	if (temporary)
		strcat(out, ".tmp");
	return WOMBAT_OK;
}

static enum wombat_status output_begin(struct repair_output *o)
{
	static const struct table_builder_options options = {
		.block_bytes = 4096, .restart_interval = 16, .bloom_false_positive = 0.01, .write_buffer_bytes = 1 << 20,
	};
	char path[FILENAME_PATH_MAX];
	if (o->builder)
		return WOMBAT_OK;
	o->number = o->r->next_number++;
	enum wombat_status s = repair_table_path(o->r, o->number, true, path);
	return s == WOMBAT_OK ? table_builder_new(o->r->env, path, &options, &o->builder) : s;
}

enum wombat_status repair_output_add(struct repair_output *o, struct wombat_slice key, uint64_t tag,
				     struct wombat_slice value)
{
	enum wombat_status s = output_begin(o);
	return s == WOMBAT_OK ? table_builder_add(o->builder, key, tag, value) : s;
}

static enum wombat_status add_range(struct repair_output *o, struct range_del range)
{
	enum wombat_status s = output_begin(o);
	return s == WOMBAT_OK ? table_builder_add_range(o->builder, range) : s;
}

enum wombat_status repair_output_add_ranges(struct repair_output *o, const struct range_del_set *ranges)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < ranges->count && s == WOMBAT_OK; i++)
		s = add_range(o, ranges->items[i]);
	return s;
}

void repair_output_done(struct repair_output *o)
{
	table_builder_abandon(o->builder);
}

enum wombat_status repair_output_end(struct repair_output *o)
{
	struct repair *r = o->r;
	struct table_summary summary;
	if (!o->builder)
		return WOMBAT_OK;
	uint64_t *fresh = array_reserve(r->fresh, r->fresh_count, &r->fresh_capacity, sizeof *fresh);
	if (!fresh)
		return fail_no_memory();
	r->fresh = fresh;
	enum wombat_status s = table_builder_finish(o->builder, &summary);
	o->builder = NULL;
	if (s != WOMBAT_OK)
		return s;
	r->fresh[r->fresh_count++] = o->number;
	if (summary.largest_sequence > r->state.last_sequence)
		r->state.last_sequence = summary.largest_sequence;
	s = version_edit_add(&r->state, o->level, o->number, &summary);
	if (s != WOMBAT_OK)
		table_summary_done(&summary);
	return s;
}

/* Whether a value of the value log is what was written. A file in which one is not is kept in lost/. */
static enum wombat_status value_is_whole(struct repair *r, const struct record *record, bool *out)
{
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	enum wombat_status s = vlog_read(r->values, &record->pointer, VLOG_READ_VERIFY | VLOG_READ_NO_FILL, &pin, &value);
	lru_pin_release(&pin);
	*out = s == WOMBAT_OK;
	if (s != WOMBAT_CORRUPTION)
		return s;
	struct repair_file *file = repair_find_file(r, FILE_VALUES, record->pointer.file);
	if (file)
		file->damaged = true;
	return WOMBAT_OK;
}

enum wombat_status repair_entry_is_whole(struct repair *r, uint64_t tag, struct wombat_slice value, bool *out)
{
	struct record record;
	*out = true;
	if (tag_kind(tag) != KIND_PUT)
		return WOMBAT_OK;
	enum wombat_status s = record_decode(value, &record);
	return s == WOMBAT_OK && record.elsewhere ? value_is_whole(r, &record, out) : s;
}

static void say_value_lost(struct repair *r, struct wombat_slice key)
{
	char text[KEY_TEXT_FULL];
	repair_say(r, true, "%s: its value is lost: %s", key_text_full(key, text), status_detail());
}

static enum wombat_status on_entry(void *arg, struct wombat_slice key, uint64_t tag, struct wombat_slice value)
{
	struct repair_output *o = arg;
	bool whole;
	if (o->sequence)
		tag = tag_make(o->sequence, tag_kind(tag));
	enum wombat_status s = repair_entry_is_whole(o->r, tag, value, &whole);
	if (s != WOMBAT_OK)
		return s;
	if (!whole) {
		say_value_lost(o->r, key);
		tag = tag_make(tag_sequence(tag), KIND_DELETE);
		value = slice_make(NULL, 0);
	}
	return repair_output_add(o, key, tag, value);
}

static enum wombat_status on_range(void *arg, struct range_del range)
{
	return add_range(arg, range);
}

/* ---- Tables -------------------------------------------------------------------------------- */

static void ignore(void *arg, const char *sentence)
{
	(void)arg;
	(void)sentence;
}

static enum wombat_status values_are_whole(struct repair *r, struct table *t, bool *out)
{
	struct iter *it;
	enum wombat_status s = table_iter_new(t, TABLE_READ_SEQUENTIAL, READ_AHEAD, &it);
	if (s != WOMBAT_OK)
		return s;
	for (iter_first(it); it->valid && s == WOMBAT_OK && *out; iter_next(it))
		s = repair_entry_is_whole(r, it->tag, it->value, out);
	if (s == WOMBAT_OK)
		s = it->status;
	iter_free(it);
	return s;
}

/* Reads all of it. Damage is no failure. */
static enum wombat_status table_is_whole(struct repair *r, const char *path, uint64_t number, uint64_t expected_bytes,
					 bool *out)
{
	const struct table_options options = { .env_flags = ENV_SEQUENTIAL };
	struct table *t = NULL;
	uint64_t size = 0;
	*out = true;
	enum wombat_status s = table_open(r->env, path, number, &options, &t);
	if (s == WOMBAT_OK)
		s = table_check(t, ignore, NULL);
	if (s == WOMBAT_OK)
		s = values_are_whole(r, t, out);
	if (s == WOMBAT_OK && expected_bytes)
		s = r->env->calls->file_size(r->env, path, &size);
	if (s == WOMBAT_OK && size != expected_bytes)
		*out = false;
	if (s == WOMBAT_CORRUPTION) {
		*out = false;
		s = WOMBAT_OK;
	}
	table_close(t);
	return s;
}

static void on_lost(void *arg, const char *sentence)
{
	repair_say(((struct repair_output *)arg)->r, true, "%s", sentence);
}

/* What can be read of a table, in a new one. */
static enum wombat_status rescue_table(struct repair *r, const char *path, unsigned level, uint64_t sequence,
				       bool may_have_ranges)
{
	struct repair_output o = { .r = r, .level = level, .sequence = sequence };
	const struct table_salvage to = { on_entry, on_range, on_lost, &o, may_have_ranges };
	uint64_t before = r->losses;
	enum wombat_status s = table_salvage(r->env, path, &to);
	if (s == WOMBAT_OK)
		s = repair_output_end(&o);
	repair_output_done(&o);
	if (s == WOMBAT_OK && r->losses == before)
		repair_say(r, false, "%s was damaged; all of its records are there", path);
	return s;
}

static void say_table_missing(struct repair *r, const char *path, const struct file_meta *f)
{
	char from[KEY_TEXT_FULL], to[KEY_TEXT_FULL];
	repair_say(r, true, "%s is missing: lost are its %" PRIu64 " entries and %" PRIu64 " range tombstones between %s and %s", path,
	    f->summary.entries, f->summary.range_deletes, key_text_full(buf_slice(&f->summary.smallest), from),
	    key_text_full(buf_slice(&f->summary.largest), to));
}

/* A table that the manifest names. */
static enum wombat_status repair_known(struct repair *r, const struct replay_file *known)
{
	char path[FILENAME_PATH_MAX];
	bool whole;
	const struct table_summary *summary = &known->file->summary;
	struct repair_file *file = repair_find_file(r, FILE_TABLE, known->number);
	enum wombat_status s = repair_table_path(r, known->number, false, path);
	if (s != WOMBAT_OK)
		return s;
	if (!file) {
		r->changed = true;
		say_table_missing(r, path, known->file);
		return WOMBAT_OK;
	}
	s = table_is_whole(r, path, known->number, summary->file_bytes, &whole);
	if (s != WOMBAT_OK)
		return s;
	if (whole)
		return version_edit_add_file(&r->state, known->level, known->file);
	r->changed = file->damaged = file->goes = true;
	return rescue_table(r, path, known->level, known->file->sequence, summary->range_deletes > 0);
}

/* Without a manifest: every table, a damaged one replaced by what can be read of it. `out` gets the inputs of the merge. */
static enum wombat_status repair_unknown(struct repair *r, struct repair_file *file, struct repair_inputs *out)
{
	char path[FILENAME_PATH_MAX];
	bool whole;
	enum wombat_status s = repair_table_path(r, file->number, false, path);
	if (s == WOMBAT_OK)
		s = table_is_whole(r, path, file->number, 0, &whole);
	if (s != WOMBAT_OK)
		return s;
	file->goes = true;
	if (whole)
		return repair_inputs_add(out, file->number, false);
	file->damaged = true;
	size_t before = r->fresh_count;
	s = rescue_table(r, path, 0, 0, false);
	return s == WOMBAT_OK && r->fresh_count > before ? repair_inputs_add(out, r->fresh[before], true) : s;
}

void repair_remove_fresh(struct repair *r)
{
	char path[FILENAME_PATH_MAX], cause[512];
	snprintf(cause, sizeof cause, "%s", status_detail());
	for (size_t i = 0; i < r->fresh_count; i++)
		if (repair_table_path(r, r->fresh[i], true, path) == WOMBAT_OK)
			(void)r->env->calls->remove(r->env, path); /* One that stays goes at the next open. */
	r->fresh_count = 0;
	status_set_detail(cause);
}

enum wombat_status repair_tables(struct repair *r)
{
	struct repair_inputs inputs = { 0 };
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; r->has_manifest && i < r->old.count && s == WOMBAT_OK; i++)
		s = repair_known(r, &r->old.files[i]);
	for (size_t i = 0; !r->has_manifest && i < r->file_count && s == WOMBAT_OK; i++)
		if (r->files[i].kind == FILE_TABLE)
			s = repair_unknown(r, &r->files[i], &inputs);
	if (s == WOMBAT_OK && !r->has_manifest)
		s = repair_merge(r, &inputs);
	repair_inputs_done(&inputs);
	return s;
}
