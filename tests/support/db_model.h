/* A database in memory and the model of it, changed together: for tests that compare all of its content. */
#ifndef WOMBAT_TESTS_DB_MODEL_H
#define WOMBAT_TESTS_DB_MODEL_H

#include "tests/support/db_world.h"
#include "tests/support/opgen.h"

struct db_model {
	struct db_world world;
	struct model model; /* what the calls below wrote */
};

/* As db_world_init, with sizes that make some hundred records flush and compact as many more would. */
void db_model_init(struct db_model *m, const char *const *settings);
void db_model_done(struct db_model *m);

void db_model_put(struct db_model *m, const char *key, const char *value);
void db_model_delete(struct db_model *m, const char *key);
/* A batch of random changes. */
void db_model_change(struct db_model *m, struct opgen *gen, unsigned count);
/* Asserts that the database holds, in every keyspace that opgen writes to, what the model does at that
 * time. */
void db_model_compare(struct db_model *m, uint64_t now_ns);

#endif
