/*
 * checkpoint, backup, backups, restore: copies of the database as a whole.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/tool/tool.h"

int verb_checkpoint(struct tool *t, int argc, char **argv)
{
	if (tool_no_options(t, argc, argv) || tool_take_dir(t, argc, argv, 1, 1) < 0)
		return TOOL_USAGE;
	int code = tool_open(t, 0);
	if (code)
		return code;
	enum wombat_status s = wombat_checkpoint(t->db, argv[optind]);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}

static void print_info(void *arg, const struct wombat_backup_info *info)
{
	char when[32] = "";
	time_t seconds = (time_t)(info->time_ns / 1000000000);
	struct tm tm;
	(void)arg;
	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%" PRIu32 "\t%s\tsequence %" PRIu64 "\t%" PRIu64 " files\t%" PRIu64 " bytes\tcopied %" PRIu64 " files\t%" PRIu64 " bytes\n",
	       info->id, when, info->sequence, info->files, info->bytes, info->copied_files, info->copied_bytes);
}

int verb_backup(struct tool *t, int argc, char **argv)
{
	struct wombat_backup_info info;
	if (tool_no_options(t, argc, argv) || tool_take_dir(t, argc, argv, 1, 1) < 0)
		return TOOL_USAGE;
	int code = tool_open(t, 0);
	if (code)
		return code;
	enum wombat_status s = wombat_backup_create(t->db, argv[optind], &info);
	if (s != WOMBAT_OK)
		return complain_status(s);
	print_info(NULL, &info);
	return TOOL_OK;
}

static void print_damage(void *arg, const char *sentence)
{
	(void)arg;
	printf("damage: %s\n", sentence);
}

int verb_backups(struct tool *t, int argc, char **argv)
{
	enum { VERIFY = 1, DELETE };
	static const struct option options[] = {
		{ "verify", no_argument, NULL, VERIFY }, { "delete", required_argument, NULL, DELETE }, { NULL, 0, NULL, 0 },
	};
	bool verify = false;
	uint64_t delete = 0;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?' || (option == DELETE && tool_number("--delete", optarg, UINT32_MAX, &delete)))
			return TOOL_USAGE;
		verify |= option == VERIFY;
	}
	if (tool_take_dir(t, argc, argv, 0, 0) < 0)
		return TOOL_USAGE;
	enum wombat_status s = WOMBAT_OK;
	if (delete)
		s = wombat_backup_delete(t->dir, (uint32_t)delete);
	if (s == WOMBAT_OK)
		s = wombat_backup_list(t->dir, print_info, NULL);
	if (s == WOMBAT_OK && verify)
		s = wombat_backup_verify(t->dir, 0, print_damage, NULL);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}

int verb_restore(struct tool *t, int argc, char **argv)
{
	enum { NUMBER = 1 };
	static const struct option options[] = { { "number", required_argument, NULL, NUMBER }, { NULL, 0, NULL, 0 } };
	uint64_t id = 0;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;)
		if (option == '?' || tool_number("--number", optarg, UINT32_MAX, &id))
			return TOOL_USAGE;
	if (tool_take_dir(t, argc, argv, 1, 1) < 0)
		return TOOL_USAGE;
	enum wombat_status s = wombat_backup_restore(argv[optind], (uint32_t)id, t->dir);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}
