/*
 * Reading contents: from the stage, from an edit, from the store; and pinning what a file holds. What a READ asks for is read without
 * the mount's lock if it is not in memory.
 */
#include "fs/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/file_impl.h"
#include "fs/links.h"
#include "fs/service.h"

enum { PIECE_MAX = 1 << 20 /* a READ asks for no more */ };

int file_content_key(struct mount *m, const struct node *n, struct key_buf *out)
{
	return n->links ? links_content_key(m, n, out) : node_file_key(n, out);
}

int file_hold_value(struct mount *m, struct node *n)
{
	struct key_buf key = { 0 };
	if (n->has_held)
		return 0;
	int error = file_content_key(m, n, &key);
	if (!error)
		error = errmap_from_store(m->store->calls->hold(m->store, STORE_USER, key_bytes(&key), &n->held));
	key_done(&key);
	n->has_held = !error;
	return error == ENOENT ? EIO : error;
}

/* Room in the mount's one buffer for parts, which everything under its lock may use in turn. */
static int reserve_part(struct mount *m, size_t size)
{
	struct node_table *t = m->nodes;
	if (size <= t->part_capacity)
		return 0;
	free(t->part);
	t->part_capacity = 0;
	t->part = malloc(size);
	if (!t->part)
		return ENOMEM;
	t->part_capacity = size;
	return 0;
}

int file_read_part(struct mount *m, struct node *n, uint64_t offset, size_t size, const uint8_t **out)
{
	int error = reserve_part(m, size);
	*out = m->nodes->part;
	return error ? error :
	       errmap_from_store(m->store->calls->read_held(m->store, &n->held, offset, size, m->nodes->part));
}

void file_trim(struct mount *m)
{
	enum { PART_KEPT = 2 << 20 };
	struct node_table *t = m->nodes;
	if (t->part_capacity <= PART_KEPT)
		return;
	free(t->part);
	t->part = NULL;
	t->part_capacity = 0;
}

/* What is changed in parts. */
static int read_edit(struct mount *m, struct node *n, uint64_t offset, size_t size, const uint8_t **out)
{
	int error = reserve_part(m, size);
	*out = m->nodes->part;
	return error ? error : errmap_from_store(m->store->calls->edit_read(n->edit, offset, size, m->nodes->part));
}

int file_read(struct mount *m, struct node *n, uint64_t offset, size_t size, const uint8_t **out, size_t *out_size)
{
	const uint8_t *data = n->data;
	uint64_t total = n->attr.size;
	bool in_parts = false;
	if (!n->staged) {
		int error = n->unlinked && !n->has_held ? 0 : file_hold_value(m, n);
		if (error)
			return error;
		data = n->has_held ? n->held.value.data : NULL;
		total = n->has_held ? n->held.value_size : 0;
		in_parts = n->has_held && !data && total;
	}
	*out_size = offset >= total ? 0 : total - offset < size ? (size_t)(total - offset) : size;
	if (in_parts && *out_size)
		return file_read_part(m, n, offset, *out_size, out);
	if (n->edit && *out_size)
		return read_edit(m, n, offset, *out_size, out);
	*out = data ? data + (offset < total ? offset : total) : NULL;
	return 0;
}

/* ---- Reading beside what goes on ------------------------------------------------------------ */

/* All of it is in the store, and what is pinned of it is not for this. A transaction is for one thread at a time. */
static bool is_stored(const struct node *n)
{
	const struct mount *m = n->mount;
	return (!m->outer || m->fixed) && !n->staged && !n->has_held && !n->unlinked && S_ISREG(n->attr.mode);
}

static uint8_t *take_buffer(struct mount *m, size_t size)
{
	struct node_table *t = mount_outer(m)->nodes;
	uint8_t *piece = t->piece;
	if (size > PIECE_MAX)
		return malloc(size);
	t->piece = NULL;
	return piece ? piece : malloc(PIECE_MAX);
}

static void give_buffer(struct mount *m, uint8_t *buffer)
{
	struct node_table *t = m->nodes;
	free(t->piece);
	t->piece = buffer;
}

void file_piece_done(struct mount *m, struct file_piece *p)
{
	if (p->has_entry)
		m->store->calls->entry_release(m->store, &p->entry);
	if (p->buffer)
		give_buffer(m, p->buffer);
	*p = (struct file_piece){ .data = NULL };
}

static void let_go(struct mount *m, struct node *n)
{
	n->lookups++; /* keeps it */
	mount_unlock(m);
}

static void take_again(struct mount *m, struct node *n)
{
	mount_lock(m);
	n->lookups--;
}

/* Whether the record, which was found without the lock, is still what the file holds. */
static bool is_present(struct mount *m, struct node *n, const struct key_buf *key, const struct store_entry *e, uint64_t changes)
{
	struct key_buf now = { 0 };
	struct store_entry meta;
	if (!is_stored(n))
		return false;
	if (store_changes(m->store) == changes)
		return true;
	bool same = file_content_key(m, n, &now) == 0 && now.size == key->size && memcmp(now.data, key->data, key->size) == 0 &&
		    m->store->calls->get(m->store, STORE_USER, key_bytes(&now), true, true, &meta) == STORE_OK;
	key_done(&now);
	if (!same)
		return false;
	same = meta.version == e->version;
	m->store->calls->entry_release(m->store, &meta);
	return same;
}

/* A small value: the whole record. EAGAIN: it has changed meanwhile. */
static int find_entry(struct mount *m, struct node *n, const struct key_buf *key, struct file_piece *p)
{
	const struct store_calls *calls = m->store->calls;
	uint64_t changes = store_changes(m->store);
	enum store_result r = calls->get(m->store, STORE_USER, key_bytes(key), false, false, &p->entry);
	if (r == STORE_WOULD_BLOCK) {
		service_may_block();
		let_go(m, n);
		r = calls->get(m->store, STORE_USER, key_bytes(key), false, true, &p->entry);
		take_again(m, n);
		p->has_entry = r == STORE_OK;
		if (r != STORE_OK || !is_present(m, n, key, &p->entry, changes))
			return EAGAIN;
	}
	p->has_entry = r == STORE_OK;
	return r == STORE_NOT_FOUND ? EAGAIN : errmap_from_store(r);
}

/* Of a large one that part, from the value as it is now. */
static int copy_part(struct mount *m, struct node *n, const struct key_buf *key, uint64_t offset, size_t size, struct file_piece *p)
{
	const struct store_calls *calls = m->store->calls;
	struct store_entry held;
	enum store_result r = calls->hold(m->store, STORE_USER, key_bytes(key), &held);
	if (r != STORE_OK)
		return r == STORE_NOT_FOUND ? EAGAIN : errmap_from_store(r);
	p->size = offset >= held.value_size ? 0 : held.value_size - offset < size ? (size_t)(held.value_size - offset) : size;
	if (held.value.data) { /* it was at hand, and is pinned by the entry */
		p->data = held.value.data + (offset < held.value_size ? offset : held.value_size);
		p->entry = held;
		p->has_entry = true;
		return 0;
	}
	p->buffer = take_buffer(m, p->size);
	if (p->buffer && p->size) {
		let_go(m, n); /* whether it blocks the service learns by itself, from the READs before */
		r = calls->read_held(m->store, &held, offset, p->size, p->buffer);
		take_again(m, n);
	}
	calls->entry_release(m->store, &held);
	p->data = p->buffer;
	return p->buffer ? errmap_from_store(r) : ENOMEM;
}

int file_read_piece(struct mount *m, struct node *n, uint64_t offset, size_t size, struct file_piece *p)
{
	struct key_buf key = { 0 };
	int error = EAGAIN;
	*p = (struct file_piece){ .data = NULL };
	if (is_stored(n)) {
		error = file_content_key(m, n, &key);
		if (!error && n->attr.size > FILE_EDIT_MIN) {
			error = copy_part(m, n, &key, offset, size, p);
		} else if (!error) {
			error = find_entry(m, n, &key, p);
			uint64_t total = p->has_entry ? p->entry.value_size : 0;
			p->size = offset >= total ? 0 : total - offset < size ? (size_t)(total - offset) : size;
			p->data = p->size ? p->entry.value.data + offset : NULL;
		}
		key_done(&key);
	}
	if (error)
		file_piece_done(m, p);
	return error == EAGAIN ? file_read(m, n, offset, size, &p->data, &p->size) : error;
}

/* ---- Pinning ------------------------------------------------------------------------------- */

int file_pin(struct mount *m, struct node *n)
{
	return n->staged || n->unlinked || !S_ISREG(n->attr.mode) ? 0 : file_hold_value(m, n);
}

int file_pin_anew(struct mount *m, struct node *n)
{
	struct key_buf key = { 0 };
	struct store_entry now;
	if (n->staged || n->unlinked || !n->has_held)
		return 0;
	int error = file_content_key(m, n, &key);
	if (!error)
		error = errmap_from_store(m->store->calls->hold(m->store, STORE_USER, key_bytes(&key), &now));
	key_done(&key);
	if (error)
		return error;
	m->store->calls->entry_release(m->store, &n->held);
	n->held = now;
	return 0;
}

int file_next_data(struct mount *m, struct node *n, uint64_t offset, uint64_t *out_from, uint64_t *out_to)
{
	const uint8_t *data;
	size_t size;
	int error = file_read(m, n, 0, 0, &data, &size); /* pins the value */
	if (error)
		return error;
	uint64_t total = n->staged ? n->attr.size : n->has_held ? n->held.value_size : 0;
	if (offset >= total)
		return ENXIO;
	enum store_result r = STORE_OK;
	if (n->edit)
		r = m->store->calls->edit_next(n->edit, offset, out_from, out_to);
	else if (!n->staged && !n->held.value.data)
		r = m->store->calls->next_held(m->store, &n->held, offset, out_from, out_to);
	else {
		*out_from = offset;
		*out_to = total;
	}
	return r == STORE_NOT_FOUND ? ENXIO : errmap_from_store(r);
}
