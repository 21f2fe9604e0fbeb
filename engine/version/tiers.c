/* Pure functions of a version: the scores and the picker both ask them. */
#include "engine/version/tiers.h"

enum {
	SPACE = 2,   /* runs as large as so many times the base are merged into it */
	SIMILAR = 2, /* a run of at most so many times the mean of those before it is of their tier */
};

static uint64_t size_of(const struct file_list *runs, size_t i)
{
	return runs->files[i]->summary.file_bytes;
}

/* How many runs from `first` on, newest first, are to become one; 0: no tier is complete. */
static size_t complete_tiers(const struct file_list *runs, size_t first, size_t tier_runs)
{
	size_t merged = 0, end = first + 1;
	uint64_t total = size_of(runs, first);
	for (;;) {
		/* What was merged so far counts as one run. */
		size_t tier = 1;
		uint64_t bytes = total;
		for (; end < runs->count && size_of(runs, end) <= SIMILAR * (bytes / tier); end++, tier++)
			bytes += size_of(runs, end);
		if (tier < tier_runs)
			return merged;
		merged = end - first;
		total = bytes;
	}
}

unsigned tiers_base(const struct version *v)
{
	unsigned level = 1;
	while (level + 1 < v->level_count && v->levels[level].count == 0)
		level++;
	return level;
}

bool tiers_is_above_base(const struct version *v, unsigned level)
{
	if (v->levels[level].count == 0)
		return false;
	for (unsigned deeper = level + 1; deeper < v->level_count; deeper++)
		if (v->levels[deeper].count)
			return true;
	return false;
}

bool tiers_next(const struct version *v, const struct version_shape *shape, struct tiers_step *out)
{
	const struct file_list *runs = &v->levels[0];
	size_t tier_runs = shape->num_level_zero_tables > 2 ? shape->num_level_zero_tables : 2;
	*out = (struct tiers_step){ .count = 0 };
	if (runs->count < tier_runs)
		return false;
	out->to_base = runs->bytes / SPACE >= v->levels[tiers_base(v)].bytes;
	for (size_t i = 0; i + tier_runs <= runs->count && !out->to_base && !out->count; i++) {
		out->first = i;
		out->count = complete_tiers(runs, i, tier_runs);
	}
	/* The newest, which are the smallest where no tier is complete. */
	if (!out->to_base && !out->count && runs->count >= shape->runs_max)
		*out = (struct tiers_step){ .first = 0, .count = tier_runs };
	return out->to_base || out->count;
}
