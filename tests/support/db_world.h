/*
 * A database on a file system in memory, for the tests of its parts: open and close it, put and look, read its figures,
 * make its file system fail or hold still at a chosen call, see and damage its files.
 */
#ifndef WOMBAT_TESTS_DB_WORLD_H
#define WOMBAT_TESTS_DB_WORLD_H

#include <pthread.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "engine/env/filename.h"

#define DB_WORLD_DIR "/db"

/* What happens at a call of the file system: see db_world_fail and db_world_hold. */
struct db_fault {
	pthread_mutex_t mu;
	pthread_cond_t changed;
	/* All guarded by mu. */
	char op[24], part[32];
	unsigned skip, hits;
	bool hold, own;
	pthread_t thread; /* if `own`, whose calls alone are concerned */
	enum wombat_status status;
};

struct db_world {
	struct env *env;
	struct wombat *db; /* NULL: closed */
	struct wombat_options *options;
	struct db_fault fault;
};

/* `settings`: names and values in turn, NULL at the end, over small sizes and no syncs in the background; NULL: just
 * these. Opened, empty. */
void db_world_init(struct db_world *w, const char *const *settings);
void db_world_done(struct db_world *w);
void db_world_close(struct db_world *w);
void db_world_open(struct db_world *w);
static inline void db_world_reopen(struct db_world *w) { db_world_close(w); db_world_open(w); }
/* As wombat_set with one setting. */
MUST_CHECK enum wombat_status db_world_set(struct db_world *w, const char *name, const char *value);

void db_world_put(struct db_world *w, const char *key, const char *value);
/* The key with `size` bytes that follow from `n`. */
void db_world_put_filled(struct db_world *w, const char *key, size_t size, unsigned n);
/* The key has that value; NULL: there is no such key. */
void db_world_expect(struct db_world *w, unsigned keyspace, const char *key, const char *value);
void db_world_expect_filled(struct db_world *w, const char *key, size_t size, unsigned n);

double db_world_stat(struct db_world *w, const char *name);
/* Waits for the figure to reach `least`; fails the test after a long time. */
void db_world_await(struct db_world *w, const char *name, double least);

/* How many files of that kind there are; the least number among them into `out_first` (may be NULL). */
unsigned db_world_files(struct db_world *w, enum file_kind kind, uint64_t *out_first);
bool db_world_has_file(struct db_world *w, const char *name);
/* Replaces a file's content, or makes it. */
void db_world_write_file(struct db_world *w, const char *name, const void *data, size_t size);

/*
 * From here on calls whose name begins with `op` on paths that hold `part` fail, `skip` of them let through first;
 * with db_world_hold they wait instead, until db_world_let_go. One of either at a time: what is held when another begins
 * goes on without a failure.
 */
void db_world_fail(struct db_world *w, const char *op, const char *part, unsigned skip, enum wombat_status status);
/* As db_world_fail, but calls of the calling thread alone: what reads in the background is not counted. */
void db_world_fail_own(struct db_world *w, const char *op, const char *part, unsigned skip, enum wombat_status status);
void db_world_hold(struct db_world *w, const char *op, const char *part);
/* Waits until a call is held. */
void db_world_await_held(struct db_world *w);
/* No fault any more, and those that wait go on. How many calls were concerned. */
unsigned db_world_let_go(struct db_world *w);

#endif
