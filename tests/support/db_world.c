/* See db_world.h. */
#include "tests/support/db_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/check.h"
#include "tests/support/values.h"

enum { AWAIT_STEPS = 40000, AWAIT_STEP_NS = 500000 };

/* ---- Open and close ------------------------------------------------------------------------ */

void db_world_open(struct db_world *w)
{
	assert_ok(db_open_env(w->env, DB_WORLD_DIR, w->options, WOMBAT_CREATE, &w->db));
}

void db_world_init(struct db_world *w, const char *const *settings)
{
	static const char *const small[] = {
		"mem_table_size", "256K", "wal_file_size", "128K", "max_table_size", "64K", "sync_interval_ms", "0",
		"value_threshold", "0", "value_log_file_size", "64K", NULL,
	};
	*w = (struct db_world){ .db = NULL };
	pthread_mutex_init(&w->fault.mu, NULL);
	pthread_cond_init(&w->fault.changed, NULL);
	assert_ok(env_mem_new(&w->env));
	w->options = wombat_options_new();
	assert_non_null(w->options);
	for (const char *const *s = small; *s; s += 2)
		assert_ok(wombat_options_set(w->options, s[0], s[1]));
	for (const char *const *s = settings; s && *s; s += 2)
		assert_ok(wombat_options_set(w->options, s[0], s[1]));
	db_world_open(w);
}

void db_world_close(struct db_world *w)
{
	assert_ok(wombat_close(w->db));
	w->db = NULL;
}

void db_world_done(struct db_world *w)
{
	db_world_close(w);
	wombat_options_free(w->options);
	w->env->calls->free(w->env);
	pthread_mutex_destroy(&w->fault.mu);
	pthread_cond_destroy(&w->fault.changed);
}

enum wombat_status db_world_set(struct db_world *w, const char *name, const char *value)
{
	struct wombat_setting setting = { name, value };
	return wombat_set(w->db, &setting, 1);
}

/* ---- Records ------------------------------------------------------------------------------- */

void db_world_put(struct db_world *w, const char *key, const char *value)
{
	assert_ok(wombat_put(w->db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(value)));
}

void db_world_put_filled(struct db_world *w, const char *key, size_t size, unsigned n)
{
	uint8_t *bytes = malloc(size + 1);
	assert_non_null(bytes);
	values_fill(bytes, size, n);
	assert_ok(wombat_put(w->db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_SLICE(bytes, size)));
	free(bytes);
}

static void expect_bytes(struct db_world *w, unsigned keyspace, const char *key, struct wombat_slice value)
{
	struct wombat_record r;
	assert_ok(wombat_get(w->db, NULL, keyspace, WOMBAT_STR(key), &r));
	assert_int_equal(r.value.size, value.size);
	if (value.size)
		assert_memory_equal(r.value.data, value.data, value.size);
	wombat_record_release(&r);
}

void db_world_expect(struct db_world *w, unsigned keyspace, const char *key, const char *value)
{
	struct wombat_record r;
	if (value)
		expect_bytes(w, keyspace, key, WOMBAT_STR(value));
	else
		assert_status(wombat_get(w->db, NULL, keyspace, WOMBAT_STR(key), &r), WOMBAT_NOT_FOUND);
}

void db_world_expect_filled(struct db_world *w, const char *key, size_t size, unsigned n)
{
	uint8_t *bytes = malloc(size + 1);
	assert_non_null(bytes);
	values_fill(bytes, size, n);
	expect_bytes(w, WOMBAT_USER, key, WOMBAT_SLICE(bytes, size));
	free(bytes);
}

/* ---- Figures ------------------------------------------------------------------------------- */

double db_world_stat(struct db_world *w, const char *name)
{
	double value = -1;
	assert_ok(wombat_stat(w->db, name, &value));
	return value;
}

void db_world_await(struct db_world *w, const char *name, double least)
{
	const struct timespec step = { .tv_nsec = AWAIT_STEP_NS };
	for (unsigned i = 0; i < AWAIT_STEPS; i++) {
		if (db_world_stat(w, name) >= least)
			return;
		nanosleep(&step, NULL);
	}
	fail_msg("%s is %g and does not become %g", name, db_world_stat(w, name), least);
}

/* ---- Files --------------------------------------------------------------------------------- */

struct search {
	enum file_kind kind;
	const char *name; /* NULL: all of that kind */
	unsigned count;
	uint64_t first;
};

static void search_name(void *arg, const char *name)
{
	struct search *s = arg;
	uint64_t number;
	if (s->name ? strcmp(name, s->name) != 0 : filename_parse(name, &number) != s->kind)
		return;
	if (!s->name && (!s->count || number < s->first))
		s->first = number;
	s->count++;
}

unsigned db_world_files(struct db_world *w, enum file_kind kind, uint64_t *out_first)
{
	struct search s = { .kind = kind };
	assert_ok(w->env->calls->dir_list(w->env, DB_WORLD_DIR, search_name, &s));
	if (out_first)
		*out_first = s.first;
	return s.count;
}

bool db_world_has_file(struct db_world *w, const char *name)
{
	struct search s = { .name = name };
	assert_ok(w->env->calls->dir_list(w->env, DB_WORLD_DIR, search_name, &s));
	return s.count > 0;
}

void db_world_write_file(struct db_world *w, const char *name, const void *data, size_t size)
{
	assert_ok(env_replace_file(w->env, DB_WORLD_DIR, name, WOMBAT_SLICE(data, size)));
}

/* ---- Faults -------------------------------------------------------------------------------- */

static enum wombat_status on_call(void *arg, const char *op, const char *path)
{
	struct db_fault *f = arg;
	enum wombat_status s = WOMBAT_OK;
	pthread_mutex_lock(&f->mu);
	bool concerned = (f->hold || f->status != WOMBAT_OK) && (!f->own || pthread_equal(f->thread, pthread_self())) &&
			 strncmp(op, f->op, strlen(f->op)) == 0 && strstr(path, f->part);
	if (concerned && f->skip > 0) {
		f->skip--;
	} else if (concerned) {
		f->hits++;
		s = f->status;
		pthread_cond_broadcast(&f->changed);
		while (f->hold)
			pthread_cond_wait(&f->changed, &f->mu);
	}
	pthread_mutex_unlock(&f->mu);
	return s;
}

struct db_fault_kind {
	bool hold, own;
	enum wombat_status status;
};

static void arm(struct db_world *w, const char *op, const char *part, unsigned skip, struct db_fault_kind kind)
{
	struct db_fault *f = &w->fault;
	pthread_mutex_lock(&f->mu);
	snprintf(f->op, sizeof f->op, "%s", op);
	snprintf(f->part, sizeof f->part, "%s", part);
	f->skip = skip;
	f->hits = 0;
	f->hold = kind.hold;
	f->own = kind.own;
	f->thread = pthread_self();
	f->status = kind.status;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mu);
	env_mem_on_call(w->env, on_call, f);
}

void db_world_fail(struct db_world *w, const char *op, const char *part, unsigned skip, enum wombat_status status)
{
	arm(w, op, part, skip, (struct db_fault_kind){ .status = status });
}

void db_world_fail_own(struct db_world *w, const char *op, const char *part, unsigned skip, enum wombat_status status)
{
	arm(w, op, part, skip, (struct db_fault_kind){ .own = true, .status = status });
}

void db_world_hold(struct db_world *w, const char *op, const char *part)
{
	arm(w, op, part, 0, (struct db_fault_kind){ .hold = true });
}

void db_world_await_held(struct db_world *w)
{
	struct db_fault *f = &w->fault;
	pthread_mutex_lock(&f->mu);
	while (f->hits == 0)
		pthread_cond_wait(&f->changed, &f->mu);
	pthread_mutex_unlock(&f->mu);
}

/* The hook stays: a thread may be in it. It concerns nothing now. */
unsigned db_world_let_go(struct db_world *w)
{
	struct db_fault *f = &w->fault;
	pthread_mutex_lock(&f->mu);
	unsigned hits = f->hits;
	f->hold = false;
	f->status = WOMBAT_OK;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mu);
	return hits;
}
