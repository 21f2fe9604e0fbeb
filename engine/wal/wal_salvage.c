/*
 * Reading a damaged log.
 *
 * Every whole record of every segment is looked at. Within a segment the epochs of its log never fall, so a record with a
 * lower one than another before it is older content of a file that was reused. Of records with greater epochs the numbers
 * are all greater; one that is not below all of them was cut off by a recovery, and its numbers were given again. What
 * then is left was written, in this order, and what is missing in its row of numbers is lost.
 */
#include "engine/wal/wal_salvage.h"

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/env/filename.h"
#include "engine/wal/wal_segment.h"

struct found {
	struct wal_record record; /* its body lies in the mapped segment */
	bool dead;
};

struct search {
	struct env *env;
	const char *dir;
	struct wal_segment **segments;
	size_t segment_count, segment_capacity;
	struct found *found;
	size_t count, capacity;
	uint64_t highest;
	enum wombat_status status; /* of the listing */
};

static void add_segment(void *arg, const char *name)
{
	struct search *f = arg;
	uint64_t number;
	if (f->status != WOMBAT_OK || filename_parse(name, &number) != FILE_WAL)
		return;
	struct wal_segment **segments = array_reserve(f->segments, f->segment_count, &f->segment_capacity, sizeof *segments);
	if (segments)
		f->segments = segments;
	struct wal_segment *s = segments ? mem_zalloc(sizeof *s) : NULL;
	if (!s) {
		f->status = fail_no_memory();
		return;
	}
	s->number = number;
	f->segments[f->segment_count++] = s;
}

static enum wombat_status add_record(struct search *f, const struct wal_record *record)
{
	struct found *found = array_reserve(f->found, f->count, &f->capacity, sizeof *found);
	if (!found)
		return fail_no_memory();
	f->found = found;
	f->found[f->count++] = (struct found){ *record, false };
	return WOMBAT_OK;
}

static enum wombat_status read_segment(struct search *f, struct wal_segment *s)
{
	char path[FILENAME_PATH_MAX];
	struct wal_record record;
	uint32_t epoch = 0;
	if (!filename_path(path, f->dir, FILE_WAL, s->number))
		return fail(WOMBAT_INVALID, "the path %s is too long", f->dir);
	enum wombat_status status = f->env->calls->segment_open(f->env, path, 0, &s->map);
	if (status != WOMBAT_OK)
		return status;
	status = wal_header_check(s->map, path);
	if (status == WOMBAT_CORRUPTION)
		status = WOMBAT_OK; /* nothing that a record needs */
	for (uint64_t at = WAL_SEGMENT_HEADER_SIZE; at < s->map->size && status == WOMBAT_OK;) {
		if (!wal_record_at(s, at, &record)) {
			at += WAL_ALIGN;
			continue;
		}
		at = record.end;
		uint64_t last = wal_record_last(&record);
		f->highest = last > f->highest ? last : f->highest;
		f->highest = record.durable_sequence > f->highest ? record.durable_sequence : f->highest;
		if (record.epoch < epoch || record.count == 0)
			continue;
		epoch = record.epoch;
		status = add_record(f, &record);
	}
	return status;
}

static int compare_written(const void *a, const void *b)
{
	const struct wal_record *x = &((const struct found *)a)->record, *y = &((const struct found *)b)->record;
	if (x->epoch != y->epoch)
		return x->epoch < y->epoch ? -1 : 1;
	return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

/* From the newest to the oldest: whatever reaches into the numbers of what is newer is not of the log. */
static void judge(struct search *f)
{
	uint64_t limit = UINT64_MAX;
	for (size_t i = f->count; i > 0; i--) {
		struct found *found = &f->found[i - 1];
		found->dead = wal_record_last(&found->record) >= limit;
		if (!found->dead)
			limit = found->record.sequence;
	}
}

static enum wombat_status give(const struct search *f, uint64_t flushed, const struct wal_salvage *to)
{
	uint64_t next = flushed + 1;
	for (size_t i = 0; i < f->count; i++) {
		const struct wal_record *r = &f->found[i].record;
		if (f->found[i].dead || wal_record_last(r) <= flushed)
			continue;
		if (r->sequence > next)
			to->lost(to->arg, next, r->sequence - 1);
		enum wombat_status s = to->apply(to->arg, r->sequence, r->time_ns, r->body);
		if (s != WOMBAT_OK)
			return s;
		next = wal_record_last(r) + 1;
	}
	return WOMBAT_OK;
}

enum wombat_status wal_salvage(struct env *env, const char *dir, uint64_t flushed_sequence, const struct wal_salvage *to,
			       uint64_t *out_highest)
{
	struct search f = { .env = env, .dir = dir };
	enum wombat_status s = env->calls->dir_list(env, dir, add_segment, &f);
	if (s == WOMBAT_OK)
		s = f.status;
	for (size_t i = 0; i < f.segment_count && s == WOMBAT_OK; i++)
		s = read_segment(&f, f.segments[i]);
	if (s == WOMBAT_OK && f.count) {
		qsort(f.found, f.count, sizeof *f.found, compare_written);
		judge(&f);
		s = give(&f, flushed_sequence, to);
	}
	*out_highest = f.highest;
	for (size_t i = 0; i < f.segment_count; i++)
		wal_segment_free(env, f.segments[i]);
	mem_free(f.segments);
	mem_free(f.found);
	return s;
}
