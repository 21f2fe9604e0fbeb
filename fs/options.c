/*
 * Parsing of the command line by a table. See options.h.
 *
 * A -o list is cut at its commas (a backslash takes the next byte as it is, as in libfuse) and looked up name by
 * name: first here, then in the engine's table. A preset replaces all engine options, so presets are applied
 * before anything else, wherever they stand. What goes to libfuse is gathered as a list of its own.
 */
#include "fs/options.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/keypath.h"

enum option_kind {
	KIND_ON,      /* bool: true */
	KIND_OFF,     /* bool: false */
	KIND_NUMBER,  /* unsigned, within the range */
	KIND_LIVE,    /* atomic_uint, within the range */
	KIND_USER,
	KIND_GROUP,
	KIND_UMASK,
	KIND_CTLDIR,
	KIND_FSNAME,
	KIND_COMMIT,
	KIND_LOG,
	KIND_PRESET,
};

struct option_row {
	struct mount_option_info info;
	enum option_kind kind;
	size_t offset; /* in struct mount_options */
	unsigned min, max;
};

enum { DAY_MS = 24 * 60 * 60 * 1000 };

#define AT(field) offsetof(struct mount_options, field)

static const struct option_row rows[] = {
	{ { "ro", NULL, "", "", "", false,
	    "Mount read-only: the database is opened for reading, and no file of it changes." },
	  KIND_ON, AT(read_only), 0, 0 },
	{ { "rw", NULL, "", "", "", false, "Mount for reading and writing (default)." }, KIND_OFF, AT(read_only), 0, 0 },
	{ { "remount", NULL, "", "", "", false, "Change flags of a mount that is there: ro, rw, noatime, nodev, ... (root)." },
	  KIND_ON, AT(remount), 0, 0 },
	{ { "allow_other", NULL, "", "", "", false,
	    "Let other users in; not root's mounts need user_allow_other in /etc/fuse.conf." },
	  KIND_ON, AT(allow_other), 0, 0 },
	{ { "default_permissions", NULL, "", "", "", false,
	    "Let the kernel check modes and owners (default, but for a mount of root's that lets nobody else in)." },
	  KIND_ON, AT(default_permissions), 0, 0 },
	{ { "no_default_permissions", NULL, "", "", "", false, "Check no permissions: whoever gets in may do everything." },
	  KIND_OFF, AT(default_permissions), 0, 0 },
	{ { "uid", "USER", "", "", "", false, "Owner of files that have no stored owner; default: who mounts." },
	  KIND_USER, AT(uid), 0, 0 },
	{ { "gid", "GROUP", "", "", "", false, "Group of files that have no stored owner; default: who mounts." },
	  KIND_GROUP, AT(gid), 0, 0 },
	{ { "umask", "OCTAL", "022", "0..0777", "", false,
	    "Permissions taken from files (0666) and directories (0777) that have no stored mode." },
	  KIND_UMASK, AT(umask), 0, 0777 },
	{ { "ctldir", "NAME", ".wombat", "", "", false, "Name of the control directory at the root of the mount." },
	  KIND_CTLDIR, AT(ctldir), 0, 0 },
	{ { "fsname", "TEXT", "", "", "", false, "What df and findmnt show as the mount's source; default: the database's directory." },
	  KIND_FSNAME, AT(fsname), 0, 0 },
	{ { "noxattr", NULL, "", "", "", false, "Do without extended attributes: the kernel asks once and never again." },
	  KIND_ON, AT(noxattr), 0, 0 },
	{ { "log", "WHERE", "", "syslog|stderr", "", false,
	    "Where messages go: syslog or stderr; default: stderr with -f, else syslog." },
	  KIND_LOG, AT(log_syslog), 0, 0 },
	{ { "commit", "WHEN", "close", "close|write", "", false,
	    "When what was written becomes the value: at the close of the file, as a whole; or with each write(2), which also saves the "
	    "requests that tell of opens and closes." },
	  KIND_COMMIT, AT(commit_write), 0, 0 },
	{ { "commit_idle_ms", "MS", "5000", "0..86400000", "ms", true,
	    "Commit a file that stays open when no write has come for this long; 0: wait for close or fsync." },
	  KIND_LIVE, AT(commit_idle_ms), 0, DAY_MS },
	{ { "commit_age_ms", "MS", "60000", "0..86400000", "ms", true,
	    "Commit a file that stays open when its oldest write is this old; 0: no limit." },
	  KIND_LIVE, AT(commit_age_ms), 0, DAY_MS },
	{ { "txn_idle_ms", "MS", "3600000", "0..86400000", "ms", true,
	    "A transaction below .wombat/txn that nobody used for so long is given up; 0: none is. It holds the space of what was "
	    "changed or deleted since it began." },
	  KIND_LIVE, AT(txn_idle_ms), 0, DAY_MS },
	{ { "neighbours", "COUNT", "64", "0..1024", "files", true,
	    "Files of up to 64 KiB that are put into the page cache ahead when those of a directory are read in order; 0: none." },
	  KIND_LIVE, AT(neighbours), 0, 1024 },
	{ { "max_threads", "COUNT", "4", "1..64", "", false,
	    "Service threads at most; more than one join only for slow requests and under parallel load." },
	  KIND_NUMBER, AT(max_threads), 1, 64 },
	{ { "read_ahead_kb", "KIB", "1024", "0..1048576", "KiB", false,
	    "What the kernel reads ahead in files, where wombatfs may set it; 0: the kernel's default." },
	  KIND_NUMBER, AT(read_ahead_kb), 0, 1048576 },
	{ { "writeback_cache", NULL, "", "", "", false,
	    "Let the kernel gather writes: for random rewriting of large files; costs a request per append and rename." },
	  KIND_ON, AT(writeback_cache), 0, 0 },
	{ { "preset", "NAME", "default", "", "", false,
	    "Engine options to start from: default, memory_optimized, high_performance, durability_focused, bulk_load." },
	  KIND_PRESET, 0, 0, 0 },
};
enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

/* What mount(8) knows: passed on to the kernel through libfuse ... */
static const char *const passed_options[] = {
	"dev", "nodev", "suid", "nosuid", "exec", "noexec", "async", "sync", "dirsync", "atime", "noatime",
};
/* ... or meant for mount(8), systemd or fstab alone. "NAME=" takes any value. */
static const char *const ignored_options[] = {
	"defaults", "auto", "noauto", "user", "user=", "nouser", "users", "owner", "group", "nofail", "fail", "_netdev",
	"diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
	"silent", "loud", "comment=", "user_id=", "group_id=", /* the last two as mount(8) finds them for a remount */
};

static int usage_error(char *sentence, size_t cap, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int usage_error(char *sentence, size_t cap, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, cap, format, args);
	va_end(args);
	return MOUNT_EXIT_USAGE;
}

static int no_memory(char *sentence, size_t cap)
{
	return usage_error(sentence, cap, "out of memory");
}

/* ---- Defaults ---- */

bool mount_options_init(struct mount_options *o)
{
	*o = (struct mount_options){
		.uid = getuid(),
		.gid = getgid(),
		.umask = 022,
		.ctldir = strdup(".wombat"),
		.engine = wombat_options_new(),
		.max_threads = 4,
		.read_ahead_kb = 1024,
	};
	atomic_init(&o->commit_idle_ms, 5000);
	atomic_init(&o->commit_age_ms, 60000);
	atomic_init(&o->txn_idle_ms, 3600000);
	atomic_init(&o->neighbours, 64);
	return o->ctldir && o->engine;
}

void mount_options_done(struct mount_options *o)
{
	free(o->ctldir);
	free(o->fsname);
	free(o->db_dir);
	free(o->mountpoint);
	free(o->fuse_options);
	wombat_options_free(o->engine);
	o->ctldir = o->fsname = o->db_dir = o->mountpoint = o->fuse_options = NULL;
	o->engine = NULL;
}

/* ---- Values ---- */

static const struct option_row *find_row(const char *name)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		if (strcmp(rows[i].info.name, name) == 0)
			return &rows[i];
	return NULL;
}

/* A whole number and nothing else: digits of the base. */
static enum wombat_status parse_number(const char *text, int base, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	if (*text < '0' || *text > '9')
		return WOMBAT_INVALID;
	errno = 0;
	unsigned long long v = strtoull(text, &end, base);
	if (*end)
		return WOMBAT_INVALID;
	if (errno == ERANGE || v < min || v > max)
		return WOMBAT_OUT_OF_RANGE;
	*out = (unsigned)v;
	return WOMBAT_OK;
}

static int set_number(const struct option_row *row, const char *value, unsigned *out, char *sentence, size_t cap)
{
	int base = row->kind == KIND_UMASK ? 8 : 10;
	switch (parse_number(value, base, row->min, row->max, out)) {
	case WOMBAT_OK:
		return 0;
	case WOMBAT_OUT_OF_RANGE:
		return usage_error(sentence, cap, "option %s: %s is outside %s", row->info.name, value, row->info.range_text);
	default:
		return usage_error(sentence, cap, "option %s: \"%s\" is not %s number", row->info.name, value,
			base == 8 ? "an octal" : "a whole");
	}
}

static int set_user(struct mount_options *o, const char *value, char *sentence, size_t cap)
{
	unsigned id;
	const struct passwd *user = NULL;
	if (parse_number(value, 10, 0, UINT_MAX - 1, &id) != WOMBAT_OK && !(user = getpwnam(value)))
		return usage_error(sentence, cap, "option uid: there is no user \"%s\"", value);
	o->uid = user ? user->pw_uid : (uid_t)id;
	o->have_uid = true;
	return 0;
}

static int set_group(struct mount_options *o, const char *value, char *sentence, size_t cap)
{
	unsigned id;
	const struct group *group = NULL;
	if (parse_number(value, 10, 0, UINT_MAX - 1, &id) != WOMBAT_OK && !(group = getgrnam(value)))
		return usage_error(sentence, cap, "option gid: there is no group \"%s\"", value);
	o->gid = group ? group->gr_gid : (gid_t)id;
	o->have_gid = true;
	return 0;
}

static int set_copy(char **field, const char *value, char *sentence, size_t cap)
{
	char *copy = strdup(value);
	if (!copy)
		return no_memory(sentence, cap);
	free(*field);
	*field = copy;
	return 0;
}

static int set_ctldir(struct mount_options *o, const char *value, char *sentence, size_t cap)
{
	if (!keypath_ctldir_is_valid(value))
		return usage_error(sentence, cap,
			"option ctldir: \"%s\" cannot name the control directory (one name without '/' and '%%', at most %d bytes)",
			value, KEYPATH_CTLDIR_MAX);
	return set_copy(&o->ctldir, value, sentence, cap);
}

/* What is known beyond the options' values while a command line is read. */
struct parse {
	struct mount_options *o;
	bool log_chosen, permissions_chosen;
	bool presets;        /* this pass applies presets, and only those */
	char *passed;        /* ",noatime,nodev": for libfuse */
	char *sentence;
	size_t cap;
};

static int set_log(struct parse *p, const char *value)
{
	bool is_syslog = strcmp(value, "syslog") == 0;
	if (!is_syslog && strcmp(value, "stderr") != 0)
		return usage_error(p->sentence, p->cap, "option log: \"%s\" is neither syslog nor stderr", value);
	p->o->log_syslog = is_syslog;
	p->log_chosen = true;
	return 0;
}

static int set_commit(struct parse *p, const char *value)
{
	bool is_write = strcmp(value, "write") == 0;
	if (!is_write && strcmp(value, "close") != 0)
		return usage_error(p->sentence, p->cap, "option commit: \"%s\" is neither close nor write", value);
	p->o->commit_write = is_write;
	return 0;
}

static int set_row(struct parse *p, const struct option_row *row, const char *value)
{
	struct mount_options *o = p->o;
	void *field = (char *)o + row->offset;
	unsigned number;
	int result = 0;
	if (row->info.argument && (!value || !*value))
		return usage_error(p->sentence, p->cap, "option %s needs a value: %s=%s", row->info.name, row->info.name,
			row->info.argument);
	if (!row->info.argument && value)
		return usage_error(p->sentence, p->cap, "option %s takes no value", row->info.name);
	switch (row->kind) {
	case KIND_ON:
		*(bool *)field = true;
		p->permissions_chosen |= field == &o->default_permissions;
		return 0;
	case KIND_OFF:
		*(bool *)field = false;
		p->permissions_chosen |= field == &o->default_permissions;
		return 0;
	case KIND_NUMBER:
		return set_number(row, value, field, p->sentence, p->cap);
	case KIND_LIVE:
		result = set_number(row, value, &number, p->sentence, p->cap);
		if (!result)
			atomic_store_explicit((atomic_uint *)field, number, memory_order_relaxed);
		return result;
	case KIND_USER:
		return set_user(o, value, p->sentence, p->cap);
	case KIND_GROUP:
		return set_group(o, value, p->sentence, p->cap);
	case KIND_UMASK:
		result = set_number(row, value, &number, p->sentence, p->cap);
		if (!result) {
			o->umask = (mode_t)number;
			o->have_umask = true;
		}
		return result;
	case KIND_CTLDIR:
		return set_ctldir(o, value, p->sentence, p->cap);
	case KIND_FSNAME:
		return set_copy(&o->fsname, value, p->sentence, p->cap);
	case KIND_COMMIT:
		return set_commit(p, value);
	case KIND_LOG:
		return set_log(p, value);
	case KIND_PRESET:
		if (p->presets && wombat_options_preset(o->engine, value) != WOMBAT_OK)
			return usage_error(p->sentence, p->cap, "%s", wombat_last_error());
		return 0;
	}
	return 0;
}

/* ---- Options that are not wombatfs's ---- */

static const struct wombat_option_info *find_engine_option(const char *name)
{
	const struct wombat_option_info *info;
	for (size_t i = 0; (info = wombat_option_info(i)) != NULL; i++)
		if (strcmp(info->name, name) == 0)
			return info;
	return NULL;
}

static int set_engine_option(struct parse *p, const struct wombat_option_info *info, const char *value)
{
	if (!value && info->type != WOMBAT_TYPE_BOOL)
		return usage_error(p->sentence, p->cap, "option %s needs a value (%s)", info->name, info->range_text);
	if (wombat_options_set(p->o->engine, info->name, value ? value : "true") != WOMBAT_OK)
		return usage_error(p->sentence, p->cap, "%s", wombat_last_error());
	return 0;
}

/* Appends ",TEXT", with what libfuse would take for separators escaped. */
static bool add_passed(char **list, const char *key, const char *text)
{
	size_t old = *list ? strlen(*list) : 0;
	char *grown = realloc(*list, old + strlen(key) + 2 * strlen(text) + 2);
	if (!grown)
		return false;
	*list = grown;
	char *at = grown + old;
	if (old > 0)
		*at++ = ',';
	at = stpcpy(at, key);
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			*at++ = '\\';
		*at++ = *text;
	}
	*at = '\0';
	return true;
}

static bool is_ignored(const char *text)
{
	if (strncmp(text, "x-", 2) == 0 || strncmp(text, "X-", 2) == 0)
		return true;
	for (size_t i = 0; i < sizeof(ignored_options) / sizeof(ignored_options[0]); i++) {
		const char *option = ignored_options[i];
		size_t len = strlen(option);
		if (strncmp(text, option, len) == 0 && (option[len - 1] == '=' || text[len] == '\0'))
			return true;
	}
	return false;
}

static bool is_passed(const char *text)
{
	for (size_t i = 0; i < sizeof(passed_options) / sizeof(passed_options[0]); i++)
		if (strcmp(passed_options[i], text) == 0)
			return true;
	return false;
}

/* ---- The command line ---- */

/* One "name" or "name=value", which is cut up. */
static int set_text(struct parse *p, char *text)
{
	if (!*text)
		return 0;
	bool passed = is_passed(text), ignored = is_ignored(text);
	char *value = strchr(text, '=');
	if (value)
		*value++ = '\0';
	const struct option_row *row = find_row(text);
	if (row && (row->kind == KIND_PRESET) == p->presets)
		return set_row(p, row, value);
	if (row || p->presets || ignored)
		return 0;
	if (passed)
		return add_passed(&p->passed, "", text) ? 0 : no_memory(p->sentence, p->cap);
	if (strcmp(text, "debug") == 0 && !value) {
		p->o->debug = p->o->foreground = true;
		return 0;
	}
	const struct wombat_option_info *engine = find_engine_option(text);
	if (engine)
		return set_engine_option(p, engine, value);
	return usage_error(p->sentence, p->cap, "there is no option \"%s\" (wombatfs --help lists them)", text);
}

static int set_list(struct parse *p, const char *list)
{
	char *text = malloc(strlen(list) + 1);
	int result = text ? 0 : no_memory(p->sentence, p->cap);
	while (!result) {
		size_t size = 0;
		for (; *list && *list != ','; list++) {
			if (*list == '\\' && list[1])
				list++;
			text[size++] = *list;
		}
		text[size] = '\0';
		result = set_text(p, text);
		if (!*list)
			break;
		list++;
	}
	free(text);
	return result;
}

/* One pass over the command line; stores where the operands begin. */
static int parse_pass(struct parse *p, int argc, char **argv, int *out_first_operand)
{
	static const struct option long_options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct mount_options *o = p->o;
	int result = 0, option;
	optind = 0; /* begins anew, also when another command line was read before */
	opterr = 0;
	while (!result && (option = getopt_long(argc, argv, ":fdshVo:", long_options, NULL)) != -1) {
		switch (option) {
		case 'f':
			o->foreground = true;
			break;
		case 'd':
			o->debug = o->foreground = true;
			break;
		case 's':
			o->single_thread = true;
			break;
		case 'h':
			o->show_help = true;
			break;
		case 'V':
			o->show_version = true;
			break;
		case 'o':
			result = set_list(p, optarg);
			break;
		case ':':
			result = usage_error(p->sentence, p->cap, "-%c needs a list of options", optopt);
			break;
		default:
			if (optopt)
				result = usage_error(p->sentence, p->cap, "there is no option -%c (wombatfs --help lists them)", optopt);
			else
				result = usage_error(p->sentence, p->cap, "there is no option %s (wombatfs --help lists them)",
					argv[optind - 1]);
		}
	}
	*out_first_operand = optind;
	return result;
}

/* The path made absolute; one that is not there yet, or cannot be looked at, is taken as it is written. */
static char *absolute_path(const char *path)
{
	char *real = realpath(path, NULL), *joined = NULL;
	if (real)
		return real;
	char *copy = strdup(path);
	if (!copy)
		return NULL;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	char *slash = strrchr(copy, '/');
	if (slash) {
		*slash = '\0';
		real = realpath(slash == copy ? "/" : copy, NULL);
	} else {
		real = getcwd(NULL, 0);
	}
	const char *name = slash ? slash + 1 : copy;
	/* The parent is not there either: the sentence that says so comes when the path is used. */
	if (!real) {
		real = *path == '/' ? strdup("") : getcwd(NULL, 0);
		name = *path == '/' ? path + 1 : path;
	}
	if (real && asprintf(&joined, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) < 0)
		joined = NULL;
	free(real);
	free(copy);
	return joined;
}

/* What libfuse is given: who is mounted, and the options that it or the kernel acts on. */
static bool make_fuse_options(struct mount_options *o, const char *passed)
{
	char *list = NULL;
	bool ok = add_passed(&list, "fsname=", o->fsname ? o->fsname : o->db_dir) && add_passed(&list, "subtype=", "wombatfs") &&
		(!o->read_only || add_passed(&list, "", "ro")) &&
		(!o->allow_other || add_passed(&list, "", "allow_other")) &&
		(!o->default_permissions || add_passed(&list, "", "default_permissions"));
	/* Already a list: only names without anything to escape are in it. */
	if (ok && passed) {
		char *joined;
		ok = asprintf(&joined, "%s,%s", list, passed) >= 0;
		if (ok) {
			free(list);
			list = joined;
		}
	}
	if (!ok) {
		free(list);
		return false;
	}
	free(o->fuse_options);
	o->fuse_options = list;
	return true;
}

/* What follows from the other options where nothing was said. */
static void derive_defaults(struct parse *p)
{
	struct mount_options *o = p->o;
	if (!p->log_chosen)
		o->log_syslog = !o->foreground;
	/* Root may do everything anyway, and while nobody else is let in a check by the kernel would only cost a request
	 * for the directory's attributes after each change in it. */
	if (!p->permissions_chosen)
		o->default_permissions = o->allow_other || geteuid() != 0;
	if (o->single_thread)
		o->max_threads = 1;
}

static int take_operands(struct parse *p, int count, char **operands)
{
	struct mount_options *o = p->o;
	if (count != 2)
		return usage_error(p->sentence, p->cap, "%s (usage: wombatfs DB MOUNTPOINT [-o OPTIONS])",
			count < 2 ? "a database directory and a mount point are needed" : "there are too many arguments");
	if (!*operands[0] || !*operands[1])
		return usage_error(p->sentence, p->cap, "an empty path names nothing");
	o->db_dir = absolute_path(operands[0]);
	o->mountpoint = absolute_path(operands[1]);
	if (!o->db_dir || !o->mountpoint || !make_fuse_options(o, p->passed))
		return no_memory(p->sentence, p->cap);
	return 0;
}

int mount_options_parse(struct mount_options *o, int argc, char **argv, char *out_sentence, size_t cap)
{
	struct parse p = { .o = o, .presets = true, .sentence = out_sentence, .cap = cap };
	int operands;
	int result = parse_pass(&p, argc, argv, &operands);
	p.presets = false;
	if (!result && !o->show_help && !o->show_version)
		result = parse_pass(&p, argc, argv, &operands);
	derive_defaults(&p);
	if (!result && !o->show_help && !o->show_version)
		result = take_operands(&p, argc - operands, argv + operands);
	free(p.passed);
	return result;
}

/* ---- Help ---- */

/* Completion reads these lines: four blanks, the name, '=' if it takes a value; one line an option. */
static void print_option(FILE *out, const char *name, const char *argument, const char *default_text,
	const char *help, int help_len)
{
	char text[64];
	snprintf(text, sizeof(text), "%s%s%s", name, argument ? "=" : "", argument ? argument : "");
	fprintf(out, "    %-38s %.*s", text, help_len, help);
	if (*default_text)
		fprintf(out, " [%s]", default_text);
	fputc('\n', out);
}

static int first_sentence_length(const char *text)
{
	const char *end = strstr(text, ". ");
	return end ? (int)(end + 1 - text) : (int)strlen(text);
}

void mount_options_print_help(FILE *out)
{
	static const char *const type_names[] = {
		[WOMBAT_TYPE_BOOL] = "BOOL", [WOMBAT_TYPE_COUNT] = "COUNT", [WOMBAT_TYPE_SIZE] = "SIZE",
		[WOMBAT_TYPE_REAL] = "NUMBER", [WOMBAT_TYPE_ENUM] = "WORD", [WOMBAT_TYPE_PATH] = "PATH",
	};
	fputs("usage: wombatfs DB MOUNTPOINT [-f] [-d] [-s] [-o OPTION,...]\n"
	      "\n"
	      "Mounts the Wombat database in directory DB, which is made if it is missing, on MOUNTPOINT.\n"
	      "Unmount: fusermount3 -u MOUNTPOINT\n"
	      "\n"
	      "  -f                 stay in the foreground, messages to stderr\n"
	      "  -d                 print every request (implies -f)\n"
	      "  -s                 serve with a single thread\n"
	      "  -h, --help         print this\n"
	      "  -V, --version      print the version\n"
	      "\n"
	      "Options of the mount [default]:\n",
		out);
	for (size_t i = 0; i < ROW_COUNT; i++) {
		const struct mount_option_info *info = &rows[i].info;
		print_option(out, info->name, info->argument, info->default_text, info->help, (int)strlen(info->help));
	}
	fputs("\nOptions of the engine, which wombat(3) describes [default]:\n", out);
	const struct wombat_option_info *info;
	for (size_t i = 0; (info = wombat_option_info(i)) != NULL; i++)
		print_option(out, info->name, type_names[info->type], info->default_text, info->help,
			first_sentence_length(info->help));
	fputs("\nOptions that mount(8) gives to any filesystem are taken too.\n", out);
}

/* ---- While mounted ---- */

const struct mount_option_info *mount_option_info(size_t index)
{
	return index < ROW_COUNT ? &rows[index].info : NULL;
}

static atomic_uint *live_field(struct mount_options *o, const struct option_row *row)
{
	return (atomic_uint *)((char *)o + row->offset);
}

enum wombat_status mount_option_judge(const char *name, const char *value, char *out_sentence, size_t cap)
{
	const struct option_row *row = find_row(name);
	unsigned number;
	if (!row) {
		usage_error(out_sentence, cap, "there is no option \"%s\"", name);
		return WOMBAT_NOT_FOUND;
	}
	if (row->kind != KIND_LIVE) {
		usage_error(out_sentence, cap, "option %s cannot change while mounted", name);
		return WOMBAT_NOT_CHANGEABLE;
	}
	if (set_number(row, value, &number, out_sentence, cap) == 0)
		return WOMBAT_OK;
	return parse_number(value, 10, row->min, row->max, &number);
}

void mount_option_set(struct mount_options *o, const char *name, const char *value)
{
	const struct option_row *row = find_row(name);
	unsigned number;
	/* Relaxed: the timer that reads it needs nothing else from this thread. */
	if (row && row->kind == KIND_LIVE && parse_number(value, 10, row->min, row->max, &number) == WOMBAT_OK)
		atomic_store_explicit(live_field(o, row), number, memory_order_relaxed);
}

void mount_option_print(struct mount_options *o, const char *name, char *out_value, size_t cap)
{
	const struct option_row *row = find_row(name);
	unsigned number = 0;
	if (row && row->kind == KIND_LIVE)
		number = atomic_load_explicit(live_field(o, row), memory_order_relaxed);
	snprintf(out_value, cap, "%u", number);
}
