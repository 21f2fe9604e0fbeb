/*
 * Snapshots: pinned sequence numbers, in a ring ordered by age.
 *
 * A snapshot's number is read and registered under one lock, and compactions collect the numbers (and the
 * newest state's) under it too: so a snapshot is either in the list that a compaction works with, or not older
 * than the newest state of that list.
 */
#include "engine/base/alloc.h"
#include "engine/db/db_impl.h"

/* Before `next` in the ring. */
static void add_locked(struct wombat *db, struct wombat_snapshot *snapshot, struct wombat_snapshot *next)
	REQUIRES(&db->snapshots_mu);
static void add_locked(struct wombat *db, struct wombat_snapshot *snapshot, struct wombat_snapshot *next)
{
	snapshot->prev = next->prev;
	snapshot->next = next;
	next->prev->next = snapshot;
	next->prev = snapshot;
	db->snapshot_count++;
}

struct wombat_snapshot *wombat_snapshot_new(struct wombat *db)
{
	struct wombat_snapshot *snapshot = mem_alloc(sizeof *snapshot);
	if (!snapshot) {
		fail_no_memory();
		return NULL;
	}
	mutex_lock(&db->snapshots_mu);
	snapshot->sequence = atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	add_locked(db, snapshot, &db->snapshots);
	mutex_unlock(&db->snapshots_mu);
	return snapshot;
}

struct wombat_snapshot *db_snapshot_at(struct wombat *db, uint64_t sequence)
{
	struct wombat_snapshot *snapshot = mem_alloc(sizeof *snapshot);
	if (!snapshot) {
		fail_no_memory();
		return NULL;
	}
	snapshot->sequence = sequence;
	mutex_lock(&db->snapshots_mu);
	struct wombat_snapshot *next = db->snapshots.next;
	while (next != &db->snapshots && next->sequence < sequence)
		next = next->next;
	add_locked(db, snapshot, next);
	mutex_unlock(&db->snapshots_mu);
	return snapshot;
}

void wombat_snapshot_release(struct wombat *db, struct wombat_snapshot *snapshot)
{
	if (!snapshot)
		return;
	mutex_lock(&db->snapshots_mu);
	snapshot->prev->next = snapshot->next;
	snapshot->next->prev = snapshot->prev;
	db->snapshot_count--;
	mutex_unlock(&db->snapshots_mu);
	mem_free(snapshot);
}

uint64_t wombat_snapshot_sequence(const struct wombat_snapshot *snapshot)
{
	return snapshot->sequence;
}

enum wombat_status db_snapshot_list(struct wombat *db, uint64_t **out, size_t *out_count)
{
	mutex_lock(&db->snapshots_mu);
	uint64_t *list = mem_alloc((db->snapshot_count + 1) * sizeof *list);
	size_t count = 0;
	if (list && !db->snapshots_known) {
		list[count++] = 0; /* Nothing is older than what somebody may need. */
	} else if (list) {
		for (struct wombat_snapshot *s = db->snapshots.next; s != &db->snapshots; s = s->next)
			if (count == 0 || list[count - 1] != s->sequence)
				list[count++] = s->sequence;
		uint64_t newest = atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
		if (count == 0 || list[count - 1] != newest)
			list[count++] = newest;
	}
	mutex_unlock(&db->snapshots_mu);
	if (!list)
		return fail_no_memory();
	*out = list;
	*out_count = count;
	return WOMBAT_OK;
}

uint64_t db_oldest_snapshot(struct wombat *db)
{
	mutex_lock(&db->snapshots_mu);
	uint64_t oldest = !db->snapshots_known ? 0 : db->snapshot_count ? db->snapshots.next->sequence :
			  atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
	mutex_unlock(&db->snapshots_mu);
	return oldest;
}
