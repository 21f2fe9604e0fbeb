/*
 * Choosing compactions. Jobs run side by side when their files differ: a job takes, with its files of one level, all
 * files of the next that overlap their hull, and is possible only while none of these is in another job. So no two
 * jobs ever write overlapping tables into one level.
 */
#include "engine/compact/picker.h"

#include "engine/base/alloc.h"

enum { GRANDPARENT_TABLES = 10, TOMBSTONES_MIN = 64, MANUAL_STEP_TABLES = 8 };

void picker_state_done(struct picker_state *p)
{
	for (int i = 0; i < LEVELS_MAX; i++)
		buf_done(&p->cursor[i]);
}

/* ---- Building a job ------------------------------------------------------------------------ */

/* The range of keys that files cover: `end` excluded when `end_excluded`. */
struct hull {
	struct wombat_slice begin, end;
	bool end_excluded;
};

static void hull_add(struct hull *h, const struct file_meta *f, bool first)
{
	struct wombat_slice smallest = buf_slice(&f->summary.smallest), largest = buf_slice(&f->summary.largest);
	if (first || slice_compare(smallest, h->begin) < 0)
		h->begin = smallest;
	int c = first ? 1 : slice_compare(largest, h->end);
	if (c > 0 || (c == 0 && !f->summary.largest_excluded)) {
		h->end = largest;
		h->end_excluded = f->summary.largest_excluded;
	}
}

static bool hull_overlaps(const struct hull *h, const struct file_meta *f)
{
	int c = slice_compare(buf_slice(&f->summary.smallest), h->end);
	if (c > 0 || (c == 0 && h->end_excluded))
		return false;
	return file_meta_overlaps(f, h->begin, (struct wombat_slice){ NULL, 0 });
}

/* The files of a level that overlap the hull, in an array of their own. */
static enum wombat_status overlapping(const struct file_list *list, const struct hull *h, struct file_meta ***out,
				      size_t *out_count)
{
	*out = NULL;
	*out_count = 0;
	if (list->count == 0)
		return WOMBAT_OK;
	struct file_meta **files = mem_alloc(list->count * sizeof *files);
	if (!files)
		return fail_no_memory();
	for (size_t i = 0; i < list->count; i++)
		if (hull_overlaps(h, list->files[i]))
			files[(*out_count)++] = list->files[i];
	*out = files;
	return WOMBAT_OK;
}

static bool any_compacting(struct file_meta *const *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (files[i]->compacting)
			return true;
	return false;
}

static void inputs_free(struct compaction_inputs *in)
{
	mem_free(in->files[0]);
	mem_free(in->files[1]);
	mem_free(in->grandparents);
	*in = (struct compaction_inputs){ 0 };
}

static bool disjoint(struct file_meta *const *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = i + 1; k < count; k++) {
			struct hull h = { 0 };
			hull_add(&h, files[i], true);
			if (hull_overlaps(&h, files[k]))
				return false;
		}
	return true;
}

static uint64_t sum_bytes(struct file_meta *const *files, size_t count)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++)
		bytes += files[i]->summary.file_bytes;
	return bytes;
}

/* Fills `in` from the files of `level`, whose array it takes. *out_busy: a needed file is in another job. */
static enum wombat_status build(struct version *v, unsigned level, unsigned output_level, struct file_meta **files,
				size_t count, const char *reason, uint64_t max_table_size, struct compaction_inputs *in,
				bool *out_busy)
{
	struct hull hull = { 0 };
	*in = (struct compaction_inputs){ .level = level, .output_level = output_level, .reason = reason };
	in->files[0] = files;
	in->count[0] = count;
	*out_busy = any_compacting(files, count);
	for (size_t i = 0; i < count; i++)
		hull_add(&hull, files[i], i == 0);
	enum wombat_status s = WOMBAT_OK;
	if (output_level != level)
		s = overlapping(&v->levels[output_level], &hull, &in->files[1], &in->count[1]);
	for (size_t i = 0; i < in->count[1]; i++)
		hull_add(&hull, in->files[1][i], false);
	*out_busy |= any_compacting(in->files[1], in->count[1]);
	if (s == WOMBAT_OK && output_level + 1 < v->level_count)
		s = overlapping(&v->levels[output_level + 1], &hull, &in->grandparents, &in->grandparent_count);
	if (s != WOMBAT_OK || *out_busy) {
		inputs_free(in);
		return s;
	}
	in->bottom = in->grandparent_count == 0;
	for (unsigned deeper = output_level + 2; deeper < v->level_count && in->bottom; deeper++)
		for (size_t i = 0; i < v->levels[deeper].count; i++)
			in->bottom &= !hull_overlaps(&hull, v->levels[deeper].files[i]);
	in->bytes = sum_bytes(in->files[0], in->count[0]) + sum_bytes(in->files[1], in->count[1]);
	bool rewrite = reason[0] == 't' || level == output_level; /* "tombstones" go only by rewriting */
	in->trivial_move = !rewrite && in->count[1] == 0 && disjoint(files, count) &&
			   sum_bytes(in->grandparents, in->grandparent_count) <= GRANDPARENT_TABLES * max_table_size;
	return WOMBAT_OK;
}

static bool commit(struct version *v, struct compaction_inputs *in)
{
	in->version = version_ref(v);
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side]; i++)
			in->files[side][i]->compacting = true;
	return true;
}

void compaction_inputs_done(struct compaction_inputs *in)
{
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side]; i++)
			in->files[side][i]->compacting = false;
	struct version *v = in->version;
	inputs_free(in);
	version_unref(v);
}

/* ---- By score ------------------------------------------------------------------------------ */

static struct file_meta **copy_files(struct file_meta *const *files, size_t count, enum wombat_status *status)
{
	struct file_meta **copy = mem_alloc((count ? count : 1) * sizeof *copy);
	if (!copy) {
		*status = fail_no_memory();
		return NULL;
	}
	memcpy(copy, files, count * sizeof *copy);
	return copy;
}

/* Tries a job with these files of `level`. False: not now, or (*status) no memory. */
static bool try_files(struct version *v, unsigned level, unsigned output_level, struct file_meta *const *files,
		      size_t count, const char *reason, const struct picker_options *o, struct compaction_inputs *out,
		      enum wombat_status *status)
{
	bool busy;
	struct file_meta **copy = copy_files(files, count, status);
	if (!copy)
		return false;
	*status = build(v, level, output_level, copy, count, reason, o->max_table_size, out, &busy);
	return *status == WOMBAT_OK && !busy && commit(v, out);
}

/* Level 0's tables overlap, so they go together; one such job at a time. */
static bool pick_level_zero(struct version *v, const char *reason, const struct picker_options *o,
			    struct compaction_inputs *out, enum wombat_status *status)
{
	const struct file_list *list = &v->levels[0];
	if (list->count == 0 || any_compacting(list->files, list->count))
		return false;
	return try_files(v, 0, 1, list->files, list->count, reason, o, out, status);
}

/* One table of the level, the next one behind where the last compaction of this level was. */
static bool pick_level(struct picker_state *p, struct version *v, unsigned level, const struct picker_options *o,
		       struct compaction_inputs *out, enum wombat_status *status)
{
	const struct file_list *list = &v->levels[level];
	size_t start = 0;
	while (start < list->count &&
	       slice_compare(buf_slice(&list->files[start]->summary.smallest), buf_slice(&p->cursor[level])) <= 0)
		start++;
	for (size_t i = 0; i < list->count && *status == WOMBAT_OK; i++) {
		struct file_meta *f = list->files[(start + i) % list->count];
		if (f->compacting || !try_files(v, level, level + 1, &f, 1, "level size", o, out, status))
			continue;
		/* Without memory for the cursor the next turn begins where this one did. */
		if (buf_set(&p->cursor[level], buf_slice(&f->summary.smallest)) != WOMBAT_OK)
			buf_clear(&p->cursor[level]);
		return true;
	}
	return false;
}

/* A level's score without what is on its way down. */
static double score_now(const struct version_set *set, const struct version *v, unsigned level)
{
	const struct file_list *list = &v->levels[level];
	if (level == 0)
		return v->score[0];
	uint64_t bytes = 0;
	for (size_t i = 0; i < list->count; i++)
		bytes += list->files[i]->compacting ? 0 : list->files[i]->summary.file_bytes;
	return (double)bytes / (double)version_set_target_bytes(set, level);
}

/* ---- By tombstones ------------------------------------------------------------------------- */

static bool many_tombstones(const struct file_meta *f, const struct picker_options *o)
{
	const struct table_summary *t = &f->summary;
	if (f->compacting)
		return false;
	return t->range_deletes > 0 ||
	       (t->deletes >= TOMBSTONES_MIN && (double)t->deletes >= o->tombstone_ratio * (double)t->entries);
}

static bool overlaps_deeper(const struct version *v, unsigned level, const struct file_meta *f)
{
	struct hull h = { 0 };
	hull_add(&h, f, true);
	for (unsigned deeper = level + 1; deeper < v->level_count; deeper++)
		for (size_t i = 0; i < v->levels[deeper].count; i++)
			if (hull_overlaps(&h, v->levels[deeper].files[i]))
				return true;
	return false;
}

/* A table of tombstones goes down towards what they delete; where nothing lies below it is rewritten in place, once
 * no snapshot needs them: then the rewrite is sure to drop them, and is not repeated. */
static bool pick_tombstones(struct version *v, const struct picker_options *o, struct compaction_inputs *out,
			    enum wombat_status *status)
{
	for (size_t i = 0; i < v->levels[0].count; i++)
		if (many_tombstones(v->levels[0].files[i], o))
			return pick_level_zero(v, "tombstones", o, out, status);
	for (unsigned level = 1; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count && *status == WOMBAT_OK; i++) {
			struct file_meta *f = v->levels[level].files[i];
			if (!many_tombstones(f, o))
				continue;
			bool down = level + 1 < v->level_count && overlaps_deeper(v, level, f);
			if (!down && f->summary.largest_sequence > o->oldest_sequence)
				continue;
			if (try_files(v, level, level + down, &f, 1, "tombstones", o, out, status))
				return true;
		}
	return false;
}

bool picker_pick(struct picker_state *p, struct version_set *set, struct version *v, const struct picker_options *options,
		 struct compaction_inputs *out, enum wombat_status *status)
{
	bool tried[LEVELS_MAX] = { false };
	*status = WOMBAT_OK;
	for (unsigned round = 0; round + 1 < v->level_count; round++) {
		int best = -1;
		double best_score = 1;
		for (unsigned level = 0; level + 1 < v->level_count; level++) {
			double score = tried[level] ? 0 : score_now(set, v, level);
			if (score >= best_score) {
				best = (int)level;
				best_score = score;
			}
		}
		if (best < 0)
			break;
		tried[best] = true;
		bool found = best == 0 ? pick_level_zero(v, "level 0 files", options, out, status) :
					 pick_level(p, v, (unsigned)best, options, out, status);
		if (found || *status != WOMBAT_OK)
			return found;
	}
	return pick_tombstones(v, options, out, status);
}

/* ---- Manual -------------------------------------------------------------------------------- */

bool picker_pick_range(struct version_set *set, struct version *v, unsigned level, struct wombat_slice from,
		       struct wombat_slice to, struct compaction_inputs *out, bool *wait, enum wombat_status *status)
{
	const struct file_list *list = &v->levels[level];
	size_t begin = 0, count = 0;
	*wait = false;
	*status = WOMBAT_OK;
	(void)set;
	while (begin < list->count && !file_meta_overlaps(list->files[begin], from, to))
		begin++;
	if (begin == list->count)
		return false;
	if (level == 0) {
		begin = 0;
		count = list->count;
	} else {
		while (count < MANUAL_STEP_TABLES && begin + count < list->count &&
		       file_meta_overlaps(list->files[begin + count], from, to))
			count++;
	}
	struct file_meta **copy = copy_files(list->files + begin, count, status);
	if (!copy)
		return false;
	bool busy;
	*status = build(v, level, level + 1, copy, count, "manual", UINT64_MAX / (2 * GRANDPARENT_TABLES), out, &busy);
	*wait = *status == WOMBAT_OK && busy;
	return *status == WOMBAT_OK && !busy && commit(v, out);
}
