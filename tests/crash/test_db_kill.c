/*
 * kill -9: a child process writes to a database in a real directory and tells each acknowledged batch through a pipe;
 * it is killed at a random moment, and the database is opened again.
 *
 * The page cache outlives the process, so every acknowledged batch must be there, durable or not, and the one that was
 * being written whole or not at all. A batch gives KEYS keys the same round number, in their values; so that large and
 * small values are concerned their sizes follow from it.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/base/random.h"
#include "engine/wombat.h"
#include "tests/support/check.h"
#include "tests/support/seed.h"

enum { KEYS = 5, KILLS = 15, LARGE = 40000 };

static char directory[] = "/tmp/wombat-kill.XXXXXX";

static size_t size_of(uint64_t round, int key)
{
	return 8 + hash_mix(round * 31 + (uint64_t)key) % (key == 0 ? LARGE : 300);
}

static void fill(uint8_t *out, uint64_t round, int key)
{
	memset(out, (int)(round * 7 + (uint64_t)key), size_of(round, key));
	memcpy(out, &round, sizeof round);
}

static struct wombat_slice name_of(int key)
{
	static char text[16];
	snprintf(text, sizeof text, "d/key%d", key);
	return WOMBAT_STR(text);
}

static struct wombat *open_db(void)
{
	static const char *const settings[][2] = { { "mem_table_size", "256K" }, { "wal_file_size", "128K" },
		{ "value_threshold", "10K" }, { "value_log_file_size", "256K" }, { "num_level_zero_tables", "2" } };
	struct wombat_options *options = wombat_options_new();
	struct wombat *db;
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		assert_ok(wombat_options_set(options, settings[i][0], settings[i][1]));
	assert_ok(wombat_open(directory, options, WOMBAT_CREATE, &db));
	wombat_options_free(options);
	return db;
}

/* In the child, until it is killed. Cannot assert: its parent is the one who counts. */
static void write_for_ever(uint64_t round, int told)
{
	static uint8_t value[8 + LARGE];
	struct wombat_batch *b = wombat_batch_new();
	struct wombat *db = open_db();
	for (;; round++) {
		wombat_batch_clear(b);
		for (int key = 0; key < KEYS; key++) {
			fill(value, round, key);
			if (wombat_batch_put(b, WOMBAT_USER, name_of(key), WOMBAT_SLICE(value, size_of(round, key)), NULL) != WOMBAT_OK)
				_exit(2);
		}
		if (wombat_write(db, b, round % 16 == 0 ? WOMBAT_SYNC : 0, NULL) != WOMBAT_OK)
			_exit(3);
		if (write(told, &round, sizeof round) != sizeof round)
			_exit(4);
	}
}

/* Starts at `round`, kills after a while; the last round that was told. */
static uint64_t run_and_kill(uint64_t round, struct random_state *random)
{
	int ends[2];
	uint64_t last = round - 1, told;
	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(ends[0]);
		write_for_ever(round, ends[1]);
	}
	close(ends[1]);
	/* The moment is counted from its first word, so that there is something to lose. */
	assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
	struct timespec pause = { 0, (long)(1000000 + random_below(random, 150000000)) };
	nanosleep(&pause, NULL);
	assert_int_equal(kill(child, SIGKILL), 0);
	last = told;
	while (read(ends[0], &told, sizeof told) == sizeof told)
		last = told;
	close(ends[0]);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return last;
}

/* The round that the database holds, the same for all keys. */
static uint64_t found_round(struct wombat *db)
{
	static uint8_t want[8 + LARGE];
	uint64_t round = 0, this_round;
	for (int key = 0; key < KEYS; key++) {
		struct wombat_record r;
		assert_ok(wombat_get(db, NULL, WOMBAT_USER, name_of(key), &r));
		assert_true(r.value.size >= sizeof this_round);
		memcpy(&this_round, r.value.data, sizeof this_round);
		if (key == 0)
			round = this_round;
		assert_int_equal(this_round, round);
		assert_int_equal(r.value.size, size_of(round, key));
		fill(want, round, key);
		assert_memory_equal(r.value.data, want, r.value.size);
		wombat_record_release(&r);
	}
	return round;
}

static void note_damage(void *arg, bool is_damage, const char *sentence)
{
	if (is_damage)
		fprintf(stderr, "%s\n", sentence);
	*(int *)arg += is_damage;
}

static void test_kill(void **state)
{
	(void)state;
	struct random_state random;
	uint64_t next = 1;
	random_seed(&random, test_seed("kill"));
	for (int i = 0; i < KILLS; i++) {
		int damage = 0;
		uint64_t last = run_and_kill(next, &random);
		assert_ok(wombat_check(directory, note_damage, &damage));
		assert_int_equal(damage, 0);
		struct wombat *db = open_db();
		uint64_t found = found_round(db);
		assert_true(found == last || found == last + 1);
		assert_ok(wombat_close(db));
		next = found + 1;
	}
	printf("%llu batches, %d kills\n", (unsigned long long)next - 1, KILLS);
	assert_true(next > KILLS);
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

/* Also when the test failed. */
static int remove_directory(void **state)
{
	(void)state;
	DIR *d = opendir(directory);
	if (!d)
		return -1;
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_kill) };
	return cmocka_run_group_tests_name("db_kill", tests, make_directory, remove_directory);
}
