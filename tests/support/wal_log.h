/*
 * A write-ahead log with a model beside it: what was appended, what must survive, what replay has to give.
 *
 * Each record's body follows from its sequence number and a generation that grows with every reopening, so a record
 * that was cut off once and comes back later is told from the one that took its numbers.
 */
#ifndef WOMBAT_TESTS_WAL_LOG_H
#define WOMBAT_TESTS_WAL_LOG_H

#include "engine/env/env.h"
#include "engine/wal/wal_reader.h"
#include "engine/wal/wal_writer.h"

struct log_record {
	uint64_t sequence;
	uint32_t count, size, generation;
};

struct wal_log {
	struct env *env;
	const char *dir;
	struct wal_writer *writer;
	uint64_t segment_bytes;
	unsigned spare_segments;
	uint64_t next_number;

	struct log_record *records; /* all that should be there, in order */
	size_t count, capacity;
	size_t durable;             /* so many of them must survive a power cut */
	uint64_t flushed;           /* changes up to this sequence are in tables */
	uint32_t generation;
	struct wal_replay replay;   /* of the last log_open */
	size_t replayed;            /* records it gave */
	uint32_t last_epoch;        /* of the last record appended since log_open */
};

/* The body of a record, `size` bytes. */
void log_body(const struct log_record *r, uint8_t *out);
void log_init(struct wal_log *l, struct env *env, const char *dir, uint64_t segment_bytes);
void log_done(struct wal_log *l); /* not the environment; abandons an open writer */

/* Replays, checks each record against the model, and cuts the model where the log ended; then opens a writer. With
 * `all`, nothing may be missing. What replay or open return is passed on. */
enum wombat_status log_open(struct wal_log *l, bool all);
/* The same without a writer and without a change to any file. */
enum wombat_status log_look(struct wal_log *l, bool all);
/* The writer's memory goes, the files stay as they are: what kill -9 does. */
void log_abandon(struct wal_log *l);
/* The environment is replaced by another, which the log then works in. */
void log_move(struct wal_log *l, struct env *env);

uint64_t log_last(const struct wal_log *l); /* sequence */
/* A record of `count` changes and `size` bytes (three a change at least) behind the last. The model takes it if it succeeds. */
enum wombat_status log_append(struct wal_log *l, uint32_t count, uint32_t size);
enum wombat_status log_sync(struct wal_log *l);
/* As if all changes so far were in tables now: gives segments free. */
void log_flush(struct wal_log *l);

#endif
