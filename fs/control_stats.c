/*
 * The statistics: one list of names and figures, the engine's and then the mount's, in three forms.
 *
 * Text: a line of name and value for each, as they are called in the list.
 * JSON: a dotted name is a path, level.0.files is {"level": {"0": {"files": ...}}}.
 * Prometheus: the text format, with what its linter wants: seconds for times, _total for counters, a help for
 * each family, and all samples of a family together. A number within a name is a label (level_files{level="0"}).
 */
#include <assert.h>
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/control_impl.h"

static const char schema[] = "wombat.stats/1";

enum { NAME_MAX_SIZE = 128 };

const char *const mount_opcode_name[OP_COUNT] = {
	[OP_LOOKUP] = "lookup", [OP_FORGET] = "forget", [OP_BATCH_FORGET] = "batch_forget", [OP_GETATTR] = "getattr",
	[OP_SETATTR] = "setattr", [OP_READLINK] = "readlink", [OP_SYMLINK] = "symlink", [OP_MKNOD] = "mknod",
	[OP_MKDIR] = "mkdir", [OP_UNLINK] = "unlink", [OP_RMDIR] = "rmdir", [OP_RENAME] = "rename", [OP_LINK] = "link",
	[OP_OPEN] = "open", [OP_READ] = "read", [OP_WRITE] = "write", [OP_STATFS] = "statfs", [OP_RELEASE] = "release",
	[OP_FSYNC] = "fsync", [OP_SETXATTR] = "setxattr", [OP_GETXATTR] = "getxattr", [OP_LISTXATTR] = "listxattr",
	[OP_REMOVEXATTR] = "removexattr", [OP_FLUSH] = "flush", [OP_OPENDIR] = "opendir", [OP_READDIR] = "readdir",
	[OP_READDIRPLUS] = "readdirplus", [OP_RELEASEDIR] = "releasedir", [OP_FSYNCDIR] = "fsyncdir",
	[OP_ACCESS] = "access", [OP_CREATE] = "create", [OP_FALLOCATE] = "fallocate", [OP_LSEEK] = "lseek",
	[OP_COPY_FILE_RANGE] = "copy_file_range", [OP_OTHER] = "other",
};

/* ---- The list ---- */

/* Who takes the statistics, one by one. */
struct taker {
	void (*each)(void *arg, const struct wombat_stat *stat);
	void *arg;
	atomic_uint_fast64_t *base; /* of the next one: what it was when counters were reset */
};

/* Relaxed: figures that nothing is ordered by. */
static uint64_t relaxed(const atomic_uint_fast64_t *value)
{
	return atomic_load_explicit((atomic_uint_fast64_t *)value, memory_order_relaxed);
}

static void emit(struct taker *to, const char *name, const atomic_uint_fast64_t *value, bool is_counter, const char *help)
{
	atomic_uint_fast64_t *base = to->base++;
	if (!to->each) {
		atomic_store_explicit(base, is_counter ? relaxed(value) : 0, memory_order_relaxed);
		return;
	}
	struct wombat_stat stat = {
		.name = name,
		.value = (double)relaxed(value) - (double)relaxed(base),
		.is_integer = true,
		.is_counter = is_counter,
		.help = help,
	};
	to->each(to->arg, &stat);
}

/* Without `each` the present values become the base. */
static void each_mount_stat(struct mount *m, void (*each)(void *arg, const struct wombat_stat *stat), void *arg)
{
	struct taker to = { each, arg, m->control->stats_base };
	const struct mount_counts *c = &m->counts;
	for (int op = 0; op < OP_COUNT; op++) {
		char name[NAME_MAX_SIZE];
		snprintf(name, sizeof(name), "mount.requests.%s", mount_opcode_name[op]);
		emit(&to, name, &c->requests[op], true, "Requests of the kernel");
	}
	emit(&to, "mount.errors", &c->errors, true, "Requests that were answered with an error");
	emit(&to, "mount.bytes_read", &c->bytes_read, true, "Bytes of file contents given to the kernel");
	emit(&to, "mount.bytes_written", &c->bytes_written, true, "Bytes of file contents taken from the kernel");
	emit(&to, "mount.neighbours", &c->neighbours, true, "Files that were put into the page cache ahead");
	emit(&to, "mount.listed_ahead", &c->listed_ahead, true, "Replies of listings that were made before they were asked for");
	emit(&to, "mount.commits", &c->commits, true, "Files committed to the database");
	emit(&to, "mount.commit_failures", &c->commit_failures, true, "Commits that failed");
	emit(&to, "mount.staged_files", &c->staged_files, false, "Files with changes that are not committed");
	emit(&to, "mount.staged_bytes", &c->staged_bytes, false, "Bytes of their contents in memory");
	emit(&to, "mount.nodes", &c->nodes, false, "Files and directories that the kernel knows");
	emit(&to, "mount.open_files", &c->open_files, false, "Open file descriptions");
	emit(&to, "mount.open_dirs", &c->open_dirs, false, "Open directories");
	assert(to.base <= m->control->stats_base + CONTROL_STATS);
}

enum wombat_status control_stats_reset(struct mount *m)
{
	enum wombat_status s = wombat_reset_stats(m->db);
	if (s == WOMBAT_OK)
		each_mount_stat(m, NULL, NULL);
	return s;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double uptime_seconds(const struct mount *m)
{
	return (double)(clock_ns(CLOCK_MONOTONIC) - m->control->started_ns) / 1e9;
}

/* ---- JSON ---- */

struct json {
	cJSON *root;
	bool out_of_memory;
};

static void add_number(struct json *j, cJSON *object, const char *name, double value)
{
	if (!cJSON_AddNumberToObject(object, name, value))
		j->out_of_memory = true;
}

/* cJSON prints 15 digits where that is near enough; an integer is exact, and has no exponent. */
static void add_figure(struct json *j, cJSON *object, const char *name, const struct wombat_stat *stat)
{
	char text[32];
	if (!stat->is_integer || !(fabs(stat->value) <= 9007199254740992.0)) {
		add_number(j, object, name, stat->value);
		return;
	}
	snprintf(text, sizeof(text), "%.0f", stat->value);
	if (!cJSON_AddRawToObject(object, name, text))
		j->out_of_memory = true;
}

static void add_json(void *arg, const struct wombat_stat *stat)
{
	struct json *j = arg;
	cJSON *object = j->root;
	const char *name = stat->name;
	char part[NAME_MAX_SIZE];
	for (const char *dot; (dot = strchr(name, '.')) != NULL; name = dot + 1) {
		snprintf(part, sizeof(part), "%.*s", (int)(dot - name), name);
		cJSON *inner = cJSON_GetObjectItemCaseSensitive(object, part);
		if (!inner)
			inner = cJSON_AddObjectToObject(object, part);
		if (!inner) {
			j->out_of_memory = true;
			return;
		}
		/* A figure that has figures below it: these keep their whole names, beside it. */
		if (!cJSON_IsObject(inner)) {
			object = j->root;
			name = stat->name;
			break;
		}
		object = inner;
	}
	add_figure(j, object, name, stat);
}

CONTROL_RENDER(control_stats_render_json)
{
	struct json j = { .root = cJSON_CreateObject() };
	char *text = NULL;
	enum wombat_status s = WOMBAT_OK;
	(void)e;
	if (j.root) {
		if (!cJSON_AddStringToObject(j.root, "schema", schema))
			j.out_of_memory = true;
		add_number(&j, j.root, "time", (double)clock_ns(CLOCK_REALTIME) / 1e9);
		add_number(&j, j.root, "uptime", uptime_seconds(m));
		s = wombat_stats(m->db, add_json, &j);
		each_mount_stat(m, add_json, &j);
		if (!j.out_of_memory)
			text = cJSON_Print(j.root);
	}
	int error = s != WOMBAT_OK ? control_refuse_status(m, s) : 0;
	if (!error && (!text || !control_text_printf(out, "%s\n", text)))
		error = ENOMEM;
	cJSON_free(text);
	cJSON_Delete(j.root);
	return error;
}

/* ---- Text ---- */

struct text {
	struct control_text *out;
	bool out_of_memory;
};

static void add_line(void *arg, const struct wombat_stat *stat)
{
	struct text *t = arg;
	bool ok = stat->is_integer ? control_text_printf(t->out, "%s %.0f\n", stat->name, stat->value) :
		control_text_printf(t->out, "%s %.12g\n", stat->name, stat->value);
	t->out_of_memory |= !ok;
}

CONTROL_RENDER(control_stats_render_text)
{
	struct text t = { .out = out };
	struct wombat_stat uptime = { .name = "mount.uptime_seconds", .value = uptime_seconds(m) };
	(void)e;
	int error = control_refuse_status(m, wombat_stats(m->db, add_line, &t));
	each_mount_stat(m, add_line, &t);
	add_line(&t, &uptime);
	return error ? error : t.out_of_memory ? ENOMEM : 0;
}

/* ---- Prometheus ---- */

struct sample {
	char family[NAME_MAX_SIZE];
	char label[NAME_MAX_SIZE]; /* `level="0"`, or empty */
	char help[256];
	double value;
	bool is_integer, is_counter, is_written;
};

struct samples {
	struct sample *list;
	size_t count, capacity;
	bool out_of_memory;
};

static void append(char *text, size_t cap, const char *more)
{
	size_t size = strlen(text);
	snprintf(text + size, cap - size, "%s", more);
}

static bool ends_with(const char *text, const char *end)
{
	size_t size = strlen(text), end_size = strlen(end);
	return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

/* Parts of the name, joined by '_'; one that is a number, or follows "requests", becomes a label. */
static void name_sample(struct sample *s, const char *dotted)
{
	char name[NAME_MAX_SIZE], *rest = NULL;
	const char *before = "";
	snprintf(name, sizeof(name), "%s", dotted);
	snprintf(s->family, sizeof(s->family), "wombat");
	for (char *part = strtok_r(name, ".", &rest); part; part = strtok_r(NULL, ".", &rest)) {
		if (is_number(part)) {
			snprintf(s->label, sizeof(s->label), "%.60s=\"%.60s\"", before, part);
		} else if (strcmp(before, "requests") == 0) {
			snprintf(s->label, sizeof(s->label), "opcode=\"%.100s\"", part);
		} else {
			append(s->family, sizeof(s->family), "_");
			append(s->family, sizeof(s->family), part);
		}
		before = part;
	}
}

/* Base units and the suffix of counters. */
static void normalise_sample(struct sample *s)
{
	char *family = s->family;
	bool has_total = ends_with(family, "_total");
	if (has_total)
		family[strlen(family) - strlen("_total")] = '\0';
	if (ends_with(family, "_ns")) {
		family[strlen(family) - strlen("_ns")] = '\0';
		append(family, sizeof(s->family), "_seconds");
		s->value /= 1e9;
		s->is_integer = false;
	}
	if (s->is_counter)
		append(family, sizeof(s->family), "_total");
}

static void write_help(struct sample *s, const struct wombat_stat *stat)
{
	size_t size = 0;
	if (!stat->help) {
		snprintf(s->help, sizeof(s->help), "The statistic %s", s->family + strlen("wombat_"));
		return;
	}
	for (const char *c = stat->help; *c && size + 2 < sizeof(s->help); c++) {
		if (*c == '\\' || *c == '\n')
			s->help[size++] = '\\';
		s->help[size++] = *c == '\n' ? 'n' : *c;
	}
	s->help[size] = '\0';
}

static void add_sample(void *arg, const struct wombat_stat *stat)
{
	struct samples *all = arg;
	if (all->count == all->capacity) {
		size_t capacity = all->capacity ? all->capacity * 2 : 256;
		struct sample *grown = realloc(all->list, capacity * sizeof(*grown));
		if (!grown) {
			all->out_of_memory = true;
			return;
		}
		all->list = grown;
		all->capacity = capacity;
	}
	struct sample *s = &all->list[all->count++];
	*s = (struct sample){ .value = stat->value, .is_integer = stat->is_integer, .is_counter = stat->is_counter };
	name_sample(s, stat->name);
	normalise_sample(s);
	write_help(s, stat);
}

static bool write_value(struct control_text *out, const struct sample *s)
{
	if (!isfinite(s->value))
		return control_text_printf(out, "%s\n", isnan(s->value) ? "NaN" : s->value > 0 ? "+Inf" : "-Inf");
	return s->is_integer ? control_text_printf(out, "%.0f\n", s->value) : control_text_printf(out, "%.12g\n", s->value);
}

/* The family of the first sample that is not written yet, whole. */
static bool write_family(struct control_text *out, struct samples *all, size_t first)
{
	const struct sample *head = &all->list[first];
	if (!control_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", head->family, head->help, head->family,
			head->is_counter ? "counter" : "gauge"))
		return false;
	for (size_t i = first; i < all->count; i++) {
		struct sample *s = &all->list[i];
		if (s->is_written || strcmp(s->family, head->family) != 0)
			continue;
		s->is_written = true;
		const char *open = *s->label ? "{" : "", *close = *s->label ? "}" : "";
		if (!control_text_printf(out, "%s%s%s%s ", s->family, open, s->label, close) || !write_value(out, s))
			return false;
	}
	return true;
}

CONTROL_RENDER(control_stats_render_prometheus)
{
	struct samples all = { 0 };
	struct wombat_stat uptime = { .name = "mount.uptime_seconds", .value = uptime_seconds(m),
		.help = "Time since the database was mounted" };
	(void)e;
	int error = control_refuse_status(m, wombat_stats(m->db, add_sample, &all));
	each_mount_stat(m, add_sample, &all);
	add_sample(&all, &uptime);
	if (!error && (all.out_of_memory || !control_text_printf(out,
			"# HELP wombat_info What is running\n# TYPE wombat_info gauge\nwombat_info{version=\"%s\"} 1\n",
			wombat_version())))
		error = ENOMEM;
	for (size_t i = 0; !error && i < all.count; i++)
		if (!all.list[i].is_written && !write_family(out, &all, i))
			error = ENOMEM;
	free(all.list);
	return error;
}
