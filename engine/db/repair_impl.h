/* What the parts of a repair share: see repair.c. */
#ifndef WOMBAT_DB_REPAIR_IMPL_H
#define WOMBAT_DB_REPAIR_IMPL_H

#include "engine/db/db_impl.h"
#include "engine/version/replay.h"

/* A file of the directory, and what is to become of it. */
struct repair_file {
	enum file_kind kind;
	uint64_t number;
	bool damaged; /* to be kept in lost/ */
	bool goes;    /* the new manifest does not need it */
};

struct repair {
	struct env *env;
	const char *dir;
	void (*report)(void *arg, bool is_loss, const char *sentence);
	void *arg;
	uint64_t losses;
	bool changed;             /* a new manifest is due */
	struct repair_file *files;
	size_t file_count, file_capacity;
	enum wombat_status listing;
	uint64_t next_number;
	bool has_manifest;        /* one could be read */
	struct replay old;        /* what it says */
	struct version_edit state; /* what the new one is to say */
	uint64_t *fresh;          /* numbers of new tables, still under temporary names */
	size_t fresh_count, fresh_capacity;
	struct vlog *values;
	struct value_dir value_dir;
	atomic_bool verify;       /* not asked: each read says so itself */
};

/* A sentence for the one who asked; losses are counted. */
void repair_say(struct repair *r, bool is_loss, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* NULL: there is none. */
struct repair_file *repair_find_file(struct repair *r, enum file_kind kind, uint64_t number);
/* A second name for a file in lost/, durable after repair_sync_lost. */
MUST_CHECK enum wombat_status repair_keep_lost(struct repair *r, enum file_kind kind, uint64_t number);
MUST_CHECK enum wombat_status repair_sync_lost(struct repair *r);

/* wombat.conf without the lines that cannot be read. */
MUST_CHECK enum wombat_status repair_config(struct repair *r);

/* ---- Tables: repair_tables.c ---------------------------------------------------------------- */

MUST_CHECK enum wombat_status repair_tables(struct repair *r);
MUST_CHECK enum wombat_status repair_table_path(const struct repair *r, uint64_t number, bool temporary,
	char out[FILENAME_PATH_MAX]);
/* Tables that were written and have not got their names yet go; the status' detail stays. */
void repair_remove_fresh(struct repair *r);

/* A table that is being written; begun with its first entry. */
struct repair_output {
	struct repair *r;
	unsigned level;
	uint64_t sequence;             /* of all entries that are rescued; 0: each has its own */
	uint64_t number;
	struct table_builder *builder; /* NULL: nothing is in it yet */
};

MUST_CHECK enum wombat_status repair_output_add(struct repair_output *o, struct wombat_slice key, uint64_t tag,
	struct wombat_slice value);
MUST_CHECK enum wombat_status repair_output_add_ranges(struct repair_output *o, const struct range_del_set *ranges);
/* The table, if there is one, is part of the new state. */
MUST_CHECK enum wombat_status repair_output_end(struct repair_output *o);
/* Whatever became of it before. */
void repair_output_done(struct repair_output *o);

/* Whether the record's value in the value log, if it has one there, is what was written. */
MUST_CHECK enum wombat_status repair_entry_is_whole(struct repair *r, uint64_t tag, struct wombat_slice value, bool *out);

/* ---- Merging all tables: repair_merge.c ------------------------------------------------------ */

struct repair_inputs { /* zeroed: none */
	struct repair_input *items;
	size_t count, capacity;
};
MUST_CHECK enum wombat_status repair_inputs_add(struct repair_inputs *l, uint64_t number, bool temporary);
void repair_inputs_done(struct repair_inputs *l);
/* All of them become one run, which is the new state. */
MUST_CHECK enum wombat_status repair_merge(struct repair *r, struct repair_inputs *inputs);

/* ---- The write-ahead log: repair_wal.c ------------------------------------------------------ */

/* If it is damaged, what can be read of it goes into a table. */
MUST_CHECK enum wombat_status repair_wal(struct repair *r);

#endif
