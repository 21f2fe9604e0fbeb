/*
 * Replay.
 *
 * First each segment is surveyed by itself. Its log is the row of whole records from its beginning whose epochs never
 * fall and whose changes continue each other's numbers. (They always do: a segment is continued only behind the last
 * change of all. Two that merely fit together, an old one and what a crash left behind it of new ones, do not.) What
 * stands behind that row is older content, or what a crash left of newer: it is looked through, eight bytes at a time,
 * for whole records, because of what they may claim.
 *
 * Then the segments whose logs reach behind the flushed changes are put in the order of their first epochs and
 * replayed one behind the other. Where one does not continue the sequence numbers, the whole log ends - rightly so,
 * or by damage. It is damage when any whole record, wherever it stands, says that more had been durable when it was
 * written. (Such a claim stays true: a log was never cut before what somebody had claimed.) Otherwise what is missing
 * was never acknowledged as durable, and the log is cut there.
 *
 * A segment that is cut off must not come back: numbers given again would one day continue into it. So its file is
 * removed, durably, before the writer gets the tail. Within the last segment the greater epoch of whatever is
 * appended keeps apart what was cut off behind it.
 */
#include "engine/wal/wal_reader.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/env/filename.h"
#include "engine/wal/wal_segment.h"

struct replay {
	struct env *env;
	const char *dir;
	struct wal_segment **segments;
	size_t count, capacity;
	enum wombat_status status;      /* of the listing */
	uint32_t max_epoch;             /* of any whole record */
	const struct wal_replay_to *to;

	uint64_t flushed, last;         /* last: sequence up to which the log is whole */
	uint32_t epoch;                 /* of the last record that was applied */
	const struct wal_segment *end;  /* holds that record; NULL: none was applied */

	/* The strongest claim of any whole record: so much was durable. */
	struct {
		uint64_t sequence, offset;
		const struct wal_segment *segment;
	} claim;
};

/* ---- Finding segments ---------------------------------------------------------------------- */

static void add_file(void *arg, const char *name)
{
	struct replay *r = arg;
	uint64_t number;
	if (r->status != WOMBAT_OK || filename_parse(name, &number) != FILE_WAL)
		return;
	struct wal_segment **segments = array_reserve(r->segments, r->count, &r->capacity, sizeof *segments);
	if (!segments) {
		r->status = fail_no_memory();
		return;
	}
	r->segments = segments;
	struct wal_segment *s = mem_zalloc(sizeof *s);
	if (!s) {
		r->status = fail_no_memory();
		return;
	}
	s->number = number;
	r->segments[r->count++] = s;
}

/* Whether a record goes on where the log of its segment stands. */
static bool continues(const struct wal_segment *s, const struct wal_record *record)
{
	return s->first_epoch == 0 || (record->epoch >= s->last_epoch && record->sequence == s->last_sequence + 1);
}

static void note_claim(struct replay *r, const struct wal_segment *s, uint64_t offset, const struct wal_record *record)
{
	if (record->epoch > r->max_epoch)
		r->max_epoch = record->epoch;
	if (record->durable_sequence > r->claim.sequence) {
		r->claim.sequence = record->durable_sequence;
		r->claim.segment = s;
		r->claim.offset = offset;
	}
}

/* Finds all whole records of a segment: those of its log, and those behind. Nothing newer can stand within a whole
 * record, so the search goes on at its end. */
static void survey(struct replay *r, struct wal_segment *s)
{
	struct wal_record record;
	bool in_log = true;
	s->used = WAL_SEGMENT_HEADER_SIZE;
	for (uint64_t at = s->used; at < s->map->size;) {
		if (!wal_record_at(s, at, &record)) {
			in_log = false;
			at += WAL_ALIGN;
			continue;
		}
		note_claim(r, s, at, &record);
		in_log = in_log && continues(s, &record);
		at = record.end;
		uint64_t last = wal_record_last(&record);
		if (in_log) {
			s->first_epoch = s->first_epoch ? s->first_epoch : record.epoch;
			s->last_epoch = record.epoch;
			s->last_sequence = last;
			s->used = at;
		} else if (last > s->beyond_sequence) {
			s->beyond_sequence = last;
		}
	}
}

static bool is_needed(const struct replay *r, const struct wal_segment *s)
{
	return s->map && s->last_sequence > r->flushed;
}

/* Maps a segment and surveys it. One without a valid header, as a crash leaves it that happened while the file was
 * made, ends with no map: its header is durable before its first record is written. */
static enum wombat_status open_segment(struct replay *r, struct wal_segment *s)
{
	char path[FILENAME_PATH_MAX];
	if (!filename_path(path, r->dir, FILE_WAL, s->number))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	enum wombat_status status = r->env->calls->segment_open(r->env, path, 0, &s->map);
	if (status != WOMBAT_OK)
		return status;
	enum wombat_status header = wal_header_check(s->map, path);
	if (header != WOMBAT_OK && header != WOMBAT_CORRUPTION)
		return header;
	survey(r, s);
	if (header == WOMBAT_OK)
		return WOMBAT_OK;
	if (s->last_sequence > r->flushed || s->beyond_sequence > r->flushed)
		return header;
	r->env->calls->segment_close(s->map);
	s->map = NULL;
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

/* The log ends at `at` of a segment. When that has nothing to be kept it goes as a whole (`last_sequence` is left for
 * that); else what follows there is as good as torn. */
static void cut_segment(const struct replay *r, struct wal_segment *s, uint64_t at)
{
	if (!s->live)
		return;
	s->used = at;
	s->last_sequence = r->last;
	s->last_epoch = r->epoch;
}

/* Applies the records of a segment's log that are not in tables. *out_gap: the first of them does not continue what
 * was applied before; nothing was done. */
static enum wombat_status replay_segment(struct replay *r, struct wal_segment *s, struct wal_replay *out, bool *out_gap)
{
	struct wal_record record;
	for (uint64_t at = WAL_SEGMENT_HEADER_SIZE; at < s->used && wal_record_at(s, at, &record); at = record.end) {
		uint64_t last = wal_record_last(&record);
		if (record.count == 0 || last <= r->flushed)
			continue;
		if (record.sequence > r->last + 1 || (r->end && record.sequence <= r->last)) {
			*out_gap = true;
			return WOMBAT_OK;
		}
		enum wombat_status status = r->to->apply(r->to->arg, record.sequence, record.time_ns, record.count, record.body,
							 record.epoch);
		if (status == WOMBAT_NOT_FOUND) {
			cut_segment(r, s, at);
			*out_gap = true;
			return WOMBAT_OK;
		}
		if (status != WOMBAT_OK)
			return status;
		s->live = true;
		r->end = s;
		r->last = last;
		r->epoch = record.epoch;
		out->records++;
		out->bytes += record.body.size;
	}
	return WOMBAT_OK;
}

static enum wombat_status replay_all(struct replay *r, struct wal_replay *out)
{
	bool gap = false;
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < r->count && s == WOMBAT_OK && !gap; i++) {
		struct wal_segment *segment = r->segments[i];
		if (is_needed(r, segment) && segment->first_epoch > r->epoch)
			s = replay_segment(r, segment, out, &gap);
	}
	return s;
}

/* What the log does not have any more is in no segment, so none of them is continued. */
static enum wombat_status replay_beyond(struct replay *r, struct wal_replay *out)
{
	uint64_t end = r->last;
	enum wombat_status s = r->to->beyond ? r->to->beyond(r->to->arg, &r->last) : WOMBAT_OK;
	out->beyond = s == WOMBAT_OK && r->last > end;
	return s;
}

/* All its changes are in tables, or will be before the tail is written to. */
static void retire_segments(struct replay *r)
{
	r->flushed = r->last;
	for (size_t i = 0; i < r->count; i++)
		r->segments[i]->live = false;
}

/* ---- The end ------------------------------------------------------------------------------- */

/* The segment in which the missing record should stand: one with newer records behind its log, else the last. */
static const struct wal_segment *damaged_segment(const struct replay *r)
{
	if (r->end && r->end->beyond_sequence > r->last)
		return r->end;
	for (size_t i = 0; i < r->count; i++)
		if (r->segments[i]->map && r->segments[i]->beyond_sequence > r->last)
			return r->segments[i];
	return r->end ? r->end : r->claim.segment;
}

static enum wombat_status damage(const struct replay *r)
{
	char name[32], claims[32];
	const struct wal_segment *s = damaged_segment(r);
	filename_make(name, FILE_WAL, s->number);
	filename_make(claims, FILE_WAL, r->claim.segment->number);
	return fail(WOMBAT_CORRUPTION, "%s/%s: the record at offset %" PRIu64 " is damaged or missing: %s proves at offset %"
		    PRIu64 " that changes up to sequence %" PRIu64 " had been durable, and the log ends at %" PRIu64,
		    r->dir, name, s->used, claims, r->claim.offset, r->claim.sequence, r->last);
}

/* Whether somebody began a record behind the segment's log: the bytes there are no header of older content. */
static bool is_torn(const struct replay *r, const struct wal_segment *s, uint32_t newest)
{
	/* A file that was cut short may end within the padding of its last record. */
	if (!s->map || s->used + WAL_RECORD_HEADER_SIZE > s->map->size)
		return false;
	const uint8_t *p = s->map->base + s->used;
	uint32_t epoch = get_u32(p + 8);
	return epoch && epoch >= newest && epoch <= r->max_epoch + 1 && get_u32(p + 12) == 0 &&
	       get_u32(p + 4) >= WAL_PAYLOAD_HEADER_SIZE;
}

static enum wombat_status judge_end(const struct replay *r, struct wal_replay *out)
{
	if (r->claim.sequence > r->last)
		return damage(r);
	uint32_t newest = 0; /* epoch in any log that stays */
	for (size_t i = 0; i < r->count; i++) {
		const struct wal_segment *s = r->segments[i];
		if (s->map && (s->live || !is_needed(r, s)) && s->last_epoch > newest)
			newest = s->last_epoch;
	}
	for (size_t i = 0; i < r->count && !out->torn; i++) {
		const struct wal_segment *s = r->segments[i];
		bool cut = is_needed(r, s) && !s->live;
		if (!cut && !is_torn(r, s, newest))
			continue;
		out->torn = true;
		out->torn_file = s->number;
		out->torn_offset = cut ? WAL_SEGMENT_HEADER_SIZE : s->used;
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

static enum wombat_status remove_file(struct replay *r, const struct wal_segment *s)
{
	char path[FILENAME_PATH_MAX];
	if (!filename_path(path, r->dir, FILE_WAL, s->number))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	return r->env->calls->remove(r->env, path);
}

/* Files that hold nothing of the log's: those never finished, and those that were cut off. */
static enum wombat_status remove_rest(struct replay *r)
{
	bool removed = false;
	for (size_t i = 0; i < r->count; i++) {
		struct wal_segment *segment = r->segments[i];
		if (segment->map && (segment->live || !is_needed(r, segment)))
			continue;
		enum wombat_status s = remove_file(r, segment);
		if (s != WOMBAT_OK)
			return s;
		wal_segment_free(r->env, segment);
		r->segments[i--] = r->segments[--r->count];
		removed = true;
	}
	return removed ? r->env->calls->dir_sync(r->env, r->dir) : WOMBAT_OK;
}

static enum wombat_status make_tail(struct replay *r, struct wal_tail **out)
{
	struct wal_tail_owner *o = mem_zalloc(sizeof *o);
	if (!o)
		return fail_no_memory();
	enum wombat_status s = remove_rest(r);
	if (s != WOMBAT_OK) {
		mem_free(o);
		return s;
	}
	if (r->count)
		qsort(r->segments, r->count, sizeof *r->segments, compare_epochs);
	o->env = r->env;
	o->tail.max_epoch = r->max_epoch;
	o->tail.last_sequence = r->last;
	for (size_t i = 0; i < r->count; i++)
		append(r->segments[i]->live ? &o->tail.live : &o->tail.spares, r->segments[i]);
	r->count = 0;
	*out = &o->tail;
	return WOMBAT_OK;
}

static void replay_done(struct replay *r)
{
	for (size_t i = 0; i < r->count; i++)
		wal_segment_free(r->env, r->segments[i]);
	mem_free(r->segments);
}

enum wombat_status wal_replay_all(struct env *env, const char *dir, uint64_t flushed_sequence,
				  const struct wal_replay_to *to, struct wal_replay *out, struct wal_tail **out_tail)
{
	struct replay r = { .env = env, .dir = dir, .flushed = flushed_sequence, .last = flushed_sequence, .to = to };
	struct wal_replay result = { 0 };
	enum wombat_status s = find_segments(&r);
	*out = (struct wal_replay){ .durable_sequence = r.claim.sequence };
	result.durable_sequence = r.claim.sequence;
	if (s == WOMBAT_OK)
		s = replay_all(&r, &result);
	if (s == WOMBAT_OK)
		s = replay_beyond(&r, &result);
	if (s == WOMBAT_OK)
		s = judge_end(&r, &result);
	result.last_sequence = r.end || result.beyond ? r.last : 0;
	if (s == WOMBAT_OK && result.beyond)
		retire_segments(&r);
	if (s == WOMBAT_OK && out_tail)
		s = make_tail(&r, out_tail);
	if (s == WOMBAT_OK)
		*out = result;
	replay_done(&r);
	return s;
}

enum wombat_status wal_replay(struct env *env, const char *dir, uint64_t flushed_sequence,
			      enum wombat_status (*apply)(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
							  struct wombat_slice body, uint32_t epoch),
			      void *arg, struct wal_replay *out, struct wal_tail **out_tail)
{
	const struct wal_replay_to to = { .apply = apply, .arg = arg };
	return wal_replay_all(env, dir, flushed_sequence, &to, out, out_tail);
}
