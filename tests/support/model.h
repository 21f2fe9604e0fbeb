/*
 * A reference database: what libwombat should show, done in the simplest way. A sorted array of records; a snapshot is
 * a copy. For tests; aborts when out of memory.
 */
#ifndef WOMBAT_TESTS_MODEL_H
#define WOMBAT_TESTS_MODEL_H

#include "engine/wombat.h"

struct model_record {
	uint8_t *key;       /* keyspace byte + key */
	size_t key_size;
	uint8_t *value, *attr;
	size_t value_size, attr_size;
	uint64_t expiry_ns;
};

struct model {
	struct model_record *records;
	size_t count, capacity;
};

void model_init(struct model *m);
void model_done(struct model *m);
void model_copy(const struct model *from, struct model *to);
void model_put(struct model *m, unsigned keyspace, struct wombat_slice key, struct wombat_slice value,
	const struct wombat_put_info *info);
void model_delete(struct model *m, unsigned keyspace, struct wombat_slice key);
void model_delete_range(struct model *m, unsigned keyspace, struct wombat_slice from, struct wombat_slice to);
/* NULL: absent, or expired at now_ns. */
const struct model_record *model_get(const struct model *m, unsigned keyspace, struct wombat_slice key, uint64_t now_ns);
/* Index of the first record at or behind the key. */
size_t model_seek(const struct model *m, unsigned keyspace, struct wombat_slice key);
/* Whether both hold the same. */
bool model_equal(const struct model *a, const struct model *b);

#endif
