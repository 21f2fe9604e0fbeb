/*
 * The options as a table says them: each entry is complete and agrees with itself (its default and its range parse and
 * print back, what lies just outside is refused), whatever source a value comes from.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/db/options.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static const char *const preset_names[] = {
	"default", "memory_optimized", "high_performance", "durability_focused", "bulk_load",
};
enum { PRESETS = sizeof preset_names / sizeof preset_names[0] };

/* Whether its values are numbers, with bounds. */
static bool is_number(const struct option_entry *e)
{
	return e->info.type == WOMBAT_TYPE_COUNT || e->info.type == WOMBAT_TYPE_SIZE || e->info.type == WOMBAT_TYPE_REAL;
}

static void name_failure(const struct option_entry *e, const char *text)
{
	print_message("option %s, value \"%s\"\n", e->info.name, text);
}

/* The value as text, after having been parsed from `text`. */
static const char *through(const struct option_entry *e, const char *text)
{
	static char printed[64];
	struct options o;
	memset(&o, 0, sizeof o);
	name_failure(e, text);
	assert_ok(option_parse(e, text, &o));
	assert_ok(option_print(e, &o, printed, sizeof printed));
	return printed;
}

static void assert_refused(const struct option_entry *e, const char *text, enum wombat_status expected)
{
	struct options before, o;
	options_defaults(&before);
	o = before;
	name_failure(e, text);
	assert_status(option_parse(e, text, &o), expected);
	assert_memory_equal(&o, &before, sizeof o);
	assert_non_null(strstr(wombat_last_error(), e->info.name));
}

/* A bound as text, moved by `by` (of an integer). */
static const char *bound_text(const struct option_entry *e, double bound, double by)
{
	static char text[64];
	if (e->info.type == WOMBAT_TYPE_REAL)
		snprintf(text, sizeof text, "%.15g", bound + by / 1000);
	else
		snprintf(text, sizeof text, "%.0f", bound + by);
	return text;
}

static void test_entries_are_complete(void **state)
{
	(void)state;
	bool taken[sizeof(struct options)] = { false };
	size_t room = 0;
	for (size_t i = 0; i < option_count; i++) {
		const struct option_entry *e = &option_table[i];
		size_t size = option_size(e);
		assert_ptr_equal(wombat_option_info(i), &e->info);
		assert_ptr_equal(option_find(e->info.name), e);
		assert_true(e->info.help && strlen(e->info.help) > 20 && e->info.unit && e->info.range_text);
		assert_true(e->min < e->max);
		assert_true((e->words != NULL) == (e->info.type == WOMBAT_TYPE_ENUM));
		for (size_t byte = e->offset; byte < e->offset + size; byte++) {
			assert_true(byte < sizeof taken && !taken[byte]); /* no two options share a field */
			taken[byte] = true;
		}
		room += size;
	}
	assert_null(wombat_option_info(option_count));
	assert_null(wombat_option_info(SIZE_MAX));
	assert_null(option_find(""));
	assert_null(option_find("mem_table_siz"));
	/* Every field has an option: what is left over is padding, of less than 8 bytes behind each bool. */
	assert_true(sizeof taken - room < 8 * option_count && room > sizeof taken / 2);
}

static void test_defaults_print_back(void **state)
{
	(void)state;
	struct options o;
	options_defaults(&o);
	for (size_t i = 0; i < option_count; i++) {
		const struct option_entry *e = &option_table[i];
		char text[64];
		assert_ok(option_print(e, &o, text, sizeof text));
		/* max_key_size's default is written as its unit suggests, and prints in the short form. */
		if (strcmp(e->info.name, "max_key_size") == 0)
			assert_string_equal(text, "4K");
		else
			assert_string_equal(text, e->info.default_text);
		assert_string_equal(through(e, text), text);
		assert_true(strlen(text) < 63);
		assert_status(option_print(e, &o, text, strlen(text)), WOMBAT_TOO_BIG);
	}
	assert_ok(options_check(&o));
}

static void test_range_edges(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct option_entry *e = &option_table[i];
		if (!is_number(e))
			continue;
		char low[64], high[64], range[160];
		snprintf(low, sizeof low, "%s", through(e, bound_text(e, e->min, 0)));
		snprintf(high, sizeof high, "%s", through(e, bound_text(e, e->max, 0)));
		assert_refused(e, bound_text(e, e->max, 1), WOMBAT_OUT_OF_RANGE);
		if (e->min > 0)
			assert_refused(e, bound_text(e, e->min, -1), WOMBAT_OUT_OF_RANGE);
		/* The documented range is the one that holds, whichever way its sizes are written. */
		snprintf(range, sizeof range, "%s", e->info.range_text);
		char *dots = strstr(range, "..");
		assert_non_null(dots);
		*dots = 0;
		assert_string_equal(through(e, range), low);
		assert_string_equal(through(e, dots + 2), high);
		assert_refused(e, e->info.type == WOMBAT_TYPE_REAL ? "1e300" : "18446744073709551615", WOMBAT_OUT_OF_RANGE);
		if (e->info.type != WOMBAT_TYPE_REAL)
			assert_refused(e, "18446744073709551616", WOMBAT_OUT_OF_RANGE);
		if (e->info.type == WOMBAT_TYPE_SIZE)
			assert_refused(e, "18446744073709551615T", WOMBAT_OUT_OF_RANGE);
	}
}

static void test_wrong_types(void **state)
{
	(void)state;
	static const char *const nowhere[] = { "", "x", "-", "1x", "tru", "TRUE ", "nan", "inf", "1,5", "0x10", "--1" };
	static const char *const not_whole[] = { "-1", "1.5", "+1", " 1", "1 ", "1e3", "K", "1KK", "1Q", "1KiBB", "1 K" };
	for (size_t i = 0; i < option_count; i++) {
		const struct option_entry *e = &option_table[i];
		bool whole = e->info.type == WOMBAT_TYPE_COUNT || e->info.type == WOMBAT_TYPE_SIZE;
		for (size_t j = 0; j < sizeof nowhere / sizeof nowhere[0]; j++)
			if ((e->info.type != WOMBAT_TYPE_REAL || strcmp(nowhere[j], "0x10") != 0) &&
			    (e->info.type != WOMBAT_TYPE_PATH || *nowhere[j])) /* no path is one too */
				assert_refused(e, nowhere[j], WOMBAT_INVALID);
		for (size_t j = 0; whole && j < sizeof not_whole / sizeof not_whole[0]; j++)
			assert_refused(e, not_whole[j], WOMBAT_INVALID);
		if (e->info.type == WOMBAT_TYPE_COUNT)
			assert_refused(e, "4K", WOMBAT_INVALID);
		if (e->info.type == WOMBAT_TYPE_BOOL)
			assert_refused(e, "2", WOMBAT_INVALID);
		if (e->info.type == WOMBAT_TYPE_PATH) {
			char path[OPTION_PATH_MAX + 1];
			memset(path, 'p', sizeof path - 1);
			path[0] = '/';
			path[sizeof path - 1] = 0;
			assert_refused(e, path, WOMBAT_OUT_OF_RANGE);
			assert_refused(e, "not/absolute", WOMBAT_INVALID);
			assert_string_equal(through(e, "/a/directory"), "/a/directory");
		}
		if (e->info.type == WOMBAT_TYPE_ENUM) {
			assert_refused(e, "1", WOMBAT_INVALID);
			for (size_t w = 0; e->words[w]; w++)
				assert_string_equal(through(e, e->words[w]), e->words[w]);
		}
	}
}

static void test_ways_to_write_a_value(void **state)
{
	(void)state;
	static const struct { const char *name, *text, *printed; } cases[] = {
		{ "sync_writes", "on", "true" }, { "sync_writes", "yes", "true" }, { "sync_writes", "1", "true" },
		{ "verify_checksums", "off", "false" }, { "verify_checksums", "no", "false" }, { "verify_checksums", "0", "false" },
		{ "block_size", "1k", "1K" }, { "block_size", "1KB", "1K" }, { "block_size", "1KiB", "1K" },
		{ "block_size", "1024", "1K" }, { "block_size", "1025", "1025" }, { "block_size", "0004096", "4K" },
		{ "block_size", "1536K", "1536K" }, { "block_cache_size", "1024G", "1T" }, { "block_cache_size", "0", "0" },
		{ "block_cache_size", "0G", "0" }, { "max_value_size", "1024G", "1T" }, { "max_value_size", "1", "1" },
		{ "bloom_false_positive", "1e-3", "0.001" }, { "bloom_false_positive", ".25", "0.25" },
		{ "level_size_multiplier", "2.50", "2.5" }, { "sync_interval_ms", "007", "7" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct option_entry *e = option_find(cases[i].name);
		assert_non_null(e);
		assert_string_equal(through(e, cases[i].text), cases[i].printed);
	}
}

/* Any value within a range prints as text that parses to it again. */
static void test_random_values_print_back(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("options"));
	for (unsigned round = 0; round < 200; round++)
		for (size_t i = 0; i < option_count; i++) {
			const struct option_entry *e = &option_table[i];
			struct options first, second;
			char text[64];
			if (!is_number(e))
				continue;
			double share = (double)random_below(&r, 1u << 20) / (1u << 20);
			double v = e->min + (e->max - e->min) * share;
			if (e->info.type != WOMBAT_TYPE_REAL)
				v = floor(round % 2 ? v : e->min + floor(share * 4096));
			if (v > e->max)
				continue;
			snprintf(text, sizeof text, e->info.type == WOMBAT_TYPE_REAL ? "%.12g" : "%.0f", v);
			options_defaults(&first);
			second = first;
			assert_ok(option_parse(e, text, &first));
			assert_ok(option_print(e, &first, text, sizeof text));
			assert_ok(option_parse(e, text, &second));
			assert_memory_equal(&first, &second, sizeof first);
		}
}

static void assert_option(const struct wombat_options *o, const char *name, const char *expected)
{
	char text[64];
	assert_ok(wombat_options_get(o, name, text, sizeof text));
	assert_string_equal(text, expected);
}

/* A preset sets all: what came before it is gone, and what it does not name has its default. */
static void test_presets(void **state)
{
	(void)state;
	struct wombat_options *o = wombat_options_new(), *fresh = wombat_options_new();
	assert_true(o && fresh);
	for (size_t i = 0; i < PRESETS; i++) {
		assert_ok(wombat_options_set(o, "block_size", "8K"));
		assert_ok(wombat_options_preset(o, preset_names[i]));
		assert_ok(options_check(&o->values));
		assert_option(o, "block_size", "4K");
		for (size_t n = 0; n < option_count; n++) {
			const struct option_entry *e = &option_table[n];
			size_t size = option_size(e);
			bool same = memcmp((char *)&o->values + e->offset, (char *)&fresh->values + e->offset, size) == 0;
			/* What differs from the default is explicit, so that it goes over a wombat.conf. */
			assert_true(same || (o->explicit_mask >> n & 1));
		}
		assert_true((o->explicit_mask == 0) == (i == 0));
	}
	assert_ok(wombat_options_preset(o, "durability_focused"));
	assert_option(o, "sync_writes", "true");
	assert_ok(wombat_options_preset(o, "memory_optimized"));
	assert_option(o, "sync_writes", "false");
	assert_option(o, "mem_table_size", "4M");
	struct wombat_options before = *o;
	assert_status(wombat_options_preset(o, "fastest"), WOMBAT_NOT_FOUND);
	for (size_t i = 0; i < PRESETS; i++)
		assert_non_null(strstr(wombat_last_error(), preset_names[i]));
	assert_memory_equal(o, &before, sizeof before);
	wombat_options_free(o);
	wombat_options_free(fresh);
	wombat_options_free(NULL);
}

static void test_explicit_values_go_over(void **state)
{
	(void)state;
	struct wombat_options *o = wombat_options_new();
	struct options base;
	options_defaults(&base);
	base.block_size = 512;
	base.sync_writes = true;
	base.level_size_multiplier = 4;
	struct options expected = base;
	options_overlay(&base, o);
	assert_memory_equal(&base, &expected, sizeof base); /* nothing is explicit yet */
	assert_ok(wombat_options_set(o, "sync_writes", "false"));
	assert_ok(wombat_options_set(o, "level_size_multiplier", "10"));
	assert_status(wombat_options_set(o, "block_size", "1"), WOMBAT_OUT_OF_RANGE);
	assert_status(wombat_options_set(o, "block", "1"), WOMBAT_NOT_FOUND);
	options_overlay(&base, o);
	expected.sync_writes = false;
	expected.level_size_multiplier = 10;
	assert_memory_equal(&base, &expected, sizeof base);
	char text[2];
	assert_status(wombat_options_get(o, "block", text, sizeof text), WOMBAT_NOT_FOUND);
	assert_status(wombat_options_get(o, "mem_table_size", text, sizeof text), WOMBAT_TOO_BIG);
	wombat_options_free(o);
}

static void test_conditions_between_options(void **state)
{
	(void)state;
	struct options o;
	options_defaults(&o);
	o.num_level_zero_tables = 9;
	o.num_level_zero_tables_stall = 10;
	assert_ok(options_check(&o));
	o.num_level_zero_tables = 10;
	assert_status(options_check(&o), WOMBAT_INVALID);
	assert_non_null(strstr(wombat_last_error(), "num_level_zero_tables_stall"));
}

/* One source of text: taken whole or not at all, with the line that is wrong. */
static void test_text(void **state)
{
	(void)state;
	static const struct { const char *text; enum wombat_status status; const char *part; } wrong[] = {
		{ "block_size=8K\nblock_size\n", WOMBAT_INVALID, "here line 2" },
		{ "block_size=8K\n\n#\nno_such=1\n", WOMBAT_INVALID, "here line 4" },
		{ "block_size=8K\nmax_levels=13", WOMBAT_OUT_OF_RANGE, "here line 2" },
		{ "block_size=8K\nmax_levels=", WOMBAT_INVALID, "here line 2" },
		{ "=1", WOMBAT_INVALID, "here line 1" },
		{ "block_size=8K # why", WOMBAT_INVALID, "here line 1" },
	};
	static const char right[] = "# comment = 1\r\n\n \t block_size \t=  8K \r\nsync_writes=yes\nblock_size=16K\n  #\nmax_levels=3";
	struct wombat_options o = { .explicit_mask = 0 };
	options_defaults(&o.values);
	struct wombat_options before = o;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_status(options_parse_text(&o, "here", wrong[i].text, strlen(wrong[i].text)), wrong[i].status);
		assert_non_null(strstr(wombat_last_error(), wrong[i].part));
		assert_memory_equal(&o, &before, sizeof o);
	}
	assert_status(options_parse_text(&o, "here", "block_size=8K\0=", 15), WOMBAT_INVALID);
	assert_memory_equal(&o, &before, sizeof o);
	assert_ok(options_parse_text(&o, "here", "", 0));
	assert_memory_equal(&o, &before, sizeof o);
	assert_ok(options_parse_text(&o, "here", right, sizeof right - 1));
	assert_int_equal(o.values.block_size, 16384);
	assert_true(o.values.sync_writes);
	assert_int_equal(o.values.max_levels, 3);
	assert_int_equal(__builtin_popcountll(o.explicit_mask), 3);
}

static void test_load(void **state)
{
	(void)state;
	char path[] = "/tmp/wombat_options_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	struct wombat_options *o = wombat_options_new();
	assert_ok(wombat_options_load(o, path)); /* empty */
	assert_int_equal(write(fd, "max_open_files=77\n", 18), 18);
	assert_ok(wombat_options_load(o, path));
	assert_option(o, "max_open_files", "77");
	assert_int_equal(write(fd, "bad\n", 4), 4);
	assert_status(wombat_options_load(o, path), WOMBAT_INVALID);
	assert_non_null(strstr(wombat_last_error(), path));
	assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
	assert_status(wombat_options_load(o, path), WOMBAT_TOO_BIG);
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_status(wombat_options_load(o, path), WOMBAT_NOT_FOUND);
	assert_option(o, "max_open_files", "77");
	wombat_options_free(o);
}

static _Bool refuse(size_t size)
{
	(void)size;
	return false;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct wombat_options o = { .explicit_mask = 0 };
	options_defaults(&o.values);
	struct wombat_options before = o;
	mem_test_hook = refuse;
	struct wombat_options *none = wombat_options_new();
	enum wombat_status s = options_parse_text(&o, "here", "block_size=8K", 13);
	mem_test_hook = NULL;
	assert_null(none);
	assert_int_equal(s, WOMBAT_NO_MEMORY);
	assert_memory_equal(&o, &before, sizeof o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_are_complete),
		cmocka_unit_test(test_defaults_print_back),
		cmocka_unit_test(test_range_edges),
		cmocka_unit_test(test_wrong_types),
		cmocka_unit_test(test_ways_to_write_a_value),
		cmocka_unit_test(test_random_values_print_back),
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_explicit_values_go_over),
		cmocka_unit_test(test_conditions_between_options),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
