/*
 * `wombat check`: reads a whole database that nobody has open for writing and says what it found; and the same for the
 * state of one that is open (wombat_verify).
 *
 * In this order: lock, configuration, manifest, then (when the manifest can be read) every table it names - all
 * checksums, order within and between blocks, counts, the values that it points to - and that the tables of a level do
 * not overlap; then the write-ahead log, by a replay that changes nothing. One finding does not keep it from looking on.
 * If there was none, the database is opened for reading and its values in extents are looked at.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/db/db.h"
#include "engine/db/db_journal.h"
#include "engine/db/extents_check.h"

enum { VALUES_READ_AHEAD = 256 << 10, TABLES_OPEN = 64 };

struct checker {
	struct env *env;
	const char *dir;
	void (*report)(void *arg, bool is_damage, const char *sentence);
	void *arg;
	uint64_t damage, tables, entries, value_count, wal_changes;
	struct table_cache *cache;
	struct vlog *values;
	atomic_bool verify;        /* not asked: each read says so itself */
	struct wal_replay replay;
	struct db_journal journal;
	struct mutex state_mu;
};

static void say(struct checker *c, bool is_damage, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct checker *c, bool is_damage, const char *format, ...)
{
	char sentence[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	c->damage += is_damage;
	c->report(c->arg, is_damage, sentence);
}

static void on_manifest(void *arg, bool is_damage, const char *sentence)
{
	say(arg, is_damage, "%s", sentence);
}

static void on_table(void *arg, const char *sentence)
{
	say(arg, true, "%s", sentence);
}

/* Reads every value that the table points to. Its entries were checked before. */
static void check_values(struct checker *c, const struct file_meta *file)
{
	struct iter *it;
	const struct table_name name = { .number = file->number };
	if (table_cache_iter_new(c->cache, &name, TABLE_READ_SEQUENTIAL, VALUES_READ_AHEAD, &it) != WOMBAT_OK) {
		say(c, true, "%s", wombat_last_error());
		return;
	}
	for (iter_first(it); it->valid; iter_next(it)) {
		struct record r;
		struct lru_pin pin = { 0 };
		struct wombat_slice value;
		if (tag_kind(it->tag) != KIND_PUT || record_decode(it->value, &r) != WOMBAT_OK || !r.elsewhere)
			continue;
		if (vlog_read(c->values, &r.pointer, VLOG_READ_VERIFY | VLOG_READ_NO_FILL, &pin, &value) != WOMBAT_OK)
			say(c, true, "table %06" PRIu64 " points to a value that is not whole: %s", file->number,
			    wombat_last_error());
		lru_pin_release(&pin);
		c->value_count++;
	}
	if (it->status != WOMBAT_OK)
		say(c, true, "%s", wombat_last_error());
	iter_free(it);
}

static void check_table(struct checker *c, const struct file_meta *file)
{
	struct table *table;
	struct lru_handle *handle;
	uint64_t before = c->damage;
	if (table_cache_acquire(c->cache, &(struct table_name){ .number = file->number }, &table, &handle) != WOMBAT_OK) {
		say(c, true, "%s", wombat_last_error());
		return;
	}
	if (table_check(table, on_table, c) != WOMBAT_OK && c->damage == before)
		say(c, true, "%s", wombat_last_error());
	table_cache_release(c->cache, handle);
	if (file->summary.values.count)
		check_values(c, file);
	c->tables++;
	c->entries += file->summary.entries;
}

/* Tables of a deeper level follow each other: no key in two of them. */
static void check_level_order(struct checker *c, const struct version *v, unsigned level)
{
	const struct file_list *list = &v->levels[level];
	for (size_t i = 1; i < list->count; i++) {
		const struct file_meta *a = list->files[i - 1], *b = list->files[i];
		int order = slice_compare(buf_slice(&a->summary.largest), buf_slice(&b->summary.smallest));
		if (order > 0 || (order == 0 && !a->summary.largest_excluded))
			say(c, true, "level %u: tables %06" PRIu64 " and %06" PRIu64 " overlap", level, a->number, b->number);
	}
}

/* ---- Values in extents --------------------------------------------------------------------- */

static enum wombat_status on_extents_fault(void *arg, const struct extents_fault *f)
{
	char text[KEY_TEXT];
	say(arg, true, "keyspace %u key \"%s\": %s", f->keyspace, key_text(f->key, text), f->what);
	return WOMBAT_OK;
}

/* Of the newest state of an open database. */
static enum wombat_status check_extents(struct checker *c, struct wombat *db)
{
	uint64_t stray = 0;
	struct wombat_snapshot *snapshot = wombat_snapshot_new(db);
	if (!snapshot)
		return WOMBAT_NO_MEMORY;
	enum wombat_status s = extents_check(db, snapshot, on_extents_fault, c);
	if (s == WOMBAT_OK)
		s = extents_count_stray(db, snapshot, &stray);
	if (s == WOMBAT_OK && stray)
		say(c, false, "%" PRIu64 " values in extents are no key's and only take space", stray);
	wombat_snapshot_release(db, snapshot);
	return s;
}

/* The lock is held for reading, which others may do beside it. */
static enum wombat_status check_extents_of_closed(struct checker *c)
{
	struct wombat *db;
	enum wombat_status s = db_open_env(c->env, c->dir, NULL, WOMBAT_OPEN_READ_ONLY, &db);
	if (s != WOMBAT_OK)
		return s;
	s = check_extents(c, db);
	enum wombat_status closed = wombat_close(db);
	return s == WOMBAT_OK ? closed : s;
}

/* ---- A database that nobody writes --------------------------------------------------------- */

static enum wombat_status count_changes(void *arg, uint64_t sequence, uint64_t time_ns, uint32_t count,
					struct wombat_slice body, uint32_t epoch)
{
	struct checker *c = arg;
	struct cursor cursor = cursor_of(body);
	uint32_t seen = 0;
	(void)time_ns;
	(void)epoch;
	while (cursor_left(&cursor) > 0) {
		struct batch_change change;
		enum wombat_status s = write_batch_next(&cursor, &change);
		if (s != WOMBAT_OK)
			return s;
		seen++;
	}
	if (seen != count)
		return fail(WOMBAT_CORRUPTION, "%s: the write-ahead log's record of sequence %" PRIu64 " holds %u changes, "
			    "not %u", c->dir, sequence, seen, count);
	c->wal_changes += seen;
	/* As recovery does: what nobody vouches for may be cut off. */
	enum wombat_status s = db_values_verify(c->values, body);
	if (s == WOMBAT_NOT_FOUND && sequence + count - 1 <= c->replay.durable_sequence)
		return fail(WOMBAT_CORRUPTION, "the write-ahead log's change %" PRIu64 " points to a value that is not whole",
			    sequence);
	return s == WOMBAT_OK ? db_journal_pass(&c->journal, body) : s;
}

static enum wombat_status check_journal(void *arg, uint64_t *last)
{
	return db_journal_replay(&((struct checker *)arg)->journal, last);
}

static void check_wal(struct checker *c, const struct version_set *set)
{
	const struct wal_replay_to to = { count_changes, check_journal, c };
	c->journal = (struct db_journal){
		.values = c->values, .from = version_set_journal(set), .apply = count_changes, .arg = c,
	};
	enum wombat_status s = wal_replay_all(c->env, c->dir, version_set_flushed_sequence(set), &to, &c->replay, NULL);
	if (s != WOMBAT_OK)
		say(c, true, "%s", wombat_last_error());
	else if (c->replay.torn)
		say(c, false, "the write-ahead log ends in an incomplete record, in segment %06" PRIu64 " at offset %" PRIu64
		    ": it was never acknowledged as durable", c->replay.torn_file, c->replay.torn_offset);
}

static void check_levels(struct checker *c, const struct version *v)
{
	for (unsigned level = 0; level < v->level_count; level++) {
		for (size_t i = 0; i < v->levels[level].count; i++)
			check_table(c, v->levels[level].files[i]);
		if (level > 0)
			check_level_order(c, v, level);
	}
}

static enum wombat_status check_files(struct checker *c, const struct options *o)
{
	struct version_set *set = NULL;
	struct version_set_options options = {
		.env = c->env, .dir = c->dir, .tables = c->cache, .state = &c->state_mu, .shape = db_shape(o),
		.read_only = true,
	};
	enum wombat_status s = version_set_open(&options, false, &set);
	if (s != WOMBAT_OK) {
		if (c->damage == 0)
			say(c, true, "%s", wombat_last_error());
		return WOMBAT_OK;
	}
	struct version *v = version_set_current(set);
	check_levels(c, v);
	version_unref(v);
	check_wal(c, set);
	version_set_free(set);
	return WOMBAT_OK;
}

static enum wombat_status check_locked(struct checker *c)
{
	char path[FILENAME_PATH_MAX];
	struct buf text = { 0 };
	struct wombat_options config = { .explicit_mask = 0 };
	options_defaults(&config.values);
	if (!filename_path(path, c->dir, FILE_CONFIG, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", c->dir);
	enum wombat_status s = env_read_file(c->env, path, 1 << 20, &text);
	if (s == WOMBAT_OK && text.size &&
	    options_parse_text(&config, path, (const char *)text.data, text.size) != WOMBAT_OK)
		say(c, true, "%s", wombat_last_error());
	buf_done(&text);
	if (s != WOMBAT_OK && s != WOMBAT_NOT_FOUND)
		return s;
	struct table_options tables = { 0 };
	struct value_dir value_dir;
	s = value_dir_find(c->env, c->dir, &value_dir);
	if (s != WOMBAT_OK)
		return s;
	struct vlog_options values = { .env = c->env, .dir = value_dir.path, .verify = &c->verify };
	s = table_cache_new(c->env, c->dir, TABLES_OPEN, UINT64_MAX, &tables, &c->cache);
	if (s == WOMBAT_OK)
		s = vlog_open(&values, &c->values);
	if (s == WOMBAT_OK)
		s = manifest_check(c->env, c->dir, on_manifest, c);
	if (s == WOMBAT_OK || s == WOMBAT_CORRUPTION)
		s = check_files(c, &config.values);
	if (s == WOMBAT_OK)
		say(c, false, "%" PRIu64 " tables with %" PRIu64 " entries, %" PRIu64 " values in the value log and %" PRIu64
		    " changes in the write-ahead log read", c->tables, c->entries, c->value_count, c->wal_changes);
	vlog_free(c->values);
	table_cache_free(c->cache);
	return s;
}

static enum wombat_status verdict(const struct checker *c)
{
	return c->damage ? fail(WOMBAT_CORRUPTION, "%s is damaged: %" PRIu64 " findings", c->dir, c->damage) : WOMBAT_OK;
}

enum wombat_status db_check_env(struct env *env, const char *dir,
				void (*report)(void *arg, bool is_damage, const char *sentence), void *arg)
{
	struct checker c = { .env = env, .dir = dir, .report = report, .arg = arg };
	char path[FILENAME_PATH_MAX];
	uint64_t size;
	struct env_lock *lock = NULL;
	if (!filename_path(path, dir, FILE_CURRENT, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", dir);
	enum wombat_status s = env->calls->file_size(env, path, &size);
	if (s == WOMBAT_NOT_FOUND)
		return fail(WOMBAT_NOT_FOUND, "there is no database in %s", dir);
	if (s != WOMBAT_OK || !filename_path(path, dir, FILE_LOCK, 0))
		return s;
	s = env->calls->lock_shared(env, path, "wombat check\n\n", &lock);
	if (s == WOMBAT_BUSY) {
		char who[FILENAME_PATH_MAX + 128] = "another process";
		db_lock_holder(env, dir, who, sizeof who, NULL, 0);
		return fail(WOMBAT_BUSY, "%s is in use by %s; `wombat check` needs it closed", dir, who);
	}
	if (s != WOMBAT_OK)
		return s;
	mutex_init(&c.state_mu, LOCK_RANK_STATE);
	s = check_locked(&c);
	mutex_done(&c.state_mu);
	if (s == WOMBAT_OK && c.damage == 0)
		s = check_extents_of_closed(&c);
	env->calls->unlock(lock);
	return s == WOMBAT_OK ? verdict(&c) : s;
}

enum wombat_status wombat_check(const char *dir, void (*report)(void *arg, bool is_damage, const char *sentence), void *arg)
{
	return db_check_env(env_posix(), dir, report, arg);
}

enum wombat_status wombat_verify(struct wombat *db, void (*report)(void *arg, bool is_damage, const char *sentence), void *arg)
{
	/* Tables of its own: what the caches have was verified when it was read, and is not what is on the disk. */
	struct table_options tables = { 0 };
	struct checker c = { .env = db->env, .dir = db->dir, .report = report, .arg = arg, .values = db->values };
	enum wombat_status s = db->read_only ? WOMBAT_OK : wombat_flush(db);
	if (s == WOMBAT_OK)
		s = table_cache_new(c.env, c.dir, TABLES_OPEN, UINT64_MAX, &tables, &c.cache);
	if (s != WOMBAT_OK)
		return s;
	struct read_view *view = db_view_acquire(db);
	check_levels(&c, view->version);
	db_view_release(view);
	table_cache_free(c.cache);
	if (c.damage == 0)
		s = check_extents(&c, db);
	if (s != WOMBAT_OK)
		return s;
	say(&c, false, "%" PRIu64 " tables with %" PRIu64 " entries and %" PRIu64 " values in the value log read", c.tables,
	    c.entries, c.value_count);
	return verdict(&c);
}
