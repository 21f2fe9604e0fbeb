/*
 * Messages. See log.h. A message is put together first and handed over in one write, so that those of several
 * threads do not mix.
 */
#define FUSE_USE_VERSION 314

#include "fs/log.h"

#include <fuse_log.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

enum { MESSAGE_MAX = 2048 };

/* Relaxed: set before there are threads to tell. */
static atomic_bool to_syslog;

void log_to_syslog(void)
{
	openlog("wombatfs", LOG_PID, LOG_DAEMON);
	atomic_store_explicit(&to_syslog, true, memory_order_relaxed);
}

static void write_message(int priority, const char *message)
{
	char line[MESSAGE_MAX + sizeof("wombatfs: \n")];
	if (atomic_load_explicit(&to_syslog, memory_order_relaxed)) {
		syslog(priority, "%s", message);
		return;
	}
	int size = snprintf(line, sizeof(line), "wombatfs: %s\n", message);
	/* There is nobody to tell that stderr cannot be written. */
	ssize_t written = write(STDERR_FILENO, line, (size_t)size);
	(void)written;
}

static void log_message(int priority, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void log_message(int priority, const char *format, va_list args)
{
	char message[MESSAGE_MAX];
	vsnprintf(message, sizeof(message), format, args);
	write_message(priority, message);
}

void log_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_message(LOG_ERR, format, args);
	va_end(args);
}

void log_note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_message(LOG_NOTICE, format, args);
	va_end(args);
}

static void log_libfuse(enum fuse_log_level level, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));
static void log_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
	/* What -d prints of each request comes in pieces of lines, and belongs to the terminal as it is. */
	if (level >= FUSE_LOG_INFO) {
		vfprintf(stderr, format, args);
		return;
	}
	char message[MESSAGE_MAX];
	vsnprintf(message, sizeof(message), format, args);
	size_t size = strlen(message);
	while (size > 0 && message[size - 1] == '\n')
		size--;
	message[size] = '\0';
	write_message(level <= FUSE_LOG_ERR ? LOG_ERR : LOG_NOTICE, message);
}

void log_adopt_libfuse(void)
{
	fuse_set_log_func(log_libfuse);
}
