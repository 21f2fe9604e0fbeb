/* What the examples from 05 on share: ending with the library's sentence, reading a figure, a clock, made-up records. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <wombat.h>

static inline void must(enum wombat_status s, const char *what)
{
	if (s == WOMBAT_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, wombat_last_error());
	exit(1);
}

/* One figure of wombat_stats(). */
static inline double figure(struct wombat *db, const char *name)
{
	double value = 0;
	must(wombat_stat(db, name, &value), name);
	return value;
}

static inline double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The count on the command line, or what is usual. */
static inline unsigned long count_of(int argc, char **argv, int at, unsigned long usual)
{
	return argc > at ? strtoul(argv[at], NULL, 10) : usual;
}

/* Key number n of many, spread over the key space as hashes are. */
static inline struct wombat_slice scattered_key(uint64_t n, char out[32])
{
	uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 32;
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 32, "user/%016llx", (unsigned long long)h));
}

/* 200 bytes that a compressor shrinks about as a log line or a JSON document. */
static inline struct wombat_slice some_value(uint64_t n, char out[256])
{
	int size = snprintf(out, 256, "{\"id\": %llu, \"name\": \"user %llu\", \"visits\": %llu, \"colour\": \"%s\", \"text\": \"%0100llu\"}",
			    (unsigned long long)n, (unsigned long long)(n * 7919), (unsigned long long)(n % 1000),
			    n % 2 ? "green" : "blue", (unsigned long long)n);
	return WOMBAT_SLICE(out, (size_t)size);
}

#endif
