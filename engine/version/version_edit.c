/*
 * Edits: built in memory, encoded into manifest records, decoded at open. A file is encoded as
 *
 *     level, number, file bytes, entries, deletes, range deletes, raw key bytes, raw value bytes, smallest
 *     sequence, largest sequence, earliest expiry, flags: varints; smallest key, largest key: length and bytes;
 *     with EDIT_FILE_HAS_SEQUENCE the sequence number of all its entries: varint;
 *     with EDIT_FILE_HAS_VALUES the number of value log files it points into, and for each the file's number, bytes of
 *     values and how many: varints
 */
#include "engine/version/version_edit.h"

#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/base/coding.h"
#include "engine/base/ikey.h"
#include "engine/version/manifest_format.h"

/* Far beyond what can be used up, and far from where adding one would wrap. */
#define FILE_NUMBER_MAX (UINT64_MAX >> 1)

void version_edit_init(struct version_edit *e)
{
	*e = (struct version_edit){ 0 };
}

void version_edit_done(struct version_edit *e)
{
	for (size_t i = 0; i < e->added_count; i++)
		file_meta_unref(e->added[i].file);
	mem_free(e->added);
	mem_free(e->removed);
	version_edit_init(e);
}

enum wombat_status version_edit_add_file(struct version_edit *e, unsigned level, struct file_meta *file)
{
	struct version_edit_file *items = array_reserve(e->added, e->added_count, &e->added_capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	e->added = items;
	e->added[e->added_count].level = level;
	e->added[e->added_count++].file = file_meta_ref(file);
	return WOMBAT_OK;
}

enum wombat_status version_edit_add(struct version_edit *e, unsigned level, uint64_t number, struct table_summary *summary)
{
	struct file_meta *f = mem_zalloc(sizeof *f);
	if (!f)
		return fail_no_memory();
	atomic_init(&f->refs, 1);
	f->number = number;
	enum wombat_status s = version_edit_add_file(e, level, f);
	if (s == WOMBAT_OK) {
		f->summary = *summary;
		*summary = (struct table_summary){ 0 };
	}
	file_meta_unref(f);
	return s;
}

enum wombat_status version_edit_remove(struct version_edit *e, unsigned level, uint64_t number)
{
	struct version_edit_removal *items = array_reserve(e->removed, e->removed_count, &e->removed_capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	e->removed = items;
	e->removed[e->removed_count].level = level;
	e->removed[e->removed_count++].number = number;
	return WOMBAT_OK;
}

/* ---- Encoding ------------------------------------------------------------------------------ */

static enum wombat_status encode_varints(struct buf *out, const uint64_t *values, size_t count)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < count && s == WOMBAT_OK; i++)
		s = buf_append_varint(out, values[i]);
	return s;
}

static enum wombat_status encode_field(struct buf *out, bool present, enum edit_tag tag, uint64_t value)
{
	uint64_t pair[2] = { tag, value };
	return present ? encode_varints(out, pair, 2) : WOMBAT_OK;
}

static enum wombat_status encode_refs(struct buf *out, const struct value_refs *refs)
{
	enum wombat_status s = buf_append_varint(out, refs->count);
	for (size_t i = 0; i < refs->count && s == WOMBAT_OK; i++) {
		const uint64_t values[] = { refs->items[i].file, refs->items[i].bytes, refs->items[i].count };
		s = encode_varints(out, values, 3);
	}
	return s;
}

static enum wombat_status encode_file(struct buf *out, unsigned level, const struct file_meta *f)
{
	const struct table_summary *t = &f->summary;
	uint64_t values[] = {
		EDIT_ADD_FILE, level, f->number, t->file_bytes, t->entries, t->deletes, t->range_deletes, t->raw_key_bytes,
		t->raw_value_bytes, t->smallest_sequence, t->largest_sequence, t->min_expiry_ns,
		(t->largest_excluded ? EDIT_FILE_LARGEST_EXCLUDED : 0u) | (t->values.count ? EDIT_FILE_HAS_VALUES : 0u) |
			(f->sequence ? EDIT_FILE_HAS_SEQUENCE : 0u),
	};
	enum wombat_status s = encode_varints(out, values, sizeof values / sizeof values[0]);
	if (s == WOMBAT_OK)
		s = buf_append_slice(out, buf_slice(&t->smallest));
	if (s == WOMBAT_OK)
		s = buf_append_slice(out, buf_slice(&t->largest));
	if (s == WOMBAT_OK && f->sequence)
		s = buf_append_varint(out, f->sequence);
	return s == WOMBAT_OK && t->values.count ? encode_refs(out, &t->values) : s;
}

enum wombat_status version_edit_encode(const struct version_edit *e, struct buf *out)
{
	enum wombat_status s = encode_field(out, e->has_flushed_sequence, EDIT_FLUSHED_SEQUENCE, e->flushed_sequence);
	if (s == WOMBAT_OK)
		s = encode_field(out, e->has_last_sequence, EDIT_LAST_SEQUENCE, e->last_sequence);
	if (s == WOMBAT_OK)
		s = encode_field(out, e->has_next_file_number, EDIT_NEXT_FILE_NUMBER, e->next_file_number);
	if (s == WOMBAT_OK && e->journal.file) {
		const uint64_t values[] = { EDIT_JOURNAL, e->journal.file, e->journal.offset };
		s = encode_varints(out, values, 3);
	}
	for (size_t i = 0; i < e->removed_count && s == WOMBAT_OK; i++) {
		uint64_t values[3] = { EDIT_REMOVE_FILE, e->removed[i].level, e->removed[i].number };
		s = encode_varints(out, values, 3);
	}
	for (size_t i = 0; i < e->added_count && s == WOMBAT_OK; i++)
		s = encode_file(out, e->added[i].level, e->added[i].file);
	return s;
}

/* ---- Decoding ------------------------------------------------------------------------------ */

static enum wombat_status bad_edit(void)
{
	return fail(WOMBAT_CORRUPTION, "a manifest record is not encoded as edits are");
}

static bool decode_varints(struct cursor *c, uint64_t *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!cursor_varint(c, &out[i]))
			return false;
	return true;
}

static enum wombat_status decode_number(struct cursor *c, uint64_t max, bool *out_has, uint64_t *out)
{
	uint64_t v;
	if (!cursor_varint(c, &v) || v > max)
		return bad_edit();
	*out_has = true;
	*out = v;
	return WOMBAT_OK;
}

/* Whether a table can be so: what the manifest says of it is relied on without a look into the table. */
static bool file_possible(const uint64_t v[12], struct wombat_slice smallest, struct wombat_slice largest)
{
	bool excluded = v[11] & EDIT_FILE_LARGEST_EXCLUDED;
	int order = slice_compare(smallest, largest);
	return v[0] < LEVELS_MAX && v[1] > 0 && v[1] <= FILE_NUMBER_MAX && v[4] <= v[3] && v[8] <= v[9] &&
	       v[9] <= SEQUENCE_MAX && smallest.size > 0 && (order < 0 || (order == 0 && !excluded));
}

static enum wombat_status decode_refs(struct cursor *c, struct value_refs *out)
{
	uint64_t count, v[3], last = 0;
	enum wombat_status s = WOMBAT_OK;
	if (!cursor_varint(c, &count) || count == 0)
		return bad_edit();
	for (; count > 0 && s == WOMBAT_OK; count--) {
		if (!decode_varints(c, v, 3) || v[0] <= last || v[0] > FILE_NUMBER_MAX || v[2] == 0)
			return bad_edit();
		last = v[0];
		s = value_refs_add(out, (struct value_ref){ v[0], v[1], v[2] });
	}
	return s;
}

static enum wombat_status decode_file(struct cursor *c, struct version_edit *out)
{
	uint64_t v[12], sequence = 0;
	struct wombat_slice smallest, largest;
	if (!decode_varints(c, v, 12) || !cursor_slice(c, &smallest) || !cursor_slice(c, &largest))
		return bad_edit();
	if (v[11] & ~(uint64_t)(EDIT_FILE_LARGEST_EXCLUDED | EDIT_FILE_HAS_VALUES | EDIT_FILE_HAS_SEQUENCE))
		return fail(WOMBAT_UNSUPPORTED, "a manifest record has file flags %#" PRIx64 ", of a newer version", v[11]);
	if ((v[11] & EDIT_FILE_HAS_SEQUENCE) &&
	    (!cursor_varint(c, &sequence) || sequence == 0 || sequence != v[8] || sequence != v[9] || v[5] > 0))
		return bad_edit();
	if (!file_possible(v, smallest, largest))
		return bad_edit();
	struct table_summary t = {
		.file_bytes = v[2], .entries = v[3], .deletes = v[4], .range_deletes = v[5], .raw_key_bytes = v[6],
		.raw_value_bytes = v[7], .smallest_sequence = v[8], .largest_sequence = v[9], .min_expiry_ns = v[10],
		.largest_excluded = v[11] & EDIT_FILE_LARGEST_EXCLUDED,
	};
	enum wombat_status s = buf_set(&t.smallest, smallest);
	if (s == WOMBAT_OK)
		s = buf_set(&t.largest, largest);
	if (s == WOMBAT_OK && (v[11] & EDIT_FILE_HAS_VALUES))
		s = decode_refs(c, &t.values);
	if (s == WOMBAT_OK)
		s = version_edit_add(out, (unsigned)v[0], v[1], &t);
	if (s == WOMBAT_OK)
		out->added[out->added_count - 1].file->sequence = sequence;
	table_summary_done(&t);
	return s;
}

static enum wombat_status decode_field(struct cursor *c, uint64_t tag, struct version_edit *out)
{
	uint64_t v[2];
	struct wombat_slice skipped;
	switch (tag) {
	case EDIT_FLUSHED_SEQUENCE:
		return decode_number(c, SEQUENCE_MAX, &out->has_flushed_sequence, &out->flushed_sequence);
	case EDIT_LAST_SEQUENCE:
		return decode_number(c, SEQUENCE_MAX, &out->has_last_sequence, &out->last_sequence);
	case EDIT_NEXT_FILE_NUMBER:
		return decode_number(c, FILE_NUMBER_MAX, &out->has_next_file_number, &out->next_file_number);
	case EDIT_ADD_FILE:
		return decode_file(c, out);
	case EDIT_REMOVE_FILE:
		if (!decode_varints(c, v, 2) || v[0] >= LEVELS_MAX)
			return bad_edit();
		return version_edit_remove(out, (unsigned)v[0], v[1]);
	case EDIT_JOURNAL:
		if (!decode_varints(c, v, 2) || v[0] == 0 || v[0] > FILE_NUMBER_MAX)
			return bad_edit();
		out->journal = (struct vlog_position){ v[0], v[1] };
		return WOMBAT_OK;
	default:
		if (tag < EDIT_OPTIONAL)
			return fail(WOMBAT_UNSUPPORTED, "a manifest record has field %" PRIu64 ", of a newer version", tag);
		return cursor_slice(c, &skipped) ? WOMBAT_OK : bad_edit();
	}
}

enum wombat_status version_edit_decode(struct wombat_slice bytes, struct version_edit *out)
{
	struct cursor c = cursor_of(bytes);
	struct version_edit e;
	version_edit_init(&e);
	enum wombat_status s = WOMBAT_OK;
	while (s == WOMBAT_OK && cursor_left(&c) > 0) {
		uint64_t tag;
		s = cursor_varint(&c, &tag) ? decode_field(&c, tag, &e) : bad_edit();
	}
	if (s == WOMBAT_OK)
		*out = e;
	else
		version_edit_done(&e);
	return s;
}

enum wombat_status version_edit_to_text(const struct version_edit *e, struct buf *out)
{
	enum wombat_status s = WOMBAT_OK;
	if (e->has_flushed_sequence)
		s = buf_printf(out, "flushed up to sequence %" PRIu64 "; ", e->flushed_sequence);
	if (e->has_last_sequence && s == WOMBAT_OK)
		s = buf_printf(out, "last sequence %" PRIu64 "; ", e->last_sequence);
	if (e->has_next_file_number && s == WOMBAT_OK)
		s = buf_printf(out, "next file %06" PRIu64 "; ", e->next_file_number);
	if (e->journal.file && s == WOMBAT_OK)
		s = buf_printf(out, "journal from value log file %06" PRIu64 ", offset %" PRIu64 "; ", e->journal.file,
			       e->journal.offset);
	for (size_t i = 0; i < e->removed_count && s == WOMBAT_OK; i++)
		s = buf_printf(out, "level %u -%06" PRIu64 "; ", e->removed[i].level, e->removed[i].number);
	for (size_t i = 0; i < e->added_count && s == WOMBAT_OK; i++)
		s = buf_printf(out, "level %u +%06" PRIu64 " (%" PRIu64 " entries, %" PRIu64 " bytes); ", e->added[i].level,
			       e->added[i].file->number, e->added[i].file->summary.entries,
			       e->added[i].file->summary.file_bytes);
	return s;
}
