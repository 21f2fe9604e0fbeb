/* Packing of blocks: there and back, only where it pays, in many threads; damage ends in a status. */
#include "engine/table/compress.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/table/deflate.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

static void fill_text(struct random_state *r, uint8_t *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)"the quick brown fox "[(i + random_below(r, 2)) % 20];
}

static void fill_noise(struct random_state *r, uint8_t *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)random_next(r);
}

/* Packs and unpacks; returns whether it was worth it. */
static bool there_and_back(struct compressor *c, struct wombat_slice raw)
{
	struct buf stored = { 0 };
	bool worth;
	assert_ok(compress_block(c, raw, &stored, &worth));
	if (worth) {
		size_t size;
		struct wombat_slice packed;
		assert_true(stored.size <= raw.size - raw.size / 8);
		assert_true(compress_raw_size(buf_slice(&stored), &size, &packed));
		assert_int_equal(size, raw.size);
		uint8_t *again = malloc(size);
		assert_non_null(again);
		assert_ok(uncompress_block(packed, again, size));
		assert_memory_equal(again, raw.data, size);
		free(again);
	}
	buf_done(&stored);
	return worth;
}

/* Each library reads what the other wrote, and neither takes what is too long, too short or damaged. */
static void cross(const struct deflate_library *writer, const struct deflate_library *reader, struct random_state *r)
{
	static const size_t sizes[] = { 1, 100, 4096, 70000 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int level = 1; level <= 9; level += 4) {
			size_t size = sizes[i], room = 2 * size + 100;
			uint8_t *raw = malloc(size), *packed = malloc(room), *again = malloc(size + 1);
			void *packer = writer->packer_new(level);
			assert_true(raw && packed && again && packer);
			fill_text(r, raw, size);
			for (unsigned n = 0; n < 2; n++) { /* a packer is used more than once */
				size_t bytes = writer->pack(packer, slice_make(raw, size), packed, room);
				assert_true(bytes > 0 && bytes <= room);
				assert_int_equal(writer->pack(packer, slice_make(raw, size), packed, bytes - 1), 0);
				assert_int_equal(writer->pack(packer, slice_make(raw, size), packed, room), bytes);
				assert_ok(reader->unpack(slice_make(packed, bytes), again, size));
				assert_memory_equal(again, raw, size);
				assert_int_equal(reader->unpack(slice_make(packed, bytes), again, size - 1), WOMBAT_CORRUPTION);
				assert_int_equal(reader->unpack(slice_make(packed, bytes), again, size + 1), WOMBAT_CORRUPTION);
				assert_int_equal(reader->unpack(slice_make(packed, bytes - 1), again, size), WOMBAT_CORRUPTION);
				packed[bytes] = 0; /* a byte behind the stream's end */
				assert_int_equal(reader->unpack(slice_make(packed, bytes + 1), again, size), WOMBAT_CORRUPTION);
			}
			writer->packer_free(packer);
			free(raw);
			free(packed);
			free(again);
		}
}

static void test_libraries_read_each_other(void **state)
{
	(void)state;
	struct random_state r;
	random_seed(&r, test_seed("test_libraries_read_each_other"));
	cross(&deflate_zlib, &deflate_zlib, &r);
#ifdef HAVE_LIBDEFLATE
	assert_string_equal(deflate_library()->name, "libdeflate");
	cross(&deflate_libdeflate, &deflate_libdeflate, &r);
	cross(&deflate_libdeflate, &deflate_zlib, &r);
	cross(&deflate_zlib, &deflate_libdeflate, &r);
#endif
}

static void test_there_and_back(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 10, 100, 4096, 70000, 3000000 };
	struct random_state r;
	random_seed(&r, test_seed("test_there_and_back"));
	for (int level = 1; level <= 9; level += 4) {
		struct compressor *c;
		assert_ok(compressor_new(level, &c));
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			uint8_t *p = malloc(sizes[i] + 1);
			assert_non_null(p);
			fill_text(&r, p, sizes[i]);
			assert_int_equal(there_and_back(c, slice_make(p, sizes[i])), sizes[i] >= 100);
			fill_noise(&r, p, sizes[i]);
			assert_false(there_and_back(c, slice_make(p, sizes[i])));
			memset(p, 0, sizes[i]);
			assert_int_equal(there_and_back(c, slice_make(p, sizes[i])), sizes[i] >= 100);
			free(p);
		}
		compressor_free(c);
	}
}

static void test_bad_level(void **state)
{
	(void)state;
	struct compressor *c;
	assert_status(compressor_new(77, &c), WOMBAT_INVALID);
	compressor_free(NULL);
}

static void test_damage(void **state)
{
	(void)state;
	struct random_state r;
	struct compressor *c;
	struct buf stored = { 0 };
	uint8_t raw[2000], again[2000];
	bool worth;
	random_seed(&r, test_seed("test_damage"));
	fill_text(&r, raw, sizeof(raw));
	assert_ok(compressor_new(6, &c));
	assert_ok(compress_block(c, slice_make(raw, sizeof(raw)), &stored, &worth));
	assert_true(worth);
	for (unsigned n = 0; n < 5000; n++) {
		uint8_t *bytes = malloc(stored.size);
		assert_non_null(bytes);
		memcpy(bytes, stored.data, stored.size);
		bytes[random_below(&r, stored.size)] ^= (uint8_t)(1 + random_below(&r, 255));
		size_t size = random_below(&r, 2) ? stored.size : (size_t)random_below(&r, stored.size),
			raw_size;
		struct wombat_slice packed;
		if (compress_raw_size(slice_make(bytes, size), &raw_size, &packed) &&
			raw_size <= sizeof(again)) {
			enum wombat_status s = uncompress_block(packed, again, raw_size);
			assert_true(s == WOMBAT_OK || s == WOMBAT_CORRUPTION);
		}
		free(bytes);
	}
	size_t raw_size;
	struct wombat_slice packed;
	/* A size that nothing unpacks to is not believed. */
	assert_false(compress_raw_size(WOMBAT_STR("\xff\xff\xff\x7f" "abc"), &raw_size, &packed));
	assert_false(compress_raw_size(WOMBAT_STR(""), &raw_size, &packed));
	buf_done(&stored);
	compressor_free(c);
}

static void *pack_a_lot(void *arg)
{
	struct random_state r;
	struct compressor *c;
	uint8_t raw[5000];
	random_seed(&r, *(uint64_t *)arg);
	assert_ok(compressor_new(3, &c));
	for (unsigned n = 0; n < 50; n++) {
		fill_text(&r, raw, sizeof(raw));
		assert_true(there_and_back(c, slice_make(raw, sizeof(raw))));
	}
	compressor_free(c);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	pthread_t threads[4];
	uint64_t seeds[4] = { 1, 2, 3, 4 };
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pack_a_lot, &seeds[i]), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static unsigned allowed;

static _Bool allow_some(size_t size)
{
	(void)size;
	return allowed > 0 && allowed-- > 0;
}

static enum wombat_status all_of_it(struct wombat_slice raw, uint8_t *again)
{
	struct compressor *c;
	struct buf stored = { 0 };
	bool worth;
	enum wombat_status s = compressor_new(6, &c);
	if (s != WOMBAT_OK)
		return s;
	s = compress_block(c, raw, &stored, &worth);
	compressor_free(c);
	if (s == WOMBAT_OK) {
		size_t size = 0;
		struct wombat_slice packed = { 0 };
		assert_true(worth);
		assert_true(compress_raw_size(buf_slice(&stored), &size, &packed));
		s = uncompress_block(packed, again, size);
	}
	buf_done(&stored);
	return s;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct random_state r;
	uint8_t raw[4000], again[4000];
	unsigned n = 0;
	random_seed(&r, 1);
	fill_text(&r, raw, sizeof(raw));
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		allowed = n;
		mem_test_hook = allow_some;
		s = all_of_it(slice_make(raw, sizeof(raw)), again);
		mem_test_hook = NULL;
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_memory_equal(raw, again, sizeof(raw));
	assert_true(n > 2);
}

/* zlib's memory is ours: each allocation of it fails in turn. */
static void test_zlib_out_of_memory(void **state)
{
	(void)state;
	struct random_state r;
	uint8_t raw[4000], packed[4000], again[4000];
	unsigned n = 0;
	random_seed(&r, 1);
	fill_text(&r, raw, sizeof(raw));
	for (size_t bytes = 0; !bytes; n++) {
		allowed = n;
		mem_test_hook = allow_some;
		void *packer = deflate_zlib.packer_new(6);
		if (packer) {
			bytes = deflate_zlib.pack(packer, slice_make(raw, sizeof(raw)), packed, sizeof(packed));
			deflate_zlib.packer_free(packer);
		}
		mem_test_hook = NULL;
		for (enum wombat_status s = WOMBAT_NO_MEMORY; bytes && s != WOMBAT_OK; allowed = ++n) {
			mem_test_hook = allow_some;
			s = deflate_zlib.unpack(slice_make(packed, bytes), again, sizeof(again));
			mem_test_hook = NULL;
			assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
		}
	}
	assert_memory_equal(raw, again, sizeof(raw));
	assert_true(n > 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_libraries_read_each_other),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_bad_level),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_zlib_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
