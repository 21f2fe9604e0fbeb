/*
 * Wombat through its public header, as any program would use it. Everything but the budgets is as it
 * comes; its filters take ten bits a key by themselves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/wombat.h"
#include "tests/bench/engine.h"

struct session {
	struct wombat *db;
	struct wombat_iter *iter;
	struct wombat_record pinned; /* what the last get returned */
};

static void must(enum wombat_status s)
{
	if (s != WOMBAT_OK)
		die("wombat", wombat_last_error());
}

static struct wombat_slice slice(struct bytes b)
{
	return WOMBAT_SLICE(b.data, b.size);
}

static struct bytes bytes(struct wombat_slice s)
{
	return (struct bytes){ (const char *)s.data, s.size };
}

static void set_number(struct wombat_options *o, const char *name, size_t value)
{
	char text[32];
	snprintf(text, sizeof text, "%zu", value);
	must(wombat_options_set(o, name, text));
}

static void *begin(const struct engine_config *c)
{
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	if (!o)
		die("wombat", wombat_last_error());
	set_number(o, "block_cache_size", c->cache);
	set_number(o, "mem_table_size", c->buffer);
	must(wombat_options_set(o, "sync_writes", c->sync ? "true" : "false"));
	must(wombat_options_set(o, "compression", c->compress ? "zlib" : "none"));
	must(wombat_open(c->dir, o, WOMBAT_CREATE, &db));
	wombat_options_free(o);
	return db;
}

static void end(void *db)
{
	must(wombat_close(db));
}

static void *session_begin(void *db)
{
	struct session *s = zalloc(sizeof *s);
	s->db = db;
	return s;
}

static void session_end(void *p)
{
	struct session *s = p;
	wombat_record_release(&s->pinned);
	wombat_iter_free(s->iter);
	free(s);
}

static void put(void *p, struct bytes key, struct bytes value)
{
	struct session *s = p;
	must(wombat_put(s->db, WOMBAT_USER, slice(key), slice(value)));
}

static void erase(void *p, struct bytes key)
{
	struct session *s = p;
	must(wombat_delete(s->db, WOMBAT_USER, slice(key)));
}

static void put_batch(void *p, size_t count, const struct bytes *keys, const struct bytes *values)
{
	struct session *s = p;
	struct wombat_batch *batch = wombat_batch_new();
	if (!batch)
		die("wombat", wombat_last_error());
	for (size_t i = 0; i < count; i++)
		must(wombat_batch_put(batch, WOMBAT_USER, slice(keys[i]), slice(values[i]), NULL));
	must(wombat_write(s->db, batch, 0, NULL));
	wombat_batch_free(batch);
}

static bool get(void *p, struct bytes key, struct bytes *out_value)
{
	struct session *s = p;
	wombat_record_release(&s->pinned);
	s->pinned = (struct wombat_record){ .value_size = 0 };
	enum wombat_status status = wombat_get(s->db, NULL, WOMBAT_USER, slice(key), &s->pinned);
	if (status == WOMBAT_NOT_FOUND)
		return false;
	must(status);
	*out_value = bytes(s->pinned.value);
	return true;
}

static void move_end(void *p)
{
	struct session *s = p;
	wombat_iter_free(s->iter);
	s->iter = NULL;
}

static bool move(void *p, enum move how, struct bytes key, struct bytes *out_key, struct bytes *out_value)
{
	struct session *s = p;
	bool on = false;
	if (how <= MOVE_SEEK) {
		move_end(s);
		must(wombat_iter_new(s->db, NULL, WOMBAT_USER, &s->iter));
	}
	switch (how) {
	case MOVE_FIRST: on = wombat_iter_first(s->iter); break;
	case MOVE_LAST: on = wombat_iter_last(s->iter); break;
	case MOVE_SEEK: on = wombat_iter_seek(s->iter, slice(key)); break;
	case MOVE_NEXT: on = wombat_iter_next(s->iter); break;
	case MOVE_PREV: on = wombat_iter_prev(s->iter); break;
	}
	if (!on) {
		must(wombat_iter_status(s->iter));
		return false;
	}
	const struct wombat_record *r = wombat_iter_record(s->iter);
	*out_key = bytes(r->key);
	*out_value = bytes(r->value);
	return true;
}

static void flush(void *db)
{
	must(wombat_flush(db));
	must(wombat_wait_idle(db));
}

const struct engine wombat_engine = { "wombat", begin,     end, session_begin, session_end, put,
				      erase,	put_batch, get, move,	       move_end,    flush };
