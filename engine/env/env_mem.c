/*
 * Files in memory.
 *
 * A file has live bytes and durable bytes; the namespace has live names and durable names, each name pointing to a
 * counted file. Writing changes what is live, syncing copies it to what is durable: a file's bytes with writer_sync
 * and segment_sync, names with dir_sync. A clone as after a power cut is made of the durable side, or, sector by
 * sector and name by name, of a seeded mix of both.
 *
 * One lock guards everything but the bytes of segments, which the engine writes without asking. A copy of a segment
 * that is taken meanwhile may hold half of a record, as a disk might after a crash: that is the point of it.
 *
 * Names, directories and locks are in env_mem_names.c.
 */
#include "engine/env/env_mem_impl.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/env/filename.h"

enum { SECTOR = 512 };

struct env_writer {
	struct mem_env *env;
	struct mem_file *file;
	char path[PATH_BYTES];
};

struct env_reader {
	struct mem_env *env;
	struct mem_file *file;
	char path[PATH_BYTES];
};

struct mem_segment {
	struct env_segment base;
	struct mem_env *env;
	struct mem_file *file;
	char path[PATH_BYTES];
};

/* ---- Hooks --------------------------------------------------------------------------------- */

enum wombat_status mem_call(struct mem_env *m, const char *op, const char *path)
{
	mutex_lock(&m->mu);
	enum wombat_status (*hook)(void *, const char *, const char *) = m->on_call;
	void *arg = m->on_call_arg;
	mutex_unlock(&m->mu);
	enum wombat_status s = hook ? hook(arg, op, path) : WOMBAT_OK;
	return s == WOMBAT_OK ? s : fail(s, "%s of %s: injected", op, path);
}

void mem_before_sync(struct mem_env *m, const char *path)
{
	mutex_lock(&m->mu);
	void (*hook)(void *, const char *) = m->on_sync;
	void *arg = m->on_sync_arg;
	mutex_unlock(&m->mu);
	if (hook)
		hook(arg, path);
}

void env_mem_on_sync(struct env *env, void (*hook)(void *arg, const char *path), void *arg)
{
	struct mem_env *m = mem_of(env);
	mutex_lock(&m->mu);
	m->on_sync = hook;
	m->on_sync_arg = arg;
	mutex_unlock(&m->mu);
}

void env_mem_on_call(struct env *env, enum wombat_status (*hook)(void *arg, const char *op, const char *path), void *arg)
{
	struct mem_env *m = mem_of(env);
	mutex_lock(&m->mu);
	m->on_call = hook;
	m->on_call_arg = arg;
	mutex_unlock(&m->mu);
}

void env_mem_set_capacity(struct env *env, uint64_t bytes)
{
	struct mem_env *m = mem_of(env);
	mutex_lock(&m->mu);
	m->capacity = bytes;
	mutex_unlock(&m->mu);
}

void env_mem_set_now(struct env *env, uint64_t ns)
{
	struct mem_env *m = mem_of(env);
	mutex_lock(&m->mu);
	m->now_ns = ns;
	mutex_unlock(&m->mu);
}

/* ---- Files and names, with the lock held --------------------------------------------------- */

void mem_file_unref(struct mem_file *f)
{
	if (!f || --f->refs > 0)
		return;
	buf_done(&f->live);
	buf_done(&f->durable);
	mem_free(f->segment);
	mem_free(f);
}

size_t mem_file_bytes(const struct mem_file *f)
{
	return f->segment ? f->segment_size : f->live.size;
}

struct mem_name *mem_find(struct mem_env *m, const char *path)
{
	struct mem_name *n = m->names;
	while (n && strcmp(n->path, path) != 0)
		n = n->next;
	return n;
}

struct mem_name *mem_find_live(struct mem_env *m, const char *path)
{
	struct mem_name *n = mem_find(m, path);
	return n && n->live ? n : NULL;
}

enum wombat_status mem_too_long(const char *path)
{
	return fail(WOMBAT_IO, "creating %s: File name too long", path);
}

enum wombat_status mem_missing(const char *path)
{
	return fail(WOMBAT_NOT_FOUND, "opening %s: no such file", path);
}

struct mem_name *mem_name_make(struct mem_env *m, const char *path)
{
	struct mem_name *n = mem_find(m, path);
	if (n)
		return n;
	n = mem_zalloc(sizeof *n);
	if (!n)
		return NULL;
	snprintf(n->path, sizeof n->path, "%s", path);
	n->next = m->names;
	m->names = n;
	return n;
}

static bool has_room(const struct mem_env *m, size_t more)
{
	uint64_t used = 0;
	for (const struct mem_name *n = m->names; n; n = n->next)
		used += n->live ? mem_file_bytes(n->live) : 0;
	return used + more <= m->capacity;
}

/* A new empty file of that name, counted once more for its opener. */
static enum wombat_status file_create(struct mem_env *m, const char *path, struct mem_file **out)
{
	if (strlen(path) >= PATH_BYTES)
		return mem_too_long(path);
	struct mem_name *n = mem_name_make(m, path);
	struct mem_file *f = n ? mem_zalloc(sizeof *f) : NULL;
	if (!f)
		return fail_no_memory();
	f->refs = 2;
	mem_file_unref(n->live);
	n->live = f;
	*out = f;
	return WOMBAT_OK;
}

/* ---- Writers ------------------------------------------------------------------------------- */

static enum wombat_status open_writer(struct env *env, const char *op, const char *path, bool append, struct env_writer **out)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, op, path);
	if (s != WOMBAT_OK)
		return s;
	struct env_writer *w = mem_zalloc(sizeof *w);
	if (!w)
		return fail_no_memory();
	w->env = m;
	snprintf(w->path, sizeof w->path, "%s", path);
	mutex_lock(&m->mu);
	struct mem_name *n = append ? mem_find_live(m, path) : NULL;
	if (n) {
		w->file = n->live;
		w->file->refs++;
	} else {
		s = file_create(m, path, &w->file);
	}
	mutex_unlock(&m->mu);
	if (s != WOMBAT_OK) {
		mem_free(w);
		return s;
	}
	*out = w;
	return WOMBAT_OK;
}

static enum wombat_status mem_writer_open(struct env *env, const char *path, size_t buffer_bytes, unsigned flags,
					  struct env_writer **out)
{
	(void)buffer_bytes;
	(void)flags;
	return open_writer(env, "writer_open", path, false, out);
}

static enum wombat_status mem_writer_append(struct env *env, const char *path, struct env_writer **out)
{
	return open_writer(env, "writer_append", path, true, out);
}

static enum wombat_status mem_writer_write(struct env_writer *w, const void *data, size_t size)
{
	enum wombat_status s = mem_call(w->env, "writer_write", w->path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&w->env->mu);
	s = has_room(w->env, size) ? buf_append(&w->file->live, data, size) :
				     fail(WOMBAT_NO_SPACE, "writing %s: no space left", w->path);
	mutex_unlock(&w->env->mu);
	return s;
}

static enum wombat_status mem_writer_flush(struct env_writer *w)
{
	return mem_call(w->env, "writer_flush", w->path);
}

static enum wombat_status mem_writer_sync(struct env_writer *w)
{
	enum wombat_status s = mem_call(w->env, "writer_sync", w->path);
	if (s != WOMBAT_OK)
		return s;
	mem_before_sync(w->env, w->path);
	mutex_lock(&w->env->mu);
	s = buf_set(&w->file->durable, buf_slice(&w->file->live));
	mutex_unlock(&w->env->mu);
	return s;
}

static enum wombat_status mem_writer_close(struct env_writer *w)
{
	if (!w)
		return WOMBAT_OK;
	enum wombat_status s = mem_call(w->env, "writer_close", w->path);
	mutex_lock(&w->env->mu);
	mem_file_unref(w->file);
	mutex_unlock(&w->env->mu);
	mem_free(w);
	return s;
}

/* ---- Readers ------------------------------------------------------------------------------- */

static enum wombat_status mem_reader_open(struct env *env, const char *path, unsigned flags, struct env_reader **out)
{
	struct mem_env *m = mem_of(env);
	(void)flags;
	enum wombat_status s = mem_call(m, "reader_open", path);
	if (s != WOMBAT_OK)
		return s;
	struct env_reader *r = mem_zalloc(sizeof *r);
	if (!r)
		return fail_no_memory();
	r->env = m;
	snprintf(r->path, sizeof r->path, "%s", path);
	mutex_lock(&m->mu);
	struct mem_name *n = mem_find_live(m, path);
	if (n) {
		r->file = n->live;
		r->file->refs++;
	}
	mutex_unlock(&m->mu);
	if (!r->file) {
		mem_free(r);
		return mem_missing(path);
	}
	*out = r;
	return WOMBAT_OK;
}

static enum wombat_status mem_reader_read(struct env_reader *r, uint64_t offset, size_t size, void *scratch,
					  const uint8_t **out)
{
	enum wombat_status s = mem_call(r->env, "reader_read", r->path);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&r->env->mu);
	size_t have = mem_file_bytes(r->file);
	if (offset > have || size > have - offset)
		s = fail(WOMBAT_CORRUPTION, "%s ends before offset %llu", r->path, (unsigned long long)(offset + size));
	else if (size)
		memcpy(scratch, (r->file->segment ? r->file->segment : r->file->live.data) + offset, size);
	mutex_unlock(&r->env->mu);
	if (s == WOMBAT_OK)
		*out = scratch;
	return s;
}

static void mem_reader_prefetch(struct env_reader *r, uint64_t offset, size_t size)
{
	(void)r;
	(void)offset;
	(void)size;
}

static uint64_t mem_reader_size(const struct env_reader *r)
{
	mutex_lock(&r->env->mu);
	uint64_t size = mem_file_bytes(r->file);
	mutex_unlock(&r->env->mu);
	return size;
}

static void mem_reader_close(struct env_reader *r)
{
	if (!r)
		return;
	mutex_lock(&r->env->mu);
	mem_file_unref(r->file);
	mutex_unlock(&r->env->mu);
	mem_free(r);
}

/* ---- Segments ------------------------------------------------------------------------------ */

/* Reads bytes that another thread may be writing: whole words, in any mix of old and new, are what a disk could hold.
 * The sanitizer is told so. */
__attribute__((no_sanitize("thread"), noinline)) static void copy_racy(uint8_t *to, const uint8_t *from, size_t size)
{
	const volatile uint64_t *words = (const volatile uint64_t *)(const void *)from;
	size_t whole = size / 8;
	for (size_t i = 0; i < whole; i++) {
		uint64_t word = words[i];
		__builtin_memcpy(to + 8 * i, &word, 8);
	}
	for (size_t i = 8 * whole; i < size; i++)
		to[i] = ((const volatile uint8_t *)from)[i];
}

/* Live bytes become a segment's: at a fixed place, written without the lock from then on. */
static enum wombat_status make_segment(struct mem_file *f, size_t size)
{
	if (f->segment)
		return WOMBAT_OK;
	f->segment_size = size ? size : f->live.size;
	f->segment = mem_zalloc(f->segment_size);
	if (!f->segment)
		return fail_no_memory();
	if (f->live.size)
		memcpy(f->segment, f->live.data, f->live.size < f->segment_size ? f->live.size : f->segment_size);
	buf_done(&f->live);
	return WOMBAT_OK;
}

static enum wombat_status mem_segment_open(struct env *env, const char *path, size_t size, struct env_segment **out)
{
	struct mem_env *m = mem_of(env);
	enum wombat_status s = mem_call(m, size ? "segment_create" : "segment_open", path);
	if (s != WOMBAT_OK)
		return s;
	struct mem_segment *seg = mem_zalloc(sizeof *seg);
	if (!seg)
		return fail_no_memory();
	seg->env = m;
	snprintf(seg->path, sizeof seg->path, "%s", path);
	mutex_lock(&m->mu);
	struct mem_name *n = mem_find_live(m, path);
	if (size && n) {
		s = fail(WOMBAT_IO, "opening %s: File exists", path);
	} else if (size && !has_room(m, size)) {
		s = fail(WOMBAT_NO_SPACE, "allocating %s: no space left", path);
	} else if (size) {
		s = file_create(m, path, &seg->file);
	} else if (n) {
		seg->file = n->live;
		seg->file->refs++;
	} else {
		s = mem_missing(path);
	}
	if (s == WOMBAT_OK)
		s = make_segment(seg->file, size);
	if (s == WOMBAT_OK && size) /* Its zeroes are written and synced. */
		s = buf_set(&seg->file->durable, slice_make(seg->file->segment, size));
	if (s != WOMBAT_OK && seg->file) {
		if (size) { /* Half made: its name goes, as on a real file system. */
			n = mem_find_live(m, path);
			mem_file_unref(n->live);
			n->live = NULL;
		}
		mem_file_unref(seg->file);
	}
	mutex_unlock(&m->mu);
	if (s != WOMBAT_OK) {
		mem_free(seg);
		return s;
	}
	seg->base = (struct env_segment){ seg->file->segment, seg->file->segment_size };
	*out = &seg->base;
	return WOMBAT_OK;
}

static enum wombat_status mem_segment_write(struct env_segment *segment, uint64_t offset, const void *data, size_t size)
{
	struct mem_segment *s = (struct mem_segment *)segment;
	assert(offset <= segment->size && size <= segment->size - offset);
	enum wombat_status status = mem_call(s->env, "segment_write", s->path);
	if (status == WOMBAT_OK)
		memcpy(s->base.base + offset, data, size);
	return status;
}

static void mem_segment_expect(struct env_segment *segment, uint64_t offset, size_t size)
{
	(void)segment;
	(void)offset;
	(void)size;
}

static void mem_segment_rest(struct env_segment *segment, uint64_t from, uint64_t to)
{
	(void)segment;
	(void)from;
	(void)to;
}

static enum wombat_status mem_segment_sync(struct env_segment *segment)
{
	struct mem_segment *s = (struct mem_segment *)segment;
	enum wombat_status status = mem_call(s->env, "segment_sync", s->path);
	if (status != WOMBAT_OK)
		return status;
	mem_before_sync(s->env, s->path);
	mutex_lock(&s->env->mu);
	struct buf *durable = &s->file->durable;
	status = buf_reserve(durable, s->base.size > durable->size ? s->base.size - durable->size : 0);
	if (status == WOMBAT_OK) {
		durable->size = s->base.size;
		copy_racy(durable->data, s->base.base, s->base.size);
	}
	mutex_unlock(&s->env->mu);
	return status;
}

static void mem_segment_close(struct env_segment *segment)
{
	struct mem_segment *s = (struct mem_segment *)segment;
	if (!s)
		return;
	mutex_lock(&s->env->mu);
	mem_file_unref(s->file);
	mutex_unlock(&s->env->mu);
	mem_free(s);
}

/* ---- Clock --------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t mem_now_ns(struct env *env)
{
	struct mem_env *m = mem_of(env);
	mutex_lock(&m->mu);
	uint64_t now = m->now_ns;
	mutex_unlock(&m->mu);
	return now ? now : clock_ns(CLOCK_REALTIME);
}

static uint64_t mem_monotonic_ns(struct env *env)
{
	(void)env;
	return clock_ns(CLOCK_MONOTONIC);
}

static void mem_sleep_ns(struct env *env, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	(void)env;
	nanosleep(&t, NULL);
}

/* ---- Making, cloning, freeing -------------------------------------------------------------- */

static void mem_env_free(struct env *env)
{
	struct mem_env *m = mem_of(env);
	while (m->names) {
		struct mem_name *n = m->names;
		m->names = n->next;
		mem_file_unref(n->live);
		mem_file_unref(n->durable);
		mem_free(n);
	}
	mutex_done(&m->mu);
	mem_free(m);
}

static const struct env_calls mem_calls = {
	.free = mem_env_free,
	.writer_open = mem_writer_open,
	.writer_append = mem_writer_append,
	.writer_write = mem_writer_write,
	.writer_flush = mem_writer_flush,
	.writer_sync = mem_writer_sync,
	.writer_sync_flushed = mem_writer_sync, /* nothing is buffered */
	.writer_close = mem_writer_close,
	.reader_open = mem_reader_open,
	.reader_read = mem_reader_read,
	.reader_prefetch = mem_reader_prefetch,
	.reader_size = mem_reader_size,
	.reader_close = mem_reader_close,
	.segment_open = mem_segment_open,
	.segment_write = mem_segment_write,
	.segment_expect = mem_segment_expect,
	.segment_rest = mem_segment_rest,
	.segment_sync = mem_segment_sync,
	.segment_close = mem_segment_close,
	.rename = mem_rename,
	.link = mem_link,
	.remove = mem_remove,
	.file_size = mem_file_size,
	.dir_create = mem_dir_create,
	.dir_remove = mem_dir_remove,
	.dir_list = mem_dir_list,
	.dir_sync = mem_dir_sync,
	.disk_space = mem_disk_space,
	.lock = mem_lock,
	.lock_shared = mem_lock_shared,
	.lock_note = mem_lock_note,
	.unlock = mem_unlock,
	.lock_holder = mem_lock_holder,
	.now_ns = mem_now_ns,
	.monotonic_ns = mem_monotonic_ns,
	.sleep_ns = mem_sleep_ns,
};

enum wombat_status env_mem_new(struct env **out)
{
	struct mem_env *m = mem_zalloc(sizeof *m);
	if (!m)
		return fail_no_memory();
	m->base.calls = &mem_calls;
	m->capacity = UINT64_MAX / 2;
	mutex_init(&m->mu, LOCK_RANK_ENV);
	*out = &m->base;
	return WOMBAT_OK;
}

/* Of each sector that differs between the two, one or the other. An end that was not synced may be anywhere between
 * both, and what was appended but did not reach the disk before it reads as zeroes. */
static enum wombat_status mix_bytes(const struct mem_file *f, struct random_state *r, struct buf *out)
{
	const uint8_t *live = f->segment ? f->segment : f->live.data;
	size_t live_size = mem_file_bytes(f), durable_size = f->durable.size;
	size_t low = live_size < durable_size ? live_size : durable_size;
	size_t size = low + random_below(r, 4) * ((live_size > durable_size ? live_size : durable_size) - low) / 3;
	enum wombat_status s = buf_reserve(out, size);
	if (s != WOMBAT_OK)
		return s;
	out->size = size;
	for (size_t at = 0; at < size; at += SECTOR) {
		size_t n = size - at < SECTOR ? size - at : SECTOR;
		bool new_one = random_below(r, 2);
		size_t have = new_one ? live_size : durable_size;
		size_t copied = at >= have ? 0 : have - at < n ? have - at : n;
		if (copied && new_one)
			copy_racy(out->data + at, live + at, copied);
		else if (copied)
			memcpy(out->data + at, f->durable.data + at, copied);
		memset(out->data + at + copied, 0, n - copied);
	}
	return WOMBAT_OK;
}

static enum wombat_status clone_file(const struct mem_file *f, enum env_mem_crash crash, struct random_state *r, struct buf *out)
{
	if (crash == ENV_MEM_SYNCED_ONLY)
		return buf_set(out, buf_slice(&f->durable));
	if (crash == ENV_MEM_RANDOM)
		return mix_bytes(f, r, out);
	if (!f->segment)
		return buf_set(out, buf_slice(&f->live));
	enum wombat_status s = buf_reserve(out, f->segment_size);
	if (s == WOMBAT_OK) {
		out->size = f->segment_size;
		copy_racy(out->data, f->segment, f->segment_size);
	}
	return s;
}

enum wombat_status env_mem_clone(struct env *env, enum env_mem_crash crash, uint64_t seed, struct env **out)
{
	struct mem_env *m = mem_of(env);
	struct env *copy = NULL;
	struct random_state r;
	random_seed(&r, seed);
	enum wombat_status s = env_mem_new(&copy);
	if (s != WOMBAT_OK)
		return s;
	mutex_lock(&m->mu);
	mem_of(copy)->now_ns = m->now_ns;
	for (struct mem_name *n = m->names; n && s == WOMBAT_OK; n = n->next) {
		const struct mem_file *from = crash == ENV_MEM_ALL || (crash == ENV_MEM_RANDOM && random_below(&r, 2)) ?
					      n->live : n->durable;
		struct mem_file *f = NULL;
		if (!from)
			continue;
		s = file_create(mem_of(copy), n->path, &f);
		if (s != WOMBAT_OK)
			break;
		f->refs++; /* The opener's count becomes the durable name's, once more for this function. */
		mem_find(mem_of(copy), n->path)->durable = f;
		s = clone_file(from, crash, &r, &f->live);
		if (s == WOMBAT_OK)
			s = buf_set(&f->durable, buf_slice(&f->live));
		f->refs--;
	}
	mutex_unlock(&m->mu);
	if (s != WOMBAT_OK) {
		mem_env_free(copy);
		return s;
	}
	*out = copy;
	return WOMBAT_OK;
}

uint8_t *env_mem_bytes(struct env *env, const char *path, size_t *out_size)
{
	struct mem_env *m = mem_of(env);
	mutex_lock(&m->mu);
	struct mem_name *n = mem_find_live(m, path);
	uint8_t *bytes = n ? (n->live->segment ? n->live->segment : n->live->live.data) : NULL;
	if (n)
		*out_size = mem_file_bytes(n->live);
	mutex_unlock(&m->mu);
	return bytes;
}
