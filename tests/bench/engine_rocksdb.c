/*
 * RocksDB through its C interface. Reads pin the value where it lies, as wombat_get does, rather than copy it.
 */
#include <rocksdb/c.h>
#include <stdlib.h>

#include "tests/bench/engine.h"

struct rocks {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_cache_t *cache;
	rocksdb_block_based_table_options_t *table; /* owns the filter */
	rocksdb_writeoptions_t *write;
	rocksdb_readoptions_t *read;
};

struct session {
	struct rocks *r;
	rocksdb_iterator_t *iter;
	rocksdb_pinnableslice_t *value; /* what the last get returned */
};

static void must(char *error)
{
	if (error)
		die("rocksdb", error);
}

static void *begin(const struct engine_config *c)
{
	struct rocks *r = zalloc(sizeof *r);
	char *error = NULL;
	r->options = rocksdb_options_create();
	r->table = rocksdb_block_based_options_create();
	r->cache = rocksdb_cache_create_lru(c->cache);
	rocksdb_block_based_options_set_block_cache(r->table, r->cache);
	rocksdb_block_based_options_set_filter_policy(r->table, rocksdb_filterpolicy_create_bloom_full(c->bloom_bits));
	rocksdb_options_set_block_based_table_factory(r->options, r->table);
	rocksdb_options_set_create_if_missing(r->options, 1);
	rocksdb_options_set_write_buffer_size(r->options, c->buffer);
	rocksdb_options_set_compression(r->options, c->compress ? rocksdb_zlib_compression : rocksdb_no_compression);
	rocksdb_options_set_enable_blob_files(r->options, c->large_values);
	rocksdb_options_set_blob_compression_type(r->options, c->compress ? rocksdb_zlib_compression : rocksdb_no_compression);
	r->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(r->write, c->sync);
	r->read = rocksdb_readoptions_create();
	r->db = rocksdb_open(r->options, c->dir, &error);
	must(error);
	return r;
}

static void end(void *db)
{
	struct rocks *r = db;
	rocksdb_close(r->db);
	rocksdb_options_destroy(r->options);
	rocksdb_cache_destroy(r->cache);
	rocksdb_block_based_options_destroy(r->table);
	rocksdb_writeoptions_destroy(r->write);
	rocksdb_readoptions_destroy(r->read);
	free(r);
}

static void *session_begin(void *db)
{
	struct session *s = zalloc(sizeof *s);
	s->r = db;
	return s;
}

static void move_end(void *p)
{
	struct session *s = p;
	if (s->iter)
		rocksdb_iter_destroy(s->iter);
	s->iter = NULL;
}

static void session_end(void *p)
{
	struct session *s = p;
	move_end(s);
	rocksdb_pinnableslice_destroy(s->value);
	free(s);
}

static void put(void *p, struct bytes key, struct bytes value)
{
	struct session *s = p;
	char *error = NULL;
	rocksdb_put(s->r->db, s->r->write, key.data, key.size, value.data, value.size, &error);
	must(error);
}

static void erase(void *p, struct bytes key)
{
	struct session *s = p;
	char *error = NULL;
	rocksdb_delete(s->r->db, s->r->write, key.data, key.size, &error);
	must(error);
}

static void put_batch(void *p, size_t count, const struct bytes *keys, const struct bytes *values)
{
	struct session *s = p;
	char *error = NULL;
	rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
	for (size_t i = 0; i < count; i++)
		rocksdb_writebatch_put(batch, keys[i].data, keys[i].size, values[i].data, values[i].size);
	rocksdb_write(s->r->db, s->r->write, batch, &error);
	rocksdb_writebatch_destroy(batch);
	must(error);
}

static bool get(void *p, struct bytes key, struct bytes *out_value)
{
	struct session *s = p;
	char *error = NULL;
	rocksdb_pinnableslice_destroy(s->value);
	s->value = rocksdb_get_pinned(s->r->db, s->r->read, key.data, key.size, &error);
	must(error);
	if (s->value)
		out_value->data = rocksdb_pinnableslice_value(s->value, &out_value->size);
	return s->value != NULL;
}

static bool move(void *p, enum move how, struct bytes key, struct bytes *out_key, struct bytes *out_value)
{
	struct session *s = p;
	char *error = NULL;
	if (how <= MOVE_SEEK) {
		move_end(s);
		s->iter = rocksdb_create_iterator(s->r->db, s->r->read);
	}
	switch (how) {
	case MOVE_FIRST: rocksdb_iter_seek_to_first(s->iter); break;
	case MOVE_LAST: rocksdb_iter_seek_to_last(s->iter); break;
	case MOVE_SEEK: rocksdb_iter_seek(s->iter, key.data, key.size); break;
	case MOVE_NEXT: rocksdb_iter_next(s->iter); break;
	case MOVE_PREV: rocksdb_iter_prev(s->iter); break;
	}
	if (!rocksdb_iter_valid(s->iter)) {
		rocksdb_iter_get_error(s->iter, &error);
		must(error);
		return false;
	}
	out_key->data = rocksdb_iter_key(s->iter, &out_key->size);
	out_value->data = rocksdb_iter_value(s->iter, &out_value->size);
	return true;
}

static void flush(void *db)
{
	struct rocks *r = db;
	char *error = NULL;
	rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
	rocksdb_flush(r->db, options, &error);
	rocksdb_flushoptions_destroy(options);
	must(error);
}

const struct engine rocksdb_engine = { "rocksdb", begin,     end, session_begin, session_end, put,
				       erase,	  put_batch, get, move,		 move_end,    flush };
