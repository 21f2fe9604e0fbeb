/* Staging and committing: see fs/doc/design.md for what is promised. */
#include "fs/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errmap.h"
#include "fs/file_impl.h"
#include "fs/links.h"
#include "fs/namei.h"

enum {
	STAGE_MAX = 1 << 20, /* a file that grows beyond it is written to the store in parts */
	HOLE_MIN = 64 << 10, /* and one that gets a hole of so much, as a hole takes nothing there */
	HOLD_NS = 100000000, /* commit=write: what was emptied waits for the write that follows */
};

/* ---- Staging ------------------------------------------------------------------------------- */

/* An unlinked file has no key any more; under this one nothing is ever committed. */
static int edit_key(struct mount *m, const struct node *n, enum store_space *out_space, struct key_buf *out)
{
	*out_space = n->unlinked ? STORE_META : STORE_USER;
	return n->unlinked ? key_append(out, "unlinked", 8) : file_content_key(m, n, out);
}

static void close_edit(struct mount *m, struct node *n)
{
	m->store->calls->edit_close(n->edit);
	n->edit = NULL;
}

static int open_edit(struct mount *m, struct node *n)
{
	struct key_buf key = { 0 };
	enum store_space space;
	int error = edit_key(m, n, &space, &key);
	if (!error)
		error = errmap_from_store(m->store->calls->edit_open(m->store, space, key_bytes(&key), &n->edit));
	key_done(&key);
	return error;
}

/* What the stage has becomes what an edit has: from then on the file may grow to any size. */
static int stage_to_edit(struct mount *m, struct node *n)
{
	const struct store_calls *calls = m->store->calls;
	int error = open_edit(m, n);
	if (error)
		return error;
	enum store_result r = calls->edit_resize(n->edit, 0);
	if (r == STORE_OK && n->attr.size)
		r = calls->edit_write(n->edit, 0, n->data, n->attr.size);
	if (r != STORE_OK) {
		close_edit(m, n);
		return errmap_from_store(r);
	}
	node_drop_data(m, n);
	return 0;
}

/* An unlinked file's value, copied: nothing points to it but what is open. */
static int copy_to_edit(struct mount *m, struct node *n)
{
	enum { STEP = 1 << 20 };
	int error = open_edit(m, n);
	enum store_result r = error ? STORE_OK : m->store->calls->edit_resize(n->edit, 0);
	error = error ? error : errmap_from_store(r);
	for (uint64_t at = 0, size; at < n->held.value_size && !error; at += size) {
		const uint8_t *part;
		size = n->held.value_size - at < STEP ? n->held.value_size - at : STEP;
		error = file_read_part(m, n, at, size, &part);
		if (!error)
			error = errmap_from_store(m->store->calls->edit_write(n->edit, at, part, size));
	}
	if (error)
		close_edit(m, n);
	return error;
}

/* A large value is changed where it is. */
static int load_edit(struct mount *m, struct node *n)
{
	int error = n->unlinked ? copy_to_edit(m, n) : open_edit(m, n);
	if (error)
		return error;
	n->attr.size = n->held.value_size;
	n->staged = true;
	node_drop_held(m, n);
	return 0;
}

int file_load(struct mount *m, struct node *n)
{
	const uint8_t *data;
	size_t size;
	if (n->staged)
		return 0;
	if (n->fresh) {
		n->staged = true;
		return 0;
	}
	/* Room first: then a value is read to where it stays. */
	int error = file_read(m, n, 0, 0, &data, &size);
	if (!error && n->has_held && n->held.value_size > FILE_EDIT_MIN)
		return load_edit(m, n);
	if (!error)
		error = node_reserve(m, n, n->has_held ? n->held.value_size : 0);
	if (error)
		return error;
	size = n->has_held ? (size_t)n->held.value_size : 0;
	if (size && n->held.value.data)
		memcpy(n->data, n->held.value.data, size);
	else if (size)
		error = errmap_from_store(m->store->calls->read_held(m->store, &n->held, 0, size, n->data));
	if (error)
		return error;
	n->attr.size = size;
	n->staged = true;
	node_drop_held(m, n);
	return 0;
}

int file_truncate_all(struct mount *m, struct node *n)
{
	node_drop_stage(m, n);
	node_drop_held(m, n);
	n->staged = true;
	n->attr.size = n->attr.holes = 0;
	n->attr.mtime_ns = n->attr.ctime_ns = attr_now_ns();
	node_mark_data(m, n);
	return 0;
}

/* Whether a staged file that grows to `size`, with nothing written up to `written`, is one to keep in parts. */
static bool wants_edit(const struct node *n, uint64_t written, uint64_t size)
{
	return size > STAGE_MAX || written >= n->attr.size + HOLE_MIN;
}

int file_resize(struct mount *m, struct node *n, uint64_t size)
{
	if (size == 0)
		return file_truncate_all(m, n);
	if (size > m->store->calls->max_value_size(m->store))
		return EFBIG;
	int error = file_load(m, n);
	if (!error && !n->edit && wants_edit(n, size, size))
		error = stage_to_edit(m, n);
	if (!error && n->edit)
		error = errmap_from_store(m->store->calls->edit_resize(n->edit, size));
	else if (!error)
		error = node_reserve(m, n, size);
	if (error)
		return error;
	if (size > n->attr.size && n->edit)
		n->attr.holes += size - n->attr.size; /* until the commit says how much it is */
	else if (size > n->attr.size)
		memset(n->data + n->attr.size, 0, size - n->attr.size);
	n->attr.size = size;
	n->attr.mtime_ns = n->attr.ctime_ns = attr_now_ns();
	node_mark_data(m, n);
	return 0;
}

static int write_stage(struct mount *m, struct node *n, const void *data, size_t size, uint64_t offset)
{
	uint64_t end = offset + size;
	int error = node_reserve(m, n, end > n->attr.size ? end : n->attr.size);
	if (error)
		return error;
	if (offset > n->attr.size)
		memset(n->data + n->attr.size, 0, offset - n->attr.size);
	memcpy(n->data + offset, data, size);
	return 0;
}

int file_zero(struct mount *m, struct node *n, uint64_t offset, uint64_t size)
{
	int error = file_load(m, n);
	if (!error && n->edit)
		error = errmap_from_store(m->store->calls->edit_punch(n->edit, offset, size));
	else if (!error)
		memset(n->data + offset, 0, size);
	if (error)
		return error;
	n->attr.mtime_ns = n->attr.ctime_ns = attr_now_ns();
	node_mark_data(m, n);
	return 0;
}

int file_write(struct mount *m, struct node *n, const void *data, size_t size, uint64_t offset, bool append)
{
	if (size == 0)
		return 0; /* Changes nothing, neither size nor times; there may be no buffer yet to copy nothing into. */
	int error = file_load(m, n);
	if (error)
		return error;
	if (append)
		offset = n->attr.size;
	uint64_t end = offset + size;
	if (end < offset || end > m->store->calls->max_value_size(m->store))
		return EFBIG;
	if (!n->edit && wants_edit(n, offset, end))
		error = stage_to_edit(m, n);
	if (!error && n->edit)
		error = errmap_from_store(m->store->calls->edit_write(n->edit, offset, data, size));
	else if (!error)
		error = write_stage(m, n, data, size, offset);
	if (error)
		return error;
	if (end > n->attr.size)
		n->attr.size = end;
	n->attr.mtime_ns = n->attr.ctime_ns = attr_now_ns();
	node_mark_data(m, n);
	return 0;
}

int file_copy(struct mount *m, struct node *from, uint64_t from_offset, struct node *to, uint64_t to_offset, uint64_t size,
	      size_t *out_size)
{
	const uint64_t most = UINT64_C(1) << 30; /* a reply says it in 32 bits */
	if (from->unlinked)
		return EOPNOTSUPP;
	int error = file_commit(from->mount, from);
	if (!error)
		error = file_hold_value(from->mount, from);
	if (error)
		return error;
	uint64_t total = from->held.value_size;
	size = from_offset >= total ? 0 : total - from_offset < size ? total - from_offset : size;
	if (size > most)
		size = most;
	if (size < FILE_EDIT_MIN)
		return EOPNOTSUPP;
	if (to_offset + size > m->store->calls->max_value_size(m->store))
		return EFBIG;
	struct store_entry held = from->held; /* of its own, should the loading below let the node's go */
	from->has_held = false;
	error = file_load(m, to);
	if (!error && !to->edit)
		error = stage_to_edit(m, to);
	if (!error)
		error = errmap_from_store(m->store->calls->edit_copy(to->edit, to_offset, &held, from_offset, size));
	m->store->calls->entry_release(m->store, &held);
	if (error)
		return error;
	if (to_offset + size > to->attr.size)
		to->attr.size = to_offset + size;
	to->attr.mtime_ns = to->attr.ctime_ns = attr_now_ns();
	node_mark_data(m, to);
	*out_size = (size_t)size;
	return 0;
}

/* ---- Committing ---------------------------------------------------------------------------- */

int file_content(struct mount *m, struct node *n, struct store_change *out)
{
	const uint8_t *data = NULL;
	size_t size = 0;
	/* Of nothing: that pins the value, and leaves a large one where it is. */
	int error = file_read(m, n, 0, 0, &data, &size);
	if (error)
		return error;
	if (n->edit)
		out->edit = n->edit;
	else if (n->staged)
		out->value = (struct store_bytes){ n->data, n->attr.size };
	else if (n->has_held && !n->held.value.data && n->held.value_size)
		out->held = &n->held;
	else if (n->has_held)
		out->value = n->held.value;
	return 0;
}

int file_share(struct mount *m, struct node *n, struct store_change *out)
{
	*out = (struct store_change){ .op = STORE_PUT };
	if (n->edit)
		node_drop_stage(m, n); /* it has no changes */
	int error = file_content(m, n, out);
	if (error || !out->held)
		return error;
	error = open_edit(m, n);
	*out = (struct store_change){ .op = STORE_PUT, .edit = n->edit };
	return error;
}

void file_share_done(struct mount *m, struct node *n)
{
	if (n->edit)
		close_edit(m, n);
	if (!n->opens)
		node_drop_held(m, n);
}

static int commit_changes(struct mount *m, struct node *n, struct namei_batch *b, const struct store_change *content)
{
	int error = node_is_dir(n) ? namei_put_dir(m, b, n) : n->links ? links_put_content(m, b, n, content) :
		    namei_put_file(m, b, n, content);
	if (!error && n->attr.ino && !n->ino_recorded)
		error = namei_record_ino(m, b, n->attr.ino);
	if (!error)
		error = namei_commit(m, b);
	return error;
}

/* The stage ends; of what was changed in parts the store knows how much of it is stored. */
static void note_holes(struct mount *m, struct node *n)
{
	bool in_parts = n->edit;
	node_drop_stage(m, n);
	if (!in_parts || file_hold_value(m, n) != 0)
		return;
	n->attr.holes = n->held.value_size - n->held.stored_size;
	node_drop_held(m, n);
}

/* Of several names' only what they have in common. */
static int commit_attr(struct mount *m, struct node *n)
{
	struct namei_batch batch = { 0 };
	int error = links_put_attr(m, &batch, n);
	if (!error)
		error = namei_commit(m, &batch);
	namei_batch_done(&batch);
	return error;
}

static int commit_all(struct mount *m, struct node *n)
{
	struct namei_batch batch = { 0 };
	struct store_change content = { .op = STORE_PUT };
	int error = node_is_dir(n) ? 0 : file_content(m, n, &content);
	/* Attributes of a large file: as an edit that changes nothing, its value stays as it is. */
	if (!error && content.held) {
		error = open_edit(m, n);
		content = (struct store_change){ .op = STORE_PUT, .edit = n->edit };
	}
	if (!error)
		error = commit_changes(m, n, &batch, &content);
	namei_batch_done(&batch);
	if (!n->staged && n->edit)
		close_edit(m, n);
	if (!error && n->links)
		links_committed(n);
	return error;
}

int file_commit(struct mount *m, struct node *n)
{
	if ((!n->data_dirty && !n->attr_dirty) || n->unlinked)
		return 0;
	bool attr_alone = n->links && !n->data_dirty && n->attr.expiry_ns == n->links->expiry_ns;
	int error = attr_alone ? commit_attr(m, n) : commit_all(m, n);
	if (error) {
		atomic_fetch_add_explicit(&m->counts.commit_failures, 1, memory_order_relaxed);
		return error;
	}
	atomic_fetch_add_explicit(&m->counts.commits, 1, memory_order_relaxed);
	n->ino_recorded = n->attr.ino != 0;
	node_clear_fresh(n);
	node_mark_clean(m, n);
	node_drop_held(m, n);
	if (node_is_dir(n))
		n->explicit_dir = true;
	else if (!n->writers || n->edit)
		note_holes(m, n);
	/* Whoever has it open keeps what it holds when it expires. Should that fail, they may be told of an error then. */
	if (n->opens && n->attr.expiry_ns)
		(void)file_pin(m, n);
	return 0;
}

static bool is_at_or_below(const struct node *n, const struct node *top)
{
	while (n && n != top)
		n = n->parent;
	return n;
}

int file_settle(struct mount *m, struct node *top)
{
	int error = 0;
	struct node *head = &m->nodes->dirty;
	for (struct node *n = head->staged_next, *next; n != head && !error; n = next) {
		next = n->staged_next;
		if (!n->edit || (!n->links && !is_at_or_below(n, top)))
			continue;
		error = file_commit(m, n);
		if (!error)
			node_release(m, n);
	}
	return error;
}

/* Commits the nodes of the list for which `due` holds; nodes that nothing else keeps go with it. */
static int commit_where(struct mount *m, bool (*due)(struct mount *m, const struct node *n, int64_t now))
{
	int64_t now = attr_now_ns();
	int first_error = 0;
	struct node *head = &m->nodes->dirty;
	for (struct node *n = head->staged_next, *next; n != head; n = next) {
		/* Stays what it is: a commit takes off the list the one node alone, and none that is on it is released. */
		next = n->staged_next;
		if (!due(m, n, now))
			continue;
		int error = file_commit(m, n);
		if (error && !first_error)
			first_error = error;
		if (!error)
			node_release(m, n);
	}
	return first_error;
}

static bool always(struct mount *m, const struct node *n, int64_t now)
{
	(void)m;
	(void)n;
	(void)now;
	return true;
}

int file_commit_all(struct mount *m)
{
	return commit_where(m, always);
}

static bool is_due(struct mount *m, const struct node *n, int64_t now)
{
	int64_t idle = (int64_t)atomic_load_explicit(&m->options.commit_idle_ms, memory_order_relaxed) * 1000000;
	int64_t age = (int64_t)atomic_load_explicit(&m->options.commit_age_ms, memory_order_relaxed) * 1000000;
	/* Contents wait only where a file was emptied or made, for the first write. */
	bool held = m->options.commit_write && n->data_dirty;
	return (held && now - n->written_ns >= HOLD_NS) || (idle && now - n->written_ns >= idle) || (age && now - n->dirty_since_ns >= age);
}

void file_commit_due(struct mount *m)
{
	mount_lock(m);
	/* What fails stays staged: the next close or fsync reports it. */
	commit_where(m, is_due);
	mount_unlock(m);
}
