/*
 * What a backup directory says of one backup: the file BACKUP-NNNNNN. format.md 6 has its bytes.
 */
#ifndef WOMBAT_DB_BACKUP_RECORD_H
#define WOMBAT_DB_BACKUP_RECORD_H

#include "engine/base/buf.h"

enum { BACKUP_NAME_MAX = 80 };

struct backup_file {
	char name[32];                /* in the database */
	char stored[BACKUP_NAME_MAX]; /* in the backup directory's files/ */
	uint64_t bytes;
	uint32_t crc;
};

struct backup_record {
	struct wombat_backup_info info;
	uint64_t manifest_number;
	struct buf manifest;          /* the manifest's one record */
	struct buf config;            /* wombat.conf; none if has_config is false */
	bool has_config;
	struct backup_file *files;
	size_t count, capacity;
};

void backup_record_done(struct backup_record *r);
MUST_CHECK enum wombat_status backup_record_add(struct backup_record *r, const struct backup_file *f);
/* Replaces `out`. */
MUST_CHECK enum wombat_status backup_record_encode(const struct backup_record *r, struct buf *out);
/* NULL, or what is wrong; `out` is zeroed before and must be ended in any case. *out_status has the kind. */
const char *backup_record_decode(struct wombat_slice bytes, struct backup_record *out, enum wombat_status *out_status);

#endif
