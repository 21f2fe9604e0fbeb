/*
 * stats, check, repair, compact, estimate, version: the database as a whole.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/tool/tool.h"
#include "engine/tool/tool_mount.h"

/* ---- stats ---- */

static const char stats_schema[] = "wombat.stats/1";

static void print_stat_line(void *arg, const struct wombat_stat *stat)
{
	(void)arg;
	printf(stat->is_integer ? "%s %.0f\n" : "%s %.9g\n", stat->name, stat->value);
}

/* Adds "level.0.files" as member "files" of member "0" of member "level". */
static void add_stat(void *arg, const struct wombat_stat *stat)
{
	cJSON *object = arg;
	char part[128];
	const char *name = stat->name;
	for (const char *dot; object && (dot = strchr(name, '.')) != NULL; name = dot + 1) {
		snprintf(part, sizeof(part), "%.*s", (int)(dot - name), name);
		cJSON *inner = cJSON_GetObjectItemCaseSensitive(object, part);
		object = inner ? inner : cJSON_AddObjectToObject(object, part);
	}
	if (object)
		cJSON_AddNumberToObject(object, name, stat->value);
}

static int print_json(cJSON *document)
{
	char *text = document ? cJSON_Print(document) : NULL;
	if (!text)
		return complain(TOOL_IO, "out of memory.");
	puts(text);
	cJSON_free(text);
	return TOOL_OK;
}

static int stats_of_database(struct tool *t, bool text)
{
	if (text) {
		enum wombat_status s = wombat_stats(t->db, print_stat_line, NULL);
		return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
	}
	cJSON *document = cJSON_CreateObject();
	if (document) {
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		cJSON_AddStringToObject(document, "schema", stats_schema);
		cJSON_AddNumberToObject(document, "time", (double)now.tv_sec);
	}
	enum wombat_status s = document ? wombat_stats(t->db, add_stat, document) : WOMBAT_OK;
	int code = s == WOMBAT_OK ? print_json(document) : complain_status(s);
	cJSON_Delete(document);
	return code;
}

/* The document of a mount as lines: members of members by their dotted names. */
static void print_flat(const cJSON *item, const char *path)
{
	for (const cJSON *child = item->child; child; child = child->next) {
		char name[512];
		snprintf(name, sizeof(name), "%s%s%s", path, path[0] ? "." : "", child->string ? child->string : "");
		if (cJSON_IsObject(child))
			print_flat(child, name);
		else if (cJSON_IsNumber(child))
			printf("%s %.17g\n", name, child->valuedouble);
	}
}

static int stats_of_mount(struct tool *t, bool text)
{
	char *json;
	int code = tool_mount_read_control(t->mount, "stats", &json);
	if (code)
		return code;
	if (!text) {
		fputs(json, stdout);
	} else {
		cJSON *document = cJSON_Parse(json);
		if (document)
			print_flat(document, "");
		else
			code = complain(TOOL_IO, "the statistics of the mount on %s are not JSON.", tool_mount_point(t->mount));
		cJSON_Delete(document);
	}
	free(json);
	return code;
}

int verb_stats(struct tool *t, int argc, char **argv)
{
	enum { TEXT = 1 };
	static const struct option options[] = { { "text", no_argument, NULL, TEXT }, { NULL, 0, NULL, 0 } };
	bool text = false;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?')
			return TOOL_USAGE;
		text = true;
	}
	if (tool_take_dir(t, argc, argv, 0, 0) < 0)
		return TOOL_USAGE;
	int code = tool_open_or_mount(t);
	if (code)
		return code;
	return t->mount ? stats_of_mount(t, text) : stats_of_database(t, text);
}

/* ---- check ---- */

struct findings {
	bool quiet;
	unsigned long damage;
};

static void print_finding(void *arg, bool is_damage, const char *sentence)
{
	struct findings *f = arg;
	f->damage += is_damage;
	if (is_damage || !f->quiet)
		printf("%s: %s\n", is_damage ? "damage" : "note", sentence);
}

int verb_check(struct tool *t, int argc, char **argv)
{
	enum { QUIET = 1 };
	static const struct option options[] = { { "quiet", no_argument, NULL, QUIET }, { NULL, 0, NULL, 0 } };
	struct findings findings = { 0 };
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?')
			return TOOL_USAGE;
		findings.quiet = true;
	}
	if (tool_take_dir(t, argc, argv, 0, 0) < 0)
		return TOOL_USAGE;
	enum wombat_status s = wombat_check(t->dir, print_finding, &findings);
	if (s == WOMBAT_CORRUPTION && findings.damage > 0)
		return complain(TOOL_DAMAGED, "%s is damaged (%lu findings).", t->dir, findings.damage);
	if (s != WOMBAT_OK)
		return complain_status(s);
	if (!findings.quiet)
		printf("%s is sound.\n", t->dir);
	return TOOL_OK;
}

/* ---- repair ---- */

static void print_loss(void *arg, bool is_loss, const char *sentence)
{
	*(unsigned long *)arg += is_loss;
	printf("%s: %s\n", is_loss ? "lost" : "note", sentence);
}

int verb_repair(struct tool *t, int argc, char **argv)
{
	unsigned long losses = 0;
	if (tool_no_options(t, argc, argv) || tool_take_dir(t, argc, argv, 0, 0) < 0)
		return TOOL_USAGE;
	enum wombat_status s = wombat_repair(t->dir, print_loss, &losses);
	if (s == WOMBAT_CORRUPTION && losses > 0)
		return complain(TOOL_DAMAGED, "%s is repaired; what was lost is listed (%lu).", t->dir, losses);
	if (s != WOMBAT_OK)
		return complain_status(s);
	printf("%s: nothing is lost.\n", t->dir);
	return TOOL_OK;
}

/* ---- compact ---- */

int verb_compact(struct tool *t, int argc, char **argv)
{
	t->keyspace = 0; /* all, unless --keyspace says which */
	int rest;
	if (tool_no_options(t, argc, argv) || (rest = tool_take_dir(t, argc, argv, 0, 2)) < 0)
		return TOOL_USAGE;
	struct wombat_slice from = WOMBAT_SLICE(NULL, 0), to = WOMBAT_SLICE(NULL, 0);
	if ((rest > 0 && tool_key(t, argv[optind], &from)) || (rest > 1 && tool_key(t, argv[optind + 1], &to)))
		return TOOL_USAGE;
	if (rest > 0 && t->keyspace == 0)
		t->keyspace = WOMBAT_USER;
	int code = tool_open(t, 0);
	if (code)
		return code;
	enum wombat_status s = wombat_compact(t->db, t->keyspace, from, to);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}

/* ---- estimate ---- */

int verb_estimate(struct tool *t, int argc, char **argv)
{
	int rest;
	if (tool_no_options(t, argc, argv) || (rest = tool_take_dir(t, argc, argv, 0, 2)) < 0)
		return TOOL_USAGE;
	struct wombat_slice from = WOMBAT_SLICE(NULL, 0), to = WOMBAT_SLICE(NULL, 0);
	if ((rest > 0 && tool_key(t, argv[optind], &from)) || (rest > 1 && tool_key(t, argv[optind + 1], &to)))
		return TOOL_USAGE;
	int code = tool_open(t, WOMBAT_OPEN_READ_ONLY);
	if (code)
		return code;
	uint64_t keys, bytes;
	enum wombat_status s = wombat_estimate(t->db, t->keyspace, from, to, &keys, &bytes);
	if (s != WOMBAT_OK)
		return complain_status(s);
	printf("keys %llu\nbytes %llu\n", (unsigned long long)keys, (unsigned long long)bytes);
	return TOOL_OK;
}

/* ---- version ---- */

int verb_version(struct tool *t, int argc, char **argv)
{
	(void)argv;
	if (argc != 1)
		return complain_usage(t);
	printf("wombat %s\n", wombat_version());
	return TOOL_OK;
}
