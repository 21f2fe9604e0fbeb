/* LevelDB through its C interface. It has no call that empties its buffer, so its writes are counted without the last. */
#include <leveldb/c.h>
#include <stdlib.h>

#include "tests/bench/engine.h"

struct level {
	leveldb_t *db;
	leveldb_options_t *options;
	leveldb_cache_t *cache;
	leveldb_filterpolicy_t *filter;
	leveldb_writeoptions_t *write;
	leveldb_readoptions_t *read;
};

struct session {
	struct level *l;
	leveldb_iterator_t *iter;
	char *value; /* what the last get returned */
};

static void must(char *error)
{
	if (error)
		die("leveldb", error);
}

static void *begin(const struct engine_config *c)
{
	struct level *l = zalloc(sizeof *l);
	char *error = NULL;
	l->options = leveldb_options_create();
	l->cache = leveldb_cache_create_lru(c->cache);
	l->filter = leveldb_filterpolicy_create_bloom(c->bloom_bits);
	leveldb_options_set_create_if_missing(l->options, 1);
	leveldb_options_set_cache(l->options, l->cache);
	leveldb_options_set_filter_policy(l->options, l->filter);
	leveldb_options_set_write_buffer_size(l->options, c->buffer);
	leveldb_options_set_compression(l->options, c->compress ? leveldb_snappy_compression : leveldb_no_compression);
	l->write = leveldb_writeoptions_create();
	leveldb_writeoptions_set_sync(l->write, c->sync);
	l->read = leveldb_readoptions_create();
	l->db = leveldb_open(l->options, c->dir, &error);
	must(error);
	return l;
}

static void end(void *db)
{
	struct level *l = db;
	leveldb_close(l->db);
	leveldb_options_destroy(l->options);
	leveldb_cache_destroy(l->cache);
	leveldb_filterpolicy_destroy(l->filter);
	leveldb_writeoptions_destroy(l->write);
	leveldb_readoptions_destroy(l->read);
	free(l);
}

static void *session_begin(void *db)
{
	struct session *s = zalloc(sizeof *s);
	s->l = db;
	return s;
}

static void move_end(void *p)
{
	struct session *s = p;
	if (s->iter)
		leveldb_iter_destroy(s->iter);
	s->iter = NULL;
}

static void session_end(void *p)
{
	struct session *s = p;
	move_end(s);
	leveldb_free(s->value);
	free(s);
}

static void put(void *p, struct bytes key, struct bytes value)
{
	struct session *s = p;
	char *error = NULL;
	leveldb_put(s->l->db, s->l->write, key.data, key.size, value.data, value.size, &error);
	must(error);
}

static void erase(void *p, struct bytes key)
{
	struct session *s = p;
	char *error = NULL;
	leveldb_delete(s->l->db, s->l->write, key.data, key.size, &error);
	must(error);
}

static void put_batch(void *p, size_t count, const struct bytes *keys, const struct bytes *values)
{
	struct session *s = p;
	char *error = NULL;
	leveldb_writebatch_t *batch = leveldb_writebatch_create();
	for (size_t i = 0; i < count; i++)
		leveldb_writebatch_put(batch, keys[i].data, keys[i].size, values[i].data, values[i].size);
	leveldb_write(s->l->db, s->l->write, batch, &error);
	leveldb_writebatch_destroy(batch);
	must(error);
}

static bool get(void *p, struct bytes key, struct bytes *out_value)
{
	struct session *s = p;
	char *error = NULL;
	leveldb_free(s->value);
	s->value = leveldb_get(s->l->db, s->l->read, key.data, key.size, &out_value->size, &error);
	must(error);
	out_value->data = s->value;
	return s->value != NULL;
}

static bool move(void *p, enum move how, struct bytes key, struct bytes *out_key, struct bytes *out_value)
{
	struct session *s = p;
	char *error = NULL;
	if (how <= MOVE_SEEK) {
		move_end(s);
		s->iter = leveldb_create_iterator(s->l->db, s->l->read);
	}
	switch (how) {
	case MOVE_FIRST: leveldb_iter_seek_to_first(s->iter); break;
	case MOVE_LAST: leveldb_iter_seek_to_last(s->iter); break;
	case MOVE_SEEK: leveldb_iter_seek(s->iter, key.data, key.size); break;
	case MOVE_NEXT: leveldb_iter_next(s->iter); break;
	case MOVE_PREV: leveldb_iter_prev(s->iter); break;
	}
	if (!leveldb_iter_valid(s->iter)) {
		leveldb_iter_get_error(s->iter, &error);
		must(error);
		return false;
	}
	out_key->data = leveldb_iter_key(s->iter, &out_key->size);
	out_value->data = leveldb_iter_value(s->iter, &out_value->size);
	return true;
}

const struct engine leveldb_engine = { "leveldb", begin,     end, session_begin, session_end, put,
				       erase,	  put_batch, get, move,		 move_end,    NULL };
