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
#include "engine/db/repair_extents.h"
#include "engine/db/repair_impl.h"
#include "engine/version/manifest.h"

enum { NAMES_MAX = 1000 };
#define LOST_DIRECTORY "lost"

void repair_say(struct repair *r, bool is_loss, const char *format, ...)
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
	if (s == WOMBAT_OK && r->value_dir.apart)
		s = r->env->calls->dir_list(r->env, r->value_dir.path, add_file, r);
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

struct repair_file *repair_find_file(struct repair *r, enum file_kind kind, uint64_t number)
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
enum wombat_status repair_keep_lost(struct repair *r, enum file_kind kind, uint64_t number)
{
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX], name[32];
	uint64_t size;
	bool same = false;
	filename_make(name, kind, number);
	if (!filename_path(from, kind == FILE_VALUES ? r->value_dir.path : r->dir, kind, number))
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

enum wombat_status repair_sync_lost(struct repair *r)
{
	char path[FILENAME_PATH_MAX];
	enum wombat_status s = lost_path(r, path, "", 0);
	if (s == WOMBAT_OK)
		s = r->env->calls->dir_sync(r->env, path);
	return s == WOMBAT_OK ? r->env->calls->dir_sync(r->env, r->dir) : s;
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
			repair_say(r, false, "%s", status_detail());
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
		bool found = repair_find_file(r, FILE_TABLE, r->old.files[i].number) != NULL;
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
		repair_say(r, false, "%s/CURRENT is missing or damaged", r->dir);
	s = WOMBAT_OK;
	r->has_manifest = named && try_manifest(r, number, &s);
	r->changed = !r->has_manifest;
	for (size_t i = r->file_count; i > 0 && !r->has_manifest && s == WOMBAT_OK; i--)
		if (r->files[i - 1].kind == FILE_MANIFEST && !(named && r->files[i - 1].number == number))
			r->has_manifest = try_manifest(r, r->files[i - 1].number, &s);
	if (s != WOMBAT_OK)
		return s;
	if (r->has_manifest && is_outdated(r)) {
		repair_say(r, false, "the manifest names tables that are gone, and there are others: it is not used");
		replay_done(&r->old);
		r->has_manifest = false;
	}
	if (r->has_manifest)
		return WOMBAT_OK;
	repair_say(r, true, "%s: the manifest is lost; all tables that are there are merged by sequence number: deleted records may be "
	    "there again", r->dir);
	r->changed = true;
	for (size_t i = 0; i < r->file_count; i++)
		if (r->files[i].kind == FILE_MANIFEST || r->files[i].kind == FILE_CURRENT)
			r->files[i].damaged = true;
	return WOMBAT_OK;
}

/* ---- In force ------------------------------------------------------------------------------ */

static enum wombat_status name_tables(struct repair *r)
{
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX];
	enum wombat_status s = WOMBAT_OK;
	while (r->fresh_count > 0 && s == WOMBAT_OK) {
		uint64_t number = r->fresh[r->fresh_count - 1];
		s = repair_table_path(r, number, true, from);
		if (s == WOMBAT_OK)
			s = repair_table_path(r, number, false, to);
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
			s = repair_keep_lost(r, r->files[i].kind, r->files[i].number);
			any = true;
		}
	return s == WOMBAT_OK && any ? repair_sync_lost(r) : s;
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
	struct vlog_options values = { .env = r->env, .dir = r->value_dir.path, .verify = &r->verify };
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

static void say_extents_lost(void *arg, struct wombat_slice key, const char *what)
{
	char text[KEY_TEXT];
	key_text(key, text);
	repair_say(arg, true, "key \"%s\": %s", text, what);
}

enum wombat_status db_repair_env(struct env *env, const char *dir,
				 void (*report)(void *arg, bool is_loss, const char *sentence), void *arg)
{
	struct repair r = { .env = env, .dir = dir, .report = report, .arg = arg, .next_number = 1 };
	struct env_lock *lock = NULL;
	version_edit_init(&r.state);
	enum wombat_status s = value_dir_find(env, dir, &r.value_dir);
	if (s == WOMBAT_OK)
		s = survey(&r);
	if (s == WOMBAT_OK)
		s = take_lock(env, dir, &lock);
	if (s == WOMBAT_OK) {
		/* As it is now that nobody else changes it. */
		r.file_count = 0;
		s = survey(&r);
	}
	if (s == WOMBAT_OK)
		s = repair_locked(&r);
	repair_remove_fresh(&r);
	vlog_free(r.values);
	version_edit_done(&r.state);
	replay_done(&r.old);
	mem_free(r.files);
	mem_free(r.fresh);
	env->calls->unlock(lock);
	if (s == WOMBAT_OK)
		s = repair_extents(env, dir, say_extents_lost, &r);
	if (s != WOMBAT_OK)
		return s;
	return r.losses ? fail(WOMBAT_CORRUPTION, "%s was repaired; %" PRIu64 " things are lost", dir, r.losses) : WOMBAT_OK;
}

enum wombat_status wombat_repair(const char *dir, void (*report)(void *arg, bool is_loss, const char *sentence), void *arg)
{
	return db_repair_env(env_posix(), dir, report, arg);
}
