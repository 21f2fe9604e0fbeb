/*
 * The workloads, in the names of db_bench and YCSB (A to F), over any engine.
 *
 * A key is its number in sixteen digits. Filled at random a database has about 63 % of all numbers, as db_bench does it.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "tests/bench/engine.h"

#include <stdint.h>

enum workload_state {
	STATE_EMPTY,      /* begins with an empty database */
	STATE_EMPTY_SYNC, /* the same, each write durable */
	STATE_FILLED,     /* what fillrandom left, as it lies */
	STATE_SETTLED,    /* the same flushed, opened anew, read once */
};

struct workload {
	const char *name;
	enum workload_state state;
	int share; /* of the number of keys that is the number of operations: 1 / share */
	void (*run)(void *thread); /* of workload.c */
};
extern const struct workload workloads[];
extern const size_t workload_count;

struct run_options {
	size_t keys, value_bytes;
	bool compress;
	int threads;
	uint64_t seed;
};

struct run_result {
	double per_second;
	uint32_t p50, p99, p999; /* ns, of one operation in eight */
	double written_per_byte; /* bytes that the process wrote for each byte put; 0: nothing was put */
};

/* One run in `threads` threads. `e` and `db` are open. */
void workload_run(const struct workload *w, const struct engine *e, void *db, const struct run_options *options,
		  struct run_result *out);
/* Reads all of it once. */
void workload_warm(const struct engine *e, void *db);

#endif
