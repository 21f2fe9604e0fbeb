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

static enum wombat_status read_value(struct vlog *v, const struct value_pointer *p, bool verify, uint8_t *memory)
{
	struct lru_handle *h;
	const uint8_t *bytes;
	enum wombat_status s = acquire_reader(v, p->file, &h);
	if (s != WOMBAT_OK)
		return s;
	struct open_file *o = lru_value(h);
	s = v->env->calls->reader_read(o->reader, p->offset, (size_t)p->size, memory, &bytes);
	if (s == WOMBAT_OK && bytes != memory)
		memcpy(memory, bytes, (size_t)p->size);
	lru_release(v->readers, h);
	atomic_fetch_add_explicit(&v->reads, 1, memory_order_relaxed);
	if (s != WOMBAT_OK || !verify)
		return s;
	uint32_t crc = crc32c(0, memory, (size_t)p->size);
	if (crc != p->crc)
		return fail(WOMBAT_CORRUPTION, "%s/%06" PRIu64 ".vlog: value at %" PRIu64 ": checksum %08x, stored %08x", v->dir,
			    p->file, p->offset, crc, p->crc);
	return WOMBAT_OK;
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
	uint8_t *memory = mem_alloc((size_t)p->size);
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
