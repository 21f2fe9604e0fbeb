/*
 * Merge of iterators into one, in internal-key order. Takes its children: they are freed with it, also
 * when making it fails. One child is returned as it is. Entries with equal key and tag do not occur.
 * A child's error becomes the merge's, which is then not positioned.
 */
#ifndef WOMBAT_ITER_MERGE_ITER_H
#define WOMBAT_ITER_MERGE_ITER_H

#include "engine/iter/iter.h"

MUST_CHECK enum wombat_status merge_iter_new(struct iter **children, size_t count, struct iter **out);

#endif
