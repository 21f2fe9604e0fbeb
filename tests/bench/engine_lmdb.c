/*
 * LMDB: a tree in a memory map. Its cache is the operating system's, so the budgets mean nothing to it. Every put is a
 * transaction of its own; each read and each scan renews its snapshot, for the others also see the newest state.
 */
#include <lmdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/bench/engine.h"

#define MAP_SIZE ((size_t)32 << 30) /* of addresses; the file grows as it is written */

struct lm {
	MDB_env *env;
	MDB_dbi dbi;
};

struct session {
	struct lm *l;
	MDB_txn *read;
	MDB_cursor *cursor;
	bool live; /* `read` holds a snapshot */
};

static void must(int error)
{
	if (error)
		die("lmdb", mdb_strerror(error));
}

static MDB_val val(struct bytes b)
{
	return (MDB_val){ b.size, (void *)(uintptr_t)b.data };
}

static void *begin(const struct engine_config *c)
{
	struct lm *l = zalloc(sizeof *l);
	MDB_txn *txn;
	mkdir(c->dir, 0755);
	must(mdb_env_create(&l->env));
	must(mdb_env_set_mapsize(l->env, MAP_SIZE));
	must(mdb_env_open(l->env, c->dir, MDB_NOTLS | (c->sync ? 0 : MDB_NOSYNC), 0644));
	must(mdb_txn_begin(l->env, NULL, 0, &txn));
	must(mdb_dbi_open(txn, NULL, 0, &l->dbi));
	must(mdb_txn_commit(txn));
	return l;
}

static void end(void *db)
{
	struct lm *l = db;
	mdb_env_close(l->env);
	free(l);
}

static void *session_begin(void *db)
{
	struct session *s = zalloc(sizeof *s);
	s->l = db;
	must(mdb_txn_begin(s->l->env, NULL, MDB_RDONLY, &s->read));
	must(mdb_cursor_open(s->read, s->l->dbi, &s->cursor));
	mdb_txn_reset(s->read);
	return s;
}

/* A snapshot that is kept would make every writer leave the old pages where they are. */
static void drop(struct session *s)
{
	if (s->live)
		mdb_txn_reset(s->read);
	s->live = false;
}

static void renew(struct session *s)
{
	drop(s);
	must(mdb_txn_renew(s->read));
	s->live = true;
}

static void session_end(void *p)
{
	struct session *s = p;
	mdb_cursor_close(s->cursor);
	mdb_txn_abort(s->read);
	free(s);
}

static void put_batch(void *p, size_t count, const struct bytes *keys, const struct bytes *values)
{
	struct session *s = p;
	MDB_txn *txn;
	drop(s);
	must(mdb_txn_begin(s->l->env, NULL, 0, &txn));
	for (size_t i = 0; i < count; i++) {
		MDB_val k = val(keys[i]), v = val(values[i]);
		must(mdb_put(txn, s->l->dbi, &k, &v, 0));
	}
	must(mdb_txn_commit(txn));
}

static void put(void *p, struct bytes key, struct bytes value)
{
	put_batch(p, 1, &key, &value);
}

static void erase(void *p, struct bytes key)
{
	struct session *s = p;
	MDB_txn *txn;
	MDB_val k = val(key);
	drop(s);
	must(mdb_txn_begin(s->l->env, NULL, 0, &txn));
	int error = mdb_del(txn, s->l->dbi, &k, NULL);
	if (error != MDB_NOTFOUND)
		must(error);
	must(mdb_txn_commit(txn));
}

static bool get(void *p, struct bytes key, struct bytes *out_value)
{
	struct session *s = p;
	MDB_val k = val(key), v;
	renew(s);
	int error = mdb_get(s->read, s->l->dbi, &k, &v);
	if (error == MDB_NOTFOUND)
		return false;
	must(error);
	*out_value = (struct bytes){ v.mv_data, v.mv_size };
	return true;
}

static bool move(void *p, enum move how, struct bytes key, struct bytes *out_key, struct bytes *out_value)
{
	static const MDB_cursor_op operation[] = { MDB_FIRST, MDB_LAST, MDB_SET_RANGE, MDB_NEXT, MDB_PREV };
	struct session *s = p;
	MDB_val k = val(key), v;
	if (how <= MOVE_SEEK) {
		renew(s);
		must(mdb_cursor_renew(s->read, s->cursor));
	}
	int error = mdb_cursor_get(s->cursor, &k, &v, operation[how]);
	if (error == MDB_NOTFOUND)
		return false;
	must(error);
	*out_key = (struct bytes){ k.mv_data, k.mv_size };
	*out_value = (struct bytes){ v.mv_data, v.mv_size };
	return true;
}

static void move_end(void *p)
{
	drop(p);
}

const struct engine lmdb_engine = { "lmdb", begin,     end, session_begin, session_end, put,
				    erase,  put_batch, get, move,	   move_end,	NULL };
