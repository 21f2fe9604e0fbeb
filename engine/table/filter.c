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
#include "engine/base/crc32c.h"

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

static uint64_t pages_of(uint64_t lines)
{
	return (lines + FILTER_PAGE_LINES - 1) / FILTER_PAGE_LINES;
}

/* Everything behind the lines. */
static size_t end_size(uint64_t pages)
{
	return (size_t)(pages + 1) * FILTER_CHECKSUM_SIZE + FILTER_TAIL_SIZE;
}

size_t filter_builder_bytes(const struct filter_builder *b)
{
	if (!b->count)
		return 0;
	uint64_t lines = lines_needed(b);
	return (size_t)lines * FILTER_LINE_SIZE + end_size(pages_of(lines));
}

static inline uint8_t *line_at(uint8_t *lines, uint32_t line_count, uint64_t hash)
{
	return lines + (size_t)FILTER_LINE_SIZE * filter_line_of(line_count, hash);
}

static void set_bits(uint8_t *line, uint32_t h, unsigned probes)
{
	for (unsigned i = 0; i < probes; i++) {
		uint32_t bit = h >> 23;
		line[bit >> 3] |= (uint8_t)(1u << (bit & 7));
		h *= UINT32_C(0x9e3779b9);
	}
}

/* Of the pages' checksums and the tail. */
static uint32_t end_checksum(const uint8_t *page_checksums, uint64_t pages, const uint8_t *tail)
{
	uint32_t crc = crc32c(0, page_checksums, (size_t)pages * FILTER_CHECKSUM_SIZE);
	return crc32c(crc, tail, FILTER_TAIL_SIZE);
}

/* Writes what stands behind the lines. */
static void put_end(const struct filter_builder *b, uint8_t *lines, uint32_t line_count)
{
	struct filter f = { .line_count = line_count };
	uint32_t pages = filter_page_count(&f);
	uint8_t *checksums = lines + (size_t)line_count * FILTER_LINE_SIZE;
	uint8_t *tail = checksums + (size_t)(pages + 1) * FILTER_CHECKSUM_SIZE;
	tail[0] = FILTER_KIND_PAGED;
	tail[1] = (uint8_t)b->plan.probes;
	put_u32(tail + 4, line_count);
	put_u64(tail + 8, b->count);
	for (uint32_t i = 0; i < pages; i++)
		put_u32(checksums + (size_t)i * FILTER_CHECKSUM_SIZE,
			crc32c(0, lines + (size_t)i * FILTER_PAGE_SIZE, filter_page_size(&f, i)));
	put_u32(tail - FILTER_CHECKSUM_SIZE, end_checksum(checksums, pages, tail));
}

enum wombat_status filter_builder_finish(struct filter_builder *b, struct buf *out)
{
	enum { AHEAD = 8 }; /* lines asked for before their turn: they are cold */
	assert(b->count);
	size_t bytes = filter_builder_bytes(b);
	if (bytes > TABLE_BLOCK_MAX)
		return fail(WOMBAT_TOO_BIG, "a filter over %zu keys is too large", b->count);
	uint32_t line_count = (uint32_t)lines_needed(b);
	buf_clear(out);
	enum wombat_status s = buf_reserve(out, bytes);
	if (s != WOMBAT_OK)
		return s;
	uint8_t *lines = out->data;
	memset(lines, 0, bytes);
	for (size_t i = 0; i < b->count; i++) {
		if (i + AHEAD < b->count)
			__builtin_prefetch(line_at(lines, line_count, b->hashes[i + AHEAD]), 1);
		set_bits(line_at(lines, line_count, b->hashes[i]), (uint32_t)b->hashes[i], b->plan.probes);
	}
	put_end(b, lines, line_count);
	out->size = bytes;
	return WOMBAT_OK;
}

size_t filter_end_size(uint64_t block_size)
{
	uint64_t least = end_size(0);
	uint64_t pages = block_size > least ?
		(block_size - least + FILTER_PAGE_SIZE + FILTER_CHECKSUM_SIZE - 1) / (FILTER_PAGE_SIZE + FILTER_CHECKSUM_SIZE) : 0;
	uint64_t size = end_size(pages);
	return (size_t)(size < block_size ? size : block_size);
}

const char *filter_init(struct filter *f, struct wombat_slice end, uint64_t block_size)
{
	*f = (struct filter){ 0 };
	if (end.size < FILTER_TAIL_SIZE)
		return "filter too short";
	const uint8_t *tail = end.data + end.size - FILTER_TAIL_SIZE;
	if (tail[0] != FILTER_KIND_PAGED)
		return NULL;
	uint32_t line_count = get_u32(tail + 4);
	uint64_t pages = pages_of(line_count);
	if (line_count == 0 || end.size != end_size(pages) ||
	    block_size != (uint64_t)line_count * FILTER_LINE_SIZE + end.size)
		return "filter size and line count disagree";
	if (end_checksum(end.data, pages, tail) != get_u32(end.data + pages * FILTER_CHECKSUM_SIZE))
		return "filter checksum is wrong";
	if (tail[1] == 0 || tail[1] > PROBES_MAX)
		return "impossible number of filter probes";
	*f = (struct filter){ end.data, line_count, tail[1] };
	return NULL;
}

size_t filter_page_size(const struct filter *f, uint32_t page)
{
	uint32_t lines = f->line_count - page * FILTER_PAGE_LINES;
	return (size_t)FILTER_LINE_SIZE * (lines < FILTER_PAGE_LINES ? lines : FILTER_PAGE_LINES);
}

bool filter_page_valid(const struct filter *f, uint32_t page, const uint8_t *bytes)
{
	return crc32c(0, bytes, filter_page_size(f, page)) ==
	       get_u32(f->page_checksums + (size_t)page * FILTER_CHECKSUM_SIZE);
}
