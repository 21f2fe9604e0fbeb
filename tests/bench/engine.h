/*
 * What the benchmark asks of an engine. An adapter is one file that fills in a struct engine; those whose headers
 * configure did not find are not compiled (HAVE_LEVELDB and so on).
 *
 * Fairness is in the adapters: each gives its engine the same cache, write buffer and filter, and the same durability. A
 * write has reached the operating system when it returns (it outlives the process, not the machine), or with
 * `sync` the disk. A session belongs to one thread; every other call here is for any thread. Adapters do not return
 * errors: a benchmark that meets one has nothing to measure, so they end the process with a sentence.
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

struct bytes {
	const char *data;
	size_t size;
};

struct engine_config {
	const char *dir;
	size_t cache;  /* bytes of blocks kept in memory */
	size_t buffer; /* bytes of writes gathered in memory */
	int bloom_bits;
	bool sync;
	bool compress; /* zlib; LevelDB has Snappy instead, LMDB nothing */
	bool large_values; /* an engine that can keep them apart does */
};

enum move {
	MOVE_FIRST, /* these three look at the state as of now */
	MOVE_LAST,
	MOVE_SEEK,  /* to the first key that is not smaller */
	MOVE_NEXT,  /* and these continue there */
	MOVE_PREV
};

struct engine {
	const char *name;
	void *(*open)(const struct engine_config *config); /* creates what is not there */
	void (*close)(void *db);
	void *(*session)(void *db);
	void (*session_end)(void *session);
	void (*put)(void *session, struct bytes key, struct bytes value);
	void (*remove)(void *session, struct bytes key);
	/* All of them or none. */
	void (*put_batch)(void *session, size_t count, const struct bytes *keys, const struct bytes *values);
	/* The value holds until the session's next call. */
	bool (*get)(void *session, struct bytes key, struct bytes *out_value);
	/* `key` is for MOVE_SEEK alone. False: past the end. The record holds until the next move. */
	bool (*move)(void *session, enum move how, struct bytes key, struct bytes *out_key, struct bytes *out_value);
	void (*move_end)(void *session);
	void (*flush)(void *db); /* what is buffered goes to its final files; NULL: there is no such call */
};

extern const struct engine wombat_engine, leveldb_engine, rocksdb_engine, lmdb_engine, wiredtiger_engine;

_Noreturn void die(const char *what, const char *why);
void *zalloc(size_t size);

#endif
