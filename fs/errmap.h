/*
 * Results of the store and of the engine as errno values: the only place that turns one into the other.
 */
#ifndef WOMBAT_FS_ERRMAP_H
#define WOMBAT_FS_ERRMAP_H

#include "engine/wombat.h"
#include "fs/store.h"

/* 0 for success, else a positive errno. */
int errmap_from_store(enum store_result result);
int errmap_from_wombat(enum wombat_status status);

/* The engine's result as a store's, for the store that stands on libwombat. */
enum store_result errmap_store_from_wombat(enum wombat_status status);

#endif
