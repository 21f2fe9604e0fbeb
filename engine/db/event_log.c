/* Writing the event log: a line is formatted outside the lock, and handed to the operating system under it. */
#include "engine/db/event_log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/alloc.h"
#include "engine/base/mutex.h"
#include "engine/env/filename.h"

enum { LINE_MAX_BYTES = 1000, BUFFER_BYTES = 4096 };

struct event_log {
	struct env *env;
	char *dir;
	atomic_int level; /* relaxed: soon is good enough */
	atomic_uint_fast64_t written, lost;
	struct mutex mu;
	/* Guarded by it. */
	struct env_writer *file; /* NULL: not open, or it failed: the next line tries again */
	uint64_t bytes;
};

enum wombat_status event_log_new(struct env *env, const char *dir, enum event_level level, struct event_log **out)
{
	size_t size = strlen(dir) + 1;
	struct event_log *l = mem_zalloc(sizeof *l);
	if (!l)
		return fail_no_memory();
	l->dir = mem_alloc(size);
	if (!l->dir) {
		mem_free(l);
		return fail_no_memory();
	}
	memcpy(l->dir, dir, size);
	l->env = env;
	atomic_init(&l->level, level);
	mutex_init(&l->mu, LOCK_RANK_STATS);
	*out = l;
	return WOMBAT_OK;
}

/* Whatever happens to the file, nothing can be done about it. */
static void close_file(struct event_log *l)
{
	if (l->file && l->env->calls->writer_close(l->file) != WOMBAT_OK)
		atomic_fetch_add_explicit(&l->lost, 1, memory_order_relaxed);
	l->file = NULL;
}

void event_log_free(struct event_log *l)
{
	if (!l)
		return;
	close_file(l);
	mutex_done(&l->mu);
	mem_free(l->dir);
	mem_free(l);
}

void event_log_set_level(struct event_log *l, enum event_level level)
{
	atomic_store_explicit(&l->level, level, memory_order_relaxed);
}

bool event_log_wants(const struct event_log *l, enum event_level level)
{
	return l && (int)level <= atomic_load_explicit(&l->level, memory_order_relaxed);
}

/* ---- The file ------------------------------------------------------------------------------ */

static bool path_of(const struct event_log *l, const char *name, char out[FILENAME_PATH_MAX])
{
	int n = snprintf(out, FILENAME_PATH_MAX, "%s/%s", l->dir, name);
	return n > 0 && n < FILENAME_PATH_MAX;
}

/* Makes place for a line: the file open, and not full. */
static enum wombat_status ready_locked(struct event_log *l, size_t size) REQUIRES(&l->mu);
static enum wombat_status ready_locked(struct event_log *l, size_t size)
{
	char path[FILENAME_PATH_MAX], old[FILENAME_PATH_MAX];
	const struct env_calls *calls = l->env->calls;
	if (!path_of(l, "LOG", path) || !path_of(l, "LOG.old", old))
		return WOMBAT_INVALID;
	if (!l->file && calls->file_size(l->env, path, &l->bytes) != WOMBAT_OK)
		l->bytes = 0;
	if (l->bytes && l->bytes + size > EVENT_LOG_BYTES) {
		close_file(l);
		enum wombat_status s = calls->rename(l->env, path, old);
		if (s != WOMBAT_OK)
			return s;
		l->bytes = 0;
	}
	return l->file ? WOMBAT_OK : calls->writer_append(l->env, path, &l->file);
}

static void write_line(struct event_log *l, const char *line, size_t size)
{
	mutex_lock(&l->mu);
	enum wombat_status s = ready_locked(l, size);
	if (s == WOMBAT_OK)
		s = l->env->calls->writer_write(l->file, line, size);
	if (s == WOMBAT_OK)
		s = l->env->calls->writer_flush(l->file);
	if (s == WOMBAT_OK)
		l->bytes += size;
	else
		close_file(l);
	mutex_unlock(&l->mu);
	atomic_fetch_add_explicit(s == WOMBAT_OK ? &l->written : &l->lost, 1, memory_order_relaxed);
}

/* ---- Lines --------------------------------------------------------------------------------- */

static int print_head(const struct event_log *l, enum event_level level, char *out, size_t room)
{
	static const char *const names[] = { "off", "error", "warn", "info", "debug" };
	uint64_t now = l->env->calls->now_ns(l->env);
	time_t seconds = (time_t)(now / 1000000000);
	struct tm tm;
	char when[32] = "";
	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
	return snprintf(out, room, "%s.%03uZ %s ", when, (unsigned)(now / 1000000 % 1000), names[level]);
}

void event_log_line(struct event_log *l, enum event_level level, const char *format, ...)
{
	char line[LINE_MAX_BYTES + 64], cause[512];
	if (!event_log_wants(l, level))
		return;
	snprintf(cause, sizeof cause, "%s", status_detail());
	int head = print_head(l, level, line, sizeof line);
	size_t room = sizeof line - 1 - (size_t)head;
	va_list arguments;
	va_start(arguments, format);
	int body = vsnprintf(line + head, room, format, arguments);
	va_end(arguments);
	size_t size = (size_t)head + (body < 0 ? 0 : (size_t)body < room ? (size_t)body : room - 1);
	for (size_t i = (size_t)head; i < size; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[size++] = '\n';
	write_line(l, line, size);
	status_set_detail(cause);
}

void event_log_counts(const struct event_log *l, uint64_t *out_written, uint64_t *out_lost)
{
	*out_written = l ? atomic_load_explicit(&l->written, memory_order_relaxed) : 0;
	*out_lost = l ? atomic_load_explicit(&l->lost, memory_order_relaxed) : 0;
}
