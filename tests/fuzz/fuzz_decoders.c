/* Every decoder that takes bytes from a file and is one function. The first byte says which. */
#include "engine/base/alloc.h"
#include "engine/base/crc32c.h"
#include "engine/base/record.h"
#include "engine/db/backup_record.h"
#include "engine/db/options.h"
#include "engine/mem/write_batch.h"
#include "engine/table/block.h"
#include "engine/table/block_builder.h"
#include "engine/table/compress.h"
#include "engine/table/filter.h"
#include "engine/table/footer.h"
#include "engine/table/index.h"
#include "engine/table/properties.h"
#include "engine/version/version_edit.h"
#include "tests/fuzz/fuzz.h"

/* ---- What each must hold ---------------------------------------------------------------------- */

static void fuzz_record(struct wombat_slice in)
{
	struct record r, again;
	if (record_decode(in, &r) != WOMBAT_OK)
		return;
	size_t size = record_encoded_size(&r);
	uint8_t *out = malloc(size ? size : 1);
	MUST(out);
	record_encode(out, &r);
	MUST(record_decode(slice_make(out, size), &again) == WOMBAT_OK);
	MUST(again.time_ns == r.time_ns && again.expiry_ns == r.expiry_ns && slice_equal(again.attr, r.attr) &&
	     slice_equal(again.value, r.value) && again.elsewhere == r.elsewhere);
	free(out);
}

static void fuzz_batch(struct wombat_slice in)
{
	struct cursor c = cursor_of(in);
	struct batch_change change;
	while (cursor_left(&c) > 0)
		if (write_batch_next(&c, &change) != WOMBAT_OK)
			return;
	/* All of it is changes: a memtable takes it, unless a value is none. */
	struct memtable *m;
	uint32_t count;
	MUST(memtable_new(0, &m) == WOMBAT_OK);
	enum wombat_status s = write_batch_apply(in, 1, 0, 1, m, &count);
	MUST(s == WOMBAT_OK || s == WOMBAT_CORRUPTION);
	memtable_unref(m);
}

static void fuzz_properties(struct wombat_slice in)
{
	struct table_properties p, again;
	struct buf out = { 0 };
	if (properties_decode(in, &p))
		return;
	MUST(properties_encode(&p, &out) == WOMBAT_OK && !properties_decode(buf_slice(&out), &again));
	MUST(memcmp(&p, &again, sizeof p) == 0);
	buf_done(&out);
}

static void fuzz_index(struct wombat_slice in)
{
	struct index *x;
	if (index_new(in, 1 << 20, "index", &x) != WOMBAT_OK)
		return;
	for (size_t i = 0; i < x->count; i++)
		MUST(x->offsets[i] + x->sizes[i] + TABLE_BLOCK_TRAILER_SIZE <= 1 << 20);
	MUST(index_find(x, WOMBAT_STR(""), TAG_MAX) <= x->count);
	MUST(index_find(x, in, 0) <= x->count);
	index_free(x);
}

static void fuzz_footer(struct wombat_slice in)
{
	struct table_footer f;
	uint8_t bytes[TABLE_FOOTER_SIZE];
	if (in.size < sizeof bytes)
		return;
	memcpy(bytes, in.data, sizeof bytes);
	put_u32(bytes + TABLE_FOOTER_CHECKSUM, crc32c(0, bytes, TABLE_FOOTER_CHECKSUM));
	if (footer_decode(bytes, 100000, "footer", &f) == WOMBAT_OK)
		MUST(f.index.offset + f.index.size <= 100000 && f.filter.offset + f.filter.size <= 100000);
}

static void fuzz_filter(struct wombat_slice in)
{
	struct filter f;
	size_t end = filter_end_size(in.size);
	if (end > in.size || filter_init(&f, slice_make(in.data + in.size - end, end), in.size) || !f.line_count)
		return;
	for (uint32_t page = 0; page < filter_page_count(&f); page++)
		filter_page_valid(&f, page, in.data + (size_t)page * FILTER_PAGE_SIZE);
	uint64_t hash = hash64(in.data, in.size, 0);
	uint32_t line = filter_line_of(f.line_count, hash);
	MUST(line < f.line_count);
	filter_line_may_contain(&f, in.data + (size_t)line * FILTER_LINE_SIZE, hash);
}

static void fuzz_edit(struct wombat_slice in)
{
	struct version_edit e, again;
	struct buf out = { 0 }, twice = { 0 };
	if (version_edit_decode(in, &e) != WOMBAT_OK)
		return;
	MUST(version_edit_encode(&e, &out) == WOMBAT_OK);
	MUST(version_edit_decode(buf_slice(&out), &again) == WOMBAT_OK);
	MUST(version_edit_encode(&again, &twice) == WOMBAT_OK && slice_equal(buf_slice(&out), buf_slice(&twice)));
	version_edit_done(&e);
	version_edit_done(&again);
	buf_done(&out);
	buf_done(&twice);
}

static void fuzz_backup(struct wombat_slice in)
{
	struct backup_record r = { .count = 0 };
	struct buf out = { 0 }, fixed = { 0 };
	enum wombat_status s;
	/* Its checksum made right, so that more than that is looked at. */
	MUST(buf_set(&fixed, in) == WOMBAT_OK);
	if (fixed.size > 4)
		put_u32(fixed.data + fixed.size - 4, crc32c(0, fixed.data, fixed.size - 4));
	if (!backup_record_decode(buf_slice(&fixed), &r, &s)) {
		struct backup_record again = { .count = 0 };
		MUST(s == WOMBAT_OK && backup_record_encode(&r, &out) == WOMBAT_OK);
		MUST(!backup_record_decode(buf_slice(&out), &again, &s) && again.count == r.count);
		for (size_t i = 0; i < r.count; i++)
			MUST(!strchr(r.files[i].name, '/') && !strchr(r.files[i].stored, '/') && r.files[i].name[0] != '.');
		backup_record_done(&again);
	}
	backup_record_done(&r);
	buf_done(&out);
	buf_done(&fixed);
}

static void fuzz_options(struct wombat_slice in)
{
	struct wombat_options o = { .explicit_mask = 0 };
	options_defaults(&o.values);
	if (options_parse_text(&o, "input", (const char *)in.data, in.size) != WOMBAT_OK)
		return;
	for (size_t i = 0; i < option_count; i++) {
		char text[64];
		struct options again = o.values;
		MUST(option_print(&option_table[i], &o.values, text, sizeof text) == WOMBAT_OK);
		MUST(option_parse(&option_table[i], text, &again) == WOMBAT_OK);
	}
}

/* Forwards, backwards, and by seeks: the same entries. */
static void fuzz_block(struct wombat_slice in)
{
	struct block b;
	struct block_iter it;
	uint8_t *bytes = calloc(1, in.size + BLOCK_SLACK);
	MUST(bytes);
	if (in.size)
		memcpy(bytes, in.data, in.size);
	if (!block_init(&b, bytes, in.size)) {
		size_t forward = 0, backward = 0;
		block_iter_init(&it);
		block_iter_set(&it, &b);
		enum block_result r = block_iter_first(&it);
		for (; r == BLOCK_AT && forward < 100000; r = block_iter_next(&it)) {
			uint64_t tag;
			struct wombat_slice value;
			enum block_result found = block_get(&b, it.it.key, it.it.tag, &tag, &value);
			MUST(found != BLOCK_NO_MEMORY);
			forward++;
		}
		bool whole = r == BLOCK_END;
		for (r = block_iter_last(&it); r == BLOCK_AT && backward < 100000; r = block_iter_prev(&it))
			backward++;
		MUST(!whole || r != BLOCK_END || forward == backward);
		block_iter_done(&it);
	}
	free(bytes);
}

static void fuzz_packed(struct wombat_slice in)
{
	size_t size;
	struct wombat_slice packed;
	if (!compress_raw_size(in, &size, &packed) || size > 1 << 22)
		return;
	uint8_t *out = malloc(size ? size : 1);
	MUST(out);
	enum wombat_status s = uncompress_block(packed, out, size);
	MUST(s == WOMBAT_OK || s == WOMBAT_CORRUPTION || s == WOMBAT_NO_MEMORY);
	free(out);
}

static void (*const decoders[])(struct wombat_slice in) = {
	fuzz_record, fuzz_batch,  fuzz_properties, fuzz_index, fuzz_footer, fuzz_filter,
	fuzz_edit,   fuzz_backup, fuzz_options,	   fuzz_block, fuzz_packed,
};
enum { DECODERS = sizeof decoders / sizeof decoders[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size)
		decoders[data[0] % DECODERS](slice_make(data + 1, size - 1));
	return 0;
}

/* ---- Seeds ------------------------------------------------------------------------------------ */

static void seed_record(struct buf *out)
{
	struct record r = { .time_ns = 1, .expiry_ns = 2, .attr = WOMBAT_STR("attributes"), .value = WOMBAT_STR("value") };
	MUST(buf_reserve(out, record_encoded_size(&r)) == WOMBAT_OK);
	record_encode(out->data, &r);
	out->size = record_encoded_size(&r);
}

static void seed_batch(struct buf *out)
{
	struct wombat_batch *b = wombat_batch_new();
	MUST(wombat_batch_put(b, 1, WOMBAT_STR("key"), WOMBAT_STR("value"), NULL) == WOMBAT_OK);
	MUST(wombat_batch_delete(b, 2, WOMBAT_STR("other")) == WOMBAT_OK);
	MUST(wombat_batch_delete_range(b, 1, WOMBAT_STR("a"), WOMBAT_STR("b")) == WOMBAT_OK);
	MUST(buf_set(out, buf_slice(&b->body)) == WOMBAT_OK);
	wombat_batch_free(b);
}

static void seed_properties(struct buf *out)
{
	struct table_properties p = { .entries = 5, .deletes = 1, .created_ns = 1234567890123, .block_bytes = 4096 };
	MUST(properties_encode(&p, out) == WOMBAT_OK);
}

static void seed_index(struct buf *out)
{
	struct index_builder b;
	index_builder_init(&b);
	for (unsigned i = 0; i < 20; i++) {
		char key[16];
		int n = snprintf(key, sizeof key, "\1key%03u", i);
		MUST(index_builder_add(&b, slice_make(key, (size_t)n), i % 3 ? 0 : tag_make(i, KIND_PUT),
				       (struct table_handle){ i * 4100u, 4000 }) == WOMBAT_OK);
	}
	MUST(index_builder_finish(&b, out) == WOMBAT_OK);
	index_builder_done(&b);
}

static void seed_footer(struct buf *out)
{
	struct table_footer f = { { 100, 50 }, { 200, 30 }, { 300, 84 }, { 0, 0 }, 0, 0 };
	MUST(buf_reserve(out, TABLE_FOOTER_SIZE) == WOMBAT_OK);
	footer_encode(out->data, &f);
	out->size = TABLE_FOOTER_SIZE;
}

static void seed_filter(struct buf *out)
{
	struct filter_builder b;
	filter_builder_init(&b, 0.01);
	for (uint64_t i = 0; i < 300; i++)
		MUST(filter_builder_add(&b, hash64(&i, sizeof i, 0)) == WOMBAT_OK);
	MUST(filter_builder_finish(&b, out) == WOMBAT_OK);
	filter_builder_done(&b);
}

static void seed_edit(struct buf *out)
{
	struct version_edit e;
	struct table_summary t = { .file_bytes = 1000, .entries = 10, .smallest_sequence = 1, .largest_sequence = 10 };
	version_edit_init(&e);
	e.has_last_sequence = e.has_next_file_number = true;
	e.last_sequence = 10;
	e.next_file_number = 7;
	MUST(buf_set(&t.smallest, WOMBAT_STR("\1a")) == WOMBAT_OK && buf_set(&t.largest, WOMBAT_STR("\1z")) == WOMBAT_OK);
	MUST(version_edit_add(&e, 1, 5, &t) == WOMBAT_OK && version_edit_remove(&e, 0, 3) == WOMBAT_OK);
	MUST(version_edit_encode(&e, out) == WOMBAT_OK);
	version_edit_done(&e);
}

static void seed_backup(struct buf *out)
{
	struct backup_record r = { .info = { .id = 1, .time_ns = 5 }, .manifest_number = 9, .has_config = true };
	struct backup_file f = { .name = "000001.sst", .stored = "000001.sst-100-0badcafe", .bytes = 100, .crc = 7 };
	MUST(buf_set(&r.manifest, WOMBAT_STR("record")) == WOMBAT_OK && buf_set(&r.config, WOMBAT_STR("block_size=4K\n")) == WOMBAT_OK);
	MUST(backup_record_add(&r, &f) == WOMBAT_OK && backup_record_encode(&r, out) == WOMBAT_OK);
	backup_record_done(&r);
}

static void seed_options(struct buf *out)
{
	MUST(buf_set(out, WOMBAT_STR("# comment\nblock_size = 8K\ncompression=zlib\nbloom_false_positive=0.02\n\nuse_mmap=true\n")) ==
	     WOMBAT_OK);
}

static void seed_block(struct buf *out)
{
	struct block_builder b;
	struct buf last = { 0 };
	block_builder_init(&b, 4);
	for (unsigned i = 0; i < 30; i++) {
		char key[16];
		int n = snprintf(key, sizeof key, "\1key%03u", i);
		struct wombat_slice k = slice_make(key, (size_t)n), before = buf_slice(&last);
		size_t common = 0;
		while (common < before.size && common < k.size && before.data[common] == k.data[common])
			common++;
		MUST(block_builder_add(&b, k, common, tag_make(i + 1, KIND_PUT), WOMBAT_STR("value")) == WOMBAT_OK);
		MUST(buf_set(&last, k) == WOMBAT_OK);
	}
	MUST(block_builder_finish(&b) == WOMBAT_OK && buf_set(out, buf_slice(&b.bytes)) == WOMBAT_OK);
	block_builder_done(&b);
	buf_done(&last);
}

static void seed_packed(struct buf *out)
{
	struct compressor *c;
	char text[2000];
	bool worth;
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = "the same again and again "[i % 25];
	MUST(compressor_new(6, &c) == WOMBAT_OK && compress_block(c, slice_make(text, sizeof text), out, &worth) == WOMBAT_OK && worth);
	compressor_free(c);
}

static void (*const seeds[DECODERS])(struct buf *out) = {
	seed_record, seed_batch,  seed_properties, seed_index, seed_footer, seed_filter,
	seed_edit,   seed_backup, seed_options,	   seed_block, seed_packed,
};

uint8_t *fuzz_seed(unsigned n, size_t *out_size)
{
	struct buf bytes = { 0 };
	if (n >= DECODERS)
		return NULL;
	seeds[n](&bytes);
	uint8_t *copy = fuzz_copy((int)n, bytes.data, bytes.size, out_size);
	buf_done(&bytes);
	return copy;
}
