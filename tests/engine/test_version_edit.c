/* Edits: their bytes, what is refused, and that no allocation failure or cut is mishandled. */
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/version/manifest_format.h"
#include "tests/support/seed.h"
#include "tests/support/versions.h"

/* ---- Bytes --------------------------------------------------------------------------------- */

/* What is on disks already must stay readable: these bytes never change. */
static const uint8_t golden[] = {
	0x01, 0xac, 0x02,             /* flushed sequence 300 */
	0x02, 0x90, 0x03,             /* last sequence 400 */
	0x03, 0x0a,                   /* next file number 10 */
	0x05, 0x00, 0x07,             /* removed: level 0, number 7 */
	0x04, 0x01, 0x09, 0xe8, 0x07, /* added: level 1, number 9, 1000 bytes, */
	0x14, 0x02, 0x01, 0x64, 0xc8, 0x01, /* 20 entries, 2 deletes, 1 range, 100 key bytes, 200 value bytes, */
	0x05, 0xac, 0x02, 0x00, 0x01, /* sequences 5 to 300, no expiry, largest excluded, */
	0x02, 0x01, 'a', 0x03, 0x01, 'z', 'z', /* from "a" to "zz" in keyspace 1 */
};

static void make_golden(struct version_edit *e)
{
	struct table_summary t = {
		.file_bytes = 1000, .entries = 20, .deletes = 2, .range_deletes = 1, .raw_key_bytes = 100, .raw_value_bytes = 200,
		.smallest_sequence = 5, .largest_sequence = 300, .largest_excluded = true,
	};
	version_edit_init(e);
	e->has_flushed_sequence = e->has_last_sequence = e->has_next_file_number = true;
	e->flushed_sequence = 300;
	e->last_sequence = 400;
	e->next_file_number = 10;
	assert_ok(version_edit_remove(e, 0, 7));
	assert_ok(buf_append(&t.smallest, "\1a", 2));
	assert_ok(buf_append(&t.largest, "\1zz", 3));
	assert_ok(version_edit_add(e, 1, 9, &t));
}

static void test_golden_bytes(void **state)
{
	(void)state;
	struct version_edit e, back;
	struct buf bytes = { 0 }, text = { 0 };
	make_golden(&e);
	assert_ok(version_edit_encode(&e, &bytes));
	assert_int_equal(bytes.size, sizeof golden);
	assert_memory_equal(bytes.data, golden, sizeof golden);
	assert_ok(version_edit_decode(slice_make(golden, sizeof golden), &back));
	assert_true(back.has_flushed_sequence && back.has_last_sequence && back.has_next_file_number);
	assert_int_equal(back.added_count, 1);
	assert_int_equal(back.added[0].level, 1);
	const struct file_meta *f = back.added[0].file;
	assert_true(f->number == 9 && f->summary.file_bytes == 1000 && f->summary.entries == 20 && f->summary.deletes == 2);
	assert_true(f->summary.range_deletes == 1 && f->summary.raw_key_bytes == 100 && f->summary.raw_value_bytes == 200);
	assert_true(f->summary.smallest_sequence == 5 && f->summary.largest_sequence == 300 && f->summary.largest_excluded);
	assert_int_equal(f->summary.min_expiry_ns, 0);
	assert_ok(version_edit_to_text(&back, &text));
	assert_string_equal((char *)text.data, "flushed up to sequence 300; last sequence 400; next file 000010; level 0 -000007; "
			    "level 1 +000009 (20 entries, 1000 bytes); ");
	buf_done(&bytes);
	buf_done(&text);
	version_edit_done(&e);
	version_edit_done(&back);
}

/* One of an ingestion: its entries have the number that the manifest says. */
static void test_golden_ingested(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {
		0x04, 0x06, 0x09, 0x64,       /* added: level 6, number 9, 100 bytes, */
		0x02, 0x00, 0x00, 0x04, 0x05, /* 2 entries, no deletes, no ranges, 4 key bytes, 5 value bytes, */
		0xac, 0x02, 0xac, 0x02, 0x00, 0x04, /* sequences 300 to 300, no expiry, ingested, */
		0x02, 0x01, 'a', 0x02, 0x01, 'b', /* from "a" to "b" in keyspace 1, */
		0xac, 0x02,                   /* with number 300 */
	};
	struct version_edit e;
	struct buf again = { 0 };
	assert_ok(version_edit_decode(slice_make(bytes, sizeof bytes), &e));
	assert_true(e.added_count == 1 && e.added[0].level == 6 && e.added[0].file->sequence == 300);
	assert_ok(version_edit_encode(&e, &again));
	assert_int_equal(again.size, sizeof bytes);
	assert_memory_equal(again.data, bytes, sizeof bytes);
	version_edit_done(&e);
	buf_done(&again);
	/* Another number than its entries', none, or with range tombstones. */
	static const struct { size_t at; uint8_t byte; } wrong[] = { { 21, 0xad }, { 9, 0xab }, { 11, 0xad }, { 6, 1 } };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		uint8_t bad[sizeof bytes];
		memcpy(bad, bytes, sizeof bytes);
		bad[wrong[i].at] = wrong[i].byte;
		assert_status(version_edit_decode(slice_make(bad, sizeof bad), &e), WOMBAT_CORRUPTION);
	}
	assert_status(version_edit_decode(slice_make(bytes, sizeof bytes - 2), &e), WOMBAT_CORRUPTION);
}

/* Where the journal begins. */
static void test_golden_journal(void **state)
{
	(void)state;
	static const uint8_t bytes[] = { 0x06, 0xac, 0x02, 0x90, 0x03 }; /* value log file 300, offset 400 */
	static const uint8_t no_file[] = { 0x06, 0x00, 0x90, 0x03 };
	struct version_edit e;
	struct buf again = { 0 }, text = { 0 };
	assert_ok(version_edit_decode(slice_make(bytes, sizeof bytes), &e));
	assert_true(e.journal.file == 300 && e.journal.offset == 400);
	assert_ok(version_edit_encode(&e, &again));
	assert_true(slice_equal(buf_slice(&again), slice_make(bytes, sizeof bytes)));
	assert_ok(version_edit_to_text(&e, &text));
	assert_string_equal((char *)text.data, "journal from value log file 000300, offset 400; ");
	version_edit_done(&e);
	buf_done(&again);
	buf_done(&text);
	assert_status(version_edit_decode(slice_make(no_file, sizeof no_file), &e), WOMBAT_CORRUPTION);
	for (size_t cut = 1; cut < sizeof bytes; cut++)
		assert_status(version_edit_decode(slice_make(bytes, cut), &e), WOMBAT_CORRUPTION);
}

static void test_random_edits_come_back(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("edits"));
	for (int round = 0; round < 200; round++) {
		struct version_edit e, back;
		struct buf bytes = { 0 }, again = { 0 };
		version_edit_init(&e);
		e.has_flushed_sequence = random_below(&r, 2);
		e.flushed_sequence = random_next(&r) & SEQUENCE_MAX;
		e.has_next_file_number = random_below(&r, 2);
		e.next_file_number = random_next(&r) >> 1;
		for (uint64_t n = random_below(&r, 20); n > 0; n--) {
			char largest[16];
			snprintf(largest, sizeof largest, "n%08llu%s", (unsigned long long)random_below(&r, 100000000),
				 random_below(&r, 2) ? "!" : "");
			struct fake_table t = { (unsigned)random_below(&r, LEVELS_MAX), 1 + random_below(&r, UINT32_MAX), "a",
						largest, .min_expiry_ns = random_next(&r), .entries = 1 + random_below(&r, 1 << 20) };
			t.sequence = 1 + (random_next(&r) & (SEQUENCE_MAX >> 1));
			fake_add(&e, &t);
			assert_ok(version_edit_remove(&e, (unsigned)random_below(&r, LEVELS_MAX), random_next(&r)));
		}
		assert_ok(version_edit_encode(&e, &bytes));
		assert_ok(version_edit_decode(buf_slice(&bytes), &back));
		assert_ok(version_edit_encode(&back, &again));
		assert_true(slice_equal(buf_slice(&bytes), buf_slice(&again)));
		buf_done(&bytes);
		buf_done(&again);
		version_edit_done(&e);
		version_edit_done(&back);
	}
}

/* ---- What is refused ----------------------------------------------------------------------- */

/* A cut between fields is a shorter edit; one within a field is not an edit. */
static void test_cut_edits(void **state)
{
	(void)state;
	size_t whole = 0;
	for (size_t size = 0; size <= sizeof golden; size++) {
		struct version_edit e;
		uint8_t *copy = malloc(size + 1); /* of its own, so that reading past the end shows */
		memcpy(copy, golden, size);
		uint8_t *exact = realloc(copy, size ? size : 1);
		enum wombat_status s = version_edit_decode(slice_make(exact, size), &e);
		if (s == WOMBAT_OK) {
			whole++;
			version_edit_done(&e);
		} else {
			assert_int_equal(s, WOMBAT_CORRUPTION);
		}
		free(exact);
	}
	assert_int_equal(whole, 6); /* none, and behind each of the five fields */
}

static void test_changed_edits_never_crash(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("changed edits"));
	for (int round = 0; round < 20000; round++) {
		struct version_edit e;
		uint8_t bytes[sizeof golden];
		memcpy(bytes, golden, sizeof bytes);
		for (uint64_t n = 1 + random_below(&r, 3); n > 0; n--)
			bytes[random_below(&r, sizeof bytes)] = (uint8_t)random_next(&r);
		enum wombat_status s = version_edit_decode(slice_make(bytes, sizeof bytes), &e);
		if (s == WOMBAT_OK)
			version_edit_done(&e);
		else
			assert_true(s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
	}
}

static enum wombat_status decode_text(const void *bytes, size_t size)
{
	struct version_edit e;
	enum wombat_status s = version_edit_decode(slice_make(bytes, size), &e);
	if (s == WOMBAT_OK)
		version_edit_done(&e);
	return s;
}

static void test_unknown_fields(void **state)
{
	(void)state;
	static const uint8_t required[] = { 127, 0 }, optional[] = { 0x80, 0x01, 3, 'a', 'b', 'c', 0x03, 0x0a };
	static const uint8_t cut[] = { 0x80, 0x01, 3, 'a' };
	uint8_t flags[sizeof golden];
	assert_status(decode_text(required, sizeof required), WOMBAT_UNSUPPORTED);
	assert_ok(decode_text(optional, sizeof optional));
	assert_status(decode_text(cut, sizeof cut), WOMBAT_CORRUPTION);
	memcpy(flags, golden, sizeof flags);
	flags[sizeof golden - 8] = 8; /* a file flag that does not exist */
	assert_status(decode_text(flags, sizeof flags), WOMBAT_UNSUPPORTED);
}

/* Each of these is encoded well and cannot be so. */
static void test_impossible_tables(void **state)
{
	(void)state;
	static const struct {
		uint64_t v[12]; /* as in version_edit.c */
		const char *smallest, *largest;
		enum wombat_status status;
	} cases[] = {
		{ { 1, 9, 100, 5, 5, 0, 9, 9, 1, 2, 0, 0 }, "a", "b", WOMBAT_OK },
		{ { 1, 9, 100, 5, 0, 0, 9, 9, 1, 2, 0, 0 }, "a", "a", WOMBAT_OK },
		{ { 1, 9, 100, 5, 0, 0, 9, 9, 1, 2, 0, 1 }, "a", "a", WOMBAT_CORRUPTION },         /* nothing between */
		{ { LEVELS_MAX, 9, 100, 5, 0, 0, 9, 9, 1, 2, 0, 0 }, "a", "b", WOMBAT_CORRUPTION }, /* no such level */
		{ { 1, 0, 100, 5, 0, 0, 9, 9, 1, 2, 0, 0 }, "a", "b", WOMBAT_CORRUPTION },         /* no number */
		{ { 1, UINT64_MAX, 100, 5, 0, 0, 9, 9, 1, 2, 0, 0 }, "a", "b", WOMBAT_CORRUPTION },
		{ { 1, 9, 100, 5, 6, 0, 9, 9, 1, 2, 0, 0 }, "a", "b", WOMBAT_CORRUPTION },         /* more deletes than entries */
		{ { 1, 9, 100, 5, 0, 0, 9, 9, 3, 2, 0, 0 }, "a", "b", WOMBAT_CORRUPTION },         /* sequences backwards */
		{ { 1, 9, 100, 5, 0, 0, 9, 9, 1, SEQUENCE_MAX + 1, 0, 0 }, "a", "b", WOMBAT_CORRUPTION },
		{ { 1, 9, 100, 5, 0, 0, 9, 9, 1, 2, 0, 0 }, "b", "a", WOMBAT_CORRUPTION },         /* keys backwards */
		{ { 1, 9, 100, 5, 0, 0, 9, 9, 1, 2, 0, 0 }, "", "a", WOMBAT_CORRUPTION },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct buf b = { 0 };
		assert_ok(buf_append_varint(&b, EDIT_ADD_FILE));
		for (int k = 0; k < 12; k++)
			assert_ok(buf_append_varint(&b, cases[i].v[k]));
		assert_ok(buf_append_slice(&b, slice_make(cases[i].smallest, strlen(cases[i].smallest))));
		assert_ok(buf_append_slice(&b, slice_make(cases[i].largest, strlen(cases[i].largest))));
		if (decode_text(b.data, b.size) != cases[i].status)
			fail_msg("case %zu", i);
		buf_done(&b);
	}
}

/* ---- Memory -------------------------------------------------------------------------------- */

static size_t allocations_left;

static _Bool fail_later(size_t size)
{
	(void)size;
	return allocations_left > 0 && allocations_left-- > 0;
}

static void test_each_allocation_fails(void **state)
{
	(void)state;
	bool passed = false;
	for (size_t n = 0; !passed; n++) {
		struct version_edit e, back;
		struct buf bytes = { 0 };
		make_golden(&e);
		allocations_left = n;
		mem_test_hook = fail_later;
		enum wombat_status s = version_edit_encode(&e, &bytes);
		bool decoded = false;
		if (s == WOMBAT_OK) {
			s = version_edit_decode(buf_slice(&bytes), &back);
			decoded = s == WOMBAT_OK;
		}
		mem_test_hook = NULL;
		if (decoded)
			version_edit_done(&back);
		passed = s == WOMBAT_OK;
		assert_true(passed || s == WOMBAT_NO_MEMORY);
		buf_done(&bytes);
		version_edit_done(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_golden_ingested),
		cmocka_unit_test(test_golden_journal),
		cmocka_unit_test(test_random_edits_come_back),
		cmocka_unit_test(test_cut_edits),
		cmocka_unit_test(test_changed_edits_never_crash),
		cmocka_unit_test(test_unknown_fields),
		cmocka_unit_test(test_impossible_tables),
		cmocka_unit_test(test_each_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
