/* Several keys of one value: see edit_keys.h. */
#include "engine/db/edit_keys.h"

#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/db/extents.h"

static int compare_keys(const void *a, const void *b)
{
	const struct edit_key *x = a, *y = b;
	return slice_compare(buf_slice(&x->key), buf_slice(&y->key));
}

static enum wombat_status twice(struct wombat_slice user_key)
{
	char text[KEY_TEXT];
	key_text(user_key, text);
	return fail(WOMBAT_INVALID, "key \"%s\" stands twice among those of one commit", text);
}

enum wombat_status edit_keys_init(struct edit_keys *k, struct wombat *db, struct wombat_slice own,
				  const struct wombat_slice *keys, size_t count)
{
	*k = (struct edit_keys){ .list = count ? mem_zalloc(count * sizeof(*k->list)) : NULL };
	if (count && !k->list)
		return fail_no_memory();
	k->count = count;
	for (size_t i = 0; i < count; i++) {
		struct buf *key = &k->list[i].key;
		enum wombat_status s = db_check_limits(db, keys[i].size, 0, 0);
		if (s == WOMBAT_OK)
			s = buf_append_byte(key, own.data[0]);
		if (s == WOMBAT_OK)
			s = buf_append(key, keys[i].data, keys[i].size);
		if (s != WOMBAT_OK)
			return s;
		if (slice_equal(buf_slice(key), own))
			return twice(keys[i]);
	}
	if (count)
		qsort(k->list, count, sizeof(*k->list), compare_keys);
	for (size_t i = 1; i < count; i++)
		if (compare_keys(&k->list[i - 1], &k->list[i]) == 0)
			return twice(edit_key_user(&k->list[i]));
	return WOMBAT_OK;
}

void edit_keys_done(struct edit_keys *k)
{
	for (size_t i = 0; i < k->count; i++)
		buf_done(&k->list[i].key);
	mem_free(k->list);
	*k = (struct edit_keys){ .count = 0 };
}

static int compare_user_key(const void *user_key, const void *element)
{
	const struct wombat_slice *wanted = user_key;
	return slice_compare(*wanted, edit_key_user(element));
}

struct edit_key *edit_keys_find(const struct edit_keys *k, struct wombat_slice user_key)
{
	return k->count ? bsearch(&user_key, k->list, k->count, sizeof(*k->list), compare_user_key) : NULL;
}

void edit_keys_disown(struct edit_keys *k)
{
	for (size_t i = 0; i < k->count; i++)
		k->list[i].owns = false;
}

/* ---- Who has a head ------------------------------------------------------------------------- */

/* Whether the key, with its keyspace byte, has a head with the id. */
static enum wombat_status has_head(struct wombat *db, const struct wombat_snapshot *snapshot, struct wombat_slice key,
				   uint64_t id, bool *out)
{
	const struct wombat_read_options options = { .snapshot = snapshot, .flags = WOMBAT_READ_META };
	struct wombat_record record;
	struct record r;
	enum wombat_status s = db_get(db, &options, key.data[0], slice_make(key.data + 1, key.size - 1), &record, &r);
	*out = s == WOMBAT_OK && r.in_extents && r.extents.id == id;
	if (s == WOMBAT_OK)
		wombat_record_release(&record);
	return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s;
}

static enum wombat_status note_owner(struct edit_keys *k, struct wombat *db, const struct wombat_snapshot *snapshot,
				     uint64_t id, struct wombat_slice own, struct wombat_slice key, bool *others)
{
	if (slice_equal(key, own))
		return WOMBAT_OK;
	struct edit_key *ours = key.data[0] == own.data[0] ? edit_keys_find(k, slice_make(key.data + 1, key.size - 1)) : NULL;
	bool has = false;
	enum wombat_status s = has_head(db, snapshot, key, id, &has);
	/* The record alone says nothing: without a head it may be swept before the commit. */
	if (ours)
		ours->owns = has;
	else
		*others |= has;
	return s;
}

enum wombat_status edit_keys_find_owners(struct edit_keys *k, struct wombat *db, const struct wombat_snapshot *snapshot,
					 uint64_t id, struct wombat_slice own, bool *out_others)
{
	struct extent_key lower = extent_key_make(id, 0), upper = extent_key_make(id + 1, 0);
	lower.bytes[0] = upper.bytes[0] = 'O';
	struct wombat_iter_options options = {
		.lower = slice_make(lower.bytes, OWNER_KEY_HEAD), .upper = slice_make(upper.bytes, OWNER_KEY_HEAD),
	};
	struct wombat_iter *it;
	bool others = false;
	enum wombat_status s = db_iter_new_at(db, NULL, snapshot->sequence, &options, EXTENTS_KEYSPACE, &it);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(it); more && s == WOMBAT_OK; more = s == WOMBAT_OK && wombat_iter_next(it)) {
		struct wombat_slice owner = wombat_iter_record(it)->key;
		if (owner.size > OWNER_KEY_HEAD)
			s = note_owner(k, db, snapshot, id, own, slice_make(owner.data + OWNER_KEY_HEAD, owner.size - OWNER_KEY_HEAD),
				       &others);
	}
	if (s == WOMBAT_OK)
		s = wombat_iter_status(it);
	wombat_iter_free(it);
	if (s == WOMBAT_OK)
		*out_others = others;
	return s;
}

/* ---- That nothing came between --------------------------------------------------------------- */

enum wombat_status edit_keys_check(const struct edit_keys *k, struct wombat *db, struct read_view *view, uint64_t since)
{
	for (size_t i = 0; i < k->count; i++) {
		uint64_t newest = 0;
		enum wombat_status s = db_newest_change(db, view, buf_slice(&k->list[i].key), since, &newest);
		if (s != WOMBAT_OK)
			return s;
		if (newest > since) {
			char text[KEY_TEXT];
			key_text(edit_key_user(&k->list[i]), text);
			return fail(WOMBAT_CONFLICT, "key \"%s\" was changed since the value that it is to get was opened", text);
		}
	}
	return WOMBAT_OK;
}
