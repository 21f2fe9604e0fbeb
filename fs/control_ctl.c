/*
 * ctl: what can be done to a mounted database, one verb a line.
 *
 *     flush               write the memtable to a table
 *     compact             compact everything
 *     compact FROM TO     compact the keys from FROM up to, not including, TO
 *     pause, resume       start no compactions in between
 *     gc                  give back what is deleted, overwritten or expired
 *     check               read and verify all tables and values
 *     reset-stats         counters tell what comes from now on
 *     checkpoint DIR      make DIR a database with the same content (an absolute path)
 *     backup DIR          add a backup to the backup directory DIR (an absolute path)
 *     snapshot NAME       keep the present state under a name; drop-snapshot NAME: no longer
 *
 * Keys are bytes as they are; a blank, a newline or a backslash in one is written as three octal digits (\040).
 * All lines of a write are read before the first is done. They are done in order, and the write returns when
 * the last is, or with the error of the first that fails. What makes a copy or a snapshot commits first what is staged.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/file.h"
#include "fs/log.h"

enum { WORDS_MAX = 3 };

/* One line, its words decoded in place. */
struct command {
	char *words[WORDS_MAX];
	size_t sizes[WORDS_MAX];
	size_t count;
};

struct verb {
	const char *name;
	size_t words; /* the verb included */
	int (*run)(struct mount *m, const struct command *c); /* 0, or an errno with its sentence */
	bool takes_path;
};

/* ---- Verbs ---- */

static int run_flush(struct mount *m, const struct command *c)
{
	(void)c;
	return control_refuse_status(m, wombat_flush(m->db));
}

/* Files that are open and changed: what is seen on the mount is what is kept. */
static enum wombat_status commit_staged(struct mount *m)
{
	mount_lock(m);
	int error = file_commit_all(m);
	mount_unlock(m);
	switch (error) {
	case 0:
		return WOMBAT_OK;
	case ENOSPC:
		return WOMBAT_NO_SPACE;
	case ENOMEM:
		return WOMBAT_NO_MEMORY;
	default:
		return WOMBAT_IO;
	}
}

static int run_checkpoint(struct mount *m, const struct command *c)
{
	enum wombat_status s = commit_staged(m);
	return control_refuse_status(m, s == WOMBAT_OK ? wombat_checkpoint(m->db, c->words[1]) : s);
}

static int run_backup(struct mount *m, const struct command *c)
{
	enum wombat_status s = commit_staged(m);
	return control_refuse_status(m, s == WOMBAT_OK ? wombat_backup_create(m->db, c->words[1], NULL) : s);
}

static int run_compact(struct mount *m, const struct command *c)
{
	(void)c;
	return control_refuse_status(m, wombat_compact(m->db, 0, WOMBAT_SLICE(NULL, 0), WOMBAT_SLICE(NULL, 0)));
}

static int run_compact_range(struct mount *m, const struct command *c)
{
	return control_refuse_status(m, wombat_compact(m->db, WOMBAT_USER, WOMBAT_SLICE(c->words[1], c->sizes[1]),
		WOMBAT_SLICE(c->words[2], c->sizes[2])));
}

static int run_gc(struct mount *m, const struct command *c)
{
	(void)c;
	return control_refuse_status(m, wombat_reclaim(m->db));
}

struct findings {
	char first[CONTROL_SENTENCE_MAX / 2];
	unsigned damage;
};

static void note_finding(void *arg, bool is_damage, const char *sentence)
{
	struct findings *f = arg;
	if (is_damage && f->damage++ == 0)
		snprintf(f->first, sizeof f->first, "%s", sentence);
	if (is_damage)
		log_error("check: %s", sentence);
}

static int run_check(struct mount *m, const struct command *c)
{
	struct findings f = { .damage = 0 };
	(void)c;
	int error = control_refuse_status(m, wombat_verify(m->db, note_finding, &f));
	if (f.damage)
		control_set_error(m, "ctl: check: %u findings, all in the log; the first: %s", f.damage, f.first);
	return error;
}

static int run_reset_stats(struct mount *m, const struct command *c)
{
	(void)c;
	return control_refuse_status(m, control_stats_reset(m));
}

/* The engine counts pauses; here it is a switch, so that a script that says it twice is not left paused. */
static int run_pause(struct mount *m, const struct command *c)
{
	(void)c;
	if (!m->control->paused)
		wombat_pause_compaction(m->db);
	m->control->paused = true;
	return 0;
}

static int run_resume(struct mount *m, const struct command *c)
{
	(void)c;
	if (m->control->paused)
		wombat_resume_compaction(m->db);
	m->control->paused = false;
	return 0;
}

/* A word may hold a NUL byte, which no name of a snapshot does. */
static int run_snapshot(struct mount *m, const struct command *c)
{
	enum wombat_status s = strlen(c->words[1]) == c->sizes[1] ? commit_staged(m) : WOMBAT_INVALID;
	return control_refuse_status(m, s == WOMBAT_OK ? wombat_snapshot_create(m->db, c->words[1]) : s);
}

static int run_drop_snapshot(struct mount *m, const struct command *c)
{
	enum wombat_status s = strlen(c->words[1]) == c->sizes[1] ? wombat_snapshot_drop(m->db, c->words[1]) : WOMBAT_INVALID;
	if (s == WOMBAT_OK)
		control_snapshot_dropped(m, c->words[1]);
	return control_refuse_status(m, s);
}

static const struct verb verbs[] = {
	{ "flush", 1, run_flush, false },
	{ "compact", 1, run_compact, false },
	{ "compact", 3, run_compact_range, false },
	{ "gc", 1, run_gc, false },
	{ "check", 1, run_check, false },
	{ "reset-stats", 1, run_reset_stats, false },
	{ "pause", 1, run_pause, false },
	{ "resume", 1, run_resume, false },
	{ "checkpoint", 2, run_checkpoint, true },
	{ "backup", 2, run_backup, true },
	{ "snapshot", 2, run_snapshot, false },
	{ "drop-snapshot", 2, run_drop_snapshot, false },
};
enum { VERB_COUNT = sizeof(verbs) / sizeof(verbs[0]) };

static const char usage[] = "flush, compact [FROM TO], gc, check, reset-stats, pause, resume, checkpoint DIR, backup DIR, snapshot NAME, "
	"drop-snapshot NAME";

/* The daemon's own directory is nobody's. */
static bool is_absolute_path(const struct command *c)
{
	return c->words[1][0] == '/' && strlen(c->words[1]) == c->sizes[1];
}

/* ---- Lines ---- */

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Replaces \ooo by its byte, in place. False: a backslash without three digits. */
static bool unescape(char *word, size_t *out_size)
{
	char *to = word;
	for (const char *from = word; *from; from++) {
		if (*from != '\\') {
			*to++ = *from;
			continue;
		}
		if (from[1] > '3' || !is_octal(from[1]) || !is_octal(from[2]) || !is_octal(from[3]))
			return false;
		*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
		from += 3;
	}
	*out_size = (size_t)(to - word);
	*to = '\0';
	return true;
}

/* Cuts the line into words. */
static int parse_line(struct mount *m, char *line, struct command *out)
{
	char *rest = NULL;
	*out = (struct command){ 0 };
	for (char *word = strtok_r(line, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
		if (out->count == WORDS_MAX)
			return control_refuse(m, EINVAL, "ctl: there are too many words after \"%s\"", out->words[0]);
		if (!unescape(word, &out->sizes[out->count]))
			return control_refuse(m, EINVAL, "ctl: \"%s\": a backslash is followed by three octal digits", word);
		out->words[out->count++] = word;
	}
	return 0;
}

static int find_verb(struct mount *m, const struct command *c, const struct verb **out)
{
	/* A NUL byte can be said in any word, but no verb has one. */
	bool is_text = strlen(c->words[0]) == c->sizes[0];
	for (size_t i = 0; is_text && i < VERB_COUNT; i++) {
		if (strcmp(verbs[i].name, c->words[0]) == 0 && verbs[i].words == c->count) {
			*out = &verbs[i];
			if (verbs[i].takes_path && !is_absolute_path(c))
				return control_refuse(m, EINVAL, "ctl: %s takes an absolute path", verbs[i].name);
			return 0;
		}
	}
	return control_refuse(m, EINVAL, "ctl: there is no verb \"%s\" with %zu words behind it (%s)", c->words[0],
		c->count - 1, usage);
}

/* Every line on its own copy: once to judge, once to run. */
static int each_line(struct mount *m, const char *data, size_t size, bool run)
{
	char *text = control_copy(data, size);
	if (!text)
		return control_refuse(m, ENOMEM, "out of memory");
	int error = 0;
	for (char *line = text, *next; !error && line; line = next) {
		struct command command;
		const struct verb *verb = NULL;
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		error = parse_line(m, line, &command);
		if (error || command.count == 0)
			continue;
		error = find_verb(m, &command, &verb);
		if (!error && run)
			error = verb->run(m, &command);
	}
	free(text);
	return error;
}

CONTROL_APPLY(control_ctl_apply)
{
	(void)e;
	int error = each_line(m, data, size, false);
	return error ? error : each_line(m, data, size, true);
}
