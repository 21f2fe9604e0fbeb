/*
 * One kind of operation, many times, on a database that was made for it: costs.sh counts what it costs from outside, and
 * what only the process knows is printed here.
 *
 *     costs DIRECTORY OPERATION COUNT        0: only the database is made
 *
 * Prints: allocations of the calling threads, bytes written and bytes put by the database's own count, syncs of the log.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/random.h"
#include "engine/wombat.h"

enum { KEYS = 100000, VALUE = 100, LARGE = 100000, THREADS = 8 };

static _Thread_local bool counting;
static _Thread_local uint64_t allocations;

static _Bool count_allocation(size_t size)
{
	(void)size;
	allocations += counting;
	return true;
}

static void must(enum wombat_status s, const char *what)
{
	if (s == WOMBAT_OK)
		return;
	fprintf(stderr, "costs: %s: %s\n", what, wombat_last_error());
	exit(1);
}

static uint8_t value[LARGE];

static struct wombat_slice key_of(uint64_t n, char out[24])
{
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 24, "%016llu", (unsigned long long)n));
}

/* ---- Operations ---------------------------------------------------------------------------- */

static void put_size(struct wombat *db, struct random_state *r, size_t size)
{
	char key[24];
	must(wombat_put(db, WOMBAT_USER, key_of(random_below(r, KEYS), key), WOMBAT_SLICE(value, size)), "put");
}

static void op_put(struct wombat *db, struct random_state *r) { put_size(db, r, VALUE); }
static void op_put_large(struct wombat *db, struct random_state *r) { put_size(db, r, LARGE); }

static void op_put_in_order(struct wombat *db, struct random_state *r)
{
	static uint64_t next = KEYS;
	char key[24];
	(void)r;
	must(wombat_put(db, WOMBAT_USER, key_of(next++, key), WOMBAT_SLICE(value, VALUE)), "put");
}

static void put_durable(struct wombat *db, struct random_state *r, size_t size)
{
	char key[24];
	struct wombat_batch *b = wombat_batch_new();
	must(b ? wombat_batch_put(b, WOMBAT_USER, key_of(random_below(r, KEYS), key), WOMBAT_SLICE(value, size), NULL) :
		 WOMBAT_NO_MEMORY, "batch");
	must(wombat_write(db, b, WOMBAT_SYNC, NULL), "write");
	wombat_batch_free(b);
}

static void op_put_durable(struct wombat *db, struct random_state *r) { put_durable(db, r, VALUE); }
static void op_put_large_durable(struct wombat *db, struct random_state *r) { put_durable(db, r, LARGE); }

static void get(struct wombat *db, uint64_t n, enum wombat_status want)
{
	char key[24];
	struct wombat_record record;
	enum wombat_status s = wombat_get(db, NULL, WOMBAT_USER, key_of(n, key), &record);
	if (s != want)
		must(WOMBAT_CORRUPTION, "get");
	if (s == WOMBAT_OK)
		wombat_record_release(&record);
}

static void op_get(struct wombat *db, struct random_state *r) { get(db, random_below(r, KEYS), WOMBAT_OK); }
static void op_get_missing(struct wombat *db, struct random_state *r)
{
	char key[24];
	struct wombat_record record;
	struct wombat_slice k = key_of(random_below(r, KEYS), key);
	key[k.size++] = 'x'; /* between two that are there */
	if (wombat_get(db, NULL, WOMBAT_USER, k, &record) != WOMBAT_NOT_FOUND)
		must(WOMBAT_CORRUPTION, "get");
}

/* To a random key and ten on. */
static void op_seek(struct wombat *db, struct random_state *r)
{
	char key[24];
	struct wombat_iter *it;
	must(wombat_iter_new(db, NULL, WOMBAT_USER, &it), "iterator");
	wombat_iter_seek(it, key_of(random_below(r, KEYS), key));
	for (int i = 0; i < 10 && wombat_iter_valid(it); i++)
		wombat_iter_next(it);
	must(wombat_iter_status(it), "scan");
	wombat_iter_free(it);
}

static const struct operation {
	const char *name;
	void (*run)(struct wombat *db, struct random_state *r);
	unsigned threads;
} operations[] = {
	{ "put", op_put, 1 },
	{ "put_in_order", op_put_in_order, 1 },
	{ "put_durable", op_put_durable, 1 },
	{ "put_durable_8_threads", op_put_durable, THREADS },
	{ "put_large", op_put_large, 1 },
	{ "put_large_durable", op_put_large_durable, 1 },
	{ "get", op_get, 1 },
	{ "get_missing", op_get_missing, 1 },
	{ "seek_and_10_next", op_seek, 1 },
};

/* ---- The run ------------------------------------------------------------------------------- */

struct worker {
	const struct operation *op;
	struct wombat *db;
	uint64_t count, seed, allocations;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct random_state r;
	random_seed(&r, w->seed);
	if (w->count) /* What a thread needs once is not an operation's. */
		w->op->run(w->db, &r);
	allocations = 0;
	counting = true;
	for (uint64_t i = 0; i < w->count; i++)
		w->op->run(w->db, &r);
	counting = false;
	w->allocations = allocations;
	return NULL;
}

static double figure(struct wombat *db, const char *name)
{
	double v = 0;
	must(wombat_stat(db, name, &v), name);
	return v;
}

static struct wombat *make(const char *dir)
{
	struct wombat *db;
	struct wombat_ingest *g;
	struct wombat_options *o = wombat_options_new();
	must(wombat_options_set(o, "value_threshold", "32K"), "option");
	must(wombat_options_set(o, "mem_table_size", "4M"), "option"); /* so that flushes and compactions are in it */
	must(wombat_open(dir, o, WOMBAT_CREATE, &db), dir);
	wombat_options_free(o);
	must(wombat_ingest_new(db, &g), "ingestion");
	for (uint64_t n = 0; n < KEYS; n++) {
		char key[24];
		must(wombat_ingest_put(g, WOMBAT_USER, key_of(n, key), WOMBAT_SLICE(value, VALUE), NULL), "put");
	}
	must(wombat_ingest_commit(g, NULL), "commit");
	wombat_ingest_free(g);
	for (uint64_t n = 0; n < KEYS; n++) /* All blocks are in the cache. */
		get(db, n, WOMBAT_OK);
	return db;
}

int main(int argc, char **argv)
{
	const struct operation *op = NULL;
	for (size_t i = 0; argc == 4 && i < sizeof operations / sizeof *operations; i++)
		if (strcmp(operations[i].name, argv[2]) == 0)
			op = &operations[i];
	if (!op) {
		fprintf(stderr, "usage: costs DIRECTORY OPERATION COUNT\n");
		for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
			printf("%s\n", operations[i].name);
		return 2;
	}
	struct random_state r;
	random_seed(&r, 1);
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (uint8_t)random_next(&r);
	struct wombat *db = make(argv[1]);
	struct worker workers[THREADS];
	uint64_t count = strtoull(argv[3], NULL, 10), allocated = 0;
	double syncs = figure(db, "wal.syncs_total"), user = figure(db, "user_bytes_total");
	double written = figure(db, "wal.bytes_total") + figure(db, "value_log.bytes_total") + figure(db, "flush_bytes_total") +
			 figure(db, "compaction_write_bytes_total");
	mem_test_hook = count_allocation;
	for (unsigned i = 0; i < op->threads; i++) {
		workers[i] = (struct worker){ .op = op, .db = db, .count = count / op->threads, .seed = 2 + i };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			return 1;
	}
	for (unsigned i = 0; i < op->threads; i++) {
		pthread_join(workers[i].thread, NULL);
		allocated += workers[i].allocations;
	}
	mem_test_hook = NULL;
	must(wombat_wait_idle(db), "wait");
	user = figure(db, "user_bytes_total") - user;
	written = figure(db, "wal.bytes_total") + figure(db, "value_log.bytes_total") + figure(db, "flush_bytes_total") +
		  figure(db, "compaction_write_bytes_total") - written;
	printf("allocations %llu\nwal_syncs %.0f\nuser_bytes %.0f\nwritten_bytes %.0f\n", (unsigned long long)allocated,
	       figure(db, "wal.syncs_total") - syncs, user, written);
	must(wombat_close(db), "close");
	return 0;
}
