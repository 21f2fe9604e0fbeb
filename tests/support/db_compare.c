#include "tests/support/db_compare.h"

#include <string.h>

#include "engine/db/db.h"
#include "tests/support/check.h"

static void compare_keyspace(struct wombat *a, struct wombat *b, unsigned keyspace)
{
	struct wombat_iter *x, *y;
	assert_ok(wombat_iter_new(a, NULL, keyspace, &x));
	assert_ok(wombat_iter_new(b, NULL, keyspace, &y));
	bool more = wombat_iter_first(x);
	assert_int_equal(wombat_iter_first(y), more);
	while (more) {
		const struct wombat_record *p = wombat_iter_record(x), *q = wombat_iter_record(y);
		assert_true(p->key.size == q->key.size && memcmp(p->key.data, q->key.data, p->key.size) == 0);
		assert_int_equal(p->value.size, q->value.size);
		if (p->value.size)
			assert_memory_equal(p->value.data, q->value.data, p->value.size);
		assert_true(p->attr.size == q->attr.size && p->time_ns == q->time_ns && p->expiry_ns == q->expiry_ns);
		if (p->attr.size)
			assert_memory_equal(p->attr.data, q->attr.data, p->attr.size);
		more = wombat_iter_next(x);
		assert_int_equal(wombat_iter_next(y), more);
	}
	assert_ok(wombat_iter_status(x));
	assert_ok(wombat_iter_status(y));
	wombat_iter_free(x);
	wombat_iter_free(y);
}

void db_compare_equal(struct wombat *a, struct wombat *b)
{
	for (unsigned keyspace = 1; keyspace <= 4; keyspace++)
		compare_keyspace(a, b, keyspace);
}

static void on_finding(void *arg, bool is_damage, const char *sentence)
{
	(void)arg;
	if (is_damage)
		fail_msg("%s", sentence);
}

void db_compare_copy(struct wombat *a, struct env *env, const char *dir)
{
	struct wombat *b;
	assert_ok(db_open_env(env, dir, NULL, 0, &b));
	db_compare_equal(a, b);
	assert_ok(wombat_close(b));
	assert_ok(db_check_env(env, dir, on_finding, NULL));
}
