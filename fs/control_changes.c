/*
 * changes: what is changed through this mount, a line of JSON for each key, as it is committed.
 *
 *     {"after":41}                                        the first line: what follows is all that came after 41
 *     {"seq":42,"kind":"put","key":"a/b"}                 put, delete
 *     {"seq":42,"kind":"put","key":"t","expires":1764240000.500000000}    it goes by itself then, and no line will say so
 *     {"seq":43,"kind":"put","directory":"a/"}            a directory's own record: its mode, owner, times
 *     {"seq":44,"kind":"delete-below","key":"a/"}         all keys that begin so
 *     {"seq":45,"kind":"move","key":"a/","to":"b/"}       all keys that begin so; exchange: and the other way round
 *     {"after":80,"lost":12}                              the reader was too slow: lines up to 80 are missing, twelve of them
 *
 * A sequence number is that of a commit: lines of one number are one atomic change. So a reader that has noted the last
 * number of which it saw all leaves out the lines up to it when it comes again, and has missed something only if "after"
 * is beyond it. The latest changes are kept in memory for that, always: noting one costs a fraction of a microsecond where the request
 * that made it cost ten.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/feed.h"
#include "fs/jsontext.h"
#include "fs/store.h"

enum { KEPT_BYTES = 4 << 20, FIRST_LINE_MAX = 64, LINE_FRAME = 140, NS = 1000000000 };

static bool add_bytes(struct control_text *line, const char *name, struct store_bytes b)
{
	return control_text_add(line, ",", 1) && json_add_bytes(line, name, b.data, b.size);
}

/* Without memory for it the line is missing, and the reader is told so. */
static void add_until(struct mount *m, uint64_t version, const char *kind, const char *space, struct store_bytes key,
		      const struct store_bytes *to, uint64_t expiry_ns)
{
	struct control_text line = { 0 };
	bool ok = control_text_reserve(&line, LINE_FRAME + key.size + (to ? to->size : 0)) && control_text_add(&line, "{\"seq\":", 7) &&
		  control_text_add_number(&line, version) && control_text_add(&line, ",\"kind\":\"", 9) &&
		  control_text_add(&line, kind, strlen(kind)) && control_text_add(&line, "\"", 1) && add_bytes(&line, space, key) &&
		  (!to || add_bytes(&line, "to", *to)) &&
		  (!expiry_ns || control_text_printf(&line, ",\"expires\":%" PRIu64 ".%09" PRIu64, expiry_ns / NS, expiry_ns % NS)) &&
		  control_text_add(&line, "}\n", 2);
	feed_add(m->control->changes, version, ok ? line.data : NULL, line.size);
	control_text_done(&line);
}

static void add(struct mount *m, uint64_t version, const char *kind, const char *space, struct store_bytes key,
		const struct store_bytes *to)
{
	add_until(m, version, kind, space, key, to, 0);
}

static void note(void *arg, const struct store_told *told)
{
	static const char *const kinds[] = { [STORE_PUT] = "put", [STORE_DELETE] = "delete", [STORE_DELETE_PREFIX] = "delete-below" };
	struct mount *m = arg;
	if (told->from)
		add(m, told->version, told->exchange ? "exchange" : "move", "key", *told->from, told->to);
	for (size_t i = 0; i < told->count; i++) {
		const struct store_change *c = &told->changes[i];
		if (c->space == STORE_USER && c->moved_from.size)
			add(m, told->version, "move", "key", c->moved_from, &c->key);
		else if (c->space == STORE_USER)
			add_until(m, told->version, kinds[c->op], "key", c->key, NULL, c->op == STORE_PUT ? c->expiry_ns : 0);
		else if (c->space == STORE_DIRS)
			add(m, told->version, kinds[c->op], "directory", c->key, NULL);
		for (size_t k = 0; k < c->also_count; k++)
			add_until(m, told->version, "put", "key", c->also[k], NULL, c->expiry_ns);
	}
}

int control_changes_init(struct mount *m)
{
	double newest = 0;
	if (wombat_stat(m->db, "sequence", &newest) != WOMBAT_OK)
		return ENOMEM;
	m->control->changes = feed_new(KEPT_BYTES, (uint64_t)newest);
	if (!m->control->changes)
		return ENOMEM;
	store_lsm_observe(m->store, note, m);
	return 0;
}

/* ---- Reading ---- */

static int stream_open(struct mount *m, struct feed_reader *r)
{
	(void)m;
	*r = (struct feed_reader){ 0 };
	return 0;
}

static void stream_close(struct mount *m)
{
	(void)m;
}

static int stream_read(struct mount *m, struct feed_reader *r, struct control_text *out)
{
	bool is_first = !r->begun;
	struct control_text lines = { 0 };
	uint64_t lost, number;
	bool ok = feed_read(m->control->changes, r, &lines, &lost, &number) == 0;
	if (is_first)
		ok = ok && control_text_printf(out, "{\"after\":%" PRIu64 "}\n", number);
	else if (lost)
		ok = ok && control_text_printf(out, "{\"after\":%" PRIu64 ",\"lost\":%" PRIu64 "}\n", number, lost);
	ok = ok && control_text_add(out, lines.data, lines.size);
	control_text_done(&lines);
	return ok ? 0 : ENOMEM;
}

static uint64_t stream_size(struct mount *m)
{
	/* No less than anybody has read, its first line included: tail -f would take it for cut short. */
	return FIRST_LINE_MAX + feed_size(m->control->changes);
}

const struct control_stream control_changes = { stream_open, stream_close, stream_read, stream_size };
