/* See db_model.h. */
#include "tests/support/db_model.h"

#include <string.h>

#include "tests/support/check.h"

void db_model_init(struct db_model *m, const char *const *settings)
{
	const char *all[64] = { "mem_table_size", "64K", "wal_file_size", "64K", "block_size", "1K" };
	size_t n = 6;
	for (const char *const *s = settings; s && *s && n < 62; s++)
		all[n++] = *s;
	db_world_init(&m->world, all);
	model_init(&m->model);
}

void db_model_done(struct db_model *m)
{
	db_world_done(&m->world);
	model_done(&m->model);
}

void db_model_put(struct db_model *m, const char *key, const char *value)
{
	db_world_put(&m->world, key, value);
	model_put(&m->model, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(value), NULL);
}

void db_model_delete(struct db_model *m, const char *key)
{
	assert_ok(wombat_delete(m->world.db, WOMBAT_USER, WOMBAT_STR(key)));
	model_delete(&m->model, WOMBAT_USER, WOMBAT_STR(key));
}

void db_model_change(struct db_model *m, struct opgen *gen, unsigned count)
{
	struct wombat_batch *batch = wombat_batch_new();
	assert_non_null(batch);
	for (unsigned i = 0; i < count; i++)
		opgen_change(gen, batch, &m->model);
	assert_ok(wombat_write(m->world.db, batch, 0, NULL));
	wombat_batch_free(batch);
}

static void assert_same(const struct wombat_record *r, const struct model_record *want)
{
	assert_int_equal(r->key.size, want->key_size - 1);
	assert_true(r->key.size == 0 || memcmp(r->key.data, want->key + 1, r->key.size) == 0);
	assert_int_equal(r->value_size, want->value_size);
	assert_true(want->value_size == 0 || memcmp(r->value.data, want->value, want->value_size) == 0);
	assert_int_equal(r->attr.size, want->attr_size);
	assert_true(want->attr_size == 0 || memcmp(r->attr.data, want->attr, want->attr_size) == 0);
	assert_int_equal(r->expiry_ns, want->expiry_ns);
}

void db_model_compare(struct db_model *m, uint64_t now_ns)
{
	const struct model *model = &m->model;
	for (unsigned keyspace = WOMBAT_USER; keyspace <= WOMBAT_FS_DIRS; keyspace++) {
		struct wombat_iter *it;
		assert_ok(wombat_iter_new(m->world.db, NULL, keyspace, &it));
		bool on = wombat_iter_first(it);
		for (size_t i = model_seek(model, keyspace, WOMBAT_STR("")); i < model->count; i++) {
			const struct model_record *want = &model->records[i];
			if (want->key[0] != keyspace)
				break;
			if (want->expiry_ns && want->expiry_ns <= now_ns)
				continue;
			assert_true(on);
			assert_same(wombat_iter_record(it), want);
			on = wombat_iter_next(it);
		}
		assert_false(on);
		assert_ok(wombat_iter_status(it));
		wombat_iter_free(it);
	}
}
