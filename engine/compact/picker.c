/*
 * Choosing compactions.
 *
 * A job takes files of one level and all files of the next that overlap the span of these. Jobs run side by side
 * when none needs a file of another, and when the spans of keys that they write into one level are disjoint. The
 * second does not follow from the first: a job of several files may write one table over a gap between them, and
 * into this gap a later job could bring a table from above. So each job claims its span at the level it writes to.
 *
 * What is tried, in this order, while it is due: what the strategy wants, then tables full of tombstones, then tables
 * with records that have expired. The last two end: a table goes down until nothing lies below, and is rewritten in
 * place only when that is sure to rid it of what it was chosen for.
 *
 * Two strategies. Leveled: each level has a target size; what is above it goes down, the level with the highest score
 * first. Tiered: version/tiers.h; levels that an earlier leveled strategy left above the base go down first.
 */
#include "engine/compact/picker.h"

#include "engine/base/alloc.h"
#include "engine/version/tiers.h"

enum {
	GRANDPARENT_TABLES = 10, /* a moved table overlaps at most so much of the level below, in largest tables */
	EXPAND_TABLES = 25,      /* a job grows by neighbours up to so much */
	MANUAL_STEP_TABLES = 8,
	TOMBSTONES_MIN = 64,
};

/* A table may have records that expire one after the other; it is not rewritten for each. */
#define EXPIRY_DELAY_NS (UINT64_C(300) * 1000000000)

static const char reason_level_zero[] = "level 0 files", reason_size[] = "level size", reason_tiers[] = "tiers",
		  reason_space[] = "space", reason_levels[] = "levels", reason_tombstones[] = "tombstones",
		  reason_expired[] = "expired", reason_values[] = "values", reason_manual[] = "manual";

void picker_state_done(struct picker_state *p)
{
	for (int i = 0; i < LEVELS_MAX; i++)
		buf_done(&p->cursor[i]);
}

/* ---- Files --------------------------------------------------------------------------------- */

struct file_array {
	struct file_meta **items;
	size_t count;
};

static struct key_span span_of(struct file_meta *const *files, size_t count)
{
	struct key_span span = file_meta_span(files[0]);
	for (size_t i = 1; i < count; i++) {
		struct key_span more = file_meta_span(files[i]);
		key_span_add(&span, &more);
	}
	return span;
}

static bool any_compacting(struct file_meta *const *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (files[i]->compacting)
			return true;
	return false;
}

static uint64_t sum_bytes(struct file_meta *const *files, size_t count)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++)
		bytes += files[i]->summary.file_bytes;
	return bytes;
}

static bool disjoint(struct file_meta *const *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = i + 1; k < count; k++) {
			struct key_span a = file_meta_span(files[i]), b = file_meta_span(files[k]);
			if (key_span_overlaps(&a, &b))
				return false;
		}
	return true;
}

static enum wombat_status copy_files(struct file_meta *const *files, size_t count, struct file_array *out)
{
	*out = (struct file_array){ NULL, 0 };
	if (count == 0)
		return WOMBAT_OK;
	out->items = mem_alloc(count * sizeof *out->items);
	if (!out->items)
		return fail_no_memory();
	memcpy(out->items, files, count * sizeof *out->items);
	out->count = count;
	return WOMBAT_OK;
}

/* The files of a deeper level that overlap the span: neighbours in it. */
static enum wombat_status overlapping(const struct version *v, unsigned level, const struct key_span *span,
				      struct file_array *out)
{
	const struct file_list *list = &v->levels[level];
	size_t begin = file_list_find(list, span->begin), end = begin;
	*out = (struct file_array){ NULL, 0 };
	if (begin == list->count)
		return WOMBAT_OK;
	for (; end < list->count; end++) {
		struct key_span file = file_meta_span(list->files[end]);
		if (!key_span_overlaps(&file, span))
			break;
	}
	return copy_files(list->files + begin, end - begin, out);
}

static bool overlaps_below(const struct version *v, unsigned level, const struct key_span *span)
{
	for (unsigned deeper = level + 1; deeper < v->level_count; deeper++)
		if (version_level_overlaps(v, deeper, span))
			return true;
	return false;
}

/* ---- Jobs ---------------------------------------------------------------------------------- */

/* What a job is to be made of. */
struct plan {
	struct version_set *set;
	struct version *version;
	unsigned level, output_level;
	struct file_meta *const *files; /* of `level` */
	size_t count;
	const char *reason;
	uint64_t max_table_size;
};

static void inputs_free(struct compaction_inputs *in)
{
	mem_free(in->files[0]);
	mem_free(in->files[1]);
	mem_free(in->grandparents);
	mem_free(in->claim);
	*in = (struct compaction_inputs){ 0 };
}

static struct key_span inputs_span(const struct compaction_inputs *in)
{
	struct key_span span = span_of(in->files[0], in->count[0]);
	if (in->count[1]) {
		struct key_span more = span_of(in->files[1], in->count[1]);
		key_span_add(&span, &more);
	}
	return span;
}

/* Takes neighbours of `level` along that add nothing at the output level: what is rewritten there is rewritten for
 * more. */
static enum wombat_status expand(const struct plan *p, struct compaction_inputs *in)
{
	struct file_array more, below = { NULL, 0 };
	struct key_span span = inputs_span(in);
	enum wombat_status s = overlapping(p->version, p->level, &span, &more);
	if (s != WOMBAT_OK)
		return s;
	uint64_t bytes = sum_bytes(more.items, more.count) + sum_bytes(in->files[1], in->count[1]);
	bool worth = more.count > in->count[0] && !any_compacting(more.items, more.count) &&
		     bytes / EXPAND_TABLES <= p->max_table_size;
	if (worth) {
		span = span_of(more.items, more.count);
		s = overlapping(p->version, p->output_level, &span, &below);
		worth = s == WOMBAT_OK && below.count == in->count[1];
		mem_free(below.items);
	}
	if (worth) {
		mem_free(in->files[0]);
		in->files[0] = more.items;
		in->count[0] = more.count;
	} else {
		mem_free(more.items);
	}
	return s;
}

static enum wombat_status gather(const struct plan *p, struct compaction_inputs *in)
{
	struct file_array files, below = { NULL, 0 }, grandparents = { NULL, 0 };
	enum wombat_status s = copy_files(p->files, p->count, &files);
	if (s != WOMBAT_OK)
		return s;
	in->files[0] = files.items;
	in->count[0] = files.count;
	struct key_span span = inputs_span(in);
	if (p->output_level != p->level)
		s = overlapping(p->version, p->output_level, &span, &below);
	in->files[1] = below.items;
	in->count[1] = below.count;
	if (s == WOMBAT_OK && p->level > 0 && below.count > 0)
		s = expand(p, in);
	span = inputs_span(in);
	if (s == WOMBAT_OK && p->output_level + 1 < p->version->level_count)
		s = overlapping(p->version, p->output_level + 1, &span, &grandparents);
	in->grandparents = grandparents.items;
	in->grandparent_count = grandparents.count;
	return s;
}

/* Chosen for what a rewrite drops, not for where it lies. */
static bool is_for_contents(const char *reason)
{
	return reason == reason_tombstones || reason == reason_expired || reason == reason_values || reason == reason_manual;
}

/* A move is free, but carries along what a rewrite would drop; and a table over much of the level below would make
 * its own compaction a large one. */
static bool may_move(const struct plan *p, const struct compaction_inputs *in)
{
	if (p->output_level == p->level || in->count[1] > 0 || !disjoint(in->files[0], in->count[0]))
		return false;
	if (in->bottom && is_for_contents(p->reason))
		return false;
	return sum_bytes(in->grandparents, in->grandparent_count) / GRANDPARENT_TABLES <= p->max_table_size;
}

/* Files of a job within level 0 are neighbours there; those behind them in the list are older. */
static void find_older(const struct plan *p, struct compaction_inputs *in)
{
	const struct file_list *list = &p->version->levels[0];
	size_t at = 0;
	while (list->files[at] != p->files[0])
		at++;
	in->older = list->files + at + p->count;
	in->older_count = list->count - at - p->count;
}

/* *out_busy: the job must wait for one that runs; nothing is made then. */
static enum wombat_status make_job(const struct plan *p, struct compaction_inputs *out, bool *out_busy)
{
	struct compaction_inputs in = { .level = p->level, .output_level = p->output_level, .reason = p->reason };
	*out_busy = any_compacting(p->files, p->count);
	if (*out_busy)
		return WOMBAT_OK;
	enum wombat_status s = gather(p, &in);
	if (s == WOMBAT_OK && !(in.claim = mem_alloc(sizeof *in.claim)))
		s = fail_no_memory();
	if (s == WOMBAT_OK) {
		in.claim->level = p->output_level;
		in.claim->span = inputs_span(&in);
		*out_busy = any_compacting(in.files[1], in.count[1]) ||
			    version_set_claimed(p->set, p->output_level, &in.claim->span);
	}
	if (s != WOMBAT_OK || *out_busy) {
		inputs_free(&in);
		return s;
	}
	in.bytes = sum_bytes(in.files[0], in.count[0]) + sum_bytes(in.files[1], in.count[1]);
	if (p->output_level == 0)
		find_older(p, &in);
	in.bottom = !overlaps_below(p->version, p->output_level, &in.claim->span) && in.older_count == 0;
	in.trivial_move = may_move(p, &in);
	in.version = version_ref(p->version);
	version_set_claim(p->set, in.claim);
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in.count[side]; i++)
			in.files[side][i]->compacting = true;
	*out = in;
	return WOMBAT_OK;
}

void compaction_inputs_done(struct compaction_inputs *in)
{
	if (!in->version)
		return;
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side]; i++)
			in->files[side][i]->compacting = false;
	version_set_unclaim(in->version->set, in->claim);
	struct version *v = in->version;
	inputs_free(in);
	version_unref(v);
}

/* ---- Choosing ------------------------------------------------------------------------------ */

/* What all the choices below work on. */
struct choice {
	struct picker_state *state;
	struct version_set *set;
	struct version *version;
	const struct picker_options *options;
	struct compaction_inputs *out;
	enum wombat_status status;
};

/* Tries a job. False: not now, or (c->status) no memory. */
static bool try_files(struct choice *c, unsigned level, unsigned output_level, struct file_meta *const *files, size_t count,
		      const char *reason)
{
	struct plan p = { c->set, c->version, level, output_level, files, count, reason, c->options->max_table_size };
	bool busy;
	c->status = make_job(&p, c->out, &busy);
	return c->status == WOMBAT_OK && !busy;
}

/* Level 0's tables overlap, so they go together; one such job at a time. */
static bool pick_level_zero(struct choice *c, const char *reason)
{
	const struct file_list *list = &c->version->levels[0];
	return list->count > 0 && !any_compacting(list->files, list->count) &&
	       try_files(c, 0, c->options->tiered ? tiers_base(c->version) : 1, list->files, list->count, reason);
}

/* One table of the level, the next one behind where the last compaction of this level was. */
static bool pick_level(struct choice *c, unsigned level, const char *reason)
{
	const struct file_list *list = &c->version->levels[level];
	struct buf *cursor = &c->state->cursor[level];
	size_t start = file_list_find(list, buf_slice(cursor));
	if (start < list->count && slice_equal(buf_slice(&list->files[start]->summary.largest), buf_slice(cursor)))
		start++;
	for (size_t i = 0; i < list->count && c->status == WOMBAT_OK; i++) {
		struct file_meta *f = list->files[(start + i) % list->count];
		if (f->compacting || !try_files(c, level, level + 1, &f, 1, reason))
			continue;
		/* Without memory for the cursor the next turn begins at the front. */
		struct key_span done = span_of(c->out->files[0], c->out->count[0]);
		if (buf_set(cursor, done.end) != WOMBAT_OK)
			buf_clear(cursor);
		return true;
	}
	return false;
}

/* A level's score without what is on its way down. */
static double score_now(const struct choice *c, unsigned level)
{
	const struct file_list *list = &c->version->levels[level];
	if (level == 0)
		return any_compacting(list->files, list->count) ? 0 : c->version->score[0];
	if (c->version->score[level] < 1)
		return 0;
	uint64_t bytes = 0;
	for (size_t i = 0; i < list->count; i++)
		bytes += list->files[i]->compacting ? 0 : list->files[i]->summary.file_bytes;
	return (double)bytes / (double)version_set_target_bytes(c->set, level);
}

static bool pick_by_score(struct choice *c)
{
	bool tried[LEVELS_MAX] = { false };
	for (;;) {
		unsigned best = LEVELS_MAX;
		double best_score = 1;
		for (unsigned level = 0; level + 1 < c->version->level_count; level++) {
			double score = tried[level] ? 0 : score_now(c, level);
			if (score >= best_score && (best == LEVELS_MAX || score > best_score)) {
				best = level;
				best_score = score;
			}
		}
		if (best == LEVELS_MAX)
			return false;
		if (best == 0 ? pick_level_zero(c, reason_level_zero) : pick_level(c, best, reason_size))
			return true;
		if (c->status != WOMBAT_OK)
			return false;
		tried[best] = true;
		/* Level 0 waits for jobs that have level 1's tables; more of these could make it wait for ever. */
		if (best == 0)
			tried[1] = true;
	}
}

/* ---- Tiers ---------------------------------------------------------------------------------- */

static bool pick_tiered(struct choice *c)
{
	const struct file_list *runs = &c->version->levels[0];
	struct tiers_step step;
	for (unsigned level = tiers_base(c->version); level + 1 < c->version->level_count; level++)
		if (tiers_is_above_base(c->version, level) && pick_level(c, level, reason_levels))
			return true;
	if (c->status != WOMBAT_OK || any_compacting(runs->files, runs->count) ||
	    !tiers_next(c->version, version_set_shape(c->set), &step))
		return false;
	if (step.to_base)
		return pick_level_zero(c, reason_space);
	return try_files(c, 0, 0, runs->files + step.first, step.count, reason_tiers);
}

/* ---- Tables for what is in them ------------------------------------------------------------- */

static bool many_tombstones(const struct file_meta *f, const struct picker_options *o)
{
	const struct table_summary *t = &f->summary;
	return t->range_deletes > 0 ||
	       (t->deletes >= TOMBSTONES_MIN && (double)t->deletes >= o->tombstone_ratio * (double)t->entries);
}

static bool has_expired(const struct file_meta *f, const struct picker_options *o, uint64_t delay_ns)
{
	uint64_t expiry = f->summary.min_expiry_ns;
	return expiry && expiry <= o->now_ns && o->now_ns - expiry >= delay_ns;
}

/* Down towards what the tombstones delete; in place where nothing lies below, once no snapshot needs them: then the
 * rewrite is sure to drop them all, and is not repeated. */
static bool pick_tombstones(struct choice *c, unsigned level, struct file_meta *f)
{
	if (!many_tombstones(f, c->options))
		return false;
	if (level == 0)
		return pick_level_zero(c, reason_tombstones);
	struct key_span span = file_meta_span(f);
	bool down = overlaps_below(c->version, level, &span);
	if (!down && f->summary.largest_sequence > c->options->oldest_sequence)
		return false;
	return try_files(c, level, level + down, &f, 1, reason_tombstones);
}

/* In place: the rewrite turns expired records into tombstones, or drops them, so its outputs have none. */
static bool pick_expired(struct choice *c, unsigned level, struct file_meta *f)
{
	if (!has_expired(f, c->options, EXPIRY_DELAY_NS))
		return false;
	return level == 0 ? pick_level_zero(c, reason_expired) : try_files(c, level, level, &f, 1, reason_expired);
}

/* In place: the rewrite writes the values anew, so its outputs point to none of these files. */
static bool pick_values(struct choice *c, unsigned level, struct file_meta *f)
{
	bool points = false;
	for (size_t i = 0; i < c->options->collect_count && !points; i++)
		points = value_refs_find(&f->summary.values, c->options->collect[i]) != NULL;
	if (!points)
		return false;
	return level == 0 ? pick_level_zero(c, reason_values) : try_files(c, level, level, &f, 1, reason_values);
}

static bool pick_file(struct choice *c, bool (*pick)(struct choice *c, unsigned level, struct file_meta *f))
{
	for (unsigned level = 0; level < c->version->level_count; level++)
		for (size_t i = 0; i < c->version->levels[level].count && c->status == WOMBAT_OK; i++) {
			struct file_meta *f = c->version->levels[level].files[i];
			if (!f->compacting && pick(c, level, f))
				return true;
		}
	return false;
}

bool picker_pick(struct picker_state *p, struct version_set *set, struct version *v, const struct picker_options *options,
		 struct compaction_inputs *out, enum wombat_status *status)
{
	struct choice c = { p, set, v, options, out, WOMBAT_OK };
	bool found = options->tiered ? pick_tiered(&c) : pick_by_score(&c);
	if (!found && c.status == WOMBAT_OK)
		found = pick_file(&c, pick_tombstones);
	if (!found && c.status == WOMBAT_OK)
		found = pick_file(&c, pick_expired);
	if (!found && c.status == WOMBAT_OK && options->collect_count)
		found = pick_file(&c, pick_values);
	*status = c.status;
	return found;
}

/* ---- Manual -------------------------------------------------------------------------------- */

bool picker_pick_range(struct version_set *set, struct version *v, unsigned level, struct wombat_slice from,
		       struct wombat_slice to, struct compaction_inputs *out, bool *wait, enum wombat_status *status)
{
	const struct file_list *list = &v->levels[level];
	size_t begin = 0, count = 0;
	bool busy;
	*wait = false;
	*status = WOMBAT_OK;
	while (begin < list->count && !file_meta_overlaps(list->files[begin], from, to))
		begin++;
	if (begin == list->count || level + 1 >= v->level_count)
		return false;
	if (level == 0) {
		begin = 0;
		count = list->count;
	} else {
		while (count < MANUAL_STEP_TABLES && begin + count < list->count &&
		       file_meta_overlaps(list->files[begin + count], from, to))
			count++;
	}
	struct plan p = { set, v, level, level + 1, list->files + begin, count, reason_manual, UINT64_MAX };
	*status = make_job(&p, out, &busy);
	*wait = *status == WOMBAT_OK && busy;
	return *status == WOMBAT_OK && !busy;
}

bool picker_pick_rest(struct version_set *set, struct version *v, const struct picker_options *options, unsigned level,
		      struct wombat_slice from, struct wombat_slice to, struct compaction_inputs *out, bool *wait,
		      enum wombat_status *status)
{
	const struct file_list *list = &v->levels[level];
	*wait = false;
	*status = WOMBAT_OK;
	for (size_t i = 0; level > 0 && i < list->count; i++) {
		struct file_meta *f = list->files[i];
		const struct table_summary *t = &f->summary;
		struct key_span span = file_meta_span(f);
		bool dead = (t->deletes > 0 || t->range_deletes > 0) && t->largest_sequence <= options->oldest_sequence;
		if (!file_meta_overlaps(f, from, to) || !(dead || has_expired(f, options, 0)) ||
		    overlaps_below(v, level, &span))
			continue;
		struct plan p = { set, v, level, level, &f, 1, reason_manual, options->max_table_size };
		bool busy;
		*status = make_job(&p, out, &busy);
		if (*status != WOMBAT_OK || !busy)
			return *status == WOMBAT_OK;
		*wait = true;
	}
	return false;
}
