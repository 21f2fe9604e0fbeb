/* A mount without a kernel: see fs_mount.h. */
#include <stdio.h>
#include <string.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "fs/control.h"
#include "fs/ops.h"
#include "fs/options.h"
#include "tests/support/fs_mount.h"

/* The store's calls say nothing of the fixture. */
static struct fs_mount *current;

static bool is_refused(const struct store_change *first)
{
	const char *key = current->refused_key;
	return current->commit_result != STORE_OK &&
	       (!key || (first->key.size == strlen(key) && memcmp(first->key.data, key, first->key.size) == 0));
}

static enum store_result commit(struct store *s, const struct store_change *changes, size_t count, bool durable,
				uint64_t *out_version)
{
	current->commits++;
	if (is_refused(&changes[0]))
		return current->commit_result;
	return current->real->commit(s, changes, count, durable, out_version);
}

static enum store_result hold(struct store *s, enum store_space space, struct store_bytes key, struct store_entry *out)
{
	return current->hold_result != STORE_OK ? current->hold_result : current->real->hold(s, space, key, out);
}

static enum store_result get(struct store *s, enum store_space space, struct store_bytes key, bool meta, bool may_block,
			     struct store_entry *out)
{
	current->looks++;
	return current->real->get(s, space, key, meta, may_block, out);
}

static enum store_result prefix_exists(struct store *s, enum store_space space, struct store_bytes prefix, bool may_block, bool *out)
{
	current->looks++;
	return current->real->prefix_exists(s, space, prefix, may_block, out);
}

static uint64_t max_value_size(struct store *s)
{
	return current->max_value_size ? current->max_value_size : current->real->max_value_size(s);
}

static void start(struct fs_mount *f)
{
	assert_ok(db_open_env(f->env, "/db", f->m.options.engine, WOMBAT_CREATE, &f->m.db));
	assert_int_equal(store_lsm_new(f->m.db, &f->m.store), STORE_OK);
	f->real = f->m.store->calls;
	f->calls = *f->real;
	f->calls.commit = commit;
	f->calls.hold = hold;
	f->calls.get = get;
	f->calls.prefix_exists = prefix_exists;
	f->calls.max_value_size = max_value_size;
	f->m.store->calls = &f->calls;
	assert_int_equal(control_init(&f->m), 0);
	assert_int_equal(ops_init(&f->m), 0);
}

static void stop(struct fs_mount *f)
{
	f->commit_result = f->hold_result = STORE_OK;
	assert_int_equal(ops_done(&f->m), 0);
	control_done(&f->m);
	f->m.store->calls->close(f->m.store, true);
	f->m.store = NULL;
	assert_ok(wombat_close(f->m.db));
}

void fs_mount_begin(struct fs_mount *f)
{
	char *argv[] = { (char *)"wombatfs", (char *)"/db", (char *)"/nowhere", (char *)"-o",
			 (char *)"uid=4711,gid=4712,wal_file_size=256K", NULL };
	char sentence[512];
	memset(f, 0, sizeof *f);
	current = f;
	assert_ok(env_mem_new(&f->env));
	assert_true(mount_options_init(&f->m.options));
	if (mount_options_parse(&f->m.options, 5, argv, sentence, sizeof sentence))
		fail_msg("%s", sentence);
	start(f);
}

void fs_mount_end(struct fs_mount *f)
{
	stop(f);
	mount_options_done(&f->m.options);
	f->env->calls->free(f->env);
	current = NULL;
}

void fs_mount_reopen(struct fs_mount *f)
{
	stop(f);
	start(f);
}

int fs_mount_setup(void **state)
{
	static struct fs_mount f;
	fs_mount_begin(&f);
	*state = &f;
	return 0;
}

int fs_mount_teardown(void **state)
{
	fs_mount_end(*state);
	return 0;
}

long fs_mount_stored(struct fs_mount *f, enum store_space space, struct store_bytes key, uint8_t **out)
{
	struct store_entry e;
	enum store_result r = f->real->get(f->m.store, space, key, false, true, &e);
	if (r == STORE_NOT_FOUND)
		return -1;
	assert_int_equal(r, STORE_OK);
	if (out) {
		*out = test_malloc(e.value.size + 1);
		if (e.value.size)
			memcpy(*out, e.value.data, e.value.size);
	}
	long size = (long)e.value_size;
	f->real->entry_release(f->m.store, &e);
	return size;
}
