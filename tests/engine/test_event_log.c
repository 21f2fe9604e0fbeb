/*
 * The event log: what is written at which level, that it stays within its bounds, that its failures are nobody else's;
 * which events a database tells, and slow operations with where their time went.
 */
#include "engine/db/event_log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"
#include "tests/support/db_world.h"
#include "tests/support/scarce.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

static struct env *new_env(void)
{
	struct env *env;
	assert_ok(env_mem_new(&env));
	env_mem_set_now(env, UINT64_C(1764000000123000000)); /* 2025-11-24T16:00:00.123Z */
	return env;
}

/* The file's text; "" when there is none. Good until the next call. */
static const char *text_of(struct env *env, const char *path)
{
	static char text[EVENT_LOG_BYTES + 2000];
	size_t size = 0;
	const uint8_t *bytes = env_mem_bytes(env, path, &size);
	assert_true(size < sizeof text);
	if (bytes)
		memcpy(text, bytes, size);
	text[bytes ? size : 0] = 0;
	return text;
}

static void expect_counts(const struct event_log *l, uint64_t written, uint64_t lost)
{
	uint64_t w, n;
	event_log_counts(l, &w, &n);
	assert_int_equal(w, written);
	assert_int_equal(n, lost);
}

static void test_lines_and_levels(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct event_log *l;
	assert_ok(event_log_new(env, "db", EVENT_WARN, &l));
	assert_null(env_mem_bytes(env, "db/LOG", &(size_t){ 0 })); /* before the first line there is no file */
	event_log_line(l, EVENT_INFO, "not at this level");
	event_log_line(l, EVENT_WARN, "one %d", 1);
	event_log_line(l, EVENT_ERROR, "two\nlines are one");
	assert_string_equal(text_of(env, "db/LOG"),
		"2025-11-24T16:00:00.123Z warn one 1\n2025-11-24T16:00:00.123Z error two lines are one\n");
	assert_true(event_log_wants(l, EVENT_WARN) && !event_log_wants(l, EVENT_INFO) && !event_log_wants(NULL, EVENT_ERROR));
	event_log_set_level(l, EVENT_OFF);
	event_log_line(l, EVENT_ERROR, "nothing");
	event_log_set_level(l, EVENT_DEBUG);
	event_log_line(l, EVENT_DEBUG, "everything");
	event_log_line(NULL, EVENT_ERROR, "nowhere");
	expect_counts(l, 3, 0);
	expect_counts(NULL, 0, 0);
	assert_non_null(strstr(text_of(env, "db/LOG"), "debug everything\n"));
	event_log_free(l);
	/* A later one goes on behind. */
	assert_ok(event_log_new(env, "db", EVENT_INFO, &l));
	event_log_line(l, EVENT_INFO, "again");
	assert_true(strstr(text_of(env, "db/LOG"), "warn one 1\n") && strstr(text_of(env, "db/LOG"), "info again\n"));
	event_log_free(l);
	event_log_free(NULL);
	env->calls->free(env);
}

static void test_long_lines(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct event_log *l;
	static char text[3000];
	memset(text, 'x', sizeof text - 1);
	assert_ok(event_log_new(env, "db", EVENT_INFO, &l));
	status_set_detail("what failed before");
	event_log_line(l, EVENT_INFO, "%s", text);
	event_log_line(l, EVENT_INFO, "short");
	assert_string_equal(status_detail(), "what failed before");
	const char *all = text_of(env, "db/LOG"), *end = strchr(all, '\n');
	assert_true(end && end - all > 900 && end - all < 1100);
	assert_non_null(strstr(end, "short\n"));
	event_log_free(l);
	env->calls->free(env);
}

static void test_two_files_at_most(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct event_log *l;
	size_t size;
	assert_ok(event_log_new(env, "db", EVENT_INFO, &l));
	for (unsigned i = 0; i < 40000; i++) {
		event_log_line(l, EVENT_INFO, "line %06u of some forty bytes that fill it up", i);
		if (i % 1000 == 0) {
			env_mem_bytes(env, "db/LOG", &size);
			assert_true(size <= EVENT_LOG_BYTES);
		}
	}
	assert_non_null(strstr(text_of(env, "db/LOG"), "line 039999"));
	assert_null(strstr(text_of(env, "db/LOG.old"), "line 039999"));
	env_mem_bytes(env, "db/LOG.old", &size);
	assert_true(size <= EVENT_LOG_BYTES && size > EVENT_LOG_BYTES - 200);
	/* No line is lost between the two. */
	char next[32];
	const char *old = text_of(env, "db/LOG.old"), *tail = old + strlen(old);
	while (strncmp(tail, "line ", 5) != 0)
		tail--;
	snprintf(next, sizeof next, "line %06u", (unsigned)atoi(tail + 5) + 1);
	const char *first = strstr(text_of(env, "db/LOG"), "line ");
	assert_memory_equal(first, next, strlen(next));
	expect_counts(l, 40000, 0);
	event_log_free(l);
	env->calls->free(env);
}

static unsigned failing;

static enum wombat_status fail_log(void *arg, const char *op, const char *path)
{
	(void)arg;
	(void)op;
	if (!failing || !strstr(path, "/LOG"))
		return WOMBAT_OK;
	failing--;
	return WOMBAT_NO_SPACE;
}

static void test_lost_lines(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct event_log *l;
	assert_ok(event_log_new(env, "db", EVENT_INFO, &l));
	env_mem_on_call(env, fail_log, NULL);
	uint64_t written = 0, lost = 0, before = 0;
	for (unsigned n = 1; n < 10; n++) {
		failing = n;
		do {
			before = lost;
			event_log_line(l, EVENT_INFO, "round %u", n);
			event_log_counts(l, &written, &lost);
		} while (lost > before || failing); /* until one got through */
	}
	assert_true(lost > 5 && written >= 9);
	assert_non_null(strstr(text_of(env, "db/LOG"), "info round 9\n"));
	event_log_free(l);
	env->calls->free(env);
}

static void *write_lines(void *arg)
{
	for (unsigned i = 0; i < 500; i++)
		event_log_line(arg, EVENT_INFO, "line %u", i);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	struct env *env = new_env();
	struct event_log *l;
	pthread_t threads[4];
	assert_ok(event_log_new(env, "db", EVENT_INFO, &l));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, l), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	expect_counts(l, 2000, 0);
	unsigned lines = 0;
	for (const char *p = text_of(env, "db/LOG"); (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 2000);
	event_log_free(l);
	env->calls->free(env);
}

/* ---- Of a database ------------------------------------------------------------------------- */

static bool says(struct db_world *w, const char *text)
{
	return strstr(text_of(w->env, DB_WORLD_DIR "/LOG"), text) != NULL;
}

static void test_events(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, (const char *const[]){ "value_threshold", "1000", NULL });
	assert_true(says(&w, "info opened by wombat"));
	db_world_put_filled(&w, "a", 5000, 1);
	assert_ok(wombat_flush(w.db));
	assert_true(says(&w, "info flush: 1 memtables, "));
	db_world_put_filled(&w, "a", 5000, 2);
	assert_ok(wombat_flush(w.db));
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	assert_true(says(&w, "info compaction: 2 tables of level 0 and 0 of level 1, read "));
	assert_ok(db_world_set(&w, "block_size", "2K"));
	assert_true(says(&w, "info option block_size is 2K\n"));
	assert_ok(db_world_set(&w, "log_level", "error"));
	double lines = db_world_stat(&w, "log.lines_total");
	assert_ok(db_world_set(&w, "block_size", "3K"));
	db_world_put(&w, "b", "1");
	assert_ok(wombat_flush(w.db));
	assert_true(!says(&w, "3K") && db_world_stat(&w, "log.lines_total") == lines);
	/* A table that overlaps nothing goes down as it is. */
	assert_ok(db_world_set(&w, "log_level", "debug"));
	assert_ok(wombat_compact(w.db, 0, WOMBAT_STR(""), WOMBAT_STR("")));
	db_world_put(&w, "z", "1");
	assert_ok(wombat_flush(w.db));
	assert_ok(db_world_set(&w, "num_level_zero_tables", "1"));
	assert_ok(wombat_wait_idle(w.db));
	assert_true(says(&w, "debug moved 1 tables from level 0 to "));
	db_world_reopen(&w);
	assert_true(says(&w, "info closed\n"));
	/* What makes it read-only is told, though the log's own failures are not. */
	db_world_put(&w, "c", "1");
	db_world_fail(&w, "", ".sst", 0, WOMBAT_IO);
	assert_status(wombat_flush(w.db), WOMBAT_IO);
	db_world_let_go(&w);
	assert_true(says(&w, "error read-only from here on: io: "));
	assert_status(wombat_close(w.db), WOMBAT_IO);
	w.db = NULL;
	db_world_done(&w);
}

/* A log that cannot be written is no reason for anything else to fail. */
static void test_without_a_log(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, NULL);
	db_world_fail(&w, "", "/LOG", 0, WOMBAT_NO_SPACE);
	db_world_put(&w, "a", "1");
	assert_ok(wombat_flush(w.db));
	db_world_reopen(&w);
	db_world_expect(&w, WOMBAT_USER, "a", "1");
	assert_true(db_world_stat(&w, "log.lost_total") >= 1);
	db_world_let_go(&w);
	assert_ok(db_world_set(&w, "block_size", "2K"));
	assert_true(says(&w, "option block_size is 2K"));
	db_world_done(&w);
}

static void *put_durably(void *arg)
{
	struct db_world *w = arg;
	struct wombat_batch *b = wombat_batch_new();
	assert_ok(wombat_batch_put(b, WOMBAT_USER, WOMBAT_STR("slow/key"), WOMBAT_STR("1"), NULL));
	assert_ok(wombat_write(w->db, b, WOMBAT_SYNC, NULL));
	wombat_batch_free(b);
	return NULL;
}

/* A write that waits for the disk longer than the threshold, and one that does not. */
static void test_slow_operations(void **state)
{
	(void)state;
	struct db_world w;
	pthread_t thread;
	db_world_init(&w, (const char *const[]){ "slow_operation_threshold_ms", "20", NULL });
	db_world_put(&w, "fast", "1");
	db_world_hold(&w, "segment_sync", ".wal");
	assert_int_equal(pthread_create(&thread, NULL, put_durably, &w), 0);
	db_world_await_held(&w);
	uint64_t begin = w.env->calls->monotonic_ns(w.env);
	while (w.env->calls->monotonic_ns(w.env) - begin < 30000000)
		sched_yield();
	db_world_let_go(&w);
	pthread_join(thread, NULL);
	assert_true(says(&w, "warn slow put of \"slow/key\" in keyspace 1: "));
	assert_true(says(&w, "(queue "));
	double sync;
	const char *at = strstr(text_of(w.env, DB_WORLD_DIR "/LOG"), ", sync ");
	assert_true(at && sscanf(at, ", sync %lf", &sync) == 1 && sync >= 20);
	assert_true(db_world_stat(&w, "slow_operations_total") >= 1);
	/* Switched off. */
	assert_ok(db_world_set(&w, "slow_operation_threshold_ms", "0"));
	double before = db_world_stat(&w, "slow_operations_total");
	db_world_hold(&w, "segment_sync", ".wal");
	assert_int_equal(pthread_create(&thread, NULL, put_durably, &w), 0);
	db_world_await_held(&w);
	begin = w.env->calls->monotonic_ns(w.env);
	while (w.env->calls->monotonic_ns(w.env) - begin < 30000000)
		sched_yield();
	db_world_let_go(&w);
	pthread_join(thread, NULL);
	assert_true(db_world_stat(&w, "slow_operations_total") == before);
	db_world_done(&w);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct env *env = new_env();
	unsigned n = 0;
	for (enum wombat_status s = WOMBAT_NO_MEMORY; s != WOMBAT_OK; n++) {
		struct event_log *l;
		scarce_begin(n);
		s = event_log_new(env, "db", EVENT_INFO, &l);
		if (s == WOMBAT_OK) {
			event_log_line(l, EVENT_INFO, "perhaps");
			event_log_free(l);
		}
		scarce_end();
		assert_true(s == WOMBAT_OK || s == WOMBAT_NO_MEMORY);
	}
	assert_true(n > 2);
	env->calls->free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_and_levels),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_two_files_at_most),
		cmocka_unit_test(test_lost_lines),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_without_a_log),
		cmocka_unit_test(test_slow_operations),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
