/*
 * The control directory: its tree, and the two ways into its files. See control.h.
 *
 * Most entries are constants. Only tune/ has to be made, one file for each option that there is, and the root,
 * which has the name that -o ctldir gave it. An entry's id stays what it is as options are added: inode numbers
 * are made of it.
 */
#include "fs/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/control_impl.h"
#include "fs/errmap.h"
#include "fs/feed.h"
#include "fs/node.h"
#include "fs/options.h"
#include "fs/service.h"
#include "fs/store.h"

enum { ID_ROOT, ID_STATS, ID_STATS_PROM, ID_CONFIG, ID_CONFIG_JSON, ID_LAST_ERROR, ID_VERSION, ID_CTL, ID_TUNE, ID_SNAPSHOT, ID_RAW,
	ID_STATS_TXT, ID_CHANGES, ID_ACCESSLOG, ID_TXN, ID_COMMIT,
	ID_TUNE_MOUNT = 64, ID_TUNE_ENGINE = 128 };

/* ---- Growable text ---- */

bool control_text_reserve(struct control_text *text, size_t size)
{
	if (text->size + size <= text->capacity)
		return true;
	size_t capacity = (text->size + size) * 2;
	char *grown = realloc(text->data, capacity);
	if (!grown)
		return false;
	text->data = grown;
	text->capacity = capacity;
	return true;
}

bool control_text_add(struct control_text *text, const char *data, size_t size)
{
	if (!control_text_reserve(text, size))
		return false;
	if (size > 0)
		memcpy(text->data + text->size, data, size);
	text->size += size;
	return true;
}

bool control_text_add_number(struct control_text *text, uint64_t number)
{
	enum { DIGITS = 20 };
	char digits[DIGITS];
	size_t at = DIGITS;
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	return control_text_add(text, digits + at, DIGITS - at);
}

bool control_text_printf(struct control_text *text, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int size = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (size < 0 || !control_text_reserve(text, (size_t)size + 1))
		return false;
	va_start(args, format);
	vsnprintf(text->data + text->size, (size_t)size + 1, format, args);
	va_end(args);
	text->size += (size_t)size;
	return true;
}

void control_text_done(struct control_text *text)
{
	free(text->data);
	*text = (struct control_text){ 0 };
}

/* ---- The last error ---- */

static void keep_sentence(struct mount *m, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void keep_sentence(struct mount *m, const char *format, va_list args)
{
	struct control_state *c = m->control;
	char sentence[CONTROL_SENTENCE_MAX];
	vsnprintf(sentence, sizeof(sentence), format, args);
	if (!c)
		return;
	pthread_mutex_lock(&c->error_mu);
	memcpy(c->last_error, sentence, sizeof(sentence));
	pthread_mutex_unlock(&c->error_mu);
}

void control_set_error(struct mount *m, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	keep_sentence(m, format, args);
	va_end(args);
}

int control_refuse(struct mount *m, int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	keep_sentence(m, format, args);
	va_end(args);
	return error;
}

char *control_copy(const char *data, size_t size)
{
	char *text = malloc(size + 1);
	if (!text)
		return NULL;
	if (size)
		memcpy(text, data, size);
	text[size] = 0;
	return text;
}

int control_refuse_status(struct mount *m, enum wombat_status status)
{
	if (status == WOMBAT_OK)
		return 0;
	control_set_error(m, "%s", wombat_last_error());
	/* An unknown name is a mistake in what was written; ENOENT would speak of the file. */
	return status == WOMBAT_NOT_FOUND ? EINVAL : errmap_from_wombat(status);
}

static CONTROL_RENDER(render_last_error)
{
	struct control_state *c = m->control;
	char sentence[CONTROL_SENTENCE_MAX];
	(void)e;
	pthread_mutex_lock(&c->error_mu);
	memcpy(sentence, c->last_error, sizeof(sentence));
	pthread_mutex_unlock(&c->error_mu);
	return !*sentence || control_text_printf(out, "%s\n", sentence) ? 0 : ENOMEM;
}

static CONTROL_RENDER(render_version)
{
	(void)m;
	(void)e;
	return control_text_printf(out, "%s\n", wombat_version()) ? 0 : ENOMEM;
}

/* ---- The tree ---- */

static const struct control_entry files[] = {
	{ .name = "stats", .mode = S_IFREG | 0444, .render = control_stats_render_json, .id = ID_STATS },
	{ .name = "stats.prom", .mode = S_IFREG | 0444, .render = control_stats_render_prometheus, .id = ID_STATS_PROM },
	{ .name = "stats.txt", .mode = S_IFREG | 0444, .render = control_stats_render_text, .id = ID_STATS_TXT },
	{ .name = "config", .mode = S_IFREG | 0644, .render = control_config_render, .apply = control_config_apply,
	  .id = ID_CONFIG },
	{ .name = "config.json", .mode = S_IFREG | 0644, .render = control_config_render_json,
	  .apply = control_config_apply_json, .id = ID_CONFIG_JSON },
	{ .name = "last_error", .mode = S_IFREG | 0444, .render = render_last_error, .id = ID_LAST_ERROR },
	{ .name = "version", .mode = S_IFREG | 0444, .render = render_version, .id = ID_VERSION },
	{ .name = "ctl", .mode = S_IFREG | 0200, .apply = control_ctl_apply, .id = ID_CTL },
	{ .name = "changes", .mode = S_IFREG | 0400, .stream = &control_changes, .id = ID_CHANGES },
	{ .name = "accesslog", .mode = S_IFREG | 0400, .stream = &control_accesslog, .id = ID_ACCESSLOG },
	{ .name = "raw", .mode = S_IFDIR | 0700, .dir = &control_raw_dir, .id = ID_RAW },
	{ .name = "snapshot", .mode = S_IFDIR | 0755, .dir = &control_snapshot_dir, .id = ID_SNAPSHOT },
	{ .name = "txn", .mode = S_IFDIR | 0755, .dir = &control_txn_dir, .id = ID_TXN },
	{ .name = "commit", .mode = S_IFDIR | 0755, .dir = &control_commit_dir, .id = ID_COMMIT },
};
enum { FILE_COUNT = sizeof(files) / sizeof(files[0]) };

static struct control_entry tune_file(const char *name, bool changeable, unsigned id)
{
	return (struct control_entry){
		.name = name,
		.mode = S_IFREG | (changeable ? 0644 : 0444),
		.render = control_tune_render,
		.apply = control_tune_apply,
		.id = id,
	};
}

static bool make_tune(struct control_state *c)
{
	const struct mount_option_info *mount_info;
	const struct wombat_option_info *engine_info;
	size_t most = 0, count = 0;
	while (mount_option_info(most))
		most++;
	for (size_t i = 0; wombat_option_info(i); i++)
		most++;
	c->tune_files = calloc(most, sizeof(*c->tune_files));
	c->tune_children = calloc(most + 1, sizeof(*c->tune_children));
	if (!c->tune_files || !c->tune_children)
		return false;
	for (unsigned i = 0; (mount_info = mount_option_info(i)) != NULL; i++)
		if (mount_info->changeable)
			c->tune_files[count++] = tune_file(mount_info->name, true, ID_TUNE_MOUNT + i);
	for (unsigned i = 0; (engine_info = wombat_option_info(i)) != NULL; i++)
		c->tune_files[count++] = tune_file(engine_info->name, engine_info->changeable, ID_TUNE_ENGINE + i);
	for (size_t i = 0; i < count; i++)
		c->tune_children[i] = &c->tune_files[i];
	c->tune = (struct control_entry){
		.name = "tune", .mode = S_IFDIR | 0555, .children = c->tune_children, .id = ID_TUNE,
	};
	return true;
}

static bool make_root(struct control_state *c, const char *name)
{
	c->root_children = calloc(FILE_COUNT + 2, sizeof(*c->root_children));
	if (!c->root_children)
		return false;
	for (size_t i = 0; i < FILE_COUNT; i++)
		c->root_children[i] = &files[i];
	c->root_children[FILE_COUNT] = &c->tune;
	c->root = (struct control_entry){
		.name = name, .mode = S_IFDIR | 0555, .children = c->root_children, .id = ID_ROOT,
	};
	return true;
}

int control_init(struct mount *m)
{
	struct control_state *c = calloc(1, sizeof(*c));
	struct timespec now;
	if (!c)
		return ENOMEM;
	pthread_mutex_init(&c->error_mu, NULL);
	pthread_mutex_init(&c->apply_mu, NULL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	c->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	m->control = c;
	if (make_tune(c) && make_root(c, m->options.ctldir) && control_changes_init(m) == 0)
		return 0;
	control_done(m);
	return ENOMEM;
}

void control_done(struct mount *m)
{
	struct control_state *c = m->control;
	if (!c)
		return;
	m->control = NULL;
	store_lsm_observe(m->store, NULL, NULL);
	/* What ctl paused must not keep the database from closing in good order. */
	if (c->paused)
		wombat_resume_compaction(m->db);
	feed_free(c->changes);
	feed_free(c->accesses);
	free(c->root_children);
	free(c->tune_children);
	free(c->tune_files);
	pthread_mutex_destroy(&c->apply_mu);
	pthread_mutex_destroy(&c->error_mu);
	free(c);
}

const struct control_entry *control_root(struct mount *m)
{
	return &m->control->root;
}

const struct control_entry *control_find(const struct control_entry *dir, const char *name)
{
	if (!dir->children)
		return NULL;
	for (size_t i = 0; dir->children[i]; i++)
		if (strcmp(dir->children[i]->name, name) == 0)
			return dir->children[i];
	return NULL;
}

/* ---- Listings ---- */

struct control_name {
	uint64_t ino;
	mode_t type;
	size_t at; /* in the text */
};

struct control_names {
	struct control_list list;
	struct control_text text;
	struct control_name *names;
	size_t count, capacity, next;
};

static int names_next(struct control_list *l, const char **out_name, mode_t *out_type, uint64_t *out_ino)
{
	struct control_names *n = (struct control_names *)l;
	if (n->next == n->count)
		return ENOENT;
	const struct control_name *name = &n->names[n->next++];
	*out_name = n->text.data + name->at;
	*out_type = name->type;
	*out_ino = name->ino;
	return 0;
}

static void names_close(struct control_list *l)
{
	struct control_names *n = (struct control_names *)l;
	control_text_done(&n->text);
	free(n->names);
	free(n);
}

struct control_names *control_names_new(void)
{
	struct control_names *n = calloc(1, sizeof(*n));
	if (n)
		n->list = (struct control_list){ names_next, names_close };
	return n;
}

bool control_names_add(struct control_names *n, const char *name, mode_t type, uint64_t ino)
{
	if (n->count == n->capacity) {
		size_t capacity = 2 * n->capacity + 8;
		struct control_name *grown = realloc(n->names, capacity * sizeof(*grown));
		if (!grown)
			return false;
		n->names = grown;
		n->capacity = capacity;
	}
	size_t at = n->text.size;
	if (!control_text_add(&n->text, name, strlen(name) + 1))
		return false;
	n->names[n->count++] = (struct control_name){ ino, type, at };
	return true;
}

struct control_list *control_names_list(struct control_names *n)
{
	return &n->list;
}

struct node *control_node(struct mount *m, const char *name)
{
	const struct node *root = node_find(m, &m->nodes->root, m->options.ctldir, strlen(m->options.ctldir));
	return root ? node_find(m, root, name, strlen(name)) : NULL;
}

/* ---- Reading and writing ---- */

int control_check_owner(struct mount *m, const char *what, uid_t uid)
{
	/* The kernel has checked the mode as well, unless it was told not to. */
	if (uid == 0 || uid == m->options.uid)
		return 0;
	return control_refuse(m, EACCES, "only the owner of the mount may write %s, not user %u", what, uid);
}

int control_read(struct mount *m, const struct control_entry *e, struct control_text *out)
{
	struct control_text text = { 0 };
	if (!e->render)
		return EACCES;
	int error = e->render(m, e, &text);
	if (error) {
		control_text_done(&text);
		return error;
	}
	*out = text;
	return 0;
}

int control_write(struct mount *m, const struct control_entry *e, uid_t uid, const char *data, size_t size)
{
	struct control_state *c = m->control;
	int refused = control_check_owner(m, e->name, uid);
	if (refused)
		return refused;
	if (!e->apply)
		return control_refuse(m, EACCES, "%s cannot be written", e->name);
	if (size > CONTROL_WRITE_MAX)
		return control_refuse(m, E2BIG, "%s: a write of %zu bytes is over the limit of %d", e->name, size,
			CONTROL_WRITE_MAX);
	if (memchr(data, '\0', size))
		return control_refuse(m, EINVAL, "%s: there is a NUL byte in what was written", e->name);
	/* Whatever it is, it may wait for the engine, and for another writer here. */
	service_may_block();
	pthread_mutex_lock(&c->apply_mu);
	int error = e->apply(m, e, data, size);
	pthread_mutex_unlock(&c->apply_mu);
	return error;
}
