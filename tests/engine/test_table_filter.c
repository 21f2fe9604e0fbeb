/*
 * The filter of a table by pages: what is read and when, what stays in the filter cache, and that a page which cannot
 * be had leaves every answer right.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/env/env_mem.h"
#include "engine/table/table_impl.h"
#include "tests/support/check.h"
#include "tests/support/table_data.h"

#define PATH "000007.sst"

enum { KEYS = 60000 };

struct fixture {
	struct env *env;
	struct lru *blocks, *filters;
	struct table_counts counts;
	struct table *t;
	uint32_t pages;
};

/* Every second number is there. */
static struct wombat_slice key_of(unsigned n, char out[32])
{
	return slice_make(out, (size_t)snprintf(out, 32, "\1%08u", n));
}

static void open_again(struct fixture *f)
{
	struct table_options options = {
		.block_cache = f->blocks, .filter_cache = f->filters, .counts = &f->counts,
	};
	table_close(f->t);
	f->t = NULL;
	f->counts = (struct table_counts){ 0 };
	assert_ok(table_open(f->env, PATH, 7, &options, &f->t));
	f->pages = filter_page_count(&f->t->filter);
	assert_true(f->pages > 3);
}

static void fixture_init(struct fixture *f, uint64_t filter_bytes)
{
	struct table_builder_options options = data_options();
	struct table_builder *b;
	struct table_summary summary;
	char text[32];
	memset(f, 0, sizeof(*f));
	assert_ok(env_mem_new(&f->env));
	options.bloom_false_positive = 0.01;
	assert_ok(table_builder_new(f->env, PATH, &options, &b));
	for (unsigned i = 0; i < KEYS; i++)
		assert_ok(table_builder_add(b, key_of(2 * i, text), tag_make(i + 1, KIND_PUT),
			WOMBAT_SLICE("\0\1\0\0\0\0\0\0\0v", 10)));
	assert_ok(table_builder_finish(b, &summary));
	table_summary_done(&summary);
	assert_ok(lru_new(8 << 20, 1, &f->blocks));
	if (filter_bytes)
		assert_ok(lru_new(filter_bytes, 1, &f->filters));
	open_again(f);
}

static void fixture_done(struct fixture *f)
{
	table_close(f->t);
	lru_free(f->filters);
	lru_free(f->blocks);
	f->env->calls->free(f->env);
}

static struct table_totals totals(const struct fixture *f)
{
	struct table_totals t;
	table_counts_read(&f->counts, &t);
	return t;
}

static struct lru_counts cached(struct fixture *f)
{
	struct lru_counts c;
	lru_counts(f->filters, &c);
	return c;
}

static enum wombat_status get(struct fixture *f, unsigned n, unsigned flags)
{
	struct lru_pin pin = { 0 };
	struct wombat_slice value;
	uint64_t tag;
	char text[32];
	enum wombat_status s = table_get(f->t, key_of(n, text), SEQUENCE_MAX, flags, &tag, &value, &pin);
	if (s == WOMBAT_OK)
		assert_true(n % 2 == 0 && tag_sequence(tag) == n / 2 + 1);
	else
		assert_null(pin.handle);
	lru_pin_release(&pin);
	return s;
}

/* Right answers for every `step`-th number, there or not. */
static void read_some(struct fixture *f, unsigned step)
{
	for (unsigned n = 0; n < 2 * KEYS - 1; n += step)
		assert_status(get(f, n, 0), n % 2 ? WOMBAT_NOT_FOUND : WOMBAT_OK);
}

static void test_pages_come_when_asked_for(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 1 << 20);
	assert_int_equal(totals(&f).filter_page_reads, 0); /* opening reads none */
	assert_int_equal(get(&f, 0, 0), WOMBAT_OK);
	assert_int_equal(totals(&f).filter_page_reads, 1);
	read_some(&f, 7);
	assert_int_equal(totals(&f).filter_page_reads, f.pages);
	assert_int_equal(cached(&f).entries, f.pages);
	assert_true(cached(&f).bytes >= (uint64_t)f.t->filter.line_count * FILTER_LINE_SIZE);
	assert_int_equal(cached(&f).pinned_bytes, 0);
	uint64_t hits = cached(&f).hits;
	read_some(&f, 11);
	assert_int_equal(totals(&f).filter_page_reads, f.pages); /* no more */
	assert_int_equal(cached(&f).hits - hits, (2 * KEYS - 2) / 11 + 1);
	struct table_totals sums = totals(&f);
	uint64_t absent = sums.filter_checks / 2;
	assert_true(sums.filter_useful > absent * 97 / 100 && sums.filter_page_failures == 0);
	fixture_done(&f);
}

static void test_budget(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 2 * (FILTER_PAGE_SIZE + 200));
	for (unsigned n = 0; n < 4000; n += 3) {
		assert_status(get(&f, n, 0), n % 2 ? WOMBAT_NOT_FOUND : WOMBAT_OK);
		assert_true(cached(&f).entries <= 2);
	}
	assert_true(totals(&f).filter_page_reads > f.pages);
	assert_true(cached(&f).hits > 0 && cached(&f).evictions > 0);
	/* None at all: only what is in use. */
	lru_set_capacity(f.filters, 0);
	read_some(&f, 501);
	assert_int_equal(cached(&f).entries, 0);
	fixture_done(&f);
}

static void test_without_a_cache(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 0);
	read_some(&f, 501);
	struct table_totals sums = totals(&f);
	assert_int_equal(sums.filter_page_reads, sums.filter_checks);
	assert_true(sums.filter_useful > 0);
	fixture_done(&f);
}

/* Who may not wait for the disk asks only pages that are there. */
static void test_cached_only(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 1 << 20);
	assert_status(get(&f, 1, TABLE_READ_CACHED), WOMBAT_WOULD_BLOCK);
	assert_int_equal(totals(&f).filter_page_reads, 0);
	assert_status(get(&f, 1, 0), WOMBAT_NOT_FOUND);
	struct table_totals before = totals(&f);
	enum wombat_status s = get(&f, 1, TABLE_READ_CACHED);
	assert_int_equal(totals(&f).filter_checks, before.filter_checks + 1);
	assert_true(s == WOMBAT_NOT_FOUND); /* by the filter, or by the block that it let through before */
	fixture_done(&f);
}

static void test_forgotten(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 1 << 20);
	read_some(&f, 101);
	assert_true(cached(&f).entries > 0);
	table_forget_blocks(f.t);
	assert_int_equal(cached(&f).entries, 0);
	read_some(&f, 101);
	assert_true(cached(&f).entries > 0);
	fixture_done(&f);
}

/* One page is damaged: what falls into it is looked up in the blocks, the rest as before; a check says so. */
static void count_finding(void *arg, const char *sentence)
{
	(void)sentence;
	++*(unsigned *)arg;
}

static void test_damaged_page(void **state)
{
	(void)state;
	struct fixture f;
	size_t size;
	unsigned findings = 0;
	fixture_init(&f, 1 << 20);
	uint8_t *bytes = env_mem_bytes(f.env, PATH, &size) + f.t->filter_handle.offset;
	bytes[FILTER_PAGE_SIZE + 77] ^= 0x10;
	open_again(&f);
	read_some(&f, 13);
	struct table_totals sums = totals(&f);
	assert_true(sums.filter_page_failures > 0);
	assert_int_equal(sums.checksum_failures, sums.filter_page_failures);
	assert_int_equal(cached(&f).entries, f.pages - 1);
	assert_true(sums.filter_checks > sums.filter_page_failures); /* of the other pages */
	assert_status(table_check(f.t, count_finding, &findings), WOMBAT_CORRUPTION);
	assert_true(findings > 0);
	fixture_done(&f);
}

static bool pages_fail;

static enum wombat_status fail_reads(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)path;
	return pages_fail && strcmp(op, "reader_read") == 0 ? WOMBAT_IO : WOMBAT_OK;
}

/* The disk gives no page: with the blocks at hand every answer is right. */
static void test_unreadable_pages(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 1 << 20);
	for (unsigned n = 0; n < 2000; n += 2)
		assert_ok(get(&f, n, 0));
	table_filter_forget(f.t);
	env_mem_on_call(f.env, fail_reads, NULL);
	pages_fail = true;
	struct table_totals before = totals(&f);
	for (unsigned n = 0; n < 1990; n++)
		assert_status(get(&f, n, 0), n % 2 ? WOMBAT_NOT_FOUND : WOMBAT_OK);
	assert_int_equal(totals(&f).filter_page_failures - before.filter_page_failures, 1990);
	assert_int_equal(totals(&f).filter_checks, before.filter_checks);
	pages_fail = false;
	assert_ok(get(&f, 0, 0));
	assert_int_equal(totals(&f).filter_checks, before.filter_checks + 1);
	fixture_done(&f);
}

static _Bool fail_pages(size_t size)
{
	return size < FILTER_PAGE_SIZE;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 1 << 20);
	mem_test_hook = fail_pages;
	enum wombat_status there = get(&f, 2, 0), absent = get(&f, 3, 0);
	mem_test_hook = NULL;
	assert_ok(there);
	assert_status(absent, WOMBAT_NOT_FOUND);
	assert_int_equal(totals(&f).filter_page_failures, 2);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_come_when_asked_for),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_without_a_cache),
		cmocka_unit_test(test_cached_only),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_damaged_page),
		cmocka_unit_test(test_unreadable_pages),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
