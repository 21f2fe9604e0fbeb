/*
 * CRC-32C. The instruction of SSE 4.2 takes eight bytes in three cycles but can start one each cycle, so three
 * streams are run side by side on long inputs and joined by a multiplication with x^(8n) (Gopal et al., "Fast CRC
 * Computation for iSCSI Polynomial Using CRC32 Instruction", 2011), here by tables built at first use. The portable
 * one takes eight bytes a step by eight tables (Kounavis and Berry, 2005).
 */
#include "engine/base/crc32c.h"

#include <pthread.h>
#include <string.h>

#include "engine/base/coding.h"

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
		table[0][i] = c;
	}
	for (int k = 1; k < 8; k++)
		for (int i = 0; i < 256; i++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;
	pthread_once(&once, make_tables);
	crc = ~crc;
	for (; size >= 8; size -= 8, p += 8) {
		uint32_t a = get_u32(p) ^ crc, b = get_u32(p + 4);
		crc = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^ table[4][a >> 24] ^
		      table[3][b & 0xff] ^ table[2][b >> 8 & 0xff] ^ table[1][b >> 16 & 0xff] ^ table[0][b >> 24];
	}
	for (; size; size--)
		crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

enum { LANE = 1024 }; /* bytes of each of the three streams */

static uint32_t shift_table[4][256]; /* multiplication by x^(8*LANE), a byte of the factor at a time */
static pthread_once_t shift_once = PTHREAD_ONCE_INIT;

static void make_shift(void)
{
	static const uint8_t zeroes[LANE];
	pthread_once(&once, make_tables);
	for (int k = 0; k < 4; k++)
		for (uint32_t i = 0; i < 256; i++) {
			/* The register after LANE zero bytes, without the inversions of crc32c(). */
			uint32_t start = i << (8 * k);
			shift_table[k][i] = ~crc32c_portable(~start, zeroes, sizeof zeroes);
		}
}

static uint32_t shift(uint32_t crc)
{
	return shift_table[0][crc & 0xff] ^ shift_table[1][crc >> 8 & 0xff] ^ shift_table[2][crc >> 16 & 0xff] ^
	       shift_table[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t c = ~crc;
	while (size >= 3 * LANE) {
		uint64_t a = c, b = 0, d = 0;
		for (int i = 0; i < LANE; i += 8) {
			a = _mm_crc32_u64(a, get_u64(p + i));
			b = _mm_crc32_u64(b, get_u64(p + LANE + i));
			d = _mm_crc32_u64(d, get_u64(p + 2 * LANE + i));
		}
		c = shift(shift((uint32_t)a) ^ (uint32_t)b) ^ d;
		p += 3 * LANE;
		size -= 3 * LANE;
	}
	for (; size >= 8; size -= 8, p += 8)
		c = _mm_crc32_u64(c, get_u64(p));
	for (; size; size--)
		c = _mm_crc32_u8((uint32_t)c, *p++);
	return ~(uint32_t)c;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
	if (!__builtin_cpu_supports("sse4.2"))
		return crc32c_portable(crc, data, size);
	if (size >= 3 * LANE)
		pthread_once(&shift_once, make_shift);
	return crc32c_sse42(crc, data, size);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
	return crc32c_portable(crc, data, size);
}

#endif
