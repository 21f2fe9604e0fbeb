/*
 * Adding up edits. A manifest may have tens of thousands, so no version is made for each: the files are kept in one
 * array by number. Numbers mostly ascend, so most additions are at the end; the rest is a search and a move of memory.
 */
#include "engine/version/replay.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/version/manifest.h"
#include "engine/version/version_set.h"

void replay_done(struct replay *r)
{
	for (size_t i = 0; i < r->count; i++)
		file_meta_unref(r->files[i].file);
	mem_free(r->files);
	*r = (struct replay){ 0 };
}

/* Where `number` is, or would be. */
static size_t find(const struct replay *r, uint64_t number)
{
	size_t lo = 0, hi = r->count;
	if (hi == 0 || r->files[hi - 1].number < number)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (r->files[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static enum wombat_status remove_file(struct replay *r, const struct version_edit_removal *removal)
{
	size_t at = find(r, removal->number);
	if (at == r->count || r->files[at].number != removal->number || r->files[at].level != removal->level)
		return fail(WOMBAT_CORRUPTION, "it removes table %06" PRIu64 " from level %u, where it is not",
			    removal->number, removal->level);
	file_meta_unref(r->files[at].file);
	memmove(r->files + at, r->files + at + 1, (r->count - at - 1) * sizeof *r->files);
	r->count--;
	return WOMBAT_OK;
}

static enum wombat_status add_file(struct replay *r, const struct version_edit_file *added)
{
	size_t at = find(r, added->file->number);
	if (at < r->count && r->files[at].number == added->file->number)
		return fail(WOMBAT_CORRUPTION, "it adds table %06" PRIu64 ", which is there already", added->file->number);
	struct replay_file *files = array_reserve(r->files, r->count, &r->capacity, sizeof *files);
	if (!files)
		return fail_no_memory();
	r->files = files;
	memmove(r->files + at + 1, r->files + at, (r->count - at) * sizeof *r->files);
	r->files[at] = (struct replay_file){ added->file->number, added->level, file_meta_ref(added->file) };
	r->count++;
	return WOMBAT_OK;
}

static enum wombat_status add_edit(struct replay *r, const struct version_edit *e)
{
	enum wombat_status s = WOMBAT_OK;
	if (r->edits == 0 && !(e->has_flushed_sequence && e->has_last_sequence && e->has_next_file_number))
		return fail(WOMBAT_CORRUPTION, "the first is not a whole state");
	for (size_t i = 0; i < e->removed_count && s == WOMBAT_OK; i++)
		s = remove_file(r, &e->removed[i]);
	for (size_t i = 0; i < e->added_count && s == WOMBAT_OK; i++)
		s = add_file(r, &e->added[i]);
	if (s != WOMBAT_OK)
		return s;
	if (e->has_flushed_sequence)
		r->flushed_sequence = e->flushed_sequence;
	if (e->has_last_sequence)
		r->last_sequence = e->last_sequence;
	if (e->has_next_file_number)
		r->next_file_number = e->next_file_number;
	if (e->journal.file)
		r->journal = e->journal;
	/* A number that a table has must not be given out again, and the manifest has one too. */
	uint64_t highest = r->count ? r->files[r->count - 1].number : 0;
	if (highest >= r->next_file_number)
		return fail(WOMBAT_CORRUPTION, "the next file number %" PRIu64 " is not above %" PRIu64, r->next_file_number,
			    highest);
	r->edits++;
	return WOMBAT_OK;
}

enum wombat_status replay_record(void *arg, struct wombat_slice record)
{
	struct version_edit e;
	enum wombat_status s = version_edit_decode(record, &e);
	if (s != WOMBAT_OK)
		return s;
	s = add_edit(arg, &e);
	version_edit_done(&e);
	return s;
}

enum wombat_status replay_to_edit(const struct replay *r, struct version_edit *out)
{
	struct version_edit e;
	version_edit_init(&e);
	e.has_flushed_sequence = e.has_last_sequence = e.has_next_file_number = true;
	e.flushed_sequence = r->flushed_sequence;
	e.last_sequence = r->last_sequence;
	e.next_file_number = r->next_file_number;
	e.journal = r->journal;
	for (size_t i = 0; i < r->count; i++) {
		enum wombat_status s = version_edit_add_file(&e, r->files[i].level, r->files[i].file);
		if (s != WOMBAT_OK) {
			version_edit_done(&e);
			return s;
		}
	}
	*out = e;
	return WOMBAT_OK;
}

/* ---- Check --------------------------------------------------------------------------------- */

enum wombat_status manifest_check(struct env *env, const char *dir,
				  void (*report)(void *arg, bool is_damage, const char *sentence), void *arg)
{
	uint64_t number;
	size_t cut = 0;
	char text[160];
	struct replay r = { 0 };
	enum wombat_status s = manifest_read_current(env, dir, &number);
	if (s == WOMBAT_OK)
		s = manifest_replay(env, dir, number, replay_record, &r, &cut);
	if (s != WOMBAT_OK) {
		bool is_damage = s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED;
		if (is_damage) /* else nobody could look */
			report(arg, true, status_detail());
		replay_done(&r);
		return s == WOMBAT_UNSUPPORTED ? WOMBAT_CORRUPTION : s;
	}
	snprintf(text, sizeof text, "manifest %06" PRIu64 " read: %" PRIu64 " edits, %zu tables", number, r.edits, r.count);
	report(arg, false, text);
	if (cut) {
		snprintf(text, sizeof text, "manifest %06" PRIu64 " ends in %zu bytes of an incomplete record: it was never in "
			 "force", number, cut);
		report(arg, false, text);
	}
	replay_done(&r);
	return WOMBAT_OK;
}
