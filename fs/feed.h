/*
 * The latest lines of something that goes on: a ring in memory that any number of readers follow, each at its own pace. Who falls
 * behind by more than the ring holds is told how many lines that were. Any thread may call these.
 */
#ifndef WOMBAT_FS_FEED_H
#define WOMBAT_FS_FEED_H

#include <stddef.h>
#include <stdint.h>

#include "fs/control.h"

struct feed;

/* Where a reader is. Zeroed: before the first line that there ever was. */
struct feed_reader {
	uint64_t at;   /* bytes that were added before */
	uint64_t line; /* lines that were */
	bool begun;    /* it has read before */
};

/* NULL: no memory. `capacity`: bytes, of which each line takes some for itself. `number`: of what came before. */
struct feed *feed_new(size_t capacity, uint64_t number);
void feed_free(struct feed *f);
/* A line with its newline. `number` ascends: what the line is about. NULL, or one that the ring has no room for: it is lost, and
 * those before it are, so that what readers find has no gap. */
void feed_add(struct feed *f, uint64_t number, const char *line, size_t size);
/* From the next line on. */
void feed_to_end(struct feed *f, struct feed_reader *r);
/* Appends lines from the reader's place on, some dozen KiB at most, and moves it behind them; nothing: it is at the end. `out_lost`:
 * lines before these that are not there any more, `out_number` the greatest number among all that are not. 0 or ENOMEM. */
int feed_read(struct feed *f, struct feed_reader *r, struct control_text *out, uint64_t *out_lost, uint64_t *out_number);
/* Bytes of all lines there ever were: what grows when there is something to read. */
uint64_t feed_size(struct feed *f);

#endif
