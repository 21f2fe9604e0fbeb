/*
 * Replay. Segments are put in order of their first record's epoch and read until a record is not valid; the
 * changes must continue each other's numbers from the flushed sequence on, across records and segments.
 *
 * Where they do not go on, the log ends - rightly so, or by damage. It is damage when any whole record that was
 * written later says that more had been durable by then. Otherwise what is missing was never acknowledged as
 * durable, and the log is cut there.
 */
#include "engine/wal/wal_reader.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/env/filename.h"
#include "engine/wal/wal_segment.h"

struct replay {
	struct env *env;
	const char *dir;
	struct wal_segment **segments;
	size_t count, capacity;
	enum wombat_status status;    /* of the listing */
	uint32_t max_epoch;
	uint64_t flushed, last;       /* last: sequence up to which the log is whole */
	size_t end_segment;           /* where it ends: valid if any record was accepted */
	uint64_t end_offset;
	bool accepted;
	enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
		struct wombat_slice body, uint32_t epoch);
	void *arg;
};

/* ---- Finding segments ---------------------------------------------------------------------- */

static void add_file(void *arg, const char *name)
{
	struct replay *r = arg;
	uint64_t number;
	if (r->status != WOMBAT_OK || filename_parse(name, &number) != FILE_WAL)
		return;
	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? 2 * r->capacity : 16;
		struct wal_segment **segments = mem_realloc(r->segments, capacity * sizeof *segments);
		if (!segments) {
			r->status = fail_no_memory();
			return;
		}
		r->segments = segments;
		r->capacity = capacity;
	}
	struct wal_segment *s = mem_zalloc(sizeof *s);
	if (!s) {
		r->status = fail_no_memory();
		return;
	}
	s->number = number;
	r->segments[r->count++] = s;
}

/* The greatest epoch of a whole record anywhere behind `offset`: what a crash left behind a torn record must not
 * be taken for records that are written there from now on. */
static uint32_t scan_epochs(const struct env_segment *map, uint64_t offset, uint32_t floor)
{
	struct wal_record record;
	uint32_t max = floor;
	for (; offset + WAL_RECORD_HEADER_SIZE <= map->size; offset += WAL_ALIGN) {
		const uint8_t *p = map->base + offset;
		if (get_u32(p + 8) > max && get_u32(p + 12) == 0 && wal_record_at(map, offset, &record))
			max = record.epoch;
	}
	return max;
}

/* Maps a segment and learns its epochs. One without a valid header, from a crash while it was made, is left with
 * no map: it holds nothing that was ever acknowledged. */
static enum wombat_status open_segment(struct replay *r, struct wal_segment *s)
{
	char path[FILENAME_PATH_MAX];
	struct wal_record record;
	if (!filename_path(path, r->dir, FILE_WAL, s->number))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	enum wombat_status status = r->env->calls->segment_open(r->env, path, 0, &s->map);
	if (status != WOMBAT_OK)
		return status;
	status = wal_header_check(s->map, path);
	if (status == WOMBAT_CORRUPTION && s->map->size > WAL_SEGMENT_HEADER_SIZE &&
	    wal_record_at(s->map, WAL_SEGMENT_HEADER_SIZE, &record))
		return status; /* It was in use, so its header was whole once. */
	if (status == WOMBAT_CORRUPTION) {
		r->env->calls->segment_close(s->map);
		s->map = NULL;
		return WOMBAT_OK;
	}
	if (status != WOMBAT_OK)
		return status;
	uint64_t offset = WAL_SEGMENT_HEADER_SIZE;
	while (wal_record_at(s->map, offset, &record) && record.epoch >= s->last_epoch) {
		if (!s->first_epoch)
			s->first_epoch = record.epoch;
		s->last_epoch = record.epoch;
		offset = record.end;
	}
	s->used = offset;
	uint32_t max = scan_epochs(s->map, offset, s->last_epoch);
	if (max > r->max_epoch)
		r->max_epoch = max;
	return WOMBAT_OK;
}

static int compare_epochs(const void *a, const void *b)
{
	const struct wal_segment *x = *(struct wal_segment *const *)a, *y = *(struct wal_segment *const *)b;
	return (x->first_epoch > y->first_epoch) - (x->first_epoch < y->first_epoch);
}

static enum wombat_status find_segments(struct replay *r)
{
	enum wombat_status s = r->env->calls->dir_list(r->env, r->dir, add_file, r);
	if (s == WOMBAT_OK)
		s = r->status;
	for (size_t i = 0; i < r->count && s == WOMBAT_OK; i++)
		s = open_segment(r, r->segments[i]);
	if (s == WOMBAT_OK && r->count)
		qsort(r->segments, r->count, sizeof *r->segments, compare_epochs);
	return s;
}

/* ---- Replay -------------------------------------------------------------------------------- */


/* Records of one segment, as far as they continue the log. *out_gap: one did not. */
static enum wombat_status replay_segment(struct replay *r, size_t index, struct wal_replay *out, bool *out_gap)
{
	struct wal_segment *s = r->segments[index];
	struct wal_record record;
	uint32_t epoch = 0;
	for (uint64_t at = WAL_SEGMENT_HEADER_SIZE; wal_record_at(s->map, at, &record) && record.epoch >= epoch;
	     at = record.end) {
		epoch = record.epoch;
		uint64_t last = record.sequence + record.count - 1;
		if (record.count == 0 || last <= r->flushed) {
			/* Nothing that is needed. A closing record still belongs to the log that it closes. */
			if (record.sequence == r->last + 1 && r->accepted && index == r->end_segment)
				r->end_offset = record.end;
			continue;
		}
		if (record.sequence > r->last + 1 || (r->accepted && record.sequence != r->last + 1)) {
			*out_gap = true;
			return WOMBAT_OK;
		}
		enum wombat_status status = r->apply(r->arg, record.sequence, record.time_ns, record.count, record.body, epoch);
		if (status != WOMBAT_OK)
			return status;
		s->live = true;
		r->accepted = true;
		r->last = last;
		r->end_segment = index;
		r->end_offset = record.end;
		out->records++;
		out->bytes += record.body.size;
	}
	return WOMBAT_OK;
}

/* Whether a record behind the log's end says that more than r->last had been durable. */
static bool proves_damage(const struct replay *r, const struct wal_segment *s, uint64_t offset, uint32_t epoch)
{
	struct wal_record record;
	for (; offset + WAL_RECORD_HEADER_SIZE <= s->map->size; offset += WAL_ALIGN) {
		const uint8_t *p = s->map->base + offset;
		if (get_u32(p + 8) >= epoch && get_u32(p + 12) == 0 && get_u64(p + 16) > r->last &&
		    wal_record_at(s->map, offset, &record))
			return true;
	}
	return false;
}

/* The log ended at end_offset of end_segment, or (nothing accepted) right behind the flushed changes. */
static enum wombat_status judge_end(struct replay *r, struct wal_replay *out)
{
	size_t first = r->accepted ? r->end_segment : 0;
	char path[FILENAME_PATH_MAX];
	for (size_t i = first; i < r->count; i++) {
		const struct wal_segment *s = r->segments[i];
		bool ending = r->accepted && i == r->end_segment;
		if (!s->map || (!ending && !s->first_epoch))
			continue;
		uint64_t from = ending ? r->end_offset : WAL_SEGMENT_HEADER_SIZE;
		if (!proves_damage(r, s, from, s->first_epoch))
			continue;
		const struct wal_segment *at = r->segments[first];
		uint64_t offset = r->accepted ? r->end_offset : WAL_SEGMENT_HEADER_SIZE;
		if (!filename_path(path, r->dir, FILE_WAL, at->number))
			return fail(WOMBAT_CORRUPTION, "the write-ahead log of %s is damaged", r->dir);
		return fail(WOMBAT_CORRUPTION, "%s: the record at offset %" PRIu64 " is damaged: later ones prove that changes "
			    "behind sequence %" PRIu64 " had been durable", path, offset, r->last);
	}
	if (!r->accepted)
		return WOMBAT_OK;
	const struct wal_segment *s = r->segments[r->end_segment];
	if (r->end_offset + WAL_RECORD_HEADER_SIZE <= s->map->size &&
	    get_u32(s->map->base + r->end_offset + 8) >= s->last_epoch &&
	    get_u32(s->map->base + r->end_offset + 8) <= r->max_epoch + 1 && get_u32(s->map->base + r->end_offset + 12) == 0) {
		out->torn = true;
		out->torn_file = s->number;
		out->torn_offset = r->end_offset;
	}
	return WOMBAT_OK;
}

/* ---- Hand-over ----------------------------------------------------------------------------- */

static void free_list(struct env *env, struct wal_segment *s)
{
	while (s) {
		struct wal_segment *next = s->next;
		env->calls->segment_close(s->map);
		mem_free(s);
		s = next;
	}
}

/* The tail keeps the environment it came from for this. */
struct wal_tail_owner {
	struct wal_tail tail;
	struct env *env;
};

void wal_tail_free(struct wal_tail *tail)
{
	if (!tail)
		return;
	struct wal_tail_owner *o = (struct wal_tail_owner *)tail;
	free_list(o->env, tail->live);
	free_list(o->env, tail->spares);
	mem_free(o);
}

static void append(struct wal_segment **list, struct wal_segment *s)
{
	while (*list)
		list = &(*list)->next;
	s->next = NULL;
	*list = s;
}

static void remove_broken(struct replay *r, const struct wal_segment *s)
{
	char path[FILENAME_PATH_MAX];
	/* One that stays is met again at the next open. */
	if (filename_path(path, r->dir, FILE_WAL, s->number))
		r->env->calls->remove(r->env, path);
}

static struct wal_tail *make_tail(struct replay *r)
{
	struct wal_tail_owner *o = mem_zalloc(sizeof *o);
	if (!o)
		return NULL;
	o->env = r->env;
	o->tail.max_epoch = r->max_epoch;
	o->tail.last_sequence = r->last;
	for (size_t i = 0; i < r->count; i++) {
		struct wal_segment *s = r->segments[i];
		r->segments[i] = NULL;
		if (!s->map) {
			remove_broken(r, s);
			mem_free(s);
			continue;
		}
		if (s->live && i == r->end_segment)
			s->used = r->end_offset;
		append(s->live ? &o->tail.live : &o->tail.spares, s);
	}
	return &o->tail;
}

static void replay_done(struct replay *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->segments[i])
			wal_segment_free(r->env, r->segments[i]);
	mem_free(r->segments);
}

enum wombat_status wal_replay(struct env *env, const char *dir, uint64_t flushed_sequence,
			      enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
							  struct wombat_slice body, uint32_t epoch),
			      void *arg, struct wal_replay *out, struct wal_tail **out_tail)
{
	struct replay r = { .env = env, .dir = dir, .flushed = flushed_sequence, .last = flushed_sequence,
			    .apply = apply, .arg = arg };
	struct wal_replay result = { 0 };
	bool gap = false;
	enum wombat_status s = find_segments(&r);
	for (size_t i = 0; i < r.count && s == WOMBAT_OK && !gap; i++)
		if (r.segments[i]->map)
			s = replay_segment(&r, i, &result, &gap);
	if (s == WOMBAT_OK)
		s = judge_end(&r, &result);
	result.last_sequence = r.accepted ? r.last : 0;
	if (s == WOMBAT_OK && out_tail) {
		struct wal_tail *tail = make_tail(&r);
		if (tail)
			*out_tail = tail;
		else
			s = fail_no_memory();
	}
	if (s == WOMBAT_OK)
		*out = result;
	replay_done(&r);
	return s;
}
