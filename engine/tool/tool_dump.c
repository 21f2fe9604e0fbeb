/*
 * dump and load: a database as text, every record of every keyspace, and back. wombat(1), section DUMP FORMAT,
 * describes the lines; both directions stream and hold one record at a time, of a large value one piece.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tool/text.h"
#include "engine/tool/tool.h"

static const char header[] = "wombat-dump 2", header_1[] = "wombat-dump 1";

enum { WHOLE_MAX = 1 << 20, PIECE_MAX = 256 << 10 }; /* of values: what is larger is written in pieces */

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

/* All but the value. */
static void write_head(FILE *out, const char *kind, unsigned keyspace, const struct wombat_record *r)
{
	fprintf(out, "%s\t%u\t%llu\t%llu\t", kind, keyspace, (unsigned long long)r->time_ns, (unsigned long long)r->expiry_ns);
	write_bytes(out, r->key);
	putc('\t', out);
	write_bytes(out, r->attr);
	putc('\t', out);
}

static enum wombat_status write_pieces(FILE *out, struct wombat_value *value, uint8_t *room)
{
	uint64_t at = 0, to = 0, count = 0;
	enum wombat_status s;
	while ((s = wombat_value_next_data(value, to, &at, &to)) == WOMBAT_OK && !ferror(out)) {
		size_t size = 0;
		for (; s == WOMBAT_OK && at < to; at += size, count++) {
			s = wombat_value_read(value, at, room, to - at < PIECE_MAX ? (size_t)(to - at) : PIECE_MAX, &size);
			if (s != WOMBAT_OK)
				return s;
			fprintf(out, "piece\t%llu\t", (unsigned long long)at);
			write_bytes(out, WOMBAT_SLICE(room, size));
			putc('\n', out);
		}
	}
	if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND)
		return s;
	fprintf(out, "pieces\t%llu\n", (unsigned long long)count);
	return WOMBAT_OK;
}

/* A record whose value is not at hand, or is large. `room`: WHOLE_MAX bytes. */
static enum wombat_status write_large(struct tool *t, const struct wombat_snapshot *snapshot, FILE *out, unsigned keyspace,
	const struct wombat_record *r, uint8_t *room)
{
	const struct wombat_read_options options = { .snapshot = snapshot, .flags = WOMBAT_READ_NO_FILL };
	struct wombat_value *value;
	size_t size;
	enum wombat_status s = wombat_value_open(t->db, &options, keyspace, r->key, &value);
	if (s != WOMBAT_OK)
		return s;
	if (r->value_size > WHOLE_MAX) {
		write_head(out, "large", keyspace, r);
		fprintf(out, "%llu\n", (unsigned long long)r->value_size);
		s = write_pieces(out, value, room);
	} else {
		s = wombat_value_read(value, 0, room, (size_t)r->value_size, &size);
		if (s == WOMBAT_OK) {
			write_head(out, "record", keyspace, r);
			write_bytes(out, WOMBAT_SLICE(room, size));
			putc('\n', out);
		}
	}
	wombat_value_close(value);
	return s;
}

static enum wombat_status dump_keyspace(struct tool *t, const struct wombat_snapshot *snapshot, unsigned keyspace,
	FILE *out, uint64_t *count)
{
	struct wombat_iter_options options = { .read = { snapshot, WOMBAT_READ_NO_FILL | WOMBAT_READ_AT_HAND } };
	struct wombat_iter *iter = NULL;
	static uint8_t room[WHOLE_MAX];
	enum wombat_status s = wombat_iter_new(t->db, &options, keyspace, &iter);
	for (bool more = s == WOMBAT_OK && wombat_iter_first(iter); more && s == WOMBAT_OK && !ferror(out);
	     more = wombat_iter_next(iter)) {
		const struct wombat_record *r = wombat_iter_record(iter);
		++*count;
		if (r->value_size > WHOLE_MAX || (r->value_size && !r->value.data)) {
			s = write_large(t, snapshot, out, keyspace, r, room);
			continue;
		}
		write_head(out, "record", keyspace, r);
		write_bytes(out, r->value);
		putc('\n', out);
	}
	if (s == WOMBAT_OK)
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

/* A value that comes in pieces. */
struct large {
	bool begun;
	struct wombat_edit *edit; /* it has the key; nothing of it is seen before it is whole */
	uint64_t size, at, pieces; /* `at`: the end of the last piece */
	struct wombat_put_info info;
	/* With --bulk instead: all of it in memory. */
	uint8_t *whole;
	unsigned keyspace;
	uint8_t *key, *attr;
	size_t key_size;
};

struct loader {
	struct tool *tool;
	const char *name;     /* of the input, for sentences */
	uint64_t line;
	uint64_t count;       /* records read */
	struct wombat_batch *batch;
	size_t batch_bytes;
	struct wombat_ingest *ingest; /* NULL: by batches */
	struct large large;
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

/* What is there of a record before its value. */
struct head {
	uint64_t keyspace;
	struct wombat_slice key;
	struct wombat_put_info info;
};

static int parse_head(const struct loader *l, char **fields, struct head *out)
{
	*out = (struct head){ .keyspace = 0 };
	if (!parse_number(fields, WOMBAT_KEYSPACE_MAX, &out->keyspace) || out->keyspace == 0)
		return bad_line(l, "the keyspace is not a number from 1 to 254");
	if (!parse_number(fields, UINT64_MAX, &out->info.time_ns) || !parse_number(fields, UINT64_MAX, &out->info.expiry_ns))
		return bad_line(l, "the time or the expiry time is not a number");
	if (!parse_bytes(fields, &out->key) || !parse_bytes(fields, &out->info.attr))
		return bad_line(l, "the key or the attributes cannot be read");
	return 0;
}

static int ingest_put(struct loader *l, unsigned keyspace, struct wombat_slice key, struct wombat_slice value,
	const struct wombat_put_info *info)
{
	enum wombat_status s = wombat_ingest_put(l->ingest, keyspace, key, value, info);
	if (s == WOMBAT_INVALID)
		return bad_line(l, "with --bulk records ascend by keyspace and key, as in a dump that `wombat dump` wrote");
	if (s != WOMBAT_OK)
		return complain_status(s);
	l->count++;
	return 0;
}

static int load_record(struct loader *l, char *fields)
{
	struct head h;
	struct wombat_slice value;
	int code = parse_head(l, &fields, &h);
	if (code)
		return code;
	if (!parse_bytes(&fields, &value))
		return bad_line(l, "the value cannot be read");
	if (fields)
		return bad_line(l, "there is something after the value");
	if (l->ingest)
		return ingest_put(l, (unsigned)h.keyspace, h.key, value, &h.info);
	enum wombat_status s = wombat_batch_put(l->batch, (unsigned)h.keyspace, h.key, value, &h.info);
	if (s != WOMBAT_OK)
		return complain_status(s);
	l->count++;
	l->batch_bytes += h.key.size + h.info.attr.size + value.size;
	return l->batch_bytes < BATCH_BYTES ? 0 : apply_batch(l);
}

/* ---- load: large values ---- */

static void large_done(struct large *g)
{
	wombat_edit_close(g->edit);
	free(g->whole);
	free(g->key);
	free(g->attr);
	*g = (struct large){ .begun = false };
}

/* What the line's bytes are needed for after it. */
static bool keep(struct wombat_slice bytes, uint8_t **out)
{
	*out = malloc(bytes.size + 1);
	if (*out && bytes.size)
		memcpy(*out, bytes.data, bytes.size);
	return *out != NULL;
}

static int begin_large(struct loader *l, char *fields)
{
	static const uint64_t bulk_max = UINT64_C(1) << 30;
	struct large *g = &l->large;
	struct head h;
	uint64_t size;
	int code = parse_head(l, &fields, &h);
	if (code)
		return code;
	if (!parse_number(&fields, INT64_MAX, &size) || fields)
		return bad_line(l, "the size of the value cannot be read");
	if (!l->ingest && (code = apply_batch(l)) != 0) /* The same key may be in it. */
		return code;
	*g = (struct large){ .begun = true, .size = size, .keyspace = (unsigned)h.keyspace, .info = h.info, .key_size = h.key.size };
	if (!keep(h.key, &g->key) || !keep(h.info.attr, &g->attr))
		return complain(TOOL_IO, "out of memory.");
	g->info.attr = WOMBAT_SLICE(g->attr, h.info.attr.size);
	if (l->ingest && size > bulk_max)
		return complain(TOOL_IO, "%s, line %llu: with --bulk a value has at most %llu bytes.", l->name,
				(unsigned long long)l->line, (unsigned long long)bulk_max);
	if (l->ingest) {
		g->whole = calloc(1, size + 1);
		return g->whole ? 0 : complain(TOOL_IO, "out of memory.");
	}
	enum wombat_status s = wombat_edit_open(l->tool->db, g->keyspace, h.key, WOMBAT_EDIT_CREATE, &g->edit);
	if (s == WOMBAT_OK)
		s = wombat_edit_truncate(g->edit, 0);
	return s == WOMBAT_OK ? 0 : complain_status(s);
}

static int load_piece(struct loader *l, char *fields)
{
	struct large *g = &l->large;
	struct wombat_slice bytes;
	uint64_t at;
	if (!parse_number(&fields, INT64_MAX, &at) || !parse_bytes(&fields, &bytes) || fields)
		return bad_line(l, "the piece of a value cannot be read");
	if (at < g->at || at > g->size || bytes.size > g->size - at)
		return bad_line(l, "the piece is not behind the last one, or beyond the value's end");
	g->at = at + bytes.size;
	g->pieces++;
	if (g->whole) {
		memcpy(g->whole + at, bytes.data, bytes.size);
		return 0;
	}
	enum wombat_status s = wombat_edit_write(g->edit, at, bytes.data, bytes.size);
	return s == WOMBAT_OK ? 0 : complain_status(s);
}

static int end_large(struct loader *l, char *fields)
{
	struct large *g = &l->large;
	uint64_t count;
	if (!parse_number(&fields, UINT64_MAX, &count) || fields)
		return bad_line(l, "the end of a value has no count");
	if (count != g->pieces)
		return bad_line(l, "pieces are missing or added: the count differs from that behind the value");
	if (g->whole)
		return ingest_put(l, g->keyspace, WOMBAT_SLICE(g->key, g->key_size), WOMBAT_SLICE(g->whole, g->size), &g->info);
	enum wombat_status s = wombat_edit_truncate(g->edit, g->size);
	if (s == WOMBAT_OK)
		s = wombat_edit_commit(g->edit, &g->info, NULL, 0, NULL);
	if (s != WOMBAT_OK)
		return complain_status(s);
	l->count++;
	return 0;
}

/* The lines within a large value. */
static int load_within(struct loader *l, char *line)
{
	if (strncmp(line, "piece\t", 6) == 0)
		return load_piece(l, line + 6);
	if (strncmp(line, "pieces\t", 7) != 0)
		return bad_line(l, "this is neither a piece of the value nor its end");
	int code = end_large(l, line + 7);
	large_done(&l->large);
	return code;
}

/* ---- load: lines ---- */

/* The line that ends a dump; what is missing before it shows in its count. */
static int load_end(struct loader *l, char *fields)
{
	uint64_t count;
	if (!parse_number(&fields, UINT64_MAX, &count) || fields)
		return bad_line(l, "the last line has no count");
	if (count != l->count)
		return bad_line(l, "records are missing or added: the count differs from the last line's");
	if (!l->ingest)
		return apply_batch(l);
	enum wombat_status s = wombat_ingest_commit(l->ingest, NULL);
	return s == WOMBAT_OK ? 0 : complain_status(s);
}

/* Lines of the form: header (record | large (piece)* pieces)* end. */
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
			code = strcmp(line, header) == 0 || strcmp(line, header_1) == 0 ?
				0 : bad_line(l, "this is not a dump of version 1 or 2 (\"wombat-dump 2\")");
		else if (l->large.begun)
			code = load_within(l, line);
		else if (ended)
			code = bad_line(l, "there is something after the last line");
		else if (strncmp(line, "record\t", 7) == 0)
			code = load_record(l, line + 7);
		else if (strncmp(line, "large\t", 6) == 0)
			code = begin_large(l, line + 6);
		else if (strncmp(line, "end\t", 4) == 0)
			ended = (code = load_end(l, line + 4)) == 0;
		else
			code = bad_line(l, "this is neither a record nor the end");
	}
	free(line);
	large_done(&l->large);
	if (code == 0 && ferror(in))
		code = complain(TOOL_IO, "cannot read %s: %s.", l->name, strerror(errno));
	if (code == 0 && !ended)
		code = bad_line(l, "the dump is cut short: its last line is missing");
	return code;
}

int verb_load(struct tool *t, int argc, char **argv)
{
	enum { BULK = 1 };
	static const struct option options[] = { { "bulk", no_argument, NULL, BULK }, { NULL, 0, NULL, 0 } };
	bool bulk = false;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1; bulk = true)
		if (option == '?')
			return TOOL_USAGE;
	int rest = tool_take_dir(t, argc, argv, 0, 1);
	if (rest < 0)
		return TOOL_USAGE;
	const char *path = rest == 1 && strcmp(argv[optind], "-") != 0 ? argv[optind] : NULL;
	FILE *in = path ? fopen(path, "rb") : stdin;
	if (!in)
		return complain(TOOL_IO, "cannot read %s: %s.", path, strerror(errno));
	struct loader loader = { .tool = t, .name = path ? path : "standard input", .batch = wombat_batch_new() };
	int code = loader.batch ? tool_open(t, WOMBAT_CREATE) : complain(TOOL_IO, "out of memory.");
	if (code == 0 && bulk) {
		enum wombat_status s = wombat_ingest_new(t->db, &loader.ingest);
		code = s == WOMBAT_OK ? 0 : complain_status(s);
	}
	if (code == 0)
		code = load_lines(&loader, in);
	wombat_ingest_free(loader.ingest);
	wombat_batch_free(loader.batch);
	if (path)
		fclose(in);
	return code;
}
