/* A value log on a file system in memory, for the tests of its parts. */
#ifndef WOMBAT_TESTS_VALUES_H
#define WOMBAT_TESTS_VALUES_H

#include "engine/env/env_mem.h"
#include "engine/vlog/vlog.h"

#define VALUES_DIR "/values"

struct values {
	struct env *env;
	struct lru *cache;
	struct vlog *log;
	atomic_bool verify;
	uint64_t next_number, file_bytes;
};

/* `cache_bytes` 0: no cache. */
void values_open(struct values *v, uint64_t file_bytes, uint64_t cache_bytes);
/* Closes the log and opens it again over the same files. */
void values_reopen(struct values *v);
void values_done(struct values *v);
/* The n-th value of that size, a different one for each n. */
void values_fill(uint8_t *out, size_t size, uint64_t n);

#endif
