/*
 * Pieces of jobs. An offer lives on the stack of the thread that makes it and leaves the list with its last piece begun,
 * so a helper that holds none of its pieces cannot meet it.
 */
#include "engine/compact/share.h"

#include <stdio.h>

struct share_offer {
	struct share_offer *next;
	const struct share_work *work;
	size_t begun, running;     /* guarded by the share's mu, as all below */
	bool listed;
	size_t failed;             /* the first piece that did; meaningful with another status than WOMBAT_OK */
	enum wombat_status status;
	char detail[512];
};

void share_init(struct share *s, void (*wake)(void *arg), void *arg)
{
	*s = (struct share){ .wake = wake, .wake_arg = arg };
	mutex_init(&s->mu, LOCK_RANK_STATS);
	condition_init(&s->ended);
}

void share_done(struct share *s)
{
	condition_done(&s->ended);
	mutex_done(&s->mu);
}

static void unlist_locked(struct share *s, struct share_offer *o) REQUIRES(&s->mu);
static void unlist_locked(struct share *s, struct share_offer *o)
{
	if (!o->listed)
		return;
	struct share_offer **p = &s->offers;
	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
	o->listed = false;
}

/* Begins the next piece and runs it. */
static void run_piece_locked(struct share *s, struct share_offer *o) REQUIRES(&s->mu);
static void run_piece_locked(struct share *s, struct share_offer *o)
{
	size_t piece = o->begun++;
	o->running++;
	if (o->begun == o->work->count)
		unlist_locked(s, o);
	mutex_unlock(&s->mu);
	enum wombat_status status = o->work->run(o->work->arg, piece);
	mutex_lock(&s->mu);
	if (status != WOMBAT_OK && (o->status == WOMBAT_OK || piece < o->failed)) {
		o->status = status;
		o->failed = piece;
		snprintf(o->detail, sizeof o->detail, "%s", status_detail());
	}
	if (status != WOMBAT_OK)
		unlist_locked(s, o);
	o->running--;
	condition_broadcast(&s->ended);
}

enum wombat_status share_run(struct share *s, const struct share_work *work)
{
	struct share_offer o = { .work = work };
	mutex_lock(&s->mu);
	if (work->count > 1) {
		o.next = s->offers;
		s->offers = &o;
		o.listed = true;
		mutex_unlock(&s->mu);
		s->wake(s->wake_arg);
		mutex_lock(&s->mu);
	}
	while (o.begun < work->count && o.status == WOMBAT_OK)
		run_piece_locked(s, &o); /* drops and takes mu */
	while (o.running > 0)
		condition_wait(&s->ended, &s->mu); /* drops and takes mu */
	mutex_unlock(&s->mu);
	if (o.status != WOMBAT_OK)
		status_set_detail(o.detail);
	return o.status;
}

bool share_help(struct share *s)
{
	mutex_lock(&s->mu);
	bool found = s->offers != NULL;
	if (found)
		run_piece_locked(s, s->offers); /* drops and takes mu */
	mutex_unlock(&s->mu);
	return found;
}
