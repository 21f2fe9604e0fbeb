/*
 * What is chosen for compaction: tables of cases, and a machine of fake tables that runs random jobs side by side and
 * must keep its levels in order and come to rest.
 */
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/compact/picker.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

static const struct wombat_slice none;

struct world {
	struct env *env;
	struct versions w;
	struct picker_state picker;
	struct picker_options options;
};

/* Level 0 is due at 4 tables, level 1 at 1000 bytes, level 2 at 10,000; the last level is 4. */
static void world_init(struct world *x)
{
	*x = (struct world){ .options = { .max_table_size = 100, .oldest_sequence = 1000000, .tombstone_ratio = 0.5 } };
	assert_ok(env_mem_new(&x->env));
	versions_init(&x->w, x->env);
	assert_ok(versions_open(&x->w, true, false));
}

static void world_done(struct world *x)
{
	picker_state_done(&x->picker);
	versions_done(&x->w);
	x->env->calls->free(x->env);
}

/* Tables up to one without a name. */
static void add_tables(struct world *x, const struct fake_table *tables)
{
	struct version_edit e;
	version_edit_init(&e);
	for (; tables->smallest; tables++)
		fake_add(&e, tables);
	assert_ok(versions_apply(&x->w, &e));
	version_edit_done(&e);
}

static bool pick(struct world *x, struct compaction_inputs *in)
{
	enum wombat_status s;
	mutex_lock(&x->w.state);
	struct version *v = version_set_current(x->w.set);
	bool found = picker_pick(&x->picker, x->w.set, v, &x->options, in, &s);
	version_unref(v);
	mutex_unlock(&x->w.state);
	assert_ok(s);
	return found;
}

static void done(struct world *x, struct compaction_inputs *in)
{
	mutex_lock(&x->w.state);
	compaction_inputs_done(in);
	mutex_unlock(&x->w.state);
}

/* "1>2 3 | 7 8 | 9 level size, move, bottom": levels, files of both, grandparents. */
static const char *job_text(const struct compaction_inputs *in, char *out, size_t cap)
{
	size_t n = (size_t)snprintf(out, cap, "%u>%u", in->level, in->output_level);
	for (int side = 0; side < 3; side++) {
		struct file_meta *const *files = side < 2 ? in->files[side] : in->grandparents;
		size_t count = side < 2 ? in->count[side] : in->grandparent_count;
		if (side && count)
			n += (size_t)snprintf(out + n, cap - n, side == 1 ? " |" : " /");
		for (size_t i = 0; i < count; i++)
			n += (size_t)snprintf(out + n, cap - n, " %llu", (unsigned long long)files[i]->number);
	}
	snprintf(out + n, cap - n, " %s%s%s", in->reason, in->trivial_move ? ", move" : "", in->bottom ? ", bottom" : "");
	return out;
}

static void assert_pick(struct world *x, struct compaction_inputs *in, const char *want)
{
	char text[512];
	if (!pick(x, in)) {
		if (want)
			fail_msg("nothing chosen, not %s", want);
		return;
	}
	job_text(in, text, sizeof text);
	if (!want)
		fail_msg("%s chosen, not nothing", text);
	else
		assert_string_equal(text, want);
}

/* ---- Single choices ------------------------------------------------------------------------ */

#define SECONDS(n) ((uint64_t)(n) * 1000000000)
#define END { 0 }

static const struct single {
	const char *name, *want; /* NULL: nothing */
	struct fake_table tables[14];
	uint64_t oldest_sequence, now_ns;
	bool tiered;
} singles[] = {
	{ .name = "an empty database", .want = NULL,
	  .tables = { END } },
	{ .name = "too little everywhere", .want = NULL,
	  .tables = { FAKE(0, 3, "a", "z"), FAKE(0, 2, "a", "z"), FAKE(1, 4, "a", "z", .bytes = 999), END } },
	{ .name = "level 0 goes together, with what overlaps", .want = "0>1 5 4 3 2 | 7 8 / 10 level 0 files",
	  .tables = { FAKE(0, 2, "d", "e"), FAKE(0, 3, "f", "h"), FAKE(0, 4, "e", "g"), FAKE(0, 5, "d", "d"), FAKE(1, 6, "a", "b"),
	    FAKE(1, 7, "c", "e"), FAKE(1, 8, "g", "k"), FAKE(1, 9, "l", "m"), FAKE(2, 10, "j", "p"), FAKE(2, 11, "q", "r"),
	    END } },
	{ .name = "ascending tables move", .want = "0>1 5 4 3 2 level 0 files, move, bottom",
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "c", "d"), FAKE(0, 4, "e", "f"), FAKE(0, 5, "g", "h"), FAKE(1, 6, "i", "j"),
	    END } },
	{ .name = "ascending tables that share a key do not", .want = "0>1 5 4 3 2 level 0 files, bottom",
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "b", "d"), FAKE(0, 4, "e", "f"), FAKE(0, 5, "g", "h"), END } },
	{ .name = "an excluded end is not shared", .want = "0>1 5 4 3 2 level 0 files, move, bottom",
	  .tables = { FAKE(0, 2, "a", "b!"), FAKE(0, 3, "b", "d"), FAKE(0, 4, "e", "f"), FAKE(0, 5, "g", "h"), END } },
	{ .name = "ascending tables over much below are rewritten", .want = "0>1 5 4 3 2 / 6 level 0 files",
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "c", "d"), FAKE(0, 4, "e", "f"), FAKE(0, 5, "g", "h"),
	    FAKE(2, 6, "a", "z", .bytes = 1200), END } },
	{ .name = "the highest score first", .want = "2>3 5 | 6 level size, bottom",
	  .tables = { FAKE(1, 4, "a", "b", .bytes = 1500), FAKE(2, 5, "a", "b", .bytes = 30000), FAKE(3, 6, "b", "c"), END } },
	{ .name = "level 0 first when scores are equal", .want = "0>1 5 4 3 2 | 6 level 0 files, bottom",
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b"), FAKE(0, 5, "a", "b"),
	    FAKE(1, 6, "a", "b", .bytes = 1000), END } },
	{ .name = "the last level has nowhere to go", .want = NULL,
	  .tables = { FAKE(4, 2, "a", "b", .bytes = 100000000), END } },
	{ .name = "a table moves when nothing overlaps", .want = "1>2 3 level size, move, bottom",
	  .tables = { FAKE(1, 3, "a", "b", .bytes = 2000), FAKE(2, 4, "c", "d"), END } },
	{ .name = "neighbours that cost nothing come along", .want = "1>2 3 4 5 | 6 level size, bottom",
	  .tables = { FAKE(1, 3, "b", "c", .bytes = 400), FAKE(1, 4, "d", "e", .bytes = 400), FAKE(1, 5, "f", "g", .bytes = 400),
	    FAKE(1, 7, "m", "n", .bytes = 100), FAKE(2, 6, "a", "k", .bytes = 100), END } },
	{ .name = "but not those that bring more of the next level", .want = "1>2 3 | 6 level size, bottom",
	  .tables = { FAKE(1, 3, "b", "c", .bytes = 600), FAKE(1, 4, "d", "e", .bytes = 600), FAKE(2, 6, "a", "d"), FAKE(2, 7, "e", "f"),
	    END } },
	{ .name = "nor too many", .want = "1>2 3 | 6 level size, bottom",
	  .tables = { FAKE(1, 3, "b", "c", .bytes = 1600), FAKE(1, 4, "d", "e", .bytes = 1600), FAKE(2, 6, "a", "k"), END } },
	{ .name = "not at the bottom when a deeper level overlaps", .want = "1>2 3 | 4 level size",
	  .tables = { FAKE(1, 3, "a", "b", .bytes = 2000), FAKE(2, 4, "b", "c"), FAKE(4, 5, "c", "d"), END } },

	{ .name = "tombstones go down to what they delete", .want = "1>2 3 | 4 tombstones, bottom",
	  .tables = { FAKE(1, 3, "a", "b", .entries = 128, .deletes = 64), FAKE(2, 4, "b", "c"), END } },
	{ .name = "even without a rewrite", .want = "1>2 3 / 4 tombstones, move",
	  .tables = { FAKE(1, 3, "a", "b", .entries = 128, .deletes = 64), FAKE(3, 4, "b", "c"), END } },
	{ .name = "too few of them", .want = NULL,
	  .tables = { FAKE(1, 3, "a", "b", .entries = 129, .deletes = 64), FAKE(2, 4, "b", "c"), END } },
	{ .name = "or too small a table", .want = NULL,
	  .tables = { FAKE(1, 3, "a", "b", .entries = 63, .deletes = 63), FAKE(2, 4, "b", "c"), END } },
	{ .name = "a range tombstone is enough", .want = "1>2 3 | 4 tombstones, bottom",
	  .tables = { FAKE(1, 3, "a", "b", .range_deletes = 1), FAKE(2, 4, "b", "c"), END } },
	{ .name = "level 0 too", .want = "0>1 3 | 4 tombstones, bottom",
	  .tables = { FAKE(0, 3, "a", "b", .range_deletes = 1), FAKE(1, 4, "b", "c"), END } },
	{ .name = "in place where nothing lies below", .want = "2>2 3 tombstones, bottom",
	  .tables = { FAKE(2, 3, "a", "b", .range_deletes = 1), FAKE(3, 4, "c", "d"), FAKE(1, 5, "a", "b"), END } },
	{ .name = "and in the last level", .want = "4>4 3 tombstones, bottom",
	  .tables = { FAKE(4, 3, "a", "b", .range_deletes = 1), END } },
	{ .name = "but not while a snapshot needs them", .want = NULL,
	  .tables = { FAKE(4, 3, "a", "b", .range_deletes = 1, .sequence = 80), END },
	  .oldest_sequence = 79 },
	{ .name = "and as soon as none does", .want = "4>4 3 tombstones, bottom",
	  .tables = { FAKE(4, 3, "a", "b", .range_deletes = 1, .sequence = 80), END }, .oldest_sequence = 80 },
	{ .name = "sizes before tombstones", .want = "1>2 5 level size, move, bottom",
	  .tables = { FAKE(1, 5, "m", "n", .bytes = 1000), FAKE(2, 3, "a", "b", .range_deletes = 1), FAKE(3, 4, "b", "c"), END } },

	{ .name = "expired records", .want = "2>2 3 / 4 expired",
	  .tables = { FAKE(2, 3, "a", "b", .min_expiry_ns = SECONDS(1000)), FAKE(3, 4, "b", "c"), END }, .now_ns = SECONDS(1300) },
	{ .name = "not at once", .want = NULL,
	  .tables = { FAKE(2, 3, "a", "b", .min_expiry_ns = SECONDS(1000)), FAKE(3, 4, "b", "c"), END },
	  .now_ns = SECONDS(1299) },
	{ .name = "not yet", .want = NULL,
	  .tables = { FAKE(2, 3, "a", "b", .min_expiry_ns = SECONDS(1000)), END }, .now_ns = SECONDS(999) },
	{ .name = "not without a clock", .want = NULL,
	  .tables = { FAKE(2, 3, "a", "b", .min_expiry_ns = 1), END } },
	{ .name = "level 0 with all of it", .want = "0>1 3 2 expired, bottom",
	  .tables = { FAKE(0, 2, "a", "b", .min_expiry_ns = 1), FAKE(0, 3, "a", "b"), END }, .now_ns = SECONDS(1300) },
	{ .name = "tombstones before expired records", .want = "3>3 4 tombstones, bottom",
	  .tables = { FAKE(2, 3, "a", "b", .min_expiry_ns = 1), FAKE(3, 4, "b", "c", .range_deletes = 1), END }, .now_ns = SECONDS(1300) },

	{ .name = "tiers: too few runs", .want = NULL, .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b", .bytes = 100000), END } },
	{ .name = "tiers: the first make the base", .want = "0>4 5 4 3 2 space, bottom", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b"), FAKE(0, 5, "a", "b"), END } },
	{ .name = "tiers: as they are when nothing overlaps", .want = "0>4 5 4 3 2 space, move, bottom", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "c", "d"), FAKE(0, 4, "e", "f"), FAKE(0, 5, "g", "h"), FAKE(4, 6, "i", "j"),
	    END } },
	{ .name = "tiers: runs of a size", .want = "0>0 6 5 4 3 tiers", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b", .bytes = 1000), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b"), FAKE(0, 5, "a", "b"),
	    FAKE(0, 6, "a", "b"), FAKE(4, 7, "c", "d", .bytes = 10000), END } },
	{ .name = "tiers: nothing below", .want = "0>0 5 4 3 2 tiers, bottom", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b"), FAKE(0, 5, "a", "b"),
	    FAKE(4, 6, "c", "d", .bytes = 10000), END } },
	{ .name = "tiers: none of a size", .want = NULL, .tiered = true,
	  .tables = { FAKE(0, 3, "a", "b", .bytes = 10000), FAKE(0, 4, "a", "b", .bytes = 1000), FAKE(0, 5, "a", "b", .bytes = 300),
	    FAKE(0, 6, "a", "b", .bytes = 100), FAKE(0, 7, "a", "b", .bytes = 40), FAKE(4, 9, "c", "d", .bytes = 1000000), END } },
	{ .name = "tiers: as much as the base twice", .want = "0>4 5 4 3 2 | 6 space, bottom", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b", .bytes = 500), FAKE(0, 3, "a", "b", .bytes = 500), FAKE(0, 4, "a", "b", .bytes = 500),
	    FAKE(0, 5, "a", "b", .bytes = 500), FAKE(4, 6, "b", "d", .bytes = 1000), END } },
	{ .name = "tiers: levels that were in use go down", .want = "1>2 3 levels, move", .tiered = true,
	  .tables = { FAKE(1, 3, "a", "b", .bytes = 10), FAKE(4, 4, "b", "c"), END } },
	{ .name = "tiers: into the base", .want = "3>4 3 | 4 levels, bottom", .tiered = true,
	  .tables = { FAKE(3, 3, "a", "b", .bytes = 10), FAKE(4, 4, "b", "c"), END } },
	{ .name = "tiers: a base anywhere", .want = "0>2 5 4 3 2 | 6 space, bottom", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b"), FAKE(0, 5, "a", "b"), FAKE(2, 6, "a", "b"), END } },
	{ .name = "tiers: has no targets", .want = NULL, .tiered = true,
	  .tables = { FAKE(1, 3, "a", "b", .bytes = 1000000), END } },
	{ .name = "tiers: tombstones to the base", .want = "0>3 3 2 | 4 tombstones, bottom", .tiered = true,
	  .tables = { FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b", .range_deletes = 1), FAKE(3, 4, "b", "c"), END } },
};

static void set_tiered(struct world *x, bool tiered)
{
	x->options.tiered = x->w.shape.tiered = tiered;
	mutex_lock(&x->w.state);
	version_set_set_shape(x->w.set, x->w.shape);
	mutex_unlock(&x->w.state);
}

static void test_single_choices(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof singles / sizeof singles[0]; i++) {
		const struct single *c = &singles[i];
		struct world x;
		struct compaction_inputs in;
		char text[512];
		world_init(&x);
		if (c->oldest_sequence)
			x.options.oldest_sequence = c->oldest_sequence;
		x.options.now_ns = c->now_ns;
		set_tiered(&x, c->tiered);
		add_tables(&x, c->tables);
		bool found = pick(&x, &in);
		const char *got = found ? job_text(&in, text, sizeof text) : NULL;
		if (found != (c->want != NULL) || (found && strcmp(got, c->want) != 0))
			fail_msg("%s: %s, not %s", c->name, got ? got : "nothing", c->want ? c->want : "nothing");
		if (found) {
			uint64_t bytes = 0;
			for (int side = 0; side < 2; side++)
				for (size_t k = 0; k < in.count[side]; k++) {
					assert_true(in.files[side][k]->compacting);
					bytes += in.files[side][k]->summary.file_bytes;
				}
			assert_int_equal(bytes, in.bytes);
			done(&x, &in);
		}
		struct version *v = versions_current(&x.w);
		for (unsigned level = 0; level < LEVELS_MAX; level++)
			for (size_t k = 0; k < v->levels[level].count; k++)
				assert_false(v->levels[level].files[k]->compacting);
		version_unref(v);
		world_done(&x);
	}
}

/* ---- Jobs side by side --------------------------------------------------------------------- */

static void test_round_robin(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(1, 3, "a", "b", .bytes = 1000), FAKE(1, 4, "c", "d", .bytes = 1000), FAKE(1, 5, "e", "f", .bytes = 1000), END,
	};
	struct world x;
	struct compaction_inputs in;
	world_init(&x);
	add_tables(&x, tables);
	for (int round = 0; round < 2; round++) {
		assert_pick(&x, &in, "1>2 3 level size, move, bottom");
		done(&x, &in);
		assert_pick(&x, &in, "1>2 4 level size, move, bottom");
		done(&x, &in);
		assert_pick(&x, &in, "1>2 5 level size, move, bottom");
		done(&x, &in);
	}
	world_done(&x);
}

static void test_jobs_run_beside_each_other(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(1, 3, "a", "c", .bytes = 1500), FAKE(1, 4, "d", "f", .bytes = 1500), FAKE(1, 5, "h", "k", .bytes = 1500),
		FAKE(2, 6, "b", "e"), FAKE(2, 7, "i", "j"), END,
	};
	struct world x;
	struct compaction_inputs a, b, c;
	world_init(&x);
	add_tables(&x, tables);
	assert_pick(&x, &a, "1>2 3 | 6 level size, bottom");
	assert_pick(&x, &b, "1>2 5 | 7 level size, bottom"); /* 4 needs 6 */
	assert_pick(&x, &c, NULL);
	done(&x, &a);
	assert_pick(&x, &a, "1>2 3 | 6 level size, bottom"); /* round robin: 5 is busy, then from the front */
	done(&x, &a);
	done(&x, &b);
	world_done(&x);
}

/* Bytes on their way down count no more. */
static void test_running_jobs_lower_the_score(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(1, 3, "a", "c", .bytes = 900), FAKE(1, 4, "d", "f", .bytes = 900), END,
	};
	struct world x;
	struct compaction_inputs a, b;
	world_init(&x);
	add_tables(&x, tables);
	assert_pick(&x, &a, "1>2 3 level size, move, bottom");
	assert_pick(&x, &b, NULL);
	done(&x, &a);
	world_done(&x);
}

static void test_one_job_of_level_zero(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(0, 2, "a", "b"), FAKE(0, 3, "a", "b"), FAKE(0, 4, "a", "b"), FAKE(0, 5, "a", "b"), END,
	}, more[] = {
		FAKE(0, 12, "x", "y"), FAKE(0, 13, "x", "y"), FAKE(0, 14, "x", "y"), FAKE(0, 15, "x", "y"), END,
	};
	struct world x;
	struct compaction_inputs a, b;
	world_init(&x);
	add_tables(&x, tables);
	assert_pick(&x, &a, "0>1 5 4 3 2 level 0 files, bottom");
	add_tables(&x, more);
	assert_pick(&x, &b, NULL);
	done(&x, &a);
	world_done(&x);
}

/* Jobs from level 1 may not go on for ever one after the other while level 0 waits for their tables. */
static void test_level_zero_does_not_starve(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(1, 6, "a", "b", .bytes = 600), FAKE(1, 7, "c", "d", .bytes = 600), FAKE(1, 8, "e", "f", .bytes = 600), END,
	}, zero[] = {
		FAKE(0, 10, "a", "f"), FAKE(0, 11, "a", "f"), FAKE(0, 12, "a", "f"), FAKE(0, 13, "a", "f"),
		FAKE(0, 14, "a", "f"), FAKE(0, 15, "a", "f"), FAKE(0, 16, "a", "f"), FAKE(0, 17, "a", "f"), END,
	};
	struct world x;
	struct compaction_inputs a, b;
	world_init(&x);
	add_tables(&x, tables);
	assert_pick(&x, &a, "1>2 6 level size, move, bottom");
	add_tables(&x, zero);
	assert_pick(&x, &b, NULL);
	done(&x, &a);
	assert_pick(&x, &b, "0>1 17 16 15 14 13 12 11 10 | 6 7 8 level 0 files, bottom");
	done(&x, &b);
	world_done(&x);
}

static bool pick_range(struct world *x, unsigned level, const char *from, const char *to, struct compaction_inputs *in,
		       bool *wait)
{
	enum wombat_status s;
	mutex_lock(&x->w.state);
	struct version *v = version_set_current(x->w.set);
	bool found = picker_pick_range(x->w.set, v, level, WOMBAT_STR(from), WOMBAT_STR(to), in, wait, &s);
	version_unref(v);
	mutex_unlock(&x->w.state);
	assert_ok(s);
	return found;
}

/* The job of 3 and 5 may write one table over the gap between them; a table that came into the gap meanwhile must wait. */
static void test_gaps_are_claimed(void **state)
{
	(void)state;
	static const struct fake_table tables[] = { FAKE(1, 3, "a", "b"), FAKE(1, 5, "m", "n"), FAKE(3, 9, "a", "z"), END };
	static const struct fake_table more[] = { FAKE(1, 4, "f", "g"), END };
	struct world x;
	struct compaction_inputs a, b;
	bool wait;
	char text[512];
	world_init(&x);
	add_tables(&x, tables);
	assert_true(pick_range(&x, 1, "\1a", "\1z", &a, &wait));
	assert_string_equal(job_text(&a, text, sizeof text), "1>2 3 5 / 9 manual, move");
	add_tables(&x, more);
	assert_false(pick_range(&x, 1, "\1f", "\1h", &b, &wait));
	assert_true(wait);
	done(&x, &a);
	assert_true(pick_range(&x, 1, "\1f", "\1h", &b, &wait));
	assert_string_equal(job_text(&b, text, sizeof text), "1>2 4 / 9 manual, move");
	done(&x, &b);
	world_done(&x);
}

/* ---- Manual -------------------------------------------------------------------------------- */

static void test_manual(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(0, 30, "a", "c"), FAKE(0, 31, "x", "y"), FAKE(1, 3, "a", "b"), FAKE(1, 4, "c", "d!"), FAKE(1, 5, "d", "f"),
		FAKE(2, 6, "e", "g"), FAKE(4, 7, "a", "z"), END,
	};
	struct world x;
	struct compaction_inputs a;
	bool wait;
	char text[512];
	world_init(&x);
	add_tables(&x, tables);
	assert_true(pick_range(&x, 0, "\1b", "\1c", &a, &wait)); /* all of level 0 */
	assert_string_equal(job_text(&a, text, sizeof text), "0>1 31 30 | 3 4 5 / 6 manual");
	done(&x, &a);
	assert_false(pick_range(&x, 0, "\1d", "\1e", &a, &wait));
	assert_false(wait);
	assert_true(pick_range(&x, 1, "\1d", "\1e", &a, &wait)); /* 4 ends before d */
	assert_string_equal(job_text(&a, text, sizeof text), "1>2 5 | 6 manual");
	struct compaction_inputs b;
	assert_false(pick_range(&x, 1, "\1c0", "\1e", &b, &wait) && wait);
	if (!wait)
		done(&x, &b);
	done(&x, &a);
	assert_true(pick_range(&x, 2, "\1a", "\1z", &a, &wait));
	assert_string_equal(job_text(&a, text, sizeof text), "2>3 6 / 7 manual, move");
	done(&x, &a);
	assert_false(pick_range(&x, 3, "\1a", "\1z", &a, &wait));
	assert_false(pick_range(&x, 4, "\1a", "\1z", &a, &wait)); /* the last level */
	world_done(&x);
}

/* At the bottom it rewrites even what could move: that is what was asked for. */
static void test_manual_rewrites_at_the_bottom(void **state)
{
	(void)state;
	static const struct fake_table tables[] = { FAKE(0, 30, "a", "c"), END };
	struct world x;
	struct compaction_inputs a;
	bool wait;
	char text[512];
	world_init(&x);
	add_tables(&x, tables);
	assert_true(pick_range(&x, 0, "\1a", "\1z", &a, &wait));
	assert_string_equal(job_text(&a, text, sizeof text), "0>1 30 manual, bottom");
	done(&x, &a);
	world_done(&x);
}

static void test_manual_takes_steps(void **state)
{
	(void)state;
	struct world x;
	struct compaction_inputs a;
	struct version_edit e;
	bool wait;
	world_init(&x);
	version_edit_init(&e);
	for (uint64_t i = 0; i < 20; i++) {
		char from[8], to[8];
		snprintf(from, sizeof from, "%02ua", (unsigned)i);
		snprintf(to, sizeof to, "%02ub", (unsigned)i);
		fake_add(&e, &(struct fake_table)FAKE(2, 2 + i, from, to));
	}
	assert_ok(versions_apply(&x.w, &e));
	version_edit_done(&e);
	assert_true(pick_range(&x, 2, "\1", "\2", &a, &wait));
	assert_int_equal(a.count[0], 8);
	done(&x, &a);
	world_done(&x);
}

static void test_rest(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(2, 3, "a", "b", .deletes = 1), FAKE(2, 4, "c", "d", .deletes = 1, .sequence = 900),
		FAKE(2, 5, "e", "f", .min_expiry_ns = 50), FAKE(2, 6, "g", "h", .min_expiry_ns = 500), FAKE(2, 7, "i", "j"),
		FAKE(2, 8, "k", "l", .range_deletes = 1), FAKE(3, 9, "l", "m"), END,
	};
	static const char *const want[] = { "2>2 3 manual, bottom", "2>2 5 manual, bottom" };
	struct world x;
	struct compaction_inputs in[4];
	size_t count = 0;
	bool wait;
	enum wombat_status s;
	world_init(&x);
	x.options.oldest_sequence = 800;
	x.options.now_ns = 100;
	add_tables(&x, tables);
	mutex_lock(&x.w.state);
	struct version *v = version_set_current(x.w.set);
	while (picker_pick_rest(x.w.set, v, &x.options, 2, none, none, &in[count], &wait, &s)) {
		char text[512];
		assert_true(count < 2);
		assert_string_equal(job_text(&in[count], text, sizeof text), want[count]);
		assert_false(in[count].trivial_move);
		count++;
	}
	assert_int_equal(count, 2);
	assert_true(wait); /* both are busy now */
	for (size_t i = 0; i < count; i++)
		compaction_inputs_done(&in[i]);
	version_unref(v);
	mutex_unlock(&x.w.state);
	world_done(&x);
}

/* ---- Memory -------------------------------------------------------------------------------- */

static size_t allocations_left;

static _Bool fail_allocation(size_t size)
{
	(void)size;
	return allocations_left > 0 && allocations_left-- > 0;
}

/* Without memory nothing is marked or claimed. */
static void test_each_allocation_fails(void **state)
{
	(void)state;
	static const struct fake_table tables[] = {
		FAKE(1, 3, "b", "c", .bytes = 400), FAKE(1, 4, "d", "e", .bytes = 400), FAKE(1, 5, "f", "g", .bytes = 400),
		FAKE(2, 6, "a", "k", .bytes = 100), FAKE(3, 7, "a", "k", .bytes = 100), END,
	};
	bool passed = false;
	for (size_t n = 0; !passed; n++) {
		struct world x;
		struct compaction_inputs in;
		enum wombat_status s;
		world_init(&x);
		add_tables(&x, tables);
		mutex_lock(&x.w.state);
		struct version *v = version_set_current(x.w.set);
		allocations_left = n;
		mem_test_hook = fail_allocation;
		bool found = picker_pick(&x.picker, x.w.set, v, &x.options, &in, &s);
		mem_test_hook = NULL;
		assert_int_equal(found, s == WOMBAT_OK);
		if (!found) {
			assert_int_equal(s, WOMBAT_NO_MEMORY);
			assert_true(picker_pick(&x.picker, x.w.set, v, &x.options, &in, &s));
		}
		passed = found && x.picker.cursor[1].size > 0;
		compaction_inputs_done(&in);
		version_unref(v);
		mutex_unlock(&x.w.state);
		world_done(&x);
	}
}

/* ---- A machine ----------------------------------------------------------------------------- */

enum { JOBS_MAX = 4, KEYS = 400 };

/* What a job leaves at worst: one table over all its keys, gaps too. Moves keep their tables. */
static void finish_job(struct world *x, struct compaction_inputs *in)
{
	struct version_edit e;
	version_edit_init(&e);
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < in->count[side]; i++) {
			unsigned level = side ? in->output_level : in->level;
			assert_ok(version_edit_remove(&e, level, in->files[side][i]->number));
			if (in->trivial_move)
				assert_ok(version_edit_add_file(&e, in->output_level, in->files[side][i]));
		}
	if (!in->trivial_move) {
		struct key_span span = in->claim->span;
		struct table_summary t = { .largest_excluded = span.end_excluded, .entries = 10, .smallest_sequence = UINT64_MAX };
		for (int side = 0; side < 2; side++)
			for (size_t i = 0; i < in->count[side]; i++) {
				const struct table_summary *from = &in->files[side][i]->summary;
				t.file_bytes += from->file_bytes;
				if (from->smallest_sequence < t.smallest_sequence)
					t.smallest_sequence = from->smallest_sequence;
				if (from->largest_sequence > t.largest_sequence)
					t.largest_sequence = from->largest_sequence;
				t.range_deletes |= from->range_deletes && !in->bottom;
			}
		assert_ok(buf_set(&t.smallest, span.begin));
		assert_ok(buf_set(&t.largest, span.end));
		assert_ok(version_edit_add(&e, in->output_level, version_set_new_file_number(x->w.set), &t));
	}
	assert_ok(versions_apply(&x->w, &e)); /* checks the invariants */
	version_edit_done(&e);
	done(x, in);
}

static void add_flushed(struct world *x, struct random_state *r, uint64_t sequence)
{
	char from[8], to[8];
	unsigned a = (unsigned)random_below(r, KEYS), b = a + (unsigned)random_below(r, random_below(r, 4) ? 20 : KEYS - a);
	struct fake_table t[2] = { FAKE(0, version_set_new_file_number(x->w.set), from, to, .sequence = sequence), END };
	snprintf(from, sizeof from, "%05u", a);
	snprintf(to, sizeof to, "%05u%s", b + 1, random_below(r, 3) ? "" : "!");
	t[0].bytes = 20 + random_below(r, 200);
	t[0].range_deletes = random_below(r, 8) == 0;
	t[0].min_expiry_ns = random_below(r, 8) ? 0 : 1;
	add_tables(x, t);
}

/* `switching`: to another strategy now and then. */
static void run_machine(bool tiered, bool switching)
{
	struct world x;
	struct random_state r;
	struct compaction_inputs jobs[JOBS_MAX];
	size_t running = 0, finished = 0, most = 0;
	random_seed(&r, test_seed("machine"));
	world_init(&x);
	set_tiered(&x, tiered);
	x.options.now_ns = SECONDS(1000);
	x.options.oldest_sequence = SEQUENCE_MAX;
	for (uint64_t step = 1; step <= 3000; step++) {
		if (random_below(&r, 3) == 0)
			add_flushed(&x, &r, step);
		if (switching && random_below(&r, 50) == 0)
			set_tiered(&x, !x.options.tiered);
		if (running < JOBS_MAX && random_below(&r, 2)) {
			bool wait;
			unsigned level = (unsigned)random_below(&r, 4);
			if (random_below(&r, 10) == 0)
				running += pick_range(&x, level, "\1", "\2", &jobs[running], &wait);
			else
				running += pick(&x, &jobs[running]);
		}
		most = running > most ? running : most;
		if (running > 0 && random_below(&r, 3) == 0) {
			size_t which = random_below(&r, running);
			struct compaction_inputs in = jobs[which];
			jobs[which] = jobs[--running];
			finish_job(&x, &in);
			finished++;
		}
	}
	/* With no more coming it comes to rest. */
	size_t rest = 0;
	while (running > 0)
		finish_job(&x, &jobs[--running]);
	while (pick(&x, &jobs[0])) {
		finish_job(&x, &jobs[0]);
		assert_true(++rest < 2000);
	}
	struct version *v = versions_current(&x.w);
	for (unsigned level = 0; level + 1 < v->level_count; level++)
		assert_true(v->score[level] < 1);
	for (unsigned level = 1; level < v->level_count; level++)
		for (size_t i = 0; i < v->levels[level].count; i++)
			assert_true(v->levels[level].files[i]->summary.min_expiry_ns == 0);
	version_unref(v);
	assert_true(finished > 300 && most > 1);
	world_done(&x);
}

static void test_machine(void **state)
{
	(void)state;
	run_machine(false, false);
	run_machine(true, false);
	run_machine(false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_choices),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_jobs_run_beside_each_other),
		cmocka_unit_test(test_running_jobs_lower_the_score),
		cmocka_unit_test(test_one_job_of_level_zero),
		cmocka_unit_test(test_level_zero_does_not_starve),
		cmocka_unit_test(test_gaps_are_claimed),
		cmocka_unit_test(test_manual),
		cmocka_unit_test(test_manual_rewrites_at_the_bottom),
		cmocka_unit_test(test_manual_takes_steps),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
