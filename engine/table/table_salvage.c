/*
 * Reading damaged tables.
 *
 * By the index: a block whose checksum does not hold is lost, and the separators beside it say which keys it had. Without
 * it blocks are found by what ends each of them, the crc32c of all that stands before: from where a block begins the
 * checksum is carried on byte by byte, and where the next four bytes are it, there is the end. Behind a damaged block the
 * beginning of the next is unknown, so each place that could be one is tried, as far as blocks of this file are long.
 *
 * A checksum that holds by chance would have to belong to bytes that are also a block of entries in ascending order
 * behind those before: such a block is taken for real.
 */
#include "engine/table/table_salvage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/base/record.h"
#include "engine/table/table_impl.h"

/* How far from a place that may be a block's beginning its end is searched, at least. */
enum { SEARCH_MIN = 8 << 10 };

struct salvage {
	struct table *t;
	const struct table_salvage *to;
	struct buf last_key;
	uint64_t last_tag;
	bool has_last;
	uint64_t entries;
	size_t largest_block;    /* that was found, with its trailer */

	/* Of a file that is searched. */
	bool properties_found, ranges_found;
	uint64_t skipped_from, skipped_to; /* the first and the last byte that were in no block */
};

static void lost(const struct salvage *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void lost(const struct salvage *v, const char *format, ...)
{
	char what[600], sentence[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	snprintf(sentence, sizeof sentence, "%s: %s", v->t->path, what);
	v->to->lost(v->to->arg, sentence);
}

/* ---- Blocks -------------------------------------------------------------------------------- */

/* Whether it can stand behind what was found so far, `key` and `tag` being the entry before. */
static bool follows(const struct iter *it, bool has_last, struct wombat_slice key, uint64_t tag)
{
	struct record r;
	enum ikey_kind kind = tag_kind(it->tag);
	if (it->key.size == 0 || (kind != KIND_PUT && kind != KIND_DELETE))
		return false;
	if (kind == KIND_PUT && record_decode(it->value, &r) != WOMBAT_OK)
		return false;
	return !has_last || ikey_compare_parts(key, tag, it->key, it->tag) < 0;
}

static enum wombat_status remember(struct salvage *v, const struct iter *it)
{
	v->has_last = true;
	v->last_tag = it->tag;
	return buf_set(&v->last_key, it->key);
}

/* With `give` the entries are handed over; without, only judged. `*out_good`: all of them can be read, and follow. */
static enum wombat_status walk_block(struct salvage *v, struct block_iter *b, bool give, bool *out_good)
{
	struct buf before = { 0 };
	uint64_t tag = v->last_tag;
	bool has_before = v->has_last;
	enum wombat_status s = buf_set(&before, buf_slice(&v->last_key));
	enum block_result r = s == WOMBAT_OK ? block_iter_first(b) : BLOCK_NO_MEMORY;
	*out_good = true;
	while (s == WOMBAT_OK && r == BLOCK_AT && *out_good) {
		if (give) {
			s = v->to->entry(v->to->arg, b->it.key, b->it.tag, b->it.value);
			v->entries++;
			if (s == WOMBAT_OK)
				s = remember(v, &b->it);
		} else {
			*out_good = follows(&b->it, has_before, buf_slice(&before), tag);
			tag = b->it.tag;
			has_before = true;
			s = buf_set(&before, b->it.key);
		}
		if (s == WOMBAT_OK)
			r = block_iter_next(b);
	}
	if (s == WOMBAT_OK && r == BLOCK_NO_MEMORY)
		s = fail_no_memory();
	if (r == BLOCK_BAD)
		*out_good = false;
	buf_done(&before);
	return s;
}

/* Reads a data block and hands its entries over. `*out_good`: it is one. */
static enum wombat_status take_block(struct salvage *v, struct table_handle handle, bool *out_good)
{
	struct block *block;
	struct block_iter b;
	*out_good = false;
	enum wombat_status s = table_read_block(v->t, handle, true, NULL, &block);
	if (s == WOMBAT_CORRUPTION)
		return WOMBAT_OK;
	if (s != WOMBAT_OK)
		return s;
	block_iter_init(&b);
	block_iter_set(&b, block);
	s = walk_block(v, &b, false, out_good);
	if (s == WOMBAT_OK && *out_good)
		s = walk_block(v, &b, true, out_good);
	block_iter_done(&b);
	mem_free(block);
	return s;
}

static bool handle_fits(const struct salvage *v, struct table_handle h)
{
	return h.size && h.offset < v->t->file_bytes && h.size < v->t->file_bytes - h.offset &&
	       v->t->file_bytes - h.offset - h.size >= TABLE_BLOCK_TRAILER_SIZE;
}

/* Bytes of one of the other blocks; `*out_memory` NULL: it is damaged. */
static enum wombat_status read_part(struct salvage *v, const char *part, struct table_handle handle,
	struct wombat_slice *out, void **out_memory)
{
	*out_memory = NULL;
	if (!handle_fits(v, handle))
		return WOMBAT_OK;
	enum wombat_status s = table_read_part(v->t, part, handle, out, out_memory);
	return s == WOMBAT_CORRUPTION ? WOMBAT_OK : s;
}

/* ---- Range tombstones ---------------------------------------------------------------------- */

static enum wombat_status give_ranges(struct salvage *v, struct wombat_slice bytes, bool *out_good)
{
	struct range_del_set set;
	range_del_set_init(&set);
	enum wombat_status s = table_decode_ranges(v->t, bytes, &set);
	*out_good = s == WOMBAT_OK;
	for (size_t i = 0; i < set.count && s == WOMBAT_OK; i++)
		s = v->to->range(v->to->arg, set.items[i]);
	range_del_set_done(&set);
	return s == WOMBAT_CORRUPTION && !*out_good ? WOMBAT_OK : s;
}

static void say_ranges_lost(const struct salvage *v)
{
	lost(v, "its range tombstones are damaged: records that were deleted by ranges may be there again");
}

static enum wombat_status take_ranges(struct salvage *v, struct table_handle handle)
{
	struct wombat_slice bytes;
	void *memory;
	bool good = false;
	if (handle.size == 0)
		return WOMBAT_OK;
	enum wombat_status s = read_part(v, "range tombstones", handle, &bytes, &memory);
	if (s == WOMBAT_OK && memory)
		s = give_ranges(v, bytes, &good);
	if (s == WOMBAT_OK && !good)
		say_ranges_lost(v);
	mem_free(memory);
	return s;
}

/* ---- By the index -------------------------------------------------------------------------- */

/* Which keys the i-th block had: from behind those before it to its separator. */
static enum wombat_status say_block_lost(const struct salvage *v, const struct index *x, size_t i)
{
	char from[KEY_TEXT_FULL], to[KEY_TEXT_FULL];
	struct buf key = { 0 };
	size_t begin = i ? x->key_ends[i - 1] : 0;
	enum wombat_status s = buf_append(&key, x->prefix.data, x->prefix.size);
	if (s == WOMBAT_OK)
		s = buf_append(&key, x->keys + begin, x->key_ends[i] - begin);
	if (s == WOMBAT_OK)
		lost(v, "block at %" PRIu64 " is damaged: lost are the entries behind %s up to %s", x->offsets[i],
		     v->has_last ? key_text_full(buf_slice(&v->last_key), from) : "the beginning",
		     key_text_full(buf_slice(&key), to));
	buf_done(&key);
	return s;
}

static enum wombat_status read_by_index(struct salvage *v, const struct index *x)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t i = 0; i < x->count && s == WOMBAT_OK; i++) {
		bool good;
		s = take_block(v, index_handle(x, i), &good);
		if (s == WOMBAT_OK && !good)
			s = say_block_lost(v, x, i);
	}
	return s;
}

/* NULL in *out: it is damaged. */
static enum wombat_status read_index(struct salvage *v, struct table_handle handle, struct index **out)
{
	struct wombat_slice bytes;
	void *memory;
	*out = NULL;
	enum wombat_status s = read_part(v, "index", handle, &bytes, &memory);
	if (s == WOMBAT_OK && memory)
		s = index_new(bytes, v->t->file_bytes - TABLE_FOOTER_SIZE, v->t->path, out);
	mem_free(memory);
	return s == WOMBAT_CORRUPTION ? WOMBAT_OK : s;
}

/* ---- By search ----------------------------------------------------------------------------- */

/* The size of the block that begins at `at`, if it ends within `most` bytes; 0: none does. */
static size_t find_end(struct wombat_slice file, size_t at, size_t most)
{
	uint32_t crc = 0;
	size_t left = file.size - at;
	if (most > left)
		most = left;
	for (size_t n = 0; n + TABLE_BLOCK_TRAILER_SIZE <= most; n++) {
		uint8_t byte = file.data[at + n];
		crc = crc32c(crc, &byte, 1);
		if (byte <= TABLE_COMPRESS_ZLIB && n && crc == get_u32(file.data + at + n + 1))
			return n;
	}
	return 0;
}

/* A first entry shares nothing and has a key; a packed block begins with its size, which is no small number. */
static bool may_begin(struct wombat_slice file, size_t at)
{
	uint8_t first = file.data[at];
	return first & 0x80 || (first == 0 && at + 1 < file.size && file.data[at + 1] != 0);
}

/* A block that holds no entries: range tombstones, properties, or one that says nothing more. */
static enum wombat_status take_other(struct salvage *v, struct table_handle handle)
{
	struct wombat_slice bytes;
	struct table_properties properties;
	void *memory;
	bool good = false;
	enum wombat_status s = read_part(v, "block", handle, &bytes, &memory);
	if (s != WOMBAT_OK || !memory)
		return s;
	if (!v->properties_found && !properties_decode(bytes, &properties)) {
		v->properties_found = true;
		v->t->properties = properties;
	} else if (!v->ranges_found && bytes.data[0] != 0) {
		s = give_ranges(v, bytes, &good);
		v->ranges_found = good;
	}
	mem_free(memory);
	return s;
}

static void skip(struct salvage *v, size_t at)
{
	if (v->skipped_to == 0)
		v->skipped_from = at;
	v->skipped_to = at;
}

static enum wombat_status search(struct salvage *v, struct wombat_slice file)
{
	enum wombat_status s = WOMBAT_OK;
	bool behind_block = true; /* where a block begins if nothing is damaged: it may have any size */
	for (size_t at = 0; at + TABLE_BLOCK_TRAILER_SIZE < file.size && s == WOMBAT_OK;) {
		size_t reach = 2 * v->largest_block > SEARCH_MIN ? 2 * v->largest_block : SEARCH_MIN, size = 0;
		bool good = false;
		if (behind_block || may_begin(file, at))
			size = find_end(file, at, behind_block ? file.size : reach);
		if (!size) {
			behind_block = false;
			skip(v, at++);
			continue;
		}
		behind_block = true;
		struct table_handle handle = { at, size };
		if (!v->properties_found)
			s = take_block(v, handle, &good);
		if (s == WOMBAT_OK && !good)
			s = take_other(v, handle);
		at += size + TABLE_BLOCK_TRAILER_SIZE;
		if (good && size + TABLE_BLOCK_TRAILER_SIZE > v->largest_block)
			v->largest_block = size + TABLE_BLOCK_TRAILER_SIZE;
	}
	return s;
}

static void say_search(const struct salvage *v)
{
	char key[KEY_TEXT_FULL];
	const struct table_properties *p = &v->t->properties;
	const char *last = v->has_last ? key_text_full(buf_slice(&v->last_key), key) : "none";
	if (v->properties_found && p->entries > v->entries)
		lost(v, "%" PRIu64 " of its %" PRIu64 " entries are lost, with the bytes between %" PRIu64 " and %" PRIu64 "; the "
		     "last that was found is %s", p->entries - v->entries, p->entries, v->skipped_from, v->skipped_to, last);
	else if (!v->properties_found)
		lost(v, "its index and properties are damaged: entries may be lost with the bytes between %" PRIu64 " and %" PRIu64
		     "; %" PRIu64 " were found, the last is %s", v->skipped_from, v->skipped_to, v->entries, last);
	if (!v->ranges_found && (v->properties_found ? p->range_deletes > 0 : v->to->may_have_ranges))
		say_ranges_lost(v);
}

static enum wombat_status read_by_search(struct salvage *v)
{
	struct buf bytes = { 0 };
	enum wombat_status s = buf_reserve(&bytes, (size_t)v->t->file_bytes + BLOCK_SLACK);
	const uint8_t *data = NULL;
	if (s == WOMBAT_OK && v->t->file_bytes)
		s = v->t->calls->reader_read(v->t->reader, 0, (size_t)v->t->file_bytes, bytes.data, &data);
	if (s == WOMBAT_OK)
		s = search(v, slice_make(data, (size_t)v->t->file_bytes));
	if (s == WOMBAT_OK)
		say_search(v);
	buf_done(&bytes);
	return s;
}

/* ---- The whole ----------------------------------------------------------------------------- */

static enum wombat_status read_footer(struct salvage *v, struct table_footer *out)
{
	uint8_t scratch[TABLE_FOOTER_SIZE];
	const uint8_t *bytes;
	struct table *t = v->t;
	t->file_bytes = t->calls->reader_size(t->reader);
	if (t->file_bytes < TABLE_FOOTER_SIZE)
		return WOMBAT_CORRUPTION;
	enum wombat_status s = t->calls->reader_read(t->reader, t->file_bytes - TABLE_FOOTER_SIZE, sizeof scratch, scratch,
						     &bytes);
	return s == WOMBAT_OK ? footer_decode(bytes, t->file_bytes, t->path, out) : s;
}

static enum wombat_status salvage(struct salvage *v)
{
	struct table_footer footer = { 0 };
	struct index *index = NULL;
	enum wombat_status s = read_footer(v, &footer);
	bool whole = s == WOMBAT_OK;
	if (s != WOMBAT_OK && s != WOMBAT_CORRUPTION)
		return s;
	s = whole ? read_index(v, footer.index, &index) : WOMBAT_OK;
	if (s == WOMBAT_OK && !index)
		return read_by_search(v);
	if (s == WOMBAT_OK)
		s = read_by_index(v, index);
	index_free(index);
	return s == WOMBAT_OK ? take_ranges(v, footer.ranges) : s;
}

enum wombat_status table_salvage(struct env *env, const char *path, const struct table_salvage *to)
{
	size_t path_bytes = strlen(path) + 1;
	struct table *t = mem_zalloc(sizeof *t + path_bytes);
	if (!t)
		return fail_no_memory();
	struct salvage v = { .t = t, .to = to };
	t->calls = env->calls;
	memcpy(t->path, path, path_bytes);
	enum wombat_status s = env->calls->reader_open(env, path, ENV_SEQUENTIAL, &t->reader);
	if (s == WOMBAT_OK)
		s = salvage(&v);
	env->calls->reader_close(t->reader);
	buf_done(&v.last_key);
	mem_free(t);
	return s;
}
