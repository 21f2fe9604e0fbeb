/*
 * `wombat repair`: makes a damaged directory one that opens again, with all that can still be read, and says what is lost.
 *
 *     lock -> configuration -> manifest (or none) -> each table -> the write-ahead log -> new tables get their names
 *     -> damaged files get a second name in lost/ -> a new manifest -> what it does not name goes
 *
 * Before the new manifest is in force nothing that is there is changed but the configuration, so a repair that is
 * interrupted can be run again. What was damaged is never deleted: it is in lost/ before it goes.
 *
 * With a manifest each table keeps its level; a damaged one is replaced by what can be read of it, within its old bounds.
 * Without one nobody knows which table is above which, so all are merged by sequence number into one run, on level 1; their
 * range tombstones go into a table of level 0, since they need not be cut there.
 *
 * A value of the value log that is not whole takes its record with it, which becomes a tombstone: an older value must not
 * come back in its place. Where a block is lost nobody knows its keys, and older versions may show: its bounds are said.
 * The same holds for records of the write-ahead log; those behind a lost one are kept.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/db_impl.h"
#include "engine/db/repair_extents.h"
#include "engine/iter/merge_iter.h"
#include "engine/table/table_salvage.h"
#include "engine/version/manifest.h"
#include "engine/version/replay.h"
#include "engine/wal/wal_salvage.h"

enum { CONFIG_MAX = 1 << 20, TABLE_BYTES = 64 << 20, READ_AHEAD = 256 << 10, NAMES_MAX = 1000 };
#define LOST_DIRECTORY "lost"

/* A file of the directory, and what is to become of it. */
struct repair_file {
	enum file_kind kind;
	uint64_t number;
	bool damaged; /* to be kept in lost/ */
	bool goes;    /* the new manifest does not need it */
};

struct repair {
	struct env *env;
	const char *dir;
	void (*report)(void *arg, bool is_loss, const char *sentence);
	void *arg;
	uint64_t losses;
	bool changed;             /* a new manifest is due */
	struct repair_file *files;
	size_t file_count, file_capacity;
	enum wombat_status listing;
	uint64_t next_number;
	bool has_manifest;        /* one could be read */
	struct replay old;        /* what it says */
	struct version_edit state; /* what the new one is to say */
	uint64_t *fresh;          /* numbers of new tables, still under temporary names */
	size_t fresh_count, fresh_capacity;
	struct vlog *values;
	atomic_bool verify;       /* not asked: each read says so itself */
};

static void say(struct repair *r, bool is_loss, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct repair *r, bool is_loss, const char *format, ...)
{
	char sentence[1200];
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	r->losses += is_loss;
	r->report(r->arg, is_loss, sentence);
}

/* ---- Files --------------------------------------------------------------------------------- */

static void note_number(struct repair *r, uint64_t number)
{
	if (number >= r->next_number)
		r->next_number = number + 1;
}

static void add_file(void *arg, const char *name)
{
	struct repair *r = arg;
	uint64_t number;
	enum file_kind kind = filename_parse(name, &number);
	if (r->listing != WOMBAT_OK || (kind != FILE_TABLE && kind != FILE_WAL && kind != FILE_VALUES && kind != FILE_MANIFEST &&
					kind != FILE_CURRENT))
		return;
	struct repair_file *files = array_reserve(r->files, r->file_count, &r->file_capacity, sizeof *files);
	if (!files) {
		r->listing = fail_no_memory();
		return;
	}
	r->files = files;
	r->files[r->file_count++] = (struct repair_file){ .kind = kind, .number = number };
	note_number(r, number);
}

static void note_lost_file(void *arg, const char *name)
{
	uint64_t number;
	filename_parse(name, &number);
	note_number(arg, number);
}

static int compare_files(const void *a, const void *b)
{
	const struct repair_file *x = a, *y = b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

static enum wombat_status lost_path(const struct repair *r, char out[FILENAME_PATH_MAX], const char *name, unsigned copy)
{
	char suffix[16] = "";
	if (copy)
		snprintf(suffix, sizeof suffix, "-%u", copy);
	int n = snprintf(out, FILENAME_PATH_MAX, "%s/" LOST_DIRECTORY "%s%s%s", r->dir, *name ? "/" : "", name, suffix);
	return n < FILENAME_PATH_MAX ? WOMBAT_OK : fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
}

static enum wombat_status survey(struct repair *r)
{
	char lost[FILENAME_PATH_MAX];
	enum wombat_status s = lost_path(r, lost, "", 0);
	if (s == WOMBAT_OK)
		s = r->env->calls->dir_list(r->env, r->dir, add_file, r);
	if (s == WOMBAT_OK)
		s = r->listing;
	if (s == WOMBAT_NOT_FOUND || (s == WOMBAT_OK && r->file_count == 0))
		return fail(WOMBAT_NOT_FOUND, "there is no database in %s", r->dir);
	if (s != WOMBAT_OK)
		return s;
	qsort(r->files, r->file_count, sizeof *r->files, compare_files);
	s = r->env->calls->dir_list(r->env, lost, note_lost_file, r);
	return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s;
}

static struct repair_file *find_file(struct repair *r, enum file_kind kind, uint64_t number)
{
	const struct repair_file key = { .kind = kind, .number = number };
	return r->file_count ? bsearch(&key, r->files, r->file_count, sizeof key, compare_files) : NULL;
}

/* Whether two files are the same: a repair before this one may have been interrupted here. */
static enum wombat_status same_content(struct repair *r, const char *a, const char *b, bool *out)
{
	uint64_t a_size, b_size;
	uint32_t a_crc, b_crc;
	enum wombat_status s = env_sum_file(r->env, a, &a_size, &a_crc);
	if (s == WOMBAT_OK)
		s = env_sum_file(r->env, b, &b_size, &b_crc);
	*out = s == WOMBAT_OK && a_size == b_size && a_crc == b_crc;
	return s;
}

/* A second name for a file in lost/, durable after the directory's sync. */
static enum wombat_status keep_lost(struct repair *r, enum file_kind kind, uint64_t number)
{
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX], name[32];
	uint64_t size;
	bool same = false;
	filename_make(name, kind, number);
	if (!filename_path(from, r->dir, kind, number))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	enum wombat_status s = lost_path(r, to, "", 0);
	if (s == WOMBAT_OK)
		s = r->env->calls->dir_create(r->env, to);
	for (unsigned copy = 0; s == WOMBAT_OK && copy < NAMES_MAX; copy++) {
		s = lost_path(r, to, name, copy);
		if (s == WOMBAT_OK)
			s = r->env->calls->file_size(r->env, to, &size);
		if (s == WOMBAT_NOT_FOUND)
			break;
		if (s == WOMBAT_OK)
			s = same_content(r, from, to, &same);
		if (same)
			return s;
	}
	if (s != WOMBAT_NOT_FOUND)
		return s == WOMBAT_OK ? fail(WOMBAT_EXISTS, "%s: there are too many of that name", to) : s;
	s = r->env->calls->link(r->env, from, to);
	return s == WOMBAT_UNSUPPORTED ? env_copy_file(r->env, from, to, NULL) : s;
}

static enum wombat_status sync_lost(struct repair *r)
{
	char path[FILENAME_PATH_MAX];
	enum wombat_status s = lost_path(r, path, "", 0);
	if (s == WOMBAT_OK)
		s = r->env->calls->dir_sync(r->env, path);
	return s == WOMBAT_OK ? r->env->calls->dir_sync(r->env, r->dir) : s;
}

/* ---- Configuration ------------------------------------------------------------------------- */

/* The lines that can be read by themselves. */
static enum wombat_status good_lines(struct repair *r, const char *path, const struct buf *text, struct buf *out)
{
	enum wombat_status s = WOMBAT_OK;
	const char *p = (const char *)text->data, *end = p + text->size;
	for (unsigned line = 1; p < end && s == WOMBAT_OK; line++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
		struct wombat_options one = { .explicit_mask = 0 };
		options_defaults(&one.values);
		s = options_parse_text(&one, path, p, (size_t)(next - p));
		if (s == WOMBAT_OK)
			s = buf_append(out, p, (size_t)(next - p));
		else if (s != WOMBAT_NO_MEMORY) {
			say(r, true, "%s: line %u is dropped: %s", path, line, status_detail());
			s = WOMBAT_OK;
		}
		p = next;
	}
	return s;
}

static enum wombat_status repair_config(struct repair *r)
{
	char path[FILENAME_PATH_MAX];
	struct buf text = { 0 }, good = { 0 };
	struct wombat_options config = { .explicit_mask = 0 };
	options_defaults(&config.values);
	if (!filename_path(path, r->dir, FILE_CONFIG, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	enum wombat_status s = env_read_file(r->env, path, CONFIG_MAX, &text), parsed = WOMBAT_INVALID;
	if (s == WOMBAT_OK) {
		parsed = text.size ? options_parse_text(&config, path, (const char *)text.data, text.size) : WOMBAT_OK;
		if (parsed == WOMBAT_OK)
			parsed = options_check(&config.values);
	}
	if (s == WOMBAT_NOT_FOUND || parsed == WOMBAT_OK || parsed == WOMBAT_NO_MEMORY ||
	    (s != WOMBAT_OK && s != WOMBAT_TOO_BIG)) {
		buf_done(&text);
		return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s != WOMBAT_OK ? s : parsed;
	}
	s = s == WOMBAT_OK ? good_lines(r, path, &text, &good) : WOMBAT_OK;
	options_defaults(&config.values);
	config.explicit_mask = 0;
	parsed = s == WOMBAT_OK && good.size ? options_parse_text(&config, path, (char *)good.data, good.size) : WOMBAT_INVALID;
	if (parsed == WOMBAT_OK)
		parsed = options_check(&config.values);
	if (s == WOMBAT_OK && parsed == WOMBAT_NO_MEMORY)
		s = parsed;
	if (s == WOMBAT_OK && parsed != WOMBAT_OK) {
		say(r, true, "%s is dropped: nothing of it is left, or its settings do not fit together", path);
		buf_clear(&good);
	}
	if (s == WOMBAT_OK)
		s = keep_lost(r, FILE_CONFIG, 0);
	if (s == WOMBAT_OK)
		s = sync_lost(r);
	if (s == WOMBAT_OK)
		s = env_replace_file(r->env, r->dir, "wombat.conf", buf_slice(&good));
	buf_done(&text);
	buf_done(&good);
	return s;
}

/* ---- The manifest -------------------------------------------------------------------------- */

/* False: it cannot be used. Another failure than damage goes to *out_status. */
static bool try_manifest(struct repair *r, uint64_t number, enum wombat_status *out_status)
{
	struct replay state = { 0 };
	*out_status = manifest_replay(r->env, r->dir, number, replay_record, &state, NULL);
	if (*out_status != WOMBAT_OK) {
		replay_done(&state);
		if (*out_status == WOMBAT_CORRUPTION) {
			say(r, false, "%s", status_detail());
			*out_status = WOMBAT_OK;
		}
		return false;
	}
	r->old = state;
	return true;
}

/* Tables that it names are gone, and there are others instead: it is an old one. */
static bool is_outdated(struct repair *r)
{
	bool missing = false;
	size_t known = 0, tables = 0;
	for (size_t i = 0; i < r->old.count; i++) {
		bool found = find_file(r, FILE_TABLE, r->old.files[i].number) != NULL;
		missing = missing || !found;
		known += found;
	}
	for (size_t i = 0; i < r->file_count; i++)
		tables += r->files[i].kind == FILE_TABLE;
	return missing && tables > known;
}

static enum wombat_status read_manifest(struct repair *r)
{
	uint64_t number = 0;
	enum wombat_status s = manifest_read_current(r->env, r->dir, &number);
	if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND && s != WOMBAT_CORRUPTION)
		return s;
	bool named = s == WOMBAT_OK;
	if (!named)
		say(r, false, "%s/CURRENT is missing or damaged", r->dir);
	s = WOMBAT_OK;
	r->has_manifest = named && try_manifest(r, number, &s);
	r->changed = !r->has_manifest;
	for (size_t i = r->file_count; i > 0 && !r->has_manifest && s == WOMBAT_OK; i--)
		if (r->files[i - 1].kind == FILE_MANIFEST && !(named && r->files[i - 1].number == number))
			r->has_manifest = try_manifest(r, r->files[i - 1].number, &s);
	if (s != WOMBAT_OK)
		return s;
	if (r->has_manifest && is_outdated(r)) {
		say(r, false, "the manifest names tables that are gone, and there are others: it is not used");
		replay_done(&r->old);
		r->has_manifest = false;
	}
	if (r->has_manifest)
		return WOMBAT_OK;
	say(r, true, "%s: the manifest is lost; all tables that are there are merged by sequence number: deleted records may be "
	    "there again", r->dir);
	r->changed = true;
	for (size_t i = 0; i < r->file_count; i++)
		if (r->files[i].kind == FILE_MANIFEST || r->files[i].kind == FILE_CURRENT)
			r->files[i].damaged = true;
	return WOMBAT_OK;
}

/* ---- Writing tables ------------------------------------------------------------------------ */

static enum wombat_status table_path(const struct repair *r, uint64_t number, bool temporary, char out[FILENAME_PATH_MAX])
{
	if (!filename_path(out, r->dir, FILE_TABLE, number) || strlen(out) + 5 > FILENAME_PATH_MAX)
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	if (temporary)
		strcat(out, ".tmp");
	return WOMBAT_OK;
}

/* A table that is being written; begun with its first entry. */
struct output {
	struct repair *r;
	unsigned level;
	uint64_t number;
	struct table_builder *builder; /* NULL: nothing is in it yet */
};

static enum wombat_status output_begin(struct output *o)
{
	static const struct table_builder_options options = {
		.block_bytes = 4096, .restart_interval = 16, .bloom_false_positive = 0.01, .write_buffer_bytes = 1 << 20,
	};
	char path[FILENAME_PATH_MAX];
	if (o->builder)
		return WOMBAT_OK;
	o->number = o->r->next_number++;
	enum wombat_status s = table_path(o->r, o->number, true, path);
	return s == WOMBAT_OK ? table_builder_new(o->r->env, path, &options, &o->builder) : s;
}

/* The table is one of the new state. */
static enum wombat_status output_end(struct output *o)
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
	struct repair_file *file = find_file(r, FILE_VALUES, record->pointer.file);
	if (file)
		file->damaged = true;
	return WOMBAT_OK;
}

static enum wombat_status entry_is_whole(struct repair *r, uint64_t tag, struct wombat_slice value, bool *out)
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
	char text[SALVAGE_KEY_TEXT];
	say(r, true, "%s: its value is lost: %s", salvage_key_text(key, text), status_detail());
}

static enum wombat_status on_entry(void *arg, struct wombat_slice key, uint64_t tag, struct wombat_slice value)
{
	struct output *o = arg;
	bool whole;
	enum wombat_status s = entry_is_whole(o->r, tag, value, &whole);
	if (s != WOMBAT_OK)
		return s;
	if (!whole) {
		say_value_lost(o->r, key);
		tag = tag_make(tag_sequence(tag), KIND_DELETE);
		value = slice_make(NULL, 0);
	}
	s = output_begin(o);
	return s == WOMBAT_OK ? table_builder_add(o->builder, key, tag, value) : s;
}

static enum wombat_status on_range(void *arg, struct range_del range)
{
	struct output *o = arg;
	enum wombat_status s = output_begin(o);
	return s == WOMBAT_OK ? table_builder_add_range(o->builder, range) : s;
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
		s = entry_is_whole(r, it->tag, it->value, out);
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
	say(((struct output *)arg)->r, true, "%s", sentence);
}

/* What can be read of a table, in a new one. */
static enum wombat_status rescue_table(struct repair *r, const char *path, unsigned level, bool may_have_ranges)
{
	struct output o = { .r = r, .level = level };
	const struct table_salvage to = { on_entry, on_range, on_lost, &o, may_have_ranges };
	uint64_t before = r->losses;
	enum wombat_status s = table_salvage(r->env, path, &to);
	if (s == WOMBAT_OK)
		s = output_end(&o);
	table_builder_abandon(o.builder);
	if (s == WOMBAT_OK && r->losses == before)
		say(r, false, "%s was damaged; all of its records are there", path);
	return s;
}

static void say_table_missing(struct repair *r, const char *path, const struct file_meta *f)
{
	char from[SALVAGE_KEY_TEXT], to[SALVAGE_KEY_TEXT];
	say(r, true, "%s is missing: lost are its %" PRIu64 " entries and %" PRIu64 " range tombstones between %s and %s", path,
	    f->summary.entries, f->summary.range_deletes, salvage_key_text(buf_slice(&f->summary.smallest), from),
	    salvage_key_text(buf_slice(&f->summary.largest), to));
}

/* A table that the manifest names. */
static enum wombat_status repair_known(struct repair *r, const struct replay_file *known)
{
	char path[FILENAME_PATH_MAX];
	bool whole;
	const struct table_summary *summary = &known->file->summary;
	struct repair_file *file = find_file(r, FILE_TABLE, known->number);
	enum wombat_status s = table_path(r, known->number, false, path);
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
	return rescue_table(r, path, known->level, summary->range_deletes > 0);
}

/* Without a manifest: every table, a damaged one replaced by what can be read of it. `out` gets the inputs of the merge. */
struct input_list {
	struct input {
		uint64_t number;
		bool temporary;
	} *items;
	size_t count, capacity;
};

static enum wombat_status add_input(struct input_list *l, uint64_t number, bool temporary)
{
	struct input *items = array_reserve(l->items, l->count, &l->capacity, sizeof *items);
	if (!items)
		return fail_no_memory();
	l->items = items;
	l->items[l->count++] = (struct input){ number, temporary };
	return WOMBAT_OK;
}

static enum wombat_status repair_unknown(struct repair *r, struct repair_file *file, struct input_list *out)
{
	char path[FILENAME_PATH_MAX];
	bool whole;
	enum wombat_status s = table_path(r, file->number, false, path);
	if (s == WOMBAT_OK)
		s = table_is_whole(r, path, file->number, 0, &whole);
	if (s != WOMBAT_OK)
		return s;
	file->goes = true;
	if (whole)
		return add_input(out, file->number, false);
	file->damaged = true;
	size_t before = r->fresh_count;
	s = rescue_table(r, path, 0, false);
	return s == WOMBAT_OK && r->fresh_count > before ? add_input(out, r->fresh[before], true) : s;
}

/* ---- Merging all --------------------------------------------------------------------------- */

struct merge {
	struct table **tables;
	size_t count;
	struct iter *entries;
	struct range_del_set ranges;
};

static enum wombat_status merge_open(struct repair *r, const struct input_list *inputs, struct merge *m)
{
	const struct table_options options = { .env_flags = ENV_SEQUENTIAL };
	const struct wombat_slice none = { NULL, 0 };
	char path[FILENAME_PATH_MAX];
	size_t made = 0;
	m->tables = mem_zalloc(inputs->count * sizeof *m->tables);
	struct iter **children = mem_alloc(inputs->count * sizeof *children);
	enum wombat_status s = m->tables && children ? WOMBAT_OK : fail_no_memory();
	for (size_t i = 0; i < inputs->count && s == WOMBAT_OK; i++) {
		s = table_path(r, inputs->items[i].number, inputs->items[i].temporary, path);
		if (s == WOMBAT_OK)
			s = table_open(r->env, path, inputs->items[i].number, &options, &m->tables[i]);
		m->count += s == WOMBAT_OK;
		if (s == WOMBAT_OK)
			s = table_iter_new(m->tables[i], TABLE_READ_SEQUENTIAL, READ_AHEAD, &children[made]);
		made += s == WOMBAT_OK;
		if (s == WOMBAT_OK)
			s = range_fragments_collect(table_range_dels(m->tables[i]), none, none, &m->ranges);
	}
	if (s == WOMBAT_OK)
		s = merge_iter_new(children, made, &m->entries); /* takes them in any case */
	else
		while (made > 0)
			iter_free(children[--made]);
	mem_free(children);
	return s;
}

static void merge_close(struct merge *m)
{
	iter_free(m->entries);
	for (size_t i = 0; i < m->count; i++)
		table_close(m->tables[i]);
	mem_free(m->tables);
	range_del_set_done(&m->ranges);
}

/* Of each key the newest entry; tombstones stay, since the log may have what they delete. */
static enum wombat_status merge_entries(struct repair *r, struct iter *it)
{
	struct output o = { .r = r, .level = 1 };
	struct buf last = { 0 };
	bool has_last = false;
	enum wombat_status s = WOMBAT_OK;
	for (iter_first(it); it->valid && s == WOMBAT_OK; iter_next(it)) {
		if (has_last && slice_equal(it->key, buf_slice(&last)))
			continue;
		has_last = true;
		s = buf_set(&last, it->key);
		if (s == WOMBAT_OK && o.builder && table_builder_bytes(o.builder) >= TABLE_BYTES)
			s = output_end(&o);
		if (s == WOMBAT_OK)
			s = output_begin(&o);
		if (s == WOMBAT_OK)
			s = table_builder_add(o.builder, it->key, it->tag, it->value);
	}
	if (s == WOMBAT_OK)
		s = it->status;
	if (s == WOMBAT_OK)
		s = output_end(&o);
	table_builder_abandon(o.builder);
	buf_done(&last);
	return s;
}

static enum wombat_status merge_ranges(struct repair *r, const struct range_del_set *ranges)
{
	struct output o = { .r = r, .level = 0 };
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < ranges->count && s == WOMBAT_OK; i++)
		s = on_range(&o, ranges->items[i]);
	if (s == WOMBAT_OK)
		s = output_end(&o);
	table_builder_abandon(o.builder);
	return s;
}

static void remove_fresh(struct repair *r)
{
	char path[FILENAME_PATH_MAX], cause[512];
	snprintf(cause, sizeof cause, "%s", status_detail());
	for (size_t i = 0; i < r->fresh_count; i++)
		if (table_path(r, r->fresh[i], true, path) == WOMBAT_OK)
			(void)r->env->calls->remove(r->env, path); /* One that stays goes at the next open. */
	r->fresh_count = 0;
	status_set_detail(cause);
}

/* What was rescued becomes part of the merge's tables. */
static enum wombat_status merge_all(struct repair *r, const struct input_list *inputs)
{
	struct merge m = { .count = 0 };
	size_t rescued = r->fresh_count;
	uint64_t last = r->state.last_sequence;
	if (inputs->count == 0)
		return WOMBAT_OK;
	version_edit_done(&r->state);
	version_edit_init(&r->state);
	r->state.last_sequence = last;
	range_del_set_init(&m.ranges);
	enum wombat_status s = merge_open(r, inputs, &m);
	if (s == WOMBAT_OK)
		s = merge_entries(r, m.entries);
	if (s == WOMBAT_OK)
		s = merge_ranges(r, &m.ranges);
	merge_close(&m);
	if (s != WOMBAT_OK)
		return s;
	size_t all = r->fresh_count;
	r->fresh_count = rescued;
	remove_fresh(r);
	r->fresh_count = all - rescued;
	memmove(r->fresh, r->fresh + rescued, r->fresh_count * sizeof *r->fresh);
	return WOMBAT_OK;
}

static enum wombat_status repair_tables(struct repair *r)
{
	struct input_list inputs = { 0 };
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; r->has_manifest && i < r->old.count && s == WOMBAT_OK; i++)
		s = repair_known(r, &r->old.files[i]);
	for (size_t i = 0; !r->has_manifest && i < r->file_count && s == WOMBAT_OK; i++)
		if (r->files[i].kind == FILE_TABLE)
			s = repair_unknown(r, &r->files[i], &inputs);
	if (s == WOMBAT_OK && !r->has_manifest)
		s = merge_all(r, &inputs);
	mem_free(inputs.items);
	return s;
}

/* ---- The write-ahead log ------------------------------------------------------------------- */

struct wal_work {
	struct repair *r;
	bool whole;
	struct memtable *changes;
};

/* A body whose changes of lost values are deletions; `*out_whole`: there is none. */
static enum wombat_status rewrite_body(struct repair *r, struct wombat_slice body, bool tell, struct buf *out, bool *out_whole)
{
	struct cursor c = cursor_of(body);
	struct batch_change change;
	enum wombat_status s = WOMBAT_OK;
	*out_whole = true;
	while (cursor_left(&c) > 0 && s == WOMBAT_OK) {
		const uint8_t *begin = c.p;
		bool whole = true;
		s = write_batch_next(&c, &change);
		if (s == WOMBAT_OK && change.kind == KIND_PUT)
			s = entry_is_whole(r, tag_make(1, KIND_PUT), change.value, &whole);
		if (s == WOMBAT_OK && whole)
			s = buf_append(out, begin, (size_t)(c.p - begin));
		else if (s == WOMBAT_OK)
			s = write_batch_add_delete(out, change.keyspace, change.key);
		if (s == WOMBAT_OK && !whole && tell)
			say(r, true, "keyspace %u key of %zu bytes \"%.*s\": its value is lost: %s", change.keyspace, change.key.size,
			    (int)(change.key.size < 40 ? change.key.size : 40), (const char *)change.key.data, status_detail());
		*out_whole = *out_whole && whole;
	}
	return s;
}

static enum wombat_status look_at_change(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
					 struct wombat_slice body, uint32_t epoch)
{
	struct wal_work *w = arg;
	struct buf copy = { 0 };
	bool whole;
	(void)sequence;
	(void)time_ns;
	(void)count;
	(void)epoch;
	enum wombat_status s = rewrite_body(w->r, body, false, &copy, &whole);
	buf_done(&copy);
	w->whole = w->whole && whole;
	return s;
}

static enum wombat_status save_change(void *arg, uint64_t sequence, uint64_t time_ns, struct wombat_slice body)
{
	struct wal_work *w = arg;
	struct buf copy = { 0 };
	uint32_t count;
	bool whole;
	enum wombat_status s = rewrite_body(w->r, body, true, &copy, &whole);
	if (s == WOMBAT_OK)
		s = write_batch_apply(buf_slice(&copy), sequence, w->r->state.flushed_sequence, time_ns, w->changes, &count);
	buf_done(&copy);
	return s;
}

static void on_changes_lost(void *arg, uint64_t first, uint64_t last)
{
	struct wal_work *w = arg;
	say(w->r, true, "the write-ahead log: the changes %" PRIu64 " to %" PRIu64 " are lost%s", first, last,
	    w->r->has_manifest ? "" : ", or were in tables");
}

static enum wombat_status write_changes(struct repair *r, struct memtable *changes)
{
	const struct wombat_slice none = { NULL, 0 };
	struct output o = { .r = r, .level = 0 };
	struct range_fragments *fragments = NULL;
	struct range_del_set ranges;
	struct iter *it;
	range_del_set_init(&ranges);
	enum wombat_status s = memtable_iter_new(changes, &it);
	if (s != WOMBAT_OK)
		return s;
	for (iter_first(it); it->valid && s == WOMBAT_OK; iter_next(it)) {
		s = output_begin(&o);
		if (s == WOMBAT_OK)
			s = table_builder_add(o.builder, it->key, it->tag, it->value);
	}
	if (s == WOMBAT_OK)
		s = it->status;
	if (s == WOMBAT_OK)
		s = memtable_range_dels(changes, &fragments);
	if (s == WOMBAT_OK)
		s = range_fragments_collect(fragments, none, none, &ranges);
	for (size_t i = 0; i < ranges.count && s == WOMBAT_OK; i++)
		s = on_range(&o, ranges.items[i]);
	if (s == WOMBAT_OK)
		s = output_end(&o);
	table_builder_abandon(o.builder);
	iter_free(it);
	range_fragments_unref(fragments);
	range_del_set_done(&ranges);
	return s;
}

/* All that can be read of the log goes into a table, and its files go. */
static enum wombat_status rescue_wal(struct repair *r, struct wal_work *w)
{
	const struct wal_salvage to = { save_change, on_changes_lost, w };
	uint64_t highest = 0, before = r->losses;
	enum wombat_status s = memtable_new(&w->changes);
	if (s == WOMBAT_OK)
		s = wal_salvage(r->env, r->dir, r->state.flushed_sequence, &to, &highest);
	if (s == WOMBAT_OK)
		s = write_changes(r, w->changes);
	memtable_unref(w->changes);
	if (s != WOMBAT_OK)
		return s;
	if (r->losses == before)
		say(r, true, "the write-ahead log is damaged: its newest changes may be lost");
	/* No record that is left somewhere has a number that is given again. */
	if (highest > r->state.last_sequence)
		r->state.last_sequence = highest;
	r->state.flushed_sequence = r->state.last_sequence;
	r->changed = true;
	for (size_t i = 0; i < r->file_count; i++)
		if (r->files[i].kind == FILE_WAL)
			r->files[i].damaged = r->files[i].goes = true;
	return WOMBAT_OK;
}

static enum wombat_status repair_wal(struct repair *r)
{
	struct wal_work w = { .r = r, .whole = true };
	struct wal_replay replay;
	if (!r->has_manifest)
		r->state.flushed_sequence = r->state.last_sequence;
	enum wombat_status s = wal_replay(r->env, r->dir, r->state.flushed_sequence, look_at_change, &w, &replay, NULL);
	if (s == WOMBAT_OK && w.whole) {
		if (replay.torn)
			say(r, false, "the write-ahead log ends in an incomplete record, which was never acknowledged as durable");
		return WOMBAT_OK;
	}
	if (s == WOMBAT_CORRUPTION)
		say(r, false, "%s", status_detail());
	return s == WOMBAT_OK || s == WOMBAT_CORRUPTION ? rescue_wal(r, &w) : s;
}

/* ---- In force ------------------------------------------------------------------------------ */

static enum wombat_status name_tables(struct repair *r)
{
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX];
	enum wombat_status s = WOMBAT_OK;
	while (r->fresh_count > 0 && s == WOMBAT_OK) {
		uint64_t number = r->fresh[r->fresh_count - 1];
		s = table_path(r, number, true, from);
		if (s == WOMBAT_OK)
			s = table_path(r, number, false, to);
		if (s == WOMBAT_OK)
			s = r->env->calls->rename(r->env, from, to);
		r->fresh_count -= s == WOMBAT_OK;
	}
	return s == WOMBAT_OK ? r->env->calls->dir_sync(r->env, r->dir) : s;
}

static enum wombat_status keep_damaged(struct repair *r)
{
	bool any = false;
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < r->file_count && s == WOMBAT_OK; i++)
		if (r->files[i].damaged) {
			s = keep_lost(r, r->files[i].kind, r->files[i].number);
			any = true;
		}
	return s == WOMBAT_OK && any ? sync_lost(r) : s;
}

static enum wombat_status write_manifest(struct repair *r)
{
	struct manifest_writer *writer;
	struct buf bytes = { 0 };
	uint64_t number = r->next_number++;
	r->state.has_flushed_sequence = r->state.has_last_sequence = r->state.has_next_file_number = true;
	r->state.next_file_number = r->next_number;
	enum wombat_status s = version_edit_encode(&r->state, &bytes);
	if (s == WOMBAT_OK)
		s = manifest_create(r->env, r->dir, number, buf_slice(&bytes), &writer);
	if (s == WOMBAT_OK)
		manifest_close(writer);
	buf_done(&bytes);
	return s;
}

/* What the new manifest does not name, and lost/ has if it was damaged. */
static enum wombat_status remove_rest(struct repair *r)
{
	char path[FILENAME_PATH_MAX];
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < r->file_count && s == WOMBAT_OK; i++) {
		const struct repair_file *f = &r->files[i];
		if (!f->goes && f->kind != FILE_MANIFEST)
			continue;
		s = filename_path(path, r->dir, f->kind, f->number) ? r->env->calls->remove(r->env, path) :
		    fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	}
	return s == WOMBAT_OK ? r->env->calls->dir_sync(r->env, r->dir) : s;
}

static enum wombat_status repair_locked(struct repair *r)
{
	struct vlog_options values = { .env = r->env, .dir = r->dir, .verify = &r->verify };
	enum wombat_status s = repair_config(r);
	if (s == WOMBAT_OK)
		s = read_manifest(r);
	if (s == WOMBAT_OK)
		s = vlog_open(&values, &r->values);
	if (s != WOMBAT_OK)
		return s;
	note_number(r, r->old.next_file_number);
	r->state.flushed_sequence = r->old.flushed_sequence;
	r->state.last_sequence = r->old.last_sequence;
	s = repair_tables(r);
	if (s == WOMBAT_OK)
		s = repair_wal(r);
	if (s != WOMBAT_OK || !r->changed)
		return s;
	s = keep_damaged(r);
	if (s == WOMBAT_OK)
		s = name_tables(r);
	if (s == WOMBAT_OK)
		s = write_manifest(r);
	return s == WOMBAT_OK ? remove_rest(r) : s;
}

static enum wombat_status take_lock(struct env *env, const char *dir, struct env_lock **out)
{
	char path[FILENAME_PATH_MAX], who[FILENAME_PATH_MAX + 128] = "another process";
	if (!filename_path(path, dir, FILE_LOCK, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env->calls->lock(env, path, "wombat repair\n\n", out);
	if (s != WOMBAT_BUSY)
		return s;
	db_lock_holder(env, dir, who, sizeof who, NULL, 0);
	return fail(WOMBAT_BUSY, "%s is in use by %s; `wombat repair` needs it closed", dir, who);
}

static void say_extents_lost(void *arg, struct wombat_slice key)
{
	char text[EVENT_KEY_TEXT];
	event_key_text(key, text);
	say(arg, true, "key \"%s\": pieces of its value are missing", text);
}

enum wombat_status db_repair_env(struct env *env, const char *dir,
				 void (*report)(void *arg, bool is_loss, const char *sentence), void *arg)
{
	struct repair r = { .env = env, .dir = dir, .report = report, .arg = arg, .next_number = 1 };
	struct env_lock *lock = NULL;
	version_edit_init(&r.state);
	enum wombat_status s = survey(&r);
	if (s == WOMBAT_OK)
		s = take_lock(env, dir, &lock);
	if (s == WOMBAT_OK) {
		/* As it is now that nobody else changes it. */
		r.file_count = 0;
		s = survey(&r);
	}
	if (s == WOMBAT_OK)
		s = repair_locked(&r);
	remove_fresh(&r);
	vlog_free(r.values);
	version_edit_done(&r.state);
	replay_done(&r.old);
	mem_free(r.files);
	mem_free(r.fresh);
	env->calls->unlock(lock);
	if (s == WOMBAT_OK && r.losses)
		s = repair_extents(env, dir, say_extents_lost, &r);
	if (s != WOMBAT_OK)
		return s;
	return r.losses ? fail(WOMBAT_CORRUPTION, "%s was repaired; %" PRIu64 " things are lost", dir, r.losses) : WOMBAT_OK;
}

enum wombat_status wombat_repair(const char *dir, void (*report)(void *arg, bool is_loss, const char *sentence), void *arg)
{
	return db_repair_env(env_posix(), dir, report, arg);
}
