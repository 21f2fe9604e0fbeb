/* An iterator over entries that all have one sequence number, whatever number they were written with. */
#ifndef WOMBAT_ITER_STAMP_ITER_H
#define WOMBAT_ITER_STAMP_ITER_H

#include "engine/iter/iter.h"

/* `child`, whose entries have one version of each key, with number 0, is taken in any case. */
MUST_CHECK enum wombat_status stamp_iter_new(struct iter *child, uint64_t sequence, struct iter **out);

#endif
