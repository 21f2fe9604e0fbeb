/*
 * The set of versions: building the next from an edit, keeping those that readers hold.
 *
 * An edit is applied in three steps: the new version is built from the current one (state lock held), the edit is
 * written and synced (lock dropped, one thread at a time), the new version becomes current (lock held). After a
 * failed write the manifest's end is unknown, so the next one begins a new manifest.
 */
#include "engine/version/version_set.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/env/filename.h"
#include "engine/version/manifest.h"
#include "engine/version/replay.h"
#include "engine/version/tiers.h"

struct version_set {
	/* Fixed after open. */
	struct env *env;
	char *dir;
	struct table_cache *tables;
	struct mutex *state;
	uint64_t manifest_limit;
	bool read_only;

	atomic_uint_fast64_t next_file_number; /* relaxed: any unused number will do */
	atomic_uint_fast64_t manifest_number;  /* relaxed: written by the applying thread only */
	atomic_uint_fast64_t manifest_bytes;   /* relaxed: a figure */

	/* Guarded by the state lock. */
	struct version_shape shape;
	uint64_t last_sequence, flushed_sequence; /* written by the applying thread only, which reads them without it */
	struct vlog_position journal;            /* the same */
	struct version_claim *claims;
	bool applying;
	struct condition applied;

	struct manifest_writer *manifest;      /* the applying thread's; NULL: begin a new one */

	struct mutex mu;
	struct version *current;               /* guarded by mu */
	struct version list;                   /* guarded by mu: ring's head of all live versions */
};

/* ---- Versions ------------------------------------------------------------------------------ */

struct version *version_ref(struct version *v)
{
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

static void version_free(struct version *v)
{
	for (unsigned level = 0; level < LEVELS_MAX; level++) {
		for (size_t i = 0; i < v->levels[level].count; i++)
			file_meta_unref(v->levels[level].files[i]);
		mem_free(v->levels[level].files);
	}
	mem_free(v->fences);
	mem_free(v);
}

void version_unref(struct version *v)
{
	/* Acquire and release: whoever frees sees what the others did with it. */
	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct version_set *s = v->set;
	mutex_lock(&s->mu);
	v->newer->older = v->older;
	v->older->newer = v->newer;
	mutex_unlock(&s->mu);
	version_free(v);
}

/* Not yet in the list of versions: version_free() ends it until install(). */
static struct version *version_new(struct version_set *s)
{
	struct version *v = mem_zalloc(sizeof *v);
	if (!v) {
		fail_no_memory();
		return NULL;
	}
	atomic_init(&v->refs, 1);
	v->set = s;
	v->level_count = s->shape.max_levels;
	return v;
}

uint64_t version_set_target_bytes(const struct version_set *s, unsigned level)
{
	double target = (double)s->shape.base_level_bytes * pow(s->shape.level_size_multiplier, (double)level - 1);
	return target < 9e18 ? (uint64_t)target : UINT64_MAX / 2;
}

/* No level has a target: something is due or not. */
static void set_tiered_scores(const struct version_set *s, struct version *v)
{
	struct tiers_step step;
	v->score[0] = tiers_next(v, &s->shape, &step);
	for (unsigned level = 1; level < v->level_count; level++)
		v->score[level] = tiers_is_above_base(v, level);
}

/* The deepest level has no score: there is nowhere to go. */
static void set_scores(const struct version_set *s, struct version *v)
{
	if (s->shape.tiered) {
		set_tiered_scores(s, v);
		return;
	}
	v->score[0] = (double)v->levels[0].count / s->shape.num_level_zero_tables;
	for (unsigned level = 1; level < v->level_count; level++)
		v->score[level] = level + 1 == v->level_count ? 0 :
				  (double)v->levels[level].bytes / (double)version_set_target_bytes(s, level);
}

static int compare_newest(const void *a, const void *b)
{
	const struct file_meta *x = *(struct file_meta *const *)a, *y = *(struct file_meta *const *)b;
	if (x->summary.largest_sequence != y->summary.largest_sequence)
		return x->summary.largest_sequence < y->summary.largest_sequence ? 1 : -1;
	/* Tables of one ingestion have one number. Where one of them was merged with older tables, those of its keys that lie
	 * in another one's range are older than that one. */
	if (x->summary.smallest_sequence != y->summary.smallest_sequence)
		return x->summary.smallest_sequence < y->summary.smallest_sequence ? 1 : -1;
	return (x->number < y->number) - (x->number > y->number);
}

static int compare_smallest(const void *a, const void *b)
{
	const struct file_meta *x = *(struct file_meta *const *)a, *y = *(struct file_meta *const *)b;
	return slice_compare(buf_slice(&x->summary.smallest), buf_slice(&y->summary.smallest));
}

static bool is_removed(const struct version_edit *e, unsigned level, uint64_t number)
{
	for (size_t i = 0; i < e->removed_count; i++)
		if (e->removed[i].level == level && e->removed[i].number == number)
			return true;
	return false;
}

/* What the edit adds to a level, in the level's order. NULL in *out when it is nothing. */
static enum wombat_status added_files(const struct version_edit *e, unsigned level, struct file_meta ***out, size_t *count)
{
	size_t n = 0;
	*out = NULL;
	for (size_t i = 0; i < e->added_count; i++)
		n += e->added[i].level == level;
	*count = n;
	if (n == 0)
		return WOMBAT_OK;
	struct file_meta **files = mem_alloc(n * sizeof *files);
	if (!files)
		return fail_no_memory();
	n = 0;
	for (size_t i = 0; i < e->added_count; i++)
		if (e->added[i].level == level)
			files[n++] = e->added[i].file;
	qsort(files, n, sizeof *files, level ? compare_smallest : compare_newest);
	*out = files;
	return WOMBAT_OK;
}

static void append_file(struct version *v, unsigned level, struct file_meta *f)
{
	struct file_list *list = &v->levels[level];
	list->files[list->count++] = file_meta_ref(f);
	list->bytes += f->summary.file_bytes;
	v->range_delete_files += f->summary.range_deletes > 0;
}

/* Merges what `from` has and keeps with what the edit adds. */
static enum wombat_status build_level(struct version *v, unsigned level, const struct version *from,
				      const struct version_edit *e)
{
	static const struct file_list nothing;
	const struct file_list *old = from ? &from->levels[level] : &nothing;
	struct file_meta **added;
	size_t added_count, at = 0;
	enum wombat_status s = added_files(e, level, &added, &added_count);
	if (s != WOMBAT_OK || old->count + added_count == 0)
		return s;
	v->levels[level].files = mem_alloc((old->count + added_count) * sizeof *old->files);
	if (!v->levels[level].files) {
		mem_free(added);
		return fail_no_memory();
	}
	for (size_t i = 0; i < old->count; i++) {
		if (e->removed_count && is_removed(e, level, old->files[i]->number))
			continue;
		while (at < added_count &&
		       (level ? compare_smallest : compare_newest)(&added[at], &old->files[i]) < 0)
			append_file(v, level, added[at++]);
		append_file(v, level, old->files[i]);
	}
	while (at < added_count)
		append_file(v, level, added[at++]);
	mem_free(added);
	return WOMBAT_OK;
}

/* `from` with the edit, not yet in the list of versions. */
static enum wombat_status build_version(struct version_set *s, const struct version *from, const struct version_edit *e,
					struct version **out)
{
	struct version *v = version_new(s);
	if (!v)
		return WOMBAT_NO_MEMORY;
	unsigned deepest = 0;
	for (unsigned level = 0; level < LEVELS_MAX; level++) {
		enum wombat_status status = build_level(v, level, from, e);
		if (status != WOMBAT_OK) {
			version_free(v);
			return status;
		}
		if (v->levels[level].count)
			deepest = level;
	}
	/* A database that was written with more levels keeps them. */
	if (deepest >= v->level_count)
		v->level_count = deepest + 1;
	v->flushed_sequence = e->has_flushed_sequence ? e->flushed_sequence : from ? from->flushed_sequence : 0;
	set_scores(s, v);
	enum wombat_status status = version_lay_out(v);
	if (status != WOMBAT_OK) {
		version_free(v);
		return status;
	}
	*out = v;
	return WOMBAT_OK;
}

static void install(struct version_set *s, struct version *v)
{
	mutex_lock(&s->mu);
	struct version *old = s->current;
	v->older = s->list.older;
	v->newer = &s->list;
	s->list.older->newer = v;
	s->list.older = v;
	s->current = v;
	mutex_unlock(&s->mu);
	version_unref(old);
}

struct version *version_set_current(struct version_set *s)
{
	mutex_lock(&s->mu);
	struct version *v = version_ref(s->current);
	mutex_unlock(&s->mu);
	return v;
}

const struct version_shape *version_set_shape(const struct version_set *s)
{
	mutex_assert_held(s->state);
	return &s->shape;
}

void version_set_set_shape(struct version_set *s, struct version_shape shape)
{
	mutex_assert_held(s->state);
	shape.max_levels = s->shape.max_levels;
	s->shape = shape;
	mutex_lock(&s->mu);
	set_scores(s, s->current); /* They are read under the state lock, which the caller holds. */
	mutex_unlock(&s->mu);
}

void version_set_live_files(struct version_set *s, void (*each)(void *arg, uint64_t number), void *arg)
{
	mutex_lock(&s->mu);
	for (struct version *v = s->list.newer; v != &s->list; v = v->newer)
		for (unsigned level = 0; level < LEVELS_MAX; level++)
			for (size_t i = 0; i < v->levels[level].count; i++)
				each(arg, v->levels[level].files[i]->number);
	mutex_unlock(&s->mu);
}

enum wombat_status version_set_live_values(struct version_set *s, struct value_refs *out, uint64_t *out_flushed)
{
	enum wombat_status status = WOMBAT_OK;
	uint64_t flushed = UINT64_MAX;
	mutex_lock(&s->mu);
	for (struct version *v = s->list.newer; v != &s->list && status == WOMBAT_OK; v = v->newer) {
		flushed = v->flushed_sequence < flushed ? v->flushed_sequence : flushed;
		status = version_add_values(v, out);
	}
	mutex_unlock(&s->mu);
	*out_flushed = flushed;
	return status;
}

bool version_set_claimed(const struct version_set *s, unsigned level, const struct key_span *span)
{
	for (const struct version_claim *c = s->claims; c; c = c->next)
		if (c->level == level && key_span_overlaps(&c->span, span))
			return true;
	return false;
}

void version_set_claim(struct version_set *s, struct version_claim *claim)
{
	claim->next = s->claims;
	s->claims = claim;
}

void version_set_unclaim(struct version_set *s, struct version_claim *claim)
{
	struct version_claim **p = &s->claims;
	while (*p != claim)
		p = &(*p)->next;
	*p = claim->next;
}

/* ---- Applying edits ------------------------------------------------------------------------ */

/* The whole state as one edit: `v`, and the numbers as they are after `latest`. */
static enum wombat_status whole_edit(const struct version_set *s, const struct version *v, const struct version_edit *latest,
				     struct version_edit *out)
{
	version_edit_init(out);
	out->has_flushed_sequence = out->has_last_sequence = out->has_next_file_number = true;
	out->flushed_sequence = latest->has_flushed_sequence ? latest->flushed_sequence : s->flushed_sequence;
	out->last_sequence = latest->has_last_sequence ? latest->last_sequence : s->last_sequence;
	out->next_file_number = atomic_load_explicit(&s->next_file_number, memory_order_relaxed);
	out->journal = latest->journal.file ? latest->journal : s->journal;
	for (unsigned level = 0; level < LEVELS_MAX; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			enum wombat_status status = version_edit_add_file(out, level, v->levels[level].files[i]);
			if (status != WOMBAT_OK) {
				version_edit_done(out);
				return status;
			}
		}
	return WOMBAT_OK;
}

static enum wombat_status create_manifest(struct version_set *s, uint64_t number, const struct version *v,
					  const struct version_edit *latest, struct manifest_writer **out)
{
	struct version_edit whole;
	struct buf bytes = { 0 };
	enum wombat_status status = whole_edit(s, v, latest, &whole);
	if (status != WOMBAT_OK)
		return status;
	status = version_edit_encode(&whole, &bytes);
	version_edit_done(&whole);
	if (status == WOMBAT_OK)
		status = manifest_create(s->env, s->dir, number, buf_slice(&bytes), out);
	buf_done(&bytes);
	return status;
}

enum wombat_status version_set_encode(struct version_set *s, const struct version *v, struct buf *out)
{
	struct version_edit whole;
	const struct version_edit numbers = {
		.has_flushed_sequence = true, .flushed_sequence = v->flushed_sequence,
		.has_last_sequence = true, .last_sequence = v->flushed_sequence,
	};
	enum wombat_status status = whole_edit(s, v, &numbers, &whole);
	if (status != WOMBAT_OK)
		return status;
	whole.journal = (struct vlog_position){ 0, 0 }; /* There are none behind the version's changes. */
	status = version_edit_encode(&whole, out);
	version_edit_done(&whole);
	return status;
}

/* Writes a new manifest in place of the present one, if there is one. */
static enum wombat_status begin_manifest(struct version_set *s, const struct version *v, const struct version_edit *latest)
{
	uint64_t old = version_set_manifest_number(s), number = version_set_new_file_number(s);
	/* Let go of first: when this fails nobody knows which of the two CURRENT names, so the old one must not grow. */
	manifest_close(s->manifest);
	s->manifest = NULL;
	enum wombat_status status = create_manifest(s, number, v, latest, &s->manifest);
	if (status != WOMBAT_OK)
		return status;
	atomic_store_explicit(&s->manifest_number, number, memory_order_relaxed);
	atomic_store_explicit(&s->manifest_bytes, manifest_size(s->manifest), memory_order_relaxed);
	if (old)
		manifest_remove(s->env, s->dir, old);
	return WOMBAT_OK;
}

/* Drops the state lock and takes it again; `applying` is set. A manifest that could not be written is not written
 * again: what its end holds is unknown, so the next edit begins a new one. */
static enum wombat_status write_edit(struct version_set *s, const struct version *v, const struct version_edit *edit,
				     struct wombat_slice bytes) REQUIRES(s->state);
static enum wombat_status write_edit(struct version_set *s, const struct version *v, const struct version_edit *edit,
				     struct wombat_slice bytes)
{
	enum wombat_status status;
	mutex_unlock(s->state);
	if (!s->manifest || manifest_size(s->manifest) > s->manifest_limit) {
		status = begin_manifest(s, v, edit);
	} else {
		status = manifest_append(s->manifest, bytes);
		if (status != WOMBAT_OK) {
			manifest_close(s->manifest);
			s->manifest = NULL;
		} else {
			atomic_store_explicit(&s->manifest_bytes, manifest_size(s->manifest), memory_order_relaxed);
		}
	}
	mutex_lock(s->state);
	return status;
}

enum wombat_status version_set_apply(struct version_set *s, struct version_edit *edit)
{
	mutex_assert_held(s->state);
	assert(!s->read_only);
	while (s->applying)
		condition_wait(&s->applied, s->state); /* drops and takes the state lock */
	s->applying = true;
	struct version *v = NULL;
	struct buf bytes = { 0 };
	edit->has_next_file_number = true;
	edit->next_file_number = atomic_load_explicit(&s->next_file_number, memory_order_relaxed);
	enum wombat_status status = build_version(s, s->current, edit, &v);
	if (status == WOMBAT_OK)
		status = version_edit_encode(edit, &bytes);
	if (status == WOMBAT_OK)
		status = write_edit(s, v, edit, buf_slice(&bytes)); /* drops and takes the state lock */
	buf_done(&bytes);
	if (status == WOMBAT_OK) {
		if (edit->has_flushed_sequence)
			s->flushed_sequence = edit->flushed_sequence;
		if (edit->has_last_sequence)
			s->last_sequence = edit->last_sequence;
		if (edit->journal.file)
			s->journal = edit->journal;
		set_scores(s, v); /* The shape may have changed meanwhile. */
		version_check_invariants(v);
		install(s, v);
	} else if (v) {
		version_free(v);
	}
	s->applying = false;
	condition_broadcast(&s->applied);
	return status;
}

/* ---- Open and free ------------------------------------------------------------------------- */

/* Every table that the manifest names is there, with its size. */
static enum wombat_status check_files(struct version_set *s, const struct version *v)
{
	char path[FILENAME_PATH_MAX];
	for (unsigned level = 0; level < LEVELS_MAX; level++)
		for (size_t i = 0; i < v->levels[level].count; i++) {
			const struct file_meta *f = v->levels[level].files[i];
			uint64_t size;
			if (!filename_path(path, s->dir, FILE_TABLE, f->number))
				return fail(WOMBAT_INVALID, "the path %s is too long", s->dir);
			enum wombat_status status = s->env->calls->file_size(s->env, path, &size);
			if (status == WOMBAT_NOT_FOUND)
				return fail(WOMBAT_CORRUPTION, "%s is missing: the manifest names it", path);
			if (status != WOMBAT_OK)
				return status;
			if (size != f->summary.file_bytes)
				return fail(WOMBAT_CORRUPTION, "%s has %" PRIu64 " bytes, not %" PRIu64 " as in the manifest",
					    path, size, f->summary.file_bytes);
		}
	return WOMBAT_OK;
}

/* Of a deeper level no two tables overlap. */
static enum wombat_status check_order(const struct version_set *s, const struct version *v)
{
	for (unsigned level = 1; level < LEVELS_MAX; level++)
		for (size_t i = 1; i < v->levels[level].count; i++) {
			const struct file_meta *a = v->levels[level].files[i - 1], *b = v->levels[level].files[i];
			struct key_span left = file_meta_span(a), right = file_meta_span(b);
			if (key_span_overlaps(&left, &right))
				return fail(WOMBAT_CORRUPTION, "%s/MANIFEST-%06" PRIu64 ": tables %06" PRIu64 " and %06" PRIu64
					    " of level %u overlap", s->dir, version_set_manifest_number(s), a->number, b->number, level);
		}
	return WOMBAT_OK;
}

/* Reads the manifest that CURRENT names into a version. */
static enum wombat_status load(struct version_set *s, struct version **out)
{
	uint64_t number;
	struct replay r = { 0 };
	struct version_edit whole;
	enum wombat_status status = manifest_read_current(s->env, s->dir, &number);
	if (status != WOMBAT_OK)
		return status;
	status = manifest_replay(s->env, s->dir, number, replay_record, &r, NULL);
	if (status == WOMBAT_OK)
		status = replay_to_edit(&r, &whole);
	replay_done(&r);
	if (status != WOMBAT_OK)
		return status;
	atomic_store_explicit(&s->manifest_number, number, memory_order_relaxed);
	version_set_mark_file_number(s, whole.next_file_number - 1);
	s->flushed_sequence = whole.flushed_sequence;
	s->last_sequence = whole.last_sequence;
	s->journal = whole.journal;
	status = build_version(s, NULL, &whole, out);
	version_edit_done(&whole);
	return status;
}

static void note_data_file(void *arg, const char *name)
{
	uint64_t number;
	enum file_kind kind = filename_parse(name, &number);
	if (kind == FILE_TABLE || kind == FILE_WAL || kind == FILE_VALUES)
		*(bool *)arg = true;
}

/* CURRENT is durable before the first table or log is made: where there are some without it, it was lost, and an
 * empty database in their place would have them removed as orphans. */
static enum wombat_status check_empty(const struct version_set *s)
{
	bool found = false;
	enum wombat_status status = s->env->calls->dir_list(s->env, s->dir, note_data_file, &found);
	if (status == WOMBAT_OK && found)
		return fail(WOMBAT_CORRUPTION, "%s/CURRENT is missing, but there are tables or logs", s->dir);
	return status;
}

static enum wombat_status recover(struct version_set *s, bool create)
{
	struct version_edit nothing;
	struct version *v = NULL;
	version_edit_init(&nothing);
	enum wombat_status status = load(s, &v);
	if (status == WOMBAT_NOT_FOUND && create) {
		status = check_empty(s);
		if (status == WOMBAT_OK)
			status = build_version(s, NULL, &nothing, &v);
	}
	if (status == WOMBAT_OK)
		status = check_order(s, v);
	if (status == WOMBAT_OK)
		status = check_files(s, v);
	if (status == WOMBAT_OK && !s->read_only)
		status = begin_manifest(s, v, &nothing);
	if (status == WOMBAT_OK)
		install(s, v);
	else if (v)
		version_free(v);
	return status;
}

enum wombat_status version_set_open(const struct version_set_options *options, bool create, struct version_set **out)
{
	size_t dir_size = strlen(options->dir) + 1;
	struct version_set *s = mem_zalloc(sizeof *s);
	char *dir = mem_alloc(dir_size);
	if (!s || !dir) {
		mem_free(s);
		mem_free(dir);
		return fail_no_memory();
	}
	memcpy(dir, options->dir, dir_size);
	s->env = options->env;
	s->dir = dir;
	s->tables = options->tables;
	s->state = options->state;
	s->shape = options->shape;
	s->manifest_limit = options->manifest_bytes;
	s->read_only = options->read_only;
	atomic_init(&s->next_file_number, 1);
	atomic_init(&s->manifest_number, 0);
	atomic_init(&s->manifest_bytes, 0);
	s->list.older = s->list.newer = &s->list;
	mutex_init(&s->mu, LOCK_RANK_SNAPSHOTS);
	condition_init(&s->applied);
	enum wombat_status status = recover(s, create);
	if (status != WOMBAT_OK) {
		version_set_free(s);
		return status;
	}
	*out = s;
	return WOMBAT_OK;
}

void version_set_free(struct version_set *s)
{
	if (!s)
		return;
	version_unref(s->current);
	manifest_close(s->manifest);
	condition_done(&s->applied);
	mutex_done(&s->mu);
	mem_free(s->dir);
	mem_free(s);
}

/* ---- Numbers ------------------------------------------------------------------------------- */

uint64_t version_set_new_file_number(struct version_set *s)
{
	return atomic_fetch_add_explicit(&s->next_file_number, 1, memory_order_relaxed);
}

void version_set_mark_file_number(struct version_set *s, uint64_t number)
{
	uint_fast64_t next = atomic_load_explicit(&s->next_file_number, memory_order_relaxed);
	while (next <= number && !atomic_compare_exchange_weak_explicit(&s->next_file_number, &next, number + 1,
									memory_order_relaxed, memory_order_relaxed))
		;
}

uint64_t version_set_last_sequence(const struct version_set *s)
{
	return s->last_sequence;
}

uint64_t version_set_flushed_sequence(const struct version_set *s)
{
	return s->flushed_sequence;
}

struct vlog_position version_set_journal(const struct version_set *s)
{
	return s->journal;
}

uint64_t version_set_manifest_number(const struct version_set *s)
{
	return atomic_load_explicit(&s->manifest_number, memory_order_relaxed);
}

uint64_t version_set_manifest_bytes(const struct version_set *s)
{
	return atomic_load_explicit(&s->manifest_bytes, memory_order_relaxed);
}
