/*
 * A database one of whose files is any bytes: opened, read, written, checked. The first byte says which file: the newest
 * segment of the write-ahead log, the manifest, CURRENT, or a file of the value log.
 */
#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"
#include "tests/fuzz/fuzz.h"

#define DIR "/db"

enum { KINDS = 4 };
static const enum file_kind kinds[KINDS] = { FILE_WAL, FILE_MANIFEST, FILE_CURRENT, FILE_VALUES };

struct found {
	enum file_kind kind;
	char path[64];
	uint64_t number;
	bool there;
};

static void note(void *arg, const char *name)
{
	struct found *f = arg;
	uint64_t number;
	if (filename_parse(name, &number) == f->kind && (!f->there || number < f->number)) {
		snprintf(f->path, sizeof f->path, DIR "/%s", name);
		f->number = number;
		f->there = true;
	}
}

static struct found find(struct env *env, enum file_kind kind)
{
	struct found f = { .kind = kind };
	MUST(env->calls->dir_list(env, DIR, note, &f) == WOMBAT_OK);
	return f;
}

static struct wombat_options *options(void)
{
	struct wombat_options *o = wombat_options_new();
	MUST(o && wombat_options_set(o, "wal_file_size", "64K") == WOMBAT_OK && wombat_options_set(o, "value_threshold", "500") == WOMBAT_OK &&
	     wombat_options_set(o, "mem_table_size", "64K") == WOMBAT_OK && wombat_options_set(o, "log_level", "off") == WOMBAT_OK);
	return o;
}

/* Tables, a log with changes that are in none, values in the value log. */
static struct env *make(void)
{
	struct env *env;
	struct wombat *db;
	struct wombat_options *o = options();
	char large[800];
	memset(large, 'l', sizeof large);
	MUST(env_mem_new(&env) == WOMBAT_OK && db_open_env(env, DIR, o, WOMBAT_CREATE, &db) == WOMBAT_OK);
	for (unsigned i = 0; i < 20; i++) {
		char key[8];
		snprintf(key, sizeof key, "k%02u", i);
		MUST(wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(large, i % 4 ? 30 : sizeof large)) == WOMBAT_OK);
		if (i == 9)
			MUST(wombat_flush(db) == WOMBAT_OK);
	}
	MUST(wombat_sync(db) == WOMBAT_OK);
	struct env *clone; /* as a kill would leave it */
	MUST(env_mem_clone(env, ENV_MEM_ALL, 1, &clone) == WOMBAT_OK && wombat_close(db) == WOMBAT_OK);
	env->calls->free(env);
	wombat_options_free(o);
	return clone;
}

static void no_finding(void *arg, bool is_damage, const char *sentence)
{
	(void)arg;
	(void)is_damage;
	MUST(sentence[0]);
}

static void use(struct wombat *db)
{
	struct wombat_iter *it;
	MUST(wombat_iter_new(db, NULL, WOMBAT_USER, &it) == WOMBAT_OK);
	for (bool there = wombat_iter_first(it); there; there = wombat_iter_next(it))
		MUST(wombat_iter_record(it)->key.size < 1 << 20);
	wombat_iter_free(it);
	enum wombat_status s = wombat_put(db, WOMBAT_USER, WOMBAT_STR("new"), WOMBAT_STR("value"));
	if (s == WOMBAT_OK) {
		struct wombat_record r;
		MUST(wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR("new"), &r) == WOMBAT_OK);
		wombat_record_release(&r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct env *whole;
	struct env *env;
	struct wombat *db;
	struct env_writer *w;
	if (size < 1)
		return 0;
	if (!whole)
		whole = make();
	MUST(env_mem_clone(whole, ENV_MEM_ALL, 1, &env) == WOMBAT_OK);
	struct found f = find(env, kinds[data[0] % KINDS]);
	MUST(f.there && env->calls->remove(env, f.path) == WOMBAT_OK);
	MUST(env->calls->writer_open(env, f.path, 0, 0, &w) == WOMBAT_OK && env->calls->writer_write(w, data + 1, size - 1) == WOMBAT_OK &&
	     env->calls->writer_close(w) == WOMBAT_OK);
	enum wombat_status s = db_check_env(env, DIR, no_finding, NULL);
	(void)s; /* whatever it finds, in sentences */
	struct wombat_options *o = options();
	if (db_open_env(env, DIR, o, WOMBAT_OPEN_READ_ONLY, &db) == WOMBAT_OK) {
		use(db);
		s = wombat_close(db);
	}
	if (db_open_env(env, DIR, o, 0, &db) == WOMBAT_OK) {
		use(db);
		s = wombat_close(db);
		/* What it opened once, and wrote to, it opens again. */
		if (s == WOMBAT_OK) {
			MUST(db_open_env(env, DIR, o, 0, &db) == WOMBAT_OK);
			s = wombat_close(db);
		}
	}
	wombat_options_free(o);
	env->calls->free(env);
	return 0;
}

uint8_t *fuzz_seed(unsigned n, size_t *out_size)
{
	if (n >= KINDS)
		return NULL;
	struct env *env = make();
	struct found f = find(env, kinds[n]);
	size_t size;
	MUST(f.there);
	const uint8_t *bytes = env_mem_bytes(env, f.path, &size);
	while (kinds[n] == FILE_WAL && size && !bytes[size - 1])
		size--; /* not the zeroes that a segment is filled with */
	uint8_t *copy = fuzz_copy((int)n, bytes, size, out_size);
	env->calls->free(env);
	return copy;
}
