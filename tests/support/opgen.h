/*
 * Random changes, made to a batch and to a model alike: keys from a small, awkward set, so that they collide.
 */
#ifndef WOMBAT_TESTS_OPGEN_H
#define WOMBAT_TESTS_OPGEN_H

#include "engine/base/random.h"
#include "tests/support/model.h"

struct opgen {
	struct random_state random;
	unsigned key_count;       /* distinct keys per keyspace */
	unsigned value_max;       /* bytes */
	unsigned expire_percent;  /* puts with an expiry */
	uint64_t now_ns;          /* expiries lie around it */
};

/* Key number `i` into `out`; its size. */
size_t opgen_key(unsigned i, uint8_t out[64]);
struct wombat_slice opgen_random_key(struct opgen *g, uint8_t out[64]);
unsigned opgen_keyspace(struct opgen *g);
/* Adds one random change to the batch and applies it to the model. */
void opgen_change(struct opgen *g, struct wombat_batch *batch, struct model *model);

#endif
