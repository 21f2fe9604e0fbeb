/*
 * WiredTiger, its B-tree with a log. Its cache also holds what is not yet written, so it gets the buffer's bytes on top
 * of the cache's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <wiredtiger.h>

#include "tests/bench/engine.h"

struct session {
	WT_SESSION *wt;
	WT_CURSOR *one;  /* for gets and puts */
	WT_CURSOR *scan;
};

static void must(int error)
{
	if (error)
		die("wiredtiger", wiredtiger_strerror(error));
}

static void *begin(const struct engine_config *c)
{
	WT_CONNECTION *db;
	WT_SESSION *wt;
	char config[512];
	mkdir(c->dir, 0755);
	/* method=none: a commit has reached the log file, as the others' have, and is not synced. */
	snprintf(config, sizeof config,
		 "create,session_max=256,cache_size=%zu,log=(enabled=true),checkpoint=(log_size=256MB),"
		 "transaction_sync=(enabled=true,method=%s)%s",
		 c->cache + c->buffer, c->sync ? "fsync" : "none", c->compress ? ",extensions=[libwiredtiger_zlib.so]" : "");
	must(wiredtiger_open(c->dir, NULL, config, &db));
	must(db->open_session(db, NULL, NULL, &wt));
	must(wt->create(wt, "table:bench",
			c->compress ? "key_format=u,value_format=u,block_compressor=zlib" : "key_format=u,value_format=u"));
	must(wt->close(wt, NULL));
	return db;
}

static void end(void *p)
{
	WT_CONNECTION *db = p;
	must(db->close(db, NULL));
}

static void *session_begin(void *p)
{
	WT_CONNECTION *db = p;
	struct session *s = zalloc(sizeof *s);
	must(db->open_session(db, NULL, NULL, &s->wt));
	must(s->wt->open_cursor(s->wt, "table:bench", NULL, "overwrite=true", &s->one));
	must(s->wt->open_cursor(s->wt, "table:bench", NULL, NULL, &s->scan));
	return s;
}

static void session_end(void *p)
{
	struct session *s = p;
	must(s->wt->close(s->wt, NULL));
	free(s);
}

static void set_key(WT_CURSOR *cursor, struct bytes key)
{
	WT_ITEM item = { .data = key.data, .size = key.size };
	cursor->set_key(cursor, &item);
}

static int insert(struct session *s, struct bytes key, struct bytes value)
{
	WT_ITEM item = { .data = value.data, .size = value.size };
	set_key(s->one, key);
	s->one->set_value(s->one, &item);
	return s->one->insert(s->one);
}

/* Two writers of one key at one time: the later is told to try again. */
static void put(void *p, struct bytes key, struct bytes value)
{
	int error;
	do
		error = insert(p, key, value);
	while (error == WT_ROLLBACK);
	must(error);
}

static void erase(void *p, struct bytes key)
{
	struct session *s = p;
	int error;
	do {
		set_key(s->one, key);
		error = s->one->remove(s->one);
	} while (error == WT_ROLLBACK);
	if (error != WT_NOTFOUND)
		must(error);
}

static int try_batch(struct session *s, size_t count, const struct bytes *keys, const struct bytes *values)
{
	must(s->wt->begin_transaction(s->wt, NULL));
	for (size_t i = 0; i < count; i++) {
		int error = insert(s, keys[i], values[i]);
		if (error == 0)
			continue;
		must(s->wt->rollback_transaction(s->wt, NULL));
		return error;
	}
	return s->wt->commit_transaction(s->wt, NULL);
}

static void put_batch(void *p, size_t count, const struct bytes *keys, const struct bytes *values)
{
	int error;
	do
		error = try_batch(p, count, keys, values);
	while (error == WT_ROLLBACK);
	must(error);
}

static bool get(void *p, struct bytes key, struct bytes *out_value)
{
	struct session *s = p;
	WT_ITEM item;
	set_key(s->one, key);
	int error = s->one->search(s->one);
	if (error == WT_NOTFOUND)
		return false;
	must(error);
	must(s->one->get_value(s->one, &item));
	*out_value = (struct bytes){ item.data, item.size };
	return true;
}

static int seek(WT_CURSOR *scan, struct bytes key)
{
	int side;
	set_key(scan, key);
	int error = scan->search_near(scan, &side);
	return error == 0 && side < 0 ? scan->next(scan) : error;
}

static bool move(void *p, enum move how, struct bytes key, struct bytes *out_key, struct bytes *out_value)
{
	WT_CURSOR *scan = ((struct session *)p)->scan;
	WT_ITEM k, v;
	int error;
	if (how <= MOVE_SEEK)
		must(scan->reset(scan));
	if (how == MOVE_SEEK)
		error = seek(scan, key);
	else if (how == MOVE_LAST || how == MOVE_PREV)
		error = scan->prev(scan);
	else
		error = scan->next(scan);
	if (error == WT_NOTFOUND)
		return false;
	must(error);
	must(scan->get_key(scan, &k));
	must(scan->get_value(scan, &v));
	*out_key = (struct bytes){ k.data, k.size };
	*out_value = (struct bytes){ v.data, v.size };
	return true;
}

static void move_end(void *p)
{
	struct session *s = p;
	must(s->scan->reset(s->scan));
}

static void flush(void *p)
{
	WT_CONNECTION *db = p;
	WT_SESSION *wt;
	must(db->open_session(db, NULL, NULL, &wt));
	must(wt->checkpoint(wt, NULL));
	must(wt->close(wt, NULL));
}

const struct engine wiredtiger_engine = { "wiredtiger", begin,	   end, session_begin, session_end, put,
					  erase,	put_batch, get, move,	       move_end,    flush };
