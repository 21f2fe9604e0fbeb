/*
 * Checkpoints: another directory with the files of a version, which never change, and a manifest that names them.
 *
 * A flush brings everything into tables, so the copy needs no log. The version is held while its files are linked or
 * copied, which keeps them from being removed; the value log begins a new file, so that those that the version points into
 * are not written to any more. All is made in DIR.tmp, synced, and renamed.
 */
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "engine/env/filename.h"
#include "engine/env/staging.h"
#include "engine/version/manifest.h"

/* ---- Holding a state ------------------------------------------------------------------------ */

enum wombat_status db_pin_state(struct wombat *db, struct db_pinned *out)
{
	*out = (struct db_pinned){ .version = NULL };
	enum wombat_status s = wombat_flush(db);
	if (s != WOMBAT_OK)
		return s;
	out->version = version_set_current(db->versions);
	s = version_add_values(out->version, &out->values);
	/* In this order: what the version points to is in files that are sealed, and then durable. */
	vlog_seal(db->values);
	if (s == WOMBAT_OK)
		s = wombat_sync(db);
	if (s != WOMBAT_OK)
		db_unpin_state(out);
	return s;
}

void db_unpin_state(struct db_pinned *p)
{
	version_unref(p->version);
	value_refs_done(&p->values);
	p->version = NULL;
}

enum wombat_status db_pinned_each(struct wombat *db, const struct db_pinned *p,
	enum wombat_status (*each)(void *arg, enum file_kind kind, uint64_t number, uint64_t bytes), void *arg)
{
	enum wombat_status s = WOMBAT_OK;
	for (unsigned level = 0; level < LEVELS_MAX; level++)
		for (size_t i = 0; i < p->version->levels[level].count && s == WOMBAT_OK; i++) {
			const struct file_meta *f = p->version->levels[level].files[i];
			s = each(arg, FILE_TABLE, f->number, f->summary.file_bytes);
		}
	for (size_t i = 0; i < p->values.count && s == WOMBAT_OK; i++) {
		char path[FILENAME_PATH_MAX];
		uint64_t bytes;
		s = db_file_path(db, FILE_VALUES, p->values.items[i].file, path);
		if (s == WOMBAT_OK)
			s = db->env->calls->file_size(db->env, path, &bytes);
		if (s == WOMBAT_OK)
			s = each(arg, FILE_VALUES, p->values.items[i].file, bytes);
	}
	return s;
}

/* ---- Making one ----------------------------------------------------------------------------- */

struct checkpoint {
	struct wombat *db;
	struct staging *staging;
};

/* Links the file, or copies it where that cannot be. */
static enum wombat_status take_file(void *arg, enum file_kind kind, uint64_t number, uint64_t bytes)
{
	struct checkpoint *c = arg;
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX], name[32];
	struct env *env = c->db->env;
	(void)bytes;
	filename_make(name, kind, number);
	enum wombat_status s = db_file_path(c->db, kind, number, from);
	if (s == WOMBAT_OK && !staging_path(c->staging, name, to))
		s = fail(WOMBAT_INVALID, "the path of %s is too long", name);
	if (s == WOMBAT_OK)
		s = env->calls->link(env, from, to);
	return s == WOMBAT_UNSUPPORTED ? env_copy_file(env, from, to, NULL) : s;
}

static enum wombat_status write_manifest(struct wombat *db, const struct db_pinned *p, const char *dir)
{
	struct buf record = { 0 };
	struct manifest_writer *w;
	uint64_t number = version_set_new_file_number(db->versions);
	enum wombat_status s = version_set_encode(db->versions, p->version, &record);
	if (s == WOMBAT_OK)
		s = manifest_create(db->env, dir, number, buf_slice(&record), &w);
	if (s == WOMBAT_OK)
		manifest_close(w);
	buf_done(&record);
	return s;
}

static enum wombat_status take_config(struct checkpoint *c)
{
	char from[FILENAME_PATH_MAX], to[FILENAME_PATH_MAX], name[32];
	uint64_t size;
	filename_make(name, FILE_CONFIG, 0);
	if (!filename_path(from, c->db->dir, FILE_CONFIG, 0) || !staging_path(c->staging, name, to))
		return fail(WOMBAT_INVALID, "the path of %s is too long", name);
	enum wombat_status s = c->db->env->calls->file_size(c->db->env, from, &size);
	if (s == WOMBAT_NOT_FOUND)
		return WOMBAT_OK;
	return s == WOMBAT_OK ? env_copy_file(c->db->env, from, to, NULL) : s;
}

enum wombat_status wombat_checkpoint(struct wombat *db, const char *dir)
{
	struct db_pinned pinned;
	struct staging staging;
	struct checkpoint c = { db, &staging };
	enum wombat_status s = staging_begin(db->env, dir, &staging);
	if (s != WOMBAT_OK)
		return s;
	s = db_pin_state(db, &pinned);
	if (s != WOMBAT_OK) {
		staging_abandon(&staging);
		return s;
	}
	s = db_pinned_each(db, &pinned, take_file, &c);
	if (s == WOMBAT_OK)
		s = take_config(&c);
	if (s == WOMBAT_OK)
		s = write_manifest(db, &pinned, staging.temp);
	db_unpin_state(&pinned);
	if (s != WOMBAT_OK) {
		staging_abandon(&staging);
		return s;
	}
	return staging_finish(&staging);
}
