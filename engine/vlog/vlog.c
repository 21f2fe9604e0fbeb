/*
 * Appending to the value log, syncing it, and the list of its files.
 *
 * One lock orders appends; a value goes to the operating system under it, since it is written to its place in one
 * piece. Syncs run without it, one at a time, so that no append waits for the disk; a file that is full keeps its writer
 * until it was synced.
 */
#include "engine/vlog/vlog.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/base/mutex.h"
#include "engine/env/filename.h"
#include "engine/vlog/vlog_format.h"
#include "engine/vlog/vlog_impl.h"
#include "engine/vlog/vlog_journal.h"

enum { BUFFER_BYTES = 4096 };

static enum wombat_status path_of(const struct vlog *v, uint64_t number, char out[FILENAME_PATH_MAX])
{
	if (!filename_path(out, v->dir, FILE_VALUES, number))
		return fail(WOMBAT_INVALID, "the path %s is too long", v->dir);
	return WOMBAT_OK;
}

/* ---- Open ---------------------------------------------------------------------------------- */

static void add_file(void *arg, const char *name)
{
	struct vlog *v = arg;
	char path[FILENAME_PATH_MAX];
	uint64_t number;
	if (v->failed != WOMBAT_OK || filename_parse(name, &number) != FILE_VALUES)
		return;
	struct vlog_file *f = mem_zalloc(sizeof *f);
	v->failed = f ? path_of(v, number, path) : fail_no_memory();
	if (v->failed == WOMBAT_OK)
		v->failed = v->env->calls->file_size(v->env, path, &f->bytes);
	if (v->failed != WOMBAT_OK) {
		mem_free(f);
		return;
	}
	f->number = number;
	f->sealed = true;
	f->next = v->files;
	v->files = f;
}

enum wombat_status vlog_open(const struct vlog_options *options, struct vlog **out)
{
	struct vlog *v = mem_zalloc(sizeof *v);
	if (!v)
		return fail_no_memory();
	v->env = options->env;
	v->cache = options->cache;
	v->env_flags = options->env_flags & ENV_DIRECT;
	v->verify = options->verify;
	v->next_file_number = options->next_file_number;
	v->arg = options->arg;
	atomic_init(&v->file_bytes, options->file_bytes);
	mutex_init(&v->mu, LOCK_RANK_VALUES);
	condition_init(&v->synced);
	size_t size = strlen(options->dir) + 1;
	v->dir = mem_alloc(size);
	enum wombat_status s = v->dir ? vlog_readers_new(v) : fail_no_memory();
	if (s == WOMBAT_OK) {
		memcpy(v->dir, options->dir, size);
		s = v->env->calls->dir_list(v->env, v->dir, add_file, v);
	}
	if (s == WOMBAT_OK)
		s = v->failed;
	if (s != WOMBAT_OK) {
		vlog_free(v);
		return s;
	}
	*out = v;
	return WOMBAT_OK;
}

void vlog_free(struct vlog *v)
{
	if (!v)
		return;
	for (struct vlog_file *f = v->files, *next; f; f = next) {
		next = f->next;
		if (f->writer && v->env->calls->writer_close(f->writer) != WOMBAT_OK) {
			/* Nothing was buffered; what it could not write was reported by its append. */
		}
		mem_free(f);
	}
	lru_free(v->readers);
	condition_done(&v->synced);
	mutex_done(&v->mu);
	mem_free(v->dir);
	mem_free(v);
}

/* ---- Append -------------------------------------------------------------------------------- */

static enum wombat_status create_locked(struct vlog *v, struct vlog_file **out) REQUIRES(&v->mu);
static enum wombat_status create_locked(struct vlog *v, struct vlog_file **out)
{
	const struct env_calls *calls = v->env->calls;
	char path[FILENAME_PATH_MAX];
	uint8_t header[VLOG_FILE_HEADER_SIZE];
	struct vlog_file *f = mem_zalloc(sizeof *f);
	if (!f)
		return fail_no_memory();
	f->number = v->next_file_number(v->arg);
	put_u64(header, VLOG_MAGIC);
	put_u32(header + 8, VLOG_VERSION);
	put_u32(header + 12, crc32c(0, header, 12));
	enum wombat_status s = path_of(v, f->number, path);
	if (s == WOMBAT_OK)
		s = calls->writer_open(v->env, path, BUFFER_BYTES, 0, &f->writer);
	if (s != WOMBAT_OK) {
		mem_free(f);
		return s;
	}
	s = calls->writer_write(f->writer, header, sizeof header);
	if (s == WOMBAT_OK)
		s = calls->dir_sync(v->env, v->dir);
	if (s != WOMBAT_OK) {
		char cause[256];
		snprintf(cause, sizeof cause, "%s", status_detail());
		if (calls->writer_close(f->writer) == WOMBAT_OK || s != WOMBAT_OK)
			calls->remove(v->env, path); /* One that stays is removed when it is seen to be dead. */
		status_set_detail(cause);
		mem_free(f);
		return s;
	}
	f->bytes = sizeof header;
	f->next = v->files;
	v->files = f;
	*out = f;
	return WOMBAT_OK;
}

/* The file to append to: the newest one, unless it is full. */
static enum wombat_status active_locked(struct vlog *v, struct vlog_file **out) REQUIRES(&v->mu);
static enum wombat_status active_locked(struct vlog *v, struct vlog_file **out)
{
	struct vlog_file *f = v->active;
	if (f && f->bytes >= atomic_load_explicit(&v->file_bytes, memory_order_relaxed)) {
		f->sealed = true;
		f = v->active = NULL;
	}
	if (!f) {
		enum wombat_status s = create_locked(v, &f);
		if (s != WOMBAT_OK)
			return s;
		v->active = f;
	}
	*out = f;
	return WOMBAT_OK;
}

static enum wombat_status write_locked(struct vlog *v, struct vlog_file *f, const struct wombat_slice parts[4])
	REQUIRES(&v->mu);
static enum wombat_status write_locked(struct vlog *v, struct vlog_file *f, const struct wombat_slice parts[4])
{
	const struct env_calls *calls = v->env->calls;
	enum wombat_status s = WOMBAT_OK;
	for (int i = 0; i < 4 && s == WOMBAT_OK; i++)
		if (parts[i].size)
			s = calls->writer_write(f->writer, parts[i].data, parts[i].size);
	/* Readers look at the file. */
	return s == WOMBAT_OK ? calls->writer_flush(f->writer) : s;
}

uint32_t vlog_header_crc(uint64_t number, uint64_t offset, const uint8_t *header, struct wombat_slice key)
{
	uint8_t place[16];
	put_u64(place, number);
	put_u64(place + 8, offset);
	return crc32c(crc32c(crc32c(0, place, sizeof place), header + 4, VLOG_RECORD_HEADER_SIZE - 4), key.data, key.size);
}

/* The checksum of a value, and those of its chunks if it has several: *out_chunks, from mem_alloc, else NULL. */
static enum wombat_status sum_value(struct wombat_slice value, uint8_t **out_chunks, uint32_t *out)
{
	size_t count = vlog_chunk_count(value.size);
	*out_chunks = NULL;
	if (count == 0) {
		*out = crc32c(0, value.data, value.size);
		return WOMBAT_OK;
	}
	uint8_t *chunks = mem_alloc(count * VLOG_CHUNK_CRC_SIZE);
	if (!chunks)
		return fail_no_memory();
	for (size_t i = 0; i < count; i++) {
		size_t at = i * VLOG_CHUNK_SIZE, left = value.size - at;
		put_u32(chunks + i * VLOG_CHUNK_CRC_SIZE,
			crc32c(0, value.data + at, left < VLOG_CHUNK_SIZE ? left : VLOG_CHUNK_SIZE));
	}
	*out_chunks = chunks;
	*out = crc32c(0, chunks, count * VLOG_CHUNK_CRC_SIZE);
	return WOMBAT_OK;
}

/* Appends a record to the active file. `header` lacks its first checksum only, which needs the place. */
static enum wombat_status append_record_locked(struct vlog *v, uint8_t header[VLOG_RECORD_HEADER_SIZE],
	struct wombat_slice key, struct wombat_slice value, struct wombat_slice sums, struct vlog_position *out,
	struct vlog_file **out_file) REQUIRES(&v->mu);
static enum wombat_status append_record_locked(struct vlog *v, uint8_t header[VLOG_RECORD_HEADER_SIZE],
					       struct wombat_slice key, struct wombat_slice value, struct wombat_slice sums,
					       struct vlog_position *out, struct vlog_file **out_file)
{
	struct vlog_file *f;
	enum wombat_status s = active_locked(v, &f);
	if (s != WOMBAT_OK)
		return s;
	put_u32(header, vlog_header_crc(f->number, f->bytes, header, key));
	s = write_locked(v, f, (struct wombat_slice[]){ slice_make(header, VLOG_RECORD_HEADER_SIZE), key, value, sums });
	if (s != WOMBAT_OK) { /* Nobody knows where it ends now. */
		f->sealed = true;
		v->active = NULL;
		return s;
	}
	*out = (struct vlog_position){ f->number, f->bytes };
	*out_file = f;
	uint64_t size = VLOG_RECORD_HEADER_SIZE + key.size + value.size + sums.size;
	f->bytes += size;
	f->dirty = true;
	atomic_store_explicit(&v->appended_bytes, vlog_appended_bytes(v) + size, memory_order_relaxed);
	return WOMBAT_OK;
}

static void encode_header(uint8_t header[VLOG_RECORD_HEADER_SIZE], size_t key_size, uint64_t value_size, uint32_t crc)
{
	put_u32(header + 4, (uint32_t)key_size);
	put_u64(header + 8, value_size);
	put_u32(header + 16, crc);
}

enum wombat_status vlog_append(struct vlog *v, struct wombat_slice key, struct wombat_slice value, struct value_pointer *out)
{
	uint8_t header[VLOG_RECORD_HEADER_SIZE], *chunks;
	uint32_t crc = 0;
	struct vlog_position at;
	struct vlog_file *f;
	enum wombat_status s = sum_value(value, &chunks, &crc);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice sums = slice_make(chunks, vlog_chunk_count(value.size) * VLOG_CHUNK_CRC_SIZE);
	encode_header(header, key.size, value.size, crc);
	mutex_lock(&v->mu);
	s = append_record_locked(v, header, key, value, sums, &at, &f);
	if (s == WOMBAT_OK) {
		*out = (struct value_pointer){ at.file, at.offset + sizeof header + key.size, value.size, crc };
		f->in_flight++;
		v->appends++;
	}
	mutex_unlock(&v->mu);
	mem_free(chunks);
	return s;
}

enum wombat_status vlog_append_journal(struct vlog *v, struct wombat_slice payload, uint64_t last_sequence)
{
	uint8_t header[VLOG_RECORD_HEADER_SIZE];
	const struct wombat_slice none = { NULL, 0 };
	struct vlog_position at;
	struct vlog_file *f;
	encode_header(header, 0, payload.size, crc32c(0, payload.data, payload.size));
	mutex_lock(&v->mu);
	enum wombat_status s = append_record_locked(v, header, none, payload, none, &at, &f);
	if (s == WOMBAT_OK && f->last_sequence < last_sequence)
		f->last_sequence = last_sequence;
	mutex_unlock(&v->mu);
	return s;
}

struct vlog_position vlog_end(struct vlog *v)
{
	struct vlog_position end = { 1, 0 };
	mutex_lock(&v->mu);
	if (v->active)
		end = (struct vlog_position){ v->active->number, v->active->bytes };
	else /* The next one's number is above all that are there. */
		for (const struct vlog_file *f = v->files; f; f = f->next)
			end.file = f->number >= end.file ? f->number + 1 : end.file;
	mutex_unlock(&v->mu);
	return end;
}

static struct vlog_file *find_locked(struct vlog *v, uint64_t number) REQUIRES(&v->mu);
static struct vlog_file *find_locked(struct vlog *v, uint64_t number)
{
	struct vlog_file *f = v->files;
	while (f && f->number != number)
		f = f->next;
	return f;
}

bool vlog_share(struct vlog *v, uint64_t file)
{
	mutex_lock(&v->mu);
	struct vlog_file *f = find_locked(v, file);
	if (f)
		f->in_flight++;
	mutex_unlock(&v->mu);
	return f != NULL;
}

void vlog_written(struct vlog *v, uint64_t file, uint64_t sequence)
{
	mutex_lock(&v->mu);
	struct vlog_file *f = find_locked(v, file);
	f->in_flight--;
	if (sequence > f->last_sequence)
		f->last_sequence = sequence;
	mutex_unlock(&v->mu);
}

void vlog_doubt(struct vlog *v, uint64_t file)
{
	mutex_lock(&v->mu);
	struct vlog_file *f = find_locked(v, file);
	if (f)
		f->dirty = true;
	mutex_unlock(&v->mu);
}

bool vlog_pin(struct vlog *v, uint64_t number)
{
	mutex_lock(&v->mu);
	struct vlog_file *f = find_locked(v, number);
	if (f)
		f->pins++;
	mutex_unlock(&v->mu);
	return f != NULL;
}

void vlog_unpin(struct vlog *v, uint64_t number)
{
	mutex_lock(&v->mu);
	find_locked(v, number)->pins--;
	mutex_unlock(&v->mu);
}

/* Syncs one file, without the lock meanwhile: appends go on. What they add is for the next sync. */
static enum wombat_status sync_file_locked(struct vlog *v, struct vlog_file *f) REQUIRES(&v->mu);
static enum wombat_status sync_file_locked(struct vlog *v, struct vlog_file *f)
{
	char path[FILENAME_PATH_MAX];
	enum wombat_status s = path_of(v, f->number, path);
	f->dirty = false;
	f->pins++;
	v->syncs++;
	mutex_unlock(&v->mu);
	if (s == WOMBAT_OK && !f->writer) /* of another process */
		s = v->env->calls->writer_append(v->env, path, &f->writer);
	if (s == WOMBAT_OK)
		s = v->env->calls->writer_sync_flushed(f->writer);
	mutex_lock(&v->mu);
	f->pins--;
	if (s != WOMBAT_OK) {
		v->failed = s;
		snprintf(v->failure, sizeof v->failure, "%s", status_detail());
	}
	return s;
}

enum wombat_status vlog_sync(struct vlog *v)
{
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&v->mu);
	while (v->syncing) /* What it has taken is not durable yet. */
		condition_wait(&v->synced, &v->mu);
	v->syncing = true;
	if (v->failed != WOMBAT_OK)
		s = fail(v->failed, "%s", v->failure);
	for (struct vlog_file *f = v->files; f && s == WOMBAT_OK; f = f->next) {
		if (f->dirty)
			s = sync_file_locked(v, f); /* drops and takes the lock; the file stays in the list */
		if (s == WOMBAT_OK && f->sealed && f->writer && !f->dirty) {
			s = v->env->calls->writer_close(f->writer);
			f->writer = NULL;
		}
	}
	v->syncing = false;
	condition_broadcast(&v->synced);
	mutex_unlock(&v->mu);
	return s;
}

void vlog_seal(struct vlog *v)
{
	mutex_lock(&v->mu);
	if (v->active)
		v->active->sealed = true;
	v->active = NULL;
	mutex_unlock(&v->mu);
}

/* ---- Files --------------------------------------------------------------------------------- */

void vlog_hold(struct vlog *v)
{
	mutex_lock(&v->mu);
	v->holds++;
	mutex_unlock(&v->mu);
}

void vlog_unhold(struct vlog *v)
{
	mutex_lock(&v->mu);
	v->holds--;
	v->unholds++;
	mutex_unlock(&v->mu);
}

uint64_t vlog_unholds(struct vlog *v)
{
	mutex_lock(&v->mu);
	uint64_t unholds = v->unholds;
	mutex_unlock(&v->mu);
	return unholds;
}

void vlog_settle(struct vlog *v, uint64_t sequence)
{
	mutex_lock(&v->mu);
	for (struct vlog_file *f = v->files; f; f = f->next)
		if (f->last_sequence < sequence)
			f->last_sequence = sequence;
	mutex_unlock(&v->mu);
}

static void remove_file(struct vlog *v, struct vlog_file *f)
{
	char path[FILENAME_PATH_MAX];
	vlog_forget_reader(v, f->number);
	if (f->writer && v->env->calls->writer_close(f->writer) != WOMBAT_OK) {
		/* It goes away anyway. */
	}
	/* One that stays for an error is found dead at the next open. */
	if (path_of(v, f->number, path) == WOMBAT_OK)
		v->env->calls->remove(v->env, path);
	mem_free(f);
}

void vlog_remove_dead(struct vlog *v, bool (*is_live)(void *arg, uint64_t file), void *arg, uint64_t flushed_sequence,
		      uint64_t unholds)
{
	struct vlog_file *dead = NULL;
	mutex_lock(&v->mu);
	bool may_remove = v->holds == 0 && v->unholds == unholds;
	for (struct vlog_file **p = &v->files; *p && may_remove;) {
		struct vlog_file *f = *p;
		if (!f->sealed || f->in_flight || f->pins || f->last_sequence > flushed_sequence || is_live(arg, f->number)) {
			p = &f->next;
			continue;
		}
		*p = f->next;
		f->next = dead;
		dead = f;
		v->removed_files++;
		v->removed_bytes += f->bytes;
	}
	mutex_unlock(&v->mu);
	while (dead) {
		struct vlog_file *next = dead->next;
		remove_file(v, dead);
		dead = next;
	}
}

void vlog_each_settled(struct vlog *v, uint64_t flushed_sequence, void (*each)(void *arg, uint64_t file, uint64_t bytes), void *arg)
{
	mutex_lock(&v->mu);
	for (const struct vlog_file *f = v->files; f; f = f->next)
		if (f->sealed && !f->in_flight && f->last_sequence <= flushed_sequence)
			each(arg, f->number, f->bytes);
	mutex_unlock(&v->mu);
}

void vlog_counts(struct vlog *v, struct vlog_counts *out)
{
	mutex_lock(&v->mu);
	*out = (struct vlog_counts){
		.appended_bytes = vlog_appended_bytes(v), .appends = v->appends, .syncs = v->syncs,
		.reads = atomic_load_explicit(&v->reads, memory_order_relaxed),
		.removed_files = v->removed_files, .removed_bytes = v->removed_bytes,
	};
	for (const struct vlog_file *f = v->files; f; f = f->next) {
		out->files++;
		out->bytes += f->bytes;
	}
	mutex_unlock(&v->mu);
}

uint64_t vlog_appended_bytes(const struct vlog *v)
{
	return atomic_load_explicit(&v->appended_bytes, memory_order_relaxed);
}

void vlog_set_file_bytes(struct vlog *v, uint64_t bytes)
{
	atomic_store_explicit(&v->file_bytes, bytes, memory_order_relaxed);
}
