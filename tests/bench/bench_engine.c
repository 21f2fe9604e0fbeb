/*
 * The engine beside its peers: the same workloads, keys, values, cache and buffer budgets and durability for each, one
 * engine after the other within each round, so that a machine whose speed drifts is as unfair to one as to another.
 *
 *     bench_engine [-n KEYS] [-v VALUE_BYTES] [-r ROUNDS] [-e ENGINE,...] [-w WORKLOAD,...] DIR
 *
 * Prints CSV: engine, workload, operations per second of each round's median, minimum, maximum. A plain put reaches the
 * operating system before it returns, as every engine here does by default (LMDB with MDB_NOSYNC); fillsync reaches
 * the disk. Peers are those that were found when this was built: HAVE_LEVELDB, HAVE_ROCKSDB, HAVE_LMDB.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/wombat.h"

#ifdef HAVE_LEVELDB
#include <leveldb/c.h>
#endif
#ifdef HAVE_ROCKSDB
#include <rocksdb/c.h>
#endif
#ifdef HAVE_LMDB
#include <lmdb.h>
#endif

enum { CACHE_BYTES = 512 << 20, BUFFER_BYTES = 64 << 20, BLOOM_BITS = 10, ROUNDS_MAX = 9, KEY_BYTES = 16 };

struct engine {
	const char *name;
	void *(*open)(const char *dir, bool sync);
	void (*close)(void *db);
	void (*put)(void *db, const char *key, const char *value, size_t size);
	bool (*get)(void *db, const char *key, size_t key_size);
	/* Walks `count` records from the key on (NULL: from the first); returns how many there were. */
	size_t (*scan)(void *db, const char *from, size_t count);
};

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_engine: %s: %s\n", what, why ? why : "failed");
	exit(1);
}

/* ---- Wombat -------------------------------------------------------------------------------- */

static void must(enum wombat_status s)
{
	if (s != WOMBAT_OK)
		die("wombat", wombat_last_error());
}

static void *wombat_begin(const char *dir, bool sync)
{
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	must(wombat_options_set(o, "block_cache_size", "512M"));
	must(wombat_options_set(o, "mem_table_size", "64M"));
	must(wombat_options_set(o, "sync_writes", sync ? "true" : "false"));
	must(wombat_open(dir, o, WOMBAT_CREATE, &db));
	wombat_options_free(o);
	return db;
}

static void wombat_end(void *db)
{
	must(wombat_wait_idle(db));
	must(wombat_close(db));
}

static void wombat_put1(void *db, const char *key, const char *value, size_t size)
{
	must(wombat_put(db, WOMBAT_USER, WOMBAT_SLICE(key, KEY_BYTES), WOMBAT_SLICE(value, size)));
}

static bool wombat_get1(void *db, const char *key, size_t key_size)
{
	struct wombat_record r;
	enum wombat_status s = wombat_get(db, NULL, WOMBAT_USER, WOMBAT_SLICE(key, key_size), &r);
	if (s == WOMBAT_NOT_FOUND)
		return false;
	must(s);
	wombat_record_release(&r);
	return true;
}

static size_t wombat_walk(void *db, const char *from, size_t count)
{
	struct wombat_iter *it;
	size_t n = 0;
	must(wombat_iter_new(db, NULL, WOMBAT_USER, &it));
	bool on = from ? wombat_iter_seek(it, WOMBAT_SLICE(from, KEY_BYTES)) : wombat_iter_first(it);
	for (; on && n < count; n++)
		on = wombat_iter_next(it);
	wombat_iter_free(it);
	return n;
}

/* ---- LevelDB ------------------------------------------------------------------------------- */

#ifdef HAVE_LEVELDB
struct level {
	leveldb_t *db;
	leveldb_options_t *options;
	leveldb_cache_t *cache;
	leveldb_filterpolicy_t *filter;
	leveldb_writeoptions_t *write;
	leveldb_readoptions_t *read;
};

static void *level_begin(const char *dir, bool sync)
{
	struct level *l = calloc(1, sizeof *l);
	char *error = NULL;
	l->options = leveldb_options_create();
	l->cache = leveldb_cache_create_lru(CACHE_BYTES);
	l->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
	leveldb_options_set_create_if_missing(l->options, 1);
	leveldb_options_set_cache(l->options, l->cache);
	leveldb_options_set_filter_policy(l->options, l->filter);
	leveldb_options_set_write_buffer_size(l->options, BUFFER_BYTES);
	leveldb_options_set_compression(l->options, leveldb_no_compression);
	l->write = leveldb_writeoptions_create();
	leveldb_writeoptions_set_sync(l->write, sync);
	l->read = leveldb_readoptions_create();
	l->db = leveldb_open(l->options, dir, &error);
	if (error)
		die("leveldb", error);
	return l;
}

static void level_end(void *db)
{
	struct level *l = db;
	leveldb_close(l->db);
	leveldb_options_destroy(l->options);
	leveldb_cache_destroy(l->cache);
	leveldb_filterpolicy_destroy(l->filter);
	leveldb_writeoptions_destroy(l->write);
	leveldb_readoptions_destroy(l->read);
	free(l);
}

static void level_put(void *db, const char *key, const char *value, size_t size)
{
	struct level *l = db;
	char *error = NULL;
	leveldb_put(l->db, l->write, key, KEY_BYTES, value, size, &error);
	if (error)
		die("leveldb", error);
}

static bool level_get(void *db, const char *key, size_t key_size)
{
	struct level *l = db;
	char *error = NULL;
	size_t size;
	char *value = leveldb_get(l->db, l->read, key, key_size, &size, &error);
	if (error)
		die("leveldb", error);
	leveldb_free(value);
	return value != NULL;
}

static size_t level_walk(void *db, const char *from, size_t count)
{
	struct level *l = db;
	leveldb_iterator_t *it = leveldb_create_iterator(l->db, l->read);
	size_t n = 0, size;
	if (from)
		leveldb_iter_seek(it, from, KEY_BYTES);
	else
		leveldb_iter_seek_to_first(it);
	for (; n < count && leveldb_iter_valid(it); leveldb_iter_next(it), n++)
		leveldb_iter_value(it, &size);
	leveldb_iter_destroy(it);
	return n;
}
#endif

/* ---- RocksDB ------------------------------------------------------------------------------- */

#ifdef HAVE_ROCKSDB
struct rocks {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_block_based_table_options_t *table;
	rocksdb_cache_t *cache;
	rocksdb_writeoptions_t *write;
	rocksdb_readoptions_t *read;
};

static void *rocks_begin(const char *dir, bool sync)
{
	struct rocks *r = calloc(1, sizeof *r);
	char *error = NULL;
	r->options = rocksdb_options_create();
	r->table = rocksdb_block_based_options_create();
	r->cache = rocksdb_cache_create_lru(CACHE_BYTES);
	rocksdb_block_based_options_set_block_cache(r->table, r->cache);
	rocksdb_block_based_options_set_filter_policy(r->table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
	rocksdb_options_set_block_based_table_factory(r->options, r->table);
	rocksdb_options_set_create_if_missing(r->options, 1);
	rocksdb_options_set_write_buffer_size(r->options, BUFFER_BYTES);
	rocksdb_options_set_compression(r->options, rocksdb_no_compression);
	r->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(r->write, sync);
	r->read = rocksdb_readoptions_create();
	r->db = rocksdb_open(r->options, dir, &error);
	if (error)
		die("rocksdb", error);
	return r;
}

static void rocks_end(void *db)
{
	struct rocks *r = db;
	rocksdb_close(r->db);
	rocksdb_options_destroy(r->options);
	rocksdb_block_based_options_destroy(r->table);
	rocksdb_cache_destroy(r->cache);
	rocksdb_writeoptions_destroy(r->write);
	rocksdb_readoptions_destroy(r->read);
	free(r);
}

static void rocks_put(void *db, const char *key, const char *value, size_t size)
{
	struct rocks *r = db;
	char *error = NULL;
	rocksdb_put(r->db, r->write, key, KEY_BYTES, value, size, &error);
	if (error)
		die("rocksdb", error);
}

static bool rocks_get(void *db, const char *key, size_t key_size)
{
	struct rocks *r = db;
	char *error = NULL;
	rocksdb_pinnableslice_t *value = rocksdb_get_pinned(r->db, r->read, key, key_size, &error);
	if (error)
		die("rocksdb", error);
	rocksdb_pinnableslice_destroy(value);
	return value != NULL;
}

static size_t rocks_walk(void *db, const char *from, size_t count)
{
	struct rocks *r = db;
	rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, r->read);
	size_t n = 0, size;
	if (from)
		rocksdb_iter_seek(it, from, KEY_BYTES);
	else
		rocksdb_iter_seek_to_first(it);
	for (; n < count && rocksdb_iter_valid(it); rocksdb_iter_next(it), n++)
		rocksdb_iter_value(it, &size);
	rocksdb_iter_destroy(it);
	return n;
}
#endif

/* ---- LMDB ---------------------------------------------------------------------------------- */

#ifdef HAVE_LMDB
struct lm {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *read;
	MDB_cursor *cursor;
};

static void lm_must(int error)
{
	if (error)
		die("lmdb", mdb_strerror(error));
}

static void *lm_begin(const char *dir, bool sync)
{
	struct lm *l = calloc(1, sizeof *l);
	MDB_txn *txn;
	mkdir(dir, 0755);
	lm_must(mdb_env_create(&l->env));
	lm_must(mdb_env_set_mapsize(l->env, (size_t)8 << 30));
	lm_must(mdb_env_open(l->env, dir, sync ? 0 : MDB_NOSYNC, 0644));
	lm_must(mdb_txn_begin(l->env, NULL, 0, &txn));
	lm_must(mdb_dbi_open(txn, NULL, 0, &l->dbi));
	lm_must(mdb_txn_commit(txn));
	return l;
}

static void lm_end(void *db)
{
	struct lm *l = db;
	if (l->cursor)
		mdb_cursor_close(l->cursor);
	if (l->read)
		mdb_txn_abort(l->read);
	mdb_env_sync(l->env, 1);
	mdb_env_close(l->env);
	free(l);
}

static void lm_put(void *db, const char *key, const char *value, size_t size)
{
	struct lm *l = db;
	MDB_txn *txn;
	MDB_val k = { KEY_BYTES, (void *)(uintptr_t)key }, v = { size, (void *)(uintptr_t)value };
	lm_must(mdb_txn_begin(l->env, NULL, 0, &txn));
	lm_must(mdb_put(txn, l->dbi, &k, &v, 0));
	lm_must(mdb_txn_commit(txn));
}

/* A fresh state for each read, as the others give. */
static void lm_renew(struct lm *l)
{
	if (!l->read) {
		lm_must(mdb_txn_begin(l->env, NULL, MDB_RDONLY, &l->read));
		lm_must(mdb_cursor_open(l->read, l->dbi, &l->cursor));
		return;
	}
	mdb_txn_reset(l->read);
	lm_must(mdb_txn_renew(l->read));
	lm_must(mdb_cursor_renew(l->read, l->cursor));
}

static bool lm_get(void *db, const char *key, size_t key_size)
{
	struct lm *l = db;
	MDB_val k = { key_size, (void *)(uintptr_t)key }, v;
	lm_renew(l);
	int error = mdb_get(l->read, l->dbi, &k, &v);
	if (error != MDB_NOTFOUND)
		lm_must(error);
	return error == 0;
}

static size_t lm_walk(void *db, const char *from, size_t count)
{
	struct lm *l = db;
	MDB_val k = { KEY_BYTES, (void *)(uintptr_t)from }, v;
	size_t n = 0;
	lm_renew(l);
	int error = mdb_cursor_get(l->cursor, &k, &v, from ? MDB_SET_RANGE : MDB_FIRST);
	for (; n < count && error == 0; n++)
		error = mdb_cursor_get(l->cursor, &k, &v, MDB_NEXT);
	return n;
}
#endif

static const struct engine engines[] = {
	{ "wombat", wombat_begin, wombat_end, wombat_put1, wombat_get1, wombat_walk },
#ifdef HAVE_LEVELDB
	{ "leveldb", level_begin, level_end, level_put, level_get, level_walk },
#endif
#ifdef HAVE_ROCKSDB
	{ "rocksdb", rocks_begin, rocks_end, rocks_put, rocks_get, rocks_walk },
#endif
#ifdef HAVE_LMDB
	{ "lmdb", lm_begin, lm_end, lm_put, lm_get, lm_walk },
#endif
};
enum { ENGINES = sizeof engines / sizeof engines[0] };

/* ---- Workloads ----------------------------------------------------------------------------- */

static size_t keys = 1000000, value_bytes = 100;
static char *payload;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static void make_key(char out[32], uint64_t i)
{
	snprintf(out, 32, "%016llu", (unsigned long long)i);
}

static const char *value_of(uint64_t i)
{
	return payload + mix(i) % 4096;
}

enum workload { FILLSEQ, FILLRANDOM, OVERWRITE, FILLSYNC, READRANDOM, READMISSING, READSEQ, SEEKRANDOM, WORKLOADS };
static const char *const names[WORKLOADS] = { "fillseq", "fillrandom", "overwrite", "fillsync", "readrandom",
					      "readmissing", "readseq", "seekrandom" };

/* Operations of the workload on an open database; what it did. */
static size_t run(const struct engine *e, void *db, enum workload w, uint64_t seed)
{
	char key[32];
	size_t n = w == FILLSYNC ? keys / 500 : w == SEEKRANDOM ? keys / 5 : keys, found = 0;
	if (w == READSEQ)
		return e->scan(db, NULL, SIZE_MAX);
	for (size_t i = 0; i < n; i++) {
		make_key(key, w == FILLSEQ ? i : mix(i + seed) % keys);
		if (w == READMISSING)
			key[KEY_BYTES] = '.';
		if (w <= FILLSYNC)
			e->put(db, key, value_of(i + seed), value_bytes);
		else if (w == SEEKRANDOM)
			found += e->scan(db, key, 10) > 0;
		else
			found += e->get(db, key, KEY_BYTES + (w == READMISSING));
	}
	if (w == READMISSING && found > 0)
		die(e->name, "found what is not there");
	if (w == READRANDOM && found < n / 2)
		die(e->name, "did not find what is there");
	return n;
}

static void remove_dir(const char *dir)
{
	char command[4200];
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	if (system(command) != 0)
		die(dir, "cannot be removed");
}

/* One round of one engine: filled in order; filled at random, overwritten, then read as it lies. */
static void round_of(const struct engine *e, const char *base, double out[WORKLOADS], const bool *wanted)
{
	char dir[4096];
	snprintf(dir, sizeof dir, "%s/%s", base, e->name);
	for (int w = 0; w < WORKLOADS; w++)
		out[w] = 0;
	void *db = NULL;
	for (int w = 0; w < WORKLOADS; w++) {
		bool fresh = w == FILLSEQ || w == FILLRANDOM || w == FILLSYNC;
		/* Reads are of what fillrandom and overwrite left, settled and opened anew. */
		if (w == FILLSYNC || !wanted[w])
			continue;
		if (fresh) {
			if (db)
				e->close(db);
			remove_dir(dir);
			db = e->open(dir, false);
		} else if (w == READRANDOM && db) {
			e->close(db);
			db = e->open(dir, false);
		}
		if (!db)
			die(e->name, "a read workload needs fillrandom before it");
		if (w == READRANDOM)
			run(e, db, READSEQ, 0); /* warm */
		double t = now();
		size_t n = run(e, db, (enum workload)w, (uint64_t)w * 7919);
		out[w] = (double)n / (now() - t);
	}
	if (db)
		e->close(db);
	if (wanted[FILLSYNC]) {
		remove_dir(dir);
		db = e->open(dir, true);
		double t = now();
		size_t n = run(e, db, FILLSYNC, 1);
		out[FILLSYNC] = (double)n / (now() - t);
		e->close(db);
	}
	remove_dir(dir);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = list; p && (p = strstr(p, name)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == 0 || p[n] == ','))
			return true;
	return !list;
}

int main(int argc, char **argv)
{
	static double rate[ENGINES][WORKLOADS][ROUNDS_MAX];
	const char *only_engines = NULL, *only_workloads = NULL;
	int rounds = 3;
	for (int c; (c = getopt(argc, argv, "n:v:r:e:w:")) != -1;) {
		switch (c) {
		case 'n': keys = strtoull(optarg, NULL, 10); break;
		case 'v': value_bytes = strtoull(optarg, NULL, 10); break;
		case 'r': rounds = atoi(optarg); break;
		case 'e': only_engines = optarg; break;
		case 'w': only_workloads = optarg; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || rounds < 1 || rounds > ROUNDS_MAX || keys < 1000) {
		fputs("usage: bench_engine [-n KEYS] [-v BYTES] [-r ROUNDS] [-e ENGINES] [-w WORKLOADS] DIR\n", stderr);
		return 2;
	}
	payload = malloc(value_bytes + 4096);
	for (size_t i = 0; i < value_bytes + 4096; i++)
		payload[i] = (char)(' ' + mix(i) % 95);
	bool wanted[WORKLOADS];
	for (int w = 0; w < WORKLOADS; w++)
		wanted[w] = listed(only_workloads, names[w]);
	for (int r = 0; r < rounds; r++)
		for (int e = 0; e < ENGINES; e++) {
			double out[WORKLOADS];
			if (!listed(only_engines, engines[e].name))
				continue;
			round_of(&engines[e], argv[optind], out, wanted);
			for (int w = 0; w < WORKLOADS; w++)
				rate[e][w][r] = out[w];
		}
	printf("engine,workload,keys,value_bytes,rounds,median_per_s,min_per_s,max_per_s\n");
	for (int w = 0; w < WORKLOADS; w++)
		for (int e = 0; e < ENGINES; e++) {
			if (!wanted[w] || !listed(only_engines, engines[e].name))
				continue;
			qsort(rate[e][w], (size_t)rounds, sizeof(double), compare);
			printf("%s,%s,%zu,%zu,%d,%.0f,%.0f,%.0f\n", engines[e].name, names[w], keys, value_bytes, rounds,
			       rate[e][w][rounds / 2], rate[e][w][0], rate[e][w][rounds - 1]);
		}
	free(payload);
	return 0;
}
