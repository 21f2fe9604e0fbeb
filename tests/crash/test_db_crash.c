/*
 * Power cuts: at every sync of a random run the file system is cloned as a crash then would leave it, and opened.
 *
 * The run writes batches and remembers the model after each. What a clone shows must be the state after some batch,
 * whole, and not before the last one that was acknowledged as durable.
 */
#include <pthread.h>
#include <string.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "tests/support/check.h"
#include "tests/support/opgen.h"
#include "tests/support/seed.h"

enum { STATES_MAX = 400, CLONES_MAX = 400 };

struct run {
	struct env *env;
	pthread_mutex_t mu;
	struct model states[STATES_MAX]; /* after each batch; [0]: empty */
	unsigned written;                /* batches whose write returned */
	unsigned durable;                /* of these, acknowledged as durable */
	bool writing;                    /* one more may or may not be there */
	struct {
		struct env *env;
		unsigned at_least, at_most;
	} clones[CLONES_MAX];
	unsigned clone_count;
	enum env_mem_crash crash;
	uint64_t seed;
	unsigned sync_each;              /* one of so many batches is durable */
};

static void on_sync(void *arg, const char *path)
{
	struct run *r = arg;
	(void)path;
	pthread_mutex_lock(&r->mu);
	if (r->clone_count < CLONES_MAX &&
	    env_mem_clone(r->env, r->crash, r->seed + r->clone_count, &r->clones[r->clone_count].env) == WOMBAT_OK) {
		r->clones[r->clone_count].at_least = r->durable;
		r->clones[r->clone_count].at_most = r->written + r->writing;
		r->clone_count++;
	}
	pthread_mutex_unlock(&r->mu);
}

static void read_all(struct wombat *db, struct model *out)
{
	model_init(out);
	for (unsigned keyspace = 1; keyspace <= 2; keyspace++) {
		struct wombat_iter *it;
		assert_ok(wombat_iter_new(db, NULL, keyspace, &it));
		for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it)) {
			const struct wombat_record *rec = wombat_iter_record(it);
			struct wombat_put_info info = { .attr = rec->attr, .expiry_ns = rec->expiry_ns };
			model_put(out, keyspace, rec->key, rec->value, &info);
		}
		assert_ok(wombat_iter_status(it));
		wombat_iter_free(it);
	}
}

static void verify_clone(struct run *r, unsigned i, const struct wombat_options *options)
{
	struct wombat *db;
	struct model found;
	enum wombat_status s = db_open_env(r->clones[i].env, "/db", options, 0, &db);
	if (s == WOMBAT_NOT_FOUND) { /* Before the database itself was durable. */
		assert_int_equal(r->clones[i].at_least, 0);
		r->clones[i].env->calls->free(r->clones[i].env);
		return;
	}
	if (s != WOMBAT_OK)
		fail_msg("clone %u: %s", i, wombat_last_error());
	read_all(db, &found);
	bool matches = false;
	for (unsigned k = r->clones[i].at_least; k <= r->clones[i].at_most && !matches; k++)
		matches = model_equal(&found, &r->states[k]);
	if (!matches)
		fail_msg("clone %u holds %zu records, no state from %u to %u", i, found.count, r->clones[i].at_least,
			 r->clones[i].at_most);
	/* It can be written to, and what was there stays. */
	assert_ok(wombat_put(db, WOMBAT_USER, WOMBAT_STR("after the crash"), WOMBAT_STR("works")));
	model_put(&found, WOMBAT_USER, WOMBAT_STR("after the crash"), WOMBAT_STR("works"), NULL);
	assert_ok(wombat_close(db));
	assert_ok(db_open_env(r->clones[i].env, "/db", options, 0, &db));
	struct model again;
	read_all(db, &again);
	assert_true(model_equal(&found, &again));
	assert_ok(wombat_close(db));
	model_done(&found);
	model_done(&again);
	r->clones[i].env->calls->free(r->clones[i].env);
}

static bool wants_more(struct run *r)
{
	pthread_mutex_lock(&r->mu);
	bool more = r->written + 1 < STATES_MAX && r->clone_count < CLONES_MAX;
	pthread_mutex_unlock(&r->mu);
	return more;
}

static void write_batches(struct run *r, struct wombat *db, struct opgen *gen)
{
	while (wants_more(r)) {
		struct wombat_batch *b = wombat_batch_new();
		bool sync = random_below(&gen->random, r->sync_each) == 0;
		pthread_mutex_lock(&r->mu);
		model_copy(&r->states[r->written], &r->states[r->written + 1]);
		for (uint64_t n = 1 + random_below(&gen->random, 8); n > 0; n--)
			opgen_change(gen, b, &r->states[r->written + 1]);
		r->writing = true;
		pthread_mutex_unlock(&r->mu);
		assert_ok(wombat_write(db, b, sync ? WOMBAT_SYNC : 0, NULL));
		wombat_batch_free(b);
		pthread_mutex_lock(&r->mu);
		r->written++;
		r->writing = false;
		if (sync)
			r->durable = r->written;
		pthread_mutex_unlock(&r->mu);
		if (random_below(&gen->random, 50) == 0)
			assert_ok(wombat_flush(db));
	}
}

/* `threshold`: of values that go to the value log. */
static void run_crashes(enum env_mem_crash crash, const char *threshold, const char *strategy, unsigned sync_each, uint64_t seed)
{
	struct run *r = calloc(1, sizeof *r);
	struct opgen gen = { .key_count = 200, .value_max = 2000 };
	struct wombat_options *options = wombat_options_new();
	struct wombat *db;
	r->crash = crash;
	r->sync_each = sync_each;
	r->seed = seed;
	random_seed(&gen.random, seed);
	pthread_mutex_init(&r->mu, NULL);
	assert_ok(env_mem_new(&r->env));
	assert_ok(wombat_options_set(options, "mem_table_size", "64K"));
	assert_ok(wombat_options_set(options, "wal_file_size", "64K"));
	assert_ok(wombat_options_set(options, "max_table_size", "64K"));
	assert_ok(wombat_options_set(options, "num_level_zero_tables", "2"));
	assert_ok(wombat_options_set(options, "compaction_strategy", strategy));
	assert_ok(wombat_options_set(options, "value_threshold", threshold));
	assert_ok(wombat_options_set(options, "value_log_file_size", "64K"));
	assert_ok(wombat_options_set(options, "value_log_space_reclaim_threshold", "0.2"));
	env_mem_on_sync(r->env, on_sync, r);
	/* In the background nothing is synced: what is durable is so by what it asked for itself. */
	assert_ok(wombat_options_set(options, "sync_interval_ms", r->sync_each == 1 ? "0" : "1000"));
	assert_ok(db_open_env(r->env, "/db", options, WOMBAT_CREATE, &db));
	write_batches(r, db, &gen);
	env_mem_on_sync(r->env, NULL, NULL);
	assert_ok(wombat_close(db));
	printf("%u batches, %u crashes\n", r->written, r->clone_count);
	assert_true(r->clone_count > 20);
	for (unsigned i = 0; i < r->clone_count; i++)
		verify_clone(r, i, options);
	for (unsigned i = 0; i <= r->written; i++)
		model_done(&r->states[i]);
	wombat_options_free(options);
	pthread_mutex_destroy(&r->mu);
	r->env->calls->free(r->env);
	free(r);
}

static void test_synced_only(void **state)
{
	(void)state;
	run_crashes(ENV_MEM_SYNCED_ONLY, "0", "leveled", 4, test_seed("synced only"));
	run_crashes(ENV_MEM_SYNCED_ONLY, "100", "leveled", 4, test_seed("synced only, value log"));
	run_crashes(ENV_MEM_SYNCED_ONLY, "100", "leveled", 1, test_seed("synced only, all durable"));
	run_crashes(ENV_MEM_SYNCED_ONLY, "0", "tiered", 4, test_seed("synced only, tiered"));
}

static void test_random_sectors(void **state)
{
	(void)state;
	run_crashes(ENV_MEM_RANDOM, "0", "leveled", 4, test_seed("random sectors"));
	run_crashes(ENV_MEM_RANDOM, "100", "leveled", 1, test_seed("random sectors, all durable"));
	run_crashes(ENV_MEM_RANDOM, "100", "leveled", 2, test_seed("random sectors, half durable"));
	run_crashes(ENV_MEM_RANDOM, "100", "tiered", 4, test_seed("random sectors, value log, tiered"));
}

static void test_process_only(void **state)
{
	(void)state;
	run_crashes(ENV_MEM_ALL, "0", "leveled", 4, test_seed("process only"));
	run_crashes(ENV_MEM_ALL, "100", "leveled", 4, test_seed("process only, value log"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synced_only),
		cmocka_unit_test(test_random_sectors),
		cmocka_unit_test(test_process_only),
	};
	return cmocka_run_group_tests_name("db_crash", tests, NULL, NULL);
}
