/*
 * Appending and syncing.
 *
 * The appending thread writes into the current segment without a lock; what it changes that others look at is
 * atomic. The lock guards the lists of segments and who is syncing. A sync works on the segments that were dirty
 * when it began, without the lock; segments are not given free meanwhile.
 */
#include "engine/wal/wal_writer.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/mutex.h"
#include "engine/env/filename.h"
#include "engine/wal/wal_reader.h"
#include "engine/wal/wal_segment.h"

enum { PAGE = 4096, WRITTEN_MAX = 16384, EXPECTED = 256 << 10 };

struct wal_writer {
	/* Fixed after open. */
	struct env *env;
	char *dir;
	uint64_t (*next_file_number)(void *arg);
	enum wombat_status (*before_sync)(void *arg);
	void *arg;
	unsigned spare_segments;

	/* The appending thread's alone. */
	struct wal_segment *current;
	bool sync_next;                /* the next record will be synced at once */
	uint64_t expected;             /* up to that offset of the current segment stores were announced */

	/* Stored by the appending thread. Release: the record is in the segment before the number is seen, so a sync that
	 * read it covers the record. */
	atomic_uint_fast64_t appended_sequence;
	atomic_uint_fast64_t appended_bytes;
	/* Relaxed: figures and hints. */
	atomic_uint_fast64_t current_used;  /* of the current segment, or of the one before */
	atomic_uint_fast64_t bytes_at_sync; /* appended_bytes as of the begin of the newest sync */
	atomic_uint_fast64_t records, syncs, sync_ns, rotations, segment_bytes, durable_sequence;
	atomic_uint epoch;
	atomic_bool wants_spare;

	struct mutex mu;
	struct condition changed;
	struct wal_segment *live;      /* guarded by mu: oldest first, the current one last */
	struct wal_segment *spares;    /* guarded by mu */
	unsigned spare_count;          /* guarded by mu */
	bool syncing, preparing;       /* guarded by mu */
	uint64_t synced_bytes;         /* guarded by mu: appended_bytes as of the last sync's begin */
	enum wombat_status failed;     /* guarded by mu: of the first sync that failed */
	char failure[256];
};

/* ---- Segments ------------------------------------------------------------------------------ */

static enum wombat_status make_segment(struct wal_writer *w, uint64_t bytes, struct wal_segment **out)
{
	char path[FILENAME_PATH_MAX];
	struct wal_segment *s = mem_zalloc(sizeof *s);
	if (!s)
		return fail_no_memory();
	s->number = w->next_file_number(w->arg);
	enum wombat_status status = WOMBAT_OK;
	if (!filename_path(path, w->dir, FILE_WAL, s->number))
		status = fail(WOMBAT_INVALID, "the path %s is too long", w->dir);
	if (status == WOMBAT_OK)
		status = w->env->calls->segment_open(w->env, path, (size_t)bytes, &s->map);
	if (status != WOMBAT_OK) {
		mem_free(s);
		return status;
	}
	wal_header_encode(s->map->base);
	status = w->env->calls->segment_sync(s->map);
	if (status == WOMBAT_OK)
		status = w->env->calls->dir_sync(w->env, w->dir);
	if (status != WOMBAT_OK) {
		char cause[256];
		snprintf(cause, sizeof cause, "%s", status_detail());
		wal_segment_free(w->env, s);
		w->env->calls->remove(w->env, path);
		status_set_detail(cause); /* Not the removal's. */
		return status;
	}
	*out = s;
	return WOMBAT_OK;
}

static void remove_segment(struct wal_writer *w, struct wal_segment *s)
{
	char path[FILENAME_PATH_MAX];
	/* A file that stays is a spare at the next open. */
	if (filename_path(path, w->dir, FILE_WAL, s->number))
		w->env->calls->remove(w->env, path);
	wal_segment_free(w->env, s);
}

static void remove_all(struct wal_writer *w, struct wal_segment *list)
{
	while (list) {
		struct wal_segment *next = list->next;
		remove_segment(w, list);
		list = next;
	}
}

static uint64_t segment_bytes_for(const struct wal_writer *w, uint64_t record)
{
	uint64_t bytes = atomic_load_explicit(&w->segment_bytes, memory_order_relaxed);
	if (bytes < WAL_SEGMENT_HEADER_SIZE + record)
		bytes = WAL_SEGMENT_HEADER_SIZE + record;
	return (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static void note_spares_locked(struct wal_writer *w) REQUIRES(&w->mu);
static void note_spares_locked(struct wal_writer *w)
{
	atomic_store_explicit(&w->wants_spare, w->spare_count == 0 && !w->preparing, memory_order_relaxed);
}

/* Moves the spares that are too many, or not of the size that new segments have, to the list `dead`. */
static void trim_spares_locked(struct wal_writer *w, struct wal_segment **dead) REQUIRES(&w->mu);
static void trim_spares_locked(struct wal_writer *w, struct wal_segment **dead)
{
	struct wal_segment **p = &w->spares;
	w->spare_count = 0;
	while (*p) {
		struct wal_segment *s = *p;
		if (w->spare_count < w->spare_segments && s->map->size == segment_bytes_for(w, 0)) {
			w->spare_count++;
			p = &s->next;
			continue;
		}
		*p = s->next;
		s->next = *dead;
		*dead = s;
	}
	note_spares_locked(w);
}

/* A spare that has room for the record; NULL: none. */
static struct wal_segment *take_spare_locked(struct wal_writer *w, uint64_t record) REQUIRES(&w->mu);
static struct wal_segment *take_spare_locked(struct wal_writer *w, uint64_t record)
{
	for (struct wal_segment **p = &w->spares; *p; p = &(*p)->next) {
		struct wal_segment *s = *p;
		if (s->map->size < WAL_SEGMENT_HEADER_SIZE + record)
			continue;
		*p = s->next;
		w->spare_count--;
		return s;
	}
	return NULL;
}

/* Ends the current segment and begins another one. */
static enum wombat_status rotate(struct wal_writer *w, uint64_t record)
{
	mutex_lock(&w->mu);
	struct wal_segment *s = take_spare_locked(w, record);
	note_spares_locked(w);
	mutex_unlock(&w->mu);
	if (!s) {
		enum wombat_status status = make_segment(w, segment_bytes_for(w, record), &s);
		if (status != WOMBAT_OK)
			return status;
	}
	mutex_lock(&w->mu);
	uint32_t epoch = atomic_load_explicit(&w->epoch, memory_order_relaxed) + 1;
	s->next = NULL;
	s->first_epoch = s->last_epoch = epoch;
	s->used = WAL_SEGMENT_HEADER_SIZE;
	s->dirty = true;
	s->rested = 0;
	atomic_store_explicit(&w->current_used, 0, memory_order_relaxed);
	struct wal_segment **end = &w->live;
	while (*end)
		end = &(*end)->next;
	*end = s;
	atomic_store_explicit(&w->epoch, epoch, memory_order_relaxed);
	mutex_unlock(&w->mu);
	w->current = s;
	w->expected = 0;
	atomic_fetch_add_explicit(&w->rotations, 1, memory_order_relaxed);
	return WOMBAT_OK;
}

/* ---- Open and close ------------------------------------------------------------------------ */

static void free_all(struct wal_writer *w)
{
	struct wal_segment *lists[2] = { w->live, w->spares };
	for (int i = 0; i < 2; i++)
		for (struct wal_segment *s = lists[i], *next; s; s = next) {
			next = s->next;
			wal_segment_free(w->env, s);
		}
	condition_done(&w->changed);
	mutex_done(&w->mu);
	mem_free(w->dir);
	mem_free(w);
}

/* Live segments stay, the last of them is continued; the rest are spares, as many as are kept. */
static enum wombat_status adopt(struct wal_writer *w, struct wal_tail *tail)
{
	uint32_t epoch = tail->max_epoch + 1;
	w->live = tail->live;
	w->spares = tail->spares;
	tail->live = tail->spares = NULL;
	for (struct wal_segment *s = w->live; s; s = s->next) {
		s->dirty = true; /* Nothing says that it was synced before. */
		w->current = s;
	}
	struct wal_segment *dead = NULL;
	mutex_lock(&w->mu);
	trim_spares_locked(w, &dead);
	mutex_unlock(&w->mu);
	remove_all(w, dead);
	atomic_store_explicit(&w->epoch, epoch, memory_order_relaxed);
	atomic_store_explicit(&w->appended_sequence, tail->last_sequence, memory_order_relaxed);
	/* What was replayed may still be in the page cache only: to be synced with what comes. */
	atomic_store_explicit(&w->appended_bytes, w->live != NULL, memory_order_relaxed);
	if (!w->current)
		return rotate(w, 0);
	w->current->last_epoch = epoch;
	return WOMBAT_OK;
}

enum wombat_status wal_writer_open(const struct wal_writer_options *options, struct wal_tail *tail,
				   struct wal_writer **out)
{
	struct wal_writer *w = mem_zalloc(sizeof *w);
	size_t dir_size = strlen(options->dir) + 1;
	char *dir = mem_alloc(dir_size);
	if (!w || !dir) {
		mem_free(w);
		mem_free(dir);
		wal_tail_free(tail);
		return fail_no_memory();
	}
	memcpy(dir, options->dir, dir_size);
	w->env = options->env;
	w->dir = dir;
	w->next_file_number = options->next_file_number;
	w->before_sync = options->before_sync;
	w->arg = options->arg;
	w->spare_segments = options->spare_segments;
	atomic_store_explicit(&w->segment_bytes, options->segment_bytes, memory_order_relaxed);
	mutex_init(&w->mu, LOCK_RANK_TABLES);
	condition_init(&w->changed);
	enum wombat_status s = adopt(w, tail);
	wal_tail_free(tail);
	if (s != WOMBAT_OK) {
		free_all(w);
		return s;
	}
	*out = w;
	return WOMBAT_OK;
}

/* The closing record vouches for the last changes, so that damage to them will be known as such. They are durable
 * with or without it: a disk too full for it is no failure. */
static enum wombat_status close_cleanly(struct wal_writer *w)
{
	uint32_t epoch;
	uint64_t next = atomic_load_explicit(&w->appended_sequence, memory_order_relaxed) + 1;
	enum wombat_status s = wal_writer_sync(w);
	if (s != WOMBAT_OK || atomic_load_explicit(&w->appended_bytes, memory_order_relaxed) == 0)
		return s;
	s = wal_writer_append(w, next, 0, 0, NULL, 0, &epoch);
	if (s == WOMBAT_NO_SPACE)
		return WOMBAT_OK;
	return s == WOMBAT_OK ? wal_writer_sync(w) : s;
}

enum wombat_status wal_writer_close(struct wal_writer *w, bool clean)
{
	if (!w)
		return WOMBAT_OK;
	enum wombat_status s = clean ? close_cleanly(w) : WOMBAT_OK;
	free_all(w);
	return s;
}

/* ---- Append -------------------------------------------------------------------------------- */

void wal_writer_sync_next(struct wal_writer *w, bool will_sync)
{
	w->sync_next = will_sync;
}

/* Pages are made ready many at a time when many are filled: between syncs that are far apart. Else the pages would be
 * written to the disk as they are. */
static void expect(struct wal_writer *w, const struct wal_segment *s, uint64_t size)
{
	uint64_t since = atomic_load_explicit(&w->appended_bytes, memory_order_relaxed) -
			 atomic_load_explicit(&w->bytes_at_sync, memory_order_relaxed);
	w->expected = s->used + size + EXPECTED;
	if (since >= EXPECTED)
		w->env->calls->segment_expect(s->map, s->used, (size_t)(w->expected - s->used));
}

enum wombat_status wal_writer_append(struct wal_writer *w, uint64_t sequence, uint64_t time_ns, uint32_t count,
				     const struct wombat_slice *pieces, size_t piece_count, uint32_t *out_epoch)
{
	uint64_t payload = WAL_PAYLOAD_HEADER_SIZE;
	for (size_t i = 0; i < piece_count; i++)
		payload += pieces[i].size;
	if (payload > UINT32_MAX)
		return fail(WOMBAT_TOO_BIG, "a write of %llu bytes is too large for the write-ahead log",
			    (unsigned long long)payload);
	assert(sequence == atomic_load_explicit(&w->appended_sequence, memory_order_relaxed) + 1);
	assert(count <= (payload - WAL_PAYLOAD_HEADER_SIZE) / WAL_CHANGE_MIN);
	uint64_t size = wal_record_size(payload);
	if (w->current->used + size > w->current->map->size) {
		enum wombat_status s = rotate(w, size);
		if (s != WOMBAT_OK)
			return s;
	}
	struct wal_segment *s = w->current;
	uint32_t epoch = atomic_load_explicit(&w->epoch, memory_order_relaxed);
	/* What is synced at once is written by a call: see env.h. Large records gain nothing by it. */
	uint8_t room[WRITTEN_MAX], *record = s->map->base + s->used;
	bool written = w->sync_next && size <= sizeof room;
	if (written)
		record = room;
	else if (s->used + size > w->expected)
		expect(w, s, size);
	uint8_t *p = record;
	put_u32(p + 4, (uint32_t)payload);
	put_u32(p + 8, epoch);
	put_u32(p + 12, 0);
	/* Relaxed: an older number only claims less. */
	put_u64(p + 16, atomic_load_explicit(&w->durable_sequence, memory_order_relaxed));
	p += WAL_RECORD_HEADER_SIZE;
	put_u64(p, sequence);
	put_u64(p + 8, time_ns);
	put_u32(p + 16, count);
	p += WAL_PAYLOAD_HEADER_SIZE;
	for (size_t i = 0; i < piece_count; i++) {
		if (pieces[i].size)
			memcpy(p, pieces[i].data, pieces[i].size);
		p += pieces[i].size;
	}
	memset(p, 0, (size_t)(record + size - p));
	put_u32(record, wal_record_crc(s->number, s->used, record, (uint32_t)payload));
	if (written) {
		enum wombat_status status = w->env->calls->segment_write(s->map, s->used, record, (size_t)size);
		if (status != WOMBAT_OK)
			return status;
	}
	s->used += size;
	atomic_store_explicit(&w->current_used, s->used, memory_order_relaxed);
	atomic_store_explicit(&w->records, atomic_load_explicit(&w->records, memory_order_relaxed) + 1, memory_order_relaxed);
	if (count)
		atomic_store_explicit(&w->appended_sequence, sequence + count - 1, memory_order_release);
	uint64_t bytes = atomic_load_explicit(&w->appended_bytes, memory_order_relaxed) + size;
	atomic_store_explicit(&w->appended_bytes, bytes, memory_order_release);
	*out_epoch = epoch;
	return WOMBAT_OK;
}

/* ---- Sync ---------------------------------------------------------------------------------- */

static enum wombat_status sync_failure_locked(const struct wal_writer *w) REQUIRES(&w->mu);
static enum wombat_status sync_failure_locked(const struct wal_writer *w)
{
	return fail(w->failed, "%s", w->failure);
}

static void rest(struct wal_writer *w, struct wal_segment *s, uint64_t to)
{
	enum { WORTH = 64 << 10 };
	if (to < s->rested + WORTH)
		return;
	w->env->calls->segment_rest(s->map, s->rested, to);
	s->rested = to;
}

/* Syncs the segments, oldest first. Called by the one syncing thread, with the
 * lock, which is dropped around each sync. */
static enum wombat_status sync_segments_locked(struct wal_writer *w) REQUIRES(&w->mu);
static enum wombat_status sync_segments_locked(struct wal_writer *w)
{
	for (struct wal_segment *s = w->live; s; s = s->next) {
		if (!s->dirty)
			continue;
		/* The list only grows at its end while `syncing` is set, and `s` stays in it. */
		bool last = s->next == NULL;
		mutex_unlock(&w->mu);
		uint64_t begin = w->env->calls->monotonic_ns(w->env);
		/* Of the current one what is known to be behind us; in doubt less. */
		rest(w, s, last ? atomic_load_explicit(&w->current_used, memory_order_relaxed) : s->map->size);
		enum wombat_status status = w->env->calls->segment_sync(s->map);
		atomic_fetch_add_explicit(&w->sync_ns, w->env->calls->monotonic_ns(w->env) - begin, memory_order_relaxed);
		atomic_fetch_add_explicit(&w->syncs, 1, memory_order_relaxed);
		mutex_lock(&w->mu);
		if (status != WOMBAT_OK)
			return status;
		if (last)
			break; /* It may still grow; what came after the begin is the next sync's. */
		s->dirty = false;
	}
	return WOMBAT_OK;
}

/* A sync may have begun before what is vouched for meanwhile. */
static void note_durable_locked(struct wal_writer *w, uint64_t sequence) REQUIRES(&w->mu);
static void note_durable_locked(struct wal_writer *w, uint64_t sequence)
{
	if (sequence > atomic_load_explicit(&w->durable_sequence, memory_order_relaxed))
		atomic_store_explicit(&w->durable_sequence, sequence, memory_order_relaxed);
}

uint64_t wal_writer_durable(const struct wal_writer *w)
{
	return atomic_load_explicit(&w->durable_sequence, memory_order_relaxed);
}

void wal_writer_vouch(struct wal_writer *w, uint64_t sequence)
{
	mutex_lock(&w->mu);
	note_durable_locked(w, sequence);
	mutex_unlock(&w->mu);
}

enum wombat_status wal_writer_sync(struct wal_writer *w)
{
	/* Acquire: the records of these numbers are in their segments, and the segments in the list. */
	uint64_t want = atomic_load_explicit(&w->appended_bytes, memory_order_acquire);
	enum wombat_status s = WOMBAT_OK;
	mutex_lock(&w->mu);
	while (w->syncing && w->synced_bytes < want && w->failed == WOMBAT_OK)
		condition_wait(&w->changed, &w->mu); /* drops and takes mu */
	if (w->failed != WOMBAT_OK)
		s = sync_failure_locked(w);
	if (s != WOMBAT_OK || w->synced_bytes >= want) {
		mutex_unlock(&w->mu);
		return s;
	}
	w->syncing = true;
	uint64_t bytes = atomic_load_explicit(&w->appended_bytes, memory_order_acquire);
	atomic_store_explicit(&w->bytes_at_sync, bytes, memory_order_relaxed);
	uint64_t sequence = atomic_load_explicit(&w->appended_sequence, memory_order_acquire);
	if (w->before_sync) {
		mutex_unlock(&w->mu);
		s = w->before_sync(w->arg);
		mutex_lock(&w->mu);
	}
	if (s == WOMBAT_OK)
		s = sync_segments_locked(w); /* drops and takes mu */
	w->syncing = false;
	if (s == WOMBAT_OK) {
		w->synced_bytes = bytes;
		note_durable_locked(w, sequence);
	} else {
		w->failed = s;
		snprintf(w->failure, sizeof w->failure, "%s", status_detail());
	}
	condition_broadcast(&w->changed);
	mutex_unlock(&w->mu);
	return s;
}

/* ---- Upkeep -------------------------------------------------------------------------------- */

void wal_writer_release(struct wal_writer *w, uint32_t epoch)
{
	struct wal_segment *dead = NULL;
	mutex_lock(&w->mu);
	/* A sync that runs walks over the list. */
	while (w->syncing)
		condition_wait(&w->changed, &w->mu); /* drops and takes mu */
	/* The last one is the appending thread's. */
	while (w->live && w->live->next && w->live->last_epoch < epoch) {
		struct wal_segment *s = w->live;
		w->live = s->next;
		s->next = w->spares;
		w->spares = s;
	}
	trim_spares_locked(w, &dead);
	mutex_unlock(&w->mu);
	remove_all(w, dead);
}

bool wal_writer_wants_spare(const struct wal_writer *w)
{
	return atomic_load_explicit(&w->wants_spare, memory_order_relaxed);
}

enum wombat_status wal_writer_prepare(struct wal_writer *w)
{
	mutex_lock(&w->mu);
	bool wanted = w->spare_count == 0 && !w->preparing;
	w->preparing |= wanted;
	note_spares_locked(w);
	mutex_unlock(&w->mu);
	if (!wanted)
		return WOMBAT_OK;
	struct wal_segment *s;
	enum wombat_status status = make_segment(w, segment_bytes_for(w, 0), &s);
	mutex_lock(&w->mu);
	if (status == WOMBAT_OK) {
		s->next = w->spares;
		w->spares = s;
		w->spare_count++;
	}
	w->preparing = false;
	note_spares_locked(w);
	mutex_unlock(&w->mu);
	return status;
}

uint32_t wal_writer_epoch(const struct wal_writer *w)
{
	return atomic_load_explicit(&w->epoch, memory_order_relaxed);
}

static void count_list(const struct wal_segment *s, struct wal_counts *out)
{
	for (; s; s = s->next) {
		out->files++;
		out->file_bytes += s->map->size;
	}
}

void wal_writer_counts(struct wal_writer *w, struct wal_counts *out)
{
	*out = (struct wal_counts){
		.appended_bytes = atomic_load_explicit(&w->appended_bytes, memory_order_relaxed),
		.records = atomic_load_explicit(&w->records, memory_order_relaxed),
		.syncs = atomic_load_explicit(&w->syncs, memory_order_relaxed),
		.sync_ns = atomic_load_explicit(&w->sync_ns, memory_order_relaxed),
		.rotations = atomic_load_explicit(&w->rotations, memory_order_relaxed),
	};
	mutex_lock(&w->mu);
	count_list(w->live, out);
	out->live_bytes = out->file_bytes;
	count_list(w->spares, out);
	out->unsynced_bytes = out->appended_bytes > w->synced_bytes ? out->appended_bytes - w->synced_bytes : 0;
	mutex_unlock(&w->mu);
}

void wal_writer_set_segment_bytes(struct wal_writer *w, uint64_t bytes)
{
	struct wal_segment *dead = NULL;
	atomic_store_explicit(&w->segment_bytes, bytes, memory_order_relaxed);
	mutex_lock(&w->mu);
	trim_spares_locked(w, &dead);
	mutex_unlock(&w->mu);
	remove_all(w, dead);
}
