/*
 * The write path: callers queue, a leader writes one WAL record for the group and adds it to the memtable.
 *
 *     caller    join the queue; nobody leads: lead at once
 *     leader    take the others that wait -> make room -> WAL append (-> sync) -> memtable -> publish the
 *               sequence number -> tell the others -> pass the lead to the next in the queue
 *
 * Invariants. Only the leader touches the WAL's end, the active memtable and last_sequence, so none of these
 * needs a lock. visible_sequence is stored last: a reader that sees it finds all changes up to it. A change is
 * in the WAL before it is in the memtable, and durable before it is visible when that was asked for.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/db/db_journal.h"

enum {
	GROUP_MAX = 64,              /* requests in one WAL record */
	GROUP_BYTES = 1 << 20,       /* a group that is larger takes no more */
	SPINS = 400,                 /* looks at its state before a waiting writer sleeps: 1 to 3 us */
	SLEEP_FROM_NS = 1000000,     /* slow-down is gathered until it is worth a system call */
};

static const uint64_t WHOLE_MAX = UINT64_C(1) << 30; /* of a value that is put at once */

enum { REQUEST_WAITING, REQUEST_LEAD, REQUEST_DONE };

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* ---- The queue ----------------------------------------------------------------------------- */

static int request_state(struct write_request *r)
{
	return atomic_load_explicit(&r->state, memory_order_acquire);
}

/* Sets the state of a request that another thread waits on, which may be gone right after. */
static void request_release_locked(struct write_request *r, int state)
{
	bool sleeping = r->sleeping;
	struct condition *wake = r->wake;
	atomic_store_explicit(&r->state, state, memory_order_release);
	if (sleeping) /* It cannot leave its wait before write_mu is free, so `wake` is still there. */
		condition_signal(wake);
}

static int request_sleep(struct wombat *db, struct write_request *r)
{
	struct condition wake;
	condition_init(&wake);
	mutex_lock(&db->write_mu);
	r->wake = &wake;
	r->sleeping = true;
	while (request_state(r) == REQUEST_WAITING)
		condition_wait(&wake, &db->write_mu);
	r->sleeping = false;
	mutex_unlock(&db->write_mu);
	condition_done(&wake);
	return request_state(r);
}

/* True: the caller leads. False: a leader did it. */
static bool queue_join(struct wombat *db, struct write_request *r)
{
	mutex_lock(&db->write_mu);
	if (!db->leading) {
		db->leading = true;
		mutex_unlock(&db->write_mu);
		return true;
	}
	if (db->queue_tail)
		db->queue_tail->next = r;
	else
		db->queue_head = r;
	db->queue_tail = r;
	mutex_unlock(&db->write_mu);
	int state = request_state(r);
	for (int i = 0; i < SPINS && state == REQUEST_WAITING; i++) {
		cpu_relax();
		state = request_state(r);
	}
	if (state == REQUEST_WAITING)
		state = request_sleep(db, r);
	return state == REQUEST_LEAD;
}

static struct write_request *queue_pop_locked(struct wombat *db)
{
	struct write_request *r = db->queue_head;
	db->queue_head = r->next;
	if (!db->queue_head)
		db->queue_tail = NULL;
	r->next = NULL;
	return r;
}

struct write_group {
	struct write_request *members[GROUP_MAX]; /* the leader first */
	size_t count;
	size_t bytes;
	uint32_t changes;
	bool sync, has_values;
};

static void group_add(struct write_group *g, struct write_request *r)
{
	g->members[g->count++] = r;
	g->bytes += r->body.size;
	g->changes += r->count;
	g->sync |= r->sync;
	g->has_values |= r->has_values;
}

/* Whether a request with a guard may be written behind what is in the group. One that fails its check is left to lead the
 * next group, and to fail there. */
static bool guard_allows(const struct write_guard *guard, const struct write_group *g)
{
	for (size_t i = 0; i < g->count; i++)
		if (guard->touched(guard, g->members[i]->body))
			return false;
	return guard->check(guard) == WOMBAT_OK;
}

/* Takes from the queue what may go with the leader's request. One that does not sync takes none that does:
 * it would wait for a disk that nobody asked it to wait for. */
static void group_gather(struct wombat *db, struct write_group *g)
{
	mutex_lock(&db->write_mu);
	while (db->queue_head && g->count < GROUP_MAX && g->bytes < GROUP_BYTES) {
		struct write_request *r = db->queue_head;
		if (r->rotate || r->alone || (r->sync && !g->sync))
			break;
		if (r->guard) { /* Only a leader takes from the queue: it stays the first while others join behind. */
			mutex_unlock(&db->write_mu);
			bool allowed = guard_allows(r->guard, g);
			mutex_lock(&db->write_mu);
			if (!allowed)
				break;
		}
		group_add(g, queue_pop_locked(db));
	}
	mutex_unlock(&db->write_mu);
}

static void group_end(struct wombat *db, struct write_group *g, enum wombat_status s, uint64_t first_sequence)
{
	uint64_t sequence = first_sequence;
	for (size_t i = 0; i < g->count; i++) {
		struct write_request *r = g->members[i];
		sequence += r->count;
		r->status = s;
		r->last_sequence = sequence - 1;
		if (s != WOMBAT_OK)
			snprintf(r->detail, sizeof r->detail, "%s", status_detail());
	}
	mutex_lock(&db->write_mu);
	for (size_t i = 1; i < g->count; i++)
		request_release_locked(g->members[i], REQUEST_DONE);
	if (db->queue_head)
		request_release_locked(queue_pop_locked(db), REQUEST_LEAD);
	else
		db->leading = false;
	mutex_unlock(&db->write_mu);
}

/* ---- Room in the memtable ------------------------------------------------------------------ */

static enum wombat_status switch_memtable_locked(struct wombat *db) REQUIRES(&db->state_mu);
static enum wombat_status switch_memtable_locked(struct wombat *db)
{
	struct memtable *fresh;
	enum wombat_status s = memtable_new(atomic_load_explicit(&db->live.mem_table_size, memory_order_relaxed), &fresh);
	if (s != WOMBAT_OK)
		return s;
	struct mem_slot full = db->active;
	full.last_sequence = db->last_sequence;
	full.journal_end = vlog_end(db->values);
	db->waiting[db->waiting_count++] = full;
	/* The next change goes to the present segment or a later one. */
	db->active = (struct mem_slot){ .table = fresh, .first_epoch = wal_writer_epoch(db->wal),
				       .values_begin = vlog_appended_bytes(db->values) };
	s = db_view_install_locked(db);
	if (s != WOMBAT_OK) {
		db->active = full;
		db->waiting_count--;
		memtable_unref(fresh);
		return s;
	}
	db_state_changed_locked(db);
	scheduler_wake(db->scheduler, LANE_FLUSH);
	return WOMBAT_OK;
}

/* Pays for the slow-down: `bytes` times the present rate, slept once it is worth it. */
static void slow_down(struct wombat *db, size_t bytes)
{
	uint64_t rate = atomic_load_explicit(&db->stall_delay_ns_per_kib, memory_order_relaxed);
	db->stall_debt_ns += rate * bytes / 1024;
	if (db->stall_debt_ns < SLEEP_FROM_NS)
		return;
	uint64_t begin = db->env->calls->monotonic_ns(db->env);
	db->env->calls->sleep_ns(db->env, db->stall_debt_ns);
	stats_add(db->stats, STAT_STALL_SLOW, 1);
	stats_add(db->stats, STAT_STALL_NS, db->env->calls->monotonic_ns(db->env) - begin);
	db->stall_debt_ns = 0;
}

/* By its bytes, or by those of the values that its changes brought: what they replaced stays until compactions have
 * seen them. */
static bool memtable_full(struct wombat *db)
{
	return memtable_entries(db->active.table) > 0 &&
	       (memtable_bytes(db->active.table) >= atomic_load_explicit(&db->live.mem_table_size, memory_order_relaxed) ||
		vlog_appended_bytes(db->values) - db->active.values_begin >=
			atomic_load_explicit(&db->live.values_per_memtable, memory_order_relaxed));
}

/* Waits, counted as a stall, until the full memtable may join those that wait. */
static enum wombat_status wait_to_switch_locked(struct wombat *db) REQUIRES(&db->state_mu);
static enum wombat_status wait_to_switch_locked(struct wombat *db)
{
	uint64_t begin = 0;
	enum wombat_status s = WOMBAT_OK;
	while ((db->waiting_count >= atomic_load_explicit(&db->live.num_memtables, memory_order_relaxed) ||
		atomic_load_explicit(&db->stall_kind, memory_order_relaxed) == STALL_STOP)) {
		if (!begin) {
			begin = db->env->calls->monotonic_ns(db->env);
			stats_add(db->stats, STAT_STALL_STOP, 1);
			event_log_line(db->log, EVENT_WARN, "writers stopped: %zu memtables wait, level 0 %s", db->waiting_count,
				       atomic_load_explicit(&db->stall_kind, memory_order_relaxed) == STALL_STOP ? "is full" : "has room");
		}
		s = db_check_writable(db);
		if (s == WOMBAT_OK && atomic_load_explicit(&db->closing, memory_order_relaxed))
			s = fail(WOMBAT_BUSY, "the database is closing");
		if (s != WOMBAT_OK)
			break;
		condition_wait(&db->state_changed, &db->state_mu); /* drops and takes state_mu */
	}
	if (begin) {
		uint64_t ns = db->env->calls->monotonic_ns(db->env) - begin;
		stats_add(db->stats, STAT_STALL_NS, ns);
		event_log_line(db->log, EVENT_WARN, "writers go on after %" PRIu64 " ms", ns / 1000000);
	}
	return s;
}

static enum wombat_status make_room(struct wombat *db, size_t bytes)
{
	if (atomic_load_explicit(&db->live.write_throttle, memory_order_relaxed))
		throttle_take(&db->write_throttle, bytes, &db->closing);
	if (atomic_load_explicit(&db->stall_kind, memory_order_relaxed) == STALL_SLOW)
		slow_down(db, bytes);
	if (!memtable_full(db))
		return WOMBAT_OK;
	mutex_lock(&db->state_mu);
	enum wombat_status s = wait_to_switch_locked(db);
	if (s == WOMBAT_OK)
		s = switch_memtable_locked(db);
	mutex_unlock(&db->state_mu);
	return s;
}

/* ---- The leader ---------------------------------------------------------------------------- */

static void background_fail(struct wombat *db, enum wombat_status s)
{
	mutex_lock(&db->state_mu);
	db_background_fail_locked(db, s);
	mutex_unlock(&db->state_mu);
}

/* Adds the group, whose WAL record is written, to the memtable. A failure here leaves a part of a record that the
 * next open would replay whole, so it must be the last write of this process. */
static enum wombat_status apply_group(struct wombat *db, const struct write_group *g, uint64_t time_ns)
{
	struct memtable *m = db->active.table;
	uint64_t sequence = db->last_sequence + 1, deletes = memtable_deletes(m);
	for (size_t i = 0; i < g->count; i++) {
		uint32_t changes;
		enum wombat_status s = write_batch_apply(g->members[i]->body, sequence, 0, time_ns, m, &changes);
		if (s != WOMBAT_OK) {
			background_fail(db, s);
			return s;
		}
		sequence += changes;
	}
	db->last_sequence = sequence - 1;
	deletes = memtable_deletes(m) - deletes;
	stats_add(db->stats, STAT_PUTS, g->changes - deletes);
	if (deletes)
		stats_add(db->stats, STAT_DELETES, deletes);
	stats_add(db->stats, STAT_USER_BYTES, g->bytes);
	stats_add(db->stats, STAT_BATCHES, g->count);
	stats_add(db->stats, STAT_GROUPS, 1);
	return WOMBAT_OK;
}

/* The changes of its own have their numbers, and nobody misses them in the memtable. */
static enum wombat_status apply_alone(struct wombat *db, const struct write_request *r)
{
	uint64_t first = db->last_sequence + 1;
	db->last_sequence += r->count;
	return r->alone(r->alone_arg, first);
}

/* The time since `*mark` into a part of a write's times, and on from here. Only for a leader whose times are wanted. */
static void note_time(struct wombat *db, const struct write_group *g, uint64_t *mark, size_t part)
{
	struct write_times *times = g->members[0]->times;
	if (__builtin_expect(!times, 1))
		return;
	uint64_t now = db->env->calls->monotonic_ns(db->env);
	if (*mark)
		*(uint64_t *)(void *)((char *)times + part) += now - *mark;
	*mark = now;
}
#define NOTE_TIME(part) note_time(db, g, &mark, offsetof(struct write_times, part))

/* The group, whose record is in the write-ahead log. */
static enum wombat_status make_durable(struct wombat *db, const struct write_group *g, const struct wombat_slice *bodies,
				       uint64_t now, bool journal)
{
	/* db_journal_fits() saw that all before is durable. The group itself may be by now, too: the log is synced by others. */
	const struct vlog_journal_record record = {
		.durable_sequence = db->last_sequence, .sequence = db->last_sequence + 1, .time_ns = now,
		.count = g->changes,
	};
	if (journal && db_journal_write(db, &record, bodies, g->count))
		return WOMBAT_OK;
	enum wombat_status s = wal_writer_sync(db->wal);
	if (s != WOMBAT_OK)
		background_fail(db, s);
	return s;
}

static enum wombat_status write_group(struct wombat *db, const struct write_group *g)
{
	uint64_t mark = 0;
	NOTE_TIME(room);
	enum wombat_status s = make_room(db, g->bytes);
	NOTE_TIME(room);
	if (s != WOMBAT_OK)
		return s;
	struct wombat_slice bodies[GROUP_MAX];
	for (size_t i = 0; i < g->count; i++)
		bodies[i] = g->members[i]->body;
	uint64_t now = db->env->calls->now_ns(db->env);
	uint32_t epoch;
	bool journal = g->sync && g->has_values && db_journal_fits(db, g->bytes);
	wal_writer_sync_next(db->wal, g->sync && !journal);
	s = wal_writer_append(db->wal, db->last_sequence + 1, now, g->changes, bodies, g->count, &epoch);
	if (s != WOMBAT_OK)
		return s;
	if (wal_writer_wants_spare(db->wal))
		scheduler_wake(db->scheduler, LANE_UPKEEP);
	NOTE_TIME(log);
	if (g->sync)
		s = make_durable(db, g, bodies, now, journal);
	if (s != WOMBAT_OK)
		return s;
	NOTE_TIME(sync);
	s = g->members[0]->alone ? apply_alone(db, g->members[0]) : apply_group(db, g, now);
	NOTE_TIME(memtable);
	if (s != WOMBAT_OK)
		return s;
	/* Release: whoever reads this number finds the changes up to it in the memtable. */
	atomic_store_explicit(&db->visible_sequence, db->last_sequence, memory_order_release);
	return WOMBAT_OK;
}

static enum wombat_status rotate(struct wombat *db)
{
	if (memtable_entries(db->active.table) == 0)
		return WOMBAT_OK;
	mutex_lock(&db->state_mu);
	enum wombat_status s = wait_to_switch_locked(db);
	if (s == WOMBAT_OK)
		s = switch_memtable_locked(db);
	mutex_unlock(&db->state_mu);
	return s;
}

/* The leader's: nothing comes in meanwhile. */
static enum wombat_status flush_all(struct wombat *db)
{
	enum wombat_status s = rotate(db);
	return s == WOMBAT_OK ? db_wait_flushed(db) : s;
}

static enum wombat_status lead(struct wombat *db, struct write_request *r, struct write_group *g)
{
	group_add(g, r);
	/* Here, not before queueing: the leader before may have failed between its log record and the sequence number,
	 * and nobody may append behind that. */
	enum wombat_status s = db_check_writable(db);
	if (s != WOMBAT_OK)
		return s;
	if (r->rotate)
		return rotate(db);
	if (r->alone)
		s = flush_all(db);
	else if (r->guard)
		s = r->guard->check(r->guard);
	if (s != WOMBAT_OK)
		return s;
	if (!r->alone)
		group_gather(db, g);
	return write_group(db, g);
}

static enum wombat_status submit(struct wombat *db, struct write_request *r)
{
	bool leads = queue_join(db, r);
	if (r->times)
		r->times->queue = db->env->calls->monotonic_ns(db->env) - r->times->queue;
	if (!leads) {
		if (r->status != WOMBAT_OK)
			status_set_detail(r->detail);
		return r->status;
	}
	struct write_group g = { .count = 0 };
	uint64_t first = db->last_sequence + 1;
	enum wombat_status s = lead(db, r, &g);
	/* What made the database read-only was counted there. */
	if (s != WOMBAT_OK && atomic_load_explicit(&db->background_status, memory_order_relaxed) == WOMBAT_OK)
		stats_error(db->stats, s);
	group_end(db, &g, s, first);
	return s;
}

static enum wombat_status write_body(struct wombat *db, struct wombat_slice body, uint32_t count, bool has_values,
				     unsigned flags, const struct write_guard *guard, uint64_t *out_sequence)
{
	struct write_request r = {
		.body = body,
		.count = count,
		.has_values = has_values,
		.guard = guard,
		.sync = (flags & WOMBAT_SYNC) || atomic_load_explicit(&db->live.sync_writes, memory_order_relaxed),
	};
	struct write_times times = { .queue = slow_begin(db) };
	uint64_t slow = times.queue;
	if (slow)
		r.times = &times;
	enum wombat_status s = submit(db, &r);
	if (s == WOMBAT_OK && out_sequence)
		*out_sequence = r.last_sequence;
	if (slow)
		slow_end_write(db, slow, body, count, &times);
	return s;
}

enum wombat_status db_rotate_memtable(struct wombat *db)
{
	struct write_request r = { .rotate = true };
	return submit(db, &r);
}

enum wombat_status db_write_alone(struct wombat *db, uint32_t count,
				  enum wombat_status (*alone)(void *arg, uint64_t sequence), void *arg, uint64_t *out_sequence)
{
	/* Tombstones of a name in the engine's own keyspace that no record has. */
	struct buf body = { 0 };
	enum wombat_status s = WOMBAT_OK;
	for (uint32_t i = 0; i < count && s == WOMBAT_OK; i++)
		s = write_batch_add_delete(&body, 0, WOMBAT_STR("alone"));
	struct write_request r = { .body = buf_slice(&body), .count = count, .alone = alone, .alone_arg = arg };
	if (s == WOMBAT_OK)
		s = submit(db, &r);
	if (s == WOMBAT_OK)
		*out_sequence = r.last_sequence;
	buf_done(&body);
	return s;
}

/* ---- Public calls -------------------------------------------------------------------------- */

enum wombat_status db_check_limits(struct wombat *db, uint64_t key, uint64_t value, uint64_t attr)
{
	uint64_t max_key = atomic_load_explicit(&db->live.max_key_size, memory_order_relaxed);
	uint64_t max_value = atomic_load_explicit(&db->live.max_value_size, memory_order_relaxed);
	if (value > WHOLE_MAX && max_value > WHOLE_MAX)
		return fail(WOMBAT_TOO_BIG, "a value of %llu bytes is to be written in parts (at most %llu at once)",
			    (unsigned long long)value, (unsigned long long)WHOLE_MAX);
	if (key > max_key)
		return fail(WOMBAT_TOO_BIG, "a key of %llu bytes is over max_key_size (%llu)", (unsigned long long)key,
			    (unsigned long long)max_key);
	if (value > max_value)
		return fail(WOMBAT_TOO_BIG, "a value of %llu bytes is over max_value_size (%llu)",
			    (unsigned long long)value, (unsigned long long)max_value);
	if (attr > RECORD_ATTR_MAX)
		return fail(WOMBAT_TOO_BIG, "attributes of %llu bytes are over their limit (%d)",
			    (unsigned long long)attr, RECORD_ATTR_MAX);
	return WOMBAT_OK;
}

enum wombat_status db_check_batch(struct wombat *db, const struct wombat_batch *batch)
{
	uint64_t max_value = atomic_load_explicit(&db->live.max_value_size, memory_order_relaxed);
	if (batch->largest_copy > max_value)
		return fail(WOMBAT_TOO_BIG, "a value of %llu bytes is over max_value_size (%llu)",
			    (unsigned long long)batch->largest_copy, (unsigned long long)max_value);
	return db_check_limits(db, batch->largest_key, batch->largest_value, batch->largest_attr);
}

static enum wombat_status put_large(struct wombat *db, unsigned keyspace, struct wombat_slice key, struct wombat_slice value)
{
	uint64_t begin = stats_begin();
	struct wombat_put_info info = { .borrow = true };
	struct wombat_batch *batch = wombat_batch_new();
	if (!batch)
		return fail_no_memory();
	enum wombat_status s = wombat_batch_put(batch, keyspace, key, value, &info);
	if (s == WOMBAT_OK)
		s = wombat_write(db, batch, 0, NULL);
	wombat_batch_free(batch);
	stats_end(db->stats, LATENCY_PUT, begin);
	return s;
}

enum wombat_status wombat_put(struct wombat *db, unsigned keyspace, struct wombat_slice key, struct wombat_slice value)
{
	uint64_t threshold = atomic_load_explicit(&db->live.value_threshold, memory_order_relaxed);
	if (threshold && value.size >= threshold)
		return put_large(db, keyspace, key, value);
	uint64_t begin = stats_begin();
	struct record record = { .value = value };
	enum wombat_status s = keyspace_check(keyspace);
	if (s == WOMBAT_OK)
		s = db_check_limits(db, key.size, value.size, 0);
	if (s != WOMBAT_OK)
		return s;
	uint8_t room[1024], *body = room;
	size_t size = write_batch_put_size(key, &record);
	if (size > sizeof room && !(body = mem_alloc(size)))
		return fail_no_memory();
	write_batch_put_encode(body, keyspace, key, &record);
	s = write_body(db, slice_make(body, size), 1, false, 0, NULL, NULL);
	if (body != room)
		mem_free(body);
	stats_end(db->stats, LATENCY_PUT, begin);
	return s;
}

enum wombat_status wombat_delete(struct wombat *db, unsigned keyspace, struct wombat_slice key)
{
	uint64_t begin = stats_begin();
	struct wombat_batch batch = { .count = 0 };
	enum wombat_status s = wombat_batch_delete(&batch, keyspace, key);
	if (s == WOMBAT_OK)
		s = wombat_write(db, &batch, 0, NULL);
	buf_done(&batch.body);
	stats_end(db->stats, LATENCY_DELETE, begin);
	return s;
}

enum wombat_status wombat_delete_range(struct wombat *db, unsigned keyspace, struct wombat_slice from,
				       struct wombat_slice to)
{
	struct wombat_batch batch = { .count = 0 };
	enum wombat_status s = wombat_batch_delete_range(&batch, keyspace, from, to);
	if (s == WOMBAT_OK)
		s = wombat_write(db, &batch, 0, NULL);
	buf_done(&batch.body);
	if (s == WOMBAT_OK)
		stats_add(db->stats, STAT_RANGE_DELETES, 1);
	return s;
}

enum wombat_status db_write_placed(struct wombat *db, const struct placed_batch *placed, unsigned flags,
				   const struct write_guard *guard, uint64_t *out_sequence)
{
	enum wombat_status s = write_body(db, buf_slice(&placed->body), placed->changes, placed->value_bytes > 0, flags, guard,
					  out_sequence);
	if (s == WOMBAT_OK && placed->value_bytes)
		stats_add(db->stats, STAT_USER_BYTES, placed->value_bytes);
	return s;
}

static enum wombat_status place_and_write(struct wombat *db, const struct wombat_batch *batch, unsigned flags,
					  const struct write_guard *guard, uint64_t *out_sequence)
{
	struct placed_batch placed;
	uint64_t sequence = 0;
	enum wombat_status s = db_place(db, batch, &placed);
	if (s == WOMBAT_OK)
		s = db_write_placed(db, &placed, flags, guard, &sequence);
	else
		stats_error(db->stats, s);
	/* After a failure its changes may still come back with the next open, but not in this process. */
	db_place_done(db, &placed, sequence);
	if (s == WOMBAT_OK && out_sequence)
		*out_sequence = sequence;
	return s;
}

enum wombat_status db_write_guarded(struct wombat *db, const struct wombat_batch *batch, unsigned flags,
				    const struct write_guard *guard, uint64_t *out_sequence)
{
	enum wombat_status s = db_check_batch(db, batch);
	if (s != WOMBAT_OK)
		return s;
	if (batch->count == 0) {
		if (out_sequence)
			*out_sequence = atomic_load_explicit(&db->visible_sequence, memory_order_acquire);
		return flags & WOMBAT_SYNC ? wombat_sync(db) : db_check_writable(db);
	}
	if (!db_batch_needs_placing(db, batch))
		return write_body(db, buf_slice(&batch->body), batch->count, false, flags, guard, out_sequence);
	s = db_check_writable(db);
	return s == WOMBAT_OK ? place_and_write(db, batch, flags, guard, out_sequence) : s;
}

enum wombat_status wombat_write(struct wombat *db, const struct wombat_batch *batch, unsigned flags, uint64_t *out_sequence)
{
	const struct moves_guard guard = moves_guard_of(db, batch);
	return db_write_guarded(db, batch, flags, batch->move_count ? &guard.guard : NULL, out_sequence);
}

enum wombat_status wombat_sync(struct wombat *db)
{
	enum wombat_status s = db_check_writable(db);
	if (s != WOMBAT_OK)
		return s;
	s = wal_writer_sync(db->wal);
	if (s != WOMBAT_OK)
		background_fail(db, s);
	return s;
}
