/* What every environment has to do, as tests that run over any of them. */
#ifndef WOMBAT_TESTS_ENV_CONTRACT_H
#define WOMBAT_TESTS_ENV_CONTRACT_H

#include "engine/env/env.h"

/* An environment and an empty directory in it. */
struct env_world {
	struct env *env;
	char dir[256];
};

/* Runs all tests, each between a `begin` and an `end`; the number of those that failed. */
int env_contract_run(const char *name, void (*begin)(struct env_world *w), void (*end)(struct env_world *w));

/* DIR/NAME, in one of a few static places that take turns. */
const char *env_path(const struct env_world *w, const char *name);
/* Bytes that differ from place to place and from seed to seed. */
void env_pattern(uint8_t *out, size_t size, unsigned seed);
/* A closed, synced file of such bytes. */
void env_put(const struct env_world *w, const char *name, size_t size, unsigned seed);
/* Asserts that a file has just these. */
void env_assert_file(const struct env_world *w, const char *name, size_t size, unsigned seed);
bool env_has(const struct env_world *w, const char *name);

#endif
