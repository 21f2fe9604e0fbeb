/*
 * The engine beside its peers: the same workloads, keys, values, cache and buffer budgets and durability for each, one
 * engine after the other within each round, so that a machine whose speed drifts is as unfair to one as to another.
 *
 *     bench_engine [-z] [-n KEYS] [-v VALUE_BYTES] [-r ROUNDS] [-t THREADS] [-e ENGINE,...] [-w WORKLOAD,...] DIR
 *
 * Prints CSV: operations per second (median, least and most of the rounds), latencies, bytes written for each byte put.
 * A plain put reaches the operating system before it returns, as every engine here does by default (LMDB with
 * MDB_NOSYNC); fillsync reaches the disk. With -z blocks are compressed (zlib; LevelDB's Snappy; LMDB cannot and goes
 * without). Half of each value compresses. Peers are those that were found when this was built.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/numbers.h"
#include "tests/bench/workload.h"

enum { ROUNDS_MAX = 9, WORKLOADS_MAX = 32, BLOOM_BITS = 10, LARGE_VALUE = 10000 };
static const size_t cache_bytes = (size_t)512 << 20, buffer_bytes = (size_t)64 << 20;

static const struct engine *const engines[] = {
	&wombat_engine,
#ifdef HAVE_LEVELDB
	&leveldb_engine,
#endif
#ifdef HAVE_ROCKSDB
	&rocksdb_engine,
#endif
#ifdef HAVE_LMDB
	&lmdb_engine,
#endif
#ifdef HAVE_WIREDTIGER
	&wiredtiger_engine,
#endif
};
enum { ENGINES = sizeof engines / sizeof engines[0] };

_Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_engine: %s: %s\n", what, why ? why : "failed");
	exit(1);
}

void *zalloc(size_t size)
{
	void *p = calloc(1, size);
	if (!p)
		die("memory", "there is none left");
	return p;
}

static void remove_dir(const char *dir)
{
	char command[4200];
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	if (system(command) != 0)
		die(dir, "cannot be removed");
}

/* ---- Rounds -------------------------------------------------------------------------------- */

/* An engine's database as the workloads leave it. */
struct subject {
	const struct engine *e;
	char dir[4096];
	void *db;
	enum workload_state state; /* that it is in; meaningless without `db` */
};

static void reopen(struct subject *s, const struct run_options *options, bool empty, bool sync)
{
	struct engine_config config = { .dir = s->dir, .cache = cache_bytes, .buffer = buffer_bytes, .bloom_bits = BLOOM_BITS,
					.sync = sync, .compress = options->compress,
					.large_values = options->value_bytes >= LARGE_VALUE };
	if (s->db)
		s->e->close(s->db);
	if (empty)
		remove_dir(s->dir);
	s->db = s->e->open(&config);
}

static const struct workload *find_workload(const char *name)
{
	for (size_t i = 0; i < workload_count; i++)
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	die(name, "there is no such workload");
}

/* Brings the database into the state that the workload begins with. */
static void prepare(struct subject *s, const struct workload *w, const struct run_options *options)
{
	struct run_result ignored;
	if (w->state <= STATE_EMPTY_SYNC) {
		reopen(s, options, true, w->state == STATE_EMPTY_SYNC);
		s->state = STATE_EMPTY;
		return;
	}
	if (!s->db || s->state < STATE_FILLED) {
		reopen(s, options, true, false);
		workload_run(find_workload("fillrandom"), s->e, s->db, options, &ignored);
		s->state = STATE_FILLED;
	}
	if (w->state == STATE_SETTLED && s->state == STATE_FILLED) {
		if (s->e->flush)
			s->e->flush(s->db);
		reopen(s, options, false, false);
		workload_warm(s->e, s->db);
		s->state = STATE_SETTLED;
	}
}

static void round_of(const struct engine *e, const char *base, const struct run_options *options, const bool *wanted,
		     struct run_result *out)
{
	struct subject s = { .e = e };
	snprintf(s.dir, sizeof s.dir, "%s/%s", base, e->name);
	for (size_t i = 0; i < workload_count; i++) {
		if (!wanted[i])
			continue;
		prepare(&s, &workloads[i], options);
		workload_run(&workloads[i], e, s.db, options, &out[i]);
		if (strcmp(workloads[i].name, "fillrandom") == 0)
			s.state = STATE_FILLED;
	}
	if (s.db)
		e->close(s.db);
	remove_dir(s.dir);
}

/* ---- Results ------------------------------------------------------------------------------- */

static void print_row(const struct engine *e, const struct workload *w, const struct run_options *o, int rounds,
		      const struct run_result *results[])
{
	double rate[ROUNDS_MAX], p50[ROUNDS_MAX], p99[ROUNDS_MAX], p999[ROUNDS_MAX], written[ROUNDS_MAX];
	for (int i = 0; i < rounds; i++) {
		rate[i] = results[i]->per_second;
		p50[i] = results[i]->p50;
		p99[i] = results[i]->p99;
		p999[i] = results[i]->p999;
		written[i] = results[i]->written_per_byte;
	}
	double median = median_of(rate, (size_t)rounds); /* which sorts them */
	printf("%s,%s,%zu,%zu,%s,%d,%d,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.2f\n", e->name, w->name, o->keys, o->value_bytes,
	       o->compress ? "zlib" : "none", o->threads, rounds, median, rate[0], rate[rounds - 1], median_of(p50, (size_t)rounds), median_of(p99, (size_t)rounds),
	       median_of(p999, (size_t)rounds), median_of(written, (size_t)rounds));
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
	static struct run_result results[ROUNDS_MAX][ENGINES][WORKLOADS_MAX];
	struct run_options options = { .keys = 1000000, .value_bytes = 100, .threads = 1 };
	const char *only_engines = NULL, *only_workloads = NULL;
	bool wanted[WORKLOADS_MAX];
	int rounds = 3;
	for (int c; (c = getopt(argc, argv, "zn:v:r:t:e:w:")) != -1;) {
		switch (c) {
		case 'z': options.compress = true; break;
		case 'n': options.keys = strtoull(optarg, NULL, 10); break;
		case 'v': options.value_bytes = strtoull(optarg, NULL, 10); break;
		case 'r': rounds = atoi(optarg); break;
		case 't': options.threads = atoi(optarg); break;
		case 'e': only_engines = optarg; break;
		case 'w': only_workloads = optarg; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || rounds < 1 || rounds > ROUNDS_MAX || options.keys < 500 || options.threads < 1 ||
	    options.threads > 64 || workload_count > WORKLOADS_MAX) {
		fputs("usage: bench_engine [-z] [-n KEYS] [-v BYTES] [-r ROUNDS] [-t THREADS] [-e ENGINES] [-w WORKLOADS] DIR\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < workload_count; i++)
		wanted[i] = listed(only_workloads, workloads[i].name);
	for (int r = 0; r < rounds; r++)
		for (int e = 0; e < ENGINES; e++)
			if (listed(only_engines, engines[e]->name)) {
				options.seed = (uint64_t)r * 1000003;
				round_of(engines[e], argv[optind], &options, wanted, results[r][e]);
			}
	printf("engine,workload,keys,value_bytes,compression,threads,rounds,median_per_s,min_per_s,max_per_s,p50_ns,p99_ns,p999_ns,"
	       "written_per_byte\n");
	for (size_t w = 0; w < workload_count; w++)
		for (int e = 0; e < ENGINES; e++) {
			const struct run_result *of_rounds[ROUNDS_MAX];
			if (!wanted[w] || !listed(only_engines, engines[e]->name))
				continue;
			for (int r = 0; r < rounds; r++)
				of_rounds[r] = &results[r][e][w];
			print_row(engines[e], &workloads[w], &options, rounds, of_rounds);
		}
	return 0;
}
