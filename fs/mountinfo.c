/*
 * Reading /proc/self/mountinfo, one mount a line:
 *
 *     36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 - ext3 /dev/root rw,errors=continue
 *     id parent major:minor root MOUNTPOINT options optional-fields... - TYPE source options
 *
 * Blanks, tabs, newlines and backslashes within a field are written as three octal digits (\040).
 */
#include "fs/mountinfo.h"

#include <stdlib.h>
#include <string.h>

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Whether a field of the table is that text. */
static bool field_is(const char *field, const char *text)
{
	for (; *field; text++) {
		char c = *field++;
		if (c == '\\' && is_octal(field[0]) && is_octal(field[1]) && is_octal(field[2])) {
			c = (char)((field[0] - '0') << 6 | (field[1] - '0') << 3 | (field[2] - '0'));
			field += 3;
		}
		if (c != *text)
			return false;
	}
	return *text == '\0';
}

/* Cuts up `line`. */
static bool line_is_mount_on(char *line, const char *mountpoint, struct mountinfo *out)
{
	struct mountinfo found = { 0 };
	char *rest = NULL, *field = strtok_r(line, " \n", &rest);
	for (int i = 0; field && i < 4; i++) {
		field = strtok_r(NULL, " \n", &rest);
		if (i == 1 && (!field || sscanf(field, "%u:%u", &found.major, &found.minor) != 2))
			return false;
	}
	if (!field || !field_is(field, mountpoint))
		return false;
	while (field && strcmp(field, "-") != 0)
		field = strtok_r(NULL, " \n", &rest);
	field = field ? strtok_r(NULL, " \n", &rest) : NULL;
	if (!field)
		return false;
	snprintf(found.type, sizeof(found.type), "%s", field);
	*out = found;
	return true;
}

bool mountinfo_find_in(FILE *table, const char *mountpoint, struct mountinfo *out)
{
	char *line = NULL;
	size_t capacity = 0;
	bool found = false;
	/* Later lines lie over earlier ones. */
	while (getline(&line, &capacity, table) >= 0)
		if (line_is_mount_on(line, mountpoint, out))
			found = true;
	free(line);
	return found;
}

bool mountinfo_find(const char *mountpoint, struct mountinfo *out)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	if (!table)
		return false;
	bool found = mountinfo_find_in(table, mountpoint, out);
	fclose(table);
	return found;
}
