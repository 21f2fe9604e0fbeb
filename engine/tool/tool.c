/*
 * What the verbs share: see tool.h. Nothing here knows a verb.
 */
#include "engine/tool/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>

#include "engine/tool/text.h"
#include "engine/tool/tool_mount.h"

enum { FUSE_MAGIC = 0x65735546, ENDING_TURNS = 50, ENDING_WAIT_MS = 100 };

/* ---- Complaints ---- */

int complain(enum tool_exit code, const char *format, ...)
{
	fflush(stdout); /* so that the sentence comes after what was printed before it */
	fputs("wombat: ", stderr);
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

static enum tool_exit exit_of(enum wombat_status status)
{
	switch (status) {
	case WOMBAT_OK:
		return TOOL_OK;
	case WOMBAT_NOT_FOUND:
		return TOOL_NOT_FOUND;
	case WOMBAT_INVALID:
	case WOMBAT_OUT_OF_RANGE:
	case WOMBAT_NOT_CHANGEABLE:
	case WOMBAT_TOO_BIG:
	case WOMBAT_EXISTS:
		return TOOL_USAGE;
	case WOMBAT_CORRUPTION:
	case WOMBAT_UNSUPPORTED:
		return TOOL_DAMAGED;
	case WOMBAT_BUSY:
		return TOOL_BUSY;
	default:
		return TOOL_IO;
	}
}

int complain_status(enum wombat_status status)
{
	const char *sentence = wombat_last_error();
	return complain(exit_of(status), "%s", sentence[0] ? sentence : wombat_status_name(status));
}

int complain_usage(const struct tool *t)
{
	return complain(TOOL_USAGE, "usage: wombat %s %s (see \"wombat help\" or wombat(1))", t->verb->name,
		t->verb->arguments);
}

/* ---- The command line ---- */

enum { OPTION_OPTION = TOOL_OPTIONS_COMMON, OPTION_KEYSPACE, OPTION_HEX, OPTION_SNAPSHOT, MAX_OPTIONS = 32 };

static const struct option common_options[] = {
	{ "option", required_argument, NULL, OPTION_OPTION },
	{ "keyspace", required_argument, NULL, OPTION_KEYSPACE },
	{ "hex", no_argument, NULL, OPTION_HEX },
	{ "snapshot", required_argument, NULL, OPTION_SNAPSHOT },
	{ NULL, 0, NULL, 0 },
};

static int set_engine_option(struct tool *t, char *assignment)
{
	char *equals = strchr(assignment, '=');
	if (!equals)
		return complain(TOOL_USAGE, "--option wants NAME=VALUE, not \"%s\".", assignment);
	*equals = '\0';
	enum wombat_status s = wombat_options_set(t->options, assignment, equals + 1);
	/* An option that does not exist is a mistake of the command line, not an answer. */
	return s == WOMBAT_OK ? 0 : (complain_status(s), TOOL_USAGE);
}

static int take_common(struct tool *t, int option)
{
	uint64_t number;
	switch (option) {
	case OPTION_OPTION:
		return set_engine_option(t, optarg);
	case OPTION_KEYSPACE:
		if (tool_number("--keyspace", optarg, WOMBAT_KEYSPACE_MAX, &number))
			return TOOL_USAGE;
		if (number == 0)
			return complain(TOOL_USAGE, "--keyspace wants a number from 1 to %d.", WOMBAT_KEYSPACE_MAX);
		t->keyspace = (unsigned)number;
		return 0;
	case OPTION_SNAPSHOT:
		t->snapshot_name = optarg;
		return 0;
	default:
		t->hex = true;
		return 0;
	}
}

int tool_next_option(struct tool *t, int argc, char **argv, const struct option *options)
{
	struct option all[MAX_OPTIONS];
	size_t count = 0;
	for (; options && options->name; options++)
		all[count++] = *options;
	memcpy(all + count, common_options, sizeof(common_options));
	for (;;) {
		opterr = 0;
		int option = getopt_long(argc, argv, ":", all, NULL);
		if (option == ':' || option == '?') {
			complain(TOOL_USAGE, "%s \"%s\" of wombat %s (see wombat(1)).",
				option == ':' ? "a value is missing for" : "there is no option", argv[optind - 1], t->verb->name);
			return '?';
		}
		if (option < TOOL_OPTIONS_COMMON)
			return option;
		if (take_common(t, option))
			return '?';
	}
}

int tool_no_options(struct tool *t, int argc, char **argv)
{
	return tool_next_option(t, argc, argv, NULL) == -1 ? 0 : TOOL_USAGE;
}

int tool_take_dir(struct tool *t, int argc, char **argv, int least, int most)
{
	int rest = argc - optind - 1;
	if (rest < least || (most >= 0 && rest > most)) {
		complain_usage(t);
		return -1;
	}
	t->dir = argv[optind++];
	return rest;
}

int tool_key(struct tool *t, char *argument, struct wombat_slice *out_key)
{
	size_t size = strlen(argument);
	if (t->hex && !text_decode_hex(argument, &size))
		return complain(TOOL_USAGE, "\"%s\" is not hexadecimal (--hex).", argument);
	*out_key = WOMBAT_SLICE(argument, size);
	return 0;
}

int tool_number(const char *what, const char *text, uint64_t max, uint64_t *out_number)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > max)
		return complain(TOOL_USAGE, "%s wants a whole number up to %llu, not \"%s\".", what,
			(unsigned long long)max, text);
	*out_number = number;
	return 0;
}

/* ---- Opening ---- */

static int open_snapshot(struct tool *t)
{
	if (!t->snapshot_name)
		return 0;
	enum wombat_status s = wombat_snapshot_open(t->db, t->snapshot_name, &t->snapshot);
	return s == WOMBAT_OK ? 0 : complain_status(s);
}

int tool_open(struct tool *t, unsigned flags)
{
	if (t->snapshot_name && !(flags & WOMBAT_OPEN_READ_ONLY))
		return complain(TOOL_USAGE, "--snapshot is for verbs that read records.");
	enum wombat_status s = wombat_open(t->dir, t->options, flags, &t->db);
	return s == WOMBAT_OK ? open_snapshot(t) : complain_status(s);
}

/* Whether a FUSE file system is mounted there. A daemon that is ending holds the lock for a moment longer. */
static bool is_live_mount(const char *path)
{
	struct statfs fs;
	return statfs(path, &fs) == 0 && fs.f_type == FUSE_MAGIC;
}

int tool_open_or_mount(struct tool *t)
{
	char sentence[1024], holder[512], mountpoint[4096];
	for (int turn = 0;; turn++) {
		enum wombat_status s = wombat_open(t->dir, t->options, WOMBAT_OPEN_READ_ONLY, &t->db);
		if (s != WOMBAT_BUSY)
			return s == WOMBAT_OK ? open_snapshot(t) : complain_status(s);
		snprintf(sentence, sizeof(sentence), "%s", wombat_last_error());
		s = wombat_lock_holder(t->dir, holder, sizeof(holder), mountpoint, sizeof(mountpoint));
		if (s == WOMBAT_OK && (mountpoint[0] == '\0' || is_live_mount(mountpoint)))
			break;
		if (turn == ENDING_TURNS)
			return complain(TOOL_BUSY, "%s", sentence);
		nanosleep(&(struct timespec){ .tv_nsec = ENDING_WAIT_MS * 1000000 }, NULL);
	}
	if (mountpoint[0] == '\0')
		return complain(TOOL_BUSY, "%s", sentence);
	if (t->snapshot_name)
		return complain(TOOL_BUSY, "%s (The mount does not show snapshots.)", sentence);
	if (t->keyspace != WOMBAT_USER)
		return complain(TOOL_BUSY, "%s (The mount shows keyspace %d only.)", sentence, WOMBAT_USER);
	return tool_mount_open(mountpoint, &t->mount);
}

/* ---- Slices ---- */

size_t prefix_end(struct wombat_slice prefix, uint8_t *out)
{
	size_t size = prefix.size;
	while (size > 0 && prefix.data[size - 1] == 0xff)
		size--;
	if (size == 0)
		return 0;
	memcpy(out, prefix.data, size);
	out[size - 1]++;
	return size;
}

int slice_compare(struct wombat_slice a, struct wombat_slice b)
{
	size_t least = a.size < b.size ? a.size : b.size;
	int order = least ? memcmp(a.data, b.data, least) : 0;
	return order ? order : (a.size > b.size) - (a.size < b.size);
}

bool slice_starts_with(struct wombat_slice s, struct wombat_slice prefix)
{
	return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}
