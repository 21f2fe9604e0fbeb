/* Survivors: see survivors.h. Slow on purpose: every rule is said once and directly. */
#include "tests/support/survivors.h"

#include <stdlib.h>

/* The first snapshot that sees the change; snapshot_count: none does. */
static size_t stripe_of(const struct survivor_rule *rule, const struct change *c)
{
	size_t i = 0;
	while (i < rule->snapshot_count && rule->snapshots[i] < c->sequence)
		i++;
	return i;
}

static bool covers(const struct change *c, struct wombat_slice key)
{
	return slice_compare(change_key(c), key) <= 0 && slice_compare(key, change_end(c)) < 0;
}

/* Whether `by` hides `c` from all that see both, which is all that see `c`. */
static bool hides(const struct survivor_rule *rule, const struct change *by, const struct change *c)
{
	size_t stripe = stripe_of(rule, c);
	if (by->sequence <= c->sequence || stripe == rule->snapshot_count || stripe_of(rule, by) != stripe)
		return false;
	return by->kind == KIND_DELETE_RANGE ? covers(by, change_key(c)) : slice_equal(change_key(by), change_key(c));
}

/* Whether keys from `begin` to `end`, which is one of them unless excluded, may lie in tables below. */
static bool lies_below(const struct survivor_rule *rule, struct wombat_slice begin, struct wombat_slice end, bool excluded)
{
	for (size_t i = 0; i < rule->below_count; i++) {
		/* Their texts have no keyspace byte. */
		struct wombat_slice from = WOMBAT_STR(rule->below[i].smallest), to = WOMBAT_STR(rule->below[i].largest);
		struct wombat_slice b = slice_make(begin.data + 1, begin.size - 1);
		struct wombat_slice e = slice_make(end.data + 1, end.size - 1);
		int order = slice_compare(from, e);
		if ((order < 0 || (order == 0 && !excluded)) && slice_compare(b, to) <= 0)
			return true;
	}
	return false;
}

/* What becomes of a point entry: false: it goes. */
static bool survives(const struct history *h, size_t first, size_t count, const struct change *c,
		     const struct survivor_rule *rule, enum ikey_kind *out_kind)
{
	for (size_t i = first; i < first + count; i++)
		if (hides(rule, &h->items[i], c))
			return false;
	bool expired = c->kind == KIND_PUT && c->expiry_ns && c->expiry_ns <= rule->now_ns;
	*out_kind = expired ? KIND_DELETE : c->kind;
	bool oldest = rule->snapshot_count && stripe_of(rule, c) == 0;
	return !(*out_kind == KIND_DELETE && oldest && rule->tombstones_may_go &&
		 !lies_below(rule, change_key(c), change_key(c), false));
}

/* Whether a range tombstone, or a piece of it from `begin` to `end`, has to stay. Tombstones are judged in pieces, cut
 * where any of them begins or ends. */
static bool range_stays(const struct change *c, const struct survivor_rule *rule, struct wombat_slice begin,
			struct wombat_slice end, bool excluded)
{
	bool oldest = rule->snapshot_count && c->sequence <= rule->snapshots[0];
	return !(oldest && rule->tombstones_may_go && !lies_below(rule, begin, end, excluded));
}

struct entry {
	const struct change *change;
	enum ikey_kind kind;
};

static int compare_entries(const void *a, const void *b)
{
	const struct change *x = ((const struct entry *)a)->change, *y = ((const struct entry *)b)->change;
	int order = slice_compare(change_key(x), change_key(y));
	return order ? order : (x->sequence < y->sequence) - (x->sequence > y->sequence);
}

/* In the order of tables; to be freed. */
static struct entry *expected(const struct history *h, size_t first, size_t count, const struct survivor_rule *rule,
			      size_t *out_count)
{
	struct entry *entries = malloc((count + 1) * sizeof *entries);
	assert_non_null(entries);
	*out_count = 0;
	for (size_t i = first; i < first + count; i++) {
		enum ikey_kind kind;
		const struct change *c = &h->items[i];
		if (c->kind != KIND_DELETE_RANGE && survives(h, first, count, c, rule, &kind))
			entries[(*out_count)++] = (struct entry){ c, kind };
	}
	qsort(entries, *out_count, sizeof *entries, compare_entries);
	return entries;
}

size_t survivors_count(const struct history *h, size_t first, size_t count, const struct survivor_rule *rule)
{
	size_t n;
	free(expected(h, first, count, rule, &n));
	return n;
}

static void compare_entry(const struct iter *it, const struct entry *e)
{
	uint8_t room[HISTORY_RECORD_MAX];
	assert_true(slice_equal(it->key, change_key(e->change)));
	assert_true(it->tag == tag_make(e->change->sequence, e->kind));
	if (e->kind == KIND_PUT)
		assert_true(slice_equal(it->value, history_record(e->change, room)));
	else
		assert_int_equal(it->value.size, 0);
}

/* The newest range tombstone over the key that a reader at `snapshot` sees, in all the tables. */
static uint64_t cover_found(struct versions *w, const struct version_edit *e, struct wombat_slice key, uint64_t snapshot)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < e->added_count; i++) {
		struct table *t;
		struct lru_handle *handle;
		assert_ok(file_meta_acquire(e->added[i].file, w->tables, &t, &handle));
		uint64_t cover = range_fragments_cover(table_range_dels(t), key, snapshot);
		newest = cover > newest ? cover : newest;
		table_cache_release(w->tables, handle);
	}
	return newest;
}

/* At least what must hide something at this very key, at most what does somewhere. */
static void compare_cover(const struct history *h, size_t first, size_t count, const struct survivor_rule *rule,
			  struct wombat_slice key, uint64_t snapshot, uint64_t found)
{
	uint64_t least = 0, most = 0;
	bool known = found == 0;
	for (size_t i = first; i < first + count; i++) {
		const struct change *c = &h->items[i];
		if (c->kind != KIND_DELETE_RANGE || c->sequence > snapshot || !covers(c, key))
			continue;
		if (range_stays(c, rule, key, key, false))
			least = c->sequence;
		if (range_stays(c, rule, change_key(c), change_end(c), true)) {
			most = c->sequence;
			known |= found == most;
		}
	}
	assert_true(known && least <= found && found <= most);
}

static void compare_ranges(struct versions *w, const struct version_edit *e, const struct history *h, size_t first,
			   size_t count, const struct survivor_rule *rule)
{
	for (unsigned n = 0; n <= h->keys; n++) {
		uint8_t bytes[HISTORY_KEY_MAX];
		struct wombat_slice key = slice_make(bytes, history_key(n, bytes));
		for (size_t s = 0; s <= rule->snapshot_count; s++) {
			uint64_t snapshot = s < rule->snapshot_count ? rule->snapshots[s] : SEQUENCE_MAX;
			compare_cover(h, first, count, rule, key, snapshot, cover_found(w, e, key, snapshot));
		}
	}
}

void survivors_compare(struct versions *w, const struct version_edit *e, const struct history *h, size_t first, size_t count,
		       const struct survivor_rule *rule)
{
	size_t n, at = 0;
	struct entry *entries = expected(h, first, count, rule, &n);
	for (size_t i = 0; i < e->added_count; i++) {
		struct iter *it;
		assert_ok(file_meta_iter_new(e->added[i].file, w->tables, 0, 0, &it));
		for (iter_first(it); it->valid; iter_next(it)) {
			assert_true(at < n);
			compare_entry(it, &entries[at++]);
		}
		assert_ok(it->status);
		iter_free(it);
	}
	assert_int_equal(at, n);
	free(entries);
	compare_ranges(w, e, h, first, count, rule);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

size_t survivors_snapshots(const struct history *h, struct random_state *r, uint64_t *out, size_t max)
{
	size_t n = 0, kept = 1;
	while (n < max)
		out[n++] = 1 + random_below(r, h->count);
	out[n++] = h->count;
	qsort(out, n, sizeof *out, compare_u64);
	for (size_t i = 1; i < n; i++)
		if (out[i] != out[kept - 1])
			out[kept++] = out[i];
	return kept;
}
