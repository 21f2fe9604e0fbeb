/* What the stores over libwombat share: that of a database or a snapshot (store_lsm.c), and that of a transaction
 * (store_txn.c). */
#ifndef WOMBAT_FS_STORE_LSM_IMPL_H
#define WOMBAT_FS_STORE_LSM_IMPL_H

#include "engine/wombat.h"
#include "fs/store.h"

struct store_lsm {
	struct store base;
	struct wombat *db;
	struct wombat_snapshot *snapshot; /* what it shows; NULL: the newest state, which it may change */
	void (*observer)(void *arg, const struct store_told *told);
	void *observer_arg;
	struct store_move *moves; /* that are under way */
};

static inline struct wombat_slice slice(struct store_bytes b)
{
	return WOMBAT_SLICE(b.data, b.size);
}

static inline struct store_bytes bytes(struct wombat_slice s)
{
	return (struct store_bytes){ s.data, s.size };
}

/* An entry of a record, whose pins it takes over. */
void store_lsm_entry(const struct wombat_record *r, struct store_entry *out);
/* The same of a value that is open, which it takes over. */
void store_lsm_hold(struct wombat_value *value, struct store_entry *out);
/* The first key behind all that start with the prefix, empty: there is none; false: no memory. Ended by the other. */
bool store_lsm_prefix_end(struct store_bytes prefix, struct wombat_slice *out);
void store_lsm_end_done(struct wombat_slice end);
typedef enum wombat_status store_lsm_new_list(struct store *s, enum store_space space, struct store_bytes prefix,
	struct wombat_list **out);
enum store_result store_lsm_list_open(struct store *s, store_lsm_new_list *make, enum store_space space,
	struct store_bytes prefix, struct store_list **out);
/* Calls `each` with all that the iterator has, and frees it. */
enum wombat_status store_lsm_scan(struct wombat_iter *it,
	bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg);
/* Whether a change may be made: STORE_OK, STORE_CONFLICT. */
enum store_result store_lsm_check_guard(struct store *s, const struct store_change *c);
/* To whoever observes the store, and to the moves that are under way. */
void store_lsm_tell(struct store *s, const struct store_told *told);
void store_lsm_moves_note(struct store_lsm *l, const struct store_told *told);
/* Calls `each` with what is below a prefix. */
enum wombat_status store_lsm_scan_prefix(struct wombat *db, struct wombat_read_options read, enum store_space space,
	struct store_bytes prefix, bool (*each)(void *arg, struct store_bytes key, const struct store_entry *entry), void *arg);
enum wombat_status store_lsm_add_delete_prefix(struct wombat_batch *b, enum store_space space, struct store_bytes prefix);
/* One that is no edit. It outlives the batch. */
enum wombat_status store_lsm_add_change(struct wombat_batch *b, const struct store_change *c);

/* store_move.c: see store_calls. */
enum store_result store_lsm_move_prefix(struct store *s, struct store_bytes from, struct store_bytes to, bool exchange,
	const struct store_change *changes, size_t count);
enum store_result store_lsm_move_begin(struct store *s, struct store_bytes from, struct store_bytes to, struct store_move **out);
enum store_result store_lsm_move_copy(struct store_move *m);
enum store_result store_lsm_move_commit(struct store_move *move, const struct store_change *changes, size_t count);
void store_lsm_move_end(struct store_move *m);

#endif
