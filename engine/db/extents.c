/* Extents in the tree: their keys, walking over them, reading a value from them. See extents.h. */
#include "engine/db/extents.h"

#include "engine/base/alloc.h"
#include "engine/base/array.h"

enum {
	KNOWN_EXTENTS = 256,       /* of a reader at a time */
	KNOWN_BYTES = 1 << 20,     /* of what is inline among them */
	READ_AHEAD = 8 << 20,
	READ_AHEAD_MIN = 32 << 10, /* smaller reads come from whoever looks here and there */
};
static const uint64_t FETCH_MAX = UINT64_C(4) << 30; /* more is not a value to be held in memory */

static void put_big_endian(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_big_endian(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

struct extent_key extent_key_make(uint64_t id, uint64_t end)
{
	struct extent_key k = { { 'E' } };
	put_big_endian(k.bytes + 1, id);
	put_big_endian(k.bytes + 9, end);
	return k;
}

uint64_t extent_key_id(struct wombat_slice key)
{
	return get_big_endian(key.data + 1);
}

enum wombat_status owner_key_make(uint64_t id, struct wombat_slice key, struct buf *out)
{
	uint8_t head[OWNER_KEY_HEAD] = { 'O' };
	put_big_endian(head + 1, id);
	buf_clear(out);
	enum wombat_status s = buf_append(out, head, sizeof head);
	return s == WOMBAT_OK ? buf_append(out, key.data, key.size) : s;
}

uint64_t extents_new_id(struct wombat *db)
{
	/* By the clock, so that an id of before the last crash does not come back; relaxed, nothing else depends on it. */
	uint64_t now = db->env->calls->now_ns(db->env), last = atomic_load_explicit(&db->last_extents_id, memory_order_relaxed);
	uint64_t id;
	do
		id = now > last ? now : last + 1;
	while (!atomic_compare_exchange_weak_explicit(&db->last_extents_id, &last, id, memory_order_relaxed,
						      memory_order_relaxed));
	return id;
}

/* ---- Walking ------------------------------------------------------------------------------- */

enum wombat_status extents_each(const struct extents_at *at, uint64_t from, uint64_t to,
				enum wombat_status (*each)(void *arg, uint64_t offset, const struct record *r), void *arg)
{
	if (from >= to)
		return WOMBAT_OK;
	struct extent_key lower = extent_key_make(at->id, from + 1), upper = extent_key_make(at->id + 1, 0);
	struct wombat_iter_options options = {
		.read = { .flags = WOMBAT_READ_META }, .lower = extent_key_slice(&lower), .upper = extent_key_slice(&upper),
	};
	struct wombat_iter *it;
	enum wombat_status s = db_iter_new_at(at->db, at->view, at->sequence, &options, EXTENTS_KEYSPACE, &it);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(it); more && s == WOMBAT_OK; more = s == WOMBAT_OK && wombat_iter_next(it)) {
		struct wombat_slice key = wombat_iter_record(it)->key;
		struct record r;
		s = record_decode(db_iter_entry(it), &r);
		if (s != WOMBAT_OK)
			break;
		uint64_t size = record_value_size(&r);
		uint64_t end = key.size == EXTENT_KEY_SIZE ? get_big_endian(key.data + 9) : 0;
		if (r.in_extents || size == 0 || size > end) {
			s = fail(WOMBAT_CORRUPTION, "an extent of %llu bytes that ends at %llu makes no sense",
				 (unsigned long long)size, (unsigned long long)end);
			break;
		}
		if (end - size >= to)
			break;
		s = each(arg, end - size, &r);
	}
	if (s == WOMBAT_OK)
		s = wombat_iter_status(it);
	wombat_iter_free(it);
	return s;
}

/* ---- Reading ------------------------------------------------------------------------------- */

enum wombat_status extent_read(struct vlog *values, struct extent *e, uint64_t offset, size_t size, void *out)
{
	uint64_t skip = offset - e->at;
	switch (e->kind) {
	case EXTENT_HOLE:
		memset(out, 0, size);
		break;
	case EXTENT_BYTES:
		memcpy(out, e->bytes.data + skip, size);
		break;
	case EXTENT_VALUE:
		if (!e->open) {
			enum wombat_status s = vlog_value_open(values, &e->pointer, &e->open);
			if (s != WOMBAT_OK)
				return s;
		}
		return vlog_value_read(e->open, e->part_at + skip, size, out);
	}
	return WOMBAT_OK;
}

void extent_reader_init(struct extent_reader *r, const struct extents_at *at)
{
	*r = (struct extent_reader){ .at = *at };
}

static void forget(struct extent_reader *r)
{
	extent_map_clear(&r->known);
	for (size_t i = 0; i < r->file_count; i++)
		vlog_unpin(r->at.db->values, r->files[i]);
	r->file_count = 0;
	r->known_from = r->known_to = 0;
}

void extent_reader_done(struct extent_reader *r)
{
	forget(r);
	mem_free(r->files);
	r->files = NULL;
}

/* Between two reads a collection may write the value elsewhere; the one that was pointed to stays while it is pinned. */
static enum wombat_status pin_file(struct extent_reader *r, uint64_t file)
{
	for (size_t i = r->file_count; i-- > 0;)
		if (r->files[i] == file)
			return WOMBAT_OK;
	uint64_t *files = array_reserve(r->files, r->file_count, &r->file_capacity, sizeof *files);
	if (!files)
		return fail_no_memory();
	r->files = files;
	if (!vlog_pin(r->at.db->values, file))
		return fail(WOMBAT_CORRUPTION, "value log file %06llu is missing", (unsigned long long)file);
	r->files[r->file_count++] = file;
	return WOMBAT_OK;
}

static enum wombat_status learn(void *arg, uint64_t offset, const struct record *record)
{
	struct extent_reader *r = arg;
	if (r->known.count >= KNOWN_EXTENTS || r->known.bytes >= KNOWN_BYTES) {
		r->known_to = offset;
		return WOMBAT_BUSY; /* enough */
	}
	uint64_t size = record_value_size(record);
	enum wombat_status s = record->elsewhere ? pin_file(r, record->pointer.file) : WOMBAT_OK;
	if (s != WOMBAT_OK)
		return s;
	struct extent *e = extent_map_add(&r->known, offset, size, record->elsewhere ? EXTENT_VALUE : EXTENT_BYTES);
	if (!e)
		return fail_no_memory();
	e->pointer = record->pointer;
	e->part_at = record->elsewhere && record->part ? record->part_at : 0;
	return record->elsewhere ? WOMBAT_OK : buf_append(&e->bytes, record->value.data, record->value.size);
}

/* Makes known what is at `offset`. */
static enum wombat_status look_at(struct extent_reader *r, uint64_t offset)
{
	if (offset >= r->known_from && offset < r->known_to)
		return WOMBAT_OK;
	forget(r);
	r->known_to = UINT64_MAX;
	enum wombat_status s = extents_each(&r->at, offset, UINT64_MAX, learn, r);
	if (s == WOMBAT_BUSY)
		s = WOMBAT_OK;
	r->known_from = offset;
	if (s != WOMBAT_OK)
		forget(r);
	return s;
}

/* A read that goes on where the last one ended is followed by more: the disk is told of those that are known. */
static void read_ahead(struct extent_reader *r, uint64_t offset, uint64_t end)
{
	bool goes_on = r->next == offset;
	r->next = end;
	if (!goes_on)
		r->ahead = 0;
	if (!goes_on || r->ahead >= end + READ_AHEAD / 2)
		return;
	const struct extent *e = extent_map_find(&r->known, r->ahead > end ? r->ahead : end);
	for (; e && e->at < end + READ_AHEAD; e = extent_map_next(&r->known, e)) {
		uint64_t skip = end > e->at ? end - e->at : 0;
		if (e->kind == EXTENT_VALUE)
			vlog_prefetch(r->at.db->values, e->pointer.file, e->pointer.offset + e->part_at + skip, e->size - skip);
		r->ahead = extent_end(e);
	}
}

enum wombat_status extent_reader_read(struct extent_reader *r, uint64_t offset, size_t size, void *out)
{
	uint8_t *p = out;
	if (size >= READ_AHEAD_MIN)
		read_ahead(r, offset, offset + size);
	while (size) {
		enum wombat_status s = look_at(r, offset);
		if (s != WOMBAT_OK)
			return s;
		struct extent *e = extent_map_find(&r->known, offset);
		bool inside = e && e->at <= offset;
		uint64_t end = inside ? extent_end(e) : e ? e->at : r->known_to;
		size_t part = end - offset < size ? (size_t)(end - offset) : size;
		if (inside)
			s = extent_read(r->at.db->values, e, offset, part, p);
		else
			memset(p, 0, part);
		if (s != WOMBAT_OK)
			return s;
		offset += part;
		size -= part;
		p += part;
	}
	return WOMBAT_OK;
}

enum wombat_status extent_reader_next(struct extent_reader *r, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	for (;;) {
		enum wombat_status s = look_at(r, offset);
		if (s != WOMBAT_OK)
			return s;
		struct extent *e = extent_map_find(&r->known, offset);
		if (e) {
			*out_from = e->at > offset ? e->at : offset;
			*out_to = extent_end(e);
			return WOMBAT_OK;
		}
		if (r->known_to == UINT64_MAX)
			return WOMBAT_NOT_FOUND;
		offset = r->known_to;
	}
}

/* ---- Whole --------------------------------------------------------------------------------- */

struct fetch {
	struct vlog *values;
	uint8_t *memory;
	uint64_t size;
};

static enum wombat_status fetch_one(void *arg, uint64_t offset, const struct record *r)
{
	struct fetch *f = arg;
	uint64_t size = record_value_size(r);
	if (offset >= f->size)
		return WOMBAT_OK;
	if (size > f->size - offset)
		size = f->size - offset;
	if (!r->elsewhere) {
		memcpy(f->memory + offset, r->value.data, (size_t)size);
		return WOMBAT_OK;
	}
	struct vlog_value *value;
	enum wombat_status s = vlog_value_open(f->values, &r->pointer, &value);
	if (s != WOMBAT_OK)
		return s;
	s = vlog_value_read(value, r->part ? r->part_at : 0, (size_t)size, f->memory + offset);
	vlog_value_close(value);
	return s;
}

enum wombat_status extents_fetch(const struct extents_at *at, uint64_t size, struct lru_pin *pin, struct wombat_slice *out)
{
	if (size > FETCH_MAX)
		return fail(WOMBAT_TOO_BIG, "a value of %llu bytes is not read as a whole, but in parts", (unsigned long long)size);
	/* Zeroed: of holes nothing is written, nor needs memory be there. */
	struct fetch f = { at->db->values, mem_zalloc((size_t)size + (size == 0)), size };
	if (!f.memory)
		return fail_no_memory();
	enum wombat_status s = extents_each(at, 0, size, fetch_one, &f);
	if (s != WOMBAT_OK) {
		mem_free(f.memory);
		return s;
	}
	*pin = (struct lru_pin){ f.memory, NULL };
	*out = slice_make(f.memory, (size_t)size);
	return WOMBAT_OK;
}

/* ---- Writing ------------------------------------------------------------------------------- */

static enum wombat_status place_put(struct placed_batch *out, struct wombat_slice key, const struct record *r)
{
	enum wombat_status s = write_batch_add_put(&out->body, EXTENTS_KEYSPACE, key, r);
	out->changes += s == WOMBAT_OK;
	return s;
}

enum wombat_status extents_place(struct wombat *db, struct placed_batch *out, uint64_t id, uint64_t end,
				 const struct record *r)
{
	struct extent_key key = extent_key_make(id, end);
	enum wombat_status s = r->elsewhere ? db_place_share(db, r->pointer.file, out) : WOMBAT_OK;
	return s == WOMBAT_OK ? place_put(out, extent_key_slice(&key), r) : s;
}

enum wombat_status extents_place_delete(struct placed_batch *out, uint64_t id, uint64_t end)
{
	struct extent_key key = extent_key_make(id, end);
	enum wombat_status s = write_batch_add_delete(&out->body, EXTENTS_KEYSPACE, extent_key_slice(&key));
	out->changes += s == WOMBAT_OK;
	return s;
}

enum wombat_status extents_place_delete_range(struct placed_batch *out, uint64_t id, uint64_t from, uint64_t to)
{
	/* Ends are keys, and the end of a range of keys is not in it. */
	struct extent_key lower = extent_key_make(id, from + 1);
	struct extent_key upper = to == UINT64_MAX ? extent_key_make(id + 1, 0) : extent_key_make(id, to + 1);
	enum wombat_status s = write_batch_add_delete_range(&out->body, EXTENTS_KEYSPACE, extent_key_slice(&lower),
							    extent_key_slice(&upper));
	out->changes += s == WOMBAT_OK;
	return s;
}

enum wombat_status extents_place_owner(struct placed_batch *out, uint64_t id, struct wombat_slice key, bool deleted)
{
	static const struct record nothing;
	struct buf owner = { 0 };
	enum wombat_status s = owner_key_make(id, key, &owner);
	if (s == WOMBAT_OK && deleted) {
		s = write_batch_add_delete(&out->body, EXTENTS_KEYSPACE, buf_slice(&owner));
		out->changes += s == WOMBAT_OK;
	} else if (s == WOMBAT_OK) {
		s = place_put(out, buf_slice(&owner), &nothing);
	}
	buf_done(&owner);
	return s;
}

struct copying {
	struct wombat *db;
	struct placed_batch *out;
	uint64_t id;
};

static enum wombat_status copy_one(void *arg, uint64_t offset, const struct record *r)
{
	struct copying *c = arg;
	return extents_place(c->db, c->out, c->id, offset + record_value_size(r), r);
}

enum wombat_status extents_place_copy(struct wombat *db, struct placed_batch *out, const struct extents_at *from,
				      const struct value_extents *extents, const struct batch_change *change, struct record *r)
{
	struct copying c = { db, out, extents_new_id(db) };
	struct db_key key;
	enum wombat_status s = db_key_init(&key, change->keyspace, change->key);
	if (s != WOMBAT_OK)
		return s;
	s = extents_each(from, 0, UINT64_MAX, copy_one, &c);
	if (s == WOMBAT_OK)
		s = extents_place_owner(out, c.id, key.slice, false);
	db_key_done(&key);
	r->in_extents = true;
	r->extents = (struct value_extents){ .id = c.id, .size = extents->size, .stored = extents->stored };
	if (s == WOMBAT_OK)
		s = write_batch_add_put(&out->body, change->keyspace, change->key, r);
	out->changes += s == WOMBAT_OK;
	return s;
}
