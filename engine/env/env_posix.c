/*
 * The environment of a POSIX system: the only file that calls open, pread, fsync, rename and their like.
 *
 * Every call is repeated when a signal interrupts it, and goes on after a short read or write. Files opened past
 * the page cache (ENV_DIRECT) need aligned memory, offsets and sizes: both directions go through an aligned buffer,
 * and what is left at a file's end is written without the flag. Where the file system refuses the flag, the file
 * is used without it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <dirent.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/env/env.h"
#include "engine/env/filename.h"

enum { DIRECT_ALIGN = 4096, SEGMENT_CHUNK = 4096, WRITE_MIN = 4096, NOTE_MAX = 8192 };

static int open_file(const char *path, int flags, mode_t mode)
{
	int fd;
	do
		fd = open(path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

/* O_DIRECT where the file system has it. */
static int open_direct(const char *path, int flags, mode_t mode, bool *direct)
{
	if (*direct) {
		int fd = open_file(path, flags | O_DIRECT, mode);
		if (fd >= 0 || errno != EINVAL)
			return fd;
		*direct = false;
	}
	return open_file(path, flags, mode);
}

static enum wombat_status write_at(int fd, const char *path, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size) {
		ssize_t n = pwrite(fd, data, size, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(errno, "writing %s", path);
		data += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return WOMBAT_OK;
}

static char *copy_path(const char *path)
{
	size_t size = strlen(path) + 1;
	char *copy = mem_alloc(size);
	if (copy)
		memcpy(copy, path, size);
	return copy;
}

/* ---- Writers ------------------------------------------------------------------------------- */

struct env_writer {
	int fd;
	bool direct;
	char *path;
	uint8_t *buffer;
	size_t used, capacity;
	uint64_t offset; /* of the buffer's first byte in the file */
};

static void writer_free(struct env_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	mem_free(w->buffer);
	mem_free(w->path);
	mem_free(w);
}

static enum wombat_status writer_new(const char *path, size_t buffer_bytes, struct env_writer **out)
{
	struct env_writer *w = mem_zalloc(sizeof *w);
	if (!w)
		return fail_no_memory();
	w->fd = -1;
	w->capacity = buffer_bytes < WRITE_MIN ? WRITE_MIN : (buffer_bytes + DIRECT_ALIGN - 1) & ~(size_t)(DIRECT_ALIGN - 1);
	w->path = copy_path(path);
	/* A page more, so that an aligned start can be found in it. */
	w->buffer = mem_alloc_aligned(w->capacity + DIRECT_ALIGN);
	if (!w->path || !w->buffer) {
		writer_free(w);
		return fail_no_memory();
	}
	*out = w;
	return WOMBAT_OK;
}

static uint8_t *writer_bytes(const struct env_writer *w)
{
	return w->buffer + ((size_t)(-(uintptr_t)w->buffer) & (DIRECT_ALIGN - 1));
}

static enum wombat_status posix_writer_open(struct env *env, const char *path, size_t buffer_bytes, unsigned flags,
					    struct env_writer **out)
{
	struct env_writer *w;
	(void)env;
	enum wombat_status s = writer_new(path, buffer_bytes, &w);
	if (s != WOMBAT_OK)
		return s;
	w->direct = flags & ENV_DIRECT;
	w->fd = open_direct(path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &w->direct);
	if (w->fd < 0) {
		s = fail_errno(errno, "creating %s", path);
		writer_free(w);
		return s;
	}
	*out = w;
	return WOMBAT_OK;
}

static enum wombat_status posix_writer_append(struct env *env, const char *path, struct env_writer **out)
{
	struct env_writer *w;
	struct stat st;
	(void)env;
	enum wombat_status s = writer_new(path, 65536, &w);
	if (s != WOMBAT_OK)
		return s;
	w->fd = open_file(path, O_WRONLY | O_CREAT, 0644);
	if (w->fd < 0 || fstat(w->fd, &st) != 0) {
		s = fail_errno(errno, "opening %s", path);
		writer_free(w);
		return s;
	}
	w->offset = (uint64_t)st.st_size;
	*out = w;
	return WOMBAT_OK;
}

/* Writes the buffer's first `size` bytes and keeps the rest. */
static enum wombat_status writer_drain(struct env_writer *w, size_t size)
{
	uint8_t *bytes = writer_bytes(w);
	enum wombat_status s = write_at(w->fd, w->path, bytes, size, w->offset);
	if (s != WOMBAT_OK)
		return s;
	w->offset += size;
	w->used -= size;
	memmove(bytes, bytes + size, w->used);
	return WOMBAT_OK;
}

static enum wombat_status posix_writer_write(struct env_writer *w, const void *data, size_t size)
{
	const uint8_t *p = data;
	while (size) {
		if (w->used == 0 && !w->direct && size >= w->capacity) {
			enum wombat_status s = write_at(w->fd, w->path, p, size, w->offset);
			w->offset += s == WOMBAT_OK ? size : 0;
			return s;
		}
		size_t n = w->capacity - w->used;
		n = n < size ? n : size;
		memcpy(writer_bytes(w) + w->used, p, n);
		w->used += n;
		p += n;
		size -= n;
		if (w->used == w->capacity) {
			enum wombat_status s = writer_drain(w, w->used);
			if (s != WOMBAT_OK)
				return s;
		}
	}
	return WOMBAT_OK;
}

static enum wombat_status posix_writer_flush(struct env_writer *w)
{
	size_t whole = w->direct ? w->used & ~(size_t)(DIRECT_ALIGN - 1) : w->used;
	enum wombat_status s = whole ? writer_drain(w, whole) : WOMBAT_OK;
	if (s != WOMBAT_OK || w->used == 0)
		return s;
	/* The rest is no whole page: it, and all after it, goes through the page cache. */
	int flags = fcntl(w->fd, F_GETFL);
	if (flags < 0 || fcntl(w->fd, F_SETFL, flags & ~O_DIRECT) != 0)
		return fail_errno(errno, "writing %s", w->path);
	w->direct = false;
	return writer_drain(w, w->used);
}

static enum wombat_status sync_fd(int fd, const char *path)
{
	int r;
	do
		r = fdatasync(fd);
	while (r != 0 && errno == EINTR);
	return r == 0 ? WOMBAT_OK : fail_errno(errno, "syncing %s", path);
}

static enum wombat_status posix_writer_sync_flushed(struct env_writer *w)
{
	return sync_fd(w->fd, w->path);
}

static enum wombat_status posix_writer_sync(struct env_writer *w)
{
	enum wombat_status s = posix_writer_flush(w);
	return s == WOMBAT_OK ? sync_fd(w->fd, w->path) : s;
}

static enum wombat_status posix_writer_close(struct env_writer *w)
{
	if (!w)
		return WOMBAT_OK;
	enum wombat_status s = posix_writer_flush(w);
	int fd = w->fd;
	w->fd = -1;
	if (close(fd) != 0 && errno != EINTR && s == WOMBAT_OK)
		s = fail_errno(errno, "closing %s", w->path);
	writer_free(w);
	return s;
}

/* ---- Readers ------------------------------------------------------------------------------- */

struct env_reader {
	int fd;
	bool direct;
	const uint8_t *map;
	uint64_t size;
	char *path;
};

static void posix_reader_close(struct env_reader *r)
{
	if (!r)
		return;
	if (r->map)
		munmap((void *)(uintptr_t)r->map, (size_t)r->size);
	if (r->fd >= 0)
		close(r->fd);
	mem_free(r->path);
	mem_free(r);
}

static enum wombat_status posix_reader_open(struct env *env, const char *path, unsigned flags, struct env_reader **out)
{
	struct stat st;
	(void)env;
	struct env_reader *r = mem_zalloc(sizeof *r);
	if (!r)
		return fail_no_memory();
	r->fd = -1;
	r->path = copy_path(path);
	if (!r->path) {
		posix_reader_close(r);
		return fail_no_memory();
	}
	r->direct = (flags & ENV_DIRECT) && !(flags & ENV_MMAP);
	r->fd = open_direct(path, O_RDONLY, 0, &r->direct);
	if (r->fd < 0 || fstat(r->fd, &st) != 0)
		goto failed;
	r->size = (uint64_t)st.st_size;
	if ((flags & ENV_MMAP) && r->size) {
		void *map = mmap(NULL, (size_t)r->size, PROT_READ, MAP_SHARED, r->fd, 0);
		if (map == MAP_FAILED)
			goto failed;
		r->map = map;
		/* Point reads would otherwise fetch their surroundings; a failure only loses the hint. */
		madvise(map, (size_t)r->size, flags & ENV_SEQUENTIAL ? MADV_SEQUENTIAL : MADV_RANDOM);
	} else if (flags & ENV_SEQUENTIAL) {
		posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	}
	*out = r;
	return WOMBAT_OK;
failed:;
	enum wombat_status s = fail_errno(errno, "opening %s", path);
	posix_reader_close(r);
	return s;
}

/* Up to `size` bytes, and at least `need` of them unless the file ends before. */
static enum wombat_status read_at(const struct env_reader *r, uint8_t *p, size_t size, size_t need, uint64_t offset,
				  size_t *out_got)
{
	size_t got = 0;
	while (got < need) {
		ssize_t n = pread(r->fd, p + got, size - got, (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(errno, "reading %s at offset %llu", r->path, (unsigned long long)offset);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*out_got = got;
	return WOMBAT_OK;
}

static enum wombat_status short_file(const struct env_reader *r, uint64_t offset, size_t size)
{
	return fail(WOMBAT_CORRUPTION, "%s ends before offset %llu", r->path, (unsigned long long)(offset + size));
}

static enum wombat_status read_direct(const struct env_reader *r, uint64_t offset, size_t size, uint8_t *out)
{
	uint64_t start = offset & ~(uint64_t)(DIRECT_ALIGN - 1);
	size_t lead = (size_t)(offset - start), span = (lead + size + DIRECT_ALIGN - 1) & ~(size_t)(DIRECT_ALIGN - 1), got;
	uint8_t *room = mem_alloc_aligned(span + DIRECT_ALIGN);
	if (!room)
		return fail_no_memory();
	uint8_t *p = room + ((size_t)(-(uintptr_t)room) & (DIRECT_ALIGN - 1));
	/* No more is asked for once the needed bytes are here: a file's end is no aligned offset to go on from. */
	enum wombat_status s = read_at(r, p, span, lead + size, start, &got);
	if (s == WOMBAT_OK && got < lead + size)
		s = short_file(r, offset, size);
	if (s == WOMBAT_OK)
		memcpy(out, p + lead, size);
	mem_free(room);
	return s;
}

static enum wombat_status posix_reader_read(struct env_reader *r, uint64_t offset, size_t size, void *scratch,
					    const uint8_t **out)
{
	size_t got = 0;
	/* A file that is not mapped may have grown since it was opened: its end is where reading finds it. */
	uint64_t bound = r->map || size == 0 ? r->size : INT64_MAX;
	if (offset > bound || size > bound - offset)
		return short_file(r, offset, size);
	if (r->map) {
		*out = r->map + offset;
		return WOMBAT_OK;
	}
	enum wombat_status s = r->direct ? read_direct(r, offset, size, scratch) :
						read_at(r, scratch, size, size, offset, &got);
	if (s == WOMBAT_OK && !r->direct && got < size)
		s = short_file(r, offset, size);
	if (s == WOMBAT_OK)
		*out = scratch;
	return s;
}

static void posix_reader_prefetch(struct env_reader *r, uint64_t offset, size_t size)
{
	if (r->map) {
		uint64_t start = offset & ~(uint64_t)(DIRECT_ALIGN - 1);
		if (start < r->size)
			madvise((void *)(uintptr_t)(r->map + start), size + (size_t)(offset - start), MADV_WILLNEED);
	} else if (!r->direct) {
		posix_fadvise(r->fd, (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
	}
}

static uint64_t posix_reader_size(const struct env_reader *r)
{
	return r->size;
}

/* Whether it failed because nothing may be written there. */
static bool is_for_reading(int error)
{
	return error == EROFS || error == EACCES || error == EPERM;
}

/* ---- Segments ------------------------------------------------------------------------------ */

struct posix_segment {
	struct env_segment base;
	int fd;
	char *path;
};

static void posix_segment_close(struct env_segment *segment)
{
	struct posix_segment *s = (struct posix_segment *)segment;
	if (!s)
		return;
	if (s->base.base)
		munmap(s->base.base, s->base.size);
	if (s->fd >= 0)
		close(s->fd);
	mem_free(s->path);
	mem_free(s);
}

/*
 * Allocates the blocks and writes them: a later fdatasync then finds no metadata to write. Page by page, because the kernel keeps in one
 * piece what came in one write, and what is changed through the map makes the whole piece dirty: each sync would write a megabyte.
 */
static enum wombat_status fill_segment(int fd, const char *path, size_t size)
{
	int error;
	do
		error = posix_fallocate(fd, 0, (off_t)size);
	while (error == EINTR);
	if (error != 0)
		return fail_errno(error, "allocating %s", path);
	static const uint8_t zeroes[SEGMENT_CHUNK];
	enum wombat_status s = WOMBAT_OK;
	for (size_t at = 0; at < size && s == WOMBAT_OK; at += SEGMENT_CHUNK)
		s = write_at(fd, path, zeroes, size - at < SEGMENT_CHUNK ? size - at : SEGMENT_CHUNK, at);
	return s == WOMBAT_OK ? sync_fd(fd, path) : s;
}

static enum wombat_status posix_segment_open(struct env *env, const char *path, size_t size, struct env_segment **out)
{
	bool create = size > 0;
	struct stat st;
	(void)env;
	struct posix_segment *seg = mem_zalloc(sizeof *seg);
	if (!seg)
		return fail_no_memory();
	enum wombat_status s = WOMBAT_OK;
	seg->path = copy_path(path);
	seg->fd = open_file(path, O_RDWR | (create ? O_CREAT | O_EXCL : 0), 0644);
	bool reading = seg->fd < 0 && !create && is_for_reading(errno);
	if (reading)
		seg->fd = open_file(path, O_RDONLY, 0);
	if (seg->fd < 0)
		s = fail_errno(errno, "opening %s", path);
	else if (!seg->path)
		s = fail_no_memory();
	else if (create)
		s = fill_segment(seg->fd, path, size);
	if (s == WOMBAT_OK && fstat(seg->fd, &st) != 0)
		s = fail_errno(errno, "opening %s", path);
	if (s == WOMBAT_OK && st.st_size > 0) {
		seg->base.size = (size_t)st.st_size;
		void *map = mmap(NULL, seg->base.size, reading ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, seg->fd, 0);
		if (map == MAP_FAILED)
			s = fail_errno(errno, "mapping %s", path);
		else
			seg->base.base = map;
	}
	if (s != WOMBAT_OK) {
		bool made = create && seg->fd >= 0;
		posix_segment_close(&seg->base);
		if (made)
			unlink(path);
		return s;
	}
	*out = &seg->base;
	return WOMBAT_OK;
}

static enum wombat_status posix_segment_write(struct env_segment *segment, uint64_t offset, const void *data, size_t size)
{
	struct posix_segment *s = (struct posix_segment *)segment;
	assert(offset <= segment->size && size <= segment->size - offset);
	return write_at(s->fd, s->path, data, size, offset);
}

static void posix_segment_expect(struct env_segment *segment, uint64_t offset, size_t size)
{
#ifdef MADV_POPULATE_WRITE
	uint64_t begin = offset & ~(uint64_t)(DIRECT_ALIGN - 1);
	if (begin < segment->size)
		madvise(segment->base + begin, size < segment->size - begin ? size : segment->size - begin, MADV_POPULATE_WRITE);
#else
	(void)segment;
	(void)offset;
	(void)size;
#endif
}

static void posix_segment_rest(struct env_segment *segment, uint64_t from, uint64_t to)
{
	from = (from + DIRECT_ALIGN - 1) & ~(uint64_t)(DIRECT_ALIGN - 1);
	to &= ~(uint64_t)(DIRECT_ALIGN - 1);
	/* Of a shared map: what was stored stays in the page cache. */
	if (from < to)
		madvise(segment->base + from, to - from, MADV_DONTNEED);
}

static enum wombat_status posix_segment_sync(struct env_segment *segment)
{
	struct posix_segment *s = (struct posix_segment *)segment;
	return sync_fd(s->fd, s->path);
}

/* ---- Names --------------------------------------------------------------------------------- */

static enum wombat_status posix_rename(struct env *env, const char *from, const char *to)
{
	(void)env;
	return rename(from, to) == 0 ? WOMBAT_OK : fail_errno(errno, "renaming %s to %s", from, to);
}

static enum wombat_status posix_link(struct env *env, const char *from, const char *to)
{
	(void)env;
	if (link(from, to) == 0)
		return WOMBAT_OK;
	/* Another device, a file system without hard links, or a file with as many as it may have. */
	if (errno == EXDEV || errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK)
		return WOMBAT_UNSUPPORTED;
	return fail_errno(errno, "linking %s to %s", from, to);
}

static enum wombat_status posix_remove(struct env *env, const char *path)
{
	(void)env;
	return unlink(path) == 0 ? WOMBAT_OK : fail_errno(errno, "removing %s", path);
}

static enum wombat_status posix_file_size(struct env *env, const char *path, uint64_t *out)
{
	struct stat st;
	(void)env;
	if (stat(path, &st) != 0)
		return fail_errno(errno, "looking at %s", path);
	*out = (uint64_t)st.st_size;
	return WOMBAT_OK;
}

static enum wombat_status posix_dir_remove(struct env *env, const char *path)
{
	(void)env;
	return rmdir(path) == 0 ? WOMBAT_OK : fail_errno(errno, "removing %s", path);
}

static enum wombat_status posix_dir_create(struct env *env, const char *path)
{
	struct stat st;
	(void)env;
	if (mkdir(path, 0755) == 0)
		return WOMBAT_OK;
	int error = errno;
	if (error == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return WOMBAT_OK;
	return fail_errno(error, "creating directory %s", path);
}

static enum wombat_status posix_dir_list(struct env *env, const char *path, void (*each)(void *arg, const char *name),
					 void *arg)
{
	(void)env;
	DIR *dir = opendir(path);
	if (!dir)
		return fail_errno(errno, "listing %s", path);
	for (errno = 0;; errno = 0) {
		struct dirent *e = readdir(dir);
		if (!e)
			break;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			each(arg, e->d_name);
	}
	int error = errno;
	closedir(dir);
	return error == 0 ? WOMBAT_OK : fail_errno(error, "listing %s", path);
}

static enum wombat_status posix_dir_sync(struct env *env, const char *path)
{
	(void)env;
	int fd = open_file(path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail_errno(errno, "opening directory %s", path);
	enum wombat_status s = WOMBAT_OK;
	int r;
	do
		r = fsync(fd);
	while (r != 0 && errno == EINTR);
	if (r != 0)
		s = fail_errno(errno, "syncing directory %s", path);
	close(fd);
	return s;
}

static enum wombat_status posix_disk_space(struct env *env, const char *path, uint64_t *out_free, uint64_t *out_total)
{
	struct statvfs v;
	(void)env;
	if (statvfs(path, &v) != 0)
		return fail_errno(errno, "asking for the space of %s", path);
	*out_free = (uint64_t)v.f_bavail * v.f_frsize;
	*out_total = (uint64_t)v.f_blocks * v.f_frsize;
	return WOMBAT_OK;
}

/* ---- The lock ------------------------------------------------------------------------------ */

struct env_lock {
	int fd;     /* -1: there is no file, and none can be made */
	bool noted; /* the file can be written */
	char *path;
};

/* An open-file-description lock: it excludes other openers in this process as well. */
static struct flock whole_file(short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET };
}

static enum wombat_status posix_lock_note(struct env_lock *l, const char *note)
{
	if (!l->noted)
		return WOMBAT_OK;
	if (ftruncate(l->fd, 0) != 0)
		return fail_errno(errno, "writing %s", l->path);
	return write_at(l->fd, l->path, (const uint8_t *)note, strlen(note), 0);
}

static void lock_free(struct env_lock *l)
{
	if (l->fd >= 0)
		close(l->fd);
	mem_free(l->path);
	mem_free(l);
}

static enum wombat_status take_lock(const char *path, const char *note, bool shared, struct env_lock **out)
{
	struct env_lock *l = mem_zalloc(sizeof *l);
	if (!l)
		return fail_no_memory();
	enum wombat_status s = WOMBAT_OK;
	struct flock f = whole_file(shared ? F_RDLCK : F_WRLCK);
	l->path = copy_path(path);
	l->fd = open_file(path, O_RDWR | O_CREAT, 0644);
	l->noted = l->fd >= 0;
	bool unmade = false;
	if (l->fd < 0 && shared && is_for_reading(errno)) {
		l->fd = open_file(path, O_RDONLY, 0);
		unmade = l->fd < 0 && errno == ENOENT;
	}
	if (!l->path)
		s = fail_no_memory();
	else if (l->fd < 0 && !unmade)
		s = fail_errno(errno, "opening %s", path);
	else if (l->fd >= 0 && fcntl(l->fd, F_OFD_SETLK, &f) != 0)
		s = errno == EAGAIN || errno == EACCES ? fail(WOMBAT_BUSY, "%s is locked", path) :
							fail_errno(errno, "locking %s", path);
	if (s == WOMBAT_OK)
		s = posix_lock_note(l, note);
	if (s != WOMBAT_OK) {
		lock_free(l);
		return s;
	}
	*out = l;
	return WOMBAT_OK;
}

static enum wombat_status posix_lock(struct env *env, const char *path, const char *note, struct env_lock **out)
{
	(void)env;
	return take_lock(path, note, false, out);
}

static enum wombat_status posix_lock_shared(struct env *env, const char *path, const char *note, struct env_lock **out)
{
	(void)env;
	return take_lock(path, note, true, out);
}

static void posix_unlock(struct env_lock *l)
{
	if (!l)
		return;
	/* An old note misleads nobody: who asks for the holder looks at the lock first. */
	if (l->noted && ftruncate(l->fd, 0) != 0)
		errno = 0;
	lock_free(l);
}

static enum wombat_status posix_lock_holder(struct env *env, const char *path, struct buf *out)
{
	(void)env;
	/* For reading alone: who may not write to the database may still ask who holds it. */
	struct env_reader r = { .fd = open_file(path, O_RDONLY, 0), .path = (char *)(uintptr_t)path };
	if (r.fd < 0)
		return fail_errno(errno, "opening %s", path);
	struct flock f = whole_file(F_WRLCK);
	enum wombat_status s = WOMBAT_OK;
	if (fcntl(r.fd, F_OFD_GETLK, &f) != 0)
		s = fail_errno(errno, "looking at the lock of %s", path);
	else if (f.l_type == F_UNLCK)
		s = fail(WOMBAT_NOT_FOUND, "%s is not locked", path);
	if (s == WOMBAT_OK)
		s = buf_reserve(out, NOTE_MAX);
	size_t got = 0;
	if (s == WOMBAT_OK)
		s = read_at(&r, out->data + out->size, NOTE_MAX, NOTE_MAX, 0, &got);
	out->size += got;
	close(r.fd);
	return s;
}

/* ---- Clock --------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t posix_now_ns(struct env *env)
{
	(void)env;
	return clock_ns(CLOCK_REALTIME);
}

static uint64_t posix_monotonic_ns(struct env *env)
{
	(void)env;
	return clock_ns(CLOCK_MONOTONIC);
}

static void posix_sleep_ns(struct env *env, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	(void)env;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

struct env *env_posix(void)
{
	static const struct env_calls calls = {
		.writer_open = posix_writer_open,
		.writer_append = posix_writer_append,
		.writer_write = posix_writer_write,
		.writer_flush = posix_writer_flush,
		.writer_sync = posix_writer_sync,
		.writer_sync_flushed = posix_writer_sync_flushed,
		.writer_close = posix_writer_close,
		.reader_open = posix_reader_open,
		.reader_read = posix_reader_read,
		.reader_prefetch = posix_reader_prefetch,
		.reader_size = posix_reader_size,
		.reader_close = posix_reader_close,
		.segment_open = posix_segment_open,
		.segment_write = posix_segment_write,
		.segment_expect = posix_segment_expect,
		.segment_rest = posix_segment_rest,
		.segment_sync = posix_segment_sync,
		.segment_close = posix_segment_close,
		.rename = posix_rename,
		.link = posix_link,
		.remove = posix_remove,
		.file_size = posix_file_size,
		.dir_create = posix_dir_create,
		.dir_remove = posix_dir_remove,
		.dir_list = posix_dir_list,
		.dir_sync = posix_dir_sync,
		.disk_space = posix_disk_space,
		.lock = posix_lock,
		.lock_shared = posix_lock_shared,
		.lock_note = posix_lock_note,
		.unlock = posix_unlock,
		.lock_holder = posix_lock_holder,
		.now_ns = posix_now_ns,
		.monotonic_ns = posix_monotonic_ns,
		.sleep_ns = posix_sleep_ns,
	};
	static struct env env = { &calls };
	return &env;
}
