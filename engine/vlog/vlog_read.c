/*
 * Reading values by their pointers, over a cache of open files. Values that are small beside the block cache stay in
 * there; the others are read into memory of their own each time.
 */
#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/env/filename.h"
#include "engine/vlog/vlog_impl.h"

enum {
	READERS_MAX = 64,
	READER_CHARGE = 1 << 20,  /* far more than what the cache adds for an entry */
	CACHED_PART = 64,         /* a value may take this part of the cache at most */
	READ_AHEAD = 4 << 20,     /* of a value that is read in order */
};

struct open_file {
	struct env *env;
	struct env_reader *reader;
};

enum wombat_status vlog_readers_new(struct vlog *v)
{
	return lru_new((uint64_t)READERS_MAX * (READER_CHARGE + 4 * LRU_ENTRY_BYTES), 1, &v->readers);
}

void vlog_forget_reader(struct vlog *v, uint64_t number)
{
	lru_erase(v->readers, (struct lru_key){ number, 0 });
}

static void open_file_free(void *value)
{
	struct open_file *o = value;
	o->env->calls->reader_close(o->reader);
	mem_free(o);
}

static enum wombat_status acquire_reader(struct vlog *v, uint64_t number, struct lru_handle **out)
{
	struct lru_key key = { number, 0 };
	char path[FILENAME_PATH_MAX];
	*out = lru_lookup(v->readers, key, true);
	if (*out)
		return WOMBAT_OK;
	if (!filename_path(path, v->dir, FILE_VALUES, number))
		return fail(WOMBAT_INVALID, "the path %s is too long", v->dir);
	struct open_file *o = mem_alloc(sizeof *o);
	if (!o)
		return fail_no_memory();
	o->env = v->env;
	enum wombat_status s = v->env->calls->reader_open(v->env, path, v->env_flags, &o->reader);
	if (s != WOMBAT_OK) {
		mem_free(o);
		/* Not an answer to whoever asked for a key. */
		return s == WOMBAT_NOT_FOUND ? fail(WOMBAT_CORRUPTION, "value log file %06" PRIu64 " is missing", number) : s;
	}
	*out = lru_insert(v->readers, key, o, READER_CHARGE, open_file_free);
	if (*out)
		return WOMBAT_OK;
	open_file_free(o);
	return fail_no_memory();
}

enum wombat_status vlog_read_bytes(struct vlog *v, uint64_t file, uint64_t offset, size_t size, uint8_t *memory)
{
	struct lru_handle *h;
	const uint8_t *bytes;
	enum wombat_status s = acquire_reader(v, file, &h);
	if (s != WOMBAT_OK)
		return s;
	struct open_file *o = lru_value(h);
	s = v->env->calls->reader_read(o->reader, offset, size, memory, &bytes);
	if (s == WOMBAT_OK && bytes != memory)
		memcpy(memory, bytes, size);
	lru_release(v->readers, h);
	atomic_fetch_add_explicit(&v->reads, 1, memory_order_relaxed);
	return s;
}

static enum wombat_status check_sum(const struct vlog *v, const struct value_pointer *p, uint64_t at, const uint8_t *bytes,
				    size_t size, uint32_t expected)
{
	uint32_t crc = crc32c(0, bytes, size);
	if (crc == expected)
		return WOMBAT_OK;
	return fail(WOMBAT_CORRUPTION, "%s/%06" PRIu64 ".vlog: value at %" PRIu64 ": bytes from %" PRIu64 " on have checksum "
		    "%08x, stored %08x", v->dir, p->file, p->offset, at, crc, expected);
}

/* Whole chunks from the first-th on, or what there is of them. */
static enum wombat_status check_chunks(const struct vlog *v, const struct value_pointer *p, const uint8_t *sums,
				       size_t first, const uint8_t *bytes, size_t size)
{
	enum wombat_status s = WOMBAT_OK;
	for (size_t at = 0; at < size && s == WOMBAT_OK; at += VLOG_CHUNK_SIZE, first++) {
		size_t n = size - at < VLOG_CHUNK_SIZE ? size - at : VLOG_CHUNK_SIZE;
		s = check_sum(v, p, (uint64_t)first * VLOG_CHUNK_SIZE, bytes + at, n,
			      get_u32(sums + first * VLOG_CHUNK_CRC_SIZE));
	}
	return s;
}

/* The value, and behind it the checksums of its chunks. */
static enum wombat_status read_value(struct vlog *v, const struct value_pointer *p, bool verify, uint8_t *memory)
{
	size_t sums = vlog_chunk_count(p->size) * VLOG_CHUNK_CRC_SIZE, size = (size_t)p->size;
	enum wombat_status s = vlog_read_bytes(v, p->file, p->offset, size + sums, memory);
	if (s != WOMBAT_OK || !verify)
		return s;
	if (!sums)
		return check_sum(v, p, 0, memory, size, p->crc);
	s = check_sum(v, p, size, memory + size, sums, p->crc);
	return s == WOMBAT_OK ? check_chunks(v, p, memory + size, 0, memory, size) : s;
}

enum wombat_status vlog_read(struct vlog *v, const struct value_pointer *p, unsigned flags, struct lru_pin *pin,
			     struct wombat_slice *out)
{
	struct lru_key key = { p->file, p->offset };
	bool may_stay = v->cache && p->size <= lru_capacity(v->cache) / CACHED_PART;
	bool must_verify = flags & VLOG_READ_VERIFY;
	struct lru_handle *h = may_stay && !must_verify ? lru_lookup(v->cache, key, false) : NULL;
	if (h) {
		*pin = (struct lru_pin){ h, v->cache };
		*out = slice_make(lru_value(h), (size_t)p->size);
		return WOMBAT_OK;
	}
	if (flags & VLOG_READ_CACHED)
		return WOMBAT_WOULD_BLOCK;
	uint8_t *memory = mem_alloc((size_t)p->size + vlog_chunk_count(p->size) * VLOG_CHUNK_CRC_SIZE);
	if (!memory)
		return fail_no_memory();
	bool verify = must_verify || atomic_load_explicit(v->verify, memory_order_relaxed);
	enum wombat_status s = read_value(v, p, verify, memory);
	if (s != WOMBAT_OK) {
		mem_free(memory);
		return s;
	}
	if (may_stay && !(flags & VLOG_READ_NO_FILL))
		h = lru_insert(v->cache, key, memory, (size_t)p->size, mem_free);
	*pin = h ? (struct lru_pin){ h, v->cache } : (struct lru_pin){ memory, NULL };
	*out = slice_make(h ? lru_value(h) : memory, (size_t)p->size);
	return WOMBAT_OK;
}

/* ---- In parts ------------------------------------------------------------------------------ */

struct vlog_value {
	struct vlog *log;
	struct value_pointer pointer;
	bool verify;
	/* Relaxed, both. Where the last read ended: one that goes on there is followed by more. And which chunks were
	 * verified since it was opened, a byte each, behind their checksums: these need not be read whole again. */
	atomic_uint_fast64_t next;
	atomic_uchar *verified;
	uint8_t sums[]; /* of its chunks; a value of one chunk has its own */
};

enum wombat_status vlog_value_open(struct vlog *v, const struct value_pointer *p, struct vlog_value **out)
{
	size_t sums = vlog_chunk_count(p->size) * VLOG_CHUNK_CRC_SIZE;
	size_t sum_room = sums ? sums : VLOG_CHUNK_CRC_SIZE, chunks = sum_room / VLOG_CHUNK_CRC_SIZE;
	struct vlog_value *value = mem_alloc(sizeof *value + sum_room + chunks);
	if (!value)
		return fail_no_memory();
	value->verified = (atomic_uchar *)(value->sums + sum_room);
	for (size_t i = 0; i < chunks; i++)
		atomic_init(&value->verified[i], 0);
	atomic_init(&value->next, 0);
	value->log = v;
	value->pointer = *p;
	value->verify = atomic_load_explicit(v->verify, memory_order_relaxed);
	if (!vlog_pin(v, p->file)) {
		mem_free(value);
		return fail(WOMBAT_CORRUPTION, "value log file %06" PRIu64 " is missing", p->file);
	}
	put_u32(value->sums, p->crc);
	enum wombat_status s = WOMBAT_OK;
	if (sums)
		s = vlog_read_bytes(v, p->file, p->offset + p->size, sums, value->sums);
	/* Always: without them nothing of the value could be verified later. */
	if (s == WOMBAT_OK && sums)
		s = check_sum(v, p, p->size, value->sums, sums, p->crc);
	if (s != WOMBAT_OK) {
		vlog_value_close(value);
		return s;
	}
	*out = value;
	return WOMBAT_OK;
}

static bool is_verified(const struct vlog_value *value, uint64_t begin, uint64_t end)
{
	for (uint64_t i = begin / VLOG_CHUNK_SIZE; i * VLOG_CHUNK_SIZE < end; i++)
		if (!atomic_load_explicit(&value->verified[i], memory_order_relaxed))
			return false;
	return true;
}

static void note_verified(struct vlog_value *value, uint64_t begin, uint64_t end)
{
	for (uint64_t i = begin / VLOG_CHUNK_SIZE; i * VLOG_CHUNK_SIZE < end; i++)
		atomic_store_explicit(&value->verified[i], 1, memory_order_relaxed);
}

void vlog_prefetch(struct vlog *v, uint64_t file, uint64_t offset, uint64_t size)
{
	struct lru_handle *h;
	if (acquire_reader(v, file, &h) != WOMBAT_OK)
		return; /* The read will tell. */
	struct open_file *o = lru_value(h);
	o->env->calls->reader_prefetch(o->reader, offset, (size_t)size);
	lru_release(v->readers, h);
}

/* What comes after a read that went on where the last one ended is asked for now, so that the disk works meanwhile. */
static void read_ahead(struct vlog_value *value, uint64_t offset, uint64_t end)
{
	const struct value_pointer *p = &value->pointer;
	bool goes_on = atomic_exchange_explicit(&value->next, end, memory_order_relaxed) == offset;
	if (goes_on && end < p->size)
		vlog_prefetch(value->log, p->file, p->offset + end, p->size - end < READ_AHEAD ? p->size - end : READ_AHEAD);
}

enum wombat_status vlog_value_read(struct vlog_value *value, uint64_t offset, size_t size, void *out)
{
	const struct value_pointer *p = &value->pointer;
	uint64_t begin = offset, end = offset + size;
	bool verify = value->verify && !is_verified(value, begin, end);
	if (size >= VLOG_CHUNK_SIZE)
		read_ahead(value, offset, end);
	if (verify) { /* Whole chunks, since only these can be. */
		begin -= begin % VLOG_CHUNK_SIZE;
		end += VLOG_CHUNK_SIZE - 1 - (end + VLOG_CHUNK_SIZE - 1) % VLOG_CHUNK_SIZE;
		if (end > p->size)
			end = p->size;
	}
	bool fits = begin == offset && end == offset + size;
	uint8_t *memory = fits ? out : mem_alloc((size_t)(end - begin));
	if (!memory)
		return fail_no_memory();
	enum wombat_status s = vlog_read_bytes(value->log, p->file, p->offset + begin, (size_t)(end - begin), memory);
	if (s == WOMBAT_OK && verify)
		s = check_chunks(value->log, p, value->sums, (size_t)(begin / VLOG_CHUNK_SIZE), memory, (size_t)(end - begin));
	if (s == WOMBAT_OK && verify)
		note_verified(value, begin, end);
	if (s == WOMBAT_OK && !fits)
		memcpy(out, memory + (offset - begin), size);
	if (!fits)
		mem_free(memory);
	return s;
}

const struct value_pointer *vlog_value_pointer(const struct vlog_value *value)
{
	return &value->pointer;
}

void vlog_value_close(struct vlog_value *value)
{
	if (!value)
		return;
	vlog_unpin(value->log, value->pointer.file);
	mem_free(value);
}
