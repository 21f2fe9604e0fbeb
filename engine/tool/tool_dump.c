/*
 * dump and load: a database as text, every record of every keyspace, and back. wombat(1), section DUMP FORMAT,
 * describes the lines; both directions stream and hold one record at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tool/text.h"
#include "engine/tool/tool.h"

static const char header[] = "wombat-dump 1";

/* ---- dump ---- */

/* '=' and escaped text, or '~' and base64, whichever is shorter. */
static void write_bytes(FILE *out, struct wombat_slice bytes)
{
	bool escape = text_escaped_size(bytes) <= text_base64_size(bytes.size);
	putc(escape ? '=' : '~', out);
	if (escape)
		text_write_escaped(out, bytes, false);
	else
		text_write_base64(out, bytes);
}

static void write_record(FILE *out, unsigned keyspace, const struct wombat_record *r)
{
	fprintf(out, "record\t%u\t%llu\t%llu\t", keyspace, (unsigned long long)r->time_ns, (unsigned long long)r->expiry_ns);
	write_bytes(out, r->key);
	putc('\t', out);
	write_bytes(out, r->attr);
	putc('\t', out);
	write_bytes(out, r->value);
	putc('\n', out);
}

static enum wombat_status dump_keyspace(struct tool *t, const struct wombat_snapshot *snapshot, unsigned keyspace,
	FILE *out, uint64_t *count)
{
	struct wombat_iter_options options = { .read = { .snapshot = snapshot, .flags = WOMBAT_READ_NO_FILL } };
	struct wombat_iter *iter = NULL;
	enum wombat_status s = wombat_iter_new(t->db, &options, keyspace, &iter);
	if (s != WOMBAT_OK)
		return s;
	for (bool more = wombat_iter_first(iter); more && !ferror(out); more = wombat_iter_next(iter)) {
		write_record(out, keyspace, wombat_iter_record(iter));
		++*count;
	}
	s = wombat_iter_status(iter);
	wombat_iter_free(iter);
	return s;
}

static int dump_all(struct tool *t, FILE *out)
{
	struct wombat_snapshot *own = t->snapshot ? NULL : wombat_snapshot_new(t->db);
	struct wombat_snapshot *snapshot = t->snapshot ? t->snapshot : own;
	if (!snapshot)
		return complain(TOOL_IO, "out of memory.");
	uint64_t count = 0;
	enum wombat_status s = WOMBAT_OK;
	fprintf(out, "%s\n", header);
	for (unsigned keyspace = 1; keyspace <= WOMBAT_KEYSPACE_MAX && s == WOMBAT_OK; keyspace++)
		s = dump_keyspace(t, snapshot, keyspace, out, &count);
	int code = s == WOMBAT_OK ? TOOL_OK : complain_status(s); /* before another call changes the sentence */
	wombat_snapshot_release(t->db, own);
	/* Without its last line a dump is not whole: none is written when something failed. */
	if (code == TOOL_OK)
		fprintf(out, "end\t%llu\n", (unsigned long long)count);
	return code;
}

int verb_dump(struct tool *t, int argc, char **argv)
{
	int rest;
	if (tool_no_options(t, argc, argv) || (rest = tool_take_dir(t, argc, argv, 0, 1)) < 0)
		return TOOL_USAGE;
	const char *path = rest == 1 && strcmp(argv[optind], "-") != 0 ? argv[optind] : NULL;
	int code = tool_open(t, WOMBAT_OPEN_READ_ONLY);
	if (code)
		return code;
	FILE *out = path ? fopen(path, "wb") : stdout;
	if (!out)
		return complain(TOOL_IO, "cannot write %s: %s.", path, strerror(errno));
	code = dump_all(t, out);
	bool bad = ferror(out) != 0;
	if (path && (fclose(out) != 0 || bad) && code == TOOL_OK)
		code = complain(TOOL_IO, "cannot write %s: %s.", path, strerror(errno));
	return code;
}

/* ---- load ---- */

/* Records are applied in batches of about this many bytes. */
enum { BATCH_BYTES = 4 << 20 };

struct loader {
	struct tool *tool;
	const char *name;     /* of the input, for sentences */
	uint64_t line;
	uint64_t count;       /* records read */
	struct wombat_batch *batch;
	size_t batch_bytes;
};

static int bad_line(const struct loader *l, const char *what)
{
	return complain(TOOL_DAMAGED, "%s, line %llu: %s.", l->name, (unsigned long long)l->line, what);
}

static int apply_batch(struct loader *l)
{
	enum wombat_status s = wombat_write(l->tool->db, l->batch, 0, NULL);
	wombat_batch_clear(l->batch);
	l->batch_bytes = 0;
	return s == WOMBAT_OK ? 0 : complain_status(s);
}

/* A field of a line: cut at its tab. NULL: there is none. */
static char *next_field(char **rest)
{
	char *field = *rest;
	if (!field)
		return NULL;
	char *tab = strchr(field, '\t');
	if (tab)
		*tab = '\0';
	*rest = tab ? tab + 1 : NULL;
	return field;
}

static bool parse_number(char **rest, uint64_t max, uint64_t *out)
{
	const char *field = next_field(rest);
	char *end;
	if (!field || field[0] < '0' || field[0] > '9')
		return false;
	errno = 0;
	unsigned long long number = strtoull(field, &end, 10);
	*out = number;
	return *end == '\0' && errno == 0 && number <= max;
}

static bool parse_bytes(char **rest, struct wombat_slice *out)
{
	char *field = next_field(rest);
	if (!field || (field[0] != '=' && field[0] != '~'))
		return false;
	char *text = field + 1;
	size_t size = strlen(text);
	if (!(field[0] == '=' ? text_decode_escaped(text, &size) : text_decode_base64(text, &size)))
		return false;
	*out = WOMBAT_SLICE(text, size);
	return true;
}

static int load_record(struct loader *l, char *fields)
{
	uint64_t keyspace, time_ns, expiry_ns;
	struct wombat_slice key, attr, value;
	if (!parse_number(&fields, WOMBAT_KEYSPACE_MAX, &keyspace) || keyspace == 0)
		return bad_line(l, "the keyspace is not a number from 1 to 254");
	if (!parse_number(&fields, UINT64_MAX, &time_ns) || !parse_number(&fields, UINT64_MAX, &expiry_ns))
		return bad_line(l, "the time or the expiry time is not a number");
	if (!parse_bytes(&fields, &key) || !parse_bytes(&fields, &attr) || !parse_bytes(&fields, &value))
		return bad_line(l, "the key, the attributes or the value cannot be read");
	if (fields)
		return bad_line(l, "there is something after the value");
	struct wombat_put_info info = { .time_ns = time_ns, .expiry_ns = expiry_ns, .attr = attr };
	enum wombat_status s = wombat_batch_put(l->batch, (unsigned)keyspace, key, value, &info);
	if (s != WOMBAT_OK)
		return complain_status(s);
	l->count++;
	l->batch_bytes += key.size + attr.size + value.size;
	return l->batch_bytes < BATCH_BYTES ? 0 : apply_batch(l);
}

/* The line that ends a dump; what is missing before it shows in its count. */
static int load_end(struct loader *l, char *fields)
{
	uint64_t count;
	if (!parse_number(&fields, UINT64_MAX, &count) || fields)
		return bad_line(l, "the last line has no count");
	if (count != l->count)
		return bad_line(l, "records are missing or added: the count differs from the last line's");
	return apply_batch(l);
}

/* Lines of the form: header (record)* end. */
static int load_lines(struct loader *l, FILE *in)
{
	char *line = NULL;
	size_t capacity = 0;
	bool ended = false;
	int code = 0;
	for (ssize_t size; code == 0 && (size = getline(&line, &capacity, in)) >= 0;) {
		l->line++;
		if (line[size - 1] != '\n') {
			code = bad_line(l, "the input ends in the middle of a line");
			break;
		}
		line[size - 1] = '\0';
		if ((size_t)size - 1 != strlen(line))
			code = bad_line(l, "a dump has no NUL bytes");
		else if (l->line == 1)
			code = strcmp(line, header) == 0 ? 0 : bad_line(l, "this is not a dump of version 1 (\"wombat-dump 1\")");
		else if (ended)
			code = bad_line(l, "there is something after the last line");
		else if (strncmp(line, "record\t", 7) == 0)
			code = load_record(l, line + 7);
		else if (strncmp(line, "end\t", 4) == 0)
			ended = (code = load_end(l, line + 4)) == 0;
		else
			code = bad_line(l, "this is neither a record nor the end");
	}
	free(line);
	if (code == 0 && ferror(in))
		code = complain(TOOL_IO, "cannot read %s: %s.", l->name, strerror(errno));
	if (code == 0 && !ended)
		code = bad_line(l, "the dump is cut short: its last line is missing");
	return code;
}

int verb_load(struct tool *t, int argc, char **argv)
{
	int rest;
	if (tool_no_options(t, argc, argv) || (rest = tool_take_dir(t, argc, argv, 0, 1)) < 0)
		return TOOL_USAGE;
	const char *path = rest == 1 && strcmp(argv[optind], "-") != 0 ? argv[optind] : NULL;
	FILE *in = path ? fopen(path, "rb") : stdin;
	if (!in)
		return complain(TOOL_IO, "cannot read %s: %s.", path, strerror(errno));
	struct loader loader = { .tool = t, .name = path ? path : "standard input", .batch = wombat_batch_new() };
	int code = loader.batch ? tool_open(t, WOMBAT_CREATE) : complain(TOOL_IO, "out of memory.");
	if (code == 0)
		code = load_lines(&loader, in);
	wombat_batch_free(loader.batch);
	if (path)
		fclose(in);
	return code;
}
