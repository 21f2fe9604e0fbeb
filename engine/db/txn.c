/*
 * Optimistic transactions: read a snapshot, keep changes to oneself, and at the commit see whether anybody changed what
 * matters since.
 *
 *     begin     a snapshot; no lock is held from here to the commit
 *     changes   go into a memtable of the transaction's own, numbered from OWN_FIRST on: above all that the database can
 *               have. Reads look there first; an iterator merges it with the rest and shows those numbers (db_iter.c)
 *     commit    the newest change of each key becomes one batch, which is written unless something conflicts
 *
 * What conflicts: a change, newer than the snapshot, of a key that the transaction changed, and for a serializable one
 * also of a key or range that it read. (H. T. Kung and J. T. Robinson, "On Optimistic Methods for Concurrency Control",
 * 1981: backward validation.) Of each key only the newest change must be known, and that is there: a snapshot keeps
 * whatever is newer than itself from being dropped, tombstones included, so it does not matter what was flushed or
 * compacted meanwhile. Tables are looked into only when they hold changes newer than what was checked before.
 *
 * The check is made twice. Once before the commit queues, over all since the snapshot, which may have to read tables; and
 * once by the leader of the write queue, behind whom nothing can come between check and write, over the few changes since
 * the first, which are in memory. Leaders take other transactions into their group after the same check, if nothing that
 * is in the group before it touches them; else it waits and leads the next.
 */
#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/db/db_impl.h"

#define OWN_FIRST (UINT64_C(1) << 55)

/* More ranges than these become one with the last, gaps between them included. */
enum { RANGES_MAX = 1000 };

/* With the keyspace byte; from the heap. */
struct read_range {
	struct buf lower, upper;
};

struct wombat_txn {
	struct wombat *db;
	struct wombat_snapshot *snapshot;
	bool serializable;
	struct memtable *own;
	uint64_t own_last;           /* number of the newest change; OWN_FIRST - 1: none */
	struct memtable *read_keys;  /* a set: what gets asked for; NULL unless serializable */
	uint64_t read_count;
	struct read_range *ranges;
	size_t range_count, range_capacity;
	enum wombat_status noting;   /* WOMBAT_NO_MEMORY: a range is missing among them */
	bool committed;
};

/* ---- Life ---------------------------------------------------------------------------------- */

enum wombat_status wombat_txn_begin(struct wombat *db, unsigned flags, struct wombat_txn **out_txn)
{
	if (flags & ~(unsigned)WOMBAT_SERIALIZABLE)
		return fail(WOMBAT_INVALID, "a transaction has no flags %#x", flags);
	struct wombat_txn *t = mem_zalloc(sizeof *t);
	if (!t)
		return fail_no_memory();
	t->db = db;
	t->serializable = flags & WOMBAT_SERIALIZABLE;
	t->own_last = OWN_FIRST - 1;
	enum wombat_status s = memtable_new(0, &t->own);
	if (s == WOMBAT_OK && t->serializable)
		s = memtable_new(0, &t->read_keys);
	if (s == WOMBAT_OK && !(t->snapshot = wombat_snapshot_new(db)))
		s = WOMBAT_NO_MEMORY;
	if (s != WOMBAT_OK) {
		wombat_txn_abandon(t);
		return s;
	}
	*out_txn = t;
	return WOMBAT_OK;
}

void wombat_txn_abandon(struct wombat_txn *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->range_count; i++) {
		buf_done(&t->ranges[i].lower);
		buf_done(&t->ranges[i].upper);
	}
	mem_free(t->ranges);
	memtable_unref(t->own);
	memtable_unref(t->read_keys);
	wombat_snapshot_release(t->db, t->snapshot);
	mem_free(t);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static enum wombat_status note_read(struct wombat_txn *t, struct wombat_slice key)
{
	uint64_t tag;
	struct wombat_slice value;
	if (!t->serializable || memtable_get(t->read_keys, key, SEQUENCE_MAX, &tag, &value))
		return WOMBAT_OK;
	return memtable_add(t->read_keys, key, tag_make(++t->read_count, KIND_DELETE), WOMBAT_STR(""), 0);
}

/* Makes the range reach from the lower of both beginnings to the higher of both ends. */
static enum wombat_status widen(struct read_range *r, struct wombat_slice lower, struct wombat_slice upper)
{
	enum wombat_status s = WOMBAT_OK;
	if (slice_compare(lower, buf_slice(&r->lower)) < 0)
		s = buf_set(&r->lower, lower);
	if (s == WOMBAT_OK && slice_compare(upper, buf_slice(&r->upper)) > 0)
		s = buf_set(&r->upper, upper);
	return s;
}

static enum wombat_status add_range(struct wombat_txn *t, struct wombat_slice lower, struct wombat_slice upper)
{
	struct read_range *last = t->range_count ? &t->ranges[t->range_count - 1] : NULL;
	bool touches = last && slice_compare(lower, buf_slice(&last->upper)) <= 0 &&
		       slice_compare(buf_slice(&last->lower), upper) <= 0;
	if (touches || t->range_count >= RANGES_MAX)
		return widen(last, lower, upper);
	struct read_range *ranges = array_reserve(t->ranges, t->range_count, &t->range_capacity, sizeof *ranges);
	if (!ranges)
		return fail_no_memory();
	t->ranges = ranges;
	struct read_range r = { .lower = { 0 } };
	enum wombat_status s = buf_set(&r.lower, lower);
	if (s == WOMBAT_OK)
		s = buf_set(&r.upper, upper);
	if (s != WOMBAT_OK) {
		buf_done(&r.lower);
		buf_done(&r.upper);
		return s;
	}
	t->ranges[t->range_count++] = r;
	return WOMBAT_OK;
}

/* An iterator passed over a range. What cannot be remembered makes the commit fail. */
static void note_range(void *arg, struct wombat_slice from, struct wombat_slice to, bool to_included)
{
	struct wombat_txn *t = arg;
	struct buf behind = { 0 };
	enum wombat_status s = WOMBAT_OK;
	if (to_included) {
		s = buf_set(&behind, to);
		if (s == WOMBAT_OK)
			s = buf_append_byte(&behind, 0); /* the next key in order */
		to = buf_slice(&behind);
	}
	if (s == WOMBAT_OK)
		s = add_range(t, from, to);
	buf_done(&behind);
	if (t->noting == WOMBAT_OK)
		t->noting = s;
}

/* True: the transaction itself changed the key last, and `*out_status` says what it finds. */
static bool get_own(struct wombat_txn *t, const struct wombat_read_options *options, struct wombat_slice key,
		    struct wombat_record *out, enum wombat_status *out_status)
{
	uint64_t tag;
	struct wombat_slice value;
	if (!memtable_get(t->own, key, SEQUENCE_MAX, &tag, &value))
		return false;
	*out_status = db_record_from_entry(t->db, NULL, 0, options, tag, value, 0, out, NULL);
	if (*out_status == WOMBAT_OK)
		out->sequence = 0;
	return true;
}

enum wombat_status wombat_txn_get(struct wombat_txn *t, unsigned keyspace, struct wombat_slice key, unsigned flags,
				  struct wombat_record *out_record)
{
	struct wombat_read_options options = { .snapshot = t->snapshot, .flags = flags };
	struct db_key k;
	enum wombat_status s = db_key_init(&k, keyspace, key);
	if (s != WOMBAT_OK)
		return s;
	if (!get_own(t, &options, k.slice, out_record, &s)) {
		s = note_read(t, k.slice);
		if (s == WOMBAT_OK)
			s = db_get(t->db, &options, keyspace, key, out_record, NULL);
	}
	db_key_done(&k);
	return s;
}

enum wombat_status wombat_txn_iter_new(struct wombat_txn *t, const struct wombat_iter_options *options, unsigned keyspace,
				       struct wombat_iter **out_iter)
{
	struct wombat_iter_options own = options ? *options : (struct wombat_iter_options){ .lower = { NULL, 0 } };
	own.read.snapshot = t->snapshot;
	enum wombat_status s = keyspace_check(keyspace);
	if (s != WOMBAT_OK)
		return s;
	const struct iter_own mine = {
		.changes = t->own_last >= OWN_FIRST ? t->own : NULL, .first = OWN_FIRST, .last = t->own_last,
		.passed = t->serializable ? note_range : NULL, .arg = t,
	};
	return db_iter_new(t->db, &own, keyspace, &mine, out_iter);
}

enum wombat_status wombat_txn_prefix_exists(struct wombat_txn *t, unsigned keyspace, struct wombat_slice prefix, unsigned flags,
					    bool *out_exists)
{
	const struct wombat_iter_options options = { .read.flags = flags | WOMBAT_READ_META, .lower = prefix };
	struct wombat_iter *it;
	enum wombat_status s = wombat_txn_iter_new(t, &options, keyspace, &it);
	if (s != WOMBAT_OK)
		return s;
	bool found = wombat_iter_first(it) && slice_starts_with(wombat_iter_record(it)->key, prefix);
	s = wombat_iter_status(it);
	wombat_iter_free(it);
	if (s == WOMBAT_OK)
		*out_exists = found;
	return s;
}

enum wombat_status wombat_txn_list_new(struct wombat_txn *t, unsigned keyspace, struct wombat_slice prefix,
				       struct wombat_list **out_list)
{
	return db_list_new(t->db, t, NULL, keyspace, prefix, out_list);
}

enum wombat_status wombat_txn_value_open(struct wombat_txn *t, unsigned keyspace, struct wombat_slice key,
					 struct wombat_value **out_value)
{
	const struct wombat_read_options options = { .snapshot = t->snapshot };
	struct wombat_record own;
	struct db_key k;
	enum wombat_status s = db_key_init(&k, keyspace, key);
	if (s != WOMBAT_OK)
		return s;
	if (get_own(t, &options, k.slice, &own, &s)) {
		if (s == WOMBAT_OK)
			s = value_of_record(t->db, &own, out_value);
	} else {
		s = note_read(t, k.slice);
		if (s == WOMBAT_OK)
			s = wombat_value_open(t->db, &options, keyspace, key, out_value);
	}
	db_key_done(&k);
	return s;
}

/* ---- Changing ------------------------------------------------------------------------------ */

static enum wombat_status change(struct wombat_txn *t, enum ikey_kind kind, unsigned keyspace, struct wombat_slice key,
				 struct wombat_slice encoded)
{
	struct db_key k;
	if (t->committed)
		return fail(WOMBAT_INVALID, "the transaction is committed: no change can come to it");
	enum wombat_status s = db_check_limits(t->db, key.size, 0, 0);
	if (s == WOMBAT_OK)
		s = db_key_init(&k, keyspace, key);
	if (s != WOMBAT_OK)
		return s;
	s = memtable_add(t->own, k.slice, tag_make(t->own_last + 1, kind), encoded, t->db->env->calls->now_ns(t->db->env));
	db_key_done(&k);
	if (s == WOMBAT_OK)
		t->own_last++;
	return s;
}

enum wombat_status wombat_txn_put(struct wombat_txn *t, unsigned keyspace, struct wombat_slice key,
				  struct wombat_slice value, const struct wombat_put_info *info)
{
	struct record r = { .value = value };
	if (info) {
		r.time_ns = info->time_ns;
		r.expiry_ns = info->expiry_ns;
		r.attr = info->attr;
	}
	enum wombat_status s = db_check_limits(t->db, key.size, value.size, r.attr.size);
	if (s != WOMBAT_OK)
		return s;
	size_t size = record_encoded_size(&r);
	uint8_t room[512], *encoded = size > sizeof room ? mem_alloc(size) : room;
	if (!encoded)
		return fail_no_memory();
	record_encode(encoded, &r);
	s = change(t, KIND_PUT, keyspace, key, slice_make(encoded, size));
	if (encoded != room)
		mem_free(encoded);
	return s;
}

enum wombat_status wombat_txn_delete(struct wombat_txn *t, unsigned keyspace, struct wombat_slice key)
{
	return change(t, KIND_DELETE, keyspace, key, WOMBAT_STR(""));
}

/* ---- Conflicts ----------------------------------------------------------------------------- */

/* fail(WOMBAT_CONFLICT): the key in printable form, whatever its bytes. */
static enum wombat_status conflict(struct wombat_slice key)
{
	char text[KEY_TEXT];
	key_text(slice_make(key.data + 1, key.size - 1), text);
	return fail(WOMBAT_CONFLICT, "the transaction conflicts with a newer change of key \"%s\" in keyspace %u", text,
		    key.data[0]);
}

/* What is checked against: a view, and the number behind which a change is new. */
struct checking {
	struct wombat *db;
	struct read_view *view;
	uint64_t since;
};

static bool tables_have_new(const struct checking *c)
{
	return c->view->version->flushed_sequence > c->since;
}

/* Fails for the first key of the set of which there is a new change. */
static enum wombat_status check_keys(const struct checking *c, struct memtable *keys)
{
	struct iter *it;
	enum wombat_status s = memtable_iter_new(keys, &it);
	if (s != WOMBAT_OK)
		return s;
	for (iter_first(it); it->valid && s == WOMBAT_OK; iter_next(it)) {
		uint64_t newest;
		s = db_newest_change(c->db, c->view, it->key, c->since, &newest);
		if (s == WOMBAT_OK && newest > c->since)
			s = conflict(it->key);
	}
	if (s == WOMBAT_OK)
		s = it->status;
	iter_free(it);
	return s;
}

/* Fails for the first new entry between the bounds. */
static enum wombat_status check_entries(const struct checking *c, struct iter *it, const struct read_range *r)
{
	for (iter_seek(it, buf_slice(&r->lower), TAG_MAX); it->valid; iter_next(it)) {
		if (slice_compare(it->key, buf_slice(&r->upper)) >= 0)
			break;
		if (tag_sequence(it->tag) > c->since)
			return conflict(it->key);
	}
	return it->status;
}

static enum wombat_status check_range_dels(const struct checking *c, const struct read_range *r)
{
	struct wombat_slice lower = buf_slice(&r->lower), upper = buf_slice(&r->upper);
	struct range_del_set set;
	range_del_set_init(&set);
	enum wombat_status s = db_collect_ranges(c->db, c->view, lower, upper, &set);
	for (size_t i = 0; i < set.count && s == WOMBAT_OK; i++)
		if (set.items[i].sequence > c->since)
			s = conflict(slice_compare(set.items[i].begin, lower) > 0 ? set.items[i].begin : lower);
	range_del_set_done(&set);
	return s;
}

static enum wombat_status check_range(const struct checking *c, const struct read_range *r)
{
	struct wombat_slice lower = buf_slice(&r->lower), upper = buf_slice(&r->upper);
	size_t count = 0, max = version_iter_max(c->view->version);
	struct iter **children = mem_alloc((c->view->memtable_count + max) * sizeof *children);
	if (!children)
		return fail_no_memory();
	enum wombat_status s = check_range_dels(c, r);
	for (size_t i = 0; i < c->view->memtable_count && s == WOMBAT_OK; i++) {
		s = memtable_iter_new(c->view->memtables[i], &children[count]);
		count += s == WOMBAT_OK;
	}
	if (s == WOMBAT_OK && tables_have_new(c))
		s = version_add_iters(c->view->version, c->db->tables, lower, upper, 0, 0, children, &count);
	for (size_t i = 0; i < count; i++) {
		if (s == WOMBAT_OK)
			s = check_entries(c, children[i], r);
		iter_free(children[i]);
	}
	mem_free(children);
	return s;
}

/* Fails when anything newer than `since` matters to the transaction. */
static enum wombat_status check(struct wombat_txn *t, uint64_t since)
{
	struct checking c = { t->db, db_view_acquire(t->db), since };
	enum wombat_status s = check_keys(&c, t->own);
	if (s == WOMBAT_OK && t->serializable)
		s = check_keys(&c, t->read_keys);
	for (size_t i = 0; i < t->range_count && s == WOMBAT_OK; i++)
		s = check_range(&c, &t->ranges[i]);
	db_view_release(c.view);
	return s;
}

/* ---- In the write queue -------------------------------------------------------------------- */

struct txn_guard {
	struct write_guard guard;
	struct wombat_txn *txn;
	uint64_t since;
};

static enum wombat_status guard_check(const struct write_guard *guard)
{
	const struct txn_guard *g = (const struct txn_guard *)guard;
	return check(g->txn, g->since);
}

static bool has_key(struct wombat_txn *t, struct wombat_slice key)
{
	uint64_t tag;
	struct wombat_slice value;
	if (memtable_get(t->own, key, SEQUENCE_MAX, &tag, &value) ||
	    (t->serializable && memtable_get(t->read_keys, key, SEQUENCE_MAX, &tag, &value)))
		return true;
	for (size_t i = 0; i < t->range_count; i++)
		if (slice_compare(buf_slice(&t->ranges[i].lower), key) <= 0 &&
		    slice_compare(key, buf_slice(&t->ranges[i].upper)) < 0)
			return true;
	return false;
}

/* In doubt, yes: it only means to wait for the next group. */
static bool guard_touched(const struct write_guard *guard, struct wombat_slice body)
{
	struct wombat_txn *t = ((const struct txn_guard *)guard)->txn;
	struct cursor c = cursor_of(body);
	while (cursor_left(&c) > 0) {
		struct batch_change change;
		struct db_key k;
		if (write_batch_next(&c, &change) != WOMBAT_OK || change.kind == KIND_DELETE_RANGE ||
		    db_key_init(&k, change.keyspace, change.key) != WOMBAT_OK)
			return true;
		bool touched = has_key(t, k.slice);
		db_key_done(&k);
		if (touched)
			return true;
	}
	return false;
}

/* ---- Commit -------------------------------------------------------------------------------- */

static enum wombat_status add_change(struct wombat_batch *batch, struct wombat_slice key, uint64_t tag,
				     struct wombat_slice value)
{
	struct wombat_slice user = slice_make(key.data + 1, key.size - 1);
	if (tag_kind(tag) == KIND_DELETE)
		return wombat_batch_delete(batch, key.data[0], user);
	struct record r;
	enum wombat_status s = record_decode(value, &r);
	if (s != WOMBAT_OK)
		return s;
	/* Lent: the value stays in the transaction's memtable until the batch was written. */
	struct wombat_put_info info = { .time_ns = r.time_ns, .expiry_ns = r.expiry_ns, .attr = r.attr, .borrow = true };
	return wombat_batch_put(batch, key.data[0], user, r.value, &info);
}

/* The newest change of each key. */
static enum wombat_status gather(struct wombat_txn *t, struct wombat_batch *batch)
{
	struct iter *it;
	struct buf last = { 0 };
	enum wombat_status s = memtable_iter_new(t->own, &it);
	if (s != WOMBAT_OK)
		return s;
	for (iter_first(it); it->valid && s == WOMBAT_OK; iter_next(it)) {
		if (wombat_batch_count(batch) && slice_equal(it->key, buf_slice(&last)))
			continue;
		s = add_change(batch, it->key, it->tag, it->value);
		if (s == WOMBAT_OK)
			s = buf_set(&last, it->key);
	}
	if (s == WOMBAT_OK)
		s = it->status;
	iter_free(it);
	buf_done(&last);
	return s;
}

static enum wombat_status write_changes(struct wombat_txn *t, unsigned flags, uint64_t *out_sequence)
{
	struct wombat_batch *batch = wombat_batch_new();
	if (!batch)
		return fail_no_memory();
	struct txn_guard guard = {
		.guard = { guard_check, guard_touched },
		.txn = t,
		/* Before the view that is checked: all up to it is in there. */
		.since = atomic_load_explicit(&t->db->visible_sequence, memory_order_acquire),
	};
	enum wombat_status s = t->noting == WOMBAT_OK ? check(t, t->snapshot->sequence) : fail_no_memory();
	stats_error(t->db->stats, s); /* that of the leader's check is counted there */
	if (s == WOMBAT_OK)
		s = gather(t, batch);
	if (s == WOMBAT_OK)
		s = db_write_guarded(t->db, batch, flags, &guard.guard, out_sequence);
	wombat_batch_free(batch);
	return s;
}

enum wombat_status wombat_txn_try(struct wombat_txn *t, unsigned flags, uint64_t *out_sequence)
{
	enum wombat_status s = WOMBAT_OK;
	if (t->committed)
		return fail(WOMBAT_INVALID, "the transaction is committed already");
	if (t->own_last >= OWN_FIRST)
		s = write_changes(t, flags, out_sequence);
	else if (out_sequence) /* What was only read was read as of then. */
		*out_sequence = t->snapshot->sequence;
	if (s == WOMBAT_OK)
		stats_add(t->db->stats, STAT_TXN_COMMITS, 1);
	else if (s == WOMBAT_CONFLICT)
		stats_add(t->db->stats, STAT_TXN_CONFLICTS, 1);
	t->committed = s == WOMBAT_OK;
	return s;
}

enum wombat_status wombat_txn_commit(struct wombat_txn *t, unsigned flags, uint64_t *out_sequence)
{
	enum wombat_status s = wombat_txn_try(t, flags, out_sequence);
	wombat_txn_abandon(t);
	return s;
}
