/*
 * Cache-line-blocked Bloom filters (Putze, Sanders and Singler 2007).
 *
 *     line    upper 32 bits of the hash, scaled to the number of lines
 *     bits    h = lower 32 bits; each probe takes the upper 9 bits of h as a bit of the line's 512, then
 *             h *= 0x9e3779b9
 *
 * The hashes are gathered while the table is written, and the lines are made when their number is known.
 *
 * With b bits per key a line holds a Poisson-distributed number of keys, 512/b on average; with i keys in
 * it each bit is set with probability 1 - (1 - 1/512)^(k i), and a false answer needs k set bits. The plan
 * sums that over i and takes the least b for which some k gives the rate wanted.
 */
#include "engine/table/filter.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/array.h"
#include "engine/base/coding.h"

enum { LINE_BITS = FILTER_LINE_SIZE * 8, PROBES_MAX = 24, BITS_X100_MIN = 100, BITS_X100_MAX = 6400 };

static double power(double x, unsigned n)
{
	double result = 1;
	for (; n; n--)
		result *= x;
	return result;
}

static double false_rate(unsigned bits_x100, unsigned probes)
{
	double mean = LINE_BITS * 100.0 / bits_x100;
	double bit_stays_clear = power(1 - 1.0 / LINE_BITS, probes); /* by one more key */
	double weight = 1, clear = 1, weights = 0, sum = 0;
	/* Up to where the distribution has nothing left; weights are scaled by their sum at the end. */
	for (unsigned i = 0; i < 4 * mean + 40; i++) {
		sum += weight * power(1 - clear, probes);
		weights += weight;
		weight *= mean / (i + 1);
		clear *= bit_stays_clear;
	}
	return sum / weights;
}

/* The number of probes that is best for so many bits: ln 2 times b, less for the uneven lines. */
static unsigned best_probes(unsigned bits_x100, double *out_rate)
{
	unsigned guess = bits_x100 * 69 / 10000;
	if (guess > PROBES_MAX)
		guess = PROBES_MAX;
	unsigned best = 0;
	for (unsigned k = guess > 3 ? guess - 3 : 1; k <= guess + 1 && k <= PROBES_MAX; k++) {
		double rate = false_rate(bits_x100, k);
		if (!best || rate < *out_rate) {
			*out_rate = rate;
			best = k;
		}
	}
	return best;
}

struct filter_plan filter_plan(double false_positive)
{
	unsigned low = BITS_X100_MIN, high = BITS_X100_MAX;
	double rate;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		best_probes(middle, &rate);
		if (rate <= false_positive)
			high = middle;
		else
			low = middle + 1;
	}
	return (struct filter_plan){ low, best_probes(low, &rate) };
}

void filter_builder_init(struct filter_builder *b, double false_positive)
{
	*b = (struct filter_builder){ .plan = filter_plan(false_positive) };
}

void filter_builder_done(struct filter_builder *b)
{
	mem_free(b->hashes);
	*b = (struct filter_builder){ .plan = b->plan };
}

enum wombat_status filter_builder_add(struct filter_builder *b, uint64_t hash)
{
	uint64_t *hashes = array_reserve(b->hashes, b->count, &b->capacity, sizeof *hashes);
	if (!hashes)
		return fail_no_memory();
	b->hashes = hashes;
	b->hashes[b->count++] = hash;
	return WOMBAT_OK;
}

static uint64_t lines_needed(const struct filter_builder *b)
{
	uint64_t bits = (uint64_t)b->count * b->plan.bits_per_key_x100 / 100;
	uint64_t lines = (bits + LINE_BITS - 1) / LINE_BITS;
	return lines ? lines : 1;
}

size_t filter_builder_bytes(const struct filter_builder *b)
{
	return b->count ? lines_needed(b) * FILTER_LINE_SIZE + FILTER_TAIL_SIZE : 0;
}

static inline uint8_t *line_of(uint8_t *lines, uint64_t line_count, uint64_t hash)
{
	return lines + (size_t)FILTER_LINE_SIZE * ((hash >> 32) * line_count >> 32);
}

static void set_bits(uint8_t *line, uint32_t h, unsigned probes)
{
	for (unsigned i = 0; i < probes; i++) {
		uint32_t bit = h >> 23;
		line[bit >> 3] |= (uint8_t)(1u << (bit & 7));
		h *= UINT32_C(0x9e3779b9);
	}
}

enum wombat_status filter_builder_finish(struct filter_builder *b, struct buf *out)
{
	enum { AHEAD = 8 }; /* lines asked for before their turn: they are cold */
	assert(b->count);
	uint64_t line_count = lines_needed(b);
	if (line_count > (TABLE_BLOCK_MAX - FILTER_TAIL_SIZE) / FILTER_LINE_SIZE)
		return fail(WOMBAT_TOO_BIG, "a filter over %zu keys is too large", b->count);
	size_t size = (size_t)line_count * FILTER_LINE_SIZE;
	buf_clear(out);
	enum wombat_status s = buf_reserve(out, size + FILTER_TAIL_SIZE);
	if (s != WOMBAT_OK)
		return s;
	uint8_t *lines = out->data;
	memset(lines, 0, size + FILTER_TAIL_SIZE);
	for (size_t i = 0; i < b->count; i++) {
		if (i + AHEAD < b->count)
			__builtin_prefetch(line_of(lines, line_count, b->hashes[i + AHEAD]), 1);
		set_bits(line_of(lines, line_count, b->hashes[i]), (uint32_t)b->hashes[i], b->plan.probes);
	}
	uint8_t *tail = lines + size;
	tail[0] = FILTER_KIND_BLOCKED_BLOOM;
	tail[1] = (uint8_t)b->plan.probes;
	put_u32(tail + 4, (uint32_t)line_count);
	put_u64(tail + 8, b->count);
	out->size = size + FILTER_TAIL_SIZE;
	return WOMBAT_OK;
}

const char *filter_init(struct filter *f, struct wombat_slice bytes)
{
	*f = (struct filter){ 0 };
	if (bytes.size < FILTER_TAIL_SIZE)
		return "filter too short";
	const uint8_t *tail = bytes.data + bytes.size - FILTER_TAIL_SIZE;
	if (tail[0] != FILTER_KIND_BLOCKED_BLOOM)
		return NULL;
	uint32_t line_count = get_u32(tail + 4);
	if (line_count == 0 || (uint64_t)line_count * FILTER_LINE_SIZE != bytes.size - FILTER_TAIL_SIZE)
		return "filter size and line count disagree";
	if (tail[1] == 0 || tail[1] > PROBES_MAX)
		return "impossible number of filter probes";
	*f = (struct filter){ bytes.data, line_count, tail[1] };
	return NULL;
}
