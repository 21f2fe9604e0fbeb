/*
 * The options of a mounted database: config, config.json and tune/NAME.
 *
 * All three end in apply_settings(), which takes a batch of names and values and changes all or nothing: the
 * mount's own options are judged first, which cannot fail later; then the engine judges and sets its part in one
 * step; then the mount's are set. What config prints is a batch that changes nothing, and fits into one write.
 */
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/control_impl.h"
#include "fs/options.h"

enum { VALUE_MAX = 4096, SENTENCE_MAX = 512 };

/* ---- Applying ---- */

/* Names and values point into text that lives as long as the batch. */
struct batch {
	struct wombat_setting *settings;
	size_t count, capacity;
};

static bool batch_add(struct batch *b, const char *name, const char *value)
{
	if (b->count == b->capacity) {
		size_t capacity = b->capacity ? b->capacity * 2 : 32;
		struct wombat_setting *grown = realloc(b->settings, capacity * sizeof(*grown));
		if (!grown)
			return false;
		b->settings = grown;
		b->capacity = capacity;
	}
	b->settings[b->count++] = (struct wombat_setting){ name, value };
	return true;
}

static int errno_of_setting(enum wombat_status status)
{
	switch (status) {
	case WOMBAT_OUT_OF_RANGE:
		return ERANGE;
	case WOMBAT_NOT_CHANGEABLE:
		return EPERM;
	default:
		return EINVAL;
	}
}

/* Moves the engine's settings to the front, in their order; the mount's, judged, follow. Stores how many are
 * the engine's. */
static int judge_mount_settings(struct mount *m, struct batch *b, struct batch *mount, size_t *out_engine_count)
{
	size_t engine = 0;
	for (size_t i = 0; i < b->count; i++) {
		struct wombat_setting setting = b->settings[i];
		char sentence[SENTENCE_MAX];
		enum wombat_status s = mount_option_judge(setting.name, setting.value, sentence, sizeof(sentence));
		if (s == WOMBAT_NOT_FOUND)
			b->settings[engine++] = setting;
		else if (s != WOMBAT_OK)
			return control_refuse(m, errno_of_setting(s), "%s", sentence);
		else if (!batch_add(mount, setting.name, setting.value))
			return control_refuse(m, ENOMEM, "out of memory");
	}
	*out_engine_count = engine;
	return 0;
}

static int apply_settings(struct mount *m, struct batch *b)
{
	struct batch mount = { 0 };
	size_t engine_count;
	int error = judge_mount_settings(m, b, &mount, &engine_count);
	if (!error && engine_count > 0)
		error = control_refuse_status(m, wombat_set(m->db, b->settings, engine_count));
	for (size_t i = 0; !error && i < mount.count; i++)
		mount_option_set(&m->options, mount.settings[i].name, mount.settings[i].value);
	free(mount.settings);
	return error;
}

/* ---- Values ---- */

static bool is_mount_option(const char *name)
{
	const struct mount_option_info *info;
	for (size_t i = 0; (info = mount_option_info(i)) != NULL; i++)
		if (strcmp(info->name, name) == 0)
			return true;
	return false;
}

static int get_value(struct mount *m, const char *name, char *out, size_t cap)
{
	if (is_mount_option(name)) {
		mount_option_print(&m->options, name, out, cap);
		return 0;
	}
	return control_refuse_status(m, wombat_get_option(m->db, name, out, cap));
}

static char *trim(char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	char *end = text + strlen(text);
	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return text;
}

/* ---- config ---- */

static bool render_option(struct control_text *out, const char *name, const char *default_text, const char *range,
	const char *unit, bool changeable, const char *value)
{
	return control_text_printf(out, "# %s, %s%s%s%s\n%s=%s\n", default_text, range, *unit ? " " : "", unit,
		changeable ? "" : ", fixed", name, value);
}

CONTROL_RENDER(control_config_render)
{
	const struct mount_option_info *mount_info;
	const struct wombat_option_info *engine_info;
	char value[VALUE_MAX];
	int error = 0;
	(void)e;
	if (!control_text_printf(out, "# Above each: default, range, unit; fixed: only with a new mount.\n"))
		return ENOMEM;
	for (size_t i = 0; !error && (mount_info = mount_option_info(i)) != NULL; i++) {
		if (!mount_info->changeable)
			continue;
		error = get_value(m, mount_info->name, value, sizeof(value));
		if (!error && !render_option(out, mount_info->name, mount_info->default_text, mount_info->range_text,
				mount_info->unit, true, value))
			error = ENOMEM;
	}
	for (size_t i = 0; !error && (engine_info = wombat_option_info(i)) != NULL; i++) {
		error = get_value(m, engine_info->name, value, sizeof(value));
		if (!error && !render_option(out, engine_info->name, engine_info->default_text, engine_info->range_text,
				engine_info->unit, engine_info->changeable, value))
			error = ENOMEM;
	}
	return error;
}

/* Cuts up `text` into the batch. */
static int parse_lines(struct mount *m, char *text, struct batch *b)
{
	unsigned number = 0;
	for (char *next; text; text = next) {
		next = strchr(text, '\n');
		if (next)
			*next++ = '\0';
		number++;
		char *line = trim(text);
		if (!*line || *line == '#')
			continue;
		char *equals = strchr(line, '=');
		if (!equals)
			return control_refuse(m, EINVAL, "config line %u: \"%s\" is not name=value", number, line);
		*equals = '\0';
		if (!batch_add(b, trim(line), trim(equals + 1)))
			return control_refuse(m, ENOMEM, "out of memory");
	}
	return 0;
}

CONTROL_APPLY(control_config_apply)
{
	struct batch b = { 0 };
	char *text = control_copy(data, size);
	(void)e;
	int error = text ? parse_lines(m, text, &b) : control_refuse(m, ENOMEM, "out of memory");
	if (!error)
		error = apply_settings(m, &b);
	free(b.settings);
	free(text);
	return error;
}

/* ---- config.json ---- */

/* "64M" as bytes. The engine printed it, so it is well-formed. */
static double size_of_text(const char *text)
{
	char *end;
	double v = strtod(text, &end);
	const char *suffix = *end ? strchr("KMGT", *end) : NULL;
	return suffix ? ldexp(v, 10 * (int)(suffix - "KMGT" + 1)) : v;
}

static bool add_json(cJSON *object, const char *name, enum wombat_option_type type, const char *value)
{
	switch (type) {
	case WOMBAT_TYPE_BOOL:
		return cJSON_AddBoolToObject(object, name, strcmp(value, "true") == 0);
	case WOMBAT_TYPE_COUNT:
	case WOMBAT_TYPE_REAL:
		return cJSON_AddRawToObject(object, name, value);
	case WOMBAT_TYPE_SIZE:
		return cJSON_AddNumberToObject(object, name, size_of_text(value));
	case WOMBAT_TYPE_ENUM:
	case WOMBAT_TYPE_PATH:
		break;
	}
	return cJSON_AddStringToObject(object, name, value);
}

static int fill_json(struct mount *m, cJSON *object)
{
	const struct mount_option_info *mount_info;
	const struct wombat_option_info *engine_info;
	char value[VALUE_MAX];
	for (size_t i = 0; (mount_info = mount_option_info(i)) != NULL; i++) {
		if (!mount_info->changeable)
			continue;
		mount_option_print(&m->options, mount_info->name, value, sizeof(value));
		if (!add_json(object, mount_info->name, WOMBAT_TYPE_COUNT, value))
			return ENOMEM;
	}
	for (size_t i = 0; (engine_info = wombat_option_info(i)) != NULL; i++) {
		int error = get_value(m, engine_info->name, value, sizeof(value));
		if (error)
			return error;
		if (!add_json(object, engine_info->name, engine_info->type, value))
			return ENOMEM;
	}
	return 0;
}

CONTROL_RENDER(control_config_render_json)
{
	cJSON *object = cJSON_CreateObject();
	char *text = NULL;
	(void)e;
	int error = object ? fill_json(m, object) : ENOMEM;
	if (!error)
		text = cJSON_Print(object);
	if (!error && (!text || !control_text_printf(out, "%s\n", text)))
		error = ENOMEM;
	cJSON_free(text);
	cJSON_Delete(object);
	return error;
}

/* The member's value as the text that the option takes, malloc'd; NULL: out of memory. */
static char *text_of_json(const cJSON *item)
{
	char *text = NULL;
	if (cJSON_IsString(item))
		return strdup(item->valuestring);
	if (cJSON_IsBool(item))
		return strdup(cJSON_IsTrue(item) ? "true" : "false");
	double v = item->valuedouble;
	bool is_whole = v == floor(v) && fabs(v) < 9007199254740992.0;
	return asprintf(&text, is_whole ? "%.0f" : "%.17g", v) >= 0 ? text : NULL;
}

static int apply_object(struct mount *m, const cJSON *object)
{
	struct batch b = { 0 };
	int error = 0;
	const cJSON *item;
	cJSON_ArrayForEach(item, object) {
		if (!cJSON_IsString(item) && !cJSON_IsBool(item) && !cJSON_IsNumber(item)) {
			error = control_refuse(m, EINVAL, "config.json: the value of \"%s\" is no string, number or boolean",
				item->string);
			break;
		}
		char *value = text_of_json(item);
		if (!value || !batch_add(&b, item->string, value)) {
			free(value);
			error = control_refuse(m, ENOMEM, "out of memory");
			break;
		}
	}
	size_t count = b.count;
	struct wombat_setting *owned = NULL;
	/* apply_settings() rearranges the batch; the values are freed by a copy of it. */
	if (!error && count > 0) {
		owned = malloc(count * sizeof(*owned));
		if (owned) {
			memcpy(owned, b.settings, count * sizeof(*owned));
			error = apply_settings(m, &b);
		} else {
			error = control_refuse(m, ENOMEM, "out of memory");
		}
	}
	for (size_t i = 0; i < count; i++)
		free((char *)(owned ? owned : b.settings)[i].value);
	free(owned);
	free(b.settings);
	return error;
}

/* A parser that fails does not say why: whether memory ran out in this thread since it was cleared. */
static _Thread_local bool json_out_of_memory;

static void *json_alloc(size_t size)
{
	void *p = malloc(size);
	json_out_of_memory = json_out_of_memory || !p;
	return p;
}

static void install_json_hooks(void)
{
	cJSON_Hooks hooks = { .malloc_fn = json_alloc, .free_fn = free };
	cJSON_InitHooks(&hooks);
}

static cJSON *parse_json(const char *text, const char **end)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, install_json_hooks);
	json_out_of_memory = false;
	return cJSON_ParseWithOpts(text, end, true);
}

CONTROL_APPLY(control_config_apply_json)
{
	char *text = control_copy(data, size);
	const char *end = NULL;
	(void)e;
	if (!text)
		return control_refuse(m, ENOMEM, "out of memory");
	cJSON *object = parse_json(text, &end);
	int error;
	/* A string of cJSON ends there, and what is behind would not be seen. */
	if (strstr(text, "\\u0000"))
		error = control_refuse(m, EINVAL, "config.json: there is a NUL character in what was written");
	else if (!object && json_out_of_memory)
		error = control_refuse(m, ENOMEM, "out of memory");
	else if (!object)
		error = control_refuse(m, EINVAL, "config.json: what was written is not JSON at byte %zu",
			end ? (size_t)(end - text) : 0);
	else if (!cJSON_IsObject(object))
		error = control_refuse(m, EINVAL, "config.json: what was written is not a JSON object");
	else
		error = apply_object(m, object);
	cJSON_Delete(object);
	free(text);
	return error;
}

/* ---- tune/NAME ---- */

CONTROL_RENDER(control_tune_render)
{
	char value[VALUE_MAX];
	int error = get_value(m, e->name, value, sizeof(value));
	if (!error && !control_text_printf(out, "%s\n", value))
		error = ENOMEM;
	return error;
}

CONTROL_APPLY(control_tune_apply)
{
	char *text = control_copy(data, size);
	if (!text)
		return control_refuse(m, ENOMEM, "out of memory");
	const char *value = trim(text);
	struct wombat_setting setting = { e->name, value };
	struct batch b = { .settings = &setting, .count = 1, .capacity = 1 };
	int error;
	if (strchr(value, '\n'))
		error = control_refuse(m, EINVAL, "tune/%s takes one value, not several lines", e->name);
	else
		error = apply_settings(m, &b);
	free(text);
	return error;
}
