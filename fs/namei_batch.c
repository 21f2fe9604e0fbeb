/* Changes of names gathered for one commit: the records of files, directories and numbers. See namei.h and namei_impl.h. */
#include "fs/namei_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/control.h"
#include "fs/errmap.h"

void namei_batch_done(struct namei_batch *b)
{
	for (size_t i = 0; i < b->owned_count; i++)
		free(b->owned[i]);
	free(b->owned);
	free(b->changes);
	*b = (struct namei_batch){ 0 };
}

int namei_own(struct namei_batch *b, void *p)
{
	if (b->owned_count == b->owned_capacity) {
		size_t capacity = 2 * b->owned_capacity + 8;
		void **moved = realloc(b->owned, capacity * sizeof *moved);
		if (!moved) {
			free(p);
			return ENOMEM;
		}
		b->owned = moved;
		b->owned_capacity = capacity;
	}
	b->owned[b->owned_count++] = p;
	return 0;
}

int namei_add(struct namei_batch *b, struct store_change change)
{
	if (b->count == b->capacity) {
		size_t capacity = 2 * b->capacity + 8;
		struct store_change *moved = realloc(b->changes, capacity * sizeof *moved);
		if (!moved)
			return ENOMEM;
		b->changes = moved;
		b->capacity = capacity;
	}
	b->changes[b->count++] = change;
	return 0;
}

int namei_add_keyed(struct namei_batch *b, struct store_change change, struct key_buf *key)
{
	change.key = key_bytes(key);
	int error = namei_own(b, key->data);
	*key = (struct key_buf){ 0 };
	return error ? error : namei_add(b, change);
}

int namei_add_attr(struct mount *m, struct namei_batch *b, const struct node *n, struct store_change *change)
{
	uint8_t *blob;
	size_t size;
	int error = attr_encode(&m->options, node_is_dir(n), &n->attr, &blob, &size);
	if (error)
		return error;
	change->attr = (struct store_bytes){ blob, size };
	change->time_ns = attr_record_time(&n->attr);
	change->expiry_ns = n->attr.expiry_ns;
	return blob ? namei_own(b, blob) : 0;
}

int namei_put_file(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content)
{
	struct key_buf key = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_USER, .value = content->value,
				       .held = content->held, .edit = content->edit };
	int error = namei_add_attr(m, b, n, &change);
	if (!error)
		error = node_file_key(n, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (error) {
		key_done(&key);
		return error;
	}
	return namei_add_keyed(b, change, &key);
}

int namei_put_dir(struct mount *m, struct namei_batch *b, struct node *n)
{
	struct key_buf key = { 0 };
	struct store_change change = { .op = STORE_PUT, .space = STORE_DIRS };
	int error = namei_add_attr(m, b, n, &change);
	if (!error)
		error = node_dir_key(n, &key);
	if (!error && key.size > m->store->calls->max_key_size(m->store))
		error = ENAMETOOLONG;
	if (error) {
		key_done(&key);
		return error;
	}
	return namei_add_keyed(b, change, &key);
}

int namei_append(struct namei_batch *b, struct namei_batch *from)
{
	int error = 0;
	for (size_t i = 0; i < from->count && !error; i++)
		error = namei_add(b, from->changes[i]);
	while (from->owned_count && !error)
		error = namei_own(b, from->owned[--from->owned_count]);
	return error;
}

static int put_ino(struct namei_batch *b, uint64_t ino, bool taken)
{
	struct key_buf key = { 0 };
	uint8_t bytes[8];
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(ino >> (56 - 8 * i));
	int error = key_append(&key, bytes, sizeof bytes);
	if (error)
		return error;
	return namei_add_keyed(b, (struct store_change){ .op = taken ? STORE_PUT : STORE_DELETE, .space = STORE_INODES }, &key);
}

int namei_record_ino(struct mount *m, struct namei_batch *b, uint64_t ino)
{
	m->nodes->inodes_recorded = true;
	return put_ino(b, ino, true);
}

int namei_free_ino(struct namei_batch *b, uint64_t ino)
{
	return put_ino(b, ino, false);
}

int namei_delete_file(struct namei_batch *b, const struct node *name)
{
	struct key_buf key = { 0 };
	int error = node_file_key(name, &key);
	if (error) {
		key_done(&key);
		return error;
	}
	return namei_add_keyed(b, (struct store_change){ .op = STORE_DELETE, .space = STORE_USER }, &key);
}

int namei_delete_dir(struct namei_batch *b, const struct node *n)
{
	struct key_buf key = { 0 };
	int error = node_dir_key(n, &key);
	if (error) {
		key_done(&key);
		return error;
	}
	return namei_add_keyed(b, (struct store_change){ .op = STORE_DELETE, .space = STORE_DIRS }, &key);
}

int namei_commit(struct mount *m, struct namei_batch *b)
{
	enum store_result r = m->store->calls->commit(m->store, b->changes, b->count, false, NULL);
	if (r != STORE_OK)
		control_set_error(m, "%s", m->store->calls->last_error(m->store));
	return errmap_from_store(r);
}
