/*
 * kill -9 of a writing process, on real files: nothing that was acknowledged may be gone, durable or not,
 * since what the process has handed to the operating system outlives it.
 *
 * The child writes batches and reports each through a pipe: BEGIN before the call, DONE behind it. Batch n
 * puts its number into SLOTS keys that it shares with all batches, and random bytes into a key of its own;
 * some remove the keys of earlier ones, by key or by range. The parent kills the child at a random moment,
 * opens the database and compares it with the model of the batches acknowledged, or of one more, whole, when
 * that one had begun.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/random.h"
#include "tests/support/check.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

enum { ROUNDS = 20, SLOTS = 6, VALUE_MAX = 9000, LIFE_MAX_US = 120000 };

static char directory[] = "/tmp/wombat-kill-XXXXXX", database[64];

struct event {
	uint32_t begin; /* batch number; 0: this is a DONE */
	uint32_t done;
};

/* What child and parent must agree on follows from the seed alone. */
struct plan {
	uint64_t seed;
	bool values;  /* some go to the value log */
	bool sync;    /* all writes are durable */
};

/* For what the child runs as well: an assertion of cmocka would return into the parent's frames. */
static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, wombat_last_error());
	abort();
}
#define must_ok(call) must((call) == WOMBAT_OK, #call)

/* ---- The batches --------------------------------------------------------------------------- */

static struct wombat_slice own_key(uint32_t n, char room[24])
{
	snprintf(room, 24, "own/%08u", n);
	return WOMBAT_STR(room);
}

/* Applies batch n to the model, to a batch, or to both. */
static void make_batch(const struct plan *plan, uint32_t n, struct wombat_batch *batch, struct model *model)
{
	static uint8_t value[VALUE_MAX];
	struct random_state r;
	char a[24], b[24];
	random_seed(&r, plan->seed + n);
	size_t size = 4 + random_below(&r, random_below(&r, 8) ? 200 : VALUE_MAX - 4);
	memset(value, (int)n, size);
	memcpy(value, &n, sizeof n);
	struct wombat_slice number = WOMBAT_SLICE(value, sizeof n);
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		snprintf(a, sizeof a, "slot/%u", slot);
		must_ok(wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR(a), number, NULL));
		model_put(model, WOMBAT_USER, WOMBAT_STR(a), number, NULL);
	}
	struct wombat_slice key = own_key(n, a);
	must_ok(wombat_batch_put(batch, WOMBAT_FS_DIRS, key, WOMBAT_SLICE(value, size), NULL));
	model_put(model, WOMBAT_FS_DIRS, key, WOMBAT_SLICE(value, size), NULL);
	if (n < 20)
		return;
	if (random_below(&r, 3) == 0) {
		key = own_key(n - 1 - (uint32_t)random_below(&r, 10), a);
		must_ok(wombat_batch_delete(batch, WOMBAT_FS_DIRS, key));
		model_delete(model, WOMBAT_FS_DIRS, key);
	}
	if (random_below(&r, 60) == 0) {
		struct wombat_slice from = own_key(n / 2, a), to = own_key(n - 5, b);
		must_ok(wombat_batch_delete_range(batch, WOMBAT_FS_DIRS, from, to));
		model_delete_range(model, WOMBAT_FS_DIRS, from, to);
	}
}

static struct wombat_options *options_of(const struct plan *plan)
{
	/* Small, so that a life of some milliseconds sees segments change, flushes and compactions. */
	const struct wombat_setting settings[] = {
		{ "mem_table_size", "64K" }, { "max_table_size", "64K" }, { "wal_file_size", "64K" },
		{ "num_level_zero_tables", "2" }, { "value_log_file_size", "64K" },
		{ "sync_interval_ms", "5" },
		{ "value_threshold", plan->values ? "1K" : "0" },
		{ "sync_writes", plan->sync ? "true" : "false" },
	};
	struct wombat_options *o = wombat_options_new();
	for (size_t i = 0; o && i < sizeof settings / sizeof settings[0]; i++)
		must_ok(wombat_options_set(o, settings[i].name, settings[i].value));
	return o;
}

/* ---- The child ----------------------------------------------------------------------------- */

static void report(int fd, struct event e)
{
	must(write(fd, &e, sizeof e) == (ssize_t)sizeof e, "pipe");
}

static _Noreturn void child_main(const struct plan *plan, int fd, uint32_t first)
{
	struct wombat *db;
	struct wombat_options *options = options_of(plan);
	must_ok(wombat_open(database, options, WOMBAT_CREATE, &db));
	for (uint32_t n = first;; n++) {
		struct wombat_batch *batch = wombat_batch_new();
		struct model ignored;
		model_init(&ignored);
		make_batch(plan, n, batch, &ignored);
		report(fd, (struct event){ .begin = n });
		must_ok(wombat_write(db, batch, n % 16 == 0 ? WOMBAT_SYNC : 0, NULL));
		report(fd, (struct event){ .done = n });
		if (n % 97 == 0)
			must_ok(wombat_flush(db));
		model_done(&ignored);
		wombat_batch_free(batch);
	}
}

/* ---- The parent ---------------------------------------------------------------------------- */

static uint64_t monotonic_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

struct outcome {
	uint32_t begun, done;
};

/* Takes reports until the pipe is empty and closed. The kill comes at a moment of the clock, so it falls
 * anywhere: into the opening, a write, a flush. */
static struct outcome watch(pid_t pid, int fd, uint64_t kill_at_us)
{
	struct outcome out = { 0 };
	struct event e[512];
	bool killed = false;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = monotonic_us();
		if (!killed && now >= kill_at_us) {
			assert_int_equal(kill(pid, SIGKILL), 0);
			killed = true;
		}
		int ready = poll(&p, 1, killed ? -1 : (int)((kill_at_us - now) / 1000 + 1));
		if (ready <= 0)
			continue;
		ssize_t n = read(fd, e, sizeof e); /* whole events: a pipe's writes of that size are atomic */
		assert_true(n >= 0 && n % (ssize_t)sizeof e[0] == 0);
		if (n == 0)
			return out;
		for (size_t i = 0; i < (size_t)n / sizeof e[0]; i++) {
			if (e[i].begin)
				out.begun = e[i].begin;
			else
				out.done = e[i].done;
		}
	}
}

static struct outcome run_child(const struct plan *plan, uint32_t first, uint64_t life_us)
{
	int fds[2], status;
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		child_main(plan, fds[1], first);
	}
	close(fds[1]);
	struct outcome out = watch(pid, fds[0], monotonic_us() + life_us);
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* not by a failure of its own */
	return out;
}

static void read_all(struct wombat *db, struct model *out)
{
	model_init(out);
	for (unsigned keyspace = 1; keyspace <= 2; keyspace++) {
		struct wombat_iter *it;
		assert_ok(wombat_iter_new(db, NULL, keyspace, &it));
		for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it)) {
			const struct wombat_record *r = wombat_iter_record(it);
			model_put(out, keyspace, r->key, r->value, NULL);
		}
		assert_ok(wombat_iter_status(it));
		wombat_iter_free(it);
	}
}

static void no_damage(void *arg, bool is_damage, const char *sentence)
{
	(void)arg;
	if (is_damage)
		fail_msg("check: %s", sentence);
}

static void apply(const struct plan *plan, struct model *model, uint32_t n)
{
	struct wombat_batch *batch = wombat_batch_new();
	make_batch(plan, n, batch, model);
	wombat_batch_free(batch);
}

/* Brings the model to what was acknowledged, and to what the database shows if that is one batch more.
 * Returns the number of the last batch that is there. */
static uint32_t verify(const struct plan *plan, struct model *model, uint32_t last, struct outcome outcome)
{
	struct wombat *db;
	struct model found;
	struct wombat_options *options = options_of(plan);
	uint32_t done = outcome.done > last ? outcome.done : last;
	while (last < done)
		apply(plan, model, ++last);
	enum wombat_status s = wombat_open(database, options, 0, &db);
	wombat_options_free(options);
	if (s == WOMBAT_NOT_FOUND) { /* Killed while it was being created. */
		assert_int_equal(outcome.begun, 0);
		assert_int_equal(last, 0);
		return 0;
	}
	assert_ok(s);
	read_all(db, &found);
	if (outcome.begun > done && !model_equal(&found, model))
		apply(plan, model, ++last);
	if (!model_equal(&found, model))
		fail_msg("after batch %u (%u had begun): %zu records, not %zu", done, outcome.begun,
			 found.count, model->count);
	model_done(&found);
	assert_ok(wombat_close(db));
	return last;
}

/* After each test, also one that failed. */
static int remove_database(void **state)
{
	(void)state;
	DIR *d = opendir(database);
	if (!d)
		return errno == ENOENT ? 0 : -1;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	return rmdir(database);
}

static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(database, sizeof database, "%s/db", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

static void run_rounds(struct plan *plan, unsigned rounds, uint64_t seed)
{
	struct random_state r;
	struct model model;
	uint32_t last = 0;
	plan->seed = seed;
	random_seed(&r, seed);
	model_init(&model);
	for (unsigned round = 0; round < rounds; round++) {
		/* Mostly short lives: opening and its recovery are killed too. */
		uint64_t life = random_below(&r, round % 2 ? LIFE_MAX_US : LIFE_MAX_US / 20);
		/* A batch that had begun and is not there is lost for good: its number comes again. */
		struct outcome outcome = run_child(plan, last + 1, life);
		last = verify(plan, &model, last, outcome);
		if (last && round % 4 == 3)
			assert_ok(wombat_check(database, no_damage, NULL));
	}
	assert_true(last > rounds);
	printf("%u batches in %u lives\n", last, rounds);
	model_done(&model);
}

static void test_kill(void **state)
{
	(void)state;
	struct plan plan = { .values = false };
	run_rounds(&plan, test_steps(ROUNDS), test_seed(__func__));
}

static void test_kill_with_values_elsewhere(void **state)
{
	(void)state;
	struct plan plan = { .values = true };
	run_rounds(&plan, test_steps(ROUNDS), test_seed(__func__));
}

static void test_kill_of_durable_writes(void **state)
{
	(void)state;
	struct plan plan = { .values = true, .sync = true };
	run_rounds(&plan, test_steps(ROUNDS) / 2, test_seed(__func__));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_kill, remove_database),
		cmocka_unit_test_teardown(test_kill_with_values_elsewhere, remove_database),
		cmocka_unit_test_teardown(test_kill_of_durable_writes, remove_database),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
