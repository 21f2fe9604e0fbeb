/*
 * get, put, del: single records, and ranges of them to delete.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/tool/text.h"
#include "engine/tool/tool.h"
#include "engine/tool/tool_mount.h"

/* ---- get ---- */

static int complain_no_key(struct wombat_slice key)
{
	fputs("wombat: there is no key \"", stderr);
	text_write_escaped(stderr, key, true);
	fputs("\".\n", stderr);
	return TOOL_NOT_FOUND;
}

static void print_meta(FILE *out, const struct wombat_record *r)
{
	fprintf(out, "{\"size\":%llu,\"time_ns\":%llu,\"expiry_ns\":%llu,\"sequence\":%llu,", (unsigned long long)r->value_size,
		(unsigned long long)r->time_ns, (unsigned long long)r->expiry_ns, (unsigned long long)r->sequence);
	text_write_json_member(out, "attributes", r->attr);
	fputs("}\n", out);
}

static enum wombat_status print_value(FILE *out, struct wombat_value *value)
{
	static uint8_t room[1 << 20];
	uint64_t size = wombat_value_record(value)->value_size;
	size_t got;
	for (uint64_t at = 0; at < size && !ferror(out); at += got) {
		enum wombat_status s = wombat_value_read(value, at, room, sizeof room, &got);
		if (s != WOMBAT_OK)
			return s;
		fwrite(room, 1, got, out);
	}
	return WOMBAT_OK;
}

static int get_from_database(struct tool *t, struct wombat_slice key, bool meta, FILE *out)
{
	struct wombat_read_options how = { .snapshot = t->snapshot, .flags = meta ? WOMBAT_READ_META : WOMBAT_READ_NO_FILL };
	struct wombat_value *value;
	enum wombat_status s = wombat_value_open(t->db, &how, t->keyspace, key, &value);
	if (s == WOMBAT_NOT_FOUND)
		return complain_no_key(key);
	if (s != WOMBAT_OK)
		return complain_status(s);
	if (meta)
		print_meta(out, wombat_value_record(value));
	else
		s = print_value(out, value);
	int code = s == WOMBAT_OK ? TOOL_OK : complain_status(s);
	wombat_value_close(value);
	return code;
}

static int get_from_mount(struct tool *t, struct wombat_slice key, bool meta, FILE *out)
{
	struct mount_value value;
	int code = tool_mount_get(t->mount, key, !meta, &value);
	if (code == TOOL_NOT_FOUND)
		return complain_no_key(key);
	if (code != TOOL_OK)
		return code;
	if (meta)
		fprintf(out, "{\"size\":%llu,\"time_ns\":%llu}\n", (unsigned long long)value.size,
			(unsigned long long)value.time_ns);
	else
		fwrite(value.data, 1, value.size, out);
	free(value.data);
	return TOOL_OK;
}

int verb_get(struct tool *t, int argc, char **argv)
{
	enum { META = 1, OUTPUT };
	static const struct option options[] = {
		{ "meta", no_argument, NULL, META }, { "output", required_argument, NULL, OUTPUT }, { NULL, 0, NULL, 0 },
	};
	bool meta = false;
	const char *path = NULL;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?')
			return TOOL_USAGE;
		if (option == META)
			meta = true;
		else
			path = optarg;
	}
	struct wombat_slice key;
	if (tool_take_dir(t, argc, argv, 1, 1) < 0 || tool_key(t, argv[optind], &key))
		return TOOL_USAGE;
	int code = tool_open_or_mount(t);
	if (code)
		return code;
	FILE *out = path ? fopen(path, "wb") : stdout;
	if (!out)
		return complain(TOOL_IO, "cannot write %s: %s.", path, strerror(errno));
	code = t->mount ? get_from_mount(t, key, meta, out) : get_from_database(t, key, meta, out);
	if (path && fclose(out) != 0 && code == TOOL_OK)
		code = complain(TOOL_IO, "cannot write %s: %s.", path, strerror(errno));
	return code;
}

/* ---- put ---- */

/* All of a stream. The limit on values is the engine's to judge. */
static int read_stream(FILE *in, const char *name, char **out_data, size_t *out_size)
{
	char *data = NULL;
	size_t size = 0, capacity = 0;
	do {
		if (size == capacity) {
			capacity = capacity ? capacity * 2 : 65536;
			char *grown = realloc(data, capacity);
			if (!grown) {
				free(data);
				return complain(TOOL_IO, "out of memory while reading %s.", name);
			}
			data = grown;
		}
		size += fread(data + size, 1, capacity - size, in);
	} while (!feof(in) && !ferror(in));
	if (ferror(in)) {
		free(data);
		return complain(TOOL_IO, "cannot read %s: %s.", name, strerror(errno));
	}
	*out_data = data;
	*out_size = size;
	return 0;
}

static int read_file(const char *path, char **out_data, size_t *out_size)
{
	if (!path || strcmp(path, "-") == 0)
		return read_stream(stdin, "standard input", out_data, out_size);
	FILE *in = fopen(path, "rb");
	if (!in)
		return complain(TOOL_IO, "cannot read %s: %s.", path, strerror(errno));
	int code = read_stream(in, path, out_data, out_size);
	fclose(in);
	return code;
}

/* "90", "90s", "15m", "12h", "7d" from now, as ns since 1970. */
static int parse_ttl(const char *text, uint64_t *out_expiry_ns)
{
	char *end;
	errno = 0;
	unsigned long long count = strtoull(text, &end, 10);
	uint64_t unit = 1;
	if (*end == 'm')
		unit = 60;
	else if (*end == 'h')
		unit = 3600;
	else if (*end == 'd')
		unit = 86400;
	bool has_unit = *end != '\0' && strchr("smhd", *end) != NULL;
	uint64_t longest = UINT64_C(100) * 366 * 86400;
	if (text[0] < '0' || text[0] > '9' || errno != 0 || end[has_unit] != '\0' || count == 0 || count > longest / unit)
		return complain(TOOL_USAGE, "--ttl wants a time such as 90s, 15m, 12h or 7d, up to 100 years, not \"%s\".", text);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	*out_expiry_ns = ((uint64_t)now.tv_sec + count * unit) * 1000000000u + (uint64_t)now.tv_nsec;
	return 0;
}

static int put_record(struct tool *t, struct wombat_slice key, struct wombat_slice value, uint64_t expiry_ns, bool sync)
{
	int code = tool_open(t, WOMBAT_CREATE);
	if (code)
		return code;
	struct wombat_batch *batch = wombat_batch_new();
	if (!batch)
		return complain(TOOL_IO, "out of memory.");
	struct wombat_put_info info = { .expiry_ns = expiry_ns };
	enum wombat_status s = wombat_batch_put(batch, t->keyspace, key, value, &info);
	if (s == WOMBAT_OK)
		s = wombat_write(t->db, batch, sync ? WOMBAT_SYNC : 0, NULL);
	wombat_batch_free(batch);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}

int verb_put(struct tool *t, int argc, char **argv)
{
	enum { FROM_FILE = 1, TTL, SYNC };
	static const struct option options[] = {
		{ "file", required_argument, NULL, FROM_FILE }, { "ttl", required_argument, NULL, TTL },
		{ "sync", no_argument, NULL, SYNC }, { NULL, 0, NULL, 0 },
	};
	const char *path = NULL;
	uint64_t expiry_ns = 0;
	bool sync = false;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?' || (option == TTL && parse_ttl(optarg, &expiry_ns)))
			return TOOL_USAGE;
		if (option == FROM_FILE)
			path = optarg;
		else if (option == SYNC)
			sync = true;
	}
	struct wombat_slice key;
	int rest = tool_take_dir(t, argc, argv, 1, 2);
	if (rest < 0 || tool_key(t, argv[optind], &key))
		return TOOL_USAGE;
	if (path && rest == 2)
		return complain(TOOL_USAGE, "a value was given twice: --file and \"%s\".", argv[optind + 1]);
	if (rest == 2)
		return put_record(t, key, WOMBAT_STR(argv[optind + 1]), expiry_ns, sync);
	/* Read before opening: nobody is locked out while we wait for input. */
	char *data;
	size_t size;
	int code = read_file(path, &data, &size);
	if (code)
		return code;
	code = put_record(t, key, WOMBAT_SLICE(data, size), expiry_ns, sync);
	free(data);
	return code;
}

/* ---- del ---- */

static int delete_keys(struct tool *t, char **arguments, int count)
{
	int code = TOOL_OK;
	for (int i = 0; i < count; i++) {
		struct wombat_slice key;
		struct wombat_record r;
		struct wombat_read_options meta = { .flags = WOMBAT_READ_META };
		if (tool_key(t, arguments[i], &key))
			return TOOL_USAGE;
		enum wombat_status s = wombat_get(t->db, &meta, t->keyspace, key, &r);
		if (s == WOMBAT_NOT_FOUND) {
			code = complain_no_key(key);
			continue;
		}
		if (s == WOMBAT_OK) {
			wombat_record_release(&r);
			s = wombat_delete(t->db, t->keyspace, key);
		}
		if (s != WOMBAT_OK)
			return complain_status(s);
	}
	return code;
}

static int delete_range(struct tool *t, struct wombat_slice from, struct wombat_slice to)
{
	enum wombat_status s = wombat_delete_range(t->db, t->keyspace, from, to);
	return s == WOMBAT_OK ? TOOL_OK : complain_status(s);
}

static int delete_prefix(struct tool *t, struct wombat_slice prefix)
{
	uint8_t *end = malloc(prefix.size + 1);
	if (!end)
		return complain(TOOL_IO, "out of memory.");
	size_t end_size = prefix_end(prefix, end);
	int code = delete_range(t, prefix, WOMBAT_SLICE(end, end_size));
	free(end);
	return code;
}

int verb_del(struct tool *t, int argc, char **argv)
{
	enum { KEYS, PREFIX, RANGE } what = KEYS;
	static const struct option options[] = {
		{ "prefix", no_argument, NULL, PREFIX }, { "range", no_argument, NULL, RANGE }, { NULL, 0, NULL, 0 },
	};
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?')
			return TOOL_USAGE;
		what = option == PREFIX ? PREFIX : RANGE;
	}
	int count = tool_take_dir(t, argc, argv, what == RANGE ? 2 : 1, what == KEYS ? -1 : what == RANGE ? 2 : 1);
	if (count < 0)
		return TOOL_USAGE;
	struct wombat_slice from, to;
	if (what != KEYS && tool_key(t, argv[optind], &from))
		return TOOL_USAGE;
	if (what == RANGE && tool_key(t, argv[optind + 1], &to))
		return TOOL_USAGE;
	int code = tool_open(t, 0);
	if (code)
		return code;
	if (what == KEYS)
		return delete_keys(t, argv + optind, count);
	return what == PREFIX ? delete_prefix(t, from) : delete_range(t, from, to);
}
