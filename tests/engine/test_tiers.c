/* The tiered strategy: cases, and a machine of runs that counts how often bytes are rewritten. */
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/version/tiers.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

enum { RUNS_MAX = 64 };

/* Level 0 of sizes, newest first. */
struct world {
	struct version v;
	struct file_meta files[RUNS_MAX], base, above;
	struct file_meta *runs[RUNS_MAX], *below[1], *between[1];
};

static void set_runs(struct world *w, const uint64_t *sizes, size_t count)
{
	w->v.levels[0] = (struct file_list){ w->runs, count, 0 };
	for (size_t i = 0; i < count; i++) {
		w->runs[i] = &w->files[i];
		w->files[i].summary.file_bytes = sizes[i];
		w->v.levels[0].bytes += sizes[i];
	}
}

static void world_init(struct world *w, uint64_t base)
{
	*w = (struct world){ .v = { .level_count = 5 } };
	w->below[0] = &w->base;
	w->base.summary.file_bytes = base;
	if (base)
		w->v.levels[4] = (struct file_list){ w->below, 1, base };
}

static const struct version_shape shape = { .num_level_zero_tables = 4, .runs_max = 6, .tiered = true };

static const struct single {
	const char *name, *want; /* "first+count", "base", or NULL */
	uint64_t base, runs[16];
} singles[] = {
	{ "nothing", NULL, 0, { 0 } },
	{ "one less", NULL, 1000, { 1, 1, 1 } },
	{ "a tier", "0+4", 1000, { 1, 1, 1, 1 } },
	{ "about one size", "0+4", 1000, { 10, 15, 8, 20 } },
	{ "not one size", NULL, 1000, { 10, 10, 10, 21 } },
	{ "the newest is small", "1+4", 1000, { 1, 10, 10, 10, 10 } },
	{ "a larger one behind", "0+4", 1000, { 1, 1, 1, 1, 20 } },
	{ "five at once", "0+5", 1000, { 1, 1, 1, 1, 1 } },
	{ "the next tier too", "0+7", 1000, { 1, 1, 1, 1, 4, 4, 4 } },
	{ "and the one behind it", "0+10", 10000, { 1, 1, 1, 1, 4, 4, 4, 16, 16, 16 } },
	{ "not yet the one behind it", "0+7", 10000, { 1, 1, 1, 1, 4, 4, 4, 16, 16 } },
	{ "too many", "0+4", 1000, { 1, 3, 9, 30, 90, 270 } },
	{ "the first base", "base", 0, { 1, 1, 1, 1 } },
	{ "as much as the base twice", "base", 1000, { 500, 500, 500, 500 } },
	{ "almost", "0+4", 1001, { 500, 500, 500, 500 } },
};

static void test_singles(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof singles / sizeof *singles; i++) {
		const struct single *c = &singles[i];
		struct world w;
		struct tiers_step step;
		char got[32] = "nothing";
		size_t count = 0;
		while (c->runs[count])
			count++;
		world_init(&w, c->base);
		set_runs(&w, c->runs, count);
		if (tiers_next(&w.v, &shape, &step))
			snprintf(got, sizeof got, step.to_base ? "base" : "%zu+%zu", step.first, step.count);
		if (strcmp(got, c->want ? c->want : "nothing") != 0)
			fail_msg("%s: %s, not %s", c->name, got, c->want ? c->want : "nothing");
	}
}

static void test_base(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, 0);
	assert_int_equal(tiers_base(&w.v), 4);
	world_init(&w, 10);
	assert_int_equal(tiers_base(&w.v), 4);
	assert_false(tiers_is_above_base(&w.v, 4) || tiers_is_above_base(&w.v, 2));
	w.between[0] = &w.above;
	w.v.levels[2] = (struct file_list){ w.between, 1, 10 };
	assert_int_equal(tiers_base(&w.v), 2);
	assert_true(tiers_is_above_base(&w.v, 2));
	assert_false(tiers_is_above_base(&w.v, 1) || tiers_is_above_base(&w.v, 4));
}

/* Flushes of one size, nothing overwritten: each byte is rewritten about once for each tier, and runs stay few. */
static void test_rewriting(void **state)
{
	(void)state;
	enum { FLUSHES = 1024, SIZE = 100 };
	uint64_t runs[RUNS_MAX], written = 0;
	size_t count = 0, most = 0;
	const struct version_shape wide = { .num_level_zero_tables = 4, .runs_max = 30, .tiered = true };
	for (unsigned n = 0; n < FLUSHES; n++) {
		struct world w;
		struct tiers_step step;
		memmove(runs + 1, runs, count++ * sizeof *runs);
		runs[0] = SIZE;
		world_init(&w, UINT64_C(1) << 40);
		set_runs(&w, runs, count);
		while (tiers_next(&w.v, &wide, &step)) {
			uint64_t bytes = 0;
			for (size_t i = 0; i < step.count; i++)
				bytes += runs[step.first + i];
			written += bytes;
			runs[step.first] = bytes;
			count -= step.count - 1;
			memmove(runs + step.first + 1, runs + step.first + step.count, (count - step.first - 1) * sizeof *runs);
			set_runs(&w, runs, count);
		}
		most = count > most ? count : most;
	}
	assert_int_equal(count, 1); /* 4^5 */
	assert_true(most <= 15);    /* 3 of each size */
	assert_true(written <= UINT64_C(5) * FLUSHES * SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_singles),
		cmocka_unit_test(test_base),
		cmocka_unit_test(test_rewriting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
