/*
 * A whole table from any bytes: opened, asked, walked both ways, checked. The first byte says whether the checksums of its
 * parts are made right before; those of data blocks are not looked at, so that damage gets past them.
 */
#include "engine/base/crc32c.h"
#include "engine/base/record.h"
#include "engine/env/env_mem.h"
#include "engine/table/footer.h"
#include "engine/table/table.h"
#include "engine/table/table_builder.h"
#include "tests/fuzz/fuzz.h"

#define PATH "000007.sst"

static void put_file(struct env *env, const uint8_t *data, size_t size)
{
	struct env_writer *w;
	MUST(env->calls->writer_open(env, PATH, 0, 0, &w) == WOMBAT_OK);
	MUST(env->calls->writer_write(w, data, size) == WOMBAT_OK && env->calls->writer_close(w) == WOMBAT_OK);
}

static void fix_part(uint8_t *data, size_t size, uint64_t offset, uint64_t bytes)
{
	if (bytes && offset < size && bytes < size - offset && size - offset - bytes >= TABLE_BLOCK_TRAILER_SIZE)
		put_u32(data + offset + bytes + 1, crc32c(0, data + offset, (size_t)bytes + 1));
}

static void fix_checksums(uint8_t *data, size_t size)
{
	if (size < TABLE_FOOTER_SIZE)
		return;
	uint8_t *footer = data + size - TABLE_FOOTER_SIZE;
	for (unsigned at = TABLE_FOOTER_INDEX; at <= TABLE_FOOTER_RANGES; at += 16)
		fix_part(data, size - TABLE_FOOTER_SIZE, get_u64(footer + at), get_u64(footer + at + 8));
	put_u64(footer + TABLE_FOOTER_MAGIC, TABLE_MAGIC);
	put_u32(footer + TABLE_FOOTER_CHECKSUM, crc32c(0, footer, TABLE_FOOTER_CHECKSUM));
}

static void no_finding(void *arg, const char *sentence)
{
	(void)arg;
	MUST(sentence[0]);
}

static void use(struct table *t)
{
	struct iter *it;
	size_t n = 0;
	for (unsigned flags = 0; flags <= TABLE_READ_SEQUENTIAL; flags += TABLE_READ_SEQUENTIAL) {
		MUST(table_iter_new(t, flags, 10000, &it) == WOMBAT_OK);
		for (iter_first(it); it->valid && n < 10000; iter_next(it), n++) {
			struct lru_pin pin = { 0 };
			struct wombat_slice value;
			uint64_t tag;
			enum wombat_status s = table_get(t, it->key, SEQUENCE_MAX, 0, &tag, &value, &pin);
			if (s == WOMBAT_OK)
				lru_pin_release(&pin);
			table_may_have_prefix(t, it->key);
		}
		for (iter_last(it); it->valid && n < 20000; iter_prev(it))
			n++;
		iter_seek(it, WOMBAT_STR("\1k5"), TAG_MAX);
		iter_seek_before(it, WOMBAT_STR("\1k5"), TAG_MAX);
		iter_free(it);
	}
	table_offset_of(t, WOMBAT_STR("\1k5"));
	enum wombat_status s = table_check(t, no_finding, NULL);
	MUST(s == WOMBAT_OK || s == WOMBAT_CORRUPTION);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct env *env;
	struct table *t;
	struct table_live live = { .verify_checksums = false };
	struct table_options options = { .live = &live };
	if (size < 1)
		return 0;
	uint8_t *copy = malloc(size);
	MUST(copy && env_mem_new(&env) == WOMBAT_OK);
	memcpy(copy, data, size);
	if (data[0] & 1)
		fix_checksums(copy + 1, size - 1);
	put_file(env, copy + 1, size - 1);
	enum wombat_status s = table_open(env, PATH, 7, &options, &t);
	MUST(s == WOMBAT_OK || s == WOMBAT_CORRUPTION || s == WOMBAT_UNSUPPORTED);
	if (s == WOMBAT_OK) {
		use(t);
		table_close(t);
	}
	env->calls->free(env);
	free(copy);
	return 0;
}

uint8_t *fuzz_seed(unsigned n, size_t *out_size)
{
	struct env *env;
	struct table_builder *b;
	struct table_summary summary;
	size_t size;
	struct table_builder_options options = {
		.block_bytes = 200, .restart_interval = 4, .bloom_false_positive = n & 1 ? 0.01 : 0,
		.compression = n & 2 ? TABLE_COMPRESS_ZLIB : TABLE_COMPRESS_NONE, .compression_level = 6, .write_buffer_bytes = 4096,
	};
	if (n >= 4)
		return NULL;
	MUST(env_mem_new(&env) == WOMBAT_OK && table_builder_new(env, PATH, &options, &b) == WOMBAT_OK);
	for (unsigned i = 0; i < 40; i++) {
		char key[16];
		int bytes = snprintf(key, sizeof key, "\1k%u/%02u", i / 10, i % 10);
		MUST(table_builder_add(b, slice_make(key, (size_t)bytes), tag_make(i + 1, i % 9 ? KIND_PUT : KIND_DELETE),
				       i % 9 ? WOMBAT_SLICE("\0\1\0\0\0\0\0\0\0value of a few bytes", 29) : WOMBAT_STR("")) == WOMBAT_OK);
	}
	if (n & 1)
		MUST(table_builder_add_range(b, (struct range_del){ WOMBAT_STR("\1k0"), WOMBAT_STR("\1k1"), 99 }) == WOMBAT_OK);
	MUST(table_builder_finish(b, &summary) == WOMBAT_OK);
	table_summary_done(&summary);
	const uint8_t *bytes = env_mem_bytes(env, PATH, &size);
	uint8_t *copy = fuzz_copy(1, bytes, size, out_size);
	env->calls->free(env);
	return copy;
}
