#include "tests/bench/numbers.h"

#include <math.h>
#include <stdlib.h>

#define THETA 0.99

uint64_t mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

double median_of(double *values, size_t count)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof *values, compare_doubles);
	return values[(count - 1) / 2];
}

uint32_t percentile_of(uint32_t *values, size_t count, double share)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof *values, compare_u32);
	size_t at = (size_t)ceil(share * (double)count);
	return values[at ? at - 1 : 0];
}

static double zeta(uint64_t n)
{
	double sum = 0;
	for (uint64_t i = 1; i <= n; i++)
		sum += pow(1.0 / (double)i, THETA);
	return sum;
}

void zipf_init(struct zipf *z, uint64_t n, uint64_t seed)
{
	double zeta2 = zeta(2);
	z->n = n;
	z->state = mix64(seed + 1);
	z->zeta = zeta(n);
	z->alpha = 1 / (1 - THETA);
	z->half_power = 1 + pow(0.5, THETA);
	z->eta = (1 - pow(2.0 / (double)n, 1 - THETA)) / (1 - zeta2 / z->zeta);
}

static uint64_t next(struct zipf *z)
{
	z->state += UINT64_C(0x9e3779b97f4a7c15);
	return mix64(z->state);
}

uint64_t zipf_next(struct zipf *z)
{
	double u = (double)(next(z) >> 11) * 0x1p-53, uz = u * z->zeta;
	if (uz < 1)
		return 0;
	if (uz < z->half_power)
		return 1 % z->n;
	uint64_t k = (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha));
	return k < z->n ? k : z->n - 1;
}

uint64_t zipf_scattered(struct zipf *z)
{
	return mix64(zipf_next(z) + 1) % z->n; /* 0 would stay where it is */
}

uint64_t uniform_next(struct zipf *z)
{
	return next(z) % z->n;
}
