/*
 * Lookup: memtables, level 0, deeper levels, newest first, on a pinned read view.
 *
 * The order of the two loads matters. A view is taken first, the sequence number second: all changes up to a
 * number that was published before are then in the view. The other way round a compaction could drop, between
 * the loads, the very version that the number asks for.
 */
#include "engine/base/alloc.h"
#include "engine/base/readers.h"
#include "engine/base/record.h"
#include "engine/db/db_impl.h"

/* ---- Views --------------------------------------------------------------------------------- */

struct read_view *db_view_acquire(struct wombat *db)
{
	mutex_lock(&db->view_mu);
	/* Relaxed, both: the lock orders them with the installer's. */
	struct read_view *v = db_view_ref(atomic_load_explicit(&db->view, memory_order_relaxed));
	mutex_unlock(&db->view_mu);
	return v;
}

struct read_view *db_view_ref(struct read_view *v)
{
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

void db_view_release(struct read_view *v)
{
	/* Acquire and release: whoever frees sees all that the others did with it. */
	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < v->memtable_count; i++)
		memtable_unref(v->memtables[i]);
	version_unref(v->version);
	mem_free(v);
}

/* With the lock: takes those of the retired views that no section of reading can look at any more, as a list. */
static struct read_view *take_gone(struct wombat *db)
{
	struct read_view *gone = atomic_load_explicit(&db->retired_views, memory_order_relaxed), *last = NULL;
	while (gone && !readers_gone(gone->stamp)) {
		last = gone;
		gone = gone->retired_next; /* retired before: if the later one has no readers, neither has this one */
	}
	if (last)
		last->retired_next = NULL;
	else
		atomic_store_explicit(&db->retired_views, NULL, memory_order_relaxed);
	return gone;
}

static void release_list(struct read_view *v)
{
	for (struct read_view *next; v; v = next) {
		next = v->retired_next;
		db_view_release(v);
	}
}

void db_view_drain(struct wombat *db)
{
	mutex_lock(&db->view_mu);
	struct read_view *gone = take_gone(db);
	mutex_unlock(&db->view_mu);
	release_list(gone);
}

void db_view_end(struct wombat *db)
{
	db_iter_drop_spares(db);
	release_list(atomic_load_explicit(&db->retired_views, memory_order_relaxed));
	db_view_release(atomic_load_explicit(&db->view, memory_order_relaxed));
}

enum wombat_status db_view_install_locked(struct wombat *db)
{
	size_t count = db->waiting_count + 1;
	struct read_view *v = mem_alloc(sizeof *v + count * sizeof v->memtables[0]);
	if (!v)
		return fail_no_memory();
	atomic_init(&v->refs, 1);
	v->version = version_set_current(db->versions);
	v->memtable_count = count;
	v->memtables[0] = memtable_ref(db->active.table);
	for (size_t i = 1; i < count; i++)
		v->memtables[i] = memtable_ref(db->waiting[db->waiting_count - i].table);
	mutex_lock(&db->view_mu);
	/* Sequentially consistent: see base/readers.h. */
	struct read_view *old = atomic_exchange_explicit(&db->view, v, memory_order_seq_cst);
	if (old) {
		old->stamp = readers_stamp();
		old->retired_next = atomic_load_explicit(&db->retired_views, memory_order_relaxed);
		atomic_store_explicit(&db->retired_views, old, memory_order_relaxed);
	}
	struct read_view *gone = take_gone(db);
	mutex_unlock(&db->view_mu);
	release_list(gone);
	db_iter_drop_spares(db);
	return WOMBAT_OK;
}

/* ---- Keys ---------------------------------------------------------------------------------- */

enum wombat_status db_key_init(struct db_key *k, unsigned keyspace, struct wombat_slice key)
{
	enum wombat_status s = keyspace_check(keyspace);
	if (s != WOMBAT_OK)
		return s;
	uint8_t *p = k->room;
	k->heap = NULL;
	if (key.size + 1 > sizeof k->room && !(p = k->heap = mem_alloc(key.size + 1)))
		return fail_no_memory();
	p[0] = (uint8_t)keyspace;
	if (key.size)
		memcpy(p + 1, key.data, key.size);
	k->slice = slice_make(p, key.size + 1);
	return WOMBAT_OK;
}

void db_key_done(struct db_key *k)
{
	mem_free(k->heap);
}

/* ---- Get ----------------------------------------------------------------------------------- */

enum wombat_status db_memtables_get(struct read_view *v, struct wombat_slice key, uint64_t sequence,
				    uint64_t *cover, uint64_t *out_tag, struct wombat_slice *out_value)
{
	for (size_t i = 0; i < v->memtable_count && !*cover; i++) {
		struct memtable *m = v->memtables[i];
		if (memtable_has_range_dels(m)) {
			struct range_fragments *f;
			enum wombat_status s = memtable_range_dels(m, &f);
			if (s != WOMBAT_OK)
				return s;
			*cover = range_fragments_cover(f, key, sequence);
			range_fragments_unref(f);
		}
		if (memtable_get(m, key, sequence, out_tag, out_value))
			return WOMBAT_OK;
	}
	return WOMBAT_NOT_FOUND;
}

enum wombat_status db_newest_change(struct wombat *db, struct read_view *v, struct wombat_slice key, uint64_t since,
				    uint64_t *out)
{
	uint64_t cover = 0, tag = 0;
	struct wombat_slice value;
	struct lru_pin pin = { NULL, NULL };
	struct version_get_counts counts = { 0 };
	enum wombat_status s = db_memtables_get(v, key, SEQUENCE_MAX, &cover, &tag, &value);
	if (s == WOMBAT_NOT_FOUND && !cover && v->version->flushed_sequence > since) {
		s = version_get(v->version, db->tables, key, SEQUENCE_MAX, 0, &cover, &tag, &value, &pin, &counts);
		lru_pin_release(&pin);
	}
	if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND)
		return s;
	*out = s == WOMBAT_OK && tag_sequence(tag) > cover ? tag_sequence(tag) : cover;
	return WOMBAT_OK;
}

static unsigned table_flags_of(const struct wombat_read_options *options)
{
	unsigned flags = options ? options->flags : 0;
	return (flags & WOMBAT_READ_CACHED ? TABLE_READ_CACHED : 0) | (flags & WOMBAT_READ_NO_FILL ? TABLE_READ_NO_FILL : 0);
}

enum wombat_status db_record_from_entry(struct wombat *db, struct read_view *view, uint64_t sequence,
					const struct wombat_read_options *options, uint64_t tag, struct wombat_slice value,
					uint64_t cover, struct wombat_record *out, struct record *out_elsewhere)
{
	bool meta_only = options && (options->flags & WOMBAT_READ_META);
	bool at_hand = options && (options->flags & WOMBAT_READ_AT_HAND);
	struct lru_pin pin = { 0 };
	if (tag_kind(tag) != KIND_PUT || tag_sequence(tag) < cover)
		return WOMBAT_NOT_FOUND;
	struct record r;
	enum wombat_status s = record_decode(value, &r);
	if (s != WOMBAT_OK)
		return s;
	if (r.expiry_ns && record_expired(r.expiry_ns, db->env->calls->now_ns(db->env)))
		return WOMBAT_NOT_FOUND;
	if (out_elsewhere)
		*out_elsewhere = r;
	else if ((r.elsewhere || r.in_extents) && !meta_only && !at_hand)
		s = db_value_read(db, view, sequence, &r, options, &pin, &r.value);
	if (s != WOMBAT_OK)
		return s;
	*out = (struct wombat_record){
		.value = meta_only ? (struct wombat_slice){ NULL, 0 } : r.value,
		.attr = r.attr,
		.value_size = record_value_size(&r),
		.stored_size = record_stored_size(&r),
		.time_ns = r.time_ns,
		.expiry_ns = r.expiry_ns,
		.sequence = tag_sequence(tag),
		.pin = { [3] = pin.handle, [4] = pin.owner },
	};
	return WOMBAT_OK;
}

static bool has_range_dels(const struct read_view *v)
{
	for (size_t i = 0; i < v->memtable_count; i++)
		if (memtable_has_range_dels(v->memtables[i]))
			return true;
	return false;
}

/* An entry, found in a section of reading. */
struct warm_entry {
	uint64_t sequence;       /* that was read as of */
	uint64_t tag;
	struct wombat_slice value;
	struct read_view *view;  /* held, if the entry is in a memtable or points elsewhere; else NULL */
	struct lru_pin pin;      /* of a block */
};

/* In the section. The view comes first, the sequence number second: see the head of this file. */
static enum wombat_status find_warm(struct wombat *db, const struct wombat_snapshot *snapshot, struct wombat_slice key,
				    struct table_warm_counts *counts, struct warm_entry *out)
{
	/* Sequentially consistent: see base/readers.h. */
	struct read_view *view = atomic_load_explicit(&db->view, memory_order_seq_cst);
	out->sequence = snapshot ? snapshot->sequence :
			atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	if (has_range_dels(view))
		return WOMBAT_WOULD_BLOCK;
	for (size_t i = 0; i < view->memtable_count; i++) {
		const struct memtable *m = view->memtables[i];
		/* What may be seen was counted before its number was published. */
		if (memtable_entries(m) && memtable_get(m, key, out->sequence, &out->tag, &out->value)) {
			out->view = db_view_ref(view);
			return WOMBAT_OK;
		}
	}
	enum wombat_status s = version_get_warm(view->version, key, out->sequence, counts, &out->tag, &out->value,
						&out->pin);
	if (s == WOMBAT_OK && !record_is_whole(out->value))
		out->view = db_view_ref(view);
	return s;
}

static void count_warm(struct wombat *db, const struct table_warm_counts *counts)
{
	if (!counts->tables)
		return;
	const struct table_options tables = { .block_cache = db->block_cache, .filter_cache = db->filter_cache,
					      .counts = &db->table_counts };
	table_cache_count_hits(db->tables, counts->tables);
	table_count_warm(&tables, counts);
	stats_add(db->stats, STAT_TABLES_READ, counts->tables);
}

/* The answer from what is in memory, without holding what is looked at. False: it takes get() to say. */
static bool get_warm(struct wombat *db, const struct wombat_read_options *options, struct wombat_slice key,
		     struct wombat_record *out, struct record *out_elsewhere, enum wombat_status *out_status)
{
	struct table_warm_counts counts = { 0 };
	struct warm_entry e = { 0 };
	if (!readers_enter())
		return false;
	enum wombat_status s = find_warm(db, options ? options->snapshot : NULL, key, &counts, &e);
	readers_leave();
	if (__builtin_expect(atomic_load_explicit(&db->retired_views, memory_order_relaxed) != NULL, 0))
		db_view_drain(db);
	if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND)
		return false;
	count_warm(db, &counts);
	if (s == WOMBAT_OK)
		s = db_record_from_entry(db, e.view, e.sequence, options, e.tag, e.value, 0, out, out_elsewhere);
	*out_status = s;
	if (s == WOMBAT_OK && !e.pin.handle) {
		out->pin[0] = e.view;
		return true;
	}
	if (s == WOMBAT_OK) {
		out->pin[1] = e.pin.handle;
		out->pin[2] = e.pin.owner;
	} else {
		lru_pin_release(&e.pin);
	}
	db_view_release(e.view);
	return true;
}

/* What a found record is pinned by, in wombat_record.pin: [0] a read view (memtables), [1] and [2] a block; beside one of
 * these [3] and [4] a value from the value log. */
static enum wombat_status get(struct wombat *db, const struct wombat_read_options *options, struct wombat_slice key,
			      struct wombat_record *out, struct record *out_elsewhere)
{
	struct read_view *view = db_view_acquire(db);
	/* Acquire: pairs with the leader's release; see the head of this file. */
	uint64_t sequence = options && options->snapshot ? options->snapshot->sequence :
			    atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	uint64_t cover = 0, tag;
	struct wombat_slice value;
	struct lru_pin pin = { NULL, NULL };
	enum wombat_status s = db_memtables_get(view, key, sequence, &cover, &tag, &value);
	if (s == WOMBAT_OK) {
		s = db_record_from_entry(db, view, sequence, options, tag, value, cover, out, out_elsewhere);
		if (s == WOMBAT_OK) {
			out->pin[0] = view;
			return s;
		}
	} else if (s == WOMBAT_NOT_FOUND && !cover) {
		struct version_get_counts counts = { 0 };
		s = version_get(view->version, db->tables, key, sequence, table_flags_of(options), &cover, &tag, &value,
				&pin, &counts);
		if (counts.tables)
			stats_add(db->stats, STAT_TABLES_READ, counts.tables);
		if (s == WOMBAT_OK)
			s = db_record_from_entry(db, view, sequence, options, tag, value, cover, out, out_elsewhere);
		if (s == WOMBAT_OK) {
			out->pin[1] = pin.handle;
			out->pin[2] = pin.owner;
		} else {
			lru_pin_release(&pin);
		}
	}
	db_view_release(view);
	return s;
}

enum wombat_status db_get(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
			  struct wombat_slice key, struct wombat_record *out_record, struct record *out_elsewhere)
{
	uint64_t begin = stats_begin(), slow = slow_begin(db);
	struct db_key k;
	enum wombat_status s = db_key_init(&k, keyspace, key);
	if (s != WOMBAT_OK)
		return s;
	if (!get_warm(db, options, k.slice, out_record, out_elsewhere, &s))
		s = get(db, options, k.slice, out_record, out_elsewhere);
	db_key_done(&k);
	stats_add(db->stats, STAT_GETS, 1);
	if (s == WOMBAT_OK)
		stats_add(db->stats, STAT_GETS_FOUND, 1);
	else if (s != WOMBAT_NOT_FOUND)
		stats_error(db->stats, s);
	stats_end(db->stats, LATENCY_GET, begin);
	if (slow)
		slow_end(db, slow, "get", keyspace, key, NULL);
	return s;
}

enum wombat_status wombat_get(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
			      struct wombat_slice key, struct wombat_record *out_record)
{
	return db_get(db, options, keyspace, key, out_record, NULL);
}

void wombat_record_release(struct wombat_record *r)
{
	db_view_release(r->pin[0]);
	struct lru_pin pin = { r->pin[1], r->pin[2] };
	lru_pin_release(&pin);
	pin = (struct lru_pin){ r->pin[3], r->pin[4] };
	lru_pin_release(&pin);
	memset(r->pin, 0, sizeof r->pin);
}

enum wombat_status wombat_get_copy(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
				   struct wombat_slice key, void **out_value, size_t *out_size)
{
	struct wombat_record r;
	enum wombat_status s = wombat_get(db, options, keyspace, key, &r);
	if (s != WOMBAT_OK)
		return s;
	char *copy = mem_alloc(r.value.size + 1);
	if (copy) {
		if (r.value.size)
			memcpy(copy, r.value.data, r.value.size);
		copy[r.value.size] = 0;
		*out_value = copy;
		if (out_size)
			*out_size = r.value.size;
	} else {
		s = fail_no_memory();
	}
	wombat_record_release(&r);
	return s;
}

/* ---- Prefixes ------------------------------------------------------------------------------ */

/* Whether anything, live or not, could have the prefix: false is certain. */
static enum wombat_status may_have_prefix(struct wombat *db, struct wombat_slice prefix, bool *out)
{
	struct read_view *view = db_view_acquire(db);
	enum wombat_status s = WOMBAT_OK;
	bool may = false;
	for (size_t i = 0; i < view->memtable_count && !may; i++)
		may = memtable_has_prefix(view->memtables[i], prefix);
	if (!may)
		s = version_may_have_prefix(view->version, db->tables, prefix, &may);
	db_view_release(view);
	if (s == WOMBAT_OK)
		*out = may;
	return s;
}

enum wombat_status wombat_prefix_exists(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
					struct wombat_slice prefix, bool *out_exists)
{
	struct db_key k;
	enum wombat_status s = db_key_init(&k, keyspace, prefix);
	if (s != WOMBAT_OK)
		return s;
	bool may = true;
	if (prefix.size && prefix.data[prefix.size - 1] == '/')
		s = may_have_prefix(db, k.slice, &may);
	db_key_done(&k);
	if (s != WOMBAT_OK)
		return s;
	if (!may) {
		*out_exists = false;
		return WOMBAT_OK;
	}
	struct wombat_iter_options iter_options = { .lower = prefix };
	if (options)
		iter_options.read = *options;
	iter_options.read.flags |= WOMBAT_READ_META;
	struct wombat_iter *it;
	s = wombat_iter_new(db, &iter_options, keyspace, &it);
	if (s != WOMBAT_OK)
		return s;
	bool found = wombat_iter_first(it) && slice_starts_with(wombat_iter_record(it)->key, prefix);
	s = wombat_iter_status(it);
	wombat_iter_free(it);
	if (s == WOMBAT_OK)
		*out_exists = found;
	return s;
}
