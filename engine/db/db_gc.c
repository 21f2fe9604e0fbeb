/*
 * Removing dead files: tables that an edit took out of the current version, once no reader's version has them;
 * and at open whatever a crash left that no manifest names.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/db_impl.h"

struct number_list {
	uint64_t *items;
	size_t count, capacity;
	bool failed;
};

static void number_add(void *arg, uint64_t number)
{
	struct number_list *l = arg;
	uint64_t *items = array_reserve(l->items, l->count, &l->capacity, sizeof *items);
	if (!items) {
		l->failed = true;
		return;
	}
	l->items = items;
	l->items[l->count++] = number;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static bool number_has(const struct number_list *l, uint64_t number)
{
	return l->count && bsearch(&number, l->items, l->count, sizeof number, compare_numbers);
}

/* Sorted; false when out of memory: then nothing may be removed. */
static bool live_files_locked(struct wombat *db, struct number_list *out) REQUIRES(&db->state_mu);
static bool live_files_locked(struct wombat *db, struct number_list *out)
{
	version_set_live_files(db->versions, number_add, out);
	if (out->failed)
		return false;
	if (out->count)
		qsort(out->items, out->count, sizeof out->items[0], compare_numbers);
	return true;
}

enum wombat_status db_note_obsolete_locked(struct wombat *db, const struct version_edit *edit)
{
	mutex_assert_held(&db->state_mu);
	struct number_list list = { db->obsolete, db->obsolete_count, db->obsolete_capacity, false };
	for (size_t i = 0; i < edit->removed_count; i++)
		number_add(&list, edit->removed[i].number);
	db->obsolete = list.items;
	db->obsolete_count = list.count;
	db->obsolete_capacity = list.capacity;
	/* What is not noted for lack of memory is removed at the next open. */
	return WOMBAT_OK;
}

static void remove_table(struct wombat *db, uint64_t number)
{
	char path[FILENAME_PATH_MAX];
	table_cache_evict(db->tables, number);
	/* A file that stays for an error costs its space until the next open tries again. */
	if (filename_path(path, db->dir, FILE_TABLE, number) &&
	    db->env->calls->remove(db->env, path) != WOMBAT_OK)
		stats_error(db->stats, WOMBAT_IO);
}

void db_remove_obsolete(struct wombat *db)
{
	struct number_list live = { 0 }, dead = { 0 };
	db_view_drain(db);
	mutex_lock(&db->state_mu);
	if (db->obsolete_count > 0 && live_files_locked(db, &live)) {
		size_t kept = 0;
		for (size_t i = 0; i < db->obsolete_count; i++) {
			size_t before = dead.count;
			if (!number_has(&live, db->obsolete[i]))
				number_add(&dead, db->obsolete[i]);
			if (dead.count == before)
				db->obsolete[kept++] = db->obsolete[i];
		}
		db->obsolete_count = kept;
	}
	mutex_unlock(&db->state_mu);
	for (size_t i = 0; i < dead.count; i++)
		remove_table(db, dead.items[i]);
	mem_free(live.items);
	mem_free(dead.items);
	db_values_remove_dead(db);
}

/* ---- At open ------------------------------------------------------------------------------- */

struct orphans {
	struct wombat *db;
	struct number_list live;
	struct buf names; /* NUL-terminated, of files to remove */
	enum wombat_status status;
};

static void judge_file(void *arg, const char *name)
{
	struct orphans *o = arg;
	uint64_t number = 0;
	enum file_kind kind = filename_parse(name, &number);
	bool dead = false;
	if (kind == FILE_TABLE)
		dead = !number_has(&o->live, number);
	else if (kind == FILE_MANIFEST)
		dead = number != version_set_manifest_number(o->db->versions);
	else if (kind == FILE_TEMP)
		dead = true;
	if (kind == FILE_TABLE || kind == FILE_MANIFEST || kind == FILE_WAL || kind == FILE_VALUES)
		version_set_mark_file_number(o->db->versions, number);
	if (dead && o->status == WOMBAT_OK)
		o->status = buf_append(&o->names, name, strlen(name) + 1);
}

enum wombat_status db_remove_orphans(struct wombat *db)
{
	struct orphans o = { .db = db };
	mutex_lock(&db->state_mu);
	bool known = live_files_locked(db, &o.live);
	mutex_unlock(&db->state_mu);
	enum wombat_status s = known ? db->env->calls->dir_list(db->env, db->dir, judge_file, &o) : fail_no_memory();
	if (s == WOMBAT_OK)
		s = o.status;
	for (size_t at = 0; s == WOMBAT_OK && at < o.names.size; at += strlen((char *)o.names.data + at) + 1) {
		char path[FILENAME_PATH_MAX];
		snprintf(path, sizeof path, "%s/%s", db->dir, (char *)o.names.data + at);
		s = db->env->calls->remove(db->env, path);
	}
	mem_free(o.live.items);
	buf_done(&o.names);
	return s;
}
