/*
 * wombat: the command for what needs no mount. This file has the table of verbs and the help; a verb family
 * has a file of its own, tool_*.c, and what they share is in tool.h. wombat(1) describes it all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tool/tool.h"
#include "engine/tool/tool_mount.h"

static int verb_help(struct tool *t, int argc, char **argv);

static const struct tool_verb verbs[] = {
	{ "get", "[--meta] [--output FILE] DB KEY", "writes a value to standard output", verb_get },
	{ "put", "[--file FILE] [--ttl TIME] [--sync] DB KEY [VALUE]", "stores a value; without VALUE, standard input",
		verb_put },
	{ "del", "DB KEY...  |  --prefix DB PREFIX  |  --range DB FROM TO", "deletes records", verb_del },
	{ "scan", "[--prefix P] [--from K] [--to K] [--limit N] [--reverse] [--keys-only] [--json|--null] DB",
		"prints records in key order", verb_scan },
	{ "list", "[--json|--null] DB [PREFIX]", "prints what lies directly below a prefix, like ls", verb_list },
	{ "stats", "[--text] DB", "prints statistics as JSON", verb_stats },
	{ "check", "[--quiet] DB", "verifies every checksum, order and reference", verb_check },
	{ "repair", "DB", "makes a damaged database one that opens again, and says what is lost", verb_repair },
	{ "compact", "DB [FROM [TO]]", "rewrites tables so that what is deleted or overwritten is gone", verb_compact },
	{ "dump", "DB [FILE]", "writes every record as text", verb_dump },
	{ "load", "[--bulk] DB [FILE]", "stores the records of a dump; --bulk: all at once, as tables", verb_load },
	{ "estimate", "DB [FROM [TO]]", "prints about how many keys and bytes a range has", verb_estimate },
	{ "checkpoint", "DB DIR", "makes DIR a database with the same content, by hard links where that can be", verb_checkpoint },
	{ "backup", "DB DIR", "adds a backup to a backup directory, copying only what is new", verb_backup },
	{ "backups", "[--verify] [--delete N] DIR", "lists the backups of a backup directory", verb_backups },
	{ "restore", "[--number N] DB DIR", "makes DB from the newest backup of a backup directory, or from the Nth", verb_restore },
	{ "snapshot", "[--drop] DB [NAME]", "makes a snapshot with a name, or drops it; without NAME, lists them",
		verb_snapshot },
	{ "version", "", "prints the version", verb_version },
	{ "help", "[options]", "prints this; \"help options\": the options of the engine", verb_help },
};
enum { VERB_COUNT = sizeof(verbs) / sizeof(verbs[0]) };

static void print_engine_options(void)
{
	const struct wombat_option_info *info;
	for (size_t i = 0; (info = wombat_option_info(i)) != NULL; i++)
		printf("%s=%s\n    %s%s%s, %s. %s\n", info->name, info->default_text, info->range_text, info->unit[0] ? " " : "",
			info->unit, info->changeable ? "changeable while open" : "fixed while open", info->help);
}

static int verb_help(struct tool *t, int argc, char **argv)
{
	(void)t;
	if (argc == 2 && strcmp(argv[1], "options") == 0) {
		print_engine_options();
		return TOOL_OK;
	}
	printf("usage: wombat VERB [OPTIONS] DB ...\n\n");
	for (size_t i = 0; i < VERB_COUNT; i++)
		printf("  %-8s %s\n           %s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
	printf("\nWith every verb:\n"
	       "  --option NAME=VALUE   an option of the engine (\"wombat help options\" lists them)\n"
	       "  --keyspace N          another keyspace than %d, the user's\n"
	       "  --hex                 keys are hexadecimal\n"
	       "  --snapshot NAME       what get, scan, list and dump read\n\n"
	       "Exit status: 0, 1 not found, 2 usage, 3 damaged, 4 busy, 5 input or output.\n", WOMBAT_USER);
	return TOOL_OK;
}

static const struct tool_verb *find_verb(const char *name)
{
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	for (size_t i = 0; i < VERB_COUNT; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

/* Closes what the verb opened. What was written is durable, and what was printed has arrived, or the exit
 * code says otherwise. */
static int finish(struct tool *t, int code)
{
	tool_mount_close(t->mount);
	if (t->snapshot)
		wombat_snapshot_release(t->db, t->snapshot);
	enum wombat_status s = wombat_close(t->db);
	wombat_options_free(t->options);
	if (s != WOMBAT_OK) {
		int closing = complain_status(s);
		code = code == TOOL_OK ? closing : code;
	}
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == TOOL_OK)
		code = complain(TOOL_IO, "standard output: %s.", errno ? strerror(errno) : "write failed");
	return code;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return complain(TOOL_USAGE, "a verb is missing; \"wombat help\" lists them.");
	struct tool t = { .verb = find_verb(argv[1]), .keyspace = WOMBAT_USER };
	if (!t.verb)
		return complain(TOOL_USAGE, "there is no verb \"%s\"; \"wombat help\" lists them.", argv[1]);
	t.options = wombat_options_new();
	if (!t.options)
		return complain(TOOL_IO, "out of memory.");
	return finish(&t, t.verb->run(&t, argc - 1, argv + 1));
}
