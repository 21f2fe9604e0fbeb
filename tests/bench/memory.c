/*
 * What a database takes of memory, beside the budgets that its options set: keys are filled in random order, scanned, read at
 * random, and the process's resident size is compared with the sum of the budgets.
 *
 *     memory DIRECTORY KEYS VALUE_BYTES [PRESET] [name=value...]
 *
 * One line: keys, budgets, the engine's own count, resident size (the most there was; anonymous; mapped files, which the system
 * takes back when it needs them), and the ratio of anonymous memory to the budgets. With MEMORY_LIMIT_RATIO=R in the
 * environment the status is 1 when the ratio is above R.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/random.h"
#include "engine/wombat.h"

static void must(enum wombat_status s, const char *what)
{
	if (s == WOMBAT_OK)
		return;
	fprintf(stderr, "memory: %s: %s\n", what, wombat_last_error());
	exit(2);
}

static struct wombat_slice key_of(uint64_t n, char out[24])
{
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 24, "%016llu", (unsigned long long)n));
}

static uint64_t from_proc(const char *name)
{
	char line[256];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, name, strlen(name)) == 0)
			sscanf(line + strlen(name), ": %llu", &kib);
	if (f)
		fclose(f);
	return kib * 1024;
}

static double figure(struct wombat *db, const char *name)
{
	double v = 0;
	must(wombat_stat(db, name, &v), name);
	return v;
}

static double option(const struct wombat_options *o, const char *name)
{
	char text[64], *end;
	must(wombat_options_get(o, name, text, sizeof text), name);
	double v = strtod(text, &end);
	return v * (*end == 'K' ? 1024.0 : *end == 'M' ? 1048576.0 : *end == 'G' ? 1073741824.0 : 1.0);
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t anon_most;
static void look(void)
{
	uint64_t anon = from_proc("RssAnon");
	anon_most = anon > anon_most ? anon : anon_most;
}

static void fill(struct wombat *db, uint64_t keys, size_t value_bytes)
{
	struct random_state r;
	uint8_t *value = malloc(value_bytes + 8);
	char key[24];
	random_seed(&r, 1);
	for (size_t i = 0; i < value_bytes; i += 8) {
		uint64_t v = random_next(&r);
		memcpy(value + i, &v, 8);
	}
	for (uint64_t n = 0; n < keys; n++) {
		must(wombat_put(db, WOMBAT_USER, key_of(random_below(&r, keys), key), WOMBAT_SLICE(value, value_bytes)), "put");
		if (n % 100000 == 0)
			look();
	}
	free(value);
}

static void read_at_random(struct wombat *db, uint64_t keys, uint64_t count)
{
	struct random_state r;
	char key[24];
	random_seed(&r, 2);
	for (uint64_t n = 0; n < count; n++) {
		struct wombat_record record;
		enum wombat_status s = wombat_get(db, NULL, WOMBAT_USER, key_of(random_below(&r, keys), key), &record);
		if (s == WOMBAT_OK)
			wombat_record_release(&record);
		else if (s != WOMBAT_NOT_FOUND)
			must(s, "get");
		if (n % 100000 == 0)
			look();
	}
}

static uint64_t scan(struct wombat *db)
{
	struct wombat_iter *it;
	uint64_t count = 0;
	must(wombat_iter_new(db, NULL, WOMBAT_USER, &it), "iterator");
	for (wombat_iter_first(it); wombat_iter_valid(it); wombat_iter_next(it))
		count++;
	must(wombat_iter_status(it), "scan");
	look();
	wombat_iter_free(it);
	return count;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: memory DIRECTORY KEYS VALUE_BYTES [PRESET] [name=value...]\n");
		return 2;
	}
	struct wombat_options *o = wombat_options_new();
	struct wombat *db;
	uint64_t keys = strtoull(argv[2], NULL, 10);
	for (int i = 4; i < argc; i++) {
		char *equals = strchr(argv[i], '=');
		if (equals)
			*equals = 0;
		must(equals ? wombat_options_set(o, argv[i], equals + 1) : wombat_options_preset(o, argv[i]), argv[i]);
	}
	double budgets = option(o, "mem_table_size") * option(o, "num_memtables") + option(o, "block_cache_size") +
			 option(o, "table_cache_size") + option(o, "filter_cache_size");
	must(wombat_open(argv[1], o, WOMBAT_CREATE, &db), argv[1]);
	double begin = seconds();
	fill(db, keys, strtoull(argv[3], NULL, 10));
	double filled = seconds();
	must(wombat_wait_idle(db), "wait");
	double settled = seconds();
	uint64_t count = scan(db);
	double scanned = seconds();
	read_at_random(db, keys, keys / 2); /* what the caches can hold is in them then */
	double warm = seconds();
	read_at_random(db, keys, keys / 5);
	double did_read = seconds(), ratio = (double)anon_most / budgets, mib = 1048576;
	printf("keys %llu (%llu there), budgets %.1f MiB, counted %.1f MiB, resident at most %.1f MiB, anonymous at most %.1f MiB, now files "
	       "%.1f MiB, anonymous/budgets %.2f; put %.2f us, settling %.1f s, get %.2f us, scan %.3f us an entry\n",
	       (unsigned long long)keys, (unsigned long long)count, budgets / mib, figure(db, "memory_usage_bytes") / mib,
	       (double)from_proc("VmHWM") / mib, (double)anon_most / mib, (double)(from_proc("RssFile") + from_proc("RssShmem")) / mib, ratio,
	       (filled - begin) / (double)keys * 1e6, settled - filled, (did_read - warm) / ((double)keys / 5) * 1e6,
	       (scanned - settled) / (double)(count ? count : 1) * 1e6);
	must(wombat_close(db), "close");
	wombat_options_free(o);
	const char *limit = getenv("MEMORY_LIMIT_RATIO");
	return limit && ratio > strtod(limit, NULL);
}
