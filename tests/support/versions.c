/* Version sets for tests: see versions.h. */
#include "tests/support/versions.h"

#include <stdio.h>

#include "engine/base/readers.h"
#include "engine/base/record.h"
#include "engine/env/filename.h"

void versions_init(struct versions *w, struct env *env)
{
	*w = (struct versions){
		.env = env,
		.shape = { .max_levels = 5, .num_level_zero_tables = 4, .base_level_bytes = 1000, .level_size_multiplier = 10,
			   .runs_max = 6 },
		.manifest_bytes = 1 << 20,
		.table = { .block_bytes = 512, .restart_interval = 4, .bloom_false_positive = 0.01,
			   .write_buffer_bytes = 4096 },
	};
	assert_ok(lru_new(1 << 20, 1, &w->blocks));
	assert_ok(lru_new(1 << 20, 1, &w->filters));
	lru_allow_peeks(w->filters);
	struct table_options tables = { .block_cache = w->blocks, .filter_cache = w->filters };
	mutex_init(&w->state, LOCK_RANK_STATE);
	assert_ok(env->calls->dir_create(env, VERSIONS_DIR));
	assert_ok(table_cache_new(env, VERSIONS_DIR, 100, UINT64_MAX, &tables, &w->tables));
}

enum wombat_status versions_open(struct versions *w, bool create, bool read_only)
{
	struct version_set_options options = {
		.env = w->env, .dir = VERSIONS_DIR, .tables = w->tables, .state = &w->state, .shape = w->shape,
		.manifest_bytes = w->manifest_bytes, .read_only = read_only,
	};
	return version_set_open(&options, create, &w->set);
}

void versions_close(struct versions *w)
{
	version_set_free(w->set);
	w->set = NULL;
}

void versions_done(struct versions *w)
{
	versions_close(w);
	table_cache_free(w->tables);
	lru_free(w->blocks);
	lru_free(w->filters);
	mutex_done(&w->state);
}

enum wombat_status versions_apply(struct versions *w, struct version_edit *edit)
{
	mutex_lock(&w->state);
	enum wombat_status s = version_set_apply(w->set, edit);
	mutex_unlock(&w->state);
	return s;
}

struct version *versions_current(struct versions *w)
{
	return version_set_current(w->set);
}

static void set_key(struct buf *b, const char *text, size_t size)
{
	assert_ok(buf_append_byte(b, 1));
	assert_ok(buf_append(b, text, size));
}

void fake_add(struct version_edit *e, const struct fake_table *t)
{
	size_t size = strlen(t->largest);
	bool excluded = size && t->largest[size - 1] == '!';
	struct table_summary summary = {
		.file_bytes = t->bytes ? t->bytes : 100, .entries = t->entries ? t->entries : 10, .deletes = t->deletes,
		.range_deletes = t->range_deletes, .min_expiry_ns = t->min_expiry_ns, .largest_excluded = excluded,
		.smallest_sequence = t->sequence ? t->sequence : t->number,
		.largest_sequence = t->sequence ? t->sequence : t->number,
	};
	set_key(&summary.smallest, t->smallest, strlen(t->smallest));
	set_key(&summary.largest, t->largest, size - excluded);
	assert_ok(version_edit_add(e, t->level, t->number, &summary));
}

void fake_file(struct env *env, uint64_t number, uint64_t bytes)
{
	char path[FILENAME_PATH_MAX];
	static const uint8_t zeros[4096];
	struct env_writer *writer;
	assert_true(filename_path(path, VERSIONS_DIR, FILE_TABLE, number));
	assert_ok(env->calls->writer_open(env, path, 4096, 0, &writer));
	assert_true(bytes <= sizeof zeros);
	assert_ok(env->calls->writer_write(writer, zeros, bytes));
	assert_ok(env->calls->writer_sync(writer));
	assert_ok(env->calls->writer_close(writer));
	assert_ok(env->calls->dir_sync(env, VERSIONS_DIR));
}

bool versions_add_table(struct versions *w, struct version_edit *e, unsigned level, const struct history *h, size_t first,
			size_t count, struct wombat_slice from, struct wombat_slice to)
{
	char path[FILENAME_PATH_MAX];
	struct table_summary summary = { 0 };
	uint64_t number = version_set_new_file_number(w->set);
	assert_true(filename_path(path, VERSIONS_DIR, FILE_TABLE, number));
	if (!history_table(h, first, count, from, to, w->env, path, &w->table, &summary))
		return false;
	assert_ok(version_edit_add(e, level, number, &summary));
	return true;
}

void versions_fill(struct versions *w, const struct history *h, unsigned parts)
{
	struct version_edit e;
	struct wombat_slice none = { NULL, 0 };
	size_t third = h->count / 3, ninth = h->count / 9;
	version_edit_init(&e);
	for (unsigned level = 2; level > 0; level--)
		for (unsigned i = 0; i < parts; i++) {
			uint8_t from[HISTORY_KEY_MAX], to[HISTORY_KEY_MAX];
			size_t from_size = history_key(h->keys * i / parts, from), to_size = history_key(h->keys * (i + 1) / parts, to);
			versions_add_table(w, &e, level, h, (2 - level) * third, third,
					   i ? slice_make(from, from_size) : none,
					   i + 1 < parts ? slice_make(to, to_size) : none);
		}
	for (size_t i = 0; i < 3; i++)
		versions_add_table(w, &e, 0, h, 2 * third + i * ninth, i < 2 ? ninth : h->count - 2 * third - 2 * ninth, none, none);
	e.has_last_sequence = e.has_flushed_sequence = true;
	e.last_sequence = e.flushed_sequence = h->count;
	assert_ok(w->env->calls->dir_sync(w->env, VERSIONS_DIR));
	assert_ok(versions_apply(w, &e));
	version_edit_done(&e);
}

struct compaction_context versions_context(struct versions *w, const uint64_t *snapshots, size_t count, uint64_t now_ns)
{
	return (struct compaction_context){
		.env = w->env, .dir = VERSIONS_DIR, .tables = w->tables, .versions = w->set, .table = w->table,
		.max_table_size = 4096, .snapshots = snapshots, .snapshot_count = count, .now_ns = now_ns,
	};
}

/* Whether `status` and what goes with it is what version_get_warm says, unless it says nothing. */
static void check_warm(struct versions *w, struct version *v, struct wombat_slice key, uint64_t snapshot,
		       enum wombat_status status, uint64_t tag, struct wombat_slice value)
{
	struct table_warm_counts counts = { 0 };
	struct lru_pin pin = { NULL, NULL };
	struct wombat_slice warm_value;
	uint64_t warm_tag;
	assert_true(readers_enter());
	enum wombat_status s = version_get_warm(v, key, snapshot, &counts, &warm_tag, &warm_value, &pin);
	readers_leave();
	if (s == WOMBAT_WOULD_BLOCK)
		return;
	w->warm_answers++;
	assert_int_equal(s, status);
	if (s == WOMBAT_OK)
		assert_true(warm_tag == tag && slice_equal(warm_value, value) && pin.handle && counts.blocks > 0);
	lru_pin_release(&pin);
}

uint64_t versions_find(struct versions *w, struct version *v, struct wombat_slice key, uint64_t snapshot, uint64_t now_ns)
{
	uint64_t cover = 0, tag = 0;
	struct wombat_slice value;
	struct lru_pin pin = { NULL, NULL };
	struct version_get_counts counts = { 0 };
	struct record record = { 0 };
	enum wombat_status s = version_get(v, w->tables, key, snapshot, 0, &cover, &tag, &value, &pin, &counts);
	if (!cover || s == WOMBAT_OK) /* else there may be an entry further down */
		check_warm(w, v, key, snapshot, s, tag, value);
	if (s == WOMBAT_NOT_FOUND)
		return 0;
	assert_ok(s);
	uint64_t sequence = tag_sequence(tag);
	assert_true(sequence <= snapshot);
	if (tag_kind(tag) == KIND_PUT)
		assert_ok(record_decode(value, &record));
	bool there = tag_kind(tag) == KIND_PUT && sequence > cover && !record_expired(record.expiry_ns, now_ns);
	if (there) /* the value is the one written with that number */
		assert_true(record.time_ns == sequence);
	lru_pin_release(&pin);
	return there ? sequence : 0;
}

void versions_compare(struct versions *w, const struct history *h, const uint64_t *snapshots, size_t count, uint64_t now_ns)
{
	struct version *v = versions_current(w);
	for (size_t i = 0; i < count; i++)
		for (unsigned n = 0; n < h->keys; n++) {
			uint8_t key[HISTORY_KEY_MAX];
			size_t size = history_key(n, key);
			uint64_t want = history_find(h, slice_make(key, size), snapshots[i], now_ns);
			uint64_t got = versions_find(w, v, slice_make(key, size), snapshots[i], now_ns);
			if (want != got)
				fail_msg("key %u at snapshot %llu: found %llu, not %llu", n, (unsigned long long)snapshots[i],
					 (unsigned long long)got, (unsigned long long)want);
		}
	version_unref(v);
}

static void count_table(void *arg, const char *name)
{
	uint64_t number;
	*(size_t *)arg += filename_parse(name, &number) == FILE_TABLE;
}

size_t versions_table_files(struct versions *w)
{
	size_t count = 0;
	assert_ok(w->env->calls->dir_list(w->env, VERSIONS_DIR, count_table, &count));
	return count;
}

size_t versions_warm_answers(const struct versions *w)
{
	return w->warm_answers;
}
