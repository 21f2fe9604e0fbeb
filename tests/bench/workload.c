#include "tests/bench/workload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/numbers.h"

enum { KEY_BYTES = 16, BATCH = 1000, SAMPLE = 8, SCAN = 10, PAYLOAD_SPREAD = 1 << 20, REPEAT = 100, FRESH = REPEAT / 2, YCSB_SCAN_MAX = 100 };

/* What the threads of a run share. */
struct run {
	const struct workload *w;
	const struct engine *e;
	void *db;
	const struct run_options *options;
	char *payload;
	atomic_uint_fast64_t next_key; /* what inserts of YCSB D and E take */
	atomic_bool stop;              /* of the writer of readwhilewriting */
};

struct thread {
	struct run *run;
	void *session;
	size_t first, count; /* of the operations, this thread's */
	uint64_t seed;
	struct zipf zipf;
	uint32_t *latencies;
	size_t latency_count;
	uint64_t put_bytes;
	pthread_t id;
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct bytes key_of(uint64_t n, char out[32])
{
	return (struct bytes){ out, (size_t)snprintf(out, 32, "%016llu", (unsigned long long)n) };
}

static struct bytes value_of(const struct thread *t, uint64_t n)
{
	return (struct bytes){ t->run->payload + mix64(n) % PAYLOAD_SPREAD, t->run->options->value_bytes };
}

/* ---- Operations ---------------------------------------------------------------------------- */

static uint64_t begin_op(const struct thread *t, size_t i)
{
	return t->latencies && i % SAMPLE == 0 ? now_ns() : 0;
}

static void end_op(struct thread *t, uint64_t begin)
{
	if (begin) {
		uint64_t ns = now_ns() - begin;
		t->latencies[t->latency_count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
	}
}

static void put(struct thread *t, uint64_t n)
{
	char key[32];
	struct bytes k = key_of(n, key), v = value_of(t, n + t->seed);
	t->run->e->put(t->session, k, v);
	t->put_bytes += k.size + v.size;
}

static bool get(struct thread *t, uint64_t n)
{
	char key[32];
	struct bytes value;
	return t->run->e->get(t->session, key_of(n, key), &value);
}

/* Records from the key on; how many there were. */
static size_t scan(struct thread *t, uint64_t n, size_t count)
{
	char text[32];
	struct bytes key = key_of(n, text), k, v;
	size_t found = 0;
	for (bool on = t->run->e->move(t->session, MOVE_SEEK, key, &k, &v); on && ++found < count;)
		on = t->run->e->move(t->session, MOVE_NEXT, key, &k, &v);
	t->run->e->move_end(t->session);
	return found;
}

static uint64_t random_key(const struct thread *t, size_t i)
{
	return mix64(i + t->seed) % t->run->options->keys;
}

/* ---- Fills --------------------------------------------------------------------------------- */

static void fill_in_order(void *arg)
{
	struct thread *t = arg;
	for (size_t i = 0; i < t->count; i++) {
		uint64_t begin = begin_op(t, i);
		put(t, t->first + i);
		end_op(t, begin);
	}
}

static void fill_random(void *arg)
{
	struct thread *t = arg;
	for (size_t i = 0; i < t->count; i++) {
		uint64_t begin = begin_op(t, i);
		put(t, random_key(t, i));
		end_op(t, begin);
	}
}

static void fill_batches(struct thread *t, bool in_order)
{
	static _Thread_local char text[BATCH][32];
	struct bytes keys[BATCH], values[BATCH];
	for (size_t i = 0; i < t->count; i += BATCH) {
		size_t n = t->count - i < BATCH ? t->count - i : BATCH;
		for (size_t k = 0; k < n; k++) {
			keys[k] = key_of(in_order ? t->first + i + k : random_key(t, i + k), text[k]);
			values[k] = value_of(t, i + k);
			t->put_bytes += keys[k].size + values[k].size;
		}
		t->run->e->put_batch(t->session, n, keys, values);
	}
}

static void fill_batch(void *arg)
{
	fill_batches(arg, true);
}

static void fill_batch_random(void *arg)
{
	fill_batches(arg, false);
}

static void delete_random(void *arg)
{
	struct thread *t = arg;
	for (size_t i = 0; i < t->count; i++) {
		char key[32];
		uint64_t begin = begin_op(t, i);
		t->run->e->remove(t->session, key_of(random_key(t, i), key));
		end_op(t, begin);
	}
}

/* ---- Reads --------------------------------------------------------------------------------- */

static void read_random(void *arg)
{
	struct thread *t = arg;
	size_t found = 0;
	for (size_t i = 0; i < t->count; i++) {
		uint64_t begin = begin_op(t, i);
		found += get(t, random_key(t, i));
		end_op(t, begin);
	}
	if (found < t->count / 2)
		die(t->run->e->name, "did not find what is there");
}

static void read_missing(void *arg)
{
	struct thread *t = arg;
	size_t found = 0;
	for (size_t i = 0; i < t->count; i++) {
		char text[40];
		struct bytes value, key = key_of(random_key(t, i), text);
		text[key.size++] = '.';
		uint64_t begin = begin_op(t, i);
		found += t->run->e->get(t->session, key, &value);
		end_op(t, begin);
	}
	if (found)
		die(t->run->e->name, "found what is not there");
}

static void walk(struct thread *t, enum move first, enum move next)
{
	struct bytes none = { "", 0 }, key, value;
	size_t n = 0;
	for (bool on = t->run->e->move(t->session, first, none, &key, &value); on && n < t->count; n++)
		on = t->run->e->move(t->session, next, none, &key, &value);
	t->run->e->move_end(t->session);
	t->count = n; /* as many as there are */
}

static void read_in_order(void *arg)
{
	walk(arg, MOVE_FIRST, MOVE_NEXT);
}

static void read_backwards(void *arg)
{
	walk(arg, MOVE_LAST, MOVE_PREV);
}

static void seek_random(void *arg)
{
	struct thread *t = arg;
	for (size_t i = 0; i < t->count; i++) {
		uint64_t begin = begin_op(t, i);
		scan(t, random_key(t, i), SCAN);
		end_op(t, begin);
	}
}

/* One more thread overwrites as fast as it can; only the reads count. */
static void *write_on(void *arg)
{
	struct thread *t = arg;
	t->session = t->run->e->session(t->run->db);
	for (size_t i = 0; !atomic_load_explicit(&t->run->stop, memory_order_relaxed); i++)
		put(t, random_key(t, i));
	t->run->e->session_end(t->session);
	return NULL;
}

static void read_while_writing(void *arg)
{
	struct thread *t = arg, writer = { .run = t->run, .seed = t->seed + 1 };
	bool mine = t->first == 0;
	if (mine)
		pthread_create(&writer.id, NULL, write_on, &writer);
	read_random(t);
	if (mine) {
		atomic_store(&t->run->stop, true);
		pthread_join(writer.id, NULL);
	}
}

/* ---- YCSB ---------------------------------------------------------------------------------- */

enum ycsb_op { READ, UPDATE, INSERT, RANGE, CHANGE };

/* Percent of the operations that are not the usual one. */
static void ycsb(struct thread *t, enum ycsb_op usual, enum ycsb_op other, unsigned percent, bool latest)
{
	for (size_t i = 0; i < t->count; i++) {
		uint64_t roll = mix64(t->seed * 31 + i) % 100, newest = atomic_load_explicit(&t->run->next_key, memory_order_relaxed);
		uint64_t n = latest ? newest - 1 - zipf_next(&t->zipf) % newest : zipf_scattered(&t->zipf);
		enum ycsb_op op = roll < percent ? other : usual;
		uint64_t begin = begin_op(t, i);
		switch (op) {
		case READ:
			get(t, n);
			break;
		case UPDATE:
			put(t, n);
			break;
		case INSERT:
			put(t, atomic_fetch_add_explicit(&t->run->next_key, 1, memory_order_relaxed));
			break;
		case RANGE:
			scan(t, n, 1 + mix64(i) % YCSB_SCAN_MAX);
			break;
		case CHANGE:
			get(t, n);
			put(t, n);
			break;
		}
		end_op(t, begin);
	}
}

static void ycsb_a(void *t) { ycsb(t, READ, UPDATE, 50, false); }
static void ycsb_b(void *t) { ycsb(t, READ, UPDATE, 5, false); }
static void ycsb_c(void *t) { ycsb(t, READ, READ, 0, false); }
static void ycsb_d(void *t) { ycsb(t, READ, INSERT, 5, true); }
static void ycsb_e(void *t) { ycsb(t, RANGE, INSERT, 5, false); }
static void ycsb_f(void *t) { ycsb(t, READ, CHANGE, 50, false); }

/* In this order: what changes the database comes behind what only reads it. */
const struct workload workloads[] = {
	{ "fillseq", STATE_EMPTY, 1, fill_in_order },
	{ "fillbatch", STATE_EMPTY, 1, fill_batch },
	{ "fillbatchrandom", STATE_EMPTY, 1, fill_batch_random },
	{ "fillsync", STATE_EMPTY_SYNC, 500, fill_random },
	{ "fillrandom", STATE_EMPTY, 1, fill_random },
	{ "overwrite", STATE_FILLED, 1, fill_random },
	{ "readrandom", STATE_SETTLED, 1, read_random },
	{ "readmissing", STATE_SETTLED, 1, read_missing },
	{ "readseq", STATE_SETTLED, 1, read_in_order },
	{ "readreverse", STATE_SETTLED, 1, read_backwards },
	{ "seekrandom", STATE_SETTLED, 5, seek_random },
	{ "ycsbc", STATE_SETTLED, 1, ycsb_c },
	{ "ycsbb", STATE_SETTLED, 1, ycsb_b },
	{ "ycsba", STATE_SETTLED, 1, ycsb_a },
	{ "ycsbf", STATE_SETTLED, 1, ycsb_f },
	{ "ycsbd", STATE_SETTLED, 1, ycsb_d },
	{ "ycsbe", STATE_SETTLED, 20, ycsb_e },
	{ "readwhilewriting", STATE_SETTLED, 1, read_while_writing },
	{ "deleterandom", STATE_SETTLED, 1, delete_random },
};
const size_t workload_count = sizeof workloads / sizeof workloads[0];

/* ---- Running ------------------------------------------------------------------------------- */

/* What the process has made the disk write, as the kernel counts it; 0 where it does not say. */
static uint64_t written_bytes(void)
{
	char line[128];
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "write_bytes: %llu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;
	t->run->w->run(t);
	return NULL;
}

static void thread_init(struct thread *t, struct run *run, int i)
{
	const struct run_options *o = run->options;
	size_t all = o->keys / (size_t)run->w->share, each = all / (size_t)o->threads;
	*t = (struct thread){ .run = run, .first = (size_t)i * each, .count = each ? each : 1, .seed = o->seed + (uint64_t)i * 7919 };
	t->session = run->e->session(run->db);
	t->latencies = malloc((t->count / SAMPLE + 1) * sizeof *t->latencies);
	if (!t->latencies)
		die(run->e->name, "out of memory");
	zipf_init(&t->zipf, o->keys, t->seed);
}

/* Gathers what the threads measured. */
static void sum_up(struct thread *threads, int count, double elapsed, uint64_t written, struct run_result *out)
{
	size_t operations = 0, samples = 0;
	uint64_t put_bytes = 0;
	for (int i = 0; i < count; i++) {
		operations += threads[i].count;
		samples += threads[i].latency_count;
		put_bytes += threads[i].put_bytes;
	}
	uint32_t *all = malloc((samples + 1) * sizeof *all);
	if (!all)
		die("benchmark", "out of memory");
	samples = 0;
	for (int i = 0; i < count; i++) {
		memcpy(all + samples, threads[i].latencies, threads[i].latency_count * sizeof *all);
		samples += threads[i].latency_count;
	}
	*out = (struct run_result){
		.per_second = (double)operations / elapsed, .p50 = percentile_of(all, samples, 0.5),
		.p99 = percentile_of(all, samples, 0.99), .p999 = percentile_of(all, samples, 0.999),
		.written_per_byte = put_bytes ? (double)written / (double)put_bytes : 0,
	};
	free(all);
}

void workload_run(const struct workload *w, const struct engine *e, void *db, const struct run_options *options,
		  struct run_result *out)
{
	struct run run = { .w = w, .e = e, .db = db, .options = options };
	struct thread *threads = zalloc((size_t)options->threads * sizeof *threads);
	run.payload = malloc(options->value_bytes + PAYLOAD_SPREAD);
	if (!run.payload)
		die(e->name, "out of memory");
	for (size_t i = 0; i < options->value_bytes + PAYLOAD_SPREAD; i++)
		run.payload[i] = i % REPEAT < FRESH ? (char)(' ' + mix64(i) % 95) : run.payload[i - FRESH];
	atomic_init(&run.next_key, options->keys);
	for (int i = 0; i < options->threads; i++)
		thread_init(&threads[i], &run, i);
	uint64_t written = written_bytes(), begin = now_ns();
	for (int i = 1; i < options->threads; i++)
		if (pthread_create(&threads[i].id, NULL, run_thread, &threads[i]) != 0)
			die(e->name, "no thread");
	run_thread(&threads[0]);
	for (int i = 1; i < options->threads; i++)
		pthread_join(threads[i].id, NULL);
	double elapsed = (double)(now_ns() - begin) / 1e9;
	for (int i = 0; i < options->threads; i++)
		e->session_end(threads[i].session);
	if (w->state == STATE_EMPTY && e->flush)
		e->flush(db); /* its writes are the workload's */
	sum_up(threads, options->threads, elapsed, written_bytes() - written, out);
	for (int i = 0; i < options->threads; i++)
		free(threads[i].latencies);
	free(threads);
	free(run.payload);
}

void workload_warm(const struct engine *e, void *db)
{
	struct bytes none = { "", 0 }, key, value;
	void *session = e->session(db);
	for (bool on = e->move(session, MOVE_FIRST, none, &key, &value); on;)
		on = e->move(session, MOVE_NEXT, none, &key, &value);
	e->move_end(session);
	e->session_end(session);
}
