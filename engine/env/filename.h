/*
 * Names of the files in a database directory.
 *
 *     LOCK  CURRENT  wombat.conf  MANIFEST-000007  000012.sst  000003.wal  000008.vlog  NAME.tmp
 */
#ifndef WOMBAT_ENV_FILENAME_H
#define WOMBAT_ENV_FILENAME_H

#include <stdbool.h>
#include <stdint.h>

enum file_kind { FILE_LOCK, FILE_CURRENT, FILE_CONFIG, FILE_MANIFEST, FILE_TABLE, FILE_WAL, FILE_VALUES, FILE_TEMP, FILE_OTHER };

enum { FILENAME_PATH_MAX = 4096 };

/* "DIR/NAME" for a kind and number (ignored where the kind has none); false when over FILENAME_PATH_MAX. */
bool filename_path(char out[FILENAME_PATH_MAX], const char *dir, enum file_kind kind, uint64_t number);
/* Just the name. */
void filename_make(char out[32], enum file_kind kind, uint64_t number);
/* The kind of a name, and its number, 0 where the kind has none (FILE_TEMP: any NAME.tmp). FILE_OTHER: no name that
 * filename_make gives. */
enum file_kind filename_parse(const char *name, uint64_t *out_number);

#endif
