/*
 * Large values: into the value log before the change that points to them is written, out of it for readers, and the
 * choice of files whose live values are to be written anew (the rewriting itself is a compaction's, rewrite.c).
 *
 * What of a file is live is known from the tables of the current version, so an overwritten value is dead once a
 * compaction has dropped its pointer. To bring that about a memtable counts as full also when its changes brought many
 * bytes of values (db_write.c).
 */
#include <inttypes.h>

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/extents.h"

static uint64_t next_file_number(void *arg)
{
	return version_set_new_file_number(((struct wombat *)arg)->versions);
}

/* A number that a file has is not given out again. */
static void mark_number(void *arg, const char *name)
{
	uint64_t number;
	if (filename_parse(name, &number) == FILE_VALUES)
		version_set_mark_file_number(((struct wombat *)arg)->versions, number);
}

enum wombat_status db_values_open(struct wombat *db)
{
	struct vlog_options options = {
		.env = db->env,
		.dir = db->value_dir.path,
		.file_bytes = db->options.value_log_file_size,
		.cache = db->block_cache,
		.env_flags = db->options.direct_io ? ENV_DIRECT : 0,
		.verify = &db->live.verify_checksums,
		.next_file_number = next_file_number,
		.arg = db,
	};
	enum wombat_status s = vlog_open(&options, &db->values);
	return s == WOMBAT_OK && db->value_dir.apart ?
	       db->env->calls->dir_list(db->env, db->value_dir.path, mark_number, db) : s;
}

enum wombat_status db_file_path(const struct wombat *db, enum file_kind kind, uint64_t number, char out[FILENAME_PATH_MAX])
{
	const char *dir = kind == FILE_VALUES ? db->value_dir.path : db->dir;
	return filename_path(out, dir, kind, number) ? WOMBAT_OK : fail(WOMBAT_INVALID, "the path %s is too long", dir);
}

enum wombat_status db_value_read(struct wombat *db, struct read_view *view, uint64_t sequence, const struct record *r,
				 const struct wombat_read_options *options, struct lru_pin *pin, struct wombat_slice *out)
{
	unsigned flags = options ? options->flags : 0;
	if (r->in_extents) {
		const struct extents_at at = { db, view, sequence, r->extents.id };
		return flags & WOMBAT_READ_CACHED ? WOMBAT_WOULD_BLOCK : extents_fetch(&at, r->extents.size, pin, out);
	}
	return vlog_read(db->values, &r->pointer,
			 (flags & WOMBAT_READ_CACHED ? VLOG_READ_CACHED : 0) | (flags & WOMBAT_READ_NO_FILL ? VLOG_READ_NO_FILL : 0),
			 pin, out);
}

void db_values_doubt(struct vlog *values, struct wombat_slice body)
{
	struct cursor c = cursor_of(body);
	struct batch_change change;
	struct record r;
	while (cursor_left(&c) > 0 && write_batch_next(&c, &change) == WOMBAT_OK)
		if (change.kind == KIND_PUT && record_decode(change.value, &r) == WOMBAT_OK && r.elsewhere)
			vlog_doubt(values, r.pointer.file);
}

enum wombat_status db_values_verify(struct vlog *values, struct wombat_slice body)
{
	struct cursor c = cursor_of(body);
	while (cursor_left(&c) > 0) {
		struct batch_change change;
		struct record r;
		enum wombat_status s = write_batch_next(&c, &change);
		if (s == WOMBAT_OK && change.kind == KIND_PUT)
			s = record_decode(change.value, &r);
		if (s != WOMBAT_OK)
			return s;
		if (change.kind != KIND_PUT || !r.elsewhere)
			continue;
		struct lru_pin pin = { 0 };
		struct wombat_slice value;
		s = vlog_read(values, &r.pointer, VLOG_READ_VERIFY | VLOG_READ_NO_FILL, &pin, &value);
		lru_pin_release(&pin);
		if (s != WOMBAT_OK)
			return s == WOMBAT_CORRUPTION ? WOMBAT_NOT_FOUND : s;
	}
	return WOMBAT_OK;
}

/* ---- Placing ------------------------------------------------------------------------------- */

bool db_batch_needs_placing(struct wombat *db, const struct wombat_batch *batch)
{
	uint64_t threshold = atomic_load_explicit(&db->live.value_threshold, memory_order_relaxed);
	return batch->lent_count > 0 || batch->shared_count > 0 || batch->copy_count > 0 || (threshold && batch->largest_value >= threshold);
}

/* Room to note one more file. */
static enum wombat_status grow_files(struct placed_batch *out)
{
	uint64_t *files = array_reserve(out->files, out->count, &out->capacity, sizeof *files);
	if (!files)
		return fail_no_memory();
	out->files = files;
	return WOMBAT_OK;
}

enum wombat_status db_place_value(struct wombat *db, struct wombat_slice key, struct record *r, struct placed_batch *out)
{
	enum wombat_status s = grow_files(out);
	if (s == WOMBAT_OK)
		s = vlog_append(db->values, key, r->value, &r->pointer);
	if (s != WOMBAT_OK)
		return s;
	r->elsewhere = true;
	r->part = false;
	out->files[out->count++] = r->pointer.file;
	out->value_bytes += r->value.size;
	return WOMBAT_OK;
}

static enum wombat_status append_value(struct wombat *db, const struct batch_change *change, struct record *r,
				       struct placed_batch *out)
{
	struct db_key key;
	enum wombat_status s = db_key_init(&key, change->keyspace, change->key);
	if (s != WOMBAT_OK)
		return s;
	s = db_place_value(db, key.slice, r, out);
	db_key_done(&key);
	return s;
}

enum wombat_status db_place_share(struct wombat *db, uint64_t file, struct placed_batch *out)
{
	enum wombat_status s = grow_files(out);
	if (s != WOMBAT_OK)
		return s;
	if (!vlog_share(db->values, file))
		return fail(WOMBAT_INVALID, "a value that is put again is of another database, or was closed too early");
	out->files[out->count++] = file;
	return WOMBAT_OK;
}

static enum wombat_status place_put(struct wombat *db, const struct wombat_batch *batch, uint64_t threshold,
				    const struct batch_change *change, struct placed_batch *out)
{
	struct record r;
	enum wombat_status s = record_decode(change->value, &r);
	if (s != WOMBAT_OK)
		return s;
	if (r.in_extents && r.extents.id == WRITE_BATCH_COPY) {
		struct value_extents extents;
		const struct extents_at *at = value_extents_at(batch->copies[r.extents.size], &extents);
		return extents_place_copy(db, out, at, &extents, change, &r);
	}
	bool shared = r.elsewhere && r.pointer.file != WRITE_BATCH_LENT;
	if (shared) {
		s = db_place_share(db, r.pointer.file, out);
	} else if (r.elsewhere) {
		r.value = batch->lent[r.pointer.offset];
		r.elsewhere = false;
	}
	if (!shared && threshold && r.value.size >= threshold)
		s = append_value(db, change, &r, out);
	if (s == WOMBAT_OK)
		s = write_batch_add_put(&out->body, change->keyspace, change->key, &r);
	out->changes += s == WOMBAT_OK;
	return s;
}

enum wombat_status db_place(struct wombat *db, const struct wombat_batch *batch, struct placed_batch *out)
{
	uint64_t threshold = atomic_load_explicit(&db->live.value_threshold, memory_order_relaxed);
	struct cursor c = cursor_of(buf_slice(&batch->body));
	enum wombat_status s = WOMBAT_OK;
	*out = (struct placed_batch){ .count = 0 };
	while (s == WOMBAT_OK && cursor_left(&c) > 0) {
		const uint8_t *begin = c.p;
		struct batch_change change;
		s = write_batch_next(&c, &change);
		if (s == WOMBAT_OK && change.kind == KIND_PUT)
			s = place_put(db, batch, threshold, &change, out);
		else if (s == WOMBAT_OK) {
			s = buf_append(&out->body, begin, (size_t)(c.p - begin));
			out->changes++;
		}
	}
	if (s == WOMBAT_OK && out->value_bytes && atomic_load_explicit(&db->live.write_throttle, memory_order_relaxed))
		throttle_take(&db->write_throttle, out->value_bytes, &db->closing);
	return s;
}

void db_place_done(struct wombat *db, struct placed_batch *p, uint64_t sequence)
{
	for (size_t i = 0; i < p->count; i++)
		vlog_written(db->values, p->files[i], sequence);
	mem_free(p->files);
	buf_done(&p->body);
}

/* ---- Collecting ---------------------------------------------------------------------------- */

struct candidates {
	struct value_refs refs; /* of the current version */
	double threshold;
	uint64_t *files;
	size_t count, capacity;
	enum wombat_status status;
};

static void judge_file(void *arg, uint64_t file, uint64_t bytes)
{
	struct candidates *c = arg;
	const struct value_ref *live = value_refs_find(&c->refs, file);
	/* What no table points into is removed as it is. */
	if (!live || live->bytes >= bytes || (double)(bytes - live->bytes) < c->threshold * (double)bytes || c->threshold >= 1)
		return;
	uint64_t *files = array_reserve(c->files, c->count, &c->capacity, sizeof *files);
	if (!files) {
		c->status = fail_no_memory();
		return;
	}
	c->files = files;
	c->files[c->count++] = file;
}

uint64_t *db_values_to_collect_locked(struct wombat *db, size_t *out_count)
{
	struct candidates c = { .threshold = db->options.value_log_space_reclaim_threshold };
	struct version *v = version_set_current(db->versions);
	uint64_t flushed = v->flushed_sequence;
	c.status = version_add_values(v, &c.refs);
	version_unref(v);
	if (c.status == WOMBAT_OK && c.refs.count)
		vlog_each_settled(db->values, flushed, judge_file, &c);
	value_refs_done(&c.refs);
	if (c.status != WOMBAT_OK)
		c.count = 0;
	*out_count = c.count;
	return c.files;
}

static bool has_ref(void *arg, uint64_t file)
{
	return value_refs_find(arg, file) != NULL;
}

void db_values_remove_dead(struct wombat *db)
{
	struct value_refs live = { 0 };
	uint64_t flushed, unholds = vlog_unholds(db->values);
	mutex_lock(&db->state_mu);
	enum wombat_status s = version_set_live_values(db->versions, &live, &flushed);
	mutex_unlock(&db->state_mu);
	/* Without memory for it all stay, until the next time. */
	if (s == WOMBAT_OK) {
		struct vlog_counts before, after;
		vlog_counts(db->values, &before);
		vlog_remove_dead(db->values, has_ref, &live, flushed, unholds);
		vlog_counts(db->values, &after);
		if (after.removed_files > before.removed_files)
			event_log_line(db->log, EVENT_INFO, "value log: removed %" PRIu64 " files of %" PRIu64 " bytes",
				       after.removed_files - before.removed_files, after.removed_bytes - before.removed_bytes);
	}
	value_refs_done(&live);
}

uint64_t db_values_live_bytes(const struct version *v)
{
	uint64_t bytes = 0;
	for (unsigned level = 0; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			const struct value_refs *refs = &v->levels[level].files[i]->summary.values;
			for (size_t k = 0; k < refs->count; k++)
				bytes += refs->items[k].bytes;
		}
	return bytes;
}
