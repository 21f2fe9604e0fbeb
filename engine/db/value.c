/*
 * Values that are opened to be read in parts, or to be put under another key without being read at all: then two keys
 * point to the same bytes of the value log, which each counts as its own.
 */
#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"

struct wombat_value {
	struct wombat_record record;
	struct vlog_value *elsewhere; /* NULL: the record has it */
};

enum wombat_status wombat_value_open(struct wombat *db, const struct wombat_read_options *options, unsigned keyspace,
				     struct wombat_slice key, struct wombat_value **out_value)
{
	struct record r;
	struct wombat_value *value = mem_zalloc(sizeof *value);
	if (!value)
		return fail_no_memory();
	/* Held until the file is pinned: the record alone does not keep it. */
	struct read_view *view = db_view_acquire(db);
	enum wombat_status s = db_get(db, options, keyspace, key, &value->record, &r);
	if (s == WOMBAT_OK && r.elsewhere) {
		s = vlog_value_open(db->values, &r.pointer, &value->elsewhere);
		if (s != WOMBAT_OK)
			wombat_record_release(&value->record);
	}
	db_view_release(view);
	if (s != WOMBAT_OK) {
		mem_free(value);
		return s;
	}
	*out_value = value;
	return WOMBAT_OK;
}

const struct wombat_record *wombat_value_record(const struct wombat_value *value)
{
	return &value->record;
}

enum wombat_status wombat_value_read(struct wombat_value *value, uint64_t offset, void *out, size_t size, size_t *out_read)
{
	uint64_t total = value->record.value_size;
	size_t left = offset >= total ? 0 : total - offset < size ? (size_t)(total - offset) : size;
	enum wombat_status s = WOMBAT_OK;
	if (left && value->elsewhere)
		s = vlog_value_read(value->elsewhere, offset, left, out);
	else if (left)
		memcpy(out, value->record.value.data + offset, left);
	if (s == WOMBAT_OK)
		*out_read = left;
	return s;
}

void wombat_value_close(struct wombat_value *value)
{
	if (!value)
		return;
	vlog_value_close(value->elsewhere);
	wombat_record_release(&value->record);
	mem_free(value);
}

enum wombat_status wombat_batch_put_value(struct wombat_batch *batch, unsigned keyspace, struct wombat_slice key,
					  struct wombat_value *value, const struct wombat_put_info *info)
{
	if (!value->elsewhere)
		return wombat_batch_put(batch, keyspace, key, value->record.value, info);
	struct record r = { .elsewhere = true, .pointer = *vlog_value_pointer(value->elsewhere) };
	return write_batch_put_shared(batch, keyspace, key, &r, info);
}
