/*
 * Backups: a directory in which files that several backups need are kept once.
 *
 *     LOCK                     taken by whoever works here; together by those who only read
 *     BACKUP-000001            what the first backup has: names, sizes, checksums (backup_record.h)
 *     files/000012.sst-SIZE-X  a file of the database; X tells it from others of its number and size
 *
 * Tables and sealed files of the value log never change, so one of the same name, size and end is the same. X is the
 * crc32c of the last 4 KiB: of a table that is its footer, index and properties, which hold the time of its making to the
 * nanosecond; so databases that went different ways from one backup do not take each other's files for theirs.
 *
 * Files come first, each under a temporary name that is renamed when it is durable, and the record last; so a record's
 * files are there whatever happened. What no record names is left over from a failure, and swept by the next one who
 * deletes or creates.
 */
#include "engine/db/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/base/crc32c.h"
#include "engine/db/backup_record.h"
#include "engine/db/db_impl.h"
#include "engine/env/filename.h"
#include "engine/env/staging.h"
#include "engine/version/manifest.h"

enum { RECORD_MAX = 1 << 28, TAIL = 4096, CONFIG_MAX = 1 << 20 };

/* ---- Paths --------------------------------------------------------------------------------- */

static enum wombat_status path_in(const char *dir, const char *sub, const char *name, char out[FILENAME_PATH_MAX])
{
	int n = snprintf(out, FILENAME_PATH_MAX, "%s/%s%s", dir, sub, name);
	if (n < 0 || n >= FILENAME_PATH_MAX)
		return fail(WOMBAT_INVALID, "the path %s/%s%s is too long", dir, sub, name);
	return WOMBAT_OK;
}

static void record_name(uint32_t id, char out[32])
{
	snprintf(out, 32, "BACKUP-%06" PRIu32, id);
}

/* 0: not the name of a record. */
static uint32_t record_id(const char *name)
{
	char again[32], *end;
	if (strncmp(name, "BACKUP-", 7) != 0)
		return 0;
	unsigned long id = strtoul(name + 7, &end, 10);
	if (*end || id == 0 || id > UINT32_MAX)
		return 0;
	record_name((uint32_t)id, again);
	return strcmp(name, again) == 0 ? (uint32_t)id : 0;
}

/* ---- A backup directory, open --------------------------------------------------------------- */

struct repository {
	struct env *env;
	const char *dir;
	struct env_lock *lock;
	struct backup_record *records; /* ascending */
	size_t count, capacity;
	uint32_t *ids;                 /* while they are gathered */
	size_t id_count, id_capacity;
	enum wombat_status status;
};

static void note_record(void *arg, const char *name)
{
	struct repository *r = arg;
	uint32_t id = record_id(name);
	if (!id || r->status != WOMBAT_OK)
		return;
	uint32_t *ids = array_reserve(r->ids, r->id_count, &r->id_capacity, sizeof *ids);
	if (!ids) {
		r->status = fail_no_memory();
		return;
	}
	r->ids = ids;
	r->ids[r->id_count++] = id;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static enum wombat_status read_record(struct repository *r, uint32_t id)
{
	char name[32], path[FILENAME_PATH_MAX];
	struct buf bytes = { 0 };
	struct backup_record *records = array_reserve(r->records, r->count, &r->capacity, sizeof *records);
	if (!records)
		return fail_no_memory();
	r->records = records;
	struct backup_record *record = &r->records[r->count];
	*record = (struct backup_record){ .count = 0 };
	record_name(id, name);
	enum wombat_status s = path_in(r->dir, "", name, path);
	if (s == WOMBAT_OK)
		s = env_read_file(r->env, path, RECORD_MAX, &bytes);
	if (s == WOMBAT_OK) {
		const char *fault = backup_record_decode(buf_slice(&bytes), record, &s);
		if (!fault && record->info.id != id) {
			fault = "it is of another backup";
			s = WOMBAT_CORRUPTION;
		}
		if (fault)
			s = s == WOMBAT_NO_MEMORY ? fail_no_memory() : fail(s, "%s: %s", path, fault);
	}
	buf_done(&bytes);
	if (s == WOMBAT_OK)
		r->count++;
	else
		backup_record_done(record);
	return s;
}

static void repository_close(struct repository *r)
{
	for (size_t i = 0; i < r->count; i++)
		backup_record_done(&r->records[i]);
	mem_free(r->records);
	mem_free(r->ids);
	if (r->lock)
		r->env->calls->unlock(r->lock);
}

enum use { READING, CHANGING };

/* Locks it and reads all records. */
static enum wombat_status repository_begin(struct env *env, const char *dir, enum use use, struct repository *r)
{
	char path[FILENAME_PATH_MAX];
	*r = (struct repository){ .env = env, .dir = dir };
	enum wombat_status s = path_in(dir, "", "LOCK", path);
	if (s == WOMBAT_OK)
		s = use == READING ? env->calls->lock_shared(env, path, "backup", &r->lock) :
				     env->calls->lock(env, path, "backup", &r->lock);
	if (s == WOMBAT_BUSY)
		return fail(WOMBAT_BUSY, "somebody else works in the backup directory %s", dir);
	if (s == WOMBAT_OK)
		s = env->calls->dir_list(env, dir, note_record, r);
	if (s == WOMBAT_OK)
		s = r->status;
	if (s == WOMBAT_OK && r->id_count)
		qsort(r->ids, r->id_count, sizeof r->ids[0], compare_ids);
	for (size_t i = 0; i < r->id_count && s == WOMBAT_OK; i++)
		s = read_record(r, r->ids[i]);
	if (s != WOMBAT_OK)
		repository_close(r);
	return s;
}

/* The same with one that must be there. */
static enum wombat_status repository_open(struct env *env, const char *dir, enum use use, struct repository *r)
{
	uint64_t size;
	enum wombat_status s = env->calls->file_size(env, dir, &size);
	if (s == WOMBAT_NOT_FOUND)
		return fail(WOMBAT_NOT_FOUND, "there is no backup directory %s", dir);
	return s == WOMBAT_OK ? repository_begin(env, dir, use, r) : s;
}

/* The record of that number, 0: the newest. */
static struct backup_record *find_record(struct repository *r, uint32_t id)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->records[i].info.id == id)
			return &r->records[i];
	return id == 0 && r->count ? &r->records[r->count - 1] : NULL;
}

static enum wombat_status no_backup(const struct repository *r, uint32_t id)
{
	if (id == 0)
		return fail(WOMBAT_NOT_FOUND, "there is no backup in %s", r->dir);
	return fail(WOMBAT_NOT_FOUND, "there is no backup %" PRIu32 " in %s", id, r->dir);
}

static const struct backup_file *find_stored(const struct repository *r, const char *stored)
{
	for (size_t i = r->count; i-- > 0;) /* the newest is the likeliest */
		for (size_t k = 0; k < r->records[i].count; k++)
			if (strcmp(r->records[i].files[k].stored, stored) == 0)
				return &r->records[i].files[k];
	return NULL;
}

/* ---- Sweeping ------------------------------------------------------------------------------- */

struct sweep {
	const struct repository *r;
	struct buf names; /* of files that nobody needs, NUL behind each */
	enum wombat_status status;
};

static void judge_stored(void *arg, const char *name)
{
	struct sweep *w = arg;
	if (w->status == WOMBAT_OK && !find_stored(w->r, name))
		w->status = buf_append(&w->names, name, strlen(name) + 1);
}

/* Removes what no record names. */
static enum wombat_status sweep(const struct repository *r)
{
	struct sweep w = { .r = r };
	char files[FILENAME_PATH_MAX];
	enum wombat_status s = path_in(r->dir, "", "files", files);
	if (s == WOMBAT_OK)
		s = r->env->calls->dir_list(r->env, files, judge_stored, &w);
	if (s == WOMBAT_NOT_FOUND)
		s = WOMBAT_OK;
	if (s == WOMBAT_OK)
		s = w.status;
	const char *name = (const char *)w.names.data;
	for (size_t at = 0; s == WOMBAT_OK && at < w.names.size; at += strlen(name + at) + 1) {
		char path[FILENAME_PATH_MAX];
		s = path_in(r->dir, "files/", name + at, path);
		if (s == WOMBAT_OK)
			s = r->env->calls->remove(r->env, path);
	}
	buf_done(&w.names);
	return s;
}

/* ---- Create --------------------------------------------------------------------------------- */

struct creation {
	struct wombat *db;
	struct repository *r;
	struct backup_record record;
};

/* What a file of the database is called in the backup directory. */
static enum wombat_status stored_name(struct env *env, const char *path, const char *name, uint64_t bytes,
				      char out[BACKUP_NAME_MAX])
{
	struct env_reader *reader;
	uint8_t scratch[TAIL];
	const uint8_t *tail;
	size_t size = bytes < TAIL ? (size_t)bytes : TAIL;
	enum wombat_status s = env->calls->reader_open(env, path, 0, &reader);
	if (s != WOMBAT_OK)
		return s;
	s = env->calls->reader_read(reader, bytes - size, size, scratch, &tail);
	if (s == WOMBAT_OK)
		snprintf(out, BACKUP_NAME_MAX, "%s-%" PRIu64 "-%08" PRIx32, name, bytes, crc32c(0, tail, size));
	env->calls->reader_close(reader);
	return s;
}

static enum wombat_status copy_in(struct creation *c, const char *from, struct backup_file *f)
{
	struct env *env = c->db->env;
	char to[FILENAME_PATH_MAX], temp[FILENAME_PATH_MAX], name[BACKUP_NAME_MAX + 8];
	snprintf(name, sizeof name, "%s.tmp", f->stored);
	enum wombat_status s = path_in(c->r->dir, "files/", f->stored, to);
	if (s == WOMBAT_OK)
		s = path_in(c->r->dir, "files/", name, temp);
	if (s == WOMBAT_OK)
		s = env_copy_file(env, from, temp, &f->crc);
	if (s == WOMBAT_OK)
		s = env->calls->rename(env, temp, to);
	if (s == WOMBAT_OK) {
		c->record.info.copied_files++;
		c->record.info.copied_bytes += f->bytes;
	}
	return s;
}

static enum wombat_status take_file(void *arg, enum file_kind kind, uint64_t number, uint64_t bytes)
{
	struct creation *c = arg;
	struct env *env = c->db->env;
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX];
	struct backup_file f = { .bytes = bytes };
	uint64_t there;
	filename_make(f.name, kind, number);
	enum wombat_status s = db_file_path(c->db, kind, number, from);
	if (s == WOMBAT_OK)
		s = stored_name(env, from, f.name, bytes, f.stored);
	if (s == WOMBAT_OK)
		s = path_in(c->r->dir, "files/", f.stored, to);
	if (s != WOMBAT_OK)
		return s;
	const struct backup_file *known = find_stored(c->r, f.stored);
	if (known && env->calls->file_size(env, to, &there) == WOMBAT_OK && there == known->bytes)
		f.crc = known->crc;
	else
		s = copy_in(c, from, &f);
	c->record.info.files++;
	c->record.info.bytes += bytes;
	return s == WOMBAT_OK ? backup_record_add(&c->record, &f) : s;
}

static enum wombat_status take_config(struct creation *c)
{
	char path[FILENAME_PATH_MAX];
	if (!filename_path(path, c->db->dir, FILE_CONFIG, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", c->db->dir);
	enum wombat_status s = env_read_file(c->db->env, path, CONFIG_MAX, &c->record.config);
	c->record.has_config = s == WOMBAT_OK;
	return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s;
}

static enum wombat_status write_record(struct creation *c)
{
	struct env *env = c->db->env;
	char name[32], files[FILENAME_PATH_MAX];
	struct buf bytes = { 0 };
	record_name(c->record.info.id, name);
	enum wombat_status s = path_in(c->r->dir, "", "files", files);
	if (s == WOMBAT_OK)
		s = env->calls->dir_sync(env, files);
	if (s == WOMBAT_OK)
		s = backup_record_encode(&c->record, &bytes);
	if (s == WOMBAT_OK)
		s = env_replace_file(env, c->r->dir, name, buf_slice(&bytes));
	buf_done(&bytes);
	return s;
}

static enum wombat_status create(struct creation *c)
{
	struct db_pinned pinned;
	struct wombat_backup_info *info = &c->record.info;
	enum wombat_status s = db_pin_state(c->db, &pinned);
	if (s != WOMBAT_OK)
		return s;
	info->id = c->r->count ? c->r->records[c->r->count - 1].info.id + 1 : 1;
	info->time_ns = c->db->env->calls->now_ns(c->db->env);
	info->sequence = pinned.version->flushed_sequence;
	c->record.manifest_number = version_set_new_file_number(c->db->versions);
	s = version_set_encode(c->db->versions, pinned.version, &c->record.manifest);
	if (s == WOMBAT_OK)
		s = take_config(c);
	if (s == WOMBAT_OK)
		s = db_pinned_each(c->db, &pinned, take_file, c);
	db_unpin_state(&pinned);
	return s == WOMBAT_OK ? write_record(c) : s;
}

enum wombat_status wombat_backup_create(struct wombat *db, const char *dir, struct wombat_backup_info *out_info)
{
	char files[FILENAME_PATH_MAX];
	struct repository r;
	struct creation c = { db, &r, { .count = 0 } };
	enum wombat_status s = path_in(dir, "", "files", files);
	if (s == WOMBAT_OK)
		s = db->env->calls->dir_create(db->env, dir);
	if (s == WOMBAT_OK)
		s = db->env->calls->dir_create(db->env, files);
	if (s == WOMBAT_OK)
		s = db->env->calls->dir_sync(db->env, dir);
	if (s == WOMBAT_OK)
		s = repository_begin(db->env, dir, CHANGING, &r);
	if (s != WOMBAT_OK)
		return s;
	s = sweep(&r);
	if (s == WOMBAT_OK)
		s = create(&c);
	if (s == WOMBAT_OK && out_info)
		*out_info = c.record.info;
	backup_record_done(&c.record);
	repository_close(&r);
	return s;
}

/* ---- List, verify, delete -------------------------------------------------------------------- */

enum wombat_status backup_list(struct env *env, const char *dir,
	void (*each)(void *arg, const struct wombat_backup_info *info), void *arg)
{
	struct repository r;
	enum wombat_status s = repository_open(env, dir, READING, &r);
	if (s != WOMBAT_OK)
		return s;
	for (size_t i = 0; i < r.count; i++)
		each(arg, &r.records[i].info);
	repository_close(&r);
	return WOMBAT_OK;
}

/* What is wrong with a stored file, given its size and sum as they are; NULL: nothing. */
static const char *fault_of(const struct backup_file *f, uint64_t bytes, uint32_t crc)
{
	if (bytes != f->bytes)
		return "has another size than when it was copied";
	return crc != f->crc ? "is not what was copied: its checksum is wrong" : NULL;
}

struct verification {
	void (*report)(void *arg, const char *sentence);
	void *arg;
	uint64_t findings;
};

static enum wombat_status verify_file(const struct repository *r, uint32_t id, const struct backup_file *f,
				      struct verification *v)
{
	char path[FILENAME_PATH_MAX], sentence[FILENAME_PATH_MAX + 128];
	uint64_t bytes;
	uint32_t crc;
	const char *fault = "is missing";
	enum wombat_status s = path_in(r->dir, "files/", f->stored, path);
	if (s == WOMBAT_OK)
		s = env_sum_file(r->env, path, &bytes, &crc);
	if (s == WOMBAT_OK)
		fault = fault_of(f, bytes, crc);
	else if (s != WOMBAT_NOT_FOUND)
		return s;
	if (!fault)
		return WOMBAT_OK;
	snprintf(sentence, sizeof sentence, "backup %" PRIu32 ": %s %s", id, path, fault);
	v->findings++;
	v->report(v->arg, sentence);
	return WOMBAT_OK;
}

/* Whether an earlier record has it: then it was looked at. */
static bool seen_before(const struct repository *r, const struct backup_record *record, const char *stored, uint32_t only)
{
	for (const struct backup_record *b = r->records; b < record && !only; b++)
		for (size_t k = 0; k < b->count; k++)
			if (strcmp(b->files[k].stored, stored) == 0)
				return true;
	return false;
}

enum wombat_status backup_verify(struct env *env, const char *dir, uint32_t id,
	void (*report)(void *arg, const char *sentence), void *arg)
{
	struct repository r;
	struct verification v = { report, arg, 0 };
	enum wombat_status s = repository_open(env, dir, READING, &r);
	if (s != WOMBAT_OK)
		return s;
	if (id && !find_record(&r, id))
		s = no_backup(&r, id);
	for (size_t i = 0; i < r.count; i++) {
		const struct backup_record *record = &r.records[i];
		for (size_t k = 0; k < record->count && s == WOMBAT_OK; k++)
			if ((!id || record->info.id == id) && !seen_before(&r, record, record->files[k].stored, id))
				s = verify_file(&r, record->info.id, &record->files[k], &v);
	}
	repository_close(&r);
	if (s == WOMBAT_OK && v.findings)
		s = fail(WOMBAT_CORRUPTION, "%s: %" PRIu64 " files are damaged or missing", dir, v.findings);
	return s;
}

enum wombat_status backup_delete(struct env *env, const char *dir, uint32_t id)
{
	struct repository r;
	char name[32], path[FILENAME_PATH_MAX];
	enum wombat_status s = repository_open(env, dir, CHANGING, &r);
	if (s != WOMBAT_OK)
		return s;
	struct backup_record *record = id ? find_record(&r, id) : NULL;
	record_name(id, name);
	s = record ? path_in(dir, "", name, path) : no_backup(&r, id);
	if (s == WOMBAT_OK)
		s = env->calls->remove(env, path);
	/* Durably before its files go. */
	if (s == WOMBAT_OK)
		s = env->calls->dir_sync(env, dir);
	if (s == WOMBAT_OK) {
		backup_record_done(record);
		s = sweep(&r);
	}
	repository_close(&r);
	return s;
}

/* ---- Restore -------------------------------------------------------------------------------- */

static enum wombat_status restore_file(const struct repository *r, const struct backup_file *f, const struct staging *to)
{
	char from[FILENAME_PATH_MAX], path[FILENAME_PATH_MAX];
	uint64_t bytes;
	uint32_t crc;
	enum wombat_status s = path_in(r->dir, "files/", f->stored, from);
	if (s == WOMBAT_OK && !staging_path(to, f->name, path))
		s = fail(WOMBAT_INVALID, "the path %s/%s is too long", to->temp, f->name);
	if (s == WOMBAT_OK)
		s = r->env->calls->file_size(r->env, from, &bytes);
	if (s == WOMBAT_OK)
		s = env_copy_file(r->env, from, path, &crc);
	if (s == WOMBAT_NOT_FOUND)
		return fail(WOMBAT_CORRUPTION, "%s is missing", from);
	if (s != WOMBAT_OK)
		return s;
	const char *fault = fault_of(f, bytes, crc);
	return fault ? fail(WOMBAT_CORRUPTION, "%s %s", from, fault) : WOMBAT_OK;
}

static enum wombat_status restore_into(const struct repository *r, const struct backup_record *record,
				       const struct staging *to)
{
	struct manifest_writer *w;
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < record->count && s == WOMBAT_OK; i++)
		s = restore_file(r, &record->files[i], to);
	if (s == WOMBAT_OK && record->has_config) {
		char name[32];
		filename_make(name, FILE_CONFIG, 0);
		s = env_replace_file(r->env, to->temp, name, buf_slice(&record->config));
	}
	if (s == WOMBAT_OK)
		s = manifest_create(r->env, to->temp, record->manifest_number, buf_slice(&record->manifest), &w);
	if (s == WOMBAT_OK)
		manifest_close(w);
	return s;
}

enum wombat_status backup_restore(struct env *env, const char *dir, uint32_t id, const char *database)
{
	struct repository r;
	struct staging to;
	enum wombat_status s = repository_open(env, dir, READING, &r);
	if (s != WOMBAT_OK)
		return s;
	const struct backup_record *record = find_record(&r, id);
	s = record ? staging_begin(env, database, &to) : no_backup(&r, id);
	if (s == WOMBAT_OK) {
		s = restore_into(&r, record, &to);
		if (s == WOMBAT_OK)
			s = staging_finish(&to);
		else
			staging_abandon(&to);
	}
	repository_close(&r);
	return s;
}

/* ---- On this machine ------------------------------------------------------------------------- */

enum wombat_status wombat_backup_list(const char *dir, void (*each)(void *arg, const struct wombat_backup_info *info),
				      void *arg)
{
	return backup_list(env_posix(), dir, each, arg);
}

enum wombat_status wombat_backup_verify(const char *dir, uint32_t id, void (*report)(void *arg, const char *sentence),
					void *arg)
{
	return backup_verify(env_posix(), dir, id, report, arg);
}

enum wombat_status wombat_backup_delete(const char *dir, uint32_t id)
{
	return backup_delete(env_posix(), dir, id);
}

enum wombat_status wombat_backup_restore(const char *dir, uint32_t id, const char *database)
{
	return backup_restore(env_posix(), dir, id, database);
}
