/*
 * One job in pieces that several threads run: the one that has the job offers them, threads with nothing else to do help.
 * Nobody waits for helpers that do not come: who offers runs what is left itself.
 */
#ifndef WOMBAT_COMPACT_SHARE_H
#define WOMBAT_COMPACT_SHARE_H

#include "engine/base/mutex.h"
#include "engine/base/status.h"

struct share_work {
	/* Called once for each piece 0..count-1, by any of the threads, several at a time. */
	enum wombat_status (*run)(void *arg, size_t piece);
	void *arg;
	size_t count;
};

struct share {
	struct mutex mu;
	struct condition ended;     /* a piece did */
	struct share_offer *offers; /* guarded by mu: jobs with pieces that nobody has begun */
	void (*wake)(void *arg);    /* there is something to help with; called without locks of the share */
	void *wake_arg;
};
void share_init(struct share *s, void (*wake)(void *arg), void *arg);
void share_done(struct share *s);

/* Runs all pieces and returns when none runs any more. After a failure no further piece is begun; the failure of the first
 * piece that failed is returned, with its sentence. */
MUST_CHECK enum wombat_status share_run(struct share *s, const struct share_work *work);
/* Runs one piece of somebody's job. False: there is none to run. */
bool share_help(struct share *s);

#endif
