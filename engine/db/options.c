/*
 * Parsing, printing and checking options by the table in options_table.c.
 */
#include "engine/db/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/env/env.h"

enum { CONFIG_FILE_MAX = 1 << 20 };

const struct option_entry *option_find(const char *name)
{
	for (size_t i = 0; i < option_count; i++)
		if (strcmp(option_table[i].info.name, name) == 0)
			return &option_table[i];
	return NULL;
}

const struct wombat_option_info *wombat_option_info(size_t index)
{
	return index < option_count ? &option_table[index].info : NULL;
}

/* ---- Text to value ------------------------------------------------------------------------- */

static enum wombat_status bad_value(const struct option_entry *e, const char *text, const char *wanted)
{
	return fail(WOMBAT_INVALID, "option %s: \"%s\" is not %s", e->info.name, text, wanted);
}

static enum wombat_status parse_bool(const struct option_entry *e, const char *text, bool *out)
{
	static const struct { const char *word; bool value; } words[] = {
		{ "true", true }, { "false", false }, { "on", true }, { "off", false }, { "yes", true }, { "no", false },
		{ "1", true }, { "0", false },
	};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(text, words[i].word) == 0) {
			*out = words[i].value;
			return WOMBAT_OK;
		}
	return bad_value(e, text, "true or false");
}

/* Powers of 1024 behind a number; -1: no such suffix. "", "K", "k", "KB" and "KiB" are alike. */
static int suffix_power(const char *s)
{
	static const char letters[] = "KMGT";
	if (!*s)
		return 0;
	const char *at = strchr(letters, toupper((unsigned char)*s));
	if (!at || !*at)
		return -1;
	s++;
	if (*s == 'i')
		s++;
	if (*s == 'B')
		s++;
	return *s ? -1 : (int)(at - letters) + 1;
}

static enum wombat_status parse_integer(const struct option_entry *e, const char *text, uint64_t *out)
{
	const char *wanted = e->info.type == WOMBAT_TYPE_SIZE ? "a size (digits, then K, M, G or T)" : "a whole number";
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return bad_value(e, text, wanted);
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	int power = e->info.type == WOMBAT_TYPE_SIZE ? suffix_power(end) : (*end ? -1 : 0);
	if (power < 0)
		return bad_value(e, text, wanted);
	double exact = (double)v * pow(1024, power);
	if (errno == ERANGE || exact < e->min || exact > e->max)
		return fail(WOMBAT_OUT_OF_RANGE, "option %s: %s is outside %s", e->info.name, text, e->info.range_text);
	*out = (uint64_t)v << (10 * power);
	return WOMBAT_OK;
}

static enum wombat_status parse_real(const struct option_entry *e, const char *text, double *out)
{
	char *end;
	double v = strtod(text, &end);
	if (end == text || *end || !isfinite(v))
		return bad_value(e, text, "a number");
	if (v < e->min || v > e->max)
		return fail(WOMBAT_OUT_OF_RANGE, "option %s: %s is outside %s", e->info.name, text, e->info.range_text);
	*out = v;
	return WOMBAT_OK;
}

static enum wombat_status parse_word(const struct option_entry *e, const char *text, uint64_t *out)
{
	for (uint64_t i = 0; e->words[i]; i++)
		if (strcmp(e->words[i], text) == 0) {
			*out = i;
			return WOMBAT_OK;
		}
	return bad_value(e, text, e->info.range_text);
}

static enum wombat_status parse_path(const struct option_entry *e, const char *text, char *out)
{
	size_t size = strlen(text);
	if ((*text && *text != '/') || strchr(text, '\n'))
		return bad_value(e, text, e->info.range_text);
	if (size >= OPTION_PATH_MAX)
		return fail(WOMBAT_OUT_OF_RANGE, "option %s: a path of %zu bytes is too long (at most %d)", e->info.name, size,
			    OPTION_PATH_MAX - 1);
	/* Without slashes at its end, so that one directory has one name. */
	while (size > 1 && text[size - 1] == '/')
		size--;
	memset(out, 0, OPTION_PATH_MAX);
	memcpy(out, text, size);
	return WOMBAT_OK;
}

enum wombat_status option_parse(const struct option_entry *e, const char *text, struct options *o)
{
	void *field = (char *)o + e->offset;
	switch (e->info.type) {
	case WOMBAT_TYPE_BOOL:
		return parse_bool(e, text, field);
	case WOMBAT_TYPE_COUNT:
	case WOMBAT_TYPE_SIZE:
		return parse_integer(e, text, field);
	case WOMBAT_TYPE_REAL:
		return parse_real(e, text, field);
	case WOMBAT_TYPE_ENUM:
		return parse_word(e, text, field);
	case WOMBAT_TYPE_PATH:
		return parse_path(e, text, field);
	}
	return fail(WOMBAT_INVALID, "option %s has no type", e->info.name);
}

/* ---- Value to text ------------------------------------------------------------------------- */

static int print_size(uint64_t v, char *out, size_t cap)
{
	static const char letters[] = { 'T', 'G', 'M', 'K' };
	for (int i = 0; i < 4; i++) {
		unsigned shift = 40 - 10 * (unsigned)i;
		if (v >> shift && (v & ((UINT64_C(1) << shift) - 1)) == 0)
			return snprintf(out, cap, "%" PRIu64 "%c", v >> shift, letters[i]);
	}
	return snprintf(out, cap, "%" PRIu64, v);
}

enum wombat_status option_print(const struct option_entry *e, const struct options *o, char *out, size_t cap)
{
	const void *field = (const char *)o + e->offset;
	uint64_t integer = 0;
	int n = 0;
	if (option_size(e) == sizeof integer && e->info.type != WOMBAT_TYPE_REAL)
		memcpy(&integer, field, sizeof integer);
	switch (e->info.type) {
	case WOMBAT_TYPE_BOOL:
		n = snprintf(out, cap, "%s", *(const bool *)field ? "true" : "false");
		break;
	case WOMBAT_TYPE_COUNT:
		n = snprintf(out, cap, "%" PRIu64, integer);
		break;
	case WOMBAT_TYPE_SIZE:
		n = print_size(integer, out, cap);
		break;
	case WOMBAT_TYPE_REAL:
		n = snprintf(out, cap, "%.15g", *(const double *)field);
		break;
	case WOMBAT_TYPE_ENUM:
		n = snprintf(out, cap, "%s", e->words[integer]);
		break;
	case WOMBAT_TYPE_PATH:
		n = snprintf(out, cap, "%s", (const char *)field);
		break;
	}
	if (n < 0 || (size_t)n >= cap)
		return fail(WOMBAT_TOO_BIG, "option %s: its value needs %d bytes", e->info.name, n + 1);
	return WOMBAT_OK;
}

/* ---- Sets of values ------------------------------------------------------------------------ */

size_t option_size(const struct option_entry *e)
{
	switch (e->info.type) {
	case WOMBAT_TYPE_BOOL:
		return sizeof(bool);
	case WOMBAT_TYPE_PATH:
		return OPTION_PATH_MAX;
	default:
		return sizeof(uint64_t);
	}
}

void options_defaults(struct options *o)
{
	memset(o, 0, sizeof *o);
	for (size_t i = 0; i < option_count; i++)
		/* The table's own defaults parse; the options test asserts it. */
		if (option_parse(&option_table[i], option_table[i].info.default_text, o) != WOMBAT_OK)
			return;
}

void options_overlay(struct options *o, const struct wombat_options *over)
{
	for (size_t i = 0; i < option_count; i++) {
		if (!(over->explicit_mask >> i & 1))
			continue;
		size_t offset = option_table[i].offset;
		size_t size = option_size(&option_table[i]);
		memcpy((char *)o + offset, (const char *)&over->values + offset, size);
	}
}

enum wombat_status options_check(const struct options *o)
{
	if (o->num_level_zero_tables_stall <= o->num_level_zero_tables)
		return fail(WOMBAT_INVALID, "option num_level_zero_tables_stall (%" PRIu64 ") must be above "
			    "num_level_zero_tables (%" PRIu64 ")",
			    o->num_level_zero_tables_stall, o->num_level_zero_tables);
	return WOMBAT_OK;
}

static enum wombat_status set_one(struct wombat_options *o, const char *name, const char *value)
{
	const struct option_entry *e = option_find(name);
	if (!e)
		return fail(WOMBAT_NOT_FOUND, "there is no option \"%s\"", name);
	enum wombat_status s = option_parse(e, value, &o->values);
	if (s == WOMBAT_OK)
		o->explicit_mask |= UINT64_C(1) << (e - option_table);
	return s;
}

static char *trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	char *end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

/* One line of a configuration file, which is cut up in place. */
static enum wombat_status parse_line(struct wombat_options *out, const char *what, unsigned line_number, char *line)
{
	line = trim(line);
	if (!*line || *line == '#')
		return WOMBAT_OK;
	char *equals = strchr(line, '=');
	if (!equals)
		return fail(WOMBAT_INVALID, "%s line %u: \"%s\" is not name=value", what, line_number, line);
	*equals = 0;
	enum wombat_status s = set_one(out, trim(line), trim(equals + 1));
	if (s == WOMBAT_OK)
		return s;
	char cause[400];
	snprintf(cause, sizeof cause, "%s", wombat_last_error());
	return fail(s == WOMBAT_NOT_FOUND ? WOMBAT_INVALID : s, "%s line %u: %s", what, line_number, cause);
}

enum wombat_status options_parse_text(struct wombat_options *out, const char *what, const char *text, size_t size)
{
	struct wombat_options result = *out;
	char *copy = mem_alloc(size + 1);
	if (!copy)
		return fail_no_memory();
	memcpy(copy, text, size);
	copy[size] = 0;
	enum wombat_status s = WOMBAT_OK;
	if (memchr(text, 0, size))
		s = fail(WOMBAT_INVALID, "%s holds a NUL byte", what);
	unsigned line_number = 0;
	for (char *line = copy; s == WOMBAT_OK && line;) {
		char *newline = strchr(line, '\n');
		if (newline)
			*newline = 0;
		s = parse_line(&result, what, ++line_number, line);
		line = newline ? newline + 1 : NULL;
	}
	mem_free(copy);
	if (s == WOMBAT_OK)
		*out = result;
	return s;
}

/* ---- Public calls -------------------------------------------------------------------------- */

struct wombat_options *wombat_options_new(void)
{
	struct wombat_options *o = mem_zalloc(sizeof *o);
	if (o)
		options_defaults(&o->values);
	else
		fail_no_memory();
	return o;
}

void wombat_options_free(struct wombat_options *o)
{
	mem_free(o);
}

enum wombat_status wombat_options_set(struct wombat_options *o, const char *name, const char *value)
{
	return set_one(o, name, value);
}

enum wombat_status wombat_options_get(const struct wombat_options *o, const char *name, char *out_value, size_t cap)
{
	const struct option_entry *e = option_find(name);
	if (!e)
		return fail(WOMBAT_NOT_FOUND, "there is no option \"%s\"", name);
	return option_print(e, &o->values, out_value, cap);
}

enum wombat_status wombat_options_load(struct wombat_options *o, const char *path)
{
	struct buf text = { 0 };
	enum wombat_status s = env_read_file(env_posix(), path, CONFIG_FILE_MAX, &text);
	if (s == WOMBAT_OK)
		s = options_parse_text(o, path, text.data ? (const char *)text.data : "", text.size);
	buf_done(&text);
	return s;
}

struct preset {
	const char *name;
	const struct wombat_setting *settings; /* ends with a NULL name */
};

static const struct wombat_setting preset_default[] = { { NULL, NULL } };
static const struct wombat_setting preset_memory_optimized[] = {
	{ "mem_table_size", "4M" }, { "num_memtables", "2" }, { "block_cache_size", "16M" }, { "max_open_files", "64" },
	{ "table_cache_size", "8M" }, { "filter_cache_size", "8M" },
	{ "wal_file_size", "4M" }, { "max_table_size", "16M" }, { "write_buffer_size", "128K" },
	{ "read_ahead_size", "64K" }, { "num_compactors", "1" }, { "cache_shards", "4" }, { NULL, NULL },
};
static const struct wombat_setting preset_high_performance[] = {
	{ "mem_table_size", "256M" }, { "num_memtables", "4" }, { "block_cache_size", "2G" }, { "max_open_files", "10000" },
	{ "table_cache_size", "1G" }, { "filter_cache_size", "1G" },
	{ "wal_file_size", "64M" }, { "max_table_size", "128M" }, { "num_compactors", "4" }, { "read_ahead_size", "1M" },
	{ "bloom_false_positive", "0.003" }, { "num_level_zero_tables_stall", "36" }, { NULL, NULL },
};
static const struct wombat_setting preset_durability_focused[] = {
	{ "sync_writes", "true" }, { "verify_checksums", "true" }, { "sync_interval_ms", "100" }, { NULL, NULL },
};
static const struct wombat_setting preset_bulk_load[] = {
	{ "sync_writes", "false" }, { "sync_interval_ms", "0" }, { "mem_table_size", "512M" }, { "num_memtables", "2" },
	{ "num_level_zero_tables", "16" }, { "num_level_zero_tables_stall", "64" }, { "num_compactors", "1" },
	{ "wal_file_size", "128M" }, { "write_buffer_size", "4M" }, { NULL, NULL },
};
static const struct preset presets[] = {
	{ "default", preset_default },
	{ "memory_optimized", preset_memory_optimized },
	{ "high_performance", preset_high_performance },
	{ "durability_focused", preset_durability_focused },
	{ "bulk_load", preset_bulk_load },
};

enum wombat_status wombat_options_preset(struct wombat_options *o, const char *name)
{
	for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
		if (strcmp(presets[i].name, name) != 0)
			continue;
		struct wombat_options result = { .explicit_mask = 0 };
		options_defaults(&result.values);
		for (const struct wombat_setting *set = presets[i].settings; set->name; set++) {
			enum wombat_status s = set_one(&result, set->name, set->value);
			if (s != WOMBAT_OK)
				return s;
		}
		*o = result;
		return WOMBAT_OK;
	}
	return fail(WOMBAT_NOT_FOUND, "there is no preset \"%s\" (default, memory_optimized, high_performance, "
		    "durability_focused, bulk_load)", name);
}
