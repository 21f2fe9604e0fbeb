/*
 * Estimates of a range: of each table the share of its bytes that lies in the range, by the index; of each memtable by the
 * paths to both ends. Values in the value log are shared out alike.
 */
#include "engine/db/db_impl.h"

struct estimate {
	struct wombat *db;
	struct wombat_slice from, to; /* with the keyspace byte */
	double entries, deletes, bytes;
};

static double share_between(double from, double to)
{
	return to > from ? to - from : 0;
}

static void add_memtable(struct estimate *e, const struct memtable *m)
{
	double share = share_between(memtable_share_before(m, e->from), memtable_share_before(m, e->to));
	e->entries += share * (double)memtable_entries(m);
	e->deletes += share * (double)memtable_deletes(m);
	if (memtable_entries(m))
		e->bytes += share * (double)memtable_bytes(m);
}

/* Of the table's data, by the offsets of both ends. */
static enum wombat_status table_share(struct estimate *e, struct file_meta *f, double *out)
{
	struct table *table;
	struct lru_handle *handle;
	enum wombat_status s = file_meta_acquire(f, e->db->tables, &table, &handle);
	if (s != WOMBAT_OK)
		return s;
	double all = (double)table_offset_of(table, WOMBAT_SLICE("\xff", 1));
	double from = (double)table_offset_of(table, e->from), to = (double)table_offset_of(table, e->to);
	*out = all > 0 ? share_between(from / all, to / all) : 0;
	table_cache_release(e->db->tables, handle);
	return WOMBAT_OK;
}

static enum wombat_status add_table(struct estimate *e, struct file_meta *f)
{
	const struct table_summary *t = &f->summary;
	bool inside = slice_compare(e->from, buf_slice(&t->smallest)) <= 0 &&
		      slice_compare(buf_slice(&t->largest), e->to) < 0;
	double share = 1, bytes = (double)t->file_bytes;
	enum wombat_status s = inside ? WOMBAT_OK : table_share(e, f, &share);
	for (size_t i = 0; i < t->values.count; i++)
		bytes += (double)t->values.items[i].bytes;
	if (s == WOMBAT_OK) {
		e->entries += share * (double)t->entries;
		e->deletes += share * (double)t->deletes;
		e->bytes += share * bytes;
	}
	return s;
}

static enum wombat_status add_all(struct estimate *e, struct read_view *view)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < view->memtable_count; i++)
		add_memtable(e, view->memtables[i]);
	for (unsigned level = 0; level < view->version->level_count; level++) {
		const struct file_list *list = &view->version->levels[level];
		for (size_t i = 0; i < list->count && s == WOMBAT_OK; i++)
			if (file_meta_overlaps(list->files[i], e->from, e->to))
				s = add_table(e, list->files[i]);
	}
	return s;
}

enum wombat_status wombat_estimate(struct wombat *db, unsigned keyspace, struct wombat_slice from, struct wombat_slice to,
				   uint64_t *out_keys, uint64_t *out_bytes)
{
	struct wombat_iter_options range = { .lower = from, .upper = to };
	struct buf lower = { 0 }, upper = { 0 };
	if (keyspace < 1 || keyspace > WOMBAT_KEYSPACE_MAX)
		return fail(WOMBAT_INVALID, "keyspace %u is outside 1..%d", keyspace, WOMBAT_KEYSPACE_MAX);
	enum wombat_status s = db_iter_bounds(keyspace, &range, &lower, &upper);
	if (s == WOMBAT_OK) {
		struct estimate e = { .db = db, .from = buf_slice(&lower), .to = buf_slice(&upper) };
		struct read_view *view = db_view_acquire(db);
		s = add_all(&e, view);
		db_view_release(view);
		/* A tombstone is an entry, and deletes another one. */
		double keys = e.entries > 2 * e.deletes ? e.entries - 2 * e.deletes : 0;
		if (s == WOMBAT_OK && out_keys)
			*out_keys = (uint64_t)(keys + 0.5);
		if (s == WOMBAT_OK && out_bytes)
			*out_bytes = (uint64_t)(e.bytes + 0.5);
	}
	buf_done(&lower);
	buf_done(&upper);
	return s;
}
