/*
 * snapshot: makes, drops and lists snapshots with names. Reading one is --snapshot NAME of the verbs that read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "engine/tool/tool.h"

static void print_snapshot(void *arg, const struct wombat_snapshot_info *info)
{
	char when[32] = "";
	time_t seconds = (time_t)(info->time_ns / 1000000000);
	struct tm tm;
	(void)arg;
	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%s\t%s\tsequence %" PRIu64 "\n", info->name, when, info->sequence);
}

int verb_snapshot(struct tool *t, int argc, char **argv)
{
	enum { DROP = 1 };
	static const struct option options[] = { { "drop", no_argument, NULL, DROP }, { NULL, 0, NULL, 0 } };
	bool drop = false;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?')
			return TOOL_USAGE;
		drop = true;
	}
	int names = tool_take_dir(t, argc, argv, drop, 1);
	if (names < 0)
		return TOOL_USAGE;
	int code = tool_open(t, names ? 0 : WOMBAT_OPEN_READ_ONLY);
	if (code)
		return code;
	if (!names) {
		wombat_snapshot_list(t->db, print_snapshot, NULL);
		return TOOL_OK;
	}
	const char *name = argv[optind];
	enum wombat_status s = drop ? wombat_snapshot_drop(t->db, name) : wombat_snapshot_create(t->db, name);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}
