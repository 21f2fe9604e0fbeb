/* JSON that is written piece by piece, for lines that are made by the thousand: cJSON would build a tree for each. */
#ifndef WOMBAT_FS_JSONTEXT_H
#define WOMBAT_FS_JSONTEXT_H

#include "fs/control.h"

/* Adds `"name":"bytes"`; of bytes that are no UTF-8, which JSON cannot say, `"name_hex":"6279..."`. False: no memory. */
bool json_add_bytes(struct control_text *out, const char *name, const void *bytes, size_t size);

#endif
