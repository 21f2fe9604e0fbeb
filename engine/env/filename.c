/* Names of files to kinds and numbers, and back. */
#include "engine/env/filename.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void filename_make(char out[32], enum file_kind kind, uint64_t number)
{
	switch (kind) {
	case FILE_LOCK:
		snprintf(out, 32, "LOCK");
		break;
	case FILE_CURRENT:
		snprintf(out, 32, "CURRENT");
		break;
	case FILE_CONFIG:
		snprintf(out, 32, "wombat.conf");
		break;
	case FILE_MANIFEST:
		snprintf(out, 32, "MANIFEST-%06" PRIu64, number);
		break;
	case FILE_TABLE:
		snprintf(out, 32, "%06" PRIu64 ".sst", number);
		break;
	case FILE_WAL:
		snprintf(out, 32, "%06" PRIu64 ".wal", number);
		break;
	case FILE_VALUES:
		snprintf(out, 32, "%06" PRIu64 ".vlog", number);
		break;
	case FILE_TEMP:
		snprintf(out, 32, "%06" PRIu64 ".tmp", number);
		break;
	case FILE_OTHER:
		out[0] = 0;
		break;
	}
}

bool filename_path(char out[FILENAME_PATH_MAX], const char *dir, enum file_kind kind, uint64_t number)
{
	char name[32];
	filename_make(name, kind, number);
	int n = snprintf(out, FILENAME_PATH_MAX, "%s/%s", dir, name);
	return n > 0 && n < FILENAME_PATH_MAX;
}

/* Digits up to `end`, as many as a number has; NULL when there are none or too many. */
static const char *parse_number(const char *s, uint64_t *out)
{
	uint64_t v = 0;
	const char *p = s;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_MAX - 9) / 10)
			return NULL;
		v = 10 * v + (uint64_t)(*p - '0');
	}
	if (p == s)
		return NULL;
	*out = v;
	return p;
}

static enum file_kind parse_numbered(const char *name, uint64_t *out_number)
{
	const char *end;
	*out_number = 0;
	if (strncmp(name, "MANIFEST-", 9) == 0)
		return (end = parse_number(name + 9, out_number)) && !*end ? FILE_MANIFEST : FILE_OTHER;
	end = parse_number(name, out_number);
	if (end && strcmp(end, ".sst") == 0)
		return FILE_TABLE;
	if (end && strcmp(end, ".wal") == 0)
		return FILE_WAL;
	if (end && strcmp(end, ".vlog") == 0)
		return FILE_VALUES;
	return FILE_OTHER;
}

enum file_kind filename_parse(const char *name, uint64_t *out_number)
{
	*out_number = 0;
	if (strcmp(name, "LOCK") == 0)
		return FILE_LOCK;
	if (strcmp(name, "CURRENT") == 0)
		return FILE_CURRENT;
	if (strcmp(name, "wombat.conf") == 0)
		return FILE_CONFIG;
	size_t len = strlen(name);
	if (len > 4 && strcmp(name + len - 4, ".tmp") == 0)
		return FILE_TEMP;
	uint64_t number;
	enum file_kind kind = parse_numbered(name, &number);
	char own[32];
	filename_make(own, kind, number);
	/* "7.sst" is not ours: who went by its number would open or remove "000007.sst". */
	if (kind == FILE_OTHER || strcmp(own, name) != 0)
		return FILE_OTHER;
	*out_number = number;
	return kind;
}
