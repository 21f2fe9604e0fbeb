/* The per-thread sentence about the last failure, and the names of results. */
#include "engine/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DETAIL_MAX = 512 };

static _Thread_local char detail[DETAIL_MAX];

/* By way of a copy: an argument may be the old sentence itself. */
static void keep(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static void keep(const char *format, va_list args)
{
	char text[DETAIL_MAX];
	vsnprintf(text, sizeof text, format, args);
	memcpy(detail, text, strlen(text) + 1);
}

enum wombat_status fail(enum wombat_status status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	keep(format, args);
	va_end(args);
	return status;
}

enum wombat_status fail_no_memory(void)
{
	return fail(WOMBAT_NO_MEMORY, "out of memory");
}

static enum wombat_status status_of_errno(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return WOMBAT_NO_SPACE;
	case ENOMEM:
		return WOMBAT_NO_MEMORY;
	case ENOENT:
		return WOMBAT_NOT_FOUND;
	default:
		return WOMBAT_IO;
	}
}

enum wombat_status fail_errno(int error, const char *format, ...)
{
	char what[DETAIL_MAX - 64], room[64];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return fail(status_of_errno(error), "%s: %s", what, strerror_r(error, room, sizeof room));
}

void status_set_detail(const char *sentence)
{
	fail(WOMBAT_OK, "%s", sentence);
}

const char *status_detail(void)
{
	return detail;
}

const char *wombat_last_error(void)
{
	return detail;
}

const char *wombat_status_name(enum wombat_status status)
{
	static const char *const names[WOMBAT_STATUS_COUNT] = {
		"ok", "not_found", "invalid", "out_of_range", "not_changeable", "too_big", "exists", "busy", "would_block",
		"read_only", "no_space", "no_memory", "io", "corruption", "unsupported", "conflict",
	};
	return (unsigned)status < WOMBAT_STATUS_COUNT ? names[status] : "unknown";
}
