/* CRC-32C (Castagnoli), by the processor where it can (SSE 4.2), by tables elsewhere. */
#ifndef WOMBAT_BASE_CRC32C_H
#define WOMBAT_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over the bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
/* The portable one, for comparison in tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
