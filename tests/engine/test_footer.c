/* The footer of a table: round trips, every damaged bit, parts outside the file, newer versions. */
#include "engine/base/coding.h"
#include "engine/base/crc32c.h"
#include "engine/base/random.h"
#include "engine/table/footer.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { FILE_BYTES = 100000 };

static struct table_footer some(void)
{
	return (struct table_footer){
		.index = { 50000, 2000 }, .properties = { 60000, 100 }, .filter = { 40000, 5000 }, .ranges = { 0, 0 },
		.compatible = 0x80,
	};
}

/* Gives changed bytes the checksum that belongs to them. */
static void seal(uint8_t bytes[TABLE_FOOTER_SIZE])
{
	put_u32(bytes + TABLE_FOOTER_CHECKSUM, crc32c(0, bytes, TABLE_FOOTER_CHECKSUM));
}

static void test_round_trip(void **state)
{
	(void)state;
	struct random_state random;
	uint8_t bytes[TABLE_FOOTER_SIZE], again[TABLE_FOOTER_SIZE];
	random_seed(&random, test_seed("round trip"));
	for (int i = 0; i < 1000; i++) {
		struct table_footer f = some(), back;
		struct table_handle *const parts[] = { &f.index, &f.properties, &f.filter, &f.ranges };
		for (int k = 0; k < 4; k++) {
			parts[k]->offset = 1 + random_below(&random, FILE_BYTES / 2);
			parts[k]->size = random_below(&random, FILE_BYTES / 3);
			if (k >= 2 && random_below(&random, 2))
				*parts[k] = (struct table_handle){ 0, 0 };
		}
		f.compatible = (uint32_t)random_next(&random);
		footer_encode(bytes, &f);
		assert_ok(footer_decode(bytes, FILE_BYTES, "t", &back));
		assert_int_equal(back.compatible, f.compatible);
		footer_encode(again, &back);
		assert_memory_equal(again, bytes, sizeof bytes);
	}
}

static void test_every_bit(void **state)
{
	(void)state;
	struct table_footer f = some(), out;
	uint8_t bytes[TABLE_FOOTER_SIZE];
	for (int bit = 0; bit < TABLE_FOOTER_SIZE * 8; bit++) {
		footer_encode(bytes, &f);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_status(footer_decode(bytes, FILE_BYTES, "the-table", &out), WOMBAT_CORRUPTION);
		assert_non_null(strstr(wombat_last_error(), "the-table"));
	}
}

static void test_parts_outside(void **state)
{
	(void)state;
	static const uint64_t end = FILE_BYTES - TABLE_FOOTER_SIZE;
	const struct {
		struct table_handle handle;
		bool fits;
	} cases[] = {
		{ { end - 100 - TABLE_BLOCK_TRAILER_SIZE, 100 }, true }, { { end - 100 - TABLE_BLOCK_TRAILER_SIZE, 101 }, false },
		{ { end, 0 }, false }, { { end + 1, 0 }, false }, { { UINT64_MAX, 10 }, false }, { { 10, UINT64_MAX }, false },
		{ { UINT64_MAX, UINT64_MAX }, false }, { { 10, TABLE_BLOCK_MAX + UINT64_C(1) }, false },
	};
	uint8_t bytes[TABLE_FOOTER_SIZE];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (int part = 0; part < 4; part++) {
			struct table_footer f = some(), out;
			*(struct table_handle *const[]){ &f.index, &f.properties, &f.filter, &f.ranges }[part] = cases[i].handle;
			footer_encode(bytes, &f);
			assert_status(footer_decode(bytes, FILE_BYTES, "t", &out), cases[i].fits ? WOMBAT_OK : WOMBAT_CORRUPTION);
		}
	/* Index and properties must be there; the others need not. */
	struct table_footer f = some(), out;
	f.filter = f.ranges = (struct table_handle){ 0, 0 };
	footer_encode(bytes, &f);
	assert_ok(footer_decode(bytes, FILE_BYTES, "t", &out));
}

static void test_newer(void **state)
{
	(void)state;
	struct table_footer f = some(), out;
	uint8_t bytes[TABLE_FOOTER_SIZE];
	footer_encode(bytes, &f);
	put_u32(bytes + TABLE_FOOTER_VERSION, TABLE_VERSION + 1);
	seal(bytes);
	assert_status(footer_decode(bytes, FILE_BYTES, "t", &out), WOMBAT_UNSUPPORTED);
	put_u32(bytes + TABLE_FOOTER_VERSION, 0);
	seal(bytes);
	assert_status(footer_decode(bytes, FILE_BYTES, "t", &out), WOMBAT_UNSUPPORTED);
	f.incompatible = 0x10;
	footer_encode(bytes, &f);
	assert_status(footer_decode(bytes, FILE_BYTES, "t", &out), WOMBAT_UNSUPPORTED);
	/* What is kept for later is ignored. */
	f = some();
	footer_encode(bytes, &f);
	put_u64(bytes + TABLE_FOOTER_RESERVED, 12345);
	seal(bytes);
	assert_ok(footer_decode(bytes, FILE_BYTES, "t", &out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_every_bit), cmocka_unit_test(test_parts_outside),
		cmocka_unit_test(test_newer),
	};
	return cmocka_run_group_tests_name("footer", tests, NULL, NULL);
}
