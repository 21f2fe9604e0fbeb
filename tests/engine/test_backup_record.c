/*
 * The record of a backup: what is encoded comes back; every cut, every changed bit, names that lead elsewhere, impossible numbers
 * and newer versions are refused, with the reason; and memory that ends.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "engine/base/random.h"
#include "engine/db/backup_record.h"
#include "tests/support/check.h"
#include "tests/support/scarce.h"
#include "tests/support/seed.h"

static void make(struct backup_record *r, struct random_state *random, size_t files)
{
	*r = (struct backup_record){ .manifest_number = random_next(random) };
	r->info = (struct wombat_backup_info){ .id = 1 + (uint32_t)random_below(random, 1000000), .time_ns = random_next(random),
					       .sequence = random_next(random), .copied_files = random_below(random, 100),
					       .copied_bytes = random_next(random) };
	assert_ok(buf_append(&r->manifest, "manifest", random_below(random, 9)));
	r->has_config = random_below(random, 2);
	if (r->has_config)
		assert_ok(buf_append(&r->config, "block_size=8K\n", 14));
	for (size_t i = 0; i < files; i++) {
		struct backup_file f = { .bytes = random_below(random, UINT64_C(1) << 40), .crc = (uint32_t)random_next(random) };
		snprintf(f.name, sizeof f.name, "%06zu.sst", i + 1);
		snprintf(f.stored, sizeof f.stored, "%06zu-%08x.sst", i + 1, (unsigned)f.crc);
		assert_ok(backup_record_add(r, &f));
	}
}

/* The fault of the bytes, NULL: none; the status as it should be then. */
static const char *fault_of(struct wombat_slice bytes, enum wombat_status want)
{
	struct backup_record r = { .count = 0 };
	enum wombat_status s;
	const char *fault = backup_record_decode(bytes, &r, &s);
	assert_int_equal(fault == NULL, s == WOMBAT_OK);
	assert_int_equal(s, want);
	backup_record_done(&r);
	return fault;
}

/* With the checksum that its bytes have now. */
static void sign(struct buf *b)
{
	put_u32(b->data + b->size - 4, crc32c(0, b->data, b->size - 4));
}

static void test_comes_back(void **state)
{
	(void)state;
	struct random_state random;
	random_seed(&random, test_seed(__func__));
	for (unsigned round = 0; round < 200; round++) {
		struct backup_record r, got = { .count = 0 };
		struct buf bytes = { 0 };
		enum wombat_status s;
		uint64_t sum = 0;
		make(&r, &random, (size_t)random_below(&random, 30));
		assert_ok(backup_record_encode(&r, &bytes));
		assert_null(backup_record_decode(buf_slice(&bytes), &got, &s));
		assert_ok(s);
		assert_true(got.info.id == r.info.id && got.info.time_ns == r.info.time_ns && got.info.sequence == r.info.sequence &&
			    got.info.copied_files == r.info.copied_files && got.info.copied_bytes == r.info.copied_bytes);
		assert_true(got.manifest_number == r.manifest_number && got.has_config == r.has_config && got.count == r.count);
		assert_true(slice_equal(buf_slice(&got.manifest), buf_slice(&r.manifest)));
		assert_true(slice_equal(buf_slice(&got.config), buf_slice(&r.config)));
		for (size_t i = 0; i < r.count; i++) {
			const struct backup_file *a = &r.files[i], *b = &got.files[i];
			assert_true(a->bytes == b->bytes && a->crc == b->crc);
			assert_string_equal(a->name, b->name);
			assert_string_equal(a->stored, b->stored);
			sum += a->bytes;
		}
		assert_true(got.info.files == r.count && got.info.bytes == sum);
		backup_record_done(&got);
		backup_record_done(&r);
		buf_done(&bytes);
	}
}

static void test_damage(void **state)
{
	(void)state;
	struct random_state random;
	struct backup_record r;
	struct buf bytes = { 0 };
	random_seed(&random, test_seed(__func__));
	make(&r, &random, 3);
	assert_ok(backup_record_encode(&r, &bytes));
	for (size_t size = 0; size < bytes.size; size++)
		assert_non_null(fault_of(slice_make(bytes.data, size), WOMBAT_CORRUPTION));
	for (size_t bit = 0; bit < bytes.size * 8; bit++) {
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_non_null(fault_of(buf_slice(&bytes), WOMBAT_CORRUPTION));
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* Cut, and signed anew: the body says itself that it is not whole, or has too much. */
	for (size_t size = bytes.size - 1; size >= 16 + 4; size--) {
		struct buf part = { 0 };
		assert_ok(buf_append(&part, bytes.data, size));
		sign(&part);
		assert_non_null(fault_of(buf_slice(&part), WOMBAT_CORRUPTION));
		buf_done(&part);
	}
	put_u32(bytes.data + 8, 2);
	sign(&bytes);
	assert_string_equal(fault_of(buf_slice(&bytes), WOMBAT_UNSUPPORTED), "a newer version wrote it");
	backup_record_done(&r);
	buf_done(&bytes);
}

/* A path that would lead out of the directory, or none at all. */
static void test_names(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "../x", "a/b", ".", "..", ".hidden", "/etc/passwd" };
	struct random_state random;
	random_seed(&random, test_seed(__func__));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		for (unsigned which = 0; which < 2; which++) {
			struct backup_record r;
			struct buf bytes = { 0 };
			make(&r, &random, 2);
			snprintf(which ? r.files[1].stored : r.files[1].name, 16, "%s", bad[i]);
			assert_ok(backup_record_encode(&r, &bytes));
			assert_string_equal(fault_of(buf_slice(&bytes), WOMBAT_CORRUPTION), "a file of it is not one");
			backup_record_done(&r);
			buf_done(&bytes);
		}
}

static void test_numbers(void **state)
{
	(void)state;
	struct random_state random;
	struct backup_record r;
	struct buf bytes = { 0 };
	random_seed(&random, test_seed(__func__));
	make(&r, &random, 1);
	r.info.id = 0;
	assert_ok(backup_record_encode(&r, &bytes));
	assert_string_equal(fault_of(buf_slice(&bytes), WOMBAT_CORRUPTION), "it has an impossible number");
	backup_record_done(&r);
	buf_done(&bytes);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct random_state random;
	struct backup_record r;
	struct buf bytes = { 0 };
	unsigned n = 0;
	random_seed(&random, test_seed(__func__));
	make(&r, &random, 20);
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		buf_done(&bytes);
		scarce_begin(n);
		s = backup_record_encode(&r, &bytes);
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_true(n > 1);
	n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct backup_record got = { .count = 0 };
		scarce_begin(n);
		const char *fault = backup_record_decode(buf_slice(&bytes), &got, &s);
		scarce_end();
		assert_int_equal(fault == NULL, s == WOMBAT_OK);
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		backup_record_done(&got);
	}
	assert_true(n > 2);
	backup_record_done(&r);
	buf_done(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
