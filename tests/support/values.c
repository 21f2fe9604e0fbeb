/* See values.h. */
#include "tests/support/values.h"

#include "engine/base/hash.h"
#include "tests/support/check.h"

static uint64_t next_number(void *arg)
{
	return ((struct values *)arg)->next_number++;
}

static void open_log(struct values *v)
{
	struct vlog_options options = {
		.env = v->env, .dir = VALUES_DIR, .file_bytes = v->file_bytes, .cache = v->cache, .verify = &v->verify,
		.next_file_number = next_number, .arg = v,
	};
	assert_ok(vlog_open(&options, &v->log));
}

void values_open(struct values *v, uint64_t file_bytes, uint64_t cache_bytes)
{
	*v = (struct values){ .next_number = 1, .file_bytes = file_bytes };
	atomic_init(&v->verify, true);
	assert_ok(env_mem_new(&v->env));
	assert_ok(v->env->calls->dir_create(v->env, VALUES_DIR));
	if (cache_bytes)
		assert_ok(lru_new(cache_bytes, 1, &v->cache));
	open_log(v);
}

void values_reopen(struct values *v)
{
	vlog_free(v->log);
	open_log(v);
}

void values_done(struct values *v)
{
	vlog_free(v->log);
	lru_free(v->cache);
	v->env->calls->free(v->env);
}

void values_fill(uint8_t *out, size_t size, uint64_t n)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)hash_mix(n * 1000003 + i);
}
