/*
 * What a user scans: one keyspace's live records, over the merge of memtables and tables.
 *
 * The merge gives every version of every key, newest first. Going forward, the first version of a key that the
 * iterator's sequence can see decides; the rest of that key is skipped. Going backward, versions of a key come
 * oldest first, so the last one that can be seen decides, and is known only when the merge has moved past the
 * key: key and value are then kept in buffers of our own.
 *
 *     FORWARD   the merge stands on the entry that is shown; `record` borrows from it
 *     BACKWARD  the merge stands before all versions of the key that is shown; `record` borrows from `kept`
 *
 * Range tombstones of all sources are collected once, when the iterator is made.
 *
 * Making one costs as much as a seek, so what is freed is kept whole (`spare_iters`), and who wants the same bounds of the same view
 * gets it. Whoever installs a view takes the spare ones away; whoever leaves one looks at the view behind that: of the two, one
 * sees the other, as these are sequentially consistent. So none keeps an old view.
 */
#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "engine/iter/merge_iter.h"

struct wombat_iter {
	struct wombat *db;
	struct read_view *view;
	struct iter *merge;
	struct range_fragments *ranges;   /* NULL: none */
	size_t range_at;                  /* the fragment that the last question ended in */
	uint64_t sequence;
	uint64_t own_first, own_last;     /* numbers of a transaction's own changes, which show too; else 1 and 0 */
	void (*passed)(void *arg, struct wombat_slice from, struct wombat_slice to, bool to_included); /* as of iter_own */
	void *passed_arg;
	struct buf walk_from;             /* with `passed`: where the walk in the present direction began */
	bool walking;
	uint64_t now_ns;                  /* one moment for all expiries */
	struct buf lower, upper;          /* with the keyspace byte; the keyspace's own bounds at least */
	struct wombat_read_options read;
	bool meta_only;
	struct lru_pin value_pin;         /* of the shown value, when it comes from the value log */
	bool valid;
	bool backward;
	enum wombat_status status;
	struct wombat_record record;
	struct buf skip;                  /* FORWARD: versions of this key are passed over */
	bool skipping;
	struct buf kept_key, kept_value;  /* BACKWARD: what is shown */
	uint64_t kept_tag;
	bool is_common;                   /* made by wombat_iter_new(): another like it may be wanted */
	bool has_active;                  /* the view's active memtable is in the merge */
	uint64_t read_ahead;              /* as it was when the merge was made */
};

/* ---- What shows ---------------------------------------------------------------------------- */

/* The newest tombstone's sequence over `key`. Neighbouring questions mostly fall into the same fragment. */
static uint64_t range_cover(struct wombat_iter *it, struct wombat_slice key)
{
	size_t count = range_fragments_count(it->ranges);
	if (it->range_at < count) {
		const struct range_fragment *f = range_fragments_at(it->ranges, it->range_at);
		bool behind_last = it->range_at == 0 ||
				   slice_compare(range_fragments_at(it->ranges, it->range_at - 1)->end, key) <= 0;
		if (behind_last && slice_compare(key, f->begin) < 0)
			return 0;
	}
	it->range_at = range_fragments_find(it->ranges, key);
	return range_fragments_cover(it->ranges, key, it->sequence);
}

/* Whether an entry is newer than what is shown. */
static inline bool too_new(const struct wombat_iter *it, uint64_t tag)
{
	uint64_t sequence = tag_sequence(tag);
	return sequence > it->sequence && (sequence < it->own_first || sequence > it->own_last);
}

static void set_error(struct wombat_iter *it, enum wombat_status s)
{
	it->status = s;
	it->valid = false;
	stats_error(it->db->stats, s);
}

/* Makes the entry the shown record. False: deleted or expired, or (status) damaged. */
static bool show(struct wombat_iter *it, struct wombat_slice key, uint64_t tag, struct wombat_slice value)
{
	if (tag_kind(tag) != KIND_PUT || (it->ranges && tag_sequence(tag) < range_cover(it, key)))
		return false;
	struct record r;
	enum wombat_status s = record_decode(value, &r);
	if (s != WOMBAT_OK) {
		set_error(it, s);
		return false;
	}
	if (record_expired(r.expiry_ns, it->now_ns))
		return false;
	if (it->value_pin.handle)
		lru_pin_release(&it->value_pin);
	if ((r.elsewhere || r.in_extents) && !it->meta_only && !(it->read.flags & WOMBAT_READ_AT_HAND)) {
		s = db_value_read(it->db, it->view, it->sequence, &r, &it->read, &it->value_pin, &r.value);
		if (s != WOMBAT_OK) {
			set_error(it, s);
			return false;
		}
	}
	/* Field by field: the record's pins stay empty. */
	struct wombat_record *out = &it->record;
	out->key = slice_make(key.data + 1, key.size - 1);
	out->value = it->meta_only ? (struct wombat_slice){ NULL, 0 } : r.value;
	out->attr = r.attr;
	out->value_size = record_value_size(&r);
	out->stored_size = record_stored_size(&r);
	out->time_ns = r.time_ns;
	out->expiry_ns = r.expiry_ns;
	out->sequence = tag_sequence(tag) > it->sequence ? 0 : tag_sequence(tag);
	it->valid = true;
	return true;
}

/* ---- What was passed over ------------------------------------------------------------------ */

/* Says how far the walk came that ends here. One that ended with a failure may have come as far as its bound. */
static void end_walk(struct wombat_iter *it)
{
	if (!it->walking)
		return;
	it->walking = false;
	struct wombat_slice here = it->backward ? buf_slice(&it->kept_key) : it->merge->key;
	struct wombat_slice begin = buf_slice(&it->walk_from);
	if (!it->backward)
		it->passed(it->passed_arg, begin, it->valid ? here : buf_slice(&it->upper), it->valid);
	else
		it->passed(it->passed_arg, it->valid ? here : buf_slice(&it->lower), begin,
			   !slice_equal(begin, buf_slice(&it->upper)));
}

/* Before the merge moves: a walk begins at `from`. False: no memory to remember it. */
static bool begin_walk(struct wombat_iter *it, struct wombat_slice from)
{
	if (!it->passed)
		return true;
	end_walk(it);
	enum wombat_status s = buf_set(&it->walk_from, from);
	if (s != WOMBAT_OK) {
		set_error(it, s);
		return false;
	}
	it->walking = true;
	return true;
}

/* ---- Forward ------------------------------------------------------------------------------- */

/* Without a bound of its own a scan ends with its keyspace, which the first byte says. */
static inline bool behind_upper(const struct wombat_iter *it, struct wombat_slice key)
{
	if (it->upper.size == 1)
		return key.data[0] >= it->upper.data[0];
	return slice_compare(key, buf_slice(&it->upper)) >= 0;
}

/* Neighbours in order differ at their ends, mostly, and agree at their beginnings. */
static inline bool is_skipped(const struct wombat_iter *it, struct wombat_slice key)
{
	size_t n = key.size;
	return it->skipping && n == it->skip.size && key.data[n - 1] == it->skip.data[n - 1] &&
	       memcmp(key.data, it->skip.data, n) == 0;
}

static void forward_to_visible(struct wombat_iter *it)
{
	struct iter *m = it->merge;
	it->valid = false;
	it->backward = false;
	for (; m->valid; iter_next(m)) {
		if (behind_upper(it, m->key))
			return;
		if (too_new(it, m->tag) || is_skipped(it, m->key))
			continue;
		it->skipping = false;
		if (show(it, m->key, m->tag, m->value) || it->status != WOMBAT_OK)
			return;
		/* Not shown: its older versions must not be either. */
		enum wombat_status s = buf_set(&it->skip, m->key);
		if (s != WOMBAT_OK) {
			set_error(it, s);
			return;
		}
		it->skipping = true;
	}
	if (m->status != WOMBAT_OK)
		set_error(it, m->status);
}

static bool seek_forward(struct wombat_iter *it, struct wombat_slice key)
{
	it->status = WOMBAT_OK;
	it->skipping = false;
	if (slice_compare(key, buf_slice(&it->lower)) < 0)
		key = buf_slice(&it->lower);
	if (!begin_walk(it, key))
		return false;
	/* Versions too new to be seen sort before this tag. */
	uint64_t newest = it->own_last ? it->own_last : it->sequence;
	iter_seek(it->merge, key, tag_make(newest, (enum ikey_kind)0xff));
	forward_to_visible(it);
	return it->valid;
}

/* The merge stands before all versions of the shown key: moves it behind them, by skipping them. */
static bool turn_forward(struct wombat_iter *it)
{
	enum wombat_status s = buf_set(&it->skip, buf_slice(&it->kept_key));
	if (s != WOMBAT_OK) {
		set_error(it, s);
		return false;
	}
	it->skipping = true;
	if (!begin_walk(it, buf_slice(&it->kept_key)))
		return false;
	iter_seek(it->merge, buf_slice(&it->kept_key), TAG_MAX);
	return true;
}

bool wombat_iter_next(struct wombat_iter *it)
{
	if (it->backward) {
		if (!turn_forward(it))
			return false;
	} else {
		enum wombat_status s = buf_set(&it->skip, it->merge->key);
		if (s != WOMBAT_OK) {
			set_error(it, s);
			return false;
		}
		it->skipping = true;
		iter_next(it->merge);
	}
	forward_to_visible(it);
	return it->valid;
}

/* ---- Backward ------------------------------------------------------------------------------ */

/* Keeps a copy of the entry that the merge stands on as the newest seen so far of its key. */
static bool keep(struct wombat_iter *it)
{
	enum wombat_status s = buf_set(&it->kept_key, it->merge->key);
	if (s == WOMBAT_OK)
		s = buf_set(&it->kept_value, it->merge->value);
	if (s != WOMBAT_OK) {
		set_error(it, s);
		return false;
	}
	it->kept_tag = it->merge->tag;
	return true;
}

/* From the merge's place backwards: gathers one key's newest visible version at a time until one shows. */
static void backward_to_visible(struct wombat_iter *it)
{
	struct iter *m = it->merge;
	it->valid = false;
	it->backward = true;
	bool have = false;
	for (;;) {
		if (!m->valid && m->status != WOMBAT_OK) {
			set_error(it, m->status);
			return;
		}
		bool in_bounds = m->valid && slice_compare(m->key, buf_slice(&it->lower)) >= 0;
		if (have && (!in_bounds || !slice_equal(m->key, buf_slice(&it->kept_key)))) {
			if (show(it, buf_slice(&it->kept_key), it->kept_tag, buf_slice(&it->kept_value)) ||
			    it->status != WOMBAT_OK)
				break;
			have = false;
		}
		if (!in_bounds)
			break;
		if (!too_new(it, m->tag)) {
			if (!keep(it))
				return;
			have = true;
		}
		iter_prev(m);
	}
}

static bool seek_backward(struct wombat_iter *it, struct wombat_slice before, uint64_t tag)
{
	it->status = WOMBAT_OK;
	if (!begin_walk(it, before))
		return false;
	iter_seek_before(it->merge, before, tag);
	backward_to_visible(it);
	return it->valid;
}

bool wombat_iter_prev(struct wombat_iter *it)
{
	if (!it->backward) {
		enum wombat_status s = buf_set(&it->kept_key, it->merge->key);
		if (s != WOMBAT_OK) {
			set_error(it, s);
			return false;
		}
		return seek_backward(it, buf_slice(&it->kept_key), TAG_MAX);
	}
	backward_to_visible(it);
	return it->valid;
}

/* ---- Positioning --------------------------------------------------------------------------- */

bool wombat_iter_first(struct wombat_iter *it)
{
	return seek_forward(it, buf_slice(&it->lower));
}

bool wombat_iter_last(struct wombat_iter *it)
{
	return seek_backward(it, buf_slice(&it->upper), TAG_MAX);
}

bool wombat_iter_seek(struct wombat_iter *it, struct wombat_slice key)
{
	struct db_key k;
	enum wombat_status s = db_key_init(&k, it->lower.data[0], key);
	if (s != WOMBAT_OK) {
		set_error(it, s);
		return false;
	}
	seek_forward(it, k.slice);
	db_key_done(&k);
	return it->valid;
}

bool wombat_iter_seek_for_prev(struct wombat_iter *it, struct wombat_slice key)
{
	struct db_key k;
	enum wombat_status s = db_key_init(&k, it->lower.data[0], key);
	if (s != WOMBAT_OK) {
		set_error(it, s);
		return false;
	}
	/* All versions of `key` itself sort before (key, tag 0), but the one with tag 0, which cannot be. */
	if (slice_compare(k.slice, buf_slice(&it->upper)) < 0)
		seek_backward(it, k.slice, 0);
	else
		seek_backward(it, buf_slice(&it->upper), TAG_MAX);
	db_key_done(&k);
	return it->valid;
}

bool wombat_iter_valid(const struct wombat_iter *it)
{
	return it->valid;
}

const struct wombat_record *wombat_iter_record(const struct wombat_iter *it)
{
	return &it->record;
}

enum wombat_status wombat_iter_status(const struct wombat_iter *it)
{
	return it->status;
}

/* ---- Making one ---------------------------------------------------------------------------- */

/* A keyspace's end is the next keyspace's byte, which is why there is no keyspace 255. */
enum wombat_status db_iter_bounds(unsigned keyspace, const struct wombat_iter_options *options, struct buf *lower,
				  struct buf *upper)
{
	enum wombat_status s = buf_append_byte(lower, (uint8_t)keyspace);
	if (s == WOMBAT_OK && options)
		s = buf_append(lower, options->lower.data, options->lower.size);
	if (s != WOMBAT_OK)
		return s;
	if (options && options->upper.size) {
		s = buf_append_byte(upper, (uint8_t)keyspace);
		return s == WOMBAT_OK ? buf_append(upper, options->upper.data, options->upper.size) : s;
	}
	return buf_append_byte(upper, (uint8_t)(keyspace + 1));
}

enum wombat_status db_collect_ranges(struct wombat *db, struct read_view *view, struct wombat_slice lower,
				     struct wombat_slice upper, struct range_del_set *out)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < view->memtable_count && s == WOMBAT_OK; i++) {
		if (!memtable_has_range_dels(view->memtables[i]))
			continue;
		struct range_fragments *f;
		s = memtable_range_dels(view->memtables[i], &f);
		if (s != WOMBAT_OK)
			break;
		s = range_fragments_collect(f, lower, upper, out);
		range_fragments_unref(f);
	}
	if (s == WOMBAT_OK && view->version->range_delete_files > 0)
		s = version_collect_ranges(view->version, db->tables, lower, upper, out);
	return s;
}

static enum wombat_status collect_ranges(struct wombat_iter *it)
{
	struct range_del_set set;
	range_del_set_init(&set);
	enum wombat_status s = db_collect_ranges(it->db, it->view, buf_slice(&it->lower), buf_slice(&it->upper), &set);
	if (s == WOMBAT_OK && set.count > 0)
		s = range_fragments_build(&set, &it->ranges);
	range_del_set_done(&set);
	return s;
}

static enum wombat_status build_merge(struct wombat_iter *it, const struct wombat_iter_options *options,
				      const struct iter_own *own)
{
	struct read_view *view = it->view;
	size_t count = 0;
	struct iter **children = mem_alloc((1 + view->memtable_count + version_iter_max(view->version)) * sizeof *children);
	if (!children)
		return fail_no_memory();
	enum wombat_status s = WOMBAT_OK;
	if (own && own->changes) {
		s = memtable_iter_new(own->changes, &children[count]);
		count += s == WOMBAT_OK;
	}
	for (size_t i = 0; i < view->memtable_count && s == WOMBAT_OK; i++) {
		if (memtable_entries(view->memtables[i]) == 0)
			continue;
		it->has_active |= i == 0;
		s = memtable_iter_new(view->memtables[i], &children[count]);
		count += s == WOMBAT_OK;
	}
	it->read_ahead = atomic_load_explicit(&it->db->live.read_ahead_size, memory_order_relaxed);
	unsigned flags = 0;
	if (options && options->read.flags & WOMBAT_READ_CACHED)
		flags |= TABLE_READ_CACHED;
	if (options && options->read.flags & WOMBAT_READ_NO_FILL)
		flags |= TABLE_READ_NO_FILL;
	if (s == WOMBAT_OK)
		s = version_add_iters(view->version, it->db->tables, buf_slice(&it->lower), buf_slice(&it->upper), flags,
				      it->read_ahead, children, &count);
	if (s == WOMBAT_OK) {
		s = merge_iter_new(children, count, &it->merge); /* takes them in any case */
	} else {
		for (size_t i = 0; i < count; i++)
			iter_free(children[i]);
	}
	mem_free(children);
	return s;
}

/* Takes the view. */
static enum wombat_status new_at(struct wombat *db, struct read_view *view, uint64_t sequence,
				 const struct wombat_iter_options *options, unsigned keyspace, const struct iter_own *own,
				 struct wombat_iter **out_iter)
{
	struct wombat_iter *it = mem_zalloc(sizeof *it);
	if (!it) {
		db_view_release(view);
		return fail_no_memory();
	}
	it->db = db;
	it->view = view;
	it->sequence = sequence;
	it->own_first = own && own->changes ? own->first : 1;
	it->own_last = own && own->changes ? own->last : 0;
	it->passed = own ? own->passed : NULL;
	it->passed_arg = own ? own->arg : NULL;
	it->now_ns = db->env->calls->now_ns(db->env);
	if (options)
		it->read = options->read;
	it->meta_only = it->read.flags & WOMBAT_READ_META;
	enum wombat_status s = db_iter_bounds(keyspace, options, &it->lower, &it->upper);
	if (s == WOMBAT_OK)
		s = collect_ranges(it);
	if (s == WOMBAT_OK)
		s = build_merge(it, options, own);
	if (s != WOMBAT_OK) {
		wombat_iter_free(it);
		return s;
	}
	*out_iter = it;
	return WOMBAT_OK;
}

enum wombat_status db_iter_new_at(struct wombat *db, struct read_view *view, uint64_t sequence,
				  const struct wombat_iter_options *options, unsigned keyspace, struct wombat_iter **out_iter)
{
	return new_at(db, view ? db_view_ref(view) : db_view_acquire(db), sequence, options, keyspace, NULL, out_iter);
}

/* ---- Spare ones ---------------------------------------------------------------------------- */

static void free_whole(struct wombat_iter *it)
{
	lru_pin_release(&it->value_pin);
	iter_free(it->merge);
	range_fragments_unref(it->ranges);
	db_view_release(it->view);
	buf_done(&it->lower);
	buf_done(&it->upper);
	buf_done(&it->skip);
	buf_done(&it->walk_from);
	buf_done(&it->kept_key);
	buf_done(&it->kept_value);
	mem_free(it);
}

static struct wombat_iter *take_spare(struct wombat *db, unsigned at)
{
	if (!atomic_load_explicit(&db->spare_iters[at], memory_order_relaxed))
		return NULL;
	return atomic_exchange_explicit(&db->spare_iters[at], NULL, memory_order_seq_cst);
}

void db_iter_drop_spares(struct wombat *db)
{
	for (unsigned i = 0; i < SPARE_ITERS; i++) {
		struct wombat_iter *it = atomic_exchange_explicit(&db->spare_iters[i], NULL, memory_order_seq_cst);
		if (it)
			free_whole(it);
	}
}

/* False: it is not kept, and the caller's still. */
static bool leave_spare(struct wombat_iter *it)
{
	struct wombat *db = it->db;
	if (!it->is_common)
		return false;
	lru_pin_release(&it->value_pin);
	for (unsigned i = 0; i < SPARE_ITERS; i++) {
		struct wombat_iter *none = NULL;
		struct read_view *view = it->view;
		if (atomic_load_explicit(&db->spare_iters[i], memory_order_relaxed) ||
		    !atomic_compare_exchange_strong_explicit(&db->spare_iters[i], &none, it, memory_order_seq_cst,
							     memory_order_relaxed))
			continue;
		/* It may be somebody else's by now, or gone: no look into it. */
		if (atomic_load_explicit(&db->view, memory_order_seq_cst) != view && (it = take_spare(db, i)) != NULL)
			free_whole(it);
		return true;
	}
	return false;
}

static bool is_bound(const struct buf *b, uint8_t keyspace, struct wombat_slice key)
{
	return b->size == key.size + 1 && b->data[0] == keyspace && (key.size == 0 || memcmp(b->data + 1, key.data, key.size) == 0);
}

/* Whether it is what would be made anew. Of the memtables only the active one changes under a view. */
static bool is_same(const struct wombat_iter *it, const struct wombat_iter_options *options, unsigned keyspace)
{
	static const struct wombat_iter_options none;
	const struct wombat_iter_options *o = options ? options : &none;
	const struct wombat *db = it->db;
	/* It has a reference of its own: no other view can have this address. */
	const struct read_view *view = it->view;
	if (atomic_load_explicit(&db->view, memory_order_acquire) != view || it->read.flags != o->read.flags)
		return false;
	if (it->has_active ? memtable_has_range_dels(view->memtables[0]) : memtable_entries(view->memtables[0]) > 0)
		return false;
	return is_bound(&it->lower, (uint8_t)keyspace, o->lower) &&
	       is_bound(&it->upper, (uint8_t)(o->upper.size ? keyspace : keyspace + 1), o->upper) &&
	       it->read_ahead == atomic_load_explicit(&db->live.read_ahead_size, memory_order_relaxed);
}

/* As a new one; NULL: there is none like it. */
static struct wombat_iter *reuse_spare(struct wombat *db, const struct wombat_iter_options *options, unsigned keyspace)
{
	for (unsigned i = 0; i < SPARE_ITERS; i++) {
		struct wombat_iter *it = take_spare(db, i);
		if (!it)
			continue;
		if (!is_same(it, options, keyspace)) {
			free_whole(it);
			continue;
		}
		it->read = options ? options->read : (struct wombat_read_options){ .snapshot = NULL };
		it->now_ns = db->env->calls->now_ns(db->env);
		it->valid = it->backward = it->skipping = false;
		it->status = WOMBAT_OK;
		it->range_at = 0;
		return it;
	}
	return NULL;
}

enum wombat_status db_iter_new(struct wombat *db, const struct wombat_iter_options *options, unsigned keyspace,
			       const struct iter_own *own, struct wombat_iter **out_iter)
{
	const struct wombat_snapshot *snapshot = options ? options->read.snapshot : NULL;
	struct wombat_iter *spare = own ? NULL : reuse_spare(db, options, keyspace);
	if (spare) {
		spare->sequence = snapshot ? snapshot->sequence : atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
		stats_add(db->stats, STAT_SCANS, 1);
		*out_iter = spare;
		return WOMBAT_OK;
	}
	struct read_view *view = db_view_acquire(db);
	/* After the view: see db_read.c. */
	uint64_t sequence = snapshot ? snapshot->sequence :
			    atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	enum wombat_status s = new_at(db, view, sequence, options, keyspace, own, out_iter);
	if (s == WOMBAT_OK) {
		(*out_iter)->is_common = !own;
		stats_add(db->stats, STAT_SCANS, 1);
	}
	return s;
}

enum wombat_status wombat_iter_new(struct wombat *db, const struct wombat_iter_options *options, unsigned keyspace,
				   struct wombat_iter **out_iter)
{
	enum wombat_status s = keyspace_check(keyspace);
	return s == WOMBAT_OK ? db_iter_new(db, options, keyspace, NULL, out_iter) : s;
}

struct wombat_slice db_iter_entry(const struct wombat_iter *it)
{
	return it->backward ? buf_slice(&it->kept_value) : it->merge->value;
}

void wombat_iter_free(struct wombat_iter *it)
{
	if (!it)
		return;
	end_walk(it);
	if (!leave_spare(it))
		free_whole(it);
}
