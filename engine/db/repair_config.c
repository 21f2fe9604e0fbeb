/*
 * The configuration of a damaged database: the lines of wombat.conf that can be read by themselves are kept, the file as it
 * was goes to lost/.
 */
#include "engine/db/repair_impl.h"

enum { CONFIG_MAX = 1 << 20 };

/* The lines that can be read by themselves. */
static enum wombat_status good_lines(struct repair *r, const char *path, const struct buf *text, struct buf *out)
{
	enum wombat_status s = WOMBAT_OK;
	const char *p = (const char *)text->data, *end = p + text->size;
	for (unsigned line = 1; p < end && s == WOMBAT_OK; line++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
		struct wombat_options one = { .explicit_mask = 0 };
		options_defaults(&one.values);
		s = options_parse_text(&one, path, p, (size_t)(next - p));
		if (s == WOMBAT_OK)
			s = buf_append(out, p, (size_t)(next - p));
		else if (s != WOMBAT_NO_MEMORY) {
			repair_say(r, true, "%s: line %u is dropped: %s", path, line, status_detail());
			s = WOMBAT_OK;
		}
		p = next;
	}
	return s;
}

enum wombat_status repair_config(struct repair *r)
{
	char path[FILENAME_PATH_MAX];
	struct buf text = { 0 }, good = { 0 };
	struct wombat_options config = { .explicit_mask = 0 };
	options_defaults(&config.values);
	if (!filename_path(path, r->dir, FILE_CONFIG, 0))
		return fail(WOMBAT_INVALID, "the path %s is too long", r->dir);
	enum wombat_status s = env_read_file(r->env, path, CONFIG_MAX, &text), parsed = WOMBAT_INVALID;
	if (s == WOMBAT_OK) {
		parsed = text.size ? options_parse_text(&config, path, (const char *)text.data, text.size) : WOMBAT_OK;
		if (parsed == WOMBAT_OK)
			parsed = options_check(&config.values);
	}
	if (s == WOMBAT_NOT_FOUND || parsed == WOMBAT_OK || parsed == WOMBAT_NO_MEMORY ||
	    (s != WOMBAT_OK && s != WOMBAT_TOO_BIG)) {
		buf_done(&text);
		return s == WOMBAT_NOT_FOUND ? WOMBAT_OK : s != WOMBAT_OK ? s : parsed;
	}
	s = s == WOMBAT_OK ? good_lines(r, path, &text, &good) : WOMBAT_OK;
	options_defaults(&config.values);
	config.explicit_mask = 0;
	parsed = s == WOMBAT_OK && good.size ? options_parse_text(&config, path, (char *)good.data, good.size) : WOMBAT_INVALID;
	if (parsed == WOMBAT_OK)
		parsed = options_check(&config.values);
	if (s == WOMBAT_OK && parsed == WOMBAT_NO_MEMORY)
		s = parsed;
	if (s == WOMBAT_OK && parsed != WOMBAT_OK) {
		repair_say(r, true, "%s is dropped: nothing of it is left, or its settings do not fit together", path);
		buf_clear(&good);
	}
	if (s == WOMBAT_OK)
		s = repair_keep_lost(r, FILE_CONFIG, 0);
	if (s == WOMBAT_OK)
		s = repair_sync_lost(r);
	if (s == WOMBAT_OK)
		s = env_replace_file(r->env, r->dir, "wombat.conf", buf_slice(&good));
	buf_done(&text);
	buf_done(&good);
	return s;
}
