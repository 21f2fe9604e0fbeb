/*
 * scan and list: records in key order, and what lies directly below a prefix. Both print in one of three
 * forms: lines with escapes, JSON lines, or raw bytes that NULs end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tool/text.h"
#include "engine/tool/tool.h"
#include "engine/tool/tool_mount.h"

enum output_form { FORM_LINES, FORM_JSON, FORM_NUL };

/* Shared by both verbs: an `each` of tool_mount.h gets it as its argument. */
struct printer {
	const struct tool *tool;
	enum output_form form;
	bool keys_only;
	uint64_t left;    /* records that may still be printed */
	uint64_t printed;
};

static void print_key(const struct printer *p, const char *member, struct wombat_slice key)
{
	if (p->form == FORM_NUL) {
		fwrite(key.data, 1, key.size, stdout);
	} else if (p->form == FORM_JSON && p->tool->hex) {
		printf("\"%s_hex\":\"", member);
		text_write_hex(stdout, key);
		putchar('"');
	} else if (p->form == FORM_JSON) {
		text_write_json_member(stdout, member, key);
	} else if (p->tool->hex) {
		text_write_hex(stdout, key);
	} else {
		text_write_escaped(stdout, key, true);
	}
}

/* The members of a JSON line that come after the key. */
static void print_members(const struct wombat_record *r, bool with_value)
{
	printf(",\"size\":%llu,\"time_ns\":%llu", (unsigned long long)r->value_size, (unsigned long long)r->time_ns);
	if (r->expiry_ns != 0)
		printf(",\"expiry_ns\":%llu", (unsigned long long)r->expiry_ns);
	if (r->attr.size > 0) {
		putchar(',');
		text_write_json_member(stdout, "attributes", r->attr);
	}
	if (with_value) {
		putchar(',');
		text_write_json_member(stdout, "value", r->value);
	}
}

/* False: enough, or standard output is gone. */
static bool print_record(struct printer *p, struct wombat_slice key, const struct wombat_record *r)
{
	if (p->form == FORM_JSON)
		putchar('{');
	print_key(p, "key", key);
	if (p->form == FORM_JSON) {
		print_members(r, !p->keys_only);
		putchar('}');
	} else if (!p->keys_only) {
		putchar(p->form == FORM_NUL ? '\0' : '\t');
		if (p->form == FORM_NUL)
			fwrite(r->value.data, 1, r->value.size, stdout);
		else
			text_write_escaped(stdout, r->value, true);
	}
	putchar(p->form == FORM_NUL ? '\0' : '\n');
	p->printed++;
	return --p->left > 0 && !ferror(stdout);
}

static bool print_mount_record(void *arg, struct wombat_slice key, const struct mount_value *value)
{
	struct wombat_record r = { .value = WOMBAT_SLICE(value->data, value->data ? value->size : 0),
		.value_size = value->size, .time_ns = value->time_ns };
	return print_record(arg, key, &r);
}

/* Parses the options that both verbs have. False: it is not one of them. */
enum { OPT_JSON = 1, OPT_NUL, OPT_OWN };
static bool take_form(struct printer *p, int option)
{
	if (option == OPT_JSON)
		p->form = FORM_JSON;
	else if (option == OPT_NUL)
		p->form = FORM_NUL;
	return option == OPT_JSON || option == OPT_NUL;
}

/* ---- scan ---- */

static int scan_database(struct tool *t, struct printer *p, const struct mount_range *range)
{
	/* The tighter of two bounds on each side. */
	uint8_t *end = malloc(range->prefix.size + 1);
	if (!end)
		return complain(TOOL_IO, "out of memory.");
	struct wombat_slice prefix_upper = WOMBAT_SLICE(end, prefix_end(range->prefix, end));
	struct wombat_iter_options options = { .lower = range->lower, .upper = range->upper,
		.read.snapshot = t->snapshot, .read.flags = WOMBAT_READ_NO_FILL | (range->with_data ? 0 : WOMBAT_READ_META) };
	if (slice_compare(range->prefix, range->lower) > 0)
		options.lower = range->prefix;
	if (prefix_upper.size > 0 && (range->upper.size == 0 || slice_compare(prefix_upper, range->upper) < 0))
		options.upper = prefix_upper;
	struct wombat_iter *iter = NULL;
	enum wombat_status s = wombat_iter_new(t->db, &options, t->keyspace, &iter);
	free(end);
	if (s != WOMBAT_OK)
		return complain_status(s);
	bool more = range->reverse ? wombat_iter_last(iter) : wombat_iter_first(iter);
	while (more) {
		const struct wombat_record *r = wombat_iter_record(iter);
		if (!print_record(p, r->key, r))
			break;
		more = range->reverse ? wombat_iter_prev(iter) : wombat_iter_next(iter);
	}
	s = wombat_iter_status(iter);
	int code = s == WOMBAT_OK ? TOOL_OK : complain_status(s);
	wombat_iter_free(iter);
	return code;
}

int verb_scan(struct tool *t, int argc, char **argv)
{
	enum { PREFIX = OPT_OWN, FROM, TO, LIMIT, REVERSE, KEYS_ONLY };
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPT_JSON }, { "null", no_argument, NULL, OPT_NUL },
		{ "prefix", required_argument, NULL, PREFIX }, { "from", required_argument, NULL, FROM },
		{ "to", required_argument, NULL, TO }, { "limit", required_argument, NULL, LIMIT },
		{ "reverse", no_argument, NULL, REVERSE }, { "keys-only", no_argument, NULL, KEYS_ONLY },
		{ NULL, 0, NULL, 0 },
	};
	struct printer printer = { .tool = t, .left = UINT64_MAX };
	struct mount_range range = { .with_data = true };
	char *prefix = NULL, *from = NULL, *to = NULL;
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;) {
		if (option == '?' || (option == LIMIT && tool_number("--limit", optarg, UINT64_MAX, &printer.left)))
			return TOOL_USAGE;
		if (take_form(&printer, option))
			continue;
		if (option == PREFIX)
			prefix = optarg;
		else if (option == FROM)
			from = optarg;
		else if (option == TO)
			to = optarg;
		else if (option == REVERSE)
			range.reverse = true;
		else if (option == KEYS_ONLY)
			printer.keys_only = true;
	}
	/* Now, for --hex may come after them. */
	if ((prefix && tool_key(t, prefix, &range.prefix)) || (from && tool_key(t, from, &range.lower)) ||
		(to && tool_key(t, to, &range.upper)) || tool_take_dir(t, argc, argv, 0, 0) < 0)
		return TOOL_USAGE;
	range.with_data = !printer.keys_only;
	int code = tool_open_or_mount(t);
	if (code || printer.left == 0)
		return code;
	/* `--to ""` is no key that others come before; unlike in the library it means nothing, not everything. */
	if (to && range.upper.size == 0)
		return TOOL_OK;
	if (t->mount)
		return tool_mount_scan(t->mount, &range, print_mount_record, &printer);
	return scan_database(t, &printer, &range);
}

/* ---- list ---- */

/* `r` is NULL for a prefix. */
static bool print_child(struct printer *p, struct wombat_slice name, const struct wombat_record *r)
{
	if (p->form == FORM_JSON)
		putchar('{');
	print_key(p, "name", name);
	if (p->form == FORM_JSON) {
		printf(",\"is_prefix\":%s", r ? "false" : "true");
		if (r)
			print_members(r, false);
		putchar('}');
	} else if (!r) {
		fputs(p->tool->hex && p->form == FORM_LINES ? "2f" : "/", stdout);
	}
	putchar(p->form == FORM_NUL ? '\0' : '\n');
	p->printed++;
	return !ferror(stdout);
}

static bool print_mount_child(void *arg, struct wombat_slice name, const struct mount_value *value)
{
	if (!value)
		return print_child(arg, name, NULL);
	struct wombat_record r = { .value_size = value->size, .time_ns = value->time_ns };
	return print_child(arg, name, &r);
}

static int list_database(struct tool *t, struct printer *p, struct wombat_slice prefix)
{
	struct wombat_list *list = NULL;
	const struct wombat_read_options how = { .snapshot = t->snapshot };
	enum wombat_status s = wombat_list_new(t->db, &how, t->keyspace, prefix, &list);
	if (s != WOMBAT_OK)
		return complain_status(s);
	struct wombat_child child;
	while ((s = wombat_list_next(list, &child)) == WOMBAT_OK)
		if (!print_child(p, child.name, child.is_value ? child.record : NULL))
			break;
	int code = s == WOMBAT_OK || s == WOMBAT_NOT_FOUND ? TOOL_OK : complain_status(s);
	wombat_list_free(list);
	return code;
}

/* A prefix as wombat_list wants it: `users` means `users/`, as with ls. */
static int list_prefix(struct tool *t, char *argument, uint8_t **out_data, struct wombat_slice *out_prefix)
{
	struct wombat_slice key;
	if (tool_key(t, argument, &key))
		return TOOL_USAGE;
	uint8_t *data = malloc(key.size + 1);
	if (!data)
		return complain(TOOL_IO, "out of memory.");
	memcpy(data, key.data, key.size);
	if (key.size > 0 && data[key.size - 1] != '/')
		data[key.size++] = '/';
	*out_data = data;
	*out_prefix = WOMBAT_SLICE(data, key.size);
	return 0;
}

int verb_list(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPT_JSON }, { "null", no_argument, NULL, OPT_NUL }, { NULL, 0, NULL, 0 },
	};
	struct printer printer = { .tool = t, .left = UINT64_MAX };
	for (int option; (option = tool_next_option(t, argc, argv, options)) != -1;)
		if (!take_form(&printer, option))
			return TOOL_USAGE;
	int rest = tool_take_dir(t, argc, argv, 0, 1);
	if (rest < 0)
		return TOOL_USAGE;
	uint8_t *data = NULL;
	struct wombat_slice prefix = WOMBAT_SLICE(NULL, 0);
	int code = rest == 1 ? list_prefix(t, argv[optind], &data, &prefix) : 0;
	if (code == 0)
		code = tool_open_or_mount(t);
	if (code == 0)
		code = t->mount ? tool_mount_list(t->mount, prefix, print_mount_child, &printer)
				: list_database(t, &printer, prefix);
	if ((code == TOOL_OK || (code == TOOL_NOT_FOUND && t->mount)) && printer.printed == 0 && prefix.size > 0)
		code = complain(TOOL_NOT_FOUND, "there is no key below \"%s\".", argv[optind]);
	free(data);
	return code;
}
